#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""GRUB to dom0's prompt: firmwares, CPU counts and models, memory sizes, kernels and their forms; poweroff and reboot."""
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine
from lib.report import main, ok


def look(m, cpus, mem_gib):
    """What must be true at every dom0 prompt."""
    online = m.out_of('nproc')
    ok(online == str(cpus), f'{m.label}: dom0 has {cpus} CPUs online', f'nproc says {online}')
    info = m.json('corbel info --json')
    ok(info.get('backend') == 'svm' and info.get('cpus') == cpus,
       f'{m.label}: corbel info names back end svm and {cpus} CPUs', info)
    total = int(m.out_of("awk '/MemTotal/ {print $2}' /proc/meminfo")) / 1048576
    ok(mem_gib * 0.80 < total < mem_gib, f'{m.label}: dom0 has most of {mem_gib} GiB', f'MemTotal is {total:.2f} GiB')
    ok('kvm-clock' in m.out_of('cat /sys/devices/system/clocksource/clocksource0/available_clocksource'),
       f'{m.label}: dom0 has the paravirtual clock')


def left_out(m, used, cpus):
    ok(f'{cpus - used} of {cpus} CPUs are left out' in m.out_of('corbel dmesg'), f'{m.label}: the log says that CPUs are left out')
    tried = m.out_of('dmesg | grep -ci "do_boot_cpu failed\\|not responding" || true')
    ok(tried == '0', f'{m.label}: dom0 does not try to start them', m.out_of('dmesg | grep CPU'))


def combination(label, cpus=2, mem=2, seconds=30, used=None, **options):
    """used: as many CPUs as are left of them."""
    def part():
        with Machine(label, cpus=cpus, mem=f'{mem}G', **options) as m:
            m.prompt(seconds=seconds)
            look(m, used or cpus, mem)
            if used:
                left_out(m, used, cpus)
            m.send('poweroff\r')
            m.ends(f'{label}: poweroff in dom0 ends the machine')
    part.__name__ = label
    return part


def reboot():
    with Machine('reboot', reboot=True) as m:
        m.prompt()
        m.send('reboot\r')
        m.expect(r'GRUB|Booting', 'reboot: dom0\'s reboot comes back to the boot loader', 30)
        m.prompt('reboot: the machine comes to the prompt again')


main(
    combination('BIOS, 1 CPU, 1 GiB', cpus=1, mem=1),
    combination('UEFI, 4 CPUs, 16 GiB, EPYC', cpus=4, mem=16, cpu='EPYC', firmware='uefi'),
    combination('BIOS, 8 CPUs', cpus=8),
    combination('BIOS, 72 CPUs', cpus=72, used=64, mem=8, seconds=110),
    combination('-M pc', machine='pc'),
    combination('EPYC, BIOS', cpu='EPYC'),
    combination('ELF kernel', dom0='cloud-elf'),
    combination('amd64 kernel', dom0='amd64'),
    combination('amd64 kernel, UEFI', dom0='amd64', firmware='uefi'),
    reboot,
)
