/* SPDX-License-Identifier: GPL-2.0-only */
/* Guests' files: a lexer, and a reader of assignments. */
#define _GNU_SOURCE
#include "cfg_parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- messages ---- */

int cfg_bad(struct parser *p, int line, const char *fmt, ...)
{
	int n = snprintf(p->c->error, sizeof(p->c->error), "%s:%d: ", p->file, line);
	va_list ap;

	if (n < 0 || (size_t)n >= sizeof(p->c->error))
		return -1;
	va_start(ap, fmt);
	vsnprintf(p->c->error + n, sizeof(p->c->error) - n, fmt, ap);
	va_end(ap);
	return -1;
}

void cfg_warn(struct parser *p, int line, const char *fmt, ...)
{
	char text[200], **more;
	va_list ap;

	more = realloc(p->c->warnings, (p->c->nwarnings + 1) * sizeof(*more));
	if (!more)
		return;
	p->c->warnings = more;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (asprintf(&p->c->warnings[p->c->nwarnings], "%s:%d: %s", p->file, line, text) >= 0)
		p->c->nwarnings++;
}

/* ---- lexer ---- */

/* Skip blanks and comments, and line ends too if asked. */
static void skip_blanks(struct parser *p, bool lines)
{
	for (;; p->at++) {
		if (*p->at == '#')
			p->at += strcspn(p->at, "\n");
		if (*p->at == '\n' && lines)
			p->line++;
		else if (*p->at != ' ' && *p->at != '\t' && *p->at != '\r')
			return;
	}
}

/* A digit of this base, or -1. */
static int digit_of(char c, int base)
{
	const char *digits = "0123456789abcdef", *at = strchr(digits, tolower((unsigned char)c));

	return c && at && at - digits < base ? at - digits : -1;
}

/*
 * What stands behind a backslash: one of xl's letters, x and two hexadecimal digits, or one to
 * three octal ones. -1: nothing of these.
 */
static int unescape_char(const char **at)
{
	static const char letters[] = "abfnrtv\\'\"", values[] = "\a\b\f\n\r\t\v\\'\"";
	const char *s = *at, *letter = *s ? strchr(letters, *s) : NULL;
	int base = 8, most = 3, n, c = 0;

	if (letter) {
		++*at;
		return values[letter - letters];
	}
	if (*s == 'x') {
		s++;
		base = 16;
		most = 2;
	}
	for (n = 0; n < most && digit_of(s[n], base) >= 0; n++)
		c = c * base + digit_of(s[n], base);
	*at = s + n;
	return !n || (base == 16 && n < 2) || !c || c > 255 ? -1 : c;
}

static int read_string(struct parser *p, char **out)
{
	char quote = *p->at++, *s = malloc(strlen(p->at) + 1), *to = s;
	int c;

	if (!s)
		return cfg_bad(p, p->line, "out of memory");
	*out = s;
	while (*p->at != quote) {
		if (!*p->at || *p->at == '\n')
			return cfg_bad(p, p->line,
				       "the string has no end; close it with %c on the same line",
				       quote);
		c = (unsigned char)*p->at++;
		if (c == '\\')
			c = unescape_char(&p->at);
		if (c < 0)
			return cfg_bad(p, p->line,
				       "unknown escape in a string; known are \\n, \\t and the "
				       "like, \\\\ \\' \\\", \\x41 and \\101");
		*to++ = c;
	}
	p->at++;
	*to = 0;
	return 0;
}

static int read_number(struct parser *p, struct value *v)
{
	size_t len = strspn(p->at, "0123456789abcdefABCDEFxX-");
	char *end;

	v->kind = V_NUMBER;
	v->text = strndup(p->at, len);
	if (!v->text)
		return cfg_bad(p, p->line, "out of memory");
	errno = 0;
	v->number = strtoll(v->text, &end, 0);
	if (errno || *end || end == v->text)
		return cfg_bad(p, p->line,
			       "\"%s\" is not a number; write 512 or 0x200, and text in quotes",
			       v->text);
	p->at += len;
	return 0;
}

