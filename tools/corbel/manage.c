/* SPDX-License-Identifier: GPL-2.0-only */
/* Commands that change a running guest's parts, by QMP: vCPUs, disks, network, keys. */
#define _GNU_SOURCE
#include "corbel.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLUG_MS 120000 /* with a device of dom0's all of the guest's memory is pinned */

/* ---- answers and arguments ---- */

struct json_object *make_object(int n, const char *const *pairs)
{
	struct json_object *o = json_object_new_object();
	int i;

	for (i = 0; i < 2 * n; i += 2)
		json_object_object_add(o, pairs[i], json_object_new_string(pairs[i + 1]));
	return o;
}
#define OBJECT(...)                                                                                \
	make_object(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *) / 2,                    \
		    (const char *const[]){__VA_ARGS__})

/* Lock the guest, run one command. 0, or 1 told. */
static int guest_do(const char *name, const char *command, struct json_object *args,
		    struct json_object **ret)
{
	struct guest g;
	int err;

	if (guest_get(name, true, &g)) {
		json_object_put(args);
		return 1;
	}
	err = qmp_do_with(name, command, args, ret);
	guest_unlock(&g);
	return err ? 1 : 0;
}

bool whole_number(const char *s, long min, long max, long *out)
{
	char *end;

	*out = strtol(s, &end, 10);
	return end != s && !*end && *out >= min && *out <= max;
}

/* ---- vCPUs ---- */

/* One slot of query-hotpluggable-cpus: plug it in, or ask the guest to give back what was. */
static int plug_vcpu(struct qmp *q, struct json_object *slot, int i, bool in, char *err)
{
	struct json_object *args, *props = qmp_member(slot, "props");
	char id[32];

	snprintf(id, sizeof(id), "vcpu%d", i);
	if (!in)
		return qmp_call(q, "device_del", OBJECT("id", id), -1, NULL, err);
	args = OBJECT("driver", qmp_text(slot, "type"), "id", id);
	if (json_object_is_type(props, json_type_object)) {
		json_object_object_foreach(props, key, value)
		    json_object_object_add(args, key, json_object_get(value));
	}
	return qmp_call(q, "device_add", args, -1, NULL, err);
}

/* Slots come with the last vCPU first; those taken have a qom-path. */
int set_vcpus(struct qmp *q, const char *name, long want)
{
	struct json_object *all = NULL;
	int i, err = 0, slots, taken = 0;
	char why[128];

	if (qmp_command(q, "query-hotpluggable-cpus", &all, why))
		return fail("%s: its machine cannot change vCPUs (%s); one with firmware = "
			    "\"bios\" can",
			    name, why);
	slots = qmp_count(all);
	for (i = 0; i < slots; i++)
		taken += qmp_member(json_object_array_get_idx(all, i), "qom-path") != NULL;
	if (want > slots)
		err = fail("%s has at most %d vCPUs; its file says so with maxvcpus", name, slots);
	for (i = 0; i < slots && !err; i++) {
		struct json_object *slot = json_object_array_get_idx(all, slots - 1 - i);
		bool is = qmp_member(slot, "qom-path") != NULL;

		if (is == (i < want))
			continue;
		if (plug_vcpu(q, slot, i, !is, why))
			err = fail("%s: vCPU %d: %s", name, i, why);
	}
	json_object_put(all);
	return err;
}

int cmd_vcpu_set(struct opts *o)
{
	static struct qmp q;
	struct guest g;
	long n;
	int err;

	if (!whole_number(o->args[1], 1, CFG_MAX_VCPUS, &n))
		return fail("\"%s\" is not a number of vCPUs, 1 to %d: " CFG_WHY_VCPUS, o->args[1],
			    CFG_MAX_VCPUS);
	if (guest_get(o->args[0], true, &g))
		return 1;
	err = n < g.vcpus ? fail("%s has at least the %u vCPUs that it has started with, by vcpus "
				 "of its file",
				 g.name, g.vcpus)
			  : qmp_need(&q, g.name);
	if (!err) {
		err = set_vcpus(&q, g.name, n);
		qmp_close(&q);
	}
	guest_unlock(&g);
	return err ? 1 : 0;
}

/* ---- disks ---- */

