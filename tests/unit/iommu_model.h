/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Models of a VT-d unit and of an AMD IOMMU, after the manuals: registers, queues, faults, and
 * caches of devices' entries and of translations that give up nothing without being told.
 */
#pragma once

#include <stdlib.h>
#include <string.h>

#include "hv/lib/asm.h"
#include "hv/lib/io.h"
#include "hv/lib/log.h"
#include "hv/mm/pool.h"

/* What a unit reads of its tables that does not look into caches; the whole of RAM. */
#define MODEL_MEMORY (48u << 20)
static u64 *model_shadow;
static inline u64 *model_table(u64 at);
#define WALK_MEMORY model_table
#define WALK_SNOOP  (*model_reg(0x10) & BIT(7))

#define MODEL_REGS    0x5000u
#define MODEL_DEVICES 0x800u
#define MODEL_TLB     256u
#define OLD_ROOT      model.old /* the firmware's tables */

/*
 * What a device's entry says. Translations are found by the domain's number that it has, and with
 * AMD by the device's own, as QEMU does it.
 */
struct model_entry {	 /* without gaps, to be compared */
	u64 valid, open; /* it may be cached; it lets the device's accesses be translated */
	u64 root;
	u32 levels, domain;
	u64 irqs, rights; /* AMD: where the entries of its messages are, and what it may do */
};

static struct {
	bool amd, coherent, absent, hangs;
	bool caches_none; /* that an address led nowhere, too */
	bool busy;	  /* devices do DMA all the time */
	bool on, remaps;
	u64 root; /* of the tables in use */
	u32 writes, hangs_after;
	u32 refuses;		       /* this command, the first is 1, and stops */
	u32 stale, unwritten, written; /* written: all caches, which takes long */
	const char *wrong;	       /* a rule that was broken */
	bool is_flushed;	       /* what was written, out of the chipset's buffers */
	bool late;		       /* AMD: its log stops some time after it is told so */
	bool forgets;		       /* VT-d: entries of devices, until it is waited for */
	struct model_entry device[MODEL_DEVICES];
	bool faults_irqs;		 /* what is blocked is messages */
	bool irte_cached[MODEL_DEVICES]; /* AMD: one entry, of that index, for each device */
	u32 irte_index[MODEL_DEVICES];
	u64 irte[MODEL_DEVICES], irte_high[MODEL_DEVICES]; /* high: with entries of 128 bits */
	u64 irta; /* VT-d: the table of interrupts in use */
	struct {
		bool valid;
		u64 low, high;
	} irq[1u << 16];	      /* and what is cached of it, also that nothing is there */
	bool is_early[MODEL_DEVICES]; /* it was read when not yet there */
	u32 told[MODEL_DEVICES]; /* AMD: the domain when it was last to be forgotten; 0: closed */
	struct {
		bool valid;
		u16 dev;
		u32 domain;
		u64 page, to;
	} tlb[MODEL_TLB];
	u32 tlb_next;
	u64 old;
	u8 regs[MODEL_REGS] __attribute__((aligned(16)));
} model;

static inline u64 *model_reg(u32 at)
{
	return (u64 *)(void *)(model.regs + at);
}

static inline u32 *model_reg32(u32 at)
{
	return (u32 *)(void *)(model.regs + at);
}

#include "iommu_walk.h"

static inline u64 *model_memory(u64 at)
{
	return hpa_to_virt(hpa(at));
}

static inline u64 *model_table(u64 at)
{
	BUG_ON(at >= MODEL_MEMORY && !model.coherent);
	return model.coherent ? model_memory(at) : model_shadow + at / sizeof(u64);
}

static inline void model_rule(bool kept, const char *what)
{
	if (!kept && !model.wrong)
		model.wrong = what;
}

/* ---- translation ---- */

