/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/lib/lock.c -DCHECK_LOCKS */
/* The check of the lock order, as the test `fuzz` and `make locks-test` have it. */
#include <string.h>

#include "hv/lib/lock.h"
#include "hv/lib/percpu.h"
#include "test.h"

struct cpu *cpus[MAX_CPUS];
static struct cpu cpu;

struct cpu *this_cpu(void)
{
	return &cpu;
}

int main(void)
{
	struct lock early = LOCK_INIT(LOCK_CONSOLE), vm = LOCK_INIT(LOCK_VM),
		    p2m = LOCK_INIT(LOCK_P2M), other = LOCK_INIT(LOCK_P2M), none = LOCK_INIT(0);
	struct rwlock objects = {0};

	lock_acquire(&early);
	lock_release(&early);
	CHECK(!cpu.locks, "before there are CPUs nothing is noted");
	cpus[0] = &cpu;

	lock_acquire(&vm);
	lock_acquire(&p2m);
	CHECK(cpu.locks == (1u << LOCK_VM | 1u << LOCK_P2M), "outer before inner is right");
	lock_release(&vm);
	lock_release(&p2m);
	CHECK(!PANICS(lock_none_held()), "given back in any order, none is held");

	lock_acquire(&p2m);
	CHECK(PANICS(lock_acquire(&vm)) && strstr(test_panic_text, "level 2 taken"),
	      "inner before outer is told: %s", test_panic_text);
	CHECK(PANICS(lock_acquire(&other)), "two of one level, too");
	CHECK(PANICS(lock_none_held()), "one held where none may be, too");
	lock_release(&p2m);
	CHECK(PANICS(lock_release(&p2m)), "one given back twice, too");
	CHECK(PANICS(lock_acquire(&none)), "a lock without a level, too");
	read_acquire(&objects);
	read_release(&objects);
	CHECK(PANICS(read_release(&objects)), "a read lock is given back once");
	objects = (struct rwlock){0};
	write_acquire(&objects);
	write_release(&objects);
	CHECK(PANICS(write_release(&objects)), "a write lock, too");
	lock_unchecked = true;
	CHECK(!PANICS(lock_release(&vm)), "a panic is not held up by all that");
	return test_end();
}
