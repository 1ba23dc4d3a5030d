/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_CAP_DISABLE_QUIRKS and its successor: each quirk that can be switched off, on and off. Linux'
 * Documentation/virt/kvm/api.rst, "KVM_CAP_DISABLE_QUIRKS2".
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LINT0	  1u
#define CD_NW	  2u
#define HOLE	  4u
#define OUT_7E	  8u
#define NO_MWAIT  16u /* in CPUID, whatever MISC_ENABLE says */
#define HYPERCALL 32u
#define MWAIT	  64u /* is never undefined */
#define SLOTS	  128u
#define ALL	  (LINT0 | HOLE | NO_MWAIT | HYPERCALL | MWAIT | SLOTS)

#define MISC_ENABLE    0x1a0
#define ENABLE_MONITOR (1u << 18)
#define LVT_LINT0      0x350
#define LAPIC_VERSION  0xfee00030u
#define OTHER_SLOT     0x10000000u
#define BY_RIP(n)      0x4c, 0x8d, 0x3d, n, 0, 0, 0 /* lea r15, [rip + n] */
#define LE32(n)	       (u8)(n), (u8)((n) >> 8), (u8)((n) >> 16), (u8)((n) >> 24)
#define READ(at)                                                                                   \
	0xb8, LE32(at), 0x8b, 0x00, 0xe7, PORT_VALUE, 0xe6,                                        \
	    PORT_DONE /* mov eax, at; mov eax, [rax]; out */

static int quirks_off(struct vm *vm, u32 cap, u64 quirks)
{
	struct kvm_enable_cap c = {.cap = cap, .args = {quirks}};

	return vm_ioctl(vm, KVM_ENABLE_CAP, &c);
}

static int off(struct vm *vm, u64 quirks)
{
	return quirks_off(vm, KVM_CAP_DISABLE_QUIRKS2, quirks);
}

static void test_mask(void)
{
	struct vm vm;

	vm_init(&vm, 1, 0);
	ok(vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_DISABLE_QUIRKS2) == ALL &&
	       vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_DISABLE_QUIRKS) == 1,
	   "quirks: these can be switched off");
	ok(off(&vm, CD_NW) == -EINVAL && off(&vm, OUT_7E | LINT0) == -EINVAL &&
	       off(&vm, 256) == -EINVAL && off(&vm, 1ull << 40 | HOLE) == -EINVAL &&
	       quirks_off(&vm, KVM_CAP_DISABLE_QUIRKS, CD_NW) == -EINVAL,
	   "quirks: and others cannot");
	ok(!off(&vm, ALL) && !quirks_off(&vm, KVM_CAP_DISABLE_QUIRKS, 0), "quirks: all of them");
	vm_free(&vm);
}

static u32 lint0(struct vm *vm, u32 cpu)
{
	struct kvm_lapic_state s;

	cpu_ioctl(vm, cpu, KVM_GET_LAPIC, &s);
	return *(u32 *)(s.regs + LVT_LINT0);
}

static void test_lint0(void)
{
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	ok(lint0(&vm, 0) == 0x700, "quirks: the boot CPU begins with the PIC at LINT0");
	vm_free(&vm);
	vm_init(&vm, 0, VM_IRQCHIP);
	off(&vm, LINT0);
	vm_add_cpu(&vm);
	vm_add_cpu(&vm);
	ok(lint0(&vm, 0) == 0x10000 && lint0(&vm, 1) == 0x10000,
	   "quirks: and without the quirk with LINT0 masked");
	vm_free(&vm);
}

static void test_hole(void)
{
	static const u8 code[] = {READ(LAPIC_VERSION)};

	for (u32 x2apic = 0; x2apic < 2; x2apic++)
		for (u32 without = 0; without < 2; without++) {
			struct kvm_sregs s;
			struct vm vm;
			u32 want = !x2apic ? 0 : without;
			enum end end;

			vm_init(&vm, 1, VM_IRQCHIP);
			off(&vm, without ? HOLE : 0);
			cpu_ioctl(&vm, 0, KVM_GET_SREGS, &s);
			s.apic_base |= x2apic ? 0xc00 : 0x800;
			cpu_ioctl(&vm, 0, KVM_SET_SREGS, &s);
			end = run_code(&vm, code, sizeof(code), 0);
			ok(end == END_DONE && vm.mmio_exits == want &&
			       (want || (vm.values[0] == ~0u) == x2apic),
			   "quirks: in %s mode, %s the hole, its page is %s (%x)",
			   x2apic ? "x2APIC" : "xAPIC", without ? "without" : "with",
			   want	    ? "the VMM's"
			   : x2apic ? "nothing"
				    : "the LAPIC's",
			   vm.values[0]);
			vm_free(&vm);
		}
}

