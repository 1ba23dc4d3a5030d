/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hypercalls in any order, with any arguments: what they make can be taken away afterwards, and all
 * of the pool comes back.
 * links: tests/unit/rest.c hv/dom0/hypercall.c hv/dom0/takeover.c hv/dom0/lend.c hv/guest/vm.c
 * hv/guest/msr_filter.c hv/guest/pic.c hv/guest/i8254.c hv/guest/vcpu.c
 * hv/guest/apic_ids.c hv/guest/doorbell.c hv/mm/pool.c hv/lib/lock.c
 */
#include "fuzz.h"

#include "tests/unit/hypercall_fake.h"

const char fuzz_what[] = "hypercalls are done or refused, and all comes back";
const u32 fuzz_rounds = 50000;

#define MADE 64

static const u8 *in;
static size_t left;
static u64 made[MADE]; /* ids of VMs and vCPUs */
static u32 made_count;

static u64 take(size_t bytes)
{
	u64 val = 0;

	bytes = MIN(bytes, left);
	memcpy(&val, in, bytes);
	in += bytes;
	left -= bytes;
	return val;
}

/* Something that was made, something small, a page's offset, or anything. */
static u64 take_arg(void)
{
	u8 how = (u8)take(1);

	switch (how & 7) {
	case 0:
	case 1:
	case 2:
		return made_count ? made[how / 8 % made_count] : 0;
	case 3:
	case 4:
		return how >> 3;
	case 5:
		return PAGE_SIZE - (how >> 3);
	case 6:
		return take(4);
	}
	return take(8);
}

static void take_page(void)
{
	size_t n = MIN(take(1), left);

	memset(dom0_page, 0, sizeof(dom0_page));
	for (size_t at = 0; n && at < 1024; at += n)
		memcpy(dom0_page + at, in, n);
	in += n;
	left -= n;
}

static void one_call(void)
{
	u64 nr = CORBEL_HC_BASE + take(1) % (CORBEL_HC_NR + 1);
	u64 arg[4] = {take_arg(), take_arg(), take_arg(), take_arg()};
	s64 ret;

	caller->gpr[R8] = take_arg();
	ret = call(nr, arg[0], arg[1], arg[2], arg[3]);
	require(ret >= -4095, "an error is one");
	if ((nr == CORBEL_HC_VM_CREATE || nr == CORBEL_HC_VCPU_CREATE) && ret > 0) {
		require(made_count < MADE, "no more is made than asked for");
		made[made_count++] = ret;
	}
	require(pool_free_bytes() >= pool_promised_bytes(), "no more is promised than there is");
}

static void take_all_away(void)
{
	struct vm *vm;

	while ((vm = vm_nth(vm_nth(0)->is_dom0))) {
		for (u32 i = 0; i < vm->vcpu_end; i++) {
			struct vcpu *v = vm->vcpu[i];

			if (!v)
				continue;
			v->stopped = 1;
			require(!call(CORBEL_HC_VCPU_DESTROY, v->number, 0, 0, 0), "a vCPU goes");
		}
		require(!call(CORBEL_HC_VM_DESTROY, vm->id, 0, 0, 0), "a VM goes");
	}
	made_count = 0;
	require(!call(CORBEL_HC_KERNEL, true, 0, 0, 0), "the next kernel begins with nothing");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	u64 before;

	if (!caller)
		dom0_start();
	before = pool_free_bytes();
	in = data;
	left = size;
	take_page();
	while (left && made_count < MADE - 1) {
		if (take(1) % 8 == 0)
			take_page();
		one_call();
	}
	take_all_away();
	require(pool_free_bytes() == before && !pool_promised_bytes() && !doorbell_total(),
		"all that was taken comes back");
	return 0;
}

static void put_call(u8 *to, size_t *n, u32 nr)
{
	to[(*n)++] = 1;
	to[(*n)++] = (u8)(nr - CORBEL_HC_BASE);
	for (u32 i = 0; i < 5; i++) {
		to[*n] = (u8)fuzz_random(256);
		if ((to[(*n)++] & 7) == 7)
			for (u32 k = 0; k < 8; k++)
				to[(*n)++] = fuzz_random(2) ? (u8)fuzz_random(256) : 0;
	}
}

size_t fuzz_make(u8 *to)
{
	struct corbel_vm_create c = {.name = "fuzz", .user = 1, .user_pages = fuzz_random(400)};
	size_t n = 0;

	to[n++] = sizeof(c);
	memcpy(to + n, &c, sizeof(c));
	n += sizeof(c);
	put_call(to, &n, CORBEL_HC_VM_CREATE);
	to[n - 5] = 3; /* its argument: the page's start */
	for (u64 calls = fuzz_random(60); calls; calls--)
		put_call(to, &n, CORBEL_HC_BASE + (u32)fuzz_random(CORBEL_HC_NR));
	return n;
}
