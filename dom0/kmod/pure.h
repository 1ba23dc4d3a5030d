/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The parts of the modules that are only logic: memory-slot table, SMM's save area, routing table,
 * IOAPIC, the firmware's table of IOMMUs. They call nothing, take no lock (the caller
 * holds one) and get the time as a parameter, so the same files are linked by tests/unit.
 */
#ifndef KMOD_PURE_H
#define KMOD_PURE_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include "hv/lib/types.h"
#include <string.h>
#endif
#include <linux/kvm.h>

/* ---- slots.c: guest frames -> user addresses ---- */
struct cb_slot {
	u64 gfn, pages;
	u64 hva;
	u32 id;
	u32 flags; /* KVM_MEM_x, CB_SLOT_DEAD */
	/* a bit a page: unmapped since the dirty log was read; NULL: there is none */
	unsigned long *lost;
	/* where its private frames are: pages from gmem_first on; NULL: it can have none */
	struct cb_gmem *gmem;
	u64 gmem_first;
};
/* is being removed: no new mappings, but notifiers still unmap it */
#define CB_SLOT_DEAD 0x80000000u

struct cb_slots { /* immutable once published; sorted by gfn */
#ifdef __KERNEL__
	struct rcu_head rcu;
#endif
	u32 n;
	u32 hint;    /* index of the last hit; any value is right */
	bool logged; /* one of them has a bitmap of what is lost */
	struct cb_slot slot[];
};
/* The slot that holds gfn, or NULL. O(log n). */
const struct cb_slot *slots_find(struct cb_slots *s, u64 gfn);
/* The first slot that ends behind gfn, or NULL. O(log n). */
const struct cb_slot *slots_from(const struct cb_slots *s, u64 gfn);
const struct cb_slot *slots_by_id(const struct cb_slots *s, u32 id);
/*
 * Fill out (room for old->n + 1) with old, in which the slot with change->id is replaced by *change
 * (added; removed if change->pages is 0). -EEXIST: overlaps another slot.
 */
int slots_change(const struct cb_slots *old, const struct cb_slot *change, struct cb_slots *out);
/*
 * How many of the slot's pages have something at these addresses of the VMM, end excluded, and the
 * number of the first of them, which means nothing when there is none.
 */
u64 slot_overlap(const struct cb_slot *s, u64 start, u64 end, u64 *first);
/* The most page tables, of 512 entries, that it takes to map the slot; NULL and no pages: 0. */
u64 slot_tables(const struct cb_slot *s);

/* ---- share.c: a VMM's cgroups ---- */
#define CB_SHARE_CAP_NONE 51200u
#define CB_SHARE_LEVELS	  3
/* As HC_SCHED_VM has it: parts of 1024 of what there is without, and percent of one CPU. */
struct cb_share {
	u32 weight, cap;
	struct cb_shared {
		u64 id; /* the cgroup's, which has that cap for all VMs in it; 0: none */
		u32 cap;
	} shared[CB_SHARE_LEVELS];
	u32 levels; /* so many had a cap */
};
#define CB_SHARE_ALL ((struct cb_share){1024, CB_SHARE_CAP_NONE, {{0}}, 0})
/*
 * One cgroup more, of those within each other, the inner ones first: its id and cpu.weight, the
 * greatest of it and its siblings, and cpu.max; quota < 0: none.
 */
void share_level(struct cb_share *s, u64 id, u64 weight, u64 greatest, s64 quota, u64 period);

/* ---- smm_map.c: what SMM saves ---- */
#define SMM_AREA       0xfe00u /* from SMBASE on, as is the next */
#define SMM_ENTRY      0x8000u
#define SMM_AREA_BYTES 512u
#define SMM_BASE_RESET 0x30000u
/* Of the state of a vCPU what SMM changes; CR2, CR8 and the debug registers' addresses stay. */
struct smm_state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	u64 dr6, dr7;
	u32 smbase;
	bool halted; /* at HLT, behind which RIP is: so it is again behind RSM */
	bool shadow; /* of STI or MOV SS */
	/* The guest ran a guest of its own, by this VMCB, and all of that is the latter's. */
	bool nested;
	u64 vmcb;
};
/* area: SMM_AREA_BYTES. has_lm: the guest's CPU has long mode, and with it the larger map. */
void smm_save(void *area, const struct smm_state *s, bool has_lm);
/* What an SMI makes of a state that has been saved. */
void smm_begin(struct smm_state *s, bool has_lm);
/*
 * RSM: *s as of now becomes what the area says. False: no CPU can be in that state (vmx: as VT-x
 * has it); CR4 and EFER are still to be looked at.
 */
