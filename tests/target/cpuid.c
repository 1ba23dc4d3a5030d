/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What dom0 sees of the CPU: by an allow list, nothing of SVM and VMX, the KVM and Corbel leaves.
 */
#include "lib.h"

enum { EAX, EBX, ECX, EDX };

/*
 * Bits that may be set; all others must be clear. tests/unit/cpuid_test.c knows why, for each.
 * Names: SDM and APM "CPUID".
 */
static const struct {
	u32 leaf, sub, reg, may, must;
	const char *what;
} words[] = {
    {1, 0, ECX, 0xff7a3283 | BIT(23), BIT(31) | BIT(24) | BIT(21),
     "leaf 1 ECX: hypervisor, x2APIC, TSC deadline; no VMX, SMX, MONITOR, PDCM"},
    {1, 0, EDX, 0x178bfbff, BIT(4) | BIT(5) | BIT(6) | BIT(9),
     "leaf 1 EDX: no debug store, ACPI clock, thermal monitor"},
    {6, 0, EAX, 0xec7, BIT(2), "leaf 6: ARAT, what dom0 drives, no thermal interrupts"},
    {7, 0, EBX, 0xf1bf07a9, 0, "leaf 7 EBX: no SGX, RTM, HLE, MPX, PT, resource monitoring"},
    {7, 0, ECX, 0x00405f4e, 0, "leaf 7 ECX: no LA57, WAITPKG, CET, SGX, PKS"},
    {7, 0, EDX, BIT(4) | BIT(10) | GENMASK(29, 26) | BIT(31), 0,
     "leaf 7 EDX: nothing but FSRM and what speculation has to do with"},
    {0xd, 0, EAX, 0x2e7, 3, "leaf 0xd: only x87, SSE, AVX, AVX-512, PKRU state"},
    {0xd, 1, EAX, 0xf, 0, "leaf 0xd.1: no XFD"},
    {0xd, 1, ECX, 0, 0, "leaf 0xd.1: no supervisor states"},
    {0x80000001, 0, ECX, 0x006109f3, 0,
     "leaf 0x80000001 ECX: no SVM, SKINIT, IBS, performance counters"},
    {0x80000001, 0, EDX, 0x2fd3fbff, BIT(29), "leaf 0x80000001 EDX: long mode"},
    {0x80000007, 0, EDX, 0x4580, 0, "leaf 0x80000007: the invariant TSC, frequencies and energy"},
    {0x80000008, 0, EBX,
     BIT(0) | BIT(2) | BIT(9) | BIT(12) | GENMASK(19, 14) | BIT(24) | GENMASK(29, 26), 0,
     "leaf 0x80000008 EBX: nothing but CLZERO, XSAVEERPTR, WBNOINVD, CPPC and what speculation has "
     "to do with"},
};

/* Leaves that tell of what is not offered, and leaves that do not exist: all zero. */
static const u32 empty[] = {
    5,		0xa,	    0xf,	0x10,	    0x12,	0x14,	    0x19,	0x1c,
    0x20,	0x1234,	    0x7fffffff, 0x40000002, 0x40000010, 0x40000102, 0x4fffffff, 0x80000009,
    0x8000000a, 0x8000001f, 0x80000021, 0x8fffffff, 0xc0000000, 0xffffffff,
};

static void check_words(void)
{
	u32 r[4], must;
	bool xsave;

	cpuid(1, 0, r);
	xsave = r[ECX] & BIT(26);
	for (u32 i = 0; i < ARRAY_SIZE(words); i++) {
		cpuid(words[i].leaf, words[i].sub, r);
		u32 v = r[words[i].reg];

		must = words[i].leaf == 0xd && !xsave ? 0 : words[i].must;
		report(!(v & ~words[i].may) && (v & must) == must, "%s (it is %x)", words[i].what,
		       v);
	}
	cpuid(0x40000001, 0, r);
	report(!(r[EAX] & BIT(1)), "delays between I/O are left to dom0, whose devices are real");
}

static void check_empty(void)
{
	u32 bad = 0, r[4];
	bool topology;

	for (u32 i = 0; i < ARRAY_SIZE(empty); i++) {
		cpuid(empty[i], 0, r);
		if (r[0] | r[1] | r[2] | r[3]) {
			note("leaf %x is %x %x %x %x", empty[i], r[0], r[1], r[2], r[3]);
			bad++;
		}
	}
	report(!bad, "leaves of what is not offered (SVM, SEV, MWAIT, PMU, SGX, PT) and unknown "
		     "ones are empty");
	cpuid(0x80000001, 0, r);
	topology = r[ECX] & BIT(22);
	cpuid(0x8000001e, 0, r);
	report(topology || !(r[EAX] | r[EBX] | r[ECX]),
	       "AMD's topology is told of or is not there");
	cpuid(0x80000000, 0, r);
	report((r[EAX] >= 0x80000001 && r[EAX] <= 0x80000008) || (topology && r[EAX] == 0x8000001e),
	       "extended leaves end before SVM's, or with the topology (%x)", r[EAX]);
}

