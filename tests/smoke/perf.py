#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Programs by which people look at KVM, in dom0, as they are: Debian's perf, trace-cmd and bcc's tools by KVM's tracepoints, kvm_stat by
those and by debugfs. Needs build/observers.img: see tests/dom0/observers. Part of `make test-full` only."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, ok, skip


def seen_from(m, command, seconds=120):
    """A command in the root with the programs: its status and what it says. It has no terminal, on which it would draw."""
    return m.sh(f'chroot /run/o /bin/sh -c "cd /run/t && {command}" < /dev/null > /run/out 2>&1; S=$?; tail -n 80 /run/out; (exit $S)', seconds)


def perf(m):
    status, out = seen_from(m, "perf kvm stat record -a -o /run/perf.data sh -c './firecracker && ./msrs'")
    ok(status == 0, 'perf kvm stat record: guests do as without it', out)
    for event, keys in ('vmexit', ['msr', 'io', 'npf']), ('ioport', ['0x21:POUT', '0xe1:POUT']):
        out = seen_from(m, f'perf kvm -i /run/perf.data stat report --event={event}')[1]
        rows = {key: int(samples) for key, samples in re.findall(r'^ +(\S+) +(\d+) +\d+\.\d+% ', out, re.M)}
        ok(all(rows.get(key) for key in keys), f'perf kvm stat report: {event} has {", ".join(keys)}', out)
        total = re.search(r'^Total Samples:(\d+)', out, re.M)
        ok(total and int(total.group(1)) == sum(rows.values()), f'perf kvm stat report: and all others by {event}', out)


def trace_cmd(m):
    status, out = seen_from(m, 'trace-cmd record -q -o /run/trace.dat -e kvm ./firecracker')
    ok(status == 0, 'trace-cmd record -e kvm: guests do as without it', out)
    out = seen_from(m, 'trace-cmd report -q /run/trace.dat | grep -c kvm_entry:')[1]
    ok(int(out.split()[0]) > 10, 'trace-cmd report: it has seen entries', out)
    out = seen_from(m, 'trace-cmd report -q /run/trace.dat | grep firecracker.*kvm_exit:')[1]
    # Its own plugin has words for the reasons.
    ok(re.search(r'kvm_exit: +reason [A-Z]\S+.* rip 0x', out), 'trace-cmd report: and exits, with their reasons and places', out)


def bcc(m):
    status, out = seen_from(m, "(argdist-bpfcc -c -C 't:kvm:kvm_exit():u32:args->exit_reason' -i 60 -d 60 & "
                               'for n in 1 2 3 4 5 6; do sleep 10; ./firecracker > /dev/null || exit 1; done; wait)', 400)
    ok(status == 0, 'argdist-bpfcc: guests do as without it', out)
    ok(re.search(r'(?m)^\s+\d+ +args->exit_reason = ', out), 'argdist-bpfcc: it has their exits by their reasons', out)


def kvm_stat(m):
    m.until('grep -q "demo: ready" /run/corbel/demo/console.log', 60)
    for option, fields in ('-t', {'kvm_exit': '', 'kvm_exit by its reasons': r'kvm_exit\([A-Z]\w+\)', 'kvm_entry': ''}), ('-d', {'exits': '', 'run_time': ''}):
        out = seen_from(m, f"python3 /usr/bin/kvm_stat -1 {option} | grep -v ' 0$'")[1]
        for field, pattern in fields.items():
            ok(re.search(rf'(?m)^{pattern or field} +[1-9]\d* +[1-9]', out), f'kvm_stat {option}: there is {field}', out)


def observers():
    if not os.path.exists(build_file('observers.img')):
        return skip('programs that look at KVM', 'their disk is made as root')
    extra = []
    for f, how in ('observers.img', 'snapshot=on'), ('kvm-tests.cpio', 'readonly=on'):
        extra += ['-drive', f'file={build_file(f)},format=raw,if=virtio,{how}']
    with Machine('observers', mem='2G', args='quiet', extra=extra, life=1500) as m:
        m.prompt()
        m.out_of('mkdir -p /run/o /run/t && cd /run/t && cpio -id < /dev/vdb; cd; mount -t tracefs none /sys/kernel/tracing; '
                 'mount -t debugfs none /sys/kernel/debug; mount /dev/vda /run/o && for d in dev proc sys run; do mount --rbind /$d /run/o/$d; done', 60)
        for look in perf, trace_cmd, kvm_stat, bcc:
            look(m)


main(observers)
