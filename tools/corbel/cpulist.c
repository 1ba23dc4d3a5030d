/* SPDX-License-Identifier: GPL-2.0-only */
/* Lists of CPUs, MAC addresses: as text, and back. */
#include "cfg.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static int cpulist_bad(char *err, unsigned int size, const char *list)
{
	snprintf(err, size,
		 "\"%.40s\" is not a list of CPUs; right are \"all\", \"3\", \"0-1,4\", \"0-7,^3\"",
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

int cpulist_parse(const char *list, struct corbel_cpus *c, char *err, unsigned int size)
{
	unsigned int from, to;
	const char *s = list;
	bool without, first = true;

	memset(c, 0, sizeof(*c));
	do {
		s += strspn(s, " \t");
		without = *s == '^';
		s += without;
		if (!strncmp(s, "all", 3)) {
			s += 3;
			from = 0;
			to = LAST;
		} else {
			if (cpu_number(&s, &from))
				return cpulist_bad(err, size, list);
			to = from;
			if (*s == '-' && (s++, cpu_number(&s, &to)))
				return cpulist_bad(err, size, list);
		}
		if (to > LAST || from > to) {
			snprintf(err, size, "%s in \"%.40s\"",
				 to > LAST ? "CPUs go from 0 to 511" : "a range goes upwards",
				 list);
			return -1;
		}
		if (without && first) /* "^1" alone: all but 1 */
			set_range(c, 0, LAST, true);
		set_range(c, from, to, !without);
		first = false;
		s += strspn(s, " \t");
	} while (*s == ',' && s++);
	if (*s)
		return cpulist_bad(err, size, list);
	if (cpus_empty(c)) {
		snprintf(err, size, "no CPU is left in \"%.40s\"", list);
		return -1;
	}
	return 0;
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
