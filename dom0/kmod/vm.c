// SPDX-License-Identifier: GPL-2.0-only
/* VM file descriptors: life time and ioctls. */
#include "hyperv.h"
#include "irq.h"
#include "kmod.h"
#include "memory.h"
#include "trace.h"

#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/ktime.h>
#include <linux/sched/mm.h>

#define MIN_MMU_PAGES 64 /* KVM's */

/*
 * KVM lets user space decide after KVM_CREATE_VM whether there are LAPICs, the hypervisor wants to
 * know at creation: so its VM is made with the first vCPU, and what was asked for before is handed
 * on then.
 */
static u32 creation_flags(const struct cb_vm *vm)
{
	u32 flags = vm->irqchip == CB_IRQCHIP_NONE ? 0 : CORBEL_VM_LAPIC;

	if (vm->irqchip == CB_IRQCHIP_FULL)
		flags |= CORBEL_VM_PIC;
	if (vm->no_exits & KVM_X86_DISABLE_EXITS_HLT)
		flags |= CORBEL_VM_HLT;
	if (vm->no_exits & KVM_X86_DISABLE_EXITS_MWAIT)
		flags |= CORBEL_VM_MWAIT;
	if (vm->no_exits & KVM_X86_DISABLE_EXITS_PAUSE)
		flags |= CORBEL_VM_PAUSE;
	if (vm->no_exits & KVM_X86_DISABLE_EXITS_CSTATE)
		flags |= CORBEL_VM_CSTATE;
	return flags;
}

static int create_in_hypervisor(struct cb_vm *vm)
{
	struct corbel_vm_create *c = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	char comm[TASK_COMM_LEN];
	long id;
	int r;

	if (!c)
		return -ENOMEM;
	get_task_comm(comm, current->group_leader);
	strscpy(c->name, comm, sizeof(c->name));
	c->pid = task_tgid_nr(current);
	c->flags = creation_flags(vm);
	c->bus_ns = vm->bus_ns;
	cb_account_pool(vm->account, c);
	id = HC1(VM_CREATE, cb_phys(c));
	free_page((unsigned long)c);
	if (id <= 0)
		return id < 0 ? cb_account_refused(vm->account, id, 0) : -EIO;
	r = HC2(BOOT_CPU, id, vm->boot_apic_id);
	if (r >= 0)
		r = HC3(CLOCK, id, 1, ktime_get_boottime_ns() + vm->clock_ns);
	if (r >= 0)
		r = cb_msr_realize(vm, id);
	if (r >= 0)
		r = cb_pmu_realize(vm, id);
	if (r >= 0)
		r = cb_mem_realize(vm, id);
	if (r < 0) {
		while (HC1(VM_DESTROY, id) == -EAGAIN)
			cond_resched();
		cb_account_take_back();
		return r;
	}
	return 0;
}

int cb_vm_realize(struct cb_vm *vm)
{
	int r = vm->id ? 0 : create_in_hypervisor(vm);

	return r ? r : cb_ioeventfd_realize(vm);
}

/* ---- the end ---- */

#define REAP_AGAIN HZ

/* Only when all have stopped does the hypervisor let go of one. */
static bool destroy_vcpus(struct cb_vm *vm)
{
	bool stopped = true;
	u32 i;

	for (i = 0; i < vm->vcpus; i++)
		stopped &= !cb_vcpu_stop(vm->vcpu[i]);
	while (stopped && vm->vcpus && cb_vcpu_destroy(vm->vcpu[vm->vcpus - 1]))
		vm->vcpus--;
	return !vm->vcpus;
}

/* False: a vCPU does not stop. */
static bool vm_free(struct cb_vm *vm)
{
	long r = 0;

	if (!destroy_vcpus(vm))
		return false;
	if (vm->id)
		while ((r = HC1(VM_DESTROY, vm->id)) == -EAGAIN)
			cond_resched();
	if (r < 0)
		pr_err("VM %u could not be destroyed (%ld); its memory in the hypervisor is lost\n",
		       vm->id, r);
	cb_account_take_back();
	cb_account_vm_gone(vm->account);
	cb_coalesced_exit(vm);
	cb_msr_exit(vm);
	cb_pmu_exit(vm);
	mmdrop(vm->mm);
	cb_mem_free(vm);
	if (vm->vcpu != vm->few)
		kfree(vm->vcpu);
	kfree(vm->few);
	kvfree_rcu(vm, rcu); /* trace.c goes from vCPUs to their VMs */
	return true;
}

