/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/options.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define COM1_PORT    0x3f8
#define COM2_PORT    0x2f8
#define DEFAULT_BAUD 115200u

/* A piece of the command line: not NUL-terminated. */
struct text {
	const char *s;
	u32 len;
};

static bool text_is(struct text t, const char *word)
{
	return t.len == strlen(word) && !memcmp(t.s, word, t.len);
}

/* Cut off what stands before the first sep; *rest is what follows it, empty if there is none. */
static struct text text_cut(struct text t, char sep, struct text *rest)
{
	struct text head = {t.s, 0};

	while (head.len < t.len && t.s[head.len] != sep)
		head.len++;
	rest->s = t.s + head.len + (head.len < t.len);
	rest->len = t.len - head.len - (head.len < t.len);
	return head;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 16;
}

/*
 * Decimal, or hexadecimal after 0x. Reads as far as there are digits; false on none or on overflow.
 */
static bool read_digits(struct text *t, u64 *out)
{
	u32 base = 10, n = 0;

	if (t->len > 2 && t->s[0] == '0' && (t->s[1] | 0x20) == 'x') {
		base = 16;
		t->s += 2;
		t->len -= 2;
	}
	for (*out = 0; t->len && (u32)digit_of(*t->s) < base; t->s++, t->len--, n++) {
		if (*out > (~0ull - 15) / base)
			return false;
		*out = *out * base + (u32)digit_of(*t->s);
	}
	return n;
}

static bool read_number(struct text t, u64 lo, u64 hi, u32 *out)
{
	u64 v;

	if (!read_digits(&t, &v) || t.len || v < lo || v > hi)
		return false;
	*out = (u32)v;
	return true;
}

/* Bytes, or with a suffix K, M, G. Less than 1 MiB is surely a forgotten suffix. */
static bool read_size(struct text t, u64 *out)
{
	u32 shift = 0;
	u64 v;

	if (!read_digits(&t, &v) || t.len > 1)
		return false;
	if (t.len) {
		char c = *t.s | 0x20;

		if (c != 'k' && c != 'm' && c != 'g')
			return false;
		shift = c == 'k' ? 10 : c == 'm' ? 20 : 30;
	}
	if (v > ~0ull >> (shift + 1) || v << shift < BIT(20))
		return false;
	*out = v << shift;
	return true;
}

/* A word of at most size - 1 letters, digits and hyphens (and commas, if a list). */
static bool read_word(struct text t, char *out, u32 size, bool list)
{
	if (!t.len || t.len >= size)
		return false;
	for (u32 i = 0; i < t.len; i++) {
		char c = t.s[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && c != '-' && c != '_' &&
		    c != '.' && !(list && c == ','))
			return false;
	}
	memcpy(out, t.s, t.len);
	out[t.len] = 0;
	return true;
}

static bool opt_console(struct text v, struct boot_options *o, bool first)
{
	struct text baud, name = text_cut(v, ',', &baud);
	enum console_kind kind = CONSOLE_SERIAL;
	u32 port = 0, rate = DEFAULT_BAUD, n = first ? 0 : o->console_count;

	if (text_is(v, "none")) {
		o->console_count = 0;
		return true;
	}
	if (text_is(v, "vga"))
		kind = CONSOLE_VGA;
	else if (text_is(name, "com1"))
		port = COM1_PORT;
	else if (text_is(name, "com2"))
		port = COM2_PORT;
	else if (name.len < 3 || name.s[0] != '0' || !read_number(name, 0x100, 0xfff8, &port))
		return false;
	if (name.len < v.len && !read_number(baud, 50, DEFAULT_BAUD, &rate))
		return false;
	if (n == BOOT_MAX_CONSOLES)
		return false;
	o->console[n].kind = kind;
	o->console[n].port = (u16)port;
	o->console[n].baud = kind == CONSOLE_SERIAL ? rate : 0;
	o->console_count = n + 1;
	return true;
}

