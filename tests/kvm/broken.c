/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Broken memory, as a VMM sees it: by madvise(), by a machine check of its own guest, by one that
 * the machine has found before anybody used it. The guest can be told, and goes on; so do others.
 *
 * usage: broken; or broken wait, which prints a frame and waits until that is said to be broken.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define AT	      0x40000000ul /* in the guest: a page to be broken, and one behind it */
#define PAGE	      4096ul
#define BROKEN_VALUE  0x11111111u
#define GOOD_VALUE    0x22222222u
#define VEC_MC	      18
#define CR4_MCE	      0x40
#define BANK	      9
#define MCE_BANKS     10
#define MCG_CAP	      (MCE_BANKS | 0x1000100) /* MCG_CTL_P, MCG_SER_P */
#define USED	      0xbd80000000000134ull   /* by a load: VAL, UC, EN, MISCV, ADDRV, S, AR */
#define BEYOND	      (1ull << 45)	      /* where no memory is */
#define WAIT_S	      60
#define MEMINFO_BYTES 8192

/* Stop; then what is at RDI, as a value; the end. A machine check leads to what is at RSI. */
static const u8 code[] = {
    0x66, 0xba, PORT_PAUSE, 0, 0xef,				     /* out PORT_PAUSE, eax */
    0x48, 0x8b, 0x07,						     /* mov rax, [rdi] */
    0x66, 0xba, PORT_VALUE, 0, 0xef, 0x66, 0xba, PORT_DONE, 0, 0xef, /* 8: out, out */
    0x48, 0x8b, 0x06,						     /* 18: mov rax, [rsi] */
    0x66, 0xba, PORT_VALUE, 0, 0xef, 0x66, 0xba, PORT_DONE, 0, 0xef, /* out, out */
};
#define OFFSET_READ   5
#define OTHER_PROGRAM 18

static volatile siginfo_t told;
static volatile u32 signals;

static void on_sigbus(int sig, siginfo_t *i, void *context)
{
	told = *i;
	signals++;
}

/* KVM_RUN, once. True: it ended by a signal that says that the page is broken. */
static bool run_is_told(struct vm *vm, int how, const void *page)
{
	int r;

	signals = 0;
	r = ioctl(vm->cpu_fd[0], KVM_RUN, 0) < 0 ? errno : 0;
	if (r == EINTR && signals == 1 && told.si_signo == SIGBUS && told.si_code == how &&
	    told.si_addr == page && told.si_addr_lsb == 12)
		return true;
	note("KVM_RUN: errno %d, exit %u, %u signals, code %d, address %p, not %p", r,
	     vm->run[0]->exit_reason, signals, told.si_code, told.si_addr, page);
	return false;
}

/* The guest is to begin at this place of its code, and to read there. */
static void begin(struct vm *vm, u32 offset, u64 gpa)
{
	struct kvm_sregs s;
	struct kvm_regs r;

	vm->value_count = 0;
	cpu_setup(vm, 0, MODE_LONG, payload_start, gpa, AT + PAGE);
	if (cpu_ioctl(vm, 0, KVM_GET_SREGS, &s))
		fatal("KVM_GET_SREGS");
	s.cr4 |= CR4_MCE;
	if (cpu_ioctl(vm, 0, KVM_SET_SREGS, &s))
		fatal("CR4.MCE");
	cpu_get_regs(vm, 0, &r);
	r.rip = DATA + offset;
	r.r14 = 0;
	r.r15 = DATA + OTHER_PROGRAM;
	cpu_set_regs(vm, 0, &r);
}

/* Two pages of their own, which the guest has at AT and may not have used yet. */
static u8 *make_vm(struct vm *vm)
{
	struct kvm_userspace_memory_region slot = {
	    .slot = 1, .guest_phys_addr = AT, .memory_size = 2 * PAGE};
	u8 *pages =
	    mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u64 cap = MCG_CAP;

	if (pages == MAP_FAILED)
		fatal("mmap: errno %d", errno);
	*(u32 *)pages = BROKEN_VALUE;
	*(u32 *)(pages + PAGE) = GOOD_VALUE;
	vm_init(vm, 1, VM_IRQCHIP);
	slot.userspace_addr = (u64)pages;
	memcpy(vm->ram + DATA, code, sizeof(code));
	if (vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) ||
	    cpu_ioctl(vm, 0, KVM_X86_SETUP_MCE, &cap))
		fatal("a VM with machine checks");
	begin(vm, 0, AT);
	if (vm_run(vm, 0, 5000) != END_PAUSE)
		fatal("the guest comes to its pause");
	return pages;
}

/* Does it read this there? */
static bool reads(struct vm *vm, u64 gpa, u32 value)
{
	begin(vm, OFFSET_READ, gpa);
	return vm_run(vm, 0, 2000) == END_DONE && vm->value_count == 1 && vm->values[0] == value;
}

static u64 corrupted_kib(void)
{
	static char text[MEMINFO_BYTES];
	int fd = open("/proc/meminfo", O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);
	unsigned long kib;
	char *at = n > 0 ? strstr(text, "HardwareCorrupted:") : NULL;

	close(fd);
	if (!at || sscanf(at, "HardwareCorrupted: %lu kB", &kib) != 1)
		fatal("/proc/meminfo has HardwareCorrupted");
	return kib;
}

