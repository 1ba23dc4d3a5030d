/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * As many vCPUs as a VM can have, and ids that no xAPIC has: all are started and meet an NMI, each
 * by one IPI to all; one that is far away is told by its id. And as many irqfds.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAGE	  0x9 /* of pl_crowd_other */
#define COUNT(vm) (*(volatile u32 *)((vm)->ram + PAGE * 0x1000 + 0x800))
#define RUN_MS	  60000
#define FAR_ID	  4000u
#define IRQFDS	  16384u

struct job {
	struct vm *vm;
	u32 cpu;
};

static void on_signal(int number)
{
	(void)number;
}

/* Its vCPU waits in the hypervisor until it is told to stop. */
static void *run_other(void *arg)
{
	struct job *j = arg;

	while (!ioctl(j->vm->cpu_fd[j->cpu], KVM_RUN, 0))
		;
	return NULL;
}

static void start_others(struct vm *vm, struct job *j, pthread_t *t)
{
	pthread_attr_t a;

	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, 64 << 10);
	for (u32 i = 1; i < vm->vcpus; i++) {
		j[i] = (struct job){vm, i};
		if (pthread_create(&t[i], &a, run_other, &j[i]))
			fatal("thread %u of %u", i, vm->vcpus);
	}
}

static void stop_others(struct vm *vm, pthread_t *t)
{
	for (u32 i = 1; i < vm->vcpus; i++) {
		vm->run[i]->immediate_exit = 1;
		pthread_kill(t[i], SIGUSR1);
	}
	for (u32 i = 1; i < vm->vcpus; i++)
		pthread_join(t[i], NULL);
}

static void prepare(struct vm *vm)
{
	memset(vm->ram + PAGE * 0x1000, 0, 0x1000);
	memcpy(vm->ram + PAGE * 0x1000, pl_crowd_other, 0x100);
	cpu_setup(vm, 0, MODE_LONG, pl_crowd, vm->vcpus - 1, PAGE);
}

static void test_most(void)
{
	static struct job j[MAX_VCPU];
	static pthread_t t[MAX_VCPU];
	static struct vm vm;
	u32 most = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
	enum end end;

	ok(most == MAX_VCPU, "crowd: a VM can have %u vCPUs (%u)", MAX_VCPU, most);
	vm_init(&vm, MAX_VCPU, VM_IRQCHIP);
	ok(vm_ioctl(&vm, KVM_CREATE_VCPU, (void *)3000ul) < 0, "crowd: and no more");
	prepare(&vm);
	start_others(&vm, j, t);
	end = vm_run(&vm, 0, RUN_MS);
	ok(end == END_DONE && vm.values[0] == MAX_VCPU - 1 && vm.values[1] == MAX_VCPU - 1,
	   "crowd: one IPI starts them, another is an NMI to each (%s, %u, %u)", end_names[end],
	   vm.values[0], vm.values[1]);
	stop_others(&vm, t);
	vm_free(&vm);
}

static void test_far(void)
{
	struct vm vm;
	struct job j[2];
	pthread_t t[2];
	struct kvm_msi msi = {.address_lo = 0xfee00000 | (FAR_ID & 0xff) << 12,
			      .address_hi = FAR_ID & ~0xffu,
			      .data = 0x500};
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X2APIC_API,
				     .args = {KVM_X2APIC_API_USE_32BIT_IDS}};
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	u64 until;

	vm_init(&vm, 1, VM_IRQCHIP);
	ok(!vm_ioctl(&vm, KVM_ENABLE_CAP, &cap), "crowd: ids of 32 bits are asked for");
	ok(vm_ioctl(&vm, KVM_CREATE_VCPU,
		    (void *)(u64)ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID)) < 0,
	   "crowd: no id is above what is told");
	vm.cpu_fd[1] = vm_ioctl(&vm, KVM_CREATE_VCPU, (void *)(u64)FAR_ID);
	ok(vm.cpu_fd[1] >= 0, "crowd: a vCPU with id %u", FAR_ID);
	if (vm.cpu_fd[1] < 0)
		return;
	vm.run[1] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm.cpu_fd[1], 0);
	vm.vcpus = 2;
	prepare(&vm);
	start_others(&vm, j, t);
	vm_ioctl(&vm, KVM_SIGNAL_MSI, &msi); /* INIT */
	msi.data = 0x600 | PAGE;
	ok(vm_ioctl(&vm, KVM_SIGNAL_MSI, &msi) == 1, "crowd: it is told by its id");
	for (until = now_ms() + RUN_MS; !COUNT(&vm) && now_ms() < until;)
		;
	ok(COUNT(&vm) == 1, "crowd: and starts");
	msi.address_hi = 0x100;
	ok(vm_ioctl(&vm, KVM_SIGNAL_MSI, &msi) <= 0, "crowd: another id is nobody's");
	stop_others(&vm, t);
	vm_free(&vm);
}

/* Each time it is looked anew for who waits for which pin's end, with interrupts off. */
static u64 ms_of_settings(struct vm *vm)
{
	struct kvm_irqchip io = {.chip_id = KVM_IRQCHIP_IOAPIC};
	u64 start;

	if (vm_ioctl(vm, KVM_GET_IRQCHIP, &io))
		fatal("KVM_GET_IRQCHIP");
	start = now_ms();
	for (u32 i = 0; i < 2000; i++)
		if (vm_ioctl(vm, KVM_SET_IRQCHIP, &io))
			fatal("KVM_SET_IRQCHIP");
	return now_ms() - start;
}

static void test_irqfds(void)
{
	static int fd[IRQFDS + 1];
	int back = eventfd(0, EFD_NONBLOCK);
	u64 before, after;
	struct vm vm;
	u32 i;

	vm_init(&vm, 1, VM_IRQCHIP);
	before = ms_of_settings(&vm);
	for (i = 0; i <= IRQFDS; i++) {
		struct kvm_irqfd f = {.fd = fd[i] = eventfd(0, EFD_NONBLOCK),
				      .gsi = 100 + i % 3000,
				      .flags = KVM_IRQFD_FLAG_RESAMPLE,
				      .resamplefd = back};

		if (vm_ioctl(&vm, KVM_IRQFD, &f))
			break;
	}
	ok(i == IRQFDS && errno == ENOSPC, "crowd: a VM can have %u irqfds (%u)", IRQFDS, i);
	after = ms_of_settings(&vm);
	ok(after < 2 * before + 20,
	   "crowd: they hold nobody up who has to do with others (%llu ms, %llu)",
	   (long long)before, (long long)after);
	vm_free(&vm);
	for (i = 0; i <= IRQFDS; i++)
		close(fd[i]);
	close(back);
}

int main(void)
{
	struct sigaction a = {.sa_handler = on_signal};
	struct rlimit files = {IRQFDS + 4096, IRQFDS + 4096};

	if (setrlimit(RLIMIT_NOFILE, &files))
		fatal("setrlimit: errno %d", errno);
	open_kvm();
	sigaction(SIGUSR1, &a, NULL);
	test_most();
	test_far();
	test_irqfds();
	return failures != 0;
}
