/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * MSRs that the VMM wants to see: KVM_CAP_X86_USER_SPACE_MSR and KVM_X86_SET_MSR_FILTER, as QEMU
 * since 7.2 uses them (target/i386/kvm/kvm.c, kvm_filter_msr()), and as Linux'
 * Documentation/virt/kvm/api.rst has them.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "hv/abi.h"

#define TSC	      0x10
#define APIC_BASE     0x1b
#define PLATFORM_INFO 0xce
#define MISC_FEATURES 0x140
#define CORES	      0x35 /* MSR_CORE_THREAD_COUNT, which QEMU filters */
#define PAT	      0x277
#define X2APIC_ID     0x802
#define LSTAR	      0xc0000082
#define KERNEL_GS     0xc0000102
#define NONE	      0x474f4f00
#define ALL	      7 /* KVM_MSR_EXIT_REASON_x */
#define DENY_WRITE    KVM_MSR_FILTER_WRITE
#define DENY_READ     KVM_MSR_FILTER_READ
#define RUN_MS	      10000
#define CPUIDS	      100

static int exits(struct vm *vm, u64 reasons)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_X86_USER_SPACE_MSR, .args = {reasons}};

	return vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
}

static u8 ones[0x40], none[8], some[8] = {0x05}; /* the first and the third are allowed */

/* One range of eight MSRs. */
static int filter(struct vm *vm, u32 flags, u32 how, u32 base, u8 *bits)
{
	struct kvm_msr_filter f = {
	    .flags = flags, .ranges = {{.flags = how, .nmsrs = 8, .base = base, .bitmap = bits}}};

	return vm_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f);
}

static int no_filter(struct vm *vm)
{
	struct kvm_msr_filter f = {0};

	return vm_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f);
}

/* The guest goes on to its end: what it says, the last one the number of its faults. */
static bool says(struct vm *vm, u32 count, u64 val, u32 faults)
{
	enum end end = vm_run(vm, 0, RUN_MS);
	u64 got = vm->values[0] | (u64)vm->values[1] << 32;

	if (end == END_DONE && vm->value_count == count && vm->values[count - 1] == faults &&
	    (count == 1 || faults || got == val))
		return true;
	note("%s, exit %u, %u values: %x %x %x", end_names[end], vm->run[0]->exit_reason,
	     vm->value_count, vm->values[0], vm->values[1], vm->values[2]);
	return false;
}

static void start(struct vm *vm, const void *entry, u32 msr, u64 val)
{
	vm->value_count = 0;
	cpu_setup(vm, 0, MODE_LONG, entry, msr, val);
}

static bool reads(struct vm *vm, u32 msr, u64 val, u32 faults)
{
	start(vm, pl_rdmsr, msr, 0);
	return says(vm, 3, val, faults);
}

static bool writes(struct vm *vm, u32 msr, u64 val, u32 faults)
{
	start(vm, pl_wrmsr, msr, val);
	return says(vm, 1, 0, faults);
}

/* It stops for the VMM. */
static bool asks(struct vm *vm, u32 exit, u32 reason, u32 msr, u64 data)
{
	struct kvm_run *run = vm->run[0];
	enum end end = vm_run(vm, 0, RUN_MS);

	if (end == END_OTHER && run->exit_reason == exit && run->msr.reason == reason &&
	    run->msr.index == msr && run->msr.data == data && !run->msr.error)
		return true;
	note("%s, exit %u: reason %x, MSR %x, data %llx", end_names[end], run->exit_reason,
	     run->msr.reason, run->msr.index, run->msr.data);
	return false;
}

static bool asks_read(struct vm *vm, u32 reason, u32 msr)
{
	start(vm, pl_rdmsr, msr, 0);
	return asks(vm, KVM_EXIT_X86_RDMSR, reason, msr, 0);
}

static bool asks_write(struct vm *vm, u32 reason, u32 msr, u64 val)
{
	start(vm, pl_wrmsr, msr, val);
	return asks(vm, KVM_EXIT_X86_WRMSR, reason, msr, val);
}

