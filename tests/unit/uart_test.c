/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/console/uart.c */
/* The shared 16550 against a model of the chip. */
#include <stdio.h>
#include <string.h>

#include "hv/lib/io.h"
#include "hv/console/uart.h"
#include "test.h"

#define PORT	 0x3f8
#define IIR_NONE 0x01

/* ---- a 16550: FIFOs of 16, a transmitter that needs a few polls for each character ---- */
static struct {
	bool absent;
	u8 ier, lcr, mcr, dll, dlm, scr, fcr;
	u8 rx[16];
	u32 rx_n;
	u8 rx_err; /* of rx[0], until it is looked at */
	u32 tx_n, tx_delay;
	bool thre_pending;
	char out[65536];
	u32 out_n;
	u32 overruns;		 /* characters written into a full transmitter */
	u32 cleared;		 /* and out of it before they were sent */
	bool tx_stuck, rx_stuck; /* never sends; always has one more */
	u32 reads;
} chip;

static void tx_step(void)
{
	if (chip.tx_n && !chip.tx_stuck && ++chip.tx_delay >= 3) {
		chip.tx_delay = 0;
		if (!--chip.tx_n)
			chip.thre_pending = true;
	}
}

static u8 chip_iir(void)
{
	u8 fifos = chip.fcr & 1 ? IIR_FIFOS : 0;

	if (chip.ier & IER_RX && chip.rx_n)
		return IIR_RX | fifos;
	if (chip.ier & IER_THRE && chip.thre_pending)
		return 0x02 | fifos;
	return IIR_NONE | fifos;
}

/* The interrupt line, which goes to dom0. */
static bool line(void)
{
	return !(chip_iir() & IIR_NONE);
}

u8 inb(u16 port)
{
	u8 v;

	if (chip.absent)
		return 0xff;
	tx_step();
	chip.reads++;
	if (chip.rx_stuck && !chip.rx_n)
		chip.rx[chip.rx_n++] = 'x';
	switch (port - PORT) {
	case UART_RBR:
		if (chip.lcr & LCR_DLAB)
			return chip.dll;
		if (!chip.rx_n)
			return 0;
		v = chip.rx[0];
		memmove(chip.rx, chip.rx + 1, --chip.rx_n);
		return v;
	case UART_IER:
		return chip.lcr & LCR_DLAB ? chip.dlm : chip.ier;
	case UART_IIR:
		v = chip_iir();
		if ((v & 0x0f) == 0x02)
			chip.thre_pending = false;
		return v;
	case UART_LCR:
		return chip.lcr;
	case UART_MCR:
		return chip.mcr;
	case UART_LSR:
		v = (chip.rx_n ? LSR_DR : 0) | (chip.tx_n ? 0 : LSR_THRE | LSR_TEMT) | chip.rx_err;
		chip.rx_err = 0;
		return v;
	case UART_MSR:
		return 0xb0;
	default:
		return chip.scr;
	}
}

void outb(u16 port, u8 v)
{
	switch (port - PORT) {
	case UART_THR:
		if (chip.lcr & LCR_DLAB) {
			chip.dll = v;
		} else if (chip.mcr & MCR_LOOP) {
			if (chip.rx_n < 16)
				chip.rx[chip.rx_n++] = v;
		} else {
			if (chip.tx_n == 16)
				chip.overruns++;
			else
				chip.tx_n++;
			chip.thre_pending = false;
			if (chip.out_n < sizeof(chip.out) - 1)
				chip.out[chip.out_n++] = (char)v;
		}
		break;
	case UART_IER:
		if (chip.lcr & LCR_DLAB) {
			chip.dlm = v;
			break;
		}
		if (v & ~chip.ier & IER_THRE && !chip.tx_n)
			chip.thre_pending = true;
		chip.ier = v;
		break;
	case UART_FCR:
		chip.fcr = v;
		if (v & FCR_CLEAR_TX) {
			chip.cleared += chip.tx_n;
			chip.tx_n = 0;
		}
		if (v & FCR_CLEAR_RX)
			chip.rx_n = 0;
		break;
	case UART_LCR:
		chip.lcr = v;
		break;
	case UART_MCR:
		chip.mcr = v;
		break;
	case UART_SCR:
		chip.scr = v;
		break;
	}
}

