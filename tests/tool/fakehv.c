/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * LD_PRELOADed into the corbel tool: a /dev/corbel with dom0, somebody's VM $FAKEHV_OTHER if that
 * is set, whose process is $FAKEHV_OTHER_PID, and the guest whose record is $FAKEHV_RECORD. What is
 * set by CORBEL_IOC_SCHED (by id), SCHED_VM and POOL goes into $FAKEHV_SCHED, one line a call;
 * $FAKEHV_POOL is the errno of the last. With $FAKEHV_SPLIT=N six CPUs are all Pool-0's, and the
 * Nth pool that is made is refused. With $FAKEHV_FAST the tool's clock runs so many times as
 * fast. With $FAKEHV_FSYNC fsync() fails. While there is a file or directory $FAKEHV_FAIL no query
 * is answered; a file is gone with the first. $FAKEHV_LOOKS: the guest's vCPU 1 has run and waited
 * more at each look; $FAKEHV_COMES: it is another; $FAKEHV_REALTIME: it is of real time.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../dom0/kmod/devctl.h"
#include "../../hv/abi.h"

#define NUMBERS                                                                                    \
	(77ul * CORBEL_MAX_VCPUS) /* and the id: a vCPU's number, as the hypervisor has it */

static int device = -1;
static unsigned int created; /* pools */
static const char log_text[] = "(hv) first line\n(hv) second line\n";

static int record_pid(void)
{
	const char *path = getenv("FAKEHV_RECORD");
	FILE *f = path ? fopen(path, "r") : NULL;
	char line[256];
	int pid = 0;

	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "\"pid\":"))
			pid = atoi(strstr(line, "\"pid\":") + 6);
	if (f)
		fclose(f);
	return pid;
}

static int answer(struct corbel_query *q, const void *data, size_t size)
{
	if (q->len < size) {
		errno = EINVAL;
		return -1;
	}
	memcpy((void *)(uintptr_t)q->buf, data, size);
	q->len = getenv("FAKEHV_SHORT") ? size - 4 : size;
	return 0;
}

static int query_vm(struct corbel_query *q)
{
	const char *other = getenv("FAKEHV_OTHER");
	unsigned int index = q->index + (q->index && !other);
	struct corbel_vm_stat vm[3] = {
	    {.id = 0, .vcpus = 2, .runtime_ns = 5000000000, .name = "dom0"},
	    {.id = 2, .pid = 1},
	    {.id = 3,
	     .vcpus = 2,
	     .pid = record_pid(),
	     .mapped_bytes = 1 << 20,
	     .pool_bytes = 4096,
	     .runtime_ns = 7000000000,
	     .weight = 512,
	     .pool = 5,
	     .cap = 150,
	     .name = "qemu"},
	};

	if (getenv("FAKEHV_OTHER_PID"))
		vm[1].pid = atoi(getenv("FAKEHV_OTHER_PID"));
	snprintf((char *)vm[1].name, sizeof(vm[1].name), "%s", other ? other : "");
	if (index < 3 && (index < 2 || vm[2].pid))
		return answer(q, &vm[index], sizeof(vm[0]));
	errno = ENOENT;
	return -1;
}

