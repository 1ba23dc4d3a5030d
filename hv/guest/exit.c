/* SPDX-License-Identifier: GPL-2.0-only */
/* Exits, handled once for both vendors. */
#include "hv/guest/vcpu.h"
#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/doorbell.h"
#include "hv/dom0/hypercall.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/guest/policy.h"
#include "hv/dom0/sleep.h"
#include "hv/lib/string.h"

/* An instruction is done: the interrupt shadow before it ends, and a single-stepping guest gets its #DB. */
static void retire(struct vcpu *v)
{
	v->rflags &= ~RFLAGS_RF;
	if (hvm->get(v, HVM_SHADOW))
		hvm->set(v, HVM_SHADOW, 0);
	if (unlikely(v->rflags & RFLAGS_TF)) {
		u64 dr6, dr7;

		hvm->get_dr67(v, &dr6, &dr7);
		hvm->set_dr67(v, dr6 | DR6_BS, dr7);
		vcpu_inject_exception(v, 1, false, 0);
	}
}

/* Step over the instruction that exited. */
static void skip(struct vcpu *v, u32 len)
{
	v->rip += len;
	if (hvm->get(v, HVM_MODE) != EMUL_64)
		v->rip = (u32)v->rip;
	retire(v);
}

/* The same; true: nothing but RIP has changed by it. The mode matters only where RIP leaves its 4 GiB. */
static inline bool step(struct vcpu *v, const struct vm_exit *x, u32 len)
{
	u64 next = v->rip + len;

	if (unlikely(!x->plain || (next ^ v->rip) >> 32)) {
		skip(v, len);
		return false;
	}
	v->rip = next;
	v->rflags &= ~RFLAGS_RF;
	return true;
}

static inline bool step_over(struct vcpu *v, const struct vm_exit *x)
{
	return step(v, x, x->insn_len);
}

void vcpu_shutdown(struct vcpu *v)
{
	if (v->vm->is_dom0) {
		hvm->dump(v);
		boot_fail("dom0 has triple-faulted (rip %lx); see its last console lines for the cause", v->rip);
	}
	vcpu_exit_to_dom0(v, CORBEL_EXIT_SHUTDOWN);
}

/* The vCPU cannot go on: tell the VMM, with the instruction where there is one. */
static void internal_error(struct vcpu *v, u64 code, const u8 *insn, u32 n)
{
	if (v->vm->is_dom0) {
		hvm->dump(v);
		boot_fail("dom0's vCPU %u cannot go on (code %lx, rip %lx); please report it with this log", v->index, code, v->rip);
	}
	v->page->internal.code = code;
	v->page->internal.insn_len = n;
	memcpy(v->page->internal.insn, insn, n);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_INTERNAL);
}

static void inject_fault(struct vcpu *v, const struct guest_fault *f)
{
	if (f->vector == 14)
		vcpu_inject_pf(v, f->cr2, f->error);
	else
		vcpu_inject_exception(v, f->vector, true, f->error);
}

/* dom0 has all memory but the hypervisor's, and devices where there is none. */
static void dom0_memory_fault(struct vcpu *v, u64 at)
{
	static u32 times;
	u32 n;

	if (p2m_dom0_fault(&v->vm->p2m, gpa(at)))
		return;
	n = __atomic_add_fetch(&times, 1, __ATOMIC_RELAXED);
	if (!(n & (n - 1))) /* more and more seldom: it may do so in a loop */
		log_warn("dom0 vCPU %u touched hypervisor memory at %lx (rip %lx), %u times by now", v->index, at, v->rip, n);
	vcpu_inject_gp(v);
}

/* Memory is missing at gpa: dom0 maps it and the instruction runs again. */
static void memory_fault(struct vcpu *v, u64 at, bool write, bool exec)
{
	if (v->vm->is_dom0) {
		dom0_memory_fault(v, at);
		return;
	}
	v->page->fault.gpa = at;
	v->page->fault.flags = (write ? CORBEL_FAULT_WRITE : 0) | (exec ? CORBEL_FAULT_EXEC : 0);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_MEM_FAULT);
}

/*
 * An access of ours to guest memory has failed: code, page tables or string I/O. Where dom0 has said that there is no memory,
 * mapping it would go on for ever: such guests are not for us.
 */
