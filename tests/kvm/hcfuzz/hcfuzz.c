// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random hypercalls from dom0's kernel, for `seconds`: one thread a CPU and one that scribbles over
 * the vCPU pages, all on the same few VMs and vCPUs. Buffers handed to the hypervisor for writing,
 * and frames mapped into guests, are this module's own pages, since everything else would be damage
 * to dom0 asked for by dom0. At the end all is taken down again, and what the hypervisor has must
 * be what it had. Loading takes that long; the kernel log has the result.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "hypercall.h"

static unsigned int seconds = 10;
module_param(seconds, uint, 0);
static ulong seed = 1;
module_param(seed, ulong, 0);

bool cb_backend_vmx;

#define PAGES 64 /* own pages */
#define VMS   4
#define VCPUS 8

static u8 *pages[PAGES];
static struct page *block;	    /* to be lent */
static long vms[VMS], vcpus[VCPUS]; /* ids, or 0 and -1 */
static u8 *shared[VCPUS];	    /* two pages each, mapped for good once known */
static long shared_at[VCPUS];
static long stale[VCPUS]; /* numbers of vCPUs that are gone */
static atomic64_t out_of_date, taken;
static DEFINE_MUTEX(table_lock);
static atomic64_t calls, answered;
static atomic_t running = ATOMIC_INIT(0);
static unsigned long end;
static DECLARE_COMPLETION(all_done);

struct rng {
	u64 s;
};

static u64 rnd(struct rng *r)
{
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return r->s * 0x2545f4914f6cdd1dull;
}

static u32 below(struct rng *r, u32 n)
{
	return (u32)(rnd(r) >> 32) % n;
}

static u64 number(struct rng *r)
{
	static const u64 some[] = {0,	       1,	   2,	       4,	   8,
				   0x1f,       0x20,	   0x3f,       0x40,	   0xff,
				   0x100,      0x1ff,	   0x200,      0xfff,	   0x1000,
				   0x8000,     0xffff,	   0x10000,    0x7fffffff, 0x80000000,
				   0xffffffff, 1ull << 32, 1ull << 36, 1ull << 40, 1ull << 48,
				   1ull << 52, 1ull << 63, ~0ull,      0xfee00,	   0xfee00000};

	switch (below(r, 4)) {
	case 0:
		return rnd(r);
	case 1:
		return below(r, 32);
	default:
		return some[below(r, ARRAY_SIZE(some))] + below(r, 3) - 1;
	}
}

static u8 *own_page(struct rng *r)
{
	return pages[below(r, PAGES)];
}

/* An address the hypervisor may write to: ours, or one where there is no memory of dom0. */
static u64 buffer(struct rng *r, u32 in_page)
{
	switch (below(r, 12)) {
	case 0:
		return ~0ull - below(r, 5000);
	case 1:
		return 1ull << (44 + below(r, 20));
	case 2:
		return cb_phys(own_page(r)) + below(r, 4096);
	case 3: /* a page lent by the hypervisor */
		return READ_ONCE(shared_at[below(r, VCPUS)]) ?: ~0ull;
	default:
		return cb_phys(own_page(r)) + in_page;
	}
}

static long any_vm(struct rng *r)
{
	return below(r, 16) ? READ_ONCE(vms[below(r, VMS)]) : number(r);
}

static long any_vcpu(struct rng *r)
{
	return below(r, 16) ? READ_ONCE(vcpus[below(r, VCPUS)]) : (long)number(r);
}

static u64 gfn(struct rng *r)
{
	u64 n = below(r, 4) ? below(r, 8) * 512 + below(r, 16) : number(r);

	return below(r, 4) ? n : n | CORBEL_GFN_SMM;
}

/*
 * Guests run this: no x87 instructions, nor moves to debug registers, for the sake of the emulators
 * below us (guests.c).
 */
static void random_page(struct rng *r, u8 *page)
{
	u64 *words = (u64 *)page;
	u32 i, how = below(r, 3);

	for (i = 0; i < PAGE_SIZE / 8; i++)
		words[i] = how == 0 ? 0 : how == 1 ? number(r) : rnd(r) & 0x2d2d2d2d2d2d2d2dull;
}

