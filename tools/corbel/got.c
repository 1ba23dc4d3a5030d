/* SPDX-License-Identifier: GPL-2.0-only */
/* What vCPUs get of the CPUs, beside what was asked for them: counters at two times. */
#include "corbel.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WINDOW .2 /* seconds, if nothing else is said */

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* An id may be another's meanwhile: its counters begin again. */
static struct got got_of(const struct corbel_vcpu_stat *is, const struct corbel_vcpu_stat *was,
			 int n, double seconds)
{
	for (int i = 0; i < n; i++)
		if (was[i].id == is->id && was[i].vm == is->vm &&
		    is->runtime_ns >= was[i].runtime_ns && is->steal_ns >= was[i].steal_ns)
			return (struct got){
			    .known = true,
			    .ran = (is->runtime_ns - was[i].runtime_ns) / seconds / 1e7,
			    .waited = (is->steal_ns - was[i].steal_ns) / seconds / 1e7,
			};
	return (struct got){0};
}

int got_all(double seconds, struct corbel_vcpu_stat **vcpus, struct got **got)
{
	struct corbel_vcpu_stat *was;
	int before = hv_all(CORBEL_STAT_VCPU, sizeof(*was), &was), n = -1;
	double began = seconds_now(), passed;
	struct timespec pause;

	*vcpus = NULL;
	*got = NULL;
	if (before < 0)
		return -1;
	if (!seconds)
		seconds = WINDOW;
	pause.tv_sec = seconds;
	pause.tv_nsec = (seconds - pause.tv_sec) * 1e9;
	nanosleep(&pause, NULL);
	passed = seconds_now() - began;
	n = hv_all(CORBEL_STAT_VCPU, sizeof(**vcpus), vcpus);
	if (n >= 0)
		*got = calloc(n + 1, sizeof(**got));
	if (n >= 0 && !*got)
		n = -1;
	for (int i = 0; i < n; i++)
		(*got)[i] = got_of(&(*vcpus)[i], was, before, passed);
	free(was);
	return n;
}

void got_add(struct got *sum, const struct got *g)
{
	sum->known |= g->known;
	sum->ran += g->ran;
	sum->waited += g->waited;
}

void got_text(const struct got *g)
{
	if (g->known)
		printf(" %6.1f %6.1f", g->ran, g->waited);
	else
		printf(" %6s %6s", "-", "-");
}

void got_json(struct json_object *o, const struct got *g)
{
	json_object_object_add(o, "got_percent", g->known ? json_object_new_double(g->ran) : NULL);
	json_object_object_add(o, "waited_percent",
			       g->known ? json_object_new_double(g->waited) : NULL);
}

double promised_percent(const struct corbel_vcpu_stat *v, const struct corbel_pool_stat *pool)
{
	if (!v->vm || !v->period_us)
		return 0;
	if (!strcmp(pool->policy, "null"))
		return 100;
	return strcmp(pool->policy, "deadline") ? 0 : 100. * v->budget_us / v->period_us;
}
