/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dom0's hypercalls on a back end of ours: what is refused, what dom0's kernels leave.
 * links: tests/unit/rest.c hv/dom0/hypercall.c hv/dom0/takeover.c hv/dom0/lend.c hv/guest/vm.c
 * hv/guest/msr_filter.c hv/guest/vcpu.c hv/guest/apic_ids.c hv/guest/doorbell.c hv/mm/pool.c
 * hv/lib/lock.c
 * -Wl,--wrap=pool_promise
 */
#include "hv/iommu/domain.h"
#include "hv/iommu/iommu.h"
#include "hv/mm/frame.h"
#include "hv/mm/mtrr.h"
#include "hv/cpu/idle.h"
#include "hv/dom0/takeover.h"
#include "hv/sched/cpupool.h"
#include "hypercall_fake.h"

/* ---- nothing is done to what runs, or is being torn down ---- */

static void test_states(void)
{
	s64 vm = make_vm(0, 0), id = call(CORBEL_HC_VCPU_CREATE, vm, 0, 0, 0);
	struct vcpu *v = vcpu_by_number(id);

	CHECK(vm > 0 && v && v->stopped, "a VM and its vCPU, which is stopped");
	moves = 0;
	CHECK(call(CORBEL_HC_VCPU_GET, id, CORBEL_STATE_SREGS, 0, 0) == 8 &&
		  call(CORBEL_HC_VCPU_SET, id, CORBEL_STATE_SREGS, 8, 0) == 8 && moves == 2,
	      "a stopped vCPU's state can be had and set");
	pauses = 0;
	CHECK(!call(CORBEL_HC_VCPU_PAUSE, id, 0, 0, 0) && pauses == 1,
	      "and it is paused: once somebody resumes it");
	v->stopped = 0;
	CHECK(call(CORBEL_HC_VCPU_GET, id, CORBEL_STATE_SREGS, 0, 0) == -EBUSY &&
		  call(CORBEL_HC_VCPU_SET, id, CORBEL_STATE_SREGS, 8, 0) == -EBUSY && moves == 2,
	      "a running one's cannot");
	CHECK(call(CORBEL_HC_VCPU_DESTROY, id, 0, 0, 0) == -EBUSY, "nor can it be freed");
	v->stopped = 1;
	borrows = false;
	windows = 0;
	CHECK(call(CORBEL_HC_VCPU_DESTROY, id, 0, 0, 0) == -EAGAIN && vcpu_by_number(id) == v &&
		  !windows,
	      "nor one that another CPU still has something of, which is told to come again");
	CHECK(call(CORBEL_HC_VCPU_GET, id, CORBEL_STATE_SREGS, 0, 0) == 8 && moves == 3 &&
		  windows == 1,
	      "and whose state can be had as soon as that lets go, without a lock meanwhile");
	moves = 2;
	CHECK(v->stopped == VCPU_STOPPED, "and it stays stopped");
	meddles = true;
	CHECK(call(CORBEL_HC_VCPU_SET, id, CORBEL_STATE_SREGS, 8, 0) == 8 && moves == 3 &&
		  v->stopped == VCPU_STOPPED,
	      "while state is set another CPU wants the vCPU");
	CHECK(meddled[0] == VCPU_CLAIMED, "which cannot be resumed meanwhile");
	CHECK(meddled[1] == -EBUSY && meddled[2] == -EBUSY, "nor set or read by others");
	CHECK(call(CORBEL_HC_VCPU_SET, id, CORBEL_STATE_NR, 8, 0) == -EINVAL &&
		  call(CORBEL_HC_VCPU_SET, id, CORBEL_STATE_SREGS, PAGE_SIZE + 1, 0) == -EINVAL,
	      "unknown states and more than a page are refused");
	off = false;
	CHECK(call(CORBEL_HC_VCPU_DESTROY, id, 0, 0, 0) == -EAGAIN && vcpu_by_number(id) == v,
	      "one that its CPU has not let go of stays");
	off = true;
	CHECK(call(CORBEL_HC_VM_DESTROY, vm, 0, 0, 0) == -EBUSY, "a VM with vCPUs stays");
	timer_wakes = true;
	CHECK(call(CORBEL_HC_VCPU_DESTROY, id, 0, 0, 0) == -EAGAIN && vcpu_by_number(id) == v,
	      "nor while its timer wakes it");
	timer_wakes = false;
	off = true;
	CHECK(!call(CORBEL_HC_VCPU_DESTROY, id, 0, 0, 0) && !vcpu_by_number(id),
	      "it goes when it can");

	maps = 0;
	CHECK(call(CORBEL_HC_MAP_ONE, vm, 5, 7, 0) == 1 && maps == 1, "memory is mapped");
	vm_by_id(vm)->dying = true;
	CHECK(call(CORBEL_HC_MAP_ONE, vm, 5, 7, 0) == -ENOENT &&
		  call(CORBEL_HC_MAP, vm, 0, 1, 0) == -ENOENT && maps == 1,
	      "but not into a VM that is being torn down");
	CHECK(call(CORBEL_HC_VCPU_CREATE, vm, 0, 0, 0) == -ENOENT &&
		  call(CORBEL_HC_PROMISE, vm, 1, 0, 0) == -ENOENT,
	      "which gets no vCPU and no promise either");
	free_vm(vm, 0);
}

