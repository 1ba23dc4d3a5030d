/* SPDX-License-Identifier: GPL-2.0-only */
/* Capabilities, what they enable, what is missing, statistics. */
#include "api.h"

#include <sys/mount.h>
#include <sys/resource.h>

GUEST(writes_page, "movb $1, 0x3000; hlt");

/* A vCPU whose descriptor is not to be had is not there: it can be made later. */
static void test_no_descriptor(void)
{
	struct vm v = start(NO_CHIP);
	struct rlimit had, none;
	int fd;

	getrlimit(RLIMIT_NOFILE, &had);
	none = (struct rlimit){.rlim_cur = v.vcpu + 1, .rlim_max = had.rlim_max};
	while ((fd = dup(0)) >= 0 && fd < v.vcpu)
		; /* the lowest ones are taken */
	if (fd > v.vcpu)
		close(fd);
	setrlimit(RLIMIT_NOFILE, &none);
	check(ioctl(v.fd, KVM_CREATE_VCPU, 1) == -1 && errno == EMFILE,
	      "without a descriptor left a vCPU cannot be made: EMFILE");
	setrlimit(RLIMIT_NOFILE, &had);
	fd = ioctl(v.fd, KVM_CREATE_VCPU, 1);
	check(fd >= 0 && ioctl(v.fd, KVM_CREATE_VCPU, 1) == -1 && errno == EEXIST,
	      "later it can, once");
	close(fd);
	end(&v);
}

/* ---- 32-bit programs ---- */

/* As such a one calls: the kernel looks at the instruction. */
static int ioctl32(int fd, uint32_t what, void *arg)
{
	long r = 54; /* ioctl */

	__asm__ volatile("int $0x80"
			 : "+a"(r)
			 : "b"((long)fd), "c"((long)what), "d"(arg)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)r;
}

struct range32 {
	uint32_t flags, nmsrs, base, bitmap;
};
struct filter32 {
	uint32_t flags;
	struct range32 ranges[KVM_MSR_FILTER_MAX_RANGES];
};
#define SET_MSR_FILTER32 _IOW(KVMIO, 0xc6, struct filter32)

static void test_compat(void)
{
	struct vm v = start(NO_CHIP);
	u8 *low = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
		       -1, 0);
	struct kvm_dirty_log *log = (void *)low;
	struct filter32 *f = (void *)low;
	struct kvm_regs *r = (void *)low;
	u64 *bits = (void *)(low + 4096);

	check(ioctl32(kvm, KVM_GET_API_VERSION, NULL) == KVM_API_VERSION,
	      "32-bit programs find version 12");
	check(!ioctl32(v.vcpu, KVM_GET_REGS, r) && r->rip == CODE, "and registers");
	set_slot(v.fd, 0, KVM_MEM_LOG_DIRTY_PAGES, 0, RAM_BYTES, ram);
	LOAD(v, writes_page);
	run(&v);
	log->slot = 0;
	log->padding2 = 0x5a5a5a5a00000000ull | (uint32_t)(uintptr_t)bits;
	check(!ioctl32(v.fd, KVM_GET_DIRTY_LOG, log) && bits[0] == 1ull << 3,
	      "and what was written, by a pointer of 32 bits");
	*f = (struct filter32){
	    .ranges[0] = {KVM_MSR_FILTER_READ, 1, MSR_TSC, (uint32_t)(uintptr_t)bits}};
	bits[0] = 1;
	check(!ioctl32(v.fd, SET_MSR_FILTER32, f), "and filter MSRs");
	f->ranges[0].bitmap = 8;
	check(ioctl32(v.fd, SET_MSR_FILTER32, f) == -EFAULT, "by pointers of 32 bits, too");
	check(ioctl(v.fd, SET_MSR_FILTER32, f) && errno == ENOTTY, "which are nobody else's");
	munmap(low, 8192);
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
	check(system_msr(MSR_ARCH_CAPS, &val) == 1 && system_msr(MSR_PERF_CAPS, &val) == 1,
	      "two that VMMs ask for on each machine are among them");
	check(!system_msr(MSR_TSC, &val), "others it does not read");
	end(&v);
}

/* Three leaves without a feature */
static void test_emulated_cpuid(void)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[4];
	} l = {.head.nent = 2};

	check(ioctl(kvm, KVM_GET_EMULATED_CPUID, &l) && errno == E2BIG,
	      "KVM_GET_EMULATED_CPUID wants room");
	l.head.nent = 4;
	check(!ioctl(kvm, KVM_GET_EMULATED_CPUID, &l) && l.head.nent == 3 && l.entry[0].eax == 7 &&
		  l.entry[1].function == 1 && !l.entry[1].ecx && l.entry[2].function == 7 &&
		  !l.entry[2].ecx && !l.entry[3].function,
	      "and tells of leaves that have no feature");
}

