#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Guests beyond the demo: Debian's full QEMU as q35, pc and microvm, with what its monitor does to them, and gdb's protocol, four
guests at once, and Linux' scheduling calls on vCPUs."""
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import seen
from lib.gdb import HARDWARE, SOFTWARE, WATCH, Gdb
from lib.guest import COMPLAINTS, answers, shell, snapshots, told
from lib.machine import Machine, build_file
from lib.report import main, need, ok


# What QEMU asks for with these flags, which are those of Windows' guests, as far as there is something to have; see README.md.
HYPERV = ('hv_relaxed,hv_vapic,hv_time,hv_spinlocks=0x1fff,hv_vpindex,hv_runtime,hv_frequencies,hv_reset,hv_crash,'
          'hv_reenlightenment,hv_tlbflush,hv_ipi,hv_synic,hv_stimer,hv_stimer_direct,hv_avic,hv-xmm-input=on,hv-tlbflush-ext=on')
CLOCKS = {'KVM': 'kvm-clock', 'Microsoft Hyper-V': 'hyperv_clocksource_tsc_page'}


def named(m, gdb, name):
    """The guest's shell calls sethostname(), where it has a breakpoint: why the guest has stopped, and its registers."""
    gdb.go()
    m.send(f'hostname {name}\r')
    why = gdb.hear(20)
    need(why.startswith('T05'), f'gdb: the guest stops when it is named {name}', why)
    return why, gdb.registers()


def goes_on(m, gdb):
    gdb.go()
    m.expect('demo# ', 'gdb: the guest goes on when it is told to', 20)
    gdb.interrupt()


def argument(gdb, regs):
    """Where the name is that was given to sethostname(): its caller's RDI, in struct pt_regs."""
    return int.from_bytes(gdb.read(regs['rdi'] + 14 * 8, 8), 'little')


def steps(gdb, regs):
    """From the first instruction of a function of the kernel's, a NOP (0f 1f 44 00 00) for its tracer."""
    at = regs['rip']
    need(gdb.read(at, 5) == bytes.fromhex('0f1f440000'), 'gdb: the function begins as functions of this kernel do')
    seen = []
    for _ in range(4):
        why = gdb.ask('s')
        seen.append(gdb.registers()['rip'])
        if not why.startswith('T05'):
            break
    # The guest's timer has long been due in the second: QEMU has interrupts held back.
    ok(seen[0] == at + 5 and len(set(seen)) == 4 and all(0 < rip - at < 0x100 for rip in seen),
       'gdb: each step is one instruction of the function', ' '.join(f'{rip - at:x}' for rip in seen))


def debugged(m, gdb):
    """Breakpoints, a watchpoint and steps in the guest's kernel, by QEMU's stub (-s)."""
    out = m.out_of("grep -E ' (linux_banner|__x64_sys_sethostname|init_uts_ns)$' /proc/kallsyms", 20, 'demo# ')
    symbols = {name: int(address, 16) for address, name in re.findall(r'^(\w+) \w (\w+)', out, re.M)}
    call, nodename = symbols['__x64_sys_sethostname'], symbols['init_uts_ns'] + 65
    ok(gdb.interrupt().startswith('T02'), 'gdb: the guest stops when it is told to')
    ok(gdb.read(symbols['linux_banner'], 14) == b'Linux version ', 'gdb: the kernel\'s memory can be read')

    ok(gdb.set(SOFTWARE, call) == 'OK', 'gdb: a software breakpoint is set')
    regs = named(m, gdb, 'soft')[1]
    ok(regs['rip'] == call, 'gdb: it has stopped at the software breakpoint', regs)
    ok(gdb.read(argument(gdb, regs), 5) == b'soft\0', 'gdb: the program\'s registers and memory can be read')
    gdb.clear(SOFTWARE, call)
    steps(gdb, regs)
    goes_on(m, gdb)

    ok(gdb.set(HARDWARE, call) == 'OK', 'gdb: a hardware breakpoint is set')
    regs = named(m, gdb, 'hard')[1]
    ok(regs['rip'] == call and gdb.read(call, 1) != b'\xcc', 'gdb: it has stopped at the hardware breakpoint', regs)
    gdb.write(argument(gdb, regs), b'HARD')
    gdb.clear(HARDWARE, call)
    goes_on(m, gdb)

    ok(gdb.set(WATCH, nodename) == 'OK', 'gdb: a watchpoint is set')
    ok(gdb.read(nodename, 5) == b'HARD\0', 'gdb: what it wrote into the program\'s memory was used')
    why, regs = named(m, gdb, 'watch')
    ok(f'watch:{nodename:x};' in why and gdb.read(nodename, 1) == b'w' and 0 < regs['rip'] - call < 0x400,
       'gdb: it has stopped behind the write that is watched', f'{why} {regs}')
    gdb.clear(WATCH, nodename)
    ok(gdb.ask('D') == 'OK', 'gdb: it detaches')
    m.expect('demo# ', 'gdb: without it the guest goes on', 20)
    ok(m.out_of('hostname twice && hostname', 10, 'demo# ') == 'twice', 'gdb: and stops no more')


