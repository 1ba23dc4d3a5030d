/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/console/panic.h"
#include "boot/boot.h"
#include "boot/image.h"
#include "hv/console/console.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/mcheck.h"
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

static const struct cpu *panic_owner; /* the CPU in panic(); its index may be another's, too */
static char panic_text[256];	      /* set once by panic() */

static void (*dump_more)(void);
static void (*leave_cpu)(struct cpu *c);

static bool panic_elsewhere(void)
{
	const struct cpu *owner = READ_ONCE(panic_owner);

	return owner && owner != this_cpu();
}

/* ---- the screen ---- */

static bool in_text(u64 rip)
{
	return rip >= (u64)__text_start && rip < (u64)__text_end;
}

static void print_frame(u64 rip)
{
	const char *name = NULL;
	u32 off = 0;

	if (in_text(rip) && (const char *)&symtab_start != symtab_end)
		name = symtab_find(&symtab_start, rip - HV_IMAGE, &off);
	if (!name)
		name = "?";
	log_err("  %016lx %s+0x%x", rip, name, off);
}

/*
 * Frame pointers lead from frame to frame; each must lie above the last, on the same stack, and
 * return into our text.
 */
static void print_backtrace(u64 rip, u64 rbp)
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
	log_err("rax %016lx rbx %016lx rcx %016lx rdx %016lx", r->rax, r->rbx, r->rcx, r->rdx);
	log_err("rsi %016lx rdi %016lx rbp %016lx rsp %016lx", r->rsi, r->rdi, r->rbp, r->rsp);
	log_err("r8  %016lx r9  %016lx r10 %016lx r11 %016lx", r->r8, r->r9, r->r10, r->r11);
	log_err("r12 %016lx r13 %016lx r14 %016lx r15 %016lx", r->r12, r->r13, r->r14, r->r15);
	log_err("rip %016lx cs %lx rflags %lx vector %lu error %lx", r->rip, r->cs, r->rflags,
		r->vector, r->error);
	log_err("cr0 %lx cr2 %lx cr3 %lx cr4 %lx", read_cr0(), read_cr2(), read_cr3(), read_cr4());
}

/* The first CPU to come here goes on alone; others stop. False if it has been here before. */
static bool take_over(void)
{
	const struct cpu *me = this_cpu(), *owner = NULL;

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

/* Alone from here on; a panic within the panic restarts the machine at once. */
static void begin_panic(void)
{
	if (!take_over())
		machine_restart();
	console_panic();
}

static void __noreturn panic_line(const char *fmt, va_list ap)
{
	begin_panic();
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

	if (vector < ARRAY_SIZE(names))
		return names[vector];
	return "exception";
}

/* An exception in the hypervisor, or panic() itself. */
static void panic_regs(const struct regs *r)
{
	char text[sizeof(panic_text) + 80];

	/* Did panic() raise it? */
	if (!(panic_text[0] && r->vector == VEC_BP && panic_owner == this_cpu())) {
		begin_panic();
		hv_snprintf(panic_text, sizeof(panic_text), "%s in the hypervisor",
			    exception_name(r->vector));
	}
	hv_snprintf(text, sizeof(text), "panic on CPU %u: %s", this_cpu()->index, panic_text);
	log_err("%s", text);
	if (r->vector == VEC_MC) {
		mcheck_log();
		log_err("the hardware that these banks name is at fault");
	}
	print_regs(r);
	print_backtrace(r->rip, r->rbp);
	if (dump_more)
		dump_more();
	/* Once more: a screen holds but the end of all this. */
	hv_snprintf(text + strlen(text), sizeof(text) - strlen(text),
		    "; please report it with the lines before this one");
	console_plain(text);
	machine_restart();
}

static void __noreturn boot_fail_line(const char *fmt, va_list ap)
{
	char text[256];

	begin_panic();
	hv_vsnprintf(text, sizeof(text), fmt, ap);
	console_plain(text);
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

/* PCI configuration of bus 0, in the usual encoding of ACPI's addresses */
#define PCI_CONFIG_ADDRESS 0xcf8
#define PCI_CONFIG_DATA	   0xcfc
#define PCI_CONFIG_ENABLE  BIT(31)

/* "Reset Control Register" of Intel's chipsets */
#define RESET_SYSTEM 0x02
#define RESET_CPU    0x06 /* and the rising edge of RST_CPU */

#define KEYBOARD_BUSY  BIT(1)
#define KEYBOARD_RESET 0xfe

#define RESET_WAIT_US 50000 /* a reset takes effect within, if it does */

static void reset_acpi(void)
{
	const struct acpi_info *a = &boot_info.acpi;
	volatile u8 *reg;

	if (!a->reset_addr)
		return;
	switch (a->reset_space) {
	case ACPI_SPACE_IO:
		outb(a->reset_addr, a->reset_value);
		break;
	case ACPI_SPACE_MEMORY:
		reg = mm_map_mmio(a->reset_addr, 1);
		if (reg)
			*reg = a->reset_value;
		break;
	case ACPI_SPACE_PCI:
		outl(PCI_CONFIG_ADDRESS, PCI_CONFIG_ENABLE | (a->reset_addr >> 32 & 0x1f) << 11 |
					     (a->reset_addr >> 16 & 7) << 8 |
					     (a->reset_addr & 0xfc));
		outb(PCI_CONFIG_DATA + (a->reset_addr & 3), a->reset_value);
		break;
	}
	udelay(RESET_WAIT_US);
}

static void reset_chipset(void)
{
	outb(RESET_PORT, RESET_SYSTEM);
	udelay(100);
	outb(RESET_PORT, RESET_CPU);
	udelay(RESET_WAIT_US);
}

static void reset_keyboard(void)
{
	for (u32 i = 0; i < 1000 && inb(KEYBOARD_COMMAND) & KEYBOARD_BUSY; i++)
		udelay(10);
	outb(KEYBOARD_COMMAND, KEYBOARD_RESET);
	udelay(RESET_WAIT_US);
}

/* No IDT: an exception cannot be delivered, nor the double fault that follows. */
static void reset_triple(void)
{
	static const struct table_reg none;

	__asm__ volatile("lidt %0; int3" : : "m"(none));
}

void machine_restart(void)
{
	u32 how = boot_info.opt.reboot;

	take_over();
	console_alone();
	udelay(LINGER_US);
	if (boot_info.opt.noreboot || how == REBOOT_HALT)
		cpu_halt();
	if (leave_cpu && this_cpu()->online)
		leave_cpu(this_cpu());
	if (how == REBOOT_ACPI) {
		reset_acpi();
		reset_chipset();
	}
	if (how != REBOOT_TRIPLE)
		reset_keyboard();
	reset_triple();
	cpu_halt();
}
