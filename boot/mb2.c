/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/mb2.h"
#include "boot/memmap.h"
#include "boot/multiboot2.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* Tags that are looked at after all have been seen, since one kind is better than another. */
struct seen {
	const struct mb2_tag_mmap *mmap, *efi_mmap;
	const struct mb2_tag_basic_mem *basic;
	const struct mb2_tag_rsdp *rsdp_old, *rsdp_new;
	u32 modules;
};

static int malformed(const struct mb2_tag *t, const char *what)
{
	log_err("Multiboot2 tag %u (%u bytes): %s", t->type, t->size, what);
	return -EINVAL;
}

/*
 * Loaders and configuration files differ in whether the file's name, or the word "placeholder" that
 * Xen's stanzas have, comes before the arguments. Neither can be an argument of a kernel's or of
 * ours.
 */
static const char *skip_name(const char *s, u32 len, u32 *left)
{
	static const char placeholder[] = "placeholder";
	u32 word = 0, at;

	while (word < len && s[word] && s[word] != ' ')
		word++;
	if (len && (s[0] == '/' || s[0] == '(' ||
		    (word == sizeof(placeholder) - 1 && !memcmp(s, placeholder, word)))) {
		for (at = word; at < len && s[at] == ' '; at++)
			;
		s += at;
		len -= at;
	}
	*left = len;
	return s;
}

/* Copy a string that ends with its NUL or its tag. */
static void copy_string(char *to, u32 size, const char *from, u32 len, const char *what)
{
	u32 n = 0;

	while (n < len && from[n])
		n++;
	if (n >= size) {
		log_warn("%s is longer than %u characters, the rest is dropped", what, size - 1);
		n = size - 1;
	}
	memcpy(to, from, n);
	to[n] = 0;
}

static int take_module(const struct mb2_tag_module *t, struct seen *seen, struct boot_info *out)
{
	struct boot_module *m = &out->module[out->module_count];
	const char *name;
	u32 len;

	if (t->tag.size < sizeof(*t))
		return malformed(&t->tag, "module tag too short");
	if (t->end < t->start)
		return malformed(&t->tag, "module ends before it starts");
	seen->modules++;
	if (out->module_count == ARRAY_SIZE(out->module)) {
		log_warn("module %u is ignored: only %u are used", seen->modules,
			 (u32)ARRAY_SIZE(out->module));
		return 0;
	}
	name = skip_name(t->cmdline, t->tag.size - sizeof(*t), &len);
	copy_string(m->cmdline, sizeof(m->cmdline), name, len, "a module's command line");
	m->start = t->start;
	m->end = t->end;
	out->module_count++;
	return 0;
}

static int take_framebuffer(const struct mb2_tag_framebuffer *t, struct boot_framebuffer *fb)
{
	if (t->tag.size < MB2_FB_COMMON_SIZE)
		return malformed(&t->tag, "framebuffer tag too short");
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
			return malformed(&t->tag, "framebuffer tag without its colours");
		fb->red.pos = t->red_pos;
		fb->red.size = t->red_size;
		fb->green.pos = t->green_pos;
		fb->green.size = t->green_size;
		fb->blue.pos = t->blue_pos;
		fb->blue.size = t->blue_size;
		fb->present = (fb->bpp == 16 || fb->bpp == 24 || fb->bpp == 32) &&
			      fb->pitch >= fb->width * (fb->bpp / 8);
	}
	if (!fb->present)
		log_warn("the screen's mode is not supported: type %u, %ux%u, %u bits", t->type,
			 t->width, t->height, t->bpp);
	return 0;
}

static int check_mmap(const struct mb2_tag_mmap *t, u32 least)
{
	if (t->tag.size < sizeof(*t))
		return malformed(&t->tag, "memory map too short");
	if (t->entry_size < least)
		return malformed(&t->tag, "memory map with too small entries");
	return 0;
}

