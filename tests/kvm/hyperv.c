/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a guest that takes its host for Hyper-V uses, as Windows does: MSRs, the pages that they
 * name, hypercalls; and what its VMM asks for. Microsoft's Hypervisor Top-Level Functional
 * Specification (TLFS), and Linux' Documentation/virt/kvm/api.rst.
 */
#define _GNU_SOURCE
#include "hvguest.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define TSC	 0x10
#define PV_EOI	 0x4b564d04
#define TSC_PAGE (DATA + 0x1000)
#define ASSIST	 (DATA + 0x2000)

/* ---- what the VMM sees ---- */

static void check_capabilities(void)
{
	static const u32 caps[] = {KVM_CAP_HYPERV,	     KVM_CAP_HYPERV_VAPIC,
				   KVM_CAP_HYPERV_SPIN,	     KVM_CAP_HYPERV_TIME,
				   KVM_CAP_HYPERV_VP_INDEX,  KVM_CAP_HYPERV_CPUID,
				   KVM_CAP_SYS_HYPERV_CPUID, KVM_CAP_HYPERV_ENFORCE_CPUID,
				   KVM_CAP_HYPERV_SEND_IPI,  KVM_CAP_HYPERV_TLBFLUSH};
	struct hv_table t = hv_offered(kvm), few = {.head.nent = t.head.nent - 1}, mine;
	struct kvm_enable_cap none = {.cap = KVM_CAP_HYPERV, .args = {1}};
	struct kvm_enable_cap evmcs = {.cap = KVM_CAP_HYPERV_ENLIGHTENED_VMCS,
				       .args = {(u64)&evmcs}};
	struct vm vm;
	bool all = true;

	vm_init(&vm, 1, VM_IRQCHIP);
	for (u32 i = 0; i < sizeof(caps) / sizeof(caps[0]); i++)
		all &= vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)(u64)caps[i]) == 1;
	ok(all, "Hyper-V: its capabilities are there");
	mine = hv_offered(vm.cpu_fd[0]);
	ok(mine.head.nent == t.head.nent && !memcmp(mine.e, t.e, sizeof(t.e)),
	   "Hyper-V: a vCPU is offered what /dev/kvm says");
	ok(hv_leaf(&t, TLFS_LEAF_MAX)->eax == t.e[t.head.nent - 1].function &&
	       !memcmp(&hv_leaf(&t, TLFS_LEAF_MAX)->ebx, "Microsoft Hv", 12) &&
	       hv_leaf(&t, TLFS_LEAF_HV)->eax == TLFS_HV1,
	   "Hyper-V: its leaves say so");
	ok(ioctl(kvm, KVM_GET_SUPPORTED_HV_CPUID, &few) < 0 && errno == E2BIG &&
	       cpu_ioctl(&vm, 0, KVM_GET_SUPPORTED_HV_CPUID, NULL) == -EFAULT,
	   "Hyper-V: a table that is too small is E2BIG, none EFAULT");
	ok(cpu_ioctl(&vm, 0, KVM_ENABLE_CAP, &none) == -EINVAL,
	   "Hyper-V: what cannot be enabled is EINVAL");
	if (!vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_HYPERV_ENLIGHTENED_VMCS))
		ok(cpu_ioctl(&vm, 0, KVM_ENABLE_CAP, &evmcs) == -ENOTTY &&
		       !(hv_leaf(&t, TLFS_LEAF_NESTED)->eax & ~TLFS_HAS_MSR_BITMAP),
		   "Hyper-V: nor are enlightened VMCSs where no guest has VMX");
	vm_free(&vm);
}

/* VMMs save and restore what the list has, also of guests that see nothing of it. */
static void check_list(void)
{
	struct {
		struct kvm_msr_list head;
		u32 index[300];
	} list = {.head.nmsrs = 300};
	u32 hv = 0, bad = 0;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	if (ioctl(kvm, KVM_GET_MSR_INDEX_LIST, &list))
		fatal("KVM_GET_MSR_INDEX_LIST: errno %d", errno);
	for (u32 i = 0; i < list.head.nmsrs; i++) {
		u32 index = list.index[i];

		if (!tlfs_has_msr(index))
			continue;
		hv++;
		if (set_msr(&vm, 0, index, hv_get_msr(&vm, 0, index)) != 1 && ++bad)
			note("MSR %x cannot be put back", index);
	}
	ok(hv >= 19 && !bad, "Hyper-V: %u MSRs are in the list, and can be put back as they are",
	   hv);
	ok(set_msr(&vm, 0, TLFS_MSRS + 5, 0) == 0 && set_msr(&vm, 0, TLFS_MSRS + 0x1ff, 0) == 0,
	   "Hyper-V: MSRs that it has not are none");
	ok(hv_read_faults(&vm, MSR_GUEST_OS_ID) &&
	       hv_write_faults(&vm, MSR_GUEST_OS_ID, LINUX_ID) &&
	       hv_read_faults(&vm, MSR_TIME_REF_COUNT) && hv_write_faults(&vm, MSR_HV_TPR, 0),
	   "Hyper-V: a guest that does not see it has none of its MSRs");
	vm_free(&vm);
}

