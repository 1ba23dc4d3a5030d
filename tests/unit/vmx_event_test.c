/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * VT-x: injection, a debugger's steps, CR0 and CR4. The VMCS is an array of ours, for which the
 * files that access it are included.
 * links: tests/unit/rest.c hv/vmx/caps.c hv/vmx/nested_rules.c hv/vmx/vmcs12.c hv/guest/hvm.c
 * hv/guest/inject.c
 */
#include <string.h>

#include "hv/vmx/caps.h"
#include "hv/vmx/vmx.h"
#include "test.h"

static u64 vmcs[0x7000];
#define vmcs_read(f)	 vmcs[f]
#define vmcs_write(f, v) ((void)(vmcs[f] = (v)))
#include "hv/guest/quirks.h"
#include "hv/guest/debug.c"
#include "hv/vmx/direct.c"
#include "hv/vmx/event.c"
#include "hv/vmx/state.c"

#define RIP   0x1000
#define STACK 0x2000
#define VEC   0x40

static struct vmx_cpu vmx_cpu0;
static u32 virtual_apic[PAGE_SIZE / sizeof(u32)];
static struct vmx_vcpu arch;
static struct fetched fetched;
static struct vcpu_emul emul = {.insn = &fetched};
static struct vcpu vcpu;
static u16 stack; /* its top */
static int irq;	  /* of the local APIC, -1: none */
static u32 runs, ipis;
u64 pt_frames_end, test_direct_base;

void apic_send_ipi(u32 apic_id, u8 vector)
{
	ipis++;
}

bool vmx_nested_takes(struct vcpu *v, enum hvm_event_kind k)
{
	return false;
}

bool vmx_nested_can_inject(struct vcpu *v, enum hvm_event_kind k)
{
	return true;
}

int shadow_translate(struct vcpu *v, u64 access, u64 *at)
{
	return 0;
}

int vcpu_fetch(struct vcpu *v, struct guest_fault *f)
{
	return 0;
}

int vcpu_access_linear(struct vcpu *v, u64 linear, void *buf, u32 len, u64 access,
		       struct guest_fault *f)
{
	BUG_ON(linear != STACK || len != sizeof(stack));
	if (access & WALK_WRITE)
		memcpy(&stack, buf, len);
	else
		memcpy(buf, &stack, len);
	return 0;
}

int lapic_pending(struct vcpu *v)
{
	return irq;
}

void lapic_accept(struct vcpu *v, u8 vector)
{
	irq = -1;
}

int lapic_read(struct vcpu *v, u32 offset, u64 *val)
{
	*val = 0;
	return 0;
}

u16 lapic_to_hw(struct vcpu *v, u32 *page, u64 eoi_exits[4])
{
	memset(eoi_exits, 0, 4 * sizeof(*eoi_exits));
	return 0;
}

int nested_copy(struct vcpu *v, u64 at, void *buf, u32 len, bool write)
{
	return -EINVAL;
}

/*
 * An entry with TF: SDM "Checks on Guest Non-Register State", "Delivery of Pending Debug Exceptions
 * after VM Entry". The instruction is one byte, and does with the flags what its opcode says.
 */
static void run(struct vcpu *v, struct vm_exit *x)
{
	u32 state;
	u64 pending;

	vmx_write_blocking(v);
	state = vmcs[VMCS_INTERRUPTIBILITY];
	pending = vmcs[VMCS_PENDING_DEBUG];
	CHECK_QUIET(!(state & SHADOW_STI) || (!(state & SHADOW_MOV_SS) && v->rflags & RFLAGS_IF),
		    "the CPU takes the interruptibility");
	CHECK_QUIET(!(state & (SHADOW_STI | SHADOW_MOV_SS)) || pending & DR6_BS,
		    "with TF a trap waits for the shadow's end");
	runs++;
	if (!(pending & DR6_BS) || state & SHADOW_MOV_SS) {
		v->rip++;
		if (fetched.insn.opcode == OP_PUSHF)
			stack = v->rflags;
		else if (fetched.insn.opcode == OP_POPF)
			v->rflags = stack;
		arch.shadow = arch.intr_state_hw = vmcs[VMCS_INTERRUPTIBILITY] = 0;
	}
	vmcs[VMCS_PENDING_DEBUG] = 0;
	arch.dr6 = DR6_ONES | DR6_BS;
	*x = (struct vm_exit){.reason = VMEXIT_EXCEPTION, .exc.vector = VEC_DB};
}

