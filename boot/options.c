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
	*rest = (struct text){t.s + head.len, t.len - head.len};
	if (rest->len) { /* without sep */
		rest->s++;
		rest->len--;
	}
	return head;
}

/*
 * Decimal, or hexadecimal after 0x. Reads as far as there are digits; false on none or on overflow.
 */
static bool read_digits(struct text *t, u64 *out)
{
	u32 base = 10;
	const char *start;

	if (t->len > 2 && t->s[0] == '0' && (t->s[1] | 0x20) == 'x') {
		base = 16;
		t->s += 2;
		t->len -= 2;
	}
	start = t->s;
	for (*out = 0; t->len && digit_of(*t->s) < base; t->s++, t->len--) {
		if (*out > (~0ull - 15) / base)
			return false;
		*out = *out * base + digit_of(*t->s);
	}
	return t->s > start;
}

static bool read_number(struct text t, u64 lo, u64 hi, u32 *out)
{
	u64 v;

	if (!read_digits(&t, &v) || t.len || v < lo || v > hi)
		return false;
	*out = v;
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

/* One of count words: *out is its number. */
static bool read_choice(struct text t, const char *const *words, u32 count, u32 *out)
{
	for (u32 i = 0; i < count; i++) {
		if (!text_is(t, words[i]))
			continue;
		*out = i;
		return true;
	}
	return false;
}

/*
 * ---- the options: each reads its value into its member of struct boot_options, or returns false
 * and changes nothing ----
 */

static bool opt_console(struct text v, void *out)
{
	struct boot_consoles *list = out;
	struct text baud, name = text_cut(v, ',', &baud);
	struct boot_console c = {0, DEFAULT_BAUD};

	if (text_is(v, "none")) {
		*list = (struct boot_consoles){.named = true};
		return true;
	}
	if (text_is(v, "vga"))
		c.baud = 0;
	else if (text_is(name, "com1"))
		c.port = COM1_PORT;
	else if (text_is(name, "com2"))
		c.port = COM2_PORT;
	else if (name.len < 3 || name.s[0] != '0' || !read_number(name, 0x100, 0xfff8, &c.port))
		return false;
	if (name.len < v.len && !read_number(baud, 50, DEFAULT_BAUD, &c.baud))
		return false;
	if (!list->named) /* the first one replaces the defaults */
		list->count = 0;
	if (list->count == BOOT_MAX_CONSOLES)
		return false;
	list->at[list->count++] = c;
	list->named = true;
	return true;
}

static bool opt_loglvl(struct text v, void *out)
{
	static const char *const names[] = {
	    [LOG_ERR] = "err", [LOG_WARN] = "warn", [LOG_INFO] = "info", [LOG_DEBUG] = "debug"};

	return read_choice(v, names, ARRAY_SIZE(names), out) ||
	       read_number(v, LOG_ERR, LOG_DEBUG, out);
}

static bool opt_cpus(struct text v, void *out)
{
	return read_number(v, 1, MAX_CPUS, out);
}

/* Bytes, or with a suffix K, M, G. Less than 1 MiB is surely a forgotten suffix. */
static bool opt_size(struct text v, void *out)
{
	static const char *const suffixes[] = {"", "k", "m", "g"};
	u64 n, *size = out;
	u32 unit;
	char suffix;

	if (!read_digits(&v, &n) || v.len > 1)
		return false;
	if (v.len) {
		suffix = *v.s | 0x20;
		v.s = &suffix;
	}
	if (!read_choice(v, suffixes, ARRAY_SIZE(suffixes), &unit))
		return false;
	if (n > ~0ull >> (unit * 10 + 1) || n << unit * 10 < BIT(20))
		return false;
	*size = n << unit * 10;
	return true;
}

static bool opt_sched(struct text v, void *out)
{
	return read_word(v, out, sizeof(boot_info.opt.sched), false);
}

/* Several of them add up. */
static bool opt_mask(struct text v, void *out)
{
	char *mask = out;
	u32 size = sizeof(boot_info.opt.mask), have = strlen(mask);

	if (!have)
		return read_word(v, mask, size, true);
	if (have + 2 >= size || !read_word(v, mask + have + 1, size - have - 1, true))
		return false;
	mask[have] = ',';
	return true;
}

static bool opt_flag(struct text v, void *out)
{
	bool *flag = out;

	if (v.len)
		return false;
	return *flag = true;
}

static bool opt_reboot(struct text v, void *out)
{
	static const char *const names[] = {[REBOOT_ACPI] = "acpi",
					    [REBOOT_KEYBOARD] = "kbd",
					    [REBOOT_TRIPLE] = "triple",
					    [REBOOT_HALT] = "halt"};

	return read_choice(v, names, ARRAY_SIZE(names), out);
}

static bool opt_debugkeys(struct text v, void *out)
{
	static const char *const names[] = {"on", "off"};

	return read_choice(v, names, ARRAY_SIZE(names), out);
}

#define OPTION(name, read, member)                                                                 \
	{                                                                                          \
		name, read, offsetof(struct boot_options, member)                                  \
	}

static const struct option {
	const char *name;
	bool (*read)(struct text v, void *out);
	u32 at;
} options[] = {
    OPTION("console", opt_console, console),
    OPTION("loglvl", opt_loglvl, loglvl),
    OPTION("dom0_max_vcpus", opt_cpus, dom0_max_vcpus),
    OPTION("dom0_mem", opt_size, dom0_mem),
    OPTION("hvmem", opt_size, hvmem),
    OPTION("maxcpus", opt_cpus, maxcpus),
    OPTION("sched", opt_sched, sched),
    OPTION("mask", opt_mask, mask),
    OPTION("noreboot", opt_flag, noreboot),
    OPTION("reboot", opt_reboot, reboot),
    OPTION("debugkeys", opt_debugkeys, debugkeys_off),
};

/* One option "name=value" or "name". NULL, or what is wrong with it. */
static const char *apply_option(struct text opt, struct boot_options *o)
{
	struct text v, name = text_cut(opt, '=', &v);

	for (u32 i = 0; i < ARRAY_SIZE(options); i++) {
		if (!text_is(name, options[i].name))
			continue;
		if (options[i].read(v, (char *)o + options[i].at))
			return NULL;
		return "malformed";
	}
	return "unknown";
}

u32 options_parse(const char *cmdline, struct boot_options *out)
{
	struct text rest = {cmdline, strlen(cmdline)};
	u32 warnings = 0;

	*out = (struct boot_options){
	    .console = {.count = 2, .at = {{COM1_PORT, DEFAULT_BAUD}}},
	    .loglvl = LOG_INFO,
	};
	while (rest.len) {
		struct text opt = text_cut(rest, ' ', &rest);
		const char *wrong = opt.len ? apply_option(opt, out) : NULL;
		char name[48];

		if (!wrong)
			continue;
		opt.len = MIN(opt.len, sizeof(name) - 1);
		memcpy(name, opt.s, opt.len);
		name[opt.len] = 0;
		log_warn("%s option \"%s\" is ignored", wrong, name);
		warnings++;
	}
	return warnings;
}

bool cap_masked(const char *name)
{
	struct text rest = {boot_info.opt.mask, strlen(boot_info.opt.mask)};

	while (rest.len)
		if (text_is(text_cut(rest, ',', &rest), name))
			return true;
	return false;
}
