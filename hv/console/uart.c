/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One 16550, two users. The hypervisor owns line settings and takes in the input; dom0 sees the
 * chip through its accesses, with settings of its own that change nothing. The chip's interrupt
 * line goes to dom0 directly.
 *
 * Loopback is such a setting, too, and never the chip's: so what dom0, or a user there, sends
 * himself cannot pass for input from outside, which may be keys for the hypervisor. The FIFOs are
 * on, whatever dom0 says, and what it clears is its own.
 *
 * The hypervisor's text is sent from a ring, when the chip has room. While there is something in it
 * dom0's driver sees a transmitter that is not empty. What it sends all the same, since it has
 * looked before, goes into the ring, too, behind what is there.
 */
#include "hv/console/uart.h"
#include "hv/lib/io.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define UART_CLOCK 115200u
/* reads, seconds of them: a dead transmitter must not hold the machine */
#define SPIN_MAX 2000000u
/* characters at a time: more than any FIFO holds or a line brings meanwhile */
#define RX_MAX	    1024u
#define ESCAPE_CHAR 0x01 /* Ctrl-A */
#define ESCAPES	    3

/* dom0's receiver is then cut off from the line. */
static bool is_looped(const struct uart *u)
{
	return u->mcr & MCR_LOOP;
}

static void set_up_chip(const struct uart *u)
{
	u16 port = u->port;

	outb(port + UART_IER, 0);
	outb(port + UART_LCR, LCR_DLAB);
	outb(port + UART_DLL, u->clock);
	outb(port + UART_DLM, u->clock >> 8);
	outb(port + UART_LCR, LCR_8N1);
	outb(port + UART_FCR, FCR_ENABLE | FCR_CLEAR_RX | FCR_CLEAR_TX);
	outb(port + UART_MCR, MCR_DTR_RTS);
}

void uart_wake(struct uart *u)
{
	set_up_chip(u);
	u->ours = false;
	if (!is_looped(u))
		outb(u->port + UART_MCR, u->mcr);
	outb(u->port + UART_IER, u->hw_ier);
}

bool uart_init(struct uart *u, u16 port, u32 baud)
{
	u32 div = UART_CLOCK / baud;

	BUG_ON(!div || div > UINT16_MAX); /* options_parse() allows 50 to 115200 */
	outb(port + UART_SCR, 0x5a);
	if (inb(port + UART_SCR) != 0x5a || inb(port + UART_LSR) == 0xff)
		return false;
	memset(u, 0, sizeof(*u));
	u->port = port;
	u->lcr = LCR_8N1;
	u->mcr = MCR_DTR_RTS;
	u->clock = div;
	u->divisor[UART_DLL] = div;
	u->divisor[UART_DLM] = div >> 8;
	set_up_chip(u);
	u->room = (inb(port + UART_IIR) & IIR_FIFOS) == IIR_FIFOS ? UART_FIFO : 1;
	return true;
}

/* The chip forgets a character's errors when they are read. */
static u8 chip_lsr(struct uart *u)
{
	u8 lsr = inb(u->port + UART_LSR);

	u->err |= lsr & LSR_ERRORS;
	return lsr;
}

/* ---- output ---- */

static void wait_lsr(struct uart *u, u8 bit)
{
	u32 spins = 0;

	while (!u->tx_dead && !(chip_lsr(u) & bit)) {
		u->tx_dead = ++spins == SPIN_MAX;
		cpu_relax();
	}
}

bool uart_pending(const struct uart *u)
{
	return u->tx_head != u->tx_tail;
}

static u32 tx_free(const struct uart *u)
{
	return UART_TX_RING - (u32)(u->tx_head - u->tx_tail);
}

u32 uart_room(const struct uart *u)
{
	u32 n = tx_free(u), besides = UART_KEPT + 3; /* CR and LF for dom0's line, CR for ours */

	return n > besides ? n - besides : 0;
}

/* The head moves last: a panic may find this half done on another CPU. */
static void tx_put(struct uart *u, char c)
{
	BUG_ON(!tx_free(u));
	u->tx[u->tx_head % UART_TX_RING] = c;
	u->tx_head++;
}

void uart_put(struct uart *u, const char *s, u32 len)
{
	if (u->tx_dead)
		return;
	if (u->line_open) {
		tx_put(u, '\r');
		tx_put(u, '\n');
		u->line_open = false;
	}
	for (u32 i = 0; i < len; i++) {
		if (s[i] == '\n')
			tx_put(u, '\r');
		tx_put(u, s[i]);
	}
}

