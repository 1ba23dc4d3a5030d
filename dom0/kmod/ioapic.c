// SPDX-License-Identifier: GPL-2.0-only
/* I/O APIC with 24 pins. Intel 82093AA data sheet, "Register description". */
#include "pure.h"

#define REG_SELECT 0x00
#define REG_WINDOW 0x10

#define REG_ID	    0x00
#define REG_VERSION 0x01
#define REG_ARB	    0x02
#define REG_REDIR   0x10
#define VERSION	    0x11u

#define PINS KVM_IOAPIC_NUM_PINS

#define RTE_VECTOR	0xffull
#define RTE_DELIVERY	(7ull << 8)
#define RTE_LOWEST_PRIO (1ull << 8)
#define RTE_LOGICAL	(1ull << 11)
#define RTE_REMOTE_IRR	(1ull << 14)
#define RTE_LEVEL	(1ull << 15)
#define RTE_MASKED	(1ull << 16)
#define RTE_WRITABLE_LO 0x1afffull /* all but delivery status and remote IRR */
#define RTE_WRITABLE_HI 0xff000000ull

#define MSI_BASE     0xfee00000ull
#define MSI_LOGICAL  (1u << 2)
#define MSI_REDIRECT (1u << 3)
#define MSI_ASSERT   (1u << 14)

void ioapic_reset(struct ioapic *io)
{
	u32 i;

	memset(&io->s, 0, sizeof(io->s));
	io->s.base_address = IOAPIC_BASE;
	for (i = 0; i < PINS; i++)
		io->s.redirtbl[i].bits = RTE_MASKED;
}

static int send_pin(struct ioapic *io, u32 pin)
{
	u64 rte = io->s.redirtbl[pin].bits;
	u64 address = MSI_BASE | (rte >> 56) << 12;
	int r;

	if (rte & RTE_MASKED)
		return -1;
	if ((rte & RTE_LEVEL) && (rte & RTE_REMOTE_IRR))
		return 0;
	if (rte & RTE_LOGICAL)
		address |= MSI_LOGICAL;
	if ((rte & RTE_DELIVERY) == RTE_LOWEST_PRIO)
		address |= MSI_REDIRECT;
	/* Vector, delivery mode and trigger mode stand in the same bits in both formats. */
	r = io->deliver(io, address, (rte & (RTE_VECTOR | RTE_DELIVERY | RTE_LEVEL)) | MSI_ASSERT);
	if (r > 0 && (rte & RTE_LEVEL))
		io->s.redirtbl[pin].bits |= RTE_REMOTE_IRR;
	return r;
}

int ioapic_set_irq(struct ioapic *io, u32 pin, bool level)
{
	u32 bit = 1u << pin;
	bool was = io->s.irr & bit;

	if (!level) {
		io->s.irr &= ~bit;
		return 1;
	}
	io->s.irr |= bit;
	if (was && !(io->s.redirtbl[pin].bits & RTE_LEVEL))
		return 0; /* no edge */
	return send_pin(io, pin);
}

u32 ioapic_read(struct ioapic *io, u32 offset)
{
	u32 reg = io->s.ioregsel;

	if (offset == REG_SELECT)
		return reg;
	if (offset != REG_WINDOW)
		return 0;
	if (reg == REG_ID || reg == REG_ARB)
		return (io->s.id & 0xf) << 24;
	if (reg == REG_VERSION)
		return VERSION | (PINS - 1) << 16;
	if (reg >= REG_REDIR && reg < REG_REDIR + 2 * PINS) {
		u64 rte = io->s.redirtbl[(reg - REG_REDIR) / 2].bits;

		return reg & 1 ? rte >> 32 : rte;
	}
	return 0;
}

static u32 write_entry(struct ioapic *io, u32 pin, bool high, u32 val)
{
	u64 old = io->s.redirtbl[pin].bits, rte;

	if (high)
		rte = (old & 0xffffffffull) | (val & RTE_WRITABLE_HI) << 32;
	else
		rte = (old & ~RTE_WRITABLE_LO) | (val & RTE_WRITABLE_LO);
	/* Operating systems clear a stuck remote IRR by switching to edge and back. */
	if (!(rte & RTE_LEVEL))
		rte &= ~RTE_REMOTE_IRR;
	io->s.redirtbl[pin].bits = rte;
	if ((rte & RTE_LEVEL) && (io->s.irr & (1u << pin)))
		send_pin(io, pin);
	return (old & RTE_MASKED) && !(rte & RTE_MASKED) ? 1u << pin : 0;
}

int ioapic_old_level(const struct ioapic *io, u32 offset, u32 val)
{
	u32 pin = (io->s.ioregsel - REG_REDIR) / 2;
	u64 rte;

	if (offset != REG_WINDOW || pin >= PINS || io->s.ioregsel & 1)
		return -1;
	rte = io->s.redirtbl[pin].bits;
	if (!(rte & RTE_MASKED) || val & RTE_MASKED || !(val & RTE_LEVEL) ||
	    rte & RTE_REMOTE_IRR) /* then its EOI is to come */
		return -1;
	return io->s.irr & (1u << pin) ? (int)pin : -1;
}

u32 ioapic_write(struct ioapic *io, u32 offset, u32 val)
{
	u32 reg = io->s.ioregsel;

	if (offset == REG_SELECT) {
		io->s.ioregsel = val & 0xff;
		return 0;
	}
	if (offset != REG_WINDOW)
		return 0;
	if (reg == REG_ID)
		io->s.id = (val >> 24) & 0xf;
	if (reg >= REG_REDIR && reg < REG_REDIR + 2 * PINS)
		return write_entry(io, (reg - REG_REDIR) / 2, reg & 1, val);
	return 0;
}

u32 ioapic_pins_of_vector(const struct ioapic *io, u8 vector)
{
	u32 pins = 0, i;

	for (i = 0; i < PINS; i++) {
		u64 rte = io->s.redirtbl[i].bits;

		if ((rte & RTE_VECTOR) == vector &&
		    (!(rte & RTE_LEVEL) || (rte & RTE_REMOTE_IRR)) &&
		    (!(rte & RTE_MASKED) || (rte & RTE_REMOTE_IRR)))
			pins |= 1u << i;
	}
	return pins;
}

void ioapic_eoi(struct ioapic *io, u32 pins)
{
	u32 i;

	for (i = 0; i < PINS; i++) {
		if (!(pins & (1u << i)) || !(io->s.redirtbl[i].bits & RTE_LEVEL))
			continue;
		io->s.redirtbl[i].bits &= ~RTE_REMOTE_IRR;
		if (io->s.irr & (1u << i))
			send_pin(io, i);
	}
}

void ioapic_eoi_vectors(const struct ioapic *io, u32 also_edge, u64 mask[4])
{
	u32 i;

	memset(mask, 0, 4 * sizeof(mask[0]));
	for (i = 0; i < PINS; i++) {
		u64 rte = io->s.redirtbl[i].bits;
		u32 vector = rte & RTE_VECTOR;

		if ((rte & RTE_MASKED) && !(rte & RTE_REMOTE_IRR))
			continue;
		if ((rte & RTE_LEVEL) || (also_edge & (1u << i)))
			mask[vector / 64] |= 1ull << (vector % 64);
	}
}

void ioapic_resend(struct ioapic *io)
{
	u32 i;

	for (i = 0; i < PINS; i++)
		if ((io->s.irr & (1u << i)) && (io->s.redirtbl[i].bits & RTE_LEVEL))
			send_pin(io, i);
}
