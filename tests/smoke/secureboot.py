#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Secure Boot: an image by dom0/efi-image comes to dom0 if a key of the firmware's db has signed it, or one that its owner has given
to Debian's shim (MOK), which Microsoft has signed; others are refused. Part of `make test-full`.

Needs build/disk/secureboot.img, made as root, for its last part, which is skipped without it."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, need, ok, skip

CMDLINE = 'console=ttyS0 dom0.demo=0 quiet lockdown=integrity'
OVMF_KEY, CERT, PASSWORD = '/usr/share/ovmf/PkKek-1-snakeoil.key', '/usr/share/ovmf/PkKek-1-snakeoil.pem', 'snakeoil'
KVER = re.search(r'KVER_cloud := (\S+)', open(build_file('deps.mk')).read()).group(1)
GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c'  # variables of the UEFI specification
SHIM, MANAGER, GRUB = '/usr/lib/shim/shimx64.efi.signed', '/usr/lib/shim/mmx64.efi.signed', '/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed'
CHANGED = 'a byte of the initrd is another', 'the command line is another', 'somebody else has signed it'
DOWN = '\x1b[B'
there = tempfile.TemporaryDirectory(dir=build_file(''))
KEY = f'{there.name}/key'


def run(*command):
    r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    need(r.returncode == 0, f'{os.path.basename(command[0])} succeeds', r.stdout)
    return r.stdout


def esp(name):
    """The path of the program that the firmware starts in this directory, which is made."""
    os.makedirs(f'{there.name}/{name}/EFI/BOOT')
    return f'{there.name}/{name}/EFI/BOOT/BOOTX64.EFI'


def images():
    """One that is signed, with a signed corbel.ko in its initrd beside the one that is not; and one that is not."""
    run('openssl', 'rsa', '-in', OVMF_KEY, '-passin', f'pass:{PASSWORD}', '-out', KEY)
    run('openssl', 'x509', '-in', CERT, '-outform', 'DER', '-out', f'{KEY}.der')
    module = f'{there.name}/corbel.ko'
    run(f'/usr/src/linux-headers-{KVER}/scripts/sign-file', 'sha256', KEY, CERT, build_file(f'kmod/{KVER}/corbel.ko'), module)
    run('dom0/mkimage', '--add', f'/signed/corbel.ko={module}', '--compress', 'none', '-o', f'{there.name}/cpio')
    initrd = f'{there.name}/initrd'
    with open(initrd, 'wb') as out:
        for part in f'{there.name}/cpio', build_file('dom0/initrd-cloud.img'):
            with open(part, 'rb') as f:
                out.write(f.read())
    files = build_file('corbel.elf'), build_file(f'kernel/{KVER}/vmlinuz'), initrd, CMDLINE
    said = run('dom0/efi-image', '-k', KEY, '-c', f'{KEY}.der', '-x', 'console=com1,115200 loglvl=debug', '-o', esp('signed'), *files)
    ok(said.endswith(', signed\n'), 'it says what is in the image, and that it is signed', said)
    said = run('dom0/efi-image', '-o', esp('unsigned'), *files)
    ok(said.endswith(', not signed\n'), 'without a key it says that the image is not signed', said)


def image(name):
    with open(f'{there.name}/{name}/EFI/BOOT/BOOTX64.EFI', 'rb') as f:
        return f.read()


def changed(name, data, what, to=None, behind=0):
    """An image with something else at the only place that has these bytes, or so far behind."""
    need(data.count(what) == 1, f'{name}: the place to be changed is there once', data.count(what))
    at = data.index(what) + behind
    to = to or bytes([data[at] ^ 1])
    with open(esp(name), 'wb') as f:
        f.write(data[:at] + to + data[at + len(to):])


def machine(name, firmware='secure', **more):
    return Machine(name, esp=f'{there.name}/{name}', firmware=firmware, nic=None, **more)


def variable(m, name):
    """Its bytes, without the attributes in front."""
    return bytes.fromhex(m.out_of(f'od -An -v -tx1 /mnt/{name}-{GLOBAL}').replace(' ', '').replace('\r', '').replace('\n', ''))[4:]


