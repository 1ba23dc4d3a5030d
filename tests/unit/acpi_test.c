/* SPDX-License-Identifier: GPL-2.0-only */
/* links: boot/acpi.c */
#include <stdlib.h>
#include <string.h>

#include "acpi_build.h"
#include "hv/lib/asm.h"
#include "test.h"

static struct acpi_info info;
static u64 entry_size; /* of the root table that was walked */

static void *map(u64 addr, u64 size)
{
	if (size <= 8)
		entry_size = size;
	if (addr < BASE || size > SIZE || addr - BASE > SIZE - size)
		return NULL;
	return mem + (addr - BASE);
}

/* What memory that takes no writes has, when the caches that did are emptied. */
static const u8 *rom;

void wbinvd(void)
{
	if (rom)
		memcpy(mem, rom, SIZE);
}

static bool all_found(void)
{
	return info.cpu_count == 3 && info.madt && info.lapic_addr == 0x1fee00000 &&
	       info.pm_timer_port == 0x608 && info.reset_space == ACPI_SPACE_IO &&
	       info.reset_addr == 0xcf9 && info.reset_value == 0xf && info.hpet_addr == 0xfed00000;
}

static void test_roots(void)
{
	struct machine m;

	make(&m, 2);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && entry_size == 8 && all_found(),
	      "tables are found from the XSDT");
	CHECK(info.apic_id[0] == 0 && info.apic_id[1] == 1 && info.apic_id[2] == 0x1ff,
	      "enabled CPUs of both kinds, each once");
	acpi_parse(m.rsdp, 36, 1, map, &info);
	CHECK(info.cpu_count == 3 && info.apic_id[0] == 1 && info.apic_id[1] == 0,
	      "the boot CPU comes first");
	CHECK(acpi_parse(m.rsdp, 20, 0, map, &info) == 0 && entry_size == 4 && all_found(),
	      "a short RSDP leads to the RSDT");
	mem[m.xsdt - BASE + 9] ^= 1;
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && entry_size == 8 && all_found(),
	      "an XSDT with a bad checksum is used, as by Linux");
	mem[m.xsdt - BASE] ^= 1;
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && entry_size == 4 && all_found(),
	      "a damaged one leads to the RSDT, too");
	mem[m.rsdt - BASE] ^= 1;
	CHECK(acpi_parse(m.rsdp, 36, 5, map, &info) == -EINVAL && info.cpu_count == 1 &&
		  info.apic_id[0] == 5,
	      "without a root table there is the boot CPU");
	make(&m, 0);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && entry_size == 4,
	      "revision 0 has no XSDT");
	CHECK(info.pm_timer_port == 0x608 && info.reset_addr, "a FADT may be short");
	make(&m, 2);
	m.rsdp[8] ^= 1;
	m.rsdp[32] ^= 1;
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && entry_size == 8 && all_found(),
	      "an RSDP with bad checksums is used all the same");
	m.rsdp[0] = 'X';
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == -EINVAL, "no signature, no ACPI");
	CHECK(acpi_parse(m.rsdp, 0, 0, map, &info) == -EINVAL && info.cpu_count == 1,
	      "no RSDP at all");
}

static void test_damage(void)
{
	struct machine m;
	u8 *t;

	make(&m, 2);
	mem[m.madt - BASE + 9] ^= 1;
	mem[m.fadt - BASE + 9] ^= 1;
	mem[m.hpet - BASE + 9] ^= 1;
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && all_found(),
	      "tables with bad checksums are read, as dom0 does");
	make(&m, 2);
	mem[m.madt - BASE] ^= 1;
	CHECK(acpi_parse(m.rsdp, 36, 3, map, &info) == 0 && !info.madt && info.cpu_count == 1 &&
		  info.apic_id[0] == 3 && info.hpet_addr,
	      "a damaged MADT is skipped, the others are read");
	make(&m, 2);
	t = mem + (m.madt - BASE) + 44;
	t[16 + 3] = 0xff;
	memset(t + 24 + 12 + 4, 0xff, 4);
	fix(t - 44, *(u32 *)(void *)(t - 40), 9);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && info.cpu_count == 2 &&
		  info.apic_id[1] == 1,
	      "CPUs whose ids are broadcasts are none, in entries of both kinds");
	make(&m, 2);
	t = mem + (m.madt - BASE);
	t[44 + 8 + 1] = 0;
	fix(t, *(u32 *)(void *)(t + 4), 9);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && info.cpu_count == 1,
	      "an entry of length 0 ends the MADT");
	make(&m, 2);
	t = mem + (m.madt - BASE);
	t[44 + 8 + 1] = 7;
	fix(t, *(u32 *)(void *)(t + 4), 9);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && info.cpu_count == 1,
	      "a CPU entry too short ends the MADT");
	make(&m, 2);
	put(mem + (m.madt - BASE) + 4, 0xfffffff0, 4);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && !info.madt,
	      "a table with a wild length is skipped");
	make(&m, 2);
	put(mem + (m.madt - BASE) + 4, 20, 4);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && !info.madt,
	      "a table shorter than its header is skipped");
}

