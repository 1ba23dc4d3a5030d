/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/iommu/table.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* DMAR and IVRS alike: where structures begin, and what each begins with. */
#define STRUCTURES	 48u
#define STRUCTURE_LENGTH 2u
#define STRUCTURE_HEAD	 4u

/* Unless one with these registers is there. False: there is no room, or that cannot be true. */
static bool add_unit(struct iommu_table *t, u64 regs, u16 segment, u8 flags)
{
	for (u32 i = 0; i < t->unit_count; i++)
		if (t->unit[i].regs == regs)
			return true;
	if (!regs || regs % PAGE_SIZE || regs >> 52 || t->unit_count == IOMMU_MAX_UNITS)
		return false;
	t->unit[t->unit_count++] = (struct iommu_place){regs, segment, flags};
	return true;
}

/* With all its pages; the end is exclusive. */
static bool add_region(struct iommu_table *t, u64 start, u64 end)
{
	start = ALIGN_DOWN(start, PAGE_SIZE);
	end = ALIGN_UP(end, PAGE_SIZE);
	if (end <= start || end >> 52 || end - start > IOMMU_MAX_REGION ||
	    t->region_count == IOMMU_MAX_REGIONS)
		return false;
	t->region[t->region_count++] = (struct mem_range){start, end};
	return true;
}

/* Whichever it is; read takes a structure of len bytes, which it has, 4 at least. */
static bool read_table(const char *name, const u8 *t, u32 len,
		       bool (*read)(const u8 *s, u32 len, struct iommu_table *out),
		       struct iommu_table *out)
{
	u32 at = STRUCTURES, size;

	*out = (struct iommu_table){0};
	for (; at < len; at += size) {
		if (len - at < STRUCTURE_HEAD)
			break;
		size = get_le(t + at + STRUCTURE_LENGTH, 2);
		if (size < STRUCTURE_HEAD || size > len - at || !read(t + at, size, out))
			break;
	}
	if (at == len && out->unit_count)
		return true;
	log_warn("ACPI %s: what stands at byte %u cannot be true, or is more than the %u units and "
		 "%u regions that there is room for",
		 name, at, IOMMU_MAX_UNITS, IOMMU_MAX_REGIONS);
	*out = (struct iommu_table){0};
	return false;
}

/* ---- DMAR ---- */

/* VT-d specification "DMA Remapping Reporting Structure" and those behind it */
#define DMAR_FLAGS     37u
#define DMAR_MAY_REMAP BIT(0)
#define DMAR_NO_X2APIC BIT(1)
#define DMAR_TYPE      0u /* of each structure */
#define DMAR_SEGMENT   6u
#define DMAR_ADDRESS   8u /* DRHD: registers, RMRR: first byte */
#define RMRR_LAST      16u

enum { DMAR_DRHD, DMAR_RMRR };

/* Which devices are a unit's, or a region's, does not matter here: all are treated alike. */
static bool read_dmar(const u8 *s, u32 len, struct iommu_table *out)
{
	static const u8 least[] = {[DMAR_DRHD] = 16, [DMAR_RMRR] = 24};
	u32 type = get_le(s + DMAR_TYPE, 2);

	if (type >= ARRAY_SIZE(least)) /* of no interest */
		return true;
	if (len < least[type])
		return false;
	if (type == DMAR_DRHD)
		return add_unit(out, get_le(s + DMAR_ADDRESS, 8), get_le(s + DMAR_SEGMENT, 2), 0);
	return add_region(out, get_le(s + DMAR_ADDRESS, 8), get_le(s + RMRR_LAST, 8) + 1);
}

bool dmar_parse(const u8 *t, u32 len, struct iommu_table *out)
{
	if (!read_table("DMAR", t, len, read_dmar, out))
		return false;
	out->may_remap = t[DMAR_FLAGS] & DMAR_MAY_REMAP;
	out->no_x2apic = t[DMAR_FLAGS] & DMAR_NO_X2APIC;
	return true;
}

/* ---- IVRS ---- */

/* AMD IOMMU specification "I/O Virtualization Reporting Structure", IVHD and IVMD blocks */
#define BLOCK_TYPE    0u
#define BLOCK_FLAGS   1u
#define IVHD_ADDRESS  8u
#define IVHD_SEGMENT  16u
#define IVHD_ENTRIES  24u /* of type 0x10 */
#define IVHD_ENTRIES2 40u /* of the later ones, which describe the same units */
#define IVMD_START    16u
#define IVMD_SIZE     24u
#define IVMD_LEAST    32u