/* ---- hypercalls ---- */

static void check_calls(struct vm *vm)
{
	const u8 *page = vm->ram + CALL_PAGE;

	ok(!hv_reads(vm, MSR_GUEST_OS_ID) && hv_writes(vm, MSR_HV_HYPERCALL, CALL_PAGE | ON) &&
	       !hv_reads(vm, MSR_HV_HYPERCALL) && !page[0],
	   "Hyper-V: a guest that has not said who it is gets no hypercall page");
	ok(hv_writes(vm, MSR_GUEST_OS_ID, LINUX_ID) && hv_reads(vm, MSR_GUEST_OS_ID) == LINUX_ID &&
	       hv_writes(vm, MSR_HV_HYPERCALL, CALL_PAGE | ON) &&
	       hv_reads(vm, MSR_HV_HYPERCALL) == (CALL_PAGE | ON),
	   "Hyper-V: one that has gets it");
	ok(page[0] == 0x0f && page[1] == 0x01 && page[3] == 0xc3,
	   "Hyper-V: where it wants to have it");
	ok(hv_calls(vm, CALL_SPIN_WAIT, 1, 0) == TLFS_SUCCESS,
	   "Hyper-V: a vCPU says that it spins");
	ok(hv_calls(vm, 0xbeef, 0, 0) == TLFS_INVALID_CODE, "Hyper-V: an unknown call is told so");
	ok(hv_calls(vm, CALL_SPIN_WAIT | 1ull << 27, 0, 0) == TLFS_INVALID_INPUT &&
	       hv_calls(vm, CALL_SPIN_WAIT | 1ull << 63, 0, 0) == TLFS_INVALID_INPUT &&
	       hv_calls(vm, CALL_SPIN_WAIT | 1ull << 17, 0, 0) == TLFS_INVALID_INPUT &&
	       hv_calls(vm, CALL_SPIN_WAIT | 1ull << 32, 0, 0) == TLFS_INVALID_INPUT,
	   "Hyper-V: as are reserved bits, and lists where none is expected");
	ok(hv_write_faults(vm, MSR_HV_HYPERCALL, NOWHERE | ON) &&
	       hv_write_faults(vm, MSR_HV_HYPERCALL, ~0xffeull) &&
	       hv_reads(vm, MSR_HV_HYPERCALL) == (CALL_PAGE | ON),
	   "Hyper-V: a page where there is no memory is #GP");
	ok(hv_writes(vm, MSR_GUEST_OS_ID, 0) && hv_reads(vm, MSR_HV_HYPERCALL) == CALL_PAGE &&
	       hv_calls(vm, 0xbeef, 0, 0) != TLFS_INVALID_CODE,
	   "Hyper-V: without a name its hypercalls end");
}

/* ---- time ---- */

static u64 page_time(struct vm *vm)
{
	const struct tlfs_tsc_page *p = (const void *)(vm->ram + TSC_PAGE);
	u64 tsc = hv_get_msr(vm, 0, TSC);

	return (u64)((unsigned __int128)tsc * p->scale >> 64) + p->offset;
}

static void set_clock(struct vm *vm, u64 ns)
{
	struct kvm_clock_data c = {.clock = ns};

	if (vm_ioctl(vm, KVM_SET_CLOCK, &c))
		fatal("KVM_SET_CLOCK");
}

/* It lies between two looks at KVM's clock, give or take 10 us. */
static bool is_now(struct vm *vm, u64 (*look)(struct vm *vm))
{
	u64 before = hv_clock_now(vm), is = look(vm), after = hv_clock_now(vm);

	if (is + 100 >= before && is <= after + 100)
		return true;
	note("%lu is not between %lu and %lu", is, before, after);
	return false;
}

