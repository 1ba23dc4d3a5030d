/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/iommu/iommu.c hv/iommu/unit.c hv/iommu/post.c hv/iommu/vtd.c hv/iommu/vtd_shown.c
 * hv/iommu/amdvi.c hv/iommu/table.c hv/mm/pt.c hv/mm/pool.c
 * hv/mm/frame.c boot/boot.c
 */
/*
 * Units taken over from a firmware that uses them, against models that cache all they can, by
 * devices that do DMA between any two accesses to registers. An answer out of a cache that the
 * tables no longer give is counted as a stale use.
 */
#include "hv/iommu/vtd.h"
#include "iommu_machine.h"
#include "stand_in.h"

/* dom0's memory is not looked at. */
ZERO(void *, mm_map_temp, hpa_t page)
NOTHING(mm_unmap_temp, void)

static bool reaches_right(void)
{
	bool good = true;

	for (u32 i = 0; i < 2; i++) { /* from the tables, and then from the caches */
		u16 dev = i ? 0x10 : 0x1ff;

		good &= reaches(dev, MB) && reaches(dev, TABLE_AT) && reaches(dev, RAM_END - 8);
		good &= reaches(dev, REGION) && reaches(dev, REGION + PAGE_SIZE);
		good &= !model_dma(dev, IMAGE) && !model_dma(dev, POOL_START) &&
			!model_dma(dev, POOL_END - 1) && !model_dma(dev, REGION + 2 * PAGE_SIZE) &&
			!model_dma(dev, 0) && !model_dma(dev, RAM_END) && !model_dma(dev, BIT(45));
	}
	return good;
}

static void test_take(bool amd)
{
	for (u32 i = 0; i < 4; i++) {
		bool left_on = i & 1;

		start(amd, left_on, IOMMU_STRICT, REGION);
		if (i & 2)
			model_few();
		model.busy = true;
		iommu_init();
		model.busy = false;
		CHECK(iommu.protection == CORBEL_IOMMU_STRICT && iommu.count == 1 && armed &&
			  iommu.unit[0].max_order == (i & 2 && !amd ? 0 : 18),
		      "%s%s%s: taken over", name(amd), left_on ? ", left on" : "",
		      i & 2 ? ", with few features" : "");
		CHECK(reaches_right(), "dom0's memory and the firmware's region are reached, and "
				       "nothing of the hypervisor's");
		CHECK(!model.stale && !model.unwritten,
		      "nothing stale is used: %u translations, %u entries not yet in memory",
		      model.stale, model.unwritten);
		CHECK(model.written <= 1, "all caches are written once at most (%u)",
		      model.written);
		CHECK(!model_remaps() && !model.wrong,
		      "interrupts come as they are, no rule of the "
		      "registers is broken (%s)",
		      model.wrong ? model.wrong : "none");
	}
}

/* What `corbel info` and a line tell is what the pool has less, and few: RAM ends at RAM_END. */
static void test_pages(bool amd)
{
	u64 before;

	start(amd, false, IOMMU_STRICT, 0);
	before = pool_free_bytes();
	iommu_init();
	CHECK(iommu.pages == (before - pool_free_bytes()) / PAGE_SIZE && iommu.pages &&
		  iommu.pages <= (RAM_END >> 30) + 16 + (amd ? 0 : 1u << VTD_IRQS_ORDER),
	      "%s: takes %lu pages", name(amd), iommu.pages);
}

/*
 * What the firmware has left to graphics lies beside RAM, and is large: devices reach all of it,
 * and it costs little. A second region overlaps it, and dom0's RAM.
 */
static void test_graphics(bool amd)
{
	const u64 stolen = 3ull << 30, size = 1ull << 30;
	struct acpi_table *where = amd ? &boot_info.acpi.ivrs : &boot_info.acpi.dmar;
	u64 free, pages;
	u8 *t;

	start(amd, false, IOMMU_STRICT, 0);
	iommu_init();
	pages = iommu.pages;
	start(amd, false, IOMMU_STRICT, stolen - PAGE_SIZE);
	t = hpa_to_virt(hpa(TABLE_AT));
	add_region(t, &where->len, amd, stolen, size);
	add_region(t, &where->len, amd, stolen + 5 * PAGE_SIZE, 9 * PAGE_SIZE);
	add_region(t, &where->len, amd, RAM_END - 2 * PAGE_SIZE, 4 * PAGE_SIZE);
	free = pool_free_bytes();
	iommu_init();
	CHECK(reaches(0x10, stolen - PAGE_SIZE) && reaches(0x10, stolen) &&
		  reaches(0x10, stolen + size / 2) && reaches(0x10, stolen + size - 8) &&
		  reaches(0x10, RAM_END + 2 * PAGE_SIZE - 8),
	      "%s: graphics reaches all the memory that the firmware has given it", name(amd));
	CHECK(!model_dma(0x10, stolen - 2 * PAGE_SIZE) && !model_dma(0x10, stolen + size) &&
		  !model_dma(0x10, RAM_END + 2 * PAGE_SIZE) && !model_dma(0x10, POOL_START),
	      "and no more");
	CHECK(iommu.pages <= pages + 8 && free - pool_free_bytes() == iommu.pages * PAGE_SIZE,
	      "with few tables: %lu", iommu.pages - pages);
}

