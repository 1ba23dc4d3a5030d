#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Debian 13's QEMU 10 in dom0: it asks KVM for more than Debian 12's does. Part of `make test-full` only."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, ok


def qemu10():
    """Needs build/qemu10.cpio: see tests/dom0/debian13."""
    disk = f'file={build_file("qemu10.cpio")},format=raw,if=virtio,readonly=on'
    with Machine('QEMU 10', mem='3G', extra=['-drive', disk]) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -idm < /dev/vda && cd && mount --bind /dev /run/t/debian13/dev', 60)
        version = m.out_of('chroot /run/t/debian13 qemu-system-x86_64 --version | head -n 1', 20)
        ok(re.search(r'version 1\d\.', version), 'it is QEMU 10 or newer', version)
        m.send('chroot /run/t/debian13 qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 256 -smp 2 -nodefaults '
               '-display none -kernel /boot/vmlinuz -initrd /boot/initrd -append "console=ttyS0 quiet panic=-1" '
               '-serial mon:stdio\r')
        m.expect(r'demo: ready, 2 CPUs', 'a q35 guest boots with 2 CPUs', 60)
        m.expect('demo# ', 'the guest gives its shell', 20)
        m.send('reboot -f\r')
        m.expect(r'demo: ready, 2 CPUs', 'it reboots, QEMU lives', 60)
        m.expect('demo# ', 'and gives its shell again', 20)
        status, out = m.sh('dmesg | grep -iE "lockup|stall|BUG:|WARNING:|Call Trace"', 10, 'demo# ')
        ok(status == 1, 'the guest\'s kernel log has no lockup, stall or warning', out)
        m.send('poweroff -f\r')
        m.expect('dom0# ', 'the guest\'s poweroff ends QEMU', 20)
        vms = m.json('corbel info --json')['vms']
        ok(vms == 1, 'the VM is gone from the hypervisor', f'{vms} VMs')


main(qemu10)
