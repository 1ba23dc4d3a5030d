#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Other people's programs on /dev/kvm: the tests of the library by which VMMs in Rust call it, a VMM of the libkrun family,
gVisor, which has its address spaces by it, stress-ng's virtual machines, Debian's QEMU for i386, and Xen with its own dom0 as a guest. Part of `make test-full` only."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import report, seen
from lib.guest import COMPLAINTS, answers, shell, snapshots, told
from lib.machine import Machine, build_file
from lib.report import main, need, ok, skip

# Tests of kvm-ioctls that fail, and why
ELSEWHERE = {
    'ioctls::vcpu::tests::test_run_code': 'a page that is only executed counts as written in KVM\'s dirty log, here it does not',
    'ioctls::vcpu::tests::test_set_tsc_khz': 'where the CPU cannot scale the TSC, it wants an error where KVM gives none',
}


def disk(name, more=''):
    return ['-drive', f'file={build_file(name)},format=raw,if=virtio{more}']


def complaints(m):
    bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall"')[1]
    ok(not bad.strip(), f'{m.label}: dom0\'s kernel log has no complaint', bad)


def kvm_ioctls():
    """Needs build/rustvmm.cpio: see tests/dom0/rustvmm."""
    failures = report.failures
    if not os.path.exists(build_file('rustvmm.cpio')):
        return skip('the tests of kvm-ioctls', 'building them needs root')
    with Machine('kvm-ioctls', cpus=4, mem='2G', extra=disk('rustvmm.cpio', ',readonly=on')) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -idm < /dev/vda && cd /', 60)
        out = m.sh('/run/t/kvm_ioctls --test-threads=1 2>&1', 300)[1]
        results = re.findall(r'^test (\S+) \.\.\. (ok|FAILED|ignored)', out, re.M)
        told = [int(n) for n in re.findall(r'(\d+) (?:passed|failed|ignored);', out)]
        need(len(results) > 60 and sum(told) == len(results), f'{m.label}: its tests run, to the last', out)
        for name, result in results:
            if name in ELSEWHERE and result == 'FAILED':
                skip(f'{m.label}: {name}', ELSEWHERE[name])
            elif result != 'ignored':  # those want SEV
                ok(result == 'ok', f'{m.label}: {name}', out)
        if report.failures == failures:
            seen.note('selftests', 'kvm-ioctls', f'{sum(result == "ok" for _, result in results)} pass')
        complaints(m)


class Msb:
    """microsandbox's program in dom0."""
    def __init__(self, m):
        self.m = m

    def run(self, command, timeout=120):
        """Its status and output, both streams. Not to a terminal, on which it would draw."""
        return self.m.sh('HOME=/root chroot /run/t /opt/msb/bin/msb ' + command + ' < /dev/null > /run/out 2>&1; S=$?; '
                         'tail -n 20 /run/out; (exit $S)', timeout)

    def does(self, command, behaviour, pattern='', timeout=120):
        status, out = self.run(command, timeout)
        return need(status == 0 and re.search(pattern, out), f'{self.m.label}: {behaviour}', f'{status}\n{out}')


def krun():
    """Needs build/krun.img: see tests/dom0/krun."""
    if not os.path.exists(build_file('krun.img')):
        return skip('microsandbox', 'its disk is made as root')
    with Machine('microsandbox', mem='3G', life=3000, extra=disk('krun.img', ',snapshot=on')) as m, seen.runs('VMM', 'microsandbox', 'run, exec, modify, pause, snapshot, branch, restore'):
        m.prompt()
        m.out_of('mkdir -p /run/t && mount /dev/vda /run/t && for d in dev proc sys; do mount --bind /$d /run/t/$d; done', 30)
        msb = Msb(m)
        msb.does('doctor', 'its doctor finds the host ready', 'Host setup is ready')
        msb.does('load -i /root/busybox.tar', 'it takes an image', 'busybox:latest')
        msb.does('run --no-tty -m 256M -c 1 busybox -- /bin/sh -c "uname -s; exit 0"', 'a guest runs a command and ends', r'(?m)^Linux')
        status, out = msb.run('run --no-tty -m 256M -c 1 busybox -- /bin/sh -c "exit 7"')
        ok(status == 7, f'{m.label}: its exit status comes back', f'{status}\n{out}')
        msb.does('create -q -n a -m 256M --max-memory 512M -c 1 --max-cpus 2 busybox', 'a guest stays')
        msb.does('exec a -- /bin/sh -c "echo kept > /tmp/kept; nproc"', 'it has one CPU', r'(?m)^1')
        msb.does('modify -c 2 -m 384M a', 'it is given a CPU and memory', '384 MiB')
        msb.does('exec a -- /bin/sh -c "for n in 1 2 3 4 5; do [ $(nproc) = 2 ] || sleep 2; done; nproc; free -m"', 'which it has then',
                 r'(?ms)^2.*Mem: +(3[5-9]\d)')
        msb.does('pause a', 'it stands still')
        msb.does('resume a', 'and goes on')
        msb.does('snapshot create -q --full --from-sandbox a one', 'its memory and state are saved while it runs', timeout=300)
        msb.does('snapshot list', 'the snapshot is listed', r'a:one +full')
        msb.does('branch -q -n b a', 'a second one goes on from where it is', timeout=300)
        msb.does('exec b -- /bin/cat /tmp/kept', 'with what it had', r'(?m)^kept')
        msb.does('exec b -- /bin/sh -c "echo changed > /tmp/kept"', 'and its own memory')
        msb.does('exec a -- /bin/cat /tmp/kept', 'of which the first one sees nothing', r'(?m)^kept')
        for name in 'b', 'a':
            msb.does(f'stop {name}', f'{name} is stopped')
        msb.does('restore -q -n c a:one', 'what was saved goes on', timeout=300)
        msb.does('exec c -- /bin/sh -c "cat /tmp/kept; nproc"', 'with its memory and CPUs', r'(?m)^kept\s+2')
        msb.does('stop c', 'c is stopped')
        ok(m.json('corbel info --json')['vms'] == 1, f'{m.label}: nothing of them is left in the hypervisor')
        complaints(m)


