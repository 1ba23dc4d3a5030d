/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest with VMX for unit tests, which include this before those files of hv/vmx that access the
 * VMCS: that is an array of ours, the CPU is a function, and memory is real.
 */
#pragma once

#include "hv/cpu/irq.h"
#include "hv/cpu/spec.h"
#include "hv/emul/walk.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/cr.h"
#include "hv/guest/debug.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/linear.h"
#include "hv/guest/mmio.h"
#include "hv/guest/msr.h"
#include "hv/guest/run.h"
#include "hv/lib/asm.h"
#include "hv/vmx/bochs.h"
#include "hv/vmx/nested.h"
#include "hv/vmx/nested_event.h"
#include "hv/vmx/nested_rules.h"
#include "hv/vmx/state.h"
#include "hv/vmx/vmx.h"

static u64 vmcs[0x7000];
#define vmcs_read(f)	 vmcs[f]
#define vmcs_write(f, v) ((void)(vmcs[f] = (v)))
static u64 vmx_msr[32], cr4_now; /* from MSR_VMX_BASIC on */

static u64 read_msr(u32 msr)
{
	return msr - MSR_VMX_BASIC < ARRAY_SIZE(vmx_msr) ? vmx_msr[msr - MSR_VMX_BASIC] : 0;
}

#define rdmsr_safe(m, to)  (*(to) = read_msr(m))
#define rdmsr(m)	   read_msr(m)
#define wrmsr_safe(m, val) ((void)(val))
#define read_cr0()	   (CR0_PE | CR0_NE | CR0_PG)
#define read_cr4()	   cr4_now
#define write_cr4(val)	   ((void)(cr4_now = (val)))
#define read_cr2()	   0ull
#define write_cr2(val)	   ((void)(val))
#undef READ_DR
#undef WRITE_DR
#define READ_DR(n)	 DR6_ONES
#define WRITE_DR(n, val) ((void)(val))
#include "p2m_fake.h"
#include "vmx_all_caps.h"

u32 phys_bits = 40;
u8 vmx_exit[1];
static struct vmx_cpu vmx_cpu0;
static struct vcpu vcpu;
static struct vcpu_emul emul;
static struct fetched fetched;
static struct vmx_vcpu arch;
static u32 virtual_apic[PAGE_SIZE / sizeof(u32)];
static u64 operand; /* in memory */
static int irq = -1;
static u32 accepted, invepts;

/* What the CPU does at this entry, and what it found. */
static void (*cpu_does)(void);
static bool cpu_refuses; /* by VMfail: nothing of the VMCS changes */
static u64 seen[0x7000];

bool vmx_enter(struct vcpu *v, u64 *host_rsp, bool launched)
{
	memcpy(seen, vmcs, sizeof(seen));
	if (cpu_refuses)
		return false;
	vmcs[VMCS_EXIT_REASON] = EXIT_EXT_INTR;
	vmcs[VMCS_IDT_INFO] = vmcs[VMCS_QUALIFICATION] = vmcs[VMCS_EXIT_INTR_INFO] = 0;
	vmcs[VMCS_ENTRY_INTR_INFO] &= ~EVT_VALID;
	if (cpu_does)
		cpu_does();
	return true;
}

void vmx_invept(u64 type, u64 eptp)
{
	invepts++;
}

void vmx_invvpid(u64 type, u16 vpid)
{
}

static u32 vmx_ons;

int vmx_on(hpa_t region)
{
	vmx_ons++;
	return 0;
}

int vmcs_alloc(struct vcpu *v, u64 b)
{
	return 0;
}

void vmcs_free(struct vcpu *v)
{
}

void vmcs_clear_all(void)
{
}

void vmcs_wanted_irq(u8 vector)
{
}

void vmx_idle(void)
{
}

void irq_set(u8 vector, void (*fn)(u8 vector))
{
}

void vmcs_log_refusal(const char *insn)
{
}

#define UNUSED_OPS(X)                                                                              \
	X(load)                                                                                    \
	X(put)                                                                                     \
	X(give_back)
#define X(name)                                                                                    \
	void vmx_##name(struct vcpu *v)                                                            \
	{                                                                                          \
	}
UNUSED_OPS(X)
#undef X

bool vmx_borrow(struct vcpu *v)
{
	return true;
}

void vmx_dump(struct vcpu *v)
{
}

void irq_handle(u8 vector)
{
}

void irq_window(void)
{
}

void vmx_quirk_controls(struct vmx_controls *c)
{
}

void vmx_quirk_reset(void)
{
}

u32 vmx_quirk_event(struct vcpu *v, u32 info)
{
	return info;
}

u64 policy_cr4_mask(void)
{
	return CR4_PAE | CR4_PGE;
}

