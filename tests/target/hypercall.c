/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hypercalls that must be refused: from ring 3, unknown ones, nonsense arguments; nothing may
 * change by them.
 */
#include "lib.h"

static u8 page[4096] __attribute__((aligned(4096)));
static u8 user_stack[4096] __attribute__((aligned(16)));

static u64 user_vmmcall(void)
{
	s64 ret = CORBEL_HC_VERSION;

	__asm__ volatile("vmmcall; int $0x80" : "+a"(ret));
	return (u64)ret;
}

static u64 user_vmcall(void)
{
	s64 ret = CORBEL_HC_VERSION;

	__asm__ volatile("vmcall; int $0x80" : "+a"(ret));
	return (u64)ret;
}

static void allow_user(void)
{
	u64 *pml4 = (u64 *)(READ_CR(3) & ~0xfffull), *pdpt = (u64 *)(pml4[0] & ~0xfffull),
	    *pd = (u64 *)(pdpt[0] & ~0xfffull);

	pml4[0] |= 4;
	pdpt[0] |= 4;
	pd[(u64)page >> 21] |= 4;
	__asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}

static void check_user(void)
{
	s64 ret;

	allow_user();
	ret = (s64)user_call(backend == CORBEL_BACKEND_VMX ? user_vmcall : user_vmmcall,
			     user_stack + sizeof(user_stack));
	report(ret == -1000, "a hypercall from ring 3 is refused (%ld)", ret);
}

static void check_registers(void)
{
	register u64 r8 __asm__("r8") = 0x88, r9 __asm__("r9") = 0x99, r12 __asm__("r12") = 0xcc,
			r15 __asm__("r15") = 0xff;
	u64 di = 0xd1, si = 0x51, d = 0xdd, c = 0xcc0, b = 0xbb, a = CORBEL_HC_VERSION;

	if (backend == CORBEL_BACKEND_VMX)
		__asm__ volatile("vmcall"
				 : "+a"(a), "+D"(di), "+S"(si), "+d"(d), "+c"(c), "+b"(b), "+r"(r8),
				   "+r"(r9), "+r"(r12), "+r"(r15));
	else
		__asm__ volatile("vmmcall"
				 : "+a"(a), "+D"(di), "+S"(si), "+d"(d), "+c"(c), "+b"(b), "+r"(r8),
				   "+r"(r9), "+r"(r12), "+r"(r15));
	report(a == CORBEL_ABI_VERSION, "HC_VERSION returns the ABI's version");
	report(di == 0xd1 && si == 0x51 && d == 0xdd && c == 0xcc0 && b == 0xbb && r8 == 0x88 &&
		   r9 == 0x99 && r12 == 0xcc && r15 == 0xff,
	       "a hypercall changes no register but RAX");
}

