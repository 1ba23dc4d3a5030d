/* SPDX-License-Identifier: GPL-2.0-only */
#include "lib.h"

#define COM1	 0x3f8
#define SEL_CODE 0x10
#define SEL_TSS	 0x30

u8 percpu_block[MAX_CPU][16384] __attribute__((aligned(4096)));
void (*volatile handler[256])(struct frame *f);
u32 cpu_count = 1;
u64 tsc_khz = 1000000;
u32 backend;
const u8 *boot_params;

static const char *group_name = "start";
static u32 checks, failures;
static const char *cmdline = "";

/* ---- strings ---- */

void *memset(void *to, int c, size_t n)
{
	void *ret = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
	return ret;
}

void *memcpy(void *to, const void *from, size_t n)
{
	void *ret = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
	return ret;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

/* ---- output ---- */

static void put_char(char c)
{
	if (c == '\n')
		put_char('\r');
	for (u32 i = 0; i < 100000 && !(inb(COM1 + 5) & 0x20); i++)
		pause();
	outb(COM1, (u8)c);
}

static void put_text(const char *s)
{
	while (*s)
		put_char(*s++);
}

static void put_number(u64 n, u32 base, bool negative)
{
	char buf[24];
	u32 i = sizeof(buf) - 1;

	buf[i] = 0;
	do {
		buf[--i] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	if (negative)
		buf[--i] = '-';
	put_text(buf + i);
}

/* %s %d %u %x %c, with l */
static void put_format(const char *fmt, va_list ap)
{
	for (; *fmt; fmt++) {
		bool wide = false;
		u64 n;

		if (*fmt != '%') {
			put_char(*fmt);
			continue;
		}
		while (*++fmt == 'l')
			wide = true;
		switch (*fmt) {
		case 's':
			put_text(va_arg(ap, const char *));
			break;
		case 'c':
			put_char((char)va_arg(ap, int));
			break;
		case 'd': {
			s64 d = wide ? va_arg(ap, s64) : va_arg(ap, int);

			put_number(d < 0 ? -(u64)d : (u64)d, 10, d < 0);
			break;
		}
		case 'u':
		case 'x':
			n = wide ? va_arg(ap, u64) : va_arg(ap, u32);
			put_number(n, *fmt == 'x' ? 16 : 10, false);
			break;
		default:
			put_char(*fmt);
		}
	}
}

static void line(const char *head, const char *fmt, va_list ap)
{
	put_text(head);
	put_text(group_name);
	put_text(": ");
	put_format(fmt, ap);
	put_char('\n');
}

bool report(bool cond, const char *fmt, ...)
{
	va_list ap;

	checks++;
	failures += !cond;
	va_start(ap, fmt);
	line(cond ? "ok - " : "not ok - ", fmt, ap);
	va_end(ap);
	return cond;
}

void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line("# ", fmt, ap);
	va_end(ap);
}

void finish(void)
{
	static const char bochs[] = "Shutdown";

	put_text("end: ");
	put_number(checks, 10, false);
	put_text(" checks, ");
	put_number(failures, 10, false);
	put_text(" failed\n");
	for (u32 i = 0; i < 5000 && !(inb(COM1 + 5) & 0x40); i++)
		delay_us(1000);	      /* the hypervisor's last lines, too */
	outb(0xf4, failures ? 1 : 0); /* QEMU's isa-debug-exit: status 2n + 1 */
	delay_us(100000);
	for (u32 i = 0; i < sizeof(bochs) - 1; i++)
		outb(0x8900, (u8)bochs[i]);
	for (;;)
		__asm__ volatile("cli; hlt");
}

const char *option(const char *key)
{
	size_t n = strlen(key);

	for (const char *p = cmdline; *p; p++)
		if ((p == cmdline || p[-1] == ' ') && !memcmp(p, key, n) && p[n] == '=')
			return p + n + 1;
	return NULL;
}

/* ---- tables ---- */

struct gate {
	u16 offset0, selector;
	u8 ist, type;
	u16 offset16;
	u32 offset32, reserved;
};
struct tss {
	u32 reserved0;
	u64 rsp[3], reserved1, ist[7], reserved2;
	u16 reserved3, iomap;
} __attribute__((packed));
struct table {
	u16 limit;
	u64 base;
} __attribute__((packed));

extern u8 trap_entries[];
static struct gate idt[256];
static u64 gdt[MAX_CPU][8];
static struct tss tss[MAX_CPU];
static u8 trap_stack[MAX_CPU][8192] __attribute__((aligned(16)));

static void load_tables(u32 i)
{
	struct percpu *p = cpu_of(i);
	u64 base = (u64)&tss[i];
	struct table gdtr = {sizeof(gdt[i]) - 1, (u64)gdt[i]}, idtr = {sizeof(idt) - 1, (u64)idt};

	/* 0x10 code, 0x18 data, 0x20 user data, 0x28 user code, 0x30 TSS */
	gdt[i][2] = 0x00af9b000000ffff;
	gdt[i][3] = 0x00cf93000000ffff;
	gdt[i][4] = 0x00cff3000000ffff;
	gdt[i][5] = 0x00affb000000ffff;
	gdt[i][6] = (sizeof(tss[i]) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
		    (base >> 24 & 0xff) << 56;
	gdt[i][7] = base >> 32;
	tss[i].rsp[0] = (u64)(trap_stack[i] + sizeof(trap_stack[i]));
	tss[i].iomap = sizeof(tss[i]);
	__asm__ volatile("lgdt %0; lidt %1; ltr %w2" ::"m"(gdtr), "m"(idtr), "r"(SEL_TSS)
			 : "memory");
	__asm__ volatile("mov %0, %%fs; mov %0, %%gs" ::"r"(0));
	__asm__ volatile("pushq %0; leaq 1f(%%rip), %%rax; pushq %%rax; lretq; 1:" ::"i"(SEL_CODE)
			 : "rax", "memory");
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss" ::"r"(0x18));
	wrmsr(0xc0000101, (u64)p);
	p->self = p;
	p->index = i;
	p->caught = -1;
}

static void init_idt(void)
{
	for (u32 v = 0; v < 256; v++) {
		u64 at = (u64)trap_entries + v * 16;

		idt[v] = (struct gate){.offset0 = (u16)at,
				       .selector = SEL_CODE,
				       .type = v == 0x80 ? 0xee : 0x8e,
				       .offset16 = (u16)(at >> 16)};
	}
}

void trap(struct frame *f);
void trap(struct frame *f)
{
	struct percpu *p = me();

	if (handler[f->vector]) {
		handler[f->vector](f);
		return;
	}
	if (f->vector == 0x80 && f->cs & 3)
		user_return(f->rax);
	if (f->vector >= 32 || f->vector == 2) {
		p->count[f->vector]++;
		p->order[p->taken++ % sizeof(p->order)] = (u8)f->vector;
		if (f->vector != 2 && f->vector != 0xff && !p->keep_in_service)
			apic_write(APIC_EOI, 0);
		return;
	}
	p->fault_rip = f->rip;
	if (p->catch_rip) {
		p->caught = (s32)f->vector;
		p->error = (u32)f->error;
		__asm__ volatile("mov %%cr2, %0" : "=r"(p->cr2));
		f->rip = p->catch_rip;
		f->rflags &= ~BIT(8);
		return;
	}
	report(false, "exception %lu (error %lx) at %lx on CPU %u is not expected", f->vector,
	       f->error, f->rip, p->index);
	finish();
}

/* ---- time ---- */

u64 ms_to_tsc(u64 ms)
{
	return ms * tsc_khz;
}

void delay_us(u64 us)
{
	u64 end = rdtsc() + us * tsc_khz / 1000;

	while (rdtsc() < end)
		pause();
}

u64 time_left(u64 left, u64 *last)
{
	u64 now = rdtsc(), step = now - *last;

	pause();
	*last = now;
	step = step > tsc_khz ? tsc_khz : step;
	return left > step ? left - step : 0;
}

void sleep_ms(u32 ms)
{
	struct percpu *p = me();

	p->count[0x70] = 0;
	apic_write(APIC_LVTT, LVT_DEADLINE | 0x70);
	wrmsr(0x6e0, rdtsc() + ms_to_tsc(ms));
	while (!p->count[0x70]) {
		sti_hlt();
		cli();
	}
	apic_write(APIC_LVTT, LVT_MASKED);
}

/* ---- the local APIC ---- */

u32 apic_read(u32 reg)
{
	return me()->x2apic ? (u32)rdmsr(MSR_X2APIC + reg / 16) : XAPIC[reg / 4];
}

void apic_write(u32 reg, u32 val)
{
	if (me()->x2apic)
		wrmsr(MSR_X2APIC + reg / 16, val);
	else
		XAPIC[reg / 4] = val;
}

void apic_icr(u32 dest, u32 low)
{
	if (me()->x2apic) {
		wrmsr(MSR_X2APIC + APIC_ICR / 16, (u64)dest << 32 | low);
		return;
	}
	XAPIC[APIC_ICR2 / 4] = dest << 24;
	XAPIC[APIC_ICR / 4] = low;
}

bool apic_bit(u32 reg, u8 vector)
{
	return apic_read(reg + vector / 32 * 16) >> vector % 32 & 1;
}

void apic_setup(bool x2apic)
{
	u64 base = rdmsr(MSR_APIC_BASE) & ~(BIT(11) | BIT(10));

	wrmsr(MSR_APIC_BASE, base); /* off: a reset of its registers */
	wrmsr(MSR_APIC_BASE, base | BIT(11));
	if (x2apic)
		wrmsr(MSR_APIC_BASE, base | BIT(11) | BIT(10));
	me()->x2apic = x2apic;
	apic_write(APIC_SVR, 0x1ff);
	apic_write(APIC_LVTT, LVT_MASKED);
	apic_write(APIC_LVT0, LVT_MASKED);
	apic_write(APIC_LVT1, LVT_MASKED);
	apic_write(APIC_LVTERR, LVT_MASKED);
	apic_write(APIC_TPR, 0);
	me()->apic_id = x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
}

/* ---- other CPUs ---- */

#define TRAMPOLINE 0x60000
#define VEC_WORK   0x30

extern u8 trampoline[], trampoline_end[];
extern u32 trampoline_cr3;
extern volatile u32 trampoline_next;

void ap_main(u32 i) __attribute__((noreturn));
static void (*on_wake)(void);

u32 wake_vector(void (*fn)(void))
{
	trampoline_next = MAX_CPU - 1; /* whose stack is free: the boot CPU's own is in use */
	on_wake = fn;
	return TRAMPOLINE;
}

void lib_wake(void)
{
	on_wake = NULL;
	trampoline_next = 1;
	load_tables(0);
}

void ap_main(u32 i)
{
	struct percpu *p = cpu_of(i);

	if (on_wake)
		on_wake();

	load_tables(i);
	p->x2apic = rdmsr(MSR_APIC_BASE) & BIT(10);
	apic_setup(false);
	p->done = 1;
	for (;;) {
		cli();
		if (!p->fn) {
			sti_hlt();
			continue;
		}
		p->fn(p->arg);
		cli();
		p->fn = NULL;
		p->done = 1;
	}
}

void smp_start(void)
{
	u8 *at = (u8 *)TRAMPOLINE;
	u32 last;

	if (cpu_count > 1)
		return;
	trampoline_cr3 = (u32)READ_CR(3);
	memcpy(at, trampoline, (size_t)(trampoline_end - trampoline));
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | ICR_INIT);
	delay_us(10000);
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | ICR_SIPI | TRAMPOLINE >> 12);
	delay_us(1000);
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | ICR_SIPI | TRAMPOLINE >> 12);
	last = option("cpus") ? (u32)(option("cpus")[0] - '0') : 1;
	WAIT(trampoline_next >= last, 5000);
	delay_us(20000); /* one too many would be seen */
	for (u32 i = 1; i < trampoline_next; i++)
		WAIT(cpu_of(i)->done, 1000);
	cpu_count = trampoline_next;
}