static int query(struct corbel_query *q)
{
	struct corbel_info info = {.abi_version = getenv("FAKEHV_ABI") ? 99 : CORBEL_ABI_VERSION,
				   .backend = CORBEL_BACKEND_SVM,
				   .cpus = 2,
				   .vms = 2,
				   .vcpus = 4,
				   .memory_total_bytes = 1ull << 30,
				   .pool_total_bytes = 1 << 24,
				   .pool_free_bytes = 1 << 23,
				   .pool_promised_bytes = 1 << 22,
				   .iommu = CORBEL_IOMMU_STRICT,
				   .iommu_units = 1,
				   .iommu_pages = 266,
				   .features = CORBEL_FEATURE_BY_CORE,
				   .version = "0.1",
				   .scheduler = "fair",
				   .tsc_khz = 2000000};
	struct corbel_vcpu_stat vcpu = {.id = 10 + q->index,
					.vm = q->index < 2 ? 0 : 3,
					.index = q->index % 2,
					.state = q->index,
					.weight = 1024,
					.affinity.word = {1ull << q->index % 2},
					.runs_on.word = {q->index < 2 ? 1ull << q->index : 6},
					.period_us = 10000,
					.budget_us = 4000,
					.number = NUMBERS + 10 + q->index,
					.runtime_ns = 1000000000,
					.exits_total = 12 + q->index % 2,
					.exits = {2, [8] = 10 + q->index % 2}};
	static uint32_t looks; /* vCPU 1 of the guest runs and waits */

	if (q->index >= 2)
		memset(&vcpu.affinity, 0xff, sizeof(vcpu.affinity));
	if (q->index == 3 && getenv("FAKEHV_REALTIME"))
		vcpu.weight = CORBEL_REALTIME_WEIGHT;
	if (q->index == 3 && getenv("FAKEHV_COMES")) /* another each time */
		vcpu.id += looks++;
	if (q->index == 3 && getenv("FAKEHV_LOOKS")) {
		vcpu.runtime_ns += looks * 3000000ull;
		vcpu.steal_ns += looks++ * 1000000ull;
	}
	struct corbel_pool_stat pool[] = {
	    {.vms = 1, .cpus.word = {1}, .name = "Pool-0", .policy = "fair"},
	    {.id = 5, .vms = 1, .cpus.word = {6}, .name = "fast", .policy = "rr"},
	    {.id = CORBEL_MAX_POOLS, .cpus.word = {8}},
	};
	/* each in a package of its own */
	struct corbel_cpu_stat cpu = {.cpu = q->index,
				      .core = q->index == 1 ? 8 : 0,
				      .package = q->index == 1,
				      .idle_ns = 1000,
				      .forced_ns = 400 * q->index,
				      .busy_ns = 3000,
				      .khz = getenv("FAKEHV_KHZ") ? 800000 + 2500000 * q->index : 0,
				      .idle_states = 0x13,
				      .by_store = 7,
				      .sleeps = {1, 2, [4] = 3},
				      .sleep_ns = {40, 160, [4] = 600}};
	struct corbel_log *log = (void *)(uintptr_t)q->buf;
	const char *fail = getenv("FAKEHV_FAIL"), *splits = getenv("FAKEHV_SPLIT");

	if (fail && !access(fail, F_OK)) {
		unlink(fail);
		errno = EIO;
		return -1;
	}
	if (splits) {
		pool[0].cpus.word[0] = 0x3f;
		strcpy(pool[0].policy, "rr");
	}
	if (getenv("FAKEHV_POLICY"))
		strcpy(pool[1].policy, getenv("FAKEHV_POLICY"));
	switch (q->what) {
	case CORBEL_STAT_INFO:
		return answer(q, &info, sizeof(info));
	case CORBEL_STAT_VM:
		return query_vm(q);
	case CORBEL_STAT_VCPU:
		if (q->index < 4)
			return answer(q, &vcpu, sizeof(vcpu));
		break;
	case CORBEL_STAT_POOL:
		if (q->index < (splits ? 1 + created : 3u))
			return answer(q, &pool[q->index], sizeof(pool[0]));
		break;
	case CORBEL_STAT_CPU:
		if (q->index < 2)
			return answer(q, &cpu, sizeof(cpu));
		break;
	case CORBEL_QUERY_LOG: /* ten bytes at a time */
		log->seq = q->seq;
		log->len = q->seq < strlen(log_text) ? strlen(log_text) - q->seq : 0;
		log->len = log->len > 10 ? 10 : log->len;
		log->next = q->seq + log->len;
		memcpy(log->text, log_text + q->seq, log->len);
		q->len = log->len;
		return 0;
	}
	errno = ENOENT;
	return -1;
}