static void access_missed(struct vcpu *v, const struct guest_fault *f)
{
	struct pt_leaf leaf;

	p2m_lookup(&v->vm->p2m, f->gpa >> PAGE_SHIFT, &leaf);
	if (v->vm->is_dom0 || (leaf.kind != PT_MMIO && !(f->write && (leaf.attr & PT_ROM)))) {
		memory_fault(v, f->gpa, f->write, false);
		return;
	}
	if (vm_may_log(v->vm))
		log_warn("vm %u vcpu %u: instruction at %llx needs memory at %llx, where there is a device", v->vm->id, v->index,
			 (unsigned long long)v->rip, (unsigned long long)f->gpa);
	v->completion = COMPLETE_NONE;
	internal_error(v, 1, NULL, 0);
}

static void handle_guest_error(struct vcpu *v, int err, const struct guest_fault *f)
{
	if (err == -EAGAIN)
		access_missed(v, f);
	else
		inject_fault(v, f);
}

/* ---- MMIO ---- */

static bool at_lapic_base(const struct vcpu *v, u64 at)
{
	return v->lapic.present && (at & PAGE_MASK) == (v->lapic.base & GENMASK(51, 12));
}

static bool is_lapic_page(const struct vcpu *v, u64 at)
{
	return at_lapic_base(v, at) &&
	       (v->lapic.base & (APIC_BASE_ENABLE | APIC_BASE_X2APIC)) == APIC_BASE_ENABLE;
}

static int emul_access(struct emul_env *e, u64 linear, void *buf, u32 len, u64 *mmio, u64 access, bool write)
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
		if (is_lapic_page(v, at) || leaf.kind == PT_MMIO || (write && (leaf.attr & PT_ROM))) {
			*mmio = at;
			return -EOPNOTSUPP;
		}
		ret = write ? p2m_write(&v->vm->p2m, gpa(at), buf, len, NULL) :
			      p2m_read(&v->vm->p2m, gpa(at), buf, len, NULL);
		if (!ret)
			return 0;
		f.gpa = at;
		f.write = write;
	}
	v->emul_miss = f;
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

static const enum hvm_seg segment_of[6] = {HVM_ES, HVM_CS, HVM_SS, HVM_DS, HVM_FS, HVM_GS};

static void emul_segment(struct emul_env *e, u8 seg)
{
	struct corbel_segment s;

	hvm->get_seg(e->ctx, segment_of[seg], &s);
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
			lapic_read(v, offset, &val, false);
			st->mmio_data = val >> (st->mmio_gpa & 15 & 3) * 8;
		} else if (!(st->mmio_gpa & 15)) {
			lapic_write(v, offset, (u32)val, false);
		}
		return true;
	}
	if (at_lapic_base(v, st->mmio_gpa)) {
		if (!write)
			st->mmio_data = ~0ull;
		return true;
	}
	return write && v->vm->doorbell_count && doorbell_ring(v->vm, false, st->mmio_gpa, st->mmio_len, st->mmio_data);
}

static void emul_finish(struct vcpu *v, struct emul_env *e, enum emul_result r)
{
	struct emul_state *st = &v->emul;

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
		retire(v);
		break;
	case EMUL_FAULT:
		inject_fault(v, &(struct guest_fault){.vector = e->fault.vector, .error = e->fault.error, .cr2 = e->fault.cr2});
		break;
	case EMUL_RETRY: /* goes on where it was once dom0 has mapped the page: MMIO is not read twice */
		if (!v->vm->is_dom0)
			v->completion = COMPLETE_RETRY;
		access_missed(v, &v->emul_miss);
		break;
	default:
		if (vm_may_log(v->vm))
			log_warn("vm %u vcpu %u: cannot emulate instruction at %llx for address %llx", v->vm->id, v->index,
				 (unsigned long long)v->rip, (unsigned long long)st->mmio_gpa);
		internal_error(v, 1, v->insn->bytes, v->insn->n);
	}
}

