#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Devices for programs and guests by stock VFIO, with the hypervisor's IOMMU driver, on VT-d and on AMD-Vi: they reach what they are
given, and nothing else, and are dom0's again afterwards. Killing whom they serve does no harm."""
import hashlib
import os
import re
import shutil
import subprocess
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import PATIENCE, Machine, build_file
from lib.report import main, need, ok
from lib.vfio import RUN, bypasses, dom0_is_well, given, none_is_left, pairs, program, set_up, watch_pairs

CHUNK = 65536
BLOCKS = 64  # of the disk, behind what the guest boots from
PATTERN = bytes((i * 11 + (i >> 8) * 3) & 0xff for i in range(CHUNK))
GRUB = """
serial --unit=0
terminal_output serial
linux /vmlinuz console=ttyS0 quiet panic=-1
initrd /initrd
boot
"""
QEMU = ('qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 256 -smp 2 -nodefaults -display none '
        '-no-reboot -serial stdio -monitor none -device vfio-pci,host=%s')


class Disk:
    """One with GRUB, a kernel and the demo's initramfs, and behind that what the test looks at."""

    def __init__(self, name):
        self.name = name
        tree = name + '.tree'
        os.makedirs(f'{tree}/boot/grub', exist_ok=True)
        kernel = [k for k in os.listdir(build_file('kernel')) if 'cloud' in k and os.path.exists(build_file(f'kernel/{k}/vmlinuz'))][0]
        shutil.copyfile(build_file(f'kernel/{kernel}/vmlinuz'), f'{tree}/vmlinuz')
        shutil.copyfile(build_file('dom0/demo.img'), f'{tree}/initrd')
        with open(f'{tree}/boot/grub/grub.cfg', 'w') as f:
            f.write(GRUB)
        subprocess.run(['grub-mkrescue', '-o', name, tree], check=True, capture_output=True)
        shutil.rmtree(tree)
        with open(name, 'rb') as f:
            boot = f.read()
        boot += bytes(-len(boot) % CHUNK)
        self.seek = len(boot) // CHUNK + 4  # where the guest writes zeroes
        self.before = boot + PATTERN * BLOCKS
        self.after = self.before[:self.seek * CHUNK] + bytes(8 * CHUNK) + PATTERN * (BLOCKS - 12)
        with open(name, 'wb') as f:
            f.write(self.before)


def md5(data):
    return hashlib.md5(data).hexdigest()


def driver(m):
    ok(m.sh('rmmod corbel')[0] != 0, f'{m.label}: corbel.ko, which tells the hypervisor when this kernel ends, stays as long as the driver')
    groups = m.out_of('ls /sys/kernel/iommu_groups | wc -l; ls -d /sys/bus/pci/devices/* | wc -l; ls -d /sys/bus/pci/devices/*/iommu_group | wc -l').split()
    ok(int(groups[0]) > 2 and groups[1] == groups[2], f'{m.label}: each device has its group', groups)
    # By the CPU's maker, which is AMD in either machine.
    regions = m.out_of('cat /sys/kernel/iommu_groups/*/reserved_regions | sort | uniq -c').splitlines()
    ok(sorted(r.split() for r in regions) == [[groups[0], f'{first:#018x}', f'{last:#018x}', kind] for first, last, kind in (
        (0xfee00000, 0xfeefffff, 'msi'), (0xfd00000000, 0xffffffffff, 'reserved'))],
       f'{m.label}: each has messages\' addresses and HyperTransport\'s for no memory', regions)


def copies(m):
    """edu, whose copies a program asks for."""
    edu = m.out_of('pci 1234:11E8')
    m.out_of('echo 3 > /proc/sys/vm/nr_hugepages')
    program(m, 'edu', f'give {edu} && /run/t/vfio {edu}; s=$?; back {edu}; (exit $s)')
    program(m, 'edu', f'/run/t/vfio {edu} own')
    m.out_of('echo 0 > /proc/sys/vm/nr_hugepages')
    if m.label.startswith('intel'):
        ok(m.until(f'corbel dmesg | grep -q "device {edu} may not write"', 10), f'{m.label}: edu: the hypervisor tells what it has blocked', m.sh('corbel dmesg')[1])
    dom0_is_well(m, 'edu')


