/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guest memory: slots, what is mapped of them, logs of what has been written; and SMM, which has
 * an address space of its own.
 */
#ifndef KMOD_MEMORY_H
#define KMOD_MEMORY_H

#include "kmod.h"

/* mem.c */
int cb_mem_init(struct cb_vm *vm);
void cb_mem_exit(struct cb_vm *vm);
/* Behind that, when nothing is mapped any more. */
void cb_mem_free(struct cb_vm *vm);
int cb_mem_set_region(struct cb_vm *vm, const struct kvm_userspace_memory_region2 *r);
/* The hypervisor's VM has been made: its slots' page tables are promised, and vm->id is set. */
int cb_mem_realize(struct cb_vm *vm, u32 id);
/* Take all marks of frames without memory away; they come again when used. */
void cb_mem_forget_mmio(struct cb_vm *vm);
/*
 * There is an address space for SMM from now on: frames of it have CORBEL_GFN_SMM set wherever
 * there are frames of the guest, and its slots' ids CB_SPACE_SMM << 16.
 */
int cb_mem_add_smm(struct cb_vm *vm);
/* Slots can have this number: their address space is in its upper half. */
bool cb_mem_slot_ok(const struct cb_vm *vm, u32 id);

/* notifier.c */
/* From now on the VMM's mappings are watched. */
int cb_notifier_start(struct cb_vm *vm);
/* Guest frames are taken away from the guest: the next access faults. */
void cb_mem_unmap(struct cb_vm *vm, u64 gfn, u64 pages);
/* The same; what the dirty log knew of them is kept. Under slots_lock. */
void cb_mem_take_away(struct cb_vm *vm, u64 gfn, u64 pages);
/* All memory, whose page tables then are free for other parts of it; its log is kept. */
void cb_mem_forget(struct cb_vm *vm);

/* dirty_log.c */
/* A slot's log begins, or ends, if that is what the change of its flags says. Under slots_lock. */
int cb_log_change(struct cb_vm *vm, const struct cb_slot *s, u32 old_flags);
/* KVM_GET_DIRTY_LOG, KVM_CLEAR_DIRTY_LOG. -ENXIO: there are rings; -ENOENT: it has no log. */
int cb_mem_dirty_log(struct cb_vm *vm, const struct kvm_dirty_log *log);
int cb_mem_clear_dirty_log(struct cb_vm *vm, const struct kvm_clear_dirty_log *log);
/*
 * The module has written there, as the guest would; with a dirty ring there is to be room for the
 * pages.
 */
void cb_mem_mark_dirty(struct cb_vcpu *v, u64 gpa, u32 len);
/* The slot of this id, if it has a dirty log. Under slots_lock. */
const struct cb_slot *cb_mem_logged_slot(struct cb_vm *vm, u32 id);

/* gmem.c */
/* KVM_CREATE_GUEST_MEMFD: the file's descriptor. */
int cb_gmem_create(struct cb_vm *vm, const struct kvm_create_guest_memfd *c);
/* The slot, which has its size, gets pages of this file. -EBADF, -EINVAL. Under slots_lock. */
int cb_gmem_bind(struct cb_vm *vm, struct cb_slot *s, u32 fd, u64 offset);
void cb_gmem_put(struct cb_gmem *g);
/* A page of this number; false: it is not there yet. What is found stays under mmu_lock. */
bool cb_gmem_find(const struct cb_gmem *g, u64 index, u64 *pfn);
int cb_gmem_alloc(struct cb_gmem *g, u64 index);
/* KVM_SET_MEMORY_ATTRIBUTES; what a VM, or NULL, any, can have. */
int cb_set_attributes(struct cb_vm *vm, const struct kvm_memory_attributes *a);
static inline u64 cb_attributes(const struct cb_vm *vm)
{
	return !vm || vm->has_private ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0;
}
/* When no vCPU is left. */
void cb_attributes_free(struct cb_vm *vm);
/* Stays so under mmu_lock, but for frames that change. */
bool cb_is_private(struct cb_vm *vm, u64 gfn);

/* dirty_ring.c */
/* KVM_CAP_DIRTY_LOG_RING; bytes of each ring. -E2BIG; -EINVAL: no such size, or too late. */
int cb_ring_enable(struct cb_vm *vm, u64 bytes);
int cb_ring_alloc(struct cb_dirty_ring *r, u32 entries);
void cb_ring_free(struct cb_dirty_ring *r);
/* Of a vCPU, under its mutex: user space is to harvest first. Without a ring: never, always. */
bool cb_ring_is_full(const struct cb_dirty_ring *r);
bool cb_ring_has_room(const struct cb_dirty_ring *r, u32 entries);
/* A page of a slot has been written. There is room. */
void cb_ring_push(struct cb_dirty_ring *r, u32 slot, u64 offset);
/* KVM_RESET_DIRTY_RINGS: what has been harvested is logged again. The number of entries. */
int cb_ring_reset(struct cb_vm *vm);
/* Its page of this number, for user space; NULL: it has none. */
void __shared *cb_ring_page(const struct cb_dirty_ring *r, u64 number);

/* smm.c: CORBEL_EXIT_SMM; as the others in run.c */
int cb_smm(struct cb_vcpu *v);
/* What an access of the vCPU to this address is one to, as it is now. */
static inline u64 cb_smm_gpa(const struct cb_vcpu *v, u64 gpa)
{
	return READ_ONCE(v->page->in_smm) ? gpa | CORBEL_GFN_SMM << PAGE_SHIFT : gpa;
}

/* fault.c: 0 done, run the guest again; -ENOBUFS: the dirty ring is full; < 0 for user space. */
int cb_fault(struct cb_vcpu *v, u64 gpa, u32 flags);
/*
 * KVM_PRE_FAULT_MEMORY: map what can be read there; *m is what is left. -ENOENT: no slot is there;
 * -EINTR, -EFAULT; 0 if something has been done.
 */
int cb_pre_fault(struct cb_vcpu *v, struct kvm_pre_fault_memory *m);
/* Where the VMM has what is at gpa, or 0: there is no slot, or the guest may not do this. */
unsigned long cb_fault_hva(struct cb_vm *vm, u64 gpa, u32 len, bool write);
/*
 * A guest's access to a device's registers that the VMM has mapped, and given a slot, as VFIO's
 * users do: made here, by the VMM's mapping, since the hypervisor maps only RAM into guests. False:
 * there are none, or the access fails, and is the VMM's to make.
 */
bool cb_device_access(struct cb_vm *vm, u64 gpa, u32 len, bool write, void *data);

#endif