# QEMU's machines, the CPU there, and which hypervisor the guest finds. Of a microvm's resets QEMU hears by a triple fault only ("microvm"
# machine, in its manual): otherwise Linux ends up in the firmware. One without a clock (RTC) Linux asks for it 10 000 times, by two ports
# of QEMU's, which on a busy machine lasts until there is a soft lockup. Snapshots go to a disk that the guest has not.
MACHINES = {'q35': ('host', 'KVM'), 'pc': (f'host,kvm=off,{HYPERV}', 'Microsoft Hyper-V'), 'microvm,acpi=on,rtc=on': ('host', 'KVM')}
VERBS = ('qemu-system-x86_64 -M {} -accel kvm -cpu {} -m 128 -smp 2 -nodefaults -display none -kernel /usr/share/corbel/demo/vmlinux '
         '-initrd /usr/share/corbel/demo/initrd -append "console=ttyS0 quiet panic=-1{}" '
         '-drive if=none,format=raw,file=/usr/share/corbel/demo/disk.img,snapshot=on')
VERBS_SEEN = 'boot, savevm, loadvm, reboot, system_reset, migrate, system_powerdown'


def found(m, name, hypervisor):
    ok(m.out_of(f'dmesg | grep -c "Hypervisor detected: {hypervisor}"', 10, 'demo# ') == '1', f'{name}: the guest has found {hypervisor}')
    clock = m.out_of('cat /sys/devices/system/clocksource/clocksource0/current_clocksource', 10, 'demo# ')
    ok(clock == CLOCKS[hypervisor], f'{name}: and has its clock', clock)
    timers = m.out_of('grep -c "Clock Event Device: Hyper-V clockevent" /proc/timer_list; true', 10, 'demo# ')
    ok(timers == ('2' if hypervisor.endswith('Hyper-V') else '0'), f'{name}: and its timers', timers)


def migrates(m, name, qemu):
    """To another QEMU, in whose telnet the test sits afterwards: with the guest's timers, in which it was asleep."""
    m.out_of('mark=$(cat /proc/sys/kernel/random/boot_id)', 10, 'demo# ')
    told(m, f'{name}: migrate', 'migrate unix:/run/there')
    m.send('\x01x')
    m.expect('dom0# ', f'{name}: migrate: the first QEMU ends', 20)
    m.send('telnet 127.0.0.1 4444\r')
    answers(m, f'{name}: migrate: the second QEMU goes on with it')
    out = m.out_of('[ $mark = $(cat /proc/sys/kernel/random/boot_id) ]; echo $?; sleep 1', 20, 'demo# ')
    ok(out == '0', f'{name}: migrate: with what the guest had', out)
    ticks = 'awk \'/Hyper-V stimer0|LOC/ {print $2 + $3}\' /proc/interrupts | sort -n | tail -n 1'
    out = m.out_of(f'a=$({ticks}); sleep 1; b=$({ticks}); echo $((b - a))', 20, 'demo# ')
    ok(out.isdigit() and int(out) > 2, f'{name}: migrate: and its timers tick', out)