enum {
	IVHD = 0x10,
	IVHD_EFR = 0x11,
	IVHD_HID = 0x40,
	IVMD_ALL = 0x20,
	IVMD_ONE = 0x21,
	IVMD_RANGE = 0x22,
};

/* "IVHD Device Entries" */
#define ENTRY_ID     1u
#define ENTRY_FLAGS  3u
#define ENTRY_SOURCE 5u
#define ENTRY_UID_AT 21u /* length of what follows the fixed part of DEV_HID */

enum {
	DEV_ALL = 1,
	DEV_ONE = 2,
	DEV_START = 3,
	DEV_END = 4,
	DEV_ALIAS_ONE = 0x42,
	DEV_ALIAS_START = 0x43,
	DEV_EXT_ONE = 0x46,
	DEV_EXT_START = 0x47,
	DEV_SPECIAL = 0x48,
	DEV_HID = 0xf0,
};

/* Device entries being read: a range that has begun, as the end of it is an entry of its own. */
struct entries {
	struct iommu_table *out;
	u16 first;
	u8 flags;
};

/* Size of the entry, 0: there is no room for it in left bytes. */
static u32 entry_size(const u8 *e, u32 left)
{
	u32 size = 4u << (*e >> 6);

	if (*e == DEV_HID)
		size = left > ENTRY_UID_AT ? ENTRY_UID_AT + 1 + e[ENTRY_UID_AT] : 0;
	return size <= left ? size : 0;
}

static bool add_devices(struct iommu_table *out, u16 first, u16 last, u16 flags)
{
	if (last < first)
		return false;
	out->last_id = MAX(out->last_id, last);
	for (u32 id = first; flags && id <= last; id++)
		out->rights[id] |= flags;
	return true;
}

static bool read_entry(struct entries *s, const u8 *e)
{
	u16 id = get_le(e + ENTRY_ID, 2), source;
	u8 flags = e[ENTRY_FLAGS] & ~IOMMU_SPECIAL;

	switch (*e) {
	case DEV_ALL:
		return add_devices(s->out, 0, 0xffff, flags);
	case DEV_ONE:
	case DEV_EXT_ONE:
		return add_devices(s->out, id, id, flags);
	case DEV_HID:
		return add_devices(s->out, id, id, flags | IOMMU_ACPI);
	case DEV_START:
	case DEV_EXT_START:
		s->first = id;
		s->flags = flags;
		return true;
	case DEV_END:
		return add_devices(s->out, s->first, id, s->flags);
	case DEV_ALIAS_ONE:
	case DEV_ALIAS_START: /* all that come have one id upstream */
	case DEV_SPECIAL:
		source = get_le(e + ENTRY_SOURCE, 2);
		s->first = id;
		s->flags = flags;
		if (*e == DEV_SPECIAL)
			flags |= IOMMU_SPECIAL;
		return add_devices(s->out, source, source, flags);
	}
	return true; /* padding, or not known yet */
}

static bool read_ivhd(const u8 *b, u32 len, u32 at, struct iommu_table *out)
{
	struct entries s = {.out = out};

	if (len < at || !add_unit(out, get_le(b + IVHD_ADDRESS, 8), get_le(b + IVHD_SEGMENT, 2),
				  b[BLOCK_FLAGS]))
		return false;
	while (at < len) {
		u32 size = entry_size(b + at, len - at);

		if (!size || !read_entry(&s, b + at))
			return false;
		at += size;
	}
	return true;
}

static bool read_ivrs(const u8 *b, u32 len, struct iommu_table *out)
{
	switch (b[BLOCK_TYPE]) {
	case IVHD:
		return read_ivhd(b, len, IVHD_ENTRIES, out);
	case IVHD_EFR:
	case IVHD_HID:
		return read_ivhd(b, len, IVHD_ENTRIES2, out);
	case IVMD_ALL:
	case IVMD_ONE:
	case IVMD_RANGE:
		if (len < IVMD_LEAST)
			return false;
		return add_region(out, get_le(b + IVMD_START, 8),
				  get_le(b + IVMD_START, 8) + get_le(b + IVMD_SIZE, 8));
	}
	return true; /* of no interest */
}

bool ivrs_parse(const u8 *t, u32 len, struct iommu_table *out)
{
	out->may_remap = read_table("IVRS", t, len, read_ivrs, out);
	return out->may_remap;
}
