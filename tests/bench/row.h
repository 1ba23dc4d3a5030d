/* SPDX-License-Identifier: GPL-2.0-only */
/* How the programs of the bench print what they have measured. */
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

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
