/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A small machine for the tests of the virtual APIC and PV services: one CPU, a clock set by hand,
 * flat guest memory.
 */
#ifndef TESTS_UNIT_FAKE_MACHINE_H
#define TESTS_UNIT_FAKE_MACHINE_H

#include <stdlib.h>
#include <string.h>

#include "hv/abi.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/irq.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/guest/apic_ids.h"
#include "hv/guest/kick.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/quirks.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/mm/frame.h"
#include "hv/mm/mm.h"
#include "hv/mm/pool.h"
#include "test.h"

#define FAKE_KHZ    2000000 /* 2 ticks a ns */
#define FAKE_MEMORY 0x10000
#define FAKE_VCPUS  8

struct cpu *cpus[MAX_CPUS];
u64 tsc_khz = FAKE_KHZ, boot_tsc = 1000000, wallclock_boot_ns = 1700000000123456789ull;
static struct cpu fake_cpu;
static u64 fake_tsc = 5000000, hw_deadline;
static struct vm fake_vm;
static struct vcpu fake_vcpu[FAKE_VCPUS];
static struct corbel_cpuid fake_cpuid[2];
static u64 fake_requests[FAKE_VCPUS];
static u32 fake_notified[FAKE_VCPUS];
static int level_eoi = -1;
static u32 level_eois, mirrored_ldr, mirrored_dfr;
u32 quirks;
static bool hw_x2apic; /* the hardware's mode */
static u32 hw_switches;
static u8 fake_memory[FAKE_MEMORY];
static bool fake_unmapped, fake_read_only;

struct cpu *this_cpu(void)
{
	return &fake_cpu;
}

u64 rdtsc(void)
{
	return fake_tsc;
}

u64 tsc_to_ns(u64 ticks)
{
	return ticks / 2;
}

u64 ns_to_tsc(u64 ns)
{
	return ns * 2;
}

void apic_eoi(void)
{
}

void irq_set(u8 vector, void (*fn)(u8 vector))
{
}

void apic_timer_arm(u64 tsc)
{
	hw_deadline = tsc;
}

void apic_set_logical(u32 ldr, u32 dfr)
{
	mirrored_ldr = ldr;
	mirrored_dfr = dfr;
}

bool apic_is_x2apic(void)
{
	return hw_x2apic;
}

void smp_set_x2apic(bool on)
{
	hw_switches += on != hw_x2apic;
	hw_x2apic = on;
}

void *pool_alloc(u32 order, struct account *acct)
{
	static char page[4 * PAGE_SIZE] __aligned(16);

	return page;
}

void vcpu_notify(struct vcpu *v, bool exit)
{
	__atomic_fetch_add(&fake_notified[v->index], 1, __ATOMIC_RELAXED);
}

void vcpu_request(struct vcpu *v, u64 req)
{
	fake_requests[v->index] |= req;
}

static void fake_level_eoi(struct vcpu *v, u8 vector)
{
	level_eoi = vector;
	level_eois++;
}

static u32 kernels_ended;

static void fake_kernel_ends(struct vcpu *v)
{
	kernels_ended++;
}

static const struct vm_ops fake_ops = {.level_eoi = fake_level_eoi, .cpu_ends = fake_kernel_ends};

struct vcpu *vm_vcpu_by_apic(struct vm *vm, u32 apic_id)
{
	u32 i;

	for (i = 0; i < VM_FEW; i++)
		if (vm->vcpu[i] && vm->vcpu[i]->lapic.id == apic_id)
			return vm->vcpu[i];
	return NULL;
}

static inline u8 *fake_at(gpa_t at, size_t len)
{
	return fake_unmapped || at.v >= FAKE_MEMORY || len > FAKE_MEMORY - at.v
		   ? NULL
		   : fake_memory + at.v;
}

int p2m_copy(struct p2m *p, gpa_t gpa, void *buf, size_t len, bool write)
{
	u8 *m = fake_at(gpa, len);

	if (!m || (write && fake_read_only))
		return -EFAULT;
	memcpy(write ? (void *)m : buf, write ? buf : m, len);
	return 0;
}

int p2m_cmpxchg(struct p2m *p, gpa_t at, u64 old, u64 new, u32 size)
{
	u8 *m = fake_at(at, size);
	u64 now = 0;

	if (!m || at.v % size)
		return -EFAULT;
	memcpy(&now, m, size);
	if (now != old)
		return -EAGAIN;
	memcpy(m, &new, size);
	return 0;
}

/* A VM of FAKE_VCPUS vCPUs with APIC ids 0.. and all features; ids may be given. */
static inline void fake_reset(const u32 *ids)
{
	u32 i;

	cpus[0] = &fake_cpu;
	timer_init_cpu();
	memset(pool_alloc(0, NULL), 0, 4 * PAGE_SIZE);
	memset(&fake_vm, 0, sizeof(fake_vm));
	memset(fake_vcpu, 0, sizeof(fake_vcpu));
	memset(fake_requests, 0, sizeof(fake_requests));
	memset(fake_notified, 0, sizeof(fake_notified));
	memset(fake_memory, 0, sizeof(fake_memory));
	fake_unmapped = fake_read_only = false;
	fake_cpuid[0] = (struct corbel_cpuid){.function = 1, .ecx = BIT(21) | BIT(24)};
	fake_cpuid[1] = (struct corbel_cpuid){.function = 0x80000008, .eax = 40};
	fake_vm.id = 1;
	fake_vm.vcpu = fake_vm.few;
	fake_vm.ops = &fake_ops;
	fake_vm.has_lapic = true;
	fake_vm.bus_ns = 1;
	fake_vm.vcpu_count = fake_vm.vcpu_end = FAKE_VCPUS;
	fake_vm.bsp_apic_id = ids ? ids[0] : 0;
	for (i = 0; i < FAKE_VCPUS; i++) {
		struct vcpu *v = fake_vm.vcpu[i] = &fake_vcpu[i];

		v->vm = &fake_vm;
		v->p2m = &fake_vm.p2m;
		v->index = i;
		v->rflags = BIT(9);
		v->tsc_khz = tsc_khz;
		v->cpuid = fake_cpuid;
		v->cpuid_count = 2;
		lapic_init(v, ids ? ids[i] : i, true);
	}
}

#endif
