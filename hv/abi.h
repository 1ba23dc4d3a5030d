/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/*
 * The only contract between the hypervisor, dom0's module corbel.ko and the tools, but for what
 * these ask the module (dom0/kmod/devctl.h). Self-contained; usable from kernel and user space.
 *
 * Hypercalls: VMMCALL (svm) or VMCALL (vmx) from dom0's ring 0. RAX = number, RDI RSI RDX RCX R8 =
 * arguments, result in RAX (>= 0, or a negated errno). All other registers are preserved. "buf"
 * arguments are the dom0-physical address of a buffer that lies within one 4 KiB page of dom0's
 * memory.
 */
#ifndef CORBEL_ABI_H
#define CORBEL_ABI_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

#define CORBEL_ASSERT(c) _Static_assert(c, #c)

#include "abi_msr.h"
#include "abi_pool.h"
#include "abi_vm.h"

#define CORBEL_ABI_VERSION 18u

/* CPUID: dom0 sees this signature at this leaf, whose EAX is the highest such leaf. */
#define CORBEL_CPUID_BASE    0x40000100u
#define CORBEL_CPUID_SIG_EBX 0x62726f43u /* "Corb" */
#define CORBEL_CPUID_SIG_ECX 0x79486c65u /* "elHy" */
#define CORBEL_CPUID_SIG_EDX 0x20726570u /* "per " */
/* EAX = CORBEL_ABI_VERSION, EBX = backend, ECX = 1 if the caller is dom0 */
#define CORBEL_CPUID_ABI 0x40000101u

enum corbel_backend { CORBEL_BACKEND_SVM = 1, CORBEL_BACKEND_VMX };

#define CORBEL_MAX_VCPUS     2048u
#define CORBEL_MAX_DOORBELLS 4096u
/*
 * The numbers of vCPUs and doorbells that dom0's module is given: an id, which is given again when
 * what had it is gone, and above it what is not. So a number that is out of date names nothing.
 */
#define CORBEL_VCPU_ID(number)	   ((number) % CORBEL_MAX_VCPUS)
#define CORBEL_DOORBELL_ID(number) ((number) % CORBEL_MAX_DOORBELLS)
#define CORBEL_MAX_WEIGHT	   100000u /* of HC_SCHED and HC_SCHED_VM; nice -20 is 88761 */
/* of HC_SCHED, for a thread of real time: 95 % of a CPU beside 16 of nice 0, in any VM */
#define CORBEL_REALTIME_WEIGHT (20 * 16 * 1024u)
/* of HC_SCHED_VM: percent of one CPU; lifts it */
#define CORBEL_MAX_CAP	  (100u * CORBEL_MAX_CPUS)
#define CORBEL_CAP_LEVELS 3u

