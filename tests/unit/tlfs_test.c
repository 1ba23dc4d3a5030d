/* SPDX-License-Identifier: GPL-2.0-only */
/* links: dom0/kmod/tlfs.c hv/lib/scale.c */
/* What of Hyper-V's specification is only logic: rights, the reference time, hypercalls' word. */
#include "dom0/kmod/tlfs.h"
#include "hv/lib/scale.h"
#include "test.h"

static struct tlfs_rights open_to_all, nothing = {.is_enforced = true};

static void test_cpuid(void)
{
	struct kvm_cpuid_entry2 e[TLFS_LEAVES];
	struct tlfs_rights r = {.is_enforced = true, .eax = 1};

	tlfs_offer_cpuid(e, 64, true, true, true);
	for (u32 i = 0; i < TLFS_LEAVES - 1; i++)
		CHECK_QUIET(e[i].function == TLFS_LEAF_MAX + i && !e[i].index && !e[i].flags,
			    "leaf %u is in its place", i);
	CHECK(e[0].eax == TLFS_LEAF_NESTED && e[TLFS_LEAVES - 1].function == TLFS_LEAF_NESTED &&
		  e[TLFS_LEAVES - 2].eax == 64,
	      "the first leaf names the last, before which is the number of vCPUs");
	CHECK(e[TLFS_LEAVES - 1].eax == 0x80101 && e[4].eax & TLFS_HINT_EVMCS,
	      "that has the one version of enlightened VMCSs, and enlightened maps of MSRs");
	tlfs_take_cpuid(&r, e, TLFS_LEAVES);
	CHECK(r.has_signature && r.is_enforced && r.eax == e[3].eax && r.edx == e[3].edx &&
		  r.hints == e[4].eax && r.spins == e[4].ebx,
	      "what is offered and shown is allowed");
	CHECK(r.edx & TLFS_HAS_DIRECT_TIMERS, "timers may raise interrupts");
	tlfs_offer_cpuid(e, 64, true, true, false);
	CHECK(e[TLFS_LEAVES - 1].eax == 0x80000 && !(e[4].eax & TLFS_HINT_EVMCS),
	      "of which SVM has the latter only");
	tlfs_offer_cpuid(e, 64, false, false, false);
	CHECK(!(e[3].edx & TLFS_HAS_DIRECT_TIMERS) && e[3].eax == r.eax,
	      "but where the VMM has the LAPIC");
	CHECK(!e[TLFS_LEAVES - 1].eax && !(e[4].eax & TLFS_HINT_EVMCS), "or none of it");
	e[1].eax++;
	tlfs_take_cpuid(&r, e, TLFS_LEAVES);
	CHECK(!r.has_signature, "another signature is not Hyper-V's");
	tlfs_take_cpuid(&r, e, 0);
	CHECK(!r.has_signature && !r.eax && !r.hints && r.is_enforced,
	      "a table without these leaves allows nothing");
}