/* ---- another kernel takes dom0's place ---- */

static u32 let_go; /* how often dom0's devices were */

void domain_let_go(void)
{
	let_go++;
}

static u32 bound;

void event_bound(u32 cpu)
{
	bound += cpu == caller->index && caller->event_vector == 0x40;
}

static void test_takeover(void)
{
	u64 had = pool_free_bytes();
	s64 vm = make_vm(0, 0), id = call(CORBEL_HC_VCPU_CREATE, vm, 0, 0, 0);
	s64 second = call(CORBEL_HC_VCPU_CREATE, vm, 1, 0, 0), empty = make_vm(0, 0);

	CHECK(!call(CORBEL_HC_EVENT_BIND, 0, 0x40, 0, 0) && caller->event_vector == 0x40 &&
		  bound == 1,
	      "dom0's events are bound, and it gets what has waited for that");
	unmapped = pauses = forgotten = 0;
	CHECK(!call(CORBEL_HC_KERNEL, 0, 0, 0, 0) && unmapped >= 2 * p2m_gfn_end() && pauses == 2,
	      "a kernel ends: all VMs lose all memory, and all their vCPUs are to stop");
	CHECK(!caller->event_vector && forgotten == 1, "no events are bound any more");
	CHECK(vcpu_by_number(id)->page && call(CORBEL_HC_VCPU_CREATE, vm, 2, 0, 0) == -ENOENT &&
		  make_vm(0, 0) == -EBUSY,
	      "what there is stays, nothing new is made");
	let_go = 0;
	takeover_cpu_ends(caller);
	CHECK(let_go == 1, "its own devices are let go when it has shut them down");
	takeover_kernel_ends(caller);
	CHECK(pauses == 2, "a second time there is nothing to end");
	vcpu_by_number(second)->stopped = 0;
	CHECK(call(CORBEL_HC_KERNEL, 1, 0, 0, 0) == -EAGAIN && make_vm(0, 0) == -EBUSY,
	      "another begins, but not while a vCPU runs");
	CHECK(vcpu_by_number(id) && vcpu_by_number(second), "none of the VM's is freed then");
	vcpu_by_number(second)->stopped = 1;
	vcpu_by_number(second)->gpr[R15] = 0x1234abcd;
	*test_log_text = 0;
	forgotten = 0;
	CHECK(!call(CORBEL_HC_KERNEL, 1, 0, 0, 0) && !vcpu_by_number(id) && !vm_by_id(vm) &&
		  !vm_by_id(empty) && pool_free_bytes() == had,
	      "then all is freed (%lu of %lu bytes)", pool_free_bytes(), had);
	CHECK(strstr(test_log_text, "r15 1234abcd"), "its registers are in the log (%s)",
	      test_log_text);
	CHECK(forgotten == 2, "and what vCPUs told that stopped meanwhile");
	vm = make_vm(0, 0);
	CHECK(vm > 0, "and it can have VMs");
	let_go = 0;
	takeover_cpu_ends(caller);
	CHECK(!let_go && !vm_by_id(vm)->dying, "a CPU that goes offline ends nothing");
	pauses = 0;
	CHECK(!call(CORBEL_HC_KERNEL, 1, 0, 0, 0) && !vm_by_id(vm),
	      "of a kernel that crashed nobody has said that it ends");
}

/* ---- a second map, for SMM ---- */

#define IN_SMM(gfn) ((gfn) | CORBEL_GFN_SMM)

static void test_smm_refused(s64 id)
{
	struct vm *vm = vm_by_id(id);

	used = NULL;
	CHECK(call(CORBEL_HC_MAP_ONE, id, IN_SMM(5), 7, 0) == -ENOENT &&
		  call(CORBEL_HC_UNMAP, id, IN_SMM(5), 1, 0) == -ENOENT &&
		  call(CORBEL_HC_DIRTY, id, IN_SMM(5), 1, 0) == -ENOENT && !used,
	      "a VM has no second map");
	CHECK(call(CORBEL_HC_SMM, 0, 0, 0, 0) == -ENOENT &&
		  call(CORBEL_HC_SMM, 77, 0, 0, 0) == -ENOENT,
	      "nor has dom0 ever one, or what is no VM");
	vm->user_pages = vm_pages(vm);
	CHECK(call(CORBEL_HC_SMM, id, 0, 0, 0) == -EDQUOT && !vm->smm.vm,
	      "nor one whose user has too many pages");
	vm->user_pages = vm_pages(vm) + 1;
	CHECK(call(CORBEL_HC_SMM, id, 0, 0, 0) == -EDQUOT && !vm->smm.vm, "or none for its marks");
	vm->user_pages = 0;
}

