/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/acpi.h"
#include "hv/lib/asm.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

/* ACPI specification "Root System Description Pointer", "System Description Table Header" */
#define RSDP_REVISION 15u
#define RSDP_RSDT     16u
#define RSDP_XSDT     24u
#define SDT_LENGTH    4u
#define SDT_CHECKSUM  9u
#define SDT_SIZE      36u
#define SDT_MAX	      BIT(20) /* larger than any sane table */
#define AML_MAX	      BIT(24) /* code of large servers is megabytes */

/* "Generic Address Structure" */
#define GAS_SPACE   0u
#define GAS_ADDRESS 4u

/* "Fixed ACPI Description Table" */
#define FADT_FACS	     36u
#define FADT_DSDT	     40u
#define FADT_PM1A_EVT_BLK    56u
#define FADT_PM1A_CNT_BLK    64u
#define FADT_PM1B_CNT_BLK    68u
#define FADT_PM_TMR_BLK	     76u
#define FADT_FLAGS	     112u
#define FADT_RESET_REG	     116u
#define FADT_RESET_VALUE     128u
#define FADT_X_FACS	     132u
#define FADT_X_DSDT	     140u /* registers from here on are generic addresses */
#define FADT_X_PM1A_EVT_BLK  148u
#define FADT_X_PM1A_CNT_BLK  172u
#define FADT_X_PM1B_CNT_BLK  184u
#define FADT_X_PM_TMR_BLK    208u
#define FADT_SLEEP_CONTROL   244u
#define FADT_SLEEP_STATUS    256u
#define FADT_RESET_SUPPORTED BIT(10)

/* "IA-PC High Precision Event Timer Table" */
#define HPET_ADDRESS 40u

/* "ACPI Machine Language Specification": what a \_Sx package is made of */
#define AML_ZERO    0x00u
#define AML_ONE	    0x01u
#define AML_NAME    0x08u
#define AML_BYTE    0x0au
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
#define NOBODYS_ID	    0xffffffffu

/* "System Resource Affinity Table" */
#define SRAT_ENTRIES 48u
#define SRAT_LAPIC   0u
#define SRAT_X2APIC  2u
#define SRAT_ENABLED BIT(0)

/* The tables being walked, and what is kept of them until all have been seen. */
struct acpi_scan {
	acpi_map_fn map;
	struct acpi_info *out;
	u64 fadt;
	u8 off_types[2], s3_types[2]; /* for PM1a and PM1b; see acpi_scan_types() */
};

static u8 sum_of_bytes(const u8 *p, u32 len)
{
	u8 sum = 0;

	while (len--)
		sum += *p++;
	return sum;
}

static u32 table_length(const u8 *t)
{
	return get_le(t + SDT_LENGTH, 4);
}

/* A field of a table that may end before it, as those of old firmware do; it is 0 then. */
static u64 table_field(const u8 *t, u32 at, u32 bytes)
{
	return table_length(t) >= at + bytes ? get_le(t + at, bytes) : 0;
}

/*
 * Map a whole table and check it. NULL, with a warning, if it is not one of this kind. What has a
 * wrong checksum only dom0's Linux uses, so it is used here, too.
 */
static u8 *map_table(u64 addr, const char *sig, acpi_map_fn map)
{
	char name[5] = "?";
	u8 *t = addr ? map(addr, SDT_SIZE) : NULL;
	u32 len;

	if (!t)
		goto bad;
	memcpy(name, t, 4);
	for (u32 i = 0; i < 4; i++)
		if (name[i] < ' ' || name[i] > '~')
			name[i] = '?';
	len = table_length(t);
	if (memcmp(t, sig, 4) || len < SDT_SIZE || len > SDT_MAX)
		goto bad;
	t = map(addr, len);
	if (t && sum_of_bytes(t, len))
		log_warn("ACPI table %s at %lx has a wrong checksum", name, addr);
	if (t)
		return t;
bad:
	log_warn("ACPI table %s at %lx is damaged or out of reach, ignored", name, addr);
	return NULL;
}

/* ---- MADT ---- */

