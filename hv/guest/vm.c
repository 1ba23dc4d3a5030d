/* SPDX-License-Identifier: GPL-2.0-only */
/* VMs: table, creation, destruction; and dom0. */
#include "hv/guest/vm.h"
#include "hv/cpu/idle.h"
#include "hv/cpu/spec.h"
#include "hv/cpu/time.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/hvm.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/shadow.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"

struct vm *dom0;
struct rwlock objects;
static void *slots[MAX_VMS];
static struct id_table vms = {slots, MAX_VMS, LOCK_INIT(LOCK_VMS)};

/* ---- numbered things ---- */

void *table_find(const struct id_table *t, u64 id)
{
	return id < t->size ? __atomic_load_n(&t->slots[id], __ATOMIC_ACQUIRE) : NULL;
}

int table_add(struct id_table *t, void *what, u32 *id)
{
	int ret = -ENOSPC;

	lock_acquire(&t->lock);
	for (u32 i = 0; i < t->size; i++) {
		if (t->slots[i])
			continue;
		*id = i;
		__atomic_store_n(&t->slots[i], what, __ATOMIC_RELEASE);
		t->used++;
		ret = 0;
		break;
	}
	lock_release(&t->lock);
	return ret;
}

void table_remove(struct id_table *t, u32 id)
{
	lock_acquire(&t->lock);
	BUG_ON(!t->slots[id]);
	__atomic_store_n(&t->slots[id], NULL, __ATOMIC_RELEASE);
	t->used--;
	lock_release(&t->lock);
}

/* ---- VMs ---- */

struct vm *vm_by_id(u64 id)
{
	return table_find(&vms, id);
}

struct vm *vm_nth(u32 n)
{
	for (u32 i = 0; i < MAX_VMS; i++)
		if (slots[i] && !n--)
			return slots[i];
	return NULL;
}

u32 vm_count(void)
{
	return vms.used;
}

#define VM_ORDER 0
_Static_assert(sizeof(struct vm) <= PAGE_SIZE << VM_ORDER, "a VM fits its page");

static struct vm *vm_alloc(u32 pid, u32 flags)
{
	static u64 owners; /* dom0, the first, has 0 */
	struct vm *vm = pool_alloc(VM_ORDER, NULL);

	if (!vm)
		return NULL;
	vm->lock.level = LOCK_VM;
	vm->tsc_lock.level = LOCK_VM_TSC;
	pic_init(&vm->pic);
	vm->owner = __atomic_fetch_add(&owners, 1, __ATOMIC_RELAXED);
	vm->pid = pid;
	vm->flags = flags;
	vm->has_lapic = flags & CORBEL_VM_LAPIC;
	vm->bus_ns = 1;
	vm->vcpu = vm->few;
	sched_group_init(&vm->sched);
	vm->acct.pages = 1;
	vm->tables.tables = true;
	vm->clock_offset_ns = -(s64)tsc_to_ns(rdtsc() - boot_tsc);
	return vm;
}

static void vm_free(struct vm *vm)
{
	sched_group_exit(&vm->sched);
	if (vm->acct.bounded)
		pool_retract(&vm->acct, vm->acct.promised);
	if (vm->tables.bounded)
		pool_retract(&vm->tables, vm->tables.promised);
	pool_free(vm, VM_ORDER, NULL);
}

/* All ports exit: of all guests, which change it no more than the hardware does. Set once */
static u8 *guest_io_map;

static u8 *alloc_io_map(void)
{
	u8 *map = pool_alloc(hvm->io_map_order, NULL);

	if (map)
		memset(map, 0xff, PAGE_SIZE << hvm->io_map_order);
	return map;
}

/*
 * Where the filter lets it have all MSRs that are direct, a VM has dom0's map. With another one its
 * vCPUs are entered next, since they owe a flush then.
 */
static bool has_own_map(const struct vm *vm)
{
	return vm->msr_map != dom0->msr_map;
}

static void free_maps(struct vm *vm)
{
	if (has_own_map(vm))
		pool_free(vm->msr_map, hvm_caps.msr_map_order, &vm->acct);
	msr_filter_free(vm);
	pool_free(vm->pmu_filter, 0, &vm->acct);
}

