/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The IOMMUs. With iommu=strict the hypervisor drives them and all devices are in one domain, which
 * has dom0's memory at its own addresses and nothing of the hypervisor's:
 *
 *   device --id--> root, context table   \                    (VT-d: a pair of pages a unit)
 *                                         > the domain's tables: a struct pt, as EPT and NPT are
 *   device --id--> device table          /                    (AMD-Vi: one a unit)
 *
 * All entries are alike, so neither the buses nor what is plugged in matter, until dom0 gives a
 * device away: then ids of its bus that no device has reach nothing. The domain is complete
 * before it is used and does not change: what each unit may have cached of others before is flushed
 * when it is taken over, and never again. Devices that dom0 gives to guests leave it for domains of
 * their own: domain.h.
 *
 * The contract with the back ends is struct iommu_ops.
 */
#pragma once

#include "hv/abi.h"
#include "hv/iommu/table.h"
#include "hv/mm/pt.h"

/* Option iommu=: who drives them. In this order in boot/options.c. */
enum iommu_mode { IOMMU_DOM0, IOMMU_OFF, IOMMU_STRICT };

struct iommu_unit {
	u64 at;	  /* physical address of the registers */
	u8 *regs; /* where they are mapped */
	u16 segment;
	u8 flags;		     /* as in struct iommu_place */
	bool is_set_up;		     /* as the option says */
	const struct iommu_ops *ops; /* its back end's */

	/* Found by probe() */
	u64 caps, more;	    /* its registers that say so */
	u32 size;	    /* bytes of registers that are used */
	u32 max_order;	    /* of pages: 0, 9, 18 */
	u32 bits;	    /* addresses that its tables reach */
	u64 snoop;	    /* of a leaf: accesses that would go past caches do not */
	bool queued;	    /* invalidation by a queue in memory; needed */
	bool remap, x2apic; /* of interrupts; with ids of 32 bits */
	bool posts;	    /* interrupts, to vCPUs */
	bool coherent;	    /* looks for its tables in the CPUs' caches */
	bool flush_maps;    /* what is mapped is not seen before a flush */
	u32 domains;	    /* numbers of domains it has */

	/* Once take() has been called */
	u64 *queue;	/* a page of 256 commands, of 16 bytes */
	u64 *done;	/* behind it; written by the unit at the end of the queue */
	u32 tail;	/* the first free one */
	bool is_gone;	/* it has been told that it does not answer any more */
	u64 *root;	/* VT-d: the root table; AMD-Vi: the device table */
	u64 *context;	/* VT-d: entries of the devices of all buses that have none of their own */
	u64 *irqs;	/* VT-d: a table of interrupts, 2^16 entries of 16 bytes, or NULL */
	u64 *log;	/* AMD-Vi: a page of 256 events, of 16 bytes */
	u32 devices_nr; /* AMD-Vi: entries of the device table, of 32 bytes */
	const u16 *rights; /* AMD-Vi: of dom0's devices, see struct iommu_table */
};
#define IOMMU_QUEUE 256u

/* An access that was blocked, or something else the unit complains of. */
struct iommu_fault {
	u16 device; /* bus << 8 | device << 3 | function */
	u8 reason;  /* VT-d: fault reason, AMD-Vi: event code */
	bool write, interrupt;
	u64 addr;
};

/* What a message of a device's raises. */
struct iommu_irq {
	u8 vector;
	u16 dest;     /* of the APICs that take it; above 255 where iommu.wide */
	bool logical; /* dest is */
	bool lowest;  /* one of them takes it */
};

