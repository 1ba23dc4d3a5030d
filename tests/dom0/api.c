/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What VMMs rely on in the KVM API, seen from dom0's user space: small real-mode guests at 0x1000,
 * one per behaviour. Prints one line per check as the other tests do.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint64_t u64;

#define RAM_BYTES (4ul << 20)
#define CODE	  0x1000
#define HANDLER	  0x1800
#define STACK	  0x8000
#define CPUIDS	  100

#define MSR_APIC_BASE 0x1b
#define APIC_OFF      0xfee00100ull
#define APIC_XAPIC    0xfee00900ull
#define APIC_X2APIC   0xfee00d00ull
#define MSR_EFER      0xc0000080
#define MSR_TSC	      0x10

/* A piece of 16-bit code, position-independent. */
#define GUEST(name, text)                                                                          \
	extern const u8 name[], name##_end[];                                                      \
	__asm__(".pushsection .rodata\n.code16\n" #name ":\n" text "\n" #name                      \
		"_end:\n.code64\n.popsection\n")
#define LOAD(vm, name)	     memcpy(ram + CODE, name, name##_end - name)
#define HANDLE(vector, name) set_handler(vector, name, name##_end - name)

enum chip { NO_CHIP, FULL_CHIP, SPLIT_CHIP };

struct vm {
	int fd, vcpu;
	struct kvm_run *run;
};

static int kvm, failures;
static u8 *ram;

static bool check(bool cond, const char *fmt, ...)
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

static void set_handler(u8 vector, const u8 *code, size_t len)
{
	u16 entry[2] = {HANDLER, 0};

	memcpy(ram + vector * 4, entry, sizeof(entry));
	memcpy(ram + HANDLER, code, len);
}

static void set_slot(int vm, uint32_t slot, uint32_t flags, u64 gpa, u64 bytes, const u8 *at)
{
	struct kvm_userspace_memory_region r = {slot, flags, gpa, bytes, (uintptr_t)at};

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r))
		check(false, "slot %u can be set: %s", slot, strerror(errno));
}

static void set_registers(struct vm *v)
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

static struct vm start(enum chip chip)
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
static struct vm start_with_hole(void)
{
	struct vm v = start(NO_CHIP);

	set_slot(v.fd, 0, 0, 0, 0, NULL);
	set_slot(v.fd, 0, 0, 0, 0xa0000, ram);
	return v;
}

static void end(struct vm *v)
{
	munmap(v->run, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(v->vcpu);
	close(v->fd);
}

/* The exit reason, or -errno. */
static int run(struct vm *v)
{
	return ioctl(v->vcpu, KVM_RUN, 0) ? -errno : (int)v->run->exit_reason;
}

static bool at_port(struct vm *v, u16 port)
{
	return v->run->exit_reason == KVM_EXIT_IO && v->run->io.port == port;
}

static u8 *io_data(struct vm *v)
{
	return (u8 *)v->run + v->run->io.data_offset;
}

static struct kvm_regs regs(struct vm *v)
{
	struct kvm_regs r;

	ioctl(v->vcpu, KVM_GET_REGS, &r);
	return r;
}

static int set_msr(struct vm *v, uint32_t index, u64 data)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry = {.index = index, .data = data}};

	return ioctl(v->vcpu, KVM_SET_MSRS, &m);
}

static u64 get_msr(struct vm *v, uint32_t index)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry.index = index};

	return ioctl(v->vcpu, KVM_GET_MSRS, &m) == 1 ? m.entry.data : ~0ull;
}

static u64 count(int eventfd)
{
	u64 n = 0;

	return read(eventfd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

/*
 * KVM_RUN with a signal after a while; again and again, because the first may come before the guest
 * runs.
 */
static int run_interrupted(struct vm *v, long us)
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

/* ---- running and stopping ---- */

GUEST(in_port, "mov $0x3f8, %dx; in %dx, %al; nop; hlt");
GUEST(spin, "jmp .");
GUEST(halt, "1: hlt; jmp 1b");
GUEST(undefined, "ud2");

static void test_immediate_exit(void)
{
	struct vm v = start(NO_CHIP);

	LOAD(v, in_port);
	check(run(&v) == KVM_EXIT_IO && !v.run->io.direction && v.run->io.port == 0x3f8,
	      "IN exits");
	*io_data(&v) = 0x5a;
	v.run->immediate_exit = 1;
	check(run(&v) == -EINTR, "immediate_exit: KVM_RUN says EINTR");
	check(at_port(&v, 0x3f8) && v.run->io.size == 1,
	      "immediate_exit: the exit before stays to be read");
	check((regs(&v).rax & 0xff) == 0x5a && regs(&v).rip == CODE + 4,
	      "immediate_exit: the access is completed first");
	check(run(&v) == -EINTR && regs(&v).rip == CODE + 4,
	      "immediate_exit: without one the guest does not run");
	check(at_port(&v, 0x3f8), "immediate_exit: and the exit before still stays");
	v.run->cr8 = 16;
	check(run(&v) == -EINVAL && at_port(&v, 0x3f8) && !v.run->cr8,
	      "CR8 16 is refused, and is not what KVM_RUN leaves there");
	v.run->immediate_exit = 0;
	check(run(&v) == KVM_EXIT_HLT, "it goes on afterwards");
	end(&v);
}

static void test_signals(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_mp_state mp = {~0u};
	int bad = 0;

	LOAD(v, spin);
	for (int i = 0; i < 50; i++)
		bad += run_interrupted(&v, 1000 + i * 137) != -EINTR ||
		       v.run->exit_reason != KVM_EXIT_INTR || regs(&v).rip != CODE;
	check(!bad, "a signal ends KVM_RUN of a spinning guest, 50 times");
	end(&v);

	v = start(FULL_CHIP);
	LOAD(v, halt);
	check(run_interrupted(&v, 50000) == -EINTR, "a signal ends KVM_RUN of a halted guest");
	ioctl(v.vcpu, KVM_GET_MP_STATE, &mp);
	check(mp.mp_state == KVM_MP_STATE_HALTED, "which stays halted");
	end(&v);
}

static void test_shutdown(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_sregs s;

	LOAD(v, undefined);
	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.idt.limit = 0;
	ioctl(v.vcpu, KVM_SET_SREGS, &s);
	check(run(&v) == KVM_EXIT_SHUTDOWN, "a triple fault is KVM_EXIT_SHUTDOWN");
	end(&v);
}

GUEST(steps, "cpuid; nop; out %al, $0x78; nop; hlt");
GUEST(on_step, "incw 0x3000; iret");

/* RFLAGS.TF is nobody's but the guest's, also where the hypervisor executes instructions for it. */
static void test_single_step(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_regs r = {.rip = CODE, .rflags = 0x102, .rsp = STACK};
	u16 *count = (u16 *)(ram + 0x3000);

	LOAD(v, steps);
	HANDLE(1, on_step);
	ioctl(v.vcpu, KVM_SET_REGS, &r);
	check(ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_ROBUST_SINGLESTEP) == 1 &&
		  run(&v) == KVM_EXIT_IO && *count == 2 && run(&v) == KVM_EXIT_HLT && *count == 4,
	      "a guest that steps through itself is at each instruction once (%u)", *count);
	check(regs(&v).rflags & 0x100, "and keeps its TF");
	end(&v);
}

/* ---- port and memory accesses ---- */

#define STRING_BYTES "5000"
GUEST(outs, "mov $0x2000, %si; mov $0x99, %dx; mov $" STRING_BYTES ", %cx; rep outsb; hlt");
GUEST(ins, "mov $0x2000, %di; mov $0x99, %dx; mov $" STRING_BYTES ", %cx; rep insb; hlt");
GUEST(mmio, "mov $0xb800, %ax; mov %ax, %ds; mov 0x1234, %ax; mov %ax, 0x1236\n"
	    "mov $0xf000, %ax; mov %ax, %ds; mov 0x10, %ax; incw 0x10; hlt");

static void test_string_io(void)
{
	struct vm v = start(NO_CHIP);
	int n = 0, exits = 0, bad = 0, bytes = atoi(STRING_BYTES);

	LOAD(v, outs);
	for (int i = 0; i < bytes; i++)
		ram[0x2000 + i] = i * 7;
	for (; run(&v) == KVM_EXIT_IO; exits++)
		for (uint32_t i = 0; i < v.run->io.count; i++, n++)
			bad += io_data(&v)[i] != (u8)(n * 7);
	check(n == bytes && !bad && v.run->exit_reason == KVM_EXIT_HLT,
	      "REP OUTS hands out every byte");
	check(exits < 10, "many at a time (%d exits)", exits);
	end(&v);

	v = start(NO_CHIP);
	LOAD(v, ins);
	for (n = 0; run(&v) == KVM_EXIT_IO;)
		for (uint32_t i = 0; i < v.run->io.count; i++, n++)
			io_data(&v)[i] = n * 3;
	for (int i = 0; i < bytes; i++)
		bad += ram[0x2000 + i] != (u8)(i * 3);
	check(n == bytes && !bad, "REP INS takes in every byte");
	end(&v);
}

static void test_mmio(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_run *r = v.run;

	set_slot(v.fd, 0, 0, 0, 0, NULL);
	set_slot(v.fd, 0, 0, 0, 0xa0000, ram);
	set_slot(v.fd, 1, KVM_MEM_READONLY, 0xf0000, 0x10000, ram + 0xf0000);
	*(u16 *)(ram + 0xf0010) = 0x4241;
	LOAD(v, mmio);
	check(run(&v) == KVM_EXIT_MMIO && r->mmio.phys_addr == 0xb9234 && r->mmio.len == 2 &&
		  !r->mmio.is_write,
	      "a read where there is no slot is KVM_EXIT_MMIO");
	*(u16 *)r->mmio.data = 0x7788;
	check(run(&v) == KVM_EXIT_MMIO && r->mmio.phys_addr == 0xb9236 && r->mmio.is_write &&
		  *(u16 *)r->mmio.data == 0x7788,
	      "so is a write, of what was read");
	check(run(&v) == KVM_EXIT_MMIO && r->mmio.phys_addr == 0xf0010 && r->mmio.is_write &&
		  *(u16 *)r->mmio.data == 0x4242,
	      "a read-only slot can be read, writes exit");
	check(run(&v) == KVM_EXIT_HLT && *(u16 *)(ram + 0xf0010) == 0x4241, "and change nothing");
	end(&v);
}

/* ---- strings to and from where no memory is ---- */

GUEST(string_devices,
      "mov $0xb800, %ax; mov %ax, %es; mov %ax, %ds; mov $0x1f0, %dx; cld\n"
      "xor %di, %di; mov $3, %cx; rep insw\n"
      "mov $0x20, %si; mov $2, %cx; rep outsl\n"
      "std; mov $0x42, %di; mov $2, %cx; rep insb; cld\n"
      "mov $0x9fff, %ax; mov %ax, %es; mov $0xf, %di; insw\n"  /* half of it in memory */
      "mov %ax, %ds; mov $0xd, %si; mov $1, %cx; rep outsl\n"  /* three quarters */
      "mov $0xf000, %ax; mov %ax, %es; mov $0x20, %di; insb\n" /* read-only */
      "mov %ax, %ds; mov $0x20, %si; outsb; hlt");

static bool port_exit(struct vm *v, bool out, uint32_t size, uint32_t value)
{
	struct kvm_run *r = v->run;

	if (run(v) != KVM_EXIT_IO || r->io.port != 0x1f0 || r->io.direction != out ||
	    r->io.size != size || r->io.count != 1)
		return false;
	if (out)
		return !memcmp(io_data(v), &value, size);
	memcpy(io_data(v), &value, size);
	return true;
}

static bool mmio_exit(struct vm *v, bool write, u64 addr, uint32_t len, u64 value)
{
	struct kvm_run *r = v->run;

	if (run(v) != KVM_EXIT_MMIO || r->mmio.phys_addr != addr || r->mmio.len != len ||
	    r->mmio.is_write != write)
		return false;
	if (write)
		return !memcmp(r->mmio.data, &value, len);
	memcpy(r->mmio.data, &value, len);
	return true;
}

static void test_string_devices(void)
{
	struct vm v = start_with_hole();
	bool good = true;

	set_slot(v.fd, 1, KVM_MEM_READONLY, 0xf0000, 0x10000, ram + 0xf0000);
	ram[0xf0020] = 0x61;
	LOAD(v, string_devices);
	for (uint32_t i = 0; i < 3; i++)
		good &= port_exit(&v, false, 2, 0x1100 + i) &&
			mmio_exit(&v, true, 0xb8000 + 2 * i, 2, 0x1100 + i);
	check(good, "REP INS into a device: each element is read, and written there");
	for (uint32_t i = 0; i < 2; i++)
		good &= mmio_exit(&v, false, 0xb8020 + 4 * i, 4, 0x22000000 + i) &&
			port_exit(&v, true, 4, 0x22000000 + i);
	check(good, "REP OUTS from one");
	for (uint32_t i = 0; i < 2; i++)
		good &= port_exit(&v, false, 1, 0x33 + i) &&
			mmio_exit(&v, true, 0xb8042 - i, 1, 0x33 + i);
	check(good, "REP INS downwards");
	good &= port_exit(&v, false, 2, 0x5544) && mmio_exit(&v, true, 0xa0000, 1, 0x55) &&
		ram[0x9ffff] == 0x44;
	check(good, "INS across the end of memory");
	memcpy(ram + 0x9fffd, "\x01\x02\x03", 3);
	good &= mmio_exit(&v, false, 0xa0000, 1, 0x04) && port_exit(&v, true, 4, 0x04030201);
	check(good, "OUTS across it");
	good &= port_exit(&v, false, 1, 0x77) && mmio_exit(&v, true, 0xf0020, 1, 0x77) &&
		port_exit(&v, true, 1, 0x61);
	check(good, "INS into a read-only slot exits, OUTS from there is a read of memory");
	check(good && run(&v) == KVM_EXIT_HLT, "and the guest goes on");
	end(&v);
}

GUEST(rep_ins, "mov $0x2000, %di; mov $0x1f0, %dx; mov $3, %cx; rep insb; hlt");
GUEST(rep_ins_device, "mov $0xb800, %ax; mov %ax, %es; xor %di, %di; mov $0x1f0, %dx\n"
		      "mov $3, %cx; rep insb; hlt");
GUEST(rep_movs_device, "mov $0xb800, %ax; mov %ax, %ds; mov %ax, %es; xor %di, %di\n"
		       "mov $3, %cx; rep movsb; hlt");

static void set_rcx(struct vm *v, u64 rcx)
{
	struct kvm_regs r = regs(v);

	r.rcx = rcx;
	ioctl(v->vcpu, KVM_SET_REGS, &r);
}

/* A VMM that changes RCX while it is asked: what there is more than that is not moved. */
static void test_string_rcx(void)
{
	static const struct {
		u64 rcx, left, moved;
	} changes[] = {{3, 0, 3}, {1, 0, 1}, {0, 0, 0}, {0x10000, 0x10000, 0}, {2, 0, 2}};
	struct vm v;

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		v = start(NO_CHIP);
		LOAD(v, rep_ins);
		check(run(&v) == KVM_EXIT_IO && v.run->io.count == 3, "REP INS asks for all");
		set_rcx(&v, changes[i].rcx);
		check(run(&v) == KVM_EXIT_HLT && regs(&v).rcx == changes[i].left &&
			  regs(&v).rdi == 0x2000 + changes[i].moved,
		      "RCX %#lx meanwhile: %lu bytes are moved", changes[i].rcx, changes[i].moved);
		end(&v);
	}
	v = start_with_hole();
	LOAD(v, rep_ins_device);
	check(port_exit(&v, false, 1, 0x11) && mmio_exit(&v, true, 0xb8000, 1, 0x11),
	      "REP INS into a device");
	set_rcx(&v, 0);
	check(run(&v) == KVM_EXIT_HLT && !regs(&v).rcx, "ends where RCX is 0 meanwhile");
	end(&v);
	v = start_with_hole();
	LOAD(v, rep_movs_device);
	check(mmio_exit(&v, false, 0xb8000, 1, 0x11), "REP MOVS from a device to another");
	check(mmio_exit(&v, true, 0xb8000, 1, 0x11), "writes what it has read");
	set_rcx(&v, 0);
	check(run(&v) == KVM_EXIT_HLT && !regs(&v).rcx, "and ends where RCX is 0 meanwhile");
	end(&v);
}

