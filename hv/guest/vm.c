/* SPDX-License-Identifier: GPL-2.0-only */
/* VMs: table, creation, destruction; and dom0. */
#include "hv/guest/vcpu.h"
#include "hv/cpu/apic.h"
#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/dom0/load.h"
#include "hv/guest/doorbell.h"
#include "hv/dom0/hypercall.h"
#include "hv/lib/log.h"
#include "hv/guest/policy.h"
#include "hv/dom0/sleep.h"
#include "hv/lib/string.h"
#include "hv/cpu/time.h"
#include "boot/boot.h"

struct vm *dom0;
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

struct vcpu *vm_vcpu_by_apic(struct vm *vm, u32 apic_id)
{
	if (apic_id < ARRAY_SIZE(vm->apic_to_index)) {
		u8 i = vm->apic_to_index[apic_id];

		return i == 0xff ? NULL : vm->vcpu[i];
	}
	for (u32 i = 0; i < MAX_CPUS; i++)
		if (vm->vcpu[i] && vm->vcpu[i]->lapic.id == apic_id)
			return vm->vcpu[i];
	return NULL;
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
	pool_free(vm->msr_map, hvm->msr_map_order, &vm->acct);
	pool_free(vm->io_map, hvm->io_map_order, &vm->acct);
}

/* MSRs that a guest may use without an exit: both vendors' back ends switch them. */
static const u32 direct_msrs[] = {
	0xc0000081 /* STAR */,	0xc0000082 /* LSTAR */,	       0xc0000083 /* CSTAR */,	      0xc0000084 /* SFMASK */,
	0xc0000100 /* FS_BASE */, 0xc0000101 /* GS_BASE */,    0xc0000102 /* KERNEL_GS */,    0x174 /* SYSENTER_CS */,
	0x175 /* SYSENTER_ESP */, 0x176 /* SYSENTER_EIP */,
};

/* All other MSRs, and all ports, exit. */
static int alloc_maps(struct vm *vm)
{
	vm->msr_map = pool_alloc(hvm->msr_map_order, &vm->acct);
	vm->io_map = pool_alloc(hvm->io_map_order, &vm->acct);
	if (!vm->msr_map || !vm->io_map) {
		free_maps(vm);
		return -ENOMEM;
	}
	memset(vm->msr_map, 0xff, PAGE_SIZE << hvm->msr_map_order);
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
	ret = p2m_init(&vm->p2m, vm, hvm->p2m_format, &vm->acct);
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
		log_warn("vm %u (%s) leaves %llu pool pages", vm->id, vm->name, (unsigned long long)vm->acct.pages - 1);
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
	if (!count_in_window(&vm->log_since, &vm->log_count, LOG_VM, now) || !count_in_window(&since, &count, LOG_ALL, now))
		return false;
	if (vm->log_count == LOG_VM)
		log_warn("vm %u (%s): too many messages, the next ones are left out", vm->id, vm->name);
	return true;
}

/* ---- dom0 ---- */

static void set_boot_segment(struct vcpu *v, enum hvm_seg s, u16 sel, u8 type, bool code)
{
	struct corbel_segment seg = {
		.limit = 0xffffffff, .selector = sel, .type = type, .s = 1, .present = 1, .g = 1, .l = code, .db = !code,
	};

	hvm->set_seg(v, s, &seg);
}

/* The state the 64-bit boot protocol demands. */
static void set_boot_state(struct vcpu *v, const struct dom0_entry *e)
{
	struct corbel_dtable gdt = {.base = e->gdt, .limit = e->gdt_limit};

	hvm->set(v, HVM_CR3, e->cr3);
	vcpu_set_cr4(v, CR4_PAE);
	hvm->set(v, HVM_EFER, EFER_LME | EFER_LMA);
	hvm->set(v, HVM_CR0, CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP);
	set_boot_segment(v, HVM_CS, 0x10, 0xb, true);
	set_boot_segment(v, HVM_DS, 0x18, 0x3, false);
	set_boot_segment(v, HVM_ES, 0x18, 0x3, false);
	set_boot_segment(v, HVM_SS, 0x18, 0x3, false);
	hvm->set_dt(v, false, &gdt);
	v->rip = e->rip;
	v->gpr[RSI] = e->rsi;
}

