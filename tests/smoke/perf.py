#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Debian's perf in dom0, as it is: `perf kvm stat` counts a guest's exits by KVM's tracepoints. Part of `make test-full` only."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, ok, skip


def perf():
    cpio = build_file('perf.cpio')
    if not os.path.exists(cpio):
        return skip('perf kvm stat', 'linux-perf is not installed')
    extra = []
    for f in cpio, build_file('kvm-tests.cpio'):
        extra += ['-drive', f'file={f},format=raw,if=virtio,readonly=on']
    with Machine('perf', mem='1G', extra=extra) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd / && cpio -idu < /dev/vda && cd /run/t && cpio -id < /dev/vdb; mount -t tracefs tracefs /sys/kernel/tracing', 60)
        status, out = m.sh("cd /run/t && perf kvm stat record -a -o /run/perf.data sh -c './firecracker && ./msrs'", 90)
        ok(status == 0, 'perf kvm stat record: guests do as without it', out)
        for event, keys in ('vmexit', ['msr', 'io', 'npf']), ('ioport', ['0x21:POUT', '0xe1:POUT']):
            out = m.sh(f'perf kvm -i /run/perf.data stat report --event={event} 2>&1', 60)[1]
            rows = {key: int(samples) for key, samples in re.findall(r'^ +(\S+) +(\d+) +\d+\.\d+% ', out, re.M)}
            ok(all(rows.get(key) for key in keys), f'perf kvm stat report: {event} has {", ".join(keys)}', out)
            total = re.search(r'^Total Samples:(\d+)', out, re.M)
            ok(total and int(total.group(1)) == sum(rows.values()), f'perf kvm stat report: and all others by {event}', out)


main(perf)