/* ---- dom0's side ---- */
static struct uart u;
static struct uart_keys keys;

static u8 in(u8 reg)
{
	return uart_dom0_in(&u, reg, &keys);
}

static void out(u8 reg, u8 v)
{
	uart_dom0_out(&u, reg, v);
}

static void type(const char *s, u32 n)
{
	while (n--)
		chip.rx[chip.rx_n++] = (u8)*s++;
}

/* What the hypervisor does where it waits. */
static void tell(struct uart *port, const char *s, u32 len)
{
	uart_put(port, s, len);
	uart_flush(port);
}

static void reset(void)
{
	memset(&chip, 0, sizeof(chip));
	keys.n = 0;
	uart_init(&u, PORT, 115200);
}

/* What a driver's interrupt handler reads; the line must be low afterwards. */
static u32 interrupt(char *buf)
{
	u32 n = 0;

	while (!(in(UART_IIR)&IIR_NONE))
		while (in(UART_LSR)&LSR_DR)
			buf[n++] = (char)in(UART_RBR);
	buf[n] = 0;
	return n;
}

static void test_settings(void)
{
	reset();
	CHECK(chip.dll == 1 && chip.dlm == 0 && chip.lcr == LCR_8N1 && chip.fcr & FCR_ENABLE,
	      "the chip is set to 115200 8N1");
	out(UART_LCR, LCR_DLAB | 0x1a);
	out(UART_DLL, 12);
	out(UART_DLM, 3);
	CHECK(in(UART_LCR) == (LCR_DLAB | 0x1a) && in(UART_DLL) == 12 && in(UART_DLM) == 3,
	      "dom0 reads back its own line settings");
	CHECK(chip.dll == 1 && chip.dlm == 0 && chip.lcr == LCR_8N1,
	      "the chip keeps the hypervisor's");
	out(UART_LCR, LCR_8N1);
	out(UART_IER, IER_RX);
	CHECK(chip.ier == IER_RX && in(UART_IER) == IER_RX,
	      "the interrupt enables reach the chip once DLAB is off");
	out(UART_SCR, 0xa5);
	CHECK(in(UART_SCR) == 0xa5 && in(UART_MSR) == 0xb0,
	      "scratch and modem status are the chip's");
	chip.absent = true;
	CHECK(!uart_init(&u, PORT, 115200), "a port without a chip is not used");
}

static void test_output(void)
{
	reset();
	for (const char *s = "dom0 half"; *s; s++)
		out(UART_THR, (u8)*s);
	tell(&u, "(hv) x\n", 7);
	CHECK(!strcmp(chip.out, "dom0 half\r\n(hv) x\r\n"),
	      "a hypervisor line breaks a half line of dom0");
	CHECK(in(UART_LSR) == (LSR_THRE | LSR_TEMT) && !chip.tx_n,
	      "the transmitter is empty afterwards");
	for (u32 i = 0; i < 16; i++)
		out(UART_THR, 'a');
	CHECK(!chip.overruns, "so dom0 can fill the FIFO it believes empty");
	reset();
	out(UART_THR, 'a');
	out(UART_THR, '\n');
	tell(&u, "b\n", 2);
	CHECK(!strcmp(chip.out, "a\nb\r\n"), "nothing is broken when dom0's line is whole");
	reset();
	out(UART_MCR, MCR_LOOP | 0x0a);
	tell(&u, "c\n", 2);
	CHECK(!strcmp(chip.out, "c\r\n") && !chip.rx_n,
	      "a line goes out while dom0's driver probes in loopback");
	CHECK(chip.mcr == MCR_DTR_RTS && in(UART_MCR) == (MCR_LOOP | 0x0a),
	      "and loopback goes on, for dom0 alone");
}

