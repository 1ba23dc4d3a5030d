/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_CAP_X86_DISABLE_EXITS: guests that wait without an exit, by HLT, MWAIT and PAUSE, and what
 * others on their CPU get meanwhile. KVM_CAP_X86_APIC_BUS_CYCLES_NS. Linux'
 * Documentation/virt/kvm/api.rst, "KVM_CAP_X86_DISABLE_EXITS".
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dom0/kmod/devctl.h"
#include "dom0/kmod/later_kvm.h"

#define HLT    KVM_X86_DISABLE_EXITS_HLT
#define MWAIT  KVM_X86_DISABLE_EXITS_MWAIT
#define PAUSE  KVM_X86_DISABLE_EXITS_PAUSE
#define CSTATE KVM_X86_DISABLE_EXITS_CSTATE

#define PERIODIC   0x20040 /* LVT */
#define PERIOD_NS  5000000
#define RUN_MS	   400
#define UNHALT	   (1u << 7) /* of KVM's leaf of features */
#define MONITOR	   (1u << 3) /* of leaf 1 ECX */
#define CORE_C6	   0x3fd     /* MSR */
#define HV_APIC_HZ 0x40000023

enum {
#define X(id, name) EXIT_##id,
	CORBEL_EXIT_NAMES
#undef X
};

static int enable(struct vm *vm, u32 cap, u64 arg)
{
	return vm_ioctl(vm, KVM_ENABLE_CAP, &(struct kvm_enable_cap){.cap = cap, .args = {arg}});
}

static u32 offered(void)
{
	return ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_DISABLE_EXITS);
}

/* A VM whose guests do that without exits */
static void start(struct vm *vm, u32 vcpus, u32 exits)
{
	vm_init(vm, 0, VM_IRQCHIP);
	if (enable(vm, KVM_CAP_X86_DISABLE_EXITS, exits))
		fatal("exits %x", exits);
	while (vcpus--)
		vm_add_cpu(vm);
}

static long query(u32 what, u32 index, void *buf, u32 len)
{
	struct corbel_query q = {.what = what, .index = index, .buf = (u64)buf, .len = len};
	int fd = open("/dev/corbel", O_RDWR);
	long r = ioctl(fd, CORBEL_IOC_QUERY, &q);

	close(fd);
	return r;
}

/* Of the first vCPU of the process' last VM. */
static struct corbel_vcpu_stat stat_of(pid_t pid)
{
	struct corbel_vm_stat vm;
	struct corbel_vcpu_stat v = {0};
	u32 id = 0;

	for (u32 i = 0; !query(CORBEL_STAT_VM, i, &vm, sizeof(vm)); i++)
		if (vm.pid == (u32)pid)
			id = vm.id;
	for (u32 i = 0; id && !query(CORBEL_STAT_VCPU, i, &v, sizeof(v)); i++)
		if (v.vm == id && !v.index)
			return v;
	fatal("no vCPU of process %d", pid);
}

static void test_asking(void)
{
	u32 may = offered();
	struct vm vm;

	ok((may & ~MWAIT) == (HLT | PAUSE | CSTATE), "halting: these exits are not needed (%x)",
	   may);
	vm_init(&vm, 0, VM_IRQCHIP);
	ok(enable(&vm, KVM_CAP_X86_DISABLE_EXITS, 16) == -EINVAL &&
	       enable(&vm, KVM_CAP_X86_DISABLE_EXITS, 1ull << 32 | HLT) == -EINVAL,
	   "halting: others are");
	ok(may & MWAIT || enable(&vm, KVM_CAP_X86_DISABLE_EXITS, MWAIT) == -EINVAL,
	   "halting: MWAIT's is where it cannot be told");
	ok(!enable(&vm, KVM_CAP_X86_DISABLE_EXITS, may), "halting: all that are told");
	vm_add_cpu(&vm);
	ok(enable(&vm, KVM_CAP_X86_DISABLE_EXITS, HLT) == -EINVAL &&
	       enable(&vm, KVM_CAP_X86_DISABLE_EXITS, 0) == -EINVAL,
	   "halting: not when there are vCPUs");
	vm_free(&vm);
}

/* Interrupts in RUN_MS, and exits by HLT for them. */
static u64 interrupts(u32 exits, u64 *halts)
{
	struct kvm_regs r;
	struct vm vm;

	start(&vm, 1, exits);
	cpu_setup(&vm, 0, MODE_LONG, pl_timer, PERIODIC, PERIOD_NS);
	vm_run(&vm, 0, RUN_MS);
	cpu_get_regs(&vm, 0, &r);
	*halts = stat_of(getpid()).exits[EXIT_HLT];
	vm_free(&vm);
	return r.r13;
}

