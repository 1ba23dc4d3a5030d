/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The virtual local APIC in both modes: registers, self-IPI, priorities, EOI, errors; the timer;
 * what the CPU does by itself.
 */
#include "guest.h"

#define V1 0x41
#define V2 0x52
#define V3 0x63

static bool exit_often; /* VM exits in between change nothing */

static void any_exit(void)
{
	u32 r[4];

	if (exit_often)
		cpuid(0, 0, r);
}

static void send_self(u8 vector)
{
	any_exit();
	if (me()->x2apic)
		wrmsr(0x83f, vector);
	else
		apic_icr(0, ICR_SELF | ICR_ASSERT | vector);
	any_exit();
}

static void clear_counts(void)
{
	memset((void *)me()->count, 0, sizeof(me()->count));
	me()->taken = 0;
}

/* Let in what waits. */
static void window(void)
{
	sti();
	nop();
	nop();
	cli();
}

static void check_delivery(void)
{
	clear_counts();
	send_self(V1);
	report(!me()->count[V1] && apic_bit(APIC_IRR, V1),
	       "a self-IPI waits in IRR while interrupts are off");
	window();
	report(me()->count[V1] == 1 && !apic_bit(APIC_IRR, V1) && !apic_bit(APIC_ISR, V1),
	       "it is taken once, and EOI clears ISR");
	apic_icr(me()->apic_id, ICR_ASSERT | V2);
	window();
	report(me()->count[V2] == 1, "an IPI to the own id arrives");
	apic_icr(0, ICR_ALL | ICR_ASSERT | V3);
	window();
	report(me()->count[V3] == 1, "an IPI to all, self included, arrives");
	send_self(V1);
	send_self(V1);
	window();
	window();
	report(me()->count[V1] == 2, "two IPIs of one vector before it is taken are one");
	__asm__ volatile("sti; nop; nop");
	send_self(V2);
	nop();
	cli();
	report(me()->count[V2] == 2, "a self-IPI with interrupts on is taken at once");
}

static void check_priorities(void)
{
	clear_counts();
	send_self(V1);
	send_self(V3);
	send_self(V2);
	window();
	report(me()->taken == 3 && me()->order[0] == V3 && me()->order[1] == V2 &&
		   me()->order[2] == V1,
	       "vectors that wait together are taken from the highest on");
	clear_counts();
	apic_write(APIC_TPR, V2 & 0xf0);
	send_self(V1);
	send_self(V2);
	send_self(V3);
	window();
	report(me()->taken == 1 && me()->count[V3] == 1,
	       "TPR holds back its own class and those below");
	report(apic_read(APIC_PPR) == (V2 & 0xf0), "PPR shows TPR");
	apic_write(APIC_TPR, 0);
	window();
	report(me()->taken == 3 && me()->order[1] == V2,
	       "what TPR held back comes when it is lowered");
	clear_counts();
	WRITE_CR(8, 6);
	send_self(V3);
	window();
	report(!me()->taken, "CR8 holds back as TPR does");
	sti();
	WRITE_CR(8, 5);
	nop();
	cli();
	report(me()->count[V3] == 1, "lowering CR8 lets a waiting vector in");
	WRITE_CR(8, 0);
}

static void check_in_service(void)
{
	clear_counts();
	me()->keep_in_service = true;
	send_self(V2);
	window();
	report(me()->count[V2] == 1 && apic_bit(APIC_ISR, V2) && apic_read(APIC_PPR) == (V2 & 0xf0),
	       "without EOI the vector stays in service, PPR shows it");
	send_self(V1);
	window();
	report(!me()->count[V1], "a lower vector waits for the EOI");
	send_self(V3);
	window();
	report(me()->count[V3] == 1 && apic_bit(APIC_ISR, V3),
	       "a higher one interrupts the handler");
	apic_write(APIC_EOI, 0);
	report(!apic_bit(APIC_ISR, V3) && apic_bit(APIC_ISR, V2),
	       "EOI ends the highest vector in service");
	me()->keep_in_service = false;
	apic_write(APIC_EOI, 0);
	window();
	report(me()->count[V1] == 1 && !apic_bit(APIC_ISR, V2),
	       "the lower one comes after the last EOI");
}

