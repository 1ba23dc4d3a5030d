/* SPDX-License-Identifier: GPL-2.0-only */
/* The keys of guests' files: what each takes and sets. */
#define _GNU_SOURCE
#include "cfg_parse.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "../../hv/abi.h"

/* ---- values of the right kind ---- */

static int get_string(struct parser *p, const char *key, const struct value *v, char **out)
{
	char *whole;

	if (v->kind != V_STRING)
		return cfg_bad(p, v->line, "%s wants a string: %s = \"...\"", key, key);
	if (asprintf(&whole, "%s%s", v->add && *out ? *out : "", v->text) < 0)
		return cfg_bad(p, v->line, "out of memory");
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
		return cfg_bad(p, v->line, "%s wants a number from %lld to %lld", key, min, max);
	return 0;
}

int cfg_get_list(struct parser *p, const char *key, const struct value *v, int have, int max,
		 const char *example)
{
	if (v->kind != V_LIST)
		return cfg_bad(p, v->line, "%s wants a list: %s = [ %s ]", key, key, example);
	if (have + v->items > max)
		return cfg_bad(p, v->line, "%s has %d items; at most %d are possible", key,
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
	return why ? cfg_bad(p, v->line, "name = \"%s\": %s", p->c->name, why) : 0;
}

static int set_path(struct parser *p, const char *key, const struct value *v)
{
	char **to = !strcmp(key, "kernel")    ? &p->c->kernel
		    : !strcmp(key, "ramdisk") ? &p->c->ramdisk
					      : &p->c->vmm;

	if (get_string(p, key, v, to))
		return -1;
	return **to ? 0
		    : cfg_bad(p, v->line, "%s is empty; give a path or leave the line out", key);
}

static int set_cmdline(struct parser *p, const char *key, const struct value *v)
{
	return get_string(p, key, v,
			  !strcmp(key, "cmdline") ? &p->c->cmdline
			  : !strcmp(key, "root")  ? &p->root
						  : &p->extra);
}

static int set_memory(struct parser *p, const char *key, const struct value *v)
{
	long long n;

	if (get_number(p, key, v, 1, 1ll << 24, &n))
		return cfg_bad(p, v->line, "%s wants the number of MiB: %s = 512", key, key);
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
		   {"vcpus_now", &p->c->vcpus_now, 1, CFG_MAX_VCPUS},
		   {"cap", &p->c->cap, 0, CORBEL_MAX_CAP - 1},
		   {"period", &p->c->period, CORBEL_MIN_BUDGET_US, CORBEL_MAX_PERIOD_US},
		   {"budget", &p->c->budget, CORBEL_MIN_BUDGET_US, CORBEL_MAX_PERIOD_US},
		   {"spiceport", &p->c->screen.spiceport, 1, 65535},
		   {"cpu_weight", &p->c->weight, 1, CORBEL_MAX_WEIGHT}};
	long long n;
	int i = 0;

	while (strcmp(all[i].key, key))
		i++;
	if (!get_number(p, key, v, all[i].min, all[i].max, &n))
		*all[i].to = n;
	else if (all[i].max == CFG_MAX_VCPUS)
		return cfg_bad(p, v->line, "%s wants a number from 1 to %d: " CFG_WHY_VCPUS, key,
			       CFG_MAX_VCPUS);
	else
		return -1;
	return 0;
}

static int set_flag(struct parser *p, const char *key, const struct value *v)
{
	const struct {
		const char *key;
		bool *to;
	} all[] = {{"localtime", &p->c->localtime},
		   {"vnc", &p->c->screen.vnc},
		   {"usb", &p->c->usb},
		   {"spice", &p->c->screen.spice},
		   {"tpm", &p->c->tpm},
		   {"spicedisable_ticketing", &p->c->screen.spiceopen}};
	long long n;
	int i = 0;

	while (strcmp(all[i].key, key))
		i++;
	if (get_number(p, key, v, 0, 1, &n))
		return -1;
	*all[i].to = n;
	return 0;
}

/* Is hdX at an IDE controller, or a SATA one, as sdX? */
static int set_hdtype(struct parser *p, const char *key, const struct value *v)
{
	if (v->kind != V_STRING || (strcmp(v->text, "ide") && strcmp(v->text, "ahci")))
		return cfg_bad(p, v->line, "%s is \"ide\" or \"ahci\"", key);
	p->c->ahci = *v->text == 'a';
	return 0;
}

