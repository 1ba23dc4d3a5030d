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
#define TLFS_LEAF_NESTED   0x4000000au

#define TLFS_HV1 0x31237648u /* "Hv#1": what TLFS says holds */

/* FEATURES, EAX: MSRs that the guest may use */
#define TLFS_MSR_RUNTIME	 0x0001u
#define TLFS_MSR_REF_COUNT	 0x0002u
#define TLFS_MSR_SYNIC		 0x0004u
#define TLFS_MSR_TIMERS		 0x0008u
#define TLFS_MSR_APIC		 0x0010u
#define TLFS_MSR_HYPERCALL	 0x0020u
#define TLFS_MSR_VP_INDEX	 0x0040u
#define TLFS_MSR_RESET		 0x0080u
#define TLFS_MSR_REFERENCE_TSC	 0x0200u
#define TLFS_MSR_FREQUENCY	 0x0800u
#define TLFS_MSR_REENLIGHTENMENT 0x2000u
/* EBX: hypercalls */
#define TLFS_MAY_POST	0x0010u
#define TLFS_MAY_SIGNAL 0x0020u
/* EDX */
#define TLFS_HAS_XMM_INPUT     0x0010u /* registers hold more of a fast call's input */
#define TLFS_HAS_FREQUENCY     0x0100u
#define TLFS_HAS_CRASH	       0x0400u
#define TLFS_HAS_LISTS	       0x4000u /* lists of what is to be flushed, in any call */
#define TLFS_HAS_DIRECT_TIMERS 0x80000u
/* HINTS, EAX */
#define TLFS_HINT_FLUSH	  0x0004u /* TLBs of others are flushed by hypercalls */
#define TLFS_HINT_APIC	  0x0008u /* use its MSRs */
#define TLFS_HINT_RELAXED 0x0020u /* no watchdogs */
#define TLFS_HINT_EOI	  0x0200u /* no automatic ones: then the CPU may deliver interrupts */
#define TLFS_HINT_IPI	  0x0400u /* so are IPIs sent */
#define TLFS_HINT_SETS	  0x0800u /* to sets of vCPUs, too: the calls _EX */
#define TLFS_HINT_EVMCS	  0x4000u /* use enlightened VMCSs */
/* EBX: tries before a spinning vCPU says so */
#define TLFS_NO_SPINS 0xffffffffu

/* NESTED, EAX: versions of enlightened VMCSs, the least and the last */
#define TLFS_EVMCS_VERSIONS 0x0101u
#define TLFS_HAS_MSR_BITMAP 0x80000u /* who says when his guest's map has changed may do so */

/* What a guest has been shown of that. */
struct tlfs_rights {
	u32 eax, ebx, edx;  /* FEATURES */
	u32 hints, spins;   /* HINTS: EAX, EBX */
	bool has_signature; /* TLFS_HV1 is there, else nothing of all this is */
	bool is_enforced;   /* it may use nothing else: KVM_CAP_HYPERV_ENFORCE_CPUID */
};
/* Of a VMM's table; is_enforced stays as it is. */
void tlfs_take_cpuid(struct tlfs_rights *r, const struct kvm_cpuid_entry2 *e, u32 n);
/*
 * What is offered: TLFS_LEAVES of them. lapic: the vCPU has one that is not its VMM's; nested:
 * guests may have guests; evmcs: by enlightened VMCSs.
 */
#define TLFS_LEAVES 7u
void tlfs_offer_cpuid(struct kvm_cpuid_entry2 *e, u32 max_vcpus, bool lapic, bool nested,
		      bool evmcs);

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
#define MSR_SCONTROL	    0x40000080u
#define MSR_SVERSION	    0x40000081u
#define MSR_SIEFP	    0x40000082u
#define MSR_SIMP	    0x40000083u
#define MSR_EOM		    0x40000084u
#define MSR_SINT0	    0x40000090u
#define MSR_STIMER0_CONFIG  0x400000b0u /* each is followed by its count */
#define MSR_STIMER0_COUNT   0x400000b1u
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

#define TLFS_SINTS  16u
#define TLFS_TIMERS 4u

static inline bool tlfs_is_sint(u32 msr)
{
	return msr - MSR_SINT0 < TLFS_SINTS;
}
static inline bool tlfs_is_timer(u32 msr)
{
	return msr - MSR_STIMER0_CONFIG < 2 * TLFS_TIMERS;
}
/* SynIC's and its timers' */
static inline bool tlfs_is_synic(u32 msr)
{
	return msr - MSR_SCONTROL <= MSR_EOM - MSR_SCONTROL || tlfs_is_sint(msr) ||
	       tlfs_is_timer(msr);
}
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
	CALL_POST_MESSAGE = 0x5c,
	CALL_SIGNAL_EVENT = 0x5d,
};
enum tlfs_status {
	TLFS_SUCCESS,
	TLFS_INVALID_CODE = 2,
	TLFS_INVALID_INPUT = 3,
	TLFS_INVALID_ALIGNMENT = 4,
	TLFS_ACCESS_DENIED = 6,
	TLFS_INVALID_PORT = 17,
};
/* What the guest has put into RCX, or EDX:EAX */
#define TLFS_CALL_FAST	   (1ull << 16) /* input is in registers */
#define TLFS_CALL_RESERVED 0xf000f000f8000000ull

