#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What operations of a guest cost, in instructions, natively, under Debian's KVM and under Corbel in the same emulator.

usage: bench.py BUILD [--update] [EMULATOR...]
                               measure, write BUILD/bench.json and BUILD/bench-EMULATOR.svg, print the tables; --update
                               makes them the committed ones (tests/bench/table.json, RESULTS.md beside it, and some
                               rows in README.md)
       bench.py BUILD --check  measure under Corbel in QEMU only, with an IOMMU that it drives, which the table is without: none of its rows
                               is to pay for that; a row 10 % worse than the committed table is a failure
EMULATOR: qemu-svm, bochs-vmx; all if none is named
"""
import datetime
import json
import os
import re
import socket
import subprocess
import sys
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, '..'))
if len(sys.argv) > 1:
    os.environ['BUILD'] = sys.argv[1]
from lib.machine import Machine, build_file
from lib.report import main, need, note, ok

PYTHON = '/usr/bin/python3'
TABLE = os.path.join(HERE, 'table.json')
RESULTS = os.path.join(HERE, 'RESULTS.md')
README = os.path.join(HERE, '../../README.md')
FEW = ['cpuid', 'pio-vmm', 'doorbell-served', 'touch-4k', 'virtio-blk-4k', 'net-rtt']  # the README's rows, good and bad
# One nanosecond of virtual time is one instruction, and the TSC counts nanoseconds; the guest checks that.
ICOUNT = ['-icount', 'shift=0,sleep=off']
IOMMU_BOOT = 3000000  # instructions that taking one over may cost, with 1 GiB of memory
SECONDS, TRIES = 40, 3  # an idle host needs 25 seconds; see in_dom0()
LINUX = 'mitigations=off, transparent huge pages always'
EMULATORS = {
    'qemu-svm': f'QEMU TCG, -icount shift=0,sleep=off -smp 1 -cpu max; Debian kernel with {LINUX}',
    'bochs-vmx': f'Bochs, corei7_skylake_x, ips=1000000000; Debian kernel with {LINUX}',
}


def times(factor):
    return lambda kvm, native: round(factor * kvm) if kvm else None


def beyond_native(factor):
    return lambda kvm, native: round(factor * native) if native else None


# Name, what it is, and the most that Corbel may take: a number, or a function of KVM's and the native cost.
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
    ('pio-pit', 'PIO below the VMM (PIT)', times(1)),
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
    ('nested-exit', 'VMRUN in a guest, to the #VMEXIT of its guest', times(1)),
    ('cpuid-spec', 'CPUID, leaf 0; spec=full, KVM with mitigations', times(1)),
    ('pio-mini-spec', 'PIO to a minimal VMM and back, likewise', times(1)),
    ('cpu-loop', 'ten million instructions in a Linux guest', beyond_native(1.005)),
    ('fork-exec', 'fork, exec, exit, wait in a Linux guest', beyond_native(1.1)),
    ('ctx-switch', 'two switches of process in a Linux guest', times(1)),
    ('virtio-blk-4k', '4 KiB read through QEMU, O_DIRECT', times(1)),
    ('virtio-blk-1m', '1 MiB read through QEMU, O_DIRECT', times(1)),
    ('net-rtt', 'echo from dom0 through QEMU', times(1)),
    ('sleeper-hogs', 'a thread of dom0 that slept 1 ms beside 8 busy guests: how late', times(1)),
    ('sleeper-hogs-p99', 'one in a hundred of them is later than', times(1)),
    ('guest-boot', 'QEMU\'s start to a Linux guest\'s init', times(1)),
    ('guest-boot-exits', 'exits until then', 6000),
    ('guest-boot-faults', 'of these, NPT faults', times(1)),
    ('dom0-boot', 'first instruction to dom0\'s prompt', beyond_native(1.03)),
    ('dom0-boot-exits', 'exits until then', None),
    ('vm-create', 'KVM_CREATE_VM', None),
    ('vcpu-create', 'KVM_CREATE_VCPU', None),
    ('vm-destroy', 'closing a VM of one vCPU', None),
    ('hv-memory', 'the hypervisor\'s pool, of 1 GiB', None),
    ('hv-memory-used', 'of this in use, with this guest', None),
    ('guest-memory', 'of this for a guest of 128 MiB and one vCPU', None),
]
UNITS = {'guest-boot-exits': 'exits', 'guest-boot-faults': 'exits', 'dom0-boot-exits': 'exits', 'hv-memory': 'KiB', 'hv-memory-used': 'KiB',
         'guest-memory': 'KiB'}


def parse(text):
    """{name: (minimum, value)}; the value is the median, of touches the mean. The first of several rows of a name counts."""
    scale = [int(n) for n in re.findall(r'ticks-per-1000-instructions (\d+)', text)]
    need(scale and all(s == 1000 for s in scale), 'a tick of the TSC is an instruction', text[-3000:])
    need(set(re.findall(r'early-timers (\d+)', text)) <= {'0'}, 'no timer comes before its time', text[-3000:])
    rows = {}
    for name, low, median, mean in re.findall(r'^row (\S+) (\d+) (\d+) (\d+)\r*$', text, re.M):
        rows.setdefault(name, (int(low), int(mean if name.startswith('touch') else median)))
    return rows


def counters(text):
    """What the counters say, as rows, and exits by reason: of the hypervisor, or of KVM."""
    rows, exits = {}, {}
    def put(name, value): rows[name] = (value, value)
    j = {what: json.loads(''.join(re.findall(rf'^json {what} (.*?)\r*$', text, re.M)))
         for what in set(re.findall(r'^json (\S+) ', text, re.M))}
    if not j:
        for name, key in ('guest-boot-exits', 'exits'), ('guest-boot-faults', 'pf_taken'):
            put(name, int(re.search(rf'/{key}:(\d+)', text).group(1)))
        return rows, exits
    dom0 = next(vm for vm in j['stat-boot'] if vm['vm_id'] == 0)
    guest = next(vm for vm in j['stat-guest'] if vm['vm_id'])
    exits = {'dom0-boot': dom0['exits'], 'guest-boot': guest['exits']}
    put('dom0-boot-exits', dom0['exits_total'])
    put('guest-boot-exits', guest['exits_total'])
    put('guest-boot-faults', guest['exits'].get('p2m-fault', 0))
    info = j['info-guest']
    put('hv-memory', info['pool_total_bytes'] // 1024)
    # What IOMMUs need is told apart: hv/README.md has it.
    put('hv-memory-used', (info['pool_total_bytes'] - info['pool_free_bytes']) // 1024 - 4 * info['iommu_pages'])
    put('guest-memory', next(vm['pool_bytes'] for vm in j['list-guest'] if vm['name'] == guest['vm']) // 1024)
    return rows, exits


class Instructions:
    """How many instructions the machine has executed, by its QMP socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.lines = self.socket.makefile()
        self.ask('qmp_capabilities')

    def ask(self, command):
        self.socket.sendall(json.dumps({'execute': command}).encode())
        while True:
            reply = json.loads(self.lines.readline())
            if 'return' in reply:
                return reply['return']

    def now(self):
        return self.ask('query-replay')['icount']


