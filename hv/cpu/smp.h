/* SPDX-License-Identifier: GPL-2.0-only */
/* The other CPUs: starting them, kicking them. */
#pragma once

#include "hv/lib/percpu.h"

/*
 * Start all other CPUs (boot_info.acpi). Each calls enable(), which may refuse it, and ends in
 * run(), which does not return; between the two the boot CPU calls join() for it. A CPU that does
 * not answer, or not in time, is named and left out, and join() never called: enable() is to tell
 * nobody of it. Those that are not used rest: cpu_rest().
 */
void smp_init(int (*enable)(struct cpu *c), void (*join)(struct cpu *c), void (*run)(void));

/*
 * What a CPU does for itself when it comes up, by a start or behind a sleep: on its own tables
 * (cpu_load()), ends with what enable() of smp_init() returns.
 */
int smp_init_cpu(struct cpu *c);
/*
 * Make the page below 1 MiB ready from which a CPU that starts in real mode at its first byte gets
 * to entry(), on this stack and the hypervisor's tables; its physical address. With the boot CPU's
 * stack, for a machine that wakes up, other CPUs halt there: SeaBIOS sends all of them to 0x10000,
 * where it has put back by then what it found, which may be this page.
 */
u32 smp_aim_trampoline(u64 stack, void (*entry)(void));

/*
 * All CPUs are to stand still: set by the boot CPU. Where one idles then it puts away what it has,
 * switches virtualization off and calls smp_park(), from which it does not return: it halts until
 * it is started anew.
 */
extern bool smp_parking;
void smp_park(void) __noreturn;
/* On the boot CPU: wait until all others are parked. False: one has not come to rest in time. */
bool smp_park_others(void);
/*
 * And start them, or those that are, again, and after a sleep those that nobody uses, to rest. A
 * CPU that does not come ends the machine.
 */
void smp_start_parked(bool slept);

/* Make the CPU leave guest mode or its sleep soon. Cheap when it is this CPU: sets resched only. */
void smp_kick(struct cpu *c);

/*
 * All CPUs' local APICs into x2APIC mode or back, as far as they can: this one at once, others
 * soon.
 */
void smp_set_x2apic(bool on);

/*
 * The hypervisor's own map has lost something: all TLBs are to be flushed of it, this CPU's at
 * once, others' where they next pass through their loop, with no lock and nothing of a guest or
 * dom0 in hand. They are kicked.
 */
void smp_flush_host(void);
/* Have all CPUs done so since the last call? */
bool smp_flush_host_done(void);
/* In each CPU's loop. */
void smp_follow(struct cpu *c);

/*
 * Wait until no CPU is inside a guest of vm with an entry begun before this call: kicks those that
 * are, spins on their exit_seq. The caller has bumped vm->tlb_gen before. May be called with P2M
 * lock held: CPUs in the hypervisor count as out.
 */
void smp_flush_wait(struct vm *vm);
