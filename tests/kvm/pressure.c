// SPDX-License-Identifier: GPL-2.0-only
/*
 * Guests whose memory dom0's kernel takes, merges, splits and moves while they run, and that check
 * what they have: swap (as root, with swap space), KSM, transparent huge pages, hugetlbfs. And
 * a guest whose memory is a device, such as persistent memory.
 *
 * usage: pressure [swap|ksm|thp|hugetlb...]
 *        pressure device /dev/daxN.N
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#define AT     0x40000000ul /* in the guest */
#define LARGE  (2ul << 20)
#define SMALL  4096ul
#define ROUNDS 2

struct guest {
	struct vm vm;
	u8 *mem;
	size_t size;
	u64 seed;
	bool good;
};

/* ---- what dom0's kernel says ---- */

/* A number behind a name in a file, or the first one; -1: there is none. */
static long number_in(const char *path, const char *name)
{
	FILE *f = fopen(path, "r");
	char line[256], *at;
	long n = -1;

	while (f && n < 0 && fgets(line, sizeof(line), f)) {
		at = strstr(line, name);
		if (at)
			sscanf(at + strlen(name), "%ld", &n);
	}
	if (f)
		fclose(f);
	return n;
}

static void tell_kernel(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		fatal("%s takes %s", path, text);
	close(fd);
}

/* Sum of a field of the mapping at p, KiB. */
static long smaps_of(const void *p, const char *field)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long from, to;
	bool there = false;
	char line[256];
	long n, sum = 0;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			there = from <= (u64)p && (u64)p < to;
		else if (there && !strncmp(line, field, strlen(field)) &&
			 sscanf(line + strlen(field), "%ld", &n) == 1)
			sum += n;
	}
	if (f)
		fclose(f);
	return sum;
}

/* ---- guests ---- */