/* ---- instructions with an operand in a device ---- */

GUEST(device_operands, "mov $0xb800, %ax; mov %ax, %ds; mov $0x11223344, %eax; movd %eax, %xmm4\n"
		       "fninit; fld1\n"					  /* ST(0) is register 7 */
		       "movaps 0x10, %xmm3; movups %xmm3, 0x23\n"	  /* 4 exits */
		       "movhps 0x30, %xmm4; movd %xmm4, 0x38\n"		  /* 1, 1 */
		       "movq 0x40, %mm5; movq %mm5, 0x48; emms\n"	  /* 1, 1 */
		       "rorw $4, 0x50\n"				  /* 2 */
		       "mov $7, %ax; mulw 0x52; mov %ax, 0x54\n"	  /* 1, 1 */
		       "stc; setc 0x56; cmovc 0x58, %bx; mov %bx, 0x5a\n" /* 1, 1, 1 */
		       "mov $0x60, %bx; mov $2, %al; xlat; mov %al, 0x64\n" /* 1, 1 */
		       "mov $0xb800, %ax; mov %ax, %ss; mov $0x84, %sp; push %cs; pusha; popa\n"
		       "mov %sp, 0x90; hlt");
GUEST(divide_error, "mov $0xb800, %ax; mov %ax, %ds; mov $0x100, %ax; divb 0x10; hlt");
GUEST(on_divide_error, "mov $0x77, %al; out %al, $0x78; iret");

static void test_device_operands(void)
{
	struct vm v = start_with_hole();
	struct kvm_sregs s;
	struct kvm_fpu fpu;
	bool good = true;

	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.cr4 |= 0x200; /* OSFXSR */
	s.cr0 &= ~0xcull;
	ioctl(v.vcpu, KVM_SET_SREGS, &s);
	LOAD(v, device_operands);
	good &= mmio_exit(&v, false, 0xb8010, 8, 0x01020304) &&
		mmio_exit(&v, false, 0xb8018, 8, 0x05060708) &&
		mmio_exit(&v, true, 0xb8023, 8, 0x01020304) &&
		mmio_exit(&v, true, 0xb802b, 8, 0x05060708);
	check(good, "MOVAPS from a device, MOVUPS to one");
	good &= mmio_exit(&v, false, 0xb8030, 8, 0x99aabbcc) &&
		mmio_exit(&v, true, 0xb8038, 4, 0x11223344);
	check(good, "MOVHPS, and MOVD of what it left");
	good &= mmio_exit(&v, false, 0xb8040, 8, 0x12345678) &&
		mmio_exit(&v, true, 0xb8048, 8, 0x12345678);
	ioctl(v.vcpu, KVM_GET_FPU, &fpu);
	check(good && !memcmp(fpu.xmm[3], "\x04\x03\x02\x01", 4) &&
		  !memcmp(fpu.xmm[4], "\x44\x33\x22\x11\0\0\0\0\xcc\xbb\xaa\x99", 12),
	      "MOVQ of MMX; other registers stay");
	check(!memcmp(fpu.fpr[5], "\x78\x56\x34\x12", 4) && fpu.fpr[5][8] == 0xff &&
		  fpu.fpr[7][9] == 0x3f && fpu.fpr[7][8] == 0xff && !(fpu.fsw & 0x3800),
	      "MMX registers are those of x87, as they lie");
	good &= mmio_exit(&v, false, 0xb8050, 2, 0x1234) && mmio_exit(&v, true, 0xb8050, 2, 0x4123);
	check(good, "ROR");
	good &= mmio_exit(&v, false, 0xb8052, 2, 0x1000) && mmio_exit(&v, true, 0xb8054, 2, 0x7000);
	check(good, "MUL");
	good &= mmio_exit(&v, true, 0xb8056, 1, 1) && mmio_exit(&v, false, 0xb8058, 2, 0x4567) &&
		mmio_exit(&v, true, 0xb805a, 2, 0x4567);
	check(good, "SETcc, CMOVcc");
	good &= mmio_exit(&v, false, 0xb8062, 1, 0x5a) && mmio_exit(&v, true, 0xb8064, 1, 0x5a);
	check(good, "XLAT");
	good &= mmio_exit(&v, true, 0xb8082, 2, 0);
	for (uint32_t i = 0; i < 8; i++)
		good &= run(&v) == KVM_EXIT_MMIO && v.run->mmio.phys_addr == 0xb8080 - 2 * i &&
			v.run->mmio.is_write;
	for (uint32_t i = 0; i < 8; i++)
		good &= mmio_exit(&v, false, 0xb8072 + 2 * i, 2, i);
	check(good && mmio_exit(&v, true, 0xb8090, 2, 0x82), "PUSH, PUSHA and POPA in a device");
	check(run(&v) == KVM_EXIT_HLT && (regs(&v).rax & 0xffff) == 7 &&
		  regs(&v).rdi % 0x10000 == 0,
	      "POPA takes each register's value");
	end(&v);

	v = start_with_hole();
	LOAD(v, divide_error);
	HANDLE(0, on_divide_error);
	check(mmio_exit(&v, false, 0xb8010, 1, 1) && run(&v) == KVM_EXIT_IO &&
		  *io_data(&v) == 0x77 && regs(&v).rsp == STACK - 6,
	      "DIV by what a device has: a quotient too large is #DE");
	end(&v);
}

