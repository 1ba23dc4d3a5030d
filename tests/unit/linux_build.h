/* SPDX-License-Identifier: GPL-2.0-only */
/* Makes bzImages and ELF kernels that have headers and a recognisable content, for tests. */
#ifndef TESTS_UNIT_LINUX_BUILD_H
#define TESTS_UNIT_LINUX_BUILD_H

#include <string.h>

#include "hv/lib/types.h"

#define BZ_SETUP_BYTES 2048u

static inline void le(u8 *p, u64 v, u32 bytes)
{
	memcpy(p, &v, bytes);
}

/* The content of images: depends on the position, so that a shifted copy shows. */
static inline u8 image_byte(u64 at)
{
	return (u8)(at * 167 + (at >> 8) * 13 + (at >> 16));
}

static inline void fill_image(u8 *p, u64 size)
{
	for (u64 i = 0; i < size; i++)
		p[i] = image_byte(i);
}

/* Write the headers of a bzImage of file_size bytes over p; what lies between stays. */
static inline void make_bzimage(u8 *p, u64 file_size, u64 pref, u32 init_size, bool relocatable)
{
	memset(p, 0, BZ_SETUP_BYTES);
	p[0x1f1] = BZ_SETUP_BYTES / 512 - 1;
	le(p + 0x1f4, ALIGN_UP(file_size - BZ_SETUP_BYTES, 16) / 16, 4);
	le(p + 0x1fe, 0xaa55, 2);
	le(p + 0x200, 0x6aeb, 2); /* jump: the header ends at 0x26c */
	memcpy(p + 0x202, "HdrS", 4);
	le(p + 0x206, 0x20f, 2);
	p[0x211] = 0xc1;
	le(p + 0x22c, 0x7fffffff, 4);
	le(p + 0x230, 0x200000, 4);
	p[0x234] = relocatable;
	le(p + 0x236, 0x3f, 2);
	le(p + 0x238, 2047, 4);
	le(p + 0x250, 0x1234, 8); /* a loader's field with rubbish in it */
	le(p + 0x258, pref, 8);
	le(p + 0x260, init_size, 4);
}

struct elf_part {
	u64 offset, vaddr, paddr, file_size, mem_size;
};

static inline void make_elf(u8 *p, u64 entry, const struct elf_part *part, u32 n)
{
	memset(p, 0, 64 + n * 56);
	memcpy(p, "\177ELF\2\1\1", 7);
	le(p + 16, 2, 2);
	le(p + 18, 62, 2);
	le(p + 20, 1, 4);
	le(p + 24, entry, 8);
	le(p + 32, 64, 8);
	le(p + 52, 64, 2);
	le(p + 54, 56, 2);
	le(p + 56, n, 2);
	for (u32 i = 0; i < n; i++) {
		u8 *ph = p + 64 + i * 56;

		le(ph, part[i].mem_size ? 1 : 4, 4);
		le(ph + 8, part[i].offset, 8);
		le(ph + 16, part[i].vaddr, 8);
		le(ph + 24, part[i].paddr, 8);
		le(ph + 32, part[i].file_size, 8);
		le(ph + 40, part[i].mem_size, 8);
	}
}

#endif
