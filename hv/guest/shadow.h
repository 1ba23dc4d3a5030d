/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested paging of nested guests: the CPU walks a shadow, a page table of the vCPU's own, from the
 * nested guest's physical addresses to the machine's. It is filled at faults, a page of 4 KiB each,
 * with what both the guest's nested tables and the VM's p2m allow then; the right to write comes
 * only with a write, when dirty flags have been set in both.
 *
 * It is a TLB to those two: what is in it may be used until somebody must be told otherwise.
 * The guest tells by other tables, or a flush; who takes rights out of the p2m moves p2m.tlb_gen
 * on, waits until all CPUs have left the guest, and the next entry compares (shadow_follow()). In
 * each case all of it goes. The same when the tables that the vCPU was promised are used up.
 *
 * What the guest's nested tables look like is the back end's to know: struct nested_ops, walk.
 */
#pragma once

#include "hv/cpu/spec.h"
#include "hv/mm/mm.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/mm/pt.h"

/* Page tables that a vCPU has at most for the nested guest it runs. */
#define SHADOW_TABLES CORBEL_NESTED_TABLES

/*
 * Of the CPU that has the vCPU. It begins what a back end keeps of a vCPU that can have guests:
 * struct svm_nested, struct vmx_nested.
 */
struct shadow {
	struct account tables;
	struct pt pt;
	u64 gen; /* p2m.tlb_gen when it was empty */
	bool filled;
};

/* A map of MSRs by which all exit; set once, by shadow_init() */
extern u8 *nested_msr_map;
/* Boot, before there are guests. */
void shadow_init(void);
/* v->shadow of a new vCPU, if its guest can have guests; it is all zero behind it. -ENOMEM */
int shadow_create(struct vcpu *v);
/*
 * Most vCPUs never have a guest: the tables are promised when the first comes. For a hypercall,
 * alone with the objects; v is stopped. 0 also when they are; -EINVAL, -ENOMEM, -EDQUOT
 */
int shadow_promise(struct vcpu *v);
/* May a guest begin now? False: the vCPU stops for that promise, and runs the instruction again. */
bool shadow_is_promised(struct vcpu *v);
void shadow_destroy(struct vcpu *v);
/* The vCPU is no nested guest, or not any more. */
static inline void shadow_end_guest_mode(struct vcpu *v)
{
	if (v->guest_mode && v->rights.spec_ctrl & SPEC_CTRL_IBRS)
		spec_leave_nested(v->trainer);
	v->guest_mode = v->nested_paging = false;
	v->nested_tsc = 0;
}

/* Of a guest in such a mode: struct nested_limits. */
static inline struct nested_limits nested_limits(const struct vcpu *v, bool mode)
{
	return (struct nested_limits){v->rights.cr4, v->rights.efer, GENMASK(phys_bits - 1, 0),
				      mode};
}

/*
 * May the guest execute an instruction of a hypervisor's, which is on? #UD: no, or not in SMM,
 * virtual-8086 or real mode; #GP: it is a program.
 */
bool nested_insn_allowed(struct vcpu *v, bool on);

/* All of the shadow goes. */
void shadow_drop(struct vcpu *v);
/* At an entry in guest mode at which p2m.tlb_gen is gen: what is older than that goes. */
void shadow_follow(struct vcpu *v, u64 gen);
/*
 * A fault of the nested guest's that the CPU has met in the shadow. x->reason is VMEXIT_IRQ_WINDOW
 * if nothing is left to do.
 */
void shadow_handle_fault(struct vcpu *v, struct vm_exit *x);
/*
 * The guest's memory for what the CPU does with it, within a page. -EAGAIN: dom0 brings it, the
 * instruction runs again; -EINVAL: there is none.
 */
int nested_copy(struct vcpu *v, u64 at, void *buf, u32 len, bool write);
/*
 * Bits of a permission map of the guest's, of the byte at `at`. 1: one is set, or there is no
 * memory; -EAGAIN.
 */
int nested_map_bits(struct vcpu *v, u64 at, u8 mask);
/* When guest mode begins: instructions known by their addresses are the guest's. */
void nested_forget_fetched(struct vcpu *v);
/* struct nested_ops, translate and fault */
int shadow_translate(struct vcpu *v, u64 access, u64 *at);
void shadow_fault(struct vcpu *v, u64 access, u64 at);
