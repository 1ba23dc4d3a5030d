/* SPDX-License-Identifier: GPL-2.0-only */
/* links: boot/mb2.c boot/memmap.c */
#include <stdlib.h>

#include "boot/mb2.h"
#include "boot/memmap.h"
#include "mb2_build.h"
#include "test.h"

static struct mb2_build b;
static struct boot_info bi;

/* Parse a copy of exactly this many bytes, so that ASan sees what is read beyond. */
static int parse(u32 size)
{
	u8 *copy = malloc(size ? size : 1);
	int err;

	memcpy(copy, b.buf, size);
	memset(&bi, 0, sizeof(bi));
	err = mb2_parse(copy, size, &bi);
	free(copy);
	return err;
}

static void begin(void)
{
	mb2_begin(&b);
	mb2_default_mmap(&b);
}

static int finish(void)
{
	return parse(mb2_end(&b));
}

static void test_good_list(void)
{
	static const u8 rgb[] = {0, 0, 0, 0xfd, 0, 0,  0, 0, 0, 0x10, 0, 0, 0, 4, 0,
				 0, 0, 3, 0,	0, 32, 1, 0, 0, 16,   8, 8, 8, 0, 8};
	u8 rsdp1[20] = "RSD PTR one", rsdp2[36] = "RSD PTR two";
	static const u64 systab = 0x7f5ec018;

	begin();
	mb2_tag(&b, MB2_TAG_CMDLINE, "console=com1 loglvl=debug", 26);
	mb2_tag(&b, MB2_TAG_LOADER, "GRUB 2.06", 10);
	mb2_module(&b, 0x242000, 0xfca000, "root=/dev/vda1 quiet");
	mb2_module(&b, 0xfca000, 0x2000000, "");
	mb2_tag(&b, MB2_TAG_RSDP_NEW, rsdp2, 36);
	mb2_tag(&b, MB2_TAG_RSDP_OLD, rsdp1, 20);
	mb2_tag(&b, MB2_TAG_FRAMEBUFFER, rgb, sizeof(rgb));
	mb2_tag(&b, MB2_TAG_EFI64, &systab, 8);
	mb2_tag(&b, 9999, "unknown", 7);
	CHECK(finish() == 0, "a list as GRUB makes it is accepted");
	CHECK(!strcmp(bi.cmdline, "console=com1 loglvl=debug") && !strcmp(bi.loader, "GRUB 2.06"),
	      "command line and loader are copied");
	CHECK(bi.module_count == 2 && bi.module[0].start == 0x242000 &&
		  bi.module[1].end == 0x2000000 &&
		  !strcmp(bi.module_cmdline[0], "root=/dev/vda1 quiet") && !bi.module_cmdline[1][0],
	      "modules with their command lines");
	CHECK(bi.rsdp_len == 36 && !memcmp(bi.rsdp_copy, rsdp2, 36),
	      "the new RSDP is preferred wherever it stands");
	CHECK(bi.efi, "EFI");
	CHECK(bi.fb.present && !bi.fb.text && bi.fb.addr == 0xfd000000 && bi.fb.pitch == 4096 &&
		  bi.fb.width == 1024 && bi.fb.height == 768 && bi.fb.bpp == 32 &&
		  bi.fb.colour[0].pos == 16 && bi.fb.colour[1].pos == 8 &&
		  bi.fb.colour[2].size == 8,
	      "framebuffer with its colours");
	CHECK(bi.map.count == 6 && memmap_bytes(&bi.map, MEM_RAM) == 0x9fc00 + 0x3fee0000 &&
		  memmap_is(&bi.map, 0x3ffe0000, 0x40000000, MEM_ACPI),
	      "memory map");
}