/* Entries that map our pages, or nothing. */
static void map_page(struct rng *r, u8 *page)
{
	struct corbel_map *m = (void *)page;
	u32 i;

	for (i = 0; i < PAGE_SIZE / sizeof(*m); i++) {
		m[i] = (struct corbel_map){gfn(r), cb_phys(own_page(r)) >> PAGE_SHIFT, 0,
					   below(r, 16)};
		if (below(r, 16) == 0)
			m[i].pfn = (1ull << 28) + number(r); /* beyond memory */
		if (below(r, 16) == 0)
			m[i].order = number(r) ?: 1;
		if (m[i].order == 9) /* 2 MiB would reach beyond our page */
			m[i].order = 8;
		if (below(r, 64) == 0)
			m[i].flags = number(r);
	}
}

/* Ranges of a few MSRs that guests use, mostly, with their bits in our pages. */
static void random_filter(struct rng *r, struct corbel_msr_filter *f)
{
	u32 i;

	f->count = below(r, 8) ? below(r, CORBEL_MSR_RANGES + 1) : number(r);
	f->deny = below(r, 2);
	for (i = 0; i < CORBEL_MSR_RANGES; i++) {
		f->range[i].base = below(r, 2) ? number(r) : 0xc0000080;
		f->range[i].count = below(r, 8) ? 1 + below(r, 64) : number(r);
		f->range[i].how = below(r, 8) ? below(r, 4) : number(r);
		f->range[i].bits = buffer(r, 8 * below(r, 500));
	}
}

static long call(u64 nr, u64 a, u64 b, u64 c, u64 d, u64 e)
{
	long ret = cb_hypercall(nr, a, b, c, d, e);

	atomic64_inc(&calls);
	if (ret >= 0)
		atomic64_inc(&answered);
	return ret;
}

/* ---- objects ---- */

static void make_vm(struct rng *r)
{
	struct corbel_vm_create *c;
	u32 i = below(r, VMS);
	u8 *page = (void *)get_zeroed_page(GFP_KERNEL);
	long id;

	if (!page)
		return;
	c = (void *)page;
	strscpy(c->name, "hcfuzz", sizeof(c->name));
	c->flags = below(r, 4) ? CORBEL_VM_LAPIC : below(r, 2) ? 0 : number(r);
	mutex_lock(&table_lock);
	if (!vms[i]) {
		id = call(CORBEL_HC_VM_CREATE, cb_phys(page), 0, 0, 0, 0);
		if (id > 0)
			WRITE_ONCE(vms[i], id);
	}
	mutex_unlock(&table_lock);
	free_page((unsigned long)page);
}

static void make_vcpu(struct rng *r)
{
	u32 i = below(r, VCPUS);
	long id, at;

	mutex_lock(&table_lock);
	if (vcpus[i] < 0) {
		id = call(CORBEL_HC_VCPU_CREATE, any_vm(r), below(r, 4) ? below(r, 6) : number(r),
			  0, 0, 0);
		at = id >= 0 ? call(CORBEL_HC_VCPU_PAGE, id, 0, 0, 0, 0) : -1;
		if (at > 0) {
			shared[i] = memremap(at, 2 * PAGE_SIZE, MEMREMAP_WB);
			WRITE_ONCE(shared_at[i], at);
		}
		if (id >= 0)
			WRITE_ONCE(vcpus[i], id);
	}
	mutex_unlock(&table_lock);
}

static long destroy_vcpu_locked(u32 i)
{
	long ret = call(CORBEL_HC_VCPU_DESTROY, vcpus[i], 0, 0, 0, 0);

	if (ret < 0)
		return ret;
	WRITE_ONCE(shared_at[i], 0);
	if (shared[i])
		memunmap(shared[i]);
	shared[i] = NULL;
	WRITE_ONCE(stale[i], vcpus[i]);
	WRITE_ONCE(vcpus[i], -1);
	return 0;
}