static bool madt_sum_ok(const struct machine *m)
{
	const u8 *t = mem + (m->madt - BASE);
	u8 s = 0;

	for (u32 i = 0; i < *(const u32 *)(const void *)(t + 4); i++)
		s += t[i];
	return !s;
}

static void test_limit(void)
{
	static const u32 keep[] = {0, 1};
	static u8 before[SIZE];
	struct machine m;
	u8 *t;

	make(&m, 2);
	CHECK(acpi_limit_madt(m.madt, map, keep, 2) == 0 && madt_sum_ok(&m),
	      "the MADT is cut down, its checksum is right");
	acpi_parse(m.rsdp, 36, 0, map, &info);
	CHECK(info.cpu_count == 2 && info.apic_id[1] == 1, "only the CPUs kept are enabled");
	t = mem + (m.madt - BASE) + 44;
	CHECK(t[4] == 1 && t[8 + 4] == 0 && t[24 + 12 + 8] == 0 && t[24 + 12 + 32 + 4] == 0,
	      "none of the others can come online");
	CHECK(t[3] == 0 && t[8 + 3] == 0xff && *(u32 *)(void *)(t + 24 + 12 + 4) == ~0u,
	      "nor has any an id for which a place would be kept");

	make(&m, 2);
	t = mem + (m.madt - BASE);
	t[44 + 8 + 1] = 255;
	fix(t, *(u32 *)(void *)(t + 4), 9);
	memcpy(before, mem, SIZE);
	CHECK(acpi_limit_madt(m.madt, map, keep, 1) == -EINVAL && !memcmp(before, mem, SIZE),
	      "a broken MADT is left as it is");
	CHECK(acpi_limit_madt(m.hpet, map, keep, 1) == -EINVAL && !memcmp(before, mem, SIZE),
	      "another table is left as it is");
	CHECK(acpi_limit_madt(0x1000, map, keep, 1) == -EINVAL, "a table out of reach is an error");
	CHECK(PANICS(acpi_limit_madt(m.madt, map, keep, 0)), "no machine is left without a CPU");
}

static void test_iommus(void)
{
	u8 body[20] = {0};
	struct machine m;
	u64 entries[3];
	static u8 before[SIZE];
	u8 sum = 0, *t;

	make(&m, 2);
	next = 0x1000;
	entries[0] = add_table("DMAR", body, sizeof(body));
	entries[1] = add_table("IVRS", body, 12);
	entries[2] = m.madt;
	put(m.rsdp + 24, add_table("XSDT", entries, sizeof(entries)), 8);
	fix(m.rsdp, 36, 32);
	acpi_parse(m.rsdp, 36, 0, map, &info);
	CHECK(info.dmar.addr == entries[0] && info.dmar.len == 56 && info.ivrs.addr == entries[1] &&
		  info.ivrs.len == 48,
	      "the tables of IOMMUs are found");
	memcpy(before, mem, SIZE);
	rom = before;
	CHECK(!acpi_hide(info.dmar.addr, map), "one that lies in ROM cannot be hidden");
	rom = NULL;
	CHECK(acpi_hide(info.dmar.addr, map), "one in RAM can");
	t = mem + (entries[0] - BASE);
	for (u32 i = 0; i < 56; i++)
		sum += t[i];
	acpi_parse(m.rsdp, 36, 0, map, &info);
	CHECK(!sum && !info.dmar.addr && info.ivrs.addr,
	      "one that is hidden is not found again, its checksum is right");
	memcpy(t, "DMAR", 4);
	put(t + 4, 0x7fffffff, 4);
	acpi_parse(m.rsdp, 36, 0, map, &info);
	CHECK(!info.dmar.addr, "nor is a damaged one");
	put(t + 4, 56, 4);
	fix(t, 56, 9);
	entries[2] = entries[0];
	for (u32 i = 0; i < 2; i++) {
		put(m.rsdp + 24, add_table("XSDT", entries, sizeof(entries)), 8);
		fix(m.rsdp, 36, 32);
		acpi_parse(m.rsdp, 36, 0, map, &info);
		CHECK(info.dmar.addr == entries[0] && info.dmar.len == (i ? 0 : 56),
		      i ? "of two neither" : "one that is named twice is");
		entries[2] = add_table("DMAR", body, sizeof(body));
	}
}

