/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/linux.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

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
#define BP_E820_MAX	128u
#define SETUP_E820_EXT	1u

#define VIDEO_TYPE_VLFB	 0x23u
#define VIDEO_TYPE_EFI	 0x70u
#define VIDEO_64BIT_BASE BIT(1)

/* struct screen_info of Linux, include/uapi/linux/screen_info.h */
struct screen_info {
	u8 gap0, orig_y, gap2[4], video_mode, cols, gap8[6], lines, is_vga;
	u16 points, lfb_width, lfb_height, lfb_depth;
	u32 lfb_base, lfb_size, gap20;
	u16 lfb_linelength;
	struct {
		u8 size, pos;
	} colour[3];
	u8 gap2c[10];
	u32 capabilities, ext_lfb_base;
	u16 gap3e;
} __packed;
_Static_assert(sizeof(struct screen_info) == 0x40, "screen_info");

struct e820_entry {
	u64 start, size;
	u32 kind;
} __packed;

/* struct efi_info of Linux, arch/x86/include/uapi/asm/bootparam.h */
struct efi_info {
	u32 signature, system_table, desc_size, desc_version, map, map_size;
	u32 system_table_high, map_high;
} __packed;
#define EFI_SIGNATURE 0x34364c45u /* "EL64" */

/* zero-page.rst */
struct boot_params {
	struct screen_info screen;
	u8 gap40[0x30];
	u64 acpi_rsdp;
	u8 gap78[0x148];
	struct efi_info efi;
	u8 gap1e0[8], e820_entries, gap1e9[8];
	struct linux_setup setup;
	u8 gap290[0x40];
	struct e820_entry e820[BP_E820_MAX];
} __packed;
_Static_assert(offsetof(struct boot_params, setup) == LINUX_SETUP_START, "setup header");
_Static_assert(offsetof(struct boot_params, efi) == 0x1c0, "EFI");
_Static_assert(offsetof(struct boot_params, e820) == 0x2d0, "boot_params");

/* boot.rst "struct setup_data", with what its type SETUP_E820_EXT has */
struct setup_e820 {
	u64 next;
	u32 type, len;
	struct e820_entry e820[BOOT_MAX_REGIONS - BP_E820_MAX];
} __packed;
_Static_assert(sizeof(struct setup_e820) <= LINUX_BLOCK_EFI - LINUX_BLOCK_E820,
	       "more e820 entries fit their pages");

static const char no_room[] = "not enough memory to load dom0; give the machine or dom0_mem= more";
static const char cut_off[] =
    "the dom0 kernel is cut off; install it again and check the boot medium";
static const char bad_setup[] =
    "the dom0 kernel's setup header is damaged; install the kernel again";
static const char bad_elf[] =
    "the dom0 kernel's ELF headers are damaged; use the distribution's vmlinuz";

/* ---- parsing ---- */

static const char *parse_bzimage(const struct linux_setup *h, u64 file_size, struct linux_kernel *k)
{
	u32 header = offsetof(struct linux_setup, magic) + h->jump_len;
	u64 setup = (h->setup_sects + 1) * 512, body;

	if (!h->setup_sects) /* as in the days of the first protocol: four */
		setup = 5 * 512;
	body = file_size - setup;
	if (h->version < PROTOCOL_2_12 || !(h->xloadflags & XLF_KERNEL_64))
		return "the dom0 kernel has no 64-bit entry; use an x86-64 kernel of version 3.8 "
		       "or later";
	if (header < offsetof(struct linux_setup, init_size) + 4 || header > sizeof(*h))
		return bad_setup;
	if (file_size <= setup + ENTRY_64 || h->syssize * 16ull > ALIGN_UP(body, 16))
		return cut_off;

	memcpy(&k->setup, h, header);
	k->load = h->pref_address;
	k->size = MAX(h->init_size, body);
	k->align = MAX(h->kernel_alignment, 2 * MIB);
	k->relocatable = h->relocatable;
	k->entry = ENTRY_64;
	k->initrd_end = MIN(h->initrd_addr_max + 1ull, BELOW_4G);
	k->cmdline_max = h->cmdline_size;
	k->segment_count = 1;
	k->segment[0] = (struct linux_segment){setup, body, 0, body};
	if (k->align & (k->align - 1) || k->load >= BELOW_4G || k->size > BELOW_4G)
		return bad_setup;
	return NULL;
}

struct elf64_header {
	u8 ident[16];
	u16 type, machine;
	u32 version;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
} __packed;
_Static_assert(sizeof(struct elf64_header) == 64, "ELF-64 header");

