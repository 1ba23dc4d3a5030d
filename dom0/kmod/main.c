// SPDX-License-Identifier: GPL-2.0-only
/* Finding the hypervisor, /dev/kvm, loading and unloading. */
#include "apf.h"
#include "dom0.h"
#include "hyperv.h"
#include "kmod.h"
#include "memory.h"

#include <linux/kmod.h>
#include <linux/miscdevice.h>
#include <linux/reboot.h>
#include <linux/suspend.h>
#include <linux/workqueue.h>
#include <asm/cpu_device_id.h>
#include <asm/processor.h>

bool cb_backend_vmx __ro_after_init;
/* So corbel_iommu.ko is there only where this one is, which tells when dom0's kernel ends. */
EXPORT_SYMBOL_GPL(cb_backend_vmx);
struct workqueue_struct *cb_wq;
static bool load_told;

/*
 * Capabilities that are simply there; what is in neither this list nor the switch below is missing.
 */
static const u16 caps_present[] = {
    KVM_CAP_IRQCHIP,
    KVM_CAP_HLT,
    KVM_CAP_USER_MEMORY,
    KVM_CAP_SET_TSS_ADDR,
    KVM_CAP_EXT_CPUID,
    KVM_CAP_EXT_EMUL_CPUID,
    KVM_CAP_CLOCKSOURCE,
    KVM_CAP_VAPIC,
    KVM_CAP_PIT,
    KVM_CAP_NOP_IO_DELAY,
    KVM_CAP_MP_STATE,
    KVM_CAP_SYNC_MMU,
    KVM_CAP_DESTROY_MEMORY_REGION_WORKS,
    KVM_CAP_USER_NMI,
    KVM_CAP_REINJECT_CONTROL,
    KVM_CAP_IRQ_INJECT_STATUS,
    KVM_CAP_JOIN_MEMORY_REGIONS_WORKS,
    KVM_CAP_IRQFD,
    KVM_CAP_PIT2,
    KVM_CAP_SET_BOOT_CPU_ID,
    KVM_CAP_PIT_STATE2,
    KVM_CAP_IOEVENTFD,
    KVM_CAP_SET_IDENTITY_MAP_ADDR,
    KVM_CAP_INTERNAL_ERROR_DATA,
    KVM_CAP_VCPU_EVENTS,
    KVM_CAP_INTR_SHADOW,
    KVM_CAP_DEBUGREGS,
    KVM_CAP_XSAVE,
    KVM_CAP_XCRS,
    KVM_CAP_GET_TSC_KHZ,
    KVM_CAP_TSC_DEADLINE_TIMER,
    KVM_CAP_SIGNAL_MSI,
    KVM_CAP_READONLY_MEM,
    KVM_CAP_IRQFD_RESAMPLE,
    KVM_CAP_IOAPIC_POLARITY_IGNORED,
    KVM_CAP_DEVICE_CTRL,
    KVM_CAP_ENABLE_CAP_VM,
    KVM_CAP_IOEVENTFD_NO_LENGTH,
    KVM_CAP_CHECK_EXTENSION_VM,
    KVM_CAP_SPLIT_IRQCHIP,
    KVM_CAP_IOEVENTFD_ANY_LENGTH,
    KVM_CAP_IMMEDIATE_EXIT,
    KVM_CAP_STEAL_TIME,
    KVM_CAP_MMU_SHADOW_CACHE_CONTROL,
    KVM_CAP_COALESCED_PIO,
    KVM_CAP_KVMCLOCK_CTRL,
    KVM_CAP_GET_MSR_FEATURES,
    KVM_CAP_ENABLE_CAP,
    KVM_CAP_BINARY_STATS_FD,
    KVM_CAP_SYSTEM_EVENT_DATA,
    KVM_CAP_LAST_CPU,
    KVM_CAP_X86_ROBUST_SINGLESTEP,
    KVM_CAP_SET_GUEST_DEBUG,
    KVM_CAP_SREGS2,
    KVM_CAP_X86_USER_SPACE_MSR,
    KVM_CAP_X86_MSR_FILTER,
    KVM_CAP_PMU_EVENT_FILTER,
    KVM_CAP_EXIT_ON_EMULATION_FAILURE,
    KVM_CAP_EXCEPTION_PAYLOAD,
    KVM_CAP_X86_TRIPLE_FAULT_EVENT,
    KVM_CAP_VCPU_ATTRIBUTES,
    KVM_CAP_SYS_ATTRIBUTES,
    KVM_CAP_HYPERV,
    KVM_CAP_HYPERV_VAPIC,
    KVM_CAP_HYPERV_SPIN,
    KVM_CAP_HYPERV_TIME,
    KVM_CAP_HYPERV_VP_INDEX,
    KVM_CAP_HYPERV_CPUID,
    KVM_CAP_SYS_HYPERV_CPUID,
    KVM_CAP_HYPERV_ENFORCE_CPUID,
    KVM_CAP_ENFORCE_PV_FEATURE_CPUID,
    KVM_CAP_MSR_PLATFORM_INFO,
    KVM_CAP_HYPERV_SEND_IPI,
    KVM_CAP_HYPERV_TLBFLUSH,
    KVM_CAP_HYPERV_SYNIC,
    KVM_CAP_HYPERV_SYNIC2,
    KVM_CAP_HYPERV_EVENTFD,
    KVM_CAP_X86_SMM,
    KVM_CAP_USER_MEMORY2,
    KVM_CAP_PRE_FAULT_MEMORY,
    KVM_CAP_ASYNC_PF,
    KVM_CAP_ASYNC_PF_INT,
    KVM_CAP_MEMORY_FAULT_INFO,
    KVM_CAP_X86_GUEST_MODE,
};

