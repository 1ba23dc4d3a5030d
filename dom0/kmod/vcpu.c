// SPDX-License-Identifier: GPL-2.0-only
/* vCPU file descriptors: life time, mmap, ioctls. */
#include "apf.h"
#include "dom0.h"
#include "hyperv.h"
#include "irq.h"
#include "kmod.h"
#include "memory.h"

#include <linux/anon_inodes.h>
#include <linux/delay.h>
#include <linux/fdtable.h>
#include <linux/file.h>

#define DESTROY_TRIES 5000 /* half a millisecond each */

static vm_fault_t vcpu_fault(struct vm_fault *vmf)
{
	struct cb_vcpu *v = vmf->vma->vm_file->private_data;
	void *ring = shared_plain(cb_ring_page(&v->dirty, vmf->pgoff - KVM_DIRTY_LOG_PAGE_OFFSET));
	struct page *page;
	void *at;

	if (vmf->pgoff == 0)
		at = shared_plain(v->run);
	else if (vmf->pgoff == KVM_PIO_PAGE_OFFSET)
		at = shared_plain(v->pio);
	else if (vmf->pgoff == KVM_COALESCED_MMIO_PAGE_OFFSET)
		at = shared_plain(cb_coalesced_ring(v->vm));
	else if (ring)
		at = ring;
	else
		return VM_FAULT_SIGBUS;
	if (!at)
		return VM_FAULT_OOM;
	page = at == ring ? vmalloc_to_page(at) : virt_to_page(at);
	get_page(page);
	vmf->page = page;
	return 0;
}

static const struct vm_operations_struct vcpu_vm_ops = {.fault = vcpu_fault};

/* As KVM has it, of the dirty ring there are no private copies, and no code is in it. */
static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	const struct cb_vcpu *v = file->private_data;
	u64 first = vma->vm_pgoff - KVM_DIRTY_LOG_PAGE_OFFSET;

	if ((cb_ring_page(&v->dirty, first) ||
	     cb_ring_page(&v->dirty, first + vma_pages(vma) - 1)) &&
	    (vma->vm_flags & VM_EXEC || !(vma->vm_flags & VM_SHARED)))
		return -EINVAL;
	vma->vm_ops = &vcpu_vm_ops;
	return 0;
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct cb_vcpu *v = file->private_data;

	if (v) /* else it could not be created */
		cb_vm_put(v->vm);
	return 0;
}

static int set_signal_mask(struct cb_vcpu *v, const struct kvm_signal_mask __user *arg)
{
	struct kvm_signal_mask head;
	sigset_t mask;

	if (!arg) {
		v->sigmask_set = false;
		return 0;
	}
	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	if (head.len != sizeof(mask))
		return -EINVAL;
	if (copy_from_user(&mask, arg->sigset, sizeof(mask)))
		return -EFAULT;
	sigdelsetmask(&mask, sigmask(SIGKILL) | sigmask(SIGSTOP));
	v->sigmask = mask;
	v->sigmask_set = true;
	return 0;
}

static long inject_interrupt(struct cb_vcpu *v, const struct kvm_interrupt __user *arg)
{
	struct kvm_interrupt irq;
	long r;

	if (copy_from_user(&irq, arg, sizeof(irq)))
		return -EFAULT;
	if (irq.irq > 255)
		return -EINVAL;
	switch (v->vm->irqchip) {
	case CB_IRQCHIP_FULL:
		return -ENXIO;
	/* user space is the PIC: the vector is fetched by CORBEL_EXIT_INTA */
	case CB_IRQCHIP_SPLIT:
		if (v->extint >= 0)
			return -EEXIST;
		r = HC2(EXTINT, v->number, 1);
		if (r >= 0)
			v->extint = irq.irq;
		break;
	default:
		*(u32 *)v->data = irq.irq;
		r = HC3(VCPU_SET, v->number, CORBEL_STATE_INTERRUPT, sizeof(u32));
	}
	return r < 0 ? r : 0;
}

/* Guests' accesses to the TPR of an xAPIC are to end KVM_RUN. */
static long report_tpr(struct cb_vcpu *v, struct kvm_tpr_access_ctl __user *arg)
{
	struct kvm_tpr_access_ctl ctl;

	if (copy_from_user(&ctl, arg, sizeof(ctl)))
		return -EFAULT;
	if (ctl.flags)
		return -EINVAL;
	WRITE_ONCE(v->page->tells_tpr, !!ctl.enabled);
	return copy_to_user(arg, &ctl, sizeof(ctl)) ? -EFAULT : 0;
}

