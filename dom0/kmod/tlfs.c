// SPDX-License-Identifier: GPL-2.0-only
/* What is only logic of TLFS: see tlfs.h. */
#include "tlfs.h"

/* ---- CPUID ---- */

void tlfs_take_cpuid(struct tlfs_rights *r, const struct kvm_cpuid_entry2 *e, u32 n)
{
	u32 i;

	*r = (struct tlfs_rights){.is_enforced = r->is_enforced};
	for (i = 0; i < n; i++, e++) {
		switch (e->function) {
		case TLFS_LEAF_HV:
			r->has_signature = e->eax == TLFS_HV1;
			break;
		case TLFS_LEAF_FEATURES:
			r->eax = e->eax;
			r->ebx = e->ebx;
			r->edx = e->edx;
			break;
		case TLFS_LEAF_HINTS:
			r->hints = e->eax;
			r->spins = e->ebx;
			break;
		}
	}
}

void tlfs_offer_cpuid(struct kvm_cpuid_entry2 *e, u32 max_vcpus, bool lapic, bool nested,
		      bool evmcs)
{
	static const struct kvm_cpuid_entry2 all[TLFS_LEAVES] = {
	    /* "Microsoft Hv" */
	    {TLFS_LEAF_MAX, .eax = TLFS_LEAF_NESTED, 0x7263694d, 0x666f736f, 0x76482074},
	    {TLFS_LEAF_HV, .eax = TLFS_HV1},
	    {TLFS_LEAF_VERSION, .eax = 14393, .ebx = 10 << 16}, /* as Windows Server 2016 has it */
	    {TLFS_LEAF_FEATURES,
	     .eax = TLFS_MSR_RUNTIME | TLFS_MSR_REF_COUNT | TLFS_MSR_SYNIC | TLFS_MSR_TIMERS |
		    TLFS_MSR_APIC | TLFS_MSR_HYPERCALL | TLFS_MSR_VP_INDEX | TLFS_MSR_RESET |
		    TLFS_MSR_REFERENCE_TSC | TLFS_MSR_FREQUENCY | TLFS_MSR_REENLIGHTENMENT,
	     .ebx = TLFS_MAY_POST | TLFS_MAY_SIGNAL,
	     .edx = TLFS_HAS_XMM_INPUT | TLFS_HAS_FREQUENCY | TLFS_HAS_CRASH | TLFS_HAS_LISTS},
	    {TLFS_LEAF_HINTS,
	     .eax = TLFS_HINT_RELAXED | TLFS_HINT_APIC | TLFS_HINT_FLUSH | TLFS_HINT_EOI |
		    TLFS_HINT_IPI | TLFS_HINT_SETS,
	     .ebx = 0xfff},
	    {TLFS_LEAF_LIMITS, .ebx = 64},
	    {TLFS_LEAF_NESTED}, /* of those between there is nothing to tell */
	};

	memcpy(e, all, sizeof(all));
	e[TLFS_LEAF_LIMITS - TLFS_LEAF_MAX].eax = max_vcpus;
	if (lapic)
		e[TLFS_LEAF_FEATURES - TLFS_LEAF_MAX].edx |= TLFS_HAS_DIRECT_TIMERS;
	if (nested) /* of its map the hypervisor keeps nothing that could be stale */
		e[TLFS_LEAVES - 1].eax = TLFS_HAS_MSR_BITMAP;
	if (evmcs) {
		e[TLFS_LEAF_HINTS - TLFS_LEAF_MAX].eax |= TLFS_HINT_EVMCS;
		e[TLFS_LEAVES - 1].eax |= TLFS_EVMCS_VERSIONS;
	}
}

/* ---- MSRs ---- */

