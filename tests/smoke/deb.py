#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Debian's packages: what they hold, what lintian says, and GRUB's menu on a made-up /boot. disk.py installs them."""
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import build_file
from lib.report import main, need, ok

SCRIPT = 'dom0/debian/20_linux_corbel'
SETTINGS = 'dom0/debian/corbel.cfg'
GENERATOR = 'dom0/systemd/corbel-generator'
# What each package must have; {v} is its version.
FILES = {
    'corbel-hypervisor-{v}': ['/boot/corbel-{v}.elf', '/boot/corbel-{v}.config'],
    'corbel-hypervisor-common': ['/etc/grub.d/20_linux_corbel', '/etc/default/grub.d/corbel.cfg',
                                 '/lib/systemd/system-generators/corbel', '/usr/sbin/corbel-efi-image', '/etc/default/corbel-efi-image',
                                 '/etc/initramfs/post-update.d/corbel-efi-image', '/etc/kernel/postrm.d/zz-corbel-efi-image', '/usr/share/man/man8/corbel-efi-image.8.gz',
                                 '/usr/share/man/man7/corbel-hypervisor.7.gz'],
    'corbel-dkms': ['/usr/src/corbel-{v}/dkms.conf', '/usr/src/corbel-{v}/Kbuild', '/usr/src/corbel-{v}/abi.h', '/usr/src/corbel-{v}/abi_error.h', '/usr/src/corbel-{v}/abi_msr.h', '/usr/src/corbel-{v}/abi_pool.h', '/usr/src/corbel-{v}/abi_vm.h', '/usr/src/corbel-{v}/abi_nested.h',
                    '/etc/modprobe.d/corbel-dkms.conf',
                    '/usr/share/initramfs-tools/hooks/corbel', '/usr/share/initramfs-tools/scripts/init-top/corbel'],
    'corbel-utils': ['/usr/sbin/corbel', '/etc/corbel', '/usr/share/man/man8/corbel.8.gz',
                     '/usr/share/man/man5/corbel.cfg.5.gz', '/lib/systemd/system/corbel@.service', '/lib/systemd/system/corbel.service',
                     '/lib/systemd/system/corbel-metrics.service', '/lib/systemd/system/corbel-metrics.timer',
                     '/usr/share/bash-completion/completions/corbel'],
}


def run(*command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)


def packages():
    r = run('make', '-s', f'BUILD={build_file("")[:-1]}', 'deb')
    need(r.returncode == 0, 'make deb builds the packages', r.stdout)
    changes, = glob.glob(build_file('deb/*.changes'))
    version = re.search(r'^Version: (.*)', open(changes).read(), re.M).group(1)
    contents = {}
    for package, files in FILES.items():
        name = package.format(v=version)
        deb, = glob.glob(build_file(f'deb/{name}_*.deb'))
        listing = run('dpkg-deb', '-c', deb).stdout
        contents[name] = {line.split()[5].strip('.').rstrip('/'): line for line in listing.splitlines()}
        missing = [f for f in files if f.format(v=version) not in contents[name]]
        ok(not missing, f'{package.format(v="VERSION")} has {len(files)} files that it must have', f'{missing}\n{listing}')
    sources = {os.path.basename(f) for f in glob.glob('dom0/kmod/*.[ch]')}
    there = {os.path.basename(f) for f in contents['corbel-dkms']}
    ok(sources <= there, 'corbel-dkms has all sources of the module', sources - there)
    elf = contents[f'corbel-hypervisor-{version}'][f'/boot/corbel-{version}.elf']
    ok(elf.startswith('-rw-r--r-- root/root'), 'the hypervisor is root\'s', elf)
    abi = []
    for package, file, line in (f'corbel-hypervisor-{version}', f'boot/corbel-{version}.config', r'^CORBEL_ABI_VERSION=(\d+)$'), \
            ('corbel-dkms', f'usr/src/corbel-{version}/abi.h', r'^#define CORBEL_ABI_VERSION\s+(\d+)u?\b'):
        deb, = glob.glob(build_file(f'deb/{package}_*.deb'))
        text = run('sh', '-c', f'dpkg-deb --fsys-tarfile {deb} | tar -xO ./{file}').stdout
        abi += re.findall(line, text, re.M) or [text]
    ok(len(abi) == 2 and abi[0] == abi[1], 'hypervisor and module say by which ABI they speak, the same', abi)
    r = run('lintian', '--allow-root', '--fail-on', 'error,warning', changes)
    ok(r.returncode == 0 and not re.search('^[EW]:', r.stdout, re.M), 'lintian finds no error and nothing to warn of', r.stdout)


