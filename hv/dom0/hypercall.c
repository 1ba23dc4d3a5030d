/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dom0's hypercalls: every argument is checked here, once. hv/abi.h says what each takes and
 * returns.
 */
#include "hv/dom0/hypercall.h"
#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/idle.h"
#include "hv/cpu/spec.h"
#include "hv/dom0/debugkey.h"
#include "hv/dom0/lend.h"
#include "hv/dom0/stat.h"
#include "hv/dom0/state.h"
#include "hv/dom0/takeover.h"
#include "hv/guest/apic_ids.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/event.h"
#include "hv/guest/kick.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/msr.h"
#include "hv/guest/posting.h"
#include "hv/guest/run.h"
#include "hv/iommu/domain.h"
#include "hv/iommu/iommu.h"
#include "hv/lib/string.h"
#include "hv/mm/frame.h"
#include "hv/mm/mtrr.h"
#include "hv/sched/cpupool.h"

/* For what goes to and from dom0's pages; one a CPU, hypercalls are not preempted. */
struct bounce {
	u8 page[PAGE_SIZE] __aligned(64);
};
static PER_CPU(struct bounce, bounce);

static void *bounce_buf(void)
{
	return own_cpu(bounce).page;
}

static bool is_in_one_page(u64 at, u64 len)
{
	return len && len <= PAGE_SIZE && (at & ~PAGE_MASK) + len <= PAGE_SIZE;
}

/* dom0's memory only: hypervisor frames are not in its map. */
static int copy_in(u64 from, void *to, u64 len)
{
	return is_in_one_page(from, len) ? p2m_read(&dom0->p2m, gpa(from), to, len) : -EINVAL;
}

static int copy_out(u64 to, const void *from, u64 len)
{
	return is_in_one_page(to, len) ? p2m_write(&dom0->p2m, gpa(to), from, len) : -EINVAL;
}

/* ---- the hypervisor ---- */

static s64 read_stat(u64 what, u64 index, u64 to, u64 room)
{
	void *buf = bounce_buf();
	s64 n = stat_get(what, index, buf);

	if (n < 0)
		return n;
	BUG_ON(n > (s64)PAGE_SIZE);
	if (room < (u64)n)
		return -E2BIG;
	return copy_out(to, buf, n) ?: n;
}

static s64 read_log(u64 seq, u64 to, u64 room)
{
	struct corbel_log *l = bounce_buf();
	u64 len = MIN(room, PAGE_SIZE);

	if (len <= sizeof(*l))
		return -EINVAL;
	l->len = log_read(seq, l->text, len - sizeof(*l), &l->seq);
	BUG_ON(l->len > len - sizeof(*l));
	l->next = l->seq + l->len;
	l->pad = 0;
	return copy_out(to, l, sizeof(*l) + l->len) ?: (s64)l->len;
}

static s64 read_supported(u64 what, u64 first, u64 to, u64 room)
{
	void *buf = bounce_buf();
	u64 n = 1, size = sizeof(u64);

	switch (what) {
	case CORBEL_SUPPORTED_CPUID:
		size = sizeof(struct corbel_cpuid);
		n = cpuid_offered(buf, NULL);
		break;
	case CORBEL_SUPPORTED_MSRS:
		size = sizeof(u32);
		n = msr_list(buf);
		break;
	case CORBEL_SUPPORTED_XCR0:
		*(u64 *)buf = policy_xcr0_all();
		break;
	case CORBEL_SUPPORTED_ARCH:
		*(u64 *)buf = spec.arch;
		break;
	case CORBEL_SUPPORTED_VMX:
		n = hvm->nested->features ? hvm->nested->features(buf) : 0;
		break;
	default:
		return -EINVAL;
	}
	BUG_ON(n * size > PAGE_SIZE);
	if (first)
		return 0; /* everything fits one page */
	if (room < n * size)
		return -E2BIG;
	return copy_out(to, buf, n * size) ?: (s64)n;
}

