/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Per-CPU data; here, below all other rooms, since locks know their holder. GS points at it while
 * the hypervisor runs.
 */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

struct vcpu;
struct vm;

#define EXIT_TRACE 8

/* What a CPU shares with others that have the same id: hv/cpu/topology.h */
struct cpu_place {
	u32 core, cache, package, node;
};

/* How a CPU can sleep, by the numbers of CORBEL_IDLE_NAMES: hv/cpu/idle.h */
struct idle_table {
	u32 states; /* bit mask of those that there are; 0: no table */
	struct {
		u16 how;  /* MWAIT's hint, or a port */
		u32 pays; /* us that a sleep must last for which it saves more than it costs */
	} state[CORBEL_IDLE_STATES];
};

#define TSC_ROUNDS 8u

struct cpu {
	struct cpu *self; /* %gs:0 */
	u32 index, apic_id;
	u64 stack_top; /* %gs:16, of the run loop's stack */

	/* The run loop (hv/guest/run.c). Written by this CPU only, read by others. */
	struct vcpu *current; /* vCPU picked to run, or NULL */
	/* vCPU whose FPU and other lazily switched state is in the hardware */
	struct vcpu *loaded;
	/* set before the flush generation is read for an entry, cleared after the exit */
	struct vm *in_guest;
	/* CPUs of its core, this one too, that must be in no other VM's guest meanwhile; or NULL */
	const struct corbel_cpus *core;
	u64 exit_seq; /* incremented after each exit */
	u64 host_gen; /* smp_flush_host() calls that it has followed */
	/* leave the vCPU's run loop and ask the scheduler; others may set it */
	bool resched;
	bool watches; /* it sleeps, or is about to, and ends that when resched is set */
	/* dom0 is still to be told of a doorbell: event_tell() before the scheduler is asked */
	bool event_owed;
	/* dom0 is still to be told of an NMI, which set this */
	bool nmi_owed;
	bool mcheck_owed; /* and the log of a machine check */
	bool online;
	bool left_out; /* alive, but given up */
	u32 start;     /* hv/cpu/smp.c */
	bool parked;   /* halted for a sleep of the machine, and to be started again */
	bool x2apic;   /* the mode of its local APIC */
	u64 tsc_aux;   /* now in MSR TSC_AUX */
	/* hv/cpu/spec.c: in MSR SPEC_CTRL; whose branches are remembered, whose data may be cached
	 */
	u64 spec_ctrl, spec_trained, spec_data;
	bool ssbd; /* its vCPU wants VIRT_SPEC_CTRL's SSBD */
	u32 locks; /* levels of the locks held, where that is checked */

	/* The last exits, for the panic screen; number n is at n % EXIT_TRACE. */
	struct {
		u64 rip[EXIT_TRACE];
		u32 vcpu[EXIT_TRACE], reason[EXIT_TRACE]; /* id of the vCPU */
	} trace;

	struct cpu_place place; /* set once, before it takes part in scheduling */

	/* statistics */
	u64 start_tsc, interrupts, switches;
	u64 idle_tsc; /* while it idles less the time when that began, and so below 0 */

	/* hv/cpu/idle.c */
	struct {
		u64 ticks[CORBEL_IDLE_STATES], times[CORBEL_IDLE_STATES]; /* slept in each state */
		u64 by_store; /* sleeps that no interrupt has ended */
		u32 typical;  /* us that one lasts */
		u32 at_once;  /* so many in a row have ended for nothing */
		bool asked;   /* dom0 was, or has said what holds for all */
		bool no_c6;
		struct idle_table table; /* what came of that; else CPUID's holds */
	} idle;
	/* hv/cpu/freq.c */
	struct {
		u64 aperf, mperf;
		u32 khz;     /* lately, while it did not sleep; 0: not known */
		bool wanted; /* other CPUs may set it */
	} freq;

	/*
	 * hv/cpu/tsc.c: comparisons of its clock with the boot CPU's. One takes the next place, so
	 * that a look of the boot CPU's that began in an earlier one does not count for it.
	 */
	struct {
		struct tsc_round {
			u64 seen; /* the latest that either CPU has read */
			/* by how much the boot CPU's clock, and its own, was behind that at most */
			u64 behind[2];
			u32 looks[2];
		} rounds[TSC_ROUNDS];
		u32 at;
		u64 lead, moved; /* what came of it: still ahead by, and moved by */
	} tsc;

	void *svm; /* back ends' per-CPU data */
	void *vmx;
	void *sched; /* hv/sched */
	void *timer; /* hv/cpu/timer.c */
	void *arch;  /* hv/cpu/cpu.c: GDT, TSS, IST stacks */
	u64 offset;  /* of its variables: see below; set once */
};

extern struct cpu *cpus[MAX_CPUS]; /* by index; NULL beyond cpu_count; set once */
extern u32 cpu_count;		   /* CPUs online */

/*
 * A variable of which each CPU has its own, zeroed at first: the boot CPU in the image, others in
 * what cpu_alloc() has got for them. Only of CPUs that there are.
 */
#ifdef HV_HOST_TEST
#define PER_CPU(type, name) type name[MAX_CPUS]
#define per_cpu(name, cpu)  ((name)[cpu])
#define own_cpu(name)	    ((name)[this_cpu()->index])
#else
#define PER_CPU(type, name) __attribute__((section(".bss..percpu"))) type name
#define per_cpu_at(name, c) (*(__typeof__(&(name)))((u64) & (name) + (c)->offset))
#define per_cpu(name, cpu)  per_cpu_at(name, cpus[cpu])
#define own_cpu(name)	    per_cpu_at(name, this_cpu())
#endif

#ifdef HV_HOST_TEST
struct cpu *this_cpu(void);
#else
static inline struct cpu *this_cpu(void)
{
	struct cpu *c;

	__asm__("mov %%gs:0, %0" : "=r"(c));
	return c;
}
#endif