/* ---- hypercall numbers ---- */
#define CORBEL_HC_BASE	0x43520000u
#define CORBEL_HC_RANGE 0x10000u /* numbers that are Corbel's, used or not */
/* Numbers stay as they are: new ones come last. */
enum corbel_hypercall {
	CORBEL_HC_VERSION = CORBEL_HC_BASE, /* () -> CORBEL_ABI_VERSION */
	/* (what, index, buf, len) -> bytes written; -ENOENT past the end */
	CORBEL_HC_STAT,
	/* (seq, buf, len): struct corbel_log; -> bytes of text */
	CORBEL_HC_LOG_READ,
	/* (apic id, vector): event interrupt of that dom0 CPU; 0 unbinds -> its index in load[] */
	CORBEL_HC_EVENT_BIND,
	/* (buf: struct corbel_vm_create) -> VM id (> 0) */
	CORBEL_HC_VM_CREATE,
	/* (vm): all vCPUs must be destroyed; -EAGAIN: call again */
	CORBEL_HC_VM_DESTROY,
	CORBEL_HC_VCPU_CREATE, /* (vm, apic id) -> its number, global */
	/* (vcpu): -EBUSY unless the VM's vCPUs are stopped; -EAGAIN: call again */
	CORBEL_HC_VCPU_DESTROY,
	/* (vcpu) -> host-physical address of its two shared pages */
	CORBEL_HC_VCPU_PAGE,
	/* (vcpu): stopped -> runnable. May run it before returning */
	CORBEL_HC_VCPU_RESUME,
	/*
	 * (vcpu): ask a vCPU to stop, one that is stopped as soon as it is resumed; ends as
	 * CORBEL_EXIT_PAUSED, if it does not stop for something else
	 */
	CORBEL_HC_VCPU_PAUSE,
	/* (vcpu, CORBEL_STATE_x, n of STATE_MSRS) -> bytes in the data page; -EBUSY: not stopped */
	CORBEL_HC_VCPU_GET,
	/* (vcpu, CORBEL_STATE_x, bytes in the data page) */
	CORBEL_HC_VCPU_SET,
	/* (vm, buf: struct corbel_map[], count) -> entries done; short count: see errno rule */
	CORBEL_HC_MAP,
	/*
	 * (vm, gfn, count) -> gfns done; TLBs are clean on return; less than count:
	 * call again. Always done if there is such a VM
	 */
	CORBEL_HC_UNMAP,
	/* (vm, gfn, count <= 32768, buf: bitmap, flags): write-protect / read and clear -> 0 */
	CORBEL_HC_DIRTY,
	/*
	 * (vm, address, data, strict): 1 delivered, 0 no such target. strict: destination 0xff is
	 * no broadcast to LAPICs in x2APIC mode
	 */
	CORBEL_HC_MSI,
	CORBEL_HC_NMI, /* (vcpu, SMI?): an SMI in its place is taken as CORBEL_EXIT_SMM */
	/* (vcpu, level): INTR of a PIC that is the VMM's; taken as CORBEL_EXIT_INTA */
	CORBEL_HC_EXTINT,
	/* (vm, word 0..3, mask): vectors whose EOI is reported by CORBEL_EXIT_EOI */
	CORBEL_HC_EOI_MASK,
	/* (vm, buf: struct corbel_doorbell) add (-> its number), or remove */
	CORBEL_HC_DOORBELL,
	/* (vcpu, weight, buf: affinity, struct corbel_cpus, cap percent) 0 = leave as it is */
	CORBEL_HC_SCHED,
	/* (CORBEL_SUPPORTED_x, first, buf, len) -> entries written */
	CORBEL_HC_SUPPORTED,
	/* (vm, set?, ns): kvmclock of the VM; get returns ns */
	CORBEL_HC_CLOCK,
	/* (vm, apic id): which vCPU is the BSP; before the first vCPU */
	CORBEL_HC_BOOT_CPU,
	/* (key): as the debug key on the console: state into the log */
	CORBEL_HC_DEBUG,
	/* (vm, gfn, pfn, order, flags): HC_MAP of one entry, without a buffer */
	CORBEL_HC_MAP_ONE,
	/*
	 * (vm, pages, CORBEL_PROMISE_x): promise the VM so many pages more of the pool, for its
	 * page tables, or take that back. -EAGAIN: the pool runs low, lend it something and call
	 * again; -ENOMEM: it has only its reserve left; -EDQUOT: the user has too many
	 */
	CORBEL_HC_PROMISE,
	/* (vm, CORBEL_MSR_EXIT_x, buf: struct corbel_msr_filter, 0: none): MSRs of its guest */
	CORBEL_HC_MSR_FILTER,
	/*
	 * (begins?): dom0's kernel is about to end: all VMs stop for good, their memory is dom0's,
	 * no event is bound; or one has begun, and what is left of VMs goes: -EAGAIN: call again
	 */
	CORBEL_HC_KERNEL,
	/* (): the caller's CPU has left what it was let in for: see struct corbel_load */
	CORBEL_HC_TURN_OVER,
	/*
	 * (pfn): CORBEL_LENT_PAGES frames of dom0's, aligned alike, become the pool's: dom0 cannot
	 * reach them from now on. -EAGAIN: call again with the same; -EPERM: not dom0's; -EBUSY: a
	 * guest has one of them, or another block is on its way; -ENOSPC: enough are lent;
	 * -EOPNOTSUPP: not with iommu=strict
	 */
	CORBEL_HC_LEND,
	/*
	 * () -> pfn of lent frames that are dom0's again, zeroed; -ENOENT: none can be spared;
	 * -EAGAIN: call again
	 */
	CORBEL_HC_TAKE_BACK,
	/*
	 * (): a domain for devices, with no memory yet -> its id (> 0). -ENODEV: not with
	 * iommu=strict, or the units cannot; -ENOSPC: there are as many as there can be
	 */
	CORBEL_HC_DOMAIN_CREATE,
	/* (domain): -EBUSY: it has devices; -EAGAIN: call again; 0: all, which are blocked */
	CORBEL_HC_DOMAIN_DESTROY,
	/*
	 * (segment << 16 | bus << 8 | device << 3 | function, domain): where the device's
	 * accesses go; 0: to dom0's memory, CORBEL_DOMAIN_NONE: nowhere
	 */
	CORBEL_HC_DOMAIN_ATTACH,
	/*
	 * (domain, dfn, pfn, count <= 512, CORBEL_MAP_WRITE): dom0's frames from pfn on, at the
	 * devices' frame numbers from dfn on -> frames done, or what is wrong with the first:
	 * -EPERM: not dom0's memory, -EEXIST: something is there
	 */
	CORBEL_HC_DOMAIN_MAP,
	/*
	 * (domain, dfn, count) -> frames done, which no device reaches any more; call again.
	 * -ENOMEM: a large page would have to be split for a part of it, and is there as before
	 */
	CORBEL_HC_DOMAIN_UNMAP,
	/*
	 * (device, index, low half of the address, data of a message): its message of that index,
	 * which is sent to 0xfee00000 with the index as data, raises the interrupt that dom0 gets
	 * by this message; address 0: none. Of a device that is in a domain, or, after index
	 * CORBEL_DOMAIN_IRQS with 1 (0: it raises what it sends, again) for an address, dom0's.
	 * -ENOENT: of none, -ENODEV: without CORBEL_FEATURE_DEVICE_IRQ, -EINVAL: not a vector of
	 * dom0's
	 */
	CORBEL_HC_DOMAIN_IRQ,
	/*
	 * (vm, weight, cap percent) of all its vCPUs together, which share both; 0 = leave as it
	 * is. The weight is in parts of 1024 that each vCPU's own is multiplied by. Or (vm, level,
	 * cap percent, id), id not 0: a cap that all VMs have together which name that id, beside
	 * their own; each has one at each level, below CORBEL_CAP_LEVELS. -ENOSPC: too many ids
	 */
	CORBEL_HC_SCHED_VM,
	CORBEL_HC_FLUSH, /* (vm): on return no TLB has anything of the guest's but of SMM */
	CORBEL_HC_POOL,	 /* (buf: struct corbel_pool_call) -> 0, or the id of a new pool */
	/* (vm): it gets a second map of memory, for vCPUs in SMM; 0 also if it has one */
	CORBEL_HC_SMM,
	/*
	 * (vm, address, data, strict): handle, in an address's place, of the vCPU that alone takes
	 * this message; -EINVAL: none, or not as a common interrupt; -ENODEV: units do not post
	 */
	CORBEL_HC_POST,
	CORBEL_HC_PMU_FILTER, /* (vm, buf: struct corbel_pmu_filter) */
	CORBEL_HC_IDLE, /* (buf: struct corbel_cst[], count) of the caller's CPU -> mask used */
	/* (pfn): of the CORBEL_SECTION around it what was no RAM at boot is dom0's memory now. */
	/* -EPERM: below 4 GiB, or not write-back; -ENOMEM; -ENOSPC; -EOPNOTSUPP: iommu=strict */
	CORBEL_HC_MEMORY,
	CORBEL_HC_PIC, /* (vm, CORBEL_PIC_x, what that says): abi_vm.h */
	CORBEL_HC_END
};
#define CORBEL_SECTION	   (1u << 15)  /* frames, 128 MiB */
#define CORBEL_DOMAIN_NONE 0xffffffffu /* of DOMAIN_ATTACH */
#define CORBEL_DOMAIN_IRQS 512u	       /* messages that a device can have */
#define CORBEL_HC_NR	   (CORBEL_HC_END - CORBEL_HC_BASE)
CORBEL_ASSERT(CORBEL_HC_MAP_ONE == CORBEL_HC_BASE + 26);