/* By which other commands know it: a CD drive or attached disk by its device. */
static const char *disk_name(struct json_object *b)
{
	const char *qdev = qmp_text(b, "qdev");

	if (!strncmp(qdev, "cd", 2))
		return qdev;
	return *qmp_text(b, "device") ? qmp_text(b, "device")
				      : qmp_text(qmp_member(b, "inserted"), "node-name");
}

int cmd_block_list(struct opts *o)
{
	struct json_object *all = NULL, *b, *in;
	size_t i;

	if (guest_do(o->args[0], "query-block", NULL, &all))
		return 1;
	if (o->json) {
		print_json(all);
		return 0;
	}
	printf("%-16s %-8s %-3s %s\n", "DISK", "FORMAT", "RO", "FILE");
	for (i = 0; i < qmp_count(all); i++) {
		b = json_object_array_get_idx(all, i);
		in = qmp_member(b, "inserted");
		printf("%-16s %-8s %-3s %s\n", disk_name(b), in ? qmp_text(in, "drv") : "-",
		       in && *qmp_text(in, "ro") == 't' ? "yes" : "no",
		       in ? qmp_text(in, "file") : "(empty)");
	}
	json_object_put(all);
	return 0;
}

/* A port's bus has what is behind it as child[0]. */
static int port_children(struct qmp *q, int port, char *err)
{
	struct json_object *ret = NULL;
	char path[64];
	size_t i;
	int n = 0;

	snprintf(path, sizeof(path), "/machine/peripheral/port%d/port%d", port, port);
	if (qmp_call(q, "qom-list", OBJECT("path", path), -1, &ret, err))
		return -1;
	for (i = 0; i < qmp_count(ret); i++)
		n += !strncmp(qmp_text(json_object_array_get_idx(ret, i), "name"), "child[", 6);
	json_object_put(ret);
	return n;
}

int free_port(struct qmp *q, char *err)
{
	int i, n = 1;

	for (i = 0; i < HOTPLUG_PORTS && n > 0; i++)
		n = port_children(q, i, err);
	if (!n)
		return i - 1;
	if (n < 0)
		snprintf(err, 128, "only a PC takes devices while it runs");
	else
		snprintf(err, 128, "its %d ports for that are taken", HOTPLUG_PORTS);
	return -1;
}

int add_device(struct qmp *q, struct json_object *args, int port, char *err)
{
	char bus[16];

	snprintf(bus, sizeof(bus), "port%d", port);
	json_object_object_add(args, "bus", json_object_new_string(bus));
	return qmp_call_within(q, PLUG_MS, "device_add", args, -1, NULL, err);
}

/* The guest has it already. 0, or -1 with what that means in err. */
static int note_attached(const char *guest, const char *id, const struct cfg_disk *d,
			 const struct cfg_vif *vif, char *err)
{
	char why[128];

	if (!config_add(guest, d, vif, why))
		return 0;
	snprintf(err, 128, "it HAS it, as %s, but %.80s; detach it", id, why);
	return -1;
}

static int attach_disk(struct qmp *q, const char *guest, struct cfg_disk *d, char id[16], char *err)
{
	struct json_object *node;

	d->port = config_now(q, guest, err) ? -1 : free_port(q, err);
	if (d->port < 0)
		return -1;
	snprintf(id, 16, "disk-%d", d->port);
	node = OBJECT("driver", d->qcow2 ? "qcow2" : "raw", "node-name", id);
	json_object_object_add(node, "read-only", json_object_new_boolean(d->readonly));
	if (d->discard)
		json_object_object_add(node, "discard", json_object_new_string("unmap"));
	json_object_object_add(node, "file", OBJECT("driver", "file", "filename", d->path));
	if (qmp_call(q, "blockdev-add", node, -1, NULL, err))
		return -1;
	if (!add_device(q, OBJECT("driver", "virtio-blk-pci", "id", id, "drive", id), d->port, err))
		return note_attached(guest, id, d, NULL, err);
	qmp_call(q, "blockdev-del", OBJECT("node-name", id), -1, NULL, (char[128]){0});
	return -1;
}

int open_guest(const char *name, struct guest *g, struct qmp *q)
{
	if (guest_get(name, true, g))
		return 1;
	if (!qmp_need(q, name))
		return 0;
	guest_unlock(g);
	return 1;
}

