/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/acpi.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* ACPI specification "Root System Description Pointer", "System Description Table Header" */
#define RSDP_V1_SIZE  20u
#define RSDP_V2_SIZE  36u
#define RSDP_REVISION 15u
#define RSDP_RSDT     16u
#define RSDP_XSDT     24u
#define SDT_LENGTH    4u
#define SDT_CHECKSUM  9u
#define SDT_SIZE      36u
#define SDT_MAX	      BIT(20) /* larger than any sane table */
#define AML_MAX	      BIT(24) /* code of large servers is megabytes */

/* "Generic Address Structure" */
#define GAS_SPACE     0u
#define GAS_ADDRESS   4u
#define GAS_SIZE      12u
#define GAS_SPACE_MEM 0u
#define GAS_SPACE_IO  1u

/* "Fixed ACPI Description Table" */
#define FADT_DSDT	     40u
#define FADT_PM1A_EVT_BLK    56u
#define FADT_PM1A_CNT_BLK    64u
#define FADT_PM1B_CNT_BLK    68u
#define FADT_PM_TMR_BLK	     76u
#define FADT_FLAGS	     112u
#define FADT_RESET_REG	     116u
#define FADT_RESET_VALUE     128u
#define FADT_X_DSDT	     140u
#define FADT_X_PM1A_EVT_BLK  148u
#define FADT_X_PM1A_CNT_BLK  172u
#define FADT_X_PM1B_CNT_BLK  184u
#define FADT_X_PM_TMR_BLK    208u
#define FADT_SLEEP_CONTROL   244u
#define FADT_SLEEP_STATUS    256u
#define FADT_RESET_SUPPORTED BIT(10)

/* "IA-PC High Precision Event Timer Table" */
#define HPET_ADDRESS 40u
#define HPET_SIZE    56u

/* "ACPI Machine Language Specification": what a \_Sx package is made of */
#define AML_ZERO    0x00u
#define AML_ONE	    0x01u
#define AML_NAME    0x08u
#define AML_BYTE    0x0au
#define AML_WORD    0x0bu
#define AML_DWORD   0x0cu
#define AML_PACKAGE 0x12u
#define AML_ROOT    '\\'

/* "Multiple APIC Description Table" */
#define MADT_ENTRIES	    44u /* the local APIC's address lies before, at the end of the header */
#define MADT_LAPIC	    0u
#define MADT_OVERRIDE	    5u
#define MADT_X2APIC	    9u
#define MADT_ENABLED	    BIT(0)
#define MADT_ONLINE_CAPABLE BIT(1)

