/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The TPR that a VMM sees and keeps: KVM_TPR_ACCESS_REPORTING, KVM_SET_VAPIC_ADDR; or that of a
 * LAPIC of its own: KVM_EXIT_SET_TPR. And events that
 * cannot be delivered for a device: KVM_INTERNAL_ERROR_DELIVERY_EV. Linux'
 * Documentation/virt/kvm/api.rst.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define VAPIC	(DATA + 0x8004ul) /* the word */
#define TPR	0x80
#define ENABLED 0x800
#define X2APIC	0xc00
#define VECTOR	0x61

#define LE32(n)		    (u8)(n), (u8)((n) >> 8), (u8)((n) >> 16), (u8)((n) >> 24)
#define LAPIC(reg)	    0xbb, LE32(0xfee00000u + (reg)) /* mov ebx, ... */
#define WRITE_LAPIC(reg, n) LAPIC(reg), 0xc7, 0x03, LE32(n) /* mov dword [rbx], n */
#define READ_LAPIC(reg)	    LAPIC(reg), 0x8b, 0x03	    /* mov eax, [rbx] */
#define WRITE_WORD(n)	    0xc6, 0x07, (n)		    /* mov byte [rdi], n */
#define READ_WORD	    0x8b, 0x07			    /* mov eax, [rdi] */
#define TELL		    0xe7, PORT_VALUE		    /* out PORT_VALUE, eax */
#define END		    0xe6, PORT_DONE
#define POLL		    0xb8, 1, 0, 0, 0, 0x0f, 0x01, 0xc1 /* mov eax, 1; vmcall */
#define STI		    0xfb, 0x90
#define COUNT		    0x44, 0x89, 0xe8 /* mov eax, r13d: interrupts */

static int report(struct vm *vm, u32 enabled, u32 flags)
{
	struct kvm_tpr_access_ctl c = {.enabled = enabled, .flags = flags};

	return cpu_ioctl(vm, 0, KVM_TPR_ACCESS_REPORTING, &c);
}

static int set_vapic(struct vm *vm, u64 at)
{
	return cpu_ioctl(vm, 0, KVM_SET_VAPIC_ADDR, &(struct kvm_vapic_addr){at});
}

static void set_apic(struct vm *vm, u64 mode)
{
	struct kvm_sregs s;

	cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
	s.apic_base |= mode;
	if (cpu_ioctl(vm, 0, KVM_SET_SREGS, &s))
		fatal("APIC base");
}

/* The guest has stopped for its TPR, at this place of its code. */
static bool is_told(const struct vm *vm, enum end end, u64 at, bool write)
{
	const struct kvm_run *run = vm->run[0];

	if (end == END_OTHER && run->exit_reason == KVM_EXIT_TPR_ACCESS &&
	    run->tpr_access.rip == DATA + at && run->tpr_access.is_write == write)
		return true;
	note("%s: exit %u, rip %llx, write %u", end_names[end], run->exit_reason,
	     run->tpr_access.rip, run->tpr_access.is_write);
	return false;
}

static u32 tpr_of(struct vm *vm)
{
	struct kvm_lapic_state s;

	cpu_ioctl(vm, 0, KVM_GET_LAPIC, &s);
	return *(u32 *)(s.regs + TPR);
}