static void test_names(void)
{
	begin();
	mb2_tag(&b, MB2_TAG_CMDLINE, "/boot/corbel.elf loglvl=err", 28);
	mb2_module(&b, 0x1000000, 0x1001000, "/boot/vmlinuz ro quiet");
	mb2_module(&b, 0x1000000, 0x1001000, "placeholder root=/dev/sda");
	mb2_module(&b, 0x1000000, 0x1001000, "(hd0,1)/boot/initrd");
	mb2_module(&b, 0x1000000, 0x1001000, "placeholders ro");
	CHECK(finish() == 0 && !strcmp(bi.cmdline, "loglvl=err") &&
		  !strcmp(bi.module_cmdline[0], "ro quiet") &&
		  !strcmp(bi.module_cmdline[1], "root=/dev/sda") && !bi.module_cmdline[2][0],
	      "file names and Xen's placeholder before the arguments are dropped");
	CHECK(!strcmp(bi.module_cmdline[3], "placeholders ro"), "other first words are kept");
}

static void test_limits(void)
{
	char text[4096];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	begin();
	mb2_tag(&b, MB2_TAG_CMDLINE, text, sizeof(text));
	mb2_module(&b, 0x1000000, 0x1001000, text);
	CHECK(finish() == 0 && strlen(bi.cmdline) == 2047 && strlen(bi.module_cmdline[0]) == 2047,
	      "long strings are cut, not refused");

	begin();
	mb2_tag(&b, MB2_TAG_CMDLINE, "abcd", 4);
	CHECK(finish() == 0 && !strcmp(bi.cmdline, "abcd"),
	      "a string without its NUL ends with its tag");
	begin();
	mb2_tag(&b, MB2_TAG_CMDLINE, "", 0);
	CHECK(finish() == 0 && !bi.cmdline[0], "an empty string tag is an empty string");

	begin();
	for (u32 i = 0; i < BOOT_MAX_MODULES + 2; i++)
		mb2_module(&b, 0x1000000 + i, 0x1001000, "m");
	CHECK(finish() == 0 && bi.module_count == BOOT_MAX_MODULES &&
		  bi.module[BOOT_MAX_MODULES - 1].start == 0x1000000 + BOOT_MAX_MODULES - 1,
	      "modules after the eighth are ignored");
}

static void test_malformed(void)
{
	struct mb2_tag *t;
	u32 whole;

	begin();
	whole = mb2_end(&b);
	CHECK(parse(whole) == 0, "the plain list is fine");
	for (u32 size = 0; size < whole; size++)
		CHECK_QUIET(parse(size) == -EINVAL, "a list cut to %u bytes is refused", size);
	((struct mb2_info *)b.buf)->total_size = whole - 8;
	CHECK(parse(whole) == -EINVAL, "a list without its end tag is refused");
	((struct mb2_info *)b.buf)->total_size = 4;
	CHECK(parse(whole) == -EINVAL, "a total size less than the header is refused");
	((struct mb2_info *)b.buf)->total_size = whole;
	CHECK(mb2_parse(b.buf + 4, whole, &bi) == -EINVAL, "a misaligned list is refused");

	for (u32 size = 0; size < 8; size++) {
		begin();
		t = mb2_tag(&b, MB2_TAG_CMDLINE, "abc", 4);
		t->size = size;
		CHECK_QUIET(finish() == -EINVAL, "a tag of %u bytes is refused", size);
	}
	begin();
	t = mb2_tag(&b, MB2_TAG_CMDLINE, "abc", 4);
	t->size = 0xfffffff8;
	CHECK(finish() == -EINVAL, "a tag longer than the list is refused");
	begin();
	t = mb2_module(&b, 0x1000, 0x2000, "");
	t->size = 15;
	CHECK(finish() == -EINVAL, "a module tag without its addresses is refused");
	begin();
	mb2_module(&b, 0x2000, 0x1000, "");
	CHECK(finish() == -EINVAL, "a module that ends before it starts is refused");
	begin();
	mb2_tag(&b, MB2_TAG_RSDP_NEW, "RSD PTR 12345678901234567890", 28);
	CHECK(finish() == -EINVAL, "a short RSDP is refused");
	begin();
	mb2_tag(&b, MB2_TAG_EFI64, "1234", 4);
	CHECK(finish() == -EINVAL, "a short EFI tag is refused");
	begin();
	mb2_tag(&b, MB2_TAG_FRAMEBUFFER, "12345678901234567890", 20);
	CHECK(finish() == -EINVAL, "a short framebuffer tag is refused");
}