static u64 counter(struct vm *vm)
{
	return hv_reads(vm, MSR_TIME_REF_COUNT);
}

static void check_time(struct vm *vm)
{
	volatile struct tlfs_tsc_page *p = (void *)(vm->ram + TSC_PAGE);
	u32 sequence;
	s64 offset;

	ok(is_now(vm, counter), "Hyper-V: its reference time is kvmclock's");
	ok(hv_writes(vm, MSR_REFERENCE_TSC, TSC_PAGE) && !p->sequence && !p->scale,
	   "Hyper-V: a page that is not switched on is not touched");
	ok(hv_writes(vm, MSR_REFERENCE_TSC, TSC_PAGE | ON) && p->sequence && p->scale &&
	       hv_reads(vm, MSR_REFERENCE_TSC) == (TSC_PAGE | ON),
	   "Hyper-V: one that is says how time follows from the TSC");
	ok(is_now(vm, page_time) && is_now(vm, counter), "Hyper-V: page and MSR agree");
	sequence = p->sequence;
	set_clock(vm, 5000000000);
	ok(is_now(vm, counter) && p->sequence != sequence && is_now(vm, page_time),
	   "Hyper-V: a new clock is in the page when the guest runs");
	sequence = p->sequence;
	ok(set_msr(vm, 0, TSC, 1ull << 40) == 1 && is_now(vm, counter) && p->sequence != sequence &&
	       is_now(vm, page_time),
	   "Hyper-V: so is a new TSC");
	p->sequence = ~0u - 1;
	set_clock(vm, 1000000000);
	ok(is_now(vm, counter) && p->sequence == 1, "Hyper-V: its sequence passes what is none");
	offset = p->offset;
	ok(hv_writes(vm, MSR_REENLIGHTENMENT, 0x100ff) && hv_writes(vm, MSR_TSC_EMULATION, 1) &&
	       hv_reads(vm, MSR_REENLIGHTENMENT) == 0x100ff && hv_reads(vm, MSR_TSC_EMULATION) == 1,
	   "Hyper-V: a guest wants to hear of migrations");
	set_clock(vm, 77000000000);
	ok(counter(vm) < 770000000 && p->sequence == 1 && p->offset == offset,
	   "Hyper-V: and keeps its time until it is ready");
	ok(hv_writes(vm, MSR_TSC_EMULATION, 0) && hv_write_faults(vm, MSR_TSC_EMULATED, 1) &&
	       hv_writes(vm, MSR_TSC_EMULATED, 0),
	   "Hyper-V: which it says");
	set_clock(vm, 88000000000);
	ok(is_now(vm, counter) && p->offset != offset, "Hyper-V: then it has the new one");
	ok(hv_writes(vm, MSR_REFERENCE_TSC, NOWHERE | ON) && is_now(vm, counter),
	   "Hyper-V: a page where there is no memory is the guest's mistake; the MSR still counts");
	ok(hv_write_faults(vm, MSR_TIME_REF_COUNT, 1) &&
	       hv_write_faults(vm, MSR_TSC_FREQUENCY, 1) &&
	       hv_write_faults(vm, MSR_APIC_FREQUENCY, 1) && hv_write_faults(vm, MSR_VP_RUNTIME, 1),
	   "Hyper-V: what is to be read only is not written");
	ok(hv_reads(vm, MSR_TSC_FREQUENCY) ==
		   1000ull * (u32)cpu_ioctl(vm, 0, KVM_GET_TSC_KHZ, NULL) &&
	       hv_reads(vm, MSR_APIC_FREQUENCY) == 1000000000,
	   "Hyper-V: it knows its clocks' frequencies");
}

static void check_runtime(struct vm *vm)
{
	u64 first = hv_reads(vm, MSR_VP_RUNTIME), second = hv_reads(vm, MSR_VP_RUNTIME);

	ok(second >= first && second - first < 10000000ull * RUN_MS / 1000,
	   "Hyper-V: a vCPU knows how long it has run");
	ok(set_msr(vm, 0, MSR_VP_RUNTIME, 1ull << 50) == 1 &&
	       hv_reads(vm, MSR_VP_RUNTIME) - (1ull << 50) < 10000000ull * RUN_MS / 1000,
	   "Hyper-V: and goes on from what its VMM has restored");
}

/* ---- local APIC ---- */

