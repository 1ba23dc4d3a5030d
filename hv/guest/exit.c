/* SPDX-License-Identifier: GPL-2.0-only */
/* Exits, handled once for both vendors. */
#include "hv/guest/exit.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/mcheck.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/cr.h"
#include "hv/guest/debug.h"
#include "hv/guest/event.h"
#include "hv/guest/fault.h"
#include "hv/guest/hyperv.h"
#include "hv/guest/inject.h"
#include "hv/guest/kick.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/linear.h"
#include "hv/guest/mmio.h"
#include "hv/guest/msr.h"
#include "hv/guest/msr_exit.h"
#include "hv/guest/pio.h"
#include "hv/guest/quirks.h"
#include "hv/guest/spin.h"
#include "hv/guest/task.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/mm/frame.h"

static void handle_rdpmc(struct vcpu *v, const struct vm_exit *x)
{
	u64 val;

	if (pmu_rdpmc(v, &val)) {
		vcpu_inject_gp(v);
		return;
	}
	v->gpr[RAX] = (u32)val;
	v->gpr[RDX] = val >> 32;
	vcpu_step(v, x, x->insn_len);
}

static void handle_rdmsr(struct vcpu *v, const struct vm_exit *x)
{
	u32 msr = v->gpr[RCX];
	int err = -EPERM;
	u64 val;

	if (!vm_filters_msr(v->vm, msr, CORBEL_MSR_READ))
		err = msr_read(v, msr, &val, false);
	if (err) {
		msr_refused(v, x, err);
		return;
	}
	v->gpr[RAX] = (u32)val;
	v->gpr[RDX] = val >> 32;
	vcpu_step(v, x, x->insn_len);
}

static void handle_wrmsr(struct vcpu *v, const struct vm_exit *x)
{
	u64 val = vcpu_edx_eax(v);
	u32 msr = v->gpr[RCX];
	__typeof__(msr_write) *write = msr_write;
	int err = 0;

	/* what a kernel writes most is not looked for among all others */
	if (msr == MSR_TSC_DEADLINE || msr - MSR_X2APIC <= MSR_X2APIC_LAST - MSR_X2APIC)
		write = lapic_msr_write;
	if (vm_filters_msr(v->vm, msr, CORBEL_MSR_WRITE)) /* none of x2APIC's */
		err = -EPERM;
	else if (msr != MSR_X2APIC_EOI || val || !lapic_plain_eoi(&v->lapic))
		err = write(v, msr, val, false);
	if (err)
		msr_refused(v, x, err);
	else
		vcpu_step(v, x, x->insn_len);
}

static inline __attribute__((always_inline)) void handle_hypercall(struct vcpu *v,
								   const struct vm_exit *x)
{
	u64 nr = v->gpr[RAX];

	if (unlikely(v->services & CORBEL_HYPERV_CALLS)) {
		hyperv_hypercall(v, x);
		return;
	}
	if (unlikely(v->services & CORBEL_KVM_MAP_GPA_RANGE || (u32)nr == HC_CLOCK_PAIRING) &&
	    hypercall_is_dom0s(v, x))
		return;
	/* Stepped over first: a hypercall may stop the caller or hand its CPU on. */
	vcpu_step(v, x, x->insn_len);
	if (hvm->get(v, HVM_CPL))
		v->gpr[RAX] = -KVM_ENOSYS; /* not for user mode */
	else if (v->vm->ops && nr >= CORBEL_HC_BASE && nr < CORBEL_HC_BASE + CORBEL_HC_RANGE)
		v->gpr[RAX] = v->vm->ops->hypercall(v, nr);
	else
		v->gpr[RAX] = pv_hypercall(v);
}

void vcpu_halt(struct vcpu *v)
{
	if (v->lapic.present)
		v->mp_state = MP_HALTED;
	else
		vcpu_exit_to_dom0(v, CORBEL_EXIT_HLT);
}

static __noinline void handle_hlt(struct vcpu *v, const struct vm_exit *x)
{
	vcpu_skip(v, x->insn_len);
	vcpu_halt(v);
}

/* Is it memory that guests have, and dom0 only for them? */
static bool is_guest_memory(u64 addr)
{
	const struct frame *f = frame_of(addr >> PAGE_SHIFT);

	return f && f->kind == FRAME_DOM0 && READ_ONCE(f->maps);
}

/*
 * Which memory the guest has used that is broken dom0 is told: its kernel takes it away, and lets
 * the VMM know. A guest whose instruction cannot be run again ends. Where it is not the guest's
 * alone, the machine does.
 */
