/* SPDX-License-Identifier: GPL-2.0-only */
/* links: boot/acpi.c */
#include <stdlib.h>
#include <string.h>

#include "../../boot/acpi.h"
#include "test.h"

/* "Physical memory": tables lie at BASE + offset. Each mapping is a fresh copy's address range checked for bounds. */
#define BASE 0x7ffe0000ull
#define SIZE 0x4000u

static u8 mem[SIZE];
static u32 next;
static struct acpi_info info;

static void *map(u64 addr, u64 size)
{
	if (addr < BASE || size > SIZE || addr - BASE > SIZE - size)
		return NULL;
	return mem + (addr - BASE);
}

static void put(u8 *p, u64 v, u32 bytes)
{
	memcpy(p, &v, bytes);
}

static void fix(u8 *t, u32 len, u32 checksum_at)
{
	u8 s = 0;

	t[checksum_at] = 0;
	for (u32 i = 0; i < len; i++)
		s += t[i];
	t[checksum_at] = (u8)-s;
}

static u64 add_table(const char *sig, const void *body, u32 len)
{
	u8 *t = mem + next;
	u64 at = BASE + next;

	memset(t, 0, 36);
	memcpy(t, sig, 4);
	put(t + 4, 36 + len, 4);
	memcpy(t + 36, body, len);
	fix(t, 36 + len, 9);
	next = ALIGN_UP(next + 36 + len + 3, 4u) + 4; /* XSDT entries are often misaligned; keep that */
	return at;
}

struct machine {
	u64 madt, fadt, hpet, xsdt, rsdt;
	u8 rsdp[36];
};

static u32 add_cpu(u8 *p, u8 type, u32 id, u32 flags)
{
	p[0] = type;
	p[1] = type == 9 ? 16 : 8;
	if (type == 9) {
		put(p + 4, id, 4);
		put(p + 8, flags, 4);
	} else {
		p[3] = (u8)id;
		put(p + 4, flags, 4);
	}
	return p[1];
}

static void make(struct machine *m, u32 revision)
{
	u8 madt[400] = {0}, fadt[240] = {0}, hpet[20] = {0}, root[64];
	u64 entries[4];
	u32 n = 8;

	next = 4;
	memset(mem, 0, sizeof(mem));
	put(madt, 0xfee00000, 4);
	n += add_cpu(madt + n, 0, 0, 1);
	n += add_cpu(madt + n, 0, 2, 0); /* not there */
	n += add_cpu(madt + n, 0, 1, 1);
	madt[n] = 1; /* an I/O APIC */
	madt[n + 1] = 12;
	n += 12;
	n += add_cpu(madt + n, 9, 0x1ff, 1);
	n += add_cpu(madt + n, 9, 1, 1); /* listed twice */
	n += add_cpu(madt + n, 0, 7, 2); /* may be plugged in */
	madt[n] = 5;
	madt[n + 1] = 12;
	put(madt + n + 4, 0x1fee00000, 8);
	n += 12;
	m->madt = add_table("APIC", madt, n);

	put(fadt + 76 - 36, 0x608, 4);
	put(fadt + 112 - 36, BIT(10), 4);
	fadt[116 - 36] = 1;
	put(fadt + 120 - 36, 0xcf9, 8);
	fadt[128 - 36] = 0x0f;
	m->fadt = add_table("FACP", fadt, revision ? 240 : 100);
	put(hpet + 8, 0xfed00000, 8);
	m->hpet = add_table("HPET", hpet, sizeof(hpet));

	entries[0] = m->fadt;
	entries[1] = m->madt;
	entries[2] = 0xdeadbeef000; /* out of reach */
	entries[3] = m->hpet;
	m->xsdt = add_table("XSDT", entries, sizeof(entries));
	for (u32 i = 0; i < 4; i++)
		put(root + i * 4, entries[i], 4);
	m->rsdt = add_table("RSDT", root, 16);

	memset(m->rsdp, 0, sizeof(m->rsdp));
	memcpy(m->rsdp, "RSD PTR ", 8);
	m->rsdp[15] = (u8)revision;
	put(m->rsdp + 16, m->rsdt, 4);
	fix(m->rsdp, 20, 8);
	put(m->rsdp + 20, 36, 4);
	put(m->rsdp + 24, m->xsdt, 8);
	fix(m->rsdp, 36, 32);
}

