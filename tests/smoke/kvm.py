#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The KVM API as VMMs use it: tests/dom0/api, and tests/kvm's firecracker.c, cloudhv.c, kvmtool.c,
debugger.c, msrs.c, dirty.c and migrate.c, run in dom0. Afterwards nothing of them is left in the hypervisor."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, ok


def api():
    extra = []
    for cpio in 'dom0-tests.cpio', 'kvm-tests.cpio':
        extra += ['-drive', f'file={build_file(cpio)},format=raw,if=virtio,readonly=on']
    with Machine('KVM API', mem='1G', extra=extra) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && cpio -id < /dev/vdb && cd', 20)
        before = m.json('corbel info --json')
        for program in 'api', 'firecracker', 'cloudhv', 'kvmtool', 'debugger', 'msrs', 'dirty', 'migrate':
            status, out = m.sh(f'/run/t/{program}', 60)
            for kind, what in re.findall(r'^(ok|not ok) - (.*?)\r*$', out, re.M):
                ok(kind == 'ok', what)
            ok(status == 0, f'{program} says that all is well', out)
        lines = m.sh('corbel dmesg | grep "cannot emulate"')[1]
        ok(re.search(r'cannot emulate instruction at \w+ for address b8110\b', lines),
           'the log says which address the hypervisor could not emulate an access to', lines)
        after = m.json('corbel info --json')
        for key in 'vms', 'vcpus', 'pool_free_bytes':
            ok(before[key] == after[key], f'{key} is as before', f'{before[key]} before, {after[key]} after')
        bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall"')[1]
        ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)


main(api)