static void test_screens(void)
{
	u8 fb[30] = {0, 0x80, 0x0b, 0, 0, 0,  0, 0, 160, 0,  0,
		     0, 80,   0,    0, 0, 25, 0, 0, 0,	 16, MB2_FB_TEXT};

	begin();
	mb2_tag(&b, MB2_TAG_FRAMEBUFFER, fb, 24);
	CHECK(finish() == 0 && bi.fb.present && bi.fb.text && bi.fb.width == 80, "EGA text");
	fb[21] = MB2_FB_INDEXED;
	fb[20] = 1;
	begin();
	mb2_tag(&b, MB2_TAG_FRAMEBUFFER, fb, 24);
	CHECK(finish() == 0 && !bi.fb.present, "an indexed mode is no screen, but no error");
	fb[21] = MB2_FB_RGB;
	fb[20] = 32;
	begin();
	mb2_tag(&b, MB2_TAG_FRAMEBUFFER, fb, 30);
	CHECK(finish() == 0 && !bi.fb.present, "a pitch less than a line is no screen");
	begin();
	mb2_tag(&b, MB2_TAG_FRAMEBUFFER, fb, 24);
	CHECK(finish() == -EINVAL, "RGB without its colours is refused");
}

/* map: the tag's body, with descriptors of 48 bytes, of which the second is ACPI's, the third EFI's
 */
static void test_efi_runtime(void *map, u32 size)
{
	static struct {
		u32 size, version;
		struct efi_desc d[BOOT_MAX_EFI + 1];
	} many = {sizeof(struct efi_desc), 1, {{0}}};
	u64 table = 0x123456789000;
	struct efi_desc d;

	mb2_begin(&b);
	mb2_default_mmap(&b);
	mb2_tag(&b, MB2_TAG_EFI_MMAP, map, size);
	CHECK(finish() == 0 && !bi.efi_runtime.count, "without a system table there is no EFI");
	memcpy(&d, (u8 *)map + 8 + 2 * 48, sizeof(d));
	d.attribute |= EFI_RUNTIME;
	memcpy((u8 *)map + 8 + 2 * 48, &d, sizeof(d));
	mb2_begin(&b);
	mb2_default_mmap(&b);
	mb2_tag(&b, MB2_TAG_EFI_MMAP, map, size);
	mb2_tag(&b, MB2_TAG_EFI64, &table, sizeof(table));
	CHECK(finish() == 0 && bi.efi && bi.efi_runtime.system_table == table &&
		  bi.efi_runtime.count == 1 && bi.efi_runtime.version == 1 &&
		  !memcmp(&bi.efi_runtime.desc[0], &d, sizeof(d)),
	      "of the map what the runtime services need is kept");
	for (u32 i = 0; i <= BOOT_MAX_EFI; i++)
		many.d[i] =
		    (struct efi_desc){.phys = i << 20, .pages = 1, .attribute = EFI_RUNTIME};
	mb2_begin(&b);
	mb2_default_mmap(&b);
	mb2_tag(&b, MB2_TAG_EFI64, &table, sizeof(table));
	mb2_tag(&b, MB2_TAG_EFI_MMAP, &many, sizeof(many));
	CHECK(finish() == 0 && !bi.efi_runtime.count, "more than there is room for is as none");
	many.d[0].attribute = 0;
	mb2_begin(&b);
	mb2_default_mmap(&b);
	mb2_tag(&b, MB2_TAG_EFI64, &table, sizeof(table));
	mb2_tag(&b, MB2_TAG_EFI_MMAP, &many, sizeof(many));
	CHECK(finish() == 0 && bi.efi_runtime.count == BOOT_MAX_EFI, "one less fits");
	many.d[0].type = EFI_BOOT_CODE;
	mb2_begin(&b);
	mb2_default_mmap(&b);
	mb2_tag(&b, MB2_TAG_EFI64, &table, sizeof(table));
	mb2_tag(&b, MB2_TAG_EFI_MMAP, &many, sizeof(many));
	CHECK(finish() == 0 && bi.efi_runtime.count == BOOT_MAX_EFI &&
		  bi.efi_runtime.desc[0].phys == BIT(20),
	      "memory of boot services is left out where there is no room for it");
}

