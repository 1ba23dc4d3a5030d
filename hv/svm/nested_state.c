/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A vCPU whose guest has a guest, saved and restored: CORBEL_STATE_NESTED. What it is while the
 * nested guest runs is in its registers; here is what VMRUN has put aside.
 */
#include "hv/svm/nested_state.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/string.h"
#include "hv/svm/nested_rules.h"

#define STATE_FLAGS (CORBEL_NESTED_GUEST_MODE | CORBEL_NESTED_PENDING | CORBEL_NESTED_GIF)
#define CONTROLS    offsetof(struct vmcb, reserved_0e0)
#define STATE_BYTES (offsetof(struct vmcb, reserved_698) - offsetof(struct vmcb, seg))
_Static_assert(sizeof(((struct corbel_nested *)0)->vmcb) >= offsetof(struct vmcb, reserved_698),
	       "all that is used has room");

int svm_nested_get_state(struct vcpu *v, struct corbel_nested *out)
{
	const struct svm_vcpu *s = svm_of(v);
	struct svm_nested *n = svm_nested(v);
	struct vmcb *m = (struct vmcb *)out->vmcb;

	if (!n)
		return -EINVAL;
	/* the VMCB is there by now, unless dom0 is very short of memory */
	if (!svm_nested_settle(v))
		return -EAGAIN;
	memset(out, 0, sizeof(*out));
	if (!(s->watch & WATCH_NO_GIF))
		out->flags = CORBEL_NESTED_GIF;
	if (!v->guest_mode)
		return 0;
	out->flags |= CORBEL_NESTED_GUEST_MODE;
	if (n->inject)
		out->flags |= CORBEL_NESTED_PENDING;
	out->vmcb_pa = n->at;
	memcpy(m, &n->vmcb12, CONTROLS);
	memcpy(m->seg, n->l1.seg, STATE_BYTES);
	m->vintr = svm_nested_vintr(v);
	m->eventinj = n->inject;
	return 0;
}

int svm_nested_set_state(struct vcpu *v, const struct corbel_nested *in)
{
	const struct vmcb *m = (const struct vmcb *)in->vmcb;
	struct svm_vcpu *s = svm_of(v);
	struct svm_nested *n = svm_nested(v);
	struct nested_limits limits = nested_limits(v, m->cr0 & CR0_PG);
	bool guest_mode = in->flags & CORBEL_NESTED_GUEST_MODE;

	if (!n || in->flags & ~(u64)STATE_FLAGS || (!s->svme && in->flags != CORBEL_NESTED_GIF))
		return -EINVAL;
	if (guest_mode && (!n->shadow.pt.root.v || v->in_smm || in->vmcb_pa % PAGE_SIZE ||
			   in->vmcb_pa >> phys_bits || !(m->cr0 & CR0_PE) ||
			   m->rflags & RFLAGS_VM || !svm_vmcb_valid(m, &limits)))
		return -EINVAL;
	svm_nested_close_window(v);
	if (svm_nested_is_leaving(v)) /* the VMCB is another now */
		v->complete = NULL;
	if (v->guest_mode)
		svm_nested_end(v);
	s->watch &= ~WATCH_NO_GIF;
	if (!(in->flags & CORBEL_NESTED_GIF))
		s->watch |= WATCH_NO_GIF;
	n->asid = 0; /* the shadow is of other tables: memory has been restored, too */
	if (!guest_mode)
		return 0;
	n->at = in->vmcb_pa;
	memcpy(&n->vmcb12, m, CONTROLS);
	memcpy(n->l1.seg, m->seg, STATE_BYTES);
	svm_nested_begin(v, false);
	return 0;
}