/* Guests are so, whatever the file says. */
static int set_settled(struct parser *p, const char *key, const struct value *v)
{
	static const struct {
		const char *key, *value, *why;
	} all[] = {{"acpi", "1", "guests have ACPI"},
		   {"apic", "1", "guests have local APICs"},
		   {"pae", "1", "guests have PAE"},
		   {"nx", "1", "guests have NX"},
		   {"hap", "1", "there are nested page tables only"},
		   {"xen_platform_pci", "0", "there are no PV drivers: virtio is used"},
		   {"acpi_s3", "1", "a PC can sleep"},
		   {"acpi_s4", "1", "a PC can hibernate"},
		   {"hpet", "1", "a PC has one"},
		   {"ms_vm_genid", "generate", "a PC has one"},
		   {"sdl", "0", "a screen is shown by VNC or SPICE"},
		   {"vncunused", "1", "a display that is free is taken"}};
	const char *text = v->kind == V_LIST ? (v->items == 1 ? v->item[0] : "") : v->text;
	int i = 0;

	while (strcmp(all[i].key, key))
		i++;
	if (!strcmp(text, all[i].value))
		return 0;
	p->c->unknown++;
	cfg_warn(p, v->line, "%s can only be %s: %s", key, all[i].value, all[i].why);
	return 0;
}

static int set_nested(struct parser *p, const char *key, const struct value *v)
{
	long long n;

	if (get_number(p, key, v, 0, 1, &n))
		return -1;
	p->c->nested = n;
	p->c->not_nested = !n;
	return 0;
}

/* A list names groups of Hyper-V's interfaces, or with ! those that are not wanted. */
static int set_viridian(struct parser *p, const char *key, const struct value *v)
{
	long long n;
	int i;

	if (v->kind != V_LIST) {
		if (get_number(p, key, v, 0, 1, &n))
			return -1;
		p->c->viridian = n;
		return 0;
	}
	for (i = 0; i < v->items; i++) {
		p->c->viridian |= v->item[i][0] != '!';
		if (!strcmp(v->item[i], "all") || !strcmp(v->item[i], "defaults"))
			continue;
		p->c->unknown++;
		cfg_warn(p, v->item_line[i],
			 "%s: \"%s\" is ignored: the guest has all that there is, or nothing", key,
			 v->item[i]);
	}
	return 0;
}

static int set_boot(struct parser *p, const char *key, const struct value *v)
{
	if (get_string(p, key, v, &p->c->boot))
		return -1;
	if (*p->c->boot && !p->c->boot[strspn(p->c->boot, "acdn")])
		return 0;
	return cfg_bad(p, v->line,
		       "boot = \"%s\": letters are c (disk), d (CD), n (network), a (floppy)",
		       p->c->boot);
}

static int set_vga(struct parser *p, const char *key, const struct value *v)
{
	static const char *const names[][2] = {
	    {"none", NULL}, {"stdvga", "VGA"}, {"cirrus", "cirrus-vga"}, {"qxl", "qxl-vga"}};
	long long n;
	size_t i;

	if (!strcmp(key, "stdvga")) {
		if (get_number(p, key, v, 0, 1, &n))
			return -1;
		p->c->screen.vga = n ? "VGA" : "cirrus-vga";
		return 0;
	}
	for (i = 0; v->kind == V_STRING && i < 4; i++)
		if (!strcmp(v->text, names[i][0])) {
			p->c->screen.vga = names[i][1];
			return 0;
		}
	return cfg_bad(p, v->line, "vga is one of \"stdvga\", \"cirrus\", \"qxl\" and \"none\"");
}

/*
 * "ADDRESS" or "ADDRESS:DISPLAY", of IPv4 or IPv6; with a display the latter stands in brackets.
 * Kept as QEMU takes it.
 */
