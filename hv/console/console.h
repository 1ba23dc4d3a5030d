/* SPDX-License-Identifier: GPL-2.0-only */
/* Consoles (16550 serial, EGA text or framebuffer), the log ring, and dom0's virtual 16550. */
#pragma once

#include "hv/lib/log.h"

void console_early_init(void); /* serial COM1 with defaults, before options are known */
/* by boot_info.opt; what has been logged so far appears now, on serial */
void console_init(void);
/* After mm_init(): the screen too, if the options want it. */
void console_start_screen(void);
/*
 * On the boot CPU, when timers run: look for input now and then, whatever dom0 does. From here on
 * nobody waits for a serial port: what it does not take at once is sent by and by.
 */
void console_start_polling(void);
/* In each CPU's loop, no lock held: see to it that what is left is sent. */
void console_work(void);
/* The machine is about to end by dom0's doing: wait until all is sent. */
void console_flush(void);
/* After a sleep: the serial ports are as they were. */
void console_wake(void);
/* From here on the screen is dom0's; panic() and boot_fail() still write there. */
void console_leave_screen(void);
/*
 * This is the only running CPU, and the machine ends: the console's lock is no longer waited for,
 * and all is sent before anybody goes on.
 */
void console_alone(void);
/* The same for a panic: what has not been shown yet is. */
void console_panic(void);
/* For log_set_hooks(). */
void console_line(enum log_level level, const char *fmt, va_list ap);
/* What is done with a key typed after three Ctrl-A: on this CPU, interrupts off, no lock held. */
void console_set_keys(void (*fn)(char key));
/* A last line, "corbel: " and the text: on all consoles, without time, and into the log. */
void console_plain(const char *text);
/*
 * Text of the log ring from byte seq on; returns bytes, *seq_out = position of the first byte
 * given.
 */
u32 log_read(u64 seq, char *buf, u32 len, u64 *seq_out);

/* Does the hypervisor own this port (its UART)? Then dom0's access goes to the virtual 16550. */
bool vuart_owns(u16 port);
u8 vuart_in(u16 port);
void vuart_out(u16 port, u8 val);
