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

static int unescape_char(char c)
{
	switch (c) {
	case 'n':
		return '\n';
	case 't':
		return '\t';
	case '\\':
	case '\'':
	case '"':
		return c;
	}
	return -1;
}

static int read_string(struct parser *p, char **out)
{
	char quote = *p->at++, *s = malloc(strlen(p->at) + 1), *to = s;
	int c;

	if (!s)
		return cfg_bad(p, p->line, "out of memory");
	*out = s;
	for (; *p->at != quote; p->at++) {
		if (!*p->at || *p->at == '\n')
			return cfg_bad(p, p->line,
				       "the string has no end; close it with %c on the same line",
				       quote);
		c = (unsigned char)*p->at;
		if (c == '\\') {
			c = unescape_char(*++p->at);
			if (c < 0)
				return cfg_bad(
				    p, p->line,
				    "unknown escape in a string; only \\n \\t \\\\ \\' \\\" "
				    "are known");
		}
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

static int read_list(struct parser *p, struct value *v)
{
	struct value n = {0};

	v->kind = V_LIST;
	p->at++;
	for (;;) {
		skip_blanks(p, true);
		if (*p->at == ']')
			break;
		if (v->items == MAX_ITEMS)
			return cfg_bad(p, p->line, "more than %d items in a list", MAX_ITEMS);
		v->item_line[v->items] = p->line;
		if (*p->at == '"' || *p->at == '\'') {
			if (read_string(p, &v->item[v->items++]))
				return -1;
		} else if (isdigit((unsigned char)*p->at)) {
			if (read_number(p, &n)) {
				free(n.text);
				return -1;
			}
			v->item[v->items++] = n.text;
		} else {
			return cfg_bad(
			    p, p->line,
			    "a list holds 'strings' or numbers, parted by commas and closed by ]");
		}
		skip_blanks(p, true);
		if (*p->at == ',')
			p->at++;
		else if (*p->at != ']')
			return cfg_bad(p, p->line,
				       "comma or ] expected in the list that began in line %d",
				       v->line);
	}
	p->at++;
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

static int assign_key(struct parser *p, const char *name, const struct value *v)
{
	int i;

	for (i = 0; i < cfg_nkeys; i++)
		if (!strcmp(name, cfg_keys[i].name))
			break;
	if (i == cfg_nkeys) {
		cfg_unknown_key(p, v->line, name);
		return 0;
	}
	if (v->add && v->kind == V_NUMBER)
		return cfg_bad(p, v->line, "+= adds to a list or a string, not to a number");
	if (p->seen[i] && !v->add)
		return cfg_bad(p, v->line, "%s is set in line %d already; keep one of the two",
			       name, p->seen[i]);
	p->seen[i] = v->line;
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

static int parse_line(struct parser *p)
{
	struct value v = {0};
	char name[KEY_MAX];
	int err = read_assignment(p, name, &v) || assign_key(p, name, &v);

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

	for (i = 0; i < c->ndisks; i++)
		if (c->disk[i].cdrom)
			return cfg_bad(p, c->disk[i].line,
				       "only a PC has a CD drive; add firmware = \"bios\"");
	for (i = 0; i < c->nvifs; i++)
		if (c->vif[i].model)
			return cfg_bad(
			    p, c->vif[i].line,
			    "only a PC has a network card of this model; add firmware = \"bios\"");
	if (uses_ports(c))
		return cfg_bad(p, p->line,
			       "port: only a PC has ports for hot-plugging; add firmware = "
			       "\"bios\"");
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

static int parse_all(struct parser *p)
{
	while (find_assignment(p))
		if (parse_line(p))
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
	struct parser p = {.c = c, .file = file, .at = text, .line = 1};
	int err;

	*c = (struct cfg){.memory_mib = 256, .vcpus = 1, .on_reboot = END_RESTART};
	err = parse_all(&p);
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
