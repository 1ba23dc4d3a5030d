/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/console/panic.h"
#include "boot/boot.h"
#include "boot/image.h"
#include "hv/console/console.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/lib/io.h"
#include "hv/lib/lock.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"
#include "hv/lib/symtab.h"
#include "hv/mm/mm.h"

#define BACKTRACE_MAX 24
/* between the last line and the restart: for the serial tail and the eye */
#define LINGER_US 2000000ul

extern const struct symtab symtab_start;
extern const char symtab_end[];

static u32 panic_owner = UINT32_MAX; /* index of the CPU in panic() */
static char panic_text[256];	     /* set once by panic() */

static void (*dump_more)(void);
static void (*leave_cpu)(struct cpu *c);

static bool panic_elsewhere(void)
{
	u32 owner = READ_ONCE(panic_owner);

	return owner != UINT32_MAX && owner != this_cpu()->index;
}

/* ---- the screen ---- */

static bool in_text(u64 rip)
{
	return rip >= (u64)__text_start && rip < (u64)__text_end;
}

static void print_frame(u64 rip)
{
	u32 off = 0;
	const char *name = NULL;

	if (in_text(rip) && (const char *)&symtab_start != symtab_end)
		name = symtab_find(&symtab_start, (u32)(rip - HV_IMAGE), &off);
	log_err("  %016lx %s+%#x", rip, name ? name : "?", off);
}

/*
 * Frame pointers lead from frame to frame; each must lie above the last, on the same stack, and
 * return into our text.
 */
static void backtrace(u64 rip, u64 rbp)
{
	log_err("Backtrace:");
	if (rip)
		print_frame(rip);
	for (u32 n = 0; n < BACKTRACE_MAX && rbp >= HV_DIRECT && IS_ALIGNED(rbp, 8); n++) {
		const u64 *frame = (const u64 *)rbp;

		if (!in_text(frame[1]))
			break;
		print_frame(frame[1]);
		if (frame[0] <= rbp || frame[0] - rbp > MM_STACK_SIZE)
			break;
		rbp = frame[0];
	}
}

static void print_regs(const struct regs *r)
{
	static const struct {
		char name[4];
		u32 at;
	} list[] = {
#define R(n) {#n, offsetof(struct regs, n)}
	    R(rax), R(rbx), R(rcx), R(rdx), R(rsi), R(rdi), R(rbp), R(rsp),
	    R(r8),  R(r9),  R(r10), R(r11), R(r12), R(r13), R(r14), R(r15),
#undef R
	};
	u64 v[4];

	for (u32 i = 0; i < ARRAY_SIZE(list); i += 4) {
		for (u32 k = 0; k < 4; k++)
			v[k] = *(const u64 *)((const u8 *)r + list[i + k].at);
		log_err("%-3s %016lx %-3s %016lx %-3s %016lx %-3s %016lx", list[i].name, v[0],
			list[i + 1].name, v[1], list[i + 2].name, v[2], list[i + 3].name, v[3]);
	}
	log_err("rip %016lx cs %lx rflags %lx vector %lu error %lx", r->rip, r->cs, r->rflags,
		r->vector, r->error);
	log_err("cr0 %lx cr2 %lx cr3 %lx cr4 %lx", read_cr0(), read_cr2(), read_cr3(), read_cr4());
}

/* The first CPU to come here goes on alone; others stop. False if it has been here before. */
static bool take_over(void)
{
	u32 me = this_cpu()->index, owner = UINT32_MAX;

	__asm__ volatile("cli");
	if (__atomic_compare_exchange_n(&panic_owner, &owner, me, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE)) {
		lock_unchecked = true;
		apic_stop_others();
		return true;
	}
	if (owner != me)
		cpu_halt();
	return false;
}

static void begin(void)
{
	if (!take_over())
		machine_restart(); /* a panic within the panic */
	console_panic();
}

static void __noreturn panic_line(const char *fmt, va_list ap)
{
	begin();
	hv_vsnprintf(panic_text, sizeof(panic_text), fmt, ap);
	for (;;)
		__asm__ volatile("int3"); /* to panic_regs(), with the registers */
}