static const struct hvm_ops fake_ops = {.run = run,
					.get = vmx_get,
					.set = vmx_set,
					.get_seg = vmx_get_seg,
					.can_inject = vmx_can_inject,
					.inject = vmx_inject,
					.want_window = vmx_want_window,
					.set_debug = vmx_set_debug};

/* A vCPU in 64-bit mode, interrupts allowed, before this instruction. */
static void before(u8 opcode, u32 control)
{
	memset(vmcs, 0, sizeof(vmcs));
	vmcs[VMCS_ENTRY_CONTROLS] = ENTRY_GUEST_64;
	vmcs[VMCS_GUEST_CS_AR] = AR_L;
	arch = (struct vmx_vcpu){.virtual_apic = virtual_apic};
	vcpu = (struct vcpu){
	    .arch = &arch, .emul = &emul, .rip = RIP, .rflags = RFLAGS_FIXED | RFLAGS_IF};
	vcpu.gpr[RSP] = STACK;
	vcpu.user_irq = irq = -1;
	vcpu.debug.control = control;
	fetched.insn = (struct insn){.opcode = opcode};
	vmx_cpu0.current = &vcpu;
	this_cpu()->vmx = &vmx_cpu0;
	hvm = &fake_ops;
	stack = 0;
	runs = ipis = 0;
}

#define STEPS (CORBEL_DEBUG_ENABLE | CORBEL_DEBUG_STEP)
#define NOP   0x90

static void test_step_shadow(void)
{
	static const u32 shadows[] = {0, SHADOW_STI, SHADOW_MOV_SS};
	struct vm_exit x;

	for (u32 i = 0; i < ARRAY_SIZE(shadows); i++) {
		before(NOP, STEPS);
		arch.shadow = shadows[i];
		debug_run(&vcpu, &x);
		CHECK(runs == 1 && !ipis && vcpu.rip == RIP + 1 && !(vcpu.rflags & RFLAGS_TF),
		      "a step does one instruction, shadow %u", shadows[i]);
	}
	before(NOP, 0);
	arch.shadow = SHADOW_STI;
	vmx_write_blocking(&vcpu);
	CHECK(vmcs[VMCS_INTERRUPTIBILITY] == SHADOW_STI && !vmcs[VMCS_PENDING_DEBUG],
	      "without a debugger the shadow of STI is one of STI");
	vcpu.rflags |= RFLAGS_TF;
	vmx_write_blocking(&vcpu);
	CHECK(vmcs[VMCS_INTERRUPTIBILITY] == SHADOW_STI && vmcs[VMCS_PENDING_DEBUG] == DR6_BS,
	      "and the guest's own trap is due");
	vcpu.rflags &= ~(RFLAGS_TF | RFLAGS_IF);
	vmx_write_blocking(&vcpu);
	CHECK(vmcs[VMCS_INTERRUPTIBILITY] == SHADOW_MOV_SS, "STI's needs IF");
}

static void test_step_flags(void)
{
	struct vm_exit x;

	before(OP_PUSHF, STEPS);
	debug_run(&vcpu, &x);
	CHECK(stack == (RFLAGS_FIXED | RFLAGS_IF), "PUSHF pushes no TF of ours");
	before(OP_POPF, STEPS);
	stack = RFLAGS_FIXED | RFLAGS_TF;
	debug_run(&vcpu, &x);
	CHECK(vcpu.rflags == (RFLAGS_FIXED | RFLAGS_TF), "POPF's TF is the guest's");
	before(OP_PUSHF, STEPS);
	stack = 0xffff;
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS;
	debug_run(&vcpu, &x);
	CHECK(vcpu.rip == RIP && stack == 0xffff, "a trap before PUSHF: the stack is the guest's");
	before(OP_POPF, STEPS);
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS;
	debug_run(&vcpu, &x);
	CHECK(vcpu.rip == RIP && !(vcpu.rflags & RFLAGS_TF), "before POPF: our TF does not stay");
}

