/* SPDX-License-Identifier: GPL-2.0-only */
/* What machine and hypervisor are. */
#include "corbel.h"

#include <json-c/json.h>
#include <stdio.h>

static const char *backend_name(uint32_t b)
{
	return b == CORBEL_BACKEND_SVM ? "svm" : b == CORBEL_BACKEND_VMX ? "vmx" : "unknown";
}

static const char *iommu_name(uint32_t iommu)
{
	static const char *const names[] = {
	    [CORBEL_IOMMU_NONE] = "none",
	    [CORBEL_IOMMU_OFF] = "off",
	    [CORBEL_IOMMU_DOM0] = "dom0",
	    [CORBEL_IOMMU_STRICT] = "strict",
	};

	return iommu < sizeof(names) / sizeof(*names) ? names[iommu] : "?";
}

/* What devices may reach by DMA, and which interrupts they may raise. */
static const char *dma_reach(const struct corbel_info *i)
{
	if (i->iommu == CORBEL_IOMMU_STRICT && i->features & CORBEL_FEATURE_DEVICE_IRQ)
		return "devices reach dom0's memory only, and raise any interrupt; guests', "
		       "and dom0's that are kept to them, only their own";
	if (i->iommu == CORBEL_IOMMU_STRICT && i->features & CORBEL_FEATURE_IRQ_REMAP)
		return "devices reach dom0's memory only, and raise what dom0 has set for each";
	if (i->iommu == CORBEL_IOMMU_STRICT)
		return "devices reach dom0's memory only, and raise any interrupt";
	if (i->iommu == CORBEL_IOMMU_DOM0)
		return "devices reach, and raise, what dom0 lets them";
	return "devices reach all memory, and raise any interrupt";
}

/* "core": the CPUs of a core run one VM at a time. */
static const char *sched_granularity(const struct corbel_info *i)
{
	return i->features & CORBEL_FEATURE_BY_CORE ? "core" : "cpu";
}

/*
 * The lowest and the highest revision of microcode that dom0's kernel has read, of each CPU when it
 * started it, from the hardware's own register. 0: not known.
 */
static void microcode_range(unsigned int range[2])
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[4096];
	unsigned int rev;

	range[0] = range[1] = 0;
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "microcode : %x", &rev) != 1)
			continue;
		range[0] = range[0] && range[0] < rev ? range[0] : rev;
		range[1] = range[1] > rev ? range[1] : rev;
	}
	if (f)
		fclose(f);
}

static void microcode_text(void)
{
	unsigned int rev[2];

	microcode_range(rev);
	if (rev[0] == rev[1])
		printf("microcode   %#x\n", rev[0]);
	else
		printf("microcode   %#x to %#x: CPUs differ\n", rev[0], rev[1]);
}

static struct json_object *microcode_json(void)
{
	struct json_object *o = json_object_new_array();
	unsigned int rev[2];

	microcode_range(rev);
	for (int i = 0; i < 2; i++)
		json_object_array_add(o, json_object_new_uint64(rev[i]));
	return o;
}

static struct json_object *info_json(const struct corbel_info *i)
{
	struct json_object *o = json_object_new_object();

	add_str(o, "version", i->version);
	add_str(o, "backend", backend_name(i->backend));
	add_u64(o, "abi_version", i->abi_version);
	add_str(o, "scheduler", i->scheduler);
	add_str(o, "sched_gran", sched_granularity(i));
	add_u64(o, "cpus", i->cpus);
	json_object_object_add(o, "microcode", microcode_json());
	add_u64(o, "memory_total_bytes", i->memory_total_bytes);
	add_u64(o, "pool_total_bytes", i->pool_total_bytes);
	add_u64(o, "pool_free_bytes", i->pool_free_bytes);
	add_u64(o, "pool_promised_bytes", i->pool_promised_bytes);
	add_u64(o, "vms", i->vms);
	add_u64(o, "vcpus", i->vcpus);
	add_u64(o, "doorbells", i->doorbells);
	add_str(o, "iommu", iommu_name(i->iommu));
	add_u64(o, "iommu_units", i->iommu_units);
	add_u64(o, "iommu_pages", i->iommu_pages);
	add_u64(o, "tsc_khz", i->tsc_khz);
	add_u64(o, "uptime_ns", i->uptime_ns);
	json_object_object_add(o, "topology", topology_json());
	json_object_object_add(o, "power", power_json());
	return o;
}

int cmd_info(struct opts *o)
{
	struct corbel_info i;

	if (hv_info(&i))
		return 1;
	if (o->json) {
		print_json(info_json(&i));
		return 0;
	}
	printf("version     %s (ABI %u)\n", i.version, i.abi_version);
	printf("back end    %s\n", backend_name(i.backend));
	printf("scheduler   %s, sched-gran=%s\n", i.scheduler, sched_granularity(&i));
	printf("CPUs        %u, TSC %llu.%03llu MHz\n", i.cpus,
	       (unsigned long long)i.tsc_khz / 1000, (unsigned long long)i.tsc_khz % 1000);
	microcode_text();
	topology_text();
	power_text();
	printf("memory      %llu MiB\n", (unsigned long long)i.memory_total_bytes >> 20);
	printf("pool        %llu KiB, %llu KiB free, of which %llu KiB are promised to guests\n",
	       (unsigned long long)i.pool_total_bytes >> 10,
	       (unsigned long long)i.pool_free_bytes >> 10,
	       (unsigned long long)i.pool_promised_bytes >> 10);
	printf("VMs         %u (dom0 included)\n", i.vms);
	printf("vCPUs       %u\n", i.vcpus);
	printf("doorbells   %u\n", i.doorbells);
	printf("IOMMU       %s, %u units, %u KiB of the pool: %s\n", iommu_name(i.iommu),
	       i.iommu_units, i.iommu_pages * 4, dma_reach(&i));
	printf("uptime      %llu s\n", (unsigned long long)(i.uptime_ns / 1000000000));
	return 0;
}