static int set_vnclisten(struct parser *p, const char *key, const struct value *v)
{
	struct cfg_screen *s = &p->c->screen;
	char *text, *display = NULL, *end;
	unsigned char address[16];
	bool six;

	if (get_string(p, key, v, &s->vnclisten))
		return -1;
	text = s->vnclisten;
	six = *text == '[' || strchr(text, ':') != strrchr(text, ':');
	if (*text == '[') {
		end = strchr(text, ']');
		if (!end || end == text + 1 || (end[1] && end[1] != ':'))
			return cfg_bad(p, v->line, "vnclisten: [ wants its ]: \"[::1]:0\"");
		display = end[1] ? end + 2 : NULL;
		*end = 0;
		text++;
	} else if (!six && strchr(text, ':')) {
		display = strchr(text, ':') + 1;
		display[-1] = 0;
	}
	if (display) {
		s->vncdisplay = strtoul(display, &end, 10);
		s->vncfixed = true;
		if (!isdigit((unsigned char)*display) || *end || s->vncdisplay > 99)
			return cfg_bad(p, v->line,
				       "vnclisten is \"ADDRESS\" or \"ADDRESS:DISPLAY\"");
	}
	if (*text && inet_pton(six ? AF_INET6 : AF_INET, text, address) != 1)
		return cfg_bad(p, v->line, "vnclisten wants an address: vnclisten = \"127.0.0.1\"");
	if (asprintf(&end, six ? "[%s]" : "%s", text) < 0)
		return cfg_bad(p, v->line, "out of memory");
	free(s->vnclisten);
	s->vnclisten = end;
	return 0;
}

static int set_vncdisplay(struct parser *p, const char *key, const struct value *v)
{
	long long n;

	if (get_number(p, key, v, 0, 99, &n))
		return -1;
	p->c->screen.vncdisplay = n;
	p->c->screen.vncfixed = true;
	return 0;
}

#define VNC_PASSWORD_MAX 8 /* of RFC 6143, "VNC Authentication" */

static int set_vncpasswd(struct parser *p, const char *key, const struct value *v)
{
	struct cfg_screen *s = &p->c->screen;

	if (get_string(p, key, v, &s->vncpasswd))
		return -1;
	if (strlen(s->vncpasswd) > VNC_PASSWORD_MAX)
		cfg_warn(p, v->line, "%s: of a password VNC looks at the first %d characters only",
			 key, VNC_PASSWORD_MAX);
	if (!*s->vncpasswd) {
		free(s->vncpasswd);
		s->vncpasswd = NULL;
	}
	return 0;
}

/* An address of any kind: unlike vnclisten the port is a key of its own. */
static int set_spicehost(struct parser *p, const char *key, const struct value *v)
{
	unsigned char address[16];
	char **host = &p->c->screen.spicehost;

	if (get_string(p, key, v, host))
		return -1;
	if (inet_pton(AF_INET, *host, address) == 1 || inet_pton(AF_INET6, *host, address) == 1)
		return 0;
	return cfg_bad(p, v->line, "%s wants an address: %s = \"127.0.0.1\"", key, key);
}

static int set_spicepasswd(struct parser *p, const char *key, const struct value *v)
{
	char **password = &p->c->screen.spicepasswd;

	if (get_string(p, key, v, password))
		return -1;
	if (!**password) {
		free(*password);
		*password = NULL;
	}
	return 0;
}

static int set_keymap(struct parser *p, const char *key, const struct value *v)
{
	return get_string(p, key, v, &p->c->screen.keymap);
}

static int set_usbdevice(struct parser *p, const char *key, const struct value *v)
{
	struct cfg *c = p->c;
	const struct {
		const char *name;
		bool *to;
	} all[] = {{"tablet", &c->tablet}, {"mouse", &c->mouse}, {"keyboard", &c->keyboard}};
	int i, n = v->kind == V_LIST ? v->items : 1;
	size_t k;

	for (i = 0; i < n; i++) {
		const char *text = v->kind == V_LIST ? v->item[i] : v->text;

		for (k = 0; k < 3 && strcmp(text, all[k].name); k++)
			;
		if (k == 3)
			return cfg_bad(p, v->kind == V_LIST ? v->item_line[i] : v->line,
				       "%s is \"tablet\", \"mouse\" or \"keyboard\"; others can "
				       "be given by device_model_args",
				       key);
		c->usb = *all[k].to = true;
	}
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
		return cfg_bad(p, v->line,
			       "uuid wants 32 hexadecimal digits parted like "
			       "12345678-1234-1234-1234-123456789abc");
	return 0;
}

/*
 * Of xl's other words what is left without somebody who is there when a guest ends: QEMU, or who
 * has started the guest, obeys.
 */