static void test_smm(void)
{
	u64 promised = pool_promised_bytes(), had;
	s64 id = make_vm(0, 0);
	struct vm *vm = vm_by_id(id);

	had = vm_pages(vm);
	test_smm_refused(id);
	CHECK(vm_pages(vm) == had, "what could not be made takes nothing");
	CHECK(!call(CORBEL_HC_SMM, id, 0, 0, 0) && vm->smm.vm == vm && vm_pages(vm) == had + 29,
	      "it gets one, and what that needs is promised");
	CHECK(vm->smm.tlb_gen != vm->p2m.tlb_gen && vm->smm.tlb_gen >> 63 &&
		  !(vm->p2m.tlb_gen >> 63),
	      "no generation is one of both maps");
	CHECK(!call(CORBEL_HC_SMM, id, 0, 0, 0) && vm_pages(vm) == had + 29, "once");
	CHECK(call(CORBEL_HC_MAP_ONE, id, IN_SMM(5), 7, 0) == 1 && used == &vm->smm &&
		  used_gfn == 5 && call(CORBEL_HC_MAP_ONE, id, 6, 7, 0) == 1 && used == &vm->p2m &&
		  used_gfn == 6,
	      "memory is mapped where it is said");
	CHECK(call(CORBEL_HC_UNMAP, id, IN_SMM(8), 1, 0) == 1 && used == &vm->smm &&
		  used_gfn == 8 && call(CORBEL_HC_UNMAP, id, 9, 1, 0) == 1 && used == &vm->p2m,
	      "and taken from there");
	caller->gpr[R8] = CORBEL_DIRTY_START;
	CHECK(!call(CORBEL_HC_DIRTY, id, IN_SMM(3), 1, 0) && used == &vm->smm && used_gfn == 3 &&
		  !call(CORBEL_HC_DIRTY, id, 4, 1, 0) && used == &vm->p2m,
	      "and logged there");
	caller->gpr[R8] = 0;
	unmapped = 0;
	CHECK(!call(CORBEL_HC_KERNEL, 0, 0, 0, 0) && unmapped >= 2 * p2m_gfn_end(),
	      "when dom0's kernel ends, both lose all memory");
	CHECK(!call(CORBEL_HC_KERNEL, 1, 0, 0, 0) && pool_promised_bytes() == promised,
	      "and nothing stays promised");
}

/* ---- a filter of MSRs ---- */

#define LSTAR 0xc0000082

static s64 set_filter(s64 vm, const struct corbel_msr_filter *f)
{
	memcpy(dom0_page, f, sizeof(*f));
	return call(CORBEL_HC_MSR_FILTER, vm, CORBEL_MSR_EXIT_FILTER, PAGE_SIZE, 0);
}

static void test_msr_filter(void)
{
	s64 id = make_vm(0, 0);
	struct vm *vm = vm_by_id(id);
	const struct msr_filter *m = &vm->msr_filter;
	struct corbel_msr_filter f = {.count = 2, .deny = 1};
	u64 had = vm->acct.pages;

	f.range[0] = (struct corbel_msr_range){.base = 0x800, .count = 64, .how = 3, .bits = 0x800};
	f.range[1] = (struct corbel_msr_range){
	    .base = LSTAR, .count = 9, .how = CORBEL_MSR_WRITE, .bits = 0x900};
	memset(dom0_page + 0x800, 0, 8);
	memcpy(dom0_page + 0x900, "\x02\x01", 2);
	CHECK(direct_reads && direct_writes && !m->on && vm->msr_map == dom0->msr_map,
	      "at first LSTAR is the guest's, by the map of all");
	CHECK(!set_filter(id,
			  &(struct corbel_msr_filter){
			      .count = 1,
			      .range[0] = {.base = 0x35, .count = 1, .how = 3, .bits = 0x900},
			  }) &&
		  vm->msr_map == dom0->msr_map,
	      "also with a filter that lets it have all of these");
	flushed = 0;
	CHECK(!set_filter(id, &f) && m->on && vm->msr_exits == CORBEL_MSR_EXIT_FILTER,
	      "a filter is set");
	CHECK(!direct_reads && !direct_writes && vm->msr_map != dom0->msr_map && flushed == 1,
	      "and LSTAR not the hardware's any more, by a map of its own, as all vCPUs see");
	CHECK(msr_filter_allows(m, LSTAR + 1, CORBEL_MSR_WRITE) &&
		  msr_filter_allows(m, LSTAR + 8, CORBEL_MSR_WRITE) &&
		  !msr_filter_allows(m, LSTAR, CORBEL_MSR_WRITE) &&
		  !msr_filter_allows(m, LSTAR + 1, CORBEL_MSR_READ) &&
		  !msr_filter_allows(m, LSTAR + 9, CORBEL_MSR_WRITE) &&
		  !msr_filter_allows(m, 0x10, CORBEL_MSR_READ),
	      "its bits decide, then its default");
	CHECK(msr_filter_allows(m, 0x800, CORBEL_MSR_READ) &&
		  msr_filter_allows(m, 0x8ff, CORBEL_MSR_WRITE) &&
		  !msr_filter_allows(m, 0x900, CORBEL_MSR_READ) &&
		  !msr_filter_allows(m, 0x7ff, CORBEL_MSR_READ),
	      "but not of the x2APIC's");
	f.deny = 0;
	f.range[0] = (struct corbel_msr_range){.base = ~0u, .count = 64, .how = 3, .bits = 0x800};
	CHECK(!set_filter(id, &f) && direct_reads && !direct_writes &&
		  msr_filter_allows(m, 0x10, CORBEL_MSR_READ) &&
		  !msr_filter_allows(m, ~0u, CORBEL_MSR_READ),
	      "reads alone are the hardware's, and no range goes round");
	f.count = CORBEL_MSR_RANGES + 1;
	CHECK(set_filter(id, &f) == -EINVAL, "too many ranges are refused");
	f.count = 1;
	f.range[0].count = CORBEL_MSR_RANGE_MAX + 1;
	CHECK(set_filter(id, &f) == -EINVAL && !direct_writes, "and too long ones");
	f.count = 0;
	CHECK(!set_filter(id, &f) && !m->on && direct_writes, "an empty one takes it away");
	vm->dying = true;
	CHECK(set_filter(id, &f) == -ENOENT, "a VM that goes gets none");
	vm->dying = false;
	CHECK(vm->acct.pages == had + 3 && set_filter(0, &f) == -ENOENT,
	      "it has taken a page a range and the map, and dom0 has no filter");
	free_vm(id, 0);
}

