#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What guests have devices for, on VT-d and on AMD-Vi: networks by messages and by lines, plugging in and out, on either side; a device
reaches its guest and neither dom0 nor another guest, and its next owner finds nothing of the last one's."""
import hashlib
import os
import re
import shutil
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import acpi
from lib.machine import PATIENCE, Machine, build_file
from lib.report import main, need, ok
from lib.screen import monitor
from lib.vfio import QEMU, RUN, dom0_is_well, given, none_is_left, program, set_up, watch_pairs

E1000E, NVME = '8086:10D3', '1B36:0010'
# name -> (ids of the PCI device and of the interface's, how QEMU has it, how its interrupts come)
NICS = {
    'e1000e': (E1000E, '0x10d3', 'e1000e,id=nic', 'PCI-MSI'),
    'e1000': ('8086:100E', '0x100e', 'e1000', 'IO-APIC .*fasteoi'),
    'virtio': ('1AF4:1041', '0x0001', 'virtio-net-pci,iommu_platform=on,disable-legacy=on', 'PCI-MSI'),
}
# The only one behind a port, from which it can be taken, and that with VT-d only: QEMU's AMD-Vi takes all devices for those of bus 0.
BEHIND_PORT = 'e1000e'
DEMO = 'demo# '
NVME_CC, NVME_CC_VALUE = 0x14, 0x00460000  # "Controller Configuration", sizes of entries; the controller stays off
E1000E_RDBAL = 0x2800  # where the device receives to
EDU, REGION = 0x50, 0x7ffe0000  # devfn; reserved by the firmware at the end of 2 GiB
DATA = bytes((i * 7 + (i >> 8) * 3) & 0xff for i in range(1 << 20))  # of the disk


def begins(m, devices, what):
    """A guest that has these."""
    m.send(QEMU + ' -device pcie-root-port,id=hot,chassis=1 ' + ' '.join(f'-device vfio-pci,host={d}' for d in devices) + '\r')
    m.expect('demo: ready, 2 CPUs', f'{m.label}: {what}: a guest begins', 120)
    m.expect(DEMO, f'{m.label}: {what}: it gives its shell', 20)


def ends(m, what):
    m.send('poweroff -f\r')
    m.expect('dom0# ', f'{m.label}: {what}: the guest\'s poweroff ends QEMU', 20)


def inside(m, command):
    """One command to the monitor of the guest's QEMU."""
    m.send('\x14c')
    m.wait(r'\(qemu\) ', 10)
    m.send(command + '\r')
    m.wait(r'\n.*\(qemu\) ', 20)
    m.send('\x14c\r')
    m.wait(DEMO, 10)


def is_behind_port(m):
    return m.label.startswith('intel')


def seen(m, condition, seconds):
    """Wait in the guest until a shell condition holds; whether it does."""
    return m.sh(f'n=0; until {condition} || [ $n -ge {seconds * PATIENCE:.0f} ]; do n=$((n+1)); sleep 1; done; {condition}', 2 * seconds, DEMO)[0] == 0


def answered(m, prompt, what):
    """All networks: an address by DHCP, and an answer. -> name -> interface"""
    out = m.sh('modprobe -q nvme; for n in /sys/class/net/e*; do i=${n##*/}; ip link set $i up; udhcpc -q -n -S -t 10 -i $i -s /etc/udhcpc.script; '
               'echo "$i: $(cat $n/device/device)"; done 2>/dev/null; ip -4 -o addr', 60, prompt)[1]
    found = {}
    for number, (name, (_, device, _, _)) in enumerate(NICS.items()):
        nic = re.search(rf'^(\S+): {device}', out, re.M)
        if not ok(nic and re.search(rf'{nic.group(1)}\s+inet 10\.0\.{number + 1}\.15', out), f'{m.label}: {what}: {name} has an address by DHCP', out):
            continue
        ping = m.sh(f'ping -c 3 -q -I {nic.group(1)} 10.0.{number + 1}.2', 20, prompt)[1]
        ok(' 0% packet loss' in ping, f'{m.label}: {what}: {name} is answered', ping)
        found[name] = nic.group(1)
    return found


def networks(m):
    devices = [m.out_of(f'pci {nic[0]}') for nic in NICS.values()]
    for d, name in zip(devices, NICS):
        given(m, d, name)
    begins(m, devices, 'networks')
    found = answered(m, DEMO, 'networks')
    table = m.out_of('cat /proc/interrupts', 10, DEMO)
    for name, (_, _, _, how) in NICS.items():
        mine = [line for line in table.splitlines() if re.search(how, line) and re.search(rf'\b({found.get(name)}|{name}\d)\b', line)]
        ok(any(re.search(r':.*\s[1-9]\d*\s', line) for line in mine), f'{m.label}: networks: interrupts of {name} come as {how}', table)
    ends(m, 'networks')
    for d in devices:
        m.out_of(f'back {d}')
    answered(m, 'dom0# ', 'networks of dom0 again')
    dom0_is_well(m, 'networks')