static void test_fifo_probe(void)
{
	u32 n = 0;

	reset();
	out(UART_FCR, FCR_ENABLE | FCR_CLEAR_RX);
	out(UART_MCR, MCR_LOOP);
	for (u32 i = 0; i < 256; i++)
		out(UART_THR, (u8)i);
	while (in(UART_LSR)&LSR_DR && n < 256)
		if (in(UART_RBR) != n++)
			break;
	CHECK(n == 16, "a driver that measures the FIFO in loopback finds 16");
	CHECK(!u.line_open, "looped characters do not open a line");
}

static void test_input(void)
{
	char got[64];

	reset();
	out(UART_IER, IER_RX);
	type("hello", 5);
	CHECK(line(), "input raises the line");
	CHECK(interrupt(got) == 5 && !strcmp(got, "hello") && !line(),
	      "the handler reads it and the line falls");
	type("x", 1);
	uart_poll(&u, &keys);
	CHECK(!chip.rx_n && line(), "input taken in by the hypervisor still holds the line up");
	CHECK((in(UART_IIR)&0x0f) == IIR_RX && in(UART_IER) == IER_RX, "and looks like input");
	CHECK(interrupt(got) == 1 && got[0] == 'x' && !line() && chip.ier == IER_RX,
	      "until dom0 has it");
	out(UART_IER, 0);
	type("y", 1);
	CHECK(in(UART_LSR)&LSR_DR && !line() && in(UART_IIR)&IIR_NONE,
	      "without IER input is there but does not interrupt");
	out(UART_IER, IER_RX);
	CHECK(line() && interrupt(got) == 1 && got[0] == 'y', "it does as soon as dom0 enables it");
	type("z", 1);
	uart_poll(&u, &keys);
	out(UART_FCR, FCR_ENABLE | FCR_CLEAR_RX);
	CHECK(!(in(UART_LSR)&LSR_DR) && !line(), "clearing the receiver clears what is held, too");
	out(UART_IER, IER_RX | IER_THRE);
	type("w", 1);
	CHECK((in(UART_IIR)&0x0f) == IIR_RX && in(UART_RBR) == 'w' && (in(UART_IIR)&0x0f) == 0x02,
	      "a transmitter interrupt waits behind input and is not lost");
}

/* Who takes the input in, and so how often somebody else has to look for it. */
static void test_heard(void)
{
	reset();
	CHECK(!uart_is_heard(&u), "dom0 takes no input in before it wants interrupts");
	out(UART_IER, IER_THRE);
	CHECK(!uart_is_heard(&u), "for the transmitter does not count");
	out(UART_IER, IER_RX);
	CHECK(uart_is_heard(&u), "it does when it is interrupted for input");
	out(UART_MCR, MCR_LOOP);
	CHECK(!uart_is_heard(&u), "not in loopback, where it does not see the line");
	out(UART_MCR, MCR_DTR_RTS);
	type("\x01\x01\x01", 3);
	uart_poll(&u, &keys);
	CHECK(!uart_is_heard(&u), "nor while keys are the hypervisor's");
	type("\x01\x01\x01", 3);
	uart_poll(&u, &keys);
	CHECK(uart_is_heard(&u), "but when they are dom0's again");
}

static void test_overflow(void)
{
	bool in_order = true;
	u32 n = 0;

	reset();
	out(UART_IER, IER_RX);
	for (u32 k = 0; k < 8; k++) {
		for (u32 i = 0; i < 16 && chip.rx_n < 16; i++)
			chip.rx[chip.rx_n++] = (u8)(2 + k * 16 + i);
		uart_poll(&u, &keys);
	}
	CHECK(chip.rx_n == 16 && line(), "a full ring leaves the rest to the chip's FIFO");
	while (in(UART_LSR)&LSR_DR) {
		in_order = in_order && in(UART_RBR) == 2 + n;
		n++;
	}
	CHECK(in_order && n == UART_RX_RING + 16 && !line(), "all of it is read in order");
}

