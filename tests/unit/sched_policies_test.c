/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c */
/*
 * Policies in one table: fair and rr, and models of CFS, EEVDF and Credit2, with the same units on
 * the same CPUs: shares beside the weighted max-min ideal, how late those that sleep are, moves.
 * One of the mixes was recorded by `corbel trace` (tests/unit/sched.trace). A file named on the
 * command line is played in its place:
 *
 * usage: sched_policies [FILE]
 */
#include <stdio.h>
#include <stdlib.h>

#include "sched_models.h"
#include "sched_sim.h"
#include "test.h"

#define MOST	    24
#define MOST_RECORD 8192

struct kind {
	u32 count, weight;
	u64 burst, sleep;
};

struct mix {
	const char *name;
	u32 cpus;
	struct kind kind[4];
};

struct record {
	u32 weight, len;
	bool busy;
	u64 total;
	struct recorded at[MOST_RECORD];
};

static struct record record[MOST];
static u32 records, record_cpus;
static u64 record_ns;

struct outcome {
	double worst;	    /* |share - ideal| / ideal, of those that never sleep, in a second */
	u64 p50, p99, most; /* from waking to running, ns */
	double moves;	    /* a second */
	double ran;	    /* of what was recorded, by its end */
};

enum policy { FAIR, RR, MODELS };
static const char *const names[] = {"fair", "rr", "CFS", "EEVDF", "Credit2"};

static u64 late[1 << 18];
static u32 lates;