GUEST(movs_once, "movsb; hlt");
GUEST(on_segment_fault, "mov $0x77, %al; out %al, $0x78; hlt");

/* The second operand of MOVS is nobody's but the emulator's to check. */
static void test_expand_down(void)
{
	struct vm v = start_with_hole();
	struct kvm_regs r = {.rip = CODE, .rflags = 2, .rsp = STACK, .rsi = 0x10, .rdi = 0x1000};
	struct kvm_sregs s;

	LOAD(v, movs_once);
	HANDLE(13, on_segment_fault);
	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.ds.base = 0xb8000;
	s.es.base = 0x2000;
	s.es.type = 7; /* data, expands downwards */
	s.es.limit = 0xfff;
	ioctl(v.vcpu, KVM_SET_SREGS, &s);
	ioctl(v.vcpu, KVM_SET_REGS, &r);
	check(mmio_exit(&v, false, 0xb8010, 1, 0x5a) && run(&v) == KVM_EXIT_HLT &&
		  ram[0x3000] == 0x5a,
	      "a segment that expands downwards begins behind its limit");
	r.rdi = 0xfff;
	ioctl(v.vcpu, KVM_SET_REGS, &r);
	check(mmio_exit(&v, false, 0xb8010, 1, 0x5a) && run(&v) == KVM_EXIT_IO &&
		  at_port(&v, 0x78) && *io_data(&v) == 0x77 && !ram[0x2fff],
	      "and up to there is #GP");
	end(&v);
}

GUEST(unsupported, "mov $0xb800, %ax; mov %ax, %ds; mov 0x10, %ax; mulps 0x110, %xmm0; hlt");

/* kvm.py looks for the line that says so. */
static void test_unsupported(void)
{
	struct vm v = start_with_hole();
	struct kvm_sregs s;

	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.cr4 |= 0x200; /* OSFXSR */
	ioctl(v.vcpu, KVM_SET_SREGS, &s);
	LOAD(v, unsupported);
	check(mmio_exit(&v, false, 0xb8010, 2, 0) && run(&v) == KVM_EXIT_INTERNAL_ERROR,
	      "arithmetic of SSE on a device ends as an internal error");
	end(&v);
}

GUEST(bells, "mov $0x123, %dx; mov $7, %ax; out %ax, %dx; mov $8, %al; out %ax, %dx; hlt");

static void test_ioeventfd(void)
{
	struct vm v = start(NO_CHIP);
	int e = eventfd(0, EFD_NONBLOCK);
	struct kvm_ioeventfd io = {.addr = 0x123,
				   .len = 2,
				   .fd = e,
				   .datamatch = 7,
				   .flags = KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DATAMATCH};

	LOAD(v, bells);
	check(!ioctl(v.fd, KVM_IOEVENTFD, &io), "an ioeventfd can be assigned");
	check(ioctl(v.fd, KVM_IOEVENTFD, &io) && errno == EEXIST, "not twice");
	check(run(&v) == KVM_EXIT_IO && *(u16 *)io_data(&v) == 8 && count(e) == 1,
	      "a match signals it, a mismatch exits");
	io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	check(!ioctl(v.fd, KVM_IOEVENTFD, &io), "it can be deassigned");
	check(ioctl(v.fd, KVM_IOEVENTFD, &io) && errno == ENOENT, "not twice either");
	close(e);
	end(&v);
}

/* ---- stores that wait in a ring ---- */

#define RING_PAGE 2
#define RING_MAX                                                                                   \
	((4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

GUEST(stores, "mov $0xb800, %ax; mov %ax, %ds; movw $0x1234, 0x10; movb $0x56, 0x7ff\n"
	      "mov $0x3d4, %dx; mov $0x0e, %al; out %al, %dx\n"
	      "movw $0x789a, 0x7ff; mov 0x10, %al; out %al, $0x78; movw $0x1111, 0x10; hlt");
GUEST(many_stores, "mov $0xb800, %ax; mov %ax, %ds; mov $400, %cx; xor %ax, %ax\n"
		   "1: mov %ax, 0x20; inc %ax; loop 1b; hlt");
GUEST(many_outs, "mov $0x2000, %si; mov $0x3d4, %dx; mov $400, %cx; rep outsb; hlt");

static int zone(struct vm *v, bool add, u64 addr, uint32_t size, uint32_t pio)
{
	struct kvm_coalesced_mmio_zone z = {.addr = addr, .size = size, .pio = pio};

	return ioctl(v->fd, add ? KVM_REGISTER_COALESCED_MMIO : KVM_UNREGISTER_COALESCED_MMIO, &z);
}

static struct kvm_coalesced_mmio_ring *ring_of(struct vm *v)
{
	return (void *)((u8 *)v->run + RING_PAGE * 4096);
}

static bool took(const struct kvm_coalesced_mmio *e, u64 addr, uint32_t len, uint32_t pio, u16 data)
{
	return e->phys_addr == addr && e->len == len && e->pio == pio &&
	       !memcmp(e->data, &data, len);
}

static void test_coalesced(void)
{
	struct vm v = start_with_hole();
	struct kvm_coalesced_mmio_ring *r = ring_of(&v), *other;
	int second;

	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_MMIO) == RING_PAGE &&
		  ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_COALESCED_PIO) == 1 &&
		  ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0) == 3 * 4096,
	      "the ring of coalesced stores is a vCPU's third page");
	if (ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0) != 3 * 4096)
		return end(&v);
	check(zone(&v, true, 0xb8000, 0x800, 2) && errno == EINVAL &&
		  zone(&v, false, 0xb8000, 0x800, 2) && errno == EINVAL,
	      "zones are of memory or of ports, and of nothing else");
	check(!zone(&v, true, 0xb8000, 0x800, 0) && !zone(&v, true, 0x3d4, 2, 1),
	      "a zone of either kind can be registered");
	LOAD(v, stores);
	check(run(&v) == KVM_EXIT_MMIO && v.run->mmio.is_write &&
		  v.run->mmio.phys_addr == 0xb87ff && v.run->mmio.len == 2,
	      "a store that goes beyond the zone is the first to exit");
	check(r->first == 0 && r->last == 3 && took(&r->coalesced_mmio[0], 0xb8010, 2, 0, 0x1234) &&
		  took(&r->coalesced_mmio[1], 0xb87ff, 1, 0, 0x56) &&
		  took(&r->coalesced_mmio[2], 0x3d4, 1, 1, 0x0e),
	      "those before are in the ring, in order");
	second = ioctl(v.fd, KVM_CREATE_VCPU, 1);
	other = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, second, 0);
	other = (void *)((u8 *)other + RING_PAGE * 4096);
	check(other->last == 3 && took(&other->coalesced_mmio[2], 0x3d4, 1, 1, 0x0e),
	      "all vCPUs of a VM have one ring");
	munmap((u8 *)other - RING_PAGE * 4096, 3 * 4096);
	close(second);
	r->first = r->last;
	check(run(&v) == KVM_EXIT_MMIO && v.run->mmio.phys_addr == 0xb8010 &&
		  !v.run->mmio.is_write && r->last == 3,
	      "a load from the zone exits");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x78), "and so do other ports");
	check(!zone(&v, false, 0xb8000, 0x800, 0) && run(&v) == KVM_EXIT_MMIO &&
		  v.run->mmio.phys_addr == 0xb8010 && r->last == 3,
	      "a zone that is unregistered is as before");
	check(!zone(&v, false, 0xb8000, 0x800, 0), "unregistering it again does nothing");
	end(&v);
}

static void test_ring_full(void)
{
	struct vm v = start_with_hole();
	struct kvm_coalesced_mmio_ring *r = ring_of(&v);
	unsigned n = 0, bad = 0, exits = 0;

	if (zone(&v, true, 0xb8000, 0x800, 0) || zone(&v, true, 0x3d4, 1, 1)) {
		check(false, "zones for a full ring");
		return end(&v);
	}
	LOAD(v, many_stores);
	while (run(&v) == KVM_EXIT_MMIO) {
		exits++;
		for (; r->first != r->last; r->first = (r->first + 1) % RING_MAX)
			bad += !took(&r->coalesced_mmio[r->first], 0xb8020, 2, 0, n++);
		bad += *(u16 *)v.run->mmio.data != n++;
	}
	for (; r->first != r->last; r->first = (r->first + 1) % RING_MAX)
		bad += !took(&r->coalesced_mmio[r->first], 0xb8020, 2, 0, n++);
	check(v.run->exit_reason == KVM_EXIT_HLT && n == 400 && !bad && exits == 400 / RING_MAX,
	      "a store that finds the ring full exits (%u stores, %u wrong, %u exits)", n, bad,
	      exits);
	end(&v);

	v = start_with_hole();
	r = ring_of(&v);
	zone(&v, true, 0x3d4, 1, 1);
	LOAD(v, many_outs);
	for (int i = 0; i < 400; i++)
		ram[0x2000 + i] = i * 7;
	for (n = bad = 0; run(&v) == KVM_EXIT_IO;) {
		for (; r->first != r->last; r->first = (r->first + 1) % RING_MAX, n++)
			bad += !took(&r->coalesced_mmio[r->first], 0x3d4, 1, 1, (u8)(n * 7));
		for (uint32_t i = 0; i < v.run->io.count; i++, n++)
			bad += io_data(&v)[i] != (u8)(n * 7);
	}
	for (; r->first != r->last; r->first = (r->first + 1) % RING_MAX, n++)
		bad += !took(&r->coalesced_mmio[r->first], 0x3d4, 1, 1, (u8)(n * 7));
	check(v.run->exit_reason == KVM_EXIT_HLT && n == 400 && !bad,
	      "so does what is left of REP OUTS (%u bytes, %u wrong)", n, bad);
	r->first = 7;
	r->last = 0x12345678;
	ioctl(v.vcpu, KVM_SET_REGS, &(struct kvm_regs){.rip = CODE, .rflags = 2, .rsp = STACK});
	check(run(&v) == KVM_EXIT_IO && v.run->io.count == 400 && r->last == 0x12345678,
	      "a ring that the VMM has spoilt takes nothing");
	end(&v);
}

/* ---- guest memory follows the VMM's ---- */

GUEST(look, "1: mov 0x2000, %al; out %al, %dx; jmp 1b");
GUEST(dirty, "mov %al, 0x2000; out %al, %dx; mov %al, 0x3000; out %al, %dx; mov %al, 0x2000; out "
	     "%al, %dx; mov %al, 0x4000; hlt");

