/* SPDX-License-Identifier: GPL-2.0-only */
/* Guests' files: a lexer, a reader of assignments, and a table of keys. */
#define _GNU_SOURCE
#include "cfg.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../hv/abi.h"

enum kind { V_STRING, V_NUMBER, V_LIST };

#define MAX_ITEMS 64

struct value {
	enum kind kind;
	bool add;   /* += */
	char *text; /* of a string; of a number as written */
	long long number;
	char *item[MAX_ITEMS];
	int item_line[MAX_ITEMS];
	int items, line;
};

struct parser {
	struct cfg *c;
	const char *file, *at;
	int line;
	char *root, *extra;
	bool firmware_set;
};

struct key {
	const char *name;
	int (*set)(struct parser *p, const char *key, const struct value *v);
};

/* ---- messages ---- */

static int __attribute__((format(printf, 3, 4)))
bad(struct parser *p, int line, const char *fmt, ...)
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

static void __attribute__((format(printf, 3, 4)))
warn(struct parser *p, int line, const char *fmt, ...)
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
static void skip(struct parser *p, bool lines)
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

static int unescape(char c)
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
		return bad(p, p->line, "out of memory");
	*out = s;
	for (; *p->at != quote; p->at++) {
		if (!*p->at || *p->at == '\n')
			return bad(p, p->line,
				   "the string has no end; close it with %c on the same line",
				   quote);
		c = (unsigned char)*p->at;
		if (c == '\\') {
			c = unescape(*++p->at);
			if (c < 0)
				return bad(p, p->line,
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
		return bad(p, p->line, "out of memory");
	errno = 0;
	v->number = strtoll(v->text, &end, 0);
	if (errno || *end || end == v->text)
		return bad(p, p->line,
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
		skip(p, true);
		if (*p->at == ']')
			break;
		if (v->items == MAX_ITEMS)
			return bad(p, p->line, "more than %d items in a list", MAX_ITEMS);
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
			return bad(
			    p, p->line,
			    "a list holds 'strings' or numbers, parted by commas and closed by ]");
		}
		skip(p, true);
		if (*p->at == ',')
			p->at++;
		else if (*p->at != ']')
			return bad(p, p->line,
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
	return bad(p, p->line, "a value is a number, a \"string\" or a [ list ]");
}

static void free_value(struct value *v)
{
	free(v->text);
	while (v->items)
		free(v->item[--v->items]);
}

/* ---- values of the right kind ---- */

static int get_string(struct parser *p, const char *key, const struct value *v, char **out)
{
	char *whole;

	if (v->kind != V_STRING)
		return bad(p, v->line, "%s wants a string: %s = \"...\"", key, key);
	if (asprintf(&whole, "%s%s", v->add && *out ? *out : "", v->text) < 0)
		return bad(p, v->line, "out of memory");
	free(*out);
	*out = whole;
	return 0;
}

static int get_number(struct parser *p, const char *key, const struct value *v, long long min,
		      long long max, long long *out)
{
	char *end = v->text;

	*out = v->number;
	if (v->kind == V_STRING) {
		errno = 0;
		*out = strtoll(v->text, &end, 0);
	}
	if (v->kind == V_LIST || (v->kind == V_STRING && (errno || *end || end == v->text)) ||
	    *out < min || *out > max)
		return bad(p, v->line, "%s wants a number from %lld to %lld", key, min, max);
	return 0;
}

/* have: items there already, to which += adds. */
static int get_list(struct parser *p, const char *key, const struct value *v, int have, int max,
		    const char *example)
{
	if (v->kind != V_LIST)
		return bad(p, v->line, "%s wants a list: %s = [ %s ]", key, key, example);
	if (have + v->items > max)
		return bad(p, v->line, "%s has %d items; at most %d are possible", key,
			   have + v->items, max);
	return 0;
}

/* ---- keys ---- */

const char *cfg_bad_name(const char *name)
{
	if (!*name || strlen(name) > CFG_NAME_MAX)
		return "a name has 1 to 31 characters";
	if (!isalnum((unsigned char)*name) ||
	    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-") !=
		strlen(name))
		return "a name begins with a letter or digit and holds only letters, digits and _ "
		       ". + -";
	if (!strcmp(name, "dom0"))
		return "dom0 is the management domain's name";
	return NULL;
}

static int set_name(struct parser *p, const char *key, const struct value *v)
{
	const char *why;

	if (get_string(p, key, v, &p->c->name))
		return -1;
	why = cfg_bad_name(p->c->name);
	return why ? bad(p, v->line, "name = \"%s\": %s", p->c->name, why) : 0;
}

static int set_path(struct parser *p, const char *key, const struct value *v)
{
	char **to = !strcmp(key, "kernel")    ? &p->c->kernel
		    : !strcmp(key, "ramdisk") ? &p->c->ramdisk
					      : &p->c->vmm;

	if (get_string(p, key, v, to))
		return -1;
	return **to ? 0 : bad(p, v->line, "%s is empty; give a path or leave the line out", key);
}

static int set_cmdline(struct parser *p, const char *key, const struct value *v)
{
	return get_string(p, key, v,
			  !strcmp(key, "cmdline") ? &p->c->cmdline
			  : !strcmp(key, "root")  ? &p->root
						  : &p->extra);
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
		return bad(p, p->line, "out of memory");
	}
	return 0;
}

static int set_memory(struct parser *p, const char *key, const struct value *v)
{
	long long n;

	if (get_number(p, key, v, 1, 1ll << 24, &n))
		return bad(p, v->line, "%s wants the number of MiB: %s = 512", key, key);
	*(!strcmp(key, "memory") ? &p->c->memory_mib : &p->c->maxmem_mib) = n;
	return 0;
}

static int set_number(struct parser *p, const char *key, const struct value *v)
{
	const struct {
		const char *key;
		unsigned int *to, min, max;
	} all[] = {{"vcpus", &p->c->vcpus, 1, CFG_MAX_VCPUS},
		   {"maxvcpus", &p->c->maxvcpus, 1, CFG_MAX_VCPUS},
		   {"cap", &p->c->cap, 0, 100},
		   {"cpu_weight", &p->c->weight, 1, CORBEL_MAX_WEIGHT}};
	long long n;
	int i = 0;

	while (strcmp(all[i].key, key))
		i++;
	if (get_number(p, key, v, all[i].min, all[i].max, &n))
		return -1;
	*all[i].to = n;
	return 0;
}

static int set_flag(struct parser *p, const char *key, const struct value *v)
{
	long long n;

	if (get_number(p, key, v, 0, 1, &n))
		return -1;
	p->c->localtime = n;
	return 0;
}

static int set_uuid(struct parser *p, const char *key, const struct value *v)
{
	const char *s;
	int i = 0;

	if (get_string(p, key, v, &p->c->uuid))
		return -1;
	for (s = p->c->uuid; i < 36 && *s; i++, s++)
		if (i == 8 || i == 13 || i == 18 || i == 23 ? *s != '-'
							    : !isxdigit((unsigned char)*s))
			break;
	if (i < 36 || *s)
		return bad(p, v->line,
			   "uuid wants 32 hexadecimal digits parted like "
			   "12345678-1234-1234-1234-123456789abc");
	return 0;
}

static int set_on_reboot(struct parser *p, const char *key, const struct value *v)
{
	bool destroy = v->kind == V_STRING && !strcmp(v->text, "destroy");

	if (!destroy && (v->kind != V_STRING || strcmp(v->text, "restart")))
		return bad(p, v->line, "%s is \"restart\" (usual) or \"destroy\"", key);
	p->c->no_reboot = destroy;
	return 0;
}

/* xen-tools writes on_crash = 'restart' into each file, so this cannot be an error. */
static int set_on_end(struct parser *p, const char *key, const struct value *v)
{
	if (v->kind != V_STRING)
		return bad(p, v->line, "%s wants a string: %s = \"destroy\"", key, key);
	if (!strcmp(v->text, "destroy"))
		return 0;
	p->c->unknown++;
	warn(p, v->line, "%s = \"%s\" is not supported: a guest that ends is gone", key, v->text);
	return 0;
}

/* HVM guests of xl are PCs with a BIOS; PVH and PV ones boot a kernel. */
static int set_type(struct parser *p, const char *key, const struct value *v)
{
	if (v->kind == V_STRING && (!strcmp(v->text, "hvm") || !strcmp(v->text, "pvh"))) {
		if (!p->firmware_set)
			p->c->firmware = *v->text == 'h' ? FIRMWARE_BIOS : FIRMWARE_MICROVM;
		return 0;
	}
	return bad(p, v->line,
		   "%s is \"hvm\" or \"pvh\"; there are no PV guests: boot the same kernel as "
		   "\"pvh\"",
		   key);
}

static int set_firmware(struct parser *p, const char *key, const struct value *v)
{
	static const char *const names[] = {
	    [FIRMWARE_MICROVM] = "microvm", [FIRMWARE_BIOS] = "bios", [FIRMWARE_NONE] = "none"};
	int i;

	for (i = 0; v->kind == V_STRING && i < 3; i++)
		if (!strcmp(v->text, names[i])) {
			p->c->firmware = i;
			p->firmware_set = true;
			return 0;
		}
	return bad(p, v->line, "firmware is one of \"microvm\" (default), \"bios\" and \"none\"");
}

static int set_cpus(struct parser *p, const char *key, const struct value *v)
{
	char err[128];
	uint64_t mask;
	int i, n = v->kind == V_LIST ? v->items : CFG_MAX_VCPUS;

	if (n > CFG_MAX_VCPUS)
		return bad(p, v->line, "cpus has %d items; at most %d are possible", n,
			   CFG_MAX_VCPUS);
	for (i = 0; i < n; i++) {
		if (cpulist_parse(v->kind == V_LIST ? v->item[i] : v->text, &mask, err,
				  sizeof(err)))
			return bad(p, v->kind == V_LIST ? v->item_line[i] : v->line, "cpus: %s",
				   err);
		p->c->affinity[i] = mask == ~0ull ? 0 : mask;
	}
	return 0;
}

/* Take the next comma-separated field off *s. */
static char *field(char **s)
{
	char *f = strsep(s, ","), *end;

	if (!f)
		return NULL;
	f += strspn(f, " \t");
	for (end = f + strlen(f); end > f && (end[-1] == ' ' || end[-1] == '\t'); end--)
		end[-1] = 0;
	return f;
}

#define DISK_RIGHT                                                                                 \
	"right is '/path/img,raw,xvda,w' or 'file:/path/img,xvda,w' (format raw or qcow2, access " \
	"r or w)"

static int disk_set(struct parser *p, struct cfg_disk *d, const char *what, const char *val)
{
	if (!strcmp(what, "target")) {
		free(d->path);
		d->path = strdup(val);
	} else if (!strcmp(what, "format")) {
		if (*val && strcmp(val, "raw") && strcmp(val, "qcow2"))
			return bad(p, d->line, "disk format \"%s\" is not known; " DISK_RIGHT, val);
		d->qcow2 = !strcmp(val, "qcow2");
	} else if (!strcmp(what, "access")) {
		if (*val && strcmp(val, "r") && strcmp(val, "ro") && strcmp(val, "w") &&
		    strcmp(val, "rw"))
			return bad(p, d->line, "disk access \"%s\" is not known; " DISK_RIGHT, val);
		d->readonly = *val == 'r' && strcmp(val, "rw");
	} else if (!strcmp(what, "devtype")) {
		d->cdrom = !strcmp(val, "cdrom");
		d->readonly |= d->cdrom;
	} else if (!strcmp(what, "vdev")) {
		if (strchr(val, ':') && !strcmp(strchr(val, ':'), ":cdrom"))
			return disk_set(p, d, "devtype", "cdrom");
	} else {
		return bad(p, d->line, "disk option \"%s\" is not known; " DISK_RIGHT, what);
	}
	return 0;
}

static int parse_disk(struct parser *p, struct cfg_disk *d, char *spec)
{
	static const char *const order[] = {"target", "format", "vdev", "access"};
	bool old = !strncmp(spec, "file:", 5) || !strncmp(spec, "phy:", 4);
	int i = 0;
	char *f, *val;

	if (old)
		spec = strchr(spec, ':') + 1;
	while ((f = field(&spec))) {
		val = i || *f != '/' ? strchr(f, '=') : NULL;
		if (val) {
			*val++ = 0;
			if (disk_set(p, d, f, val))
				return -1;
			continue;
		}
		if (!strcmp(f, "cdrom")) {
			d->cdrom = d->readonly = true;
			continue;
		}
		if (i == 4)
			return bad(p, d->line, "too many fields in a disk; " DISK_RIGHT);
		if (disk_set(p, d, order[i], f))
			return -1;
		i += old && i == 0 ? 2 : 1; /* file: and phy: have no format field */
	}
	if (!d->path || !*d->path)
		return bad(p, d->line, "a disk without a path; " DISK_RIGHT);
	return 0;
}

static int set_disk(struct parser *p, const char *key, const struct value *v)
{
	int i;

	if (get_list(p, key, v, p->c->ndisks, CFG_MAX_DISKS, "'/path/img,raw,xvda,w'"))
		return -1;
	for (i = 0; i < v->items; i++) {
		struct cfg_disk *d = &p->c->disk[p->c->ndisks++];

		d->line = v->item_line[i];
		if (parse_disk(p, d, v->item[i]))
			return -1;
	}
	return 0;
}

int mac_parse(const char *s, uint8_t mac[6])
{
	int i, n = 0;

	if (sscanf(s, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2], &mac[3],
		   &mac[4], &mac[5], &n) != 6 ||
	    s[n] || n != 17 || (mac[0] & 1))
		return -1;
	for (i = 0; i < 6; i++)
		if (mac[i])
			return 0;
	return -1;
}

static int parse_vif(struct parser *p, struct cfg_vif *vif, char *spec)
{
	char *f, *val;

	while ((f = field(&spec))) {
		if (!*f)
			continue;
		val = strchr(f, '=');
		if (!val)
			return bad(
			    p, vif->line,
			    "\"%s\" in a vif; right is '' or 'bridge=%s,mac=52:54:00:12:34:56'", f,
			    CFG_BRIDGE);
		*val++ = 0;
		if (!strcmp(f, "bridge") && *val && strlen(val) < 16) {
			free(vif->bridge);
			vif->bridge = strdup(val);
		} else if (!strcmp(f, "bridge")) {
			return bad(p, vif->line,
				   "\"%s\" is not a bridge's name; it has 1 to 15 characters", val);
		} else if (!strcmp(f, "mac")) {
			if (mac_parse(val, vif->mac))
				return bad(
				    p, vif->line,
				    "\"%s\" is not a unicast MAC address like 52:54:00:12:34:56",
				    val);
			vif->has_mac = true;
		} else {
			p->c->unknown++;
			warn(p, vif->line,
			     "unknown vif option \"%s\" is ignored; bridge and mac are known", f);
		}
	}
	if (!vif->bridge)
		vif->bridge = strdup(CFG_BRIDGE);
	return vif->bridge ? 0 : bad(p, vif->line, "out of memory");
}

static int set_vif(struct parser *p, const char *key, const struct value *v)
{
	int i;

	if (get_list(p, key, v, p->c->nvifs, CFG_MAX_VIFS, "'' or 'bridge=" CFG_BRIDGE "'"))
		return -1;
	for (i = 0; i < v->items; i++) {
		struct cfg_vif *vif = &p->c->vif[p->c->nvifs++];

		vif->line = v->item_line[i];
		if (parse_vif(p, vif, v->item[i]))
			return -1;
	}
	return 0;
}

/* A parser for one item, outside of a file. */
static int parse_one(char *err, const char *spec, int (*parse)(struct parser *p, void *to, char *s),
		     void *to)
{
	struct cfg c = {0};
	struct parser p = {.c = &c, .file = "item", .line = 1};
	char *copy = strdup(spec);
	int ret = copy ? parse(&p, to, copy) : bad(&p, 1, "out of memory");
	const char *why = c.error;

	if (!ret && c.nwarnings) {
		why = c.warnings[0];
		ret = -1;
	}
	if (ret) /* without "item:1: " */
		snprintf(err, 256, "%s", strchr(why, ' ') + 1);
	free(copy);
	cfg_free(&c);
	return ret;
}

static int one_disk(struct parser *p, void *to, char *s)
{
	return parse_disk(p, to, s);
}

static int one_vif(struct parser *p, void *to, char *s)
{
	return parse_vif(p, to, s);
}

int cfg_parse_disk(struct cfg_disk *d, const char *spec, char *err)
{
	*d = (struct cfg_disk){.line = 1};
	return parse_one(err, spec, one_disk, d);
}

int cfg_parse_vif(struct cfg_vif *vif, const char *spec, char *err)
{
	*vif = (struct cfg_vif){.line = 1};
	return parse_one(err, spec, one_vif, vif);
}

static int set_args(struct parser *p, const char *key, const struct value *v)
{
	int i;

	if (get_list(p, key, v, p->c->nargs, CFG_MAX_ARGS, "'-device', '...'"))
		return -1;
	for (i = 0; i < v->items; i++) {
		p->c->args[p->c->nargs] = strdup(v->item[i]);
		if (!p->c->args[p->c->nargs])
			return bad(p, v->line, "out of memory");
		p->c->nargs++;
	}
	return 0;
}

static const struct key keys[] = {
    {"name", set_name},
    {"kernel", set_path},
    {"ramdisk", set_path},
    {"cmdline", set_cmdline},
    {"root", set_cmdline},
    {"extra", set_cmdline},
    {"memory", set_memory},
    {"maxmem", set_memory},
    {"vcpus", set_number},
    {"maxvcpus", set_number},
    {"disk", set_disk},
    {"vif", set_vif},
    {"firmware", set_firmware},
    {"cpu_weight", set_number},
    {"cap", set_number},
    {"cpus", set_cpus},
    {"device_model_override", set_path},
    {"device_model_args", set_args},
    {"type", set_type},
    {"builder", set_type},
    {"uuid", set_uuid},
    {"localtime", set_flag},
    {"on_poweroff", set_on_end},
    {"on_reboot", set_on_reboot},
    {"on_crash", set_on_end},
};
#define NKEYS ((int)(sizeof(keys) / sizeof(keys[0])))

/* Keys of xl that mean nothing here, in alphabetical order. */
static const char *const xl_keys[] = {"acpi",
				      "acpi_firmware",
				      "altp2m",
				      "apic",
				      "bios",
				      "blkdev_start",
				      "boot",
				      "bootloader",
				      "bootloader_args",
				      "bootloader_restrict",
				      "channel",
				      "claim_mode",
				      "cpuid",
				      "cpus_soft",
				      "device_model",
				      "device_model_user",
				      "device_model_version",
				      "device_tree",
				      "dm_restrict",
				      "driver_domain",
				      "firmware_override",
				      "gfx_passthru",
				      "hap",
				      "hdtype",
				      "hpet",
				      "init_seclabel",
				      "ioports",
				      "iomem",
				      "irqs",
				      "keymap",
				      "max_event_channels",
				      "max_grant_frames",
				      "max_maptrack_frames",
				      "mca_caps",
				      "monitor",
				      "msr_relaxed",
				      "nestedhvm",
				      "nodes",
				      "nomigrate",
				      "nographic",
				      "nx",
				      "on_soft_reset",
				      "on_watchdog",
				      "opengl",
				      "p9",
				      "pae",
				      "passthrough",
				      "pci",
				      "pci_msitranslate",
				      "pci_permissive",
				      "pci_power_mgmt",
				      "pool",
				      "pvcalls",
				      "pvh",
				      "pvshim",
				      "rdm",
				      "rdm_mem_boundary",
				      "reboot",
				      "rtc_timeoffset",
				      "sched",
				      "sdl",
				      "seclabel",
				      "serial",
				      "shadow_memory",
				      "smbios",
				      "smbios_firmware",
				      "soundhw",
				      "spice",
				      "spiceagent_mouse",
				      "spicehost",
				      "spicepasswd",
				      "spiceport",
				      "stdvga",
				      "timer_mode",
				      "tsc_mode",
				      "usb",
				      "usbctrl",
				      "usbdev",
				      "usbdevice",
				      "usbversion",
				      "vdispl",
				      "vfb",
				      "vga",
				      "videoram",
				      "viridian",
				      "vkb",
				      "vnc",
				      "vncconsole",
				      "vncdisplay",
				      "vnclisten",
				      "vncpasswd",
				      "vncunused",
				      "vnuma",
				      "vpt_align",
				      "vtpm",
				      "vuart",
				      "xen_platform_pci"};
#define NXL ((int)(sizeof(xl_keys) / sizeof(xl_keys[0])))

/* ---- the file ---- */

static int least(int a, int b, int c)
{
	int least = a < b ? a : b;

	return least < c ? least : c;
}

/* How many letters have to be changed, put in or taken out to make b of a. */
static int distance(const char *a, const char *b)
{
	int row[64], up, left, i, j, n = strlen(b);

	for (j = 0; j <= n; j++)
		row[j] = j;
	for (i = 1; a[i - 1]; i++) {
		left = row[0]; /* of the row above */
		row[0] = i;
		for (j = 1; j <= n; j++) {
			up = row[j];
			row[j] = least(up + 1, row[j - 1] + 1, left + (a[i - 1] != b[j - 1]));
			left = up;
		}
	}
	return row[n];
}

static void unknown_key(struct parser *p, int line, const char *name)
{
	const char *nearest = NULL;
	int i, d, best = strlen(name) / 3 + 1;

	p->c->unknown++;
	for (i = 0; i < NXL; i++)
		if (!strcmp(name, xl_keys[i])) {
			warn(p, line, "key \"%s\" of xl is not supported and ignored", name);
			return;
		}
	for (i = 0; i < NKEYS; i++) {
		d = distance(name, keys[i].name);
		if (d <= best) {
			best = d - 1;
			nearest = keys[i].name;
		}
	}
	if (nearest)
		warn(p, line, "unknown key \"%s\" is ignored; did you mean \"%s\"?", name, nearest);
	else
		warn(p, line, "unknown key \"%s\" is ignored", name);
}

static int assign(struct parser *p, const char *name, const struct value *v, int seen[NKEYS])
{
	int i;

	for (i = 0; i < NKEYS; i++)
		if (!strcmp(name, keys[i].name))
			break;
	if (i == NKEYS) {
		unknown_key(p, v->line, name);
		return 0;
	}
	if (v->add && v->kind == V_NUMBER)
		return bad(p, v->line, "+= adds to a list or a string, not to a number");
	if (seen[i] && !v->add)
		return bad(p, v->line, "%s is set in line %d already; keep one of the two", name,
			   seen[i]);
	seen[i] = v->line;
	return keys[i].set(p, name, v);
}

static int parse_line(struct parser *p, int seen[NKEYS])
{
	struct value v = {0};
	size_t len =
	    strspn(p->at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
	char name[64];
	int err;

	if (!len || len >= sizeof(name))
		return bad(p, p->line, "key = value expected, like memory = 512");
	snprintf(name, sizeof(name), "%.*s", (int)len, p->at);
	p->at += len;
	skip(p, false);
	if (*p->at == '+') {
		v.add = true;
		p->at++;
	}
	if (*p->at != '=' || p->at[1] == '=')
		return bad(p, p->line, "= expected after %s", name);
	p->at++;
	skip(p, false);
	err = read_value(p, &v) || assign(p, name, &v, seen);
	free_value(&v);
	if (err)
		return -1;
	skip(p, false);
	if (*p->at && *p->at != '\n' && *p->at != ';')
		return bad(p, p->line, "rubbish after the value of %s: one assignment a line",
			   name);
	return 0;
}

static int check(struct parser *p)
{
	struct cfg *c = p->c;
	int i;

	if (!c->name)
		return bad(p, p->line, "name is missing; add name = \"...\"");
	if (!c->kernel && !c->ndisks)
		return bad(p, p->line, "nothing to boot; add kernel = \"/path/vmlinuz\" or a disk");
	if (!c->kernel && (c->ramdisk || c->cmdline))
		return bad(p, p->line, "%s without a kernel; add kernel = \"/path/vmlinuz\"",
			   c->ramdisk ? "ramdisk" : "a command line");
	if (!c->maxvcpus)
		c->maxvcpus = c->vcpus;
	if (c->maxvcpus < c->vcpus)
		return bad(p, p->line, "maxvcpus is less than vcpus; it has to be %u or more",
			   c->vcpus);
	if (c->maxmem_mib && c->maxmem_mib < c->memory_mib)
		return bad(p, p->line, "maxmem is less than memory; it has to be %llu or more",
			   (unsigned long long)c->memory_mib);
	for (i = 0; i < c->ndisks; i++)
		if (c->disk[i].cdrom && c->firmware != FIRMWARE_BIOS)
			return bad(p, c->disk[i].line,
				   "only a PC has a CD drive; add firmware = \"bios\"");
	if (!c->kernel && c->firmware == FIRMWARE_NONE)
		return bad(
		    p, p->line,
		    "firmware = \"none\" boots a kernel only; add kernel = \"/path/vmlinuz\"");
	return 0;
}

static int parse_all(struct parser *p)
{
	int seen[NKEYS] = {0};

	for (;;) {
		skip(p, true);
		if (*p->at == ';')
			p->at++;
		else if (!*p->at)
			break;
		else if (parse_line(p, seen))
			return -1;
	}
	return join_cmdline(p) || check(p) ? -1 : 0;
}

int cfg_parse(struct cfg *c, const char *file, const char *text)
{
	struct parser p = {.c = c, .file = file, .at = text, .line = 1};
	int err;

	*c = (struct cfg){.memory_mib = 256, .vcpus = 1};
	err = parse_all(&p);
	free(p.root);
	free(p.extra);
	return err;
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
		free(c->vif[i].bridge);
	for (i = 0; i < c->nwarnings; i++)
		free(c->warnings[i]);
	free(c->warnings);
	free(c->uuid);
}

/* ---- CPU lists ---- */

static int cpulist_bad(char *err, unsigned int size, const char *list)
{
	snprintf(err, size,
		 "\"%.40s\" is not a list of CPUs; right are \"all\", \"3\", \"0-1,4\", \"0-7,^3\"",
		 list);
	return -1;
}

static int cpu_number(const char **s, unsigned int *n)
{
	if (!isdigit((unsigned char)**s))
		return -1;
	for (*n = 0; isdigit((unsigned char)**s); (*s)++)
		if ((*n = *n * 10 + (**s - '0')) > 100000)
			return -1;
	return 0;
}

int cpulist_parse(const char *list, uint64_t *mask, char *err, unsigned int size)
{
	unsigned int from, to;
	const char *s = list;
	uint64_t range;
	bool without, first = true;

	*mask = 0;
	do {
		s += strspn(s, " \t");
		without = *s == '^';
		s += without;
		if (!strncmp(s, "all", 3)) {
			s += 3;
			from = 0;
			to = 63;
		} else {
			if (cpu_number(&s, &from))
				return cpulist_bad(err, size, list);
			to = from;
			if (*s == '-' && (s++, cpu_number(&s, &to)))
				return cpulist_bad(err, size, list);
		}
		if (to > 63 || from > to) {
			snprintf(err, size, "%s in \"%.40s\"",
				 to > 63 ? "CPUs go from 0 to 63" : "a range goes upwards", list);
			return -1;
		}
		range = (~0ull >> (63 - to)) & (~0ull << from);
		if (without && first)
			*mask = ~0ull; /* "^1" alone: all but 1 */
		*mask = without ? *mask & ~range : *mask | range;
		first = false;
		s += strspn(s, " \t");
	} while (*s == ',' && s++);
	if (*s)
		return cpulist_bad(err, size, list);
	if (!*mask) {
		snprintf(err, size, "no CPU is left in \"%.40s\"", list);
		return -1;
	}
	return 0;
}

char *cpulist_format(uint64_t mask, char *buf, unsigned int size)
{
	unsigned int from, to, n = 0;

	if (mask == ~0ull) {
		snprintf(buf, size, "all");
		return buf;
	}
	buf[0] = 0;
	for (from = 0; from < 64; from = to + 1) {
		to = from;
		if (!(mask >> from & 1))
			continue;
		while (to < 63 && (mask >> (to + 1) & 1))
			to++;
		n += snprintf(buf + n, size - n, to > from ? "%s%u-%u" : "%s%u", n ? "," : "", from,
			      to);
		if (n >= size)
			break;
	}
	return buf;
}
