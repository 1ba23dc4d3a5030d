#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Guests of guests on VT-x, in Bochs with nested=on: KVM's own selftests of VMX, as far as they want what there is; VMX MSRs that a VMM
restricts, and a guest of a guest that moves to another VM, with an enlightened VMCS, too (tests/kvm/vmxstate.c)."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Bochs, build_file
from lib.report import main, ok


def selftests():
    with Bochs('VMX', ['tests/bochs', build_file('bochs-vmx.iso'), '--mem', '1024', '--ips', '100000000']) as m:
        m.prompt()
        before = m.json('corbel info --json')
        status, out = m.sh('/vmxstate', 60)
        for kind, what in re.findall(r'^(ok|not ok) - (.*?)\r*$', out, re.M):
            ok(kind == 'ok', what)
        ok(status == 0, 'vmxstate says that all is well', out)
        for name in m.out_of('ls /selftests').split():
            status, out = m.sh(f'/selftests/{name} > /run/out 2>&1; S=$?; tail -n 12 /run/out | cut -c 1-180; (exit $S)', 60)
            ok(status == 0, name, out)
        after = m.json('corbel info --json')
        for key in 'vms', 'vcpus', 'pool_free_bytes':
            ok(before[key] == after[key], f'{key} is as before', f'{before[key]} before, {after[key]} after')


main(selftests)