struct iommu_ops {
	const char *name;
	u32 regs_max;	/* bytes that are mapped for a unit */
	u32 head, tail; /* registers of the queue, which count its bytes */
	/* The command that writes to an address, which is or'ed to that word, when all is done */
	u64 wait[2];
	u32 wait_at;
	const struct pt_format *format;
	bool (*parse)(const u8 *t, u32 len, struct iommu_table *out);
	/* Fill in what the unit can; false if what answers is not one. Changes nothing. */
	bool (*probe)(struct iommu_unit *u);
	/*
	 * What follows ends the machine in a line if the unit does not answer: nobody knows then
	 * what devices reach. See unit_must().
	 *
	 * From whatever state it is in: translation by these tables and nothing else, remapping of
	 * interrupts off, nothing left in its caches. Again after a sleep: then by the tables that
	 * it had.
	 */
	void (*take)(struct iommu_unit *u, const struct iommu_table *t, const struct pt *domain);
	/* Likewise: off. */
	void (*stop)(struct iommu_unit *u);
	/* After take(): can the device be attached? -ENOMEM, -EINVAL: the unit has no such one. */
	int (*prepare)(struct iommu_unit *u, u16 device);
	/*
	 * Then: its accesses go through these tables of the domain of that number from now on, and
	 * what was cached of its entry is gone; of the same number, they go on meanwhile. It raises
	 * the interrupts that irqs says and no other; NULL, of dom0's domain: common ones as sent.
	 * A unit without set_irq ignores that.
	 */
	void (*attach)(struct iommu_unit *u, u16 device, const struct pt *domain, u16 number,
		       const void *irqs);
	/*
	 * No device has this id, on a bus of which one has been prepared: it reaches and raises
	 * nothing. What is cached of it goes with attach() of another and flush() of dom0's number.
	 */
	void (*bar)(struct iommu_unit *u, u16 device);
	/* NULL: units do not tell devices' interrupts apart. Entry of irqs, NULL: there is none. */
	void (*set_irq)(void *irqs, u32 index, const struct iommu_irq *irq);
	/* After take(): no entry of the device's irqs is cached any more; */
	void (*flush_irqs)(struct iommu_unit *u, u16 device);
	/* no translation of this domain. */
	void (*flush)(struct iommu_unit *u, u16 number);
	/* Take at most max faults off its record; how many. */
	u32 (*poll)(struct iommu_unit *u, struct iommu_fault *out, u32 max);
};

/* What the machine has. Set once, by iommu_init(). */
struct iommu_state {
	enum corbel_iommu protection;
	u32 count;
	const struct iommu_ops *ops; /* for them */
	u64 table;		     /* physical address of the DMAR or IVRS; 0: none */
	bool no_x2apic;		     /* as in struct iommu_table */
	bool is_shown;		     /* dom0 sees units that remap interrupts: vtd_shown.h */
	bool no_forward; /* AMD-Vi: all of a device's interrupts pass, or those in a table */
	bool posts;	 /* which may post them to guests' vCPUs: post.h */
	bool wide_ids;	 /* some CPU's APIC id is above 255 */
	bool wide;	 /* AMD-Vi: and devices in a table can interrupt it */
	struct pt_format format; /* of guests' domains: what all units can */
	struct pt dom0;		 /* the domain of dom0's devices */
	u64 pages;		 /* of the pool, since boot: that domain, and what units read */
	struct iommu_unit unit[IOMMU_MAX_UNITS];
	struct iommu_unit all; /* what all can, of what probe() finds; zeros without any */
};
extern struct iommu_state iommu;
#define FOR_EACH_IOMMU(u) for (struct iommu_unit *u = iommu.unit; u < iommu.unit + iommu.count; u++)
extern const struct iommu_ops vtd_ops, amdvi_ops;
#define IOMMU_DOM0_NUMBER 1u /* of that domain; 0 has another meaning in some modes */

/*
 * Boot: find the units, say in a line what there is, and do what option iommu= asks for. Ends in
 * boot_fail() where that is impossible, be it that a table is damaged. After the timers are there,
 * before dom0 is loaded and while mm_map_boot() works.
 */
void iommu_init(void);
/*
 * Behind a sleep, in which units forget all: as they were for dom0, before any device of its can do
 * anything. One that does not obey ends the machine.
 */
void iommu_wake(void);
