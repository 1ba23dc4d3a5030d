/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What /dev/corbel takes, refuses and answers, of any machine with a guest, whose state is as
 * before at the end. In dom0 (test guests), and beside tests/tool/fakehv.c (test tool), which has
 * to be as strict as corbel.ko and the hypervisor are.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../../dom0/kmod/devctl.h"
#include "../../hv/abi.h"

#define MANY	 2000u
#define NOBODY	 60000u /* no VM's id */
#define NAME	 "calls"
#define ARRAY(a) (sizeof(a) / sizeof(*(a)))

static int device, failed;
static struct corbel_info info;
static struct corbel_vm_stat vm[MANY];
static struct corbel_vcpu_stat vcpu[MANY];
static struct corbel_pool_stat pool[MANY];
static struct corbel_cpu_stat cpu[MANY];
static unsigned int vms, vcpus, pools, cpus;
static struct corbel_vcpu_stat of_dom0, of_guest;

static void report(bool good, const char *what)
{
	printf("%s - %s\n", good ? "ok" : "not ok", what);
	failed += !good;
}

/* 0, or the errno. */
static int call(unsigned long request, void *arg)
{
	return ioctl(device, request, arg) < 0 ? errno : 0;
}

static void expect(int got, int want, const char *what)
{
	report(got == want, what);
	if (got != want)
		printf("#   %s, not %s\n", strerror(got), strerror(want));
}

/* ---- questions ---- */

static int ask(uint32_t what, uint32_t index, void *buf, uint32_t len, uint32_t *got)
{
	struct corbel_query q = {.what = what, .index = index, .buf = (uintptr_t)buf, .len = len};
	int err = call(CORBEL_IOC_QUERY, &q);

	if (got)
		*got = q.len;
	return err;
}

static unsigned int ask_all(uint32_t what, void *to, uint32_t size)
{
	unsigned int n = 0;
	uint32_t got;

	while (n < MANY && !ask(what, n, (char *)to + n * size, size, &got) && got == size)
		n++;
	return n;
}

static void look_again(void)
{
	vms = ask_all(CORBEL_STAT_VM, vm, sizeof(*vm));
	vcpus = ask_all(CORBEL_STAT_VCPU, vcpu, sizeof(*vcpu));
	pools = ask_all(CORBEL_STAT_POOL, pool, sizeof(*pool));
	cpus = ask_all(CORBEL_STAT_CPU, cpu, sizeof(*cpu));
	for (unsigned int i = 0; i < vcpus; i++)
		*(vcpu[i].vm ? &of_guest : &of_dom0) = vcpu[i];
}

static void test_sizes(void)
{
	static const uint32_t sizes[] = {sizeof(info), sizeof(*vm), sizeof(*vcpu), sizeof(*cpu),
					 sizeof(*pool)};
	bool whole = true, small = true, end = true, nowhere = true;
	static char buf[4096];
	uint32_t got;

	for (uint32_t what = 0; what < ARRAY(sizes); what++) {
		uint32_t size = sizes[what];

		whole &= !ask(what, 0, buf, size, &got) && got == size;
		whole &= !ask(what, 0, buf, sizeof(buf), &got) && got == size;
		small &= ask(what, 0, buf, size - 1, NULL) == E2BIG;
		small &= ask(what, 0, buf, 0, NULL) == E2BIG;
		nowhere &= ask(what, 0, NULL, size, NULL) == EFAULT;
		if (what != CORBEL_STAT_INFO)
			end &= ask(what, MANY, buf, size, NULL) == ENOENT;
	}
	report(whole, "an answer has its size, however much room there is");
	report(small, "too little room is an error of its own");
	report(nowhere, "so is none");
	report(end, "there is an end");
	expect(ask(ARRAY(sizes), 0, buf, sizeof(buf), NULL), EINVAL, "what is not known");
	expect(call(_IO('C', 0x7f), NULL), ENOTTY, "a call that is not known");
}

