/*
 * links: hv/guest/hyperv.c
 */
/* SPDX-License-Identifier: GPL-2.0-only */
/* What the hypervisor itself does for guests of corbel.ko's Hyper-V. */
#include "hv/guest/hyperv.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/insn.h"
#include "hv/guest/inject.h"
#include "hv/guest/lapic_regs.h"
#include "test.h"

#include <string.h>

#define ALL (CORBEL_HYPERV_TIME | CORBEL_HYPERV_MSRS | CORBEL_HYPERV_APIC | CORBEL_HYPERV_CALLS)

static u64 regs[HVM_NMI_MASK + 1], written[0x40];
static struct corbel_vcpu_page page;
static struct vcpu v;
static u8 injected;

static u64 fake_get(struct vcpu *vcpu, enum hvm_reg r)
{
	return regs[r];
}

static const struct hvm_ops ops = {.get = fake_get};
const struct hvm_ops *hvm = &ops;

u64 pv_clock_get(struct vm *vm)
{
	return 123456;
}

int lapic_write(struct vcpu *vcpu, u32 offset, u64 val)
{
	written[offset / 16] = val;
	return 0;
}

void vcpu_inject_exception(struct vcpu *vcpu, u8 vector, bool has_error, u32 error)
{
	injected = vector;
}

void vcpu_retire(struct vcpu *vcpu)
{
}

static void reset(u32 hyperv, u64 base)
{
	memset(written, 0xff, sizeof(written));
	v = (struct vcpu){
	    .services = hyperv,
	    .page = (void *)&page,
	    .lapic = {.present = true, .base = base, .tpr = 0x50, .icr = 0x700000031}};
	regs[HVM_CPL] = 0;
	regs[HVM_CR0] = CR0_PE;
	regs[HVM_MODE] = EMUL_64;
	injected = 0;
}

