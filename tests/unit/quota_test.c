/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What VMs and users get of the pool and of the log, and what dom0 lends, by hypercalls.
 * links: tests/unit/rest.c hv/dom0/hypercall.c hv/dom0/takeover.c hv/dom0/lend.c hv/guest/vm.c
 * hv/guest/msr_filter.c hv/guest/vcpu.c hv/guest/apic_ids.c hv/guest/doorbell.c hv/mm/pool.c
 * hv/lib/lock.c
 */
#include "hv/dom0/takeover.h"
#include "hypercall_fake.h"

/* ---- the pool ---- */

static u64 had(u64 vm)
{
	const struct account *a = &vm_by_id(vm)->acct;

	/* not vm_pages(), which is under test */
	return a->pages + a->promised + vm_by_id(vm)->tables.pages + vm_by_id(vm)->tables.promised;
}

static void test_pool(void)
{
	u64 before = pool_free_bytes(), base, each;
	s64 one = make_vm(7, 300), two, other, id;

	base = had(one);
	id = call(CORBEL_HC_VCPU_CREATE, one, 0, 0, 0);
	each = had(one) - base;
	CHECK(id > 0 && each >= 8 && vm_by_id(one)->tables.promised >= 16,
	      "a VM and a vCPU are promised what they take, and some for tables");
	CHECK(call(CORBEL_HC_PROMISE, one, 300 - base - each + 1, 0, 0) == -EDQUOT &&
		  !call(CORBEL_HC_PROMISE, one, 300 - base - each, 0, 0) && had(one) == 300,
	      "its user gets so many pages and no more");
	CHECK(call(CORBEL_HC_VCPU_CREATE, one, 1, 0, 0) == -EDQUOT && had(one) == 300 &&
		  make_vm(7, 300) == -EDQUOT,
	      "nor a vCPU or VM beyond that");
	other = make_vm(8, 300);
	two = make_vm(7, 0);
	CHECK(other > 0 && two > 0, "another user does, and who has no limit");
	CHECK(call(CORBEL_HC_PROMISE, one, 300 - base - each + 1, 1, 0) == -EINVAL &&
		  !call(CORBEL_HC_PROMISE, one, 300 - base - each, 1, 0),
	      "what was promised can be given back, not more");
	CHECK(call(CORBEL_HC_PROMISE, two, before / PAGE_SIZE, 2, 0) == -ENOMEM &&
		  call(CORBEL_HC_PROMISE, two, ~0ull, 0, 0) == -EINVAL,
	      "nobody is promised what there is not");
	free_vm(one, id);
	free_vm(other, 0);
	free_vm(two, 0);
	CHECK(pool_free_bytes() == before && !pool_promised_bytes(), "all of it comes back");
}

/* ---- messages that VMs cause ---- */

#define RATE_VM	  512 /* bytes a second */
#define RATE_ALL  2048
#define BURST_VM  16384
#define BURST_ALL 65536

/* It asks for so many bytes as often as it can for so long. What it was given. */
static u64 chatter(struct vm *vm, u32 bytes, u64 seconds)
{
	u64 end = now + seconds * 1000000000, given = 0;

	for (; now < end; now += 10000000)
		if (vm_may_log(vm, bytes))
			given += bytes;
	return given;
}

static void test_messages(void)
{
	s64 ids[12];
	struct vm *vm[ARRAY_SIZE(ids)];
	u64 given, sum = 0;

	for (u32 i = 0; i < ARRAY_SIZE(ids); i++) {
		ids[i] = make_vm(0, 0);
		vm[i] = vm_by_id(ids[i]);
	}
	test_log_lines = 0;
	given = chatter(vm[0], VM_LOG_LINE, 100);
	CHECK(given > 8000 && given <= BURST_VM + 100 * RATE_VM,
	      "a VM's messages: %lu bytes in 100 s", given);
	CHECK(test_log_lines && test_log_lines * VM_LOG_LINE <= given,
	      "the first that is left out is told of, which is counted");
	now += 1000000000000;
	given = chatter(vm[0], HVM_DUMP_BYTES, 100);
	CHECK(given >= HVM_DUMP_BYTES && given <= BURST_VM + 100 * RATE_VM,
	      "dumps: %lu bytes, so fewer of them", given);
	CHECK(vm_may_log(vm[1], VM_LOG_LINE),
	      "another VM's first message is let through meanwhile");
	now += 1000000000000;
	for (u32 i = 0; i < ARRAY_SIZE(ids); i++)
		while (vm_may_log(vm[i], VM_LOG_LINE))
			sum += VM_LOG_LINE;
	CHECK(sum > BURST_VM && sum <= BURST_ALL, "of all VMs at once: %lu bytes", sum);
	test_log_lines = 0;
	vm_may_log(vm[0], VM_LOG_LINE);
	vm_may_log(vm[0], VM_LOG_LINE);
	CHECK(!test_log_lines, "that it is muted is said once");
	CHECK(vm_may_log(vm_by_id(0), 1 << 30), "dom0 may log what it likes");
	now += 1000000000000;
	for (u32 i = 0; i < ARRAY_SIZE(ids); i++)
		free_vm(ids[i], 0);
}

/* ---- memory that dom0 lends ---- */

static s64 lend(u64 pfn)
{
	return call(CORBEL_HC_LEND, pfn, 0, 0, 0);
}

static s64 take_back(void)
{
	return call(CORBEL_HC_TAKE_BACK, 0, 0, 0, 0);
}

static void lend_all(u64 pfn)
{
	CHECK_QUIET(lend(pfn) == -EAGAIN && !lend(pfn), "a block is lent");
}

