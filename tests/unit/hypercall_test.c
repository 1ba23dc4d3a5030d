/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dom0's hypercalls on a back end of ours: what is refused, and what of the pool VMs and users get.
 * links: hv/dom0/hypercall.c hv/guest/vm.c hv/guest/msr_filter.c hv/guest/vcpu.c
 * hv/guest/doorbell.c hv/mm/pool.c hv/lib/lock.c
 */
#include "hv/dom0/hypercall.h"

#include <string.h>

#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/spec.h"
#include "hv/cpu/time.h"
#include "hv/dom0/debugkey.h"
#include "hv/dom0/stat.h"
#include "hv/dom0/state.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/debug.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/event.h"
#include "hv/guest/kick.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/lazy.h"
#include "hv/guest/msr.h"
#include "hv/guest/run.h"
#include "hv/guest/vm.h"
#include "arena.h"

static struct cpu cpu0;
static struct vcpu *caller;
static u8 dom0_page[PAGE_SIZE];

static bool borrows = true, off = true;
static u32 maps, moves;

/* ---- the rest of the hypervisor ---- */

u64 tsc_khz = 1000000, boot_tsc;
u32 cpu_count = 1;
struct hvm_caps hvm_caps;
struct spec_plan spec;

struct cpu *this_cpu(void)
{
	return &cpu0;
}

static u64 now = 1000; /* ns */

u64 rdtsc(void)
{
	return now;
}

u64 ns_to_tsc(u64 ns)
{
	return ns;
}

/* Of these nothing is looked at. */
#define ZERO(type, name, ...)                                                                      \
	type name(__VA_ARGS__)                                                                     \
	{                                                                                          \
		return 0;                                                                          \
	}
#define NOTHING(name, ...)                                                                         \
	void name(__VA_ARGS__)                                                                     \
	{                                                                                          \
	}
/* clang-format off */
ZERO(u64, tsc_to_ns, u64 t)
ZERO(int, cpuid_set, struct vcpu *v, const struct corbel_cpuid *e, u32 n)
ZERO(u32, cpuid_offered, struct corbel_cpuid *out, const struct vcpu *v)
NOTHING(debug_key, char c)
NOTHING(debug_reset, struct vcpu *v)
NOTHING(event_doorbell, u32 id)
NOTHING(fpu_reset, struct vcpu *v)
NOTHING(lapic_reset, struct vcpu *v, bool init)
ZERO(u32, lapic_send_msi, struct vm *vm, u64 address, u32 data)
NOTHING(mce_reset, struct vcpu *v)
ZERO(u32, msr_list, u32 *out)
ZERO(int, msr_write, struct vcpu *v, u32 msr, u64 val, bool host)
ZERO(s64, p2m_dirty_start, struct p2m *p, u64 gfn, u64 count)
ZERO(s64, p2m_dirty_stop, struct p2m *p, u64 gfn, u64 count)
ZERO(s64, p2m_dirty_read, struct p2m *p, u64 gfn, u64 count, u64 *bitmap, bool clear)
ZERO(int, p2m_dom0_share, struct p2m *p, hpa_t page)
NOTHING(p2m_dom0_unshare, struct p2m *p, hpa_t page)
ZERO(int, p2m_set_mmio, struct p2m *p, u64 gfn)
ZERO(s64, p2m_unmap, struct p2m *p, u64 gfn, u64 count)
ZERO(int, p2m_init, struct p2m *p, struct vm *vm, bool is_dom0, struct account *acct)
ZERO(int, p2m_destroy, struct p2m *p)
ZERO(u64, policy_xcr0_all, void)
ZERO(u64, pv_clock_get, struct vm *vm)
NOTHING(pv_clock_set, struct vm *vm, u64 ns)
NOTHING(pv_reset, struct vcpu *v)
NOTHING(sched_turn_over, void)
ZERO(int, sched_set, struct sched_unit *u, u32 weight, u64 affinity, u32 cap)
NOTHING(sched_unit_init, struct sched_unit *u, u32 weight, u64 affinity, u32 cpu, bool dom0)
ZERO(s64, stat_get, u64 what, u64 nth, void *buf)
NOTHING(vcpu_request, struct vcpu *v, u64 req)
ZERO(int, vcpu_resume, struct vcpu *v, struct vcpu *by)
ZERO(u32, log_read, u64 seq, char *to, u32 room, u64 *first)
/* clang-format on */

static bool timer_wakes; /* the vCPU, before it can be stopped */

void lapic_destroy(struct vcpu *v)
{
	off = off && !timer_wakes;
}

void lapic_init(struct vcpu *v, u32 id, bool present)
{
	v->lapic.id = id;
}

