/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * AMD-V back end: capability check, per-CPU and per-vCPU set-up, entry. APM volume 2, "Secure
 * Virtual Machine".
 */
#include "hv/svm/svm.h"
#include "boot/options.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/entry.h"
#include "hv/guest/spin.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/string.h"
#include "hv/svm/decode.h"
#include "hv/svm/nested_exit.h"
#include "hv/svm/nested_npt.h"
#include "hv/svm/tcg.h"

#define MSR_TSC_RATIO  0xc0000104 /* of guests; 8 integer and 32 fraction bits */
#define TSC_RATIO_1    BIT(32)
#define TSC_RATIO_FRAC 32

#define NO_SVM "this CPU has no AMD-V (SVM); use a CPU with virtualization, or -cpu max in QEMU"

/*
 * Of its own CPU only. ASIDs are handed out in order; when they run out a new generation begins and
 * the TLB is flushed.
 */
struct svm_cpu {
	u8 host_save[PAGE_SIZE]; /* the CPU's own */
	u8 host_vmcb[PAGE_SIZE]; /* our FS, GS, TR, LDTR, system-call MSRs by VMSAVE */
	u64 host_pa;		 /* of host_vmcb */
	u64 asid_gen;
	u32 next_asid;
	u64 tsc_mul; /* in MSR_TSC_RATIO */
};
#define SVM_CPU_ORDER 2
_Static_assert(sizeof(struct svm_cpu) <= PAGE_SIZE << SVM_CPU_ORDER, "fits");

/* Set once, by svm_probe() */
static u32 max_asid;
static bool nrips; /* the CPU tells where the instruction after an intercepted one is */
static u16 pause_count, pause_threshold; /* 0: there is no filter; no threshold */
static bool pause_exits; /* without a filter: each does, or none, by watch_pause() */
static u8 flush_one = SVM_TLB_FLUSH_ALL; /* flushes at least a guest's translations */

const char *svm_probe(struct hvm_caps *caps)
{
	struct cpuid_regs l = cpuid_read(0x80000001, 0);
	u64 vm_cr;

	if (!(l.c & CPUID_X1C_SVM) || cap_named("svm"))
		return NO_SVM;
	caps->p2m = &pt_npt;
	caps->p2m_1g = l.d & CPUID_X1D_1G && !cap_masked("1g");
	rdmsr_safe(MSR_VM_CR, &vm_cr);
	if (vm_cr & VM_CR_SVMDIS && vm_cr & VM_CR_LOCK)
		return "AMD-V (SVM) is switched off and locked; enable SVM in the firmware set-up";
	if (vm_cr & VM_CR_SVMDIS)
		return "AMD-V (SVM) is switched off; enable SVM in the firmware set-up";
	l = cpuid_read(CPUID_SVM, 0);
	if (!(l.d & CPUID_SVM_NP) || cap_named("npt"))
		return "this CPU has AMD-V without nested paging (NPT); use a newer CPU, or -cpu "
		       "max in QEMU";
	if (l.b < 2) /* 0 is the hypervisor's own */
		return "this CPU offers no ASIDs for guests; if it is virtual, give it more than "
		       "one";
	max_asid = MIN(l.b - 1, 0xffff);
	nrips = l.d & CPUID_SVM_NRIPS && !cap_masked("nrips");
	if (l.d & CPUID_SVM_FLUSHASID && !cap_masked("flushbyasid"))
		flush_one = SVM_TLB_FLUSH_ASID;
	if (l.d & CPUID_SVM_TSC_RATE && !cap_masked("tsc-scale"))
		caps->tsc_frac = TSC_RATIO_FRAC;
	pause_exits = !(l.d & CPUID_SVM_PAUSE) && !cap_masked("pause-loop");
	if (l.d & CPUID_SVM_PAUSE && !cap_masked("pause-loop")) {
		pause_count = SPIN_COUNT;
		pause_threshold = l.d & CPUID_SVM_PAUSE_GAP ? SPIN_THRESHOLD : 0;
	}
	caps->msr_map_order = 1;
	if (boot_info.opt.nested) {
		caps->flags |= HVM_CAP_NESTED;
		caps->nested_order = SVM_NESTED_ORDER;
		caps->nested_edx = CPUID_SVM_NP | (nrips ? CPUID_SVM_NRIPS : 0);
	}
	return NULL;
}

