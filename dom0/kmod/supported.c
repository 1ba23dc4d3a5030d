// SPDX-License-Identifier: GPL-2.0-only
/*
 * What /dev/kvm supports: CPUID, the MSRs that are saved, and those that tell of features. The
 * hypervisor's lists are fetched page by page.
 */
#include "apf.h"
#include "hyperv.h"
#include "kmod.h"

#define MAX_MSRS (PAGE_SIZE / sizeof(struct corbel_msr))
#define LIST_MAX 1024u

/* All entries of an HC_SUPPORTED list into *out (kvfree it). Returns their number. */
static long fetch_list(u32 what, size_t size, void **out)
{
	void *page = (void *)__get_free_page(GFP_KERNEL), *all;
	u32 per_page = PAGE_SIZE / size, n = 0;
	long r = -ENOMEM;

	all = kvmalloc_array(LIST_MAX, size, GFP_KERNEL);
	if (!page || !all)
		goto out;
	do {
		r = HC4(SUPPORTED, what, n, cb_phys(page), per_page * size);
		if (r < 0)
			goto out;
		r = min3((u32)r, per_page, LIST_MAX - n);
		memcpy(all + n * size, page, r * size);
		n += r;
	} while (r && n < LIST_MAX);
	r = n;
out:
	free_page((unsigned long)page);
	if (r < 0) {
		kvfree(all);
		all = NULL;
	}
	*out = all;
	return r;
}

long cb_supported_cpuid(struct kvm_cpuid2 __user *arg)
{
	void *list;
	long n;
	u32 room;

	if (get_user(room, &arg->nent))
		return -EFAULT;
	n = fetch_list(CORBEL_SUPPORTED_CPUID, sizeof(struct kvm_cpuid_entry2), &list);
	if (n < 0)
		return n;
	if (room < n)
		n = -E2BIG;
	else if (copy_to_user(arg->entries, list, n * sizeof(struct kvm_cpuid_entry2)) ||
		 put_user(n, &arg->nent))
		n = -EFAULT;
	kvfree(list);
	return n < 0 ? n : 0;
}

/* What XCR0 of a guest may have; ~0: not known. */
static u64 guest_xcr0(void)
{
	struct kvm_cpuid_entry2 *e;
	void *list;
	u64 xcr0 = ~0ull;
	long n = fetch_list(CORBEL_SUPPORTED_CPUID, sizeof(*e), &list), i;

	for (i = 0, e = list; i < n; i++, e++)
		if (e->function == 0xd && !e->index)
			xcr0 = (u64)e->edx << 32 | e->eax;
	kvfree(list);
	return xcr0;
}

long cb_system_attr(const struct kvm_device_attr __user *arg, bool get)
{
	struct kvm_device_attr a;
	u64 xcr0;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.group || a.attr != KVM_X86_XCOMP_GUEST_SUPP)
		return -ENXIO;
	if (!get)
		return 0;
	xcr0 = guest_xcr0();
	if (xcr0 == ~0ull)
		return -ENOMEM;
	return put_user(xcr0, (u64 __user *)(unsigned long)a.addr);
}

/* ---- performance counters ---- */

#define LEAF_PERFMON	0xa
#define LEAF_PERFMON_V2 0x80000022

struct counters {
	u32 gp, fixed; /* gp 0: there are none */
	bool intel;
};

static struct counters find_counters(void)
{
	struct counters c = {};
	struct kvm_cpuid_entry2 *e;
	void *list;
	long i, n = fetch_list(CORBEL_SUPPORTED_CPUID, sizeof(*e), &list);

	for (i = 0, e = list; i < n; i++, e++) {
		if (e->function == LEAF_PERFMON && e->eax)
			c = (struct counters){e->eax >> 8 & 0xff, e->edx & 31, true};
		if (e->function == LEAF_PERFMON_V2 && e->eax)
			c = (struct counters){e->ebx & 15, 0, false};
	}
	kvfree(list);
	return c;
}

bool cb_has_pmu(void)
{
	return find_counters().gp;
}

#define COUNTER_MSRS 64 /* room for all of them */

static u32 counter_msrs(u32 *out)
{
	static const u32 intel[] = {MSR_CORE_PERF_FIXED_CTR_CTRL, MSR_CORE_PERF_GLOBAL_STATUS,
				    MSR_CORE_PERF_GLOBAL_CTRL, MSR_IA32_PERF_CAPABILITIES};
	static const u32 amd[] = {MSR_AMD64_PERF_CNTR_GLOBAL_STATUS,
				  MSR_AMD64_PERF_CNTR_GLOBAL_CTL};
	struct counters c = find_counters();
	const u32 *more = c.intel ? intel : amd;
	u32 i, n = 0;

	if (!c.gp)
		return 0;
	for (i = 0; i < min(c.gp, 16u); i++) {
		out[n++] = c.intel ? MSR_P6_EVNTSEL0 + i : MSR_F15H_PERF_CTL + 2 * i;
		out[n++] = c.intel ? MSR_IA32_PERFCTR0 + i : MSR_F15H_PERF_CTR + 2 * i;
	}
	for (i = 0; i < min(c.fixed, 16u); i++)
		out[n++] = MSR_CORE_PERF_FIXED_CTR0 + i;
	for (i = 0; i < (c.intel ? ARRAY_SIZE(intel) : ARRAY_SIZE(amd)); i++)
		out[n++] = more[i];
	return n;
}

