/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * AMD-V: what of a fresh VMCB exits, bit by bit, and what an entry does about flushes and NMIs. The
 * CPU is a function of ours. svm.c is included, since what it knows of CPUs is its own.
 * links: tests/unit/rest.c hv/svm/event.c hv/svm/state.c hv/svm/decode.c hv/svm/tcg.c
 * hv/guest/hvm.c hv/guest/inject.c hv/svm/nested.c hv/guest/shadow.c hv/svm/nested_exit.c
 * hv/svm/nested_npt.c hv/svm/nested_rules.c hv/svm/nested_state.c hv/mm/pt.c hv/emul/walk.c
 */
#include "hv/lib/asm.h"
#include "hv/lib/x86.h"

static u64 own_vm_cr, efer_now;
#define rdmsr_safe(m, to) (*(to) = (m) == MSR_VM_CR ? own_vm_cr : 0)
#define rdmsr(m)	  efer_now
#define wrmsr(m, val)	  ((void)(efer_now = (val)))
#include "hv/svm/svm.c"
#include "hv/cpu/apic.h"
#include "hv/guest/inject.h"
#include "hv/guest/linear.h"
#include "arena.h"

#include <string.h>

static struct svm_cpu svm_cpu0;
static struct vm vm;
static struct vcpu vcpu;
static struct vmcb hardware __aligned(4096);
static struct svm_vcpu arch;

/* What the guest does at this entry. */
static void (*guest)(struct vmcb *m);
static u32 tlb_seen, threshold;

void svm_enter(struct vcpu *v, u64 vmcb, u64 host_vmcb, u64 int_state)
{
	tlb_seen = svm_vmcb(v)->tlb_control;
	svm_vmcb(v)->exitcode = SVM_EXIT_INTR;
	svm_vmcb(v)->exitintinfo = 0;
	if (guest)
		guest(svm_vmcb(v));
}

static u32 asids;

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = *b = *c = *d = 0;
	if (leaf == 0x80000000)
		*a = CPUID_SVM;
	else if (leaf == CPUID_SVM)
		*b = asids;
}

static bool others_wait;

bool spin_others_wait(const struct vcpu *v)
{
	return others_wait;
}

u32 lapic_tpr_threshold(struct vcpu *v)
{
	return threshold;
}

void *pool_alloc(u32 order, struct account *acct)
{
	return NULL;
}

void pool_free(void *p, u32 order, struct account *acct)
{
}

static struct vmcb *fresh(bool is_dom0)
{
	arch = (struct svm_vcpu){.vmcb = &hardware, .watch = 0xff, .nmi_iret_rip = 1};
	memset(&hardware, 0xff, sizeof(hardware)); /* nothing of before is left */
	arch.vmcb_pa = 0x1000;
	arch.asid_cpu = NULL;
	max_asid = 15;
	flush_one = SVM_TLB_FLUSH_ASID;
	svm_cpu0 = (struct svm_cpu){.asid_gen = 1, .next_asid = 1};
	this_cpu()->svm = &svm_cpu0;
	vm = (struct vm){
	    .is_dom0 = is_dom0, .has_lapic = true, .p2m = {.tlb_gen = 1, .pt.root = hpa(0x5000)}};
	vm.io_map = hpa_to_virt(hpa(0x6000));
	vm.msr_map = hpa_to_virt(hpa(0xa000));
	vcpu = (struct vcpu){.vm = &vm, .p2m = &vm.p2m, .arch = &arch, .rip = 0x1000};
	guest = NULL;
	threshold = 0;
	CHECK(svm_borrow(&vcpu), "a vCPU that nobody has can be borrowed");
	svm_vcpu_reset(&vcpu, false);
	svm_mask_nmi(&vcpu, false);
	svm_give_back(&vcpu);
	svm_load(&vcpu);
	return arch.vmcb;
}

static void spins(struct vmcb *m)
{
	m->exitcode = SVM_EXIT_PAUSE;
}

/* VMRUN refuses its state, before it has flushed anything. */
static void is_refused(struct vmcb *m)
{
	m->exitcode = ~0ull;
}

static void run(void)
{
	struct vm_exit x;

	svm_run(&vcpu, &x);
}

