/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/iommu/ivrs.h"
#include "hv/lib/string.h"

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

static bool add_devices(struct iommu_table *out, u16 first, u16 last, u8 flags)
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
	u8 flags = e[ENTRY_FLAGS];

	switch (*e) {
	case DEV_ALL:
		return add_devices(s->out, 0, 0xffff, flags);
	case DEV_ONE:
	case DEV_EXT_ONE:
	case DEV_HID:
		return add_devices(s->out, id, id, flags);
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
		return add_devices(s->out, source, source, flags);
	}
	return true; /* padding, or not known yet */
}

static bool read_ivhd(const u8 *b, u32 len, u32 at, struct iommu_table *out)
{
	struct entries s = {.out = out};

	if (len < at || !iommu_add_unit(out, get_le(b + IVHD_ADDRESS, 8),
					get_le(b + IVHD_SEGMENT, 2), b[BLOCK_FLAGS]))
		return false;
	while (at < len) {
		u32 size = entry_size(b + at, len - at);

		if (!size || !read_entry(&s, b + at))
			return false;
		at += size;
	}
	return true;
}

static bool read_block(const u8 *b, u32 len, struct iommu_table *out)
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
		return iommu_add_region(out, get_le(b + IVMD_START, 8),
					get_le(b + IVMD_START, 8) + get_le(b + IVMD_SIZE, 8));
	}
	return true; /* of no interest */
}

bool ivrs_parse(const u8 *t, u32 len, struct iommu_table *out)
{
	return iommu_read_table("IVRS", t, len, read_block, out);
}