/* What waits and what is in service stays when the APIC is switched off by SVR, and on again. */
static void check_off_and_on(void)
{
	clear_counts();
	me()->keep_in_service = true;
	send_self(V2);
	apic_write(APIC_SVR, 0xff);
	window();
	apic_write(APIC_SVR, 0x1ff);
	send_self(V1);
	window();
	report(me()->count[V2] == 1 && !me()->count[V1],
	       "a vector taken while the APIC is off is in service when it is on");
	me()->keep_in_service = false;
	apic_write(APIC_EOI, 0);
	window();
	report(me()->count[V1] == 1, "till its EOI");
	me()->keep_in_service = true;
	send_self(V2);
	window();
	apic_write(APIC_SVR, 0xff);
	apic_write(APIC_EOI, 0);
	apic_write(APIC_SVR, 0x1ff);
	me()->keep_in_service = false;
	send_self(V1);
	window();
	report(me()->count[V2] == 2 && me()->count[V1] == 2,
	       "and one that has its EOI while the APIC is off is not");
}

static void check_errors(void)
{
	apic_write(APIC_ESR, 0);
	apic_write(APIC_ESR, 0);
	report(!apic_read(APIC_ESR), "ESR is clear at first");
	send_self(5);
	apic_write(APIC_ESR, 0);
	report(apic_read(APIC_ESR) & 0x20, "sending a vector below 16 is an error in ESR (%x)",
	       apic_read(APIC_ESR));
	apic_write(APIC_ESR, 0);
	clear_counts();
	apic_write(APIC_LVTERR, V1);
	send_self(5);
	window();
	report(me()->count[V1] == 1, "an error raises the error LVT's vector");
	apic_write(APIC_LVTERR, LVT_MASKED);
	apic_write(APIC_ESR, 0);
}

static void check_off(void)
{
	clear_counts();
	apic_write(APIC_SVR, 0xff);
	report(apic_read(APIC_LVTT) & LVT_MASKED, "switching off by SVR masks the LVTs");
	apic_write(APIC_LVTT, V1);
	report(apic_read(APIC_LVTT) & LVT_MASKED, "and they stay masked");
	send_self(V2);
	window();
	report(!me()->count[V2], "a switched-off APIC takes no interrupts");
	apic_write(APIC_SVR, 0x1ff);
	window();
	report(!me()->taken, "nor does it remember them");
}

static void nmi_self(void)
{
	clear_counts();
	apic_icr(me()->apic_id, ICR_ASSERT | ICR_NMI);
	for (u32 i = 0; i < 100 && !me()->count[2]; i++)
		nop();
	report(me()->count[2] == 1, "an NMI to the own id comes even with interrupts off");
}

static volatile u32 nmi_depth, nmi_max, nmi_runs;

static void nmi_nested(struct frame *f)
{
	nmi_depth++;
	nmi_runs++;
	if (nmi_depth > nmi_max)
		nmi_max = nmi_depth;
	if (nmi_runs == 1)
		apic_icr(me()->apic_id, ICR_ASSERT | ICR_NMI);
	for (u32 i = 0; i < 100; i++)
		nop();
	nmi_depth--;
}

static void check_nmi(void)
{
	nmi_self();
	nmi_depth = nmi_max = nmi_runs = 0;
	handler[2] = nmi_nested;
	apic_icr(me()->apic_id, ICR_ASSERT | ICR_NMI);
	for (u32 i = 0; i < 100 && nmi_runs < 2; i++)
		nop();
	handler[2] = NULL;
	report(nmi_runs == 2 && nmi_max == 1,
	       "an NMI in an NMI handler waits for its IRET (%u, depth %u)", nmi_runs, nmi_max);
}

/* ---- a level-triggered interrupt of a device: the HPET's timer 0, through the I/O APIC ---- */

