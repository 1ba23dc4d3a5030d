/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The bench guest: measures by RDTSC what exits cost and prints `row NAME MIN MEDIAN MEAN` in TSC
 * ticks on COM1. It runs under the mini VMM (command line `vmm`), under QEMU's microvm (`qemu`),
 * and natively in an emulator (`native`), where rows that need a hypervisor are left out.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "tests/bench/guest.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define ROUNDS	   200
#define TRAMPOLINE 0x8000 /* start.asm */
#define FAR	   100000 /* ticks; later than any of these handlers */
#define MSR_EFER   0xc0000080
#define MSR_HSAVE  0xc0010117

enum { VEC_SELF = 0x40, VEC_TIMER = 0x41, VEC_PING = 0x42 };

static u64 sample[4096];
static u64 overhead;
static bool x2apic, deadline, amd, has_hypervisor;
static volatile u64 fired, eoi_done; /* TSC at the handler's begin and after its EOI */
static volatile bool ap_up;
static volatile u64 ap_pings;

/* ---- instructions ---- */

static inline u64 tsc(void)
{
	u32 lo, hi;

	asm volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
	return (u64)hi << 32 | lo;
}
static inline void out8(u16 port, u8 v)
{
	asm volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
static inline u8 in8(u16 port)
{
	u8 v;

	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}
static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;

	asm volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}
static inline void wrmsr(u32 msr, u64 v)
{
	asm volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline void cpuid(u32 leaf, u32 r[4])
{
	asm volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}
static inline u64 hypercall(u64 nr)
{
	u64 ret = nr;

	if (amd)
		asm volatile("vmmcall" : "+a"(ret)::"memory");
	else
		asm volatile("vmcall" : "+a"(ret)::"memory");
	return ret;
}
static inline u32 read32(u64 at)
{
	return *(volatile u32 *)at;
}
static inline void write32(u64 at, u32 v)
{
	*(volatile u32 *)at = v;
}
static inline u64 read_cr0(void)
{
	u64 v;

	asm volatile("mov %%cr0, %0" : "=r"(v));
	return v;
}
static inline void write_cr0(u64 v)
{
	asm volatile("mov %0, %%cr0" ::"r"(v) : "memory");
}
static inline u64 read_cr4(void)
{
	u64 v;

	asm volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}
static inline void write_cr4(u64 v)
{
	asm volatile("mov %0, %%cr4" ::"r"(v) : "memory");
}
static inline u64 read_cr3(void)
{
	u64 v;

	asm volatile("mov %%cr3, %0" : "=r"(v));
	return v;
}
static inline void write_cr3(u64 v)
{
	asm volatile("mov %0, %%cr3" ::"r"(v) : "memory");
}

void *memcpy(void *to, const void *from, size_t n);
void *memcpy(void *to, const void *from, size_t n)
{
	void *ret = to;

	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
	return ret;
}

/* ---- output ---- */

static void put(const char *s)
{
	for (; *s; s++) {
		out8(PORT_CONSOLE, *s);
		while (~in8(PORT_LSR) & LSR_EMPTY)
			asm volatile("pause");
	}
}

static void put_number(u64 n)
{
	char buf[24], *p = buf + sizeof(buf) - 1;

	*p = 0;
	do
		*--p = '0' + n % 10;
	while (n /= 10);
	put(p);
}

static void __attribute__((noreturn)) end(void)
{
	struct __attribute__((packed)) {
		u16 limit;
		u64 base;
	} none = {0, 0};

	put("end\n");
	asm volatile("lidt %0; ud2" ::"m"(none));
	__builtin_unreachable();
}

static void result(const char *name, int n)
{
	u64 sum = 0, v;
	int i, k;

	for (i = 0; i < n; i++) {
		v = sample[i] > overhead ? sample[i] - overhead : 0;
		sum += v;
		for (k = i; k && sample[k - 1] > v; k--)
			sample[k] = sample[k - 1];
		sample[k] = v;
	}
	put("row ");
	put(name);
	for (k = 0; k < 3; k++) {
		put(" ");
		put_number(k == 0 ? sample[0] : k == 1 ? sample[n / 2] : sum / n);
	}
	put("\n");
}

#define MEASURE(name, ...)                                                                         \
	do {                                                                                       \
		for (int round_ = 0; round_ < ROUNDS; round_++) {                                  \
			u64 t0_ = tsc();                                                           \
			__VA_ARGS__;                                                               \
			sample[round_] = tsc() - t0_;                                              \
		}                                                                                  \
		result(name, ROUNDS);                                                              \
	} while (0)

/* ---- the local APIC, in whichever mode there is ---- */

#define APIC_BASE 0xfee00000u
enum {
	APIC_ID = 0x20,
	APIC_EOI = 0xb0,
	APIC_SVR = 0xf0,
	APIC_ICR = 0x300,
	APIC_LVT_TIMER = 0x320,
	APIC_TMICT = 0x380,
	APIC_TDCR = 0x3e0
};
#define MSR_DEADLINE 0x6e0

static inline void apic_write(u32 reg, u32 v)
{
	if (x2apic)
		wrmsr(0x800 + (reg >> 4), v);
	else
		write32(APIC_BASE + reg, v);
}

static inline void apic_icr(u32 dest, u32 v)
{
	if (x2apic) {
		wrmsr(0x830, (u64)dest << 32 | v);
	} else {
		write32(APIC_BASE + APIC_ICR + 0x10, dest << 24);
		write32(APIC_BASE + APIC_ICR, v);
	}
}

static void apic_on(void)
{
	if (x2apic)
		wrmsr(0x1b, rdmsr(0x1b) | 0xc00);
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_TDCR, 0xb); /* divide by 1 */
	apic_write(APIC_LVT_TIMER, (deadline ? 1u << 18 : 0) | VEC_TIMER);
}