/*
 * APM "Layout of VMCB". A guest does without an exit: CR reads, CR2, CR3 and CR8 writes, TS and MP
 * of CR0, debug registers, all exceptions but #DB, #UD, #AC, #MC; SMI; descriptor tables, TR, LDTR;
 * RDTSC; PUSHF, POPF; RSM; IRET; INT n; PAUSE; INVLPG; RDTSCP and INVPCID by its CPUID; ICEBP. dom0
 * besides: WBINVD.
 */
static void test_intercepts(void)
{
	struct vmcb *m = fresh(false);

	CHECK(m->cr_read == 0 && m->cr_write == 0x0010, "control registers: writes of CR4 exit");
	CHECK(m->dr_read == 0 && m->dr_write == 0, "debug registers: none");
	CHECK(m->exceptions == (BIT(1) | BIT(6) | BIT(17) | BIT(18)),
	      "exceptions: #DB, #UD, #AC, #MC");
	CHECK(m->int3 == 0xbd44802b, "word 3: INTR, NMI, INIT, CR0, RDPMC, CPUID, INVD, HLT, "
				     "INVLPGA, ports, MSRs, task switches, freeze, shutdown");
	CHECK(m->int4 == 0x7e7f,
	      "word 4: VMRUN and its like, SKINIT, WBINVD, MONITOR, MWAIT, XSETBV, RDPRU");
	CHECK(m->int5 == 0, "word 5 is later CPUs'");
	svm_set(&vcpu, HVM_INSNS, 0);
	CHECK(m->int4 == 0x7eff && m->int5 == BIT(2), "RDTSCP and INVPCID by HVM_INSNS");
	svm_set(&vcpu, HVM_INSNS, INSN_RDTSCP);
	CHECK(m->int4 == 0x7e7f && m->int5 == BIT(2), "RDTSCP alone");
	svm_set(&vcpu, HVM_INSNS, INSN_INVPCID | INSN_RDPID);
	CHECK(m->int4 == 0x7eff && m->int5 == 0, "INVPCID alone");
	CHECK(m->np_control == SVM_NP_ENABLE && m->ncr3 == 0x5000, "nested paging by the VM's map");
	CHECK(m->iopm == 0x6000 && m->msrpm == 0xa000, "ports and MSRs by the VM's bitmaps");
	CHECK(m->vintr == SVM_V_INTR_MASKING && !m->virt_ext && !m->clean,
	      "its flags do not mask our interrupts; nothing else is virtualized or kept");
	pause_count = SPIN_COUNT;
	pause_threshold = SPIN_THRESHOLD;
	m = fresh(false);
	CHECK(m->int3 == (0xbd44802b | BIT(23)) && m->pause_count == 3000 &&
		  m->pause_threshold == 128,
	      "with a filter PAUSE exits, too");
	pause_count = pause_threshold = 0;
	pause_exits = others_wait = true;
	CHECK(!(fresh(false)->int3 & BIT(23)), "without a filter it does not where no other runs");
	fresh(false);
	svm_put(&vcpu);
	vm.sched.runnable = 2;
	vcpu.sched.group = &vm.sched;
	svm_load(&vcpu);
	CHECK(m->int3 == (0xbd44802b | BIT(23)), "but where another of the VM waits for a CPU");
	guest = spins;
	run();
	CHECK(m->int3 == (0xbd44802b | BIT(23)), "as long as it does");
	others_wait = false;
	run();
	CHECK(m->int3 == 0xbd44802b, "and no longer");
	m->int3 |= BIT(23);
	vm.sched.runnable = 1;
	svm_put(&vcpu);
	svm_load(&vcpu);
	CHECK(m->int3 == 0xbd44802b, "nor when it comes to a CPU alone");
	pause_exits = false;
	quirks = BIT(QUIRK_SMI);
	m = fresh(false);
	CHECK(m->int3 == (0xbd44802b | BIT(2)),
	      "where SMIs would be served in the guest, they exit");
	quirks = 0;
	m = fresh(true);
	CHECK(m->int4 == (0x7e7f & ~BIT(9)) && m->int3 == 0xbd44802b, "dom0's: WBINVD does not");
}

static u32 kept3, kept4;

/* Words 3 and 4 of a VM that was made so, on a CPU with a filter of PAUSEs */
static void keep_exits(u32 flags)
{
	fresh(false);
	vm.flags = flags;
	svm_vcpu_reset(&vcpu, false);
	kept3 = hardware.int3;
	kept4 = hardware.int4;
}

