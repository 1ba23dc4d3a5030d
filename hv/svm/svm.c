/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * AMD-V back end: capability check, per-CPU and per-vCPU set-up, entry. APM volume 2, "Secure
 * Virtual Machine".
 */
#include "hv/svm/svm.h"
#include "boot/options.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/svm/decode.h"

#define MSR_VM_CR	0xc0010114
#define VM_CR_SVMDIS	BIT(4)
#define VM_CR_LOCK	BIT(3)
#define MSR_VM_HSAVE_PA 0xc0010117
#define EFER_SVME	BIT(12)

#define CPUID_SVM_NP	    BIT(0)
#define CPUID_SVM_NRIPS	    BIT(3)
#define CPUID_SVM_TSC_RATE  BIT(4)
#define CPUID_SVM_FLUSHASID BIT(6)

#define MSR_TSC_RATIO 0xc0000104 /* of guests; 8 integer and 32 fraction bits */

/*
 * Per-CPU: ASIDs are handed out in order; when they run out a new generation begins and the TLB is
 * flushed.
 */
struct svm_cpu {
	void *hsave;	 /* the CPU's own host save area */
	void *host_vmcb; /* our FS, GS, TR, LDTR, system-call MSRs by VMSAVE */
	u64 host_pa;
	u64 asid_gen;
	u32 next_asid, max_asid;
	u64 tsc_mul; /* in MSR_TSC_RATIO */
};

static u32 asid_count;

static const char *svm_probe(void)
{
	u32 a, b, c, d;
	u64 vm_cr;

	cpuid(0x80000000, 0, &a, &b, &c, &d);
	if (a < 0x8000000a)
		return "this CPU has no AMD-V (SVM); use a CPU with virtualization, or -cpu max in "
		       "QEMU";
	cpuid(0x80000001, 0, &a, &b, &c, &d);
	if (!(c & BIT(2)) || cap_masked("svm"))
		return "this CPU has no AMD-V (SVM); use a CPU with virtualization, or -cpu max in "
		       "QEMU";
	if (rdmsr_safe(MSR_VM_CR, &vm_cr) == 0 && (vm_cr & VM_CR_SVMDIS))
		return vm_cr & VM_CR_LOCK
			   ? "AMD-V (SVM) is switched off and locked; enable SVM in the firmware "
			     "set-up"
			   : "AMD-V (SVM) is switched off; enable SVM in the firmware set-up";
	cpuid(0x8000000a, 0, &a, &b, &c, &d);
	if (!(d & CPUID_SVM_NP) || cap_masked("npt"))
		return "this CPU has AMD-V without nested paging (NPT); use a newer CPU, or -cpu "
		       "max in QEMU";
	if (b < 2)
		return "this CPU offers no ASIDs for guests; if it is virtual, give it more than "
		       "one";
	asid_count = b;
	svm_hides_lme = cpu_runs_in(IN_TCG) && !cap_masked("lme-hiding");
	svm_uses_virq = cpu_runs_in(IN_TCG) && !cap_masked("virq");
	if ((d & CPUID_SVM_NRIPS) && !cap_masked("nrips"))
		svm_ops.caps |= HVM_CAP_NRIPS;
	if ((d & CPUID_SVM_FLUSHASID) && !cap_masked("flushbyasid"))
		svm_ops.caps |= HVM_CAP_FLUSHASID;
	if ((d & CPUID_SVM_TSC_RATE) && !cap_masked("tsc-scale"))
		svm_ops.tsc_frac = 32;
	cpuid(0x80000001, 0, &a, &b, &c, &d);
	pt_guest = pt_npt;
	if ((d & BIT(26)) && !cap_masked("1g"))
		pt_guest.max_order = 18;
	return NULL;
}

static int svm_cpu_enable(struct cpu *c)
{
	struct svm_cpu *s = c->svm;

	if (!s) {
		s = pool_alloc(0, NULL);
		if (!s)
			return -ENOMEM;
		c->svm = s;
		s->hsave = pool_alloc(0, NULL);
		s->host_vmcb = pool_alloc(0, NULL);
		if (!s->hsave || !s->host_vmcb)
			return -ENOMEM;
		s->host_pa = virt_to_hpa(s->host_vmcb).v;
		s->max_asid = MIN(asid_count - 1, 0xffffu);
		s->asid_gen = 1;
		s->next_asid = 1;
	}
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME);
	wrmsr(MSR_VM_HSAVE_PA, virt_to_hpa(s->hsave).v);
	if (svm_ops.tsc_frac)
		wrmsr(MSR_TSC_RATIO, BIT(32));
	/* Our own FS, GS, TR, LDTR never change after this point. */
	__asm__ volatile("vmsave %%rax" ::"a"(s->host_pa) : "memory");
	return 0;
}

