/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/console/console.h"
#include "boot/boot.h"
#include "hv/console/screen.h"
#include "hv/console/uart.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/lib/lock.h"
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

#define RING_SIZE  BIT(16)
#define LINE_MAX   400
#define EARLY_MAX  64 /* lines logged before the options are known whose level is kept */
#define POLL_NS	   200000000ull
#define CALM_NS	   1000000000ull /* the same while dom0 hears each port: it may have stopped */
#define DRAIN_NS   1000000ull	 /* while there is something to send */
#define FEED_NS	   400000ull /* interrupts are off so long for it at most, and for one more FIFO */
#define DEAD_NS	   5000000000ull /* a port that has sent nothing for so long never will */
#define DEAD_LOOKS 1000		 /* nor at so many looks: we ourselves may have stood still */
#define IMPORTANT  8192		 /* of a ring is kept for warnings and errors */
#define COM1	   0x3f8
#define PREFIX	   "(hv) "
#define LAST	   "corbel: "

static struct lock lock = LOCK_INIT(LOCK_CONSOLE);
static struct uart uarts[BOOT_MAX_CONSOLES];
static u32 uart_count;
static bool screen_on; /* the option says so, and it is not dom0's yet */
static bool screen_wanted;
static bool started; /* console_init() is through; before it lines only go to the ring */
static bool panicking;
static u8 early_level[EARLY_MAX];
static u32 early_count;

static char ring[RING_SIZE];
static u64 ring_head;	 /* bytes ever written; the ring is guarded by lock */
static bool drains;	 /* lines are sent by and by; before, and in a panic, they are waited for */
static bool has_drainer; /* some CPU's timer is at it */
static bool wants_drainer; /* something is left, and none is; looked at without the lock first */
static PER_CPU(struct timer, drain_timers);
static void (*on_key)(char key);

static void console_lock(void)
{
	if (!panicking)
		lock_acquire(&lock);
}

static void console_unlock(void)
{
	if (!panicking)
		lock_release(&lock);
}

/* ---- the ring ---- */

static void ring_put(const char *s, u32 len)
{
	BUG_ON(!panicking && !lock_is_held(&lock));
	for (u32 i = 0; i < len; i++)
		ring[ring_head++ % RING_SIZE] = s[i];
}

u32 log_read(u64 seq, char *buf, u32 len, u64 *seq_out)
{
	u32 n = 0;

	console_lock();
	if (seq > ring_head)
		seq = ring_head;
	if (ring_head - seq > RING_SIZE) {
		seq = ring_head - RING_SIZE;
		while (seq < ring_head && ring[seq++ % RING_SIZE] != '\n')
			; /* the first line is only half there */
	}
	for (; n < len && seq + n < ring_head; n++)
		buf[n] = ring[(seq + n) % RING_SIZE];
	console_unlock();
	*seq_out = seq;
	return n;
}

/* ---- sending ---- */

/* Say what there was no room for, as soon as there is. */
static void tell_lost(struct uart *u)
{
	char line[100];
	u32 len;

	if (!u->lost || uart_room(u) < UART_TX_RING / 4)
		return;
	len = hv_snprintf(line, sizeof(line),
			  PREFIX "%u bytes were too much for this line: they are in the log\n",
			  u->lost);
	u->lost = 0;
	uart_put(u, line, len);
}

static void note_progress(struct uart *u)
{
	u->progress = rdtsc();
	u->looks = 0;
}

/* What the port takes now. */
static void drain_port(struct uart *u)
{
	u64 start = rdtsc();

	while (uart_feed(u) && rdtsc() - start < ns_to_tsc(FEED_NS))
		;
	if (u->tx_tail != u->tail_seen)
		note_progress(u);
	u->tail_seen = u->tx_tail;
	tell_lost(u);
	if (uart_pending(u) && ++u->looks > DEAD_LOOKS && start - u->progress > ns_to_tsc(DEAD_NS))
		u->tx_dead = true;
}

static void flush_all(void)
{
	for (u32 i = 0; i < uart_count; i++)
		uart_flush(&uarts[i]);
}

static bool is_pending(void)
{
	bool pending = false;

	for (u32 i = 0; i < uart_count; i++)
		pending |= uart_pending(&uarts[i]);
	return pending;
}