int svm_cpu_enable(struct cpu *c)
{
	struct svm_cpu *s = c->svm;
	u64 vm_cr;

	BUG_ON(c != this_cpu());
	if (!s) {
		s = c->svm = pool_alloc(SVM_CPU_ORDER, NULL);
		if (!s)
			return -ENOMEM;
		s->host_pa = virt_to_hpa(s->host_vmcb).v;
		s->asid_gen = 1;
		s->next_asid = 1;
	}
	rdmsr_safe(MSR_VM_CR, &vm_cr);
	if (vm_cr & VM_CR_SVMDIS || cpuid_read(CPUID_SVM, 0).b <= max_asid) {
		log_warn("CPU with APIC id %u has AMD-V (SVM) switched off, or fewer ASIDs than "
			 "the boot CPU; update the firmware, or reset its settings",
			 c->apic_id);
		return -ENODEV;
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, virt_to_hpa(s->host_save).v);
	s->tsc_mul = 0;
	if (hvm_caps.tsc_frac)
		wrmsr(MSR_TSC_RATIO, TSC_RATIO_1);
	/* Our own FS, GS, TR, LDTR never change after this point. */
	__asm__ volatile("vmsave %%rax" ::"a"(s->host_pa) : "memory");
	return 0;
}

void svm_cpu_disable(struct cpu *c)
{
	__asm__ volatile("stgi");
	wrmsr(MSR_VM_HSAVE_PA, 0);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SVME);
}

/* Two bits an MSR, for reads and writes; APM "MSR Intercepts". */
void svm_direct_msr(struct vm *vm, u32 msr, bool reads, bool writes)
{
	u32 at = msr % HVM_MSR_RANGE, shift;
	u8 exits = 0, *byte;

	BUG_ON(msr % HVM_MSR_HIGH >= HVM_MSR_RANGE);
	if (!reads)
		exits |= 1;
	if (!writes)
		exits |= 2;
	if (msr >= HVM_MSR_HIGH)
		at += HVM_MSR_RANGE;
	shift = at % 4 * 2;
	byte = &vm->msr_map[at / 4];
	WRITE_ONCE(*byte, (*byte & ~(3 << shift)) | exits << shift);
}

int svm_vcpu_init(struct vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);

	s->vmcb = pool_alloc(0, &v->vm->acct);
	if (!s->vmcb)
		return -ENOMEM;
	s->vmcb_pa = virt_to_hpa(s->vmcb).v;
	return 0;
}

void svm_vcpu_destroy(struct vcpu *v)
{
	BUG_ON(svm_of(v)->cpu); /* nobody has it */
	pool_free(svm_vmcb(v), 0, &v->vm->acct);
}

/* What exits in other VMs */
static void allow_waiting(struct vmcb *m, u32 flags)
{
	if (flags & CORBEL_VM_HLT)
		m->int3 &= ~SVM_INT3_HLT;
	if (flags & CORBEL_VM_MWAIT)
		m->int4 &= ~SVM_INT4_MWAIT;
	if (flags & CORBEL_VM_PAUSE)
		m->int3 &= ~SVM_INT3_PAUSE;
}