int cmd_block_attach(struct opts *o)
{
	static struct qmp q;
	char err[256], id[16], *full;
	struct cfg_disk d;
	struct guest g;
	int ret = 0;

	if (cfg_parse_disk(&d, o->args[1], err)) {
		free(d.path);
		return fail("%s", err);
	}
	full = realpath(d.path, NULL);
	if (!full) {
		ret = fail("disk %s: %s", d.path, strerror(errno));
		free(d.path);
		return ret;
	}
	free(d.path);
	d.path = full;
	if (strchr(full, ',') || full[strlen(full) - 1] == ' ') {
		ret =
		    fail("disk %s: a guest's file cannot name it: have a path without a comma, and "
			 "without a blank at its end",
			 full);
		free(full);
		return ret;
	}
	ret = open_guest(o->args[0], &g, &q);
	if (!ret) {
		if (attach_disk(&q, g.name, &d, id, err))
			ret = fail("%s: cannot attach %s: %s", g.name, full, err);
		else
			printf("%s\n", id);
		qmp_close(&q);
		guest_unlock(&g);
	}
	free(full);
	return ret;
}

bool unplug_device(struct qmp *q, const char *guest, const char *id)
{
	char err[128], path[64];
	long end = now_ms() + 10000;
	struct json_object *ret;

	if (qmp_call(q, "device_del", OBJECT("id", id), -1, NULL, err)) {
		fail("%s: cannot detach %s: %s", guest, id, err);
		return false;
	}
	snprintf(path, sizeof(path), "/machine/peripheral/%s", id);
	while (now_ms() < end) {
		ret = NULL;
		if (qmp_call(q, "qom-list", OBJECT("path", path), -1, &ret, err))
			return true;
		json_object_put(ret);
		usleep(50000);
	}
	fail("%s: the guest does not let go of %s; it may still use it", guest, id);
	return false;
}

static int detach_device(struct opts *o, const char *prefix, const char *command, const char *key)
{
	static struct qmp q;
	const char *id = o->args[1];
	char err[128];
	struct guest g;
	int ret;

	if (strncmp(id, prefix, strlen(prefix)) || strlen(id) > 20)
		return fail("%s was not attached by corbel: what can be detached is called %sN", id,
			    prefix);
	ret = open_guest(o->args[0], &g, &q);
	if (ret)
		return ret;
	ret = !unplug_device(&q, g.name, id);
	if (!ret && qmp_call(&q, command, OBJECT(key, id), -1, NULL, err))
		ret = fail("%s: %s: %s", g.name, id, err);
	qmp_close(&q);
	guest_unlock(&g);
	return ret;
}

int cmd_block_detach(struct opts *o)
{
	return detach_device(o, "disk-", "blockdev-del", "node-name");
}

int cmd_cd_insert(struct opts *o)
{
	char *full = realpath(o->args[2], NULL);
	int ret;

	if (!full)
		return fail("%s: %s", o->args[2], strerror(errno));
	ret = guest_do(o->args[0], "blockdev-change-medium",
		       OBJECT("id", o->args[1], "filename", full, "format", "raw", "read-only-mode",
			      "read-only"),
		       NULL);
	free(full);
	return ret ? fail("`corbel block-list %s' shows its CD drives: cd0...", o->args[0]) : 0;
}

int cmd_cd_eject(struct opts *o)
{
	return guest_do(o->args[0], "eject", OBJECT("id", o->args[1]), NULL);
}

/* ---- network ---- */

int cmd_network_list(struct opts *o)
{
	struct json_object *all = NULL, *n;
	size_t i;

	if (guest_do(o->args[0], "query-rx-filter", NULL, &all))
		return 1;
	if (o->json) {
		print_json(all);
		return 0;
	}
	printf("%-24s %s\n", "DEVICE", "MAC");
	for (i = 0; i < qmp_count(all); i++) {
		n = json_object_array_get_idx(all, i);
		printf("%-24s %s\n", qmp_text(n, "name"), qmp_text(n, "main-mac"));
	}
	json_object_put(all);
	return 0;
}

/* What the interface is connected to. */
static int add_netdev(struct qmp *q, const char *id, const struct cfg_vif *vif, char *err)
{
	char name[16];
	int ret, tap;

	if (vif->user)
		return qmp_call(q, "netdev_add", OBJECT("type", "user", "id", id), -1, NULL, err);
	tap = tap_open(vif->bridge, name);
	if (tap < 0) {
		snprintf(err, 128, "no tap device");
		return -1;
	}
	ret = qmp_call(q, "getfd", OBJECT("fdname", id), tap, NULL, err) ||
	      qmp_call(q, "netdev_add", OBJECT("type", "tap", "id", id, "fd", id), -1, NULL, err);
	close(tap);
	return ret ? -1 : 0;
}

