/* SPDX-License-Identifier: GPL-2.0-only */
#define _GNU_SOURCE
#include "vmm.h"
#include "dom0/kmod/devctl.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int kvm = -1, failures;
const char *const end_names[] = {"done",	   "hlt",	   "shutdown",
				 "internal error", "entry failed", "time is up",
				 "errno",	   "other",	   "pause"};

/* ---- report ---- */

static void say(const char *prefix, const char *fmt, va_list ap)
{
	char line[400];
	int n = snprintf(line, sizeof(line), "%s", prefix);

	n += vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(1, line, n) < 0)
		_exit(3);
}

void ok(bool cond, const char *fmt, ...)
{
	va_list ap;

	__atomic_add_fetch(&failures, !cond, __ATOMIC_RELAXED);
	va_start(ap, fmt);
	say(cond ? "ok - " : "not ok - ", fmt, ap);
	va_end(ap);
}

void note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("# ", fmt, ap);
	va_end(ap);
}

void fatal(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say("not ok - the test itself works: ", fmt, ap);
	va_end(ap);
	_exit(2);
}

struct corbel_info hv_info(void)
{
	struct corbel_info info = {0};
	struct corbel_query q = {.what = CORBEL_STAT_INFO, .buf = (u64)&info, .len = sizeof(info)};
	int fd = open("/dev/corbel", O_RDWR);

	if (fd < 0 || ioctl(fd, CORBEL_IOC_QUERY, &q) < 0)
		fatal("/dev/corbel does not answer");
	close(fd);
	return info;
}

bool wanted(const char *name, int argc, char **argv)
{
	for (int a = 1; a < argc; a++)
		if (!strcmp(argv[a], name))
			return true;
	return argc < 2;
}

void module_load(const char *file, const char *args)
{
	char path[200];
	int n = readlink("/proc/self/exe", path, sizeof(path) - 20), fd;

	while (n > 0 && path[n - 1] != '/')
		n--;
	strcpy(path + (n > 0 ? n : 0), file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || syscall(SYS_finit_module, fd, args, 0))
		fatal("%s %s: errno %d", path, args, errno);
	close(fd);
}

void widen_load(const char *symbol, const char *what, u32 value)
{
	char args[200];

	snprintf(args, sizeof(args), "symbol=%s %s=%u", symbol, what, value);
	module_load("widen.ko", args);
}

void widen_fail_once(const char *symbol, u32 error)
{
	char args[200];

	snprintf(args, sizeof(args), "symbol=%s error=%u times=1", symbol, error);
	module_load("widen.ko", args);
}

void widen_instead(const char *symbol, const char *instead, u64 arg)
{
	char args[200];

	snprintf(args, sizeof(args), "symbol=%s instead=%s arg=%llu", symbol, instead,
		 (unsigned long long)arg);
	module_load("widen.ko", args);
}

void widen_end(void)
{
	if (syscall(SYS_delete_module, "widen", 0))
		fatal("widen.ko cannot be removed: errno %d", errno);
}

void stay_on_cpu(u32 cpu)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	if (sched_setaffinity(0, sizeof(cpus), &cpus))
		fatal("sched_setaffinity: errno %d", errno);
}

void open_kvm(void)
{
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		fatal("/dev/kvm cannot be opened: %m");
}

/* ---- odds and ends ---- */

int ioeventfd(struct vm *vm, int fd, u32 port, u32 flags)
{
	struct kvm_ioeventfd e = {
	    .addr = port, .len = 1, .fd = fd, .flags = KVM_IOEVENTFD_FLAG_PIO | flags};

	return vm_ioctl(vm, KVM_IOEVENTFD, &e);
}

u32 address_bits(void)
{
	u32 eax = 0x80000008, ebx, ecx = 0, edx;

	__asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return (eax & 0xff) < 48 ? eax & 0xff : 48;
}

u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ull + t.tv_nsec / 1000000;
}

static __thread u64 seed = 0x9e3779b97f4a7c15ull;

void rnd_seed(u64 s)
{
	seed = s * 0x9e3779b97f4a7c15ull | 1;
}

u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
}

/* ---- VM ---- */

int vm_ioctl(struct vm *vm, unsigned long what, void *arg)
{
	int r = ioctl(vm->fd, what, arg);

	return r < 0 ? -errno : r;
}

int cpu_ioctl(struct vm *vm, u32 cpu, unsigned long what, void *arg)
{
	int r = ioctl(vm->cpu_fd[cpu], what, arg);

	return r < 0 ? -errno : r;
}

struct cpuid_table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[128];
};

