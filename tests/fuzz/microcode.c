/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arbitrary bytes as a file of microcode, either vendor's, and as an initrd that has one.
 * links: boot/microcode.c boot/initrd.c
 */
#include "fuzz.h"

#include "boot/initrd.h"
#include "boot/microcode.h"
#include "tests/unit/microcode_build.h"

#define INTEL_FILE "kernel/x86/microcode/GenuineIntel.bin"
#define SIGNATURE  0x830f10u

const char fuzz_what[] = "files of microcode give an update that lies in them, or none";
const u32 fuzz_rounds = 100000;

static const u8 *initrd;
static size_t initrd_size;

static void read_initrd(u64 addr, void *buf, u32 len)
{
	require(addr <= initrd_size && len <= initrd_size - addr, "reads stay inside");
	memcpy(buf, initrd + addr, len);
}

static void look_for(const u8 *file, u64 size, bool amd)
{
	struct microcode_cpu cpu = {amd, SIGNATURE, 1};
	struct microcode best = {0};
	const char *why = microcode_find(file, size, &cpu, &best);

	require(!why == !!best.data, "there is one, or a reason");
	if (!best.data)
		return;
	require(best.data >= file && best.size <= size &&
		    (u64)(best.data - file) <= size - best.size && best.size >= 48,
		"it lies in the file");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy = fuzz_copy(data, size);
	struct initrd_file f;

	look_for(copy, size, false);
	look_for(copy, size, true);
	initrd = copy;
	initrd_size = size;
	f = initrd_find(0, size, INTEL_FILE, read_initrd);
	require(f.size <= size && f.at <= size - f.size, "the file is in the initrd");
	if (f.size)
		look_for(copy + f.at, f.size, false);
	initrd_check(0, size, read_initrd);
	free(copy);
	return 0;
}

size_t fuzz_make(u8 *to)
{
	static const u32 more[][2] = {{0x50654, 0xb7}, {SIGNATURE, 1}};
	static struct microcode_file f;
	u32 end;

	f.len = 0;
	if (fuzz_random(2)) {
		add_equiv(&f, SIGNATURE, 7);
		add_patch(&f, (u32)fuzz_random(100), 7, 64 + (u32)fuzz_random(200));
		add_equiv(&f, fuzz_random(2) ? SIGNATURE : 5, 8);
		add_patch(&f, (u32)fuzz_random(100), 8, 64 + (u32)fuzz_random(200));
		memcpy(to, f.buf, f.len);
		return f.len;
	}
	add_intel(&f, (u32)fuzz_random(100), SIGNATURE, (u32)fuzz_random(2), 400, NULL, 0);
	add_intel(&f, (u32)fuzz_random(100), 0x50653, 1, 400, more, (u32)fuzz_random(3));
	if (fuzz_random(2)) {
		memcpy(to, f.buf, f.len);
		return f.len;
	}
	end = add_cpio(to, 0, "kernel", "", 0);
	return add_cpio(to, end, INTEL_FILE, f.buf, f.len);
}
