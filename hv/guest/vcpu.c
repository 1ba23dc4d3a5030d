/* SPDX-License-Identifier: GPL-2.0-only */
/* vCPUs: table, creation, destruction, reset. Their states are pictured in hv/README.md. */
#include "hv/guest/vcpu.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/guest/apic_ids.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/debug.h"
#include "hv/guest/kick.h"
#include "hv/guest/lazy.h"
#include "hv/guest/linear.h"
#include "hv/guest/msr.h"
#include "hv/guest/posting.h"
#include "hv/guest/rights.h"
#include "hv/guest/shadow.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

static void *slots[MAX_VCPUS];
static struct id_table vcpus = {slots, MAX_VCPUS, LOCK_INIT(LOCK_VMS)};

struct vcpu *vcpu_by_id(u64 id)
{
	return table_find(&vcpus, id);
}

struct vcpu *vcpu_by_number(u64 number)
{
	struct vcpu *v = vcpu_by_id(CORBEL_VCPU_ID(number));

	return v && v->number == number ? v : NULL;
}

u32 vcpu_total(void)
{
	return vcpus.used;
}

/* ---- creation and destruction ---- */

/* What is allocated for a vCPU */
struct vcpu_block {
	struct vcpu vcpu;
	struct vcpu_emul emul;
	u8 arch[VCPU_ARCH_BYTES] __aligned(64);
};
#define VCPU_ORDER 1
_Static_assert(sizeof(struct vcpu_block) <= PAGE_SIZE << VCPU_ORDER, "a vCPU fits its pages");

_Static_assert(!__builtin_offsetof(struct vcpu_block, vcpu.lapic.irr),
	       "the descriptor is at the start of a page");

#define SHARED_ORDER 1 /* vCPU page and data page */

static int share_pages(struct vcpu *v)
{
	int ret;
	u8 *pages = pool_alloc(SHARED_ORDER, &v->vm->acct);

	if (!pages)
		return -ENOMEM;
	v->page = (void __shared *)pages;
	v->data = (u8 __shared *)pages + PAGE_SIZE;
	ret = p2m_dom0_share(&dom0->p2m, virt_to_hpa(shared_plain(v->page)));
	if (ret)
		return ret;
	ret = p2m_dom0_share(&dom0->p2m, virt_to_hpa(shared_plain(v->data)));
	if (ret)
		p2m_dom0_unshare(&dom0->p2m, virt_to_hpa(shared_plain(v->page)));
	return ret;
}

static void unshare_pages(struct vcpu *v)
{
	p2m_dom0_unshare(&dom0->p2m, virt_to_hpa(shared_plain(v->page)));
	p2m_dom0_unshare(&dom0->p2m, virt_to_hpa(shared_plain(v->data)));
}

static void vcpu_free(struct vcpu *v)
{
	struct account *acct = &v->vm->acct;

	shadow_destroy(v);
	hvm->vcpu_destroy(v);
	pool_free(shared_plain(v->page), SHARED_ORDER, acct);
	pool_free(v->xsave, 0, acct);
	pool_free(v->cpuid, 0, acct);
	pool_free(v, VCPU_ORDER, acct);
}

static int vcpu_alloc(struct vm *vm, struct vcpu **out)
{
	struct vcpu_block *block = pool_alloc(VCPU_ORDER, &vm->acct);
	struct vcpu *v = &block->vcpu;

	if (!block)
		return -ENOMEM;
	v->vm = vm;
	v->p2m = &vm->p2m;
	v->emul = &block->emul;
	v->arch = block->arch;
	v->xsave = pool_alloc(0, &vm->acct);
	v->cpuid = pool_alloc(0, &vm->acct);
	v->platform_info = CPUID_CAN_FAULT;
	if (!v->xsave || !v->cpuid || hvm->vcpu_init(v) || shadow_create(v)) {
		vcpu_free(v);
		return -ENOMEM;
	}
	*out = v;
	return 0;
}

/* Put the vCPU into its VM's tables; the caller holds vm->lock. */
static int attach_locked(struct vm *vm, struct vcpu *v, u32 apic_id)
{
	ASSERT_HELD(&vm->lock);
	if (vm_vcpu_by_apic(vm, apic_id))
		return -EEXIST;
	for (u32 i = 0; i < VM_VCPUS; i++) {
		if (vm->vcpu[i])
			continue;
		v->index = i;
		WRITE_ONCE(vm->vcpu_end, MAX(vm->vcpu_end, i + 1));
		__atomic_store_n(&vm->vcpu[i], v, __ATOMIC_RELEASE);
		apic_ids_add(vm, v);
		vm->vcpu_count++;
		return 0;
	}
	return -ENOSPC;
}