long cb_check_extension(const struct cb_vm *vm, long cap)
{
	size_t i;

	switch (cap) {
	case KVM_CAP_NR_VCPUS:
		return min(num_online_cpus(), CB_MAX_VCPUS);
	case KVM_CAP_MAX_VCPUS:
		return CB_MAX_VCPUS;
	case KVM_CAP_MAX_VCPU_ID:
		return CB_MAX_VCPU_ID;
	case KVM_CAP_NR_MEMSLOTS:
		return CB_MAX_SLOTS;
	case KVM_CAP_IRQ_ROUTING:
		return CB_MAX_ROUTES;
	case KVM_CAP_ADJUST_CLOCK:
		return CB_CLOCK_FLAGS;
	case KVM_CAP_MCE:
		return CORBEL_MCE_BANKS;
	case KVM_CAP_COALESCED_MMIO:
		return KVM_COALESCED_MMIO_PAGE_OFFSET;
	case KVM_CAP_MULTI_ADDRESS_SPACE:
		return vm && vm->has_private ? 1 : CB_SPACES;
	case KVM_CAP_VM_TYPES:
		return BIT(KVM_X86_DEFAULT_VM) | BIT(KVM_X86_SW_PROTECTED_VM);
	case KVM_CAP_MEMORY_ATTRIBUTES:
		return cb_attributes(vm);
	case KVM_CAP_GUEST_MEMFD:
		return !!cb_attributes(vm);
	case KVM_CAP_XSAVE2: /* nothing that is larger, as AMX's tiles */
		return sizeof(struct kvm_xsave);
	case KVM_CAP_SYNC_REGS:
		return KVM_SYNC_X86_VALID_FIELDS;
	case KVM_CAP_SET_GUEST_DEBUG2:
		return CB_GUEST_DEBUG;
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return CB_MANUAL_LOG;
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return CB_RING_BYTES;
	case KVM_CAP_EXIT_HYPERCALL:
		return CB_EXIT_HYPERCALLS;
	case KVM_CAP_DISABLE_QUIRKS:
		return 1;
	case KVM_CAP_DISABLE_QUIRKS2:
		return CB_QUIRKS;
	case KVM_CAP_X2APIC_API:
		return CB_X2APIC_API;
	case KVM_CAP_X86_DISABLE_EXITS:
		return cb_optional_exits();
	case KVM_CAP_X86_APIC_BUS_CYCLES_NS:
		return 1; /* what a cycle takes by default */
	case KVM_CAP_NESTED_STATE:
		if (!(cb_features & CORBEL_FEATURE_NESTED))
			return 0;
		return cb_backend_vmx ? CB_NESTED_VMX : CB_NESTED_SVM;
	case KVM_CAP_HYPERV_ENLIGHTENED_VMCS:
		return !!(cb_features & CORBEL_FEATURE_EVMCS);
	case KVM_CAP_PMU_CAPABILITY:
		return cb_has_pmu() ? KVM_PMU_CAP_DISABLE : 0;
	case KVM_CAP_TSC_CONTROL:
	case KVM_CAP_VM_TSC_CONTROL:
		return !!(cb_features & CORBEL_FEATURE_TSC_SCALE);
	}
	for (i = 0; i < ARRAY_SIZE(caps_present); i++)
		if (caps_present[i] == cap)
			return 1;
	return 0;
}