/* Where the list of entries is broken, or ends: then it is the table's length. */
static u32 madt_end(const u8 *t)
{
	static const u8 least[] = {[MADT_LAPIC] = 8, [MADT_OVERRIDE] = 12, [MADT_X2APIC] = 16};
	u32 len = table_length(t), at = MADT_ENTRIES;

	while (at + 2 <= len) {
		u8 type = t[at], size = t[at + 1];

		if (size < 2 || size > len - at || (type < ARRAY_SIZE(least) && size < least[type]))
			break;
		at += size;
	}
	return at;
}

/*
 * The flags of an entry that describes a CPU, and its APIC id: nobody's if it is a broadcast, which
 * firmwares write for CPUs that are not there. NULL: it describes something else.
 */
static u8 *madt_cpu(u8 *entry, u32 *apic_id)
{
	if (*entry == MADT_LAPIC) {
		*apic_id = entry[3] == 0xff ? NOBODYS_ID : entry[3];
		return entry + 4;
	}
	if (*entry == MADT_X2APIC) {
		*apic_id = get_le(entry + 4, 4);
		return entry + 8;
	}
	return NULL;
}

static bool has_id(const u32 *list, u32 n, u32 id)
{
	while (n--)
		if (list[n] == id)
			return true;
	return false;
}

static void read_madt(struct acpi_scan *s, u64 addr, u8 *t)
{
	struct acpi_info *out = s->out;
	u32 end = madt_end(t), id, dropped = 0;

	if (out->madt)
		return;
	out->madt = addr;
	out->lapic_addr = table_field(t, SDT_SIZE, 4);
	for (u8 *entry = t + MADT_ENTRIES; entry < t + end; entry += entry[1]) {
		const u8 *flags = madt_cpu(entry, &id);

		if (*entry == MADT_OVERRIDE)
			out->lapic_addr = get_le(entry + 4, 8);
		if (!flags || !(*flags & MADT_ENABLED) || id == NOBODYS_ID ||
		    has_id(out->apic_id, out->cpu_count, id))
			continue;
		if (out->cpu_count == MAX_CPUS)
			dropped++;
		else
			out->apic_id[out->cpu_count++] = id;
	}
	if (end != table_length(t))
		log_warn("ACPI MADT: broken entry at byte %u, CPUs after it are not used", end);
	if (dropped)
		log_warn("%u of %u CPUs are left out: at most %u are supported", dropped,
			 MAX_CPUS + dropped, MAX_CPUS);
}

/* ---- SRAT ---- */

/* False: the entry describes something else, or a CPU that is not there. */
static bool srat_cpu(const u8 *entry, struct acpi_node *n)
{
	if (*entry == SRAT_LAPIC && entry[1] >= 16 && entry[4] & SRAT_ENABLED) {
		*n = (struct acpi_node){entry[3], entry[2] | (u32)get_le(entry + 9, 3) << 8};
		return true;
	}
	if (*entry == SRAT_X2APIC && entry[1] >= 24 && entry[12] & SRAT_ENABLED) {
		*n = (struct acpi_node){get_le(entry + 8, 4), get_le(entry + 4, 4)};
		return true;
	}
	return false;
}

/* What is broken ends it: all is as near then as nobody tells otherwise. */
static void read_srat(struct acpi_scan *s, u64 addr, u8 *t)
{
	struct acpi_info *out = s->out;
	u32 len = table_length(t);

	for (u32 at = SRAT_ENTRIES; at + 2 <= len; at += t[at + 1]) {
		if (t[at + 1] < 2 || t[at + 1] > len - at || out->node_count == MAX_CPUS)
			break;
		out->node_count += srat_cpu(t + at, &out->node[out->node_count]);
	}
}

u32 acpi_node_of(const struct acpi_info *info, u32 apic_id)
{
	BUG_ON(info->node_count > MAX_CPUS);
	for (u32 i = 0; i < info->node_count; i++)
		if (info->node[i].apic_id == apic_id)
			return info->node[i].node;
	return 0;
}