void svm_vcpu_reset(struct vcpu *v, bool init)
{
	struct vm *vm = v->vm;
	struct vmcb *m = svm_vmcb(v);
	u8 msrs[offsetof(struct vmcb, cr2) - offsetof(struct vmcb, star)];

	svm_current(v);
	BUG_ON(!v->p2m->pt.root.v);
	memcpy(msrs, &m->star, sizeof(msrs));
	*m = (struct vmcb){
	    /* CR4: its reserved bits are checked here, not by the CPU. CR0: word 3 */
	    .cr_write = BIT(4),
	    .exceptions = HVM_OUR_EXCEPTIONS,
	    .int3 = (u32)~SVM_INT3_ALLOWED,
	    .int4 = (SVM_INT4_ALL & ~SVM_INT4_ALLOWED) | SVM_INT4_RDPRU,
	    .pause_threshold = pause_threshold,
	    .pause_count = pause_count,
	    .iopm = virt_to_hpa(vm->io_map).v,
	    .msrpm = virt_to_hpa(vm->msr_map).v,
	    .vintr = SVM_V_INTR_MASKING,
	    .tsc_offset = v->tsc_offset,
	    .np_control = SVM_NP_ENABLE,
	    .ncr3 = v->p2m->pt.root.v,
	};
	if (init) /* which leaves MSRs of system calls alone */
		memcpy(&m->star, msrs, sizeof(msrs));
	if (pause_count)
		m->int3 |= SVM_INT3_PAUSE;
	if (quirk_has(QUIRK_SMI))
		m->int3 |= SVM_INT3_SMI;
	if (vm->is_dom0)
		m->int4 &= ~SVM_INT4_WBINVD;
	allow_waiting(m, vm->flags);
	svm_of(v)->virq = 0;
	svm_of(v)->watch = WATCH_CR8; /* the next entry sees to that */
	svm_nested_reset(v, init);
	svm_flush_asid(v);
}

void svm_set_map(struct vcpu *v)
{
	struct vmcb *m = svm_vmcb(v);

	svm_current(v);
	m->ncr3 = v->p2m->pt.root.v; /* the flush: by its tlb_gen */
}

void svm_mask_nmi(struct vcpu *v, bool masked)
{
	struct svm_vcpu *s = svm_of(v);

	v->nmi_masked = masked;
	s->nmi_step = false;
	s->watch &= ~(WATCH_NMI | WATCH_IRET);
	s->vmcb->int3 &= ~SVM_INT3_IRET;
	if (masked) {
		s->watch |= WATCH_NMI;
		s->vmcb->int3 |= SVM_INT3_IRET;
	}
}

/* What has been handed out is old, and the next entry flushes all. */
static __noinline void asids_end(struct svm_cpu *sc)
{
	sc->asid_gen++;
	sc->next_asid = 1;
}

/*
 * For this entry: give the vCPU an ASID of this CPU if it has none, or else see to the flush that
 * is owed.
 */
static __noinline void asid_renew(struct vcpu *v, struct cpu *c, u64 gen)
{
	struct svm_vcpu *s = svm_of(v);
	struct svm_cpu *sc = c->svm;
	u8 control = flush_one;

	if (s->watch & WATCH_NESTED)
		shadow_follow(v, gen);
	if (s->asid_gen != sc->asid_gen) {
		control = SVM_TLB_NONE;
		if (sc->next_asid > max_asid)
			asids_end(sc);
		if (sc->next_asid == 1)
			control = SVM_TLB_FLUSH_ALL;
		s->vmcb->asid = sc->next_asid++;
		s->asid_cpu = c;
		s->asid_gen = sc->asid_gen;
	}
	s->tlb_gen = gen;
	svm_set_msr_map(v); /* whoever changes it has all flush */
	s->vmcb->tlb_control = control;
	s->watch |= WATCH_TLB;
	BUG_ON(!s->vmcb->asid || s->vmcb->asid > max_asid);
	BUG_ON(s->asid_cpu != c); /* svm_load() has seen to another CPU's */
}

static __noinline void watch_cr8(struct vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);

	s->watch &= ~WATCH_CR8;
	s->vmcb->cr_write &= ~BIT(8);
	if (!v->vm->has_lapic || lapic_tpr_threshold(v)) {
		s->watch |= WATCH_CR8;
		s->vmcb->cr_write |= BIT(8);
	}
}