static long destroy_vm_locked(u32 i)
{
	long ret;
	u32 tries = 0;

	do
		ret = call(CORBEL_HC_VM_DESTROY, vms[i], 0, 0, 0, 0);
	while (ret == -EAGAIN && tries++ < 3);
	if (!ret)
		WRITE_ONCE(vms[i], 0);
	return ret;
}

static void destroy(struct rng *r)
{
	u32 i;

	mutex_lock(&table_lock);
	if (below(r, 3)) {
		i = below(r, VCPUS);
		if (vcpus[i] >= 0) {
			call(CORBEL_HC_VCPU_PAUSE, vcpus[i], 0, 0, 0, 0);
			destroy_vcpu_locked(i);
		}
	} else {
		i = below(r, VMS);
		if (vms[i])
			destroy_vm_locked(i);
	}
	mutex_unlock(&table_lock);
}

/* ---- one call ---- */

static void one(struct rng *r, u8 *page)
{
	u64 nr = CORBEL_HC_BASE + (below(r, 64) ? below(r, CORBEL_HC_NR) : number(r)),
	    len = below(r, 8) ? 1 + below(r, 4096) : number(r);
	const struct corbel_map *m = (void *)page;

/* Each number that there is: one that is new has to be added. */
#pragma GCC diagnostic push
#pragma GCC diagnostic error "-Wswitch-enum"
	switch ((enum corbel_hypercall)nr) {
	case CORBEL_HC_STAT:
		call(nr, below(r, 8) ? below(r, 5) : number(r),
		     below(r, 4) ? below(r, 12) : number(r), buffer(r, 0), len, 0);
		break;
	case CORBEL_HC_LOG_READ:
		call(nr, number(r), buffer(r, 0), len, 0, 0);
		break;
	case CORBEL_HC_KERNEL: /* would take corbel.ko's events: tests/fuzz/hypercall.c does that */
		return;
	case CORBEL_HC_LEND: /* what is not ours would be missed */
		call(nr, below(r, 2) ? page_to_pfn(block) : number(r) | 1, 0, 0, 0, 0);
		break;
	case CORBEL_HC_DOMAIN_CREATE:
	case CORBEL_HC_DOMAIN_DESTROY:
	case CORBEL_HC_DOMAIN_MAP:
	case CORBEL_HC_DOMAIN_UNMAP:
		call(nr, number(r), number(r), number(r), number(r), number(r));
		break;
	case CORBEL_HC_DOMAIN_ATTACH: /* not of devices that there are */
	case CORBEL_HC_DOMAIN_IRQ:
		call(nr, number(r) | 0x10000, number(r), number(r), number(r), 0);
		break;
	case CORBEL_HC_VERSION:
	case CORBEL_HC_TURN_OVER:
	case CORBEL_HC_TAKE_BACK:
		call(nr, number(r), number(r), number(r), number(r), number(r));
		break;
	case CORBEL_HC_SMM:
		call(nr, any_vm(r), number(r), 0, 0, 0);
		break;
	case CORBEL_HC_PROMISE:
		call(nr, any_vm(r), below(r, 4) ? below(r, 64) : number(r), below(r, 4), 0, 0);
		break;
	case CORBEL_HC_MSR_FILTER:
		random_filter(r, (void *)page);
		call(nr, any_vm(r), below(r, 8) ? below(r, 8) : number(r),
		     below(r, 8) ? cb_phys(page) : buffer(r, 0), below(r, 8) ? 0 : number(r), 0);
		break;
	case CORBEL_HC_PMU_FILTER:
		memset((void *)page, 0, PAGE_SIZE);
		*(u32 *)page = below(r, 5);
		((u32 *)page)[1] = below(r, 8) ? below(r, 300) : number(r);
		call(nr, any_vm(r), below(r, 8) ? cb_phys(page) : buffer(r, 0), number(r), 0, 0);
		break;
	case CORBEL_HC_IDLE:
		for (u32 i = 0; i < CORBEL_MAX_CST; i++)
			((struct corbel_cst *)page)[i] = (struct corbel_cst){
			    .by = below(r, 4),
			    .type = below(r, 5),
			    .address = below(r, 2) ? below(r, 0x80) : number(r),
			    .latency_us = number(r),
			};
		call(nr, below(r, 8) ? cb_phys(page) : buffer(r, 0),
		     below(r, 8) ? below(r, 10) : number(r), 0, 0, 0);
		break;
	case CORBEL_HC_MEMORY: /* what is added stays */
		call(nr, below(r, 1 << 20), number(r), 0, 0, 0);
		break;
	case CORBEL_HC_EVENT_BIND: /* not of CPUs that there are */
		call(nr, 0x1000 + number(r), number(r), 0, 0, 0);
		break;
	case CORBEL_HC_VM_CREATE:
		make_vm(r);
		break;
	case CORBEL_HC_VM_DESTROY:
	case CORBEL_HC_VCPU_DESTROY:
		if (below(r, 4) == 0)
			destroy(r);
		break;
	case CORBEL_HC_VCPU_CREATE:
		make_vcpu(r);
		break;
	case CORBEL_HC_VCPU_RESUME:
		call(nr, any_vcpu(r), 0, 0, 0, 0);
		if (below(r, 2))
			call(CORBEL_HC_VCPU_PAUSE, any_vcpu(r), 0, 0, 0, 0);
		break;
	case CORBEL_HC_VCPU_GET:
	case CORBEL_HC_VCPU_SET:
		call(nr, any_vcpu(r), below(r, 8) ? below(r, CORBEL_STATE_NR) : number(r),
		     below(r, 2) ? number(r)
				 : (u64[]){4, 8, 32, 64, 128, 312, 1024, 4096,
					   40 * below(r, 100)}[below(r, 9)],
		     0, 0);
		break;
	case CORBEL_HC_MAP:
		map_page(r, page);
		call(nr, any_vm(r), below(r, 16) ? cb_phys(page) : buffer(r, 0),
		     below(r, 8) ? 1 + below(r, 170) : number(r), 0, 0);
		break;
	case CORBEL_HC_MAP_ONE:
		map_page(r, page);
		call(nr, any_vm(r), m->gfn, m->pfn, m->order | (below(r, 16) ? 0 : number(r) << 32),
		     below(r, 16) ? m->flags : number(r));
		break;
	case CORBEL_HC_UNMAP:
		call(nr, any_vm(r), gfn(r), below(r, 4) ? 1 + below(r, 2048) : number(r), 0, 0);
		break;
	case CORBEL_HC_DIRTY:
		call(nr, any_vm(r), gfn(r), below(r, 8) ? 1 + below(r, 32768) : number(r),
		     buffer(r, 0), below(r, 8) ? below(r, 8) : number(r));
		break;
	case CORBEL_HC_DOORBELL:
		random_page(r, page);
		((struct corbel_doorbell *)page)->flags = below(r, 8);
		((struct corbel_doorbell *)page)->len = 1u << below(r, 5);
		((struct corbel_doorbell *)page)->addr = below(r, 32);
		call(nr, any_vm(r), below(r, 16) ? cb_phys(page) : buffer(r, 0), 0, 0, 0);
		break;
	case CORBEL_HC_POOL:
		random_page(r, page);
		*(struct corbel_pool_call *)page = (struct corbel_pool_call){
		    .op = below(r, 8),
		    .pool = below(r, 4),
		    .cpus.word = {below(r, 4) ? below(r, 8) : number(r),
				  below(r, 8) ? 0 : number(r)},
		    .vm = any_vm(r),
		    .vcpu = below(r, 2) ? CORBEL_POOL_ALL : READ_ONCE(vcpus[below(r, VCPUS)]),
		    .name = {'a' + below(r, 8)},
		    .policy = {below(r, 4) ? 0 : number(r)},
		};
		if (below(r, 2))
			strcpy(((struct corbel_pool_call *)page)->policy,
			       below(r, 2) ? "deadline" : "null");
		if (((struct corbel_pool_call *)page)->op == CORBEL_POOL_BUDGET && below(r, 8)) {
			((struct corbel_pool_call *)page)->period_us = 1000 + below(r, 10000);
			((struct corbel_pool_call *)page)->budget_us = 100 + below(r, 1000);
		}
		call(nr, below(r, 16) ? cb_phys(page) : buffer(r, 0), 0, 0, 0, 0);
		break;
	case CORBEL_HC_SUPPORTED:
		call(nr, below(r, 4), below(r, 4), buffer(r, 0), len, 0);
		break;
	case CORBEL_HC_DEBUG: /* fills the log */
		if (below(r, 2000) == 0)
			call(nr, number(r), 0, 0, 0, 0);
		break;
	case CORBEL_HC_VCPU_PAUSE:
	case CORBEL_HC_NMI:
	case CORBEL_HC_EXTINT:
		call(nr, any_vcpu(r), number(r), number(r), number(r), number(r));
		break;
	case CORBEL_HC_SCHED: /* not of dom0's vCPUs, which may be throttled */
		random_page(r, page);
		call(nr, READ_ONCE(vcpus[below(r, VCPUS)]), number(r),
		     below(r, 4) ? cb_phys(page) : buffer(r, 0), number(r), number(r));
		break;
	case CORBEL_HC_SCHED_VM: /* weight or level, cap, id */
		call(nr, any_vm(r), below(r, 2) ? below(r, 4) : number(r), number(r),
		     below(r, 2) ? below(r, 3) : number(r), 0);
		break;
	case CORBEL_HC_PIC:
		call(nr, any_vm(r), below(r, 8) ? below(r, 11) : number(r),
		     below(r, 4) ? below(r, 21) : number(r), number(r), number(r));
		break;
	case CORBEL_HC_VCPU_PAGE:
		call(nr, number(r), 0, 0, 0, 0);
		break;
	case CORBEL_HC_MSI: /* by VM */
	case CORBEL_HC_POST:
	case CORBEL_HC_EOI_MASK:
	case CORBEL_HC_CLOCK:
	case CORBEL_HC_FLUSH:
	case CORBEL_HC_BOOT_CPU:
	case CORBEL_HC_END: /* and numbers that do not exist */
	default:
		call(nr, any_vm(r), number(r), number(r), ~0ull - number(r) % 4096, number(r));
	}
#pragma GCC diagnostic pop
}

