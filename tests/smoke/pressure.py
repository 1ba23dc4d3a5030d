#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Guests' memory: more than dom0 has, with swap on a disk (tests/kvm/pressure.c; what of it is short is in the test `kvm`).
Part of `make test-full` only."""
import contextlib
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, ok


@contextlib.contextmanager
def empty_disk(name, size):
    path = build_file(f'logs/{name}')
    os.makedirs(build_file('logs'), exist_ok=True)
    with open(path, 'wb') as f:
        f.truncate(size)
    try:
        yield path
    finally:
        os.remove(path)


def swap():
    with empty_disk('pressure.swap', 2 << 30) as disk, Machine('swap', mem='512M', extra=[
            '-drive', f'file={build_file("kvm-tests.cpio")},format=raw,if=virtio,readonly=on', '-drive', f'file={disk},format=raw,if=virtio']) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -id pressure < /dev/vda && cd && mkswap /dev/vdb && swapon /dev/vdb', 30)
        status, out = m.sh('/run/t/pressure swap', 300)
        ok(status == 0 and out.count('ok - ') == 3 and 'not ok' not in out, 'guests that want more memory than dom0 has keep what they write', out)
        ok(m.json('corbel info --json')['vms'] == 1, 'swap: nothing of them is left in the hypervisor')
        bad = m.sh('dmesg | grep -iE "BUG:|WARNING:|Oops|lockup|stall|oom-kill|out of memory"')[1]
        ok(not bad.strip(), 'swap: dom0\'s kernel log has no complaint', bad)


main(swap)