/* Into an empty transmitter; the tail moves last: rather twice than never. */
static void send_some(struct uart *u)
{
	for (u32 n = u->room; n && uart_pending(u); n--) {
		u->ours = true;
		outb(u->port + UART_THR, u->tx[u->tx_tail % UART_TX_RING]);
		u->tx_tail++;
	}
}

bool uart_feed(struct uart *u)
{
	if (u->tx_dead)
		u->tx_tail = u->tx_head;
	if (!uart_pending(u) || !(chip_lsr(u) & LSR_THRE))
		return false;
	send_some(u);
	return true;
}

void uart_flush(struct uart *u)
{
	while (uart_pending(u) && !u->tx_dead) {
		wait_lsr(u, LSR_THRE);
		if (!u->tx_dead)
			send_some(u);
	}
	wait_lsr(u, LSR_TEMT);
}

/* dom0 may believe in an empty transmitter that has been filled from the ring since. */
static void take_dom0_char(struct uart *u, u8 c)
{
	if (u->ours && !uart_pending(u))
		u->ours = !(chip_lsr(u) & LSR_THRE);
	u->line_open = c != '\n';
	if (u->tx_dead || !(u->ours || uart_pending(u)))
		outb(u->port + UART_THR, c);
	else if (tx_free(u)) /* else it is lost, as in a chip that is full */
		tx_put(u, c);
}

/* ---- input ---- */

static u32 rx_count(const struct uart *u)
{
	return u->rx_head - u->rx_tail;
}

static void rx_put(struct uart *u, u8 c, u8 err)
{
	BUG_ON(rx_count(u) >= UART_RX_RING);
	u->rx[u->rx_head % UART_RX_RING] = c;
	u->rx_err[u->rx_head % UART_RX_RING] = err;
	u->rx_head++;
}

/*
 * Three Ctrl-A in a row turn input over to the hypervisor and back. Two of them have reached dom0
 * when the third comes: so that a terminal program there that uses Ctrl-A goes on working, nothing
 * is held back.
 */
static void add_key(struct uart_keys *keys, char key)
{
	if (keys->n < ARRAY_SIZE(keys->key))
		keys->key[keys->n++] = key;
}

static void take_char(struct uart *u, u8 c, u8 err, struct uart_keys *keys)
{
	if (c == ESCAPE_CHAR && !u->no_keys)
		u->escapes++;
	else
		u->escapes = 0;
	if (u->escapes == ESCAPES) {
		u->escapes = 0;
		u->to_hv = !u->to_hv;
		if (u->to_hv)
			add_key(keys, 'h');
		else
			add_key(keys, UART_KEY_LEAVE);
	} else if (!u->to_hv) {
		if (!is_looped(u))
			rx_put(u, c, err);
	} else if (c != ESCAPE_CHAR) {
		add_key(keys, c);
	}
}

/*
 * Input held here is invisible to the chip, so its line would stay low: while dom0 has characters
 * to fetch and wants to be interrupted for them, the transmitter's interrupt keeps the line up in
 * place of the receiver's.
 */
static void sync_ier(struct uart *u)
{
	u8 want = u->ier;

	if (rx_count(u) && u->ier & IER_RX)
		want |= IER_THRE;
	if (want != u->hw_ier)
		outb(u->port + UART_IER, want);
	u->hw_ier = want;
}

void uart_poll(struct uart *u, struct uart_keys *keys)
{
	u32 taken = 0;
	u8 lsr;

	while (!u->rx_dead && rx_count(u) < UART_RX_RING) {
		lsr = chip_lsr(u);
		if (!(lsr & LSR_DR) || lsr == 0xff)
			break;
		take_char(u, inb(u->port + UART_RBR), u->err, keys);
		u->err = 0;
		u->rx_dead = ++taken == RX_MAX;
	}
	sync_ier(u);
}

bool uart_is_heard(const struct uart *u)
{
	return u->rx_dead || (!u->to_hv && u->ier & IER_RX && !is_looped(u));
}

/* ---- dom0's accesses ---- */

static u8 read_rbr(struct uart *u)
{
	u8 c = 0;

	if (rx_count(u))
		c = u->rx[u->rx_tail++ % UART_RX_RING];
	sync_ier(u); /* writes only what has changed */
	return c;
}

static u8 read_lsr(struct uart *u)
{
	u8 *err = &u->rx_err[u->rx_tail % UART_RX_RING];
	u8 lsr;

	uart_feed(u); /* the driver waits for that */
	lsr = chip_lsr(u) & ~(LSR_DR | LSR_ERRORS);
	if (uart_pending(u))
		lsr &= ~(LSR_THRE | LSR_TEMT);
	if (rx_count(u)) {
		lsr |= LSR_DR | *err;
		*err = 0; /* reading clears errors */
	}
	return lsr;
}

