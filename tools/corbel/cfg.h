/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest's file in xl.cfg syntax: `key = value`, one a line or parted by `;`, where a value is a
 * number, a "string" or 'string', or a list of these in [ ]; `+=` adds to a list or string, `#`
 * begins a comment. Pure: reads text, touches no files.
 */
#ifndef TOOLS_CORBEL_CFG_H
#define TOOLS_CORBEL_CFG_H

#include <stdbool.h>
#include <stdint.h>

#include "../../hv/abi.h"

#define CFG_NAME_MAX   31 /* as in struct corbel_vm_create */
#define CFG_MAX_VCPUS  255
#define CFG_WHY_VCPUS  "for more, QEMU's machine would need an IOMMU that remaps interrupts"
#define CFG_MAX_DISKS  16
#define CFG_MAX_VIFS   8
#define CFG_MAX_ARGS   64
#define CFG_MAX_PCI    8
#define CFG_MAX_SERIAL 4
#define CFG_SATA_PORTS 6  /* of a PC */
#define CFG_BDF_SIZE   13 /* "0000:00:00.0" */
#define CFG_BRIDGE     "corbr0"
#define CFG_PORTS      4 /* of a PC, for hot-plugging */

/* Which device a disk is. */
enum cfg_bus { BUS_VIRTIO, BUS_IDE, BUS_SATA };

struct cfg_disk {
	char *path; /* "": a drive with nothing in it */
	bool qcow2, readonly, cdrom;
	bool discard;  /* what the guest discards, the file is rid of */
	char vdev[16]; /* "" = none */
	enum cfg_bus bus;
	unsigned int unit; /* of IDE or SATA: which disk */
	int port;	   /* for hot-plugging, behind which it is; -1 = none */
	int number;	   /* of those without a port, which cannot go: it stays what it is */
	int line;
};

struct cfg_vif {
	char *bridge;	  /* NULL: user */
	bool user;	  /* by dom0's own connections, which QEMU makes for it */
	unsigned int ssh; /* port of dom0's 127.0.0.1 that leads to the guest's 22; 0 = none */
	uint8_t mac[6];
	bool has_mac;
	int port, number;  /* as a disk's */
	char *model;	   /* of QEMU, or NULL: virtio */
	bool named, ioemu; /* the file says which; that it is a card that there is */
	int line;
};

/* A PCI device of dom0's for the guest. */
struct cfg_pci {
	char bdf[CFG_BDF_SIZE];
	bool seize; /* it is taken from dom0's driver */
	int line;
};

/* What becomes of a guest that has switched itself off, wants to reboot, or has crashed */
enum cfg_end { END_DESTROY, END_RESTART, END_PRESERVE };

enum cfg_firmware { FIRMWARE_MICROVM, FIRMWARE_BIOS, FIRMWARE_UEFI, FIRMWARE_NONE };

struct cfg_screen {
	const char *vga; /* QEMU's device, NULL = none */
	bool vnc;
	char *vnclisten;       /* NULL = 127.0.0.1 */
	char *vncpasswd;       /* NULL = none */
	bool spice, spiceopen; /* open: nobody is asked for a password */
	char *spicehost;       /* NULL = 127.0.0.1 */
	char *spicepasswd;     /* NULL = none */
	unsigned int spiceport;
	unsigned int vncdisplay;
	bool vncfixed; /* this display or none */
	char *keymap;
};

