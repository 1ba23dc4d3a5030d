// SPDX-License-Identifier: GPL-2.0-only
/* How CPUs sleep, and how fast they are while they do not. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "corbel.h"

#define MEASURE_US 50000 /* the frequency is that of so long a time */
#define ANSWER_US  5000	 /* and has been found out so long after */

static const char *const idle_names[CORBEL_IDLE_STATES] = {CORBEL_IDLE_NAMES};

/* What the hypervisor tells of a frequency is from the time between two questions before. */
static int ask_thrice(struct corbel_cpu_stat **cpu)
{
	int n = hv_all(CORBEL_STAT_CPU, sizeof(**cpu), cpu);

	for (int i = 0; n > 0 && i < 2; i++) {
		free(*cpu);
		usleep(i ? ANSWER_US : MEASURE_US);
		n = hv_all(CORBEL_STAT_CPU, sizeof(**cpu), cpu);
	}
	return n;
}

struct json_object *power_json(void)
{
	struct json_object *list = json_object_new_array();
	struct corbel_cpu_stat *cpu = NULL;
	int n = ask_thrice(&cpu);

	for (int i = 0; i < n; i++) {
		struct json_object *o = json_object_new_object(),
				   *states = json_object_new_object();

		for (unsigned int s = 0; s < CORBEL_IDLE_STATES; s++) {
			struct json_object *state = json_object_new_object();

			if (!(cpu[i].idle_states >> s & 1) && !cpu[i].sleeps[s]) {
				json_object_put(state);
				continue;
			}
			json_object_object_add(state, "sleeps",
					       json_object_new_uint64(cpu[i].sleeps[s]));
			json_object_object_add(state, "ns",
					       json_object_new_uint64(cpu[i].sleep_ns[s]));
			json_object_object_add(states, idle_names[s], state);
		}
		json_object_object_add(o, "cpu", json_object_new_uint64(cpu[i].cpu));
		/* null: the CPU does not tell */
		json_object_object_add(o, "khz",
				       cpu[i].khz ? json_object_new_uint64(cpu[i].khz) : NULL);
		json_object_object_add(o, "idle_ns", json_object_new_uint64(cpu[i].idle_ns));
		json_object_object_add(o, "busy_ns", json_object_new_uint64(cpu[i].busy_ns));
		json_object_object_add(o, "idle_states", states);
		json_object_object_add(o, "ended_by_store",
				       json_object_new_uint64(cpu[i].by_store));
		json_object_array_add(list, o);
	}
	free(cpu);
	return list;
}

static void print_frequency(const struct corbel_cpu_stat *cpu, int n)
{
	unsigned int least = 0, most = 0;

	for (int i = 0; i < n; i++) {
		if (cpu[i].khz && (!least || cpu[i].khz < least))
			least = cpu[i].khz;
		if (cpu[i].khz > most)
			most = cpu[i].khz;
	}
	if (most)
		printf("frequency   %u to %u MHz while not asleep\n", least / 1000, most / 1000);
	else
		printf("frequency   not told by these CPUs\n");
}

void power_text(void)
{
	struct corbel_cpu_stat *cpu = NULL;
	double all = 0, idle = 0, in[CORBEL_IDLE_STATES] = {0};
	int n = ask_thrice(&cpu);

	for (int i = 0; i < n; i++) {
		all += (double)(cpu[i].idle_ns + cpu[i].busy_ns);
		idle += (double)cpu[i].idle_ns;
		for (unsigned int s = 0; s < CORBEL_IDLE_STATES; s++)
			in[s] += (double)cpu[i].sleep_ns[s];
	}
	if (n > 0)
		print_frequency(cpu, n);
	if (all > 0) {
		printf("idle        %.1f %% since the start:", 100 * idle / all);
		for (unsigned int s = 0; s < CORBEL_IDLE_STATES; s++)
			if (cpu[0].idle_states >> s & 1)
				printf(" %s %.1f %%", idle_names[s], 100 * in[s] / all);
		printf("\n");
	}
	free(cpu);
}