static void test_reports(void)
{
	/* at 5 the write, at 16 the read; the version is not told */
	static const u8 code[] = {
	    WRITE_LAPIC(TPR, 0x20), READ_LAPIC(TPR), TELL, READ_LAPIC(0x30), TELL, END};
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	ok(vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_VAPIC) == 1, "TPR: KVM_CAP_VAPIC");
	set_apic(&vm, ENABLED);
	ok(run_code(&vm, code, sizeof(code), 0) == END_DONE && vm.values[0] == 0x20,
	   "TPR: accesses are nobody's but the guest's");
	ok(report(&vm, 1, 1) == -EINVAL, "TPR: reports have no flags");
	ok(run_code(&vm, code, sizeof(code), 0) == END_DONE, "TPR: and are not switched on then");
	ok(!report(&vm, 1, 0), "TPR: they can be switched on");
	ok(is_told(&vm, run_code(&vm, code, sizeof(code), 0), 5, true) && tpr_of(&vm) == 0x20,
	   "TPR: a write is told, with its instruction, once it is done");
	ok(is_told(&vm, vm_run(&vm, 0, 5000), 16, false), "TPR: and so is a read");
	ok(vm_run(&vm, 0, 5000) == END_DONE && vm.value_count == 2 && vm.values[0] == 0x20,
	   "TPR: which has read it; other registers are not");
	ok(!report(&vm, 0, 0) && run_code(&vm, code, sizeof(code), 0) == END_DONE,
	   "TPR: they can be switched off");
	vm_free(&vm);
}

static void test_x2apic(void)
{
	/* mov ecx, 0x808; mov eax, 0x30; xor edx, edx; wrmsr; rdmsr; out */
	static const u8 code[] = {0xb9, 8,    8,    0,	  0,	0xb8, 0x30, 0,	  0,
				  0,	0x31, 0xd2, 0x0f, 0x30, 0x0f, 0x32, TELL, END};
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	set_apic(&vm, X2APIC);
	ok(!report(&vm, 1, 0) && run_code(&vm, code, sizeof(code), 0) == END_DONE &&
	       vm.values[0] == 0x30,
	   "TPR: in x2APIC mode there is nothing to tell");
	vm_free(&vm);
}

static void test_refused(void)
{
	struct vm vm;

	vm_init(&vm, 1, 0);
	ok(!report(&vm, 1, 0), "TPR: without LAPICs reports are switched on in vain");
	ok(set_vapic(&vm, VAPIC) == -EINVAL && set_vapic(&vm, 0) == -EINVAL,
	   "TPR: and there is no word of it");
	vm_free(&vm);
	vm_init(&vm, 1, VM_IRQCHIP);
	ok(set_vapic(&vm, RAM_SIZE) == -EINVAL && set_vapic(&vm, 1ull << 52 | VAPIC) == -EINVAL &&
	       set_vapic(&vm, ~3ull) == -EINVAL,
	   "TPR: the word lies in memory");
	ok(cpu_ioctl(&vm, 0, KVM_SET_VAPIC_ADDR, (void *)8) == -EFAULT &&
	       cpu_ioctl(&vm, 0, KVM_TPR_ACCESS_REPORTING, (void *)8) == -EFAULT,
	   "TPR: and what is asked in the VMM's");
	vm_free(&vm);
}

/* The guest changes its TPR in the word. */
static void test_word(void)
{
	static const u8 code[] = {WRITE_LAPIC(TPR, 0x35),
				  READ_WORD,
				  TELL,
				  WRITE_WORD(0x52),
				  READ_LAPIC(TPR),
				  TELL,
				  WRITE_WORD(0x70),
				  WRITE_LAPIC(TPR, 0x10),
				  READ_LAPIC(TPR),
				  TELL,
				  READ_WORD,
				  TELL,
				  WRITE_WORD(0x20),
				  END};
	const u32 want[] = {0x35, 0x52, 0x10, 0x10};
	enum end end;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	set_apic(&vm, ENABLED);
	ok(!set_vapic(&vm, VAPIC), "TPR: the VMM says where its word is");
	memset(vm.ram + VAPIC, 0xaa, 4);
	end = run_code(&vm, code, sizeof(code), VAPIC);
	ok(end == END_DONE && vm.value_count == 4 && !memcmp(vm.values, want, sizeof(want)),
	   "TPR: what is written to either is read from the other (%x %x %x %x)", vm.values[0],
	   vm.values[1], vm.values[2], vm.values[3]);
	ok(tpr_of(&vm) == 0x20, "TPR: the VMM sees what the word was last (%x)", tpr_of(&vm));
	ok(!set_vapic(&vm, 0), "TPR: the VMM can do without");
	end = run_code(&vm, code, sizeof(code), VAPIC);
	ok(end == END_DONE && vm.values[0] == 0x20 && vm.values[1] == 0x35,
	   "TPR: without a word it is memory (%x %x)", vm.values[0], vm.values[1]);
	vm_free(&vm);
}

