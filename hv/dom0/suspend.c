/* SPDX-License-Identifier: GPL-2.0-only */
/* ACPI specification "Sleeping States", "Firmware ACPI Control Structure (FACS)" */
#include "hv/dom0/suspend.h"
#include "boot/acpi.h"
#include "boot/options.h"
#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/time.h"
#include "hv/cpu/tsc.h"
#include "hv/dom0/irq.h"
#include "hv/dom0/sleep.h"
#include "hv/guest/pv.h"
#include "hv/guest/run.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/iommu/iommu.h"
#include "hv/lib/asm.h"
#include "hv/lib/io.h"
#include "hv/lib/log.h"
#include "hv/mm/frame.h"
#include "hv/mm/mm.h"
#include "hv/mm/mtrr.h"

#define FALL_ASLEEP_NS 3000000000ull /* that the machine takes to go off */
#define REAL_MODE_END  BIT(20)

static struct {
	u8 byte;    /* with SLP_TYP and SLP_EN, for the first register */
	u32 vector; /* where dom0 wants to wake up */
	u64 times;
} asleep;

/* ---- may it be? ---- */

static const char *why_impossible(void)
{
	const struct acpi_ports *p = &boot_info.acpi.sleep;
	const struct frame *f = frame_of(boot_info.acpi.facs >> PAGE_SHIFT);

	if (cap_masked("s3"))
		return "option mask= says so";
	if (!p->count || !p->at[0].s3_types || !p->at[p->count - 1].s3_types)
		return "the firmware does not offer it";
	/* PM1a's, and PM1b's if there is one, are written at one address each */
	if (p->count > 2 || p->at[0].is_b || (p->count == 2 && !p->at[1].is_b))
		return "the firmware tells of two addresses for one register";
	if (!boot_info.acpi.facs)
		return "the firmware has no FACS that can be used";
	if (f && f->kind != FRAME_NONE && f->kind != FRAME_DOM0)
		return "the firmware's FACS lies in the hypervisor";
	return NULL;
}

void suspend_init(void)
{
	const char *why = why_impossible();

	if (why)
		log_info("S3: not possible, %s", why);
	else
		log_info("S3: possible, by port %x", boot_info.acpi.sleep.at[0].port);
}

bool suspend_is_possible(void)
{
	return !why_impossible();
}

/* dom0's vectors in FACS, or ours in their place: one word each, of 4 and of 8 bytes */
static u32 read_vector(void)
{
	u64 at = boot_info.acpi.facs;
	const u8 *page = mm_map_temp(hpa(at & PAGE_MASK));
	u32 vector = READ_ONCE(*(const u32 *)(page + at % PAGE_SIZE + ACPI_FACS_VECTOR));

	mm_unmap_temp();
	return vector;
}

static void write_vector(u32 vector)
{
	u64 at = boot_info.acpi.facs;
	u8 *page = mm_map_temp(hpa(at & PAGE_MASK));

	WRITE_ONCE(*(u32 *)(page + at % PAGE_SIZE + ACPI_FACS_VECTOR), vector);
	WRITE_ONCE(*(u64 *)(page + at % PAGE_SIZE + ACPI_FACS_X_VECTOR), 0);
	mm_unmap_temp();
}

static bool guests_stand_still(void)
{
	bool still = true;

	read_acquire(&objects);
	for (u32 id = 1; id < MAX_VMS; id++) {
		const struct vm *vm = vm_by_id(id);

		for (u32 i = 0; vm && i < vm->vcpu_end; i++)
			still = still && (!vm->vcpu[i] || READ_ONCE(vm->vcpu[i]->stopped));
	}
	read_release(&objects);
	return still;
}

/* The second register, where there is one, has been told the type, and has its SLP_EN from us. */
static bool all_say_s3(void)
{
	const struct acpi_ports *p = &boot_info.acpi.sleep;
	u32 type;

	if (p->count == 1)
		return true;
	type = inw(p->at[1].port - 1) >> (8 + ACPI_SLP_TYP_SHIFT) & ACPI_SLP_TYP_MASK;
	return p->at[1].s3_types & BIT(type);
}