/* Another may have its place, and be at work, but not its number. */
static void try_stale(struct rng *r)
{
	static const u32 calls_of[] = {CORBEL_HC_VCPU_DESTROY, CORBEL_HC_VCPU_PAGE,
				       CORBEL_HC_VCPU_RESUME, CORBEL_HC_VCPU_SET, CORBEL_HC_NMI};
	long number = READ_ONCE(stale[below(r, VCPUS)]);

	if (number <= 0)
		return;
	atomic64_inc(&out_of_date);
	if (call(calls_of[below(r, ARRAY_SIZE(calls_of))], number, 0, 0, 0, 0) != -ENOENT)
		atomic64_inc(&taken);
}

static int fuzz(void *arg)
{
	struct rng r = {seed * 1000003 + (unsigned long)arg * 7919 + 1};
	u8 *page = (void *)get_zeroed_page(GFP_KERNEL);
	u32 n = 0;

	while (page && time_before(jiffies, end)) {
		one(&r, page);
		if (below(&r, 64) == 0)
			try_stale(&r);
		if (++n % 16 == 0)
			cond_resched();
	}
	free_page((unsigned long)page);
	if (atomic_dec_and_test(&running))
		complete(&all_done);
	return 0;
}

/* vCPU and data pages are ours to write at any time, also while a hypercall reads them. */
static int scribble(void *arg)
{
	struct rng r = {seed * 77777 + 5};

	while (time_before(jiffies, end)) {
		u32 i = below(&r, VCPUS), n;

		mutex_lock(&table_lock);
		for (n = 0; shared[i] && n < 64; n++) {
			u32 at = below(&r, 2) ? below(&r, 256) : below(&r, 2 * PAGE_SIZE);

			WRITE_ONCE(shared[i][at], number(&r));
		}
		/* Mostly the registers are to be taken, and to be sane. */
		if (shared[i]) {
			struct corbel_vcpu_page *p = (void *)shared[i];

			p->regs_dirty = below(&r, 2);
			p->rip = below(&r, 2) ? below(&r, 0x10000) : number(&r);
		}
		mutex_unlock(&table_lock);
		if (below(&r, 8) == 0)
			usleep_range(50, 500);
		cond_resched();
	}
	if (atomic_dec_and_test(&running))
		complete(&all_done);
	return 0;
}