int vif_attach(struct qmp *q, const char *guest, struct cfg_vif *vif, char *err)
{
	char id[16], mac[18];
	uint8_t *m = vif->mac;

	vif->port = config_now(q, guest, err) ? -1 : free_port(q, err);
	if (vif->port < 0)
		return -1;
	vif_id(vif, id);
	vif_mac(guest, vif, m);
	vif->has_mac = true;
	if (add_netdev(q, id, vif, err))
		return -1;
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
		 m[5]);
	if (!add_device(q,
			OBJECT("driver", vif->model ? vif->model : "virtio-net-pci", "id", id,
			       "netdev", id, "mac", mac),
			vif->port, err))
		return note_attached(guest, id, NULL, vif, err);
	qmp_call(q, "netdev_del", OBJECT("id", id), -1, NULL, (char[128]){0});
	return -1;
}

int cmd_network_attach(struct opts *o)
{
	static struct qmp q;
	char err[256];
	struct cfg_vif vif;
	struct guest g;
	int ret;

	if (cfg_parse_vif(&vif, o->nargs > 1 ? o->args[1] : "", err)) {
		cfg_free_vif(&vif);
		return fail("%s", err);
	}
	if (vif.user) {
		cfg_free_vif(&vif);
		return fail("type=user is for guests' files: an interface that is attached wants a "
			    "bridge");
	}
	ret = open_guest(o->args[0], &g, &q);
	if (!ret) {
		if (vif_attach(&q, g.name, &vif, err))
			ret = fail("%s: cannot attach a network interface: %s", g.name, err);
		else
			printf("net-%d\n", vif.port);
		qmp_close(&q);
		guest_unlock(&g);
	}
	cfg_free_vif(&vif);
	return ret;
}

int cmd_network_detach(struct opts *o)
{
	return detach_device(o, "net-", "netdev_del", "id");
}

/* ---- the screen ---- */

int cmd_vncviewer(struct opts *o)
{
	struct json_object *vnc = NULL;
	const char *host, *port;
	char *at = NULL;
	bool on;

	if (guest_do(o->args[0], "query-vnc", NULL, &vnc))
		return 1;
	on = json_object_get_boolean(qmp_member(vnc, "enabled"));
	host = qmp_text(vnc, "host");
	port = qmp_text(vnc, "service");
	if (on && asprintf(&at, strchr(host, ':') ? "[%s]::%s" : "%s::%s", host, port) < 0)
		at = NULL;
	json_object_put(vnc);
	if (!on)
		return fail("%s has no screen; have vnc = 1 in its file", o->args[0]);
	if (at)
		execlp("vncviewer", "vncviewer", at, NULL);
	return fail("cannot run vncviewer: %s; install tigervnc-viewer, or connect any other to %s",
		    strerror(errno), at ? at : o->args[0]);
}

/* ---- keys and buttons ---- */

int cmd_trigger(struct opts *o)
{
	static const char *const known[][2] = {{"nmi", "inject-nmi"},
					       {"power", "system_powerdown"},
					       {"reset", "system_reset"},
					       {"s3resume", "system_wakeup"}};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (!strcmp(o->args[1], known[i][0]))
			return guest_do(o->args[0], known[i][1], NULL, NULL);
	return fail("there is no trigger \"%s\"; there are nmi, power, reset and s3resume",
		    o->args[1]);
}

/* Linux takes a break on its serial console and a letter within five seconds. */
int cmd_sysrq(struct opts *o)
{
	const char *letter = o->args[1];
	int s, ret, i, unread;

	if (strlen(letter) != 1 || !isalnum((unsigned char)*letter))
		return fail("\"%s\" is not one letter; h lists what the guest knows", letter);
	s = console_open(o->args[0]);
	if (s < 0)
		return 1;
	ret = guest_do(o->args[0], "chardev-send-break", OBJECT("id", "console"), NULL);
	if (!ret && write(s, letter, 1) != 1)
		ret = fail("%s: its console takes no letter: %s", o->args[0], strerror(errno));
	/* QEMU forgets what it has not read yet when the socket is closed. */
	for (i = 0; !ret && i < 200 && !ioctl(s, SIOCOUTQ, &unread) && unread; i++)
		usleep(10000);
	close(s);
	return ret;
}