#define HPET	   ((volatile u64 *)0xfed00000)
#define IOAPIC	   ((volatile u32 *)0xfec00000)
#define VEC_DEVICE 0x58
enum {
	HPET_CONFIG = 0x10 / 8,
	HPET_STATUS = 0x20 / 8,
	HPET_COUNTER = 0xf0 / 8,
	HPET_TIMER0 = 0x100 / 8
};

static volatile u32 device_count, device_isr;

static void device_handler(struct frame *f)
{
	device_count++;
	device_isr += apic_bit(APIC_ISR, VEC_DEVICE) && apic_bit(APIC_TMR, VEC_DEVICE);
	HPET[HPET_STATUS] = 1; /* takes its line back */
	apic_write(APIC_EOI, 0);
}

static u32 destination; /* with ICR_LOGICAL: a logical one */

static void route(u32 pin, u32 low)
{
	IOAPIC[0] = 0x11 + 2 * pin;
	IOAPIC[4] = destination << 24;
	IOAPIC[0] = 0x10 + 2 * pin;
	IOAPIC[4] = low | (destination & ICR_LOGICAL);
}

/*
 * How many of 20 come. The I/O APIC sends the next only when it has heard of the EOI: one EOI lost,
 * and there are no more. A machine that stands still while the timer is set may find the time
 * passed already, or passed between the two halves of the register, and send none or two: so a
 * second one is no fault, and it is set once more before the next is given up.
 */
static u32 try_level(void)
{
	/* the lowest may be the PIT's, too */
	u32 pin = 31 - (u32)__builtin_clz((u32)(HPET[HPET_TIMER0] >> 32));
	u64 step = 1000000000000ull / (HPET[0] >> 32); /* 1 ms */
	u32 come = 0;

	device_count = device_isr = 0;
	handler[VEC_DEVICE] = device_handler;
	route(pin, BIT(15) | VEC_DEVICE);
	HPET[HPET_TIMER0] = pin << 9 | BIT(2) | BIT(1);
	HPET[HPET_CONFIG] = HPET[HPET_CONFIG] | 1;
	for (u32 tries = 0; come < 20 && tries < 5; tries++) {
		u32 before = device_count;

		HPET[HPET_TIMER0 + 1] = HPET[HPET_COUNTER] + step;
		if (WAIT(device_count != before, 100)) {
			come++;
			tries = 0;
		}
	}
	HPET[HPET_TIMER0] = 0;
	HPET[HPET_STATUS] = 1; /* of one that arrived nowhere */
	route(pin, LVT_MASKED);
	handler[VEC_DEVICE] = NULL;
	return come;
}

static void check_level(void)
{
	u32 come;

	destination = me()->apic_id;
	come = try_level();
	report(
	    come == 20 && device_isr == device_count,
	    "a device's level interrupt comes again after each EOI (%u of 20, %u in service of %u)",
	    come, device_isr, device_count);
}

static u32 check_logical_device(void)
{
	destination = ICR_LOGICAL | 0x80;
	try_level();
	report(!device_count, "a device's interrupt to another logical id does not arrive");
	destination = ICR_LOGICAL | 1;
	return try_level();
}

static void common(void)
{
	check_delivery();
	check_priorities();
	check_in_service();
	check_off_and_on();
	check_errors();
	check_off();
	check_nmi();
	check_level();
}

