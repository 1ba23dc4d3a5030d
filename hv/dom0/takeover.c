/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/dom0/takeover.h"
#include "hv/cpu/apic.h"
#include "hv/dom0/lend.h"
#include "hv/guest/event.h"
#include "hv/guest/kick.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/iommu/domain.h"
#include "hv/lib/log.h"

#define TOLD_VCPUS 64 /* vCPUs: half of the log */

static bool between; /* under the lock `objects`, for writing */

static void unmap_all(struct p2m *p)
{
	for (u64 gfn = 0; gfn < p2m_gfn_end();)
		gfn += p2m_unmap(p, gfn, p2m_gfn_end() - gfn);
}

/*
 * Whoever is inside the guest is out of it when the first page has been taken away, and stops
 * before the next entry. One that is to finish an access to memory finds none.
 */
static void end_vm(struct vm *vm)
{
	for (u32 i = 0; i < vm->vcpu_end; i++)
		if (vm->vcpu[i] && !vm->dying)
			vcpu_request(vm->vcpu[i], DUE_PAUSE);
	vm->dying = true; /* nothing is mapped any more, nor resumed */
	unmap_all(&vm->p2m);
	if (vm->smm.vm)
		unmap_all(&vm->smm);
	pool_retract(&vm->tables, vm->tables.promised);
}

void takeover_end_guests(void)
{
	u32 n = 0;

	between = true;
	for (u32 id = 1; id < MAX_VMS; id++) {
		struct vm *vm = vm_by_id(id);

		if (!vm)
			continue;
		n += !vm->dying;
		end_vm(vm); /* of one that was being freed tables may be left */
	}
	lend_return_all();
	for (u32 i = 0; i < dom0->vcpu_end; i++)
		if (dom0->vcpu[i])
			dom0->vcpu[i]->event_vector = 0;
	event_forget();
	if (n)
		log_warn("dom0's kernel makes way for another: its %u VMs are ended", n);
}

void takeover_kernel_ends(struct vcpu *v)
{
	BUG_ON(!v->vm->is_dom0);
	write_acquire(&objects);
	takeover_end_guests();
	/* A crash kernel that runs on such a CPU would hear nothing without. */
	for (u32 i = 0; i < dom0->vcpu_end && v->lapic.id <= MSI_LAST_ID; i++)
		if (dom0->vcpu[i])
			pv_end_wide_ids(dom0->vcpu[i]);
	domain_kernel_ends();
	domain_let_go();
	write_release(&objects);
}

void takeover_cpu_ends(struct vcpu *v)
{
	if (v->event_vector) {
		takeover_kernel_ends(v);
	} else if (READ_ONCE(between)) {
		write_acquire(&objects);
		domain_let_go();
		write_release(&objects);
	}
}

/* Into the log alone, which the next kernel reads: who looks at a crash may want to know. */
static void tell_registers(struct vcpu *v)
{
	const u64 *r = v->gpr;

	if (!hvm->borrow(v))
		return;
	log_debug("vm %u vcpu %u: at last rip %lx rflags %lx cr0 %lx cr2 %lx cr3 %lx cr4 %lx "
		  "efer %lx",
		  v->vm->id, v->index, v->rip, v->rflags, hvm->get(v, HVM_CR0),
		  hvm->get(v, HVM_CR2), hvm->get(v, HVM_CR3), hvm->get(v, HVM_CR4),
		  hvm->get(v, HVM_EFER));
	log_debug("rax %lx rcx %lx rdx %lx rbx %lx rsp %lx rbp %lx rsi %lx rdi %lx r8 %lx r9 %lx "
		  "r10 %lx r11 %lx r12 %lx r13 %lx r14 %lx r15 %lx",
		  r[RAX], r[RCX], r[RDX], r[RBX], r[RSP], r[RBP], r[RSI], r[RDI], r[R8], r[R9],
		  r[R10], r[R11], r[R12], r[R13], r[R14], r[R15]);
	hvm->give_back(v);
}

/* told: how many vCPUs' registers are in the log, where there is to be more */
static int free_vm(struct vm *vm, u32 *told)
{
	int ret = 0;

	for (u32 i = 0; i < vm->vcpu_end; i++)
		if (vm->vcpu[i] && !READ_ONCE(vm->vcpu[i]->stopped))
			return -EAGAIN;
	for (u32 i = 0; i < vm->vcpu_end && !ret; i++) {
		struct vcpu *v = vm->vcpu[i];

		if (v && (*told)++ < TOLD_VCPUS)
			tell_registers(v);
		if (v)
			ret = vcpu_destroy(v);
	}
	return ret ?: vm_destroy(vm);
}

s64 takeover_kernel_begins(void)
{
	u32 told = 0;

	takeover_end_guests();
	for (u32 id = 1; id < MAX_VMS; id++) {
		struct vm *vm = vm_by_id(id);

		if (vm && free_vm(vm, &told))
			return -EAGAIN;
	}
	event_forget(); /* a vCPU may have stopped since */
	between = false;
	return 0;
}

bool takeover_is_between(void)
{
	return between;
}
