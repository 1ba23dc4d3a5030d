#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""corbel.ko and corbel_iommu.ko are built for Debian 13's kernel by Debian 13's compiler, without a warning; and in a Debian 13 all is built and run.
Part of `make test-full` only."""
import os
import re
import subprocess
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import seen
from lib.machine import build_file
from lib.report import main, need, ok, skip

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


main(module, host)
