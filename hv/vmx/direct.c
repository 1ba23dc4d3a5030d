/* SPDX-License-Identifier: GPL-2.0-only */
/* x2APIC registers that the CPU serves; SDM "Virtualizing MSR-Based APIC Accesses". */
#include "hv/vmx/direct.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/vm.h"
#include "hv/vmx/vmx.h"

/* beside ISR, TMR and IRR */
static const u16 read_only[] = {APIC_ID, APIC_VERSION, APIC_PPR, APIC_LDR};

/* No exits for this register's MSR; map: the MSR bitmap's part for reads, or for writes. */
static void allow_register(u8 *map, u32 reg)
{
	u32 msr = MSR_X2APIC + reg / 16;

	map[msr / 8] &= ~BIT(msr % 8);
}

void vmx_direct_msrs(struct vm *vm)
{
	u8 *reads = vm->msr_map + PAGE_SIZE, *writes = reads + MSR_MAP_WRITES;

	allow_register(reads, APIC_TPR);
	allow_register(writes, APIC_TPR);
	if (vmx_ctl.proc2 & PROC2_VID) {
		allow_register(writes, APIC_EOI);
		allow_register(writes, APIC_SELF_IPI);
	}
	if (!(vmx_ctl.proc2 & PROC2_APIC_REGS))
		return;
	for (u32 i = 0; i < ARRAY_SIZE(read_only); i++)
		allow_register(reads, read_only[i]);
	for (u32 reg = APIC_ISR; reg < APIC_ESR; reg += 16)
		allow_register(reads, reg);
}

void vmx_set_msr_map(struct vcpu *v)
{
	u8 *map = READ_ONCE(v->vm->msr_map);

	if (vmx_of(v)->direct)
		map += PAGE_SIZE;
	vmcs_write64(VMCS_MSR_BITMAP, virt_to_hpa(map).v);
}

void vmx_switch_direct(struct vcpu *v, bool on)
{
	struct vmx_vcpu *s = vmx_of(v);
	u64 pin = vmx_ctl.pin, proc2 = s->proc2, val;

	if (on) {
		for (u32 i = 0; i < ARRAY_SIZE(read_only); i++) {
			lapic_read(v, read_only[i], &val);
			s->virtual_apic[read_only[i] / 4] = val;
		}
	} else {
		pin &= ~PIN_POSTED;
		proc2 &= ~PROC2_DIRECT;
	}
	s->direct = on;
	s->vid = proc2 & PROC2_VID;
	vmcs_write32(VMCS_PIN_CONTROLS, pin);
	vmcs_write32(VMCS_PROC2_CONTROLS, proc2);
	vmx_set_msr_map(v);
	s->intr_status = ~0; /* not in step */
}
