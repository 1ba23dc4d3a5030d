/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/console/console.c hv/console/uart.c hv/lib/printf.c hv/lib/lock.c */
/*
 * A serial port that dies is told of where it can still be read; nobody waits for one that is slow.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "boot/boot.h"
#include "hv/console/console.h"
#include "hv/lib/io.h"
#include "hv/lib/log.h"
#include "hv/lib/percpu.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/console/screen.h"
#include "hv/console/uart.h"
#include "test.h"

#define COM1 0x3f8
#define COM2 0x2f8

struct boot_info boot_info;
u64 tsc_khz = 1000000, boot_tsc = 1;
static char screen[BIT(18)], com2[BIT(18)];
static u32 screen_n, com2_n, com1_reads, com2_reads;
static bool com2_busy;
static struct timer *poller, *drainer;
static u64 now, drain_at;
static bool com1_stuck;
static u8 scratch;

u8 inb(u16 port)
{
	com1_reads += port >= COM1;
	com2_reads += port < COM1;
	if (port % 8 == UART_SCR)
		return scratch;
	if (port % 8 == UART_LSR)
		return (port >= COM1 ? com1_stuck : com2_busy) ? 0 : LSR_THRE | LSR_TEMT;
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
	t->fn = fn;
	if (poller)
		drainer = t;
	else
		poller = t;
}

void timer_arm(struct timer *t, u64 deadline)
{
	if (t == drainer)
		drain_at = deadline;
}

u64 rdtsc(void)
{
	return now += 1000;
}

/* What the CPU that has logged does in its loop, for so long. */
static void run_for(u64 ns)
{
	u64 end = now + ns;

	console_work();
	while (drainer && drain_at && drain_at < end) {
		now = MAX(now, drain_at);
		drain_at = 0;
		drainer->fn(drainer);
	}
	now = MAX(now, end);
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
static void say_at(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	console_line(level, fmt, ap);
	va_end(ap);
}

#define say(...) say_at(LOG_INFO, __VA_ARGS__)

#define MS 1000000ull

static void test_slow(void)
{
	u32 before, had;

	console_start_polling();
	com2_busy = true;
	had = com2_n;
	before = com2_reads;
	this_cpu()->resched = false;
	say("slow line");
	CHECK(com2_n == had && com2_reads == before + 1,
	      "a port that is busy is asked once, and not waited for");
	CHECK(this_cpu()->resched, "and its CPU does not forget it");
	run_for(10 * MS);
	CHECK(com2_n == had && com2_reads >= before + 9 && drain_at - now < 2 * MS,
	      "it is asked again each millisecond");
	com2_busy = false;
	run_for(10 * MS);
	CHECK(count(com2, "slow line\r\n") == 1 && !drain_at, "the line is sent when it can be");
	say("quick line");
	CHECK(count(com2, "quick line\r\n") == 1, "at once where the port takes it");
}

static void test_flood(void)
{
	u32 before = com2_reads;

	com2_busy = true;
	for (u32 i = 0; i < 2000; i++)
		say("line %u of a flood that is more than can be kept", i);
	CHECK(com2_reads < before + 2200, "a flood does not wait, either");
	boot_info.opt.loglvl = LOG_ERR;
	say_at(LOG_ERR, "an error in the flood");
	boot_info.opt.loglvl = LOG_INFO;
	com2_busy = false;
	run_for(2000 * MS);
	CHECK(count(com2, "line 0 of") == 1 && !count(com2, "line 1999 of") &&
		  count(com2, "bytes were too much for this line: they are in the log\r\n") == 1,
	      "its beginning is sent, and how much is left out");
	CHECK(count(com2, "an error in the flood\r\n") == 1, "errors have room of their own");
	CHECK(!drain_at, "then there is rest");
}

static void test_end_of_machine(void)
{
	com2_busy = true;
	say("before the reset");
	com2_busy = false;
	console_flush();
	CHECK(count(com2, "before the reset\r\n") == 1, "before a reset all is sent");
	com2_busy = true;
	say("before the panic");
	com2_busy = false;
	console_panic();
	say("the panic");
	CHECK(count(com2, "before the panic\r\n") == 1 && count(com2, "the panic\r\n") == 2,
	      "in a panic all that waits, and what follows at once");
}

/* A port that sends nothing any more while dom0 runs. */
static void test_dying(void)
{
	u32 before;

	com2_busy = true;
	say("never seen");
	run_for(4000 * MS);
	CHECK(!count(screen, "serial port at 2f8 does not send"), "a port may stand still for 4 s");
	com2_busy = false;
	run_for(10 * MS);
	CHECK(count(com2, "never seen\r\n") == 1, "and goes on");
	com2_busy = true;
	say("really never seen");
	now += 100000 * MS;
	run_for(500 * MS);
	CHECK(!count(screen, "serial port at 2f8 does not send"),
	      "that the clock has gone on does not kill it");
	run_for(6000 * MS);
	CHECK(count(screen, "serial port at 2f8 does not send") == 1 && !drain_at,
	      "but more than 5 s in which we looked");
	before = com2_reads;
	say("nobody hears");
	run_for(1000 * MS);
	CHECK(com2_reads == before, "and it costs nothing any more");
}

int main(void)
{
	static char log[8192];
	const char *dead = "serial port at 3f8 does not send";
	int status = 1;
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
	test_slow();
	test_flood();
	fflush(stdout);
	if (!fork()) {
		test_dying();
		exit(test_end());
	}
	wait(&status);
	CHECK(!status, "a port that dies later is no harm either");
	test_end_of_machine();
	return test_end();
}
