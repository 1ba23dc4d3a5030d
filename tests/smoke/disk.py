#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The packages on a Debian machine's disk: dom0 by systemd and GRUB, a guest, a kernel update, purge. Part of `make test-full`.

Needs build/disk/bookworm.img, trixie.img (make dom0-disk, as root), bookworm.efi and guest.cpio; parts whose disk is not there are skipped.
"""
import os
import re
import subprocess
import sys
import tempfile
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
import pexpect
from lib.machine import Machine, PATIENCE, build_file, clean
from lib.report import Stop, main, need, ok, skip

# What Linux says of every module that is not its own; of an emulator that stood still, which may be before or after; and of
# Secure Boot, where its own EFI stub has not looked: README tells what holds instead.
EXPECTED = re.compile(r'clocksource: Long readout interval|secureboot: Secure boot could not be determined|corbel: (loading out-of-tree module taints kernel|module verification failed)|hrtimer: interrupt took|hpet: Lost \d+ RTC interrupts')
GUEST = 'name = "g"\\nkernel = "/guest/vmlinux"\\nramdisk = "/guest/initrd"\\ncmdline = "console=ttyS0 quiet"\\nmemory = 128\\nvcpus = 2\\n'


def machine(what, suite, devices=(), **more):
    if not all(os.path.exists(build_file(f'disk/{f}')) for f in (suite if '.' in suite else f'{suite}.img', 'guest.cpio')):
        skip(what, 'making its disk needs root')
        raise Stop
    guest = f'file={build_file("disk/guest.cpio")},format=raw,if=virtio,readonly=on'
    return Machine(what, disk=suite, extra=['-drive', guest, *devices], reboot=True, life=10800, **more)


def boots(m, what):
    m.prompt(f'{m.label}: {what}', 200)
    m.out_of('systemctl is-system-running --wait > /run/state; dmesg -n 1', 200)
    failed = m.out_of('systemctl --failed --no-pager --no-legend')
    ok(not failed, f'{m.label}: no unit has failed', failed)


def complaints(m):
    """What the kernel says of level warn and worse, without numbers; and the units that failed."""
    said = m.out_of('dmesg -l emerg,alert,crit,err,warn | cut -d"]" -f2-; systemctl --failed --no-pager --no-legend --plain', 30)
    return {re.sub(r'0x[0-9a-f]+|[0-9a-f]{8,}|\d+', 'N', line.strip()) for line in said.splitlines() if not EXPECTED.search(line)}


def reboots(m, what):
    """GRUB's line parts the new machine's prompt from the old shell's."""
    m.send('reboot\r')
    m.expect('Loading Linux ', f'{m.label}: it reboots', 300)
    boots(m, what)


def is_dom0(m):
    info = m.json('corbel info --json', 20)
    ok(info['vms'] == 1, f'{m.label}: it is dom0 of the hypervisor', info)
    out = m.out_of("stat -c '%G %a %t,%T' /dev/kvm /dev/corbel")
    ok(out.split('\n')[0].strip() == 'kvm 660 a,e8' and out.split('\n')[1].startswith('root 600 '),
       f'{m.label}: /dev/kvm is the group kvm\'s, /dev/corbel root\'s', out)


def is_host(m):
    """Units that look after hardware start in dom0, if their other conditions hold."""
    for also, want in ('', 'yes'), ('ConditionPathExists=/nowhere\\n', 'no'):
        out = m.out_of(f'printf "[Unit]\\nConditionVirtualization=no\\n{also}[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=/bin/true\\n" > '
                       '/run/systemd/system/hardware.service; systemctl daemon-reload; systemctl start hardware; '
                       'systemctl is-active -q hardware && echo yes || echo no; systemctl stop hardware; rm /run/systemd/system/hardware.service', 60)
        ok(out.endswith(want), f'{m.label}: a unit that virtual machines do not start{", with a condition that does not hold" if also else ""}: {want}', out)
    out = m.out_of('cat /sys/hypervisor/type /sys/hypervisor/version/major; grep -c "^flags.* svm" /proc/cpuinfo; lsmod | grep -c "^kvm_" || true')
    ok(out.split() == ['corbel', '0', '2', '0'], f'{m.label}: /sys/hypervisor and /proc/cpuinfo say that it is a host', out)
    out = m.out_of('systemd-detect-virt; true')
    ok(out == 'kvm', f'{m.label}: though to systemd-detect-virt it is a virtual machine of KVM', out)


