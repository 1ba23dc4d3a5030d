#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Debian 12's and 13's own libvirt in dom0 on a disk: what an administrator does with virsh. Part of `make test-full`.

Needs libvirt.img, libvirt13.img, desktop.img, trixie.base and guest.cpio in build/disk, which are made as root; parts whose disk is not there are skipped.
"""
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import picture
from lib.machine import Machine, PATIENCE, build_file
from lib.report import main, ok, skip

GUEST = '''<domain type="kvm"><name>v</name><memory unit="MiB">160</memory><vcpu current="2">3</vcpu>
<os><type arch="x86_64" machine="pc">hvm</type><kernel>/guest/vmlinux</kernel><initrd>/guest/initrd</initrd>
<cmdline>console=ttyS0 quiet</cmdline></os><features><acpi/><apic/></features>
<devices><disk type="file" device="disk"><driver name="qemu" type="qcow2"/><source file="/guest/v.qcow2"/><target dev="vda" bus="virtio"/></disk>
<serial type="pty"><log file="/var/log/libvirt/qemu/v.console" append="on"/></serial></devices></domain>'''
HOSTDEV = '<hostdev mode="subsystem" type="pci" managed="yes"><source><address domain="0" bus="0" slot="%#x" function="0"/></source></hostdev>'
# Vhost is refused by Debian's AppArmor profile to a guest that started without a virtio card, on any host.
CARD = '''<interface type="network"><source network="default"/><mac address="52:54:00:00:00:77"/><model type="virtio"/><driver name="qemu"/></interface>'''
VERSIONS = {'libvirt': '9', 'libvirt13': '11'}
SLOT = 0x15  # of the device that is given to a guest
CONSOLE = '/var/log/libvirt/qemu/v.console'


def virsh(m, command, seconds=60):
    """Output, or ends the test when it fails."""
    return m.out_of(f'virsh -q {command}', seconds)


def told(m, cond, what, detail=''):
    return ok(cond, f'{m.label}: {what}', detail)


def state(m, want, what):
    got = virsh(m, 'domstate v')
    told(m, got == want, f'virsh: {what}', got)


def waits(m, condition, seconds=100):
    """Until a shell condition holds."""
    return m.out_of(f'n=0; until {condition} || [ $n -ge {seconds * PATIENCE:.0f} ]; do n=$((n+1)); sleep 1; done; {condition} && echo held; true', seconds + 20)


def host(m):
    out = m.out_of('virt-host-validate qemu || true', 100)
    bad = [line for line in out.splitlines() if re.search(r': *(FAIL|WARN)', line) and not re.search('IOMMU|secure guest|freezer|cgroup', line)]
    told(m, 'PASS' in out and not bad, 'virt-host-validate finds a host with hardware virtualization and /dev/kvm', out)
    out = virsh(m, 'domcapabilities --virttype kvm | grep -c "<domain>kvm</domain>"', 300)
    told(m, out == '1', 'libvirt can have KVM guests', out)
    # As KubeVirt's node labeller asks before it calls a node one for guests, with which CPUs.
    what = '--machine q35 --arch x86_64 --virttype kvm'
    out = m.out_of(f'grep -w kvm /proc/misc; ls -d /dev/kvm /usr/share/libvirt/cpu_map; virsh -q domcapabilities {what} | '
                   f'virsh -q hypervisor-cpu-baseline --features /dev/stdin {what}', 300)
    told(m, '/dev/kvm' in out and "<feature policy='require' name='hypervisor'/>" in out and '<model ' in out, 'what KubeVirt asks of a node has an answer', out)


def life(m):
    virsh(m, 'define /guest/v.xml')
    virsh(m, 'start v', 300)
    told(m, 'held' in waits(m, f'grep -q "demo: ready" {CONSOLE}'), 'virsh: start, and the guest\'s programs run', m.out_of(f'tail -n 5 {CONSOLE}'))
    out = m.out_of('corbel list; corbel vcpu-list v', 20)
    told(m, len(re.findall(r'^v +\d+ ', out, re.M)) == 3, 'corbel list and vcpu-list know it by libvirt\'s name', out)
    exits = [m.json('corbel stat --json v', 20)[0]['exits_total']]
    virsh(m, 'suspend v')
    state(m, 'paused', 'suspend')
    virsh(m, 'resume v')
    state(m, 'running', 'resume')
    exits.append(m.json('corbel stat --json v', 20)[0]['exits_total'])
    told(m, exits[1] > exits[0] > 0, 'its exits are the hypervisor\'s', exits)
    out = virsh(m, 'domstats v --vcpu --balloon --block')
    told(m, 'vcpu.current=2' in out and re.search(r'vcpu\.0\.time=[1-9]', out), 'virsh: domstats', out)
    virsh(m, 'vcpupin v 1 1')
    out = virsh(m, 'vcpupin v')
    told(m, re.search(r'^ *1 +1$', out, re.M), 'virsh: vcpupin', out)


def keeps(m):
    virsh(m, 'save v /guest/v.save', 200)
    state(m, 'shut off', 'save ends it')
    told(m, not re.search(r'^v ', m.out_of('corbel list', 20), re.M), 'and the hypervisor has it no more')
    virsh(m, 'restore /guest/v.save', 200)
    state(m, 'running', 'restore')
    virsh(m, 'snapshot-create-as v one', 300)
    out = virsh(m, 'snapshot-list v --name')
    told(m, out == 'one', 'virsh: snapshot', out)
    virsh(m, 'snapshot-revert v one', 300)
    state(m, 'running', 'a snapshot with memory runs on')
    virsh(m, 'snapshot-delete v one', 300)
    virsh(m, 'managedsave v', 200)
    virsh(m, 'start v', 200)
    state(m, 'running', 'managedsave and start')


def typed(m, command, answer, what):
    """At the guest's console."""
    m.send('virsh console v\r')
    m.expect('Escape character is', f'{m.label}: virsh: console', 30)
    for _ in range(20): # virsh throws away what is typed before it has the terminal
        m.send('\r')
        if m.wait('demo# ', 3) >= 0:
            break
    m.send(command + '\r')
    m.expect(answer, f'{m.label}: {what}', 60)
    m.send('\x1d')
    m.prompt(f'{m.label}: virsh: Ctrl-] leaves it', 30)