static void test_waiting(void)
{
	pause_count = SPIN_COUNT;
	keep_exits(CORBEL_VM_HLT);
	CHECK(kept3 == (0xbd44802b ^ BIT(24) ^ BIT(23)) && kept4 == 0x7e7f,
	      "HLT does not exit where the VM was made so");
	keep_exits(CORBEL_VM_MWAIT);
	CHECK(kept3 == (0xbd44802b ^ BIT(23)) && kept4 == (0x7e7f & ~GENMASK(12, 10)),
	      "or MONITOR and MWAIT");
	keep_exits(CORBEL_VM_PAUSE | CORBEL_VM_LAPIC | CORBEL_VM_CSTATE);
	CHECK(kept3 == 0xbd44802b && kept4 == 0x7e7f, "or loops of PAUSE, and nothing else");
	pause_count = 0;
	pause_exits = others_wait = true;
	keep_exits(CORBEL_VM_PAUSE);
	guest = spins;
	run();
	CHECK(hardware.int3 == 0xbd44802b, "nor does one without a filter, when others wait");
	pause_exits = others_wait = false;
}

/* Two bits an MSR from the start of the part. */
static void test_msr_map(void)
{
	static u8 map[2 * PAGE_SIZE], want[2 * PAGE_SIZE];

	fresh(false);
	memset(map, 0xff, sizeof(map));
	memset(want, 0xff, sizeof(want));
	vm.msr_map = map;
	svm_direct_msr(&vm, 0x174, true, true);
	svm_direct_msr(&vm, 0xc0000081, true, true);
	want[0x174 / 4] = (u8)~0x03;
	want[0x800 + 0x81 / 4] = (u8)~0x0c;
	CHECK(!memcmp(map, want, sizeof(map)), "an MSR that is allowed is that MSR, and no other");
	svm_direct_msr(&vm, 0x174, false, true);
	want[0x174 / 4] = (u8)~0x02;
	CHECK(!memcmp(map, want, sizeof(map)), "its reads can exit");
	svm_direct_msr(&vm, 0x174, true, false);
	want[0x174 / 4] = (u8)~0x01;
	CHECK(!memcmp(map, want, sizeof(map)), "or its writes");
	CHECK(PANICS(svm_direct_msr(&vm, 0x2000, true, true)) &&
		  PANICS(svm_direct_msr(&vm, 0xc0002000, true, true)),
	      "MSRs that no bitmap has are none to allow");
}

static void test_flushes(void)
{
	struct vmcb *m = fresh(false);
	u32 asid;

	run();
	asid = m->asid;
	CHECK(asid == 1 && tlb_seen == SVM_TLB_FLUSH_ALL, "the first ASID after boot: all go");
	run();
	CHECK(m->asid == asid && tlb_seen == SVM_TLB_NONE, "the next entry flushes nothing");
	vm.p2m.tlb_gen++;
	run();
	CHECK(m->asid == asid && tlb_seen == SVM_TLB_FLUSH_ASID, "a flush that is owed is done");
	run();
	CHECK(tlb_seen == SVM_TLB_NONE, "once");
	svm_flush_asid(&vcpu);
	run();
	CHECK(m->asid == asid + 1 && tlb_seen == SVM_TLB_NONE,
	      "a guest's own translations go with a fresh ASID");
	arch.asid_cpu = NULL;
	svm_put(&vcpu);
	svm_load(&vcpu);
	run();
	CHECK(m->asid == asid + 2 && arch.asid_cpu == this_cpu(), "so they do on another CPU");
	svm_set(&vcpu, HVM_CR3, 0x3000);
	run();
	CHECK(m->asid == asid + 3, "and when its CR3 is set");
	svm_set(&vcpu, HVM_CR0, CR0_PE | CR0_PG);
	run();
	CHECK(m->asid == asid + 4, "or its CR0");
	svm_set(&vcpu, HVM_CR4, CR4_PAE);
	run();
	CHECK(m->asid == asid + 5, "or its CR4");
	svm_cpu0.next_asid = max_asid + 1;
	svm_flush_asid(&vcpu);
	run();
	CHECK(m->asid == 1 && svm_cpu0.asid_gen == 2 && tlb_seen == SVM_TLB_FLUSH_ALL,
	      "when ASIDs run out all go");
}

