/* SPDX-License-Identifier: GPL-2.0-only */
/* corbel trace: how long each vCPU ran and waited, look by look, for the scheduler's simulator. */
#include "corbel.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static struct timespec began;

static double since_begin(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (t.tv_sec - began.tv_sec) * 1e3 + (t.tv_nsec - began.tv_nsec) / 1e6;
}

static const struct corbel_vcpu_stat *find_vcpu(const struct corbel_vcpu_stat *all, int n,
						uint32_t id)
{
	for (int i = 0; i < n; i++)
		if (all[i].id == id)
			return &all[i];
	return NULL;
}

static void change_json(double at, const struct corbel_vcpu_stat *v, uint64_t ran, uint64_t waited)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "ms", json_object_new_int64((int64_t)at));
	json_object_object_add(o, "vm", json_object_new_int64(v->vm));
	json_object_object_add(o, "vcpu", json_object_new_int64(v->index));
	json_object_object_add(o, "weight", json_object_new_int64(v->weight));
	json_object_object_add(o, "ran_us", json_object_new_uint64(ran));
	json_object_object_add(o, "waited_us", json_object_new_uint64(waited));
	print_json_line(o);
}

/* What has been run is told with the time at which it could have begun: that of the look before. */
static void show_change(double at, const struct corbel_vcpu_stat *was,
			const struct corbel_vcpu_stat *is, bool json)
{
	uint64_t ran = (is->runtime_ns - was->runtime_ns) / 1000,
		 waited = (is->steal_ns - was->steal_ns) / 1000;

	if (was->vm != is->vm || is->runtime_ns < was->runtime_ns || (!ran && !waited))
		return;
	if (json)
		change_json(at, is, ran, waited);
	else
		printf("%.0f %u %u %u %llu %llu\n", at, is->vm, is->index, is->weight,
		       (unsigned long long)ran, (unsigned long long)waited);
}

int cmd_trace(struct opts *o)
{
	double delay = o->delay ? o->delay : .01, next = 0, at = 0, now;
	long looks = o->iterations ? o->iterations : 1000;
	struct corbel_vcpu_stat *was, *is;
	struct corbel_info info;
	int n = 0, before;

	clock_gettime(CLOCK_MONOTONIC, &began);
	before = hv_info(&info) ? -1 : hv_all(CORBEL_STAT_VCPU, sizeof(*was), &was);
	if (before < 0)
		return 1;
	if (!o->json)
		printf(
		    "# %u CPUs, %ld looks, %.0f ms apart\n# ms vm vcpu weight ran_us waited_us\n",
		    info.cpus, looks, delay * 1e3);
	for (long i = 0; i < looks; i++) {
		struct timespec pause = {0};

		next += delay * 1e3;
		now = since_begin();
		if (next > now) {
			pause.tv_sec = (next - now) / 1e3;
			pause.tv_nsec = (next - now - pause.tv_sec * 1e3) * 1e6;
			nanosleep(&pause, NULL);
		}
		now = since_begin();
		n = hv_all(CORBEL_STAT_VCPU, sizeof(*is), &is);
		if (n < 0)
			break;
		for (int k = 0; k < n; k++) {
			const struct corbel_vcpu_stat *old = find_vcpu(was, before, is[k].id);

			if (old)
				show_change(at, old, &is[k], o->json);
		}
		free(was);
		was = is;
		before = n;
		at = now;
	}
	free(was);
	return n < 0;
}
