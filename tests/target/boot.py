# SPDX-License-Identifier: GPL-2.0-only
"""Boots the target ISO in QEMU and listens to its serial port. Shared by run and messages."""
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import seen

BUILD = os.environ.get('BUILD', 'build')
DIR = os.path.join(BUILD, 'target')
PAYLOAD = "the target tests' payload"
OVMF = '/usr/share/OVMF/OVMF_%s_4M.fd'
# An image that GRUB puts elsewhere than where it is linked for
MOVED = 'multiboot2 /boot/corbel.high $hv; module2 /boot/payload.elf payload $args; set gfxpayload=text'
# Seconds given for what takes one second on a quiet machine.
PATIENCE = float(os.environ.get('PATIENCE', '4'))

lock = threading.Lock()
number = failures = checks = 0


def ok(cond, behaviour, detail=''):
    """Print one behaviour; the detail only if it does not hold."""
    global checks, failures
    with lock:
        checks += 1
        failures += not cond
        print(('ok - ' if cond else 'not ok - ') + behaviour, flush=True)
        if not cond:
            for line in str(detail).strip().splitlines()[-30:]:
                print('#   ' + line, flush=True)
    return bool(cond)


def note(text):
    with lock:
        print('# ' + text, flush=True)


def grub_quote(text):
    return re.sub(r'([\\"$])', r'\\\1', text).replace(',', ',,')


class Boot:
    """One machine. hv: options of the hypervisor; args: the payload's; grub: GRUB commands instead of the usual ones."""

    def __init__(self, hv='', args='', grub=None, cpus=1, cpu='max', mem='512M', machine='q35', uefi=False, extra=(), life=120, smp=''):
        global number
        with lock:
            number += 1
            self.base = os.path.join(DIR, f'boot-{os.getpid()}-{number}')
        script = f'set hv="{grub_quote(hv)}"; set args="{grub_quote(args)} cpus={cpus}"'
        if grub:
            script += '; ' + grub.replace(',', ',,') + '; boot'
        self.script = script
        cmd = ['timeout', '-k', '5', str(life * max(PATIENCE / 4, 1)), 'qemu-system-x86_64', '-M', machine, '-accel', os.environ.get('ACCEL', 'tcg,thread=single'), '-cpu', cpu, '-smp', f'{cpus}{smp}', '-m', mem,
               '-display', 'none', '-serial', 'stdio', '-monitor', f'unix:{self.base}.mon,server=on,wait=off', '-nic', 'none', '-no-reboot',
               '-cdrom', os.path.join(DIR, 'target.iso'), '-device', 'isa-debug-exit,iobase=0xf4,iosize=4',
               '-smbios', f'type=11,value=corbel:{script}']
        if uefi:
            shutil.copyfile(OVMF % 'VARS', self.base + '.vars')
            cmd += ['-drive', 'if=pflash,format=raw,readonly=on,file=' + OVMF % 'CODE', '-drive', f'if=pflash,format=raw,file={self.base}.vars']
        self.command = cmd + list(extra)
        self.firmware = 'uefi' if uefi else 'bios'

    def came_up(self):
        """For the table of machines in tests/README.md."""
        seen.qemu(self.command[self.command.index('qemu-system-x86_64'):], self.firmware, PAYLOAD)

    def __enter__(self):
        self.text = ''
        self.child = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.changed = threading.Condition()
        self.ended = False
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        return self

    def read(self):
        while True:
            data = os.read(self.child.stdout.fileno(), 65536)
            with self.changed:
                self.text += re.sub(r'\x1b\[[0-9;=?]*[A-Za-z]|\x1bc|\r|\0', '', data.decode(errors='replace'))
                self.ended = not data
                self.changed.notify_all()
            if not data:
                return

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.terminate()
        self.child.wait()
        self.reader.join(5)
        for suffix in 'mon', 'vars', 'sh':
            if os.path.exists(f'{self.base}.{suffix}'):
                os.remove(f'{self.base}.{suffix}')

    def wait(self, pattern, seconds):
        """The first match on the console; None when time is up or QEMU has ended without."""
        end = time.monotonic() + seconds * PATIENCE
        with self.changed:
            while True:
                m = re.search(pattern, self.text, re.M)
                if m or self.ended or time.monotonic() > end:
                    return m
                self.changed.wait(max(end - time.monotonic(), 0.01))

    def ends(self, seconds):
        """QEMU ends by itself: its exit status, or None."""
        try:
            return self.child.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            return None

    def send(self, text):
        self.child.stdin.write(text.encode())
        self.child.stdin.flush()


class Nested(Boot):
    """The same on Debian's KVM, whose machine is QEMU's TCG: the script on the second disk starts the machine inside."""

    def __init__(self, cpus=1, life=600, **options):
        super().__init__(cpus=cpus, **options)
        script = self.script.replace("'", "'\\''")
        inside = f"qemu-system-x86_64 -M q35 -accel kvm -cpu host -smp {cpus} -m 512M -display none -vga none -serial stdio -nic none -no-reboot " + \
            "-drive file=/dev/vda,format=raw,if=virtio,readonly=on -device isa-debug-exit,iobase=0xf4,iosize=4 " + \
            f"-smbios 'type=11,value=corbel:{script}'\nexit\n"
        with open(self.base + '.sh', 'w', encoding='ascii') as f:
            f.write(inside)
        # TCG does not intercept XSETBV, which KVM relies on: so there is none.
        self.command = ['timeout', '-k', '5', str(life * max(PATIENCE / 4, 1)), 'qemu-system-x86_64', '-M', 'q35', '-accel', 'tcg,thread=single',
                        '-cpu', 'max,-xsave,-avx,-avx2', '-smp', str(cpus), '-m', '2G', '-display', 'none', '-serial', 'stdio', '-monitor', 'none',
                        '-nic', 'none', '-no-reboot', '-kernel', os.path.join(DIR, 'nested.vmlinuz'), '-initrd', os.path.join(DIR, 'nested.img'),
                        '-append', 'console=ttyS0 quiet mitigations=off panic=-1']
        for disk in os.path.join(DIR, 'target.iso'), self.base + '.sh':
            self.command += ['-drive', f'file={disk},format=raw,if=virtio,readonly=on']


def run_all(jobs):
    """Two machines at a time; then the exit status of the test."""
    def stopped(*_):
        os._exit(1)
    signal.signal(signal.SIGTERM, stopped)
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get('JOBS', '2'))) as pool:
        for name, future in [(name, pool.submit(job)) for name, job in jobs]:
            try:
                future.result()
            except Exception as e:
                ok(False, f'{name}: the test itself works', repr(e))
    sys.exit(1 if failures or not checks else 0)
