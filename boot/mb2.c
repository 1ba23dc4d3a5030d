/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/mb2.h"
#include "boot/memmap.h"
#include "boot/multiboot2.h"
#include "boot/text.h"
#include "hv/lib/log.h"

/* Tags that are looked at after all have been seen, since one kind is better than another. */
struct seen {
	const struct mb2_tag_mmap *mmap, *efi_mmap;
	const struct mb2_tag_basic_mem *basic;
	const struct mb2_tag_rsdp *rsdp;
	u32 modules;
};

static int malformed_tag(const struct mb2_tag *t, const char *what)
{
	log_err("Multiboot2 tag %u (%u bytes): %s", t->type, t->size, what);
	return -EINVAL;
}

/* The text of a tag: its size bounds it, and its NUL, which need not be there. */
static struct text tag_text(const struct mb2_tag *t, const char *s)
{
	struct text all = {s, (const char *)t + t->size - s};

	return text_cut(&all, 0);
}

/*
 * Loaders and configuration files differ in whether the file's name, or the word "placeholder" that
 * Xen's stanzas have, comes before the arguments. Neither can be an argument of a kernel's or of
 * ours.
 */
static struct text tag_args(const struct mb2_tag *t, const char *s)
{
	struct text all = tag_text(t, s), rest = all, word = text_cut(&rest, ' ');

	if (!word.len || (*s != '/' && *s != '(' && !text_is(word, "placeholder")))
		return all;
	while (rest.len && *rest.s == ' ')
		text_cut(&rest, ' ');
	return rest;
}

static void copy_text(char *to, u32 size, struct text from, const char *what)
{
	if (!text_copy(to, size, from))
		log_warn("%s is longer than %u characters, the rest is dropped", what, size - 1);
}

static int take_module(const struct mb2_tag_module *t, struct seen *seen, struct boot_info *out)
{
	u32 n = out->module_count;

	if (t->end < t->start)
		return malformed_tag(&t->tag, "module ends before it starts");
	seen->modules++;
	if (n == ARRAY_SIZE(out->module)) {
		log_warn("module %u is ignored: only %u are used", seen->modules, n);
		return 0;
	}
	copy_text(out->module_cmdline[n], sizeof(out->module_cmdline[n]),
		  tag_args(&t->tag, t->cmdline), "a module's command line");
	out->module[n] = (struct mem_range){t->start, t->end};
	out->module_count++;
	return 0;
}

static int take_framebuffer(const struct mb2_tag_framebuffer *t, struct boot_framebuffer *fb)
{
	*fb = (struct boot_framebuffer){.addr = t->addr,
					.pitch = t->pitch,
					.width = t->width,
					.height = t->height,
					.bpp = t->bpp};
	if (!t->addr || !t->width || !t->height || !t->pitch || t->width > 16384 ||
	    t->height > 16384) {
		log_warn("the screen is unusable: %ux%u, pitch %u", t->width, t->height, t->pitch);
		return 0;
	}
	if (t->type == MB2_FB_TEXT) {
		fb->text = fb->present = t->pitch >= t->width * 2;
	} else if (t->type == MB2_FB_RGB) {
		if (t->tag.size < MB2_FB_RGB_SIZE)
			return malformed_tag(&t->tag, "framebuffer tag without its colours");
		memcpy(fb->colour, t->colour, sizeof(fb->colour));
		fb->present = (t->bpp == 16 || t->bpp == 24 || t->bpp == 32) &&
			      t->pitch >= t->width * (t->bpp / 8);
	}
	if (!fb->present)
		log_warn("the screen's mode is not supported: type %u, %ux%u, %u bits", t->type,
			 t->width, t->height, t->bpp);
	return 0;
}

/* How long a tag is at least. */
static u32 least_size(u32 type)
{
	switch (type) {
	case MB2_TAG_MODULE:
		return sizeof(struct mb2_tag_module);
	case MB2_TAG_BASIC_MEM:
		return sizeof(struct mb2_tag_basic_mem);
	case MB2_TAG_MMAP:
	case MB2_TAG_EFI_MMAP:
		return sizeof(struct mb2_tag_mmap);
	case MB2_TAG_FRAMEBUFFER:
		return MB2_FB_COMMON_SIZE;
	case MB2_TAG_EFI64:
		return sizeof(struct mb2_tag) + sizeof(u64); /* the system table's address */
	case MB2_TAG_RSDP_OLD:
		return sizeof(struct mb2_tag) + RSDP_V1_SIZE;
	case MB2_TAG_RSDP_NEW:
		return sizeof(struct mb2_tag) + RSDP_V2_SIZE;
	default:
		return sizeof(struct mb2_tag);
	}
}

