#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Guests' memory: more than dom0 has, with swap on a disk; persistent memory (tests/kvm/pressure.c; what of it is short is in the test `kvm`); and DIMMs,
virtio-mem, CPUs, pages that a guest reports as free or has in its balloon, which come and go while it runs. Part of `make test-full` only."""
import contextlib
import os
import sys
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.guest import COMPLAINTS, answers, told
from lib.machine import PATIENCE, Machine, build_file
from lib.report import main, need, ok


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


QEMU = ('qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 256,slots=2,maxmem=1G -smp 1,maxcpus=2 -nodefaults -display none '
        '-kernel /usr/share/corbel/demo/vmlinux -initrd /usr/share/corbel/demo/initrd '
        '-append "console=ttyS0 quiet panic=-1 memhp_default_state=online_movable" -object memory-backend-ram,id=more,size=256M '
        '-device virtio-mem-pci,id=more0,memdev=more,requested-size=0 -device virtio-balloon-pci,free-page-reporting=on '
        '-serial mon:telnet:127.0.0.1:4444,server=on,wait=off < /dev/null > /run/qemu 2>&1')
TOTAL = "awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo"
RESIDENT = "awk '/^VmRSS/ {print int($2 / 1024)}' /proc/$(pidof qemu-system-x86_64)/status"


class Guest:
    """Its line, and its QEMU's monitor, are in the terminal, by telnet, as long as nothing is asked of dom0."""
    def __init__(self, m):
        self.m = m
        m.out_of(f'{{ {QEMU} & }}')
        need(m.until('grep -q ":115C .* 0A " /proc/net/tcp', 20), 'hotplug: QEMU listens', m.sh('cat /run/qemu')[1])
        self.sits()
        self.sh('mount -t tmpfs -o size=1g none /run')
        self.had = self.memory()

    def sits(self):
        self.m.send('telnet 127.0.0.1 4444\r')
        answers(self.m, 'hotplug: the guest answers')

    def leaves(self):
        self.m.send('\x1d')
        self.m.expect('exit telnet', 'hotplug: telnet asks what it is to do', 20)  # keys before that are lost
        self.m.send('e')
        self.m.expect('dom0# ', 'hotplug: dom0 has the terminal', 20)

    def sh(self, command, seconds=20):
        return self.m.out_of(command, seconds, 'demo# ')

    def memory(self):
        return int(self.sh(TOTAL))

    def until(self, condition):
        return self.m.sh(f'for i in $(seq 60); do {condition} && break; sleep 1; done; {condition}', 80, 'demo# ')[0] == 0

    def told(self, *commands):
        return told(self.m, 'hotplug', *commands)

    def same(self, mib, what):
        many = f'head -c 1m /dev/urandom > /some; for i in $(seq {mib}); do echo $i; cat /some; done'
        out = self.sh(f'{many} | tee /run/file | md5sum; md5sum < /run/file; rm /run/file', 60).split()
        ok(len(out) == 4 and out[0] == out[2], f'{what}, and reads there what it has written', out)

    def grows(self, by, what):
        """It uses what it has been given: a file has no place without that."""
        ok(self.until(f'[ $({TOTAL}) -ge {self.had + by} ]'), f'{what}: the guest has the memory', self.memory())
        self.same(self.had, what)


def dimm(g):
    for _ in range(2):
        g.told('object_add memory-backend-ram,id=bar,size=128M', 'device_add pc-dimm,id=dimm,memdev=bar')
        g.grows(100, 'DIMM')
        g.told('device_del dimm')
        ok(g.until(f'[ $({TOTAL}) -le {g.had} ]'), 'DIMM: unplugged it is the guest\'s no more', g.memory())
        end = time.monotonic() + 20 * PATIENCE
        while 'dimm' in (said := g.told('info memory-devices')) and time.monotonic() < end:
            time.sleep(1)
        ok('more0' in said and 'dimm' not in said, 'DIMM: nor is it in the machine', said)
        g.told('object_del bar')


def virtio_mem(g):
    for _ in range(2):
        g.told('qom-set /machine/peripheral/more0 requested-size 128M')
        g.grows(100, 'virtio-mem')
        g.told('qom-set /machine/peripheral/more0 requested-size 0')
        ok(g.until(f'[ $({TOTAL}) -le {g.had} ]'), 'virtio-mem: the guest gives it back', g.memory())


def resident(g):
    """MiB that dom0 spends on the guest"""
    g.leaves()
    now = int(g.m.out_of(RESIDENT))
    g.sits()
    return now


def given_back(g, full, what):
    g.leaves()
    ok(g.m.until(f'[ $({RESIDENT}) -le {full - 60} ]'), what, f'{full}, then {g.m.out_of(RESIDENT)} MiB')
    g.sits()


def free_pages(g):
    """What the guest needs no more dom0 has, by the guest's reports."""
    g.sh('head -c 90m /dev/zero | tr "\\\\0" x > /run/file', 60)
    full = resident(g)
    g.sh('rm /run/file')
    given_back(g, full, 'free pages: dom0 has them back when the guest needs them no more')
    g.same(90, 'free pages: the guest takes them again')


def balloon(g):
    g.told('balloon 176')
    ok(g.until(f'[ $({TOTAL}) -le {g.had - 70} ]'), 'balloon: the guest gives memory', g.memory())
    g.told('balloon 256')
    ok(g.until(f'[ $({TOTAL}) -ge {g.had} ]'), 'balloon: and takes it again', g.memory())
    g.same(90, 'balloon: the guest goes on')


def cpu(g):
    for _ in range(2):
        g.told('device_add host-x86_64-cpu,id=second,socket-id=0,core-id=1,thread-id=0')
        ok(g.until('[ -e /sys/devices/system/cpu/cpu1 ]'), 'CPU: the guest is told of it')
        out = g.sh('echo 1 > /sys/devices/system/cpu/cpu1/online; nproc; taskset 2 grep -c ^processor /proc/cpuinfo')
        ok(out.split() == ['2', '2'], 'CPU: and runs on it', out)
        g.told('device_del second')
        ok(g.until('[ $(nproc) = 1 ] && [ ! -e /sys/devices/system/cpu/cpu1 ]'), 'CPU: unplugged it is gone')


def hotplug():
    disk = f'file={build_file("dom0/full.cpio")},format=raw,if=virtio,readonly=on'
    with Machine('hotplug', mem='3G', extra=['-drive', disk], life=2000) as m:
        m.prompt()
        m.out_of('cd / && cpio -idm < /dev/vda && cd', 30)
        g = Guest(m)
        for part in dimm, virtio_mem, free_pages, balloon, cpu:
            part(g)
        bad = m.sh(COMPLAINTS, 10, 'demo# ')[1]
        ok(not bad.strip(), 'hotplug: the guest\'s kernel log has no complaint', bad)
        m.send('poweroff -f\r')
        m.expect('dom0# ', 'hotplug: the guest\'s poweroff ends QEMU', 20)
        ok(m.until("corbel info --json | grep -q '\"vms\": *1,'"), 'hotplug: nothing of it is left in the hypervisor', m.out_of('corbel info --json'))
        bad = m.sh('dmesg | grep -iE "BUG:|WARNING:|Oops|lockup|stall"')[1]
        ok(not bad.strip(), 'hotplug: dom0\'s kernel log has no complaint', bad)


main(swap, nvdimm, hotplug)