void kvmclock_off(void)
{
	hc(CORBEL_HC_EVENT_BIND, me()->apic_id, 0);
	wrmsr(MSR_KVMCLOCK, 0);
}

void run_on(u32 cpu, void (*fn)(void *arg), void *arg)
{
	struct percpu *p = cpu_of(cpu);

	p->done = 0;
	p->arg = arg;
	p->fn = fn;
	apic_icr(p->apic_id, ICR_ASSERT | VEC_WORK);
}

bool wait_for(u32 cpu, u32 ms)
{
	return WAIT(cpu_of(cpu)->done, ms);
}

/* ---- hypercalls ---- */

s64 hc5(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e)
{
	register u64 r8 __asm__("r8") = e;
	s64 ret = (s64)nr;

	if (backend == CORBEL_BACKEND_VMX)
		__asm__ volatile("vmcall"
				 : "+a"(ret)
				 : "D"(a), "S"(b), "d"(c), "c"(d), "r"(r8)
				 : "memory");
	else
		__asm__ volatile("vmmcall"
				 : "+a"(ret)
				 : "D"(a), "S"(b), "d"(c), "c"(d), "r"(r8)
				 : "memory");
	return ret;
}

void info(struct corbel_info *i)
{
	static struct corbel_info page __attribute__((aligned(4096)));

	hc(CORBEL_HC_STAT, CORBEL_STAT_INFO, 0, &page, sizeof(page));
	*i = page;
}