struct vcpu *vm_vcpu_by_apic(struct vm *vm, u32 id)
{
	for (u32 i = 0; i < MAX_CPUS; i++)
		if (vm->vcpu[i] && vm->vcpu[i]->lapic.id == id)
			return vm->vcpu[i];
	return NULL;
}

bool sched_is_off(const struct sched_unit *u)
{
	return off;
}

int p2m_copy(struct p2m *p, gpa_t at, void *buf, size_t len, bool write)
{
	if (!write)
		memcpy(buf, dom0_page + at.v % PAGE_SIZE, len);
	return 0;
}

int p2m_map(struct p2m *p, u64 gfn, u64 pfn, u32 order, u64 attr)
{
	maps++;
	return 0;
}

s64 state_get(struct vcpu *v, u32 what, u32 n)
{
	moves++;
	return 8;
}

s64 state_set(struct vcpu *v, u32 what, u32 n)
{
	moves++;
	return 8;
}

/* ---- the back end ---- */

/* clang-format off */
static NOTHING(fake_give_back, struct vcpu *v)
static ZERO(int, fake_vcpu_init, struct vcpu *v)
static NOTHING(fake_vcpu_destroy, struct vcpu *v)
static NOTHING(fake_vcpu_reset, struct vcpu *v, bool init)
static ZERO(u64, fake_get, struct vcpu *v, enum hvm_reg r)
static NOTHING(fake_set, struct vcpu *v, enum hvm_reg r, u64 val)
static NOTHING(fake_set_seg, struct vcpu *v, enum hvm_seg s, const struct corbel_segment *in)
static ZERO(int, fake_msr_set, struct vcpu *v, u32 msr, u64 val)

static bool fake_borrow(struct vcpu *v)
{
	return borrows;
}
/* clang-format on */

static bool direct_reads, direct_writes; /* of LSTAR */

static void fake_direct_msr(struct vm *vm, u32 msr, bool reads, bool writes)
{
	if (msr != 0xc0000082)
		return;
	direct_reads = reads;
	direct_writes = writes;
}

static const struct hvm_ops fake_ops = {
    .vcpu_pages = 2,
    .borrow = fake_borrow,
    .give_back = fake_give_back,
    .direct_msr = fake_direct_msr,
    .vcpu_init = fake_vcpu_init,
    .vcpu_destroy = fake_vcpu_destroy,
    .vcpu_reset = fake_vcpu_reset,
    .get = fake_get,
    .set = fake_set,
    .set_seg = fake_set_seg,
    .msr_set = fake_msr_set,
};
const struct hvm_ops *hvm = &fake_ops;

static void dom0_start(void)
{
	static const struct vm_ops ops;

	caller = vcpu_by_id(vcpu_create(vm_create_dom0(&ops), 0));
}

static s64 call(u64 nr, u64 a, u64 b, u64 c, u64 d)
{
	caller->gpr[RDI] = a;
	caller->gpr[RSI] = b;
	caller->gpr[RDX] = c;
	caller->gpr[RCX] = d;
	return hypercall(caller, nr);
}

static s64 make_vm(u32 user, u64 pages)
{
	struct corbel_vm_create c = {.name = "test", .user = user, .user_pages = pages};

	memcpy(dom0_page, &c, sizeof(c));
	return call(CORBEL_HC_VM_CREATE, 0, 0, 0, 0);
}

static void free_vm(u64 vm, u64 vcpu)
{
	if (vcpu)
		CHECK_QUIET(!call(CORBEL_HC_VCPU_DESTROY, vcpu, 0, 0, 0), "a vCPU goes");
	CHECK_QUIET(!call(CORBEL_HC_VM_DESTROY, vm, 0, 0, 0), "a VM goes");
}

/* ---- nothing is done to what runs, or is being torn down ---- */

