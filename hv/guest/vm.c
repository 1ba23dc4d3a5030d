/* SPDX-License-Identifier: GPL-2.0-only */
/* VMs: table, creation, destruction; and dom0. */
#include "hv/guest/vm.h"
#include "hv/cpu/time.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/hvm.h"
#include "hv/lib/log.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

struct vm *dom0;
struct rwlock objects;
static struct vm *vms[MAX_VMS];
static u32 vms_used;
static struct lock vms_lock = LOCK_INIT(LOCK_VMS);

struct vm *vm_by_id(u64 id)
{
	return id < MAX_VMS ? __atomic_load_n(&vms[id], __ATOMIC_ACQUIRE) : NULL;
}

struct vm *vm_nth(u32 n)
{
	for (u32 i = 0; i < MAX_VMS; i++)
		if (vms[i] && !n--)
			return vms[i];
	return NULL;
}

u32 vm_count(void)
{
	return vms_used;
}

static int take_slot(struct vm *vm)
{
	int ret = -ENOSPC;

	lock_acquire(&vms_lock);
	for (u32 i = 0; i < MAX_VMS; i++) {
		if (vms[i])
			continue;
		vm->id = i;
		__atomic_store_n(&vms[i], vm, __ATOMIC_RELEASE);
		vms_used++;
		ret = i;
		break;
	}
	lock_release(&vms_lock);
	return ret;
}

#define VM_ORDER 0
_Static_assert(sizeof(struct vm) <= PAGE_SIZE << VM_ORDER, "a VM fits its page");

static struct vm *vm_alloc(const char *name, u32 pid, u32 flags)
{
	struct vm *vm = pool_alloc(VM_ORDER, NULL);

	if (!vm)
		return NULL;
	vm->lock.level = LOCK_VM;
	hv_snprintf(vm->name, sizeof(vm->name), "%s", name);
	vm->pid = pid;
	vm->flags = flags;
	vm->has_lapic = flags & CORBEL_VM_LAPIC;
	memset(vm->apic_to_index, 0xff, sizeof(vm->apic_to_index));
	vm->acct.pages = 1;
	vm->clock_offset_ns = -(s64)tsc_to_ns(rdtsc() - boot_tsc);
	return vm;
}

static void free_maps(struct vm *vm)
{
	pool_free(vm->msr_map, hvm_caps.msr_map_order, &vm->acct);
	pool_free(vm->io_map, hvm->io_map_order, &vm->acct);
}

/* MSRs that a guest may use without an exit: both vendors' back ends switch them. */
static const u32 direct_msrs[] = {
    0xc0000081 /* STAR */,	0xc0000082 /* LSTAR */,	  0xc0000083 /* CSTAR */,
    0xc0000084 /* SFMASK */,	0xc0000100 /* FS_BASE */, 0xc0000101 /* GS_BASE */,
    0xc0000102 /* KERNEL_GS */, 0x174 /* SYSENTER_CS */,  0x175 /* SYSENTER_ESP */,
    0x176 /* SYSENTER_EIP */,
};

/* All other MSRs, and all ports, exit. */
static int alloc_maps(struct vm *vm)
{
	vm->msr_map = pool_alloc(hvm_caps.msr_map_order, &vm->acct);
	vm->io_map = pool_alloc(hvm->io_map_order, &vm->acct);
	if (!vm->msr_map || !vm->io_map) {
		free_maps(vm);
		return -ENOMEM;
	}
	memset(vm->msr_map, 0xff, PAGE_SIZE << hvm_caps.msr_map_order);
	memset(vm->io_map, 0xff, PAGE_SIZE << hvm->io_map_order);
	for (u32 i = 0; i < ARRAY_SIZE(direct_msrs); i++)
		hvm->allow_msr(vm, direct_msrs[i]);
	return 0;
}

int vm_create(const struct corbel_vm_create *c)
{
	char name[sizeof(c->name)];
	struct vm *vm;
	int ret;

	if (c->flags & ~CORBEL_VM_LAPIC)
		return -EINVAL;
	memcpy(name, c->name, sizeof(name));
	for (u32 i = 0; i < sizeof(name); i++)
		if (name[i] && (name[i] < ' ' || name[i] > '~'))
			name[i] = '?';
	name[sizeof(name) - 1] = 0;
	vm = vm_alloc(name, c->pid, c->flags);
	if (!vm)
		return -ENOMEM;
	ret = alloc_maps(vm);
	if (ret)
		goto fail;
	ret = p2m_init(&vm->p2m, vm, false, hvm->p2m_format, &vm->acct);
	if (ret)
		goto fail_maps;
	ret = take_slot(vm);
	if (ret >= 0)
		return ret;
	p2m_destroy(&vm->p2m);
fail_maps:
	free_maps(vm);
fail:
	pool_free(vm, VM_ORDER, NULL);
	return ret;
}

struct vm *vm_create_dom0(const struct vm_ops *ops)
{
	dom0 = vm_alloc("dom0", 0, CORBEL_VM_LAPIC);
	if (!dom0)
		return NULL;
	dom0->is_dom0 = true;
	dom0->ops = ops;
	dom0->clock_offset_ns = 0;
	if (alloc_maps(dom0) || p2m_init(&dom0->p2m, dom0, true, hvm->p2m_format, NULL) ||
	    take_slot(dom0))
		return NULL;
	return dom0;
}

int vm_destroy(struct vm *vm)
{
	int ret;

	if (vm->is_dom0)
		return -EPERM;
	if (vm->vcpu_count)
		return -EBUSY;
	vm->dying = true;
	ret = p2m_destroy(&vm->p2m);
	if (ret)
		return ret;
	doorbell_destroy(vm);
	free_maps(vm);
	if (vm->acct.pages != 1)
		log_warn("vm %u (%s) leaves %llu pool pages", vm->id, vm->name,
			 (unsigned long long)vm->acct.pages - 1);
	lock_acquire(&vms_lock);
	__atomic_store_n(&vms[vm->id], NULL, __ATOMIC_RELEASE);
	vms_used--;
	lock_release(&vms_lock);
	pool_free(vm, VM_ORDER, NULL);
	return 0;
}

#define LOG_WINDOW_NS 10000000000ull
#define LOG_VM	      20
#define LOG_ALL	      60

static bool count_in_window(u64 *since, u32 *count, u32 max, u64 now)
{
	if (now - READ_ONCE(*since) > ns_to_tsc(LOG_WINDOW_NS)) {
		WRITE_ONCE(*since, now);
		WRITE_ONCE(*count, 0);
	}
	return __atomic_fetch_add(count, 1, __ATOMIC_RELAXED) < max;
}

bool vm_may_log(struct vm *vm)
{
	static u64 since;
	static u32 count;
	u64 now = rdtsc();

	if (vm->is_dom0)
		return true;
	if (!count_in_window(&vm->log_since, &vm->log_count, LOG_VM, now) ||
	    !count_in_window(&since, &count, LOG_ALL, now))
		return false;
	if (vm->log_count == LOG_VM)
		log_warn("vm %u (%s): too many messages, the next ones are left out", vm->id,
			 vm->name);
	return true;
}
