/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/linux.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define MIB	 BIT(20)
#define BELOW_4G BIT(32)

/* Setup header, offsets in boot_params and bzImage; boot.rst "Details of Header Fields" */
#define HDR_SETUP_SECTS	 0x1f1u
#define HDR_SYSSIZE	 0x1f4u
#define HDR_VID_MODE	 0x1fau
#define HDR_BOOT_FLAG	 0x1feu
#define HDR_JUMP_LEN	 0x201u /* the header ends this much after 0x202 */
#define HDR_MAGIC	 0x202u
#define HDR_VERSION	 0x206u
#define HDR_LOADER	 0x210u
#define HDR_LOADFLAGS	 0x211u
#define HDR_CODE32	 0x214u
#define HDR_RAMDISK	 0x218u
#define HDR_RAMDISK_SIZE 0x21cu
#define HDR_CMDLINE	 0x228u
#define HDR_INITRD_MAX	 0x22cu
#define HDR_ALIGN	 0x230u
#define HDR_RELOCATABLE	 0x234u
#define HDR_XLOADFLAGS	 0x236u
#define HDR_CMDLINE_SIZE 0x238u
#define HDR_SETUP_DATA	 0x250u
#define HDR_PREF_ADDRESS 0x258u
#define HDR_INIT_SIZE	 0x260u
#define HDR_END		 0x268u

#define BOOT_FLAG	0xaa55u
#define SETUP_MAGIC	0x53726448u /* "HdrS" */
#define PROTOCOL_2_12	0x020cu
#define PROTOCOL_2_15	0x020fu
#define XLF_KERNEL_64	BIT(0)
#define LOADED_HIGH	BIT(0)
#define KEEP_SEGMENTS	BIT(6)
#define CAN_USE_HEAP	BIT(7)
#define LOADER_UNKNOWN	0xffu
#define VID_MODE_NORMAL 0xffffu
#define ENTRY_64	0x200u /* of a bzImage, from the load address */

/* boot_params; zero-page.rst */
#define BP_ACPI_RSDP	0x070u
#define BP_E820_ENTRIES 0x1e8u
#define BP_E820_TABLE	0x2d0u
#define BP_E820_MAX	128u
#define SETUP_E820_EXT	1u

/* struct screen_info, at 0 of boot_params */
#define SI_ORIG_Y	  0x01u
#define SI_VIDEO_MODE	  0x06u
#define SI_VIDEO_COLS	  0x07u
#define SI_VIDEO_LINES	  0x0eu
#define SI_IS_VGA	  0x0fu
#define SI_VIDEO_POINTS	  0x10u
#define SI_LFB_WIDTH	  0x12u
#define SI_LFB_HEIGHT	  0x14u
#define SI_LFB_DEPTH	  0x16u
#define SI_LFB_BASE	  0x18u
#define SI_LFB_SIZE	  0x1cu
#define SI_LFB_LINELENGTH 0x24u
#define SI_COLOURS	  0x26u /* size and position of red, green, blue, reserved */
#define SI_CAPABILITIES	  0x36u
#define SI_EXT_LFB_BASE	  0x3au
#define VIDEO_TYPE_VLFB	  0x23u
#define VIDEO_TYPE_EFI	  0x70u
#define VIDEO_64BIT_BASE  BIT(1)

static u64 get(const u8 *p, u32 bytes)
{
	u64 v = 0;

	memcpy(&v, p, bytes);
	return v;
}

static void put(u8 *p, u64 v, u32 bytes)
{
	memcpy(p, &v, bytes);
}

static bool is_pow2(u64 v)
{
	return v && !(v & (v - 1));
}

/* ---- parsing ---- */

