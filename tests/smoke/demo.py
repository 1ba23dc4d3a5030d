#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""The README's first five minutes: dom0's prompt, `corbel list` shows demo running, its console, disk, network, kernel log."""
import os
import re
import sys
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine
from lib.report import main, need, ok


def traffic(m, received, sent):
    """The guest's network counters of a moment ago, and what dom0's tell."""
    out = m.out_of('corbel metrics | grep domain=.demo')
    count = {k: float(v) for k, v in re.findall(r'^corbel_domain_(\w+)_bytes_total\{domain="demo"\} (\S+)', out, re.M)}
    near = [first <= count.get(f'interface_stats_{what}', 0) < first + 100000 for first, what in ((received, 'receive'), (sent, 'transmit'))]
    ok(received and sent and all(near), 'corbel metrics: what the guest has received and sent', f'{received}, {sent} by the guest\n{out}')
    ok(count.get('block_stats_read', 0) > 1024 and count.get('block_stats_write', 0) > 1024, 'and has read and written', out)


def twin(m):
    """A clone of the guest, as in the README."""
    m.out_of('corbel clone demo twin', 60)
    rows = {r['name']: r for r in m.json('corbel list --json')}
    ok([rows.get(name, {}).get('state') for name in ('demo', 'twin')] == ['running', 'running'], 'corbel clone: both run', rows)
    m.send('corbel console twin\r')
    m.expect('detaches', 'corbel console attaches to the clone')
    m.send('\r')
    m.expect('demo# ', 'the clone\'s shell answers', 20)
    status, out = m.sh('echo more >> /mnt/boots; sync; cat /mnt/boots', 15, 'demo# ')
    m.send('\x1d')
    m.expect('dom0# ', 'Ctrl-] detaches from it')
    ok(not status and 'boot of' in out and 'more' in out, 'it writes to a copy of the disk', out)
    m.out_of('corbel destroy twin && rm -r /var/lib/corbel/twin', 20)


def left_alone(m):
    """
    How often a VMM comes between its guest, which has nothing to do: the clock of its PIT would be 18 times a second. Of its serial port
    Linux looks after the interrupts by itself, five times a second, where another CPU's handler has come between its test of them.
    """
    m.sh('mount -t tracefs tracefs /sys/kernel/tracing; cd /sys/kernel/tracing/events/kvm; '
         'echo "hist:keys=reason" > kvm_userspace_exit/trigger; echo "hist:keys=port" > kvm_pio/trigger')
    m.out_of('sleep 5', 30)
    out = m.out_of('cat kvm_userspace_exit/hist kvm_pio/hist; echo "!hist:keys=reason" > kvm_userspace_exit/trigger; '
                   'echo "!hist:keys=port" > kvm_pio/trigger; cd')
    exits = sum(int(n) for n in re.findall(r'reason: +\d+ } hitcount: +(\d+)', out))
    serial = sum(int(n) for port, n in re.findall(r'port: +(\d+) } hitcount: +(\d+)', out) if 0x3f8 <= int(port) <= 0x3ff)
    ok('Totals' in out and exits - serial < 20, 'an idle guest is left alone by its VMM', out)


def crashes(m):
    """A microvm has no device by which to tell of it: where its file wants the same of that as of a reboot, its kernel reboots."""
    log = '/run/corbel/fragile/console.log'
    m.out_of("sed -e 's/demo\"/fragile\"/' -e /^disk/d /etc/corbel/demo.cfg > /run/fragile.cfg; echo \"on_crash = 'restart'\" >> /run/fragile.cfg; "
             'corbel create /run/fragile.cfg', 60)
    need(m.guest_up('fragile'), 'a guest comes up', m.sh(f'tail -n 5 {log}')[1])
    m.sh("printf 'echo c > /proc/sysrq-trigger\\r' | corbel console --timeout=5 fragile", 60)
    again = m.until(f'[ "$(grep -c "demo: ready" {log})" = 2 ]')
    ok(again and m.out_of(f'grep -c "Kernel panic" {log}') == '1', 'on_crash = restart: its kernel has crashed, and it starts again', m.sh(f'tail -n 30 {log}')[1])
    m.out_of('corbel destroy fragile; corbel create /run/fragile.cfg', 60)
    need(m.guest_up('fragile'), 'it is created again', m.sh(f'tail -n 5 {log}')[1])
    bounded(m, 'fragile', log)
    m.sh("printf 'poweroff -f\\r' | corbel console --timeout=5 fragile", 60)
    m.until('! corbel list | grep -q "^fragile .*running"')
    out = m.sh('corbel starts-again fragile', 30)[1]
    ok('switched itself off' in out, 'why it has ended is known, though its logs are full', out)
    m.out_of('corbel destroy fragile', 20)
    mounts = m.out_of('grep /run/corbel/fragile /proc/mounts; true')
    ok(not mounts, 'nothing is left of where they lay', mounts)


def bounded(m, name, log):
    """What a guest writes does not fill dom0's /run: here dom0 writes it, since that is quicker."""
    status, out = m.sh(f'head -c 20000000 /dev/zero >> {log}', 30)
    size = int(m.out_of(f'du -sk /run/corbel/{name} | cut -f1'))
    ok(status and 0 < size <= 8300, 'a guest\'s logs have a bound', f'{size} KiB, {out}')
    m.send(f'corbel console {name}\r')
    m.expect('detaches', 'beyond it the guest\'s console can be had')
    m.send('\r')
    m.expect('demo# ', 'and its shell answers', 20)
    m.send('\x1d')
    m.expect('dom0# ', 'detached again')


