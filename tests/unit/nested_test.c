/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested guests on AMD-V: what a VMCB must be and asks for, what an entry intercepts, whose exits
 * are whose, and that the shadow never maps more than both the guest's nested tables and the VM's
 * p2m allow. The CPU is a function of ours, memory is real: p2m, pool and page tables are linked.
 * links: tests/unit/rest.c hv/svm/event.c hv/svm/state.c hv/svm/decode.c hv/svm/tcg.c
 * hv/svm/nested.c hv/svm/nested_exit.c hv/svm/nested_npt.c hv/svm/nested_rules.c
 * hv/svm/nested_state.c hv/guest/shadow.c hv/guest/hvm.c hv/guest/inject.c hv/emul/walk.c
 * hv/mm/p2m.c hv/mm/pt.c hv/mm/pool.c hv/mm/frame.c
 */
#include "hv/svm/svm.c"
#include "hv/cpu/apic.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "hv/guest/mmio.h"
#include "hv/svm/nested_rules.h"
#include "p2m_fake.h"

u32 phys_bits = 40;
static struct svm_cpu svm_cpu0;
static struct vcpu vcpu;
static struct vcpu_emul emul;
static struct vmcb hardware __aligned(4096);
static struct svm_vcpu arch;

/* What the CPU does at this entry. */
static void (*cpu_does)(struct vmcb *m);
static struct vmcb_exits exits_seen;
static u64 inject_seen, msrpm_seen, next_rip_seen, missing;
static u32 entries, missed;
static int irq = -1;

void svm_enter(struct vcpu *v, u64 vmcb, u64 host_vmcb, u64 int_state)
{
	struct vmcb *m = svm_vmcb(v);

	entries++;
	exits_seen = m->exits;
	inject_seen = m->eventinj;
	msrpm_seen = m->msrpm;
	next_rip_seen = m->next_rip;
	m->exitcode = SVM_EXIT_INTR;
	m->exitintinfo = m->exitinfo1 = m->exitinfo2 = 0;
	if (cpu_does)
		cpu_does(m);
}

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = *b = *c = *d = 0;
}

int lapic_pending(struct vcpu *v)
{
	return irq;
}

int guest_copy(struct vcpu *v, u64 at, void *buf, u32 len, bool write, struct guest_fault *f)
{
	return p2m_copy(&v->vm->p2m, gpa(at), buf, len, write) ? -EAGAIN : 0;
}

bool mmio_is_device(const struct vcpu *v, u64 at, const struct pt_leaf *leaf, bool write)
{
	return guest_has_device(leaf, write);
}

void guest_memory_missing(struct vcpu *v, u64 at, bool write, bool exec)
{
	missing = at;
	missed++;
	vcpu_exit_to_dom0(v, CORBEL_EXIT_MEM_FAULT);
}

int vm_promise_apart(struct vm *vm, struct account *a, u64 pages)
{
	return pool_promise(a, pages);
}

void vm_retract_apart(struct vm *vm, struct account *a, u64 pages)
{
	pool_retract(a, pages);
}

/* ---- rules ---- */

static struct vmcb good(void)
{
	return (struct vmcb){.int4 = SVM_INT4_VMRUN,
			     .asid = 1,
			     .iopm = 0x5000,
			     .msrpm = 0x8000,
			     .cr0 = CR0_PE | CR0_PG,
			     .cr4 = CR4_PAE,
			     .efer = EFER_SVME | EFER_LME | EFER_LMA,
			     .g_pat = PAT_RESET,
			     .cs.attrib = VMCB_ATTR_L};
}

static const struct nested_limits limits = {.cr4 = CR4_PAE | CR4_PGE,
					    .efer = EFER_SVME | EFER_LME | EFER_LMA | EFER_NXE,
					    .addr_bits = GENMASK(39, 0),
					    .mode = true};

#define BAD(change, what)                                                                          \
	do {                                                                                       \
		struct vmcb m = good();                                                            \
		change;                                                                            \
		CHECK(!svm_vmcb_valid(&m, &limits), "refused: " what);                             \
	} while (0)

static void test_valid(void)
{
	struct vmcb m = good();
	struct nested_limits unpaged = limits;

	CHECK(svm_vmcb_valid(&m, &limits), "a VMCB in order is taken");
	m.cr0 = 0;
	m.efer = EFER_SVME;
	CHECK(svm_vmcb_valid(&m, &limits), "one of a guest in real mode, too");
	m = good();
	m.np_control = SVM_NP_ENABLE;
	unpaged.mode = false;
	CHECK(svm_vmcb_valid(&m, &limits) && !svm_vmcb_valid(&m, &unpaged),
	      "nested paging, if the guest pages itself");
	m = good();
	m.iopm = GENMASK(39, 0) - 0x2fff + 0xffe;
	m.msrpm = GENMASK(39, 0) - 0x2fff + 0xffe;
	CHECK(svm_vmcb_valid(&m, &limits), "maps end below addresses; low bits are nothing");
	BAD(m.iopm = GENMASK(39, 0) - 0x1fff, "ports' map beyond");
	BAD(m.msrpm = GENMASK(39, 0) - 0x1fff, "MSRs' map beyond");
	BAD(m.int4 = (u32)~SVM_INT4_VMRUN, "VMRUN not intercepted");
	BAD(m.asid = 0, "ASID 0");
	BAD(m.efer &= ~EFER_SVME, "no SVME");
	BAD(m.efer |= EFER_FFXSR, "an EFER bit that the guest has not");
	BAD(m.cr4 |= CR4_SMEP, "a CR4 bit that the guest has not");
	BAD(m.cr4 = 0, "long mode without PAE");
	BAD(m.cr0 &= ~CR0_PE, "paging without protection");
	BAD(m.cr0 |= CR0_NW, "NW without CD");
	BAD(m.cr0 |= BIT(32), "CR0's upper half");
	BAD(m.cr3 = BIT(40), "CR3 beyond");
	BAD((m.cr3 = BIT(40), m.efer = EFER_SVME), "CR3 beyond in other modes");
	BAD(m.dr6 = BIT(32), "DR6's upper half");
	BAD(m.dr7 = BIT(63), "DR7's upper half");
	BAD(m.cs.attrib |= VMCB_ATTR_DB, "code of two sizes");
	BAD((m.np_control = SVM_NP_ENABLE, m.ncr3 = BIT(45)), "nested tables beyond");
	BAD((m.np_control = SVM_NP_ENABLE, m.g_pat = 2), "a PAT that is none");
	for (u32 type = 0; type < 8; type++)
		for (u32 vector = 0; vector < 256; vector++) {
			bool fine = type == 0 || type == 2 || type == 4 ||
				    (type == 3 && vector < 32 && vector != 2);

			m = good();
			m.eventinj = EVT_VALID | FIELD_PREP(EVT_TYPE, type) | vector;
			if (svm_vmcb_valid(&m, &limits) != fine)
				CHECK(false, "events are refused by type and vector");
			m.eventinj &= ~EVT_VALID;
			if (!svm_vmcb_valid(&m, &limits))
				CHECK(false, "what is no event is not looked at");
		}
}