static struct kvm_lapic_state lapic(struct vm *vm)
{
	struct kvm_lapic_state l;

	if (cpu_ioctl(vm, 0, KVM_GET_LAPIC, &l))
		fatal("KVM_GET_LAPIC");
	return l;
}

static u32 *lapic_reg(struct kvm_lapic_state *l, u32 offset)
{
	return (u32 *)(l->regs + offset);
}

#define SVR	    0xf0
#define TPR	    0x80
#define ISR2	    0x120 /* vectors from 0x40 on */
#define IRR2	    0x220
#define ICR	    0x40000071
#define X2APIC_BASE 0xfee00d00
#define XAPIC_BASE  0xfee00900

static void check_lapic_in(struct vm *vm, const char *mode)
{
	struct kvm_lapic_state l = lapic(vm);

	*lapic_reg(&l, SVR) = 0x1ff;
	*lapic_reg(&l, ISR2) = 2;
	*lapic_reg(&l, IRR2) = 0;
	cpu_ioctl(vm, 0, KVM_SET_LAPIC, &l);
	ok(hv_writes(vm, MSR_HV_TPR, 0x60) && hv_reads(vm, MSR_HV_TPR) == 0x60,
	   "Hyper-V: TPR by MSR, %s", mode);
	l = lapic(vm);
	ok(*lapic_reg(&l, TPR) == 0x60, "Hyper-V: it is the LAPIC's");
	ok(hv_writes(vm, ICR, 0x4045) && hv_reads(vm, ICR) == 0x4045, "Hyper-V: ICR by MSR, %s",
	   mode);
	l = lapic(vm);
	ok(*lapic_reg(&l, IRR2) == 1u << 5, "Hyper-V: it has sent the interrupt");
	ok(hv_writes(vm, MSR_HV_EOI, 5) && hv_read_faults(vm, MSR_HV_EOI),
	   "Hyper-V: EOI by MSR, %s", mode);
	l = lapic(vm);
	ok(!*lapic_reg(&l, ISR2), "Hyper-V: nothing is in service any more");
	hv_writes(vm, MSR_HV_TPR, 0);
}

static void check_assist(struct vm *vm)
{
	u32 *word = (u32 *)(vm->ram + ASSIST);

	word[0] = 7;
	word[1] = 8;
	ok(hv_writes(vm, MSR_VP_ASSIST_PAGE, ASSIST | ON) &&
	       hv_reads(vm, MSR_VP_ASSIST_PAGE) == (ASSIST | ON) && !word[0] && word[1] == 8,
	   "Hyper-V: an assist page, of which the first word is cleared");
	ok(hv_get_msr(vm, 0, PV_EOI) == (ASSIST | 1), "Hyper-V: that says when no EOI is needed");
	ok(hv_write_faults(vm, MSR_VP_ASSIST_PAGE, NOWHERE | ON) &&
	       hv_reads(vm, MSR_VP_ASSIST_PAGE) == (ASSIST | ON),
	   "Hyper-V: where there is no memory it is #GP");
	ok(hv_writes(vm, MSR_VP_ASSIST_PAGE, 0) && !hv_get_msr(vm, 0, PV_EOI),
	   "Hyper-V: it can be switched off");
}

static void check_lapic(struct vm *vm)
{
	check_lapic_in(vm, "xAPIC");
	if (set_msr(vm, 0, 0x1b, X2APIC_BASE) != 1)
		fatal("x2APIC mode");
	check_lapic_in(vm, "x2APIC");
	ok(hv_write_faults(vm, MSR_HV_TPR, 0x100) && hv_write_faults(vm, ICR, 1u << 13),
	   "Hyper-V: reserved bits are #GP there");
	set_msr(vm, 0, 0x1b, XAPIC_BASE & ~0x800);
	ok(hv_write_faults(vm, MSR_HV_EOI, 0) && hv_read_faults(vm, MSR_HV_TPR),
	   "Hyper-V: a LAPIC that is off has no MSRs");
	set_msr(vm, 0, 0x1b, XAPIC_BASE);
	check_assist(vm);
}

/* ---- the rest ---- */

static bool stops_for(struct vm *vm, u32 msr, u64 val, u32 event)
{
	struct kvm_run *run = vm->run[0];
	enum end end;

	hv_begin(vm, 0, pl_wrmsr, msr, val);
	end = vm_run(vm, 0, RUN_MS);
	if (end == END_OTHER && run->exit_reason == KVM_EXIT_SYSTEM_EVENT &&
	    run->system_event.type == event)
		return hv_ends(vm, 0, 0);
	note("%s, exit %u", end_names[end], run->exit_reason);
	return false;
}

