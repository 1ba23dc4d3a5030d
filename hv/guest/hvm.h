/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The contract of a hardware back end (hv/svm, hv/vmx): one const table of semantic functions.
 * run() enters the guest and decodes what came out into a neutral struct vm_exit; hv/guest/exit.c
 * handles it once for both vendors.
 */
#pragma once

#include "hv/abi.h"
#include "hv/abi_nested.h"
#include "hv/lib/types.h"

struct vcpu;
struct vm;
struct cpu;

enum vmexit_reason {
#define X(id, name) VMEXIT_##id,
	CORBEL_EXIT_NAMES
#undef X
	    VMEXIT_NR
};
_Static_assert(VMEXIT_NR <= CORBEL_EXIT_STATS, "exit statistics fit the ABI");

struct vm_exit {
	u32 reason;   /* enum vmexit_reason */
	u32 insn_len; /* 0 = not known: fixed table or decoder */
	/*
	 * no interrupt shadow, no single-stepping: to step over the instruction is to add its
	 * length
	 */
	bool plain;
	u64 raw; /* hardware's code, for the log */
	union {
		struct {
			u16 port;
			u8 size;
			bool in, string, rep;
		} io;
		struct {
			u64 gpa;
			bool write, exec, during_walk;
		} p2m;
		struct {
			u8 cr;
			bool write;
			u8 gpr; /* 0xff = not known: decode */
		} cr;
		struct {
			u8 vector;
			bool has_error;
			bool behind; /* INT1: the handler is to see RIP behind it */
			u32 error;
		} exc;
		struct {
			u8 source;    /* enum task_source */
			u16 selector; /* of the new TSS */
			u32 event;    /* EVT_x that was being delivered, if EVT_VALID */
		} task;
		/*
		 * EOI: the vector; APIC_WRITE: offset of a register that has been written by WRMSR
		 */
		u16 apic;
	};
};

/* The last two have a base and a limit only. */
enum hvm_seg {
	HVM_ES,
	HVM_CS,
	HVM_SS,
	HVM_DS,
	HVM_FS,
	HVM_GS,
	HVM_LDTR,
	HVM_TR,
	HVM_GDTR,
	HVM_IDTR
};

/*
 * Access rights of a segment: the second word of a descriptor without its limit, and "unusable".
 * VT-x has them so, AMD-V without the gap.
 */
#define AR_TYPE	    GENMASK(3, 0)
#define AR_ACCESSED BIT(0) /* of TYPE, for code and data */
#define AR_BUSY	    BIT(1) /* of TYPE, for a TSS */
#define AR_S	    BIT(4)
#define AR_DPL	    GENMASK(6, 5)
#define AR_P	    BIT(7)
#define AR_AVL	    BIT(12)
#define AR_L	    BIT(13)
#define AR_DB	    BIT(14)
#define AR_G	    BIT(15)
#define AR_UNUSABLE BIT(16)

/* All but base, limit and selector. */
void hvm_seg_from_rights(struct corbel_segment *out, u32 rights);
/* Without UNUSABLE: such a segment is not present. */
u32 hvm_seg_rights(const struct corbel_segment *in);

/*
 * What guests' code wants to know or set often, without moving the whole register file. CPL and
 * MODE follow from the segments and can only be read.
 */
enum hvm_reg {
	HVM_CR0,
	HVM_CR2,
	HVM_CR3,
	HVM_CR4,
	HVM_EFER,
	HVM_DR6,
	HVM_DR7,
	HVM_CPL,
	HVM_MODE /* enum emul_mode */,
	HVM_SHADOW /* interrupt shadow */,
	HVM_NMI_MASK /* v->nmi_masked, which is not set otherwise */,
	HVM_PERF_GLOBAL, /* IA32_PERF_GLOBAL_CTRL, set only, with HVM_CAP_PERF_CTRL */
	HVM_INSNS	 /* INSN_x of v->rights, set only */
};

/*
 * Instructions that the hardware can keep from a guest which is not shown them: bits of HVM_INSNS.
 * VT-x has all of them, RDTSCP and RDPID together; AMD-V RDTSCP and INVPCID.
 */
