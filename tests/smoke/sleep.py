#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""
Suspend to RAM by the hypervisor: the machine goes off and is woken up ten times, and dom0 and a guest go on; with an IOMMU that the
hypervisor drives it does so again, and so by an alarm. Where S3 cannot be had it is refused in a line, by corbel.ko and by the hypervisor, and nothing is lost.
"""
import os
import re
import socket
import sys
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, PATIENCE
from lib.report import main, need, ok


class Sleeper(Machine):
    """A machine whose QEMU tells of sleep, and wakes it up. QEMU's q35 goes to sleep once only, also without Corbel."""

    def __init__(self, label, **options):
        super().__init__(label, **options)
        self.command += ['-qmp', f'unix:{self.file("qmp")},server=on,wait=off']
        self.qmp, self.heard = None, ''

    def prompt(self, behaviour=None, seconds=30):
        super().prompt(behaviour, seconds)
        if not self.qmp:
            self.qmp = socket.socket(socket.AF_UNIX)
            self.qmp.settimeout(30 * PATIENCE)
            self.qmp.connect(self.base + '.qmp')
            self.execute('qmp_capabilities')

    def __exit__(self, kind, error, trace):
        if self.qmp:
            self.qmp.close()
        super().__exit__(kind, error, trace)

    def hear(self, word):
        """QEMU says this; whether it does."""
        try:
            while word not in self.heard:
                self.heard += self.qmp.recv(65536).decode()
        except OSError:
            return False
        self.heard = self.heard.split(word, 1)[1]
        return True

    def execute(self, command):
        self.qmp.sendall(f'{{"execute": "{command}"}}\n'.encode())
        return self.hear('"return"')

    def sleeps(self, what, seconds=1.0):
        """dom0 goes to sleep, for so long, and comes back."""
        self.send("echo BE''G; echo mem > /sys/power/state; echo EN''D $?\r")
        need(self.hear('"SUSPEND"'), f'{what}: the machine goes off', self.transcript()[-3000:])
        time.sleep(seconds)
        self.execute('system_wakeup')
        need(self.wait(r'END 0\r+\n', 30) >= 0, f'{what}: it wakes up, and dom0 goes on', self.transcript()[-3000:])
        self.wait('dom0# ', 5)

    def look(self, at):
        """A word of the machine's memory, or of a device's registers."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(30)
            monitor.connect(self.base + '.mon')
            monitor.sendall(f'xp /1wx {at:#x}\n'.encode())
            text = ''
            while not (found := re.search(rf'^{at:016x}: 0x([0-9a-f]+)', text, re.M)):
                text += monitor.recv(65536).decode().replace('\r', '')
        return int(found.group(1), 16)


def start_counting(m):
    m.send('corbel console demo\r')
    m.expect('detaches', 'the guest\'s console attaches')
    m.send('\r')
    m.expect('demo# ', 'its shell answers', 20)
    m.sh('(n=0; while sleep 0.2; do n=$((n + 1)); echo counted $n by $(date +%s); done > /dev/ttyS0 &)', 15, 'demo# ')
    m.send('\x1d')
    m.expect('dom0# ', 'Ctrl-] detaches from it')


def counted(m):
    """How far the guest has counted, and by how many seconds its clock is off dom0's at most."""
    out = m.out_of('grep -ao "^counted .*" /run/corbel/demo/console.log | tail -n 2 | head -n 1; echo now $(date +%s)')
    found, now = re.search(r'counted (\d+) by (\d+)', out), int(re.search(r'now (\d+)', out).group(1))
    return (int(found.group(1)), abs(now - int(found.group(2))), now) if found else (0, 0, now)


def by_itself():
    """Woken by the clock of the machine; and s2idle, which is dom0's affair alone, ended by the button. No alarm ends it in QEMU, also without Corbel."""
    with Sleeper('alarm', machine='pc', cpus=1, args='quiet dom0.demo=0') as m:
        m.prompt()
        status, out = m.sh('echo +4 > /sys/class/rtc/rtc0/wakealarm && echo mem > /sys/power/state', 30)
        ok(not status, 'an alarm ends the sleep', out)
        m.send("echo BE''G; echo freeze > /sys/power/state; echo EN''D $?\r")
        need(m.wait(r'END', 2) < 0, 'dom0 freezes', m.transcript()[-2000:])
        m.execute('system_powerdown')
        need(m.wait(r'END 0\r+\n', 8) >= 0, 'until somebody pushes the button', m.transcript()[-2000:])
        m.wait('dom0# ', 5)
        out = m.out_of('corbel dmesg | grep -c "awake again"')
        ok(out == '1', 'of which the hypervisor has seen nothing', out)