/* Lock held: this CPU is to come to console_work(), if some of it is left. */
static void send_rest(void)
{
	for (u32 i = 0; i < uart_count; i++)
		if (uart_pending(&uarts[i]))
			drain_port(&uarts[i]);
	if (is_pending() && !has_drainer) {
		WRITE_ONCE(wants_drainer, true);
		WRITE_ONCE(this_cpu()->resched, true);
	}
}

/* ---- lines ---- */

/* A line of ours with its end, all or nothing of it. */
static void show_line(enum log_level level, const char *prefix, const char *line, u32 len)
{
	u32 head = strlen(prefix), keep = level > LOG_WARN ? IMPORTANT : 0;

	for (struct uart *u = uarts; u < uarts + uart_count; u++) {
		if (uart_room(u) < head + len + keep) {
			u->lost += head + len;
			continue;
		}
		if (!uart_pending(u))
			note_progress(u);
		uart_put(u, prefix, head);
		uart_put(u, line, len);
	}
	if (screen_on) {
		screen_write(prefix, head);
		screen_write(line, len);
	}
	if (drains && !panicking)
		send_rest();
	else
		flush_all();
}

/* End a line of len characters, which may be more than there was room for. Returns its length. */
static u32 end_line(char line[LINE_MAX], u32 len)
{
	len = MIN(len, LINE_MAX - 1);
	line[len] = '\n';
	return len + 1;
}

/* What a port has just died of, in one line for the log and the consoles that are left. */
static void tell_dead(void)
{
	char line[LINE_MAX];

	for (struct uart *u = uarts; u < uarts + uart_count; u++) {
		u32 len;

		if (u->told || !(u->tx_dead || u->rx_dead))
			continue;
		u->told = true;
		len = hv_snprintf(line, LINE_MAX,
				  "the serial port at %x %s and is no console any more; check it, "
				  "or leave it out of console=",
				  u->port, u->tx_dead ? "does not send" : "has input without end");
		len = end_line(line, len);
		ring_put(line, len);
		if (started)
			show_line(LOG_ERR, PREFIX, line, len);
	}
}

static void drain_fn(struct timer *t)
{
	bool more;

	console_lock();
	for (u32 i = 0; i < uart_count; i++)
		drain_port(&uarts[i]);
	tell_dead();
	more = is_pending();
	has_drainer = more;
	console_unlock();
	if (more)
		timer_arm(t, rdtsc() + ns_to_tsc(DRAIN_NS));
}

void console_work(void)
{
	struct timer *t;
	bool mine;

	if (likely(!READ_ONCE(wants_drainer)))
		return;
	t = &own_cpu(drain_timers);
	console_lock();
	mine = !has_drainer && is_pending();
	has_drainer |= mine;
	wants_drainer = false;
	console_unlock();
	if (!mine)
		return;
	timer_setup(t, drain_fn);
	timer_arm(t, rdtsc() + ns_to_tsc(DRAIN_NS));
}

void console_flush(void)
{
	console_lock();
	flush_all();
	console_unlock();
}

void console_wake(void)
{
	console_lock();
	for (u32 i = 0; i < uart_count; i++)
		uart_wake(&uarts[i]);
	console_unlock();
}

void console_line(enum log_level level, const char *fmt, va_list ap)
{
	char line[LINE_MAX];
	u64 us = 0;
	u32 len;

	if (boot_tsc && tsc_khz)
		us = tsc_to_ns(rdtsc() - boot_tsc) / 1000;
	len = hv_snprintf(line, LINE_MAX, "[%5lu.%06lu] ", us / 1000000, us % 1000000);
	BUG_ON(len >= LINE_MAX);
	len = end_line(line, len + hv_vsnprintf(line + len, LINE_MAX - len, fmt, ap));

	console_lock();
	ring_put(line, len);
	if (started && level <= boot_info.opt.loglvl)
		show_line(level, PREFIX, line, len);
	else if (!started && early_count < EARLY_MAX)
		early_level[early_count++] = level;
	tell_dead();
	console_unlock();
}

