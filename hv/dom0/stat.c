/* SPDX-License-Identifier: GPL-2.0-only */
/* Statistics for dom0's tools. */
#include "hv/dom0/stat.h"
#include "boot/boot.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/event.h"
#include "hv/guest/vcpu.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

static u32 stat_info(struct corbel_info *i)
{
	*i = (struct corbel_info){
	    .abi_version = CORBEL_ABI_VERSION,
	    .backend = hvm->backend,
	    .cpus = cpu_count,
	    .vms = vm_count(),
	    .vcpus = vcpu_total(),
	    .doorbells = doorbell_total(),
	    .pool_total_bytes = pool_total_bytes(),
	    .pool_free_bytes = pool_free_bytes(),
	    .tsc_khz = tsc_khz,
	    .uptime_ns = tsc_to_ns(rdtsc() - boot_tsc),
	    .events_hpa = event_page().v,
	    .gfn_end = p2m_gfn_end(hvm->p2m_format),
	    .features = hvm_caps.tsc_frac ? CORBEL_FEATURE_TSC_SCALE : 0,
	};
	for (u32 n = 0; n < boot_info.map.count; n++)
		if (boot_info.map.r[n].kind == MEM_RAM)
			i->memory_total_bytes += boot_info.map.r[n].end - boot_info.map.r[n].start;
	hv_snprintf(i->version, sizeof(i->version), "%s", CORBEL_VERSION);
	hv_snprintf(i->scheduler, sizeof(i->scheduler), "%s", sched_policy_name());
	return sizeof(*i);
}

static u32 stat_vm(struct vm *vm, struct corbel_vm_stat *s)
{
	u64 now = rdtsc(), run = 0;

	lock_acquire(&vm->lock);
	for (u32 i = 0; i < MAX_CPUS; i++)
		if (vm->vcpu[i])
			run += sched_runtime(&vm->vcpu[i]->sched, now);
	lock_release(&vm->lock);
	*s = (struct corbel_vm_stat){
	    .id = vm->id,
	    .vcpus = vm->vcpu_count,
	    .pid = vm->pid,
	    .flags = vm->flags,
	    .mapped_bytes = vm->p2m.mapped << PAGE_SHIFT,
	    .pool_bytes = vm->acct.pages << PAGE_SHIFT,
	    .runtime_ns = tsc_to_ns(run),
	};
	memcpy(s->name, vm->name, sizeof(s->name));
	return sizeof(*s);
}

static u32 vcpu_state(const struct vcpu *v)
{
	if (v->stopped)
		return CORBEL_VCPU_STOPPED;
	return v->sched.state == SCHED_RUNNING	? CORBEL_VCPU_RUNNING
	       : v->sched.state == SCHED_QUEUED ? CORBEL_VCPU_RUNNABLE
						: CORBEL_VCPU_BLOCKED;
}

static u32 stat_vcpu(struct vcpu *v, struct corbel_vcpu_stat *s)
{
	u64 now = rdtsc();

	*s = (struct corbel_vcpu_stat){
	    .id = v->id,
	    .vm = v->vm->id,
	    .index = v->index,
	    .apic_id = v->lapic.id,
	    .state = vcpu_state(v),
	    .cpu = v->sched.cpu,
	    .weight = v->sched.weight,
	    .cap = v->sched.cap,
	    .affinity = v->sched.affinity,
	    .runtime_ns = tsc_to_ns(sched_runtime(&v->sched, now)),
	    .steal_ns = tsc_to_ns(sched_steal(&v->sched, now)),
	    .exits_total = v->exits_total,
	};
	memcpy(s->exits, v->exits, sizeof(v->exits));
	return sizeof(*s);
}

static u32 stat_cpu(struct cpu *c, struct corbel_cpu_stat *s)
{
	u64 up = rdtsc() - c->start_tsc;

	*s = (struct corbel_cpu_stat){
	    .cpu = c->index,
	    .apic_id = c->apic_id,
	    .idle_ns = tsc_to_ns(c->idle_tsc),
	    .busy_ns = tsc_to_ns(up - MIN(up, c->idle_tsc)),
	    .interrupts = c->interrupts,
	    .switches = c->switches,
	};
	return sizeof(*s);
}

static struct vcpu *vcpu_nth(u64 n)
{
	for (u32 i = 0; i < MAX_VCPUS; i++)
		if (vcpu_by_id(i) && !n--)
			return vcpu_by_id(i);
	return NULL;
}

s64 stat_get(u64 what, u64 nth, void *buf)
{
	struct vcpu *v;
	struct vm *vm;

	switch (what) {
	case CORBEL_STAT_INFO:
		return stat_info(buf);
	case CORBEL_STAT_VM:
		vm = vm_nth(nth);
		return vm ? (s64)stat_vm(vm, buf) : -ENOENT;
	case CORBEL_STAT_VCPU:
		v = vcpu_nth(nth);
		return v ? (s64)stat_vcpu(v, buf) : -ENOENT;
	case CORBEL_STAT_CPU:
		return nth < cpu_count ? (s64)stat_cpu(cpus[nth], buf) : -ENOENT;
	}
	return -EINVAL;
}
