/* SPDX-License-Identifier: GPL-2.0-only */
/* dom0's hypercalls: every argument is checked here, once. */
#include "hv/dom0/hypercall.h"
#include "hv/console/console.h"
#include "hv/dom0/debugkey.h"
#include "hv/dom0/stat.h"
#include "hv/dom0/state.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/kick.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/msr.h"
#include "hv/guest/run.h"
#include "hv/guest/vcpu.h"
#include "hv/lib/string.h"

struct args {
	u64 a, b, c, d, e;
};

/*
 * Bounce buffers for what goes to and from dom0's pages; one a CPU, hypercalls are not preempted.
 */
static u8 bounce[MAX_CPUS][PAGE_SIZE] __aligned(64);

static u8 *bounce_buf(void)
{
	return bounce[this_cpu()->index];
}

static bool one_page(u64 at, u64 len)
{
	return len && len <= PAGE_SIZE && (at & ~PAGE_MASK) + len <= PAGE_SIZE;
}

/* dom0's memory only: hypervisor frames are not in its map. */
static int copy_in(u64 from, void *to, u64 len)
{
	return one_page(from, len) ? p2m_read(&dom0->p2m, gpa(from), to, len, NULL) : -EINVAL;
}

static int copy_out(u64 to, const void *from, u64 len)
{
	return one_page(to, len) ? p2m_write(&dom0->p2m, gpa(to), from, len, NULL) : -EINVAL;
}

static struct vm *guest_by_id(u64 id)
{
	struct vm *vm = vm_by_id(id);

	return vm && !vm->is_dom0 ? vm : NULL;
}

static struct vcpu *guest_vcpu(u64 id)
{
	struct vcpu *v = vcpu_by_id(id);

	return v && !v->vm->is_dom0 ? v : NULL;
}

/* Its state is all in memory and no CPU touches it. */
static bool is_stopped(struct vcpu *v)
{
	return __atomic_load_n(&v->stopped, __ATOMIC_ACQUIRE);
}

/* ---- statistics ---- */

static s64 hc_stat(struct vcpu *caller, const struct args *x)
{
	u8 *buf = bounce_buf();
	s64 n = stat_get(x->a, x->b, buf);

	if (n < 0)
		return n;
	if (x->d < (u64)n)
		return -E2BIG;
	return copy_out(x->c, buf, n) ?: n;
}

static s64 hc_log_read(struct vcpu *caller, const struct args *x)
{
	struct corbel_log *l = (void *)bounce_buf();
	u64 len = MIN(x->c, PAGE_SIZE);
	int ret;

	if (len <= sizeof(*l))
		return -EINVAL;
	l->len = log_read(x->a, l->text, len - sizeof(*l), &l->seq);
	l->next = l->seq + l->len;
	l->pad = 0;
	ret = copy_out(x->b, l, sizeof(*l) + l->len);
	return ret ? ret : (s64)l->len;
}

/* ---- events, VMs, vCPUs ---- */

static s64 hc_event_bind(struct vcpu *caller, const struct args *x)
{
	struct vcpu *v = x->a <= 0xffffffff ? vm_vcpu_by_apic(dom0, x->a) : NULL;

	if (!v)
		return -ENOENT;
	if (x->b && (x->b < 32 || x->b > 255))
		return -EINVAL;
	v->event_vector = x->b;
	return 0;
}

static s64 hc_vm_create(struct vcpu *caller, const struct args *x)
{
	struct corbel_vm_create c;
	int ret = copy_in(x->a, &c, sizeof(c));

	return ret ? ret : vm_create(&c);
}

static s64 hc_vm_destroy(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);

	return vm ? vm_destroy(vm) : -ENOENT;
}

static s64 hc_boot_cpu(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);

	if (!vm)
		return -ENOENT;
	if (vm->vcpu_count)
		return -EBUSY;
	vm->bsp_apic_id = x->b;
	return 0;
}