def signed():
    with machine('signed', reboot=True) as m:
        m.prompt()
        ok('loaded by GRUB' in m.transcript() and 'EFI v' in m.out_of('dmesg'), 'signed: the firmware starts it, and it comes to dom0\'s prompt')
        m.out_of('modprobe efivarfs; mount -t efivarfs efivarfs /mnt; mount -t securityfs securityfs /sys/kernel/security')
        ok(variable(m, 'SecureBoot') == b'\1', 'signed: dom0 reads that Secure Boot is on')
        ok('[integrity]' in m.out_of('cat /sys/kernel/security/lockdown'), 'signed: dom0\'s kernel is locked down by its signed command line')
        takes_module(m)
        with_options(m)


def takes_module(m):
    out = m.out_of('modprobe corbel 2>&1 || insmod /signed/corbel.ko && corbel info', 20)
    ok('Key was rejected' in out and re.search(r'svm', out), f'{m.label}: dom0\'s kernel takes the module that the key has signed, and not the other one', out)


def with_options(m):
    """The firmware's boot entries can be written by everybody who has its console, or root: they are not signed."""
    now = variable(m, 'BootCurrent')
    entry = variable(m, f'Boot{now[1]:02X}{now[0]:02X}') + ' debugkeys=off init=/bin/false'.encode('utf-16-le') + b'\0\0'
    for name, value in ('Boot0099', entry), ('BootNext', b'\x99\0'):
        text = ''.join(f'\\{b:03o}' for b in b'\7\0\0\0' + value)
        m.out_of(f"printf '{text}' > /tmp/v; dd if=/tmp/v of=/mnt/{name}-{GLOBAL} bs=4096 2>&1", 20)
    before = m.out_of('cat /proc/cmdline')
    m.send('reboot\r')
    m.expect('GRUB', 'options: the machine starts again', 60)
    m.prompt('options: it comes to the prompt again')
    m.out_of('modprobe efivarfs; mount -t efivarfs efivarfs /mnt')
    need(variable(m, 'BootCurrent') == b'\x99\0', 'options: by an entry that has options for the image')
    after = m.out_of('cat /proc/cmdline')
    ok(after == before, 'options: neither dom0 nor the hypervisor has got any of them', after)


def is_refused(name):
    with machine(name) as m:
        got = m.wait([r'Access Denied|Security Violation', 'GRUB'], 30)
        ok(got == 0, f'{name}: the firmware does not start it', m.transcript()[-500:])


def refused():
    """Each of these is one step away from what is started."""
    data = image('signed')
    changed('a byte of the initrd is another', data, b'./initrd\0', behind=4096)
    changed('the command line is another', data, b'lockdown=integrity', b'lockdown=nothingxx')
    run('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=somebody', '-keyout', f'{KEY}2', '-out', f'{KEY}2.pem')
    run('sbsign', '--key', f'{KEY}2', '--cert', f'{KEY}2.pem', '--output', esp('somebody else has signed it'),
        f'{there.name}/unsigned/EFI/BOOT/BOOTX64.EFI')
    for name in 'unsigned', *CHANGED:
        is_refused(name)


def broken():
    """Signed, but not as it was made: GRUB says why, nobody gets its prompt, and the firmware goes on."""
    name = 'no initrd'
    changed(f'{name}, not signed', image('unsigned'), b'./initrd\0', b'./initrx\0')
    run('sbsign', '--key', KEY, '--cert', CERT, '--output', esp(name), f'{there.name}/{name}, not signed/EFI/BOOT/BOOTX64.EFI')
    with machine(name) as m:
        m.expect('GRUB', f'{name}: the firmware starts what is signed', 30)
        m.expect('initrd. not found', f'{name}: the cause is said', 30)
        m.expect('Corbel is not started', f'{name}: and a line what to do')
        m.send('c\x1bc\x1b')
        m.expect('BdsDxe', f'{name}: and it goes back to the firmware')
        ok(not re.search(r'grub>|rescue>', m.transcript()), f'{name}: nobody gets a prompt of GRUB')