static inline struct model_entry model_entry_in_memory(u16 dev)
{
	u64 *e;

	if (model.amd) {
		e = model_table((model.root & GENMASK(51, 12)) + dev * 32ull);
		if (dev >= ((model.root & 0x1ff) + 1) * 128)
			return (struct model_entry){0};
		return (struct model_entry){.valid = e[0] & 1,
					    .open = (e[0] & 3) == 3 && e[0] >> 61 == 3,
					    .root = e[0] & GENMASK(51, 12),
					    .levels = e[0] >> 9 & 7,
					    .domain = e[1] & 0xffff,
					    .irqs = e[2],
					    .rights = e[1] >> 16};
	}
	e = model_table((model.root & PAGE_MASK) + (dev >> 8) * 16ull);
	if (!(e[0] & 1))
		return (struct model_entry){0};
	e = model_table((e[0] & PAGE_MASK) + (dev & 0xff) * 16ull);
	return (struct model_entry){.valid = (e[0] & 0xf) == 1,
				    .open = 1,
				    .root = e[0] & PAGE_MASK,
				    .levels = (e[1] & 7) + 2,
				    .domain = e[1] >> 8 & 0xffff};
}

static inline u64 model_walk(const struct model_entry *e, u64 at)
{
	if (at >> (12 + 9 * e->levels))
		return 0;
	if (!model.amd && at >> (*model_reg(8) >> 16 & 0x3f) >> 1)
		return 0;
	return model.amd ? walk_amdvi(e->root, e->levels, at) : walk_vtd(e->root, e->levels, at);
}

/* What the unit goes by: as it is cached, if it is. */
static inline struct model_entry model_entry_of(u16 dev)
{
	struct model_entry now = model_entry_in_memory(dev), *e = &model.device[dev];

	if (!e->valid) {
		*e = now;
		model.is_early[dev] = model.root != OLD_ROOT && !model.is_flushed;
	} else if (!model.busy && memcmp(e, &now, sizeof(now))) {
		model.stale++;
	}
	if (!model.busy && model.is_early[dev])
		model.unwritten++;
	return *e;
}

/* Where a device's access ends up, 0: it is blocked. */
static inline u64 model_dma(u16 dev, u64 at)
{
	struct model_entry now, e;
	u64 to;
	u32 i = 0;

	if (!model.on)
		return at;
	e = model_entry_of(dev);
	now = model_entry_in_memory(dev);
	if (!e.valid || !e.open)
		return 0;
	for (; i < MODEL_TLB; i++)
		if (model.tlb[i].valid && model.tlb[i].page == at >> 12 &&
		    (model.amd ? model.tlb[i].dev == dev : model.tlb[i].domain == e.domain))
			break;
	if (i == MODEL_TLB) {
		to = model_walk(&e, at & PAGE_MASK);
		if (!to && !model.caches_none)
			return 0;
		i = model.tlb_next++ % MODEL_TLB;
		model.tlb[i].valid = true;
		model.tlb[i].domain = e.domain;
		model.tlb[i].dev = dev;
		model.tlb[i].page = at >> 12;
		model.tlb[i].to = to;
	} else if (!model.busy && model.tlb[i].to != model_walk(&now, at & PAGE_MASK)) {
		model.stale++;
	}
	return model.tlb[i].to ? model.tlb[i].to | (at & 0xfff) : 0;
}

/*
 * The vector that a message with this as data raises, sent by the device to the first APIC's
 * address; 0: it is blocked. Of other than fixed ones: its delivery mode << 8.
 */
static inline u32 model_message(u16 dev, u32 data)
{
	u32 index = data & 0x7ff;
	u64 irqs = model_entry_of(dev).irqs, now, high = 0;
	bool wide = *model_reg(0x18) & BIT(17);

	if (!model.amd || !(irqs & 1))
		return data;
	if (data >> 8 & 7 & ~1u)
		return irqs >> 56 & 7 ? data : 0;
	if ((irqs >> 60 & 3) == 1)
		return data;
	if ((irqs >> 60 & 3) != 2 || index >= 1u << (irqs >> 1 & 0xf))
		return 0;
	if (wide) {
		now = model_memory(irqs & GENMASK(51, 6))[2 * index];
		high = model_memory(irqs & GENMASK(51, 6))[2 * index + 1];
	} else {
		now = ((u32 *)(void *)model_memory(irqs & GENMASK(51, 6)))[index];
	}
	if (!model.irte_cached[dev] || model.irte_index[dev] != index) {
		model.irte_cached[dev] = true;
		model.irte_index[dev] = index;
		model.irte[dev] = now;
		model.irte_high[dev] = high;
	} else if (model.irte[dev] != now || model.irte_high[dev] != high) {
		model.stale++;
	}
	now = model.irte[dev];
	if (wide)
		return now & 1 ? (model.irte_high[dev] & 0xff) | (now >> 2 & 7) << 8 : 0;
	return now & 1 ? (now >> 16 & 0xff) | (now >> 2 & 7) << 8 : 0;
}

