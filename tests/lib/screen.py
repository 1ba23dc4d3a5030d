# SPDX-License-Identifier: GPL-2.0-only
"""What a machine under QEMU shows on its screen. `base` is the machine's: its monitor's socket is base.mon."""
import os
import re
import socket
import time

TEXT_SIZE = 720, 400  # what QEMU makes of 80 by 25 characters
HERE = os.path.dirname(os.path.abspath(__file__))


def monitor(base, command):
    """One command to QEMU's monitor -> what it says."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(base + '.mon')
        text = b''
        for line in '', command + '\n':
            s.sendall(line.encode())
            before = text.count(b'(qemu)')
            while text.count(b'(qemu)') <= before:
                text += s.recv(4096)
        return text.decode()


def take(base, command, suffix):
    """A command that writes a file @: what is in it."""
    name = os.path.abspath(base + suffix)
    monitor(base, command.replace('@', name))
    end = time.monotonic() + 10
    while not os.path.exists(name) and time.monotonic() < end:
        time.sleep(0.05)
    with open(name, 'rb') as f:
        data = f.read()
    os.remove(name)
    return data


def read_text(base):
    """Lines of a VGA text screen that has not been scrolled."""
    data = take(base, 'pmemsave 0xb8000 4000 "@"', '.scr')
    return [data[i:i + 160:2].decode('latin1').replace('\0', ' ').rstrip() for i in range(0, 4000, 160)]


def picture(base):
    return take(base, 'screendump "@"', '.ppm')


def font():
    """Columns of dots, the uppermost the lowest bit, and their character: 15 are drawn side by side in font.c."""
    with open(os.path.join(HERE, '../../hv/console/font.c')) as f:
        rows = re.findall(r'^    "([ #]{90})"', f.read(), re.M)
    glyphs = {}
    for i in range(95):
        drawn = [row[i % 15 * 6:][:5] for row in rows[i // 15 * 7:][:7]]
        glyphs[tuple(sum(1 << r for r in range(7) if drawn[r][c] == '#') for c in range(5))] = chr(32 + i)
    return glyphs


def size_of(ppm):
    """Width and height, and where the pixels begin: three bytes each."""
    width, height, start = re.match(rb'P6\s+(\d+)\s+(\d+)\s+255\s', ppm).group(1, 2, 0)
    return int(width), int(height), len(start)


def read_pixels(ppm):
    """Lines of text of the hypervisor's in a picture: cells of 12 by 16 pixels, each dot of the font is 2 by 2."""
    width, height, start = size_of(ppm)
    glyphs = font()
    lines = []
    for y in range(0, height - 15, 16):
        line = ''
        for x in range(0, width - 11, 12):
            columns = tuple(sum(1 << r for r in range(7) if ppm[start + ((y + 2 * r) * width + x + 2 * c) * 3] > 64) for c in range(5))
            line += glyphs.get(columns, '?')
        lines.append(line.rstrip())
    return lines


def read_screen(base):
    """Lines of text of the hypervisor's, in whichever mode the screen is."""
    ppm = picture(base)
    return read_text(base) if size_of(ppm)[:2] == TEXT_SIZE else read_pixels(ppm)


def cells(ppm, text, width=8, height=16):
    """Dot patterns that stand for each character, where lines of text are shown in a font of that size."""
    stride, lines, start = size_of(ppm)
    seen = {}
    for y, line in enumerate(text[:lines // height]):
        for x, c in enumerate(line[:stride // width]):
            rows = (start + ((y * height + r) * stride + x * width) * 3 for r in range(height))
            seen.setdefault(c, []).append(b''.join(bytes(any(ppm[at + i * 3:at + i * 3 + 3]) for i in range(width)) for at in rows))
    return seen