def initramfs():
    """The script in the initramfs, where there is no program but modprobe: which modules it loads."""
    with tempfile.TemporaryDirectory() as d:
        with open('dom0/debian/initramfs.init-top') as f:
            script = f.read()
        for said, want in ('strict', 'corbel corbel_iommu'), ('dom0', 'corbel'), (None, 'corbel'):
            if said:
                with open(f'{d}/iommu', 'w') as f:
                    f.write(f'{said}\n')
            with open(f'{d}/modprobe', 'w') as f:
                f.write(f'#!/bin/sh\necho $2 >> {d}/loaded\n')
            os.chmod(f'{d}/modprobe', 0o755)
            here = script.replace('/sys/hypervisor/iommu', f'{d}/iommu')
            r = subprocess.run(['/bin/sh', '-c', here], env={'PATH': d}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            with open(f'{d}/loaded') as f:
                loaded = ' '.join(f.read().split())
            ok(loaded == want and not r.stdout, f'initramfs: where the hypervisor says {said}, {want} is loaded, by nothing but modprobe', f'{loaded}\n{r.stdout}')
            for f in glob.glob(f'{d}/*'):
                os.remove(f)


def materials():
    """The bill of materials against the packages, and against what they say that they need."""
    path, = glob.glob(build_file('deb/*.spdx.json'))
    with open(path, encoding='utf-8') as f:
        bom = json.load(f)
    there = {p['SPDXID']: p for p in bom['packages']}
    edges = {(r['spdxElementId'], r['relationshipType'], r['relatedSpdxElement']) for r in bom['relationships']}
    described = [there[b] for a, kind, b in edges if kind == 'DESCRIBES' and a == bom['SPDXID']]
    files = {}
    for deb in glob.glob(build_file('deb/*.deb')):
        with open(deb, 'rb') as f:
            files[os.path.basename(deb)] = hashlib.sha256(f.read()).hexdigest()
    ok(bom['spdxVersion'] == 'SPDX-2.3' and files and {p['packageFileName']: p['checksums'][0]['checksumValue'] for p in described} == files,
       'SBOM: it has each package, with its checksum', described)
    ok(len(there) == len(bom['packages']) and all(a in there or a == bom['SPDXID'] for a, _, _ in edges) and all(b in there for _, _, b in edges),
       'SBOM: what it relates is there, once')
    ok({('SPDXRef-corbel-utils', 'DEPENDS_ON', 'SPDXRef-libjson-c5'), ('SPDXRef-nasm', 'BUILD_DEPENDENCY_OF', 'SPDXRef-corbel-utils')} <= edges and
       re.match(r'\d', there['SPDXRef-libjson-c5']['versionInfo']) and all('GPL-2.0-only' in p['licenseDeclared'] for p in described),
       'SBOM: with licences, libraries, and what they were built with', sorted(edges)[:20])
    with open(path, 'rb') as f:
        before = f.read()
    r = run('dom0/sbom', build_file('deb'), run('dpkg-parsechangelog', '-l', 'dom0/debian/changelog', '-S', 'Timestamp').stdout.strip())
    with open(path, 'rb') as f:
        ok(r.returncode == 0 and f.read() == before, 'SBOM: made again, it is the same', r.stdout)


def menu(boot, **settings):
    """Output of the script for this directory, as grub-mkconfig would call it; its tools that ask about disks are replaced."""
    probe, relpath = f'{boot}/probe', f'{boot}/relpath'
    for path, text in (probe, 'case "$*" in *fs_uuid*) echo the-uuid;; *target=fs*) echo ext2;; *partmap*) echo gpt;; '
                              '*abstraction*) echo "${LVM-}" ;; *) echo hd0,gpt3;; esac'), (relpath, 'echo /boot'):
        with open(path, 'w') as f:
            f.write(f'#!/bin/sh\n{text}\n')
        os.chmod(path, 0o755)
    env = dict(os.environ, CORBEL_BOOT=boot, grub_probe=probe, grub_mkrelpath=relpath, GRUB_DISTRIBUTOR='Debian',
               GRUB_DEVICE='/dev/vda3', GRUB_DEVICE_BOOT='/dev/vda3', GRUB_CMDLINE_LINUX='console=ttyS0')
    env.update(settings)
    with open(SCRIPT) as f:
        script = f.read().replace('/dev/disk/by-uuid/', f'{boot}/uuid-')
    r = subprocess.run(['sh', '-c', script], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    need(r.returncode == 0, f'menu: the script succeeds ({" ".join(settings) or "no settings"})', r.stderr)
    return r.stdout


def entries(text):
    return re.findall(r"menuentry_id_option '([^']*)'", text)


def block(text, ident):
    """The lines of an entry."""
    return text.partition(f"option '{ident}' {{")[2].partition('}')[0].replace('\t', ' ')


def grub_menu():
    with tempfile.TemporaryDirectory() as boot:
        ok(menu(boot) == '', 'menu: without a hypervisor there are no entries')
        for f in 'corbel-0.9.elf', 'corbel-0.10.elf', 'vmlinuz-6.1.0-9-amd64', 'vmlinuz-6.1.0-10-amd64', 'initrd.img-6.1.0-10-amd64', \
                'vmlinuz-6.1.0-10-amd64.dpkg-tmp', 'corbel-0.11.elf.dpkg-new':
            open(f'{boot}/{f}', 'w').close()
        text = menu(boot, GRUB_CMDLINE_LINUX_DEFAULT='quiet', GRUB_CMDLINE_CORBEL='dom0_mem=1G')
        want = ['corbel'] + [f'corbel-{h}{k}{r}' for h in ('0.10', '0.9') for k, r in
                             [('', ''), *((k, r) for k in ('-6.1.0-10-amd64', '-6.1.0-9-amd64') for r in ('', '-safe', '-recovery'))]]
        ok(entries(text) == want, 'menu: an entry for each hypervisor and kernel, newest first, and one for the newest', entries(text))
        first = block(text, 'corbel')
        ok(re.search(r'^ multiboot2 /boot/corbel-0\.10\.elf dom0_mem=1G$', first, re.M) and
           re.search(r'^ module2 /boot/vmlinuz-6\.1\.0-10-amd64 root=/dev/vda3 ro console=ttyS0 quiet$', first, re.M) and
           re.search(r'^ module2 /boot/initrd\.img-6\.1\.0-10-amd64$', first, re.M),
           'menu: an entry loads hypervisor, kernel and initrd with their options', first)
        ok('initrd' not in block(text, 'corbel-0.9-6.1.0-9-amd64'), 'menu: a kernel without an initrd is loaded alone')
        open(f'{boot}/uuid-abc', 'w').close()
        for fs, disk, kernel, root in ('ext2', 'lvm', '10', '/dev/null'), ('ext2', '', '9', '/dev/null'), ('ext2', '', '10', 'UUID=abc'), ('btrfs', '', '10', 'UUID=abc'):
            text = block(menu(boot, GRUB_DEVICE='/dev/null', GRUB_DEVICE_UUID='abc', GRUB_FS=fs, LVM=disk), f'corbel-0.10-6.1.0-{kernel}-amd64')
            ok(re.search(rf' root={root} ro{" rootflags=subvol=boot" * (fs == "btrfs")} console=ttyS0$', text, re.M),
               f'menu: root {fs} {disk}, {"with" if kernel == "10" else "without"} an initrd: {root}', text)
        text = menu(boot, GRUB_SAVEDEFAULT='true', GRUB_DISABLE_SUBMENU='y')
        usual = [e for e in entries(text) if not e.endswith(('-recovery', '-safe'))]
        ok(text.count('savedefault') == len(usual) > 0 and len(entries(text)) == len(want) - 2 and 'submenu' not in text,
           'menu: what is chosen is saved, and there are no submenus, where GRUB is told so', text)
        with open(f'{boot}/flat', 'w') as f:
            f.write(text)
        r = run('grub-script-check', f'{boot}/flat')
        ok(r.returncode == 0, 'menu: GRUB can read that, too', r.stdout)
        text = menu(boot, GRUB_CMDLINE_LINUX_DEFAULT='quiet', GRUB_CMDLINE_CORBEL='dom0_mem=1G')
        recovery = block(text, 'corbel-0.9-6.1.0-9-amd64-recovery')
        ok(' ro single console=ttyS0\n' in recovery, 'menu: recovery mode is single-user and without the default options', recovery)
        safe = block(text, 'corbel-0.9-6.1.0-9-amd64-safe')
        ok(re.search(r'^ +multiboot2 /boot/corbel-0\.9\.elf dom0_mem=1G mask=all loglvl=debug$', safe, re.M) and
           re.search(r'^ +module2 /boot/vmlinuz-6\.1\.0-9-amd64 root=/dev/vda3 ro console=ttyS0$', safe, re.M),
           'menu: an entry has all that is optional switched off, and neither hypervisor nor kernel quiet', safe)
        script = f'{boot}/menu'
        with open(script, 'w') as f:
            f.write(text)
        r = run('grub-script-check', script)
        ok(r.returncode == 0, 'menu: GRUB can read it', r.stdout)
        text = menu(boot, GRUB_DISABLE_RECOVERY='true', GRUB_CMDLINE_LINUX_CORBEL='console=hvc0', GRUB_DISTRIBUTOR='O\'Brien')
        ok(not any('recovery' in e for e in entries(text)) and any('safe' in e for e in entries(text)) and ' ro console=hvc0\n' in text and "O'\\''Brien" in text,
           'menu: settings are obeyed, quotes quoted', text)
        text = menu(boot, GRUB_DISTRIBUTOR='Kali GNU/Linux')
        ok("'Kali GNU/Linux, with" in text and 'Linux GNU' not in text, 'menu: a name with GNU/Linux is taken as it is', text)
        open(f'{boot}/amd-ucode.img', 'w').close()
        first = block(menu(boot, GRUB_EARLY_INITRD_LINUX_STOCK='intel-uc.img amd-ucode.img'), 'corbel')
        ok(re.search(r'module2 /boot/vmlinuz-6\.1\.0-10-amd64 .*\n module2 /boot/amd-ucode\.img\n module2 /boot/initrd',
                     first.replace(" echo 'Loading its initial ramdisk ...'\n", '')) and 'intel' not in first,
           'menu: an early image is loaded before the initrd', first)
        said = [f'{v}="{v} as set"' for v in ('GRUB_CMDLINE_CORBEL', 'GRUB_CMDLINE_CORBEL_DEFAULT', 'GRUB_CMDLINE_LINUX_CORBEL', 'GRUB_CMDLINE_LINUX_CORBEL_DEFAULT')]
        with open(SETTINGS) as f, open(f'{boot}/corbel.cfg', 'w') as out:
            out.write(re.sub(r'^#(GRUB_CMDLINE_\w+)=.*', r'\1="\1 as set"', f.read(), flags=re.M))
        out = run('sh', '-c', f'. {boot}/corbel.cfg; env').stdout
        ok(all(line.replace('"', '') in out.splitlines() for line in said), 'menu: what is set in its settings reaches the script', out)
        default = ['sh', '-c', f'GRUB_DEFAULT=0; . {boot}/corbel.cfg; echo $GRUB_DEFAULT']
        with open(SETTINGS) as f:
            settings = f.read().replace('/boot/', boot + '/').replace('/sys/firmware/efi/efivars/', boot + '/')
        for said, elf, secure, want in ('yes', True, None, 'corbel'), ('yes', True, 0, 'corbel'), ('yes', True, 1, '0'), ('no', True, 0, '0'), ('yes', False, 0, '0'):
            with open(f'{boot}/corbel.cfg', 'w') as f:
                f.write(settings.replace('CORBEL_DEFAULT=yes', f'CORBEL_DEFAULT={said}', 1))
            if secure is not None:
                with open(f'{boot}/SecureBoot-guid', 'wb') as f:
                    f.write(bytes([6, 0, 0, 0, secure]))
            if not elf:
                for f in glob.glob(f'{boot}/corbel-*.elf'):
                    os.remove(f)
            out = run(*default).stdout.strip()
            ok(out == want, f'menu: CORBEL_DEFAULT={said} {"with" if elf else "without"} a hypervisor{", Secure Boot is on" if secure else ""}: the default is {want}', out)


def efi_image():
    """What corbel-efi-image takes by its settings, and what it refuses; secureboot.py starts what it makes."""
    with tempfile.TemporaryDirectory() as there:
        def made(*args, settings='', **env):
            with open(f'{there}/settings', 'w') as f:
                f.write(settings)
            return run('dom0/efi-image', *args, env=dict(os.environ, CORBEL_EFI_SETTINGS=f'{there}/settings', CORBEL_BOOT=there, TMPDIR=there, **env))

        for f in 'corbel-0.9.elf', 'corbel-0.10.elf', 'corbel-0.11.elf.dpkg-new', 'vmlinuz-6.1.0-9-amd64', 'vmlinuz-6.1.0-10-amd64', \
                'vmlinuz-6.1.0-11-amd64', 'initrd.img-6.1.0-9-amd64', 'initrd.img-6.1.0-10-amd64':
            with open(f'{there}/{f}', 'w') as out:
                out.write(f'this is {f}.')
        r = run('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=me', '-keyout', f'{there}/key', '-out', f'{there}/pem')
        need(r.returncode == 0, 'image: a key can be made', r.stdout)
        out, key = f'{there}/esp/corbel.efi', f'KEY={there}/key CERT={there}/pem\n'
        usual = f'OUT={out}\nCMDLINE="root=/dev/$((2 + 2)) a;b"\nOPTIONS="maxcpus=3"\n'
        r = made('--hook', settings=usual)
        ok(r.returncode == 0 and not r.stdout and not os.path.exists(out), 'image: the hook does nothing without a key', r.stdout)
        r = made('--hook', settings='CMDLINE="root=$(false)"\n')
        ok(r.returncode == 0 and not r.stdout, 'image: nor then if the settings cannot be read', r.stdout)
        r = made(settings=usual)
        ok(r.returncode == 1 and 'no KEY in' in r.stdout and not os.path.exists(out), 'image: who calls it without one is told', r.stdout)
        r = made('--hook', settings=usual + key)
        need(r.returncode == 0, 'image: with a key the hook makes it', r.stdout)
        with open(out, 'rb') as f:
            image = f.read()
        there_is = re.findall(r'this is ([^\0]*)\.\0', image.decode('latin-1'))
        ok(there_is == ['corbel-0.10.elf', 'initrd.img-6.1.0-10-amd64', 'vmlinuz-6.1.0-10-amd64'],
           'image: it has the newest hypervisor, and the newest kernel with an initrd', there_is)
        ok(b'/corbel.elf maxcpus=3;' in image and b'/linux root=/dev/4 a\\;b;' in image, 'image: the command lines are those of the settings')
        r = run('sbverify', '--cert', f'{there}/pem', out)
        ok(r.returncode == 0, 'image: the key has signed it', r.stdout)
        run('objcopy', '-O', 'binary', '--only-section=.sbat', out, f'{there}/sbat')
        sbat = open(f'{there}/sbat').read()
        ok(re.search(r'^sbat,.*\ngrub,\d+,(.*\n)+corbel,1,', sbat), 'image: .sbat names GRUB by its generation, and us', sbat)
        os.remove(f'{there}/initrd.img-6.1.0-10-amd64')
        shutil.copy('dom0/efi-image', f'{there}/corbel-efi-image')

        def hooked(which, settings):
            with open(f'dom0/debian/efi-image.{which}') as f:
                hook = f.read().replace('/usr/sbin/', f'{there}/')
            with open(f'{there}/settings', 'w') as f:
                f.write(usual + settings)
            return run('sh', '-c', hook, env=dict(os.environ, CORBEL_EFI_SETTINGS=f'{there}/settings', CORBEL_BOOT=there, TMPDIR=there, PATH=f'{there}:{os.environ["PATH"]}'))

        r = hooked('postrm', key)
        image = open(out, 'rb').read()
        ok(r.returncode == 0 and b'this is vmlinuz-6.1.0-9-amd64' in image and 'is as it was' not in r.stdout, 'image: where a kernel was removed it has the newest of the others', r.stdout)
        for which in 'postrm', 'hook':
            r = hooked(which, f'KEY={there}/none CERT={there}/pem\n')
            ok(r.returncode == 0 and re.fullmatch(r'.*/none: not there.*is as it was.*\n', r.stdout) and open(out, 'rb').read() == image,
               f'image: a failure of the {which} is told in a line, and is none of the package manager', r.stdout)
            r = hooked(which, key + f'TMPDIR={there}/none\n')
            ok(r.returncode == 0 and re.search(r'cannot be put together in .*/none; .*is as it was.*call corbel-efi-image\n$', r.stdout) and open(out, 'rb').read() == image,
               f'image: where it cannot be put together the {which} says so, and the old one stays', r.stdout)
            os.symlink('/dev/full', f'{out}.new')
            r = hooked(which, key)
            ok(r.returncode == 0 and re.fullmatch(r'.*: No space left on device; .*room for \d+ MiB beside the old one; .*is as it was.*call corbel-efi-image\n', r.stdout) and open(out, 'rb').read() == image,
               f'image: where the EFI partition is full the {which} says so in a line, and the old one stays', r.stdout)
        for what, why, args, settings in (
                ('a key without a certificate', 'not one of them', [], usual + f'KEY={there}/key\n'),
                ('a key that is none', 'sbsign failed', [], usual + f'KEY={there}/pem CERT={there}/pem\n'),
                ('a certificate that is none', 'is no certificate', [], usual + f'KEY={there}/key CERT={there}/key\n'),
                ('two lines', 'one line', [], usual + key + 'CMDLINE="a\nb"\n'),
                ('no root', 'no UUID', [], usual + key + 'CMDLINE="root=UUID=$(true) ro"\n'),
                ('no EFI system partition', 'mounted?', [], usual + key + f'OUT={there}/no/corbel/corbel.efi\n'),
                ('an open quote', 'does not understand', [], usual + key + 'OPTIONS="\'"\n'),
                ('what is not there', 'not there', ['-o', out, f'{there}/none', f'{there}/pem', f'{there}/pem', ''], ''),
                ('too few arguments', 'usage', ['-o', out, f'{there}/pem'], '')):
            r = made(*args, settings=settings)
            ok(r.returncode and why in r.stdout and open(out, 'rb').read() == image, f'image: {what}: refused in a line, and the last one stays', r.stdout)
        ok(sorted(os.listdir(f'{there}/esp')) == ['corbel.efi'] and not glob.glob(f'{there}/tmp.*'), 'image: nothing else is left behind')
        removed(there, made)


ENTRIES = r'''BootCurrent: 0001
Boot0001* debian	HD(15,GPT,aaaa-1)/File(\EFI\debian\shimx64.efi)
Boot000A* Corbel	HD(15,GPT,aaaa-1)/File(\EFI\Corbel\corbel.efi)
Boot000b* Corbel	HD(15,GPT,aaaa-1)/File(\EFI\debian\shimx64.efi)\.E.F.I.\.c.o.r.b.e.l.\.c.o.r.b.e.l...e.f.i. .
Boot000C* Corbel	HD(15,GPT,aaaa-1)/\EFI\debian\shimx64.efi5c004500460049005c0063006f007200620065006c005c0063006f007200620065006c002e006500660069002000
Boot000D* other	HD(15,GPT,aaaa-1)/File(\EFI\corbel\other.efi)
Boot000E* Corbel	HD(15,GPT,aaaa-2)/File(\EFI\corbel\corbel.efi)
'''


def removed(there, made):
    """The packages' end: the image goes, and of the firmware's entries, of which a made-up efibootmgr tells, those that start it."""
    out = f'{there}/EFI/corbel/corbel.efi'
    os.makedirs(os.path.dirname(out))
    with open(f'{there}/entries', 'w') as f:
        f.write(ENTRIES)
    with open(f'{there}/efibootmgr', 'w') as f:
        f.write(f'#!/bin/sh\ncase $1 in -v) cat {there}/entries ;; *) echo "$*" >> {there}/told ;; esac\n')
    with open(f'{there}/findmnt', 'w') as f:
        f.write('#!/bin/sh\necho AAAA-1\n')
    for program in 'efibootmgr', 'findmnt':
        os.chmod(f'{there}/{program}', 0o755)
    open(out, 'w').close()
    path = f'{there}:{os.environ["PATH"]}'
    for image, want in ('there', ['-q -B -b 000A', '-q -B -b 000b', '-q -B -b 000C']), ('gone', []):
        r = made('--remove', settings=f'OUT={out}\n', PATH=path)
        told = open(f'{there}/told').read().splitlines() if os.path.exists(f'{there}/told') else []
        ok(r.returncode == 0 and not r.stdout and not os.path.exists(f'{there}/EFI/corbel') and told == want,
           f'image: removed, when it is {image}: with the {len(want)} entries that start it', f'{r.stdout}{told}')
        open(f'{there}/told', 'w').close()
    r = made('--remove', settings=f'OUT={out}\nKEY=there\n', PATH=path)
    ok(r.returncode == 1 and 'mounted?' in r.stdout, 'image: where its partition is not mounted that is said', r.stdout)


def units():
    """The drop-ins of the generator for made-up units in two directories, of which the first one counts."""
    bare, made = 'ConditionVirtualization=no\n', {}
    files = {'high/masked.service': '', 'high/own.service': 'ConditionVirtualization=!vm\n', 'low/masked.service': bare,
             'low/own.service': bare + 'ConditionPathExists=/no\n', 'low/smartd.service': bare + 'ConditionACPower=true\n',
             'low/guest.service': 'ConditionVirtualization=vm\n', 'low/plain.service': 'ConditionPathExists=/no\n'}
    with tempfile.TemporaryDirectory() as top:
        for name, text in files.items():
            os.makedirs(os.path.dirname(f'{top}/{name}'), exist_ok=True)
            with open(f'{top}/{name}', 'w') as f:
                f.write(f'[Unit]\n{text}')
        def generates():
            env = dict(os.environ, CORBEL_UNITS=f'{top}/high {top}/low {top}/none', CORBEL_TYPE=f'{top}/type')
            return run('sh', GENERATOR, f'{top}/out', f'{top}/out', f'{top}/out', env=env)

        for hypervisor in 'none', 'xen':
            r = generates()
            ok(r.returncode == 0 and not r.stdout and not os.path.exists(f'{top}/out'),
               f'units that stay out of virtual machines do so where the hypervisor is {hypervisor}', r.stdout)
            with open(f'{top}/type', 'w') as f:
                f.write('xen\n' if hypervisor == 'none' else 'corbel\n')
        r = generates()
        for path in glob.glob(f'{top}/out/*/*'):
            made[path.split('/')[-2]] = open(path).read()
    want = {f'{name}.service.d': f'[Unit]\nConditionVirtualization=\n{rest}' for name, rest in (('own', ''), ('smartd', 'ConditionACPower=true\n'))}
    ok(r.returncode == 0 and made == want, 'in dom0 units that stay out of virtual machines lose this condition, and only this one', f'{r.stdout}{made}')


def purged():
    """What corbel-utils leaves of guests' units."""
    with tempfile.TemporaryDirectory() as top:
        wants = f'{top}/system/multi-user.target.wants'
        os.makedirs(wants)
        with open('dom0/debian/corbel-utils.postrm') as f:
            script = f.read().replace('/etc/systemd/', f'{top}/').replace('/var/', f'{top}/')
        for what, left in ('remove', ['corbel@web.service', 'other@web.service']), ('purge', ['other@web.service']):
            for name in 'corbel', 'other':
                if not os.path.lexists(f'{wants}/{name}@web.service'):
                    os.symlink(f'/lib/systemd/system/{name}@.service', f'{wants}/{name}@web.service')
            r = run('sh', '-c', script, 'postrm', what)
            ok(r.returncode == 0 and sorted(os.listdir(wants)) == left, f'{what}: of the units that were enabled {left} are so yet', f'{r.stdout}{os.listdir(wants)}')


def manual():
    """corbel-hypervisor(7) against the table in boot/options.c."""
    page = open('tools/man/corbel-hypervisor.7').read()
    told = set(re.findall(r'^\.TP\n\.(?:BR?I?|BI) (\w+)', page.partition('.SH OPTIONS')[2].partition('.SH FILES')[0], re.M))
    known = set(re.findall(r'^ *\{"(\w+)", AT\(', open('boot/options.c').read(), re.M))
    ok(known and told == known, 'corbel-hypervisor(7) has the options that there are', told ^ known)


main(packages, initramfs, materials, grub_menu, efi_image, units, purged, manual)
