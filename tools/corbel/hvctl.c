/* SPDX-License-Identifier: GPL-2.0-only */
/* The hypervisor as seen through /dev/corbel. */
#include "corbel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICE "/dev/corbel"

static int device = -1;

static int open_device(void)
{
	if (device < 0)
		device = open(DEVICE, O_RDWR | O_CLOEXEC);
	return device < 0 ? -errno : 0;
}

bool hv_present(void)
{
	return !open_device();
}

int hv_need(void)
{
	int err = open_device();

	if (!err)
		return 0;
	if (err == -ENOENT || err == -ENODEV || err == -ENXIO)
		fail(DEVICE " is not there: corbel.ko is not loaded, or this machine was booted "
			    "without Corbel; try "
			    "`modprobe corbel' "
			    "and look into dmesg");
	else if (err == -EACCES || err == -EPERM)
		fail(DEVICE ": %s; run as root", strerror(-err));
	else
		fail(DEVICE ": %s", strerror(-err));
	return -1;
}

/* Bytes, or a negative errno. */
static int query_hypervisor(struct corbel_query *q)
{
	return ioctl(device, CORBEL_IOC_QUERY, q) < 0 ? -errno : (int)q->len;
}

static int query_failed(const char *what, int err, size_t want)
{
	if (err >= 0)
		fail("asking for %s: got %d bytes instead of %zu; corbel and corbel.ko are of "
		     "different versions: "
		     "install both from one "
		     "build",
		     what, err, want);
	else
		fail("asking for %s: %s%s", what, strerror(-err),
		     err == -ENOTTY || err == -E2BIG || err == -EINVAL
			 ? "; corbel and corbel.ko are of different versions: install "
			   "both from one build"
			 : "");
	return -1;
}

int hv_info(struct corbel_info *info)
{
	struct corbel_query q = {
	    .what = CORBEL_STAT_INFO, .buf = (uintptr_t)info, .len = sizeof(*info)};
	int n;

	if (hv_need())
		return -1;
	n = query_hypervisor(&q);
	if (n != (int)sizeof(*info))
		return query_failed("the hypervisor's state", n, sizeof(*info));
	if (info->abi_version != CORBEL_ABI_VERSION) {
		fail("the hypervisor speaks ABI %u, this tool %u; install tool and hypervisor from "
		     "one build",
		     info->abi_version, CORBEL_ABI_VERSION);
		return -1;
	}
	info->version[sizeof(info->version) - 1] = 0;
	info->scheduler[sizeof(info->scheduler) - 1] = 0;
	return 0;
}

/* From the first on; *all has room for one more. Count, or -1 told. */
static int walk_all(uint32_t what, size_t size, char **all)
{
	struct corbel_query q;
	int n, got, space = 0;
	char *more;

	for (n = 0;; n++) {
		if (n == space) {
			space += 64;
			more = realloc(*all, space * size);
			if (!more) {
				fail("out of memory");
				return -1;
			}
			*all = more;
		}
		q = (struct corbel_query){
		    .what = what, .index = n, .buf = (uintptr_t)(*all + n * size), .len = size};
		got = query_hypervisor(&q);
		if (got == -ENOENT)
			return n;
		if (got != (int)size)
			return query_failed("statistics", got, size);
	}
}

/*
 * They are asked for by their place: where one came or went meanwhile, before another, that may be
 * there twice or not at all. Then the last has another place, too; each begins with its id.
 */
static bool is_in_place(uint32_t what, size_t size, char *all, int n)
{
	char *last = all + (n - 1) * size, *again = all + n * size;
	struct corbel_query q = {
	    .what = what, .index = n - 1, .buf = (uintptr_t)again, .len = size};

	return query_hypervisor(&q) == (int)size && !memcmp(last, again, sizeof(uint32_t));
}

int hv_all(uint32_t what, size_t size, void *out)
{
	int n, times = 8; /* guests may come and go without an end */
	char *all = NULL;

	*(void **)out = NULL;
	if (hv_need())
		return -1;
	do
		n = walk_all(what, size, &all);
	while (n > 0 && --times && !is_in_place(what, size, all, n));
	if (n < 0)
		free(all);
	else
		*(void **)out = all;
	return n;
}

int hv_log(uint64_t *seq, char *buf, size_t size)
{
	union {
		struct corbel_log log;
		char space[4096];
	} u;
	struct corbel_query q = {
	    .what = CORBEL_QUERY_LOG, .seq = *seq, .buf = (uintptr_t)&u, .len = sizeof(u)};
	int n;

	if (hv_need())
		return -1;
	memset(&u, 0, sizeof(u));
	u.log.seq = *seq;
	n = query_hypervisor(&q);
	if (n < 0)
		return query_failed("the log", n, 0);
	if (u.log.len > sizeof(u) - sizeof(u.log) || u.log.len > size)
		return query_failed("the log", u.log.len, sizeof(u) - sizeof(u.log));
	memcpy(buf, u.log.text, u.log.len);
	*seq = u.log.next;
	return u.log.len;
}

int hv_sched(const struct corbel_sched_set *s, const struct corbel_vcpu_stat *v)
{
	if (hv_need())
		return -1;
	if (!ioctl(device, CORBEL_IOC_SCHED, s))
		return 0;
	if (errno == EINVAL && !s->weight && !s->cap)
		fail("scheduling of vCPU %u: none of these CPUs is there; `corbel info' tells how "
		     "many are",
		     v->index);
	else if (errno == EINVAL)
		fail("scheduling of vCPU %u: refused; weight goes from 1 to %u, cap from 1 to 100, "
		     "and one of the CPUs must exist (see `corbel info')",
		     v->index, CORBEL_MAX_WEIGHT);
	else if (errno == ENOENT && !v->vm)
		fail("scheduling of dom0's vCPU %u: it stays on its CPU, and always has a share by "
		     "the threads that run in it",
		     v->index);
	else if (errno == ENOENT)
		fail("scheduling of vCPU %u: it has ended", v->index);
	else
		fail("scheduling of vCPU %u: %s", v->index, strerror(errno));
	return -1;
}

int hv_sched_vm(const struct corbel_sched_vm *s)
{
	if (hv_need())
		return -1;
	if (!ioctl(device, CORBEL_IOC_SCHED_VM, s))
		return 0;
	if (errno == ENOENT && !s->vm)
		fail("scheduling of dom0: it always has a share by the threads that run in it");
	else if (errno == ENOENT)
		fail("scheduling of VM %u: it has ended", s->vm);
	else if (errno == EINVAL)
		fail("scheduling of VM %u: refused; weight goes from 1 to %u, cap from 1 to %u",
		     s->vm, CORBEL_MAX_WEIGHT, CORBEL_MAX_CAP - 1);
	else
		fail("scheduling of VM %u: %s", s->vm, strerror(errno));
	return -1;
}

int hv_pool(const struct corbel_pool_call *c)
{
	return ioctl(device, CORBEL_IOC_POOL, c) < 0 ? -1 : 0;
}

int hv_debug(const char *keys)
{
	if (hv_need())
		return -1;
	for (; *keys; keys++)
		if (ioctl(device, CORBEL_IOC_DEBUG, (unsigned long)*keys) < 0)
			return fail("debug key %c: %s", *keys, strerror(errno));
	return 0;
}