/* Between two holds of the pool's lock: faults of the guest take all that its account has. */
static struct account *faults;
static void **faulted; /* what they took */

static void take_all(struct account *acct)
{
	for (void **p; (p = pool_alloc(0, acct)); faulted = p)
		*p = faulted;
}

static void give_all(struct account *acct)
{
	while (faulted) {
		void **p = faulted;

		faulted = *p;
		pool_free(p, 0, acct);
	}
}

int __real_pool_promise(struct account *acct, u64 pages);
int __wrap_pool_promise(struct account *acct, u64 pages);
int __wrap_pool_promise(struct account *acct, u64 pages)
{
	int err = __real_pool_promise(acct, pages);

	if (faults == acct)
		take_all(acct);
	return err;
}

static void test_msr_filter_pages(void)
{
	u64 before = pool_free_bytes();
	s64 id = make_vm(5, 200);
	struct vm *vm = vm_by_id(id);
	struct corbel_msr_filter f = {.count = 3};
	u64 pages, promised;

	for (u32 i = 0; i < CORBEL_MSR_RANGES; i++)
		f.range[i] = (struct corbel_msr_range){
		    .base = i, .count = 8, .how = CORBEL_MSR_READ, .bits = 0x800};
	CHECK(!set_filter(id, &(struct corbel_msr_filter){.deny = 1}) &&
		  vm->msr_map != dom0->msr_map,
	      "a VM that has a map of its own");
	take_all(&vm->acct);
	pages = vm->acct.pages;
	faults = &vm->acct;
	CHECK(!set_filter(id, &f) && vm->acct.pages == pages + 3 && !vm->acct.promised,
	      "a filter has its pages, however its guest's faults hurry");
	faults = NULL;
	CHECK(!call(CORBEL_HC_PROMISE, id, 200 - vm_pages(vm) - 1, 0, 0), "a page short");
	f.count = 5;
	promised = vm->acct.promised;
	CHECK(set_filter(id, &f) == -EDQUOT && !vm->msr_filter.bits[3] &&
		  vm->acct.promised == promised && vm->msr_filter.count == 3,
	      "pages beyond its user's limit are refused, and the filter stays as it was");
	f.count = 4;
	CHECK(!set_filter(id, &f) && vm->acct.promised == promised,
	      "up to it they are not, and what tables were promised stays theirs");
	give_all(&vm->acct);
	free_vm(id, 0);
	CHECK(pool_free_bytes() == before, "and all comes back");
}

static void test_refused(void)
{
	s64 vm = make_vm(0, 0);

	CHECK(call(CORBEL_HC_BASE - 1, 0, 0, 0, 0) == -ENOSYS &&
		  call(CORBEL_HC_BASE + CORBEL_HC_NR, 0, 0, 0, 0) == -ENOSYS &&
		  call(~0ull, 0, 0, 0, 0) == -ENOSYS,
	      "numbers that are no hypercall's");
	flushed = 0;
	CHECK(call(CORBEL_HC_FLUSH, vm, 0, 0, 0) == 0 && flushed == 1 &&
		  call(CORBEL_HC_FLUSH, 0, 0, 0, 0) == -ENOENT && flushed == 1,
	      "a guest's TLBs are flushed, dom0's are its own");
	CHECK(call(CORBEL_HC_MAP_ONE, 0, 5, 7, 0) == -ENOENT &&
		  call(CORBEL_HC_UNMAP, 0, 5, 1, 0) == -ENOENT &&
		  call(CORBEL_HC_VM_DESTROY, 0, 0, 0, 0) == -ENOENT &&
		  call(CORBEL_HC_PROMISE, 0, 1, 0, 0) == -ENOENT,
	      "dom0 is no VM to its own hypercalls");
	CHECK(call(CORBEL_HC_VCPU_GET, caller->number, 0, 0, 0) == -ENOENT &&
		  call(CORBEL_HC_VCPU_DESTROY, caller->number, 0, 0, 0) == -ENOENT &&
		  call(CORBEL_HC_NMI, ~0ull, 0, 0, 0) == -ENOENT,
	      "nor are its vCPUs vCPUs, nor is nonsense");
	CHECK(call(CORBEL_HC_VM_CREATE, 0xff0, 0, 0, 0) == -EINVAL,
	      "a buffer that does not lie within a page is refused");
	maps = 0;
	CHECK(call(CORBEL_HC_MAP_ONE, vm, 0, 0, 3) == -EINVAL &&
		  call(CORBEL_HC_MAP, vm, 0, 0, 0) == -EINVAL &&
		  call(CORBEL_HC_MAP, vm, 0, PAGE_SIZE / sizeof(struct corbel_map) + 1, 0) ==
		      -EINVAL &&
		  !maps,
	      "odd sizes and too many entries are not mapped");
	CHECK(call(CORBEL_HC_EOI_MASK, vm, 4, ~0ull, 0) == -EINVAL, "there are 256 vectors");
	free_vm(vm, 0);
}

