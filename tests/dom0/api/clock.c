/* SPDX-License-Identifier: GPL-2.0-only */
/* TSCs and their frequencies, and the guest that is told that it stood still. */
#include "api.h"

static void test_tsc_khz(void)
{
	struct vm v = start(NO_CHIP);
	long own = ioctl(v.vcpu, KVM_GET_TSC_KHZ),
	     scales = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL);

	check(own > 1000 && !ioctl(v.vcpu, KVM_SET_TSC_KHZ, own) &&
		  !ioctl(v.vcpu, KVM_SET_TSC_KHZ, 0),
	      "a vCPU's TSC has a frequency (%ld kHz)", own);
	if (scales)
		check(!ioctl(v.vcpu, KVM_SET_TSC_KHZ, own / 2) &&
			  ioctl(v.vcpu, KVM_GET_TSC_KHZ) == own / 2,
		      "it can have another");
	else
		check(ioctl(v.vcpu, KVM_SET_TSC_KHZ, own / 2) && errno == EINVAL &&
			  ioctl(v.vcpu, KVM_GET_TSC_KHZ) == own,
		      "without TSC scaling it can have no other");
	check(ioctl(v.vcpu, KVM_SET_TSC_KHZ, 7) && errno == EINVAL, "7 kHz are refused");
	end(&v);
}

static u64 rdtsc(void)
{
	return __builtin_ia32_rdtsc();
}

/* One clock: read in turn, the two vCPUs' TSCs do not go back. */
static bool in_step(struct vm *a, struct vm *b)
{
	u64 first = get_msr(a, MSR_TSC), second = get_msr(b, MSR_TSC), third = get_msr(a, MSR_TSC);

	return first <= second && second <= third;
}

static void test_tsc(void)
{
	u64 before = rdtsc(), mine;
	struct vm v = start(FULL_CHIP), w = v;

	mine = get_msr(&v, MSR_TSC);
	check(mine <= rdtsc() - before, "a new vCPU's TSC starts at 0 (%llu)",
	      (unsigned long long)mine);
	usleep(1200000);
	w.vcpu = ioctl(v.fd, KVM_CREATE_VCPU, 1);
	check(in_step(&v, &w), "a vCPU that comes later has the clock of the first");
	mine = get_msr(&v, MSR_TSC);
	check(set_msr(&w, MSR_TSC, 0) == 1 && in_step(&v, &w) && get_msr(&w, MSR_TSC) > mine,
	      "0 is this clock, too, whenever it is written");
	check(set_msr(&v, MSR_TSC, 1ull << 50) == 1 && set_msr(&w, MSR_TSC, 1ull << 50) == 1 &&
		  get_msr(&v, MSR_TSC) >> 50 && in_step(&v, &w),
	      "another value sets it, and within a second it is the same moment");
	close(w.vcpu);
	end(&v);
}

/* ---- a guest is told that it stood still ---- */

#define MSR_SYSTEM_TIME 0x4b564d01
#define CLOCK_AT	0x3000
#define CLOCK_FLAGS	(CLOCK_AT + 29)
#define CLOCK_STOPPED	2

GUEST(flags, "1: mov 0x301d, %al; out %al, $0x78; jmp 1b");

static void test_clock_ctrl(void)
{
	struct vm v = start(FULL_CHIP);
	u64 bits[RAM_BYTES / 4096 / 64];
	struct kvm_dirty_log log = {.dirty_bitmap = bits};
	struct kvm_clock_data c = {.clock = 1000};

	LOAD(v, flags);
	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_KVMCLOCK_CTRL) == 1 &&
		  ioctl(v.vcpu, KVM_KVMCLOCK_CTRL) && errno == EINVAL,
	      "a guest without kvmclock cannot be told that it stood still");
	set_msr(&v, MSR_SYSTEM_TIME, CLOCK_AT | 1);
	run(&v);
	check(*(u64 *)(ram + CLOCK_AT + 24) && !(*io_data(&v) & CLOCK_STOPPED), "kvmclock runs");
	check(!ioctl(v.vcpu, KVM_KVMCLOCK_CTRL) && run(&v) == KVM_EXIT_IO &&
		  *io_data(&v) & CLOCK_STOPPED,
	      "a guest with kvmclock can, and sees it");
	ram[CLOCK_FLAGS] &= ~CLOCK_STOPPED;
	check(run(&v) == KVM_EXIT_IO && !(*io_data(&v) & CLOCK_STOPPED) && run(&v) == KVM_EXIT_IO &&
		  !(*io_data(&v) & CLOCK_STOPPED),
	      "once");
	check(!ioctl(v.fd, KVM_SET_CLOCK, &c) && !ioctl(v.vcpu, KVM_KVMCLOCK_CTRL) &&
		  run(&v) == KVM_EXIT_IO && run(&v) == KVM_EXIT_IO && *io_data(&v) & CLOCK_STOPPED,
	      "also when the clock is set in the same breath");
	set_slot(v.fd, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, RAM_BYTES, ram);
	ioctl(v.fd, KVM_GET_DIRTY_LOG, &log);
	ioctl(v.fd, KVM_GET_DIRTY_LOG, &log);
	check(!(bits[0] & 1 << 3) && !ioctl(v.vcpu, KVM_KVMCLOCK_CTRL) &&
		  !ioctl(v.fd, KVM_GET_DIRTY_LOG, &log) && bits[0] & 1 << 3,
	      "that is in the dirty log");
	check(run(&v) == KVM_EXIT_IO && !ioctl(v.fd, KVM_SET_CLOCK, &c) && run(&v) == KVM_EXIT_IO &&
		  *io_data(&v) & CLOCK_STOPPED,
	      "and stays until the guest takes it away, whatever is written there");
	end(&v);
}