def console(m):
    typed(m, 'echo con$((40 + 2))sole', 'con42sole', 'virsh: the guest\'s shell answers there')


def in_guest(m, condition, what):
    """A shell condition that holds in the guest before long."""
    typed(m, f'n=0; until {condition} || [ $n = 60 ]; do sleep 1; n=$((n+1)); done; {condition} && echo HO""LDS || echo NE""VER', 'HOLDS', what)


def cpu_seconds(m):
    """Of the guest's vCPUs together, and of the clock."""
    text = m.out_of('corbel vcpu-list --json v; cut -d" " -f1 /proc/uptime')
    vcpus, up = text[:text.rindex(']') + 1], text.split()[-1]
    return sum(v['runtime_ns'] for v in json.loads(vcpus)) / 1e9, float(up)


def changes(m):
    """What a guest has is changed while it runs, and the guest notices."""
    virsh(m, 'setvcpus v 3 --live')
    out = virsh(m, 'domstats v --vcpu')
    told(m, 'vcpu.current=3' in out, 'virsh: setvcpus', out)
    in_guest(m, 'echo 1 > /sys/devices/system/cpu/cpu2/online', 'the guest has a third CPU, and it starts')
    virsh(m, 'setmem v 120M --live')
    told(m, 'held' in waits(m, 'virsh -q dommemstat v | grep -q "^actual 122880$"', 60), 'virsh: setmem', virsh(m, 'dommemstat v'))
    virsh(m, 'setmem v 160M --live')
    m.out_of('qemu-img create -q -f qcow2 /guest/w.qcow2 32M')
    virsh(m, 'attach-disk v /guest/w.qcow2 vdb --driver qemu --subdriver qcow2 --live')
    in_guest(m, '[ -b /dev/vdb ]', 'virsh: attach-disk: the guest has it')
    out = virsh(m, 'domblklist v')
    told(m, '/guest/w.qcow2' in out, 'virsh: domblklist', out)
    virsh(m, 'detach-disk v vdb --live')
    in_guest(m, '! [ -b /dev/vdb ]', 'virsh: detach-disk: it has it no more')
    virsh(m, 'net-start default', 100)
    m.out_of(f"printf '%s' '{CARD}' > /guest/net.xml")
    virsh(m, 'attach-device v /guest/net.xml --live')
    in_guest(m, 'modprobe virtio_net && udhcpc -q -n -S -t 10 -i eth0 -s /etc/udhcpc.script 2> /dev/null && ping -c 1 -q 192.168.122.1 > /dev/null',
             'virsh: attach-device: a card in the network of libvirt, which gives it an address and answers')
    out = virsh(m, 'domiflist v') + '\n' + virsh(m, 'net-dhcp-leases default')
    told(m, re.search(r'vnet.*:77(.*\n)*.*:77 +ipv4 +192\.168\.122\.', out), 'virsh: domiflist and net-dhcp-leases', out)
    virsh(m, 'detach-interface v network --mac 52:54:00:00:00:77 --live')
    in_guest(m, '! [ -e /sys/class/net/eth0 ]', 'virsh: detach-interface')
    virsh(m, 'net-destroy default')
    out = virsh(m, 'schedinfo v --live --set vcpu_quota=20000')
    told(m, re.search(r'vcpu_quota *: 20000', out), 'virsh: schedinfo', out)
    typed(m, '{ while :; do :; done & }; echo SP""UN', 'SPUN', 'a busy guest')
    runs = [cpu_seconds(m)]
    m.out_of('sleep 10', 15)
    runs.append(cpu_seconds(m))
    part = (runs[1][0] - runs[0][0]) / (runs[1][1] - runs[0][1])
    told(m, .1 < part < .3, 'has a fifth of a CPU then', f'{part:.3f}')
    virsh(m, 'schedinfo v --live --set vcpu_quota=-1')
    virsh(m, 'dump v /guest/v.core --memory-only', 200)
    out = m.out_of('od -An -c -N 4 /guest/v.core; rm /guest/v.core')
    told(m, 'E   L   F' in out, 'virsh: dump', out)
    m.out_of(f': > {CONSOLE}')
    virsh(m, 'reset v')
    told(m, 'held' in waits(m, f'grep -q "demo: ready" {CONSOLE}'), 'virsh: reset, and it comes up again', m.out_of(f'tail -n 5 {CONSOLE}'))
    virsh(m, 'shutdown v')
    told(m, 'held' in waits(m, 'virsh -q domstate v | grep -q "shut off"', 60), 'virsh: shutdown', virsh(m, 'domstate v'))
    virsh(m, 'start v', 200)
    told(m, 'held' in waits(m, f'[ $(grep -c "demo: ready" {CONSOLE}) = 2 ]'), 'and it starts again', m.out_of(f'tail -n 5 {CONSOLE}'))


