/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual local APIC: priorities, registers, modes, what is saved.
 * links: hv/guest/lapic.c hv/guest/lapic_regs.c hv/guest/lapic_ipi.c hv/guest/lapic_timer.c
 * hv/cpu/timer.c hv/lib/scale.c
 */
#include "lapic_regs.h"

static void test_priorities(void)
{
	fake_reset(NULL);
	CHECK(!lapic_set_irq(v0, 0x40, false) && lapic_pending(v0) < 0,
	      "a software-disabled APIC takes no fixed interrupt");
	enable_all(false);
	CHECK(lapic_set_irq(v0, 0x40, false) && lapic_pending(v0) == 0x40 && fake_notified[0] == 1,
	      "an enabled one does, and notifies");
	lapic_set_irq(v0, 0x91, false);
	lapic_set_irq(v0, 0x35, true);
	CHECK(lapic_pending(v0) == 0x91, "the highest vector comes first");
	CHECK(PANICS(lapic_accept(v0, 0x92)), "only one that was requested can be accepted");
	wr(v0, TPR, 0x90);
	CHECK(lapic_pending(v0) < 0 && lapic_get_cr8(v0) == 9, "TPR holds back its class");
	CHECK(!lapic_has_work(v0), "and such an interrupt does not end HLT");
	lapic_set_cr8(v0, 8);
	CHECK(lapic_pending(v0) == 0x91 && rd(v0, TPR) == 0x80 && rd(v0, PPR) == 0x80,
	      "CR8 is TPR[7:4]");
	CHECK(lapic_has_work(v0), "a deliverable interrupt ends HLT");
	v0->rflags = 0;
	CHECK(!lapic_has_work(v0), "not with IF clear");
	v0->rflags = BIT(9);
	lapic_accept(v0, 0x91);
	lapic_set_cr8(v0, 0);
	CHECK(rd(v0, PPR) == 0x90 && lapic_pending(v0) < 0,
	      "the vector in service holds back lower ones");
	lapic_set_irq(v0, 0x9f, false);
	CHECK(lapic_pending(v0) < 0, "and its own class");
	lapic_set_irq(v0, 0xa0, false);
	CHECK(lapic_pending(v0) == 0xa0, "a higher class nests");
	lapic_accept(v0, 0xa0);
	wr(v0, EOI, 0);
	CHECK(rd(v0, ISR + 0x40) == 1u << 17 && lapic_pending(v0) < 0,
	      "EOI ends the highest in service only");
	wr(v0, EOI, 0);
	CHECK(take(v0) == 0x9f && take(v0) == 0x40 && level_eoi == -1,
	      "then the others follow in order");
	CHECK(take(v0) == 0x35 && level_eoi == 0x35, "EOI of a level vector is reported");
	CHECK(take(v0) == -1 && !(v0->due & DUE_IRQ),
	      "in the end nothing is pending and the hint is gone");
	wr(v0, EOI, 0);
	CHECK(rd(v0, PPR) == 0, "EOI with nothing in service does nothing");
	lapic_set_irq(v0, 0x35, false);
	level_eoi = -1;
	CHECK(take(v0) == 0x35 && level_eoi == -1, "a vector that comes as edge later is edge");
	v0->due |= DUE_EXTINT;
	CHECK(lapic_extint_pending(v0),
	      "after reset the boot CPU takes the PIC's line through LINT0");
	fake_vcpu[1].due |= DUE_EXTINT;
	CHECK(!lapic_extint_pending(&fake_vcpu[1]), "others do not");
	wr(v0, LINT0, 0x10700);
	CHECK(!lapic_extint_pending(v0), "nor with LINT0 masked");
	lapic_msr_write(v0, MSR_BASE, 0xfee00100, false);
	CHECK(lapic_extint_pending(v0), "a disabled APIC lets it through");
}

