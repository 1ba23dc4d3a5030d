/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The registers that put the machine to sleep: S1 to S4 are refused, and what waits for the wake-up
 * does not wait; but S3, where FACS says where to wake up, and all else stands still.
 */
#include "lib.h"

#define RSDP_PLACE 0x70 /* in boot_params */
#define RSDP_RSDT  16
#define SDT_LENGTH 4
#define SDT_SIZE   36
#define FADT_FACS  36
#define FADT_EVT   56
#define FADT_CNT   64
#define FADT_CNT_B 68

#define SLP_TYP(n) ((u16)((n) << 10))
#define SLP_EN	   BIT(13)
#define WAK_STS	   BIT(15)
#define RTC_STS	   BIT(10) /* also its enable bit, in the word behind */

#define FACS_VECTOR 12

/* MC146818 */
#define RTC_ALARM   1 /* second, and so on with every second register */
#define RTC_CONTROL 11
#define RTC_AIE	    BIT(5)
#define RTC_FLAGS   12

static u32 get32(u64 at)
{
	return *(const u32 *)at;
}

#define END_LINES 200

static u64 find_fadt(void)
{
	u64 rsdt = get32(*(const u64 *)(boot_params + RSDP_PLACE) + RSDP_RSDT);

	for (u32 at = SDT_SIZE; at < get32(rsdt + SDT_LENGTH); at += 4)
		if (get32(get32(rsdt + at)) == 0x50434146) /* "FACP" */
			return get32(rsdt + at);
	return 0;
}

/* The types of S3 and S4 are 1 and 2 in QEMU and in Bochs, that of S5 is 0. */
void test_sleep(void)
{
	u64 fadt = find_fadt();
	u16 cnt, evt, before;
	bool woke = true, same = true;

	if (!fadt) {
		report(false, "there is a FADT");
		return;
	}
	evt = (u16)get32(fadt + FADT_EVT);
	cnt = (u16)get32(fadt + FADT_CNT);
	outw(evt, WAK_STS);
	before = inw(cnt) & 1;
	report(!(inw(evt) & WAK_STS), "nobody has woken up");
	for (u16 type = 1; type < 8; type++) {
		outw(cnt, before | SLP_TYP(type));
		outw(cnt, (u16)(before | SLP_TYP(type) | SLP_EN));
		woke &= inw(evt) & WAK_STS && inb(evt + 1) & WAK_STS >> 8;
		outw(evt, WAK_STS);
		woke &= !(inw(evt) & WAK_STS);
		same &= (inw(cnt) & 1) == before;
	}
	report(woke, "each sleep is over at once, as the status says until it is cleared");
	report(same, "other bits are kept");
	outb(cnt + 1, (SLP_TYP(1) | SLP_EN) >> 8);
	report(inw(evt) & WAK_STS, "the upper byte alone does not do it either");
	outw(evt, WAK_STS);
	outl(cnt, before | SLP_TYP(2) | SLP_EN);
	report(inl(evt) & WAK_STS, "nor do four bytes");
	outb(evt + 1, WAK_STS >> 8);
	report(!(inw(evt) & WAK_STS), "and the machine goes on");
	outw(cnt, before);
}

/* ---- S3 ---- */

static u16 evt_port, cnt_port, cnt_b_port; /* the latter: 0 if there is none */
static volatile u32 *facs;

static bool find_registers(void)
{
	u64 fadt = find_fadt();

	if (!fadt)
		return false;
	evt_port = (u16)get32(fadt + FADT_EVT);
	cnt_port = (u16)get32(fadt + FADT_CNT);
	cnt_b_port = (u16)get32(fadt + FADT_CNT_B);
	facs = (volatile u32 *)(u64)get32(fadt + FADT_FACS);
	note("FADT at %x, second register at port %x", (u32)fadt, cnt_b_port);
	return facs;
}

static bool is_offered(void)
{
	struct corbel_info i;

	hc(CORBEL_HC_STAT, CORBEL_STAT_INFO, 0, (u64)&i, sizeof(i));
	return i.features & CORBEL_FEATURE_SLEEP;
}

/* Write SLP_EN with the type of S3. It comes back where it was refused. */
static void go_to_sleep(void *unused)
{
	u16 keep = inw(cnt_port) & 1;

	outw(evt_port, WAK_STS);
	outw(cnt_port, (u16)(keep | SLP_TYP(1)));
	if (cnt_b_port)
		outw(cnt_b_port, SLP_TYP(1));
	outw(cnt_port, (u16)(keep | SLP_TYP(1) | SLP_EN));
}

/* As if it had been: dom0's kernel waits for that. */
static bool was_refused(void)
{
	bool woke = inw(evt_port) & WAK_STS;

	outw(evt_port, WAK_STS);
	return woke && !(inw(evt_port) & WAK_STS);
}

/* It has to be of one mind with the first. By it QEMU's machine goes to sleep. */
static void check_second(void)
{
	u16 keep = inw(cnt_port) & 1;

	outw(cnt_port, (u16)(keep | SLP_TYP(1)));
	outw(cnt_b_port, SLP_TYP(2));
	outw(cnt_port, (u16)(keep | SLP_TYP(1) | SLP_EN));
	report(was_refused(), "S3 is refused where the second register says another type");
	outw(cnt_b_port, SLP_TYP(1) | SLP_EN);
	report(was_refused() && !(inb(cnt_b_port + 1) & SLP_EN >> 8),
	       "and to the second register alone");
}

