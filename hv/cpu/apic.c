/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SDM "Advanced Programmable Interrupt Controller (APIC)". Registers are named by their xAPIC
 * offsets.
 */
#include "hv/cpu/apic.h"
#include "boot/options.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/cpu/time.h"
#include "hv/cpu/ucode.h"
#include "hv/lib/io.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/scale.h"
#include "hv/mm/mm.h"

static volatile u8 *regs; /* for xAPIC mode */
static bool wanted;	  /* x2APIC mode: all CPUs are in it, or about to be */
static bool deadline;	  /* set once, by the boot CPU */
static bool pmi_open;	  /* set by the first CPU that counts: each one's does */
static u32 thermal_lvt;	  /* set by the boot CPU: all have it */
static u64 ticks_mul;	  /* timer ticks in a TSC tick, 32 fraction bits; without TSC deadline */

static u32 apic_read(u32 reg)
{
	if (this_cpu()->x2apic)
		return rdmsr(MSR_X2APIC + reg / 16);
	return mmio_read32(regs + reg);
}

static void apic_write(u32 reg, u32 val)
{
	if (this_cpu()->x2apic)
		wrmsr(MSR_X2APIC + reg / 16, val);
	else
		mmio_write32(regs + reg, val);
}

u32 apic_id_self(void)
{
	struct cpuid_regs l = cpuid_read(1, 0);

	if (l.c & CPUID_1C_X2APIC && rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC)
		return rdmsr(MSR_X2APIC + APIC_ID / 16);
	return l.b >> 24;
}

bool apic_is_x2apic(void)
{
	return this_cpu()->x2apic;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

void apic_open_pmi(void)
{
	WRITE_ONCE(pmi_open, true);
	apic_write(APIC_LVT_PERF, VEC_PMI);
}

bool apic_test(u32 reg, u8 vector)
{
	return apic_read(reg + vector / 32 * 16) & BIT(vector % 32);
}

/* ---- interrupts to other CPUs ---- */

#define ICR_SPINS 1000000u /* reads; what is sent is gone after microseconds */

static bool icr_stuck; /* an IPI was pending for ever: no more waiting */

static void wait_icr(void)
{
	u32 spins = 0;

	while (apic_read(APIC_ICR) & ICR_PENDING && !READ_ONCE(icr_stuck)) {
		if (++spins == ICR_SPINS)
			WRITE_ONCE(icr_stuck, true);
		cpu_relax();
	}
}

/* Not where it is found out, which may be in panic(). */
static void tell_stuck(void)
{
	static bool told;

	if (!icr_stuck || told)
		return;
	told = true;
	log_err("CPU %u: the local APIC does not send an interrupt to another CPU; reset the "
		"firmware's settings, or report "
		"this machine",
		this_cpu()->index);
}

static void send_icr(u32 apic_id, u32 icr)
{
	icr |= ICR_ASSERT;
	if (this_cpu()->x2apic) {
		/*
		 * Unlike a store to the APIC's page, WRMSR does not wait for earlier ones. SDM
		 * "x2APIC Register Access".
		 */
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(MSR_X2APIC + APIC_ICR / 16, (u64)apic_id << 32 | icr);
		return;
	}
	wait_icr();
	apic_write(APIC_ICR_HIGH, apic_id << 24);
	apic_write(APIC_ICR, icr);
}

void apic_send_ipi(u32 apic_id, u8 vector)
{
	send_icr(apic_id, vector);
	tell_stuck();
}

static void wait_xapic_icr(void)
{
	for (u32 i = 0;
	     i < ICR_SPINS && mmio_read32(regs + APIC_ICR) & ICR_PENDING && !READ_ONCE(icr_stuck);
	     i++)
		cpu_relax();
}

/* The CPU itself knows its mode at any moment; this_cpu()->x2apic may be about to follow. */
void apic_kick_from_nmi(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);

	if (base & APIC_BASE_X2APIC) {
		wrmsr(MSR_X2APIC + APIC_SELF_IPI / 16, VEC_KICK);
	} else if (base & APIC_BASE_ENABLE && regs) {
		/* The other half of the ICR, which the interrupted code may have set, stays. */
		wait_xapic_icr();
		mmio_write32(regs + APIC_ICR, ICR_SELF | ICR_ASSERT | VEC_KICK);
		wait_xapic_icr();
	}
}