def borders(m):
    """The device edu, in a guest, is told to reach dom0, another guest and the hypervisor."""
    edu = m.out_of('pci 1234:11E8')
    m.out_of('corbel create /etc/corbel/demo.cfg', 20)
    ok(m.guest_up(), f'{m.label}: borders: another guest runs')
    other = [g['pid'] for g in m.json('corbel list --json') if g.get('name') == 'demo'][0]
    m.out_of('(/run/t/vfio 0 hold > /run/dom0.log & echo $! > /run/holders); (/run/t/vfio '
             f'{other} hold > /run/other.log & echo $! >> /run/holders); I=0; '
             'until [ $I = 60 ] || grep -q ^at /run/dom0.log && grep -q ^at /run/other.log; do sleep 1; I=$((I+1)); done', 90)
    held = re.findall(r'^at (0x\w+) (0x\w+)', m.out_of('cat /run/dom0.log /run/other.log'), re.M)
    need(len(held) == 2, f'{m.label}: borders: a page of dom0\'s and one of the other guest\'s are known')
    given(m, edu, 'edu')
    begins(m, [edu], 'borders')
    mine = m.out_of('basename $(dirname $(grep -l 0x11e8 /sys/bus/pci/devices/*/device))', 10, DEMO)
    for at, word in held:
        need(int(at, 0) > 256 << 20, f'{m.label}: borders: {at} is no address of the guest\'s own')
        program(m, f'borders: {at}', f'vfio {mine} far {at} {word}', 120, DEMO)
    ends(m, 'borders')
    m.out_of(f'back {edu}')
    m.out_of('kill $(cat /run/holders); sleep 1')
    for name in 'dom0', 'other':
        out = m.out_of(f'cat /run/{name}.log')
        ok(re.search(r'^ok - a page .* is as it was', out, re.M), f'{m.label}: borders: a page of {name}\'s is as it was', out)
    ok(m.sh('corbel destroy demo', 20)[0] == 0, f'{m.label}: borders: the other guest ends')
    if m.label.startswith('intel'):
        log = m.out_of('corbel dmesg')
        ok(re.search(rf'device {edu} may not (read|write)', log), f'{m.label}: borders: the hypervisor tells what it has blocked', log)
    dom0_is_well(m, 'borders')


def plugged(m):
    """A disk comes and goes while its guest runs, twice; and one that its guest has is taken out of the machine."""
    nvme, nic = m.out_of(f'pci {NVME}'), m.out_of(f'pci {E1000E}')
    alone = watch_pairs(m)
    given(m, nvme, 'plugged')
    given(m, nic, 'plugged')
    begins(m, [], 'plugged')
    m.out_of('modprobe nvme; modprobe e1000e', 10, DEMO)
    for time in 'first', 'second':
        inside(m, f'device_add vfio-pci,host={nvme},bus=hot,id=disk')
        ok(seen(m, '[ -b /dev/nvme*n1 ]', 20), f'{m.label}: plugged: the guest sees a disk that comes, a {time} time')
        data = m.sh('cat /dev/nvme*n1 | md5sum', 30, DEMO)[1]
        ok(hashlib.md5(DATA).hexdigest() in data, f'{m.label}: plugged: and reads it', data)
        inside(m, 'device_del disk')
        # QEMU has the slot for the next device when the guest has switched it off, which comes after the disk has gone
        gone = '[ ! -b /dev/nvme*n1 ] && [ "$(cat /sys/bus/pci/slots/*/power)" = 0 ]'
        ok(seen(m, f'{{ {gone}; }}', 20), f'{m.label}: plugged: it goes, when it is taken away')
    inside(m, f'device_add vfio-pci,host={nic},bus=hot,id=nic')
    ok(seen(m, '[ -e /sys/class/net/eth0 ]', 20), f'{m.label}: plugged: a NIC comes in its place')
    if is_behind_port(m):
        monitor(m.base, 'device_del nic')
        ok(seen(m, '[ ! -e /sys/class/net/eth0 ]', 30), f'{m.label}: plugged: and goes, when it is taken out of the machine')
    ends(m, 'plugged')
    none_is_left(m, 'plugged', alone)
    m.out_of(f'back {nvme}')
    if is_behind_port(m):
        ok(m.until(f'[ ! -e /sys/bus/pci/devices/{nic} ]', 10), f'{m.label}: plugged: dom0 has it no more, either')
        monitor(m.base, 'device_add e1000e,bus=free,id=nic,netdev=n0,romfile=')
    else:
        m.out_of(f'back {nic}')
    ok(m.until('ls /sys/bus/pci/drivers/e1000e | grep :', 20), f'{m.label}: plugged: dom0 has what is there then')
    answered(m, 'dom0# ', 'plugged')
    dom0_is_well(m, 'plugged')