static void check_refusals(struct vm *vm)
{
	struct kvm_msr_filter f = {.flags = KVM_MSR_FILTER_DEFAULT_DENY};

	ok(vm_ioctl(vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_USER_SPACE_MSR) == 1 &&
	       vm_ioctl(vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_MSR_FILTER) == 1,
	   "MSRs: both capabilities are there");
	ok(exits(vm, 8) == -EINVAL && exits(vm, 1ull << 32) == -EINVAL,
	   "MSRs: an unknown reason is EINVAL");
	ok(vm_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f) == -EINVAL &&
	       filter(vm, 2, DENY_READ, 0, none) == -EINVAL &&
	       filter(vm, 0, 0, 0, none) == -EINVAL && filter(vm, 0, 4, 0, none) == -EINVAL,
	   "MSRs: so are a filter that denies all, and unknown flags or none");
	f = (struct kvm_msr_filter){
	    .ranges = {{.flags = DENY_READ, .nmsrs = 0x3001, .bitmap = none}}};
	ok(vm_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f) == -EINVAL, "MSRs: and a range too long");
	f.ranges[0].nmsrs = ~0u;
	ok(vm_ioctl(vm, KVM_X86_SET_MSR_FILTER, &f) == -EINVAL, "MSRs: even by far");
	ok(filter(vm, 0, DENY_READ, 0, (u8 *)1) == -EFAULT &&
	       vm_ioctl(vm, KVM_X86_SET_MSR_FILTER, NULL) == -EFAULT,
	   "MSRs: a bitmap that is not there is EFAULT");
	ok(reads(vm, NONE, 0, 1) && writes(vm, PAT, 0x0202020202020202, 1),
	   "MSRs: what nobody wants to see is #GP");
}

static void check_user_space(struct vm *vm)
{
	struct kvm_run *run = vm->run[0];
	struct kvm_regs r;

	exits(vm, ALL);
	ok(asks_read(vm, KVM_MSR_EXIT_REASON_UNKNOWN, NONE), "MSRs: one that is not there is read");
	cpu_get_regs(vm, 0, &r);
	ok(r.rip == payload_addr(msr_read_at) && (u32)r.rax == 0x11,
	   "MSRs: the guest is at the instruction still");
	run->msr.data = 0x123456789abcdef0;
	ok(says(vm, 3, 0x123456789abcdef0, 0), "MSRs: and gets what the VMM says");
	asks_read(vm, KVM_MSR_EXIT_REASON_UNKNOWN, NONE);
	run->msr.error = 1;
	ok(says(vm, 3, 0, 1), "MSRs: or #GP");
	ok(asks_write(vm, KVM_MSR_EXIT_REASON_UNKNOWN, NONE, 0x1122334455667788) &&
	       says(vm, 1, 0, 0),
	   "MSRs: it is written");
	asks_write(vm, KVM_MSR_EXIT_REASON_UNKNOWN, NONE, 5);
	run->msr.error = 1;
	ok(says(vm, 1, 0, 1), "MSRs: or #GP");
	ok(asks_write(vm, KVM_MSR_EXIT_REASON_INVAL, PAT, 0x0202020202020202) && says(vm, 1, 0, 0),
	   "MSRs: a value that is none is another reason");
	asks_read(vm, KVM_MSR_EXIT_REASON_UNKNOWN, NONE);
	run->immediate_exit = 1;
	run->msr.data = 7;
	ok(cpu_ioctl(vm, 0, KVM_RUN, NULL) == -EINTR, "MSRs: immediate_exit");
	run->immediate_exit = 0;
	run->msr.data = 8;
	cpu_get_regs(vm, 0, &r);
	ok((u32)r.rax == 7 && says(vm, 3, 7, 0), "MSRs: finds the access completed");
	exits(vm, KVM_MSR_EXIT_REASON_FILTER | KVM_MSR_EXIT_REASON_INVAL);
	ok(reads(vm, NONE, 0, 1), "MSRs: a reason that is not asked for is none");
}

