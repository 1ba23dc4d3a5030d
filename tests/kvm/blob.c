/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A slot of RAM that a driver has put into the VMM's page tables without references, as those of
 * GPUs do (pfnmap.ko, VM_PFNMAP): guests use it as memory.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define AT    0x40000000ul
#define PAGE  4096ul
#define PAGES 16u

enum { TAKE_AWAY, COUNT };

/* mov ecx, 4096; .next: inc dword [rdi]; loop .next; mov eax, [rdi]; out; out */
static const u8 count[] = {0xb9, 0x00, 0x10, 0x00, 0x00,       0xff, 0x07,     0xe2,
			   0xfc, 0x8b, 0x07, 0xe7, PORT_VALUE, 0xe6, PORT_DONE};
/* jmp rdi */
static const u8 jump[] = {0xff, 0xe7};
static const u8 end[] = {0xe6, PORT_DONE};

static void test_blob(u8 *blob, int fd)
{
	struct kvm_userspace_memory_region r = {.slot = 1,
						.guest_phys_addr = AT,
						.memory_size = PAGES * PAGE,
						.userspace_addr = (u64)blob};
	u32 *word = (u32 *)(blob + PAGE);
	long before;
	struct vm vm;

	vm_init(&vm, 1, 0);
	ok(!vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r), "blob: it can be a slot");
	*word = 5;
	ok(run_code(&vm, count, sizeof(count), AT + PAGE) == END_DONE && vm.values[0] == 4096 + 5 &&
	       *word == 4096 + 5,
	   "blob: guest and VMM have the same memory");
	memcpy(blob, end, sizeof(end));
	ok(run_code(&vm, jump, sizeof(jump), AT) == END_DONE,
	   "blob: the guest can run what lies there, as it cannot in a device");
	before = ioctl(fd, COUNT);
	ok(run_code(&vm, count, sizeof(count), AT + PAGE) == END_DONE && ioctl(fd, COUNT) == before,
	   "blob: it stays mapped");
	ioctl(fd, TAKE_AWAY);
	ok(run_code(&vm, count, sizeof(count), AT + PAGE) == END_DONE &&
	       ioctl(fd, COUNT) > before && *word == 3 * 4096 + 5,
	   "blob: when the driver has taken it away it is asked for it again");
	vm_free(&vm);
}

int main(void)
{
	u8 *blob;
	int fd;

	open_kvm();
	module_load("pfnmap.ko", "");
	fd = open("/dev/pfnmap", O_RDWR | O_CLOEXEC);
	blob = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || blob == MAP_FAILED)
		fatal("/dev/pfnmap");
	test_blob(blob, fd);
	munmap(blob, PAGES * PAGE);
	close(fd);
	ok(!syscall(SYS_delete_module, "pfnmap", 0), "blob: nobody holds it afterwards");
	return failures != 0;
}