/* What the firmware may still use though it is RAM */
static void test_calm(void)
{
	static const struct mb2_mmap_entry ram[] = {{0, 0xa0000, 1, 0}, {BIT(20), BIT(30), 1, 0}};
	struct {
		u32 size, version;
		struct efi_desc d[5];
	} efi = {sizeof(struct efi_desc),
		 1,
		 {{EFI_BOOT_DATA, 0, 0x3000000, 0, 256, 0xf},
		  {6, 0, 0x41000000, 0, 1, 0xf | EFI_RUNTIME},
		  {7, 0, 0x4000000, 0, 256, 0xf},
		  {7, 0, 0x5000000, 0, 256, 0xf | EFI_SPECIAL},
		  {EFI_BOOT_CODE, 0, 0x6000000, 0, 256, 0xf}}};
	u64 table = 0x41000000;

	mb2_begin(&b);
	mb2_mmap(&b, 24, ram, ARRAY_SIZE(ram));
	CHECK(finish() == 0 && !bi.map.calm, "without an EFI map all RAM is the same");
	mb2_begin(&b);
	mb2_mmap(&b, 24, ram, ARRAY_SIZE(ram));
	mb2_tag(&b, MB2_TAG_EFI64, &table, sizeof(table));
	mb2_tag(&b, MB2_TAG_EFI_MMAP, &efi, sizeof(efi));
	CHECK(finish() == 0 && bi.map.calm == &bi.calm && bi.map.count == 2 &&
		  memmap_is(&bi.calm, 0x3000000, 0x3100000, MEM_RESERVED) &&
		  memmap_is(&bi.calm, 0x3100000, 0x5000000, MEM_RAM) &&
		  memmap_is(&bi.calm, 0x5000000, 0x5100000, MEM_RESERVED) &&
		  memmap_is(&bi.calm, 0x6000000, 0x6100000, MEM_RESERVED),
	      "memory of boot services and special memory is better left alone");
	CHECK(bi.efi_runtime.count == 3 && bi.efi_runtime.desc[0].phys == 0x3000000 &&
		  bi.efi_runtime.desc[1].phys == 0x41000000 &&
		  bi.efi_runtime.desc[2].phys == 0x6000000,
	      "dom0 is told of that of boot services, in the firmware's order");
	efi.d[1].attribute = 0;
	mb2_begin(&b);
	mb2_mmap(&b, 24, ram, ARRAY_SIZE(ram));
	mb2_tag(&b, MB2_TAG_EFI64, &table, sizeof(table));
	mb2_tag(&b, MB2_TAG_EFI_MMAP, &efi, sizeof(efi));
	CHECK(finish() == 0 && !bi.efi_runtime.count,
	      "but not where there are no runtime services");
}

