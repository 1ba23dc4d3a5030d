/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Yardsticks: how other schedulers would share CPUs among tasks, as their documentation has it, in
 * steps of STEP. Linux' "CFS Scheduler" and "EEVDF Scheduler" (Documentation/scheduler), with a
 * queue a CPU, a tick of 4 ms and the tunables of a default kernel; Xen's "Credit2 Scheduler", with
 * a queue for all CPUs. Models, not their code: who runs, where one that wakes goes, what moves.
 */
#ifndef TESTS_UNIT_SCHED_MODELS_H
#define TESTS_UNIT_SCHED_MODELS_H

#include "sched_sim.h"

#define STEP	   (10 * US)
#define TICK	   (4 * MS)
#define NOBODY	   (~0u)
#define CREDIT2	   (10 * (s64)MS) /* what each has at first, and gets when one has run out */
#define RATE_LIMIT MS		  /* it runs so long before another may preempt it */

enum model { MODEL_CFS, MODEL_EEVDF, MODEL_CREDIT2 };

struct task {
	u32 weight, cpu, last_cpu;
	u64 burst, sleep; /* burst 0: it never sleeps */
	const struct recorded *record;
	u32 record_len, record_at;
	bool runnable, busy; /* how late a busy one is, that competes, says nothing */
	u64 left, wake_at, woken_at, ran, moves;
	double v, deadline, lag; /* credit2: v is the credit, and falls */
};

struct model_cpu {
	u32 curr;
	u64 started, ends;
	double least; /* CFS' min_vruntime */
};

static struct task task[MAX_UNITS];
static u32 tasks, model_cpus;
static struct model_cpu model_cpu[MAX_CPUS];
static enum model model;
static u64 model_now;
static u64 model_late[1 << 18];
static u32 model_lates;

/* 1 + log2 of the CPUs, of eight at most, as kernel.sched_tunable_scaling has it. */
static u64 scaled(u64 ns)
{
	u32 factor = 1;

	for (u32 n = MIN(model_cpus, 8u); n > 1; n /= 2)
		factor++;
	return ns * factor;
}

static u32 weight_on(u32 cpu, u32 *count)
{
	u32 sum = 0;

	*count = 0;
	for (u32 i = 0; i < tasks; i++)
		if (task[i].runnable && (model == MODEL_CREDIT2 || task[i].cpu == cpu)) {
			sum += task[i].weight;
			++*count;
		}
	return sum;
}

static bool is_running(u32 t)
{
	return model_cpu[task[t].cpu].curr == t;
}

/* EEVDF: the average virtual time of a CPU's tasks, by weight. */
static double average(u32 cpu)
{
	double sum = 0, weight = 0;

	for (u32 i = 0; i < tasks; i++)
		if (task[i].runnable && task[i].cpu == cpu) {
			sum += task[i].v * task[i].weight;
			weight += task[i].weight;
		}
	return weight ? sum / weight : model_cpu[cpu].least;
}

static double deadline_of(const struct task *t)
{
	return t->v + (double)scaled(750 * US) * 1024 / t->weight;
}

/* May a come before b? */
static bool comes_before(const struct task *a, const struct task *b)
{
	if (model == MODEL_CREDIT2)
		return a->v > b->v;
	if (model == MODEL_EEVDF)
		return a->deadline < b->deadline;
	return a->v < b->v;
}

static u32 best_waiting(u32 cpu)
{
	double limit = model == MODEL_EEVDF ? average(cpu) + 1 : 0;
	u32 best = NOBODY;

	for (u32 i = 0; i < tasks; i++) {
		if (!task[i].runnable || is_running(i) ||
		    (model != MODEL_CREDIT2 && task[i].cpu != cpu))
			continue;
		if (model == MODEL_EEVDF && task[i].v > limit)
			continue;
		if (best == NOBODY || comes_before(&task[i], &task[best]))
			best = i;
	}
	return best;
}

