/* SPDX-License-Identifier: GPL-2.0-only */
/* Control registers: what the policy does not offer is refused before hardware sees it. */
#include "lib.h"

#define MSR_XSS 0xda0

static u64 allowed_cr4(void)
{
	u32 r1[4], r7[4];

	cpuid(1, 0, r1);
	cpuid(7, 0, r7);
	return 0x7ff | (r1[2] & BIT(17) ? BIT(17) : 0) | (r1[2] & BIT(26) ? BIT(18) : 0) |
	       (r7[1] & BIT(0) ? BIT(16) : 0) | (r7[1] & BIT(7) ? BIT(20) : 0) |
	       (r7[1] & BIT(20) ? BIT(21) : 0) | (r7[2] & BIT(2) ? BIT(11) : 0) |
	       (r7[2] & BIT(3) ? BIT(22) : 0);
}

static void check_cr4(void)
{
	u64 cr4 = READ_CR(4), may = allowed_cr4();
	u32 bad = 0;

	for (u32 i = 0; i < 64; i++) {
		if (may & BIT(i))
			continue;
		if (WRITE_CR(4, cr4 | BIT(i)) != GP && ++bad)
			note("CR4 bit %u can be set", i);
	}
	report(!bad && READ_CR(4) == cr4,
	       "CR4: bits that CPUID does not offer, VMXE and reserved ones are refused");
	bad = 0;
	for (u32 i = 0; i < 23; i++) {
		if (!(may & BIT(i)) || i == 5 || i == 17 || i == 20 ||
		    i == 21) /* PAE; PCIDE, SMEP, SMAP have rules of their own */
			continue;
		if ((WRITE_CR(4, cr4 | BIT(i)) != -1 || READ_CR(4) != (cr4 | BIT(i))) && ++bad)
			note("CR4 bit %u cannot be set", i);
		WRITE_CR(4, cr4);
	}
	report(!bad, "CR4: bits that CPUID offers can be set");
	report(WRITE_CR(4, cr4 & ~BIT(5)) == GP, "CR4: PAE cannot go in long mode");
	if (may & BIT(20))
		report(WRITE_CR(4, cr4 | BIT(20)) == -1 && READ_CR(4) & BIT(20),
		       "CR4: SMEP can be set");
	WRITE_CR(4, cr4);
}

static void check_cr8(void)
{
	u64 cr0 = READ_CR(0);

	for (u64 i = 0; i < 16; i += 5)
		report(WRITE_CR(8, i) == -1 && READ_CR(8) == i && apic_read(APIC_TPR) == i << 4,
		       "CR8: %lu reads back, TPR follows", i);
	apic_write(APIC_TPR, 0x7f);
	report(READ_CR(8) == 7, "CR8 follows TPR");
	WRITE_CR(8, 0);
	WRITE_CR(0, cr0 | BIT(3));
	report(READ_CR(0) & BIT(3), "CR0.TS can be set");
	WRITE_CR(0, cr0);
}

#define CD BIT(30)
#define NW BIT(29)

/* What is written reads back, by all instructions there are; what the hardware does with it does
 * not show. */
static void check_cr0(void)
{
	u64 cr0 = READ_CR(0), cr2 = READ_CR(2), cr3 = READ_CR(3), cr4 = READ_CR(4), wide = 0,
	    half = ~0ull;
	u16 word = 0, load;
	u32 r[4];

	report(!(cr0 & (CD | NW)) && WRITE_CR(0, cr0 | NW) == GP && READ_CR(0) == cr0,
	       "CR0: NW without CD is refused");
	report(WRITE_CR(0, cr0 | CD) == -1 && READ_CR(0) == (cr0 | CD), "CR0.CD reads back");
	report(WRITE_CR(0, cr0 | CD | NW) == -1 && READ_CR(0) == (cr0 | CD | NW),
	       "CR0.CD and NW read back");
	report(READ_CR(2) == cr2 && READ_CR(3) == cr3 && READ_CR(4) == cr4,
	       "the other control registers, too");
	cpuid(0, 0, r);
	report(READ_CR(0) == (cr0 | CD | NW), "after an exit, too");
	__asm__ volatile("smsw %0" : "=r"(wide));
	__asm__ volatile("smsw %w0" : "+r"(half));
	__asm__ volatile("smsw %0" : "=m"(word));
	report((u32)wide == (u32)(cr0 | CD | NW) && half == (~0xffffull | (u16)cr0) &&
		   word == (u16)cr0,
	       "SMSW reads the same (%lx %lx %x)", wide, half, word);
	load = (u16)cr0 | 8;
	__asm__ volatile("lmsw %0" ::"m"(load));
	report(READ_CR(0) == (cr0 | CD | NW | 8), "LMSW from memory sets TS and leaves CD alone");
	__asm__ volatile("clts");
	report(READ_CR(0) == (cr0 | CD | NW), "CLTS clears TS");
	load = (u16)cr0 & ~1u;
	__asm__ volatile("lmsw %0" ::"r"(load));
	report(READ_CR(0) == (cr0 | CD | NW), "LMSW cannot clear PE");
	report(WRITE_CR(0, cr0) == -1 && READ_CR(0) == cr0, "CR0.CD and NW can be cleared");
	__asm__ volatile("lmsw %0" ::"r"((u16)(cr0 | 4)));
	report(READ_CR(0) == (cr0 | 4), "LMSW from a register sets EM");
	WRITE_CR(0, cr0);
	report(WRITE_CR(0, cr0 ^ BIT(16)) == -1 && READ_CR(0) == (cr0 ^ BIT(16)),
	       "CR0.WP can be switched");
	WRITE_CR(0, cr0);
	report(WRITE_CR(0, cr0 & ~BIT(31)) == GP, "CR0: paging cannot go in long mode");
}

