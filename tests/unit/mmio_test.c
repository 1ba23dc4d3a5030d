/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions that exit for their operand, on guest memory without paging: what stops the vCPU,
 * and in which order dom0 is told.
 * links: tests/unit/rest.c hv/guest/mmio.c hv/guest/fault.c hv/guest/linear.c hv/guest/inject.c
 * hv/emul/emul.c hv/emul/op.c hv/emul/insn.c hv/emul/pass.c hv/emul/stack.c hv/emul/string.c
 * hv/emul/system.c hv/emul/descriptor.c hv/emul/vector.c hv/emul/walk.c hv/guest/lapic.c
 * hv/guest/lapic_regs.c hv/guest/lapic_ipi.c hv/guest/lapic_timer.c hv/cpu/timer.c hv/lib/scale.c
 */
#include "hv/emul/walk.h"
#include "hv/guest/cr.h"
#include "hv/guest/mmio.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/cr.h"
#include "hv/guest/fault.h"
#include "hv/guest/lazy.h"
#include "hv/guest/linear.h"
#include "fake_machine.h"

#define DEVICE 0xfeb00000u
#define LAPIC  0xfee00000u
#define CODE   0x1000u

static struct vcpu *const v = &fake_vcpu[0];
static struct vcpu_emul emul;
static struct corbel_vcpu_page page;
static u32 cpl;
static bool real;
static u64 shadow;
u32 phys_bits = 40;

static u64 fake_get(struct vcpu *w, enum hvm_reg r)
{
	if (r == HVM_MODE)
		return EMUL_32;
	if (r == HVM_CR0)
		return real ? 0 : CR0_PE;
	if (r == HVM_SHADOW)
		return shadow;
	return r == HVM_CPL ? cpl : 0;
}

static void fake_set(struct vcpu *w, enum hvm_reg r, u64 val)
{
	if (r == HVM_SHADOW)
		shadow = val;
}

static void fake_set_seg(struct vcpu *w, enum hvm_seg s, const struct corbel_segment *in)
{
}

static u64 keys; /* CR4_PKE: the guest is in long mode, with tables from TABLES on */
#define TABLES 0x4000u

static void fake_paging(struct vcpu *w, struct hvm_paging *out)
{
	*out = (struct hvm_paging){.cr0 = CR0_PE, .next = w->rip, .cpl = cpl, .mode = EMUL_32};
	if (!keys)
		return;
	out->cr0 |= CR0_PG | CR0_WP;
	out->cr3 = TABLES;
	out->cr4 = CR4_PAE | keys;
	out->efer = EFER_LME | EFER_LMA;
}

static u32 pkru_reads;

u32 fpu_pkru(const struct vcpu *w)
{
	pkru_reads++;
	return 2u << 2 * 5; /* with key 5 nothing is written */
}

static bool fake_is_paging(struct vcpu *w, const struct hvm_paging *p)
{
	return false;
}

static const struct corbel_segment *other_es;

static void fake_seg(struct vcpu *w, enum hvm_seg s, struct corbel_segment *out)
{
	*out = (struct corbel_segment){.limit = ~0u, .type = 3, .s = 1, .present = 1, .db = 1};
	if (s == HVM_ES && other_es)
		*out = *other_es;
}

static void fake_dump(struct vcpu *w)
{
}

static const struct hvm_ops ops = {.get = fake_get,
				   .set = fake_set,
				   .get_paging = fake_paging,
				   .is_paging = fake_is_paging,
				   .get_seg = fake_seg,
				   .set_seg = fake_set_seg,
				   .dump = fake_dump};
const struct hvm_ops *hvm = &ops;

bool cr_write(struct vcpu *w, u8 cr, u64 val)
{
	return true;
}

void p2m_lookup(struct p2m *p, u64 gfn, struct pt_leaf *out)
{
	*out = (struct pt_leaf){.pfn = gfn, .kind = PT_NONE};
	if (gfn < FAKE_MEMORY / PAGE_SIZE)
		out->kind = PT_LEAF;
	else if (gfn == DEVICE / PAGE_SIZE)
		out->kind = PT_MMIO;
}

bool p2m_unchanged(struct p2m *p, const struct p2m_words *w)
{
	return false;
}