/* Each bit of the intercept words is one code, and each code one bit. */
static void test_wants(void)
{
	u32 wrong = 0, codes = 0;

	for (u32 code = 0; code < 0x500; code++) {
		struct vmcb all = {.exits = {0xffff, 0xffff, 0xffff, 0xffff, ~0u, ~0u, ~0u, ~0u}};
		u32 bits = 0;

		codes += svm_vmcb_wants(&all, code);
		for (u32 bit = 0; bit < 8 * sizeof(all.exits); bit++) {
			struct vmcb one = {};

			((u8 *)&one.exits)[bit / 8] = BIT(bit % 8);
			bits += svm_vmcb_wants(&one, code);
			/* words in order: CR reads and writes, DR reads and writes, ... */
			wrong += svm_vmcb_wants(&one, code) && bit != code;
		}
		wrong += bits != svm_vmcb_wants(&all, code);
	}
	CHECK(!wrong && codes == 128 + 13 + 1,
	      "an exit is the guest's by the intercept bit that has its code, and no other");
	CHECK(svm_vmcb_wants(&(struct vmcb){}, SVM_EXIT_INVALID), "a failed VMRUN always is");
	CHECK(!svm_vmcb_wants(&(struct vmcb){.int4 = ~0u}, SVM_EXIT_SKINIT),
	      "SKINIT never is: it is #UD, since no guest has it");
}

static void test_pdptes(void)
{
	struct vmcb m = good();
	u32 wrong = 0;

	m.efer &= ~(EFER_LME | EFER_LMA);
	CHECK(svm_vmcb_loads_pdptes(&m), "PAE's top level is loaded");
	m.np_control = SVM_NP_ENABLE;
	CHECK(!svm_vmcb_loads_pdptes(&m), "not with nested paging");
	m.np_control = 0;
	m.cr4 = 0;
	CHECK(!svm_vmcb_loads_pdptes(&m), "nor without PAE");
	m = good();
	CHECK(!svm_vmcb_loads_pdptes(&m), "nor in long mode");
	for (u32 i = 0; i < 4; i++)
		for (u32 bit = 0; bit < 64; bit++) {
			u64 e[4] = {0x1001, 0x2001, 0x3001, 0x4001}, none[4] = {0};
			bool fine = bit < 40;

			e[i] |= BIT(bit);
			none[i] = BIT(bit);
			wrong += svm_pdptes_valid(e, limits.addr_bits) != fine;
			wrong += bit && !svm_pdptes_valid(none, limits.addr_bits);
		}
	CHECK(!wrong, "what is no address is refused, in those that are present");
}

static void test_small_rules(void)
{
	u32 shift;

	CHECK(svm_msr_bit(0x174, &shift) == 0x174 / 4 && shift == 0, "MSRs from 0 on");
	CHECK(svm_msr_bit(0xc0000081, &shift) == 0x800 + 0x81 / 4 && shift == 2, "AMD's");
	CHECK(svm_msr_bit(0xc0010117, &shift) == 0x1000 + 0x117 / 4 && shift == 6,
	      "and its others");
	CHECK(svm_msr_bit(0x2000, &shift) < 0 && svm_msr_bit(0xbfffffff, &shift) < 0 &&
		  svm_msr_bit(0xc0002000, &shift) < 0 && svm_msr_bit(0xc0012000, &shift) < 0,
	      "no map has any other");
	CHECK(svm_event_again(EVT_VALID | 0x30, 0) == (EVT_VALID | 0x30) &&
		  svm_event_again(EVT_VALID | 3 << 8 | 14, 0) == (EVT_VALID | 3 << 8 | 14),
	      "an interrupt or a fault is injected again");
	CHECK(!svm_event_again(EVT_VALID | 4 << 8 | 0x80, 0) &&
		  !svm_event_again(EVT_VALID | 3 << 8 | 3, 0),
	      "INT n and INT3 run again");
	CHECK(svm_event_again(EVT_VALID | 4 << 8 | 0x80, EVT_VALID | 4 << 8 | 0x80) &&
		  !svm_event_again(EVT_VALID | 4 << 8 | 0x80, EVT_VALID | 0x80),
	      "unless they were injected");
}

/* ---- the machine ---- */

#define VMCB_GFN 2ull
#define N_ROOT	 8ull /* nested tables, one of each level for the first 2 MiB */
#define N_LEAVES 11ull
#define RAM_GFNS 64ull
#define FIRST	 0x800ull /* pfn of gfn 0 */

static void *mem(u64 gfn)
{
	return hpa_to_virt(hpa((FIRST + gfn) << PAGE_SHIFT));
}

static struct vmcb *vmcb12(void)
{
	return mem(VMCB_GFN);
}

static u64 *npte(u64 gfn)
{
	return (u64 *)mem(N_LEAVES) + gfn;
}

#define HSAVE 0x4000

static void begin(void)
{
	start_guest(&pt_npt);
	for (u64 gfn = 0; gfn < RAM_GFNS; gfn++) {
		memset(mem(gfn), 0, PAGE_SIZE);
		BUG_ON(p2m_map(&guest.p2m, gfn, FIRST + gfn, 0, RIGHTS));
	}
	hvm = &svm_ops;
	hvm_caps = (struct hvm_caps){
	    .flags = HVM_CAP_NESTED, .msr_map_order = 1, .nested_order = SVM_NESTED_ORDER};
	max_asid = 15;
	svm_cpu0 = (struct svm_cpu){.asid_gen = 1, .next_asid = 1};
	this_cpu()->svm = &svm_cpu0;
	guest.io_map = hpa_to_virt(hpa(0x6000));
	guest.has_lapic = true;
	guest.msr_map = hpa_to_virt(hpa(0xa000));
	shadow_init();
	hardware = (struct vmcb){0};
	arch = (struct svm_vcpu){.vmcb = &hardware, .vmcb_pa = 0x1000};
	vcpu = (struct vcpu){
	    .vm = &guest, .p2m = &guest.p2m, .arch = &arch, .emul = &emul, .user_irq = -1};
	vcpu.rights.efer = EFER_SVME | EFER_LME | EFER_LMA | EFER_NXE;
	vcpu.rights.cr4 = CR4_PAE | CR4_PGE;
	vcpu.rights.svm = true;
	BUG_ON(shadow_create(&vcpu) || shadow_promise(&vcpu));
	svm_borrow(&vcpu);
	svm_vcpu_reset(&vcpu, false);
	svm_give_back(&vcpu);
	svm_load(&vcpu);
	arch.vmcb->cs.attrib = VMCB_ATTR_L;
	svm_set(&vcpu, HVM_EFER, EFER_SVME | EFER_LME | EFER_NXE);
	svm_nested(&vcpu)->hsave_pa = HSAVE;
	svm_set(&vcpu, HVM_CR4, CR4_PAE);
	svm_set(&vcpu, HVM_CR0, CR0_PE | CR0_PG);
	cpu_does = NULL;
	entries = missed = 0;
	irq = -1;
	*vmcb12() = good();
	vmcb12()->rip = 0x1111;
	vmcb12()->iopm = 0x10 << PAGE_SHIFT;
	vmcb12()->msrpm = 0x14 << PAGE_SHIFT;
}