static const char *parse_bzimage(const u8 *head, u64 file_size, struct linux_kernel *k)
{
	u32 sects = head[HDR_SETUP_SECTS] ? head[HDR_SETUP_SECTS] : 4;
	u32 end = HDR_MAGIC + head[HDR_JUMP_LEN];
	u64 setup = (sects + 1) * 512ull, body = file_size - setup;

	if (get(head + HDR_VERSION, 2) < PROTOCOL_2_12 ||
	    !(get(head + HDR_XLOADFLAGS, 2) & XLF_KERNEL_64))
		return "the dom0 kernel has no 64-bit entry; use an x86-64 kernel of version 3.8 "
		       "or later";
	if (end < HDR_INIT_SIZE + 4 || end > LINUX_SETUP_END)
		return "the dom0 kernel's setup header is damaged; install the kernel again";
	if (file_size <= setup + ENTRY_64 || get(head + HDR_SYSSIZE, 4) * 16 > ALIGN_UP(body, 16))
		return "the dom0 kernel is cut off; install it again and check the boot medium";

	memcpy(k->setup + LINUX_SETUP_START, head + LINUX_SETUP_START, end - LINUX_SETUP_START);
	k->load = get(head + HDR_PREF_ADDRESS, 8);
	k->size = MAX(get(head + HDR_INIT_SIZE, 4), body);
	k->align = MAX(get(head + HDR_ALIGN, 4), 2 * MIB);
	k->relocatable = head[HDR_RELOCATABLE];
	k->entry = ENTRY_64;
	k->initrd_end = MIN(get(head + HDR_INITRD_MAX, 4) + 1, BELOW_4G);
	k->cmdline_max = (u32)get(head + HDR_CMDLINE_SIZE, 4);
	k->segment_count = 1;
	k->segment[0] =
	    (struct linux_segment){.offset = setup, .file_size = body, .dest = 0, .mem_size = body};
	if (!is_pow2(k->align) || k->load >= BELOW_4G || k->size > BELOW_4G)
		return "the dom0 kernel's setup header is damaged; install the kernel again";
	return NULL;
}

