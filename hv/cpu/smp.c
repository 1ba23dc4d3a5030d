/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/smp.h"
#include "boot/boot.h"
#include "boot/options.h"
#include "hv/cpu/alike.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/idle.h"
#include "hv/cpu/irq.h"
#include "hv/cpu/mcheck.h"
#include "hv/cpu/spec.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/cpu/tsc.h"
#include "hv/cpu/ucode.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/mm/mm.h"
#include "hv/mm/mtrr.h"

/*
 * SDM "MP Initialization Protocol Algorithm"; the time-outs are generous since emulators share few
 * CPUs among many.
 */
#define INIT_WAIT_US  10000ul
#define SIPI_WAIT_US  300ul
#define START_WAIT_US 4000000ul
#define READY_WAIT_US 5000000ul
#define PARK_WAIT_US  2000000ul

/* The end of the page in boot/trampoline.asm */
struct trampoline_args {
	u64 boot_cr3, efer, high, cr3, stack, entry, boot;
};
extern const u8 trampoline_start[], trampoline_end[], trampoline_args[];
extern u8 trampoline_high[], early_pml4[];

/*
 * One CPU is started at a time. Both sides move its state on, by ap_move(), so that only one of
 * them wins when the boot CPU loses patience. Until it may go nobody but itself knows of it: one
 * that is given up, and comes to that point after all, has nothing to take back.
 */
enum ap_state { AP_STARTING, AP_ARRIVED, AP_ONLINE, AP_GO, AP_GIVEN_UP, AP_SILENT };
static struct cpu *ap;			/* the CPU being started */
static int (*ap_enable)(struct cpu *c); /* set once, as is the next */
static void (*ap_run)(void);

static bool ap_move(struct cpu *c, u32 from, u32 to)
{
	return __atomic_compare_exchange_n(&c->start, &from, to, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_ACQUIRE);
}

static bool ap_is(const struct cpu *c, u32 state)
{
	return __atomic_load_n(&c->start, __ATOMIC_ACQUIRE) == state;
}

/* Behind a sleep all have lost theirs, and TCG's lose them by INIT. */
static void tell_mtrrs(const struct cpu *c)
{
	static bool told;

	if (!told && !c->online && !cpu_runs_in(IN_TCG))
		log_warn("the firmware has not given CPU %u the boot CPU's MTRRs: all have them "
			 "now",
			 c->index);
	told |= !c->online;
}

int smp_init_cpu(struct cpu *c)
{
	BUG_ON(c != this_cpu());
	ucode_load_cpu();
	if (alike_check())
		return -ENODEV;
	if (mtrr_restore())
		tell_mtrrs(c);
	cpu_init_features();
	time_wake_cpu();
	tsc_init_cpu();
	mcheck_init_cpu();
	if (spec_init_cpu())
		return -ENODEV;
	apic_init_cpu();
	timer_init_cpu();
	c->tsc_aux = ~0ull; /* not known: no vCPU has this */
	return ap_enable(c);
}

/* It stays as it is, since it may hold a lock, and has no part in what comes. */
static void __noreturn leave_out(struct cpu *c)
{
	c->left_out = true;
	write_cr4(read_cr4() | CR4_MCE);
	wbinvd(); /* what of memory is in caches only would be lost by a sleep */
	cpu_halt();
}

/* First C code of another CPU, on its own stack. */
static void __noreturn ap_main(void)
{
	struct cpu *c = ap;

	/* Too late: the boot CPU has gone on without us. */
	if (!ap_move(c, AP_STARTING, AP_ARRIVED))
		cpu_rest();
	mm_load_cpu();
	cpu_load(c);
	if (smp_init_cpu(c)) {
		ap_move(c, AP_ARRIVED, AP_GIVEN_UP);
		leave_out(c);
	}
	c->online = true;
	if (!ap_move(c, AP_ARRIVED, AP_ONLINE))
		leave_out(c);
	while (ap_is(c, AP_ONLINE))
		cpu_relax();
	BUG_ON(cpus[c->index] != c || c->index >= cpu_count);
	ap_run();
	cpu_halt();
}

static bool wait_while(struct cpu *c, u32 state, u64 us)
{
	u64 start = rdtsc(), ticks = us * tsc_khz / 1000;

	while (ap_is(c, state)) {
		if (rdtsc() - start > ticks)
			return false;
		tsc_look(c);
	}
	return true;
}