static void start(u32 cpu, u32 t)
{
	struct model_cpu *c = &model_cpu[cpu];

	c->curr = t;
	c->started = model_now;
	if (t == NOBODY)
		return;
	if (task[t].last_cpu != cpu && task[t].last_cpu != NOBODY)
		task[t].moves++;
	task[t].cpu = task[t].last_cpu = cpu;
	if (task[t].woken_at && !task[t].busy && model_lates < ARRAY_SIZE(model_late))
		model_late[model_lates++] = model_now - task[t].woken_at;
	task[t].woken_at = 0;
}

/* Credit2: one whose turn it is has none left, so all get more. */
static void reset_credits(u32 next)
{
	if (next == NOBODY || task[next].v > 0)
		return;
	for (u32 i = 0; i < tasks; i++)
		task[i].v = MIN(task[i].v + CREDIT2, (double)CREDIT2);
}

/* Newly idle, it takes one that waits elsewhere. */
static u32 pull(u32 cpu)
{
	u32 most = 1, from = NOBODY, count, t;

	for (u32 i = 0; i < model_cpus; i++) {
		weight_on(i, &count);
		if (i != cpu && count > most) {
			most = count;
			from = i;
		}
	}
	t = from == NOBODY ? NOBODY : best_waiting(from);
	if (t != NOBODY) {
		task[t].v += model_cpu[cpu].least - model_cpu[from].least;
		task[t].deadline = deadline_of(&task[t]);
		task[t].cpu = cpu;
	}
	return t;
}

static void choose(u32 cpu)
{
	u32 next;

	model_cpu[cpu].curr = NOBODY;
	next = best_waiting(cpu);
	if (model == MODEL_CREDIT2)
		reset_credits(next);
	else if (next == NOBODY)
		next = pull(cpu);
	start(cpu, next);
}

/* How long the one that runs there may, while others wait. */
static u64 slice_of(u32 cpu)
{
	const struct task *t = &task[model_cpu[cpu].curr];
	u32 count, weight = weight_on(cpu, &count);

	if (model == MODEL_CREDIT2)
		return 2 * MS;
	if (model == MODEL_EEVDF)
		return scaled(750 * US);
	return MAX(scaled(6 * MS) * t->weight / weight, scaled(750 * US));
}

/* Where one that wakes goes: where it was if that idles, else to any that does, else where it was.
 */
static u32 place(const struct task *t)
{
	u32 lowest = 0;

	if (model_cpu[t->cpu].curr == NOBODY)
		return t->cpu;
	for (u32 i = 0; i < model_cpus; i++)
		if (model_cpu[i].curr == NOBODY)
			return i;
	for (u32 i = 1; i < model_cpus; i++) /* Credit2: who has the least credit makes way */
		if (task[model_cpu[i].curr].v < task[model_cpu[lowest].curr].v)
			lowest = i;
	return model == MODEL_CREDIT2 ? lowest : t->cpu;
}

static void wake(u32 n)
{
	struct task *t = &task[n];
	u32 cpu = place(t), running = model_cpu[cpu].curr;
	const struct task *r;
	double old = model_cpu[t->cpu].least;
	bool preempts;

	if (model == MODEL_CFS)
		t->v = MAX(t->v - old, -(double)scaled(6 * MS) / 2) + model_cpu[cpu].least;
	if (model == MODEL_EEVDF)
		t->v = average(cpu) - t->lag;
	t->cpu = cpu;
	t->deadline = deadline_of(t);
	t->runnable = true;
	t->wake_at = 0;
	t->woken_at = model_now;
	if (running == NOBODY) {
		start(cpu, n);
		return;
	}
	r = &task[running];
	preempts = comes_before(t, r);
	if (model == MODEL_CFS)
		preempts = r->v - t->v > (double)scaled(MS) * 1024 / t->weight;
	if (model == MODEL_EEVDF)
		preempts = preempts && t->v <= average(cpu) + 1;
	if (model == MODEL_CREDIT2 && model_now < model_cpu[cpu].started + RATE_LIMIT)
		preempts = false;
	if (preempts)
		start(cpu, n);
}

