/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/dom0/load.c hv/lib/printf.c boot/initrd.c boot/linux.c boot/efi.c boot/memmap.c
 * boot/acpi.c boot/options.c boot/boot.c
 */
/*
 * Loads kernels into a simulated machine in which modules, image and pool lie anywhere. Argument: a
 * real kernel to load.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "boot/linux.h"
#include "boot/memmap.h"
#include "hv/dom0/load.h"
#include "hv/guest/pv.h"
#include "hv/iommu/iommu.h"
#include "hv/mm/frame.h"
#include "hv/mm/mm.h"
#include "hv/mm/pool.h"
#include "hv/lib/percpu.h"
#include "linux_build.h"
#include "test.h"

#define MIB	BIT(20)
#define RAM	(192 * MIB)
#define HV_BYTE 0xa5 /* fills what the hypervisor keeps */

struct iommu_state iommu;
struct cpu *cpus[MAX_CPUS];
u32 cpu_count = 1;
bool pv_dom0_wide_ids;

static struct cpu cpu[MAX_CPUS];
static u8 *ram;
static u64 ram_size;
static struct boot_info *bi = &boot_info;
static struct dom0_entry entry;
static u8 *image, *initrd; /* what the modules are */
static u64 image_size, initrd_size;

void *mm_map_boot(u64 addr, u64 size)
{
	return addr <= ram_size && size <= ram_size - addr ? ram + addr : NULL;
}

static u64 random_page(u64 lo, u64 hi)
{
	return lo + (u64)rand() % ((hi - lo) / PAGE_SIZE) * PAGE_SIZE;
}

/* A place for a range that overlaps none of those before it. */
static void put_range(struct mem_range *r, u32 n, u64 size, u64 align)
{
	bool clash;

	do {
		r[n].start = ALIGN_DOWN(random_page(MIB, RAM - size), align);
		r[n].end = r[n].start + size;
		clash = r[n].start < MIB;
		for (u32 i = 0; i < n; i++)
			clash |= r[i].start < r[n].end && r[n].start < r[i].end;
	} while (clash);
}

static void reset_machine(void)
{
	memset(bi, 0, sizeof(*bi));
	memmap_add(&bi->map, 0, 0x9fc00, MEM_RAM);
	memmap_add(&bi->map, 0x9fc00, MIB, MEM_RESERVED);
	memmap_add(&bi->map, MIB, ram_size, MEM_RAM);
	bi->low_page = 0x8000;
	bi->rsdp_len = 36;
	memset(bi->rsdp_copy, 0x77, 36);
	bi->module_count = 2;
	strcpy(bi->module_cmdline[0], "quiet");
	memset(&entry, 0, sizeof(entry));
}

static void put_module(u32 n, const struct mem_range *r, const u8 *content, u64 size)
{
	bi->module[n].start = r->start;
	bi->module[n].end = r->start + size;
	memcpy(ram + r->start, content, size);
}

static u64 field(u32 at, u32 bytes)
{
	u64 v = 0;

	memcpy(&v, ram + entry.rsi + at, bytes);
	return v;
}

static bool all_bytes(u64 start, u64 end, u8 byte)
{
	return start == end ||
	       (ram[start] == byte && !memcmp(ram + start, ram + start + 1, end - start - 1));
}

/* Everything dom0 is entered with is where it should be and lies in memory it may use. */
static bool loaded_well(u64 load, u64 kernel_size)
{
	struct mem_map e820 = {0};
	u64 rd = field(0x218, 4), rd_size = field(0x21c, 4), rsdp = field(0x70, 8);
	bool good = rd_size == initrd_size;

	for (u32 i = 0; i < field(0x1e8, 1); i++)
		memmap_add(&e820, field(0x2d0 + i * 20, 8),
			   field(0x2d0 + i * 20, 8) + field(0x2d8 + i * 20, 8),
			   (u32)field(0x2e0 + i * 20, 4));
	good &= memmap_is(&e820, load, load + kernel_size, MEM_RAM) &&
		memmap_is(&e820, rd, rd + rd_size, MEM_RAM) &&
		memmap_is(&e820, entry.rsi, entry.rsi + LINUX_BLOCK_SIZE, MEM_RAM);
	good &= rd + rd_size <= load || load + kernel_size <= rd;
	good &= !memcmp(ram + rd, initrd, initrd_size);
	good &=
	    !strcmp((char *)ram + field(0x228, 4), "processor.max_cstate=1 tsc=nowatchdog quiet") &&
	    all_bytes(rsdp, rsdp + 36, 0x77);
	good &= memmap_is(&e820, bi->pool_start, bi->pool_end, MEM_RESERVED) &&
		memmap_is(&e820, bi->image_start, bi->image_end, MEM_RESERVED) &&
		memmap_is(&e820, rsdp, rsdp + PAGE_SIZE, MEM_RESERVED);
	good &= all_bytes(bi->image_start, bi->image_end, HV_BYTE) &&
		all_bytes(bi->pool_start, bi->pool_end, HV_BYTE) &&
		all_bytes(bi->low_page, bi->low_page + PAGE_SIZE, HV_BYTE);
	return good && IS_ALIGNED(entry.cr3, PAGE_SIZE) && entry.gdt.base &&
	       entry.gdt.limit == LINUX_GDT_LIMIT;
}