def every_verb(m, machine, gdb):
    """Boot, what the guest finds, savevm, loadvm, its own reboot, system_reset, migrate, system_powerdown, with two QEMUs in dom0."""
    name = machine.split(',')[0]
    cpu, hypervisor = MACHINES[machine]
    qemu = VERBS.format(machine, cpu, ' reboot=t' if name == 'microvm' else '')
    m.out_of(f'rm -f /run/there; export TMPDIR=/run; {{ {qemu} -incoming unix:/run/there -serial mon:telnet:127.0.0.1:4444,server=on,wait=off '
             '< /dev/null > /run/second 2>&1 & }')
    m.send(f'{qemu} -serial mon:stdio {"-gdb /dev/ttyS1" if name == "q35" else ""}\r')
    shell(m, f'{name}: a guest boots')
    found(m, name, hypervisor)
    snapshots(m, name)
    if name == 'q35':
        ok(m.out_of('dmesg | grep -c "x2apic enabled"', 10, 'demo# ') == '1', 'q35: the guest is in x2APIC mode, which a reset ends')
        debugged(m, gdb)
    m.send('reboot -f\r')
    shell(m, f'{name}: reboot: the guest boots again')
    told(m, f'{name}: system_reset', 'system_reset')
    shell(m, f'{name}: system_reset: the guest boots again')
    migrates(m, name, qemu)
    status, out = m.sh(COMPLAINTS, 10, 'demo# ')
    ok(status == 1, f'{name}: the guest\'s kernel log has no lockup, stall or warning', out)
    told(m, f'{name}: powerdown', 'system_powerdown')
    m.expect('dom0# ', f'{name}: powerdown: the guest switches itself off, which ends QEMU', 30)


WRITES = ('{ n=0; while :; do head -c 3000000 /dev/urandom > /run/a; cp /run/a /run/b; cmp /run/a /run/b || echo bad > /run/bad; '
          'echo $((n = n + 1)) > /run/n; done > /dev/null 2>&1 & }')


def counted(m, n):
    """The guest comes to its n-th time."""
    there = f'[ "$(cat /run/n)" -ge {n} ] 2> /dev/null'
    return not m.sh(f'for i in $(seq 60); do {there} && break; sleep 1; done; {there}', 80, 'demo# ')[0]


def ringed(m):
    """A guest that writes to memory all the time, and checks it, is saved meanwhile: QEMU learns by dirty rings what was written."""
    qemu = ('qemu-system-x86_64 -M q35 -accel kvm,dirty-ring-size=4096 -cpu host -m 256 -smp 2 -nodefaults -display none '
            '-kernel /boot/vmlinuz -initrd /usr/share/corbel/demo/initrd -append "console=ttyS0 quiet panic=-1" '
            '-no-reboot -serial mon:stdio')
    m.send(qemu + '\r')
    m.expect(r'demo: ready, 2 CPUs', 'dirty ring: the guest boots', 60)
    m.expect('demo# ', 'dirty ring: the guest gives its shell', 20)
    m.out_of(WRITES, 20, 'demo# ')
    ok(counted(m, 2), 'dirty ring: the guest writes to memory')
    m.send('\x01c')
    m.expect(r'\(qemu\) ', 'dirty ring: the monitor answers', 20)
    m.send('migrate_set_parameter max-bandwidth 40m\r')
    m.expect(r'\(qemu\) ', 'dirty ring: the guest is to be saved slowly', 20)
    m.send('migrate "exec:cat > /run/state"\r')
    m.expect(r'\(qemu\) ', 'dirty ring: the guest is in a file', 240)
    m.send('info migrate\r')
    rounds = m.expect(r'dirty sync count: (\d+)', 'dirty ring: QEMU tells of its rounds', 20)
    ok(int(rounds.group(1)) > 2, 'dirty ring: it has come back for what was written meanwhile', rounds.group(0))
    m.expect(r'\(qemu\) ', 'dirty ring: the monitor goes on', 20)
    m.send('quit\r')
    m.expect('dom0# ', 'dirty ring: QEMU ends', 20)
    m.send(f'{qemu} -incoming "exec:cat /run/state"\r')
    need(any((m.send('\r'), m.wait('demo# ', 3))[1] >= 0 for _ in range(20)), 'dirty ring: another QEMU goes on with it')
    now = int(m.out_of('cat /run/n', 20, 'demo# '))
    ok(counted(m, now + 2), 'dirty ring: the guest goes on writing')
    out = m.out_of('ls /run/bad 2> /dev/null; dmesg | grep -iE "lockup|stall|BUG:|WARNING:|Call Trace"; true', 20, 'demo# ')
    ok(not out, 'dirty ring: it has never read what it had not written', out)
    m.send('poweroff -f\r')
    m.expect('dom0# ', 'dirty ring: the guest\'s poweroff ends QEMU', 20)


