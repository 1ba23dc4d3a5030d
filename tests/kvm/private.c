/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Private memory: KVM_CREATE_GUEST_MEMFD, KVM_SET_MEMORY_ATTRIBUTES, VMs of type
 * KVM_X86_SW_PROTECTED_VM. KVM's own tests of it want a newer kernel's source: FULL selftests_rest.
 */
#define _GNU_SOURCE
#include "vmm.h"
#include "dom0/kmod/later_kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE  4096ul
#define PAGES 64ul
#define SIZE  (PAGES * PAGE)
#define AT    0x40000000ul /* in the guest */
#define OURS  0x11111111u  /* in what the VMM has mapped there */
#define MARK  0x77u	   /* what the guest writes */

static u8 *shared;

static int memfd(struct vm *vm, u64 size, u64 flags)
{
	struct kvm_create_guest_memfd c = {.size = size, .flags = flags};

	return ioctl(vm->fd, KVM_CREATE_GUEST_MEMFD, &c);
}

static int attributes(struct vm *vm, u64 at, u64 size, u64 val, u64 flags)
{
	struct kvm_memory_attributes a = {at, size, val, flags};

	return ioctl(vm->fd, KVM_SET_MEMORY_ATTRIBUTES, &a) ? -errno : 0;
}

static int set_private(struct vm *vm, bool on)
{
	return attributes(vm, AT, SIZE, on ? KVM_MEMORY_ATTRIBUTE_PRIVATE : 0, 0);
}

static int slot(struct vm *vm, u32 id, u32 flags, u64 at, u64 size, int fd, u64 offset)
{
	struct kvm_userspace_memory_region2 r = {.slot = id,
						 .flags = flags,
						 .guest_phys_addr = at,
						 .memory_size = size,
						 .userspace_addr = (u64)shared,
						 .guest_memfd_offset = offset,
						 .guest_memfd = fd};

	return ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION2, &r) ? -errno : 0;
}

static void fill_shared(void)
{
	for (u64 i = 0; i < SIZE / 4; i++)
		((u32 *)shared)[i] = OURS;
}

/* The guest tells what is there and writes its mark. */
static u32 guest_sees(struct vm *vm, u64 at)
{
	/* mov eax, [rdi]; out PORT_VALUE, eax; mov dword [rdi], MARK; out PORT_DONE, al */
	static const u8 code[] = {0x8b, 0x07, 0xe7, PORT_VALUE, 0xc7, 0x07,
				  MARK, 0,    0,    0,		0xe6, PORT_DONE};

	if (run_code(vm, code, sizeof(code), at) != END_DONE || vm->value_count != 1)
		fatal("a guest reads a word");
	return vm->values[0];
}

static void test_frames(void)
{
	struct vm vm;
	int fd;

	vm_init(&vm, 1, VM_PROTECTED);
	fd = memfd(&vm, SIZE, 0);
	fill_shared();
	ok(fd >= 0 && !slot(&vm, 1, KVM_MEM_GUEST_MEMFD, AT, SIZE, fd, 0),
	   "private: a slot has a file beside the VMM's memory");
	ok(guest_sees(&vm, AT + PAGE) == OURS && *(u32 *)(shared + PAGE) == MARK,
	   "private: what nobody has made private is the VMM's");
	*(u32 *)(shared + PAGE) = OURS;
	ok(!set_private(&vm, true) && !guest_sees(&vm, AT + PAGE) &&
	       *(u32 *)(shared + PAGE) == OURS && guest_sees(&vm, AT + PAGE) == MARK,
	   "private: what is, is zero first, and not the VMM's");
	ok(!set_private(&vm, false) && guest_sees(&vm, AT + PAGE) == OURS,
	   "private: shared again it is as it was");
	ok(!set_private(&vm, true) && guest_sees(&vm, AT + PAGE) == MARK,
	   "private: and so is the private one");
	ok(!fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, PAGE, PAGE) &&
	       !guest_sees(&vm, AT + PAGE),
	   "private: a hole is zero");
	close(fd);
	ok(guest_sees(&vm, AT + PAGE) == MARK, "private: the slot goes on without its file");
	ok(!slot(&vm, 1, 0, AT, 0, 0, 0) && !slot(&vm, 1, 0, AT, SIZE, 0, 0) &&
	       !set_private(&vm, false) && guest_sees(&vm, AT + PAGE) == MARK,
	   "private: it can be replaced by one without");
	vm_free(&vm);
}

