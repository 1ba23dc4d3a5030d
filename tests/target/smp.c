/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The other vCPUs: start-up by INIT and SIPI, IPIs and NMIs between them, INIT again, HLT woken
 * from afar.
 */
#include "lib.h"

#define V 0x91

static volatile u32 flag;

static void set_flag(void *arg)
{
	flag = (u32)(u64)arg;
}

static void spin_off(void *arg)
{
	flag = 1;
	cli();
	while (flag == 1)
		pause();
}

static void spin_on(void *arg)
{
	flag = 1;
	sti();
	while (flag == 1)
		pause();
	cli();
}

static void halt_off(void *arg)
{
	flag = 1;
	cli();
	__asm__ volatile("hlt");
	flag = 2;
}

static bool wait_flag(u32 want)
{
	return WAIT(flag == want, 2000);
}

static void check_start(void)
{
	u32 want = (u32)(option("cpus")[0] - '0'), ids = 0;

	report(cpu_count == want, "INIT and SIPI to all others start %u CPUs (%u did)", want,
	       cpu_count);
	for (u32 i = 0; i < cpu_count; i++)
		ids |= 1u << cpu_of(i)->apic_id;
	report(ids == (1u << want) - 1, "each has an APIC id of its own (mask %x)", ids);
	for (u32 i = 1; i < cpu_count; i++) {
		flag = 0;
		run_on(i, set_flag, (void *)(u64)(i + 10));
		report(wait_for(i, 2000) && flag == i + 10,
		       "CPU %u is woken from HLT by an IPI and works", i);
	}
}

static void check_ipi(void)
{
	struct percpu *p = cpu_of(1);
	u32 n = p->count[V];

	run_on(1, spin_on, NULL);
	wait_flag(1);
	apic_icr(p->apic_id, ICR_ASSERT | V);
	report(WAIT(p->count[V] == n + 1, 1000), "an IPI interrupts a CPU that computes");
	n = p->count[2];
	apic_icr(p->apic_id, ICR_ASSERT | ICR_NMI);
	report(WAIT(p->count[2] == n + 1, 1000), "an NMI does, too");
	for (u32 i = 0; i < 200; i++) {
		u32 before = p->count[V];

		apic_icr(p->apic_id, ICR_ASSERT | V);
		if (!WAIT(p->count[V] == before + 1, 1000)) {
			report(false, "IPI %u of 200 is lost", i);
			break;
		}
	}
	report(true, "200 IPIs in a row arrive one by one");
	flag = 2;
	wait_for(1, 1000);
	run_on(1, spin_off, NULL);
	wait_flag(1);
	n = p->count[V];
	apic_icr(p->apic_id, ICR_ASSERT | V);
	delay_us(2000);
	report(p->count[V] == n, "an IPI waits while the CPU's interrupts are off");
	n = p->count[2];
	apic_icr(p->apic_id, ICR_ASSERT | ICR_NMI);
	report(WAIT(p->count[2] == n + 1, 1000), "an NMI does not");
	flag = 2;
	wait_for(1, 1000);
	n = p->count[2];
	run_on(1, halt_off, NULL);
	wait_flag(1);
	delay_us(2000);
	apic_icr(p->apic_id, ICR_ASSERT | ICR_NMI);
	report(wait_flag(2) && p->count[2] == n + 1, "an NMI ends HLT with interrupts off");
	wait_for(1, 1000);
}

/* Two CPUs that wake each other out of HLT. */
static volatile u32 turns;

static void ping(void *arg)
{
	for (u32 i = 0; i < 100; i++) {
		cli();
		while (turns != 2 * i + 1) {
			sti_hlt();
			cli();
		}
		turns++;
		apic_icr(cpu_of(0)->apic_id, ICR_ASSERT | V);
	}
}

static void check_ping_pong(void)
{
	struct percpu *p = me();
	u64 t = rdtsc();

	turns = 0;
	p->count[0x70] = 0;
	apic_write(APIC_LVTT, LVT_DEADLINE | 0x70);
	run_on(1, ping, NULL);
	for (u32 i = 0; i < 100 && !p->count[0x70]; i++) {
		wrmsr(0x6e0, rdtsc() + ms_to_tsc(5000));
		turns++;
		apic_icr(cpu_of(1)->apic_id, ICR_ASSERT | V);
		while (turns != 2 * i + 2 && !p->count[0x70]) {
			sti_hlt();
			cli();
		}
	}
	apic_write(APIC_LVTT, LVT_MASKED);
	t = (rdtsc() - t) / tsc_khz;
	report(turns == 200, "two CPUs wake each other out of HLT 100 times (%u turns in %lu ms)",
	       turns, t);
	wait_for(1, 1000);
}