def waits(m):
    """A guest that waits without exits (cpu-pm) boots and sleeps, and dom0 has its CPUs all the same."""
    m.out_of('{ qemu-system-x86_64 -M q35 -accel kvm -cpu host -overcommit cpu-pm=on -m 256 -smp 2 -nodefaults -display none '
             '-kernel /boot/vmlinuz -initrd /usr/share/corbel/demo/initrd -append "console=ttyS0 quiet panic=-1" '
             '-no-reboot -serial file:/run/waits & }')
    status, out = m.sh('for i in $(seq 80); do grep -q "demo: ready" /run/waits 2> /dev/null && break; sleep 1; done; '
                       'grep "demo: ready" /run/waits', 100)
    ok('demo: ready, 2 CPUs' in out, 'cpu-pm: a guest that waits without exits boots', out)
    exits = m.json('corbel stat qemu-system-x86 --json')[0]['exits']
    ok(exits['intr'] and 'hlt' not in exits and 'pause' not in exits, 'cpu-pm: it has exited neither by HLT nor by PAUSE', exits)
    m.out_of('{ kill $!; wait; } 2> /dev/null; rm /run/waits', 20)


def full_qemu():
    """Needs build/dom0/full.cpio: Debian's qemu-system-x86_64 with libraries and firmware, and the guest's bzImage."""
    disk = f'file={build_file("dom0/full.cpio")},format=raw,if=virtio,readonly=on'
    stub = build_file('logs/guests.gdb') # dom0's second serial port, which QEMU there has its stub at
    with Machine('full QEMU', mem='3G', extra=['-drive', disk, '-serial', f'unix:{stub},server=on,wait=off']) as m:
        m.files.append(stub)
        m.prompt()
        m.out_of('cd / && cpio -idm < /dev/vda && cd', 30)
        gdb = Gdb(stub)
        version = seen.version(['qemu-system-x86_64', '-M'])
        for machine in MACHINES:
            with seen.runs('VMM', f'{version}, {machine.split(",")[0]}', VERBS_SEEN):
                every_verb(m, machine, gdb)
        ringed(m)
        waits(m)
        vms = m.json('corbel info --json')['vms']
        ok(vms == 1, 'full QEMU: all VMs are gone from the hypervisor', f'{vms} VMs')


def make_guests(m, count):
    """Guests g1.. with two vCPUs each from the demo's kernel and initramfs, their shells ready."""
    for i in range(1, count + 1):
        m.out_of(f'sed -e "s/\\"demo\\"/\\"g{i}\\"/" -e "/^disk/d" -e "/^vif/d" -e "s/^memory.*/memory = 96/" '
                 f'/etc/corbel/demo.cfg > /run/g{i}.cfg')
        m.out_of(f'corbel create /run/g{i}.cfg', 60)
    for i in range(1, count + 1):
        need(m.guest_up(f'g{i}'), f'{m.label}: guest g{i} is up with 2 CPUs', m.sh(f'tail -n 5 /run/corbel/g{i}/console.log; corbel vcpu-list')[1])


TYPED = itertools.count()


def in_guest(m, name, command):
    """Type a command at a guest's shell."""
    going = f'going{next(TYPED)}'
    m.send(f'corbel console {name}\r')
    m.expect('detaches', f'{name}: its console attaches')
    m.send('\r')
    m.expect('demo# ', f'{name}: its shell answers', 20)
    # What was there before may have been shown again: only the command's own output tells that it was read.
    m.send(f'echo ""{going}; {command}\r')
    m.expect(f'[^"]{going}\r', f'{name}: takes a command', 20)
    m.expect('demo# ', f'{name}: its shell is back', 20)
    m.send('\x1d')
    m.expect('dom0# ', f'{name}: its console detaches')


BUSY = 'i=0; while [ $i -lt %d ]; do i=$((i+1)); done'


def four_guests():
    with Machine('four guests', mem='3G', life=800) as m:
        m.prompt()
        make_guests(m, 4)
        for i in range(1, 5):
            in_guest(m, f'g{i}', f'(({BUSY % 60000}) & {BUSY % 60000}; wait; echo lo""ad done) &')
        status, out = m.sh('corbel list', 15)
        ok(status == 0 and len(re.findall(r'^g\d ', out, re.M)) == 4, 'four guests: dom0 answers while all four work', out)
        for i in range(1, 5):
            ok(m.until(f'grep -q "load done" /run/corbel/g{i}/console.log', 60), f'four guests: g{i} finishes its load')
        status, out = m.sh('for i in 1 2 3 4; do grep -iE "lockup|stall" /run/corbel/g$i/console.log; done; '
                           'dmesg | grep -iE "lockup|rcu.*stall|blocked for"')
        ok(not out.strip(), 'four guests: no lockups or stalls, in them or in dom0', out)
        for i in range(1, 5):
            m.out_of(f'corbel destroy g{i}', 20)
        info = m.json('corbel info --json')
        ok(info['vms'] == 1 and info['vcpus'] == 2, 'four guests: all gone after destroy', info)


