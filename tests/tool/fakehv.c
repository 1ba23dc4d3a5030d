/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * LD_PRELOADed into the corbel tool: a /dev/corbel that answers as corbel.ko and the hypervisor do
 * (tests/tool/calls.c asks both the same), of a machine with four CPUs, dom0, somebody's VM
 * $FAKEHV_OTHER if that is set, whose process is $FAKEHV_OTHER_PID, and the guest whose record is
 * $FAKEHV_RECORD. What is set lasts as long as the process, and goes into $FAKEHV_SCHED, one line a
 * call; $FAKEHV_POOL is the errno of all that would change pools. With $FAKEHV_FAST the tool's
 * clock runs so many times as fast. With $FAKEHV_FSYNC fsync() fails. While there is a file or
 * directory $FAKEHV_FAIL no query is answered; a file is gone with the first. $FAKEHV_GOES: the
 * other VM ends when it has been asked for once. $FAKEHV_LOOKS: the guest's vCPU 1 has run and
 * waited more at each look; $FAKEHV_COMES: it is another; $FAKEHV_REALTIME: it is of real time.
 * $FAKEHV_CORE: it is booted with sched-gran=core. $FAKEHV_SPLIT=N: six CPUs, all of them Pool-0's,
 * which is the only pool; the Nth that is made is refused. $FAKEHV_SHORT, _LONG: structures are
 * shorter, or longer, than ours.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../dom0/kmod/devctl.h"
#include "../../hv/abi.h"

/* A vCPU's number, as the hypervisor has it, is this and its id. */
#define NUMBERS	 (77ul * CORBEL_MAX_VCPUS)
#define FIRST_ID 10u /* of a vCPU */
#define GUEST	 3u
#define OTHER	 2u
#define CPUS	 (getenv("FAKEHV_SPLIT") ? 6u : 4u)
#define VCPUS	 4u /* two of dom0, two of the guest */
#define LOOSE	 CORBEL_MAX_POOLS

static int device = -1;
static const char log_text[] = "(hv) first line\n(hv) second line\n";

/* What calls change. */
static struct corbel_vcpu_stat vcpus[VCPUS];
static struct corbel_pool_stat pools[LOOSE + 1]; /* without a policy: there is none */
static struct corbel_vm_stat guest = {
    .id = GUEST,
    .vcpus = 2,
    .mapped_bytes = 1 << 20,
    .pool_bytes = 4096,
    .runtime_ns = 7000000000,
    .weight = 512,
    .pool = 5,
    .cap = 150,
    .name = "qemu",
};

static int refuse(int why)
{
	errno = why;
	return -1;
}

static void begin(void)
{
	unsigned int i;

	if (vcpus[0].number)
		return;
	pools[0] = (struct corbel_pool_stat){.cpus.word = {1}, .name = "Pool-0", .policy = "fair"};
	pools[5] = (struct corbel_pool_stat){.cpus.word = {6}, .name = "fast", .policy = "rr"};
	pools[7] = (struct corbel_pool_stat){.name = "empty", .policy = "rr"};
	pools[LOOSE] = (struct corbel_pool_stat){.cpus.word = {8}, .policy = "fair"};
	if (getenv("FAKEHV_SPLIT")) {
		memset(pools + 1, 0, sizeof(pools) - sizeof(pools[0]));
		pools[0].cpus.word[0] = (1ull << CPUS) - 1;
		strcpy(pools[0].policy, "rr");
		strcpy(pools[LOOSE].policy, "fair");
		guest.pool = 0;
	}
	if (getenv("FAKEHV_POLICY"))
		strcpy(pools[5].policy, getenv("FAKEHV_POLICY"));
	for (i = 0; i < VCPUS; i++)
		vcpus[i] = (struct corbel_vcpu_stat){
		    .id = FIRST_ID + i,
		    .vm = i < 2 ? 0 : GUEST,
		    .index = i % 2,
		    .apic_id = i % 2,
		    .cpu = i < 2 ? i : i - 1,
		    .state = i,
		    .weight = i < 2 ? 2048 : 1024,
		    .affinity.word = {i < 2 ? 1ull << i : (1ull << CPUS) - 1},
		    .period_us = 10000,
		    .budget_us = 4000,
		    .number = NUMBERS + FIRST_ID + i,
		    .runtime_ns = 1000000000,
		    .exits_total = 12 + i % 2,
		    .exits = {2, [8] = 10 + i % 2}};
}

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

/* As copy_query() has it: what the caller's structure is too short for is an error of its own. */
static int answer(struct corbel_query *q, const void *data, size_t size)
{
	if (getenv("FAKEHV_LONG"))
		size += 8;
	if (q->len < size)
		return refuse(E2BIG);
	if (!q->buf)
		return refuse(EFAULT);
	memcpy((void *)(uintptr_t)q->buf, data, size);
	q->len = getenv("FAKEHV_SHORT") ? size - 4 : size;
	return 0;
}