/* Each bit allows its MSRs, and no bit those that there are not. */
static void test_rights(void)
{
	static const struct {
		u32 bit, first, last;
	} msrs[] = {{TLFS_MSR_RUNTIME, MSR_VP_RUNTIME, MSR_VP_RUNTIME},
		    {TLFS_MSR_REF_COUNT, MSR_TIME_REF_COUNT, MSR_TIME_REF_COUNT},
		    {TLFS_MSR_APIC, MSR_HV_EOI, MSR_VP_ASSIST_PAGE},
		    {TLFS_MSR_TIMERS, MSR_STIMER0_CONFIG, MSR_STIMER0_CONFIG + 7},
		    {TLFS_MSR_HYPERCALL, MSR_GUEST_OS_ID, MSR_HV_HYPERCALL},
		    {TLFS_MSR_VP_INDEX, MSR_VP_INDEX, MSR_VP_INDEX},
		    {TLFS_MSR_RESET, MSR_HV_RESET, MSR_HV_RESET},
		    {TLFS_MSR_REFERENCE_TSC, MSR_REFERENCE_TSC, MSR_REFERENCE_TSC},
		    {TLFS_MSR_FREQUENCY, MSR_TSC_FREQUENCY, MSR_APIC_FREQUENCY},
		    {TLFS_MSR_REENLIGHTENMENT, MSR_REENLIGHTENMENT, MSR_TSC_EMULATED}};
	struct tlfs_rights r = nothing;
	u32 wrong = 0, all = 0;

	for (u32 msr = TLFS_MSRS; msr < TLFS_MSRS + TLFS_MSRS_NR; msr++) {
		wrong += tlfs_may_use(&nothing, msr) || !tlfs_may_use(&open_to_all, msr);
		for (u32 i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++) {
			r.eax = ~msrs[i].bit;
			if (msr >= msrs[i].first && msr <= msrs[i].last)
				wrong += tlfs_may_use(&r, msr);
			r.eax = msrs[i].bit;
			wrong +=
			    tlfs_may_use(&r, msr) != (msr >= msrs[i].first && msr <= msrs[i].last);
		}
	}
	CHECK(!wrong, "each feature allows its MSRs and no other (%u)", wrong);
	for (u32 msr = TLFS_MSRS; msr < TLFS_MSRS + TLFS_MSRS_NR; msr++) {
		r.eax = TLFS_MSR_SYNIC;
		all += tlfs_may_use(&r, msr);
		r.eax |= TLFS_MSR_TIMERS;
		wrong += tlfs_may_use(&r, msr) != tlfs_is_synic(msr);
	}
	CHECK(!wrong && all == 5 + 16 && !tlfs_is_synic(MSR_SCONTROL - 1) &&
		  !tlfs_is_synic(MSR_EOM + 1) && !tlfs_is_synic(MSR_SINT0 - 1),
	      "that of SynIC its own");
	all = 0;
	r = (struct tlfs_rights){.is_enforced = true, .edx = TLFS_HAS_CRASH};
	for (u32 msr = TLFS_MSRS; msr < TLFS_MSRS + TLFS_MSRS_NR; msr++)
		all += tlfs_may_use(&r, msr);
	CHECK(all == 6 && tlfs_may_use(&r, MSR_CRASH_P0) && tlfs_may_use(&r, MSR_CRASH_CTL),
	      "that of crashes its six");
	CHECK(!tlfs_has_msr(TLFS_MSRS - 1) && tlfs_has_msr(TLFS_MSRS) &&
		  tlfs_has_msr(TLFS_MSRS + 0x1ff) && !tlfs_has_msr(TLFS_MSRS + 0x200),
	      "its MSRs begin and end");
}

/* How far the page is behind what it is to say, in units of 100 ns; it must not be ahead. */
static void test_time(void)
{
	static const u32 khz[] = {20000, 100000, 999999, 1000000, 2345678, 3000000, 0xffffffff};
	const u64 tsc = 123456789012345678, ns = 98765432109876, s = 36000;
	struct tlfs_tsc_page p;
	u32 wrong = 0, mul;
	s8 shift;

	for (u32 i = 0; i < sizeof(khz) / sizeof(khz[0]); i++) {
		u64 ticks = s * 1000 * khz[i], later;

		tsc_pvclock_scale(khz[i], &mul, &shift);
		ticks = shift < 0 ? ticks >> -shift : ticks << shift;
		later = ns + (u64)((unsigned __int128)ticks * mul >> 32);
		CHECK_QUIET(tlfs_compute_tsc(&p, tsc, ns, mul, shift), "%u kHz fit", khz[i]);
		wrong += ns / 100 - tlfs_time_at(&p, tsc) > 2;
		wrong += later / 100 - tlfs_time_at(&p, tsc + s * 1000 * khz[i]) > 2;
	}
	CHECK(!wrong, "the page's time is kvmclock's, also ten hours later (%u)", wrong);
	CHECK(!tlfs_compute_tsc(&p, 1, 1, ~0u, 10) && !tlfs_compute_tsc(&p, 1, 1, 1, 64) &&
		  !tlfs_compute_tsc(&p, 1, 1, 1, -64),
	      "a TSC slower than the unit has no scale");
	CHECK(tlfs_compute_tsc(&p, ~0ull, 500, 1u << 31, 0) && tlfs_time_at(&p, ~0ull) == 4,
	      "a TSC that was set back is no harm");
	CHECK(tlfs_next_sequence(1) == 2 && tlfs_next_sequence(0) == 1 &&
		  tlfs_next_sequence(~0u - 1) == 1 && tlfs_next_sequence(~0u) == 1,
	      "sequences are never 0 nor ~0");
}

static u32 decode(const struct tlfs_rights *r, u64 word)
{
	struct tlfs_hypercall c;

	return tlfs_decode(r, word, &c);
}