def ends(m):
    out = m.out_of('for p in $(pidof qemu-system-x86_64); do cat /proc/$p/attr/current; done')
    told(m, re.search(r'libvirt-[0-9a-f-]{36} \(enforce\)', out), 'AppArmor stays on: it confines the guest\'s QEMU', out)
    virsh(m, 'autostart v')
    virsh(m, 'destroy v', 60)
    state(m, 'shut off', 'destroy')
    m.out_of('rm -f /run/libvirt/qemu/autostarted; systemctl restart libvirtd', 120) # without the file it takes this for dom0's start
    told(m, 'held' in waits(m, 'virsh -q domstate v | grep -q running', 100), 'virsh: autostart', virsh(m, 'list --all'))
    virsh(m, 'autostart v --disable')
    virsh(m, 'destroy v', 60)
    status, _ = m.sh('virsh -q resume v', 30)
    told(m, status, 'virsh: what cannot be is refused: resume of a guest that does not run')
    virsh(m, 'undefine v')
    told(m, virsh(m, 'list --all --name') == '', 'virsh: undefine')
    info = m.json('corbel info --json', 20)
    told(m, info['vms'] == 1, 'nothing of it is left in the hypervisor', info)
    out = m.out_of('systemctl --failed --type=service,socket,mount,timer,target --no-pager --no-legend', 30)
    told(m, 'failed' not in out, 'no unit has failed', out)