static void vcpu_detach(struct vm *vm, struct vcpu *v)
{
	lock_acquire(&vm->lock);
	BUG_ON(vm->vcpu[v->index] != v);
	if (v->lapic.id == vm->bsp_apic_id)
		vm->pic.intr = false; /* another one has not been told */
	apic_ids_drop(vm, v);
	__atomic_store_n(&vm->vcpu[v->index], NULL, __ATOMIC_RELEASE);
	vm->vcpu_count--;
	lock_release(&vm->lock);
}

/* What a guest's vCPU is promised: all of the above. */
static u64 vcpu_pages(void)
{
	return BIT(VCPU_ORDER) + BIT(SHARED_ORDER) + 2 + hvm->vcpu_pages +
	       (hvm_caps.flags & HVM_CAP_NESTED ? BIT(hvm_caps.nested_order) : 0);
}

/* Not dom0's, whose CPU is not known yet. */
static int join_group(struct vcpu *v)
{
	if (v->vm->is_dom0)
		return 0;
	sched_unit_init(&v->sched, SCHED_WEIGHT_DEFAULT, NULL, this_cpu()->index, false);
	return sched_group_join(&v->vm->sched, &v->sched);
}

/* A guest's, with a place in its VM's table. */
static int promise_vcpu(struct vm *vm)
{
	int ret = vm_make_room(vm);

	return ret ?: vm_promise(vm, vcpu_pages());
}

s64 vcpu_create(struct vm *vm, u32 apic_id)
{
	static u64 made; /* under `objects`, as all of this */
	bool is_dom0 = vm->is_dom0;
	struct vcpu *v;
	int ret = is_dom0 ? vm_make_room(vm) : promise_vcpu(vm);

	if (ret)
		return ret;
	ret = vcpu_alloc(vm, &v);
	if (ret)
		goto fail_promise;
	v->pat = PAT_RESET;
	v->tsc_khz = tsc_khz;
	v->stopped = is_dom0 ? 0 : VCPU_STOPPED;
	if (!is_dom0 && (ret = share_pages(v)))
		goto fail_free;
	ret = table_add(&vcpus, v, &v->id);
	if (ret)
		goto fail_share;
	v->number = made++ * MAX_VCPUS + v->id;
	lapic_init(v, apic_id, vm->has_lapic);
	ret = join_group(v);
	if (ret)
		goto fail_id;
	lock_acquire(&vm->lock);
	ret = attach_locked(vm, v, apic_id);
	lock_release(&vm->lock);
	if (ret)
		goto fail_group;
	if (is_dom0)
		sched_unit_init(&v->sched, 2 * SCHED_WEIGHT_DEFAULT, NULL, v->index, true);
	BUG_ON(v->index >= VM_VCPUS || !hvm->borrow(v));
	cpuid_set(v, NULL, 0);
	vcpu_reset(v, false);
	if (!is_dom0) /* whose TSC is the machine's */
		msr_write(v, MSR_TSC, 0, true);
	hvm->give_back(v);
	/* Without LAPICs the VMM starts the others itself. */
	v->mp_state = apic_id == vm->bsp_apic_id || !vm->has_lapic ? MP_RUNNABLE : MP_UNINITIALIZED;
	return v->number;

fail_group:
	if (!is_dom0)
		sched_group_leave(&v->sched);
fail_id:
	lapic_destroy(v);
	table_remove(&vcpus, v->id);
fail_share:
	if (!is_dom0)
		unshare_pages(v);
fail_free:
	vcpu_free(v);
fail_promise:
	if (!is_dom0)
		pool_retract(&vm->acct, vcpu_pages());
	return ret;
}

/*
 * Stopped, and let go by the CPU it ran on, which happens in that CPU's next pass through the
 * scheduler: 0. That CPU may be waiting for the hypercall that asks, so this must not wait for it:
 * -EAGAIN. -EBUSY: not stopped.
 */
static int check_off(struct vcpu *v)
{
	if (!__atomic_load_n(&v->stopped, __ATOMIC_ACQUIRE))
		return -EBUSY;
	return sched_is_off(&v->sched) ? 0 : -EAGAIN;
}

