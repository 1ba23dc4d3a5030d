/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of exits, whenever they are switched: each exit is told from then on, also one that
 * the hypervisor serves alone, and no exit stops the vCPU any more once they are off.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define TRACING	 "/sys/kernel/tracing/"
#define KVM_ON	 "events/kvm/enable"
#define STOPS	 "events/kprobes/stops/enable"
#define EXITS	 200
#define RUN_MS	 30000
#define TELL_MS	 10000
#define WIDTH_MS 100
#define ENOUGH	 3
#define ROUNDS	 5

static struct vm vm;
static enum end end;
static pthread_t thread;
static int last_cpu;
static volatile enum { SET_UP, RUNS, ENDED } phase;

static void put(const char *file, const char *text)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), TRACING "%s", file);
	fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fatal("%s > %s: errno %d", text, path, errno);
	close(fd);
}

/* Lines of the trace that have both. */
static u32 told(const char *event, const char *what)
{
	FILE *f = fopen(TRACING "trace", "re");
	char line[400];
	u32 n = 0;

	if (!f)
		fatal("no trace: errno %d", errno);
	while (fgets(line, sizeof(line), f))
		n += line[0] != '#' && strstr(line, event) && strcasestr(line, what);
	fclose(f);
	return n;
}

static bool is_told(const char *event)
{
	u64 until = now_ms() + TELL_MS;

	while (!told(event, "")) {
		if (now_ms() > until)
			return false;
		usleep(10000);
	}
	return true;
}

static void trace(bool on)
{
	put(KVM_ON, on ? "1" : "0");
}

/* ---- the guest: it waits, without an exit, and has EXITS of them when it is let go on ---- */

static volatile u32 *word(u32 i)
{
	return (volatile u32 *)(vm.ram + DATA) + i;
}

static void *run(void *unused)
{
	stay_on_cpu(last_cpu);
	phase = RUNS;
	end = vm_run(&vm, 0, RUN_MS);
	phase = ENDED;
	return NULL;
}

static void start(void)
{
	put("trace", "\n"); /* waits for all CPUs */
	*word(0) = *word(1) = 0;
	phase = SET_UP;
	cpu_setup(&vm, 0, MODE_LONG, &pl_traced, DATA, EXITS);
	if (pthread_create(&thread, NULL, run, NULL))
		fatal("no thread");
	while (phase == SET_UP)
		usleep(100);
}

static void wait_until_it_runs(void)
{
	while (!*word(1) && phase == RUNS)
		usleep(1000);
}

static bool goes_on(void)
{
	*word(0) = 1;
	pthread_join(thread, NULL);
	return end == END_DONE;
}

/* All of its exits are told. */
static bool goes_on_told(void)
{
	bool done = goes_on();
	u32 n = told("kvm_exit: ", "reason cpuid");

	if (!done || n != EXITS)
		note("%s, %u of %u exits told", end_names[end], n, EXITS);
	return done && n == EXITS;
}

/* ---- when they are switched ---- */

static void while_stopped(void)
{
	bool fine;

	trace(true);
	start();
	fine = goes_on_told();
	trace(false);
	ok(fine, "traced: each exit of a vCPU that was stopped");
}

static void while_it_runs(void)
{
	bool fine;

	start();
	wait_until_it_runs();
	usleep(10000);
	trace(true);
	fine = is_told("kvm_entry: ");
	fine &= goes_on_told();
	trace(false);
	ok(fine, "traced: of one that ran, and had no exit itself");
}

/*
 * It has looked whether it is traced, and is not resumed yet: who was traced before looks twice. On
 * a busy machine that may be over when they are switched on: then something has been told.
 */
static void while_resumed(void)
{
	u32 missed = 0, in_time = 0;

	for (u32 i = 0; last_cpu && i < ROUNDS && in_time < ENOUGH; i++) {
		widen_load("cb_trace_resume_slow", "ms_after", WIDTH_MS);
		start();
		usleep(WIDTH_MS * 1000 / 10);
		trace(true);
		in_time += !told("kvm_entry: ", "");
		widen_end();
		wait_until_it_runs();
		missed += !is_told("kvm_entry: ");
		missed += !goes_on_told();
		trace(false);
	}
	ok(!missed, "traced: of one that was being resumed (%u times, %u times not)", in_time,
	   missed);
}

/* off: before the guest goes on. How often it stops. */
static u32 stops(bool off)
{
	u32 n;

	trace(true);
	put("kprobe_events", "p:stops cb_event_sync_doorbells");
	put(STOPS, "1");
	start();
	wait_until_it_runs();
	if (off)
		trace(false);
	put("trace", "\n");
	if (!goes_on())
		fatal("the guest ends with: %s", end_names[end]);
	n = told("stops: ", "");
	trace(false);
	put(STOPS, "0");
	put("kprobe_events", "\n"); /* opened, there is none any more */
	return n;
}

int main(void)
{
	u32 on, off;

	if (access(TRACING KVM_ON, F_OK) && mount("tracefs", TRACING, "tracefs", 0, NULL))
		fatal("no tracefs: errno %d", errno);
	last_cpu = sysconf(_SC_NPROCESSORS_ONLN) - 1;
	open_kvm();
	vm_init(&vm, 1, 0);
	stay_on_cpu(0);
	start(); /* has its memory from here on, and so no exit for it */
	if (!goes_on())
		fatal("the guest ends with: %s", end_names[end]);
	while_stopped();
	while_it_runs();
	while_resumed();
	on = stops(false), off = stops(true);
	ok(on >= EXITS && off < EXITS / 4,
	   "traced: exits stop the vCPU, and do not when it is switched off (%u and %u stops)", on,
	   off);
	vm_free(&vm);
	return failures != 0;
}