/* A CPU in a node, as the 8-bit or 32-bit entry of an SRAT */
static u32 add_node(u8 *p, u8 type, u32 id, u32 node, u32 flags)
{
	p[0] = type;
	p[1] = type == 2 ? 24 : 16;
	if (type == 2) {
		put(p + 4, node, 4);
		put(p + 8, id, 4);
		put(p + 12, flags, 4);
	} else {
		p[2] = (u8)node;
		p[3] = (u8)id;
		put(p + 4, flags, 4);
		put(p + 9, node >> 8, 3);
	}
	return p[1];
}

static void test_nodes(void)
{
	u8 srat[200] = {0};
	struct machine m;
	u32 n = 12;
	u64 at;

	srat[0] = 1;
	n += add_node(srat + n, 0, 1, 0x10203, 1);
	srat[n] = 1; /* memory */
	srat[n + 1] = 40;
	n += 40;
	n += add_node(srat + n, 2, 0x1ff, 7, 1);
	n += add_node(srat + n, 0, 5, 9, 0); /* not there */
	make(&m, 2);
	at = add_table("SRAT", srat, n);
	put(mem + (m.xsdt - BASE) + 36 + 16, at, 8);
	fix(mem + (m.xsdt - BASE), 36 + 32, 9);
	CHECK(!acpi_parse(m.rsdp, 36, 0, map, &info) && info.node_count == 2 &&
		  acpi_node_of(&info, 1) == 0x10203 && acpi_node_of(&info, 0x1ff) == 7,
	      "CPUs' nodes by the SRAT");
	CHECK(!acpi_node_of(&info, 5) && !acpi_node_of(&info, 99), "others are in node 0");
	mem[at - BASE + 36 + 12 + 16 + 1] = 1; /* the second entry */
	fix(mem + (at - BASE), 36 + n, 9);
	acpi_parse(m.rsdp, 36, 0, map, &info);
	CHECK(info.node_count == 1 && !acpi_node_of(&info, 0x1ff), "a broken entry ends it");
	put(mem + (at - BASE) + 4, 36 + 12 + 8, 4);
	mem[at - BASE + 36 + 12 + 1] = 16;
	fix(mem + (at - BASE), 36 + 12 + 8, 9);
	acpi_parse(m.rsdp, 36, 0, map, &info);
	CHECK(!info.node_count, "an entry that goes beyond the table is none");
	make(&m, 2);
	acpi_parse(m.rsdp, 36, 0, map, &info);
	CHECK(!info.node_count && info.cpu_count == 3, "no SRAT: one node");
}

static void test_many_nodes(void)
{
	u8 srat[12 + (MAX_CPUS + 6) * 24] = {0};
	struct machine m;
	u64 at;

	for (u32 i = 0; i < MAX_CPUS + 6; i++)
		add_node(srat + 12 + 24 * i, 2, i, 1 + i / 2, 1);
	make(&m, 2);
	at = add_table("SRAT", srat, sizeof(srat));
	put(mem + (m.xsdt - BASE) + 36 + 16, at, 8);
	fix(mem + (m.xsdt - BASE), 36 + 32, 9);
	CHECK(!acpi_parse(m.rsdp, 36, 0, map, &info) && info.node_count == MAX_CPUS && info.madt &&
		  acpi_node_of(&info, MAX_CPUS - 1) == MAX_CPUS / 2 &&
		  !acpi_node_of(&info, MAX_CPUS),
	      "an SRAT of more CPUs than there is room for");
}

