#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""
VT-x: `make run-bochs` comes to dom0's prompt and the demo guest's shell; the guest's virtio disk is mounted and written. And
the guests and hypercalls of the tests `hostile` and `fuzz` do no harm there either, and MSRs are filtered, instructions kept from guests, SMM is, a debugger steps, and descriptors lie in a ROM, as in the test `kvm`.
Its firmware has idle states by _CST.
"""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import BUILD, Bochs, build_file
from lib.report import main, ok


def hostile():
    # A virtual second is 100 million instructions: what takes its time there is short here.
    with Bochs('hostile', ['tests/bochs', build_file('bochs-hostile.iso'), '--mem', '1024', '--ips', '100000000']) as m:
        m.prompt()
        out = m.out_of('corbel dmesg | grep idle:')
        ok('_CST has 2 states, of which bits 3 are used: C3 at most' in out,
           'hostile: a firmware that speaks of MWAIT only to who knows it is told so, and its states are used', out)
        before = m.json('corbel info --json')
        status, out = m.sh('/guests', 60)
        for kind, what in re.findall(r'(?:^|\) ?|\n)(ok|not ok) - (.*?)\r*$', out, re.M):
            ok(kind == 'ok', f'hostile: {what}')
        ok(not status, 'hostile: all guests are as they should be', out)
        for program in 'msrs', 'insns', 'quirks', 'smm', 'debugger', 'rom':
            status, out = m.sh(f'/{program}', 60)
            for kind, what in re.findall(r'^(ok|not ok) - (.*?)\r*$', out, re.M):
                ok(kind == 'ok', f'hostile: {what}')
            ok(not status, f'hostile: {program} says that all is well', out)
        out = m.out_of('insmod /hcfuzz.ko seconds=2 seed=5; rmmod hcfuzz; dmesg | grep hcfuzz:', 30)
        for kind, what in re.findall(r'hcfuzz: (ok|not ok) - (.*?)\r*$', out, re.M):
            ok(kind == 'ok', f'hostile: {what}')
        after = m.json('corbel info --json')
        for key in 'vms', 'vcpus', 'pool_free_bytes':
            ok(before[key] == after[key], f'hostile: {key} is as before', f'{before[key]} before, {after[key]} after')


def vmx():
    with Bochs('Bochs', ['make', '-s', 'run-bochs', f'BUILD={BUILD}']) as m:
        m.prompt()
        info = m.json('corbel info --json')
        ok(info['backend'] == 'vmx', 'the back end is VT-x', info)
        m.guest_up()
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


main(vmx, hostile)