/* In a function of its own, since its setjmp() must not clobber the caller's variables. */
static bool load_fails(void)
{
	return PANICS(dom0_load(&entry));
}

static void test_random_places(void)
{
	u32 loaded = 0, refused = 0, parted = 0;
	bool good = true;

	srand(5);
	for (u32 round = 0; round < 60; round++) {
		bool elf = round % 2, relocatable = rand() % 4;
		u64 init_size = (2 + (u64)rand() % 24) * MIB, load;
		struct mem_range r[5];
		u64 cut;
		const struct elf_part parts[] = {
		    {0x1000, 0xffffffff81000000, 16 * MIB, MIB, MIB},
		    {0x1000 + MIB, 0xffffffff81200000, 18 * MIB, MIB / 2, init_size},
		};

		reset_machine();
		image_size = 2 * MIB;
		initrd_size = 1 + (u64)rand() % (12 * MIB);
		put_range(r, 0, ALIGN_UP(initrd_size, PAGE_SIZE), PAGE_SIZE);
		put_range(r, 1, image_size, PAGE_SIZE);
		put_range(r, 2, MIB, PAGE_SIZE);
		put_range(r, 3, 32 * MIB, 2 * MIB);
		memset(ram, 0x3c, ram_size);
		if (elf)
			make_elf(image, 16 * MIB + 0x40, parts, 2);
		else
			make_bzimage(image, image_size, 16 * MIB, (u32)init_size, relocatable);
		put_module(0, &r[1], image, image_size);
		cut = initrd_size;
		if (rand() % 2 && initrd_size > MIB) { /* in two parts, the first without padding */
			cut = MIB / 2 - 2;
			memset(initrd + cut, 0, 2);
			memcpy(initrd + cut + 2, "\037\213\010", 3);
			put_range(r, 4, ALIGN_UP(initrd_size - cut, PAGE_SIZE), PAGE_SIZE);
			put_module(2, &r[4], initrd + cut + 2, initrd_size - cut - 2);
			bi->module_count = 3;
			parted++;
		}
		put_module(1, &r[0], initrd, cut);
		bi->image_start = r[2].start;
		bi->image_end = r[2].end;
		bi->pool_start = r[3].start;
		bi->pool_end = r[3].end;
		memset(ram + bi->image_start, HV_BYTE, MIB);
		memset(ram + bi->pool_start, HV_BYTE, 32 * MIB);
		memset(ram + bi->low_page, HV_BYTE, PAGE_SIZE);
		if (load_fails()) {
			refused++;
			good &= strstr(test_panic_text, "; ") != NULL;
			continue;
		}
		loaded++;
		if (elf) {
			load = 16 * MIB;
			good &= entry.rip == load + 0x40 &&
				!memcmp(ram + load, image + 0x1000, MIB) &&
				!memcmp(ram + load + 2 * MIB, image + 0x1000 + MIB, MIB / 2) &&
				all_bytes(load + 2 * MIB + MIB / 2, load + 2 * MIB + init_size, 0);
			good &= loaded_well(load, 2 * MIB + init_size);
		} else {
			load = entry.rip - 0x200;
			good &= load >= 16 * MIB && IS_ALIGNED(load, 2 * MIB);
			good &= !memcmp(ram + load, image + BZ_SETUP_BYTES,
					image_size - BZ_SETUP_BYTES) &&
				loaded_well(load, MAX(init_size, 2 * MIB));
		}
		if (!CHECK_QUIET(good, "round %u", round))
			break;
	}
	CHECK(good && loaded > 30,
	      "wherever modules, image and pool lie, dom0 is loaded whole (%u times) and nothing "
	      "of the hypervisor is "
	      "touched",
	      loaded);
	CHECK(parted > 10, "with an initrd in two parts, too (%u times)", parted);
	CHECK(refused > 0 && refused < 30, "or refused with cause and cure (%u times)", refused);
}