/* MSRs that a guest may use without an exit: both vendors' back ends switch them. */
static const u32 direct_msrs[] = {
    MSR_STAR,	 MSR_LSTAR,	     MSR_CSTAR,	      MSR_SFMASK,	MSR_FS_BASE,
    MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

static void set_direct_msr(struct vm *vm, u32 msr)
{
	const struct msr_filter *f = &vm->msr_filter;

	hvm->direct_msr(vm, msr, msr_filter_allows(f, msr, CORBEL_MSR_READ),
			msr_filter_allows(f, msr, CORBEL_MSR_WRITE));
}

static void set_direct_msrs(struct vm *vm)
{
	for (u32 i = 0; i < ARRAY_SIZE(direct_msrs); i++)
		set_direct_msr(vm, direct_msrs[i]);
	/* switched at each entry then; kernels use it at each system call */
	if (spec.each & SPEC_IBRS)
		set_direct_msr(vm, MSR_SPEC_CTRL);
}

/* All other MSRs, and all ports, exit. */
static int alloc_dom0_maps(void)
{
	guest_io_map = alloc_io_map();
	dom0->io_map = alloc_io_map();
	dom0->msr_map = pool_alloc(hvm_caps.msr_map_order, NULL);
	if (!guest_io_map || !dom0->io_map || !dom0->msr_map)
		return -ENOMEM;
	memset(dom0->msr_map, 0xff, PAGE_SIZE << hvm_caps.msr_map_order);
	set_direct_msrs(dom0);
	return 0;
}

static bool filters_direct(const struct vm *vm)
{
	const u32 all[] = {CORBEL_MSR_READ, CORBEL_MSR_WRITE};

	for (u32 i = 0; i < 2 * ARRAY_SIZE(direct_msrs); i++)
		if (!msr_filter_allows(&vm->msr_filter, direct_msrs[i / 2], all[i % 2]))
			return true;
	return !msr_filter_allows(&vm->msr_filter, MSR_SPEC_CTRL, CORBEL_MSR_READ) ||
	       !msr_filter_allows(&vm->msr_filter, MSR_SPEC_CTRL, CORBEL_MSR_WRITE);
}

static int take_map(struct vm *vm, u8 **map)
{
	u64 pages = BIT(hvm_caps.msr_map_order);
	int err = vm_promise(vm, pages);

	if (err)
		return err;
	*map = pool_alloc(hvm_caps.msr_map_order, &vm->acct);
	if (*map)
		memcpy(*map, dom0->msr_map, pages << PAGE_SHIFT);
	else
		pool_retract(&vm->acct, pages);
	return *map ? 0 : -ENOMEM;
}

static void give_map(struct vm *vm, u8 *map)
{
	pool_free(map, hvm_caps.msr_map_order, &vm->acct);
	pool_retract(&vm->acct, BIT(hvm_caps.msr_map_order));
}

int vm_filter_msrs(struct vm *vm, const struct corbel_msr_filter *f, struct p2m *from)
{
	u8 *map = NULL;
	int err = 0;

	ASSERT_HELD(&vm->lock);
	BUG_ON(vm->is_dom0);
	if (!has_own_map(vm) && (f->deny || f->count))
		err = take_map(vm, &map);
	if (err)
		return err;
	err = msr_filter_set(vm, f, from);
	if (map && filters_direct(vm))
		__atomic_store_n(&vm->msr_map, map, __ATOMIC_RELEASE);
	else if (map)
		give_map(vm, map);
	if (!has_own_map(vm))
		return err;
	set_direct_msrs(vm);
	p2m_flush(&vm->p2m);
	if (vm->smm.vm)
		p2m_flush(&vm->smm);
	return err;
}

/* Doorbells, if there are any, and the p2m's root; and tables for MMIO marks. */
#define SMM_PAGES 1 /* root of the second map; its MMIO marks: VM_TABLES again */
#define VM_PAGES  (DOORBELL_PAGES + 1)
#define VM_TABLES 28

u64 vm_pages(const struct vm *vm)
{
	return vm->acct.pages + vm->acct.promised + vm->tables.pages + vm->tables.promised +
	       vm->apart;
}

static u64 pages_of_user(u32 user)
{
	u64 n = 0;

	for (u32 i = 1; i < MAX_VMS; i++) {
		const struct vm *vm = slots[i];

		if (vm && vm->user == user)
			n += vm_pages(vm);
	}
	return n;
}

static bool has_quota(const struct vm *vm, u64 pages)
{
	u64 limit = vm->user_pages, have = limit ? pages_of_user(vm->user) : 0;

	return !limit || (have <= limit && limit - have >= pages);
}

int vm_promise(struct vm *vm, u64 pages)
{
	return has_quota(vm, pages) ? pool_promise(&vm->acct, pages) : -EDQUOT;
}

int vm_promise_apart(struct vm *vm, struct account *a, u64 pages)
{
	int ret = has_quota(vm, pages) ? pool_promise(a, pages) : -EDQUOT;

	if (!ret)
		vm->apart += pages;
	return ret;
}

void vm_retract_apart(struct vm *vm, struct account *a, u64 pages)
{
	BUG_ON(a->pages || vm->apart < pages);
	pool_retract(a, pages);
	vm->apart -= pages;
}

int vm_promise_tables(struct vm *vm, u64 pages, bool nevertheless)
{
	if (!has_quota(vm, pages))
		return -EDQUOT;
	if (!nevertheless && pool_is_low(pages))
		return -EAGAIN;
	return pool_promise(&vm->tables, pages);
}

int vm_promise_taken(struct vm *vm, void **pages, u32 count)
{
	return has_quota(vm, count) ? pool_promise_taken(&vm->acct, pages, count) : -EDQUOT;
}

/* Not printable, or of a meaning to shells and formats of text. */
static bool is_odd(char c)
{
	static const char odd[] = "\"'\\$`;&|<>(){}*?[]~!#";

	for (const char *o = odd; *o; o++)
		if (c == *o)
			return true;
	return c < ' ' || c > '~';
}

/*
 * Any user's process may choose it, and it goes to terminals and scripts. The page is zeroed, so
 * the name ends in time.
 */
static void copy_name(char *to, const char *from)
{
	for (u32 left = VM_NAME_BYTES - 1; left && *from; left--, from++, to++)
		*to = is_odd(*from) ? '_' : *from;
}

/* A CPU that sleeps so wakes up, for stores and for its timer. */
bool vm_may_mwait(void)
{
	return idle.stores && idle.deep;
}

#define NEW_FLAGS                                                                                  \
	(CORBEL_VM_LAPIC | CORBEL_VM_HLT | CORBEL_VM_MWAIT | CORBEL_VM_PAUSE | CORBEL_VM_CSTATE |  \
	 CORBEL_VM_PIC)

int vm_create(const struct corbel_vm_create *c)
{
	struct vm *vm;
	int ret;

	if (c->flags & ~NEW_FLAGS || c->bus_ns > LAPIC_BUS_NS_MAX ||
	    (c->flags & CORBEL_VM_MWAIT && !vm_may_mwait()) ||
	    (c->flags & (CORBEL_VM_PIC | CORBEL_VM_LAPIC)) == CORBEL_VM_PIC)
		return -EINVAL;
	vm = vm_alloc(c->pid, c->flags);
	if (!vm)
		return -ENOMEM;
	copy_name(vm->name, c->name);
	vm->user = c->user;
	vm->bus_ns = MAX(c->bus_ns, 1u);
	vm->user_pages = c->user_pages;
	vm->io_map = guest_io_map;
	vm->msr_map = dom0->msr_map;
	doorbell_init(vm);
	ret = vm_promise(vm, VM_PAGES);
	if (!ret)
		ret = vm_promise_tables(vm, VM_TABLES, true);
	if (ret)
		goto fail;
	ret = p2m_init(&vm->p2m, vm, false, &vm->acct, &vm->tables);
	if (ret)
		goto fail;
	ret = table_add(&vms, vm, &vm->id);
	if (!ret)
		return vm->id;
	p2m_destroy(&vm->p2m);
fail:
	doorbell_destroy(vm);
	free_maps(vm);
	vm_free(vm);
	return ret;
}

struct vm *vm_create_dom0(const struct vm_ops *ops)
{
	dom0 = vm_alloc(0, CORBEL_VM_LAPIC);
	if (!dom0)
		return NULL;
	copy_name(dom0->name, "dom0");
	dom0->is_dom0 = true;
	dom0->ops = ops;
	dom0->clock_offset_ns = 0;
	if (alloc_dom0_maps() || p2m_init(&dom0->p2m, dom0, true, NULL, NULL) ||
	    table_add(&vms, dom0, &dom0->id))
		return NULL;
	BUG_ON(dom0->id);
	return dom0;
}

int vm_add_smm(struct vm *vm)
{
	int ret = vm->smm.vm ? 0 : vm_promise(vm, SMM_PAGES);

	if (ret || vm->smm.vm)
		return ret;
	ret = vm_promise_tables(vm, VM_TABLES, true);
	if (!ret)
		ret = p2m_init(&vm->smm, vm, false, &vm->acct, &vm->tables);
	if (ret) {
		vm->smm.vm = NULL;
		pool_retract(&vm->acct, SMM_PAGES);
		return ret;
	}
	/* No generation of one map is the other's: a vCPU that changes between them flushes. */
	vm->smm.tlb_gen |= BIT(63);
	return 0;
}

#define MANY_ORDER 1
_Static_assert(VM_VCPUS * sizeof(struct vcpu *) == PAGE_SIZE << MANY_ORDER, "its pages are full");

int vm_make_room(struct vm *vm)
{
	struct vcpu **many;
	int ret;

	if (vm->vcpu != vm->few || vm->vcpu_count < VM_FEW)
		return 0;
	ret = vm->is_dom0 ? 0 : vm_promise(vm, BIT(MANY_ORDER)); /* nobody limits dom0 */
	if (ret)
		return ret;
	many = pool_alloc(MANY_ORDER, &vm->acct);
	if (!many) {
		if (!vm->is_dom0)
			pool_retract(&vm->acct, BIT(MANY_ORDER));
		return -ENOMEM;
	}
	memcpy(many, vm->few, sizeof(vm->few));
	vm->vcpu = many;
	return 0;
}

int vm_destroy(struct vm *vm)
{
	int ret;

	if (vm->is_dom0)
		return -EPERM;
	if (vm->vcpu_count)
		return -EBUSY;
	vm->dying = true;
	BUG_ON(table_find(&vms, vm->id) != vm);
	if (vm->smm.vm) {
		ret = p2m_destroy(&vm->smm);
		if (ret)
			return ret;
		vm->smm.vm = NULL;
	}
	ret = p2m_destroy(&vm->p2m);
	if (ret)
		return ret;
	doorbell_destroy(vm);
	free_maps(vm);
	if (vm->vcpu != vm->few)
		pool_free(vm->vcpu, MANY_ORDER, &vm->acct);
	if (vm->acct.pages != 1 || vm->tables.pages)
		log_warn("vm %u (%s) leaves %lu pool pages", vm->id, vm->name,
			 vm->acct.pages - 1 + vm->tables.pages);
	table_remove(&vms, vm->id);
	vm_free(vm);
	return 0;
}

/*
 * A bucket of tokens, one a byte: it is known by the time at which it will be full again. Of one VM
 * and of all together; 115 200 baud are 11 520 bytes a second.
 */
struct log_rate {
	u64 ns_a_byte, bytes; /* what fits in */
};
static const struct log_rate of_vm = {1000000000ull / 512, 16384},
			     of_all = {1000000000ull / 2048, 4 * 16384};

static bool take_tokens(u64 *full_at, const struct log_rate *rate, u32 bytes, u64 now)
{
	u64 old = READ_ONCE(*full_at), full;

	do {
		full = MAX(old, now) + ns_to_tsc(bytes * rate->ns_a_byte);
		if (full - now > ns_to_tsc(rate->bytes * rate->ns_a_byte))
			return false;
	} while (!__atomic_compare_exchange_n(full_at, &old, full, false, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	return true;
}

bool vm_may_log(struct vm *vm, u32 bytes)
{
	static u64 full_at;
	u64 now = rdtsc();

	if (vm->is_dom0)
		return true;
	bytes += VM_LOG_LINE; /* for the line below, which may follow */
	if (take_tokens(&vm->log_full, &of_vm, bytes, now) &&
	    take_tokens(&full_at, &of_all, bytes, now)) {
		vm->log_muted = false;
		return true;
	}
	/* It is paid for, too: VMs that are made for it alone say it at no other rate. */
	if (!__atomic_exchange_n(&vm->log_muted, true, __ATOMIC_RELAXED) &&
	    take_tokens(&full_at, &of_all, VM_LOG_LINE, now))
		log_warn("vm %u (%s): too many messages, the next ones are left out", vm->id,
			 vm->name);
	return false;
}
