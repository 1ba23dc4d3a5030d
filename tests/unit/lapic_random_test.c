/*
 * links: hv/guest/lapic.c hv/guest/lapic_regs.c hv/guest/lapic_ipi.c hv/guest/lapic_timer.c
 * hv/cpu/timer.c hv/lib/scale.c -lpthread
 */
/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The local APIC beside hardware that delivers by itself, under random use, and with several CPUs
 * at it.
 */
#include <pthread.h>
#include <sched.h>

#include "lapic_regs.h"

static u64 rnd(void)
{
	static u64 s = 88172645463325252ull;

	s ^= s << 13;
	s ^= s >> 7;
	return s ^= s << 17;
}

/*
 * ---- hardware that delivers by itself; SDM "Virtual-Interrupt Delivery", "EOI Virtualization"
 * ----
 */

static struct {
	u32 page[1024];
	u64 exits[4];
	u8 rvi, svi;
} hw;

static void hw_enter(struct vcpu *v)
{
	u16 status = lapic_to_hw(v, hw.page, hw.exits);

	hw.rvi = status;
	hw.svi = status >> 8;
}

static void hw_exit(struct vcpu *v)
{
	lapic_from_hw(v, hw.page, hw.svi << 8 | hw.rvi);
	memset(hw.page, 0xee, sizeof(hw.page));
}

/* Set or clear one bit of ISR or IRR; the highest that is set then. */
static u8 hw_bit(u32 reg, u8 vector, bool on)
{
	u32 *word = &hw.page[reg / 4 + vector / 32 * 4];
	u8 i;

	*word = on ? *word | 1u << vector % 32 : *word & ~(1u << vector % 32);
	for (i = 255; i && !(hw.page[reg / 4 + i / 32 * 4] >> i % 32 & 1); i--)
		;
	return i;
}

static int hw_take(struct vcpu *v)
{
	u8 vector = hw.rvi;

	if (vector >> 4 <= hw.svi >> 4 || vector >> 4 <= (int)lapic_get_cr8(v))
		return -1;
	hw.svi = hw_bit(ISR, vector, true);
	hw.rvi = hw_bit(IRR, vector, false);
	return vector;
}

static void hw_eoi(struct vcpu *v)
{
	u8 vector = hw.svi;

	hw.svi = hw_bit(ISR, vector, false);
	if (hw.exits[vector / 64] >> vector % 64 & 1) {
		hw_exit(v);
		lapic_ended(v, vector);
		hw_enter(v);
	}
}

static bool same_state(struct vcpu *a, struct vcpu *b)
{
	u8 sa[1024], sb[1024];

	lapic_get_state(a, sa);
	lapic_get_state(b, sb);
	return !memcmp(sa + TPR, sb + TPR, LDR - TPR) && !memcmp(sa + ISR, sb + ISR, ESR - ISR);
}

static int soft_take(struct vcpu *v)
{
	int vector = lapic_pending(v);

	if (vector >= 0)
		lapic_accept(v, vector);
	return vector;
}

static int soft_eoi(struct vcpu *v)
{
	level_eoi = -1;
	lapic_msr_write(v, MSR_X2(EOI), 0, false);
	return level_eoi;
}