static void fall_asleep(u32 cpu)
{
	struct task *t = &task[model_cpu[cpu].curr];
	u64 until = model_now + t->sleep;

	if (t->record) {
		if (++t->record_at < t->record_len) {
			t->burst = t->record[t->record_at].ran;
			until = t->record[t->record_at].at;
		} else {
			until = ~0ull;
		}
	}
	t->left = t->burst;
	if (until <= model_now)
		return;
	t->lag = model == MODEL_EEVDF ? average(cpu) - t->v : 0;
	t->runnable = false;
	t->wake_at = until;
	choose(cpu);
}

static void charge(struct model_cpu *c)
{
	struct task *t = &task[c->curr];
	double v = (double)STEP * 1024 / t->weight;

	t->ran += STEP;
	t->v += model == MODEL_CREDIT2 ? -v : v;
	if (model == MODEL_EEVDF && t->v >= t->deadline)
		t->deadline = deadline_of(t);
	c->least = MAX(c->least, t->v);
	for (u32 i = 0; i < tasks; i++)
		if (task[i].runnable && task[i].cpu == t->cpu)
			c->least = MIN(c->least, MAX(task[i].v, c->least - STEP));
	t->left -= MIN(t->left, STEP);
}

/* Each tick: one goes from the CPU with most weight to that with least, if it is worth it. */
static void balance(void)
{
	u32 most = 0, least = 0, count, t;

	for (u32 i = 1; i < model_cpus; i++) {
		if (weight_on(i, &count) > weight_on(most, &count))
			most = i;
		if (weight_on(i, &count) < weight_on(least, &count))
			least = i;
	}
	t = best_waiting(most);
	if (t == NOBODY || most == least ||
	    weight_on(most, &count) * 100 <= weight_on(least, &count) * 117 ||
	    task[t].weight * 2 > 2 * (weight_on(most, &count) - weight_on(least, &count)))
		return;
	task[t].v += model_cpu[least].least - model_cpu[most].least;
	task[t].deadline = deadline_of(&task[t]);
	task[t].cpu = least;
}

static void model_begin(enum model m, u32 on)
{
	model = m;
	model_cpus = on;
	model_now = tasks = model_lates = 0;
	for (u32 i = 0; i < on; i++)
		model_cpu[i] = (struct model_cpu){.curr = NOBODY};
}

static struct task *model_add(u32 weight, u64 burst, u64 sleep)
{
	task[tasks] = (struct task){.weight = weight,
				    .cpu = tasks % model_cpus,
				    .last_cpu = NOBODY,
				    .burst = burst,
				    .sleep = sleep,
				    .left = burst,
				    .v = model == MODEL_CREDIT2 ? CREDIT2 : 0,
				    .runnable = true};
	task[tasks].deadline = deadline_of(&task[tasks]);
	return &task[tasks++];
}

static void model_run(u64 ns)
{
	u64 end = model_now + ns;

	for (; model_now < end; model_now += STEP) {
		for (u32 i = 0; i < tasks; i++)
			if (!task[i].runnable && model_now >= task[i].wake_at)
				wake(i);
		if (model != MODEL_CREDIT2 && model_now % TICK == 0)
			balance();
		for (u32 i = 0; i < model_cpus; i++) {
			struct model_cpu *c = &model_cpu[i];
			u32 t = c->curr;

			if (t != NOBODY && task[t].burst && !task[t].left)
				fall_asleep(i);
			else if (t == NOBODY || (model_now >= c->started + slice_of(i) &&
						 (model != MODEL_CFS || model_now % TICK == 0)))
				choose(i);
			if (c->curr != NOBODY)
				charge(c);
		}
	}
}

#endif