/*
 * The leaves that KVM tells of, which VMMs may count on. Nothing is emulated beyond what
 * KVM_GET_SUPPORTED_CPUID lists, so they have no features.
 */
static long emulated_cpuid(struct kvm_cpuid2 __user *arg)
{
	static const struct kvm_cpuid_entry2 leaves[] = {
	    {.function = 0, .eax = 7},
	    {.function = 1},
	    {.function = 7, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX},
	};
	u32 room;

	if (get_user(room, &arg->nent))
		return -EFAULT;
	if (room < ARRAY_SIZE(leaves))
		return -E2BIG;
	if (copy_to_user(arg->entries, leaves, sizeof(leaves)))
		return -EFAULT;
	return put_user(ARRAY_SIZE(leaves), &arg->nent) ? -EFAULT : 0;
}

/* Which bits of MCG_CAP KVM_X86_SETUP_MCE takes. */
static long mce_cap(void __user *arg)
{
	u64 cap = CORBEL_MCE_CAPS;

	return copy_to_user(arg, &cap, sizeof(cap)) ? -EFAULT : 0;
}

static long kvm_dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case KVM_GET_API_VERSION:
		return arg ? -EINVAL : KVM_API_VERSION;
	case KVM_CREATE_VM:
		return cb_vm_create(file, arg);
	case KVM_CHECK_EXTENSION:
		return cb_check_extension(NULL, arg);
	case KVM_GET_VCPU_MMAP_SIZE:
		return arg ? -EINVAL : CB_RUN_PAGES * PAGE_SIZE;
	case KVM_GET_SUPPORTED_CPUID:
		return cb_supported_cpuid(argp);
	case KVM_GET_EMULATED_CPUID:
		return emulated_cpuid(argp);
	case KVM_X86_GET_MCE_CAP_SUPPORTED:
		return mce_cap(argp);
	case KVM_GET_SUPPORTED_HV_CPUID:
		return cb_hyperv_cpuid(argp, true, cb_features & CORBEL_FEATURE_EVMCS);
	case KVM_GET_MSR_INDEX_LIST:
		return cb_msr_index_list(argp);
	case KVM_GET_MSR_FEATURE_INDEX_LIST:
		return cb_msr_feature_list(argp);
	case KVM_GET_MSRS:
		return cb_msr_features(argp);
	case KVM_HAS_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
		return cb_system_attr(argp, cmd == KVM_GET_DEVICE_ATTR);
	}
	return -ENOTTY;
}

static const struct file_operations kvm_dev_fops = {
    .owner = THIS_MODULE,
    .unlocked_ioctl = kvm_dev_ioctl,
    .compat_ioctl = compat_ptr_ioctl,
    .llseek = noop_llseek,
};

static struct miscdevice kvm_dev = {
    .minor = KVM_MINOR,
    .name = "kvm",
    .mode = 0660,
    .fops = &kvm_dev_fops,
};

/*
 * What the hypervisor would not survive, and whose last step it refuses; here it is early enough
 * for dom0 to go on as if nothing was. Suspend it can, where the machine has it.
 */
static int prepare_sleep(struct notifier_block *nb, unsigned long action, void *unused)
{
	switch (action) {
	case PM_SUSPEND_PREPARE:
		if (cb_features & CORBEL_FEATURE_SLEEP)
			return NOTIFY_DONE;
		break;
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		break;
	default:
		return NOTIFY_DONE;
	}
	pr_err("no %s under Corbel%s, whose guests would be lost: use poweroff or reboot\n",
	       action == PM_SUSPEND_PREPARE ? "suspend" : "hibernation",
	       action == PM_SUSPEND_PREPARE ? " on this machine" : "");
	return notifier_from_errno(-EOPNOTSUPP);
}

static struct notifier_block sleep_notifier = {
    .notifier_call = prepare_sleep,
    .priority = INT_MAX,
};

/*
 * By kexec another kernel may get all memory, guests' too. Of a crash, when nobody is asked, the
 * hypervisor learns by itself.
 */
static int end_guests(struct notifier_block *nb, unsigned long action, void *unused)
{
	cb_offline_give_back();
	HC1(KERNEL, 0);
	return NOTIFY_DONE;
}

static struct notifier_block reboot_notifier = {
    .notifier_call = end_guests,
};

/*
 * Says in a line why not: -ENODEV. CPUID leaves from 0x40000000 on mean
 * something only under a hypervisor.
 */
