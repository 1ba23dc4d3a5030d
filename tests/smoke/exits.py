#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A million exits of guests that begin in random states and execute what exits (tests/kvm/exits.c), on a hypervisor that checks its locks,
beside a guest. Part of `make test-full` only."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, note, ok

KEYS = 'vms', 'vcpus', 'doorbells', 'pool_free_bytes'
THOUSANDS = int(os.environ.get('THOUSANDS', '1000'))


def exits():
    seed = int(os.environ.get('SEED', '7'))
    disk = f'file={build_file("kvm-tests.cpio")},format=raw,if=virtio,readonly=on'
    with Machine(f'exits, seed {seed}', extra=['-drive', disk], life=3600, iso='checked.iso') as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && cd', 20)
        m.out_of('corbel create /etc/corbel/demo.cfg', 60)
        ok(m.guest_up(), 'a guest is beside them', m.sh('tail -n 5 /run/corbel/demo/console.log')[1])
        before = m.json('corbel info --json')
        status, out = m.sh(f'/run/t/exits {THOUSANDS} {seed}', 60 + THOUSANDS)
        for text in re.findall(r'^# (.*?)\r*$', out, re.M):
            note(text)
        for kind, what in re.findall(r'^(ok|not ok) - (.*?)\r*$', out, re.M):
            ok(kind == 'ok', what, out)
        ok(status == 0, 'the program says that all is well', out[-2000:])
        after = m.json('corbel info --json')
        for key in KEYS:
            ok(before[key] == after[key], f'{key} is as before', f'{before[key]} before, {after[key]} after')
        m.send('corbel console demo\r')
        m.expect('detaches', 'the guest beside them: its console attaches')
        m.send('\r')
        m.expect('demo# ', 'the guest beside them: its shell answers', 20)
        m.send('\x1d')
        m.expect('dom0# ', 'the guest beside them: Ctrl-] detaches')
        bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall|corbel: (vCPU|VM)"')[1]
        ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)


main(exits)