/* LSTAR and KERNEL_GS are the hardware's when nobody filters them. */
static void check_filter(struct vm *vm)
{
	u64 lstar = 0xffffffff81000000;

	exits(vm, ALL);
	ok(writes(vm, LSTAR, lstar, 0) && reads(vm, LSTAR, lstar, 0), "MSRs: LSTAR is the guest's");
	ok(!filter(vm, 0, DENY_WRITE, LSTAR, none) &&
	       asks_write(vm, KVM_MSR_EXIT_REASON_FILTER, LSTAR, 5) && says(vm, 1, 0, 0) &&
	       reads(vm, LSTAR, lstar, 0) && get_msr(vm, LSTAR) == lstar,
	   "MSRs: a filter keeps writes from it, and lets it be read");
	ok(!filter(vm, 0, DENY_READ, LSTAR, none) &&
	       asks_read(vm, KVM_MSR_EXIT_REASON_FILTER, LSTAR),
	   "MSRs: or the other way round");
	vm->run[0]->msr.data = 77;
	ok(says(vm, 3, 77, 0) && writes(vm, LSTAR, lstar + 1, 0) && get_msr(vm, LSTAR) == lstar + 1,
	   "MSRs: the VMM says what is read, and writes are the guest's");
	ok(set_msr(vm, 0, LSTAR, lstar) == 1 && get_msr(vm, LSTAR) == lstar,
	   "MSRs: to the VMM no filter applies");
	exits(vm, KVM_MSR_EXIT_REASON_UNKNOWN);
	ok(reads(vm, LSTAR, 0, 1), "MSRs: what is filtered, but not wanted, is #GP");
	ok(!filter(vm, 0, DENY_READ, LSTAR - 2, some) && reads(vm, LSTAR, lstar, 0) &&
	       reads(vm, LSTAR - 1, 0, 1) && reads(vm, 0xc0000100, 0, 0),
	   "MSRs: a bit for each");
	ok(!no_filter(vm) && reads(vm, LSTAR, lstar, 0) && writes(vm, LSTAR, 0, 0) &&
	       !get_msr(vm, LSTAR),
	   "MSRs: without filter it is the hardware's again");
}

static void check_default(struct vm *vm)
{
	struct kvm_msr_filter two = {
	    .flags = KVM_MSR_FILTER_DEFAULT_DENY,
	    .ranges = {{.flags = DENY_READ, .nmsrs = 8, .base = PAT, .bitmap = some},
		       {0},
		       {.flags = DENY_READ | DENY_WRITE, .nmsrs = 8, .base = PAT, .bitmap = none},
		       {.flags = DENY_READ, .nmsrs = 0x200, .base = -0x100u, .bitmap = ones}}};
	struct kvm_lapic_state lapic;
	u64 pat = get_msr(vm, PAT);

	memset(ones, 0xff, sizeof(ones));
	exits(vm, 0);
	ok(!vm_ioctl(vm, KVM_X86_SET_MSR_FILTER, &two) && reads(vm, PAT, pat, 0) &&
	       writes(vm, PAT, pat, 1),
	   "MSRs: the first range for the kind of access decides");
	ok(reads(vm, TSC, 0, 1) && reads(vm, KERNEL_GS, 0, 1) && writes(vm, KERNEL_GS, 0, 1),
	   "MSRs: what is in none is denied if so wanted, and no range goes round");
	ok(set_msr(vm, 0, APIC_BASE, 0xfee00d00) == 1 && !cpu_ioctl(vm, 0, KVM_GET_LAPIC, &lapic) &&
	       reads(vm, X2APIC_ID, 0, 0),
	   "MSRs: but those of the x2APIC never");
	no_filter(vm);
	ok(reads(vm, KERNEL_GS, 0, 0), "MSRs: until it is taken back");
}

static void *run_loop(void *arg)
{
	struct vm *vm = arg;

	return (void *)(long)asks(vm, KVM_EXIT_X86_RDMSR, KVM_MSR_EXIT_REASON_FILTER, LSTAR, 0);
}

/* What the hypervisor's memory has for others. */
static u64 pool_left(void)
{
	struct corbel_info info = hv_info();

	return info.pool_free_bytes - info.pool_promised_bytes;
}

static void check_account(void)
{
	struct kvm_msr_filter f = {0};
	u64 before, after, again;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	for (u32 i = 0; i < KVM_MSR_FILTER_MAX_RANGES; i++)
		f.ranges[i] = (struct kvm_msr_filter_range){
		    .flags = DENY_READ, .nmsrs = 8, .base = 16 * i, .bitmap = some};
	before = pool_left();
	ok(!vm_ioctl(&vm, KVM_X86_SET_MSR_FILTER, &f), "MSRs: a filter of 16 ranges");
	after = pool_left();
	ok(!vm_ioctl(&vm, KVM_X86_SET_MSR_FILTER, &f), "MSRs: and the same again");
	again = pool_left();
	ok(before - after == 16 * 4096 && again == after,
	   "MSRs: their pages are not what the VM has for its page tables (%lu, then %lu)",
	   before - after, after - again);
	vm_free(&vm);
}