static int by_size(const void *a, const void *b)
{
	const u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void sort_lates(struct outcome *o, u64 *from, u32 n)
{
	qsort(from, n, sizeof(*from), by_size);
	if (!n)
		return;
	o->p50 = from[n / 2];
	o->p99 = from[n * 99ull / 100];
	o->most = from[n - 1];
}

/* ---- the ideal ---- */

/* What each of a kind gets of a CPU: nobody more until all that want more have as much for their
 * weight. */
static void find_ideal(const struct mix *m, double *ideal)
{
	double low = 0, high = 64;

	for (u32 step = 0; step < 60; step++) {
		double rate = (low + high) / 2, sum = 0;

		for (u32 i = 0; i < ARRAY_SIZE(m->kind); i++) {
			const struct kind *k = &m->kind[i];
			double most = k->burst ? (double)k->burst / (k->burst + k->sleep) : 1;

			ideal[i] = MIN(rate * k->weight / 1024, most);
			sum += ideal[i] * k->count;
		}
		*(sum < m->cpus ? &low : &high) = rate;
	}
}

static void judge(struct outcome *o, const struct mix *m, const u64 *ran)
{
	double ideal[ARRAY_SIZE(m->kind)];
	u32 n = 0;

	find_ideal(m, ideal);
	for (u32 i = 0; i < ARRAY_SIZE(m->kind); i++)
		for (u32 j = 0; j < m->kind[i].count; j++, n++) {
			double off = ((double)ran[n] / SEC - ideal[i]) / ideal[i];

			if (!m->kind[i].burst)
				o->worst = MAX(o->worst, MAX(off, -off));
		}
}

/* ---- our own ---- */

/* Units that sleep are looked at each 50 us: from wake to run is what `max_latency` has then. */
static void run_noting(u64 ns)
{
	for (u64 end = now + ns; now < end;) {
		run(50 * US);
		for (u32 i = 0; i < units; i++) {
			bool busy = unit[i].record && record[i].busy;

			if (!unit[i].burst || busy || !unit[i].runs || lates == ARRAY_SIZE(late))
				continue;
			late[lates++] = unit[i].max_latency;
			unit[i].max_latency = unit[i].runs = 0;
		}
	}
}

static void end_ours(struct outcome *o, u64 ns)
{
	for (u32 i = 0; i < units; i++)
		o->moves += (double)unit[i].moves * SEC / ns;
	sort_lates(o, late, lates);
}

static struct outcome play_ours(const struct mix *m, const char *policy)
{
	struct outcome o = {0};
	u64 had[MOST], ran[MOST];

	machine(m->cpus, policy);
	for (u32 i = 0; i < ARRAY_SIZE(m->kind); i++)
		for (u32 j = 0; j < m->kind[i].count; j++)
			add(m->kind[i].weight, units % m->cpus, false, m->kind[i].burst,
			    m->kind[i].sleep);
	run(300 * MS);
	lates = 0;
	for (u32 i = 0; i < units; i++)
		unit[i].moves = unit[i].max_latency = unit[i].runs = 0;
	for (u32 s = 0; s < 2; s++) {
		for (u32 i = 0; i < units; i++)
			had[i] = sched_runtime(&unit[i].s, now);
		run_noting(SEC);
		for (u32 i = 0; i < units; i++)
			ran[i] = sched_runtime(&unit[i].s, now) - had[i];
		judge(&o, m, ran);
	}
	end_ours(&o, 2 * SEC);
	return o;
}

/* ---- models ---- */

static void end_model(struct outcome *o, u64 ns)
{
	for (u32 i = 0; i < tasks; i++)
		o->moves += (double)task[i].moves * SEC / ns;
	sort_lates(o, model_late, model_lates);
}

static struct outcome play_model(const struct mix *m, enum model of)
{
	struct outcome o = {0};
	u64 had[MOST], ran[MOST];

	model_begin(of, m->cpus);
	for (u32 i = 0; i < ARRAY_SIZE(m->kind); i++)
		for (u32 j = 0; j < m->kind[i].count; j++)
			model_add(m->kind[i].weight, m->kind[i].burst, m->kind[i].sleep);
	model_run(300 * MS);
	model_lates = 0;
	for (u32 i = 0; i < tasks; i++)
		task[i].moves = 0;
	for (u32 s = 0; s < 2; s++) {
		for (u32 i = 0; i < tasks; i++)
			had[i] = task[i].ran;
		model_run(SEC);
		for (u32 i = 0; i < tasks; i++)
			ran[i] = task[i].ran - had[i];
		judge(&o, m, ran);
	}
	end_model(&o, 2 * SEC);
	return o;
}

/* ---- what was recorded ---- */

/*
 * When between two looks a vCPU ran is not known: one that was busy is so from the beginning,
 * others run somewhere within, not all at once.
 */
static void place_in_looks(struct record *r, u64 look)
{
	r->busy = r->total > record_ns / 10;
	for (u32 i = 0; i < r->len && !r->busy; i++)
		r->at[i].at += look / 8 + (r - record + i) * look / 7 % (look * 3 / 4);
}

/* Lines of `corbel trace`: ms vm vcpu weight ran_us waited_us. dom0's are left out. */
static void read_record(const char *file)
{
	FILE *f = fopen(file, "r");
	u32 ms, vm, vcpu, weight, ran, waited, n = 0;
	u32 key[MOST];
	char line[200];

	u64 look = 10 * MS;

	records = record_cpus = record_ns = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "# %u CPUs, %*u looks, %u ms", &n, &ms) == 2) {
			record_cpus = n;
			look = ms * MS;
		}
		if (sscanf(line, "%u %u %u %u %u %u", &ms, &vm, &vcpu, &weight, &ran, &waited) != 6)
			continue;
		record_ns = MAX(record_ns, ms * MS);
		for (n = 0; n < records && key[n] != (vm << 16 | vcpu); n++)
			;
		if (!vm || !ran || n == MOST)
			continue;
		if (n == records) {
			key[records++] = (vm << 16 | vcpu);
			record[n].len = record[n].total = 0;
		}
		record[n].weight = weight;
		if (record[n].len < MOST_RECORD)
			record[n].at[record[n].len++] = (struct recorded){ms * MS, ran * US};
		record[n].total += ran * US;
	}
	if (f)
		fclose(f);
	for (u32 i = 0; i < records; i++)
		place_in_looks(&record[i], look);
}

static struct outcome play_record(const char *policy)
{
	struct outcome o = {0};
	u64 total = 0;

	machine(record_cpus, policy);
	lates = 0;
	for (u32 i = 0; i < records; i++) {
		struct sim_unit *s = add(record[i].weight, i % record_cpus, false, 1, 0);

		s->record = record[i].at;
		s->record_len = record[i].len;
		s->record_at = ~0u; /* the first is next */
		total += record[i].total;
	}
	run_noting(record_ns + 10 * MS);
	for (u32 i = 0; i < units; i++)
		o.ran += (double)sched_runtime(&unit[i].s, now) / total;
	end_ours(&o, record_ns);
	return o;
}

static struct outcome model_record(enum model of)
{
	struct outcome o = {0};
	u64 total = 0;