bool p2m_fix_write(struct p2m *p, u64 gfn)
{
	return false;
}

static bool executable;

bool p2m_fix_exec(struct p2m *p, u64 gfn)
{
	return executable;
}

bool doorbell_ring(struct vm *vm, bool pio, u64 addr, u32 len, u64 val)
{
	return false;
}

int fpu_vector(struct vcpu *w, enum emul_vector file, u8 n, u8 *val, bool write, u8 *exception)
{
	memset(val, 0, 32);
	return 0;
}

/* The instruction at CODE, run with this privilege, has exited for a write at gpa. */
static void run(u32 privilege, const void *code, u32 len, u64 gpa)
{
	struct vm_exit x = {.reason = VMEXIT_P2M_FAULT, .p2m = {.gpa = gpa, .write = true}};

	cpl = privilege;
	v->rip = CODE;
	if (len)
		memcpy(fake_memory + CODE, code, len);
	mmio_handle_fault(v, &x);
}

static void reset(void)
{
	fake_reset(NULL);
	memset(&emul, 0, sizeof(emul));
	memset(&page, 0, sizeof(page));
	fake_vm.ops = NULL;
	v->emul = &emul;
	v->page = &page;
}

static bool is_ud(void)
{
	return v->exception.pending && v->exception.vector == VEC_UD && !v->exception.has_error &&
	       !v->stop_reason && v->rip == CODE;
}

static void jump_to_device(u64 from)
{
	static const struct vm_exit x = {.reason = VMEXIT_P2M_FAULT,
					 .p2m = {.gpa = DEVICE, .exec = true}};

	reset();
	cpl = from;
	v->rip = DEVICE;
	mmio_handle_fault(v, &x);
}

/* As dom0 does, and then the run loop. */
static void answer_fault(u8 none)
{
	complete_fn *complete = v->complete;

	page.fault.none = none;
	v->stop_reason = 0;
	v->complete = NULL;
	if (complete)
		complete(v);
}

static void test_cannot_emulate(void)
{
	static const u8 fxsave[] = {0x0f, 0xae, 0x07}, store[] = {0x89, 0x07};
	static const u8 none[] = {0x0f, 0xff, 0xff, 0xff};

	reset();
	v->gpr[RDI] = DEVICE;
	run(0, fxsave, sizeof(fxsave), DEVICE);
	CHECK(v->stop_reason == CORBEL_EXIT_INTERNAL && !v->exception.pending &&
		  page.internal.code == GUEST_ERROR_EMULATION && page.internal.insn_len == 15 &&
		  !memcmp(page.internal.insn, fxsave, sizeof(fxsave)),
	      "what a kernel runs and nobody emulates is told to its VMM, with the bytes");
	reset();
	v->gpr[RDI] = DEVICE;
	run(3, fxsave, sizeof(fxsave), DEVICE);
	CHECK(is_ud(), "in user mode it is #UD, and the machine goes on");
	reset();
	v->gpr[RDI] = DEVICE;
	run(3, none, sizeof(none), DEVICE);
	CHECK(is_ud(), "so is what is no instruction");
	jump_to_device(3);
	CHECK(v->stop_reason == CORBEL_EXIT_MEM_FAULT && page.fault.gpa == DEVICE &&
		  page.fault.flags == CORBEL_FAULT_DEVICE && !page.fault.none,
	      "of a jump into a device dom0 is asked once more");
	answer_fault(0);
	CHECK(!v->exception.pending && !v->stop_reason, "if memory may come it is tried again");
	jump_to_device(3);
	answer_fault(1);
	CHECK(v->exception.pending && v->exception.vector == VEC_UD && !v->stop_reason,
	      "if not it is #UD in user mode");
	jump_to_device(0);
	answer_fault(1);
	CHECK(v->stop_reason == CORBEL_EXIT_INTERNAL && !v->exception.pending,
	      "and ends a kernel's machine");
	reset();
	v->gpr[RDI] = DEVICE + 4;
	v->gpr[RAX] = 0x12345678;
	run(3, store, sizeof(store), DEVICE + 4);
	CHECK(v->stop_reason == CORBEL_EXIT_MMIO && page.mmio.gpa == DEVICE + 4 &&
		  page.mmio.is_write && page.mmio.len == 4 &&
		  !memcmp(page.mmio.data, "\x78\x56\x34\x12", 4),
	      "what can be emulated is the VMM's to answer, in user mode too");
}