def svm_native():
    def qemu(*args):
        command = ['timeout', '100', build_file('bench/launch'), 'true', 'qemu-system-x86_64', '-M', 'microvm,acpi=on,rtc=on',
                   '-accel', 'tcg', '-cpu', 'max', '-smp', '1', *ICOUNT, '-nodefaults', '-no-user-config', '-display', 'none', '-serial', 'stdio', '-no-reboot', *args]
        return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout
    with open(build_file('bench/disk'), 'wb') as f:
        f.truncate(8 << 20)
    micro = qemu('-m', '1G', '-kernel', build_file('bench/guest.elf'), '-append', 'native')
    linux = qemu('-m', '128M', '-kernel', build_file('bench/vmlinux'), '-initrd', build_file('bench/linux.img'),
                 '-append', 'console=ttyS0 quiet reboot=t mitigations=off', '-drive',
                 f'if=none,id=disk,format=raw,file={build_file("bench/disk")}', '-device', 'virtio-blk-device,drive=disk')
    rows = parse(micro + linux)
    rows.pop('guest-boot', None)  # in ticks of this very machine
    return rows


def of_other_boot(label, hv='', mitigations='off', bare=False):
    """Rows of the minimal VMM's guest where the machine is started otherwise; of KVM again where the emulator loses it."""
    modules = 'for m in irqbypass kvm kvm-amd; do insmod $(find lib -name $m.ko); done; ' if bare else ''
    script = f'cd /run && cpio -id < /dev/vda 2>/dev/null; {modules}bin/vmm bin/guest.elf; echo bench: end'
    disk = f'file={build_file("bench/bench.cpio")},format=raw,if=virtio,readonly=on'
    for _ in range(TRIES if bare else 1):
        with Machine(label, cpus=1, mem='1G', bare=bare, dom0='cloud' if bare else 'cloud-elf', script=script, hv=hv,
                     args=f'mitigations={mitigations} dom0.demo=0', extra=['-drive', disk, *ICOUNT]) as m:
            if m.wait('bench: end\r', SECONDS) >= 0:
                return parse(m.transcript())
    need(False, f'{label}: the bench runs to its end')