static void test_refused(void)
{
	struct vmcb *m = fresh(false);

	run();
	vm.p2m.tlb_gen++;
	guest = is_refused;
	run();
	CHECK(tlb_seen == SVM_TLB_FLUSH_ASID, "an entry with a flush is refused");
	guest = NULL;
	run();
	CHECK(tlb_seen == SVM_TLB_FLUSH_ALL, "the next one flushes");
	svm_cpu0.next_asid = max_asid + 1;
	svm_flush_asid(&vcpu);
	guest = is_refused;
	run();
	CHECK(tlb_seen == SVM_TLB_FLUSH_ALL, "one is refused when ASIDs have run out");
	guest = NULL;
	svm_flush_asid(&vcpu);
	run();
	CHECK(m->asid == 1 && tlb_seen == SVM_TLB_FLUSH_ALL,
	      "no other is handed out before all have been flushed");
	run();
	CHECK(tlb_seen == SVM_TLB_NONE, "once");
}

static void test_smm(void)
{
	struct vmcb *m = fresh(false);

	vm.smm = (struct p2m){.tlb_gen = BIT(63) | 1, .pt.root = hpa(0x9000)};
	run();
	run();
	vcpu.in_smm = true;
	vcpu.p2m = &vm.smm;
	svm_set_map(&vcpu);
	CHECK(m->ncr3 == 0x9000, "in SMM it has the second map");
	svm_set_debug(&vcpu, true, false);
	CHECK(m->exceptions == (HVM_OUR_EXCEPTIONS | BIT(VEC_BP)),
	      "a debugger has its exceptions besides");
	run();
	CHECK(tlb_seen == SVM_TLB_FLUSH_ASID, "and nothing of the first in its TLB");
	run();
	CHECK(tlb_seen == SVM_TLB_NONE, "once");
	vm.p2m.tlb_gen++;
	run();
	CHECK(tlb_seen == SVM_TLB_NONE, "a flush of the other map is not its to do");
	vm.smm.tlb_gen++;
	run();
	CHECK(tlb_seen == SVM_TLB_FLUSH_ASID, "but one of its own");
	vcpu.in_smm = false;
	vcpu.p2m = &vm.p2m;
	svm_set_map(&vcpu);
	svm_set_debug(&vcpu, false, false);
	run();
	CHECK(m->ncr3 == 0x5000 && m->exceptions == HVM_OUR_EXCEPTIONS &&
		  tlb_seen == SVM_TLB_FLUSH_ASID,
	      "behind SMM all is as before, and nothing of SMRAM is left");
}

/* A VM's part of the log is counted in bytes: what is asked for must do for all that is written. */
static u32 logged;

void hv_log(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	logged += sizeof("(hv) [12345.123456] \r\n") - 1 + vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
}

static void test_dump(void)
{
	memset(fresh(false), 0xff, sizeof(struct vmcb));
	logged = 0;
	svm_dump(&vcpu);
	CHECK(logged > 500 && logged <= HVM_DUMP_BYTES, "a dump has %u bytes at most", logged);
}

static void test_efer(void)
{
	struct vmcb *m = fresh(false);

	svm_set(&vcpu, HVM_EFER, EFER_LME);
	CHECK(m->efer == (EFER_LME | EFER_SVME) && svm_get(&vcpu, HVM_EFER) == EFER_LME,
	      "EFER.SVME is set, or VMRUN fails, and not shown");
}

