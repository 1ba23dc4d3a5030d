/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/msr_filter.h"
#include "hv/guest/vm.h"
#include "hv/lib/apicdef.h"

/* Also while the filter changes: a count has its pages, and bitmaps fill theirs at most. */
static bool look_up(const struct msr_filter *f, u32 msr, u32 how)
{
	u32 count = READ_ONCE(f->count);

	for (u32 i = 0; i < count; i++) {
		const struct corbel_msr_range *r = &f->range[i];
		u32 at = msr - READ_ONCE(r->base);

		if (msr >= READ_ONCE(r->base) && at < READ_ONCE(r->count) &&
		    READ_ONCE(r->how) & how && at < CORBEL_MSR_RANGE_MAX)
			return f->bits[i][at / 8] >> at % 8 & 1;
	}
	return !READ_ONCE(f->deny);
}

bool msr_filter_allows(const struct msr_filter *f, u32 msr, u32 how)
{
	bool allowed;
	u32 seq;

	if (msr - MSR_X2APIC <= MSR_X2APIC_LAST - MSR_X2APIC)
		return true; /* never filtered */
	do {
		while ((seq = __atomic_load_n(&f->seq, __ATOMIC_ACQUIRE)) & 1)
			cpu_relax();
		allowed = look_up(f, msr, how);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
	} while (READ_ONCE(f->seq) != seq);
	return allowed;
}

static int check_new(struct vm *vm, const struct corbel_msr_filter *new)
{
	u8 **missing[CORBEL_MSR_RANGES];
	void *pages[CORBEL_MSR_RANGES];
	u32 n = 0;
	int err;

	ASSERT_HELD(&vm->lock);
	if (new->count > CORBEL_MSR_RANGES)
		return -EINVAL;
	for (u32 i = 0; i < new->count; i++) {
		const struct corbel_msr_range *r = &new->range[i];

		if (!r->count || r->count > CORBEL_MSR_RANGE_MAX)
			return -EINVAL;
		if (!vm->msr_filter.bits[i])
			missing[n++] = &vm->msr_filter.bits[i];
	}
	err = n ? vm_promise_taken(vm, pages, n) : 0;
	for (u32 i = 0; !err && i < n; i++)
		*missing[i] = pages[i];
	return err;
}

static int change_filter(struct msr_filter *f, const struct corbel_msr_filter *new,
			 struct p2m *from)
{
	int err = 0;

	__atomic_add_fetch(&f->seq, 1, __ATOMIC_SEQ_CST);
	for (u32 i = 0; !err && i < new->count; i++) {
		const struct corbel_msr_range *r = &new->range[i];

		f->range[i] = *r;
		err = p2m_read(from, gpa(r->bits), f->bits[i], (r->count + 7) / 8);
	}
	f->deny = new->deny || err;
	f->count = err ? 0 : new->count;
	f->on = f->deny || f->count;
	__atomic_add_fetch(&f->seq, 1, __ATOMIC_SEQ_CST);
	return err;
}

int msr_filter_set(struct vm *vm, const struct corbel_msr_filter *new, struct p2m *from)
{
	int err;

	BUG_ON(vm->is_dom0);
	err = check_new(vm, new);
	return err ? err : change_filter(&vm->msr_filter, new, from);
}

void msr_filter_free(struct vm *vm)
{
	for (u32 i = 0; i < CORBEL_MSR_RANGES; i++)
		pool_free(vm->msr_filter.bits[i], 0, &vm->acct);
}
