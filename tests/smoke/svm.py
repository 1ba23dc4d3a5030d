#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Guests of guests on AMD-V: tests/kvm/nested.c and its like, whose guest is a hypervisor of a few instructions, and KVM's own selftests."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import selftests
from lib.machine import Machine, build_file
from lib.report import main, ok


def run(m, what):
    m.prompt()
    m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && cd', 20)
    before = m.json('corbel info --json')
    for program in what:
        status, out = m.sh(f'/run/t/{program}', 120)
        for kind, line in re.findall(r'^(ok|not ok) - (.*?)\r*$', out, re.M):
            ok(kind == 'ok', line)
        ok(status == 0, f'{program}: all is well', out)
    after = m.json('corbel info --json')
    for key in 'vms', 'vcpus', 'pool_free_bytes':
        ok(before[key] == after[key], f'{key} is as before', f'{before[key]} before, {after[key]} after')
    bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall"')[1]
    ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)


def machine(label, hv):
    return Machine(label, mem='2G', hv=hv, extra=['-drive', f'file={build_file("kvm-tests.cpio")},format=raw,if=virtio,readonly=on'])


def on():
    with machine('nested=on', 'nested=on') as m:
        run(m, ['nested', 'nested_state', 'nested_smm', 'crowd'])


def off():
    with machine('nested=off', '') as m:
        run(m, ['nested off'])


def kvms():
    selftests.run('KVM\'s selftests of guests of guests', 'selftests-nested.cpio', 'nested=on')


main(on, off, kvms)