static void handle_machine_check(struct vcpu *v)
{
	struct mcheck_error e;
	enum mcheck_verdict verdict = mcheck_judge(true, &e);

	if (verdict == MCHECK_GUEST && (v->vm->is_dom0 || !is_guest_memory(e.addr)))
		verdict = MCHECK_FATAL;
	if (verdict == MCHECK_FATAL || !mcheck_settle(&e)) {
		mcheck_log();
		panic("machine check while vm %u ran, and more than a guest is hit; the hardware "
		      "that its banks name is at fault",
		      v->vm->id);
	}
	if (verdict == MCHECK_GO_ON)
		return;
	BUG_ON(!e.in_page);
	log_err("vm %u vcpu %u: the memory at %lx that it has used is broken (machine check, bank "
		"%u, status %lx)",
		v->vm->id, v->index, e.addr, e.bank, e.status);
	if (!e.restarts) {
		event_memory_broken(e.addr >> PAGE_SHIFT);
		guest_stuck(v, GUEST_ERROR_MCHECK, NULL);
		return;
	}
	WRITE_ONCE(v->page->fault.gpa, e.addr & PAGE_MASK);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_BROKEN);
}

/* Opcodes of the second map, and whole ModRM bytes */
#define OP_GROUP7     0x01
#define OP_RSM	      0xaa
#define MODRM_VMCALL  0xc1
#define MODRM_VMMCALL 0xd9

static bool is_hypercall(const struct insn *i)
{
	return i->opcode == OP_GROUP7 && i->pp == PP_NONE &&
	       (i->modrm == MODRM_VMCALL || i->modrm == MODRM_VMMCALL);
}

/* #UD: of RSM in SMM, of a hypercall that is not this CPU's, as after a migration; or it is. */
static void handle_ud(struct vcpu *v)
{
	struct guest_fault f = {0};
	int ret = vcpu_fetch(v, &f);
	const struct insn *i = &v->emul->insn->insn;
	bool plain = !ret && !i->vex && i->map == 1 && !i->lock;
	struct vm_exit call = {.reason = VMEXIT_HYPERCALL, .insn_len = i->len};

	if (ret && ret != -EINVAL)
		guest_access_failed(v, ret, &f);
	else if (plain && i->opcode == OP_RSM && v->in_smm)
		vcpu_exit_to_dom0(v, CORBEL_EXIT_SMM);
	else if (plain && is_hypercall(i) && !v->guest_mode &&
		 !vcpu_lacks_quirk(v, CORBEL_QUIRK_HYPERCALL))
		handle_hypercall(v, &call);
	else if (!plain || !is_hypercall(i) || !v->guest_mode || !hvm->nested->hypercall(v))
		vcpu_inject_exception(v, VEC_UD, false, 0);
}

static void handle_exception(struct vcpu *v, const struct vm_exit *x)
{
	if (x->exc.vector == VEC_MC) {
		handle_machine_check(v);
		return;
	}
	if (x->exc.vector == VEC_UD && !v->vm->is_dom0) {
		handle_ud(v);
		return;
	}
	if (x->exc.behind)
		vcpu_move_rip(v, x->insn_len);
	if (!debug_takes(v, x))
		vcpu_inject_exception(v, x->exc.vector, x->exc.has_error, x->exc.error);
}

static void not_handled(struct vcpu *v, const struct vm_exit *x)
{
	if (vm_may_log(v->vm, HVM_DUMP_BYTES + VM_LOG_LINE)) {
		hvm->dump(v);
		log_err("vm %u vcpu %u: exit %lx is not handled", v->vm->id, v->index, x->raw);
	}
	if (x->reason == VMEXIT_ENTRY_FAIL && !v->vm->is_dom0) {
		WRITE_ONCE(v->page->internal.code, x->raw);
		if (quirk_has(QUIRK_BAD_ENTRY))
			vcpu_request(v, DUE_INIT);
		vcpu_exit_to_dom0(v, CORBEL_EXIT_FAIL_ENTRY);
	} else {
		guest_stuck(v, x->raw, NULL);
	}
}

/* MONITOR, too. As in KVM a guest waits for nothing. */
static void handle_mwait(struct vcpu *v, const struct vm_exit *x)
{
	if (v->vm->is_dom0 ||
	    (vcpu_lacks_quirk(v, CORBEL_QUIRK_MWAIT) && !cpuid_shows(v, CPUID_1C_MONITOR)))
		vcpu_inject_exception(v, VEC_UD, false, 0);
	else
		vcpu_skip(v, x->insn_len);
}

