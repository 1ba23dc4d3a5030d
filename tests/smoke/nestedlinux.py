#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A guest of a guest on AMD-V, with Debian's kernel and QEMU on each floor: Debian's kvm-amd is the guest's. Part of `make test-full` only."""
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, ok

QEMU = 'qemu-system-x86_64 -M q35 -accel kvm -nodefaults -display none -serial stdio -monitor none'
# TCG does not intercept XSETBV, which KVM relies on: its guest has none.
INNER = f'{QEMU} -cpu host,-xsave,-avx,-avx2 -smp 2 -m 160 -kernel /kernel -initrd /initrd -append "console=ttyS0 quiet panic=-1 mitigations=off"'


def linux():
    label = 'nested paging'
    disks = []
    for file in '/boot/vmlinuz', '/run/script', '/usr/share/corbel/demo/initrd':
        disks += [f'-drive file={file},format=raw,if=virtio,readonly=on']
    with Machine(f'a guest of a guest, {label}', mem='3G', hv='nested=on', life=900,
                 extra=[x for name in ('dom0/full.cpio', 'target/nested.img')
                        for x in ('-drive', f'file={build_file(name)},format=raw,if=virtio,readonly=on')]) as m:
        m.prompt()
        m.out_of('cd / && cpio -idmu < /dev/vda; cp /dev/vdb /run/initrd; cd', 30)
        m.out_of(f"printf '%s\\n' 'cp /dev/vda /kernel; cp /dev/vdc /initrd; cat /sys/module/kvm_amd/parameters/npt' '{INNER}' 'echo inner ends: $?' 'dmesg | grep -iE \"lockup|stall|BUG:|WARNING:\"' > /run/script; truncate -s 4096 /run/script")
        m.send(f'{QEMU} -smp 2 -cpu host -m 640 -kernel /boot/vmlinuz -initrd /run/initrd '
               f'-append "console=ttyS0 quiet panic=-1 mitigations=off" {" ".join(disks)}\r')
        m.expect(r'\n[YN]\s', f'{label}: the guest\'s Debian has KVM', 90)
        m.expect('demo: ready, 2 CPU', f'{label}: its guest boots Linux', 300)
        m.expect('demo# ', f'{label}: and gives its shell', 60)
        out = m.out_of('grep -c hypervisor /proc/cpuinfo', 30, 'demo# ')
        ok(out == '2', f'{label}: it knows that it is a guest', out)
        m.out_of('i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; dd if=/dev/zero of=/run/file bs=1M count=20; rm /run/file', 120, 'demo# ')
        m.send('poweroff -f\r')
        m.expect('inner ends: 0', f'{label}: its poweroff ends the guest\'s QEMU', 60)
        m.expect('dom0# ', f'{label}: and the guest\'s ends dom0\'s', 60)
        lines = m.sh('corbel dmesg | tail -n 20')[1]
        ok('not handled' not in lines and 'cannot emulate' not in lines, f'{label}: the hypervisor has nothing to complain of', lines)


main(linux)