struct elf64_header {
	u8 ident[16];
	u16 type, machine;
	u32 version;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
_Static_assert(sizeof(struct elf64_header) == 64, "ELF-64 header");

struct elf64_phdr {
	u32 type, flags;
	u64 offset, vaddr, paddr, file_size, mem_size, align;
};
_Static_assert(sizeof(struct elf64_phdr) == 56, "ELF-64 program header");

#define ELF_CLASS_64   2
#define ELF_EXEC       2
#define ELF_MACHINE_64 62
#define ELF_PT_LOAD    1

/* Entry points as vmlinux has them are physical; take a virtual one too. */
static bool elf_entry(u64 entry, const struct elf64_phdr *ph, u64 *phys)
{
	if (entry >= ph->paddr && entry - ph->paddr < ph->mem_size)
		*phys = entry;
	else if (entry >= ph->vaddr && entry - ph->vaddr < ph->mem_size)
		*phys = ph->paddr + (entry - ph->vaddr);
	else
		return false;
	return true;
}

/* What a bzImage of the same kernel would say. */
static void default_setup(struct linux_kernel *k)
{
	u8 *hdr = k->setup;

	put(hdr + HDR_BOOT_FLAG, BOOT_FLAG, 2);
	put(hdr + HDR_MAGIC, SETUP_MAGIC, 4);
	put(hdr + HDR_VERSION, PROTOCOL_2_15, 2);
	hdr[HDR_JUMP_LEN] = HDR_END - HDR_MAGIC;
	put(hdr + HDR_INITRD_MAX, k->initrd_end - 1, 4);
	put(hdr + HDR_ALIGN, k->align, 4);
	put(hdr + HDR_XLOADFLAGS, XLF_KERNEL_64, 2);
	put(hdr + HDR_CMDLINE_SIZE, k->cmdline_max, 4);
	put(hdr + HDR_PREF_ADDRESS, k->load, 8);
	put(hdr + HDR_INIT_SIZE, k->size, 4);
}

static const char *parse_elf(const u8 *head, u32 head_len, u64 file_size, struct linux_kernel *k)
{
	struct elf64_header e;
	struct elf64_phdr ph;
	u64 end = 0, entry = 0;

	memcpy(&e, head, sizeof(e));
	if (e.ident[4] != ELF_CLASS_64 || e.machine != ELF_MACHINE_64 || e.type != ELF_EXEC)
		return "the dom0 kernel is an ELF file but not an x86-64 kernel; use vmlinuz or an "
		       "x86-64 vmlinux";
	if (e.phentsize != sizeof(ph) || e.phoff > head_len ||
	    e.phnum > (head_len - e.phoff) / sizeof(ph))
		return "the dom0 kernel's ELF headers are damaged; use the distribution's vmlinuz";
	k->load = ~0ull;
	for (u32 i = 0; i < e.phnum; i++) {
		memcpy(&ph, head + e.phoff + i * sizeof(ph), sizeof(ph));
		if (ph.type != ELF_PT_LOAD || !ph.mem_size)
			continue;
		if (ph.file_size > ph.mem_size || ph.paddr >= BELOW_4G ||
		    ph.mem_size > BELOW_4G - ph.paddr || k->segment_count == LINUX_MAX_SEGMENTS)
			return "the dom0 kernel's ELF headers are damaged; use the distribution's "
			       "vmlinuz";
		if (ph.offset > file_size || ph.file_size > file_size - ph.offset)
			return "the dom0 kernel is cut off; install it again and check the boot "
			       "medium";
		k->segment[k->segment_count++] =
		    (struct linux_segment){ph.offset, ph.file_size, ph.paddr, ph.mem_size};
		k->load = MIN(k->load, ph.paddr);
		end = MAX(end, ph.paddr + ph.mem_size);
		if (!entry && !elf_entry(e.entry, &ph, &entry))
			entry = 0;
	}
	if (!entry)
		return "the dom0 kernel's ELF file has no usable entry point; use the "
		       "distribution's vmlinuz";
	for (u32 i = 0; i < k->segment_count; i++)
		k->segment[i].dest -= k->load;
	k->elf = true;
	k->size = end - k->load;
	k->align = 2 * MIB;
	k->entry = entry - k->load;
	k->initrd_end = 0x80000000ull; /* what every x86-64 bzImage states */
	k->cmdline_max = 2047;
	default_setup(k);
	return NULL;
}

const char *linux_parse(const u8 *head, u32 head_len, u64 file_size, struct linux_kernel *out)
{
	memset(out, 0, sizeof(*out));
	head_len = MIN(head_len, LINUX_HEAD_SIZE);
	if (head_len >= sizeof(struct elf64_header) && !memcmp(head, "\177ELF", 4))
		return parse_elf(head, head_len, file_size, out);
	if (head_len >= LINUX_SETUP_END && get(head + HDR_BOOT_FLAG, 2) == BOOT_FLAG &&
	    get(head + HDR_MAGIC, 4) == SETUP_MAGIC)
		return parse_bzimage(head, file_size, out);
	return "the first module is not a Linux kernel (bzImage or ELF); make it the dom0 kernel, "
	       "the initrd comes "
	       "second";
}

/* ---- the initrd ---- */

#define CPIO_HEADER 110u
#define CPIO_SIZE   54u /* 8 hexadecimal digits each */
#define CPIO_NAME   94u

static bool is_cpio(const u8 *p, u64 len)
{
	return len >= 6 && (!memcmp(p, "070701", 6) || !memcmp(p, "070702", 6));
}

/* The formats that Linux unpacks. */
static bool is_compressed(const u8 *p, u64 len)
{
	static const struct {
		u8 len;
		const char *magic;
	} formats[] = {
	    {3, "\037\213\010"}, {3, "BZh"},	    {3, "\135\000\000"},     {6, "\3757zXZ"},
	    {4, "\211LZO"},	 {4, "\002!L\030"}, {4, "\050\265\057\375"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(formats); i++)
		if (len >= formats[i].len && !memcmp(p, formats[i].magic, formats[i].len))
			return true;
	return false;
}

static bool get_hex(const u8 *p, u64 *out)
{
	for (u32 i = *out = 0; i < 8; i++) {
		u8 c = p[i] | 0x20;

		if (p[i] >= '0' && p[i] <= '9')
			*out = *out * 16 + p[i] - '0';
		else if (c >= 'a' && c <= 'f')
			*out = *out * 16 + c - 'a' + 10;
		else
			return false;
	}
	return true;
}

const char *linux_check_initrd(u64 start, u64 size, linux_read_fn read)
{
	u64 at = 0, name, data;
	u8 h[CPIO_HEADER];

	if (!size)
		return "the initrd is empty; install it again and check the boot medium";
	while (at < size) {
		u32 n = (u32)MIN(size - at, sizeof(h)), zeros = 0;

		read(start + at, h, n);
		while (zeros < n && !h[zeros])
			zeros++;
		if (zeros && at) { /* padding between archives */
			at += zeros;
			continue;
		}
		if (is_compressed(h, n))
			return NULL;
		if (!is_cpio(h, n))
			return at ? "the initrd is damaged; install it again and check the boot "
				    "medium"
				  : "the second module is not an initrd (cpio or a compressed one) "
				    "or is damaged; "
				    "install it again";
		if (n < sizeof(h) || !get_hex(h + CPIO_SIZE, &data) ||
		    !get_hex(h + CPIO_NAME, &name))
			return "the initrd is damaged; install it again and check the boot medium";
		at += CPIO_HEADER + name;
		if (at > size || (data && data > size - MIN(ALIGN_UP(at, 4), size)))
			return "the initrd is cut off; install it again and check the boot medium";
		at = ALIGN_UP(ALIGN_UP(at, 4) + data, 4);
	}
	return NULL;
}

/* ---- placing ---- */

static bool overlaps(u64 a, u64 a_size, u64 b, u64 b_size)
{
	return a_size && b_size && a < b + b_size && b < a + a_size;
}

/* RAM that dom0 may use. */
static int dom0_map(const struct boot_info *bi, struct mem_map *m)
{
	u64 ram, cut;
	int err;

	*m = bi->map;
	err = memmap_set(m, ALIGN_DOWN(bi->image_start, PAGE_SIZE),
			 ALIGN_UP(bi->image_end, PAGE_SIZE), MEM_RESERVED);
	if (!err)
		err = memmap_set(m, bi->pool_start, bi->pool_end, MEM_RESERVED);
	if (!err)
		err = memmap_set(m, bi->low_page, bi->low_page + PAGE_SIZE, MEM_RESERVED);
	ram = memmap_bytes(m, MEM_RAM);
	/* Reserved, not absent: dom0 must not put a device's registers there. */
	for (u32 i = m->count; i-- > 0 && !err && bi->opt.dom0_mem && ram > bi->opt.dom0_mem;) {
		if (m->r[i].kind != MEM_RAM)
			continue;
		cut = MIN(ALIGN_UP(ram - bi->opt.dom0_mem, PAGE_SIZE), m->r[i].end - m->r[i].start);
		ram -= cut;
		err = memmap_set(m, m->r[i].end - cut, m->r[i].end, MEM_RESERVED);
	}
	return err;
}

static const char no_room[] = "not enough memory to load dom0; give the machine or dom0_mem= more";

static const char *place_kernel(const struct boot_info *bi, const struct linux_kernel *k,
				const struct mem_range *modules, struct linux_plan *p)
{
	if (memmap_is(&p->map, k->load, k->load + k->size, MEM_RAM)) {
		p->load = k->load;
		return NULL;
	}
	if (!k->relocatable && bi->opt.dom0_mem &&
	    memmap_is(&bi->map, k->load, k->load + k->size, MEM_RAM))
		return no_room;
	if (!k->relocatable)
		return k->elf ? "the place an ELF kernel is linked at is not free; use the "
				"distribution's vmlinuz, "
				"which can be moved"
			      : "the place the dom0 kernel must be loaded at is not free; use a "
				"relocatable kernel";
	/*
	 * Not lower: a kernel loaded below the address it prefers unpacks itself there all the
	 * same.
	 */
	p->load = memmap_find_low(&p->map, k->size, k->align, k->load, BELOW_4G, modules,
				  bi->module_count);
	if (!p->load)
		p->load = memmap_find_low(&p->map, k->size, k->align, k->load, BELOW_4G, NULL, 0);
	return p->load ? NULL
		       : "not enough memory below 4 GiB to load the dom0 kernel; give the machine "
			 "or dom0_mem= more";
}

static const char *place_initrd(const struct boot_info *bi, const struct linux_kernel *k,
				struct linux_plan *p)
{
	const struct boot_module *kernel = &bi->module[0], *initrd = &bi->module[1];
	struct mem_range avoid[] = {{p->load, p->load + k->size}, {kernel->start, kernel->end}};

	p->initrd = 0;
	p->initrd_size = bi->module_count > 1 ? initrd->end - initrd->start : 0;
	if (!p->initrd_size)
		return NULL;
	p->initrd = initrd->start;
	if (IS_ALIGNED(initrd->start, PAGE_SIZE) && initrd->end <= k->initrd_end &&
	    memmap_is(&p->map, initrd->start, initrd->end, MEM_RAM) &&
	    !overlaps(p->load, k->size, p->initrd, p->initrd_size))
		return NULL;
	p->initrd = memmap_find_high(&p->map, p->initrd_size, PAGE_SIZE, MIB, k->initrd_end, avoid,
				     ARRAY_SIZE(avoid));
	return p->initrd ? NULL
			 : "not enough memory for the initrd; give the machine or dom0_mem= more, "
			   "or use a smaller initrd";
}

const char *linux_plan(const struct boot_info *bi, const struct linux_kernel *k,
		       struct linux_plan *p)
{
	u64 kernel_size = bi->module[0].end - bi->module[0].start;
	struct mem_range modules[ARRAY_SIZE(bi->module)], used[3];
	const char *why;

	for (u32 i = 0; i < bi->module_count; i++)
		modules[i] = (struct mem_range){bi->module[i].start, bi->module[i].end};
	if (dom0_map(bi, &p->map))
		return "the firmware's memory map has too many ranges; report this machine";
	p->rsdp = 0;
	if (bi->rsdp_len) {
		p->rsdp = memmap_find_low(&p->map, PAGE_SIZE, PAGE_SIZE, 0x8000, BELOW_4G, modules,
					  bi->module_count);
		if (!p->rsdp || memmap_set(&p->map, p->rsdp, p->rsdp + PAGE_SIZE, MEM_RESERVED))
			return no_room;
	}
	why = place_kernel(bi, k, modules, p);
	if (!why)
		why = place_initrd(bi, k, p);
	if (why)
		return why;

	used[0] = (struct mem_range){p->load, p->load + k->size};
	used[1] = (struct mem_range){p->initrd, p->initrd + p->initrd_size};
	p->kernel_from = bi->module[0].start;
	if (overlaps(p->kernel_from, kernel_size, p->load, k->size))
		p->kernel_from =
		    memmap_find_high(&p->map, kernel_size, PAGE_SIZE, MIB, BELOW_4G, used, 2);
	if (!p->kernel_from)
		return no_room;
	used[2] = (struct mem_range){p->kernel_from, p->kernel_from + kernel_size};
	/*
	 * At the bottom: the decompressor wipes the top two pages of low memory while it still uses
	 * our tables.
	 */
	p->block = memmap_find_low(&p->map, LINUX_BLOCK_SIZE, PAGE_SIZE, 0x10000, 0x80000, used, 3);
	if (!p->block)
		p->block =
		    memmap_find_low(&p->map, LINUX_BLOCK_SIZE, PAGE_SIZE, MIB, BELOW_4G, used, 3);
	return p->block ? NULL : no_room;
}

/* ---- boot_params and what belongs to it ---- */

static void build_e820(const struct mem_map *m, u64 ext_addr, u8 *bp, u8 *ext)
{
	u8 *to = bp + BP_E820_TABLE;

	for (u32 i = 0; i < m->count; i++) {
		/* the rest goes into a setup_data node: next, type, length, data */
		if (i == BP_E820_MAX) {
			put(bp + HDR_SETUP_DATA, ext_addr, 8);
			put(ext + 8, SETUP_E820_EXT, 4);
			put(ext + 12, (m->count - i) * 20, 4);
			to = ext + 16;
		}
		put(to, m->r[i].start, 8);
		put(to + 8, m->r[i].end - m->r[i].start, 8);
		put(to + 16, m->r[i].kind, 4);
		to += 20;
	}
	bp[BP_E820_ENTRIES] = (u8)MIN(m->count, BP_E820_MAX);
}
_Static_assert((BOOT_MAX_REGIONS - BP_E820_MAX) * 20 + 16 <= PAGE_SIZE,
	       "more e820 entries fit their page");

static void build_screen(const struct boot_info *bi, u8 *si)
{
	const struct boot_framebuffer *fb = &bi->fb;
	u64 bytes = (u64)fb->pitch * fb->height;

	if (!fb->present || fb->text) {
		if (bi->efi && !fb->present)
			return;
		/* Cursor at the bottom: dom0's lines follow ours. */
		si[SI_VIDEO_MODE] = 3;
		si[SI_VIDEO_COLS] = fb->present && fb->width < 256 ? (u8)fb->width : 80;
		si[SI_VIDEO_LINES] = fb->present && fb->height < 256 ? (u8)fb->height : 25;
		si[SI_ORIG_Y] = si[SI_VIDEO_LINES] - 1;
		si[SI_IS_VGA] = 1;
		si[SI_VIDEO_POINTS] = 16;
		return;
	}
	si[SI_IS_VGA] = bi->efi ? VIDEO_TYPE_EFI : VIDEO_TYPE_VLFB;
	put(si + SI_LFB_WIDTH, fb->width, 2);
	put(si + SI_LFB_HEIGHT, fb->height, 2);
	put(si + SI_LFB_DEPTH, fb->bpp, 2);
	put(si + SI_LFB_BASE, fb->addr & 0xffffffff, 4);
	put(si + SI_EXT_LFB_BASE, fb->addr >> 32, 4);
	put(si + SI_CAPABILITIES, fb->addr >> 32 ? VIDEO_64BIT_BASE : 0, 4);
	put(si + SI_LFB_SIZE, bi->efi ? bytes : ALIGN_UP(bytes, 0x10000) >> 16, 4);
	put(si + SI_LFB_LINELENGTH, fb->pitch, 2);
	si[SI_COLOURS] = fb->red.size;
	si[SI_COLOURS + 1] = fb->red.pos;
	si[SI_COLOURS + 2] = fb->green.size;
	si[SI_COLOURS + 3] = fb->green.pos;
	si[SI_COLOURS + 4] = fb->blue.size;
	si[SI_COLOURS + 5] = fb->blue.pos;
}

static void build_page_tables(u64 at, u8 *tables)
{
	/* present, writable; page size */
	const u64 table = BIT(0) | BIT(1), large = table | BIT(7);

	put(tables, (at + PAGE_SIZE) | table, 8);
	for (u64 gib = 0; gib < 4; gib++) {
		u8 *dir = tables + (2 + gib) * PAGE_SIZE;

		put(tables + PAGE_SIZE + gib * 8, (at + (2 + gib) * PAGE_SIZE) | table, 8);
		for (u64 i = 0; i < 512; i++)
			put(dir + i * 8, (gib << 30 | i << 21) | large, 8);
	}
}

void linux_build(const struct boot_info *bi, const struct linux_kernel *k,
		 const struct linux_plan *p, u8 *block)
{
	static const u64 gdt[] = {0, 0, 0x00af9b000000ffff,
				  0x00cf93000000ffff}; /* 0x10 code, 64-bit; 0x18 data, flat */
	const char *cmdline = bi->module[0].cmdline;
	u32 len = (u32)strlen(cmdline);

	memset(block, 0, LINUX_BLOCK_SIZE);
	memcpy(block, k->setup, sizeof(k->setup));
	put(block + HDR_SETUP_DATA, 0, 8);
	put(block + HDR_VID_MODE, VID_MODE_NORMAL, 2);
	block[HDR_LOADER] = LOADER_UNKNOWN;
	block[HDR_LOADFLAGS] =
	    (block[HDR_LOADFLAGS] & ~(KEEP_SEGMENTS | CAN_USE_HEAP)) | LOADED_HIGH;
	put(block + HDR_CODE32, p->load, 4);
	put(block + HDR_RAMDISK, p->initrd, 4);
	put(block + HDR_RAMDISK_SIZE, p->initrd_size, 4);
	put(block + HDR_CMDLINE, p->block + LINUX_BLOCK_CMDLINE, 4);
	put(block + BP_ACPI_RSDP, p->rsdp, 8);
	if (len > k->cmdline_max) {
		log_warn("dom0's command line is longer than its kernel's %u characters, the rest "
			 "is dropped",
			 k->cmdline_max);
		len = k->cmdline_max;
	}
	memcpy(block + LINUX_BLOCK_CMDLINE, cmdline, len);
	memcpy(block + LINUX_BLOCK_GDT, gdt, sizeof(gdt));
	build_e820(&p->map, p->block + LINUX_BLOCK_E820, block, block + LINUX_BLOCK_E820);
	build_screen(bi, block);
	build_page_tables(p->block + LINUX_BLOCK_PML4, block + LINUX_BLOCK_PML4);
}
_Static_assert(LINUX_GDT_LIMIT == 4 * 8 - 1, "GDT");
_Static_assert(LINUX_BLOCK_PML4 + 6 * PAGE_SIZE == LINUX_BLOCK_SIZE,
	       "the page tables end the block");
_Static_assert(sizeof(((struct boot_module *)0)->cmdline) <= LINUX_BLOCK_GDT - LINUX_BLOCK_CMDLINE,
	       "the command line fits");