/* Nothing backs the frame: which it is. */
static void test_fault(void)
{
	struct vm vm;
	struct kvm_regs r;
	u64 *told;

	vm_init(&vm, 1, VM_PROTECTED);
	fill_shared();
	ok(!slot(&vm, 1, 0, AT, SIZE, 0, 0) && !set_private(&vm, true),
	   "private: frames of a slot without a file can be private");
	cpu_setup(&vm, 0, MODE_LONG, pl_stos, AT + 3 * PAGE, 1);
	ok(ioctl(vm.cpu_fd[0], KVM_RUN, 0) < 0 && errno == EFAULT &&
	       vm.run[0]->exit_reason == KVM_EXIT_MEMORY_FAULT,
	   "private: an access to one leaves for the VMM");
	told = (u64 *)&vm.run[0]->hw;
	ok(told[0] == 8 && told[1] == AT + 3 * PAGE && told[2] == PAGE,
	   "private: which hears of a private frame, and where");
	cpu_get_regs(&vm, 0, &r);
	ok(!set_private(&vm, false) && vm_run(&vm, 0, 10000) == END_DONE &&
	       *(u32 *)(shared + 3 * PAGE) != OURS,
	   "private: and can have the guest go on");
	ok(!attributes(&vm, AT + SIZE, PAGE, KVM_MEMORY_ATTRIBUTE_PRIVATE, 0),
	   "private: so can frames of no slot");
	cpu_setup(&vm, 0, MODE_LONG, pl_stos, AT + SIZE, 1);
	ok(ioctl(vm.cpu_fd[0], KVM_RUN, 0) < 0 && errno == EFAULT && told[0] == 8,
	   "private: which are no device");
	vm_free(&vm);
}

/* What was written before a frame's attributes changed is in the dirty log still. */
static void test_log(void)
{
	static u64 bits[PAGES / 64];
	struct kvm_dirty_log log = {.slot = 1, .dirty_bitmap = bits};
	struct vm vm;

	vm_init(&vm, 1, VM_PROTECTED);
	if (slot(&vm, 1, KVM_MEM_LOG_DIRTY_PAGES, AT, SIZE, 0, 0) ||
	    vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log))
		fatal("a slot with a log");
	guest_sees(&vm, AT + 5 * PAGE);
	ok(!set_private(&vm, true) && !set_private(&vm, false) &&
	       !vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) && bits[0] >> 5 & 1,
	   "private: a change of attributes loses nothing of the dirty log");
	vm_free(&vm);
}