static s64 hc_vcpu_create(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);

	if (!vm || vm->dying)
		return -ENOENT;
	return x->b > 0xfffffffe ? -EINVAL : vcpu_create(vm, x->b);
}

static s64 hc_vcpu_destroy(struct vcpu *caller, const struct args *x)
{
	struct vcpu *v = guest_vcpu(x->a);

	return v ? vcpu_destroy(v) : -ENOENT;
}

static s64 hc_vcpu_page(struct vcpu *caller, const struct args *x)
{
	struct vcpu *v = guest_vcpu(x->a);

	return v ? (s64)virt_to_hpa(v->page).v : -ENOENT;
}

static s64 hc_vcpu_resume(struct vcpu *caller, const struct args *x)
{
	struct vcpu *v = guest_vcpu(x->a);

	return v ? vcpu_resume(v, caller) : -ENOENT;
}

static s64 hc_vcpu_pause(struct vcpu *caller, const struct args *x)
{
	struct vcpu *v = guest_vcpu(x->a);

	if (!v)
		return -ENOENT;
	if (!is_stopped(v))
		vcpu_request(v, DUE_PAUSE);
	return 0;
}

static s64 hc_vcpu_state(struct vcpu *caller, const struct args *x, bool set)
{
	struct vcpu *v = guest_vcpu(x->a);
	s64 ret;

	if (!v)
		return -ENOENT;
	if (x->b >= CORBEL_STATE_NR || x->c > PAGE_SIZE)
		return -EINVAL;
	if (!is_stopped(v) || !hvm->borrow(v))
		return -EBUSY;
	ret = set ? state_set(v, x->b, x->c) : state_get(v, x->b, x->c);
	hvm->give_back(v);
	return ret;
}

static s64 hc_vcpu_get(struct vcpu *caller, const struct args *x)
{
	return hc_vcpu_state(caller, x, false);
}

static s64 hc_vcpu_set(struct vcpu *caller, const struct args *x)
{
	return hc_vcpu_state(caller, x, true);
}

/* ---- memory ---- */

static int map_one(struct vm *vm, const struct corbel_map *m)
{
	u64 attr = PT_R;

	if (m->flags & CORBEL_MAP_MMIO)
		return m->order ? -EINVAL : p2m_set_mmio(&vm->p2m, m->gfn);
	if (m->order != 0 && m->order != 9)
		return -EINVAL;
	if (m->flags & CORBEL_MAP_WRITE)
		attr |= PT_W;
	if (m->flags & CORBEL_MAP_EXEC)
		attr |= PT_X;
	if (m->flags & CORBEL_MAP_ROM)
		attr = (attr & ~PT_W) | PT_ROM;
	return p2m_map(&vm->p2m, m->gfn, m->pfn, m->order, attr);
}

static s64 hc_map(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);
	struct corbel_map *m = (void *)bounce_buf();
	int ret;

	if (!vm || vm->dying) /* what is torn down already must stay so */
		return -ENOENT;
	if (!x->c || x->c > PAGE_SIZE / sizeof(*m))
		return -EINVAL;
	ret = copy_in(x->b, m, x->c * sizeof(*m));
	if (ret)
		return ret;
	for (u32 i = 0; i < x->c; i++) {
		ret = map_one(vm, &m[i]);
		if (ret)
			return i ? (s64)i : ret;
	}
	return x->c;
}

static s64 hc_map_one(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);
	const struct corbel_map m = {.gfn = x->b, .pfn = x->c, .order = x->d, .flags = x->e};
	int ret;

	if (!vm || vm->dying)
		return -ENOENT;
	if ((x->d | x->e) >> 32)
		return -EINVAL;
	ret = map_one(vm, &m);
	return ret ?: 1;
}

static s64 hc_unmap(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);

	return vm ? p2m_unmap(&vm->p2m, x->b, x->c) : -ENOENT;
}