int acpi_limit_madt(u64 madt, acpi_map_fn map, const u32 *keep, u32 keep_count)
{
	u8 *t = map_table(madt, "APIC", map);
	u32 len, id;

	BUG_ON(!keep_count); /* at least the boot CPU is dom0's */
	if (!t)
		return -EINVAL;
	len = table_length(t);
	if (madt_end(t) != len)
		return -EINVAL;
	for (u8 *entry = t + MADT_ENTRIES; entry < t + len; entry += entry[1]) {
		u8 *flags = madt_cpu(entry, &id);

		if (!flags || has_id(keep, keep_count, id))
			continue;
		*flags &= ~(MADT_ENABLED | MADT_ONLINE_CAPABLE);
		/* Nobody's id: else Linux would keep a place for a CPU that may come later. */
		if (*entry == MADT_LAPIC)
			entry[3] = 0xff;
		else
			memset(entry + 4, 0xff, 4);
	}
	t[SDT_CHECKSUM] -= sum_of_bytes(t, len);
	BUG_ON(sum_of_bytes(t, len));
	return 0;
}

bool acpi_hide(u64 table, acpi_map_fn map)
{
	u8 *t = map(table, SDT_SIZE);

	BUG_ON(!t);
	t[SDT_CHECKSUM] += *t - 'x';
	*t = 'x';
	wbinvd(); /* memory is to answer, not a cache */
	t = map(table, SDT_SIZE);
	return READ_ONCE(*t) == 'x';
}

/* ---- sleep ---- */

/* Code that is still to be read. */
struct aml {
	const u8 *at, *end;
};

/* Take an integer constant; false if there is none. */
static bool aml_integer(struct aml *a, u32 *val)
{
	u32 bytes;

	if (a->at == a->end)
		return false;
	*val = *a->at++;
	if (*val == AML_ZERO || *val == AML_ONE)
		return true;
	if (*val < AML_BYTE || *val > AML_DWORD)
		return false;
	bytes = 1u << (*val - AML_BYTE);
	if (a->end - a->at < bytes)
		return false;
	*val = get_le(a->at, bytes);
	a->at += bytes;
	return true;
}

/* Enter a package: what is left are its number of elements and these. "Package Length Encoding" */
static bool aml_package(struct aml *a)
{
	const u8 *start = a->at + 1;
	u32 more, size;

	if (a->end - a->at < 2 || *a->at != AML_PACKAGE)
		return false;
	/* Two bits say how many bytes follow; with any, this one has but the lowest four bits. */
	more = *start >> 6;
	size = *start & 0x3f;
	if (a->end - start < 1 + more)
		return false;
	if (more)
		size = (*start & 0x0f) | get_le(start + 1, more) << 4;
	if (size > a->end - start || size < 2 + more)
		return false;
	a->at = start + 1 + more;
	a->end = start + size;
	return true;
}

void acpi_scan_types(const u8 *aml, u32 len, char digit, u8 types[2])
{
	const u8 name[4] = {'_', 'S', digit, '_'};

	for (u32 i = 2; i + 4 <= len; i++) {
		struct aml a = {aml + i + 4, aml + len};
		u32 count, val[2];

		if (memcmp(aml + i, name, 4))
			continue;
		if (aml[i - 1] != AML_NAME && (aml[i - 1] != AML_ROOT || aml[i - 2] != AML_NAME))
			continue;
		if (!aml_package(&a))
			continue;
		count = *a.at++;
		if (!count || !aml_integer(&a, &val[0]))
			continue;
		if (count == 1) { /* one number holds both */
			val[1] = val[0] >> 8;
			val[0] &= 0xff;
		} else if (!aml_integer(&a, &val[1])) {
			continue;
		}
		for (u32 k = 0; k < 2; k++)
			if (val[k] <= ACPI_SLP_TYP_MASK)
				types[k] |= BIT(val[k]);
	}
}

/* Definition blocks are taken with a wrong checksum too: Linux does so. Others are passed over. */
static void read_aml(struct acpi_scan *s, u64 addr)
{
	const u8 *t = addr ? s->map(addr, SDT_SIZE) : NULL;
	u32 len = t ? table_length(t) : 0;

	if (len < SDT_SIZE || len > AML_MAX || (memcmp(t, "DSDT", 4) && memcmp(t, "SSDT", 4)))
		return;
	t = s->map(addr, len);
	if (!t)
		return;
	acpi_scan_types(t + SDT_SIZE, len - SDT_SIZE, '5', s->off_types);
	acpi_scan_types(t + SDT_SIZE, len - SDT_SIZE, '3', s->s3_types);
}