static int take_tag(const struct mb2_tag *t, struct seen *seen, struct boot_info *out)
{
	const void *tag = t;
	const char *string = ((const struct mb2_tag_string *)t)->string;

	if (t->size < least_size(t->type))
		return malformed_tag(t, "too short");
	switch (t->type) {
	case MB2_TAG_CMDLINE:
		copy_text(out->cmdline, sizeof(out->cmdline), tag_args(t, string),
			  "the hypervisor's command line");
		break;
	case MB2_TAG_LOADER:
		copy_text(out->loader, sizeof(out->loader), tag_text(t, string),
			  "the loader's name");
		break;
	case MB2_TAG_MODULE:
		return take_module(tag, seen, out);
	case MB2_TAG_BASIC_MEM:
		seen->basic = tag;
		break;
	case MB2_TAG_MMAP:
		seen->mmap = tag;
		if (seen->mmap->entry_size < sizeof(struct mb2_mmap_entry))
			return malformed_tag(t, "memory map with too small entries");
		break;
	case MB2_TAG_EFI_MMAP:
		seen->efi_mmap = tag;
		if (seen->efi_mmap->entry_size < sizeof(struct efi_desc))
			return malformed_tag(t, "memory map with too small entries");
		break;
	case MB2_TAG_FRAMEBUFFER:
		return take_framebuffer(tag, &out->fb);
	case MB2_TAG_EFI32:
		out->efi = true;
		break;
	case MB2_TAG_EFI64:
		out->efi = true;
		memcpy(&out->efi_runtime.system_table, t + 1, sizeof(u64));
		break;
	case MB2_TAG_RSDP_OLD:
	case MB2_TAG_RSDP_NEW:
		/* The new one is better, wherever it stands. */
		if (!seen->rsdp || t->type == MB2_TAG_RSDP_NEW)
			seen->rsdp = tag;
		break;
	}
	return 0;
}

/*
 * A range as firmware states it: one that wraps around is no RAM, and reserves all up to the end.
 */
static int add_range(struct mem_map *m, u64 start, u64 len, u32 kind)
{
	u64 end = start + len;

	if (end < start) {
		log_warn("memory map: range at %lx with length %lx wraps around", start, len);
		if (kind == MEM_RAM)
			return 0;
		end = ~0ull;
	}
	return memmap_add(m, start, end, kind);
}

static u32 kind_of_efi(u32 type)
{
	/* UEFI "Memory Type Usage after ExitBootServices()": loader, boot services, conventional */
	switch (type) {
	case 1 ... EFI_BOOT_DATA:
	case 7:
		return MEM_RAM;
	case 8:
		return MEM_BAD;
	case 9:
		return MEM_ACPI;
	case 10:
		return MEM_NVS;
	default:
		return MEM_RESERVED;
	}
}

static int add_entry(struct mem_map *m, const void *entry)
{
	const struct mb2_mmap_entry *e = entry;

	if (e->type < MEM_RAM || e->type > MEM_BAD)
		return add_range(m, e->addr, e->len, MEM_RESERVED);
	return add_range(m, e->addr, e->len, e->type);
}

static int add_efi_entry(struct mem_map *m, const void *entry)
{
	const struct efi_desc *d = entry;

	if (d->pages > ~0ull / PAGE_SIZE)
		return 0;
	return add_range(m, d->phys, d->pages * PAGE_SIZE, kind_of_efi(d->type));
}

static int add_mmap(struct mem_map *m, const struct mb2_tag_mmap *t,
		    int (*add)(struct mem_map *m, const void *entry))
{
	u32 left = t->tag.size - sizeof(*t);
	int err = 0;

	for (const u8 *entry = t->entries; left >= t->entry_size && !err; entry += t->entry_size) {
		err = add(m, entry);
		left -= t->entry_size;
	}
	return err;
}

/*
 * Many firmwares go on using the memory of boot services in their SetVirtualAddressMap(), which
 * dom0 calls.
 */
static bool is_boot_services(const struct efi_desc *d)
{
	return d->type == EFI_BOOT_CODE || d->type == EFI_BOOT_DATA;
}

static int add_uncalm(struct mem_map *m, const void *entry)
{
	struct efi_desc d = *(const struct efi_desc *)entry;

	if (!is_boot_services(&d) && !(d.attribute & EFI_SPECIAL))
		return 0;
	d.type = 0; /* reserved */
	return add_efi_entry(m, &d);
}

