# SPDX-License-Identifier: GPL-2.0-only
"""A guest of QEMU's in dom0, whose line and whose monitor share the terminal (`-serial mon:`)."""
from .machine import clean
from .report import need, ok

COMPLAINTS = 'dmesg | grep -iE "lockup|stall|BUG:|WARNING:|Call Trace"'


def shell(m, what, seconds=60):
    m.expect(r'demo: ready, 2 CPUs', f'{what} with 2 CPUs', seconds)
    m.expect('demo# ', f'{what} to its shell', 20)


def told(m, what, *commands):
    """QEMU's monitor takes commands, and the line is the guest's again. What it has said to the last of them."""
    m.send('\x01c')
    m.expect(r'\(qemu\) ', f'{what}: the monitor answers', 20)
    for command in commands:
        m.send(command + '\r')
        m.expect(r'\n([\s\S]*)\(qemu\) ', f'{what}: {command.split()[0]} is done', 120)
    said = clean(m.child.match.group(1))
    m.send('\x01c')
    return said


def answers(m, what):
    """A guest goes on; what is typed before it reads is lost."""
    need(any((m.send('\r'), m.wait('demo# ', 3))[1] >= 0 for _ in range(20)), what)


def snapshots(m, name):
    """What the guest has done since savevm has not been done after loadvm."""
    m.out_of('mark=saved; echo saved > /run/mark', 10, 'demo# ')
    told(m, f'{name}: savevm', 'savevm one')
    answers(m, f'{name}: savevm: the guest goes on')
    m.out_of('mark=later; echo later > /run/mark', 10, 'demo# ')
    told(m, f'{name}: loadvm', 'loadvm one')
    answers(m, f'{name}: loadvm: the guest goes on')
    out = m.out_of('echo $mark $(cat /run/mark)', 10, 'demo# ')
    ok(out == 'saved saved', f'{name}: loadvm: from where it was saved', out)
