/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Microsoft's Hypervisor Top-Level Functional Specification (TLFS): numbers and layouts, and what
 * is only logic of it. Like pure.h.
 */
#ifndef KMOD_TLFS_H
#define KMOD_TLFS_H

#include "pure.h"

/* ---- CPUID ---- */

#define TLFS_LEAF_MAX	   0x40000000u
#define TLFS_LEAF_HV	   0x40000001u
#define TLFS_LEAF_VERSION  0x40000002u
#define TLFS_LEAF_FEATURES 0x40000003u
#define TLFS_LEAF_HINTS	   0x40000004u
#define TLFS_LEAF_LIMITS   0x40000005u

#define TLFS_HV1 0x31237648u /* "Hv#1": what TLFS says holds */

/* FEATURES, EAX: MSRs that the guest may use */
#define TLFS_MSR_RUNTIME	 0x0001u
#define TLFS_MSR_REF_COUNT	 0x0002u
#define TLFS_MSR_APIC		 0x0010u
#define TLFS_MSR_HYPERCALL	 0x0020u
#define TLFS_MSR_VP_INDEX	 0x0040u
#define TLFS_MSR_RESET		 0x0080u
#define TLFS_MSR_REFERENCE_TSC	 0x0200u
#define TLFS_MSR_FREQUENCY	 0x0800u
#define TLFS_MSR_REENLIGHTENMENT 0x2000u
/* EDX */
#define TLFS_HAS_FREQUENCY 0x0100u
#define TLFS_HAS_CRASH	   0x0400u
/* HINTS, EAX */
#define TLFS_HINT_FLUSH	  0x0004u /* TLBs of others are flushed by hypercalls */
#define TLFS_HINT_APIC	  0x0008u /* use its MSRs */
#define TLFS_HINT_RELAXED 0x0020u /* no watchdogs */
#define TLFS_HINT_IPI	  0x0400u /* so are IPIs sent */
#define TLFS_HINT_SETS	  0x0800u /* to sets of vCPUs, too: the calls _EX */
/* EBX: tries before a spinning vCPU says so */
#define TLFS_NO_SPINS 0xffffffffu

/* What a guest has been shown of that. */
struct tlfs_rights {
	u32 eax, ebx, edx;  /* FEATURES */
	u32 hints, spins;   /* HINTS: EAX, EBX */
	bool has_signature; /* TLFS_HV1 is there, else nothing of all this is */
	bool is_enforced;   /* it may use nothing else: KVM_CAP_HYPERV_ENFORCE_CPUID */
};
/* Of a VMM's table; is_enforced stays as it is. */
void tlfs_take_cpuid(struct tlfs_rights *r, const struct kvm_cpuid_entry2 *e, u32 n);
/* What is offered: TLFS_LEAVES of them. */
#define TLFS_LEAVES 6u
void tlfs_offer_cpuid(struct kvm_cpuid_entry2 *e, u32 max_vcpus);

/* ---- MSRs ---- */

#define TLFS_MSRS	    0x40000000u /* the first, and their number */
#define TLFS_MSRS_NR	    0x200u
#define MSR_GUEST_OS_ID	    0x40000000u
#define MSR_HV_HYPERCALL    0x40000001u
#define MSR_VP_INDEX	    0x40000002u
#define MSR_HV_RESET	    0x40000003u
#define MSR_VP_RUNTIME	    0x40000010u
#define MSR_TIME_REF_COUNT  0x40000020u
#define MSR_REFERENCE_TSC   0x40000021u
#define MSR_TSC_FREQUENCY   0x40000022u
#define MSR_APIC_FREQUENCY  0x40000023u
#define MSR_HV_EOI	    0x40000070u
#define MSR_HV_TPR	    0x40000072u
#define MSR_VP_ASSIST_PAGE  0x40000073u
#define MSR_CRASH_P0	    0x40000100u
#define MSR_CRASH_CTL	    0x40000105u
#define MSR_REENLIGHTENMENT 0x40000106u
#define MSR_TSC_EMULATION   0x40000107u
#define MSR_TSC_EMULATED    0x40000108u

#define TLFS_CRASH_PARAMETERS (MSR_CRASH_CTL - MSR_CRASH_P0)
#define TLFS_CRASH_NOTIFY     (1ull << 63)

/* Of MSRs that hold the frame number of a page. */
#define TLFS_PAGE_ENABLED 1ull
#define TLFS_PAGE_MASK	  (~0xfffull)

static inline bool tlfs_has_msr(u32 index)
{
	return index - TLFS_MSRS < TLFS_MSRS_NR;
}
/* May the guest use it, if there is such a one? */
bool tlfs_may_use(const struct tlfs_rights *r, u32 msr);

/* ---- the reference time, in units of 100 ns ---- */

struct tlfs_tsc_page { /* how it is computed from the TSC */
	u32 sequence;  /* 0: it cannot be so, ask MSR_TIME_REF_COUNT */
	u32 reserved;
	u64 scale; /* time = (tsc * scale >> 64) + offset */
	s64 offset;
};
/*
 * So that it is ns when the TSC is tsc, and 2^(shift - 32) * mul ns pass for a tick; never more,
 * and less by two units at most. False: it does not fit.
 */
bool tlfs_compute_tsc(struct tlfs_tsc_page *p, u64 tsc, u64 ns, u32 mul, s32 shift);
u64 tlfs_time_at(const struct tlfs_tsc_page *p, u64 tsc);
/* The sequence after this one: not 0, nor what means invalid. */
u32 tlfs_next_sequence(u32 sequence);

/* ---- hypercalls ---- */

enum tlfs_call {
	CALL_FLUSH = 0x02,
	CALL_FLUSH_LIST = 0x03,
	CALL_SPIN_WAIT = 0x08,
	CALL_SEND_IPI = 0x0b,
	CALL_FLUSH_EX = 0x13,
	CALL_FLUSH_LIST_EX = 0x14,
	CALL_SEND_IPI_EX = 0x15,
};
enum tlfs_status {
	TLFS_SUCCESS,
	TLFS_INVALID_CODE = 2,
	TLFS_INVALID_INPUT = 3,
	TLFS_ACCESS_DENIED = 6,
};
/* What the guest has put into RCX, or EDX:EAX */
#define TLFS_CALL_FAST	   (1ull << 16) /* input is in registers */
#define TLFS_CALL_RESERVED 0xf000f000f8000000ull

struct tlfs_hypercall {
	u16 code;
	bool fast;
	u16 var;	 /* of the header, in quadwords */
	u16 count, done; /* of a list */
	u64 input, output;
};
/*
 * Take the word apart. TLFS_SUCCESS, or with what it ends at once: rights are missing, or it makes
 * no sense for this call.
 */
enum tlfs_status tlfs_decode(const struct tlfs_rights *r, u64 word, struct tlfs_hypercall *c);

/* vCPUs by their index, 64 to a bank */
#define TLFS_SET_SPARSE 0u
#define TLFS_SET_ALL	1u
struct tlfs_set {
	u64 format;
	u64 banks; /* which of them follow */
};
/* The first 64 of those in a set, all that there are; bank: those that follow. 0: none. */
u64 tlfs_first_bank(const struct tlfs_set *s, const u64 *bank);

struct tlfs_flush { /* input of CALL_FLUSH, _LIST; of _EX a set in place of the mask */
	u64 space, flags;
	u64 mask;
};
struct tlfs_ipi { /* likewise of CALL_SEND_IPI */
	u32 vector, reserved;
	u64 mask;
};
#define TLFS_IPI_FIRST 0x10u /* vectors that can be sent */
#define TLFS_IPI_LAST  0xffu

#endif