static void check_refused(void)
{
	struct corbel_vm_create *create = (void *)page;
	u64 lapic = 0xfee00000;

	report(hc(CORBEL_HC_BASE + CORBEL_HC_NR) == -ENOSYS &&
		   hc(CORBEL_HC_BASE + 0xffff) == -ENOSYS,
	       "unknown numbers are -ENOSYS");
	report(hc(CORBEL_HC_BASE + 0x10000) == -1000 && hc(~0ull) == -1000 &&
		   hc(BIT(63) | CORBEL_HC_VERSION) == -1000,
	       "numbers outside the range are KVM's -ENOSYS");
	report(hc(CORBEL_HC_STAT, CORBEL_STAT_POOL + 1, 0, page, 4096) == -EINVAL &&
		   hc(CORBEL_HC_STAT, ~0ull, 0, page, 4096) == -EINVAL,
	       "STAT: unknown kind");
	report(hc(CORBEL_HC_STAT, CORBEL_STAT_VM, 1, page, 4096) == -ENOENT &&
		   hc(CORBEL_HC_STAT, CORBEL_STAT_VCPU, ~0ull, page, 4096) == -ENOENT &&
		   hc(CORBEL_HC_STAT, CORBEL_STAT_POOL, 17, page, 4096) == -ENOENT &&
		   hc(CORBEL_HC_STAT, CORBEL_STAT_CPU, BIT(32), page, 4096) == -ENOENT,
	       "STAT: an index past the end");
	report(hc(CORBEL_HC_STAT, CORBEL_STAT_INFO, 0, page, 8) == -E2BIG &&
		   hc(CORBEL_HC_STAT, CORBEL_STAT_INFO, 0, page, 0) == -E2BIG,
	       "STAT: too small a buffer");
	report(hc(CORBEL_HC_STAT, 0, 0, page + 4000, 4096) < 0 &&
		   hc(CORBEL_HC_STAT, 0, 0, BIT(52), 4096) < 0 &&
		   hc(CORBEL_HC_STAT, 0, 0, ~0ull, 4096) < 0 &&
		   hc(CORBEL_HC_STAT, 0, 0, lapic, 4096) < 0,
	       "STAT: a buffer over a page's end, beyond memory, at the LAPIC");
	report(hc(CORBEL_HC_EVENT_BIND, 0, 31) == -EINVAL &&
		   hc(CORBEL_HC_EVENT_BIND, 0, 256) == -EINVAL &&
		   hc(CORBEL_HC_EVENT_BIND, 99, 0x40) == -ENOENT &&
		   hc(CORBEL_HC_EVENT_BIND, BIT(32), 0x40) == -ENOENT,
	       "EVENT_BIND: no vector, no such CPU");
	report(!hc(CORBEL_HC_TURN_OVER) && !hc(CORBEL_HC_TURN_OVER),
	       "TURN_OVER means nothing to a CPU whose turn it is");
	memset(page, 0, sizeof(page));
	create->flags = ~0u;
	report(hc(CORBEL_HC_VM_CREATE, create) == -EINVAL &&
		   hc(CORBEL_HC_VM_CREATE, page + 4080) == -EINVAL,
	       "VM_CREATE: unknown flags, bad buffer");
	report(hc(CORBEL_HC_VM_DESTROY, 0) < 0 && hc(CORBEL_HC_VM_DESTROY, 1) == -ENOENT &&
		   hc(CORBEL_HC_VM_DESTROY, ~0ull) == -ENOENT,
	       "VM_DESTROY: dom0, no such VM");
	report(hc(CORBEL_HC_VCPU_CREATE, 0, 9) < 0 && hc(CORBEL_HC_VCPU_DESTROY, 0) < 0 &&
		   hc(CORBEL_HC_VCPU_RESUME, 0) < 0 && hc(CORBEL_HC_VCPU_PAUSE, 0) < 0 &&
		   hc(CORBEL_HC_VCPU_PAGE, 0) < 0 && hc(CORBEL_HC_NMI, 0) < 0 &&
		   hc(CORBEL_HC_EXTINT, 0, 1) < 0 && hc(CORBEL_HC_SCHED, 0, 1, 1, 0) < 0 &&
		   hc(CORBEL_HC_VCPU_GET, 0, 0, 0) < 0 &&
		   hc(CORBEL_HC_VCPU_SET, 0, CORBEL_STATE_RESET, 0) < 0,
	       "vCPU calls are not for dom0's vCPUs");
	report(hc(CORBEL_HC_MAP, 0, page, 1) < 0 && hc(CORBEL_HC_UNMAP, 0, 0x1000, 16) < 0 &&
		   hc(CORBEL_HC_DIRTY, 0, 0, 64, page, 1) < 0 &&
		   hc(CORBEL_HC_MSI, 0, lapic, 0x40) < 0 && hc(CORBEL_HC_DOORBELL, 0, page) < 0 &&
		   hc(CORBEL_HC_EOI_MASK, 0, 0, ~0ull) < 0 && hc(CORBEL_HC_CLOCK, 0, 1, 0) < 0 &&
		   hc(CORBEL_HC_BOOT_CPU, 0, 1) < 0,
	       "VM calls are not for dom0");
	report(hc(CORBEL_HC_LOG_READ, 0, page, 4096) > 0 &&
		   hc(CORBEL_HC_LOG_READ, ~0ull, page, 4096) == 0 &&
		   hc(CORBEL_HC_LOG_READ, 0, page, 24) == -EINVAL &&
		   hc(CORBEL_HC_LOG_READ, 0, page + 4000, 4096) < 0,
	       "LOG_READ: from the start, past the end, too small, over a page's end");
	report(hc(CORBEL_HC_SUPPORTED, 4, 0, page, 4096) == -EINVAL &&
		   hc(CORBEL_HC_SUPPORTED, 0, 0, page, 40) == -E2BIG &&
		   hc(CORBEL_HC_SUPPORTED, 0, 1, page, 4096) == 0 &&
		   hc(CORBEL_HC_SUPPORTED, 0, 0, page, 4096) > 10,
	       "SUPPORTED: unknown kind, too small, past the end, right");
}

static s64 call_pool(struct corbel_pool_call c)
{
	memcpy(page, &c, sizeof(c));
	return hc(CORBEL_HC_POOL, page);
}