/* What guests do seldom, and what they may not do. */
static __noinline void handle_rest(struct vcpu *v, const struct vm_exit *x)
{
	switch (x->reason) {
	case VMEXIT_EXCEPTION:
		handle_exception(v, x);
		break;
	case VMEXIT_DR_ACCESS:
		debug_handle_mov(v, x);
		break;
	case VMEXIT_XSETBV:
		cr_handle_xsetbv(v);
		break;
	case VMEXIT_PAUSE:
		vcpu_step(v, x, x->insn_len);
		spin_make_way(v);
		break;
	case VMEXIT_BUS_LOCK: /* all CPUs have stood still: it goes the long way */
	case VMEXIT_NOTIFY:   /* now it takes what has waited */
		this_cpu()->resched = true;
		break;
	case VMEXIT_WBINVD:
		vcpu_skip(v, x->insn_len);
		break;
	case VMEXIT_RDPMC:
		handle_rdpmc(v, x);
		break;
	case VMEXIT_VMX_SVM_INSN:
		hvm->nested->insn(v, x);
		break;
	case VMEXIT_MWAIT:
		handle_mwait(v, x);
		break;
	case VMEXIT_UNDEFINED:
		vcpu_inject_exception(v, VEC_UD, false, 0);
		break;
	case VMEXIT_TASK_SWITCH:
		task_handle_switch(v, x);
		break;
	case VMEXIT_SHUTDOWN:
		vcpu_shutdown(v);
		break;
	default:
		not_handled(v, x);
	}
}

static inline void note_exit(struct cpu *c, struct vcpu *v, u32 reason)
{
	u32 at = c->exit_seq % EXIT_TRACE;

	c->trace.rip[at] = v->rip;
	c->trace.vcpu[at] = v->id;
	c->trace.reason[at] = reason;
	v->exits_total++;
	v->exits[reason]++;
}

static inline enum after_exit handle_exit(struct vcpu *v, const struct vm_exit *x)
{
	switch (x->reason) {
	case VMEXIT_INTR:
	case VMEXIT_NMI:
	case VMEXIT_INIT:
		irq_window();
		break;
	case VMEXIT_IRQ_WINDOW:
	case VMEXIT_NMI_WINDOW:
		break; /* the next entry delivers */
	case VMEXIT_CPUID:
		if (unlikely(v->misc_features & CPUID_FAULTS) && hvm->get(v, HVM_CPL)) {
			vcpu_inject_gp(v);
			break;
		}
		cpuid_emulate(v);
		vcpu_step(v, x, x->insn_len);
		return EXIT_AGAIN;
	case VMEXIT_MSR_READ:
		handle_rdmsr(v, x);
		return EXIT_AGAIN;
	case VMEXIT_MSR_WRITE:
		handle_wrmsr(v, x);
		return EXIT_AGAIN;
	case VMEXIT_HYPERCALL:
		handle_hypercall(v, x);
		return EXIT_AGAIN;
	case VMEXIT_HLT:
		handle_hlt(v, x);
		break;
	case VMEXIT_P2M_FAULT:
		return mmio_handle_fault(v, x);
	case VMEXIT_IO:
		return pio_handle(v, x);
	case VMEXIT_CR_ACCESS:
		cr_handle(v, x);
		break;
	case VMEXIT_EOI:
		lapic_ended(v, x->apic);
		break;
	case VMEXIT_APIC_WRITE: /* the WRMSR is done, but only on paper */
		lapic_write(v, x->apic, (u32)v->gpr[RAX]);
		break;
	default:
		handle_rest(v, x);
	}
	return EXIT_PREPARE;
}

void exit_check_mates(const struct cpu *c)
{
	FOR_EACH_CPU(i, c->core) {
		const struct vm *other = __atomic_load_n(&cpus[i]->in_guest, __ATOMIC_SEQ_CST);

		BUG_ON(other && other != c->in_guest);
	}
}

void exit_loop(struct vcpu *v, struct cpu *c)
{
	enum after_exit after;
	struct vm_exit x;

	do {
		lock_none_held();
		/* a stop is noted, else nobody would see it while exits are handled here */
		BUG_ON(v->stop_reason && !v->due);
		if (unlikely(v->debug.control))
			debug_run(v, &x);
		else
			hvm->run(v, &x);
		note_exit(c, v, x.reason);
		if (unlikely(v->lapic.vapic))
			pv_vapic(v);
		after = handle_exit(v, &x);
		/* An event whose delivery exits is tried again before the guest takes ours. */
		if (unlikely(!(c->exit_seq % EXIT_TRACE)))
			irq_window();
	} while (after == EXIT_AGAIN && !READ_ONCE(c->resched) && !READ_ONCE(v->due));
}