u32 e820_kind(u64 addr)
{
	const u8 *e = boot_params + 0x2d0;

	for (u32 i = 0; i < boot_params[0x1e8]; i++, e += 20) {
		u64 start = *(const u64 *)e, size = *(const u64 *)(e + 8);

		if (addr >= start && addr - start < size)
			return *(const u32 *)(e + 16);
	}
	return 0;
}

/* ---- start ---- */

static bool is_wanted(const char *name)
{
	const char *list = option("groups");
	size_t n = strlen(name);

	while (list) {
		if (!memcmp(list, name, n) && (list[n] == '+' || list[n] == ' ' || !list[n]))
			return true;
		while (*list && *list != '+' && *list != ' ')
			list++;
		if (*list++ != '+')
			break;
	}
	return false;
}

void main(const u8 *params) __attribute__((noreturn));
void main(const u8 *params)
{
	struct corbel_info i;
	u32 r[4];

	boot_params = params;
	cmdline = (const char *)(u64) * (const u32 *)(params + 0x228);
	init_idt();
	load_tables(0);
	cpuid(CORBEL_CPUID_ABI, 0, r);
	backend = r[1];
	info(&i);
	tsc_khz = i.tsc_khz;
	apic_setup(false);
	for (u32 g = 0; g < group_count; g++) {
		if (!is_wanted(groups[g].name))
			continue;
		group_name = groups[g].name;
		if (groups[g].cpus > 1)
			smp_start();
		groups[g].run();
		cli();
		apic_setup(false);
	}
	group_name = "end";
	finish();
}
