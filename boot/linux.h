/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Linux as dom0: what its image says, where everything goes, and the data it is entered with, by
 * Linux Documentation/x86/boot.rst ("64-bit Boot Protocol") and zero-page.rst. Pure; hv/dom0/load.c
 * moves the bytes.
 *
 * Functions that can fail return NULL, or a text "cause; cure" for boot_fail().
 */
#pragma once

#include "boot/memmap.h"

#define LINUX_HEAD_SIZE	   4096u /* this much of an image's start is enough to parse it */
#define LINUX_MAX_SEGMENTS 16

/* The setup header, at the same place in a bzImage and in boot_params. "Details of Header Fields"
 */
#define LINUX_SETUP_START 0x1f1u
struct linux_setup {
	u8 setup_sects;
	u16 root_flags;
	u32 syssize;
	u16 ram_size, vid_mode, root_dev, boot_flag;
	u8 jump, jump_len; /* the header ends this much after jump_len */
	u32 magic;
	u16 version, gap208[4];
	u8 type_of_loader, loadflags;
	u16 setup_move_size;
	u32 code32_start, ramdisk_image, ramdisk_size, gap220[2];
	u32 cmd_line_ptr, initrd_addr_max, kernel_alignment;
	u8 relocatable, min_alignment;
	u16 xloadflags;
	u32 cmdline_size, gap23c[5];
	u64 setup_data, pref_address;
	u32 init_size, gap264;
	u8 gap268[0x28];
} __packed;
_Static_assert(offsetof(struct linux_setup, magic) == 0x202 - LINUX_SETUP_START, "setup header");
_Static_assert(offsetof(struct linux_setup, init_size) == 0x260 - LINUX_SETUP_START, "its end");

struct linux_kernel {
	bool elf;
	u64 load;  /* preferred load address; the only one unless relocatable */
	u64 size;  /* memory needed from there on */
	u64 align; /* of other load addresses */
	bool relocatable;
	u64 entry;	 /* relative to the load address */
	u64 initrd_end;	 /* the initrd must lie below */
	u32 cmdline_max; /* characters */
	u32 segment_count;
	struct linux_segment {
		u64 offset, file_size; /* in the image */
		/* relative to the load address; what file_size does not cover is zeroed */
		u64 dest, mem_size;
	} segment[LINUX_MAX_SEGMENTS];
	struct linux_setup setup;
};

/*
 * Parse a bzImage or an ELF vmlinux of file_size bytes from its first head_len (up to
 * LINUX_HEAD_SIZE) ones.
 */
const char *linux_parse(const u8 *head, u32 head_len, u64 file_size, struct linux_kernel *out);

struct linux_plan {
	/* dom0's e820: what the hypervisor keeps and what dom0_mem= withholds is reserved */
	struct mem_map map, calm;
	u64 load; /* the kernel goes here ... */
	/* ... from here: the module itself, or where it is to be moved before anything is loaded */
	u64 kernel_from;
	/* final place; to be moved there first of all if it is not the module's */
	u64 initrd, initrd_size;
	u64 block; /* LINUX_BLOCK_SIZE bytes for linux_build() */
	u64 rsdp;  /* a reserved page for the copy of the RSDP; 0 = there is none */
};
/*
 * Where in the initrd module n goes: they follow one another, each at a multiple of 4 bytes, as
 * GRUB does it for `initrd a b`; the gaps are to be zero.
 */
u64 linux_initrd_offset(const struct boot_info *bi, u32 n);

/*
 * Place everything, by bi's map, modules, image, low page and pool. Nothing overlaps at the time it
 * is written: first the initrd is moved (its old and new place may overlap), then the kernel's
 * module, then the kernel is loaded, then the block built.
 */
const char *linux_plan(const struct boot_info *bi, const struct linux_kernel *k,
		       struct linux_plan *out);

/*
 * The block: boot_params; command line and GDT; more e820 entries; where EFI's runtime services
 * are; identity page tables of the first 4 GiB.
 */
#define LINUX_BLOCK_CMDLINE 0x1000u
#define LINUX_BLOCK_GDT	    0x1c00u
#define LINUX_BLOCK_E820    0x2000u
#define LINUX_BLOCK_EFI	    0x7000u
#define LINUX_BLOCK_PML4    0xb000u
#define LINUX_BLOCK_SIZE    0x11000u
#define LINUX_GDT_LIMIT	    31u
/* Fill the block, which is to lie at plan->block. */
void linux_build(const struct boot_info *bi, const struct linux_kernel *k,
		 const struct linux_plan *plan, u8 *block);
