#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Another kernel takes dom0's place while a guest runs: by kexec, and after a crash. The hypervisor ends the guest, whose memory is
the new kernel's, gives back what it had, and the new dom0 has guests of its own.
"""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, need, ok

DISKS = [arg for f in ('dom0-tests.cpio', 'corbel.iso') for arg in ('-drive', f'file={build_file(f)},format=raw,if=virtio,readonly=on')]
LOAD = '/run/t/kexec /run/cd/boot/vmlinuz-cloud /run/cd/boot/initrd-cloud "console=ttyS0 quiet {args}" {how}'


def prepare(m):
    """The guest is up, the programs and the kernel are at hand. -> what the hypervisor counts"""
    m.prompt()
    need(m.guest_up(), f'{m.label}: the demo guest comes up', m.sh('tail -n 5 /run/corbel/demo/console.log')[1])
    m.out_of('mkdir -p /run/t /run/cd && cd /run/t && cpio -id < /dev/vda && cd && modprobe isofs && mount -r -t iso9660 /dev/vdb /run/cd', 20)
    return m.json('corbel info --json')


def ended(m, before):
    """What the new kernel finds."""
    log = m.out_of('corbel dmesg')
    ok(len(re.findall('makes way for another: its 1 VMs are ended', log)) == 1, f'{m.label}: the log says that the guest was ended', log[-2000:])
    info = m.json('corbel info --json')
    ok(info['vms'] == 1 and info['vcpus'] == before['vcpus'] - 2 and not info['pool_promised_bytes'], f'{m.label}: the hypervisor has dom0 only', info)
    bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall|corbel: .*refuse"')[1]
    ok(not bad.strip(), f'{m.label}: the new kernel has no complaint', bad)


def kexec():
    with Machine('kexec', args='quiet', extra=DISKS) as m:
        before = prepare(m)
        m.out_of('cd /sys/devices/system/cpu/cpu1 && echo 0 > online', 30)
        pools = m.json('corbel cpupool-list --json')
        ok(pools[0]['cpus'] == '0', 'kexec: a CPU that goes offline is taken from guests', pools)
        m.out_of('echo 1 > online; cd', 30)
        pools = m.json('corbel cpupool-list --json')
        ok(pools[0]['cpus'] == '0-1', 'kexec: when it comes back they have it again', pools)
        ok('makes way' not in m.out_of('corbel dmesg') and 'running' in m.out_of('corbel list | grep "^demo "'),
           'kexec: a CPU that goes offline, and comes back, ends no guest')
        m.out_of('echo 0 > /sys/devices/system/cpu/cpu1/online', 30)
        m.send(LOAD.format(args='dom0.demo=0', how='go') + '\r')
        m.prompt('kexec: the new kernel comes to its prompt', 60)
        ended(m, before)
        ok(m.out_of('nproc') == '2', 'kexec: it has both CPUs')
        pools = m.json('corbel cpupool-list --json')
        ok(pools[0]['cpus'] == '0-1', 'kexec: guests have them both, though one was offline in the kernel before', pools)
        m.out_of('corbel create /etc/corbel/demo.cfg', 20)
        ok(m.guest_up(), 'kexec: a guest of its own comes up')
        m.send('poweroff\r')
        m.ends('kexec: poweroff ends the machine')


def crash():
    with Machine('crash', args='quiet crashkernel=256M', extra=DISKS, mem='3G') as m:
        before = prepare(m)
        m.out_of(LOAD.format(args='dom0.demo=0 nr_cpus=1', how='crash'), 30)
        m.send('echo c > /proc/sysrq-trigger\r')
        m.expect('dom0# ', 'crash: the crash kernel comes to its prompt', 90)
        ended(m, before)
        log = m.out_of('corbel dmesg')
        ok(len(re.findall(r'vm 1 vcpu [01]: at last rip [0-9a-f]+ .* cr3 [0-9a-f]+ cr4 [0-9a-f]+ efer d01\s+.*rax [0-9a-f]+ .* r15 [0-9a-f]+', log)) == 2,
           'crash: the hypervisor\'s log has where the guest\'s vCPUs stood', log[-3000:])
        ok('vmcore' in m.sh('ls /proc/vmcore')[1], 'crash: it has the memory of the one that crashed')
        core = m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && ./kexec vmcore', 30)
        first = log.strip().splitlines()[0]
        ok(first in core and 'makes way for another: its 1 VMs are ended' in core, 'crash: /proc/vmcore has the hypervisor\'s log, up to the crash', core[-3000:])
        regs = re.findall(r'^vm 1 vcpu ([01]): rip ([0-9a-f]+) .* r15 [0-9a-f]+\s+^vm 1 vcpu \1: cr0 [0-9a-f]+ .* cr3 ([0-9a-f]+) .* efer d01', core, re.M)
        ok([r[0] for r in regs] == ['0', '1'], 'crash: and the registers of the guest\'s vCPUs', core[-3000:])
        ok(all(re.search(f'vcpu {n}: at last rip {rip} .* cr3 {cr3} ', log) for n, rip, cr3 in regs), 'crash: the same as the log of the hypervisor has later', (regs, log[-3000:]))


def strict():
    """
    With AMD-Vi devices are kept to their interrupts by the kernel that goes: it shuts them down, and the next one has them. Not the
    one whose driver this kernel has built in: that has its messages before.
    """
    extra = ['-device', 'amd-iommu,intremap=on', *DISKS, '-drive', f'file={build_file("corbel.iso")},format=raw,if=none,id=d,readonly=on', '-device', 'nvme,drive=d,serial=d']
    with Machine('kexec, AMD-Vi', args='quiet', hv='iommu=strict', extra=extra) as m:
        before = prepare(m)
        arrives(m)
        m.send(LOAD.format(args='dom0.demo=0', how='go') + '\r')
        m.prompt(f'{m.label}: the new kernel comes to its prompt, without waiting for devices of the old one', 60)
        ended(m, before)
        arrives(m)


def arrives(m):
    for disk in 'nvme0n1', 'vdb':
        for cpu in 1, 2:
            m.out_of(f'taskset {cpu} dd if=/dev/{disk} of=/dev/null bs=64k count=16 iflag=direct', 20)
    table = m.out_of('grep -E "nvme|virtio" /proc/interrupts')
    for kind in r'PCI-MSI .*nvme0q\d', r'Corbel-MSI .*virtio\d-req':
        ok(sum(int(n) for line in table.splitlines() if re.search(kind, line) for n in re.findall(r'\s(\d+)(?=\s)', line)) > 0,
           f'{m.label}: interrupts of {kind}', table)
    log = m.sh('dmesg | grep -iE "nvme.*(timeout|polled)|corbel_iommu.*does not"')[1]
    ok(not log.strip(), f'{m.label}: none has been lost', log)


main(kexec, crash, strict)