static int read_item(struct parser *p, struct value *v)
{
	struct value n = {0};

	if (v->items == MAX_ITEMS)
		return cfg_bad(p, p->line, "more than %d items in a list", MAX_ITEMS);
	v->item_line[v->items] = p->line;
	if (*p->at == '"' || *p->at == '\'')
		return read_string(p, &v->item[v->items++]);
	if (!isdigit((unsigned char)*p->at))
		return cfg_bad(
		    p, p->line,
		    "a list holds 'strings' or numbers, parted by commas and closed by ]");
	if (!read_number(p, &n)) {
		v->item[v->items++] = n.text;
		return 0;
	}
	free(n.text);
	return -1;
}

/* What lists within it hold is read as its own: no key here wants such. */
static int read_list(struct parser *p, struct value *v)
{
	int depth = 1;

	v->kind = V_LIST;
	for (p->at++; depth;) {
		skip_blanks(p, true);
		if (*p->at == '[') {
			v->nested = true;
			depth++;
			p->at++;
			continue;
		}
		if (*p->at != ']' && read_item(p, v))
			return -1;
		skip_blanks(p, true);
		if (*p->at == ']') {
			depth--;
			p->at++;
			skip_blanks(p, depth);
		}
		if (*p->at == ',' && depth)
			p->at++;
		else if (*p->at != ']' && depth)
			return cfg_bad(p, p->line,
				       "comma or ] expected in the list that began in line %d",
				       v->line);
	}
	return 0;
}

static int read_value(struct parser *p, struct value *v)
{
	v->line = p->line;
	if (*p->at == '"' || *p->at == '\'')
		return read_string(p, &v->text);
	if (*p->at == '[')
		return read_list(p, v);
	if (isdigit((unsigned char)*p->at) || *p->at == '-')
		return read_number(p, v);
	return cfg_bad(p, p->line, "a value is a number, a \"string\" or a [ list ]");
}

static void free_value(struct value *v)
{
	free(v->text);
	while (v->items)
		free(v->item[--v->items]);
}

/* ---- the file ---- */

/* Its number in cfg_keys, or cfg_nkeys. */
static int find_key(const char *name)
{
	int i;

	for (i = 0; i < cfg_nkeys && strcmp(name, cfg_keys[i].name); i++)
		;
	return i;
}

static int assign_key(struct parser *p, const char *name, const struct value *v)
{
	int i = find_key(name);

	if (i == cfg_nkeys) {
		cfg_unknown_key(p, v->line, name);
		return 0;
	}
	if (p->assignment < p->last[i]) {
		p->c->unknown++;
		cfg_warn(p, v->line, "%s is set again below, and the last one counts", name);
		return 0;
	}
	if (v->nested)
		return cfg_bad(p, v->line, "%s wants no list within its list", name);
	if (v->add && v->kind == V_NUMBER)
		return cfg_bad(p, v->line, "+= adds to a list or a string, not to a number");
	return cfg_keys[i].set(p, name, v);
}

#define KEY_MAX 64