static int spawn(int (*fn)(void *), unsigned long arg)
{
	struct task_struct *t = kthread_run(fn, (void *)arg, "hcfuzz/%lu", arg);

	if (!IS_ERR(t))
		return 0;
	if (atomic_dec_and_test(&running))
		complete(&all_done);
	return PTR_ERR(t);
}

static int info(struct corbel_info *i)
{
	void *page = (void *)get_zeroed_page(GFP_KERNEL);
	long ret = -ENOMEM;

	if (page)
		ret =
		    cb_hypercall(CORBEL_HC_STAT, CORBEL_STAT_INFO, 0, cb_phys(page), sizeof(*i), 0);
	if (ret >= 0)
		memcpy(i, page, sizeof(*i));
	free_page((unsigned long)page);
	return ret < 0 ? ret : 0;
}

/* False: something does not go away. */
static bool take_down(void)
{
	u32 i, tries, left = 1;

	for (tries = 0; left && tries < 500; tries++) {
		left = 0;
		for (i = 0; i < VCPUS; i++) {
			if (vcpus[i] < 0)
				continue;
			call(CORBEL_HC_VCPU_PAUSE, vcpus[i], 0, 0, 0, 0);
			left += destroy_vcpu_locked(i) != 0;
		}
		for (i = 0; i < VMS; i++)
			if (vms[i])
				left += destroy_vm_locked(i) != 0;
		msleep(10);
	}
	return !left;
}