static int __init find_hypervisor(void)
{
	u32 eax, ebx, ecx, edx;
	long version;

	cpuid(1, &eax, &ebx, &ecx, &edx);
	if (!(ecx & BIT(31)))
		goto none;
	cpuid(CORBEL_CPUID_BASE, &eax, &ebx, &ecx, &edx);
	if (ebx != CORBEL_CPUID_SIG_EBX || ecx != CORBEL_CPUID_SIG_ECX ||
	    edx != CORBEL_CPUID_SIG_EDX || eax < CORBEL_CPUID_ABI)
		goto none;
	cpuid(CORBEL_CPUID_ABI, &eax, &ebx, &ecx, &edx);
	if (!(ecx & 1)) {
		pr_err("this is a guest of Corbel, not its dom0, where this module belongs\n");
		return -ENODEV;
	}
	if (eax != CORBEL_ABI_VERSION || (ebx != CORBEL_BACKEND_SVM && ebx != CORBEL_BACKEND_VMX)) {
		pr_err("the hypervisor speaks ABI version %u, this module %u: boot the Corbel this "
		       "module came with\n",
		       eax, CORBEL_ABI_VERSION);
		return -ENODEV;
	}
	cb_backend_vmx = ebx == CORBEL_BACKEND_VMX;
	version = HC0(VERSION);
	if (version != CORBEL_ABI_VERSION) {
		pr_err("the hypervisor does not answer hypercalls (%ld)\n", version);
		return -ENODEV;
	}
	return 0;
none:
	pr_err("no Corbel hypervisor under this kernel: boot Corbel from GRUB, then load this "
	       "module\n");
	return -ENODEV;
}

static int __init corbel_init(void)
{
	int r = find_hypervisor();

	if (r)
		return r;
	cb_wq = alloc_workqueue("corbel", 0, 0);
	if (!cb_wq)
		return -ENOMEM;
	r = cb_apf_init();
	if (r)
		goto out_wq;
	r = cb_event_init();
	if (r)
		goto out_apf;
	load_told = !cb_load_init();
	if (!load_told)
		pr_warn(
		    "this kernel does not tell what runs: dom0 gets the share of two threads on "
		    "each CPU\n");
	r = cb_devctl_init();
	if (r)
		goto out_load;
	r = cb_sysfs_init();
	if (r)
		goto out_devctl;
	cb_counts_init();
	r = register_pm_notifier(&sleep_notifier);
	if (r)
		goto out_sysfs;
	r = register_reboot_notifier(&reboot_notifier);
	if (r)
		goto out_notifier;
	r = misc_register(&kvm_dev);
	if (r) {
		pr_err("/dev/kvm is taken (%d): unload kvm.ko first\n", r);
		goto out_reboot;
	}
	cb_idle_init();
	cb_cst_init();
	cb_offline_init();
	cb_crash_init();
	pr_info("/dev/kvm on the Corbel hypervisor, ABI %u, %s\n", CORBEL_ABI_VERSION,
		cb_backend_vmx ? "vmx" : "svm");
	/* libvirt looks for groups of devices before it loads VFIO, which would load the driver. */
	if (cb_strict)
		request_module_nowait("corbel_iommu");
	return 0;

out_reboot:
	unregister_reboot_notifier(&reboot_notifier);
out_notifier:
	unregister_pm_notifier(&sleep_notifier);
out_sysfs:
	cb_counts_exit();
	cb_sysfs_exit();
out_devctl:
	cb_devctl_exit();
out_load:
	if (load_told)
		cb_load_exit();
	cb_event_exit();
out_apf:
	cb_apf_exit();
out_wq:
	destroy_workqueue(cb_wq);
	return r;
}

static void __exit corbel_exit(void)
{
	misc_deregister(&kvm_dev);
	cb_crash_exit();
	cb_offline_exit();
	cb_cst_exit();
	cb_idle_exit();
	unregister_reboot_notifier(&reboot_notifier);
	unregister_pm_notifier(&sleep_notifier);
	cb_counts_exit();
	cb_sysfs_exit();
	cb_devctl_exit();
	if (load_told)
		cb_load_exit();
	cb_event_exit();
	cb_apf_exit();
	destroy_workqueue(cb_wq);
	rcu_barrier();
}

/* For udev, which loads the module under any hypervisor; corbel_init() sees whose it is. */
static const struct x86_cpu_id __maybe_unused under_hypervisor[] = {
    X86_MATCH_FEATURE(X86_FEATURE_HYPERVISOR, NULL), {}};
MODULE_DEVICE_TABLE(x86cpu, under_hypervisor);

module_init(corbel_init);
module_exit(corbel_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("KVM API on the Corbel hypervisor");