static void end(void)
{
	struct corbel_nested state = {0};

	shadow_destroy(&vcpu);
	CHECK(svm_nested_ops.get_state(&vcpu, &state) == -EINVAL &&
		  svm_nested_ops.set_state(&vcpu, &state) == -EINVAL,
	      "a vCPU that can have no guests has no state of theirs");
	CHECK(destroy_guest(), "nothing is left of it");
}

static u32 insn(u64 code)
{
	struct vm_exit x = {.reason = VMEXIT_VMX_SVM_INSN, .raw = code, .insn_len = 3};

	vcpu.gpr[RAX] = VMCB_GFN << PAGE_SHIFT;
	svm_nested_ops.insn(&vcpu, &x);
	return vcpu.exception.pending ? vcpu.exception.vector : 0xff;
}

static struct vm_exit run_to(void (*what)(struct vmcb *m))
{
	struct vm_exit x;

	cpu_does = what;
	vcpu_deliver_events(&vcpu);
	svm_run(&vcpu, &x);
	return x;
}

static void does_cpuid(struct vmcb *m)
{
	m->exitcode = SVM_EXIT_CPUID;
	m->exitinfo1 = 5;
	m->rip = 0x2222;
}

static void does_vmmcall(struct vmcb *m)
{
	m->exitcode = SVM_EXIT_VMMCALL;
}

static void does_rdtscp(struct vmcb *m)
{
	m->exitcode = SVM_EXIT_RDTSCP;
}

static void does_invpcid(struct vmcb *m)
{
	m->exitcode = SVM_EXIT_INVPCID;
}

/* A guest with page tables of its own making for its guest follows this instruction so. */
static void test_invpcid(void)
{
	begin();
	svm_set(&vcpu, HVM_INSNS, INSN_INVPCID);
	vmcb12()->int5 = SVM_INT5_INVPCID;
	insn(SVM_EXIT_VMRUN);
	CHECK(run_to(does_invpcid).reason == VMEXIT_IRQ_WINDOW && !vcpu.guest_mode &&
		  vmcb12()->exitcode == SVM_EXIT_INVPCID && exits_seen.int5 & SVM_INT5_INVPCID,
	      "INVPCID exits to a guest that has asked for it");
	svm_set(&vcpu, HVM_INSNS, 0);
	insn(SVM_EXIT_VMRUN);
	CHECK(run_to(does_invpcid).reason == VMEXIT_UNDEFINED && vcpu.guest_mode,
	      "but is undefined where it is not shown");
	end();
}

static void does_mov_cr0(struct vmcb *m)
{
	m->exitcode = SVM_EXIT_CR_WRITE;
}

/* All writes of CR0 exit while the nested guest has its caches off. */
static void test_cr0(void)
{
	begin();
	vmcb12()->int3 = BIT(SVM_EXIT_CR0_SEL % 32);
	insn(SVM_EXIT_VMRUN);
	run_to(does_mov_cr0);
	CHECK(!vcpu.guest_mode && vmcb12()->exitcode == SVM_EXIT_CR0_SEL,
	      "a write of CR0 is told as the one that the guest intercepts");
	vmcb12()->cr_write = BIT(0);
	insn(SVM_EXIT_VMRUN);
	run_to(does_mov_cr0);
	CHECK(!vcpu.guest_mode && vmcb12()->exitcode == SVM_EXIT_CR_WRITE, "or as any");
	end();
}

static u32 forgotten;

void spec_leave_nested(u64 owner)
{
	forgotten++;
}

/* To the CPU a guest and its guest are one: what the one has trained it on the other follows. */
static void test_branches(void)
{
	begin();
	vcpu.rights.spec_ctrl = SPEC_CTRL_IBRS;
	vmcb12()->int4 |= SVM_INT4_VMMCALL;
	insn(SVM_EXIT_VMRUN);
	CHECK(!forgotten, "branches of the guest are its guest's to use");
	run_to(does_vmmcall);
	CHECK(!vcpu.guest_mode && forgotten == 1, "those of that are forgotten where it ends");
	vcpu.rights.spec_ctrl = 0;
	insn(SVM_EXIT_VMRUN);
	run_to(does_vmmcall);
	CHECK(!vcpu.guest_mode && forgotten == 1,
	      "not for a guest without IBRS, which has other means");
	end();
}

static void test_shutdown(void)
{
	begin();
	insn(SVM_EXIT_VMRUN);
	vcpu.stopped = true;
	vcpu.due = 0;
	vcpu_shutdown(&vcpu);
	CHECK(vcpu.guest_mode && vcpu.due & DUE_TRIPLE && !vcpu.stop_reason,
	      "a triple fault by the VMM comes when the vCPU runs");
	vcpu.stopped = false;
	vcpu_shutdown(&vcpu);
	CHECK(vcpu.guest_mode && vcpu.stop_reason == CORBEL_EXIT_SHUTDOWN,
	      "one that the guest does not intercept stops it");
	begin();
	vmcb12()->int3 = BIT(SVM_EXIT_SHUTDOWN % 32);
	insn(SVM_EXIT_VMRUN);
	vcpu_shutdown(&vcpu);
	CHECK(!vcpu.guest_mode && !vcpu.stop_reason && vmcb12()->exitcode == SVM_EXIT_SHUTDOWN,
	      "else it ends guest mode");
	end();
}