static bool all_found(void)
{
	return info.cpu_count == 3 && info.madt && info.lapic_addr == 0x1fee00000 && info.pm_timer_port == 0x608 &&
	       info.has_reset && info.reset_port_or_addr_space == 1 && info.reset_addr == 0xcf9 &&
	       info.reset_value == 0xf && info.hpet_addr == 0xfed00000;
}

static void test_roots(void)
{
	struct machine m;

	make(&m, 2);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && info.is_xsdt && info.root == m.xsdt && all_found(),
	      "tables are found from the XSDT");
	CHECK(info.apic_id[0] == 0 && info.apic_id[1] == 1 && info.apic_id[2] == 0x1ff,
	      "enabled CPUs of both kinds, each once");
	acpi_parse(m.rsdp, 36, 1, map, &info);
	CHECK(info.cpu_count == 3 && info.apic_id[0] == 1 && info.apic_id[1] == 0, "the boot CPU comes first");
	CHECK(acpi_parse(m.rsdp, 20, 0, map, &info) == 0 && !info.is_xsdt && all_found(),
	      "a short RSDP leads to the RSDT");
	mem[m.xsdt - BASE + 40] ^= 1;
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && !info.is_xsdt && info.root == m.rsdt && all_found(),
	      "a damaged XSDT too");
	mem[m.rsdt - BASE + 40] ^= 1;
	CHECK(acpi_parse(m.rsdp, 36, 5, map, &info) == -EINVAL && info.cpu_count == 1 && info.apic_id[0] == 5 &&
		  !info.root,
	      "without a root table there is the boot CPU");
	make(&m, 0);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && !info.is_xsdt, "revision 0 has no XSDT");
	CHECK(info.pm_timer_port == 0x608 && info.has_reset, "a FADT may be short");
	make(&m, 2);
	m.rsdp[30] ^= 1;
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && !info.is_xsdt,
	      "an RSDP with a bad extended checksum leads to the RSDT");
	m.rsdp[0] = 'X';
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == -EINVAL, "no signature, no ACPI");
	CHECK(acpi_parse(m.rsdp, 0, 0, map, &info) == -EINVAL && info.cpu_count == 1, "no RSDP at all");
}

static void test_damage(void)
{
	struct machine m;
	u8 *t;

	make(&m, 2);
	mem[m.madt - BASE + 50] ^= 1;
	CHECK(acpi_parse(m.rsdp, 36, 3, map, &info) == 0 && !info.madt && info.cpu_count == 1 && info.apic_id[0] == 3 &&
		  info.hpet_addr,
	      "a MADT with a bad checksum is skipped, the others are read");
	make(&m, 2);
	t = mem + (m.madt - BASE);
	t[44 + 8 + 1] = 0;
	fix(t, *(u32 *)(void *)(t + 4), 9);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && info.cpu_count == 1, "an entry of length 0 ends the MADT");
	make(&m, 2);
	t = mem + (m.madt - BASE);
	t[44 + 8 + 1] = 7;
	fix(t, *(u32 *)(void *)(t + 4), 9);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && info.cpu_count == 1, "a CPU entry too short ends the MADT");
	make(&m, 2);
	put(mem + (m.madt - BASE) + 4, 0xfffffff0, 4);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && !info.madt, "a table with a wild length is skipped");
	make(&m, 2);
	put(mem + (m.madt - BASE) + 4, 20, 4);
	CHECK(acpi_parse(m.rsdp, 36, 0, map, &info) == 0 && !info.madt, "a table shorter than its header is skipped");
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
}

static void test_many_cpus(void)
{
	u8 madt[8 + 300 * 16] = {0};
	u64 entry;
	u32 n = 8;
	struct machine m;

	make(&m, 2);
	next = 0x1000;
	for (u32 i = 0; i < 300; i++)
		n += add_cpu(madt + n, 9, i, 1);
	entry = add_table("APIC", madt, n);
	put(m.rsdp + 24, add_table("XSDT", &entry, 8), 8);
	fix(m.rsdp, 36, 32);
	CHECK(acpi_parse(m.rsdp, 36, 299, map, &info) == 0 && info.cpu_count == MAX_CPUS && info.apic_id[0] == 299 &&
		  info.apic_id[1] == 0,
	      "more CPUs than supported: the first ones and the boot CPU are used");
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
	test_many_cpus();
	test_random_damage();
	return test_end();
}