static void test_modes(bool amd)
{
	start(amd, true, IOMMU_OFF, 0);
	iommu_init();
	CHECK(iommu.protection == CORBEL_IOMMU_OFF && reaches(0x10, IMAGE) && !model_remaps(),
	      "%s: with iommu=off nothing is translated", name(amd));
	CHECK(!armed && !model.wrong, "nor looked at any more");
	start(amd, true, IOMMU_DOM0, 0);
	iommu_init();
	CHECK(iommu.protection == CORBEL_IOMMU_DOM0 && iommu.count == 1 && !model.writes && !armed,
	      "%s: with iommu=dom0 no register is written", name(amd));
	start(amd, true, IOMMU_STRICT, POOL_START + MB);
	CHECK(PANICS(iommu_init()) && strstr(test_panic_text, "start with iommu=dom0"),
	      "a region of the firmware's in the hypervisor's memory ends the boot");
}

/* What is not there, or cannot be true, is neither used nor left half on, and nobody is deceived.
 */
static void test_bad(bool amd, const char *what, void (*spoil)(u8 *t))
{
	static const u32 modes[] = {IOMMU_STRICT, IOMMU_OFF, IOMMU_DOM0};

	for (u32 i = 0; i < ARRAY_SIZE(modes); i++) {
		bool ends, wanted;

		start(amd, true, modes[i], 0);
		spoil(hpa_to_virt(hpa(TABLE_AT)));
		ends = PANICS(iommu_init());
		wanted = modes[i] == IOMMU_STRICT || (modes[i] == IOMMU_OFF && iommu.table);
		CHECK(ends == wanted && (!ends || strstr(test_panic_text, "start with iommu=dom0")),
		      "%s: with %s, mode %u %s", name(amd), what, modes[i],
		      wanted ? "ends in a line of cause and cure" : "goes on");
		CHECK(!iommu.count && iommu.protection == CORBEL_IOMMU_NONE && !model.writes &&
			  (ends || strstr(test_log_text, "devices reach all memory")),
		      "no unit is touched, none counted");
	}
}

static void no_table(u8 *t)
{
	memset(&boot_info.acpi, 0, sizeof(boot_info.acpi));
}

static void damaged_table(u8 *t)
{
	t[48 + 2] = 3; /* the first entry's length */
}

static void no_answer(u8 *t)
{
	model.absent = true;
}

static void in_ram(u8 *t)
{
	memcpy(t + 56, &(u64){TABLE_AT}, 8);
}

/* The first one is as it should be. */
static void second_in_ram(u8 *t)
{
	struct acpi_table *where =
	    boot_info.acpi.dmar.addr ? &boot_info.acpi.dmar : &boot_info.acpi.ivrs;
	u8 *e = t + where->len, size = where == &boot_info.acpi.dmar ? 16 : 24;

	memset(e, 0, size);
	e[0] = size == 16 ? 0 : 0x10;
	e[2] = size;
	memcpy(e + 8, &(u64){TABLE_AT}, 8);
	where->len += size;
}

/* Its first page is not, but it says that it has more. */
static void reaches_ram(u8 *t)
{
	memcpy(t + 56, &(u64){MB - PAGE_SIZE}, 8);
	*model_reg(8) |= 0x100ull << 24; /* VT-d: faults are recorded from 0x1220 on */
}

static void invalidates_in_ram(u8 *t)
{
	memcpy(t + 56, &(u64){MB - PAGE_SIZE}, 8);
	*model_reg(0x10) |= 0x100 << 8; /* VT-d: registers at 0x1000 */
}

static void no_width(u8 *t)
{
	*model_reg(8) &= ~GENMASK(21, 16);
}

