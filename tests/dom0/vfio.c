/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A device in the hands of a program: QEMU's `edu` (docs/specs/edu), which copies between memory
 * and a buffer of its own, by VFIO. It must reach what the program has mapped for it, and nothing
 * else.
 *
 * usage: vfio DEVICE		bound to vfio-pci; DEVICE is like 0000:00:02.0
 *        vfio DEVICE own	bound to no driver: it reaches dom0's memory, or in a guest the
 *				guest's
 *        vfio DEVICE far ADDRESS WORD
 *				likewise, in a guest, and not that address, where WORD stands
 *        vfio DEVICE reset OFFSET VALUE
 *				any device, bound to vfio-pci: what one owner leaves in a register
 *				of its first BAR the next one does not find
 *        vfio PID hold		print address and first word of a page of a guest of that process,
 *				PID 0: of our own; at SIGTERM it is as it was. The address is no
 *				one that a guest of 256 MiB has
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/target/edu.h"

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;

#define EDU_SIZE   0x100000
#define COPY	   4000ul /* less than a page, which is what the buffer has */
#define PAGE	   4096ul
#define LARGE	   (2ul << 20)
#define IOVA	   0x200000000ul /* behind all memory of the machine */
#define PATIENCE_S 60		 /* a copy takes 0.1 s */

#define PCI_COMMAND 4
#define PCI_MASTER  6 /* and memory */

static const char *device;
static volatile u8 *edu; /* its first BAR */
static u64 bar_size = EDU_SIZE;
static int failures;

struct vfio {
	int container, group, device;
};

static bool check(bool cond, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	printf("%s - ", cond ? "ok" : "not ok");
	vprintf(fmt, args);
	printf("\n");
	fflush(stdout);
	va_end(args);
	failures += !cond;
	return cond;
}

static void need(bool cond, const char *what)
{
	if (cond)
		return;
	perror(what);
	check(false, "%s", what);
	exit(1);
}

static int group_number(void)
{
	char path[128], to[128] = "";

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", device);
	need(readlink(path, to, sizeof(to) - 1) > 0, "the device has an IOMMU group");
	return atoi(strrchr(to, '/') + 1);
}

/* ---- the device ---- */

/* Copy COPY bytes between memory and its buffer; false: it takes for ever. */
static bool dma(u64 at, bool to_ram)
{
	volatile u64 *cmd = (volatile u64 *)(edu + EDU_CMD);

	*(volatile u64 *)(edu + EDU_SRC) = to_ram ? EDU_BUFFER : at;
	*(volatile u64 *)(edu + EDU_DST) = to_ram ? at : EDU_BUFFER;
	*(volatile u64 *)(edu + EDU_COUNT) = COPY;
	*cmd = EDU_START | (to_ram ? EDU_TO_RAM : 0);
	for (int i = 0; i < PATIENCE_S * 100 && *cmd & EDU_START; i++)
		usleep(10000);
	return !(*cmd & EDU_START);
}

static struct vfio take(void)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	struct vfio_region_info config = {.argsz = sizeof(config),
					  .index = VFIO_PCI_CONFIG_REGION_INDEX},
				bar = {.argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX};
	uint16_t command = PCI_MASTER;
	char path[64];
	struct vfio v;

	snprintf(path, sizeof(path), "/dev/vfio/%d", group_number());
	v.container = open("/dev/vfio/vfio", O_RDWR);
	v.group = open(path, O_RDWR);
	need(v.container >= 0 && v.group >= 0, "the device's group opens");
	need(!ioctl(v.group, VFIO_GROUP_GET_STATUS, &status) &&
		 status.flags & VFIO_GROUP_FLAGS_VIABLE,
	     "the group is viable");
	need(!ioctl(v.group, VFIO_GROUP_SET_CONTAINER, &v.container), "the group has a container");
	need(!ioctl(v.container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "the container has a domain");
	v.device = ioctl(v.group, VFIO_GROUP_GET_DEVICE_FD, device);
	need(v.device >= 0, "the device opens");
	need(!ioctl(v.device, VFIO_DEVICE_GET_REGION_INFO, &config) &&
		 pwrite(v.device, &command, 2, config.offset + PCI_COMMAND) == 2,
	     "the device may access memory");
	need(!ioctl(v.device, VFIO_DEVICE_GET_REGION_INFO, &bar), "the device has registers");
	bar_size = bar.size;
	edu = mmap(NULL, bar_size, PROT_READ | PROT_WRITE, MAP_SHARED, v.device, (off_t)bar.offset);
	need(edu != MAP_FAILED, "the device's registers are mapped");
	return v;
}

