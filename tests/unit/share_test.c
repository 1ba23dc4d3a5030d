/* SPDX-License-Identifier: GPL-2.0-only */
/* links: dom0/kmod/share.c */
/* What nested cgroups leave a VM: weights multiply, the least quota holds. */
#include "dom0/kmod/pure.h"
#include "test.h"

#define NONE (-1)
#define MS   1000ull /* in microseconds */

static bool is(const struct cb_share *s, u32 weight, u32 cap)
{
	return s->weight == weight && s->cap == cap;
}

int main(void)
{
	struct cb_share s = CB_SHARE_ALL;

	CHECK(is(&s, 1024, CB_SHARE_CAP_NONE), "outside of all cgroups there is no limit");
	share_level(&s, 7, 100, 100, NONE, 100 * MS);
	CHECK(is(&s, 1024, CB_SHARE_CAP_NONE), "nor in one that says nothing");
	share_level(&s, 7, 300, 300, NONE, 100 * MS);
	CHECK(is(&s, 1024, CB_SHARE_CAP_NONE), "the greatest among its siblings has no more");
	share_level(&s, 7, 150, 300, NONE, 100 * MS);
	CHECK(is(&s, 512, CB_SHARE_CAP_NONE), "one of half the weight has half");
	share_level(&s, 7, 100, 200, NONE, 100 * MS);
	CHECK(is(&s, 256, CB_SHARE_CAP_NONE), "and of that half in one within");
	share_level(&s, 7, 10000, 10000, NONE, 100 * MS);
	share_level(&s, 7, 10000, 100, NONE, 100 * MS);
	CHECK(is(&s, 256, CB_SHARE_CAP_NONE), "where no weight brings anything back");
	share_level(&s, 7, 100, 100, 150 * MS, 100 * MS);
	CHECK(is(&s, 256, 150), "a quota of 150 of 100 ms is one and a half CPUs");
	share_level(&s, 7, 100, 100, 400 * MS, 100 * MS);
	CHECK(is(&s, 256, 150), "a larger one within does not give more");
	share_level(&s, 7, 100, 100, 20 * MS, 100 * MS);
	CHECK(is(&s, 256, 20), "a smaller one does give less");
	share_level(&s, 7, 100, 100, 1 * MS, 1000 * MS);
	CHECK(is(&s, 256, 1), "the least is a hundredth of a CPU");

	s = CB_SHARE_ALL;
	for (int i = 0; i < 5; i++)
		share_level(&s, 7, 1, 10000, NONE, 0);
	CHECK(is(&s, 1, CB_SHARE_CAP_NONE), "a weight never becomes nothing");
	s = CB_SHARE_ALL;
	share_level(&s, 7, 100, 0, NONE, 0);
	CHECK(is(&s, 1024, CB_SHARE_CAP_NONE), "a cgroup that has just become empty is no harm");
	share_level(&s, 7, ~0ull, ~0ull, (s64)(~0ull >> 1), 1);
	CHECK(is(&s, 1024, CB_SHARE_CAP_NONE), "nor are values without sense");

	s = CB_SHARE_ALL;
	share_level(&s, 11, 100, 100, 50 * MS, 100 * MS);
	share_level(&s, 12, 100, 100, NONE, 100 * MS);
	share_level(&s, 13, 100, 100, 200 * MS, 100 * MS);
	CHECK(s.shared[0].id == 11 && s.shared[0].cap == 50 && s.shared[1].id == 13 &&
		  s.shared[1].cap == 200 && !s.shared[2].id && s.cap == 50,
	      "each cgroup with a quota has it for all that is in it");
	for (u32 i = 0; i < CB_SHARE_LEVELS; i++)
		share_level(&s, 20 + i, 100, 100, 300 * MS, 100 * MS);
	for (u32 i = 0; i < CB_SHARE_LEVELS; i++)
		CHECK(s.shared[i].id >= 20 && s.shared[i].cap == 300,
		      "of many those that are further out");
	return test_end();
}