static u32 sched_calls;
static bool had_affinity;
static struct corbel_cpus affinity_is;

int sched_set(struct sched_unit *u, u32 weight, const struct corbel_cpus *affinity, u32 cap)
{
	sched_calls++;
	had_affinity = affinity;
	if (affinity)
		affinity_is = *affinity;
	return 0;
}

static u32 shared_level, shared_cap;
static u64 shared_id;

int sched_group_share(struct sched_group *g, u32 level, u64 id, u32 cap)
{
	shared_level = level;
	shared_id = id;
	shared_cap = cap;
	return 0;
}

static u32 pool_calls;
static struct sched_group *moved;

s64 cpupool_call(const struct corbel_pool_call *c, struct sched_group *g)
{
	CHECK_QUIET(!c->name[CORBEL_POOL_NAME - 1] && !c->policy[15], "texts end in their fields");
	pool_calls++;
	moved = g;
	return 7;
}

static struct sched_unit *budget_of;
static u32 budget_calls, budget_us[2];

s64 sched_set_budget(struct sched_group *g, struct sched_unit *u, u32 period, u32 budget)
{
	budget_calls++;
	moved = g;
	budget_of = u;
	budget_us[0] = period;
	budget_us[1] = budget;
	return 8;
}

static s64 call_budget(u32 vm, u64 number)
{
	u32 vcpu = number == CORBEL_POOL_ALL ? CORBEL_POOL_ALL : CORBEL_VCPU_ID(number);
	struct corbel_pool_call c = {
	    .op = CORBEL_POOL_BUDGET, .vm = vm, .vcpu = vcpu, .period_us = 70, .budget_us = 30};

	memcpy(dom0_page, &c, sizeof(c));
	return call(CORBEL_HC_POOL, PAGE_SIZE, 0, 0, 0);
}

static int join_refused;

int sched_group_join(struct sched_group *g, struct sched_unit *u)
{
	return join_refused;
}

static void check_budgets(s64 vm)
{
	s64 other = make_vm(0, 0), id = call(CORBEL_HC_VCPU_CREATE, vm, 5, 0, 0), second;
	u64 free_pages;
	u32 vcpus;

	CHECK(call_budget(0, 0) == -ENOENT && call_budget(0, CORBEL_POOL_ALL) == -ENOENT &&
		  call_budget(vm, 999) == -ENOENT && call_budget(other, id) == -ENOENT &&
		  call_budget(vm, 0) == -ENOENT && !budget_calls,
	      "dom0 has no budget, and no VM another's vCPU");
	CHECK(call_budget(vm, id) == 8 && budget_of == &vcpu_by_number(id)->sched &&
		  moved == &vm_by_id(vm)->sched && budget_us[0] == 70 && budget_us[1] == 30,
	      "a vCPU has one");
	CHECK(call_budget(vm, CORBEL_POOL_ALL) == 8 && !budget_of, "so has a whole VM");
	free_pages = pool_free_bytes();
	vcpus = vm_by_id(vm)->vcpu_count;
	join_refused = -ENOSPC;
	CHECK(call(CORBEL_HC_VCPU_CREATE, vm, 6, 0, 0) == -ENOSPC &&
		  pool_free_bytes() == free_pages && vm_by_id(vm)->vcpu_count == vcpus,
	      "a vCPU for which its pool has no room is not made");
	join_refused = 0;
	second = call(CORBEL_HC_VCPU_CREATE, vm, 6, 0, 0);
	CHECK(second > 0, "later there may be some");
	call(CORBEL_HC_VCPU_DESTROY, id, 0, 0, 0);
	call(CORBEL_HC_VCPU_DESTROY, second, 0, 0, 0);
	free_vm(other, 0);
}

static s64 call_pool(u32 op, u32 vm, char filler)
{
	struct corbel_pool_call c = {.op = op, .vm = vm};

	memset(c.name, filler, sizeof(c.name) + sizeof(c.policy));
	memcpy(dom0_page, &c, sizeof(c));
	return call(CORBEL_HC_POOL, PAGE_SIZE, 0, 0, 0);
}