static void give_back(const struct vfio *v)
{
	munmap((void *)edu, bar_size);
	close(v->device);
	close(v->group);
	close(v->container);
}

static bool map(const struct vfio *v, u64 iova, const void *at, u64 size, bool write)
{
	struct vfio_iommu_type1_dma_map m = {.argsz = sizeof(m),
					     .flags = VFIO_DMA_MAP_FLAG_READ |
						      (write ? VFIO_DMA_MAP_FLAG_WRITE : 0),
					     .vaddr = (u64)at,
					     .iova = iova,
					     .size = size};

	return !ioctl(v->container, VFIO_IOMMU_MAP_DMA, &m);
}

/* Whether all that there was is unmapped. */
static bool unmap(const struct vfio *v, u64 iova, u64 size)
{
	struct vfio_iommu_type1_dma_unmap u = {.argsz = sizeof(u), .iova = iova, .size = size};

	return !ioctl(v->container, VFIO_IOMMU_UNMAP_DMA, &u) && u.size == size;
}

/* ---- memory ---- */

static u8 *memory(u64 size, int flags)
{
	u8 *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | flags, -1, 0);

	need(p != MAP_FAILED, flags ? "there are large pages" : "there is memory");
	return p;
}

static void fill(u8 *page, u8 seed)
{
	for (u64 i = 0; i < COPY; i++)
		page[i] = i * 7 + (i >> 8) + seed;
}

static bool is(const volatile u8 *page, u8 seed)
{
	for (u64 i = 0; i < COPY; i++)
		if (page[i] != (u8)(i * 7 + (i >> 8) + seed))
			return false;
	return true;
}

