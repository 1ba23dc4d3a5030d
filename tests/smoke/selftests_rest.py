#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""KVM's own selftests that selftests.py has not, and those of Debian 13's kernel. Part of `make test-full` only."""
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import selftests
from lib.report import main


def rest():
    selftests.run('the other selftests of KVM', 'selftests-rest.cpio')


def debian13():
    selftests.run('the selftests of Debian 13\'s KVM', 'selftests13.cpio', 'nested=on')


main(rest, debian13)