def vcpus(m, name):
    return [v for v in m.json('corbel vcpu-list --json') if v['vm'] == name]


def played_again(m):
    """What corbel trace records of a busy vCPU and its sibling the simulator plays again; not what is no record."""
    player = build_file('unit/sched_policies') # what make sched-sim begins with
    subprocess.run(['make', '-s', player], check=True)

    def play(text):
        with tempfile.NamedTemporaryFile('w', suffix='.trace') as f:
            f.write(text)
            f.flush()
            p = subprocess.run([player, f.name], capture_output=True, text=True)
            return p.stdout, p
    text = m.out_of('corbel trace --iterations 200 > /run/trace; cat /run/trace', 60).replace('\r', '')
    lines = [line.split() for line in text.splitlines() if re.fullmatch(r'\d+( \d+){5}', line)]
    ran = sum(int(line[4]) for line in lines if line[1] != '0')
    ok(ran > 100_000 and re.search(r'^# 2 CPUs, 200 looks, 10 ms apart$', text, re.M), 'corbel trace: the guest runs', text[-1000:])
    out, p = play(text)
    ok(re.search('^ok - what was run when it was recorded is run again', out, re.M),
       'make sched-sim plays what was recorded here', (out[-1000:], p.stderr))
    ok(all(f'as it was recorded                 {policy} ' in out for policy in ('fair', 'rr', 'CFS', 'EEVDF', 'Credit2')), 'with each policy and model', out[-1000:])
    out, p = play('# 2 CPUs, 200 looks, 10 ms apart\n')
    ok(p.returncode and 'not ok - ' in out, 'make sched-sim refuses a record of nothing', (out[-300:], p.stderr))


