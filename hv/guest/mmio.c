/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MMIO and other accesses that are emulated, instruction by instruction. The way of a guest's write
 * to a device:
 *   the nested page fault: mmio_handle_fault(), handle_other_p2m_fault()
 *   fetched, decoded, carried out up to the access: emulate_insn()
 *   by what the emulator says, EMUL_MMIO_WRITE here: emul_finish()
 *   the LAPIC, a doorbell: mmio_here(), and the emulator goes on at once
 *   a device of the VMM: mmio_exit_to_dom0(); with the answer complete_mmio() goes on before the
 *   next entry
 */
#include "hv/guest/mmio.h"
#include "hv/emul/descriptor.h"
#include "hv/emul/op.h"
#include "hv/emul/pass.h"
#include "hv/emul/walk.h"
#include "hv/guest/cr.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/lazy.h"
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

/* The page of a LAPIC that has none, off or in x2APIC mode, is nothing, unless the VMM wants it. */
static bool is_no_hole(const struct vcpu *v)
{
	return vcpu_lacks_quirk(v, CORBEL_QUIRK_LAPIC_HOLE);
}

bool mmio_is_device(const struct vcpu *v, u64 at, const struct pt_leaf *leaf, bool write)
{
	return is_lapic_page(v, at) || guest_has_device(leaf, write);
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
		e->fault = f.raised;
		return ret;
	}
	if (!ret) {
		p2m_lookup(v->p2m, at >> PAGE_SHIFT, &leaf);
		if (mmio_is_device(v, at, &leaf, write)) {
			*mmio = at;
			return -EOPNOTSUPP;
		}
		ret = guest_copy(v, at, buf, len, write, &f);
	}
	v->emul->miss = f;
	return ret;
}

static int emul_read(struct emul_env *e, u64 linear, void *buf, u32 len, u64 *mmio)
{
	u64 right = e->rmw ? WALK_WRITE : 0; /* a read that is followed by a write needs both */

	if (e->as_system)
		right |= WALK_SYSTEM;
	return emul_access(e, linear, buf, len, mmio, right, false);
}

static int emul_write(struct emul_env *e, u64 linear, const void *buf, u32 len, u64 *mmio)
{
	u64 right = e->as_system ? WALK_WRITE | WALK_SYSTEM : WALK_WRITE;

	return emul_access(e, linear, (void *)buf, len, mmio, right, true);
}

/*
 * SDM "Type Checking", in protected mode only. The processor has checked the access that it was
 * stopped by; but INS and OUTS stop before, and others have a second operand.
 */
static u8 denied_by(struct vcpu *v, const struct corbel_segment *s)
{
	const u8 writes = BIT(READ_FOR_WRITE) | BIT(WRITE);

	if (!(hvm->get(v, HVM_CR0) & CR0_PE) || v->rflags & RFLAGS_VM)
		return 0;
	if (s->unusable)
		return BIT(READ) | writes;
	if (s->type & TYPE_RW)
		return s->type & TYPE_CODE ? writes : 0;
	return s->type & TYPE_CODE ? BIT(READ) | writes : writes;
}

static void emul_segment(struct emul_env *e, u8 seg)
{
	struct corbel_segment s;

	hvm->get_seg(e->ctx, seg, &s);
	e->seg_base[seg] = s.base;
	e->seg_first[seg] = 0;
	e->seg_limit[seg] = s.limit;
	e->seg_denies[seg] = denied_by(e->ctx, &s);
	if (s.s && (s.type & (TYPE_CODE | TYPE_CONFORMING)) == TYPE_CONFORMING) {
		e->seg_first[seg] = (u64)s.limit + 1;
		e->seg_limit[seg] = s.db ? ~0u : 0xffff;
	}
	e->seg_selector[seg] = s.selector;
	if (seg == SEG_SS)
		e->stack32 = s.db;
}

static int emul_vector(struct emul_env *e, enum emul_vector file, u8 n, u8 *val, bool write)
{
	return fpu_vector(e->ctx, file, n, val, write, &e->fault.vector);
}

static void emul_get_system(struct emul_env *e, struct emul_system *s)
{
	struct vcpu *v = e->ctx;

	for (u32 n = 0; n <= SEG_IDTR; n++)
		hvm->get_seg(v, n, &s->seg[n]);
	s->cr0 = hvm->get(v, HVM_CR0);
	s->cpl = hvm->get(v, HVM_CPL);
	s->vm86 = v->rflags & RFLAGS_VM;
	s->long_mode = hvm->get(v, HVM_EFER) & EFER_LMA;
	s->umip = hvm->get(v, HVM_CR4) & CR4_UMIP;
}