static bool sees(struct vm *v, u8 val)
{
	return run(v) == KVM_EXIT_IO && *io_data(v) == val;
}

static void test_notifier(void)
{
	struct vm v = start(NO_CHIP);
	int status;
	pid_t child;

	LOAD(v, look);
	ram[0x2000] = 0x11;
	check(sees(&v, 0x11), "the guest sees the VMM's memory");
	madvise(ram + 0x2000, 4096, MADV_DONTNEED);
	check(sees(&v, 0), "after MADV_DONTNEED it sees zeroes");
	ram[0x2000] = 0x22;
	check(sees(&v, 0x22), "and what is written then");
	child = fork();
	if (!child) {
		usleep(300000);
		_exit(ram[0x2000]);
	}
	ram[0x2000] = 0x33;
	check(sees(&v, 0x33), "after fork it sees the parent's copy");
	waitpid(child, &status, 0);
	check(WEXITSTATUS(status) == 0x22, "and the child keeps its own");
	mprotect(ram + 0x2000, 4096, PROT_NONE);
	/* the guest's code is looked up again, and with it its neighbours */
	mprotect(ram + 0x1000, 4096, PROT_READ);
	check(run(&v) == -EFAULT, "memory that the VMM may not access is EFAULT");
	mprotect(ram + 0x1000, 8192, PROT_READ | PROT_WRITE);
	check(sees(&v, 0x33), "once it may the guest goes on");
	munmap(ram + 0x2000, 4096);
	check(run(&v) == -EFAULT, "memory that is unmapped is EFAULT");
	mmap(ram + 0x2000, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
	     -1, 0);
	check(sees(&v, 0), "once mapped again the guest goes on");
	end(&v);
}

static void test_dirty_log(void)
{
	struct vm v = start(NO_CHIP);
	u64 bits[RAM_BYTES / 4096 / 64], rest = 0;
	struct kvm_dirty_log d = {.dirty_bitmap = bits};

	LOAD(v, dirty);
	run(&v);
	check(ioctl(v.fd, KVM_GET_DIRTY_LOG, &d) && errno == ENOENT,
	      "no dirty log without the flag");
	set_slot(v.fd, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, RAM_BYTES, ram);
	ioctl(v.fd, KVM_GET_DIRTY_LOG, &d);
	run(&v);
	ioctl(v.fd, KVM_GET_DIRTY_LOG, &d);
	for (size_t i = 1; i < sizeof(bits) / sizeof(bits[0]); i++)
		rest |= bits[i];
	check(bits[0] == 1 << 3 && !rest, "the page written is dirty, no other");
	run(&v);
	ioctl(v.fd, KVM_GET_DIRTY_LOG, &d);
	check(bits[0] == 1 << 2, "then the next one");
	ioctl(v.fd, KVM_GET_DIRTY_LOG, &d);
	check(!bits[0], "reading clears");
	run(&v);
	mprotect(ram + 0x4000, 4096, PROT_READ);
	mprotect(ram + 0x4000, 4096, PROT_READ | PROT_WRITE);
	ioctl(v.fd, KVM_GET_DIRTY_LOG, &d);
	/* others that dom0 has moved may be, too */
	check(bits[0] & 1 << 4, "a page that has been written and unmapped since is dirty");
	ioctl(v.fd, KVM_GET_DIRTY_LOG, &d);
	check(!bits[0], "once");
	set_slot(v.fd, 0, 0, 0, RAM_BYTES, ram);
	mprotect(ram + 0x4000, 4096, PROT_READ);
	mprotect(ram + 0x4000, 4096, PROT_READ | PROT_WRITE);
	set_slot(v.fd, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, RAM_BYTES, ram);
	ioctl(v.fd, KVM_GET_DIRTY_LOG, &d);
	check(!bits[0], "a new log knows nothing of the old one");
	end(&v);
}

/* ---- interrupts ---- */

#define PIC_INIT(mask)                                                                             \
	"mov $0x11, %al; out %al, $0x20; mov $0x20, %al; out %al, $0x21; mov $4, %al; out %al, "   \
	"$0x21\n"                                                                                  \
	"mov $1, %al; out %al, $0x21; mov $" #mask ", %al; out %al, $0x21\n"
GUEST(pic_wait,
      PIC_INIT(0xef) "mov $0x78, %dx; out %al, %dx; sti; hlt; mov $0x79, %dx; out %al, %dx; hlt");
GUEST(level_wait, PIC_INIT(0xdf) "mov $0x4d0, %dx; mov $0x20, %al; out %al, %dx; mov $0x78, %dx; "
				 "out %al, %dx; sti; hlt");
GUEST(pit_wait, "xor %cx, %cx\n" PIC_INIT(
		    0xfe) "mov $0x34, %al; out %al, $0x43; mov $0x9c, %al; out %al, $0x40\n"
			  "mov $0x2e, %al; out %al, $0x40; sti; 1: hlt; jmp 1b");
GUEST(sti_spin, "nop; nop; sti; nop; jmp .");
GUEST(sti_halt, "mov $0x78, %dx; out %al, %dx; sti; hlt");
GUEST(on_irq, "mov $0x77, %dx; out %al, %dx; iret");
GUEST(on_irq_eoi, "mov $0x20, %al; out %al, $0x20; mov $0x77, %dx; out %al, %dx; iret");
GUEST(on_tick, "inc %cx; cmp $50, %cx; mov $0x20, %al; out %al, $0x20; jne 1f; mov $0x77, %dx; out "
	       "%al, %dx; 1: iret");

static struct kvm_pic_state pic(struct vm *v)
{
	struct kvm_irqchip c = {.chip_id = KVM_IRQCHIP_PIC_MASTER};

	ioctl(v->fd, KVM_GET_IRQCHIP, &c);
	return c.chip.pic;
}

static void test_pic(void)
{
	struct vm v = start(FULL_CHIP);
	struct kvm_irq_level l = {.irq = 4, .level = 1};

	LOAD(v, pic_wait);
	HANDLE(0x24, on_irq);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x78), "the PIC is programmed without exits");
	check(!ioctl(v.fd, KVM_IRQ_LINE_STATUS, &l) && l.status > 0,
	      "KVM_IRQ_LINE_STATUS says delivered");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "the handler of its vector runs");
	check(pic(&v).isr == 0x10 && pic(&v).irq_base == 0x20,
	      "KVM_GET_IRQCHIP shows it in service");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x79), "and returns behind HLT");
	end(&v);
}

static void test_resample(void)
{
	struct vm v = start(FULL_CHIP);
	int e = eventfd(0, EFD_NONBLOCK), again = eventfd(0, EFD_NONBLOCK);
	struct kvm_irqfd f = {
	    .fd = e, .gsi = 5, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = again};

	LOAD(v, level_wait);
	HANDLE(0x25, on_irq_eoi);
	check(!ioctl(v.fd, KVM_IRQFD, &f), "an irqfd with resampling can be assigned");
	run(&v);
	eventfd_write(e, 1);
	check(pic(&v).irr == 0x20, "writing it raises the line");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "the handler runs");
	check(count(again) == 1 && pic(&v).irr == 0,
	      "its EOI signals the resample eventfd and lowers the line");
	f.flags = KVM_IRQFD_FLAG_DEASSIGN;
	check(!ioctl(v.fd, KVM_IRQFD, &f), "it can be deassigned");
	eventfd_write(e, 1);
	check(pic(&v).irr == 0, "and then raises nothing");
	close(e);
	close(again);
	end(&v);
}

static void test_pit(void)
{
	struct vm v = start(FULL_CHIP);
	struct kvm_pit_config c = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct timespec a, b;
	double s;

	LOAD(v, pit_wait);
	HANDLE(0x20, on_tick);
	check(!ioctl(v.fd, KVM_CREATE_PIT2, &c), "a PIT can be made");
	clock_gettime(CLOCK_MONOTONIC, &a);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "50 ticks come");
	clock_gettime(CLOCK_MONOTONIC, &b);
	s = b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9;
	check(s > 0.45 && s < 2, "at 100 Hz (%.2f s)", s);
	end(&v);
}

GUEST(lapic, "mov %eax, 0x80; mov 0x80, %ebx; mov 0x81, %cl; mov $0x78, %dx; out %al, %dx; hlt");

/* Run it with DS there and this EAX. True: the VMM hears of nothing but the port. */
static bool lapic_access(struct vm *v, u64 apic_base, u64 at, uint32_t eax)
{
	struct kvm_regs r = {.rip = CODE, .rflags = 2, .rsp = STACK, .rax = eax};
	struct kvm_sregs s;

	ioctl(v->vcpu, KVM_GET_SREGS, &s);
	s.apic_base = apic_base;
	s.ds.base = at;
	ioctl(v->vcpu, KVM_SET_SREGS, &s);
	ioctl(v->vcpu, KVM_SET_REGS, &r);
	return run(v) == KVM_EXIT_IO && at_port(v, 0x78);
}

static uint32_t tpr(struct vm *v)
{
	struct kvm_lapic_state l = {};

	ioctl(v->vcpu, KVM_GET_LAPIC, &l);
	return *(uint32_t *)(l.regs + 0x80);
}

static void test_lapic_hole(void)
{
	struct vm v = start(FULL_CHIP);
	int e = eventfd(0, EFD_NONBLOCK);
	struct kvm_ioeventfd io = {.addr = 0xfee00080, .len = 4, .fd = e};

	LOAD(v, lapic);
	ioctl(v.fd, KVM_IOEVENTFD, &io);
	check(lapic_access(&v, APIC_XAPIC, 0xfee00000, 0x50) && (uint32_t)regs(&v).rbx == 0x50 &&
		  tpr(&v) == 0x50,
	      "LAPIC page: an enabled xAPIC is there");
	check(lapic_access(&v, APIC_OFF, 0xfee00000, 0x60) && (uint32_t)regs(&v).rbx == ~0u &&
		  (regs(&v).rcx & 0xff) == 0xff && tpr(&v) == 0x50,
	      "LAPIC page: of one that is off stores are dropped, loads give ones");
	check(lapic_access(&v, APIC_X2APIC, 0xfee00000, 0x70) && (uint32_t)regs(&v).rbx == ~0u &&
		  tpr(&v) == 0x50,
	      "LAPIC page: so they are in x2APIC mode");
	check(lapic_access(&v, APIC_OFF - 0x100000, 0xfed00000, 0x70) &&
		  (uint32_t)regs(&v).rbx == ~0u,
	      "LAPIC page: so they are where it has moved");
	check(!count(e), "LAPIC page: an ioeventfd there is not signalled by then");
	check(!lapic_access(&v, APIC_XAPIC - 0x100000, 0xfee00000, 0x70) &&
		  v.run->exit_reason == KVM_EXIT_MMIO && !v.run->mmio.is_write && count(e) == 1,
	      "LAPIC page: what is elsewhere reaches eventfd and VMM");
	set_slot(v.fd, 1, 0, 0xfee00000, 4096, ram + 0x100000);
	check(lapic_access(&v, APIC_OFF, 0xfee00000, 0x1234) &&
		  *(uint32_t *)(ram + 0x100080) == 0x1234,
	      "LAPIC page: memory there is memory while it is off");
	close(e);
	end(&v);

	v = start(NO_CHIP);
	LOAD(v, lapic);
	check(!lapic_access(&v, APIC_OFF, 0xfee00000, 0x70) &&
		  v.run->exit_reason == KVM_EXIT_MMIO && v.run->mmio.is_write &&
		  v.run->mmio.phys_addr == 0xfee00080,
	      "LAPIC page: without an irqchip it is the VMM's");
	end(&v);
}

