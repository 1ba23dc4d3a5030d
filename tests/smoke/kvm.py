#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The KVM API as VMMs use it: tests/dom0/api, and tests/kvm's firecracker.c, cloudhv.c, kvmtool.c,
debugger.c, msrs.c, insns.c (what is shown), quirks.c, dirty.c, ring.c, migrate.c, hyperv.c, synic.c, traced.c, smm.c, halting.c, rom.c, crowd.c, tpr.c, blob.c, edges.c, apf.c, pairing.c and pressure.c (but swap), run in dom0. Afterwards nothing of them is left in the hypervisor."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import seen
from lib.machine import Machine, build_file
from lib.report import main, ok


# VMMs of our own that ask for what others ask for
LIKE = {'firecracker': 'Firecracker', 'cloudhv': 'Cloud Hypervisor', 'kvmtool': 'kvmtool'}


def by_thread(lines):
    """Events of vCPUs' threads, each thread's in order, as (name, text). Interrupts come at any time and are left out."""
    threads = {}
    for line in lines:
        thread, name, text = re.match(r'(\d+) (kvm_\w+): (.*)', line).groups()
        if not name.endswith('_irq'):
            threads.setdefault(thread, []).append((name, text))
    return list(threads.values())


def traced(m):
    """KVM's tracepoints: guests do as without, events are in order, and none is told once they are off."""
    at = '/sys/kernel/tracing'
    m.out_of(f'echo > {at}/trace; echo counter > {at}/trace_clock; echo 1 > {at}/events/kvm/enable')
    status, out = m.sh('/run/t/firecracker && /run/t/msrs', 60)
    ok(status == 0, 'traced: what was well is well when it is traced', out)
    m.out_of(f'echo 0 > {at}/events/kvm/enable')
    out = m.out_of(f'cat {at}/per_cpu/cpu*/stats | grep -c -E "^(overrun|dropped events): [1-9]"; true')
    ok(out == '0', 'traced: the buffer holds all', out)
    out = m.out_of(f'sed -n "s/^.*-\\([0-9]*\\) .*: \\(kvm_[a-z_]*: .*\\)/\\1 \\2/p" {at}/trace | cut -c1-75', 40)
    threads = by_thread(re.findall(r'^\d+ kvm_.*', out, re.M))
    turns = [[name for name, _ in t if name in ('kvm_entry', 'kvm_exit')] for t in threads]
    again = [t for t in turns if t[:1] == ['kvm_exit'] or ('kvm_exit', 'kvm_exit') in zip(t, t[1:])]
    ok(any('kvm_exit' in t for t in turns) and not again, 'traced: before each kvm_exit is a kvm_entry', f'{len(turns)} threads, {again}')
    pairs = [pair for t in threads for pair in zip([('', '')] + t, t)]
    for name, exit_name, what in ('kvm_pio', 'io', 'pio_write at 0x21 size 1 count 1 val 0xff'), ('kvm_msr', 'msr', 'msr_'):
        mine = [(before, text) for before, (kind, text) in pairs if kind == name and not text.startswith('pio_read')]
        lost = [(before, text) for before, text in mine if before[0] != 'kvm_exit' or f' reason {exit_name} ' not in before[1]]
        ok(any(text.startswith(what) for _, text in mine) and not lost,
           f'traced: {name} follows the exit that it is of', lost[:20] or [text for _, text in mine[:20]])
    out = m.out_of(f'echo local > {at}/trace_clock; echo > {at}/trace; /run/t/firecracker > /run/t/out; grep -c kvm_ {at}/trace; true', 60)
    ok(out == '0', 'traced: nothing is told when they are off', out)


def api():
    extra = []
    for cpio in 'dom0-tests.cpio', 'kvm-tests.cpio':
        extra += ['-drive', f'file={build_file(cpio)},format=raw,if=virtio,readonly=on']
    with Machine('KVM API', mem='1G', extra=extra) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && cpio -id < /dev/vdb && cd', 20)
        before = m.json('corbel info --json')
        for program in 'api', 'firecracker', 'cloudhv', 'kvmtool', 'debugger', 'msrs', 'insns shown', 'quirks', 'dirty', 'ring', 'private', 'migrate', 'hyperv', 'synic', 'traced', 'smm', 'halting', 'rom', 'crowd', 'pressure', 'tpr', 'blob', 'edges', 'apf', 'pairing':
            status, out = m.sh(f'/run/t/{program}', 60)
            for kind, what in re.findall(r'^(ok|not ok) - (.*?)\r*$', out, re.M):
                ok(kind == 'ok', what)
            if ok(status == 0, f'{program} says that all is well', out) and program in LIKE:
                seen.note('VMM', f'what {LIKE[program]} asks for', f'{len(re.findall("^ok - ", out, re.M))} checks')
        traced(m)
        lines = m.sh('corbel dmesg | grep "cannot emulate"')[1]
        ok(re.search(r'cannot emulate instruction at \w+ for address b8110\b', lines),
           'the log says which address the hypervisor could not emulate an access to', lines)
        after = m.json('corbel info --json')
        for key in 'vms', 'vcpus', 'pool_free_bytes':
            ok(before[key] == after[key], f'{key} is as before', f'{before[key]} before, {after[key]} after')
        bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall"')[1]
        ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)


main(api)