def has_watchers(m):
    """Debian's packages that look after hardware, as they are, and what says whether KVM can be used."""
    m.out_of('DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends --no-download cpu-checker smartmontools thermald '
             '> /run/apt.log 2>&1 || { tail -n 30 /run/apt.log; false; }', 600)
    for unit, program in ('smartmontools', 'smartd'), ('thermald', 'thermald'):
        own = m.out_of(f'systemctl cat {unit} | grep -c "^ConditionVirtualization=no"')
        out = m.out_of(f'systemctl start {unit}; systemctl show -p ConditionResult,ExecMainStartTimestampMonotonic,Result {unit}; '
                       f'journalctl -q --no-pager -n 20 -u {unit}', 60)
        ok(own == '1' and 'ConditionResult=yes' in out and re.search('Monotonic=[1-9]', out) and 'Result=success' in out and program in out,
           f'{m.label}: {unit}, whose unit virtual machines do not start, starts', out)
    ok('DISK' in m.out_of('smartctl -i /dev/nvme0 | grep -q "QEMU NVMe" && systemctl is-active -q smartmontools && echo DISK; true', 30),
       f'{m.label}: and smartd watches the disk', m.sh('smartctl -i /dev/nvme0; systemctl status smartmontools | cat', 30)[1])
    out = m.out_of('kvm-ok', 30)
    ok('KVM acceleration can be used' in out, f'{m.label}: kvm-ok says that KVM can be used', out)
    m.out_of('DEBIAN_FRONTEND=noninteractive apt-get -qq purge -y cpu-checker smartmontools thermald > /run/apt.log 2>&1', 300)


def has_guest(m):
    m.out_of(f'cd / && cpio -idm < /dev/vdb && printf \'{GUEST}\' > /etc/corbel/g.cfg && cd', 60)


def runs_guest(m):
    has_guest(m)
    m.out_of('systemctl start corbel@g', 60)
    m.guest_up('g')
    out = m.out_of('corbel list; systemctl is-active corbel@g', 60)
    ok(re.search(r'^g .* running', out, re.M) and 'inactive' not in out, f'{m.label}: a guest runs as a unit of systemd', out)
    out = m.out_of('systemctl stop corbel@g; corbel list; tail -n 3 /var/log/syslog /run/corbel/g/console.log 2>/dev/null; true', 120)
    ok(not re.search(r'^g ', out, re.M) and 'Power down' in out, f'{m.label}: which shuts it down in order', out)


def starts_with_dom0(m):
    """systemd's own words for it: enabled, it runs after a start, and it is shut down in order before dom0 ends."""
    has_guest(m)
    m.out_of('mkdir -p /etc/systemd/system/corbel@g.service.d && printf "[Service]\\nExecStopPost=-/bin/cp /run/corbel/g/console.log /root/last\\n" '
             '> /etc/systemd/system/corbel@g.service.d/keep.conf && systemctl enable corbel@g 2> /dev/null; rm -f /root/last', 30)
    for what in 'which is enabled', 'again':
        reboots(m, f'it starts, with a guest, {what}')
        m.guest_up('g')
        out = m.out_of('corbel list; tail -n 3 /root/last; true', 30)
        ok(re.search(r'^g .* running', out, re.M), f'{m.label}: the guest, {what}, runs', out)
    ok('Power down' in out, f'{m.label}: and was shut down in order when dom0 ended', out)
    m.out_of('systemctl disable --now corbel@g 2> /dev/null; rm -r /etc/systemd/system/corbel@g.service.d /root/last; systemctl daemon-reload', 120)