void apic_send_init(u32 apic_id)
{
	send_icr(apic_id, ICR_INIT);
	tell_stuck();
}

void apic_send_sipi(u32 apic_id, u8 page)
{
	send_icr(apic_id, ICR_STARTUP | page);
}

void apic_stop_others(void)
{
	if (cpu_count > 1)
		send_icr(0, ICR_NMI | ICR_ALL_BUT_SELF);
}

void apic_set_logical(u32 ldr, u32 dfr)
{
	if (this_cpu()->x2apic)
		return;
	apic_write(APIC_DFR, dfr | 0x0fffffff);
	apic_write(APIC_LDR, ldr & 0xff000000);
}

static void log_error(u8 vector)
{
	static u32 told;

	apic_write(APIC_ESR, 0);
	if (told++ < 8)
		log_warn("CPU %u: local APIC error, status %x", this_cpu()->index,
			 apic_read(APIC_ESR));
	apic_eoi();
}

bool apic_end_stray(u8 vector)
{
	static u32 times;
	u32 n;

	if (!regs || !apic_test(APIC_ISR, vector))
		return false;
	apic_eoi();
	n = __atomic_add_fetch(&times, 1, __ATOMIC_RELAXED);
	if (!(n & (n - 1)))
		log_warn("CPU %u: a device raises vector %x, which is nobody's: ignored, %u times "
			 "by now",
			 this_cpu()->index, vector, n);
	return true;
}

static void only_eoi(u8 vector)
{
	apic_eoi();
}

/* ---- the timer ---- */

void apic_timer_arm(u64 tsc)
{
	u64 now, ticks = 1;

	BUG_ON(!tsc);
	if (deadline) {
		wrmsr(MSR_TSC_DEADLINE, tsc);
		return;
	}
	now = rdtsc();
	if (tsc > now)
		ticks += mul_shift(tsc - now, ticks_mul, 32);
	/* what is too far off fires early */
	apic_write(APIC_TIMER_INIT, MIN(ticks, UINT32_MAX));
}

/* Count timer ticks over some time of the TSC. */
static void measure_timer(void)
{
	u64 start, span;
	u32 left;

	apic_write(APIC_LVT_TIMER, LVT_MASKED | VEC_TIMER);
	apic_write(APIC_TIMER_DIV, TIMER_DIV_1);
	apic_write(APIC_TIMER_INIT, UINT32_MAX);
	start = rdtsc();
	udelay(4000);
	left = apic_read(APIC_TIMER_COUNT);
	span = rdtsc() - start;
	apic_write(APIC_TIMER_INIT, 0);
	ticks_mul = ((u64)(UINT32_MAX - left) << 32) / span;
	if (!left || !ticks_mul)
		boot_fail("the local APIC's timer does not run; reset the firmware's settings, or "
			  "report this machine");
	log_debug("APIC timer %lu kHz", ticks_mul * tsc_khz >> 32);
}

/* ---- set-up ---- */

/*
 * Intel's cores from Haswell to Kaby Lake: where TSC_ADJUST has been written, by us or the
 * firmware, deadlines are missed, until microcode of such a revision. Their specification updates
 * have it under "TSC deadline". Revision 0 is an emulator's.
 */
