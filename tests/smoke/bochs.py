#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""VT-x: `make run-bochs` comes to dom0's prompt and the demo guest's shell; the guest's virtio disk is mounted and written."""
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import BUILD, Machine
from lib.report import main, ok

SLOWER = 10  # than QEMU; a quiet machine needs two to three minutes in all


class Bochs(Machine):
    """`make run-bochs`."""

    def __init__(self, label):
        super().__init__(label, life=850)
        self.command = ['make', '-s', 'run-bochs', f'BUILD={BUILD}']

    def wait(self, pattern, seconds):
        return super().wait(pattern, seconds * SLOWER)

    def emulator_fault(self):
        return False


def vmx():
    with Bochs('Bochs') as m:
        m.prompt()
        info = m.json('corbel info --json')
        ok(info['backend'] == 'vmx', 'the back end is VT-x', info)
        m.out_of('n=0; until grep -q "demo: ready" /run/corbel/demo/console.log || [ $n -ge 60 ]; do n=$((n+1)); sleep 1; done', 70)
        out = m.out_of('corbel list')
        ok([l for l in out.splitlines() if l.startswith('demo ') and 'running' in l], 'corbel list shows demo running', out)
        m.send('corbel console demo\r')
        m.expect('detaches', 'corbel console attaches')
        m.send('\r')
        m.expect('demo# ', 'corbel console demo gives the guest\'s shell')

        def guest(command):
            return m.sh(command, 15, 'demo# ')[1].strip()
        ok('/mnt' in guest('grep /dev/vda /proc/mounts') and guest('grep -c boot /mnt/boots') != '0', 'demo: its virtio disk is mounted and written')
        ok(guest('dmesg | grep -c "Hypervisor detected: KVM"') == '1', 'demo: the guest has found KVM')
        out = guest('dmesg | grep -iE "lockup|stall|BUG:|Call Trace"')
        ok(not out, 'demo: no lockup or stall in the guest\'s kernel log', out)
        m.send('\x1d')
        m.expect('dom0# ', 'Ctrl-] detaches from the console')
        exits = m.json('corbel stat demo --json')
        ok(exits, 'corbel stat shows exits by reason', exits)
        bad = m.sh('dmesg | grep -E "lockup|stall|BUG:|WARNING: CPU|Call Trace"')[1]
        ok(not bad.strip(), 'no lockup or warning in dom0\'s kernel log', bad)


main(vmx)
