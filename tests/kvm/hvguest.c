/* SPDX-License-Identifier: GPL-2.0-only */
#include "hvguest.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* ---- a VM whose guest sees Hyper-V ---- */

struct hv_table hv_offered(int fd)
{
	struct hv_table t = {.head.nent = LEAVES};

	if (ioctl(fd, KVM_GET_SUPPORTED_HV_CPUID, &t))
		fatal("KVM_GET_SUPPORTED_HV_CPUID: errno %d", errno);
	return t;
}

struct kvm_cpuid_entry2 *hv_leaf(struct hv_table *t, u32 function)
{
	for (u32 i = 0; i < t->head.nent; i++)
		if (t->e[i].function == function)
			return &t->e[i];
	fatal("there is no leaf %x", function);
}

/* All that is offered, Hyper-V's leaves in the place of KVM's; of features only these. */
void hv_show(struct vm *vm, u32 cpu, u32 eax, u32 ebx, u32 edx, u32 hints, u32 spins)
{
	struct hv_table t = {.head.nent = LEAVES}, hv = hv_offered(kvm);
	u32 n = 0;

	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &t))
		fatal("KVM_GET_SUPPORTED_CPUID: errno %d", errno);
	for (u32 i = 0; i < t.head.nent; i++)
		if (t.e[i].function >> 28 != 4)
			t.e[n++] = t.e[i];
	hv_leaf(&hv, TLFS_LEAF_FEATURES)->eax &= eax;
	hv_leaf(&hv, TLFS_LEAF_FEATURES)->ebx &= ebx;
	hv_leaf(&hv, TLFS_LEAF_FEATURES)->edx &= edx;
	hv_leaf(&hv, TLFS_LEAF_HINTS)->eax &= hints;
	hv_leaf(&hv, TLFS_LEAF_HINTS)->ebx = spins;
	memcpy(t.e + n, hv.e, hv.head.nent * sizeof(hv.e[0]));
	t.head.nent = n + hv.head.nent;
	if (cpu_ioctl(vm, cpu, KVM_SET_CPUID2, &t))
		fatal("KVM_SET_CPUID2 with Hyper-V's leaves");
}

void hv_init(struct vm *vm, u32 vcpus)
{
	vm_init(vm, vcpus, VM_IRQCHIP);
	for (u32 i = 0; i < vcpus; i++)
		hv_show(vm, i, ~0u, ~0u, ~0u, ~0u, 0xfff);
}

int hv_enforce(struct vm *vm, u32 cpu)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_HYPERV_ENFORCE_CPUID, .args = {1}};

	return cpu_ioctl(vm, cpu, KVM_ENABLE_CAP, &cap);
}

u64 hv_get_msr(struct vm *vm, u32 cpu, u32 index)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = {.head.nmsrs = 1, .e = {.index = index}};

	if (cpu_ioctl(vm, cpu, KVM_GET_MSRS, &m) != 1)
		fatal("MSR %x cannot be read", index);
	return m.e.data;
}

/* ---- what the guest does; the last of what it says is the number of its faults ---- */

bool hv_ends(struct vm *vm, u32 cpu, u32 faults)
{
	enum end end = vm_run(vm, cpu, RUN_MS);

	if (end == END_DONE && vm->value_count && vm->values[vm->value_count - 1] == faults)
		return true;
	note("%s, exit %u, %u values: %x %x %x", end_names[end], vm->run[cpu]->exit_reason,
	     vm->value_count, vm->values[0], vm->values[1], vm->values[2]);
	return false;
}

u64 hv_said(const struct vm *vm)
{
	return vm->values[0] | (u64)vm->values[1] << 32;
}

void hv_begin(struct vm *vm, u32 cpu, const void *entry, u64 arg0, u64 arg1)
{
	vm->value_count = 0;
	cpu_setup(vm, cpu, MODE_LONG, entry, arg0, arg1);
}

bool hv_reads_on(struct vm *vm, u32 cpu, u32 msr, u64 *val)
{
	hv_begin(vm, cpu, pl_rdmsr, msr, 0);
	if (!hv_ends(vm, cpu, 0))
		return false;
	*val = hv_said(vm);
	return true;
}

u64 hv_reads(struct vm *vm, u32 msr)
{
	u64 val = 0;

	if (!hv_reads_on(vm, 0, msr, &val))
		note("MSR %x is not read", msr);
	return val;
}

bool hv_writes(struct vm *vm, u32 msr, u64 val)
{
	hv_begin(vm, 0, pl_wrmsr, msr, val);
	return hv_ends(vm, 0, 0);
}

bool hv_read_faults(struct vm *vm, u32 msr)
{
	hv_begin(vm, 0, pl_rdmsr, msr, 0);
	return hv_ends(vm, 0, 1);
}

bool hv_write_faults(struct vm *vm, u32 msr, u64 val)
{
	hv_begin(vm, 0, pl_wrmsr, msr, val);
	return hv_ends(vm, 0, 1);
}

void hv_set_call(struct vm *vm, u64 word, u64 input, u64 output)
{
	struct kvm_regs r;

	hv_begin(vm, 0, pl_hyperv, CALL_PAGE, 0);
	cpu_get_regs(vm, 0, &r);
	r.rcx = word;
	r.rdx = input;
	r.r8 = output;
	cpu_set_regs(vm, 0, &r);
}

u64 hv_calls(struct vm *vm, u64 word, u64 input, u64 output)
{
	hv_set_call(vm, word, input, output);
	return hv_ends(vm, 0, 0) ? hv_said(vm) : ~0ull;
}

/* A guest that has said who it is, and has its hypercall page. */
void hv_introduce(struct vm *vm)
{
	if (!hv_writes(vm, MSR_GUEST_OS_ID, LINUX_ID) ||
	    !hv_writes(vm, MSR_HV_HYPERCALL, CALL_PAGE | ON))
		fatal("the guest gets no hypercall page");
}

u64 hv_clock_now(struct vm *vm)
{
	struct kvm_clock_data c;

	if (vm_ioctl(vm, KVM_GET_CLOCK, &c))
		fatal("KVM_GET_CLOCK");
	return c.clock / 100;
}
