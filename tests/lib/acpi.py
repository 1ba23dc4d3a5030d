# SPDX-License-Identifier: GPL-2.0-only
"""
A table of IOMMUs in the place of QEMU's, by GRUB's command acpi: QEMU's names no memory that a firmware uses with devices. And one of
idle states, which QEMU's CPUs have none of (AML: ACPI specification, "ACPI Machine Language").
"""
import os
import struct
import sys

NAME = 'iommus.aml'
GRUB = f'search --no-floppy --set=tables --file /{NAME}; acpi --exclude=%s ($tables)/{NAME}; '


def table(signature, body):
    data = bytearray(signature.encode() + struct.pack('<IBB6s8sI4sI', 36 + len(body), 1, 0, b'CORBEL', b'TESTS', 1, b'TEST', 1) + body)
    data[9] = -sum(data) & 0xff
    return bytes(data)


def dmar(devfn, start, size):
    """QEMU's unit, which has all devices; a region of one device of bus 0."""
    ioapic = struct.pack('<BBHBBBB', 3, 8, 0, 0, 0xff, 0, 0)
    unit = struct.pack('<HHBBHQ', 0, 16 + len(ioapic), 1, 0, 0, 0xfed90000) + ioapic
    device = struct.pack('<BBHBBBB', 1, 8, 0, 0, 0, devfn >> 3, devfn & 7)
    region = struct.pack('<HHHHQQ', 1, 24 + len(device), 0, 0, start, start + size - 1) + device
    return table('DMAR', struct.pack('<BB10x', 47, 1) + unit + region)


def ivrs(devfn, start, size):
    devices = struct.pack('<BHBBHB', 3, 0, 0, 4, 0xffff, 0) + struct.pack('<BHBBHB', 0x48, 0, 0, 0, 0xa0, 1)
    unit = struct.pack('<BBHHHQHHI', 0x10, 0xd1, 24 + len(devices), 0x10, 0x40, 0xfed80000, 0, 0, 0x44) + devices
    region = struct.pack('<BBHHHQQQ', 0x21, 7, 32, devfn, 0, 0, start, size)
    return table('IVRS', struct.pack('<I8x', 0x2800) + unit + region)


def disk_with(directory, maker, devfn, start, size):
    """QEMU's options for a disk on which GRUB finds the table, and GRUB's command that takes it."""
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, NAME), 'wb') as f:
        f.write((dmar if maker == 'intel' else ivrs)(devfn, start, size))
    return ['-boot', 'd', '-drive', f'file=fat:{directory},format=raw,if=virtio,readonly=on'], \
        GRUB % ('DMAR' if maker == 'intel' else 'IVRS')


HALT, MWAIT, PORT = (0x7f, 1, 0), (0x7f, 1, 2), (1, 8, 0)  # address space, width and offset in the register of a state


def _sized(opcode, body):
    length = len(body) + 2  # of two bytes, itself included
    return opcode + bytes([0x40 | length & 15, length >> 4]) + body


def _number(n):
    return b'\x0c' + struct.pack('<I', n)


def _package(items):
    return _sized(b'\x12', bytes([len(items)]) + b''.join(items))


def _state(how, address, kind, latency):
    register = struct.pack('<BHBBBBQBB', 0x82, 12, *how, 1, address, 0x79, 0)
    return _package([_sized(b'\x11', _number(len(register)) + register), _number(kind), _number(latency), _number(1000)])


def write_cst(path, processors, states, names=('_SB_', 'CPUS')):
    """An SSDT that gives each processor these states: (HALT, MWAIT or PORT, address, type, latency)."""
    aml = b''
    for processor in processors:
        scope = b'\\\x2f' + bytes([len(names) + 1]) + ''.join(names).encode() + processor.encode()
        aml += _sized(b'\x10', scope + b'\x08_CST' + _package([_number(len(states))] + [_state(*s) for s in states]))
    with open(path, 'wb') as f:
        f.write(table('SSDT', aml))


def write_asking_cst(path, by_mwait, by_port):
    """A first processor, CPU0, with the same by methods: only who has told _PDC that he knows MWAIT for C2 and C3 (bit 9) is told of that."""
    def returned(states):
        return b'\xa4' + _package([_number(len(states))] + [_state(*s) for s in states])
    told = b'\x08PDCV' + _number(0)
    pdc = _sized(b'\x14', b'_PDC\x01' + b'\x8a\x68\x0a\x08CAPS' + b'\x70CAPSPDCV')  # CreateDWordField (Arg0, 8, CAPS), Store
    cst = _sized(b'\x14', b'_CST\x00' + _sized(b'\xa0', b'\x7bPDCV\x0b\x00\x02\x00' + returned(by_mwait)) + returned(by_port))  # If (And (...))
    with open(path, 'wb') as f:
        f.write(table('SSDT', _sized(b'\x10', b'\\_PR_' + _sized(b'\x5b\x83', b'CPU0' + struct.pack('<BIB', 0, 0, 0) + told + pdc + cst))))


if __name__ == '__main__':  # for the ISO of a machine of Bochs', in the place of the firmware's SSDT, which has the processors
    write_asking_cst(sys.argv[1], [(HALT, 0, 1, 1), (MWAIT, 0x20, 2, 100)], [(HALT, 0, 1, 1), (PORT, 0xb014, 2, 100)])