static s64 dirty_switch(struct vm *vm, u64 gfn, u64 count,
			s64 (*change)(struct p2m *p, u64 gfn, u64 count))
{
	for (u64 done = 0; done < count;) {
		s64 n = change(&vm->p2m, gfn + done, count - done);

		if (n < 0)
			return n;
		done += (u64)n;
	}
	return 0;
}

static s64 dirty_read(struct vm *vm, const struct args *x)
{
	u64 *bitmap = (void *)bounce_buf();
	u64 bytes = (x->c + 63) / 64 * 8;

	memset(bitmap, 0, bytes);
	for (u64 done = 0; done < x->c;) {
		s64 n = p2m_dirty_read(&vm->p2m, x->b + done, x->c - done, bitmap + done / 64,
				       x->e & CORBEL_DIRTY_CLEAR);

		if (n < 0)
			return n;
		done += (u64)n;
	}
	return copy_out(x->d, bitmap, bytes);
}

static s64 hc_dirty(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);

	if (!vm)
		return -ENOENT;
	if (!x->c || x->c > PAGE_SIZE * 8)
		return -EINVAL;
	if (x->e & CORBEL_DIRTY_START)
		return dirty_switch(vm, x->b, x->c, p2m_dirty_start);
	if (x->e & CORBEL_DIRTY_STOP)
		return dirty_switch(vm, x->b, x->c, p2m_dirty_stop);
	return dirty_read(vm, x);
}

/* ---- interrupts ---- */

static s64 hc_msi(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);

	if (!vm || !vm->has_lapic)
		return -ENOENT;
	return lapic_send_msi(vm, x->b, x->c) ? 1 : 0;
}

static s64 hc_nmi(struct vcpu *caller, const struct args *x)
{
	struct vcpu *v = guest_vcpu(x->a);

	if (!v)
		return -ENOENT;
	vcpu_request(v, DUE_NMI);
	return 0;
}

static s64 hc_extint(struct vcpu *caller, const struct args *x)
{
	struct vcpu *v = guest_vcpu(x->a);

	if (!v)
		return -ENOENT;
	if (x->b)
		vcpu_request(v, DUE_EXTINT);
	else
		__atomic_fetch_and(&v->due, ~DUE_EXTINT, __ATOMIC_SEQ_CST);
	return 0;
}

static s64 hc_eoi_mask(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);

	if (!vm)
		return -ENOENT;
	if (x->b > 3)
		return -EINVAL;
	WRITE_ONCE(vm->eoi_mask[x->b], x->c);
	return 0;
}

static s64 hc_doorbell(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);
	struct corbel_doorbell d;
	int ret;

	if (!vm)
		return -ENOENT;
	ret = copy_in(x->b, &d, sizeof(d));
	return ret ? ret : doorbell_update(vm, &d);
}

/* ---- the rest ---- */

static s64 hc_sched(struct vcpu *caller, const struct args *x)
{
	struct vcpu *v = guest_vcpu(x->a);

	if (x->b >> 32 || x->d >> 32)
		return -EINVAL;
	return v ? sched_set(&v->sched, x->b, x->c, x->d) : -ENOENT;
}

static s64 hc_supported(struct vcpu *caller, const struct args *x)
{
	u8 *buf = bounce_buf();
	u32 n, size;

	switch (x->a) {
	case CORBEL_SUPPORTED_CPUID:
		size = sizeof(struct corbel_cpuid);
		n = cpuid_offered((void *)buf, NULL);
		break;
	case CORBEL_SUPPORTED_MSRS:
		size = sizeof(u32);
		n = msr_list((void *)buf);
		break;
	case CORBEL_SUPPORTED_XCR0:
		size = 8;
		n = 1;
		*(u64 *)buf = policy_xcr0_all();
		break;
	default:
		return -EINVAL;
	}
	if (x->b)
		return 0; /* everything fits one page */
	if (x->d < (u64)n * size)
		return -E2BIG;
	return copy_out(x->c, buf, n * size) ?: (s64)n;
}

