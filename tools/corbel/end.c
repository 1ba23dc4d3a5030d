/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * When a guest has ended by itself: why, and whether its file wants it started again. Nobody of
 * ours waits for that. Who does, systemd with corbel@.service or `corbel create --foreground',
 * asks.
 */
#define _GNU_SOURCE
#include "corbel.h"

#include <json-c/json.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RAN_MS 1000 /* as for xl: what ends sooner would do so again */

/* Of QEMU's ShutdownCause ("QEMU QMP Reference Manual", "VM run state"), traced as numbers */
#define CAUSE "qemu_system_shutdown_request reason="
enum { CAUSE_GUEST_SHUTDOWN = 6, CAUSE_GUEST_PANIC = 8 };

enum reason { REASON_OTHER, REASON_POWEROFF, REASON_CRASH };

/* The last one in the VMM's log; a reboot that is the guest's end, and a killed VMM, leave none. */
static enum reason read_reason(const char *name)
{
	char path[PATH_MAX], *line = NULL, *at;
	FILE *f = fopen(guest_path(name, "vmm.log", path), "re");
	int cause = 0;
	size_t size = 0;

	while (f && getline(&line, &size, f) > 0) {
		at = strstr(line, CAUSE);
		if (at)
			cause = atoi(at + strlen(CAUSE));
	}
	free(line);
	if (f)
		fclose(f);
	if (cause == CAUSE_GUEST_PANIC)
		return REASON_CRASH;
	return cause == CAUSE_GUEST_SHUTDOWN ? REASON_POWEROFF : REASON_OTHER;
}

/* What the file says that the guest was started by. False, told, if that cannot be read. */
static bool read_ends(const char *name, enum cfg_end *on_poweroff, enum cfg_end *on_crash)
{
	char path[PATH_MAX], *text = config_read(guest_path(name, "config", path));
	struct cfg c;
	bool good;

	if (!text)
		return false;
	good = !cfg_parse(&c, path, text);
	if (!good)
		fail("%s", c.error);
	*on_poweroff = c.on_poweroff;
	*on_crash = c.on_crash;
	cfg_free(&c);
	free(text);
	return good;
}

/* Milliseconds since its VMM began */
static long age_of(const struct guest *g)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000 -
	       (long)(g->start_time * 1000 / sysconf(_SC_CLK_TCK));
}

/* 1 or 0, or -1, told: nobody knows. */
static int wants_restart(const char *name, enum reason reason)
{
	enum cfg_end on_poweroff, on_crash;

	if (reason == REASON_OTHER)
		return 0;
	if (!read_ends(name, &on_poweroff, &on_crash))
		return -1;
	return (reason == REASON_CRASH ? on_crash : on_poweroff) == END_RESTART;
}

bool guest_wants_restart(const char *name)
{
	return wants_restart(name, read_reason(name)) > 0;
}

int guest_starts_again(const struct guest *g, long age_ms, bool json)
{
	static const char *const words[] = {"ended", "switched itself off", "crashed"};
	enum reason reason = read_reason(g->name);
	int wants = wants_restart(g->name, reason);
	bool soon = wants > 0 && age_ms<RAN_MS, again = wants> 0 && !soon;
	const char *then = "";
	struct json_object *o;

	if (!json) {
		if (soon)
			then = ", but has run for less than a second: it is not started again";
		else if (again)
			then = ", starts again";
		printf("%s: %s%s\n", g->name, words[reason], then);
		fflush(stdout);
		return wants < 0 ? wants : again;
	}
	o = json_object_new_object();
	json_object_object_add(o, "name", json_object_new_string(g->name));
	json_object_object_add(o, "reason", json_object_new_string(words[reason]));
	json_object_object_add(o, "starts_again", json_object_new_boolean(again));
	print_json(o);
	return wants < 0 ? wants : again;
}

#define UNKNOWN 2 /* exit code: who asks is not to take a failure for a no */

/* Who asks does so when the guest ends: its age is how long it ran. */
int cmd_starts_again(struct opts *o)
{
	char path[PATH_MAX];
	struct guest g;
	int again = -1;

	if (cfg_bad_name(o->args[0]) || access(guest_path(o->args[0], "vmm.json", path), F_OK)) {
		fail("%s: no guest of this name has ended by itself", o->args[0]);
		return UNKNOWN;
	}
	if (guest_get(o->args[0], false, &g))
		return UNKNOWN;
	if (g.alive && !guest_wait_end(&g, process_is_ending(g.pid) ? ENDING_MS : 0))
		fail("%s runs", g.name);
	else
		again = guest_starts_again(&g, age_of(&g), o->json);
	guest_unlock(&g);
	return again < 0 ? UNKNOWN : !again;
}

/* Wait for as long as it takes. */
static void wait_end(const struct guest *g)
{
	struct pollfd p = {.fd = syscall(SYS_pidfd_open, g->pid, 0), .events = POLLIN};

	if (p.fd < 0) {
		guest_wait_end(g, LONG_MAX);
		return;
	}
	while (process_alive(g->pid, g->start_time) && !process_is_ending(g->pid))
		poll(&p, 1, -1);
	close(p.fd);
	guest_wait_end(g, ENDING_MS);
}

bool guest_attend(const char *name)
{
	struct guest mine, g;
	char path[PATH_MAX];
	bool again = false;
	long age;

	if (guest_load(name, &mine))
		return false;
	wait_end(&mine);
	waitpid(mine.pid, NULL, WNOHANG); /* ours, if we have started it */
	age = age_of(&mine);
	/* Who has ended it has taken its record away, or does so now, and may start another. */
	if (access(guest_path(name, "vmm.json", path), F_OK) || guest_get(name, false, &g))
		return false;
	if (g.pid == mine.pid && g.start_time == mine.start_time)
		again = guest_starts_again(&g, age, false) > 0;
	guest_unlock(&g);
	return again;
}