struct frame;
static __attribute__((interrupt)) void on_interrupt(struct frame *f)
{
	fired = tsc();
	apic_write(APIC_EOI, 0);
	eoi_done = tsc();
}

/* The other CPU answers a ping by a ping. */
static __attribute__((interrupt)) void on_ping(struct frame *f)
{
	apic_write(APIC_EOI, 0);
	ap_pings++;
	apic_icr(0, VEC_SELF);
}

static __attribute__((interrupt)) void on_fault(struct frame *f)
{
	put("fault at ");
	put_number(*(u64 *)f);
	put("\n");
	end();
}

static struct {
	u16 low, cs;
	u8 ist, type;
	u16 mid;
	u32 high, zero;
} idt[256];

static void idt_load(void)
{
	struct __attribute__((packed)) {
		u16 limit;
		u64 base;
	} r = {sizeof(idt) - 1, (u64)idt};

	asm volatile("lidt %0" ::"m"(r));
}

static void idt_set(int vec, void (*f)(struct frame *))
{
	u64 at = (u64)f;

	idt[vec].low = at;
	idt[vec].mid = at >> 16;
	idt[vec].high = at >> 32;
	idt[vec].cs = 24;
	idt[vec].type = 0x8e;
}

static inline void spin_until_fired(void)
{
	while (!fired)
		asm volatile("pause");
}

/* ---- what is measured ---- */

static void interrupts_rows(void)
{
	static u64 eois[ROUNDS];
	u64 t;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		fired = 0;
		t = tsc();
		apic_icr(0, 1u << 18 | VEC_SELF); /* to self */
		while (!fired)
			;
		sample[i] = fired - t;
		eois[i] = eoi_done - fired;
	}
	result("self-ipi", ROUNDS);
	memcpy(sample, eois, sizeof(eois));
	result("eoi", ROUNDS);
}

static u64 timer_arm(u64 ticks)
{
	u64 t = tsc() + ticks;

	fired = 0;
	if (deadline)
		wrmsr(MSR_DEADLINE, t);
	else
		apic_write(APIC_TMICT, ticks);
	return t;
}

/*
 * Deadlines before which the interrupt came. A hypervisor that fires early must get the time
 * between right, which changes here.
 */
static int early_timers(void)
{
	int i, early = 0;
	u64 t;

	for (i = 0; deadline && i < ROUNDS / 2; i++) {
		asm volatile("cli");
		t = timer_arm(FAR);
		if (i & 8)
			asm volatile("sti");
		else
			asm volatile("sti; hlt" ::: "memory");
		while (!fired)
			;
		early += fired < t;
	}
	return early;
}

static void timer_rows(void)
{
	u64 t;
	int i;

	if (deadline)
		MEASURE("timer-arm", wrmsr(MSR_DEADLINE, t0_ + (1ull << 40)));
	else
		MEASURE("timer-arm", apic_write(APIC_TMICT, 1u << 31));
	for (i = 0; i < ROUNDS / 2; i++) {
		t = timer_arm(FAR);
		while (!fired)
			;
		sample[i] = fired - t;
	}
	result("timer-fire", ROUNDS / 2);
	for (i = 0; i < ROUNDS / 2; i++) {
		asm volatile("cli");
		t = timer_arm(FAR);
		asm volatile("sti; hlt" ::: "memory");
		while (!fired)
			;
		sample[i] = fired - t;
	}
	result("hlt-wake", ROUNDS / 2);
	put("early-timers ");
	put_number(early_timers());
	put("\n");
}