static void check_events(struct vm *vm)
{
	bool kept = true;

	for (u32 i = 0; i < TLFS_CRASH_PARAMETERS; i++)
		kept &= hv_writes(vm, MSR_CRASH_P0 + i, 100 + i);
	for (u32 i = 0; i < TLFS_CRASH_PARAMETERS; i++)
		kept &= hv_get_msr(vm, 0, MSR_CRASH_P0 + i) == 100 + i;
	ok(kept, "Hyper-V: what a guest has crashed of is the VMM's to read");
	ok(set_msr(vm, 0, MSR_CRASH_CTL, TLFS_CRASH_NOTIFY | 5) == 1 &&
	       hv_reads(vm, MSR_CRASH_CTL) == TLFS_CRASH_NOTIFY &&
	       hv_writes(vm, MSR_CRASH_CTL, 1) &&
	       stops_for(vm, MSR_CRASH_CTL, TLFS_CRASH_NOTIFY, KVM_SYSTEM_EVENT_CRASH),
	   "Hyper-V: and told to it");
	ok(!hv_reads(vm, MSR_HV_RESET) && hv_writes(vm, MSR_HV_RESET, 2) &&
	       stops_for(vm, MSR_HV_RESET, 1, KVM_SYSTEM_EVENT_RESET),
	   "Hyper-V: a guest resets itself");
}

static void check_index(void)
{
	struct vm vm;
	u64 val = 0;

	hv_init(&vm, 2);
	ok(!hv_reads(&vm, MSR_VP_INDEX) && hv_reads_on(&vm, 1, MSR_VP_INDEX, &val) && val == 1,
	   "Hyper-V: vCPUs have their numbers");
	ok(set_msr(&vm, 1, MSR_VP_INDEX, 7) == 1 && hv_reads_on(&vm, 1, MSR_VP_INDEX, &val) &&
	       val == 7 && set_msr(&vm, 1, MSR_VP_INDEX, 1024) == 0 &&
	       hv_write_faults(&vm, MSR_VP_INDEX, 0),
	   "Hyper-V: which the VMM may change, and the guest may not");
	ok(hv_writes(&vm, MSR_GUEST_OS_ID, LINUX_ID) &&
	       hv_reads_on(&vm, 1, MSR_GUEST_OS_ID, &val) && val == LINUX_ID,
	   "Hyper-V: the guest is one on all of them");
	vm_free(&vm);
}

static void check_rights(void)
{
	static const u32 denied[] = {MSR_GUEST_OS_ID,
				     MSR_HV_HYPERCALL,
				     MSR_VP_INDEX,
				     MSR_HV_RESET,
				     MSR_VP_RUNTIME,
				     MSR_TIME_REF_COUNT,
				     MSR_REFERENCE_TSC,
				     MSR_TSC_FREQUENCY,
				     MSR_APIC_FREQUENCY,
				     MSR_HV_TPR,
				     ICR,
				     MSR_VP_ASSIST_PAGE,
				     MSR_CRASH_P0,
				     MSR_REENLIGHTENMENT,
				     MSR_TSC_EMULATION};
	struct kvm_enable_cap see = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
				     .args = {KVM_MSR_EXIT_REASON_INVAL}};
	bool none = true;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	hv_show(&vm, 0, 0, 0, 0, 0, TLFS_NO_SPINS);
	ok(!hv_reads(&vm, MSR_HV_RESET) && hv_writes(&vm, MSR_HV_TPR, 0),
	   "Hyper-V: a guest may try what it is not shown");
	ok(!hv_enforce(&vm, 0), "Hyper-V: unless its VMM does not want that");
	for (u32 i = 0; i < sizeof(denied) / sizeof(denied[0]); i++)
		none &= hv_read_faults(&vm, denied[i]) && hv_write_faults(&vm, denied[i], 0);
	ok(none, "Hyper-V: then it is #GP, MSR by MSR");
	vm_ioctl(&vm, KVM_ENABLE_CAP, &see);
	hv_begin(&vm, 0, pl_wrmsr, MSR_GUEST_OS_ID, 9);
	ok(vm_run(&vm, 0, RUN_MS) == END_OTHER && vm.run[0]->exit_reason == KVM_EXIT_X86_WRMSR &&
	       vm.run[0]->msr.reason == KVM_MSR_EXIT_REASON_INVAL &&
	       vm.run[0]->msr.index == MSR_GUEST_OS_ID && vm.run[0]->msr.data == 9,
	   "Hyper-V: and so told to a VMM that wants to see it");
	vm_free(&vm);

	vm_init(&vm, 1, VM_IRQCHIP);
	hv_show(&vm, 0, TLFS_MSR_HYPERCALL, 0, 0, 0, TLFS_NO_SPINS);
	hv_enforce(&vm, 0);
	hv_introduce(&vm);
	ok(hv_calls(&vm, CALL_SPIN_WAIT, 0, 0) == TLFS_ACCESS_DENIED &&
	       hv_calls(&vm, CALL_SEND_IPI, 0, 0) == TLFS_ACCESS_DENIED &&
	       hv_calls(&vm, CALL_FLUSH_EX, 0, 0) == TLFS_ACCESS_DENIED &&
	       hv_calls(&vm, 0xbeef, 0, 0) == TLFS_INVALID_CODE &&
	       hv_read_faults(&vm, MSR_VP_INDEX),
	   "Hyper-V: the same holds for hypercalls");
	vm_free(&vm);
}