static void test_cr0(void)
{
	struct vmcb *m = fresh(false);
	u64 off = CR0_CD | CR0_NW, on = CR0_PG | CR0_PE | CR0_ET;
	/* RDTSCP, RDPRU, INVPCID */
	static const u32 undefined[] = {0x87, 0x8e, 0xa2};
	struct vm_exit x;

	svm_set(&vcpu, HVM_CR0, off | CR0_ET);
	CHECK(svm_get(&vcpu, HVM_CR0) == (off | CR0_ET), "CD and NW read as they were written");
	CHECK(m->cr0 == CR0_ET, "the hardware does not get them: caches are everybody's");
	CHECK(m->cr_read == BIT(0) && m->cr_write == (BIT(4) | BIT(0)),
	      "the guest's own accesses exit, to see them");
	svm_set(&vcpu, HVM_EFER, EFER_LME);
	svm_set(&vcpu, HVM_CR0, CR0_CD | on);
	CHECK(m->cr0 == on && m->cr_read == BIT(0) && svm_get(&vcpu, HVM_CR0) == (CR0_CD | on),
	      "with paging, too");
	CHECK(svm_get(&vcpu, HVM_EFER) == (EFER_LME | EFER_LMA), "which makes it long mode");
	svm_set(&vcpu, HVM_CR0, on);
	CHECK(svm_get(&vcpu, HVM_CR0) == on && !m->cr_read && m->cr_write == BIT(4) &&
		  m->int3 & BIT(5),
	      "without them writes exit that change more than TS and MP");
	svm_set(&vcpu, HVM_CR0, CR0_PE | CR0_ET);
	CHECK(svm_get(&vcpu, HVM_EFER) == EFER_LME, "and without paging it is no long mode");
	m->exitcode = 0x65;
	svm_decode_exit(m, true, &x);
	CHECK(x.reason == VMEXIT_CR_ACCESS && x.cr.cr == 0 && x.cr.write && x.cr.gpr == 0xff,
	      "an exit by the selective intercept is a write of CR0");
	m->exitcode = 0;
	svm_decode_exit(m, true, &x);
	CHECK(x.reason == VMEXIT_CR_ACCESS && x.cr.cr == 0 && !x.cr.write, "0 is a read");
	for (u32 i = 0; i < ARRAY_SIZE(undefined); i++) {
		m->exitcode = undefined[i];
		svm_decode_exit(m, true, &x);
		CHECK(x.reason == VMEXIT_UNDEFINED, "exit %x: as if there were none", undefined[i]);
	}
}

static void at_iret(struct vmcb *m)
{
	m->exitcode = SVM_EXIT_IRET;
}

static void past_iret(struct vmcb *m)
{
	m->rip = 0x2000;
}

static u64 flags_seen;

static void look_at_flags(struct vmcb *m)
{
	flags_seen = m->rflags;
	m->rip = 0x4000;
}

/*
 * An NMI waits for an IRET that is reached, by a step that nobody is to see: flags are pushed where
 * something is injected meanwhile.
 */
static void test_nmi_step(void)
{
	struct vmcb *m = fresh(false);

	svm_mask_nmi(&vcpu, true);
	guest = at_iret;
	run();
	svm_want_window(&vcpu, HVM_INJ_NMI, true);
	svm_inject(&vcpu, HVM_INJ_IRQ, 0x40, false, 0);
	guest = look_at_flags;
	run();
	CHECK(!(flags_seen & RFLAGS_TF), "an interrupt is not injected with the step's flag");
	CHECK(!svm_can_inject(&vcpu, HVM_INJ_NMI) && m->int3 & SVM_INT3_IRET,
	      "its handler is not what is behind the IRET: that has not been executed");
	vcpu.rip = 0x1000;
	guest = at_iret;
	run();
	svm_want_window(&vcpu, HVM_INJ_NMI, true);
	guest = look_at_flags;
	run();
	CHECK(flags_seen & RFLAGS_TF && svm_can_inject(&vcpu, HVM_INJ_NMI),
	      "the handler's own IRET is stepped over, and opens NMIs");
	svm_mask_nmi(&vcpu, true);
	vcpu.rflags = 0;
	guest = at_iret;
	run();
	svm_want_window(&vcpu, HVM_INJ_NMI, true);
	svm_vcpu_reset(&vcpu, true);
	svm_set(&vcpu, HVM_NMI_MASK, 0);
	svm_inject(&vcpu, HVM_INJ_NMI, VEC_NMI, false, 0);
	guest = look_at_flags;
	run();
	CHECK(!(flags_seen & RFLAGS_TF), "a step of before a reset is none");
}

/* #BP is injected behind INT3, and by a CPU that tells of the next instruction pushed as that. */
static void test_breakpoint(void)
{
	struct vmcb *m = fresh(false);

	hvm = &svm_ops;
	m->next_rip = 0;
	vcpu_inject_exception(&vcpu, VEC_BP, false, 0);
	vcpu_deliver_events(&vcpu);
	CHECK(m->eventinj == (BIT(31) | 3 << 8 | 3) && vcpu.rip == 0x1001 && m->next_rip == 0x1001,
	      "a breakpoint's handler returns behind INT3, whatever the last exit was");
}

/* APM "Processor Initialization State" */
static void test_reset_msrs(void)
{
	struct vmcb *m = fresh(false);

	CHECK(!m->star && !m->kernel_gs_base && !m->sysenter_eip, "RESET clears these MSRs");
	m->star = 1;
	m->kernel_gs_base = 2;
	m->sysenter_eip = 3;
	m->cr2 = m->g_pat = 4;
	svm_vcpu_reset(&vcpu, true);
	CHECK(m->star == 1 && m->kernel_gs_base == 2 && m->sysenter_eip == 3 && !m->cr2 &&
		  !m->g_pat,
	      "INIT leaves them alone");
}

