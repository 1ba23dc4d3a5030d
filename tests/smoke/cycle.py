#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-only
"""A hundred guests come and go, half of them by kill -9 of their VMM at any moment: nothing of them is left."""
import os
import re
import sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..'))
from lib.machine import Machine
from lib.report import main, note, ok

# Every second guest is killed, after a time that grows from cycle to cycle: from before its first vCPU to well into its boot.
SCRIPT = r'''
cat > /run/cycle.cfg <<EOF
name = "cycle"
kernel = "/usr/share/corbel/demo/vmlinux"
ramdisk = "/usr/share/corbel/demo/initrd"
cmdline = "console=ttyS0 quiet"
memory = 96
vcpus = 2
vif = [ '' ]
EOF
cat > /run/cycle <<'EOF'
n=$1 made=0 died=0
while [ $n -gt 0 ]; do
	if [ $((n % 2)) = 0 ]; then
		corbel create /run/cycle.cfg >/dev/null && made=$((made + 1))
		usleep $((n * 5000))
		corbel destroy cycle >/dev/null || echo "destroy failed"
	else
		corbel create /run/cycle.cfg >/dev/null 2>&1 &
		tool=$!
		usleep $((n * 10000))
		for pid in $(pidof qemu-system-x86_64-microvm); do kill -9 $pid && died=$((died + 1)); done
		wait $tool
		for pid in $(pidof qemu-system-x86_64-microvm); do kill -9 $pid && died=$((died + 1)); done
		while pidof qemu-system-x86_64-microvm >/dev/null; do usleep 20000; done
	fi
	n=$((n - 1))
done
echo "made $made killed $died"
EOF
'''
KEYS = 'vms', 'vcpus', 'doorbells', 'pool_free_bytes'


def info(m):
    now = m.json('corbel info --json')
    return {k: now[k] for k in KEYS}


def available(m):
    """In KiB. Free pages that a CPU keeps for itself, 20 MB at times, are in zoneinfo alone."""
    return int(m.out_of("sync; echo 3 > /proc/sys/vm/drop_caches; awk '/MemAvailable/ {n += $2} /count:/ {n += 4 * $2} END {print n}' /proc/meminfo /proc/zoneinfo"))


def cycles():
    with Machine('100 cycles', script=SCRIPT, life=840) as m:
        m.prompt()
        before, free = info(m), available(m)
        out = m.out_of('sh /run/cycle 100', 190)
        note(f'{out.splitlines()[-1]}; {m.age():.0f} s')
        got = re.search(r'made (\d+) killed (\d+)', out)
        ok(got and int(got.group(1)) == 50, '50 guests are created and destroyed', out)
        ok(got and int(got.group(2)) >= 45, '50 VMMs are killed', out)
        ok('destroy failed' not in out, 'each corbel destroy succeeds', out)
        after = info(m)
        for key in KEYS:
            ok(before[key] == after[key], f'{key} is as before', f'{before[key]} before, {after[key]} after')
        lost = free - available(m)
        note(f'dom0 has {-lost} KiB more than before')
        ok(lost < 8192, 'dom0 has its memory back', f'{lost} KiB less than before')
        links = m.out_of('ls /sys/class/net')
        ok(not re.search(r'\bcorbel\d', links), 'no network interface of a guest is left', links)
        bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall"')[1]
        ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)


main(cycles)
