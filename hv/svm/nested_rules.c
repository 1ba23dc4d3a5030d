/* SPDX-License-Identifier: GPL-2.0-only */
/* What a guest's VMCB must be, and what it asks for: functions of the VMCB alone. */
#include "hv/svm/nested_rules.h"
#include "hv/cpu/cpu.h"

/* of the maps what is looked at; the low bits of their addresses are ignored */
#define MSRPM_BYTES 0x2000
#define IOPM_BYTES  0x2001

static bool event_valid(u64 event)
{
	u32 type = FIELD_GET(EVT_TYPE, event);
	u8 vector = event & EVT_VECTOR;

	if (!(event & EVT_VALID) || type == HVM_INJ_IRQ || type == HVM_INJ_NMI ||
	    type == EVT_SOFTWARE)
		return true;
	return type == HVM_INJ_EXCEPTION && vector < 32 && vector != VEC_NMI;
}

static bool controls_valid(const struct vmcb *m, const struct nested_limits *l)
{
	if (!(m->int4 & SVM_INT4_VMRUN) || !m->asid || !event_valid(m->eventinj))
		return false;
	if ((m->msrpm & PAGE_MASK) > l->addr_bits - MSRPM_BYTES ||
	    (m->iopm & PAGE_MASK) > l->addr_bits - IOPM_BYTES)
		return false;
	if (!(m->np_control & SVM_NP_ENABLE))
		return true;
	return l->mode && !(m->ncr3 & ~l->addr_bits) && pat_valid(m->g_pat);
}

static bool registers_valid(const struct vmcb *m, const struct nested_limits *l)
{
	bool is_long = m->efer & EFER_LME && m->cr0 & CR0_PG;

	if (!(m->efer & EFER_SVME) || m->efer & ~l->efer || m->cr4 & ~l->cr4)
		return false;
	if (m->cr0 >> 32 || m->dr6 >> 32 || m->dr7 >> 32 ||
	    (m->cr0 & (CR0_CD | CR0_NW)) == CR0_NW || (m->cr0 & (CR0_PG | CR0_PE)) == CR0_PG ||
	    m->cr3 & ~l->addr_bits)
		return false;
	if (!is_long)
		return true;
	if (!(m->cr4 & CR4_PAE))
		return false;
	return (m->cs.attrib & (VMCB_ATTR_L | VMCB_ATTR_DB)) != (VMCB_ATTR_L | VMCB_ATTR_DB);
}

bool svm_vmcb_valid(const struct vmcb *m, const struct nested_limits *l)
{
	return controls_valid(m, l) && registers_valid(m, l);
}

bool svm_vmcb_loads_pdptes(const struct vmcb *m)
{
	return !(m->np_control & SVM_NP_ENABLE) && m->cr0 & CR0_PG && m->cr4 & CR4_PAE &&
	       !(m->efer & EFER_LME);
}

bool svm_pdptes_valid(const u64 *pdptes, u64 addr_bits)
{
	for (u32 i = 0; i < 4; i++)
		if (pdptes[i] & 1 && pdptes[i] & ~addr_bits)
			return false;
	return true;
}

/* Codes follow the bits of the intercept words. */
bool svm_vmcb_wants(const struct vmcb *m, u32 code)
{
	u32 bit = code % 32;

	if (code == SVM_EXIT_INVALID)
		return true;
	switch (code / 16) {
	case 0:
		return m->cr_read & BIT(bit);
	case SVM_EXIT_CR_WRITE / 16:
		return m->cr_write & BIT(bit % 16);
	case SVM_EXIT_DR_READ / 16:
		return m->dr_read & BIT(bit);
	case SVM_EXIT_DR_WRITE / 16:
		return m->dr_write & BIT(bit % 16);
	}
	switch (code / 32) {
	case SVM_EXIT_EXCEPTION / 32:
		return m->exceptions & BIT(bit);
	case SVM_EXIT_INTR / 32:
		return m->int3 & BIT(bit);
	case SVM_EXIT_VMRUN / 32:
		/* which no guest has: #UD comes before the intercept */
		return code != SVM_EXIT_SKINIT && m->int4 & SVM_INT4_ALL & BIT(bit);
	case SVM_EXIT_INVPCID / 32:
		return m->int5 & SVM_INT5_INVPCID & BIT(bit);
	}
	return false;
}

int svm_msr_bit(u32 msr, u32 *shift)
{
	static const u32 first[] = {0, 0xc0000000, 0xc0010000};

	*shift = msr % 4 * 2;
	for (u32 i = 0; i < ARRAY_SIZE(first); i++)
		if (msr - first[i] < HVM_MSR_RANGE)
			return i * (HVM_MSR_RANGE / 4) + (msr - first[i]) / 4;
	return -EINVAL;
}

u64 svm_event_again(u64 event, u64 injected)
{
	u32 type = FIELD_GET(EVT_TYPE, event);
	u8 vector = event & EVT_VECTOR;
	bool by_insn = type == EVT_SOFTWARE ||
		       (type == HVM_INJ_EXCEPTION && (vector == VEC_BP || vector == VEC_OF));

	/* RIP is at the instruction then, it runs again; unless there is none */
	if (by_insn && (injected ^ event) & (EVT_VALID | EVT_TYPE | EVT_VECTOR))
		return 0;
	return event;
}