static void reap_vm(struct work_struct *w)
{
	struct cb_vm *vm = container_of(to_delayed_work(w), struct cb_vm, reap);

	if (vm_free(vm))
		module_put(THIS_MODULE); /* whose exit waits for the rest of this function */
	else
		queue_delayed_work(cb_wq, &vm->reap, REAP_AGAIN);
}

/* What a vCPU that does not stop has, and its user's numbers, are given back when it does. */
static void vm_destroy(struct cb_vm *vm)
{
	cb_counts_remove(vm);
	cb_irqchip_exit(vm);
	cb_hyperv_exit(vm);
	cb_ioeventfd_release(vm);
	cb_mem_exit(vm);
	if (vm_free(vm))
		return;
	pr_warn("a vCPU of VM %u does not stop: what that has is taken back when it does\n",
		vm->id);
	__module_get(THIS_MODULE); /* the file that is being closed has it */
	INIT_DELAYED_WORK(&vm->reap, reap_vm);
	queue_delayed_work(cb_wq, &vm->reap, REAP_AGAIN);
}

void cb_vm_put(struct cb_vm *vm)
{
	if (refcount_dec_and_test(&vm->users))
		vm_destroy(vm);
}

static int vm_release(struct inode *inode, struct file *file)
{
	struct cb_vm *vm = file->private_data;

	cb_irqfd_release(vm);
	cb_vm_put(vm);
	return 0;
}

static int get_clock(struct cb_vm *vm, struct kvm_clock_data __user *arg)
{
	struct kvm_clock_data c = {.flags = CB_CLOCK_FLAGS};
	s64 ns;

	mutex_lock(&vm->lock);
	local_irq_disable(); /* the three are of one moment */
	ns = vm->id ? HC3(CLOCK, vm->id, 0, 0) : ktime_get_boottime_ns() + vm->clock_ns;
	c.host_tsc = rdtsc_ordered();
	c.realtime = ktime_get_real_ns();
	local_irq_enable();
	mutex_unlock(&vm->lock);
	if (ns < 0)
		return ns;
	c.clock = ns;
	return copy_to_user(arg, &c, sizeof(c)) ? -EFAULT : 0;
}

static int set_clock(struct cb_vm *vm, const struct kvm_clock_data __user *arg)
{
	struct kvm_clock_data c;
	u64 now;
	int r = 0;

	if (copy_from_user(&c, arg, sizeof(c)))
		return -EFAULT;
	/* It has gone on since it was read, by wall clocks that agree. */
	now = ktime_get_real_ns();
	if (c.flags & KVM_CLOCK_REALTIME && now > c.realtime && (s64)c.clock >= 0)
		c.clock += now - c.realtime;
	if ((c.flags & ~CB_CLOCK_FLAGS) || (s64)c.clock < 0)
		return -EINVAL;
	mutex_lock(&vm->lock);
	if (vm->id)
		r = HC3(CLOCK, vm->id, 1, c.clock);
	else
		vm->clock_ns = c.clock - ktime_get_boottime_ns();
	mutex_unlock(&vm->lock);
	cb_hyperv_clock_changed(vm);
	return r < 0 ? r : 0;
}

static int set_boot_cpu(struct cb_vm *vm, unsigned long apic_id)
{
	int r = -EBUSY;

	if (apic_id >= CB_MAX_VCPU_ID)
		return -EINVAL;
	mutex_lock(&vm->lock);
	if (vm->max_vcpu_id && apic_id > vm->max_vcpu_id) {
		r = -EINVAL;
	} else if (!vm->id) {
		vm->boot_apic_id = apic_id;
		r = 0;
	}
	mutex_unlock(&vm->lock);
	return r;
}

/* Once, and before there are vCPUs. */
static int set_max_vcpu_id(struct cb_vm *vm, u64 max)
{
	int r = -EINVAL;

	if (max > CB_MAX_VCPU_ID)
		return -EINVAL;
	mutex_lock(&vm->lock);
	if (!vm->max_vcpu_id && vm->boot_apic_id <= max)
		vm->max_vcpu_id = max;
	if (vm->max_vcpu_id == max)
		r = 0;
	mutex_unlock(&vm->lock);
	return r;
}

