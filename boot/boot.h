/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the boot code hands to the rest: the Multiboot2 tags and the command line, checked once into
 * typed structs.
 */
#pragma once

#include "hv/lib/types.h"

#define BOOT_MAX_REGIONS  1024
#define BOOT_MAX_CONSOLES 4
#define BOOT_MAX_MODULES  8 /* dom0's kernel and the parts of its initrd */

enum mem_kind { MEM_RAM = 1, MEM_RESERVED = 2, MEM_ACPI = 3, MEM_NVS = 4, MEM_BAD = 5 };

struct mem_region {
	u64 start, end; /* bytes, end exclusive; sorted, disjoint, merged */
	u32 kind;
};

struct mem_map {
	u32 count;
	u64 dropped; /* bytes of RAM in small regions that had no place */
	/*
	 * The same without RAM that is better left alone, in which places are looked for first;
	 * NULL: there is none.
	 */
	struct mem_map *calm;
	struct mem_region r[BOOT_MAX_REGIONS];
};

struct mem_range {
	u64 start, end; /* physical bytes, end exclusive */
};

struct boot_framebuffer {
	bool present, text; /* text: EGA text mode at addr */
	u64 addr;
	u32 pitch, width, height, bpp;
	struct mb2_colour {
		u8 pos, size; /* bits; 0 in text mode */
	} colour[3];	      /* red, green, blue; as Multiboot2 has them */
};

struct boot_consoles {
	bool named; /* by console=, not the defaults */
	u32 count;
	struct boot_console {
		u32 port; /* 0: the screen */
		u32 baud;
	} at[BOOT_MAX_CONSOLES];
};

/* How to restart the machine; where one way does not work the next is tried. */
enum reboot_way { REBOOT_ACPI, REBOOT_KEYBOARD, REBOOT_TRIPLE, REBOOT_HALT };

struct boot_options {
	struct boot_consoles console;
	u32 loglvl;	    /* enum log_level */
	u32 dom0_max_vcpus; /* 0 = one per CPU */
	u32 dom0_share;	    /* percent */
	u64 dom0_mem;	    /* bytes, 0 = all that is left */
	u64 hvmem;	    /* bytes, 0 = default by memory size */
	u32 maxcpus;	    /* 0 = all */
	char sched[16];	    /* "" = default */
	char mask[256];	    /* comma-separated capability names to hide; see cap_masked() */
	bool noreboot;
	u32 reboot;	   /* enum reboot_way */
	u32 spec;	   /* enum spec_mode */
	u32 debugkeys_off; /* Ctrl-A three times is nothing but that */
	u32 iommu;	   /* enum iommu_mode */
	u32 sched_core;	   /* CPUs of a core run one VM at a time */
	u32 numa_off;	   /* all CPUs are of one node, whatever the SRAT says */
	u32 nested;	   /* guests may have guests, where the back end can */
	u32 pmu;	   /* enum pmu_mode */
};

/*
 * Bytes of registers: those that put the machine to sleep, with the types of S5 and S3 for them
 * (bit n is type n), or those that tell of a wake-up.
 */
struct acpi_ports {
	u32 count;
	struct acpi_port {
		u16 port;
		u8 off_types, s3_types;
		bool is_b; /* PM1b's, which goes with PM1a's */
	} at[5];	   /* PM1a, PM1b, each perhaps at two addresses; sleep control register */
};

/* "Generic Address Structure": what an address is one of */
enum acpi_space { ACPI_SPACE_MEMORY, ACPI_SPACE_IO, ACPI_SPACE_PCI };

struct acpi_info {
	u64 lapic_addr;
	u32 cpu_count; /* enabled CPUs, boot CPU first */
	u32 apic_id[MAX_CPUS];
	u64 madt;	/* physical, 0 = none */
	u32 node_count; /* CPUs of which the SRAT tells their node */
	struct acpi_node {
		u32 apic_id, node;
	} node[MAX_CPUS];
	u16 pm_timer_port; /* 0 = none */
	struct acpi_ports sleep, wake;
	u64 facs;      /* physical, 0 = none that can be used */
	u64 hpet_addr; /* 0 = none */
	struct acpi_table {
		u64 addr; /* physical, 0 = none */
		u32 len;  /* bytes; they can be mapped */
	} dmar, ivrs;
	u64 reset_addr; /* in reset_space; 0 = there is no reset register */
	u8 reset_space, reset_value;
};

/* UEFI "EFI_BOOT_SERVICES.GetMemoryMap()" */
struct efi_desc {
	u32 type, pad;
	u64 phys, reserved, pages, attribute;
} __packed;
_Static_assert(sizeof(struct efi_desc) == 40, "EFI memory descriptor");
/* type: of the firmware until it is left */
#define EFI_BOOT_CODE 3
#define EFI_BOOT_DATA 4
#define EFI_RUNTIME   BIT(63) /* of attribute */
#define EFI_SPECIAL   BIT(18) /* there, too: slow memory, or for some purpose */
#define BOOT_MAX_EFI  (4 * PAGE_SIZE / sizeof(struct efi_desc))

/* ACPI specification "Root System Description Pointer": of revision 0, and of later ones */
#define RSDP_V1_SIZE 20
#define RSDP_V2_SIZE 36

struct boot_info {
	char cmdline[2048];
	char loader[64];
	struct mem_map map, calm;
	u32 module_count;
	struct mem_range module[BOOT_MAX_MODULES];
	char module_cmdline[BOOT_MAX_MODULES][2048]; /* without the file's name, see mb2_parse() */
	struct boot_framebuffer fb;
	bool efi;
	/* Runtime services, and what they, or the firmware's own mistakes, use. count 0: none */
	struct boot_efi {
		u64 system_table;
		u32 version, count;
		struct efi_desc desc[BOOT_MAX_EFI];
	} efi_runtime;
	u8 rsdp_copy[RSDP_V2_SIZE]; /* from tag 15 (preferred) or 14 */
	u32 rsdp_len;
	struct boot_options opt;
	struct acpi_info acpi;
	u64 image_start, image_end; /* the hypervisor's image, physical */
	u64 low_page;		    /* physical page below 640 KiB taken for the AP trampoline */
	u64 pool_start, pool_end;   /* the hypervisor's pool, physical, contiguous, page aligned */
	u64 reach;		    /* what the early page tables map, bytes; the pool is below */
	u64 max_ram_end;	    /* end of the highest RAM */
};

/* by boot/entry.asm: where the CPU has pages of 1 GiB, and where it has not */
#define BOOT_REACH	 BIT(39)
#define BOOT_REACH_SMALL BIT(32)

extern struct boot_info boot_info;