static int set_on_end(struct parser *p, const char *key, const struct value *v)
{
	static const struct {
		const char *word;
		enum cfg_end end;
		const char *lost;
	} words[] = {
	    {"destroy", END_DESTROY, NULL},
	    {"restart", END_RESTART, NULL},
	    {"preserve", END_PRESERVE, NULL},
	    {"rename-restart", END_RESTART,
	     "is \"restart\" here: two guests cannot have the same disks"},
	    {"coredump-destroy", END_DESTROY,
	     "is \"destroy\" here: no core is written; have \"preserve\" and `corbel dump-core'"},
	    {"coredump-restart", END_RESTART,
	     "is \"restart\" here: no core is written; have \"preserve\" and `corbel dump-core'"},
	};
	struct cfg *c = p->c;
	int i = 0, n = sizeof(words) / sizeof(words[0]);

	while (i < n && (v->kind != V_STRING || strcmp(v->text, words[i].word)))
		i++;
	if (i == n)
		return cfg_bad(p, v->line, "%s is \"destroy\", \"restart\" or \"preserve\"", key);
	if (words[i].lost) {
		c->unknown++;
		cfg_warn(p, v->line, "%s = \"%s\" %s", key, words[i].word, words[i].lost);
	}
	if (!strcmp(key, "on_poweroff"))
		c->on_poweroff = words[i].end;
	else if (!strcmp(key, "on_reboot"))
		c->on_reboot = words[i].end;
	else
		c->on_crash = words[i].end;
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
	return cfg_bad(p, v->line,
		       "%s is \"hvm\" or \"pvh\"; there are no PV guests: boot the same kernel as "
		       "\"pvh\"",
		       key);
}

static int set_firmware(struct parser *p, const char *key, const struct value *v)
{
	static const struct {
		const char *name;
		enum cfg_firmware firmware;
	} all[] = {{"microvm", FIRMWARE_MICROVM}, {"bios", FIRMWARE_BIOS},
		   {"uefi", FIRMWARE_UEFI},	  {"none", FIRMWARE_NONE},
		   {"seabios", FIRMWARE_BIOS},	  {"ovmf", FIRMWARE_UEFI}};
	size_t i;

	for (i = 0; v->kind == V_STRING && i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(v->text, all[i].name)) {
			p->c->firmware = all[i].firmware;
			p->firmware_set = true;
			return 0;
		}
	return cfg_bad(p, v->line,
		       "%s is one of \"microvm\" (default), \"bios\", \"uefi\" and \"none\"", key);
}

/* The loader on the disk does what pygrub does for a kernel without one. */
static int set_bootloader(struct parser *p, const char *key, const struct value *v)
{
	p->bootloader = true;
	p->c->unknown++;
	cfg_warn(p, v->line,
		 "%s is ignored: without a kernel the guest is a PC, which boots the loader on its "
		 "disk, with the command line that stands there; if there is none, name the kernel",
		 key);
	return 0;
}

/* QEMU's words for where a serial port leads, and xl's, but for those that want a terminal. */
static int set_serial(struct parser *p, const char *key, const struct value *v)
{
	static const char *const known[] = {
	    "file:", "tcp:", "telnet:", "udp:", "unix:", "pipe:", "/dev/"};
	struct cfg *c = p->c;
	int i, n = v->kind == V_LIST ? v->items : 1;
	size_t k;

	if (c->nserial + n > CFG_MAX_SERIAL)
		return cfg_bad(p, v->line, "%s has %d items; at most %d are possible", key,
			       c->nserial + n, CFG_MAX_SERIAL);
	for (i = 0; i < n; i++) {
		const char *text = v->kind == V_LIST ? v->item[i] : v->text;

		for (k = 0; k < sizeof(known) / sizeof(known[0]) &&
			    strncmp(text, known[k], strlen(known[k]));
		     k++)
			;
		if (k == sizeof(known) / sizeof(known[0]) && strcmp(text, "pty") &&
		    strcmp(text, "null") && strcmp(text, "none"))
			return cfg_bad(p, v->kind == V_LIST ? v->item_line[i] : v->line,
				       "%s = \"%s\": a port leads to \"pty\" (`corbel console'), "
				       "\"file:PATH\", \"tcp:HOST:PORT\", telnet:, udp:, unix:, "
				       "pipe:, /dev/..., \"null\" or \"none\"",
				       key, text);
		c->serial[c->nserial] = strdup(text);
		if (!c->serial[c->nserial])
			return cfg_bad(p, v->line, "out of memory");
		c->nserial++;
	}
	return 0;
}