/* HC_PROMISE; NEVERTHELESS: also if the pool is low then */
enum corbel_promise { CORBEL_PROMISE, CORBEL_PROMISE_BACK, CORBEL_PROMISE_NEVERTHELESS };
#define CORBEL_LENT_PAGES 512u
/*
 * Frame numbers of MAP, UNMAP, DIRTY from here on, as far: those in the VM's second map, which only
 * vCPUs in SMM use; -ENOENT: it has none, see HC_SMM
 */
#define CORBEL_GFN_SMM (1ull << 40)

/* HC_STAT what */
enum corbel_stat {
	CORBEL_STAT_INFO, /* struct corbel_info, index ignored */
	CORBEL_STAT_VM,	  /* struct corbel_vm_stat of the index-th VM in use (0 is dom0) */
	CORBEL_STAT_VCPU, /* struct corbel_vcpu_stat of the index-th vCPU in use */
	CORBEL_STAT_CPU,  /* struct corbel_cpu_stat */
	CORBEL_STAT_POOL, /* struct corbel_pool_stat of the index-th pool */
};

struct corbel_info {
	uint32_t abi_version, backend;
	uint32_t cpus, vms, vcpus, doorbells;
	uint64_t memory_total_bytes, pool_total_bytes, pool_free_bytes;
	uint64_t tsc_khz, uptime_ns;
	uint64_t events_hpa; /* struct corbel_events, from the next page on struct corbel_load[] */
	char version[32];
	char scheduler[16];
	uint64_t features;	      /* CORBEL_FEATURE_x */
	uint64_t gfn_end;	      /* guests have no memory from this frame on */
	uint64_t pool_promised_bytes; /* of the free ones; dom0's VMs have a claim to them */
	uint32_t iommu, iommu_units;  /* enum corbel_iommu; how many there are */
	uint32_t iommu_bits;  /* of the addresses that domains of devices have; 0: no units */
	uint32_t iommu_pages; /* of the pool: what units read, domains of devices */
};
CORBEL_ASSERT(sizeof(struct corbel_info) == 160);
/* What keeps dom0's devices from memory that is not dom0's. */
enum corbel_iommu {
	CORBEL_IOMMU_NONE,   /* nothing: the machine has none, or none that is known */
	CORBEL_IOMMU_OFF,    /* nothing, by option iommu=off */
	CORBEL_IOMMU_DOM0,   /* what dom0's kernel sets up */
	CORBEL_IOMMU_STRICT, /* the hypervisor: they do not reach its memory */
};
#define CORBEL_FEATURE_TSC_SCALE  1u   /* STATE_TSC_KHZ takes frequencies not this machine's */
#define CORBEL_FEATURE_DEVICE_IRQ 2u   /* devices in domains raise only what HC_DOMAIN_IRQ says */
#define CORBEL_FEATURE_NESTED	  8u   /* guests may have guests: STATE_NESTED */
#define CORBEL_FEATURE_BY_CORE	  16u  /* CPUs of a core run one VM at a time: sched-gran=core */
#define CORBEL_FEATURE_IRQ_REMAP  4u   /* all raise only what dom0's kernel has set for them */
#define CORBEL_FEATURE_SLEEP	  32u  /* the machine may suspend to RAM: S3 */
#define CORBEL_FEATURE_EVMCS	  128u /* and have enlightened VMCSs: corbel_vcpu_page */
#define CORBEL_FEATURE_MWAIT	  64u  /* guests may wait by MWAIT: CORBEL_VM_MWAIT */

