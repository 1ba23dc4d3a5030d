#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A guest whose firmware keeps its variables by SMM: Debian's OVMF with Secure Boot, in Debian's QEMU, as libvirt asks for it. It starts a
kernel that its key has signed, is reset, and moved to another QEMU; and SeaBIOS without SMM. Part of `make test-full`."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import OVMF, Machine, build_file
from lib.report import main, need, ok

OVMF_KEY, CERT, PASSWORD = '/usr/share/ovmf/PkKek-1-snakeoil.key', '/usr/share/ovmf/PkKek-1-snakeoil.pem', 'snakeoil'
KVER = re.search(r'KVER_cloud := (\S+)', open(build_file('deps.mk')).read()).group(1)
TRACING = '/sys/kernel/tracing'
QEMU = 'qemu-system-x86_64 -accel kvm -cpu host -m 512 -smp 2 -nodefaults -display none -initrd /usr/share/corbel/demo/initrd -serial mon:stdio '
SECURE = ('-M q35,smm=on -global driver=cfi.pflash01,property=secure,value=on -drive if=pflash,format=raw,readonly=on,file=/run/t/code '
          '-drive if=pflash,format=raw,file=/run/t/vars -kernel /run/t/vmlinuz -append "console=ttyS0 loglevel=4"')
there = tempfile.TemporaryDirectory(dir=build_file(''))


def run(*command):
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=there.name)
    need(r.returncode == 0, f'{command[0]} succeeds', r.stdout)


def files():
    """Firmware, its variables with the key in them, and a kernel that this has signed, as a cpio."""
    run('openssl', 'rsa', '-in', OVMF_KEY, '-passin', f'pass:{PASSWORD}', '-out', 'key')
    run('sbsign', '--key', 'key', '--cert', CERT, '--output', 'vmlinuz', os.path.abspath(build_file(f'kernel/{KVER}/vmlinuz')))
    shutil.copyfile(OVMF % ('CODE', '.secboot'), f'{there.name}/code')
    shutil.copyfile(OVMF % ('VARS', '.snakeoil'), f'{there.name}/vars')
    run('sh', '-c', "printf '%s\\n' vmlinuz code vars | cpio -o -H newc > cpio")
    return f'{there.name}/cpio'


def smis(m):
    """How many times a vCPU has come into SMM, and left it."""
    return [int(m.out_of(f'grep -c "{word} SMM" {TRACING}/trace; true', 20)) for word in ('entering', 'leaving')]


def boots(m, what):
    m.expect('UEFI Secure Boot is enabled', f'{what}: the firmware starts the kernel, Secure Boot is on', 200)
    m.expect(r'demo: ready, 2 CPUs', f'{what}: the guest boots', 150)
    m.expect('demo# ', f'{what}: and gives its shell', 30)
    out = m.out_of('dmesg | grep -c "secureboot: Secure boot enabled"', 20, 'demo# ')
    ok(out == '1', f'{what}: whose kernel sees it, too', out)


def moved(m):
    m.send('\x01c')
    m.expect(r'\(qemu\) ', 'moved: the monitor answers', 20)
    m.send('migrate "exec:cat > /run/state"\r')
    m.expect(r'\(qemu\) ', 'moved: the guest is in a file', 300)
    m.send('quit\r')
    m.expect('dom0# ', 'moved: QEMU ends', 20)
    m.send(f'{QEMU}{SECURE} -incoming "exec:cat /run/state"\r')
    need(any((m.send('\r'), m.wait('demo# ', 3))[1] >= 0 for _ in range(40)), 'moved: another QEMU goes on with it')
    m.send('reboot -f\r')
    boots(m, 'moved, reset')


def ovmf(m):
    m.out_of(f'mount -t tracefs tracefs {TRACING} 2>/dev/null; echo 1 > {TRACING}/events/kvm/kvm_enter_smm/enable', 20)
    m.send(f'{QEMU}{SECURE}\r')
    boots(m, 'OVMF')
    m.send('reboot -f\r')
    boots(m, 'OVMF, reset')
    moved(m)
    m.send('poweroff -f\r')
    m.expect('dom0# ', 'OVMF: poweroff ends QEMU', 30)
    entered, left = smis(m)
    ok(entered > 100 and entered == left, 'OVMF: it has been in SMM, and left it each time', f'{entered} {left}')


def seabios(m):
    for how in 'on', 'off':
        before = smis(m)[0]
        m.send(f'{QEMU} -M q35,smm={how} -kernel /boot/vmlinuz -append "console=ttyS0 quiet"\r')
        m.expect(r'demo: ready, 2 CPUs', f'SeaBIOS, smm={how}: the guest boots', 60)
        m.expect('demo# ', f'SeaBIOS, smm={how}: and gives its shell', 20)
        m.send('poweroff -f\r')
        m.expect('dom0# ', f'SeaBIOS, smm={how}: poweroff ends QEMU', 20)
        now = smis(m)[0]
        ok((now > before) == (how == 'on'), f'SeaBIOS, smm={how}: SMIs are taken, or none is', f'{before} {now}')


def guests():
    disks = []
    for path in files(), build_file('dom0/full.cpio'):
        disks += ['-drive', f'file={path},format=raw,if=virtio,readonly=on']
    with Machine('SMM', mem='3G', life=2400, extra=disks) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && cd / && cpio -idm < /dev/vdb && cd', 60)
        ovmf(m)
        seabios(m)
        vms = m.json('corbel info --json')['vms']
        ok(vms == 1, 'all VMs are gone from the hypervisor', f'{vms} VMs')
        bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall"')[1]
        ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)


try:
    main(guests)
finally:
    there.cleanup()