/* What the tool has asked for goes to a file that the test reads. */
static void note(const char *fmt, ...)
{
	FILE *f = fopen(getenv("FAKEHV_SCHED"), "a");
	va_list ap;

	if (!f)
		return;
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
}

/* In hexadecimal digits. */
static const char *set_text(const struct corbel_cpus *c)
{
	static char text[16 * CORBEL_MAX_CPUS / 64 + 1];
	unsigned int i, at = 0;

	for (i = CORBEL_MAX_CPUS / 64; i--;)
		if (at || c->word[i] || !i)
			at += snprintf(text + at, sizeof(text) - at, at ? "%016llx" : "%llx",
				       (unsigned long long)c->word[i]);
	return text;
}

static int set_sched(const struct corbel_sched_set *s)
{
	if (s->vcpu < NUMBERS) {
		errno = ENOENT;
		return -1;
	}
	if (s->vcpu < NUMBERS + 12 && set_text(&s->affinity)[0] != '0') {
		errno = EPERM;
		return -1;
	}
	note("%lu %u %s %u\n", s->vcpu - NUMBERS, s->weight, set_text(&s->affinity), s->cap);
	return 0;
}

static int set_sched_vm(const struct corbel_sched_vm *s)
{
	if (!s->vm) {
		errno = ENOENT;
		return -1;
	}
	note("vm %u %u %u\n", s->vm, s->weight, s->cap);
	return 0;
}

static int call_pool(const struct corbel_pool_call *c)
{
	const char *splits = getenv("FAKEHV_SPLIT");

	if (splits && c->op == CORBEL_POOL_CREATE && ++created == strtoul(splits, NULL, 10)) {
		created--;
		errno = ENOSPC;
		return -1;
	}
	if (getenv("FAKEHV_POOL")) {
		errno = atoi(getenv("FAKEHV_POOL"));
		return -1;
	}
	if (c->op == CORBEL_POOL_BUDGET)
		note("budget %u %d %u %u\n", c->vm, c->vcpu, c->period_us, c->budget_us);
	else
		note("pool %u %u %s %u %s %s\n", c->op, c->pool, set_text(&c->cpus), c->vm, c->name,
		     c->policy);
	return 0;
}

int fsync(int fd)
{
	static int (*real)(int);

	if (!real)
		real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	if (!getenv("FAKEHV_FSYNC"))
		return real(fd);
	errno = EIO;
	return -1;
}

int clock_gettime(clockid_t clock, struct timespec *t)
{
	const char *fast = getenv("FAKEHV_FAST");
	long ns, times = fast ? atol(fast) : 1;
	int ret = syscall(SYS_clock_gettime, clock, t);

	if (ret || !fast || clock != CLOCK_MONOTONIC)
		return ret;
	ns = t->tv_nsec * times;
	t->tv_sec = t->tv_sec * times + ns / 1000000000;
	t->tv_nsec = ns % 1000000000;
	return 0;
}

int open(const char *path, int flags, ...)
{
	static int (*real)(const char *, int, ...);
	va_list ap;
	int mode;

	va_start(ap, flags);
	mode = va_arg(ap, int);
	va_end(ap);
	if (!real)
		real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
	if (strcmp(path, "/dev/corbel"))
		return real(path, flags, mode);
	return device = real("/dev/null", flags, 0);
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*real)(int, unsigned long, ...);
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!real)
		real = (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl");
	if (device < 0 || fd != device)
		return real(fd, request, arg);
	if (request == CORBEL_IOC_QUERY)
		return query(arg);
	if (request == CORBEL_IOC_SCHED)
		return set_sched(arg);
	if (request == CORBEL_IOC_SCHED_VM)
		return set_sched_vm(arg);
	if (request == CORBEL_IOC_POOL)
		return call_pool(arg);
	if (request == CORBEL_IOC_DEBUG) {
		note("key %c\n", (int)(long)arg);
		return 0;
	}
	errno = ENOTTY;
	return -1;
}
