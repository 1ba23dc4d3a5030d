/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The contract of a hardware back end (hv/svm, hv/vmx): one const table of semantic functions.
 * run() enters the guest and decodes what came out into a neutral struct vm_exit; hv/guest/exit.c
 * handles it once for both vendors.
 */
#pragma once

#include "hv/abi.h"
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
			u32 error;
		} exc;
		/*
		 * EOI: the vector; APIC_WRITE: offset of a register that has been written by WRMSR
		 */
		u16 apic;
	};
};

enum hvm_seg { HVM_ES, HVM_CS, HVM_SS, HVM_DS, HVM_FS, HVM_GS, HVM_LDTR, HVM_TR };

/*
 * What guests' code wants to know or set often, without moving the whole register file.
 *
 * Where several are set it is in this order: EFER, CR4, CR3, CR0, as a CPU takes them. What CR0
 * makes of the others is looked at when CR0 comes: EFER.LMA follows from LME and PG.
 */
enum hvm_reg {
	HVM_CR0,
	HVM_CR2,
	HVM_CR3,
	HVM_CR4,
	HVM_EFER,
	HVM_SHADOW, /* interrupt shadow */
	/* To get only: they follow from the segments and the above. */
	HVM_CPL,
	HVM_MODE, /* enum emul_mode */
	/*
	 * To set only, and no register: v->tsc_offset has changed, or v->tsc_mul. The value does
	 * not matter.
	 */
	HVM_TSC_OFFSET
};

/* What linear addresses mean now, and which instruction comes next */
struct hvm_paging {
	u64 cr0, cr3, cr4, efer;
	u64 next;      /* CS:RIP as a linear address */
	u32 cpl, mode; /* enum emul_mode */
};
/* what of CR4 matters to the fetch of an instruction */
#define HVM_FETCH_CR4 (CR4_PSE | CR4_PAE | CR4_LA57 | CR4_SMEP)

enum hvm_event_kind { HVM_INJ_IRQ, HVM_INJ_NMI, HVM_INJ_EXCEPTION };

#define HVM_CAP_NRIPS	   BIT(0)
#define HVM_CAP_FLUSHASID  BIT(2)
#define HVM_CAP_NO_RDTSCP  BIT(7) /* guests cannot execute these, whatever the CPU has */
#define HVM_CAP_NO_INVPCID BIT(8)
#define HVM_CAP_NO_XSAVES  BIT(5) /* nor XSAVEC */
/* Hardware delivers interrupts by itself while lapic_is_direct() ... */
#define HVM_CAP_VID BIT(9)
/* ... and takes in what other CPUs put into IRR when VEC_POSTED comes. */
#define HVM_CAP_POST BIT(10)

/*
 * Of a vCPU that is loaded here or borrowed. Values to be set have been validated. is_paging: would
 * an instruction be fetched from p->next in the same way? msr_x: MSRs that live in the back end's
 * structure, EFER excluded; -ENOENT: not one of them. can_inject: IF, shadow, NMI blocking, nothing
 * injected yet. dump: into the log, in the manual's order.
 */
#define HVM_STATE_OPS(X)                                                                           \
	X(u64, get, struct vcpu *v, enum hvm_reg r)                                                \
	X(void, set, struct vcpu *v, enum hvm_reg r, u64 val)                                      \
	X(void, get_paging, struct vcpu *v, struct hvm_paging *out)                                \
	X(bool, is_paging, struct vcpu *v, const struct hvm_paging *p)                             \
	X(void, get_seg, struct vcpu *v, enum hvm_seg s, struct corbel_segment *out)               \
	X(void, set_seg, struct vcpu *v, enum hvm_seg s, const struct corbel_segment *in)          \
	X(void, get_dt, struct vcpu *v, bool idt, struct corbel_dtable *out)                       \
	X(void, set_dt, struct vcpu *v, bool idt, const struct corbel_dtable *in)                  \
	X(void, get_dr67, struct vcpu *v, u64 *dr6, u64 *dr7)                                      \
	X(void, set_dr67, struct vcpu *v, u64 dr6, u64 dr7)                                        \
	X(int, msr_get, struct vcpu *v, u32 msr, u64 *val)                                         \
	X(int, msr_set, struct vcpu *v, u32 msr, u64 val)                                          \
	X(bool, can_inject, struct vcpu *v, enum hvm_event_kind k)                                 \
	X(void, inject, struct vcpu *v, enum hvm_event_kind k, u8 vector, bool has_error,          \
	  u32 error)                                                                               \
	X(void, want_window, struct vcpu *v, enum hvm_event_kind k, bool on)                       \
	X(void, dump, struct vcpu *v)

struct hvm_ops {
	const char *name;
	u32 backend; /* CORBEL_BACKEND_x */
	u64 caps;    /* filled by probe */
	u8 tsc_frac; /* fraction bits of the TSC multiplier, 0: there is none */

	/*
	 * Is this CPU able? NULL, or the line for boot_fail(): cause and cure. Runs once on the
	 * boot CPU; pure CPUID/MSR reads.
	 */
	const char *(*probe)(void);
	int (*cpu_enable)(struct cpu *c);
	void (*cpu_disable)(struct cpu *c); /* before reboot and in panic */

	u8 msr_map_order, io_map_order; /* sizes; see struct vm */
	/* reads and writes use the hardware's register, which is switched */
	void (*allow_msr)(struct vm *vm, u32 msr);
	int (*vcpu_init)(struct vcpu *v);
	void (*vcpu_destroy)(struct vcpu *v);
	/* controls and MSRs; registers are set by get() and set() */
	void (*vcpu_reset)(struct vcpu *v, bool init);

	/* becomes current on this CPU (may have been elsewhere before) */
	void (*load)(struct vcpu *v);
	void (*put)(struct vcpu *v);
	/*
	 * Access to a vCPU that is not loaded, while another may be. False: it is loaded, here or
	 * elsewhere. Takes a lock.
	 */
	bool (*borrow)(struct vcpu *v);
	void (*give_back)(struct vcpu *v);
	/* IF=0 in and out; physical interrupts stay pending */
	void (*run)(struct vcpu *v, struct vm_exit *x);

#define X(type, name, ...) type (*name)(__VA_ARGS__);
	HVM_STATE_OPS(X)
#undef X
};

extern const struct hvm_ops *hvm; /* the one chosen at boot */

/* Choose by CPUID between the two back ends and probe; boot_fail() when this CPU can do neither. */
void hvm_select(const struct hvm_ops *svm, const struct hvm_ops *vmx);