static struct cpuid_table supported_cpuid(void)
{
	struct cpuid_table t = {.head.nent = 128};

	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &t) < 0)
		fatal("KVM_GET_SUPPORTED_CPUID: errno %d", errno);
	return t;
}

static u32 *cpuid_word(struct cpuid_table *t, const struct feature *f)
{
	for (u32 i = 0; i < t->head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &t->entry[i];

		if (e->function == f->leaf && e->index == f->sub)
			return (u32 *[]){&e->eax, &e->ebx, &e->ecx, &e->edx}[f->reg];
	}
	return NULL;
}

bool cpu_is_shown(const struct feature *f)
{
	struct cpuid_table t = supported_cpuid();
	u32 *word = cpuid_word(&t, f);

	return word && *word & f->bits;
}

void cpu_hide(struct vm *vm, u32 cpu, const struct feature *f, u32 count)
{
	struct cpuid_table t = supported_cpuid();

	for (u32 i = 0; i < count; i++) {
		u32 *word = cpuid_word(&t, &f[i]);

		if (word)
			*word &= ~f[i].bits;
	}
	if (cpu_ioctl(vm, cpu, KVM_SET_CPUID2, &t))
		fatal("KVM_SET_CPUID2");
}

void vm_add_cpu(struct vm *vm)
{
	u32 i = vm->vcpus++;
	struct cpuid_table c = supported_cpuid();
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	vm->cpu_fd[i] = ioctl(vm->fd, KVM_CREATE_VCPU, (unsigned long)i);
	if (vm->cpu_fd[i] < 0 || size <= 0)
		fatal("KVM_CREATE_VCPU %u: errno %d", i, errno);
	vm->run[i] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->cpu_fd[i], 0);
	if (vm->run[i] == MAP_FAILED)
		fatal("mmap of vCPU %u: errno %d", i, errno);
	if (ioctl(vm->cpu_fd[i], KVM_SET_CPUID2, &c) < 0)
		fatal("KVM_SET_CPUID2: errno %d", errno);
}

void vm_init(struct vm *vm, u32 vcpus, u32 flags)
{
	struct kvm_userspace_memory_region ram = {.memory_size = RAM_SIZE};
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {24}};
	struct kvm_pit_config pit = {0};

	memset(vm, 0, sizeof(*vm));
	vm->fd = ioctl(kvm, KVM_CREATE_VM, flags & VM_PROTECTED ? 1 : 0);
	if (vm->fd < 0)
		fatal("KVM_CREATE_VM: errno %d", errno);
	vm->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ram.userspace_addr = (u64)vm->ram;
	if (vm->ram == MAP_FAILED || vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &ram))
		fatal("memory of a VM: errno %d", errno);
	vm_ioctl(vm, KVM_SET_TSS_ADDR, (void *)0xfffbd000ul);
	if ((flags & VM_IRQCHIP) && vm_ioctl(vm, KVM_CREATE_IRQCHIP, NULL))
		fatal("KVM_CREATE_IRQCHIP: errno %d", errno);
	if ((flags & VM_SPLIT) && vm_ioctl(vm, KVM_ENABLE_CAP, &split))
		fatal("KVM_CAP_SPLIT_IRQCHIP: errno %d", errno);
	if ((flags & VM_PIT) && vm_ioctl(vm, KVM_CREATE_PIT2, &pit))
		fatal("KVM_CREATE_PIT2: errno %d", errno);
	for (u32 i = 0; i < vcpus; i++)
		vm_add_cpu(vm);
	vm_load(vm);
}

void vm_free(struct vm *vm)
{
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	for (u32 i = 0; i < vm->vcpus; i++) {
		munmap(vm->run[i], size);
		close(vm->cpu_fd[i]);
	}
	close(vm->fd);
	munmap(vm->ram, RAM_SIZE);
}

u64 payload_addr(const void *label)
{
	return CODE + ((const u8 *)label - payload_start);
}

static u64 *ram64(struct vm *vm, u64 gpa)
{
	return (u64 *)(vm->ram + gpa);
}

void set_gate(struct vm *vm, u32 vector, u64 handler)
{
	u64 *gate = ram64(vm, IDT + vector * 16);

	gate[0] =
	    (handler & 0xffff) | 0x08 << 16 | 0x8e00ull << 32 | (handler >> 16 & 0xffff) << 48;
	gate[1] = handler >> 32;
}