static void test_escape(void)
{
	char got[64];

	reset();
	out(UART_IER, IER_RX);
	type("a\x01\x01z", 4);
	CHECK(interrupt(got) == 4 && !memcmp(got, "a\x01\x01z", 4) && !keys.n,
	      "two Ctrl-A are dom0's");
	type("\x01\x01\x01q", 4);
	CHECK(interrupt(got) == 2 && keys.n == 2 && keys.key[0] == 'h' && keys.key[1] == 'q',
	      "three switch to the debug keys");
	CHECK(!line() && !(in(UART_LSR)&LSR_DR) && in(UART_IIR)&IIR_NONE,
	      "dom0 sees nothing of a key for the hypervisor");
	type("m", 1);
	CHECK(in(UART_RBR) == 0 && keys.key[2] == 'm', "even if it reads blindly");
	type("\x01\x01\x01x", 4);
	CHECK(interrupt(got) == 1 && got[0] == 'x' && keys.n == 4 && keys.key[3] == 0,
	      "three more switch back");
	for (u32 i = 0; i < 3; i++)
		type("\x01\x01\x01qqqqq", 8), uart_poll(&u, &keys);
	CHECK(keys.n <= sizeof(keys.key), "keys beyond the buffer are dropped");

	reset();
	u.no_keys = true;
	out(UART_IER, IER_RX);
	type("\x01\x01\x01P", 4);
	CHECK(interrupt(got) == 4 && !memcmp(got, "\x01\x01\x01P", 4) && !keys.n,
	      "without debug keys every key is dom0's");
}

static void test_dead(void)
{
	u32 before;

	reset();
	chip.tx_stuck = true;
	chip.tx_n = 1;
	tell(&u, "some line\n", 10);
	CHECK(u.tx_dead && chip.reads < 3000000 && !chip.out_n,
	      "a port that does not send is given up at the first character");
	before = chip.reads;
	for (u32 i = 0; i < 2; i++)
		tell(&u, "more lines\n", 11);
	CHECK(chip.reads == before && !chip.out_n, "and costs no time after that");
	reset();
	tell(&u, "abc\n", 4);
	chip.tx_stuck = true;
	chip.tx_n = 16;
	tell(&u, "def\n", 4);
	CHECK(u.tx_dead, "so is one that stops in the midst");
	out(UART_THR, 'd');
	CHECK(!(in(UART_LSR)&LSR_THRE), "dom0 sees the chip as it is");

	reset();
	chip.rx_stuck = true;
	uart_poll(&u, &keys);
	CHECK(!u.rx_dead && chip.reads < 1000, "a ring full of input is no fault");
	reset();
	type("\x01\x01\x01", 3);
	uart_poll(&u, &keys);
	chip.rx_stuck = true;
	chip.reads = 0;
	uart_poll(&u, &keys);
	CHECK(u.rx_dead && chip.reads < 10000 && keys.n == sizeof(keys.key),
	      "input without end for the debug keys ends");
	before = chip.reads;
	uart_poll(&u, &keys);
	CHECK(chip.reads == before, "and costs no time after that");
}

/* ---- sending without waiting ---- */

