/* SPDX-License-Identifier: GPL-2.0-only */
/* Translations that must not outlive their time. Emulators that flush at each entry show nothing;
 * CPUs do. */
#include "guest.h"

PROGRAM(g_copy);
PROGRAM(g_paging);

static u8 pages[3][PAGE] __attribute__((aligned(4096)));
static u8 buf[PAGE] __attribute__((aligned(4096)));

static u32 see(u64 at)
{
	return *(volatile u32 *)at;
}

/* MOV to CR4 that changes PGE or PSE takes global translations along, whoever carries it out. */
static void check_global(void)
{
	static u64 dir[512] __attribute__((aligned(4096))),
	    table[512] __attribute__((aligned(4096)));
	u64 *pdpt = (u64 *)(*(u64 *)(READ_CR(3) & ~0xfffull) & ~0xfffull), window = 6ull << 30,
	    cr4 = READ_CR(4);
	u32 a, b, c;

	*(u32 *)pages[0] = 0xaaaa;
	*(u32 *)pages[1] = 0xbbbb;
	dir[0] = (u64)table | 3;
	table[0] = (u64)pages[0] | BIT(8) | 3;
	pdpt[6] = (u64)dir | 3;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
	WRITE_CR(4, cr4 | BIT(7));
	a = see(window);
	table[0] = (u64)pages[1] | BIT(8) | 3;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
	b = see(window);
	WRITE_CR(4, cr4 & ~BIT(7));
	c = see(window);
	note("global page: %x, %x after MOV CR3", a, b);
	report(a == 0xaaaa && c == 0xbbbb,
	       "a global translation is gone when CR4.PGE is cleared (%x)", c);
	pdpt[6] = 0;
	WRITE_CR(4, cr4);
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}

static s64 put(struct guest *g, u64 gfn, void *page)
{
	struct corbel_map *m = (void *)buf;

	*m = (struct corbel_map){.gfn = gfn, .pfn = (u64)page / PAGE, .flags = CORBEL_MAP_WRITE};
	return hc(CORBEL_HC_MAP, g->vm, m, 1);
}

static bool runs_and_sees(struct guest *g, u32 want)
{
	u32 count = LONG(g, 0x504);

	guest_resume(g);
	WAIT(LONG(g, 0x504) > count + 10, 2000);
	count = LONG(g, 0x500);
	hc(CORBEL_HC_VCPU_PAUSE, g->vcpu);
	return guest_wait(g, 2000) && count == want;
}

/* A page is exchanged while the vCPU is on another CPU: the first has old translations when it
 * comes back. */
static void check_moving(void)
{
	struct guest g;
	u32 stale = 0;

	MAKE(&g, 0, g_copy);
	for (u32 i = 0; i < 3; i++)
		*(u32 *)pages[i] = 0x1000 + i;
	report(put(&g, 9, pages[0]) == 1, "a page");
	for (u32 round = 0; round < 12; round++) {
		u32 now = 0x1000 + round % 3;

		guest_pin(&g, 1ull << (round % 2));
		if (round) {
			hc(CORBEL_HC_UNMAP, g.vm, 9, 1);
			put(&g, 9, pages[round % 3]);
		}
		stale += !runs_and_sees(&g, now);
		guest_pin(&g, 2ull >> (round % 2));
		stale += !runs_and_sees(&g, now);
	}
	report(!stale, "a page exchanged between two CPUs' turns is seen on both (%u stale)",
	       stale);
	FREE(&g);
}

static bool set_cr3(struct guest *g, u64 cr3)
{
	struct corbel_sregs *s = (void *)g->data;

	if (hc(CORBEL_HC_VCPU_GET, g->vcpu, CORBEL_STATE_SREGS, 0) != sizeof(*s))
		return false;
	s->cr3 = cr3;
	return !hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_SREGS, sizeof(*s));
}

/* The VMM gives a stopped vCPU another CR3. */
static void check_cr3(void)
{
	struct guest g;
	u32 stale = 0;

	MAKE(&g, 0, g_paging);
	guest_pin(&g, cpu_count > 1 ? 2 : 1);
	for (u32 i = 0; i < 16; i++) {
		LONG(&g, 0x5000 + 4 * i) = i << 12 | 3;
		LONG(&g, 0x7000 + 4 * i) = (i == 3 ? 2 : i) << 12 | 3;
	}
	LONG(&g, 0x4000) = 0x5003;
	LONG(&g, 0x6000) = 0x7003;
	LONG(&g, 0x3000) = 0x3333;
	LONG(&g, 0x2000) = 0x2222;
	stale += !runs_and_sees(&g, 0x3333);
	for (u32 round = 0; round < 6; round++) {
		if (!set_cr3(&g, round % 2 ? 0x4000 : 0x6000))
			stale += 100;
		stale += !runs_and_sees(&g, round % 2 ? 0x3333 : 0x2222);
	}
	report(!stale, "another CR3 from the VMM takes old translations along (%u stale)", stale);
	FREE(&g);
}

void test_stale(void)
{
	check_global();
	check_cr3();
	if (cpu_count > 1)
		check_moving();
}