struct elf64_phdr {
	u32 type, flags;
	u64 offset, vaddr, paddr, file_size, mem_size, align;
} __packed;
_Static_assert(sizeof(struct elf64_phdr) == 56, "ELF-64 program header");

#define ELF_CLASS_64   2
#define ELF_EXEC       2
#define ELF_MACHINE_64 62
#define ELF_PT_LOAD    1

/* The entry's physical address if it lies in this segment, else 0. A virtual one is taken too. */
static u64 elf_entry(u64 entry, const struct elf64_phdr *ph)
{
	if (entry >= ph->paddr && entry - ph->paddr < ph->mem_size)
		return entry;
	if (entry >= ph->vaddr && entry - ph->vaddr < ph->mem_size)
		return ph->paddr + (entry - ph->vaddr);
	return 0;
}

static const char *parse_elf(const u8 *head, u32 head_len, u64 file_size, struct linux_kernel *k)
{
	const struct elf64_header *e = (const void *)head;
	const struct elf64_phdr *ph;
	u64 end = 0, entry = 0;

	if (e->ident[4] != ELF_CLASS_64 || e->machine != ELF_MACHINE_64 || e->type != ELF_EXEC)
		return "the dom0 kernel is an ELF file but not an x86-64 kernel; use vmlinuz or an "
		       "x86-64 vmlinux";
	if (e->phentsize != sizeof(*ph) || e->phoff > head_len ||
	    e->phnum > (head_len - e->phoff) / sizeof(*ph))
		return bad_elf;
	ph = (const void *)(head + e->phoff);
	k->load = ~0ull;
	for (u32 i = 0; i < e->phnum; i++, ph++) {
		if (ph->type != ELF_PT_LOAD || !ph->mem_size)
			continue;
		if (ph->file_size > ph->mem_size || ph->paddr >= BELOW_4G ||
		    ph->mem_size > BELOW_4G - ph->paddr || k->segment_count == LINUX_MAX_SEGMENTS)
			return bad_elf;
		if (ph->offset > file_size || ph->file_size > file_size - ph->offset)
			return cut_off;
		k->segment[k->segment_count++] =
		    (struct linux_segment){ph->offset, ph->file_size, ph->paddr, ph->mem_size};
		k->load = MIN(k->load, ph->paddr);
		end = MAX(end, ph->paddr + ph->mem_size);
		if (!entry)
			entry = elf_entry(e->entry, ph);
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
	k->initrd_end = 2048 * MIB; /* what every x86-64 bzImage states */
	k->cmdline_max = 2047;
	/* What a bzImage of the same kernel would say. */
	k->setup = (struct linux_setup){
	    .boot_flag = BOOT_FLAG,
	    .jump_len =
		offsetof(struct linux_setup, gap264) + 4 - offsetof(struct linux_setup, magic),
	    .magic = SETUP_MAGIC,
	    .version = PROTOCOL_2_15,
	    .initrd_addr_max = k->initrd_end - 1,
	    .kernel_alignment = k->align,
	    .xloadflags = XLF_KERNEL_64,
	    .cmdline_size = k->cmdline_max,
	    .pref_address = k->load,
	    .init_size = k->size,
	};
	return NULL;
}

const char *linux_parse(const u8 *head, u32 head_len, u64 file_size, struct linux_kernel *out)
{
	const struct linux_setup *h = (const void *)(head + LINUX_SETUP_START);

	memset(out, 0, sizeof(*out));
	head_len = MIN(head_len, LINUX_HEAD_SIZE);
	if (head_len >= sizeof(struct elf64_header) && !memcmp(head, "\177ELF", 4))
		return parse_elf(head, head_len, file_size, out);
	if (head_len >= LINUX_SETUP_START + sizeof(*h) && h->boot_flag == BOOT_FLAG &&
	    h->magic == SETUP_MAGIC)
		return parse_bzimage(h, file_size, out);
	return "the first module is not a Linux kernel (bzImage or ELF); make it the dom0 kernel, "
	       "the initrd comes second";
}

/* ---- placing ---- */

static bool spans_overlap(u64 a, u64 a_size, u64 b, u64 b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* RAM that dom0 may use. */
static int dom0_map(const struct boot_info *bi, struct linux_plan *p)
{
	struct mem_map *m = &p->map;
	u64 ram, cut, limit = bi->opt.dom0_mem;

	*m = bi->map;
	if (m->calm) {
		p->calm = *m->calm;
		m->calm = &p->calm;
	}
	if (memmap_set(m, bi->image_start, bi->image_end, MEM_RESERVED) ||
	    memmap_set(m, bi->pool_start, bi->pool_end, MEM_RESERVED) ||
	    memmap_set(m, bi->low_page, bi->low_page + PAGE_SIZE, MEM_RESERVED))
		return -ENOSPC;
	ram = memmap_bytes(m, MEM_RAM);
	/* Reserved, not absent: dom0 must not put a device's registers there. */
	for (u32 i = m->count; limit && i-- > 0 && ram > limit;) {
		struct mem_region r = m->r[i];

		if (r.kind != MEM_RAM)
			continue;
		cut = MIN(ALIGN_UP(ram - limit, PAGE_SIZE), r.end - r.start);
		ram -= cut;
		if (memmap_set(m, r.end - cut, r.end, MEM_RESERVED))
			return -ENOSPC;
	}
	return 0;
}

static const char *place_kernel(const struct boot_info *bi, const struct linux_kernel *k,
				struct linux_plan *p)
{
	const struct mem_map *m = k->relocatable && p->map.calm ? p->map.calm : &p->map;

	p->load = k->load;
	if (memmap_is(m, k->load, k->load + k->size, MEM_RAM))
		return NULL;
	if (k->relocatable) {
		/*
		 * Not lower: a kernel loaded below the address it prefers unpacks itself there all
		 * the same. Where the modules lie only if it must be, since it means moving them.
		 */
		p->load = memmap_find(&p->map, MEM_LOW, k->size, k->align, k->load, BELOW_4G,
				      bi->module, bi->module_count);
		if (!p->load)
			p->load = memmap_find(&p->map, MEM_LOW, k->size, k->align, k->load,
					      BELOW_4G, NULL, 0);
		if (p->load)
			return NULL;
		return "not enough memory below 4 GiB to load the dom0 kernel; give the machine "
		       "or dom0_mem= more";
	}
	if (bi->opt.dom0_mem && memmap_is(&bi->map, k->load, k->load + k->size, MEM_RAM))
		return no_room;
	if (k->elf)
		return "the place an ELF kernel is linked at is not free; use the distribution's "
		       "vmlinuz, which can be moved";
	return "the place the dom0 kernel must be loaded at is not free; use a relocatable kernel";
}

u64 linux_initrd_offset(const struct boot_info *bi, u32 n)
{
	u64 at = 0;

	BUG_ON(n > bi->module_count);
	for (u32 i = 1; i < n; i++)
		at += ALIGN_UP(bi->module[i].end - bi->module[i].start, 4);
	return at;
}

static const char *place_initrd(const struct boot_info *bi, const struct linux_kernel *k,
				struct linux_plan *p)
{
	struct mem_range initrd = bi->module[1], avoid[1 + ARRAY_SIZE(bi->module)];
	u32 n = bi->module_count;

	p->initrd = p->initrd_size = 0;
	if (n > 1)
		p->initrd_size = linux_initrd_offset(bi, n - 1) + bi->module[n - 1].end -
				 bi->module[n - 1].start;
	if (!p->initrd_size)
		return NULL;
	p->initrd = initrd.start;
	if (n == 2 && IS_ALIGNED(initrd.start, PAGE_SIZE) && initrd.end <= k->initrd_end &&
	    memmap_is(&p->map, initrd.start, initrd.end, MEM_RAM) &&
	    !spans_overlap(p->load, k->size, p->initrd, p->initrd_size))
		return NULL;
	/* One part may be moved to where it overlaps itself, but of several none may another. */
	memcpy(avoid, bi->module, sizeof(bi->module));
	n = n == 2 ? 1 : n;
	avoid[n] = (struct mem_range){p->load, p->load + k->size};
	p->initrd = memmap_find(&p->map, MEM_HIGH, p->initrd_size, PAGE_SIZE, MIB, k->initrd_end,
				avoid, n + 1);
	if (p->initrd)
		return NULL;
	return "not enough memory for the initrd; give the machine or dom0_mem= more, or use a "
	       "smaller initrd";
}

const char *linux_plan(const struct boot_info *bi, const struct linux_kernel *k,
		       struct linux_plan *p)
{
	u64 kernel_size = bi->module[0].end - bi->module[0].start;
	struct mem_range used[3];
	const char *why;

	BUG_ON(!bi->module_count);
	if (dom0_map(bi, p))
		return "the firmware's memory map has too many ranges; report this machine";
	p->rsdp = 0;
	if (bi->rsdp_len) {
		p->rsdp = memmap_find(&p->map, MEM_LOW, PAGE_SIZE, PAGE_SIZE, BIOS_LOW, BELOW_4G,
				      bi->module, bi->module_count);
		if (!p->rsdp || memmap_set(&p->map, p->rsdp, p->rsdp + PAGE_SIZE, MEM_RESERVED))
			return no_room;
	}
	why = place_kernel(bi, k, p);
	if (!why)
		why = place_initrd(bi, k, p);
	if (why)
		return why;

	used[0] = (struct mem_range){p->load, p->load + k->size};
	used[1] = (struct mem_range){p->initrd, p->initrd + p->initrd_size};
	p->kernel_from = bi->module[0].start;
	if (spans_overlap(p->kernel_from, kernel_size, p->load, k->size))
		p->kernel_from =
		    memmap_find(&p->map, MEM_HIGH, kernel_size, PAGE_SIZE, MIB, BELOW_4G, used, 2);
	if (!p->kernel_from)
		return no_room;
	used[2] = (struct mem_range){p->kernel_from, p->kernel_from + kernel_size};
	/*
	 * At the bottom: the decompressor wipes the top two pages of low memory while it still uses
	 * our tables.
	 */
	p->block =
	    memmap_find(&p->map, MEM_LOW, LINUX_BLOCK_SIZE, PAGE_SIZE, BIOS_LOW, 0x80000, used, 3);
	if (!p->block)
		p->block = memmap_find(&p->map, MEM_LOW, LINUX_BLOCK_SIZE, PAGE_SIZE, MIB, BELOW_4G,
				       used, 3);
	return p->block ? NULL : no_room;
}

/* ---- boot_params and what belongs to it ---- */

/* What does not fit boot_params goes into ext, which dom0 is to find at ext_addr. */
static void build_e820(const struct mem_map *m, u64 ext_addr, struct boot_params *bp,
		       struct setup_e820 *ext)
{
	struct e820_entry *to = bp->e820;

	BUG_ON(m->count > BOOT_MAX_REGIONS);
	for (u32 i = 0; i < m->count; i++) {
		const struct mem_region *r = &m->r[i];

		if (i == BP_E820_MAX) {
			bp->setup.setup_data = ext_addr;
			ext->type = SETUP_E820_EXT;
			ext->len = (m->count - i) * sizeof(*to);
			to = ext->e820;
		}
		*to++ = (struct e820_entry){r->start, r->end - r->start, r->kind};
	}
	bp->e820_entries = MIN(m->count, BP_E820_MAX);
}

static void build_efi(const struct boot_efi *efi, u64 map_addr, struct efi_info *to, void *map)
{
	u32 size = efi->count * sizeof(efi->desc[0]);

	if (!efi->count)
		return;
	BUG_ON(size > LINUX_BLOCK_PML4 - LINUX_BLOCK_EFI);
	memcpy(map, efi->desc, size);
	*to = (struct efi_info){
	    .signature = EFI_SIGNATURE,
	    .system_table = efi->system_table,
	    .system_table_high = efi->system_table >> 32,
	    .desc_size = sizeof(efi->desc[0]),
	    .desc_version = efi->version,
	    .map = map_addr,
	    .map_size = size,
	};
}

static void build_screen(const struct boot_info *bi, struct screen_info *si)
{
	const struct boot_framebuffer *fb = &bi->fb;
	u64 bytes = (u64)fb->pitch * fb->height;

	if (!fb->present || fb->text) {
		if (bi->efi && !fb->present)
			return;
		*si = (struct screen_info){
		    .video_mode = 3, .cols = 80, .lines = 25, .is_vga = 1, .points = 16};
		if (fb->present && fb->width < 256)
			si->cols = fb->width;
		if (fb->present && fb->height < 256)
			si->lines = fb->height;
		/* Cursor at the bottom: dom0's lines follow ours. */
		si->orig_y = si->lines - 1;
		return;
	}
	*si = (struct screen_info){.is_vga = VIDEO_TYPE_VLFB,
				   .lfb_width = fb->width,
				   .lfb_height = fb->height,
				   .lfb_depth = fb->bpp,
				   .lfb_base = fb->addr,
				   .ext_lfb_base = fb->addr >> 32,
				   .lfb_size = ALIGN_UP(bytes, 0x10000) >> 16,
				   .lfb_linelength = fb->pitch};
	if (si->ext_lfb_base)
		si->capabilities = VIDEO_64BIT_BASE;
	if (bi->efi) {
		si->is_vga = VIDEO_TYPE_EFI;
		si->lfb_size = bytes;
	}
	for (u32 i = 0; i < ARRAY_SIZE(fb->colour); i++) {
		si->colour[i].size = fb->colour[i].size;
		si->colour[i].pos = fb->colour[i].pos;
	}
}

/* One table of 512 entries a page: PML4, PDPT, and four directories of large pages. */
static void build_page_tables(u64 at, u64 *pml4)
{
	/* present, writable; page size */
	const u64 table = BIT(0) | BIT(1), large = table | BIT(7);
	u64 *pdpt = pml4 + 512, *directory = pdpt + 512;

	pml4[0] = (at + PAGE_SIZE) | table;
	for (u64 i = 0; i < 4; i++)
		pdpt[i] = (at + (2 + i) * PAGE_SIZE) | table;
	for (u64 i = 0; i < 4 * 512; i++)
		directory[i] = i << 21 | large;
}

/*
 * Before the user's own words, which so have the last one. dom0 is not to sleep by the ports that
 * its ACPI tables name for deep idle states: the machine would idle inside dom0's vCPU, which the
 * scheduler takes for a busy one. What is left is HLT, which hands the CPU to whoever wants it.
 * And it is not to compare its TSC with another clock twice a second: that would be kvmclock, which
 * is made of the TSC.
 */
#define CMDLINE_OURS "processor.max_cstate=1 tsc=nowatchdog "
_Static_assert(sizeof(CMDLINE_OURS) + sizeof(boot_info.module_cmdline[0]) <=
		   LINUX_BLOCK_GDT - LINUX_BLOCK_CMDLINE,
	       "the block has room for a whole command line");

static void build_cmdline(const char *cmdline, u32 max, char *to)
{
	u32 len = strlen(cmdline), ours = strlen(CMDLINE_OURS);

	if (len > max) {
		log_warn("dom0's command line is longer than its kernel's %u characters, the rest "
			 "is dropped",
			 max);
		len = max;
	}
	if (ours > max - len)
		ours = 0;
	memcpy(to, CMDLINE_OURS, ours);
	memcpy(to + ours, cmdline, len);
}

void linux_build(const struct boot_info *bi, const struct linux_kernel *k,
		 const struct linux_plan *p, u8 *block)
{
	static const u64 gdt[] = {0, 0, 0x00af9b000000ffff,
				  0x00cf93000000ffff}; /* 0x10 code, 64-bit; 0x18 data, flat */
	struct boot_params *bp = (void *)block;
	struct linux_setup *h = &bp->setup;

	BUG_ON(!p->block || !IS_ALIGNED(p->block, PAGE_SIZE));
	BUG_ON(p->initrd + p->initrd_size > BELOW_4G);
	BUG_ON(spans_overlap(p->block, LINUX_BLOCK_SIZE, p->load, k->size));
	BUG_ON(spans_overlap(p->block, LINUX_BLOCK_SIZE, p->initrd, p->initrd_size));
	memset(block, 0, LINUX_BLOCK_SIZE);
	*h = k->setup;
	h->setup_data = 0;
	h->vid_mode = VID_MODE_NORMAL;
	h->type_of_loader = LOADER_UNKNOWN;
	h->loadflags &= ~(KEEP_SEGMENTS | CAN_USE_HEAP);
	h->loadflags |= LOADED_HIGH;
	h->code32_start = p->load;
	h->ramdisk_image = p->initrd;
	h->ramdisk_size = p->initrd_size;
	h->cmd_line_ptr = p->block + LINUX_BLOCK_CMDLINE;
	bp->acpi_rsdp = p->rsdp;
	build_cmdline(bi->module_cmdline[0], k->cmdline_max, (char *)block + LINUX_BLOCK_CMDLINE);
	memcpy(block + LINUX_BLOCK_GDT, gdt, sizeof(gdt));
	build_e820(&p->map, p->block + LINUX_BLOCK_E820, bp, (void *)(block + LINUX_BLOCK_E820));
	build_efi(&bi->efi_runtime, p->block + LINUX_BLOCK_EFI, &bp->efi, block + LINUX_BLOCK_EFI);
	build_screen(bi, &bp->screen);
	build_page_tables(p->block + LINUX_BLOCK_PML4, (void *)(block + LINUX_BLOCK_PML4));
}
_Static_assert(sizeof(struct boot_params) <= LINUX_BLOCK_CMDLINE, "boot_params begin the block");
_Static_assert(LINUX_GDT_LIMIT == 4 * 8 - 1, "GDT");
_Static_assert(LINUX_BLOCK_PML4 + 6 * PAGE_SIZE == LINUX_BLOCK_SIZE,
	       "the page tables end the block");
