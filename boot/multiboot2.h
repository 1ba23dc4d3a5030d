/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Multiboot2 as the loader and the image agree on it: "Multiboot2 Specification version 2.0",
 * sections "Header magic fields", "Boot information format". All tags start at multiples of 8
 * bytes; sizes are without that padding.
 */
#pragma once

#include "boot/boot.h"

#define MB2_BOOTLOADER_MAGIC 0x36d76289u /* in EAX at entry */
#define MB2_TAG_ALIGN	     8u

enum mb2_tag_type {
	MB2_TAG_END = 0,
	MB2_TAG_CMDLINE = 1,
	MB2_TAG_LOADER = 2,
	MB2_TAG_MODULE = 3,
	MB2_TAG_BASIC_MEM = 4,
	MB2_TAG_MMAP = 6,
	MB2_TAG_FRAMEBUFFER = 8,
	MB2_TAG_EFI32 = 11,
	MB2_TAG_EFI64 = 12,
	MB2_TAG_RSDP_OLD = 14,
	MB2_TAG_RSDP_NEW = 15,
	MB2_TAG_EFI_MMAP = 17,
};

struct mb2_info {
	u32 total_size, reserved;
};

struct mb2_tag {
	u32 type, size;
};

struct mb2_tag_string {
	struct mb2_tag tag;
	char string[];
};

struct mb2_tag_module {
	struct mb2_tag tag;
	u32 start, end;
	char cmdline[];
};

struct mb2_tag_basic_mem {
	struct mb2_tag tag;
	u32 lower_kib, upper_kib;
};

struct mb2_mmap_entry {
	u64 addr, len;
	u32 type, zero;
} __packed;
_Static_assert(sizeof(struct mb2_mmap_entry) == 24, "entry of the memory map");

struct mb2_tag_mmap { /* also the EFI memory map tag's form, with struct efi_desc in its entries */
	struct mb2_tag tag;
	u32 entry_size, entry_version;
	u8 entries[];
};

enum mb2_fb_type { MB2_FB_INDEXED = 0, MB2_FB_RGB = 1, MB2_FB_TEXT = 2 };

struct mb2_tag_framebuffer {
	struct mb2_tag tag;
	u64 addr;
	u32 pitch, width, height;
	u8 bpp, type;
	u16 reserved;
	struct mb2_colour colour[3]; /* MB2_FB_RGB only */
	u8 pad[2];
};
#define MB2_FB_COMMON_SIZE offsetof(struct mb2_tag_framebuffer, colour)
#define MB2_FB_RGB_SIZE	   offsetof(struct mb2_tag_framebuffer, pad)
_Static_assert(MB2_FB_COMMON_SIZE == 32, "framebuffer tag");

struct mb2_tag_rsdp {
	struct mb2_tag tag;
	u8 rsdp[];
};