static void test_many_cpus(void)
{
	u8 madt[8 + (MAX_CPUS + 44) * 16] = {0};
	u64 entry;
	u32 n = 8;
	struct machine m;

	make(&m, 2);
	next = 0x1000;
	for (u32 i = 0; i < MAX_CPUS + 44; i++)
		n += add_cpu(madt + n, 9, i, 1);
	entry = add_table("APIC", madt, n);
	put(m.rsdp + 24, add_table("XSDT", &entry, 8), 8);
	fix(m.rsdp, 36, 32);
	CHECK(acpi_parse(m.rsdp, 36, MAX_CPUS + 43, map, &info) == 0 &&
		  info.cpu_count == MAX_CPUS && info.apic_id[0] == MAX_CPUS + 43 &&
		  info.apic_id[1] == 0,
	      "more CPUs than supported: the first ones and the boot CPU are used");
}

/* Code with a name, the package behind it, and something before and after */
static u32 put_s5(u8 *aml, const char *head, const u8 *package, u32 len)
{
	u32 n = 0;

	memset(aml, 0x5b, 8);
	n += 8;
	memcpy(aml + n, head, strlen(head));
	n += (u32)strlen(head);
	memcpy(aml + n, package, len);
	return n + len;
}

static u32 scan_for(char digit, const char *head, const u8 *package, u32 len)
{
	u8 code[64], types[2] = {0, 0}, *exact;
	u32 n = put_s5(code, head, package, len);

	exact = malloc(n); /* so that a read beyond is seen */
	memcpy(exact, code, n);
	acpi_scan_types(exact, n, digit, types);
	free(exact);
	return types[0] | (u32)types[1] << 8;
}

static u32 scan(const char *head, const u8 *package, u32 len)
{
	return scan_for('5', head, package, len);
}

static void test_s5(void)
{
	static const u8 bytes[] = {0x12, 0x08, 0x04, 0x0a, 0x05, 0x0a, 0x07, 0x00, 0x00};
	static const u8 zeros[] = {0x12, 0x06, 0x04, 0x00, 0x00, 0x00, 0x00};
	static const u8 one[] = {0x12, 0x05, 0x01, 0x0b, 0x03, 0x06};
	static const u8 dword[] = {0x12, 0x08, 0x02, 0x0c, 0x02, 0, 0, 0, 0x01};
	static const u8 wide[] = {0x12, 0x46, 0x00, 0x02, 0x0a, 0x06, 0x01};
	static const u8 large[] = {0x12, 0x06, 0x02, 0x0a, 0x08, 0x0a, 0x80};
	static const u8 wild[] = {0x12, 0xff, 0xff, 0xff, 0xff, 0x04, 0x00};
	static const u8 method[] = {0x12, 0x06, 0x02, 0x68, 0x00, 0x00, 0x00};
	static const u8 empty[] = {0x12, 0x02, 0x00, 0x0a, 0x05};
	bool good = true;
	u8 types[2] = {0, 0};

	CHECK(scan("\010_S5_", bytes, sizeof(bytes)) == (BIT(5) | BIT(7) << 8), "_S5 by bytes");
	CHECK(scan("\010\\_S5_", bytes, sizeof(bytes)) == (BIT(5) | BIT(7) << 8),
	      "by its full name");
	CHECK(scan("\010_S5_", zeros, sizeof(zeros)) == (BIT(0) | BIT(0) << 8), "by constants");
	CHECK(scan("\010_S5_", one, sizeof(one)) == (BIT(3) | BIT(6) << 8), "both in one number");
	CHECK(scan("\010_S5_", dword, sizeof(dword)) == (BIT(2) | BIT(1) << 8), "by a double word");
	CHECK(scan("\010_S5_", wide, sizeof(wide)) == (BIT(6) | BIT(1) << 8),
	      "with a length of two bytes");
	CHECK(!scan("\010_S3_", bytes, sizeof(bytes)) && !scan("\010_S4_", bytes, sizeof(bytes)),
	      "_S3 and _S4 are not _S5");
	CHECK(scan_for('3', "\010_S3_", bytes, sizeof(bytes)) == (BIT(5) | BIT(7) << 8) &&
		  !scan_for('3', "\010_S5_", bytes, sizeof(bytes)),
	      "but _S3 is found when it is asked for");
	CHECK(!scan("\024_S5_", bytes, sizeof(bytes)), "a mere mention is not a definition");
	CHECK(!scan("\010_S5_", large, sizeof(large)), "types of more than three bits are none");
	CHECK(!scan("\010_S5_", wild, sizeof(wild)) && !scan("\010_S5_", method, sizeof(method)) &&
		  !scan("\010_S5_", empty, sizeof(empty)),
	      "a wild length, no constants, no elements: nothing is read");
	for (u32 n = 0; n < sizeof(bytes); n++) {
		if (n < 7)
			good &= !scan("\010_S5_", bytes, n);
		acpi_scan_types(bytes, n, '5', types);
	}
	CHECK(good && !types[0] && !types[1], "a package that is cut off anywhere says nothing");
	srand(9);
	for (u32 round = 0; round < 50000; round++) {
		u8 odd[12];

		for (u32 i = 0; i < sizeof(odd); i++)
			odd[i] = rand() % 3 ? bytes[i % sizeof(bytes)] : (u8)rand();
		scan(rand() % 2 ? "\010_S5_" : "\010\\_S5_", odd, (u32)rand() % (sizeof(odd) + 1));
	}
	CHECK(true, "random packages are read within their bounds");
}