	model_begin(of, record_cpus);
	for (u32 i = 0; i < records; i++) {
		struct task *t = model_add(record[i].weight, STEP, 0);

		t->record = record[i].at;
		t->record_len = record[i].len;
		t->record_at = ~0u;
		t->busy = record[i].busy;
		total += record[i].total;
	}
	model_run(record_ns + 10 * MS);
	for (u32 i = 0; i < tasks; i++)
		o.ran += (double)task[i].ran / total;
	end_model(&o, record_ns);
	return o;
}

/* ---- the table ---- */

static struct outcome play(const struct mix *m, u32 policy)
{
	if (!m)
		return policy < MODELS ? play_record(names[policy]) : model_record(policy - MODELS);
	return policy < MODELS ? play_ours(m, names[policy]) : play_model(m, policy - MODELS);
}

static void print(const char *mix, const char *policy, const struct outcome *o)
{
	printf("# %-34s %-8s %6.1f %% off; late by %5llu us p50, %6llu p99, %6llu max; %5.0f moves "
	       "a second\n",
	       mix, policy, o->worst * 100, o->p50 / US, o->p99 / US, o->most / US, o->moves);
}

static void compare(const struct mix *m)
{
	struct outcome o[ARRAY_SIZE(names)];
	double best = 1e9;
	u64 p99 = ~0ull;

	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		o[i] = play(m, i);
		print(m->name, names[i], &o[i]);
		if (i < MODELS)
			continue;
		best = MIN(best, o[i].worst);
		p99 = MIN(p99, o[i].p99);
	}
	CHECK(o[FAIR].worst <= .03 && o[FAIR].worst <= best + .01,
	      "%s: fair is off by %.2f %%, the best model by %.2f", m->name, o[FAIR].worst * 100,
	      best * 100);
	CHECK(o[FAIR].p99 <= p99 + US, "%s: late by %llu us at p99, the best model by %llu",
	      m->name, o[FAIR].p99 / US, p99 / US);
}

static void test_models(void)
{
	static const struct mix mixes[] = {
	    {"12 equal ones, 8 CPUs", 8, {{12, 1024, 0, 0}}},
	    {"24 equal ones, 16 CPUs", 16, {{24, 1024, 0, 0}}},
	    {"5 equal ones, 2 CPUs", 2, {{5, 1024, 0, 0}}},
	    {"nice 0, 0, 5, 10, 2 CPUs", 2, {{2, 1024, 0, 0}, {1, 335, 0, 0}, {1, 110, 0, 0}}},
	    {"nice 19 and three of 0, 2 CPUs", 2, {{3, 1024, 0, 0}, {1, 15, 0, 0}}},
	    {"4 sleepers and 8 busy, 4 CPUs", 4, {{8, 1024, 0, 0}, {4, 1024, 50 * US, MS}}},
	    {"sleepers of nice 10, 8 busy, 2 CPUs", 2, {{8, 1024, 0, 0}, {2, 110, 5 * US, 5 * MS}}},
	};

	for (u32 i = 0; i < ARRAY_SIZE(mixes); i++)
		compare(&mixes[i]);
}

static void test_record(const char *file)
{
	struct outcome o[ARRAY_SIZE(names)];
	u64 p50 = ~0ull, p99 = ~0ull;

	read_record(file);
	if (!CHECK(records > 1 && record_cpus && record_ns, "%s: %u vCPUs, %u CPUs, %llu ms", file,
		   records, record_cpus, record_ns / MS))
		return;
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		o[i] = play(NULL, i);
		print("as it was recorded", names[i], &o[i]);
		if (i < MODELS)
			continue;
		p50 = MIN(p50, o[i].p50);
		p99 = MIN(p99, o[i].p99);
	}
	CHECK(o[FAIR].ran > .98 && o[FAIR].ran < 1.001,
	      "what was run when it was recorded is run again: %.3f of it", o[FAIR].ran);
	/* Of a hundred one or two are late, as they want more then than their share. */
	CHECK(o[FAIR].p50 <= p50 + US && o[FAIR].p99 <= p99 * 5 / 4,
	      "late by %llu us at p50, %llu at p99, the best models by %llu and %llu",
	      o[FAIR].p50 / US, o[FAIR].p99 / US, p50 / US, p99 / US);
}

int main(int argc, char **argv)
{
	if (argc < 2)
		test_models();
	test_record(argc > 1 ? argv[1] : "tests/unit/sched.trace");
	return test_end();
}
