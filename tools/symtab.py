# SPDX-License-Identifier: GPL-2.0-only
"""Make the hypervisor's symbol table (hv/lib/symtab.h) from `nm -n` on standard input: assembly on standard output."""
import sys

HV_IMAGE = 0xFFFFFFFF80000000


def main():
    symbols = []
    for line in sys.stdin:
        parts = line.split()
        if len(parts) != 3 or parts[1] not in "tT" or "." in parts[2]:
            continue
        addr = int(parts[0], 16) - HV_IMAGE
        if symbols and symbols[-1][0] == addr:
            continue
        symbols.append((addr, parts[2]))
    print('\t.section .hv_symtab, "a"\n\t.balign 8')
    print(f"\t.long {len(symbols)}, 0")
    for i, (addr, _) in enumerate(symbols):
        print(f"\t.long {addr:#x}, .Lname{i} - .Lnames")
    print(".Lnames:")
    for i, (_, name) in enumerate(symbols):
        print(f'.Lname{i}:\t.asciz "{name}"')
    print('\t.section .note.GNU-stack, "", @progbits')


main()
