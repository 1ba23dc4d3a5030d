#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""Guests that are no Linux, or no Linux of today, from Debian's packages: firmware, boot loaders from floppy, CD and disk, a network boot,
tests of memory, a program that looks at the hardware, Debian's installers. Part of `make test-full` only.

Their screens are read out of the memory of text mode, by QEMU's monitor, as is U-Boot's, which has none, from its serial line.
Each is seen at work, is reset by the monitor, and is seen again; but for the installers: memory that has held code is
written slowly by TCG, and they fill much of it. Needs build/dom0/full.cpio and build/strangers.cpio: see tests/dom0/strangers. Arguments are names of guests, for these alone.
"""
import os
import re
import sys
import time
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib import seen
from lib.machine import PATIENCE, Machine, build_file
from lib.report import Stop, main, need, ok, skip

SCREEN, COLUMNS, LINES = 0xb8000, 80, 25
INSTALLER = '-m 1024 -kernel /guest/{0}.linux -initrd /guest/{0}.initrd -append "vga=normal nomodeset fb=false quiet"'
NIC = '-netdev user,id=net -device e1000,netdev=net,romfile='
# What it is; QEMU's options; then in turn what its screen shows, and keys that are pressed then
GUESTS = (
    ('SeaBIOS alone', NIC, (('No bootable device', ''),)),
    ('iPXE', f'-kernel /guest/ipxe.lkrn {NIC}', ((r'net0: 10\.0\.2\.15/255\.255\.255\.0 gw 10\.0\.2\.2', ''),)),
    ('memtest86+', '-m 64 -smp 2 -kernel /guest/memtest86+x64.bin', (('Press <F1> to conf', 'ret'), (r'(?s)Test #[2-9].*Using: All Cores.*Errors: 0', ''))),
    ('memtest86+ of 32 bits', '-m 64 -kernel /guest/memtest86+ia32.bin', (('Press <F1> to conf', 'ret'), (r'(?s)Test #[2-9].*Errors: 0', ''))),
    ('GRUB on a floppy', '-drive if=floppy,format=raw,readonly=on,file=/guest/grub-rescue-floppy.img -boot a',
     ((r'\*GNU/Linux', 'down'), (r'\*GNU \(aka', 'c'), ('grub>', 'l s ret'), (r'\(fd0\)', ''))),
    ('GRUB on a CD', '-cdrom /guest/grub-rescue-cdrom.iso', ((r'\*GNU/Linux', 'c'), ('grub>', 'l s ret'), (r'\(cd\)|\(cd0\)', ''))),
    ('GRUB on a disk', '-drive if=ide,format=raw,file=/guest/grub-rescue-usb.img',
     ((r'\*GNU/Linux', 'c'), ('grub>', 'l s ret'), (r'\(hd0\)', ''))),
    ('SYSLINUX on a floppy', '-drive if=floppy,format=raw,readonly=on,file=/guest/hdt.img -boot a',
     ((r'PCI Devices\( *\d', 'down down ret'), (r'QEMU Virtual CPU|Vendor', ''))),
    ('the installer', INSTALLER.format('amd64'), (('Select a language', ''),)),
    ('the installer of 32 bits', INSTALLER.format('i386'), (('Select a language', ''),)),
    ('U-Boot', '-bios /guest/u-boot-x86_64.rom', ()),
    # It runs a card's ROM in real mode with segments of 64 KiB, from which SeaBIOS' for the VGA reaches beyond: #GP, but for QEMU's TCG, which has no limits.
    ('U-Boot of 32 bits', '-vga none -bios /guest/u-boot-x86.rom', ()),
)


def screen(m):
    """The lines of text mode's screen."""
    m.send(f'xp /{COLUMNS * LINES * 2 // 4}xw {SCREEN:#x}\r')
    got = m.wait([rf'(?s){SCREEN:x}:(.*{SCREEN + COLUMNS * LINES * 2 - 16:x}: [^\n]*)\n', 'dom0# '], 30)
    if got:
        need(False, f'{m.label}: QEMU answers', 'it has ended' if got > 0 else m.transcript()[-500:])
    cells = b''.join(int(word, 16).to_bytes(4, 'little') for word in re.findall('0x([0-9a-f]{8})', m.child.match.group(1)))
    text = cells[::2].decode('cp437').replace('\0', ' ')
    return '\n'.join(text[i:i + COLUMNS].rstrip() for i in range(0, len(text), COLUMNS))