static void test_log(void)
{
	static union {
		struct corbel_log log;
		char space[4096];
	} u;
	struct corbel_query q = {.what = CORBEL_QUERY_LOG, .buf = (uintptr_t)&u};
	unsigned int bytes = 0;
	bool good = true;
	int err;

	expect(call(CORBEL_IOC_QUERY, &q), EINVAL, "the log: no room");
	q.len = sizeof(u.log);
	expect(call(CORBEL_IOC_QUERY, &q), EINVAL, "and none for text");
	do {
		q.len = sizeof(u);
		err = call(CORBEL_IOC_QUERY, &q);
		good &= !err && q.len == sizeof(u.log) + u.log.len && u.log.seq >= q.seq &&
			u.log.next == u.log.seq + u.log.len && !u.log.pad;
		q.seq = u.log.next;
		bytes += u.log.len;
	} while (!err && u.log.len);
	report(good && bytes, "the log comes in pieces, up to its end");
	q = (struct corbel_query){CORBEL_QUERY_LOG, 0, ~0ull, (uintptr_t)&u, sizeof(u), 0};
	err = call(CORBEL_IOC_QUERY, &q);
	report(!err && !u.log.len && u.log.next < ~0ull, "there is nothing behind that");
}

static bool is_within(const struct corbel_cpus *a, const struct corbel_cpus *b)
{
	for (unsigned int i = 0; i < ARRAY(a->word); i++)
		if (a->word[i] & ~b->word[i])
			return false;
	return true;
}

static unsigned int count_cpus(const struct corbel_cpus *c)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY(c->word); i++)
		n += __builtin_popcountll(c->word[i]);
	return n;
}

static const struct corbel_vm_stat *vm_of_id(uint32_t id)
{
	for (unsigned int i = 0; i < vms; i++)
		if (vm[i].id == id)
			return &vm[i];
	return NULL;
}

static const struct corbel_pool_stat *pool_of_id(uint32_t id)
{
	for (unsigned int i = 0; i < pools; i++)
		if (pool[i].id == id)
			return &pool[i];
	return NULL;
}

static void test_objects(void)
{
	bool rising = true, owned = true, numbered = true, placed = true;
	unsigned int of_pools = 0, members = 0;
	const struct corbel_pool_stat *p;

	report(vms == info.vms && vms >= 2, "so many VMs as there are said to be, and a guest");
	report(vcpus == info.vcpus && cpus == info.cpus, "vCPUs and CPUs likewise");
	report(!vm[0].id && !strcmp(vm[0].name, "dom0") && !vm[0].pid, "dom0 is the first");
	for (unsigned int i = 0; i < vms; i++)
		report(pool_of_id(vm[i].pool) && vm[i].weight, "a VM has a pool and a weight");
	for (unsigned int i = 0; i < vcpus; i++) {
		const struct corbel_vcpu_stat *v = &vcpu[i];

		rising &= !i || v->id > vcpu[i - 1].id;
		numbered &= CORBEL_VCPU_ID(v->number) == v->id;
		owned &= vm_of_id(v->vm) && v->weight && v->state <= CORBEL_VCPU_BLOCKED;
		p = pool_of_id(vm_of_id(v->vm) ? vm_of_id(v->vm)->pool : 0);
		placed &= count_cpus(&v->affinity) && count_cpus(&v->affinity) <= cpus;
		placed &= v->vm ? is_within(&v->runs_on, &p->cpus)
				: count_cpus(&v->affinity) == 1 && count_cpus(&v->runs_on) == 1;
	}
	report(rising && numbered, "vCPUs come by their ids, which their numbers have in them");
	report(owned, "each is some VM's");
	report(placed, "and runs where its pool has CPUs, dom0's on its own");
	for (unsigned int i = 0; i < pools; i++) {
		of_pools += count_cpus(&pool[i].cpus);
		members += pool[i].vms;
		report(*pool[i].policy && (*pool[i].name || i + 1 == pools),
		       "a pool has a name and a policy, the CPUs of none are the last");
	}
	report(of_pools == cpus && members == vms, "each CPU and each VM is in one of them");
	report(!strcmp(pool[0].policy, info.scheduler), "the first one's policy is the machine's");
}

