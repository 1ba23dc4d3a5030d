/* SPDX-License-Identifier: GPL-2.0-only */
/* dom0 and its hypercalls on a back end that does nothing; what they have of a machine is here. */
#pragma once

#include <string.h>

#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"
#include "hv/dom0/hypercall.h"
#include "hv/guest/apic_ids.h"
#include "hv/dom0/state.h"
#include "hv/guest/doorbell.h"
#include "hv/guest/event.h"
#include "hv/guest/lapic.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/kick.h"
#include "hv/guest/vm.h"
#include "hv/iommu/iommu.h"
#include "arena.h"
#include "hv/mm/p2m_lend.h"
#include "stand_in.h"

static struct vcpu *caller;
static u8 dom0_page[PAGE_SIZE];

static bool borrows = true, off = true;
static u32 maps, moves, windows;
static bool passed = true; /* all CPUs have been through their loops */
static u64 lent_pfns, given;
static int give_err;

/* ---- the rest of the hypervisor ---- */

u64 tsc_khz = 1000000, boot_tsc;

static u64 now = 1000; /* ns */

u64 rdtsc(void)
{
	return now;
}

u64 ns_to_tsc(u64 ns)
{
	return ns;
}

u64 tsc_to_ns(u64 ticks)
{
	return ticks;
}

static u64 unmapped, pauses, forgotten, flushed;
static struct p2m *used; /* the last map that something was done to, and where */
static u64 used_gfn;

int p2m_init(struct p2m *p, struct vm *vm, bool is_dom0, struct account *acct,
	     struct account *tables)
{
	*p = (struct p2m){.vm = vm, .tlb_gen = 1};
	return 0;
}

u64 p2m_gfn_end(void)
{
	return 1 << 21;
}

s64 p2m_unmap(struct p2m *p, u64 gfn, u64 count)
{
	u64 done = MIN(count, 100000u); /* not all at once */

	unmapped += done;
	used = p;
	used_gfn = gfn;
	return done;
}

void p2m_settle_locked(struct p2m *p, bool flush)
{
	flushed += flush;
}

void vcpu_request(struct vcpu *v, u64 req)
{
	pauses += req == DUE_PAUSE;
}

void event_forget(void)
{
	forgotten++;
}

static bool timer_wakes; /* the vCPU, before it can be stopped */

void lapic_destroy(struct vcpu *v)
{
	off = off && !timer_wakes;
}

void lapic_init(struct vcpu *v, u32 id, bool present)
{
	v->lapic.id = id;
}

bool sched_is_off(const struct sched_unit *u)
{
	return off;
}

int p2m_copy(struct p2m *p, gpa_t at, void *buf, size_t len, bool write)
{
	if (!write)
		memcpy(buf, dom0_page + at.v % PAGE_SIZE, len);
	return 0;
}

int p2m_map(struct p2m *p, u64 gfn, u64 pfn, u32 order, u64 attr)
{
	maps++;
	used = p;
	used_gfn = gfn;
	return 0;
}

/* Some of them at a time */
s64 p2m_dirty_start(struct p2m *p, u64 gfn, u64 count)
{
	used = p;
	used_gfn = gfn;
	return MIN(count, 4096u);
}

s64 p2m_dirty_stop(struct p2m *p, u64 gfn, u64 count)
{
	return MIN(count, 4096u);
}

s64 p2m_dirty_read(struct p2m *p, u64 gfn, u64 count, u64 *bitmap, bool clear)
{
	bitmap[(MIN(count, 4096u) - 1) / 64] = 1; /* there is room for it */
	return MIN(count, 4096u);
}

/* dom0's memory lies above the pool. */
#define BLOCK(n) ((32ull << 20 >> PAGE_SHIFT) + 512 * (n))

int p2m_dom0_take(struct p2m *p, u64 pfn, u64 count)
{
	u64 n = (pfn - BLOCK(0)) / 512;

	if (pfn < BLOCK(0) || n >= 16 || lent_pfns & BIT(n))
		return -EPERM;
	lent_pfns |= BIT(n);
	return 0;
}

int p2m_dom0_give(struct p2m *p, u64 pfn, u64 count)
{
	if (give_err)
		return give_err;
	lent_pfns &= ~BIT((pfn - BLOCK(0)) / 512);
	given++;
	return 0;
}

static u32 mapped; /* blocks, by the hypervisor */