static bool has_other(void)
{
	static unsigned int asked;

	return getenv("FAKEHV_OTHER") && !(getenv("FAKEHV_GOES") && asked++ > 1);
}

static int query_vm(struct corbel_query *q)
{
	const char *other = getenv("FAKEHV_OTHER"), *pid = getenv("FAKEHV_OTHER_PID");
	struct corbel_vm_stat vm[3];
	unsigned int n = 0;

	vm[n++] = (struct corbel_vm_stat){
	    .vcpus = 2, .flags = 1, .runtime_ns = 5000000000, .weight = 1024, .name = "dom0"};
	if (has_other()) {
		vm[n] = (struct corbel_vm_stat){.id = OTHER, .pid = 1, .weight = 1024};
		vm[n].pid = pid ? atoi(pid) : 1;
		snprintf(vm[n++].name, sizeof(vm[0].name), "%s", other);
	}
	guest.pid = record_pid();
	if (guest.pid)
		vm[n++] = guest;
	return q->index < n ? answer(q, &vm[q->index], sizeof(vm[0])) : refuse(ENOENT);
}

static int query_vcpu(struct corbel_query *q)
{
	unsigned int n = record_pid() ? VCPUS : 2, i = q->index, k;
	const struct corbel_cpus *of = &pools[guest.pool].cpus;
	static uint32_t looks; /* vCPU 1 of the guest runs and waits */
	struct corbel_vcpu_stat v;

	looks += !i;
	if (i >= n)
		return refuse(ENOENT);
	v = vcpus[i];
	v.runs_on = v.affinity;
	for (k = 0; v.vm && k < CORBEL_MAX_CPUS / 64; k++)
		v.runs_on.word[k] &= of->word[k];
	if (v.vm && !v.runs_on.word[0])
		v.runs_on = *of;
	if (i == 3 && getenv("FAKEHV_REALTIME"))
		v.weight = CORBEL_REALTIME_WEIGHT;
	if (i == 3 && getenv("FAKEHV_COMES")) /* another each time */
		v.id += looks;
	if (i == 3 && getenv("FAKEHV_LOOKS")) {
		v.runtime_ns += looks * 3000000ull;
		v.steal_ns += looks * 1000000ull;
	}
	return answer(q, &v, sizeof(v));
}

static int query_pool(struct corbel_query *q)
{
	unsigned int nth = q->index, i;

	for (i = 0; i <= LOOSE; i++) {
		struct corbel_pool_stat p = pools[i];

		if (!*p.policy || (i == LOOSE && !p.cpus.word[0]) || nth--)
			continue;
		p.id = i;
		p.vms = !i + (record_pid() && guest.pool == i) + (!i && getenv("FAKEHV_OTHER"));
		return answer(q, &p, sizeof(p));
	}
	return refuse(ENOENT);
}

static int query_info(struct corbel_query *q)
{
	struct corbel_info info = {.abi_version = getenv("FAKEHV_ABI") ? 99 : CORBEL_ABI_VERSION,
				   .backend = CORBEL_BACKEND_SVM,
				   .cpus = CPUS,
				   .vms = 1 + !!record_pid() + !!getenv("FAKEHV_OTHER"),
				   .vcpus = record_pid() ? VCPUS : 2,
				   .memory_total_bytes = 1ull << 30,
				   .pool_total_bytes = 1 << 24,
				   .pool_free_bytes = 1 << 23,
				   .pool_promised_bytes = 1 << 22,
				   .iommu = CORBEL_IOMMU_STRICT,
				   .iommu_units = 1,
				   .iommu_pages = 266,
				   .features = getenv("FAKEHV_CORE") ? CORBEL_FEATURE_BY_CORE : 0,
				   .version = "0.1",
				   .scheduler = "fair",
				   .tsc_khz = 2000000};

	return answer(q, &info, sizeof(info));
}

/* Each CPU in a package of its own. */
static int query_cpu(struct corbel_query *q)
{
	unsigned int i = q->index;
	struct corbel_cpu_stat cpu = {.cpu = i,
				      .apic_id = i,
				      .core = i == 1 ? 8 : 0,
				      .package = i,
				      .idle_ns = 1000,
				      .forced_ns = 400 * (i == 1),
				      .busy_ns = 3000,
				      .khz = getenv("FAKEHV_KHZ") ? 800000 + 2500000 * (i == 1) : 0,
				      .idle_states = 0x13,
				      .by_store = 7,
				      .sleeps = {1, 2, [4] = 3},
				      .sleep_ns = {40, 160, [4] = 600}};

	return i < CPUS ? answer(q, &cpu, sizeof(cpu)) : refuse(ENOENT);
}