/* Where in the guest's memory the hypervisor keeps the TPR; 0: nowhere. */
static long set_vapic_addr(struct cb_vcpu *v, const struct kvm_vapic_addr __user *arg)
{
	struct kvm_vapic_addr a;

	if (v->vm->irqchip == CB_IRQCHIP_NONE)
		return -EINVAL;
	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.vapic_addr && (a.vapic_addr >> PAGE_SHIFT >= cb_gfn_end ||
			     !cb_fault_hva(v->vm, a.vapic_addr, sizeof(u32), false)))
		return -EINVAL;
	*(u64 *)v->data = a.vapic_addr;
	return cb_state_set(v, CORBEL_STATE_VAPIC, sizeof(u64));
}

/* Of a vCPU there is one: its TSC's offset. */
static long device_attr(struct cb_vcpu *v, unsigned int cmd,
			const struct kvm_device_attr __user *arg)
{
	struct kvm_device_attr a;
	u64 __user *at;

	if (copy_from_user(&a, arg, sizeof(a)))
		return -EFAULT;
	if (a.group != KVM_VCPU_TSC_CTRL || a.attr != KVM_VCPU_TSC_OFFSET)
		return -ENXIO;
	at = u64_to_user_ptr(a.addr);
	switch (cmd) {
	case KVM_GET_DEVICE_ATTR:
		return cb_state_tsc_offset(v, at, false);
	case KVM_SET_DEVICE_ATTR:
		return cb_state_tsc_offset(v, at, true);
	}
	return 0;
}

static long enable_cap(struct cb_vcpu *v, const struct kvm_enable_cap __user *arg)
{
	struct kvm_enable_cap cap;

	if (copy_from_user(&cap, arg, sizeof(cap)))
		return -EFAULT;
	if (cap.flags)
		return -EINVAL;
	switch (cap.cap) {
	case KVM_CAP_HYPERV_ENFORCE_CPUID:
		cb_hyperv_enforce(v, cap.args[0]);
		return 0;
	case KVM_CAP_ENFORCE_PV_FEATURE_CPUID:
		v->pv_by_cpuid = cap.args[0] ? CORBEL_KVM_BY_CPUID : 0;
		v->has_services = true;
		return 0;
	case KVM_CAP_HYPERV_ENLIGHTENED_VMCS:
		return cb_hyperv_enable_evmcs(v, u64_to_user_ptr(cap.args[0]));
	case KVM_CAP_HYPERV_SYNIC2:
		return cap.args[0] ? -EINVAL : cb_synic_enable(v, false);
	case KVM_CAP_HYPERV_SYNIC:
		return cb_synic_enable(v, true);
	}
	return -EINVAL;
}

static long pre_fault(struct cb_vcpu *v, struct kvm_pre_fault_memory __user *arg)
{
	struct kvm_pre_fault_memory m;
	int r;

	if (copy_from_user(&m, arg, sizeof(m)))
		return -EFAULT;
	r = cb_pre_fault(v, &m);
	return !r && copy_to_user(arg, &m, sizeof(m)) ? -EFAULT : r;
}

static long vcpu_ioctl_locked(struct cb_vcpu *v, unsigned int cmd, unsigned long arg)
{
	long r;

	if (v->lost)
		return -EIO;
	switch (cmd) {
	case KVM_RUN:
		return arg ? -EINVAL : cb_vcpu_run(v);
	case KVM_INTERRUPT:
		return inject_interrupt(v, (void __user *)arg);
	case KVM_NMI:
		r = HC1(NMI, v->number);
		return r < 0 ? r : 0;
	case KVM_SMI:
		r = HC2(NMI, v->number, 1);
		return r < 0 ? r : 0;
	case KVM_KVMCLOCK_CTRL:
		r = HC3(VCPU_SET, v->number, CORBEL_STATE_CLOCK_STOPPED, 0);
		return r < 0 ? r : 0;
	case KVM_GET_STATS_FD:
		return cb_stats_fd(v->vm, v);
	case KVM_PRE_FAULT_MEMORY:
		return pre_fault(v, (void __user *)arg);
	case KVM_ENABLE_CAP:
		return enable_cap(v, (void __user *)arg);
	case KVM_GET_SUPPORTED_HV_CPUID:
		return cb_hyperv_cpuid((void __user *)arg, v->vm->irqchip != CB_IRQCHIP_NONE,
				       v->page->evmcs);
	case KVM_HAS_DEVICE_ATTR:
	case KVM_GET_DEVICE_ATTR:
	case KVM_SET_DEVICE_ATTR:
		return device_attr(v, cmd, (void __user *)arg);
	case KVM_TPR_ACCESS_REPORTING:
		return report_tpr(v, (void __user *)arg);
	case KVM_SET_VAPIC_ADDR:
		return set_vapic_addr(v, (void __user *)arg);
	case KVM_SET_SIGNAL_MASK:
		return set_signal_mask(v, (void __user *)arg);
	}
	return cb_state_ioctl(v, cmd, (void __user *)arg);
}

