#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""KVM's own selftests, those that are quick; selftests_rest.py has the others."""
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import selftests
from lib.report import main


def quick():
    selftests.run('KVM\'s selftests', 'selftests.cpio')


main(quick)