def with_spec(bare):
    """What is done against speculation, by a host that fears everything: of an emulator's CPU this is what needs no MSR."""
    rows = of_other_boot('KVM, mitigations' if bare else 'Corbel, spec', hv='' if bare else 'spec=full', mitigations='auto,nosmt', bare=bare)
    return {f'{name}-spec': rows[name] for name in ('cpuid', 'pio-mini')}


def in_dom0(bare, strict=False):
    """Rows, exits and transcript of what dom0 measures, strict: with an IOMMU that the hypervisor drives; or bare Linux with KVM; that one
    again where the emulator loses it, see tests/README.md."""
    label = 'Debian\'s KVM' if bare else 'Corbel'
    for _ in range(TRIES if bare else 1):
        got = attempt(label, bare, strict)
        if got:
            break
    need(got, f'{label}: the bench runs to its end')
    if not bare:
        rows = of_other_boot('Corbel, nested', hv='nested=on')
        got[0].update({name: row for name, row in rows.items() if name.startswith('nested')})
    got[0].update(with_spec(bare))
    return got


def attempt(label, bare, strict):
    with open(os.path.join(HERE, 'in-dom0')) as f:
        script = f.read()
    disk = f'file={build_file("bench/bench.cpio")},format=raw,if=virtio,readonly=on'
    qmp = build_file('bench/qmp')
    # The same unpacked kernel in both: bare Linux is counted from its first line on, which comes after the decompressor.
    iommu = ['-device', 'intel-iommu,intremap=on,aw-bits=48'] if strict else []
    with Machine(label, cpus=1, mem='1G', bare=bare, dom0='cloud' if bare else 'cloud-elf', script=script, hv='iommu=strict' if strict else '',
                 args='earlycon=uart8250,io,0x3f8 loglevel=6 mitigations=off dom0.demo=0',
                 extra=[*iommu, '-drive', disk, '-qmp', f'unix:{qmp},server=on,wait=off', *ICOUNT]) as m:
        begun = m.wait(r'Linux version' if bare else r'\(hv\) \[ *(\d+\.\d+)\]', SECONDS) >= 0
        if begun:
            instructions = Instructions(qmp)
            start = instructions.now() - (0 if bare else round(float(m.child.match.group(1)) * 1e9))
            begun = m.wait('bench: begin\r', SECONDS) >= 0
        if begun:
            boot = instructions.now() - start
            begun = m.wait('bench: end\r', SECONDS) >= 0
        if not begun:
            note(f'{label}: stands still; its last line is: {m.transcript().splitlines()[-1]}')
            return None
        rows, exits = counters(m.transcript())
        rows.update(parse(m.transcript()), **{'dom0-boot': (boot, boot)})
        return rows, exits, m.transcript()