def cycles():
    with Sleeper('cycles', machine='pc', args='quiet') as m:
        m.prompt()
        need(m.guest_up(), 'the demo guest comes up')
        start_counting(m)
        m.until('grep -aq "^counted 5 " /run/corbel/demo/console.log')
        before, off = counted(m), []
        first = m.uptime()
        for i in range(10):
            m.sleeps(f'sleep {i + 1}', 6 if not i else 0.5)
            ok(m.until(f'grep -aq "^counted {before[0] + 5} " /run/corbel/demo/console.log'), f'sleep {i + 1}: the guest counts on', (before, counted(m)))
            before = counted(m)
            off.append(before[1])
        last = m.uptime()
        ok(max(off) < 4 * PATIENCE, 'the guest\'s clock keeps with dom0\'s', off)
        ok(abs((last[0] - first[0]) - (last[1] - first[1])) < 3,
           'dom0\'s time since boot has all of it, asleep or not', (first, last))
        ok(abs(before[2] - time.time()) < 4 * PATIENCE, 'and its time of day is right', (before[2], time.time()))
        ok(m.out_of('nproc') == '2', 'both CPUs are dom0\'s again')
        out = m.out_of('corbel dmesg | grep "awake again"')
        ok(len(out.splitlines()) == 10, 'the hypervisor has counted ten times', out)
        info = m.json('corbel info --json')
        ok(info['vms'] == 2 and info['vcpus'] == 4, 'no vCPU was lost', info)
        bad = m.sh('dmesg | grep -E "lockup|stall|BUG:|WARNING:|Call Trace"')[1]
        ok(not bad.strip(), 'no lockup or warning in dom0\'s kernel log', bad)
        m.send('corbel console demo\r')
        m.expect('detaches', 'the guest\'s console attaches once more')
        bad = m.sh('dmesg | grep -E "lockup|stall|BUG:|Call Trace|Clocksource"', 20, 'demo# ')[1]
        bad = [line for line in bad.splitlines() if line and not line.startswith('counted')]
        ok(not bad, 'nor in the guest\'s', '\n'.join(bad))
        m.send('\x1d')
        m.expect('dom0# ', 'Ctrl-] detaches again')
        m.out_of('corbel shutdown demo', 60)
        ok(m.until('! corbel list | grep -q "^demo .*running"'), 'and the guest is shut down in order')


def strict():
    """The IOMMU has forgotten all: registers are as they were, and devices work."""
    for maker, control, tables in ('intel', 0xfed9001c, 0xfed90020), ('amd', 0xfed80018, 0xfed80000):
        with Sleeper(maker, hv='iommu=strict', args='quiet dom0.demo=0', extra=['-device', f'{maker}-iommu,intremap=on']) as m:
            m.prompt()
            before = m.look(control), m.look(tables)
            ok(before[0] & (1 << 31 if maker == 'intel' else 1) and before[1], f'{maker}: devices\' accesses are translated', before)
            m.sleeps(maker)
            after = m.look(control), m.look(tables)
            ok(before == after, f'{maker}: after the sleep, too, by the same tables', (before, after))
            info = m.json('corbel info --json')
            ok(info['iommu'] == 'strict', f'{maker}: the hypervisor drives it', info)
            if maker == 'intel':
                out = re.findall('devices raise (.*)', m.out_of('corbel dmesg'))
                ok(len(out) == 3 and 'any' in out[1] and 'what dom0 has set' in out[2], 'intel: dom0 has it remap interrupts, before and after', out)
            out = m.out_of('ping -c 2 -q 10.0.2.2', 30)
            ok(' 0% packet loss' in out, f'{maker}: the network card reaches dom0\'s memory', out)


def uefi():
    """OVMF wakes the machine up by its own tables and code, not SeaBIOS'."""
    with Sleeper('UEFI', machine='pc', firmware='uefi', args='quiet') as m:
        m.prompt()
        need(m.guest_up(), 'UEFI: the demo guest comes up')
        start_counting(m)
        for i in range(2):
            before = counted(m)[0]
            m.sleeps(f'UEFI, sleep {i + 1}')
            ok(m.until(f'grep -aq "^counted {before + 5} " /run/corbel/demo/console.log'), f'UEFI, sleep {i + 1}: the guest counts on')
        ok(m.out_of('nproc') == '2', 'UEFI: both CPUs are dom0\'s again')
        m.out_of('modprobe efivarfs; mkdir -p /efi && mount -t efivarfs efivarfs /efi')
        order = m.out_of('od -An -tx1 /efi/BootOrder-8be4df61-93ca-11d2-aa0d-00e098032b8c').split()
        ok(len(order) > 4, 'UEFI: the firmware\'s services still answer', order)
        bad = m.sh('dmesg | grep -E "lockup|stall|BUG:|WARNING:|Call Trace"')[1]
        ok(not bad.strip(), 'UEFI: no complaint in dom0\'s kernel log', bad)


def refused(m, why):
    for state in 'mem', 'disk':
        status, out = m.sh(f'echo {state} > /sys/power/state')
        ok(status and 'not supported' in out, f'{why}: dom0 cannot go to sleep ({state})', out)
    out = m.out_of('dmesg | grep "corbel: no suspend\\|corbel: no hibernation" || true')
    ok(out.count('guests would be lost: use poweroff or reboot') == 2, f'{why}: its log says why and what to do instead, each time', out)


def without():
    with Machine('masked', machine='pc', hv='mask=s3', args='quiet') as m:
        m.prompt()
        need(m.guest_up(), 'masked: the demo guest comes up')
        start_counting(m)
        before = counted(m)[0]
        refused(m, 'masked')
        ok(m.until(f'grep -aq "^counted {before + 10} " /run/corbel/demo/console.log'), 'masked: the guest counts on')
        m.out_of('corbel shutdown demo', 60)
        m.until('! corbel list | grep -q "^demo .*running"')
        # What goes round the module: dom0's kernel has gone to sleep in its own eyes, and woken up at once.
        status, out = m.sh('rmmod corbel && dmesg -n 1 && echo mem > /sys/power/state; modprobe corbel', 40)
        ok(not status, 'masked: without corbel.ko dom0 comes back from sleep', out)
        out = m.out_of('corbel dmesg | grep "put the machine to sleep" || true')
        ok('dom0 may not' in out and 'option mask= says so; use poweroff or reboot' in out, 'because the hypervisor has refused it, and says so', out)
    with Machine('no S3', machine='pc', args='quiet dom0.demo=0', extra=['-global', 'PIIX4_PM.disable_s3=1']) as m:
        m.prompt()
        refused(m, 'no S3')
        out = m.out_of('corbel dmesg | grep "S3:"')
        ok('not possible, the firmware does not offer it' in out, 'no S3: the hypervisor says why at boot', out)


main(cycles, by_itself, uefi, strict, without)