u32 smp_aim_trampoline(u64 stack, void (*entry)(void))
{
	u64 start = (u64)trampoline_start, size = (u64)trampoline_end - start;
	u8 *page = mm_map_temp(hpa(boot_info.low_page));
	struct trampoline_args *args;

	_Static_assert(sizeof(*args) == 56, "boot/trampoline.asm");
	BUG_ON(size > PAGE_SIZE || boot_info.low_page > BIT(20) - PAGE_SIZE);
	memcpy(page, trampoline_start, size);
	args = (void *)(page + (u64)trampoline_args - start);
	args->boot_cr3 = virt_to_hpa(early_pml4).v;
	args->efer = rdmsr(MSR_EFER) & (EFER_LME | EFER_NXE);
	args->high = (u64)trampoline_high;
	args->cr3 = read_cr3();
	args->entry = (u64)entry;
	args->stack = stack;
	args->boot = stack == cpus[0]->stack_top;
	mm_unmap_temp();
	return boot_info.low_page;
}

static bool start_cpu(struct cpu *c)
{
	u8 page = smp_aim_trampoline(c->stack_top, ap_main) >> PAGE_SHIFT;

	ap = c;
	__atomic_store_n(&c->start, AP_STARTING, __ATOMIC_RELEASE);
	apic_send_init(c->apic_id);
	udelay(INIT_WAIT_US);
	apic_send_sipi(c->apic_id, page);
	if (!wait_while(c, AP_STARTING, SIPI_WAIT_US)) {
		apic_send_sipi(c->apic_id, page);
		wait_while(c, AP_STARTING, START_WAIT_US);
	}
	if (ap_move(c, AP_STARTING, AP_SILENT)) {
		log_warn("CPU with APIC id %u does not answer, left out; maxcpus= avoids the wait",
			 c->apic_id);
		apic_send_init(c->apic_id); /* back to sleep, before it gets to ap_main() */
		return false;
	}
	wait_while(c, AP_ARRIVED, READY_WAIT_US);
	if (!ap_move(c, AP_ARRIVED, AP_GIVEN_UP) && ap_is(c, AP_ONLINE)) {
		tsc_join(c);
		return true;
	}
	/* No INIT: it may hold a lock. It halts by itself, on stacks that stay its own. */
	log_warn("CPU with APIC id %u came up but is not able to run guests, left out", c->apic_id);
	return false;
}

/* By their places in ACPI's list: they have come up, and may hold a lock if they were left out. */
static bool alive[MAX_CPUS];

/* After a sleep only those that are used have been started again. */
static bool is_unused(u32 i, bool slept)
{
	u32 id = boot_info.acpi.apic_id[i];

	if (id > XAPIC_LAST_ID && !apic_is_x2apic())
		return false;
	for (u32 k = 0; k < cpu_count; k++)
		if (cpus[k]->apic_id == id)
			return false;
	return slept || !alive[i];
}

/* All at a time, and whether they come is no matter. The page stays aimed at cpu_rest(). */
static void rest_unused(bool slept)
{
	u8 page = smp_aim_trampoline((u64)cpu_spare_stack + PAGE_SIZE, cpu_rest) >> PAGE_SHIFT;
	u32 n = 0, us = INIT_WAIT_US;

	if (!(cpuid_read(1, 0).d & CPUID_1D_MCA) || cap_named("rest"))
		return;
	for (u32 sipis = 0; sipis < 3; sipis++) {
		for (u32 i = 0; i < boot_info.acpi.cpu_count; i++) {
			if (!is_unused(i, slept))
				continue;
			n++;
			if (sipis)
				apic_send_sipi(boot_info.acpi.apic_id[i], page);
			else
				apic_send_init(boot_info.acpi.apic_id[i]);
		}
		if (!n)
			return;
		udelay(us);
		us = SIPI_WAIT_US;
	}
}

static void kick_irq(u8 vector)
{
	apic_eoi();
	apic_follow();
	this_cpu()->resched = true;
}

void smp_set_x2apic(bool on)
{
	if (!apic_want(on))
		return;
	apic_follow();
	for (u32 i = 0; i < cpu_count; i++) /* also those that a store would wake */
		if (cpus[i] != this_cpu())
			apic_send_ipi(cpus[i]->apic_id, VEC_KICK);
}