static void add_port(struct acpi_ports *list, struct acpi_port p)
{
	for (u32 i = 0; i < list->count; i++)
		if (list->at[i].port == p.port)
			return;
	BUG_ON(list->count == ARRAY_SIZE(list->at));
	list->at[list->count++] = p;
}

/* The port that a register of the FADT is at, 0: there is no such register, or not at a port. */
static u16 fadt_port(const u8 *t, u32 at)
{
	if (at < FADT_X_DSDT)
		return table_field(t, at, 4);
	if (table_field(t, at + GAS_SPACE, 1) != ACPI_SPACE_IO)
		return 0;
	return table_field(t, at + GAS_ADDRESS, 8);
}

/* It has no checksum: firmware and system write there. */
static void check_facs(struct acpi_scan *s)
{
	u64 at = s->out->facs;
	const u8 *t = at && IS_ALIGNED(at, ACPI_FACS_SIZE) ? s->map(at, ACPI_FACS_SIZE) : NULL;

	if (t && !memcmp(t, "FACS", 4) && table_length(t) >= ACPI_FACS_SIZE)
		return;
	if (at)
		log_warn("ACPI table FACS at %lx is damaged or out of reach, ignored", at);
	s->out->facs = 0;
}

/*
 * The registers for sleep, when all code has been looked through for their types. Where the tables
 * tell of two addresses for one register, both are taken.
 */
static void read_sleep(struct acpi_scan *s)
{
	enum { SLEEP_A, SLEEP_B, REDUCED, WAKE };
	static const struct {
		u16 at;
		u8 byte, what; /* the register's byte that matters */
	} regs[] = {
	    {FADT_PM1A_CNT_BLK, 1, SLEEP_A},  {FADT_X_PM1A_CNT_BLK, 1, SLEEP_A},
	    {FADT_PM1B_CNT_BLK, 1, SLEEP_B},  {FADT_X_PM1B_CNT_BLK, 1, SLEEP_B},
	    {FADT_SLEEP_CONTROL, 0, REDUCED}, {FADT_PM1A_EVT_BLK, 1, WAKE},
	    {FADT_X_PM1A_EVT_BLK, 1, WAKE},   {FADT_SLEEP_STATUS, 0, WAKE},
	};
	const u8 *t = map_table(s->fadt, "FACP", s->map);

	for (u32 i = 0; t && i < ARRAY_SIZE(regs); i++) {
		u32 what = regs[i].what;
		struct acpi_port p = {.port = fadt_port(t, regs[i].at)};

		if (!p.port || p.port > 0xffff - regs[i].byte)
			continue;
		p.port += regs[i].byte;
		if (what == WAKE) {
			add_port(&s->out->wake, p);
			continue;
		}
		p.is_b = what == SLEEP_B;
		p.off_types = s->off_types[p.is_b];
		if (what != REDUCED) /* no machine with it has S3 */
			p.s3_types = s->s3_types[p.is_b];
		add_port(&s->out->sleep, p);
	}
	if (s->out->sleep.count && !s->off_types[0])
		log_warn("ACPI: no package _S5 found: dom0 cannot switch the machine off");
}

/* ---- the others ---- */

static void read_fadt(struct acpi_scan *s, u64 addr, u8 *t)
{
	struct acpi_info *out = s->out;
	u64 dsdt = table_field(t, FADT_DSDT, 4), x_dsdt = table_field(t, FADT_X_DSDT, 8);

	s->fadt = addr;
	/* In this order, as Linux, which writes to one of them, if there are two. */
	out->facs = table_field(t, FADT_FACS, 4) ?: table_field(t, FADT_X_FACS, 8);
	out->pm_timer_port = fadt_port(t, FADT_X_PM_TMR_BLK);
	if (!out->pm_timer_port)
		out->pm_timer_port = fadt_port(t, FADT_PM_TMR_BLK);
	if (table_length(t) > FADT_RESET_VALUE &&
	    get_le(t + FADT_FLAGS, 4) & FADT_RESET_SUPPORTED) {
		out->reset_space = t[FADT_RESET_REG + GAS_SPACE];
		out->reset_addr = get_le(t + FADT_RESET_REG + GAS_ADDRESS, 8);
		out->reset_value = t[FADT_RESET_VALUE];
	}
	read_aml(s, dsdt); /* the FADT is out of sight from here on */
	if (x_dsdt != dsdt)
		read_aml(s, x_dsdt);
}