/* ---- what a guest's clock says when it is moved to another machine ---- */

#define SECOND	      1000000000ull
#define CLOCK_OF_HOST (KVM_CLOCK_TSC_STABLE | KVM_CLOCK_REALTIME | KVM_CLOCK_HOST_TSC)

static u64 wall_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

/* The clock, which was set to 5 s, as it was at wall time set_at; what it says now. */
static u64 clock_set(const struct vm *v, unsigned int flags, u64 set_at)
{
	struct kvm_clock_data c = {.clock = 5 * SECOND, .flags = flags, .realtime = set_at};

	if (ioctl(v->fd, KVM_SET_CLOCK, &c) || ioctl(v->fd, KVM_GET_CLOCK, &c))
		return 0;
	return c.clock;
}

static void test_clock_moved(void)
{
	struct vm v = start(FULL_CHIP);
	struct kvm_clock_data c = {.clock = 1, .flags = 1u << 31};
	u64 wall = wall_ns(), tsc = rdtsc(), hour = 3600 * SECOND, now;

	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ADJUST_CLOCK) == CLOCK_OF_HOST,
	      "KVM_CAP_ADJUST_CLOCK names the flags that there are");
	check(ioctl(v.fd, KVM_SET_CLOCK, &c) && errno == EINVAL, "others are refused");
	check(!ioctl(v.fd, KVM_GET_CLOCK, &c) && c.flags == CLOCK_OF_HOST && c.realtime >= wall &&
		  c.realtime <= wall_ns() && c.host_tsc >= tsc && c.host_tsc <= rdtsc(),
	      "a clock is read with the host's wall clock and TSC of then");
	now = clock_set(&v, KVM_CLOCK_REALTIME, wall_ns() - hour);
	check(now > 5 * SECOND + hour && now < 65 * SECOND + hour,
	      "what has passed since it was read is added when it is set (%llu)", now);
	now = clock_set(&v, KVM_CLOCK_REALTIME, wall_ns() + hour);
	check(now > 5 * SECOND && now < 65 * SECOND,
	      "it does not go back by a wall clock that is behind (%llu)", now);
	now = clock_set(&v, 0, wall_ns() - hour);
	check(now > 5 * SECOND && now < 65 * SECOND, "nor on when nobody asks for it (%llu)", now);
	c.clock = INT64_MAX - SECOND;
	c.flags = KVM_CLOCK_REALTIME;
	c.realtime = 0;
	check(ioctl(v.fd, KVM_SET_CLOCK, &c) && errno == EINVAL,
	      "beyond the end of time it is not set");
	end(&v);
}

static void test_vm_tsc(void)
{
	struct vm v = start(NO_CHIP);
	long own = ioctl(v.vcpu, KVM_GET_TSC_KHZ),
	     scales = ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_VM_TSC_CONTROL);
	int vcpu = -1;

	check(ioctl(v.fd, KVM_GET_TSC_KHZ, 0) == own && !ioctl(v.fd, KVM_SET_TSC_KHZ, own) &&
		  !ioctl(v.fd, KVM_SET_TSC_KHZ, 0) && ioctl(v.fd, KVM_GET_TSC_KHZ, 0) == own,
	      "a VM has the machine's TSC frequency");
	check(ioctl(v.fd, KVM_SET_TSC_KHZ, 1ul << 40) && errno == EINVAL,
	      "absurd ones are refused");
	if (scales) {
		check(!ioctl(v.fd, KVM_SET_TSC_KHZ, own / 2) &&
			  (vcpu = ioctl(v.fd, KVM_CREATE_VCPU, 1)) >= 0 &&
			  ioctl(vcpu, KVM_GET_TSC_KHZ, 0) == own / 2 &&
			  ioctl(v.vcpu, KVM_GET_TSC_KHZ, 0) == own,
		      "a VM's frequency is that of vCPUs to come");
		close(vcpu);
	} else {
		check(ioctl(v.fd, KVM_SET_TSC_KHZ, own / 2) && errno == EINVAL &&
			  ioctl(v.fd, KVM_GET_TSC_KHZ, 0) == own,
		      "without TSC scaling a VM can have no other");
	}
	end(&v);
}

void clock_tests(void)
{
	test_tsc_khz();
	test_tsc();
	test_clock_ctrl();
	test_clock_moved();
	test_vm_tsc();
}
