#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""libvirt moves a running guest between two machines with Corbel by ssh, its disk on shared storage, or copied. Part of `make test-full`.

Needs build/disk/libvirt.img and guest.cpio, which are made as root; skipped where they are not there.
"""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import build_file, two_machines
from lib.report import main, need, ok, skip

# A disk is /dev/vdc, which both machines have as they have a LUN of a storage network, or a file.
GUEST = '''<domain type="kvm"><name>mover</name><memory unit="MiB">160</memory><vcpu>2</vcpu>
<os><type arch="x86_64" machine="q35">hvm</type><kernel>/guest/vmlinux</kernel><initrd>/guest/initrd</initrd>
<cmdline>console=ttyS0 quiet</cmdline></os><features><acpi/><apic/></features><cpu mode="host-model"/>
<devices><disk type="%s" device="disk"><driver name="qemu" type="%s" cache="none"/><source %s="%s"/><target dev="vda" bus="virtio"/></disk>
<serial type="pty"><log file="/var/log/libvirt/qemu/mover.console" append="on"/></serial></devices></domain>'''
CONSOLE = '/var/log/libvirt/qemu/mover.console'
ADDRESS = {'first': '10.9.0.1', 'second': '10.9.0.2'}


def set_up(m):
    m.prompt(f'{m.label}: Debian with libvirt starts as dom0', 600)
    m.out_of('systemctl is-system-running --wait > /run/state; dmesg -n 1', 600)
    m.out_of('cd / && cpio -idm < /dev/vdb && cd', 100)
    m.out_of(f'hostname {m.label}; printf "%s\\n" "127.0.0.1 localhost" "10.9.0.1 first" "10.9.0.2 second" > /etc/hosts; '
             f'systemctl restart libvirtd; systemctl stop systemd-networkd.socket systemd-networkd; nic=$(ls -d /sys/class/net/*/device | cut -d/ -f5); '
             f'ip addr add {ADDRESS[m.label]}/24 dev $nic; ip link set up dev $nic; '
             'mkdir -p -m 700 .ssh; ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519; echo "StrictHostKeyChecking accept-new" > .ssh/config', 100)


def trust(a, b):
    """a may log in to b."""
    key = a.out_of('cat .ssh/id_ed25519.pub').splitlines()[-1]
    b.out_of(f'echo "{key}" >> .ssh/authorized_keys')
    need(a.until(f'ssh {"second" if b.label == "second" else "first"} true', 20), f'{a.label} reaches the other by ssh', a.sh('ip addr; ip neigh')[1] + b.sh('ip addr; ip neigh; systemctl status ssh | cat')[1])


def in_guest(m, command):
    """Its output at the guest's shell."""
    m.send('virsh console mover\r')
    m.expect('Escape character is', f'{m.label}: virsh console', 60)
    for _ in range(20): # virsh throws away what is typed before it has the terminal
        m.send('\r')
        if m.wait('demo# ', 3) >= 0:
            break
    m.wait('nothing of this kind', 1)
    out = m.out_of(command, 60, 'demo# ')
    m.send('\x1d')
    m.prompt(f'{m.label}: Ctrl-] leaves it', 60)
    return out


def state(m):
    return m.sh('virsh -q domstate mover', 60)[1].strip()


def starts(m, kind, form, path):
    xml = (GUEST % (kind, form, 'dev' if kind == 'block' else 'file', path)).replace('\n', ' ')
    m.out_of(f"printf '%s' '{xml}' > /guest/mover.xml; rm -f {CONSOLE}")
    m.out_of('virsh -q create /guest/mover.xml', 200)
    need(m.until(f'grep -q "demo: ready" {CONSOLE}', 200), f'{m.label}: the guest comes up', m.out_of(f'tail -n 5 {CONSOLE}'))
    in_guest(m, 'here=before; { while :; do echo $((n = n + 1)) > /run/count; sleep 1; done & }')


def moves(a, b, how, what):
    status, out = a.sh(f'virsh migrate --live {how} mover qemu+ssh://{b.label}/system', 600)
    ok(not status, f'{what}: virsh migrate --live', out)
    ok(state(b) == 'running' and 'running' not in state(a), f'{what}: it runs there, and not here', (state(a), state(b)))
    left = a.json('corbel info --json', 30)
    ok(left['vms'] == 1, f'{what}: nothing is left of it here', left)
    out = in_guest(b, 'echo $here; cat /run/count; sleep 4; cat /run/count; dmesg | grep -iE "lockup|stall|BUG:|I/O error" || true').split()
    ok(len(out) == 3 and out[0] == 'before' and int(out[2]) > int(out[1]), f'{what}: it has gone on where it was', out)


def virshmove():
    if not all(os.path.exists(build_file(f'disk/{f}')) for f in ('libvirt.img', 'guest.cpio')):
        return skip('virsh migrate between two machines', 'making their disk needs root')
    os.makedirs(build_file('logs'), exist_ok=True)
    lun = build_file('logs/virshmove.disk')
    with open(lun, 'wb') as f:
        f.truncate(64 << 20)
    extra = ['-drive', f'file={build_file("disk/guest.cpio")},format=raw,if=virtio,readonly=on',
             '-drive', f'file={lun},format=raw,if=virtio,file.locking=off,cache=directsync']
    with two_machines(extra, disk='libvirt', life=10800) as (a, b):
        set_up(a)
        set_up(b)
        trust(a, b)
        trust(b, a)
        a.out_of('mkfs.ext4 -q /dev/vdc', 60)
        starts(a, 'block', 'raw', '/dev/vdc')
        in_guest(a, 'echo written before > /mnt/note && sync')
        moves(a, b, '', 'a disk that both reach')
        moves(b, a, '', 'and back')
        out = in_guest(a, 'cat /mnt/note')
        ok(out == 'written before', 'its disk is the same', out)
        a.out_of('virsh -q destroy mover', 60)

        a.out_of('qemu-img create -q -f qcow2 /guest/own.qcow2 64M && dd if=/dev/zero of=/run/fs bs=1M count=64 status=none && mkfs.ext4 -q /run/fs && '
                 'qemu-img convert -O qcow2 /run/fs /guest/own.qcow2 && rm /run/fs', 100)
        starts(a, 'file', 'qcow2', '/guest/own.qcow2')
        in_guest(a, 'echo copied with it > /mnt/note && sync')
        status, out = a.sh('virsh migrate --live mover qemu+ssh://second/system', 200)
        ok(status and re.search(r'^error: ', out, re.M) and state(a) == 'running', 'a disk of its own is not left behind: refused, and it runs on', out)
        b.out_of('virsh -q pool-create-as guest dir --target /guest', 60)
        moves(a, b, '--copy-storage-all', 'a disk that is copied')
        out = in_guest(b, 'cat /mnt/note')
        ok(out == 'copied with it', 'what was on it has come along', out)
        b.out_of('virsh -q destroy mover', 60)
        status, out = b.sh('virsh migrate --live mover qemu+ssh://first/system', 60)
        ok(status, 'what does not run is not moved', out)
    os.remove(lun)


main(virshmove)