/*
 * What a message of that address and data raises, with VT-d: vector, delivery mode << 8, and
 * destination << 32. 0: it is blocked.
 */
static inline u64 model_raised(u16 dev, u64 address, u32 data)
{
	u32 index = (address >> 5 & 0x7fff) | (address & BIT(2)) << 13, sid;
	const u64 *e;

	if (!(*model_reg32(0x1c) & BIT(25)) ||
	    (!(address & BIT(4)) && *model_reg32(0x1c) & BIT(23)))
		return address & BIT(4) ? 0 : data | (address >> 12 & 0xff) << 32;
	if (!(address & BIT(4)))
		return 0;
	index += address & BIT(3) ? data & 0xffff : 0;
	if (index >= 2u << (model.irta & 0xf))
		return 0;
	e = model_table((model.irta & PAGE_MASK) + index * 16ull);
	if (!model.irq[index].valid) {
		model.irq[index].valid = true;
		model.irq[index].low = e[0];
		model.irq[index].high = e[1];
	} else if (model.irq[index].low != e[0] || model.irq[index].high != e[1]) {
		model.stale++;
	}
	sid = model.irq[index].high & 0xffff;
	if (!(model.irq[index].low & 1) || (model.irq[index].high >> 18 & 3) != 1 || sid != dev)
		return 0;
	return (model.irq[index].low >> 16 & 0xff) | (model.irq[index].low >> 5 & 7) << 8 |
	       (model.irq[index].low >> (model.irta & BIT(11) ? 32 : 40) << 32);
}

/* Devices go on with what they did for the firmware. */
static inline void model_traffic(void)
{
	static const u64 at[] = {1, 2, 4, 16, 17, 39, 47};

	for (u32 i = 0; model.busy && i < ARRAY_SIZE(at); i++) {
		model_dma(0x10, at[i] << 20);
		model_dma(0x1ff, at[i] << 20);
	}
}

static inline void model_forget(bool entries, bool translations)
{
	if (entries)
		memset(model.device, 0, sizeof(model.device));
	if (translations)
		memset(model.tlb, 0, sizeof(model.tlb));
	model_traffic();
}

static inline void model_forget_domain(u32 domain)
{
	for (u32 i = 0; i < MODEL_TLB; i++)
		if (model.tlb[i].domain == domain)
			model.tlb[i].valid = false;
	model_traffic();
}

static inline bool model_remaps(void)
{
	u64 irqs;

	if (!model.amd)
		return *model_reg32(0x1c) & BIT(25);
	irqs = model.on ? model_memory((model.root & GENMASK(51, 12)) + 0x10 * 32)[2] : 0;
	return irqs & 1 && (irqs >> 60 & 3) != 1;
}

/* ---- VT-d ---- */

/* The unit finds a fault with its next command. */
static inline bool model_refuses(void)
{
	return model.refuses && !--model.refuses;
}

