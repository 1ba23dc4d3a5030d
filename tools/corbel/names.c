/* SPDX-License-Identifier: GPL-2.0-only */
/* Guests' names and ids, and what xl's users call their parts: hdc, the second interface. */
#define _GNU_SOURCE
#include "corbel.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_ID 1000000

char *guest_of_id(char *name)
{
	static char found[sizeof(((struct row *)NULL)->name)], dom0[] = "dom0";
	struct guest g;
	struct row *r;
	long id;
	int i, n;

	if (!strcmp(name, "Domain-0") && guest_load(name, &g))
		return dom0;
	if (!whole_number(name, 0, MOST_ID, &id) || !guest_load(name, &g) || !hv_present())
		return name;
	n = rows_get(&r, false);
	for (i = 0; i < n && r[i].id != id; i++)
		;
	if (i < n)
		snprintf(found, sizeof(found), "%s", r[i].name);
	free(r);
	if (i < n)
		return found;
	return name;
}

/* One of the two, or both as JSON */
static void show_name(const struct opts *o, const char *name, int64_t id, const char *text)
{
	struct json_object *json;

	if (!o->json) {
		printf("%s\n", text);
		return;
	}
	json = json_object_new_object();
	json_object_object_add(json, "name", json_object_new_string(name));
	json_object_object_add(json, "id", json_object_new_int64(id));
	print_json(json);
}

int cmd_domid(struct opts *o)
{
	struct corbel_vm_stat vm;
	char id[16];

	if (vm_of_name(o->args[0], &vm))
		return 1;
	snprintf(id, sizeof(id), "%u", vm.id);
	show_name(o, o->args[0], vm.id, id);
	return 0;
}

int cmd_domname(struct opts *o)
{
	struct row *r;
	long id;
	int i, n;

	if (!whole_number(o->args[0], 0, 1000000, &id))
		return fail("\"%s\" is not a VM's id; `corbel list' shows them", o->args[0]);
	n = rows_get(&r, false);
	for (i = 0; i < n && r[i].id != id; i++)
		;
	if (i < n)
		show_name(o, r[i].name, id, r[i].name);
	free(r);
	if (n < 0)
		return 1;
	return i < n ? 0 : fail("there is no VM %ld; `corbel list' shows them", id);
}

/* The VMM goes on with the files that it has open, wherever they lie. */
int cmd_rename(struct opts *o)
{
	const char *old = o->args[0], *new = o->args[1], *why = cfg_bad_name(new);
	char from[PATH_MAX], to[PATH_MAX];
	struct guest g;
	int err = 0;

	if (why)
		return fail("\"%s\" is not a guest's name: %s", new, why);
	if (guest_get(old, true, &g))
		return 1;
	guest_path(old, "", from);
	guest_path(new, "", to);
	if (process_in(g.pid, "/corbel@"))
		err = fail("%s is run by its unit, which would not know it by another name and "
			   "cut it off: stop that, and change the name in its file",
			   old);
	else if (!access(to, F_OK))
		err = fail("%s is there already; `corbel list --all' shows it", new);
	else if (rename(from, to))
		err = fail("%s: %s", from, strerror(errno));
	guest_unlock(&g);
	return err;
}

/* ---- parts ---- */

/* As a guest was started. False: there is none, which who wants something of it tells. */
static bool read_guest(const char *name, struct cfg *c)
{
	char path[PATH_MAX], *text = NULL;
	bool read;

	if (!cfg_bad_name(name) && !access(guest_path(name, "config", path), R_OK))
		text = config_read(path);
	if (!text)
		return false;
	read = !cfg_parse(c, path, text);
	free(text);
	if (!read)
		cfg_free(c);
	return read;
}

/* A CD drive is known by the number of its disk, or as the file calls it: hdc. */
static void name_cd(struct opts *o)
{
	static char id[16];
	struct cfg c;
	int i;

	if (!read_guest(o->args[0], &c))
		return;
	for (i = 0; i < c.ndisks; i++)
		if (c.disk[i].cdrom && c.disk[i].port < 0 && !strcmp(c.disk[i].vdev, o->args[1]))
			break;
	if (i < c.ndisks) {
		snprintf(id, sizeof(id), "cd%d", c.disk[i].number);
		o->args[1] = id;
	}
	cfg_free(&c);
}

int names_cd_insert(struct opts *o)
{
	name_cd(o);
	return cmd_cd_insert(o);
}

int names_cd_eject(struct opts *o)
{
	name_cd(o);
	return cmd_cd_eject(o);
}

/* A disk behind a port may be called as when it was attached: xvdb, if no other is. */
int names_block_detach(struct opts *o)
{
	static char id[16];
	int i, port = -1, same = 0;
	struct cfg c;

	if (!*o->args[1] || !read_guest(o->args[0], &c))
		return cmd_block_detach(o);
	for (i = 0; i < c.ndisks; i++)
		if (!strcmp(c.disk[i].vdev, o->args[1])) {
			port = c.disk[i].port;
			same++;
		}
	cfg_free(&c);
	if (same == 1 && port >= 0) {
		snprintf(id, sizeof(id), "disk-%d", port);
		o->args[1] = id;
	}
	return cmd_block_detach(o);
}

/* Which interface has this address? False: none. */
static bool find_mac(const char *guest, const char *mac, char *id, size_t size)
{
	struct json_object *all = NULL, *nic;
	bool found = false;
	size_t i;

	if (qmp_do_with(guest, "query-rx-filter", NULL, &all))
		return false;
	for (i = 0; i < qmp_count(all) && !found; i++) {
		nic = json_object_array_get_idx(all, i);
		found = !strcasecmp(qmp_text(nic, "main-mac"), mac);
		if (found)
			snprintf(id, size, "%s", qmp_text(nic, "name"));
	}
	json_object_put(all);
	return found;
}

/*
 * An interface by its number, where those that were attached follow those of the file, or by its
 * address.
 */
int names_network_detach(struct opts *o)
{
	static char id[32];
	struct guest g;
	uint8_t mac[6];
	struct cfg c;
	long n;
	int nvifs;

	if (whole_number(o->args[1], 0, 1000, &n) && read_guest(o->args[0], &c)) {
		if (n < c.nvifs)
			vif_id(&c.vif[n], id);
		nvifs = c.nvifs;
		cfg_free(&c);
		if (n >= nvifs)
			return fail("%s has no network interface %ld", o->args[0], n);
		o->args[1] = id;
	} else if (!mac_parse(o->args[1], mac)) {
		if (guest_get(o->args[0], true, &g))
			return 1;
		if (find_mac(g.name, o->args[1], id, sizeof(id)))
			o->args[1] = id;
		guest_unlock(&g);
	}
	return cmd_network_detach(o);
}

int names_trigger(struct opts *o)
{
	long vcpu;

	if (o->nargs == 3 &&
	    (strcmp(o->args[1], "nmi") || !whole_number(o->args[2], 0, CFG_MAX_VCPUS - 1, &vcpu)))
		return fail("\"%s\" is no vCPU for the trigger %s; only nmi has one", o->args[2],
			    o->args[1]);
	if (o->nargs == 3)
		warning("an NMI goes to all vCPUs of a guest");
	return cmd_trigger(o);
}
