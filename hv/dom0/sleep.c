/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/dom0/sleep.h"
#include "boot/acpi.h"
#include "hv/console/console.h"
#include "hv/dom0/suspend.h"
#include "hv/lib/io.h"
#include "hv/lib/log.h"

#define TOLD_MAX 8 /* a line for each attempt, but dom0 must not fill the log */

/* "Reset Control Register" of Intel's chipsets */
#define RESET_RST_CPU BIT(2)
/* A keyboard controller's command to pulse output lines: line 0, at 0, resets. */
#define KEYBOARD_PULSE_MASK  0xf1
#define KEYBOARD_PULSE_RESET 0xf0

/*
 * Who has been refused waits for the machine to wake up, ACPICA without end and with interrupts
 * off. So it has woken up, at once, until the bit is cleared as usual.
 */
static bool woken;

static const struct acpi_port *find_port(const struct acpi_ports *list, u16 port)
{
	for (u32 i = 0; i < list->count; i++)
		if (list->at[i].port == port)
			return &list->at[i];
	return NULL;
}

static const struct acpi_port *sleep_port(u16 port)
{
	return find_port(&boot_info.acpi.sleep, port);
}

static bool is_wake_port(u16 port)
{
	return find_port(&boot_info.acpi.wake, port);
}

/*
 * Ports by which dom0 may reset the machine. A register in memory, as few machines have, is not
 * seen.
 */
static bool is_reset_port(u16 port)
{
	const struct acpi_info *a = &boot_info.acpi;

	return port == RESET_PORT || port == KEYBOARD_COMMAND ||
	       (a->reset_space == ACPI_SPACE_IO && a->reset_addr && port == a->reset_addr);
}

/* Four bytes at CF8 are the address of PCI's configuration, whatever lies among them. */
static bool is_reset(u16 port, u8 size, u8 val)
{
	if (!is_reset_port(port) || (port == RESET_PORT && size == 4))
		return false;
	if (port == RESET_PORT)
		return val & RESET_RST_CPU;
	if (port == KEYBOARD_COMMAND)
		return (val & KEYBOARD_PULSE_MASK) == KEYBOARD_PULSE_RESET;
	return val == boot_info.acpi.reset_value;
}

void sleep_pretend_woken(void)
{
	WRITE_ONCE(woken, true);
}

bool sleep_has_woken(void)
{
	const struct acpi_ports *wake = &boot_info.acpi.wake;

	return wake->count && inb(wake->at[0].port) & ACPI_WAK_STS;
}

bool sleep_owns(u16 port)
{
	return sleep_port(port) || is_wake_port(port) || is_reset_port(port);
}

u32 sleep_in(u16 port, u8 size)
{
	u32 val;

	if (size == 4)
		val = inl(port);
	else if (size == 2)
		val = inw(port);
	else
		val = inb(port);
	for (u32 i = 0; i < size; i++)
		if (READ_ONCE(woken) && is_wake_port(port + i))
			val |= (u32)ACPI_WAK_STS << i * 8;
	return val;
}

/* The byte that may be written instead of this one. */
static u8 allowed_byte(u16 port, u8 val)
{
	const struct acpi_port *s = sleep_port(port);
	u32 type = val >> ACPI_SLP_TYP_SHIFT & ACPI_SLP_TYP_MASK;
	const char *why = "Corbel and its guests would be lost";
	static u32 told;

	if (is_wake_port(port) && val & ACPI_WAK_STS)
		WRITE_ONCE(woken, false);
	if (!s || !(val & ACPI_SLP_EN))
		return val;
	if (s->off_types & BIT(type)) {
		console_flush();
		return val;
	}
	if (s->s3_types & BIT(type)) {
		why = suspend_ask(port, val);
		if (!why)
			return val & ~ACPI_SLP_EN; /* that follows when all stands still */
	}
	sleep_pretend_woken();
	if (__atomic_fetch_add(&told, 1, __ATOMIC_RELAXED) < TOLD_MAX)
		log_warn("dom0 may not put the machine to sleep (type %u): %s; use poweroff or "
			 "reboot",
			 type, why);
	return val & ~ACPI_SLP_EN;
}

void sleep_out(u16 port, u8 size, u32 val)
{
	for (u32 i = 0; i < size; i++) {
		u32 shift = i * 8;
		u32 byte = allowed_byte(port + i, val >> shift);

		if (is_reset(port + i, size, byte))
			console_flush();
		val = (val & ~(0xffu << shift)) | byte << shift;
	}
	if (size == 4)
		outl(port, val);
	else if (size == 2)
		outw(port, val);
	else
		outb(port, val);
}