static void test_user_interrupts(void)
{
	struct kvm_interrupt irq = {0x40};
	struct vm v = start(NO_CHIP);

	LOAD(v, sti_spin);
	HANDLE(0x40, on_irq);
	v.run->request_interrupt_window = 1;
	check(run(&v) == KVM_EXIT_IRQ_WINDOW_OPEN && v.run->ready_for_interrupt_injection &&
		  v.run->if_flag,
	      "no irqchip: the interrupt window is told");
	v.run->request_interrupt_window = 0;
	check(!ioctl(v.vcpu, KVM_INTERRUPT, &irq), "no irqchip: KVM_INTERRUPT is taken");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "no irqchip: the handler runs");
	end(&v);

	v = start(SPLIT_CHIP);
	LOAD(v, sti_halt);
	HANDLE(0x40, on_irq);
	run(&v);
	check(!ioctl(v.vcpu, KVM_INTERRUPT, &irq), "split irqchip: KVM_INTERRUPT is taken");
	check(ioctl(v.vcpu, KVM_INTERRUPT, &irq) && errno == EEXIST,
	      "split irqchip: one at a time");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "split irqchip: the handler runs");
	end(&v);
}

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

/* ---- registers that a VMM may set as a guest may not ---- */

static bool set_base(struct vm *v, u64 base, bool by_msr)
{
	struct kvm_sregs s;

	if (by_msr)
		return set_msr(v, MSR_APIC_BASE, base) == 1;
	ioctl(v->vcpu, KVM_GET_SREGS, &s);
	s.apic_base = base;
	return !ioctl(v->vcpu, KVM_SET_SREGS, &s);
}

static void test_apic_base(void)
{
	static const u64 modes[] = {APIC_OFF, APIC_XAPIC, APIC_X2APIC};
	static const u64 wrong[] = {APIC_X2APIC & ~0x800ull, APIC_XAPIC | 1,
				    APIC_XAPIC | 1ull << 52};
	struct vm v = start(FULL_CHIP);
	struct kvm_sregs s;

	for (int by_msr = 0; by_msr < 2; by_msr++) {
		int bad = 0;

		for (int i = 0; i < 9; i++) {
			set_base(&v, modes[i / 3], false);
			bad += !set_base(&v, modes[i % 3], by_msr) ||
			       get_msr(&v, MSR_APIC_BASE) != modes[i % 3];
		}
		check(!bad, "%s: APIC_BASE makes any transition (%d it does not)",
		      by_msr ? "KVM_SET_MSRS" : "KVM_SET_SREGS", bad);
		bad = 0;
		set_base(&v, APIC_XAPIC, false);
		for (int i = 0; i < 3; i++)
			bad += set_base(&v, wrong[i], by_msr) ||
			       get_msr(&v, MSR_APIC_BASE) != APIC_XAPIC;
		check(!bad, "x2APIC of an APIC that is off and reserved bits are refused");
	}
	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.cr2 = 0x1234;
	s.apic_base = wrong[0];
	check(ioctl(v.vcpu, KVM_SET_SREGS, &s) && errno == EINVAL &&
		  !ioctl(v.vcpu, KVM_GET_SREGS, &s) && !s.cr2,
	      "KVM_SET_SREGS that is refused changes nothing");
	end(&v);

	v = start(NO_CHIP);
	check(set_base(&v, 0xfed00900, false) && !ioctl(v.vcpu, KVM_GET_SREGS, &s) &&
		  s.apic_base == 0xfed00900,
	      "without an irqchip KVM_SET_SREGS keeps the VMM's APIC_BASE");
	end(&v);
}

static void test_sregs2(void)
{
	const size_t common = offsetof(struct kvm_sregs, interrupt_bitmap);
	struct vm v = start(NO_CHIP);
	struct kvm_sregs2 s2;
	struct kvm_sregs s;
	uint32_t irq = 0x41;

	memset(&s2, 0xff, sizeof(s2));
	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_SREGS2) == 1 &&
		  !ioctl(v.vcpu, KVM_GET_SREGS, &s) && !ioctl(v.vcpu, KVM_GET_SREGS2, &s2) &&
		  !memcmp(&s, &s2, common) && !s2.flags && !s2.pdptrs[3],
	      "KVM_GET_SREGS2 gives what KVM_GET_SREGS does, and no PDPTRs");
	check(!ioctl(v.vcpu, KVM_INTERRUPT, &irq), "an interrupt waits");
	s2.cr2 = 0x1234;
	check(!ioctl(v.vcpu, KVM_SET_SREGS2, &s2) && !ioctl(v.vcpu, KVM_GET_SREGS, &s) &&
		  s.cr2 == 0x1234 && s.interrupt_bitmap[1] == 2,
	      "KVM_SET_SREGS2 sets them, and leaves the interrupt alone");
	s2.cr2 = 0x5678;
	s2.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	check(ioctl(v.vcpu, KVM_SET_SREGS2, &s2) && errno == EINVAL,
	      "PDPTRs without PAE paging are refused");
	s2.cr0 = 0x80000011, s2.cr4 = 0x20;
	check(!ioctl(v.vcpu, KVM_SET_SREGS2, &s2), "with it they are taken");
	s2.flags = 2;
	s2.cr2 = 0x9abc;
	check(ioctl(v.vcpu, KVM_SET_SREGS2, &s2) && errno == EINVAL &&
		  !ioctl(v.vcpu, KVM_GET_SREGS2, &s2) && s2.cr2 == 0x5678,
	      "an unknown flag is refused, and changes nothing");
	end(&v);
}

#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

static void test_efer(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_sregs real, s;

	ioctl(v.vcpu, KVM_GET_SREGS, &real);
	s = real;
	s.cr0 = 0x80000011;
	s.cr4 = 0x20;
	s.efer = EFER_LME | EFER_LMA;
	check(!ioctl(v.vcpu, KVM_SET_SREGS, &s), "a vCPU can be put into long mode");
	check(set_msr(&v, MSR_EFER, 0) == 1 && get_msr(&v, MSR_EFER) == EFER_LMA,
	      "KVM_SET_MSRS: EFER.LME may change while paging is on");
	check(set_msr(&v, MSR_EFER, 1ull << 12 | EFER_LMA) != 1 &&
		  set_msr(&v, MSR_EFER, 1ull << 9) != 1,
	      "SVME and reserved bits may not");
	check(!ioctl(v.vcpu, KVM_SET_SREGS, &real) && run(&v) == KVM_EXIT_HLT,
	      "and it runs in real mode after KVM_SET_SREGS");
	end(&v);
}

static void test_cpuid_flags(void)
{
	struct vm v = start(FULL_CHIP);
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[CPUIDS];
	} want = {.head.nent = CPUIDS}, got = {.head.nent = CPUIDS};
	int bad = 0;

	ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &want);
	ioctl(v.vcpu, KVM_GET_CPUID2, &got);
	for (uint32_t i = 0; i < got.head.nent; i++)
		bad += got.entry[i].function != want.entry[i].function ||
		       got.entry[i].index != want.entry[i].index ||
		       got.entry[i].flags != want.entry[i].flags ||
		       got.entry[i].flags & ~KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	check(got.head.nent == want.head.nent && !bad,
	      "KVM_GET_CPUID2 gives the entries and flags that were set (%d it does not)", bad);
	end(&v);
}

static void test_mmu_pages(void)
{
	struct vm v = start(NO_CHIP);

	check(ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_MMU_SHADOW_CACHE_CONTROL) == 1 &&
		  !ioctl(v.fd, KVM_SET_NR_MMU_PAGES, 1000) &&
		  ioctl(v.fd, KVM_GET_NR_MMU_PAGES, 0) == 1000,
	      "KVM_SET_NR_MMU_PAGES is taken, and KVM_GET_NR_MMU_PAGES tells it");
	check(ioctl(v.fd, KVM_SET_NR_MMU_PAGES, 63) && errno == EINVAL &&
		  ioctl(v.fd, KVM_GET_NR_MMU_PAGES, 0) == 1000,
	      "63 are too few");
	end(&v);
}

/* ---- machine checks ---- */

#define MSR_MCG_CAP	    0x179
#define MSR_MCG_STATUS	    0x17a
#define MSR_MCG_CTL	    0x17b
#define MSR_HWCR	    0xc0010015
#define MSR_MC(bank, which) (0x400 + (bank)*4 + (which))
enum { MCI_CTL, MCI_STATUS, MCI_ADDR, MCI_MISC };
#define MCG_CAP	 (10 | 1ull << 8 | 1ull << 24) /* banks, MCG_CTL_P, MCG_SER_P */
#define MCG_MCIP (1ull << 2)
#define MCI_VAL	 (1ull << 63)
#define MCI_OVER (1ull << 62)
#define MCI_UC	 (1ull << 61)
#define MCI_S	 (1ull << 56)
#define CR4_MCE	 (1ull << 6)

GUEST(rd, "rdmsr; out %al, $0x78; hlt");
GUEST(wr, "wrmsr; out %al, $0x78; hlt");
GUEST(on_gp, "out %al, $0x13; hlt");
GUEST(on_mc, "out %al, $0x12; hlt");

/* The guest's own RDMSR or WRMSR. False: #GP. */
static bool guest_msr(struct vm *v, bool write, uint32_t index, u64 *val)
{
	struct kvm_regs r = {.rip = CODE,
			     .rflags = 2,
			     .rsp = STACK,
			     .rcx = index,
			     .rax = (uint32_t)*val,
			     .rdx = *val >> 32};

	memcpy(ram + CODE, write ? wr : rd, write ? wr_end - wr : rd_end - rd);
	HANDLE(13, on_gp);
	ioctl(v->vcpu, KVM_SET_REGS, &r);
	run(v);
	r = regs(v);
	*val = (uint32_t)r.rax | r.rdx << 32;
	return at_port(v, 0x78);
}

