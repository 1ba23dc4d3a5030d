/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Large pages of guests. Where the CPU may stop the machine over them (iTLB multihit) none is
 * executable, and one is split when it is executed. What a VM's tables take of the pool tells.
 */
#include "guest.h"

PROGRAM(g_touch);
PROGRAM(g_far);

#define FIRST 0x200u /* the guest's frame of the first large page */
#define LARGE 512u
#define CODE  0x1000u /* where code is put in a large page, and further up in it */
#define OTHER 0x1f0000u

static s64 map_large(struct guest *g, u64 gfn, u64 pfn)
{
	return hc(CORBEL_HC_MAP_ONE, g->vm, gfn, pfn, 9, CORBEL_MAP_WRITE | CORBEL_MAP_EXEC);
}

/* Maps three that dom0 has; returns the first one's address, or 0. */
static u8 *map_pages(struct guest *g)
{
	u8 *first = NULL;
	u64 n = 0;

	for (u64 at = 0x2000000; n < 3 && at < 0x20000000; at += LARGE * PAGE) {
		if (e820_kind(at) != 1 || map_large(g, FIRST + n * LARGE, at / PAGE) != 1)
			continue;
		if (!n++)
			first = (u8 *)at;
	}
	return n == 3 ? first : NULL;
}

static u64 tables(struct guest *g)
{
	static struct corbel_vm_stat s __attribute__((aligned(4096)));

	for (u32 i = 0; hc(CORBEL_HC_STAT, CORBEL_STAT_VM, i, &s, sizeof(s)) > 0; i++)
		if (s.id == g->vm)
			return s.pool_bytes / PAGE;
	return 0;
}

static u64 faults(struct guest *g)
{
	return vcpu_stat(g->vcpu)->exits[13];
}

/* The code at an offset in the first large page. */
static bool executes(struct guest *g, u32 at)
{
	struct corbel_sregs *s = (void *)g->data;

	hc(CORBEL_HC_VCPU_GET, g->vcpu, CORBEL_STATE_SREGS, 0);
	s->cs.base = FIRST * PAGE + at;
	hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_SREGS, sizeof(*s));
	g->page->rip = 0;
	g->page->regs_dirty = 1;
	return guest_run(g, 5000) == CORBEL_EXIT_IO && EXIT_IO(g, 0x21, 0);
}

/* It adds 1 to a word of each page. */
static bool writes(struct guest *g, u32 pages)
{
	struct corbel_sregs *s = (void *)g->data;

	hc(CORBEL_HC_VCPU_GET, g->vcpu, CORBEL_STATE_SREGS, 0);
	s->cs.base = 0;
	hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_SREGS, sizeof(*s));
	g->page->rip = 0x1000;
	g->page->rdi = FIRST * PAGE;
	g->page->rcx = pages;
	g->page->regs_dirty = 1;
	return guest_run(g, 5000) == CORBEL_EXIT_IO && EXIT_IO(g, 0x20, 0);
}

static void put_code(u8 *mem)
{
	for (u32 i = 0; i < 3 * LARGE; i++)
		*(u32 *)(mem + i * PAGE) = 0;
	memcpy(mem + CODE + 4, g_far, (size_t)(g_far_end - g_far));
	memcpy(mem + OTHER + 4, g_far, (size_t)(g_far_end - g_far));
}

void test_large(void)
{
	u64 before, at_start;
	struct guest g;
	bool split;
	u8 *mem;

	if (!report(guest_make(&g, 0, 0, g_touch, g_touch_end), "a guest is made"))
		return;
	mem = map_pages(&g);
	if (!report(mem, "it gets three large pages"))
		return;
	guest_widen(&g);
	put_code(mem);
	at_start = tables(&g);
	report(writes(&g, 3 * LARGE) && *(u32 *)(mem + 5 * PAGE) == 1 && tables(&g) == at_start &&
		   !faults(&g),
	       "it reads and writes them all, and they stay large");
	before = faults(&g);
	report(executes(&g, CODE + 4), "it executes code in the first");
	split = tables(&g) != at_start;
	note("large: split where executed: %s", split ? "yes" : "no");
	report(tables(&g) == at_start + split && faults(&g) == before + split,
	       "of the three that one alone is split, if any (%lu tables, %lu faults)",
	       tables(&g) - at_start, faults(&g) - before);
	report(executes(&g, OTHER + 4) && faults(&g) == before + split,
	       "another page of it can be executed at once");
	report(writes(&g, LARGE) && *(u32 *)(mem + 5 * PAGE) == 2 && faults(&g) == before + split,
	       "and all be written");
	report(hc(CORBEL_HC_UNMAP, g.vm, FIRST, LARGE) == LARGE && tables(&g) == at_start &&
		   map_large(&g, FIRST, (u64)mem / PAGE) == 1 && tables(&g) == at_start,
	       "unmapped and mapped again, it is large again");
	report(guest_free(&g), "it goes");
}