static void test_feed(void)
{
	static const char text[] = "(HV) A LINE OF MORE THAN A FIFO\n";
	u32 before, n = 0;

	reset();
	uart_put(&u, text, sizeof(text) - 1);
	before = chip.reads;
	CHECK(uart_feed(&u) && chip.tx_n == 16 && chip.reads == before + 1,
	      "so much is sent as the FIFO takes");
	CHECK(!uart_feed(&u) && chip.tx_n == 16 && chip.reads == before + 2,
	      "nothing while it is not empty, and nobody waits");
	out(UART_THR, 'd');
	CHECK(!chip.overruns && !(in(UART_LSR) & (LSR_THRE | LSR_TEMT)),
	      "dom0's character waits, which its driver sees");
	out(UART_FCR, FCR_ENABLE | FCR_CLEAR_TX);
	CHECK(!chip.cleared, "and cannot clear what is ours");
	while (uart_pending(&u))
		uart_feed(&u);
	CHECK(!strcmp(chip.out, "(HV) A LINE OF MORE THAN A FIFO\r\nd"),
	      "until the line is out, whatever the driver clears");
	while (!(in(UART_LSR)&LSR_THRE))
		;
	tell(&u, "X\n", 2);
	CHECK(!strcmp(chip.out + 33, "d\r\nX\r\n"), "the next one breaks dom0's");
	reset();
	chip.tx_stuck = true;
	chip.tx_n = 16;
	while (uart_room(&u) >= sizeof(text))
		uart_put(&u, text, sizeof(text) - 1);
	for (u32 i = 0; i < 2 * UART_KEPT; i++)
		n += (out(UART_THR, 'd'), !chip.overruns);
	CHECK(n == 2 * UART_KEPT && !chip.out_n && u.tx_head - u.tx_tail == UART_TX_RING,
	      "a full ring has some room for dom0, and no more");
	u.tx_dead = true;
	CHECK(!uart_feed(&u) && !uart_pending(&u), "a dead port forgets");
	reset();
	u.room = 1;
	uart_put(&u, "AB\n", 3);
	CHECK(uart_feed(&u) && chip.tx_n == 1, "without a FIFO there is room for one");
}

static void test_flush(void)
{
	reset();
	for (const char *s = "half"; *s; s++)
		out(UART_THR, (u8)*s);
	uart_put(&u, "LAST WORDS OF MORE THAN A FIFO\n", 31);
	out(UART_THR, 'd');
	uart_flush(&u);
	CHECK(!uart_pending(&u) && !chip.tx_n && !chip.overruns &&
		  !strcmp(chip.out, "half\r\nLAST WORDS OF MORE THAN A FIFO\r\nd"),
	      "at the end all is waited for, dom0's characters, too, in their order");
	chip.tx_stuck = true;
	uart_put(&u, "NEVER SEEN, OF MORE THAN A FIFO, TOO\n", 37);
	uart_feed(&u);
	chip.reads = 0;
	uart_flush(&u);
	CHECK(u.tx_dead && chip.reads < 3000000, "not for ever, though");
}

/* Fifos are dom0's to switch, as it sees them. */
static void test_fcr(void)
{
	reset();
	CHECK(!(in(UART_IIR)&IIR_FIFOS) && chip.fcr & FCR_ENABLE, "dom0 begins without FIFOs");
	out(UART_FCR, FCR_ENABLE | 0x80);
	CHECK((in(UART_IIR)&IIR_FIFOS) == IIR_FIFOS && chip.fcr == (FCR_ENABLE | 0x80 | 6),
	      "has them when it wants them, and its trigger level");
	type("x", 1);
	uart_poll(&u, &keys);
	out(UART_FCR, 0);
	CHECK(!(in(UART_IIR)&IIR_FIFOS) && chip.fcr & FCR_ENABLE && !(in(UART_LSR)&LSR_DR),
	      "and loses what is in them when it switches them off; the chip's stay on");
}

/* Whoever looks whether there is room must not lose that a character came with an error. */
static void test_errors(void)
{
	reset();
	chip.rx_err = 0x10; /* a break */
	type("", 1);
	uart_put(&u, "X\n", 2);
	uart_feed(&u);
	CHECK(!chip.rx_err && in(UART_LSR) == (LSR_DR | 0x10), "a break is seen after a look");
	in(UART_RBR);
	type("a", 1);
	CHECK(!(in(UART_LSR)&LSR_ERRORS) && in(UART_RBR) == 'a', "and the next character has none");
}