static s64 bind_event(u64 apic_id, u64 vector)
{
	struct vcpu *v = apic_id >> 32 ? NULL : vm_vcpu_by_apic(dom0, apic_id);

	if (!v)
		return -ENOENT;
	if (vector && (vector < 32 || vector > 255))
		return -EINVAL;
	WRITE_ONCE(v->event_vector, vector);
	event_bound(v->index);
	return v->index;
}

static s64 create_vm(u64 from)
{
	struct corbel_vm_create c;

	if (takeover_is_between())
		return -EBUSY;
	return copy_in(from, &c, sizeof(c)) ?: vm_create(&c);
}

/* Of its own guests' pages a kernel that ends may still read, so they stay. */
static s64 change_kernel(u64 begins)
{
	if (begins)
		return takeover_kernel_begins();
	takeover_end_guests();
	domain_kernel_ends();
	return 0;
}

/* dom0's kernel has found some since the boot. */
static s64 add_memory(u64 pfn)
{
	u64 first = pfn & ~(u64)(CORBEL_SECTION - 1);

	if (iommu.protection == CORBEL_IOMMU_STRICT)
		return -EOPNOTSUPP;
	if (pfn < BIT(32 - PAGE_SHIFT) || pfn >= p2m_gfn_end() ||
	    mtrr_of(first, __builtin_ctz(CORBEL_SECTION)) != MTRR_WB)
		return -EPERM;
	return frame_add(pfn);
}

static s64 set_budget(struct vm *vm, const struct corbel_pool_call *c)
{
	struct vcpu *v = vcpu_by_id(c->vcpu);

	if (c->vcpu == CORBEL_POOL_ALL)
		return sched_set_budget(&vm->sched, NULL, c->period_us, c->budget_us);
	if (!v || v->vm != vm)
		return -ENOENT;
	return sched_set_budget(&vm->sched, &v->sched, c->period_us, c->budget_us);
}

static s64 call_pool(u64 from)
{
	struct corbel_pool_call c;
	struct vm *vm = dom0;
	int err = copy_in(from, &c, sizeof(c));
	bool of_vm;

	if (err)
		return err;
	c.name[sizeof(c.name) - 1] = c.policy[sizeof(c.policy) - 1] = 0;
	for (const char *s = c.name; *s; s++)
		if (*s < ' ' || *s > '~')
			return -EINVAL;
	of_vm = c.op == CORBEL_POOL_MOVE || c.op == CORBEL_POOL_BUDGET;
	if (of_vm)
		vm = vm_by_id(c.vm);
	if (!vm || (of_vm && vm->is_dom0))
		return -ENOENT;
	if (c.op == CORBEL_POOL_BUDGET)
		return set_budget(vm, &c);
	return cpupool_call(&c, &vm->sched);
}

/* A vCPU of dom0's is always on its CPU, so it is for that CPU that it speaks. */
static s64 tell_idle(u64 from, u64 count)
{
	struct corbel_cst cst[CORBEL_MAX_CST];

	if (!count || count > CORBEL_MAX_CST)
		return -EINVAL;
	return copy_in(from, cst, count * sizeof(*cst)) ?: (s64)idle_tell(this_cpu(), cst, count);
}

