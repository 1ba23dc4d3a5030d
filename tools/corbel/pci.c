/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Devices of dom0's for guests, by VFIO. One that can be given away ("assignable") is bound to the
 * driver vfio-pci; when no guest has it, it is nobody's until it is made dom0's again.
 */
#define _GNU_SOURCE
#include "corbel.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRIVER	  "vfio-pci"
#define ID_PREFIX "pci-" /* of a guest's devices, before the address with . for : */

static const char *devices_dir(void)
{
	const char *d = getenv("CORBEL_SYS"); /* for tests */

	return d && *d ? d : "/sys/bus/pci";
}

static void device_path(char path[PATH_MAX], const char *bdf, const char *file)
{
	snprintf(path, PATH_MAX, "%s/devices/%s/%s", devices_dir(), bdf, file);
}

/* Last part of where a link leads; "" if there is none. */
static void link_name(const char *bdf, const char *file, char name[64])
{
	char path[PATH_MAX], to[PATH_MAX];
	ssize_t n;

	device_path(path, bdf, file);
	n = readlink(path, to, sizeof(to) - 1);
	to[n < 0 ? 0 : n] = 0;
	snprintf(name, 64, "%.63s", strrchr(to, '/') ? strrchr(to, '/') + 1 : to);
}

static bool is_assignable(const char *bdf)
{
	char driver[64];

	link_name(bdf, "driver", driver);
	return !strcmp(driver, DRIVER);
}

static bool is_bridge(const char *bdf)
{
	char path[PATH_MAX], text[16] = "";
	FILE *f;

	device_path(path, bdf, "class");
	f = fopen(path, "r");
	if (f) {
		if (!fgets(text, sizeof(text), f))
			text[0] = 0;
		fclose(f);
	}
	return !strncmp(text, "0x0604", 6);
}

/* 0, or -1 (errno). */
static int write_sys(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), saved;
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	saved = errno;
	close(fd);
	errno = saved;
	return n < 0 ? -1 : 0;
}

/* Let the kernel choose the device's driver anew: this one alone, or any if it is empty. */
static int bind_driver(const char *bdf, const char *driver)
{
	char path[PATH_MAX], text[80];

	device_path(path, bdf, "driver_override");
	snprintf(text, sizeof(text), "%s\n", driver);
	if (write_sys(path, text))
		return fail("%s: %s", path, strerror(errno));
	device_path(path, bdf, "driver/unbind");
	if (write_sys(path, bdf) && errno != ENOENT)
		return fail("%s: its driver does not let go of it: %s", bdf, strerror(errno));
	snprintf(path, sizeof(path), "%s/drivers_probe", devices_dir());
	if (write_sys(path, bdf))
		return fail("%s: %s", path, strerror(errno));
	return 0;
}

/* It is there, and there is an IOMMU. 0, or 1 told. */
static int check_device(const char *bdf)
{
	char path[PATH_MAX], group[64];

	device_path(path, bdf, "");
	if (access(path, F_OK))
		return fail("there is no PCI device %s; lspci -D lists them", bdf);
	if (is_bridge(bdf))
		return fail("%s is a bridge: give away what is behind it", bdf);
	link_name(bdf, "iommu_group", group);
	if (!*group)
		return fail("%s: no IOMMU keeps it from others' memory; boot Corbel with "
			    "iommu=strict, on a machine with VT-d or AMD-Vi",
			    bdf);
	return 0;
}

static int make_assignable(const char *bdf)
{
	char path[PATH_MAX];

	if (check_device(bdf))
		return 1;
	if (is_assignable(bdf))
		return 0;
	snprintf(path, sizeof(path), "%s/drivers/" DRIVER, devices_dir());
	if (access(path, F_OK) && !RUN("modprobe", "-q", DRIVER))
		return fail("dom0's kernel has no driver " DRIVER);
	if (bind_driver(bdf, DRIVER))
		return 1;
	if (!is_assignable(bdf))
		return fail("%s: " DRIVER " does not take it; see `dmesg'", bdf);
	return 0;
}

/* VFIO gives groups away as a whole. The first of the others that dom0 uses, in other. */
static bool dom0_uses_group(const char *bdf, char other[64], char driver[64])
{
	char path[PATH_MAX];
	struct dirent *e;
	bool uses = false;
	DIR *d;

	device_path(path, bdf, "iommu_group/devices");
	d = opendir(path);
	while (d && !uses && (e = readdir(d))) {
		if (e->d_name[0] == '.' || is_bridge(e->d_name))
			continue;
		link_name(e->d_name, "driver", driver);
		uses = *driver && strcmp(driver, DRIVER);
		snprintf(other, 64, "%.63s", e->d_name);
	}
	if (d)
		closedir(d);
	return uses;
}