static void test_registers(void)
{
	u32 i;

	fake_reset(NULL);
	CHECK(rd(v0, 0x30) == 0x50014 && rd(&fake_vcpu[3], 0x20) == 3u << 24 &&
		  rd(v0, DFR) == ~0u && rd(v0, SVR) == 0xff,
	      "reset values");
	wr(v0, LVT_T, 0x300f0);
	wr(v0, LVT_T, 0x200f0);
	CHECK(rd(v0, LVT_T) == 0x300f0, "LVTs stay masked while software-disabled");
	wr(v0, SVR, 0x1ff);
	wr(v0, LVT_T, 0xffffffff);
	CHECK(rd(v0, LVT_T) == 0x700ff, "an LVT takes its own bits only");
	wr(v0, LVT_E, 0xfe);
	wr(v0, SVR, 0xff);
	CHECK(rd(v0, LVT_E) == 0x100fe, "disabling masks LVTs");
	wr(v0, SVR, 0x1ff);
	wr(v0, LVT_E, 0xfe);
	wr(v0, 0x3f0, 1);
	CHECK(rd(v0, ESR) == 0 && lapic_pending(v0) == 0xfe,
	      "an illegal register raises LVT error");
	wr(v0, ESR, 0);
	CHECK(rd(v0, ESR) == 0x80, "ESR shows errors after a write");
	wr(v0, ESR, 0);
	CHECK(rd(v0, ESR) == 0, "and they are gone with the next");
	wr(v0, ICR, 0x4000 | 5);
	lapic_set_irq(v0, 3, false);
	wr(v0, ESR, 0);
	CHECK(rd(v0, ESR) == 0x60, "illegal vectors are noted when sent and when received");
	wr(v0, ICR2, 0x5a123456);
	CHECK(rd(v0, ICR2) == 0x5a000000, "ICR2 keeps the destination");
	wr(v0, TPR, 0x57);
	CHECK(lapic_msr_write(v0, MSR_X2(TPR), 0, false) == -EINVAL,
	      "x2APIC MSRs fault in xAPIC mode");
	for (i = 0; i < FAKE_VCPUS; i++)
		CHECK_QUIET(lapic_msr_write(&fake_vcpu[i], MSR_BASE,
					    fake_vcpu[i].lapic.base | 0xc00, false) == 0,
			    "x2APIC on");
	CHECK(guest_rdmsr(v0, MSR_X2(TPR)) == 0x57, "TPR survives the change of mode");
	CHECK(lapic_msr_write(v0, MSR_X2(EOI), 1, false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_X2(ESR), 1, false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_X2(TPR), 0x100, false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_X2(SVR), BIT(32), false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_X2(ICR), BIT(20), false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_X2(0x20), 0, false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_X2(DFR), 0, false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_X2(ICR2), 0, false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_X2(PPR), 0, false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_X2(ISR), 0, false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_X2(TMCCT), 0, false) == -EINVAL &&
		  lapic_msr_write(v0, 0x8ff, 0, false) == -EINVAL,
	      "x2APIC: reserved bits, read-only and missing registers fault on write");
	CHECK(guest_rdmsr(v0, MSR_X2(EOI)) == 0xbad && guest_rdmsr(v0, 0x83f) == 0xbad &&
		  guest_rdmsr(v0, MSR_X2(DFR)) == 0xbad && guest_rdmsr(v0, MSR_X2(ICR2)) == 0xbad &&
		  guest_rdmsr(v0, 0x8c0) == 0xbad,
	      "and on read");
	CHECK(guest_rdmsr(&fake_vcpu[5], MSR_X2(0x20)) == 5 &&
		  guest_rdmsr(&fake_vcpu[5], MSR_X2(LDR)) == 0x20,
	      "x2APIC id and logical id");
}

