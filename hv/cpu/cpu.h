/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One CPU: descriptor tables, control registers, exceptions and interrupts of the hypervisor
 * itself.
 *
 * Interrupts are off but in irq_window(), cpu_idle() and cpu_mwait(). What arrives there goes to
 * irq_handle() with no lock held.
 */
#pragma once

#include "hv/lib/asm.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/percpu.h"
#include "hv/lib/x86.h"

/* Selectors: code and data as in boot/entry.asm */
#define SEL_CODE 0x08
#define SEL_DATA 0x10
#define SEL_TSS	 0x18

/* What an exception or interrupt leaves on the stack; hv/cpu/entry.asm. */
struct regs {
	u64 r15, r14, r13, r12, r11, r10, r9, r8;
	u64 rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};

/* What LGDT and LIDT take. SDM "Memory-Management Registers" */
struct table_reg {
	u16 limit;
	u64 base;
} __packed;

/* ---- set-up ---- */
/*
 * Boot CPU, first thing: its struct cpu, GDT and IDT, all static; exceptions end in panic() from
 * here on.
 */
void cpu_init_boot(void);
/* A struct cpu for another CPU, with its stacks and variables. NULL when out of memory. */
struct cpu *cpu_alloc(u32 index, u32 apic_id);
/* Give the boot CPU its guarded stacks; after mm_init(). */
void cpu_init_stacks(struct cpu *c);
/* On the CPU itself: load its tables, point GS at c. */
void cpu_load(struct cpu *c);
/*
 * On the CPU itself: switch on the protections and features it has; fills xcr0_host on the boot
 * CPU.
 */
void cpu_init_features(void);
/*
 * A CPU that nobody uses halts for good, and takes machine checks, which all of Intel's get at
 * once: one that is to get one with CR4.MCE clear, as it is behind INIT, shuts the machine down.
 * Any number of CPUs may come to it on cpu_spare_stack at a time: what they store there is the
 * same.
 */
void cpu_rest(void) __noreturn;
extern u8 cpu_spare_stack[]; /* of one page; until mm_init() it is for the boot CPU's exceptions */
/* hv/cpu/entry.asm: leave the present stack for good. fn does not return. */
void cpu_call_on_stack(void (*fn)(void), void *top) __noreturn;
/* Addresses of this CPU's tables, for back ends that must tell the hardware. */
struct cpu_tables {
	u64 gdt, idt, tss;
};
struct cpu_tables cpu_tables(void);

/* XCR0 while the hypervisor runs: the components of XCR0_SWITCHED the CPU has. 0: no XSAVE. */
extern u64 xcr0_host;
extern u32 mxcsr_mask; /* the bits of MXCSR that the CPU has, as FXSAVE tells */
extern u64 nmi_count;  /* NMIs taken by the hypervisor; of all CPUs together */

/* ---- interrupts ---- */
#ifdef HV_HOST_TEST
void irq_window(void);
void cpu_idle(void);
void cpu_monitor(const bool *at);
void cpu_mwait(u32 hint);
void cpu_clear_buffers(void);
#else
/* Take what is pending now. */
static inline void irq_window(void)
{
	__asm__ volatile("sti; nop; cli" : : : "memory");
}

/* Wait for an interrupt and take it. One that came before the call ends the wait at once. */
static inline void cpu_idle(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}

/* Arm MONITOR for the line of memory that `at` is in. */
static inline void cpu_monitor(const bool *at)
{
	__asm__ volatile("monitor" : : "a"(at), "c"(0), "d"(0) : "memory");
}

/*
 * Wait, in the state that the hint names, for a store there or for an interrupt, and take it. As
 * with HLT one that came before ends the wait at once: none gets between STI and MWAIT.
 */
static inline void cpu_mwait(u32 hint)
{
	__asm__ volatile("sti; mwait; cli" : : "a"(hint), "c"(0) : "memory");
}

/* Empty what SPEC_VERW is for. */
static inline void cpu_clear_buffers(void)
{
	static const u16 selector = SEL_DATA;

	__asm__ volatile("verw %0" : : "m"(selector) : "cc", "memory");
}
#endif

/* From hv/cpu/entry.asm */
void exception_handle(struct regs *r);
/*
 * First thing at boot: regs is called, and does not return, for an exception in the hypervisor that
 * no fix-up covers; elsewhere tells whether another CPU is in panic(), so that this one has to stop
 * at an NMI.
 */
void cpu_set_panic(void (*regs)(const struct regs *r), bool (*elsewhere)(void));

static inline void __noreturn cpu_halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

/*
 * Are we inside this hypervisor or emulator? The first 8 bytes of its signature, as in leaf
 * 0x40000000.
 */
static inline bool cpu_runs_in(u32 name, u32 name2)
{
	struct cpuid_regs l = cpuid_read(0x40000000, 0);

	return cpuid_read(1, 0).c & CPUID_1C_HYPERVISOR && l.b == name && l.c == name2;
}
#define IN_TCG 0x54474354, 0x43544743 /* "TCGTCGTC" */
#define IN_KVM 0x4b4d564b, 0x564b4d56 /* "KVMKVMKV" */