static s64 hc_clock(struct vcpu *caller, const struct args *x)
{
	struct vm *vm = guest_by_id(x->a);

	if (!vm)
		return -ENOENT;
	if (!x->b)
		return pv_clock_get(vm);
	pv_clock_set(vm, x->c);
	return 0;
}

static s64 hc_debug(struct vcpu *caller, const struct args *x)
{
	debug_key(x->a);
	return 0;
}

static s64 hc_version(struct vcpu *caller, const struct args *x)
{
	return CORBEL_ABI_VERSION;
}

static s64 (*const calls[])(struct vcpu *, const struct args *) = {
#define HC(nr, fn) [nr - CORBEL_HC_BASE] = fn
    HC(CORBEL_HC_VERSION, hc_version),
    HC(CORBEL_HC_STAT, hc_stat),
    HC(CORBEL_HC_LOG_READ, hc_log_read),
    HC(CORBEL_HC_EVENT_BIND, hc_event_bind),
    HC(CORBEL_HC_VM_CREATE, hc_vm_create),
    HC(CORBEL_HC_VM_DESTROY, hc_vm_destroy),
    HC(CORBEL_HC_VCPU_CREATE, hc_vcpu_create),
    HC(CORBEL_HC_VCPU_DESTROY, hc_vcpu_destroy),
    HC(CORBEL_HC_VCPU_PAGE, hc_vcpu_page),
    HC(CORBEL_HC_VCPU_RESUME, hc_vcpu_resume),
    HC(CORBEL_HC_VCPU_PAUSE, hc_vcpu_pause),
    HC(CORBEL_HC_VCPU_GET, hc_vcpu_get),
    HC(CORBEL_HC_VCPU_SET, hc_vcpu_set),
    HC(CORBEL_HC_MAP, hc_map),
    HC(CORBEL_HC_UNMAP, hc_unmap),
    HC(CORBEL_HC_DIRTY, hc_dirty),
    HC(CORBEL_HC_MSI, hc_msi),
    HC(CORBEL_HC_NMI, hc_nmi),
    HC(CORBEL_HC_EXTINT, hc_extint),
    HC(CORBEL_HC_EOI_MASK, hc_eoi_mask),
    HC(CORBEL_HC_DOORBELL, hc_doorbell),
    HC(CORBEL_HC_SCHED, hc_sched),
    HC(CORBEL_HC_SUPPORTED, hc_supported),
    HC(CORBEL_HC_CLOCK, hc_clock),
    HC(CORBEL_HC_BOOT_CPU, hc_boot_cpu),
    HC(CORBEL_HC_DEBUG, hc_debug),
    HC(CORBEL_HC_MAP_ONE, hc_map_one),
#undef HC
};
_Static_assert(ARRAY_SIZE(calls) == CORBEL_HC_NR, "all are numbered");

static bool frees_objects(u64 nr)
{
	nr += CORBEL_HC_BASE;
	return nr == CORBEL_HC_VM_CREATE || nr == CORBEL_HC_VM_DESTROY ||
	       nr == CORBEL_HC_VCPU_CREATE || nr == CORBEL_HC_VCPU_DESTROY;
}

s64 hypercall(struct vcpu *caller, u64 nr)
{
	s64 ret;

	const struct args x = {caller->gpr[RDI], caller->gpr[RSI], caller->gpr[RDX],
			       caller->gpr[RCX], caller->gpr[R8]};

	nr -= CORBEL_HC_BASE;
	if (nr >= ARRAY_SIZE(calls) || !calls[nr])
		return -ENOSYS;
	if (frees_objects(nr)) {
		write_acquire(&objects);
		ret = calls[nr](caller, &x);
		write_release(&objects);
	} else {
		read_acquire(&objects);
		ret = calls[nr](caller, &x);
		read_release(&objects);
	}
	return ret;
}
