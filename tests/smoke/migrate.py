#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A guest moves between two machines with Corbel that a network joins, and back. Part of `make test-full`.

dom0's initramfs has no ssh: nc takes its place.
"""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import two_machines
from lib.report import main, need, ok

GUEST = r'name = "mover"\nkernel = "/usr/share/corbel/demo/vmlinux"\nramdisk = "/usr/share/corbel/demo/initrd"\n' \
        r'cmdline = "console=ttyS0 quiet"\nmemory = 128\nvcpus = 2\nvif = [ "" ]\n'
# What ssh would run; its standard error is the console's.
LISTEN = "printf '#!/bin/sh\\nexec corbel migrate-receive\\n' > /run/receive; chmod 755 /run/receive; " \
         "{ nc -ll -p 7000 -e /run/receive > /dev/null 2> /run/receive.log < /dev/null & }"
MOVE = "corbel migrate --ssh=\"sh -c 'exec nc \\$0 7000'\" mover "


looks = 0


def set_up(m, address):
    m.prompt()
    # It may only be about to start, and its script flushes addresses, also when it is killed meanwhile.
    need(m.until('pidof udhcpc > /dev/null') and m.until('! { killall udhcpc 2> /dev/null; ps | grep -q "[u]dhcpc"; }'),
         f'{m.label}: nobody else gives its network card addresses')
    m.out_of(f'dmesg -n 1; nic=$(ls -d /sys/class/net/*/device | cut -d/ -f5); ip addr add {address}/24 dev $nic && ip link set up dev $nic')
    m.sh(LISTEN)
    m.out_of(f"printf '{GUEST}' > /run/mover.cfg")


def in_guest(m, *commands):
    m.send('corbel console mover\r')
    m.expect('detaches', f'{m.label}: the guest\'s console attaches')
    # Before it come lines of earlier, of the same commands.
    global looks
    looks += 1
    m.send(f'echo NO""W{looks}\r')
    m.expect(rf'NOW{looks}\r+\n(.*\n)?demo# ', f'{m.label}: the guest\'s shell answers', 20)
    out = [m.out_of(c, 20, 'demo# ') for c in commands]
    m.send('\x1d')
    m.expect('dom0# ', f'{m.label}: its console detaches')
    return out


def moves(here, there, address):
    out = here.out_of(MOVE + address, 300)
    found = re.search(r'^mover: runs on \S+ now; it stood still for (\d+) ms', out, re.M)
    ok(found, f'{here.label}: corbel migrate moves a guest while it runs', out)
    left = here.json('corbel info --json')
    ok(left['vms'] == 1 and 'mover' not in here.out_of('corbel list --all'), f'{here.label}: nothing is left of it', left)
    there.send('\r')
    there.wait('dom0# ', 5)
    state = {r['name']: r['state'] for r in there.json('corbel list --json')}
    ok(state.get('mover') == 'running', f'{there.label}: it runs there', f'{state} {there.sh("cat /run/receive.log")[1]}')


def migrate():
    with two_machines(life=3600) as (a, b):
        set_up(a, '10.9.0.1')
        set_up(b, '10.9.0.2')
        need(a.until('ping -c 1 -q 10.9.0.2 | grep -q " 0% packet loss"'), 'two machines reach each other', b.sh('ip addr; ip neigh')[1])
        a.out_of('corbel create /run/mover.cfg', 60)
        need(a.guest_up('mover'), 'the guest comes up on the first')
        in_guest(a, 'here=before; { while :; do echo $((n = n + 1)) > /run/count; sleep 1; done & }')
        moves(a, b, '10.9.0.2')
        out = in_guest(b, 'echo $here', 'cat /run/count', 'sleep 3; cat /run/count', 'ping -c 3 -q 172.31.0.1',
                       'dmesg | grep -iE "lockup|stall|BUG:|Call Trace" || true')
        ok(out[0] == 'before' and int(out[2]) > int(out[1]), 'it has gone on where it was', out)
        ok(' 0% packet loss' in out[3], 'its network is there', out[3])
        ok(not out[4], 'its kernel has noticed no standstill', out[4])
        moves(b, a, '10.9.0.1')
        out = in_guest(a, 'echo $here')
        ok(out == ['before'], 'and back', out)
        a.sh('killall nc')
        b.sh('killall nc')
        status, out = a.sh(MOVE + '10.9.0.2', 60)
        ok(status and 'it runs on here' in out, 'when nobody listens there it runs on', out)
        out = in_guest(a, 'echo $here')
        ok(out == ['before'], 'and answers', out)


main(migrate)
