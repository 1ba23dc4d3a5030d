/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/iommu/iommu.c hv/iommu/unit.c hv/iommu/post.c hv/iommu/vtd.c hv/iommu/amdvi.c
 * hv/iommu/table.c hv/mm/pt.c hv/mm/pool.c hv/mm/frame.c
 * boot/boot.c
 */
/*
 * The VT-d unit that dom0 sees: what of dom0's interrupts reaches the unit that is there, which
 * caches all it can, and what dom0 can do wrong with registers, queue and addresses.
 */
#include "hv/iommu/vtd_shown.c"
#include "iommu_shown.h"

static void test_way(void)
{
	start_shown();
	CHECK(iommu.is_shown && (get(VTD_VER, 4) & 0xf0) && get(VTD_CAP, 8) != ~0ull &&
		  !(get(VTD_CAP, 8) & GENMASK(12, 8)) && get(VTD_CAP + 4, 4) == 0,
	      "dom0 sees a unit that translates no addresses");
	CHECK((get(VTD_ECAP, 8) & (ECAP_QI | ECAP_IR | ECAP_EIM)) == (ECAP_QI | ECAP_IR),
	      "and remaps interrupts, with ids of 8 bits as the one that is there");
	CHECK(as_sent(DEVICE) && !shown_remaps(), "until dom0 wants that they come as sent");
	set_irq(5, DEVICE, 0x51);
	set_irq(0xffff, OTHER, 0x52);
	start_queue(QUEUE);
	set(VTD_IRTA, 8, IRQS | 15);
	command_it(CMD_IRE, true);
	CHECK(!(get(VTD_GSTS, 4) & CMD_IRE) && as_sent(DEVICE), "it needs a table for that");
	command_it(CMD_SIRTP, true);
	submit(INV_IRQS, 0);
	CHECK(waited(7) && get(VTD_GSTS, 4) == (CMD_QIE | CMD_SIRTP), "it sets up queue and table");
	command_it(CMD_IRE, true);
	CHECK(get(VTD_GSTS, 4) == (CMD_QIE | CMD_SIRTP | CMD_IRE) && model_remaps() &&
		  shown_remaps(),
	      "and switches remapping on");
	CHECK(raises(DEVICE, 5) == 0x51 && raises(OTHER, 0xffff) == 0x52 &&
		  model_raised(DEVICE, MESSAGE | FORMAT | 5 << 5, 0) >> 32 == 3,
	      "each device raises what dom0 has set for it, where it has set it");
	CHECK(!raises(OTHER, 5) && !raises(DEVICE, 0xffff) && !raises(DEVICE, 6) &&
		  !model_raised(DEVICE, MESSAGE, 0x51) && !model_raised(DEVICE, MESSAGE, 0x400),
	      "and neither another's, nor anything in the other format");
	command_it(CMD_IRE, false);
	CHECK(as_sent(DEVICE) && !shown_remaps() && test_log_lines == 2,
	      "when dom0 switches it off they come as sent, and it is told");
	check_kept("on and off");
}

static void test_changes(void)
{
	start_on();
	set_irq(5, DEVICE, 0x51);
	CHECK(!raises(DEVICE, 5), "an entry that dom0 has not invalidated is not there yet");
	invalidate(5, 0);
	CHECK(waited(1) && raises(DEVICE, 5) == 0x51, "then it is");
	set_irq(5, DEVICE, 0x53);
	invalidate(5, 0);
	CHECK(waited(2) && raises(DEVICE, 5) == 0x53, "and changes its vector");
	set_irq(5, OTHER, 0x54);
	invalidate(5, 0);
	CHECK(waited(3) && raises(OTHER, 5) == 0x54 && !raises(DEVICE, 5), "and its device");
	for (u32 i = 0; i < 0x300; i++)
		set_irq(0x1000 + i, DEVICE, 0x30 + i % 0x80);
	invalidate(0x1203, 8);
	CHECK(raises(DEVICE, 0x1200) == 0x30 && raises(DEVICE, 0x12ff) == 0x30 + 0xff % 0x80 &&
		  !raises(DEVICE, 0x11ff),
	      "a block of them, whichever of them is named");
	invalidate(0, 31);
	CHECK(waited(4) && raises(DEVICE, 0x11ff) == 0x30 + 0x1ff % 0x80, "all, by a large block");
	CHECK(raises(OTHER, 5) && !early, "(it is cached)");
	irq_of(5)[0] &= ~1ull;
	put_at(get(VTD_IQT, 8), INV_IRQS, 0);
	put_at(get(VTD_IQT, 8) + 16, INV_WAIT | WAIT_WRITES | BIT(34), STATUS);
	set(VTD_IQT, 4, get(VTD_IQT, 8) + 32);
	CHECK(*status() == 4 && !early, "when dom0 is told, an entry is not cached any more");
	CHECK(waited(5) && !raises(OTHER, 5), "all, and one is gone");
	submit(1, 0);
	submit(2, 0);
	submit(3, 0);
	CHECK(waited(6) && !get(VTD_FSTS, 4), "what it has no caches of is invalidated at once");
	submit(INV_WAIT, STATUS);
	CHECK(get(VTD_IQH, 8) == get(VTD_IQT, 8) && *status() == 6, "waiting without a status");
	check_kept("changes");
}

