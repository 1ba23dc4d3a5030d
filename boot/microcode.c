/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/microcode.h"
#include "hv/lib/log.h"

/* Nothing in a file need be aligned. */
struct word32 {
	u32 v;
} __packed;

static u32 get_word(const u8 *at)
{
	return ((const struct word32 *)at)->v;
}

static void consider_update(struct microcode *best, const u8 *data, u32 size, u32 revision)
{
	if (!best->data || revision > best->revision)
		*best = (struct microcode){data, size, revision};
}

/* ---- Intel ---- */

struct intel_header {
	u32 version, revision, date, signature, checksum, loader, platforms;
	u32 data_size, total_size, reserved[3];
} __packed;
_Static_assert(sizeof(struct intel_header) == MICROCODE_INTEL_HEADER, "header of an update");
struct intel_table { /* of more CPUs, behind the data */
	u32 count, checksum, reserved[3];
	struct {
		u32 signature, platforms, checksum;
	} cpu[];
} __packed;
#define INTEL_DATA_SIZE	 2000u /* where the header has 0 */
#define INTEL_TOTAL_SIZE 2048u

static bool sums_up(const u8 *at, u32 size)
{
	u32 sum = 0;

	BUG_ON(size % 4);
	for (u32 i = 0; i < size; i += 4)
		sum += get_word(at + i);
	return !sum;
}

static bool is_for(const struct microcode_cpu *cpu, u32 signature, u32 platforms)
{
	return signature == cpu->signature &&
	       (platforms & cpu->platform || !(platforms | cpu->platform));
}

static bool table_has(const u8 *at, u32 size, const struct microcode_cpu *cpu)
{
	const struct intel_table *t = (const void *)at;

	if (size < sizeof(*t) || t->count > (size - sizeof(*t)) / sizeof(t->cpu[0]) ||
	    !sums_up(at, sizeof(*t) + t->count * sizeof(t->cpu[0])))
		return false;
	for (u32 i = 0; i < t->count; i++)
		if (is_for(cpu, t->cpu[i].signature, t->cpu[i].platforms))
			return true;
	return false;
}

/* False: damaged. */
static bool find_intel(const u8 *at, u64 left, const struct microcode_cpu *cpu,
		       struct microcode *best)
{
	while (left) {
		const struct intel_header *h = (const void *)at;
		u32 size, total;

		if (left < sizeof(*h) || h->version != 1 || h->loader != 1)
			return false;
		size = h->data_size ?: INTEL_DATA_SIZE;
		total = h->data_size ? h->total_size : INTEL_TOTAL_SIZE;
		if (total > left || total < sizeof(*h) || size > total - sizeof(*h) ||
		    (size | total) % 4)
			return false;
		size += sizeof(*h);
		if (is_for(cpu, h->signature, h->platforms) ||
		    table_has(at + size, total - size, cpu)) {
			if (!sums_up(at, size))
				return false;
			consider_update(best, at, size, h->revision);
		}
		at += total;
		left -= total;
	}
	return true;
}

/* ---- AMD ---- */

#define AMD_MAGIC 0x00414d44u
#define AMD_EQUIV 0u /* kinds of sections */
#define AMD_PATCH 1u
struct amd_section {
	u32 kind, size;
} __packed;
struct amd_equiv {
	u32 signature, reserved[2];
	u16 id, pad;
} __packed;
struct amd_patch {
	u32 date, revision, reserved[2], northbridge, southbridge;
	u16 cpu_id;
	u8 more[38];
} __packed;
_Static_assert(sizeof(struct amd_patch) == 64, "header of a patch");

/* By which patches name the CPU; 0: not in the table. */
static u16 equiv_id(const u8 *at, u32 size, u32 signature)
{
	const struct amd_equiv *e = (const void *)at;

	for (u32 n = size / sizeof(*e); n && e->signature; n--, e++)
		if (e->signature == signature)
			return e->id;
	return 0;
}

static void consider_patch(const u8 *at, u32 size, u16 id, struct microcode *best)
{
	const struct amd_patch *p = (const void *)at;

	/* those for chipsets nobody knows how to match */
	if (id && size >= sizeof(*p) && p->cpu_id == id && !p->northbridge && !p->southbridge)
		consider_update(best, at, size, p->revision);
}

static bool find_amd(const u8 *at, u64 left, const struct microcode_cpu *cpu,
		     struct microcode *best)
{
	u16 id = 0;

	if (left < 4 || get_word(at) != AMD_MAGIC)
		return false;
	while (left) {
		const struct amd_section *s = (const void *)at;

		if (left >= 4 && get_word(at) == AMD_MAGIC) { /* another, with its own table */
			at += 4;
			left -= 4;
			id = 0;
			continue;
		}
		if (left < sizeof(*s) || s->size > left - sizeof(*s) || s->kind > AMD_PATCH)
			return false;
		at += sizeof(*s);
		left -= sizeof(*s) + s->size;
		if (s->kind == AMD_EQUIV)
			id = equiv_id(at, s->size, cpu->signature);
		else
			consider_patch(at, s->size, id, best);
		at += s->size;
	}
	return true;
}

const char *microcode_find(const u8 *file, u64 size, const struct microcode_cpu *cpu,
			   struct microcode *best)
{
	bool whole = cpu->amd ? find_amd(file, size, cpu, best) : find_intel(file, size, cpu, best);

	if (best->data)
		return NULL;
	return whole ? "the initrd has none for this CPU" : "the initrd's is damaged";
}
