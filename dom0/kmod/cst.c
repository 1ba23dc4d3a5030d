// SPDX-License-Identifier: GPL-2.0-only
/*
 * How CPUs may sleep, as the firmware says it by ACPI's _CST, which only dom0 can evaluate: it goes
 * to the hypervisor, which lets them sleep. ACPI "_CST (C States)", "_PDC"; Intel's "Processor
 * Vendor-Specific ACPI". Linux' own driver does not get far with _CST here: dom0 has no MWAIT.
 */
#include "dom0.h"
#include "kmod.h"

#include <linux/acpi.h>
#include <linux/cpu.h>

#include <acpi/processor.h>

#include <asm/acpi.h>

#define MWAIT_CLASS 2 /* of what FFixedHW means: "Native C State Instruction" */
#define STATE_ITEMS 4 /* register, type, latency, power */

/* Names and function of Linux 6.7 and later, else those before */
#ifdef ACPI_PROC_CAP_C_C2C3_FFH
#define CAN_MWAIT (ACPI_PROC_CAP_C_C1_FFH | ACPI_PROC_CAP_C_C2C3_FFH)
static void can_do(u32 *bits)
{
	arch_acpi_set_proc_cap_bits(bits);
}
#else
#define CAN_MWAIT (ACPI_PDC_C_C1_FFH | ACPI_PDC_C_C2C3_FFH)
static void can_do(u32 *bits)
{
	u32 pdc[3] = {0};

	arch_acpi_set_pdc_bits(pdc);
	*bits = pdc[2];
}
#endif

static int online_state = -1;

/* One state of the package. False: it is none, or nothing that can be entered. */
static bool parse_state(const union acpi_object *o, struct corbel_cst *s)
{
	const union acpi_object *item = o->package.elements;
	struct acpi_power_register reg;

	if (o->type != ACPI_TYPE_PACKAGE || o->package.count != STATE_ITEMS ||
	    item[0].type != ACPI_TYPE_BUFFER || item[0].buffer.length < sizeof(reg) ||
	    item[1].type != ACPI_TYPE_INTEGER || item[2].type != ACPI_TYPE_INTEGER)
		return false;
	memcpy(&reg, item[0].buffer.pointer, sizeof(reg));
	*s = (struct corbel_cst){
	    .type = item[1].integer.value,
	    .latency_us = min_t(u64, item[2].integer.value, U32_MAX),
	    .address = reg.address,
	};
	if (reg.space_id == ACPI_ADR_SPACE_SYSTEM_IO)
		s->by = CORBEL_CST_PORT;
	else if (reg.space_id == ACPI_ADR_SPACE_FIXED_HARDWARE && reg.bit_offset == MWAIT_CLASS)
		s->by = CORBEL_CST_MWAIT;
	else if (reg.space_id == ACPI_ADR_SPACE_FIXED_HARDWARE && s->type == ACPI_STATE_C1)
		s->by = CORBEL_CST_HLT;
	else
		return false;
	return reg.address <= U32_MAX;
}

/* -> how many states there are in cst[] */
static u32 evaluate_cst(acpi_handle cpu, struct corbel_cst *cst)
{
	struct acpi_buffer buffer = {ACPI_ALLOCATE_BUFFER, NULL};
	const union acpi_object *all;
	u32 n = 0;

	if (ACPI_FAILURE(acpi_evaluate_object(cpu, "_CST", NULL, &buffer)))
		return 0;
	all = buffer.pointer;
	/* the first element is how many the others are */
	if (all && all->type == ACPI_TYPE_PACKAGE)
		for (u32 i = 1; i < all->package.count && n < CORBEL_MAX_CST; i++)
			n += parse_state(&all->package.elements[i], &cst[n]);
	kfree(buffer.pointer);
	return n;
}

/* What Linux has said to the firmware, and that MWAIT can be used, which it did not know. */
static void say_mwait(acpi_handle cpu)
{
	u32 words[] = {1 /* revision */, 1 /* words of bits */, 0};
	union acpi_object arg = {
	    .buffer = {.type = ACPI_TYPE_BUFFER, .length = sizeof(words), .pointer = (u8 *)words}};
	struct acpi_object_list args = {1, &arg};

	can_do(&words[2]);
	words[2] |= CAN_MWAIT;
	acpi_evaluate_object(cpu, "_PDC", &args, NULL);
}

/* Does the hypervisor use MWAIT? On all CPUs, or on none. */
static bool has_mwait(void)
{
	struct corbel_cpu_stat *s = kzalloc(PAGE_SIZE, GFP_KERNEL);
	bool has =
	    s && HC4(STAT, CORBEL_STAT_CPU, 0, cb_phys(s), PAGE_SIZE) > 0 && s->idle_states & 2;

	kfree(s);
	return has;
}

/* What a firmware that does not know of MWAIT says lacks it, or has ports, or C1 alone. */
static bool has_deep_mwait(const struct corbel_cst *cst, u32 n)
{
	for (u32 i = 0; i < n; i++)
		if (cst[i].by == CORBEL_CST_MWAIT && cst[i].type >= 2)
			return true;
	return false;
}

/* On that CPU, which is the one that the hypervisor takes it for. */
static int tell_hypervisor(unsigned int cpu)
{
	struct acpi_processor *pr = per_cpu(processors, cpu);
	struct corbel_cst *cst;
	u32 n;
	long r;

	if (!pr || !pr->handle || cpuhp_tasks_frozen) /* in a wake-up what was told stays */
		return 0;
	cst = kzalloc(CORBEL_MAX_CST * sizeof(*cst), GFP_KERNEL); /* a power of 2: in one page */
	if (!cst)
		return 0;
	n = evaluate_cst(pr->handle, cst);
	if (n && !has_deep_mwait(cst, n) && boot_cpu_data.x86_vendor == X86_VENDOR_INTEL &&
	    has_mwait()) {
		say_mwait(pr->handle);
		n = evaluate_cst(pr->handle, cst);
	}
	if (n) {
		r = HC2(IDLE, cb_phys(cst), n);
		if (r < 0)
			pr_warn("CPU %u: _CST is not taken (%ld)\n", cpu, r);
	}
	kfree(cst);
	return 0;
}

void cb_cst_init(void)
{
	acpi_processor_claim_cst_control();
	online_state = cpuhp_setup_state(CPUHP_AP_ONLINE_DYN, "corbel:cst", tell_hypervisor, NULL);
}

/* What has been told stays. */
void cb_cst_exit(void)
{
	if (online_state > 0)
		cpuhp_remove_state(online_state);
}