/* The number is told even if there is no room. */
static long put_msr_list(struct kvm_msr_list __user *arg, const u32 *list, u32 n)
{
	u32 room;

	if (get_user(room, &arg->nmsrs) || put_user(n, &arg->nmsrs))
		return -EFAULT;
	if (room < n)
		return -E2BIG;
	return copy_to_user(arg->indices, list, n * sizeof(u32)) ? -EFAULT : 0;
}

long cb_msr_index_list(struct kvm_msr_list __user *arg)
{
	void *list;
	long n = fetch_list(CORBEL_SUPPORTED_MSRS, sizeof(u32), &list), r;

	if (n < 0)
		return n;
	if (n + CB_HYPERV_MSRS + COUNTER_MSRS + CB_APF_MSRS + 1 <= LIST_MAX) {
		n += cb_hyperv_msrs((u32 *)list + n);
		n += counter_msrs((u32 *)list + n);
		n += cb_apf_msrs((u32 *)list + n);
		((u32 *)list)[n++] = MSR_IA32_SMBASE;
	}
	r = put_msr_list(arg, list, n);
	kvfree(list);
	return r;
}

/* ---- MSRs that tell of features ---- */

#define MSR_DE_CFG	 0xc0011029
#define LFENCE_SERIALIZE BIT(1)
#define VMX_MSRS	 (MSR_IA32_VMX_VMFUNC - MSR_IA32_VMX_BASIC + 1)

static u64 arch_capabilities(void)
{
	void *list;
	u64 val = 0;

	if (fetch_list(CORBEL_SUPPORTED_ARCH, sizeof(val), &list) != 1)
		return 0;
	memcpy(&val, list, sizeof(val));
	kvfree(list);
	return val;
}

static bool vmx_feature(u32 index, u64 *val)
{
	long n;
	void *list;

	if (!cb_backend_vmx)
		return false;
	n = fetch_list(CORBEL_SUPPORTED_VMX, sizeof(*val), &list);
	if (n < 0)
		return false;
	if (index < n)
		*val = ((u64 *)list)[index];
	kvfree(list);
	return index < n;
}

/*
 * As the hypervisor has it for guests, which see no microcode. False: the machine has it not. Those
 * that tell of what is not there are there for VMMs on each machine, as in KVM.
 */
static bool read_feature(u32 index, u64 *val)
{
	*val = 0;
	switch (index) {
	case MSR_IA32_UCODE_REV:
	case MSR_IA32_PERF_CAPABILITIES:
		return true;
	case MSR_IA32_ARCH_CAPABILITIES:
		*val = arch_capabilities();
		return true;
	case MSR_DE_CFG:
		*val = LFENCE_SERIALIZE;
		return boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
		       boot_cpu_data.x86_vendor == X86_VENDOR_HYGON;
	case MSR_IA32_VMX_BASIC ... MSR_IA32_VMX_VMFUNC:
		return vmx_feature(index - MSR_IA32_VMX_BASIC, val);
	}
	return false;
}

long cb_msr_feature_list(struct kvm_msr_list __user *arg)
{
	static const u32 all[] = {MSR_IA32_UCODE_REV, MSR_IA32_ARCH_CAPABILITIES,
				  MSR_IA32_PERF_CAPABILITIES, MSR_DE_CFG};
	u32 have[ARRAY_SIZE(all) + VMX_MSRS], n = 0, i;
	u64 val;

	for (i = 0; i < ARRAY_SIZE(have); i++) {
		u32 index = i < ARRAY_SIZE(all) ? all[i] : MSR_IA32_VMX_BASIC + i - ARRAY_SIZE(all);

		if (read_feature(index, &val))
			have[n++] = index;
	}
	return put_msr_list(arg, have, n);
}

/* Returns the number of MSRs read: up to the first that is none of them. */
long cb_msr_features(struct kvm_msrs __user *arg)
{
	u32 i, n, index;
	u64 val;

	if (get_user(n, &arg->nmsrs))
		return -EFAULT;
	if (n > MAX_MSRS)
		return -E2BIG;
	for (i = 0; i < n; i++) {
		if (get_user(index, &arg->entries[i].index))
			return -EFAULT;
		if (!read_feature(index, &val))
			break;
		if (put_user(val, &arg->entries[i].data))
			return -EFAULT;
	}
	return i;
}
