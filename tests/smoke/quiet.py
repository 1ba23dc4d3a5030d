#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What the machine does while nobody wants anything of it, in QEMU where a tick of the TSC is an instruction: instructions, exits, pool."""
import json
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine
from lib.report import main, ok

ICOUNT = ['-icount', 'shift=0,sleep=off']
# While we look nobody joins pages to huge ones: 4.2 million instructions, done once for each and minutes after they were touched.
HUGE = 'echo {0} > /sys/kernel/mm/transparent_hugepage/enabled'
EIGHT, EIGHT_DOM0 = 2200000, 180
LOOK = "corbel stat --json > /run/a; corbel top --json --delay {0} --iterations 2 > /run/t; corbel stat --json > /run/b; " \
       "for f in a b t; do tr -d ' \\n' < /run/$f; echo; done"


def look(m, seconds):
    """In a second: instructions of the machine, exits by VM; and dom0's exits by reason meanwhile."""
    m.out_of(HUGE.format('never'))
    before, after, top = m.out_of(LOOK.format(seconds), 100).split('\n')
    m.out_of(HUGE.format('always'))
    top = json.loads(top[top.index('}{') + 1:])  # the second picture
    was, now = ({vm['vm']: vm['exits'] for vm in json.loads(text)}['dom0'] for text in (before, after))
    why = ', '.join(f'{reason} {(n - was.get(reason, 0)) / seconds:.1f}' for reason, n in now.items() if n > was.get(reason, 0))
    # the CPU is busy for a nanosecond with each
    return round(top['cpu_busy_percent'][0] * 1e7), {vm['name']: vm['exits_per_second'] for vm in top['vms']}, why


def quiet():
    with Machine('quiet', cpus=1, mem='1G', args='quiet mitigations=off dom0.demo=0', extra=ICOUNT) as m:
        m.prompt()
        driver = 'cat /sys/devices/system/cpu/cpuidle/current_driver'
        out = m.out_of(f'{driver}; modprobe -r corbel; {driver}; modprobe corbel; {driver}')
        ok(out.split() == ['corbel', 'none', 'corbel'], 'quiet: dom0 idles as the module says, while it is there', out)
        m.sh('sleep 60', 60)  # what dom0 does after its boot
        n, exits, why = look(m, 300)
        ok(n <= 60000, f'quiet: without a guest {n} instructions are executed in a second, 60000 at most', why)
        ok(exits['dom0'] <= 14, f'quiet: dom0 exits {exits["dom0"]:.0f} times a second ({why}), 14 at most')
        m.out_of('sed -e "s/^vcpus.*/vcpus = 1/; s/^memory.*/memory = 96/; /^disk/d; /^vif/d" /etc/corbel/demo.cfg > /run/q.cfg; '
                 'corbel create /run/q.cfg', 100)
        m.sh('sleep 60', 60)
        n, exits, why = look(m, 200)
        ok(n <= 250000, f'quiet: with an idle guest {n}, 250000 at most', why)
        ok(exits['dom0'] <= 32, f'quiet: dom0 exits {exits["dom0"]:.0f} times a second beside it ({why}), 32 at most')
        ok(0 < exits['demo'] <= 30, f'quiet: and the guest {exits["demo"]:.0f} times, 30 at most')
        pool = next(vm['pool_bytes'] for vm in json.loads(m.out_of('corbel list --json')) if vm['name'] == 'demo')
        ok(pool <= 64 << 10, f'quiet: it takes {pool >> 10} KiB of the pool, 64 at most')


def eight():
    """Eight idle guests on one CPU."""
    with Machine('eight', cpus=1, mem='2G', args='quiet mitigations=off dom0.demo=0', life=1200, extra=ICOUNT) as m:
        m.prompt()
        for i in range(8):
            m.out_of(f'sed -e "s/^name.*/name = \\"q{i}\\"/; s/^vcpus.*/vcpus = 1/; s/^memory.*/memory = 96/; /^disk/d; /^vif/d" /etc/corbel/demo.cfg '
                     f'> /run/q.cfg; corbel create /run/q.cfg', 100)
        m.sh('sleep 60', 100)
        n, exits, why = look(m, 60)
        guests = sorted(exits[f'q{i}'] for i in range(8))
        ok(n <= EIGHT, f'eight: with eight idle guests {n} instructions are executed in a second, {EIGHT} at most')
        ok(exits['dom0'] <= EIGHT_DOM0, f'eight: dom0 exits {exits["dom0"]:.0f} times a second beside them ({why}), {EIGHT_DOM0} at most')
        ok(guests[0] > 0 and guests[-1] <= 32, f'eight: each guest exits from {guests[0]:.0f} to {guests[-1]:.0f} times, 32 at most')


main(quiet, eight)
