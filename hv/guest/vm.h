/* SPDX-License-Identifier: GPL-2.0-only */
/* A VM (domain): its p2m, vCPUs, doorbells, accounting. Id 0 is dom0. */
#pragma once

#include "hv/abi.h"
#include "hv/guest/msr_filter.h"
#include "hv/guest/pic.h"
#include "hv/mm/p2m.h"
#include "hv/sched/sched.h"

struct vcpu;

struct vm_exit;

/* What the hypervisor does for dom0 only; NULL in guests. */
struct vm_ops {
	/* CORBEL_HC_x from ring 0; returns RAX */
	s64 (*hypercall)(struct vcpu *v, u64 nr);
	/* a port that exits; steps over the instruction */
	void (*port_io)(struct vcpu *v, const struct vm_exit *x);
	/* an access to a page marked MMIO, other than its LAPIC's: what a read yields */
	u64 (*mmio)(u64 gpa, u32 len, bool write, u64 val);
	/* an MSR of the machine that it may have: as machine_msr() */
	int (*msr)(u32 msr, bool write, u64 *val);
	/* a leaf that it will see: as machine_cpuid() */
	void (*cpuid)(struct corbel_cpuid *e);
	void (*memory_fault)(struct vcpu *v, u64 gpa); /* nothing is mapped there */
	/* it has ended a level-triggered interrupt */
	void (*level_eoi)(struct vcpu *v, u8 vector);
	/* It goes offline, unbound from events before, or its kernel ends. */
	void (*cpu_ends)(struct vcpu *v);
	/* all CPUs are to stand still (smp_parking), and the boot CPU does; does not return */
	void (*sleep)(void);
};

/*
 * Things with a number, the least that is free. Whoever finds one may use it as long as he holds
 * the lock `objects`.
 */
struct id_table {
	void **slots; /* atomic; NULL: free */
	u32 size;
	struct lock lock; /* LOCK_VMS: to change it */
	u32 used;
};
void *table_find(const struct id_table *t, u64 id); /* NULL on nonsense */
/* *id is set before others can find it. -ENOSPC */
int table_add(struct id_table *t, void *what, u32 *id);
void table_remove(struct id_table *t, u32 id);

#define VM_NAME_BYTES  32
#define DOORBELL_PAGES 2u
#define VM_FEW	       256u

/* What nothing else is said of is set once, before others can find the VM; "lock": changed under
 * it. */
struct vm {
	u32 id;
	bool is_dom0;
	bool dying; /* set once, by who holds `objects` for writing */
	const struct vm_ops *ops;
	bool has_lapic; /* LAPICs in the hypervisor */
	u32 flags, pid; /* CORBEL_VM_x */
	u32 bus_ns;	/* a cycle of its LAPICs' timers */
	u64 owner;	/* of its own, also when its id or memory is another's: spec_switch() */
	char name[VM_NAME_BYTES]; /* printable */
	struct lock lock;	  /* LOCK_VM: vcpu list, doorbells */
	struct account acct;	  /* pool pages charged to this VM, */
	struct account tables;	  /* and its page tables */
	u64 apart;		  /* pages promised by vm_promise_apart() */
	u32 user;		  /* dom0's whose VM it is: set once, as is the next */
	u64 user_pages;		  /* all of the user's VMs may have together, 0: no limit */
	/* what dom0 was promised for the VM's page tables; `objects`, for writing */
	u64 table_pages;
	struct p2m p2m;
	struct p2m smm; /* of vCPUs in SMM; `objects`, for writing: its vm is NULL: none */
	u32 vcpu_count; /* lock */
	struct sched_group sched; /* all its vCPUs, but dom0's */
	u32 bsp_apic_id;	  /* until there are vCPUs a hypercall may set it */
	/* by index; set once, cleared at destroy. Where they are changes once: vcpu_end before it
	 */
	struct vcpu **volatile vcpu;
	struct vcpu *few[VM_FEW]; /* as many are here, more in pages of the pool */
	u32 vcpu_end;		  /* all indices are below; it only grows; lock, read without */
	/* one more than that of the first whose APIC id ends so, 0: none; more: vcpu->next_alike */
	u16 apic_to_index[256];
	bool apic_ids_moved; /* an xAPIC has another id than its initial one; stays */
	u64 eoi_mask[4];     /* vectors whose EOI goes to the module; any CPU */
	s64 clock_offset_ns; /* kvmclock = host ns + this */
	/* host TSC all vCPUs' kvmclocks count from; 0 = not chosen yet (hv/guest/pv.c) */
	u64 clock_anchor_tsc;
	/* hv/guest/doorbell.c: the first comes with a doorbell, the second when that is full */
	struct doorbell *doorbells[DOORBELL_PAGES];
	u32 doorbell_count;   /* lock */
	struct pic pic;	      /* with CORBEL_VM_PIC */
	struct lock tsc_lock; /* LOCK_VM_TSC: what follows */
	u64 tsc_offset_base;  /* the offset the VMM last set for all vCPUs, and at which rate */
	u64 tsc_mul_base;
	u64 tsc_offset_last; /* what was last asked for */
	bool tsc_offset_set;
	bool tsc_restored; /* a VMM has set one to something else than 0 */
	/* for the hardware: a set bit exits; the layout of msr_map is the back end's. io_map is all
	 * guests' but dom0's, msr_map dom0's until a filter has others (vm_filter_msrs()) */
	u8 *msr_map, *io_map;
	struct msr_filter msr_filter; /* msr_filter.h */
	u32 msr_exits;		      /* CORBEL_MSR_EXIT_x; lock */
	/* pmu.h; lock; set once: a page of the pool, NULL: there is none */
	struct corbel_pmu_filter *pmu_filter;
	u64 log_full; /* vm_may_log(); atomic, as is the next */
	bool log_muted;
	u32 favoured; /* index of the vCPU that one which spun has made way for; any CPU */
};

