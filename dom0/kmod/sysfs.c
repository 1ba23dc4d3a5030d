// SPDX-License-Identifier: GPL-2.0-only
/* What programs look for on a host of VMs: /sys/hypervisor, and svm or vmx in /proc/cpuinfo. */
#include "dom0.h"
#include "kmod.h"

#include <linux/cpuhotplug.h>
#include <linux/kobject.h>
#include <linux/sysfs.h>
#include <asm/processor.h>

static struct kobject *kobj;
static char version[32]; /* MAJOR.MINOR and what may follow */
static u32 protection;	 /* enum corbel_iommu */
static int cpuhp_state;

static ssize_t type_show(struct kobject *k, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "corbel\n");
}

static ssize_t major_show(struct kobject *k, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%.*s\n", (int)strcspn(version, "."), version);
}

/* What stands behind the first point. */
static const char *behind_major(void)
{
	const char *point = strchr(version, '.');

	return point ? point + 1 : "";
}

static size_t minor_len(void)
{
	return strspn(behind_major(), "0123456789");
}

static ssize_t minor_show(struct kobject *k, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%.*s\n", (int)minor_len(), behind_major());
}

static ssize_t extra_show(struct kobject *k, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%s\n", behind_major() + minor_len());
}

/* For scripts that are to know whether corbel_iommu.ko has something to drive. */
static ssize_t iommu_show(struct kobject *k, struct kobj_attribute *attr, char *buf)
{
	static const char *const names[] = {
	    [CORBEL_IOMMU_NONE] = "none",
	    [CORBEL_IOMMU_OFF] = "off",
	    [CORBEL_IOMMU_DOM0] = "dom0",
	    [CORBEL_IOMMU_STRICT] = "strict",
	};

	return sysfs_emit(buf, "%s\n", protection < ARRAY_SIZE(names) ? names[protection] : "");
}

static struct kobj_attribute type = __ATTR_RO(type), iommu = __ATTR_RO(iommu),
			     major = __ATTR_RO(major), minor = __ATTR_RO(minor),
			     extra = __ATTR_RO(extra);
static struct attribute *type_attrs[] = {&type.attr, &iommu.attr, NULL};
static struct attribute *version_attrs[] = {&major.attr, &minor.attr, &extra.attr, NULL};
static const struct attribute_group type_group = {.attrs = type_attrs};
static const struct attribute_group version_group = {.name = "version", .attrs = version_attrs};
static const struct attribute_group *groups[] = {&type_group, &version_group, NULL};

/*
 * kvm-ok, virt-host-validate and others read there whether a machine can run VMs. CPUID does not
 * say so, and neither does boot_cpu_data, so kvm_amd and kvm_intel are not loaded.
 */
static int cpu_shows(unsigned int cpu)
{
	set_cpu_cap(&cpu_data(cpu), cb_backend_vmx ? X86_FEATURE_VMX : X86_FEATURE_SVM);
	return 0;
}

static int cpu_hides(unsigned int cpu)
{
	clear_bit(cb_backend_vmx ? X86_FEATURE_VMX : X86_FEATURE_SVM,
		  (unsigned long *)cpu_data(cpu).x86_capability);
	return 0;
}

static int read_info(void)
{
	struct corbel_info *info = (void *)get_zeroed_page(GFP_KERNEL);
	long r;

	if (!info)
		return -ENOMEM;
	r = HC4(STAT, CORBEL_STAT_INFO, 0, cb_phys(info), sizeof(*info));
	if (r >= 0) {
		strscpy(version, info->version, sizeof(version));
		protection = info->iommu;
	}
	free_page((unsigned long)info);
	return r < 0 ? r : 0;
}

int cb_sysfs_init(void)
{
	int r = read_info();

	if (r)
		return r;
#ifdef CONFIG_SYS_HYPERVISOR
	kobj = kobject_get(hypervisor_kobj);
#else
	kobj = kobject_create_and_add("hypervisor", NULL);
#endif
	if (!kobj)
		return -ENOMEM;
	r = sysfs_create_groups(kobj, groups);
	if (r)
		goto put;
	cpuhp_state =
	    cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "corbel:cpuinfo", cpu_shows, cpu_hides);
	if (cpuhp_state >= 0)
		return 0;
	r = cpuhp_state;
	sysfs_remove_groups(kobj, groups);
put:
	kobject_put(kobj);
	return r;
}

void cb_sysfs_exit(void)
{
	cpuhp_remove_state(cpuhp_state);
	sysfs_remove_groups(kobj, groups);
	kobject_put(kobj);
}
