/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests' files written anew. What a guest was given or has lost while it runs gets into its own
 * copy of its file, by which a VMM is started that can take its state: disks and interfaces behind
 * ports, and its vCPUs.
 */
#define _GNU_SOURCE
#include "corbel.h"

#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- lists ---- */

void write_escaped(FILE *f, const char *s)
{
	for (; *s; s++)
		if (*s == '\n')
			fprintf(f, "\\n");
		else
			fprintf(f, strchr("\\\"'", *s) ? "\\%c" : "%c", *s);
}

static void write_port(FILE *f, int port)
{
	if (port >= 0)
		fprintf(f, ",port=%d", port);
}

static void write_disk(FILE *f, const struct cfg_disk *d)
{
	fprintf(f, "'target=");
	write_escaped(f, d->path);
	fprintf(f, ",format=%s", d->qcow2 ? "qcow2" : "raw");
	if (*d->vdev) { /* which says what device it is */
		fprintf(f, ",vdev=");
		write_escaped(f, d->vdev);
	}
	fprintf(f, ",access=%s%s%s", d->readonly ? "r" : "w", d->cdrom ? ",devtype=cdrom" : "",
		d->discard ? ",discard" : "");
	write_port(f, d->port);
	fprintf(f, "'");
}

static void write_vif(FILE *f, const struct cfg_vif *vif, bool own)
{
	const char *model = vif->model ? vif->model : "virtio";

	fprintf(f, "'%s", vif->user ? "type=user" : "bridge=");
	if (!vif->user)
		write_escaped(f, vif->bridge);
	fprintf(f, ",model=%s", model);
	if (own && vif->ssh)
		fprintf(f, ",ssh=%u", vif->ssh);
	if (own && vif->has_mac)
		fprintf(f, ",mac=%02x:%02x:%02x:%02x:%02x:%02x", vif->mac[0], vif->mac[1],
			vif->mac[2], vif->mac[3], vif->mac[4], vif->mac[5]);
	write_port(f, vif->port);
	fprintf(f, "'");
}

void write_disks(FILE *f, const struct cfg *c)
{
	int i;

	fprintf(f, "disk = [");
	for (i = 0; i < c->ndisks; i++) {
		fprintf(f, "%s\n\t", i ? "," : "");
		write_disk(f, &c->disk[i]);
	}
	fprintf(f, " ]\n");
}

void write_vifs(FILE *f, const struct cfg *c, bool own)
{
	int i;

	fprintf(f, "vif = [");
	for (i = 0; i < c->nvifs; i++) {
		fprintf(f, "%s ", i ? "," : "");
		write_vif(f, &c->vif[i], own);
	}
	fprintf(f, " ]\n");
}

/* ---- what the machine has ---- */

static bool has_device(struct json_object *all, const char *kind, int port)
{
	char name[16];
	size_t i, n = qmp_count(all);

	snprintf(name, sizeof(name), "%s-%d", kind, port);
	for (i = 0; i < n; i++)
		if (!strcmp(qmp_text(json_object_array_get_idx(all, i), "name"), name))
			break;
	return i < n;
}

/* A disk or an interface that the file does not know: a save would lose it. NULL if there is none.
 */
static const char *find_unknown(struct json_object *all, const struct cfg *c)
{
	size_t i, n = qmp_count(all);
	int k, port;

	for (i = 0; i < n; i++) {
		const char *name = qmp_text(json_object_array_get_idx(all, i), "name");
		bool known = false;

		if (name && sscanf(name, "disk-%d", &port) == 1)
			for (k = 0; k < c->ndisks; k++)
				known |= c->disk[k].port == port;
		else if (name && sscanf(name, "net-%d", &port) == 1)
			for (k = 0; k < c->nvifs; k++)
				known |= c->vif[k].port == port;
		else
			known = true;
		if (!known)
			return name;
	}
	return NULL;
}

/* Those that have been taken out again; any: there were some. 0, or -1 with why in err. */
static int drop_gone(struct qmp *q, struct cfg *c, bool *any, char *err)
{
	struct json_object *path = json_object_new_string("/machine/peripheral"), *all = NULL;
	const char *unknown;
	int i, disks = 0, vifs = 0;

	if (qmp_call(q, "qom-list", json_pair("path", path), -1, &all, err))
		return -1;
	unknown = find_unknown(all, c);
	if (unknown) {
		snprintf(err, 128, "it has %.32s, which its file does not know; detach that first",
			 unknown);
		json_object_put(all);
		return -1;
	}
	for (i = 0; i < c->ndisks; i++)
		if (c->disk[i].port < 0 || has_device(all, "disk", c->disk[i].port))
			c->disk[disks++] = c->disk[i];
		else
			free(c->disk[i].path);
	for (i = 0; i < c->nvifs; i++)
		if (c->vif[i].port < 0 || has_device(all, "net", c->vif[i].port))
			c->vif[vifs++] = c->vif[i];
		else
			cfg_free_vif(&c->vif[i]);
	json_object_put(all);
	*any = disks < c->ndisks || vifs < c->nvifs;
	c->ndisks = disks;
	c->nvifs = vifs;
	return 0;
}