static void test_shadow_ends(void)
{
	before(NOP, 0);
	arch.shadow = SHADOW_MOV_SS;
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS | BIT(12) | BIT(0);
	vmx_set(&vcpu, HVM_SHADOW, 0);
	CHECK(!arch.shadow && vmcs[VMCS_PENDING_DEBUG] == (BIT(12) | BIT(0)),
	      "with an emulated instruction in its shadow the CPU's trap ends, no breakpoint");
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS;
	vmx_set(&vcpu, HVM_SHADOW, 0);
	CHECK(vmcs[VMCS_PENDING_DEBUG] == DR6_BS, "no shadow, nothing ends");
	before(NOP, STEPS);
	arch.shadow = SHADOW_MOV_SS;
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS;
	vcpu_retire(&vcpu);
	CHECK(!vmcs[VMCS_PENDING_DEBUG] && vcpu.debug.owed, "the debugger is told once");
}

static void test_step_irqs(void)
{
	static const struct {
		u32 control;
		bool direct, injected;
	} t[] = {{0, true, false},
		 {CORBEL_DEBUG_ENABLE | CORBEL_DEBUG_SW, true, false},
		 {STEPS, false, true},
		 {STEPS | CORBEL_DEBUG_BLOCKIRQ, false, false},
		 {CORBEL_DEBUG_ENABLE | CORBEL_DEBUG_BLOCKIRQ, false, false}};
	struct vmx_controls was = vmx_ctl;
	static u8 msr_map[2 * PAGE_SIZE];
	static struct vm vm = {.msr_map = msr_map};

	vmx_ctl.proc2 = PROC2_X2APIC | PROC2_VID;
	hvm_caps.flags |= HVM_CAP_VID;
	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		before(NOP, t[i].control);
		vcpu.vm = &vm;
		vcpu.lapic.base = APIC_BASE_ENABLE | APIC_BASE_X2APIC;
		vcpu.lapic.svr = SVR_ENABLE;
		arch.direct = arch.vid = !t[i].direct; /* as before the debugger came, or went */
		arch.proc2 = vmx_ctl.proc2;
		irq = VEC;
		vcpu_deliver_events(&vcpu);
		vmx_apic_to_hw(&vcpu);
		CHECK(arch.direct == t[i].direct && arch.vid == t[i].direct,
		      "control %x: does hardware deliver interrupts?", t[i].control);
		CHECK((arch.watch & WATCH_INJECT) == t[i].injected && (irq < 0) == t[i].injected,
		      "control %x: is one injected?", t[i].control);
	}
	hvm_caps.flags &= ~HVM_CAP_VID;
	vmx_ctl = was;
}

/* What the guest may not have in the hardware is in the shadow. */
static void test_nmi_first(void)
{
	before(NOP, 0);
	CHECK(vcpu_can_take_irq(&vcpu), "an interrupt can be taken");
	vcpu.nmi_pending = true;
	CHECK(!vcpu_can_take_irq(&vcpu), "not while an NMI is to come first");
	vcpu.nmi_masked = true;
	CHECK(vcpu_can_take_irq(&vcpu), "but while one waits for another's end");
	vcpu.nmi_pending = vcpu.nmi_masked = false;
	vcpu.nmi_injected = true;
	CHECK(!vcpu_can_take_irq(&vcpu), "nor with one whose delivery was broken off");
}

/* SDM "Other Causes of VM Exits": the window may be open behind STI, not behind MOV SS. */
static void test_nmi_behind_sti(void)
{
	before(NOP, 0);
	arch.shadow = SHADOW_STI;
	vcpu.nmi_pending = true;
	vcpu_deliver_events(&vcpu);
	vmx_write_blocking(&vcpu);
	CHECK(!vmcs[VMCS_ENTRY_INTR_INFO] && arch.proc & PROC_NMI_WINDOW &&
		  vmcs[VMCS_INTERRUPTIBILITY] == SHADOW_MOV_SS,
	      "an NMI behind STI waits for an instruction, not for ever");
	vcpu.rflags |= RFLAGS_TF;
	vmx_write_blocking(&vcpu);
	CHECK(vmcs[VMCS_INTERRUPTIBILITY] == SHADOW_STI && vmcs[VMCS_PENDING_DEBUG] == DR6_BS,
	      "a trap comes first");
}