def needs(what, *files):
    """Whether these are in build/disk; else it is said that the part is skipped."""
    there = all(os.path.exists(build_file(f'disk/{f}')) for f in files)
    if not there:
        skip(what, 'making its disk needs root')
    return there


def readies(m, device=''):
    """Until v is a guest that can be defined."""
    m.prompt(f'{m.label}: Debian with libvirt starts as dom0', 600)
    m.out_of('systemctl is-system-running --wait > /run/state; dmesg -n 1', 300)
    m.out_of('cd / && cpio -idm < /dev/vdb && cd && qemu-img create -q -f qcow2 /guest/v.qcow2 64M', 60)
    xml = GUEST.replace('\n', ' ').replace('</devices>', device + '</devices>')
    m.out_of(f"printf '%s' '{xml}' > /guest/v.xml", 20)


def administers(debian, disk):
    if not needs(debian, f'{disk}.img', 'guest.cpio'):
        return
    guest = f'file={build_file("disk/guest.cpio")},format=raw,if=virtio,readonly=on'
    with Machine(debian, disk=disk, extra=['-drive', guest], life=10800) as m:
        readies(m)
        out = m.out_of('virsh -q version --daemon', 60)
        told(m, all(f'{what} {VERSIONS[disk]}.' in out for what in ('library: libvirt', 'daemon:')), 'its own libvirt is what is tried', out)
        for part in host, life, console, keeps, changes, ends:
            part(m)


def libvirt():
    administers('Debian 12', 'libvirt')


def libvirt13():
    administers('Debian 13', 'libvirt13')


def hostdev():
    """A disk of dom0's is given to a guest and taken back by libvirt, on a hypervisor that drives the IOMMU."""
    if not needs('hostdev', 'libvirt.img', 'guest.cpio'):
        return
    os.makedirs(build_file('logs'), exist_ok=True)
    nvme = build_file('logs/libvirt-nvme.disk')
    data = bytes((i * 7 + (i >> 8) * 3) & 0xff for i in range(1 << 20))
    with open(nvme, 'wb') as f:
        f.write(data)
    extra = ['-drive', f'file={build_file("disk/guest.cpio")},format=raw,if=virtio,readonly=on', '-device', 'intel-iommu,intremap=on,aw-bits=48',
             '-drive', f'if=none,id=nvme,file={nvme},format=raw', '-device', f'nvme,drive=nvme,serial=nvme,addr={SLOT:#x}']
    sum_of = hashlib.md5(data).hexdigest()
    disk = build_file('disk/libvirt-hostdev.img')
    subprocess.run(['cp', '--reflink=auto', '--sparse=always', build_file('disk/libvirt.img'), disk], check=True)
    with Machine('hostdev', disk='libvirt-hostdev', keep=True, extra=extra, life=10800) as m:
        m.prompt('hostdev: Debian with libvirt starts as dom0', 300)
        # As README tells.
        m.out_of("sed -i 's/^#GRUB_CMDLINE_CORBEL_DEFAULT=.*/GRUB_CMDLINE_CORBEL_DEFAULT=\"iommu=strict\"/' /etc/default/grub.d/corbel.cfg && "
                 'echo corbel_iommu > /etc/modules-load.d/corbel-iommu.conf && update-grub 2> /dev/null > /dev/null && sync', 300)
    # Not by a reboot: where code has been in memory TCG takes a millisecond for each KiB that is written the next time.
    with Machine('hostdev', disk='libvirt-hostdev', keep=True, extra=extra, life=10800) as m:
        readies(m, HOSTDEV % SLOT)
        ok(m.json('corbel info --json', 20)['iommu'] == 'strict', 'hostdev: the hypervisor drives the IOMMU')
        ok(m.out_of('md5sum < /dev/nvme0n1').startswith(sum_of), 'hostdev: the disk is dom0\'s')
        virsh(m, 'define /guest/v.xml')
        virsh(m, 'start v', 300)
        ok('held' in waits(m, f'grep -q "demo: ready" {CONSOLE}'), 'hostdev: a guest starts with it', m.out_of(f'tail -n 5 {CONSOLE}'))
        ok(m.sh('[ -b /dev/nvme0n1 ]')[0] != 0, 'hostdev: dom0 has it no more')
        typed(m, 'md5sum < /dev/nvme0n1', sum_of, 'the guest reads it')
        virsh(m, 'destroy v', 60)
        ok('held' in waits(m, '[ -b /dev/nvme0n1 ]', 60), 'hostdev: it is dom0\'s again when the guest has gone', m.out_of('dmesg | tail'))
        ok(m.out_of('md5sum < /dev/nvme0n1').startswith(sum_of), 'hostdev: with what is on it')
        virsh(m, 'undefine v')
    os.remove(nvme)
    os.remove(disk)


