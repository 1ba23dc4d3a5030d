/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/dom0/load.h"
#include "boot/acpi.h"
#include "boot/efi.h"
#include "boot/initrd.h"
#include "boot/linux.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/pv.h"
#include "hv/iommu/iommu.h"
#include "hv/lib/log.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/mm/mm.h"

static struct linux_kernel kernel;
static struct linux_plan plan;

static void *map_phys(u64 addr, u64 size)
{
	void *p = mm_map_boot(addr, size);

	if (!p)
		boot_fail("cannot reach %lx bytes at %lx to load dom0; give the hypervisor more "
			  "memory with hvmem=",
			  size, addr);
	return p;
}

static void read_phys(u64 addr, void *buf, u32 len)
{
	memcpy(buf, map_phys(addr, len), len);
}

static void move_phys(u64 to, u64 from, u64 len)
{
	if (len && to != from)
		memmove(map_phys(to, len), map_phys(from, len), len);
}

static void parse_modules(const struct boot_info *bi)
{
	const struct mem_range *m = bi->module;
	u64 size = m[0].end - m[0].start, head;
	const char *why;

	if (!bi->module_count)
		boot_fail("no dom0 kernel; add \"module2 /boot/vmlinuz...\" and an initrd to the "
			  "boot menu's entry");
	if (!size)
		boot_fail("the dom0 kernel is empty; install it again and check the boot medium");
	head = MIN(size, LINUX_HEAD_SIZE);
	why = linux_parse(map_phys(m[0].start, head), head, size, &kernel);
	if (why)
		boot_fail("%s", why);
	if (bi->module_count < 2) {
		log_warn("dom0 has no initrd; if it does not find its disk, add \"module2 "
			 "/boot/initrd...\" to the boot menu's entry");
		return;
	}
	for (u32 i = 1; i < bi->module_count; i++) {
		why = initrd_check(m[i].start, m[i].end - m[i].start, read_phys);
		if (why)
			boot_fail("%s", why);
	}
}

static void move_initrd(const struct boot_info *bi)
{
	u64 end = plan.initrd;

	for (u32 i = 1; i < bi->module_count; i++) {
		u64 at = plan.initrd + linux_initrd_offset(bi, i);
		u64 size = bi->module[i].end - bi->module[i].start;

		if (at > end)
			memset(map_phys(end, at - end), 0, at - end);
		move_phys(at, bi->module[i].start, size);
		end = at + size;
	}
	BUG_ON(end != plan.initrd + plan.initrd_size);
}

static void load_kernel(void)
{
	for (u32 i = 0; i < kernel.segment_count; i++) {
		const struct linux_segment *s = &kernel.segment[i];
		u8 *to = map_phys(plan.load + s->dest, s->mem_size);

		if (s->file_size)
			memcpy(to, map_phys(plan.kernel_from + s->offset, s->file_size),
			       s->file_size);
		memset(to + s->file_size, 0, s->mem_size - s->file_size);
	}
}

u32 dom0_cpus(void)
{
	u32 limit = boot_info.opt.dom0_max_vcpus;

	return limit ? MIN(limit, cpu_count) : cpu_count;
}

/*
 * Hide the CPUs that dom0 gets no vCPU for, for whatever reason: too many for the hypervisor, not
 * answering, not wanted. The table is always gone through, since bi->acpi has not kept all that it
 * lists.
 */
static void limit_cpus(const struct boot_info *bi)
{
	u32 keep[MAX_CPUS], n = dom0_cpus();

	BUG_ON(n > MAX_CPUS);
	for (u32 i = 0; i < n; i++)
		keep[i] = cpus[i]->apic_id;
	/* cppcheck-suppress uninitvar; as many as n are set */
	if (bi->acpi.madt && acpi_limit_madt(bi->acpi.madt, mm_map_boot, keep, n))
		log_warn(
		    "the ACPI MADT is damaged: dom0 may try to start CPUs that it does not have");
}

/*
 * Where Corbel remaps interrupts to ids of 32 bits, and no unit that dom0 sees (AMD-Vi), these are
 * those of devices whose drivers begin behind corbel_iommu.ko. So dom0 is told that messages may
 * bear such ids, but begins with the CPUs before the first that has one, and others are of these,
 * too, by default (Linux since 6.5 would begin with threads of other cores first). The module
 * starts the rest. Without room for that in the command line, or CPUs
 * to begin with, it is as where nobody remaps.
 */
