/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What target tests are written with. A group is a function that calls report() for each behaviour
 * it has looked at.
 */
#ifndef TARGET_LIB_H
#define TARGET_LIB_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include "hv/abi.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#define BIT(n)	      (1ull << (n))
#define GENMASK(h, l) ((~0ull >> (63 - (h))) & (~0ull << (l)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PAGE	      4096ull
#define MAX_CPU	      8

#define EINVAL	   22
#define EOPNOTSUPP 95
#define ENOSYS	   38
#define EAGAIN	   11
#define EBUSY	   16
#define ENODEV	   19
#define ENOSPC	   28
#define ENOENT	   2
#define EPERM	   1
#define EEXIST	   17
#define EFAULT	   14
#define E2BIG	   7

/* ---- reports ---- */
/* One line "ok - group: text" or "not ok - ...". Returns cond. */
bool report(bool cond, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line that the driver shows as a comment. */
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Print the last line and leave the emulator. */
void finish(void) __attribute__((noreturn));

struct group {
	const char *name;
	void (*run)(void);
	u32 cpus; /* needs so many */
};
extern const struct group groups[];
extern const u32 group_count;
/*
 * The value of "key=value" on the command line; NULL if it is not there. Ends at a blank or at the
 * end.
 */
const char *option(const char *key);

/* ---- CPUs and exceptions ---- */
struct frame {
	u64 rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15;
	u64 vector, error, rip, cs, rflags, rsp, ss;
};

struct percpu { /* GS base; the offsets of the first four are known to assembly */
	/* 0x00: where to go on after an exception; 0 = exceptions are not expected */
	u64 catch_rip;
	s32 caught;	   /* 0x08: vector; -1 = none */
	u32 error;	   /* 0x0c */
	u64 cr2, user_rsp; /* 0x10, 0x20 is aligned below */
	u64 saved_rsp;	   /* 0x20 */
	u64 fault_rip;
	struct percpu *self;
	u32 index, apic_id;
	bool x2apic;
	bool keep_in_service; /* the handler does no EOI */
	volatile u32 count[256];
	volatile u8 order[64]; /* vectors as they were taken */
	volatile u32 taken;
	void (*volatile fn)(void *arg);
	void *arg;
	volatile u32 done;
};
extern u8 percpu_block[MAX_CPU][16384];

static inline struct percpu *me(void)
{
	struct percpu *p;

	__asm__ volatile("movq %%gs:%c1, %0" : "=r"(p) : "i"(offsetof(struct percpu, self)));
	return p;
}
static inline struct percpu *cpu_of(u32 i)
{
	return (struct percpu *)percpu_block[i];
}

extern void (*volatile handler[256])(struct frame *f); /* instead of what trap() does by itself */
extern u32 cpu_count;				       /* that came up */
extern u64 tsc_khz;
extern u32 backend;
extern const u8 *boot_params;

/* Start the others by INIT and SIPI; idempotent. */
void smp_start(void);
void run_on(u32 cpu, void (*fn)(void *arg), void *arg);
/*
 * After smp_start(): where a CPU that begins in real mode comes to fn(), on the last CPU's stack
 * and without tables of its own; the first thing that fn does is lib_wake(): it is the boot CPU.
 */
u32 wake_vector(void (*fn)(void));
void lib_wake(void);
/* This CPU's, as Linux does when the CPU goes offline: with its event bound it would say that the
 * kernel ends. */
#define MSR_KVMCLOCK 0x4b564d01
void kvmclock_off(void);
bool tell_one_clock(void); /* is kvmclock said to be one on all CPUs? Also in a note */
bool wait_for(u32 cpu, u32 ms);
u64 user_call(u64 (*fn)(void), void *stack_top);
void user_return(u64 val) __attribute__((noreturn));

/*
 * An instruction that may fault: its vector is caught, execution goes on behind it. %0 is the
 *vector, -1 for none; so asm volatile(CATCH("rdmsr") : CAUGHT(vector), "=a"(lo), "=d"(hi) :
 *"c"(msr))
 */
#define CATCH(insn)                                                                                \
	"movl $-1, %%gs:8\n\tmovq $77f, %%gs:0\n\t" insn                                           \
	"\n77:\tmovq $0, %%gs:0\n\tmovl %%gs:8, %k0"
#define CAUGHT(v) "=&r"(v)

static inline int rdmsr_try(u32 msr, u64 *val)
{
	u32 lo = 0, hi = 0;
	int v;

	__asm__ volatile(CATCH("rdmsr") : CAUGHT(v), "+a"(lo), "+d"(hi) : "c"(msr) : "memory");
	*val = lo | (u64)hi << 32;
	return v;
}
static inline int wrmsr_try(u32 msr, u64 val)
{
	int v;

	__asm__ volatile(CATCH("wrmsr")
			 : CAUGHT(v)
			 : "c"(msr), "a"((u32)val), "d"((u32)(val >> 32))
			 : "memory");
	return v;
}
static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return lo | (u64)hi << 32;
}
static inline void wrmsr(u32 msr, u64 val)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)val), "d"((u32)(val >> 32)) : "memory");
}
static inline void cpuid(u32 leaf, u32 sub, u32 r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(sub));
}
static inline u64 rdtsc(void)
{
	u32 lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return lo | (u64)hi << 32;
}
static inline void outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static inline u8 inb(u16 port)
{
	u8 v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline void outw(u16 port, u16 v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
static inline u16 inw(u16 port)
{
	u16 v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline void outl(u16 port, u32 v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}
static inline u32 inl(u16 port)
{
	u32 v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
#define sti()	  __asm__ volatile("sti" ::: "memory")
#define cli()	  __asm__ volatile("cli" ::: "memory")
#define pause()	  __asm__ volatile("pause" ::: "memory")
#define sti_hlt() __asm__ volatile("sti; hlt" ::: "memory")
#define nop()	  __asm__ volatile("nop")
#define READ_CR(n)                                                                                 \
	({                                                                                         \
		u64 val_;                                                                          \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(val_));                               \
		val_;                                                                              \
	})
#define WRITE_CR(n, val)                                                                           \
	({                                                                                         \
		int v_;                                                                            \
		__asm__ volatile(CATCH("mov %1, %%cr" #n)                                          \
				 : CAUGHT(v_)                                                      \
				 : "r"((u64)(val))                                                 \
				 : "memory");                                                      \
		v_;                                                                                \
	})

#define GP 13
#define UD 6
#define PF 14
#define DB 1

/* ---- time ---- */
u64 ms_to_tsc(u64 ms);
void delay_us(u64 us);
/*
 * Let interrupts in until the condition holds or ms have passed; its value then. A machine under
 * emulation may stand still for seconds: a step of more than 1 ms counts as 1 ms.
 */
#define WAIT(cond, ms)                                                                             \
	({                                                                                         \
		u64 left_ = ms_to_tsc(ms), last_ = rdtsc();                                        \
		bool c_;                                                                           \
		sti();                                                                             \
		while (!(c_ = (cond)) && left_)                                                    \
			left_ = time_left(left_, &last_);                                          \
		cli();                                                                             \
		c_;                                                                                \
	})
u64 time_left(u64 left, u64 *last);
/* Halt until one of the interrupts of vector 0x70, the deadline timer's, has come. */
void sleep_ms(u32 ms);

/* ---- the local APIC, in the mode it is in ---- */
enum {
	APIC_ID = 0x20,
	APIC_VERSION = 0x30,
	APIC_TPR = 0x80,
	APIC_PPR = 0xa0,
	APIC_EOI = 0xb0,
	APIC_LDR = 0xd0,
	APIC_DFR = 0xe0,
	APIC_SVR = 0xf0,
	APIC_ISR = 0x100,
	APIC_TMR = 0x180,
	APIC_IRR = 0x200,
	APIC_ESR = 0x280,
	APIC_ICR = 0x300,
	APIC_ICR2 = 0x310,
	APIC_LVTT = 0x320,
	APIC_LVT0 = 0x350,
	APIC_LVT1 = 0x360,
	APIC_LVTERR = 0x370,
	APIC_TICR = 0x380,
	APIC_TCCR = 0x390,
	APIC_TDCR = 0x3e0,
};
#define XAPIC	      ((volatile u32 *)0xfee00000)
#define MSR_APIC_BASE 0x1b
#define MSR_X2APIC    0x800
#define ICR_NMI	      0x400
#define ICR_INIT      0x500
#define ICR_SIPI      0x600
#define ICR_ASSERT    0x4000
#define ICR_LOGICAL   0x800
#define ICR_SELF      0x40000
#define ICR_ALL	      0x80000
#define ICR_OTHERS    0xc0000
#define LVT_MASKED    0x10000
#define LVT_PERIODIC  0x20000
#define LVT_DEADLINE  0x40000

u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 val);
void apic_icr(u32 dest, u32 low);
bool apic_bit(u32 reg, u8 vector); /* of ISR, TMR, IRR */
/* Enabled, xAPIC or x2APIC, nothing pending, all LVTs masked, TPR 0. */
void apic_setup(bool x2apic);

/* ---- hypercalls ---- */
s64 hc5(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e);
#define HC_ARGS(nr, a, b, c, d, e, ...) hc5(nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e))
#define hc(...)				HC_ARGS(__VA_ARGS__, 0, 0, 0, 0, 0)
void info(struct corbel_info *i);

/* ---- memory ---- */
void *memset(void *to, int c, size_t n);
void *memcpy(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
/* Kind of the e820 range that holds addr; 0 = none. */
u32 e820_kind(u64 addr);

/* Groups */
void test_cpuid(void);
void test_msr(void);
void test_cr(void);
void test_xapic(void);
void test_x2apic(void);
void test_vid(void);
void test_stale(void);
void test_smm(void);
void test_task(void);
void test_task_gates(void);
void test_core(void);
void test_spin(void);
void test_dma(void);
void test_timer(void);
void test_smp(void);
void test_insn(void);
void test_debug(void);
void test_time(void);
void test_memory(void);
void test_hypercall(void);
void test_guest(void);
void test_tsc_scale(void);
void test_dirty(void);
void test_large(void);
void test_guest_ends(void);
void test_bad_entry(void);
void test_vmx(void);
void test_no_vmx(void);
void test_spoilt(void);
void test_guest_smp(void);
void test_sched(void);
void test_vuart(void);
void test_idle(void);
void test_lines(void);
void test_sleep(void);
void test_suspend(void);
void test_no_suspend(void);
void test_ends(void);
void test_facts(void);
void test_wait(void);
void test_triple(void);
void test_bad_stack(void);

#endif
