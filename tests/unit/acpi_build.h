/* SPDX-License-Identifier: GPL-2.0-only */
/* Builds ACPI tables for tests. */
#pragma once

#include <string.h>

#include "boot/acpi.h"

/*
 * "Physical memory": tables lie at BASE + offset.
 */
#define BASE 0x7ffe0000ull
#define SIZE 0x8000u

static u8 mem[SIZE];
static u32 next;

static inline void put(u8 *p, u64 v, u32 bytes)
{
	memcpy(p, &v, bytes);
}

static inline void fix(u8 *t, u32 len, u32 checksum_at)
{
	u8 s = 0;

	t[checksum_at] = 0;
	for (u32 i = 0; i < len; i++)
		s += t[i];
	t[checksum_at] = (u8)-s;
}

static inline u64 add_table(const char *sig, const void *body, u32 len)
{
	u8 *t = mem + next;
	u64 at = BASE + next;

	memset(t, 0, 36);
	memcpy(t, sig, 4);
	put(t + 4, 36 + len, 4);
	memcpy(t + 36, body, len);
	fix(t, 36 + len, 9);
	/* XSDT entries are often misaligned; keep that */
	next = ALIGN_UP(next + 36 + len + 3, 4u) + 4;
	return at;
}

struct machine {
	u64 madt, fadt, hpet, xsdt, rsdt;
	u8 rsdp[36];
};

static inline u32 add_cpu(u8 *p, u8 type, u32 id, u32 flags)
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

static inline void make(struct machine *m, u32 revision)
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
