#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Dom0 drives the machine's devices: disks, networks, USB and clock, by level interrupts, MSI and MSI-X. Its kernel log says
nothing that it would not say without Corbel. What is added to the machine later does no harm."""
import contextlib
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, need, ok
from lib.screen import monitor

# serial number -> how QEMU attaches the disk
DISKS = {
    'q35': {
        'virtio': ['-device', 'virtio-blk-pci,drive=virtio,serial=virtio'],
        'ahci': ['-device', 'ide-hd,bus=ide.1,drive=ahci,serial=ahci'],
        'nvme': ['-device', 'nvme,drive=nvme,serial=nvme'],
        'vscsi': ['-device', 'virtio-scsi-pci', '-device', 'scsi-hd,drive=vscsi,serial=vscsi'],
        'usb': ['-device', 'qemu-xhci', '-device', 'usb-storage,drive=usb,serial=usb'],
    },
    'pc': {
        'virtio': ['-device', 'virtio-blk-pci,drive=virtio,serial=virtio'],
        'ide': ['-device', 'ide-hd,bus=ide.0,drive=ide,serial=ide'],
        'nvme': ['-device', 'nvme,drive=nvme,serial=nvme'],
        'usb': ['-device', 'ich9-usb-ehci1,id=ehci', '-device', 'usb-storage,bus=ehci.0,drive=usb,serial=usb'],
    },
}
# As the hypervisor's IOMMU has them: virtio devices go past it unless told otherwise.
BEHIND = ',iommu_platform=on,disable-legacy=on'
DISKS['behind'] = dict(DISKS['q35'], virtio=[DISKS['q35']['virtio'][0], DISKS['q35']['virtio'][1] + BEHIND])
del DISKS['behind']['vscsi']
NICS = {'behind': ('virtio-net-pci' + BEHIND, 'e1000'), 'q35': ('virtio-net-pci', 'e1000e'), 'pc': ('virtio-net-pci', 'e1000')}
# Finds the disk with a serial number, reads it all, writes a pattern and reads it back past the cache.
DISK_SCRIPT = r'''
for s in $1; do
	d=
	for f in /sys/block/*; do
		n=${f##*/}
		[ "$(cat $f/serial $f/device/serial 2>/dev/null | tr -d ' ')" = $s ] && d=$n
		[ -e $f/device/vpd_pg80 ] && [ "$(tail -c +5 $f/device/vpd_pg80 | tr -d ' \0')" = $s ] && d=$n
		case $f in */sd*) [ $s = usb ] && readlink $f | grep -q usb && d=$n ;; esac
	done
	[ "$d" ] || { echo "$s: absent"; continue; }
	sum=$(md5sum < /dev/$d)
	dd if=/dev/zero of=/dev/$d bs=64k count=16 seek=8 conv=fsync 2>/dev/null
	echo 3 > /proc/sys/vm/drop_caches
	echo "$s: ${sum%% *} $(md5sum < /dev/$d | cut -d ' ' -f 1)"
done
'''


def disk_content(number):
    """2 MiB that differ from disk to disk."""
    return bytes((i * 7 + number * 13 + (i >> 8)) & 0xff for i in range(4096)) * 512


def md5(data):
    import hashlib
    return hashlib.md5(data).hexdigest()


@contextlib.contextmanager
def machine_with(kind, label, before=(), after=(), hv=''):
    """One with all devices of this kind; it, and what each disk should hold before and after the script."""
    want, disks_nics = {}, []
    os.makedirs(build_file('logs'), exist_ok=True)
    for i, (serial, how) in enumerate(DISKS[kind].items()):
        name = build_file(f'logs/devices-{label}-{serial}.disk')
        data = disk_content(i)
        with open(name, 'wb') as f:
            f.write(data)
        disks_nics += ['-drive', f'if=none,id={serial},file={name},format=raw', *how]
        want[serial] = (name, md5(data), md5(data[:8 * 65536] + bytes(16 * 65536) + data[24 * 65536:]))
    for i, nic in enumerate(NICS[kind]):
        disks_nics += ['-netdev', f'user,id=n{i},net=10.0.{i + 1}.0/24', '-device', f'{nic},netdev=n{i},romfile=']
    with Machine(f'devices of {label}', machine='pc' if kind == 'pc' else 'q35', dom0='amd64', nic=None, extra=[*before, *disks_nics, *after], hv=hv,
                 script=f"cat > /run/disks <<'EOF'{DISK_SCRIPT}EOF\n", args='quiet dom0.demo=0') as m:
        m.prompt()
        yield m, want
    for name, _, _ in want.values():
        os.remove(name)


def devices(machine):
    def part():
        with machine_with(machine, machine, after=['-device', 'usb-tablet'] if machine == 'q35' else []) as (m, want):
            disks(m, want)
            networks(m, machine)
            clocks(m)
            interrupts(m, machine)
            loaded_anew(m)
            ok(m.sh('sleep 2; dmesg | grep corbel_iommu')[0] != 0, f'{m.label}: corbel_iommu.ko does not come where it has nothing to do')
            refused(m, 'corbel_iommu', 'iommu=strict')
    part.__name__ = machine
    return part


def loaded_anew(m):
    """corbel.ko, by a kernel that loads modules by itself: what it does so with lies elsewhere in Debian."""
    m.out_of('rmmod corbel; dmesg -c > /dev/null; echo /bin/modprobe > /proc/sys/kernel/modprobe; modprobe corbel')


def behind(maker, more=''):
    """The hypervisor drives the IOMMU: devices work as before, and dom0 sees nothing of it but what remaps VT-d's interrupts."""
    def part():
        with machine_with('behind', f'{maker}-iommu', ['-device', f'{maker}-iommu,intremap=on{more}'], hv='iommu=strict') as (m, want):
            info = m.json('corbel info --json')
            ok(info.get('iommu') == 'strict' and info.get('iommu_units') == 1, f'{m.label}: corbel info says what protects memory', info)
            most = 288 if maker == 'intel' else 32 # 2 GiB; VT-d's table of interrupts is 256 of them
            ok(0 < info['iommu_pages'] <= most, f'{m.label}: tables take {most} pages at most', info)
            text = m.out_of('corbel info')
            raised = 'what dom0 has set for each' if maker == 'intel' else "any interrupt; guests', and dom0's that are kept to them, only their own"
            ok(f"devices reach dom0's memory only, and raise {raised}" in text, f'{m.label}: and what devices may raise', text)
            disks(m, want)
            networks(m, 'behind')
            log = m.out_of('corbel dmesg')
            ok('driven by Corbel' in log and ' may not ' not in log, f'{m.label}: no device is kept from what it needs', log)
            seen = m.out_of('ls /sys/class/iommu /sys/firmware/acpi/tables | grep -E "dmar|ivhd|DMAR|IVRS"; true')
            ok(seen == ('DMAR' if maker == 'intel' else ''), f'{m.label}: dom0 sees no IOMMU that translates', seen)
            table, kinds = m.out_of('cat /proc/interrupts'), ['IO-APIC.*edge.*ttyS0', 'IO-APIC.*fasteoi.*eth', 'PCI-MSI.*nvme']
            kinds = [f'IR-{k}' for k in kinds] if maker == 'intel' else kinds[:2] + [f'Corbel-MSI.*{d}' for d in ('nvme', 'ahci', 'virtio', 'xhci')]
            for kind in kinds:
                ok(count(table, rf'\s{kind}') > 0, f'{m.label}: interrupts arrive: {kind}', table)
            others = [l for l in table.splitlines() if re.search(r'\s(IR-)?PCI-MSI', l)] if maker == 'amd' else []
            ok(not others, f'{m.label}: and none by a message as the device sends it', table)
            if maker == 'intel':
                state = monitor(m.base, 'xp /1wx 0xfed9001c')
                status = re.search(r'fed9001c: (0x[0-9a-f]{8})', state)
                ok(status and int(status.group(1), 16) & 0x86800000 == 0x86000000,
                   f'{m.label}: the unit translates, remaps, and takes messages of no other format', state)
            told = m.sh('dmesg | grep corbel_iommu:')[1]
            ok('devices can be given' in told and 'stay until' in told and m.sh('ls -d /sys/bus/pci/devices/*/iommu_group')[0] == 0,
               f'{m.label}: corbel.ko has its IOMMU driver, which says that it stays, and devices have groups', told)
            stays(m)
            disks(m, want, again=True)
    part.__name__ = f'{maker}_iommu'
    return part