#define INSN_RDTSCP  BIT(0)
#define INSN_RDPID   BIT(1)
#define INSN_INVPCID BIT(2)
#define INSN_XSAVES  BIT(3)
#define INSN_RDRAND  BIT(4)
#define INSN_RDSEED  BIT(5)

/* What linear addresses mean now, and which instruction comes next */
struct hvm_paging {
	u64 cr0, cr3, cr4, efer;
	u64 next;      /* CS:RIP as a linear address */
	u32 cpl, mode; /* enum emul_mode */
};
/* what of CR4 matters to the fetch of an instruction */
#define HVM_FETCH_CR4 (CR4_PSE | CR4_PAE | CR4_LA57 | CR4_SMEP)

/* Exceptions with an error code: #DF, #TS to #PF, #AC, #CP */
#define EXC_HAS_ERROR (BIT(8) | GENMASK(14, 10) | BIT(17) | BIT(21))

/*
 * An event as the hardware of both vendors writes it, where one is injected and where one was
 * broken off by an exit.
 */
#define EVT_VECTOR    GENMASK(7, 0)
#define EVT_TYPE      GENMASK(10, 8) /* enum hvm_event_kind, or another of software's own */
#define EVT_HAS_ERROR BIT(11)
#define EVT_VALID     BIT(31)
#define EVT_SOFTWARE  4 /* type: of INT n */
enum hvm_event_kind { HVM_INJ_IRQ = 0, HVM_INJ_NMI = 2, HVM_INJ_EXCEPTION = 3 };

static inline u32 hvm_event(enum hvm_event_kind k, u8 vector, bool has_error)
{
	u32 event = vector | FIELD_PREP(EVT_TYPE, k) | EVT_VALID;

	return has_error ? event | EVT_HAS_ERROR : event;
}

/* An event whose delivery was broken off by the exit is to be delivered again. */
void hvm_take_back_event(struct vcpu *v, u32 event, u32 error);

/*
 * #DB and #AC could loop for ever inside the CPU while being delivered; #MC is ours; by #UD are
 * seen RSM in SMM and the other vendor's hypercall.
 */
#define HVM_OUR_EXCEPTIONS (BIT(VEC_DB) | BIT(VEC_UD) | BIT(VEC_AC) | BIT(VEC_MC))

#define HVM_TSC_MUL_FRAC 48 /* fraction bits of v->tsc_mul */

/* MSR bitmaps have parts of so many MSRs: from 0 on, and from HVM_MSR_HIGH on. */
#define HVM_MSR_RANGE 0x2000u
#define HVM_MSR_HIGH  0xc0000000u

#define HVM_CAP_NO_RDTSCP  BIT(0) /* guests cannot execute these, whatever the CPU has */
#define HVM_CAP_NO_INVPCID BIT(1)
#define HVM_CAP_NO_XSAVES  BIT(2) /* nor XSAVEC */
/* Hardware delivers interrupts by itself while lapic_is_direct() ... */
#define HVM_CAP_VID BIT(3)
/* ... and takes in what other CPUs put into IRR when VEC_POSTED comes. */
#define HVM_CAP_POST BIT(4)
/* Guests may have guests. */
#define HVM_CAP_NESTED BIT(5)
/* VT-x: entries load HVM_PERF_GLOBAL, exits load 0. */
#define HVM_CAP_PERF_CTRL BIT(6)

/* What the machine offers */
struct hvm_caps {
	u64 flags;		     /* HVM_CAP_x */
	u8 tsc_frac;		     /* fraction bits of the TSC multiplier, 0: there is none */
	u8 msr_map_order;	     /* size of vm->msr_map */
	const struct pt_format *p2m; /* of guests' maps: one of pt.c's */
	bool p2m_1g;		     /* it may have leaves of 1 GiB */
	u8 nested_order; /* of what a vCPU has besides, for its guests: begins with struct shadow */
	u32 nested_edx;	 /* AMD: EDX of CPUID 0x8000000a, as they have it; else 0 */
};
extern struct hvm_caps hvm_caps; /* set once, by hvm_select() */
static inline bool hvm_has_nested_vmx(void)
{
	return hvm_caps.flags & HVM_CAP_NESTED && !hvm_caps.nested_edx;
}