static const char *exception_name(u64 vector)
{
	static const char *const names[] = {"divide error",
					    "debug",
					    "NMI",
					    "breakpoint",
					    "overflow",
					    "bound range",
					    "invalid opcode",
					    "no FPU",
					    "double fault",
					    "coprocessor overrun",
					    "invalid TSS",
					    "segment not present",
					    "stack fault",
					    "general protection",
					    "page fault",
					    "reserved",
					    "x87 error",
					    "alignment check",
					    "machine check",
					    "SIMD error"};

	return vector < ARRAY_SIZE(names) ? names[vector] : "exception";
}

/* An exception in the hypervisor, or panic() itself. */
static void panic_regs(const struct regs *r)
{
	bool asked = panic_text[0] && r->vector == VEC_BP && panic_owner == this_cpu()->index;
	char text[sizeof(panic_text) + 80];

	if (!asked)
		begin();
	hv_snprintf(text, sizeof(text), "panic on CPU %u: %s%s", this_cpu()->index,
		    asked ? panic_text : exception_name(r->vector),
		    asked ? "" : " in the hypervisor");
	log_err("%s", text);
	print_regs(r);
	backtrace(r->rip, r->rbp);
	if (dump_more)
		dump_more();
	/* Once more: a screen holds but the end of all this. */
	hv_snprintf(text + strlen(text), sizeof(text) - strlen(text),
		    "; please report it with the lines before this one");
	console_plain("corbel: ", text);
	machine_restart();
}

static void __noreturn boot_fail_line(const char *fmt, va_list ap)
{
	char text[256];

	begin();
	hv_vsnprintf(text, sizeof(text), fmt, ap);
	console_plain("corbel: ", text);
	machine_restart();
}

void panic_init(void)
{
	static const struct log_hooks hooks = {console_line, panic_line, boot_fail_line};

	log_set_hooks(&hooks);
	cpu_set_panic(panic_regs, panic_elsewhere);
}

void panic_set_hooks(void (*dump)(void), void (*leave)(struct cpu *c))
{
	dump_more = dump;
	leave_cpu = leave;
}

/* ---- power ---- */

static void reset_acpi(void)
{
	const struct acpi_info *a = &boot_info.acpi;

	if (!a->has_reset)
		return;
	if (a->reset_port_or_addr_space == 1) {
		outb((u16)a->reset_addr, a->reset_value);
	} else if (a->reset_port_or_addr_space == 0) {
		volatile u8 *reg = mm_map_mmio(a->reset_addr, 1);

		if (reg)
			*reg = a->reset_value;
	} else if (a->reset_port_or_addr_space ==
		   2) { /* PCI configuration space of bus 0, in the usual encoding */
		outl(0xcf8, (u32)(BIT(31) | (a->reset_addr >> 32 & 0x1f) << 11 |
				  (a->reset_addr >> 16 & 7) << 8 | (a->reset_addr & 0xfc)));
		outb((u16)(0xcfc + (a->reset_addr & 3)), a->reset_value);
	}
	udelay(50000);
}

static void reset_cf9(void)
{
	/* "Reset Control Register": system reset, then the 0->1 edge of RST_CPU */
	outb(0xcf9, 0x02);
	udelay(100);
	outb(0xcf9, 0x06);
	udelay(50000);
}

static void reset_keyboard(void)
{
	for (u32 i = 0; i < 1000 && inb(0x64) & 2; i++)
		udelay(10);
	outb(0x64, 0xfe);
	udelay(50000);
}

static void __noreturn reset_triple(void)
{
	struct {
		u16 limit;
		u64 base;
	} __packed none = {0, 0};

	__asm__ volatile("lidt %0; int3" : : "m"(none));
	cpu_halt();
}

void machine_halt(void)
{
	take_over();
	cpu_halt();
}

void machine_restart(void)
{
	const char *how = boot_info.opt.reboot;

	take_over();
	udelay(LINGER_US);
	if (boot_info.opt.noreboot || !strcmp(how, "halt"))
		machine_halt();
	if (leave_cpu && this_cpu()->online)
		leave_cpu(this_cpu());
	if (!*how || !strcmp(how, "acpi"))
		reset_acpi();
	if (!*how || !strcmp(how, "acpi"))
		reset_cf9();
	if (strcmp(how, "triple"))
		reset_keyboard();
	reset_triple();
}
