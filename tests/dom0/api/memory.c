/* SPDX-License-Identifier: GPL-2.0-only */
/* Guest memory: stores that wait in a ring, mappings that change, the dirty log. */
#include "api.h"

#include <glob.h>
#include <limits.h>
#include <sys/stat.h>

/* ---- stores that wait in a ring ---- */

#define RING_PAGE 2
#define RING_MAX                                                                                   \
	((4096 - sizeof(struct kvm_coalesced_mmio_ring)) / sizeof(struct kvm_coalesced_mmio))

GUEST(stores, "mov $0xb800, %ax; mov %ax, %ds; movw $0x1234, 0x10; movb $0x56, 0x7ff\n"
	      "mov $0x3d4, %dx; mov $0x0e, %al; out %al, %dx\n"
	      "movw $0x789a, 0x7ff; mov 0x10, %al; out %al, $0x78; movw $0x1111, 0x10; hlt");
GUEST(many_stores, "mov $0xb800, %ax; mov %ax, %ds; mov $400, %cx; xor %ax, %ax\n"
		   "1: mov %ax, 0x20; inc %ax; loop 1b; hlt");
GUEST(draws, "mov $0xb800, %ax; mov %ax, %es; xor %di, %di; mov $0x0741, %ax; 1: stosw; inc %ax\n"
	     "cmp $1000, %di; jne 1b; mov $1500, %cx; rep stosw; hlt");
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

/* A screen of text, 80 by 25, some of it by REP STOS. */
static void test_screen(void)
{
	struct vm v = start_with_hole();
	struct kvm_coalesced_mmio_ring *r = ring_of(&v);
	unsigned n = 0, bad = 0, exits = 0;
	uint32_t reason;

	check(!zone(&v, true, 0xb8000, 0x8000, 0), "the text screen is a zone");
	LOAD(v, draws);
	do {
		reason = run(&v);
		exits++;
		for (; r->first != r->last; r->first = (r->first + 1) % RING_MAX, n++)
			bad += !took(&r->coalesced_mmio[r->first], 0xb8000 + n * 2, 2, 0,
				     0x741 + (n < 500 ? n : 500));
		if (reason != KVM_EXIT_MMIO)
			break;
		bad += v.run->mmio.phys_addr != 0xb8000 + n * 2 ||
		       *(u16 *)v.run->mmio.data != 0x741 + (n < 500 ? n : 500);
		n++;
	} while (n < 3000);
	check(reason == KVM_EXIT_HLT && n == 2000 && !bad && exits * 10 <= n,
	      "a screen of text takes a tenth of the exits (%u stores, %u wrong, %u exits)", n, bad,
	      exits);
	end(&v);
}

static void test_zone_limit(void)
{
	struct vm v = start_with_hole();
	uint32_t n = 0;

	while (n < 2000 && !zone(&v, true, 0x100000 + n * 16, 16, 0))
		n++;
	check(n == 1000 && errno == ENOSPC, "a VM can have 1000 zones and no more (%u)", n);
	check(!zone(&v, false, 0x100000 + 10 * 16, 16, 0) && !zone(&v, true, 0x200000, 16, 0) &&
		  zone(&v, true, 0x200010, 16, 0) && errno == ENOSPC,
	      "one that goes makes room for another");
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

#ifndef KVM_EXIT_MEMORY_FAULT /* of later kernels' headers */
#define KVM_CAP_MEMORY_FAULT_INFO 232
#define KVM_EXIT_MEMORY_FAULT	  39
#endif

/* KVM_RUN fails, and says that it was for this page: flags, address, size. */
static bool fails_at(struct vm *v, u64 gpa)
{
	u64 told[3];

	memset(&v->run->hw, 0xff, sizeof(told));
	if (run(v) != -EFAULT || v->run->exit_reason != KVM_EXIT_MEMORY_FAULT)
		return false;
	memcpy(told, &v->run->hw, sizeof(told));
	return !told[0] && told[1] == gpa && told[2] == 4096;
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
	check(fails_at(&v, 0x2000), "memory that the VMM may not access is EFAULT");
	mprotect(ram + 0x1000, 8192, PROT_READ | PROT_WRITE);
	check(sees(&v, 0x33), "once it may the guest goes on");
	munmap(ram + 0x2000, 4096);
	check(fails_at(&v, 0x2000), "memory that is unmapped is EFAULT");
	v.run->immediate_exit = 1;
	check(run(&v) == -EINTR && v.run->exit_reason == KVM_EXIT_MEMORY_FAULT,
	      "what it was can still be read behind an immediate_exit");
	v.run->immediate_exit = 0;
	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MEMORY_FAULT_INFO) == 1,
	      "a VMM hears that it is told which page");
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

/* ---- a device's registers in a slot ---- */

/* The frame buffer of the machine's VGA, which nobody looks at. */
static u8 *map_vga(void)
{
	char class[16] = "", path[PATH_MAX];
	void *at = MAP_FAILED;
	glob_t g;
	int fd;

	glob("/sys/bus/pci/devices/*/class", 0, NULL, &g);
	for (size_t i = 0; i < g.gl_pathc && at == MAP_FAILED; i++) {
		fd = open(g.gl_pathv[i], O_RDONLY);
		pread(fd, class, sizeof(class) - 1, 0);
		close(fd);
		if (strncmp(class, "0x030000", 8))
			continue;
		snprintf(path, sizeof(path), "%.*sresource0",
			 (int)(strlen(g.gl_pathv[i]) - strlen("class")), g.gl_pathv[i]);
		fd = open(path, O_RDWR);
		at = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
	}
	globfree(&g);
	return at == MAP_FAILED ? NULL : at;
}