const char *suspend_ask(u16 port, u8 byte)
{
	struct cpu *c = this_cpu();
	struct vcpu *v = c->current;
	const char *why = why_impossible();

	BUG_ON(!v->vm->is_dom0);
	if (why)
		return why;
	if (v != dom0->vcpu[0])
		return "it has to be done on the boot CPU";
	if (port != boot_info.acpi.sleep.at[0].port)
		return "the other register is the first to be written";
	if (!all_say_s3())
		return "the other register has another type";
	asleep.byte = byte;
	asleep.vector = read_vector();
	if (!asleep.vector || asleep.vector >= REAL_MODE_END)
		return "FACS does not say where dom0 wants to wake up";
	if (!guests_stand_still())
		return "a guest still runs";
	v->mp_state = MP_UNINITIALIZED; /* blocks: only its own other CPUs could start it */
	WRITE_ONCE(smp_parking, true);
	c->resched = true;
	return NULL;
}

/* ---- waking up ---- */

/* As a CPU is when the firmware calls the vector; the firmware leaves caches on. */
static void reset_boot_vcpu(struct vcpu *v)
{
	struct corbel_segment cs;

	BUG_ON(!hvm->borrow(v));
	vcpu_reset(v, false);
	hvm->set(v, HVM_CR0, CR0_ET);
	hvm->get_seg(v, HVM_CS, &cs);
	cs.selector = asleep.vector >> 4;
	cs.base = asleep.vector & ~0xfu;
	hvm->set_seg(v, HVM_CS, &cs);
	v->rip = asleep.vector & 0xf;
	hvm->give_back(v);
}

static void reset_other_vcpu(struct vcpu *v)
{
	BUG_ON(!hvm->borrow(v));
	vcpu_reset(v, false);
	hvm->give_back(v);
	v->mp_state = MP_UNINITIALIZED;
}

static void reset_vcpus(void)
{
	reset_boot_vcpu(dom0->vcpu[0]);
	for (u32 i = 1; i < dom0->vcpu_end; i++)
		if (dom0->vcpu[i])
			reset_other_vcpu(dom0->vcpu[i]);
}

/* Where CPUs' clocks have parted for good guests are told: they take care, by kvmclock at least. */
static void renew_clocks(void)
{
	struct vm *vm;

	read_acquire(&objects);
	for (u32 n = 0; (vm = vm_nth(n)); n++)
		pv_clock_renew(vm);
	read_release(&objects);
}

/*
 * On the boot CPU, on its tables. The order: the console, so that all else can speak; the CPU and
 * its clock; then devices are held before anybody can use one; dom0's vCPUs, before others can
 * touch them; the other CPUs.
 */
static void __noreturn go_on(bool slept)
{
	struct cpu *c = this_cpu();
	bool was_stable = tsc_stable;

	BUG_ON(c->index || c->loaded);
	console_wake();
	time_wake();
	if (smp_init_cpu(c))
		panic("after the sleep %s cannot be switched on again", hvm->name);
	if (slept) /* who has not slept has forgotten nothing, and devices are held all the time */
		iommu_wake();
	dom0_irq_forget();
	if (slept) {
		asleep.times++;
		log_info("awake again (%lu); dom0 goes on at %x", asleep.times, asleep.vector);
		reset_vcpus();
	}
	smp_start_parked(slept);
	if (was_stable && !tsc_stable)
		renew_clocks();
	dom0->vcpu[0]->mp_state = MP_RUNNABLE;
	sched_wake(&dom0->vcpu[0]->sched);
	cpu_main();
}

/* From the trampoline. */
static void wake_up(void)
{
	mm_load_cpu();
	cpu_load(cpus[0]);
	go_on(true);
}

/* ---- falling asleep ---- */

/* It does not return where all goes well. */
static void switch_off(void)
{
	const struct acpi_ports *p = &boot_info.acpi.sleep;
	u16 words[ARRAY_SIZE(p->at)];
	u64 start = rdtsc();

	for (u32 i = 0; i < p->count; i++)
		words[i] = inw(p->at[i].port - 1) | ACPI_SLP_EN << 8;
	words[0] = (words[0] & 0xff) | asleep.byte << 8;
	wbinvd();
	for (u32 i = 0; i < p->count; i++)
		outw(p->at[i].port - 1, words[i]);
	while (rdtsc() - start < ns_to_tsc(FALL_ASLEEP_NS) && !sleep_has_woken())
		cpu_relax();
}

void suspend_now(void)
{
	time_sleep();
	mtrr_save();
	if (smp_park_others()) {
		log_info("dom0 puts the machine to sleep");
		console_flush();
		write_vector(smp_aim_trampoline(this_cpu()->stack_top, wake_up));
		switch_off();
		write_vector(asleep.vector);
		log_warn("the machine does not go to sleep; dom0 goes on");
	} else {
		log_warn("dom0 may not put the machine to sleep: a CPU does not come to rest");
	}
	sleep_pretend_woken();
	go_on(false);
}