static s64 call_hypervisor(u64 nr, const u64 *arg)
{
	switch (nr) {
	case CORBEL_HC_VERSION:
		return CORBEL_ABI_VERSION;
	case CORBEL_HC_STAT:
		return read_stat(arg[0], arg[1], arg[2], arg[3]);
	case CORBEL_HC_LOG_READ:
		return read_log(arg[0], arg[1], arg[2]);
	case CORBEL_HC_EVENT_BIND:
		return bind_event(arg[0], arg[1]);
	case CORBEL_HC_VM_CREATE:
		return create_vm(arg[0]);
	case CORBEL_HC_SUPPORTED:
		return read_supported(arg[0], arg[1], arg[2], arg[3]);
	case CORBEL_HC_TURN_OVER:
		sched_turn_over();
		return 0;
	case CORBEL_HC_POOL:
		return call_pool(arg[0]);
	case CORBEL_HC_DEBUG: /* key */
		debug_key(arg[0]);
		return 0;
	case CORBEL_HC_KERNEL: /* begins? */
		return change_kernel(arg[0]);
	case CORBEL_HC_LEND: /* pfn */
		return takeover_is_between() ? -EBUSY : lend(arg[0]);
	case CORBEL_HC_MEMORY: /* pfn */
		return add_memory(arg[0]);
	case CORBEL_HC_TAKE_BACK:
		return lend_take_back();
	case CORBEL_HC_DOMAIN_CREATE:
		return domain_create();
	case CORBEL_HC_DOMAIN_DESTROY: /* domain */
		return domain_destroy(arg[0]);
	case CORBEL_HC_DOMAIN_ATTACH: /* device, domain */
		return domain_attach(arg[0], arg[1]);
	case CORBEL_HC_DOMAIN_MAP: /* domain, dfn, pfn, count, flags */
		if (arg[4] & ~(u64)CORBEL_MAP_WRITE)
			return -EINVAL;
		return domain_map(arg[0], arg[1], arg[2], arg[3], arg[4]);
	case CORBEL_HC_DOMAIN_UNMAP: /* domain, dfn, count */
		return domain_unmap(arg[0], arg[1], arg[2]);
	case CORBEL_HC_IDLE: /* states, how many */
		return tell_idle(arg[0], arg[1]);
	case CORBEL_HC_DOMAIN_IRQ: /* device, index, address, data */
		return domain_set_irq(arg[0], arg[1], arg[2], arg[3]);
	}
	return -ENOSYS;
}

/* ---- one VM ---- */

/* The map that a frame number means, which becomes the number there. NULL: there is none. */
static struct p2m *map_of(struct vm *vm, u64 *gfn)
{
	u64 there = *gfn ^ CORBEL_GFN_SMM;

	if (there >= CORBEL_GFN_SMM)
		return &vm->p2m;
	*gfn = there;
	return vm->smm.vm ? &vm->smm : NULL;
}

static s64 map_one(struct vm *vm, u64 gfn, u64 pfn, u64 order, u64 flags)
{
	struct p2m *p = map_of(vm, &gfn);
	u64 attr = PT_R;

	if (!p)
		return -ENOENT;
	if (flags >> 32)
		return -EINVAL;
	if (order != 0 && order != 9)
		return -EINVAL;
	if (flags & CORBEL_MAP_MMIO)
		return p2m_set_mmio(p, gfn, order);
	if (flags & CORBEL_MAP_WRITE)
		attr |= PT_W;
	if (flags & CORBEL_MAP_EXEC)
		attr |= PT_X;
	if (flags & CORBEL_MAP_ROM)
		attr = (attr & ~PT_W) | PT_ROM;
	return p2m_map(p, gfn, pfn, order, attr);
}

static s64 map_many(struct vm *vm, u64 from, u64 count)
{
	struct corbel_map *m = bounce_buf();
	s64 ret;

	if (!count || count > PAGE_SIZE / sizeof(*m))
		return -EINVAL;
	ret = copy_in(from, m, count * sizeof(*m));
	for (u64 i = 0; !ret && i < count; i++, m++) {
		ret = map_one(vm, m->gfn, m->pfn, m->order, m->flags);
		if (ret && i)
			return i;
	}
	return ret ?: (s64)count;
}

static s64 unmap_frames(struct vm *vm, u64 gfn, u64 count)
{
	struct p2m *p = map_of(vm, &gfn);

	return p ? p2m_unmap(p, gfn, count) : -ENOENT;
}