static void test_forms(void)
{
	static const u32 sets[] = {CALL_FLUSH_EX, CALL_FLUSH_LIST_EX, CALL_SEND_IPI_EX};
	const u64 list = 5ull << 32, var = 1ull << 17, later = 1ull << 48;
	struct tlfs_set some = {TLFS_SET_SPARSE, 1}, others = {TLFS_SET_SPARSE, 2},
			last = {TLFS_SET_SPARSE, 1 | 1 << 15};
	const struct tlfs_set all = {TLFS_SET_ALL, 0},
			      far = {TLFS_SET_SPARSE, 1 | 8 | 1ull << 63, {8, 1}};
	struct tlfs_rights r = nothing;

	CHECK(decode(&open_to_all, CALL_FLUSH_LIST | list) == TLFS_SUCCESS &&
		  decode(&open_to_all, CALL_FLUSH_LIST_EX | list | var) == TLFS_SUCCESS &&
		  decode(&open_to_all, CALL_FLUSH_LIST) == TLFS_INVALID_INPUT &&
		  decode(&open_to_all, CALL_FLUSH_LIST | list | later) == TLFS_INVALID_INPUT &&
		  decode(&open_to_all, CALL_FLUSH_LIST | list | var) == TLFS_INVALID_INPUT,
	      "a list has a length, and begins at its beginning");
	CHECK(decode(&open_to_all, CALL_FLUSH | list) == TLFS_INVALID_INPUT &&
		  decode(&open_to_all, CALL_FLUSH_EX | list | var) == TLFS_INVALID_INPUT &&
		  decode(&open_to_all, CALL_SEND_IPI | var) == TLFS_INVALID_INPUT &&
		  decode(&open_to_all, CALL_SEND_IPI_EX | var) == TLFS_SUCCESS,
	      "what is no list has none, and only sets vary in size");
	CHECK(decode(&open_to_all, CALL_SEND_IPI | TLFS_CALL_FAST) == TLFS_SUCCESS &&
		  decode(&open_to_all, CALL_SEND_IPI_EX | TLFS_CALL_FAST) == TLFS_SUCCESS &&
		  decode(&open_to_all, CALL_FLUSH | TLFS_CALL_FAST) == TLFS_SUCCESS,
	      "all calls can be fast, by XMM registers");
	r.hints = TLFS_HINT_IPI | TLFS_HINT_FLUSH | TLFS_HINT_SETS;
	r.is_enforced = true;
	CHECK(decode(&r, CALL_SEND_IPI_EX | TLFS_CALL_FAST) == TLFS_INVALID_INPUT &&
		  decode(&r, CALL_FLUSH | TLFS_CALL_FAST) == TLFS_INVALID_INPUT &&
		  decode(&r, CALL_SEND_IPI | TLFS_CALL_FAST) == TLFS_SUCCESS,
	      "who may not use those has the two others");
	r.edx = TLFS_HAS_XMM_INPUT;
	CHECK(decode(&r, CALL_SEND_IPI_EX | TLFS_CALL_FAST) == TLFS_SUCCESS, "who may has them");
	r.edx = 0;
	r.hints = TLFS_HINT_IPI | TLFS_HINT_FLUSH;
	for (u32 i = 0; i < 3; i++)
		CHECK_QUIET(decode(&r, sets[i]) == TLFS_ACCESS_DENIED, "call %x", sets[i]);
	r.hints = TLFS_HINT_SETS;
	for (u32 i = 0; i < 3; i++)
		CHECK_QUIET(decode(&r, sets[i]) == TLFS_ACCESS_DENIED, "call %x", sets[i]);
	CHECK(decode(&r, CALL_SEND_IPI) == TLFS_ACCESS_DENIED &&
		  decode(&r, CALL_FLUSH) == TLFS_ACCESS_DENIED,
	      "each of these needs its own right");
	some.bank[0] = 0x55;
	CHECK(tlfs_set_has(&some, 0) && !tlfs_set_has(&some, 1) && !tlfs_set_has(&some, 64) &&
		  tlfs_set_banks(&some) == 1,
	      "a set has what its bank says");
	others.bank[0] = 1ull << 63;
	CHECK(!tlfs_set_has(&others, 63) && tlfs_set_has(&others, 127) &&
		  !tlfs_set_has(&others, 126) && tlfs_set_banks(&others) == 1,
	      "which is the one that its place says");
	CHECK(tlfs_set_has(&all, 255) && !tlfs_set_banks(&all), "all are all");
	CHECK(tlfs_set_banks(&far) == 2 && tlfs_set_has(&far, 3) && tlfs_set_has(&far, 192) &&
		  !tlfs_set_has(&far, 64 * 63) && !tlfs_set_has(&far, 1024),
	      "there are no more banks than vCPUs");
	last.bank[1] = 1ull << 63;
	CHECK(tlfs_set_banks(&last) == 2 && tlfs_set_has(&last, 1023) && !tlfs_set_has(&last, 1022),
	      "the last vCPU that there can be is in the last one");
}

