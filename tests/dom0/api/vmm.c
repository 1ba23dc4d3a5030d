/* SPDX-License-Identifier: GPL-2.0-only */
/* The small VMM: a guest of one vCPU and some memory; and the order of the tests. */
#include "api.h"

int kvm;
u8 *ram;
static int failures;

bool check(bool cond, const char *fmt, ...)
{
	va_list ap;

	failures += !cond;
	printf("%sok - ", cond ? "" : "not ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	return cond;
}

void set_handler(u8 vector, const u8 *code, size_t len)
{
	u16 entry[2] = {HANDLER, 0};

	memcpy(ram + vector * 4, entry, sizeof(entry));
	memcpy(ram + HANDLER, code, len);
}

void set_slot(int vm, uint32_t slot, uint32_t flags, u64 gpa, u64 bytes, const u8 *at)
{
	struct kvm_userspace_memory_region r = {slot, flags, gpa, bytes, (uintptr_t)at};

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r))
		check(false, "slot %u can be set: %s", slot, strerror(errno));
}

void set_registers(struct vm *v)
{
	struct kvm_regs regs = {.rip = CODE, .rflags = 2, .rsp = STACK};
	struct kvm_sregs sregs;
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[CPUIDS];
	} cpuid = {.head.nent = CPUIDS};

	ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &cpuid);
	ioctl(v->vcpu, KVM_SET_CPUID2, &cpuid);
	ioctl(v->vcpu, KVM_GET_SREGS, &sregs);
	sregs.cs.selector = sregs.cs.base = 0;
	ioctl(v->vcpu, KVM_SET_SREGS, &sregs);
	ioctl(v->vcpu, KVM_SET_REGS, &regs);
}

struct vm start(enum chip chip)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	struct vm v = {.fd = ioctl(kvm, KVM_CREATE_VM, 0)};

	memset(ram, 0, STACK);
	memset(ram + CODE, 0xf4, 256); /* HLT */
	if (chip == FULL_CHIP)
		ioctl(v.fd, KVM_CREATE_IRQCHIP, 0);
	else if (chip == SPLIT_CHIP)
		ioctl(v.fd, KVM_ENABLE_CAP, &split);
	set_slot(v.fd, 0, 0, 0, RAM_BYTES, ram);
	v.vcpu = ioctl(v.fd, KVM_CREATE_VCPU, 0);
	v.run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE,
		     MAP_SHARED, v.vcpu, 0);
	if (v.fd < 0 || v.vcpu < 0 || v.run == MAP_FAILED) {
		check(false, "a VM can be made: %s", strerror(errno));
		exit(1);
	}
	set_registers(&v);
	return v;
}

/* With a hole at 0xa0000 for devices. */
struct vm start_with_hole(void)
{
	struct vm v = start(NO_CHIP);

	set_slot(v.fd, 0, 0, 0, 0, NULL);
	set_slot(v.fd, 0, 0, 0, 0xa0000, ram);
	return v;
}

void end(struct vm *v)
{
	munmap(v->run, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(v->vcpu);
	close(v->fd);
}

/* The exit reason, or -errno. */
int run(struct vm *v)
{
	return ioctl(v->vcpu, KVM_RUN, 0) ? -errno : (int)v->run->exit_reason;
}

bool at_port(struct vm *v, u16 port)
{
	return v->run->exit_reason == KVM_EXIT_IO && v->run->io.port == port;
}

u8 *io_data(struct vm *v)
{
	return (u8 *)v->run + v->run->io.data_offset;
}

struct kvm_regs regs(struct vm *v)
{
	struct kvm_regs r;

	ioctl(v->vcpu, KVM_GET_REGS, &r);
	return r;
}

int set_msr(struct vm *v, uint32_t index, u64 data)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry = {.index = index, .data = data}};

	return ioctl(v->vcpu, KVM_SET_MSRS, &m);
}

u64 get_msr(struct vm *v, uint32_t index)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry.index = index};

	return ioctl(v->vcpu, KVM_GET_MSRS, &m) == 1 ? m.entry.data : ~0ull;
}

/* 0 or -errno. */
int enable(int fd, uint32_t cap, u64 arg, uint32_t flags)
{
	struct kvm_enable_cap c = {.cap = cap, .flags = flags, .args = {arg}};

	return ioctl(fd, KVM_ENABLE_CAP, &c) ? -errno : 0;
}

u64 count(int eventfd)
{
	u64 n = 0;

	return read(eventfd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/*
 * KVM_RUN with a signal after a while; again and again, because the first may come before the guest
 * runs.
 */
int run_interrupted(struct vm *v, long us)
{
	struct itimerval t = {.it_value = {0, us}, .it_interval = {0, 100000}}, off = {};
	int r;

	setitimer(ITIMER_REAL, &t, NULL);
	r = run(v);
	setitimer(ITIMER_REAL, &off, NULL);
	return r;
}

static void on_alarm(int sig)
{
}

int main(void)
{
	struct sigaction sa = {.sa_handler = on_alarm};

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGALRM, &sa, NULL);
	kvm = open("/dev/kvm", O_RDWR);
	ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (!check(kvm >= 0 && ioctl(kvm, KVM_GET_API_VERSION, 0) == KVM_API_VERSION,
		   "/dev/kvm speaks version 12"))
		return 1;
	run_tests();
	access_tests();
	memory_tests();
	irq_tests();
	clock_tests();
	regs_tests();
	mce_tests();
	cpuid_tests();
	caps_tests();
	return failures != 0;
}
