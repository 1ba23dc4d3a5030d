// SPDX-License-Identifier: GPL-2.0-only
/*
 * What runs in dom0 on each CPU, for the hypervisor, to which all of it is one vCPU: the weights of
 * the threads that could run, and whether the one that does has woken of late.
 *
 * Two tracepoints of Linux' scheduler tell. Both come with the lock of the run queue held whose
 * numbers they change, so each CPU's struct cpu_load needs none of its own. Of how many threads
 * could run there is an exact count; of their weights those of threads that have been seen running
 * since they woke.
 */
#include "dom0.h"
#include "kmod.h"

#include <linux/hash.h>
#include <linux/sched/rt.h>
#include <linux/sched/stat.h>
#include <trace/events/sched.h>

#define SEEN_BITS 4
#define FRESH_NS  (3 * NSEC_PER_MSEC)

/*
 * Weight of each nice level from -20 to 19: a step is a quarter more or less, as in Linux' own
 * scheduler.
 */
static const u32 nice_weight[40] = {
    88761, 71755, 56483, 46273, 36291, 29154, 23254, 18705, 14949, 11916, 9548, 7620, 6100, 4904,
    3906,  3121,  2501,	 1991,	1586,  1277,  1024,  820,   655,   526,	  423,	335,  272,  215,
    172,   137,	  110,	 87,	70,    56,    45,    36,    29,	   23,	  18,	15,
};
static_assert(CORBEL_MAX_WEIGHT >= 88761); /* the first one is the greatest */
#define NICE_0 nice_weight[20]

/* A thread that has not slept since it was first seen to run. */
struct seen {
	const struct task_struct *task; /* only compared: it may be gone */
	u64 ran;			/* its run time then */
	u32 weight;
};

struct cpu_load {
	struct corbel_load *told; /* NULL: nobody wants to know */
	int running;		  /* threads that could run, if `exact` */
	bool exact;
	u32 switches;	  /* to threads that have woken of late */
	struct seen curr; /* runs now, and is not among the following */
	u32 seen_count, seen_weight;
	struct seen seen[1 << SEEN_BITS];
	/* while rq_base is not known: changes here since the last switch, and the last one's queue
	 */
	u32 changes;
	unsigned long rq;
};
static DEFINE_PER_CPU(struct cpu_load, cpu_load);

/* The run queues' per-CPU address, which Linux does not export; and what it was taken for last. */
static unsigned long rq_base, rq_candidate;
static struct tracepoint *switch_point, *timer_point;
static bool waits_for_timer; /* the latter tells */

u32 cb_task_weight(const struct task_struct *p)
{
	if (p->prio < MAX_RT_PRIO)
		return CORBEL_REALTIME_WEIGHT;
	return p->policy == SCHED_IDLE ? 3 : nice_weight[task_nice(p) + 20];
}

/* ---- threads that have been seen ---- */

/*
 * What it adds to dom0's weight, which holds until the next switch is seen: one of real time, which
 * most often soon sleeps again, counts as of nice -20.
 */
static u32 load_weight(const struct task_struct *p)
{
	return min(cb_task_weight(p), nice_weight[0]);
}

static struct seen *seen_slot(struct cpu_load *l, const struct task_struct *p)
{
	return &l->seen[hash_ptr(p, SEEN_BITS)];
}

static void forget_load(struct cpu_load *l, struct seen *s)
{
	if (s->task) {
		l->seen_count--;
		l->seen_weight -= s->weight;
	}
	s->task = NULL;
}

/* Nothing could run here. What was seen has moved away. */
static void forget_all(struct cpu_load *l)
{
	if (!l->seen_count)
		return;
	l->seen_count = l->seen_weight = 0;
	memset(l->seen, 0, sizeof(l->seen));
}

/* The thread that runs makes way. */
static void put_curr(struct cpu_load *l, bool slept)
{
	struct seen *s;

	if (l->curr.task && !slept) {
		s = seen_slot(l, l->curr.task);
		forget_load(l, s);
		*s = l->curr;
		l->seen_count++;
		l->seen_weight += s->weight;
	}
	l->curr.task = NULL;
}