void test_xapic(void)
{
	u64 val;
	u32 come;

	hc(CORBEL_HC_EVENT_BIND, me()->apic_id, 0); /* whose APIC goes off takes no events */
	report(apic_read(APIC_ID) >> 24 == 0 && (apic_read(APIC_VERSION) & 0xff) == 0x14 &&
		   (rdmsr(MSR_APIC_BASE) & 0xfffff900) == 0xfee00900,
	       "id, version, base, boot CPU (%x, %lx)", apic_read(APIC_VERSION),
	       rdmsr(MSR_APIC_BASE));
	common();
	apic_write(APIC_LDR, 0x01000000);
	apic_write(APIC_DFR, 0xffffffff);
	clear_counts();
	apic_icr(1, ICR_LOGICAL | ICR_ASSERT | V1);
	window();
	apic_icr(2, ICR_LOGICAL | ICR_ASSERT | V2);
	window();
	report(me()->count[V1] == 1 && !me()->count[V2], "logical destinations, flat model");
	come = check_logical_device();
	report(come == 20, "a device's, too (%u of 20)", come);
	apic_write(APIC_DFR, 0x0fffffff);
	apic_write(APIC_LDR, 0x21000000);
	apic_icr(0x21, ICR_LOGICAL | ICR_ASSERT | V1);
	apic_icr(0x11, ICR_LOGICAL | ICR_ASSERT | V2);
	window();
	report(me()->count[V1] == 2 && !me()->count[V2], "logical destinations, cluster model");
	apic_write(APIC_DFR, 0xffffffff);
	apic_write(APIC_ESR, 0);
	(void)apic_read(0x40);
	apic_write(APIC_ESR, 0);
	report(apic_read(APIC_ESR) & 0x80, "a reserved register is an error in ESR");
	apic_write(0x7c0, 1);
	report(rdmsr_try(0x802, &val) == GP && wrmsr_try(0x80b, 0) == GP,
	       "x2APIC MSRs are refused in xAPIC mode");
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) & ~BIT(11));
	report(XAPIC[APIC_ID / 4] == ~0u, "a disabled APIC's page reads as all ones");
	apic_setup(false);
	report(apic_read(APIC_SVR) == 0x1ff, "and it comes back");
}

void test_x2apic(void)
{
	static const u32 no_read[] = {0x80b, 0x83f, 0x800, 0x801, 0x804,
				      0x80e, 0x831, 0x840, 0x8ff};
	static const u32 no_write[] = {0x802, 0x803, 0x80a, 0x80d, 0x810, 0x820,
				       0x831, 0x839, 0x80e, 0x840, 0x8ff};
	u32 bad = 0, by_id;
	u64 val;

	hc(CORBEL_HC_EVENT_BIND, me()->apic_id, 0);
	apic_write(APIC_LDR, 0); /* an xAPIC's logical id is to be no help */
	apic_setup(true);
	report(rdmsr(0x802) == me()->apic_id && (rdmsr(0x803) & 0xff) == 0x14 && rdmsr(0x80d) == 1,
	       "id, version, logical id");
	common();
	exit_often = true;
	common();
	exit_often = false;
	clear_counts();
	apic_icr(1, ICR_LOGICAL | ICR_ASSERT | V1);
	apic_icr(0x10001, ICR_LOGICAL | ICR_ASSERT | V2);
	window();
	report(me()->count[V1] == 1 && !me()->count[V2], "logical destinations");
	by_id = check_logical_device();
	for (u32 i = 0; i < ARRAY_SIZE(no_read); i++)
		if (rdmsr_try(no_read[i], &val) != GP && ++bad)
			note("MSR %x can be read", no_read[i]);
	for (u32 i = 0; i < ARRAY_SIZE(no_write); i++)
		if (wrmsr_try(no_write[i], 0) != GP && ++bad)
			note("MSR %x can be written", no_write[i]);
	report(!bad, "registers that are not there, or only to be read or written, are refused");
	report(wrmsr_try(0x80b, 1) == GP && wrmsr_try(0x828, 1) == GP &&
		   wrmsr_try(0x808, 0x100) == GP && wrmsr_try(0x80f, BIT(32)) == GP &&
		   wrmsr_try(0x830, BIT(13)) == GP && wrmsr_try(0x830, BIT(20)) == GP &&
		   wrmsr_try(0x83f, 0x100) == GP,
	       "reserved bits are refused");
	report(wrmsr_try(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) & ~BIT(10)) == GP,
	       "there is no way back to xAPIC but through off");
	report(XAPIC[APIC_ID / 4] == ~0u, "the xAPIC page is not there in x2APIC mode");
	wrmsr(0x838, 0);
	report(wrmsr_try(0x832, V1) == -1 && rdmsr(0x832) == V1, "LVT timer can be written");
	apic_setup(false);
	report(XAPIC[APIC_SVR / 4] == 0x1ff, "off and on again, it is an xAPIC");
	apic_write(APIC_LDR, 0x01000000);
	apic_write(APIC_DFR, 0xffffffff);
	note("a device's interrupt by logical id comes %u of 20 times, and back in xAPIC mode %u",
	     by_id, check_logical_device());
	check_level();
}