/* ---- what is lent: by name, before all else ---- */

static long lend(u64 pfn)
{
	long ret;

	while ((ret = call(CORBEL_HC_LEND, pfn, 0, 0, 0, 0)) == -EAGAIN)
		cond_resched();
	return ret;
}

static long take_back(void)
{
	long ret;

	while ((ret = call(CORBEL_HC_TAKE_BACK, 0, 0, 0, 0, 0)) == -EAGAIN)
		cond_resched();
	return ret;
}

/* False: there is nothing for dom0. */
static bool can_read(const u64 *at, u64 *val)
{
	bool there = false;

	*val = ~0ull;
	asm volatile("1: mov (%2), %0\n\tmovb $1, %1\n2:\n" _ASM_EXTABLE(1b, 2b)
		     : "+r"(*val), "+q"(there)
		     : "r"(at)
		     : "memory");
	return there;
}

static void say(bool good, const char *what)
{
	pr_info("hcfuzz: %sok - lent memory: %s\n", good ? "" : "not ", what);
}

static void check_lending(const struct corbel_info *before)
{
	struct corbel_vm_create *c = (void *)pages[0];
	u64 pfn = page_to_pfn(block), *words = page_address(block), val = 0;
	struct corbel_info now;
	long vm;
	u32 i;

	for (i = 0; i < 512 * CORBEL_LENT_PAGES; i++)
		words[i] = i;
	say(lend(pfn + 1) == -EINVAL && lend(0) == -EINVAL && lend(~0ull << 9) == -EINVAL,
	    "only whole blocks");
	say(lend(ALIGN_DOWN(before->events_hpa >> PAGE_SHIFT, CORBEL_LENT_PAGES)) == -EPERM,
	    "not the hypervisor's own");
	say(lend(1ull << 28) == -EPERM, "not what is no memory");
	strscpy(c->name, "hcfuzz", sizeof(c->name));
	vm = call(CORBEL_HC_VM_CREATE, cb_phys(c), 0, 0, 0, 0);
	say(vm > 0 && call(CORBEL_HC_MAP_ONE, vm, 0, pfn + 7, 0, 0) == 1 && lend(pfn) == -EBUSY &&
		call(CORBEL_HC_UNMAP, vm, 0, 1, 0, 0) == 1,
	    "not while a guest has a page of it");
	say(can_read(words + 5, &val) && val == 5 && !lend(pfn) && !info(&now) &&
		now.pool_total_bytes - before->pool_total_bytes == PAGE_SIZE << 9,
	    "the pool is larger by it");
	say(!can_read(words, &val) && !can_read(words + 512 * CORBEL_LENT_PAGES - 1, &val),
	    "dom0's kernel does not reach it any more");
	say(lend(pfn) == -EPERM && call(CORBEL_HC_MAP_ONE, vm, 0, pfn + 7, 0, 0) == -EPERM,
	    "it is not lent twice, nor mapped into a guest");
	say(take_back() == pfn && take_back() == -ENOENT, "it can be had back, once");
	for (i = 0; i < CORBEL_LENT_PAGES && !words[512 * i + 5]; i++)
		;
	say(i == CORBEL_LENT_PAGES && can_read(words, &val) && !val, "zeroed");
	while (call(CORBEL_HC_VM_DESTROY, vm, 0, 0, 0, 0) == -EAGAIN)
		cond_resched();
	memset(c, 0, sizeof(*c));
}

