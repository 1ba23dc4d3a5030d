/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/iommu/iommu.c hv/iommu/unit.c hv/iommu/vtd.c hv/iommu/amdvi.c
 * hv/iommu/table.c hv/iommu/post.c hv/mm/pt.c hv/mm/pool.c hv/mm/frame.c
 * boot/boot.c
 */
/*
 * Interrupts of devices that are posted to vCPUs: what dom0 may write for that into the unit it is
 * shown, and that the unit that is there posts to nobody who is gone, nor loses an interrupt where
 * dom0 has changed its mind.
 */
#include "hv/lib/types.h"
#undef WRITE_ONCE
/* The unit may look behind any write. */
static void unit_looks(void);
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v), unit_looks())
#include "hv/iommu/vtd_shown.c"
#include "hv/iommu/post.h"
#include "iommu_shown.h"

#define LOW	0x7fc0ull /* descriptors: below 4 GiB and above */
#define HIGH	0x12345678ffc0ull
#define ENTRIES 8u
#define IDS	4u
#define STEPS	20000u

static bool watching;
static u32 gaps;

static void unit_looks(void)
{
	gaps += watching && !(iommu.unit[0].irqs[2 * 5] & IRQ_P);
}

static void start_posting(bool cpus)
{
	iommu = (struct iommu_state){0};
	for (u32 id = 0; id < IDS; id++) /* of the test before, whose unit is gone */
		post_end(id);
	memset(shown, 0, sizeof(shown));
	start(false, false, IOMMU_STRICT, 0);
	*model_reg(8) |= CAP_PI;
	if (incoherent)
		model_incoherent();
	memset(hpa_to_virt(hpa(QUEUE)), 0, 12 * PAGE_SIZE);
	memset(hpa_to_virt(hpa(IRQS)), 0, 2 * MB);
	iommu_init();
	post_init(cpus);
	test_log_lines = 0;
	start_queue(QUEUE);
	set(VTD_IRTA, 8, IRQS | 15);
	command_it(CMD_SIRTP, true);
	submit(INV_IRQS, 0);
	command_it(CMD_IRE, true);
}

/* As Linux writes it. */
static void set_posted(u32 index, u64 handle, u8 vector)
{
	irq_of(index)[0] = IRQ_P | IRQ_POSTED | (u64)vector << 16 | (handle << 32 & IRQ_PD_LOW);
	irq_of(index)[1] = BIT(18) | DEVICE | (handle & IRQ_PD_HIGH);
	invalidate(index, 0);
}

static void set_common(u32 index, u8 vector)
{
	set_irq(index, DEVICE, vector);
	invalidate(index, 0);
}

/* Where the unit posts the device's message, 0: nowhere. */
static u64 posted_to(u32 index)
{
	if (!raises(DEVICE, index) || !(model.irq[index].low & IRQ_POSTED))
		return 0;
	return irq_pd(model.irq[index].low, model.irq[index].high);
}

static bool is_offered(void)
{
	bool shown_so = get(VTD_CAP, 8) & CAP_PI;
	s64 handle = post_begin(1, LOW);

	CHECK_QUIET(shown_so == (handle > 0) && (shown_so || handle == -ENODEV), "both or neither");
	set_posted(1, handle > 0 ? (u64)handle : LOW, 0x51);
	CHECK_QUIET(posted_to(1) == (shown_so ? LOW : 0), "and it posts, or not");
	return shown_so;
}

static void test_offer(void)
{
	start_posting(true);
	CHECK(is_offered(), "where units and CPUs can, dom0 sees that interrupts can be posted");
	start_posting(false);
	CHECK(!is_offered(), "not where the CPUs cannot");
	start_shown();
	post_init(true);
	CHECK(!is_offered(), "nor where a unit cannot");
	start(false, false, IOMMU_DOM0, 0);
	*model_reg(8) |= CAP_PI;
	iommu_init();
	post_init(true);
	CHECK(post_begin(1, LOW) == -ENODEV, "and a unit that is dom0's own is given no handles");
}

static void test_handles(void)
{
	u64 first, other, wrong[8], bits = 0;

	start_posting(true);
	first = post_begin(1, LOW);
	other = post_begin(2, HIGH);
	CHECK(first != other && post_begin(1, LOW) == (s64)first, "each vCPU has its handle");
	set_posted(5, other, 0x51);
	CHECK(posted_to(5) == HIGH && raises(DEVICE, 5) == 0x51 && !raises(OTHER, 5) &&
		  iommu.unit[0].irqs[10] ==
		      (IRQ_P | IRQ_POSTED | 0x51 << 16 | (HIGH << 32 & IRQ_PD_LOW)) &&
		  iommu.unit[0].irqs[11] == (BIT(18) | DEVICE | (HIGH & IRQ_PD_HIGH)),
	      "an entry with the handle posts to the descriptor, for its device");
	set_posted(5, first, 0x10);
	CHECK(posted_to(5) == LOW && raises(DEVICE, 5) == 0x10, "also another, any guest's vector");
	wrong[0] = 0;
	wrong[1] = LOW;
	wrong[2] = HIGH;
	wrong[3] = first + 64;
	wrong[4] = other - 64;
	wrong[5] = first + BIT(16);
	wrong[6] = first | BIT(63);
	wrong[7] = ~0ull;
	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
		set_posted(5, wrong[i], 0x51);
		bits += raises(DEVICE, 5) || iommu.unit[0].irqs[10] || iommu.unit[0].irqs[11];
	}
	CHECK(!bits && test_log_lines == 4, "what is no handle, addresses too, posts nowhere");
	set_posted(5, first, 15);
	CHECK(!raises(DEVICE, 5), "nor does a vector that no APIC takes");
	set_posted(5, first, 0x51);
	irq_of(5)[0] |= IRQ_URGENT;
	invalidate(5, 0);
	CHECK(!raises(DEVICE, 5), "nor what is marked urgent");
	irq_of(5)[0] = (irq_of(5)[0] & ~IRQ_URGENT) | GENMASK(13, 1) | GENMASK(37, 24);
	irq_of(5)[1] |= GENMASK(31, 20);
	invalidate(5, 0);
	CHECK(posted_to(5) == LOW &&
		  !(iommu.unit[0].irqs[10] & (GENMASK(13, 1) | GENMASK(37, 24))) &&
		  !(iommu.unit[0].irqs[11] & GENMASK(31, 20)),
	      "bits that are reserved do not reach the unit");
	check_kept("handles");
}