/* Doorbells are worth a short way: nearly all are rung by plain stores. in: the instruction, which is one. True: rung. */
static inline bool ring(struct vcpu *v, const struct vm_exit *x, const struct fetched *in)
{
	u64 val;

	return !x->p2m.during_walk && !at_lapic_base(v, x->p2m.gpa) &&
	       emul_stored(&in->insn, v->gpr, v->rip, x->p2m.gpa, &val) &&
	       doorbell_ring(v->vm, false, x->p2m.gpa, in->insn.op_size, val);
}

enum target { TARGET_LAPIC, TARGET_MMIO, TARGET_ROM };

/*
 * x: the access, to this target, that the instruction was stopped by. gen: of the p2m since before the target was looked up.
 * Returns as handle().
 */
static bool emulate(struct vcpu *v, const struct vm_exit *x, enum target target, u64 gen)
{
	struct guest_fault f = {0};
	struct emul_env e;
	int ret = vcpu_fetch(v, &f);

	if (ret && ret != -EINVAL) {
		handle_guest_error(v, ret, &f);
		return false;
	}
	if (!ret && target == TARGET_MMIO && v->vm->doorbell_count && v->insn->plain_store && ring(v, x, v->insn)) {
		if (v->insn->words.gen == gen)
			v->insn->bell = (x->p2m.gpa >> PAGE_SHIFT) + 1;
		return step(v, x, v->insn->insn.len);
	}
	fill_env(v, &e);
	if (target != TARGET_ROM && !x->p2m.during_walk) { /* MMIO, be it read or written */
		e.stopped = x->p2m.write ? EMUL_STOPPED_WRITE : EMUL_STOPPED_READ;
		e.stopped_gpa = x->p2m.gpa;
	}
	emul_finish(v, &e, ret ? EMUL_UNSUPPORTED : emul_start(&v->emul, &e, &v->insn->insn));
	return false;
}

static __noinline bool handle_other_p2m_fault(struct vcpu *v, const struct vm_exit *x)
{
	u64 gen = __atomic_load_n(&v->vm->p2m.tlb_gen, __ATOMIC_ACQUIRE);
	struct pt_leaf leaf;

	if (is_lapic_page(v, x->p2m.gpa))
		return emulate(v, x, TARGET_LAPIC, gen);
	p2m_lookup(&v->vm->p2m, x->p2m.gpa >> PAGE_SHIFT, &leaf);
	if (leaf.kind == PT_MMIO || (x->p2m.write && (leaf.attr & PT_ROM)))
		return emulate(v, x, leaf.kind == PT_MMIO ? TARGET_MMIO : TARGET_ROM, gen);
	if (!x->p2m.write || leaf.kind != PT_LEAF || !p2m_fix_write(&v->vm->p2m, x->p2m.gpa >> PAGE_SHIFT))
		memory_fault(v, x->p2m.gpa, x->p2m.write, x->p2m.exec);
	return false;
}

static __noinline bool handle_p2m_fault(struct vcpu *v, const struct vm_exit *x)
{
	struct fetched *in = vcpu_fetched(v, v->rip);

	__asm__("" : "+r"(in)); /* else it is computed anew for each use */
	if (in->bell == (x->p2m.gpa >> PAGE_SHIFT) + 1 && in->paging.next == v->rip && vcpu_is_fetched(v, in) && ring(v, x, in))
		return step(v, x, in->insn.len);
	return handle_other_p2m_fault(v, x);
}

/* ---- port I/O ---- */

static void write_reg(struct vcpu *v, u32 reg, u64 val, u32 size)
{
	if (size == 4)
		v->gpr[reg] = (u32)val;
	else
		v->gpr[reg] = (v->gpr[reg] & ~GENMASK(size * 8 - 1, 0)) | (val & GENMASK(size * 8 - 1, 0));
}

/* The addresses of a string I/O instruction, and how many elements can be moved at once. */
struct string_io {
	u64 linear, mask;
	u32 count;
	bool rep, down;
	u32 reg;
};

