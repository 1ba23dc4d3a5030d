/* SPDX-License-Identifier: GPL-2.0-only */
/* Builds Multiboot2 information for tests. */
#ifndef TESTS_UNIT_MB2_BUILD_H
#define TESTS_UNIT_MB2_BUILD_H

#include <string.h>

#include "boot/multiboot2.h"

struct mb2_build {
	u32 len;
	u8 buf[64 << 10] __aligned(8);
};

static inline void mb2_begin(struct mb2_build *b)
{
	memset(b, 0, sizeof(*b));
	b->len = sizeof(struct mb2_info);
}

/* Appends a tag with this payload; returns where it lies. */
static inline void *mb2_tag(struct mb2_build *b, u32 type, const void *payload, u32 len)
{
	struct mb2_tag *t = (void *)(b->buf + b->len);

	t->type = type;
	t->size = sizeof(*t) + len;
	memcpy(t + 1, payload, len);
	b->len = ALIGN_UP(b->len + t->size, 8u);
	return t;
}

static inline void *mb2_module(struct mb2_build *b, u32 start, u32 end, const char *cmdline)
{
	u8 p[8192];

	memcpy(p, &start, 4);
	memcpy(p + 4, &end, 4);
	strcpy((char *)p + 8, cmdline);
	return mb2_tag(b, MB2_TAG_MODULE, p, 8 + strlen(cmdline) + 1);
}

static inline void *mb2_mmap(struct mb2_build *b, u32 entry_size, const struct mb2_mmap_entry *e,
			     u32 count)
{
	u8 p[32768] = {0};

	memcpy(p, &entry_size, 4);
	for (u32 i = 0; i < count; i++)
		memcpy(p + 8 + i * entry_size, &e[i], sizeof(*e));
	return mb2_tag(b, MB2_TAG_MMAP, p, 8 + count * entry_size);
}

/* A machine with 1 GiB: low memory, RAM from 1 MiB with ACPI at its end, flash below 4 GiB. */
static inline void *mb2_default_mmap(struct mb2_build *b)
{
	static const struct mb2_mmap_entry map[] = {
	    {0, 0x9fc00, 1, 0},		  {0x9fc00, 0x400, 2, 0},      {0xf0000, 0x10000, 2, 0},
	    {0x100000, 0x3fee0000, 1, 0}, {0x3ffe0000, 0x20000, 3, 0}, {0xfffc0000, 0x40000, 2, 0},
	};

	return mb2_mmap(b, 24, map, ARRAY_SIZE(map));
}

static inline u32 mb2_end(struct mb2_build *b)
{
	mb2_tag(b, MB2_TAG_END, "", 0);
	((struct mb2_info *)b->buf)->total_size = b->len;
	return b->len;
}

#endif
