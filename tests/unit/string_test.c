/* SPDX-License-Identifier: GPL-2.0-only */
/* links: */
/*
 * The hypervisor's block functions against copies made byte by byte, at all small sizes, distances
 * and alignments.
 */
#include "hv/lib/string.h"
#include "test.h"

#define memcpy	hv_memcpy
#define memmove hv_memmove
#define memset	hv_memset
#define memcmp	hv_memcmp
#define strlen	hv_strlen
#define strcmp	hv_strcmp
void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
#include "hv/lib/string.c"

#define AREA 1024

static u8 area[AREA], want[AREA];

static void fill(void)
{
	for (u32 i = 0; i < AREA; i++)
		area[i] = want[i] = (u8)(i * 7 + i / 256);
}

static bool same(void)
{
	for (u32 i = 0; i < AREA; i++)
		if (area[i] != want[i])
			return false;
	return true;
}

static void test_move(u32 from, u32 to, u32 n)
{
	u8 copy[AREA];

	fill();
	for (u32 i = 0; i < n; i++)
		copy[i] = want[from + i];
	for (u32 i = 0; i < n; i++)
		want[to + i] = copy[i];
	memmove(area + to, area + from, n);
	CHECK_QUIET(same(), "memmove of %u bytes from %u to %u", n, from, to);
}

int main(void)
{
	static const u32 sizes[] = {0, 1, 7, 8, 9, 63, 64, 65, 100, 128, 200, 333, 400};

	for (u32 i = 0; i < ARRAY_SIZE(sizes); i++)
		for (u32 to = 0; to < 400; to++)
			test_move(200, to, sizes[i]);
	CHECK(true, "memmove moves blocks over each other, both ways");

	for (u32 n = 0; n < 100; n++) {
		fill();
		for (u32 i = 0; i < n; i++)
			want[500 + i] = want[3 + i];
		memcpy(area + 500, area + 3, n);
		CHECK_QUIET(same(), "memcpy of %u bytes", n);
		for (u32 i = 0; i < n; i++)
			want[11 + i] = 0xa5;
		memset(area + 11, 0xfa5, n);
		CHECK_QUIET(same(), "memset of %u bytes", n);
	}
	CHECK(same(), "memcpy and memset write what they are told and nothing beside it");
	CHECK(memcmp("abc", "abd", 2) == 0 && memcmp("abc", "abd", 3) < 0,
	      "memcmp orders by the first difference");
	CHECK(strlen("abc") == 3 && strcmp("abc", "ab") > 0 && !strcmp("", ""),
	      "strlen and strcmp go to the end");
	return test_end();
}
