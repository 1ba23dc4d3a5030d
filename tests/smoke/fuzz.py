#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Random ioctls on /dev/kvm and /dev/corbel by root, then random hypercalls by a module of dom0's kernel: all else survives."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, note, ok

KEYS = 'vms', 'vcpus', 'doorbells', 'pool_free_bytes'
SECONDS = 30  # each of the two


def results(out):
    for text in re.findall(r'(?:^# |hcfuzz: )(\d+ .*calls.*?|of calls .*?)\r*$', out, re.M):
        note(text)
    for kind, what in re.findall(r'(?:^|hcfuzz: )(ok|not ok) - (.*?)\r*$', out, re.M):
        ok(kind == 'ok', what, out)


def fuzz():
    seed = int(os.environ.get('SEED', '7'))  # always the same one, so that a failure is news of the code
    note(f'seed {seed}; SEED={seed} in the environment repeats the same calls, if not their timing')
    disk = f'file={build_file("kvm-tests.cpio")},format=raw,if=virtio,readonly=on'
    with Machine(f'seed {seed}', extra=['-drive', disk], life=840, iso='checked.iso') as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && cd', 20)
        before = m.json('corbel info --json')
        results(m.sh(f'/run/t/fuzz_ioctl {SECONDS} {seed}', SECONDS + 60)[1])
        results(m.out_of(f'insmod /run/t/hcfuzz.ko seconds={SECONDS} seed={seed} && rmmod hcfuzz; dmesg | grep hcfuzz:', SECONDS + 60))
        after = m.json('corbel info --json')
        for key in KEYS:
            ok(before[key] == after[key], f'{key} is as before', f'{before[key]} before, {after[key]} after')
        m.out_of('corbel create /etc/corbel/demo.cfg', 60)
        ok(m.guest_up(), 'a guest starts afterwards', m.sh('tail -n 5 /run/corbel/demo/console.log')[1])
        bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall|corbel: (vCPU|VM)"')[1]
        ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)


main(fuzz)