struct corbel_vm_stat {
	uint32_t id, vcpus, pid, flags;
	uint64_t mapped_bytes; /* of dom0's memory now mapped into this VM */
	uint64_t pool_bytes;   /* hypervisor memory spent on this VM */
	uint64_t runtime_ns;
	char name[32];
	uint32_t weight, cap; /* as set by HC_SCHED_VM; 0: no cap */
	uint32_t pool, pad;   /* its id */
};
CORBEL_ASSERT(sizeof(struct corbel_vm_stat) == 88);

/* vCPU run states as shown to dom0 */
enum corbel_vcpu_state {
	CORBEL_VCPU_STOPPED, /* waits for VCPU_RESUME */
	CORBEL_VCPU_RUNNABLE,
	CORBEL_VCPU_RUNNING,
	CORBEL_VCPU_BLOCKED, /* HLT or wait-for-SIPI inside the hypervisor */
};

struct corbel_log {
	/* in: first byte wanted; out: first byte given (later when the ring has moved on) */
	uint64_t seq;
	uint64_t next; /* out: ask for this next */
	uint32_t len, pad;
	char text[];
};

#define CORBEL_BROKEN 4u
/* ---- events: one page, bits set by the hypervisor, cleared by dom0, atomically ---- */
struct corbel_events {
	uint64_t vcpu_summary;		/* bit i: vcpu[i] has bits set */
	uint64_t doorbell_summary;	/* bit i: doorbell[i] has bits set */
	uint64_t broken[CORBEL_BROKEN]; /* frames of dom0's whose memory is broken; 0: none */
	uint64_t errors;      /* bit i: error[i] is there, and stays until it is cleared */
	uint64_t errors_lost; /* so many found no place; dom0 takes it, and leaves 0 */
	uint64_t vcpu[CORBEL_MAX_VCPUS / 64];	      /* vCPU id has stopped */
	uint64_t doorbell[CORBEL_MAX_DOORBELLS / 64]; /* doorbell id has rung */
	struct corbel_error error[CORBEL_ERRORS];
};
CORBEL_ASSERT(sizeof(struct corbel_events) <= 4096);

