/* SPDX-License-Identifier: GPL-2.0-only */
/* The boot CPU's way from the loader to cpu_main(). Each step that fails ends in one line, by boot_fail(). */
#include "hv/cpu/apic.h"
#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/hvm.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"
#include "hv/sched/sched.h"
#include "hv/cpu/smp.h"
#include "hv/lib/string.h"
#include "hv/cpu/time.h"
#include "hv/cpu/timer.h"
#include "hv/guest/vcpu.h"
#include "boot/acpi.h"
#include "boot/image.h"
#include "boot/mb2.h"
#include "boot/memmap.h"
#include "boot/multiboot2.h"
#include "boot/options.h"

#define MIB 0x100000ul

/* Copy what the loader left, before anything else touches memory. */
static void read_boot_info(u32 magic, u64 info)
{
	u32 *size = mm_map_boot(info, PAGE_SIZE);

	if (magic != MB2_BOOTLOADER_MAGIC)
		boot_fail("not started by a Multiboot2 loader (magic %x); use GRUB's command multiboot2, not multiboot", magic);
	if (mb2_parse(size, *size, &boot_info))
		boot_fail("the loader's boot information is damaged, see the lines before; use GRUB 2.06 or newer");
	options_parse(boot_info.cmdline, &boot_info.opt);
	boot_info.image_start = (u64)__text_start - HV_IMAGE;
	boot_info.image_end = (u64)__bss_end - HV_IMAGE;
}

static void init_memory(void)
{
	const char *why = NULL;
	struct boot_info *b = &boot_info;

	if (boot_plan(b, &why))
		boot_fail("%s", why);
	pool_init(b->pool_start, b->pool_end);
	if (frame_init(&b->map, b->image_start, b->image_end, b->pool_start, b->pool_end))
		boot_fail("the pool is too small for the table of frames; give the hypervisor more with option hvmem=");
	mm_init();
}

static void print_banner(void)
{
	const struct boot_info *b = &boot_info;

	log_info("Corbel " CORBEL_VERSION ": back end %s, %u CPUs, %lu MiB memory, pool %lu MiB at %lx, loaded by %s",
		 hvm->name, cpu_count, memmap_bytes(&b->map, MEM_RAM) / MIB, pool_total_bytes() / MIB, b->pool_start,
		 *b->loader ? b->loader : "an unnamed loader");
}

/* On the boot CPU's own stack. */
static void __noreturn main_rest(void)
{
	struct cpu *me = this_cpu();
	const struct boot_info *b = &boot_info;

	if (acpi_parse(b->rsdp_copy, b->rsdp_len, apic_id_self(), mm_map_boot, &boot_info.acpi))
		log_warn("no usable ACPI tables: one CPU only");
	time_init();
	hvm_select();
	apic_init_cpu();
	if (hvm->cpu_enable(me))
		boot_fail("%s cannot be switched on on the boot CPU; give the hypervisor more memory with option hvmem=",
		    hvm->name);
	sched_init(b->opt.sched);
	timer_init_cpu();
	sched_init_cpu();
	me->online = true;
	smp_init();
	print_banner();
	console_start_polling();
	dom0_create();
	mm_boot_done();
	console_leave_screen();
	cpu_main();
}

/* From boot/entry.asm, on the early stack and tables: EAX and EBX as the loader set them. */
void hv_main(u32 magic, u64 info) __noreturn;
void hv_main(u32 magic, u64 info)
{
	boot_tsc = rdtsc();
	cpu_init_boot();
	console_early_init();
	read_boot_info(magic, info);
	console_init();
	init_memory();
	console_start_screen();
	cpu_init_features();
	cpu_init_stacks(this_cpu());
	cpu_call_on_stack(main_rest, (void *)this_cpu()->stack_top);
}
