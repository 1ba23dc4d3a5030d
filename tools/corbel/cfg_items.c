/* SPDX-License-Identifier: GPL-2.0-only */
/* What the lists `disk`, `vif` and `pci` hold, in a guest's file or by itself on a command line. */
#define _GNU_SOURCE
#include "cfg_parse.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Take the next comma-separated field off *s. */
static char *next_field(char **s)
{
	char *f = strsep(s, ","), *end;

	if (!f)
		return NULL;
	f += strspn(f, " \t");
	for (end = f + strlen(f); end > f && (end[-1] == ' ' || end[-1] == '\t'); end--)
		end[-1] = 0;
	return f;
}

static int set_port(struct parser *p, int line, const char *val, int *port)
{
	*port = *val - '0';
	if (*val && !val[1] && *port >= 0 && *port < CFG_PORTS)
		return 0;
	return cfg_bad(p, line, "\"%s\" is not a port for hot-plugging; they are 0 to %d", val,
		       CFG_PORTS - 1);
}

#define DISK_RIGHT                                                                                 \
	"right is '/path/img,raw,xvda,w' or 'file:/path/img,xvda,w' (format raw or qcow2, access " \
	"r or w)"
#define LAST_IDE  3 /* hda to hdd */
#define LAST_SATA 5 /* sda to sdf */

/*
 * xl's names of whole disks: hdX is an IDE disk, sdX a SCSI one, for which a PC has SATA, since
 * systems of today know that. xvdX and vdX, partitions, and what is not named are virtio's.
 */
static int set_vdev(struct parser *p, struct cfg_disk *d, const char *val)
{
	static const struct {
		const char *name;
		enum cfg_bus bus;
		unsigned int last;
	} kinds[] = {{"hd", BUS_IDE, LAST_IDE}, {"sd", BUS_SATA, LAST_SATA}};
	size_t len = strcspn(val, ":"), i;

	if (len >= sizeof(d->vdev) ||
	    (val[len] && strcmp(val + len, ":cdrom") && strcmp(val + len, ":disk")))
		return cfg_bad(p, d->line, "\"%s\" is no name of a disk; " DISK_RIGHT, val);
	snprintf(d->vdev, sizeof(d->vdev), "%.*s", (int)len, val);
	if (!strcmp(val + len, ":cdrom"))
		d->cdrom = d->readonly = true;
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strncmp(val, kinds[i].name, 2) || len != 3 || val[2] < 'a' || val[2] > 'z')
			continue;
		d->bus = kinds[i].bus;
		d->unit = val[2] - 'a';
		if (d->unit > kinds[i].last)
			return cfg_bad(p, d->line,
				       "a PC has no disk %s; have xvdX, which is virtio", d->vdev);
	}
	return 0;
}

static int set_format(struct parser *p, struct cfg_disk *d, const char *val)
{
	if (!strcmp(val, "vhd") || !strcmp(val, "vmdk") || !strcmp(val, "qcow") ||
	    !strcmp(val, "qed"))
		return cfg_bad(p, d->line,
			       "disk format \"%s\" is not supported; make a disk of it that is: "
			       "qemu-img convert -O qcow2 OLD NEW",
			       val);
	if (*val && strcmp(val, "raw") && strcmp(val, "qcow2") && strcmp(val, "empty"))
		return cfg_bad(p, d->line, "disk format \"%s\" is not known; " DISK_RIGHT, val);
	d->qcow2 = !strcmp(val, "qcow2");
	return 0;
}

/* What xl has for disks, and this not. */
static int not_supported(struct parser *p, struct cfg_disk *d, const char *what)
{
	static const char *const ignored[] = {"untrusted",   "colo",	   "no-colo",
					      "colo-host",   "colo-port",  "colo-export",
					      "active-disk", "hidden-disk"};
	size_t i;

	for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		if (!strcmp(what, ignored[i])) {
			p->c->unknown++;
			cfg_warn(p, d->line,
				 "disk option \"%s\" of xl is not supported and ignored", what);
			return 0;
		}
	if (!strcmp(what, "script"))
		return cfg_bad(p, d->line,
			       "disk option \"script\" of xl is not supported; name the device or "
			       "file that the script would give");
	if (!strcmp(what, "backend"))
		return cfg_bad(
		    p, d->line,
		    "disk option \"backend\" of xl is not supported: all disks are dom0's");
	return cfg_bad(p, d->line, "disk option \"%s\" is not known; " DISK_RIGHT, what);
}