static long vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct cb_vcpu *v = file->private_data;
	long r;

	if (v->vm->mm != current->mm)
		return -EIO;
	if (_IOC_TYPE(cmd) != KVMIO)
		return -ENOTTY;
	if (mutex_lock_killable(&v->mutex))
		return -EINTR;
	r = vcpu_ioctl_locked(v, cmd, arg);
	mutex_unlock(&v->mutex);
	return r;
}

static const struct file_operations vcpu_fops = {
    .owner = THIS_MODULE,
    .release = vcpu_release,
    .unlocked_ioctl = vcpu_ioctl,
    .compat_ioctl = compat_ptr_ioctl,
    .mmap = vcpu_mmap,
    .llseek = noop_llseek,
};

static void vcpu_free(struct cb_vcpu *v)
{
	if (v->page)
		memunmap(v->page);
	free_page((unsigned long)v->run);
	free_page((unsigned long)v->pio);
	free_page((unsigned long)v->maps);
	cb_apf_free(v);
	cb_synic_free(v);
	cb_ring_free(&v->dirty);
	kfree_rcu(v, rcu);
}

/* The CPU it ran on may have to be seen first to let go of it. */
static long destroy_number(u64 number)
{
	long r;
	int i;

	for (i = 0; (r = HC1(VCPU_DESTROY, number)) == -EAGAIN && i < DESTROY_TRIES; i++)
		usleep_range(50, 1000);
	return r;
}

bool cb_vcpu_destroy(struct cb_vcpu *v)
{
	long r;

	cb_apf_cancel(v);
	/* Its number may be another vCPU's as soon as the hypervisor has it back. */
	cb_event_del_vcpu(v);
	r = destroy_number(v->number);
	if (r < 0 && r != -ENOENT)
		return false;
	cb_account_vcpu_gone(v->vm->account);
	vcpu_free(v);
	return true;
}

static struct cb_vcpu *vcpu_alloc(struct cb_vm *vm, u32 apic_id)
{
	struct cb_vcpu *v = kzalloc(sizeof(*v), GFP_KERNEL_ACCOUNT);

