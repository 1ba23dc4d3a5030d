/* SPDX-License-Identifier: GPL-2.0-only */
/* The virtual 16550 at COM1, and the ports that are dom0's own. */
#include "lib.h"

#define COM1 0x3f8

static void send(const char *s)
{
	for (; *s; s++)
		outb(COM1, *s);
}

/* Does the receiver hold s? */
static bool received(const char *s)
{
	for (; *s; s++)
		if (!WAIT(inb(COM1 + 5) & 1, 1000) || inb(COM1) != (u8)*s)
			return false;
	return !(inb(COM1 + 5) & 1);
}

/*
 * The debug keys, P for panic among them, are for who sits at the line, not for who may open dom0's
 * port.
 */
static void check_loopback(void)
{
	static const char escape[] = "\1\1\1P";
	bool same, later;

	while (!(inb(COM1 + 5) & 0x40))
		pause();
	outb(COM1 + 4, 0x1b); /* loop, OUT2, RTS, DTR */
	send(escape);
	same = received(escape);
	send(escape);
	outb(COM1 + 4, 0x0b);
	later = received(escape);
	report(same, "three Ctrl-A in loopback mode are dom0's, and so is what follows");
	report(later, "so they are when loopback mode ends before they are read");
}

/*
 * A line takes 9 ms at 115200 baud, where the emulator knows about that, and longer at less: who
 * has the hypervisor write one does not wait for that.
 */
void test_lines(void)
{
	u64 least = ~0ull, most = 0;

	for (u32 i = 0; i < 20; i++) {
		u64 before = rdtsc(), took;

		hc(CORBEL_HC_DEBUG, 'h');
		took = rdtsc() - before;
		least = took < least ? took : least;
		most = took > most ? took : most;
	}
	note("a line of the hypervisor's holds a CPU up for %lu to %lu us", least * 1000 / tsc_khz,
	     most * 1000 / tsc_khz);
	report(least < tsc_khz, "nobody waits for a line to be sent");
	report(WAIT(inb(COM1 + 5) & 0x40, 10000), "but it is, and dom0 sees when");
}

void test_vuart(void)
{
	u8 iir, lsr, msr;
	bool same;

	outb(COM1 + 7, 0xa5);
	report(inb(COM1 + 7) == 0xa5, "the scratch register holds a byte");
	outb(COM1 + 7, 0x5a);
	report(inb(COM1 + 7) == 0x5a, "and another");
	outb(COM1 + 3, 0x83);
	outb(COM1, 0x34);
	outb(COM1 + 1, 0x12);
	same = inb(COM1) == 0x34 && inb(COM1 + 1) == 0x12 && inb(COM1 + 3) == 0x83;
	outb(COM1 + 3, 3);
	report(same, "the divisor can be set and read, and the line goes on at its speed");
	outb(COM1 + 1, 0x0f);
	report(inb(COM1 + 1) == 0x0f, "interrupt enables read back");
	outb(COM1 + 1, 0);
	while (!(inb(COM1 + 5) & 0x40)) /* what is on its way would be lost */
		pause();
	outb(COM1 + 2, 0xc7);
	iir = inb(COM1 + 2);
	report((iir & 0xc0) == 0xc0, "the FIFO is there (%x)", iir);
	WAIT(inb(COM1 + 5) & 0x20, 1000);
	lsr = inb(COM1 + 5);
	report(!(lsr & 1) && lsr & 0x20, "nothing received, ready to send (%x)", lsr);
	while (!(inb(COM1 + 5) & 0x40))
		pause();
	outb(COM1 + 4, 0x1a); /* loop, OUT2, RTS */
	msr = inb(COM1 + 6);
	outb(COM1 + 4, 0x0b);
	report((msr & 0xf0) == 0x90, "loop mode shows the outputs as inputs (%x)", msr);
	check_loopback();
	outb(0x80, 1);
	report(inb(0x64) != 0xff, "the keyboard controller's port is dom0's");
	__asm__ volatile("mov %w0, %%dx; xor %%eax, %%eax; in %%dx, %%eax" ::"i"(COM1)
			 : "rax", "rdx");
	__asm__ volatile("mov %w0, %%dx; in %%dx, %%ax" ::"i"(COM1 + 4) : "rax", "rdx");
	report(true, "wide accesses to the UART come back");
}