/* Ten bytes at a time, where the hypervisor gives what fits. */
static int query_log(struct corbel_query *q)
{
	struct corbel_log *log = (void *)(uintptr_t)q->buf;
	size_t end = strlen(log_text), from = q->seq < end ? q->seq : end;

	if (q->len <= sizeof(*log))
		return refuse(EINVAL);
	if (!log)
		return refuse(EFAULT);
	log->seq = from;
	log->len = end - from < 10 ? end - from : 10;
	if (log->len > q->len - sizeof(*log))
		log->len = q->len - sizeof(*log);
	log->next = from + log->len;
	log->pad = 0;
	memcpy(log->text, log_text + from, log->len);
	q->len = sizeof(*log) + log->len;
	return 0;
}

static int query(struct corbel_query *q)
{
	const char *fail = getenv("FAKEHV_FAIL");

	if (fail && !access(fail, F_OK)) {
		unlink(fail);
		return refuse(EIO);
	}
	switch (q->what) {
	case CORBEL_STAT_INFO:
		return query_info(q);
	case CORBEL_STAT_VM:
		return query_vm(q);
	case CORBEL_STAT_VCPU:
		return query_vcpu(q);
	case CORBEL_STAT_POOL:
		return query_pool(q);
	case CORBEL_STAT_CPU:
		return query_cpu(q);
	case CORBEL_QUERY_LOG:
		return query_log(q);
	}
	return refuse(EINVAL);
}