static u8 *memory_at_large(size_t size)
{
	u8 *p = mmap(NULL, size + LARGE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		fatal("address space for a guest");
	return (u8 *)(((u64)p + LARGE - 1) & ~(LARGE - 1));
}

static void guest_begin(struct guest *g, u8 *mem, size_t size)
{
	struct kvm_userspace_memory_region slot = {
	    .slot = 1, .guest_phys_addr = AT, .memory_size = size, .userspace_addr = (u64)mem};

	vm_init(&g->vm, 1, 0);
	g->mem = mem;
	g->size = size;
	if (vm_ioctl(&g->vm, KVM_SET_USER_MEMORY_REGION, &slot))
		fatal("memory of a guest");
}

static void guest_end(struct guest *g)
{
	vm_free(&g->vm);
	munmap(g->mem, g->size);
}

/* The guest writes to its pages, or counts those that are not as it has written them: the count, or
 * ~0. */
static u32 guest_does(struct guest *g, const void *what, u64 seed)
{
	struct kvm_regs r;

	g->vm.value_count = 0;
	cpu_setup(&g->vm, 0, MODE_LONG, what, AT, AT + g->size);
	cpu_get_regs(&g->vm, 0, &r);
	r.rdx = seed;
	cpu_set_regs(&g->vm, 0, &r);
	if (vm_run(&g->vm, 0, 300000) != END_DONE || g->vm.value_count != 1)
		return ~0u;
	return g->vm.values[0];
}

static bool guest_writes(struct guest *g, u64 seed)
{
	return !guest_does(g, pl_fill, seed);
}

static bool guest_finds(struct guest *g, u64 seed)
{
	u32 bad = guest_does(g, pl_filled, seed);

	if (bad)
		note("%d of %lu pages are not as they were written", (int)bad, g->size / SMALL);
	return !bad;
}

/* ---- swap ---- */

static void *write_and_read(void *arg)
{
	struct guest *g = arg;

	g->good = true;
	for (u32 i = 0; i < ROUNDS && g->good; i++)
		g->good = guest_writes(g, g->seed + i) && guest_finds(g, g->seed + i);
	return NULL;
}

/* Two guests that want more than there is, together. */
static void test_swap(void)
{
	struct sysinfo info;
	struct guest g[2];
	pthread_t thread[2];
	long in, out;
	size_t size;

	sysinfo(&info);
	size = info.totalram / 100 * 55 / LARGE * LARGE;
	if (info.freeswap < 2 * size)
		fatal("swap space for two guests of %lu MiB", size >> 20);
	in = number_in("/proc/vmstat", "pswpin ");
	out = number_in("/proc/vmstat", "pswpout ");
	for (u32 i = 0; i < 2; i++) {
		guest_begin(&g[i], memory_at_large(size), size);
		g[i].seed = (i + 1) * 0x9e3779b97f4a7c15ul;
		pthread_create(&thread[i], NULL, write_and_read, &g[i]);
	}
	for (u32 i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		ok(g[i].good,
		   "swap: guest %u of two of %lu MiB each in %lu MiB finds what it has written",
		   i + 1, size >> 20, info.totalram >> 20);
		guest_end(&g[i]);
	}
	in = number_in("/proc/vmstat", "pswpin ") - in;
	out = number_in("/proc/vmstat", "pswpout ") - out;
	ok(in > 1000 && out > 1000, "swap: pages have gone to disk, and come back (%ld, %ld)", out,
	   in);
}

/* ---- KSM ---- */

#define KSM "/sys/kernel/mm/ksm/"

/* The scanner works until as many pages as that are saved, or no more than that; how many are. */
static long ksm_scans(long count, bool no_more)
{
	u64 end = now_ms() + 60000;
	long n;

	tell_kernel(KSM "run", "1");
	do {
		usleep(50000);
		n = number_in(KSM "pages_sharing", "");
	} while ((no_more ? n > count : n < count) && now_ms() < end);
	tell_kernel(KSM "run", "0"); /* what is merged stays so */
	return n;
}

static void test_ksm(void)
{
	const size_t size = 8ul << 20;
	const long pages = size / SMALL;
	struct guest g[2];
	long n;

	for (u32 i = 0; i < 2; i++) {
		guest_begin(&g[i], memory_at_large(size), size);
		if (madvise(g[i].mem, size, MADV_MERGEABLE))
			fatal("KSM");
		ok(guest_writes(&g[i], 7), "KSM: guest %u writes", i + 1);
	}
	tell_kernel(KSM "pages_to_scan", "10000");
	tell_kernel(KSM "sleep_millisecs", "10");
	n = ksm_scans(pages, false);
	ok(n >= pages, "KSM: what both have written is kept once (%ld)", n);
	ok(guest_finds(&g[0], 7) && guest_finds(&g[1], 7), "KSM: they find it");
	ok(guest_writes(&g[0], 8), "KSM: one of them writes again");
	ok(guest_finds(&g[1], 7) && guest_finds(&g[0], 8), "KSM: which the other one does not see");
	n = ksm_scans(0, true);
	ok(!n, "KSM: nothing is kept once any more (%ld)", n);
	ok(guest_writes(&g[1], 8) && ksm_scans(pages, false) >= pages, "KSM: they are alike again");
	tell_kernel(KSM "run", "2");
	tell_kernel(KSM "run", "0");
	n = number_in(KSM "pages_sharing", "");
	ok(!n && guest_finds(&g[0], 8) && guest_finds(&g[1], 8),
	   "KSM: and have what they had when the kernel has parted them (%ld)", n);
	guest_end(&g[0]);
	guest_end(&g[1]);
}

/* ---- huge pages ---- */

/* Whole again behind what the VMM takes away in their middle: pages that the guest has not written
 * are zero. */
static void test_thp(void)
{
	const size_t size = 4 * LARGE;
	struct guest g;

	guest_begin(&g, memory_at_large(size), size);
	madvise(g.mem, size, MADV_HUGEPAGE);
	ok(guest_writes(&g, 3), "huge pages: the guest writes");
	ok(smaps_of(g.mem, "AnonHugePages:") == (long)(size >> 10),
	   "huge pages: all its memory is of them");
	madvise(g.mem + LARGE / 2, SMALL, MADV_DONTNEED);
	ok(guest_does(&g, pl_filled, 3) == 1,
	   "huge pages: of one that is split the guest misses one page, which was taken");
	madvise(g.mem, size, MADV_NOHUGEPAGE);
	madvise(g.mem + LARGE, LARGE, MADV_DONTNEED);
	ok(guest_does(&g, pl_filled, 3) == LARGE / SMALL + 1,
	   "huge pages: of those that are taken whole all pages");
	ok(guest_writes(&g, 4) && guest_finds(&g, 4),
	   "huge pages: the guest goes on in small ones");
	guest_end(&g);
}

static void test_hugetlb(void)
{
	const size_t size = 4 * LARGE;
	struct guest g;
	u8 *mem;

	tell_kernel("/proc/sys/vm/nr_hugepages", "4");
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
		   -1, 0);
	if (mem == MAP_FAILED)
		fatal("four huge pages");
	guest_begin(&g, mem, size);
	ok(guest_writes(&g, 5) && guest_finds(&g, 5),
	   "hugetlbfs: the guest finds what it has written");
	ok(!number_in("/proc/meminfo", "HugePages_Free:"), "hugetlbfs: in all of its pages");
	guest_end(&g);
	ok(number_in("/proc/meminfo", "HugePages_Free:") == 4,
	   "hugetlbfs: which are free again behind it");
	tell_kernel("/proc/sys/vm/nr_hugepages", "0");
	ok(!number_in("/proc/meminfo", "HugePages_Total:"), "hugetlbfs: and can be given back");
}

/* ---- memory that is a device ---- */

/* It is mapped into the guest, as memory is: what the guest has used once costs no more exits. */
static void test_device(const char *path)
{
	const size_t size = 8 * LARGE;
	int fd = open(path, O_RDWR);
	u8 *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	char count[64];
	struct guest g;
	long first, exits;

	if (fd < 0 || mem == MAP_FAILED)
		fatal("memory of %s", path);
	guest_begin(&g, mem, size);
	snprintf(count, sizeof(count), "/sys/kernel/debug/kvm/%d-%d/exits", getpid(), g.vm.fd);
	ok(guest_writes(&g, 9) && guest_finds(&g, 9), "%s: the guest finds what it has written",
	   path);
	first = number_in(count, "");
	ok(guest_writes(&g, 10) && guest_finds(&g, 10), "%s: it writes again, and finds it", path);
	exits = number_in(count, "") - first;
	ok(first > 0 && exits < 40, "%s: without exits for it (%ld, and then %ld)", path, first,
	   exits);
	guest_end(&g);
	close(fd);
}

int main(int argc, char **argv)
{
	open_kvm();
	if (argc > 2 && !strcmp(argv[1], "device")) {
		test_device(argv[2]);
		return failures != 0;
	}
	if (argc > 1 && wanted("swap", argc, argv))
		test_swap();
	if (wanted("ksm", argc, argv))
		test_ksm();
	if (wanted("thp", argc, argv))
		test_thp();
	if (wanted("hugetlb", argc, argv))
		test_hugetlb();
	return failures != 0;
}
