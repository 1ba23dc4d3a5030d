/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/ucode.h"
#include "boot/boot.h"
#include "boot/initrd.h"
#include "boot/microcode.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/mm/mm.h"
#include "hv/mm/pool.h"

#define INTEL_FILE "kernel/x86/microcode/GenuineIntel.bin"
#define AMD_FILE   "kernel/x86/microcode/AuthenticAMD.bin"

#define PLATFORM_ID GENMASK(52, 50) /* of MSR_PLATFORM_ID */

static struct microcode kept; /* no data: nothing is to be loaded */
static bool is_amd;

u32 ucode_revision(void)
{
	u64 val;

	if (!is_amd) {
		wrmsr_safe(MSR_UCODE_REV, 0);
		(void)cpuid_read(1, 0); /* this is what makes the CPU fill it in */
	}
	rdmsr_safe(MSR_UCODE_REV, &val);
	return is_amd ? val : val >> 32;
}

/* False: the CPU has not what is kept, nor anything newer. */
static bool load_kept(void)
{
	u32 has = ucode_revision();

	/* AMD's threads of one core have parts of their own, though they tell of one revision. */
	if (has < kept.revision || (is_amd && has == kept.revision)) {
		wbinvd();
		if (is_amd)
			wrmsr_safe(MSR_PATCH_LOADER, (u64)kept.data);
		else
			wrmsr_safe(MSR_UCODE_UPDATE, (u64)kept.data + MICROCODE_INTEL_HEADER);
		/* Zen 1 and 2 want nothing of it in the TLB from then on. */
		invlpg(kept.data);
		invlpg(kept.data + kept.size - 1);
	}
	return ucode_revision() >= kept.revision;
}

static void read_phys(u64 addr, void *buf, u32 len)
{
	const void *p = mm_map_boot(addr, len);

	if (p)
		memcpy(buf, p, len);
	else
		memset(buf, 0xff, len); /* no part of an archive begins so */
}

static const char *find_newest(const struct microcode_cpu *cpu, struct microcode *best)
{
	const char *why = "the initrd has none", *name = cpu->amd ? AMD_FILE : INTEL_FILE;

	for (u32 i = 1; i < boot_info.module_count; i++) {
		const struct mem_range *m = &boot_info.module[i];
		struct initrd_file f = initrd_find(m->start, m->end - m->start, name, read_phys);
		const void *file = f.size ? mm_map_boot(f.at, f.size) : NULL;

		if (file)
			why = microcode_find(file, f.size, cpu, best);
	}
	return best->data ? NULL : why;
}

/* A copy whose memory stays. */
static bool keep_update(const struct microcode *found)
{
	u32 order = 0;
	u8 *to;

	while (PAGE_SIZE << order < found->size)
		order++;
	to = pool_alloc(order, NULL);
	if (!to)
		return false;
	memcpy(to, found->data, found->size);
	kept = (struct microcode){to, found->size, found->revision};
	return true;
}

void ucode_init(void)
{
	u32 vendor = cpuid_read(0, 0).b, before;
	struct microcode_cpu cpu = {.amd = vendor == CPUID_0B_AUTH,
				    .signature = cpuid_read(1, 0).a};
	struct microcode found = {0};
	const char *why;
	u64 id;

	if (!cpu.amd && vendor != CPUID_0B_GENU)
		return;
	is_amd = cpu.amd;
	if (!is_amd && !rdmsr_safe(MSR_PLATFORM_ID, &id))
		cpu.platform = BIT(FIELD_GET(PLATFORM_ID, id));
	before = ucode_revision();
	why = find_newest(&cpu, &found);
	if (!why && found.revision < before)
		why = "the initrd has older ones only";
	else if (!why && !keep_update(&found))
		why = "the hypervisor has no memory for the initrd's";
	else if (!why && found.revision == before)
		why = "the initrd has no newer one"; /* but other CPUs may have an older one */
	if (kept.data && !load_kept()) {
		log_warn("microcode: revision %x; the CPU does not take %x of the initrd", before,
			 kept.revision);
		kept.data = NULL;
	} else if (why) {
		log_info("microcode: revision %x; %s", before, why);
	} else {
		log_info("microcode: revision %x, from the initrd in the place of %x",
			 kept.revision, before);
	}
}

void ucode_load_cpu(void)
{
	if (kept.data && !load_kept())
		log_warn("CPU %u: microcode of revision %x is not taken, it stays at %x; guests "
			 "may see other CPUs than there are",
			 this_cpu()->index, kept.revision, ucode_revision());
}
