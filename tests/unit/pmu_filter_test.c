/* SPDX-License-Identifier: GPL-2.0-only */
/* links: -Itests/unit/kernel */
/*
 * What corbel.ko tells the hypervisor of a VM's performance counters: the filter that its VMM has
 * set last, in whichever order it says that, and whether there are counters at all.
 */
#include "hv/lib/types.h"
#include "kernel.h"
#include "test.h"

#include "hv/abi_msr.h"

#define __user
#define static_assert _Static_assert
#define EVENT(n)		(0x1000u + (n))
#define copy_from_user(t, f, n) (memcpy(t, f, n), 0)
#define get_zeroed_page(how)	((unsigned long)kzalloc(PAGE_SIZE, how))
#define free_page(at)		kfree((void *)(at))
#define cb_phys(p)		(p)
#define HC2(call, id, arg)	tell_##call(id, arg)

struct cb_vm {
	struct mutex lock;
	u32 id;
	void *account;
	struct corbel_pmu_filter *pmu_filter;
	bool no_pmu;
};

/* ---- the rest of corbel.ko, and the hypervisor ---- */

static struct corbel_pmu_filter told; /* of VM 7 */
static u32 times_told;
static long answer;

static long tell_PMU_FILTER(u32 id, const struct corbel_pmu_filter *f)
{
	CHECK_QUIET(id == 7, "it is told of this VM");
	times_told++;
	if (!answer)
		told = *f;
	return answer;
}

static bool cb_has_pmu(void)
{
	return true;
}

static long cb_account_refused(void *account, long r, u64 pages)
{
	return r;
}

static void sort(void *base, size_t n, size_t size, int (*compare)(const void *, const void *),
		 void *swap)
{
	if (n)
		qsort(base, n, size, compare);
}

int cb_pmu_set_filter(struct cb_vm *of, const struct kvm_pmu_event_filter *arg);
int cb_pmu_set_capability(struct cb_vm *of, u64 how);
int cb_pmu_realize(const struct cb_vm *of, u32 id);
void cb_pmu_exit(struct cb_vm *of);
#include "dom0/kmod/pmu.c"

/* ---- the test ---- */

static struct cb_vm vm;

static void begin(void)
{
	vm = (struct cb_vm){.lock = {PTHREAD_MUTEX_INITIALIZER}};
	told = (struct corbel_pmu_filter){.action = 99};
	times_told = 0;
	answer = 0;
}

static int set_filter(u32 action, u64 event)
{
	struct {
		struct kvm_pmu_event_filter head;
		u64 events[2];
	} f = {{.action = action, .nevents = 2}, {event, EVENT(0)}};

	return cb_pmu_set_filter(&vm, &f.head);
}

static bool says(u32 action, u64 event)
{
	return told.action == action && told.count == 2 && told.event[0] == EVENT(0) &&
	       told.event[1] == event;
}

/* The first vCPU comes. */
static int realize(void)
{
	int r = cb_pmu_realize(&vm, 7);

	if (!r)
		vm.id = 7;
	return r;
}

static void end(void)
{
	cb_pmu_exit(&vm);
	CHECK(!kernel_live, "nothing of it stays");
}

static void test_orders(void)
{
	begin();
	CHECK(!realize() && !times_told, "a VMM that says nothing: nothing is told");
	CHECK(!set_filter(KVM_PMU_EVENT_ALLOW, EVENT(2)) && says(CORBEL_PMU_ALLOW, EVENT(2)) &&
		  !set_filter(KVM_PMU_EVENT_DENY, EVENT(1)) && says(CORBEL_PMU_DENY, EVENT(1)),
	      "a filter is told at once, in ascending order, and replaced by the next");
	CHECK(cb_pmu_set_capability(&vm, 0) == -EINVAL &&
		  cb_pmu_set_capability(&vm, KVM_PMU_CAP_DISABLE) == -EINVAL && times_told == 2,
	      "whether there are counters is said before there are vCPUs");
	answer = -EDQUOT;
	CHECK(set_filter(KVM_PMU_EVENT_ALLOW, EVENT(3)) == -EDQUOT &&
		  vm.pmu_filter->event[1] == EVENT(1),
	      "one that is refused does not take the place of the other");
	end();
	begin();
	CHECK(!set_filter(KVM_PMU_EVENT_DENY, EVENT(1)) && !cb_pmu_set_capability(&vm, 0) &&
		  !realize() && says(CORBEL_PMU_DENY, EVENT(1)),
	      "who says behind a filter that there are counters keeps it");
	end();
	begin();
	CHECK(!cb_pmu_set_capability(&vm, KVM_PMU_CAP_DISABLE) &&
		  !set_filter(KVM_PMU_EVENT_DENY, EVENT(1)) && !cb_pmu_set_capability(&vm, 0) &&
		  !realize() && says(CORBEL_PMU_DENY, EVENT(1)),
	      "so does who says it twice, and a filter between");
	end();
}

static void test_none(void)
{
	begin();
	CHECK(!set_filter(KVM_PMU_EVENT_ALLOW, EVENT(1)) &&
		  !cb_pmu_set_capability(&vm, KVM_PMU_CAP_DISABLE) && !realize() &&
		  told.action == CORBEL_PMU_NONE && times_told == 1,
	      "no counters are none, whatever may be counted");
	CHECK(!set_filter(KVM_PMU_EVENT_ALLOW, EVENT(2)) && told.action == CORBEL_PMU_NONE &&
		  times_told == 1,
	      "nor is a later filter told");
	end();
	begin();
	CHECK(cb_pmu_set_capability(&vm, 2) == -EINVAL &&
		  cb_pmu_set_capability(&vm, ~0ull) == -EINVAL && !vm.no_pmu,
	      "another capability is refused");
	cb_pmu_set_capability(&vm, KVM_PMU_CAP_DISABLE);
	answer = -ENOMEM;
	CHECK(realize() == -ENOMEM, "a hypervisor that cannot: there is no vCPU");
	end();
}

int main(void)
{
	test_orders();
	test_none();
	return test_end();
}
