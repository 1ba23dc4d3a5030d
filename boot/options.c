/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/options.h"
#include "boot/text.h"
#include "hv/lib/log.h"

#define COM1_PORT    0x3f8
#define COM2_PORT    0x2f8
#define DEFAULT_BAUD 115200u

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
	text_copy(out, size, t);
	return true;
}

/* One of the words, which have commas between them: *out is its number. */
static bool read_choice(struct text t, const char *words, u32 *out)
{
	struct text rest = text_of(words);

	for (u32 i = 0; rest.len; i++) {
		if (!text_same(text_cut(&rest, ','), t))
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
	struct text baud = v, name = text_cut(&baud, ',');
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
	return read_choice(v, "err,warn,info,debug", out) ||
	       read_number(v, LOG_ERR, LOG_DEBUG, out);
}

static bool opt_cpus(struct text v, void *out)
{
	return read_number(v, 1, MAX_CPUS, out);
}

/* Guests are to have something, too. */
static bool opt_share(struct text v, void *out)
{
	return read_number(v, 1, 90, out);
}

/* Bytes, or with a suffix K, M, G. Less than 1 MiB is surely a forgotten suffix. */
static bool opt_size(struct text v, void *out)
{
	u64 n, *size = out;
	u32 unit = 0; /* bits */

	if (!read_digits(&v, &n) || v.len > 1)
		return false;
	if (v.len) {
		char suffix = *v.s | 0x20;

		if (!read_choice((struct text){&suffix, 1}, "k,m,g", &unit))
			return false;
		unit = (unit + 1) * 10;
	}
	if (n > ~0ull >> (unit + 1) || n << unit < BIT(20))
		return false;
	*size = n << unit;
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

#define AT(member) offsetof(struct boot_options, member)

static const struct option {
	const char *name;
	u32 at;
	bool (*read)(struct text v, void *out);
	const char *words; /* the values of one without read() */
} options[] = {
    {"console", AT(console), opt_console},
    {"loglvl", AT(loglvl), opt_loglvl},
    {"dom0_max_vcpus", AT(dom0_max_vcpus), opt_cpus},
    {"dom0_mem", AT(dom0_mem), opt_size},
    {"dom0_share", AT(dom0_share), opt_share},
    {"hvmem", AT(hvmem), opt_size},
    {"maxcpus", AT(maxcpus), opt_cpus},
    {"sched", AT(sched), opt_sched},
    {"mask", AT(mask), opt_mask},
    {"noreboot", AT(noreboot), opt_flag},
    {"reboot", AT(reboot), NULL, "acpi,kbd,triple,halt"}, /* enum reboot_way */
    {"spec", AT(spec), NULL, "auto,off,full"},		  /* enum spec_mode */
    {"debugkeys", AT(debugkeys_off), NULL, "on,off"},
    {"iommu", AT(iommu), NULL, "dom0,off,strict"}, /* enum iommu_mode */
    {"nested", AT(nested), NULL, "off,on"},
    {"pmu", AT(pmu), NULL, "dom0,off,guests"}, /* enum pmu_mode */
    {"sched-gran", AT(sched_core), NULL, "cpu,core"},
    {"numa", AT(numa_off), NULL, "on,off"},
};

/* One option "name=value" or "name". NULL, or what is wrong with it. */
static const char *apply_option(struct text opt, struct boot_options *out)
{
	struct text v = opt, name = text_cut(&v, '=');

	for (const struct option *o = options; o < options + ARRAY_SIZE(options); o++) {
		void *to = (char *)out + o->at;

		if (!text_is(name, o->name))
			continue;
		if (o->read ? o->read(v, to) : read_choice(v, o->words, to))
			return NULL;
		return "malformed";
	}
	return "unknown";
}

u32 options_parse(const char *cmdline, struct boot_options *out)
{
	struct text rest = text_of(cmdline);
	u32 warnings = 0;

	*out = (struct boot_options){
	    .console = {.count = 2, .at = {{COM1_PORT, DEFAULT_BAUD}}},
	    .loglvl = LOG_INFO,
	    .dom0_share = 25,
	};
	while (rest.len) {
		struct text opt = text_cut(&rest, ' ');
		const char *wrong = opt.len ? apply_option(opt, out) : NULL;
		char name[48];

		if (!wrong)
			continue;
		text_copy(name, sizeof(name), opt);
		log_warn("%s option \"%s\" is ignored", wrong, name);
		warnings++;
	}
	return warnings;
}

bool cap_named(const char *name)
{
	struct text rest = text_of(boot_info.opt.mask);

	while (rest.len)
		if (text_is(text_cut(&rest, ','), name))
			return true;
	return false;
}

bool cap_masked(const char *name)
{
	return cap_named("all") || cap_named(name);
}