static void emul_set_segment(struct emul_env *e, u8 seg, const struct corbel_segment *s)
{
	hvm->set_seg(e->ctx, seg, s);
}

static bool emul_set_cr0(struct emul_env *e, u64 cr0)
{
	return cr_write(e->ctx, 0, cr0);
}

static const struct emul_ops emul_ops = {emul_read,   emul_write,      emul_segment,
					 emul_vector, emul_get_system, emul_set_segment,
					 emul_set_cr0};

/* But for segments, which emul_segment() fills before they are used, and a fault's vector. */
static void fill_env(struct vcpu *v, struct emul_env *e)
{
	e->ops = &emul_ops;
	e->ctx = v;
	e->gpr = v->gpr;
	e->rip = &v->rip;
	e->rflags = &v->rflags;
	e->mode = hvm->get(v, HVM_MODE);
	e->linear_bits = 48;
	e->stopped = EMUL_STOPPED_NOT;
	e->rmw = e->as_system = e->shadow = e->iret = e->rf = false;
	e->fault = (struct emul_fault){0};
	e->port = v->emul->is_io ? &v->emul->port : NULL;
}

/* The VMM is told once the instruction is done, and where that was. */
static void tell_tpr(struct vcpu *v, bool write)
{
	WRITE_ONCE(v->page->tpr.rip, v->rip);
	WRITE_ONCE(v->page->tpr.is_write, write);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_TPR);
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

		if (!write) {
			lapic_read(v, offset, &st->mmio_data);
			/* of the register's 16 bytes all but the first four are undefined */
			st->mmio_data >>= st->mmio_gpa % 4 * 8;
		} else if (st->mmio_gpa % 16 == 0) {
			lapic_write(v, offset, (u32)st->mmio_data);
		} else {
			return true;
		}
		if (offset == APIC_TPR && v->page && READ_ONCE(v->page->tells_tpr))
			tell_tpr(v, write);
		return true;
	}
	if (at_lapic_base(v, st->mmio_gpa) && !is_no_hole(v)) {
		if (!write)
			st->mmio_data = ~0ull;
		return true;
	}
	return write && v->vm->doorbell_count &&
	       doorbell_ring(v->vm, false, st->mmio_gpa, st->mmio_len, st->mmio_data);
}

static void emul_finish(struct vcpu *v, struct emul_env *e, enum emul_result r);

static void go_on_emulating(struct vcpu *v)
{
	struct emul_env e;

	fill_env(v, &e);
	emul_finish(v, &e, emul_continue(&v->emul->state, &e));
}

static void complete_mmio(struct vcpu *v)
{
	shared_read(&v->emul->state.mmio_data, v->page->mmio.data,
		    sizeof(v->emul->state.mmio_data));
	go_on_emulating(v);
}

static void mmio_exit_to_dom0(struct vcpu *v, const struct emul_state *st, bool write)
{
	WRITE_ONCE(v->page->mmio.gpa, st->mmio_gpa);
	WRITE_ONCE(v->page->mmio.len, st->mmio_len);
	WRITE_ONCE(v->page->mmio.is_write, write);
	shared_write(v->page->mmio.data, &st->mmio_data, sizeof(st->mmio_data));
	v->complete = complete_mmio;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_MMIO);
}

static void complete_port(struct vcpu *v)
{
	shared_read(&v->emul->state.mmio_data, v->data, sizeof(v->emul->state.mmio_data));
	go_on_emulating(v);
}

static void port_exit_to_dom0(struct vcpu *v, const struct emul_state *st, bool in)
{
	BUG_ON(!v->emul->is_io);
	WRITE_ONCE(v->page->io.port, v->emul->port);
	WRITE_ONCE(v->page->io.size, st->mmio_len);
	WRITE_ONCE(v->page->io.is_in, in);
	WRITE_ONCE(v->page->io.count, 1);
	shared_write(v->data, &st->mmio_data, sizeof(st->mmio_data));
	v->complete = complete_port;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_IO);
}

static void cannot_emulate(struct vcpu *v)
{
	if (vm_may_log(v->vm, VM_LOG_LINE))
		log_warn("vm %u vcpu %u: cannot emulate instruction at %lx for address %lx",
			 v->vm->id, v->index, v->rip, v->emul->state.mmio_gpa);
	guest_cannot_emulate(v, v->emul->insn);
}