static int string_setup(struct vcpu *v, const struct vm_exit *x, struct string_io *s, struct guest_fault *f)
{
	struct corbel_segment seg;
	int ret = vcpu_fetch(v, f);
	const struct insn *i = &v->insn->insn;
	enum emul_mode mode = v->insn->paging.mode;
	u32 which = SEG_ES;

	if (ret)
		return ret;
	if (i->vex)
		return -EINVAL;
	s->mask = i->addr_size == 8 ? ~0ull : GENMASK(i->addr_size * 8 - 1, 0);
	s->reg = x->io.in ? RDI : RSI;
	if (!x->io.in)
		which = i->seg < 6 ? i->seg : SEG_DS;
	hvm->get_seg(v, segment_of[which], &seg);
	s->linear = v->gpr[s->reg] & s->mask;
	if (mode != EMUL_64)
		s->linear = (u32)(s->linear + seg.base);
	else if (which >= SEG_FS)
		s->linear += seg.base;
	s->rep = x->io.rep;
	s->down = v->rflags & RFLAGS_DF;
	s->count = 1;
	if (s->rep) {
		u64 left = v->gpr[RCX] & s->mask;
		u64 fit = s->down ? 1 : (PAGE_SIZE - (s->linear & ~PAGE_MASK)) / x->io.size;

		s->count = MIN(left, MAX(fit, 1ul));
	}
	return 0;
}

/* Elements have been moved: registers, and RIP once all are. */
static void string_advance(struct vcpu *v, u64 mask, u32 reg, bool rep, bool down, u32 count, u32 size, u32 len)
{
	u64 step = (u64)count * size;
	u64 to = down ? v->gpr[reg] - step : v->gpr[reg] + step;

	v->gpr[reg] = mask == ~0ull ? to : (mask == 0xffffffff ? (u32)to : (v->gpr[reg] & ~mask) | (to & mask));
	if (rep) {
		to = v->gpr[RCX] - count;
		v->gpr[RCX] = mask == ~0ull ? to : (mask == 0xffffffff ? (u32)to : (v->gpr[RCX] & ~mask) | (to & mask));
		if (v->gpr[RCX] & mask)
			return; /* the instruction runs again for the rest */
	}
	skip(v, len);
}

static void handle_string_io(struct vcpu *v, const struct vm_exit *x)
{
	struct guest_fault f = {0};
	struct string_io s;
	u64 at;
	int ret = string_setup(v, x, &s, &f);

	if (ret == -EINVAL) {
		internal_error(v, 1, NULL, 0);
		return;
	}
	if (!ret && !s.count) {
		skip(v, x->insn_len);
		return;
	}
	if (!ret && x->io.in)
		ret = vcpu_translate(v, s.linear, WALK_WRITE, &at, &f);
	else if (!ret)
		ret = vcpu_read_linear(v, s.linear, v->data, s.count * x->io.size, 0, &f);
	if (ret) {
		handle_guest_error(v, ret, &f);
		return;
	}
	v->page->io.port = x->io.port;
	v->page->io.size = x->io.size;
	v->page->io.is_in = x->io.in;
	v->page->io.count = s.count;
	v->io = (struct vcpu_io){.linear = s.linear, .mask = s.mask, .count = s.count, .size = x->io.size,
				 .rep = s.rep, .down = s.down, .insn_len = x->insn_len};
	if (x->io.in)
		v->completion = COMPLETE_INS;
	else
		string_advance(v, s.mask, RSI, s.rep, s.down, s.count, x->io.size, x->insn_len);
	vcpu_exit_to_dom0(v, CORBEL_EXIT_IO);
}

/* A register of the power management, or a part of one */
static void dom0_sleep_io(struct vcpu *v, const struct vm_exit *x)
{
	if (x->io.in)
		write_reg(v, RAX, sleep_in(x->io.port, x->io.size), x->io.size);
	else
		sleep_out(x->io.port, x->io.size, (u32)v->gpr[RAX]);
	skip(v, x->insn_len);
}

static void dom0_io(struct vcpu *v, const struct vm_exit *x)
{
	if (x->io.string) {
		vcpu_inject_gp(v); /* no driver does string I/O on these */
		return;
	}
	for (u32 i = 0; i < x->io.size; i++)
		if (sleep_owns((u16)(x->io.port + i))) {
			dom0_sleep_io(v, x);
			return;
		}
	for (u32 i = 0; i < x->io.size; i++) {
		u16 port = x->io.port + i;

		if (!x->io.in) {
			vuart_out(port, v->gpr[RAX] >> i * 8);
		} else {
			u64 val = (v->gpr[RAX] & ~(0xffull << i * 8)) | (u64)vuart_in(port) << i * 8;

			write_reg(v, RAX, val, x->io.size);
		}
	}
	skip(v, x->insn_len);
}