def linux_calls():
    """nice, taskset and kill -STOP on the VMM's threads act on its vCPUs."""
    disk = f'file={build_file("dom0-tests.cpio")},format=raw,if=virtio,readonly=on'
    with Machine('Linux calls', mem='2G', extra=['-drive', disk]) as m:
        m.prompt()
        make_guests(m, 1)
        status, out = m.sh('cd /run && cpio -id calls < /dev/vda 2> /dev/null; /run/calls', 30)
        ok(status == 0 and out.count('ok - ') > 80, '/dev/corbel answers, and refuses, as what stands for it in the test tool', re.findall('^not ok.*\n.*', out, re.M) or out)
        in_guest(m, 'g1', 'while :; do :; done &')
        pid = m.json('corbel list --json')
        pid = [g for g in pid if g['name'] == 'g1'][0]['pid']
        played_again(m)
        threads = 'for t in /proc/%d/task/*; do' % pid
        before = vcpus(m, 'g1')
        ok(all(v['weight'] == 1024 for v in before), 'nice 0: the vCPUs have the default weight', before)

        m.out_of(f'{threads} renice 10 ${{t##*/}} >/dev/null; done; sleep 2')
        after = vcpus(m, 'g1')
        ok(any(v['weight'] == 110 for v in after), 'renice 10: a busy vCPU has the weight of nice 10', after)

        m.out_of(f'{threads} taskset -p 2 ${{t##*/}} >/dev/null; done; sleep 2')
        after = vcpus(m, 'g1')
        busy = max(after, key=lambda v: v['runtime_ns'])
        ok(busy['cpus'] == '1', 'taskset 2: the busy vCPU may run on CPU 1 only', after)
        ok(busy['cpu'] == 1, 'taskset 2: the busy vCPU is on CPU 1', after)

        for what, how, weight, cpu in ('renice -20', 'renice -20', 88761, 0), ('chrt -f', 'chrt -f -p 10', 20 * 16 * 1024, 1):
            m.out_of(f'{threads} {how} ${{t##*/}} >/dev/null; taskset -p {1 << cpu} ${{t##*/}} >/dev/null; done; sleep 2')
            after = vcpus(m, 'g1')
            busy = max(after, key=lambda v: v['runtime_ns'])
            ok(busy['weight'] == weight, f'{what}: the busy vCPU has the weight of such threads', after)
            ok(busy['cpus'] == str(cpu), f'{what} and taskset: it may run on CPU {cpu} only', after)
        status, out = m.sh('dmesg | grep -E "are refused|stall"')
        ok(status == 1, 'the hypervisor has taken all of that, and dom0 has CPU time enough', out)

        m.out_of(f'{threads} taskset -p 3 ${{t##*/}} >/dev/null; done; sleep 2; corbel vcpu-pin g1 all 0')
        last = vcpus(m, 'g1')[-1]['vcpu']
        m.out_of(f'corbel vcpu-pin g1 {last} 1; corbel sched g1 --vcpu {last} --cap 60; sleep 1')
        after = vcpus(m, 'g1')
        ok([v['cpus'] for v in after] == ['0'] * last + ['1'] and [v['cap'] for v in after] == [0] * last + [60],
           'corbel vcpu-pin, and sched of one vCPU: it is that one', after)
        m.out_of(f'corbel vcpu-pin g1 all 1; corbel sched g1 --vcpu {last} --cap 0')
        ok(all((v['cpus'], v['cap']) == ('1', 0) for v in vcpus(m, 'g1')), 'corbel vcpu-pin all: it is all of them', vcpus(m, 'g1'))

        # what it has run beyond the cap when that was set may be charged for a while
        m.out_of('corbel sched g1 --cap 150 --weight 2048')
        after = vcpus(m, 'g1')
        ok(all((v['vm_cap'], v['vm_weight']) == (150, 2048) for v in after), 'corbel sched: a guest may have one and a half CPUs', after)
        m.out_of('corbel sched g1 --cap 20; sleep 2')
        first, begun = sum(v['runtime_ns'] for v in vcpus(m, 'g1')), time.monotonic()
        m.out_of('sleep 3')
        part = (sum(v['runtime_ns'] for v in vcpus(m, 'g1')) - first) / (time.monotonic() - begun) / 1e9
        ok(0 < part < .25, 'corbel sched --cap=20: all vCPUs of the guest together get no more', f'{part:.3f} of a CPU')
        m.out_of('corbel sched g1 --cap 0')
        ok(not any(v['vm_cap'] for v in vcpus(m, 'g1')), 'corbel sched --cap=0 lifts it', vcpus(m, 'g1'))
        status, out = m.sh('corbel sched g1 --weight 100001; corbel sched g1 --cap 51200')
        ok(status and all(v['vm_weight'] == 2048 for v in vcpus(m, 'g1')), 'corbel sched: weights and caps without sense are refused', out)

        m.out_of(f'kill -STOP {pid}; sleep 1')
        first = sum(v['runtime_ns'] for v in vcpus(m, 'g1'))
        m.out_of('sleep 2')
        second = sum(v['runtime_ns'] for v in vcpus(m, 'g1'))
        ok(first == second, 'kill -STOP: the vCPUs stand still', f'{first} ns, then {second} ns')
        m.out_of(f'kill -CONT {pid}; sleep 2')
        third = sum(v['runtime_ns'] for v in vcpus(m, 'g1'))
        ok(third > second, 'kill -CONT: the vCPUs run on', f'{second} ns, then {third} ns')
        pools(m, f'{threads} chrt -o -p 0 ${{t##*/}} >/dev/null; taskset -p 3 ${{t##*/}} >/dev/null; done; sleep 1')
        m.out_of('corbel destroy g1', 20)
        m.until('corbel info --json | grep -q "vms.:1,"')
        ok(m.sh('corbel cpupool-destroy fast && corbel cpupool-cpu-add Pool-0 1')[0] == 0, 'corbel cpupool-destroy: a pool goes when its guest has gone')
        rows = m.json('corbel cpupool-list --json')
        ok([r['cpus'] for r in rows] == ['0-1'], 'and its CPU is another one\'s again', rows)


def runs_in(m, pool, cpu):
    """The guest's busy vCPU, whichever that is, gets on, there and nowhere else. What vcpu-list tells."""
    first = vcpus(m, 'g1')
    for _ in range(40):
        m.out_of('sleep .5')
        now = vcpus(m, 'g1')
        ran, v = max(((n['runtime_ns'] - f['runtime_ns'], n) for n, f in zip(now, first)), key=lambda pair: pair[0])
        if ran > 10_000_000:
            break
    return (v['pool'], v['cpu'], ran > 0) == (pool, cpu, True), v


