#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""GRUB to dom0's prompt: firmwares, CPU counts and models, memory sizes, kernels and their forms; poweroff and reboot."""
import os
import re
import sys
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.acpi import HALT, MWAIT, PORT, write_cst
from lib.machine import BUILD, PATIENCE, Machine
from lib.report import main, ok
from lib.screen import cells, picture, read_pixels, read_text, size_of

ON_SCREEN = 'dom0.demo=0 console=tty0 console=ttyS0'  # dom0's kernel is not quiet there


def look(m, cpus, mem_gib):
    """What must be true at every dom0 prompt."""
    online = m.out_of('nproc')
    ok(online == str(cpus), f'{m.label}: dom0 has {cpus} CPUs online', f'nproc says {online}')
    info = m.json('corbel info --json')
    ok(info.get('backend') == 'svm' and info.get('cpus') == cpus,
       f'{m.label}: corbel info names back end svm and {cpus} CPUs', info)
    ok(info.get('microcode') == [0x1000065] * 2, f'{m.label}: it has the revision of their microcode, which is QEMU\'s', info.get('microcode'))
    total = int(m.out_of("awk '/MemTotal/ {print $2}' /proc/meminfo")) / 1048576
    ok(mem_gib * 0.80 < total < mem_gib, f'{m.label}: dom0 has most of {mem_gib} GiB', f'MemTotal is {total:.2f} GiB')
    deepest = m.out_of('cat /sys/module/processor/parameters/max_cstate')
    ok(deepest == '1', f'{m.label}: dom0 idles by HLT only, which the hypervisor sees', deepest)
    ok('kvm-clock' in m.out_of('cat /sys/devices/system/clocksource/clocksource0/available_clocksource'),
       f'{m.label}: dom0 has the paravirtual clock')
    tells = 'cat /sys/hypervisor/type /sys/hypervisor/version/*or 2>/dev/null; grep -c "^flags.* svm" /proc/cpuinfo'
    out = m.out_of(f'{tells}; modprobe -r corbel; {tells} || true; modprobe corbel')
    ok(out.split() == ['corbel', *re.match(r'(\d+)\.(\d+)', info['version']).groups(), str(cpus), '0'],
       f'{m.label}: while the module is there /sys/hypervisor and /proc/cpuinfo say that VMs can be had', out)


def left_out(m):
    tried = m.out_of('dmesg | grep -ci "do_boot_cpu failed\\|not responding" || true')
    ok(tried == '0', f'{m.label}: dom0 does not try to start the others', m.out_of('dmesg | grep CPU'))


def hypervisors_screen(m, read, lines='backendsvm'):
    """Its lines stay until dom0's console takes the screen."""
    end, text = time.monotonic() + 40 * PATIENCE, ''
    while not re.search(lines, text) and time.monotonic() < end:
        m.wait('never', 0.2 / PATIENCE)  # reads what comes on the serial port
        try:
            text = re.sub(r'\s', '', ''.join(read(m.base)))
        except (OSError, AttributeError):  # no monitor yet, or no picture
            pass
    ok(re.search(lines, text), f'{m.label}: the hypervisor\'s lines are on the screen', text[-500:])


def dom0s_console(m):
    m.out_of('dmesg -n 1')
    return m.out_of('echo -n "|"; cat /dev/vcs1; echo "|"')[1:-1]


KERNELS_LINE = re.compile(r'\[ +\d+\.\d+\] \w+')


def text_screen(m, lines='backendsvm'):
    hypervisors_screen(m, read_text, lines)
    m.prompt()
    text = dom0s_console(m)
    ok(len(text) == 80 * 25 and KERNELS_LINE.search(text), f'{m.label}: dom0 goes on in text mode, with its kernel\'s lines', text)


def safe_screen(m):
    """Of the menu's entry with nothing optional: what it tells more is on serial port and screen."""
    text_screen(m, r'APICtimer\d+kHz.*options:mask=allloglvl=debug')
    log = m.out_of('corbel dmesg')
    ok('options: mask=all loglvl=debug' in log and 'idle: HLT' in log and 'S3: not possible, option mask= says so' in log,
       f'{m.label}: what it can do without is switched off', log)
    shown = m.transcript()
    ok(re.search(r'\(hv\) .*APIC timer \d+ kHz', shown) and re.search(r'\[ +\d+\.\d+\] Linux version', shown),
       f'{m.label}: on the serial port are details of the hypervisor\'s, and dom0\'s kernel is not quiet', shown[:3000])