bool tlfs_may_use(const struct tlfs_rights *r, u32 msr)
{
	if (!r->is_enforced)
		return true;
	switch (msr) {
	case MSR_GUEST_OS_ID:
	case MSR_HV_HYPERCALL:
		return r->eax & TLFS_MSR_HYPERCALL;
	case MSR_VP_INDEX:
		return r->eax & TLFS_MSR_VP_INDEX;
	case MSR_HV_RESET:
		return r->eax & TLFS_MSR_RESET;
	case MSR_VP_RUNTIME:
		return r->eax & TLFS_MSR_RUNTIME;
	case MSR_TIME_REF_COUNT:
		return r->eax & TLFS_MSR_REF_COUNT;
	case MSR_REFERENCE_TSC:
		return r->eax & TLFS_MSR_REFERENCE_TSC;
	case MSR_TSC_FREQUENCY:
	case MSR_APIC_FREQUENCY:
		return r->eax & TLFS_MSR_FREQUENCY;
	case MSR_HV_EOI ... MSR_VP_ASSIST_PAGE:
		return r->eax & TLFS_MSR_APIC;
	case MSR_SCONTROL ... MSR_EOM:
	case MSR_SINT0 ... MSR_SINT0 + TLFS_SINTS - 1:
		return r->eax & TLFS_MSR_SYNIC;
	case MSR_STIMER0_CONFIG ... MSR_STIMER0_CONFIG + 2 * TLFS_TIMERS - 1:
		return r->eax & TLFS_MSR_TIMERS;
	case MSR_CRASH_P0 ... MSR_CRASH_CTL:
		return r->edx & TLFS_HAS_CRASH;
	case MSR_REENLIGHTENMENT ... MSR_TSC_EMULATED:
		return r->eax & TLFS_MSR_REENLIGHTENMENT;
	}
	return false;
}

/* ---- time ---- */

static u64 mul_high(u64 a, u64 b)
{
	return (unsigned __int128)a * b >> 64;
}

bool tlfs_compute_tsc(struct tlfs_tsc_page *p, u64 tsc, u64 ns, u32 mul, s32 shift)
{
	u64 scale = ((u64)mul << 32) / 100;

	if (shift <= -64 || shift >= 64 || (shift > 0 && scale >> (64 - shift)))
		return false;
	p->scale = shift < 0 ? scale >> -shift : scale << shift;
	/* one less, since both quotients have been rounded down */
	p->offset = ns / 100 - mul_high(tsc, p->scale) - 1;
	return true;
}

u64 tlfs_time_at(const struct tlfs_tsc_page *p, u64 tsc)
{
	return mul_high(tsc, p->scale) + p->offset;
}

u32 tlfs_next_sequence(u32 sequence)
{
	return sequence + 1 == 0 || sequence + 1 == ~0u ? 1 : sequence + 1;
}

/* ---- hypercalls ---- */

static bool may_call(const struct tlfs_rights *r, u32 code)
{
	if (!r->is_enforced)
		return true;
	switch (code) {
	case CALL_FLUSH_EX:
	case CALL_FLUSH_LIST_EX:
	case CALL_SEND_IPI_EX:
		if (!(r->hints & TLFS_HINT_SETS))
			return false;
	}
	switch (code) {
	case CALL_FLUSH:
	case CALL_FLUSH_LIST:
	case CALL_FLUSH_EX:
	case CALL_FLUSH_LIST_EX:
		return r->hints & TLFS_HINT_FLUSH;
	case CALL_SEND_IPI:
	case CALL_SEND_IPI_EX:
		return r->hints & TLFS_HINT_IPI;
	case CALL_SPIN_WAIT:
		return r->spins && r->spins != TLFS_NO_SPINS;
	case CALL_POST_MESSAGE:
		return r->ebx & TLFS_MAY_POST;
	case CALL_SIGNAL_EVENT:
		return r->ebx & TLFS_MAY_SIGNAL;
	}
	return true; /* there is no such call, which is what it will be told */
}

bool tlfs_has_xmm_input(const struct tlfs_hypercall *c)
{
	switch (c->code) {
	case CALL_FLUSH:
	case CALL_FLUSH_LIST:
	case CALL_FLUSH_EX:
	case CALL_FLUSH_LIST_EX:
	case CALL_SEND_IPI_EX:
		return c->fast;
	}
	return false;
}

/* Do the word's counts, and where it has its input, make sense for the call? */
static enum tlfs_status check_form(const struct tlfs_rights *r, const struct tlfs_hypercall *c)
{
	bool has_xmm = !r->is_enforced || r->edx & TLFS_HAS_XMM_INPUT;
	bool is_list = c->count || c->done, fine;

	switch (c->code) {
	case CALL_SPIN_WAIT:
	case CALL_SEND_IPI:
	case CALL_POST_MESSAGE:
	case CALL_SIGNAL_EVENT:
		fine = !is_list && !c->var;
		break;
	case CALL_FLUSH:
		fine = !is_list && !c->var;
		break;
	case CALL_FLUSH_LIST:
		fine = c->count && !c->done && !c->var;
		break;
	case CALL_FLUSH_EX:
	case CALL_SEND_IPI_EX:
		fine = !is_list;
		break;
	case CALL_FLUSH_LIST_EX:
		fine = c->count && !c->done;
		break;
	default:
		return TLFS_INVALID_CODE;
	}
	if (c->fast && tlfs_has_xmm_input(c) && !has_xmm)
		fine = false;
	return fine ? TLFS_SUCCESS : TLFS_INVALID_INPUT;
}