static int take_tag(const struct mb2_tag *t, struct seen *seen, struct boot_info *out)
{
	const char *text = ((const struct mb2_tag_string *)t)->string;
	u32 len = t->size - sizeof(*t);

	switch (t->type) {
	case MB2_TAG_CMDLINE:
		text = skip_name(text, len, &len);
		copy_string(out->cmdline, sizeof(out->cmdline), text, len,
			    "the hypervisor's command line");
		return 0;
	case MB2_TAG_LOADER:
		copy_string(out->loader, sizeof(out->loader), text, len, "the loader's name");
		return 0;
	case MB2_TAG_MODULE:
		return take_module((const void *)t, seen, out);
	case MB2_TAG_BASIC_MEM:
		seen->basic = (const void *)t;
		return t->size < sizeof(*seen->basic) ? malformed(t, "basic memory tag too short")
						      : 0;
	case MB2_TAG_MMAP:
		seen->mmap = (const void *)t;
		return check_mmap(seen->mmap, sizeof(struct mb2_mmap_entry));
	case MB2_TAG_EFI_MMAP:
		seen->efi_mmap = (const void *)t;
		return check_mmap(seen->efi_mmap, sizeof(struct mb2_efi_desc));
	case MB2_TAG_FRAMEBUFFER:
		return take_framebuffer((const void *)t, &out->fb);
	case MB2_TAG_EFI32:
		out->efi = true;
		return 0;
	case MB2_TAG_EFI64:
		if (t->size < sizeof(struct mb2_tag_efi64))
			return malformed(t, "EFI tag too short");
		out->efi = true;
		out->efi_systab = ((const struct mb2_tag_efi64 *)t)->systab;
		return 0;
	case MB2_TAG_RSDP_OLD:
		seen->rsdp_old = (const void *)t;
		return len < 20 ? malformed(t, "RSDP too short") : 0;
	case MB2_TAG_RSDP_NEW:
		seen->rsdp_new = (const void *)t;
		return len < 36 ? malformed(t, "RSDP too short") : 0;
	default:
		return 0;
	}
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
	/* UEFI "Memory Type Usage after ExitBootServices()" */
	static const u8 kind[] = {
	    [1] = MEM_RAM, [2] = MEM_RAM, [3] = MEM_RAM,  [4] = MEM_RAM,
	    [7] = MEM_RAM, [8] = MEM_BAD, [9] = MEM_ACPI, [10] = MEM_NVS,
	};

	return type < ARRAY_SIZE(kind) && kind[type] ? kind[type] : MEM_RESERVED;
}

static int add_mmap(const struct mb2_tag_mmap *t, bool efi, struct mem_map *m)
{
	const u32 size = t->tag.size - sizeof(*t);
	int err = 0;

	for (u32 at = 0; size - at >= t->entry_size && !err; at += t->entry_size) {
		struct mb2_mmap_entry e;
		struct mb2_efi_desc d;

		if (efi) {
			memcpy(&d, t->entries + at, sizeof(d));
			if (d.pages <= ~0ull / PAGE_SIZE)
				err =
				    add_range(m, d.phys, d.pages * PAGE_SIZE, kind_of_efi(d.type));
		} else {
			memcpy(&e, t->entries + at, sizeof(e));
			err = add_range(m, e.addr, e.len,
					e.type >= MEM_RAM && e.type <= MEM_BAD ? e.type
									       : MEM_RESERVED);
		}
	}
	return err;
}

static int take_map(const struct seen *seen, struct mem_map *m)
{
	int err = 0;

	m->count = 0;
	if (seen->mmap)
		err = add_mmap(seen->mmap, false, m);
	else if (seen->efi_mmap)
		err = add_mmap(seen->efi_mmap, true, m);
	if (!err && !m->count && seen->basic) {
		err = memmap_add(m, 0, (u64)seen->basic->lower_kib << 10, MEM_RAM);
		if (!err)
			err = memmap_add(m, BIT(20), BIT(20) + ((u64)seen->basic->upper_kib << 10),
					 MEM_RAM);
	}
	if (err)
		log_err("the memory map has more than %u separate ranges", BOOT_MAX_REGIONS);
	else if (!memmap_max_ram_end(m)) {
		log_err("the loader gave no memory map with RAM in it");
		err = -ENOENT;
	}
	return err;
}

static void take_rsdp(const struct seen *seen, struct boot_info *out)
{
	const struct mb2_tag_rsdp *t = seen->rsdp_new ? seen->rsdp_new : seen->rsdp_old;

	if (!t)
		return;
	out->rsdp_len = seen->rsdp_new ? 36 : 20;
	memcpy(out->rsdp_copy, t->rsdp, out->rsdp_len);
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
	for (;; at = ALIGN_UP(at + t->size, MB2_TAG_ALIGN)) {
		if (at > head->total_size || head->total_size - at < sizeof(*t)) {
			log_err("the Multiboot2 information ends without its end tag at %lu of %u "
				"bytes",
				at, head->total_size);
			return -EINVAL;
		}
		t = (const void *)((const u8 *)info + at);
		if (t->size < sizeof(*t) || t->size > head->total_size - at)
			return malformed(t, "size beyond the information");
		if (t->type == MB2_TAG_END)
			break;
		err = take_tag(t, &seen, out);
		if (err)
			return err;
	}
	take_rsdp(&seen, out);
	return take_map(&seen, &out->map);
}