/* How many of the instructions fault. */
static u64 faults(struct vm *vm, const u8 *code, size_t len)
{
	struct kvm_regs r;
	enum end end = run_code(vm, code, len, 0);

	cpu_get_regs(vm, 0, &r);
	if (end == END_DONE)
		return r.r14;
	note("%s", end_names[end]);
	return 99;
}

static bool on_intel(void)
{
	u32 a, b, c, d;

	__cpuid(0, a, b, c, d);
	return b == 0x756e6547; /* Genu */
}

/* KVM_HC_VAPIC_POLL_IRQ, which does nothing */
static void test_hypercall(void)
{
	u8 code[] = {0xb8, 1, 0, 0, 0, BY_RIP(3), 0x0f, 0x01, 0, 0xe6, PORT_DONE};
	u8 ours = 0xd9, others = 0xc1; /* VMMCALL, VMCALL */
	u64 count[3];
	struct vm vm;

	if (on_intel()) {
		ours = 0xc1;
		others = 0xd9;
	}
	vm_init(&vm, 1, 0);
	code[14] = others;
	count[0] = faults(&vm, code, sizeof(code));
	off(&vm, HYPERCALL);
	count[1] = faults(&vm, code, sizeof(code));
	code[14] = ours;
	count[2] = faults(&vm, code, sizeof(code));
	ok(!count[0], "quirks: the other vendor's hypercall is served");
	ok(count[1] == 1 && !count[2], "quirks: without the quirk it is undefined, this CPU's not");
	vm_free(&vm);
}

static bool shows_mwait(struct vm *vm)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[128];
	} t = {.head.nent = 128};

	cpu_ioctl(vm, 0, KVM_GET_CPUID2, &t);
	for (u32 i = 0; i < t.head.nent; i++)
		if (t.entry[i].function == 1)
			return t.entry[i].ecx & 8;
	return false;
}

static const u8 mwait[] = {
    0xb8,      0,	  0,	     0x10, 0,	 0x31, 0xc9, 0x31, 0xd2, /* RAX, RCX, RDX */
    BY_RIP(3), 0x0f,	  0x01,	     0xc8,				 /* monitor */
    0x31,      0xc0,	  BY_RIP(3), 0x0f, 0x01, 0xc9,			 /* xor eax, eax; mwait */
    0xe6,      PORT_DONE,
};

static void test_mwait(void)
{
	/* mov ecx, MISC_ENABLE; mov eax, bit 18; xor edx, edx; wrmsr */
	static const u8 enable[] = {0xb9, 0xa0, 0x01, 0,    0,	  0xb8, 0x01, 0,
				    0x04, 0,	0x31, 0xd2, 0x0f, 0x30, 0xe6, PORT_DONE};
	struct vm vm;

	vm_init(&vm, 1, 0);
	ok(!faults(&vm, mwait, sizeof(mwait)), "quirks: MONITOR and MWAIT do nothing");
	set_msr(&vm, 0, MISC_ENABLE, ENABLE_MONITOR | 1);
	ok(!shows_mwait(&vm), "quirks: and CPUID has them not, whatever MISC_ENABLE says");
	off(&vm, MWAIT);
	ok(faults(&vm, mwait, sizeof(mwait)) == 2, "quirks: without the quirk they are undefined");
	off(&vm, NO_MWAIT | MWAIT);
	set_msr(&vm, 0, MISC_ENABLE, ENABLE_MONITOR | 1);
	ok(shows_mwait(&vm) && !faults(&vm, mwait, sizeof(mwait)),
	   "quirks: without the other CPUID has them as the VMM enables them, and so has the "
	   "guest");
	set_msr(&vm, 0, MISC_ENABLE, 1);
	ok(!shows_mwait(&vm) && faults(&vm, mwait, sizeof(mwait)) == 2, "quirks: or not");
	ok(run_code(&vm, enable, sizeof(enable), 0) == END_DONE && shows_mwait(&vm) &&
	       !faults(&vm, mwait, sizeof(mwait)),
	   "quirks: or as the guest enables them itself");
	set_msr(&vm, 0, MISC_ENABLE, 1);
	off(&vm, 0);
	ok(!faults(&vm, mwait, sizeof(mwait)), "quirks: they can be switched on again");
	vm_free(&vm);
}