def sees(m, pattern, what):
    """On the screen, sooner or later."""
    end, lines, pause = time.monotonic() + 150 * PATIENCE, '', 1
    while time.monotonic() < end:
        lines = screen(m)
        if re.search(pattern, lines):
            break
        time.sleep(pause)
        pause = min(pause * 1.2, 4)  # to tell of the screen costs the guest some time
    if not ok(re.search(pattern, lines), what, lines):
        m.send('\x03')
        raise Stop


def on_screen(m, what, options, steps, resets):
    m.send(f'qemu-system-x86_64 -M pc -nodefaults -accel kvm -cpu host -m 256 -display none -vga std -monitor stdio {options}\r')
    m.expect(r'\(qemu\) ', f'{what}: QEMU runs', 30)
    for again in ('', 'after a reset, too, ')[:1 + resets]:
        for pattern, keys in steps:
            sees(m, pattern, f'{what}: {again}its screen shows {pattern}')
            for key in keys.split():
                m.send(f'sendkey {key}\r')
                time.sleep(.3)
        m.send('system_reset\r' if resets and not again else 'quit\r')
    m.expect('dom0# ', f'{what}: QEMU ends', 30)


def on_line(m, what, options):
    m.send(f'qemu-system-x86_64 -M pc -nodefaults -accel kvm -cpu host -m 256 -display none -vga std -serial mon:stdio {options}\r')
    for again in '', 'after a reset, too, ':
        m.expect('=> ', f'{what}: {again}it gives its prompt', 100)
        m.send('bdinfo\r')
        m.expect(r'DRAM bank[\s\S]*size +=[\s\S]*=> ', f'{what}: {again}and tells of its memory', 30)
        m.send('reset\r' if not again else '\x01x')
    m.expect('dom0# ', f'{what}: QEMU ends', 30)


def look_at(guests):
    """These, one after the other, in one machine."""
    extra = [o for f in ('dom0/full.cpio', 'strangers.cpio') for o in ('-drive', f'file={build_file(f)},format=raw,if=virtio,readonly=on')]
    with Machine('strangers', mem='3G', extra=extra, life=6000) as m:
        m.prompt()
        m.out_of('cd / && cpio -idmu < /dev/vda && cpio -idmu < /dev/vdb && mkdir -p /usr/share', 100)
        there = m.out_of('ls /guest').split()
        for what, options, steps in guests:
            if 'i386' in options and 'i386.linux' not in there:
                skip(what, 'this Debian has none')
                continue
            resets = 'installer' not in what
            with seen.runs('guest', what, 'boot' + (', system_reset' if steps and resets else ', reset' if resets else '')):
                if steps:
                    on_screen(m, what, options, steps, resets)
                else:
                    on_line(m, what, options)
        ok(m.json('corbel info --json')['vms'] == 1, 'nothing of them is left in the hypervisor')
        bad = m.sh('dmesg | grep -E -A 40 "BUG:|WARNING:|Oops|lockup|stall"')[1]
        ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)


def strangers():
    """The installers have machines of their own: dom0 clears huge pages in which their code was so slowly that its watchdogs bark."""
    guests = [g for g in GUESTS if g[0] in sys.argv[1:] or not sys.argv[1:]]
    installers = [g for g in guests if 'installer' in g[0]]
    for group in [g for g in guests if g not in installers], *([g] for g in installers):
        if group:
            look_at(group)


main(strangers)
