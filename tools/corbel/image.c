/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest of an image that a distribution makes for clouds. The image stays as it is:
 *
 *	image <--- lib_dir()/NAME/disk0.qcow2, what the guest writes
 *	           lib_dir()/NAME/seed.iso, what cloud-init reads ("NoCloud" in its documentation)
 *	           etc_dir()/NAME.cfg, the guest's file
 */
#define _GNU_SOURCE
#include "corbel.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX 65536 /* of a key or of user data */

struct image {
	const char *name, *base;
	char *user_data;
	char dir[PATH_MAX - 64], file[PATH_MAX];
	char vif[64]; /* its network, as in its file */
	unsigned int ssh;
};

/* All of it, which may come through a pipe in parts. Bytes, or -1. */
static ssize_t read_whole(int fd, char *to, size_t size)
{
	ssize_t n = 1, all = 0;

	for (; (size_t)all < size && n > 0; all += n > 0 ? n : 0)
		n = read(fd, to + all, size - all);
	return n < 0 ? -1 : all;
}

/* A file's text (malloc), or NULL told. */
static char *text_of(const char *path)
{
	char *text = calloc(1, TEXT_MAX + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 || !text ? -1 : read_whole(fd, text, TEXT_MAX + 1);

	if (n > TEXT_MAX)
		fail("%s has more than %d bytes", path, TEXT_MAX);
	else if (n < 0)
		fail("cannot read %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (n >= 0 && n <= TEXT_MAX) {
		text[n] = 0;
		return text;
	}
	free(text);
	return NULL;
}

/* The public key of who calls, into path. */
static bool find_key(char *path)
{
	static const char *const kinds[] = {"ed25519", "ecdsa", "rsa"};
	const char *home = getenv("HOME");
	size_t i;

	for (i = 0; home && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		snprintf(path, PATH_MAX, "%s/.ssh/id_%s.pub", home, kinds[i]);
		if (!access(path, R_OK))
			return true;
	}
	return false;
}

/* Is this one line, as ssh-keygen writes it? */
static bool is_key(char *text)
{
	char *p = text + strcspn(text, "\n");

	if (p[strspn(p, "\n")])
		return false;
	*p = 0;
	for (p = text; *p; p++)
		if (!isprint((unsigned char)*p) || *p == '"' || *p == '\\')
			return false;
	return !strncmp(text, "ssh-", 4) || !strncmp(text, "ecdsa-", 6) || !strncmp(text, "sk-", 3);
}

/* What cloud-init is to do: what the user says, or let the owner of a key in. NULL told. */
static char *user_data(const struct opts *o)
{
	char path[PATH_MAX], *key, *text = NULL;

	if (o->user_data)
		return text_of(o->user_data);
	if (!o->key && !find_key(path)) {
		fail("there is no public key to let you in; make one by ssh-keygen, or give "
		     "--key FILE or --user-data FILE");
		return NULL;
	}
	key = text_of(o->key ? o->key : path);
	if (key && !is_key(key))
		fail("%s is not a public key of ssh, which is one line and begins with its kind",
		     o->key ? o->key : path);
	else if (key &&
		 asprintf(&text, "#cloud-config\nssh_authorized_keys:\n  - \"%s\"\n", key) < 0)
		text = NULL;
	free(key);
	return text;
}

static int make_seed(const struct image *m)
{
	char user[PATH_MAX], meta[PATH_MAX], seed[PATH_MAX], text[512], uuid[37];
	int ret;

	snprintf(user, sizeof(user), "%s/user-data", m->dir);
	snprintf(meta, sizeof(meta), "%s/meta-data", m->dir);
	snprintf(seed, sizeof(seed), "%s/seed.iso", m->dir);
	if (random_uuid(uuid))
		return fail("there are no random numbers for the guest's id");
	snprintf(text, sizeof(text), "instance-id: %s\nlocal-hostname: %s\n", uuid, m->name);
	ret = write_text(user, m->user_data) || write_text(meta, text);
	if (!ret && !RUN("xorrisofs", "-quiet", "-o", seed, "-V", "cidata", "-J", "-r", user, meta))
		ret = fail("cannot make %s; package xorriso has xorrisofs", seed);
	unlink(user);
	unlink(meta);
	return ret;
}

/* The beginning of a file in qcow2 format (QEMU's docs/interop/qcow2.txt), big endian. */
struct qcow2_head {
	char magic[4];
	uint32_t version;
	uint64_t backing;
	char rest[56];
	uint64_t incompatible; /* from version 3 on */
};
#define QCOW2_EXTERNAL_DATA (1ull << 2)

/* Whoever made the image may have written there which file of dom0's the guest is to read. */
static bool names_files(const struct qcow2_head *h)
{
	return h->backing ||
	       (ntohl(h->version) >= 3 && be64toh(h->incompatible) & QCOW2_EXTERNAL_DATA);
}

/* An image is qcow2 if it begins as one; all others are taken as they are, whatever is in them. */
static int make_disk(const struct image *m, long gib)
{
	char disk[PATH_MAX], size[32], *full = realpath(m->base, NULL);
	struct qcow2_head head = {0};
	int fd = full ? open(full, O_RDONLY | O_CLOEXEC) : -1, ret = 0;
	bool qcow2 = fd >= 0 && read(fd, &head, sizeof(head)) > 4 &&
		     !memcmp(head.magic, "QFI\xfb", sizeof(head.magic));

	if (fd < 0) {
		ret = fail("cannot read %s: %s", m->base, strerror(errno));
	} else if (qcow2 && names_files(&head)) {
		ret = fail("%s is not whole: it names another file, which the guest could read; if "
			   "you trust it, `qemu-img convert -O qcow2 %s NEW' makes one that is",
			   m->base, m->base);
		close(fd);
	} else {
		snprintf(disk, sizeof(disk), "%s/disk0.qcow2", m->dir);
		snprintf(size, sizeof(size), "%ldG", gib);
		if (!RUN("qemu-img", "create", "-q", "-f", "qcow2", "-F", qcow2 ? "qcow2" : "raw",
			 "-b", full, disk, gib ? size : NULL))
			ret = fail("cannot make %s; package qemu-utils has qemu-img", disk);
		close(fd);
	}
	free(full);
	return ret;
}

static int make_file(const struct image *m, const struct opts *o)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	int ret = 1;

	if (!f)
		return fail("out of memory");
	fprintf(f, "name   = \"%s\"\ntype   = \"hvm\"\nmemory = %ld\nvcpus  = %ld\n", m->name,
		o->memory ? o->memory : 1024, o->vcpus ? o->vcpus : 1);
	fprintf(f, "serial = \"pty\"\ndisk   = [ 'target=");
	write_escaped(f, m->dir);
	fprintf(f, "/disk0.qcow2,format=qcow2,vdev=xvda,access=w',\n           'target=");
	write_escaped(f, m->dir);
	fprintf(f, "/seed.iso,format=raw,vdev=xvdb,access=r' ]\nvif    = [ '%s' ]\n", m->vif);
	if (!fclose(f))
		ret = write_text(m->file, text);
	free(text);
	return ret;
}

