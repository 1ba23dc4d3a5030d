/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Broken memory of dom0's: what its kernel is told of, in a page that it writes to as well, and
 * what waits for it to take that. links: tests/unit/rest.c
 */
#include <string.h>

static unsigned int exchanges;
#define __atomic_exchange_n(p, val, order) (exchanges++, __atomic_exchange_n(p, val, order))
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

/* What dom0 does. -> how many of so many frames it has found, each once */
static u32 take_all(u64 first, u32 count)
{
	static u8 seen[0x1000];
	u32 n = 0;

	memset(seen, 0, sizeof(seen));
	do {
		for (u32 i = 0; i < CORBEL_BROKEN; i++) {
			u64 pfn = page.broken[i];

			n += pfn >= first && pfn - first < count && !seen[pfn - first]++;
			page.broken[i] = 0;
		}
		interrupts = 0;
		event_tell_kept();
	} while (interrupts);
	return n;
}

#define FIRST 0x200

static void test_kept(void)
{
	const u32 fit = CORBEL_BROKEN + KEPT;
	bool there;

	memset(page.broken, 0, sizeof(page.broken));
	for (u64 i = 0; i < fit; i++)
		event_memory_broken(FIRST + i);
	event_memory_broken(FIRST + fit - 1);
	CHECK(told(FIRST, &there) == CORBEL_BROKEN && there && !*test_log_text,
	      "what there is no place for waits");
	interrupts = exchanges = 0;
	event_tell_kept();
	CHECK(!interrupts && told(FIRST, &there) == CORBEL_BROKEN && there,
	      "while dom0 does not look nobody bothers it");
	CHECK(!exchanges, "nor do CPUs bother each other, however often they ask (%u)", exchanges);
	event_memory_broken(FIRST + fit);
	event_memory_broken(FIRST + fit + 1);
	CHECK(strstr(test_log_text, "memory at 245000 is broken") &&
		  strstr(test_log_text, "2 pages by now"),
	      "what cannot wait either is counted in the log (%s)", test_log_text);
	CHECK(take_all(FIRST, fit) == fit, "dom0 is told of all others once it takes them");
	event_memory_broken(0x300);
	CHECK(page.broken[0] == 0x300 && interrupts == 1 && take_all(0x300, 1) == 1,
	      "and of the next one at once");
}

/* Machine checks for dom0's log. */
static void test_errors(void)
{
	static const struct corbel_error none;
	struct corbel_error e = {.status = 0x9c00000000000134, .addr = 0x1000, .bank = 3};

	interrupts = 0;
	event_error(&e);
	CHECK(page.errors == 1 && !memcmp(&page.error[0], &e, sizeof(e)) && interrupts == 1,
	      "dom0 is told of an error, whole");
	for (u32 i = 1; i < CORBEL_ERRORS; i++) {
		e.addr += 0x1000;
		event_error(&e);
	}
	CHECK(page.errors == BIT(CORBEL_ERRORS) - 1 && !page.errors_lost &&
		  page.error[CORBEL_ERRORS - 1].addr == 0x20000,
	      "of as many as there is room for");
	e.addr = 0xbad000;
	event_error(&e);
	event_error(&e);
	for (u32 i = 0; i < CORBEL_ERRORS; i++)
		CHECK_QUIET(page.error[i].addr == 0x1000 * (i + 1), "place %u is as it was", i);
	CHECK(page.errors_lost == 2, "those that there is no room for are counted, and no more");
	page.errors &= ~BIT(5);
	page.error[5] = none;
	event_error(&e);
	CHECK(page.errors == BIT(CORBEL_ERRORS) - 1 && page.error[5].addr == 0xbad000 &&
		  page.errors_lost == 2,
	      "a place that dom0 has given back is taken again");
	interrupts = 0;
	event_bound(0);
	CHECK(interrupts == 1, "who binds events is told that there are some");
	page.errors = 0;
	event_bound(0);
	CHECK(interrupts == 1, "or not, if there are none");
	page.errors = ~0ull;
	event_error(&e);
	CHECK(page.errors_lost == 3, "a dom0 that sets bits which mean nothing harms itself");
	page.errors = page.errors_lost = 0;
}

static void test_unbound(struct vcpu *v)
{
	v->event_vector = interrupts = 0;
	event_bound(0);
	for (u64 i = 0; i < CORBEL_BROKEN + 2; i++)
		event_memory_broken(FIRST + i);
	page.vcpu[1] = page.doorbell[2] = page.vcpu_summary = page.doorbell_summary = 6;
	event_forget();
	CHECK(!interrupts && !page.vcpu[1] && !page.doorbell[2] && !page.vcpu_summary &&
		  !page.doorbell_summary,
	      "a kernel that comes finds nothing of its forerunner's VMs");
	v->event_vector = VECTOR;
	event_bound(0);
	CHECK(interrupts == 1 && take_all(FIRST, CORBEL_BROKEN + 2) == CORBEL_BROKEN + 2,
	      "who binds events is told what broke before");
	event_bound(0);
	CHECK(!interrupts, "or nothing, if there is nothing");
}

int main(void)
{
	static struct vcpu v = {.event_vector = VECTOR};
	static struct vm dom0 = {.is_dom0 = true, .vcpu = dom0.few, .few = {&v}, .vcpu_end = 1};
	static struct corbel_load load;
	bool there;

	event_memory_broken(0x123);
	event_error(&(struct corbel_error){0});
	CHECK(!interrupts, "while there is no dom0 nobody is told");
	events = (void __shared *)&page;
	loads = (void __shared *)&load;
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
	test_kept();
	test_errors();
	test_unbound(&v);
	return test_end();
}