/* ---- vCPUs and VMs ---- */

static int set_vcpu(uint64_t number, uint32_t weight, uint32_t cap, uint64_t first, uint64_t last)
{
	struct corbel_sched_set s = {number, weight, cap, {{first, [7] = last}}};

	return call(CORBEL_IOC_SCHED, &s);
}

static int set_vm(uint32_t id, uint32_t weight, uint32_t cap)
{
	struct corbel_sched_vm s = {id, weight, cap, 0};

	return call(CORBEL_IOC_SCHED_VM, &s);
}

static void test_vcpus(void)
{
	struct corbel_vcpu_stat was = of_guest;
	uint64_t n = was.number;

	expect(set_vcpu(of_dom0.number, 5, 0, 0, 0), ENOENT, "dom0's vCPUs cannot be set");
	expect(set_vcpu(of_dom0.number, 0, 0, 1, 0), ENOENT, "nor moved");
	expect(set_vcpu(was.id, 5, 0, 0, 0), ENOENT, "an id is no number");
	expect(set_vcpu(n + CORBEL_MAX_VCPUS, 5, 0, 0, 0), ENOENT, "nor is the next one's");
	expect(set_vcpu(n, CORBEL_MAX_WEIGHT + 1, 0, 0, 0), EINVAL, "a weight that is too much");
	expect(set_vcpu(n, 0, 101, 0, 0), EINVAL, "a cap likewise");
	expect(set_vcpu(n, 5, 50, 0, 1ull << 63), EINVAL, "CPUs that are not there, only");
	expect(set_vcpu(n, 0, 0, 0, 0), 0, "nothing at all");
	look_again();
	report(of_guest.weight == was.weight && of_guest.cap == was.cap, "so nothing has changed");
	expect(set_vcpu(n, CORBEL_REALTIME_WEIGHT, 60, 1, 1ull << 63), 0, "what can be set");
	look_again();
	report(of_guest.weight == CORBEL_REALTIME_WEIGHT && of_guest.cap == 60, "is so then");
	report(of_guest.affinity.word[0] == 1 && !of_guest.affinity.word[7],
	       "of the CPUs those that are there");
	expect(set_vcpu(n, was.weight, 100, ~0ull, ~0ull), 0, "and all of it as before");
	look_again();
	report(of_guest.weight == was.weight && !of_guest.cap &&
		   count_cpus(&of_guest.affinity) == cpus,
	       "a cap of a whole CPU is none");
}

static void test_vms(void)
{
	struct corbel_vm_stat was = *vm_of_id(of_guest.vm);

	expect(set_vm(0, 5, 0), ENOENT, "dom0 cannot be set");
	expect(set_vm(NOBODY, 5, 0), ENOENT, "nor can nobody");
	expect(set_vm(was.id, CORBEL_MAX_WEIGHT + 1, 0), EINVAL, "too heavy a VM");
	expect(set_vm(was.id, 0, CORBEL_MAX_CAP + 1), EINVAL, "too high a cap");
	expect(set_vm(was.id, 2000, CORBEL_MAX_CAP - 1), 0, "as much as there can be");
	look_again();
	report(vm_of_id(was.id)->weight == 2000 && vm_of_id(was.id)->cap == CORBEL_MAX_CAP - 1,
	       "is so then, too");
	set_vm(was.id, was.weight, was.cap ? was.cap : CORBEL_MAX_CAP);
	look_again();
	report(vm_of_id(was.id)->weight == was.weight && vm_of_id(was.id)->cap == was.cap,
	       "and is lifted");
}

