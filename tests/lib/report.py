# SPDX-License-Identifier: GPL-2.0-only
"""What a smoke test prints: one line per behaviour, `ok - `, `not ok - ` or `skip - `. A test that checks nothing fails."""
import os
import signal
import sys
import traceback

checks = failures = 0


class Stop(Exception):
    """What follows in this test makes no sense any more; the reason has been reported."""


def ok(cond, behaviour, detail=''):
    """Report one behaviour; returns cond. The detail is shown only on failure."""
    global checks, failures
    checks += 1
    if cond:
        print(f'ok - {behaviour}', flush=True)
    else:
        failures += 1
        print(f'not ok - {behaviour}', flush=True)
        for line in str(detail).strip().splitlines():
            print(f'#   {line}', flush=True)
    return bool(cond)


def need(cond, behaviour, detail=''):
    """As ok(), but ends the test when it does not hold."""
    if not ok(cond, behaviour, detail):
        raise Stop


def skip(behaviour, why):
    global checks
    checks += 1
    print(f'skip - {behaviour}: {why}', flush=True)


def note(text):
    print(f'# {text}', flush=True)


def main(*parts):
    """Run the parts of a test one after the other, or those that PARTS names; a part that stops does not keep the next from running."""
    def terminated(*_):
        raise SystemExit('terminated')
    signal.signal(signal.SIGTERM, terminated)
    named = os.environ.get('PARTS', '').split() or [part.__name__ for part in parts]
    for name in set(named) - {part.__name__ for part in parts}:
        ok(False, f'there is a part {name}')
    for part in (part for part in parts if part.__name__ in named):
        try:
            part()
        except Stop:
            pass
        except Exception:  # a fault of the test itself is a failure like any other
            ok(False, f'{part.__name__} runs to its end', traceback.format_exc())
    if not checks:
        ok(False, 'the test checks something')
    sys.exit(1 if failures else 0)