/* ---- timer ---- */

static void check_one_shot(u32 vector)
{
	u32 count;
	u64 t;

	clear_counts();
	apic_write(APIC_LVTT, vector);
	apic_write(APIC_TDCR, 0xb);
	t = rdtsc();
	apic_write(APIC_TICR, 20000000); /* of 1 GHz: 20 ms */
	count = apic_read(APIC_TCCR);
	report(count <= 20000000, "the count begins at the initial count (%u)", count);
	delay_us(1000);
	report(apic_read(APIC_TCCR) < count, "it goes down");
	WAIT(me()->count[vector], 3000);
	t = (rdtsc() - t) * 1000 / tsc_khz;
	report(me()->count[vector] == 1 && t >= 19900,
	       "one-shot: comes after 20 ms, not before (%lu us)", t);
	report(!apic_read(APIC_TCCR), "the count stays 0");
	WAIT(false, 30);
	report(me()->count[vector] == 1, "and comes once");
	apic_write(APIC_TDCR, 0x0); /* by 2 */
	t = rdtsc();
	apic_write(APIC_TICR, 10000000);
	WAIT(me()->count[vector] == 2, 3000);
	t = (rdtsc() - t) * 1000 / tsc_khz;
	report(me()->count[vector] == 2 && t >= 19900, "the divider counts (%lu us)", t);
	/* A machine that stands still between the two writes lets it come: so once more. */
	for (u32 tries = 0; tries < 5; tries++) {
		clear_counts();
		t = rdtsc();
		apic_write(APIC_TICR, 10000000);
		apic_write(APIC_TICR, 0);
		t = (rdtsc() - t) * 1000 / tsc_khz;
		WAIT(false, 40);
		if (t < 20000)
			break;
	}
	report(!me()->count[vector], "initial count 0 stops it");
	apic_write(APIC_LVTT, LVT_MASKED | vector);
	apic_write(APIC_TICR, 1000);
	WAIT(false, 5);
	report(!me()->count[vector], "masked it is silent");
}

static void check_periodic(u32 vector)
{
	u32 n;
	u64 t;

	clear_counts();
	apic_write(APIC_TDCR, 0xb);
	apic_write(APIC_LVTT, LVT_PERIODIC | vector);
	t = rdtsc();
	apic_write(APIC_TICR, 5000000);
	WAIT(me()->count[vector] >= 10, 5000);
	t = (rdtsc() - t) * 1000 / tsc_khz;
	report(me()->count[vector] >= 10 && t >= 49500,
	       "periodic: ten ticks of 5 ms take 50 ms or more (%lu us)", t);
	apic_write(APIC_LVTT, LVT_MASKED | LVT_PERIODIC | vector);
	WAIT(false, 6);
	n = me()->count[vector];
	WAIT(false, 20);
	report(me()->count[vector] == n, "masked, the ticks end");
	apic_write(APIC_LVTT, LVT_PERIODIC | vector);
	WAIT(me()->count[vector] > n, 1000);
	report(me()->count[vector] > n, "unmasked, they go on");
	/*
	 * Ticks that could not be taken are one, not a burst. A machine that stands still in the
	 * window itself lets more come: so once more.
	 */
	for (u32 tries = 0; tries < 5; tries++) {
		delay_us(40000);
		n = me()->count[vector];
		t = rdtsc();
		window();
		if (rdtsc() - t < ms_to_tsc(5))
			break;
	}
	report(me()->count[vector] - n <= 2, "missed ticks do not come in a burst (%u)",
	       me()->count[vector] - n);
	WAIT(me()->count[vector] > n + 3, 1000);
	report(me()->count[vector] > n + 3, "after a pause without interrupts the ticks go on");
	apic_write(APIC_TICR, 0);
	apic_write(APIC_LVTT, LVT_MASKED);
	window(); /* the last one may be pending */
}

