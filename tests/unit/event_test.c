/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Broken memory of dom0's: what its kernel is told of, in a page that it writes to as well.
 * links: tests/unit/rest.c
 */
#include "hv/guest/event.c"

#include "stand_in.h"
#include "test.h"

#define VECTOR 0x55

u64 test_direct_base;
/* clang-format off */
ZERO(void *, pool_alloc, u32 order, struct account *acct)
ZERO(u64, ns_to_tsc, u64 ns)
/* clang-format on */

static struct corbel_events page;
static struct frame dom0s = {.kind = FRAME_DOM0}, ours = {.kind = FRAME_HV};
static u32 interrupts;

const struct corbel_cpus *sched_idle_cpus(void)
{
	static const struct corbel_cpus none;

	return &none;
}

struct frame *frame_of(u64 pfn)
{
	if (pfn >= 0x2000)
		return NULL;
	return pfn < 0x1000 ? &dom0s : &ours;
}

bool lapic_set_irq(struct vcpu *v, u8 vector, bool level)
{
	interrupts += vector == VECTOR;
	return true;
}

/* How many there are, and is this one among them? */
static u32 told(u64 pfn, bool *is_there)
{
	u32 n = 0;

	*is_there = false;
	for (u32 i = 0; i < CORBEL_BROKEN; i++) {
		n += !!page.broken[i];
		*is_there |= page.broken[i] == pfn;
	}
	return n;
}

int main(void)
{
	static struct vcpu v = {.event_vector = VECTOR};
	static struct vm dom0 = {.is_dom0 = true, .vcpu = dom0.few, .few = {&v}, .vcpu_end = 1};
	bool there;

	event_memory_broken(0x123);
	CHECK(!interrupts, "while there is no dom0 nobody is told");
	events = (void __shared *)&page;
	receiver = &dom0;
	event_memory_broken(0x123);
	CHECK(told(0x123, &there) == 1 && there && interrupts == 1,
	      "dom0 is told of a frame of its own");
	event_memory_broken(0x123);
	CHECK(told(0x123, &there) == 1, "of each once, until it has looked");
	event_memory_broken(0x124);
	CHECK(told(0x124, &there) == 2 && there && told(0x123, &there) == 2 && there,
	      "the next one is told beside it");
	interrupts = 0;
	event_memory_broken(0);
	event_memory_broken(0x1234);
	event_memory_broken(0x2345);
	CHECK(told(0, &there) == 2 && !interrupts,
	      "it hears nothing of frames that are not its own, or not there");
	for (u64 pfn = 0x200; pfn < 0x200 + 2 * CORBEL_BROKEN; pfn++)
		event_memory_broken(pfn);
	CHECK(told(0x123, &there) == CORBEL_BROKEN && there,
	      "more than there is room for harm nobody");
	page.broken[0] = 0;
	event_memory_broken(0x300);
	CHECK(page.broken[0] == 0x300, "where dom0 has taken one there is room again");
	return test_end();
}