static void test_calls(void)
{
	struct tlfs_hypercall c;
	struct tlfs_rights r = nothing;
	u32 wrong = 0;

	CHECK(tlfs_decode(&open_to_all, 0x0123045607fcbeef, &c) == TLFS_INVALID_CODE &&
		  c.code == 0xbeef && !c.fast && c.var == 0x3fe && c.count == 0x456 &&
		  c.done == 0x123,
	      "the word is taken apart");
	for (u32 bit = 17; bit < 64; bit++)
		wrong += decode(&open_to_all, CALL_SPIN_WAIT | 1ull << bit) != TLFS_INVALID_INPUT;
	CHECK(!wrong && decode(&open_to_all, CALL_SPIN_WAIT | TLFS_CALL_FAST) == TLFS_SUCCESS,
	      "a call without lists has no counts, and nothing has reserved bits");
	CHECK(decode(&open_to_all, 1ull << 27) == TLFS_INVALID_INPUT &&
		  decode(&open_to_all, 0) == TLFS_INVALID_CODE,
	      "they are looked at first");
	CHECK(decode(&nothing, CALL_SPIN_WAIT) == TLFS_ACCESS_DENIED &&
		  decode(&nothing, 0xbeef) == TLFS_INVALID_CODE,
	      "who may not is told so");
	r.spins = TLFS_NO_SPINS;
	CHECK(decode(&r, CALL_SPIN_WAIT) == TLFS_ACCESS_DENIED, "a guest that is never to say it");
	r.spins = 1;
	CHECK(decode(&r, CALL_SPIN_WAIT) == TLFS_SUCCESS, "one that may");
	test_forms();
}

static void test_signals(void)
{
	struct tlfs_rights r = nothing;

	CHECK(tlfs_check_signal(0) == TLFS_SUCCESS && tlfs_check_signal(0xffffff) == TLFS_SUCCESS &&
		  tlfs_check_signal(0x1000000) == TLFS_INVALID_INPUT &&
		  tlfs_check_signal(1ull << 48) == TLFS_INVALID_INPUT,
	      "a connection's id has 24 bits");
	CHECK(tlfs_check_signal(1ull << 32 | 5) == TLFS_INVALID_PORT &&
		  tlfs_check_signal(1ull << 47) == TLFS_INVALID_PORT,
	      "a flag of an event is somebody else's");
	r.ebx = TLFS_MAY_POST;
	CHECK(decode(&r, CALL_POST_MESSAGE) == TLFS_SUCCESS &&
		  decode(&r, CALL_SIGNAL_EVENT) == TLFS_ACCESS_DENIED,
	      "who may post may not signal");
	r.ebx = TLFS_MAY_SIGNAL;
	CHECK(decode(&r, CALL_SIGNAL_EVENT | TLFS_CALL_FAST) == TLFS_SUCCESS &&
		  decode(&r, CALL_POST_MESSAGE) == TLFS_ACCESS_DENIED &&
		  decode(&r, CALL_SIGNAL_EVENT | 1ull << 32) == TLFS_INVALID_INPUT &&
		  decode(&r, CALL_SIGNAL_EVENT | 1ull << 17) == TLFS_INVALID_INPUT,
	      "nor the other way round, and neither is a list");
}

static void test_sints(void)
{
	u64 sint[TLFS_SINTS] = {TLFS_SINT_MASKED,
				0x40 | TLFS_SINT_AUTO_EOI,
				0x41 | TLFS_SINT_AUTO_EOI | TLFS_SINT_MASKED,
				0xff,
				15 | TLFS_SINT_AUTO_EOI,
				0xfe | TLFS_SINT_AUTO_EOI};
	u64 vectors[4] = {1, 2, 3, 4};

	CHECK(!tlfs_sint_valid(15, false) && tlfs_sint_valid(16, false) &&
		  tlfs_sint_valid(TLFS_SINT_MASKED, false) && tlfs_sint_valid(0, true) &&
		  !tlfs_sint_valid(0x100, false),
	      "a SINT that is not masked has a vector");
	CHECK(tlfs_sint_vector(0x50) == 0x50 && !tlfs_sint_vector(0x50 | TLFS_SINT_MASKED) &&
		  !tlfs_sint_vector(15),
	      "only such a one raises it");
	tlfs_auto_eoi(sint, vectors);
	CHECK(!vectors[0] && vectors[1] == 1 && !vectors[2] && vectors[3] == 1ull << 62,
	      "auto-EOI is of the vectors that are raised");
}

