/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The boot CPU's way from the loader to cpu_main(). Each step that fails ends in one line, by
 * boot_fail().
 */
#include "boot/acpi.h"
#include "boot/image.h"
#include "boot/mb2.h"
#include "boot/memmap.h"
#include "boot/multiboot2.h"
#include "boot/options.h"
#include "hv/console/console.h"
#include "hv/console/panic.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/idle.h"
#include "hv/cpu/mcheck.h"
#include "hv/cpu/mcheck_timer.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/spec.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/cpu/topology.h"
#include "hv/cpu/tsc.h"
#include "hv/cpu/ucode.h"
#include "hv/dom0/debugkey.h"
#include "hv/dom0/dom0.h"
#include "hv/guest/event.h"
#include "hv/guest/posting.h"
#include "hv/guest/quirks.h"
#include "hv/guest/run.h"
#include "hv/guest/shadow.h"
#include "hv/guest/vm.h"
#include "hv/iommu/iommu.h"
#include "hv/mm/frame.h"
#include "hv/mm/mtrr.h"
#include "hv/svm/svm.h"
#include "hv/vmx/vmx.h"

/* Copy what the loader left, before anything else touches memory. */
static void read_boot_info(u32 magic, u64 info)
{
	u32 *size = mm_map_boot(info, PAGE_SIZE);

	if (magic != MB2_BOOTLOADER_MAGIC)
		boot_fail("not started by a Multiboot2 loader (magic %x); use GRUB's command "
			  "multiboot2, not multiboot",
			  magic);
	if (mb2_parse(size, *size, &boot_info))
		boot_fail("the loader's boot information is damaged, see the lines before; use "
			  "GRUB 2.06 or newer");
	options_parse(boot_info.cmdline, &boot_info.opt);
	boot_info.image_start = virt_to_hpa(__text_start).v;
	boot_info.image_end = virt_to_hpa(__bss_end).v;
	boot_info.reach =
	    cpuid_read(0x80000001, 0).d & CPUID_X1D_1G ? BOOT_REACH : BOOT_REACH_SMALL;
	BUG_ON(!IS_ALIGNED(boot_info.image_start | boot_info.image_end, PAGE_SIZE));
}

static void init_memory(void)
{
	struct boot_info *b = &boot_info;
	const char *why;

	mm_read_width();
	mtrr_init();
	mtrr_trim(&b->map, b->image_start);
	why = boot_plan(b);
	if (why)
		boot_fail("%s", why);
	BUG_ON(b->pool_start < b->image_end && b->image_start < b->pool_end);
	pool_init(b->pool_start, b->pool_end);
	if (frame_init(b))
		boot_fail("the pool is too small for the table of frames; give the hypervisor more "
			  "with option hvmem=");
	mm_init();
}

static void print_banner(void)
{
	const struct boot_info *b = &boot_info;

	log_info("Corbel " CORBEL_VERSION
		 ": back end %s, %u CPUs, %llu MiB memory, pool %llu MiB at %lx, loaded by %s",
		 hvm->name, cpu_count, memmap_bytes(&b->map, MEM_RAM) / MIB,
		 pool_total_bytes() / MIB, b->pool_start,
		 *b->loader ? b->loader : "an unnamed loader");
	if (image_moved)
		log_info("the loader has moved the image to %lx", b->image_start);
	if (*b->cmdline)
		log_info("options: %s", b->cmdline);
}

/* On each CPU: virtualization on, and nobody told yet. */
static int enable_cpu(struct cpu *c)
{
	int ret = hvm->cpu_enable(c);

	BUG_ON(c != this_cpu());
	if (!ret)
		ret = pmu_init_cpu();
	if (!ret)
		mcheck_start_polling();
	c->place = topology_place(cpuid_read, c->apic_id);
	if (!boot_info.opt.numa_off)
		c->place.node = acpi_node_of(&boot_info.acpi, c->apic_id);
	return ret;
}

/*
 * On the boot CPU's own stack. The order, and why:
 *
 *   - ACPI: its tables tell where clocks and CPUs are
 *   - time: the APIC's timer is measured by the TSC, and time-outs are counted in it
 *   - back end: its probe ends the boot before anything has been changed in the machine
 *   - APIC: the timers arm it
 *   - timers, scheduler: what enable_cpu() needs, which makes this CPU ready to run vCPUs
 *   - hooks: only now has panic() virtualization to leave; from here on p2ms are flushed on
 *     other CPUs, and keys are answered
 *   - other CPUs: they do all this for themselves, but run nothing before dom0 has vCPUs
 *   - dom0: one vCPU for each CPU that has come up; it is loaded through the boot mappings
 *   - the end: boot mappings and screen are given up when nothing uses them any more
 */
static void __noreturn main_rest(void)
{
	struct cpu *me = this_cpu();
	const struct boot_info *b = &boot_info;

	BUG_ON(me->index || !me->stack_top);
	if (acpi_parse(b->rsdp_copy, b->rsdp_len, apic_id_self(), mm_map_boot, &boot_info.acpi))
		log_warn("no usable ACPI tables: one CPU only");
	time_init();
	hvm_select(&svm_ops, &vmx_ops);
	spec_init();
	p2m_nx_large = spec.nx_large;
	spec_init_cpu();
	idle_init(quirk_has(QUIRK_MONITOR));
	apic_init_cpu();
	tsc_init_cpu();
	timer_init_cpu();
	sched_init(b->opt.sched, vcpu_leave, MAX(b->acpi.cpu_count, 1u));
	sched_set_pinned_share(b->opt.dom0_share);
	sched_by_core(b->opt.sched_core);
	if (enable_cpu(me))
		boot_fail("%s cannot be switched on on the boot CPU; give the hypervisor more "
			  "memory with option hvmem=",
			  hvm->name);
	sched_init_cpu(me);
	panic_set_hooks(vcpu_dump_last, hvm->cpu_disable);
	mcheck_set_hook(event_error);
	p2m_set_flush_wait(smp_flush_wait);
	console_set_keys(debug_key_console);
	me->online = true;
	smp_init(enable_cpu, sched_init_cpu, cpu_main);
	BUG_ON(cpus[0] != me || !cpu_count || cpu_count > MAX_CPUS);
	print_banner();
	if (b->opt.sched_core)
		log_info("sched-gran=core: %u cores have several CPUs, which run one VM at a time",
			 sched_shared_cores());
	iommu.no_forward = quirk_has(QUIRK_IRQ_FORWARD);
	for (u32 i = 0; i < cpu_count; i++)
		iommu.wide_ids |= cpus[i]->apic_id > MSI_LAST_ID;
	iommu_init();
	posting_init();
	shadow_init();
	console_start_polling();
	dom0_create();
	BUG_ON(!dom0->vcpu_count || dom0->vcpu_count > cpu_count);
	mm_boot_done();
	console_leave_screen();
	cpu_main();
}

/* From boot/entry.asm, on the early stack and tables: EAX and EBX as the loader set them. */
void hv_main(u32 magic, u64 info) __noreturn;
void hv_main(u32 magic, u64 info)
{
	boot_tsc = rdtsc();
	panic_init();
	cpu_init_boot();
	console_early_init();
	read_boot_info(magic, info);
	console_init();
	init_memory();
	ucode_init();
	cpu_init_features(); /* PAT, before anything is mapped by it */
	console_start_screen();
	mcheck_init_cpu();
	cpu_init_stacks(this_cpu());
	cpu_call_on_stack(main_rest, (void *)this_cpu()->stack_top);
}