/* Memory that may be executed from now on: what was a large page. */
static void test_exec(void)
{
	struct vm_exit x = {.reason = VMEXIT_P2M_FAULT, .p2m = {.gpa = CODE, .exec = true}};

	reset();
	executable = true;
	mmio_handle_fault(v, &x);
	CHECK(!v->stop_reason && !v->exception.pending, "code that may run now runs again");
	x.p2m.during_walk = true;
	mmio_handle_fault(v, &x);
	CHECK(v->stop_reason == CORBEL_EXIT_MEM_FAULT,
	      "its page tables are no code, and memory is missing");
	reset();
	executable = x.p2m.during_walk = false;
	mmio_handle_fault(v, &x);
	CHECK(v->stop_reason == CORBEL_EXIT_MEM_FAULT && page.fault.flags == CORBEL_FAULT_EXEC,
	      "where it may not, dom0 has to bring memory");
}

/* What the guest has locked by a key of protection the emulator does not write for it. */
static void test_keys(void)
{
	struct guest_fault f = {0};
	u64 at, key = 5ull << 59;

	reset();
	cpl = 0;
	for (u32 level = 0; level < 3; level++)
		*(u64 *)(fake_memory + TABLES + level * PAGE_SIZE) =
		    (TABLES + (level + 1) * PAGE_SIZE) | 7;
	*(u64 *)(fake_memory + TABLES + 3 * PAGE_SIZE) = CODE | 7 | key;
	keys = CR4_PKE;
	CHECK(!vcpu_translate(v, 0, 0, &at, &f) && at == CODE,
	      "a page that can be read by its key");
	CHECK(vcpu_translate(v, 0, WALK_WRITE, &at, &f) == -EFAULT && f.raised.vector == VEC_PF &&
		  f.raised.error == (PF_P | PF_W | PF_PK),
	      "is not written");
	keys = CR4_PGE;
	pkru_reads = 0;
	CHECK(!vcpu_translate(v, 0, WALK_WRITE, &at, &f), "keys count where CR4 says so");
	keys = CR4_PKE;
	*(u64 *)(fake_memory + TABLES + 3 * PAGE_SIZE) = CODE | 3 | key;
	CHECK(!vcpu_translate(v, 0, WALK_WRITE, &at, &f) && !pkru_reads,
	      "and not for the kernel's pages, nor is PKRU read for them");
	keys = 0;
}

/* MOVSD from the device to the segment in ES: whether it stops for the device at all. */
static bool moves_to(const struct corbel_segment *es, u64 flags)
{
	static const u8 movsd = 0xa5;
	struct vm_exit x = {.reason = VMEXIT_P2M_FAULT, .p2m = {.gpa = DEVICE}};

	reset();
	v->rflags = flags;
	v->gpr[RSI] = DEVICE;
	v->gpr[RDI] = 0x2000;
	v->rip = CODE;
	fake_memory[CODE] = movsd;
	memset(fake_memory + 0x2000, 0x77, 4);
	other_es = es;
	mmio_handle_fault(v, &x);
	CHECK(v->stop_reason == CORBEL_EXIT_MMIO && !page.mmio.is_write, "the device is read");
	answer_fault(0);
	other_es = NULL;
	if (v->exception.pending)
		CHECK(v->exception.vector == VEC_GP && v->rip == CODE && v->gpr[RSI] == DEVICE,
		      "the instruction has faulted");
	return memcmp(fake_memory + 0x2000, "\x77\x77\x77\x77", 4) && !v->exception.pending;
}

static void test_types(void)
{
	struct corbel_segment null = {.limit = ~0u, .type = 3, .unusable = 1},
			      seg = {.limit = ~0u, .s = 1};

	cpl = 0;
	CHECK(!moves_to(&null, 2), "a segment that is null is not written");
	for (seg.type = 0; seg.type < 16; seg.type++) {
		bool down = (seg.type & 12) == 4;

		seg.limit = down ? 0x1fff : ~0u;
		seg.db = 1;
		CHECK(moves_to(&seg, 2) == ((seg.type & 10) == 2), "one of type %u", seg.type);
	}
	seg.type = 11;
	CHECK(moves_to(&seg, 2 | RFLAGS_VM), "in virtual-8086 mode types do not count");
	real = true;
	CHECK(moves_to(&seg, 2), "nor in real mode");
	real = false;
}