static bool guest_writes(struct vm *v, uint32_t index, u64 val)
{
	return guest_msr(v, true, index, &val);
}

static bool guest_reads(struct vm *v, uint32_t index, u64 want)
{
	u64 val = 0;

	return guest_msr(v, false, index, &val) && val == want;
}

static struct vm start_mce(u64 cr4)
{
	struct vm v = start(NO_CHIP);
	struct kvm_sregs s;
	u64 cap = MCG_CAP;

	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.cr4 = cr4;
	ioctl(v.vcpu, KVM_SET_SREGS, &s);
	check(!ioctl(v.vcpu, KVM_X86_SETUP_MCE, &cap), "KVM_X86_SETUP_MCE gives ten banks");
	return v;
}

static int set_mce(struct vm *v, u64 status, u64 mcg_status, u8 bank)
{
	struct kvm_x86_mce e = {.status = status,
				.addr = 0x1234000,
				.misc = 0x8c,
				.mcg_status = mcg_status,
				.bank = bank};

	return ioctl(v->vcpu, KVM_X86_SET_MCE, &e);
}

static void test_mce_setup(void)
{
	struct vm v = start(FULL_CHIP);
	static const u64 wrong[] = {0, 33, 10 | 1 << 9, 10 | 1 << 10, 10 | 1ull << 27};
	u64 cap = 0;
	int bad = 0;

	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MCE) == 32 &&
		  !ioctl(kvm, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap) && cap == (MCG_CAP & ~0xffull),
	      "machine checks: 32 banks, MCG_CTL and software recovery are offered");
	check(get_msr(&v, MSR_MCG_CAP) == 32, "a new vCPU has KVM's banks");
	for (int i = 0; i < 5; i++)
		bad += !ioctl(v.vcpu, KVM_X86_SETUP_MCE, (u64[]){wrong[i]}) || errno != EINVAL;
	check(!bad && ioctl(v.vcpu, KVM_X86_SETUP_MCE, NULL) && errno == EFAULT,
	      "no bank, too many, and what is not offered are refused");
	end(&v);
}

static void test_mce_msrs(void)
{
	struct vm v = start_mce(CR4_MCE);
	bool amd = __builtin_cpu_is("amd");
	int bad = 0;

	check(guest_reads(&v, MSR_MCG_CAP, MCG_CAP) && guest_reads(&v, MSR_MCG_STATUS, 0) &&
		  guest_reads(&v, MSR_MCG_CTL, ~0ull) &&
		  guest_reads(&v, MSR_MC(0, MCI_CTL), ~0ull) &&
		  guest_reads(&v, MSR_MC(9, MCI_MISC), 0),
	      "the guest reads them as they begin");
	check(!guest_reads(&v, MSR_MC(10, MCI_CTL), 0) && at_port(&v, 0x13) &&
		  !guest_writes(&v, MSR_MC(10, MCI_CTL), 0) &&
		  get_msr(&v, MSR_MC(10, MCI_CTL)) == ~0ull &&
		  set_msr(&v, MSR_MC(10, MCI_CTL), 0) != 1,
	      "an eleventh bank there is not");
	check(!guest_writes(&v, MSR_MCG_CAP, 0) && set_msr(&v, MSR_MCG_CAP, 0) != 1,
	      "MCG_CAP cannot be written");
	bad += guest_writes(&v, MSR_MCG_CTL, 5) || set_msr(&v, MSR_MCG_CTL, 5) == 1;
	bad += guest_writes(&v, MSR_MC(3, MCI_CTL), 5) || set_msr(&v, MSR_MC(3, MCI_CTL), 5) == 1;
	check(!bad, "the controls take nothing but zeroes and ones");
	bad += !guest_writes(&v, MSR_MCG_CTL, 0) || !guest_reads(&v, MSR_MCG_CTL, 0) ||
	       !guest_writes(&v, MSR_MC(3, MCI_CTL), 0);
	bad += !guest_writes(&v, MSR_MC(4, MCI_CTL), ~(1ull << 10)) ||
	       get_msr(&v, MSR_MC(4, MCI_CTL)) != ~(1ull << 10);
	check(!bad && !get_msr(&v, MSR_MC(3, MCI_CTL)),
	      "these, and what Linux writes on old Opterons");
	check(!guest_writes(&v, MSR_MC(3, MCI_STATUS), 1) &&
		  guest_writes(&v, MSR_MC(3, MCI_STATUS), 0),
	      "a status can only be cleared");
	check(guest_writes(&v, MSR_HWCR, 1 << 18) &&
		  guest_writes(&v, MSR_MC(3, MCI_STATUS), 1) == amd,
	      "but by AMD's McStatusWrEn");
	check(set_msr(&v, MSR_HWCR, 0) == 1 &&
		  set_msr(&v, MSR_MC(3, MCI_STATUS), MCI_VAL | 7) == 1 &&
		  guest_reads(&v, MSR_MC(3, MCI_STATUS), MCI_VAL | 7),
	      "or by the VMM");
	check(!guest_reads(&v, 0x280, 0) && set_msr(&v, 0x280, 0) == 1 &&
		  set_msr(&v, 0x280, 1) != 1 && !get_msr(&v, 0x280),
	      "there are no MCi_CTL2, but a VMM may write 0");
	end(&v);
}

static void test_mce_errors(void)
{
	const u64 fatal = MCI_VAL | MCI_UC | MCI_S, mcg = MCG_MCIP | 1;
	struct vm v = start_mce(CR4_MCE);

	check(set_mce(&v, MCI_UC, mcg, 1) && errno == EINVAL && set_mce(&v, fatal, mcg, 10) &&
		  errno == EINVAL && set_mce(&v, fatal, mcg, 255) && errno == EINVAL,
	      "no error, or for no bank, is refused");
	check(!set_mce(&v, MCI_VAL | 1, 0, 1) &&
		  get_msr(&v, MSR_MC(1, MCI_STATUS)) == (MCI_VAL | 1) &&
		  get_msr(&v, MSR_MC(1, MCI_ADDR)) == 0x1234000 &&
		  get_msr(&v, MSR_MC(1, MCI_MISC)) == 0x8c && run(&v) == KVM_EXIT_HLT,
	      "a corrected error is noted, no more");
	check(!set_mce(&v, MCI_VAL | 2, 0, 1) &&
		  get_msr(&v, MSR_MC(1, MCI_STATUS)) == (MCI_VAL | MCI_OVER | 2),
	      "a second one notes the overflow");
	check(!set_mce(&v, MCI_VAL | MCI_UC | 3, 0, 2) &&
		  get_msr(&v, MSR_MC(2, MCI_STATUS)) == (MCI_VAL | MCI_UC | 3) &&
		  guest_reads(&v, MSR_MCG_STATUS, 0),
	      "an uncorrected one that needs no action makes no exception");
	check(!set_mce(&v, MCI_VAL | 4, 0, 2) &&
		  get_msr(&v, MSR_MC(2, MCI_STATUS)) == (MCI_VAL | MCI_OVER | MCI_UC | 3),
	      "and is not overwritten by a corrected one");
	set_msr(&v, MSR_MC(5, MCI_CTL), 0);
	check(!set_mce(&v, fatal, mcg, 5) && !get_msr(&v, MSR_MC(5, MCI_STATUS)) &&
		  guest_reads(&v, MSR_MCG_STATUS, 0),
	      "a bank that is off reports nothing");
	HANDLE(18, on_mc); /* all handlers lie at the same place */
	check(!set_mce(&v, fatal, mcg, 9) && run(&v) == KVM_EXIT_IO && at_port(&v, 0x12),
	      "an uncorrected error is #MC");
	check(guest_reads(&v, MSR_MCG_STATUS, mcg) &&
		  guest_reads(&v, MSR_MC(9, MCI_STATUS), fatal) &&
		  guest_reads(&v, MSR_MC(9, MCI_ADDR), 0x1234000),
	      "which the guest finds in the bank");
	check(!set_mce(&v, fatal, mcg, 9) && run(&v) == KVM_EXIT_SHUTDOWN,
	      "while it is at that, another one shuts it down");
	end(&v);

	v = start_mce(0);
	check(!set_mce(&v, fatal, mcg, 9) && run(&v) == KVM_EXIT_SHUTDOWN,
	      "without CR4.MCE the first one does");
	end(&v);
}

/* ---- registers in the shared page ---- */

#define SYNC_ALL (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

GUEST(show, "out %al, $0x78; jmp show");

static bool same_regs(struct vm *v)
{
	struct kvm_sync_regs *s = &v->run->s.regs;
	struct kvm_vcpu_events e = {};
	struct kvm_sregs sregs = {};
	struct kvm_regs r = regs(v);

	ioctl(v->vcpu, KVM_GET_SREGS, &sregs);
	ioctl(v->vcpu, KVM_GET_VCPU_EVENTS, &e);
	return !memcmp(&r, &s->regs, sizeof(r)) && !memcmp(&sregs, &s->sregs, sizeof(sregs)) &&
	       !memcmp(&e, &s->events, sizeof(e));
}

static void test_sync_regs(void)
{
	struct vm v = start(FULL_CHIP);
	struct kvm_sync_regs *s = &v.run->s.regs, none;

	LOAD(v, show);
	check(ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) == SYNC_ALL,
	      "registers, system registers and events can be had with an exit");
	v.run->kvm_valid_regs = SYNC_ALL + 1;
	check(run(&v) == -EINVAL, "an unknown set to read is refused");
	v.run->kvm_valid_regs = 0;
	v.run->kvm_dirty_regs = 1u << 3;
	check(run(&v) == -EINVAL, "an unknown set to write is refused");
	v.run->kvm_dirty_regs = 0;
	memset(s, 0xaa, sizeof(*s));
	memset(&none, 0xaa, sizeof(none));
	check(run(&v) == KVM_EXIT_IO && !memcmp(s, &none, sizeof(none)),
	      "unless asked for they are not there");
	v.run->kvm_valid_regs = SYNC_ALL;
	check(run(&v) == KVM_EXIT_IO && same_regs(&v), "asked for they are what the ioctls say");
	v.run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	s->regs.rax = 0x5b;
	s->regs.rbx = 0x1234;
	s->sregs.cr2 = 0x4321;
	v.run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	check(run(&v) == KVM_EXIT_IO && *io_data(&v) == 0x5b && s->regs.rbx == 0x1234 &&
		  !v.run->kvm_dirty_regs,
	      "what the VMM has written there the guest has, once");
	v.run->kvm_valid_regs = SYNC_ALL;
	v.run->immediate_exit = 1;
	s->regs.rax = 0x77;
	v.run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	check(run(&v) == -EINTR && same_regs(&v) && s->regs.rax == 0x77 && s->sregs.cr2 == 0x4321,
	      "also with immediate_exit");
	v.run->immediate_exit = 0;
	s->sregs.apic_base = APIC_X2APIC & ~0x800ull;
	v.run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
	check(run(&v) == -EINVAL && get_msr(&v, MSR_APIC_BASE) == APIC_XAPIC &&
		  s->sregs.apic_base == APIC_XAPIC,
	      "what KVM_SET_SREGS refuses is refused");
	v.run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	s->events.flags = 1u << 31;
	check(run(&v) == -EINVAL, "and what KVM_SET_VCPU_EVENTS does");
	s->events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING;
	s->events.nmi.pending = 1;
	HANDLE(2, on_irq);
	v.run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "an NMI can be had that way");
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

