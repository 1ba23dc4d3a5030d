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

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX 65536 /* of a key or of user data */

struct image {
	const char *name, *base;
	char *user_data;
	char dir[PATH_MAX - 64], file[PATH_MAX];
};

/* A file's text (malloc), or NULL told. */
static char *text_of(const char *path)
{
	char *text = calloc(1, TEXT_MAX + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 || !text ? -1 : read(fd, text, TEXT_MAX + 1);

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

/* An image is qcow2 if it begins as one; all others are taken as they are, whatever is in them. */
static int make_disk(const struct image *m, long gib)
{
	char disk[PATH_MAX], size[32], magic[4] = "", *full = realpath(m->base, NULL);
	int fd = full ? open(full, O_RDONLY | O_CLOEXEC) : -1, ret = 0;
	bool qcow2 = fd >= 0 && read(fd, magic, 4) == 4 && !memcmp(magic, "QFI\xfb", 4);

	if (fd < 0) {
		ret = fail("cannot read %s: %s", m->base, strerror(errno));
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
	fprintf(f, "/seed.iso,format=raw,vdev=xvdb,access=r' ]\nvif    = [ '' ]\n");
	if (!fclose(f))
		ret = write_text(m->file, text);
	free(text);
	return ret;
}

static void undo_image(const struct image *m)
{
	unlink(m->file);
	RUN("rm", "-rf", "--", (char *)m->dir);
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
	if (ret || o->no_start)
		return ret;
	o->args++;
	return cmd_start(o);
}