def stays(m):
    """Neither module can be unloaded, and trying does no harm."""
    for module in 'corbel', 'corbel_iommu':
        status, out = m.sh(f'rmmod {module}')
        ok(status != 0 and out.strip().count('\n') == 0 and re.search('in use|busy|temporarily unavailable', out), f'{m.label}: {module}.ko is not unloaded, in one line', out)
    ok(m.sh('grep -c "^corbel" /proc/modules')[1].strip() == '2' and m.json('corbel info --json').get('iommu') == 'strict', f'{m.label}: both are there still')


def count(table, pattern):
    return sum(int(n) for line in table.splitlines() if re.search(pattern, line) for n in re.findall(r'\s(\d+)(?=\s)', line))


def disks(m, want, again=False):
    out = m.out_of(f'sh /run/disks "{" ".join(want)}"', 60)
    for serial, (name, before, after) in want.items():
        got = re.search(rf'^{serial}: (\S+)(?: (\S+))?', out, re.M)
        ok(got and got.group(1) == (after if again else before), f'{m.label}: disk {serial} is read right', out)
        ok(got and got.group(2) == after, f'{m.label}: disk {serial} gives back what was written', out)
        with open(name, 'rb') as f:
            ok(md5(f.read()) == after, f'{m.label}: disk {serial} has it on the host')