/* One vCPU served by software, another by hardware: both see the same. */
static void test_hw(void)
{
	struct vcpu *s = &fake_vcpu[2], *h = &fake_vcpu[3];
	u32 i, count = 0, levels = 0;

	fake_reset(NULL);
	enable_all(true);
	CHECK(lapic_is_direct(&h->lapic) && !lapic_set_pv_eoi(h, 0x101),
	      "in x2APIC mode hardware may serve");
	lapic_set_irq(h, 0x50, false);
	soft_take(h);
	fake_memory[0x100] = 0;
	hw_enter(h);
	CHECK(!hw.svi && !hw.rvi, "a PV EOI done before is taken in");
	lapic_set_pv_eoi(h, 0);
	for (i = 0; i < 300000; i++) {
		u8 vector = 16 + rnd() % 240;
		bool level = rnd() & 1;
		int a, b;

		switch (rnd() % 6) {
		case 0:
			lapic_set_irq(s, vector, level);
			lapic_set_irq(h, vector, level);
			hw_exit(h); /* kicked */
			hw_enter(h);
			break;
		case 1:
			a = soft_take(s);
			b = hw_take(h);
			count += a >= 0;
			CHECK_QUIET(a == b, "vector %x by software, %x by hardware", a, b);
			break;
		case 2:
			a = soft_eoi(s);
			level_eoi = -1;
			hw_eoi(h);
			levels += a >= 0;
			CHECK_QUIET(a == level_eoi,
				    "EOI of level vector %x by software, %x by hardware", a,
				    level_eoi);
			break;
		case 3:
			lapic_set_cr8(s, rnd() % 16 & rnd());
			lapic_set_cr8(h, lapic_get_cr8(s));
			break;
		default:
			hw_exit(h);
			CHECK_QUIET(same_state(s, h) && lapic_has_work(s) == lapic_has_work(h),
				    "outside the guest both have the same registers");
			hw_enter(h);
		}
	}
	CHECK(count > 10000 && levels > 2000,
	      "hardware and software take the same %u interrupts, and tell of the same %u EOIs",
	      count, levels);
}

static void test_hw_timer(void)
{
	u32 i, n = 0;

	fake_reset(NULL);
	enable_all(true);
	lapic_msr_write(v0, MSR_X2(LVT_T), 0x200ec, false);
	lapic_msr_write(v0, MSR_X2(TDCR), 0xb, false);
	lapic_msr_write(v0, MSR_X2(TMICT), 1000000, false);
	hw_enter(v0);
	CHECK(!hw.exits[3], "while the timer waits for nobody its EOIs do not exit");
	for (i = 0; i < 3; i++) { /* interrupts off for three ticks */
		hw_exit(v0);
		advance(1000000);
		hw_enter(v0);
	}
	CHECK(v0->lapic.timer_wait && hw.exits[3] == BIT(0xec - 192),
	      "a tick that is not taken stops it, and makes its EOI exit");
	n += hw_take(v0) == 0xec;
	hw_eoi(v0);
	CHECK(n == 1 && !v0->lapic.timer_wait && v0->lapic.timer_on, "which starts it again");
	for (i = 0; i < 10; i++) {
		advance(1000000);
		hw_exit(v0);
		hw_enter(v0);
		n += hw_take(v0) == 0xec;
		hw_eoi(v0);
	}
	CHECK(n == 11, "and the ticks go on (%u)", n);
}

static void check_sane(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	int i, top = 0;

	for (i = 0; i < 256; i++)
		if (l->isr[i / 32] >> i % 32 & 1)
			top = i;
	CHECK_QUIET(top == l->isr_top, "isr_top is the highest bit of ISR");
	for (i = 0; i < 8; i++)
		CHECK_QUIET(!(l->irr[i] & (i ? ~0u : ~1u)) || v->due & DUE_IRQ,
			    "IRR bits but that of vector 0 imply DUE_IRQ");
	CHECK_QUIET(!(l->isr[0] & 0xffff), "no vector below 16 is in service");
	CHECK_QUIET(!l->timer_on || l->timer.cpu == 0, "an armed timer is queued");
	CHECK_QUIET(l->timer_on || l->timer.cpu == -1, "and only then");
}

static u64 rnd_value(void)
{
	static const u64 interesting[] = {0,	1,	    ~0ull,	0x1ff,
					  0xff, 0x200ec,    0x400ec,	0x101,
					  0xb,	0xfee00900, 0xfee00d00, 0xfee00100};

	switch (rnd() % 4) {
	case 0:
		return interesting[rnd() % ARRAY_SIZE(interesting)];
	case 1:
		return (u32)rnd();
	case 2:
		return rnd() & 0xfffff;
	}
	return rnd();
}