/* MOV to this register from the device, in real mode with TF set: is there a trap behind it? */
static bool is_trapped(u8 modrm)
{
	const u8 mov[] = {0x8e, modrm};

	reset();
	v->rflags = 2 | RFLAGS_TF;
	v->gpr[RDI] = DEVICE;
	run(0, mov, sizeof(mov), DEVICE);
	answer_fault(0);
	CHECK(v->rip == CODE + sizeof(mov) && !v->stop_reason, "the segment is loaded");
	return v->exception.pending && v->exception.vector == VEC_DB;
}

static void test_traps(void)
{
	real = true;
	shadow = 1;
	CHECK(is_trapped(0x1f) && !shadow, "a trap behind MOV to DS");
	CHECK(!is_trapped(0x17) && shadow, "none behind MOV to SS, and no interrupt");
	real = false;
	shadow = 0;
}

/* An event whose delivery comes to the device is not the instruction that is next. */
static void test_delivery(void)
{
	static const u8 store[] = {0x89, 0x07};
	static const u8 insns[][2] = {{0xcd, 0x81}, {0xcd, 0x21}, {0xcc}, {0xcc}, {0xf1}};
	static const u8 escaped[] = {0x0f, 0xcc, 0x07};
	static const u32 events[] = {0x80000041, 0x80000202, 0x8000030e},
			 by_insn[] = {0x80000481, 0x80000421, 0x80000303, 0x80000303, 0x80000301};

	for (u32 what = 0; what < 3; what++) {
		reset();
		v->gpr[RDI] = DEVICE;
		v->irq_injected = what == 0;
		v->nmi_injected = what == 1;
		v->exception.pending = v->exception.injected = what == 2;
		v->exception.vector = VEC_PF;
		v->irq_vector = 0x41;
		run(0, store, sizeof(store), DEVICE);
		CHECK(v->stop_reason == CORBEL_EXIT_INTERNAL && v->rip == CODE &&
			  page.internal.code == GUEST_ERROR_DELIVERY && !page.internal.insn_len &&
			  page.internal.event == events[what] && page.internal.gpa == DEVICE,
		      "an event that is not delivered for a device is the VMM's to know (%u)",
		      what);
	}
	for (u32 what = 0; what < ARRAY_SIZE(insns); what++) {
		reset();
		run(what % 2 * 3, insns[what], 2, DEVICE);
		CHECK(v->stop_reason == CORBEL_EXIT_INTERNAL && v->rip == CODE &&
			  !v->exception.pending && page.internal.event == by_insn[what] &&
			  !page.internal.insn_len && page.internal.gpa == DEVICE,
		      "nor is the instruction that raises it one that nobody emulates (%u)", what);
	}
	reset();
	run(0, escaped, sizeof(escaped), DEVICE);
	CHECK(v->stop_reason == CORBEL_EXIT_INTERNAL && !page.internal.event &&
		  page.internal.code == GUEST_ERROR_EMULATION,
	      "as one is that only looks alike");
	reset();
	v->gpr[RDI] = DEVICE;
	v->exception.pending = true; /* it waits for its turn */
	run(0, store, sizeof(store), DEVICE);
	CHECK(v->stop_reason == CORBEL_EXIT_MMIO, "one that waits is not it");
}

/* The level-triggered vector is in service. */
static void serve(u8 vector)
{
	lapic_set_irq(v, vector, true);
	lapic_accept(v, vector);
}

/*
 * One instruction ends an interrupt and then has to wait for something else of dom0: that dom0 is
 * told of both.
 */