static inline void vtd_run_queue(void)
{
	while (*model_reg32(0x1c) & BIT(26) && *model_reg(0x80) != *model_reg(0x88) &&
	       !(*model_reg32(0x34) & BIT(4))) {
		u64 *d = model_memory((*model_reg(0x90) & PAGE_MASK) + *model_reg(0x80));

		if (model_refuses()) {
			*model_reg32(0x34) |= BIT(4);
			return;
		}
		switch (d[0] & 0xf) {
		case 1:
			model_rule((d[0] >> 4 & 3) == 1, "what is invalidated is all");
			model.forgets = true; /* it takes its time */
			break;
		case 2:
			model_rule((d[0] >> 4 & 3) == 1 || (d[0] >> 4 & 3) == 2,
				   "what is invalidated is all, or a domain");
			if ((d[0] >> 4 & 3) == 2)
				model_forget_domain(d[0] >> 16 & 0xffff);
			else
				model_forget(false, true);
			break;
		case 4:
			model_rule(!(d[0] & BIT(4)), "what is invalidated are all interrupts");
			memset(model.irq, 0, sizeof(model.irq));
			break;
		case 5:
			model_rule(d[0] & BIT(5) && d[1] % 4 == 0, "waiting writes a status");
			if (model.forgets)
				model_forget(true, false);
			model.forgets = false;
			*(u32 *)model_memory(d[1]) = d[0] >> 32;
			break;
		default:
			model_rule(false, "commands are known");
		}
		*model_reg(0x80) = (*model_reg(0x80) + 16) % PAGE_SIZE;
	}
}

static inline void vtd_command(u32 val)
{
	u32 once = BIT(30) | BIT(29) | BIT(27) | BIT(24), *status = model_reg32(0x1c);
	u32 changed = ((val ^ *status) & ~once) | (val & once);

	model_rule(__builtin_popcount(changed) <= 1, "one thing is commanded at a time");
	if (changed & BIT(26)) {
		model_rule(*model_reg(0x80) == *model_reg(0x88), "a queue is stopped when empty");
		*model_reg(0x80) = 0;
		model_rule(!(val & BIT(26)) || !*model_reg(0x88), "a queue starts at 0");
	}
	if (val & BIT(30)) {
		model_rule(!model.on || !((model.root ^ *model_reg(0x20)) & GENMASK(11, 10)),
			   "the mode does not change while translation is on");
		model.root = *model_reg(0x20);
	}
	if (val & BIT(24))
		model.irta = *model_reg(0xb8);
	if (val & BIT(27))
		model.is_flushed = true;
	*status = (*status & once & ~BIT(27)) | (val & ~BIT(27));
	model.on = *status & BIT(31);
}

static inline void vtd_write(u32 at, u64 val)
{
	if (at == 0x18) {
		vtd_command(val);
	} else if (at == 0x34) {
		*model_reg32(at) &= ~val;
	} else if (at >= 0x220 && at < 0x260) {
		*model_reg32(at) &= ~val; /* F */
	} else if (at == 0x64) {
		*model_reg32(at) = val & BIT(31) ? BIT(31) | 1 : 0;
	} else if (at == 0x90 || at == 0x88 || at == 0x20 || at == 0xb8) {
		model_rule(at != 0x90 || !(*model_reg32(0x1c) & BIT(26)), "a queue stays in place");
		*model_reg(at) = val;
		vtd_run_queue();
	} else {
		*model_reg32(at) = val;
	}
}

static inline u64 vtd_read(u32 at, u64 val)
{
	u64 faults = 0;

	for (u32 i = 0; i < 4; i++)
		faults |= *model_reg(0x228 + i * 16);
	return at == 0x34 ? val | faults >> 62 : val; /* PPF is bit 1, F bit 63 */
}

/* ---- AMD-Vi ---- */

/* Read in parts, an entry that goes from one domain to another would be of both. */
static inline void amdvi_forget_entry(u16 dev)
{
	struct model_entry now = model_entry_in_memory(dev);
	u32 domain = now.open ? now.domain : 0;

	model_rule(!model.told[dev] || !domain || model.told[dev] == domain,
		   "an entry is forgotten closed before it is of another domain");
	model.told[dev] = domain;
	model.device[dev].valid = false;
}