static void hold_back_wide(char *line, u32 size)
{
	char ours[64];
	u32 n = 0, len;

	while (n < dom0_cpus() && cpus[n]->apic_id <= MSI_LAST_ID)
		n++;
	if (!iommu.wide || !n || n == dom0_cpus())
		return;
	len = hv_snprintf(ours, sizeof(ours), "maxcpus=%u cpuhp.parallel=0 irqaffinity=0-%u ", n,
			  n - 1);
	BUG_ON(len >= sizeof(ours));
	if (len + strlen(line) >= size)
		return;
	memmove(line + len, line, strlen(line) + 1);
	memcpy(line, ours, len);
	pv_dom0_wide_ids = true;
}

/* An option of Linux' that lets it use such ids though the firmware asks it not to. */
static bool has_override(const char *line)
{
	static const char word[] = "no_x2apic_optout";
	u32 len = strlen(line);

	for (u32 i = 0; i + sizeof(word) - 1 <= len; i++)
		if (!memcmp(line + i, word, sizeof(word) - 1))
			return true;
	return false;
}

/*
 * Linux takes a CPU with such an id only where interrupts are remapped to ids of 32 bits. What is
 * to be done about it that they are not, or NULL.
 */
static const char *wide_ids_cure(void)
{
	bool dom0s = iommu.protection == CORBEL_IOMMU_DOM0 || iommu.is_shown;

	if (!iommu.all.x2apic || (!dom0s && iommu.protection != CORBEL_IOMMU_STRICT))
		return "see to the IOMMU's setup";
	if (iommu.no_x2apic && !has_override(boot_info.module_cmdline[0]))
		return "give its kernel intremap=no_x2apic_optout, as the firmware wants none";
	return dom0s || pv_dom0_wide_ids ? NULL : "start with iommu=dom0";
}

static void tell_wide_ids(void)
{
	const char *cure = wide_ids_cure();
	u32 n = 0;

	for (u32 i = 0; i < dom0_cpus(); i++)
		n += cpus[i]->apic_id > MSI_LAST_ID;
	if (n && cure)
		log_warn("dom0 leaves out %u CPUs whose APIC ids are above %u, as it does not see "
			 "who remaps interrupts to them; %s",
			 n, MSI_LAST_ID, cure);
	else if (pv_dom0_wide_ids)
		log_info("dom0 begins without %u CPUs whose APIC ids are above %u: "
			 "corbel_iommu.ko brings them up",
			 n, MSI_LAST_ID);
}

static void keep_efi(const struct mem_map *m, struct boot_efi *efi)
{
	if (!efi->count || efi_keep(m, efi->system_table, map_phys))
		return;
	log_warn("EFI's system table at %lx is not where the firmware keeps its own: dom0 does "
		 "without its runtime services",
		 efi->system_table);
	efi->count = 0;
}

void dom0_load(struct dom0_entry *out)
{
	struct boot_info *bi = &boot_info;
	const char *why;

	parse_modules(bi);
	why = linux_plan(bi, &kernel, &plan);
	if (why)
		boot_fail("%s", why);

	keep_efi(&bi->map, &bi->efi_runtime);
	/* The order is part of linux_plan()'s contract. */
	move_initrd(bi);
	move_phys(plan.kernel_from, bi->module[0].start, bi->module[0].end - bi->module[0].start);
	load_kernel();
	hold_back_wide(bi->module_cmdline[0], sizeof(bi->module_cmdline[0]));
	linux_build(bi, &kernel, &plan, map_phys(plan.block, LINUX_BLOCK_SIZE));
	if (plan.rsdp)
		memcpy(map_phys(plan.rsdp, PAGE_SIZE), bi->rsdp_copy, bi->rsdp_len);
	limit_cpus(bi);
	if (iommu.count && iommu.protection != CORBEL_IOMMU_DOM0 && !iommu.is_shown &&
	    !acpi_hide(iommu.table, map_phys))
		boot_fail("the table of IOMMUs at %lx cannot be hidden from dom0, its memory takes "
			  "no writes; start with iommu=dom0",
			  iommu.table);

	out->rip = plan.load + kernel.entry;
	out->rsi = plan.block;
	out->cr3 = plan.block + LINUX_BLOCK_PML4;
	out->gdt = (struct corbel_dtable){
	    .base = plan.block + LINUX_BLOCK_GDT,
	    .limit = LINUX_GDT_LIMIT,
	};
	log_info("dom0: %s kernel at %lx-%lx, initrd at %lx-%lx, %lu MiB of memory",
		 kernel.elf ? "ELF" : "bzImage", plan.load, plan.load + kernel.size, plan.initrd,
		 plan.initrd + plan.initrd_size, memmap_bytes(&plan.map, MEM_RAM) >> 20);
	tell_wide_ids();
}