/*
 * The functions of a back end; none is missing.
 *
 * The machine:
 *   probe: is this CPU able? NULL, or the line for boot_fail(): cause and cure. Once, on the boot
 *     CPU; only reads CPUID and MSRs.
 *   cpu_enable, cpu_disable: on the CPU itself; the latter before reboot and in panic.
 * VMs and vCPUs:
 *   direct_msr: reads, and writes, use the hardware's register, which is switched, or exit. An MSR
 *     of the two ranges of MSR bitmaps.
 *   vcpu_reset: controls and MSRs; registers are set by set().
 *   load, put: becomes current on this CPU (may have been elsewhere before), and no longer.
 *   borrow, give_back: access to a vCPU that is not loaded and that nobody else can load or borrow
 *     (vcpu_claim()), while another may be. False: it is loaded here, or another CPU still has
 *     something of it, and lets go when it next takes interrupts: try again behind irq_window() or
 *     later, without a lock. May hold a lock between.
 *   idle: this CPU is about to sleep, and nobody is to have to wake it for what it has of a vCPU.
 *   run: IF = 0 in and out; physical interrupts stay pending, or have been handled.
 * State of a vCPU that is loaded here or borrowed. Values to be set have been validated:
 *   is_paging: would an instruction be fetched from p->next in the same way?
 *   set_tsc: v->tsc_offset has changed, or v->tsc_mul of a vCPU that is not loaded.
 *   msr_x: MSRs that live in the back end's structure, EFER excluded; -ENOENT: not one of them.
 *   can_inject: IF, shadow, NMI blocking, nothing injected yet.
 *   set_map: v->p2m is another, by v->in_smm.
 *   set_debug: INT3 exits; MOVs to and from debug registers exit, and no old trap is left.
 *   want_window: an exit as soon as one can be injected.
 *   dump: into the log, in the manual's order, HVM_DUMP_BYTES at most.
 */
#define HVM_DUMP_BYTES 8192
#define HVM_OPS(X)                                                                                 \
	X(const char *, probe, struct hvm_caps *caps)                                              \
	X(int, cpu_enable, struct cpu *c)                                                          \
	X(void, cpu_disable, struct cpu *c)                                                        \
	X(void, direct_msr, struct vm *vm, u32 msr, bool reads, bool writes)                       \
	X(int, vcpu_init, struct vcpu *v)                                                          \
	X(void, vcpu_destroy, struct vcpu *v)                                                      \
	X(void, vcpu_reset, struct vcpu *v, bool init)                                             \
	X(void, load, struct vcpu *v)                                                              \
	X(void, put, struct vcpu *v)                                                               \
	X(bool, borrow, struct vcpu *v)                                                            \
	X(void, give_back, struct vcpu *v)                                                         \
	X(void, idle, void)                                                                        \
	X(void, run, struct vcpu *v, struct vm_exit *x)                                            \
	X(u64, get, struct vcpu *v, enum hvm_reg r)                                                \
	X(void, set, struct vcpu *v, enum hvm_reg r, u64 val)                                      \
	X(void, get_paging, struct vcpu *v, struct hvm_paging *out)                                \
	X(bool, is_paging, struct vcpu *v, const struct hvm_paging *p)                             \
	X(void, get_seg, struct vcpu *v, enum hvm_seg s, struct corbel_segment *out)               \
	X(void, set_seg, struct vcpu *v, enum hvm_seg s, const struct corbel_segment *in)          \
	X(void, set_tsc, struct vcpu *v)                                                           \
	X(int, msr_get, struct vcpu *v, u32 msr, u64 *val)                                         \
	X(int, msr_set, struct vcpu *v, u32 msr, u64 val)                                          \
	X(bool, can_inject, struct vcpu *v, enum hvm_event_kind k)                                 \
	X(void, inject, struct vcpu *v, enum hvm_event_kind k, u8 vector, bool has_error,          \
	  u32 error)                                                                               \
	X(void, set_map, struct vcpu *v)                                                           \
	X(void, set_debug, struct vcpu *v, bool int3, bool drs)                                    \
	X(void, want_window, struct vcpu *v, enum hvm_event_kind k, bool on)                       \
	X(void, dump, struct vcpu *v)