static void test_modes(void)
{
	const u64 base = 0xfee00900;

	fake_reset(NULL);
	CHECK(guest_rdmsr(v0, MSR_BASE) == base &&
		  guest_rdmsr(&fake_vcpu[1], MSR_BASE) == 0xfee00800,
	      "base after reset; only the boot CPU is BSP");
	CHECK(lapic_msr_write(v0, MSR_BASE, base | 1, false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_BASE, base | BIT(9), false) == -EINVAL &&
		  lapic_msr_write(v0, MSR_BASE, base | BIT(40), false) == -EINVAL,
	      "reserved bits of APIC_BASE fault");
	CHECK(lapic_msr_write(v0, MSR_BASE, 0xfee00500, false) == -EINVAL,
	      "EXTD without EN faults");
	CHECK(!lapic_msr_write(v0, MSR_BASE, base | 0x400, false), "xAPIC to x2APIC");
	CHECK(lapic_msr_write(v0, MSR_BASE, base, false) == -EINVAL, "x2APIC to xAPIC faults");
	CHECK(!lapic_set_base(v0, base, true), "but not for the host");
	CHECK(!lapic_set_base(v0, base | 0x400, true), "nor back");
	lapic_msr_write(v0, MSR_X2(SVR), 0x1ff, false);
	lapic_set_irq(v0, 0x50, false);
	CHECK(!lapic_msr_write(v0, MSR_BASE, 0xfee00100, false) && lapic_pending(v0) < 0,
	      "x2APIC to disabled");
	CHECK(!lapic_set_irq(v0, 0x50, false), "a disabled APIC takes nothing");
	CHECK(PANICS(rd(v0, SVR)) && PANICS(wr(v0, SVR, 0)), "and has no registers to be reached");
	CHECK(lapic_msr_write(v0, MSR_BASE, base | 0x400, false) == -EINVAL,
	      "disabled to x2APIC faults");
	CHECK(!lapic_msr_write(v0, MSR_BASE, base, false) && rd(v0, SVR) == 0xff,
	      "disabled to xAPIC, registers as after reset");
	lapic_msr_write(v0, MSR_BASE, base | 0x400, false);
	lapic_reset(v0, true);
	CHECK(guest_rdmsr(v0, MSR_BASE) == (base | 0x400), "INIT keeps the mode");
	lapic_reset(v0, false);
	CHECK(guest_rdmsr(v0, MSR_BASE) == base, "RESET does not");
	fake_cpuid[0].ecx = 0;
	CHECK(lapic_msr_write(v0, MSR_BASE, base | 0x400, false) == -EINVAL,
	      "x2APIC needs the CPUID bit");
	wr(v0, SVR, 0x1ff);
	wr(v0, LVT_T, 0x400e0);
	CHECK(rd(v0, LVT_T) == 0xe0, "TSC-deadline mode too");
	fake_vm.is_dom0 = true;
	level_eois = 0;
	lapic_set_irq(v0, 0x60, true);
	lapic_accept(v0, lapic_pending(v0));
	lapic_set_irq(v0, 0x70, true);
	lapic_reset(v0, true);
	CHECK(level_eois == 2, "reset of a dom0 vCPU gives up its level interrupts");
	wr(v0, LDR, 0x02345678);
	wr(v0, DFR, 0x0);
	CHECK(mirrored_ldr == 0x02000000 && mirrored_dfr == 0x0fffffff,
	      "dom0's logical id goes to the hardware");
}

/* The mode of the machine's APICs is that of dom0's boot vCPU, and of nobody else. */
static void test_hardware_mode(void)
{
	u64 base;

	fake_reset(NULL);
	CHECK(!lapic_msr_read(&fake_vcpu[1], MSR_BASE, &base) &&
		  !lapic_msr_write(&fake_vcpu[1], MSR_BASE, base | 0x400, false) && !hw_switches,
	      "a guest's x2APIC mode is its own");
	fake_reset(NULL);
	fake_vm.is_dom0 = true;
	CHECK(!lapic_msr_write(&fake_vcpu[1], MSR_BASE, base | 0x400, false) && !hw_switches,
	      "that of dom0's other vCPUs, too");
	lapic_msr_read(v0, MSR_BASE, &base);
	CHECK(!lapic_msr_write(v0, MSR_BASE, base | 0x400, false) && hw_x2apic && hw_switches == 1,
	      "dom0's boot vCPU takes the hardware along into x2APIC mode");
	CHECK(lapic_msr_write(v0, MSR_BASE, base, false) == -EINVAL && hw_x2apic,
	      "what is refused changes nothing");
	lapic_msr_write(v0, MSR_BASE, base & ~0x800ull, false);
	CHECK(hw_x2apic, "off it stays");
	lapic_msr_write(v0, MSR_BASE, base, false);
	CHECK(!hw_x2apic && hw_switches == 2, "and it comes back");
	quirks = BIT(QUIRK_APIC_OFF);
	lapic_msr_write(v0, MSR_BASE, base | 0x400, false);
	lapic_msr_write(v0, MSR_BASE, base & ~0x800ull, false);
	lapic_msr_write(v0, MSR_BASE, base, false);
	CHECK(hw_x2apic && !lapic_is_x2apic(&v0->lapic), "but where that would be its end");
	quirks = 0;
	hw_x2apic = true;
	lapic_reset(&fake_vcpu[1], false);
	CHECK(lapic_is_x2apic(&fake_vcpu[1].lapic),
	      "where the firmware left x2APIC on, dom0 starts in it");
	hw_x2apic = fake_vm.is_dom0 = false;
	lapic_reset(&fake_vcpu[1], false);
	CHECK(!lapic_is_x2apic(&fake_vcpu[1].lapic), "a guest does not");
}

#define ONE_SHOT 0xec /* LVT_TIMER */

