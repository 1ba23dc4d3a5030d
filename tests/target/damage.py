# SPDX-License-Identifier: GPL-2.0-only
"""Kernels and initrds as they arrive after an accident, microcode that no CPU takes, and a hypervisor that GRUB is to put as high as it can.

usage: damage.py CORBEL PAYLOAD DIRECTORY
"""
import struct
import sys


def cpio(name, data):
    head = b'070701' + b''.join(b'%08x' % n for n in (1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
    entry = head + name + b'\0'
    entry += bytes(-len(entry) % 4) + data
    return entry + bytes(-len(entry) % 4)


def microcode(revision):
    """As distributions' archives have it: that revision of AMD's for QEMU's CPU `max`, of Intel's for Bochs' Skylake-X."""
    patch = struct.pack('<IIHBBIIIHxx36x', 0x20260101, revision, 0, 0, 0, 0, 0, 0, 0x1234) + bytes(896)
    amd = struct.pack('<III', 0x414d44, 0, 32) + struct.pack('<IIIHH', 0x60fb1, 0, 0, 0x1234, 0) + bytes(16) + struct.pack('<II', 1, len(patch)) + patch
    intel = b''
    for platforms in 0xff, 0:
        words = [1, 0x7fffff00, 0x01012026, 0x50654, 0, 1, platforms, 0, 0] + [0] * 503
        words[4] = -sum(words) & 0xffffffff
        intel += struct.pack('<512I', *words)
    where = b'kernel/x86/microcode/'
    return cpio(b'kernel', b'') + cpio(where + b'AuthenticAMD.bin', amd) + cpio(where + b'GenuineIntel.bin', intel) + cpio(b'TRAILER!!!', b'')


corbel, payload, out = sys.argv[1:]
with open(payload, 'rb') as f:
    kernel = f.read()
initrd = cpio(b'init', b'#!/bin/sh\n' * 1000) + cpio(b'TRAILER!!!', b'')
elf32 = bytearray(kernel)
elf32[4] = 1
# The setup header of a bzImage of protocol 2.04: before the 64-bit entry there was none.
old = bytearray(8192)
struct.pack_into('<B', old, 0x1f1, 1)
struct.pack_into('<H', old, 0x1fe, 0xaa55)
old[0x201] = 0x66
old[0x202:0x206] = b'HdrS'
struct.pack_into('<H', old, 0x206, 0x204)
with open(corbel, 'rb') as f:
    image = f.read()
lowest, highest = (struct.pack('<HHIIIII', 10, 1, 24, 2 << 20, 0xffffffff, 2 << 20, preference) for preference in (1, 2))
assert image.count(lowest) == 1, 'the header\'s tag for where the image may be'
files = {
    'corbel.high': image.replace(lowest, highest),
    'kernel.cut': kernel[:len(kernel) // 2], 'kernel.text': b'This is not a kernel.\n' * 500, 'kernel.elf32': bytes(elf32), 'kernel.old': bytes(old),
    'kernel.empty': b'', 'initrd': initrd, 'initrd.cut': initrd[:5000], 'initrd.text': b'nothing that unpacks\n' * 500,
    'initrd.bits': initrd[:110 + 6] + b'\x5a' * 4 + initrd[120:10124] + b'\x5a' * 200, 'initrd.gzip': b'\x1f\x8b\x08' + bytes(1000),
    'microcode.cpio': microcode(0x2000099), 'microcode.same': microcode(0x1000065),
}
for name, data in files.items():
    with open(f'{out}/{name}', 'wb') as f:
        f.write(data)
