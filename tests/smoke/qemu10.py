#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Debian 13's QEMU 10. In dom0: it asks KVM for more than Debian 12's does. As the machine: it has APIC ids above 255, with VT-d that
remaps interrupts to them, and a NIC with virtual functions. Part of `make test-full` only."""
import contextlib
import os
import re
import sys
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import seen, vfio
from lib.machine import Machine, build_file
from lib.report import main, ok


@contextlib.contextmanager
def disk_file():
    """A mebibyte for an NVMe disk."""
    disk = build_file('logs/qemu10.disk')
    os.makedirs(build_file('logs'), exist_ok=True)
    with open(disk, 'wb') as f:
        f.write(bytes(range(256)) * 4096)
    try:
        yield disk
    finally:
        os.remove(disk)


SECOND = ['-device', 'max-x86_64-cpu,socket-id=1,core-id=0,thread-id=0'] # with APIC id 256
READ_THERE = 'for n in 1 2 3 4; do echo 3 > /proc/sys/vm/drop_caches; taskset 2 md5sum < /dev/nvme0n1 > /dev/null; done'
SOCKETS = '1,sockets=2,cores=150,maxcpus=300'


def qemu10():
    """Needs build/qemu10.cpio: see tests/dom0/debian13."""
    disk = f'file={build_file("qemu10.cpio")},format=raw,if=virtio,readonly=on'
    with Machine('QEMU 10', mem='3G', extra=['-drive', disk]) as m, seen.runs('VMM', 'QEMU 10, q35', 'boot, reboot'):
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -idm < /dev/vda && cd && mount --bind /dev /run/t/debian13/dev', 60)
        version = m.out_of('chroot /run/t/debian13 qemu-system-x86_64 --version | head -n 1', 20)
        ok(re.search(r'version 1\d\.', version), 'it is QEMU 10 or newer', version)
        m.send('chroot /run/t/debian13 qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 256 -smp 2 -nodefaults '
               '-display none -kernel /boot/vmlinuz -initrd /boot/initrd -append "console=ttyS0 quiet panic=-1" '
               '-serial mon:stdio\r')
        m.expect(r'demo: ready, 2 CPUs', 'a q35 guest boots with 2 CPUs', 60)
        m.expect('demo# ', 'the guest gives its shell', 20)
        m.send('reboot -f\r')
        m.expect(r'demo: ready, 2 CPUs', 'it reboots, QEMU lives', 60)
        m.expect('demo# ', 'and gives its shell again', 20)
        status, out = m.sh('dmesg | grep -iE "lockup|stall|BUG:|WARNING:|Call Trace"', 10, 'demo# ')
        ok(status == 1, 'the guest\'s kernel log has no lockup, stall or warning', out)
        m.send('poweroff -f\r')
        m.expect('dom0# ', 'the guest\'s poweroff ends QEMU', 20)
        vms = m.json('corbel info --json')['vms']
        ok(vms == 1, 'the VM is gone from the hypervisor', f'{vms} VMs')


def wide_ids():
    """dom0's second CPU has APIC id 256, to which only messages that are remapped lead."""
    extra = ['-device', 'intel-iommu,intremap=on,eim=on,aw-bits=48', *SECOND]
    with disk_file() as disk, Machine('APIC id 256', cpus=SOCKETS, nic=None, hv='iommu=strict', qemu10=True, extra=[
            *extra, '-drive', f'if=none,id=nvme,file={disk},format=raw', '-device', 'nvme,drive=nvme,serial=nvme']) as m:
        m.prompt()
        ids = m.out_of('grep ^apicid /proc/cpuinfo')
        ok(re.findall(r': (\d+)', ids) == ['0', '256'], f'{m.label}: dom0 has such a CPU', ids)
        log = m.out_of('dmesg')
        ok('Enabled IRQ remapping in x2apic mode' in log, f'{m.label}: Linux remaps interrupts with ids of 32 bits', log[-2000:])
        m.out_of(READ_THERE, 30)
        table = m.out_of('cat /proc/interrupts')
        ok(re.search(r'^ *\d+: +0 +[1-9]\d* +IR-PCI-MSI.*nvme0q2', table, re.M), f'{m.label}: it takes a device\'s interrupts', table)
        ok(m.sh('corbel create /etc/corbel/demo.cfg', 20)[0] == 0 and m.guest_up(), f'{m.label}: a guest runs')
        table = m.out_of('cat /proc/interrupts')
        ok(re.search(r'^ *\d+: +\d+ +[1-9]\d* +corbel ', table, re.M), f'{m.label}: it takes the hypervisor\'s', table)
        bad = m.sh('dmesg | grep -E "WARNING:|BUG:|Call Trace"')[1]
        ok(not bad.strip(), f'{m.label}: dom0\'s kernel log has no complaint', bad)