void smp_init(int (*enable_fn)(struct cpu *c), void (*join_fn)(struct cpu *c), void (*run_fn)(void))
{
	const struct acpi_info *acpi = &boot_info.acpi;
	u32 limit = boot_info.opt.maxcpus;

	ap_enable = enable_fn;
	ap_run = run_fn;
	irq_set(VEC_KICK, kick_irq);
	if (!limit) /* options_parse() lets no larger number through, acpi_parse() no more CPUs */
		limit = MAX_CPUS;
	BUG_ON(limit > MAX_CPUS || acpi->cpu_count > MAX_CPUS);
	if (acpi->cpu_count < 2)
		return;
	alike_check();
	mtrr_save();
	for (u32 i = 0; i < acpi->cpu_count && cpu_count < limit; i++) {
		struct cpu *c;

		if (acpi->apic_id[i] == this_cpu()->apic_id)
			continue;
		if (acpi->apic_id[i] > XAPIC_LAST_ID && !apic_is_x2apic()) {
			log_warn("CPU with APIC id %u needs x2APIC, left out; switch x2APIC on in "
				 "the firmware set-up",
				 acpi->apic_id[i]);
			continue;
		}
		c = cpu_alloc(cpu_count, acpi->apic_id[i]);
		if (!c) {
			log_warn("no memory for more than %u CPUs; give the hypervisor more with "
				 "option hvmem=",
				 cpu_count);
			break;
		}
		if (!start_cpu(c)) {
			alive[i] = !ap_is(c, AP_SILENT);
			continue;
		}
		BUG_ON(cpus[cpu_count] || !c->online);
		cpus[cpu_count] = c;
		__atomic_fetch_add(&cpu_count, 1, __ATOMIC_RELEASE);
		join_fn(c);
		ap_move(c, AP_ONLINE, AP_GO);
	}
	rest_unused(false);
	tsc_tell();
}

void smp_kick(struct cpu *c)
{
	if (c == this_cpu())
		WRITE_ONCE(c->resched, true);
	else if (!idle_poke(c))
		apic_send_ipi(c->apic_id, VEC_KICK);
}

static u64 host_gen;

void smp_follow(struct cpu *c)
{
	u64 gen = __atomic_load_n(&host_gen, __ATOMIC_ACQUIRE);

	if (likely(c->host_gen == gen))
		return;
	mm_load_cpu();
	__atomic_store_n(&c->host_gen, gen, __ATOMIC_RELEASE);
}

void smp_flush_host(void)
{
	__atomic_add_fetch(&host_gen, 1, __ATOMIC_SEQ_CST);
	smp_follow(this_cpu());
	for (u32 i = 0; i < cpu_count; i++)
		if (cpus[i] != this_cpu())
			smp_kick(cpus[i]);
}

bool smp_flush_host_done(void)
{
	for (u32 i = 0; i < cpu_count; i++)
		if (__atomic_load_n(&cpus[i]->host_gen, __ATOMIC_ACQUIRE) != READ_ONCE(host_gen))
			return false;
	return true;
}

void smp_flush_wait(struct vm *vm)
{
	u32 seq[MAX_CPUS], n = READ_ONCE(cpu_count); /* exits, twice; odd: wait for another */

	/*
	 * The caller's new generation first, then who is inside: the entry path does it the other
	 * way round.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (u32 i = 0; i < n; i++) {
		seq[i] = READ_ONCE(cpus[i]->exit_seq) << 1;
		if (cpus[i] == this_cpu() ||
		    __atomic_load_n(&cpus[i]->in_guest, __ATOMIC_ACQUIRE) != vm)
			continue;
		seq[i] |= 1;
		apic_send_ipi(cpus[i]->apic_id, VEC_KICK);
	}
	for (u32 i = 0; i < n; i++) {
		while ((u32)READ_ONCE(cpus[i]->exit_seq) << 1 == (seq[i] ^ 1) &&
		       __atomic_load_n(&cpus[i]->in_guest, __ATOMIC_ACQUIRE) == vm)
			cpu_relax();
	}
}

/* ---- sleep ---- */

bool smp_parking;

void smp_park(void)
{
	struct cpu *c = this_cpu();

	BUG_ON(!c->index || c->loaded);
	wbinvd(); /* what of memory is in caches only would be lost */
	__atomic_store_n(&c->parked, true, __ATOMIC_RELEASE);
	cpu_halt();
}

static bool all_parked(void)
{
	for (u32 i = 1; i < cpu_count; i++)
		if (!__atomic_load_n(&cpus[i]->parked, __ATOMIC_ACQUIRE))
			return false;
	return true;
}

bool smp_park_others(void)
{
	u64 start = rdtsc(), ticks = PARK_WAIT_US * tsc_khz / 1000;

	BUG_ON(this_cpu()->index || !READ_ONCE(smp_parking));
	for (u32 i = 1; i < cpu_count; i++)
		smp_kick(cpus[i]);
	while (!all_parked())
		if (rdtsc() - start > ticks)
			return false;
	return true;
}

void smp_start_parked(bool slept)
{
	WRITE_ONCE(smp_parking, false);
	for (u32 i = 1; i < cpu_count; i++) {
		struct cpu *c = cpus[i];

		if (!__atomic_load_n(&c->parked, __ATOMIC_ACQUIRE))
			continue;
		c->parked = false;
		if (!start_cpu(c))
			panic("CPU %u, with APIC id %u, does not come back from sleep", i,
			      c->apic_id);
		ap_move(c, AP_ONLINE, AP_GO);
	}
	if (slept)
		rest_unused(true);
	tsc_tell();
}