/* Where PAUSEs are not counted each exits, but only while another vCPU of the VM waits for a CPU.
 */
static __noinline void watch_pause(struct vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);

	svm_current(v);
	s->vmcb->int3 &= ~SVM_INT3_PAUSE;
	if (!(v->vm->flags & CORBEL_VM_PAUSE) && spin_others_wait(v))
		s->vmcb->int3 |= SVM_INT3_PAUSE;
}

void svm_load(struct vcpu *v)
{
	struct svm_cpu *c = this_cpu()->svm;
	const struct sched_group *g = v->sched.group;

	BUG_ON(svm_of(v)->cpu);
	svm_of(v)->cpu = this_cpu();
	if (svm_of(v)->asid_cpu != this_cpu())
		svm_flush_asid(v);
	if (unlikely(c->tsc_mul != v->tsc_mul)) {
		u64 ratio = v->tsc_mul >> (HVM_TSC_MUL_FRAC - TSC_RATIO_FRAC);

		c->tsc_mul = v->tsc_mul;
		wrmsr(MSR_TSC_RATIO, ratio ?: TSC_RATIO_1);
	}
	if (pause_exits && g && (READ_ONCE(g->runnable) > 1 || svm_vmcb(v)->int3 & SVM_INT3_PAUSE))
		watch_pause(v);
}

/* A VMCB is memory: nothing is to be put back or fetched. */
void svm_put(struct vcpu *v)
{
	svm_current(v);
	svm_of(v)->cpu = NULL;
}

bool svm_borrow(struct vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);

	if (s->cpu)
		return false;
	s->cpu = this_cpu();
	return true;
}

void svm_give_back(struct vcpu *v)
{
	svm_put(v);
}

void svm_idle(void)
{
}

/* After a single-stepped entry: nobody is to see the step. before: RFLAGS without it. */
static void end_nmi_step(struct vcpu *v, u64 before, struct vm_exit *x)
{
	struct svm_vcpu *s = svm_of(v);

	if (s->watch & WATCH_IRET) { /* IRET has not run: it will load them */
		v->rflags = (v->rflags & ~RFLAGS_TF) | (before & RFLAGS_TF);
	} else if (x->reason == VMEXIT_EXCEPTION && x->exc.vector == VEC_DB &&
		   !(before & RFLAGS_TF)) {
		s->vmcb->dr6 &= ~DR6_BS;
		x->reason = VMEXIT_NMI_WINDOW;
	}
}

/* nested: in guest mode. A constant: others do not pay for the question. */
static inline __attribute__((always_inline)) void enter_and_decode(struct vcpu *v,
								   struct vm_exit *x, bool nested)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb *m = s->vmcb;
	struct cpu *c = this_cpu();
	struct svm_cpu *sc = c->svm;
	u64 gen, event;

	m->rax = v->gpr[RAX];
	m->rsp = v->gpr[RSP];
	m->rip = v->rip;
	m->rflags = v->rflags;
	m->v_tpr = v->lapic.tpr >> 4;
	if (nested)
		svm_nested_enter(v);
	gen = entry_begin(c, v);
	if (unlikely(s->asid_gen != sc->asid_gen || s->tlb_gen != gen))
		asid_renew(v, c, gen);
	BUG_ON(nested && !svm_nested_is_clean(v, gen));
	svm_enter(v, s->vmcb_pa, sc->host_pa, m->int_state);
	entry_end(c);
	v->gpr[RAX] = m->rax;
	v->gpr[RSP] = m->rsp;
	v->rip = m->rip;
	if (unlikely(m->rflags & ~(RFLAGS_SETTABLE | RFLAGS_FIXED)) && quirk_has(QUIRK_FLAGS))
		m->rflags = svm_flags_repair(m, v->rflags);
	v->rflags = m->rflags;
	if (nested)
		svm_nested_exit(v);
	if (unlikely((m->v_tpr & 15) != v->lapic.tpr >> 4)) /* the guest wrote CR8 */
		v->lapic.tpr = m->v_tpr << 4;
	event = m->exitintinfo;
	if (unlikely(event & EVT_VALID)) {
		if (quirk_has(QUIRK_EVENT_TYPE))
			event = svm_event_repair(event);
		if (nested)
			svm_nested_take_back(v, event);
		else
			hvm_take_back_event(v, event, FIELD_GET(SVM_EVT_ERROR, event));
	}
	svm_decode_exit(m, nrips, x);
	if (unlikely(x->reason == VMEXIT_ENTRY_FAIL)) /* VMRUN may have flushed nothing */
		asids_end(sc);
}

