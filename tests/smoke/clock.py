#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What dom0 has of the paravirtual clock and of what else it takes because it sees that it is a guest, in QEMU where a tick of the TSC is an
instruction. README has the figures."""
import json
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, need, ok

FILES = ['-drive', f'file={build_file("dom0-tests.cpio")},format=raw,if=virtio,readonly=on']
ICOUNT = ['-icount', 'shift=0,sleep=off']
SOURCES = '/sys/devices/system/clocksource/clocksource0'


def exits(m):
    """dom0's so far, by reason."""
    return {vm['vm']: vm['exits'] for vm in m.json('corbel stat --json', 20)}['dom0']


def measures(what, args):
    """Instructions to read the clock, by clock source; dom0's exits until its prompt, and for a thousand sleeps."""
    with Machine(what, cpus=1, mem='1G', args=f'quiet mitigations=off dom0.demo=0 {args}', extra=ICOUNT + FILES) as m:
        m.prompt(seconds=60)
        boot = exits(m)
        m.out_of('cd /run && cpio -idm < /dev/vda')
        costs, first = {}, m.out_of(f'cat {SOURCES}/current_clocksource')
        for source in m.out_of(f'cat {SOURCES}/available_clocksource').split():
            out = m.out_of(f'echo {source} > {SOURCES}/current_clocksource; sleep 1; cat {SOURCES}/current_clocksource; ./clock')
            costs[source] = int(re.search(rf'^{source}\s+realtime \d+\s+monotonic (\d+)', out).group(1))
        m.out_of(f'echo {first} > {SOURCES}/current_clocksource; sleep 1')
        before = exits(m)
        m.out_of('./clock sleep', 30)
        slept = {why: n - before.get(why, 0) for why, n in exits(m).items()}
    return first, costs, boot, slept


def told(pattern):
    """The numbers of a sentence of README."""
    with open('README.md') as f:
        found = re.search(pattern, re.sub(r'\s+', ' ', f.read()))
    need(found, f'README has the figures: {pattern}')
    return [float(n) for n in found.groups()]


def near(what, numbers, measured, apart=.1):
    ok(all(abs(n - m) <= apart * m for n, m in zip(numbers, measured)), f'{what}: README says {numbers}, measured here: {measured}', f'more than {apart} apart')


def clock():
    first, costs, boot, slept = measures('dom0 as it is', '')
    ok(first == 'kvm-clock', 'where the TSC is not invariant, as in this emulator, dom0 takes the paravirtual clock', first)
    tsc, costs_tsc, boot_xapic, slept_xapic = measures('dom0 that does not look', 'nopv')
    ok(tsc == 'tsc' and 'kvm-clock' not in costs_tsc, 'with `nopv` it does not know of it, and comes up', tsc)
    ok(costs_tsc['tsc'] == costs['tsc'], 'reading the TSC costs the same', (costs, costs_tsc))
    near('reading the clock', told(r'(\d+) instructions by kvmclock, (\d+) by the TSC, (\d+) by the HPET'), [costs[c] for c in ('kvm-clock', 'tsc', 'hpet')])
    near('page faults of the second stage until the prompt', told(r'instead of (\d+), (\d+) exits for what is not mapped'), [boot['p2m-fault'], boot_xapic['p2m-fault']],
         .3) # of the timer's interrupts there are as many more as the prompt is waited for
    near('for a sleep', told(r'and ([\d.]+) for each sleep of a process'), [slept_xapic['p2m-fault'] / 1000])
    ok(slept['p2m-fault'] == 0, 'in x2APIC mode there is none', slept)


main(clock)
