# SPDX-License-Identifier: GPL-2.0-only
"""Kernels and initrds as they arrive after an accident, and a hypervisor that GRUB is to put as high as it can.

usage: damage.py CORBEL PAYLOAD DIRECTORY
"""
import struct
import sys


def cpio(name, data):
    head = b'070701' + b''.join(b'%08x' % n for n in (1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
    entry = head + name + b'\0'
    entry += bytes(-len(entry) % 4) + data
    return entry + bytes(-len(entry) % 4)


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
}
for name, data in files.items():
    with open(f'{out}/{name}', 'wb') as f:
        f.write(data)