#define TLFS_INPUT_REGISTERS 14u

struct tlfs_hypercall {
	u16 code;
	bool fast;
	u16 var;	 /* of the header, in quadwords */
	u16 count, done; /* of a list */
	u64 input, output;
	/* all the input of a fast call: those two, XMM0 to XMM5 */
	u64 registers[TLFS_INPUT_REGISTERS];
};
/* Are XMM registers part of its input? */
bool tlfs_has_xmm_input(const struct tlfs_hypercall *c);
/*
 * Take the word apart. TLFS_SUCCESS, or with what it ends at once: rights are missing, or it makes
 * no sense for this call.
 */
enum tlfs_status tlfs_decode(const struct tlfs_rights *r, u64 word, struct tlfs_hypercall *c);

/* vCPUs by their index, 64 to a bank */
#define TLFS_SET_SPARSE 0u
#define TLFS_SET_ALL	1u
#define TLFS_BANKS	16u /* whose vCPUs there can be */
struct tlfs_set {
	u64 format;
	u64 banks; /* which of them follow */
	u64 bank[TLFS_BANKS];
};
#define TLFS_SET_HEAD offsetof(struct tlfs_set, bank)
/* How many of the banks that follow are of interest: the first ones. */
u32 tlfs_set_banks(const struct tlfs_set *s);
/* Is this vCPU in the set? */
bool tlfs_set_has(const struct tlfs_set *s, u32 index);

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

/* Input of CALL_SIGNAL_EVENT: connections' ids have 24 bits, and its flag has to be number 0. */
#define TLFS_CONNECTIONS 0x1000000u
#define TLFS_EVENT_FLAG	 0xffff00000000ull
/* TLFS_SUCCESS, or what is wrong with its form */
enum tlfs_status tlfs_check_signal(u64 input);

/* ---- SynIC: interrupts, and messages in a page of the guest's ---- */

#define TLFS_SYNIC_VERSION 1u
#define TLFS_SYNIC_ENABLED 1u /* of MSR_SCONTROL */

#define TLFS_SINT_VECTOR   0xffu
#define TLFS_SINT_MASKED   (1ull << 16)
#define TLFS_SINT_AUTO_EOI (1ull << 17)
#define TLFS_FIRST_VECTOR  16u

/* May a SINT be so? The VMM's may be anything. */
static inline bool tlfs_sint_valid(u64 sint, bool host)
{
	return host || sint & TLFS_SINT_MASKED || (sint & TLFS_SINT_VECTOR) >= TLFS_FIRST_VECTOR;
}
/* What it raises; 0: nothing. */
u8 tlfs_sint_vector(u64 sint);
/* Vectors that need no EOI by these SINTs. */
void tlfs_auto_eoi(const u64 sint[TLFS_SINTS], u64 vectors[4]);

#define TLFS_MESSAGE_BYTES 256u /* a page has one for each SINT */
struct tlfs_message {
	u32 type; /* 0: the place is free */
	u8 size;  /* of what follows the header */
	u8 flags;
	u16 reserved;
	u64 port;
	/* of TLFS_TIMER_EXPIRED; times are reference time */
	u32 timer, reserved2;
	u64 expired_at, delivered_at;
};
#define TLFS_MESSAGE_HEADER  16u
#define TLFS_TIMER_EXPIRED   0x80000010u
#define TLFS_MESSAGE_PENDING 1u /* another waits for this place: say so when it is free */

/* ---- synthetic timers; all times are reference time ---- */

#define TLFS_TIMER_ON	    1ull
#define TLFS_TIMER_PERIODIC 2ull
#define TLFS_TIMER_AUTO	    8ull /* a count switches it on */
#define TLFS_TIMER_DIRECT   (1ull << 12)

struct tlfs_timer {
	u64 config, count;
	u64 expires; /* 0: it has not been started */
	/* it has expired, and what it is to say could not be said; it stands until it can */
	bool undelivered;
};
static inline u8 tlfs_timer_sint(u64 config)
{
	return config >> 16 & 15;
}
static inline u8 tlfs_timer_vector(u64 config) /* of TLFS_TIMER_DIRECT */
{
	return config >> 4;
}
/* The registers. The timer has been stopped, and is started anew if it is on. */
void tlfs_timer_set_config(struct tlfs_timer *t, u64 config);
void tlfs_timer_set_count(struct tlfs_timer *t, u64 count, bool host);
/* It is on, and does not wait for its last message. */
bool tlfs_timer_counts(const struct tlfs_timer *t);
/*
 * Its next expiry, of a timer that counts: into t->expires. It may be over already, but only of one
 * that is not periodic; ticks that one has missed are left out.
 */
void tlfs_timer_start(struct tlfs_timer *t, u64 now);
/* It has expired; delivered: what it says is with the guest. */
void tlfs_timer_expired(struct tlfs_timer *t, bool delivered);
struct tlfs_message tlfs_timer_message(const struct tlfs_timer *t, u32 index, u64 now);

#endif