static void check_pools(s64 vm)
{
	pool_calls = 0;
	CHECK(call_pool(CORBEL_POOL_MOVE, 0, 'x') == -ENOENT &&
		  call_pool(CORBEL_POOL_MOVE, 9999, 'x') == -ENOENT,
	      "neither dom0 moves to a pool nor what there is not");
	CHECK(call_pool(CORBEL_POOL_CREATE, 0, '\n') == -EINVAL &&
		  call(CORBEL_HC_POOL, PAGE_SIZE - 8, 0, 0, 0) == -EINVAL && !pool_calls,
	      "a name is printable, and its buffer is in one page");
	CHECK(call_pool(CORBEL_POOL_MOVE, vm, 'x') == 7 && moved == &vm_by_id(vm)->sched &&
		  call_pool(CORBEL_POOL_CREATE, 0, 'x') == 7 && pool_calls == 2,
	      "what is right is passed on");
}

/* A border of each argument that has one. */
static void test_borders(void)
{
	s64 vm = make_vm(0, 0), id;

	CHECK(call(CORBEL_HC_VCPU_CREATE, vm, 0xffffffff, 0, 0) == -EINVAL,
	      "the APIC id of all is nobody's");
	id = call(CORBEL_HC_VCPU_CREATE, vm, 0xfe, 0, 0);
	CHECK(call(CORBEL_HC_BOOT_CPU, vm, 1, 0, 0) == -EBUSY,
	      "no other boot CPU once there are vCPUs");
	CHECK(call(CORBEL_HC_MSI, vm, 0xfee00000, 0x40, 0) == -ENOENT &&
		  call(CORBEL_HC_POST, vm, 0xfee00000, 0x40, 0) == -EINVAL,
	      "no MSI without local APICs, nor one that is posted");
	CHECK(call(CORBEL_HC_SCHED, id, 1ull << 32, 0, 0) == -EINVAL, "a weight has 32 bits");
	CHECK(call(CORBEL_HC_SCHED, id, 1, 0, 1ull << 32) == -EINVAL, "a cap has 32 bits");
	CHECK(call(CORBEL_HC_SCHED, id, 1, PAGE_SIZE - 8, 0) == -EINVAL && !sched_calls,
	      "a set of CPUs lies in one page");
	memset(dom0_page, 0x5a, sizeof(dom0_page));
	CHECK(!call(CORBEL_HC_SCHED, id, 1, 0, 0) && sched_calls == 1 && !had_affinity,
	      "none leaves the affinity as it is");
	CHECK(!call(CORBEL_HC_SCHED, id, 1, PAGE_SIZE, 0) && had_affinity &&
		  affinity_is.word[CORBEL_MAX_CPUS / 64 - 1] == 0x5a5a5a5a5a5a5a5a,
	      "and a set is taken whole");
	CHECK(call(CORBEL_HC_SCHED_VM, vm, 1ull << 32, 1, 0) == -EINVAL &&
		  call(CORBEL_HC_SCHED_VM, vm, 1, 1ull << 32, 0) == -EINVAL,
	      "so have a VM's");
	CHECK(!call(CORBEL_HC_SCHED_VM, vm, 1, 50, 99) && shared_level == 1 && shared_cap == 50 &&
		  shared_id == 99 && call(CORBEL_HC_SCHED_VM, vm, 1ull << 32, 50, 99) == -EINVAL &&
		  call(CORBEL_HC_SCHED_VM, vm, 1, 1ull << 32, 99) == -EINVAL,
	      "and what it shares with others");
	CHECK(call(CORBEL_HC_SCHED_VM, 0, 1, 1, 0) == -ENOENT, "dom0's is its own");
	check_pools(vm);
	check_budgets(vm);
	CHECK(call(CORBEL_HC_DIRTY, vm, 0, 0, 0) == -EINVAL, "no log of no pages");
	CHECK(call(CORBEL_HC_DIRTY, vm, 0, PAGE_SIZE * 8 + 1, 0) == -EINVAL,
	      "no log that is longer than a page");
	caller->gpr[R8] = 0;
	CHECK(call(CORBEL_HC_DIRTY, vm, 0, 128, PAGE_SIZE - 8) == -EINVAL,
	      "no log to a buffer that crosses pages");
	maps = 0;
	caller->gpr[R8] = CORBEL_MAP_MMIO;
	CHECK(call(CORBEL_HC_MAP_ONE, vm, 0, 0, 18) == -EINVAL &&
		  call(CORBEL_HC_MAP_ONE, vm, 0, 0, 1ull << 32) == -EINVAL && !maps,
	      "MMIO is of 4 KiB or 2 MiB");
	caller->gpr[R8] = 1ull << 32;
	CHECK(call(CORBEL_HC_MAP_ONE, vm, 0, 0, 0) == -EINVAL && !maps, "flags have 32 bits");
	caller->gpr[R8] = 0;
	CHECK(call(CORBEL_HC_LOG_READ, 0, 0, sizeof(struct corbel_log), 0) == -EINVAL,
	      "no log without room for text");
	CHECK(call(CORBEL_HC_SUPPORTED, ~0ull, 0, 0, PAGE_SIZE) == -EINVAL,
	      "what is supported is asked by kinds that there are");
	CHECK(call(CORBEL_HC_SUPPORTED, CORBEL_SUPPORTED_XCR0, 0, 0, 7) == -E2BIG,
	      "and with room for it");
	CHECK(call(CORBEL_HC_EVENT_BIND, 0, 31, 0, 0) == -EINVAL &&
		  call(CORBEL_HC_EVENT_BIND, 0, 256, 0, 0) == -EINVAL,
	      "events do not come as exceptions, nor beyond the last vector");
	CHECK(call(CORBEL_HC_EVENT_BIND, 1ull << 32, 64, 0, 0) == -ENOENT &&
		  call(CORBEL_HC_EVENT_BIND, 77, 64, 0, 0) == -ENOENT,
	      "nor to CPUs that dom0 has not");
	CHECK(call(CORBEL_HC_MSR_FILTER, vm, 0, PAGE_SIZE - 8, 0) == -EINVAL,
	      "no filter from a buffer that crosses pages");
	CHECK(call(CORBEL_HC_PMU_FILTER, vm, PAGE_SIZE - 8, 0, 0) == -EINVAL &&
		  call(CORBEL_HC_PMU_FILTER, 0, PAGE_SIZE, 0, 0) == -ENOENT &&
		  call(CORBEL_HC_PMU_FILTER, 77, PAGE_SIZE, 0, 0) == -ENOENT &&
		  !call(CORBEL_HC_PMU_FILTER, vm, PAGE_SIZE, 0, 0),
	      "nor what a guest may count; of VMs that there are, but dom0");
	free_vm(vm, id);
}

