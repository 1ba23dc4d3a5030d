/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/iommu/post.h"
#include "hv/iommu/iommu.h"
#include "hv/iommu/vtd_shown.h"
#include "hv/lib/asm.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/log.h"

/* A handle is like a descriptor's address, so that it fits an entry. */
#define HANDLE_ID    GENMASK(16, 6)
#define HANDLE_NR    GENMASK(62, 17)
#define DESCRIPTOR   64u
#define VECTOR_LEAST 16u

static struct target {
	u64 descriptor; /* 0: none */
	u64 nr;		/* of the handle, never the same again */
	bool named;	/* some entry may have the descriptor */
} targets[CORBEL_MAX_VCPUS];

static u64 last_nr;

void post_init(bool cpus)
{
	iommu.posts =
	    cpus && iommu.is_shown && iommu.all.posts && cpuid_read(1, 0).c & CPUID_1C_CX16;
	if (iommu.posts)
		log_info("IOMMU: interrupts of guests' devices can be posted to them");
}

s64 post_begin(u32 id, u64 descriptor)
{
	struct target *t = &targets[id];

	_Static_assert(FIELD_GET(HANDLE_ID, ~0ull) + 1 == CORBEL_MAX_VCPUS, "each has its own");
	BUG_ON(id >= CORBEL_MAX_VCPUS || !descriptor || descriptor % DESCRIPTOR);
	if (!iommu.posts)
		return -ENODEV;
	BUG_ON(t->descriptor && t->descriptor != descriptor);
	if (!t->descriptor)
		*t = (struct target){.descriptor = descriptor, .nr = ++last_nr};
	return FIELD_PREP(HANDLE_NR, t->nr) | FIELD_PREP(HANDLE_ID, id);
}

u64 post_descriptor(u64 low, u64 high)
{
	u64 handle = irq_pd(low, high);
	struct target *t = &targets[FIELD_GET(HANDLE_ID, handle)];

	if (!iommu.posts || low & IRQ_URGENT || FIELD_GET(IRQ_VECTOR, low) < VECTOR_LEAST ||
	    !t->descriptor || handle >> 17 != t->nr)
		return 0;
	t->named = true;
	return t->descriptor;
}

void post_end(u32 id)
{
	struct target *t = &targets[id];

	BUG_ON(id >= CORBEL_MAX_VCPUS);
	if (t->named)
		shown_forget(t->descriptor);
	*t = (struct target){0};
}