/* ---- vCPU pages: page 0 is this struct, page 1 the data page (state blobs, string I/O) ---- */
enum corbel_exit_reason {
	CORBEL_EXIT_NONE = 0,
	CORBEL_EXIT_PAUSED, /* VCPU_PAUSE */
	CORBEL_EXIT_IO,	    /* io; IN data is taken from the data page at resume */
	CORBEL_EXIT_MMIO,   /* mmio; read data is taken from mmio.data at resume */
	/* fault: map memory there, or mark it CORBEL_MAP_MMIO, and resume */
	CORBEL_EXIT_MEM_FAULT,
	CORBEL_EXIT_HLT,      /* only without CORBEL_VM_LAPIC */
	CORBEL_EXIT_SHUTDOWN, /* triple fault */
	/* INTR line taken: put the vector into inta.vector (or 0: none) and resume */
	CORBEL_EXIT_INTA,
	CORBEL_EXIT_EOI,	/* eoi.vector, asked for by EOI_MASK */
	CORBEL_EXIT_IRQ_WINDOW, /* only without CORBEL_VM_LAPIC or with request_irq_window */
	CORBEL_EXIT_INTERNAL,	/* internal: the hypervisor cannot go on; why is in the log too */
	CORBEL_EXIT_FAIL_ENTRY, /* internal.code = hardware's reason */
	CORBEL_EXIT_DEBUG,	/* debug */
	/* msr, asked for by MSR_FILTER: put the data read, or error (#GP), there and resume */
	CORBEL_EXIT_MSR,
	CORBEL_EXIT_HYPERCALL, /* of HYPERV_CALLS, KVM's two: put hypercall.result there */
	/* not in_smm: an SMI is to be taken; in_smm: the guest is at RSM; by STATE_EVENTS */
	CORBEL_EXIT_SMM,
	/* fault.gpa: memory of dom0's, at this address of dom0's, that it has used, is broken */
	CORBEL_EXIT_BROKEN,
	CORBEL_EXIT_PIC, /* pic.what: what has happened, as PIC_TELL asked, PIC_ASLEEP or PIC_PIT */
	CORBEL_EXIT_TPR, /* tpr: by MMIO; or, without CORBEL_VM_LAPIC, CR8 has been lowered */
	CORBEL_EXIT_NEST, /* its first guest: CORBEL_PROMISE_NESTED (abi_nested.h), and resume */
};

#define BIT_U32(n) (1u << (n))