static void test_one_shot(void)
{
	struct tlfs_timer t = {0};
	struct tlfs_message m;

	tlfs_timer_set_config(&t, TLFS_TIMER_ON);
	CHECK(!t.config, "a timer without a SINT is off");
	tlfs_timer_set_config(&t, TLFS_TIMER_ON | TLFS_TIMER_DIRECT);
	CHECK(t.config & TLFS_TIMER_ON && !tlfs_timer_counts(&t),
	      "one that needs none is not, but has nothing to count");
	tlfs_timer_set_config(&t, TLFS_TIMER_AUTO | 0x30000);
	tlfs_timer_set_count(&t, 500, true);
	CHECK(!tlfs_timer_counts(&t), "a count that a VMM restores switches nothing on");
	tlfs_timer_set_count(&t, 500, false);
	CHECK(tlfs_timer_counts(&t) && tlfs_timer_sint(t.config) == 3, "a guest's does");
	tlfs_timer_start(&t, 100);
	CHECK(t.expires == 500, "it expires then");
	tlfs_timer_start(&t, 600);
	m = tlfs_timer_message(&t, 2, 600);
	CHECK(t.expires == 500 && m.type == 0x80000010 && m.size == 24 && m.timer == 2 &&
		  m.expired_at == 500 && m.delivered_at == 600 && !m.flags,
	      "also if that is over, and says so");
	tlfs_timer_expired(&t, false);
	CHECK(!tlfs_timer_counts(&t) && t.config & TLFS_TIMER_ON, "it waits with its message");
	tlfs_timer_expired(&t, true);
	CHECK(!tlfs_timer_counts(&t) && !(t.config & TLFS_TIMER_ON) && !t.undelivered,
	      "until that has its place; then it is off");
	tlfs_timer_set_count(&t, 700, false);
	tlfs_timer_expired(&t, false);
	tlfs_timer_set_count(&t, 0, false);
	CHECK(!(t.config & TLFS_TIMER_ON) && !t.undelivered && !t.expires,
	      "no count switches it off, and what waited is forgotten");
	CHECK(tlfs_timer_vector(0x1ab4) == 0xab, "a vector is where it is");
}

static void test_periodic(void)
{
	struct tlfs_timer t = {0};
	u32 wrong = 0;

	tlfs_timer_set_config(&t, TLFS_TIMER_ON | TLFS_TIMER_PERIODIC | 0x20000);
	tlfs_timer_set_count(&t, 100, true);
	tlfs_timer_start(&t, 1000);
	CHECK(t.expires == 1100, "a periodic timer expires after its period");
	tlfs_timer_start(&t, 1050);
	CHECK(t.expires == 1100, "also if it is started again meanwhile");
	tlfs_timer_expired(&t, true);
	tlfs_timer_start(&t, 1103);
	CHECK(t.expires == 1200 && tlfs_timer_counts(&t), "then again, from the same beginning");
	tlfs_timer_start(&t, 1555);
	CHECK(t.expires == 1600, "what it has missed is left out");
	tlfs_timer_start(&t, 1600);
	CHECK(t.expires == 1700, "a whole period is one");
	tlfs_timer_start(&t, 10);
	CHECK(t.expires == 110, "a clock that was set back begins anew");
	for (u64 count = 1; count; count = count * 3 + 1 < count ? 0 : count * 3 + 1) {
		tlfs_timer_set_count(&t, count, true);
		for (u64 now = 1; now < ~0ull / 8; now *= 7) {
			tlfs_timer_start(&t, now);
			wrong += t.expires <= now || t.expires - now > count;
		}
	}
	tlfs_timer_set_count(&t, ~0ull, true);
	tlfs_timer_start(&t, 5);
	CHECK(!wrong && t.expires == ~0ull, "whatever it counts, the next expiry is to come");
}

int main(void)
{
	test_signals();
	test_sints();
	test_one_shot();
	test_periodic();
	test_cpuid();
	test_rights();
	test_time();
	test_calls();
	return test_end();
}