static void test_states(void)
{
	s64 vm = make_vm(0, 0), id = call(CORBEL_HC_VCPU_CREATE, vm, 0, 0, 0);
	struct vcpu *v = vcpu_by_id(id);

	CHECK(vm > 0 && v && v->stopped, "a VM and its vCPU, which is stopped");
	moves = 0;
	CHECK(call(CORBEL_HC_VCPU_GET, id, CORBEL_STATE_SREGS, 0, 0) == 8 &&
		  call(CORBEL_HC_VCPU_SET, id, CORBEL_STATE_SREGS, 8, 0) == 8 && moves == 2,
	      "a stopped vCPU's state can be had and set");
	v->stopped = 0;
	CHECK(call(CORBEL_HC_VCPU_GET, id, CORBEL_STATE_SREGS, 0, 0) == -EBUSY &&
		  call(CORBEL_HC_VCPU_SET, id, CORBEL_STATE_SREGS, 8, 0) == -EBUSY && moves == 2,
	      "a running one's cannot");
	CHECK(call(CORBEL_HC_VCPU_DESTROY, id, 0, 0, 0) == -EBUSY, "nor can it be freed");
	v->stopped = 1;
	borrows = false;
	CHECK(call(CORBEL_HC_VCPU_GET, id, CORBEL_STATE_SREGS, 0, 0) == -EBUSY && moves == 2,
	      "nor one's that another CPU still has");
	borrows = true;
	CHECK(call(CORBEL_HC_VCPU_SET, id, CORBEL_STATE_NR, 8, 0) == -EINVAL &&
		  call(CORBEL_HC_VCPU_SET, id, CORBEL_STATE_SREGS, PAGE_SIZE + 1, 0) == -EINVAL,
	      "unknown states and more than a page are refused");
	off = false;
	CHECK(call(CORBEL_HC_VCPU_DESTROY, id, 0, 0, 0) == -EAGAIN && vcpu_by_id(id) == v,
	      "one that its CPU has not let go of stays");
	off = true;
	CHECK(call(CORBEL_HC_VM_DESTROY, vm, 0, 0, 0) == -EBUSY, "a VM with vCPUs stays");
	timer_wakes = true;
	CHECK(call(CORBEL_HC_VCPU_DESTROY, id, 0, 0, 0) == -EAGAIN && vcpu_by_id(id) == v,
	      "nor while its timer wakes it");
	timer_wakes = false;
	off = true;
	CHECK(!call(CORBEL_HC_VCPU_DESTROY, id, 0, 0, 0) && !vcpu_by_id(id), "it goes when it can");

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
	CHECK(direct_reads && direct_writes && !m->on, "at first LSTAR is the guest's");
	CHECK(!set_filter(id, &f) && m->on && vm->msr_exits == CORBEL_MSR_EXIT_FILTER,
	      "a filter is set");
	CHECK(!direct_reads && !direct_writes, "and LSTAR not the hardware's any more");
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
	CHECK(vm->acct.pages == had + 2 && set_filter(0, &f) == -ENOENT,
	      "it has taken a page a range, and dom0 has no filter");
	free_vm(id, 0);
}