struct corbel_vcpu_page {
	/* CORBEL_VCPU_x; written last by the hypervisor when it stops the vCPU */
	uint32_t state;
	uint32_t exit_reason; /* enum corbel_exit_reason */
	union {
		struct {
			uint16_t port;
			uint8_t size, is_in; /* size 1, 2, 4 */
			/* elements in the data page; > 1 only for string I/O */
			uint32_t count;
		} io;
		struct {
			uint64_t gpa;
			uint8_t data[8];
			uint32_t len;
			uint32_t is_write;
		} mmio;
		struct {
			uint64_t gpa;	/* with CORBEL_GFN_SMM */
			uint32_t flags; /* CORBEL_FAULT_x */
			uint8_t none;
		} fault;
		struct {
			uint32_t vector;
		} eoi, inta;
		struct {
			uint32_t what;
		} pic;
		struct {
			uint32_t index, reason; /* CORBEL_MSR_EXIT_x */
			uint64_t data;
			uint8_t is_write, error;
		} msr;
		struct {
			uint64_t result; /* for RAX; beside 64-bit mode EAX, Hyper-V's EDX:EAX */
			uint8_t is_64;
		} hypercall;
		struct {
			uint64_t code, exit, gpa;	  /* exit, gpa, access: with event */
			uint32_t insn_len, event, access; /* as VT-x has them; event 0: none */
			uint8_t insn[15];
		} internal;
		struct {
			uint64_t rip;
			uint32_t is_write;
		} tpr;
		struct {
			uint64_t rip, dr6, dr7;
			uint32_t vector;
		} debug;
		uint8_t raw[64];
	};
	/*
	 * General registers. Valid while stopped; written back at resume if regs_dirty. Order as in
	 * KVM's kvm_regs.
	 */
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp;
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
	uint64_t rip, rflags;
	uint8_t regs_dirty;	    /* module -> hypervisor */
	uint8_t request_irq_window; /* module -> hypervisor */
	uint8_t mode;		    /* hypervisor -> module, all below too: CORBEL_MODE_x */
	uint8_t ready_for_irq;	    /* KVM_INTERRUPT would be taken at once */
	uint8_t in_smm;		    /* of smi.smm in STATE_EVENTS */
	/* module -> hypervisor: at resume finish the access in progress, then stop (PAUSED) */
	uint8_t stop_at_once;
	/* module -> hypervisor, at resume: stop (PAUSED) behind each exit, told in `exit` */
	uint8_t trace;
	uint8_t services;	 /* module -> hypervisor, at resume: CORBEL_HYPERV_x, KVM_x */
	uint64_t cr8, apic_base; /* both ways without CORBEL_VM_LAPIC */
	/* module -> hypervisor: what its threads have waited for a CPU of dom0's; it only grows */
	uint64_t waited_ns;
	struct { /* while trace is set: the last exit, with registers as they were */
		uint64_t reason; /* by place in CORBEL_EXIT_NAMES */
		uint64_t code;	 /* the hardware's */
		uint64_t rip, rax, rcx;
	} exit;
	/* module -> hypervisor, at any time */
	uint32_t quirks;   /* CORBEL_QUIRK_x that are off */
	uint8_t evmcs;	   /* CORBEL_FEATURE_EVMCS, for this guest */
	uint8_t tells_tpr; /* CORBEL_EXIT_TPR */
	uint8_t pad[2];
	uint64_t async_pf[2]; /* the module's: MSR_KVM_ASYNC_PF_EN, INT; 0 after a reset or INIT */
};
CORBEL_ASSERT(sizeof(struct corbel_vcpu_page) == 312);
#define CORBEL_MODE_IF	  1u
#define CORBEL_MODE_GUEST 2u	  /* it runs a guest of its own */
#define CORBEL_NOT_TRACED (~0ull) /* exit.reason; from the module, which has it changed */

/* What a guest for which the module plays Hyper-V may do */
#define CORBEL_HYPERV_MSRS  1u /* use its MSRs: they stop it, as CORBEL_MSR_EXIT_MODULE */
#define CORBEL_HYPERV_APIC  2u /* use those of the LAPIC, without a stop */
#define CORBEL_HYPERV_TIME  4u /* likewise read MSR_TIME_REF_COUNT, which is kvmclock's time */
#define CORBEL_HYPERV_CALLS 8u /* its hypercalls are Hyper-V's */
/* What any guest may not: KVM's services that its CPUID does not show, read MSR_PLATFORM_INFO */
#define CORBEL_KVM_BY_CPUID	    16u
#define CORBEL_KVM_NO_PLATFORM_INFO 32u
#define CORBEL_KVM_EMULATION_STOPS  64u	 /* a program that cannot be emulated: no #UD */
#define CORBEL_KVM_MAP_GPA_RANGE    128u /* that hypercall of KVM's stops it */
#define CORBEL_QUIRK_LINT0	    1u	 /* as KVM_X86_QUIRK_x; off: the PIC waits for LINT0 */
#define CORBEL_QUIRK_LAPIC_HOLE	    4u	 /* off: in x2APIC mode that page is the VMM's */
#define CORBEL_QUIRK_NO_MWAIT	    16u	 /* off: CPUID has MWAIT as MISC_ENABLE has */
#define CORBEL_QUIRK_HYPERCALL	    32u	 /* off: the other vendor's instruction is undefined */
#define CORBEL_QUIRK_MWAIT	    64u	 /* off: MWAIT is undefined where CPUID lacks it */