static void test_bad_tables(bool amd)
{
	test_bad(amd, "no table", no_table);
	test_bad(amd, "a damaged table", damaged_table);
	test_bad(amd, "a unit that does not answer", no_answer);
	test_bad(amd, "a unit in RAM", in_ram);
	test_bad(amd, "a second unit in RAM", second_in_ram);
	test_bad(amd, "a unit whose second page is RAM", reaches_ram);
	if (amd)
		return;
	test_bad(amd, "a unit that invalidates in RAM", invalidates_in_ram);
	test_bad(amd, "a unit that takes addresses of a bit", no_width);
}

/* A device that the IVRS lets raise more than interrupts of its own: INIT, NMI, LINT, and messages.
 */
static void test_rights(void)
{
	u64 *e;

	start(true, false, IOMMU_STRICT, 0);
	((u8 *)hpa_to_virt(hpa(TABLE_AT)))[48 + 24 + 3] = 0xd7;
	iommu_init();
	e = model_memory((model.root & GENMASK(51, 12)) + qemu_ivrs[48 + 24 + 1] * 32ull);
	CHECK(e[1] == (1 | 1ull << 40) && e[2] == (7ull << 56 | 3ull << 62 | 1ull << 60 | 1),
	      "AMD-Vi: a device may raise what the firmware says");
	CHECK(e[5] == 1 && e[6] == (1ull << 60 | 1) && !e[7] && !e[3], "and the next one may not");
	CHECK(model_message(qemu_ivrs[48 + 24 + 1] + 1, 0x51) == 0x51 &&
		  model_message(qemu_ivrs[48 + 24 + 1] + 1, 0x151) == 0x151 &&
		  !model_message(qemu_ivrs[48 + 24 + 1] + 1, 0x400) &&
		  !model_message(qemu_ivrs[48 + 24 + 1] + 1, 0x500) &&
		  !model_message(qemu_ivrs[48 + 24 + 1] + 1, 0x700) &&
		  model_message(qemu_ivrs[48 + 24 + 1], 0x400) == 0x400,
	      "it raises common interrupts, and neither NMI, INIT nor ExtINT");
	start(true, false, IOMMU_STRICT, 0);
	iommu.no_forward = true;
	iommu_init();
	CHECK(model_message(1, 0x51) == 0x51 && model_message(1, 0x400) == 0x400,
	      "where the unit cannot do that, all come as sent");
}

/* The unit forgets all in a sleep, and the firmware may use it again before we wake up. */
static void test_sleep(bool amd)
{
	for (u32 i = 0; i < 4; i++) {
		u64 before;

		start(amd, false, IOMMU_STRICT, REGION);
		if (i & 2)
			model_few();
		iommu_init();
		before = pool_free_bytes();
		model_reset(amd);
		if (i & 1)
			model_leave_on(OLD_TABLES);
		if (i & 2)
			model_few();
		iommu_wake();
		CHECK(reaches_right() && !model.stale && !model_remaps() && !model.wrong,
		      "%s: taken over again after a sleep (%s)", name(amd),
		      model.wrong ? model.wrong : "none");
		CHECK(before == pool_free_bytes(), "by the tables that there are");
		armed->fn(armed);
	}
	start(amd, false, IOMMU_STRICT, 0);
	iommu_init();
	model_reset(amd);
	model.hangs = true;
	CHECK(PANICS(iommu_wake()) && strstr(test_panic_text, "see to the hardware"),
	      "one that does not obey then ends the machine");
	start(amd, false, IOMMU_OFF, 0);
	iommu_init();
	model_reset(amd);
	model_leave_on(OLD_TABLES);
	iommu_wake();
	CHECK(reaches(0x10, IMAGE) && !model_remaps(), "with iommu=off it is off again");
	start(amd, false, IOMMU_DOM0, 0);
	iommu_init();
	iommu_wake();
	CHECK(!model.writes, "with iommu=dom0 it is dom0's affair");
}

/* Each wait is for something that may never come. */
static void test_hangs(bool amd)
{
	static u32 lines, at;

	lines = 0;
	for (at = 0; at < 64; at++) {
		u64 began = now;

		start(amd, true, IOMMU_STRICT, 0);
		model.hangs_after = at + 1; /* register writes */
		if (!PANICS(iommu_init()))
			break;
		lines++;
		CHECK_QUIET(strstr(test_panic_text, " unit at fed") &&
				strstr(test_panic_text, "start with iommu=dom0") &&
				now - began < 5000000000ull,
			    "in a line: %s", test_panic_text);
	}
	CHECK(lines >= (amd ? 8 : 6) && lines < 64,
	      "%s: a unit that hangs after any of %u writes ends in a line, after seconds",
	      name(amd), lines);
	start(amd, true, IOMMU_OFF, 0);
	model.hangs = true;
	CHECK(PANICS(iommu_init()), "one that does not let itself be switched off does so, too");
}