def installs(m, what):
    """By apt, as README has it; all that is needed lies there, so no network is."""
    m.out_of('export DEBIAN_FRONTEND=noninteractive', 10)
    m.out_of(f'apt-get -qq install -y --no-install-recommends {what} > /run/apt.log 2>&1 || {{ tail -n 30 /run/apt.log; false; }}', 4800)


def updates_kernel(m, more=''):
    before = m.out_of('uname -r')
    if 'newer' in m.out_of('apt list -q --upgradable 2>/dev/null | grep -q "^linux-image-cloud-amd64/" && echo newer; true', 60):
        installs(m, f'linux-image-cloud-amd64 linux-headers-cloud-amd64 {more}')
        reboots(m, 'the machine starts after a kernel update')
        after = m.out_of('uname -r')
        ok(after != before, f'{m.label}: with the new kernel', f'{before}, {after}')
    else:
        skip(f'{m.label}: a kernel update', 'Debian has no newer kernel than the release')
        if more:
            installs(m, more)
            reboots(m, 'it starts')
    is_dom0(m)


def purges(m):
    before = complaints(m)
    m.out_of('rm -f /etc/corbel/g.cfg; DEBIAN_FRONTEND=noninteractive apt-get -qq purge -y "^corbel-.*" > /run/apt.log 2>&1 || { tail -n 30 /run/apt.log; false; }', 1200)
    reboots(m, 'without the packages it starts')
    out = m.out_of('find / $(findmnt -n -o TARGET /boot/efi) -xdev -iname "*corbel*" ! -path "/var/cache/*" ! -path "/var/lib/apt/*" ! -path "/var/log/*"; grep -i corbel /boot/grub/grub.cfg; '
                   'test -e /dev/corbel && echo /dev/corbel; true', 60)
    ok(not out, f'{m.label}: nothing of them is left', out)
    more = sorted(before - complaints(m))
    ok(not more, f'{m.label}: dom0 complained of nothing of which plain Debian does not', '\n'.join(more))


def debian12():
    with tempfile.NamedTemporaryFile(dir=build_file('')) as disk:
        disk.truncate(1 << 20)
        with machine('Debian 12, BIOS', 'bookworm', devices=['-drive', f'if=none,id=smart,file={disk.name},format=raw', '-device', 'nvme,drive=smart,serial=smart']) as m:
            boots(m, 'the default entry starts it')
            is_dom0(m)
            is_host(m)
            has_watchers(m)
            runs_guest(m)
            starts_with_dom0(m)
            purges(m)


