/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/shadow.h"
#include "hv/emul/walk.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "hv/guest/mmio.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

u8 *nested_msr_map;

static bool can_nest(void)
{
	return hvm_caps.flags & HVM_CAP_NESTED;
}

void shadow_init(void)
{
	if (!can_nest())
		return;
	nested_msr_map = pool_alloc(hvm_caps.msr_map_order, NULL);
	if (!nested_msr_map)
		boot_fail("not enough hypervisor memory for nested=on; give more with hvmem=");
	memset(nested_msr_map, 0xff, PAGE_SIZE << hvm_caps.msr_map_order);
}

int shadow_create(struct vcpu *v)
{
	struct shadow *s;

	if (v->vm->is_dom0 || !can_nest())
		return 0;
	s = pool_alloc(hvm_caps.nested_order, &v->vm->acct);
	v->shadow = s;
	return s ? 0 : -ENOMEM;
}

int shadow_promise(struct vcpu *v)
{
	struct shadow *s = v->shadow;
	int ret;

	if (!s || s->pt.root.v)
		return s ? 0 : -EINVAL;
	ret = vm_promise_apart(v->vm, &s->tables, SHADOW_TABLES);
	if (!ret)
		BUG_ON(pt_init(&s->pt, &pt_ram, &s->tables)); /* it is promised */
	return ret;
}

bool shadow_is_promised(struct vcpu *v)
{
	if (likely(v->shadow->pt.root.v))
		return true;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_NEST);
	return false;
}

void shadow_destroy(struct vcpu *v)
{
	struct shadow *s = v->shadow;

	if (!s)
		return;
	if (s->pt.root.v) {
		pt_destroy(&s->pt);
		vm_retract_apart(v->vm, &s->tables, SHADOW_TABLES);
	}
	pool_free(s, hvm_caps.nested_order, &v->vm->acct);
	v->shadow = NULL;
}

bool nested_insn_allowed(struct vcpu *v, bool on)
{
	if (!on || v->in_smm || !(hvm->get(v, HVM_CR0) & CR0_PE) || v->rflags & RFLAGS_VM) {
		vcpu_inject_exception(v, VEC_UD, false, 0);
		return false;
	}
	if (hvm->get(v, HVM_CPL)) {
		vcpu_inject_gp(v);
		return false;
	}
	return true;
}

void shadow_drop(struct vcpu *v)
{
	struct shadow *s = v->shadow;

	if (s->filled) {
		pt_destroy(&s->pt);
		/* what has just been given back is promised to nobody else */
		BUG_ON(pt_init(&s->pt, &pt_ram, &s->tables));
		s->filled = false;
	}
	hvm->nested->flush(v);
}

void shadow_follow(struct vcpu *v, u64 gen)
{
	if (v->shadow->gen == gen)
		return;
	shadow_drop(v);
	v->shadow->gen = gen;
}

int shadow_translate(struct vcpu *v, u64 access, u64 *at)
{
	u64 to;
	u32 error;

	if (hvm->nested->walk(v, *at, access, false, &to, &error))
		return -EAGAIN;
	*at = to;
	return 0;
}

/*
 * The walk from at has not come to its end: the guest hears of it, or dom0 brings the table at to.
 * x: the exit, or NULL.
 */
static void walk_failed(struct vcpu *v, int err, u64 at, u64 to, u64 access, u32 error,
			const struct vm_exit *x)
{
	bool write = error & WALK_WRITE;
	struct pt_leaf leaf;

	if (err == -EAGAIN) {
		p2m_lookup(&v->vm->p2m, to >> PAGE_SHIFT, &leaf);
		if (!mmio_is_device(v, to, &leaf, write)) {
			guest_memory_missing(v, to, write, false);
			return;
		}
		/* tables in a device: what is read there is not present */
		error = 0;
	}
	hvm->nested->refuse(v, at, access, error, x);
}

void shadow_fault(struct vcpu *v, u64 access, u64 at)
{
	u64 to;
	u32 error;
	int err = hvm->nested->walk(v, at, access, false, &to, &error);

	if (err)
		walk_failed(v, err, at, to, access, error, NULL);
}

/* The page at `at` is the machine's frame pfn. */
static void shadow_map(struct vcpu *v, u64 at, u64 pfn, u64 attr)
{
	struct shadow *s = v->shadow;
	u64 fn = at >> PAGE_SHIFT;
	bool flush = false;

	BUG_ON(v->vm->is_dom0);
	pt_unmap(&s->pt, fn, 1, 1, &flush, NULL, NULL);
	if (flush)
		hvm->nested->flush(v);
	pt_reap(&s->pt);
	s->filled = true;
	if (pt_map(&s->pt, fn, pfn, 0, attr) == -ENOMEM) {
		shadow_drop(v);
		s->filled = true;
		pt_map(&s->pt, fn, pfn, 0, attr);
	}
}

void shadow_handle_fault(struct vcpu *v, struct vm_exit *x)
{
	u64 at = x->p2m.gpa, to, ignored, attr = PT_R | PT_DIRTY, need = PT_R, access = 0;
	struct pt_leaf leaf;
	u32 error;
	int err;

	if (x->p2m.write)
		access = WALK_WRITE;
	if (x->p2m.exec)
		access |= WALK_FETCH;
	err = hvm->nested->walk(v, at, access, false, &to, &error);
	if (err) {
		walk_failed(v, err, at, to, access, error, x);
		x->reason = VMEXIT_IRQ_WINDOW;
		return;
	}
	x->p2m.gpa = to;
	p2m_lookup(&v->vm->p2m, to >> PAGE_SHIFT, &leaf);
	if (x->p2m.write)
		need |= PT_W | PT_DIRTY;
	if (x->p2m.exec)
		need |= PT_X;
	if (leaf.kind != PT_LEAF || (leaf.attr & need) != need ||
	    mmio_is_device(v, to, &leaf, x->p2m.write))
		return; /* as for the guest's own access */
	if (x->p2m.write)
		attr |= PT_W;
	if (leaf.attr & PT_X && !hvm->nested->walk(v, at, WALK_FETCH, true, &ignored, &error))
		attr |= PT_X;
	shadow_map(v, at, leaf.pfn, attr | (leaf.attr & PT_UC));
	x->reason = VMEXIT_IRQ_WINDOW;
}

int nested_copy(struct vcpu *v, u64 at, void *buf, u32 len, bool write)
{
	struct guest_fault f;
	struct pt_leaf leaf;

	if (!guest_copy(v, at, buf, len, write, &f))
		return 0;
	p2m_lookup(v->p2m, at >> PAGE_SHIFT, &leaf);
	if (mmio_is_device(v, at, &leaf, write))
		return -EINVAL;
	guest_memory_missing(v, at, write, false);
	return -EAGAIN;
}

int nested_map_bits(struct vcpu *v, u64 at, u8 mask)
{
	u8 byte;
	int err = nested_copy(v, at, &byte, 1, false);

	if (err == -EINVAL)
		return 1;
	return err ?: !!(byte & mask);
}

void nested_forget_fetched(struct vcpu *v)
{
	for (u32 i = 0; i < FETCHED; i++)
		v->emul->fetched[i].words.gen = 0;
}
