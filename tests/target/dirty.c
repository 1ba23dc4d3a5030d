/* SPDX-License-Identifier: GPL-2.0-only */
/* The dirty log of a guest that writes many pages, and of what the hypervisor writes for it. */
#include "guest.h"

PROGRAM(g_sweep);

#define FIRST 0x200u
#define SPAN  1024u /* pages, all the same frame of dom0's */
#define SWEEP 600u

static u64 log[SPAN / 64];
static u8 buf[PAGE] __attribute__((aligned(4096)));

static bool map_span(struct guest *g)
{
	struct corbel_map *m = (void *)buf;

	for (u32 i = 0; i < SPAN; i += 128) {
		for (u32 n = 0; n < 128; n++)
			m[n] = (struct corbel_map){.gfn = FIRST + i + n,
						   .pfn = (u64)g->mem / PAGE + 15,
						   .flags = CORBEL_MAP_WRITE};
		if (hc(CORBEL_HC_MAP, g->vm, m, 128) != 128)
			return false;
	}
	return true;
}

/* It writes the pages, and then wants a byte from port 0x77 to be put into the one after them. */
static bool sweep(struct guest *g, u32 from, u32 pages)
{
	g->page->rip = 0x1000;
	g->page->rdi = (FIRST + from) * PAGE;
	g->page->rcx = pages;
	g->page->regs_dirty = 1;
	return guest_run(g, 5000) == CORBEL_EXIT_IO && EXIT_IO(g, 0x77, 1);
}

static bool read_log(struct guest *g, u32 flags)
{
	bool ok = !hc(CORBEL_HC_DIRTY, g->vm, FIRST, SPAN, buf, flags);

	memcpy(log, buf, sizeof(log));
	return ok;
}

static bool log_is(u32 from, u32 pages)
{
	for (u32 i = 0; i < SPAN; i++)
		if ((log[i / 64] >> i % 64 & 1) != (i >= from && i < from + pages))
			return false;
	return true;
}

void test_dirty(void)
{
	struct corbel_vcpu_stat before;
	struct guest g;

	if (!report(guest_make(&g, 0, 0, g_sweep, g_sweep_end) && map_span(&g),
		    "a guest with %u pages is made", SPAN))
		return;
	guest_widen(&g);
	report(hc(CORBEL_HC_DIRTY, g.vm, FIRST, SPAN, buf, CORBEL_DIRTY_START) == 0,
	       "logging starts");
	report(read_log(&g, CORBEL_DIRTY_CLEAR) && log_is(0, 0), "nothing is dirty");
	before = *vcpu_stat(g.vcpu);
	report(sweep(&g, 0, SWEEP), "it writes %u pages", SWEEP);
	note("dirty log: %lu faults", vcpu_stat(g.vcpu)->exits[13] - before.exits[13]);
	report(read_log(&g, 0) && log_is(0, SWEEP), "exactly these are dirty");
	report(read_log(&g, CORBEL_DIRTY_CLEAR) && log_is(0, SWEEP),
	       "and still are when the log is read once more, and cleared");
	g.data[0] = 0x5a;
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x20, 0) &&
		   read_log(&g, CORBEL_DIRTY_CLEAR) && log_is(SWEEP, 1),
	       "a page that the hypervisor writes, and no other, is next");
	report(read_log(&g, CORBEL_DIRTY_CLEAR) && log_is(0, 0), "then none");
	report(sweep(&g, 100, 13) && read_log(&g, CORBEL_DIRTY_CLEAR) && log_is(100, 13),
	       "written again, pages are dirty again");
	report(sweep(&g, 500, 30) && hc(CORBEL_HC_UNMAP, g.vm, FIRST + 510, 1) == 1 &&
		   read_log(&g, CORBEL_DIRTY_CLEAR) && (log[7] >> 52 & 1) == 1 &&
		   !(log[7] >> 62 & 1),
	       "the log of a page that is unmapped is the caller's business");
	report(hc(CORBEL_HC_DIRTY, g.vm, FIRST, SPAN, buf, CORBEL_DIRTY_STOP) == 0 &&
		   sweep(&g, 0, 400),
	       "logging stops, it writes on");
	report(hc(CORBEL_HC_DIRTY, g.vm, FIRST, SPAN, buf, CORBEL_DIRTY_START) == 0 &&
		   read_log(&g, CORBEL_DIRTY_CLEAR) && log_is(0, 0),
	       "what was written meanwhile is not in a new log");
	report(hc(CORBEL_HC_DIRTY, g.vm, FIRST, 0, buf, 0) == -EINVAL &&
		   hc(CORBEL_HC_DIRTY, g.vm, FIRST, 32769, buf, 0) == -EINVAL &&
		   hc(CORBEL_HC_DIRTY, g.vm, ~0ull, 64, buf, 0) == -EINVAL &&
		   hc(CORBEL_HC_DIRTY, g.vm, FIRST, SPAN, buf + 4090, 0) < 0,
	       "no pages, too many, none that exist, and a bitmap across pages are refused");
	report(guest_free(&g), "it goes");
}