static void svm_cpu_disable(struct cpu *c)
{
	__asm__ volatile("stgi");
	wrmsr(MSR_VM_HSAVE_PA, 0);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) & ~EFER_SVME);
}

#define MSRPM_ORDER 1 /* 8 KiB */
#define IOPM_ORDER  2 /* 12 KiB needed */

/*
 * Two bits an MSR, three ranges of 8192; APM "MSR Intercepts". Everything not cleared here exits.
 */
static void svm_allow_msr(struct vm *vm, u32 msr)
{
	u32 at;

	if (msr < 0x2000)
		at = msr;
	else if (msr >= 0xc0000000 && msr < 0xc0002000)
		at = msr - 0xc0000000 + 0x2000;
	else
		at = msr - 0xc0010000 + 0x4000;
	vm->msr_map[at / 4] &= ~(3 << (at % 4 * 2));
}

static int svm_vcpu_init(struct vcpu *v)
{
	struct svm_vcpu *s = pool_alloc(0, &v->vm->acct);
	struct vmcb *m = pool_alloc(0, &v->vm->acct);

	if (!s || !m) {
		if (s)
			pool_free(s, 0, &v->vm->acct);
		if (m)
			pool_free(m, 0, &v->vm->acct);
		return -ENOMEM;
	}
	s->vmcb = m;
	s->vmcb_pa = virt_to_hpa(m).v;
	v->arch = s;
	return 0;
}

static void svm_vcpu_destroy(struct vcpu *v)
{
	struct svm_vcpu *s = v->arch;

	if (!s)
		return;
	pool_free(s->vmcb, 0, &v->vm->acct);
	pool_free(s, 0, &v->vm->acct);
	v->arch = NULL;
}

static void vmcb_init_controls(struct vcpu *v)
{
	struct vmcb *m = svm_vmcb(v);

	m->cr_write = 1 << 4; /* CR4: its reserved bits are checked here, not by the CPU */
	/* #DB and #AC could loop for ever inside the CPU while being delivered; #MC is ours. */
	m->exceptions = BIT(1) | BIT(17) | BIT(18);
	m->int3 = SVM_INT3_INTR | SVM_INT3_NMI | SVM_INT3_INIT | SVM_INT3_RDPMC | SVM_INT3_CPUID |
		  SVM_INT3_INVD | SVM_INT3_HLT | SVM_INT3_INVLPGA | SVM_INT3_IOIO | SVM_INT3_MSR |
		  SVM_INT3_FERR | SVM_INT3_SHUTDOWN;
	m->int4 = SVM_INT4_VMRUN | SVM_INT4_VMMCALL | SVM_INT4_VMLOAD | SVM_INT4_VMSAVE |
		  SVM_INT4_STGI | SVM_INT4_CLGI | SVM_INT4_SKINIT | SVM_INT4_MONITOR |
		  SVM_INT4_MWAIT | SVM_INT4_MWAIT_ARMED | SVM_INT4_XSETBV;
	if (!v->vm->is_dom0)
		m->int4 |= SVM_INT4_WBINVD;
	m->iopm = virt_to_hpa(v->vm->io_map).v;
	m->msrpm = virt_to_hpa(v->vm->msr_map).v;
	m->vintr = SVM_V_INTR_MASKING;
	m->tsc_offset = v->tsc_offset;
	m->np_control = SVM_NP_ENABLE;
	m->ncr3 = v->vm->p2m.pt.root.v;
}

static void svm_vcpu_reset(struct vcpu *v, bool init)
{
	memset(svm_vmcb(v), 0, sizeof(struct vmcb));
	vmcb_init_controls(v);
	((struct svm_vcpu *)v->arch)->watch = 0;
	svm_flush_asid(v);
}

void svm_flush_asid(struct vcpu *v)
{
	struct svm_vcpu *s = v->arch;

	s->asid_gen = 0;
}