static volatile u32 busy, steps;

static void count_steps(void *unused)
{
	while (busy)
		steps++;
}

/* One CPU goes on, so there is no sleep; the third one was parked by then, and has to come back. */
static void check_busy(void)
{
	u32 before;

	busy = 1;
	run_on(1, count_steps, NULL);
	WAIT(steps, 1000);
	go_to_sleep(NULL);
	before = steps;
	report(was_refused() && WAIT(steps != before, 1000),
	       "while another CPU does something it is refused, and all go on");
	busy = 0;
	report(wait_for(1, 1000), "that one, too");
	run_on(2, go_to_sleep, NULL);
	report(wait_for(2, 3000) && was_refused(), "nor may another than the boot CPU do it");
}

static void *back[5];

static void woken(void)
{
	lib_wake();
	__builtin_longjmp(back, 1);
}

/*
 * QEMU's machine is woken up by this alarm, Bochs' is at once. It must not come before the machine
 * is asleep: then no other would.
 */
static void set_alarm(void)
{
	u8 second;

	outb(0x70, 0);
	second = inb(0x71);
	second = (u8)((second >> 4) * 10 + (second & 0xf) + 3) % 60;
	for (u8 i = 0; i < 3; i++) {
		outb(0x70, RTC_ALARM + 2 * i);
		outb(0x71, i ? 0xff : (u8)(second / 10 << 4 | second % 10)); /* any hour, minute */
	}
	outb(0x70, RTC_FLAGS);
	inb(0x71);
	outb(0x70, RTC_CONTROL);
	outb(0x71, (u8)(inb(0x71) | RTC_AIE));
	outw(evt_port, RTC_STS);
	outw(evt_port + 2, RTC_STS);
}

static void sleep_once(u32 nth)
{
	static u64 before;
	static u32 was;
	u8 count = 0x35;

	set_alarm();
	facs[FACS_VECTOR / 4] = wake_vector(woken);
	cli();
	before = rdtsc();
	was = cpu_count;
	if (!__builtin_setjmp(back)) {
		go_to_sleep(NULL);
		report(false, "sleep %u: the machine wakes up at the vector", nth);
		return;
	}
	report(hc(CORBEL_HC_VERSION) == CORBEL_ABI_VERSION, "Corbel is still below");
	report(rdtsc() > before, "sleep %u: it wakes up at the vector, and time has not gone back",
	       nth);
	report(READ_CR(4) != 0 && (rdmsr(0xc0000080) & BIT(10)), "it can be used as before");
	apic_setup(false);
	me()->count[count] = 0;
	apic_icr(me()->apic_id, ICR_ASSERT | count);
	report(WAIT(me()->count[count], 1000), "interrupts come");
	cpu_count = 1;
	smp_start();
	report(cpu_count == was, "its other CPUs wait to be started, and are");
}

void test_suspend(void)
{
	if (!report(find_registers() && facs[0] == 0x53434146, "there are FADT and FACS"))
		return;
	report(is_offered(), "the hypervisor offers S3");
	smp_start();
	facs[FACS_VECTOR / 4] = 0;
	go_to_sleep(NULL);
	report(was_refused(), "S3 is refused where FACS does not say where to wake up");
	facs[FACS_VECTOR / 4] = 0x100000;
	go_to_sleep(NULL);
	report(was_refused(), "or not below 1 MiB");
	facs[FACS_VECTOR / 4] = 0x60000;
	if (cnt_b_port)
		check_second();
	if (cpu_count > 2)
		check_busy();
	for (u32 n = 1; n <= 3; n++)
		sleep_once(n);
	tell_one_clock();
}

/* Where S3 cannot be had, be it that FACS, whose place is told, is damaged. */
void test_no_suspend(void)
{
	if (!report(find_registers(), "there is a FADT"))
		return;
	note("FACS at %x says %x", (u32)(u64)facs, facs[0]);
	report(!is_offered(), "the hypervisor does not offer S3");
	facs[FACS_VECTOR / 4] = 0x60000;
	go_to_sleep(NULL);
	report(was_refused(), "nor lets it happen");
}

/*
 * The machine ends while the hypervisor has much to say, and only that: the port at which dom0
 * could wait for it is not looked at.
 */
void test_ends(void)
{
	const char *how = option("how");
	u64 fadt = find_fadt();

	if (!how || !fadt) {
		report(false, "there is a FADT, and a way to end");
		return;
	}
	for (u32 i = 0; i < END_LINES; i++)
		hc(CORBEL_HC_DEBUG, 'h');
	switch (*how) {
	case 'c':
		outb(0xcf9, 6);
		break;
	case 'k':
		outb(0x64, 0xfe);
		break;
	case 's': /* the type of S5 is 0 in QEMU */
		outw((u16)get32(fadt + FADT_CNT), SLP_EN);
		break;
	default:
		test_triple();
	}
	delay_us(1000000);
	report(false, "the machine ends by %s", how);
}