static u32 kicks;

void apic_send_ipi(u32 apic_id, u8 vector)
{
	kicks++;
}

/* There is no window for one that waits behind an injection: an interrupt is it. */
static void test_nmi_behind(void)
{
	struct vmcb *m = fresh(false);

	hvm = &svm_ops;
	kicks = 0;
	vcpu_inject_exception(&vcpu, VEC_GP, true, 0);
	vcpu_deliver_events(&vcpu);
	CHECK(m->eventinj & EVT_VALID && !kicks, "an exception alone");
	m = fresh(false);
	vcpu_inject_exception(&vcpu, VEC_GP, true, 0);
	vcpu.nmi_pending = true;
	vcpu_deliver_events(&vcpu);
	CHECK(m->eventinj & EVT_VALID && kicks == 1, "an NMI comes right behind it");
	m = fresh(false);
	vcpu_inject_exception(&vcpu, VEC_GP, true, 0);
	svm_mask_nmi(&vcpu, true);
	vcpu.nmi_pending = true;
	vcpu_deliver_events(&vcpu);
	CHECK(m->eventinj & EVT_VALID && kicks == 1, "or behind another NMI's IRET");
}

static void test_nmi(void)
{
	struct vmcb *m = fresh(false);

	CHECK(svm_can_inject(&vcpu, HVM_INJ_NMI), "NMIs are open after a reset");
	svm_inject(&vcpu, HVM_INJ_NMI, VEC_NMI, false, 0);
	CHECK(m->eventinj == (BIT(31) | 2 << 8 | 2) && m->int3 & SVM_INT3_IRET,
	      "one that is injected has its IRET watched");
	run();
	CHECK(!m->eventinj && !svm_can_inject(&vcpu, HVM_INJ_NMI), "NMIs are closed meanwhile");
	guest = at_iret;
	run();
	CHECK(!svm_can_inject(&vcpu, HVM_INJ_NMI) && !(m->int3 & SVM_INT3_IRET),
	      "IRET is reached, but not done");
	guest = past_iret;
	run();
	CHECK(svm_can_inject(&vcpu, HVM_INJ_NMI) && !arch.watch, "it is done: NMIs are open");
	svm_set(&vcpu, HVM_NMI_MASK, 1);
	CHECK(svm_get(&vcpu, HVM_NMI_MASK) && m->int3 & SVM_INT3_IRET,
	      "set from outside, the mask has the IRET watched, too");
	guest = at_iret;
	run();
	svm_vcpu_reset(&vcpu, true);
	svm_set(&vcpu, HVM_NMI_MASK, 0);
	svm_inject(&vcpu, HVM_INJ_NMI, VEC_NMI, false, 0);
	guest = past_iret;
	vcpu.rip = 0x3000;
	run();
	CHECK(!svm_can_inject(&vcpu, HVM_INJ_NMI), "an IRET of before a reset opens nothing");
}

static void test_cr8(void)
{
	struct vmcb *m = fresh(false);

	vcpu.due = DUE_IRQ;
	threshold = 5;
	run();
	CHECK(m->cr_write & BIT(8), "an interrupt waits for CR8 to fall: writes exit");
	threshold = 0;
	run();
	CHECK(!(m->cr_write & BIT(8)), "and then no more");
	svm_want_window(&vcpu, HVM_INJ_IRQ, true);
	run();
	CHECK(!(m->cr_write & BIT(8)), "nor for a window");
	svm_want_window(&vcpu, HVM_INJ_IRQ, false);
	quirks = BIT(QUIRK_CR8) | BIT(QUIRK_VIRQ);
	svm_want_window(&vcpu, HVM_INJ_IRQ, true);
	vcpu.due = 0;
	for (u32 i = 0; i < 3; i++)
		run();
	CHECK(m->cr_write & BIT(8), "but where QEMU would end by it, as long as there is one");
	svm_want_window(&vcpu, HVM_INJ_IRQ, false);
	run();
	CHECK(!(m->cr_write & BIT(8)), "and no longer");
	svm_inject(&vcpu, HVM_INJ_IRQ, 0x40, false, 0);
	CHECK(m->vintr & SVM_V_IRQ, "an injected one is a virtual interrupt there, too");
	svm_virq_enter(svm_of(&vcpu));
	CHECK(m->cr_write & BIT(8), "writes exit");
	svm_virq_exit(&vcpu);
	CHECK(!(m->cr_write & BIT(8)), "till the next exit");
	vcpu.irq_injected = false;
	quirks = 0;
	m = fresh(false);
	run();
	CHECK(!(m->cr_write & BIT(8)), "nothing else does it where the LAPIC is ours");
	vm.has_lapic = false;
	svm_vcpu_reset(&vcpu, true);
	run();
	run();
	CHECK(m->cr_write & BIT(8), "where it is the VMM's, writes exit at all times");
}

