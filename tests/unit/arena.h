/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * "Physical" memory for host tests: a lazily filled mapping that starts at hpa 0; and a way to see
 * a panic from outside.
 */
#ifndef TESTS_UNIT_ARENA_H
#define TESTS_UNIT_ARENA_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot/boot.h"
#include "hv/mm/frame.h"
#include "hv/mm/mm.h"
#include "hv/mm/pool.h"
#include "hv/mm/pt.h"
#include "test.h"

u64 test_direct_base;

static inline const char *name_of(const struct pt_format *f)
{
	if (f->wb)
		return f->dirty ? "ept with dirty flags" : "ept";
	return f->leaf & BIT(2) ? "npt" : "host";
}

static inline void arena_init(u64 bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	test_direct_base = (u64)p;
}

/* acct gets so many pages more, and then no others. */
static inline void leave_pages(struct account *acct, u64 pages)
{
	if (acct->bounded)
		pool_retract(acct, acct->promised);
	if (pool_promise(acct, pages))
		exit(1);
}

static inline void leave_all(struct account *acct)
{
	leave_pages(acct, 0);
	acct->bounded = false;
}

/* In a child, since a panic leaves locks held. */
#define DIES(stmt)                                                                                 \
	({                                                                                         \
		int status_ = 0;                                                                   \
		fflush(stdout);                                                                    \
		pid_t child_ = fork();                                                             \
		if (!child_)                                                                       \
			_exit(PANICS(stmt) ? 42 : 0);                                              \
		waitpid(child_, &status_, 0);                                                      \
		WIFEXITED(status_) && WEXITSTATUS(status_) == 42;                                  \
	})

/* A repeatable random number below n. */
static inline u64 rnd(u64 n)
{
	static u64 x = 0x2545f4914f6cdd1dull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (x >> 11) % n;
}

/* The table of frames for a map. */
static inline int init_frames(const struct mem_map *map, u64 image_start, u64 image_end,
			      u64 pool_start, u64 pool_end)
{
	static struct boot_info bi;

	bi.map = *map;
	bi.image_start = image_start;
	bi.image_end = image_end;
	bi.pool_start = pool_start;
	bi.pool_end = pool_end;
	return frame_init(&bi);
}

#endif