/* Three pages that a VMM gives away, below 4 GiB */
static void test_tss_address(void)
{
	struct vm v = start(NO_CHIP);

	check(!ioctl(v.fd, KVM_SET_TSS_ADDR, 0xffffd000ul) &&
		  ioctl(v.fd, KVM_SET_TSS_ADDR, 0xffffe000ul) && errno == EINVAL,
	      "KVM_SET_TSS_ADDR takes the last three pages below 4 GiB, and no later ones");
	end(&v);
}

/* Without paging */
static void test_translate(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_translation t = {.linear_address = 0x10000};

	check(!ioctl(v.vcpu, KVM_TRANSLATE, &t) && t.valid && t.physical_address == 0x10000,
	      "KVM_TRANSLATE tells where an address is");
	t.linear_address = ~0ull;
	check(!ioctl(v.vcpu, KVM_TRANSLATE, &t) && !t.valid && t.physical_address == ~0ull,
	      "and that it is of no frame");
	end(&v);
}

/* ---- capabilities to be enabled ---- */

static void test_enable_cap(void)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, 0),
	    max = ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPU_ID), vcpu;

	check(enable(vm, KVM_CAP_MAX_VCPU_ID, max + 1, 0) == -EINVAL &&
		  enable(vm, KVM_CAP_MAX_VCPU_ID, 2, 1) == -EINVAL,
	      "more vCPU ids than there are cannot be asked for");
	check(!ioctl(vm, KVM_SET_BOOT_CPU_ID, 2) &&
		  enable(vm, KVM_CAP_MAX_VCPU_ID, 1, 0) == -EINVAL,
	      "nor fewer than that of the boot CPU");
	check(!enable(vm, KVM_CAP_MAX_VCPU_ID, 2, 0) && !enable(vm, KVM_CAP_MAX_VCPU_ID, 2, 0) &&
		  enable(vm, KVM_CAP_MAX_VCPU_ID, 3, 0) == -EINVAL,
	      "fewer can, once");
	check(ioctl(vm, KVM_SET_BOOT_CPU_ID, 3) < 0 && errno == EINVAL,
	      "and then the boot CPU is none beyond them");
	check(ioctl(vm, KVM_CREATE_VCPU, 2) < 0 && errno == EINVAL, "and then there are no others");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 1);
	check(vcpu >= 0 && ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ENABLE_CAP) == 1 &&
		  enable(vcpu, KVM_CAP_SPLIT_IRQCHIP, 24, 0) == -EINVAL &&
		  enable(vcpu, KVM_CAP_HYPERV_ENLIGHTENED_VMCS, 0, 0) == -ENOTTY,
	      "a vCPU whose guest has no VMX has no such capability to be enabled, and says so");
	close(vcpu);
	close(vm);

	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	check(enable(vm, KVM_CAP_MAX_VCPU_ID, 2, 0) == -EINVAL,
	      "with the first vCPU the number of ids is settled");
	close(vcpu);
	close(vm);
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

/* A number in debugfs, of all VMs, or of the one in that directory; ~0: there is none. */
static u64 count_of(const char *vm, const char *name)
{
	char path[128];
	u64 n = ~0ull;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/kernel/debug/kvm/%s/%s", vm, name);
	f = fopen(path, "r");
	if (!f)
		return ~0ull;
	if (fscanf(f, "%lu", &n) != 1)
		n = ~0ull;
	fclose(f);
	return n;
}

static void test_counts(void)
{
	bool mounted = !mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
	struct vm v = start(NO_CHIP), other;
	char name[64];
	u64 all, exits;

	snprintf(name, sizeof(name), "%d-%d", getpid(), v.fd);
	all = count_of(".", "exits");
	check(count_of(name, "exits") != ~0ull && count_of(name, "exits-hlt") == 0 && all != ~0ull,
	      "a VM's counts are in debugfs, where KVM has them");
	LOAD(v, show);
	for (int i = 0; i < 5; i++)
		run(&v);
	exits = count_of(name, "exits");
	check(exits >= 5 && exits < 100000 && count_of(name, "io_exits") >= 5,
	      "five runs and accesses to ports more, at least (%lu)", exits);
	check(count_of(".", "exits") >= all + 5, "all VMs' have them too");
	check(count_of(name, "mapped_bytes") - 1 < RAM_BYTES, "what it has mapped is there");
	other = start(NO_CHIP);
	LOAD(other, show);
	run(&other);
	check(count_of(name, "exits") == exits, "another VM's are not its own");
	end(&other);
	end(&v);
	check(count_of(name, "exits") == ~0ull, "they go with their VM");
	if (mounted)
		umount("/sys/kernel/debug");
}

