/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A virtual CPU. Fields belong to the CPU that has it, or, while it is stopped, to the hypercall
 * that holds it by hvm->borrow(); what others may touch says so.
 */
#pragma once

#include "hv/guest/hvm.h"
#include "hv/guest/lapic.h"
#include "hv/guest/mce.h"
#include "hv/guest/pmu.h"
#include "hv/guest/pv.h"
#include "hv/lib/scale.h"
#include "hv/lib/x86.h"
#include "hv/sched/sched.h"

struct corbel_cpuid;
struct corbel_vcpu_page;
struct shadow;
struct vcpu;
struct vcpu_emul;

/* KVM_MP_STATE_x */
enum mp_state {
	MP_RUNNABLE = 0,
	MP_UNINITIALIZED = 1,
	MP_INIT_RECEIVED = 2,
	MP_HALTED = 3,
	MP_SIPI_RECEIVED = 4
};

enum { VCPU_STOPPED = 1, VCPU_CLAIMED = 2 };

/* Finishes, once dom0 has answered, what the vCPU has stopped for. */
typedef void complete_fn(struct vcpu *v);

/*
 * What is due before the next entry, in v->due: as long as that is 0 an exit that has been handled
 * is followed by the next entry. Any CPU sets bits, by vcpu_request() where the vCPU may block or
 * run elsewhere. The CPU that has the vCPU takes the requests; the states stay until they have
 * ended.
 */
#define DUE_PAUSE BIT(0) /* request: stop and tell dom0 */
#define DUE_NMI	  BIT(1) /* request */
#define DUE_INIT  BIT(2) /* request */
#define DUE_SIPI  BIT(3) /* request: start at sipi_vector */
#define DUE_CLOCK BIT(4) /* request: write kvmclock */
/* request: something of the vCPU's own has changed: an event, a stop, PV state */
#define DUE_LOOK   BIT(5)
#define DUE_IRQ	   BIT(6) /* state: IRR may hold bits */
#define DUE_EXTINT BIT(7) /* state: the PIC's INTR line is up */
#define DUE_EOI	   BIT(8) /* state: lapic.eoi_owed is to be told to dom0 */
/* request, of the VMM's: as by a triple fault, once nothing else stops it */
#define DUE_TRIPLE BIT(9)
#define DUE_SMI	   BIT(10) /* request */
#define DUE_PMU	   BIT(11) /* request: pmu_follow() */
#define DUE_STATES (DUE_IRQ | DUE_EXTINT | DUE_EOI)

#define VCPU_MAX_CPUID	96
#define VCPU_ARCH_BYTES 384u
#define XSAVE_BYTES	4096

/*
 * What nothing else is said of belongs to the CPU that runs the vCPU, and to dom0's hypercalls
 * while it is `stopped`.
 */
struct vcpu {
	/*
	 * As it says itself: others set IRR bits. First, at the start of a page: CPUs want the
	 * posted-interrupt descriptor at 64 bytes, Bochs 3.0 there.
	 */
	struct lapic lapic;
	u64 gpr[16]; /* by enum gpr */
	u64 rip, rflags;

	struct vm *vm; /* set once, as are the next two */
	u32 id;	       /* global */
	u32 index;     /* in its VM */
	u64 number;    /* for dom0's module: CORBEL_VCPU_ID() of it is the id; no other had it */
	/* the map of its memory: its VM's, or in SMM the VM's second one; as in_smm says */
	struct p2m *p2m;
	u64 due; /* DUE_x; atomic, any CPU */
	/*
	 * VCPU_STOPPED: belongs to dom0 (CORBEL_VCPU_STOPPED); VCPU_CLAIMED: and to the hypercall
	 * that touches it, see vcpu_claim(); 0: neither; atomic
	 */
	u32 stopped;
	u32 mp_state;	/* enum mp_state */
	u8 sipi_vector; /* any CPU, before DUE_SIPI */
	/* one more than the index of the next whose APIC id has the same last byte; vm->lock */
	u16 next_alike;
	struct sched_unit sched; /* as the scheduler says */
	struct pv_state pv;	 /* own CPU, but `unhalted`: any */
	void *arch;		 /* VCPU_ARCH_BYTES of the back end's; set once */