/* The emulator has come as far as r says. */
static void emul_finish(struct vcpu *v, struct emul_env *e, enum emul_result r)
{
	struct emul_state *st = &v->emul->state;

	while (r == EMUL_MMIO_READ || r == EMUL_MMIO_WRITE) {
		bool write = r == EMUL_MMIO_WRITE;

		if (!mmio_here(v, st, write)) {
			if (!v->vm->is_dom0) {
				mmio_exit_to_dom0(v, st, write);
				return;
			}
			st->mmio_data =
			    v->vm->ops->mmio(st->mmio_gpa, st->mmio_len, write, st->mmio_data);
		}
		r = emul_continue(st, e);
	}
	switch (r) {
	case EMUL_DONE:
		if (unlikely(e->shadow)) /* which holds a trap back, too */
			hvm->set(v, HVM_SHADOW, 1);
		else
			vcpu_retire(v);
		if (unlikely(e->iret))
			hvm->set(v, HVM_NMI_MASK, 0);
		if (unlikely(e->rf))
			v->rflags |= RFLAGS_RF;
		break;
	case EMUL_IN:
	case EMUL_OUT:
		port_exit_to_dom0(v, st, r == EMUL_IN);
		break;
	case EMUL_FAULT:
		guest_inject_fault(v, &e->fault);
		break;
	/* goes on where it was once dom0 has mapped the page: MMIO is not read twice */
	case EMUL_RETRY:
		if (!v->vm->is_dom0)
			v->complete = go_on_emulating;
		guest_access_missed(v, &v->emul->miss);
		break;
	default:
		cannot_emulate(v);
	}
}

/*
 * Doorbells are worth a short way: nearly all are rung by plain stores. in: the instruction, which
 * is one. True: rung.
 */
static inline bool ring_plainly(struct vcpu *v, const struct vm_exit *x, const struct fetched *in)
{
	u64 val;

	return !x->p2m.during_walk && !at_lapic_base(v, x->p2m.gpa) &&
	       emul_stored(&in->insn, v->gpr, v->rip, x->p2m.gpa, &val) &&
	       doorbell_ring(v->vm, false, x->p2m.gpa, in->insn.op_size, val);
}

/* An event finds a device where its stack or a table should be: what KVM tells of that, too. */
static void stuck_at_delivery(struct vcpu *v, const struct vm_exit *x, u32 event)
{
	guest_stuck(v, GUEST_ERROR_DELIVERY, NULL); /* dom0 ends there, and has no page */
	WRITE_ONCE(v->page->internal.event, event);
	WRITE_ONCE(v->page->internal.exit, x->raw);
	WRITE_ONCE(v->page->internal.gpa, x->p2m.gpa);
	WRITE_ONCE(v->page->internal.access, BIT(x->p2m.write));
}

/* Which one is on its way to its handler; 0: none. */
static u32 broken_off(const struct vcpu *v)
{
	if (v->irq_injected)
		return hvm_event(HVM_INJ_IRQ, v->irq_vector, false);
	if (v->nmi_injected)
		return hvm_event(HVM_INJ_NMI, VEC_NMI, false);
	if (v->exception.pending && v->exception.injected)
		return hvm_event(HVM_INJ_EXCEPTION, v->exception.vector, v->exception.has_error);
	return 0;
}

/* The same of an instruction that has no other access to memory. */
static u32 software_event(const struct insn *i)
{
	if (i->map || i->vex)
		return 0;
	switch (i->opcode) {
	case 0xcc: /* INT3 */
		return hvm_event(HVM_INJ_EXCEPTION, VEC_BP, false);
	case 0xcd: /* INT n */
		return hvm_event(EVT_SOFTWARE, i->imm, false);
	case 0xce: /* INTO */
		return hvm_event(HVM_INJ_EXCEPTION, VEC_OF, false);
	case 0xf1: /* INT1 */
		return hvm_event(HVM_INJ_EXCEPTION, VEC_DB, false);
	}
	return 0;
}

/*
 * x: the access that the instruction was stopped by, to a device or else to a ROM. gen: of the p2m
 * since before that was looked up.
 */
static enum after_exit emulate_insn(struct vcpu *v, const struct vm_exit *x, bool device, u64 gen)
{
	struct guest_fault f = {0};
	struct fetched *in;
	struct emul_env e;
	enum emul_result r;
	u32 event = broken_off(v);
	int ret;