/* Give the vCPU an ASID of this CPU if it has none, and see to owed flushes, for this entry. */
static __noinline void asid_renew(struct vcpu *v, struct cpu *c, u64 gen)
{
	struct svm_vcpu *s = v->arch;
	struct svm_cpu *sc = c->svm;
	u8 control = SVM_TLB_NONE;

	if (s->asid_gen != sc->asid_gen) { /* svm_load() has seen to another CPU's */
		if (sc->next_asid > sc->max_asid) {
			sc->asid_gen++;
			sc->next_asid = 1;
			control = SVM_TLB_FLUSH_ALL;
		}
		s->asid_cpu = c;
		s->asid_gen = sc->asid_gen;
		svm_vmcb(v)->asid = sc->next_asid++;
		if (svm_vmcb(v)->asid == 1)
			control = SVM_TLB_FLUSH_ALL;
	} else if (s->tlb_gen != gen) {
		control = svm_ops.caps & HVM_CAP_FLUSHASID ? SVM_TLB_FLUSH_ASID : SVM_TLB_FLUSH_ALL;
	}
	s->tlb_gen = gen;
	svm_vmcb(v)->tlb_control = control;
	s->watch |= WATCH_TLB;
	BUG_ON(!svm_vmcb(v)->asid || s->asid_cpu != c);
}

static __noinline void watch_cr8(struct vcpu *v)
{
	struct svm_vcpu *s = v->arch;

	if (lapic_tpr_threshold(v)) {
		s->watch |= WATCH_CR8;
		s->vmcb->cr_write |= BIT(8);
	} else {
		s->watch &= ~WATCH_CR8;
		s->vmcb->cr_write &= ~BIT(8);
	}
}

static void svm_load(struct vcpu *v)
{
	struct svm_cpu *c = this_cpu()->svm;
	struct svm_vcpu *s = v->arch;

	if (s->asid_cpu != this_cpu())
		svm_flush_asid(v);
	if (unlikely(c->tsc_mul != v->tsc_mul)) {
		c->tsc_mul = v->tsc_mul;
		wrmsr(MSR_TSC_RATIO, (c->tsc_mul ? c->tsc_mul : BIT(48)) >> 16);
	}
}

static void svm_put(struct vcpu *v)
{
}

static bool svm_borrow(struct vcpu *v)
{
	return true;
}

/*
 * An event whose delivery was broken off by the exit goes back to be delivered again; APM
 * "EXITINTINFO".
 */
static void take_back_event(struct vcpu *v, struct vmcb *m)
{
	u64 e = m->exitintinfo;
	u8 vector = e & SVM_EVT_VECTOR;
	u32 type = FIELD_GET(SVM_EVT_TYPE, e);

	/*
	 * Some emulators call an interrupt an exception: exceptions have vectors below 32, and not
	 * the NMI's.
	 */
	if (type == SVM_EVT_EXC && (vector >= 32 || vector == 2))
		type = vector == 2 ? SVM_EVT_NMI : SVM_EVT_INTR;
	if (type == SVM_EVT_INTR) {
		v->irq_injected = true;
		v->irq_vector = vector;
	} else if (type == SVM_EVT_NMI) {
		v->nmi_injected = true;
	} else if (type == SVM_EVT_EXC && vector != 3 && vector != 4) {
		v->exception.pending = true;
		v->exception.vector = vector;
		v->exception.has_error = e & SVM_EVT_HAS_ERR;
		v->exception.error = FIELD_GET(SVM_EVT_ERROR, e);
	} /* software interrupts, INT3, INTO: RIP is at the instruction, it runs again */
}

/* After a single-stepped entry: nobody is to see the step. before: RFLAGS without it. */
static void end_nmi_step(struct vcpu *v, u64 before, struct vm_exit *x)
{
	struct svm_vcpu *s = v->arch;
	struct vmcb *m = s->vmcb;

	if (s->nmi_iret_rip) { /* IRET has not run: it will load them */
		v->rflags = (v->rflags & ~RFLAGS_TF) | (before & RFLAGS_TF);
	} else if (x->reason == VMEXIT_EXCEPTION && x->exc.vector == 1 && !(before & RFLAGS_TF)) {
		m->dr6 &= ~DR6_BS;
		x->reason = VMEXIT_NMI_WINDOW;
	}
}