def framebuffer_screen(m):
    """It shows in pixels what dom0 believes to be on its console, and that is its kernel's lines."""
    hypervisors_screen(m, lambda base: read_pixels(picture(base)))
    m.prompt()
    text = dom0s_console(m)
    ppm = picture(m.base)
    columns, rows = (n // d for n, d in zip(size_of(ppm), (8, 16)))
    ok(len(text) == columns * rows and KERNELS_LINE.search(text),
       f'{m.label}: dom0 has its console on the whole framebuffer, with its kernel\'s lines', text)
    seen = cells(ppm, [text[i:i + columns] for i in range(0, len(text), columns)])
    usual = {c: max(set(p), key=p.count) for c, p in seen.items()}
    odd = sum(p != usual[c] for c, all_of_c in seen.items() for p in all_of_c)
    ok(odd <= 1 and len(usual) > 30 and len(set(usual.values())) == len(usual),  # one may be the cursor
       f'{m.label}: they are to be seen: {len(usual)} characters look each different', f'{odd} of {len(text)} cells are odd')


def combination(label, cpus=2, mem=2, seconds=30, used=None, screen=None, **options):
    """used: as many CPUs as are left of them. screen: looks at it."""
    def part():
        with Machine(label, cpus=cpus, mem=f'{mem}G', **options) as m:
            if screen:
                screen(m)
            else:
                m.prompt(seconds=seconds)
            look(m, used or cpus, mem)
            if used:
                left_out(m)
            m.send('poweroff\r')
            m.ends(f'{label}: poweroff in dom0 ends the machine')
    part.__name__ = label
    return part


def efi():
    """dom0 has the firmware's tables and services, as on the bare machine."""
    var = '/efi/Corbel-12345678-1234-1234-1234-123456789abc'
    with Machine('EFI', firmware='uefi', args='quiet') as m:
        m.prompt()
        ok(m.out_of('cat /sys/class/dmi/id/sys_vendor') == 'QEMU', 'EFI: dom0 knows the machine by SMBIOS')
        m.out_of('modprobe efivarfs; mkdir /efi && mount -t efivarfs efivarfs /efi')
        order = m.out_of('od -An -tx1 /efi/BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c').split()
        ok(len(order) > 4, 'EFI: dom0 reads the order of boot entries', order)
        m.out_of(f"printf '\\007\\000\\000\\000seen' > {var}", 20)
        ok(m.out_of(f'umount /efi; mount -t efivarfs efivarfs /efi; tail -c 4 {var}; echo') == 'seen', 'EFI: a variable that dom0 has written is there')
        bad = m.out_of('dmesg -r | grep -iE "^<[0-4]>.*efi"; true')
        ok(not bad, 'EFI: dom0\'s kernel has nothing to say against it', bad)
        m.send('poweroff\r')
        m.ends('EFI: poweroff in dom0 ends the machine')
        with open(m.file('vars'), 'rb') as f:
            ok('Corbel'.encode('utf-16-le') in f.read(), 'EFI: the variable is in the firmware\'s memory')


def no_acpi():
    """dom0 begins, on one CPU. Here it gets no further, as nobody tells it of an IOAPIC, not even MP tables."""
    with Machine('no ACPI', machine='q35,acpi=off', firmware='uefi', args='quiet') as m:
        m.expect('no MADT, only the boot CPU is used', 'no ACPI: the hypervisor says so', 60)
        m.expect('dom0: 1 vCPUs, entry', 'no ACPI: dom0 begins', 60)


def topology():
    """Two nodes with a package each, of one core of two threads."""
    half = [x for i in (0, 1) for x in ('-object', f'memory-backend-ram,id=m{i},size=1G', '-numa', f'node,memdev=m{i}',
                                        '-numa', f'cpu,node-id={i},socket-id={i}')]
    with Machine('threads and nodes', cpus='4,sockets=2,cores=1,threads=2', extra=half, hv='sched-gran=core') as m:
        m.expect(r'sched-gran=core: 2 cores have several CPUs', 'threads and nodes: cores run one VM at a time', 60)
        m.prompt()
        seen = m.json('corbel info --json')['topology']
        ok([len({c[k] for c in seen}) for k in ('cpu', 'core', 'cache', 'package', 'node')] == [4, 2, 2, 2, 2],
           'threads and nodes: 4 threads are 2 cores, caches, packages and nodes', seen)
        out = m.out_of('corbel info')
        ok(re.search(r'cores +0\+1 \|\| 2\+3', out) and 'sched-gran=core' in out, 'threads and nodes: corbel info shows them', out)
        m.sh('sleep 3', 20)
        cpus = m.json('corbel info --json')['power']
        slept = [c['idle_states']['HLT']['ns'] / c['idle_ns'] for c in cpus]
        ok(all(0.5 < part <= 1.01 for part in slept), 'threads and nodes: corbel info shows what part of their idle time CPUs have slept', cpus)
        ok(re.search(r'idle +\d+\.\d % since the start: HLT \d', out), 'threads and nodes: and in which state', out)
        m.send('poweroff\r')
        m.ends('threads and nodes: poweroff in dom0 ends the machine')


def nodes():
    """One package whose cores the SRAT puts into two nodes; and the same when it is not believed."""
    half = [x for i in (0, 1) for x in ('-object', f'memory-backend-ram,id=m{i},size=1G', '-numa', f'node,memdev=m{i}',
                                        '-numa', f'cpu,node-id={i},socket-id=0,core-id={i}')]
    for hv, count in ('', 2), ('numa=off', 1):
        with Machine(f'nodes, {hv or "usual"}', cpus='4,sockets=1,cores=2,threads=2', extra=half, hv=hv, args='dom0.demo=0') as m:
            m.prompt()
            seen = m.json('corbel info --json')['topology']
            ok([len({c[k] for c in seen}) for k in ('cpu', 'core', 'package', 'node')] == [4, 2, 1, count],
               f'{m.label}: 2 cores of one package are in {count} node{"s" if count > 1 else ""}', seen)
            m.out_of("""sed '$a cpus = "node:1"' /etc/corbel/demo.cfg > /run/near.cfg; corbel create /run/near.cfg""", 60)
            vm = next(g for g in m.json('corbel list --json') if g['name'] == 'demo')
            maps = m.out_of(f'cat /proc/{vm["pid"]}/numa_maps', 20)
            own = re.findall(r'^7f\S+ prefer:1 .*anon=\d{4,}.* N1=\d{4,}', maps, re.M)
            ran = {v['cpus'] for v in m.json('corbel vcpu-list --json demo')}
            ok(own and 'prefer:0' not in maps and ran == {'2-3'}, f'{m.label}: a guest that has the CPUs of node 1 has its memory from there', f'{ran} {maps}')


def idle_states():
    """corbel.ko tells what _CST names; of that nothing is believed that the CPUs do not have, and QEMU's have neither MWAIT nor ports."""
    table = os.path.join(BUILD, 'cst.aml')
    write_cst(table, ['C000', 'C001'], [(HALT, 0, 1, 1), (MWAIT, 0x10, 2, 300), (PORT, 0x414, 2, 400), (PORT, 0x1_0000_0414, 2, 400)])
    with Machine('_CST', hv='loglvl=debug', extra=['-acpitable', f'file={table}']) as m:
        m.prompt()
        out = m.out_of('corbel dmesg | grep _CST')
        ok('_CST has 3 states, of which bits 1 are used: HLT at most' in out, '_CST: what it names comes to the hypervisor, which uses what there is', out)
        m.sh('modprobe -r corbel; modprobe corbel; cd /sys/devices/system/cpu/cpu1; echo 0 > online; echo 1 > online; sleep 1; cd', 60)
        out = m.out_of('dmesg | grep "corbel: .*CST\\|BUG\\|WARNING\\|Call Trace" || echo well')
        ok(out == 'well', '_CST: the module, and a CPU, come again, and dom0 has no complaint', out)
        told = re.findall(r'CPU (\d) is told what _CST has', m.out_of('corbel dmesg'))
        ok(told == ['0', '1', '0', '1', '1'], '_CST: each time it is told, on the CPU that it is about', told)
        cpus = m.json('corbel info --json')['power']
        ok([list(c['idle_states']) for c in cpus] == [['HLT'], ['HLT']], '_CST: corbel info shows the states of each CPU', cpus)
        m.send('poweroff\r')
        m.ends('_CST: poweroff in dom0 ends the machine')


def reboot():
    with Machine('reboot', reboot=True) as m:
        m.prompt()
        m.send('reboot\r')
        m.expect(r'GRUB|Booting', 'reboot: dom0\'s reboot comes back to the boot loader', 30)
        m.prompt('reboot: the machine comes to the prompt again')


main(
    combination('BIOS, 1 CPU, 1 GiB', cpus=1, mem=1),
    combination('UEFI, from a USB stick, 4 CPUs, 16 GiB, EPYC', cpus=4, mem=16, cpu='EPYC', firmware='uefi', stick=True),
    combination('BIOS, 8 CPUs', cpus=8),
    combination('BIOS, 8 CPUs, maxcpus=6', cpus=8, used=6, hv='maxcpus=6'),
    combination('BIOS, 72 CPUs', cpus=72, mem=8, seconds=110),
    combination('-M pc', machine='pc', screen=text_screen, args=ON_SCREEN),
    combination('EPYC, BIOS, from a USB stick', cpu='EPYC', stick=True),
    combination('nothing optional', dom0='safe-cloud', screen=safe_screen, args=ON_SCREEN),
    combination('ELF kernel', dom0='cloud-elf'),
    combination('amd64 kernel', dom0='amd64'),
    combination('amd64 kernel, UEFI', dom0='amd64', firmware='uefi', screen=framebuffer_screen, args=ON_SCREEN),
    efi,
    no_acpi,
    topology,
    nodes,
    idle_states,
    reboot,
)
