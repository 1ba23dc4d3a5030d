/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Microcode: which update of a file is the CPU's, and what it is told, by a model of the MSRs that
 * take it and tell of it.
 * links: boot/initrd.c boot/microcode.c -no-pie
 */
#include <stdlib.h>
#include <string.h>

#include "hv/lib/asm.h"

static int fake_rdmsr(u32 msr, u64 *val);
static int fake_wrmsr(u32 msr, u64 val);
static void fake_invlpg(const void *va)
{
}
#define rdmsr_safe fake_rdmsr
#define wrmsr_safe fake_wrmsr
#define invlpg	   fake_invlpg
#include "hv/cpu/ucode.c"

#include "microcode_build.h"
#include "test.h"

#define SKYLAKE	 0x406e3u
#define ZEN2	 0x830f10u
#define ZEN2_ID	 0x8310
#define PLATFORM 0x40u

struct boot_info boot_info;

/* ---- the CPU ---- */

static struct {
	bool amd, refuses, faults;
	u32 revision, writes;
	u64 tells; /* Intel's 0x8b */
	const u8 *last;
} cpu;

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = *b = *c = *d = 0;
	if (!leaf) {
		*a = 7;
		*b = cpu.amd ? CPUID_0B_AUTH : CPUID_0B_GENU;
	} else if (leaf == 1) {
		*a = cpu.amd ? ZEN2 : SKYLAKE;
		cpu.tells = (u64)cpu.revision << 32;
	}
}

static int fake_rdmsr(u32 msr, u64 *val)
{
	*val = 0;
	if (msr == 0x8b)
		*val = cpu.amd ? cpu.revision : cpu.tells;
	else if (msr == 0x17 && !cpu.amd)
		*val = 6ull << 50;
	else
		return -EIO;
	return 0;
}

/* The CPU knows by itself which updates are good; here those it gets are. */
static int fake_wrmsr(u32 msr, u64 val)
{
	const u8 *at = (const u8 *)val;

	if (msr == 0x8b && !cpu.amd) {
		cpu.tells = val;
		return 0;
	}
	if (msr != (cpu.amd ? 0xc0010020 : 0x79) || cpu.faults)
		return -EIO;
	cpu.writes++;
	CHECK_QUIET(cpu.amd || !(val % 16), "Intel's wants a multiple of 16");
	at -= cpu.amd ? 0 : 48;
	cpu.last = at;
	if (!cpu.refuses)
		memcpy(&cpu.revision, at + 4, 4);
	return 0;
}

/* ---- memory ---- */

static u8 initrd[2][65536] __attribute__((aligned(4096)));
static void *pool_page;
static bool pool_empty;

void *mm_map_boot(u64 addr, u64 size)
{
	return (void *)addr;
}

void *pool_alloc(u32 order, struct account *acct)
{
	free(pool_page);
	pool_page = pool_empty ? NULL : aligned_alloc(PAGE_SIZE, PAGE_SIZE << order);
	return pool_page;
}

/* ---- files ---- */

static struct microcode_file file;
static const struct microcode_cpu skylake = {false, SKYLAKE, PLATFORM}, zen2 = {true, ZEN2};

/* The revision that is found in a block of this very size; 0: none. */
static u32 found_in(const struct microcode_cpu *c, u32 size, const char **why)
{
	struct microcode best = {0};
	u8 *copy = malloc(size ? size : 1);
	const char *said;

	memcpy(copy, file.buf, size);
	said = microcode_find(copy, size, c, &best);
	CHECK_QUIET(!said == !!best.data, "it is found, or there is a reason");
	if (best.data)
		CHECK_QUIET(best.data >= copy && best.data + best.size <= copy + size,
			    "what is found is in the file");
	free(copy);
	if (why)
		*why = said ? said : "";
	return best.revision;
}

static u32 found(const struct microcode_cpu *c)
{
	return found_in(c, file.len, NULL);
}