static void simple_machine(void)
{
	struct mem_range k = {2 * MIB, 0}, rd = {100 * MIB, 0};

	reset_machine();
	bi->image_start = MIB;
	bi->image_end = 2 * MIB;
	bi->pool_start = RAM - 32 * MIB;
	bi->pool_end = RAM;
	image_size = 2 * MIB;
	initrd_size = 5000;
	make_bzimage(image, image_size, 16 * MIB, 8 * MIB, true);
	put_module(0, &k, image, image_size);
	put_module(1, &rd, initrd, initrd_size);
}

static bool fails(const char *word)
{
	return load_fails() && strstr(test_panic_text, word) && strstr(test_panic_text, "; ");
}

static void test_refusals(void)
{
	simple_machine();
	bi->module_count = 0;
	CHECK(fails("no dom0 kernel"), "no module: %s", test_panic_text);
	simple_machine();
	bi->module[0].end = bi->module[0].start;
	CHECK(fails("empty"), "an empty kernel: %s", test_panic_text);
	simple_machine();
	memset(ram + 2 * MIB, 0, 4096);
	CHECK(fails("not a Linux kernel"), "no kernel: %s", test_panic_text);
	simple_machine();
	bi->module[0].end -= MIB;
	CHECK(fails("cut off"), "half a kernel: %s", test_panic_text);
	simple_machine();
	ram[100 * MIB] ^= 0x40;
	CHECK(fails("damaged"), "a damaged initrd: %s", test_panic_text);
	simple_machine();
	bi->opt.dom0_mem = 16 * MIB;
	CHECK(fails("not enough memory"), "no memory: %s", test_panic_text);
	simple_machine();
	bi->module_count = 1;
	CHECK(!load_fails() && !field(0x21c, 4), "no initrd is a warning only");
}

#define MADT	 0x50000
#define MADT_CPU 44 /* the first entry, of an x2APIC; 16 bytes each */

/* A MADT with so many CPUs, as the firmware left it and as acpi_parse() counts them */
static void make_madt(u32 n)
{
	u8 *t = ram + MADT, sum = 0;
	u32 len = MADT_CPU + n * 16;

	memset(t, 0, len);
	memcpy(t, "APIC", 4);
	le(t + 4, len, 4);
	for (u32 i = 0; i < n; i++) {
		t[MADT_CPU + i * 16] = 9;
		t[MADT_CPU + i * 16 + 1] = 16;
		le(t + MADT_CPU + i * 16 + 4, i, 4);
		t[MADT_CPU + i * 16 + 8] = 1;
	}
	for (u32 i = 0; i < len; i++)
		sum += t[i];
	t[9] = (u8)-sum;
	bi->acpi.madt = MADT;
	bi->acpi.cpu_count = MIN(n, MAX_CPUS);
}

/* The first n CPUs of all are enabled, the others are not. */
static bool dom0_sees(u32 n, u32 all)
{
	u32 i = 0;

	while (i < all && ram[MADT + MADT_CPU + i * 16 + 8])
		i++;
	if (i != n)
		return false;
	while (i < all && !ram[MADT + MADT_CPU + i * 16 + 8])
		i++;
	return i == all;
}

static void test_cpus(void)
{
	simple_machine();
	for (u32 i = 0; i < MAX_CPUS; i++)
		cpus[i]->apic_id = i;
	make_madt(4);
	cpu_count = 4;
	dom0_load(&entry);
	CHECK(dom0_sees(4, 4), "dom0 sees all CPUs");
	bi->opt.dom0_max_vcpus = 3;
	dom0_load(&entry);
	CHECK(dom0_sees(3, 4), "or as many as dom0_max_vcpus= says");
	cpu_count = 2;
	dom0_load(&entry);
	CHECK(dom0_sees(2, 4), "or as many as are online");
	bi->opt.dom0_max_vcpus = 0;
	make_madt(MAX_CPUS + 8);
	cpu_count = MAX_CPUS;
	dom0_load(&entry);
	CHECK(dom0_sees(MAX_CPUS, MAX_CPUS + 8), "or as many as the hypervisor can use");
	cpu_count = 4; /* whose ids have 8 bits */
}

