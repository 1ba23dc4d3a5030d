/* SPDX-License-Identifier: GPL-2.0-only */
/* Making a vCPU notice something. */
#include "hv/guest/kick.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/cpu/smp.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"

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