def guest(m, nvme, disk):
    """A guest that boots from an NVMe disk, reads and writes it; dom0 has it before and after."""
    given(m, nvme, 'nvme')
    m.send(QEMU % nvme + '\r')
    m.expect(r'demo: ready, 2 CPUs', f'{m.label}: nvme: a guest boots from it', 120)
    m.expect('demo# ', f'{m.label}: nvme: it gives its shell', 20)
    line = m.out_of('cat /proc/cmdline', 10, 'demo# ')
    ok('BOOT_IMAGE=/vmlinuz' in line, f'{m.label}: nvme: its kernel is what GRUB has loaded from there', line)
    seen = m.sh(f'n=0; until [ -b /dev/nvme0n1 ] || [ $n -ge {20 * PATIENCE:.0f} ]; do n=$((n+1)); sleep 1; done; md5sum < /dev/nvme0n1', 60, 'demo# ')[1]
    ok(md5(disk.before) in seen, f'{m.label}: nvme: the guest reads what is there', seen + m.sh('dmesg | tail', 10, 'demo# ')[1])
    status, out = m.sh(f'dd if=/dev/zero of=/dev/nvme0n1 bs=64k count=8 seek={disk.seek} conv=fsync && echo 3 > /proc/sys/vm/drop_caches && '
                       'md5sum < /dev/nvme0n1', 60, 'demo# ')
    ok(status == 0 and md5(disk.after) in out, f'{m.label}: nvme: it reads what it has written', out)
    irqs = m.out_of('grep nvme /proc/interrupts', 10, 'demo# ')
    ok(re.search(r'\s[1-9]\d*\s.*PCI-MSI', irqs), f'{m.label}: nvme: its interrupts are messages', irqs)
    m.send('poweroff -f\r')
    m.expect('dom0# ', f'{m.label}: nvme: the guest\'s poweroff ends QEMU', 20)
    of_dom0(m, nvme, disk, 'afterwards')


def of_dom0(m, nvme, disk, when):
    m.out_of(f'back {nvme}')
    ok(m.until('[ -b /dev/nvme0n1 ]', 60), f'{m.label}: nvme: {when} it is a disk of dom0\'s')
    seen = m.sh('md5sum < /dev/nvme0n1', 30)[1]
    ok(md5(disk.after) in seen, f'{m.label}: nvme: {when} dom0 has it, with what the guest has written', seen + m.sh('dmesg | tail')[1])
    dom0_is_well(m, f'nvme, {when}')


def killed(m, nvme, disk):
    """The guest's QEMU is killed while the disk writes to its memory."""
    alone = watch_pairs(m)
    given(m, nvme, 'killed')
    m.out_of(f'mkfifo /run/typed; ({QEMU % nvme} < /run/typed > /run/guest.log 2>&1 & echo $! > /run/qemu); exec 5> /run/typed')
    need(m.until('grep -q "demo# " /run/guest.log', 120), f'{m.label}: killed: a guest boots', m.sh('tail -n 5 /run/guest.log')[1])
    m.out_of('echo "while :; do dd if=/dev/nvme0n1 of=/dev/null bs=64k iflag=direct 2>/dev/null && echo rea\'\'ding; done" >&5')
    need(m.until('grep -q reading /run/guest.log', 60), f'{m.label}: killed: it reads its disk', m.sh('tail -n 5 /run/guest.log')[1])
    formed, parted = pairs(m)
    ok(formed > parted, f'{m.label}: killed: irqfds know whose interrupts they are: {formed - parted}')
    ok(bypasses(m) >= alone + 2 * (formed - parted), f'{m.label}: killed: as Linux counts them', (alone, bypasses(m)))
    before = int(m.out_of('grep -c reading /run/guest.log'))
    ok(m.until(f'[ $(grep -c reading /run/guest.log) -gt {before} ]', 30), f'{m.label}: killed: and its interrupts go on to come')
    m.out_of('kill -9 $(cat /run/qemu); exec 5>&-')
    ok(m.until('! kill -0 $(cat /run/qemu) 2>/dev/null', 60), f'{m.label}: killed: QEMU is gone')
    none_is_left(m, 'killed', alone)
    # Its 256 MiB are free now: dom0 takes about as much, and it is as it was written.
    zeroes = m.out_of('mount -t tmpfs tmpfs /mnt && dd if=/dev/zero of=/mnt/zeroes bs=1M count=300 2>/dev/null && sleep 2 && '
                      'tr -d "\\0" < /mnt/zeroes | wc -c; umount /mnt', 60)
    ok(zeroes == '0', f'{m.label}: killed: what was its memory is not written', zeroes)
    of_dom0(m, nvme, disk, 'after the kill')
    info = m.json('corbel info --json')
    ok(info['vms'] == 1, f'{m.label}: killed: the VM is gone', info)


