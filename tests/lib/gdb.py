# SPDX-License-Identifier: GPL-2.0-only
"""gdb's side of its remote protocol ("GDB Remote Serial Protocol" in gdb's manual), as far as QEMU's stub for x86-64 is
to be asked here: over a UNIX socket that leads to it."""
import re
import socket

from .machine import PATIENCE

# Order of the first in the answer to `g`, eight bytes each.
REGISTERS = 'rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip'.split()
SOFTWARE, HARDWARE, WATCH = 0, 1, 2  # kinds of breakpoints; WATCH: of writes


class Gdb:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.got = b''

    def close(self):
        self.socket.close()

    def tell(self, packet):
        self.socket.sendall(b'$%s#%02x' % (packet.encode(), sum(packet.encode()) & 0xff))

    def hear(self, seconds=10):
        """The next packet from the stub, acknowledged. '' when none comes."""
        self.socket.settimeout(seconds * PATIENCE)
        try:
            while not (m := re.search(rb'\$([^#]*)#..', self.got, re.S)):
                more = self.socket.recv(65536)
                if not more:
                    return ''
                self.got += more
        except TimeoutError:
            return ''
        self.got = self.got[m.end():]
        self.socket.sendall(b'+')
        return m.group(1).decode()

    def ask(self, packet):
        self.tell(packet)
        return self.hear()

    def interrupt(self):
        """Stop the guest. What the stub says of it."""
        self.socket.sendall(b'\x03')
        return self.hear()

    def set(self, kind, address):
        return self.ask(f'Z{kind},{address:x},1')

    def clear(self, kind, address):
        return self.ask(f'z{kind},{address:x},1')

    def go(self):
        """It runs; the next thing to hear is why it stops."""
        self.tell('c')

    def registers(self):
        """Of the CPU that has stopped."""
        raw = bytes.fromhex(self.ask('g'))
        return {name: int.from_bytes(raw[i * 8:i * 8 + 8], 'little') for i, name in enumerate(REGISTERS)}

    def read(self, address, length):
        return bytes.fromhex(self.ask(f'm{address:x},{length:x}'))

    def write(self, address, data):
        return self.ask(f'M{address:x},{len(data):x}:{data.hex()}')