/* ---- pools ---- */

static struct corbel_pool_call with_name(uint32_t op, uint32_t id, const char *name)
{
	struct corbel_pool_call c = {.op = op, .pool = id};

	strncpy(c.name, name, sizeof(c.name) - 1);
	return c;
}

static int name_pool(uint32_t op, uint32_t id, const char *name)
{
	struct corbel_pool_call c = with_name(op, id, name);

	return call(CORBEL_IOC_POOL, &c);
}

static int create_pool(const char *policy, uint64_t first, uint64_t last)
{
	struct corbel_pool_call c = with_name(CORBEL_POOL_CREATE, 0, NAME);

	strcpy(c.policy, policy);
	c.cpus.word[0] = first;
	c.cpus.word[7] = last;
	return call(CORBEL_IOC_POOL, &c);
}

static int change_cpus(uint32_t op, uint32_t id, struct corbel_cpus set)
{
	struct corbel_pool_call c = {.op = op, .pool = id, .cpus = set};

	return call(CORBEL_IOC_POOL, &c);
}

static int move_vm(uint32_t id, uint32_t to)
{
	struct corbel_pool_call c = {.op = CORBEL_POOL_MOVE, .pool = to, .vm = id};

	return call(CORBEL_IOC_POOL, &c);
}

static uint32_t id_of_pool(const char *name)
{
	look_again();
	for (unsigned int i = 0; i < pools; i++)
		if (!strcmp(pool[i].name, name))
			return pool[i].id;
	return CORBEL_MAX_POOLS;
}

static void test_no_pool(void)
{
	struct corbel_pool_call c = with_name(CORBEL_POOL_CREATE, 0, "");

	memset(c.name, 'x', sizeof(c.name));
	expect(name_pool(CORBEL_POOL_CREATE, 0, ""), EINVAL, "a pool without a name");
	expect(name_pool(CORBEL_POOL_CREATE, 0, "a\tb"), EINVAL, "with one that is none");
	expect(name_pool(CORBEL_POOL_CREATE, 0, "Pool-0"), EEXIST, "with another's");
	expect(create_pool("credit2", 0, 0), EINVAL, "with a policy that is none");
	expect(create_pool("", 0, 1ull << 63), EINVAL, "with CPUs that are not there");
	expect(create_pool("", ~0ull, ~0ull), EINVAL, "with those and all that are");
	report(id_of_pool(NAME) == CORBEL_MAX_POOLS, "of these none is left");
	expect(call(CORBEL_IOC_POOL, &c), 0, "a name that is too long");
	c.name[sizeof(c.name) - 1] = 0;
	expect(name_pool(CORBEL_POOL_DESTROY, id_of_pool(c.name), ""), 0, "is cut");
	for (uint32_t op = CORBEL_POOL_DESTROY; op < CORBEL_POOL_RENAME; op++)
		expect(name_pool(op, CORBEL_MAX_POOLS - 1, ""), ENOENT, "a pool that is not there");
	expect(name_pool(CORBEL_POOL_DESTROY, CORBEL_MAX_POOLS, ""), ENOENT, "that cannot be");
	expect(name_pool(99, 0, ""), EINVAL, "what is not done to pools");
	expect(name_pool(CORBEL_POOL_DESTROY, 0, ""), EPERM, "dom0's stays");
}