/* The machine's slots for vCPUs have the last one first. 0, or -1 with why in err. */
static int count_vcpus(struct qmp *q, struct cfg *c, bool *changed, char *err)
{
	struct json_object *all = NULL;
	unsigned int n = 0;
	int i, slots;

	*changed = false;
	if (!cfg_is_pc(c)) /* it cannot */
		return 0;
	if (qmp_command(q, "query-hotpluggable-cpus", &all, err))
		return -1;
	slots = qmp_count(all);
	for (i = slots; i--; n++)
		if (!qmp_member(json_object_array_get_idx(all, i), "qom-path"))
			break;
	for (; i > 0; i--)
		if (qmp_member(json_object_array_get_idx(all, i - 1), "qom-path"))
			break;
	json_object_put(all);
	if (i > 0) {
		snprintf(err, 128, "it has given back vCPU %u, but not yet those behind it", n);
		return -1;
	}
	if (n && n < c->vcpus) {
		snprintf(err, 128, "it has given back vCPU %u, which it was started with", n);
		return -1;
	}
	*changed = n && n != (c->vcpus_now ? c->vcpus_now : c->vcpus);
	if (*changed)
		c->vcpus_now = n;
	return 0;
}

/* ---- its file ---- */

static char *new_text(const char *text, const struct cfg *c)
{
	static const char *const own[] = {"vcpus_now", "disk", "vif", NULL};
	char *rest = cfg_without(text, own), *out = NULL;
	size_t size;
	FILE *f = rest ? open_memstream(&out, &size) : NULL;

	if (f) {
		fprintf(f, "%s\n", rest);
		if (c->vcpus_now)
			fprintf(f, "vcpus_now = %u\n", c->vcpus_now);
		write_disks(f, c);
		write_vifs(f, c, true);
		fclose(f);
	}
	free(rest);
	return out;
}

/*
 * Whole or not at all, and such that it can be read: it is all that is known of the guest's
 * machine.
 */
static int replace_config(const char *path, const char *text, char *err)
{
	char new[PATH_MAX];
	struct cfg c = {0};
	bool good = text && !cfg_parse(&c, path, text);

	if (text && !good)
		snprintf(err, 128, "its copy of its file would be wrong: %.80s", c.error);
	cfg_free(&c);
	if (text && !good)
		return -1;
	snprintf(new, sizeof(new), "%.*s.new", PATH_MAX - 5, path);
	if (!text || write_text(new, text) || rename(new, path)) {
		unlink(new);
		snprintf(err, 128, "its copy of its file cannot be written");
		return -1;
	}
	return 0;
}

/* What the guest's VMM was started by. 0, or -1 with why in err; free both in any case. */
static int load_config(const char *name, char *path, char **text, struct cfg *c, char *err)
{
	*c = (struct cfg){0};
	*text = config_read(guest_path(name, "config", path));
	if (*text && !cfg_parse(c, path, *text))
		return 0;
	snprintf(err, 128, "its copy of its file cannot be read");
	return -1;
}

int config_now(struct qmp *q, const char *name, char *err)
{
	char path[PATH_MAX], *text, *anew;
	struct cfg c;
	bool gone, vcpus;
	int ret = load_config(name, path, &text, &c, err) || count_vcpus(q, &c, &vcpus, err) ||
		  drop_gone(q, &c, &gone, err);

	if (!ret) {
		anew = gone || vcpus ? new_text(text, &c) : NULL;
		if (gone || vcpus)
			ret = replace_config(path, anew, err);
		free(anew);
	}
	cfg_free(&c);
	free(text);
	return ret ? -1 : 0;
}

int config_add(const char *name, const struct cfg_disk *disk, const struct cfg_vif *vif, char *err)
{
	char path[PATH_MAX], *text, *anew = NULL;
	struct cfg c;
	size_t size;
	int ret = load_config(name, path, &text, &c, err);
	FILE *f = ret ? NULL : open_memstream(&anew, &size);

	if (f) {
		fprintf(f, "%s\n%s += [ ", text, disk ? "disk" : "vif");
		if (disk)
			write_disk(f, disk);
		else
			write_vif(f, vif, true);
		fprintf(f, " ]\n");
		fclose(f);
	}
	if (!ret)
		ret = replace_config(path, anew, err);
	free(anew);
	cfg_free(&c);
	free(text);
	return ret;
}