static void test_refused(void)
{
	struct kvm_userspace_memory_region one = {
	    .slot = 2, .flags = KVM_MEM_GUEST_MEMFD, .memory_size = SIZE};
	const u64 p = KVM_MEMORY_ATTRIBUTE_PRIVATE;
	const u32 g = KVM_MEM_GUEST_MEMFD;
	struct vm vm, other, plain;
	struct stat s;
	int fd, theirs;

	vm_init(&vm, 1, VM_PROTECTED);
	vm_init(&other, 1, VM_PROTECTED);
	vm_init(&plain, 1, 0);
	fd = memfd(&vm, SIZE, 0);
	theirs = memfd(&other, SIZE, 0);
	ok(ioctl(vm.fd, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_ATTRIBUTES) == (int)p &&
	       ioctl(vm.fd, KVM_CHECK_EXTENSION, KVM_CAP_GUEST_MEMFD) == 1 &&
	       ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_VM_TYPES) == 3 &&
	       !ioctl(plain.fd, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_ATTRIBUTES) &&
	       ioctl(vm.fd, KVM_CHECK_EXTENSION, KVM_CAP_MULTI_ADDRESS_SPACE) == 1,
	   "private: a VM of that type has it, others have not");
	ok(memfd(&vm, 0, 0) < 0 && memfd(&vm, SIZE + 1, 0) < 0 && memfd(&vm, SIZE, 1) < 0 &&
	       memfd(&vm, 1ull << 63, 0) < 0,
	   "private: no size, a broken one, an unknown flag: no file");
	ok(!fstat(fd, &s) && s.st_size == (off_t)SIZE && ftruncate(fd, PAGE) < 0 &&
	       read(fd, &s, 1) < 0 && write(fd, &s, 1) < 0 &&
	       mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED,
	   "private: nobody looks into it, or changes its size");
	ok(fallocate(fd, 0, 0, PAGE) < 0 && fallocate(fd, FALLOC_FL_KEEP_SIZE, SIZE, PAGE) < 0 &&
	       fallocate(fd, FALLOC_FL_KEEP_SIZE, 1, PAGE) < 0 &&
	       fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE, 0, PAGE) < 0 &&
	       !fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, SIZE, PAGE),
	   "private: nor allocates what is not there");
	ok(slot(&vm, 1, g, AT, SIZE, theirs, 0) == -EINVAL &&
	       slot(&vm, 1, g, AT, SIZE, 0, 0) == -EINVAL &&
	       slot(&vm, 1, g, AT, SIZE, 999, 0) == -EBADF &&
	       slot(&plain, 1, g, AT, SIZE, theirs, 0) == -EINVAL,
	   "private: another VM's file, another kind, none, or the wrong VM is refused");
	ok(slot(&vm, 1, g, AT, SIZE, fd, PAGE) == -EINVAL &&
	       slot(&vm, 1, g, AT, PAGE, fd, 1) == -EINVAL &&
	       slot(&vm, 1, g, AT, PAGE, fd, ~0ull << 12) == -EINVAL,
	   "private: so is what lies beyond its end");
	ok(slot(&vm, 1, g | KVM_MEM_LOG_DIRTY_PAGES, AT, SIZE, fd, 0) == -EINVAL &&
	       slot(&vm, 1, g | KVM_MEM_READONLY, AT, SIZE, fd, 0) == -EINVAL &&
	       slot(&vm, 1 << 16, g, AT, SIZE, fd, 0) == -EINVAL,
	   "private: and a log, a ROM, SMM's space");
	one.userspace_addr = (u64)shared;
	ok(ioctl(vm.fd, KVM_SET_USER_MEMORY_REGION, &one) < 0 && errno == EINVAL,
	   "private: the old call has no room for it");
	ok(!slot(&vm, 1, g, AT, SIZE / 2, fd, 0) &&
	       slot(&vm, 2, g, AT + SIZE, SIZE / 2, fd, SIZE / 2 - PAGE) == -EINVAL &&
	       !slot(&vm, 2, g, AT + SIZE, SIZE / 2, fd, SIZE / 2),
	   "private: a page of the file is of one slot");
	ok(slot(&vm, 1, 0, AT, SIZE / 2, 0, 0) == -EINVAL &&
	       slot(&vm, 1, g, AT + 2 * SIZE, SIZE / 2, fd, 0) == -EINVAL,
	   "private: the slot can only be removed");
	ok(attributes(&vm, AT, SIZE, 1, 0) == -EINVAL && attributes(&vm, AT, 0, p, 0) == -EINVAL &&
	       attributes(&vm, AT + 1, PAGE, p, 0) == -EINVAL &&
	       attributes(&vm, AT, SIZE, p, 1) == -EINVAL &&
	       attributes(&vm, ~0ull << 12, 2 * PAGE, p, 0) == -EINVAL &&
	       attributes(&plain, AT, SIZE, p, 0) == -EINVAL,
	   "private: unknown attributes, broken ranges, and those of another VM are refused");
	ok(!attributes(&vm, 0, 1ull << 51, 0, 0), "private: all frames can be changed at once");
	close(fd);
	close(theirs);
	vm_free(&vm);
	vm_free(&other);
	vm_free(&plain);
}

static void *run_thread(void *arg)
{
	return (void *)(u64)vm_run(arg, 0, 3500);
}

/*
 * While the guest writes, its frames change, and holes are made: a page that has been given back
 * must not be written any more. Whoever gets it next here looks.
 */