static void test_intel_file(void)
{
	static const u32 more[][2] = {{0x50654, 0xb7}, {SKYLAKE, 0x80}, {SKYLAKE, 0xc0}};
	const char *why;
	u8 *at;

	file.len = 0;
	add_intel(&file, 0x20, 0x306c3, 0xff, 0, NULL, 0);
	add_intel(&file, 0xf0, SKYLAKE, 0xc0, 0, NULL, 0);
	add_intel(&file, 0xf8, SKYLAKE, 0x80, 1024, NULL, 0);
	at = add_intel(&file, 0xf4, SKYLAKE, 0xc0, 4096, NULL, 0);
	add_intel(&file, 0xc0, SKYLAKE, 0xc0, 0, NULL, 0);
	CHECK(found(&skylake) == 0xf4, "Intel: the newest for signature and platform is found");
	at[50] ^= 1;
	CHECK(found(&skylake) == 0xf0, "Intel: behind a wrong checksum nothing is looked for");
	at[50] ^= 1;
	for (u32 size = 0; size < file.len; size++)
		CHECK_QUIET(found_in(&skylake, size, &why) <= 0xf4 &&
				(size >= 4096 || strstr(why, size % 2048 ? "damaged" : "none for")),
			    "Intel: a file cut to %u bytes", size);
	for (u32 field = 0; field < 48; field += 4) {
		u8 good[48];

		if (field == 4 || field == 8) /* they may be anything */
			continue;
		file.len = 0;
		at = add_intel(&file, 0xf4, SKYLAKE, 0xc0, 2000, NULL, 0);
		memcpy(good, at, 48);
		put32(at + field, 0xfffffff0);
		CHECK(!found(&skylake), "Intel: an update whose header is wrong at %u is nobody's",
		      field);
		memcpy(at, good, 48);
		CHECK_QUIET(found(&skylake) == 0xf4, "it was good");
	}

	file.len = 0;
	at = add_intel(&file, 0x99, 0x50654, 1, 2048, more, 3);
	CHECK(found(&skylake) == 0x99, "Intel: it may stand in the table of further CPUs");
	at[48 + 2048] = 2;
	CHECK(!found(&skylake), "Intel: a table that does not add up is not believed");
	put32(at + 48 + 2048, 0x15555557); /* times 12 it is 20 modulo 2^32 */
	put32(at + 48 + 2048 + 4, 0);
	put32(at + 48 + 2048 + 4, missing_sum(at + 48 + 2048, 20 + 20));
	CHECK(!found(&skylake), "Intel: nor one that is longer than the update");
	file.len = 0;
	add_intel(&file, 0x99, 0x50654, 1, 2048, more, 2);
	CHECK(!found(&skylake), "Intel: with the platform of that entry");
}

static void test_amd_file(void)
{
	const char *why;
	u32 begin;
	u8 *at;

	file.len = 0;
	add_equiv(&file, 0x100f42, 0x1043);
	add_patch(&file, 0x010000c8, 0x1043, 960);
	add_patch(&file, 0x08301999, ZEN2_ID, 960);
	add_equiv(&file, ZEN2, ZEN2_ID);
	add_patch(&file, 0x0830107c, ZEN2_ID, 3200);
	at = add_patch(&file, 0x0830109a, ZEN2_ID, 3458);
	add_patch(&file, 0x08301055, ZEN2_ID, 3200);
	begin = file.len;
	add_equiv(&file, 0x800f82, 0x8082);
	add_patch(&file, 0x08301888, ZEN2_ID, 3200);
	add_equiv(&file, ZEN2, ZEN2_ID);
	put32(file.buf + file.len, 0x00414d44); /* one without a table */
	file.len += 4;
	add_patch(&file, 0x08301999, ZEN2_ID, 960);
	CHECK(found(&zen2) == 0x0830109a,
	      "AMD: the newest by the table of its own container is found");
	for (u32 size = 0; size < file.len; size++)
		CHECK_QUIET(found_in(&zen2, size, &why) <= 0x0830109a &&
				(*why || size > 1000 + 2000),
			    "AMD: a file cut to %u bytes", size);
	put32(at + 16, 1);
	CHECK(found(&zen2) == 0x0830107c, "AMD: one for a chipset is nobody's");
	put32(at + 16, 0);
	put32(at - 4, 0xfffffff0);
	CHECK(found(&zen2) == 0x0830107c, "AMD: behind a wild length nothing is looked for");
	put32(at - 4, 3458);
	put32(file.buf + begin, 0x00414d45);
	CHECK(found(&zen2) == 0x0830109a, "AMD: what was found before rubbish holds");
	file.buf[0] = 'M';
	CHECK(!found_in(&zen2, file.len, &why) && strstr(why, "damaged"),
	      "AMD: a file that does not begin as one is refused");

	file.len = 0;
	add_equiv(&file, ZEN2, ZEN2_ID);
	add_patch(&file, 5, ZEN2_ID, 63);
	CHECK(!found(&zen2), "AMD: a patch shorter than its header is none");
	file.len = 0;
	add_equiv(&file, ZEN2, 0);
	add_patch(&file, 5, 0, 64);
	CHECK(!found(&zen2), "AMD: a table may not name the CPU by nothing");
}

/* ---- loading ---- */

