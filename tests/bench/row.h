/* SPDX-License-Identifier: GPL-2.0-only */
/* What programs of the bench share: how they print what they have measured, and call KVM. */
#pragma once
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>

static int row_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* `row NAME MIN MEDIAN MEAN`; sorts the samples. */
static void row(const char *name, uint64_t *sample, int n)
{
	uint64_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += sample[i];
	qsort(sample, n, sizeof(*sample), row_compare);
	printf("row %s %llu %llu %llu\n", name, (unsigned long long)sample[0],
	       (unsigned long long)sample[n / 2], (unsigned long long)sum / n);
}

/* An ioctl that fails ends the program. */
static inline int ctl(int fd, unsigned long request, void *arg, const char *what)
{
	int ret = ioctl(fd, request, arg);

	if (ret < 0)
		err(1, "%s", what);
	return ret;
}
#define CTL(fd, request, arg) ctl(fd, request, (void *)(uintptr_t)(arg), #request)