bool cr_write(struct vcpu *v, u8 cr, u64 val)
{
	vmx_set(v, cr ? HVM_CR4 : HVM_CR0, val);
	return true;
}

int msr_read(struct vcpu *v, u32 msr, u64 *val, bool host)
{
	*val = 0x1000 + msr + host * 0x100000;
	return msr == 0x9999 ? -EINVAL : 0;
}

static u64 written[2];
static u32 commands;

int msr_write(struct vcpu *v, u32 msr, u64 val, bool host)
{
	commands += (msr == MSR_PRED_CMD || msr == MSR_FLUSH_CMD) && val && !host;
	written[0] = msr;
	written[1] = val;
	return msr == 0x9999 ? -EINVAL : 0;
}

/* The PIC's vector, 0 if it is the VMM's, which has to be asked. */
static u32 pic_vector, pic_asked;

bool lapic_extint_pending(struct vcpu *v)
{
	return v->due & DUE_EXTINT;
}

void vcpu_acknowledge_pic(struct vcpu *v)
{
	v->due &= ~DUE_EXTINT;
	pic_asked++;
	if (pic_vector)
		v->user_irq = pic_vector;
}

int lapic_pending(struct vcpu *v)
{
	return irq;
}

void lapic_accept(struct vcpu *v, u8 vector)
{
	accepted = vector;
	irq = -1;
}

int lapic_read(struct vcpu *v, u32 offset, u64 *val)
{
	*val = 0;
	return 0;
}

u16 lapic_to_hw(struct vcpu *v, u32 *page, u64 eoi_exits[4])
{
	return 0;
}

int guest_copy(struct vcpu *v, u64 at, void *buf, u32 len, bool write, struct guest_fault *f)
{
	return p2m_copy(&v->vm->p2m, gpa(at), buf, len, write) ? -EAGAIN : 0;
}

bool mmio_is_device(const struct vcpu *v, u64 at, const struct pt_leaf *leaf, bool write)
{
	return guest_has_device(leaf, write);
}

void guest_memory_missing(struct vcpu *v, u64 at, bool write, bool exec)
{
	vcpu_exit_to_dom0(v, CORBEL_EXIT_MEM_FAULT);
}

int mmio_operand(struct vcpu *v, u32 len, bool write, u64 *linear, struct guest_fault *f)
{
	*linear = 0;
	return 0;
}

int vcpu_access_linear(struct vcpu *v, u64 linear, void *buf, u32 len, u64 access,
		       struct guest_fault *f)
{
	if (access & WALK_WRITE)
		memcpy(&operand, buf, MIN(len, 8u));
	else
		memcpy(buf, &operand, MIN(len, 8u));
	return 0;
}

int vcpu_fetch(struct vcpu *v, struct guest_fault *f)
{
	return 0;
}

u64 debug_get_dr(struct vcpu *v, u32 n)
{
	return vmx_get(v, n == 7 ? HVM_DR7 : HVM_DR6);
}

void debug_set_dr(struct vcpu *v, u32 n, u64 val)
{
	if (n == 7)
		vmx_set(v, HVM_DR7, val);
}

int vm_promise_apart(struct vm *vm, struct account *a, u64 pages)
{
	return pool_promise(a, pages);
}

void vm_retract_apart(struct vm *vm, struct account *a, u64 pages)
{
	pool_retract(a, pages);
}

#define VMCS_GFN 2ull
#define ON_GFN	 3ull
#define FIRST	 0x800ull /* pfn of gfn 0 */
#define RAM_GFNS 16ull

static struct hvm_ops ops;

static void *mem(u64 gfn)
{
	return hpa_to_virt(hpa((FIRST + gfn) << PAGE_SHIFT));
}