static void make_calm(const struct mb2_tag_mmap *efi, struct boot_info *out)
{
	out->calm = out->map;
	if (efi && !add_mmap(&out->calm, efi, add_uncalm))
		out->map.calm = &out->calm;
}

static int take_map(const struct seen *seen, struct mem_map *m)
{
	int err = 0;

	m->count = m->dropped = 0;
	m->calm = NULL;
	if (seen->mmap)
		err = add_mmap(m, seen->mmap, add_entry);
	else if (seen->efi_mmap)
		err = add_mmap(m, seen->efi_mmap, add_efi_entry);
	if (!err && !m->count && seen->basic) {
		/* two ranges always fit */
		memmap_add(m, 0, seen->basic->lower_kib * 1024ull, MEM_RAM);
		memmap_add(m, BIT(20), BIT(20) + seen->basic->upper_kib * 1024ull, MEM_RAM);
	}
	if (err)
		log_err("the memory map has more than %u separate ranges", BOOT_MAX_REGIONS);
	else if (m->dropped)
		log_warn("the memory map has more than %u separate ranges: the smallest, %lu KiB, "
			 "are not used",
			 BOOT_MAX_REGIONS, m->dropped / 1024);
	if (!err && !memmap_max_ram_end(m)) {
		log_err("the loader gave no memory map with RAM in it");
		err = -ENOENT;
	}
	return err;
}

/* -> how many there are; those for which there is room are taken, in the firmware's order. */
static u32 take_descs(const struct mb2_tag_mmap *t, bool boot_services, struct boot_efi *efi)
{
	u32 n = t ? (t->tag.size - sizeof(*t)) / t->entry_size : 0, count = 0;

	for (u32 i = 0; i < n; i++) {
		const struct efi_desc *d = (const void *)(t->entries + i * t->entry_size);

		if (!(d->attribute & EFI_RUNTIME) && !(boot_services && is_boot_services(d)))
			continue;
		if (count < BOOT_MAX_EFI)
			memcpy(&efi->desc[count], d, sizeof(*d));
		count++;
	}
	return count;
}

/* A system table without a map of its runtime services, or with too much of them, is of no use. */
static void take_efi_runtime(const struct mb2_tag_mmap *t, struct boot_efi *efi)
{
	u32 least = take_descs(t, false, efi);

	efi->count = 0;
	if (!efi->system_table || !least)
		return;
	if (least > BOOT_MAX_EFI) {
		log_warn(
		    "EFI's runtime services are in more than %u places: dom0 does without them",
		    (u32)BOOT_MAX_EFI);
		return;
	}
	efi->version = t->entry_version;
	efi->count = take_descs(t, true, efi);
	if (efi->count > BOOT_MAX_EFI) /* most firmwares do without */
		efi->count = take_descs(t, false, efi);
}

int mb2_parse(const void *info, u32 size_limit, struct boot_info *out)
{
	const struct mb2_info *head = info;
	const struct mb2_tag *t;
	struct seen seen = {0};
	u64 at = sizeof(*head);
	int err;

	if (!IS_ALIGNED((uintptr_t)info, MB2_TAG_ALIGN) || size_limit < sizeof(*head) ||
	    head->total_size > size_limit) {
		log_err("the Multiboot2 information is misplaced or larger than %u bytes",
			size_limit);
		return -EINVAL;
	}
	out->module_count = 0;
	out->efi_runtime.system_table = 0;
	for (;; at = ALIGN_UP(at + t->size, MB2_TAG_ALIGN)) {
		if (at + sizeof(*t) > head->total_size) {
			log_err("the Multiboot2 information ends without its end tag at %lu of %u "
				"bytes",
				at, head->total_size);
			return -EINVAL;
		}
		t = (const void *)((const u8 *)info + at);
		if (t->size < sizeof(*t) || at + t->size > head->total_size)
			return malformed_tag(t, "size beyond the information");
		if (t->type == MB2_TAG_END)
			break;
		err = take_tag(t, &seen, out);
		if (err)
			return err;
	}
	if (seen.rsdp) {
		out->rsdp_len = least_size(seen.rsdp->tag.type) - sizeof(*t);
		memcpy(out->rsdp_copy, seen.rsdp->rsdp, out->rsdp_len);
	}
	take_efi_runtime(seen.efi_mmap, &out->efi_runtime);
	err = take_map(&seen, &out->map);
	if (!err)
		make_calm(seen.efi_mmap, out);
	return err;
}
