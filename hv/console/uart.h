/* SPDX-License-Identifier: GPL-2.0-only */
/* 16550 UARTs as the hypervisor and dom0 share them (hv/console/uart.c). */
#pragma once

#include "hv/lib/types.h"

/* PC16550D datasheet, "Registers" */
#define UART_RBR   0 /* read */
#define UART_THR   0 /* write */
#define UART_DLL   0 /* with LCR_DLAB */
#define UART_IER   1
#define UART_DLM   1 /* with LCR_DLAB */
#define UART_IIR   2 /* read */
#define UART_FCR   2 /* write */
#define UART_LCR   3
#define UART_MCR   4
#define UART_LSR   5
#define UART_MSR   6
#define UART_SCR   7
#define UART_PORTS 8

#define IER_RX	     BIT(0)
#define IER_THRE     BIT(1)
#define IIR_RX	     0x04
#define IIR_FIFOS    0xc0
#define FCR_ENABLE   BIT(0)
#define FCR_CLEAR_RX BIT(1)
#define FCR_CLEAR_TX BIT(2)
#define FCR_TRIGGER  0xc0
#define LCR_8N1	     0x03
#define LCR_DLAB     BIT(7)
#define MCR_DTR	     BIT(0)
#define MCR_RTS	     BIT(1)
#define MCR_DTR_RTS  0x03
#define MCR_OUT1     BIT(2)
#define MCR_OUT2     BIT(3)
#define MCR_LOOP     BIT(4)
#define LSR_DR	     BIT(0)
/* of the character to be read next, and overrun */
#define LSR_ERRORS (BIT(1) | BIT(2) | BIT(3) | BIT(4))
#define LSR_THRE   BIT(5)
#define LSR_TEMT   BIT(6)
#define MSR_CTS	   BIT(4)
#define MSR_DSR	   BIT(5)
#define MSR_RI	   BIT(6)
#define MSR_DCD	   BIT(7)

#define UART_FIFO    16
#define UART_RX_RING 64 /* power of two */
#define UART_TX_RING BIT(16)

/* Guarded by the console's lock but for the first two, which are set once. */
struct uart {
	u16 port, clock; /* its divisor */
	bool line_open;	 /* dom0's last character did not end a line */

	/* What is still to be sent, of the hypervisor and of dom0, in the order in which it came.
	 */
	char tx[UART_TX_RING];
	u64 tx_head, tx_tail;
	/* The console's: bytes there was no room for; the tail when it looked last. Something was
	 * sent, or came into the empty ring, at this TSC, and it has looked so often since.
	 */
	u32 lost, looks;
	u64 tail_seen, progress;
	u8 room;   /* characters that an empty transmitter takes */
	bool ours; /* characters out of the ring may still be in the transmitter */

	/* dom0's view */
	u8 lcr, mcr, ier, fcr, divisor[2];
	u8 hw_ier; /* as last written */

	/* Input taken from the chip, waiting for dom0. Errors go with the character. */
	u8 rx[UART_RX_RING], rx_err[UART_RX_RING];
	u32 rx_head, rx_tail;
	u8 err; /* of the character to come next: reading the chip's LSR has cleared them there */
	bool no_keys; /* every key is dom0's */
	bool to_hv;   /* Ctrl-A three times: keys are the hypervisor's */
	bool tx_dead; /* does not send: nothing is written or waited for any more */
	bool rx_dead; /* always has a character: input is left alone */
	bool told;    /* the console has said so */
	u8 escapes;   /* Ctrl-A in a row so far */
};

/* Set up the chip: 8 bits, no parity, FIFOs, no interrupts. False if there is none. */
bool uart_init(struct uart *u, u16 port, u32 baud);
/* After a sleep: as it was, without what was under way. */
void uart_wake(struct uart *u);
/*
 * The chip is waited for, but not for ever: one that does not send, or whose input never ends, is
 * dead from then on (tx_dead, rx_dead), and costs no more time.
 */
/*
 * A hypervisor's text goes into the ring, breaking a line of dom0's: it has to fit, see
 * uart_room(). A port that is dead takes it and forgets it.
 */
void uart_put(struct uart *u, const char *s, u32 len);
/* The characters of a line that uart_put() has room for, with UART_KEPT left for dom0. */
u32 uart_room(const struct uart *u);
#define UART_KEPT 1024u
/* Is there something to be sent? */
bool uart_pending(const struct uart *u);
/* Send what the transmitter takes now, without waiting. False: nothing was sent. */
bool uart_feed(struct uart *u);
/* Send all that there is, and wait until it is on the line. */
void uart_flush(struct uart *u);

/*
 * Keys for the hypervisor; what there is no room for is lost. 'h' stands for the escape that turned
 * input over to the hypervisor.
 */
struct uart_keys {
	u32 n;
	char key[8];
};
#define UART_KEY_LEAVE 0 /* in key[]: input goes to dom0 again */
/*
 * dom0's register accesses and the input path; pure but for the chip. Keys are appended to those
 * there are. What dom0 loops back is never one.
 */
u8 uart_dom0_in(struct uart *u, u8 reg, struct uart_keys *keys);
void uart_dom0_out(struct uart *u, u8 reg, u8 val);
/* Take in what the chip has received. */
void uart_poll(struct uart *u, struct uart_keys *keys);
/* dom0 is interrupted for what is received, and so takes it in: uart_poll() need not be often. */
bool uart_is_heard(const struct uart *u);
