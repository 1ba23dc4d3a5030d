#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Debian's cyclictest in a busy guest beside two others, in a pool with deadlines of which 90 % are promised, and in a fair one; and in
dom0. In QEMU where a tick of the TSC is an instruction, and dom0 idles on the other CPU. Part of `make test-full` only."""
import itertools
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, ok

PERIOD, BUDGET = 1000, 500  # us, of the guest that measures
LOOPS = 2000
CYCLIC = f'/usr/bin/cyclictest -q -m -p 90 -i {PERIOD} -l {LOOPS}'
SPIN = '{ while :; do :; done & }'


said = itertools.count() # a console begins with what was said before


def in_guest(m, name, command, seconds=20):
    """What a guest's shell says to a command, up to its next prompt."""
    m.send(f'corbel console {name}\r')
    m.expect('detaches', f'{name}: its console attaches')
    m.send('\r')
    m.expect('demo# ', f'{name}: its shell answers', 60)
    n = next(said)
    m.send(f'{command}; echo sa""id {n}\r')
    m.expect(rf'said {n}\r', f'{name}: does what it is told', seconds)
    out = m.child.before
    m.send('\x1d')
    m.expect('dom0# ', f'{name}: its console detaches')
    return out


def latencies(text):
    """Wake-ups, and the mean and greatest latency in us: what was said last."""
    got = re.findall(r'C: *(\d+) Min: *\d+ Act: *\d+ Avg: *(\d+) Max: *(\d+)', text)
    return tuple(map(int, got[-1])) if got else (0, 0, 10**9)


def guests(m):
    m.out_of('cat /run/cyclic.cpio /usr/share/corbel/demo/initrd > /run/rt.img')
    m.out_of('corbel cpupool-create pool cpus=1 policy=fair')
    for name in 'rt', 'h1', 'h2':
        image = '/run/rt.img' if name == 'rt' else '/usr/share/corbel/demo/initrd'
        m.out_of(f'sed -e "s/^name.*/name = \\"{name}\\"/; s/^vcpus.*/vcpus = 1/; s/^memory.*/memory = 128/; /^disk/d; /^vif/d; '
                 f's,^ramdisk.*,ramdisk = \\"{image}\\"," /etc/corbel/demo.cfg > /run/{name}.cfg; corbel create /run/{name}.cfg', 60)
    for name in 'rt', 'h1', 'h2':
        m.until(f'grep -q "demo: ready" /run/corbel/{name}/console.log', 60)
        m.out_of(f'corbel cpupool-migrate {name} pool')
        in_guest(m, name, SPIN)


def cyclic():
    cpio = build_file('cyclic.cpio')
    extra = ['-icount', 'shift=0,sleep=off', '-drive', f'file={cpio},format=raw,if=virtio,readonly=on']
    with Machine('cyclictest', hv='dom0_share=5', life=1500, extra=extra) as m:
        m.prompt()
        m.out_of('cat /dev/vda > /run/cyclic.cpio; cd / && cpio -idu < /run/cyclic.cpio; cd', 30)
        guests(m)
        count, mean, most = latencies(in_guest(m, 'rt', CYCLIC, 240))
        ok(count == LOOPS and most > PERIOD, f'cyclictest in a busy guest, by weight beside two others: late by {mean} us, up to {most}: it misses')
        status, out = m.sh(f'taskset 2 {CYCLIC}', 240)
        count, mean, most = latencies(out)
        ok(count == LOOPS and most <= 100, f'cyclictest in dom0 on that CPU, beside the three: late by {mean} us, up to {most}', out)
        terms = f'corbel sched rt --period {PERIOD} --budget {BUDGET} && corbel sched h1 --period 10000 --budget 2000 && ' \
                'corbel sched h2 --period 10000 --budget 2000'
        status, out = m.sh(f'for g in rt h1 h2; do corbel cpupool-migrate $g Pool-0; done; corbel cpupool-destroy pool; {terms} && '
                           'corbel cpupool-create pool cpus=1 policy=deadline; for g in rt h1 h2; do corbel cpupool-migrate $g pool; done', 30)
        ok(status == 0, f'cyclictest: {BUDGET} of {PERIOD} us, and twice 2 of 10 ms, are promised on one CPU', out)
        count, mean, most = latencies(in_guest(m, 'rt', CYCLIC, 240))
        ok(count == LOOPS and most <= PERIOD, f'cyclictest there: late by {mean} us, up to {most}: no miss in {count}')


main(cyclic)