static void test_hlt(void)
{
	u64 halts[2], with = interrupts(0, &halts[0]), without = interrupts(HLT, &halts[1]);

	ok(with > 5 && halts[0] > 5, "halting: a guest that waits for its timer exits (%lu, %lu)",
	   with, halts[0]);
	ok(without > 5 && !halts[1], "halting: or does not, and has its interrupts (%lu, %lu)",
	   without, halts[1]);
}

/* It waits by HLT with interrupts off. */
static void start_closed(struct vm *vm)
{
	static const u8 code[] = {0xfa, 0xf4, 0xe6, PORT_DONE}; /* cli; hlt; out */
	struct kvm_regs r;

	start(vm, 1, 0);
	memcpy(vm->ram + DATA, code, sizeof(code));
	cpu_setup(vm, 0, MODE_LONG, payload_start, 0, 0);
	cpu_get_regs(vm, 0, &r);
	r.rip = DATA;
	cpu_set_regs(vm, 0, &r);
	ok(vm_run(vm, 0, 100) == END_TIME, "halting: a guest that waits with interrupts off");
}

static void mask_nmis(struct vm *vm, bool masked)
{
	struct kvm_vcpu_events e;

	cpu_ioctl(vm, 0, KVM_GET_VCPU_EVENTS, &e);
	e.nmi.masked = masked;
	cpu_ioctl(vm, 0, KVM_SET_VCPU_EVENTS, &e);
}

/*
 * What cannot come in ends no HLT: the PIC's interrupt with interrupts off, an NMI in the handler
 * of one. SDM "HLT", "Handling Multiple NMIs". memtest86+ lets its CPUs wait so, for an NMI.
 */
static void test_closed(void)
{
	struct kvm_irq_level line = {.irq = 0, .level = 1};
	enum end end;
	struct vm vm;

	start_closed(&vm);
	vm_ioctl(&vm, KVM_IRQ_LINE, &line);
	end = vm_run(&vm, 0, 100);
	ok(end == END_TIME, "halting: the PIC's interrupt does not end that (%s)", end_names[end]);
	cpu_ioctl(&vm, 0, KVM_NMI, NULL);
	end = vm_run(&vm, 0, 1000);
	ok(end == END_DONE, "halting: an NMI does (%s)", end_names[end]);
	vm_free(&vm);
	start_closed(&vm);
	mask_nmis(&vm, true);
	cpu_ioctl(&vm, 0, KVM_NMI, NULL);
	end = vm_run(&vm, 0, 100);
	ok(end == END_TIME, "halting: but not where it is masked (%s)", end_names[end]);
	mask_nmis(&vm, false);
	end = vm_run(&vm, 0, 1000);
	ok(end == END_DONE, "halting: and then it does (%s)", end_names[end]);
	vm_free(&vm);
}

static void *send_nmi(void *arg)
{
	struct kvm_msi msi = {.address_lo = 0xfee00000, .data = 0x400};

	usleep(100000);
	vm_ioctl(arg, KVM_SIGNAL_MSI, &msi);
	return NULL;
}

/* With interrupts off */
static void test_ends(void)
{
	static const u8 code[] = {0xfa, 0xf4, 0xe6, PORT_DONE}; /* cli; hlt; out */
	struct kvm_regs r;
	struct vm vm;
	pthread_t t;
	enum end end;
	u64 began = now_ms();

	start(&vm, 1, HLT);
	memcpy(vm.ram + DATA, "\xf4\xeb\xfd", 3); /* hlt; jmp */
	cpu_setup(&vm, 0, MODE_LONG, payload_start, 0, 0);
	cpu_get_regs(&vm, 0, &r);
	r.rip = DATA;
	cpu_set_regs(&vm, 0, &r);
	end = vm_run(&vm, 0, 200);
	ok(end == END_TIME && now_ms() - began < 10000, "halting: its VMM's signal stops it (%s)",
	   end_names[end]);
	vm_free(&vm);
	start(&vm, 1, HLT);
	pthread_create(&t, NULL, send_nmi, &vm);
	end = run_code(&vm, code, sizeof(code), 0);
	pthread_join(t, NULL);
	cpu_get_regs(&vm, 0, &r);
	ok(end == END_DONE && r.r10 <= 1, "halting: an NMI ends it (%s, %llu)", end_names[end],
	   r.r10);
	vm_free(&vm);
}

