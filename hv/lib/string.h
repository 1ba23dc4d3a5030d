/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few functions of the C library that exist in the hypervisor (hv/lib/string.c); semantics as
 * in C11.
 */
#pragma once

#include "hv/lib/log.h"
#include "hv/lib/types.h"

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);

#ifndef HV_HOST_TEST
/* Small constant sizes become moves; -ffreestanding leaves that to us. */
#define memcpy(to, from, n) __builtin_memcpy(to, from, n)
#define memset(to, c, n)    __builtin_memset(to, c, n)
#endif

/* Copies from and to memory shared with dom0; what has been read is not read again. */
static inline void shared_read(void *to, const void __shared *from, size_t n)
{
	memcpy(to, shared_plain(from), n);
	__asm__ volatile("" : : : "memory");
}

static inline void shared_write(void __shared *to, const void *from, size_t n)
{
	memcpy(shared_plain(to), from, n);
}

/* Value of a hexadecimal or decimal digit; 16: it is none. */
static inline u32 digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 16;
}

/* A number of up to 8 bytes as firmware and files have it: unaligned, lowest byte first. */
static inline u64 get_le(const void *from, u32 bytes)
{
	u64 v = 0;

	BUG_ON(bytes > sizeof(v));
	memcpy(&v, from, bytes);
	return v;
}
