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
#define KEPT		  64

static struct corbel_events __shared *events; /* dom0 reads it and clears bits; set once */
static struct corbel_load __shared *loads;    /* in the pages behind */
static struct vm *receiver;		      /* dom0 */
static PER_CPU(struct timer, delay_timers);
static u64 kept[KEPT]; /* broken frames for which dom0 has had no place; any CPU */
static bool any_kept;

static void delay_fn(struct timer *t)
{
	if (this_cpu()->event_owed)
		this_cpu()->resched = true;
}

void event_init(struct vm *vm)
{
	u64 bytes = PAGE_SIZE + cpu_count * sizeof(*loads);
	u32 order = 1;
	u8 *pages;

	BUG_ON(receiver);
	receiver = vm;
	for (u32 i = 0; i < cpu_count; i++)
		timer_setup(&per_cpu(delay_timers, i), delay_fn);
	while (PAGE_SIZE << order < bytes)
		order++;
	pages = pool_alloc(order, NULL);
	for (u64 at = 0; at < bytes; at += PAGE_SIZE)
		if (!pages || p2m_dom0_share(&vm->p2m, virt_to_hpa(pages + at)))
			boot_fail("not enough hypervisor memory for dom0's event pages; give more "
				  "with hvmem=");
	events = (void __shared *)pages;
	loads = (void __shared *)(pages + PAGE_SIZE);
}

hpa_t event_page(void)
{
	return virt_to_hpa(shared_plain(events));
}

void event_forget(void)
{
	WRITE_ONCE(events->vcpu_summary, 0);
	WRITE_ONCE(events->doorbell_summary, 0);
	memset(shared_plain(events->vcpu), 0, sizeof(events->vcpu));
	memset(shared_plain(events->doorbell), 0, sizeof(events->doorbell));
	memset(shared_plain(loads), 0, cpu_count * sizeof(*loads));
}

struct corbel_load __shared *event_load(u32 cpu)
{
	BUG_ON(cpu >= cpu_count);
	return &loads[cpu];
}

/* The dom0 vCPU of a CPU, if it takes events, has bound an interrupt, gets that. */
static bool interrupt_on(u32 cpu)
{
	struct vcpu *v = vm_vcpu(receiver, cpu);
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
	for (u32 i = 0; i < cpu_count; i++)
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
	FOR_EACH_CPU(i, sched_idle_cpus())
		if (interrupt_on(i))
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

/* False: they are all taken. */
static bool put_frame(u64 __shared *places, u32 count, u64 pfn)
{
	for (u32 i = 0; i < count; i++) {
		u64 old = 0;

		if (__atomic_compare_exchange_n(&places[i], &old, pfn, false, __ATOMIC_SEQ_CST,
						__ATOMIC_RELAXED) ||
		    old == pfn)
			return true;
	}
	return false;
}

static bool tell_frame(u64 pfn)
{
	return put_frame(events->broken, CORBEL_BROKEN, pfn);
}

static void keep_frame(u64 pfn)
{
	static u32 lost;

	if (put_frame((u64 __shared *)kept, KEPT, pfn))
		WRITE_ONCE(any_kept, true);
	else
		log_err("memory at %lx is broken, and dom0 is not told, since it does not take "
			"what it has been told before: %u pages by now",
			pfn << PAGE_SHIFT, __atomic_add_fetch(&lost, 1, __ATOMIC_RELAXED));
}

void event_memory_broken(u64 pfn)
{
	const struct frame *f = frame_of(pfn);

	if (!pfn || !events || !f || f->kind != FRAME_DOM0)
		return;
	if (!tell_frame(pfn))
		keep_frame(pfn);
	interrupt_dom0();
}

static bool has_place(void)
{
	for (u32 i = 0; i < CORBEL_BROKEN; i++)
		if (!READ_ONCE(events->broken[i]))
			return true;
	return false;
}

void event_tell_kept(void)
{
	bool told = false;

	/*
	 * Cleared first: what another CPU keeps from now on is seen here, or sets it. While dom0
	 * takes nothing, which may be for ever, it costs no more than to look.
	 */
	if (likely(!READ_ONCE(any_kept)) || !has_place() ||
	    !__atomic_exchange_n(&any_kept, false, __ATOMIC_SEQ_CST))
		return;
	for (u32 i = 0; i < KEPT; i++) {
		u64 pfn = READ_ONCE(kept[i]);

		if (pfn && !tell_frame(pfn)) {
			WRITE_ONCE(any_kept, true);
			break;
		}
		/* Two CPUs may tell the same, which does no harm. */
		told |= pfn && __atomic_compare_exchange_n(&kept[i], &pfn, 0, false,
							   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	}
	if (told)
		interrupt_dom0();
}

void event_error(const struct corbel_error *e)
{
	static struct lock lock = LOCK_INIT(LOCK_LAST); /* of who fills a place */
	u64 free;

	if (!events)
		return;
	lock_acquire(&lock);
	free = ~READ_ONCE(events->errors) & (BIT(CORBEL_ERRORS) - 1);
	if (free) {
		u32 place = __builtin_ctzll(free);

		shared_write(&events->error[place], e, sizeof(*e));
		__atomic_fetch_or(&events->errors, BIT(place), __ATOMIC_SEQ_CST);
	} else {
		__atomic_fetch_add(&events->errors_lost, 1, __ATOMIC_RELAXED);
	}
	lock_release(&lock);
	interrupt_dom0();
}

void event_bound(u32 cpu)
{
	bool untold;

	/* Who tells of one now sees the vector, or it is seen here. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	untold = READ_ONCE(events->errors);
	for (u32 i = 0; i < CORBEL_BROKEN; i++)
		untold |= !!READ_ONCE(events->broken[i]);
	if (untold)
		interrupt_on(cpu);
}

static __noinline void doorbell_is_new(struct cpu *c)
{
	if (interrupt_idle())
		return;
	c->event_owed = true;
	if (own_cpu(delay_timers).cpu < 0)
		timer_arm(&own_cpu(delay_timers), rdtsc() + ns_to_tsc(DOORBELL_DELAY_NS));
}

void event_doorbell(u32 id)
{
	BUG_ON(id >= CORBEL_MAX_DOORBELLS);
	if (set_bit(events->doorbell, &events->doorbell_summary, id) && !this_cpu()->event_owed)
		doorbell_is_new(this_cpu());
}
