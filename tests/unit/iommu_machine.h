/* SPDX-License-Identifier: GPL-2.0-only */
/* A machine with a unit of either make, and what iommu.c asks of the rest of the hypervisor. */
#pragma once

#include <string.h>

#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/iommu/iommu.h"
#include "hv/lib/io.h"
#include "arena.h"
#include "iommu_model.h"
#include "iommu_tables.h"

#define MB	   0x100000ull
#define RAM_END	   (48 * MB)
#define POOL_START (16 * MB)
#define POOL_END   (40 * MB)
#define IMAGE	   (2 * MB)
#define OLD_TABLES (4 * MB) /* the firmware's, in what is dom0's memory by now */
#define TABLE_AT   (6 * MB)
#define REGION	   (64 * MB) /* beyond RAM */

/* ---- what iommu.c asks of the rest ---- */

static u64 now;
u64 tsc_khz = 1000000;

u64 rdtsc(void)
{
	return now += 100000;
}

u64 ns_to_tsc(u64 ns)
{
	return ns;
}

u64 tsc_to_ns(u64 ticks)
{
	return ticks;
}

static struct timer *armed;

void timer_setup(struct timer *t, void (*fn)(struct timer *))
{
	t->fn = fn;
}

void timer_arm(struct timer *t, u64 deadline)
{
	armed = t;
}

void *mm_map_boot(u64 addr, u64 size)
{
	return hpa_to_virt(hpa(addr));
}

void *mm_map_mmio(u64 addr, u64 size)
{
	BUG_ON(size > MODEL_REGS);
	return model.regs;
}

/* ---- a machine ---- */

static void add_region(u8 *t, u32 *len, bool amd, u64 start, u64 size)
{
	u8 *e = t + *len;

	memset(e, 0, 32);
	e[0] = amd ? 0x20 : 1;
	e[2] = amd ? 32 : 24;
	memcpy(e + (amd ? 16 : 8), &start, 8);
	if (!amd)
		size += start - 1;
	memcpy(e + (amd ? 24 : 16), &size, 8);
	*len += e[2];
}

/* A machine with such a unit, which the firmware has left on, or off; and a table with a region. */
static void start(bool amd, bool left_on, u32 mode, u64 region)
{
	static const struct mem_map ram = {.count = 1, .r = {{MB, RAM_END, MEM_RAM}}};
	u8 *t = hpa_to_virt(hpa(TABLE_AT));
	struct acpi_table *where = amd ? &boot_info.acpi.ivrs : &boot_info.acpi.dmar;

	memset(hpa_to_virt(hpa(OLD_TABLES)), 0, MB);
	iommu = (struct iommu_state){0};
	memset(&boot_info.acpi, 0, sizeof(boot_info.acpi));
	boot_info.opt.iommu = mode;
	pool_init(POOL_START, POOL_END);
	init_frames(&ram, IMAGE, IMAGE + MB, POOL_START, POOL_END);
	model_reset(amd);
	if (left_on)
		model_leave_on(OLD_TABLES);
	where->addr = TABLE_AT;
	where->len = amd ? sizeof(qemu_ivrs) : sizeof(qemu_dmar);
	memcpy(t, amd ? qemu_ivrs : qemu_dmar, where->len);
	if (region)
		add_region(t, &where->len, amd, region, 2 * PAGE_SIZE);
	armed = NULL;
}

/* What a device reaches, out of caches or not. */
static inline bool reaches(u16 device, u64 at)
{
	return model_dma(device, at) == at;
}

static inline const char *name(bool amd)
{
	return amd ? "AMD-Vi" : "VT-d";
}
