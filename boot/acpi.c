/* SPDX-License-Identifier: GPL-2.0-only */
#include "acpi.h"
#include "../hv/log.h"
#include "../hv/string.h"

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

/* "Generic Address Structure" */
#define GAS_SPACE     0u
#define GAS_ADDRESS   4u
#define GAS_SPACE_MEM 0u
#define GAS_SPACE_IO  1u

/* "Fixed ACPI Description Table" */
#define FADT_PM_TMR_BLK	     76u
#define FADT_FLAGS	     112u
#define FADT_RESET_REG	     116u
#define FADT_RESET_VALUE     128u
#define FADT_X_PM_TMR_BLK    208u
#define FADT_RESET_SUPPORTED BIT(10)

/* "IA-PC High Precision Event Timer Table" */
#define HPET_ADDRESS 40u
#define HPET_SIZE    56u

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
	if (size < 2 || size > len - *at || (p[0] == MADT_LAPIC && size < 8) || (p[0] == MADT_X2APIC && size < 16) ||
	    (p[0] == MADT_OVERRIDE && size < 12)) {
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
		if (!e.flags || !(get32(e.flags) & MADT_ENABLED) || contains(out->apic_id, out->cpu_count, e.apic_id))
			continue;
		if (out->cpu_count == MAX_CPUS)
			dropped++;
		else
			out->apic_id[out->cpu_count++] = e.apic_id;
	}
	if (!ok)
		log_warn("ACPI MADT: broken entry at byte %u, CPUs after it are not used", at);
	if (dropped)
		log_warn("%u of %u CPUs are left out: at most %u are supported", dropped, MAX_CPUS + dropped, MAX_CPUS);
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

/* ---- the others ---- */

static void read_fadt(const u8 *t, u32 len, struct acpi_info *out)
{
	if (len >= FADT_PM_TMR_BLK + 4)
		out->pm_timer_port = (u16)get32(t + FADT_PM_TMR_BLK);
	if (len >= FADT_X_PM_TMR_BLK + 12 && t[FADT_X_PM_TMR_BLK + GAS_SPACE] == GAS_SPACE_IO &&
	    get64(t + FADT_X_PM_TMR_BLK + GAS_ADDRESS))
		out->pm_timer_port = (u16)get64(t + FADT_X_PM_TMR_BLK + GAS_ADDRESS);
	if (len > FADT_RESET_VALUE && get32(t + FADT_FLAGS) & FADT_RESET_SUPPORTED) {
		out->reset_port_or_addr_space = t[FADT_RESET_REG + GAS_SPACE];
		out->reset_addr = get64(t + FADT_RESET_REG + GAS_ADDRESS);
		out->reset_value = t[FADT_RESET_VALUE];
		out->has_reset = out->reset_addr != 0;
	}
}

static void read_table(u64 addr, acpi_map_fn map, struct acpi_info *out)
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
		if (t)
			read_fadt(t, len, out);
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

int acpi_parse(const u8 *rsdp, u32 rsdp_len, u32 boot_apic_id, acpi_map_fn map, struct acpi_info *out)
{
	u32 len, step;

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
			read_table(out->is_xsdt ? get64(p) : get32(p), map, out);
	}
	if (!out->madt)
		log_warn("ACPI: no MADT, only the boot CPU is used");
	return 0;
}