#define DEADLINE_MS 50 /* an emulator may stand still for a while between two instructions */

/*
 * The hypervisor's timer goes off before, as it has learnt that the way into the guest takes its
 * time.
 */
static void check_many_deadlines(u32 vector)
{
	u32 early = 0, n = 0;

	clear_counts();
	apic_write(APIC_LVTT, LVT_DEADLINE | vector);
	for (; n < 40; n++) {
		u64 t = rdtsc() + ms_to_tsc(1) / 4;

		wrmsr(0x6e0, t);
		WAIT(me()->count[vector] > n, 1000);
		if (me()->count[vector] != n + 1)
			break;
		early += rdtsc() < t;
	}
	report(n == 40 && !early, "of 40 deadlines in a row %u come, %u of them early", n, early);
	apic_write(APIC_LVTT, LVT_MASKED);
}

static void check_deadline(u32 vector)
{
	u64 t, late;

	clear_counts();
	apic_write(APIC_LVTT, LVT_DEADLINE | vector);
	report(apic_read(APIC_LVTT) == (LVT_DEADLINE | vector), "deadline mode can be set");
	t = rdtsc() + ms_to_tsc(DEADLINE_MS);
	wrmsr(0x6e0, t);
	report(rdmsr(0x6e0) == t, "the deadline reads back");
	WAIT(me()->count[vector], 3000);
	late = rdtsc() - t;
	report(me()->count[vector] == 1 && (s64)late >= 0,
	       "deadline: comes when the TSC is there, not before (%lu us late)",
	       late * 1000 / tsc_khz);
	report(!rdmsr(0x6e0), "the deadline reads 0 afterwards");
	wrmsr(0x6e0, rdtsc() - 1000);
	WAIT(me()->count[vector] == 2, 100);
	report(me()->count[vector] == 2, "a deadline in the past comes at once");
	wrmsr(0x6e0, rdtsc() + ms_to_tsc(DEADLINE_MS));
	wrmsr(0x6e0, 0);
	WAIT(false, 2 * DEADLINE_MS);
	report(me()->count[vector] == 2, "deadline 0 disarms");
	apic_write(APIC_TICR, 1000);
	report(!apic_read(APIC_TCCR) && !apic_read(APIC_TICR),
	       "the initial count is dead in deadline mode");
	wrmsr(0x6e0, rdtsc() + ms_to_tsc(DEADLINE_MS));
	apic_write(APIC_LVTT, vector);
	WAIT(false, 2 * DEADLINE_MS);
	report(me()->count[vector] == 2 && !rdmsr(0x6e0), "leaving deadline mode disarms");
	wrmsr(0x6e0, 1);
	WAIT(false, 2);
	report(!rdmsr(0x6e0) && me()->count[vector] == 2,
	       "the deadline MSR is dead in other modes");
	apic_write(APIC_LVTT, LVT_MASKED);
}

static void check_hlt(u32 vector)
{
	u64 t = rdtsc();
	u32 n;

	clear_counts();
	apic_write(APIC_LVTT, LVT_DEADLINE | vector);
	wrmsr(0x6e0, t + ms_to_tsc(20));
	sti_hlt();
	cli();
	t = (rdtsc() - t) * 1000 / tsc_khz;
	report(me()->count[vector] == 1 && t >= 20000, "HLT sleeps until the timer comes (%lu us)",
	       t);
	send_self(V2);
	sti_hlt(); /* STI's shadow: the interrupt must not be lost before HLT */
	cli();
	report(me()->count[V2] == 1, "an interrupt that waits already ends HLT at once");
	apic_icr(me()->apic_id, ICR_ASSERT | ICR_NMI);
	for (n = 0; n < 100 && !me()->count[2]; n++)
		nop();
	wrmsr(0x6e0, rdtsc() + ms_to_tsc(1));
	delay_us(3000);
	sti_hlt();
	cli();
	report(me()->count[vector] == 2, "one that came while interrupts were off, too");
	apic_write(APIC_LVTT, LVT_MASKED);
}