static s64 dirty_log(struct vm *vm, u64 gfn, u64 count, u64 to, u64 flags)
{
	struct p2m *p = map_of(vm, &gfn);
	u64 *bitmap = bounce_buf();
	u64 bytes = (count + 63) / 64 * 8;
	s64 n;

	if (!p)
		return -ENOENT;
	if (!count || count > PAGE_SIZE * 8)
		return -EINVAL;
	memset(bitmap, 0, bytes);
	for (u64 done = 0; done < count; done += n) {
		u64 at = gfn + done, left = count - done;

		if (flags & CORBEL_DIRTY_START)
			n = p2m_dirty_start(p, at, left);
		else if (flags & CORBEL_DIRTY_STOP)
			n = p2m_dirty_stop(p, at, left);
		else
			n = p2m_dirty_read(p, at, left, bitmap + done / 64,
					   flags & CORBEL_DIRTY_CLEAR);
		if (n < 0)
			return n;
		BUG_ON(!n); /* it would go on for ever */
	}
	if (flags & (CORBEL_DIRTY_START | CORBEL_DIRTY_STOP))
		return 0;
	return copy_out(to, bitmap, bytes);
}

static s64 update_doorbell(struct vm *vm, u64 from)
{
	struct corbel_doorbell d;

	return copy_in(from, &d, sizeof(d)) ?: doorbell_update(vm, &d);
}

static s64 filter_msrs(struct vm *vm, u64 exits, u64 from)
{
	struct corbel_msr_filter f = {0};
	int err = from ? copy_in(from, &f, sizeof(f)) : 0;

	if (err)
		return err;
	lock_acquire(&vm->lock);
	err = vm_filter_msrs(vm, &f, &dom0->p2m);
	if (!err)
		vm->msr_exits = exits;
	lock_release(&vm->lock);
	return err;
}

static s64 filter_counters(struct vm *vm, u64 from)
{
	struct corbel_pmu_filter *f = bounce_buf();

	return copy_in(from, f, sizeof(*f)) ?: pmu_filter_set(vm, f);
}

static s64 post_msi(struct vm *vm, u64 address, u64 data, bool strict)
{
	struct vcpu *v = vm->has_lapic ? lapic_msi_target(vm, address, data, strict) : NULL;

	return v ? posting_begin(v) : -EINVAL;
}

/* arg[0] was the VM's id. */
static s64 call_vm(struct vm *vm, u64 nr, const u64 *arg)
{
	switch (nr) {
	case CORBEL_HC_VM_DESTROY:
		return vm_destroy(vm);
	case CORBEL_HC_VCPU_CREATE: /* APIC id */
		return arg[1] > 0xfffffffe ? -EINVAL : vcpu_create(vm, arg[1]);
	case CORBEL_HC_BOOT_CPU: /* APIC id */
		if (vm->vcpu_count)
			return -EBUSY;
		vm->bsp_apic_id = arg[1];
		return 0;
	case CORBEL_HC_PROMISE: /* pages, how */
		return lend_promise(vm, arg[1], arg[2]);
	case CORBEL_HC_MAP:
		return map_many(vm, arg[1], arg[2]);
	case CORBEL_HC_MAP_ONE:
		return map_one(vm, arg[1], arg[2], arg[3], arg[4]) ?: 1;
	case CORBEL_HC_UNMAP: /* gfn, count */
		return unmap_frames(vm, arg[1], arg[2]);
	case CORBEL_HC_SMM:
		return vm_add_smm(vm);
	case CORBEL_HC_FLUSH:
		p2m_flush(&vm->p2m);
		return 0;
	case CORBEL_HC_DIRTY:
		return dirty_log(vm, arg[1], arg[2], arg[3], arg[4]);
	case CORBEL_HC_MSI: /* address, data, strict */
		return vm->has_lapic ? lapic_send_msi(vm, arg[1], arg[2], arg[3]) != 0 : -ENOENT;
	case CORBEL_HC_POST: /* address, data, strict */
		return post_msi(vm, arg[1], arg[2], arg[3]);
	case CORBEL_HC_EOI_MASK: /* word, mask */
		if (arg[1] >= ARRAY_SIZE(vm->eoi_mask))
			return -EINVAL;
		WRITE_ONCE(vm->eoi_mask[arg[1]], arg[2]);
		return 0;
	case CORBEL_HC_DOORBELL:
		return update_doorbell(vm, arg[1]);
	case CORBEL_HC_MSR_FILTER: /* exits, filter */
		return filter_msrs(vm, arg[1], arg[2]);
	case CORBEL_HC_PMU_FILTER:
		return filter_counters(vm, arg[1]);
	case CORBEL_HC_PIC:
		return pic_call(vm, arg);
	case CORBEL_HC_SCHED_VM: /* weight or level, cap, id */
		if (arg[1] >> 32 || arg[2] >> 32)
			return -EINVAL;
		if (arg[3])
			return sched_group_share(&vm->sched, arg[1], arg[3], arg[2]);
		return sched_group_set(&vm->sched, arg[1], arg[2]);
	case CORBEL_HC_CLOCK: /* set?, ns */
		if (!arg[1])
			return pv_clock_get(vm);
		pv_clock_set(vm, arg[2]);
		return 0;
	}
	return -ENOSYS;
}

