/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Drives a fuzz target without libFuzzer. Argument: the number of rounds; or a directory, into
 * which good inputs are written for libFuzzer to begin with.
 */
#include "fuzz.h"
#include "tests/unit/test.h"

#define CORPUS 64

static size_t mutate(u8 *b, size_t size)
{
	for (u64 flips = size ? fuzz_random(6) : 0; flips; flips--) {
		u64 at = fuzz_random(size), part = fuzz_random(MIN(size - at, 32u)) + 1;

		switch (fuzz_random(4)) {
		case 0: /* sizes and types are what hurts */
			memcpy(b + at, &(u32){(u32)fuzz_random(64)}, MIN(4u, size - at));
			break;
		case 1: /* something comes twice */
			memmove(b + fuzz_random(size - part + 1), b + at, part);
			break;
		default:
			b[at] = (u8)fuzz_random(256);
		}
	}
	return fuzz_random(8) ? size : fuzz_random(size + 1);
}

static void write_corpus(const char *dir)
{
	static u8 b[FUZZ_ROOM];

	for (u32 i = 0; i < CORPUS; i++) {
		char path[4096];
		FILE *f;

		snprintf(path, sizeof(path), "%s/%u", dir, i);
		f = fopen(path, "w");
		if (!f) {
			perror(path);
			exit(1);
		}
		fwrite(b, 1, fuzz_make(b), f);
		fclose(f);
	}
}

int main(int argc, char **argv)
{
	u32 rounds = argc > 1 ? (u32)atoi(argv[1]) : fuzz_rounds;
	static u8 b[FUZZ_ROOM];

	if (argc > 1 && !rounds) {
		write_corpus(argv[1]);
		return 0;
	}
	for (u32 i = 0; i < rounds; i++)
		LLVMFuzzerTestOneInput(b, mutate(b, fuzz_make(b)));
	CHECK(true, "%u mutations: %s", rounds, fuzz_what);
	return test_end();
}