/* What the tool has asked for goes to a file that the test reads. */
static void note(const char *fmt, ...)
{
	const char *path = getenv("FAKEHV_SCHED");
	FILE *f = path ? fopen(path, "a") : NULL;
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

static bool is_empty(const struct corbel_cpus *c)
{
	static const struct corbel_cpus none;

	return !memcmp(c, &none, sizeof(none));
}

/* All of these CPUs are among those of a set that has none but of its first word. */
static bool are_of(const struct corbel_cpus *c, uint64_t of)
{
	struct corbel_cpus rest = *c;

	rest.word[0] &= ~of;
	return is_empty(&rest);
}

static int set_sched(const struct corbel_sched_set *s)
{
	struct corbel_vcpu_stat *v = vcpus + (s->vcpu - NUMBERS - FIRST_ID);
	uint64_t online = s->affinity.word[0] & ((1ull << CPUS) - 1);

	if (v < vcpus || v >= vcpus + VCPUS || !v->vm || !record_pid())
		return refuse(ENOENT);
	if ((s->weight > CORBEL_MAX_WEIGHT && s->weight != CORBEL_REALTIME_WEIGHT) ||
	    s->cap > 100 || (!is_empty(&s->affinity) && !online))
		return refuse(EINVAL);
	v->weight = s->weight ? s->weight : v->weight;
	v->cap = s->cap ? s->cap % 100 : v->cap;
	if (online)
		v->affinity.word[0] = online;
	note("%lu %u %s %u\n", s->vcpu - NUMBERS, s->weight, set_text(&s->affinity), s->cap);
	return 0;
}

static int set_sched_vm(const struct corbel_sched_vm *s)
{
	if (s->vm != GUEST || !record_pid())
		return refuse(ENOENT);
	if (s->weight > CORBEL_MAX_WEIGHT || s->cap > CORBEL_MAX_CAP)
		return refuse(EINVAL);
	guest.weight = s->weight ? s->weight : guest.weight;
	guest.cap = s->cap ? s->cap % CORBEL_MAX_CAP : guest.cap;
	note("vm %u %u %u\n", s->vm, s->weight, s->cap);
	return 0;
}

/* ---- pools ---- */

static bool has_vms(const struct corbel_pool_stat *p)
{
	return p == pools || (record_pid() && p == &pools[guest.pool]);
}

static bool is_taken(const char *name)
{
	unsigned int i;

	for (i = 0; i < LOOSE; i++)
		if (*pools[i].policy && !strcmp(pools[i].name, name))
			return true;
	return false;
}

static int add_cpus(struct corbel_pool_stat *p, const struct corbel_cpus *c)
{
	uint64_t first = pools[0].cpus.word[0], loose = pools[LOOSE].cpus.word[0];

	if (is_empty(c) || !are_of(c, (1ull << CPUS) - 1))
		return EINVAL;
	if (!are_of(c, first | loose) || (p != pools && !(first & ~c->word[0])))
		return EBUSY;
	pools[LOOSE].cpus.word[0] &= ~c->word[0];
	pools[0].cpus.word[0] &= ~c->word[0];
	p->cpus.word[0] |= c->word[0];
	return 0;
}

static int remove_cpus(struct corbel_pool_stat *p, const struct corbel_cpus *c)
{
	uint64_t cpus = c->word[0];

	if (!are_of(c, p->cpus.word[0]))
		return EINVAL;
	if (has_vms(p) && !(p->cpus.word[0] & ~cpus))
		return EBUSY;
	p->cpus.word[0] &= ~cpus;
	pools[LOOSE].cpus.word[0] |= cpus;
	return 0;
}

static int create_pool(const struct corbel_pool_call *c)
{
	static const char *const policies[] = {"fair", "rr", "deadline", "null"};
	const char *policy = *c->policy ? c->policy : policies[0], *split = getenv("FAKEHV_SPLIT");
	static unsigned int made;
	struct corbel_pool_stat *p = pools;
	unsigned int i = 0;
	int ret = 0;

	while (p < pools + LOOSE && *p->policy)
		p++;
	if (p == pools + LOOSE || (split && ++made == strtoul(split, NULL, 10)))
		return ENOSPC;
	while (i < 4 && strcmp(policy, policies[i]))
		i++;
	if (i == 4)
		return EINVAL;
	if (i >= 2 && getenv("FAKEHV_CORE"))
		return EOPNOTSUPP;
	*p = (struct corbel_pool_stat){0};
	strcpy(p->name, c->name);
	if (!is_empty(&c->cpus))
		ret = add_cpus(p, &c->cpus);
	if (!ret)
		strcpy(p->policy, policy);
	return ret;
}

static int set_budget(const struct corbel_pool_call *c)
{
	unsigned int i;

	for (i = 2; i < VCPUS && c->vcpu != CORBEL_POOL_ALL && c->vcpu != vcpus[i].id; i++)
		;
	if (i == VCPUS)
		return ENOENT;
	if (c->period_us > CORBEL_MAX_PERIOD_US || c->budget_us < CORBEL_MIN_BUDGET_US ||
	    c->budget_us > c->period_us)
		return EINVAL;
	for (i = 2; i < VCPUS; i++) {
		if (c->vcpu != CORBEL_POOL_ALL && c->vcpu != vcpus[i].id)
			continue;
		vcpus[i].period_us = c->period_us;
		vcpus[i].budget_us = c->budget_us;
	}
	return 0;
}

static int change_pool(const struct corbel_pool_call *c)
{
	struct corbel_pool_stat *p = &pools[c->pool];
	int ret;

	if (c->pool >= LOOSE || !*p->policy)
		return ENOENT;
	switch (c->op) {
	case CORBEL_POOL_DESTROY:
		ret = p == pools ? EPERM : remove_cpus(p, &p->cpus);
		if (!ret)
			*p->policy = 0;
		return ret;
	case CORBEL_POOL_ADD:
		return add_cpus(p, &c->cpus);
	case CORBEL_POOL_REMOVE:
		return remove_cpus(p, &c->cpus);
	case CORBEL_POOL_RENAME:
		strcpy(p->name, c->name);
		return 0;
	case CORBEL_POOL_MOVE:
		if (!p->cpus.word[0])
			return ENODEV;
		guest.pool = c->pool;
		return 0;
	}
	return EINVAL;
}

/* 0, or why not. */
static int try_pool(const struct corbel_pool_call *c)
{
	bool creates = c->op == CORBEL_POOL_CREATE, budget = c->op == CORBEL_POOL_BUDGET;
	const char *s;

	for (s = c->name; *s; s++)
		if (*s < ' ' || *s > '~')
			return EINVAL;
	if ((budget || c->op == CORBEL_POOL_MOVE) && (c->vm != GUEST || !record_pid()))
		return ENOENT;
	if (getenv("FAKEHV_POOL"))
		return atoi(getenv("FAKEHV_POOL"));
	if (budget)
		return set_budget(c);
	if ((creates || c->op == CORBEL_POOL_RENAME) && (!*c->name || is_taken(c->name)))
		return *c->name ? EEXIST : EINVAL;
	return creates ? create_pool(c) : change_pool(c);
}

static int call_pool(const struct corbel_pool_call *arg)
{
	struct corbel_pool_call c = *arg;
	int err;

	c.name[sizeof(c.name) - 1] = c.policy[sizeof(c.policy) - 1] = 0;
	err = try_pool(&c);
	if (err)
		return refuse(err);
	if (c.op == CORBEL_POOL_BUDGET)
		note("budget %u %d %u %u\n", c.vm, c.vcpu, c.period_us, c.budget_us);
	else
		note("pool %u %u %s %u %s %s\n", c.op, c.pool, set_text(&c.cpus), c.vm, c.name,
		     c.policy);
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
	begin();
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
	return refuse(ENOTTY);
}