static void begin(void)
{
	struct vmx_controls ctl = {.proc = PROC_TSC_OFFSET | PROC_HLT | PROC_MWAIT | PROC_MONITOR |
					   PROC_RDPMC | PROC_IO_BITMAPS | PROC_MSR_BITMAP |
					   PROC_SECONDARY | PROC_TPR_SHADOW,
				   .pin = PIN_EXT_INTR | PIN_NMI | PIN_VNMI,
				   .proc2 = PROC2_EPT | PROC2_UNRESTRICTED | PROC2_VPID |
					    PROC2_RDTSCP | PROC2_INVPCID | PROC2_WBINVD,
				   .exit = EXIT_HOST_64 | EXIT_LOAD_EFER | EXIT_LOAD_PAT,
				   .entry = ENTRY_LOAD_DEBUG | ENTRY_LOAD_EFER | ENTRY_LOAD_PAT,
				   .invept_single = true};

	start_guest(&pt_ept);
	for (u64 gfn = 0; gfn < RAM_GFNS; gfn++) {
		memset(mem(gfn), 0, PAGE_SIZE);
		BUG_ON(p2m_map(&guest.p2m, gfn, FIRST + gfn, 0, RIGHTS));
	}
	ops = vmx_ops;
	hvm = &ops;
	hvm_caps = (struct hvm_caps){.flags = HVM_CAP_NESTED, .nested_order = VMX_NESTED_ORDER};
	vmx_ctl = ctl;
	this_cpu()->vmx = &vmx_cpu0;
	guest.io_map = hpa_to_virt(hpa(0x6000));
	guest.msr_map = hpa_to_virt(hpa(0xa000));
	shadow_init();
	memset(vmcs, 0, sizeof(vmcs));
	arch =
	    (struct vmx_vcpu){.virtual_apic = virtual_apic, .proc = ctl.proc, .proc2 = ctl.proc2};
	vcpu = (struct vcpu){
	    .vm = &guest, .p2m = &guest.p2m, .arch = &arch, .emul = &emul, .user_irq = -1};
	emul.insn = &fetched;
	fetched.insn = (struct insn){.has_mem = true};
	vmx_cpu0.loaded = NULL;
	vmx_cpu0.current = &vcpu;
	vcpu.rights.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	vcpu.rights.cr4 = CR4_PAE | CR4_PGE | CR4_VMXE;
	vcpu.rights.vmx = true;
	BUG_ON(shadow_create(&vcpu) || shadow_promise(&vcpu));
	vmx_nested_reset(&vcpu);
	vmcs[VMCS_EXCEPTIONS] = HVM_OUR_EXCEPTIONS;
	for (u32 f = VMCS_HOST_ES_SEL; f <= VMCS_HOST_TR_SEL; f += 2)
		vmcs[f] = 0x7700 + f;
	for (u32 f = VMCS_HOST_CR0; f <= VMCS_HOST_RIP; f += 2)
		vmcs[f] = 0x77000000 + f;
	vmcs[VMCS_HOST_EFER] = vmcs[VMCS_HOST_PAT] = 0x7777;
	vmcs[VMCS_EXIT_CONTROLS] = ctl.exit;
	vmcs[VMCS_PIN_CONTROLS] = ctl.pin;
	vmcs[VMCS_GUEST_CS_AR] = AR_L;
	vmx_write_cr_masks(&vcpu);
	vmx_set(&vcpu, HVM_EFER, EFER_LME | EFER_LMA);
	vmx_set(&vcpu, HVM_CR4, CR4_PAE | CR4_VMXE);
	vmx_set(&vcpu, HVM_CR0, CR0_PE | CR0_PG | CR0_NE);
	vcpu.feature_control = FEATURE_LOCK | FEATURE_VMX;
	vcpu.rip = 0x5000;
	cpu_does = NULL;
	irq = -1;
	*(u32 *)mem(ON_GFN) = *(u32 *)mem(VMCS_GFN) = VMCS12_REVISION;
}

static void end(void)
{
	struct corbel_nested state = {0};

	shadow_destroy(&vcpu);
	CHECK(vmx_nested_ops.get_state(&vcpu, &state) == -EINVAL &&
		  vmx_nested_ops.set_state(&vcpu, &state) == -EINVAL,
	      "a vCPU that can have no guests has no state of theirs");
	CHECK(destroy_guest(), "nothing is left of it");
}

/* -> an exception's vector, or 0xff */
static u32 insn(u32 reason, u64 at)
{
	struct vm_exit x = {.reason = VMEXIT_VMX_SVM_INSN, .raw = reason, .insn_len = 3};

	operand = at;
	vcpu.exception.pending = false;
	vmx_nested_ops.insn(&vcpu, &x);
	return vcpu.exception.pending ? vcpu.exception.vector : 0xff;
}

static bool failed(void)
{
	return vcpu.rflags & (RFLAGS_CF | RFLAGS_ZF);
}

static struct vmcs12 *m12(void)
{
	return &vmx_nested(&vcpu)->vmcs12;
}

static void put12(u32 field, u64 val)
{
	vmcs12_set(m12(), field, val);
}

#define PROC_MIN 0x4006172ull

static struct vm_exit run_to(void (*what)(void))
{
	struct vm_exit x;

	cpu_does = what;
	vmx_cpu0.loaded = &vcpu;
	if (!(vcpu.guest_mode && vmx_nested_ops.event(&vcpu)))
		vcpu_deliver_events(&vcpu);
	ops.run(&vcpu, &x);
	vmx_cpu0.loaded = NULL;
	return x;
}

static void does_cpuid(void)
{
	vmcs[VMCS_EXIT_REASON] = EXIT_CPUID;
	vmcs[VMCS_GUEST_RIP] = 0x3333;
}