/* ---- state blobs in the data page ---- */
enum corbel_state {
	CORBEL_STATE_SREGS, /* struct corbel_sregs (layout of kvm_sregs) */
	CORBEL_STATE_XSAVE, /* 4096 bytes, standard format (layout of kvm_xsave) */
	CORBEL_STATE_XCR0,  /* uint64_t */
	/* struct corbel_msr[n]; n in place of the bytes; -> how many up to the first bad one */
	CORBEL_STATE_MSRS,
	CORBEL_STATE_CPUID,	  /* struct corbel_cpuid[n] (layout of kvm_cpuid_entry2) */
	CORBEL_STATE_LAPIC,	  /* 1024 bytes (layout of kvm_lapic_state) */
	CORBEL_STATE_EVENTS,	  /* struct corbel_vcpu_events (layout of kvm_vcpu_events) */
	CORBEL_STATE_DEBUGREGS,	  /* struct corbel_debugregs (layout of kvm_debugregs) */
	CORBEL_STATE_MP,	  /* uint32_t, KVM_MP_STATE_x */
	CORBEL_STATE_TSC_KHZ,	  /* uint64_t; SET 0: this machine's */
	CORBEL_STATE_INTERRUPT,	  /* SET only: uint32_t vector, for VMs without LAPICs */
	CORBEL_STATE_RESET,	  /* SET only: architectural reset */
	CORBEL_STATE_GUEST_DEBUG, /* SET only: struct corbel_guest_debug (as kvm_guest_debug) */
	/* GET: data page holds uint64_t gva; out: struct corbel_translation */
	CORBEL_STATE_TRANSLATE,
	CORBEL_STATE_MCE_CAP, /* SET only: uint64_t, MCG_CAP */
	CORBEL_STATE_MCE,     /* SET only: struct corbel_mce (as kvm_x86_mce), an error */
	/* SET only, no data: the guest's kvmclock says that it stood still; -EINVAL: it has none */
	CORBEL_STATE_CLOCK_STOPPED,
	CORBEL_STATE_TSC_OFFSET, /* uint64_t: the vCPU's TSC is this machine's plus that */
	CORBEL_STATE_CLOCK,	 /* GET only: struct corbel_clock */
	/* SET only: struct corbel_memory, to be written as the guest would; -EFAULT: not mapped */
	CORBEL_STATE_MEMORY,
	CORBEL_STATE_AUTO_EOI, /* SET only: uint64_t[4], vectors that need no EOI: in IRR only */
	CORBEL_STATE_VAPIC,    /* SET only: uint64_t, address of pv_vapic()'s word; 0: none */
	CORBEL_STATE_NESTED,   /* struct corbel_nested (abi_nested.h); -EINVAL: none */
	CORBEL_STATE_NR,
};

struct corbel_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint8_t type, present, dpl, db, s, l, g, avl, unusable, pad;
};
struct corbel_dtable {
	uint64_t base;
	uint16_t limit, pad[3];
};
struct corbel_sregs {
	struct corbel_segment cs, ds, es, fs, gs, ss, tr, ldt;
	struct corbel_dtable gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer, apic_base;
	uint64_t interrupt_bitmap[4];
};
CORBEL_ASSERT(sizeof(struct corbel_sregs) == 312);
struct corbel_msr {
	uint32_t index, pad;
	uint64_t data;
};
struct corbel_cpuid {
	uint32_t function, index, flags; /* flags bit 0: index is significant */
	uint32_t eax, ebx, ecx, edx;
	uint32_t pad[3];
};
CORBEL_ASSERT(sizeof(struct corbel_cpuid) == 40);
struct corbel_vcpu_events {
	struct {
		uint8_t injected, nr, has_error_code, pending;
		uint32_t error_code;
	} exception;
	struct {
		uint8_t injected, nr, soft, shadow;
	} interrupt;
	struct {
		uint8_t injected, pending, masked, pad;
	} nmi;
	uint32_t sipi_vector, flags; /* SET: smi but for smm is taken over with EVENTS_SMI */
	struct {
		uint8_t smm, pending, smm_inside_nmi, latched_init;
	} smi;
	uint8_t triple_fault;
	uint8_t reserved[26];
	uint8_t exception_has_payload;
	uint64_t exception_payload;
};
CORBEL_ASSERT(sizeof(struct corbel_vcpu_events) == 64);
#define CORBEL_EVENTS_SMI BIT_U32(3) /* KVM_VCPUEVENT_VALID_SMM */
struct corbel_clock {
	uint64_t tsc, ns, runtime_ns; /* guest's TSC, kvmclock, time run: at the same time */
	uint32_t mul, shift;	      /* 2^(shift - 32) * mul ns pass for a tick of the TSC */
};
struct corbel_memory {
	uint64_t gpa;
	uint8_t bytes[4088]; /* some of them */
};
struct corbel_debugregs {
	uint64_t db[4], dr6, dr7, flags, reserved[9];
};
/* MCG_CTL_P, MCG_SER_P; STATE_MCE_CAP has the number of banks, too */
#define CORBEL_MCE_CAPS	 0x1000100u
#define CORBEL_MCE_BANKS 32u
struct corbel_mce {
	uint64_t status, addr, misc, mcg_status;
	uint8_t bank, pad[7];
	uint64_t reserved[3];
};
CORBEL_ASSERT(sizeof(struct corbel_mce) == 64);
/* control, with KVM's values */
#define CORBEL_DEBUG_ENABLE    BIT_U32(0)
#define CORBEL_DEBUG_STEP      BIT_U32(1)
#define CORBEL_DEBUG_SW	       BIT_U32(16) /* INT3 stops the vCPU */
#define CORBEL_DEBUG_HW	       BIT_U32(17) /* dr[0] to dr[3] and dr[7] are in the hardware */
#define CORBEL_DEBUG_INJECT_DB BIT_U32(18) /* once, as is the next */
#define CORBEL_DEBUG_INJECT_BP BIT_U32(19)
#define CORBEL_DEBUG_BLOCKIRQ  BIT_U32(20) /* no interrupts and NMIs */
struct corbel_guest_debug {
	uint32_t control, pad;
	uint64_t dr[8];
};
CORBEL_ASSERT(sizeof(struct corbel_guest_debug) == 72);
struct corbel_translation {
	uint64_t gpa;
	uint8_t valid, writeable, usermode, pad[5];
};