def networks(m, machine):
    m.until('[ $(ip -4 -o addr | grep -c "10\\.0\\.[12]\\.") = 2 ]', 20)
    addresses = m.out_of('ip -4 -o addr')
    for i, nic in enumerate(NICS[machine]):
        have = re.search(rf'(\S+)\s+inet 10\.0\.{i + 1}\.\d+', addresses)
        ok(have, f'{m.label}: {nic} has an address by DHCP', addresses)
        if have:
            ping = m.sh(f'ping -c 3 -q -I {have.group(1)} 10.0.{i + 1}.2', 15)[1]
            ok(' 0% packet loss' in ping, f'{m.label}: {nic} is answered', ping)


def clocks(m):
    a = int(m.out_of('date +%s')), int(m.out_of('hwclock -u >/dev/null; cat /sys/class/rtc/rtc0/since_epoch'))
    ok(abs(a[0] - a[1]) < 5, f'{m.label}: the RTC agrees with the system clock', a)
    one = m.uptime()
    m.out_of('sleep 5')
    two = m.uptime()
    ok(abs((two[0] - one[0]) - (two[1] - one[1])) < 0.5 + one[2] + two[2], f'{m.label}: dom0\'s time runs as the host\'s', (one, two))


def interrupts(m, machine):
    table = m.out_of('cat /proc/interrupts')
    ok(count(table, r'PCI-MSI.*virtio') > 0, f'{m.label}: MSI-X interrupts arrive (virtio)', table)
    ok(count(table, r'PCI-MSI.*nvme') > 0, f'{m.label}: MSI-X interrupts arrive (nvme)', table)
    if machine == 'q35':
        ok(count(table, r'PCI-MSI.*(ahci|xhci)') > 0, f'{m.label}: MSI interrupts arrive (ahci)', table)
    else:
        ok(count(table, r'IO-APIC.*fasteoi.*(ehci|eth)') > 0, f'{m.label}: level interrupts arrive (ehci, e1000)', table)
        ok(count(table, r'IO-APIC.*edge.*ata_piix') > 0, f'{m.label}: edge interrupts arrive (ata_piix)', table)
    spurious = m.sh('dmesg | grep -iE "nobody cared|spurious"')[1]
    ok(not spurious.strip(), f'{m.label}: no interrupt that nobody wanted', spurious)


# ---- dom0's kernel log against bare Linux' ----

LATE = r'hpet: Lost \d+ RTC interrupts|hrtimer: interrupt took'  # a host that is busy elsewhere, with Corbel and without


def log_lines(m):
    """Warnings and errors (priority 4 or lower), without times and addresses."""
    out = m.out_of("dmesg -r | grep -E '^<[0-4]>' | head -c 20000; true", 15)
    lines = [re.sub(r'^<\d>\[[^\]]*\] ', '', l) for l in out.splitlines() if l.startswith('<') and not re.search(LATE, l)]
    return {re.sub(r'0x[0-9a-f]+|[0-9a-f]{8,}|\d+', 'N', l) for l in lines}