static int set_manual_log(struct cb_vm *vm, u64 how)
{
	if ((how & ~(u64)CB_MANUAL_LOG) || (how && !(how & KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE)))
		return -EINVAL;
	mutex_lock(&vm->slots_lock); /* a slot's log begins in one way or the other */
	vm->manual_log = how;
	mutex_unlock(&vm->slots_lock);
	return 0;
}

/* As in KVM nothing takes it back. */
static int enable_x2apic_api(struct cb_vm *vm, u64 how)
{
	if (how & ~(u64)CB_X2APIC_API)
		return -EINVAL;
	mutex_lock(&vm->lock);
	WRITE_ONCE(vm->x2apic_api, vm->x2apic_api | how);
	mutex_unlock(&vm->lock);
	return 0;
}

/* A bit of vm->services */
static void set_service(struct cb_vm *vm, u8 service, bool on)
{
	u32 i;

	mutex_lock(&vm->lock);
	WRITE_ONCE(vm->services, on ? vm->services | service : vm->services & ~service);
	for (i = 0; i < vm->vcpus; i++)
		WRITE_ONCE(vm->vcpu[i]->has_services, true);
	mutex_unlock(&vm->lock);
}

/* Unlike KVM_CAP_DISABLE_QUIRKS of KVM this takes none that stays. */
static int disable_quirks(struct cb_vm *vm, u64 quirks)
{
	u32 i;

	if (quirks & ~(u64)CB_QUIRKS)
		return -EINVAL;
	mutex_lock(&vm->lock);
	vm->quirks = quirks;
	for (i = 0; i < vm->vcpus; i++)
		WRITE_ONCE(vm->vcpu[i]->page->quirks, quirks);
	mutex_unlock(&vm->lock);
	return 0;
}

u32 cb_optional_exits(void)
{
	u32 exits =
	    KVM_X86_DISABLE_EXITS_HLT | KVM_X86_DISABLE_EXITS_PAUSE | KVM_X86_DISABLE_EXITS_CSTATE;

	return cb_features & CORBEL_FEATURE_MWAIT ? exits | KVM_X86_DISABLE_EXITS_MWAIT : exits;
}

/* As in newer KVMs, which refuse it once there are vCPUs. */
static int disable_exits(struct cb_vm *vm, u64 exits)
{
	int r = -EINVAL;

	if (exits & ~(u64)cb_optional_exits())
		return -EINVAL;
	mutex_lock(&vm->lock);
	if (!vm->id) {
		vm->no_exits |= exits;
		r = 0;
	}
	mutex_unlock(&vm->lock);
	return r;
}

/* How long a cycle of the LAPICs' timers takes. */
static int set_bus_ns(struct cb_vm *vm, u64 ns)
{
	int r = 0;

	if (!ns || ns > U64_MAX / (128ull * U32_MAX)) /* no timer ends behind the end of time */
		return -EINVAL;
	mutex_lock(&vm->lock);
	if (vm->irqchip == CB_IRQCHIP_NONE)
		r = -ENXIO;
	else if (vm->id)
		r = -EINVAL;
	else
		vm->bus_ns = ns;
	mutex_unlock(&vm->lock);
	return r;
}