static bool opt_loglvl(struct text v, struct boot_options *o)
{
	static const char *const names[] = {
	    [LOG_ERR] = "err", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		if (!text_is(v, names[i]))
			continue;
		o->loglvl = i;
		return true;
	}
	return read_number(v, LOG_ERR, LOG_DEBUG, &o->loglvl);
}

static bool opt_mask(struct text v, struct boot_options *o)
{
	u32 have = (u32)strlen(o->mask);

	if (have && have + 2 < sizeof(o->mask)) {
		if (!read_word(v, o->mask + have + 1, sizeof(o->mask) - have - 1, true))
			return false;
		o->mask[have] = ',';
		return true;
	}
	return !have && read_word(v, o->mask, sizeof(o->mask), true);
}

static bool opt_reboot(struct text v, struct boot_options *o)
{
	return (text_is(v, "acpi") || text_is(v, "kbd") || text_is(v, "triple") ||
		text_is(v, "halt")) &&
	       read_word(v, o->reboot, sizeof(o->reboot), false);
}

/* One option "key=value" or "key". False if malformed or unknown. */
static bool apply(struct text opt, struct boot_options *o, u32 *consoles)
{
	struct text v, key = text_cut(opt, '=', &v);

	if (text_is(opt, "noreboot"))
		return o->noreboot = true;
	if (text_is(key, "console"))
		return opt_console(v, o, !*consoles) && ++*consoles;
	if (text_is(key, "loglvl"))
		return opt_loglvl(v, o);
	if (text_is(key, "dom0_max_vcpus"))
		return read_number(v, 1, MAX_CPUS, &o->dom0_max_vcpus);
	if (text_is(key, "dom0_mem"))
		return read_size(v, &o->dom0_mem);
	if (text_is(key, "hvmem"))
		return read_size(v, &o->hvmem);
	if (text_is(key, "maxcpus"))
		return read_number(v, 1, MAX_CPUS, &o->maxcpus);
	if (text_is(key, "sched"))
		return read_word(v, o->sched, sizeof(o->sched), false);
	if (text_is(key, "mask"))
		return opt_mask(v, o);
	if (text_is(key, "reboot"))
		return opt_reboot(v, o);
	return false;
}

static bool is_known(struct text opt)
{
	static const char *const keys[] = {"console",  "loglvl",  "dom0_max_vcpus", "dom0_mem",
					   "hvmem",    "maxcpus", "sched",	    "mask",
					   "noreboot", "reboot"};
	struct text v, key = text_cut(opt, '=', &v);

	for (u32 i = 0; i < ARRAY_SIZE(keys); i++)
		if (text_is(key, keys[i]))
			return true;
	return false;
}

static void set_defaults(struct boot_options *o)
{
	memset(o, 0, sizeof(*o));
	o->console_count = 2;
	o->console[0].kind = CONSOLE_SERIAL;
	o->console[0].port = COM1_PORT;
	o->console[0].baud = DEFAULT_BAUD;
	o->console[1].kind = CONSOLE_VGA;
	o->loglvl = LOG_INFO;
}

u32 options_parse(const char *cmdline, struct boot_options *out)
{
	struct text rest = {cmdline, (u32)strlen(cmdline)};
	u32 warnings = 0, consoles = 0;

	set_defaults(out);
	while (rest.len) {
		struct text opt = text_cut(rest, ' ', &rest);
		char name[48];
		u32 n = MIN(opt.len, (u32)sizeof(name) - 1);

		if (!opt.len || apply(opt, out, &consoles))
			continue;
		memcpy(name, opt.s, n);
		name[n] = 0;
		log_warn("%s option \"%s\" is ignored", is_known(opt) ? "malformed" : "unknown",
			 name);
		warnings++;
	}
	return warnings;
}

bool cap_masked(const char *name)
{
	struct text rest = {boot_info.opt.mask, (u32)strlen(boot_info.opt.mask)};

	while (rest.len)
		if (text_is(text_cut(rest, ',', &rest), name))
			return true;
	return false;
}
