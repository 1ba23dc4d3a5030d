/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Linear guest memory and the instruction at CS:RIP, as the vCPU that runs on this CPU sees them.
 */
#pragma once

#include "hv/emul/emul.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"

_Static_assert((int)SEG_ES == HVM_ES && (int)SEG_IDTR == HVM_IDTR,
	       "segments are numbered as in instructions");

/*
 * Why an access to guest memory failed: an exception to inject, or the gpa where the p2m has
 * nothing.
 */
struct guest_fault {
	struct emul_fault raised;
	u64 gpa;
	bool write;
	bool nested; /* gpa is a nested guest's, raised.error the access: hvm->nested->fault() */
};

/*
 * An instruction that has exited, decoded. When it exits again it need not be fetched and decoded
 * if the fetch would find the same: in the same mode, with the same words in the page tables on the
 * way and in the code. Without this a doorbell in MMIO costs five walks through the p2m: row
 * doorbell-mmio of the bench.
 */
struct fetched {
	struct hvm_paging paging;
	struct p2m_words words;
	u8 bytes[16];
	u32 n; /* of them to be had, INSN_MAX at most */
	bool plain_store;
	/*
	 * it is a plain store that has rung a doorbell in the frame before this one, in MMIO while
	 * words.gen holds; or 0
	 */
	u64 bell;
	struct insn insn;
};
#define FETCHED 16 /* of a vCPU */

/* What struct vcpu leads to: an instruction being emulated, and those known. */
struct vcpu_emul {
	struct emul_state state;
	struct fetched *insn;	 /* the one being emulated, in fetched[] */
	struct guest_fault miss; /* where the emulator found no memory */
	bool is_io; /* state is that of INS or OUTS, at the port that has been checked */
	u16 port;
	struct fetched fetched[FETCHED];
};

/*
 * Linear to guest-physical with the rights of access (WALK_x). -EFAULT: *f says which exception.
 * -EAGAIN: nothing at f->gpa.
 */
int vcpu_translate(struct vcpu *v, u64 linear, u64 access, u64 *gpa, struct guest_fault *f);
/*
 * Copy to guest memory where access has WALK_WRITE, else from there, at the vCPU's CPL. Errors as
 * above; part may have been done.
 */
int vcpu_access_linear(struct vcpu *v, u64 linear, void *buf, u32 len, u64 access,
		       struct guest_fault *f);
/* The same with other page tables, or another CPL, than the vCPU's. */
int vcpu_access_paged(struct vcpu *v, const struct hvm_paging *p, u64 linear, void *buf, u32 len,
		      u64 access, struct guest_fault *f);
/* The same at a guest-physical address, within a page; its only error is -EAGAIN. */
int guest_copy(struct vcpu *v, u64 at, void *buf, u32 len, bool write, struct guest_fault *f);
/*
 * Fetch and decode the instruction at CS:RIP: v->emul->insn. -EINVAL: it cannot be decoded, but its
 * bytes are there.
 */
int vcpu_fetch(struct vcpu *v, struct guest_fault *f);
/*
 * The same for a MOV to or from a control or debug register that has exited: which general register
 * it names, and its length. -EINVAL: also another instruction.
 */
int vcpu_fetch_cr_move(struct vcpu *v, const struct vm_exit *x, u8 *gpr, u32 *len,
		       struct guest_fault *f);

/* Is such an access one to a device? A ROM is one for writes. */
static inline bool guest_has_device(const struct pt_leaf *leaf, bool write)
{
	return leaf->kind == PT_MMIO || (write && (leaf->attr & PT_ROM));
}

/* Where the instruction at this address is kept if it is known already. */
static inline struct fetched *vcpu_fetched(struct vcpu *v, u64 linear)
{
	return &v->emul->fetched[(linear ^ linear >> 4) % FETCHED];
}

/* Would fetching it, if it comes next, find the same? */
static inline bool vcpu_is_fetched(struct vcpu *v, const struct fetched *in)
{
	return hvm->is_paging(v, &in->paging) && p2m_unchanged(v->p2m, &in->words);
}
