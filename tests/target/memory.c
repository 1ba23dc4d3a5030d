/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The hypervisor's memory is a hole in dom0's: whatever touches it gets #GP, and nothing is seen or
 * changed.
 */
#include "lib.h"

static u64 first_hole, last_hole; /* pages of the largest piece */

static int read_try(u64 at, u32 *val)
{
	int v;

	__asm__ volatile(CATCH("movl (%2), %1") : CAUGHT(v), "=&r"(*val) : "r"(at) : "memory");
	return v;
}

static int write_try(u64 at, u32 val)
{
	int v;

	__asm__ volatile(CATCH("movl %1, (%2)") : CAUGHT(v) : "r"(val), "r"(at) : "memory");
	return v;
}

static int jump_try(u64 at)
{
	int v;

	__asm__ volatile(CATCH("jmp *%1") : CAUGHT(v) : "r"(at) : "memory");
	return v;
}

static void scan(void)
{
	u64 ram_end = 0, hidden = 0, piece = 0, pool;
	struct corbel_info i;
	u32 val, wrong = 0, leaks = 0;

	info(&i);
	for (u64 at = 0; at < BIT(32); at += PAGE * 256)
		if (e820_kind(at) == 1)
			ram_end = at + PAGE * 256;
	pool = i.pool_total_bytes / PAGE;
	for (u64 at = 0; at < ram_end + 64 * PAGE * 256 && at < 0xc0000000; at += PAGE) {
		int v = read_try(at, &val);

		if (v == -1) {
			piece = 0;
			continue;
		}
		wrong += v != GP;
		leaks += e820_kind(at) == 1;
		hidden++;
		if (++piece > (last_hole - first_hole) / PAGE) {
			last_hole = at + PAGE;
			first_hole = last_hole - piece * PAGE;
		}
	}
	report(hidden >= pool - 64 && hidden < pool + 2048,
	       "the hole has the pool's pages and the image's (%lu, pool %lu)", hidden, pool);
	report(!wrong, "a read of the hole is #GP");
	report(!leaks, "nothing that the memory map calls RAM lies in the hole");
	report(last_hole - first_hole >= 1024 * PAGE, "the pool is one piece (%lx-%lx)", first_hole,
	       last_hole);
	report(read_try(0x200000, &val) == GP && read_try(0x200000 + 4092, &val) == GP,
	       "the hypervisor's image at 2 MiB is in the hole");
}

static void check_kinds(void)
{
	u32 bad_write = 0, bad_exec = 0, n = 0, val;
	u64 quad, at = first_hole;
	int v;

	for (; at < last_hole; at += 37 * PAGE, n++) {
		bad_write += write_try(at + (n * 4 & 0xffc), 0xdeadbeef) != GP;
		bad_exec += jump_try(at) != GP || me()->fault_rip != at;
	}
	report(!bad_write, "writes all over the hole are #GP (%u pages)", n);
	report(!bad_exec, "so is running code there, with RIP in the hole");
	/* From both borders, half in, half out. */
	__asm__ volatile(CATCH("movq (%2), %1")
			 : CAUGHT(v), "=&r"(quad)
			 : "r"(first_hole - 4)
			 : "memory");
	report(v == GP, "a read that begins before the hole and ends in it");
	__asm__ volatile(CATCH("lock addl $1, (%1)")
			 : CAUGHT(v)
			 : "r"(first_hole)
			 : "memory", "cc");
	report(v == GP, "a locked read-modify-write");
	__asm__ volatile(CATCH("movl %1, %%esi; movl $3, %%ecx; movl %2, %%edi; rep movsb")
			 : CAUGHT(v)
			 : "r"((u32)first_hole), "r"((u32)(u64)&val)
			 : "memory", "rcx", "rsi", "rdi");
	report(v == GP, "a string instruction");
	__asm__ volatile(CATCH("lgdt (%1)") : CAUGHT(v) : "r"(first_hole) : "memory");
	report(v == GP, "LGDT");
	__asm__ volatile(CATCH("fxsave (%1)") : CAUGHT(v) : "r"(first_hole) : "memory");
	report(v == GP, "FXSAVE");
}

/* Page tables that lead into the hole, and tables that lie in it. */
static void check_tables(void)
{
	static u64 dir[512] __attribute__((aligned(4096))),
	    table[512] __attribute__((aligned(4096)));
	u64 *pdpt = (u64 *)(*(u64 *)(READ_CR(3) & ~0xfffull) & ~0xfffull);
	u64 window = 5ull << 30;
	u32 val;

	memset(dir, 0, sizeof(dir));
	dir[0] = (u64)table | 3;
	dir[1] = first_hole | 3; /* a table in the hole */
	table[0] = first_hole | 3;
	pdpt[5] = (u64)dir | 3;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
	report(read_try(window, &val) == GP && write_try(window, 1) == GP,
	       "a mapping of the hole elsewhere does not help");
	report(read_try(window + 0x200000, &val) == GP, "page tables in the hole are not walked");
	pdpt[5] = 0;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}

/* Addresses given to the hypervisor: it must not write its own memory for dom0. */
static void check_by_hypervisor(void)
{
	struct corbel_info i;
	u32 val;

	report(hc(CORBEL_HC_STAT, CORBEL_STAT_INFO, 0, first_hole, 4096) < 0 &&
		   hc(CORBEL_HC_LOG_READ, 0, first_hole, 4096) < 0 &&
		   hc(CORBEL_HC_SUPPORTED, CORBEL_SUPPORTED_MSRS, 0, 0x200000, 4096) < 0,
	       "hypercalls write no results into the hole");
	report(hc(CORBEL_HC_VM_CREATE, first_hole) < 0 && hc(CORBEL_HC_VM_CREATE, 0x200000) < 0,
	       "and take no arguments from it");
	for (u32 n = 0; n < 64; n++) {
		wrmsr(MSR_KVMCLOCK, (first_hole + n * 4160) | 1);
		wrmsr(0x4b564d00, 0x200000 + n * 4);
		wrmsr(0x4b564d03, ((0x200000 + n * 4096) & ~0x3full) | 1);
		wrmsr_try(0x4b564d04, ((first_hole + n * 4096) & ~3ull) | 1);
		delay_us(100);
	}
	kvmclock_off();
	wrmsr(0x4b564d03, 0);
	wrmsr(0x4b564d04, 0);
	info(&i);
	report(i.abi_version == CORBEL_ABI_VERSION,
	       "nor do clocks, steal time and PV EOI go there");
	report(read_try(i.events_hpa, &val) == -1 && read_try(i.events_hpa + PAGE, &val) == -1,
	       "the event pages are lent to dom0");
	report(write_try(i.events_hpa + 2 * PAGE, 1) == GP ||
		   write_try(i.events_hpa - PAGE, 1) == GP,
	       "its neighbours are not");
	/* Far beyond RAM there is nothing, or devices: that is dom0's. */
	report(read_try(0xfffff000, &val) == -1, "the firmware below 4 GiB can be read");
}

void test_memory(void)
{
	scan();
	if (!first_hole)
		return;
	check_kinds();
	check_tables();
	check_by_hypervisor();
}