	/* Events to deliver at the next entry */
	struct {
		bool pending, has_error;
		u8 vector;
		u32 error;
		/*
		 * the VMM's, not begun yet; with what CR2 or DR6 gets of it then, if has_payload
		 */
		bool injected, has_payload;
		u64 payload;
	} exception;
	/* at this entry INT3's or INTO's, with RIP behind the instruction */
	bool trap_injected;
	bool nmi_pending;  /* taken over from DUE_NMI */
	bool nmi_injected; /* one whose delivery was broken off by an exit */
	/*
	 * blocked until IRET, as of the last exit; the back ends keep it for VMMs' sake and differ
	 * in whether an injection already sets it
	 */
	bool nmi_masked;
	bool irq_injected; /* an interrupt whose delivery was broken off by an exit */
	bool in_smm;	   /* vcpu_set_smm() */
	bool smi_pending;  /* taken over from DUE_SMI */
	bool
	    init_latched; /* INIT has come in SMM, or as holds_init() says, and waits for the end */
	bool smm_in_nmi;  /* NMIs were masked when SMM began: they are when it ends */
	u8 irq_vector;
	s32 user_irq; /* KVM_INTERRUPT, -1 = none */

	/* Lazily switched state; in the hardware while cpu->loaded == this */
	u8 *xsave; /* XSAVE_BYTES, 64-byte aligned, pool page */
	u64 xcr0;
	u64 dr[4];   /* DR0..3; DR6 and DR7 live in the back end, or in debug */
	u64 trainer; /* a new one, with the CPU's index, on each CPU that it comes to; spec.h */

	/* debug.h */
	struct {
		u32 control;	     /* CORBEL_DEBUG_x; 0: no debugger */
		bool owed;	     /* a single-step trap that the debugger is to see */
		u64 dr6, dr7;	     /* the guest's, while they are not in the hardware */
		u64 own[4], own_dr7; /* the debugger's */
	} debug;

	/* MSRs outside the back end's structure */
	u64 tsc_offset, tsc_mul; /* guest TSC = scale_tsc(host TSC, tsc_mul) + tsc_offset */
	u32 tsc_khz;		 /* its frequency */
	u64 tsc_adjust;		 /* IA32_TSC_ADJUST: what the guest has moved it by */
	u64 tsc_aux, misc_enable, misc_features, platform_info, power_ctl, pat, mtrr_def_type;
	u64 spec_ctrl;	 /* SPEC_CTRL, but for bits of ours; hv/cpu/spec.asm has it, too */
	u64 arch_hidden; /* what its VMM hides of ARCH_CAPABILITIES */
	struct {	 /* what its CPUID lets the guest set, and MSRs that it has by it */
		u64 cr4, efer, xcr0, spec_ctrl;
		u32 insns; /* INSN_x */
		bool tsc_aux, xss, pred_cmd, flush_cmd, virt_ssbd, arch_cap, svm, vmx;
	} rights;
	bool ssbd;			/* in VIRT_SPEC_CTRL */
	bool osxsave;			/* CR4.OSXSAVE, which no vCPU changes without an exit */
	bool guest_mode, nested_paging; /* struct nested_ops */
	struct shadow *shadow;		/* shadow.h; NULL: it can have no guests */
	u64 nested_tsc;			/* what the nested guest's TSC is off by besides */
	u64 feature_control;		/* with rights.vmx */
	u64 fixed_cr0, fixed_cr4;	/* bits that it must not clear */
	u64 mtrr_fixed[11], mtrr_var[16];
	struct mce mce;
	struct pmu pmu;

	u32 cpuid_count, cpuid_sig; /* leaf 1 EAX */
	/* index of the first entry of leaves 0.., 0x40000000.., 0x80000000..; 0xff none */
	u8 cpuid_first[4][32];
	struct corbel_cpuid *cpuid; /* pool page */