/* ---- the device by which a VMM tells of VFIO's groups; `passthrough` has some ---- */

static void test_vfio_device(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_create_device d = {.type = KVM_DEV_TYPE_VFIO, .flags = KVM_CREATE_DEVICE_TEST},
				 none = {.type = KVM_DEV_TYPE_FLIC};
	int32_t fd = kvm;
	struct kvm_device_attr a = {
	    .group = KVM_DEV_VFIO_GROUP, .attr = KVM_DEV_VFIO_GROUP_ADD, .addr = (u64)&fd};

	check(ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_DEVICE_CTRL) == 1 &&
		  !ioctl(v.fd, KVM_CREATE_DEVICE, &d),
	      "there is a VFIO device");
	check(ioctl(v.fd, KVM_CREATE_DEVICE, &none) && errno == ENODEV &&
		  ioctl(v.fd, KVM_CREATE_DEVICE, NULL) && errno == EFAULT,
	      "and no other");
	d.flags = 0;
	check(!ioctl(v.fd, KVM_CREATE_DEVICE, &d), "it is made");
	check(ioctl(v.fd, KVM_CREATE_DEVICE, &d) && errno == EBUSY, "but once");
	check(!ioctl(d.fd, KVM_HAS_DEVICE_ATTR, &a) && ioctl(d.fd, KVM_SET_DEVICE_ATTR, &a) &&
		  errno == EINVAL,
	      "it takes groups, and nothing else");
	fd = -1;
	check(ioctl(d.fd, KVM_SET_DEVICE_ATTR, &a) && errno == EBADF, "no closed ones");
	a.attr = KVM_DEV_VFIO_GROUP_DEL;
	fd = kvm;
	check(ioctl(d.fd, KVM_SET_DEVICE_ATTR, &a) && errno == ENOENT,
	      "and gives back only what it has");
	a.attr = 99;
	check(ioctl(d.fd, KVM_HAS_DEVICE_ATTR, &a) && errno == ENXIO &&
		  ioctl(d.fd, KVM_SET_DEVICE_ATTR, &a) && errno == ENXIO,
	      "what else it might do is ENXIO");
	end(&v);
	check(!ioctl(d.fd, KVM_HAS_DEVICE_ATTR,
		     &(struct kvm_device_attr){.group = KVM_DEV_VFIO_GROUP,
					       .attr = KVM_DEV_VFIO_GROUP_ADD}),
	      "it outlives the VM's descriptor");
	close(d.fd);
}

/* ---- what is missing says so ---- */

static void test_there(void)
{
	static const int there[] = {KVM_CAP_EXT_EMUL_CPUID, KVM_CAP_SYSTEM_EVENT_DATA,
				    KVM_CAP_LAST_CPU};

	for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++)
		check(ioctl(kvm, KVM_CHECK_EXTENSION, there[i]) == 1, "capability %d is there",
		      there[i]);
}

static void test_missing(void)
{
	struct vm v = start(NO_CHIP);
	static const int none[] = {KVM_CAP_NESTED_STATE, KVM_CAP_HYPERV_ENLIGHTENED_VMCS,
				   KVM_CAP_X86_BUS_LOCK_EXIT};

	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		check(ioctl(v.fd, KVM_CHECK_EXTENSION, none[i]) == 0,
		      "capability %d is not claimed", none[i]);
	check(ioctl(v.vcpu, KVM_XEN_VCPU_SET_ATTR) && errno == ENOTTY,
	      "KVM_XEN_VCPU_SET_ATTR is ENOTTY");
	check(ioctl(v.fd, KVM_GET_REGS) && errno == ENOTTY, "a vCPU's ioctl on the VM is ENOTTY");
	end(&v);
}

void caps_tests(void)
{
	test_no_descriptor();
	test_compat();
	test_mmu_pages();
	test_msr_features();
	test_emulated_cpuid();
	test_translate();
	test_tss_address();
	test_enable_cap();
	test_stats();
	test_counts();
	test_vfio_device();
	test_there();
	test_missing();
}