static void check_hypervisor(void)
{
	u32 r[4];

	cpuid(0x40000000, 0, r);
	report(r[EBX] == 0x4b4d564b && r[ECX] == 0x564b4d56 && r[EDX] == 0x4d &&
		   r[EAX] == 0x40000001,
	       "leaf 0x40000000 is KVM's");
	cpuid(0x40000001, 0, r);
	report((r[EAX] & 9) == 9 && !(r[EAX] & ~0x10038eb),
	       "leaf 0x40000001: kvmclock, and only services there are (%x)", r[EAX]);
	cpuid(CORBEL_CPUID_BASE, 0, r);
	report(r[EBX] == CORBEL_CPUID_SIG_EBX && r[ECX] == CORBEL_CPUID_SIG_ECX &&
		   r[EDX] == CORBEL_CPUID_SIG_EDX && r[EAX] == CORBEL_CPUID_ABI,
	       "leaf 0x40000100 is Corbel's");
	cpuid(CORBEL_CPUID_ABI, 0, r);
	report(r[EAX] == CORBEL_ABI_VERSION &&
		   (r[EBX] == CORBEL_BACKEND_SVM || r[EBX] == CORBEL_BACKEND_VMX) && r[ECX] == 1,
	       "leaf 0x40000101: ABI version, back end, dom0");
}

/* The area of XSAVEC by the components' own leaves */
static u32 compacted(u32 components)
{
	u32 size = 576, r[4];

	for (u32 i = 2; i < 32; i++) {
		if (!(components >> i & 1))
			continue;
		cpuid(0xd, i, r);
		size = (r[ECX] & 2 ? (size + 63) & ~63u : size) + r[EAX];
	}
	return size;
}

/* Bits that follow the vCPU's state. */
static void check_dynamic(void)
{
	u64 cr4 = READ_CR(4), base = rdmsr(MSR_APIC_BASE);
	u32 r[4], small, all, packed;

	cpuid(1, 0, r);
	report(!(r[ECX] & BIT(27)), "OSXSAVE is clear while CR4.OSXSAVE is");
	if (r[ECX] & BIT(26)) {
		WRITE_CR(4, cr4 | BIT(18));
		cpuid(1, 0, r);
		report(r[ECX] & BIT(27), "OSXSAVE follows CR4.OSXSAVE");
		__asm__ volatile("xsetbv" ::"c"(0), "a"(1), "d"(0));
		cpuid(0xd, 0, r);
		small = r[EBX];
		all = r[EAX];
		cpuid(0xd, 1, r);
		packed = r[EBX];
		__asm__ volatile("xsetbv" ::"c"(0), "a"(all), "d"(0));
		cpuid(0xd, 1, r);
		report(r[EAX] & (BIT(1) | BIT(3)) ? packed == 576 && r[EBX] == compacted(all)
						  : !packed && !r[EBX],
		       "leaf 0xd.1 EBX does so with XSAVEC or XSAVES (%u, %u)", packed, r[EBX]);
		cpuid(0xd, 0, r);
		report(small == 576 && r[EBX] == r[ECX] && r[EBX] >= small,
		       "leaf 0xd EBX follows XCR0 (%u, %u)", small, r[EBX]);
		__asm__ volatile("xsetbv" ::"c"(0), "a"(1), "d"(0));
		WRITE_CR(4, cr4);
	}
	wrmsr(MSR_APIC_BASE, base & ~BIT(11));
	cpuid(1, 0, r);
	report(!(r[EDX] & BIT(9)), "the APIC bit is clear while the APIC is off");
	apic_setup(false);
	cpuid(1, 0, r);
	report(r[EDX] & BIT(9) && r[EBX] >> 24 == me()->apic_id,
	       "the APIC bit is set, and leaf 1 has this vCPU's APIC id");
}

static void check_registers(void)
{
	u64 a = 0xdeadbeef00000000ull, c = 0xdeadbeef00000000ull, b, d, rsi = 0x1111, rdi = 0x2222;

	__asm__ volatile("mov $-1, %%rbx; mov $-1, %%rdx; cpuid"
			 : "+a"(a), "=b"(b), "+c"(c), "=d"(d), "+S"(rsi), "+D"(rdi));
	report(!((a | b | c | d) >> 32) && rsi == 0x1111 && rdi == 0x2222,
	       "the upper halves of the results are 0, other registers stay");
}

void test_cpuid(void)
{
	check_words();
	check_empty();
	check_hypervisor();
	check_dynamic();
	check_registers();
}