static void cr_rows(void)
{
	u64 cr0 = read_cr0(), cr4 = read_cr4(), cr3 = read_cr3();

	MEASURE("cr0-write", write_cr0(cr0 ^= 1 << 16)); /* WP */
	MEASURE("cr4-write", write_cr4(cr4 ^= 1 << 7));	 /* PGE */
	MEASURE("cr3-write", write_cr3(cr3));
}

static void cpu_rows(void)
{
	u32 r[4];
	u64 pat = rdmsr(0x277);

	MEASURE("cpuid", cpuid(0, r));
	MEASURE("cpuid-1", cpuid(1, r));
	MEASURE("cpuid-hv", cpuid(0x40000000, r));
	if (has_hypervisor)
		MEASURE("hypercall", hypercall(1)); /* KVM_HC_VAPIC_POLL_IRQ: does nothing */
	MEASURE("rdmsr", rdmsr(0x1b));
	MEASURE("wrmsr", wrmsr(0x277, pat));
}

static void touch(const char *name, u64 at, u64 bytes, u64 step)
{
	u64 end = at + bytes, t0;
	int n = 0;

	for (; at < end; at += step) {
		t0 = tsc();
		*(volatile u8 *)at = 1;
		sample[n++] = tsc() - t0;
	}
	result(name, n);
}

/* Below the VMM: what KVM itself emulates. Must run before x2APIC mode, which has no MMIO. */
static void kernel_rows(void)
{
	MEASURE("pio-kernel", in8(0x21));
	MEASURE("pio-pit", in8(0x42));
	MEASURE("mmio-lapic", read32(APIC_BASE + APIC_ID));
	MEASURE("mmio-ioapic", read32(0xfec00000u));
}

static void mini_vmm_rows(void)
{
	int i;

	MEASURE("pio-mini", in8(PORT_SCRATCH));
	MEASURE("mmio-mini", read32(VMM_MMIO));
	MEASURE("doorbell-pio", out8(PORT_DOORBELL, 0));
	MEASURE("doorbell-mmio", write32(MMIO_DOORBELL, 0));
	for (i = 0; i < ROUNDS / 2; i++) {
		u64 t = tsc();

		fired = 0;
		out8(PORT_IRQFD, 0);
		spin_until_fired();
		sample[i] = fired - t;
	}
	result("irqfd", ROUNDS / 2);
	for (i = 0; i < ROUNDS / 2; i++) {
		u64 t = tsc();

		fired = 0;
		out8(PORT_SERVED, 0);
		while (!fired)
			asm volatile("sti; hlt");
		sample[i] = fired - t;
	}
	result("doorbell-served", ROUNDS / 2);
}

/* ---- a guest of the guest's, on AMD-V ---- */

static u8 vmcb[4096] __attribute__((aligned(4096))), save_area[4096] __attribute__((aligned(4096)));
static u64 nested[6][512] __attribute__((aligned(4096)));
#define VMCB(type, at) (*(type *)(vmcb + (at)))

/* All that it does is exit. */
asm(".text; nested_code: cpuid; jmp nested_code");
void nested_code(void);

/* Its physical memory is the guest's. */
static void nested_tables(void)
{
	nested[0][0] = (u64)nested[1] | 7;
	for (int i = 0; i < 4; i++)
		nested[1][i] = (u64)nested[2 + i] | 7;
	for (u64 i = 0; i < 2048; i++)
		nested[2 + i / 512][i % 512] = i << 21 | 0x87;
}

/* APM "Layout of VMCB": 64-bit code like the guest's own */
static void nested_vmcb(void)
{
	nested_tables();
	VMCB(u32, 0x00c) = 1 << 18; /* CPUID */
	VMCB(u32, 0x010) = 1;	    /* VMRUN, which must be */
	VMCB(u32, 0x058) = 1;	    /* ASID */
	VMCB(u64, 0x090) = 1;	    /* nested paging */
	VMCB(u64, 0x0b0) = (u64)nested[0];
	VMCB(u64, 0x410) = 24 | 0xa9bull << 16 | 0xffffffffull << 32; /* CS */
	VMCB(u64, 0x420) = 16 | 0xc93ull << 16 | 0xffffffffull << 32; /* SS */
	VMCB(u64, 0x4d0) = rdmsr(MSR_EFER);
	VMCB(u64, 0x548) = read_cr4();
	VMCB(u64, 0x550) = read_cr3();
	VMCB(u64, 0x558) = read_cr0();
	VMCB(u64, 0x560) = 0x400;
	VMCB(u64, 0x570) = 2;
	VMCB(u64, 0x578) = (u64)nested_code;
	VMCB(u64, 0x668) = rdmsr(0x277);
}