static void test_state(void)
{
	static u8 a[1024], b[1024];
	struct vcpu *v1 = &fake_vcpu[1];
	u32 id;

	fake_reset(NULL);
	enable_all(false);
	wr(v0, LVT_T, ONE_SHOT);
	wr(v0, TDCR, 0xb);
	wr(v0, TMICT, 100000);
	wr(v0, TPR, 0x20);
	wr(v0, LDR, 0x40000000);
	wr(v0, ICR2, 0x33000000);
	lapic_set_irq(v0, 0x90, true);
	lapic_set_irq(v0, 0x40, false);
	lapic_accept(v0, 0x90);
	advance(40000);
	lapic_get_state(v0, a);
	lapic_reset(v0, false);
	CHECK(!lapic_set_state(v0, a), "saved state is accepted");
	lapic_get_state(v0, b);
	CHECK(!memcmp(a, b, 1024), "and reads back the same");
	CHECK(lapic_pending(v0) == -1, "what was in service is so again");
	level_eoi = -1;
	wr(v0, EOI, 0);
	CHECK(level_eoi == 0x90 && take(v0) == 0x40, "with its trigger mode, and what was pending");
	advance(59999);
	CHECK(take(v0) == -1, "the timer goes on from the current count");
	advance(1);
	CHECK(take(v0) == 0xec, "to its end");
	lapic_get_state(v0, a);
	lapic_set_state(v0, a);
	advance(1000000);
	CHECK(take(v0) == -1, "one that has run out is not started");
	CHECK(!memcmp(a + 0x20, "\0\0\0\0", 4) && a[0x30] == 0x14,
	      "id and version lie where KVM has them");

	memset(a + 0x100, 0, 0x180); /* ISR, TMR, IRR */
	memset(a + 0x100, 0xff, 2);
	memset(a + 0x180, 0xff, 2);
	memset(a + 0x200, 0xff, 2);
	lapic_set_state(v0, a);
	lapic_get_state(v0, b);
	CHECK(!b[0x100] && b[0x200] == 0xff && b[0x201] == 0xff && take(v0) == -1,
	      "requests below vector 16 stay and are not delivered; none is in service");
	level_eoi = -1;
	for (u32 vector = 0; vector < 16; vector++)
		lapic_ended(v0, vector);
	CHECK(level_eoi == -1 && !b[0x180] && !b[0x181],
	      "and none is level-triggered, by whatever way an EOI comes");
	lapic_set_irq(v0, 0x30, false);
	CHECK(take(v0) == 0x30 && take(v0) == -1, "others are");

	lapic_msr_write(v1, MSR_BASE, v1->lapic.base | APIC_BASE_X2APIC, false);
	lapic_msr_write(v1, MSR_X2(ICR), 0x1234500004077, false);
	lapic_get_state(v1, a);
	memcpy(&id, a + 0x20, 4);
	CHECK(id == 1 << 24 && !lapic_set_state(v1, a),
	      "the id is in xAPIC form for x2APIC too, as KVM_CAP_X2APIC_API is not there");
	CHECK(guest_rdmsr(v1, MSR_X2(ICR)) == 0x1234500004077, "ICR keeps 64 bits");
	id = 1;
	memcpy(a + 0x20, &id, 4);
	CHECK(!lapic_set_state(v1, a), "the x2APIC form of the id is understood");
	id = 2;
	memcpy(a + 0x20, &id, 4);
	CHECK(lapic_set_state(v1, a) == -EINVAL, "another vCPU's id is refused");
	v1->lapic.present = false;
	CHECK(PANICS(lapic_set_state(v1, b)) && !lapic_set_irq(v1, 0x40, false),
	      "no LAPIC: nothing to set, takes nothing");
}

static void test_auto_eoi(void)
{
	const u64 some[4] = {1ull << 0x30, 1ull << 0x10}, none[4] = {0}, bad[4] = {1ull << 15};
	u32 *word = (u32 *)&fake_memory[0x100];

	fake_reset(NULL);
	enable_all(false);
	CHECK(PANICS(lapic_set_auto_eoi(v0, some)), "how EOIs are is said of a stopped vCPU");
	v0->stopped = VCPU_CLAIMED;
	lapic_set_pv_eoi(v0, 0x101);
	CHECK(lapic_set_auto_eoi(v0, bad) == -EINVAL && !lapic_set_auto_eoi(v0, some) &&
		  v0->lapic.hw_stale,
	      "auto-EOI is of vectors");
	lapic_set_irq(v0, 0x50, false);
	lapic_accept(v0, lapic_pending(v0));
	CHECK(rd(v0, ISR + 0x20) == 0 && rd(v0, IRR + 0x20) == 0 && rd(v0, PPR) == 0 && !*word,
	      "a vector with auto-EOI is accepted, and not in service");
	lapic_set_irq(v0, 0x51, false);
	lapic_accept(v0, lapic_pending(v0));
	CHECK(rd(v0, PPR) == 0x50, "its neighbour is");
	lapic_set_irq(v0, 0x70, false);
	lapic_accept(v0, lapic_pending(v0));
	CHECK(rd(v0, PPR) == 0x70, "as is the one of the same number in the next word");
	wr(v0, EOI, 0);
	wr(v0, EOI, 0);
	CHECK(rd(v0, PPR) == 0, "these need their EOIs");
	lapic_msr_write(v0, MSR_BASE, v0->lapic.base | APIC_BASE_X2APIC, false);
	CHECK(!lapic_is_direct(&v0->lapic), "hardware that delivers knows of no auto-EOI");
	CHECK(!lapic_set_auto_eoi(v0, none) && lapic_is_direct(&v0->lapic), "without it does");
	lapic_set_irq(v0, 0x50, false);
	lapic_accept(v0, lapic_pending(v0));
	CHECK(v0->lapic.isr_top == 0x50, "and the vector is like all others");
}