/* One CPU has a vCPU, by loading or by borrowing it, and only that one sets its state. */
static void test_owner(void)
{
	struct corbel_segment seg = {0};

	fresh(false);
	CHECK(!svm_borrow(&vcpu), "one that is loaded cannot be borrowed");
	svm_put(&vcpu);
	CHECK(PANICS(svm_put(&vcpu)), "it is put once");
	CHECK(PANICS(svm_set(&vcpu, HVM_CR3, 0)) && PANICS(svm_set_seg(&vcpu, HVM_CS, &seg)) &&
		  PANICS(svm_msr_set(&vcpu, MSR_STAR, 0)),
	      "nobody's state is set");
	CHECK(svm_borrow(&vcpu) && !svm_borrow(&vcpu), "it is borrowed once");
	svm_set(&vcpu, HVM_CR3, 0x3000);
	CHECK(PANICS(svm_load(&vcpu)), "and not loaded meanwhile");
	svm_give_back(&vcpu);
	svm_load(&vcpu);
	arch.cpu = this_cpu() + 1;
	CHECK(!svm_borrow(&vcpu) && PANICS(svm_set(&vcpu, HVM_CR3, 0)) && PANICS(svm_put(&vcpu)),
	      "what another CPU has is that CPU's");
}

/* What a CPU's firmware has switched off is not switched on: that would be #GP. */
static void test_enable(void)
{
	static const struct {
		u64 vm_cr;
		u32 asids;
		const char *name;
	} unfit[] = {{VM_CR_SVMDIS, 16, "SVM switched off"},
		     {VM_CR_SVMDIS | VM_CR_LOCK, 16, "SVM locked off"},
		     {0, 15, "too few ASIDs"}};

	fresh(false);
	for (u32 i = 0; i < ARRAY_SIZE(unfit); i++) {
		own_vm_cr = unfit[i].vm_cr;
		asids = unfit[i].asids;
		efer_now = 0;
		logged = 0;
		CHECK(svm_cpu_enable(this_cpu()) == -ENODEV && !efer_now && logged > 60,
		      "a CPU with %s is left out, by a line", unfit[i].name);
	}
}

/*
 * What a CPU of AMD's leaves of SYSRET: SS' cached descriptor is that of SYSCALL, with DPL 0, and
 * only the VMCB's CPL tells a program. A VMM that reads the registers and writes them back must not
 * make it the kernel.
 */
static void test_cpl(void)
{
	struct vmcb *m = fresh(true);
	struct corbel_segment ss;
	struct hvm_paging p;

	m->ss.attrib = 0xc93;
	m->cpl = 3;
	svm_get_paging(&vcpu, &p);
	CHECK(svm_get(&vcpu, HVM_CPL) == 3 && p.cpl == 3, "the CPL is the VMCB's, not SS' DPL");
	svm_get_seg(&vcpu, HVM_SS, &ss);
	m->cpl = 0;
	CHECK(ss.dpl == 3 && !svm_is_paging(&vcpu, &p), "SS' DPL tells of it");
	svm_set_seg(&vcpu, HVM_SS, &ss);
	CHECK(m->cpl == 3 && svm_get(&vcpu, HVM_CPL) == 3, "and sets it");
}

int main(void)
{
	arena_init(0x100000);
	test_cpl();
	test_intercepts();
	test_waiting();
	test_msr_map();
	test_flushes();
	test_refused();
	test_smm();
	test_dump();
	test_efer();
	test_cr0();
	test_breakpoint();
	test_reset_msrs();
	test_nmi_behind();
	test_nmi();
	test_nmi_step();
	test_cr8();
	test_owner();
	test_enable();
	return test_end();
}
