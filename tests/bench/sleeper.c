/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How late a thread of the host that sleeps for a millisecond wakes up while guests, each in a VM
 * of its own, never stop computing on the only CPU.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include "tests/bench/row.h"

#define HOGS	 8
#define PAGE	 4096
#define SLEEP_NS 1000000
#define WARM_UP	 100
#define SAMPLES	 1000

static uint64_t sample[WARM_UP + SAMPLES];

/* A guest in real mode: a page of NOPs, round and round. */
static void burn(void)
{
	static const uint8_t jump_to_0[] = {0xe9, 0x00, 0xf0};
	uint8_t *ram = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region r = {.memory_size = PAGE,
						.userspace_addr = (uintptr_t)ram};
	struct kvm_regs regs = {.rflags = 2};
	struct kvm_sregs s;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu;

	if (kvm < 0 || ram == MAP_FAILED)
		err(1, "/dev/kvm");
	memset(ram, 0x90, PAGE);
	memcpy(ram + PAGE - sizeof(jump_to_0), jump_to_0, sizeof(jump_to_0));
	vm = CTL(kvm, KVM_CREATE_VM, 0);
	CTL(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	CTL(vm, KVM_SET_USER_MEMORY_REGION, &r);
	vcpu = CTL(vm, KVM_CREATE_VCPU, 0);
	CTL(vcpu, KVM_GET_SREGS, &s);
	s.cs.base = s.cs.selector = 0;
	CTL(vcpu, KVM_SET_SREGS, &s);
	CTL(vcpu, KVM_SET_REGS, &regs);
	CTL(vcpu, KVM_RUN, 0);
	errx(1, "the guest has ended");
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

int main(void)
{
	struct timespec t;
	uint64_t due, *late;

	for (int i = 0; i < HOGS; i++) {
		pid_t pid = fork();

		if (pid < 0)
			err(1, "fork");
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			burn();
		}
	}
	prctl(PR_SET_TIMERSLACK, 1);
	for (int i = 0; i < WARM_UP + SAMPLES; i++) {
		due = now() + SLEEP_NS;
		t.tv_sec = due / 1000000000;
		t.tv_nsec = due % 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
		sample[i] = now() - due;
	}
	late = sample + WARM_UP;
	row("sleeper-hogs", late, SAMPLES);
	row("sleeper-hogs-p99", late + SAMPLES * 99 / 100, 1);
	return 0;
}