static void test_msrs(void)
{
	u64 val;

	reset(ALL, APIC_BASE_ENABLE);
	CHECK(!hyperv_msr_read(&v, MSR_HYPERV_TPR, &val) && val == 0x50 &&
		  !hyperv_msr_read(&v, MSR_HYPERV_ICR, &val) && val == 0x700000031 &&
		  hyperv_msr_read(&v, MSR_HYPERV_EOI, &val) == -EINVAL,
	      "TPR and ICR are read, EOI is not");
	CHECK(!hyperv_msr_read(&v, MSR_HYPERV_TIME, &val) && val == 1234 &&
		  hyperv_msr_write(&v, MSR_HYPERV_TIME, 0) == -ENOENT,
	      "the reference time is read in units of 100 ns");
	CHECK(!hyperv_msr_write(&v, MSR_HYPERV_ICR, 0x300000042) &&
		  written[APIC_ICR_HIGH / 16] == 3 && (u32)written[APIC_ICR / 16] == 0x42,
	      "an xAPIC's ICR is written in two parts");
	CHECK(!hyperv_msr_write(&v, MSR_HYPERV_EOI, 77) && !written[APIC_EOI / 16],
	      "any value is an EOI");
	reset(ALL, APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	CHECK(!hyperv_msr_write(&v, MSR_HYPERV_ICR, 0x300000042) &&
		  written[APIC_ICR / 16] == 0x300000042 && written[APIC_ICR_HIGH / 16] == ~0ull,
	      "an x2APIC's in one");
	CHECK(hyperv_msr_write(&v, MSR_HYPERV_EOI - 1, 0) == -ENOENT &&
		  hyperv_msr_write(&v, MSR_HYPERV_TPR + 1, 0) == -ENOENT &&
		  hyperv_msr_read(&v, MSR_HYPERV, &val) == -ENOENT,
	      "others are not served here");
	CHECK(module_has_msr(&v, MSR_HYPERV) && module_has_msr(&v, MSR_HYPERV + 0x1ff) &&
		  !module_has_msr(&v, MSR_HYPERV - 1) && !module_has_msr(&v, MSR_HYPERV + 0x200),
	      "but there may be more");
	reset(CORBEL_HYPERV_MSRS, APIC_BASE_ENABLE);
	CHECK(hyperv_msr_write(&v, MSR_HYPERV_TPR, 0) == -ENOENT &&
		  hyperv_msr_read(&v, MSR_HYPERV_TIME, &val) == -ENOENT &&
		  hyperv_msr_read(&v, MSR_HYPERV_TPR, &val) == -ENOENT,
	      "a guest that may not use them has none");
	reset(ALL, 0);
	CHECK(hyperv_msr_write(&v, MSR_HYPERV_EOI, 0) == -EINVAL &&
		  hyperv_msr_read(&v, MSR_HYPERV_ICR, &val) == -EINVAL,
	      "a LAPIC that is off has none");
	reset(0, APIC_BASE_ENABLE);
	CHECK(!module_has_msr(&v, MSR_HYPERV), "nor has a guest of another kind");
	CHECK(module_has_msr(&v, MSR_KVM_ASYNC_PF_EN) && module_has_msr(&v, MSR_KVM_ASYNC_PF_INT) &&
		  module_has_msr(&v, MSR_KVM_ASYNC_PF_ACK) &&
		  !module_has_msr(&v, MSR_KVM_ASYNC_PF_ACK + 1) &&
		  !module_has_msr(&v, MSR_KVM_POLL_CONTROL),
	      "which has what is for asynchronous page faults");
	v.page = NULL;
	CHECK(!module_has_msr(&v, MSR_KVM_ASYNC_PF_EN), "and dom0 has not");
}

static void test_calls(void)
{
	struct vm_exit x = {.reason = VMEXIT_HYPERCALL, .insn_len = 3};

	reset(ALL, 0);
	v.rip = 0x1000;
	hyperv_hypercall(&v, &x);
	CHECK(v.stop_reason == CORBEL_EXIT_HYPERCALL && page.hypercall.is_64 && v.rip == 0x1000 &&
		  v.complete,
	      "a hypercall stops the vCPU at its instruction");
	page.hypercall.result = 0x500000002;
	v.gpr[RDX] = 9;
	v.complete(&v);
	CHECK(v.rip == 0x1003 && v.gpr[RAX] == 0x500000002 && v.gpr[RDX] == 9,
	      "with the result it goes on");
	reset(ALL, 0);
	regs[HVM_MODE] = EMUL_32;
	hyperv_hypercall(&v, &x);
	CHECK(!page.hypercall.is_64, "the module knows the mode");
	v.complete(&v);
	CHECK(v.gpr[RAX] == 2 && v.gpr[RDX] == 5, "which has the result in two registers");
	reset(ALL, 0);
	regs[HVM_CPL] = 3;
	hyperv_hypercall(&v, &x);
	CHECK(injected == VEC_UD && !v.stop_reason, "user mode has no hypercalls");
	reset(ALL, 0);
	regs[HVM_CR0] = 0;
	hyperv_hypercall(&v, &x);
	CHECK(injected == VEC_UD && !v.stop_reason, "nor has real mode");
}

/* KVM_HC_MAP_GPA_RANGE, where its VMM wants it */
static bool asks_vmm(u64 nr)
{
	struct vm_exit x = {.reason = VMEXIT_HYPERCALL, .insn_len = 3};

	v.stop_reason = 0;
	v.complete = NULL;
	v.gpr[RAX] = nr;
	return hypercall_is_dom0s(&v, &x);
}

static void test_asked(void)
{
	reset(CORBEL_KVM_MAP_GPA_RANGE, 0);
	v.gpr[RDX] = 5;
	CHECK(!asks_vmm(11) && !asks_vmm(12ull | 1ull << 32) && !v.stop_reason,
	      "no other hypercall of KVM's is the VMM's");
	regs[HVM_CPL] = 3;
	CHECK(!asks_vmm(12), "nor one from user mode");
	regs[HVM_CPL] = 0;
	CHECK(asks_vmm(12) && v.stop_reason == CORBEL_EXIT_HYPERCALL && page.hypercall.is_64 &&
		  !v.rip && v.gpr[RAX] == 12,
	      "the VMM is asked, before the guest goes on");
	page.hypercall.result = ~0ull - 1;
	v.complete(&v);
	CHECK(v.gpr[RAX] == ~0ull - 1 && v.rip == 3, "and what it says is the guest's");
	regs[HVM_MODE] = EMUL_32;
	CHECK(asks_vmm(12ull | 1ull << 32) && !page.hypercall.is_64, "also from 32-bit mode");
	v.complete(&v);
	CHECK(v.gpr[RAX] == 0xfffffffe && v.gpr[RDX] == 5 && v.rip == 6, "in 32 bits");
	reset(0, 0);
	regs[HVM_CPL] = 3;
	CHECK(!asks_vmm(9) && !v.stop_reason, "no program asks for dom0's clock");
	regs[HVM_CPL] = 0;
	CHECK(asks_vmm(9) && v.stop_reason == CORBEL_EXIT_HYPERCALL, "a kernel does");
	v.page = NULL;
	CHECK(!asks_vmm(9) && !v.stop_reason, "but dom0's has it");
}

int main(void)
{
	test_asked();
	test_msrs();
	test_calls();
	return test_end();
}