/* A thread starts to run: has it woken of late? */
static bool set_curr(struct cpu_load *l, const struct task_struct *p)
{
	struct seen *s = l->seen_count ? seen_slot(l, p) : NULL;

	/* another's memory may be its own now */
	if (s && s->task == p && p->se.sum_exec_runtime >= s->ran) {
		l->curr = *s;
		l->curr.weight = load_weight(p);
		forget_load(l, s);
		return p->se.sum_exec_runtime - l->curr.ran < FRESH_NS;
	}
	l->curr = (struct seen){p, p->se.sum_exec_runtime, load_weight(p)};
	return true;
}

/* Those not seen count as of nice 0; if more were seen than there are, some have moved away. */
static void tell_weight(struct cpu_load *l)
{
	struct corbel_load *told = READ_ONCE(l->told); /* it may just be taken away */
	u32 count = l->seen_count + 1, weight = l->seen_weight + l->curr.weight;
	int unseen = l->running - (int)count;

	if (!l->exact || l->running <= 0)
		weight = 0;
	else if (unseen > 0)
		weight += min(unseen, CORBEL_MAX_WEIGHT) * NICE_0;
	else if (unseen < 0)
		weight = weight * (u64)l->running / count;
	if (told)
		WRITE_ONCE(told->weight, weight);
}

/* ---- what Linux' scheduler says ---- */

/*
 * The first of what is called when a thread goes to sleep is that its own CPU's run queue has
 * changed: if nothing else has changed here since the switch before, that was it. Not always, for
 * its sleep may have been called off: so twice the same is wanted.
 */
static void learn_rq_base(struct cpu_load *l, bool slept)
{
	unsigned long base = l->rq - per_cpu_offset(smp_processor_id());

	if (slept && l->changes == 1 && xchg(&rq_candidate, base) == base)
		WRITE_ONCE(rq_base, base);
	l->changes = 0;
}

/* It was not what it seemed: learn it again, and count anew. */
static void forget_rq_base(void)
{
	unsigned int cpu;

	WRITE_ONCE(rq_base, 0);
	for_each_possible_cpu(cpu) WRITE_ONCE(per_cpu(cpu_load.exact, cpu), false);
}

static struct cpu_load *load_of(unsigned long rq)
{
	unsigned int cpu = smp_processor_id();

	if (rq == rq_base + per_cpu_offset(cpu))
		return this_cpu_ptr(&cpu_load);
	for_each_possible_cpu(cpu) if (rq == rq_base + per_cpu_offset(cpu)) return per_cpu_ptr(
	    &cpu_load, cpu);
	return NULL;
}

static void running_changed(void *unused, struct rq *rq, int change)
{
	struct cpu_load *l;

	if (unlikely(!READ_ONCE(rq_base))) {
		l = this_cpu_ptr(&cpu_load);
		l->rq = (unsigned long)rq;
		l->changes++;
		return;
	}
	l = load_of((unsigned long)rq);
	if (!l || !l->exact)
		return;
	l->running += change;
	/* The switch that follows tells it where the CPU idles, or its thread goes to sleep. */
	if (l->curr.task && (change > 0 || l != this_cpu_ptr(&cpu_load)))
		tell_weight(l);
}

/* Nothing can run here: what there is is known, and was counted right if that says so, too. */
static void cpu_idles(struct cpu_load *l, struct corbel_load *told)
{
	if (l->exact && l->running)
		forget_rq_base();
	forget_all(l);
	l->running = 0;
	l->exact = READ_ONCE(rq_base);
	WRITE_ONCE(told->fresh, 0);
	/* What has run till now is charged by the weight that there was. */
	if (!l->exact)
		WRITE_ONCE(told->weight, 0);
}

