/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Doorbells and vCPUs by their numbers, which are refused when they are out of date.
 * links: tests/unit/rest.c hv/dom0/hypercall.c hv/dom0/takeover.c hv/dom0/lend.c hv/guest/vm.c
 * hv/guest/msr_filter.c hv/guest/vcpu.c hv/guest/apic_ids.c hv/guest/doorbell.c hv/mm/pool.c
 * hv/lib/lock.c
 */
#include "hypercall_fake.h"

static void test_doorbells(void)
{
	struct corbel_doorbell d = {.addr = 0x510, .len = 1, .flags = CORBEL_DOORBELL_PIO};
	u64 before = pool_free_bytes();
	s64 vm = make_vm(0, 0);
	struct account *a = &vm_by_id(vm)->acct;
	void *page[64];
	u32 n = 0;

	while (n < ARRAY_SIZE(page) && (page[n] = pool_alloc(0, a)))
		n++;
	if (n) /* the one that is for them */
		pool_free(page[--n], 0, a);
	memcpy(dom0_page, &d, sizeof(d));
	CHECK(n && n < ARRAY_SIZE(page) && call(CORBEL_HC_DOORBELL, vm, 0, 0, 0) >= 0 &&
		  call(CORBEL_HC_DOORBELL, vm, 0, 0, 0) == -EEXIST && doorbell_total() == 1,
	      "a VM that has used up the rest of its promise can still have doorbells");
	while (n)
		pool_free(page[--n], 0, a);
	free_vm(vm, 0);
	CHECK(pool_free_bytes() == before && !doorbell_total(), "which go with it");
}

/* ---- numbers that are out of date ---- */

static s64 remove_doorbell(s64 vm, struct corbel_doorbell d, s64 number)
{
	d.flags |= CORBEL_DOORBELL_REMOVE;
	d.id = number;
	memcpy(dom0_page, &d, sizeof(d));
	return call(CORBEL_HC_DOORBELL, vm, 0, 0, 0);
}

static s64 add_doorbell(s64 vm, struct corbel_doorbell d)
{
	memcpy(dom0_page, &d, sizeof(d));
	return call(CORBEL_HC_DOORBELL, vm, 0, 0, 0);
}

/* Each id is given again only when all others have been: who rings late rings nobody. */
static void test_doorbell_numbers(void)
{
	struct corbel_doorbell d = {.addr = 0x510, .len = 1, .flags = CORBEL_DOORBELL_PIO};
	struct corbel_doorbell other = {.addr = 0x600, .len = 1, .flags = CORBEL_DOORBELL_PIO};
	static bool had[CORBEL_MAX_DOORBELLS];
	s64 vm = make_vm(0, 0), stays = add_doorbell(vm, other), old = -1, number;
	u32 wrong = 0, again = 0;

	for (u32 i = 0; i < CORBEL_MAX_DOORBELLS - 1; i++) {
		number = add_doorbell(vm, d);
		wrong += number < 0 || number == old || remove_doorbell(vm, d, old) != -ENOENT ||
			 remove_doorbell(vm, d, stays) != -ENOENT;
		again += had[CORBEL_DOORBELL_ID(number)];
		had[CORBEL_DOORBELL_ID(number)] = true;
		wrong += remove_doorbell(vm, d, number) != 0 ||
			 remove_doorbell(vm, d, number) != -ENOENT;
		old = number;
	}
	CHECK(!wrong && doorbell_total() == 1,
	      "a doorbell is removed by its own number only, once");
	CHECK(!again && !had[CORBEL_DOORBELL_ID(stays)],
	      "and no id is given twice before all have been");
	number = add_doorbell(vm, d);
	CHECK(number > old && had[CORBEL_DOORBELL_ID(number)], "then they are, with other numbers");
	CHECK(!remove_doorbell(vm, other, stays) && !remove_doorbell(vm, d, number),
	      "the first still answers to its own");
	free_vm(vm, 0);
}

static void test_vcpu_numbers(void)
{
	static const u32 calls[] = {
	    CORBEL_HC_VCPU_DESTROY, CORBEL_HC_VCPU_PAGE, CORBEL_HC_VCPU_RESUME,
	    CORBEL_HC_VCPU_PAUSE,   CORBEL_HC_VCPU_GET,	 CORBEL_HC_VCPU_SET,
	    CORBEL_HC_NMI,	    CORBEL_HC_EXTINT,	 CORBEL_HC_SCHED};
	s64 vm = make_vm(0, 0), old = call(CORBEL_HC_VCPU_CREATE, vm, 0, 0, 0), new;
	u32 taken = 0;

	CHECK(!call(CORBEL_HC_VCPU_DESTROY, old, 0, 0, 0), "a vCPU goes");
	new = call(CORBEL_HC_VCPU_CREATE, vm, 0, 0, 0);
	CHECK(new != old &&CORBEL_VCPU_ID(new) == CORBEL_VCPU_ID(old) &&
		  vcpu_by_id(CORBEL_VCPU_ID(old)) == vcpu_by_number(new),
	      "another has its id, with a number of its own");
	for (u32 i = 0; i < ARRAY_SIZE(calls); i++)
		taken += call(calls[i], old, 0, 0, 0) != -ENOENT ||
			 call(calls[i], CORBEL_VCPU_ID(old), 0, 0, 0) != -ENOENT;
	CHECK(!taken && vcpu_by_number(new),
	      "no call takes the old number, nor the id alone, for it");
	CHECK(!call(CORBEL_HC_VCPU_DESTROY, new, 0, 0, 0), "it has its own");
	free_vm(vm, 0);
}

/* So many that they do not fit in a page. */
static void test_many_doorbells(void)
{
	struct corbel_doorbell d = {.len = 1, .flags = CORBEL_DOORBELL_PIO};
	u64 before = pool_free_bytes(), with;
	s64 vm = make_vm(0, 0);
	u32 added = 0, rung = 0, still = 0;
	s64 number[300];

	with = pool_free_bytes();
	for (u32 i = 0; i < 300; i++, d.addr++) {
		number[i] = add_doorbell(vm, d);
		added += number[i] >= 0;
	}
	CHECK(added == 300 && with - pool_free_bytes() == 2 * PAGE_SIZE,
	      "%u doorbells have two pages", added);
	for (d.addr = 0; d.addr < 300; d.addr += 2)
		remove_doorbell(vm, d, number[d.addr]);
	for (u64 addr = 0; addr < 302; addr++) {
		bool is = doorbell_ring(vm_by_id(vm), true, addr, 1, 0);

		rung += is;
		still += is && (addr % 2 == 0 || addr >= 300);
	}
	CHECK(rung == 150 && !still, "those that are left ring: %u, %u of others", rung, still);
	free_vm(vm, 0);
	CHECK(pool_free_bytes() == before && !doorbell_total(), "and all go with the VM");
}

int main(void)
{
	dom0_start();
	test_doorbells();
	test_doorbell_numbers();
	test_vcpu_numbers();
	test_many_doorbells();
	return test_end();
}
