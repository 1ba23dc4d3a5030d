# SPDX-License-Identifier: GPL-2.0-only
"""Devices that dom0 gives to others by VFIO, for the tests of that."""
import re

from .report import need, ok

# Functions of dom0's shell; $1 is a device's address.
SCRIPT = r'''
give() { # to VFIO
	echo vfio-pci > /sys/bus/pci/devices/$1/driver_override
	[ -e /sys/bus/pci/devices/$1/driver ] && echo $1 > /sys/bus/pci/devices/$1/driver/unbind
	echo $1 > /sys/bus/pci/drivers_probe
	[ "$(basename $(readlink /sys/bus/pci/devices/$1/driver))" = vfio-pci ]
}
back() { # to its driver, if it has one
	echo $1 > /sys/bus/pci/devices/$1/driver/unbind
	echo > /sys/bus/pci/devices/$1/driver_override
	echo $1 > /sys/bus/pci/drivers_probe
}
pci() { # the address of the first one of this vendor and device, like 1B36:0010
	basename $(dirname $(grep -l "PCI_ID=$1" /sys/bus/pci/devices/*/uevent | head -n 1))
}
'''
# Of dom0/assigned.cpio, once it is unpacked. Ctrl-T c leads to QEMU's monitor and back.
QEMU = ('qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 256 -smp 2 -nodefaults -display none -no-reboot -serial mon:stdio -echr 0x14 '
        '-kernel /guest/vmlinuz -initrd /guest/initrd -append "console=ttyS0 quiet panic=-1"')
RUN = f"cat > /run/vfio.sh <<'EOF'{SCRIPT}EOF\n"  # of Machine(script=...)


def set_up(m):
    """With dom0/full.cpio and dom0-tests.cpio on the first two virtio disks: QEMU, programs, driver, functions."""
    m.prompt()
    m.out_of('cd / && cpio -idm < /dev/vda && mkdir -p /run/t && cd /run/t && cpio -id < /dev/vdb && cd', 60)
    status, out = m.sh('modprobe corbel_iommu && modprobe vfio_iommu_type1 && modprobe vfio_pci', 20)
    need(status == 0, f'{m.label}: the driver and VFIO are loaded', out + m.sh('dmesg | tail -n 5; corbel dmesg | tail -n 5')[1])
    m.out_of('. /run/vfio.sh')


def dom0_is_well(m, what):
    bad = m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall|Call Trace|corbel_iommu: .*(please report|does not let|not counted|could not)"')[1]
    ok(not bad.strip(), f'{m.label}: {what}: dom0\'s kernel log has no complaint', bad)


def given(m, device, name):
    need(m.sh(f'give {device}')[0] == 0, f'{m.label}: {name}: VFIO takes it', m.sh('dmesg | tail')[1])


def bypasses(m):
    """How many devices' interrupts, and irqfds that might take one, Linux' irqbypass knows, and modules that use it."""
    return int(m.out_of('cat /sys/module/irqbypass/refcnt'))


def watch_pairs(m):
    """From now on pairs() counts; bypasses() so far."""
    m.out_of('mount -t tracefs tracefs /sys/kernel/tracing 2> /dev/null; cd /sys/kernel/tracing && echo nop > current_tracer && '
             'echo add_producer del_producer > set_ftrace_filter && echo function > current_tracer; cd')
    return bypasses(m)


def pairs(m):
    """Of a device's interrupt and the irqfd that takes it, as irqbypass has brought them together: formed and parted by now."""
    seen = m.out_of('grep -o -w -E "(add|del)_producer" /sys/kernel/tracing/trace; true').split()
    return seen.count('add_producer'), seen.count('del_producer')


def none_is_left(m, what, before):
    formed, parted = pairs(m)
    ok(formed and formed == parted and bypasses(m) == before, f'{m.label}: {what}: of {formed} pairs of interrupt and irqfd none is left',
       (formed, parted, before, bypasses(m)))


def program(m, name, command, seconds=120, prompt='dom0# '):
    """tests/dom0/vfio.c says what it finds."""
    status, out = m.sh(command, seconds, prompt)
    for kind, what in re.findall(r'^(ok|not ok) - (.*?)\r*$', out, re.M):
        ok(kind == 'ok', f'{m.label}: {name}: {what}')
    ok(status == 0, f'{m.label}: {name}: the program says that all is well', out + m.sh('dmesg | tail -n 20', 10, prompt)[1])