static void test_intercepts(void)
{
	struct vmcb_exits ours, want;
	struct vmcb *in;

	begin();
	in = vmcb12();
	vcpu.rip = 0x5000;
	ours = arch.vmcb->exits;
	in->exits = (struct vmcb_exits){0x1234,
					0x8001,
					0x55,
					0xaa,
					0x4040,
					BIT(21) | BIT(16),
					(u32)(SVM_INT4_VMRUN | BIT(7) | ~SVM_INT4_ALL),
					~0u};
	in->int3 |= SVM_INT3_SMI;
	want = ours;
	want.cr_read |= 0x1234;
	want.cr_write |= 0x8001;
	want.dr_read |= 0x55;
	want.dr_write |= 0xaa;
	want.exceptions |= 0x4040;
	want.int3 |= BIT(21) | BIT(16);
	want.int4 = (want.int4 & ~SVM_INT4_VMMCALL) | BIT(7); /* without the guest's it is #UD */
	want.int5 |= SVM_INT5_INVPCID;
	CHECK(insn(SVM_EXIT_VMRUN) == 0xff && vcpu.guest_mode && vcpu.rip == 0x1111,
	      "VMRUN enters the nested guest");
	run_to(NULL);
	CHECK(!memcmp(&exits_seen, &want, sizeof(want)),
	      "an entry intercepts what the hypervisor wants and what the guest wants");
	CHECK(!memcmp(&arch.vmcb->exits, &ours, sizeof(ours)), "and is all that knows of it");
	CHECK(msrpm_seen == virt_to_hpa(guest.msr_map).v, "MSRs by the VM's map");
	guest.msr_map += 2 * PAGE_SIZE;
	guest.p2m.tlb_gen++;
	run_to(NULL);
	CHECK(msrpm_seen == virt_to_hpa(guest.msr_map).v, "by a new one from the next flush on");
	guest.msr_map -= 2 * PAGE_SIZE;
	guest.p2m.tlb_gen++;
	CHECK(run_to(does_cpuid).reason == VMEXIT_CPUID && vcpu.guest_mode,
	      "what the guest has not asked for is not its own");
	vcpu.rip = 0x1111;
	in->exitcode = 77;
	svm_nested(&vcpu)->vmcb12.int3 |= BIT(18);
	CHECK(run_to(does_cpuid).reason == VMEXIT_IRQ_WINDOW && !vcpu.guest_mode &&
		  vcpu.rip == 0x5003 && in->exitcode == SVM_EXIT_CPUID && in->exitinfo1 == 5 &&
		  in->rip == 0x2222,
	      "what it has asked for is written to its VMCB, and it goes on behind VMRUN");
	run_to(NULL);
	CHECK(!memcmp(&exits_seen, &ours, sizeof(ours)), "its own entries are as before");
	svm_set(&vcpu, HVM_INSNS, 0);
	in->int3 = SVM_INT3_MSRS;
	in->int4 |= SVM_INT4_RDTSCP;
	insn(SVM_EXIT_VMRUN);
	CHECK(run_to(does_rdtscp).reason == VMEXIT_UNDEFINED && vcpu.guest_mode,
	      "RDTSCP that the guest is not shown is undefined, and none of its intercepts");
	svm_set(&vcpu, HVM_INSNS, INSN_RDTSCP);
	CHECK(run_to(does_rdtscp).reason == VMEXIT_IRQ_WINDOW && !vcpu.guest_mode &&
		  in->exitcode == SVM_EXIT_RDTSCP,
	      "and else it is");
	insn(SVM_EXIT_VMRUN);
	run_to(NULL);
	CHECK(msrpm_seen != virt_to_hpa(guest.msr_map).v &&
		  *(u64 *)hpa_to_virt(hpa(msrpm_seen)) == ~0ull,
	      "with a map of MSRs of the guest's all of them exit");
	guest.p2m.tlb_gen++;
	run_to(NULL);
	CHECK(*(u64 *)hpa_to_virt(hpa(msrpm_seen)) == ~0ull, "behind a flush, too");
	end();
}

static u32 kicks;

void apic_send_ipi(u32 apic_id, u8 vector)
{
	kicks++;
}

/* APM "INIT Support" */
static void test_init(void)
{
	begin();
	CHECK(!svm_nested_ops.holds_init(&vcpu), "INIT comes");
	insn(SVM_EXIT_CLGI);
	CHECK(svm_nested_ops.holds_init(&vcpu), "not while GIF is clear");
	vcpu.init_latched = true;
	vcpu.due = 0;
	insn(SVM_EXIT_STGI);
	CHECK(!svm_nested_ops.holds_init(&vcpu) && vcpu.due & DUE_LOOK, "until STGI");
	insn(SVM_EXIT_CLGI);
	vcpu.due = 0;
	svm_set(&vcpu, HVM_EFER, 0);
	CHECK(!svm_nested_ops.holds_init(&vcpu) && vcpu.due & DUE_LOOK, "or the end of SVM");
	begin();
	insn(SVM_EXIT_VMRUN);
	CHECK(!svm_nested_ops.holds_init(&vcpu) && !svm_nested_ops.event(&vcpu),
	      "a nested guest has it like any other,");
	begin();
	vmcb12()->int3 |= SVM_INT3_INIT;
	vmcb12()->eventinj = EVT_VALID | 3 << 8 | VEC_UD;
	vmcb12()->vintr |= SVM_V_INTR_MASKING;
	insn(SVM_EXIT_VMRUN);
	vcpu.init_latched = true;
	kicks = 0;
	CHECK(svm_nested_ops.holds_init(&vcpu) && !svm_nested_ops.event(&vcpu),
	      "or is ended by it, behind an injection");
	run_to(NULL);
	CHECK(inject_seen & EVT_VALID && kicks == 1, "right behind, whatever its VMM's IF");
	CHECK(svm_nested_ops.event(&vcpu) && !vcpu.guest_mode &&
		  vmcb12()->exitcode == SVM_EXIT_INIT && vcpu.init_latched &&
		  svm_nested_ops.holds_init(&vcpu),
	      "and it stays pending, for STGI");
	vcpu.init_latched = false;
	begin();
	svm_nested(&vcpu)->hsave_pa = 0;
	CHECK(insn(SVM_EXIT_VMRUN) == VEC_GP && !vcpu.guest_mode,
	      "VMRUN wants a place for the host's state");
	end();
}