static __noinline bool handle_io(struct vcpu *v, const struct vm_exit *x)
{
	bool plain;

	if (v->vm->is_dom0) {
		dom0_io(v, x);
		return false;
	}
	if (x->io.string) {
		handle_string_io(v, x);
		return false;
	}
	plain = step_over(v, x);
	if (!x->io.in) {
		u32 val = v->gpr[RAX] & GENMASK(x->io.size * 8 - 1, 0);

		if (v->vm->doorbell_count && doorbell_ring(v->vm, true, x->io.port, x->io.size, val))
			return plain;
		memcpy(v->data, &val, 4);
	} else {
		v->completion = COMPLETE_IN;
		v->io.size = x->io.size;
	}
	v->page->io.port = x->io.port;
	v->page->io.size = x->io.size;
	v->page->io.is_in = x->io.in;
	v->page->io.count = 1;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_IO);
	return false;
}

static void complete_ins(struct vcpu *v)
{
	struct vcpu_io *io = &v->io;
	struct guest_fault f = {0};
	int ret = vcpu_write_linear(v, io->linear, v->data, io->count * io->size, 0, &f);

	if (ret == -EAGAIN)
		v->completion = COMPLETE_INS; /* the data stay in the data page until there is memory */
	if (ret)
		handle_guest_error(v, ret, &f);
	else
		string_advance(v, io->mask, RDI, io->rep, io->down, io->count, io->size, io->insn_len);
}

void exit_complete(struct vcpu *v)
{
	enum completion what = v->completion;
	struct emul_env e;

	v->completion = COMPLETE_NONE;
	switch (what) {
	case COMPLETE_IN:
		write_reg(v, RAX, *(u32 *)v->data, v->io.size);
		break;
	case COMPLETE_INS:
		complete_ins(v);
		break;
	case COMPLETE_EMUL:
		memcpy(&v->emul.mmio_data, v->page->mmio.data, 8);
		fill_env(v, &e);
		emul_finish(v, &e, emul_continue(&v->emul, &e));
		break;
	case COMPLETE_RETRY:
		fill_env(v, &e);
		emul_finish(v, &e, emul_continue(&v->emul, &e));
		break;
	case COMPLETE_INTA:
		if (v->page->inta.vector && v->page->inta.vector < 256)
			v->user_irq = v->page->inta.vector;
		break;
	case COMPLETE_NONE:
		break;
	}
}

/* ---- control registers, XCR0 ---- */

/* MOV to CR0, of which a back end leaves out nothing but what cannot fail; SDM "MOV - Move to/from Control Registers". */
static bool cr0_valid(struct vcpu *v, u64 val)
{
	u64 old = hvm->get(v, HVM_CR0);
	struct corbel_segment cs;

	if (val >> 32 || ((val & CR0_PG) && !(val & CR0_PE)) || ((val & CR0_NW) && !(val & CR0_CD)))
		return false;
	if (!((old ^ val) & CR0_PG) || !(hvm->get(v, HVM_EFER) & EFER_LME))
		return true;
	hvm->get_seg(v, HVM_CS, &cs);
	if (cs.l)
		return false;
	return val & CR0_PG ? hvm->get(v, HVM_CR4) & CR4_PAE : !(hvm->get(v, HVM_CR4) & CR4_PCIDE);
}

static bool cr4_valid(struct vcpu *v, u64 val)
{
	u64 old = hvm->get(v, HVM_CR4);
	bool lma = hvm->get(v, HVM_EFER) & EFER_LMA;

	if ((val & ~policy_cr4_mask()) || (lma && (!(val & CR4_PAE) || ((old ^ val) & CR4_LA57))))
		return false;
	return !(val & ~old & CR4_PCIDE) || (lma && !(hvm->get(v, HVM_CR3) & 0xfff));
}

static bool write_cr(struct vcpu *v, u8 cr, u64 val)
{
	if (cr == 0 && cr0_valid(v, val))
		hvm->set(v, HVM_CR0, val & CR0_ALL);
	else if (cr == 4 && cr4_valid(v, val))
		vcpu_set_cr4(v, val);
	else if (cr == 8 && val < 16)
		lapic_set_cr8(v, val);
	else
		return false;
	return true;
}

