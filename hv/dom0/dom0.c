/* SPDX-License-Identifier: GPL-2.0-only */
/* dom0: its creation, and what the hypervisor does for no other VM. */
#include "hv/dom0/dom0.h"
#include "boot/boot.h"
#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/dom0/hypercall.h"
#include "hv/dom0/irq.h"
#include "hv/dom0/load.h"
#include "hv/dom0/machine_msr.h"
#include "hv/dom0/sleep.h"
#include "hv/dom0/suspend.h"
#include "hv/dom0/takeover.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/event.h"
#include "hv/guest/inject.h"
#include "hv/guest/pio.h"
#include "hv/guest/vm.h"
#include "hv/iommu/iommu.h"
#include "hv/iommu/vtd_shown.h"

static void uart_io(u16 port, u8 size, bool in, u32 *val)
{
	for (u32 i = 0; i < size; i++)
		if (in)
			*val |= (u32)vuart_in(port + i) << i * 8;
		else
			vuart_out(port + i, *val >> i * 8);
}

/* One of the consoles' UARTs, or a register of the power management, or a part of one */
static void dom0_io(struct vcpu *v, const struct vm_exit *x)
{
	u16 port = x->io.port;
	u8 size = x->io.size;
	u32 val = x->io.in ? 0 : v->gpr[RAX], i = 0;

	if (x->io.string) {
		vcpu_inject_gp(v); /* no driver does string I/O on these */
		return;
	}
	while (i < size && !sleep_owns(port + i))
		i++;
	if (i == size)
		uart_io(port, size, x->io.in, &val);
	else if (x->io.in)
		val = sleep_in(port, size);
	else
		sleep_out(port, size, val);
	if (x->io.in)
		pio_write_reg(v, RAX, val, size);
	vcpu_skip(v, x->insn_len);
}

/* The registers of an IOMMU, as dom0 is to see them, or where its LAPIC has been. */
static u64 dom0_mmio(u64 at, u32 len, bool write, u64 val)
{
	u64 answer;

	write_acquire(&objects);
	answer = shown_access(at, len, write, val);
	write_release(&objects);
	return answer;
}

/* dom0 has all memory but the hypervisor's, and devices where there is none. */
static void dom0_memory_fault(struct vcpu *v, u64 at)
{
	static u32 times;
	u32 n;

	if (p2m_dom0_fault(&v->vm->p2m, gpa(at)))
		return;
	n = __atomic_add_fetch(&times, 1, __ATOMIC_RELAXED);
	if (!(n & (n - 1))) /* more and more seldom: it may do so in a loop */
		log_warn("dom0 vCPU %u touched hypervisor memory at %lx (rip %lx), %u times by now",
			 v->index, at, v->rip, n);
	vcpu_inject_gp(v);
}

static void set_boot_segment(struct vcpu *v, enum hvm_seg s, u16 sel, u8 type, bool code)
{
	struct corbel_segment seg = {
	    .limit = 0xffffffff,
	    .selector = sel,
	    .type = type,
	    .s = 1,
	    .present = 1,
	    .g = 1,
	    .l = code,
	    .db = !code,
	};

	hvm->set_seg(v, s, &seg);
}

/* The state the 64-bit boot protocol demands. */
static void set_boot_state(struct vcpu *v, const struct dom0_entry *e)
{
	hvm->set(v, HVM_EFER, EFER_LME | EFER_LMA);
	vcpu_set_cr4(v, CR4_PAE);
	hvm->set(v, HVM_CR3, e->cr3);
	hvm->set(v, HVM_CR0, CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP);
	set_boot_segment(v, HVM_CS, 0x10, 0xb, true);
	set_boot_segment(v, HVM_DS, 0x18, 0x3, false);
	set_boot_segment(v, HVM_ES, 0x18, 0x3, false);
	set_boot_segment(v, HVM_SS, 0x18, 0x3, false);
	hvm_set_dt(v, HVM_GDTR, &e->gdt);
	v->rip = e->rip;
	v->gpr[RSI] = e->rsi;
}

/* The registers of the units are the hypervisor's alone. */
static void keep_iommus(void)
{
	FOR_EACH_IOMMU(u)
		for (u64 at = u->at; at < u->at + u->size; at += PAGE_SIZE)
			if (p2m_set_mmio(&dom0->p2m, at >> PAGE_SHIFT, 0))
				boot_fail("the IOMMU at %lx lies in RAM; start with iommu=dom0",
					  u->at);
}

static const struct vm_ops dom0_ops = {
    .hypercall = hypercall,
    .port_io = dom0_io,
    .mmio = dom0_mmio,
    .msr = machine_msr,
    .cpuid = machine_cpuid,
    .memory_fault = dom0_memory_fault,
    .level_eoi = dom0_level_eoi,
    .cpu_ends = takeover_cpu_ends,
    .sleep = suspend_now,
};

void dom0_create(void)
{
	u64 lapic = boot_info.acpi.lapic_addr;
	struct dom0_entry entry;
	u32 n = dom0_cpus();

	policy_init();
	dom0_load(&entry);
	if (!vm_create_dom0(&dom0_ops) || p2m_dom0_init(&dom0->p2m, boot_info.max_ram_end))
		boot_fail("not enough hypervisor memory for dom0; give more with hvmem=");
	irq_set_dom0(dom0_irq);
	suspend_init();
	/*
	 * dom0 sees its virtual LAPIC where the physical one is: that page must never be mapped.
	 * Its usual place is not anyway, and firmware may tell of no other.
	 */
	if (lapic && p2m_set_mmio(&dom0->p2m, lapic >> PAGE_SHIFT, 0))
		boot_fail("the local APIC lies in RAM at %lx; the firmware's tables are wrong",
			  lapic);
	if (iommu.protection == CORBEL_IOMMU_STRICT)
		keep_iommus();
	for (u32 p = 0; p < 0x10000; p++)
		if (!vuart_owns(p) && !sleep_owns(p))
			dom0->io_map[p / 8] &= ~(1 << p % 8);
	dom0->bsp_apic_id = cpus[0]->apic_id;
	event_init(dom0);
	for (u32 i = 0; i < n; i++) {
		s64 number = vcpu_create(dom0, cpus[i]->apic_id);
		struct vcpu *v = vcpu_by_number(number);

		if (number < 0)
			boot_fail(
			    "cannot create dom0's vCPU %u (error %d); give more memory with hvmem=",
			    i, (int)number);
		v->sched.inside = event_load(v->index);
		BUG_ON(!hvm->borrow(v));
		cpuid_set_default(v);
		if (i == 0)
			set_boot_state(v, &entry);
		hvm->give_back(v);
	}
	log_info("dom0: %u vCPUs, entry %lx", n, entry.rip);
	for (u32 i = 0; i < n; i++)
		sched_wake(&dom0->vcpu[i]->sched);
}