/* ---- its network ---- */

#define LIBVIRT_BRIDGE "virbr0"
#define SSH_FIRST      20000
#define SSH_PORTS      10000

static bool is_free(unsigned int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool can = s >= 0 && !bind(s, (struct sockaddr *)&a, sizeof(a));

	if (s >= 0)
		close(s);
	return can;
}

/* From its name, so that two that do not run have seldom the same. */
static unsigned int ssh_port(const char *name)
{
	unsigned int i, from;
	uint8_t mac[6];

	make_mac(name, 0, mac);
	from = mac[4] << 8 | mac[5];
	for (i = 0; i < SSH_PORTS && !is_free(SSH_FIRST + (from + i) % SSH_PORTS); i++)
		;
	return SSH_FIRST + (from + i) % SSH_PORTS;
}

/* The bridge that is asked for, or one that is usual, or dom0's connections. 0, or 1 told. */
static int choose_network(struct image *m, const char *bridge)
{
	if (!bridge && if_nametoindex(CFG_BRIDGE))
		bridge = CFG_BRIDGE;
	else if (!bridge && if_nametoindex(LIBVIRT_BRIDGE))
		bridge = LIBVIRT_BRIDGE;
	if (bridge && (strlen(bridge) >= IFNAMSIZ || !if_nametoindex(bridge)))
		return fail("there is no bridge %s; without --bridge there need be none", bridge);
	m->ssh = bridge ? 0 : ssh_port(m->name);
	if (bridge)
		snprintf(m->vif, sizeof(m->vif), "bridge=%s", bridge);
	else
		snprintf(m->vif, sizeof(m->vif), "type=user,ssh=%u", m->ssh);
	return 0;
}

static void tell_network(const struct image *m)
{
	if (m->ssh)
		printf("%s: there is no bridge, so it has dom0's connections, and is reached from "
		       "dom0 by `ssh -p %u USER@127.0.0.1'; corbel(8) tells how to have a bridge\n",
		       m->name, m->ssh);
	else
		printf("%s: is on %s\n", m->name, strchr(m->vif, '=') + 1);
}

static void undo_image(const struct image *m)
{
	unlink(m->file);
	RUN("rm", "-rf", "--", (char *)m->dir);
}

/* What did not start is as if it had never been: the same command can be tried again. */
static int start_image(const struct image *m, struct opts *o)
{
	struct guest g;
	int ret;

	o->args++;
	o->nargs--;
	ret = cmd_start(o);
	if (ret && (guest_load(m->name, &g) || !g.alive))
		undo_image(m);
	return ret;
}

int cmd_image(struct opts *o)
{
	const char *why = cfg_bad_name(o->args[1]);
	struct image m = {.base = o->args[0], .name = o->args[1]};
	int ret;

	if (why)
		return fail("\"%s\" is not a guest's name: %s", m.name, why);
	snprintf(m.dir, sizeof(m.dir), "%s/%s", lib_dir(), m.name);
	snprintf(m.file, sizeof(m.file), "%s/%s.cfg", etc_dir(), m.name);
	if (!access(m.file, F_OK))
		return fail("%s is there already; remove it, or choose another name", m.file);
	if (choose_network(&m, o->bridge))
		return 1;
	m.user_data = user_data(o);
	if (!m.user_data)
		return 1;
	ret = make_guest_dir(m.dir);
	if (!ret) {
		ret = make_disk(&m, o->size) || make_seed(&m) || make_file(&m, o);
		if (ret)
			undo_image(&m);
	}
	free(m.user_data);
	if (!ret && !o->no_start)
		ret = start_image(&m, o);
	if (!ret)
		tell_network(&m);
	return ret;
}
