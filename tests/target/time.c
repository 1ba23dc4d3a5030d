/* SPDX-License-Identifier: GPL-2.0-only */
/* kvmclock, wall clock, steal time. */
#include "lib.h"

struct pvclock {
	volatile u32 version;
	u32 pad0;
	u64 tsc_timestamp, system_time;
	u32 mul;
	signed char shift;
	u8 flags, pad[2];
};
struct wallclock {
	volatile u32 version, sec, nsec;
};
struct steal {
	u64 steal;
	volatile u32 version, flags;
	u8 preempted, pad[47];
};

static struct pvclock clocks[MAX_CPU] __attribute__((aligned(64)));
static struct steal steals[MAX_CPU] __attribute__((aligned(64)));
static struct wallclock wall __attribute__((aligned(64)));

#define MSR_WALL  0x4b564d00
#define MSR_STEAL 0x4b564d03

static u64 clock_ns(const struct pvclock *c)
{
	u32 version;
	u64 ns, ticks;

	do {
		version = c->version & ~1u;
		__asm__ volatile("" ::: "memory");
		ticks = rdtsc() - c->tsc_timestamp;
		ticks = c->shift < 0 ? ticks >> -c->shift : ticks << c->shift;
		ns = c->system_time + (u64)((unsigned __int128)ticks * c->mul >> 32);
		__asm__ volatile("" ::: "memory");
	} while (version != c->version);
	return ns;
}

static volatile u64 last_ns, backwards, reads;
static volatile u32 lock, stop;

static void lock_it(void)
{
	while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE))
		pause();
}

static void read_clock(void *arg)
{
	struct pvclock *c = &clocks[me()->index];

	wrmsr(MSR_KVMCLOCK, (u64)c | 1);
	while (!stop) {
		lock_it();
		u64 now = clock_ns(c);

		if (now < last_ns)
			backwards++;
		last_ns = now;
		reads++;
		__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
	}
}

static void check_clock(void)
{
	u64 t0, t1, c0, c1, hz = 0;
	u32 before;

	wrmsr(MSR_KVMCLOCK, (u64)&clocks[0] | 1);
	report(clocks[0].version && !(clocks[0].version & 1) && clocks[0].mul,
	       "kvmclock is filled in when it is switched on");
	for (u32 i = 0; i < 5; i++) { /* more than once: the emulator may be held up in between */
		t0 = rdtsc();
		c0 = clock_ns(&clocks[0]);
		delay_us(30000);
		t1 = rdtsc();
		c1 = clock_ns(&clocks[0]);
		hz = (t1 - t0) * 1000000 / (c1 - c0); /* kHz */
		if (hz > tsc_khz - tsc_khz / 1000 && hz < tsc_khz + tsc_khz / 1000)
			break;
	}
	report(hz > tsc_khz - tsc_khz / 1000 && hz < tsc_khz + tsc_khz / 1000,
	       "it runs at the TSC's rate (%lu of %lu kHz)", hz, tsc_khz);
	before = clocks[0].version;
	kvmclock_off();
	delay_us(1000);
	wrmsr(MSR_KVMCLOCK, 0xfffffffffffffff1ull);
	delay_us(1000);
	report(clocks[0].version == before,
	       "switched off, or with an address that is none, it does no harm");
	wrmsr(MSR_KVMCLOCK, (u64)&clocks[0] | 1);
	wrmsr(MSR_WALL, (u64)&wall);
	report(wall.sec > 1500000000 && wall.sec < 4000000000u && wall.nsec < 1000000000 &&
		   !(wall.version & 1),
	       "the wall clock is of this century (%u)", wall.sec);
	wrmsr(MSR_STEAL, (u64)&steals[0] | 1);
	report(!(steals[0].version & 1) && steals[0].steal < 1000000000,
	       "steal time begins small (%lu)", steals[0].steal);
}

static void check_monotonic(void)
{
	stop = 0;
	for (u32 i = 1; i < cpu_count; i++)
		run_on(i, read_clock, NULL);
	apic_write(APIC_LVTT, LVT_DEADLINE | 0x70);
	me()->count[0x70] = 0;
	wrmsr(0x6e0, rdtsc() + ms_to_tsc(1000));
	sti();
	while (!me()->count[0x70]) {
		lock_it();
		u64 now = clock_ns(&clocks[0]);

		if (now < last_ns)
			backwards++;
		last_ns = now;
		reads++;
		__atomic_store_n(&lock, 0, __ATOMIC_RELEASE);
	}
	cli();
	stop = 1;
	for (u32 i = 1; i < cpu_count; i++)
		wait_for(i, 2000);
	report(!backwards && reads > 1000,
	       "kvmclock never goes back over %u vCPUs (%lu reads, %lu back)", cpu_count, reads,
	       backwards);
}

/*
 * The hardware's own clock beside ours: ACPI's timer would need its tables, the PIT is always
 * there.
 */
static void check_rate(void)
{
	u64 ns = 0;

	for (u32 i = 0; i < 5 && !(ns > 49500000 && ns < 60000000); i++) {
		outb(0x61, (inb(0x61) & ~2) | 1);
		outb(0x43, 0xb0); /* channel 2, one-shot */
		outb(0x42, 0x9c);
		ns = clock_ns(&clocks[0]);
		outb(0x42, 0xe9); /* 59804 / 1193182 Hz = 50.12 ms */
		WAIT(inb(0x61) & 0x20, 1000);
		ns = clock_ns(&clocks[0]) - ns;
	}
	report(ns > 49500000 && ns < 60000000,
	       "50.12 ms by the PIT are as much by kvmclock (%lu us)", ns / 1000);
}

bool tell_one_clock(void)
{
	bool flag;

	wrmsr(MSR_KVMCLOCK, (u64)&clocks[0] | 1);
	flag = clocks[0].flags & 1;
	kvmclock_off();
	note("one clock for all CPUs: %s", flag ? "yes" : "no");
	return flag;
}

void test_time(void)
{
	u32 r[4];

	cpuid(0x40000001, 0, r);
	report(tell_one_clock() == !!(r[0] & 1u << 24), "CPUID and kvmclock are of one mind");
	check_clock();
	check_rate();
	check_monotonic();
	kvmclock_off();
	wrmsr(MSR_STEAL, 0);
}