int pci_take(const struct cfg_pci *p)
{
	char other[64], driver[64];

	if (p->seize ? make_assignable(p->bdf) : check_device(p->bdf))
		return 1;
	if (!is_assignable(p->bdf))
		return fail("%s is dom0's; `corbel pci-assignable-add %s' takes it from there, or "
			    "have '%s,seize=1'",
			    p->bdf, p->bdf, p->bdf);
	if (dom0_uses_group(p->bdf, other, driver))
		return fail(
		    "%s cannot be told from %s, which dom0 uses (%s): make that assignable, "
		    "too",
		    p->bdf, other, driver);
	return 0;
}

void pci_id(const char *bdf, char id[32])
{
	char *c;

	snprintf(id, 32, ID_PREFIX "%s", bdf);
	for (c = id; *c; c++)
		if (*c == ':')
			*c = '.';
}

/* ---- commands ---- */

/* The argument, which is told if it is none. */
static bool parse_argument(const char *arg, struct cfg_pci *p)
{
	char err[256];

	if (!cfg_parse_pci(p, arg, err))
		return true;
	fail("%s", err);
	return false;
}

static int is_bound(const struct dirent *e)
{
	return strlen(e->d_name) == CFG_BDF_SIZE - 1 && is_assignable(e->d_name);
}

int cmd_pci_assignable_list(struct opts *o)
{
	struct json_object *all = json_object_new_array(), *one;
	char path[PATH_MAX], group[64];
	struct dirent **found = NULL;
	int i, n;

	snprintf(path, sizeof(path), "%s/devices", devices_dir());
	n = scandir(path, &found, is_bound, alphasort);
	if (!o->json)
		printf("%-14s %s\n", "DEVICE", "GROUP");
	for (i = 0; i < n; i++) {
		link_name(found[i]->d_name, "iommu_group", group);
		one = json_object_new_object();
		json_object_object_add(one, "device", json_object_new_string(found[i]->d_name));
		json_object_object_add(one, "group", json_object_new_string(group));
		json_object_array_add(all, one);
		if (!o->json)
			printf("%-14s %s\n", found[i]->d_name, group);
		free(found[i]);
	}
	free(found);
	if (o->json)
		print_json(json_object_get(all));
	json_object_put(all);
	return 0;
}

int cmd_pci_assignable_add(struct opts *o)
{
	struct cfg_pci p;

	return !parse_argument(o->args[0], &p) || make_assignable(p.bdf);
}

int cmd_pci_assignable_remove(struct opts *o)
{
	struct cfg_pci p;

	if (!parse_argument(o->args[0], &p))
		return 1;
	if (!is_assignable(p.bdf))
		return fail("%s is not assignable; `corbel pci-assignable-list' lists what is",
			    p.bdf);
	return bind_driver(p.bdf, "");
}

int cmd_pci_list(struct opts *o)
{
	struct json_object *all = NULL, *out = json_object_new_array();
	struct guest g = {.lock = -1};
	const char *id;
	char bdf[64];
	size_t i;

	if (guest_get(o->args[0], true, &g) ||
	    qmp_do_with(g.name, "qom-list",
			json_pair("path", json_object_new_string("/machine/peripheral")), &all)) {
		guest_unlock(&g);
		json_object_put(out);
		return 1;
	}
	guest_unlock(&g);
	for (i = 0; i < qmp_count(all); i++) {
		id = qmp_text(json_object_array_get_idx(all, i), "name");
		if (strncmp(id, ID_PREFIX, strlen(ID_PREFIX)) ||
		    strlen(id) != strlen(ID_PREFIX) + CFG_BDF_SIZE - 1)
			continue;
		snprintf(bdf, sizeof(bdf), "%s", id + strlen(ID_PREFIX));
		bdf[4] = bdf[7] = ':';
		json_object_array_add(out, json_object_new_string(bdf));
		if (!o->json)
			printf("%s\n", bdf);
	}
	json_object_put(all);
	if (o->json)
		print_json(json_object_get(out));
	json_object_put(out);
	return 0;
}

int cmd_pci_attach(struct opts *o)
{
	static struct qmp q;
	struct cfg_pci p;
	struct guest g;
	char err[128], id[32];
	int ret = 0, port;

	if (!parse_argument(o->args[1], &p) || pci_take(&p) || open_guest(o->args[0], &g, &q))
		return 1;
	pci_id(p.bdf, id);
	port = free_port(&q, err);
	if (port < 0 ||
	    add_device(&q,
		       make_object(3, (const char *[]){"driver", DRIVER, "host", p.bdf, "id", id}),
		       port, err))
		ret = fail("%s: cannot attach %s: %s", g.name, p.bdf, err);
	qmp_close(&q);
	guest_unlock(&g);
	return ret;
}

int cmd_pci_detach(struct opts *o)
{
	static struct qmp q;
	struct cfg_pci p;
	struct guest g;
	char id[32];
	int ret;

	if (!parse_argument(o->args[1], &p) || open_guest(o->args[0], &g, &q))
		return 1;
	pci_id(p.bdf, id);
	ret = !unplug_device(&q, g.name, id);
	qmp_close(&q);
	guest_unlock(&g);
	return ret;
}