static void slow_handler(struct frame *f)
{
	u64 end = rdtsc() + ms_to_tsc(10);

	me()->count[f->vector]++;
	while (rdtsc() < end) /* without an exit */
		;
	apic_write(APIC_EOI, 0);
}

/*
 * Emulators that forget that an event has been delivered show it when the handler takes its time.
 */
static void check_delivered_once(u8 vector)
{
	u32 n;

	clear_counts();
	handler[vector] = slow_handler;
	for (n = 0; n < 50; n++) {
		send_self(vector);
		window();
	}
	handler[vector] = NULL;
	report(me()->count[vector] == n,
	       "%u interrupts are taken %u times, however long their handler takes", n,
	       me()->count[vector]);
}

void test_timer(void)
{
	check_delivered_once(0x75);
	check_one_shot(0x71);
	check_periodic(0x72);
	check_deadline(0x73);
	check_many_deadlines(0x73);
	check_hlt(0x74);
	apic_setup(true);
	check_one_shot(0x75);
	check_deadline(0x76);
	check_many_deadlines(0x76);
	check_periodic(0x77);
	check_hlt(0x78);
}

/*
 * ---- APIC virtualization, where the CPU has all of it: what it serves itself does not exit ----
 */

enum {
#define X(id, name) EXIT_##id,
	CORBEL_EXIT_NAMES
#undef X
};

static u64 exits_before[CORBEL_EXIT_STATS];

static u64 exits_since(u32 reason)
{
	return vcpu_stat(0)->exits[reason] - exits_before[reason];
}

static u64 apic_exits(void)
{
	return exits_since(EXIT_MSR_READ) + exits_since(EXIT_MSR_WRITE) + exits_since(EXIT_EOI) +
	       exits_since(EXIT_APIC_WRITE) + exits_since(EXIT_CR_ACCESS) +
	       exits_since(EXIT_IRQ_WINDOW);
}

static void begin_count(void)
{
	clear_counts();
	memcpy(exits_before, vcpu_stat(0)->exits, sizeof(exits_before));
}

void test_vid(void)
{
	u32 n, right = 0;

	apic_setup(true);
	begin_count();
	sti();
	for (n = 0; n < 1000; n++) {
		send_self(V1);
		right += me()->count[V1] == n + 1;
	}
	cli();
	report(right == 1000 && !apic_exits(),
	       "1000 self-IPIs are taken at once, and neither they nor their EOIs exit (%lu)",
	       apic_exits());
	begin_count();
	for (n = 0; n < 100; n++) {
		send_self(V1);
		send_self(V3);
		apic_write(APIC_TPR, V2 & 0xf0);
		send_self(V2);
		window();
		right += me()->taken == 3 * n + 1 && apic_bit(APIC_IRR, V2) &&
			 apic_read(APIC_PPR) == (V2 & 0xf0);
		WRITE_CR(8, 0);
		window();
		right += me()->taken == 3 * n + 3 && !apic_read(APIC_PPR);
	}
	report(right == 1200 && !apic_exits(),
	       "nor does waiting for interrupts to be let in, for TPR and CR8, nor looking at it "
	       "(%lu)",
	       apic_exits());
	begin_count();
	check_level();
	report(exits_since(EXIT_EOI) == 20, "the EOIs of 20 level interrupts do (%lu)",
	       exits_since(EXIT_EOI));
	begin_count();
	apic_write(APIC_LVTERR, V2);
	send_self(5);
	window();
	report(exits_since(EXIT_APIC_WRITE) == 1 && me()->count[V2] == 1,
	       "a self-IPI that is none does, and is an error");
	apic_write(APIC_LVTERR, LVT_MASKED);
}
