/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The few functions of the C library that exist in the hypervisor (hv/lib/string.c); semantics as
 * in C11.
 */
#pragma once

#include <stddef.h>

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