def pools(m, free_again):
    """A guest that runs goes from pool to pool; its vCPUs are tied to CPU 1 at first. dom0 stays where it is."""
    m.out_of('corbel cpupool-create fast cpus=1 policy=rr')
    good, v = runs_in(m, 'Pool-0', 0)
    ok(good and v['runs_on_mask'] == 1, 'corbel cpupool-create: a guest leaves the CPU that goes, though it is tied to it', v)
    status, out = m.sh('corbel vcpu-list g1')
    ok('of which its pool has none: runs on 0' in out, 'vcpu-list tells so', out)
    m.out_of('corbel cpupool-migrate g1 fast')
    good, v = runs_in(m, 'fast', 1)
    ok(good, 'corbel cpupool-migrate: it runs in the other pool', v)
    m.out_of(free_again)
    good, v = runs_in(m, 'fast', 1)
    ok(good and v['runs_on_mask'] == 2, 'also when it is tied to no CPU any more', v)
    for what, why in (('destroy fast', 'fast has VMs'), ('cpu-remove fast 1', 'no CPU left'), ('cpu-add fast 0', 'would have none'),
                      ('create more cpus=1', 'another pool has'), ('migrate dom0 fast', 'dom0 stays'), ('destroy Pool-0', 'and stays')):
        status, out = m.sh(f'corbel cpupool-{what}')
        ok(status and why in out, f'corbel cpupool-{what}: refused', out)
    first = [v['runtime_ns'] for v in vcpus(m, 'dom0')]
    m.out_of('for c in 1 2; do taskset $c sh -c "i=0; while [ \\$i -lt 3000 ]; do i=\\$((i+1)); done"; done', 60)
    after = vcpus(m, 'dom0')
    ok([v['cpu'] for v in after] == [0, 1] and all(v['runtime_ns'] > t for v, t in zip(after, first)), 'dom0 runs on both CPUs, in either pool', after)
    m.out_of('corbel cpupool-migrate g1 Pool-0')
    good, v = runs_in(m, 'Pool-0', 0)
    ok(good, 'and back', v)
    promises(m)
    m.out_of('corbel cpupool-migrate g1 fast')


def promises(m):
    """g1, whose busy vCPU has a sibling, in pools that promise something, and what these refuse. CPU 1 is in `fast` before and after."""
    m.out_of('corbel cpupool-destroy fast; corbel cpupool-create rt cpus=1 policy=deadline')
    status, out = m.sh('corbel sched g1 --period 50000 --budget 23000; corbel cpupool-migrate g1 rt')
    ok(status and 'not enough left for the budgets' in out, 'policy deadline: twice 46 % of a CPU are refused beside dom0\'s twentieth', out)
    m.out_of('corbel sched g1 --period 50000 --budget 10000; corbel cpupool-migrate g1 rt')
    good, v = runs_in(m, 'rt', 1)
    ok(good and (v['period_us'], v['budget_us'], v['runs_on_mask']) == (50000, 10000, 2), 'it runs there with a smaller budget', v)
    first, begun = sum(v['runtime_ns'] for v in vcpus(m, 'g1')), time.monotonic()
    shown = m.json('corbel vcpu-list --json --delay=3 g1')
    got = sum(v['got_percent'] for v in shown)
    ok(10 < got < 30 and {v['budget_us'] for v in shown} == {10000}, 'vcpu-list tells what it got, beside its budget', shown)
    pool = m.json('corbel cpupool-list --json --delay=1 rt')[0]
    ok(pool['promised_percent'] == 40 and 10 < pool['got_percent'] < 30, 'and cpupool-list, of all that are promised something there', pool)
    part = (sum(v['runtime_ns'] for v in vcpus(m, 'g1')) - first) / (time.monotonic() - begun) / 1e9 # the guest may change vCPUs
    ok(.1 < part < .3, 'a busy vCPU gets the fifth that its budget is, though the CPU is free', f'{part:.3f} of a CPU')
    in_guest(m, 'g1', f'({BUSY % 3000}; sleep 1; echo sib""ling done) &')
    ok(m.until('grep -q "sibling done" /run/corbel/g1/console.log', 60), 'beside it others run and sleep')
    for what, why in (('sched g1 --period 50000 --budget 23000', 'not enough left for the budgets'), ('cpupool-cpu-remove rt 1', 'no CPU left')):
        status, out = m.sh(f'corbel {what}')
        ok(status and why in out, f'corbel {what}: refused', out)
    status, out = m.sh('corbel vcpu-list g1')
    ok(out.count('10000 us each 50000 us') == 2, 'vcpu-list tells budgets', out)
    status, out = m.sh('dmesg | grep -iE "lockup|stall"; grep -iE "lockup|stall" /run/corbel/g1/console.log')
    ok(not out.strip(), 'no lockup or stall, in dom0 or in the guest', out)

    m.out_of('corbel cpupool-migrate g1 Pool-0; corbel cpupool-destroy rt; corbel cpupool-create own cpus=1 policy=null')
    status, out = m.sh('corbel cpupool-migrate g1 own')
    ok(status and 'has not a CPU left for each vCPU' in out, 'policy null: two vCPUs do not go to one CPU', out)
    m.out_of("sed 's/g1/alone/; s/^vcpus.*/vcpus = 1/' /run/g1.cfg > /run/alone.cfg; echo 'pool = \"own\"' >> /run/alone.cfg; corbel create /run/alone.cfg", 60)
    ok(m.until("grep -q 'demo: ready, 1 CPUs' /run/corbel/alone/console.log", 60), 'one does, and the guest boots', m.sh('corbel vcpu-list alone')[1])
    v = vcpus(m, 'alone')
    ok([(i['cpu'], i['runs_on_mask'], i['pool']) for i in v] == [(1, 2, 'own')], 'vcpu-list tells its CPU', v)
    status, out = m.sh('corbel cpupool-create more cpus=1')
    ok(status and 'another pool has' in out, 'nobody else gets that CPU', out)
    m.out_of('corbel destroy alone', 20)
    m.until('corbel info --json | grep -q "vms.:2,"') # its VMM may be gone a moment before it
    ok(m.sh('corbel cpupool-destroy own')[0] == 0, 'and when it has ended, its pool can go')
    m.out_of('corbel cpupool-create fast cpus=1 policy=rr')