static int enable_cap(struct cb_vm *vm, const struct kvm_enable_cap __user *arg)
{
	struct kvm_enable_cap cap;

	if (copy_from_user(&cap, arg, sizeof(cap)))
		return -EFAULT;
	if (cap.flags)
		return -EINVAL;
	switch (cap.cap) {
	case KVM_CAP_SPLIT_IRQCHIP:
		if (cap.args[0] > CB_MAX_ROUTES)
			return -EINVAL;
		return cb_irqchip_create(vm, CB_IRQCHIP_SPLIT, cap.args[0]);
	case KVM_CAP_MAX_VCPU_ID:
		return set_max_vcpu_id(vm, cap.args[0]);
	case KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2:
		return set_manual_log(vm, cap.args[0]);
	case KVM_CAP_DIRTY_LOG_RING:
	case KVM_CAP_DIRTY_LOG_RING_ACQ_REL:
		return cb_ring_enable(vm, cap.args[0]);
	case KVM_CAP_X86_USER_SPACE_MSR:
		return cb_msr_set_exits(vm, cap.args[0]);
	case KVM_CAP_PMU_CAPABILITY:
		return cb_pmu_set_capability(vm, cap.args[0]);
	case KVM_CAP_EXCEPTION_PAYLOAD:
		WRITE_ONCE(vm->exception_payload, !!cap.args[0]);
		return 0;
	case KVM_CAP_X86_TRIPLE_FAULT_EVENT:
		WRITE_ONCE(vm->triple_fault_event, !!cap.args[0]);
		return 0;
	case KVM_CAP_MSR_PLATFORM_INFO:
		set_service(vm, CORBEL_KVM_NO_PLATFORM_INFO, !cap.args[0]);
		return 0;
	case KVM_CAP_EXIT_ON_EMULATION_FAILURE:
		if (cap.args[0] > 1)
			return -EINVAL;
		set_service(vm, CORBEL_KVM_EMULATION_STOPS, cap.args[0]);
		return 0;
	case KVM_CAP_EXIT_HYPERCALL:
		if (cap.args[0] & ~CB_EXIT_HYPERCALLS)
			return -EINVAL;
		set_service(vm, CORBEL_KVM_MAP_GPA_RANGE, cap.args[0]);
		return 0;
	case KVM_CAP_DISABLE_QUIRKS:
	case KVM_CAP_DISABLE_QUIRKS2:
		return disable_quirks(vm, cap.args[0]);
	case KVM_CAP_X2APIC_API:
		return enable_x2apic_api(vm, cap.args[0]);
	case KVM_CAP_X86_DISABLE_EXITS:
		return disable_exits(vm, cap.args[0]);
	case KVM_CAP_X86_APIC_BUS_CYCLES_NS:
		return set_bus_ns(vm, cap.args[0]);
	}
	return -EINVAL;
}

/* The frequency of vCPUs to come. The hypervisor has its own idea of which are possible. */
static int set_tsc_khz(struct cb_vm *vm, unsigned long khz)
{
	bool own = !khz || khz == cb_tsc_khz;

	if (khz > S32_MAX || (!own && !(cb_features & CORBEL_FEATURE_TSC_SCALE)))
		return -EINVAL;
	WRITE_ONCE(vm->tsc_khz, own ? 0 : khz);
	return 0;
}

/* A bound for shadow page tables, of which there are none: it is only kept. */
static int set_mmu_pages(struct cb_vm *vm, u32 pages)
{
	if (pages < MIN_MMU_PAGES)
		return -EINVAL;
	WRITE_ONCE(vm->mmu_pages, pages);
	return 0;
}

static int irq_line(struct cb_vm *vm, struct kvm_irq_level __user *arg, bool status)
{
	struct kvm_irq_level l;

	if (copy_from_user(&l, arg, sizeof(l)))
		return -EFAULT;
	if (vm->irqchip == CB_IRQCHIP_NONE)
		return -ENXIO;
	l.status = cb_irq_set(vm, CB_SRC_USER, l.irq, l.level);
	if (status && copy_to_user(arg, &l, sizeof(l)))
		return -EFAULT;
	return 0;
}

static int set_routing(struct cb_vm *vm, const struct kvm_irq_routing __user *arg)
{
	struct kvm_irq_routing_entry *e = NULL;
	struct kvm_irq_routing head;
	u32 i;
	int r;

	if (copy_from_user(&head, arg, sizeof(head)))
		return -EFAULT;
	if (vm->irqchip == CB_IRQCHIP_NONE || head.flags || head.nr > CB_MAX_ROUTES)
		return -EINVAL;
	if (head.nr) {
		e = vmemdup_user(arg->entries, array_size(sizeof(*e), head.nr));
		if (IS_ERR(e))
			return PTR_ERR(e);
	}
	for (i = 0, r = 0; i < head.nr; i++)
		if (e[i].type == KVM_IRQ_ROUTING_MSI && cb_msi_is_bad(vm, e[i].u.msi.address_hi))
			r = -EINVAL;
	if (!r)
		r = cb_irq_set_routing(vm, e, head.nr);
	kvfree(e);
	return r;
}

