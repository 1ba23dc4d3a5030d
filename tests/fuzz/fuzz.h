/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A fuzz target: a small file that says what must hold whatever the bytes are, and that can make
 * inputs that mean something. `make fuzz` runs it under libFuzzer, `make unit` on as many
 * repeatable mutations of what it makes as main.c does in a few seconds.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* For `make unit`: what it was that was put up with, and how often it is tried. */
extern const char fuzz_what[];
extern const u32 fuzz_rounds;
/* An input that is good, or nearly; another each time. Its size, at most FUZZ_ROOM. */
size_t fuzz_make(u8 *to);
#define FUZZ_ROOM 65536u

/* Repeatable; below what is given, which is not 0. */
static inline u64 fuzz_random(u64 below)
{
	static u64 state = 0x9e3779b97f4a7c15ull;

	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

/* One of several texts of an array of pointers. */
#define FUZZ_PICK(texts) ((texts)[fuzz_random(ARRAY_SIZE(texts))])

static inline void require(bool cond, const char *what)
{
	if (cond)
		return;
	printf("not ok - fuzz: %s\n", what);
	fflush(stdout);
	abort();
}

/* A block of its own of this very size, so that the sanitizer sees each byte read beyond it. */
static inline u8 *fuzz_copy(const void *data, size_t size)
{
	u8 *copy = malloc(size ? size : 1);

	memcpy(copy, data, size);
	return copy;
}

/* The same as a string. */
static inline char *fuzz_string(const void *data, size_t size)
{
	char *copy = malloc(size + 1);

	memcpy(copy, data, size);
	copy[size] = 0;
	return copy;
}