static int disk_set(struct parser *p, struct cfg_disk *d, const char *what, const char *val)
{
	if (!strcmp(what, "target")) {
		free(d->path);
		d->path = strdup(val);
	} else if (!strcmp(what, "format")) {
		return set_format(p, d, val);
	} else if (!strcmp(what, "access")) {
		if (*val && strcmp(val, "r") && strcmp(val, "ro") && strcmp(val, "w") &&
		    strcmp(val, "rw"))
			return cfg_bad(p, d->line, "disk access \"%s\" is not known; " DISK_RIGHT,
				       val);
		d->readonly = d->cdrom || (*val == 'r' && strcmp(val, "rw"));
	} else if (!strcmp(what, "devtype")) {
		d->cdrom = !strcmp(val, "cdrom");
		d->readonly |= d->cdrom;
	} else if (!strcmp(what, "backendtype")) { /* all are files and devices that QEMU opens */
		if (strcmp(val, "phy") && strcmp(val, "tap") && strcmp(val, "qdisk"))
			return cfg_bad(p, d->line,
				       "disk backendtype \"%s\" is not known; " DISK_RIGHT, val);
	} else if (!strcmp(what, "port")) {
		return set_port(p, d->line, val, &d->port);
	} else if (!strcmp(what, "vdev")) {
		return set_vdev(p, d, val);
	} else if (strcmp(what, "specification")) { /* a PC's is what its name says */
		return not_supported(p, d, what);
	}
	return 0;
}

/* Is it a word by itself, not a field? */
static bool disk_word(struct parser *p, struct cfg_disk *d, const char *word)
{
	static const char *const words[] = {"cdrom",   "discard",   "no-discard", "direct-io-safe",
					    "trusted", "untrusted", "colo",	  "no-colo"};
	size_t i;

	for (i = 0; i < sizeof(words) / sizeof(words[0]) && strcmp(word, words[i]); i++)
		;
	if (i == sizeof(words) / sizeof(words[0]))
		return false;
	if (i == 0)
		d->cdrom = d->readonly = true;
	else if (i <= 2)
		d->discard = i == 1;
	else if (i > 4)
		not_supported(p, d, word);
	return true;
}