/* ---- MSRs that tell of features ---- */

static long system_msr(uint32_t index, u64 *val)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} m = {.head.nmsrs = 1, .entry.index = index};
	long r = ioctl(kvm, KVM_GET_MSRS, &m);

	*val = m.entry.data;
	return r;
}

static void test_msr_features(void)
{
	struct vm v = start(FULL_CHIP);
	struct {
		struct kvm_msr_list head;
		uint32_t index[64];
	} l = {};
	bool amd = __builtin_cpu_is("amd"), lfence = false;
	int bad = 0;
	u64 val;

	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_GET_MSR_FEATURES) == 1 &&
		  ioctl(kvm, KVM_GET_MSR_FEATURE_INDEX_LIST, &l) && errno == E2BIG &&
		  l.head.nmsrs > 0 && l.head.nmsrs <= 64,
	      "there are MSRs that tell of features (%u)", l.head.nmsrs);
	if (l.head.nmsrs > 64)
		l.head.nmsrs = 64;
	bad += ioctl(kvm, KVM_GET_MSR_FEATURE_INDEX_LIST, &l) != 0;
	for (uint32_t i = 0; i < l.head.nmsrs; i++) {
		bad += system_msr(l.index[i], &val) != 1 || val != get_msr(&v, l.index[i]);
		lfence |= l.index[i] == 0xc0011029 && val & 2;
	}
	check(!bad, "/dev/kvm reads them as a new vCPU does (%d it does not)", bad);
	check(lfence == amd, "AMD's says that LFENCE serializes");
	check(!system_msr(MSR_TSC, &val), "others it does not read");
	end(&v);
}

/* ---- capabilities to be enabled ---- */

static int enable(int fd, uint32_t cap, u64 arg, uint32_t flags)
{
	struct kvm_enable_cap c = {.cap = cap, .flags = flags, .args = {arg}};

	return ioctl(fd, KVM_ENABLE_CAP, &c) ? -errno : 0;
}

static void test_enable_cap(void)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, 0),
	    max = ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID), vcpu;

	check(enable(vm, KVM_CAP_MAX_VCPU_ID, max + 1, 0) == -EINVAL &&
		  enable(vm, KVM_CAP_MAX_VCPU_ID, 2, 1) == -EINVAL,
	      "more vCPU ids than there are cannot be asked for");
	check(!enable(vm, KVM_CAP_MAX_VCPU_ID, 2, 0) && !enable(vm, KVM_CAP_MAX_VCPU_ID, 2, 0) &&
		  enable(vm, KVM_CAP_MAX_VCPU_ID, 3, 0) == -EINVAL,
	      "fewer can, once");
	check(ioctl(vm, KVM_CREATE_VCPU, 2) < 0 && errno == EINVAL, "and then there are no others");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 1);
	check(vcpu >= 0 && ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ENABLE_CAP) == 1 &&
		  enable(vcpu, KVM_CAP_SPLIT_IRQCHIP, 24, 0) == -EINVAL &&
		  enable(vcpu, KVM_CAP_HYPERV_SYNIC, 0, 0) == -EINVAL,
	      "a vCPU has no capability to be enabled, and says so");
	close(vcpu);
	close(vm);

	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	check(enable(vm, KVM_CAP_MAX_VCPU_ID, 2, 0) == -EINVAL,
	      "with the first vCPU the number of ids is settled");
	close(vcpu);
	close(vm);
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

/* ---- dirty log: read and cleared apart ---- */

static int clear_log(struct vm *v, uint32_t first, uint32_t pages, u64 *bits)
{
	struct kvm_clear_dirty_log c = {
	    .first_page = first, .num_pages = pages, .dirty_bitmap = bits};

	return ioctl(v->fd, KVM_CLEAR_DIRTY_LOG, &c) ? -errno : 0;
}

static u64 dirty_word(struct vm *v)
{
	u64 bits[RAM_BYTES / 4096 / 64] = {};
	struct kvm_dirty_log d = {.dirty_bitmap = bits};

	return ioctl(v->fd, KVM_GET_DIRTY_LOG, &d) ? ~0ull : bits[0];
}

static void test_clear_log(void)
{
	struct vm v = start(NO_CHIP);
	u64 bits[RAM_BYTES / 4096 / 64] = {};

	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) == 3 &&
		  enable(v.fd, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 2, 0) == -EINVAL &&
		  enable(v.fd, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 5, 0) == -EINVAL &&
		  enable(v.fd, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 1, 1) == -EINVAL,
	      "a log to be cleared apart: unknown ways are refused");
	check(!enable(v.fd, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 1, 0), "it can be had");
	LOAD(v, dirty);
	run(&v);
	check(clear_log(&v, 0, 64, bits) == -ENOENT, "not where there is no log");
	set_slot(v.fd, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, RAM_BYTES, ram);
	memset(bits, 0xff, sizeof(bits));
	clear_log(&v, 0, RAM_BYTES / 4096, bits);
	run(&v);
	check(dirty_word(&v) == 1 << 3 && dirty_word(&v) == 1 << 3, "reading it does not clear it");
	run(&v);
	check(dirty_word(&v) == (1 << 2 | 1 << 3), "what comes is added");
	bits[0] = 1 << 2;
	check(!clear_log(&v, 0, 64, bits) && dirty_word(&v) == 1 << 3,
	      "what is named is cleared, no other");
	run(&v);
	bits[0] = 0;
	check(!clear_log(&v, 0, 64, bits) && dirty_word(&v) == (1 << 3 | 1 << 4), "or nothing");
	ram[0x4000] = 0;
	mprotect(ram + 0x4000, 4096, PROT_READ);
	mprotect(ram + 0x4000, 4096, PROT_READ | PROT_WRITE);
	bits[0] = 1 << 4;
	check(dirty_word(&v) & 1 << 4 && !clear_log(&v, 0, 64, bits) && !(dirty_word(&v) & 1 << 4),
	      "a page that has been unmapped since is cleared, too");
	check(clear_log(&v, 1, 64, bits) == -EINVAL && clear_log(&v, 0, 63, bits) == -EINVAL &&
		  clear_log(&v, 64, RAM_BYTES / 4096, bits) == -EINVAL &&
		  clear_log(&v, ~0u & ~63u, 64, bits) == -EINVAL &&
		  clear_log(&v, 0, 64, NULL) == -EFAULT,
	      "odd ranges, others' and no bitmap are refused");
	set_slot(v.fd, 0, 0, 0, RAM_BYTES, ram);
	enable(v.fd, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 3, 0);
	set_slot(v.fd, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, RAM_BYTES, ram);
	check(dirty_word(&v) == ~0ull, "a log can begin with all pages in it");
	memset(bits, 0xff, sizeof(bits));
	bits[0] &= ~(1ull << 9);
	check(!clear_log(&v, 0, RAM_BYTES / 4096, bits) && dirty_word(&v) == 1 << 9,
	      "until they are cleared");
	end(&v);
}

/* ---- statistics ---- */

struct stats {
	struct kvm_stats_header h;
	int fd;
};

static bool open_stats(struct stats *s, int of)
{
	s->fd = ioctl(of, KVM_GET_STATS_FD, NULL);
	return s->fd >= 0 && pread(s->fd, &s->h, sizeof(s->h), 0) == sizeof(s->h);
}

/* The first value of this name; ~0: there is none. */
static u64 stat_value(const struct stats *s, const char *name, uint32_t *flags)
{
	size_t size = sizeof(struct kvm_stats_desc) + s->h.name_size;
	char buf[sizeof(struct kvm_stats_desc) + 256];
	struct kvm_stats_desc *d = (void *)buf;
	u64 val = ~0ull;

	for (uint32_t i = 0; i < s->h.num_desc && size <= sizeof(buf); i++) {
		if (pread(s->fd, buf, size, s->h.desc_offset + i * size) != (ssize_t)size)
			return ~0ull;
		if (strncmp(d->name, name, s->h.name_size))
			continue;
		*flags = d->flags;
		return pread(s->fd, &val, 8, s->h.data_offset + d->offset) == 8 ? val : ~0ull;
	}
	return ~0ull;
}

static void test_stats(void)
{
	struct vm v = start(NO_CHIP);
	void *volatile nowhere = NULL;
	struct stats vm, vcpu;
	char id[64] = "", want[64];
	uint32_t flags;
	u64 exits, end_of;

	LOAD(v, show);
	if (!check(ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_BINARY_STATS_FD) == 1 &&
		       open_stats(&vm, v.fd) && open_stats(&vcpu, v.vcpu),
		   "VM and vCPU have statistics"))
		return end(&v);
	pread(vcpu.fd, id, vcpu.h.name_size < 64 ? vcpu.h.name_size : 63, vcpu.h.id_offset);
	snprintf(want, sizeof(want), "kvm-%d/vcpu-0", getpid());
	check(!vcpu.h.flags && !strcmp(id, want), "which say whose they are (%s)", id);
	exits = stat_value(&vcpu, "exits", &flags);
	check(exits != ~0ull && flags == (KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE),
	      "exits are counted");
	for (int i = 0; i < 5; i++)
		run(&v);
	check(stat_value(&vcpu, "exits", &flags) >= exits + 5 &&
		  stat_value(&vcpu, "io_exits", &flags) >= 5 &&
		  stat_value(&vcpu, "io_exits", &flags) < 1000,
	      "five more and five accesses to ports");
	check(stat_value(&vcpu, "run_time", &flags) - 1 < ~0ull - 1 &&
		  (flags & KVM_STATS_UNIT_MASK) == KVM_STATS_UNIT_SECONDS,
	      "and the time the guest ran");
	check(stat_value(&vm, "mapped_bytes", &flags) >= 4096 &&
		  stat_value(&vm, "mapped_bytes", &flags) <= RAM_BYTES &&
		  flags == (KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BYTES),
	      "and the memory it has");
	end_of = vcpu.h.data_offset + 8 * vcpu.h.num_desc;
	check(pread(vcpu.fd, id, 8, end_of - 4) == 4 && pread(vcpu.fd, id, 8, end_of) == 0 &&
		  pread(vcpu.fd, id, 8, 1l << 40) == 0 && pread(vcpu.fd, nowhere, 8, 0) < 0 &&
		  write(vcpu.fd, id, 1) < 0,
	      "they end, and are not to be written");
	end(&v);
	check(stat_value(&vcpu, "exits", &flags) >= exits + 5, "they outlive the VM's descriptors");
	close(vm.fd);
	close(vcpu.fd);
}

