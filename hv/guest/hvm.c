/* SPDX-License-Identifier: GPL-2.0-only */
/* Choosing the back end, and what the two have in common. */
#include "hv/guest/hvm.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/inject.h"
#include "hv/guest/quirks.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"

const struct hvm_ops *hvm;
struct hvm_caps hvm_caps;

bool hvm_has_vmx(void)
{
	return cpuid_read(1, 0).c & CPUID_1C_VMX;
}

void hvm_select(const struct hvm_ops *svm, const struct hvm_ops *vmx)
{
	const char *why;

	hvm = svm;
	if (cpuid_read(0, 0).b == CPUID_0B_GENU ||
	    hvm_has_vmx()) /* others' CPUs may have VT-x, too */
		hvm = vmx;
	quirks_detect();
	why = hvm->probe(&hvm_caps);
	if (why)
		boot_fail("%s", why);
	pt_guest = *hvm_caps.p2m;
	if (hvm_caps.p2m_1g)
		pt_guest.max_order = 18;
	pt_ram = pt_guest;
	pt_ram.wb = pt_guest.wb_only;
}

void hvm_take_back_event(struct vcpu *v, u32 event, u32 error)
{
	u8 vector = event & EVT_VECTOR;

	BUG_ON(!(event & EVT_VALID));
	switch (FIELD_GET(EVT_TYPE, event)) {
	case HVM_INJ_IRQ:
		v->irq_injected = true;
		v->irq_vector = vector;
		break;
	case HVM_INJ_NMI:
		v->nmi_injected = true;
		break;
	case HVM_INJ_EXCEPTION:
		if (vector == VEC_BP || vector == VEC_OF) {
			if (!v->trap_injected) /* of INT3 and INTO on AMD-V */
				break;
			vcpu_move_rip(v, -1);
		}
		v->exception.pending = true;
		v->exception.injected = true;
		v->exception.has_payload = false;
		v->exception.vector = vector;
		v->exception.has_error = event & EVT_HAS_ERROR;
		v->exception.error = error;
		break;
	default: /* software's: RIP is at the instruction, it runs again */
		break;
	}
}

void hvm_seg_from_rights(struct corbel_segment *out, u32 rights)
{
	bool present = rights & AR_P && !(rights & AR_UNUSABLE);

	*out = (struct corbel_segment){
	    .type = rights & AR_TYPE,
	    .s = FIELD_GET(AR_S, rights),
	    .dpl = FIELD_GET(AR_DPL, rights),
	    .present = present,
	    .avl = FIELD_GET(AR_AVL, rights),
	    .l = FIELD_GET(AR_L, rights),
	    .db = FIELD_GET(AR_DB, rights),
	    .g = FIELD_GET(AR_G, rights),
	    .unusable = !present,
	};
}

u32 hvm_seg_rights(const struct corbel_segment *in)
{
	return (in->type & AR_TYPE) | FIELD_PREP(AR_S, !!in->s) | FIELD_PREP(AR_DPL, in->dpl) |
	       FIELD_PREP(AR_P, in->present && !in->unusable) | FIELD_PREP(AR_AVL, !!in->avl) |
	       FIELD_PREP(AR_L, !!in->l) | FIELD_PREP(AR_DB, !!in->db) | FIELD_PREP(AR_G, !!in->g);
}

void hvm_get_dt(struct vcpu *v, enum hvm_seg s, struct corbel_dtable *out)
{
	struct corbel_segment seg;

	hvm->get_seg(v, s, &seg);
	out->base = seg.base;
	out->limit = seg.limit;
}

void hvm_set_dt(struct vcpu *v, enum hvm_seg s, const struct corbel_dtable *in)
{
	struct corbel_segment seg = {.base = in->base, .limit = in->limit};

	hvm->set_seg(v, s, &seg);
}
