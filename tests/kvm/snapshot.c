/* SPDX-License-Identifier: GPL-2.0-only */
#include "snapshot.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define MSR_SYSTEM_TIME 0x4b564d01
#define CLOCK_PAGE	(DATA + 0x2000)

#define TRY_CPU(what, arg)                                                                         \
	do {                                                                                       \
		if (cpu_ioctl(vm, 0, what, arg))                                                   \
			return #what;                                                              \
	} while (0)
#define TRY_VM(what, arg)                                                                          \
	do {                                                                                       \
		if (vm_ioctl(vm, what, arg))                                                       \
			return #what;                                                              \
	} while (0)

void check_caps(int fd, const char *who, const struct cap *list)
{
	char missing[400] = "";

	for (; list->name; list++)
		if (ioctl(fd, KVM_CHECK_EXTENSION, (long)list->number) <= 0)
			snprintf(missing + strlen(missing), sizeof(missing) - strlen(missing),
				 " %s", list->name);
	ok(!*missing, "%s: every capability that it demands is there%s", who, missing);
}

static const char *take_msrs(struct vm *vm, struct snapshot *s)
{
	struct {
		struct kvm_msr_list head;
		u32 index[128];
	} l = {.head.nmsrs = 128};

	if (ioctl(kvm, KVM_GET_MSR_INDEX_LIST, &l))
		return "KVM_GET_MSR_INDEX_LIST";
	s->msrs.head.nmsrs = l.head.nmsrs;
	for (u32 i = 0; i < l.head.nmsrs; i++)
		s->msrs.entry[i].index = l.index[i];
	if (cpu_ioctl(vm, 0, KVM_GET_MSRS, &s->msrs) != (int)l.head.nmsrs)
		return "KVM_GET_MSRS of all that are listed";
	return NULL;
}

static const char *take_devices(struct vm *vm, u32 flags, struct snapshot *s)
{
	TRY_VM(KVM_GET_CLOCK, &s->clock);
	if (flags & VM_PIT)
		TRY_VM(KVM_GET_PIT2, &s->pit);
	for (u32 i = 0; i < KVM_NR_IRQCHIPS && flags & VM_IRQCHIP; i++) {
		s->chip[i].chip_id = i;
		TRY_VM(KVM_GET_IRQCHIP, &s->chip[i]);
	}
	return NULL;
}

const char *snapshot_take(struct vm *vm, u32 flags, struct snapshot *s)
{
	const char *bad;

	memset(s, 0, sizeof(*s));
	s->cpuid.head.nent = 128;
	TRY_CPU(KVM_GET_MP_STATE, &s->mp);
	TRY_CPU(KVM_GET_REGS, &s->regs);
	TRY_CPU(KVM_GET_SREGS, &s->sregs);
	TRY_CPU(KVM_GET_XSAVE, &s->xsave);
	TRY_CPU(KVM_GET_XCRS, &s->xcrs);
	TRY_CPU(KVM_GET_DEBUGREGS, &s->debugregs);
	TRY_CPU(KVM_GET_LAPIC, &s->lapic);
	TRY_CPU(KVM_GET_CPUID2, &s->cpuid);
	bad = take_msrs(vm, s);
	if (bad)
		return bad;
	TRY_CPU(KVM_GET_VCPU_EVENTS, &s->events);
	memcpy(s->ram, vm->ram, RAM_SIZE);
	return take_devices(vm, flags, s);
}

static const char *put_devices(struct vm *vm, u32 flags, struct snapshot *s)
{
	struct kvm_clock_data clock = s->clock;

	clock.flags = 0;
	if (flags & VM_PIT)
		TRY_VM(KVM_SET_PIT2, &s->pit);
	TRY_VM(KVM_SET_CLOCK, &clock);
	for (u32 i = 0; i < KVM_NR_IRQCHIPS && flags & VM_IRQCHIP; i++)
		TRY_VM(KVM_SET_IRQCHIP, &s->chip[i]);
	return NULL;
}