int vcpu_destroy(struct vcpu *v)
{
	struct vm *vm = v->vm;

	if (vm->is_dom0)
		return -EPERM;
	/* Running siblings may be sending it an interrupt. */
	for (u32 i = 0; i < vm->vcpu_end; i++) {
		struct vcpu *sibling = vm->vcpu[i];
		int ret = 0;

		if (sibling)
			ret = check_off(sibling);
		if (ret)
			return ret;
	}
	BUG_ON(vcpu_by_id(v->id) != v);
	if (!hvm->borrow(v))
		return -EAGAIN;
	hvm->give_back(v);
	lapic_destroy(v);
	posting_end(v);
	if (check_off(v)) /* its timer, or a device, was about to wake it */
		return -EAGAIN;
	sched_group_leave(&v->sched);
	vcpu_detach(vm, v);
	table_remove(&vcpus, v->id);
	unshare_pages(v);
	vcpu_free(v);
	pool_retract(&vm->acct, vcpu_pages());
	return 0;
}

void vcpu_set_smm(struct vcpu *v, bool on)
{
	BUG_ON(on && !v->vm->smm.vm);
	v->in_smm = on;
	v->p2m = on ? &v->vm->smm : &v->vm->p2m;
	WRITE_ONCE(v->page->in_smm, on);
	hvm->set_map(v);
}

/* SDM "Processor State After Reset"; the same on AMD. */
static void reset_registers(struct vcpu *v, u64 cr0)
{
	struct corbel_segment seg = {.limit = 0xffff, .type = 0x3, .s = 1, .present = 1};

	for (enum hvm_seg s = HVM_ES; s <= HVM_GS; s++)
		hvm->set_seg(v, s, &seg);
	seg.type = 0xb;
	seg.selector = 0xf000;
	seg.base = 0xffff0000;
	hvm->set_seg(v, HVM_CS, &seg);
	seg = (struct corbel_segment){.limit = 0xffff, .type = 0xb, .present = 1};
	hvm->set_seg(v, HVM_TR, &seg);
	seg.type = 0x2;
	hvm->set_seg(v, HVM_LDTR, &seg);
	seg = (struct corbel_segment){.limit = 0xffff};
	hvm->set_seg(v, HVM_GDTR, &seg);
	hvm->set_seg(v, HVM_IDTR, &seg);
	hvm->set(v, HVM_EFER, 0);
	vcpu_set_cr4(v, 0);
	hvm->set(v, HVM_CR3, 0);
	hvm->set(v, HVM_CR0, cr0);
	hvm->set(v, HVM_CR2, 0);
	hvm->set(v, HVM_DR6, 0);
	hvm->set(v, HVM_DR7, 0);
	hvm->set(v, HVM_NMI_MASK, 0);
	hvm->msr_set(v, MSR_PAT, v->pat);
}

void vcpu_reset(struct vcpu *v, bool init)
{
	u64 cr0 = CR0_CD | CR0_NW;

	if (init) /* which leaves the caches alone */
		cr0 &= hvm->get(v, HVM_CR0);
	memset(v->gpr, 0, sizeof(v->gpr));
	v->gpr[RDX] = v->cpuid_count ? v->cpuid_sig : 0x600;
	v->rip = 0xfff0;
	v->rflags = RFLAGS_FIXED;
	memset(v->dr, 0, sizeof(v->dr));
	v->exception.pending = v->nmi_pending = v->nmi_injected = v->irq_injected = false;
	v->user_irq = -1;
	v->emul->state.active = false;
	v->smi_pending = v->init_latched = v->smm_in_nmi = false;
	v->complete = NULL;
	if (v->page)
		shared_write(v->page->async_pf, (u64[2]){0}, sizeof(v->page->async_pf));
	v->window_on = false; /* the back end forgets it */
	if (!init) {
		fpu_reset(v);
		pv_reset(v);
		mce_reset(v);
		pmu_reset(v);
		v->mtrr_def_type = 0;
		v->misc_enable = 1;
		v->tsc_adjust = v->power_ctl = v->misc_features = 0;
		v->spec_ctrl = v->feature_control = 0;
		v->ssbd = false;
	}
	hvm->vcpu_reset(v, init);
	cpuid_follow_mwait(v);
	hvm->set(v, HVM_INSNS, v->rights.insns);
	if (v->in_smm)
		vcpu_set_smm(v, false);
	reset_registers(v, cr0 | CR0_ET);
	if (v->debug.control)
		debug_reset(v);
	lapic_reset(v, init);
}
