#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Hostile VMMs and guests, tests/kvm/vmms.c, longwork.c and guests.c, beside a Linux guest: nobody else notices, and nothing of them is left."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, need, note, ok


def guests():
    disk = f'file={build_file("kvm-tests.cpio")},format=raw,if=virtio,readonly=on'
    with Machine('hostile guests', extra=['-drive', disk], life=840) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && cd', 20)
        m.out_of('corbel create /etc/corbel/demo.cfg', 60)
        need(m.guest_up(), 'an innocent guest runs beside them')
        before = m.json('corbel info --json')
        for program, seconds in ('vmms', 110), ('longwork', 70), ('guests', 150):
            status, out = m.sh(f'/run/t/{program}', seconds)
            for line in re.findall(r'^# .*?(?=\r*$)', out, re.M):
                note(line[2:])
            for kind, what in re.findall(r'^(ok|not ok) - (.*?)\r*$', out, re.M):
                ok(kind == 'ok', what)
            ok(status == 0, f'{program} says that all is well', out)
        status, out = m.sh('/run/t/guests debug-registers > /dev/null && /run/t/kvmtool', 60)
        ok(status == 0, 'what a guest had breakpoints on the next one can run', out)
        after = m.json('corbel info --json')
        for key in 'vms', 'vcpus':
            ok(before[key] == after[key], f'{key} is as before', f'{before[key]} before, {after[key]} after')
        m.send('corbel console demo\r')
        m.expect('detaches', 'the Linux guest: its console attaches')
        m.send('\r')
        m.expect('demo# ', 'the Linux guest: its shell answers', 20)
        status, out = m.sh('ping -c 2 -q 172.31.0.1 && ! dmesg | grep -iE "lockup|stall|BUG:|WARNING:|Call Trace"', 15, 'demo# ')
        ok(status == 0, 'the Linux guest: it reaches dom0, its kernel log has no complaint', out)
        m.send('\x1d')
        m.expect('dom0# ', 'the Linux guest: Ctrl-] detaches')
        ended = m.sh('dmesg | grep "corbel: VM .* is ended: pages from .* cannot be unmapped"')[1]
        ok(ended.count('(-5)') == 1, 'dom0\'s kernel log says that a page could not be taken from a guest', ended)
        bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall|corbel: VM" | grep -v "is ended: pages from"')[1]
        ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)


main(guests)