/* ---- one vCPU ---- */

#define CALL_AGAIN ((s64)BIT(63))
/* access: state_get() or state_set() */
static s64 move_state(struct vcpu *v, u64 what, u64 bytes, s64 (*access)(struct vcpu *, u32, u32))
{
	s64 ret = CALL_AGAIN;

	if (what >= CORBEL_STATE_NR || bytes > PAGE_SIZE)
		return -EINVAL;
	if (!vcpu_claim(v))
		return -EBUSY;
	if (hvm->borrow(v)) {
		ret = access(v, what, bytes);
		hvm->give_back(v);
	}
	BUG_ON(v->stopped != VCPU_CLAIMED);
	__atomic_store_n(&v->stopped, VCPU_STOPPED, __ATOMIC_RELEASE);
	return ret;
}

static s64 set_scheduling(struct vcpu *v, u64 weight, u64 from, u64 cap)
{
	const struct corbel_cpus *affinity = NULL;
	struct corbel_cpus cpus;

	if (weight >> 32 || cap >> 32)
		return -EINVAL;
	if (from) {
		if (copy_in(from, &cpus, sizeof(cpus)))
			return -EINVAL;
		affinity = &cpus;
	}
	return sched_set(&v->sched, weight, affinity, cap);
}

/* arg[0] was the vCPU's id. */
static s64 call_vcpu(struct vcpu *caller, struct vcpu *v, u64 nr, const u64 *arg)
{
	switch (nr) {
	case CORBEL_HC_VCPU_DESTROY:
		return vcpu_destroy(v);
	case CORBEL_HC_VCPU_PAGE:
		return virt_to_hpa(shared_plain(v->page)).v;
	case CORBEL_HC_VCPU_RESUME:
		return vcpu_resume(v, caller);
	case CORBEL_HC_VCPU_PAUSE:
		vcpu_request(v, DUE_PAUSE);
		return 0;
	case CORBEL_HC_VCPU_GET: /* what, how many */
		return move_state(v, arg[1], arg[2], state_get);
	case CORBEL_HC_VCPU_SET: /* what, bytes */
		return move_state(v, arg[1], arg[2], state_set);
	case CORBEL_HC_NMI: /* SMI? */
		if (arg[1])
			vcpu_request(v, DUE_SMI);
		else
			vcpu_request(v, DUE_NMI);
		return 0;
	case CORBEL_HC_EXTINT: /* level */
		if (arg[1])
			vcpu_request(v, DUE_EXTINT);
		else
			vcpu_unnote(v, DUE_EXTINT);
		return 0;
	case CORBEL_HC_SCHED:
		return set_scheduling(v, arg[1], arg[2], arg[3]);
	}
	return -ENOSYS;
}