static void test_pv_eoi(void)
{
	u32 *word = (u32 *)&fake_memory[0x100];

	fake_reset(NULL);
	enable_all(false);
	CHECK(lapic_set_pv_eoi(v0, 0x103) == -EINVAL && lapic_set_pv_eoi(v0, 1ull << 60) == -EINVAL,
	      "a bad address faults");
	CHECK(!lapic_set_pv_eoi(v0, 0x101), "a good one does not");
	lapic_set_irq(v0, 0x50, false);
	lapic_accept(v0, lapic_pending(v0));
	CHECK(*word == 1, "a lone vector needs no EOI");
	*word = 0;
	CHECK(rd(v0, PPR) == 0, "the guest's clearing the bit is an EOI");
	lapic_set_irq(v0, 0x50, false);
	lapic_set_irq(v0, 0x51, false);
	lapic_accept(v0, lapic_pending(v0));
	CHECK(*word == 0, "not offered when another waits");
	wr(v0, EOI, 0);
	lapic_accept(v0, lapic_pending(v0));
	CHECK(*word == 1, "but for the last");
	lapic_set_irq(v0, 0x40, false);
	CHECK(lapic_pending(v0) == -1 && *word == 0, "taken back when one comes");
	wr(v0, EOI, 0);
	CHECK(lapic_pending(v0) == 0x40, "which then follows the real EOI");
	lapic_accept(v0, 0x40);
	lapic_set_irq(v0, 0x80, false);
	lapic_accept(v0, lapic_pending(v0));
	CHECK(*word == 1, "offered for the nested one");
	*word = 0;
	wr(v0, EOI, 0);
	CHECK(rd(v0, PPR) == 0, "a skipped EOI and then a real one end both");
	lapic_set_irq(v0, 0x50, true);
	lapic_accept(v0, lapic_pending(v0));
	CHECK(*word == 0, "not offered for level vectors");
	wr(v0, EOI, 0);
	lapic_set_irq(v0, 0x50, false);
	lapic_accept(v0, lapic_pending(v0));
	fake_unmapped = true;
	lapic_set_irq(v0, 0x45, false);
	CHECK(lapic_pending(v0) == 0x45, "a word that went away counts as an EOI");
	lapic_accept(v0, 0x45);
	fake_unmapped = false;
	CHECK(*word == 1, "(the guest's first EOI will be of the word)");
	*word = 0;
	wr(v0, EOI, 0);
	CHECK(rd(v0, PPR) == 0, "and EOIs and vectors still match");
	level_eois = 0;
	lapic_set_irq(v0, 0x50, false);
	lapic_accept(v0, lapic_pending(v0));
	*word = 0;
	lapic_set_irq(v0, 0x50, true);
	CHECK(lapic_pending(v0) == 0x50 && !level_eois,
	      "an edge that has been ended without is told nobody, though the next is a level");
}

/* Events come by fixed vectors: a kernel that cannot take them any more has ended. */
static void test_switched_off(void)
{
	fake_reset(NULL);
	enable_all(false);
	kernels_ended = 0;
	wr(v0, SVR, 0xff);
	wr(v0, SVR, 0x1ff);
	CHECK(!kernels_ended, "a CPU to which no event is bound may switch its APIC off and on");
	v0->event_vector = 0x40;
	wr(v0, SVR, 0x1f0);
	CHECK(!kernels_ended, "one that takes events may change its spurious vector");
	wr(v0, SVR, 0xff);
	CHECK(kernels_ended == 1, "with its APIC goes its kernel");
	v0->event_vector = 0;
}

int main(void)
{
	test_switched_off();
	test_priorities();
	test_registers();
	test_modes();
	test_hardware_mode();
	test_state();
	test_auto_eoi();
	test_pv_eoi();
	return test_end();
}