const char *snapshot_put(struct vm *vm, u32 flags, struct snapshot *s)
{
	memcpy(vm->ram, s->ram, RAM_SIZE);
	TRY_CPU(KVM_SET_CPUID2, &s->cpuid);
	TRY_CPU(KVM_SET_MP_STATE, &s->mp);
	TRY_CPU(KVM_SET_REGS, &s->regs);
	TRY_CPU(KVM_SET_SREGS, &s->sregs);
	TRY_CPU(KVM_SET_XSAVE, &s->xsave);
	TRY_CPU(KVM_SET_XCRS, &s->xcrs);
	TRY_CPU(KVM_SET_DEBUGREGS, &s->debugregs);
	TRY_CPU(KVM_SET_LAPIC, &s->lapic);
	if (cpu_ioctl(vm, 0, KVM_SET_MSRS, &s->msrs) != (int)s->msrs.head.nmsrs)
		return "KVM_SET_MSRS of all that are listed";
	TRY_CPU(KVM_SET_VCPU_EVENTS, &s->events);
	return put_devices(vm, flags, s);
}

#define SAME(field)                                                                                \
	do {                                                                                       \
		if (memcmp(&a->field, &b->field, sizeof(a->field)))                                \
			return #field;                                                             \
	} while (0)

const char *snapshot_differs(const struct snapshot *a, const struct snapshot *b)
{
	SAME(cpuid);
	SAME(regs);
	SAME(sregs);
	SAME(events);
	SAME(debugregs);
	SAME(lapic);
	SAME(xsave);
	SAME(xcrs);
	SAME(mp);
	SAME(chip);
	SAME(pit.channels[0].count);
	SAME(ram);
	return b->clock.clock >= a->clock.clock ? NULL : "clock";
}

/* The access in progress is completed, the guest is told that it stands still. */
static bool pause_vm(struct vm *vm)
{
	int r;

	vm->run[0]->immediate_exit = 1;
	r = cpu_ioctl(vm, 0, KVM_RUN, NULL);
	vm->run[0]->immediate_exit = 0;
	return r == -EINTR && !cpu_ioctl(vm, 0, KVM_KVMCLOCK_CTRL, NULL);
}

/* ---- XMM3, r13 and the LAPIC are what pl_snapshot finds again ---- */

static void check_goes_on(struct vm *vm, const char *who, bool (*wake)(struct vm *vm))
{
	bool told = vm->ram[CLOCK_PAGE + 29] & 2, woken = wake(vm);
	enum end end = vm_run(vm, 0, 5000);

	ok(told, "%s: the guest is told that it stood still", who);
	ok(woken && end == END_DONE && vm->value_count == 2 && vm->values[0] == 0x600dcafe &&
	       vm->values[1] == 1,
	   "%s: it goes on in the new VM, by an interrupt (%s, %u values: %x %u)", who,
	   end_names[end], vm->value_count, vm->values[0], vm->values[1]);
}

void check_snapshot(const char *who, u32 flags, bool (*wake)(struct vm *vm))
{
	struct snapshot *s = malloc(sizeof(*s)), *again = malloc(sizeof(*again));
	const char *bad;
	struct vm vm;

	if (!s || !again)
		fatal("no memory");
	vm_init(&vm, 1, flags);
	cpu_setup(&vm, 0, MODE_LONG, pl_snapshot, 0, 0);
	ok(cpu_ioctl(&vm, 0, KVM_KVMCLOCK_CTRL, NULL) == -EINVAL,
	   "%s: before there is a kvmclock KVM_KVMCLOCK_CTRL is EINVAL", who);
	set_msr(&vm, 0, MSR_SYSTEM_TIME, CLOCK_PAGE | 1);
	ok(vm_run(&vm, 0, 5000) == END_PAUSE && pause_vm(&vm), "%s: the guest is paused", who);
	bad = snapshot_take(&vm, flags, s);
	ok(!bad, "%s: a snapshot is taken %s", who, bad ? bad : "");
	vm_free(&vm);
	vm_init(&vm, 1, flags);
	bad = snapshot_put(&vm, flags, s);
	ok(!bad, "%s: it is put into a new VM %s", who, bad ? bad : "");
	bad = snapshot_take(&vm, flags, again);
	if (!bad)
		bad = snapshot_differs(s, again);
	ok(!bad, "%s: taken again it is the same %s", who, bad ? bad : "");
	check_goes_on(&vm, who, wake);
	vm_free(&vm);
	free(s), free(again);
}
