/* SPDX-License-Identifier: GPL-2.0-only */
/* Makes files of microcode, and archives that have them, for tests. */
#pragma once

#include <stdio.h>
#include <string.h>

#include "hv/lib/types.h"

struct microcode_file {
	u32 len;
	u8 buf[65536] __attribute__((aligned(16)));
};

static inline void put32(u8 *at, u32 v)
{
	memcpy(at, &v, 4);
}

static inline void put16(u8 *at, u16 v)
{
	memcpy(at, &v, 2);
}

/* What is to be added to make words add up to 0 */
static inline u32 missing_sum(const u8 *at, u32 size)
{
	u32 sum = 0, v;

	for (u32 i = 0; i < size; i += 4) {
		memcpy(&v, at + i, 4);
		sum += v;
	}
	return -sum;
}

/* An update of data_size bytes (0: as the header says it by 0), for `more` other CPUs, too. */
static inline u8 *add_intel(struct microcode_file *f, u32 revision, u32 signature, u32 platforms,
			    u32 data_size, const u32 (*more)[2], u32 count)
{
	u8 *at = f->buf + f->len, *table;
	u32 size = 48 + (data_size ? data_size : 2000), total = size;

	if (count)
		total += 20 + 12 * count;
	memset(at, 0, total);
	put32(at, 1);
	put32(at + 4, revision);
	put32(at + 8, 0x01022026);
	put32(at + 12, signature);
	put32(at + 20, 1);
	put32(at + 24, platforms);
	put32(at + 28, data_size);
	put32(at + 32, data_size ? total : 0);
	for (u32 i = 48; i < size; i++)
		at[i] = (u8)(i * 7 + revision);
	put32(at + 16, missing_sum(at, size));
	table = at + size;
	if (count)
		put32(table, count);
	for (u32 i = 0; i < count; i++) {
		put32(table + 20 + 12 * i, more[i][0]);
		put32(table + 24 + 12 * i, more[i][1]);
	}
	if (count)
		put32(table + 4, missing_sum(table, total - size));
	f->len += total;
	return at;
}

/* The beginning of a container: a table of one CPU beside others. */
static inline void add_equiv(struct microcode_file *f, u32 signature, u16 id)
{
	u8 *at = f->buf + f->len;

	memset(at, 0, 12 + 3 * 16);
	put32(at, 0x00414d44);
	put32(at + 8, 3 * 16);
	put32(at + 12, 0x700f01);
	put16(at + 12 + 12, 0x7777);
	put32(at + 28, signature);
	put16(at + 28 + 12, id);
	f->len += 12 + 3 * 16;
}

static inline u8 *add_patch(struct microcode_file *f, u32 revision, u16 id, u32 size)
{
	u8 *at = f->buf + f->len + 8;

	memset(at, (u8)revision, size);
	put32(at - 8, 1);
	put32(at - 4, size);
	memset(at, 0, 64);
	put32(at + 4, revision);
	put16(at + 24, id);
	f->len += 8 + size;
	return at;
}

/* A file of an archive of the format newc. -> where the next one begins */
static inline u32 add_cpio(u8 *to, u32 at, const char *name, const void *data, u32 size)
{
	u32 name_size = (u32)strlen(name) + 1;
	char h[200];

	snprintf(h, sizeof(h), "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 1,
		 0100644, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0);
	memcpy(to + at, h, 110);
	memcpy(to + at + 110, name, name_size);
	at = ALIGN_UP(at + 110 + name_size, 4u);
	memcpy(to + at, data, size);
	return ALIGN_UP(at + size, 4u);
}