def picks(m, *items):
    """Of MokManager's menus; each is one of the first two of its own."""
    for at, item in items:
        m.expect(item, f'{m.label}: MokManager offers: {item}', 30)
        time.sleep(1) # it has drawn no more than that
        m.send(DOWN * at)
        time.sleep(1)
        m.send('\r')


def by_shim(name, of):
    """A directory in which shim starts the program of another one."""
    program = esp(name)
    shutil.copyfile(SHIM, program)
    shutil.copyfile(MANAGER, f'{os.path.dirname(program)}/mmx64.efi')
    os.link(f'{there.name}/{of}/EFI/BOOT/BOOTX64.EFI', f'{os.path.dirname(program)}/grubx64.efi')
    shutil.copyfile(f'{KEY}.der', f'{there.name}/{name}/corbel.cer')


def shim():
    """The firmware has Microsoft's keys, and ours is told to nobody but shim, by its MokManager."""
    by_shim('shim', 'signed')
    variables = f'{there.name}/variables'
    with machine('shim', firmware='microsoft', reboot=True) as m:
        m.expect('Verification failed', 'shim: before it has the key, it refuses the image', 60)
        m.send('\r')
        m.expect('Press any key', 'shim: and starts MokManager', 60)
        m.send('\r')
        picks(m, (1, 'Enroll key from disk'), (0, 'QEMU VVFAT'), (0, 'corbel.cer'), (1, 'Continue'), (1, 'Yes'), (0, 'Reboot'))
        m.expect('GRUB', 'shim: with the key it starts the image', 120)
        m.prompt('shim: which comes to dom0\'s prompt')
        m.out_of('modprobe efivarfs; mount -t efivarfs efivarfs /mnt; mount -t securityfs securityfs /sys/kernel/security')
        ok(variable(m, 'SecureBoot') == b'\1' and '[integrity]' in m.out_of('cat /sys/kernel/security/lockdown'), 'shim: Secure Boot is on, dom0\'s kernel locked down')
        takes_module(m)
        shutil.copyfile(f'{m.base}.vars', variables)
    for of in 'unsigned', *CHANGED:
        by_shim(f'shim and {of}', of)
        with machine(f'shim and {of}', firmware='microsoft', variables=variables) as m:
            got = m.wait(['Verification failed', 'GRUB'], 60)
            ok(got == 0, f'shim with the key: {of}: not started', m.transcript()[-500:])


def debian():
    """On a Debian machine's disk: the commands of README and of corbel-efi-image(8), and what they make is started."""
    disk, now = build_file('disk/secureboot.img'), build_file('disk/secureboot-now.img')
    if not os.path.exists(disk):
        return skip('Debian 12: it makes its image', 'making its disk needs root')
    run('cp', '--sparse=always', disk, now)
    try:
        with Machine('Debian 12, without Secure Boot', disk='secureboot-now', keep=True, firmware='uefi', life=3600) as m:
            m.prompt(seconds=200)
            m.out_of('systemctl is-system-running --wait > /run/state; dmesg -n 1; mkdir -p /boot/efi && mount /dev/vda2 /boot/efi', 200)
            m.out_of(r"sed -i 's/^#\(KEY\|CERT\)=/\1=/; s/ quiet / console=ttyS0 /' /etc/default/corbel-efi-image", 60)
            out = m.out_of('update-initramfs -u 2>&1', 600)
            ok('corbel-efi-image: /boot/efi/EFI/corbel/corbel.efi: corbel-' in out and ', signed' in out, 'Debian 12: the image is made with the initrd', out)
            m.out_of(r"sed -i 's/^CORBEL_DEFAULT=yes/CORBEL_DEFAULT=no/' /etc/default/grub.d/corbel.cfg && update-grub 2> /dev/null", 300)
            out = m.out_of(r"efibootmgr -c -d /dev/vda -p 2 -L Corbel -l '\EFI\corbel\corbel.efi'", 60)
            ok(re.search(r'^BootOrder', out, re.M) and 'Corbel' in out, 'Debian 12: efibootmgr makes the entry', out)
            # The next machine has not got this one's variables.
            m.out_of('cd /boot/efi/EFI && cp corbel/corbel.efi BOOT/BOOTX64.EFI && cd && umount /boot/efi; sync', 60)
            m.send('poweroff\r')
            m.ends('Debian 12: poweroff', 100)
        with Machine('Debian 12, Secure Boot', disk='secureboot-now', keep=True, firmware='secure', life=3600) as m:
            is_dom0(m)
            # As grub-install leaves it where Debian was installed with Secure Boot.
            m.out_of(f"mount /dev/vda2 /boot/efi && cd /boot/efi/EFI && mkdir debian && cp {SHIM} debian/shimx64.efi && cp {MANAGER} debian/mmx64.efi && "
                     f"cp {GRUB} debian/grubx64.efi && cp debian/*.efi BOOT && mv BOOT/shimx64.efi BOOT/BOOTX64.EFI && "
                     r"printf 'search.fs_uuid %s root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n' $(findmnt -n -o UUID /) > debian/grub.cfg && "
                     'cd && umount /boot/efi; sync', 60)
            m.send('poweroff\r')
            m.ends('Debian 12, Secure Boot: poweroff', 100)
        debian_shim()
    finally:
        os.remove(now)