static bool has_sleep(u16 port, u8 types)
{
	for (u32 i = 0; i < info.sleep.count; i++)
		if (info.sleep.at[i].port == port)
			return info.sleep.at[i].off_types == types;
	return false;
}

static u8 s3_types(u16 port)
{
	for (u32 i = 0; i < info.sleep.count; i++)
		if (info.sleep.at[i].port == port)
			return info.sleep.at[i].s3_types;
	return 0;
}

/* Put a FACS at an address, 0: none is named, and say so in the FADT; what is found. */
static u64 facs_at(struct machine *m, u64 fadt, u64 at, const char *sig, u32 len)
{
	u8 *t = at ? mem + (at - BASE) : NULL;

	if (t && at < BASE + SIZE - 64) {
		memset(t, 0, 64);
		memcpy(t, sig, 4);
		put(t + 4, len, 4);
	}
	put(mem + (fadt - BASE) + 36, at, 4);
	fix(mem + (fadt - BASE), 36 + 232, 9);
	acpi_parse(m->rsdp, 36, 0, map, &info);
	return info.facs;
}

static void test_facs(struct machine *m, u64 fadt)
{
	u64 at = BASE + ALIGN_UP(next, 64);

	CHECK(facs_at(m, fadt, at, "FACS", 64) == at, "FACS is found");
	CHECK(!facs_at(m, fadt, 0, "", 0), "or there is none");
	test_log_lines = 0;
	CHECK(!facs_at(m, fadt, at, "FACT", 64) && test_log_lines == 1 &&
		  !facs_at(m, fadt, at, "FACS", 63) && !facs_at(m, fadt, at + 4, "FACS", 64) &&
		  !facs_at(m, fadt, BASE + SIZE + 64, "", 0) && test_log_lines == 4,
	      "one that is damaged, short, at an odd place or out of reach is not used, and told");
	put(mem + (fadt - BASE) + 132, at, 8);
	CHECK(facs_at(m, fadt, 0, "", 0) == at, "that of the wide field will do");
	CHECK(facs_at(m, fadt, at + 64, "FACS", 64) == at + 64,
	      "of two that which Linux writes to");
}