extern struct vm *dom0;

/* Readers use VMs and vCPUs; writers make and free them. */
extern struct rwlock objects;

/*
 * By id; NULL on nonsense. VMs and vCPUs are freed only by hypercalls that hold the hypercall lock
 * for writing, and vCPUs only when no vCPU of their VM runs: hypercalls (readers) and running vCPUs
 * may use what they find.
 */
struct vm *vm_by_id(u64 id);
int vm_create(const struct corbel_vm_create *c);
bool vm_may_mwait(void); /* CORBEL_VM_MWAIT */
/* The VM that is dom0, with all MSRs and ports exiting, and an empty p2m. NULL: out of memory. */
struct vm *vm_create_dom0(const struct vm_ops *ops);
/* It gets a second map, unless it has one. -ENOMEM, -EDQUOT */
int vm_add_smm(struct vm *vm);
/* The vCPU of this index, which may be any; NULL: there is none. */
static inline struct vcpu *vm_vcpu(const struct vm *vm, u32 index)
{
	return index < READ_ONCE(vm->vcpu_end) ? READ_ONCE(vm->vcpu[index]) : NULL;
}

/* There is room for one vCPU more, up to VM_VCPUS. -ENOMEM, -EDQUOT */
int vm_make_room(struct vm *vm);
int vm_destroy(struct vm *vm); /* -EBUSY with vCPUs, -EAGAIN */
/*
 * So many pages of the pool more for vm, by pool_promise(); the caller is alone with the objects.
 * -ENOMEM, -EDQUOT: its user has too many.
 */
int vm_promise(struct vm *vm, u64 pages);
/*
 * Likewise for its page tables. -EAGAIN: the pool would be low, unless the caller wants them
 * nevertheless.
 */
int vm_promise_tables(struct vm *vm, u64 pages, bool nevertheless);
/*
 * Likewise to an account beside the VM's, which counts as its own all the same. Given back by
 * vm_retract_apart().
 */
int vm_promise_apart(struct vm *vm, struct account *a, u64 pages);
void vm_retract_apart(struct vm *vm, struct account *a, u64 pages);
/* Frames of dom0's that are mapped into it */
static inline u64 vm_mapped(const struct vm *vm)
{
	return vm->p2m.mapped + vm->smm.mapped;
}
/* What it has of the pool, promised and taken. */
u64 vm_pages(const struct vm *vm);
/* Likewise by pool_promise_taken(). */
int vm_promise_taken(struct vm *vm, void **pages, u32 count);
/*
 * Something that the guest or its VMM can cause at will is to be logged, in so many bytes: not too
 * much for one VM and for all, lest they fill the log and the serial line. The first that is left
 * out is told of. dom0 may log what it likes.
 */
bool vm_may_log(struct vm *vm, u32 bytes);
#define VM_LOG_LINE 160 /* bytes of such a message, with its time */
/*
 * As msr_filter_set(); and which MSRs exit is as the filter has it, on return for vCPUs that run,
 * too. -ENOMEM, -EDQUOT: no memory for a map of its own.
 */
int vm_filter_msrs(struct vm *vm, const struct corbel_msr_filter *f, struct p2m *from);
/* Is the VMM's filter against an access by the guest (CORBEL_MSR_x)? */
static inline bool vm_filters_msr(const struct vm *vm, u32 msr, u32 how)
{
	return unlikely(vm->msr_filter.on) && !msr_filter_allows(&vm->msr_filter, msr, how);
}
/* The i-th VM in use, for listings. */
struct vm *vm_nth(u32 i);
u32 vm_count(void);
