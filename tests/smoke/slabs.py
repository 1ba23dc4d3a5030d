#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What tests corbel.ko by force, in a dom0 whose kernel watches its memory: uses after free and beyond the end are reported. Debian 12's
kernel does so by red zones and poison in each slab, Debian 13's has kfence besides. Part of `make test-full` only."""
import os
import re
import subprocess
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, need, note, ok, skip

SECONDS = 60
# What is run, and for how many seconds at most on an idle machine: watching costs some.
# `guests` comes last: breakpoints of a guest that has ended stay in QEMU's TCG (QUIRK_DR7), and others' code runs into them.
PROGRAMS = {f'fuzz_ioctl {SECONDS} 11': SECONDS + 120, 'vmms': 200, 'longwork': 120, 'api': 180, 'firecracker': 60, 'cloudhv': 60, 'kvmtool': 60,
            'debugger': 60, 'msrs': 60, 'dirty': 60, 'migrate': 60, 'guests': 300}
# widen.ko, which the others load, is for Debian 12's kernel.
NOT_WIDENED = {'vmms': ' irqfds limits pool-limit pool sparse last-slot', 'longwork': ' cpu-back'}
PROGRAMS_13 = {p + NOT_WIDENED.get(p, ''): s for p, s in PROGRAMS.items()}
# How SLUB, kfence and the kernel begin a report; words of kfence that are none are `kfence: ...`.
REPORT = r'BUG|WARNING:|Oops|general protection fault|Redzone |Padding |Object .*: |Slab 0x'


def watch(label, programs, kfence=False, **machine):
    extra = []
    for cpio in 'dom0-tests.cpio', 'kvm-tests.cpio':
        extra += ['-drive', f'file={build_file(cpio)},format=raw,if=virtio,readonly=on']
    with Machine(label, mem='3G', args='quiet dom0.demo=0 slub_debug=FZPU', extra=extra, life=3000, **machine) as m:
        m.prompt(seconds=60)
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && cpio -id < /dev/vdb && cd', 20)
        marks = m.out_of('cd /sys/kernel/slab/kmalloc-1k && cat sanity_checks red_zone poison store_user; cd')
        ok(marks.split() == ['1'] * 4, f'{label}: slabs have red zones, poison, and who had what is in them', marks)
        if kfence: # not before: it has 255 places, which the boot would fill for good
            m.out_of('echo 20 > /sys/module/kfence/parameters/sample_interval')
        before = m.json('corbel info --json')
        for program, seconds in programs.items():
            status, out = m.sh(f'/run/t/{program}', seconds)
            bad = re.findall(r'^not ok - .*?(?=\r*$)', out, re.M)
            ok(status == 0 and not bad, f'{label}: {program.split()[0]} says that all is well', '\n'.join(bad) or out[-2000:])
        if kfence:
            m.sh('mount -t debugfs none /sys/kernel/debug')
            stats = m.out_of('cat /sys/kernel/debug/kfence/stats')
            note('kfence: ' + ', '.join(stats.split('\n')))
            taken = re.search(r'total allocations: (\d+)', stats)
            ok('enabled: 1' in stats and taken and int(taken.group(1)) > 500, f'{label}: kfence watches', stats)
        # An object is looked at when it is freed or taken; here are the others.
        m.out_of('for c in /sys/kernel/slab/*; do echo 1 > $c/validate; done', 60)
        after = m.json('corbel info --json')
        for key in 'vms', 'vcpus':
            ok(before[key] == after[key], f'{label}: {key} is as before', f'{before[key]} before, {after[key]} after')
        status, bad = m.sh(f'dmesg | grep -E -A12 "{REPORT}"', 30)
        ok(status == 1, f'{label}: dom0\'s kernel log has no report', bad[:6000])


def slub():
    watch('SLUB', PROGRAMS)


def kfence():
    if os.getuid():
        return skip('kfence: corbel.ko in Debian 13\'s kernel', 'its compiler runs in a chroot, which needs root')
    r = subprocess.run(['make', '-s', build_file('trixie.iso'), f'BUILD={build_file("")[:-1]}'], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, check=False)
    need(r.returncode == 0, 'kfence: there is a dom0 with Debian 13\'s kernel', r.stdout[-2000:])
    watch('kfence', PROGRAMS_13, kfence=True, iso='trixie.iso')


main(slub, kfence)