static inline void amdvi_run_queue(void)
{
	while (*model_reg(0x2020) & BIT(4) && *model_reg(0x2000) != *model_reg(0x2008)) {
		u64 *d = model_memory((*model_reg(8) & GENMASK(51, 12)) + *model_reg(0x2000));

		if (model_refuses()) {
			*model_reg(0x2020) &= ~BIT(4);
			return;
		}
		switch (d[0] >> 60) {
		case 1:
			model_rule(d[0] & 1, "waiting writes a status");
			*model_memory(d[0] & GENMASK(51, 3)) = d[1];
			break;
		case 2:
			if ((d[0] & 0xffff) < MODEL_DEVICES)
				amdvi_forget_entry(d[0] & 0xffff);
			model_traffic();
			break;
		case 3:
			model_rule((d[1] & (GENMASK(62, 12) | 3)) == (GENMASK(62, 12) | 3),
				   "what is invalidated is all of a domain");
			model_forget_domain(d[0] >> 32 & 0xffff);
			break;
		case 5:
			model.irte_cached[d[0] % MODEL_DEVICES] = false;
			break;
		case 8:
			model_rule(*model_reg(0x30) & BIT(6), "commands are known");
			model_forget(true, true);
			break;
		default:
			model_rule(false, "commands are known");
		}
		*model_reg(0x2000) = (*model_reg(0x2000) + 16) % PAGE_SIZE;
	}
}

static inline void amdvi_control(u64 val)
{
	u64 *status = model_reg(0x2020);

	model_rule(!model.on || !(val & 1) || !((val ^ *model_reg(0x18)) & ~BIT(2)),
		   "only the log is switched while the unit is on");
	model_rule((!(val & BIT(17)) || *model_reg(0x30) & BIT(7)) &&
		       (!(val & BIT(50)) || (val & BIT(17) && *model_reg(0x30) & BIT(2))),
		   "entries are of a format that the unit has");
	model_rule(!model.on || !(val & ~*model_reg(0x18) & BIT(2)) || !(*status & BIT(3)),
		   "the log begins again when it has stopped");
	model.on = val & 1;
	model.root = *model_reg(0);
	*status &= ~((model.late ? 0 : BIT(3)) | BIT(4));
	if (model.on && val & BIT(12))
		*status |= BIT(4);
	if (model.on && val & BIT(2))
		*status |= BIT(3);
}

static inline void amdvi_write(u32 at, u64 val)
{
	if (at < 0x18 || at == 0x20)
		model_rule(!model.on, "tables stay in place while the unit is on");
	if (at == 0x18)
		amdvi_control(val);
	if (at == 0x2020)
		*model_reg(at) &= ~(val & 7);
	else
		*model_reg(at) = val;
	amdvi_run_queue();
}

/* ---- the machine ---- */

static inline u32 model_at(const volatile void *p)
{
	u64 at = (u64)p - (u64)model.regs;

	BUG_ON(at >= MODEL_REGS);
	model_traffic();
	return at;
}

u64 mmio_read64(const volatile void *p)
{
	u32 at = model_at(p);

	if (model.absent)
		return ~0ull;
	if (at == 0x2020 && model.late && !(*model_reg(0x18) & BIT(2)))
		*model_reg(at) &= ~BIT(3);
	return model.amd ? *model_reg(at) : vtd_read(at, *model_reg(at));
}

u32 mmio_read32(const volatile void *p)
{
	u32 at = model_at(p);

	if (model.absent)
		return ~0u;
	return model.amd ? *model_reg32(at) : vtd_read(at, *model_reg32(at));
}

void mmio_write64(volatile void *p, u64 val)
{
	u32 at = model_at(p);

	if (model.hangs || (++model.writes > model.hangs_after && model.hangs_after))
		return;
	(model.amd ? amdvi_write : vtd_write)(at, val);
}

void mmio_write32(volatile void *p, u32 val)
{
	model_rule(!model.amd, "AMD's registers have 64 bits");
	mmio_write64(p, val);
}

void wbinvd(void)
{
	model.written++;
	if (!model.coherent)
		memcpy(model_shadow, model_memory(0), MODEL_MEMORY);
}

void clflush(const void *line)
{
	u64 at = (u64)line - (u64)model_memory(0);

	BUG_ON(at % 64 || at >= MODEL_MEMORY);
	if (!model.coherent)
		memcpy(model_shadow + at / sizeof(u64), line, 64);
}

static inline void model_reset(bool amd)
{
	memset(&model, 0, sizeof(model));
	model.amd = amd;
	model.coherent = true;
	model.is_flushed = true;
	if (amd) {
		*model_reg(0x30) = BIT(6);
		return;
	}
	*model_reg32(0) = 0x10;
	/* 3 and 4 levels, 2 MiB and 1 GiB, protected memory, 4 faults recorded from 0x220 on */
	*model_reg(8) =
	    BIT(5) | BIT(6) | 6 << 8 | 47 << 16 | 0x22ull << 24 | 3ull << 34 | 3ull << 40;
	*model_reg(0x10) = 0xf; /* coherent, queue, remapping */
}