static void test_insns(void)
{
	begin();
	arch.svme = 0;
	CHECK(insn(SVM_EXIT_VMRUN) == VEC_UD && !vcpu.guest_mode, "without SVME VMRUN is #UD");
	begin();
	arch.vmcb->cpl = 3;
	CHECK(insn(SVM_EXIT_VMRUN) == VEC_GP && !vcpu.guest_mode, "a program's is #GP");
	begin();
	CHECK(insn(SVM_EXIT_SKINIT) == VEC_UD, "SKINIT is #UD");
	vcpu.in_smm = true;
	CHECK(insn(SVM_EXIT_VMRUN) == VEC_UD && !vcpu.guest_mode, "in SMM VMRUN is #UD");
	vcpu.in_smm = false;
	CHECK(!svm_nested_ops.holds_smi(&vcpu), "an SMI need not wait");
	begin();
	insn(SVM_EXIT_VMRUN);
	vmcb12()->star = 0x66;
	CHECK(insn(SVM_EXIT_VMLOAD) == 0xff && arch.vmcb->star == 0x66 && vcpu.guest_mode,
	      "the nested guest has VMLOAD where its VMM lets it through");
	CHECK(!svm_nested_ops.holds_smi(&vcpu), "an SMI need not wait in guest mode");
	svm_nested(&vcpu)->vmcb12.int3 |= SVM_INT3_INTR;
	vcpu.rflags = RFLAGS_IF;
	irq = 0x40;
	CHECK(insn(SVM_EXIT_CLGI) == 0xff && svm_nested_ops.holds_smi(&vcpu) &&
		  !svm_nested_ops.event(&vcpu) && !svm_can_inject(&vcpu, HVM_INJ_IRQ) &&
		  !svm_can_inject(&vcpu, HVM_INJ_NMI),
	      "with CLGI it holds off all that its VMM would be told of");
	CHECK(insn(SVM_EXIT_STGI) == 0xff && svm_nested_ops.event(&vcpu) && !vcpu.guest_mode &&
		  vmcb12()->exitcode == SVM_EXIT_INTR,
	      "until STGI");
	irq = -1;
	begin();
	vmcb12()->fs.base = BIT(47);
	vmcb12()->lstar = BIT(47) | 5;
	CHECK(insn(SVM_EXIT_VMLOAD) == 0xff && arch.vmcb->fs.base == ~0ull << 47 &&
		  arch.vmcb->lstar == (~0ull << 47 | 5),
	      "VMLOAD makes addresses canonical");
	arch.vmcb->star = 0x77;
	CHECK(insn(SVM_EXIT_VMSAVE) == 0xff && vmcb12()->star == 0x77 && vmcb12()->rip == 0x1111,
	      "VMSAVE writes what it is for");
	begin();
	vmcb12()->asid = 0;
	vcpu.rip = 0x5000;
	CHECK(insn(SVM_EXIT_VMRUN) == 0xff && !vcpu.guest_mode && vmcb12()->exitcode == ~0ull &&
		  vcpu.rip == 0x5003,
	      "a VMCB that is none is VMEXIT_INVALID");
	begin();
	p2m_unmap(&guest.p2m, VMCB_GFN, 1);
	CHECK(insn(SVM_EXIT_VMRUN) == 0xff && !vcpu.guest_mode && missed == 1 && !vcpu.rip,
	      "one that dom0 has to bring is waited for");
	begin();
	p2m_unmap(&guest.p2m, VMCB_GFN, 1);
	p2m_set_mmio(&guest.p2m, VMCB_GFN, 0);
	CHECK(insn(SVM_EXIT_VMRUN) == VEC_GP && !missed, "one in a device is #GP");
	begin();
	vmcb12()->int4 |= BIT(1);
	insn(SVM_EXIT_VMRUN);
	p2m_unmap(&guest.p2m, VMCB_GFN, 1);
	run_to(does_vmmcall);
	CHECK(missed == 1 && vcpu.complete && vcpu.stop_reason && !vcpu.guest_mode,
	      "a #VMEXIT whose VMCB has gone stops for it");
	memset(mem(VMCB_GFN), 0, PAGE_SIZE);
	p2m_map(&guest.p2m, VMCB_GFN, FIRST + VMCB_GFN, 0, RIGHTS);
	vcpu.complete(&vcpu);
	CHECK(vmcb12()->exitcode == SVM_EXIT_VMMCALL, "and writes it then");
	end();
}

static void does_not(struct vcpu *v)
{
}

static void test_state_meanwhile(void)
{
	static const struct corbel_nested no_guest = {.flags = CORBEL_NESTED_GIF};

	begin();
	vmcb12()->int4 |= BIT(1);
	insn(SVM_EXIT_VMRUN);
	p2m_unmap(&guest.p2m, VMCB_GFN, 1);
	run_to(does_vmmcall);
	CHECK(vcpu.complete && !svm_nested_ops.set_state(&vcpu, &no_guest) && !vcpu.complete,
	      "another state makes a #VMEXIT that waits for its VMCB void");
	vcpu.complete = does_not;
	CHECK(!svm_nested_ops.set_state(&vcpu, &no_guest) && vcpu.complete,
	      "which leaves alone what else is in progress");
	end();
}

/* Whoever steps over VMRUN has his #DB behind it, and PAE's entries are looked at. */
static void test_vmrun(void)
{
	begin();
	vmcb12()->int4 |= SVM_INT4_VMMCALL;
	vmcb12()->tlb_control = SVM_TLB_FLUSH_ALL;
	vcpu.rflags = RFLAGS_TF;
	CHECK(insn(SVM_EXIT_VMRUN) == 0xff, "a step over VMRUN does not end in the nested guest");
	run_to(does_vmmcall);
	CHECK(!vcpu.guest_mode && vcpu.exception.pending && vcpu.exception.vector == VEC_DB &&
		  svm_get(&vcpu, HVM_DR6) & DR6_BS,
	      "but behind #VMEXIT");
	CHECK(vmcb12()->tlb_control == SVM_TLB_FLUSH_ALL, "a flush asked for stays asked for");
	begin();
	vmcb12()->asid = 0;
	vcpu.rflags = RFLAGS_TF;
	CHECK(insn(SVM_EXIT_VMRUN) == VEC_DB && vmcb12()->exitcode == ~0ull,
	      "or behind one that failed");
	begin();
	vmcb12()->efer = EFER_SVME;
	vmcb12()->cs.attrib = 0;
	vmcb12()->cr3 = 0x20 << PAGE_SHIFT | 0x20;
	*(u64 *)(mem(0x20) + 0x38) = BIT(52) | 1;
	CHECK(insn(SVM_EXIT_VMRUN) == 0xff && !vcpu.guest_mode && vmcb12()->exitcode == ~0ull,
	      "an entry of PAE's with a reserved bit is VMEXIT_INVALID");
	*(u64 *)(mem(0x20) + 0x38) = 1;
	CHECK(insn(SVM_EXIT_VMRUN) == 0xff && vcpu.guest_mode, "without it is not");
	begin();
	vmcb12()->efer = EFER_SVME;
	vmcb12()->cs.attrib = 0;
	vmcb12()->cr3 = 0x20 << PAGE_SHIFT;
	p2m_unmap(&guest.p2m, 0x20, 1);
	CHECK(insn(SVM_EXIT_VMRUN) == 0xff && !vcpu.guest_mode && missed == 1 && !vcpu.rip,
	      "entries that dom0 has to bring are waited for");
	end();
}