static void fuzz_step(struct vcpu *v)
{
	u8 state[1024];
	u64 val;
	u32 i;
	int vector;

	switch (rnd() % 12) {
	case 0:
		lapic_msr_write(v, MSR_BASE, rnd_value(), false);
		break;
	case 1:
		lapic_msr_write(v, MSR_BASE, 0xfee00000 | (rnd() & 0xd00), false);
		if (!lapic_is_on(&v->lapic))
			break;
		wr(v, SVR, 0x1ff);
		wr(v, LVT_T, rnd() & 0x600ff);
		wr(v, TMICT, rnd() % 100000);
		break;
	case 2:
		lapic_msr_write(v, rnd() & 1 ? MSR_TSCD : rnd(), rnd_value(), false);
		break;
	case 3:
		lapic_msr_write(v, 0x800 + rnd() % 0x100, rnd_value(), false);
		lapic_msr_read(v, 0x800 + rnd() % 0x100, &val);
		break;
	case 4:
	case 5:
		if (!lapic_is_on(&v->lapic))
			break;
		lapic_write(v, rnd() % 0x40 * 16, rnd_value());
		if (lapic_is_on(&v->lapic))
			lapic_read(v, rnd() % 0x100 * 16, &val);
		break;
	case 6:
		lapic_set_irq(v, rnd(), rnd() & 1);
		break;
	case 7:
		lapic_send_msi(&fake_vm, rnd(), rnd(), rnd() & 1);
		break;
	case 8:
		vector = lapic_pending(v);
		if (vector >= 0)
			lapic_accept(v, vector);
		lapic_has_work(v);
		break;
	case 9:
		lapic_set_pv_eoi(v, rnd() & 1 ? 0x101 : rnd());
		fake_memory[0x100] = rnd() & 1;
		fake_unmapped = rnd() & 1;
		break;
	case 10:
		if (rnd() % 8)
			break;
		for (i = 0; i < sizeof(state); i++)
			state[i] = rnd();
		if (rnd() & 1)
			lapic_get_state(v, state);
		lapic_set_state(v, state);
		break;
	case 11:
		v->tsc_offset = rnd() % 100 ? v->tsc_offset : rnd();
		lapic_tsc_changed(v);
		if (!(rnd() % 100))
			lapic_reset(v, rnd() & 1);
		break;
	}
}

static void test_fuzz(void)
{
	u32 i, runs = 0;

	fake_reset(NULL);
	for (i = 0; i < 400000; i++) {
		struct vcpu *v = &fake_vcpu[rnd() % FAKE_VCPUS];

		fuzz_step(v);
		fake_tsc += rnd() % 200000;
		if (hw_deadline && hw_deadline <= fake_tsc) {
			hw_deadline = 0;
			timer_run(fake_tsc);
			runs++;
		}
		check_sane(v);
	}
	CHECK(runs > 100,
	      "random register writes, messages and states break nothing (timers ran %u times)",
	      runs);
}

#define ROUNDS 20000
static u32 taken[256], senders_left = 2;

/* Each vector again only when the last one was taken, so that none may be merged */
static void *sender(void *arg)
{
	u32 i, base = *(u32 *)arg;

	for (i = 0; i < ROUNDS; i++) {
		u8 vector = base + i % 2 * 0x50;
		u32 before = __atomic_load_n(&taken[vector], __ATOMIC_SEQ_CST);

		lapic_set_irq(v0, vector, i % 3 == 0);
		while (__atomic_load_n(&taken[vector], __ATOMIC_SEQ_CST) == before)
			sched_yield();
	}
	__atomic_fetch_sub(&senders_left, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

static void test_threads(void)
{
	static u32 base[2] = {0x41, 0x62};
	pthread_t t[2];
	u32 idle = 0, total = 0, i;
	int vector;

	fake_reset(NULL);
	enable_all(false);
	for (i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, sender, &base[i]);
	while (__atomic_load_n(&senders_left, __ATOMIC_SEQ_CST) && idle < 10000000) {
		vector = take(v0);
		if (vector < 0) {
			idle++;
			sched_yield();
			continue;
		}
		idle = 0;
		total++;
		__atomic_fetch_add(&taken[vector], 1, __ATOMIC_SEQ_CST);
	}
	CHECK(total == 2 * ROUNDS, "interrupts from other CPUs are neither lost nor doubled (%u)",
	      total);
	for (i = 0; i < 2 && total == 2 * ROUNDS; i++)
		pthread_join(t[i], NULL);
}

int main(void)
{
	test_threads();
	if (ONLY_THREADS)
		return test_end();
	test_hw();
	test_hw_timer();
	test_fuzz();
	return test_end();
}