def installs():
    """A Debian disk image becomes a guest by one command of virt-install: UEFI, a TPM, the host's CPU, a screen."""
    if not needs('virt-install', 'libvirt.img', 'trixie.base'):
        return
    # Another Debian than dom0's: with a file system of the same UUID dom0 would have two of its own.
    image = f'file={build_file("disk/trixie.base")},format=raw,if=virtio,snapshot=on'
    with Machine('virt-install', disk='libvirt', mem='3G', extra=['-drive', image], life=10800) as m:
        m.prompt('virt-install: dom0 comes up', 300)
        m.out_of('systemctl is-system-running --wait > /run/state; dmesg -n 1', 300)
        virsh(m, 'net-start default', 100)
        refuses_unsigned(m)
        imports(m, 'uefi,firmware.feature0.name=secure-boot,firmware.feature0.enabled=no', '--memory 1024 --vcpus 2 --tpm emulator --cpu host-model --graphics vnc')
        out = virsh(m, 'dumpxml --inactive cloudy')
        for what in "firmware='efi'", "mode='host-model'", "<tpm model", "<graphics type='vnc'", "source network='default'":
            told(m, re.search(what, out), f'the guest has what was asked for: {what}', out)
        m.send('virsh console --force cloudy\r')
        m.expect('login: root|dom0# ', 'virt-install: Debian comes up by UEFI', 900)
        m.wait('dom0# ', 300)
        status, out = m.sh('systemd-detect-virt; ls /sys/firmware/efi /dev/tpm0; cat /proc/sys/kernel/hostname /etc/debian_version; ip -4 -o addr', 60)
        told(m, re.search(r'^kvm', out, re.M) and '/dev/tpm0' in out and 'runtime' in out, 'with firmware, TPM, on KVM', out)
        told(m, re.search(r'^13\.', out, re.M), 'it is the Debian of the image, and not dom0\'s', out)
        told(m, '192.168.122.' in out, 'and an address', out)
        m.send('\x1d')
        m.prompt('virt-install: Ctrl-] leaves its console', 30)
        m.out_of('virsh -q screenshot cloudy /run/screen', 60)
        out = m.out_of('head -c 15 /run/screen | od -An -c -N 2; stat -c %s /run/screen')
        told(m, re.search(r'P +6|211 +P', out), 'virsh: screenshot', out)
        virsh(m, 'destroy cloudy')
        virsh(m, 'undefine cloudy --nvram')


def imports(m, boot, more):
    m.out_of(f'virt-install -q --name cloudy --import --disk /dev/vdb,bus=virtio,format=raw --osinfo debian11 --boot {boot} {more} --noautoconsole', 600)


def refuses_unsigned(m):
    """Of the firmware that is there `--boot uefi` alone takes the one with Secure Boot, and the image's GRUB is nobody's."""
    imports(m, 'uefi', '--memory 512 --graphics none')
    out = virsh(m, 'dumpxml cloudy')
    told(m, "secure='yes'" in out and 'OVMF_VARS_4M.ms.fd' in out and "<smm state='on'" in out, '--boot uefi: libvirt takes the firmware with Secure Boot, in SMM', out)
    m.send('virsh console --force cloudy\r')
    m.expect('Access Denied|Security Violation', 'virt-install: --boot uefi: and that refuses an image that is not signed', 300)
    m.send('\x1d')
    m.prompt('virt-install: --boot uefi: Ctrl-] leaves its console', 30)
    virsh(m, 'destroy cloudy')
    virsh(m, 'undefine cloudy --nvram')