def gvisor():
    """Needs build/gvisor.cpio: see tests/dom0/gvisor. It wants a root that can be pivoted."""
    with Machine('gVisor', mem='3G', extra=disk('gvisor.cpio', ',readonly=on')) as m, seen.runs('VMM', 'gVisor', 'programs in its address spaces'):
        m.prompt()
        m.out_of('mkdir -p /run/t && mount -t tmpfs none /run/t && cd /run/t && cpio -idm < /dev/vda && cd / && '
                 'for d in dev proc sys; do mount --bind /$d /run/t/$d; done', 60)
        run = ('bin/runsc --platform=kvm --network=none --ignore-cgroups --root=/run/runsc '
               'do --force-overlay=false -root /root /bin/sh {}')
        root = ('unshare -m sh -c "cd /run/t && mount --move . / && exec chroot . {}" < /dev/null > /run/out 2>&1; S=$?; '
                'tail -n 20 /run/out; (exit $S)')
        status, out = m.sh(root.format(run.format('/work')), 300)
        sums = re.findall(r'^([0-9a-f]{32})  -', out, re.M)
        need(status == 0 and out.startswith('50'), f'{m.label}: it runs programs in its address spaces', f'{status}\n{out}')
        ok(re.search(r'^4\.4\.0$', out, re.M), f'{m.label}: which see its kernel', out)
        plain = re.findall(r'^([0-9a-f]{32})  -', m.sh(root.format('/bin/sh /root/work'), 60)[1], re.M)
        ok(len(plain) == 5 and sums == plain, f'{m.label}: and come to the same as without it', f'{sums}\n{plain}')
        status, out = m.sh(root.format(run.format('-c exit\\ 7')), 120)
        ok(status == 7, f'{m.label}: their exit status comes back', f'{status}\n{out}')
        ok(m.json('corbel info --json')['vms'] == 1, f'{m.label}: nothing of it is left in the hypervisor')
        complaints(m)


def stressng():
    """Needs build/stressng.cpio: see tests/dom0/stressng. Each of its VMs has its memory filled first, so few come to their end here."""
    with Machine('stress-ng', mem='3G', extra=disk('stressng.cpio', ',readonly=on')) as m, seen.runs('VMM', 'stress-ng --kvm', 'virtual machines that come and go'):
        m.prompt()
        m.out_of('mkdir -p /run/t && mount -t tmpfs none /run/t && cd /run/t && cpio -idm < /dev/vda && cd / && '
                 'for d in dev proc sys; do mount --bind /$d /run/t/$d; done', 60)
        for more, what in ('--kvm 4', 'four at a time'), ('--kvm 2 --vm 1 --vm-bytes 128M', 'beside a program that wants memory'):
            status, out = m.sh(f'chroot /run/t /usr/bin/stress-ng {more} -t 20 --metrics-brief 2>&1', 90)
            done = re.search(r'metrc: .*\] kvm +(\d+) ', out)
            ok(status == 0 and done and int(done.group(1)) > 0 and not re.search('fail:|skipped: [1-9]', out), f'{m.label}: its VMs run, {what}', out)
        ok(m.json('corbel info --json')['vms'] == 1, f'{m.label}: nothing of them is left in the hypervisor')
        complaints(m)


VERBS = ('{} -M pc -accel kvm -cpu host -m 128 -smp 2 -nodefaults -display none -kernel /usr/share/corbel/demo/vmlinux '
         '-initrd /usr/share/corbel/demo/initrd -append "console=ttyS0 quiet panic=-1" -device virtio-net-pci,netdev=n,romfile= -netdev user,id=n '
         '-drive if=none,format=raw,file=/usr/share/corbel/demo/disk.img,snapshot=on ')