/* HC_SUPPORTED: what a guest vCPU can have */
enum corbel_supported {
	CORBEL_SUPPORTED_CPUID, /* struct corbel_cpuid[] */
	CORBEL_SUPPORTED_MSRS,	/* uint32_t[]: MSRs to save and restore */
	CORBEL_SUPPORTED_XCR0,	/* uint64_t */
	CORBEL_SUPPORTED_ARCH,	/* uint64_t: IA32_ARCH_CAPABILITIES; 0: guests have none */
	CORBEL_SUPPORTED_VMX,	/* uint64_t[]: IA32_VMX_BASIC and on; none: guests have no VMX */
};

/* HC_MAP: entries are done in order, the result is their number; if 0, the first one's errno. */
struct corbel_map {
	uint64_t gfn;	/* aligned to order */
	uint64_t pfn;	/* of dom0; ignored for CORBEL_MAP_MMIO */
	uint32_t order; /* 0 or 9: 2^order frames */
	uint32_t flags; /* CORBEL_MAP_x */
};
#define CORBEL_MAP_WRITE BIT_U32(0)
#define CORBEL_MAP_EXEC	 BIT_U32(1)
/* no memory here: accesses are decoded and exit as CORBEL_EXIT_MMIO */
#define CORBEL_MAP_MMIO BIT_U32(2)
/* readable; writes exit as CORBEL_EXIT_MMIO (KVM_MEM_READONLY) */
#define CORBEL_MAP_ROM BIT_U32(3)

/* HC_DIRTY flags */
#define CORBEL_DIRTY_START BIT_U32(0) /* write-protect the range, no bitmap */
#define CORBEL_DIRTY_CLEAR BIT_U32(1) /* write-protect again what is reported */
#define CORBEL_DIRTY_STOP  BIT_U32(2)

/* Names of exits[] in corbel_vcpu_stat, and the hypervisor's exit reasons (hv/guest/hvm.h) */
/* clang-format off */
#define CORBEL_EXIT_NAMES									\
	X(INTR, "intr") X(NMI, "nmi") X(SHUTDOWN, "shutdown") X(INIT, "init")			\
	X(EXCEPTION, "exception") X(IRQ_WINDOW, "irq-window")					\
	X(NMI_WINDOW, "nmi-window") X(CPUID, "cpuid") X(HLT, "hlt")				\
	X(HYPERCALL, "hypercall") X(IO, "io") X(MSR_READ, "msr-read")				\
	X(MSR_WRITE, "msr-write") X(P2M_FAULT, "p2m-fault") X(CR_ACCESS, "cr-access")		\
	X(DR_ACCESS, "dr-access")								\
	X(WBINVD, "wbinvd") X(XSETBV, "xsetbv") X(RDPMC, "rdpmc") X(MWAIT, "mwait")		\
	X(VMX_SVM_INSN, "virt-insn") X(TASK_SWITCH, "task-switch")				\
	X(APIC_WRITE, "apic-write") X(EOI, "eoi") X(PAUSE, "pause")				\
	X(BUS_LOCK, "bus-lock") X(NOTIFY, "notify") X(ENTRY_FAIL, "entry-fail")			\
	X(UNDEFINED, "undefined") X(OTHER, "other")
/* clang-format on */

#endif
