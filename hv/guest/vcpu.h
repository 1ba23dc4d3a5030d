/* SPDX-License-Identifier: GPL-2.0-only */
/* A virtual CPU and the per-CPU run loop. */
#pragma once

#include "hv/emul/emul.h"
#include "hv/guest/hvm.h"
#include "hv/guest/lapic.h"
#include "hv/cpu/percpu.h"
#include "hv/guest/pv.h"
#include "hv/lib/scale.h"
#include "hv/sched/sched.h"
#include "hv/guest/vm.h"
#include "hv/lib/x86.h"

/* Order as in ModRM: RAX RCX RDX RBX RSP RBP RSI RDI R8..R15 */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* KVM_MP_STATE_x */
enum mp_state { MP_RUNNABLE = 0, MP_UNINITIALIZED = 1, MP_INIT_RECEIVED = 2, MP_HALTED = 3, MP_SIPI_RECEIVED = 4 };

/* What is still to be done at resume for an exit that dom0 answered */
enum completion { COMPLETE_NONE = 0, COMPLETE_EMUL, COMPLETE_RETRY, COMPLETE_IN, COMPLETE_INS, COMPLETE_INTA };

/* Atomic request bits, set from any CPU, handled by the CPU that has the vCPU before its next entry. */
#define REQ_PAUSE	BIT(0) /* stop and tell dom0 */
#define REQ_NMI		BIT(1)
#define REQ_INIT	BIT(2)
#define REQ_SIPI	BIT(3) /* sipi_vector */
#define REQ_CLOCK	BIT(4) /* rewrite kvmclock */

/* Why an access to guest memory failed: an exception to inject, or the gpa where the p2m has nothing. */
struct guest_fault {
	u8 vector;
	u32 error;
	u64 cr2;
	u64 gpa;
	bool write;
};

#define VCPU_MAX_CPUID 96
#define XSAVE_BYTES    4096

/*
 * An instruction that has exited, decoded. When it exits again it need not be fetched and decoded if the fetch would find the same:
 * in the same mode, with the same words in the page tables on the way and in the code.
 */
struct fetched {
	struct hvm_paging paging;
	struct p2m_words words;
	u8 bytes[16];
	u32 n; /* of them to be had, 15 at most */
	bool plain_store;
	u64 bell; /* it is a plain store that has rung a doorbell in the frame before this one, in MMIO while words.gen holds; or 0 */
	struct insn insn;
};
#define FETCHED 16 /* of a vCPU */

#define MCE_BANKS CORBEL_MCE_BANKS

/* Machine checks, hv/guest/mce.c */
struct mce {
	u64 cap, status, ctl; /* MCG_x */
	u64 bank[MCE_BANKS][4]; /* MCi_CTL, STATUS, ADDR, MISC */
	u64 hwcr; /* AMD's McStatusWrEn */
};

struct vcpu {
	u64 gpr[16];
	u64 rip, rflags;

	struct vm *vm;
	u32 id;	   /* global */
	u32 index; /* in its VM */
	struct cpu *last_cpu;
	u64 requests;
	u32 stopped;	/* 1: belongs to dom0 (CORBEL_VCPU_STOPPED); the only state in which hypercalls may touch it */
	u32 mp_state;	/* enum mp_state */
	u8 sipi_vector;
	struct sched_unit sched;
	struct lapic lapic;
	struct pv_state pv;
	void *arch;	/* back end */

	/* Events to deliver at the next entry */
	struct {
		bool pending, has_error;
		u8 vector;
		u32 error;
		u64 cr2;
	} exception;
	bool nmi_pending, nmi_masked, nmi_injected;
	bool irq_injected; /* an interrupt whose delivery was broken off by an exit */
	u8 irq_vector;
	s32 user_irq;	   /* KVM_INTERRUPT, -1 = none */

	/* Lazily switched state; in the hardware while cpu->loaded == this */
	u8 *xsave;	/* XSAVE_BYTES, 64-byte aligned, pool page */
	u64 xcr0;
	u64 dr[4]; /* DR0..3; DR6 and DR7 live in the back end */

	/* MSRs outside the back end's structure */
	u64 tsc_offset, tsc_mul; /* guest TSC = scale_tsc(host TSC, tsc_mul) + tsc_offset */
	u32 tsc_khz;	/* its frequency */
	u64 tsc_aux, misc_enable, pat, mtrr_def_type;
	bool ffxsr; /* CPUID shows EFER.FFXSR */
	bool osxsave; /* CR4.OSXSAVE, which no vCPU changes without an exit */
	u64 mtrr_fixed[11], mtrr_var[16];
	struct mce mce;

	u32 cpuid_count, cpuid_sig; /* leaf 1 EAX */
	u8 cpuid_first[4][32];	/* index of the first entry of leaves 0.., 0x40000000.., 0x80000000..; 0xff none */
	struct corbel_cpuid *cpuid; /* pool page */

