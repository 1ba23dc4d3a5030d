/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Messages between virtual local APICs, and of devices to them.
 * links: hv/guest/lapic.c hv/guest/lapic_regs.c hv/guest/lapic_ipi.c hv/guest/lapic_timer.c
 * hv/cpu/timer.c hv/lib/scale.c
 */
#include "lapic_regs.h"

/* Which vCPUs have vector 0x77 pending, which is then taken */
static u32 got(void)
{
	u32 i, mask = 0;

	for (i = 0; i < FAKE_VCPUS; i++)
		while (take(&fake_vcpu[i]) >= 0)
			mask |= 1u << i;
	return mask;
}

static u32 ipi(u32 icr, u32 dest)
{
	wr(v0, ICR2, dest << 24);
	wr(v0, ICR, icr);
	return got();
}

static u32 ipi_x2(u32 icr, u32 dest)
{
	CHECK_QUIET(!lapic_msr_write(v0, MSR_X2(ICR), (u64)dest << 32 | icr, false),
		    "x2APIC ICR write");
	return got();
}

static struct vcpu *alone(u64 address, u32 data)
{
	return lapic_msi_target(&fake_vm, address, data, false);
}

/* Whom a device's interrupt may be posted to; all are in x2APIC mode. */
static void check_alone(void)
{
	u64 cluster = 0xfee00004 | 0x100ull << 40, extended = 0x10000000000 | 0xfee2c000;

	CHECK(alone(0xfee01000, 0x77) == &fake_vcpu[1] && alone(0xfee01000, 0x10) &&
		  alone(0xfee01000, 0x177) == &fake_vcpu[1] &&
		  alone(extended, 0x77) == &fake_vcpu[7],
	      "a message to one vCPU may be posted");
	CHECK(alone(cluster | 2 << 12, 0x77) == &fake_vcpu[5] &&
		  alone(cluster | 2 << 12, 0x177) == &fake_vcpu[5],
	      "by a logical id, too");
	CHECK(!alone(0xfee63000, 0x77) && !alone(0xfeeff000, 0x77) &&
		  !alone(cluster | 3 << 12, 0x77) && !alone(cluster | 3 << 12, 0x177),
	      "not one to nobody, to several, or to all");
	CHECK(!alone(0xfee01000, 0x0f) && !alone(0xfee01000, 0x8077) && !alone(0xfee01000, 0x277) &&
		  !alone(0xfee01000, 0x477) && !alone(0xfee01000, 0x577) &&
		  !alone(0xfee01000, 0x677) && !alone(0xfee01000, 0x777),
	      "nor what is no vector, comes by level, or is SMI, NMI, INIT, SIPI, ExtINT");
	CHECK(!got(), "and nobody has had one");
}

