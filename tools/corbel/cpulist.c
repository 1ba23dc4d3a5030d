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

int cpulist_parse(const char *list, uint64_t *mask, char *err, unsigned int size)
{
	unsigned int from, to;
	const char *s = list;
	uint64_t range;
	bool without, first = true;

	*mask = 0;
	do {
		s += strspn(s, " \t");
		without = *s == '^';
		s += without;
		if (!strncmp(s, "all", 3)) {
			s += 3;
			from = 0;
			to = 63;
		} else {
			if (cpu_number(&s, &from))
				return cpulist_bad(err, size, list);
			to = from;
			if (*s == '-' && (s++, cpu_number(&s, &to)))
				return cpulist_bad(err, size, list);
		}
		if (to > 63 || from > to) {
			snprintf(err, size, "%s in \"%.40s\"",
				 to > 63 ? "CPUs go from 0 to 63" : "a range goes upwards", list);
			return -1;
		}
		range = (~0ull >> (63 - to)) & (~0ull << from);
		if (without && first)
			*mask = ~0ull; /* "^1" alone: all but 1 */
		*mask = without ? *mask & ~range : *mask | range;
		first = false;
		s += strspn(s, " \t");
	} while (*s == ',' && s++);
	if (*s)
		return cpulist_bad(err, size, list);
	if (!*mask) {
		snprintf(err, size, "no CPU is left in \"%.40s\"", list);
		return -1;
	}
	return 0;
}

char *cpulist_format(uint64_t mask, char *buf, unsigned int size)
{
	unsigned int from, to, n = 0;

	if (mask == ~0ull) {
		snprintf(buf, size, "all");
		return buf;
	}
	buf[0] = 0;
	for (from = 0; from < 64; from = to + 1) {
		to = from;
		if (!(mask >> from & 1))
			continue;
		while (to < 63 && (mask >> (to + 1) & 1))
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
