/* SPDX-License-Identifier: GPL-2.0-only */
/* Guests whose TSC runs at another rate than the machine's, or are refused it. */
#include "guest.h"

PROGRAM(g_tsc);
PROGRAM(g_deadline);
PROGRAM(g_handler);

#define WAIT_MS	    5
#define QUAD(g, at) (*(volatile u64 *)((g)->mem + (at)))

static s64 set_khz(struct guest *g, u64 khz)
{
	*(u64 *)g->data = khz;
	return hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_TSC_KHZ, 8);
}

static u64 get_khz(struct guest *g)
{
	return hc(CORBEL_HC_VCPU_GET, g->vcpu, CORBEL_STATE_TSC_KHZ, 0) == 8 ? *(u64 *)g->data : 0;
}

/* Run until the program has stored what it sees; the machine's TSC before and after. */
static bool look(struct guest *g, u64 *before, u64 *after)
{
	bool ok;

	*before = rdtsc();
	ok = guest_run(g, 2000) == CORBEL_EXIT_IO && EXIT_IO(g, 0x20, 0);
	*after = rdtsc();
	return ok && QUAD(g, 0x500) <= QUAD(g, 0x508) && QUAD(g, 0x508) <= QUAD(g, 0x510);
}

static u64 to_guest(u64 ticks, u64 khz)
{
	return ticks * khz / tsc_khz;
}

/* What its kvmclock at 0x600 makes of a TSC value */
static u64 clock_ns(struct guest *g, u64 tsc)
{
	signed char shift = (signed char)g->mem[0x61c];

	tsc -= QUAD(g, 0x608);
	return QUAD(g, 0x610) +
	       (u64)((unsigned __int128)(shift < 0 ? tsc >> -shift : tsc << shift) *
			 LONG(g, 0x618) >>
		     32);
}

static void check_rate(u64 khz)
{
	u64 t[4], tsc, ns, real;
	struct guest g;
	bool ran;

	if (!report(guest_make(&g, 0, 0, g_tsc, g_tsc_end), "a guest is made"))
		return;
	report(!set_khz(&g, khz) && get_khz(&g) == khz,
	       "%lu kHz can be set where %lu are the machine's", khz, tsc_khz);
	ran = look(&g, &t[0], &t[1]);
	tsc = QUAD(&g, 0x508);
	delay_us(WAIT_MS * 1000);
	ran &= look(&g, &t[2], &t[3]);
	report(ran, "RDTSC and RDMSR agree");
	ns = clock_ns(&g, QUAD(&g, 0x508)) - clock_ns(&g, tsc);
	tsc = QUAD(&g, 0x508) - tsc;
	report(tsc >= to_guest(t[2] - t[1], khz) && tsc <= to_guest(t[3] - t[0], khz) + 1,
	       "the TSC runs at this rate (%lu in %lu)", tsc, t[3] - t[0]);
	real = (t[3] - t[0]) * 1000000 / tsc_khz;
	report(ns <= real + 2 && ns >= (t[2] - t[1]) * 1000000 / tsc_khz - 2,
	       "kvmclock does not (%lu of %lu ns)", ns, real);
	LONG(&g, 0x620) = 1; /* it writes 1000 to its TSC */
	ran = look(&g, &t[0], &t[1]);
	report(ran && QUAD(&g, 0x508) >= 1000 &&
		   QUAD(&g, 0x508) <= 1001 + to_guest(t[1] - t[0], khz),
	       "it goes on from what is written there");
	report(!set_khz(&g, 0) && get_khz(&g) == tsc_khz && look(&g, &t[2], &t[3]) &&
		   QUAD(&g, 0x508) >= 1000 + to_guest(t[2] - t[1], khz) &&
		   QUAD(&g, 0x508) < 1001 + to_guest(t[3] - t[0], khz) + t[3] - t[0],
	       "and at the machine's rate when that is set");
	report(guest_free(&g), "it goes");
}

static void check_deadline(u64 khz)
{
	u64 want = khz * WAIT_MS, took = 0, real = 0;
	struct guest g;

	if (!report(guest_make(&g, 0, CORBEL_VM_LAPIC, g_deadline, g_deadline_end) &&
			!set_khz(&g, khz),
		    "a guest with a LAPIC and %lu kHz", khz))
		return;
	memcpy(g.mem + 0x3000, g_handler, (size_t)(g_handler_end - g_handler));
	LONG(&g, 0x60 * 4) = 0x3000;
	LONG(&g, 0x600) = (u32)want;
	/* the emulator may be held up */
	for (u32 i = 0; i < 5 && !(took >= want && took < want + want / 4); i++) {
		real = rdtsc();
		guest_run(&g, 2000);
		real = rdtsc() - real;
		took = QUAD(&g, 0x510) - QUAD(&g, 0x508);
	}
	report(took >= want && took < want + want / 4 && WORD(&g, 0x500),
	       "a deadline comes when its TSC says so (%lu for %lu)", took, want);
	report(real >= WAIT_MS * tsc_khz && real < 2 * WAIT_MS * tsc_khz, "%u ms later (%lu ticks)",
	       WAIT_MS, real);
	report(guest_free(&g), "it goes");
}

void test_tsc_scale(void)
{
	struct corbel_info i;
	struct guest g;

	info(&i);
	note("tsc scaling: %s", i.features & CORBEL_FEATURE_TSC_SCALE ? "yes" : "no");
	if (!report(guest_make(&g, 0, 0, g_tsc, g_tsc_end), "a guest is made"))
		return;
	report(get_khz(&g) == tsc_khz && !set_khz(&g, 0) && !set_khz(&g, tsc_khz),
	       "a guest has the machine's TSC frequency");
	report(set_khz(&g, 1) == -EINVAL && set_khz(&g, 1ull << 40) == -EINVAL &&
		   set_khz(&g, ~0ull) == -EINVAL &&
		   hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_TSC_KHZ, 4) == -EINVAL &&
		   get_khz(&g) == tsc_khz,
	       "frequencies out of range and of odd size are refused");
	if (!(i.features & CORBEL_FEATURE_TSC_SCALE))
		report(set_khz(&g, 2 * tsc_khz) == -EINVAL &&
			   set_khz(&g, tsc_khz - tsc_khz / 100) == -EINVAL &&
			   get_khz(&g) == tsc_khz,
		       "without TSC scaling another frequency is refused");
	report(guest_free(&g), "it goes");
	if (!(i.features & CORBEL_FEATURE_TSC_SCALE))
		return;
	check_rate(tsc_khz * 2);
	check_rate(tsc_khz * 3 / 7);
	check_deadline(tsc_khz * 2);
	check_deadline(tsc_khz * 3 / 7);
}