/* An interrupt that the word holds back, and the hypercall by which the guest asks for it. */
static void test_irq(void)
{
	static const u8 code[] = {0x45,
				  0x31,
				  0xed, /* xor r13d, r13d */
				  0x45,
				  0x31,
				  0xdb, /* xor r11d, r11d */
				  WRITE_LAPIC(0xf0, 0x1ff),
				  WRITE_WORD(0xf0),
				  STI,
				  WRITE_LAPIC(0x300, 0x40000 | VECTOR), /* to itself */
				  0x90,
				  COUNT,
				  TELL,
				  READ_WORD,
				  TELL,
				  WRITE_WORD(0x60),
				  POLL,
				  COUNT,
				  TELL,
				  WRITE_WORD(0x50),
				  POLL,
				  COUNT,
				  TELL,
				  READ_WORD,
				  TELL,
				  END};
	const u32 want[] = {0, 0xf0 | VECTOR << 24, 0, 1, 0x50 | (VECTOR & 0xf0) << 8};
	enum end end;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	set_apic(&vm, ENABLED);
	if (set_vapic(&vm, VAPIC))
		fatal("KVM_SET_VAPIC_ADDR");
	end = run_code(&vm, code, sizeof(code), VAPIC);
	ok(end == END_DONE && vm.value_count == 5 && !memcmp(vm.values, want, sizeof(want)),
	   "TPR: interrupts wait for the word, which tells of them (%u %x %u %u %x)", vm.values[0],
	   vm.values[1], vm.values[2], vm.values[3], vm.values[4]);
	vm_free(&vm);
}

/* The log of dirty pages has it when it has changed, and it goes on where it cannot be written. */
static void test_log(void)
{
	static const u8 code[] = {READ_WORD, WRITE_LAPIC(TPR, 0x45), READ_WORD, TELL, END};
	struct kvm_userspace_memory_region r = {.flags = KVM_MEM_LOG_DIRTY_PAGES,
						.memory_size = RAM_SIZE};
	u64 bitmap[RAM_SIZE / 4096 / 64];
	struct kvm_dirty_log log = {.dirty_bitmap = bitmap};
	u32 page = VAPIC / 4096;
	enum end end;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	set_apic(&vm, ENABLED);
	r.userspace_addr = (u64)vm.ram;
	if (set_vapic(&vm, VAPIC) || vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r) ||
	    vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log))
		fatal("a log");
	end = run_code(&vm, code, sizeof(code), VAPIC);
	ok(end == END_DONE && vm.values[0] == 0x45,
	   "TPR: the word is written where pages are logged (%x)", vm.values[0]);
	ok(!vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) && bitmap[page / 64] >> page % 64 & 1,
	   "TPR: and its page is in the log");
	r.memory_size = 0;
	vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r);
	r.flags = 0;
	r.memory_size = VAPIC & ~4095ul;
	if (vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r))
		fatal("a smaller slot");
	ok(run_code(&vm, code + 2, sizeof(code) - 2, VAPIC) == END_DONE && tpr_of(&vm) == 0x45,
	   "TPR: where it lay is no memory any more, and the guest goes on");
	vm_free(&vm);
}

#define WRITE_CR8(n) 0xb9, LE32(n), 0x44, 0x0f, 0x22, 0xc1 /* mov ecx, ...; mov cr8, rcx */

/* The guest has lowered CR8. */
static bool is_lowered(const struct vm *vm, enum end end, u64 to)
{
	const struct kvm_run *run = vm->run[0];

	if (end == END_OTHER && run->exit_reason == KVM_EXIT_SET_TPR && run->cr8 == to)
		return true;
	note("%s: exit %u, CR8 %llu", end_names[end], run->exit_reason, run->cr8);
	return false;
}