static inline __attribute__((always_inline)) void run(struct vcpu *v, struct vm_exit *x, bool sweep)
{
	struct svm_vcpu *s = v->arch;
	struct vmcb *m = s->vmcb;
	struct cpu *c = this_cpu();
	struct svm_cpu *sc = c->svm;
	u64 gen;

	m->rax = v->gpr[RAX];
	m->rsp = v->gpr[RSP];
	m->rip = v->rip;
	m->rflags = v->rflags;
	*(u8 *)&m->vintr = v->lapic.tpr >> 4; /* SVM_V_TPR */
	__atomic_store_n(&c->in_guest, v->vm, __ATOMIC_SEQ_CST);
	gen = __atomic_load_n(&v->vm->p2m.tlb_gen, __ATOMIC_SEQ_CST);
	if (unlikely(s->asid_gen != sc->asid_gen || s->tlb_gen != gen))
		asid_renew(v, c, gen);
	if (sweep)
		apic_send_ipi(c->apic_id, VEC_NOP);
	svm_enter(v, s->vmcb_pa, sc->host_pa, m->int_state);
	__atomic_store_n(&c->in_guest, NULL, __ATOMIC_RELEASE);
	c->exit_seq++; /* in one instruction: nobody else writes it, and reads do not tear */
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	v->gpr[RAX] = m->rax;
	v->gpr[RSP] = m->rsp;
	v->rip = m->rip;
	v->rflags = m->rflags;
	if (unlikely((*(u8 *)&m->vintr & 15) != v->lapic.tpr >> 4)) /* the guest wrote CR8 */
		v->lapic.tpr = (m->vintr & 15) << 4;
	if (unlikely(m->exitintinfo & SVM_EVT_VALID))
		take_back_event(v, m);
	svm_decode_exit(m, svm_ops.caps, x);
}

/* While an NMI's handler runs: NMIs are open again when its IRET has been executed. */
static void run_with_nmi(struct vcpu *v, struct vm_exit *x, bool sweep)
{
	struct svm_vcpu *s = v->arch;
	bool step = s->nmi_step;
	u64 before = v->rflags;

	s->nmi_step = false;
	if (step)
		v->rflags |= RFLAGS_TF;
	run(v, x, sweep);
	if (s->nmi_iret_rip && v->rip != s->nmi_iret_rip) {
		v->nmi_masked = false;
		s->nmi_iret_rip = 0;
	}
	if (step) {
		end_nmi_step(v, before, x);
	} else if (x->reason == VMEXIT_NMI_WINDOW) {
		s->vmcb->int3 &= ~SVM_INT3_IRET;
		s->nmi_iret_rip = v->rip;
	}
	if (!s->nmi_iret_rip && !(s->vmcb->int3 & SVM_INT3_IRET))
		s->watch &= ~WATCH_NMI;
}

static __noinline void run_watched(struct vcpu *v, struct vm_exit *x)
{
	struct svm_vcpu *s = v->arch;
	struct vmcb *m = s->vmcb;
	/*
	 * An interrupt with a window behind it: one of our own that is pending has the exit come
	 * before the harm is done.
	 */
	bool sweep =
	    svm_uses_virq && (m->eventinj & (SVM_EVT_VALID | SVM_EVT_TYPE)) == SVM_EVT_VALID;

	m->tlb_control = SVM_TLB_NONE;
	s->watch &= ~WATCH_TLB;
	watch_cr8(v);
	if (s->watch & WATCH_NMI)
		run_with_nmi(v, x, sweep);
	else
		run(v, x, sweep);
	m->eventinj = 0;
	if (unlikely(s->virq && m->vintr & SVM_V_IRQ)) { /* not delivered */
		m->vintr &= ~SVM_V_IRQ;
		v->irq_injected = true;
		v->irq_vector = s->virq;
		v->exception.pending = false; /* so TCG may call it */
	}
	s->virq = 0;
	s->watch &= ~WATCH_INJECT;
}

static void svm_run(struct vcpu *v, struct vm_exit *x)
{
	if (unlikely(((struct svm_vcpu *)v->arch)->watch | READ_ONCE(v->due)))
		run_watched(v, x);
	else
		run(v, x, false);
}

struct hvm_ops svm_ops = {.name = "svm",
			  .backend = CORBEL_BACKEND_SVM,
			  .probe = svm_probe,
			  .cpu_enable = svm_cpu_enable,
			  .cpu_disable = svm_cpu_disable,
			  .msr_map_order = MSRPM_ORDER,
			  .io_map_order = IOPM_ORDER,
			  .allow_msr = svm_allow_msr,
			  .vcpu_init = svm_vcpu_init,
			  .vcpu_destroy = svm_vcpu_destroy,
			  .vcpu_reset = svm_vcpu_reset,
			  .load = svm_load,
			  .put = svm_put,
			  .borrow = svm_borrow,
			  .give_back = svm_put,
			  .run = svm_run,
#define X(type, name, ...) .name = svm_##name,
			  HVM_STATE_OPS(X)
#undef X
};
