/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A CPU beside the boot CPU that lacks one feature, for each there is: is it left out, with a line
 * that names it? What is not used or shown, and what it has more, is no matter.
 */
#include <stdio.h>
#include <string.h>

#include "hv/cpu/alike.c"

#include "test.h"

static struct cpu here;
static u32 lacks[4]; /* of the leaf below, by register */
static u32 of_leaf, last = 0x1f;

struct cpu *this_cpu(void)
{
	return &here;
}

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	bool less = leaf == of_leaf && !(leaf == 0xd && subleaf != 0);

	*a = *b = *c = *d = ~0u;
	if (!leaf)
		*a = last;
	else if (leaf == 0x80000000)
		*a = 0x80000021;
	if (less) {
		*a &= ~lacks[EAX];
		*b &= ~lacks[EBX];
		*c &= ~lacks[ECX];
		*d &= ~lacks[EDX];
	}
}

/* Without bits of a register, beside a boot CPU with all, or the other way round. */
static int comes_beside(u32 leaf, u32 reg, u32 bits, bool boot_lacks)
{
	const u32 none[4] = {0};
	u32 some[4] = {0};

	some[reg] = bits;
	of_leaf = leaf;
	*test_log_text = 0;
	test_log_lines = 0;
	for (u32 i = 0; i < 2; i++) {
		int ret;

		here = (struct cpu){.index = i, .apic_id = 9 * i};
		memcpy(lacks, boot_lacks == !i ? some : none, sizeof(lacks));
		ret = alike_check();
		if (i)
			return ret;
		CHECK_QUIET(!ret && !test_log_lines, "the boot CPU is what it is");
	}
	return 0;
}

/* What an exception, or a guest that has been shown it, would come of. */
static const struct {
	u32 leaf, reg, bits;
	const char *name;
} needed[] = {
    {1, ECX, BIT(26), "XSAVE"},
    {1, ECX, BIT(28), "AVX"},
    {1, ECX, BIT(3), "MONITOR"},
    {1, ECX, BIT(5), "VT-x"},
    {1, ECX, BIT(21), "x2APIC"},
    {1, ECX, BIT(24), "the TSC deadline"},
    {1, EDX, BIT(25), "SSE"},
    {7, EBX, BIT(16), "AVX-512"},
    {7, ECX, BIT(3), "protection keys"},
    {7, EDX, BIT(26), "SPEC_CTRL"},
    {0xd, EAX, BIT(2), "AVX's state"},
    {0xd, EAX, BIT(9), "protection keys' state"},
    {0x80000001, ECX, BIT(2), "AMD-V"},
    {0x80000001, EDX, BIT(27), "RDTSCP"},
    {0x80000007, EDX, BIT(8), "the invariant TSC"},
    {0x8000000a, EDX, BIT(0), "nested paging"},
    {0x8000000a, EDX, BIT(3), "NRIPS"},
};

static void test_needed(void)
{
	CHECK(!comes_beside(1, EAX, 0, false) && !test_log_lines, "a CPU like the boot CPU comes");
	for (u32 i = 0; i < ARRAY_SIZE(needed); i++) {
		char want[80];

		CHECK(comes_beside(needed[i].leaf, needed[i].reg, needed[i].bits, false) ==
			      -ENODEV &&
			  test_log_lines == 1,
		      "one without %s is left out, by a line", needed[i].name);
		snprintf(want, sizeof(want), "APIC id 9 lacks bits %x of CPUID leaf %x, E%cX",
			 needed[i].bits, needed[i].leaf, 'A' + needed[i].reg);
		CHECK(strstr(test_log_text, want), "which names the bit: %s", test_log_text);
		CHECK(!comes_beside(needed[i].leaf, needed[i].reg, needed[i].bits, true) &&
			  !test_log_lines,
		      "if it alone has it it comes");
	}
	CHECK(comes_beside(0, EAX, 0x1f & ~6u, false) == -ENODEV &&
		  strstr(test_log_text, "leaf 7,"),
	      "one whose leaves the firmware limits is left out: %s", test_log_text);
}

/* What follows other registers, or where the CPU is, and what nobody is shown. */
static void test_others(void)
{
	static const struct {
		u32 leaf, reg, bits;
	} other[] = {
	    {1, EAX, ~0u},		  /* stepping */
	    {1, EBX, ~0u},		  /* APIC id */
	    {1, ECX, BIT(27) | BIT(11)},  /* OSXSAVE, SDBG */
	    {1, EDX, BIT(28) | BIT(29)},  /* HTT, TM */
	    {7, ECX, BIT(4) | BIT(16)},	  /* OSPKE, LA57 */
	    {0xd, EAX, BIT(3)},		  /* MPX */
	    {0xd, EBX, ~0u},		  /* by XCR0 */
	    {6, EAX, ~0u},		  /* turbo may be off */
	    {0x80000008, EAX, 0xff0000u}, /* guests' addresses */
	};

	for (u32 i = 0; i < ARRAY_SIZE(other); i++)
		CHECK(!comes_beside(other[i].leaf, other[i].reg, other[i].bits, false) &&
			  !test_log_lines,
		      "leaf %x, register %u: bits %x are no matter", other[i].leaf, other[i].reg,
		      other[i].bits);
}

int main(void)
{
	for (u32 i = 0; i < CPUID_WORDS; i++)
		CHECK_QUIET(cpuid_words[i].leaf, "no row is empty");
	test_needed();
	test_others();
	return test_end();
}
