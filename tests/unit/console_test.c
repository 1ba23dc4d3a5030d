/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/console/console.c hv/console/uart.c hv/lib/printf.c hv/lib/lock.c */
/* A serial port that dies is told of where it can still be read. */
#include <string.h>

#include "boot/boot.h"
#include "hv/console/console.h"
#include "hv/lib/io.h"
#include "hv/lib/log.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/console/screen.h"
#include "hv/console/uart.h"
#include "test.h"

#define COM1 0x3f8
#define COM2 0x2f8

struct boot_info boot_info;
u64 tsc_khz = 1000000, boot_tsc = 1;
static char screen[4096], com2[4096];
static u32 screen_n, com2_n, com1_reads;
static bool com1_stuck;
static u8 scratch;

u8 inb(u16 port)
{
	com1_reads += port >= COM1;
	if (port % 8 == UART_SCR)
		return scratch;
	if (port % 8 == UART_LSR)
		return port >= COM1 && com1_stuck ? 0 : LSR_THRE | LSR_TEMT;
	return 0;
}

void outb(u16 port, u8 val)
{
	if (port % 8 == UART_SCR)
		scratch = val;
	if (port == COM2 + UART_THR && com2_n < sizeof(com2) - 1)
		com2[com2_n++] = (char)val;
}

bool screen_init(bool early)
{
	return true;
}

void screen_write(const char *s, u32 len)
{
	memcpy(screen + screen_n, s, MIN(len, sizeof(screen) - 1 - screen_n));
	screen_n += MIN(len, sizeof(screen) - 1 - screen_n);
}

void timer_setup(struct timer *t, void (*fn)(struct timer *))
{
}

void timer_arm(struct timer *t, u64 deadline)
{
}

u64 tsc_to_ns(u64 ticks)
{
	return ticks;
}

u64 ns_to_tsc(u64 ns)
{
	return ns;
}

static u32 count(const char *text, const char *word)
{
	u32 n = 0;

	while ((text = strstr(text, word))) {
		text++;
		n++;
	}
	return n;
}

/* What log_info() does in the hypervisor */
static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	console_line(LOG_INFO, fmt, ap);
	va_end(ap);
}

int main(void)
{
	static char log[8192];
	const char *dead = "serial port at 3f8 does not send";
	u32 before;
	u64 seq;

	boot_info.opt.loglvl = LOG_INFO;
	boot_info.opt.console.count = 3;
	boot_info.opt.console.at[0].baud = boot_info.opt.console.at[1].baud = 115200;
	boot_info.opt.console.at[0].port = COM1;
	boot_info.opt.console.at[1].port = COM2;
	console_init();
	console_start_screen();
	say("first line");
	CHECK(count(com2, "first line") == 1 && count(screen, "first line") == 1,
	      "lines are on all consoles");
	com1_stuck = true;
	say("second line");
	CHECK(count(com2, "second line") == 1 && count(screen, "second line") == 1,
	      "a dead port keeps no line from the others");
	say("third line");
	CHECK(count(com2, dead) == 1 && count(screen, dead) == 1, "they tell of it, once");
	log_read(0, log, sizeof(log) - 1, &seq);
	CHECK(count(log, dead) == 1 && count(log, "third line") == 1, "so does the log");
	before = com1_reads;
	for (u32 i = 0; i < 2; i++)
		say("more");
	CHECK(com1_reads == before, "and nothing waits for the port any more");
	return test_end();
}