static u32 get32(const u8 *p)
{
	u32 v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static u64 get64(const u8 *p)
{
	u64 v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static u8 sum(const u8 *p, u32 len)
{
	u8 s = 0;

	while (len--)
		s += *p++;
	return s;
}

/* Map a whole table and check it. NULL, with a warning, if it is not one. sig NULL: any. */
static u8 *map_table(u64 addr, const char *sig, acpi_map_fn map, u32 *len)
{
	char name[5] = "?";
	u8 *t = addr ? map(addr, SDT_SIZE) : NULL;

	if (!t)
		goto bad;
	memcpy(name, t, 4);
	for (u32 i = 0; i < 4; i++)
		if (name[i] < ' ' || name[i] > '~')
			name[i] = '?';
	*len = get32(t + SDT_LENGTH);
	if (sig && memcmp(t, sig, 4))
		goto bad;
	if (*len < SDT_SIZE || *len > SDT_MAX)
		goto bad;
	t = map(addr, *len);
	if (t && !sum(t, *len))
		return t;
bad:
	log_warn("ACPI table %s at %lx is damaged or out of reach, ignored", name, addr);
	return NULL;
}

/* ---- MADT ---- */

struct madt_entry {
	u8 *flags; /* NULL: not a CPU */
	u32 apic_id;
};

/* Step to the entry at *at; false at the end. Sets *ok to false where the list is broken. */
static bool madt_next(u8 *t, u32 len, u32 *at, struct madt_entry *e, u8 **raw, bool *ok)
{
	u8 *p = t + *at;
	u32 size;

	if (*at == len)
		return false;
	size = len - *at < 2 ? 0 : p[1];
	if (size < 2 || size > len - *at || (p[0] == MADT_LAPIC && size < 8) ||
	    (p[0] == MADT_X2APIC && size < 16) || (p[0] == MADT_OVERRIDE && size < 12)) {
		*ok = false;
		return false;
	}
	e->flags = NULL;
	if (p[0] == MADT_LAPIC)
		*e = (struct madt_entry){p + 4, p[3]};
	else if (p[0] == MADT_X2APIC)
		*e = (struct madt_entry){p + 8, get32(p + 4)};
	*raw = p;
	*at += size;
	return true;
}

static bool contains(const u32 *list, u32 n, u32 id)
{
	while (n--)
		if (list[n] == id)
			return true;
	return false;
}

static void read_madt(u8 *t, u32 len, struct acpi_info *out)
{
	u32 at = MADT_ENTRIES, dropped = 0;
	struct madt_entry e;
	bool ok = len >= at;
	u8 *raw;

	if (ok)
		out->lapic_addr = get32(t + SDT_SIZE);
	while (ok && madt_next(t, len, &at, &e, &raw, &ok)) {
		if (raw[0] == MADT_OVERRIDE)
			out->lapic_addr = get64(raw + 4);
		if (!e.flags || !(get32(e.flags) & MADT_ENABLED) ||
		    contains(out->apic_id, out->cpu_count, e.apic_id))
			continue;
		if (out->cpu_count == MAX_CPUS)
			dropped++;
		else
			out->apic_id[out->cpu_count++] = e.apic_id;
	}
	if (!ok)
		log_warn("ACPI MADT: broken entry at byte %u, CPUs after it are not used", at);
	if (dropped)
		log_warn("%u of %u CPUs are left out: at most %u are supported", dropped,
			 MAX_CPUS + dropped, MAX_CPUS);
}

int acpi_limit_madt(u64 madt, acpi_map_fn map, const u32 *keep, u32 keep_count)
{
	u32 len, at = MADT_ENTRIES;
	u8 *t = map_table(madt, "APIC", map, &len), *raw;
	struct madt_entry e;
	bool ok = true;

	if (!t || len < at)
		return -EINVAL;
	while (madt_next(t, len, &at, &e, &raw, &ok))
		;
	if (!ok)
		return -EINVAL;
	for (at = MADT_ENTRIES; madt_next(t, len, &at, &e, &raw, &ok);)
		if (e.flags && !contains(keep, keep_count, e.apic_id))
			e.flags[0] = (u8)(e.flags[0] & ~(MADT_ENABLED | MADT_ONLINE_CAPABLE));
	t[SDT_CHECKSUM] -= sum(t, len);
	return 0;
}

/* ---- sleep ---- */

/* An integer constant at *at; false if there is none before end. */
static bool aml_integer(const u8 *aml, u32 end, u32 *at, u32 *val)
{
	u32 bytes, op;

	if (*at >= end)
		return false;
	op = aml[(*at)++];
	*val = op;
	if (op == AML_ZERO || op == AML_ONE)
		return true;
	if (op != AML_BYTE && op != AML_WORD && op != AML_DWORD)
		return false;
	bytes = 1u << (op - AML_BYTE);
	if (end - *at < bytes)
		return false;
	*val = 0;
	memcpy(val, aml + *at, bytes);
	*at += bytes;
	return true;
}

/*
 * A package at this place: step to its number of elements and set its end. "Package Length
 * Encoding"
 */
static bool aml_package(const u8 *aml, u32 len, u32 *at, u32 *end)
{
	u32 start, more, size;

	if (len - *at < 2 || aml[*at] != AML_PACKAGE)
		return false;
	start = ++*at;
	more = aml[start] >> 6;
	size = more ? aml[start] & 0x0f : aml[start] & 0x3f;
	if (len - start < 1 + more)
		return false;
	for (u32 i = 0; i < more; i++)
		size |= (u32)aml[start + 1 + i] << (4 + 8 * i);
	if (size > len - start || size < 2 + more)
		return false;
	*at = start + 1 + more;
	*end = start + size;
	return true;
}

void acpi_scan_s5(const u8 *aml, u32 len, u8 *a_types, u8 *b_types)
{
	for (u32 i = 2; i + 4 <= len; i++) {
		u32 at = i + 4, end, count, a, b;

		if (memcmp(aml + i, "_S5_", 4))
			continue;
		if (aml[i - 1] != AML_NAME && (aml[i - 1] != AML_ROOT || aml[i - 2] != AML_NAME))
			continue;
		if (!aml_package(aml, len, &at, &end))
			continue;
		count = aml[at++];
		if (!count || !aml_integer(aml, end, &at, &a))
			continue;
		b = a >> 8; /* one number holds both */
		if (count > 1) {
			if (!aml_integer(aml, end, &at, &b))
				continue;
		} else {
			a &= 0xff;
		}
		if (a <= ACPI_SLP_TYP_MASK)
			*a_types |= (u8)BIT(a);
		if (b <= ACPI_SLP_TYP_MASK)
			*b_types |= (u8)BIT(b);
	}
}

/* Definition blocks are taken with a wrong checksum too: Linux does so. */
static void read_aml(u64 addr, acpi_map_fn map, u8 *a_types, u8 *b_types)
{
	const u8 *t = addr ? map(addr, SDT_SIZE) : NULL;
	u32 len = t ? get32(t + SDT_LENGTH) : 0;

	if (!t || (memcmp(t, "DSDT", 4) && memcmp(t, "SSDT", 4)) || len < SDT_SIZE || len > AML_MAX)
		return;
	t = map(addr, len);
	if (t)
		acpi_scan_s5(t + SDT_SIZE, len - SDT_SIZE, a_types, b_types);
}

static void add_sleep_port(struct acpi_info *out, u16 port, u8 off_types)
{
	for (u32 i = 0; i < out->sleep_count; i++)
		if (out->sleep[i].port == port)
			return;
	out->sleep[out->sleep_count++] = (struct acpi_sleep_port){port, off_types};
}

static void add_wake_port(struct acpi_info *out, u16 port)
{
	for (u32 i = 0; i < out->wake_count; i++)
		if (out->wake[i] == port)
			return;
	out->wake[out->wake_count++] = port;
}

/* A register's port by its old field or the generic address, 0: there is none. */
static u16 old_port(const u8 *t, u32 len, u32 at)
{
	return len >= at + 4 ? (u16)get32(t + at) : 0;
}

static u16 generic_port(const u8 *t, u32 len, u32 at)
{
	if (len < at + GAS_SIZE || t[at + GAS_SPACE] != GAS_SPACE_IO)
		return 0;
	return (u16)get64(t + at + GAS_ADDRESS);
}

/* Where the tables tell of two addresses for one register, both are taken. */
static void read_sleep(u64 fadt, acpi_map_fn map, struct acpi_info *out)
{
	static const struct {
		u32 old, generic;
		bool is_b;
	} cnt[] = {
	    {FADT_PM1A_CNT_BLK, FADT_X_PM1A_CNT_BLK, false},
	    {FADT_PM1B_CNT_BLK, FADT_X_PM1B_CNT_BLK, true},
	};
	u8 types[2] = {0, 0};
	u32 len, step = out->is_xsdt ? 8 : 4, root_len;
	const u8 *t = map_table(fadt, "FACP", map, &len);
	u64 dsdt, x_dsdt;

	if (!t)
		return;
	dsdt = len >= FADT_DSDT + 4 ? get32(t + FADT_DSDT) : 0;
	x_dsdt = len >= FADT_X_DSDT + 8 ? get64(t + FADT_X_DSDT) : 0;
	read_aml(dsdt, map, &types[0], &types[1]);
	if (x_dsdt != dsdt)
		read_aml(x_dsdt, map, &types[0], &types[1]);
	if (!map_table(out->root, NULL, map, &root_len))
		return;
	for (u32 at = SDT_SIZE; root_len - at >= step; at += step) {
		const u8 *p = map(out->root + at, step);

		if (p)
			read_aml(step == 8 ? get64(p) : get32(p), map, &types[0], &types[1]);
	}
	t = map_table(fadt, "FACP", map, &len);
	for (u32 i = 0; t && i < ARRAY_SIZE(cnt); i++) {
		const u16 ports[] = {old_port(t, len, cnt[i].old),
				     generic_port(t, len, cnt[i].generic)};

		for (u32 k = 0; k < ARRAY_SIZE(ports); k++)
			if (ports[k])
				add_sleep_port(out, ports[k] + 1, types[cnt[i].is_b]);
	}
	if (!t)
		return;
	if (generic_port(t, len, FADT_SLEEP_CONTROL))
		add_sleep_port(out, generic_port(t, len, FADT_SLEEP_CONTROL), types[0]);
	if (old_port(t, len, FADT_PM1A_EVT_BLK))
		add_wake_port(out, old_port(t, len, FADT_PM1A_EVT_BLK) + 1);
	if (generic_port(t, len, FADT_X_PM1A_EVT_BLK))
		add_wake_port(out, generic_port(t, len, FADT_X_PM1A_EVT_BLK) + 1);
	if (generic_port(t, len, FADT_SLEEP_STATUS))
		add_wake_port(out, generic_port(t, len, FADT_SLEEP_STATUS));
	if (out->sleep_count && !types[0])
		log_warn("ACPI: no package _S5 found: dom0 cannot switch the machine off");
}

/* ---- the others ---- */

static void read_fadt(const u8 *t, u32 len, struct acpi_info *out)
{
	if (len >= FADT_PM_TMR_BLK + 4)
		out->pm_timer_port = (u16)get32(t + FADT_PM_TMR_BLK);
	if (len >= FADT_X_PM_TMR_BLK + GAS_SIZE &&
	    t[FADT_X_PM_TMR_BLK + GAS_SPACE] == GAS_SPACE_IO &&
	    get64(t + FADT_X_PM_TMR_BLK + GAS_ADDRESS))
		out->pm_timer_port = (u16)get64(t + FADT_X_PM_TMR_BLK + GAS_ADDRESS);
	if (len > FADT_RESET_VALUE && get32(t + FADT_FLAGS) & FADT_RESET_SUPPORTED) {
		out->reset_port_or_addr_space = t[FADT_RESET_REG + GAS_SPACE];
		out->reset_addr = get64(t + FADT_RESET_REG + GAS_ADDRESS);
		out->reset_value = t[FADT_RESET_VALUE];
		out->has_reset = out->reset_addr != 0;
	}
}

static void read_table(u64 addr, acpi_map_fn map, struct acpi_info *out, u64 *fadt)
{
	u8 *t = addr ? map(addr, SDT_SIZE) : NULL;
	char sig[4];
	u32 len;

	if (!t)
		return;
	memcpy(sig, t, 4);
	if (!memcmp(sig, "APIC", 4) && !out->madt) {
		t = map_table(addr, NULL, map, &len);
		if (t) {
			out->madt = addr;
			read_madt(t, len, out);
		}
	} else if (!memcmp(sig, "FACP", 4)) {
		t = map_table(addr, NULL, map, &len);
		if (t) {
			read_fadt(t, len, out);
			*fadt = addr;
		}
	} else if (!memcmp(sig, "HPET", 4) && !out->hpet_addr) {
		t = map_table(addr, NULL, map, &len);
		if (t && len >= HPET_SIZE && t[HPET_ADDRESS + GAS_SPACE] == GAS_SPACE_MEM)
			out->hpet_addr = get64(t + HPET_ADDRESS + GAS_ADDRESS);
	}
}

/* The root table's address in the RSDP, checked; the XSDT if it is usable, else the RSDT. */
static u32 find_root(const u8 *rsdp, u32 rsdp_len, acpi_map_fn map, struct acpi_info *out)
{
	u32 len;

	if (rsdp_len < RSDP_V1_SIZE || memcmp(rsdp, "RSD PTR ", 8) || sum(rsdp, RSDP_V1_SIZE)) {
		log_warn("ACPI: no valid RSDP");
		return 0;
	}
	if (rsdp_len >= RSDP_V2_SIZE && rsdp[RSDP_REVISION] >= 2 && !sum(rsdp, RSDP_V2_SIZE)) {
		out->root = get64(rsdp + RSDP_XSDT);
		out->is_xsdt = true;
		if (out->root && map_table(out->root, "XSDT", map, &len))
			return len;
	}
	out->root = get32(rsdp + RSDP_RSDT);
	out->is_xsdt = false;
	if (map_table(out->root, "RSDT", map, &len))
		return len;
	out->root = 0;
	return 0;
}

int acpi_parse(const u8 *rsdp, u32 rsdp_len, u32 boot_apic_id, acpi_map_fn map,
	       struct acpi_info *out)
{
	u32 len, step;
	u64 fadt = 0;

	memset(out, 0, sizeof(*out));
	/* The boot CPU runs, so it exists whatever the tables say. */
	out->apic_id[0] = boot_apic_id;
	out->cpu_count = 1;
	len = find_root(rsdp, rsdp_len, map, out);
	if (!len)
		return -EINVAL;
	step = out->is_xsdt ? 8 : 4;
	for (u32 at = SDT_SIZE; len - at >= step; at += step) {
		const u8 *p = map(out->root + at, step);

		if (p)
			read_table(out->is_xsdt ? get64(p) : get32(p), map, out, &fadt);
	}
	if (fadt)
		read_sleep(fadt, map, out);
	if (!out->madt)
		log_warn("ACPI: no MADT, only the boot CPU is used");
	return 0;
}
