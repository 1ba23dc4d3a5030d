/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/dom0/lend.h"
#include "hv/cpu/smp.h"
#include "hv/guest/shadow.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/iommu/iommu.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/mm/p2m_lend.h"

#define PAGES CORBEL_LENT_PAGES
#define BYTES (PAGES * PAGE_SIZE)
_Static_assert(PAGES == BIT(POOL_LENT_ORDER), "as hv/abi.h says");

/* Under the lock `objects`, for writing. */
static struct {
	enum { NOWHERE, TO_POOL, TO_DOM0 } way;
	u64 pfn;
} moving;

static s64 start_move(u32 way, u64 pfn)
{
	moving.way = way;
	moving.pfn = pfn;
	smp_flush_host();
	return -EAGAIN;
}

/* dom0 has it again, at the place where it was. */
static s64 give_block(u64 pfn)
{
	int err = p2m_dom0_give(&dom0->p2m, pfn, PAGES);

	if (err)
		log_err("dom0 does not get %lx back, for want of memory for its map: it must not "
			"use it",
			pfn << PAGE_SHIFT);
	return err;
}

static s64 begin_lend(u64 pfn)
{
	int err;

	if (!pfn || !IS_ALIGNED(pfn, PAGES) || pfn >= PT_FN_END)
		return -EINVAL;
	if (!pool_can_lend())
		return -ENOSPC;
	if (iommu.protection == CORBEL_IOMMU_STRICT)
		return -EOPNOTSUPP;
	err = p2m_dom0_take(&dom0->p2m, pfn, PAGES);
	if (err)
		return err;
	err = mm_map_direct(pfn << PAGE_SHIFT, BYTES);
	if (!err)
		return start_move(TO_POOL, pfn);
	give_block(pfn);
	return err;
}

s64 lend(u64 pfn)
{
	if (moving.way == NOWHERE)
		return begin_lend(pfn);
	if (moving.way != TO_POOL || moving.pfn != pfn)
		return -EBUSY;
	if (!smp_flush_host_done())
		return -EAGAIN;
	moving.way = NOWHERE;
	pool_lend(pfn);
	return 0;
}

/* Nothing of guests' maps is left in it. */
static void leave_hv(u64 pfn)
{
	memset(hpa_to_virt(hpa(pfn << PAGE_SHIFT)), 0, BYTES);
	mm_unmap_direct(pfn << PAGE_SHIFT, BYTES);
}

s64 lend_take_back(void)
{
	u64 pfn;

	if (moving.way == NOWHERE) {
		pfn = pool_unlend(false);
		if (!pfn)
			return -ENOENT;
		leave_hv(pfn);
		return start_move(TO_DOM0, pfn);
	}
	if (moving.way != TO_DOM0)
		return -EBUSY;
	if (!smp_flush_host_done())
		return -EAGAIN;
	moving.way = NOWHERE;
	mm_reap_direct();
	return give_block(moving.pfn) ?: (s64)moving.pfn;
}

/*
 * Nobody waits for other CPUs here: they flush their TLBs before they run anything, and only
 * speculation could use what is there.
 */
void lend_return_all(void)
{
	u64 pfn;

	if (moving.way == TO_POOL)
		leave_hv(moving.pfn);
	if (moving.way != NOWHERE)
		give_block(moving.pfn);
	moving.way = NOWHERE;
	while ((pfn = pool_unlend(true))) {
		leave_hv(pfn);
		give_block(pfn);
	}
	smp_flush_host();
}

/* To a vCPU of the VM, which is stopped. */
static s64 promise_nested(const struct vm *vm, u64 number)
{
	struct vcpu *v = vcpu_by_number(number);

	if (!v || v->vm != vm)
		return -ENOENT;
	return READ_ONCE(v->stopped) == VCPU_STOPPED ? shadow_promise(v) : -EBUSY;
}

s64 lend_promise(struct vm *vm, u64 pages, u64 how)
{
	bool back = how == CORBEL_PROMISE_BACK;
	s64 ret = 0;

	if (how == CORBEL_PROMISE_NESTED)
		return promise_nested(vm, pages);
	if (how > CORBEL_PROMISE_NEVERTHELESS || pages > (back ? vm->table_pages : PT_FN_END))
		return -EINVAL;
	if (back)
		pool_retract(&vm->tables, pages);
	else
		ret = vm_promise_tables(vm, pages, how == CORBEL_PROMISE_NEVERTHELESS);
	if (!ret)
		vm->table_pages += back ? -pages : pages;
	return ret;
}