def types(m, *lines):
    """At the guest's own keyboard. What is no letter has a name."""
    names = {' ': 'SPACE', '-': 'MINUS', '/': 'SLASH', '\n': 'ENTER'}
    for line in lines:
        keys = ' '.join(names.get(c, c.upper()) for c in line + '\n')
        m.out_of(f'for key in {keys}; do virsh -q send-key v KEY_$key; done; sleep 3', 100)


def shows(m):
    """The guest's screen and keyboard. build/guest.svg is made of it, as README has one."""
    typed(m, 'setsid -c sh -l < /dev/tty1 > /dev/tty1 2>&1 & echo ST""ARTED', 'STARTED', 'a shell at the screen')
    before = screenshot(m)
    types(m, 'mkdir typed', 'grep -w model /proc/cpuinfo', 'uname -a')
    after = screenshot(m)
    in_guest(m, '[ -d typed ]', 'virsh: send-key: what is typed is done')
    told(m, picture.letters(after) > picture.letters(before) + 50, 'virsh: screenshot: and seen', (picture.letters(before), picture.letters(after)))
    with open(build_file('guest.svg'), 'w') as f:
        f.write(picture.svg(after))


def screenshot(m):
    m.out_of('virsh -q screenshot v /run/screen', 60)
    return base64.b64decode(m.out_of('base64 -w 0 /run/screen', 30))


def manages(m):
    """virt-manager, on a screen of dom0 that nobody sees."""
    m.out_of('cd /run && { Xvfb :1 -screen 0 640x480x24 > xvfb.log 2>&1 & }; export DISPLAY=:1 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/session; '
             'dbus-daemon --session --fork --address=$DBUS_SESSION_BUS_ADDRESS && cd')
    m.out_of('{ virt-manager --connect qemu:///system --no-fork --debug > /run/manager.log 2>&1 & }')
    told(m, 'held' in waits(m, 'xwininfo -root -tree | grep -q \'"Virtual Machine Manager"\'', 300), 'its window comes', m.sh('xwininfo -root -tree; tail -n 30 /run/manager.log /run/xvfb.log')[1])
    for what, line in ('it connects', 'conn=qemu:///system changed to state=Active'), ('the guest is in its list', 'domain=v status=Running added'):
        told(m, 'held' in waits(m, f'grep -q "{line}" /run/manager.log', 200), what, m.out_of('tail -n 30 /run/manager.log'))
    for verb, event in ('suspend', 'suspended'), ('resume', 'resumed'), ('destroy', 'stopped'):
        virsh(m, f'{verb} v', 60)
        told(m, 'held' in waits(m, f'grep -q "lifecycle event: .*state=VIR_DOMAIN_EVENT_{event.upper()}" /run/manager.log', 60), f'and it learns of {verb}', m.out_of('tail -n 30 /run/manager.log'))


def desktop():
    if not needs('virt-manager', 'desktop.img', 'guest.cpio'):
        return
    guest = f'file={build_file("disk/guest.cpio")},format=raw,if=virtio,readonly=on'
    with Machine('virt-manager', disk='desktop', extra=['-drive', guest], life=10800) as m:
        readies(m, '<graphics type="vnc"/><video><model type="vga"/></video>')
        # A vmlinux is started without what the boot protocol tells of the screen, and does not use it.
        m.out_of('cp /boot/vmlinuz-$(uname -r) /guest/vmlinuz && sed -i s,/guest/vmlinux,/guest/vmlinuz, /guest/v.xml')
        virsh(m, 'define /guest/v.xml')
        virsh(m, 'start v', 300)
        told(m, 'held' in waits(m, f'grep -q "demo: ready" {CONSOLE}'), 'a guest with a screen starts', m.out_of(f'tail -n 5 {CONSOLE}'))
        shows(m)
        manages(m)


main(libvirt, libvirt13, hostdev, installs, desktop)
