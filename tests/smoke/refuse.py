#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Boots that cannot work end in one line naming cause and cure; bad options are named and the boot goes on."""
import glob
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, ok

KERNEL = os.path.relpath(glob.glob(build_file('kernel/*-cloud-amd64/vmlinuz'))[0], build_file(''))


def refusal(label, cause, cure, disk=None, **options):
    """The console shows a line with cause and cure, dom0 never starts, and the machine stands still."""
    def part():
        with Machine(label, cpus=1, nic=None, **{'hv': 'noreboot', **options}) as m:
            m.expect('corbel: [^\r\n]*(?=[\r\n])', f'{label}: the boot ends in a line of Corbel\'s', 15)
            line = m.child.match.group(0)
            ok(re.search(cause, line), f'{label}: the line names the cause', line)
            ok(re.search(cure, line), f'{label}: the line says what to do', line)
            ok(m.wait('Linux version|dom0# |GRUB', 0.5) < 0 and m.child.isalive(), f'{label}: dom0 is not started, the machine halts')
    part.__name__ = label
    if not disk:
        return part

    # GRUB takes a range of a disk's sectors for a file; the first sector stays empty, so that nobody boots from there.
    def part_with_disk():
        name = build_file(f'logs/refuse-{label.replace(" ", "-")}.disk')
        os.makedirs(os.path.dirname(name), exist_ok=True)
        content = disk()
        with open(name, 'wb') as f:
            f.write(bytes(512) + content + bytes(-len(content) % 512))
        options['extra'] = ['-drive', f'file={name},format=raw,if=virtio,readonly=on']
        options['grub'] = options['grub'].replace('@', f'(hd0)1+{(len(content) + 511) // 512}')
        try:
            part()
        finally:
            os.remove(name)
    part_with_disk.__name__ = label
    return part_with_disk


def half_of(name):
    def read():
        with open(build_file(name), 'rb') as f:
            data = f.read()
        return data[:len(data) // 2 & ~511]
    return read


def options_warned():
    with Machine('bad options', hv='colour=green loglvl=much maxcpus=-3 console=com1,9x6') as m:
        m.prompt()
        text = m.transcript()
        for name in 'colour', 'loglvl', 'maxcpus', 'console':
            ok(re.search(rf'\(hv\).*option "{name}[^"]*" is ignored', text), f'bad options: {name}= is named in a warning', text[-1500:])


def cpus_limited():
    with Machine('maxcpus=1 of 2', hv='maxcpus=1') as m:
        m.prompt()
        ok(m.out_of('nproc') == '1', 'maxcpus=1: dom0 has one CPU')
        ok(m.json('corbel info --json')['cpus'] == 1, 'maxcpus=1: the hypervisor uses one CPU')
    with Machine('dom0_max_vcpus=1 of 2', hv='dom0_max_vcpus=1 dom0_mem=1024M') as m:
        m.prompt()
        ok(m.out_of('nproc') == '1', 'dom0_max_vcpus=1: dom0 has one CPU')
        ok(m.json('corbel info --json')['cpus'] == 2, 'dom0_max_vcpus=1: the hypervisor uses both CPUs')
        total = int(m.out_of("awk '/MemTotal/ {print $2}' /proc/meminfo")) / 1024
        ok(800 < total <= 1024, 'dom0_mem=1024M: dom0 has that much memory', f'{total:.0f} MiB')


def noreboot_left_out():
    """Without noreboot the machine is reset after the message."""
    with Machine('no NPT, reboot', cpus=1, nic=None, cpu='qemu64,+svm') as m:
        m.expect('corbel: [^\r\n]*NPT', 'a refused boot without noreboot: says why')
        m.ends('a refused boot without noreboot: resets the machine', 30)


def dom0_triple_fault():
    with Machine('triple fault', args='quiet dom0.demo=0 reboot=t,f', hv='noreboot') as m:
        m.prompt()
        m.send('reboot -f\r')
        m.expect(r'corbel: [^\r\n]*dom0[^\r\n]*[\r\n]', 'dom0\'s triple fault: told in one line', 20)
        ok('triple-faulted' in m.child.match.group(0), 'dom0\'s triple fault: the line names it', m.child.match.group(0))


def panic():
    with Machine('panic', hv='noreboot') as m:
        m.prompt()
        m.send('\x01\x01\x01Py')
        m.expect(r'panic|PANIC', 'panic: said on the console', 10)
        m.wait('halt', 3)
        text = m.transcript()
        for what, pattern in (('registers', r'\brip\b.*[0-9a-f]{8}'), ('a backtrace with names of functions', r'debug_key_console|end_machine'),
                              ('the CPU', r'CPU \d'), ('the last exits', r'exit')):
            ok(re.search(pattern, text[text.find('panic on'):]), f'panic: shows {what}', text[-2000:])


main(
    refusal('no SVM', r'no AMD-V', r'use a CPU|-cpu', cpu='max,-svm'),
    refusal('no NPT', r'NPT', r'use a newer CPU|-cpu', cpu='qemu64,+svm'),
    refusal('no long mode', r'no 64-bit long mode', r'use a 64-bit machine', cpu='qemu32'),
    refusal('no module', r'no dom0 kernel', r'add "module2', grub='multiboot2 /boot/corbel.elf $hv'),
    refusal('not a kernel', r'not a Linux kernel', r'make it the dom0 kernel',
            grub='multiboot2 /boot/corbel.elf $hv; module2 /boot/grub/grub.cfg'),
    refusal('kernel cut off', r'kernel is cut off', r'install it again',
            grub='multiboot2 /boot/corbel.elf $hv; module2 @; module2 /boot/initrd-cloud', disk=half_of(KERNEL)),
    refusal('not an initrd', r'not an initrd', r'install it again',
            grub='multiboot2 /boot/corbel.elf $hv; module2 /boot/vmlinuz-cloud; module2 /boot/grub/grub.cfg'),
    refusal('too little memory', r'not enough memory|too little memory', r'give', mem='128M'),
    refusal('dom0_mem too small', r'not enough memory', r'dom0_mem=', hv='noreboot dom0_mem=64M'),
    options_warned,
    cpus_limited,
    noreboot_left_out,
    dom0_triple_fault,
    panic,
)