/* xm's prefixes, which may stand before one another. Whether there was one. */
static bool skip_prefixes(struct cfg_disk *d, char **spec)
{
	static const char *const prefixes[] = {
	    "file:", "phy:", "tap:", "tap2:", "tapdisk:", "ioemu:", "aio:", "raw:", "qcow2:"};
	const char *start = *spec;
	size_t i;

	for (i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (!strncmp(*spec, prefixes[i], strlen(prefixes[i]))) {
			d->qcow2 |= !strcmp(prefixes[i], "qcow2:");
			*spec += strlen(prefixes[i]);
			i = -1;
		}
	return *spec != start;
}

static int parse_disk(struct parser *p, struct cfg_disk *d, char *spec)
{
	static const char *const order[] = {"target", "format", "vdev", "access"};
	bool old = skip_prefixes(d, &spec);
	int i = 0;
	char *f, *val;

	d->port = -1;
	while ((f = next_field(&spec))) {
		val = i || *f != '/' ? strchr(f, '=') : NULL;
		if (val) {
			*val++ = 0;
			if (disk_set(p, d, f, val))
				return -1;
			continue;
		}
		if (disk_word(p, d, f))
			continue;
		if (i == 1 && !*d->path && strchr(f, ':'))
			i++; /* an empty drive has no format */
		/* In xl a path behind target= goes to the end, commas included. */
		if (i == 0 && d->path)
			return cfg_bad(p, d->line,
				       "\"%s\" behind target=: a path can have no comma, and other "
				       "fields have their names",
				       f);
		if (i == 4)
			return cfg_bad(p, d->line, "too many fields in a disk; " DISK_RIGHT);
		if (disk_set(p, d, order[i], f))
			return -1;
		i += old && i == 0 ? 2 : 1; /* file: and phy: have no format field */
	}
	if (!d->path && d->cdrom)
		d->path = strdup("");
	if (!d->path || (!*d->path && !d->cdrom))
		return cfg_bad(p, d->line, "a disk without a path; " DISK_RIGHT);
	return 0;
}

int cfg_set_disk(struct parser *p, const char *key, const struct value *v)
{
	int i;

	if (cfg_get_list(p, key, v, p->c->ndisks, CFG_MAX_DISKS, "'/path/img,raw,xvda,w'"))
		return -1;
	for (i = 0; i < v->items; i++) {
		struct cfg_disk *d = &p->c->disk[p->c->ndisks++];

		d->line = v->item_line[i];
		if (parse_disk(p, d, v->item[i]))
			return -1;
		if (d->port < 0)
			d->number = p->c->fixed_disks++;
	}
	return 0;
}

static int set_model(struct parser *p, struct cfg_vif *vif, const char *model)
{
	static const char *const cards[] = {"e1000", "e1000e", "rtl8139"};
	size_t i;

	vif->named = true;
	if (!strncmp(model, "virtio", 6))
		return 0;
	for (i = 0; i < sizeof(cards) / sizeof(cards[0]); i++)
		if (!strcmp(model, cards[i])) {
			free(vif->model);
			vif->model = strdup(model);
			return vif->model ? 0 : cfg_bad(p, vif->line, "out of memory");
		}
	return cfg_bad(p, vif->line,
		       "network card \"%s\" is not known; virtio, e1000, e1000e, rtl8139 are",
		       model);
}

static int set_ssh(struct parser *p, struct cfg_vif *vif, const char *val)
{
	char *end;
	unsigned long n = strtoul(val, &end, 10);

	if (!isdigit((unsigned char)*val) || *end || !n || n > 65535)
		return cfg_bad(p, vif->line, "\"%s\" is not a port of TCP, 1 to 65535", val);
	vif->ssh = n;
	return 0;
}

/* What goes not together, and what is to be if nothing is said. */
static int check_vif(struct parser *p, struct cfg_vif *vif)
{
	if (vif->user && vif->bridge)
		return cfg_bad(p, vif->line, "a vif is on a bridge or of type=user, not both");
	if (vif->ssh && !vif->user)
		return cfg_bad(p, vif->line, "ssh=%u in a vif wants type=user, too", vif->ssh);
	if (!vif->user && !vif->bridge)
		vif->bridge = strdup(CFG_BRIDGE);
	return vif->user || vif->bridge ? 0 : cfg_bad(p, vif->line, "out of memory");
}

static int parse_vif(struct parser *p, struct cfg_vif *vif, char *spec)
{
	char *f, *val;

	vif->port = -1;
	while ((f = next_field(&spec))) {
		if (!*f)
			continue;
		val = strchr(f, '=');
		if (!val)
			return cfg_bad(
			    p, vif->line,
			    "\"%s\" in a vif; right is '' or 'bridge=%s,mac=52:54:00:12:34:56'", f,
			    CFG_BRIDGE);
		*val++ = 0;
		if (!strcmp(f, "bridge") && *val && strlen(val) < 16) {
			free(vif->bridge);
			vif->bridge = strdup(val);
		} else if (!strcmp(f, "bridge")) {
			return cfg_bad(p, vif->line,
				       "\"%s\" is not a bridge's name; it has 1 to 15 characters",
				       val);
		} else if (!strcmp(f, "mac")) {
			if (mac_parse(val, vif->mac))
				return cfg_bad(
				    p, vif->line,
				    "\"%s\" is not a unicast MAC address like 52:54:00:12:34:56",
				    val);
			vif->has_mac = true;
		} else if (!strcmp(f, "model")) {
			if (set_model(p, vif, val))
				return -1;
		} else if (!strcmp(f, "port")) {
			if (set_port(p, vif->line, val, &vif->port))
				return -1;
		} else if (!strcmp(f, "ssh")) {
			if (set_ssh(p, vif, val))
				return -1;
		} else if (!strcmp(f, "type") && !strcmp(val, "user")) {
			vif->user = true;
		} else if (!strcmp(f, "type") && (!strcmp(val, "ioemu") || !strcmp(val, "vif"))) {
			vif->ioemu = *val == 'i';
			vif->named |= !vif->ioemu;
		} else {
			p->c->unknown++;
			cfg_warn(p, vif->line,
				 "unknown vif option \"%s\" is ignored; bridge, mac, model, "
				 "type=user, ssh and port are known",
				 f);
		}
	}
	return check_vif(p, vif);
}

int cfg_set_vif(struct parser *p, const char *key, const struct value *v)
{
	int i;

	if (cfg_get_list(p, key, v, p->c->nvifs, CFG_MAX_VIFS, "'' or 'bridge=" CFG_BRIDGE "'"))
		return -1;
	for (i = 0; i < v->items; i++) {
		struct cfg_vif *vif = &p->c->vif[p->c->nvifs++];

		vif->line = v->item_line[i];
		if (parse_vif(p, vif, v->item[i]))
			return -1;
		if (vif->port < 0)
			vif->number = p->c->fixed_vifs++;
	}
	return 0;
}

static int parse_pci(struct parser *p, struct cfg_pci *pci, char *spec)
{
	static const char *const ignored[] = {"msitranslate", "power_mgmt", "permissive",
					      "rdm_policy", "name"};
	char *f = next_field(&spec), *at = f ? strchr(f, '@') : NULL, *val;
	unsigned int domain = 0, bus, device, function;
	int n = 0;
	size_t i;

	if (at)
		*at = 0; /* where the guest is to see it: QEMU chooses */
	if (!f ||
	    ((sscanf(f, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &n) != 4 || f[n]) &&
	     (domain = 0, sscanf(f, "%2x:%2x.%1x%n", &bus, &device, &function, &n) != 3 || f[n])) ||
	    device > 31 || function > 7)
		return cfg_bad(
		    p, pci->line,
		    "\"%s\" is no PCI device; right is '01:00.0' or '0000:01:00.0,seize=1'",
		    f ? f : "");
	snprintf(pci->bdf, sizeof(pci->bdf), "%04x:%02x:%02x.%x", domain & 0xffff, bus & 0xff,
		 device, function);
	while ((f = next_field(&spec))) {
		val = strchr(f, '=');
		if (val)
			*val++ = 0;
		if (val && !strcmp(f, "seize") && (!strcmp(val, "0") || !strcmp(val, "1"))) {
			pci->seize = *val == '1';
			continue;
		}
		for (i = 0; i < sizeof(ignored) / sizeof(ignored[0]) && strcmp(f, ignored[i]); i++)
			;
		if (!val || i == sizeof(ignored) / sizeof(ignored[0]))
			return cfg_bad(p, pci->line,
				       "\"%s\" of a PCI device is not known; seize=1 takes it from "
				       "dom0's driver",
				       f);
		p->c->unknown++;
		cfg_warn(p, pci->line, "\"%s\" of a PCI device is ignored", f);
	}
	return 0;
}

int cfg_set_pci(struct parser *p, const char *key, const struct value *v)
{
	int i;

	if (cfg_get_list(p, key, v, p->c->npci, CFG_MAX_PCI, "'01:00.0'"))
		return -1;
	for (i = 0; i < v->items; i++) {
		struct cfg_pci *pci = &p->c->pci[p->c->npci++];

		pci->line = v->item_line[i];
		if (parse_pci(p, pci, v->item[i]))
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
	int ret = copy ? parse(&p, to, copy) : cfg_bad(&p, 1, "out of memory");
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

static int one_pci(struct parser *p, void *to, char *s)
{
	return parse_pci(p, to, s);
}

int cfg_parse_pci(struct cfg_pci *pci, const char *spec, char *err)
{
	*pci = (struct cfg_pci){.line = 1};
	return parse_one(err, spec, one_pci, pci);
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