/* Pools without CPUs: of those see test_sched(). */
static void check_pools(void)
{
	static const char *const policies[] = {"rr", "deadline", "null"};

	for (u32 i = 0; i < ARRAY_SIZE(policies); i++) {
		struct corbel_pool_call c = {.op = CORBEL_POOL_CREATE, .name = "x"};

		memcpy(c.policy, policies[i], strlen(policies[i]));
		report(call_pool(c) == 1 && call_pool(c) == -EEXIST, "POOL: one with policy %s",
		       policies[i]);
		c = (struct corbel_pool_call){.op = CORBEL_POOL_DESTROY, .pool = 1};
		report(!call_pool(c) && call_pool(c) == -ENOENT, "POOL: it goes, once");
	}
	report(call_pool((struct corbel_pool_call){.name = "x", .policy = "edf"}) == -EINVAL &&
		   call_pool((struct corbel_pool_call){.op = CORBEL_POOL_BUDGET + 1}) == -EINVAL,
	       "POOL: no such policy, or call");
	report(call_pool((struct corbel_pool_call){.op = CORBEL_POOL_MOVE, .pool = 0}) == -ENOENT &&
		   call_pool((struct corbel_pool_call){.op = CORBEL_POOL_BUDGET,
						       .vcpu = CORBEL_POOL_ALL,
						       .period_us = 1000,
						       .budget_us = 500}) == -ENOENT,
	       "POOL: dom0 neither moves nor has a budget");
	report(hc(CORBEL_HC_POOL, page + 4080) < 0, "POOL: over a page's end");
}

static u64 seed = 88172645463325252ull;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static u64 nasty(void)
{
	static const u64 values[] = {0,		 1,	     2,		 3,
				     8,		 31,	     32,	 63,
				     64,	 0xff,	     0xfff,	 0x1000,
				     0x1001,	 0xfff8,     0x7fffffff, 0x80000000,
				     0xffffffff, 1ull << 32, 1ull << 40, (1ull << 51) + 4,
				     1ull << 52, 1ull << 63, ~0ull,	 0xfee00000,
				     0x200000,	 0x201ff8};

	switch (rnd() % 8) {
	case 0:
		return rnd();
	case 1:
		return (u64)page + rnd() % 4096;
	case 2:
		return (u64)page;
	default:
		return values[rnd() % ARRAY_SIZE(values)];
	}
}

static void check_random(void)
{
	struct corbel_info before, after;
	u32 odd = 0;

	info(&before);
	for (u32 i = 0; i < 6000; i++) {
		u64 nr = CORBEL_HC_BASE + rnd() % (CORBEL_HC_NR + 2);
		s64 ret;

		/* prints; may take what we run in; keeps records */
		if (nr == CORBEL_HC_DEBUG || nr == CORBEL_HC_LEND || nr == CORBEL_HC_MEMORY)
			continue;
		if (rnd() % 4 == 0)
			for (u32 k = 0; k < 64; k += 8)
				*(u64 *)(page + k) = nasty();
		ret = hc(nr, nasty(), nasty(), nasty(), nasty(), nasty());
		odd += ret < -1000 || (ret < -133 && ret != -1000);
	}
	for (u32 id = 1; id < 1024; id++)
		hc(CORBEL_HC_VCPU_PAUSE, id);
	delay_us(10000);
	for (u32 id = 1; id < 1024; id++)
		hc(CORBEL_HC_VCPU_DESTROY, id);
	for (u32 id = 1; id < 256; id++)
		while (hc(CORBEL_HC_VM_DESTROY, id) == -11)
			;
	for (u32 id = 0; id < 256; id++) /* or others get what is for this CPU */
		hc(CORBEL_HC_EVENT_BIND, id, 0);
	odd += hc(CORBEL_HC_KERNEL, 1) != 0; /* it may have been said to end */
	info(&after);
	report(!odd, "6000 calls with nonsense return numbers or errnos (%u do not)", odd);
	report(after.vms == before.vms && after.vcpus == before.vcpus &&
		   after.doorbells == before.doorbells &&
		   after.pool_free_bytes == before.pool_free_bytes,
	       "and leave nothing behind (%u VMs, %u vCPUs, %u doorbells, %lu KiB)",
	       after.vms - before.vms, after.vcpus - before.vcpus,
	       after.doorbells - before.doorbells,
	       (before.pool_free_bytes - after.pool_free_bytes) / 1024);
}

void test_hypercall(void)
{
	check_registers();
	check_user();
	check_refused();
	check_pools();
	check_random();
}