	/* Exit in progress towards the VMM */
	struct vcpu_emul *emul; /* linear.h */
	struct vcpu_io {
		u64 linear;
		u32 count, size, addr_size, insn_len;
		u32 reg; /* that points to the string */
		bool rep, down;
	} io;					/* in progress; of a single IN the size only */
	complete_fn *complete;			/* at the next run; NULL: nothing is in progress */
	complete_fn *go_on;			/* fault.c: that, once there is memory; or NULL */
	u32 stop_reason;			/* CORBEL_EXIT_x: stop before the next entry */
	struct corbel_vcpu_page __shared *page; /* NULL for dom0's vCPUs */
	u8 __shared *data;			/* data page */
	/* dom0 vCPU that resumed us: if it has not run since, it needs no event interrupt */
	struct vcpu *resumer;
	u64 resumer_exits;	/* its exits_total then */
	bool want_irq_window;	/* the VMM asked for CORBEL_EXIT_IRQ_WINDOW */
	bool window, window_on; /* interrupt window wanted for this entry; asked of the back end */

	struct {
		bool on;   /* set by the hypercall that begins it; vcpu_destroy() ends it */
		s32 waits; /* the CPU among whose waiting ones it is, -1: none */
		struct vcpu *next, **link; /* among those, under their lock */
	} posting;			   /* posting.h */

	/* dom0's vCPUs */
	u8 event_vector; /* any CPU reads it */

	u8 services; /* CORBEL_HYPERV_x, CORBEL_KVM_x */

	u64 exits_total, exits[VMEXIT_NR]; /* any CPU reads them */
	u64 spun_at;			   /* exits_total when it made way: spin.h */
};

/* By its number; NULL if there is none, or no more. */
struct vcpu *vcpu_by_number(u64 number);
/* By global id; NULL if there is none. */
struct vcpu *vcpu_by_id(u64 id);
/* -> its number; -ENOMEM, -ENOSPC, -EEXIST */
s64 vcpu_create(struct vm *vm, u32 apic_id);
/* -EBUSY unless all vCPUs of its VM are stopped; -EAGAIN: not quite yet */
int vcpu_destroy(struct vcpu *v);
/* Architectural reset (RESET for the BSP, wait-for-SIPI for others). */
void vcpu_reset(struct vcpu *v, bool init);
/*
 * SMM begins or ends for a vCPU that is borrowed, whose VM has a second map: it uses the other one.
 */
void vcpu_set_smm(struct vcpu *v, bool on);
/* vCPUs of all VMs together */
u32 vcpu_total(void);

/* Guest TSC when the machine's is at tsc. */
static inline u64 vcpu_tsc(const struct vcpu *v, u64 tsc)
{
	return scale_tsc(tsc, v->tsc_mul) + v->tsc_offset;
}

/* What WRMSR and XSETBV take. */
static inline u64 vcpu_edx_eax(const struct vcpu *v)
{
	return (u32)v->gpr[RAX] | v->gpr[RDX] << 32;
}

/* Has the VMM switched this one off, of CORBEL_QUIRK_x? */
static inline bool vcpu_lacks_quirk(const struct vcpu *v, u64 quirk)
{
	return v->page && READ_ONCE(v->page->quirks) & quirk;
}

/* CR4, already validated, of a vCPU that is loaded or borrowed. */
static inline void vcpu_set_cr4(struct vcpu *v, u64 val)
{
	v->osxsave = val & CR4_OSXSAVE;
	hvm->set(v, HVM_CR4, val);
}

/*
 * For a hypercall: a stopped vCPU, which nobody resumes or touches before v->stopped is set anew.
 * False: it runs, or is another's.
 */
static inline bool vcpu_claim(struct vcpu *v)
{
	u32 was = VCPU_STOPPED;

	return __atomic_compare_exchange_n(&v->stopped, &was, VCPU_CLAIMED, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

static inline void vcpu_unnote(struct vcpu *v, u64 due)
{
	__atomic_fetch_and(&v->due, ~due, __ATOMIC_SEQ_CST);
}

static inline void vcpu_note(struct vcpu *v, u64 due)
{
	__atomic_fetch_or(&v->due, due, __ATOMIC_SEQ_CST);
}

/*
 * It stops before its next entry and is handed to dom0 with this CORBEL_EXIT_x. page->... is filled
 * by the caller.
 */
static inline void vcpu_exit_to_dom0(struct vcpu *v, u32 reason)
{
	v->stop_reason = reason;
	vcpu_note(v, DUE_LOOK);
}