static void test_race(void)
{
	/* .next: mov eax, ecx; and eax, 63; shl rax, 12; mov [rdi + rax], esi; inc ecx; jmp .next
	 */
	static const u8 code[] = {0x89, 0xc8, 0x83, 0xe0, 0x3f, 0x48, 0xc1, 0xe0, 0x0c, 0xc7,
				  0x04, 0x07, 0xef, 0xbe, 0xad, 0xde, 0xff, 0xc1, 0xeb, 0xec};
	struct kvm_regs r;
	u32 written = 0, wrong = 0;
	pthread_t t;
	struct vm vm;
	void *how;
	int fd;

	vm_init(&vm, 1, VM_PROTECTED);
	fd = memfd(&vm, SIZE, 0);
	fill_shared();
	if (slot(&vm, 1, KVM_MEM_GUEST_MEMFD, AT, SIZE, fd, 0) || set_private(&vm, true))
		fatal("a slot with a file");
	memcpy(vm.ram + DATA, code, sizeof(code));
	cpu_setup(&vm, 0, MODE_LONG, payload_start, AT, 0);
	cpu_get_regs(&vm, 0, &r);
	r.rip = DATA;
	cpu_set_regs(&vm, 0, &r);
	pthread_create(&t, NULL, run_thread, &vm);
	for (u64 end = now_ms() + 3000; now_ms() < end;) {
		u32 *next;

		if (rnd() % 4 == 0) {
			wrong += set_private(&vm, false) || set_private(&vm, true);
			continue;
		}
		wrong += fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, 0, SIZE) != 0;
		next = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		usleep(rnd() % 2000);
		for (u64 i = 0; i < PAGES; i++)
			written += next[i * PAGE / 4] != 0;
		munmap(next, SIZE);
	}
	pthread_join(t, &how);
	ok(!wrong, "private: frames change and holes are made while the guest writes (%u)", wrong);
	ok(!written, "private: it does not write to pages that it has no more (%u)", written);
	cpu_get_regs(&vm, 0, &r);
	ok((u64)how == END_TIME && (u32)r.rcx > PAGES, "private: it went on meanwhile (%u writes)",
	   (u32)r.rcx);
	close(fd);
	vm_free(&vm);
}

/*
 * How many ranges there may be has a bound; the addresses are beyond all memory, where it is
 * quickest.
 */
static void test_ranges(void)
{
	const u64 p = KVM_MEMORY_ATTRIBUTE_PRIVATE, from = 1ull << 60;
	struct vm vm;
	u64 n = 0;
	int r = 0;

	vm_init(&vm, 0, VM_PROTECTED);
	for (; !r && n < 100000; n++)
		r = attributes(&vm, from + n * 2 * PAGE, PAGE, p, 0);
	ok(r == -ENOMEM && n == 65537, "private: 65536 ranges can be had (%llu, error %d)",
	   (long long)n - 1, r);
	ok(attributes(&vm, from, PAGE, p, 0) == 0 && attributes(&vm, from, 2 * PAGE, p, 0) == 0 &&
	       attributes(&vm, from - 2 * PAGE, PAGE, p, 0) == -ENOMEM,
	   "private: then those that are no more than before");
	ok(attributes(&vm, from, 4 * PAGE, p, 0) == 0 &&
	       attributes(&vm, from - 2 * PAGE, PAGE, p, 0) == 0 &&
	       attributes(&vm, from + PAGE, PAGE, 0, 0) == -ENOMEM,
	   "private: one that makes two of them one makes room for one, and none is parted");
	ok(attributes(&vm, 0, 1ull << 61, 0, 0) == 0 && attributes(&vm, from, PAGE, p, 0) == 0 &&
	       attributes(&vm, from + 2 * PAGE, PAGE, p, 0) == 0,
	   "private: none of them leaves room for all");
	vm_free(&vm);
}

/* A change of attributes that finds no memory leaves all as it was: here that of two ranges. */
static void test_no_memory(void)
{
	const u64 p = KVM_MEMORY_ATTRIBUTE_PRIVATE;
	struct vm vm;
	int fd, r;

	vm_init(&vm, 1, VM_PROTECTED);
	fd = memfd(&vm, SIZE, 0);
	fill_shared();
	if (slot(&vm, 1, KVM_MEM_GUEST_MEMFD, AT, SIZE, fd, 0) ||
	    attributes(&vm, AT + PAGE, PAGE, p, 0) || attributes(&vm, AT + 3 * PAGE, PAGE, p, 0) ||
	    guest_sees(&vm, AT + PAGE) || guest_sees(&vm, AT + 3 * PAGE))
		fatal("two private pages");
	for (u32 on = 0; on < 2; on++) {
		widen_fail_once("mtree_store_range", ENOMEM);
		r = set_private(&vm, on);
		widen_end();
		ok(r == -ENOMEM && guest_sees(&vm, AT + PAGE) == MARK &&
		       guest_sees(&vm, AT + 3 * PAGE) == MARK &&
		       guest_sees(&vm, AT + 2 * PAGE) == (on ? MARK : OURS),
		   "private: without memory for it frames stay what they are (%d)", r);
	}
	ok(!set_private(&vm, true) && !guest_sees(&vm, AT + 2 * PAGE) &&
	       guest_sees(&vm, AT + PAGE) == MARK,
	   "private: with it they change");
	close(fd);
	vm_free(&vm);
}

int main(void)
{
	open_kvm();
	shared = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	test_frames();
	test_fault();
	test_log();
	test_refused();
	test_ranges();
	test_no_memory();
	test_race();
	return failures != 0;
}