static void test_end_of_vcpu(void)
{
	u64 handle, next;

	start_posting(true);
	handle = post_begin(1, LOW);
	set_posted(5, handle, 0x51);
	set_posted(0xffff, handle, 0x52);
	set_posted(6, post_begin(2, HIGH), 0x53);
	CHECK(posted_to(5) && posted_to(0xffff), "(both are cached)");
	post_end(1);
	CHECK(!posted_to(5) && !posted_to(0xffff) && posted_to(6) == HIGH,
	      "when a vCPU ends nothing is posted to it any more, out of a cache neither");
	invalidate(5, 0);
	CHECK(!raises(DEVICE, 5), "nor when dom0 says it again");
	next = post_begin(1, LOW + 64);
	invalidate(5, 0);
	CHECK(next != handle && !raises(DEVICE, 5), "nor to the next one of its number");
	set_posted(5, next, 0x54);
	CHECK(posted_to(5) == LOW + 64, "that has a handle of its own");
	model.hangs = true;
	CHECK(PANICS(post_end(1)) && strstr(test_panic_text, "does not end what it has been told"),
	      "a unit that does not confirm ends the machine");
}

static void test_no_gap(void)
{
	static const u64 to[] = {LOW, HIGH};
	bool good = true;

	start_posting(true);
	set_common(5, 0x61);
	watching = true;
	gaps = 0;
	for (u32 i = 0; i < 8; i++) {
		set_posted(5, post_begin(i & 1, to[i & 1]), 0x51);
		good &= posted_to(5) == to[i & 1];
		if (i & 2)
			set_common(5, 0x61 + i);
		good &= !(i & 2) || raises(DEVICE, 5) == 0x61 + i;
	}
	watching = false;
	CHECK(good && !gaps, "an entry changes to posting and back, and is there at all times");
}

/* ---- all of it, at random ---- */

static u32 test_random(void)
{
	static u64 seed = 1;

	seed = seed * 6364136223846793005 + 1442695040888963407;
	return seed >> 33;
}

static u64 now_at[IDS], lives; /* descriptors; 0: no vCPU */
static u64 handles[IDS], old[IDS];
static struct {
	u64 descriptor;
	u32 vector;
} want[ENTRIES];

static void random_vcpu(u32 id)
{
	if (now_at[id]) {
		post_end(id);
		for (u32 i = 0; i < ENTRIES; i++)
			if (want[i].descriptor == now_at[id])
				want[i].descriptor = want[i].vector = 0;
		old[id] = handles[id];
		now_at[id] = 0;
		return;
	}
	now_at[id] = (++lives * 0x1000040) & ~63ull;
	handles[id] = post_begin(id, now_at[id]);
}

static void random_entry(u32 i, u32 id, u8 vector)
{
	bool is_old = test_random() % 4 == 0 || !now_at[id];

	if (test_random() % 2) {
		set_common(i, vector);
		want[i].vector = vector;
		want[i].descriptor = 0;
		return;
	}
	set_posted(i, is_old ? old[id] : handles[id], vector);
	want[i].descriptor = is_old ? 0 : now_at[id];
	want[i].vector = want[i].descriptor ? vector : 0;
}

static void test_random_steps(void)
{
	u32 lost = 0, misled = 0, posted = 0;

	start_posting(true);
	for (u32 step = 0; step < STEPS; step++) {
		u32 i = test_random() % ENTRIES, id = test_random() % IDS;

		if (test_random() % 16 == 0)
			random_vcpu(id);
		else if (test_random() % 4 == 0)
			random_entry(i, id, 0x20 + test_random() % 0xd0);
		lost += raises(DEVICE, i) != want[i].vector;
		misled += posted_to(i) != want[i].descriptor;
		posted += want[i].descriptor != 0;
	}
	CHECK(!lost && !misled && posted > STEPS / 100,
	      "%u steps: %u messages lost, %u to where they should not, of %u posted", STEPS, lost,
	      misled, posted);
	check_kept("random steps");
}

int main(void)
{
	arena_init(128 * MB);
	test_offer();
	test_handles();
	test_end_of_vcpu();
	test_no_gap();
	test_random_steps();
	incoherent = true;
	test_end_of_vcpu();
	return test_end();
}