/* A FADT of ACPI 5 with all the registers there can be, and a DSDT with a wrong checksum. */
static void test_sleep(void)
{
	static const u8 s5[] = {0x08, '_', 'S', '5', '_', 0x12, 0x07, 0x02, 0x0a, 0x05, 0x0a, 0x07};
	static const u8 s3[] = {0x08, '_', 'S', '3', '_', 0x12, 0x07, 0x02, 0x0a, 0x03, 0x0a, 0x03};
	static const u8 registers[][3] = {{148 - 36, 0x10, 0x06},
					  {172 - 36, 0x04, 0x06},
					  {184 - 36, 0x24, 0x06},
					  {244 - 36, 0x30, 0x06}};
	u8 fadt[232] = {0}, code[40] = {0};
	struct machine m;
	u64 entries[2];

	make(&m, 2);
	memcpy(code + 3, s3, sizeof(s3));
	memcpy(code + 20, s5, sizeof(s5));
	next = 0x1000;
	entries[0] = add_table("DSDT", code, sizeof(code));
	mem[entries[0] - BASE + 9] ^= 1;
	put(fadt + 140 - 36, entries[0], 8);
	put(fadt + 56 - 36, 0x610, 4);
	put(fadt + 64 - 36, 0x604, 4);
	put(fadt + 68 - 36, 0x614, 4);
	for (u32 i = 0; i < ARRAY_SIZE(registers); i++) {
		fadt[registers[i][0]] = 1;
		memcpy(fadt + registers[i][0] + 4, registers[i] + 1, 2);
	}
	fadt[256 - 36] = 1;
	put(fadt + 256 - 36 + 4, 0x631, 2);
	entries[0] = add_table("FACP", fadt, sizeof(fadt));
	entries[1] = m.madt;
	put(m.rsdp + 24, add_table("XSDT", entries, sizeof(entries)), 8);
	fix(m.rsdp, 36, 32);
	acpi_parse(m.rsdp, 36, 0, map, &info);
	CHECK(info.sleep.count == 4 && has_sleep(0x605, BIT(5)) && has_sleep(0x615, BIT(7)) &&
		  has_sleep(0x625, BIT(7)) && has_sleep(0x630, BIT(5)),
	      "each register for sleep is found, where two addresses are told at both");
	CHECK(info.wake.count == 2 && info.wake.at[0].port == 0x611 &&
		  info.wake.at[1].port == 0x631,
	      "and those that tell of the wake-up");
	CHECK(s3_types(0x605) == BIT(3) && s3_types(0x615) == BIT(3) && !s3_types(0x630),
	      "with the types of S3, which the sleep control register has none of");
	CHECK(!info.sleep.at[0].is_b && info.sleep.at[1].is_b, "and which of the two it is");
	test_facs(&m, entries[0]);
	put(mem + (entries[0] - BASE) + 68, 0xffff, 4);
	fix(mem + (entries[0] - BASE), 36 + sizeof(fadt), 9);
	acpi_parse(m.rsdp, 36, 0, map, &info);
	CHECK(info.sleep.count == 3 && !has_sleep(0x615, BIT(7)) && !has_sleep(0, BIT(7)),
	      "one at the last port has no byte beyond it");
	make(&m, 2);
	acpi_parse(m.rsdp, 36, 0, map, &info);
	CHECK(!info.sleep.count && !info.wake.count, "a FADT without them has none");
}

static void test_random_damage(void)
{
	static const u32 keep[] = {0};
	struct machine m;
	bool good = true;

	srand(3);
	for (u32 round = 0; round < 20000; round++) {
		u8 *t;

		make(&m, 2);
		t = mem + (m.madt - BASE);
		for (u32 flips = 1 + (u32)rand() % 3; flips; flips--)
			mem[(u32)rand() % next] = (u8)rand();
		if (rand() % 2) { /* damage that a checksum does not show */
			u32 len = *(u32 *)(void *)(t + 4);

			if (len <= SIZE - (u32)(t - mem))
				fix(t, len, 9);
		}
		acpi_parse(m.rsdp, 36, 0, map, &info);
		good &= info.cpu_count >= 1 && info.cpu_count <= MAX_CPUS;
		acpi_limit_madt(m.madt, map, keep, 1);
	}
	CHECK(good, "random damage is survived");
}

int main(void)
{
	test_roots();
	test_damage();
	test_limit();
	test_nodes();
	test_many_nodes();
	test_many_cpus();
	test_iommus();
	test_s5();
	test_sleep();
	test_random_damage();
	return test_end();
}
