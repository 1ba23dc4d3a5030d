#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""`corbel image`: a Debian with cloud-init becomes a guest by one command; it has its name, and lets in whose key it was given.
Part of `make test-full`.

Needs build/disk/libvirt.img and cloud.img, which are made as root; skipped where they are not there.
"""
import os
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine, build_file
from lib.report import main, need, ok, skip

# cloud-init makes other keys for the machine, while it may have been asked already.
SSH = 'ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes -o ConnectTimeout=20'
ADDRESS = "$(tail -n 1 /run/leases | cut -d' ' -f3)"


def network(m):
    """The bridge that guests' files have if they name none, and somebody there who gives addresses."""
    m.out_of('ip link add corbr0 type bridge && ip addr add 10.9.8.1/24 dev corbr0 && ip link set corbr0 up && : > /run/leases && '
             'dnsmasq --user=root --conf-file=/dev/null --port=0 --interface=corbr0 --bind-interfaces --except-interface=lo '
             '--dhcp-range=10.9.8.10,10.9.8.90,10h --dhcp-leasefile=/run/leases --dhcp-authoritative', 60)
    m.out_of('mkdir -p -m 700 .ssh && ssh-keygen -q -t ed25519 -N "" -f .ssh/id_ed25519 && ssh-keygen -q -t ed25519 -N "" -f .ssh/other', 60)


def cloud():
    if not all(os.path.exists(build_file(f'disk/{f}')) for f in ('libvirt.img', 'cloud.img')):
        return skip('a guest of a cloud image', 'making its disk needs root')
    # Not by virtio: it has dom0's own disk's file system by its UUID, and dom0's initrd would find two.
    image = '-drive', f'if=none,id=image,file={build_file("disk/cloud.img")},format=raw,snapshot=on', '-device', 'nvme,drive=image,serial=image'
    with Machine('cloud', disk='libvirt', mem='3G', extra=image, life=10800) as m:
        m.prompt('Debian starts as dom0', 600)
        m.out_of('systemctl is-system-running --wait > /run/state; dmesg -n 1', 600)
        network(m)
        out = m.out_of('corbel image --memory 1024 --size 8 /dev/nvme0n1 cloudy', 300)
        ok('cloudy: started' in out, 'corbel image makes a guest and starts it', out)
        need(m.until('[ -s /run/leases ]', 900), 'it asks for an address', m.sh('tail -n 20 /run/corbel/cloudy/console.log')[1])
        done = f'{SSH} debian@{ADDRESS} "cloud-init status --wait; test -e /var/lib/cloud/instance/boot-finished" > /run/said 2>&1'
        need(m.until(done, 900), 'who has the key may log in, and cloud-init has done all it was to do',
             m.sh('cat /run/said; tail -n 20 /run/corbel/cloudy/console.log')[1])
        out = m.out_of(f'{SSH} debian@{ADDRESS} "hostname; cloud-id; systemd-detect-virt; df --output=size -BG / | tail -n 1"', 120).split()
        ok(out[:3] == ['cloudy', 'nocloud', 'kvm'], 'it has its name, by what it was given, and is a guest of KVM', out)
        ok(out[3] in ('7G', '8G'), 'its file system is as large as its disk was to be', out)
        status, out = m.sh(f'{SSH.replace(" -q", "")} -o IdentitiesOnly=yes -i .ssh/other debian@{ADDRESS} true', 120)
        ok(status and 'Permission denied' in out, 'who has another key may not', out)
        out = m.out_of('corbel shutdown --wait --timeout=600 cloudy; corbel list', 700)
        ok('cloudy' not in out, 'it ends in order', out)


main(cloud)
