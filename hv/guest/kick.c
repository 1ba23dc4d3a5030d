/* SPDX-License-Identifier: GPL-2.0-only */
/* Finding a vCPU and making it notice something. */
#include "hv/guest/kick.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/cpu/smp.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"

struct vcpu *vm_vcpu_by_apic(struct vm *vm, u32 apic_id)
{
	if (apic_id < ARRAY_SIZE(vm->apic_to_index)) {
		u16 i = vm->apic_to_index[apic_id];

		BUG_ON(i > VM_VCPUS);
		return i ? vm->vcpu[i - 1] : NULL;
	}
	/* what many VMMs do */
	if (apic_id < READ_ONCE(vm->vcpu_end) && vm->vcpu[apic_id] &&
	    vm->vcpu[apic_id]->lapic.id == apic_id)
		return vm->vcpu[apic_id];
	for (u32 i = 0; i < READ_ONCE(vm->vcpu_end); i++)
		if (vm->vcpu[i] && vm->vcpu[i]->lapic.id == apic_id)
			return vm->vcpu[i];
	return NULL;
}

void vcpu_notify(struct vcpu *v, bool exit)
{
	/* A stopped vCPU looks at everything pending when it is resumed. */
	if (!READ_ONCE(v->stopped))
		sched_wake(&v->sched);
	if (READ_ONCE(v->sched.state) == SCHED_RUNNING) {
		struct cpu *c = cpus[READ_ONCE(v->sched.cpu)];

		if (c == this_cpu() || READ_ONCE(c->current) != v)
			return;
		if (!exit && hvm_caps.flags & HVM_CAP_POST && READ_ONCE(c->in_guest) == v->vm &&
		    lapic_is_direct(&v->lapic))
			apic_send_ipi(c->apic_id, VEC_POSTED);
		else
			smp_kick(c);
	}
}

void vcpu_request(struct vcpu *v, u64 req)
{
	vcpu_note(v, req);
	vcpu_notify(v, true);
}