def wide_ids_amd():
    """With AMD-Vi that is so, too, whoever drives it: Linux' own driver, or Corbel and corbel_iommu.ko, which brings the CPU up."""
    for hv in '', 'iommu=strict':
        with disk_file() as disk, Machine(f'APIC id 256, AMD-Vi {hv}', cpus=SOCKETS, dom0='amd64', nic=None, hv=hv, qemu10=True, extra=[
                '-device', 'amd-iommu,intremap=on,xtsup=on', *SECOND, '-drive', f'if=none,id=nvme,file={disk},format=raw', '-device', 'nvme,drive=nvme,serial=nvme']) as m:
            m.prompt()
            ids = m.out_of('grep ^apicid /proc/cpuinfo')
            ok(re.findall(r': (\d+)', ids) == ['0', '256'], f'{m.label}: dom0 has such a CPU', ids)
            log = m.out_of('corbel dmesg')
            ok('leaves out' not in log and ('dom0 begins without 1 CPUs whose APIC ids are above 255' in log) == bool(hv), f'{m.label}: how, the log says', log)
            if not hv:
                ok('X2APIC enabled' in m.out_of('dmesg'), f'{m.label}: by a unit with ids of 32 bits')
            m.out_of(READ_THERE, 30)
            table = m.out_of('cat /proc/interrupts')
            ok(re.search(rf'^ *\d+: +0 +[1-9]\d* +{"Corbel" if hv else "IR-PCI"}-MSI.*nvme0q2', table, re.M), f'{m.label}: it takes a device\'s interrupts', table)
            if hv:
                line = re.search(r'^ *(\d+): .* IO-APIC .*acpi$', table, re.M)
                status, out = m.sh(f'echo 1 > /proc/irq/{line[1]}/smp_affinity_list')
                ok(status != 0, f'{m.label}: a line of the IOAPIC, which has no entry, is not moved there', out)
            ok(m.sh('corbel create /etc/corbel/demo.cfg', 20)[0] == 0 and m.guest_up(), f'{m.label}: a guest runs')
            table = m.out_of('cat /proc/interrupts')
            ok(re.search(r'^ *\d+: +\d+ +[1-9]\d* +corbel ', table, re.M), f'{m.label}: it takes the hypervisor\'s', table)
            bad = m.sh('dmesg | grep -E "WARNING:|BUG:|Call Trace|No irq handler|corbel_iommu: .*(CPU|does not)"')[1]
            ok(not bad.strip(), f'{m.label}: dom0\'s kernel log has no complaint', bad)


def wide_ids_late():
    """The CPU stays away where a driver that uses all CPUs comes before corbel_iommu.ko, and where the unit has no such ids. All else goes on."""
    early = 'rdinit=/bin/sh -- -c mount -t proc proc /proc;modprobe nvme;sleep 1;umount /proc;exec /init'.replace(' ', '${IFS}').replace('${IFS}', ' ', 3)
    with disk_file() as disk:
        extra = ['-drive', f'if=none,id=nvme,file={disk},format=raw', '-device', 'nvme,drive=nvme,serial=nvme', *SECOND]
        for label, unit, args, log, told in (
                ('a driver is early', 'on', early, 'dmesg', '1 CPUs whose APIC ids are above 255 stay offline: '),
                ('8-bit ids', 'off', '', 'corbel dmesg', 'dom0 leaves out 1 CPUs whose APIC ids are above 255')):
            with Machine(f'APIC id 256, AMD-Vi, {label}', cpus=SOCKETS, nic=None, extra=['-device', f'amd-iommu,intremap=on,xtsup={unit}', *extra],
                         args=f'quiet dom0.demo=0 {args}', hv='iommu=strict', qemu10=True) as m:
                m.prompt()
                ids = m.out_of('grep ^apicid /proc/cpuinfo')
                ok(re.findall(r': (\d+)', ids) == ['0'], f'{m.label}: dom0 has no such CPU', ids)
                out = m.out_of(log)
                ok(told in out, f'{m.label}: and is told why', out)
                ok(m.sh('md5sum /dev/nvme0n1', 20)[0] == 0, f'{m.label}: the disk is read')
                ok(m.sh('corbel create /etc/corbel/demo.cfg', 20)[0] == 0 and m.guest_up(), f'{m.label}: a guest runs')
                bad = m.sh('dmesg | grep -E "WARNING:|BUG:|Call Trace|No irq handler|nvme.*timeout"')[1]
                ok(not bad.strip(), f'{m.label}: dom0\'s kernel log has no complaint', bad)