/* A command that the unit refuses: it stops there, and what waits for it does not wait for ever. */
static void test_refused_commands(bool amd, bool few)
{
	static u32 lines;

	for (lines = 0; lines < 1000; lines++) {
		u64 began = now;

		start(amd, false, IOMMU_STRICT, 0);
		if (few)
			model_few();
		model.refuses = lines + 1;
		if (!PANICS(iommu_init()))
			break;
		CHECK_QUIET(strstr(test_panic_text, " unit at fed") &&
				strstr(test_panic_text, "does not end what it has been told; "
							"start with iommu=dom0") &&
				now - began < 1500000000ull,
			    "in a line: %s", test_panic_text);
	}
	CHECK(lines == (!amd  ? 4
			: few ? 514
			      : 2) &&
		  model.refuses == 1 && iommu.protection == CORBEL_IOMMU_STRICT,
	      "%s%s: each of %u commands that is refused ends in a line, after a second", name(amd),
	      few ? ", with few features" : "", lines);
}

/* It does not spin, nor are faults made up. */
static void test_gone(bool amd)
{
	u64 began;

	start(amd, false, IOMMU_STRICT, 0);
	iommu_init();
	test_log_lines = 0;
	model.absent = true;
	began = now;
	for (u32 i = 0; i < 1000; i++)
		armed->fn(armed);
	CHECK(test_log_lines == 1 && strstr(test_log_text, "does not answer any more") &&
		  now - began < 1000000000ull,
	      "%s: one that does not answer any more is told of, once", name(amd));
}

static void test_faults(bool amd)
{
	u16 dev = amd ? 0x1ab : 0x1a3; /* of neither is anything told yet */
	u32 n = 0;

	start(amd, false, IOMMU_STRICT, 0);
	iommu_init();
	test_log_lines = 0;
	for (u32 i = 0; i < 1000; i++) {
		model_fault(dev, 0x123000, i & 1);
		if (i % 3 == 0)
			armed->fn(armed);
		if (!n && test_log_lines)
			n = !!strstr(test_log_text, amd ? "0000:01:15.3 may not read 123000"
							: "0000:01:14.3 may not read 123000");
	}
	armed->fn(armed);
	CHECK(n && test_log_lines >= 8 && test_log_lines < 12,
	      "%s: a device's faults are told by its name, of 1000 only %u", name(amd),
	      test_log_lines);
	for (u32 i = 0; i < 600; i++)
		model_fault((u16)i, 0x1000, true);
	for (u32 i = 0; i < 20; i++)
		armed->fn(armed);
	model_fault(0x7f8, 0x456000, true);
	armed->fn(armed);
	CHECK(strstr(test_log_text, "00:07:1f.0 may not write 456000"),
	      "where so many come that some are lost, later ones are told again");
	if (amd) {
		model.faults_irqs = true;
		model_fault(0x750, 0xfee00000, true);
		armed->fn(armed);
		CHECK(strstr(test_log_text, "07:0a.0 may not raise an interrupt by fee00000"),
		      "what is blocked of interrupts is told as that");
	}
	test_log_lines = 0;
	armed->fn(armed);
	CHECK(!test_log_lines && !model.wrong, "each is told once (%s)",
	      model.wrong ? model.wrong : "none");
}

/* It has no room, and has not stopped yet when that is seen. */
static void test_late_log(void)
{
	start(true, false, IOMMU_STRICT, 0);
	iommu_init();
	model.late = true;
	for (u32 i = 0; i < 300; i++)
		model_fault(0x5a5, 0x1000, true);
	for (u32 i = 0; i < 20; i++)
		armed->fn(armed);
	test_log_lines = 0;
	for (u32 i = 0; i < 300; i++) {
		model_fault(0x5a5, 0x789000, true);
		armed->fn(armed);
	}
	CHECK(test_log_lines && strstr(test_log_text, "05:14.5 may not write 789000") &&
		  !model.wrong,
	      "AMD-Vi: a log that takes its time to stop begins again behind that (%s)",
	      model.wrong ? model.wrong : "none");
}

int main(void)
{
	arena_init(128 * MB);
	for (u32 amd = 0; amd < 2; amd++) {
		test_take(amd);
		test_pages(amd);
		test_graphics(amd);
		test_modes(amd);
		test_bad_tables(amd);
		test_sleep(amd);
		test_hangs(amd);
		test_refused_commands(amd, false);
		test_refused_commands(amd, true);
		test_gone(amd);
		test_faults(amd);
	}
	test_late_log();
	test_rights();
	return test_end();
}