/* ---- hypercalls that reach other vCPUs ---- */

#define INPUT (DATA + 0x3000)
#define FAST  TLFS_CALL_FAST

static u32 requested(struct vm *vm, u32 cpu) /* of vectors 0x40 to 0x5f */
{
	struct kvm_lapic_state l;

	if (cpu_ioctl(vm, cpu, KVM_GET_LAPIC, &l))
		fatal("KVM_GET_LAPIC");
	return *lapic_reg(&l, IRR2);
}

static u64 input_call(struct vm *vm, u64 word, const u64 *input, u32 words)
{
	memcpy(vm->ram + INPUT, input, words * sizeof(*input));
	return hv_calls(vm, word, INPUT, 0);
}

/* Input in registers, as far as XMM5 */
static u64 xmm_call(struct vm *vm, u64 word, const u64 *input, u32 words)
{
	struct kvm_fpu f;

	if (cpu_ioctl(vm, 0, KVM_GET_FPU, &f))
		fatal("KVM_GET_FPU");
	memset(f.xmm, 0, sizeof(f.xmm));
	memcpy(f.xmm, input + 2, (words - 2) * sizeof(*input));
	if (cpu_ioctl(vm, 0, KVM_SET_FPU, &f))
		fatal("KVM_SET_FPU");
	return hv_calls(vm, word, input[0], input[1]);
}

static void check_fast_ipis(struct vm *vm)
{
	const u64 set[] = {0x45, TLFS_SET_SPARSE, 1, 2}, all[] = {0x46, TLFS_SET_ALL, 0},
		  /* twelve banks: the last one would be in XMM6 */
	    large[15] = {0x47, TLFS_SET_SPARSE, 1 | 0x7ff0000, 2},
		  wide[15] = {0x49, TLFS_SET_SPARSE, 0xfff, 2},
		  most[] = {0x48, TLFS_SET_SPARSE, 0xe, 1, 1, 1};
	u32 before[] = {requested(vm, 0), requested(vm, 1)};

	ok(xmm_call(vm, CALL_SEND_IPI_EX | FAST | 1ull << 17, set, 4) == TLFS_SUCCESS &&
	       requested(vm, 1) == (before[1] | 0x20) && requested(vm, 0) == before[0],
	   "Hyper-V: an IPI to a set that is in registers");
	ok(xmm_call(vm, CALL_SEND_IPI_EX | FAST, all, 3) == TLFS_SUCCESS &&
	       requested(vm, 1) == (before[1] | 0x60) && requested(vm, 0) == (before[0] | 0x40),
	   "Hyper-V: or to all");
	ok(xmm_call(vm, CALL_SEND_IPI_EX | FAST | 12ull << 17, large, 15) == TLFS_SUCCESS &&
	       requested(vm, 1) == (before[1] | 0xe0),
	   "Hyper-V: banks of no vCPU are not looked at");
	ok(xmm_call(vm, CALL_SEND_IPI_EX | FAST | 12ull << 17, wide, 15) == TLFS_INVALID_INPUT &&
	       requested(vm, 1) == (before[1] | 0xe0),
	   "Hyper-V: those of vCPUs there can be have to be in the registers");
	ok(xmm_call(vm, CALL_SEND_IPI_EX | FAST | 3ull << 17, most, 6) == TLFS_SUCCESS &&
	       requested(vm, 1) == (before[1] | 0xe0),
	   "Hyper-V: nor those of vCPUs that are not there");
}