def demo():
    with Machine('demo', args='quiet') as m:
        m.prompt()
        need(m.guest_up(), 'the demo guest comes up', m.sh('tail -n 5 /run/corbel/demo/console.log')[1])
        out = m.out_of('corbel list')
        ok([l for l in out.splitlines() if l.startswith('demo ') and 'running' in l], 'corbel list shows demo running', out)
        rows = {r['name']: r for r in m.json('corbel list --json')}
        ok(rows['demo']['vcpus'] == 2 and rows['demo']['cpu_time_ns'] > 0, 'corbel list --json has vCPUs and CPU time', rows)
        m.send('corbel console demo\r')
        m.expect('detaches', 'corbel console attaches')
        m.send('\r')
        m.expect('demo# ', 'corbel console demo gives the guest\'s shell', 20)

        def guest(command):
            return m.sh(command, 15, 'demo# ')[1].strip()
        ok(guest('nproc') == '2', 'demo: two vCPUs are online')
        ok('/mnt' in guest('grep /dev/vda /proc/mounts') and guest('grep -c boot /mnt/boots') != '0',
           'demo: its virtio disk is mounted and written')
        ok(' 0% packet loss' in guest('ping -c 3 -q 172.31.0.1'), 'demo: ping to dom0 is answered')
        ok(guest('dmesg | grep -c "Hypervisor detected: KVM"') == '1', 'demo: the guest has found KVM')
        out = guest('dmesg | grep -iE "lockup|stall|BUG:|Call Trace"')
        ok(not out, 'demo: no lockup or stall in the guest\'s kernel log', out)
        counts = [int(n) for n in guest('cat /sys/class/net/eth0/statistics/[rt]x_bytes').split()]
        m.send('\x1d')
        m.expect('dom0# ', 'Ctrl-] detaches from the console')
        traffic(m, *counts)
        twin(m)
        for verb, state in ('pause', 'paused'), ('unpause', 'running'):
            m.out_of(f'corbel {verb} demo', 20)
            now = {r['name']: r for r in m.json('corbel list --json')}['demo']['state']
            ok(now == state, f'corbel {verb}: the guest is {state}', now)
        exits = m.json('corbel stat demo --json')
        ok(exits, 'corbel stat shows exits by reason', exits)
        before, after = [sum(v['runtime_ns'] for v in m.json('sleep 4; corbel vcpu-list --json') if v['vm'] == 'demo')
                         for _ in range(2)]
        ok(after > before > 0, 'demo: unpaused, it uses CPU time again', (before, after))
        out = m.out_of('corbel debug-dump')
        ok(all(re.search(x, out, re.M) for x in ('^== /proc/cpuinfo', '^== corbel dmesg', '^demo .* running', 'pool: .* free', 'vCPU 0: VM 0')),
           'corbel debug-dump has the machine, the guest, the log, the hypervisor\'s memory and vCPUs', out[-3000:])
        left_alone(m)
        crashes(m)
        m.out_of('corbel shutdown demo', 60)
        m.until('! corbel list | grep -q "^demo .*running"')
        out = m.out_of('corbel list')
        ok('running' not in ''.join(l for l in out.splitlines() if l.startswith('demo ')), 'corbel shutdown: the guest ends', out)
        log = m.out_of('tail -n 4 /run/corbel/demo/console.log; true')
        ok('Power down' in log, 'corbel shutdown: it powers itself off in order', log)
        info = m.json('corbel info --json')
        ok(info['vms'] == 1 and info['vcpus'] == 2, 'corbel shutdown: the hypervisor has only dom0 left', info)
        bad = m.sh('dmesg | grep -E "lockup|stall|BUG:|WARNING:|Call Trace"')[1]
        ok(not bad.strip(), 'no lockup or warning in dom0\'s kernel log', bad)
        status, out = m.sh('corbel console demo')
        ok(status != 0 and 'demo' in out, 'corbel console of a guest that does not run fails and says so', out)


def clocks():
    """dom0's clock and a guest's keep with the host's over minutes."""
    def compare(who, first, last, source):
        here, there = last[1] - first[1], last[0] - first[0]
        ok(here > 120 and abs(there - here) < 0.005 * here + first[2] + last[2], f'{who}\'s clock keeps with the host\'s for two minutes',
           f'{there:.2f} s there, {here:.2f} s here')
        ok(source[0] == source[1], f'{who} keeps its clock source {source[0]}', source)
    with Machine('clocks', args='quiet') as m:
        m.prompt()
        source = 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource'
        need(m.guest_up(), 'clocks: the guest comes up')
        dom0, dom0_source = m.uptime(), m.out_of(source)
        m.send('corbel console demo\r')
        m.expect('detaches', 'clocks: the guest\'s console attaches')
        m.send('\r')
        m.expect('demo# ', 'clocks: its shell answers', 20)
        m.send('reboot -f\r')
        m.expect('demo: ready, 2 CPUs', 'the guest reboots', 60)
        m.send('\r')
        m.expect('demo# ', 'and its shell answers again', 20)
        guest, guest_source = m.uptime('demo# '), m.out_of(source, 10, 'demo# ')
        time.sleep(121)
        compare('the guest', guest, m.uptime('demo# '), (guest_source, m.out_of(source, 10, 'demo# ')))
        m.send('\x1d')
        m.expect('dom0# ', 'clocks: its console detaches')
        compare('dom0', dom0, m.uptime(), (dom0_source, m.out_of(source)))


main(demo, clocks)