/* The value is to be freed in any case. */
static int read_assignment(struct parser *p, char name[KEY_MAX], struct value *v)
{
	size_t len =
	    strspn(p->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

	if (!len || len >= KEY_MAX)
		return cfg_bad(p, p->line, "key = value expected, like memory = 512");
	snprintf(name, KEY_MAX, "%.*s", (int)len, p->at);
	p->at += len;
	skip_blanks(p, false);
	if (*p->at == '+') {
		v->add = true;
		p->at++;
	}
	if (*p->at != '=' || p->at[1] == '=')
		return cfg_bad(p, p->line, "= expected after %s", name);
	p->at++;
	skip_blanks(p, false);
	return read_value(p, v);
}

/* use: set its key; or only note where it is set for the last time. */
static int parse_line(struct parser *p, bool use)
{
	struct value v = {0};
	char name[KEY_MAX];
	int err = read_assignment(p, name, &v);

	p->assignment++;
	if (!err && use)
		err = assign_key(p, name, &v);
	else if (!err && !v.add && find_key(name) < cfg_nkeys)
		p->last[find_key(name)] = p->assignment;
	free_value(&v);
	if (err)
		return -1;
	skip_blanks(p, false);
	if (*p->at && *p->at != '\n' && *p->at != ';')
		return cfg_bad(p, p->line, "rubbish after the value of %s: one assignment a line",
			       name);
	return 0;
}

/* As in xl: cmdline if given, else root= and extra. */
static int join_cmdline(struct parser *p)
{
	const char *root = p->root ? p->root : "", *extra = p->extra ? p->extra : "";

	if (p->c->cmdline || (!p->root && !p->extra))
		return 0;
	if (asprintf(&p->c->cmdline, "%s%s%s%s", *root ? "root=" : "", root,
		     *root && *extra ? " " : "", extra) < 0) {
		p->c->cmdline = NULL;
		return cfg_bad(p, p->line, "out of memory");
	}
	return 0;
}

/*
 * Whose system boots from an IDE or SCSI disk may have no drivers but for what there is: it has
 * such a network card, too, the one that xl takes.
 */
static int choose_cards(struct parser *p)
{
	struct cfg *c = p->c;
	bool emulated = c->ndisks && !c->disk[0].cdrom && c->disk[0].bus != BUS_VIRTIO;
	int i;

	for (i = 0; i < c->nvifs && cfg_is_pc(c); i++) {
		if (c->vif[i].named || !(emulated || c->vif[i].ioemu))
			continue;
		c->vif[i].model = strdup("rtl8139");
		if (!c->vif[i].model)
			return cfg_bad(p, c->vif[i].line, "out of memory");
	}
	return 0;
}

/* The place of one on a PC's controller, where no other can be. */
static bool is_same_place(const struct cfg_disk *a, const struct cfg_disk *b)
{
	return !a->cdrom && !b->cdrom && a->bus != BUS_VIRTIO && a->bus == b->bus &&
	       a->unit == b->unit;
}

static int check_disk(struct parser *p, int i)
{
	struct cfg *c = p->c;
	struct cfg_disk *d = &c->disk[i];
	int j;

	if (d->port >= 0 && !*d->path)
		return cfg_bad(p, d->line, "an empty CD drive cannot be behind a port");
	if (d->port >= 0) /* is virtio's, whatever its name */
		d->bus = BUS_VIRTIO;
	if (d->cdrom)
		return 0;
	if (c->ahci && d->bus == BUS_IDE)
		d->bus = BUS_SATA;
	if (d->bus != BUS_VIRTIO && d->readonly)
		return cfg_bad(
		    p, d->line,
		    "%s cannot be read-only, as in xl: have access w, or xvd%c, which is "
		    "virtio",
		    d->vdev, d->vdev[2]);
	for (j = 0; j < i; j++)
		if (is_same_place(d, &c->disk[j]))
			return cfg_bad(p, d->line, "%s is where %s is; give it another letter",
				       d->vdev, c->disk[j].vdev);
	return 0;
}

/* On a microvm all are virtio's, whatever their names. */
static int check_disks(struct parser *p)
{
	struct cfg *c = p->c;
	int i, sata = 0;

	for (i = 0; i < c->ndisks; i++) {
		if (c->disk[i].cdrom && !cfg_is_pc(c))
			return cfg_bad(p, c->disk[i].line,
				       "only a PC has a CD drive; add firmware = \"bios\"");
		if (cfg_is_pc(c) && check_disk(p, i))
			return -1;
		if (c->disk[i].port < 0)
			sata += c->disk[i].cdrom || c->disk[i].bus == BUS_SATA;
		if (cfg_is_pc(c) && sata > CFG_SATA_PORTS)
			return cfg_bad(p, c->disk[i].line,
				       "a PC has %d places for CD drives and disks sdX; have xvdX, "
				       "which is virtio",
				       CFG_SATA_PORTS);
	}
	return 0;
}

/* Without a kernel xl's bootloader looks into the disk; that disk's own does, and has the rest. */
static void leave_to_loader(struct parser *p)
{
	struct cfg *c = p->c;

	if (!p->bootloader || c->kernel)
		return;
	if (!p->firmware_set)
		c->firmware = FIRMWARE_BIOS;
	free(c->ramdisk);
	free(c->cmdline);
	c->ramdisk = c->cmdline = NULL;
}

static bool uses_ports(const struct cfg *c)
{
	bool any = false;
	int i;

	for (i = 0; i < c->ndisks; i++)
		any |= c->disk[i].port >= 0;
	for (i = 0; i < c->nvifs; i++)
		any |= c->vif[i].port >= 0;
	return any;
}

/* It has no PCI, and so no card, CD drive or screen. */
static int check_microvm(struct parser *p)
{
	struct cfg *c = p->c;
	int i;

	for (i = 0; i < c->nvifs; i++)
		if (c->vif[i].model)
			return cfg_bad(
			    p, c->vif[i].line,
			    "only a PC has a network card of this model; add firmware = \"bios\"");
	if (uses_ports(c))
		return cfg_bad(p, p->line,
			       "port: only a PC has ports for hot-plugging; add firmware = "
			       "\"bios\"");
	if (c->tpm || c->nserial > 1)
		return cfg_bad(
		    p, p->line,
		    "only a PC has a TPM and a second serial port; add firmware = \"bios\"");
	if (c->npci)
		return cfg_bad(
		    p, c->pci[0].line,
		    "only a PC can have a PCI device of dom0's; add firmware = \"bios\"");
	if (c->viridian)
		return cfg_bad(
		    p, p->line,
		    "viridian: only a PC has what Windows wants; add firmware = \"bios\"");
	if (c->screen.vga || c->screen.vnc || c->screen.spice || c->usb || c->boot)
		return cfg_bad(
		    p, p->line,
		    "only a PC has a screen, USB and a boot order; add firmware = \"bios\"");
	return 0;
}

static int check_required(struct parser *p)
{
	struct cfg *c = p->c;

	leave_to_loader(p);
	if (!c->name)
		return cfg_bad(p, p->line, "name is missing; add name = \"...\"");
	if (!c->kernel && !c->ndisks && !c->npci)
		return cfg_bad(p, p->line,
			       "nothing to boot; add kernel = \"/path/vmlinuz\" or a disk");
	if (!c->kernel && (c->ramdisk || c->cmdline))
		return cfg_bad(p, p->line, "%s without a kernel; add kernel = \"/path/vmlinuz\"",
			       c->ramdisk ? "ramdisk" : "a command line");
	if (!c->maxvcpus)
		c->maxvcpus = c->vcpus;
	if (c->maxvcpus < c->vcpus)
		return cfg_bad(p, p->line, "maxvcpus is less than vcpus; it has to be %u or more",
			       c->vcpus);
	if (c->vcpus_now && (c->vcpus_now < c->vcpus || c->vcpus_now > c->maxvcpus))
		return cfg_bad(p, p->line, "vcpus_now has to be from %u to %u, vcpus to maxvcpus",
			       c->vcpus, c->maxvcpus);
	if (c->budget > c->period || !c->budget != !c->period)
		return cfg_bad(
		    p, p->line,
		    "period and budget belong together, and the budget is the shorter one, "
		    "like period = 10000 and budget = 4000");
	if (c->maxmem_mib && c->maxmem_mib < c->memory_mib)
		return cfg_bad(p, p->line, "maxmem is less than memory; it has to be %llu or more",
			       (unsigned long long)c->memory_mib);
	if (check_disks(p) || choose_cards(p))
		return -1;
	if (!cfg_is_pc(c) && check_microvm(p))
		return -1;
	if (c->screen.spice && !c->screen.spiceport)
		return cfg_bad(p, p->line, "spice = 1 wants a port; add spiceport = 5930");
	if (c->screen.spice && !c->screen.spicepasswd && !c->screen.spiceopen)
		return cfg_bad(p, p->line,
			       "spice = 1 wants spicepasswd = \"...\", or who can connect has the "
			       "screen: spicedisable_ticketing = 1");
	if ((c->screen.vnc || c->screen.spice) && !c->screen.vga)
		c->screen.vga = c->screen.spice ? "qxl-vga" : "VGA";
	if (!c->kernel && c->firmware == FIRMWARE_NONE)
		return cfg_bad(
		    p, p->line,
		    "firmware = \"none\" boots a kernel only; add kernel = \"/path/vmlinuz\"");
	return 0;
}

/* To the next assignment. False: there is none. */
static bool find_assignment(struct parser *p)
{
	for (skip_blanks(p, true); *p->at == ';'; skip_blanks(p, true))
		p->at++;
	return *p->at;
}

/* QEMU stops where it would end only for all reasons to end at once. What does nothing, or NULL. */
static const char *idle_end(const struct cfg *c)
{
	if (c->on_poweroff != END_PRESERVE && c->on_reboot == END_PRESERVE)
		return "on_reboot = \"preserve\" holds only beside on_poweroff = \"preserve\": a "
		       "reboot is the guest's end";
	if (!cfg_is_pc(c) && c->on_crash != END_DESTROY && c->on_crash != c->on_reboot)
		return "on_crash does nothing: a microvm has no device to tell of a crash, and its "
		       "Linux reboots after one only if on_reboot says the same; or have firmware "
		       "= "
		       "\"bios\"";
	if (c->on_poweroff != END_PRESERVE)
		return NULL;
	if (c->on_reboot == END_DESTROY)
		return "on_reboot = \"destroy\" does nothing beside on_poweroff = \"preserve\": a "
		       "guest that reboots is preserved, too";
	if (c->on_crash == END_RESTART)
		return "on_crash = \"restart\" does nothing beside on_poweroff = \"preserve\": a "
		       "guest that crashed is preserved, too";
	return NULL;
}

static void check_ends(struct parser *p)
{
	const char *why = idle_end(p->c);

	if (why) {
		p->c->unknown++;
		cfg_warn(p, p->line, "%s", why);
	}
}

static int parse_lines(struct parser *p, const char *text, bool use)
{
	p->at = text;
	p->line = 1;
	p->assignment = 0;
	while (find_assignment(p))
		if (parse_line(p, use))
			return -1;
	return 0;
}

static int parse_all(struct parser *p, const char *text)
{
	if (parse_lines(p, text, false) || parse_lines(p, text, true))
		return -1;
	check_ends(p);
	return join_cmdline(p) || check_required(p) ? -1 : 0;
}

char *cfg_without(const char *text, const char *const *keys)
{
	char name[KEY_MAX], *copy = strdup(text), *from, *to;
	struct cfg c = {0};
	struct parser p = {.c = &c, .file = "", .at = text, .line = 1};
	bool bad = !copy;
	int i;

	while (!bad && find_assignment(&p)) {
		struct value v = {0};

		from = copy + (p.at - text);
		bad = read_assignment(&p, name, &v);
		free_value(&v);
		to = copy + (p.at - text);
		for (i = 0; keys[i] && strcmp(keys[i], name); i++)
			;
		for (; keys[i] && from < to; from++)
			if (*from != '\n')
				*from = ' ';
	}
	if (!bad)
		return copy;
	free(copy);
	return NULL;
}

int cfg_parse(struct cfg *c, const char *file, const char *text)
{
	struct parser p = {.c = c, .file = file};
	int err;

	*c = (struct cfg){.memory_mib = 256, .vcpus = 1, .on_reboot = END_RESTART};
	err = parse_all(&p, text);
	free(p.root);
	free(p.extra);
	return err;
}

bool cfg_is_pc(const struct cfg *c)
{
	return c->firmware == FIRMWARE_BIOS || c->firmware == FIRMWARE_UEFI;
}

void cfg_free_vif(struct cfg_vif *vif)
{
	free(vif->bridge);
	free(vif->model);
}

void cfg_free(struct cfg *c)
{
	int i;

	free(c->name);
	free(c->kernel);
	free(c->ramdisk);
	free(c->cmdline);
	free(c->vmm);
	for (i = 0; i < c->nargs; i++)
		free(c->args[i]);
	for (i = 0; i < c->nserial; i++)
		free(c->serial[i]);
	for (i = 0; i < c->ndisks; i++)
		free(c->disk[i].path);
	for (i = 0; i < c->nvifs; i++)
		cfg_free_vif(&c->vif[i]);
	for (i = 0; i < c->nwarnings; i++)
		free(c->warnings[i]);
	free(c->warnings);
	free(c->uuid);
	free(c->boot);
	free(c->screen.vnclisten);
	free(c->screen.vncpasswd);
	free(c->screen.spicehost);
	free(c->screen.spicepasswd);
	free(c->screen.keymap);
}