static void check_broadcast(void)
{
	u32 before[MAX_CPU], bad = 0;

	for (u32 i = 0; i < cpu_count; i++)
		before[i] = cpu_of(i)->count[V];
	apic_icr(0, ICR_OTHERS | ICR_ASSERT | V);
	for (u32 i = 0; i < cpu_count; i++)
		WAIT(cpu_of(i)->count[V] - before[i] == (i != 0), 1000);
	WAIT(false, 5);
	for (u32 i = 0; i < cpu_count; i++)
		bad += cpu_of(i)->count[V] - before[i] != (i != 0);
	report(!bad, "an IPI to all but self reaches all but self");
	apic_icr(0x77, ICR_ASSERT | V); /* nobody has this id */
	apic_icr(0, ICR_ALL | ICR_ASSERT | V);
	bad = 0;
	for (u32 i = 0; i < cpu_count; i++)
		bad += !WAIT(cpu_of(i)->count[V] - before[i] == 1u + (i != 0), 1000);
	report(!bad, "an IPI to all reaches all, one to nobody nobody");
}

/* KVM's hypercalls for IPIs, from dom0 too. */
static s64 kvm_call(u64 nr, u64 a, u64 b, u64 c, u64 d)
{
	s64 ret = (s64)nr;

	if (backend == CORBEL_BACKEND_VMX)
		__asm__ volatile("vmcall" : "+a"(ret) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	else
		__asm__ volatile("vmmcall" : "+a"(ret) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return ret;
}

static void check_pv(void)
{
	struct percpu *p = cpu_of(1);
	u32 n = p->count[V];

	report(kvm_call(10, BIT(p->apic_id), 0, 0, V) == 1 && WAIT(p->count[V] == n + 1, 1000),
	       "the PV IPI hypercall delivers");
	report(kvm_call(10, BIT(63), 0, 0, V) == 0 && kvm_call(10, 1, 1, ~0ull, V) == 0,
	       "to nobody it returns 0");
	report(kvm_call(10, 1, 0, 0, ICR_LOGICAL | V) < 0,
	       "other kinds of destination are refused");
	report(kvm_call(99, 1, 2, 3, 4) == -1000, "an unknown KVM hypercall is -ENOSYS");
	report(kvm_call(5, 0, 0x1234567, 0, 0) == 0 && kvm_call(11, ~0ull, 0, 0, 0) == 0,
	       "kicking and yielding to nobody do no harm");
}

extern volatile u32 trampoline_next;
extern u8 trampoline[], trampoline_end[];

static void check_init_again(void)
{
	struct percpu *p = cpu_of(1);
	u32 next = trampoline_next;

	run_on(1, spin_off, NULL);
	wait_flag(1);
	apic_icr(p->apic_id, ICR_ASSERT | ICR_SIPI | 0x60);
	delay_us(2000);
	report(trampoline_next == next, "a SIPI to a running CPU is ignored");
	apic_icr(p->apic_id, ICR_ASSERT | ICR_INIT);
	delay_us(20000);
	flag = 2;
	delay_us(20000);
	report(!p->done, "INIT stops a running CPU");
	p->done = 0;
	p->fn = NULL;
	trampoline_next = 1;
	apic_icr(p->apic_id, ICR_ASSERT | ICR_SIPI | 0x60);
	report(WAIT(p->done, 2000), "SIPI starts it anew");
	trampoline_next = next;
	flag = 0;
	run_on(1, set_flag, (void *)77);
	report(wait_for(1, 2000) && flag == 77, "and it works");
	/* What the trampoline saw: EDX has the CPU's signature. */
	u32 r[4];

	cpuid(1, 0, r);
	report(*(u32 *)(0x60000 + (trampoline_end - trampoline) - 4) == r[0],
	       "after INIT, EDX holds the CPU's signature (%x)",
	       *(u32 *)(0x60000 + (trampoline_end - trampoline) - 4));
}

static void set_mode(void *arg)
{
	apic_setup(arg);
}

/* The same between CPUs in x2APIC mode, and between the modes. */
static void check_modes(void)
{
	struct percpu *p = cpu_of(1);
	u32 n;

	run_on(1, set_mode, (void *)1);
	wait_for(1, 1000);
	n = p->count[V];
	apic_icr(p->apic_id, ICR_ASSERT | V);
	report(p->x2apic && WAIT(p->count[V] == n + 1, 1000), "an IPI from an xAPIC to an x2APIC");
	check_ping_pong();
	apic_setup(true);
	check_ping_pong();
	check_ipi();
	n = p->count[V];
	apic_icr(1u << (p->apic_id & 15), ICR_LOGICAL | ICR_ASSERT | V);
	report(WAIT(p->count[V] == n + 1, 1000), "an IPI to the other's logical x2APIC id");
	apic_icr(~0u, ICR_ASSERT | V);
	report(WAIT(p->count[V] == n + 2 && me()->count[V], 1000), "a broadcast by destination");
	n = p->count[2];
	apic_icr(p->apic_id, ICR_ASSERT | ICR_NMI);
	report(WAIT(p->count[2] == n + 1, 1000), "an NMI between x2APICs");
	run_on(1, set_mode, NULL);
	wait_for(1, 1000);
	apic_setup(false);
}

void test_smp(void)
{
	check_start();
	check_ipi();
	check_ping_pong();
	check_broadcast();
	check_pv();
	check_modes();
	check_init_again();
}