bool smm_load(struct smm_state *s, const void *area, bool has_lm, bool vmx, u32 phys_bits);

/* ---- ioapic.c: 82093AA, state as KVM_GET_IRQCHIP has it ---- */
struct ioapic {
	struct kvm_ioapic_state s; /* s.irr: lines now asserted */
	/* Send the message; > 0: some CPU took it. */
	int (*deliver)(struct ioapic *io, u64 address, u32 data);
};
#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_SIZE 0x100u
void ioapic_reset(struct ioapic *io);
/* > 0 delivered, 0 coalesced, < 0 masked. */
int ioapic_set_irq(struct ioapic *io, u32 pin, bool level);
u32 ioapic_read(struct ioapic *io, u32 offset);
/*
 * The pin from which this write, unmasking it, would send a level that has come while it was
 * masked, and may be long gone; -1: none.
 */
int ioapic_old_level(const struct ioapic *io, u32 offset, u32 val);
/* Returns a bit mask of pins that this write unmasked. */
u32 ioapic_write(struct ioapic *io, u32 offset, u32 val);
/*
 * Pins whose interrupt the EOI of this vector ends; then, when listeners were told, ioapic_eoi()
 * for them.
 */
u32 ioapic_pins_of_vector(const struct ioapic *io, u8 vector);
void ioapic_eoi(struct ioapic *io, u32 pins);
/*
 * Vectors whose EOI is needed here: of level-triggered pins, and of the edge-triggered ones in
 * also_edge.
 */
void ioapic_eoi_vectors(const struct ioapic *io, u32 also_edge, u64 mask[4]);
/* Re-send what is asserted, after KVM_SET_IRQCHIP. */
void ioapic_resend(struct ioapic *io);

/* ---- routes.c: where a GSI leads ---- */
#define CB_MAX_ROUTES 4096u
#define NO_GSI	      (-1)
#define PIC_PINS      8u
#define CHIP_MSI      KVM_NR_IRQCHIPS
#define CHIP_SINT     (KVM_NR_IRQCHIPS + 1)
struct route {
	u8 chip, pin; /* KVM_IRQCHIP_x, or CHIP_MSI, CHIP_SINT */
	u32 data;     /* CHIP_SINT: which of them ... */
	u64 address;  /* ... of the vCPU of that index */
};
struct routes {
	s16 gsi_of[KVM_NR_IRQCHIPS][KVM_IOAPIC_NUM_PINS]; /* or NO_GSI */
	u16 start[CB_MAX_ROUTES + 1]; /* routes of gsi: start[gsi] up to start[gsi + 1] */
	bool has_sints;
	struct route route[];
};
/*
 * Fill out (zeroes, room for n) with user space's table; pins only if has_chips. -EINVAL: an entry
 * makes no sense, or two of them exclude each other.
 */
int routes_build(struct routes *out, const struct kvm_irq_routing_entry *e, u32 n, bool has_chips);
/* Is this GSI a SINT? Of this vCPU? */
bool routes_leads_to_sint(const struct routes *routes, u32 gsi);
bool routes_is_sint(const struct routes *routes, u32 gsi, u32 vcpu);
/* Pins whose acknowledgement is this GSI's: bit n of the IOAPIC's, PIN_PIC + n of the PICs'. */
#define PIN_PIC 32
u64 routes_pins(const struct routes *routes, u32 gsi);

/* ---- regions.c: memory that the firmware uses with devices ---- */
struct cb_fw_table {
	const u8 *table; /* DMAR or IVRS */
	u32 len;
	bool is_amd; /* the latter */
};
#define CB_PLACE_MAX 16u
struct cb_place { /* of a device: the bridges above it, from the root on, and itself */
	u16 segment;
	u32 depth;
	u16 id[CB_PLACE_MAX]; /* bus << 8 | device << 3 | function */
};
/*
 * From *at on, 0 at first: the next region of this device, in bytes; false: there is no other. As
 * RMRR of VT-d or IVMD of AMD-Vi have it. What is damaged ends the table.
 */
bool region_next(const struct cb_fw_table *t, u32 *at, const struct cb_place *p, u64 *start,
		 u64 *size);

#endif