static bool misses_deadlines(u32 signature, u32 revision)
{
	static const struct {
		u16 core, steppings; /* signature / 16 of family 6, and a bit for each */
		u32 good;
	} cores[] = {
	    {0x306c, 0xffff, 0x22},	  {0x306d, 0xffff, 0x25},
	    {0x306f, BIT(2), 0x3a},	  {0x306f, BIT(4), 0x0f},
	    {0x4065, 0xffff, 0x20},	  {0x4066, 0xffff, 0x17},
	    {0x4067, 0xffff, 0x17},	  {0x406e, 0xffff, 0xb2},
	    {0x406f, 0xffff, 0x0b000020}, {0x5065, BIT(3), 0x01000136},
	    {0x5065, BIT(4), 0x02000014}, {0x5066, BIT(2), 0x11},
	    {0x5066, BIT(3), 0x0700000e}, {0x5066, BIT(4), 0x0f00000c},
	    {0x5066, BIT(5), 0x0e000003}, {0x506e, 0xffff, 0xb2},
	    {0x806e, 0xffff, 0x52},	  {0x906e, 0xffff, 0x52},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cores); i++)
		if (signature >> 4 == cores[i].core && cores[i].steppings & BIT(signature & 15))
			return revision && revision < cores[i].good;
	return false;
}

static bool has_deadline(const struct cpuid_regs *l)
{
	if (!(l->c & CPUID_1C_TSC_DEADLINE) || cap_masked("tsc-deadline"))
		return false;
	if (l->c & CPUID_1C_HYPERVISOR || !misses_deadlines(l->a, ucode_revision()))
		return true;
	log_warn("the APIC's deadlines are not used: this CPU's microcode misses some; update it");
	return false;
}

static void find_apic(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);
	struct cpuid_regs l = cpuid_read(1, 0);

	if (!(l.d & CPUID_1D_APIC))
		boot_fail("this CPU has no local APIC; switch the APIC on in the firmware set-up");
	wanted = l.c & CPUID_1C_X2APIC && base & APIC_BASE_X2APIC;
	deadline = has_deadline(&l);
	regs = mm_map_mmio(base & GENMASK(51, 12), PAGE_SIZE);
	if (!regs)
		boot_fail("no memory to map the local APIC; give the hypervisor more with option "
			  "hvmem=");
}

/*
 * Into the mode wanted. Back from x2APIC mode the way leads through "off", which resets all
 * registers; where the firmware has locked that way the APIC stays as it is. SDM "x2APIC State
 * Transitions", "Legacy xAPIC disable".
 */
static void enable_apic(void)
{
	u64 base = rdmsr(MSR_APIC_BASE), off = base & ~(APIC_BASE_ENABLE | APIC_BASE_X2APIC);

	if (wanted) {
		base |= APIC_BASE_ENABLE | APIC_BASE_X2APIC;
		wrmsr(MSR_APIC_BASE, base);
		wrmsr(MSR_APIC_BASE, base); /* for an emulator: hv/guest/quirks.c */
	} else if (!(base & APIC_BASE_X2APIC) || !wrmsr_safe(MSR_APIC_BASE, off)) {
		wrmsr(MSR_APIC_BASE, off | APIC_BASE_ENABLE);
	}
	this_cpu()->x2apic = rdmsr(MSR_APIC_BASE) & APIC_BASE_X2APIC;
}

/* Interrupts of the firmware or of a kernel before us may still be in service. */
static void drain_isr(void)
{
	for (u32 i = 0; i < 256; i++) {
		u32 any = 0;

		for (u32 r = 0; r < 8; r++)
			any |= apic_read(APIC_ISR + r * 16);
		if (!any)
			return;
		apic_eoi();
	}
	log_warn("CPU %u: interrupts from before stay in service, less urgent ones are lost; "
		 "report this machine",
		 this_cpu()->index);
}

/*
 * Mask what is not ours. That includes the 8259s' virtual wire (ExtINT on LINT0): they are
 * acknowledged the moment the CPU takes the interrupt, whatever dom0's IF says, and while dom0 sets
 * them up their vectors are those of exceptions. dom0 has the IOAPIC.
 */
