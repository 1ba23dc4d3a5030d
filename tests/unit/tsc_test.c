/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two CPUs whose clocks are apart, by the firmware, a sleep or TSC_ADJUST, with and without that;
 * and a third that has been given up, and comes meanwhile.
 */
#include <string.h>

#include "hv/lib/asm.h"

static int fake_rdmsr(u32 msr, u64 *val);
static int fake_wrmsr(u32 msr, u64 val);
#define rdmsr_safe fake_rdmsr
#define wrmsr_safe fake_wrmsr
#include "hv/cpu/tsc.c"

#include "test.h"

#define STEP  10u  /* ticks from one RDTSC to the next */
#define WRITE 400u /* and what a write of the TSC loses */

#define LATE 2

/* The late one has the index that its successor has got. */
static struct cpu cpu_data[3] = {{.index = 0}, {.index = 3}, {.index = 3}};
static u32 self;
static u64 now_tsc, ahead[3], adjust[3]; /* of a TSC its TSC_ADJUST is part */
static bool other_looks, knows_adjust, invariant, fixed;
static bool late_comes;	 /* at the successor's next reading */
static u32 writes, away; /* the boot CPU looks only after so many looks of the other's */

struct cpu *this_cpu(void)
{
	return &cpu_data[self];
}

/* Between any two readings the other CPU may look, and one that is late may come. */
u64 rdtsc(void)
{
	static bool inside;
	u32 me = self;

	now_tsc += STEP;
	if (late_comes && me == 1) {
		late_comes = false;
		self = LATE;
		tsc_init_cpu();
		self = me;
	} else if (other_looks && away) {
		away--;
	} else if (other_looks && !inside && me != LATE) {
		inside = true;
		self = !me;
		look_once(&cpu_data[1]);
		self = me;
		inside = false;
	}
	return now_tsc + ahead[self] + adjust[self];
}

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = leaf == 0x80000000 ? 0x80000008 : 7;
	*b = leaf == 7 && knows_adjust ? CPUID_7B_TSC_ADJUST : 0;
	*c = 0;
	*d = leaf == 0x80000007 && invariant ? CPUID_X7D_INVARIANT_TSC : 0;
}

static int fake_rdmsr(u32 msr, u64 *val)
{
	*val = adjust[self];
	return msr == MSR_TSC_ADJUST && knows_adjust ? 0 : -1;
}

static int fake_wrmsr(u32 msr, u64 val)
{
	writes++;
	if (fixed)
		return 0;
	if (msr == MSR_TSC_ADJUST) {
		adjust[self] = val;
	} else {
		now_tsc += WRITE;
		ahead[self] = val - now_tsc - adjust[self];
	}
	return 0;
}

/* The other CPU comes up with its clock ahead by so much, TSC_ADJUST beside that. */
static void come_up(u64 by, u64 adjusted)
{
	now_tsc = 1000000000;
	ahead[0] = 500000;
	ahead[1] = ahead[0] + by;
	adjust[1] = adjust[0] + adjusted;
	test_log_lines = 0;
	*test_log_text = 0;
	writes = 0;
	self = 0;
	tsc_init_cpu();
	self = 1;
	other_looks = true;
	tsc_init_cpu();
	other_looks = false;
	self = 0;
	tsc_join(&cpu_data[1]);
	tsc_tell();
}

static u64 apart(void)
{
	u64 lead = ahead[1] + adjust[1] - ahead[0] - adjust[0];

	return MIN(lead, -lead);
}

/* What neither of two that look at each other's can see is no difference. */
static bool is_one_clock(void)
{
	return tsc_stable && apart() <= 2 * STEP;
}

static void test_moved(const char *how)
{
	static const u64 by[] = {50, -50ull, 300, -300ull, 123456789, -123456789ull};

	come_up(0, 0);
	CHECK(is_one_clock() && !writes && !test_log_lines,
	      "%s: of one clock nothing is said, and nothing written", how);
	for (u32 i = 0; i < ARRAY_SIZE(by); i++) {
		come_up(by[i], 0);
		CHECK(is_one_clock() && test_log_lines == 1 && strstr(test_log_text, "now: 1"),
		      "%s: a clock that is %ld ticks ahead becomes the boot CPU's, in a line: %s",
		      how, (long)by[i], test_log_text);
	}
	away = 5000;
	come_up(1000, 0);
	CHECK(is_one_clock() && test_log_lines == 1,
	      "%s: also where the boot CPU looks later, as behind an SMI", how);
}

static void test_adjust(void)
{
	adjust[0] = 77777;
	come_up(0, 0);
	CHECK(is_one_clock() && !writes, "the same TSC_ADJUST everywhere stays, whatever it is");
	come_up(0, -77777ull);
	CHECK(is_one_clock() && adjust[1] == 77777 && writes == 1 && test_log_lines == 1 &&
		  strstr(test_log_text, "77777 ticks"),
	      "one that the firmware has forgotten is set as the boot CPU's: %s", test_log_text);
	come_up(-5ull, 5);
	CHECK(is_one_clock() && adjust[1] == adjust[0],
	      "as is one by so little that nobody would see it");
	come_up(-9999ull, 9999);
	CHECK(is_one_clock() && test_log_lines == 1,
	      "where it has been right all the same, as the looks tell, it is put back");
	adjust[0] = 0;
}

/* It has been given up, in tsc_init_cpu(), and gets on while the next one is there. */
static void test_late(void)
{
	static const u64 by[] = {0, 300, -300ull};

	for (u32 i = 0; i < ARRAY_SIZE(by); i++)
		for (u32 its = 0; its < 2; its++) {
			late_comes = true;
			ahead[LATE] = 500000 + (its ? 99999999 : -99999999ull);
			come_up(by[i], 0);
			CHECK(!late_comes && is_one_clock() && test_log_lines == !!by[i],
			      "a late one does not spoil another's comparison: %lu apart, %s",
			      apart(), test_log_text);
		}
}

int main(void)
{
	invariant = true;
	knows_adjust = true;
	test_moved("TSC_ADJUST");
	test_adjust();
	test_late();
	knows_adjust = false;
	adjust[1] = adjust[LATE] = 0;
	test_moved("no TSC_ADJUST");
	test_late();

	fixed = true;
	come_up(300, 0);
	CHECK(!tsc_stable && writes == TRIES && test_log_lines == 1 &&
		  strstr(test_log_text, "not marked stable"),
	      "of one that cannot be moved it is said, once: %s", test_log_text);
	fixed = false;
	come_up(0, 0);
	CHECK(!tsc_stable, "what has been told guests once is not taken back");

	is_promised = invariant = false;
	come_up(300, 0);
	CHECK(!tsc_stable && !writes, "clocks that nobody promises to be one are left alone");
	return test_end();
}