def svm():
    (kvm, _, _), (corbel, exits, _) = in_dom0(True), in_dom0(False)
    got = {'native': svm_native(), 'kvm': kvm, 'corbel': corbel}
    # Bare Linux runs natively, whether KVM is loaded later or not.
    got['native']['dom0-boot'] = kvm.pop('dom0-boot')
    return got, exits


def vmx():
    got = {}
    for way in 'native', 'kvm', 'corbel':
        script = build_file('bench/bochs.script')
        write(script, 'end\t\n' if way == 'native' else 'dom0# \tsh /bin/in-dom0\nbench: end\t\n')
        out = subprocess.run([PYTHON, os.path.join(HERE, '../bochs'), build_file(f'bench/bochs-{way}.iso'), '--mem', '1024',
                              '--ips', '1000000000', '--ignore-bad-msrs', '1', '--timeout', '1500', '--script', script], stdout=subprocess.PIPE, text=True)
        need(out.returncode == 0, f'bochs, {way}: the bench runs to its end', out.stdout[-3000:])
        rows, exits = ({}, {}) if way == 'native' else counters(out.stdout)
        got[way] = {**parse(out.stdout), **rows}
    return got, exits


def rows_of(emulator, got):
    for name, what, target in ROWS:
        row = {'name': name, 'emulator': emulator, 'unit': UNITS.get(name, 'instructions'), 'what': what, 'min': {}}
        for way, r in got.items():
            row[way] = r[name][1] if name in r else None
            row['min'][way] = r[name][0] if name in r else None
        row['target'] = target(row['kvm'], row['native']) if callable(target) else target
        yield row


def measure(b, emulator):
    """Measure on one emulator, and put that into b in the place of what was there of it."""
    got, exits = svm() if emulator == 'qemu-svm' else vmx()
    b['rows'] = [r for r in b['rows'] if r['emulator'] != emulator] + list(rows_of(emulator, got))
    b['runs'][emulator] = {'date': datetime.date.today().isoformat(), 'command': f'make bench-{emulator[-3:]}',
                           'setting': EMULATORS[emulator], 'exits': exits}
    size = subprocess.run([os.path.join(HERE, 'size'), build_file('')], stdout=subprocess.PIPE, text=True).stdout
    b['size'] = [' '.join(line.split()) for line in size.splitlines() if line]


# ---- output ----

def cell(n):
    return '-' if n is None else f'{n:,}'.replace(',', ' ')


def ratio(row):
    return f'{row["corbel"] / row["kvm"]:.2f}' if row['kvm'] and row['corbel'] is not None else '-'


def markdown(lines, texts=2):
    """A table; all but its first columns are numbers."""
    width = [max(len(l[i]) for l in lines) for i in range(len(lines[0]))]
    lines.insert(1, ['-' * w if i < texts else '-' * (w - 1) + ':' for i, w in enumerate(width)])
    return '\n'.join('| ' + ' | '.join(c.ljust(w) if i < texts else c.rjust(w) for i, (c, w) in enumerate(zip(l, width))) + ' |'
                     for l in lines)


def table(rows):
    lines = [['row', 'what', 'native', 'KVM', 'Corbel', 'ratio', 'target', '']]
    for r in rows:
        met = r['target'] is not None and r['corbel'] is not None and r['corbel'] <= r['target']
        lines.append([r['name'], r['what'], *map(cell, (r['native'], r['kvm'], r['corbel'])), ratio(r), cell(r['target']),
                      'met' if met else ''])
    return markdown(lines)


