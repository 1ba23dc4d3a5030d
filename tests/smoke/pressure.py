#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Guests' memory: more than dom0 has, with swap on a disk; persistent memory (tests/kvm/pressure.c; what of it is short is in the test `kvm`).
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


def nvdimm():
    """A device of persistent memory as a guest's, by small pages and by large ones; then as dom0's memory, out of which guests have theirs."""
    nd = '/sys/bus/nd'
    with Machine('NVDIMM', mem='1G,slots=2,maxmem=4G', machine='q35,nvdimm=on', extra=[
            '-drive', f'file={build_file("kvm-tests.cpio")},format=raw,if=virtio,readonly=on',
            '-object', 'memory-backend-ram,id=pm,size=512M', '-device', 'nvdimm,memdev=pm']) as m:
        m.prompt()
        m.out_of('mount -t debugfs none /sys/kernel/debug; mkdir -p /run/t && cd /run/t && cpio -id pressure < /dev/vda && cd', 30)
        m.out_of(f'modprobe -a nfit nd_pmem dax_pmem device_dax; echo namespace0.0 > {nd}/drivers/nd_pmem/unbind', 30)
        for number, align in enumerate((4096, 2 << 20)):
            dax = f'{nd}/devices/dax0.{number}'
            m.out_of(f'echo ram > {dax}/mode; echo {align} > {dax}/align; echo 5a9d0e1c-5c1f-4b3c-8f0e-7a1d2c3b4e0{number} > {dax}/uuid; '
                       f'echo namespace0.0 > {dax}/namespace; echo dax0.{number} > {nd}/drivers/dax_pmem/bind', 30)
            status, out = m.sh(f'/run/t/pressure device $(ls /dev/dax*)', 120)
            ok(status == 0 and out.count('ok - ') == 3, f'persistent memory by pages of {align >> 10} KiB is a guest\'s as any other', out)
            if number == 0:
                m.out_of(f'echo dax0.0 > {nd}/drivers/dax_pmem/unbind; echo > {dax}/namespace', 30)
        movable = "awk '/zone +Movable/ { m = 1 } m && /pages free/ { print $3; exit }' /proc/zoneinfo"
        m.out_of('modprobe kmem; cd /sys/bus/dax; d=$(ls devices); echo $d > drivers/device_dax/unbind && echo $d > drivers/kmem/new_id; cd; '
                 'for f in $(grep -l offline /sys/devices/system/memory/memory*/state); do echo online_movable > $f; done', 30)
        before = int(m.out_of(movable))
        ok(before > 60000, 'persistent memory can be dom0\'s memory', before)
        m.out_of('corbel create /etc/corbel/demo.cfg', 60)
        ok(m.guest_up(), 'NVDIMM: a guest runs', m.sh('dmesg | tail -5; corbel dmesg | tail -5')[1])
        after = int(m.out_of(movable))
        ok(after < before - 10000, 'NVDIMM: out of that', f'{before} pages of it were free before, {after} are')
        ok(m.json('corbel info --json')['vms'] == 2, 'NVDIMM: nothing of the other guests is left in the hypervisor')


main(swap, nvdimm)
