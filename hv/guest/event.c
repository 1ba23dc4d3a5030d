/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events for dom0: bits in a shared page, and an interrupt. For a vCPU that has stopped it comes on
 * the CPU where it ran. The guest that rings a doorbell runs on: another CPU's dom0 vCPU is told if
 * it idles, else this CPU's when the scheduler is asked next, DOORBELL_DELAY_NS later at most.
 */
#include "hv/guest/event.h"
#include "hv/cpu/time.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/mm/frame.h"

#define DOORBELL_DELAY_NS 50000

static struct corbel_events __shared *events; /* dom0 reads it and clears bits; set once */
static struct corbel_load __shared *loads;    /* in the page behind */
static struct vm *receiver;		      /* dom0 */
static struct timer delay_timers[MAX_CPUS];

static void delay_fn(struct timer *t)
{
	if (this_cpu()->event_owed)
		this_cpu()->resched = true;
}

void event_init(struct vm *vm)
{
	u8 *pages;

	BUG_ON(receiver);
	receiver = vm;
	for (u32 i = 0; i < MAX_CPUS; i++)
		timer_setup(&delay_timers[i], delay_fn);
	pages = pool_alloc(1, NULL);
	if (!pages || p2m_dom0_share(&vm->p2m, virt_to_hpa(pages)) ||
	    p2m_dom0_share(&vm->p2m, virt_to_hpa(pages + PAGE_SIZE)))
		boot_fail(
		    "not enough hypervisor memory for dom0's event pages; give more with hvmem=");
	events = (void __shared *)pages;
	loads = (void __shared *)(pages + PAGE_SIZE);
}

hpa_t event_page(void)
{
	return virt_to_hpa(shared_plain(events));
}

void event_forget(void)
{
	memset(shared_plain(events), 0, sizeof(*events));
	memset(shared_plain(loads), 0, CORBEL_MAX_CPUS * sizeof(*loads));
}

struct corbel_load __shared *event_load(u32 cpu)
{
	BUG_ON(cpu >= CORBEL_MAX_CPUS);
	return &loads[cpu];
}

/* The dom0 vCPU of a CPU, if it takes events, has bound an interrupt, gets that. */
static bool interrupt_on(u32 cpu)
{
	struct vcpu *v = receiver->vcpu[cpu];
	u8 vector = v ? READ_ONCE(v->event_vector) : 0;

	if (vector)
		lapic_set_irq(v, vector, false);
	return vector;
}

/* The dom0 vCPU of this CPU, or the first that takes events. */
static void interrupt_dom0(void)
{
	if (interrupt_on(this_cpu()->index))
		return;
	for (u32 i = 0; i < MAX_CPUS; i++)
		if (interrupt_on(i))
			return;
}

void event_tell(void)
{
	this_cpu()->event_owed = false;
	interrupt_dom0();
}

/* Of the CPUs that idle, one whose dom0 vCPU takes events gets its interrupt. */
static bool interrupt_idle(void)
{
	for (u64 idle = sched_idle_cpus(); idle; idle &= idle - 1)
		if (interrupt_on(__builtin_ctzll(idle)))
			return true;
	return false;
}

/* False: dom0 has not looked yet since the bit was last set. */
static bool set_bit(u64 __shared *word, u64 __shared *summary, u32 id)
{
	const u64 bit = BIT(id % 64);

	if (__atomic_fetch_or(&word[id / 64], bit, __ATOMIC_SEQ_CST) & bit)
		return false;
	__atomic_fetch_or(summary, BIT(id / 64), __ATOMIC_SEQ_CST);
	return true;
}

void event_vcpu_stopped(u32 id)
{
	BUG_ON(id >= CORBEL_MAX_VCPUS);
	if (set_bit(events->vcpu, &events->vcpu_summary, id))
		interrupt_dom0();
}

/* Told once: who fills all places has no use for more. */
void event_memory_broken(u64 pfn)
{
	const struct frame *f = frame_of(pfn);

	if (!pfn || !events || !f || f->kind != FRAME_DOM0)
		return;
	for (u32 i = 0; i < CORBEL_BROKEN; i++) {
		u64 old = 0;

		if (__atomic_compare_exchange_n(&events->broken[i], &old, pfn, false,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED) ||
		    old == pfn)
			break;
	}
	interrupt_dom0();
}

static __noinline void doorbell_is_new(struct cpu *c)
{
	if (interrupt_idle())
		return;
	c->event_owed = true;
	if (delay_timers[c->index].cpu < 0)
		timer_arm(&delay_timers[c->index], rdtsc() + ns_to_tsc(DOORBELL_DELAY_NS));
}

void event_doorbell(u32 id)
{
	BUG_ON(id >= CORBEL_MAX_DOORBELLS);
	if (set_bit(events->doorbell, &events->doorbell_summary, id) && !this_cpu()->event_owed)
		doorbell_is_new(this_cpu());
}
