# SPDX-License-Identifier: GPL-2.0-only
"""A machine under QEMU whose serial console a test talks to.

    with Machine('two CPUs', cpus=2) as m:
        m.prompt()
        status, out = m.sh('nproc')

It boots the ISO by GRUB; bare=True boots the same kernel and initramfs without Corbel, grub= gives GRUB's commands instead of a menu entry,
iso='checked.iso' has a hypervisor that checks its locks,
disk='bookworm' boots that disk of build/disk ('bookworm.base' a file that has another ending), and forgets what was written when the machine ends (but with keep=True),
stick=True has the ISO on a USB stick, esp=DIR has that directory for a disk, qemu10=True is of Debian 13's QEMU, firmware='secure' is UEFI with Secure Boot and the keys of Debian's ovmf, 'microsoft' with
Microsoft's, variables=FILE begins with another machine's. The transcript goes to
build/logs and is kept if a check failed while the machine ran.
"""
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pexpect

from . import report, seen
from .report import Stop, ok, need

BUILD = os.environ.get('BUILD', 'build')
LOGS = os.path.join(BUILD, 'logs')
OVMF = '/usr/share/OVMF/OVMF_%s_4M%s.fd'
# Firmware with Secure Boot, by whose keys are in its variables.
SECURE = {'secure': '.snakeoil', 'microsoft': '.ms'}
# With a thread for each CPU QEMU 7.2 loses writes to CPU 0's flags, and with them its guest's registers: see tests/README.md.
ACCEL = os.environ.get('ACCEL', 'tcg,thread=single')
# Machines get this many seconds for what takes one second on an idle host with two CPUs.
PATIENCE = float(os.environ.get('PATIENCE', '4'))

_number = 0


def newer_qemu():
    """The command of Debian 13's QEMU 10, as tests/dom0/debian13 has unpacked it."""
    root = os.path.join(BUILD, 'debian13', 'root')
    libs = f'{root}/usr/lib/x86_64-linux-gnu'
    return [f'{root}/usr/lib64/ld-linux-x86-64.so.2', '--library-path', f'{libs}:{libs}/pulseaudio', f'{root}/usr/bin/qemu-system-x86_64',
            '-L', f'{root}/usr/share/qemu', '-L', f'{root}/usr/share/seabios']


def grub_quote(text):
    return re.sub(r'([\\"$])', r'\\\1', text).replace(',', ',,')


def clean(text):
    """Console text without escape sequences and carriage returns."""
    return re.sub(r'\x1b(\[[0-9;?]*[A-Za-z]|[c=>78])|\r|\0', '', text)