static int xsetbv(u32 index, u64 val)
{
	int v;

	__asm__ volatile(CATCH("xsetbv")
			 : CAUGHT(v)
			 : "c"(index), "a"((u32)val), "d"((u32)(val >> 32))
			 : "memory");
	return v;
}

/* With CR4.OSXSAVE on and XCR0 = 3. */
static void check_xsaves(void)
{
	static u8 area[832] __attribute__((aligned(64)));
	u64 val = 1;
	u32 r[4];
	bool amd;
	int v;

	cpuid(0, 0, r);
	amd = r[1] == 0x68747541; /* "Auth" */
	cpuid(0xd, 1, r);
	note("XSAVES: %s", r[0] & BIT(3) ? "yes" : "no");
	__asm__ volatile(CATCH("xsaves (%1)") : CAUGHT(v) : "r"(area), "a"(3), "d"(0) : "memory");
	if (!(r[0] & BIT(3))) { /* AMD-V does not intercept it */
		report(v == UD || (amd && v == -1), "without XSAVES it is undefined, on VT-x");
		report(rdmsr_try(MSR_XSS, &val) == GP && wrmsr_try(MSR_XSS, 0) == GP,
		       "and there is no IA32_XSS");
		return;
	}
	report(v == -1 && *(u64 *)(area + 520) == (BIT(63) | 3),
	       "XSAVES writes the compacted format");
	__asm__ volatile(CATCH("xrstors (%1)") : CAUGHT(v) : "r"(area), "a"(3), "d"(0) : "memory");
	report(v == -1, "XRSTORS reads it");
	report(rdmsr_try(MSR_XSS, &val) == -1 && !val && wrmsr_try(MSR_XSS, 0) == -1,
	       "IA32_XSS is 0 and may be so");
	report(wrmsr_try(MSR_XSS, 1) == GP && wrmsr_try(MSR_XSS, BIT(8)) == GP &&
		   wrmsr_try(MSR_XSS, BIT(11)) == GP,
	       "nothing can be set in it");
}

static void check_xcr0(void)
{
	u64 cr4 = READ_CR(4);
	u32 r[4], lo, hi;

	cpuid(1, 0, r);
	if (!(r[2] & BIT(26))) {
		note("this CPU has no XSAVE");
		return;
	}
	report(xsetbv(0, 1) == UD, "XSETBV is undefined without CR4.OSXSAVE");
	WRITE_CR(4, cr4 | BIT(18));
	report(xsetbv(0, 0) == GP && xsetbv(0, 6) == GP, "XCR0: x87 cannot be off");
	report(xsetbv(0, 5) == GP, "XCR0: AVX needs SSE");
	report(xsetbv(1, 1) == GP && xsetbv(0x80000000, 1) == GP,
	       "XSETBV: other registers do not exist");
	report(xsetbv(0, 3 | BIT(63)) == GP && xsetbv(0, 3 | BIT(62)) == GP &&
		   xsetbv(0, 3 | BIT(20)) == GP,
	       "XCR0: reserved bits are refused");
	report(xsetbv(0, 3) == -1, "XCR0: x87 and SSE can be on");
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	report(lo == 3 && !hi, "XGETBV reads it back");
	/* Exits in between do not change it: the hypervisor runs with another one. */
	for (u32 i = 0; i < 10; i++)
		cpuid(0, 0, r);
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	report(lo == 3, "XCR0 survives exits");
	check_xsaves();
	xsetbv(0, 1);
	WRITE_CR(4, cr4);
}

/* MOV to and from debug registers: kept over exits and over the other vCPUs. */
static void check_debug_registers(void)
{
	u64 a = 0x123456789a, b;
	u32 r[4];

	__asm__ volatile("mov %0, %%dr0; mov %0, %%dr3" ::"r"(a));
	cpuid(1, 0, r);
	delay_us(2000);
	__asm__ volatile("mov %%dr0, %0" : "=r"(b));
	report(a == b, "DR0 survives exits");
	__asm__ volatile("mov %%dr3, %0" : "=r"(b));
	report(a == b, "DR3 survives exits");
	__asm__ volatile("mov %0, %%dr0; mov %0, %%dr3" ::"r"(0ull));
	__asm__ volatile("mov %%dr7, %0" : "=r"(b));
	report((b & ~0x400ull) == 0, "DR7 is as after reset (%lx)", b);
}

void test_cr(void)
{
	check_cr0();
	check_cr4();
	check_cr8();
	check_xcr0();
	check_debug_registers();
}