static void test_ipi(void)
{
	static const u32 ids[FAKE_VCPUS] = {0, 1, 2, 3, 0x10, 0x11, 0x12, 300};
	struct apic_msg m = {.vector = 0x77, .mode = 1, .logical = true, .dest = 0x0f};
	u32 i, all = 0xff, first, second;

	fake_reset(NULL);
	enable_all(false);
	CHECK(ipi(0x4077, 3) == 8, "physical destination");
	CHECK(fake_vcpu[3].sched.asked && !fake_vcpu[0].sched.asked,
	      "the scheduler is told who has been asked");
	CHECK(ipi(0x4077, 77) == 0, "nobody there");
	CHECK(ipi(0x4077, 0xff) == all, "physical broadcast");
	CHECK(ipi(0x44077, 0) == 1 && ipi(0x84077, 0) == all && ipi(0xc4077, 0) == (all & ~1u),
	      "shorthands self, all, others");
	for (i = 0; i < FAKE_VCPUS; i++)
		wr(&fake_vcpu[i], LDR, 1u << (24 + i));
	CHECK(ipi(0x4877, 0x81) == 0x81 && ipi(0x4877, 0xff) == all, "logical, flat");
	for (i = 0; i < FAKE_VCPUS; i++) {
		wr(&fake_vcpu[i], DFR, 0x0fffffff);
		wr(&fake_vcpu[i], LDR, (i / 4) << 28 | 1u << (24 + i % 4));
	}
	CHECK(ipi(0x4877, 0x15) == 0x50 && ipi(0x4877, 0x03) == 3 && ipi(0x4877, 0xff) == all &&
		  ipi(0x4877, 0x21) == 0,
	      "logical, cluster");
	for (i = 0; i < FAKE_VCPUS; i++)
		fake_vcpu[i].sched.asked = false;
	CHECK(lapic_send(&fake_vm, &m, NULL) == 1, "lowest priority goes to one");
	first = got();
	m.vector = 0x78;
	lapic_send(&fake_vm, &m, NULL);
	second = got();
	CHECK(first != second && (first & 0xf) == first && !(first & (first - 1)),
	      "of the targets, another for another vector");
	wr(&fake_vcpu[1], SVR, 0xff);
	for (m.vector = 0x70, i = 0; m.vector < 0x78; m.vector++) {
		lapic_send(&fake_vm, &m, NULL);
		i |= got();
	}
	CHECK(i == 0xd, "never to a disabled one");
	CHECK(!fake_vcpu[1].sched.asked && !fake_vcpu[2].sched.asked,
	      "a device asks for no answer");
	wr(v0, ICR2, 2 << 24);
	wr(v0, ICR, 0x4400);
	wr(v0, ICR2, 3 << 24);
	wr(v0, ICR, 0xc500);
	wr(v0, ICR2, 4 << 24);
	wr(v0, ICR, 0x8500);
	wr(v0, ICR2, 5 << 24);
	wr(v0, ICR, 0x469a);
	CHECK(fake_requests[2] == DUE_NMI && fake_requests[3] == DUE_INIT &&
		  fake_requests[4] == 0 && fake_requests[5] == DUE_SIPI &&
		  fake_vcpu[5].sipi_vector == 0x9a,
	      "NMI, INIT, INIT de-assert (nothing), SIPI");
	CHECK(lapic_send_msi(&fake_vm, 0xfee06000, 0xc077, false) == 1 && got() == 0x40,
	      "MSI, physical");
	CHECK(lapic_send_msi(&fake_vm, 0xfee1500c, 0x77, false) == 1,
	      "MSI, logical with redirection hint");
	got();
	CHECK(lapic_send_msi(&fake_vm, 0xfee63000, 0x77, false) == 0, "MSI to nobody");
	CHECK(!lapic_bit(fake_vcpu[6].lapic.tmr, 0x78), "an edge is none to TMR");
	fake_vm.eoi_mask[1] = BIT(0x78 % 64);
	CHECK(lapic_send_msi(&fake_vm, 0xfee06000, 0x78, false) == 1 &&
		  lapic_bit(fake_vcpu[6].lapic.tmr, 0x78) &&
		  lapic_send_msi(&fake_vm, 0xfee06000, 0x79, false) == 1 &&
		  !lapic_bit(fake_vcpu[6].lapic.tmr, 0x79),
	      "but one whose EOI is wanted");
	fake_vm.eoi_mask[1] = 0;
	got();

	fake_reset(ids);
	enable_all(true);
	CHECK(ipi_x2(0x4077, 300) == 0x80 && ipi_x2(0x4077, 0xff) == 0 &&
		  ipi_x2(0x4077, ~0u) == all,
	      "x2APIC physical and broadcast");
	CHECK(ipi_x2(0x4877, 0x10005) == 0x50 && ipi_x2(0x4877, 0x00009) == 9, "x2APIC logical");
	CHECK(ipi_x2(0x4877, 0x121000) == 0x80, "also in a high cluster");
	CHECK(ipi_x2(0xc4077, 0) == (all & ~1u), "x2APIC shorthand");
	CHECK(!lapic_msr_write(v0, 0x83f, 0x77, false) && got() == 1, "self-IPI register");
	CHECK(lapic_msr_write(v0, 0x83f, 0x177, false) == -EINVAL, "whose reserved bits fault");
	CHECK(lapic_send_msi(&fake_vm, 0x10000000000 | 0xfee2c000, 0x77, false) == 1 &&
		  got() == 0x80,
	      "MSI with extended destination");
	CHECK(lapic_send_msi(&fake_vm, 0xfeeff000, 0x77, false) == 8 && got() == all &&
		  lapic_send_msi(&fake_vm, 0xfeeff000, 0x77, true) == 0 && !got(),
	      "an MSI to 255 is a broadcast, but where the VMM wants to have such an id");
	lapic_msr_write(&fake_vcpu[1], MSR_BASE, 0xfee00000, false);
	lapic_msr_write(&fake_vcpu[1], MSR_BASE, 0xfee00800, false);
	wr(&fake_vcpu[1], SVR, 0x1ff);
	CHECK(lapic_send_msi(&fake_vm, 0xfeeff000, 0x77, true) == 1 && got() == 2,
	      "to LAPICs in xAPIC mode it is one still");
	CHECK(!alone(0xfee01000, 0x77),
	      "one in xAPIC mode, whose ids may change, is posted to by none");
	lapic_msr_write(&fake_vcpu[1], MSR_BASE, 0xfee00c00, false);
	check_alone();
	CHECK(guest_rdmsr(v0, MSR_X2(ICR)) == 0xc4077, "ICR reads back");
	fake_vm.vcpu[2] = NULL;
	fake_vm.vcpu_count--;
	CHECK(ipi_x2(0x84077, 0) == (all & ~4u), "a vCPU that is gone leaves a hole");
}