static int signal_msi(struct cb_vm *vm, const struct kvm_msi __user *arg)
{
	struct kvm_msi m;

	if (copy_from_user(&m, arg, sizeof(m)))
		return -EFAULT;
	if (vm->irqchip == CB_IRQCHIP_NONE || m.flags || cb_msi_is_bad(vm, m.address_hi))
		return -EINVAL;
	trace_kvm_msi_set_irq((u64)m.address_hi << 32 | m.address_lo, m.data);
	return cb_irq_msi(vm, (u64)m.address_hi << 32 | m.address_lo, m.data);
}

/* 512 bytes of chip state do not belong on the stack. */
static int irqchip_state(struct cb_vm *vm, struct kvm_irqchip __user *arg, bool set)
{
	struct kvm_irqchip *chip = memdup_user(arg, sizeof(*chip));
	int r = -ENXIO;

	if (IS_ERR(chip))
		return PTR_ERR(chip);
	if (vm->irqchip == CB_IRQCHIP_FULL)
		r = set ? cb_irqchip_set(vm, chip) : cb_irqchip_get(vm, chip);
	if (!r && !set && copy_to_user(arg, chip, sizeof(*chip)))
		r = -EFAULT;
	kfree(chip);
	return r;
}

/* KVM_{GET,SET}_PIT know no flags, KVM_{GET,SET}_PIT2 do; the channels come first in both. */
static int pit_state(struct cb_vm *vm, void __user *arg, bool set, size_t len)
{
	struct kvm_pit_state2 s = {};

	if (set && copy_from_user(&s, arg, len))
		return -EFAULT;
	if (!smp_load_acquire(&vm->pit))
		return -ENXIO;
	if (set)
		return cb_pit_set(vm->pit, &s);
	cb_pit_get(vm->pit, &s);
	return copy_to_user(arg, &s, len) ? -EFAULT : 0;
}

static int create_pit(struct cb_vm *vm, const struct kvm_pit_config __user *arg)
{
	struct kvm_pit_config c = {.flags = KVM_PIT_SPEAKER_DUMMY};

	if (arg && copy_from_user(&c, arg, sizeof(c)))
		return -EFAULT;
	return cb_pit_create(vm, c.flags);
}

static int reinject_control(struct cb_vm *vm, const struct kvm_reinject_control __user *arg)
{
	struct kvm_reinject_control c;

	if (copy_from_user(&c, arg, sizeof(c)))
		return -EFAULT;
	if (!smp_load_acquire(&vm->pit))
		return -ENXIO;
	cb_pit_reinject(vm->pit, c.pit_reinject);
	return 0;
}

static long vm_irq_ioctl(struct cb_vm *vm, unsigned int cmd, unsigned long arg)
{
	void __user *argp = (void __user *)arg;
	struct kvm_irqfd irqfd;
	struct kvm_ioeventfd ioeventfd;

	switch (cmd) {
	case KVM_CREATE_IRQCHIP:
		return cb_irqchip_create(vm, CB_IRQCHIP_FULL, 0);
	case KVM_GET_IRQCHIP:
		return irqchip_state(vm, argp, false);
	case KVM_SET_IRQCHIP:
		return irqchip_state(vm, argp, true);
	case KVM_IRQ_LINE:
		return irq_line(vm, argp, false);
	case KVM_IRQ_LINE_STATUS:
		return irq_line(vm, argp, true);
	case KVM_SET_GSI_ROUTING:
		return set_routing(vm, argp);
	case KVM_SIGNAL_MSI:
		return signal_msi(vm, argp);
	case KVM_IRQFD:
		return copy_from_user(&irqfd, argp, sizeof(irqfd)) ? -EFAULT : cb_irqfd(vm, &irqfd);
	case KVM_IOEVENTFD:
		return copy_from_user(&ioeventfd, argp, sizeof(ioeventfd))
			   ? -EFAULT
			   : cb_ioeventfd(vm, &ioeventfd);
	case KVM_CREATE_PIT:
		return create_pit(vm, NULL);
	case KVM_CREATE_PIT2:
		return create_pit(vm, argp);
	case KVM_GET_PIT:
		return pit_state(vm, argp, false, sizeof(struct kvm_pit_state));
	case KVM_SET_PIT:
		return pit_state(vm, argp, true, sizeof(struct kvm_pit_state));
	case KVM_GET_PIT2:
		return pit_state(vm, argp, false, sizeof(struct kvm_pit_state2));
	case KVM_SET_PIT2:
		return pit_state(vm, argp, true, sizeof(struct kvm_pit_state2));
	case KVM_REINJECT_CONTROL:
		return reinject_control(vm, argp);
	}
	return -ENOTTY;
}