static void test_smi(void)
{
	struct svm_nested *n;

	begin();
	n = svm_nested(&vcpu);
	vmcb12()->int3 = SVM_INT3_SMI | SVM_INT3_NMI;
	insn(SVM_EXIT_VMRUN);
	CHECK(!svm_nested_ops.event(&vcpu) && svm_nested_ops.holds_smi(&vcpu),
	      "an SMI that is to end guest mode does not come in it");
	vcpu.smi_pending = vcpu.nmi_pending = true;
	n->inject = EVT_VALID | 0x55;
	CHECK(!svm_nested_ops.event(&vcpu), "what is injected comes first");
	n->inject = 0;
	CHECK(svm_nested_ops.event(&vcpu) && !vcpu.guest_mode &&
		  vmcb12()->exitcode == SVM_EXIT_SMI && vcpu.smi_pending && vcpu.nmi_pending,
	      "it ends it, before an NMI does");
	CHECK(svm_nested_ops.holds_smi(&vcpu), "then waits for GIF");
	insn(SVM_EXIT_STGI);
	CHECK(!svm_nested_ops.holds_smi(&vcpu), "and comes");
	vcpu.smi_pending = vcpu.nmi_pending = false;
	end();
}

static void test_events(void)
{
	begin();
	vcpu.rflags = RFLAGS_IF;
	CHECK(svm_can_inject(&vcpu, HVM_INJ_IRQ), "an interrupt can come");
	insn(SVM_EXIT_CLGI);
	CHECK(!svm_can_inject(&vcpu, HVM_INJ_IRQ) && !svm_can_inject(&vcpu, HVM_INJ_NMI) &&
		  svm_can_inject(&vcpu, HVM_INJ_EXCEPTION),
	      "with GIF clear neither interrupts nor NMIs, but exceptions");
	irq = 0x40;
	run_to(NULL);
	CHECK(!(exits_seen.int3 & SVM_INT3_VINTR), "and no window, which would never close");
	insn(SVM_EXIT_STGI);
	irq = -1;
	CHECK(svm_can_inject(&vcpu, HVM_INJ_IRQ), "behind STGI again");

	vmcb12()->int3 = SVM_INT3_INTR;
	vmcb12()->vintr = SVM_V_INTR_MASKING;
	vmcb12()->eventinj = EVT_VALID | 0x55;
	insn(SVM_EXIT_VMRUN);
	irq = 0x40;
	vcpu.smi_pending = true;
	CHECK(!svm_nested_ops.event(&vcpu) && svm_nested_ops.holds_smi(&vcpu),
	      "an injection comes first");
	vcpu.smi_pending = false;
	run_to(NULL);
	CHECK(inject_seen == (EVT_VALID | 0x55), "it is in the entry");
	CHECK(svm_nested_ops.event(&vcpu) && !vcpu.guest_mode &&
		  vmcb12()->exitcode == SVM_EXIT_INTR && !vmcb12()->eventinj,
	      "then the interrupt ends guest mode");
	CHECK(!svm_can_inject(&vcpu, HVM_INJ_IRQ), "with GIF clear");

	vcpu.rflags = 0; /* IF at VMRUN */
	irq = 0x40;
	insn(SVM_EXIT_VMRUN);
	run_to(NULL);
	CHECK(!svm_nested_ops.event(&vcpu) && vcpu.guest_mode, "without IF of the guest it waits");
	vcpu_inject_exception(&vcpu, VEC_GP, true, 8);
	CHECK(!svm_nested_ops.event(&vcpu), "an exception is the nested guest's");
	svm_nested(&vcpu)->vmcb12.exceptions = BIT(VEC_GP);
	vcpu.exception.injected = true;
	CHECK(!svm_nested_ops.event(&vcpu), "so is one that has been injected, in any case");
	vcpu.exception.injected = false;
	CHECK(svm_nested_ops.event(&vcpu) && vmcb12()->exitcode == SVM_EXIT_EXCEPTION + VEC_GP &&
		  vmcb12()->exitinfo1 == 8 && !vcpu.exception.pending,
	      "or the guest's, if it has asked for it");
	insn(SVM_EXIT_VMRUN);
	svm_set(&vcpu, HVM_EFER, EFER_LME | EFER_NXE);
	CHECK(!vcpu.guest_mode && arch.vmcb->ncr3 == guest.p2m.pt.root.v &&
		  !(arch.watch & (WATCH_NESTED | WATCH_NO_GIF)),
	      "a VMM that clears SVME ends guest mode, GIF is set");
	end();
}

static void breaks_off(struct vmcb *m)
{
	m->exitintinfo = m->eventinj;
	m->next_rip = 0;
}

/* INT n: where its handler returns to is a field that #VMEXIT overwrites. */
static void test_software(void)
{
	static struct corbel_cpuid leaf = {.function = CPUID_SVM, .edx = CPUID_SVM_NRIPS};

	begin();
	vmcb12()->eventinj = EVT_VALID | FIELD_PREP(EVT_TYPE, EVT_SOFTWARE) | 0x80;
	vmcb12()->next_rip = 0x3333;
	vcpu.cpuid = &leaf;
	vcpu.cpuid_count = 1;
	insn(SVM_EXIT_VMRUN);
	run_to(breaks_off);
	CHECK(inject_seen == vmcb12()->eventinj && next_rip_seen == 0x3333,
	      "an event of software's returns to where its VMM says");
	run_to(NULL);
	CHECK(inject_seen == vmcb12()->eventinj && next_rip_seen == 0x3333,
	      "also where it is injected once more");
	begin();
	vmcb12()->eventinj = EVT_VALID | FIELD_PREP(EVT_TYPE, EVT_SOFTWARE) | 0x80;
	vmcb12()->next_rip = 0x3333;
	insn(SVM_EXIT_VMRUN);
	run_to(NULL);
	CHECK(next_rip_seen == 0x1111, "to RIP, as on a CPU without, if none is shown");
	end();
}