void console_plain(const char *text)
{
	char line[LINE_MAX];
	u32 len = end_line(line, hv_snprintf(line, LINE_MAX, "%s", text));

	console_lock();
	ring_put(LAST, sizeof(LAST) - 1);
	ring_put(line, len);
	show_line(LOG_ERR, LAST, line, len);
	tell_dead();
	console_unlock();
}

/* Show what the ring holds from before the consoles were there. */
static void show_early(u32 max_level)
{
	u64 start = 0, end = MIN(ring_head, RING_SIZE);
	u32 nth = 0;

	for (u64 i = 0; i < end; i++) {
		if (ring[i] != '\n')
			continue;
		if (nth >= EARLY_MAX || early_level[nth] <= max_level)
			show_line(LOG_INFO, PREFIX, ring + start, i + 1 - start);
		nth++;
		start = i + 1;
	}
}

/* ---- set-up ---- */

void console_early_init(void)
{
	uart_count = uart_init(&uarts[0], COM1, 115200);
}

void console_init(void)
{
	const struct boot_options *o = &boot_info.opt;

	console_lock();
	BUG_ON(started);
	uart_count = 0;
	for (u32 i = 0; i < o->console.count; i++) {
		const struct boot_console *c = &o->console.at[i];

		if (!c->port)
			screen_wanted = true;
		else if (uart_init(&uarts[uart_count], c->port, c->baud))
			uarts[uart_count++].no_keys = o->debugkeys_off;
	}
	started = true;
	show_early(o->loglvl);
	tell_dead();
	console_unlock();
}

void console_start_screen(void)
{
	bool on = screen_wanted && screen_init(false);

	console_lock();
	screen_on = on;
	console_unlock();
}

void console_leave_screen(void)
{
	console_lock();
	screen_on = false;
	console_unlock();
}

void console_alone(void)
{
	panicking = true;
	flush_all();
}

void console_panic(void)
{
	console_alone();
	if (!screen_on)
		screen_on = (screen_wanted || !started) && screen_init(true);
	if (!started) { /* the options are not known yet: COM1 and whatever screen there is */
		started = true;
		boot_info.opt.loglvl = LOG_INFO;
		show_early(LOG_INFO);
	}
}

/* ---- input, and dom0's accesses ---- */

void console_set_keys(void (*fn)(char key))
{
	on_key = fn;
}

static void handle_keys(const struct uart_keys *keys)
{
	for (u32 i = 0; i < keys->n && on_key; i++)
		on_key(keys->key[i]);
}

static void poll_input(struct timer *t)
{
	struct uart_keys keys = {0};
	u64 later = CALM_NS;

	console_lock();
	for (u32 i = 0; i < uart_count; i++) {
		uart_poll(&uarts[i], &keys);
		if (!uart_is_heard(&uarts[i]))
			later = POLL_NS;
	}
	tell_dead();
	console_unlock();
	console_work();
	handle_keys(&keys);
	timer_arm(t, rdtsc() + ns_to_tsc(later));
}

void console_start_polling(void)
{
	static struct timer timer;

	BUG_ON(timer.fn);
	timer_setup(&timer, poll_input);
	drains = true;
	if (uart_count)
		timer_arm(&timer, rdtsc() + ns_to_tsc(POLL_NS));
}

static struct uart *uart_of(u16 port)
{
	for (u32 i = 0; i < uart_count; i++)
		if (port >= uarts[i].port && port - uarts[i].port < UART_PORTS)
			return &uarts[i];
	return NULL;
}

bool vuart_owns(u16 port)
{
	return uart_of(port);
}

u8 vuart_in(u16 port)
{
	struct uart *u = uart_of(port);
	struct uart_keys keys = {0};
	u8 val;

	if (!u)
		return 0xff;
	console_lock();
	val = uart_dom0_in(u, port - u->port, &keys);
	console_unlock();
	handle_keys(&keys);
	return val;
}

void vuart_out(u16 port, u8 val)
{
	struct uart *u = uart_of(port);

	if (!u)
		return;
	console_lock();
	if (!uart_pending(u))
		note_progress(u);
	uart_dom0_out(u, port - u->port, val);
	if (uart_pending(u))
		send_rest();
	console_unlock();
}