static void test_maps(void)
{
	static const struct mb2_mmap_entry odd[] = {
	    {0x100000, 0x10000000, 1, 0},	{0x1000000, 0x1000, 20, 0},
	    {0x2000000, 0x1000, 0, 0},		{0x3000000, 0x1000, 4, 0},
	    {0xfffffffffffff000, 0x2000, 1, 0}, {0xffffffffffff0000, 0x20000, 2, 0},
	};
	static struct mb2_mmap_entry many[BOOT_MAX_REGIONS + 100];
	u32 kib[2] = {640, 0xfffc00};
	struct {
		u32 size, version;
		u8 d[3][48];
	} efi = {48, 1, {{0}}};
	struct efi_desc d[3] = {{7, 0, 0x100000, 0, 0x10000, 0xf},
				{9, 0, 0x8000000, 0, 16, 0xf},
				{6, 0, 0x8100000, 0, 1, 0xf}};
	struct mb2_tag_mmap *t;

	mb2_begin(&b);
	mb2_mmap(&b, 32, odd, ARRAY_SIZE(odd));
	CHECK(finish() == 0 && memmap_is(&bi.map, 0x1000000, 0x1001000, MEM_RESERVED) &&
		  memmap_is(&bi.map, 0x2000000, 0x2001000, MEM_RESERVED),
	      "unknown kinds are reserved; entries may be longer than known");
	CHECK(memmap_is(&bi.map, 0x3000000, 0x3001000, MEM_NVS) &&
		  memmap_max_ram_end(&bi.map) == 0x10100000 &&
		  memmap_is(&bi.map, 0xffffffffffff0000, ~0ull, MEM_RESERVED),
	      "RAM that wraps around is dropped, a reserved range is clipped");

	mb2_begin(&b);
	t = mb2_mmap(&b, 24, odd, 1);
	t->entry_size = 0;
	CHECK(finish() == -EINVAL, "entry size 0 is refused");
	t->entry_size = 16;
	CHECK(parse(b.len) == -EINVAL, "too small entries are refused");
	t->entry_size = 0xfffffff0;
	CHECK(parse(b.len) == -ENOENT, "entries larger than the tag are no entries");

	for (u32 i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct mb2_mmap_entry){i * 0x2000ull, 0x1000, 1, 0};
	many[7].len = 0x1800;
	many[99].type = MEM_NVS;
	mb2_begin(&b);
	mb2_mmap(&b, 24, many, ARRAY_SIZE(many));
	CHECK(finish() == 0 && bi.map.count == BOOT_MAX_REGIONS && bi.map.dropped == 100 * 0x1000 &&
		  memmap_is(&bi.map, many[7].addr, many[7].addr + 0x1800, MEM_RAM) &&
		  memmap_is(&bi.map, many[99].addr, many[99].addr + 0x1000, MEM_NVS),
	      "of a map with too many ranges the smallest RAM is left out");
	many[7].len = 0x1000;
	many[99].type = MEM_RAM;
	for (u32 i = 0; i < ARRAY_SIZE(many); i++)
		many[i].addr = (ARRAY_SIZE(many) - 1 - i) * 0x1000ull;
	mb2_begin(&b);
	mb2_mmap(&b, 24, many, ARRAY_SIZE(many));
	CHECK(finish() == 0 && bi.map.count == 1 && bi.map.r[0].end == ARRAY_SIZE(many) * 0x1000,
	      "many ranges that join are one");

	for (u32 i = 0; i < 3; i++)
		memcpy(efi.d[i], &d[i], sizeof(d[i]));
	mb2_begin(&b);
	mb2_tag(&b, MB2_TAG_EFI_MMAP, &efi, sizeof(efi));
	CHECK(finish() == 0 && bi.map.count == 5 &&
		  memmap_is(&bi.map, 0x8000000, 0x8010000, MEM_ACPI) &&
		  memmap_is(&bi.map, 0x8100000, 0x8101000, MEM_RESERVED),
	      "an EFI map alone is taken, with the tag's descriptor size");
	mb2_default_mmap(&b);
	CHECK(finish() == 0, "(two end tags)");
	begin();
	mb2_tag(&b, MB2_TAG_EFI_MMAP, &efi, sizeof(efi));
	CHECK(finish() == 0 && bi.map.count == 6, "the e820-like map is preferred");
	test_efi_runtime(&efi, sizeof(efi));

	mb2_begin(&b);
	mb2_tag(&b, MB2_TAG_BASIC_MEM, kib, 8);
	CHECK(finish() == 0 && bi.map.count == 2 && bi.map.r[0].end == 0xa0000 &&
		  bi.map.r[1].end == 0x400000000,
	      "basic memory is the last resort");
	mb2_begin(&b);
	CHECK(finish() == -ENOENT, "no map at all is refused");
}

int main(void)
{
	test_good_list();
	test_names();
	test_limits();
	test_malformed();
	test_screens();
	test_maps();
	test_calm();
	return test_end();
}
