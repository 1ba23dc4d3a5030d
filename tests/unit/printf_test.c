/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/lib/printf.c */
/* hv_vsnprintf against the C library's, and what differs from it on purpose. */
#include <stdio.h>
#include <string.h>

#include "hv/lib/log.h"
#include "hv/lib/printf.h"
#include "test.h"

#define SAME(...)                                                                                  \
	do {                                                                                       \
		char want[128], got[128];                                                          \
		int wn = snprintf(want, sizeof(want), __VA_ARGS__),                                \
		    gn = hv_snprintf(got, sizeof(got), __VA_ARGS__);                               \
		CHECK(wn == gn && !strcmp(want, got), "%s gives \"%s\" (%d), got \"%s\" (%d)",     \
		      #__VA_ARGS__, want, wn, got, gn);                                            \
	} while (0)

static int wrong_format(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = hv_vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}

static void test_numbers(void)
{
	SAME("%d %d %d", 0, -1, 2147483647);
	SAME("%d", -2147483647 - 1);
	SAME("%ld %lld", -9223372036854775807l - 1, 9223372036854775807ll);
	SAME("%u %lu %llu", 4294967295u, 18446744073709551615ul, 18446744073709551615ull);
	SAME("%x %lx", 0xdeadbeefu, 0xffffffff80200000ul);
	SAME("[%5u] [%05u]", 42u, 42u);
	SAME("[%016lx] [%8x]", 0x1234ul, 0xabu);
	SAME("%06llu.%03llu", 12ull, 5ull);
}

static void test_text(void)
{
	SAME("plain");
	SAME("%%");
	SAME("[%s] [%10s]", "abc", "abc");
	SAME("[%c] [%3c]", 'x', 'y');
	SAME("%s%s", "", "a");
}

static void test_edges(void)
{
	char b[8];

	memset(b, 'x', sizeof(b));
	CHECK(hv_snprintf(b, 4, "%s", "abcdef") == 6 && !strcmp(b, "abc") && b[4] == 'x',
	      "cut text ends in NUL inside the buffer");
	memset(b, 'x', sizeof(b));
	CHECK(hv_snprintf(b, 0, "%d", 12345) == 5 && b[0] == 'x',
	      "size 0 writes nothing and still tells the length");
	CHECK(hv_snprintf(b, 1, "a") == 1 && b[0] == 0, "size 1 holds only the NUL");
	CHECK(wrong_format(b, sizeof(b), "%s", (char *)NULL) == 6 && !strcmp(b, "(null)"),
	      "a NULL string is shown, not followed");
	CHECK(wrong_format(b, sizeof(b), "a%y") == 3 && !strcmp(b, "a%y"),
	      "an unknown conversion is shown as it stands");
	CHECK(wrong_format(b, sizeof(b), "a%") == 1 && !strcmp(b, "a"),
	      "a lone percent sign at the end is harmless");
	CHECK(wrong_format(b, sizeof(b), "%99999999999d", 1) > 0, "an absurd width is bounded");
}

int main(void)
{
	test_numbers();
	test_text();
	test_edges();
	return test_end();
}