def next_version(there):
    """Packages of the version to come, in a directory."""
    version = re.search(r'^VERSION := (.*)', open('Makefile').read(), re.M).group(1)
    later = f'{version}.1'
    tree = f'{there}/tree'
    os.mkdir(tree)
    for f in 'Makefile', 'linker.ld', 'boot', 'hv', 'dom0', 'tools':
        subprocess.run(['cp', '-r', f, tree], check=True)
    for f, old, new in ('Makefile', f'VERSION := {version}', f'VERSION := {later}'), ('dom0/debian/changelog', f'corbel ({version})', f'corbel ({later})'):
        with open(f'{tree}/{f}', encoding='utf-8') as source:
            text = source.read()
        with open(f'{tree}/{f}', 'w', encoding='utf-8') as out:
            out.write(text.replace(old, new, 1))
    r = subprocess.run([f'{tree}/dom0/mkdeb', later, f'{there}/later'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    need(r.returncode == 0, f'packages of version {later} can be built', r.stdout)
    return version, later


def has_grub_efi(m):
    """As Debian's installer leaves it: the firmware has an entry for Debian's GRUB, and nothing else is there to start."""
    m.out_of('mkdir -p /boot/efi && echo "LABEL=ESP /boot/efi vfat umask=0077 0 0" >> /etc/fstab && systemctl daemon-reload && mount /boot/efi && '
             'grub-install > /run/grub.log 2>&1 && rm -r /boot/efi/EFI/BOOT || { cat /run/grub.log; false; }', 120)
    out = m.out_of('ls /boot/efi/EFI; efibootmgr', 10)
    ok(out.startswith('debian') and re.search(r'^Boot[0-9A-F]{4}\* debian', out, re.M), f'{m.label}: the firmware starts its grub-efi', out)


def plain_install(label, disk, firmware='bios'):
    """As README has it: into a Debian that runs. Then our next version comes, and a newer kernel, and all of it goes again.

    By far the longest parts: the module is compiled in the emulator, three times.
    """
    if not os.path.exists(build_file(f'disk/{disk}')):
        return skip(label, 'making its disk needs root')
    with tempfile.TemporaryDirectory(dir=build_file('')) as there:
        version, later = next_version(there)
        for archive, debs in ('now', build_file('deb')), ('next', f'{there}/later'):
            names = '\n'.join(f for f in os.listdir(debs) if f.endswith('.deb'))
            with open(f'{there}/{archive}.cpio', 'wb') as out:
                subprocess.run(['cpio', '--quiet', '-o', '-H', 'newc'], input=names.encode(), stdout=out, cwd=debs, check=True)
        drives = [o for a in ('now', 'next') for o in ('-drive', f'file={there}/{a}.cpio,format=raw,if=virtio,readonly=on')]
        with machine(label, disk, devices=drives, firmware=firmware) as m:
            boots(m, 'plain Debian starts')
            ok(m.out_of('[ -e /dev/corbel ] || [ -s /sys/hypervisor/type ] || echo plain', 10) == 'plain', f'{m.label}: and is no dom0')
            if firmware == 'uefi':
                has_grub_efi(m)
            m.out_of('for d in c d; do mkdir -p /root/vd$d && cd /root/vd$d && cpio -idm --quiet < /dev/vd$d; done; cd', 60)
            installs(m, '/root/vdc/*.deb')
            reboots(m, 'with the packages installed it starts')
            is_dom0(m)
            is_host(m)
            runs_guest(m)
            updates_kernel(m, '/root/vdd/*.deb')
            out = m.out_of("corbel info; ls /boot/corbel-*.elf; grep -o \"'corbel-[0-9.]*-[0-9][^']*'\" /boot/grub/grub.cfg", 30)
            ok(re.search(rf'{re.escape(later)}\b', out.split('/boot')[0]) and all(f'/boot/corbel-{v}.elf' in out and f"'corbel-{v}-" in out for v in (version, later)),
               f'{m.label}: the next version is started, and this one is in the menu still', out)
            runs_guest(m)
            m.out_of('rm -r /root/vd?')
            purges(m)


def debian12_install():
    plain_install('Debian 12, plain', 'bookworm.base')


def debian12_uefi_install():
    plain_install('Debian 12, plain, UEFI', 'bookworm.efi', 'uefi')


def debian13_install():
    plain_install('Debian 13, plain', 'trixie.base')


def debian12_strict():
    """corbel_iommu.ko is loaded by the initramfs, before the drivers of what that finds: the disk itself raises only what it is given."""
    with machine('Debian 12, AMD-Vi', 'bookworm', devices=['-device', 'amd-iommu,intremap=on']) as m:
        boots(m, 'the default entry starts it')
        loaded = m.out_of('cat /sys/hypervisor/iommu; grep -c "^corbel_iommu" /proc/modules; true')
        ok(loaded.split() == ['dom0', '0'], f'{m.label}: where dom0 drives the IOMMU corbel_iommu.ko does not come', loaded)
        m.out_of("sed -i 's/^#GRUB_CMDLINE_CORBEL_DEFAULT=.*/GRUB_CMDLINE_CORBEL_DEFAULT=\"iommu=strict\"/' /etc/default/grub.d/corbel.cfg && "
                 'update-grub 2> /dev/null > /dev/null', 300)
        reboots(m, 'with iommu=strict it starts')
        ok(m.out_of('cat /sys/hypervisor/iommu') == 'strict', f'{m.label}: which the module says')
        ok(': not found' not in m.transcript(), f'{m.label}: the initramfs misses no program')
        table = m.out_of('cat /proc/interrupts')
        ok(re.search(r'[1-9]\d* +Corbel-MSI.* virtio\d-req', table), f'{m.label}: the disk raises what it is given', table)
        ok(not re.search(r'\sPCI-MSI', table), f'{m.label}: no device raises what it likes', table)
        runs_guest(m)


def debian12_uefi():
    with machine('Debian 12, UEFI', 'bookworm', firmware='uefi') as m:
        boots(m, 'the default entry starts it')
        is_dom0(m)
        runs_guest(m)
        purges(m)


def debian13():
    with machine('Debian 13, BIOS', 'trixie') as m:
        boots(m, 'the default entry starts it')
        is_dom0(m)
        runs_guest(m)
        purges(m)


def debian13_uefi():
    with machine('Debian 13, UEFI', 'trixie', firmware='uefi') as m:
        boots(m, 'the default entry starts it')
        is_dom0(m)
        runs_guest(m)
        purges(m)


def debian13_update():
    with machine('Debian 13, update', 'trixie') as m:
        boots(m, 'the default entry starts it')
        updates_kernel(m)


def run_disk():
    """On a copy, since what is written stays."""
    if not os.path.exists(build_file('disk/bookworm.img')):
        return skip('make run DOM0=disk', 'making its disk needs root')
    with tempfile.TemporaryDirectory(dir=build_file('')) as there:
        disk = f'{there}/bookworm.img'
        # For make, which looks at times alone, the disk is newer than what it is made of.
        open(f'{there}/bookworm.base', 'w').close()
        subprocess.run(['cp', '--reflink=auto', '--sparse=always', build_file('disk/bookworm.img'), disk], check=True)
        child = pexpect.spawn('timeout', ['-k', '5', '3600', 'make', '-s', 'run', f'BUILD={build_file("")[:-1]}', 'DOM0=disk', f'DISK={there}', 'ACCEL=tcg', 'APPEND=loglvl=debug'],
                              encoding='utf-8', codec_errors='replace', echo=False, dimensions=(25, 200))
        said = ''
        try:
            for what, pattern, then in (('says what it starts', 'run: 2 CPUs, 2G memory, bios; Ctrl-A x leaves', ''),
                                        ('starts the disk, and comes to the prompt', 'dom0# ', 'dmesg -n 1; corbel info; echo kept-$((40 + 2))-here > /root/kept; sync; echo EN""D\r'),
                                        ('is dom0 of Corbel', r'svm[\s\S]*END', '\x01x')):
                got = child.expect([pattern, pexpect.EOF, pexpect.TIMEOUT], timeout=300 * PATIENCE)
                said += clean(child.before + (child.after if got == 0 else ''))
                need(got == 0, f'make run DOM0=disk: {what}', said[-2000:])
                child.send(then)
            got = child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=30 * PATIENCE)
            ok(got == 0, 'make run DOM0=disk: Ctrl-A x leaves', clean(child.before))
            ok('APPEND and DOM0_APPEND are for the ISO' in said, 'make run DOM0=disk: APPEND is not taken in silence', said[:1000])
        finally:
            child.close(force=True)
        kept = subprocess.run(['grep', '-qa', 'kept-42-here', disk]).returncode
        ok(kept == 0, 'make run DOM0=disk: what was written stays on the disk')


def reproducible():
    """Built again elsewhere, the packages are the same."""
    with tempfile.TemporaryDirectory() as there:
        version = re.search(r'^VERSION := (.*)', open('Makefile').read(), re.M).group(1)
        r = subprocess.run(['dom0/mkdeb', version, f'{there}/again'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        ok(r.returncode == 0, 'the packages can be built elsewhere', r.stdout)
        debs = sorted(f for f in os.listdir(f'{there}/again') if f.endswith('.deb'))
        other = [f for f in debs if open(f'{there}/again/{f}', 'rb').read() != open(build_file(f'deb/{f}'), 'rb').read()]
        ok(debs and not other, 'they are the same to the bit', other)


main(reproducible, debian12, debian12_strict, debian12_uefi, debian13, debian13_uefi, run_disk, debian12_install, debian12_uefi_install, debian13_install, debian13_update)