/* What Linux has at this address, 0 if nobody may know. */
static u64 frame_at(const void *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	u64 entry = 0;

	if (pread(fd, &entry, sizeof(entry), (u64)page / PAGE * sizeof(entry)) != sizeof(entry))
		fatal("pagemap: errno %d", errno);
	close(fd);
	return entry >> 63 ? entry & ((1ull << 55) - 1) : 0;
}

/* As QEMU does it. */
static int tell_guest(struct vm *vm)
{
	struct kvm_x86_mce e = {
	    .status = USED, .addr = AT, .misc = 2 << 6 | 12, .mcg_status = 7, .bank = BANK};

	return cpu_ioctl(vm, 0, KVM_X86_SET_MCE, &e);
}

/* The guest is told, and runs another program of its own; its page can be replaced. */
static void goes_on(const char *what, struct vm *vm, u8 *page)
{
	struct kvm_regs r;

	vm->value_count = 0;
	ok(!tell_guest(vm) && vm_run(vm, 0, 5000) == END_DONE && vm->value_count == 1 &&
	       vm->values[0] == GOOD_VALUE,
	   "%s: the guest takes the machine check that it is given, and goes on", what);
	cpu_get_regs(vm, 0, &r);
	ok(r.r14 == 1, "%s: it was one", what);
	if (mmap(page, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		 0) != page)
		fatal("mmap: errno %d", errno);
	*(u32 *)page = BROKEN_VALUE + 1;
	ok(reads(vm, AT, BROKEN_VALUE + 1), "%s: with another page in its place all is well", what);
}

/* By root, as of what an administrator knows to be broken. */
static void poisoned(struct vm *other)
{
	u64 before = corrupted_kib();
	struct vm vm;
	u8 *page = make_vm(&vm);

	ok(reads(&vm, AT, BROKEN_VALUE), "poison: the guest has its page");
	if (madvise(page, PAGE, MADV_HWPOISON))
		fatal("MADV_HWPOISON: errno %d", errno);
	ok(reads(&vm, AT + PAGE, GOOD_VALUE), "poison: who does not use it hears nothing");
	ok(!reads(&vm, AT, BROKEN_VALUE) && signals > 0,
	   "poison: the guest cannot read it any more");
	ok(run_is_told(&vm, BUS_MCEERR_AR, page), "poison: its VMM gets SIGBUS, with the address");
	ok(run_is_told(&vm, BUS_MCEERR_AR, page), "poison: and again, if it does nothing about it");
	ok(corrupted_kib() == before + 4, "poison: Linux counts a page as broken");
	goes_on("poison", &vm, page);
	ok(reads(other, AT, BROKEN_VALUE), "poison: another VM goes on");
	vm_free(&vm);
}

/*
 * A machine check that has ended the guest's turn; what comes behind the exit. The guest's first
 * access to its page stands for it, since no emulator has one leave a guest.
 */
static void used(struct vm *other)
{
	u64 before = corrupted_kib();
	struct vm vm;
	u8 *page = make_vm(&vm);
	bool is_told;

	widen_instead("cb_fault", "cb_broken_used", frame_at(page) * PAGE);
	is_told = run_is_told(&vm, BUS_MCEERR_AR, page);
	widen_end();
	ok(is_told, "machine check: the VMM whose guest has used it gets SIGBUS, with the address");
	ok(corrupted_kib() == before + 4, "machine check: Linux has retired the page");
	goes_on("machine check", &vm, page);
	ok(reads(other, AT, BROKEN_VALUE), "machine check: another VM goes on");
	vm_free(&vm);

	make_vm(&vm);
	widen_instead("cb_fault", "cb_broken_used", BEYOND);
	signals = 0;
	ok(ioctl(vm.cpu_fd[0], KVM_RUN, 0) < 0 && errno == EIO && !signals,
	   "machine check: where Linux can do nothing the guest does not go on");
	widen_end();
	vm_free(&vm);
}

/* The machine finds it: who wants to know early gets a signal, and can go on without the page. */
static void found(struct vm *other)
{
	u64 before = corrupted_kib();
	struct vm vm;
	u8 *page = make_vm(&vm);

	ok(reads(&vm, AT, BROKEN_VALUE), "found: the guest has its page");
	if (prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0))
		fatal("PR_MCE_KILL: errno %d", errno);
	signals = 0;
	note("broken frame: 0x%lx", frame_at(page) * PAGE);
	for (u32 s = 0; s < WAIT_S && !signals; s++)
		sleep(1);
	ok(signals == 1 && told.si_code == BUS_MCEERR_AO && told.si_addr == page,
	   "found: the VMM gets SIGBUS before its guest uses it");
	ok(corrupted_kib() == before + 4, "found: Linux has retired the page");
	ok(!reads(&vm, AT, BROKEN_VALUE) && run_is_told(&vm, BUS_MCEERR_AR, page),
	   "found: what the guest uses of it afterwards is told as well");
	ok(reads(other, AT, BROKEN_VALUE), "found: another VM goes on");
	vm_free(&vm);
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};
	struct vm other;

	sigaction(SIGBUS, &act, NULL);
	open_kvm();
	make_vm(&other);
	if (argc > 1) {
		found(&other);
	} else {
		poisoned(&other);
		used(&other);
	}
	return failures != 0;
}