static void test_ids(void)
{
	struct vcpu *v2 = &fake_vcpu[2];
	static u8 state[1024];

	fake_reset(NULL);
	enable_all(false);
	wr(v2, 0x20, 0x22abcdef);
	CHECK(rd(v2, 0x20) == 0x22000000, "a guest gives an xAPIC another id");
	CHECK(ipi(0x4077, 0x22) == 4 && ipi(0x4077, 2) == 0 && ipi(0x4077, 3) == 8,
	      "by which interrupts find it, and by its old one no more");
	wr(&fake_vcpu[5], 0x20, 0x22000000);
	CHECK(ipi(0x4077, 0x22) == 0x24, "two of one id both take them");
	lapic_get_state(v2, state);
	CHECK(state[0x23] == 0x22, "KVM_GET_LAPIC tells it");
	lapic_reset(v2, true);
	CHECK(rd(v2, 0x20) == 0x22000000, "INIT keeps it");
	lapic_reset(v2, false);
	CHECK(rd(v2, 0x20) == 0x2000000, "RESET does not");
	CHECK(!lapic_set_state(v2, state) && rd(v2, 0x20) == 0x22000000, "KVM_SET_LAPIC sets it");
	wr(v2, SVR, 0x1ff);
	lapic_msr_write(v2, MSR_BASE, 0xfee00d00, false);
	CHECK(guest_rdmsr(v2, MSR_X2(0x20)) == 2 && ipi(0x4077, 2) == 4 &&
		  ipi(0x4077, 0x22) == 0x20,
	      "that of x2APIC mode is fixed");
	lapic_msr_write(v2, MSR_BASE, 0xfee00100, false);
	lapic_msr_write(v2, MSR_BASE, 0xfee00900, false);
	CHECK(rd(v2, 0x20) == 0x2000000, "and of it xAPIC mode begins again");
	fake_vm.is_dom0 = true;
	wr(v2, 0x20, 0x22000000);
	CHECK(rd(v2, 0x20) == 0x2000000, "dom0's is the hardware's");
	fake_reset(NULL);
	enable_all(false);
	fake_vcpu[7].lapic.id = 300;
	fake_vm.apic_ids_moved = true;
	lapic_msr_write(v0, MSR_BASE, 0xfee00d00, false);
	CHECK(ipi_x2(0x4077, 300) == 0x80, "an id that no xAPIC can have stays, to start it by");
}

int main(void)
{
	test_ipi();
	test_ids();
	return test_end();
}
