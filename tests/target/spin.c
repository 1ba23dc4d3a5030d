/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two vCPUs on one CPU take turns, each waiting for the other's store: how often, depends on
 * whether the one that waits makes way.
 */
#include "guest.h"

PROGRAM(g_turns);
PROGRAM(g_turns_worker);

enum { PLAIN, PAUSE, YIELD_VMMCALL, YIELD_VMCALL }; /* what they do while they wait: word 0x514 */

#define MANY 50

static struct guest g, h;

static u64 exits(u32 reason)
{
	return vcpu_stat(g.vcpu)->exits[reason] + vcpu_stat(h.vcpu)->exits[reason];
}

/* Until they have taken many turns. Returns how many of these exits there were meanwhile. */
static u64 take_turns(u16 how, u32 reason, u32 *turns)
{
	u32 before;
	u64 first;

	WORD(&g, 0x514) = how;
	sleep_ms(50); /* whoever waits by other means has had its slice */
	before = LONG(&g, 0x500);
	first = exits(reason);
	for (u32 i = 0; i < 100 && LONG(&g, 0x500) - before < MANY; i++)
		sleep_ms(50);
	*turns = LONG(&g, 0x500) - before;
	return exits(reason) - first;
}

void test_spin(void)
{
	u32 turns;
	u64 n;

	MAKE(&g, CORBEL_VM_LAPIC, g_turns);
	memcpy(g.mem + 0x4000, g_turns_worker, (size_t)(g_turns_worker_end - g_turns_worker));
	h = g;
	h.vcpu = hc(CORBEL_HC_VCPU_CREATE, g.vm, 1);
	h.page = (void *)hc(CORBEL_HC_VCPU_PAGE, h.vcpu);
	if (!report(h.vcpu > 0, "a second vCPU"))
		return;
	guest_pin(&g, 1);
	guest_pin(&h, 1);
	guest_resume(&h);
	guest_resume(&g);
	n = take_turns(PLAIN, NR_PAUSE, &turns);
	report(turns >= MANY / 10 && !n, "two vCPUs on one CPU take turns, slice by slice");
	n = take_turns(PAUSE, NR_PAUSE, &turns);
	note("spin: loops of PAUSE exit: %s, %lu exits in %u turns", n ? "yes" : "no", n, turns);
	report(turns >= MANY / 10 && n <= 4ull * turns,
	       "one that spins makes way where PAUSE loops exit");
	/* Once more where this CPU alone has stood still between two looks. */
	for (u32 tries = 0; tries < 5; tries++) {
		n = take_turns(backend == CORBEL_BACKEND_VMX ? YIELD_VMCALL : YIELD_VMMCALL,
			       NR_HYPERCALL, &turns);
		if (n >= turns / 2 && n <= 4ull * turns)
			break;
	}
	report(turns >= MANY / 10 && n >= turns / 2 && n <= 4ull * turns,
	       "one that yields does at once (%lu calls in %u turns)", n, turns);
	hc(CORBEL_HC_VCPU_PAUSE, g.vcpu);
	hc(CORBEL_HC_VCPU_PAUSE, h.vcpu);
	report(guest_wait(&g, 10000) && guest_wait(&h, 10000), "they stop");
	while (hc(CORBEL_HC_VCPU_DESTROY, h.vcpu) == -EAGAIN)
		;
	FREE(&g);
}