/* It begins while the guest reads what the hardware has. */
static void check_running(struct vm *vm)
{
	pthread_t thread;
	void *asked;
	u64 until;
	bool fine = true;

	exits(vm, KVM_MSR_EXIT_REASON_FILTER);
	start(vm, pl_rdmsr_loop, LSTAR, 0);
	pthread_create(&thread, NULL, run_loop, vm);
	for (until = now_ms() + 300; now_ms() < until;)
		fine &= !filter(vm, 0, DENY_WRITE, LSTAR, none) &&
			!filter(vm, 0, DENY_READ, PAT, some) && !no_filter(vm);
	ok(fine, "MSRs: filters come and go while the guest runs");
	fine = !filter(vm, 0, DENY_READ, LSTAR, none);
	pthread_join(thread, &asked);
	ok(fine && asked, "MSRs: which sees the one that is against it");
}

/* QEMU sets its filter before there is a vCPU. */
static void check_qemu(void)
{
	u8 nobody[1] = {0};
	struct kvm_msr_filter f = {
	    .ranges = {{.flags = DENY_READ, .nmsrs = 1, .base = CORES, .bitmap = nobody}}};
	struct vm vm;

	vm_init(&vm, 0, VM_IRQCHIP);
	ok(!exits(&vm, KVM_MSR_EXIT_REASON_FILTER) && !vm_ioctl(&vm, KVM_X86_SET_MSR_FILTER, &f),
	   "MSRs: QEMU's filter is taken");
	vm_add_cpu(&vm);
	ok(asks_read(&vm, KVM_MSR_EXIT_REASON_FILTER, CORES), "MSRs: and holds for vCPUs to come");
	vm.run[0]->msr.data = 0x20004;
	ok(says(&vm, 3, 0x20004, 0), "MSRs: which see its cores");
	vm_free(&vm);
}

/*
 * CPUID in user mode, which faults if the guest has asked for that (arch_prctl(ARCH_CPUID) in
 * Linux): without an IDT that is the end.
 */
static enum end user_cpuid(struct vm *vm, u64 features)
{
	static const u8 code[] = {0x31, 0xc0, 0x0f, 0xa2, 0xe6, 0xe1};
	struct kvm_sregs s;

	cpu_setup(vm, 0, MODE_LONG, pl_rdmsr, 0, 0);
	memcpy(vm->ram + DATA, code, sizeof(code));
	set_msr(vm, 0, MISC_FEATURES, features);
	cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
	sregs_set_user(&s);
	s.idt.limit = 0;
	cpu_ioctl(vm, 0, KVM_SET_SREGS, &s);
	cpu_set_regs(vm, 0, &(struct kvm_regs){.rip = DATA, .rflags = 0x3002}); /* IOPL 3 */
	return vm_run(vm, 0, RUN_MS);
}

static void check_platform(void)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_MSR_PLATFORM_INFO};
	struct vm vm;

	vm_init(&vm, 1, 0);
	ok(get_msr(&vm, PLATFORM_INFO) == 1ull << 31,
	   "MSRs: PLATFORM_INFO says that CPUID can fault");
	ok(user_cpuid(&vm, 0) == END_DONE, "MSRs: programs may execute CPUID");
	ok(user_cpuid(&vm, 1) == END_SHUTDOWN, "MSRs: and may not where MISC_FEATURES says so");
	start(&vm, pl_rdmsr, PLATFORM_INFO, 0);
	ok(says(&vm, 3, 1ull << 31, 0), "MSRs: a guest reads PLATFORM_INFO");
	start(&vm, pl_wrmsr, PLATFORM_INFO, 1ull << 31);
	ok(says(&vm, 1, 0, 1), "MSRs: and cannot write it");
	ok(set_msr(&vm, 0, PLATFORM_INFO, 0) != 1 && set_msr(&vm, 0, MISC_FEATURES, 2) != 1,
	   "MSRs: what is in use cannot be taken from it, nor is there more");
	ok(set_msr(&vm, 0, MISC_FEATURES, 0) == 1 && set_msr(&vm, 0, PLATFORM_INFO, 0xff00) == 1 &&
	       get_msr(&vm, PLATFORM_INFO) == 0xff00 && set_msr(&vm, 0, MISC_FEATURES, 1) != 1,
	   "MSRs: without it CPUID cannot be made to fault");
	ok(!vm_ioctl(&vm, KVM_ENABLE_CAP, &cap) && get_msr(&vm, PLATFORM_INFO) == 0xff00,
	   "MSRs: it is hidden from the guest, not from the VMM");
	start(&vm, pl_rdmsr, PLATFORM_INFO, 0);
	ok(says(&vm, 3, 0x2200000011, 1), "MSRs: which meets a fault");
	vm_free(&vm);
}