static void test_refused(void)
{
	s64 vm = make_vm(0, 0);

	CHECK(call(CORBEL_HC_BASE - 1, 0, 0, 0, 0) == -ENOSYS &&
		  call(CORBEL_HC_BASE + CORBEL_HC_NR, 0, 0, 0, 0) == -ENOSYS &&
		  call(~0ull, 0, 0, 0, 0) == -ENOSYS,
	      "numbers that are no hypercall's");
	CHECK(call(CORBEL_HC_MAP_ONE, 0, 5, 7, 0) == -ENOENT &&
		  call(CORBEL_HC_UNMAP, 0, 5, 1, 0) == -ENOENT &&
		  call(CORBEL_HC_VM_DESTROY, 0, 0, 0, 0) == -ENOENT &&
		  call(CORBEL_HC_PROMISE, 0, 1, 0, 0) == -ENOENT,
	      "dom0 is no VM to its own hypercalls");
	CHECK(call(CORBEL_HC_VCPU_GET, caller->id, 0, 0, 0) == -ENOENT &&
		  call(CORBEL_HC_VCPU_DESTROY, caller->id, 0, 0, 0) == -ENOENT &&
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

/* ---- the pool ---- */

static u64 had(u64 vm)
{
	const struct account *a = &vm_by_id(vm)->acct;

	return a->pages + a->promised;
}

static void test_pool(void)
{
	u64 before = pool_free_bytes(), base, each;
	s64 one = make_vm(7, 300), two, other, id;

	base = had(one);
	id = call(CORBEL_HC_VCPU_CREATE, one, 0, 0, 0);
	each = had(one) - base;
	CHECK(id > 0 && each >= 8 && vm_by_id(one)->acct.promised >= 16,
	      "a VM and a vCPU are promised what they take, and some for tables");
	CHECK(call(CORBEL_HC_PROMISE, one, 300 - base - each + 1, 0, 0) == -EDQUOT &&
		  !call(CORBEL_HC_PROMISE, one, 300 - base - each, 0, 0) && had(one) == 300,
	      "its user gets so many pages and no more");
	CHECK(call(CORBEL_HC_VCPU_CREATE, one, 1, 0, 0) == -EDQUOT && had(one) == 300 &&
		  make_vm(7, 300) == -EDQUOT,
	      "nor a vCPU or VM beyond that");
	other = make_vm(8, 300);
	two = make_vm(7, 0);
	CHECK(other > 0 && two > 0, "another user does, and who has no limit");
	CHECK(call(CORBEL_HC_PROMISE, one, 300 - base - each + 1, 1, 0) == -EINVAL &&
		  !call(CORBEL_HC_PROMISE, one, 300 - base - each, 1, 0),
	      "what was promised can be given back, not more");
	CHECK(call(CORBEL_HC_PROMISE, two, before / PAGE_SIZE, 0, 0) == -ENOMEM &&
		  call(CORBEL_HC_PROMISE, two, ~0ull, 0, 0) == -EINVAL,
	      "nobody is promised what there is not");
	free_vm(one, id);
	free_vm(other, 0);
	free_vm(two, 0);
	CHECK(pool_free_bytes() == before && !pool_promised_bytes(), "all of it comes back");
}

/* ---- messages that VMs cause ---- */

#define RATE_VM	  512 /* bytes a second */
#define RATE_ALL  2048
#define BURST_VM  16384
#define BURST_ALL 65536

/* It asks for so many bytes as often as it can for so long. What it was given. */
static u64 chatter(struct vm *vm, u32 bytes, u64 seconds)
{
	u64 end = now + seconds * 1000000000, given = 0;

	for (; now < end; now += 10000000)
		if (vm_may_log(vm, bytes))
			given += bytes;
	return given;
}

static void test_messages(void)
{
	s64 ids[12];
	struct vm *vm[ARRAY_SIZE(ids)];
	u64 given, sum = 0;

	for (u32 i = 0; i < ARRAY_SIZE(ids); i++) {
		ids[i] = make_vm(0, 0);
		vm[i] = vm_by_id(ids[i]);
	}
	test_log_lines = 0;
	given = chatter(vm[0], VM_LOG_LINE, 100);
	CHECK(given > 8000 && given <= BURST_VM + 100 * RATE_VM,
	      "a VM's messages: %lu bytes in 100 s", given);
	CHECK(test_log_lines && test_log_lines * VM_LOG_LINE <= given,
	      "the first that is left out is told of, which is counted");
	now += 1000000000000;
	given = chatter(vm[0], HVM_DUMP_BYTES, 100);
	CHECK(given >= HVM_DUMP_BYTES && given <= BURST_VM + 100 * RATE_VM,
	      "dumps: %lu bytes, so fewer of them", given);
	CHECK(vm_may_log(vm[1], VM_LOG_LINE),
	      "another VM's first message is let through meanwhile");
	now += 1000000000000;
	for (u32 i = 0; i < ARRAY_SIZE(ids); i++)
		while (vm_may_log(vm[i], VM_LOG_LINE))
			sum += VM_LOG_LINE;
	CHECK(sum > BURST_VM && sum <= BURST_ALL, "of all VMs at once: %lu bytes", sum);
	test_log_lines = 0;
	vm_may_log(vm[0], VM_LOG_LINE);
	vm_may_log(vm[0], VM_LOG_LINE);
	CHECK(!test_log_lines, "that it is muted is said once");
	CHECK(vm_may_log(vm_by_id(0), 1 << 30), "dom0 may log what it likes");
	now += 1000000000000;
	for (u32 i = 0; i < ARRAY_SIZE(ids); i++)
		free_vm(ids[i], 0);
}

static void test_doorbells(void)
{
	struct corbel_doorbell d = {.addr = 0x510, .len = 1, .flags = CORBEL_DOORBELL_PIO};
	u64 before = pool_free_bytes();
	s64 vm = make_vm(0, 0);
	struct account *a = &vm_by_id(vm)->acct;
	void *page[64];
	u32 n = 0;

	while (n < ARRAY_SIZE(page) && (page[n] = pool_alloc(0, a)))
		n++;
	memcpy(dom0_page, &d, sizeof(d));
	CHECK(n && n < ARRAY_SIZE(page) && call(CORBEL_HC_DOORBELL, vm, 0, 0, 0) >= 0 &&
		  call(CORBEL_HC_DOORBELL, vm, 0, 0, 0) == -EEXIST && doorbell_total() == 1,
	      "a VM that has used up its promise can still have doorbells");
	while (n)
		pool_free(page[--n], 0, a);
	free_vm(vm, 0);
	CHECK(pool_free_bytes() == before && !doorbell_total(), "which go with it");
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

int main(void)
{
	arena_init(64ull << 20);
	pool_init(1 << 20, 32 << 20);
	dom0_start();
	test_states();
	test_msr_filter();
	test_refused();
	test_pool();
	test_messages();
	test_doorbells();
	test_names();
	return test_end();
}
