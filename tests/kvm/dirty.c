/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * KVM_DIRTY_LOG_INITIALLY_SET: a log begins with all pages in it and nothing write-protected; what
 * is cleared is protected. On a large page, by what a guest's writes cost.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define LARGE (2ul << 20)
#define AT    0x40000000ul /* in the guest */
#define PAGES (LARGE / 4096)

/* The first value of this name of a vCPU; ~0: there is none. */
static u64 stat(struct vm *vm, const char *name)
{
	int fd = cpu_ioctl(vm, 0, KVM_GET_STATS_FD, NULL);
	char buf[sizeof(struct kvm_stats_desc) + 64];
	struct kvm_stats_desc *d = (void *)buf;
	struct kvm_stats_header h;
	u64 val = ~0ull;

	if (fd < 0 || pread(fd, &h, sizeof(h), 0) != sizeof(h) || h.name_size > 64)
		fatal("a vCPU has statistics");
	for (u32 i = 0; i < h.num_desc; i++) {
		size_t size = sizeof(*d) + h.name_size;

		if (pread(fd, buf, size, h.desc_offset + i * size) == (ssize_t)size &&
		    !strncmp(d->name, name, h.name_size) &&
		    pread(fd, &val, 8, h.data_offset + d->offset) == 8)
			break;
	}
	close(fd);
	return val;
}

/* The guest writes to all of the slot. How many nested page faults does that take? */
static u64 write_all(struct vm *vm)
{
	u64 before = stat(vm, "exits-p2m-fault");

	cpu_setup(vm, 0, MODE_LONG, pl_stos, AT, LARGE / 4);
	ok(vm_run(vm, 0, 10000) == END_DONE, "dirty log: the guest writes");
	return stat(vm, "exits-p2m-fault") - before;
}

static void check(u64 how, bool all_at_once)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = {how}};
	struct kvm_userspace_memory_region slot = {
	    .slot = 1, .guest_phys_addr = AT, .memory_size = LARGE};
	u8 *two = mmap(NULL, 2 * LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	u8 *large = (u8 *)(((u64)two + LARGE - 1) & ~(LARGE - 1));
	static u64 bits[PAGES / 64];
	struct kvm_dirty_log log = {.slot = 1, .dirty_bitmap = bits};
	struct kvm_clear_dirty_log clear = {.slot = 1, .num_pages = PAGES, .dirty_bitmap = bits};
	u32 set = 0;
	struct vm vm;
	u64 first, faults;

	madvise(large, LARGE, MADV_HUGEPAGE);
	memset(large, 1, LARGE);
	vm_init(&vm, 1, 0);
	slot.userspace_addr = (u64)large;
	if (vm_ioctl(&vm, KVM_ENABLE_CAP, &cap) || vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &slot))
		fatal("a slot with a manual log");
	first = write_all(&vm);
	slot.flags = KVM_MEM_LOG_DIRTY_PAGES;
	ok(!vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &slot), "dirty log: it is started");
	faults = write_all(&vm);
	note("%lu faults to map it, %lu once the log has been started", first, faults);
	if (all_at_once)
		ok(!faults, "dirty log: initially set it costs the guest's writes nothing");
	ok(!vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log), "dirty log: it is read");
	for (u32 i = 0; i < PAGES; i++)
		set += bits[i / 64] >> i % 64 & 1;
	ok(set == PAGES, "dirty log: all pages are in it (%u)", set);
	ok(!vm_ioctl(&vm, KVM_CLEAR_DIRTY_LOG, &clear) && !vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) &&
	       !bits[0] && !bits[PAGES / 64 - 1],
	   "dirty log: none when they have been cleared");
	*(u32 *)(large + 0x5000) = 1;
	cpu_setup(&vm, 0, MODE_LONG, pl_stos, AT + 0x5000, 1);
	ok(vm_run(&vm, 0, 10000) == END_DONE && !vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) &&
	       bits[0] == 1 << 5 && !*(u32 *)(large + 0x5000),
	   "dirty log: then what is written, alone (%lx)", bits[0]);
	vm_free(&vm);
	munmap(two, 2 * LARGE);
}

int main(void)
{
	open_kvm();
	check(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE, false);
	check(KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET, true);
	return failures != 0;
}