/*
 * Reading the chip's IIR takes back a transmitter interrupt: only when nothing of higher rank is
 * there to be told.
 */
static u8 read_iir(struct uart *u)
{
	u8 fifos = u->fcr & FCR_ENABLE ? IIR_FIFOS : 0;

	if (rx_count(u) && u->ier & IER_RX)
		return IIR_RX | fifos;
	return inb(u->port + UART_IIR) & (fifos | ~IIR_FIFOS);
}

/*
 * In loopback the modem's lines are the outputs: CTS is RTS, DSR is DTR, RI is OUT1, DCD is OUT2.
 */
static u8 read_msr(const struct uart *u)
{
	static const struct {
		u8 out, in;
	} lines[] = {
	    {MCR_RTS, MSR_CTS}, {MCR_DTR, MSR_DSR}, {MCR_OUT1, MSR_RI}, {MCR_OUT2, MSR_DCD}};
	u8 msr = 0;

	if (!is_looped(u))
		return inb(u->port + UART_MSR);
	for (u32 i = 0; i < ARRAY_SIZE(lines); i++)
		if (u->mcr & lines[i].out)
			msr |= lines[i].in;
	return msr;
}

/* Switching the FIFOs on or off clears them; what is the hypervisor's in them stays. */
static void write_fcr(struct uart *u, u8 val)
{
	u8 clear = val & (FCR_CLEAR_RX | FCR_CLEAR_TX);

	if ((val ^ u->fcr) & FCR_ENABLE)
		clear = FCR_CLEAR_RX | FCR_CLEAR_TX;
	u->fcr = val;
	if (clear & FCR_CLEAR_RX)
		u->rx_tail = u->rx_head;
	if (u->ours || uart_pending(u))
		clear &= ~FCR_CLEAR_TX;
	outb(u->port + UART_FCR, (val & FCR_ENABLE ? val & FCR_TRIGGER : 0) | FCR_ENABLE | clear);
	sync_ier(u);
}

/*
 * A character is sent and received at once: the transmitter is empty again, which the chip does not
 * know.
 */
static void loop_back(struct uart *u, u8 c)
{
	u32 room = u->fcr & FCR_ENABLE ? UART_FIFO : 1;

	if (rx_count(u) < room)
		rx_put(u, c, 0);
	if (u->hw_ier & IER_THRE) {
		u->hw_ier &= ~IER_THRE; /* setting it again re-arms its interrupt */
		outb(u->port + UART_IER, u->hw_ier);
	}
	sync_ier(u);
}

/* The divisor's byte that stands in place of this register, or NULL. */
static u8 *dom0_divisor(struct uart *u, u8 reg)
{
	if (u->lcr & LCR_DLAB && reg <= UART_DLM)
		return &u->divisor[reg];
	return NULL;
}

u8 uart_dom0_in(struct uart *u, u8 reg, struct uart_keys *keys)
{
	const u8 *divisor = dom0_divisor(u, reg);

	BUG_ON(reg >= UART_PORTS);
	if (divisor)
		return *divisor;
	switch (reg) {
	case UART_LCR:
		return u->lcr;
	case UART_IER:
		return u->ier;
	case UART_MCR:
		return u->mcr;
	case UART_RBR:
		uart_poll(u, keys);
		return read_rbr(u);
	case UART_IIR:
		uart_poll(u, keys);
		return read_iir(u);
	case UART_LSR:
		uart_poll(u, keys);
		return read_lsr(u);
	case UART_MSR:
		return read_msr(u);
	default:
		return inb(u->port + reg);
	}
}

void uart_dom0_out(struct uart *u, u8 reg, u8 val)
{
	u8 *divisor = dom0_divisor(u, reg);

	BUG_ON(reg >= UART_PORTS);
	if (divisor) {
		*divisor = val;
		return;
	}
	switch (reg) {
	case UART_LCR:
		u->lcr = val;
		return;
	case UART_IER:
		u->ier = val & 0x0f;
		/* write in any case: setting a bit again re-arms its interrupt */
		u->hw_ier = ~u->ier;
		sync_ier(u);
		return;
	case UART_FCR:
		write_fcr(u, val);
		return;
	case UART_THR:
		if (is_looped(u)) {
			loop_back(u, val);
			return;
		}
		take_dom0_char(u, val);
		return;
	case UART_MCR:
		u->mcr = val;
		if (is_looped(u))
			val = MCR_DTR_RTS;
		outb(u->port + UART_MCR, val);
		return;
	default:
		outb(u->port + reg, val);
	}
}
