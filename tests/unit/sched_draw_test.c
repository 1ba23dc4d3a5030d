/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/sched/sched.c hv/sched/place.c hv/sched/cap.c hv/sched/cpupool.c hv/sched/fair.c
 * hv/sched/rr.c hv/sched/unit.c hv/sched/deadline.c hv/sched/seat.c hv/sched/smt.c hv/sched/even.c
 * hv/sched/here.c hv/sched/wake.c hv/cpu/topology.c */
/*
 * A schedule as a picture, hv/schedule.svg: what it shows is what the scheduler does, or this test
 * says that it is to be drawn anew (`build/unit/sched_draw hv/schedule.svg`).
 */
#include <stdarg.h>
#include <stdio.h>

#include "sched_sim.h"
#include "test.h"

#define CPUS	 4u
#define STEP	 (50 * US)
#define STEPS	 1200u /* 60 ms */
#define ROW	 26u
#define LEFT	 50u
#define TOP	 30u
#define PART_ROW (CPUS + 1)

static char text[1 << 17], committed[sizeof(text)];
static size_t used;

static void __attribute__((format(printf, 1, 2))) put(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	used += vsnprintf(text + used, sizeof(text) - used, fmt, args);
	va_end(args);
}

/* dom0 is grey, an idle CPU nothing. */
static const char *const colours[] = {"#4878a8", "#d08030", "#508850"};

static const char *colour_of(const struct sched_unit *u)
{
	return u->pinned ? "#777777" : colours[u->group - group];
}

/* From step `from` to `to`, two steps a dot. */
static void draw_run(u32 cpu, u32 row, const struct sched_unit *u, u32 from, u32 to)
{
	if (u && to > from)
		put("<rect x=\"%u.%u\" y=\"%u\" width=\"%u.%u\" height=\"16\" fill=\"%s\"/>\n",
		    LEFT + from / 2, from % 2 * 5, TOP + row * ROW + cpu * ROW, (to - from) / 2,
		    (to - from) % 2 * 5, colour_of(u));
}

/* Three VMs of two vCPUs, one of which has twice the weight, and dom0 with an event each 7 ms. */
static void draw(u32 row, bool core, const char *title)
{
	const struct sched_unit *runs[CPUS] = {0};
	u32 since[CPUS] = {0};

	by_core = core;
	of_core = 2;
	machine(CPUS, "fair");
	for (u32 i = 0; i < CPUS; i++)
		add(2048, i, true, 200 * US, 7 * MS);
	vm(1024, 2);
	vm(1024, 2);
	vm(2048, 2);
	run(500 * MS);
	put("<text x=\"%u\" y=\"%u\">%s</text>\n", LEFT, TOP + row * ROW - 8, title);
	for (u32 i = 0; i < CPUS; i++)
		put("<text x=\"4\" y=\"%u\">CPU %u</text>\n", TOP + (row + i) * ROW + 12, i);
	for (u32 t = 0; t <= STEPS; t++, run(STEP))
		for (u32 i = 0; i < CPUS; i++) {
			if (running[i] == runs[i] && t < STEPS)
				continue;
			draw_run(i, row, runs[i], since[i], t);
			runs[i] = running[i];
			since[i] = t;
		}
}

static void draw_all(void)
{
	u32 height = TOP + 2 * PART_ROW * ROW + 10, width = LEFT + STEPS / 2 + 10;

	put("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" height=\"%u\" "
	    "font-family=\"sans-serif\" font-size=\"11\">\n<!-- SPDX-License-Identifier: "
	    "GPL-2.0-only -->\n<rect width=\"%u\" height=\"%u\" fill=\"white\"/>\n",
	    width, height, width, height);
	draw(0, false, "60 ms; blue and orange: weight 1024, green: 2048, grey: dom0");
	draw(PART_ROW, true, "the same with sched-gran=core, two CPUs a core");
	put("</svg>\n");
}

int main(int argc, char **argv)
{
	FILE *f = fopen(argc > 1 ? argv[1] : "hv/schedule.svg", argc > 1 ? "w" : "r");
	size_t n = 0;

	draw_all();
	if (f && argc > 1)
		fwrite(text, 1, used, f);
	else if (f)
		n = fread(committed, 1, sizeof(committed), f);
	if (f)
		fclose(f);
	if (argc > 1)
		return !f;
	CHECK(used < sizeof(text) && n == used && !memcmp(text, committed, n),
	      "hv/schedule.svg is what the scheduler does now");
	return test_end();
}