static void test_iommu_table(void)
{
	static const struct {
		enum corbel_iommu protection;
		bool hidden;
	} modes[] = {{CORBEL_IOMMU_NONE, false},
		     {CORBEL_IOMMU_OFF, true},
		     {CORBEL_IOMMU_DOM0, false},
		     {CORBEL_IOMMU_STRICT, true}};
	bool good = true;

	for (u32 i = 0; i < ARRAY_SIZE(modes); i++) {
		simple_machine();
		bi->acpi.madt = 0;
		memcpy(ram + MADT, "DMAR", 4);
		iommu.protection = modes[i].protection;
		iommu.count = iommu.protection != CORBEL_IOMMU_NONE;
		iommu.table = MADT;
		dom0_load(&entry);
		good &= !!memcmp(ram + MADT, "DMAR", 4) == modes[i].hidden;
	}
	iommu = (struct iommu_state){0};
	CHECK(good, "dom0 sees the table of IOMMUs if and only if they are left to it");
}

/* A CPU that Linux leaves out is told of, with what to do, where it is left out. */
static void test_wide_ids(void)
{
	static const struct {
		enum corbel_iommu protection;
		u32 id;
		bool shown, x2apic, optout;
		const char *line; /* dom0's */
		const char *cure; /* NULL: nothing is said */
	} machines[] = {
	    {CORBEL_IOMMU_NONE, 255},
	    {CORBEL_IOMMU_NONE, 256, .cure = "see to the IOMMU's setup"},
	    {CORBEL_IOMMU_OFF, 256, .x2apic = true, .cure = "see to the IOMMU's setup"},
	    {CORBEL_IOMMU_DOM0, 256, .x2apic = true},
	    {CORBEL_IOMMU_DOM0, 256, .cure = "see to the IOMMU's setup"},
	    {CORBEL_IOMMU_STRICT, 256, .x2apic = true, .cure = "start with iommu=dom0"},
	    {CORBEL_IOMMU_STRICT, 256, .x2apic = true, .shown = true},
	    {CORBEL_IOMMU_STRICT, 256, .shown = true, .cure = "see to the IOMMU's setup"},
	    {CORBEL_IOMMU_DOM0, 256, .x2apic = true, .optout = true,
	     .cure = "intremap=no_x2apic_optout"},
	    {CORBEL_IOMMU_DOM0, 255, .x2apic = true, .optout = true},
	    {CORBEL_IOMMU_STRICT, 256, .x2apic = true, .shown = true, .optout = true,
	     .line = "quiet intremap=no_x2apic_optou", .cure = "intremap=no_x2apic_optout"},
	    {CORBEL_IOMMU_STRICT, 256, .x2apic = true, .shown = true, .optout = true,
	     .line = "quiet intremap=on,no_x2apic_optout"},
	    {CORBEL_IOMMU_DOM0, 256, .x2apic = true, .optout = true, .line = "no_x2apic_optout "},
	};

	for (u32 i = 0; i < ARRAY_SIZE(machines); i++) {
		u32 was = cpus[0]->apic_id;
		bool said;

		simple_machine();
		iommu.protection = machines[i].protection;
		iommu.count = iommu.protection != CORBEL_IOMMU_NONE;
		iommu.is_shown = machines[i].shown;
		iommu.no_x2apic = machines[i].optout;
		strcpy(bi->module_cmdline[0], machines[i].line ?: "");
		iommu.all.x2apic = machines[i].x2apic;
		cpus[0]->apic_id = machines[i].id;
		test_log_text[0] = 0;
		dom0_load(&entry);
		cpus[0]->apic_id = was;
		said = strstr(test_log_text, "leaves out 1 CPUs");
		CHECK(said == !!machines[i].cure &&
			  (!said || strstr(test_log_text, machines[i].cure)),
		      "CPU %u, IOMMU %u: %s", machines[i].id, machines[i].protection,
		      said ? test_log_text : "nothing is said");
	}
	iommu = (struct iommu_state){0};
}

static const char *dom0s_line(void)
{
	return (char *)ram + field(0x228, 4);
}

