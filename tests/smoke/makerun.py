#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""What README's first command does before a machine starts: `make run` by its variables, with a QEMU that only says how it was called, and what
happens to packages that are missing, with an apt-get that installs nothing."""
import os
import subprocess
import sys
import tempfile
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import build_file
from lib.report import main, ok

BUILD = build_file('')[:-1]
STAND_INS = {
    'qemu-system-x86_64': 'printf "%s\\n" "$@"',
    'dpkg-query': 'case "$*" in *Status*two) exit 1 ;; *Status*) echo "install ok installed" ;; *cloud*) echo "linux-headers-6.1.0-9-cloud-amd64 (= 6.1.9-1)" ;; '
                  '*) echo "linux-headers-6.1.0-9-amd64 (= 6.1.9-1)" ;; esac',
    'apt-get': 'echo "$*" >> {there}/asked; exit ${{APT:-0}}',
    'id': 'echo ${{ID:-0}}',
    'sudo': 'echo sudo >> {there}/asked; exec "$@"',
}


def stand_ins(there, *names):
    for name in names:
        with open(f'{there}/{name}', 'w') as f:
            f.write('#!/bin/sh\n' + STAND_INS[name].replace('{there}', there).replace('{{', '{').replace('}}', '}') + '\n')
        os.chmod(f'{there}/{name}', 0o755)


def call(there, *command, **env):
    kept = {k: v for k, v in os.environ.items() if k not in ('CPUS', 'MEM', 'ACCEL', 'FIRMWARE', 'DOM0', 'APPEND', 'DOM0_APPEND', 'MAKEFLAGS', 'MFLAGS', 'MAKELEVEL')}
    return subprocess.run(command, env=dict(kept, PATH=f'{there}:{os.environ["PATH"]}', **env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def starts():
    with tempfile.TemporaryDirectory() as there:
        stand_ins(there, 'qemu-system-x86_64')

        def run(*variables):
            return call(there, 'make', '-s', '-o', f'{BUILD}/corbel.iso', 'run', f'BUILD={BUILD}', *variables)

        r = run()
        said = r.stdout.splitlines()
        kvm = 'kvm' in said
        ok(r.returncode == 0 and said[0].startswith('run: KVM (this host can nest)' if kvm else 'run: TCG, QEMU\'s emulation') and f'{BUILD}/corbel.iso' in said,
           'make run: the ISO is started, and it is said by what', r.stdout)
        ok('2G' in said and '2' in said and not any('pflash' in s for s in said) and 'mon:stdio' in said, 'by a BIOS, with two CPUs and 2 GiB, at this terminal', r.stdout)
        r = run('CPUS=4', 'MEM=3G', 'FIRMWARE=uefi', 'ACCEL=tcg', 'DOM0=amd64', 'APPEND=loglvl=debug mask=a,b', 'DOM0_APPEND=x="y z"')
        said = r.stdout.splitlines()
        ok(r.returncode == 0 and {'4', '3G', 'tcg,thread=single'} <= set(said) and sum('pflash' in s for s in said) == 2 and
           'type=11,value=corbel:set hv="loglvl=debug mask=a,,b"; set dom0="console=ttyS0 x=\\"y z\\""; set default=amd64; set timeout=0' in said,
           'make run CPUS= MEM= FIRMWARE= ACCEL= DOM0= APPEND= DOM0_APPEND=: each is obeyed', r.stdout)
        r = run('ACCEL=kvm')
        ok(r.returncode == 0 and 'run: KVM' in r.stdout and 'host' in r.stdout.splitlines(), 'ACCEL=kvm: KVM, and the host\'s CPU', r.stdout)
        for wrong, why in ('ACCEL=xen', 'ACCEL is kvm or tcg, not xen'), ('FIRMWARE=coreboot', 'FIRMWARE is bios or uefi, not coreboot'):
            r = run(wrong)
            ok(r.returncode != 0 and why in r.stdout and '-M' not in r.stdout.splitlines(), f'{wrong}: nothing is started, and it is said what would be right', r.stdout)


def missing():
    with tempfile.TemporaryDirectory() as there:
        stand_ins(there, 'dpkg-query', 'apt-get', 'id')
        asked, fragment = f'{there}/asked', f'{there}/deps.mk'
        for name, text in ('all', 'one # the first\n'), ('some', 'one\ntwo\n'):
            with open(f'{there}/{name}', 'w') as f:
                f.write(text)

        def deps(packages, **env):
            for f in asked, fragment:
                if os.path.exists(f):
                    os.remove(f)
            r = call(there, '/bin/sh', 'dom0/deps', f'{there}/{packages}', fragment, **env)
            return r, open(asked).read() if os.path.exists(asked) else ''

        r, did = deps('all')
        ok(r.returncode == 0 and not r.stdout and not did and 'KVER_cloud := 6.1.0-9-cloud-amd64' in open(fragment).read(), 'packages: where none is missing nothing is asked of apt-get', r.stdout + did)
        r, did = deps('some')
        ok(r.returncode == 0 and r.stdout == 'deps: installing two\n' and did.endswith(' two\n') and 'one' not in did.split(), 'packages: what is missing is installed, saying so', r.stdout + did)
        r, did = deps('some', APT='1')
        ok(r.returncode != 0 and 'could not install: two' in r.stdout and not os.path.exists(fragment), 'packages: what cannot be installed is told', r.stdout)
        stand_ins(there, 'sudo')
        r, did = deps('some', ID='1000')
        ok(r.returncode == 0 and did.startswith('sudo\n'), 'packages: who is not root has sudo do it', r.stdout + did)
        r, did = deps('all', ID='1000')
        ok(r.returncode == 0 and not did, 'packages: which is needed only for that', did)


main(starts, missing)