class Machine:
    def __init__(self, label, cpus=2, mem='2G', cpu='max', machine='q35', firmware='bios', dom0='cloud', hv='',
                 args='quiet dom0.demo=0', bare=False, nic='virtio-net-pci', extra=(), script=None, reboot=False,
                 grub=None, life=600, iso='corbel.iso', stick=False, disk=None, keep=False, esp=None, qemu10=False, variables=None):
        global _number
        _number += 1
        os.makedirs(LOGS, exist_ok=True)
        test = os.path.splitext(os.path.basename(sys.argv[0]))[0]
        self.label = label
        self.base = os.path.join(LOGS, f'{test}-{_number}')
        self.log = self.base + '.log'
        self.files = []
        entry = ('bare-' if bare else '') + dom0
        oem = f'set hv="{grub_quote(hv)}"; set dom0="console=ttyS0 {grub_quote(args)}"; ' + \
            (grub.replace(',', ',,') + '; boot' if grub else f'set default={entry}; set timeout=0')
        secure = firmware in SECURE
        cmd = (newer_qemu() if qemu10 else ['qemu-system-x86_64']) + ['-M', machine + (',smm=on' if secure else ''), '-accel', ACCEL, '-cpu', cpu, '-smp', str(cpus), '-m', mem,
               '-display', 'none', '-serial', 'stdio', '-monitor', f'unix:{self.file("mon")},server=on,wait=off',
               '-smbios', f'type=11,value=corbel:{oem}']
        if disk:
            name = disk if '.' in disk else f'{disk}.img'
            cmd += ['-drive', f'file={os.path.join(BUILD, "disk", name)},if=virtio,format=raw,snapshot={"off" if keep else "on"}']
        elif esp:
            cmd += ['-drive', f'file=fat:{esp},if=virtio,format=raw,readonly=on']
        elif stick:
            cmd += ['-device', 'qemu-xhci', '-drive', f'if=none,id=stick,format=raw,readonly=on,file={os.path.join(BUILD, iso)}', '-device', 'usb-storage,drive=stick']
        else:
            cmd += ['-cdrom', os.path.join(BUILD, iso)]
        cmd += ['-nic', f'user,model={nic}'] if nic else ['-nic', 'none']
        if not reboot:
            cmd += ['-no-reboot']
        if firmware != 'bios':
            code = '.secboot' if secure else ''
            shutil.copyfile(variables or OVMF % ('VARS', SECURE.get(firmware, '')), self.file('vars'))
            cmd += ['-global', 'driver=cfi.pflash01,property=secure,value=on'] if secure else []
            cmd += ['-drive', 'if=pflash,format=raw,readonly=on,file=' + OVMF % ('CODE', code),
                    '-drive', 'if=pflash,format=raw,file=' + self.base + '.vars']
        if script:
            with open(self.file('sh'), 'w') as f:
                f.write(script)
            cmd += ['-fw_cfg', f'name=opt/corbel/run,file={self.base}.sh']
        cmd += extra
        self.command = cmd
        # `timeout` ends the emulator even if this test is killed.
        self.life = life * max(PATIENCE / 4, 1)
        self.talks = 'quiet' not in args.split()
        self.failures = report.failures
        self.firmware, self.bare = firmware, bare

    def file(self, suffix):
        """Name of a file that goes when the machine does."""
        self.files.append(f'{self.base}.{suffix}')
        return self.files[-1]

    def __enter__(self):
        self.out = open(self.log, 'w', newline='')
        self.out.write('# ' + ' '.join(self.command) + '\n')
        self.started = time.monotonic()
        self.child = pexpect.spawn('timeout', ['-k', '5', str(self.life)] + self.command, encoding='utf-8',
                                   codec_errors='replace', echo=False, dimensions=(25, 200))
        self.child.delaybeforesend = None
        self.child.logfile_read = self.out
        return self

    def post_mortem(self):
        """Into the log: what the hypervisor's debug keys say, and where QEMU says the CPUs are."""
        self.send('\x01\x01\x01qim')
        self.wait([pexpect.EOF, r'\(hv\) [^\n]* VM \d+ [^\n]*mapped'], 2)
        try:
            with socket.socket(socket.AF_UNIX) as monitor:
                monitor.settimeout(10)
                monitor.connect(self.base + '.mon')
                monitor.sendall(b'info registers -a\ninfo version\n')
                text = ''
                while not re.search(r'^\d+\.\d+\.\d+', text, re.M):
                    text += monitor.recv(65536).decode()
            for line in re.findall(r'^(?:CPU#|RAX=|RIP=|CR0=|R8 =|RSI=).*', text, re.M):
                self.out.write('QEMU: ' + line.strip() + '\n')
        except OSError as e:
            self.out.write(f'QEMU: {e}\n')

    def __exit__(self, kind, error, trace):
        if self.child.isalive():
            if report.failures > self.failures:
                self.post_mortem()
            self.child.terminate()
            try:
                self.child.expect(pexpect.EOF, timeout=10)
            except pexpect.TIMEOUT:
                pass
        self.child.close(force=True)
        self.out.close()
        for f in self.files:
            if os.path.exists(f):
                os.remove(f)
        if report.failures > self.failures or (kind and kind is not Stop):
            report.note(f'the end of {self.log} ({self.label}):')
            for line in self.transcript().splitlines()[-50:]:
                report.note('  | ' + line)
        else:
            os.remove(self.log)

    def transcript(self):
        self.out.flush() if not self.out.closed else None
        with open(self.log, newline='') as f:
            return clean(f.read())

    def age(self):
        return time.monotonic() - self.started

    # ---- the console ----

    def wait(self, pattern, seconds):
        """Wait for a pattern (or list of them) on the console; its index, or -1 when time is up or QEMU has ended."""
        patterns = pattern if isinstance(pattern, list) else [pattern]
        try:
            return self.child.expect(patterns, timeout=seconds * PATIENCE)
        except (pexpect.TIMEOUT, pexpect.EOF):
            return -1

    def expect(self, pattern, behaviour, seconds=15):
        """A behaviour that shows as text on the console; ends the test when it does not come."""
        need(self.wait(pattern, seconds) >= 0, behaviour, f'waited {seconds * PATIENCE:.0f} s for {pattern!r}')
        return self.child.match

    def send(self, text):
        self.child.send(text)

    def prompt(self, behaviour=None, seconds=30):
        """Dom0's prompt after boot."""
        stop = r'\(hv\) \[[^\]]*\] (?:FATAL|PANIC|panic)[^\n]*|Kernel panic[^\n]*'
        got = self.wait([r'dom0# ', stop], seconds)
        why = self.child.match.group(0) if got == 1 else f'no prompt after {self.age():.0f} s'
        need(got == 0, behaviour or f'{self.label}: dom0 comes to its prompt', why)
        if self.talks: # notices of dom0's kernel would come between the lines of answers
            self.send('dmesg -n 4\r')
            self.wait('dom0# ', 5)
        if not self.bare and 'SEEN' in os.environ:
            self.came_up('Linux ' + self.out_of('uname -r'))

    def came_up(self, kernel):
        """For the table of machines in tests/README.md."""
        if '-M' in self.command:
            seen.qemu(self.command, self.firmware, kernel)
        else:
            seen.bochs(self.command, kernel)

    def sh(self, command, seconds=10, prompt='dom0# '):
        """Run a command at the prompt. (exit status, output), or ends the test when it does not return."""
        self.send(f"echo BE''G; {command}; echo EN''D $?\r")
        if self.wait(r'BEG\r+\n(.*?)END (\d+)\r+\n', seconds) < 0:
            ok(False, f'{self.label}: `{command}` returns', clean(self.child.before)[-2000:])
            raise Stop
        status, out = int(self.child.match.group(2)), clean(self.child.match.group(1))
        self.wait(prompt, 5)
        missing = re.search(r'sh: (?!addr2line)(\S+): not found', out)
        if missing: # negated, it would hold; KVM's selftests look for addr2line themselves
            ok(False, f'{self.label}: `{command}` finds {missing.group(1)}', out)
            raise Stop
        return status, out

    def out_of(self, command, seconds=10, prompt='dom0# '):
        """Output of a command that must succeed."""
        status, out = self.sh(command, seconds, prompt)
        if status:
            ok(False, f'{self.label}: `{command}` succeeds', f'exit status {status}\n{out}')
            raise Stop
        return out.strip()

    def until(self, condition, seconds=45):
        """Wait in dom0 until a shell condition holds; whether it does. It is looked at once a second."""
        return self.sh(f'end=$(($(date +%s) + {seconds * PATIENCE:.0f})); until {condition} || [ $(date +%s) -ge $end ]; do sleep 1; done; {condition}',
                       2 * seconds)[0] == 0

    def guest_up(self, name='demo'):
        """Wait until a guest of the demo's initramfs gives its shell; whether it does."""
        return self.until(f'grep -q "demo: ready, 2 CPUs" /run/corbel/{name}/console.log')

    def uptime(self, prompt='dom0# '):
        """(seconds since boot, the host's seconds at that time, by how many they may be apart): the best of some answers."""
        looks = []
        while len(looks) < 10 and (not looks or min(looks)[0] > 0.05):
            before = time.monotonic()
            up = float(self.out_of("cut -d' ' -f1 /proc/uptime", 10, prompt))
            off = (time.monotonic() - before) / 2
            looks.append((off, up, before + off))
        off, up, here = min(looks)
        return up, here, off

    def json(self, command, seconds=10):
        out = self.out_of(command, seconds)
        try:
            return json.loads(out[min(i for i in (out.find('{'), out.find('[')) if i >= 0):])
        except ValueError as e:
            ok(False, f'{self.label}: `{command}` prints JSON', f'{e}\n{out}')
            raise Stop

    def ends(self, behaviour, seconds=20):
        """QEMU ends by itself."""
        try:
            self.child.expect(pexpect.EOF, timeout=seconds * PATIENCE)
            ended = True
        except pexpect.TIMEOUT:
            ended = False
        return ok(ended, behaviour, 'QEMU still runs')


class Bochs(Machine):
    """The same in Bochs, which this command starts; what takes a second in QEMU takes ten there."""

    def __init__(self, label, command):
        super().__init__(label, life=850)
        self.command = command

    def wait(self, pattern, seconds):
        return super().wait(pattern, seconds * 10)


@contextlib.contextmanager
def two_machines(extra=(), **options):
    """Machines `first` and `second` whose network cards a cable joins."""
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    nic = '-nic', f'socket,%s=127.0.0.1:{port},model=virtio-net-pci,mac=52:54:00:00:00:%02x'
    with Machine('first', nic=None, extra=[*extra, nic[0], nic[1] % ('listen', 1)], **options) as first:
        # One that comes too early has no network, and says nothing.
        for _ in range(int(300 * PATIENCE)):
            with open('/proc/net/tcp') as f:
                if f':{port:04X} 00000000:0000 0A ' in f.read():
                    break
            time.sleep(0.1)
        with Machine('second', nic=None, extra=[*extra, nic[0], nic[1] % ('connect', 2)], **options) as second:
            yield first, second


def build_file(name):
    return os.path.join(BUILD, name)


def have(program):
    return subprocess.run(['sh', '-c', f'command -v {program}'], capture_output=True).returncode == 0
