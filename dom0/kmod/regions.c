// SPDX-License-Identifier: GPL-2.0-only
/* Memory that the firmware uses with devices, as its table of IOMMUs has it. */
#include "pure.h"

#define TABLE_HEADER 48u /* of DMAR and IVRS */
#define BLOCK_HEADER 4u	 /* of what these consist of: the length in its upper half */

/* VT-d specification "Reserved Memory Region Reporting Structure", "Device Scope Structure" */
#define RMRR	     1u
#define RMRR_SEGMENT 6u
#define RMRR_START   8u
#define RMRR_LAST    16u
#define RMRR_SCOPES  24u
#define SCOPE_LENGTH 1u
#define SCOPE_BUS    5u
#define SCOPE_PATH   6u /* pairs of device and function, from that bus on */
enum { SCOPE_ENDPOINT = 1, SCOPE_BELOW = 2 };

/* AMD IOMMU specification "I/O Virtualization Memory Definition Block" */
enum { IVMD_ALL = 0x20, IVMD_ONE = 0x21, IVMD_RANGE = 0x22 };
#define IVMD_FIRST   4u
#define IVMD_LAST    6u
#define IVMD_SEGMENT 8u
#define IVMD_START   16u
#define IVMD_SIZE    24u
#define IVMD_LEAST   32u

static u64 get_bytes(const u8 *at, u32 bytes)
{
	u64 v = 0;

	while (bytes--)
		v = v << 8 | at[bytes];
	return v;
}

/* Is it this device, or, where the scope is all below a bridge, is that above it? */
static bool scope_names(const u8 *s, u32 size, const struct cb_place *p)
{
	u32 depth = (size - SCOPE_PATH) / 2, k = 0, i;

	if (!depth || (s[0] != SCOPE_ENDPOINT && s[0] != SCOPE_BELOW))
		return false;
	while (k < p->depth && p->id[k] >> 8 != s[SCOPE_BUS])
		k++;
	if (k + depth > p->depth || (s[0] == SCOPE_ENDPOINT && k + depth != p->depth))
		return false;
	for (i = 0; i < depth; i++) {
		const u8 *pair = s + SCOPE_PATH + 2 * i;

		if ((p->id[k + i] & 0xff) != ((pair[0] << 3 | pair[1]) & 0xff))
			return false;
	}
	return true;
}

static bool rmrr_names(const u8 *b, u32 len, const struct cb_place *p)
{
	u32 at = RMRR_SCOPES, size;

	if (get_bytes(b, 2) != RMRR || len < RMRR_SCOPES ||
	    get_bytes(b + RMRR_SEGMENT, 2) != p->segment)
		return false;
	for (; len - at >= SCOPE_PATH; at += size) {
		size = b[at + SCOPE_LENGTH];
		if (size < SCOPE_PATH || size > len - at)
			return false;
		if (scope_names(b + at, size, p))
			return true;
	}
	return false;
}

static bool ivmd_names(const u8 *b, u32 len, const struct cb_place *p)
{
	u32 first = get_bytes(b + IVMD_FIRST, 2), last = first, id = p->id[p->depth - 1];

	if (b[0] < IVMD_ALL || b[0] > IVMD_RANGE || len < IVMD_LEAST)
		return false;
	if (b[0] == IVMD_RANGE)
		last = get_bytes(b + IVMD_LAST, 2);
	return get_bytes(b + IVMD_SEGMENT, 2) == p->segment &&
	       (b[0] == IVMD_ALL || (id >= first && id <= last));
}

bool region_next(const struct cb_fw_table *t, u32 *at, const struct cb_place *p, u64 *start,
		 u64 *size)
{
	if (!*at)
		*at = TABLE_HEADER;
	while (t->len >= BLOCK_HEADER && *at <= t->len - BLOCK_HEADER && p->depth) {
		const u8 *b = t->table + *at;
		u32 len = get_bytes(b + 2, 2);

		if (len < BLOCK_HEADER || len > t->len - *at)
			break;
		*at += len;
		if (t->is_amd ? !ivmd_names(b, len, p) : !rmrr_names(b, len, p))
			continue;
		*start = get_bytes(b + (t->is_amd ? IVMD_START : RMRR_START), 8);
		*size = t->is_amd ? get_bytes(b + IVMD_SIZE, 8)
				  : get_bytes(b + RMRR_LAST, 8) + 1 - *start;
		return true;
	}
	return false;
}
