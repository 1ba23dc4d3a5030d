# SPDX-License-Identifier: GPL-2.0-only
"""A screenshot of a text console as SVG, dot by dot: each character that is shown is drawn once and used where it stands.

usage: picture.py PNG > SVG
"""
import collections
import struct
import sys
import zlib

HEIGHT = 16  # of a character


def cell_width(width):
    """VGA's text is nine dots wide, Linux's font on a framebuffer eight."""
    return 9 if width == 720 else 8


def unfiltered(kind, line, above):
    """A line of a PNG with three bytes for a dot, as it was before each byte became the difference to what was foretold."""
    for i, byte in enumerate(line):
        left, up, corner = (line[i - 3], above[i], above[i - 3]) if i > 2 else (0, above[i], 0)
        nearest = min((left, up, corner), key=lambda of: abs(left + up - corner - of))
        line[i] = byte + (0, left, up, (left + up) // 2, nearest)[kind] & 0xff


def pixels(png):
    """Width, height and dots of a PNG of three bytes each, as QEMU makes them."""
    width, height, *form = struct.unpack_from('>IIBBBBB', png, 16)
    assert png.startswith(b'\x89PNG') and form == [8, 2, 0, 0, 0], form
    at, data = 8, b''
    while at < len(png):
        size, kind = struct.unpack_from('>I4s', png, at)
        data += png[at + 8:at + 8 + size] if kind == b'IDAT' else b''
        at += size + 12
    data = zlib.decompress(data)
    stride, above, dots = width * 3, bytearray(width * 3), []
    for y in range(height):
        kind, line = data[y * (stride + 1)], bytearray(data[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        unfiltered(kind, line, above)
        dots += [bytes(line[i:i + 3]) for i in range(0, stride, 3)]
        above = line
    return width, height, dots


def drawn(png):
    """Width and height, the background, and of each cell and colour in it the dots that have it: {(colour, dots): [(x, y)]}."""
    width, height, dots = pixels(png)
    ground = collections.Counter(dots).most_common(1)[0][0]
    marks = collections.defaultdict(list)
    step = cell_width(width)
    for y in range(0, height, HEIGHT):
        for x in range(0, width, step):
            cell = collections.defaultdict(list)
            for row in range(y, min(y + HEIGHT, height)):
                line = dots[row * width + x:row * width + min(x + step, width)]
                for column, dot in enumerate(line):
                    if dot != ground:
                        cell[dot].append((column, row - y))
            for colour, where in cell.items():
                marks[colour, tuple(where)].append((x, y))
    return width, height, ground, marks


def letters(png):
    """Cells that are not empty."""
    return len({at for places in drawn(png)[3].values() for at in places})


def strokes(where):
    """The dots of a cell as lines from left to right."""
    path, runs = '', []
    for x, y in where:
        if runs and runs[-1][1] == y and runs[-1][0] + runs[-1][2] == x:
            runs[-1][2] += 1
        else:
            runs.append([x, y, 1])
    for x, y, length in runs:
        path += f'M{x} {y}.5h{length}'
    return path


def svg(png):
    width, _, ground, marks = drawn(png)
    height = max((y for at in marks.values() for _, y in at), default=0) + 2 * HEIGHT  # what is empty below is left out
    names = {where: f'c{i}' for i, where in enumerate(sorted({where for _, where in marks}))}
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" shape-rendering="crispEdges">',
           '<!-- SPDX-License-Identifier: GPL-2.0-only -->', '<defs>']
    out += [f'<path id="{name}" d="{strokes(where)}"/>' for where, name in names.items()]
    out += ['</defs>', f'<rect width="{width}" height="{height}" fill="#{ground.hex()}"/>']
    for colour in sorted({colour for colour, _ in marks}):
        out.append(f'<g stroke="#{colour.hex()}">')
        out += [''.join(f'<use href="#{names[where]}" x="{x}" y="{y}"/>' for x, y in at)
                for (c, where), at in marks.items() if c == colour]
        out.append('</g>')
    return '\n'.join(out + ['</svg>', ''])


if __name__ == '__main__':
    with open(sys.argv[1], 'rb') as f:
        print(svg(f.read()), end='')