/* ---- which is which ---- */

#define CALL(name) BIT(CORBEL_HC_##name - CORBEL_HC_BASE)

#define VM_CALLS                                                                                   \
	(CALL(VM_DESTROY) | CALL(BOOT_CPU) | CALL(UNMAP) | CALL(DIRTY) | CALL(MSI) |               \
	 CALL(EOI_MASK) | CALL(DOORBELL) | CALL(CLOCK) | CALL(SCHED_VM) | CALL(FLUSH))
/* not of a VM that is being torn down: what is gone already must stay so */
#define LIVE_VM_CALLS                                                                              \
	(CALL(VCPU_CREATE) | CALL(MAP) | CALL(MAP_ONE) | CALL(PROMISE) | CALL(MSR_FILTER) |        \
	 CALL(SMM) | CALL(POST) | CALL(PMU_FILTER) | CALL(PIC))
#define VCPU_CALLS                                                                                 \
	(CALL(VCPU_DESTROY) | CALL(VCPU_PAGE) | CALL(VCPU_RESUME) | CALL(VCPU_PAUSE) |             \
	 CALL(VCPU_GET) | CALL(VCPU_SET) | CALL(NMI) | CALL(EXTINT) | CALL(SCHED))
#define DOMAIN_CALLS                                                                               \
	(CALL(DOMAIN_CREATE) | CALL(DOMAIN_DESTROY) | CALL(DOMAIN_ATTACH) | CALL(DOMAIN_MAP) |     \
	 CALL(DOMAIN_UNMAP) | CALL(DOMAIN_IRQ))
/* These make or free VMs and vCPUs or count them, and are alone; all others use them. */
#define OBJECT_CALLS                                                                               \
	(CALL(VM_CREATE) | CALL(VM_DESTROY) | CALL(VCPU_CREATE) | CALL(VCPU_DESTROY) |             \
	 CALL(PROMISE) | CALL(MSR_FILTER) | CALL(SMM) | CALL(POST) | CALL(KERNEL) | CALL(LEND) |   \
	 CALL(TAKE_BACK) | CALL(PMU_FILTER) | CALL(IDLE) | CALL(MEMORY) | DOMAIN_CALLS)

static s64 find_and_call(struct vcpu *caller, u64 nr, u64 call, const u64 *arg)
{
	if (call & VCPU_CALLS) {
		struct vcpu *v = vcpu_by_number(arg[0]);

		return v && !v->vm->is_dom0 ? call_vcpu(caller, v, nr, arg) : -ENOENT;
	}
	if (call & (VM_CALLS | LIVE_VM_CALLS)) {
		struct vm *vm = vm_by_id(arg[0]);

		if (!vm || vm->is_dom0 || (vm->dying && (call & LIVE_VM_CALLS)))
			return -ENOENT;
		return call_vm(vm, nr, arg);
	}
	return call_hypervisor(nr, arg);
}

static s64 call_with_lock(struct vcpu *caller, u64 nr, const u64 *arg)
{
	u64 call = BIT(nr - CORBEL_HC_BASE);
	bool alone = call & OBJECT_CALLS;
	s64 ret;

	alone ? write_acquire(&objects) : read_acquire(&objects);
	ret = find_and_call(caller, nr, call, arg);
	alone ? write_release(&objects) : read_release(&objects);
	return ret;
}

s64 hypercall(struct vcpu *caller, u64 nr)
{
	const u64 *reg = caller->gpr;
	const u64 arg[] = {reg[RDI], reg[RSI], reg[RDX], reg[RCX], reg[R8]};
	s64 ret;

	BUG_ON(!caller->vm->is_dom0);
	if (nr - CORBEL_HC_BASE >= CORBEL_HC_NR)
		return -ENOSYS;
	while (unlikely((ret = call_with_lock(caller, nr, arg)) == CALL_AGAIN))
		irq_window(); /* another CPU lets go of the vCPU, and may want one of this one */
	return ret;
}