/* ---- rights follow the guest's CPUID ---- */

GUEST(set_cr4, "mov %cr4, %eax; or %ebx, %eax; mov %eax, %cr4; hlt");
GUEST(set_msr_bits, "rdmsr; or %ebx, %eax; wrmsr; hlt");
GUEST(on_refused, "out %al, $0x13; hlt");

/* The guest's code with EBX and ECX: may it? */
static bool may(struct vm *v, u64 rbx, u64 rcx)
{
	struct kvm_regs r = {.rip = CODE, .rflags = 2, .rsp = STACK, .rbx = rbx, .rcx = rcx};

	ioctl(v->vcpu, KVM_SET_REGS, &r);
	return run(v) == KVM_EXIT_HLT;
}

struct table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[CPUIDS];
};

static void offered(struct table *t)
{
	t->head.nent = CPUIDS;
	ioctl(kvm, KVM_GET_SUPPORTED_CPUID, t);
}

/* reg: 0 EAX to 3 EDX */
static bool mask_feature(struct table *t, uint32_t leaf, uint32_t index, int reg, uint32_t bit)
{
	for (uint32_t i = 0; i < t->head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &t->entry[i];
		uint32_t *word[] = {&e->eax, &e->ebx, &e->ecx, &e->edx}, had;

		if (e->function != leaf || e->index != index)
			continue;
		had = *word[reg] & 1u << bit;
		*word[reg] &= ~(1u << bit);
		return had;
	}
	return false;
}

static void test_rights(void)
{
	static const struct {
		const char *name;
		uint32_t leaf;
		int reg;
		uint32_t bit;
		u64 set;
		uint32_t msr; /* 0: CR4 */
	} rights[] = {
	    {"CR4.FSGSBASE", 7, 1, 0, 1 << 16, 0},
	    {"CR4.SMEP", 7, 1, 7, 1 << 20, 0},
	    {"CR4.SMAP", 7, 1, 20, 1 << 21, 0},
	    {"CR4.UMIP", 7, 2, 2, 1 << 11, 0},
	    {"CR4.PKE", 7, 2, 3, 1 << 22, 0},
	    {"CR4.OSXSAVE", 1, 2, 26, 1 << 18, 0},
	    {"EFER.NXE", 0x80000001, 3, 20, 1 << 11, MSR_EFER},
	    {"EFER.LME", 0x80000001, 3, 29, 1 << 8, MSR_EFER},
	    {"TSC_AUX", 0x80000001, 3, 27, 1, 0xc0000103},
	};
	struct table t;

	for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
		for (int masked = 0; masked < 2; masked++) {
			struct vm v = start(NO_CHIP);
			bool had = true, done;

			offered(&t);
			if (rights[i].msr == 0xc0000103)
				mask_feature(&t, 7, 0, 2, 22); /* RDPID has it, too */
			if (masked)
				had = mask_feature(&t, rights[i].leaf, 0, rights[i].reg,
						   rights[i].bit);
			ioctl(v.vcpu, KVM_SET_CPUID2, &t);
			if (rights[i].msr)
				LOAD(v, set_msr_bits);
			else
				LOAD(v, set_cr4);
			HANDLE(13, on_refused);
			done = may(&v, rights[i].set, rights[i].msr);
			if (had)
				check(done != masked, "%s is %s a guest whose CPUID has %s feature",
				      rights[i].name, masked ? "refused to" : "for",
				      masked ? "not its" : "its");
			end(&v);
		}
	}
}

static void test_xcr0_rights(void)
{
	struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs[0].value = 7};
	struct vm v = start(NO_CHIP);
	struct table t;

	check(!ioctl(v.vcpu, KVM_SET_XCRS, &x), "XCR0 may have AVX where leaf 0xd has it");
	offered(&t);
	mask_feature(&t, 0xd, 0, 0, 2);
	ioctl(v.vcpu, KVM_SET_CPUID2, &t);
	check(ioctl(v.vcpu, KVM_SET_XCRS, &x) && errno == EINVAL, "and not where it has not");
	x.xcrs[0].value = 3;
	check(!ioctl(v.vcpu, KVM_SET_XCRS, &x), "what is left it may have");
	end(&v);
}

/* Values that a CPU refuses, by whomever they are written, and MSRs that guests only read. */
static void test_msr_values(void)
{
	static const struct {
		uint32_t msr;
		u64 value;
		bool good;
	} values[] = {
	    {0x2ff, 0xc06, true},
	    {0x2ff, 0xc07, false},
	    {0x2ff, 0x1000, false},
	    {0x2ff, 2, false},
	    {0x200, 0xc0000006, true},
	    {0x200, 0xc0000003, false},
	    {0x200, 0xc0000100, false},
	    {0x200, 1ull << 60, false},
	    {0x201, 0xc0000800, true},
	    {0x201, 0xc0000400, false},
	    {0x201, 1ull << 60, false},
	    {0x250, 0x0606060606060606, true},
	    {0x250, 0x0606060606060206, false},
	    {0x26f, 0x0700000000000000, false},
	    {0x26f, 0x0501040000000600, true},
	};
	static const struct {
		const char *name;
		uint32_t msr;
	} read_only[] = {{"SMI_COUNT", 0x34}, {"FEATURE_CONTROL", 0x3a}, {"PLATFORM_INFO", 0xce},
			 {"MTRRcap", 0xfe},   {"MISC_FEATURES", 0x140},	 {"PERF_STATUS", 0x198}};
	struct vm v = start(NO_CHIP);
	u64 before;
	int bad = 0;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		before = get_msr(&v, values[i].msr);
		if ((set_msr(&v, values[i].msr, values[i].value) == 1) != values[i].good ||
		    get_msr(&v, values[i].msr) != (values[i].good ? values[i].value : before)) {
			bad++;
			printf("# MSR %#x, %#lx\n", values[i].msr, values[i].value);
		}
	}
	check(!bad, "MTRRs take valid types and addresses only (%d are wrong)", bad);
	LOAD(v, set_msr_bits);
	HANDLE(13, on_refused);
	for (size_t i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++)
		check(get_msr(&v, read_only[i].msr) != ~0ull && may(&v, 0, read_only[i].msr) &&
			  !may(&v, 1 << 16, read_only[i].msr),
		      "%s can be read, and not changed by a guest", read_only[i].name);
	end(&v);
}

/* A table that the guest has seen stays; what depends on the vCPU is as it is now. */
static void test_cpuid_stays(void)
{
	struct vm v = start(FULL_CHIP);
	struct kvm_sregs s;
	struct table t, now = {.head.nent = CPUIDS};
	const struct kvm_cpuid_entry2 *one = NULL, *seven = NULL, *xsave = NULL;

	LOAD(v, in_port);
	offered(&t);
	check(!ioctl(v.vcpu, KVM_SET_CPUID2, &t) && run(&v) == KVM_EXIT_IO,
	      "a table can be set anew until the guest runs");
	check(!ioctl(v.vcpu, KVM_SET_CPUID2, &t), "the same one afterwards, too");
	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.cr4 |= 1 << 18 | 1 << 22; /* OSXSAVE, PKE */
	s.apic_base &= ~0x800ull;
	check(!ioctl(v.vcpu, KVM_SET_SREGS, &s) && !ioctl(v.vcpu, KVM_GET_CPUID2, &now),
	      "KVM_GET_CPUID2 while things are switched on");
	for (uint32_t i = 0; i < now.head.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &now.entry[i];

		if (e->function == 1)
			one = e;
		else if (e->function == 7 && !e->index)
			seven = e;
		else if (e->function == 0xd && !e->index)
			xsave = e;
	}
	check(one && one->ecx & 1 << 27 && !(one->edx & 1 << 9),
	      "it shows OSXSAVE, and no APIC while that is off");
	check(seven && seven->ecx & 1 << 4, "OSPKE");
	check(xsave && xsave->ebx == 576 && xsave->ecx > 576,
	      "and the size of an XSAVE area for this XCR0 (%u)", xsave ? xsave->ebx : 0);
	check(!ioctl(v.vcpu, KVM_SET_CPUID2, &now), "and can be set again");
	now.entry[0].ebx ^= 1;
	check(ioctl(v.vcpu, KVM_SET_CPUID2, &now) && errno == EINVAL, "another one cannot");
	now.entry[0].ebx ^= 1;
	now.head.nent--;
	check(ioctl(v.vcpu, KVM_SET_CPUID2, &now) && errno == EINVAL, "nor a shorter one");
	end(&v);
}

/* ---- what is missing says so ---- */

static void test_missing(void)
{
	struct vm v = start(NO_CHIP);
	static const int none[] = {KVM_CAP_NESTED_STATE,   KVM_CAP_HYPERV,
				   KVM_CAP_X86_SMM,	   KVM_CAP_XSAVE2,
				   KVM_CAP_VAPIC,	   KVM_CAP_X86_DISABLE_EXITS,
				   KVM_CAP_DISABLE_QUIRKS2};

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		check(ioctl(v.fd, KVM_CHECK_EXTENSION, none[i]) == 0,
		      "capability %d is not claimed", none[i]);
	check(ioctl(v.vcpu, KVM_SMI) && errno == ENOTTY, "KVM_SMI is ENOTTY");
	check(ioctl(v.fd, KVM_GET_REGS) && errno == ENOTTY, "a vCPU's ioctl on the VM is ENOTTY");
	end(&v);
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
	test_immediate_exit();
	test_signals();
	test_shutdown();
	test_single_step();
	test_string_io();
	test_mmio();
	test_string_devices();
	test_string_rcx();
	test_device_operands();
	test_expand_down();
	test_unsupported();
	test_ioeventfd();
	test_coalesced();
	test_ring_full();
	test_notifier();
	test_dirty_log();
	test_pic();
	test_resample();
	test_pit();
	test_user_interrupts();
	test_tsc_khz();
	test_tsc();
	test_apic_base();
	test_sregs2();
	test_efer();
	test_cpuid_flags();
	test_mmu_pages();
	test_lapic_hole();
	test_mce_setup();
	test_mce_msrs();
	test_mce_errors();
	test_sync_regs();
	test_clock_ctrl();
	test_msr_features();
	test_enable_cap();
	test_vm_tsc();
	test_clear_log();
	test_stats();
	test_rights();
	test_xcr0_rights();
	test_msr_values();
	test_cpuid_stays();
	test_missing();
	return failures != 0;
}