static u32 dom0_vcpu_count(void)
{
	u32 n = boot_info.opt.dom0_max_vcpus;

	return n && n < cpu_count ? n : cpu_count;
}

void dom0_create(void)
{
	struct dom0_entry entry;
	u32 n = dom0_vcpu_count();

	policy_init();
	dom0_load(&entry);
	dom0 = vm_alloc("dom0", 0, CORBEL_VM_LAPIC);
	if (dom0)
		dom0->is_dom0 = true;
	if (!dom0 || alloc_maps(dom0) || p2m_init(&dom0->p2m, dom0, hvm->p2m_format, NULL) ||
	    p2m_dom0_init(&dom0->p2m, boot_info.max_ram_end))
		boot_fail("not enough hypervisor memory for dom0; give more with hvmem=");
	dom0->clock_offset_ns = 0;
	take_slot(dom0);
	/* dom0 sees its virtual LAPIC where the physical one is: that page must never be mapped. */
	if (p2m_set_mmio(&dom0->p2m, boot_info.acpi.lapic_addr >> PAGE_SHIFT))
		boot_fail("the local APIC lies in RAM at %llx; the firmware's tables are wrong",
			  (unsigned long long)boot_info.acpi.lapic_addr);
	for (u32 p = 0; p < 0x10000; p++)
		if (!vuart_owns(p) && !sleep_owns(p))
			dom0->io_map[p / 8] &= ~(1 << p % 8);
	dom0->bsp_apic_id = cpus[0]->apic_id;
	event_init();
	for (u32 i = 0; i < n; i++) {
		int id = vcpu_create(dom0, cpus[i]->apic_id);
		struct vcpu *v = vcpu_by_id(id);

		if (id < 0)
			boot_fail("cannot create dom0's vCPU %u (error %d); give more memory with hvmem=", i, id);
		cpuid_set_default(v);
		if (i == 0) {
			BUG_ON(!hvm->borrow(v));
			set_boot_state(v, &entry);
			hvm->give_back(v);
		}
	}
	log_info("dom0: %u vCPUs, entry %llx", n, (unsigned long long)entry.rip);
	for (u32 i = 0; i < n; i++)
		sched_wake(&dom0->vcpu[i]->sched);
}

/* Level-triggered vectors in service in this CPU's hardware, and those dom0 is done with. */
struct level_state {
	u64 owed[4], done[4];
};
static struct level_state level[MAX_CPUS];

void dom0_irq(u8 vector)
{
	struct cpu *c = this_cpu();
	struct vcpu *v = dom0 ? dom0->vcpu[c->index] : NULL;

	c->interrupts++;
	if (!apic_in_service(vector)) /* spurious: no EOI is due */
		return;
	if (!v) { /* a CPU without a dom0 vCPU: nobody asked for interrupts here */
		apic_eoi();
		return;
	}
	if (apic_is_level(vector)) {
		level[c->index].owed[vector / 64] |= BIT(vector % 64);
		level[c->index].done[vector / 64] &= ~BIT(vector % 64);
		if (!lapic_set_irq(v, vector, true))
			vcpu_level_eoi(v, vector); /* dom0's APIC is off: nobody will */
	} else {
		apic_eoi();
		lapic_set_irq(v, vector, false);
	}
}

/* The hardware's EOI ends the highest vector in service, so EOIs wait until all higher ones are done. */
static void hardware_eoi(struct level_state *l)
{
	for (int w = 3; w >= 0; w--) {
		while (l->owed[w]) {
			u64 bit = BIT(63 - __builtin_clzll(l->owed[w]));

			if (!(l->done[w] & bit))
				return;
			l->owed[w] &= ~bit;
			l->done[w] &= ~bit;
			apic_eoi();
		}
	}
}

void vcpu_level_eoi(struct vcpu *v, u8 vector)
{
	if (v->vm->is_dom0) {
		struct level_state *l = &level[this_cpu()->index];

		l->done[vector / 64] |= l->owed[vector / 64] & BIT(vector % 64);
		hardware_eoi(l);
	} else if (v->vm->eoi_mask[vector / 64] & BIT(vector % 64)) {
		v->page->eoi.vector = vector;
		vcpu_exit_to_dom0(v, CORBEL_EXIT_EOI);
	}
}
