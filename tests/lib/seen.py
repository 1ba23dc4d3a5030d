# SPDX-License-Identifier: GPL-2.0-only
"""The machines on which tests have seen Corbel come up, noted boot by boot, and kept as a table in tests/README.md; and what they
have seen at work on it, VMMs, guests and others' tests, as one in README.md.

tests/run gives each test a file of notes (SEEN in its environment) and, with --full, puts what they say in the place of what
those tests have seen before. What other tests have seen stays, and so does all where a test has not come to each of its machines:
where it has failed, or was told to do only a part.
"""
import contextlib
import json
import os
import re
import subprocess

from . import report

PARTS = 'PARTS', 'TARGETS', 'MESSAGES'  # name parts of tests in the environment
FIRMWARE = {'bios': 'SeaBIOS', 'uefi': 'OVMF', 'secure': 'OVMF, Secure Boot', 'microsoft': 'OVMF, Secure Boot'}
_versions = {}


def version(command):
    """Name and version of the emulator that this command starts, its first word or a loader's."""
    if '-M' in command:
        program = command[:command.index('-M')]
    else:
        at = command.index('--root') if '--root' in command else len(command)
        program = ['tests/bochs', 'none', *command[at:at + 2]]
    key = ' '.join(program)
    if key not in _versions:
        out = subprocess.run([*program, '--version'], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
        found = re.search(r'QEMU emulator version (\d+(?:\.\d+)*)|Bochs x86 Emulator (\d+(?:\.\d+)*)', out)
        _versions[key] = (f'QEMU {found.group(1)}' if found.group(1) else f'Bochs {found.group(2)}') if found else 'an emulator'
    return _versions[key]


def qemu(command, firmware, kernel):
    """A machine of QEMU's, by its command, has come up."""
    def after(option):
        return command[command.index(option) + 1]
    devices = ' '.join(command)
    cpus = int(after('-smp').split(',')[0]) + sum('-x86_64-cpu' in word for word in command)
    iommu = ', VT-d' if 'intel-iommu' in devices else ', AMD-Vi' if 'amd-iommu' in devices else ''
    note(version(command), f'{after("-M").split(",")[0]}, {after("-cpu")}{iommu}', FIRMWARE[firmware], kernel, str(cpus), after('-m'))


def bochs(command, kernel):
    def after(option, other):
        return command[command.index(option) + 1] if option in command else other
    note(version(command), after('--model', 'corei7_skylake_x'), "Bochs' BIOS", kernel, after('--cpus', '1'), after('--mem', '512') + 'M')


def note(*row):
    if 'SEEN' in os.environ:
        with open(os.environ['SEEN'], 'a', encoding='ascii') as f:
            f.write(json.dumps(row) + '\n')


def notes(path):
    """What a test has noted: a list of rows. One that has noted nothing has no file."""
    if not os.path.exists(path):
        return []
    with open(path, encoding='ascii') as f:
        return [json.loads(line) for line in f]


@contextlib.contextmanager
def runs(kind, name, what):
    """Something that runs on Corbel was seen at that, if no check fails meanwhile."""
    failures = report.failures
    yield
    if report.failures == failures:
        note(kind, name, what)


# ---- the tables ----

class Table:
    """A file's table of rows that have a cell less than the head, which is for the tests' names: by how many they have it is known which
    table a row is of."""

    def __init__(self, path, mark, head, name):
        """name: so many cells say what a row is of; of one thing a test has one row."""
        self.path, self.head, self.name = path, head, name
        self.begin, self.end = f'<!-- {mark} -->\n', f'<!-- /{mark} -->\n'

    def section(self, text):
        """-> what is before the table, the table, what is behind it"""
        before, rest = text.split(self.begin)
        table, behind = rest.split(self.end)
        return before + self.begin, table, self.end + behind

    def has(self, row):
        return len(row) == len(self.head) - 1

    def lay_out(self, rows):
        lines = [self.head, ['---'] * len(self.head)] + [
            [*row, ', '.join(f'`{test}`' for test in sorted(rows[row]))] for row in sorted(rows, key=order)]
        return ''.join('| ' + ' | '.join(line) + ' |\n' for line in lines)

    def merge(self, table, noted, partial=()):
        """noted: {test: [row, ...]}, of the tests that have run; partial: those that have not come to all their rows"""
        rows = {row: tests - (set(noted) - set(partial)) for row, tests in parse(table).items()}
        for test, seen in noted.items():
            for row in filter(self.has, seen):
                for old in rows:
                    rows[old] -= {test} if old[:self.name] == tuple(row[:self.name]) else set()
                rows.setdefault(tuple(row), set()).add(test)
        return self.lay_out({row: tests for row, tests in rows.items() if tests})

    def update(self, noted, partial):
        with open(self.path, encoding='utf-8') as f:
            before, table, behind = self.section(f.read())
        table = self.merge(table, noted, partial)
        with open(self.path, 'w', encoding='utf-8') as f:
            f.write(before + table + behind)
        return table


MACHINES = Table('tests/README.md', 'seen', ['emulator', 'machine', 'firmware', 'kernel', 'CPUs', 'memory', 'tests'], 6)
RUNS = Table('README.md', 'runs', ['kind', 'what', 'was seen at', 'tests'], 2)


def parse(table):
    """-> {row without tests: set of tests}"""
    lines = [[cell.strip() for cell in line.strip('|').split('|')] for line in table.splitlines()[2:]]
    return {tuple(cells[:-1]): set(cells[-1].strip('`').split('`, `')) for cells in lines}


def order(row):
    return [[int(part) if part.isdigit() else part for part in re.split(r'(\d+)', cell)] for cell in row]


def write(files, failed=()):
    """files: {test: where its notes are}; those that have failed may have stopped before they came to all of theirs. -> the tables"""
    noted = {test: rows for test, rows in ((test, notes(path)) for test, path in files.items()) if rows}
    partial = noted if any(os.environ.get(name) for name in PARTS) else failed
    return [table.update(noted, partial) for table in (MACHINES, RUNS)]