def is_dom0(m):
    m.prompt(seconds=300)
    m.out_of('systemctl is-system-running --wait > /run/state; dmesg -n 1', 300)
    out = m.out_of('cat /sys/kernel/security/lockdown; corbel info; dmesg | grep -c "module verification failed"; true', 60)
    ok('[integrity]' in out and 'svm' in out and out.endswith('0'), f'{m.label}: it is dom0, locked down, and its modules are signed', out)
    failed = m.out_of('systemctl --failed --no-pager --no-legend', 60)
    ok(not failed, f'{m.label}: no unit has failed', failed)


def debian_shim():
    """As a user has Debian: shim, Debian's GRUB and kernel are started by Microsoft's and Debian's keys, ours is nowhere yet."""
    with Machine('Debian 12, shim', disk='secureboot-now', keep=True, firmware='microsoft', reboot=True, life=3600) as m:
        m.prompt(seconds=300)
        m.out_of('systemctl is-system-running --wait > /run/state; dmesg -n 1', 300)
        out = m.out_of('mokutil --sb-state; uname -r; mokutil --list-enrolled | grep -c snakeoil; test -e /dev/corbel || echo plain', 60)
        need('SecureBoot enabled' in out and out.endswith('plain'), 'Debian 12, shim: plain Debian is started, Secure Boot is on', out)
        m.send('mokutil --import /var/lib/dkms/mok.pub\r')
        for again in '', ' again':
            m.expect(f'input password{again}:', f'Debian 12, shim: mokutil asks for a password{again}', 30)
            m.send('corbel15\r')
        m.wait('dom0# ', 30)
        m.out_of(r"efibootmgr -c -d /dev/vda -p 2 -L Corbel -l '\EFI\debian\shimx64.efi' -u '\EFI\corbel\corbel.efi '", 60)
        m.send('reboot\r')
        m.expect('Press any key', 'Debian 12, shim: MokManager comes before anything else', 300)
        m.send('\r')
        picks(m, (1, 'Enroll MOK'), (1, 'Continue'), (1, 'Yes'))
        m.expect('Password:', 'Debian 12, shim: it wants the password', 30)
        m.send('corbel15\r')
        picks(m, (0, 'Reboot'))
        is_dom0(m)
        m.out_of('mount /dev/vda2 /boot/efi; DEBIAN_FRONTEND=noninteractive apt-get -qq purge -y "^corbel-.*" > /run/apt.log 2>&1 || { tail -n 30 /run/apt.log; false; }', 1200)
        out = m.out_of('efibootmgr -v; ls /boot/efi/EFI', 30)
        ok('debian' in out and 'orbel' not in out, 'Debian 12, shim: with the packages the image and its entry go', out)


try:
    main(images, signed, refused, broken, shim, debian)
finally:
    there.cleanup()