void vm_load(struct vm *vm)
{
	const u32 with_error =
	    1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21;

	memset(vm->ram, 0, DATA);
	memcpy(vm->ram + CODE, payload_start, payload_end - payload_start);
	*ram64(vm, GDT + 8) = 0x00af9b000000ffffull;  /* 08: 64-bit code */
	*ram64(vm, GDT + 16) = 0x00cf93000000ffffull; /* 10: data */
	*ram64(vm, GDT + 24) = 0x00cf9b000000ffffull; /* 18: 32-bit code */
	*ram64(vm, PML4) = (PML4 + 0x1000) | 7;
	for (u32 i = 0; i < 4; i++)
		*ram64(vm, PML4 + 0x1000 + i * 8) = (PML4 + 0x2000 + i * 0x1000) | 7;
	for (u32 i = 0; i < 2048; i++)
		*ram64(vm, PML4 + 0x2000 + i * 8) = (u64)i << 21 | 0x87;
	for (u32 i = 0; i < 256; i++)
		set_gate(vm, i,
			 payload_addr(i >= 32		    ? on_interrupt
				      : with_error >> i & 1 ? on_error
							    : on_fault));
	set_gate(vm, 2, payload_addr(on_nmi));
	vm->free_table = FREE_TABLES;
}

void vm_map_page(struct vm *vm, u64 linear, u64 gpa, u64 flags)
{
	u64 table = PML4;

	for (u32 shift = 39; shift > 12; shift -= 9) {
		u64 *e = ram64(vm, table + (linear >> shift & 511) * 8);

		if (!*e) {
			if (vm->free_table + 0x1000 > RAM_SIZE)
				fatal("no room for guest page tables");
			memset(vm->ram + vm->free_table, 0, 0x1000);
			*e = vm->free_table | 7;
			vm->free_table += 0x1000;
		}
		table = *e & 0xffffffffff000ull;
	}
	*ram64(vm, table + (linear >> 12 & 511) * 8) = gpa | flags;
}

/* ---- vCPU ---- */

static struct kvm_segment segment(u16 selector, u8 type, bool l, bool db)
{
	return (struct kvm_segment){
	    .limit = 0xffffffff,
	    .selector = selector,
	    .type = type,
	    .present = 1,
	    .s = 1,
	    .g = 1,
	    .l = l,
	    .db = db,
	};
}

static void set_protected(struct kvm_sregs *s, enum mode mode)
{
	s->cs =
	    segment(mode == MODE_LONG ? 0x08 : 0x18, 0xb, mode == MODE_LONG, mode == MODE_PROT32);
	s->ds = s->es = s->fs = s->gs = s->ss = segment(0x10, 3, false, true);
	s->cr0 = 0x31; /* PE, ET, NE */
	if (mode != MODE_LONG)
		return;
	s->cr3 = PML4;
	s->cr4 = 0x620; /* PAE, OSFXSR, OSXMMEXCPT */
	s->efer = 0x500;
	s->cr0 = 0x80010031ul;
}

void cpu_setup(struct vm *vm, u32 cpu, enum mode mode, const void *entry, u64 arg0, u64 arg1)
{
	struct kvm_regs r = {
	    .rip = payload_addr(entry),
	    .rflags = 2,
	    .rsp = STACK_TOP(cpu),
	    .rdi = arg0,
	    .rsi = arg1,
	    .r15 = payload_addr(unexpected),
	};
	struct kvm_mp_state runnable = {KVM_MP_STATE_RUNNABLE};
	struct kvm_sregs s;

	if (cpu_ioctl(vm, cpu, KVM_GET_SREGS, &s))
		fatal("KVM_GET_SREGS");
	if (mode == MODE_REAL) {
		r.rip &= 0xffff;
		r.rsp = 0xfff0;
		s.cs.base = CODE & ~0xfffful;
		s.cs.selector = s.cs.base >> 4;
		s.cr0 |= 0x20;
	} else {
		set_protected(&s, mode);
		s.gdt.base = GDT;
		s.gdt.limit = 31;
		s.idt.base = IDT;
		s.idt.limit = 256 * 16 - 1;
	}
	if (cpu_ioctl(vm, cpu, KVM_SET_SREGS, &s) || cpu_ioctl(vm, cpu, KVM_SET_REGS, &r))
		fatal("registers of vCPU %u cannot be set", cpu);
	cpu_ioctl(vm, cpu, KVM_SET_MP_STATE, &runnable); /* there is none without an irqchip */
}

void cpu_get_regs(struct vm *vm, u32 cpu, struct kvm_regs *r)
{
	if (cpu_ioctl(vm, cpu, KVM_GET_REGS, r))
		fatal("KVM_GET_REGS");
}

void sregs_set_user(struct kvm_sregs *s)
{
	s->cs.dpl = s->ss.dpl = 3;
	s->cs.selector |= 3;
	s->ss.selector |= 3;
}

void cpu_set_regs(struct vm *vm, u32 cpu, const struct kvm_regs *r)
{
	if (cpu_ioctl(vm, cpu, KVM_SET_REGS, (void *)r))
		fatal("KVM_SET_REGS");
}

struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry e;
};

u64 get_msr(struct vm *vm, u32 index)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = {.head.nmsrs = 1, .e = {.index = index}};

	return cpu_ioctl(vm, 0, KVM_GET_MSRS, &m) == 1 ? m.e.data : ~0ull;
}

int set_msr(struct vm *vm, u32 cpu, u32 index, u64 val)
{
	struct one_msr m = {.head.nmsrs = 1, .e = {.index = index, .data = val}};

	return cpu_ioctl(vm, cpu, KVM_SET_MSRS, &m);
}

/* ---- running ---- */

static void on_alarm(int sig)
{
}

/*
 * A signal to this thread after ms milliseconds, and again every 20 ms in case it comes just before
 * KVM_RUN.
 */
static __thread timer_t timer;
static __thread bool timer_there;

static void arm(u32 ms)
{
	struct sigevent how = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
	struct itimerspec t = {.it_interval = {.tv_nsec = ms ? 20000000 : 0},
			       .it_value = {ms / 1000, ms % 1000 * 1000000l}};
	struct sigaction act = {.sa_handler = on_alarm};

	if (!timer_there) {
		how._sigev_un._tid = syscall(SYS_gettid);
		sigaction(SIGUSR1, &act, NULL);
		if (timer_create(CLOCK_MONOTONIC, &how, &timer))
			fatal("timer_create: errno %d", errno);
		timer_there = true;
	}
	timer_settime(timer, 0, &t, NULL);
}

/* Returns false at the guest's end. */
static bool serve_io(struct vm *vm, struct kvm_run *run)
{
	u8 *data = (u8 *)run + run->io.data_offset;
	u32 value = 0;

	__atomic_add_fetch(&vm->io_exits, 1, __ATOMIC_RELAXED);
	if (run->io.direction == KVM_EXIT_IO_IN) {
		memset(data, 0xff, run->io.size * run->io.count);
		return true;
	}
	memcpy(&value, data, run->io.size);
	if (run->io.port == PORT_VALUE && run->io.size == 4) {
		u32 i = __atomic_fetch_add(&vm->value_count, 1, __ATOMIC_RELAXED);

		if (i < MAX_VALUES)
			vm->values[i] = value;
	}
	return run->io.port != PORT_DONE && run->io.port != PORT_PAUSE;
}

static void serve_mmio(struct vm *vm, struct kvm_run *run)
{
	__atomic_add_fetch(&vm->mmio_exits, 1, __ATOMIC_RELAXED);
	if (run->mmio.is_write)
		memcpy(&vm->mmio_value, run->mmio.data, sizeof(vm->mmio_value));
	else
		memset(run->mmio.data, 0xff, sizeof(run->mmio.data));
}

static enum end io_end(const struct kvm_run *run)
{
	return run->io.port == PORT_PAUSE ? END_PAUSE : END_DONE;
}

enum end vm_run(struct vm *vm, u32 cpu, u32 ms)
{
	struct kvm_run *run = vm->run[cpu];
	u64 until = now_ms() + ms;
	enum end end = END_TIME;

	arm(ms);
	while (now_ms() < until) {
		int r = ioctl(vm->cpu_fd[cpu], KVM_RUN, 0) < 0 ? errno : 0;

		if (r == EINTR || r == EAGAIN)
			continue;
		if (r) {
			vm->values[0] = r;
			end = END_ERROR;
			break;
		}
		if (run->exit_reason == KVM_EXIT_IO && serve_io(vm, run))
			continue;
		if (run->exit_reason == KVM_EXIT_MMIO) {
			serve_mmio(vm, run);
			continue;
		}
		end = run->exit_reason == KVM_EXIT_IO		    ? io_end(run)
		      : run->exit_reason == KVM_EXIT_HLT	    ? END_HLT
		      : run->exit_reason == KVM_EXIT_SHUTDOWN	    ? END_SHUTDOWN
		      : run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? END_INTERNAL
		      : run->exit_reason == KVM_EXIT_FAIL_ENTRY	    ? END_FAIL_ENTRY
								    : END_OTHER;
		break;
	}
	arm(0);
	return end;
}

enum end run_code(struct vm *vm, const void *code, size_t len, u64 rdi)
{
	struct kvm_regs r;

	vm->value_count = 0;
	memcpy(vm->ram + DATA, code, len);
	cpu_setup(vm, 0, MODE_LONG, payload_start, rdi, 0);
	cpu_get_regs(vm, 0, &r);
	r.rip = DATA;
	cpu_set_regs(vm, 0, &r);
	return vm_run(vm, 0, 30000);
}
