#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""corbel.ko is built for Debian 13's kernel by Debian 13's compiler, without a warning. Part of `make test-full` only."""
import os
import re
import subprocess
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import build_file
from lib.report import main, need, ok, skip


def module():
    if os.getuid():
        return skip('corbel.ko for Debian 13\'s kernel', 'its compiler runs in a chroot, which needs root')
    path = build_file('trixie/corbel.ko')
    r = subprocess.run(['make', '-s', path, f'BUILD={build_file("")[:-1]}'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    need(r.returncode == 0, 'corbel.ko is built for Debian 13\'s kernel, without a warning', r.stdout)
    magic = subprocess.run(['modinfo', '-F', 'vermagic', path], stdout=subprocess.PIPE, text=True, check=True).stdout
    ok(re.match(r'6\.1\d\.\d+\+deb13-cloud-amd64 ', magic), 'it is for that kernel', magic)


main(module)