def virtual_function():
    """igb is one device and several: dom0 drives the first, a guest has another."""
    extra = ['-device', 'intel-iommu,intremap=on,aw-bits=48', '-device', 'pcie-root-port,id=free,chassis=1', '-netdev', 'user,id=n0,net=10.0.1.0/24',
             '-device', 'igb,bus=free,netdev=n0,romfile=']
    for cpio in 'dom0/full.cpio', 'dom0-tests.cpio', 'dom0/assigned.cpio':
        extra += ['-drive', f'file={build_file(cpio)},format=raw,if=virtio,readonly=on']
    with Machine('igb', dom0='amd64', nic=None, extra=extra, hv='iommu=strict', script=vfio.RUN, qemu10=True) as m:
        vfio.set_up(m)
        m.out_of('cd / && cpio -idm < /dev/vdc; cd', 20)
        m.out_of('echo 2 > /sys/bus/pci/devices/$(pci 8086:10C9)/sriov_numvfs', 20)
        device = m.out_of('pci 8086:10CA')
        groups = m.out_of('for d in $(grep -l PCI_ID=8086:10C /sys/bus/pci/devices/*/uevent); do readlink -f ${d%/uevent}/iommu_group; done')
        ok(len(set(groups.split())) == 3, 'igb: the device and its two virtual functions are groups of their own', groups)
        vfio.given(m, device, 'a virtual function')
        m.send(f'{vfio.QEMU} -device vfio-pci,host={device}\r')
        m.expect('demo: ready, 2 CPUs', 'igb: a guest begins with it', 120)
        m.expect('demo# ', 'igb: it gives its shell', 20)
        out = m.sh('udhcpc -q -n -S -t 10 -i eth0 -s /etc/udhcpc.script; ping -c 3 -q 10.0.1.2', 60, 'demo# ')[1]
        ok(' 0% packet loss' in out, 'igb: the guest is answered', out)
        table = m.out_of('cat /proc/interrupts', 10, 'demo# ')
        ok(re.search(r'[1-9]\d* .*PCI-MSI .*eth0-rx', table), 'igb: by messages', table)
        m.send('poweroff -f\r')
        m.expect('dom0# ', 'igb: the guest\'s poweroff ends QEMU', 20)
        ping = m.sh('ping -c 3 -q 10.0.1.2', 20)[1]
        ok(' 0% packet loss' in ping, 'igb: dom0 is, as before', ping)
        vfio.dom0_is_well(m, 'virtual functions')


def many_cpus():
    """More than 256, each with its vCPU of dom0, whose table is in pages of its own then. Linux starts two of them, for the time's sake."""
    extra = ['-device', 'intel-iommu,intremap=on,eim=on,aw-bits=48']
    with Machine('300 CPUs', cpus='300', mem='3G', nic=None, args='quiet dom0.demo=0 maxcpus=2', qemu10=True, extra=extra, life=1800) as m:
        m.prompt(seconds=300)
        log = m.out_of('corbel dmesg')
        ok('dom0: 300 vCPUs' in log, f'{m.label}: dom0 has a vCPU for each', log)
        info = m.json('corbel info --json')
        ok(info['cpus'] == 300 and m.out_of('nproc') == '2', f'{m.label}: they are all there, and Linux has started two', info)
        ok(m.sh('corbel create /etc/corbel/demo.cfg', 60)[0] == 0 and m.guest_up(), f'{m.label}: a guest runs')
        status, out = m.sh('corbel cpupool-create last cpus=290-299 && corbel cpupool-migrate demo last', 20)
        ok(status == 0, f'{m.label}: it is sent to a pool of the last ten of them', out)
        at = [v['runs_on'] for v in m.json('corbel vcpu-list demo --json')]
        ok(at == ['290-299'] * 2, f'{m.label}: and may run there only', at)
        ran = sum(v['runtime_ns'] for v in m.json('corbel vcpu-list demo --json'))
        time.sleep(3)
        runs = sum(v['runtime_ns'] for v in m.json('corbel vcpu-list demo --json'))
        ok(runs > ran, f'{m.label}: where it goes on', f'{ran} ns, then {runs} ns')
        m.sh('corbel destroy demo', 30)
        bad = m.sh('dmesg | grep -E "WARNING:|BUG:|Call Trace"')[1]
        ok(not bad.strip(), f'{m.label}: dom0\'s kernel log has no complaint', bad)


main(qemu10, wide_ids, wide_ids_amd, wide_ids_late, virtual_function, many_cpus)
