/* SPDX-License-Identifier: GPL-2.0-only */
/* Statistics for dom0's tools. */
#include "hv/dom0/stat.h"
#include "boot/memmap.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/idle.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"
#include "hv/dom0/suspend.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/event.h"
#include "hv/guest/vcpu.h"
#include "hv/iommu/domain.h"
#include "hv/iommu/iommu.h"
#include "hv/iommu/vtd_shown.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/sched/cpupool.h"

static s64 stat_info(struct corbel_info *i)
{
	*i = (struct corbel_info){
	    .abi_version = CORBEL_ABI_VERSION,
	    .backend = hvm->backend,
	    .cpus = cpu_count,
	    .vms = vm_count(),
	    .vcpus = vcpu_total(),
	    .doorbells = doorbell_total(),
	    .memory_total_bytes = memmap_bytes(&boot_info.map, MEM_RAM),
	    .pool_total_bytes = pool_total_bytes(),
	    .pool_free_bytes = pool_free_bytes(),
	    .pool_promised_bytes = pool_promised_bytes(),
	    .tsc_khz = tsc_khz,
	    .uptime_ns = tsc_to_ns(rdtsc() - boot_tsc),
	    .events_hpa = event_page().v,
	    .gfn_end = p2m_gfn_end(),
	    .iommu = iommu.protection,
	    .iommu_units = iommu.count,
	    .iommu_bits = iommu.all.bits,
	    .iommu_pages = iommu.pages + domain_pages(),
	    .features = hvm_caps.tsc_frac ? CORBEL_FEATURE_TSC_SCALE : 0,
	};
	if (hvm_caps.flags & HVM_CAP_NESTED)
		i->features |= CORBEL_FEATURE_NESTED;
	if (hvm_has_nested_vmx())
		i->features |= CORBEL_FEATURE_EVMCS;
	if (sched_shared_cores())
		i->features |= CORBEL_FEATURE_BY_CORE;
	if (domain_has_irqs())
		i->features |= CORBEL_FEATURE_DEVICE_IRQ;
	if (suspend_is_possible())
		i->features |= CORBEL_FEATURE_SLEEP;
	if (vm_may_mwait())
		i->features |= CORBEL_FEATURE_MWAIT;
	if (shown_remaps())
		i->features |= CORBEL_FEATURE_IRQ_REMAP;
	hv_snprintf(i->version, sizeof(i->version), "%s", CORBEL_VERSION);
	hv_snprintf(i->scheduler, sizeof(i->scheduler), "%s", sched_policy_name());
	return sizeof(*i);
}

static s64 stat_vm(struct vm *vm, struct corbel_vm_stat *s)
{
	u64 now = rdtsc(), run = 0;

	if (!vm)
		return -ENOENT;
	lock_acquire(&vm->lock);
	for (u32 i = 0; i < vm->vcpu_end; i++)
		if (vm->vcpu[i])
			run += sched_runtime(&vm->vcpu[i]->sched, now);
	lock_release(&vm->lock);
	*s = (struct corbel_vm_stat){
	    .id = vm->id,
	    .vcpus = vm->vcpu_count,
	    .pid = vm->pid,
	    .flags = vm->flags,
	    .mapped_bytes = vm_mapped(vm) << PAGE_SHIFT,
	    .pool_bytes = (vm->acct.pages + vm->tables.pages) << PAGE_SHIFT,
	    .runtime_ns = tsc_to_ns(run),
	    .weight = vm->sched.weight,
	    .cap = vm->sched.cap.percent,
	    .pool = cpupool_id(&vm->sched),
	};
	memcpy(s->name, vm->name, sizeof(s->name));
	return sizeof(*s);
}

static u32 state_shown(const struct vcpu *v)
{
	static const u8 shown[] = {
	    [SCHED_BLOCKED] = CORBEL_VCPU_BLOCKED,
	    [SCHED_QUEUED] = CORBEL_VCPU_RUNNABLE,
	    [SCHED_RUNNING] = CORBEL_VCPU_RUNNING,
	};

	return v->stopped ? CORBEL_VCPU_STOPPED : shown[READ_ONCE(v->sched.state)];
}

static s64 stat_vcpu(const struct vcpu *v, struct corbel_vcpu_stat *s)
{
	u64 now = rdtsc();

	if (!v)
		return -ENOENT;
	*s = (struct corbel_vcpu_stat){
	    .id = v->id,
	    .vm = v->vm->id,
	    .index = v->index,
	    .apic_id = v->lapic.id,
	    .state = state_shown(v),
	    .cpu = v->sched.cpu,
	    .weight = v->sched.weight,
	    .cap = v->sched.cap.percent,
	    .period_us = v->sched.budget.terms >> 32,
	    .budget_us = v->sched.budget.terms,
	    .affinity = v->sched.affinity,
	    .runs_on = v->sched.allowed,
	    .number = v->number,
	    .runtime_ns = tsc_to_ns(sched_runtime(&v->sched, now)),
	    .steal_ns = tsc_to_ns(sched_steal(&v->sched, now)),
	    .exits_total = v->exits_total,
	};
	memcpy(s->exits, v->exits, sizeof(v->exits));
	return sizeof(*s);
}

static s64 stat_cpu(struct cpu *c, struct corbel_cpu_stat *s)
{
	u64 now = rdtsc(), up = now - c->start_tsc, slept = READ_ONCE(c->idle_tsc), forced;

	if ((s64)slept < 0) /* it goes on */
		slept += now;
	slept = MIN(up, slept);
	forced = MIN(sched_forced(c->index, now), slept);
	*s = (struct corbel_cpu_stat){
	    .cpu = c->index,
	    .apic_id = c->apic_id,
	    .core = c->place.core,
	    .cache = c->place.cache,
	    .package = c->place.package,
	    .node = c->place.node,
	    .idle_ns = tsc_to_ns(slept),
	    .forced_ns = tsc_to_ns(forced),
	    .busy_ns = tsc_to_ns(up - slept),
	    .interrupts = c->interrupts,
	    .switches = c->switches,
	    .khz = READ_ONCE(c->freq.khz),
	    .idle_states = idle_states(c),
	    .by_store = c->idle.by_store,
	};
	for (u32 n = 0; n < CORBEL_IDLE_STATES; n++) {
		s->sleeps[n] = READ_ONCE(c->idle.times[n]);
		s->sleep_ns[n] = tsc_to_ns(READ_ONCE(c->idle.ticks[n]));
	}
	WRITE_ONCE(c->freq.wanted, true);
	smp_kick(c);
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
	switch (what) {
	case CORBEL_STAT_INFO:
		return stat_info(buf);
	case CORBEL_STAT_VM:
		return stat_vm(vm_nth(nth), buf);
	case CORBEL_STAT_VCPU:
		return stat_vcpu(vcpu_nth(nth), buf);
	case CORBEL_STAT_CPU:
		return nth < cpu_count ? stat_cpu(cpus[nth], buf) : -ENOENT;
	case CORBEL_STAT_POOL:
		return cpupool_stat(nth, buf);
	}
	return -EINVAL;
}