/* ---- idle states ---- */

static u32 told; /* states */
static struct corbel_cst last_told;

u32 idle_tell(struct cpu *c, const struct corbel_cst *cst, u32 count)
{
	CHECK_QUIET(c == this_cpu(), "dom0's vCPU speaks for its CPU");
	told = count;
	last_told = cst[count - 1];
	return BIT(count) - 1;
}

static void test_idle(void)
{
	struct corbel_cst cst[CORBEL_MAX_CST] = {{0}};

	cst[CORBEL_MAX_CST - 1] = (struct corbel_cst){CORBEL_CST_PORT, 2, 0x414, 400};
	memcpy(dom0_page, cst, sizeof(cst));
	CHECK(call(CORBEL_HC_IDLE, PAGE_SIZE, CORBEL_MAX_CST, 0, 0) == 0xff &&
		  told == CORBEL_MAX_CST && last_told.address == 0x414,
	      "as many idle states as there can be are told");
	told = 0;
	CHECK(call(CORBEL_HC_IDLE, PAGE_SIZE, 0, 0, 0) == -EINVAL &&
		  call(CORBEL_HC_IDLE, PAGE_SIZE, CORBEL_MAX_CST + 1, 0, 0) == -EINVAL &&
		  call(CORBEL_HC_IDLE, PAGE_SIZE, BIT(32) + 1, 0, 0) == -EINVAL,
	      "not none, nor more");
	CHECK(call(CORBEL_HC_IDLE, 2 * PAGE_SIZE - 8, 1, 0, 0) == -EINVAL && !told,
	      "nor from a buffer that crosses pages");
}

/* ---- memory that dom0's kernel has found since the boot ---- */

static u64 added;

int frame_add(u64 pfn)
{
	added = pfn;
	return 0;
}

/* Above 6 GiB there is something else. */
enum mtrr_type mtrr_of(u64 pfn, u32 order)
{
	CHECK_QUIET(BIT(order) == CORBEL_SECTION && !(pfn & (CORBEL_SECTION - 1)), "a section");
	return pfn < BIT(20) + BIT(19) ? MTRR_WB : MTRR_OTHER;
}

static void test_memory(void)
{
	CHECK(!call(CORBEL_HC_MEMORY, BIT(20) + 5, 0, 0, 0) && added == BIT(20) + 5,
	      "memory above 4 GiB becomes dom0's");
	added = 0;
	CHECK(call(CORBEL_HC_MEMORY, BIT(20) - 1, 0, 0, 0) == -EPERM &&
		  call(CORBEL_HC_MEMORY, 0, 0, 0, 0) == -EPERM && !added,
	      "below there are devices, and the hypervisor's own");
	CHECK(call(CORBEL_HC_MEMORY, BIT(20) + BIT(19), 0, 0, 0) == -EPERM &&
		  call(CORBEL_HC_MEMORY, ~0ull, 0, 0, 0) == -EPERM && !added,
	      "what is not write-back is no memory, nor what no table can map");
	iommu.protection = CORBEL_IOMMU_STRICT;
	CHECK(call(CORBEL_HC_MEMORY, BIT(20), 0, 0, 0) == -EOPNOTSUPP && !added,
	      "with iommu=strict devices would not reach it");
	iommu.protection = CORBEL_IOMMU_NONE;
}

/* ---- names ---- */