/* What a guest outside SMM names with a bit of the module's own is no memory of its. */
static void check_smram(struct vm *vm, u32 before)
{
	const u64 at = 0x40000000, ipi[] = {0x48, 2};
	u64 *smram = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region r = {.slot = 1 << 16 | 5,
						.guest_phys_addr = at,
						.memory_size = 4096,
						.userspace_addr = (u64)smram};

	if (smram == MAP_FAILED || vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r))
		fatal("SMRAM");
	memcpy(smram, ipi, sizeof(ipi));
	ok(hv_calls(vm, CALL_SEND_IPI, 1ull << 52 | at, 0) == TLFS_INVALID_INPUT &&
	       hv_calls(vm, CALL_SEND_IPI, at, 0) == TLFS_INVALID_INPUT &&
	       requested(vm, 1) == before,
	   "Hyper-V: a call's input is not read out of SMRAM");
	r.memory_size = 0;
	vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r);
	munmap(smram, 4096);
}

static void check_ipis(struct vm *vm)
{
	const u64 one[] = {0x41, 2}, set[] = {0x42, TLFS_SET_SPARSE, 1, 2},
		  all[] = {0x43, TLFS_SET_ALL, 0}, far[] = {0x44, TLFS_SET_SPARSE, 2, 2},
		  bad[] = {0x44, 2, 1, 2}, low[] = {0xf, TLFS_SET_ALL, 0},
		  high[] = {0x144, TLFS_SET_ALL, 0};

	ok(hv_calls(vm, CALL_SEND_IPI | FAST, 0x40, 2) == TLFS_SUCCESS && requested(vm, 1) == 1 &&
	       !requested(vm, 0),
	   "Hyper-V: an IPI by registers");
	ok(input_call(vm, CALL_SEND_IPI, one, 2) == TLFS_SUCCESS && requested(vm, 1) == 3 &&
	       !requested(vm, 0),
	   "Hyper-V: one by memory");
	ok(input_call(vm, CALL_SEND_IPI_EX | 1ull << 17, set, 4) == TLFS_SUCCESS &&
	       requested(vm, 1) == 7 && !requested(vm, 0),
	   "Hyper-V: one to a set of vCPUs");
	ok(input_call(vm, CALL_SEND_IPI_EX, all, 3) == TLFS_SUCCESS && requested(vm, 1) == 15 &&
	       requested(vm, 0) == 8,
	   "Hyper-V: one to all");
	ok(input_call(vm, CALL_SEND_IPI_EX | 1ull << 17, far, 4) == TLFS_SUCCESS &&
	       hv_calls(vm, CALL_SEND_IPI | FAST, 0x44, 0) == TLFS_SUCCESS &&
	       requested(vm, 1) == 15 && requested(vm, 0) == 8,
	   "Hyper-V: one to none, and to some that are not there");
	ok(input_call(vm, CALL_SEND_IPI_EX, set, 4) == TLFS_INVALID_INPUT &&
	       input_call(vm, CALL_SEND_IPI_EX | 2ull << 17, set, 4) == TLFS_INVALID_INPUT &&
	       input_call(vm, CALL_SEND_IPI_EX | 1ull << 17, bad, 4) == TLFS_INVALID_INPUT &&
	       input_call(vm, CALL_SEND_IPI_EX, low, 3) == TLFS_INVALID_INPUT &&
	       input_call(vm, CALL_SEND_IPI_EX, high, 3) == TLFS_INVALID_INPUT &&
	       hv_calls(vm, CALL_SEND_IPI, NOWHERE, 0) == TLFS_INVALID_INPUT &&
	       hv_calls(vm, CALL_SEND_IPI_EX, NOWHERE, 0) == TLFS_INVALID_INPUT &&
	       hv_calls(vm, CALL_SEND_IPI | FAST, 0x100000044, 2) == TLFS_SUCCESS,
	   "Hyper-V: wrong counts, sets, vectors and addresses are refused");
	check_fast_ipis(vm);
	check_smram(vm, requested(vm, 1));
}