/* With masking the guest's IF counts; a shadow over the nested guest's instruction does, too. */
static void test_window(void)
{
	begin();
	vmcb12()->vintr = SVM_V_INTR_MASKING;
	vmcb12()->int_state = SVM_INT_SHADOW;
	vmcb12()->rflags |= RFLAGS_IF;
	vcpu.rflags = 0;
	insn(SVM_EXIT_VMRUN);
	irq = 0x40;
	run_to(NULL);
	CHECK(!inject_seen && !(exits_seen.int3 & SVM_INT3_VINTR),
	      "an interrupt for a guest without IF waits for #VMEXIT");
	begin();
	vmcb12()->vintr = SVM_V_INTR_MASKING | 5;
	vmcb12()->int_state = SVM_INT_SHADOW;
	vmcb12()->rflags |= RFLAGS_IF;
	vcpu.rflags = RFLAGS_IF;
	insn(SVM_EXIT_VMRUN);
	irq = 0x40;
	run_to(NULL);
	CHECK(!inject_seen && exits_seen.int3 & SVM_INT3_VINTR &&
		  (svm_nested_vintr(&vcpu) & (SVM_V_IRQ | SVM_V_TPR)) == 5,
	      "with IF, in a shadow, a window tells of its end, of which the guest sees nothing");
	arch.vmcb->int_state = 0;
	run_to(NULL);
	CHECK(inject_seen == hvm_event(HVM_INJ_IRQ, 0x40, false), "behind it the interrupt comes");
	irq = -1;
	run_to(NULL);
	CHECK(!(exits_seen.int3 & SVM_INT3_VINTR), "and there is no window any more");
	end();
}

/* ---- the shadow ---- */

static u64 fault_at, fault_info;

static void does_npf(struct vmcb *m)
{
	m->exitcode = SVM_EXIT_NPF;
	m->exitinfo1 = fault_info | BIT(32);
	m->exitinfo2 = fault_at;
}

static void nested_tables(void)
{
	for (u64 i = 0; i < 3; i++)
		*(u64 *)mem(N_ROOT + i) = (N_ROOT + i + 1) << PAGE_SHIFT | 7;
	for (u64 i = 0; i < RAM_GFNS; i++)
		*npte(i) = i << PAGE_SHIFT | 7;
	vmcb12()->np_control = SVM_NP_ENABLE;
	vmcb12()->ncr3 = N_ROOT << PAGE_SHIFT;
}

#define TOLD 16
/* Values that nested entries have had since the guest's last flush. */
static u64 told[RAM_GFNS][TOLD];
static u32 told_nr[RAM_GFNS], too_much, mapped;

static void flushed(void)
{
	for (u64 gfn = 0; gfn < RAM_GFNS; gfn++) {
		told[gfn][0] = *npte(gfn);
		told_nr[gfn] = 1;
	}
}

/* May this leaf be in the shadow, by such a nested entry and by the p2m as it is? */
static bool allowed(u64 e, const struct pt_leaf *is)
{
	struct pt_leaf below;

	pt_lookup(&guest.p2m.pt, (e & GENMASK(51, 12)) >> PAGE_SHIFT, &below);
	if ((e & 5) != 5 || below.kind != PT_LEAF || below.pfn != is->pfn)
		return false;
	if (is->attr & PT_W &&
	    (!(e & PT_W) || (below.attr & (PT_W | PT_DIRTY)) != (PT_W | PT_DIRTY)))
		return false;
	return !(is->attr & PT_X) || (!(e >> 63) && below.attr & PT_X);
}

/* At an entry: is anything in the shadow that must not be? */
static void looks(struct vmcb *m)
{
	const struct pt *t = &svm_nested(&vcpu)->shadow.pt;

	if (m->ncr3 != t->root.v)
		too_much++;
	for (u64 fn = 0; fn < 512; fn++) {
		struct pt_leaf is;
		bool fine = false;

		pt_lookup(t, fn, &is);
		if (is.kind != PT_LEAF)
			continue;
		mapped++;
		for (u32 i = 0; fn < RAM_GFNS && i < told_nr[fn]; i++)
			fine |= allowed(told[fn][i], &is);
		too_much += !fine;
	}
	does_npf(m);
}

static u64 dice(u64 n)
{
	return (u64)random() % n;
}

static void change_p2m(u64 gfn)
{
	static u64 bitmap[1];

	if (gfn >= N_ROOT && gfn <= N_LEAVES)
		return;
	switch (dice(4)) {
	case 0:
		p2m_unmap(&guest.p2m, gfn, 1);
		break;
	case 1:
		p2m_map(&guest.p2m, gfn, FIRST + gfn, 0,
			PT_R | (dice(2) ? PT_W : 0) | (dice(2) ? PT_X : 0));
		break;
	case 2:
		p2m_map(&guest.p2m, gfn, FIRST + dice(RAM_GFNS), 0, RIGHTS);
		break;
	case 3:
		p2m_dirty_read(&guest.p2m, gfn & ~63ull, 64, bitmap, true);
	}
}

static void test_shadow(void)
{
	srandom(7);
	begin();
	nested_tables();
	flushed();
	for (u32 i = 0; i < 20000; i++) {
		u64 gfn = 16 + dice(RAM_GFNS - 16);

		if (dice(20) == 0)
			change_p2m(gfn);
		if (dice(20) == 0 && told_nr[gfn] < TOLD) {
			static const u64 kinds[] = {7, 7, 7, 7, 5, 3, 0, BIT(63) | 7};

			*npte(gfn) = dice(RAM_GFNS) << PAGE_SHIFT | kinds[dice(8)];
			told[gfn][told_nr[gfn]++] = *npte(gfn);
		}
		if (!vcpu.guest_mode) {
			bool same = dice(2); /* tables, ASID, and no flush */

			vmcb12()->tlb_control = same ? SVM_TLB_NONE : SVM_TLB_FLUSH_ALL;
			insn(SVM_EXIT_VMRUN);
			if (!same)
				flushed();
		}
		fault_at = gfn << PAGE_SHIFT | 8;
		fault_info = BIT(2) | (dice(2) ? SVM_NPF_W : 0);
		if (dice(3) == 0)
			fault_info = BIT(2) | SVM_NPF_ID;
		run_to(looks);
		if (vcpu.stop_reason && dice(4)) /* dom0 brings it, or has other things to do */
			p2m_map(&guest.p2m, missing >> PAGE_SHIFT, FIRST + dice(RAM_GFNS), 0,
				RIGHTS);
		vcpu.stop_reason = 0;
	}
	CHECK(!too_much && mapped > 25000 && entries > 10000,
	      "the shadow maps what both allow, and no more, whatever changes");
	end();
}