static inline void vmrun(void)
{
	asm volatile("vmrun" ::"a"(vmcb) : "rbx", "rcx", "rdx", "memory");
}

static void nested_rows(void)
{
	u32 r[4];

	cpuid(0x80000001, r);
	if (!amd || !(r[2] & 4))
		return;
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1 << 12);
	wrmsr(MSR_HSAVE, (u64)save_area);
	nested_vmcb();
	vmrun();
	if (VMCB(u64, 0x070) != 0x72)
		return;
	MEASURE("nested-exit", vmrun());
	asm volatile("stgi");
}

/* ---- the other CPU ---- */

void ap_main(void);
void ap_main(void)
{
	idt_load();
	apic_on();
	ap_up = true;
	for (;;)
		asm volatile("sti; hlt");
}

static void ping_rows(void)
{
	extern u8 trampoline[], trampoline_end[];
	u64 t;
	int i;

	memcpy((void *)(u64)TRAMPOLINE, trampoline, trampoline_end - trampoline);
	apic_icr(1, 0x4500); /* INIT */
	for (t = tsc(); tsc() - t < 10000000;)
		asm volatile("pause");
	apic_icr(1, 0x4600 | TRAMPOLINE >> 12);
	for (t = tsc(); !ap_up && tsc() - t < 1000000000;)
		asm volatile("pause");
	if (!ap_up)
		return;
	for (i = 0; i < ROUNDS / 2; i++) {
		t = tsc();
		fired = 0;
		apic_icr(1, VEC_PING);
		while (!fired)
			asm volatile("sti; hlt; cli" ::: "memory");
		asm volatile("sti");
		sample[i] = fired - t;
	}
	result("ipi-pingpong", ROUNDS / 2);
}

void guest_main(const char *args);
void guest_main(const char *args)
{
	u64 t, least;
	u32 r[4];
	int i;

	out8(PORT_LCR, LCR_8N1);
	out8(0x21, 0xff); /* no interrupts by the 8259s */
	out8(0xa1, 0xff);
	cpuid(0, r);
	amd = r[2] == 0x444d4163; /* "cAMD" */
	cpuid(1, r);
	x2apic = r[2] >> 21 & 1;
	deadline = r[2] >> 24 & 1;
	has_hypervisor = *args != 'n';
	for (i = 0; i < 32; i++)
		idt_set(i, on_fault);
	idt_set(VEC_SELF, on_interrupt);
	idt_set(VEC_TIMER, on_interrupt);
	idt_set(VEC_IRQFD, on_interrupt);
	idt_set(VEC_PING, on_ping);
	idt_load();

	/*
	 * How many ticks an instruction takes: 1.000 under -icount shift=0, and in Bochs. The
	 * least, without interrupts.
	 */
	for (i = 0, least = ~0ull; i < 20; i++) {
		t = tsc();
		asm volatile("mov $50000, %%ecx; 1: dec %%ecx; jnz 1b" ::: "rcx");
		t = tsc() - t;
		least = t < least ? t : least;
	}
	put("ticks-per-1000-instructions ");
	put_number((least + 50) / 100);
	put("\n");
	for (i = 0, overhead = ~0ull; i < ROUNDS; i++) {
		t = tsc();
		t = tsc() - t;
		overhead = t < overhead ? t : overhead;
	}

	kernel_rows();
	apic_on();
	asm volatile("sti");
	cpu_rows();
	cr_rows();
	interrupts_rows();
	timer_rows();
	nested_rows();
	switch (*args) {
	case 'q':
		MEASURE("pio-vmm", in8(PORT_SCRATCH));
		MEASURE("mmio-vmm", read32(0xfeb00000u)); /* of the first virtio-mmio transport */
		ping_rows();
		break;
	case 'v':
		mini_vmm_rows();
		touch("touch-4k", FRESH_4K, FRESH_BYTES, 4096);
		touch("touch-2m", FRESH_2M, FRESH_2M_BYTES, 2 << 20);
		touch("touch-populated", POPULATED, FRESH_BYTES, 4096);
		break;
	default:
		touch("touch-4k", FRESH_4K, FRESH_BYTES, 4096);
		touch("touch-2m", FRESH_2M, FRESH_2M_BYTES, 2 << 20);
	}
	end();
}