/* Where a page that stays there lies; of which process. */
static u64 physical_of(const char *process, u64 at)
{
	char path[64];
	u64 entry = 0;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/pagemap", process);
	fd = open(path, O_RDONLY);
	need(fd >= 0 && pread(fd, &entry, 8, (off_t)(at / PAGE * 8)) == 8 && entry << 9,
	     "a page's address is known");
	close(fd);
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

static u64 physical(const void *at)
{
	return physical_of("self", (u64)at);
}

/* ---- what is to be true ---- */

/* What the device reads there it writes to `to`, which it may. */
static bool reads(u64 iova, u64 to_iova, const u8 *to, u8 seed)
{
	return dma(iova, false) && dma(to_iova, true) && is(to, seed);
}

static void own_pages(const struct vfio *v)
{
	u8 *p = memory(4 * PAGE, 0);

	fill(p, 1);
	check(map(v, IOVA, p, PAGE, false), "a page is mapped for reading");
	check(map(v, IOVA + PAGE, p + PAGE, 2 * PAGE, true), "two are for writing");
	check(reads(IOVA, IOVA + PAGE, p + PAGE, 1), "the device reads one and writes the other");
	check(dma(IOVA + 2 * PAGE, true) && is(p + 2 * PAGE, 1), "and the next");

	fill(p, 2);
	dma(IOVA, true);
	check(is(p, 2), "it does not write what it may read only");
	fill(p + 3 * PAGE, 3);
	mlock(p + 3 * PAGE, PAGE);
	dma(physical(p + 3 * PAGE), true);
	check(is(p + 3 * PAGE, 3), "it does not write memory that is not mapped for it");
	dma(physical(p + 3 * PAGE), false);
	dma(IOVA + PAGE, true);
	check(!is(p + PAGE, 3), "it does not read it");

	check(unmap(v, IOVA + PAGE, 2 * PAGE), "the two pages are unmapped");
	fill(p + PAGE, 4);
	fill(p + 2 * PAGE, 5);
	dma(IOVA + PAGE, true);
	dma(IOVA + 2 * PAGE, true);
	check(is(p + PAGE, 4) && is(p + 2 * PAGE, 5), "it writes neither any more");
	check(map(v, IOVA + PAGE, p + 2 * PAGE, PAGE, true) &&
		  reads(IOVA, IOVA + PAGE, p + 2 * PAGE, 2) && is(p + PAGE, 4),
	      "another page in the same place is reached, the one before is not");
	check(unmap(v, IOVA, 2 * PAGE), "all is unmapped");
}

/* Of Linux' large pages; what is next to one that is taken away stays. */
static void large_pages(const struct vfio *v)
{
	u64 size = 3 * LARGE, last = size - PAGE;
	u8 *p = memory(size, MAP_HUGETLB);

	check(map(v, IOVA, p, LARGE, true) && map(v, IOVA + LARGE, p + LARGE, 2 * LARGE, true),
	      "6 MiB are mapped, in two parts");
	fill(p, 6);
	check(reads(IOVA, IOVA + last, p + last, 6),
	      "the device reaches their first and last page");
	check(unmap(v, IOVA, LARGE), "the first third is unmapped");
	fill(p, 7);
	fill(p + LARGE - PAGE, 8);
	dma(IOVA, true);
	dma(IOVA + LARGE - PAGE, true);
	check(is(p, 7) && is(p + LARGE - PAGE, 8), "it is not reached any more");
	fill(p + LARGE, 9);
	check(reads(IOVA + LARGE, IOVA + last, p + last, 9), "what is behind it is");
	check(unmap(v, IOVA + LARGE, 2 * LARGE), "the rest is unmapped");
	dma(IOVA + last, true);
	fill(p + last, 10);
	dma(IOVA + last, true);
	check(is(p + last, 10), "and not reached any more");
}

/* The registers of a device are no memory that devices can be given. */
static void no_registers(const struct vfio *v)
{
	check(!map(v, IOVA, (const void *)edu, PAGE, true), "a device's registers are not mapped");
}

/* The device's messages, with the event that they lead to. */
static int take_irq(const struct vfio *v)
{
	struct {
		struct vfio_irq_set set;
		int32_t fd;
	} s = {.set = {.argsz = sizeof(s),
		       .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		       .index = VFIO_PCI_MSI_IRQ_INDEX,
		       .count = 1},
	       .fd = eventfd(0, EFD_NONBLOCK)};

	need(s.fd >= 0 && !ioctl(v->device, VFIO_DEVICE_SET_IRQS, &s), "it has a message");
	return s.fd;
}

/* How often it comes, when the device raises it once, in the time that it may take, or 0.3 s. */
static u64 raised(int event, bool wanted)
{
	struct pollfd p = {.fd = event, .events = POLLIN};
	u64 n = 0;

	*(volatile uint32_t *)(edu + EDU_RAISE) = 1;
	poll(&p, 1, wanted ? PATIENCE_S * 1000 : 300);
	if (read(event, &n, sizeof(n)) != sizeof(n))
		n = 0;
	*(volatile uint32_t *)(edu + EDU_ACK) = 1;
	return n;
}

static int open_config(void)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", device);
	fd = open(path, O_RDWR);
	need(fd >= 0, "its configuration space is there");
	return fd;
}

/* "PCI Local Bus Specification", "MSI Capability Structure" */
static u8 find_message(int config)
{
	u8 at = 0x34, id = 0;

	while (id != 5 && pread(config, &at, 1, at) == 1 && at) {
		need(pread(config, &id, 1, at) == 1, "its capabilities can be read");
		at += id != 5;
	}
	need(id == 5, "it has a message");
	return at;
}