static void test_cr8(void)
{
	/* ... mov rcx, cr8; mov eax, ecx; out */
	static const u8 code[] = {
	    WRITE_CR8(9), WRITE_CR8(9), WRITE_CR8(12), WRITE_CR8(5), WRITE_CR8(0), 0x44, 0x0f,
	    0x20,	  0xc1,		0x89,	       0xc8,	     TELL,	   END};
	static const u32 ours[] = {VM_IRQCHIP, VM_SPLIT};
	struct kvm_regs r;
	struct vm vm;

	vm_init(&vm, 1, 0);
	ok(is_lowered(&vm, run_code(&vm, code, sizeof(code), 0), 5),
	   "CR8: a VMM with LAPICs of its own is told when it is lowered, not before");
	cpu_get_regs(&vm, 0, &r);
	ok(r.rip == DATA + 4 * 9 && r.rcx == 5, "CR8: the instruction is done then (%llx)", r.rip);
	ok(is_lowered(&vm, vm_run(&vm, 0, 5000), 0), "CR8: each time");
	vm.run[0]->cr8 = 7;
	ok(vm_run(&vm, 0, 5000) == END_DONE && vm.values[0] == 7,
	   "CR8: the guest reads what the VMM has put there");
	vm_free(&vm);
	for (u32 i = 0; i < 2; i++) {
		vm_init(&vm, 1, ours[i]);
		ok(run_code(&vm, code, sizeof(code), 0) == END_DONE && !vm.values[0],
		   "CR8: a VMM without them is not told");
		vm_free(&vm);
	}
}

/* Events that find their stack in a device. */
static void test_delivery(void)
{
#define STACK 0xbc, LE32(MMIO_BASE + 0x100) /* mov esp, ... */
	static const struct {
		const char *what;
		u32 event;
		u8 code[8];
	} by[] = {{"#UD", 0x80000306, {STACK, 0x0f, 0x0b}},
		  {"INT 0x81", 0x80000481, {STACK, 0xcd, 0x81}},
		  {"INT3", 0x80000303, {STACK, 0xcc}}};
	const struct kvm_run *run;
	enum end end;
	struct vm vm;

	for (u32 i = 0; i < 3; i++) {
		vm_init(&vm, 1, VM_IRQCHIP);
		run = vm.run[0];
		end = run_code(&vm, by[i].code, sizeof(by[i].code), 0);
		ok(end == END_INTERNAL &&
		       run->internal.suberror == KVM_INTERNAL_ERROR_DELIVERY_EV &&
		       run->internal.ndata == 5,
		   "delivery: the VMM is told that an event cannot be delivered (%u, %s)",
		   run->internal.suberror, by[i].what);
		ok((u32)run->internal.data[0] == by[i].event && run->internal.data[1] &&
		       run->internal.data[2] & 2 && run->internal.data[3] >> 12 == MMIO_BASE >> 12,
		   "delivery: which, and where (%llx, exit %llx, %llx at %llx)",
		   run->internal.data[0], run->internal.data[1], run->internal.data[2],
		   run->internal.data[3]);
		vm_free(&vm);
	}
}

/* The guest's code is in a device. */
static void test_last_cpu(void)
{
	static const u8 code[] = {0xb8, LE32(MMIO_BASE), 0xff, 0xe0}; /* mov eax, ...; jmp rax */
	const struct kvm_run *run;
	enum end end;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	run = vm.run[0];
	stay_on_cpu(1);
	end = run_code(&vm, code, sizeof(code), 0);
	ok(end == END_INTERNAL &&
	       run->internal.suberror == KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON &&
	       run->internal.ndata == 2 && run->internal.data[1] == 1,
	   "an error that ends a guest is told with the CPU (%u, %u words, %llu)",
	   run->internal.suberror, run->internal.ndata, run->internal.data[1]);
	vm_free(&vm);
}

int main(void)
{
	open_kvm();
	test_reports();
	test_x2apic();
	test_refused();
	test_word();
	test_irq();
	test_log();
	test_cr8();
	test_delivery();
	test_last_cpu();
	return failures != 0;
}