/* dom0 with CPUs that have these ids; what its command line is then. */
static const char *line_with(u32 first, u32 second, u32 third, const char *line)
{
	const u32 ids[] = {first, second, third};

	simple_machine();
	bi->acpi.madt = 0;
	iommu.protection = CORBEL_IOMMU_STRICT;
	iommu.count = 1;
	iommu.all.x2apic = true;
	pv_dom0_wide_ids = false;
	cpu_count = ARRAY_SIZE(ids);
	for (u32 i = 0; i < cpu_count; i++)
		cpus[i]->apic_id = ids[i];
	memcpy(bi->module_cmdline[0], line, strlen(line) + 1);
	test_log_text[0] = 0;
	dom0_load(&entry);
	return dom0s_line();
}

/* Where corbel_iommu.ko is to start CPUs, dom0 begins with those that all messages reach. */
static void test_held_back(void)
{
	static char full[sizeof(bi->module_cmdline[0])];
	u32 were = cpu_count;

	iommu.wide = true;
	CHECK(strstr(line_with(0, 7, 256, "quiet"),
		     "maxcpus=2 cpuhp.parallel=0 irqaffinity=0-1 quiet") &&
		  pv_dom0_wide_ids && strstr(test_log_text, "begins without 1 CPUs") &&
		  !strstr(test_log_text, "leaves out"),
	      "dom0 begins with two of three CPUs: %s", dom0s_line());
	CHECK(strstr(line_with(0, 256, 7, "quiet"),
		     "maxcpus=1 cpuhp.parallel=0 irqaffinity=0-0 quiet") &&
		  pv_dom0_wide_ids,
	      "those before the first that messages do not reach: %s", dom0s_line());
	CHECK(!strstr(line_with(0, 7, 255, "quiet"), "maxcpus") && !pv_dom0_wide_ids &&
		  !strstr(test_log_text, "255"),
	      "with all if they reach all");
	CHECK(!strstr(line_with(256, 0, 7, "quiet"), "maxcpus") && !pv_dom0_wide_ids &&
		  strstr(test_log_text, "leaves out 1 CPUs") &&
		  strstr(test_log_text, "start with iommu=dom0"),
	      "without such a CPU to begin with it leaves them out");
	memset(full, 'x', sizeof(full) - 1);
	CHECK(!strstr(line_with(0, 7, 256, full), "maxcpus") && !pv_dom0_wide_ids &&
		  strstr(test_log_text, "leaves out 1 CPUs"),
	      "also where its command line has no room");
	full[sizeof(full) - sizeof("maxcpus=2 cpuhp.parallel=0 irqaffinity=0-1 ")] = 0;
	CHECK(
	    strstr(line_with(0, 7, 256, full), "maxcpus=2 cpuhp.parallel=0 irqaffinity=0-1 xxx") &&
		pv_dom0_wide_ids,
	    "but if it has just enough");
	iommu.wide = false;
	CHECK(!strstr(line_with(0, 7, 256, "quiet"), "maxcpus") && !pv_dom0_wide_ids,
	      "nor where units have no such ids");
	iommu = (struct iommu_state){0};
	cpu_count = were;
	pv_dom0_wide_ids = false;
}

static void load_real(const char *path)
{
	struct mem_range k = {0x242000, 0}, rd;
	FILE *f = fopen(path, "rb");

	reset_machine();
	image_size = fread(image, 1, 64 * MIB, f);
	fclose(f);
	put_module(0, &k, image, image_size);
	rd.start = ALIGN_UP(bi->module[0].end, PAGE_SIZE);
	initrd_size = 5 * MIB;
	put_module(1, &rd, initrd, initrd_size);
	bi->image_start = MIB;
	bi->image_end = 2 * MIB;
	bi->pool_start = ram_size - 32 * MIB;
	bi->pool_end = ram_size;
	dom0_load(&entry);
	printf("# %s: rip %lx rsi %lx initrd %lx+%lx init_size %lx\n", path, entry.rip, entry.rsi,
	       field(0x218, 4), field(0x21c, 4), field(0x260, 4));
}

static u8 *reserve(u64 size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		exit(1);
	return p;
}

int main(int argc, char **argv)
{
	ram_size = RAM;
	ram = reserve(RAM);
	image = reserve(64 * MIB);
	initrd = reserve(16 * MIB);
	fill_image(image, 4 * MIB);
	fill_image(initrd, 16 * MIB);
	memcpy(initrd, "\037\213\010\000", 4);
	for (u32 i = 0; i < ARRAY_SIZE(cpu); i++)
		cpus[i] = &cpu[i];

	test_random_places();
	test_refusals();
	test_cpus();
	test_iommu_table();
	test_wide_ids();
	test_held_back();
	if (argc > 1)
		load_real(argv[1]);
	return test_end();
}