/* Vectors that are the CPU's or the hypervisor's, NMI and worse, posted to memory. */
static void test_wrong_entries(void)
{
	static const u64 wrong[] = {0x1f << 16,
				    0xf0 << 16,
				    0x51 << 16 | 4 << 5,
				    0x51 << 16 | 2 << 5,
				    0x51 << 16 | 7 << 5,
				    0x51 << 16 | 1 << 15,
				    0};

	start_on();
	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
		irq_of(i)[0] = 1 | wrong[i];
		irq_of(i)[1] = BIT(18) | DEVICE;
		invalidate(i, 0);
		CHECK(!raises(DEVICE, i) && !iommu.unit[0].irqs[2 * i] &&
			  !iommu.unit[0].irqs[2 * i + 1],
		      "entry %u, %lx, is not there", i, wrong[i]);
	}
	CHECK(test_log_lines == 4 && strstr(test_log_text, "no interrupt of its own"),
	      "which is told, not each time: %u", test_log_lines);
	irq_of(0)[0] = 1 | 0xef << 16 | 1 << 5 | 1 << 2 | 0xf00 | BIT(24) | 9ull << 32;
	irq_of(0)[1] = ~0ull ^ BIT(19) ^ 0xffff ^ DEVICE;
	invalidate(0, 0);
	CHECK(iommu.unit[0].irqs[0] == (1 | 0xef << 16 | 1 << 5 | 1 << 2 | 9ull << 32) &&
		  iommu.unit[0].irqs[1] == (7ull << 16 | DEVICE),
	      "of one that is, nothing else goes to the unit");
}

static void test_queues(void)
{
	for (u32 pages = 0; pages < 3; pages += 2) {
		bool good = true;

		start_on();
		command_it(CMD_QIE, false);
		CHECK(get(VTD_IQH, 8) == 0 && !(get(VTD_GSTS, 4) & CMD_QIE), "it stops its queue");
		start_queue(QUEUE | pages);
		for (u32 i = 1; i < 3 * 256u << pages; i++) {
			set_irq(i % 7, DEVICE, 0x40 + i % 64);
			invalidate(i % 7, 0);
			good &= waited(i) && raises(DEVICE, i % 7) == 0x40 + i % 64;
		}
		CHECK(good, "a queue of %u pages goes round and round", 1u << pages);
	}
	set(VTD_IQA, 8, QUEUE + MB);
	CHECK(get(VTD_IQA, 8) == (QUEUE | 2), "while it is on it stays where it is");
	check_kept("queues");
}

static void test_errors(void)
{
	static const u64 bad[] = {0, 6, 0xf, 0xe};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		u32 at;

		start_on();
		at = get(VTD_IQT, 8);
		put_at(at, bad[i], 0);
		put_at(at + 16, INV_WAIT | WAIT_WRITES | BIT(32), STATUS);
		set(VTD_IQT, 4, at + 32);
		CHECK(get(VTD_FSTS, 4) == FSTS_IQE && get(VTD_IQH, 8) == at && !*status(),
		      "command %lx stops the queue, which says so", bad[i]);
		put_at(at, INV_WAIT | WAIT_WRITES | BIT(33), STATUS);
		CHECK(get(VTD_FSTS, 4) && !*status(), "and stands still");
		set(VTD_FSTS, 4, FSTS_IQE);
		CHECK(!get(VTD_FSTS, 4) && *status() == 1 && get(VTD_IQH, 8) == at + 32,
		      "until dom0 has mended it");
	}
	start_on();
	for (u32 i = 0; i < 256; i++)
		put_at(i * 16, INV_CONTEXT, 0);
	set(VTD_IQT, 4, PAGE_SIZE);
	CHECK(get(VTD_FSTS, 4) == FSTS_IQE && get(VTD_IQH, 8) == 16,
	      "a tail beyond the queue is an error");
	set(VTD_IQT, 4, 16);
	set(VTD_FSTS, 4, FSTS_IQE);
	CHECK(waited(9), "that can be mended");
}