	/* It is not the instruction that has come there, but an event on its way to the handler. */
	if (unlikely(event)) {
		stuck_at_delivery(v, x, event);
		return EXIT_PREPARE;
	}
	ret = vcpu_fetch(v, &f);
	in = v->emul->insn;
	v->emul->state.mmio_gpa = x->p2m.gpa; /* for cannot_emulate() */
	if (ret && ret != -EINVAL) {
		guest_access_failed(v, ret, &f);
		return EXIT_PREPARE;
	}
	if (ret) {
		cannot_emulate(v);
		return EXIT_PREPARE;
	}
	if (device && v->vm->doorbell_count && in->plain_store && ring_plainly(v, x, in)) {
		if (in->words.gen == gen)
			in->bell = (x->p2m.gpa >> PAGE_SHIFT) + 1;
		vcpu_step(v, x, in->insn.len);
		return EXIT_AGAIN;
	}
	v->emul->is_io = false;
	fill_env(v, &e);
	if (device && !x->p2m.during_walk) {
		e.stopped = x->p2m.write ? EMUL_STOPPED_WRITE : EMUL_STOPPED_READ;
		e.stopped_gpa = x->p2m.gpa;
	}
	r = emul_start(&v->emul->state, &e, &in->insn);
	if (unlikely(r == EMUL_UNSUPPORTED))
		event = software_event(&in->insn);
	if (unlikely(event))
		stuck_at_delivery(v, x, event);
	else
		emul_finish(v, &e, r);
	return EXIT_PREPARE;
}

int mmio_string_span(struct vcpu *v, u64 *linear, struct guest_fault *f)
{
	struct emul_env e;
	int ret;

	fill_env(v, &e);
	ret = emul_string_span(&e, &v->emul->insn->insn, linear);
	if (ret < 0)
		*f = (struct guest_fault){.raised = e.fault};
	return ret;
}

int mmio_operand(struct vcpu *v, u32 len, bool write, u64 *linear, struct guest_fault *f)
{
	const struct insn *i = &v->emul->insn->insn;
	struct emul_env e;
	u64 at = emul_offset(i, v->gpr, v->rip) & size_mask(i->addr_size);
	enum access type = write ? WRITE : READ;

	fill_env(v, &e);
	if (pass_linear(&e, type, i->seg, at, len, linear) == EMUL_DONE)
		return 0;
	*f = (struct guest_fault){.raised = e.fault};
	return -EFAULT;
}

void mmio_emulate(struct vcpu *v)
{
	struct emul_env e;

	v->emul->is_io = false;
	fill_env(v, &e);
	emul_finish(v, &e, emul_start(&v->emul->state, &e, &v->emul->insn->insn));
}

void mmio_string_io(struct vcpu *v, const struct vm_exit *x)
{
	struct emul_env e;

	v->emul->is_io = true;
	v->emul->port = x->io.port;
	fill_env(v, &e);
	emul_finish(v, &e, emul_start(&v->emul->state, &e, &v->emul->insn->insn));
}

/* Memory is there, and is held back for a reason of our own. */
static bool fix_fault(struct vcpu *v, const struct vm_exit *x)
{
	struct p2m *p = v->p2m;
	u64 gfn = x->p2m.gpa >> PAGE_SHIFT;

	if (x->p2m.write)
		return p2m_fix_write(p, gfn);
	return x->p2m.exec && !x->p2m.during_walk && p2m_fix_exec(p, gfn);
}

static __noinline enum after_exit handle_other_p2m_fault(struct vcpu *v, const struct vm_exit *x)
{
	u64 gen = __atomic_load_n(&v->p2m->tlb_gen, __ATOMIC_ACQUIRE);
	struct pt_leaf leaf;

	if (is_lapic_page(v, x->p2m.gpa))
		return emulate_insn(v, x, true, gen);
	p2m_lookup(v->p2m, x->p2m.gpa >> PAGE_SHIFT, &leaf);
	if (guest_has_device(&leaf, x->p2m.write))
		return emulate_insn(v, x, leaf.kind == PT_MMIO, gen);
	if (leaf.kind != PT_LEAF || !fix_fault(v, x))
		guest_memory_missing(v, x->p2m.gpa, x->p2m.write, x->p2m.exec);
	return EXIT_PREPARE;
}

enum after_exit mmio_handle_fault(struct vcpu *v, const struct vm_exit *x)
{
	struct fetched *in = vcpu_fetched(v, v->rip);

	__asm__(""
		: "+r"(in)); /* else its address is computed anew for each use: row doorbell-mmio of
				the bench */
	if (in->bell == (x->p2m.gpa >> PAGE_SHIFT) + 1 && in->paging.next == v->rip &&
	    vcpu_is_fetched(v, in) && ring_plainly(v, x, in)) {
		vcpu_step(v, x, in->insn.len);
		return EXIT_AGAIN;
	}
	return handle_other_p2m_fault(v, x);
}