/* An interrupt that has been acknowledged, by the PIC or the VMM */
static void test_acknowledged(void)
{
	before(NOP, 0);
	vcpu.user_irq = VEC;
	vcpu.nmi_pending = true;
	vcpu_deliver_events(&vcpu);
	CHECK(vmcs[VMCS_ENTRY_INTR_INFO] == hvm_event(HVM_INJ_IRQ, VEC, false) &&
		  vcpu.user_irq < 0 && vcpu.nmi_pending && arch.proc & PROC_NMI_WINDOW,
	      "it goes in before an NMI, which has a window behind it");
	before(NOP, 0);
	vcpu.irq_injected = true; /* as a VMM has found it, in a handler of an NMI */
	vcpu.irq_vector = VEC;
	vcpu.rflags &= ~RFLAGS_IF;
	vcpu_deliver_events(&vcpu);
	CHECK(!vmcs[VMCS_ENTRY_INTR_INFO] && arch.proc & PROC_INTR_WINDOW,
	      "where IF is clear it waits for its place");
	vcpu.rflags |= RFLAGS_IF;
	vcpu_deliver_events(&vcpu);
	CHECK(vmcs[VMCS_ENTRY_INTR_INFO] == hvm_event(HVM_INJ_IRQ, VEC, false) &&
		  !(arch.proc & PROC_INTR_WINDOW),
	      "and has it with IF");
	before(NOP, 0);
	vcpu.rip = 0xffffffff;
	vmcs[VMCS_ENTRY_CONTROLS] = 0;
	vcpu_inject_exception(&vcpu, VEC_BP, false, 0);
	vcpu_deliver_events(&vcpu);
	CHECK(!vcpu.rip, "behind the last byte of 4 GiB is the first");
	hvm_take_back_event(&vcpu, vmcs[VMCS_ENTRY_INTR_INFO], 0);
	CHECK(vcpu.rip == 0xffffffff, "before it is the last");
}

static void test_crs(void)
{
	vcpu = (struct vcpu){.arch = &arch};
	vmx_write_cr_masks(&vcpu);
	CHECK(vmcs[VMCS_CR0_MASK] == (CR0_NE | CR0_NW | CR0_CD), "CR0: NE, NW and CD are ours");
	CHECK(vmcs[VMCS_CR4_MASK] == (~CR4_ALWAYS | CR4_VMXE | CR4_MCE | CR4_OSXSAVE),
	      "CR4: all that not every guest may set, VMXE, MCE and OSXSAVE");
	vmx_set(&vcpu, HVM_CR0, CR0_PE | CR0_CD | CR0_NW | CR0_ET);
	CHECK(vmcs[VMCS_GUEST_CR0] == (CR0_PE | CR0_ET | CR0_NE) &&
		  vmx_get(&vcpu, HVM_CR0) == (CR0_PE | CR0_CD | CR0_NW | CR0_ET),
	      "CD and NW read back, and the hardware has NE instead");
	vmx_set(&vcpu, HVM_CR4, CR4_PAE);
	CHECK(vmcs[VMCS_GUEST_CR4] == (CR4_PAE | CR4_VMXE | CR4_MCE) &&
		  vmx_get(&vcpu, HVM_CR4) == CR4_PAE,
	      "a guest's CR4 has VMXE and MCE in the hardware, which it does not see");
}

/* A VMM's exceptions, as VM entry wants them; SDM "VM-Entry Control Fields". */
static void test_error_codes(void)
{
	before(NOP, 0);
	vcpu.exception.pending = vcpu.exception.injected = vcpu.exception.has_error = true;
	vcpu.exception.vector = VEC_PF;
	vcpu.exception.error = 0x80000007;
	vmcs[VMCS_GUEST_CR0] = CR0_PE | CR0_PG;
	vcpu_deliver_events(&vcpu);
	CHECK(vmcs[VMCS_ENTRY_INTR_INFO] == hvm_event(HVM_INJ_EXCEPTION, VEC_PF, true) &&
		  vmcs[VMCS_ENTRY_ERROR] == 7,
	      "an error code has 16 bits");
	before(NOP, 0);
	vcpu.exception.pending = vcpu.exception.injected = vcpu.exception.has_error = true;
	vcpu.exception.vector = VEC_GP;
	vcpu_deliver_events(&vcpu);
	CHECK(vmcs[VMCS_ENTRY_INTR_INFO] == hvm_event(HVM_INJ_EXCEPTION, VEC_GP, false),
	      "in real mode there is none");
}

int main(void)
{
	test_error_codes();
	test_step_shadow();
	test_step_flags();
	test_shadow_ends();
	test_step_irqs();
	test_nmi_first();
	test_nmi_behind_sti();
	test_acknowledged();
	test_crs();
	return test_end();
}
