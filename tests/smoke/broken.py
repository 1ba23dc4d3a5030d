#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Broken memory of guests, tests/kvm/broken.c, in a dom0 whose kernel retires it: the VMM is told, the guest and all others go on."""
import os
import re
import sys
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import PATIENCE, Machine, build_file
from lib.report import main, need, ok
from lib.screen import monitor

CPU = 'max,vendor=CentaurHauls'  # its machine checks are like Intel's, and QEMU lets it have AMD-V
CORRECTED = '0x9c000000000000c1 0'  # the same, and nothing is lost
SCRUBBED = '0xbd000000000000c1 5'  # bank and machine: the memory controller has found it, nobody has used it, all can go on
MISC = '0x8c'  # a physical address, of a page


def idle_cpu(m):
    """Stop the machine while a CPU is halted -> its number. That is in the hypervisor: HLT of all others exits."""
    end = time.monotonic() + 5 * PATIENCE  # it has just booted
    while time.monotonic() < end:
        monitor(m.base, 'stop')
        cpus = re.split(r'CPU#(\d+)', monitor(m.base, 'info registers -a'))[1:]
        idle = [number for number, text in zip(cpus[::2], cpus[1::2]) if re.search(r'\bHLT=1', text)]
        if idle:
            return idle[-1]
        monitor(m.base, 'cont')
        time.sleep(0.02)
    return None


def tell(out, status, program):
    for kind, what in re.findall(r'^(ok|not ok) - (.*?)\r*$', out, re.M):
        ok(kind == 'ok', what)
    ok(status == 0, f'{program} says that all is well', out)


def break_memory(m, address, bank=2, how=SCRUBBED):
    """The machine finds that memory is broken, and nobody has used it. -> the CPU that did"""
    cpu = idle_cpu(m)
    need(cpu is not None, f'{m.label}: a CPU idles in the hypervisor')
    monitor(m.base, f'mce {cpu} {bank} {how} {address} {MISC}')
    monitor(m.base, 'cont')
    return cpu


# More than the event page has places: four for frames, 32 for banks
WITHOUT = [f'123{n:02x}000' for n in range(34)]


def not_retired():
    """Debian's cloud kernel has no memory_failure(), and says so, also of what breaks while there is no corbel.ko."""
    with Machine('broken memory, cloud kernel', cpu=CPU) as m:
        m.prompt()
        break_memory(m, '0x12366000')
        ok(m.until('dmesg | grep -q "corbel: the memory at 12366000 is broken, and this kernel cannot retire it"', 10),
           'a kernel that cannot retire memory says so', m.sh('dmesg | tail -5; corbel dmesg | tail -5')[1])
        m.out_of('rmmod corbel', 20)
        for address in WITHOUT:
            break_memory(m, f'0x{address}')
            m.expect(f'memory at {address} is broken', f'the hypervisor tells of {address}')
        m.out_of('modprobe corbel', 20)
        ok(m.until('dmesg | grep -q "corbel: 2 machine checks more than could be told"', 10), 'of banks as many as there is room for, and how many more',
           m.sh('dmesg | tail -5')[1])
        ok(m.until('dmesg | grep -qE "machine check of the CPU with APIC id [01], bank 2: status bd000000000000c1, address 12300000, misc 8c"', 10),
           'a kernel without a log of machine checks has a line of each', m.sh('dmesg | tail -50')[1])
        lines = 'dmesg | grep -c "corbel: machine check of the CPU with APIC id"'
        ok(m.until(f'[ $({lines}) -ge 32 ]', 10), 'as many as were told', m.sh(lines)[1])
        told = 'dmesg | grep -cE "memory at (%s) is broken, and this kernel"' % '|'.join(WITHOUT)
        ok(m.until(f'[ $({told}) = {len(WITHOUT)} ]', 10), 'what breaks before there is corbel.ko it hears of when it comes',
           m.sh('dmesg | grep broken; corbel dmesg | tail -8')[1])


def broken():
    disk = f'file={build_file("kvm-tests.cpio")},format=raw,if=virtio,readonly=on'
    with Machine('broken memory', dom0='amd64', cpu=CPU, extra=['-drive', disk], life=400) as m:
        m.prompt()
        m.out_of('modprobe virtio_blk; mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && mv widen-amd64.ko widen.ko && cd', 20)
        m.out_of('mount -t tracefs t /sys/kernel/tracing; echo 1 > /sys/kernel/tracing/events/mce/mce_record/enable', 20)
        corrects = break_memory(m, '0x12345000', 3, CORRECTED)  # found within a minute
        m.out_of('corbel create /etc/corbel/demo.cfg', 60)
        need(m.guest_up(), 'an innocent guest runs beside them')
        before = m.json('corbel info --json')
        status, out = m.sh('/run/t/broken', 60)
        tell(out, status, 'broken')

        m.send('/run/t/broken wait; echo status $?\r')
        m.child.expect(r'broken frame: (0x[0-9a-f]+)\r', 60)
        address = m.child.match.group(1)
        break_memory(m, address)
        m.child.expect(r'status (\d+)', 90)
        tell(m.child.before, int(m.child.match.group(1)), 'broken wait')
        m.child.expect('dom0# ', 10)
        lines = m.sh('corbel dmesg | grep "machine check"')[1]
        ok(re.search(rf'machine check, bank 2: status bd000000000000c1, memory at {address[2:]} is broken', lines),
           'the hypervisor\'s log says which memory it is', lines)
        trace = '/sys/kernel/tracing/trace'
        record = r'mce_record: CPU: %s, MCGc/s: [1-9a-f]\w*/%s, MC%s, IPID: 0+, ADDR/MISC/SYND: 0*%s/0*8c/0+, .* TSC: [1-9a-f]\w*, PROCESSOR: \d+:\w+, TIME: \d{10}, SOCKET: \d, APIC: %s'
        for what, fields in (('what nobody has used', (r'\d+', r'\w+', '2: 0*bd000000000000c1', address[2:], r'\d+')),
                             ('a corrected error', (corrects, '0+', '3: 0*9c000000000000c1', '12345000', corrects))):
            wanted = record % fields
            m.until(f'grep -q "ADDR/MISC/SYND: 0*{fields[3]}" {trace}', 70)
            text = m.sh(f'cat {trace}')[1]
            ok(re.search(wanted, text), f'rasdaemon\'s tracepoint has {what}', wanted + '\n' + text)
        ok('corrected, 1 by now' in m.sh('corbel dmesg')[1] and 'Machine check events logged' in m.sh('dmesg')[1],
           'so have the hypervisor\'s log and dom0\'s kernel log', m.sh('dmesg | tail -5; corbel dmesg | tail -5')[1])
        after = m.json('corbel info --json')
        for key in 'vms', 'vcpus':
            ok(before[key] == after[key], f'{key} is as before', f'{before[key]} before, {after[key]} after')
        ok('demo' in m.sh('corbel list')[1], 'the innocent guest lives')
        bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall"')[1]
        ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)


main(broken, not_retired)