/* A random number below n. */
static u32 rnd(u32 n)
{
	static u64 x = 7;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (x >> 11) % n;
}

#define HV_LINE "(HV) ABCDEFGHIJKLMNOP\n"

static struct {
	u32 lines; /* of HV_LINE */
	u32 dom0;  /* sent by its driver; character n is 'a' + n % 26 */
} talk;

/* What other CPUs do at any time. */
static void others(void)
{
	if (!rnd(500)) {
		uart_put(&u, HV_LINE, sizeof(HV_LINE) - 1);
		talk.lines++;
	}
	if (!rnd(3))
		uart_feed(&u);
}

/* A driver of dom0's has found the transmitter empty and fills it. */
static void fill(void)
{
	for (u32 n = 1 + rnd(16); n; n--) {
		out(UART_THR, 'a' + talk.dom0++ % 26);
		if (!rnd(4))
			others();
	}
}

static u32 count_of(const char *what)
{
	u32 n = 0;

	for (const char *s = chip.out; (s = strstr(s, what)); s++)
		n++;
	return n;
}

/* dom0's characters come all and in order, whole lines of ours between them. */
static void check_talk(const char *how)
{
	u32 next = 0;
	bool order = true;

	while (uart_pending(&u))
		uart_feed(&u);
	for (const char *s = chip.out; *s; s++)
		if (*s >= 'a' && *s <= 'z')
			order &= *s == (char)('a' + next++ % 26);
	CHECK(order && next == talk.dom0 && talk.dom0 > 1000 && !chip.overruns,
	      "%s: all %u characters of dom0 are sent, in their order", how, talk.dom0);
	CHECK(talk.lines > 100 && count_of("(HV) ABCDEFGHIJKLMNOP\r\n") == talk.lines,
	      "%s: and %u whole lines of ours", how, talk.lines);
}

static void test_talk(void)
{
	reset();
	out(UART_FCR, FCR_ENABLE);
	memset(&talk, 0, sizeof(talk));
	while (talk.lines < 150 || talk.dom0 < 2000) {
		others();
		if (!rnd(5) && in(UART_LSR)&LSR_THRE) {
			if (!rnd(2))
				others();
			fill();
		}
	}
	check_talk("a driver that polls");

	reset();
	out(UART_FCR, FCR_ENABLE);
	out(UART_IER, IER_RX | IER_THRE);
	memset(&talk, 0, sizeof(talk));
	while (talk.lines < 150 || talk.dom0 < 2000) {
		others();
		if (line() && (in(UART_IIR)&0x0f) == 0x02 && in(UART_LSR)&LSR_THRE)
			fill();
		inb(PORT + UART_LSR); /* time goes by */
	}
	check_talk("one that waits for interrupts");
}

static void loop(const char *s, u32 n)
{
	out(UART_MCR, MCR_LOOP);
	while (n--)
		out(UART_THR, (u8)*s++);
}

static void poll(void)
{
	uart_poll(&u, &keys);
}