static void read_hpet(struct acpi_scan *s, u64 addr, u8 *t)
{
	if (!s->out->hpet_addr && table_field(t, HPET_ADDRESS + GAS_SPACE, 1) == ACPI_SPACE_MEMORY)
		s->out->hpet_addr = table_field(t, HPET_ADDRESS + GAS_ADDRESS, 8);
}

/* Of two, which cannot be true, dom0 would use the one that the hypervisor does not hide. */
static void keep_table(struct acpi_table *kept, u64 addr, u32 len)
{
	if (kept->addr && kept->addr != addr) {
		log_warn("ACPI: two tables of IOMMUs, at %lx and %lx: neither is used", kept->addr,
			 addr);
		kept->len = 0;
		return;
	}
	*kept = (struct acpi_table){addr, len};
}

static void read_dmar(struct acpi_scan *s, u64 addr, u8 *t)
{
	keep_table(&s->out->dmar, addr, table_length(t));
}

static void read_ivrs(struct acpi_scan *s, u64 addr, u8 *t)
{
	keep_table(&s->out->ivrs, addr, table_length(t));
}

static void read_table(struct acpi_scan *s, u64 addr)
{
	static const struct {
		const char *sig;
		void (*read)(struct acpi_scan *s, u64 addr, u8 *t);
	} kinds[] = {
	    {"APIC", read_madt}, {"FACP", read_fadt}, {"HPET", read_hpet},
	    {"DMAR", read_dmar}, {"IVRS", read_ivrs}, {"SRAT", read_srat},
	};
	u8 *t = addr ? s->map(addr, SDT_SIZE) : NULL;

	if (!t)
		return;
	for (u32 i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (memcmp(t, kinds[i].sig, 4))
			continue;
		t = map_table(addr, kinds[i].sig, s->map);
		if (t)
			kinds[i].read(s, addr, t);
		return;
	}
	read_aml(s, addr);
}

/*
 * The root table that the RSDP names: the XSDT if it is usable, else the RSDT. NULL: none is. The
 * loader has found it: as dom0, we do not ask for its checksums.
 */
static const u8 *find_root(const u8 *rsdp, u32 rsdp_len, acpi_map_fn map, u64 *root)
{
	const u8 *t;

	if (rsdp_len < RSDP_V1_SIZE || memcmp(rsdp, "RSD PTR ", 8)) {
		log_warn("ACPI: no valid RSDP");
		return NULL;
	}
	if (rsdp_len >= RSDP_V2_SIZE && rsdp[RSDP_REVISION] >= 2) {
		*root = get_le(rsdp + RSDP_XSDT, 8);
		t = *root ? map_table(*root, "XSDT", map) : NULL;
		if (t)
			return t;
	}
	*root = get_le(rsdp + RSDP_RSDT, 4);
	return map_table(*root, "RSDT", map);
}

int acpi_parse(const u8 *rsdp, u32 rsdp_len, u32 boot_apic_id, acpi_map_fn map,
	       struct acpi_info *out)
{
	struct acpi_scan s = {.map = map, .out = out};
	const u8 *t;
	u64 root;
	u32 len, step = 4;

	/* The boot CPU runs, so it exists whatever the tables say. */
	*out = (struct acpi_info){.apic_id = {boot_apic_id}, .cpu_count = 1};
	t = find_root(rsdp, rsdp_len, map, &root);
	if (!t)
		return -EINVAL;
	len = table_length(t);
	if (*t == 'X')
		step = 8;
	for (u32 at = SDT_SIZE; len - at >= step; at += step) {
		t = map(root + at, step);
		if (t)
			read_table(&s, get_le(t, step));
	}
	if (s.fadt)
		read_sleep(&s);
	check_facs(&s);
	if (!out->madt)
		log_warn("ACPI: no MADT, only the boot CPU is used");
	return 0;
}