static pid_t start_guest(const void *entry, u32 exits)
{
	pid_t pid = fork();
	struct vm vm;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	stay_on_cpu(0);
	open_kvm();
	start(&vm, 1, exits);
	cpu_setup(&vm, 0, MODE_LONG, entry, PERIODIC, 50 * PERIOD_NS);
	vm_run(&vm, 0, 1u << 30);
	_exit(1);
}

/* Percent of the time of two guests on one CPU that the waiting one has, beside one that spins */
static u32 share_of_waiting(u32 exits)
{
	pid_t waits = start_guest(pl_timer, exits), spins = start_guest(pl_spin, 0);
	u64 a, b;

	sleep(1);
	a = stat_of(waits).runtime_ns;
	b = stat_of(spins).runtime_ns;
	sleep(2);
	a = stat_of(waits).runtime_ns - a;
	b = stat_of(spins).runtime_ns - b;
	kill(waits, SIGKILL);
	kill(spins, SIGKILL);
	while (wait(NULL) > 0)
		;
	note("%lu us and %lu us", a / 1000, b / 1000);
	return 100 * a / (a + b + 1);
}

static void test_shares(void)
{
	u32 with = share_of_waiting(0), without = share_of_waiting(HLT);

	ok(with < 15, "halting: who waits with an exit leaves the CPU to others (%u %%)", with);
	ok(without > 35 && without < 65,
	   "halting: without it keeps the CPU, but for its share only (%u %%)", without);
}

static u32 kvm_features(u32 exits)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[128];
	} t = {.head.nent = 128};
	struct vm vm;

	start(&vm, 1, exits);
	if (cpu_ioctl(&vm, 0, KVM_GET_CPUID2, &t))
		fatal("KVM_GET_CPUID2");
	vm_free(&vm);
	for (u32 i = 0; i < t.head.nent; i++)
		if (t.e[i].function == 0x40000001)
			return t.e[i].eax;
	return 0;
}

static void test_cpuid(void)
{
	u32 with = kvm_features(PAUSE), without = kvm_features(HLT);

	ok(with & UNHALT && with == (without | UNHALT) && !(without & UNHALT),
	   "halting: PV_UNHALT is not shown where HLT does not exit (%x, %x)", with, without);
}

static void *run_other(void *arg)
{
	struct vm *vm = arg;

	stay_on_cpu(0);
	while (!ioctl(vm->cpu_fd[1], KVM_RUN, 0))
		;
	return NULL;
}

static void on_signal(int number)
{
	(void)number;
}

/* Two vCPUs on one CPU fight for a lock. */
static u64 pauses(u32 exits)
{
	struct corbel_vcpu_stat s;
	struct vm vm;
	pthread_t t;

	start(&vm, 2, exits);
	memset(vm.ram + DATA, 0, 64);
	for (u32 i = 0; i < 2; i++)
		cpu_setup(&vm, i, MODE_LONG, pl_locks, DATA, 0);
	pthread_create(&t, NULL, run_other, &vm);
	vm_run(&vm, 0, 1000);
	s = stat_of(getpid());
	vm.run[1]->immediate_exit = 1;
	pthread_kill(t, SIGUSR1);
	pthread_join(t, NULL);
	vm_free(&vm);
	return s.exits[EXIT_PAUSE];
}

static void test_pause(void)
{
	u64 with, without;

	signal(SIGUSR1, on_signal);
	stay_on_cpu(0);
	with = pauses(HLT);
	without = pauses(PAUSE);
	ok(with && !without, "halting: PAUSE exits where others wait, or not (%lu, %lu)", with,
	   without);
}

/* mov eax, DATA; xor ecx, ecx; xor edx, edx; monitor; xor eax, eax; mwait, and on */
#define WAIT                                                                                       \
	0xb8, 0, 0, 0x20, 0, 0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xc8, 0x31, 0xc0, 0x0f, 0x01, 0xc9
#define BY_RIP(n) 0x4c, 0x8d, 0x3d, n, 0, 0, 0 /* lea r15, [rip + n] */