static void test_pool(void)
{
	struct corbel_cpus none = {0}, beyond = {{[7] = 1ull << 63}}, first = pool[0].cpus, its;
	uint32_t id, home = vm_of_id(of_guest.vm)->pool;

	expect(create_pool("rr", 0, 0), 0, "a pool without CPUs");
	expect(create_pool("rr", 0, 0), EEXIST, "is there once");
	id = id_of_pool(NAME);
	its = pool_of_id(home)->cpus;
	expect(name_pool(CORBEL_POOL_RENAME, id, "Pool-0"), EEXIST, "another's name");
	expect(name_pool(CORBEL_POOL_RENAME, id, ""), EINVAL, "and none");
	expect(name_pool(CORBEL_POOL_RENAME, id, "again"), 0, "a new one");
	report(id_of_pool("again") == id, "which it has then");
	expect(move_vm(of_guest.vm, id), ENODEV, "nobody moves where no CPU is");
	expect(move_vm(0, 0), ENOENT, "dom0 does not move");
	expect(move_vm(NOBODY, 0), ENOENT, "nor does nobody");
	expect(move_vm(of_guest.vm, CORBEL_MAX_POOLS - 1), ENOENT, "nor anybody to nowhere");
	expect(change_cpus(CORBEL_POOL_ADD, id, none), EINVAL, "no CPUs are added");
	expect(change_cpus(CORBEL_POOL_ADD, id, beyond), EINVAL, "nor such as are not there");
	expect(change_cpus(CORBEL_POOL_ADD, id, first), EBUSY, "nor the last ones of dom0's pool");
	expect(change_cpus(CORBEL_POOL_REMOVE, id, first), EINVAL, "it gives none of others'");
	expect(change_cpus(CORBEL_POOL_REMOVE, id, none), 0, "but none at all");
	expect(change_cpus(CORBEL_POOL_REMOVE, home, its), EBUSY, "a guest's pool keeps a CPU");
	expect(change_cpus(CORBEL_POOL_REMOVE, 0, first), EBUSY, "so does dom0's");
	expect(name_pool(CORBEL_POOL_DESTROY, id, ""), 0, "it goes");
	expect(name_pool(CORBEL_POOL_DESTROY, id, ""), ENOENT, "once");
}

static int set_budget(uint32_t id, uint32_t which, uint32_t period, uint32_t budget)
{
	struct corbel_pool_call c = {.op = CORBEL_POOL_BUDGET, .vm = id, .vcpu = which};

	c.period_us = period;
	c.budget_us = budget;
	return call(CORBEL_IOC_POOL, &c);
}

static void test_budgets(void)
{
	const uint32_t all = CORBEL_POOL_ALL, most = CORBEL_MAX_PERIOD_US;
	struct corbel_vcpu_stat was = of_guest;

	expect(set_budget(0, all, 10000, 5000), ENOENT, "dom0 has no budget");
	expect(set_budget(NOBODY, all, 10000, 5000), ENOENT, "nobody has one");
	expect(set_budget(was.vm, of_dom0.id, 10000, 5000), ENOENT, "nor has another's vCPU");
	expect(set_budget(was.vm, all - 1, 10000, 5000), ENOENT, "nor one that is not there");
	expect(set_budget(was.vm, all, most + 1, 5000), EINVAL, "a period that is too long");
	expect(set_budget(was.vm, all, 10000, 99), EINVAL, "a budget that is too short");
	expect(set_budget(was.vm, was.id, 10000, 10001), EINVAL, "and one that is too long");
	expect(set_budget(was.vm, was.id, 20000, 5000), 0, "one that can be");
	look_again();
	report(of_guest.period_us == 20000 && of_guest.budget_us == 5000, "the vCPU has it");
	set_budget(was.vm, all, was.period_us, was.budget_us);
}

int main(void)
{
	device = open("/dev/corbel", O_RDWR);
	if (device < 0 || ask(CORBEL_STAT_INFO, MANY, &info, sizeof(info), NULL)) {
		perror("/dev/corbel");
		return 1;
	}
	report(info.abi_version == CORBEL_ABI_VERSION, "its ABI is ours");
	test_sizes();
	test_log();
	look_again();
	test_objects();
	if (!of_guest.vm || !of_dom0.number)
		return 1;
	test_vcpus();
	test_vms();
	test_no_pool();
	test_pool();
	test_budgets();
	return failed != 0;
}