/* mm_map_temp() sees whose memory it is. */
static void test_addresses(void)
{
	static const u64 bad[] = {IMAGE,   POOL_START,	    POOL_END - PAGE_SIZE, 0,
				  RAM_END, GENMASK(51, 12), GENMASK(63, 12)};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		start_on();
		command_it(CMD_QIE, false);
		start_queue(bad[i]);
		set(VTD_IQT, 4, 16);
		CHECK(get(VTD_FSTS, 4) == FSTS_IQE, "a queue at %lx is an error", bad[i]);
		start_on();
		submit(INV_WAIT | WAIT_WRITES | BIT(32), bad[i] + 8);
		CHECK(get(VTD_FSTS, 4) == FSTS_IQE, "nor is a status written there");
		set_irq(1, DEVICE, 0x51);
		set(VTD_IRTA, 8, bad[i] | 15);
		command_it(CMD_SIRTP, true);
		CHECK(!raises(DEVICE, 1) && !raises(DEVICE, 0x8000), "a table has no entry there");
	}
	start_on();
	command_it(CMD_QIE, false);
	start_queue((POOL_START - PAGE_SIZE) | 1);
	put_at(POOL_START - 16 - QUEUE, INV_IRQS, 0);
	for (u32 i = 0; i < 255; i++)
		put_at(POOL_START - PAGE_SIZE + i * 16 - QUEUE, INV_CONTEXT, 0);
	set(VTD_IQT, 4, PAGE_SIZE + 16);
	CHECK(get(VTD_FSTS, 4) == FSTS_IQE && get(VTD_IQH, 8) == PAGE_SIZE,
	      "a queue is dom0's up to where the hypervisor begins");
	start_on();
	for (u32 i = 0; i < 4; i++)
		set_irq(i, DEVICE, 0x51);
	set(VTD_IRTA, 8, IRQS);
	command_it(CMD_SIRTP, true);
	CHECK(raises(DEVICE, 1) && !raises(DEVICE, 2) && !raises(DEVICE, 3),
	      "a table has as many entries as dom0 says");
	check_kept("addresses");
}

/* Whatever is in the queue. */
static void test_time(void)
{
	u32 most = 0, times = 0;

	start_on();
	command_it(CMD_QIE, false);
	start_queue(QUEUE);
	for (u32 i = 0; i < 256; i++)
		put_at(i * 16, i % 2 ? INV_WAIT | WAIT_WRITES | (u64)i << 32 : INV_IRQS, STATUS);
	maps = 0;
	set(VTD_IQT, 4, 255 * 16);
	do {
		most = MAX(most, maps);
		maps = 0;
	} while (get(VTD_IQH, 8) != 255 * 16 && times++ < 1000);
	CHECK(most && most < 5 * 256 && times > 10 && *status() == 253,
	      "a queue of much work is done bit by bit, as dom0 asks: %u pages at most, %u times",
	      most, times);
	set_irq(1, DEVICE, 0x51);
	set(VTD_IQT, 4, 0);
	command_it(CMD_QIE, false);
	start_queue(QUEUE | 7);
	for (u32 i = 0; i < 32768; i++)
		put_at(i * 16, INV_CONTEXT, 0);
	maps = 0;
	set(VTD_IQT, 4, 32767 * 16);
	CHECK(maps <= WORK_MAX / WORK_COMMAND && maps > 10000, "a long one likewise: %u", maps);
}

static void test_registers(void)
{
	start_on();
	set(VTD_GCMD, 4, CMD_QIE | CMD_IRE | BIT(31) | BIT(30) | BIT(23));
	CHECK(get(VTD_GSTS, 4) == (CMD_QIE | CMD_SIRTP | CMD_IRE) && model_remaps() &&
		  !model_raised(DEVICE, MESSAGE, 0x51),
	      "dom0 can neither translate, nor let the other format pass");
	set(VTD_CAP, 8, ~0ull);
	set(VTD_ECAP, 8, ~0ull);
	set(VTD_RTADDR, 8, QUEUE);
	set(VTD_GSTS, 4, 0);
	CHECK(!(get(VTD_CAP, 8) & GENMASK(12, 8)) && !get(VTD_RTADDR, 8) &&
		  get(VTD_GSTS, 4) & CMD_IRE && !get(0x100, 8) && !get(0xff8, 8),
	      "nor change what is not there");
	CHECK(shown_access(UNIT + 8, 2, false, 0) == ~0ull &&
		  shown_access(UNIT + 0x1a, 4, true, 0) == ~0ull &&
		  shown_access(UNIT + PAGE_SIZE, 4, false, 0) == ~0ull &&
		  shown_access(0xfee00000, 4, false, 0) == ~0ull && get(VTD_GSTS, 4) & CMD_IRE,
	      "by odd accesses it reaches nothing, nor elsewhere");
	set(VTD_IRTA, 4, 0x12345678);
	set(VTD_IRTA + 4, 4, 0x9abcdef0);
	CHECK(get(VTD_IRTA, 8) == 0x9abcdef012345678 && get(VTD_IRTA + 4, 4) == 0x9abcdef0,
	      "registers of 64 bits can be had by halves");
}