/* As a device does that sends others than its own; root can write them in its place. */
static void own_interrupt(const struct vfio *v)
{
	int config = open_config(), event = take_irq(v);
	u8 at = find_message(config);
	uint32_t address, data, forged;

	check(raised(event, true) == 1, "its interrupt comes");
	need(pread(config, &address, 4, at + 4) == 4 && pread(config, &data, 4, at + 12) == 4,
	     "the message can be read");
	if (address & 0x10) { /* VT-d: the index is in the address */
		forged = address ^ 0x20;
		at += 4;
	} else { /* AMD-Vi: the data are an index */
		address = data;
		forged = data ^ 1;
		at += 12;
	}
	need(pwrite(config, &forged, 4, at) == 4, "another message can be written");
	check(!raised(event, false), "with another message it raises nothing");
	need(pwrite(config, &address, 4, at) == 4, "its own can be written");
	check(raised(event, true) == 1, "with its own it does");
	close(event);
	close(config);
}

/* Does as it is told, until it is killed. */
static void copy_for_ever(u8 *page)
{
	struct vfio v = take();
	u8 *from = memory(PAGE, 0);

	need(map(&v, IOVA, page, PAGE, true), "the page is mapped");
	for (u8 seed = 0;; seed ^= 1) {
		fill(from, seed);
		if (!map(&v, IOVA + PAGE, from, PAGE, false) || !dma(IOVA + PAGE, false) ||
		    !dma(IOVA, true) || !unmap(&v, IOVA + PAGE, PAGE))
			_exit(1);
	}
}

static void killed(void)
{
	u8 *page = memory(PAGE, 0);
	bool came = false;
	struct vfio v;
	int status;
	pid_t pid;

	fill(page, 11);
	mlock(page, PAGE);
	pid = fork();
	if (!pid)
		copy_for_ever(page);
	for (int i = 0; i < PATIENCE_S * 100 && !came; i++) {
		usleep(10000);
		came = is(page, 1);
	}
	check(came, "a program's device copies to memory, again and again");
	kill(pid, SIGKILL);
	check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "the program is killed");
	fill(page, 12);
	for (int i = 0; i < 5; i++)
		usleep(100000);
	check(is(page, 12), "the page is not written any more");
	v = take();
	own_pages(&v);
	give_back(&v);
}

static void by_vfio(void)
{
	struct vfio v = take();

	own_pages(&v);
	large_pages(&v);
	no_registers(&v);
	own_interrupt(&v);
	give_back(&v);
	killed();
}

/* Without a driver, by what root may do in sysfs. */
static void take_without_driver(void)
{
	uint16_t command = PCI_MASTER;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable", device);
	fd = open(path, O_WRONLY);
	need(fd >= 0 && write(fd, "1", 1) == 1, "the device is switched on");
	close(fd);
	fd = open_config();
	need(pwrite(fd, &command, 2, PCI_COMMAND) == 2, "the device may access memory");
	close(fd);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0", device);
	fd = open(path, O_RDWR);
	edu = mmap(NULL, EDU_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	need(fd >= 0 && edu != MAP_FAILED, "the device's registers are mapped");
}

/* Two pages, the first of which has that pattern, as has the device's buffer. */
static u8 *two_pages(u8 seed)
{
	u8 *p = memory(2 * PAGE, 0);

	fill(p, seed);
	fill(p + PAGE, seed + 1);
	mlock(p, 2 * PAGE);
	check(reads(physical(p), physical(p + PAGE), p + PAGE, seed),
	      "without a driver it reaches memory at its own addresses");
	return p;
}

static void of_own(void)
{
	take_without_driver();
	two_pages(13);
}

static void far_away(u64 at, u64 word)
{
	u8 *p;

	take_without_driver();
	p = two_pages(15);
	check(dma(at, true), "it is told to write far away");
	dma(at, false);
	dma(physical(p + PAGE), true);
	check(memcmp(p + PAGE, &word, sizeof(word)), "it does not read what stands there");
	check(reads(physical(p), physical(p + PAGE), p + PAGE, 15), "and works as before");
}

/* ---- between owners ---- */

static volatile uint32_t *register_at(u64 offset)
{
	need(offset + 4 <= bar_size, "there is such a register");
	return (volatile uint32_t *)(edu + offset);
}

static void reset(u64 offset, uint32_t value)
{
	struct vfio v = take();
	int status;
	pid_t pid;

	*register_at(offset) = value;
	check(*register_at(offset) == value, "a program's device keeps what it writes");
	give_back(&v);
	v = take();
	check(*register_at(offset) != value, "the next one does not find it");
	give_back(&v);
	pid = fork();
	if (!pid) {
		take();
		*register_at(offset) = value;
		if (*register_at(offset) == value)
			raise(SIGKILL);
		_exit(1);
	}
	check(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status), "one that has it is killed");
	v = take();
	check(*register_at(offset) != value, "then, too");
	give_back(&v);
}