def tables(b):
    """All rows, a table for each emulator."""
    text = ''
    for emulator, run in b['runs'].items():
        rows = [r for r in b['rows'] if r['emulator'] == emulator]
        text += f'`{run["command"]}`, {run["date"]}; instructions. {run["setting"]}.\n\n{table(rows)}\n\n'
    return text


def few(b):
    """Some rows, both emulators side by side."""
    row = {(r['emulator'], r['name']): r for r in b['rows']}
    lines = [['instructions', 'AMD-V: KVM', 'Corbel', 'ratio', 'VT-x: KVM', 'Corbel', 'ratio']]
    for name in FEW:
        sides = [row[emulator, name] for emulator in EMULATORS if (emulator, name) in row]
        lines.append([f'{sides[0]["what"]} (`{name}`)'])
        for r in sides:
            lines[-1] += [cell(r['kvm']), cell(r['corbel']), ratio(r)]
        lines[-1] += [''] * (len(lines[0]) - len(lines[-1]))
    return markdown(lines, 1) + '\n'


def put_between_marks(path, text):
    with open(path) as f:
        old = f.read()
    write(path, re.sub(r'(<!-- bench -->\n).*(<!-- /bench -->\n)', lambda m: m.group(1) + text + m.group(2), old, flags=re.S))


def chart(rows, date):
    """Bars on a logarithmic scale: KVM, Corbel, and the target as a line."""
    from math import log10
    rows = [r for r in rows if r['kvm'] is not None and r['corbel'] is not None]
    def x(n): return 170 + 95 * log10(max(n, 1))
    top = max(max(r['kvm'], r['corbel']) for r in rows)
    width, height = x(top) + 90, 46 + 26 * len(rows)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" font-family="sans-serif" font-size="11">',
           f'<rect width="100%" height="100%" fill="white"/><text x="8" y="16">Instructions per operation, {date}: '
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
    update = '--update' in sys.argv
    file = TABLE if update else build_file('bench.json')
    b = {'runs': {}, 'rows': []}
    if os.path.exists(file):
        with open(file) as f:
            b = json.load(f)
    for emulator in [a for a in sys.argv[2:] if a in EMULATORS] or EMULATORS:
        measure(b, emulator)
    for emulator, run in b['runs'].items():
        rows = [r for r in b['rows'] if r['emulator'] == emulator]
        write(build_file(f'bench-{emulator}.svg'), chart(rows, run['date']))
    write(build_file('bench.json'), dump(b))
    print(tables(b))
    if update:
        write(TABLE, dump(b))
        put_between_marks(RESULTS, tables(b))
        put_between_marks(README, few(b))


LED = 'timer-fire', 'hlt-wake'


def check():
    with open(TABLE) as f:
        committed = {r['name']: r['corbel'] for r in json.load(f)['rows'] if r['emulator'] == 'qemu-svm'}
    now, _, said = in_dom0(False, strict=True)
    took = re.search(r'IOMMU: taken over in (\d+) us, with (\d+) pages', said)
    ok(took and int(took.group(1)) <= IOMMU_BOOT // 1000, f'to take the IOMMU over is done in {IOMMU_BOOT} instructions', took and took.group(0))
    for name, was in committed.items():
        if was is None:
            continue
        value = now[name][1] if name in now else None
        # Ten instructions more are nothing, also where there were two; nor are thirty of what the timers' lead, which swings, has left.
        ok(value is not None and value <= max(1.1 * was, was + (30 if name in LED else 10)), f'{name} costs {value}, no more than it did ({was})',
           f'see {os.path.relpath(TABLE)}')
        if value is not None and value < 0.9 * was:
            note(f'{name}: {value} instructions, {was} in the table; `make bench-svm UPDATE=y` would keep that')


main(check if '--check' in sys.argv else bench)