static void test_eoi_and_more(void)
{
	static const u8 rep_movsd[] = {0xf3, 0xa5};

	reset();
	fake_vm.eoi_mask[1] = ~0ull;
	lapic_write(v, APIC_SVR, 0x1ff);
	serve(0x51);
	v->gpr[RSI] = FAKE_MEMORY - 4; /* there is nothing behind it */
	v->gpr[RDI] = LAPIC + APIC_EOI;
	v->gpr[RCX] = 2;
	run(0, rep_movsd, sizeof(rep_movsd), LAPIC + APIC_EOI);
	CHECK(v->stop_reason == CORBEL_EXIT_MEM_FAULT && page.fault.gpa == FAKE_MEMORY &&
		  !lapic_bit(v->lapic.isr, 0x51),
	      "an EOI is written, and the next element's memory is missing");
	CHECK(v->due & DUE_EOI, "the EOI is still to be told");
	v->stop_reason = CORBEL_EXIT_NONE;
	lapic_tell_eoi(v);
	CHECK(v->stop_reason == CORBEL_EXIT_EOI && page.eoi.vector == 0x51 && !(v->due & DUE_EOI),
	      "after that dom0 is told of the EOI");

	reset();
	fake_vm.eoi_mask[1] = ~0ull;
	lapic_write(v, APIC_SVR, 0x1ff);
	serve(0x51);
	serve(0x62);
	lapic_eoi(v);
	lapic_eoi(v);
	lapic_tell_eoi(v);
	CHECK(page.eoi.vector == 0x62 && v->due & DUE_EOI, "of two EOIs at once, of the first");
	v->stop_reason = CORBEL_EXIT_NONE;
	lapic_tell_eoi(v);
	CHECK(page.eoi.vector == 0x51 && !(v->due & DUE_EOI), "and of the second");
	v->stop_reason = CORBEL_EXIT_NONE;
	CHECK(PANICS(lapic_tell_eoi(v)), "and of no third");
}

/* Accesses to the TPR are told where the VMM wants that, with the place of the instruction. */
static void test_tpr(void)
{
	static const u8 store[] = {0x89, 0x07}, load[] = {0x8b, 0x07};

	for (u32 what = 0; what < 8; what++) {
		bool tells = what & 1, write = what & 2, tpr = what & 4;
		u64 at = LAPIC + (tpr ? APIC_TPR : APIC_SVR);

		reset();
		lapic_write(v, APIC_SVR, 0x1ff);
		page.tells_tpr = tells;
		v->gpr[RDI] = at;
		v->gpr[RAX] = 0x1ff;
		run(0, write ? store : load, sizeof(store), at);
		CHECK(v->rip == CODE + sizeof(store), "the instruction is done");
		CHECK(v->stop_reason == (tells && tpr ? CORBEL_EXIT_TPR : 0), "is told (%u)", what);
		CHECK(!tells || !tpr || (page.tpr.rip == CODE && page.tpr.is_write == write),
		      "of which it is (%u)", what);
	}
	page.tells_tpr = false;
}

/* The page where a LAPIC would be that is off, or in x2APIC mode: nothing, or the VMM's. */
static void test_lapic_hole(void)
{
	static const u8 load[] = {0x8b, 0x07};
	static const u64 modes[] = {0, APIC_BASE_ENABLE | APIC_BASE_X2APIC};

	for (u32 i = 0; i < ARRAY_SIZE(modes); i++)
		for (u32 lacks = 0; lacks < 2; lacks++) {
			reset();
			v->lapic.present = true;
			v->lapic.base = DEVICE | modes[i];
			page.quirks = lacks ? CORBEL_QUIRK_LAPIC_HOLE : 0;
			v->gpr[RDI] = DEVICE + 0x20;
			v->gpr[RAX] = 5;
			run(0, load, sizeof(load), DEVICE + 0x20);
			if (lacks)
				CHECK(v->stop_reason == CORBEL_EXIT_MMIO,
				      "without its quirk it is the VMM's, with base %lx",
				      v->lapic.base);
			else
				CHECK(!v->stop_reason && v->gpr[RAX] == 0xffffffff,
				      "a LAPIC's page is a hole, with base %lx", v->lapic.base);
		}
}

int main(void)
{
	test_tpr();
	test_lapic_hole();
	test_cannot_emulate();
	test_exec();
	test_keys();
	test_types();
	test_delivery();
	test_traps();
	test_eoi_and_more();
	return test_end();
}