static void check_flushes(struct vm *vm)
{
	const u64 one[] = {0, 3, 0}, set[] = {0, 0, TLFS_SET_SPARSE, 1, 2, 0x1000};
	const u64 list = 1ull << 32;

	ok(input_call(vm, CALL_FLUSH, one, 3) == TLFS_SUCCESS &&
	       input_call(vm, CALL_FLUSH_LIST | list, one, 3) == list &&
	       input_call(vm, CALL_FLUSH_EX | 1ull << 17, set, 6) == TLFS_SUCCESS &&
	       input_call(vm, CALL_FLUSH_LIST_EX | list | 1ull << 17, set, 6) == list,
	   "Hyper-V: TLBs are flushed by all four calls");
	ok(input_call(vm, CALL_FLUSH_LIST, one, 3) == TLFS_INVALID_INPUT &&
	       input_call(vm, CALL_FLUSH | list, one, 3) == TLFS_INVALID_INPUT &&
	       input_call(vm, CALL_FLUSH_EX, set, 6) == TLFS_INVALID_INPUT &&
	       hv_calls(vm, CALL_FLUSH, NOWHERE, 0) == TLFS_INVALID_INPUT &&
	       xmm_call(vm, CALL_FLUSH_EX | FAST | 2ull << 17, set, 6) == TLFS_INVALID_INPUT,
	   "Hyper-V: wrong counts and addresses are refused");
	ok(xmm_call(vm, CALL_FLUSH | FAST, one, 3) == TLFS_SUCCESS &&
	       xmm_call(vm, CALL_FLUSH_LIST | FAST | list, one, 3) == list &&
	       xmm_call(vm, CALL_FLUSH_EX | FAST | 1ull << 17, set, 6) == TLFS_SUCCESS &&
	       xmm_call(vm, CALL_FLUSH_LIST_EX | FAST | list | 1ull << 17, set, 6) == list,
	   "Hyper-V: TLBs are flushed by registers as well");
}

static void check_others(void)
{
	struct kvm_lapic_state l;
	struct vm vm;

	hv_init(&vm, 2);
	for (u32 i = 0; i < 2; i++) {
		if (cpu_ioctl(&vm, i, KVM_GET_LAPIC, &l))
			fatal("KVM_GET_LAPIC");
		*lapic_reg(&l, SVR) = 0x1ff;
		cpu_ioctl(&vm, i, KVM_SET_LAPIC, &l);
	}
	hv_introduce(&vm);
	check_ipis(&vm);
	check_flushes(&vm);
	vm_free(&vm);
}

/* Another VM goes on with the memory and the MSRs of the first. */
static void check_migration(void)
{
	static const u32 moved[] = {MSR_GUEST_OS_ID, MSR_HV_HYPERCALL,	  MSR_VP_ASSIST_PAGE,
				    MSR_CRASH_P0,    MSR_REENLIGHTENMENT, MSR_REFERENCE_TSC};
	struct vm from, to;
	bool fine = true;
	u64 clock;

	hv_init(&from, 1);
	hv_introduce(&from);
	hv_writes(&from, MSR_REFERENCE_TSC, TSC_PAGE | ON);
	hv_writes(&from, MSR_VP_ASSIST_PAGE, ASSIST | ON);
	hv_init(&to, 1);
	for (u32 i = 0; i < sizeof(moved) / sizeof(moved[0]); i++)
		fine &= set_msr(&to, 0, moved[i], hv_get_msr(&from, 0, moved[i])) == 1;
	memcpy(to.ram + DATA, from.ram + DATA, 0x3000);
	clock = hv_clock_now(&from);
	set_clock(&to, clock * 100);
	ok(fine && hv_calls(&to, CALL_SPIN_WAIT, 0, 0) == TLFS_SUCCESS && is_now(&to, counter) &&
	       is_now(&to, page_time) && counter(&to) >= clock,
	   "Hyper-V: a guest that has moved has its hypercalls, and its time goes on");
	vm_free(&from);
	vm_free(&to);
}

int main(void)
{
	struct vm vm;

	open_kvm();
	check_capabilities();
	check_list();
	hv_init(&vm, 1);
	check_calls(&vm);
	check_time(&vm);
	check_runtime(&vm);
	check_lapic(&vm);
	check_events(&vm);
	vm_free(&vm);
	check_index();
	check_others();
	check_rights();
	check_migration();
	return failures != 0;
}