/* The machine starts with this revision; the file is in an archive behind others. */
static void boot_with(bool amd, u32 revision)
{
	const char *name = amd ? AMD_FILE : INTEL_FILE;
	u32 end;

	memset(&cpu, 0, sizeof(cpu));
	memset(&kept, 0, sizeof(kept));
	memset(initrd, 0, sizeof(initrd));
	cpu.amd = amd;
	cpu.revision = revision;
	end = add_cpio(initrd[0], 0, "init", "x", 1);
	memcpy(initrd[0] + end, "\037\213\010", 3);
	end = add_cpio(initrd[1], 0, "kernel", "", 0);
	end = add_cpio(initrd[1], end, name, file.buf, file.len);
	boot_info.module_count = 3;
	for (u32 i = 0; i < 2; i++)
		boot_info.module[i + 1] =
		    (struct mem_range){(u64)initrd[i], (u64)initrd[i] + sizeof(initrd[i])};
	*test_log_text = 0;
}

static bool says(const char *what)
{
	return strstr(test_log_text, what);
}

static void make_file(bool amd)
{
	file.len = 0;
	if (amd) {
		add_equiv(&file, ZEN2, ZEN2_ID);
		add_patch(&file, 0x50, ZEN2_ID, 5000);
	} else {
		add_intel(&file, 0x50, SKYLAKE, PLATFORM, 20000, NULL, 0);
	}
}

static void test_boot_cpu(bool amd)
{
	const char *who = amd ? "AMD" : "Intel";

	make_file(amd);
	boot_with(amd, 0x40);
	ucode_init();
	CHECK(cpu.revision == 0x50 && cpu.writes == 1 && says("revision 50") && says("of 40"),
	      "%s: the boot CPU gets it, and the log has both revisions", who);
	CHECK(cpu.last == pool_page &&
		  !memcmp(cpu.last, file.buf + file.len - kept.size, kept.size) &&
		  kept.size >= 5000,
	      "%s: from a copy that outlives the initrd, with its header", who);

	boot_with(amd, 0x50);
	ucode_init();
	CHECK(cpu.writes == amd && says("no newer"), "%s: what the firmware has done is done", who);
	boot_with(amd, 0x51);
	ucode_init();
	CHECK(!cpu.writes && says("older ones only"), "%s: nothing older is loaded", who);
	ucode_load_cpu();
	CHECK(!cpu.writes && says("older ones"), "%s: nor by other CPUs", who);

	boot_with(amd, 0x40);
	cpu.refuses = true;
	ucode_init();
	CHECK(cpu.writes == 1 && says("does not take 50") && says("revision 40"),
	      "%s: that the CPU does not take it is told", who);
	ucode_load_cpu();
	CHECK(cpu.writes == 1, "%s: others are not asked then", who);
	boot_with(amd, 0x40);
	cpu.faults = true;
	ucode_init();
	CHECK(says("does not take 50"), "%s: an MSR that faults is none", who);

	boot_with(amd, 0x40);
	pool_empty = true;
	ucode_init();
	CHECK(!cpu.writes && says("no memory"), "%s: without memory for it it is left", who);
	pool_empty = false;
	boot_with(amd, 0x40);
	initrd[1][200] = 0;
	boot_info.module_count = 2;
	ucode_init();
	CHECK(!cpu.writes && says("has none"), "%s: an initrd without any is told", who);
	boot_with(!amd, 0x40);
	memcpy(initrd[1], "0707", 4);
	cpu.amd = amd;
	ucode_init();
	CHECK(!cpu.writes && says("revision 40") && says("has none"),
	      "%s: the other vendor's file is nobody's", who);
}

static void test_other_cpus(bool amd)
{
	const char *who = amd ? "AMD" : "Intel";

	make_file(amd);
	boot_with(amd, 0x50); /* the boot CPU has it already */
	ucode_init();
	memset(initrd, 0xee, sizeof(initrd)); /* dom0's by now */
	cpu.revision = 0x40;
	cpu.writes = 0;
	ucode_load_cpu();
	CHECK(cpu.revision == 0x50 && cpu.writes == 1,
	      "%s: another CPU, or one after a sleep, gets it", who);
	ucode_load_cpu();
	CHECK(cpu.revision == 0x50 && cpu.writes == amd + 1u,
	      amd ? "AMD: a thread whose core has it loads its part"
		  : "Intel: a thread whose core has it does not load");
	cpu.revision = 0x60;
	*test_log_text = 0;
	ucode_load_cpu();
	CHECK(cpu.revision == 0x60 && !says("microcode"), "%s: one that has a newer one keeps it",
	      who);
	cpu.revision = 0x40;
	cpu.refuses = true;
	ucode_load_cpu();
	CHECK(says("revision 50 is not taken") && says("stays at 40"),
	      "%s: that one does not take it is told", who);
}

int main(void)
{
	test_intel_file();
	test_amd_file();
	for (u32 amd = 0; amd < 2; amd++) {
		test_boot_cpu(amd);
		test_other_cpus(amd);
	}
	free(pool_page);
	return test_end();
}
