/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the boot code hands to the rest: the Multiboot2 tags and the command line, checked once into
 * typed structs.
 */
#pragma once

#include "hv/lib/types.h"

#define BOOT_MAX_REGIONS  256
#define BOOT_MAX_CONSOLES 4

enum mem_kind { MEM_RAM = 1, MEM_RESERVED = 2, MEM_ACPI = 3, MEM_NVS = 4, MEM_BAD = 5 };

struct mem_region {
	u64 start, end; /* bytes, end exclusive; sorted, disjoint, merged */
	u32 kind;
};

struct mem_map {
	u32 count;
	struct mem_region r[BOOT_MAX_REGIONS];
};

struct boot_module {
	u64 start, end;	    /* physical bytes */
	char cmdline[2048]; /* without the file's name, see mb2_parse() */
};

struct boot_framebuffer {
	bool present, text; /* text: EGA text mode at addr */
	u64 addr;
	u32 pitch, width, height, bpp;
	struct {
		u8 pos, size; /* bits; 0 in text mode */
	} red, green, blue;
};

enum console_kind { CONSOLE_SERIAL, CONSOLE_VGA };

struct boot_options {
	u32 console_count;
	struct {
		enum console_kind kind;
		u16 port;
		u32 baud;
	} console[BOOT_MAX_CONSOLES];
	u32 loglvl;	    /* enum log_level */
	u32 dom0_max_vcpus; /* 0 = one per CPU */
	u64 dom0_mem;	    /* bytes, 0 = all that is left */
	u64 hvmem;	    /* bytes, 0 = default by memory size */
	u32 maxcpus;	    /* 0 = all */
	char sched[16];	    /* "" = default */
	char mask[256];	    /* comma-separated capability names to hide; see cap_masked() */
	bool noreboot;
	char reboot[16]; /* "", "acpi", "kbd", "triple", "halt" */
};

#define ACPI_SLEEP_PORTS 5 /* PM1a, PM1b, each perhaps at two addresses; sleep control register */

struct acpi_info {
	u64 root; /* XSDT or RSDT, physical; 0 = none */
	bool is_xsdt;
	/* physical address of an RSDP for dom0's boot_params, 0 = let it search */
	u64 rsdp_addr;
	u64 lapic_addr;
	u32 cpu_count; /* enabled CPUs, boot CPU first */
	u32 apic_id[MAX_CPUS];
	u64 madt;	   /* physical, 0 = none */
	u16 pm_timer_port; /* 0 = none */
	/*
	 * Bytes of the registers that put the machine to sleep, and the types of S5 for them: bit n
	 * is type n.
	 */
	struct acpi_sleep_port {
		u16 port;
		u8 off_types;
	} sleep[ACPI_SLEEP_PORTS];
	u32 sleep_count;
	u16 wake[ACPI_SLEEP_PORTS]; /* bytes of the registers that tell of a wake-up */
	u32 wake_count;
	u64 hpet_addr; /* 0 = none */
	u32 reset_port_or_addr_space;
	u64 reset_addr;
	u8 reset_value;
	bool has_reset;
};

struct boot_info {
	char cmdline[2048];
	char loader[64];
	struct mem_map map;
	u32 module_count;
	struct boot_module module[4];
	struct boot_framebuffer fb;
	bool efi;
	u64 efi_systab;
	u8 rsdp_copy[36]; /* from tag 15 (preferred) or 14 */
	u32 rsdp_len;
	struct boot_options opt;
	struct acpi_info acpi;
	u64 image_start, image_end; /* the hypervisor's image, physical */
	u64 low_page;		    /* physical page below 640 KiB taken for the AP trampoline */
	u64 pool_start, pool_end;   /* the hypervisor's pool, physical, contiguous, page aligned */
	u64 max_ram_end;	    /* end of the highest RAM */
};

extern struct boot_info boot_info;