static void test_lend(void)
{
	u64 before = pool_free_bytes(), total = pool_total_bytes();
	u8 *block = hpa_to_virt(hpa(BLOCK(0) << PAGE_SHIFT));

	CHECK(lend(BLOCK(0) + 1) == -EINVAL && lend(0) == -EINVAL && lend(PT_FN_END) == -EINVAL &&
		  lend(512) == -EPERM && !mapped,
	      "what is lent are whole blocks of dom0's");
	iommu.protection = CORBEL_IOMMU_STRICT;
	CHECK(lend(BLOCK(0)) == -EOPNOTSUPP && !lent_pfns, "not where devices are kept off it");
	iommu.protection = CORBEL_IOMMU_DOM0;
	CHECK(take_back() == -ENOENT, "nothing is to be had back");
	passed = false;
	CHECK(lend(BLOCK(0)) == -EAGAIN && lend(BLOCK(0)) == -EAGAIN && lent_pfns == 1 &&
		  pool_total_bytes() == total && lend(BLOCK(1)) == -EBUSY && take_back() == -EBUSY,
	      "one on its way is nobody's until all CPUs have passed, and alone");
	passed = true;
	CHECK(!lend(BLOCK(0)) && pool_total_bytes() == total + 512 * PAGE_SIZE &&
		  pool_free_bytes() == before + 512 * PAGE_SIZE && mapped == 1,
	      "then it is the pool's");
	CHECK(lend(BLOCK(0)) == -EPERM, "once");
	block[4711] = 1;
	passed = false;
	CHECK(take_back() == -EAGAIN && take_back() == -EAGAIN && lent_pfns == 1 && !mapped &&
		  pool_total_bytes() == total && lend(BLOCK(1)) == -EBUSY,
	      "so it is on its way back");
	passed = true;
	CHECK(take_back() == (s64)BLOCK(0) && !lent_pfns && !block[4711] && take_back() == -ENOENT,
	      "then it is dom0's, zeroed");
	lend_all(BLOCK(3));
	give_err = -ENOMEM;
	CHECK(take_back() == -EAGAIN && take_back() == -ENOMEM && take_back() == -ENOENT,
	      "one that dom0's map has no room for is told");
	give_err = 0;
	lent_pfns = 0;
	CHECK(pool_free_bytes() == before, "the pool is as before");
}

/* The tables that a VM is promised make the pool low, and its user's limit stays. */
static void test_low(void)
{
	u64 before = pool_free_bytes(), pages = before / PAGE_SIZE, half = pages / 2;
	s64 vm = make_vm(3, 0), limited = make_vm(4, 300), id;
	u64 most = 300 - had(limited);
	void *table;

	CHECK(!call(CORBEL_HC_PROMISE, vm, half, CORBEL_PROMISE, 0), "a pool that is not low");
	CHECK(call(CORBEL_HC_PROMISE, vm, half - 200, CORBEL_PROMISE, 0) == -EAGAIN &&
		  call(CORBEL_HC_PROMISE, limited, most + 1, CORBEL_PROMISE, 0) == -EDQUOT,
	      "one that would be low wants to be lent something, but not for who has too much");
	CHECK(call(CORBEL_HC_PROMISE, vm, 1, CORBEL_PROMISE_NESTED + 1, 0) == -EINVAL &&
		  call(CORBEL_HC_PROMISE, vm, ~0ull, CORBEL_PROMISE_NESTED, 0) == -ENOENT,
	      "there are four ways, one of them for a vCPU");
	CHECK(call(CORBEL_HC_PROMISE, vm, half, CORBEL_PROMISE_NEVERTHELESS, 0) == -ENOMEM,
	      "its reserve is kept from tables");
	for (u32 i = 0; i < 4; i++)
		lend_all(BLOCK(i));
	CHECK(!call(CORBEL_HC_PROMISE, vm, half - 200, CORBEL_PROMISE, 0) && take_back() == -ENOENT,
	      "with enough of it it is not low, and keeps it");
	lend_all(BLOCK(4));
	CHECK(call(CORBEL_HC_PROMISE, limited, most + 1, CORBEL_PROMISE_NEVERTHELESS, 0) ==
		      -EDQUOT &&
		  !call(CORBEL_HC_PROMISE, limited, most, CORBEL_PROMISE, 0),
	      "a user's limit does not grow with the pool");
	id = call(CORBEL_HC_VCPU_CREATE, vm, 0, 0, 0);
	CHECK(id > 0, "what is no table has place");
	table = pool_alloc(0, &vm_by_id(vm)->tables);
	CHECK(virt_to_hpa(table).v >> PAGE_SHIFT >= BLOCK(0) &&
		  virt_to_hpa(vcpu_by_number(id)).v >> PAGE_SHIFT < BLOCK(0),
	      "tables lie in what was lent, and nothing else does");
	pool_free(table, 0, &vm_by_id(vm)->tables);
	/* dom0's kernel goes, though a VM is half freed and a block on its way */
	free_vm(limited, 0);
	passed = false;
	CHECK(lend(BLOCK(8)) == -EAGAIN, "a block on its way");
	given = 0;
	takeover_kernel_ends(caller);
	CHECK(given == 6 && !lent_pfns && !mapped, "dom0's kernel ends: all of it is the next's");
	CHECK(lend(BLOCK(0)) == -EBUSY && !lent_pfns, "and nothing is lent before that begins");
	passed = true;
	CHECK(!call(CORBEL_HC_KERNEL, 1, 0, 0, 0) && pool_free_bytes() == before &&
		  !pool_promised_bytes(),
	      "then nothing is left of it");
}

int main(void)
{
	dom0_start();
	test_pool();
	test_lend();
	test_low();
	test_messages();
	return test_end();
}