	if (!v)
		return NULL;
	v->vm = vm;
	v->apic_id = apic_id;
	v->extint = -1;
	v->share = CB_SHARE_ALL;
	v->cgroups_at = jiffies;
	v->smbase = SMM_BASE_RESET;
	mutex_init(&v->mutex);
	init_waitqueue_head(&v->wait);
	v->run = (void __shared *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	v->pio = (void __shared *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	v->maps = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!v->run || !v->pio || !v->maps || cb_apf_alloc(v)) {
		vcpu_free(v);
		return NULL;
	}
	return v;
}

/* What KVM_SET_TSC_KHZ said to the VM. */
static long set_vm_tsc_khz(struct cb_vcpu *v, u64 number)
{
	if (!v->vm->tsc_khz)
		return 0;
	*(u64 *)v->data = v->vm->tsc_khz;
	return HC3(VCPU_SET, number, CORBEL_STATE_TSC_KHZ, sizeof(u64));
}

/* It has begun with that quirk; tests/kvm/vmms.c has this fail. */
static noinline __noclone long reset_without_lint0(struct cb_vcpu *v)
{
	return cb_state_set(v, CORBEL_STATE_RESET, 0);
}

/* The hypervisor's half. */
static int vcpu_create(struct cb_vcpu *v)
{
	long number, pa, r;

	r = cb_vm_realize(v->vm);
	if (r)
		return r;
	number = HC2(VCPU_CREATE, v->vm->id, v->apic_id);
	if (number < 0)
		return cb_account_refused(v->vm->account, number, 0);
	pa = HC1(VCPU_PAGE, number);
	if (pa > 0)
		v->page = memremap(pa, 2 * PAGE_SIZE, MEMREMAP_WB);
	if (!v->page) {
		destroy_number(number);
		return pa < 0 ? pa : -ENOMEM;
	}
	v->data = (u8 *)v->page + PAGE_SIZE;
	v->page->exit.reason = CORBEL_NOT_TRACED;
	r = set_vm_tsc_khz(v, number);
	if (r < 0) {
		destroy_number(number);
		return r;
	}
	v->number = number;
	v->page->quirks = v->vm->quirks;
	if (v->page->quirks & CORBEL_QUIRK_LINT0)
		r = reset_without_lint0(v);
	if (r < 0) {
		v->number = 0;
		destroy_number(number);
		return r;
	}
	cb_event_add_vcpu(v);
	return 0;
}

static int vcpu_realize(struct cb_vcpu *v)
{
	int r = cb_account_vcpu(v->vm->account);

	if (r)
		return r;
	r = vcpu_create(v);
	if (r)
		cb_account_vcpu_gone(v->vm->account);
	return r;
}

/* There is a place for one more, below CB_MAX_VCPUS. */
static int make_room(struct cb_vm *vm)
{
	u32 room = vm->vcpus < CB_FEW_VCPUS ? CB_FEW_VCPUS : CB_MAX_VCPUS;
	struct cb_vcpu **table;

	if (vm->vcpu && vm->vcpus != CB_FEW_VCPUS)
		return 0;
	table = kcalloc(room, sizeof(vm->vcpu[0]), GFP_KERNEL_ACCOUNT);
	if (!table)
		return -ENOMEM;
	if (vm->few)
		memcpy(table, vm->few, CB_FEW_VCPUS * sizeof(vm->vcpu[0]));
	else
		vm->few = table;
	smp_store_release(&vm->vcpu, table);
	return 0;
}

static int vcpu_check_new(struct cb_vm *vm, u32 apic_id)
{
	u32 i;
	int r;

	if (vm->vcpus == CB_MAX_VCPUS || apic_id >= vm->max_vcpu_id)
		return -EINVAL;
	r = make_room(vm);
	if (r)
		return r;
	for (i = 0; i < vm->vcpus; i++)
		if (vm->vcpu[i]->apic_id == apic_id)
			return -EEXIST;
	return 0;
}

/* The new vCPU, which belongs to the VM and goes with it. */
static struct cb_vcpu *vcpu_add(struct cb_vm *vm, u32 apic_id)
{
	struct cb_vcpu *v = vcpu_alloc(vm, apic_id);
	int r;

	if (!v)
		return ERR_PTR(-ENOMEM);
	mutex_lock(&vm->lock);
	if (!vm->max_vcpu_id)
		vm->max_vcpu_id = CB_MAX_VCPU_ID;
	r = vcpu_check_new(vm, apic_id);
	if (!r)
		r = cb_ring_alloc(&v->dirty, vm->ring_entries);
	if (!r)
		r = vcpu_realize(v);
	if (r) {
		mutex_unlock(&vm->lock);
		vcpu_free(v);
		return ERR_PTR(r);
	}
	v->hyperv.index = vm->vcpus;
	v->has_services |= vm->services != 0;
	vm->vcpu[vm->vcpus] = v;
	smp_store_release(&vm->vcpus, vm->vcpus + 1);
	cb_irqchip_realize(vm);
	mutex_unlock(&vm->lock);
	return v;
}

int cb_vcpu_create(struct cb_vm *vm, u32 apic_id)
{
	struct cb_vcpu *v;
	struct file *file;
	char name[24];
	int fd;

	if (apic_id >= CB_MAX_VCPU_ID)
		return -EINVAL;
	fd = get_unused_fd_flags(O_CLOEXEC); /* first: a vCPU cannot be taken back */
	if (fd < 0)
		return fd;
	snprintf(name, sizeof(name), "kvm-vcpu:%u", apic_id);
	file = anon_inode_getfile(name, &vcpu_fops, NULL, O_RDWR);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	v = vcpu_add(vm, apic_id);
	if (IS_ERR(v)) {
		fput(file);
		put_unused_fd(fd);
		return PTR_ERR(v);
	}
	refcount_inc(&vm->users);
	file->private_data = v;
	fd_install(fd, file);
	return fd;
}