static int set_pmu_filter(struct vm *vm, u32 action, u32 count, u32 flags)
{
	struct {
		struct kvm_pmu_event_filter head;
		u64 events[301];
	} f = {{.action = action, .nevents = count, .flags = flags}, {0x3c, 0xc0}};

	return vm_ioctl(vm, KVM_SET_PMU_EVENT_FILTER, &f);
}

/* No emulator has performance counters, and by itself no guest: whatever its VMM shows it. */
static void check_counters(void)
{
	static const u32 of_counters[] = {0xc1,	 0x186, 0x309,	    0x345,	0x38d,	   0x38e,
					  0x38f, 0x4c1, 0xc0000301, 0xc0010200, 0xc0010201};
	struct kvm_enable_cap cap = {.cap = KVM_CAP_PMU_CAPABILITY, .args = {KVM_PMU_CAP_DISABLE}};
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[CPUIDS];
	} c = {.head.nent = CPUIDS - 1};
	bool none = true;
	struct vm vm;
	u32 n;

	vm_init(&vm, 1, 0);
	ok(!vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_PMU_CAPABILITY) &&
	       vm_ioctl(&vm, KVM_ENABLE_CAP, &cap) == -EINVAL,
	   "MSRs: no counters are offered, and none can be taken away");
	ok(vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_PMU_EVENT_FILTER) == 1 &&
	       !set_pmu_filter(&vm, KVM_PMU_EVENT_ALLOW, 2, 0) &&
	       !set_pmu_filter(&vm, KVM_PMU_EVENT_DENY, 300, 0),
	   "MSRs: what may be counted can be said nevertheless, as in KVM");
	ok(set_pmu_filter(&vm, 2, 0, 0) == -EINVAL && set_pmu_filter(&vm, 0, 0, 1) == -EINVAL &&
	       set_pmu_filter(&vm, 0, 301, 0) == -E2BIG &&
	       set_pmu_filter(&vm, 0, ~0u, 0) == -E2BIG &&
	       vm_ioctl(&vm, KVM_SET_PMU_EVENT_FILTER, (void *)8) == -EFAULT,
	   "MSRs: another action, flags, too many events, and no memory are refused");
	ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &c);
	n = c.head.nent;
	for (u32 i = 0; i < n; i++) {
		if (c.e[i].function == 0xa || c.e[i].function == 0x80000022)
			none &= !c.e[i].eax;
		if (c.e[i].function == 1) {
			none &= !(c.e[i].ecx & 1 << 15);
			c.e[i].ecx |= 1 << 15;
		}
		if (c.e[i].function == 0x80000001) {
			none &= !(c.e[i].ecx & 1 << 23);
			c.e[i].ecx |= 1 << 23;
		}
	}
	c.e[n++] = (struct kvm_cpuid_entry2){.function = 0xa, .eax = 0x07300802, .edx = 0x603};
	c.head.nent = n;
	ok(none && !cpu_ioctl(&vm, 0, KVM_SET_CPUID2, &c), "MSRs: a guest is shown some by force");
	for (u32 i = 0; i < sizeof(of_counters) / sizeof(*of_counters); i++) {
		/* PERF_CAPABILITIES tells a VMM that there are none. */
		u64 told = of_counters[i] == 0x345 ? 0 : ~0ull;

		none &= reads(&vm, of_counters[i], 0, 1) && writes(&vm, of_counters[i], 0, 1) &&
			get_msr(&vm, of_counters[i]) == told;
	}
	ok(none, "MSRs: and has none of their registers");
	vm_free(&vm);
}

int main(void)
{
	struct vm vm;

	open_kvm();
	vm_init(&vm, 1, VM_IRQCHIP);
	check_refusals(&vm);
	check_user_space(&vm);
	check_filter(&vm);
	check_running(&vm);
	no_filter(&vm);
	check_default(&vm);
	vm_free(&vm);
	check_account();
	check_qemu();
	check_platform();
	check_counters();
	return failures != 0;
}
