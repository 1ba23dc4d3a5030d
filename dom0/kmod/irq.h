/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupts of guests, the devices that the module has for them, and writes that come to nobody's
 * exit: eventfds and the ring of coalesced ones.
 */
#ifndef KMOD_IRQ_H
#define KMOD_IRQ_H

#include "kmod.h"

/* irqchip.c */
void cb_irqchip_init(struct cb_vm *vm);
int cb_irqchip_create(struct cb_vm *vm, enum cb_irqchip_kind kind, u32 split_pins);
void cb_irqchip_exit(struct cb_vm *vm);
/* Tell the hypervisor what could not be told before it had the VM, or the boot vCPU. */
void cb_irqchip_realize(struct cb_vm *vm);
/*
 * Drive GSI gsi through its routes. > 0 delivered, 0 coalesced, < 0 masked or no route. Any
 * context.
 */
int cb_irq_set(struct cb_vm *vm, enum cb_irq_source src, u32 gsi, bool level);
int cb_irq_msi(struct cb_vm *vm, u64 address, u32 data);
/*
 * Whom an IOMMU may post the GSI's interrupt to: a handle in the place of the descriptor's address,
 * which is 0 if nobody, and the vector. Any context.
 */
void cb_irq_posting(struct cb_vm *vm, u32 gsi, struct vcpu_data *out);
/* Bits that an MSI's upper address must not have, where it is looked at. */
static inline bool cb_msi_is_bad(const struct cb_vm *vm, u32 address_hi)
{
	return READ_ONCE(vm->x2apic_api) & KVM_X2APIC_API_USE_32BIT_IDS && address_hi & 0xff;
}
int cb_irq_set_routing(struct cb_vm *vm, const struct kvm_irq_routing_entry *e, u32 n);
/* CORBEL_EXIT_PIC */
void cb_irq_pic_told(struct cb_vm *vm, u32 what);
void cb_irq_eoi(struct cb_vm *vm, u8 vector);
/* The guest has acknowledged what is routed to SINTs of the vCPU of that index. */
void cb_irq_sint_acked(struct cb_vm *vm, u32 index);
/* Something changed that decides which EOIs are wanted. */
void cb_irq_update_eoi(struct cb_vm *vm);
/* PIC, its ELCRs, PIT and port B: most accesses are to other ports. */
static inline bool cb_irqchip_may_have_port(u16 port)
{
	return port < 0x100 || (port & ~1) == 0x4d0;
}
/* pic.c: the PICs, which the hypervisor has. Under irq_lock, but for init. */
void cb_pic_init(struct cb_vm *vm);
/* The hypervisor has the VM, or one vCPU more. */
void cb_pic_realize(struct cb_vm *vm);
/* As cb_irq_set(); level is that of all sources, was what it has been. */
int cb_pic_set_line(struct cb_vm *vm, u32 line, bool was, bool level);
/* The guest comes to the ports: what the hypervisor has not been told it has to know now. */
void cb_pic_wake(struct cb_vm *vm);
/* An element of a string at a port of theirs. Returns what CORBEL_EXIT_PIC would say. */
u32 cb_pic_io(struct cb_vm *vm, u16 port, bool is_in, u8 *data);
/* Who was to be told of a line's end has been: the level of the lines is theirs again. */
void cb_pic_heard(struct cb_vm *vm);
/* What CORBEL_EXIT_PIC is to be for. */
void cb_pic_want(struct cb_vm *vm, u32 what);
void cb_pic_get(struct cb_vm *vm, u32 chip, struct kvm_pic_state *s);
void cb_pic_set(struct cb_vm *vm, u32 chip, const struct kvm_pic_state *s);

/* Devices of the module. False: not theirs. */
bool cb_irqchip_pio(struct cb_vm *vm, u16 port, u8 size, bool is_in, void *data);
bool cb_irqchip_mmio(struct cb_vm *vm, u64 gpa, u32 len, bool is_write, void *data);
int cb_irqchip_get(struct cb_vm *vm, struct kvm_irqchip *chip);
int cb_irqchip_set(struct cb_vm *vm, const struct kvm_irqchip *chip);

/* pit.c */
int cb_pit_create(struct cb_vm *vm, u32 flags);
void cb_pit_destroy(struct cb_vm *vm);
/* The hypervisor has the VM. */
void cb_pit_realize(struct cb_pit *pit);
/* Channel 0 begins anew. */
void cb_pit_loaded(struct cb_pit *pit);
bool cb_pit_pio(struct cb_pit *pit, u16 port, bool is_in, u8 *data);
void cb_pit_acked(struct cb_pit *pit);
void cb_pit_unmasked(struct cb_pit *pit);
bool cb_pit_wants_ack(const struct cb_pit *pit);
void cb_pit_reinject(struct cb_pit *pit, bool on);
void cb_pit_get(struct cb_pit *pit, struct kvm_pit_state2 *s);
int cb_pit_set(struct cb_pit *pit, const struct kvm_pit_state2 *s);

/* irqfd.c */
int cb_irqfd(struct cb_vm *vm, const struct kvm_irqfd *args);
void cb_irqfd_release(struct cb_vm *vm);
void cb_irqfd_rerouted(struct cb_vm *vm); /* the routing table has changed */
/* The guest has acknowledged this GSI. */
void cb_irqfd_acked(struct cb_vm *vm, u32 gsi);
bool cb_irqfd_wants_ack(struct cb_vm *vm, u32 gsi);
/* This vCPU has acknowledged one of its SINTs, whichever. */
void cb_irqfd_sint_acked(struct cb_vm *vm, const struct routes *routes, u32 vcpu);
/* Does one wait for a SINT? */
bool cb_irqfd_awaits_sint(struct cb_vm *vm, const struct routes *routes);
/* Pins of whose acknowledgement a resamplefd is to hear, as routes_pins() has them. */
u64 cb_irqfd_awaited_pins(struct cb_vm *vm, const struct routes *routes);

/* ioeventfd.c */
int cb_ioeventfd(struct cb_vm *vm, const struct kvm_ioeventfd *args);
int cb_ioeventfd_realize(struct cb_vm *vm);
void cb_ioeventfd_release(struct cb_vm *vm);
/* A guest's write that came here: it is for an eventfd, which has been signalled. */
bool cb_ioeventfd_write(struct cb_vm *vm, u64 addr, u32 len, const void *data, bool pio);

/* coalesced.c */
void cb_coalesced_init(struct cb_vm *vm);
/* The ring, which comes with its first user: a zone or who maps it. NULL: no memory. */
struct kvm_coalesced_mmio_ring __shared *cb_coalesced_ring(struct cb_vm *vm);
void cb_coalesced_exit(struct cb_vm *vm);
int cb_coalesced_add(struct cb_vm *vm, const struct kvm_coalesced_mmio_zone *arg);
int cb_coalesced_del(struct cb_vm *vm, const struct kvm_coalesced_mmio_zone *arg);
/* A guest's write. True: it is in the ring; false: user space is to see it at once. */
bool cb_coalesce(struct cb_vm *vm, u64 addr, u32 len, const void *data, bool pio);

/* vfio.c: KVM_CREATE_DEVICE */
int cb_create_device(struct cb_vm *vm, struct kvm_create_device __user *arg);

#endif
