#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""corbel.ko and corbel_iommu.ko are built for Debian 13's kernel by Debian 13's compiler, without a warning; and in a Debian 13 all is built and run;
that kernel, which uses CET, is dom0 on a CPU that has it.
Part of `make test-full` only."""
import os
import re
import subprocess
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import seen
from lib.machine import Bochs, build_file
from lib.report import main, need, note, ok, skip

TESTS = ['unit', 'style', 'target', 'boot', 'guests']  # in Debian 13


def module():
    if os.getuid():
        return skip('corbel.ko for Debian 13\'s kernel', 'its compiler runs in a chroot, which needs root')
    path = build_file('trixie/corbel.ko')
    r = subprocess.run(['make', '-s', path, f'BUILD={build_file("")[:-1]}'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    need(r.returncode == 0, 'corbel.ko is built for Debian 13\'s kernel, without a warning', r.stdout)
    for name in 'corbel', 'corbel_iommu':
        magic = subprocess.run(['modinfo', '-F', 'vermagic', build_file(f'trixie/{name}.ko')], stdout=subprocess.PIPE, text=True, check=True).stdout
        ok(re.match(r'6\.1\d\.\d+\+deb13-cloud-amd64 ', magic), f'{name}.ko is for that kernel', magic)


def shadow_stacks():
    """A CPU with CET, of which dom0 is shown nothing: its kernel would panic, were it shown a half."""
    if os.getuid():
        return skip('Debian 13\'s kernel as dom0 on a CPU with CET', 'its module is made in a chroot, which needs root')
    iso = build_file('trixie-bochs.iso')
    r = subprocess.run(['make', '-s', iso, f'BUILD={build_file("")[:-1]}'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    need(r.returncode == 0, 'CET: an image with Debian 13\'s kernel is made', r.stdout)
    with Bochs('CET', ['tests/bochs', iso, '--model', 'tigerlake', '--mem', '1024', '--ips', '100000000']) as m:
        m.prompt('CET: dom0 comes to its prompt')
        out = m.out_of('uname -r; grep -m 1 "model name" /proc/cpuinfo; corbel info')
        ok(re.match(r'6\.1\d\.\d+\+deb13', out) and '11th Gen Intel' in out and re.search('back end +vmx', out), 'CET: its kernel is Debian 13\'s, its CPU one with CET and VT-x', out)
        out = m.sh('grep -m 1 -owE "user_shstk|shstk|ibt" /proc/cpuinfo')[1]
        ok(not out.strip(), 'CET: dom0 is shown nothing of it', out)
        for line in m.sh('dmesg | grep -B 1 "WARNING: CPU" | grep -v "cut here\\|^--"')[1].splitlines():
            note(f'CET: {line.strip()}')  # Bochs' model says of its topology and of XSAVE what cannot be
        bad = m.sh('dmesg | grep -E "BUG:|Oops|control protection|lockup|stall"')[1]
        ok(not bad.strip(), 'CET: nothing goes wrong in dom0\'s kernel', bad)


def host():
    """gcc 14, QEMU 10, GRUB 2.12 and Linux 6.12 in place of Debian 12's."""
    if os.getuid():
        return skip('Debian 13 builds it and passes', 'a chroot needs root')
    r = subprocess.run(['tests/dom0/host13', build_file('host13'), *TESTS],
                       env={name: value for name, value in os.environ.items() if name not in seen.PARTS},
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    for name in TESTS:
        for row in seen.notes(build_file(f'host13/root/root/corbel/build/seen/{name}')):
            seen.note(*row)
    lines = r.stdout.strip().split('\n')
    found = re.fullmatch(r'(\d+) passed, 0 failed, \d+ skipped', lines[-1])
    ok(r.returncode == 0 and found, f'in Debian 13: {lines[-1]}', '\n'.join([l for l in lines if l.startswith('not ok')] + lines[-40:]))


main(module, shadow_stacks, host)