/* While an NMI's handler runs: NMIs are open again when its IRET has been executed. */
static void run_with_nmi(struct vcpu *v, struct vm_exit *x, bool nested)
{
	struct svm_vcpu *s = svm_of(v);
	u64 before = v->rflags;
	bool step;

	/* The handler of what is injected comes before the IRET, and its own opens NMIs as well. */
	if (s->watch & WATCH_INJECT)
		svm_mask_nmi(v, true);
	step = s->nmi_step;
	s->nmi_step = false;
	if (step)
		v->rflags |= RFLAGS_TF;
	enter_and_decode(v, x, nested);
	if (s->watch & WATCH_IRET && v->rip != s->nmi_iret_rip)
		svm_mask_nmi(v, false);
	if (step) {
		end_nmi_step(v, before, x);
	} else if (x->reason == VMEXIT_NMI_WINDOW) {
		s->vmcb->int3 &= ~SVM_INT3_IRET;
		s->watch = (s->watch & ~WATCH_NMI) | WATCH_IRET;
		s->nmi_iret_rip = v->rip;
	}
}

static __noinline void run_watched(struct vcpu *v, struct vm_exit *x)
{
	struct svm_vcpu *s = svm_of(v);
	bool nested = s->watch & WATCH_NESTED;

	s->vmcb->tlb_control = SVM_TLB_NONE;
	s->watch &= ~WATCH_TLB;
	watch_cr8(v);
	if (nested)
		svm_nested_inject(v);
	if (s->watch & WATCH_DEBUG)
		svm_debug_enter(s);
	if (quirk_has(QUIRK_VIRQ))
		svm_virq_enter(s);
	if (s->watch & WATCH_DR7)
		WRITE_DR(7, s->vmcb->dr7 & ~DR7_GD);
	if (s->watch & (WATCH_NMI | WATCH_IRET))
		run_with_nmi(v, x, nested);
	else
		enter_and_decode(v, x, nested);
	if (s->watch & WATCH_DR7)
		WRITE_DR(7, DR7_ONE);
	if (s->watch & WATCH_DEBUG)
		svm_debug_exit(v, x);
	if (quirk_has(QUIRK_VIRQ))
		svm_virq_exit(v);
	s->vmcb->eventinj = 0;
	s->watch &= ~WATCH_INJECT;
	if (nested)
		svm_nested_sort(v, x);
}

void svm_run(struct vcpu *v, struct vm_exit *x)
{
	if (unlikely(svm_of(v)->watch | READ_ONCE(v->due)))
		run_watched(v, x);
	else
		enter_and_decode(v, x, false);
	if (unlikely(x->reason == VMEXIT_PAUSE) && pause_exits)
		watch_pause(v);
}

const struct hvm_ops svm_ops = {.name = "svm",
				.nested = &svm_nested_ops,
				.backend = CORBEL_BACKEND_SVM,
				.io_map_order = 2, /* 12 KiB needed */
				.vcpu_pages = 1,
#define X(type, name, ...) .name = svm_##name,
				HVM_OPS(X)
#undef X
};