static int set_region(struct cb_vm *vm, const struct kvm_userspace_memory_region __user *arg)
{
	struct kvm_userspace_memory_region m;

	if (copy_from_user(&m, arg, sizeof(m)))
		return -EFAULT;
	if (m.flags & KVM_MEM_GUEST_MEMFD) /* there is no room for it */
		return -EINVAL;
	return cb_mem_set_region(
	    vm, &(struct kvm_userspace_memory_region2){.slot = m.slot,
						       .flags = m.flags,
						       .guest_phys_addr = m.guest_phys_addr,
						       .memory_size = m.memory_size,
						       .userspace_addr = m.userspace_addr});
}

static int set_region2(struct cb_vm *vm, const struct kvm_userspace_memory_region2 __user *arg)
{
	struct kvm_userspace_memory_region2 m;

	if (copy_from_user(&m, arg, sizeof(m)))
		return -EFAULT;
	return cb_mem_set_region(vm, &m);
}

static int set_attributes(struct cb_vm *vm, const struct kvm_memory_attributes __user *arg)
{
	struct kvm_memory_attributes a;

	return copy_from_user(&a, arg, sizeof(a)) ? -EFAULT : cb_set_attributes(vm, &a);
}

static int create_gmem(struct cb_vm *vm, const struct kvm_create_guest_memfd __user *arg)
{
	struct kvm_create_guest_memfd c;

	return copy_from_user(&c, arg, sizeof(c)) ? -EFAULT : cb_gmem_create(vm, &c);
}

/* Pointers of 32-bit programs stand in 64 bits, of which half may be anything. */
static int get_dirty_log(struct cb_vm *vm, const struct kvm_dirty_log __user *arg)
{
	struct kvm_dirty_log log;

	if (copy_from_user(&log, arg, sizeof(log)))
		return -EFAULT;
	if (in_compat_syscall())
		log.dirty_bitmap = compat_ptr(log.padding2);
	return cb_mem_dirty_log(vm, &log);
}

static int clear_dirty_log(struct cb_vm *vm, const struct kvm_clear_dirty_log __user *arg)
{
	struct kvm_clear_dirty_log log;

	if (copy_from_user(&log, arg, sizeof(log)))
		return -EFAULT;
	if (in_compat_syscall())
		log.dirty_bitmap = compat_ptr(log.padding2);
	return cb_mem_clear_dirty_log(vm, &log);
}