static void test_mwait(void)
{
	static const u8 code[] = {BY_RIP(17), WAIT, 0xe6, PORT_DONE};
	u32 may = offered() & MWAIT;

	for (u32 off = 0; off <= may; off += MWAIT) {
		struct kvm_regs r;
		struct vm vm;
		pthread_t t;
		enum end end;
		u64 exits;

		start(&vm, 1, off);
		pthread_create(&t, NULL, send_nmi, &vm);
		end = run_code(&vm, code, sizeof(code), 0);
		pthread_join(t, NULL);
		cpu_get_regs(&vm, 0, &r);
		exits = stat_of(getpid()).exits[EXIT_MWAIT];
		ok(end == END_DONE && !r.r14 && !exits == !!off,
		   "halting: MONITOR and MWAIT exit %s (%s, %llu faults, %lu)",
		   off ? "not" : "both", end_names[end], r.r14, exits);
		vm_free(&vm);
	}
	if (!may)
		note("this machine's CPUs do not wake up from MWAIT, or it cannot be told");
}

static void test_cstate(void)
{
	static const u8 code[] = {0xb9, CORE_C6 & 0xff, CORE_C6 >> 8, 0,	0, BY_RIP(2),
				  0x0f, 0x32,		0xe6,	      PORT_DONE}; /* rdmsr */
	struct kvm_regs r;
	struct vm vm;
	enum end end;

	start(&vm, 1, HLT);
	end = run_code(&vm, code, sizeof(code), 0);
	cpu_get_regs(&vm, 0, &r);
	ok(end == END_DONE && r.r14 == 1,
	   "halting: how long the core was asleep only those read that may");
	vm_free(&vm);
}

static u64 hv_apic_hz(struct vm *vm)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = {.head.nmsrs = 1, .e.index = HV_APIC_HZ};

	return cpu_ioctl(vm, 0, KVM_GET_MSRS, &m) == 1 ? m.e.data : 0;
}

/* How many ticks of the timer are between two interrupts of RSI counts: r13 in RUN_MS */
static u64 slow_interrupts(u64 ns)
{
	struct kvm_regs r;
	struct vm vm;

	vm_init(&vm, 0, VM_IRQCHIP);
	if (enable(&vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, ns))
		fatal("a cycle of %lu ns", ns);
	vm_add_cpu(&vm);
	cpu_setup(&vm, 0, MODE_LONG, pl_timer, PERIODIC, PERIOD_NS / 10);
	vm_run(&vm, 0, RUN_MS);
	cpu_get_regs(&vm, 0, &r);
	vm_free(&vm);
	return r.r13;
}

static void test_bus(void)
{
	struct vm vm;
	u64 slow, stopped;

	ok(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_X86_APIC_BUS_CYCLES_NS) == 1,
	   "bus: a cycle of the LAPICs' timers is 1 ns, unless the VMM wants another");
	vm_init(&vm, 0, 0);
	ok(enable(&vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 40) == -ENXIO,
	   "bus: not where it has them itself");
	vm_free(&vm);
	vm_init(&vm, 0, VM_IRQCHIP);
	ok(enable(&vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 0) == -EINVAL &&
	       enable(&vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 0x2000001) == -EINVAL &&
	       enable(&vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 1ull << 32 | 1) == -EINVAL,
	   "bus: not of no time, nor of more than can be counted");
	ok(!enable(&vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 0x2000000) &&
	       !enable(&vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 40),
	   "bus: of all others");
	vm_add_cpu(&vm);
	ok(enable(&vm, KVM_CAP_X86_APIC_BUS_CYCLES_NS, 40) == -EINVAL,
	   "bus: not when there are vCPUs");
	ok(hv_apic_hz(&vm) == 25000000, "bus: Hyper-V's MSR tells of it");
	vm_free(&vm);
	slow = slow_interrupts(100);
	stopped = slow_interrupts(0x2000000);
	/* in RUN_MS 8 of 50 ms each, where those of 1 ns would come by hundreds */
	ok(slow && slow <= RUN_MS / 50 && !stopped, "bus: timers run by it (%lu, %lu)", slow,
	   stopped);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} tests[] = {{"asking", test_asking}, {"hlt", test_hlt},     {"ends", test_ends},
		     {"shares", test_shares}, {"cpuid", test_cpuid}, {"mwait", test_mwait},
		     {"cstate", test_cstate}, {"bus", test_bus},     {"pause", test_pause},
		     {"closed", test_closed}};

	open_kvm();
	for (u32 i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		if (wanted(tests[i].name, argc, argv))
			tests[i].run();
	return failures != 0;
}