LISTENS = '-incoming unix:/run/to{0} -serial mon:telnet:127.0.0.1:444{0},server=on,wait=off < /dev/null > /run/qemu{0} 2>&1'


def moves(m, to, what):
    """To the QEMU that listens there."""
    m.out_of(f'mark={to}; echo {to} > /run/mark', 10, 'demo# ')
    told(m, what, f'migrate unix:/run/to{to}')
    m.send('\x01x')
    m.expect('dom0# ', f'{what}: the QEMU that had it ends', 20)
    m.send(f'telnet 127.0.0.1 444{to}\r')
    answers(m, f'{what}: the guest goes on')
    out = m.out_of('echo $mark $(cat /run/mark); sleep 1; nproc', 20, 'demo# ')
    ok(out.split() == [str(to), str(to), '2'], f'{what}: with what it had', out)


def qemu32():
    """A VMM of 32 bits calls a kernel of 64. Needs build/dom0/full.cpio, for the firmware, and build/qemu32.cpio: see tests/dom0/qemu32."""
    name = 'QEMU of 32 bits'
    with Machine(name, mem='3G', life=2000, extra=[*disk('dom0/full.cpio', ',readonly=on'), *disk('qemu32.cpio', ',readonly=on')]) as m, \
            seen.runs('VMM', 'QEMU for i386, pc', 'boot, savevm, loadvm, reboot, system_reset, migrate, system_powerdown'):
        m.prompt()
        m.out_of('cd / && cpio -idmu < /dev/vda && cpio -idmu < /dev/vdb && mkdir -p /usr/share; cd', 60)
        kind = m.out_of('dd if=/usr/bin/qemu32 bs=1 skip=4 count=1 2> /dev/null | od -An -tu1; qemu32 --version', 30)
        ok(re.match(r' *1\s+QEMU', kind), f'{name}: it is one', kind)
        for to, qemu in (1, 'qemu-system-x86_64'), (2, 'qemu32'):
            m.out_of(f'export TMPDIR=/run; {{ {VERBS.format(qemu)}{LISTENS.format(to)} & }}')
        m.send(VERBS.format('qemu32') + '-serial mon:stdio\r')
        shell(m, f'{name}: a guest boots', 120)
        snapshots(m, name)
        m.send('reboot -f\r')
        shell(m, f'{name}: reboot: the guest boots again', 120)
        told(m, f'{name}: system_reset', 'system_reset')
        shell(m, f'{name}: system_reset: the guest boots again', 120)
        moves(m, 1, f'{name}: migrate to one of 64 bits')
        moves(m, 2, f'{name}: and back to one of 32')
        bad = m.sh(COMPLAINTS, 10, 'demo# ')[1]
        ok(not bad.strip(), f'{name}: the guest\'s kernel log has no complaint', bad)
        told(m, f'{name}: powerdown', 'system_powerdown')
        m.expect('dom0# ', f'{name}: powerdown: the guest switches itself off, which ends QEMU', 30)
        ok(m.json('corbel info --json')['vms'] == 1, f'{name}: nothing of them is left in the hypervisor')
        complaints(m)


def xen():
    """Needs build/dom0/full.cpio and build/xen.cpio: see tests/dom0/xen. Without SMAP, for TCG's sake: its IRET in ring 3, where Xen
    has its dom0's kernel, reads the stack as ring 0 does."""
    with Machine('Xen', mem='3G', extra=[*disk('dom0/full.cpio', ',readonly=on'), *disk('xen.cpio', ',readonly=on')]) as m, seen.runs('guest', 'Xen with a dom0 of its own', 'boot'):
        m.prompt()
        m.out_of('cd / && cpio -idmu < /dev/vda && cpio -idmu < /dev/vdb && mkdir -p /usr/share', 60)
        m.send('qemu-system-x86_64 -M q35 -accel kvm -cpu host,-smap -m 1G -smp 2 -nodefaults -display none -serial mon:stdio '
               '-kernel /guest/xen -append "console=com1 com1=115200 loglvl=all dom0_mem=512M" '
               '-initrd "/guest/vmlinuz console=hvc0 quiet panic=-1,/guest/initrd"\r')
        m.expect('Brought up 2 CPUs', 'Xen: it starts its second CPU', 120)
        m.expect('Building a PV Dom0', 'Xen: it has come to its dom0', 60)
        m.expect('demo: ready, 2 CPUs', 'Xen: whose kernel and programs run', 240)
        m.expect('demo# ', 'Xen: it gives its shell', 30)
        status, out = m.sh('cat /sys/hypervisor/type', 20, 'demo# ')
        ok(status == 0 and 'xen' in out, 'Xen: which runs on Xen', out)
        m.send('\x01x')
        m.expect('dom0# ', 'Xen: its QEMU ends', 20)
        complaints(m)


main(kvm_ioctls, krun, gvisor, stressng, qemu32, xen)