def clones():
    """Guests that begin as another and have its memory in common; `corbel clone` itself is looked at in tests/tool."""
    with Machine('clones', mem='3G') as m:
        m.prompt()
        m.out_of('sed -e s/demo\\"/t\\"/ -e /^disk/d /etc/corbel/demo.cfg > /run/t.cfg; corbel create /run/t.cfg', 60)
        need(m.guest_up('t'), 'clones: the template boots', m.sh('tail -n 5 /run/corbel/t/console.log')[1])
        in_guest(m, 't', 'mark=here; head -c 8000000 /dev/zero > /run/eight')
        m.out_of('corbel template t /run/template', 60)
        for name in 'c1', 'c2':
            m.out_of(f'corbel clone /run/template {name}', 30)
        for name in 'c1', 'c2':
            in_guest(m, name, f'mark=$mark-{name}; cat /run/eight > /dev/null; echo said:$mark:$(cat /sys/class/net/eth0/carrier)')
        for name in 'c1', 'c2':
            ok(m.until(f'grep -q said:here-{name}:0 /run/corbel/{name}/console.log'),
               f'clones: {name} goes on from the template for itself, cut off from its network', m.sh(f'tail -n 5 /run/corbel/{name}/console.log')[1])
            pid = [g for g in m.json('corbel list --json') if g['name'] == name][0]['pid']
            rss, own = map(int, m.out_of("awk '/^[0-9a-f]+-/ {r = /template.ram/} r && /^Rss/ {m += $2} r && /^Anon/ {a += $2} "
                                         f"END {{print m, a}}' /proc/{pid}/smaps").split())
            ok(0 < own < rss / 2, f'clones: most memory of {name} is the template\'s', f'{own} of {rss} KiB are its own')
        m.out_of('corbel destroy c1; corbel destroy c2', 20)
        info = m.json('corbel info --json')
        ok(info['vms'] == 1, 'clones: all gone after destroy', info)


def busy_dom0():
    """Busy threads in dom0 count as many, and make its others wait no more than guests do. Time is counted in instructions."""
    disk = f'file={build_file("kvm-tests.cpio")},format=raw,if=virtio,readonly=on'
    with Machine('busy dom0', cpus=1, life=900, extra=['-icount', 'shift=0,sleep=off', '-drive', disk]) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -id < /dev/vda && cd', 20)
        status, out = m.sh('/run/t/share', 100)
        said = re.findall(r'^(ok|not ok) - (.*?)\r*$', out, re.M)
        for kind, what in said:
            ok(kind == 'ok', what)
        ok(status == 0 and len(said) == 20, 'share says that all is well', out)


main(full_qemu, four_guests, linux_calls, clones, busy_dom0)
