#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Debian's own libvirt in dom0 on a disk: what an administrator does with virsh. Part of `make test-full`.

Needs build/disk/libvirt.img and guest.cpio, which are made as root; skipped where they are not there.
"""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, PATIENCE, build_file
from lib.report import main, ok, skip

GUEST = '''<domain type="kvm"><name>v</name><memory unit="MiB">160</memory><vcpu>2</vcpu>
<os><type arch="x86_64" machine="pc">hvm</type><kernel>/guest/vmlinux</kernel><initrd>/guest/initrd</initrd>
<cmdline>console=ttyS0 quiet</cmdline></os><features><acpi/><apic/></features>
<devices><disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="/guest/v.qcow2"/><target dev="vda" bus="virtio"/></disk>
<serial type="pty"><log file="/var/log/libvirt/qemu/v.console" append="on"/></serial></devices></domain>'''
CONSOLE = '/var/log/libvirt/qemu/v.console'


def virsh(m, command, seconds=60):
    """Output, or ends the test when it fails."""
    return m.out_of(f'virsh -q {command}', seconds)


def state(m, want, what):
    got = virsh(m, 'domstate v')
    ok(got == want, f'virsh: {what}', got)


def waits(m, condition, seconds=100):
    """Until a shell condition holds."""
    return m.out_of(f'n=0; until {condition} || [ $n -ge {seconds * PATIENCE:.0f} ]; do n=$((n+1)); sleep 1; done; {condition} && echo held; true', seconds + 20)


def host(m):
    out = m.out_of('virt-host-validate qemu || true', 100)
    bad = [line for line in out.splitlines() if re.search(r': *(FAIL|WARN)', line) and not re.search('IOMMU|secure guest|freezer|cgroup', line)]
    ok('PASS' in out and not bad, 'virt-host-validate finds a host with hardware virtualization and /dev/kvm', out)
    out = virsh(m, 'domcapabilities --virttype kvm | grep -c "<domain>kvm</domain>"', 300)
    ok(out == '1', 'libvirt can have KVM guests', out)


def life(m):
    virsh(m, 'define /guest/v.xml')
    virsh(m, 'start v', 300)
    ok('held' in waits(m, f'grep -q "demo: ready" {CONSOLE}'), 'virsh: start, and the guest\'s programs run', m.out_of(f'tail -n 5 {CONSOLE}'))
    out = m.out_of('corbel list; corbel vcpu-list v', 20)
    ok(len(re.findall(r'^v +\d+ ', out, re.M)) == 3, 'corbel list and vcpu-list know it by libvirt\'s name', out)
    exits = [m.json('corbel stat --json v', 20)[0]['exits_total']]
    virsh(m, 'suspend v')
    state(m, 'paused', 'suspend')
    virsh(m, 'resume v')
    state(m, 'running', 'resume')
    exits.append(m.json('corbel stat --json v', 20)[0]['exits_total'])
    ok(exits[1] > exits[0] > 0, 'its exits are the hypervisor\'s', exits)
    out = virsh(m, 'domstats v --vcpu --balloon --block')
    ok('vcpu.current=2' in out and re.search(r'vcpu\.0\.time=[1-9]', out), 'virsh: domstats', out)
    virsh(m, 'vcpupin v 1 1')
    out = virsh(m, 'vcpupin v')
    ok(re.search(r'^ *1 +1$', out, re.M), 'virsh: vcpupin', out)


def keeps(m):
    virsh(m, 'save v /guest/v.save', 200)
    state(m, 'shut off', 'save ends it')
    ok(not re.search(r'^v ', m.out_of('corbel list', 20), re.M), 'and the hypervisor has it no more')
    virsh(m, 'restore /guest/v.save', 200)
    state(m, 'running', 'restore')
    virsh(m, 'snapshot-create-as v one', 300)
    out = virsh(m, 'snapshot-list v --name')
    ok(out == 'one', 'virsh: snapshot', out)
    virsh(m, 'snapshot-revert v one', 300)
    state(m, 'running', 'a snapshot with memory runs on')
    virsh(m, 'snapshot-delete v one', 300)
    virsh(m, 'managedsave v', 200)
    virsh(m, 'start v', 200)
    state(m, 'running', 'managedsave and start')


def console(m):
    m.send('virsh console v\r')
    m.expect('Escape character is', 'virsh: console', 30)
    for _ in range(20): # virsh throws away what is typed before it has the terminal
        m.send('\r')
        if m.wait('demo# ', 3) >= 0:
            break
    m.send('echo con$((40 + 2))sole\r')
    m.expect('con42sole', 'virsh: the guest\'s shell answers there', 60)
    m.send('\x1d')
    m.prompt('virsh: Ctrl-] leaves it', 30)


def ends(m):
    virsh(m, 'autostart v')
    virsh(m, 'destroy v', 60)
    state(m, 'shut off', 'destroy')
    status, _ = m.sh('virsh -q resume v', 30)
    ok(status, 'virsh: what cannot be is refused: resume of a guest that does not run')
    virsh(m, 'undefine v')
    ok(virsh(m, 'list --all --name') == '', 'virsh: undefine')
    info = m.json('corbel info --json', 20)
    ok(info['vms'] == 1, 'nothing of it is left in the hypervisor', info)
    out = m.out_of('systemctl --failed --type=service,socket,mount,timer,target --no-pager --no-legend; aa-status 2>/dev/null | grep libvirt; true', 30)
    ok('failed' not in out, 'no unit has failed', out)


def libvirt():
    if not all(os.path.exists(build_file(f'disk/{f}')) for f in ('libvirt.img', 'guest.cpio')):
        return skip('libvirt on a disk', 'making its disk needs root')
    guest = f'file={build_file("disk/guest.cpio")},format=raw,if=virtio,readonly=on'
    with Machine('libvirt', disk='libvirt', extra=['-drive', guest], life=10800) as m:
        m.prompt('Debian with libvirt starts as dom0', 300)
        m.out_of('systemctl is-system-running --wait > /run/state; dmesg -n 1', 300)
        m.out_of('cd / && cpio -idm < /dev/vdb && cd && qemu-img create -q -f qcow2 /guest/v.qcow2 64M', 60)
        xml = GUEST.replace('\n', ' ')
        m.out_of(f"printf '%s' '{xml}' > /guest/v.xml", 20)
        for part in host, life, console, keeps, ends:
            part(m)


main(libvirt)