static long vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct cb_vm *vm = file->private_data;
	void __user *argp = (void __user *)arg;
	struct kvm_coalesced_mmio_zone zone;
	u64 addr;

	if (vm->mm != current->mm)
		return -EIO;
	switch (cmd) {
	case KVM_CHECK_EXTENSION:
		return cb_check_extension(vm, arg);
	case KVM_CREATE_VCPU:
		return arg > U32_MAX ? -EINVAL : cb_vcpu_create(vm, arg);
	case KVM_SET_USER_MEMORY_REGION:
		return set_region(vm, argp);
	case KVM_SET_USER_MEMORY_REGION2:
		return set_region2(vm, argp);
	case KVM_SET_MEMORY_ATTRIBUTES:
		return set_attributes(vm, argp);
	case KVM_CREATE_GUEST_MEMFD:
		return create_gmem(vm, argp);
	case KVM_GET_DIRTY_LOG:
		return get_dirty_log(vm, argp);
	case KVM_CLEAR_DIRTY_LOG:
		return clear_dirty_log(vm, argp);
	case KVM_RESET_DIRTY_RINGS:
		return cb_ring_reset(vm);
	case KVM_REGISTER_COALESCED_MMIO:
		return copy_from_user(&zone, argp, sizeof(zone)) ? -EFAULT
								 : cb_coalesced_add(vm, &zone);
	case KVM_UNREGISTER_COALESCED_MMIO:
		return copy_from_user(&zone, argp, sizeof(zone)) ? -EFAULT
								 : cb_coalesced_del(vm, &zone);
	case KVM_SET_TSS_ADDR: /* nested paging needs no such pages */
		return arg > SZ_4G - 3 * PAGE_SIZE ? -EINVAL : 0;
	case KVM_SET_IDENTITY_MAP_ADDR:
		if (copy_from_user(&addr, argp, sizeof(addr)))
			return -EFAULT;
		return vm->vcpus ? -EINVAL : 0;
	case KVM_SET_BOOT_CPU_ID:
		return set_boot_cpu(vm, arg);
	case KVM_GET_CLOCK:
		return get_clock(vm, argp);
	case KVM_SET_CLOCK:
		return set_clock(vm, argp);
	case KVM_ENABLE_CAP:
		return enable_cap(vm, argp);
	case KVM_SET_TSC_KHZ:
		return set_tsc_khz(vm, arg);
	case KVM_GET_TSC_KHZ:
		return READ_ONCE(vm->tsc_khz) ?: cb_tsc_khz;
	case KVM_X86_SET_MSR_FILTER:
		return cb_msr_set_filter(vm, argp, false);
	case KVM_SET_PMU_EVENT_FILTER:
		return cb_pmu_set_filter(vm, argp);
	case KVM_GET_STATS_FD:
		return cb_stats_fd(vm, NULL);
	case KVM_HYPERV_EVENTFD:
		return cb_synic_eventfd(vm, argp);
	case KVM_CREATE_DEVICE:
		return cb_create_device(vm, argp);
	case KVM_SET_NR_MMU_PAGES:
		return set_mmu_pages(vm, arg);
	case KVM_GET_NR_MMU_PAGES:
		return READ_ONCE(vm->mmu_pages);
	}
	return vm_irq_ioctl(vm, cmd, arg);
}

static long vm_compat_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct cb_vm *vm = file->private_data;

	if (cmd == CB_SET_MSR_FILTER_COMPAT)
		return vm->mm != current->mm ? -EIO : cb_msr_set_filter(vm, compat_ptr(arg), true);
	return vm_ioctl(file, cmd, (unsigned long)compat_ptr(arg));
}

static const struct file_operations vm_fops = {
    .owner = THIS_MODULE,
    .release = vm_release,
    .unlocked_ioctl = vm_ioctl,
    .compat_ioctl = vm_compat_ioctl,
    .llseek = noop_llseek,
};

static int vm_open(struct cb_vm *vm)
{
	int fd = get_unused_fd_flags(O_CLOEXEC);
	struct file *file;

	if (fd < 0)
		return fd;
	file = anon_inode_getfile("kvm-vm", &vm_fops, vm, O_RDWR);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	cb_counts_add(vm, fd);
	fd_install(fd, file);
	return fd;
}

int cb_vm_create(const struct file *kvm, unsigned long type)
{
	struct cb_vm *vm;
	int r;

	if (type != KVM_X86_DEFAULT_VM && type != KVM_X86_SW_PROTECTED_VM)
		return -EINVAL;
	vm = kvzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return -ENOMEM;
	vm->account = cb_account_vm(kvm);
	r = PTR_ERR_OR_ZERO(vm->account);
	if (r)
		goto out_free;
	refcount_set(&vm->users, 1);
	vm->has_private = type == KVM_X86_SW_PROTECTED_VM;
	mutex_init(&vm->lock);
	vm->clock_ns = -(s64)ktime_get_boottime_ns();
	vm->mm = current->mm;
	vm->pid = task_pid_nr(current);
	mutex_init(&vm->share_lock);
	vm->share = (u64)CB_SHARE_ALL.weight << 32 | CB_SHARE_ALL.cap;
	mmgrab(vm->mm);
	INIT_LIST_HEAD(&vm->ioeventfds);
	INIT_LIST_HEAD(&vm->slow_ioeventfds);
	cb_irqchip_init(vm);
	cb_hyperv_init(vm);
	cb_coalesced_init(vm);
	r = cb_mem_init(vm);
	if (r)
		goto out_mm;
	r = vm_open(vm);
	if (r < 0)
		cb_vm_put(vm);
	return r;

out_mm:
	mmdrop(vm->mm);
	cb_account_vm_gone(vm->account);
out_free:
	kvfree(vm);
	return r;
}