int mm_map_direct(u64 addr, u64 size)
{
	mapped++;
	return 0;
}

void mm_unmap_direct(u64 addr, u64 size)
{
	mapped--;
}

void mm_reap_direct(void)
{
}

void smp_flush_host(void)
{
}

bool smp_flush_host_done(void)
{
	return passed;
}

struct iommu_state iommu;

s64 state_get(struct vcpu *v, u32 what, u32 n)
{
	moves++;
	return 8;
}

s64 state_set(struct vcpu *v, u32 what, u32 n)
{
	moves++;
	return 8;
}

/* ---- the back end ---- */

/* clang-format off */
static NOTHING(fake_give_back, struct vcpu *v)
static ZERO(int, fake_vcpu_init, struct vcpu *v)
static NOTHING(fake_vcpu_destroy, struct vcpu *v)
static NOTHING(fake_vcpu_reset, struct vcpu *v, bool init)
static ZERO(u64, fake_get, struct vcpu *v, enum hvm_reg r)
static NOTHING(fake_set, struct vcpu *v, enum hvm_reg r, u64 val)
static NOTHING(fake_set_seg, struct vcpu *v, enum hvm_seg s, const struct corbel_segment *in)
static ZERO(int, fake_msr_set, struct vcpu *v, u32 msr, u64 val)

static inline s64 call(u64 nr, u64 a, u64 b, u64 c, u64 d);
static bool meddles; /* another CPU makes hypercalls while state is moved */
static s64 meddled[3];

/* The CPU that has something of the vCPU lets go of it, if nobody has the objects. */
void irq_window(void)
{
	windows++;
	BUG_ON(objects.state);
	borrows = true;
}

static inline bool fake_borrow(struct vcpu *v)
{
	if (meddles) {
		meddles = false;
		meddled[0] = v->stopped;
		meddled[1] = call(CORBEL_HC_VCPU_SET, v->number, CORBEL_STATE_SREGS, 8, 0);
		meddled[2] = call(CORBEL_HC_VCPU_GET, v->number, CORBEL_STATE_SREGS, 0, 0);
	}
	return borrows;
}
/* clang-format on */

static bool direct_reads, direct_writes; /* of LSTAR */

static inline void fake_direct_msr(struct vm *vm, u32 msr, bool reads, bool writes)
{
	if (msr != 0xc0000082)
		return;
	direct_reads = reads;
	direct_writes = writes;
}

static const struct nested_ops fake_nested; /* guests have no guests */
static const struct hvm_ops fake_ops = {
    .nested = &fake_nested,
    .vcpu_pages = 2,
    .borrow = fake_borrow,
    .give_back = fake_give_back,
    .direct_msr = fake_direct_msr,
    .vcpu_init = fake_vcpu_init,
    .vcpu_destroy = fake_vcpu_destroy,
    .vcpu_reset = fake_vcpu_reset,
    .get = fake_get,
    .set = fake_set,
    .set_seg = fake_set_seg,
    .msr_set = fake_msr_set,
};
const struct hvm_ops *hvm = &fake_ops;

/* The machine, and dom0 on it, whose vCPU is the caller. */
static inline void dom0_start(void)
{
	static const struct vm_ops ops;

	arena_init(64ull << 20);
	pool_init(1 << 20, 32 << 20);
	caller = vcpu_by_number(vcpu_create(vm_create_dom0(&ops), 0));
}

static inline s64 call(u64 nr, u64 a, u64 b, u64 c, u64 d)
{
	caller->gpr[RDI] = a;
	caller->gpr[RSI] = b;
	caller->gpr[RDX] = c;
	caller->gpr[RCX] = d;
	return hypercall(caller, nr);
}

static inline s64 make_vm(u32 user, u64 pages)
{
	struct corbel_vm_create c = {.name = "test", .user = user, .user_pages = pages};

	memcpy(dom0_page, &c, sizeof(c));
	return call(CORBEL_HC_VM_CREATE, 0, 0, 0, 0);
}

static inline void free_vm(u64 vm, u64 vcpu)
{
	if (vcpu)
		CHECK_QUIET(!call(CORBEL_HC_VCPU_DESTROY, vcpu, 0, 0, 0), "a vCPU goes");
	CHECK_QUIET(!call(CORBEL_HC_VM_DESTROY, vm, 0, 0, 0), "a VM goes");
}