static void task_switched(void *unused, bool preempt, struct task_struct *prev,
			  struct task_struct *next, unsigned int prev_state)
{
	struct cpu_load *l = this_cpu_ptr(&cpu_load);
	struct corbel_load *told = l->told;
	bool slept = !preempt && prev_state;
	u32 fresh = 0;

	if (unlikely(!READ_ONCE(rq_base)))
		learn_rq_base(l, slept);
	if (!told)
		return;
	put_curr(l, slept);
	if (is_idle_task(next)) {
		cpu_idles(l, told);
		return;
	}
	if (!l->exact && rq_base && single_task_running()) {
		l->running = 1;
		l->exact = true;
	}
	if (set_curr(l, next))
		fresh = ++l->switches | 1u << 31;
	else if (told->fresh && READ_ONCE(told->out_of_turn))
		HC0(TURN_OVER);
	WRITE_ONCE(told->fresh, fresh);
	tell_weight(l);
}

/*
 * The interrupt has come early by as much as it takes to come here. What is further away is another
 * clock's.
 */
static void timer_entered(void *unused, int vector)
{
	struct corbel_load *told = this_cpu_ptr(&cpu_load)->told;
	u64 at = told ? READ_ONCE(told->timer_at) : 0;

	if (at - rdtsc() > tsc_khz / 100)
		return;
	while ((s64)(at - rdtsc()) > 0)
		cpu_relax();
}

/* ---- set-up ---- */

/* On the CPU. */
void cb_load_start(struct corbel_load *told)
{
	struct cpu_load *l = get_cpu_ptr(&cpu_load);

	local_irq_disable();
	WRITE_ONCE(told->weight, 0);
	WRITE_ONCE(told->fresh, 0);
	*l = (struct cpu_load){.told = told};
	WRITE_ONCE(told->waits, waits_for_timer);
	local_irq_enable();
	put_cpu_ptr(&cpu_load);
}

/* On the CPU, or when nothing is told any more. */
void cb_load_stop(unsigned int cpu)
{
	struct cpu_load *l = per_cpu_ptr(&cpu_load, cpu);
	struct corbel_load *told = l->told;

	if (!told)
		return;
	local_irq_disable();
	WRITE_ONCE(told->waits, 0);
	WRITE_ONCE(l->told, NULL);
	WRITE_ONCE(told->weight, 0);
	WRITE_ONCE(told->fresh, 0);
	local_irq_enable();
}

/* Also on CPUs that were there before the tracepoint was asked for. */
static void tell_waits(bool waits)
{
	unsigned int cpu;

	WRITE_ONCE(waits_for_timer, waits);
	for_each_online_cpu(cpu)
	{
		struct corbel_load *told = per_cpu(cpu_load.told, cpu);

		if (told)
			WRITE_ONCE(told->waits, waits);
	}
}

static void find_point(struct tracepoint *tp, void *unused)
{
	if (!strcmp(tp->name, "sched_switch"))
		switch_point = tp;
	if (!strcmp(tp->name, "local_timer_entry"))
		timer_point = tp;
}

/* Without it dom0 has the share of two threads on each CPU, whatever runs there. */
int cb_load_init(void)
{
	int r;

	for_each_kernel_tracepoint(find_point, NULL);
	if (!switch_point)
		return -ENOENT;
	r = register_trace_sched_update_nr_running_tp(running_changed, NULL);
	if (r)
		return r;
	r = tracepoint_probe_register(switch_point, task_switched, NULL);
	if (r) {
		unregister_trace_sched_update_nr_running_tp(running_changed, NULL);
		tracepoint_synchronize_unregister();
		return r;
	}
	tell_waits(timer_point && !tracepoint_probe_register(timer_point, timer_entered, NULL));
	return 0;
}

void cb_load_exit(void)
{
	tracepoint_probe_unregister(switch_point, task_switched, NULL);
	if (waits_for_timer)
		tracepoint_probe_unregister(timer_point, timer_entered, NULL);
	tell_waits(false);
	unregister_trace_sched_update_nr_running_tp(running_changed, NULL);
	tracepoint_synchronize_unregister();
}