static void test_x2apic(void)
{
	for (u32 i = 0; i < 2; i++) {
		memset(shown, 0, sizeof(shown));
		start(false, false, IOMMU_STRICT, 0);
		if (i)
			*model_reg(0x10) |= ECAP_EIM;
		iommu_init();
		set_irq(1, DEVICE, 0x51);
		set(VTD_IRTA, 8, IRQS | 15 | IRTA_EIME);
		command_it(CMD_SIRTP, true);
		CHECK(!(get(VTD_ECAP, 8) & ECAP_EIM) == !i && !(model.irta & IRTA_EIME) == !i,
		      "ids of 32 bits are dom0's where the unit %s", i ? "has them" : "has none");
	}
}

/* A firmware that keeps what passes on as it was for others. */
static void test_left_open(void)
{
	start_shown();
	*model_reg32(0x1c) |= BIT(23);
	set(VTD_IRTA, 8, IRQS | 15);
	command_it(CMD_SIRTP, true);
	command_it(CMD_IRE, true);
	CHECK(shown_remaps() && !model_raised(DEVICE, MESSAGE, 0x51),
	      "messages of the other format are blocked though the firmware had let them pass");
}

static void test_sleep(void)
{
	start_on();
	set_irq(1, DEVICE, 0x51);
	model_reset(false);
	iommu_wake();
	CHECK(!get(VTD_GSTS, 4) && !get(VTD_IRTA, 8) && !get(VTD_IQT, 8) && !shown_remaps(),
	      "after a sleep the unit that dom0 sees has forgotten all, as a real one");
	set(VTD_IRTA, 8, IRQS | 15);
	command_it(CMD_SIRTP, true);
	command_it(CMD_IRE, true);
	CHECK(shown_remaps() && raises(DEVICE, 1) == 0x51 && !raises(OTHER, 1) && !model.wrong,
	      "and when dom0 switches it on again it remaps as before");
}

static void check_not_shown(const char *why)
{
	iommu_init();
	CHECK(!iommu.is_shown && get(VTD_CAP, 8) == ~0ull && get(VTD_GSTS, 4) == ~0u,
	      "with %s dom0 sees none", why);
	command_it(CMD_SIRTP, true);
	CHECK(!shown_remaps() && as_sent(DEVICE), "and interrupts come as sent");
}

static void test_not_shown(void)
{
	memset(shown, 0, sizeof(shown));
	start(false, true, IOMMU_STRICT, 0);
	*model_reg(0x10) &= ~ECAP_IR;
	check_not_shown("a unit that does not remap");
	start(false, false, IOMMU_STRICT, 0);
	((u8 *)hpa_to_virt(hpa(TABLE_AT)))[37] = 0;
	check_not_shown("a firmware that does not want it");
	start(false, false, IOMMU_OFF, 0);
	check_not_shown("iommu=off");
	start(true, false, IOMMU_STRICT, 0);
	iommu_init();
	CHECK(!iommu.is_shown, "nor is an AMD-Vi unit");
	start(false, false, IOMMU_STRICT, 0);
	while (pool_alloc(VTD_IRQS_ORDER, NULL))
		;
	check_not_shown("no memory for a table");
}

static void test_hangs(void)
{
	static u32 i;
	u64 began;

	for (i = 0; i < 3; i++) {
		start_on();
		began = now;
		model.hangs = true;
		set_irq(1, DEVICE, 0x51);
		put_at(16, INV_IRQS, 0);
		CHECK(PANICS(i == 0   ? set(VTD_IQT, 4, 32)
			     : i == 1 ? command_it(CMD_SIRTP, true)
				      : command_it(CMD_IRE, false)) &&
			  strstr(test_panic_text, "no longer theirs; see to the hardware") &&
			  now - began < 3000000000ull,
		      "a unit that hangs ends the machine in a line");
	}
}

int main(void)
{
	arena_init(128 * MB);
	test_way();
	test_changes();
	test_wrong_entries();
	test_queues();
	test_errors();
	test_addresses();
	test_time();
	test_registers();
	test_x2apic();
	test_left_open();
	test_sleep();
	test_not_shown();
	test_hangs();
	incoherent = true;
	test_way();
	test_changes();
	return test_end();
}