struct cfg {
	char *name, *kernel, *ramdisk;
	char *cmdline;		  /* `cmdline`, or `root` and `extra` joined */
	char *vmm;		  /* device_model_override */
	char *args[CFG_MAX_ARGS]; /* device_model_args */
	int nargs;
	uint64_t memory_mib;
	uint64_t maxmem_mib; /* 0 = no balloon */
	unsigned int vcpus, maxvcpus;
	unsigned int vcpus_now; /* of one whose state is read; 0 = vcpus */
	char *uuid;
	bool localtime;
	enum cfg_end on_poweroff, on_reboot, on_crash;
	bool viridian;		    /* Hyper-V's interfaces, for Windows */
	bool nested, not_nested;    /* the guest is to have guests, or not; else as the CPU */
	enum cfg_firmware firmware; /* BIOS, UEFI: a PC */
	bool ahci;		    /* where xl has IDE */
	char *boot;		    /* letters of a, c, d, n, or NULL */
	struct cfg_screen screen;
	bool usb, tablet, mouse, keyboard; /* each at the USB controller */
	char *serial[CFG_MAX_SERIAL];	   /* as QEMU has it; "pty", or none: the console */
	int nserial;
	bool tpm;
	bool paused; /* not of its file: it is not to run yet */
	struct cfg_disk disk[CFG_MAX_DISKS];
	int ndisks, fixed_disks;
	struct cfg_vif vif[CFG_MAX_VIFS];
	int nvifs, fixed_vifs;
	struct cfg_pci pci[CFG_MAX_PCI];
	int npci;
	char pool[32];				    /* of CPUs; "" = Pool-0 */
	unsigned int weight;			    /* 0 = default */
	unsigned int cap;			    /* percent of one CPU, 0 = none */
	unsigned int period, budget;		    /* us of each vCPU, 0 = as usual */
	struct corbel_cpus affinity[CFG_MAX_VCPUS]; /* of each vCPU, empty = any CPU */

	char error[256]; /* "FILE:LINE: what is wrong; what would be right" when parsing failed */
	char **warnings;
	int nwarnings;
	int unknown; /* how many of them name something that is ignored: a key, an option */
};

/*
 * Fill *c from text; file is its name in messages. 0, or -1 with c->error set. cfg_free() in both
 * cases.
 */
int cfg_parse(struct cfg *c, const char *file, const char *text);
void cfg_free(struct cfg *c);
void cfg_free_vif(struct cfg_vif *vif);
/*
 * The same text (malloc) with blanks in place of the assignments to these keys, NULL at their end.
 * NULL if it is not a list of assignments.
 */
char *cfg_without(const char *text, const char *const *keys);
/* Not a microvm. */
bool cfg_is_pc(const struct cfg *c);

/*
 * One disk, network interface or device as in the lists `disk`, `vif` and `pci`. 0, or -1 with why
 * in err of 256 bytes; the strings in it are the caller's.
 */
int cfg_parse_disk(struct cfg_disk *d, const char *spec, char *err);
int cfg_parse_vif(struct cfg_vif *vif, const char *spec, char *err);
int cfg_parse_pci(struct cfg_pci *pci, const char *spec, char *err);

/* How many letters have to be changed, put in or taken out to make b, of 63 at most, of a. */
int cfg_distance(const char *a, const char *b);

/* NULL, or why this cannot be a guest's name. */
const char *cfg_bad_name(const char *name);

/*
 * CPU lists as in xl: "all", "3", "0-1,4", "0-7,^3", "node:1", "nodes:0-1,^3". 0 and *c (not
 * empty), or -1 and what is wrong in err. cpulist_format() writes the shortest such list, without
 * nodes; buf of CPULIST_TEXT is always enough.
 */
#define CPULIST_TEXT 1536
int cpulist_parse(const char *list, struct corbel_cpus *c, char *err, unsigned int size);
char *cpulist_format(const struct corbel_cpus *c, char *buf, unsigned int size);
/* The CPUs of a node, as dom0's Linux numbers them. False: it is not there, or has none. */
bool node_cpus(unsigned int node, struct corbel_cpus *c);
bool cpus_empty(const struct corbel_cpus *c);
bool cpus_all(const struct corbel_cpus *c);
unsigned int cpus_count(const struct corbel_cpus *c);

/* xx:xx:xx:xx:xx:xx, a unicast address. */
int mac_parse(const char *s, uint8_t mac[6]);

#endif
