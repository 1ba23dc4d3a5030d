/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * corbel.ko: the KVM API on top of the Corbel hypervisor.
 *
 * /dev/kvm (main.c) -> VM fd (vm.c) -> vCPU fd (vcpu.c: ioctls, state.c: registers, run.c: KVM_RUN)
 *
 * Guest memory: mem.c (slots), notifier.c (what is taken away), dirty_log.c, dirty_ring.c, fault.c
 * (a missing page).
 * smm.c: SMI, RSM.
 *
 * Devices: irqchip.c (routing) -> ioapic.c, hypervisor's LAPICs and PICs; pit.c; irqfd.c;
 * ioeventfd.c; coalesced.c (writes that can wait); vfio.c (groups whose devices the guest has).
 *
 * Hyper-V for guests that want it: hyperv.c, synic.c (interrupts, messages and timers).
 *
 * What a user may have: limits.c.
 *
 * Statistics: stats.c, trace.c, devctl.c (/dev/corbel). What tells programs that they are on a
 * host: sysfs.c.
 *
 * event.c: the interrupt by which the hypervisor says "vCPU stopped" and "doorbell rang";
 * registry.c: whom that is for.
 *
 * Types are here, and what vm.c, vcpu.c, run.c, state.c and limits.c have for others; the rest is
 * in memory.h, irq.h, hyperv.h and dom0.h.
 *
 * Locks, outermost first: vcpu->mutex, vm->share_lock | vm->hyperv.lock, vm->slots_lock | vm->lock,
 * pit->mutex, (mm's locks), vm->mmu_lock; limits.c's accounts_lock, ioeventfd.c's doorbell_ids,
 * registry.c's doorbells_lock, vm->zones_lock, eventfd's lock, vm->irqfds_lock, pit->lock,
 * vm->irq_lock. Hypercalls never sleep and may be made under any of them.
 *
 * A vCPU is runnable in the hypervisor only while a thread is inside KVM_RUN. So whoever holds
 * vcpu->mutex elsewhere may read and change its state.
 */
#ifndef KMOD_H
#define KMOD_H

#define pr_fmt(fmt) "corbel: " fmt

#include <linux/compat.h>
#include <linux/eventfd.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/kernel.h>
#include <linux/kvm_para.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include <asm/irq_remapping.h>

#include "hypercall.h"
#include "later_kvm.h"
#include "pure.h"
#include "tlfs.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
#define cb_eventfd_signal(ctx) eventfd_signal(ctx)
#else
#define cb_eventfd_signal(ctx) eventfd_signal(ctx, 1)
#endif

/*
 * p of `type __shared *p` points to what user space has mapped and writes at any time. READ_ONCE,
 * WRITE_ONCE, shared_read() and shared_write() reach it, nothing else: the test `style` sees to it.
 * shared_plain(): its address, for who does not look at what is there.
 */
#ifdef CHECK_SHARED
#define __shared __attribute__((address_space(1)))
#undef READ_ONCE
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#undef WRITE_ONCE
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define shared_plain(p)	 ((void *)(unsigned long)(p))
#else
#define __shared
#define shared_plain(p) ((void *)(p))
#endif

/* Copies from and to there; what has been read is not read again. */
static inline void shared_read(void *to, const void __shared *from, size_t n)
{
	memcpy(to, shared_plain(from), n);
	barrier();
}

static inline void shared_write(void __shared *to, const void *from, size_t n)
{
	memcpy(shared_plain(to), from, n);
}

/* Newer kernels give the member another name, to say that user space may change it at any time. */
#ifdef HINT_UNSAFE_IN_KVM
#define cb_immediate_exit(run) READ_ONCE((run)->immediate_exit__unsafe)
#else
#define cb_immediate_exit(run) READ_ONCE((run)->immediate_exit)
#endif

#ifdef KVM_EXIT_HYPERCALL_LONG_MODE /* the first of the flags */
#define cb_hypercall_mode(run) ((run)->hypercall.flags)
#else
#define cb_hypercall_mode(run) ((run)->hypercall.longmode)
#endif

#define CB_MAX_SLOTS 509u /* of one address space */
#define CB_SPACES    2u
#define CB_SPACE_SMM 1u
struct cb_memory_fault { /* in struct kvm_run behind that exit */
	__u64 flags, gpa, size;
};

#define CB_MAX_SLOT_PAGES ((1ul << 31) - 1)
#define CB_MAX_VCPUS	  1024u /* of one VM */
#define CB_FEW_VCPUS	  128u
#define CB_MAX_VCPU_ID	  4096u
#define CB_BITMAP_PAGES	  (PAGE_SIZE * 8) /* gfns whose bitmap fills a page */
#define CB_RUN_PAGES	  3u		  /* kvm_run, data of ports, ring of coalesced writes */
#define CB_RING_BYTES	  (65536u * sizeof(struct kvm_dirty_gfn)) /* a dirty ring's at most */

/* what KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 can be enabled with */
#define CB_MANUAL_LOG (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET)

/* KVM_X86_QUIRK_x that can be off; SLOT_ZAP_ALL, of newer kernels, always is */
#define CB_QUIRK_SLOTS 128u
#define CB_QUIRKS                                                                                  \
	(CORBEL_QUIRK_LINT0 | CORBEL_QUIRK_LAPIC_HOLE | CORBEL_QUIRK_NO_MWAIT |                    \
	 CORBEL_QUIRK_HYPERCALL | CORBEL_QUIRK_MWAIT | CB_QUIRK_SLOTS)

/* what KVM_CAP_X2APIC_API can be enabled with */
#define CB_CLOCK_FLAGS (KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC)
/* struct kvm_nested_state of a guest that runs a guest; on VT-x with room for a shadow VMCS */
#define CB_NESTED_SVM (sizeof(struct kvm_nested_state) + KVM_STATE_NESTED_SVM_VMCB_SIZE)
#define CB_NESTED_VMX (sizeof(struct kvm_nested_state) + sizeof(struct kvm_vmx_nested_state_data))
/* KVM_CAP_EXIT_HYPERCALL */
#define CB_EXIT_HYPERCALLS BIT(KVM_HC_MAP_GPA_RANGE)
#define CB_X2APIC_API	   (KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK)

/* what KVM_SET_GUEST_DEBUG takes */
#define CB_GUEST_DEBUG                                                                             \
	(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_SW_BP |                  \
	 KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_INJECT_DB | KVM_GUESTDBG_INJECT_BP |                \
	 KVM_GUESTDBG_BLOCKIRQ)

/* why a guest has left for the hypervisor: corbel_vcpu_stat.exits[], corbel_vcpu_page.exit */
enum cb_exit {
#define X(id, name) CB_EXIT_##id,
	CORBEL_EXIT_NAMES
#undef X
	    CB_EXIT_NR
};

enum cb_irqchip_kind { CB_IRQCHIP_NONE, CB_IRQCHIP_FULL, CB_IRQCHIP_SPLIT };

/* Who asserts a line; a line is high while any of them does. */
enum cb_irq_source { CB_SRC_USER, CB_SRC_IRQFD, CB_SRC_RESAMPLE, CB_SRC_PIT };

struct cb_apf;
struct cb_pit;
struct cb_synic;

struct cb_hyperv_vcpu { /* hyperv.c; of a vCPU, under its mutex */
	struct tlfs_rights rights;
	u8 flags; /* CORBEL_HYPERV_MSRS, APIC, TIME */
	u32 index;
	u64 assist_page, runtime_offset;
	/* bits CB_HYPERV_x, what is to be done before it runs on; atomic: timers set theirs */
	unsigned long event;
	u32 synic_msr; /* of CB_HYPERV_SYNIC */
	/* synic.c; NULL until its VMM has enabled it, then there for good */
	struct cb_synic *synic;
};
/* Of the MSR just written user space hears next; CB_HYPERV_TIMERS: some may be due */
enum { CB_HYPERV_CRASH, CB_HYPERV_RESET, CB_HYPERV_SYNIC, CB_HYPERV_TIMERS };

struct cb_hyperv {	   /* of a VM */
	struct mutex lock; /* what follows */
	u64 guest_os_id;   /* is also read without it */
	u64 hypercall;
	u64 crash[TLFS_CRASH_PARAMETERS], crash_ctl;
	u64 reenlightenment, tsc_emulation, tsc_emulated;
	u64 tsc_page;
	bool tsc_page_new;	  /* the guest has just put it there */
	bool tsc_stale;		  /* what the page says is no longer so */
	bool tsc_stays;		  /* but the guest wants it so; both are also read without it */
	struct tlfs_tsc_page tsc; /* what it says then */
	struct xarray signals;	  /* synic.c: eventfds by connection, of CALL_SIGNAL_EVENT */
};

struct cb_dirty_ring {			     /* dirty_ring.c; of a vCPU */
	struct kvm_dirty_gfn __shared *gfns; /* mapped by user space; NULL: there is none */
	u32 size;			     /* entries, a power of two */
	u32 pushed;			     /* as many, ever; under vcpu->mutex, read without */
	u32 reset; /* as many of them are free again; under vm->slots_lock, read without */
};

struct cb_vcpu {
	struct cb_vm *vm;
	u64 number;  /* the hypervisor's */
	u32 apic_id; /* KVM's vCPU id */
	struct mutex mutex;
	wait_queue_head_t wait;	       /* for page->state */
	struct corbel_vcpu_page *page; /* shared with the hypervisor, as is data */
	u8 *data;		       /* one page */
	struct kvm_run __shared *run;  /* mapped by user space: read once, never trust */
	u8 __shared *pio;	       /* the page after it */
	struct corbel_map *maps;       /* one page: argument of HC_MAP */
	/* KVM_EXIT_IO or _MMIO whose result user space is to supply, or 0 */
	u32 user_exit;
	u32 io_bytes;	 /* of the last KVM_EXIT_IO; at most a page */
	bool unfinished; /* the next resume completes an instruction or injection */
	bool lost;	 /* did not stop when told to; it may later, see vm.c */
	u32 smbase;	 /* SMM's base, which the guest can move */
	int extint;	 /* vector from KVM_INTERRUPT with a split irqchip, or -1 */
	bool sigmask_set;
	sigset_t sigmask;
	int runner;    /* thread that ran it last ... */
	u64 run_delay; /* ... and what that had waited for a CPU by then, in ns */
	u32 weight;    /* as last told to the hypervisor */
	u32 cap;
	/* no page border is in them: the hypervisor reads the second, which is to be the first */
	struct corbel_cpus affinity __aligned(64), wanted __aligned(64);
	unsigned long synced_at;  /* jiffies then */
	unsigned long cgroups_at; /* when those are to be looked at again */
	struct cb_share share;	  /* what they leave it of the VM's */
	struct cb_hyperv_vcpu hyperv;
	struct cb_dirty_ring dirty;
	struct cb_apf *apf;
	u8 pv_by_cpuid;	   /* CORBEL_KVM_BY_CPUID, or 0 */
	u32 pv_features;   /* KVM_FEATURE_x that the guest is shown */
	bool has_services; /* something has been said about them, ever: cb_hyperv_flags(), ... */
	struct rcu_head rcu;
};

struct cb_vm {
	refcount_t users; /* VM fd, vCPU fds */
	struct mm_struct *mm;
	struct mutex lock; /* creation of vCPUs, irqchip, PIT; doorbells; assigning irqfds */
	u32 id;		   /* the hypervisor's; 0 until the first vCPU is created */
	struct cb_account *account;
	/* Set once, in order; NULL until there is one. First with room for CB_FEW_VCPUS, later for
	 * CB_MAX_VCPUS: who reads without the lock may still have the first, which stays. */
	struct cb_vcpu **vcpu, **few;
	u32 vcpus;
	u32 boot_apic_id;
	u32 max_vcpu_id;       /* ids end here; 0 until asked for, or the first vCPU is there */
	u32 tsc_khz;	       /* of vCPUs to come; 0: the machine's */
	int pid;	       /* who made it */
	struct dentry *counts; /* stats.c; NULL or an error: it has none there */
	u32 mmu_pages;	       /* KVM_SET_NR_MMU_PAGES */
	/* what has been enabled */
	bool exception_payload, triple_fault_event;
	u8 services;	/* CORBEL_KVM_NO_PLATFORM_INFO, EMULATION_STOPS; under lock */
	u32 quirks;	/* KVM_X86_QUIRK_x that are off; under lock */
	u32 x2apic_api; /* KVM_X2APIC_API_x; under lock */
	/* both under lock, set before there is an id: KVM_X86_DISABLE_EXITS_x; ns, or 0 */
	u32 no_exits, bus_ns;
	s64 clock_ns; /* until there is an id: kvmclock = boot time + this */

	u64 share; /* weight << 32 | cap of its cgroups, as last told to the hypervisor */
	struct cb_shared shared[CB_SHARE_LEVELS]; /* the same of what it shares */
	/* Both are read, told and noted under it: the newest comes last. Who waits for it sleeps,
	 * as there may be many cgroups to look at. */
	struct mutex share_lock;

	struct delayed_work reap; /* vm.c: at its end a vCPU has not stopped */

	/* mem.c, notifier.c, fault.c */
	struct mutex slots_lock;
	struct cb_slots __rcu *slots; /* replaced under slots_lock and mmu_lock */
	u64 promised; /* page tables that the hypervisor has for it; under slots_lock */
	spinlock_t mmu_lock;
	u32 inv_count;			  /* invalidations in progress ... */
	unsigned long inv_start, inv_end; /* ... somewhere in this range */
	bool lost;			  /* memory could not be taken from it: it must not run */
	u32 mmio_marks;			  /* made since they were last forgotten */
	bool has_devices;		  /* a guest frame is a device's; it stays true */
	u64 slot_removed;		  /* the last time, as get_jiffies_64() */
	/* gmem.c: KVM_X86_SW_PROTECTED_VM; frames that are private; those that change, under
	 * mmu_lock */
	bool has_private;
	struct maple_tree private;
	u32 private_ranges; /* in it */
	u64 change_first, change_last;
	bool has_smm; /* there is memory for SMM: under slots_lock; it stays true */
	struct mmu_notifier notifier;
	u32 manual_log; /* KVM_DIRTY_LOG_x: reading the dirty log does not clear it */
	/* Of each vCPU's dirty ring; 0: there are bitmaps. Under lock, set before there are vCPUs.
	 */
	u32 ring_entries;

	/* msrs.c; under lock */
	struct corbel_msr_filter *msr_filter; /* a page, or NULL; so are its bitmaps */
	u32 msr_exits;			      /* KVM_MSR_EXIT_REASON_x */
	/* pmu.c; under lock: a page, or NULL; the latter is set before there is an id */
	struct corbel_pmu_filter *pmu_filter;
	bool no_pmu;

	/* irqchip.c */
	enum cb_irqchip_kind irqchip;
	u32 split_pins; /* GSIs whose EOI user space wants */
	struct cb_routing __rcu *routing;
	struct mutex routing_lock;
	spinlock_t irq_lock; /* ioapic, what follows */
	struct ioapic ioapic;
	u8 pic_sources[16], ioapic_sources[KVM_IOAPIC_NUM_PINS]; /* bit: enum cb_irq_source */
	/* pic.c: what the hypervisor said of the PICs last, and what it has not been told since */
	bool pic_there; /* it has the VM */
	bool pic_awake; /* and is told at once */
	u64 pic_said;
	u16 pic_changed, pic_rose;	   /* lines; and those with an edge that is latched */
	struct kvm_pic_state pic_early[2]; /* until it has the VM */
	u8 pic_set;			   /* bit: that of this chip has been set */
	u64 eoi_mask[4];		   /* as last told to the hypervisor, as is the next */
	u32 pic_wanted;
	struct cb_pit *pit;

	spinlock_t irqfds_lock;
	struct list_head irqfds;
	/* Of each GSI, RCU; changed under irqfds_lock. Set once, under lock; NULL until one asks */
	struct hlist_head *resamplers;
	struct list_head ioeventfds;	  /* under lock */
	struct list_head slow_ioeventfds; /* those without a doorbell, under zones_lock, too */

	/* coalesced.c */
	spinlock_t zones_lock;
	struct list_head zones;
	u32 zone_count;
	struct kvm_coalesced_mmio_ring __shared *ring; /* mapped by user space, as kvm_run is */

	bool has_vfio; /* vfio.c */

	struct cb_hyperv hyperv; /* hyperv.c */
	struct rcu_head rcu;
};

/* main.c */
extern struct workqueue_struct *cb_wq;
long cb_check_extension(const struct cb_vm *vm, long cap);

extern u64 cb_features; /* CORBEL_FEATURE_x of the hypervisor */
extern bool cb_strict;	/* which drives the IOMMUs */
extern u64 cb_gfn_end;	/* what guests can have ends here */
extern u32 cb_tsc_khz;
extern u64 cb_pool_bytes; /* the hypervisor's memory */
/*
 * limits.c: the user who opened kvm has one VM more, this user one vCPU or doorbell more, or why
 * not: -ENOSPC
 */
struct cb_account *cb_account_vm(const struct file *kvm);
void cb_account_vm_gone(struct cb_account *a);
int cb_account_vcpu(struct cb_account *a);
void cb_account_vcpu_gone(struct cb_account *a);
int cb_account_doorbell(struct cb_account *a);
void cb_account_doorbell_gone(struct cb_account *a);
/* Whose the new VM is, for the hypervisor, which counts its memory. */
void cb_account_pool(const struct cb_account *a, struct corbel_vm_create *c);
/*
 * What the hypervisor said to somebody who wanted so many pages (0: a VM or vCPU): -ENOMEM, which
 * is logged, in place of -EDQUOT.
 */
long cb_account_refused(const struct cb_account *a, long r, u64 pages);

/* The vCPU, which has stopped, begins to have guests of its own. -ENOMEM */
long cb_promise_nested(struct cb_vcpu *v);
/*
 * HC_PROMISE of so many pages for tables: a pool that runs low is lent memory of the caller's
 * first.
 */
long cb_account_promise(u32 id, u64 pages);
/* A VM has gone: what it needed of that is free again. */
void cb_account_take_back(void);

/* vm.c */
int cb_vm_create(const struct file *kvm, unsigned long type);
/* KVM_CAP_X86_DISABLE_EXITS: what guests can do without */
u32 cb_optional_exits(void);
void cb_vm_put(struct cb_vm *vm);
static inline void cb_vm_get(struct cb_vm *vm)
{
	refcount_inc(&vm->users);
}
/* Make the hypervisor's VM, unless it is there. Under vm->lock. */
int cb_vm_realize(struct cb_vm *vm);

/* vcpu.c */
int cb_vcpu_create(struct cb_vm *vm, u32 apic_id);
/*
 * Of a VM without users whose vCPUs have all stopped. False: the hypervisor would not let go of it
 * yet.
 */
bool cb_vcpu_destroy(struct cb_vcpu *v);

/* run.c */
int cb_vcpu_run(struct cb_vcpu *v);
/* Pause and wait, uninterruptible but bounded. 0 once stopped, else -EIO and v->lost. */
int cb_vcpu_stop(struct cb_vcpu *v);
static inline bool cb_vcpu_stopped(const struct cb_vcpu *v)
{
	return smp_load_acquire(&v->page->state) == CORBEL_VCPU_STOPPED;
}

/* CORBEL_STATE_x, of so many bytes or things in the data page, from or to the hypervisor. 0 */
static inline long cb_state_get(struct cb_vcpu *v, u32 what, size_t len)
{
	long r = HC3(VCPU_GET, v->number, what, len);

	return r < 0 ? r : 0;
}
static inline long cb_state_set(struct cb_vcpu *v, u32 what, size_t len)
{
	long r = HC3(VCPU_SET, v->number, what, len);

	return r < 0 ? r : 0;
}
/* The vCPU page has the general registers in the order of struct kvm_regs. */
static inline struct kvm_regs *cb_regs(struct cb_vcpu *v)
{
	return (void *)((u8 *)v->page + offsetof(struct corbel_vcpu_page, rax));
}
void cb_put_regs(struct cb_vcpu *v, const struct kvm_regs *regs);
/* state.c: register and state ioctls; -ENOTTY: not one of them. Under vcpu->mutex. */
long cb_state_ioctl(struct cb_vcpu *v, unsigned int cmd, void __user *arg);
/* KVM_VCPU_TSC_OFFSET. Under vcpu->mutex. */
long cb_state_tsc_offset(struct cb_vcpu *v, u64 __user *arg, bool set);
/* Of /dev/kvm: what HC_SUPPORTED lists. */
long cb_supported_cpuid(struct kvm_cpuid2 __user *arg);
long cb_msr_index_list(struct kvm_msr_list __user *arg);
/* Can guests have performance counters? */
bool cb_has_pmu(void);
/* MSRs that tell of features: their numbers, and what a new vCPU reads there. */
long cb_msr_feature_list(struct kvm_msr_list __user *arg);
long cb_msr_features(struct kvm_msrs __user *arg);
/* KVM_CAP_SYS_ATTRIBUTES: KVM_GET_DEVICE_ATTR, KVM_HAS_DEVICE_ATTR. -ENXIO: there is none such. */
long cb_system_attr(const struct kvm_device_attr __user *arg, bool get);
/*
 * KVM_CAP_SYNC_REGS: take what user space has changed in its page; put there what it wants. Under
 * vcpu->mutex.
 */
int cb_sync_regs_take(struct cb_vcpu *v);
void cb_sync_regs_put(struct cb_vcpu *v);

/* msrs.c: MSRs that user space wants to see */
struct cb_msr_range_compat { /* kvm_msr_filter_range of 32-bit programs */
	u32 flags, nmsrs, base;
	compat_uptr_t bitmap;
};
struct cb_msr_filter_compat {
	u32 flags;
	struct cb_msr_range_compat ranges[KVM_MSR_FILTER_MAX_RANGES];
};
#define CB_SET_MSR_FILTER_COMPAT _IOW(KVMIO, 0xc6, struct cb_msr_filter_compat)
/* arg: kvm_msr_filter, or with compat a cb_msr_filter_compat */
int cb_msr_set_filter(struct cb_vm *vm, const void __user *arg, bool compat);
int cb_msr_set_exits(struct cb_vm *vm, u64 reasons);
/* The hypervisor's VM has been made. */
int cb_msr_realize(const struct cb_vm *vm, u32 id);
void cb_msr_exit(struct cb_vm *vm);

/* pmu.c: performance counters of guests */
int cb_pmu_set_filter(struct cb_vm *vm, const struct kvm_pmu_event_filter __user *arg);
/* KVM_CAP_PMU_CAPABILITY */
int cb_pmu_set_capability(struct cb_vm *vm, u64 how);
/* As cb_msr_x() */
int cb_pmu_realize(const struct cb_vm *vm, u32 id);
void cb_pmu_exit(struct cb_vm *vm);

/* stats.c: a new file descriptor; vcpu NULL: the VM's */
int cb_stats_fd(struct cb_vm *vm, const struct cb_vcpu *vcpu);
/* The same in debugfs, as far as there is room. A VM's: before others know of fd, its descriptor.
 */
void cb_counts_init(void);
void cb_counts_exit(void);
void cb_counts_add(struct cb_vm *vm, int fd);
void cb_counts_remove(struct cb_vm *vm);

#endif