/* xl's TPM is a domain of its own. */
static int set_vtpm(struct parser *p, const char *key, const struct value *v)
{
	p->c->unknown++;
	cfg_warn(p, v->line, "%s of xl is not supported and ignored; tpm = 1 gives a PC a TPM",
		 key);
	return 0;
}

static int set_cpus(struct parser *p, const char *key, const struct value *v)
{
	char err[128];
	struct corbel_cpus mask;
	int i, n = v->kind == V_LIST ? v->items : CFG_MAX_VCPUS;

	if (n > CFG_MAX_VCPUS)
		return cfg_bad(p, v->line, "cpus has %d items; at most %d are possible", n,
			       CFG_MAX_VCPUS);
	for (i = 0; i < n; i++) {
		if (cpulist_parse(v->kind == V_LIST ? v->item[i] : v->text, &mask, err,
				  sizeof(err)))
			return cfg_bad(p, v->kind == V_LIST ? v->item_line[i] : v->line, "cpus: %s",
				       err);
		p->c->affinity[i] = cpus_all(&mask) ? (struct corbel_cpus){0} : mask;
	}
	return 0;
}

static int set_pool(struct parser *p, const char *key, const struct value *v)
{
	if (v->kind == V_LIST || !v->text[0] || strlen(v->text) >= sizeof(p->c->pool))
		return cfg_bad(p, v->line, "%s wants the name of a pool of CPUs, as \"Pool-0\"",
			       key);
	strcpy(p->c->pool, v->text);
	return 0;
}

static int set_args(struct parser *p, const char *key, const struct value *v)
{
	int i;

	if (cfg_get_list(p, key, v, p->c->nargs, CFG_MAX_ARGS, "'-device', '...'"))
		return -1;
	for (i = 0; i < v->items; i++) {
		p->c->args[p->c->nargs] = strdup(v->item[i]);
		if (!p->c->args[p->c->nargs])
			return cfg_bad(p, v->line, "out of memory");
		p->c->nargs++;
	}
	return 0;
}

const struct cfg_key cfg_keys[] = {
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
    {"vcpus_now", set_number},
    {"disk", cfg_set_disk},
    {"vif", cfg_set_vif},
    {"pci", cfg_set_pci},
    {"firmware", set_firmware},
    {"bios", set_firmware},
    {"boot", set_boot},
    {"bootloader", set_bootloader},
    {"vga", set_vga},
    {"stdvga", set_vga},
    {"vnc", set_flag},
    {"vnclisten", set_vnclisten},
    {"vncdisplay", set_vncdisplay},
    {"vncunused", set_settled},
    {"vncpasswd", set_vncpasswd},
    {"keymap", set_keymap},
    {"usb", set_flag},
    {"usbdevice", set_usbdevice},
    {"serial", set_serial},
    {"acpi", set_settled},
    {"apic", set_settled},
    {"pae", set_settled},
    {"nx", set_settled},
    {"hap", set_settled},
    {"nestedhvm", set_nested},
    {"viridian", set_viridian},
    {"xen_platform_pci", set_settled},
    {"acpi_s3", set_settled},
    {"acpi_s4", set_settled},
    {"hpet", set_settled},
    {"ms_vm_genid", set_settled},
    {"hdtype", set_hdtype},
    {"tpm", set_flag},
    {"vtpm", set_vtpm},
    {"sdl", set_settled},
    {"spice", set_flag},
    {"spicehost", set_spicehost},
    {"spiceport", set_number},
    {"spicepasswd", set_spicepasswd},
    {"spicedisable_ticketing", set_flag},
    {"cpu_weight", set_number},
    {"cap", set_number},
    {"period", set_number},
    {"budget", set_number},
    {"cpus", set_cpus},
    {"pool", set_pool},
    {"device_model_override", set_path},
    {"device_model_args", set_args},
    {"type", set_type},
    {"builder", set_type},
    {"uuid", set_uuid},
    {"localtime", set_flag},
    {"on_poweroff", set_on_end},
    {"on_reboot", set_on_end},
    {"on_crash", set_on_end},
};
const int cfg_nkeys = sizeof(cfg_keys) / sizeof(cfg_keys[0]);
_Static_assert(sizeof(cfg_keys) / sizeof(cfg_keys[0]) <= CFG_MAX_KEYS,
	       "a line for each in struct parser");