static void test_names(void)
{
	struct corbel_vm_create c = {.name = "qemu-system_x86:0,a b.c=d+e@f/g"};
	s64 vm;

	_Static_assert(sizeof("qemu-system_x86:0,a b.c=d+e@f/g") == sizeof(c.name), "fits");
	memcpy(dom0_page, &c, sizeof(c));
	vm = call(CORBEL_HC_VM_CREATE, 0, 0, 0, 0);
	CHECK(!strcmp(vm_by_id(vm)->name, c.name), "a usual name stays as it is");
	free_vm(vm, 0);
	memcpy(c.name, "a\"'\\$`;&|<>(){}*?[]~!#\n\x1b\x7f\xffxxxxxx", sizeof(c.name));
	memcpy(dom0_page, &c, sizeof(c));
	vm = call(CORBEL_HC_VM_CREATE, 0, 0, 0, 0);
	CHECK(!strcmp(vm_by_id(vm)->name, "a_________________________xxxxx"),
	      "shells, terminals and text formats find nothing in a name (%s)", vm_by_id(vm)->name);
	free_vm(vm, 0);
}

static s64 create(u32 flags, u32 bus_ns)
{
	struct corbel_vm_create c = {.flags = flags, .bus_ns = bus_ns};
	s64 vm;

	memcpy(dom0_page, &c, sizeof(c));
	vm = call(CORBEL_HC_VM_CREATE, 0, 0, 0, 0);
	if (vm > 0) {
		bool is = vm_by_id(vm)->flags == flags && vm_by_id(vm)->bus_ns == (bus_ns ?: 1);

		free_vm(vm, 0);
		return is ? 0 : -EIO;
	}
	return vm;
}

static void test_flags(void)
{
	const u32 waits = CORBEL_VM_HLT | CORBEL_VM_PAUSE | CORBEL_VM_CSTATE;

	idle.stores = false;
	CHECK(!create(waits, 0) && create(waits | CORBEL_VM_MWAIT, 0) == -EINVAL,
	      "guests do not wait by MWAIT on a CPU whose MONITOR misses stores");
	CHECK(create(64, 0) == -EINVAL && create(1u << 31, 0) == -EINVAL,
	      "nor do anything that is not known");
	CHECK(!create(CORBEL_VM_LAPIC | CORBEL_VM_PIC, 0) && create(CORBEL_VM_PIC, 0) == -EINVAL &&
		  create(64, 0) == -EINVAL,
	      "there are PICs beside LAPICs only");
	CHECK(!create(CORBEL_VM_LAPIC, 0x2000000) && create(CORBEL_VM_LAPIC, 0x2000001) == -EINVAL,
	      "no cycle of a LAPIC's timer is longer than can be counted");
}

#define MANY 300 /* more than VM_FEW */
#define STEP 13	 /* from one APIC id to the next: many end with the same byte */

/* How many of the ids name the vCPU that has them, and how many that have gone name none? */
static u32 count_found(struct vm *vm, const s64 *ids)
{
	u32 n = 0;

	for (u32 i = 0; i < MANY; i++)
		n += vm_vcpu_by_apic(vm, i * STEP) == vcpu_by_number(ids[i]) &&
		     !vm_vcpu_by_apic(vm, i * STEP + 1);
	return n;
}

static void test_many(void)
{
	static s64 ids[MANY];
	u64 before = pool_free_bytes();
	s64 vm = make_vm(0, 0);
	u32 good = 0;

	for (u32 i = 0; i < MANY; i++) {
		struct vcpu *v;

		ids[i] = call(CORBEL_HC_VCPU_CREATE, vm, i * STEP, 0, 0);
		v = vcpu_by_number(ids[i]);
		good += v && v->index == i && vm_by_id(vm)->vcpu[i] == v;
	}
	CHECK(good == MANY && vm_by_id(vm)->vcpu[0] == vcpu_by_number(ids[0]),
	      "a VM has as many vCPUs as its VMM wants (%u)", good);
	CHECK(count_found(vm_by_id(vm), ids) == MANY, "each is found by its APIC id");
	for (u32 i = 0; i < MANY; i += 3) /* from both ends of what ends alike, and between */
		CHECK_QUIET(!call(CORBEL_HC_VCPU_DESTROY, ids[i], 0, 0, 0), "a vCPU goes");
	CHECK(count_found(vm_by_id(vm), ids) == MANY, "also when others have gone, who are not");
	for (u32 i = 0; i < MANY; i++)
		if (i % 3)
			CHECK_QUIET(!call(CORBEL_HC_VCPU_DESTROY, ids[i], 0, 0, 0), "a vCPU goes");
	free_vm(vm, 0);
	CHECK(pool_free_bytes() == before, "and leaves nothing behind");
}

/* dom0's are created at boot, one for each CPU, and nobody limits them. */
static void test_many_of_dom0(void)
{
	u32 first = dom0->vcpu_end, good = 0;

	for (u32 i = first; i < MANY; i++) {
		struct vcpu *v = vcpu_by_number(vcpu_create(dom0, i));

		good += v && v->index == i && vm_vcpu(dom0, i) == v;
	}
	CHECK(good == MANY - first && !vm_vcpu(dom0, MANY), "dom0 has as many as there are CPUs");
}

int main(void)
{
	dom0_start();
	test_flags();
	test_many();
	test_states();
	test_takeover();
	test_smm();
	test_msr_filter();
	test_msr_filter_pages();
	test_refused();
	test_borders();
	test_idle();
	test_memory();
	test_names();
	test_many_of_dom0(); /* for good */
	return test_end();
}
