/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/lib/string.h"

/*
 * The string instructions: short, and fast on large blocks. By words, because not every machine has
 * CPUID's "enhanced REP MOVSB".
 */

void *(memcpy)(void *to, const void *from, size_t n)
{
	size_t words = n / 8;
	void *d = to;

	__asm__ volatile("rep movsq" : "+D"(d), "+S"(from), "+c"(words) : : "memory");
	n &= 7;
	if (n)
		__asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(n) : : "memory");
	return to;
}

void *memmove(void *to, const void *from, size_t n)
{
	u8 *d = to;
	const u8 *s = from;
	size_t apart = d - s;

	if (d <= s || apart >= n)
		return memcpy(to, from, n);
	/* From the end, in pieces that do not overlap. */
	while (n) {
		size_t piece = MIN(n, apart);

		n -= piece;
		memcpy(d + n, s + n, piece);
	}
	return to;
}

void *(memset)(void *to, int c, size_t n)
{
	size_t words = n / 8;
	void *d = to;

	__asm__ volatile("rep stosq"
			 : "+D"(d), "+c"(words)
			 : "a"((u8)c * 0x0101010101010101ull)
			 : "memory");
	n &= 7;
	if (n)
		__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (((const volatile char *)s)[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return (u8)*a - (u8)*b;
}