/* Which general register a MOV to or from a control register names. 0, or as vcpu_fetch(); -EINVAL: another instruction. */
static int decode_cr_gpr(struct vcpu *v, const struct vm_exit *x, u8 *gpr, u32 *len, struct guest_fault *f)
{
	int ret = vcpu_fetch(v, f);
	const struct insn *i = &v->insn->insn;

	if (ret)
		return ret;
	if (i->vex || i->map != 1 || i->opcode != (x->cr.write ? 0x22 : 0x20))
		return -EINVAL;
	*gpr = i->rm;
	*len = i->len;
	return 0;
}

static __noinline void handle_cr(struct vcpu *v, const struct vm_exit *x)
{
	struct guest_fault f = {0};
	u64 mask = hvm->get(v, HVM_MODE) == EMUL_64 ? ~0ull : GENMASK(31, 0);
	u32 len = x->insn_len;
	u8 gpr = x->cr.gpr;
	int ret = gpr < 16 ? 0 : decode_cr_gpr(v, x, &gpr, &len, &f);

	if (ret == -EINVAL || (!x->cr.write && x->cr.cr != 8)) {
		internal_error(v, 2, NULL, 0);
	} else if (ret) {
		handle_guest_error(v, ret, &f);
	} else if (hvm->get(v, HVM_CPL) || (x->cr.write && !write_cr(v, x->cr.cr, v->gpr[gpr] & mask))) {
		vcpu_inject_gp(v);
	} else {
		if (!x->cr.write)
			v->gpr[gpr] = lapic_get_cr8(v);
		skip(v, len);
	}
}

static __noinline void handle_xsetbv(struct vcpu *v)
{
	u64 val = (u32)v->gpr[RAX] | v->gpr[RDX] << 32;

	if (hvm->get(v, HVM_CPL) || (u32)v->gpr[RCX] || !policy_xcr0_valid(val)) {
		vcpu_inject_gp(v);
		return;
	}
	xsetbv(0, val);
	v->xcr0 = val;
	skip(v, 3);
}

static bool handle_rdmsr(struct vcpu *v, const struct vm_exit *x)
{
	u64 val;

	if (msr_read(v, v->gpr[RCX], &val)) {
		vcpu_inject_gp(v);
		return false;
	}
	v->gpr[RAX] = (u32)val;
	v->gpr[RDX] = val >> 32;
	return step_over(v, x);
}

static bool handle_wrmsr(struct vcpu *v, const struct vm_exit *x)
{
	u64 val = (u32)v->gpr[RAX] | v->gpr[RDX] << 32;
	u32 msr = v->gpr[RCX];

	if (msr == MSR_X2APIC_EOI && !val && lapic_plain_eoi(&v->lapic))
		return step_over(v, x) && !READ_ONCE(v->lapic.irr_pending);
	if (msr - 0x800 < 0x100 || msr == MSR_TSC_DEADLINE ? lapic_msr_write(v, msr, val) : msr_write(v, msr, val)) {
		vcpu_inject_gp(v);
		return false;
	}
	return step_over(v, x) && !READ_ONCE(v->lapic.irr_pending) && !READ_ONCE(v->lapic.extint) && !v->pv.clock_dirty &&
	       !v->pv.steal_dirty && !v->stop_reason;
}

static bool handle_hypercall(struct vcpu *v, const struct vm_exit *x)
{
	/* Stepped over first: a hypercall may stop the caller or hand its CPU on. */
	bool plain = step_over(v, x);
	u64 nr;

	if (hvm->get(v, HVM_CPL)) {
		v->gpr[RAX] = -1000; /* -KVM_ENOSYS: not for user mode */
		return plain;
	}
	nr = v->gpr[RAX];
	if (v->vm->is_dom0 && nr >= CORBEL_HC_BASE && nr < CORBEL_HC_BASE + 0x10000) {
		v->gpr[RAX] = hypercall(v, nr);
		return plain && !READ_ONCE(v->lapic.irr_pending);
	}
	v->gpr[RAX] = pv_hypercall(v);
	return plain && !READ_ONCE(v->lapic.irr_pending);
}