	/* Exit in progress towards the VMM */
	struct emul_state emul;
	struct fetched *insn; /* the instruction being emulated, in fetched[] */
	struct guest_fault emul_miss; /* where the emulator found no memory */
	struct vcpu_io {
		u64 linear, mask;
		u32 count, size, insn_len;
		bool rep, down;
	} io; /* string I/O in progress */
	enum completion completion; /* what to do with dom0's answer at the next run */
	u32 stop_reason;	/* CORBEL_EXIT_x: stop before the next entry */
	struct corbel_vcpu_page *page; /* NULL for dom0's vCPUs */
	u8 *data;		/* data page */
	struct vcpu *resumer;	/* dom0 vCPU that resumed us: if it has not run since, it needs no event interrupt */
	u64 resumer_exits;	/* its exits_total then */
	bool want_irq_window;	/* the VMM asked for CORBEL_EXIT_IRQ_WINDOW */
	bool window, window_on; /* interrupt window wanted for this entry; asked of the back end */

	/* dom0's vCPUs */
	u8 event_vector;

	u64 exits_total, exits[VMEXIT_NR];
	struct fetched fetched[FETCHED];
};

/* All vCPUs by global id. */
struct vcpu *vcpu_by_id(u64 id);
int vcpu_create(struct vm *vm, u32 apic_id); /* -> id, or error */
int vcpu_destroy(struct vcpu *v);	   /* -EBUSY unless all vCPUs of its VM are stopped */
/* Architectural reset (RESET for the BSP, wait-for-SIPI for others). */
void vcpu_reset(struct vcpu *v, bool init);
/* Set request bits and make the vCPU notice: wake if blocked, kick if running. Any CPU. */
void vcpu_request(struct vcpu *v, u64 req);
/* An interrupt became pending: wake, kick, or post where that is enough. exit: it is not. Any CPU. */
void vcpu_notify(struct vcpu *v, bool exit);
/* Guest TSC when the machine's is at tsc. */
static inline u64 vcpu_tsc(const struct vcpu *v, u64 tsc)
{
	return scale_tsc(tsc, v->tsc_mul) + v->tsc_offset;
}
/* CR4, already validated, of a vCPU that is loaded or borrowed. */
static inline void vcpu_set_cr4(struct vcpu *v, u64 val)
{
	v->osxsave = val & CR4_OSXSAVE;
	hvm->set(v, HVM_CR4, val);
}
/* Queue an exception for the next entry; contributory and double-fault rules, SDM "Interrupt 8 - Double Fault". */
void vcpu_inject_exception(struct vcpu *v, u8 vector, bool has_error, u32 error);
void vcpu_inject_pf(struct vcpu *v, u64 cr2, u32 error);
void vcpu_inject_gp(struct vcpu *v);
/* Stop the running vCPU of this CPU and hand it to dom0 with this exit reason. page->... is filled by the caller. */
void vcpu_exit_to_dom0(struct vcpu *v, u32 reason);
/* dom0's answer to a stopped vCPU's exit is in its pages: run on. by: the dom0 vCPU that asks. -EBUSY if not stopped. */
int vcpu_resume(struct vcpu *v, struct vcpu *by);
/* The running vCPU has triple-faulted. */
void vcpu_shutdown(struct vcpu *v);
/* Save the lazily switched state if this CPU holds it. */
void vcpu_put(struct vcpu *v);
u32 vcpu_total(void);
/* A physical interrupt below VEC_HV_FIRST arrived on this CPU: dom0's. Interrupts off. */
void dom0_irq(u8 vector);
/* Set the event bit and interrupt dom0; for a doorbell not at the cost of the vCPU that runs here. */
void event_vcpu_stopped(u32 id);
void event_doorbell(u32 id);
void event_tell(void);
/* Create dom0 and make it runnable on this CPU (the boot CPU). */
void dom0_create(void);
/* hv/guest/exit.c: finish an instruction whose data dom0 has delivered. */
void exit_complete(struct vcpu *v);
/* For the panic screen. */
void vcpu_dump_last(void);
/* Called by lapic.c on EOI of a level-triggered vector: dom0 -> hardware EOI; guest -> CORBEL_EXIT_EOI if asked for. */
void vcpu_level_eoi(struct vcpu *v, u8 vector);

/* Linear guest memory of the current vCPU, data access at its CPL (or system). -EFAULT: #PF queued in *fault. -EAGAIN: p2m miss at *gpa. */
/* Linear to guest-physical with the rights of `access` (WALK_x). Errors as below. */
int vcpu_translate(struct vcpu *v, u64 linear, u64 access, u64 *gpa, struct guest_fault *f);
/* Fetch and decode the instruction at CS:RIP: v->insn. -EINVAL: it cannot be decoded; v->insn has the bytes. */
int vcpu_fetch(struct vcpu *v, struct guest_fault *f);
/* Where it is kept if it is known already, and whether fetching it, if it comes next, would find the same. */
static inline struct fetched *vcpu_fetched(struct vcpu *v, u64 linear)
{
	return &v->fetched[(linear ^ linear >> 4) % FETCHED];
}
static inline bool vcpu_is_fetched(struct vcpu *v, const struct fetched *in)
{
	return hvm->is_paging(v, &in->paging) && p2m_unchanged(&v->vm->p2m, &in->words);
}
int vcpu_read_linear(struct vcpu *v, u64 linear, void *buf, u32 len, u64 access, struct guest_fault *f);
int vcpu_write_linear(struct vcpu *v, u64 linear, const void *buf, u32 len, u64 access, struct guest_fault *f);

/* The run loop: schedules and runs vCPUs on this CPU for ever. */
void cpu_main(void) __noreturn;