def same_log():
    for dom0 in 'cloud', 'amd64':
        logs = {}
        for bare in True, False:
            with Machine(f'log of {dom0}, {"bare" if bare else "Corbel"}', dom0=dom0, bare=bare) as m:
                m.prompt()
                if bare:
                    m.sh('modprobe corbel')
                logs[bare] = log_lines(m)
        need(logs[True], f'{dom0}: bare Linux has lines to compare with')
        extra = {l for l in logs[False] - logs[True] if not l.startswith('corbel: /dev/kvm on')}
        ok(not extra, f'{dom0}: dom0\'s kernel log has no warning or error that bare Linux\' lacks', '\n'.join(sorted(extra)))


def added_later():
    """A CPU and memory that the machine gets while it runs: neither does harm, and what cannot be had is told in a line."""
    with Machine('added later', cpus='1,maxcpus=2', mem='1G,slots=1,maxmem=4G') as m:
        m.prompt()
        monitor(m.base, 'device_add max-x86_64-cpu,socket-id=0,core-id=1,thread-id=0')
        told = m.sh('n=0; until dmesg | grep "Processor .* ignored" || [ $n -ge 10 ]; do n=$((n+1)); sleep 1; done', 15)[1]
        ok('limit of 1 reached' in told, f'{m.label}: dom0 refuses a CPU in one line', told)
        there = m.out_of('echo /sys/devices/system/cpu/cpu[0-9]*')
        ok(there == '/sys/devices/system/cpu/cpu0', f'{m.label}: there is nothing that it could try to start', there)
        monitor(m.base, 'object_add memory-backend-ram,id=more,size=1G')
        monitor(m.base, 'device_add pc-dimm,memdev=more')
        # What is movable only is what programs, and so guests, get first.
        used = m.sh('n=0; until grep -l offline /sys/devices/system/memory/memory*/state || [ $n -ge 10 ]; do n=$((n+1)); sleep 1; done; sleep 1; '
                    'for f in /sys/devices/system/memory/memory*/state; do grep -q offline $f && echo online_movable > $f; done; free -m', 30)[1]
        total = re.search(r'Mem:\s+(\d+)', used)
        ok(total and int(total.group(1)) > 1800, f'{m.label}: dom0 uses added memory', used)
        free = "awk '/zone +Movable/ { m = 1 } m && /pages free/ { print $3; exit }' /proc/zoneinfo"
        before = int(m.out_of(free))
        m.out_of('corbel create /etc/corbel/demo.cfg', 60)
        ok(m.guest_up(), f'{m.label}: a guest runs', m.sh('dmesg | tail -5; corbel dmesg | tail -5')[1])
        after = int(m.out_of(free))
        ok(after < before - 10000, f'{m.label}: in added memory', f'{before} pages of it were free before, {after} are')
        told = m.sh('dmesg | grep "cannot go on"')[1]
        ok(not told.strip(), f'{m.label}: no guest ends for it', told)


def refused(m, module, why):
    """A module does not load, and says why."""
    status, out = m.sh(f'dmesg -c > /dev/null; modprobe {module}')
    # Busybox tries the two system calls there are for loading, so the same line may come twice.
    lines = {l.split('] ', 1)[-1] for l in m.sh(f'dmesg | grep {module}:')[1].strip().splitlines()}
    ok(status != 0, f'{m.label}: {module}.ko does not load', out)
    ok(len(lines) == 1 and why in min(lines), f'{m.label}: {module}.ko says why in one line', lines)


def module_without_corbel():
    with Machine('module on bare Linux', bare=True) as m:
        m.prompt()
        refused(m, 'corbel', 'no Corbel')
        ok(m.sh('modprobe corbel_iommu')[0] != 0 and m.sh('grep corbel /proc/modules')[0] != 0, f'{m.label}: corbel_iommu.ko does not load without corbel.ko')
        ok(m.sh('test -e /dev/corbel')[0] != 0, 'corbel.ko without Corbel: leaves no device')


main(devices('q35'), devices('pc'), behind('intel', ',aw-bits=48'), behind('amd'), same_log, added_later, module_without_corbel)