static void test_loopback(void)
{
	u32 n = 0;
	char got[64];

	reset();
	for (u32 mcr = 0; mcr < 16; mcr++) {
		out(UART_MCR, MCR_LOOP | mcr);
		n += in(UART_MSR) == ((mcr & 2 ? 0x10 : 0) | (mcr & 1 ? 0x20 : 0) |
				      (mcr & 4 ? 0x40 : 0) | (mcr & 8 ? 0x80 : 0));
	}
	CHECK(n == 16, "the modem's inputs are the outputs in loopback");
	loop("12", 2);
	CHECK(in(UART_RBR) == '1' && !(in(UART_LSR)&LSR_DR),
	      "without a FIFO there is room for one character");
	out(UART_FCR, FCR_ENABLE);
	out(UART_IER, IER_RX | IER_THRE);
	CHECK((in(UART_IIR)&0x0f) == 0x02 && !line(),
	      "a driver is told that it may send in loopback");
	loop("abc", 3);
	CHECK(line() && (in(UART_IIR)&0x0f) == IIR_RX && in(UART_RBR) == 'a' &&
		  in(UART_RBR) == 'b' && in(UART_RBR) == 'c',
	      "it receives what it sends");
	CHECK(line() && (in(UART_IIR)&0x0f) == 0x02, "and is told that it may send on");
	out(UART_IER, IER_RX);
	type("x", 1);
	CHECK(interrupt(got) == 0 && !chip.rx_n, "it receives nothing from the line");
	out(UART_MCR, MCR_DTR_RTS);
	type("y", 1);
	CHECK(interrupt(got) == 1 && got[0] == 'y' && in(UART_MSR) == 0xb0,
	      "but does so afterwards");
}

/*
 * Whoever may open dom0's serial port can loop back what he likes: it is dom0's input and nobody's
 * key.
 */
static void test_escape_in_loopback(void)
{
	char got[64];

	reset();
	out(UART_FCR, FCR_ENABLE);
	out(UART_IER, IER_RX);
	loop("\x01\x01\x01P", 4);
	poll();
	CHECK(interrupt(got) == 4 && !memcmp(got, "\x01\x01\x01P", 4) && !keys.n,
	      "an escape in loopback is dom0's");
	loop("\x01\x01\x01P", 4);
	out(UART_MCR, 0);
	poll();
	CHECK(interrupt(got) == 4 && !keys.n, "even if loopback ends before it is read");
	loop("\x01\x01", 2);
	out(UART_MCR, 0);
	type("\x01q", 2);
	CHECK(interrupt(got) == 4 && !keys.n, "what is typed afterwards does not complete it");
	out(UART_MCR, MCR_LOOP);
	type("\x01\x01\x01", 3);
	poll();
	CHECK(keys.n == 1 && keys.key[0] == 'h', "one typed meanwhile is the hypervisor's");
	loop("P", 1);
	CHECK(interrupt(got) == 1 && got[0] == 'P' && keys.n == 1,
	      "keys are not taken from loopback then, either");
	type("m\x01\x01\x01", 4);
	poll();
	CHECK(keys.n == 3 && keys.key[1] == 'm' && !keys.key[2], "but from the line they are");
}

static void test_sleep(void)
{
	reset();
	out(UART_IER, IER_RX);
	out(UART_MCR, MCR_DTR_RTS | MCR_OUT2);
	out(UART_LCR, LCR_DLAB);
	out(UART_DLL, 12); /* which dom0 believes only */
	out(UART_LCR, LCR_8N1);
	memset(&chip, 0, sizeof(chip));
	uart_wake(&u);
	CHECK(chip.dll == 1 && !chip.dlm && chip.lcr == LCR_8N1 && chip.fcr & FCR_ENABLE,
	      "after a sleep the chip has its speed, its format and its FIFOs again");
	CHECK(chip.ier == IER_RX && chip.mcr == (MCR_DTR_RTS | MCR_OUT2),
	      "and the interrupts and the lines that dom0 has set");
	type("a", 1);
	CHECK(in(UART_RBR) == 'a', "and characters come");
}

int main(void)
{
	test_sleep();
	test_settings();
	test_output();
	test_fifo_probe();
	test_input();
	test_heard();
	test_overflow();
	test_escape();
	test_dead();
	test_feed();
	test_flush();
	test_fcr();
	test_errors();
	test_talk();
	test_loopback();
	test_escape_in_loopback();
	CHECK(PANICS(in(UART_PORTS)) && PANICS(out(UART_PORTS, 0)),
	      "a register beyond the chip is our own bug");
	return test_end();
}
