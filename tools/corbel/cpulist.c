/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of CPUs, MAC addresses: as text, and back. */
#include "cfg.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int cpulist_bad(char *err, unsigned int size, const char *list)
{
	snprintf(
	    err, size,
	    "\"%.40s\" is not a list of CPUs; right are \"all\", \"3\", \"0-1,4\", \"0-7,^3\", "
	    "\"node:1\"",
	    list);
	return -1;
}

static int cpu_number(const char **s, unsigned int *n)
{
	if (!isdigit((unsigned char)**s))
		return -1;
	for (*n = 0; isdigit((unsigned char)**s); (*s)++)
		if ((*n = *n * 10 + (**s - '0')) > 100000)
			return -1;
	return 0;
}

#define LAST (CORBEL_MAX_CPUS - 1)

bool cpus_empty(const struct corbel_cpus *c)
{
	return cpus_count(c) == 0;
}

bool cpus_all(const struct corbel_cpus *c)
{
	return cpus_count(c) == CORBEL_MAX_CPUS;
}

unsigned int cpus_count(const struct corbel_cpus *c)
{
	unsigned int i, n = 0;

	for (i = 0; i < CORBEL_MAX_CPUS / 64; i++)
		n += __builtin_popcountll(c->word[i]);
	return n;
}

static bool has_cpu(const struct corbel_cpus *c, unsigned int cpu)
{
	return c->word[cpu / 64] >> cpu % 64 & 1;
}

static void set_range(struct corbel_cpus *c, unsigned int from, unsigned int to, bool in)
{
	for (; from <= to; from++)
		if (has_cpu(c, from) != in)
			c->word[from / 64] ^= 1ull << from % 64;
}

bool node_cpus(unsigned int node, struct corbel_cpus *c)
{
	const char *dir = getenv("CORBEL_NODES"); /* for tests */
	char path[PATH_MAX], list[4096] = "", err[160];
	FILE *f;

	if (!dir || !*dir)
		dir = "/sys/devices/system/node";
	snprintf(path, sizeof(path), "%s/node%u/cpulist", dir, node);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (fgets(list, sizeof(list), f))
		list[strcspn(list, "\n")] = 0;
	fclose(f);
	/* numbers only: not nodes again */
	return !list[strspn(list, "0123456789-,")] && !cpulist_parse(list, c, err, sizeof(err));
}

/* What is between two commas. */
struct part {
	unsigned int from, to; /* CPUs, or */
	bool nodes, without;
};

static int read_part(const char **s, struct part *p)
{
	*p = (struct part){.to = LAST};
	*s += strspn(*s, " \t");
	p->without = **s == '^';
	*s += p->without;
	if (!strncmp(*s, "all", 3)) {
		*s += 3;
		return 0;
	}
	p->nodes = !strncmp(*s, "node:", 5) || !strncmp(*s, "nodes:", 6);
	if (p->nodes)
		*s = strchr(*s, ':') + 1;
	if (cpu_number(s, &p->from))
		return -1;
	p->to = p->from;
	return **s == '-' && ((*s)++, cpu_number(s, &p->to)) ? -1 : 0;
}

/* NULL, or what is wrong. */
static const char *set_part(struct corbel_cpus *c, const struct part *p)
{
	struct corbel_cpus its;
	unsigned int node, cpu;

	if (p->from > p->to)
		return "a range goes upwards";
	if (p->to > LAST)
		return p->nodes ? "nodes go from 0 to 511" : "CPUs go from 0 to 511";
	for (node = p->from; p->nodes && node <= p->to; node++) {
		if (!node_cpus(node, &its))
			return "a node is not there, or has no CPUs,";
		for (cpu = 0; cpu <= LAST; cpu++)
			if (has_cpu(&its, cpu))
				set_range(c, cpu, cpu, !p->without);
	}
	if (!p->nodes)
		set_range(c, p->from, p->to, !p->without);
	return NULL;
}

int cpulist_parse(const char *list, struct corbel_cpus *c, char *err, unsigned int size)
{
	const char *s = list, *wrong = NULL;
	bool first = true;
	struct part p;

	memset(c, 0, sizeof(*c));
	do {
		if (read_part(&s, &p))
			return cpulist_bad(err, size, list);
		if (p.without && first) /* "^1" alone: all but 1 */
			set_range(c, 0, LAST, true);
		wrong = set_part(c, &p);
		first = false;
		s += strspn(s, " \t");
	} while (!wrong && *s == ',' && s++);
	if (*s && !wrong)
		return cpulist_bad(err, size, list);
	if (!wrong && cpus_empty(c))
		wrong = "no CPU is left";
	if (wrong)
		snprintf(err, size, "%s in \"%.40s\"", wrong, list);
	return wrong ? -1 : 0;
}

char *cpulist_format(const struct corbel_cpus *c, char *buf, unsigned int size)
{
	unsigned int from, to, n = 0;

	if (cpus_all(c)) {
		snprintf(buf, size, "all");
		return buf;
	}
	buf[0] = 0;
	for (from = 0; from <= LAST; from = to + 1) {
		to = from;
		if (!has_cpu(c, from))
			continue;
		while (to < LAST && has_cpu(c, to + 1))
			to++;
		n += snprintf(buf + n, size - n, to > from ? "%s%u-%u" : "%s%u", n ? "," : "", from,
			      to);
		if (n >= size)
			break;
	}
	return buf;
}

int mac_parse(const char *s, uint8_t mac[6])
{
	int i, n = 0;

	if (sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5], &n) != 6 ||
	    s[n] || n != 17 || (mac[0] & 1))
		return -1;
	for (i = 0; i < 6; i++)
		if (mac[i])
			return 0;
	return -1;
}