static void test_bounds(void)
{
	u64 most = 0;

	begin();
	nested_tables();
	*npte(20) = 20 << PAGE_SHIFT | 7;
	/* every 2 MiB the same table of leaves */
	for (u64 i = 0; i < 512; i++)
		((u64 *)mem(N_ROOT + 2))[i] = N_LEAVES << PAGE_SHIFT | 7;
	insn(SVM_EXIT_VMRUN);
	for (u64 i = 0; i < 400; i++) {
		struct pt_leaf leaf;

		fault_at = i << 21 | 20 << PAGE_SHIFT;
		fault_info = BIT(2);
		run_to(does_npf);
		pt_lookup(&svm_nested(&vcpu)->shadow.pt, fault_at >> PAGE_SHIFT, &leaf);
		if (leaf.kind != PT_LEAF || leaf.pfn != FIRST + 20)
			CHECK(false, "each fault is served");
		most = MAX(most, svm_nested(&vcpu)->shadow.tables.pages);
	}
	CHECK(most == SHADOW_TABLES, "the shadow has the tables it was promised, and no more");
	CHECK(vcpu.guest_mode, "the guest hears nothing of it");
	fault_at = BIT(47);
	run_to(does_npf);
	CHECK(!vcpu.guest_mode && vmcb12()->exitcode == SVM_EXIT_NPF &&
		  vmcb12()->exitinfo2 == BIT(47) && vmcb12()->exitinfo1 == (BIT(32) | 4),
	      "what the guest's tables have not is its fault to serve");
	vcpu.exception.pending = false;
	((u64 *)mem(N_ROOT))[0] |= BIT(8);
	insn(SVM_EXIT_VMRUN);
	fault_at = 20 << PAGE_SHIFT;
	fault_info = BIT(2) | SVM_NPF_ID;
	run_to(does_npf);
	CHECK(!vcpu.guest_mode && vmcb12()->exitinfo1 == (BIT(32) | SVM_NPF_ID | 0xd),
	      "bit 8 of an upper entry is reserved");
	svm_set(&vcpu, HVM_EFER, EFER_SVME | EFER_LME);
	insn(SVM_EXIT_VMRUN);
	run_to(does_npf);
	CHECK(vmcb12()->exitinfo1 == (BIT(32) | 0xd), "without NX an error code has no fetch");
	vcpu.rights.cr4 |= CR4_SMEP;
	svm_set(&vcpu, HVM_CR4, CR4_PAE | CR4_SMEP);
	insn(SVM_EXIT_VMRUN);
	run_to(does_npf);
	CHECK(vmcb12()->exitinfo1 == (BIT(32) | SVM_NPF_ID | 0xd), "with SMEP it has");
	fault_info = BIT(2);
	((u64 *)mem(N_ROOT))[0] &= ~BIT(8);
	insn(SVM_EXIT_VMRUN);
	fault_at = BIT(48) | 20 << PAGE_SHIFT;
	run_to(does_npf);
	CHECK(!vcpu.guest_mode && vmcb12()->exitinfo2 == fault_at,
	      "addresses beyond four levels are not those within");
	end();
}

static bool shadow_has(u64 fn)
{
	struct pt_leaf leaf;

	pt_lookup(&svm_nested(&vcpu)->shadow.pt, fn, &leaf);
	return leaf.kind == PT_LEAF;
}

/* A VMM that restores a state has restored the tables in memory as well, behind our back. */
static void test_restored(void)
{
	static struct corbel_nested s;

	begin();
	nested_tables();
	insn(SVM_EXIT_VMRUN);
	fault_at = 20 << PAGE_SHIFT;
	fault_info = BIT(2);
	run_to(does_npf);
	CHECK(shadow_has(20) && !svm_nested_ops.get_state(&vcpu, &s), "a page is in the shadow");
	CHECK(!svm_nested_ops.set_state(&vcpu, &s) && vcpu.guest_mode && !shadow_has(20),
	      "where another state takes this one's place it is empty");
	CHECK(vcpu.shadow->pt.fmt == guest.p2m.pt.fmt, "and still of the same kind");
	run_to(does_npf);
	CHECK(shadow_has(20), "(and filled again)");
	svm_vcpu_reset(&vcpu, false);
	arch.vmcb->cs.attrib = VMCB_ATTR_L;
	svm_set(&vcpu, HVM_EFER, EFER_SVME | EFER_LME | EFER_NXE);
	svm_set(&vcpu, HVM_CR4, CR4_PAE);
	svm_set(&vcpu, HVM_CR0, CR0_PE | CR0_PG);
	svm_nested(&vcpu)->hsave_pa = HSAVE;
	insn(SVM_EXIT_VMRUN);
	CHECK(vcpu.guest_mode && !shadow_has(20), "behind a reset, too");
	end();
}

#define LENT 0x6000ull /* a pfn behind the pool */

/* Tables are promised when the first guest comes, and not to those that have none. */
static void test_promise(void)
{
	u64 before;

	begin();
	shadow_destroy(&vcpu);
	before = pool_promised_bytes();
	BUG_ON(shadow_create(&vcpu));
	arch.svme = EFER_SVME;
	svm_nested(&vcpu)->hsave_pa = HSAVE;
	CHECK(pool_promised_bytes() == before, "a vCPU without guests is promised no tables");
	vcpu.rip = 0x5000;
	insn(SVM_EXIT_VMRUN);
	CHECK(vcpu.stop_reason == CORBEL_EXIT_NEST && vcpu.rip == 0x5000 && !vcpu.guest_mode,
	      "dom0 is asked for them at the first VMRUN");
	vcpu.stop_reason = 0;
	CHECK(!shadow_promise(&vcpu) && !shadow_promise(&vcpu) &&
		  pool_promised_bytes() == before + (SHADOW_TABLES - 1) * PAGE_SIZE,
	      "they are promised once");
	CHECK(vcpu.shadow->pt.fmt == guest.p2m.pt.fmt, "they are of the kind of the guest's own");
	insn(SVM_EXIT_VMRUN);
	CHECK(vcpu.guest_mode && !vcpu.stop_reason, "and the guest begins");
	svm_nested_end(&vcpu);
	shadow_destroy(&vcpu);
	CHECK(pool_promised_bytes() == before, "nothing of it is left");
	CHECK(shadow_promise(&vcpu) == -EINVAL, "who can have no guests is promised nothing");
	BUG_ON(shadow_create(&vcpu) || shadow_promise(&vcpu));
	end();
}

/* A shadow is there until its vCPU is freed, and dom0's kernel may end before that. */
static void test_lent(void)
{
	begin();
	shadow_destroy(&vcpu);
	pool_lend(LENT);
	BUG_ON(shadow_create(&vcpu) || shadow_promise(&vcpu));
	CHECK(pool_unlend(true) == LENT, "shadows keep nothing that dom0 has lent,");
	pool_free(pool_alloc(0, NULL), 0, NULL);
	CHECK(pool_free_bytes() > pool_promised_bytes(), "and are promised none of it");
	end();
}

int main(void)
{
	arena_init(256 * MB);
	test_valid();
	test_wants();
	test_pdptes();
	test_small_rules();
	test_cr0();
	test_branches();
	test_shutdown();
	test_intercepts();
	test_invpcid();
	test_insns();
	test_init();
	test_state_meanwhile();
	test_vmrun();
	test_smi();
	test_events();
	test_software();
	test_window();
	test_shadow();
	test_bounds();
	test_restored();
	test_promise();
	test_lent();
	return test_end();
}