/* ---- somebody else's memory ---- */

#define GUEST_AT    0x1200000ul /* in a guest's memory: of its kernel's code */
#define GUEST_CODE  0x800000ul	/* and so much of it */
#define GUEST_LEAST 0x4000000ul
#define NEAR	    0x10000000ul /* addresses that the guest has whose device is to come here */

/* The process' largest mapping that can be a guest's memory. */
static u64 guest_of(const char *process)
{
	u64 from, to, best = 0, size = GUEST_LEAST - 1;
	char line[512], path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/maps", process);
	f = fopen(path, "r");
	need(f, "the process is there");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx rw", &from, &to) == 2 && to - from > size) {
			best = from;
			size = to - from;
		}
	fclose(f);
	need(best, "it has a guest");
	return best + GUEST_AT;
}

static void read_page(const char *process, u64 at, u8 *to)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/mem", process);
	fd = open(path, O_RDONLY);
	need(fd >= 0 && pread(fd, to, PAGE, (off_t)at) == (ssize_t)PAGE, "its page can be read");
	close(fd);
}

/* The first of some pages there whose address that guest has not, or 0. */
static u64 far_page(const char *process, u64 at, u64 size)
{
	for (u64 end = at + size; at < end; at += 64 * PAGE)
		if (physical_of(process, at) >= NEAR)
			return at;
	return 0;
}

static void hold(const char *process)
{
	u8 was[PAGE], is_now[PAGE], *own = NULL;
	u64 at = 0, word;
	sigset_t set;
	int number;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (!strcmp(process, "0")) {
		process = "self";
		for (u32 i = 0; i < 8 && !at; i++) { /* not all can lie below */
			own = memory(NEAR / 4, MAP_LOCKED);
			at = far_page(process, (u64)own, NEAR / 4);
		}
	} else {
		at = far_page(process, guest_of(process), GUEST_CODE);
	}
	need(at, "a page lies above 256 MiB");
	if (own)
		fill((u8 *)at, 17);
	read_page(process, at, was);
	memcpy(&word, was, sizeof(word));
	printf("at 0x%llx 0x%llx\n", (unsigned long long)physical_of(process, at),
	       (unsigned long long)word);
	fflush(stdout);
	sigwait(&set, &number);
	read_page(process, at, is_now);
	check(!memcmp(was, is_now, PAGE), "%s is as it was",
	      own ? "a page of dom0's" : "a page of another guest's");
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	device = argv[1];
	if (argc == 2)
		by_vfio();
	else if (!strcmp(argv[2], "own"))
		of_own();
	else if (!strcmp(argv[2], "hold"))
		hold(argv[1]);
	else if (argc == 5 && !strcmp(argv[2], "far"))
		far_away(strtoull(argv[3], NULL, 0), strtoull(argv[4], NULL, 0));
	else if (argc == 5 && !strcmp(argv[2], "reset"))
		reset(strtoull(argv[3], NULL, 0), strtoul(argv[4], NULL, 0));
	else
		return 2;
	return failures ? 1 : 0;
}
