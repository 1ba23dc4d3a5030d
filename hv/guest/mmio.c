/* SPDX-License-Identifier: GPL-2.0-only */
/* MMIO and other accesses that are emulated. */
#include "hv/guest/mmio.h"
#include "hv/emul/walk.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/linear.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

static bool at_lapic_base(const struct vcpu *v, u64 at)
{
	return v->lapic.present && (at & PAGE_MASK) == (v->lapic.base & GENMASK(51, 12));
}

static bool is_lapic_page(const struct vcpu *v, u64 at)
{
	return at_lapic_base(v, at) &&
	       (v->lapic.base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE;
}

static int emul_access(struct emul_env *e, u64 linear, void *buf, u32 len, u64 *mmio, u64 access,
		       bool write)
{
	struct vcpu *v = e->ctx;
	struct guest_fault f = {0};
	struct pt_leaf leaf;
	u64 at = 0;
	int ret = vcpu_translate(v, linear, access, &at, &f);

	if (ret == -EFAULT) {
		e->fault.vector = f.vector;
		e->fault.error = f.error;
		e->fault.cr2 = f.cr2;
		return ret;
	}
	if (!ret) {
		p2m_lookup(&v->vm->p2m, at >> PAGE_SHIFT, &leaf);
		if (is_lapic_page(v, at) || leaf.kind == PT_MMIO ||
		    (write && (leaf.attr & PT_ROM))) {
			*mmio = at;
			return -EOPNOTSUPP;
		}
		ret = write ? p2m_write(&v->vm->p2m, gpa(at), buf, len, NULL)
			    : p2m_read(&v->vm->p2m, gpa(at), buf, len, NULL);
		if (!ret)
			return 0;
		f.gpa = at;
		f.write = write;
	}
	v->emul->miss = f;
	return -EAGAIN;
}

static int emul_read(struct emul_env *e, u64 linear, void *buf, u32 len, u64 *mmio)
{
	/* The read half of a read-modify-write needs the right to write. */
	return emul_access(e, linear, buf, len, mmio, e->rmw ? WALK_WRITE : 0, false);
}

static int emul_write(struct emul_env *e, u64 linear, const void *buf, u32 len, u64 *mmio)
{
	return emul_access(e, linear, (void *)buf, len, mmio, WALK_WRITE, true);
}

static void emul_segment(struct emul_env *e, u8 seg)
{
	struct corbel_segment s;

	hvm->get_seg(e->ctx, seg, &s);
	e->seg_base[seg] = s.base;
	e->seg_limit[seg] = s.limit;
	if (seg == SEG_SS)
		e->stack32 = s.db;
}

static const struct emul_ops emul_ops = {emul_read, emul_write, emul_segment};

static void fill_env(struct vcpu *v, struct emul_env *e)
{
	*e = (struct emul_env){.ops = &emul_ops,
			       .ctx = v,
			       .gpr = v->gpr,
			       .rip = &v->rip,
			       .rflags = &v->rflags,
			       .mode = hvm->get(v, HVM_MODE)};
	e->linear_bits = 48;
}

/*
 * MMIO that the hypervisor answers itself: the LAPIC and doorbells. True if done. Where there is no
 * memory, the page of a LAPIC that is off or in x2APIC mode is a hole, as in KVM: a store that
 * reached the VMM would be taken for an MSI.
 */
static bool mmio_here(struct vcpu *v, struct emul_state *st, bool write)
{
	if (is_lapic_page(v, st->mmio_gpa)) {
		u32 offset = st->mmio_gpa & 0xff0;
		u64 val = st->mmio_data;

		if (!write) {
			val = 0;
			lapic_read(v, offset, &val);
			st->mmio_data = val >> (st->mmio_gpa & 15 & 3) * 8;
		} else if (!(st->mmio_gpa & 15)) {
			lapic_write(v, offset, (u32)val);
		}
		return true;
	}
	if (at_lapic_base(v, st->mmio_gpa)) {
		if (!write)
			st->mmio_data = ~0ull;
		return true;
	}
	return write && v->vm->doorbell_count &&
	       doorbell_ring(v->vm, false, st->mmio_gpa, st->mmio_len, st->mmio_data);
}

static void emul_finish(struct vcpu *v, struct emul_env *e, enum emul_result r)
{
	struct emul_state *st = &v->emul->state;

	while (r == EMUL_MMIO_READ || r == EMUL_MMIO_WRITE) {
		bool write = r == EMUL_MMIO_WRITE;

		if (!mmio_here(v, st, write)) {
			if (v->vm->is_dom0) { /* nothing is emulated for dom0 but its LAPIC */
				st->mmio_data = ~0ull;
			} else {
				v->page->mmio.gpa = st->mmio_gpa;
				v->page->mmio.len = st->mmio_len;
				v->page->mmio.is_write = write;
				memcpy(v->page->mmio.data, &st->mmio_data, 8);
				v->completion = COMPLETE_EMUL;
				vcpu_exit_to_dom0(v, CORBEL_EXIT_MMIO);
				return;
			}
		}
		r = emul_continue(st, e);
	}
	switch (r) {
	case EMUL_DONE:
		vcpu_retire(v);
		break;
	case EMUL_FAULT:
		guest_inject_fault(v, &(struct guest_fault){.vector = e->fault.vector,
							    .error = e->fault.error,
							    .cr2 = e->fault.cr2});
		break;
	/* goes on where it was once dom0 has mapped the page: MMIO is not read twice */
	case EMUL_RETRY:
		if (!v->vm->is_dom0)
			v->completion = COMPLETE_RETRY;
		guest_access_missed(v, &v->emul->miss);
		break;
	default:
		if (vm_may_log(v->vm))
			log_warn(
			    "vm %u vcpu %u: cannot emulate instruction at %llx for address %llx",
			    v->vm->id, v->index, (unsigned long long)v->rip,
			    (unsigned long long)st->mmio_gpa);
		guest_stuck(v, GUEST_ERROR_EMULATION, v->emul->insn->bytes, v->emul->insn->n);
	}
}

/*
 * Doorbells are worth a short way: nearly all are rung by plain stores. in: the instruction, which
 * is one. True: rung.
 */
static inline bool ring(struct vcpu *v, const struct vm_exit *x, const struct fetched *in)
{
	u64 val;

	return !x->p2m.during_walk && !at_lapic_base(v, x->p2m.gpa) &&
	       emul_stored(&in->insn, v->gpr, v->rip, x->p2m.gpa, &val) &&
	       doorbell_ring(v->vm, false, x->p2m.gpa, in->insn.op_size, val);
}

enum target { TARGET_LAPIC, TARGET_MMIO, TARGET_ROM };

/*
 * x: the access, to this target, that the instruction was stopped by. gen: of the p2m since before
 * the target was looked up.
 */
static enum after_exit emulate(struct vcpu *v, const struct vm_exit *x, enum target target, u64 gen)
{
	struct guest_fault f = {0};
	struct emul_env e;
	int ret = vcpu_fetch(v, &f);

	if (ret && ret != -EINVAL) {
		guest_access_failed(v, ret, &f);
		return EXIT_PREPARE;
	}
	if (!ret && target == TARGET_MMIO && v->vm->doorbell_count && v->emul->insn->plain_store &&
	    ring(v, x, v->emul->insn)) {
		if (v->emul->insn->words.gen == gen)
			v->emul->insn->bell = (x->p2m.gpa >> PAGE_SHIFT) + 1;
		vcpu_step(v, x, v->emul->insn->insn.len);
		return EXIT_AGAIN;
	}
	fill_env(v, &e);
	if (target != TARGET_ROM && !x->p2m.during_walk) { /* MMIO, be it read or written */
		e.stopped = x->p2m.write ? EMUL_STOPPED_WRITE : EMUL_STOPPED_READ;
		e.stopped_gpa = x->p2m.gpa;
	}
	emul_finish(v, &e,
		    ret ? EMUL_UNSUPPORTED : emul_start(&v->emul->state, &e, &v->emul->insn->insn));
	return EXIT_PREPARE;
}

static __noinline enum after_exit handle_other_p2m_fault(struct vcpu *v, const struct vm_exit *x)
{
	u64 gen = __atomic_load_n(&v->vm->p2m.tlb_gen, __ATOMIC_ACQUIRE);
	struct pt_leaf leaf;

	if (is_lapic_page(v, x->p2m.gpa))
		return emulate(v, x, TARGET_LAPIC, gen);
	p2m_lookup(&v->vm->p2m, x->p2m.gpa >> PAGE_SHIFT, &leaf);
	if (leaf.kind == PT_MMIO || (x->p2m.write && (leaf.attr & PT_ROM)))
		return emulate(v, x, leaf.kind == PT_MMIO ? TARGET_MMIO : TARGET_ROM, gen);
	if (!x->p2m.write || leaf.kind != PT_LEAF ||
	    !p2m_fix_write(&v->vm->p2m, x->p2m.gpa >> PAGE_SHIFT))
		guest_memory_missing(v, x->p2m.gpa, x->p2m.write, x->p2m.exec);
	return EXIT_PREPARE;
}

enum after_exit mmio_handle_fault(struct vcpu *v, const struct vm_exit *x)
{
	struct fetched *in = vcpu_fetched(v, v->rip);

	__asm__("" : "+r"(in)); /* else it is computed anew for each use */
	if (in->bell == (x->p2m.gpa >> PAGE_SHIFT) + 1 && in->paging.next == v->rip &&
	    vcpu_is_fetched(v, in) && ring(v, x, in)) {
		vcpu_step(v, x, in->insn.len);
		return EXIT_AGAIN;
	}
	return handle_other_p2m_fault(v, x);
}

void mmio_complete(struct vcpu *v)
{
	memcpy(&v->emul->state.mmio_data, v->page->mmio.data, sizeof(v->emul->state.mmio_data));
	mmio_retry(v);
}

void mmio_retry(struct vcpu *v)
{
	struct emul_env e;

	fill_env(v, &e);
	emul_finish(v, &e, emul_continue(&v->emul->state, &e));
}
