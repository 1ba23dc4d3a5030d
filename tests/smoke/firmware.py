#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Guests of the tool that boot by a firmware: from a disk, which has GRUB for either, by SeaBIOS and by OVMF, and a kernel that is given to
OVMF. Each is shut down by its power button. Part of `make test-full`."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, need, ok

KVER = re.search(r'KVER_cloud := (\S+)', open(build_file('deps.mk')).read()).group(1)
GRUB = '''serial --unit=0 --speed=115200
terminal_output serial
terminal_input serial
echo "GRUB, by the firmware $grub_platform"
linux /vmlinuz console=ttyS0 quiet
initrd /initrd
boot
'''
there = tempfile.TemporaryDirectory(dir=build_file(''))


def files():
    """A disk that both firmwares boot, and OVMF, as a cpio."""
    os.makedirs(f'{there.name}/root/boot/grub', exist_ok=True)
    with open(f'{there.name}/root/boot/grub/grub.cfg', 'w') as f:
        f.write(GRUB)
    shutil.copyfile(build_file(f'kernel/{KVER}/vmlinuz'), f'{there.name}/root/vmlinuz')
    shutil.copyfile(build_file('dom0/demo.img'), f'{there.name}/root/initrd')
    shutil.copyfile('/usr/share/ovmf/OVMF.fd', f'{there.name}/OVMF.fd')
    for command in 'grub-mkrescue -o disk root', "printf '%s\\n' disk OVMF.fd | cpio -o -H newc > cpio":
        r = subprocess.run(['sh', '-c', command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=there.name)
        need(r.returncode == 0, f'{command.split()[0]} succeeds', r.stdout)
    return f'{there.name}/cpio'


def boots(m, what, name, text, *says):
    """Its log has what it should, and its kernel knows whether there is a UEFI."""
    log, file = f'/run/corbel/{name}/console.log', f'name = "{name}"\\nmemory = 512\\nvcpus = 2\\n{text}'
    m.out_of(f"printf '{file}' > /run/{name}.cfg; corbel create /run/{name}.cfg", 60)
    up = m.until(f'grep -q "demo: ready, 2 CPUs" {log}', 120)
    out = m.sh(f"tr -d '\\000' < {log} | tail -c 3000")[1]
    need(up and all(s in out for s in says), f'{what}: the guest boots', out)
    m.out_of(f"printf 'ls -d /sys/firmware/efi\\r' | corbel console --timeout=5 {name}", 60)
    uefi = m.sh(f'grep -c ^/sys/firmware/efi {log}')[1].strip()
    ok(uefi == str(int('uefi' in text)), f'{what}: its kernel says whether it has a UEFI', uefi)
    status, out = m.sh(f'corbel shutdown --wait {name}', 90)
    ok(not status and name not in m.out_of('corbel list'), f'{what}: its power button ends it', out)


def guests(label, *boot):
    extra = []
    for path in files(), build_file('dom0/full.cpio'):
        extra += ['-drive', f'file={path},format=raw,if=virtio,readonly=on']
    with Machine(label, mem='3G', life=1200, extra=extra) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && cd / && cpio -idm < /dev/vdb && ln -s /run/t/OVMF.fd /usr/share/qemu/ && cd', 60)
        for one in boot:
            boots(m, *one)
        vms = m.json('corbel info --json')['vms']
        ok(vms == 1, f'{label}: all VMs are gone from the hypervisor', f'{vms} VMs')
        bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall"')[1]
        ok(not bad.strip(), f'{label}: dom0\'s kernel log has no complaint', bad)


def disks():
    disk = 'firmware = "%s"\\ndisk = [ "/run/t/disk,raw,%s,r" ]\\n'
    guests('firmware', ('SeaBIOS', 'bios', disk % ('bios', 'xvda'), 'GRUB, by the firmware pc'),
           ('OVMF', 'disk', disk % ('uefi', 'xvda'), 'BdsDxe: starting Boot', 'GRUB, by the firmware efi'))


def kernel():
    """It says nothing, nor does GRUB; that it has been there is seen by the guest."""
    guests('firmware and kernel', ('OVMF with a kernel', 'kernel', 'firmware = "uefi"\\nkernel = "/boot/vmlinuz"\\nramdisk = "/usr/share/corbel/demo/initrd"\\n'
                                   'extra = "console=ttyS0 quiet"\\n'))


try:
    main(disks, kernel)
finally:
    there.cleanup()