/* Its tables are what is in memory, whatever a cache has. */
static inline void model_incoherent(void)
{
	*model_reg(0x10) &= ~1ull;
	model.coherent = false;
	if (!model_shadow)
		model_shadow = malloc(MODEL_MEMORY);
	memcpy(model_shadow, model_memory(0), MODEL_MEMORY);
}

/* The least there may be. */
static inline void model_few(void)
{
	if (model.amd) {
		*model_reg(0x30) = 0;
		return;
	}
	*model_reg(8) = BIT(4) | 2 << 8 | 38 << 16 | 0x22ull << 24;
	*model_reg(0x10) = 2;
	model_incoherent();
	model.is_flushed = false;
}

/* As a firmware does that protects itself: on, with tables, remapping and a queue of its own. */
static inline void model_leave_on(u64 at)
{
	u64 *root = model_memory(at), *table = model_memory(at + 2 * PAGE_SIZE);

	if (model.amd) { /* 3 levels: pages of 1 GiB */
		for (u32 i = 0; i < 0x200; i++) {
			root[i * 4] = (at + 8 * PAGE_SIZE) | 3 | 3 << 9 | 3ull << 61;
			root[i * 4 + 1] = 1;
			root[i * 4 + 2] = 1;
		}
		table = model_memory(at + 8 * PAGE_SIZE);
		for (u32 i = 0; i < 4; i++)
			table[i] = (u64)i << 30 | 1 | 3ull << 61;
		*model_reg(0) = at | 3;
		*model_reg(8) = (at + 16 * PAGE_SIZE) | 8ull << 56;
		amdvi_write(0x18, BIT(0) | BIT(2) | BIT(12));
	} else {
		u64 *context = model_memory(at + PAGE_SIZE);

		for (u32 i = 0; i < 512; i += 2) {
			root[i] = (at + PAGE_SIZE) | 1;
			context[i] = (at + 2 * PAGE_SIZE) | 1;
			context[i + 1] = 1 | 1 << 8;
		}
		for (u32 i = 0; i < 4; i++)
			table[i] = (u64)i << 30 | 0x83;
		*model_reg(0x20) = at;
		*model_reg(0x90) = at + 3 * PAGE_SIZE;
		vtd_command(BIT(30));
		vtd_command(BIT(26));
		vtd_command(BIT(26) | BIT(25));
		vtd_command(BIT(26) | BIT(25) | BIT(31));
		*model_reg(0x80) = *model_reg(0x88) = 0x230;
		*model_reg32(0x64) = BIT(31) | 1;
	}
	model.old = model.root;
	model.wrong = NULL;
}

/* The unit blocks an access. */
static inline void model_fault(u16 dev, u64 at, bool write)
{
	u64 *e, tail = *model_reg(0x2018);

	if (model.amd) {
		if (*model_reg(0x2020) & 1 || !(*model_reg(0x2020) & BIT(3)))
			return;
		if ((tail + 16) % PAGE_SIZE == *model_reg(0x2010)) {
			*model_reg(0x2020) |= 1;
			if (!model.late)
				*model_reg(0x2020) &= ~BIT(3);
			return;
		}
		e = model_memory((*model_reg(0x10) & GENMASK(51, 12)) + tail);
		e[0] = dev | 2ull << 60 | (write ? BIT(53) : 0) | (model.faults_irqs ? BIT(51) : 0);
		e[1] = at;
		*model_reg(0x2018) = (tail + 16) % PAGE_SIZE;
		return;
	}
	for (u32 i = 0; i < 4; i++) {
		e = model_reg(0x220 + i * 16);
		if (e[1] & BIT(63))
			continue;
		e[0] = at;
		e[1] = BIT(63) | (write ? 0 : BIT(62)) | 6ull << 32 | dev;
		return;
	}
	*model_reg32(0x34) |= 1; /* it is lost */
}