static void run(unsigned int threads)
{
	unsigned int i;

	end = jiffies + seconds * HZ;
	atomic_set(&running, threads + 1);
	for (i = 0; i < threads; i++)
		spawn(fuzz, i);
	spawn(scribble, threads);
	wait_for_completion(&all_done);
}

static int __init hcfuzz_init(void)
{
	struct corbel_info before, after;
	bool gone;
	u32 i;

	if (cpuid_ebx(CORBEL_CPUID_BASE) != CORBEL_CPUID_SIG_EBX)
		return -ENODEV;
	cb_backend_vmx = cpuid_ebx(CORBEL_CPUID_ABI) == CORBEL_BACKEND_VMX;
	if (info(&before))
		return -EIO;
	for (i = 0; i < VCPUS; i++)
		vcpus[i] = -1;
	for (i = 0; i < PAGES; i++) {
		pages[i] = (void *)get_zeroed_page(GFP_KERNEL);
		if (!pages[i])
			return -ENOMEM;
	}
	block = alloc_pages(GFP_KERNEL, 9);
	if (!block)
		return -ENOMEM;
	check_lending(&before);
	run(num_online_cpus());
	gone = take_down();
	lend(page_to_pfn(block)); /* if that had begun */
	while (take_back() > 0)
		;
	if (info(&after))
		return -EIO;
	pr_info("hcfuzz: %lld calls, %lld answered\n", atomic64_read(&calls),
		atomic64_read(&answered));
	pr_info("hcfuzz: %sok - a vCPU's number is nobody's when it is gone (%lld tries)\n",
		!atomic64_read(&taken) && atomic64_read(&out_of_date) ? "" : "not ",
		atomic64_read(&out_of_date));
	pr_info("hcfuzz: %sok - all VMs and vCPUs can be taken down\n", gone ? "" : "not ");
	gone = before.vms == after.vms && before.vcpus == after.vcpus &&
	       before.doorbells == after.doorbells &&
	       before.pool_free_bytes == after.pool_free_bytes;
	pr_info("hcfuzz: %sok - random hypercalls for %u s: the hypervisor has what it had\n",
		gone ? "" : "not ", seconds);
	if (!gone)
		pr_info("hcfuzz: VMs %u %u, vCPUs %u %u, doorbells %u %u, free bytes %llu %llu\n",
			before.vms, after.vms, before.vcpus, after.vcpus, before.doorbells,
			after.doorbells, before.pool_free_bytes, after.pool_free_bytes);
	/* A guest may still have pages that could not be taken back: then they are lost. */
	for (i = 0; gone && i < PAGES; i++)
		free_page((unsigned long)pages[i]);
	if (gone)
		__free_pages(block, 9);
	return 0;
}

static void __exit hcfuzz_exit(void)
{
}

module_init(hcfuzz_init);
module_exit(hcfuzz_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Random hypercalls");