static void init_lvts(void)
{
	u32 count = (apic_read(APIC_VERSION) >> 16 & 0xff) + 1;
	u32 pmi = pmi_open ? VEC_PMI : LVT_MASKED;
	u32 nmi = LVT_MODE_NMI;

	apic_write(APIC_LVT_LINT0, LVT_MASKED);
	if (this_cpu()->index) /* all get the machine's NMIs, and one is to tell dom0 of each */
		nmi |= LVT_MASKED;
	apic_write(APIC_LVT_LINT1, nmi);
	apic_write(APIC_LVT_ERROR, VEC_ERROR);
	if (count > 4)
		apic_write(APIC_LVT_PERF, pmi);
	if (count > 5) {
		if (!thermal_lvt)
			thermal_lvt = apic_read(APIC_LVT_THERMAL);
		if ((thermal_lvt & LVT_MODE) != LVT_MODE_SMI) /* else the firmware is listening */
			thermal_lvt = LVT_MASKED;
		apic_write(APIC_LVT_THERMAL, thermal_lvt);
	}
	if (count > 6)
		apic_write(APIC_LVT_CMCI, LVT_MASKED);
}

/*
 * Firmware leaves the 8259s at vectors 8 and 0x70, where their interrupts look like exceptions, and
 * with the timer on. Move them out of the way, masked; dom0 sets them up for itself. 8259A
 * datasheet, "Initialization Command Words".
 */
static void quiesce_pic(u16 port, u8 vector, u8 cascade)
{
	outb(port, 0x11);	 /* ICW1: cascade, ICW4 follows */
	outb(port + 1, vector);	 /* ICW2 */
	outb(port + 1, cascade); /* ICW3 */
	outb(port + 1, 0x01);	 /* ICW4: 8086 mode */
	outb(port + 1, 0xff);	 /* OCW1: all masked */
}

static void init_timer(void)
{
	u32 lvt = VEC_TIMER;

	if (deadline)
		lvt |= LVT_DEADLINE;
	apic_write(APIC_TIMER_DIV, TIMER_DIV_1);
	apic_write(APIC_LVT_TIMER, lvt);
	/* The LVT must be seen before the first deadline. SDM "TSC-Deadline Mode". */
	__asm__ volatile("mfence" : : : "memory");
}

static void init_registers(void)
{
	apic_write(APIC_SVR, SVR_ENABLE | VEC_SPURIOUS);
	apic_write(APIC_TPR, 0);
	init_lvts();
	drain_isr();
	apic_write(APIC_ESR, 0);
}

bool apic_want(bool x2apic)
{
	if (x2apic == wanted || !(cpuid_read(1, 0).c & CPUID_1C_X2APIC))
		return false;
	for (u32 i = 0; i < cpu_count; i++)
		if (!x2apic && cpus[i]->apic_id > XAPIC_LAST_ID)
			return false;
	WRITE_ONCE(wanted, x2apic);
	log_debug("local APICs go to %s mode with dom0's", x2apic ? "x2APIC" : "xAPIC");
	return true;
}

void apic_follow(void)
{
	bool was = this_cpu()->x2apic;

	if (likely(was == READ_ONCE(wanted)))
		return;
	if (was)
		drain_isr(); /* "off" forgets them, and IOAPICs would wait for their end */
	enable_apic();
	/* where the way is locked: not again at each kick */
	if (was && this_cpu()->x2apic)
		WRITE_ONCE(wanted, true);
	if (!was || this_cpu()->x2apic) /* all registers but LDR and ICR are as before */
		return;
	init_registers();
	init_timer();
	apic_timer_arm(rdtsc()); /* whatever it was armed for */
}

void apic_init_cpu(void)
{
	bool first = !this_cpu()->index;

	if (first) {
		quiesce_pic(0x20, 0x20, BIT(2)); /* the other one is on line 2 */
		quiesce_pic(0xa0, 0x28, 2);
	}
	if (!regs) {
		BUG_ON(!first);
		find_apic();
		irq_set(VEC_ERROR, log_error);
		irq_set(VEC_NOP, only_eoi);
		irq_set(VEC_POSTED, only_eoi);
	}
	enable_apic();
	this_cpu()->apic_id = apic_id_self();
	init_registers();
	if (!ticks_mul && !deadline)
		measure_timer();
	init_timer();
}
