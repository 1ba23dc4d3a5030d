/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/dom0/sleep.h"
#include "boot/acpi.h"
#include "hv/lib/io.h"
#include "hv/lib/log.h"

#define TOLD_MAX 8 /* a line for each attempt, but dom0 must not fill the log */

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

bool sleep_owns(u16 port)
{
	return sleep_port(port) || is_wake_port(port);
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
	static u32 told;

	if (is_wake_port(port) && val & ACPI_WAK_STS)
		WRITE_ONCE(woken, false);
	if (!s || !(val & ACPI_SLP_EN) || s->off_types & BIT(type))
		return val;
	WRITE_ONCE(woken, true);
	if (__atomic_fetch_add(&told, 1, __ATOMIC_RELAXED) < TOLD_MAX)
		log_warn("dom0 may not put the machine to sleep (type %u): Corbel and its guests "
			 "would be lost; use poweroff or reboot",
			 type);
	return val & ~ACPI_SLP_EN;
}

void sleep_out(u16 port, u8 size, u32 val)
{
	for (u32 i = 0; i < size; i++) {
		u32 shift = i * 8;
		u32 byte = allowed_byte(port + i, val >> shift);

		val = (val & ~(0xffu << shift)) | byte << shift;
	}
	if (size == 4)
		outl(port, val);
	else if (size == 2)
		outw(port, val);
	else
		outb(port, val);
}
