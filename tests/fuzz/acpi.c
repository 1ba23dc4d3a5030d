/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arbitrary bytes as ACPI's tables: the RSDP, then physical memory from BASE on. Checksums are put
 * right, else nearly all would end at them.
 * links: boot/acpi.c
 */
#include "fuzz.h"

#include "tests/unit/acpi_build.h"

const char fuzz_what[] = "ACPI tables are read or skipped";
const u32 fuzz_rounds = 50000;

static u8 *mapped; /* what was asked for, and not a byte more; valid until the next call */

static void *map_fuzz(u64 addr, u64 size)
{
	free(mapped);
	mapped = NULL;
	if (addr < BASE || size > SIZE || addr - BASE > SIZE - size)
		return NULL;
	if (size >= 36)
		fix(mem + (addr - BASE), (u32)size, 9);
	mapped = fuzz_copy(mem + (addr - BASE), size);
	return mapped;
}

static void check_ports(const struct acpi_ports *p)
{
	require(p->count <= ARRAY_SIZE(p->at), "no more ports than there is room for");
}

static void check_result(const struct acpi_info *info)
{
	require(info->cpu_count && info->cpu_count <= MAX_CPUS && info->apic_id[0] == 5,
		"there is the boot CPU, and no more than can be");
	for (u32 i = 0; i < info->cpu_count; i++)
		for (u32 k = 0; k < i; k++)
			require(info->apic_id[i] != info->apic_id[k], "a CPU is there once");
	require(info->node_count <= MAX_CPUS, "no more nodes of CPUs than there is room for");
	check_ports(&info->sleep);
	check_ports(&info->wake);
	for (u32 i = 0; i < info->sleep.count; i++)
		require(info->sleep.at[i].port, "a port is one");
}

static void check_limit(const struct acpi_info *was)
{
	u32 keep = was->apic_id[0];

	if (was->madt && !acpi_limit_madt(was->madt, map_fuzz, &keep, 1))
		require(mapped, "a MADT that was found can be had");
	if (was->dmar.addr)
		acpi_hide(was->dmar.addr, map_fuzz);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct acpi_info info;
	u32 rsdp_len = (u32)MIN(size, 36u);
	u8 *rsdp = fuzz_copy(data, rsdp_len), *aml;

	if (rsdp_len >= 20)
		fix(rsdp, 20, 8);
	if (rsdp_len == 36)
		fix(rsdp, 36, 32);
	memset(mem, 0, sizeof(mem));
	memcpy(mem, data + rsdp_len, MIN(size - rsdp_len, sizeof(mem)));
	memset(&info, 0xff, sizeof(info));
	acpi_parse(rsdp, rsdp_len, 5, map_fuzz, &info);
	check_result(&info);
	check_limit(&info);
	free(rsdp);
	aml = fuzz_copy(data, size);
	acpi_scan_types(aml, (u32)size, '5', (u8[2]){0});
	acpi_scan_types(aml, (u32)size, '3', (u8[2]){0});
	free(aml);
	return 0;
}

size_t fuzz_make(u8 *to)
{
	struct machine m;

	make(&m, fuzz_random(4) ? 2 : 0);
	if (!fuzz_random(4)) /* whose entries are like those of a MADT */
		memcpy(mem + (m.madt - BASE), "SRAT", 4);
	memcpy(to, m.rsdp, sizeof(m.rsdp));
	memcpy(to + sizeof(m.rsdp), mem, next);
	return sizeof(m.rsdp) + next;
}