static void test_slots(void)
{
	static const u8 code[] = {READ(OTHER_SLOT)};

	for (u32 without = 0; without < 2; without++) {
		struct kvm_userspace_memory_region slot = {
		    .slot = 1, .guest_phys_addr = OTHER_SLOT, .memory_size = 0x1000};
		u32 *mem =
		    mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		bool good;
		struct vm vm;

		vm_init(&vm, 1, 0);
		off(&vm, without ? SLOTS : 0);
		*mem = 0x4711;
		slot.userspace_addr = (u64)mem;
		vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &slot);
		good = run_code(&vm, code, sizeof(code), 0) == END_DONE && vm.values[0] == 0x4711;
		slot.memory_size = 0;
		vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &slot);
		ok(good && run_code(&vm, code, sizeof(code), 0) == END_DONE && vm.mmio_exits == 1,
		   "quirks: memory of a slot that is deleted is gone, %s the quirk",
		   without ? "without" : "with");
		vm_free(&vm);
		munmap(mem, 0x1000);
	}
}

/* As QEMU up to 7.2 changes a slot: with vCPUs in it. */
struct swap {
	struct vm *vm;
	struct kvm_userspace_memory_region slot;
	bool comes_back;
};

static void *swap_slot(void *arg)
{
	struct swap *s = arg;
	u64 size = s->slot.memory_size;

	usleep(200000);
	s->slot.memory_size = 0;
	vm_ioctl(s->vm, KVM_SET_USER_MEMORY_REGION, &s->slot);
	usleep(200000);
	s->slot.memory_size = size;
	if (s->comes_back)
		vm_ioctl(s->vm, KVM_SET_USER_MEMORY_REGION, &s->slot);
	*(volatile u32 *)(s->vm->ram + DATA + 0x800) = 1;
	return NULL;
}

static enum end run_in_slot(bool comes_back)
{
	/* mov eax, OTHER_SLOT; jmp rax */
	static const u8 go[] = {0xb8, LE32(OTHER_SLOT), 0xff, 0xe0};
	/* until the word is set: pause; mov eax, [DATA + 0x800]; test eax, eax; je */
	static const u8 wait[] = {0xf3, 0x90, 0x8b, 0x04, 0x25, LE32(DATA + 0x800),
				  0x85, 0xc0, 0x74, 0xf3, 0xe6, PORT_DONE};
	void *mem = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vm vm;
	struct swap s = {.vm = &vm, .comes_back = comes_back};
	pthread_t thread;
	enum end end;

	vm_init(&vm, 1, 0);
	memcpy(mem, wait, sizeof(wait));
	s.slot = (struct kvm_userspace_memory_region){.slot = 1,
						      .guest_phys_addr = OTHER_SLOT,
						      .memory_size = 0x1000,
						      .userspace_addr = (u64)mem};
	vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &s.slot);
	pthread_create(&thread, NULL, swap_slot, &s);
	end = run_code(&vm, go, sizeof(go), 0);
	pthread_join(thread, NULL);
	vm_free(&vm);
	munmap(mem, 0x1000);
	return end;
}

static void test_swap(void)
{
	enum end end = run_in_slot(true);

	ok(end == END_DONE,
	   "quirks: a guest whose code is swapped for other memory waits for it (%s)",
	   end_names[end]);
	end = run_in_slot(false);
	ok(end == END_INTERNAL, "quirks: if none comes, the VMM is told (%s)", end_names[end]);
}

int main(void)
{
	open_kvm();
	test_mask();
	test_lint0();
	test_hole();
	test_hypercall();
	test_mwait();
	test_slots();
	test_swap();
	return failures != 0;
}
