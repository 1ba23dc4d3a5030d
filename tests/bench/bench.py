#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What operations of a guest cost, in instructions, natively, under Debian's KVM and under Corbel in the same emulator.

usage: bench.py BUILD           measure all, write BUILD/bench.json and BUILD/bench.svg, print the table
       bench.py BUILD --update  the same, and make it the committed table (tests/bench/table.json, README.md)
       bench.py BUILD --check   measure under Corbel only; a row 10 % worse than the committed table is a failure
"""
import datetime
import json
import os
import re
import subprocess
import sys
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..'))
if len(sys.argv) > 1:
    os.environ['BUILD'] = sys.argv[1]
from lib.machine import Machine, build_file
from lib.report import main, need, note, ok

TABLE = os.path.join(HERE, 'table.json')
README = os.path.join(HERE, '../../README.md')
# One nanosecond of virtual time is one instruction, and the TSC counts nanoseconds; the guest checks that.
ICOUNT = ['-icount', 'shift=0,sleep=off']
SECONDS, TRIES = 25, 3  # an idle host needs 15 seconds; see in_dom0()
SETTING = 'QEMU TCG, -icount shift=0,sleep=off -smp 1 -cpu max; Debian kernel with mitigations=off, transparent huge pages always'


def times(factor):
    return lambda kvm: round(factor * kvm) if kvm else None


# Name, what it is, and the most that Corbel may take: a number, or a function of KVM's.
ROWS = [
    ('cpuid', 'CPUID, leaf 0', 250),
    ('cpuid-1', 'CPUID, leaf 1', 250),
    ('cpuid-hv', 'CPUID, leaf 0x40000000', 250),
    ('hypercall', 'hypercall from ring 0', 250),
    ('rdmsr', 'RDMSR, intercepted (APIC_BASE)', 300),
    ('wrmsr', 'WRMSR, intercepted (PAT)', 300),
    ('self-ipi', 'self-IPI to handler, x2APIC', 900),
    ('eoi', 'EOI', 250),
    ('ipi-pingpong', 'IPI to another vCPU and back, one CPU', times(1)),
    ('timer-arm', 'arming the TSC deadline', 300),
    ('timer-fire', 'timer: deadline to handler, running', times(1)),
    ('hlt-wake', 'timer: deadline to handler, in HLT', times(1)),
    ('pio-kernel', 'PIO below the VMM (PIC)', times(1)),
    ('mmio-lapic', 'MMIO below the VMM (LAPIC)', times(1)),
    ('mmio-ioapic', 'MMIO below the VMM (IOAPIC)', times(1)),
    ('pio-mini', 'PIO to a minimal VMM and back', times(1)),
    ('mmio-mini', 'MMIO to a minimal VMM and back', times(1)),
    ('pio-vmm', 'PIO to QEMU and back', times(1)),
    ('mmio-vmm', 'MMIO to QEMU and back', times(1)),
    ('doorbell-pio', 'ioeventfd, PIO, until the vCPU runs on', 500),
    ('doorbell-mmio', 'ioeventfd, MMIO, until the vCPU runs on', 500),
    ('doorbell-served', 'ioeventfd to a thread, irqfd to handler', times(1)),
    ('irqfd', 'PIO to a minimal VMM, irqfd to handler', times(1)),
    ('touch-4k', 'first touch of a 4 KiB page, mean', times(1)),
    ('touch-2m', 'first touch of a 2 MiB page, mean', times(1)),
    ('touch-populated', 'first touch of 4 KiB the VMM has, mean', times(1)),
    ('cr0-write', 'CR0 write (WP)', times(1)),
    ('cr4-write', 'CR4 write (PGE)', times(1)),
    ('cr3-write', 'CR3 write', times(1)),
    ('vm-create', 'KVM_CREATE_VM', None),
    ('vcpu-create', 'KVM_CREATE_VCPU', None),
    ('vm-destroy', 'closing a VM of one vCPU', None),
]


def parse(text):
    """{name: (minimum, value)}; the value is the median, of touches the mean. The first of several rows of a name counts."""
    scale = [int(n) for n in re.findall(r'ticks-per-1000-instructions (\d+)', text)]
    # Under a hypervisor its timer interrupts fall into the loop that counts.
    need(scale and all(1000 <= s <= 1030 for s in scale), 'a tick of the TSC is an instruction', text[-3000:])
    rows = {}
    for name, low, median, mean in re.findall(r'^row (\S+) (\d+) (\d+) (\d+)\r*$', text, re.M):
        rows.setdefault(name, (int(low), int(mean if name.startswith('touch') else median)))
    return rows


def native():
    command = ['timeout', '60', 'qemu-system-x86_64', '-M', 'microvm', '-accel', 'tcg', '-cpu', 'max', '-smp', '1', '-m', '1G', *ICOUNT,
               '-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot',
               '-kernel', build_file('bench/guest.elf'), '-append', 'native']
    return parse(subprocess.run(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL).stdout)


def in_dom0(bare):
    """The rows that dom0 measures, or bare Linux with KVM. Where the emulator loses it, again; see tests/README.md."""
    label = 'Debian\'s KVM' if bare else 'Corbel'
    for _ in range(TRIES):
        rows = attempt(label, bare)
        if rows:
            break
    need(rows, f'{label}: the bench guest runs to its end in one of {TRIES} attempts')
    return rows


def attempt(label, bare):
    with open(os.path.join(HERE, 'in-dom0')) as f:
        script = f.read()
    disk = f'file={build_file("bench/bench.cpio")},format=raw,if=virtio,readonly=on'
    with Machine(label, cpus=1, mem='1G', bare=bare, args='quiet mitigations=off dom0.demo=0', script=script,
                 extra=['-drive', disk, *ICOUNT]) as m:
        if m.wait('bench: end\r', SECONDS) < 0:
            note(f'{label}: stands still; its last line is: {m.transcript().splitlines()[-1]}')
            return None
        return parse(m.transcript())


def measure():
    got = {'native': native(), 'kvm': in_dom0(True), 'corbel': in_dom0(False)}
    rows = []
    for name, what, target in ROWS:
        row = {'name': name, 'emulator': 'qemu-svm', 'unit': 'instructions', 'what': what, 'min': {}}
        for way, r in got.items():
            row[way] = r[name][1] if name in r else None
            row['min'][way] = r[name][0] if name in r else None
        row['target'] = target(row['kvm']) if callable(target) else target
        rows.append(row)
    return {'date': datetime.date.today().isoformat(), 'command': 'make bench', 'setting': SETTING, 'rows': rows}


# ---- output ----

def cell(n):
    return '-' if n is None else f'{n:,}'.replace(',', ' ')


def ratio(row):
    return f'{row["corbel"] / row["kvm"]:.2f}' if row['kvm'] and row['corbel'] is not None else '-'


def table(b):
    lines = [['row', 'what', 'native', 'KVM', 'Corbel', 'ratio', 'target', '']]
    for r in b['rows']:
        met = r['target'] is not None and r['corbel'] is not None and r['corbel'] <= r['target']
        lines.append([r['name'], r['what'], *map(cell, (r['native'], r['kvm'], r['corbel'])), ratio(r), cell(r['target']),
                      'met' if met else ''])
    width = [max(len(l[i]) for l in lines) for i in range(len(lines[0]))]
    lines.insert(1, ['-' * w if i < 2 else '-' * (w - 1) + ':' for i, w in enumerate(width)])
    return '\n'.join('| ' + ' | '.join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(l, width))) + ' |'
                     for l in lines)


def chart(b):
    """Bars on a logarithmic scale: KVM, Corbel, and the target as a line."""
    from math import log10
    rows = [r for r in b['rows'] if r['kvm'] is not None and r['corbel'] is not None]
    def x(n): return 170 + 95 * log10(max(n, 1))
    top = max(max(r['kvm'], r['corbel']) for r in rows)
    width, height = x(top) + 90, 46 + 26 * len(rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" font-family="sans-serif" font-size="11">',
           f'<rect width="100%" height="100%" fill="white"/><text x="8" y="16">Instructions per operation, {b["date"]}: '
           '<tspan fill="#999">KVM</tspan>, <tspan fill="#06c">Corbel</tspan>, <tspan fill="#c00">target</tspan></text>']
    for e in range(int(log10(top)) + 1):
        out.append(f'<line x1="{x(10 ** e):.0f}" x2="{x(10 ** e):.0f}" y1="36" y2="{height}" stroke="#eee"/>'
                   f'<text x="{x(10 ** e):.0f}" y="32" fill="#999">{10 ** e:,}</text>')
    for i, r in enumerate(rows):
        y = 40 + 26 * i
        out.append(f'<text x="162" y="{y + 14}" text-anchor="end">{r["name"]}</text>')
        for dy, way, colour in ((0, 'kvm', '#bbb'), (10, 'corbel', '#06c')):
            out.append(f'<rect x="170" y="{y + dy}" width="{max(x(r[way]) - 170, 1):.0f}" height="9" fill="{colour}"/>'
                       f'<text x="{x(r[way]) + 3:.0f}" y="{y + dy + 8}" font-size="9">{r[way]}</text>')
        if r['target']:
            out.append(f'<line x1="{x(r["target"]):.0f}" x2="{x(r["target"]):.0f}" y1="{y - 1}" y2="{y + 20}" stroke="#c00"/>')
    return '\n'.join(out + ['</svg>', ''])


def dump(b):
    """JSON with a line for each row."""
    head = json.dumps({k: v for k, v in b.items() if k != 'rows'}, indent=1)[:-2]
    return head + ',\n "rows": [\n' + ',\n'.join('  ' + json.dumps(r) for r in b['rows']) + '\n ]\n}\n'


def write(path, text):
    with open(path, 'w') as f:
        f.write(text)


def bench():
    b = measure()
    write(build_file('bench.json'), dump(b))
    write(build_file('bench.svg'), chart(b))
    print(table(b))
    if '--update' in sys.argv:
        write(TABLE, dump(b))
        with open(README) as f:
            readme = f.read()
        mark = r'(<!-- bench -->\n).*(<!-- /bench -->\n)'
        head = f'`{b["command"]}`, {b["date"]}; instructions, {b["setting"]}.\n\n'
        write(README, re.sub(mark, lambda m: m.group(1) + head + table(b) + '\n' + m.group(2), readme, flags=re.S))


def check():
    with open(TABLE) as f:
        committed = {r['name']: r['corbel'] for r in json.load(f)['rows'] if r['emulator'] == 'qemu-svm'}
    now = in_dom0(False)
    for name, was in committed.items():
        if was is None:
            continue
        value = now[name][1] if name in now else None
        # Ten instructions more are nothing, also where there were two.
        ok(value is not None and value <= max(1.1 * was, was + 10), f'{name} costs {value}, no more than it did ({was})',
           f'see {os.path.relpath(TABLE)}')
        if value is not None and value < 0.9 * was:
            note(f'{name}: {value} instructions, {was} in the table; `make bench-update` would keep that')


main(check if '--check' in sys.argv else bench)