GUEST(device,
      "mov $0xb800, %ax; mov %ax, %ds; mov 0x1010, %eax; inc %eax; mov %eax, 0x1014\n"
      "movb $0x5a, 0x1fff; mov $0x77, %dx; out %eax, %dx; mov 0x1010, %eax; out %eax, %dx; hlt");

/* Of later kernels' <linux/kvm.h> */
#ifndef KVM_PRE_FAULT_MEMORY
#define KVM_CAP_USER_MEMORY2	 231
#define KVM_CAP_PRE_FAULT_MEMORY 236
struct kvm_userspace_memory_region2 {
	uint32_t slot, flags;
	u64 guest_phys_addr, memory_size, userspace_addr, guest_memfd_offset;
	uint32_t guest_memfd, pad1;
	u64 pad2[14];
};
struct kvm_pre_fault_memory {
	u64 gpa, size, flags, padding[5];
};
#define KVM_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
#define KVM_PRE_FAULT_MEMORY	    _IOWR(KVMIO, 0xd5, struct kvm_pre_fault_memory)
#endif

#define FRESH	    (16ul << 20)
#define FRESH_BYTES (2ul << 20)

static int pre_fault(struct vm *v, u64 gpa, u64 size, u64 flags, u64 *left)
{
	struct kvm_pre_fault_memory m = {.gpa = gpa, .size = size, .flags = flags};
	int ret = ioctl(v->vcpu, KVM_PRE_FAULT_MEMORY, &m);

	*left = m.size;
	return ret ? -errno : 0;
}

static u64 allocated(int fd)
{
	struct stat s;

	fstat(fd, &s);
	return s.st_blocks * 512ul;
}

static void test_pre_fault(void)
{
	struct vm v = start(NO_CHIP);
	int fd = memfd_create("fresh", 0);
	struct kvm_userspace_memory_region2 r = {
	    .slot = 1, .guest_phys_addr = FRESH, .memory_size = FRESH_BYTES};
	void *p;
	u64 left;

	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY2) == 1 &&
		  ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_PRE_FAULT_MEMORY) == 1,
	      "memory can be brought before it is used, slots have a second form");
	if (fd < 0 || ftruncate(fd, FRESH_BYTES))
		return (void)check(false, "there is a file");
	p = mmap(NULL, FRESH_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	r.userspace_addr = (u64)p;
	r.flags = 4; /* KVM_MEM_GUEST_MEMFD */
	check(ioctl(v.fd, KVM_SET_USER_MEMORY_REGION2, &r) && errno == EINVAL,
	      "but there is no guest_memfd");
	r.flags = 0;
	check(!ioctl(v.fd, KVM_SET_USER_MEMORY_REGION2, &r), "a slot in the second form");
	check(pre_fault(&v, FRESH + 1, 4096, 0, &left) == -EINVAL &&
		  pre_fault(&v, FRESH, 100, 0, &left) == -EINVAL &&
		  pre_fault(&v, FRESH, 0, 0, &left) == -EINVAL &&
		  pre_fault(&v, FRESH, 4096, 1, &left) == -EINVAL &&
		  pre_fault(&v, -4096ul, 8192, 0, &left) == -EINVAL,
	      "whole pages, no flags, and no end before the begin");
	check(pre_fault(&v, 1ul << 51, 4096, 0, &left) < 0 &&
		  pre_fault(&v, FRESH - 4096, 8192, 0, &left) == -ENOENT && left == 8192 &&
		  !allocated(fd),
	      "where no slot is nothing can be brought");
	check(!pre_fault(&v, FRESH, FRESH_BYTES / 2, 0, &left) && !left &&
		  allocated(fd) == FRESH_BYTES / 2,
	      "what is asked for is there");
	check(!pre_fault(&v, FRESH + FRESH_BYTES / 2, FRESH_BYTES, 0, &left) &&
		  left == FRESH_BYTES / 2 && allocated(fd) == FRESH_BYTES,
	      "as far as there is any; what is left is told");
	end(&v);
	munmap(p, FRESH_BYTES);
	close(fd);
}

static void test_device_memory(void)
{
	struct vm v = start_with_hole();
	u8 *vga = map_vga();

	if (!check(vga, "a device's memory can be mapped"))
		return end(&v);
	LOAD(v, device);
	set_slot(v.fd, 5, 0, 0xb9000, 4096, vga);
	*(volatile uint32_t *)(vga + 0x10) = 0x11223344;
	vga[0x14] = vga[0xfff] = 0;
	check(run(&v) == KVM_EXIT_IO && *(uint32_t *)io_data(&v) == 0x11223345,
	      "in a slot it is read by the guest, without an exit");
	check(*(volatile uint32_t *)(vga + 0x14) == 0x11223345 && vga[0xfff] == 0x5a,
	      "and written");
	mmap(vga, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	vga[0x10] = 0x66;
	check(run(&v) == KVM_EXIT_IO && *(uint32_t *)io_data(&v) == 0x66,
	      "the guest follows when the VMM has memory there instead");
	ioctl(v.vcpu, KVM_SET_REGS, &(struct kvm_regs){.rip = CODE, .rflags = 2, .rsp = STACK});
	set_slot(v.fd, 5, 0, 0xb9000, 0, vga);
	check(run(&v) == KVM_EXIT_MMIO && v.run->mmio.phys_addr == 0xb9010,
	      "where there is no slot any more it is the VMM's");
	end(&v);
}

void memory_tests(void)
{
	test_pre_fault();
	test_device_memory();
	test_coalesced();
	test_ring_full();
	test_screen();
	test_zone_limit();
	test_notifier();
	test_dirty_log();
	test_clear_log();
}