def reset(m):
    """By the device's own reset, and by that of the bus; where Linux is told to use none, the test fails as it should."""
    nvme, nic = m.out_of(f'pci {NVME}'), m.out_of(f'pci {E1000E}')
    cases = [(nvme, 'nvme', 'flr', NVME_CC, NVME_CC_VALUE), (nic, 'e1000e', 'bus', E1000E_RDBAL, 0x1230)]
    for device, name, how, register, value in cases if is_behind_port(m) else cases[:1]:
        given(m, device, name)
        m.out_of(f'echo {how} > /sys/bus/pci/devices/{device}/reset_method')
        program(m, f'{name}, reset by {how}', f'/run/t/vfio {device} reset {register} {value}')
    m.out_of(f'echo > /sys/bus/pci/devices/{nvme}/reset_method')
    out = m.sh(f'/run/t/vfio {nvme} reset {NVME_CC} {NVME_CC_VALUE}', 60)[1]
    ok('not ok - the next one does not find it' in out, f'{m.label}: nvme without a reset keeps it', out)
    m.out_of(f'echo flr > /sys/bus/pci/devices/{nvme}/reset_method; back {nvme}; [ -e /sys/bus/pci/drivers/vfio-pci/{nic} ] && back {nic}; true')
    ok(m.until('[ -b /dev/nvme0n1 ]', 20), f'{m.label}: nvme is a disk of dom0\'s again')
    dom0_is_well(m, 'reset')


def machine(maker, more):
    """QEMU's options for it and its first devices."""
    extra = ['-device', f'{maker}-iommu,intremap=on' + (',aw-bits=48' if maker == 'intel' else ''), '-device', f'edu,addr={EDU >> 3:#x},dma_mask=0xffffffffffffffff']
    for cpio in 'dom0/full.cpio', 'dom0-tests.cpio', 'dom0/assigned.cpio':
        extra += ['-drive', f'file={build_file(cpio)},format=raw,if=virtio,readonly=on']
    return extra + more


def on(maker):
    def part():
        os.makedirs(build_file('logs'), exist_ok=True)
        disk = build_file(f'logs/assigned-{maker}.disk')
        with open(disk, 'wb') as f:
            f.write(DATA)
        more = ['-drive', f'if=none,id=nvme,file={disk},format=raw', '-device', 'nvme,drive=nvme,serial=nvme',
                '-device', 'pcie-root-port,id=free,chassis=1']
        for number, (name, (_, _, how, _)) in enumerate(NICS.items()):
            more += ['-netdev', f'user,id=n{number},net=10.0.{number + 1}.0/24',
                     '-device', f'{how},netdev=n{number},romfile=' + (',bus=free' if maker == 'intel' and name == BEHIND_PORT else '')]
        with Machine(f'{maker}-iommu', mem='2G', dom0='amd64', nic=None, extra=machine(maker, more), hv='iommu=strict', script=RUN) as m:
            set_up(m)
            m.out_of('cd / && cpio -idm < /dev/vdc; cd', 20)
            for look in networks, borders, plugged, reset:
                look(m)
        os.remove(disk)
    part.__name__ = f'{maker}_iommu'
    return part


def firmwares(maker):
    """A device whose memory the firmware uses, as its table says, stays dom0's; another does not."""
    def part():
        label, directory = f'{maker}, region', build_file(f'logs/assigned-{maker}.tables')
        disk, grub = acpi.disk_with(directory, maker, EDU, REGION, 0x2000)
        more = ['-device', 'e1000e,netdev=n0,romfile=', '-netdev', 'user,id=n0'] + disk
        with Machine(label, mem='2G', dom0='amd64', nic=None, extra=machine(maker, more), hv='iommu=strict', script=RUN,
                     grub=grub + 'multiboot2 /boot/corbel.elf $hv; set gfxpayload=text; module2 /boot/vmlinuz-amd64 $dom0; module2 /boot/initrd-amd64') as m:
            set_up(m)
            edu, nic = m.out_of('pci 1234:11E8'), m.out_of(f'pci {E1000E}')
            seen_there = m.out_of(f'cat /sys/bus/pci/devices/{edu}/iommu_group/reserved_regions')
            ok(re.search(rf'{REGION:#018x} {REGION + 0x1fff:#018x} direct$', seen_there, re.M), f'{label}: Linux is told of the region', seen_there)
            others = m.out_of(f'cat /sys/bus/pci/devices/{nic}/iommu_group/reserved_regions')
            ok('direct' not in others, f'{label}: and that another device has none', others)
            given(m, edu, 'edu')
            out = m.sh(f'/run/t/vfio {edu}', 60)[1]
            ok('not ok - the container has a domain' in out, f'{label}: the device cannot be given away', out)
            ok('cannot be given away: the firmware uses memory with it' in m.out_of('dmesg'), f'{label}: which Linux\' log says')
            m.out_of(f'back {edu}')
            program(m, 'edu', f'/run/t/vfio {edu} own')
            given(m, nic, 'e1000e')
            out = m.sh(f'/run/t/vfio {nic} reset {E1000E_RDBAL} 0x1230', 60)[1]
            ok("ok - a program's device keeps what it writes" in out, f'{label}: another device can', out)
        shutil.rmtree(directory)
    part.__name__ = f'{maker}_region'
    return part


main(on('intel'), on('amd'), firmwares('intel'), firmwares('amd'))