enum tlfs_status tlfs_decode(const struct tlfs_rights *r, u64 word, struct tlfs_hypercall *c)
{
	c->code = word;
	c->fast = word & TLFS_CALL_FAST;
	c->var = word >> 17 & 0x3ff;
	c->count = word >> 32 & 0xfff;
	c->done = word >> 48 & 0xfff;
	if (!may_call(r, c->code))
		return TLFS_ACCESS_DENIED;
	if (word & TLFS_CALL_RESERVED)
		return TLFS_INVALID_INPUT;
	return check_form(r, c);
}

static u32 count_bits(u64 word)
{
	u32 n = 0;

	for (; word; word &= word - 1)
		n++;
	return n;
}

u32 tlfs_set_banks(const struct tlfs_set *s)
{
	return s->format == TLFS_SET_ALL ? 0 : count_bits(s->banks & ((1u << TLFS_BANKS) - 1));
}

bool tlfs_set_has(const struct tlfs_set *s, u32 index)
{
	u64 bank = 1ull << index / 64;

	if (s->format == TLFS_SET_ALL)
		return true;
	if (index / 64 >= TLFS_BANKS || !(s->banks & bank))
		return false;
	return s->bank[count_bits(s->banks & (bank - 1))] >> index % 64 & 1;
}

enum tlfs_status tlfs_check_signal(u64 input)
{
	if (input & TLFS_EVENT_FLAG)
		return TLFS_INVALID_PORT;
	return input < TLFS_CONNECTIONS ? TLFS_SUCCESS : TLFS_INVALID_INPUT;
}

/* ---- SynIC ---- */

u8 tlfs_sint_vector(u64 sint)
{
	u8 vector = sint & TLFS_SINT_VECTOR;

	return sint & TLFS_SINT_MASKED || vector < TLFS_FIRST_VECTOR ? 0 : vector;
}

void tlfs_auto_eoi(const u64 sint[TLFS_SINTS], u64 vectors[4])
{
	u32 i;

	memset(vectors, 0, 4 * sizeof(vectors[0]));
	for (i = 0; i < TLFS_SINTS; i++) {
		u8 vector = tlfs_sint_vector(sint[i]);

		if (vector && sint[i] & TLFS_SINT_AUTO_EOI)
			vectors[vector / 64] |= 1ull << vector % 64;
	}
}

/* ---- synthetic timers ---- */

static void timer_rests(struct tlfs_timer *t)
{
	t->expires = 0;
	t->undelivered = false;
}

void tlfs_timer_set_config(struct tlfs_timer *t, u64 config)
{
	timer_rests(t);
	if (!(config & TLFS_TIMER_DIRECT) && !tlfs_timer_sint(config))
		config &= ~TLFS_TIMER_ON;
	t->config = config;
}

/* What a VMM restores is on or off by the configuration that it restores, too. */
void tlfs_timer_set_count(struct tlfs_timer *t, u64 count, bool host)
{
	timer_rests(t);
	t->count = count;
	if (host)
		return;
	if (!count)
		t->config &= ~TLFS_TIMER_ON;
	else if (t->config & TLFS_TIMER_AUTO)
		t->config |= TLFS_TIMER_ON;
}

bool tlfs_timer_counts(const struct tlfs_timer *t)
{
	return t->config & TLFS_TIMER_ON && t->count && !t->undelivered;
}

void tlfs_timer_start(struct tlfs_timer *t, u64 now)
{
	u64 left = t->count;

	if (!(t->config & TLFS_TIMER_PERIODIC)) {
		t->expires = t->count;
		return;
	}
	/* what is further away than that is of a clock that was set back */
	if (t->expires > now && t->expires - now <= t->count)
		return;
	if (t->expires && t->expires <= now)
		left -= (now - t->expires) % t->count;
	t->expires = left > ~0ull - now ? ~0ull : now + left;
}

void tlfs_timer_expired(struct tlfs_timer *t, bool delivered)
{
	t->undelivered = !delivered;
	if (delivered && !(t->config & TLFS_TIMER_PERIODIC))
		t->config &= ~TLFS_TIMER_ON;
}

struct tlfs_message tlfs_timer_message(const struct tlfs_timer *t, u32 index, u64 now)
{
	return (struct tlfs_message){
	    .type = TLFS_TIMER_EXPIRED,
	    .size = sizeof(struct tlfs_message) - TLFS_MESSAGE_HEADER,
	    .timer = index,
	    .expired_at = t->expires,
	    .delivered_at = now,
	};
}