def by_tool(m, nvme, disk):
    """The same by a line in a guest's file, and by corbel's pci commands."""
    m.out_of(f"printf '%s\\n' 'name = \"pt\"' 'type = \"hvm\"' 'memory = 256' 'vcpus = 2' 'viridian = 1' 'pci = [ \"{nvme}\" ]' > /run/pt.cfg")
    status, out = m.sh('corbel create /run/pt.cfg', 60)
    ok(status and 'is dom0\'s' in out, f'{m.label}: corbel: a device that dom0 uses is not given away by a guest\'s file', out)
    m.out_of(f'corbel pci-assignable-add {nvme}', 30)
    out = m.json('corbel pci-assignable-list --json')
    ok([d['device'] for d in out] == [nvme], f'{m.label}: corbel: pci-assignable-list', out)
    m.out_of('corbel create /run/pt.cfg', 60)
    ok(m.guest_up('pt'), f'{m.label}: corbel: the guest boots from it', m.sh('tail -n 5 /run/corbel/pt/console.log /run/corbel/pt/vmm.log')[1])
    ok(m.json('corbel pci-list --json pt') == [nvme], f'{m.label}: corbel: pci-list')
    out = m.out_of("tr '\\0' ' ' < /proc/$(pidof qemu-system-x86_64)/cmdline")
    ok('hv-relaxed,' in out, f'{m.label}: corbel: viridian: its VMM is told of Windows', out)
    m.out_of(f'corbel pci-detach pt {nvme}', 60)
    ok(m.json('corbel pci-list --json pt') == [], f'{m.label}: corbel: pci-detach: the guest gives it back')
    m.out_of(f'corbel pci-attach pt {nvme}', 60)
    ok(m.json('corbel pci-list --json pt') == [nvme], f'{m.label}: corbel: pci-attach: it has it again')
    m.out_of('corbel destroy pt', 30)
    m.out_of(f'corbel pci-assignable-remove {nvme}', 30)
    ok(m.until('[ -b /dev/nvme0n1 ]', 60), f'{m.label}: corbel: pci-assignable-remove: it is a disk of dom0\'s')
    seen = m.sh('md5sum < /dev/nvme0n1', 30)[1]
    ok(md5(disk.after) in seen, f'{m.label}: corbel: with what was on it', seen)
    dom0_is_well(m, 'corbel')


def on(maker, more=''):
    def part():
        label = f'{maker}-iommu'
        os.makedirs(build_file('logs'), exist_ok=True)
        disk = Disk(build_file(f'logs/passthrough-{maker}.disk'))
        extra = ['-device', f'{maker}-iommu,intremap=on{more}', '-device', 'edu,dma_mask=0xffffffffffffffff',
                 '-drive', f'if=none,id=nvme,file={disk.name},format=raw', '-device', 'nvme,drive=nvme,serial=nvme']
        for cpio in 'dom0/full.cpio', 'dom0-tests.cpio':
            extra += ['-drive', f'file={build_file(cpio)},format=raw,if=virtio,readonly=on']
        with Machine(label, mem='2G', dom0='amd64', nic=None, extra=extra, hv='iommu=strict', script=RUN) as m:
            set_up(m)
            driver(m)
            copies(m)
            nvme = m.out_of('basename $(readlink -f /sys/block/nvme0n1/device/device)')
            guest(m, nvme, disk)
            killed(m, nvme, disk)
            by_tool(m, nvme, disk)
            with open(disk.name, 'rb') as f:
                ok(f.read() == disk.after, f'{m.label}: nvme: the disk has it on the host')
        os.remove(disk.name)
    part.__name__ = f'{maker}_iommu'
    return part


main(on('intel', ',aw-bits=48'), on('amd'))