/*
 * A vCPU whose guest runs a guest of its own is in guest mode (v->guest_mode): its registers, and
 * all that get() and the others tell, are the nested guest's then.
 *   insn: an instruction of the vendor's for hypervisors has exited.
 *   event: in guest mode, before an entry: does something that waits end it? Then it has, and all
 *     that comes before an entry is to be looked at again.
 *   translate: with v->nested_paging, a physical address of the nested guest's to the guest's, for
 *     an access by WALK_x. -EAGAIN: not now, or not at all, about which
 *   fault: does what is to be done.
 *   walk: through the guest's nested tables. 0; -EFAULT and, as of #PF, the error code; -EAGAIN: a
 *     table is not to be had at *to. look: without setting flags.
 *   refuse: ends guest mode by the guest's fault that walk has found; x: the exit, or NULL.
 *   flush: no translation of the shadow's is used any more, and its root may be another.
 *   hypercall: in guest mode, at one that has come as #UD: whether it is the guest's, and has
 *     ended guest mode.
 *   holds_smi: an SMI waits: the guest keeps all events out, or it ends guest mode first, which
 *     event() sees to. Its end is noted.
 *   holds_init: likewise of an INIT, which ends guest mode or is held back until that is over.
 *   features: the VMX MSRs, as all guests may have them; -> how many. NULL: not VMX
 *   shutdown: whether a triple fault in guest mode is the guest's to handle, and has ended that.
 *   off: the VMM clears a bit of CR4 that the guest could not (v->fixed_cr4): the end of VMX, and
 *     of guest mode; what the registers are then it knows.
 *   get_state, set_state: CORBEL_STATE_NESTED. -EINVAL; -EAGAIN: memory has to be brought first.
 */
struct nested_ops {
	void (*insn)(struct vcpu *v, const struct vm_exit *x);
	bool (*event)(struct vcpu *v);
	bool (*hypercall)(struct vcpu *v);
	bool (*holds_smi)(struct vcpu *v);
	bool (*holds_init)(struct vcpu *v);
	int (*translate)(struct vcpu *v, u64 access, u64 *at);
	void (*fault)(struct vcpu *v, u64 access, u64 at);
	int (*walk)(struct vcpu *v, u64 at, u64 access, bool look, u64 *to, u32 *error);
	void (*refuse)(struct vcpu *v, u64 at, u64 access, u32 error, const struct vm_exit *x);
	void (*flush)(struct vcpu *v);
	u32 (*features)(u64 *out);
	void (*off)(struct vcpu *v);
	bool (*shutdown)(struct vcpu *v);
	int (*get_state)(struct vcpu *v, struct corbel_nested *out);
	int (*set_state)(struct vcpu *v, const struct corbel_nested *in);
};

/* What a guest's VMCB or VMCS is held to beside the CPU's rules. */
struct nested_limits {
	u64 cr4, efer;	   /* bits that may be set */
	u64 addr_bits;	   /* bits of physical addresses */
	bool mode;	   /* the guest's own: paging (AMD-V), long mode (VT-x) */
	const u64 *hidden; /* VT-x: NESTED_CAPS of them, what its VMM hides */
	u32 denied;	   /* VT-x: secondary controls of what its CPUID does not show */
};

struct hvm_ops {
	const char *name;
	const struct nested_ops *nested;
	u32 backend;	 /* CORBEL_BACKEND_x */
	u8 io_map_order; /* size of vm->io_map */
	u8 vcpu_pages;	 /* what vcpu_init() takes of the pool */
#define X(type, name, ...) type (*name)(__VA_ARGS__);
	HVM_OPS(X)
#undef X
};

extern const struct hvm_ops *hvm; /* set once, by hvm_select() */

void hvm_get_dt(struct vcpu *v, enum hvm_seg s, struct corbel_dtable *out);
void hvm_set_dt(struct vcpu *v, enum hvm_seg s, const struct corbel_dtable *in);

/* Choose by CPUID between the two back ends and probe; boot_fail() when this CPU can do neither. */
void hvm_select(const struct hvm_ops *svm, const struct hvm_ops *vmx);
/* Has this CPU VT-x, be it switched off? */
bool hvm_has_vmx(void);