static __noinline void handle_hlt(struct vcpu *v, const struct vm_exit *x)
{
	skip(v, x->insn_len);
	if (v->lapic.present)
		v->mp_state = MP_HALTED;
	else
		vcpu_exit_to_dom0(v, CORBEL_EXIT_HLT);
}

static __noinline void handle_exception(struct vcpu *v, const struct vm_exit *x)
{
	if (x->exc.vector == 18)
		panic("machine check while vm %u ran", v->vm->id);
	vcpu_inject_exception(v, x->exc.vector, x->exc.has_error, x->exc.error);
}

static __noinline void not_handled(struct vcpu *v, const struct vm_exit *x)
{
	if (vm_may_log(v->vm)) {
		hvm->dump(v);
		log_err("vm %u vcpu %u: exit %llx is not handled", v->vm->id, v->index, (unsigned long long)x->raw);
	}
	if (x->reason == VMEXIT_ENTRY_FAIL && !v->vm->is_dom0) {
		v->page->internal.code = x->raw;
		/* QEMU's TCG leaves the hypervisor's registers in place of those it refuses: entered with them, it keeps the CPU. */
		vcpu_request(v, REQ_INIT);
		vcpu_exit_to_dom0(v, CORBEL_EXIT_FAIL_ENTRY);
	} else {
		internal_error(v, x->raw, NULL, 0);
	}
}

static inline void note_exit(struct cpu *c, struct vcpu *v, u32 reason)
{
	u32 at = c->exit_seq % EXIT_TRACE;

	c->trace.rip[at] = v->rip;
	c->trace.vcpu[at] = v->id;
	c->trace.reason[at] = reason;
	v->exits_total++;
	v->exits[reason]++;
}

/*
 * True: nothing has changed that would have to be looked at before the next entry, but for what other CPUs announce by v->requests
 * and c->resched.
 */
static inline bool handle(struct vcpu *v, const struct vm_exit *x)
{
	switch (x->reason) {
	case VMEXIT_INTR:
	case VMEXIT_NMI:
	case VMEXIT_INIT:
	case VMEXIT_PREEMPT_TIMER:
		irq_window();
		break;
	case VMEXIT_IRQ_WINDOW:
	case VMEXIT_NMI_WINDOW:
	case VMEXIT_PML_FULL:
		break; /* the next entry delivers; the log is empty again */
	case VMEXIT_CPUID:
		cpuid_emulate(v);
		return step_over(v, x);
	case VMEXIT_MSR_READ:
		return handle_rdmsr(v, x);
	case VMEXIT_MSR_WRITE:
		return handle_wrmsr(v, x);
	case VMEXIT_HYPERCALL:
		return handle_hypercall(v, x);
	case VMEXIT_HLT:
		handle_hlt(v, x);
		break;
	case VMEXIT_P2M_FAULT:
		return handle_p2m_fault(v, x);
	case VMEXIT_IO:
		return handle_io(v, x);
	case VMEXIT_EXCEPTION:
		handle_exception(v, x);
		break;
	case VMEXIT_CR_ACCESS:
		handle_cr(v, x);
		break;
	case VMEXIT_XSETBV:
		handle_xsetbv(v);
		break;
	case VMEXIT_WBINVD:
	case VMEXIT_PAUSE:
		skip(v, x->insn_len);
		break;
	case VMEXIT_RDPMC:
		vcpu_inject_gp(v);
		break;
	case VMEXIT_MWAIT:
	case VMEXIT_VMX_SVM_INSN:
		vcpu_inject_exception(v, 6, false, 0);
		break;
	case VMEXIT_EOI:
		lapic_ended(v, x->apic);
		break;
	case VMEXIT_APIC_WRITE: /* the WRMSR is done, but only on paper */
		lapic_write(v, x->apic, (u32)v->gpr[RAX], true);
		break;
	case VMEXIT_SHUTDOWN:
		vcpu_shutdown(v);
		break;
	default:
		not_handled(v, x);
	}
	return false;
}

void exit_loop(struct vcpu *v, struct cpu *c)
{
	struct vm_exit x;

	do {
		lock_none_held();
		hvm->run(v, &x);
		note_exit(c, v, x.reason);
	} while (handle(v, &x) && !READ_ONCE(c->resched) && !READ_ONCE(v->requests));
}
