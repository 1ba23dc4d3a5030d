/* SPDX-License-Identifier: GPL-2.0-only */
/* The command line of a guest's VMM. */
#define _GNU_SOURCE
#include "vmm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BOOT_MOST (CFG_MAX_DISKS + CFG_MAX_VIFS) /* devices that can boot */

static void __attribute__((format(printf, 2, 3))) arg(struct start *s, const char *fmt, ...)
{
	va_list ap;

	if (s->argc == MAX_ARGV)
		return;
	va_start(ap, fmt);
	if (vasprintf(&s->argv[s->argc], fmt, ap) >= 0)
		s->argc++;
	va_end(ap);
}

/* A path inside a QEMU option: commas are doubled. */
static const char *escape_commas(const char *path, char *buf)
{
	char *to = buf;

	for (; *path && to < buf + PATH_MAX - 2; path++) {
		*to++ = *path;
		if (*path == ',')
			*to++ = ',';
	}
	*to = 0;
	return buf;
}

/* What a guest is cloned into, or a template made in: the guest of that file has its ports. */
static bool has_others_ports(const struct start *s)
{
	return s->from && s->from->ram;
}

static void socket_args(struct start *s)
{
	char path[PATH_MAX], esc[PATH_MAX], log[PATH_MAX];
	int i;

	arg(s, "-chardev");
	arg(s, "socket,id=qmp,path=%s,server=on,wait=off",
	    escape_commas(guest_socket(s->g.name, "qmp", path), esc));
	arg(s, "-mon");
	arg(s, "chardev=qmp,mode=control");
	arg(s, "-chardev");
	escape_commas(guest_socket(s->g.name, "console", path), esc);
	escape_commas(guest_path(s->g.name, "console.log", path), log);
	arg(s, "socket,id=console,path=%s,server=on,wait=off,logfile=%s,logappend=on", esc, log);
	for (i = 0; i == 0 || i < s->c->nserial; i++) {
		const char *to = s->c->nserial ? s->c->serial[i] : "pty";

		if (i == 0 && !strcmp(to, "pty"))
			to = "chardev:console";
		else if (has_others_ports(s)) /* files and sockets are the other's, too */
			to = "null";
		arg(s, "-serial");
		arg(s, "%s", to);
	}
}

/*
 * Linux on KVM uses neither PIC nor PIT there, but has the PIC's pins open: the PIT would have QEMU
 * interrupt the guest 18 times a second for nothing. Without KVM's clock it needs both.
 */
static const char *machine_of(const struct start *s)
{
	if (cfg_is_pc(s->c))
		return "q35";
	return is_tcg(s) ? "microvm,acpi=on,rtc=on" : "microvm,acpi=on,rtc=on,pic=off,pit=off";
}

/* The command line has a word that begins so. */
static bool has_word(const char *cmdline, const char *word)
{
	const char *at = cmdline;

	while ((at = strstr(at, word)) && at != cmdline && at[-1] != ' ')
		at++;
	return at;
}

/* What Windows asks for, as libvirt and QEMU's documentation have it. */
#define VIRIDIAN                                                                                   \
	",hv-relaxed,hv-vapic,hv-spinlocks=0x1fff,hv-vpindex,hv-runtime,hv-time,hv-synic,"         \
	"hv-stimer,hv-frequencies,hv-tlbflush,hv-ipi,hv-reset,hv-crash"

/*
 * What QEMU does itself when the guest ends. Why it has ended QEMU then writes into its log, since
 * nobody is there to hear events; see end.c.
 */
static void action_args(struct start *s)
{
	const struct cfg *c = s->c;

	arg(s, "-action");
	arg(s, "reboot=%s,shutdown=%s,panic=%s", c->on_reboot == END_RESTART ? "reset" : "shutdown",
	    c->on_poweroff == END_PRESERVE ? "pause" : "poweroff",
	    c->on_crash == END_PRESERVE ? "pause" : "shutdown");
	arg(s, "-trace");
	arg(s, "qemu_system_shutdown_request");
	arg(s, "-trace");
	arg(s, "qemu_system_powerdown_request");
}

static void machine_args(struct start *s)
{
	struct cfg *c = s->c;

	arg(s, "%s", s->vmm);
	arg(s, "-name");
	arg(s, "guest=%s,debug-threads=on", c->name);
	arg(s, "-M");
	arg(s, "%s", machine_of(s));
	arg(s, "-accel");
	arg(s, "%s", s->accel);
	arg(s, "-cpu");
	arg(s, "%s%s%s", is_tcg(s) ? "max" : "host", c->viridian ? VIRIDIAN : "",
	    c->not_nested ? ",svm=off,vmx=off" : "");
	arg(s, "-smp");
	arg(s, "%u,maxcpus=%u", c->vcpus, c->maxvcpus);
	arg(s, "-nodefaults");
	arg(s, "-no-user-config");
	if (c->firmware == FIRMWARE_UEFI) {
		arg(s, "-bios");
		arg(s, "OVMF.fd");
	}
	if (c->firmware == FIRMWARE_NONE) {
		arg(s, "-bios"); /* only loads the kernel */
		arg(s, "qboot.rom");
	}
	if (c->uuid) {
		arg(s, "-uuid");
		arg(s, "%s", c->uuid);
	}
	if (c->localtime) {
		arg(s, "-rtc");
		arg(s, "base=localtime");
	}
	action_args(s);
	if (s->from || c->paused)
		arg(s, "-S"); /* it is for us to say when it runs */
	if (s->from) {
		arg(s, "-incoming");
		arg(s, "defer");
	}
}

static uint64_t most_mib(const struct cfg *c)
{
	return c->maxmem_mib ? c->maxmem_mib : c->memory_mib;
}

/* The memory's name is the one that QEMU gives to that of this machine: saved states have it. */
static void memory_args(struct start *s)
{
	const char *name = cfg_is_pc(s->c) ? "pc.ram" : "microvm.ram";
	char esc[PATH_MAX];

	arg(s, "-m");
	arg(s, "%lluM", (unsigned long long)most_mib(s->c));
	if (!s->from || !s->from->ram)
		return;
	arg(s, "-object");
	arg(s, "memory-backend-file,id=%s,size=%lluM,share=%s,mem-path=%s", name,
	    (unsigned long long)most_mib(s->c), s->from->ram_shared ? "on" : "off",
	    escape_commas(s->from->ram, esc));
	arg(s, "-M");
	arg(s, "memory-backend=%s", name);
}

/* QEMU reads it from a file of the guest's directory: in the command line everybody could see it.
 */
static void secret_arg(struct start *s, const char *file)
{
	char path[PATH_MAX], esc[PATH_MAX];

	arg(s, "-object");
	arg(s, "secret,id=%s,file=%s", file, escape_commas(guest_path(s->g.name, file, path), esc));
}

static void spice_args(struct start *s)
{
	const struct cfg_screen *screen = &s->c->screen;

	if (!screen->spice || has_others_ports(s))
		return;
	if (screen->spicepasswd)
		secret_arg(s, "spice-password");
	arg(s, "-spice");
	arg(s, "addr=%s,port=%u,%s", screen->spicehost ? screen->spicehost : "127.0.0.1",
	    screen->spiceport,
	    screen->spicepasswd ? "password-secret=spice-password" : "disable-ticketing=on");
}

static void usb_arg(struct start *s, bool wanted, const char *device)
{
	if (!wanted)
		return;
	arg(s, "-device");
	arg(s, "%s", device);
}

/* Also what a user of the screen types and clicks with. */
static void screen_args(struct start *s)
{
	const struct cfg_screen *screen = &s->c->screen;
	bool host = screen->vnclisten && *screen->vnclisten; /* empty would be all addresses */

	if (screen->vnc && screen->vncpasswd)
		secret_arg(s, "vnc-password");
	spice_args(s);
	arg(s, "-display");
	if (screen->vnc)
		arg(s, "vnc=%s:%u%s%s", host ? screen->vnclisten : "127.0.0.1", screen->vncdisplay,
		    screen->vncfixed && !has_others_ports(s) ? "" : ",to=99",
		    screen->vncpasswd ? ",password-secret=vnc-password" : "");
	else
		arg(s, "none");
	if (screen->vga) {
		arg(s, "-device");
		arg(s, "%s", screen->vga);
	}
	if (screen->keymap) {
		arg(s, "-k");
		arg(s, "%s", screen->keymap);
	}
	if (s->c->usb) {
		arg(s, "-device");
		arg(s, "qemu-xhci");
	}
	usb_arg(s, s->c->tablet, "usb-tablet");
	usb_arg(s, s->c->mouse, "usb-mouse");
	usb_arg(s, s->c->keyboard, "usb-kbd");
}

/* PCI Express takes new devices only behind ports of their own. */
static void port_args(struct start *s)
{
	int i;

	for (i = 0; cfg_is_pc(s->c) && i < HOTPLUG_PORTS; i++) {
		arg(s, "-device");
		arg(s, "pcie-root-port,id=port%d,chassis=%d", i, i + 1);
	}
}

static void boot_args(struct start *s)
{
	struct cfg *c = s->c;

	if (!c->kernel)
		return;
	arg(s, "-kernel");
	arg(s, "%s", c->kernel);
	if (c->ramdisk) {
		arg(s, "-initrd");
		arg(s, "%s", c->ramdisk);
	}
	/*
	 * Linux on microvm, whose ACPI has reduced hardware, would reboot by a jump to the
	 * firmware, and that start the kernel again as it lies there. It has no pvpanic to tell of
	 * a crash: where the same is wanted of that as of a reboot, it reboots.
	 */
	if (c->cmdline) {
		bool jumps = !cfg_is_pc(s->c) && !has_word(c->cmdline, "reboot="),
		     hangs = !cfg_is_pc(s->c) && c->on_crash == c->on_reboot &&
			     !has_word(c->cmdline, "panic=");

		arg(s, "-append");
		arg(s, "%s%s%s", c->cmdline, jumps ? " reboot=acpi" : "", hangs ? " panic=1" : "");
	}
}

/*
 * Not bus 0: QEMU takes pin 0 of the second IOAPIC for the timer's ISA interrupt and moves it to
 * pin 2.
 */
#define FIRST_BUS 1

/*
 * A device of the kind that this letter of `boot` means, with the place in the order that both
 * firmwares look at: all of the first letter come first. A kernel has place 0.
 */
static void boot_arg(struct start *s, char kind, const char *device)
{
	const char *at = s->c->boot ? strchr(s->c->boot, kind) : NULL;

	if (at)
		arg(s, "%s,bootindex=%d", device,
		    1 + (int)(at - s->c->boot) * BOOT_MOST + s->nboot++);
	else
		arg(s, "%s", device);
}

/* A SATA port for a CD drive: the last that no disk of a name has. */
static int take_sata(const struct cfg *c, unsigned int *taken)
{
	int i, port = CFG_SATA_PORTS - 1;

	for (i = 0; i < c->ndisks; i++)
		if (c->disk[i].bus == BUS_SATA && !c->disk[i].cdrom)
			*taken |= 1u << c->disk[i].unit;
	while (port >= 0 && *taken & 1u << port)
		port--;
	*taken |= port >= 0 ? 1u << port : 0;
	return port;
}

/*
 * A PC's disks are where xl has them: hdX at the IDE controller that systems of long ago know,
 * which q35 does not have by itself, and others at its own for SATA.
 */
static void disk_device(struct start *s, int i, unsigned int *ports)
{
	const struct cfg_disk *d = &s->c->disk[i];
	char drive[32] = "", at[128];

	if (*d->path)
		snprintf(drive, sizeof(drive), ",drive=disk%d", d->number);
	if (d->cdrom)
		snprintf(at, sizeof(at), "ide-cd%s,id=cd%d,bus=ide.%d", drive, d->number,
			 take_sata(s->c, ports));
	else if (!cfg_is_pc(s->c))
		snprintf(at, sizeof(at), "virtio-blk-device%s,bus=virtio-mmio-bus.%d", drive,
			 FIRST_BUS + i);
	else if (d->bus == BUS_IDE)
		snprintf(at, sizeof(at), "ide-hd%s,bus=hd.%u,unit=%u", drive, d->unit / 2,
			 d->unit % 2);
	else if (d->bus == BUS_SATA)
		snprintf(at, sizeof(at), "ide-hd%s,bus=ide.%u", drive, d->unit);
	else
		snprintf(at, sizeof(at), "virtio-blk-pci%s", drive);
	arg(s, "-device");
	boot_arg(s, d->cdrom ? 'd' : 'c', at);
}

/* As it was attached, or so that it can be detached. */
static void port_disk_args(struct start *s, const struct cfg_disk *d)
{
	char esc[PATH_MAX], at[64];

	arg(s, "-blockdev");
	arg(s, "driver=%s,node-name=disk-%d,read-only=%s%s,file.driver=file,file.filename=%s",
	    d->qcow2 ? "qcow2" : "raw", d->port, d->readonly ? "on" : "off",
	    d->discard ? ",discard=unmap" : "", escape_commas(d->path, esc));
	arg(s, "-device");
	snprintf(at, sizeof(at), "virtio-blk-pci,id=disk-%d,drive=disk-%d,bus=port%d", d->port,
		 d->port, d->port);
	boot_arg(s, 'c', at);
}

static void disk_args(struct start *s)
{
	struct cfg *c = s->c;
	unsigned int ports = 0;
	char esc[PATH_MAX];
	bool ide = false;
	int i;

	for (i = 0; i < c->ndisks && cfg_is_pc(s->c) && !ide; i++)
		ide = c->disk[i].bus == BUS_IDE && !c->disk[i].cdrom;
	if (ide) {
		arg(s, "-device");
		arg(s, "piix3-ide,id=hd");
	}
	for (i = 0; i < c->ndisks; i++) {
		if (c->disk[i].port >= 0) {
			port_disk_args(s, &c->disk[i]);
			continue;
		}
		if (*c->disk[i].path) {
			arg(s, "-drive");
			arg(s, "if=none,id=disk%d,format=%s,readonly=%s%s,file=%s",
			    c->disk[i].number, c->disk[i].qcow2 ? "qcow2" : "raw",
			    c->disk[i].readonly ? "on" : "off",
			    c->disk[i].discard ? ",discard=unmap" : "",
			    escape_commas(c->disk[i].path, esc));
		}
		disk_device(s, i, &ports);
	}
}

void make_mac(const char *name, int i, uint8_t mac[6])
{
	uint32_t h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	h = (h ^ (uint32_t)i) * 16777619u;
	memcpy(mac, (uint8_t[6]){0x52, 0x54, 0x00, h >> 16, h >> 8, h}, 6);
}

void vif_mac(const char *guest, const struct cfg_vif *vif, uint8_t mac[6])
{
	if (vif->has_mac)
		memmove(mac, vif->mac, 6);
	else
		make_mac(guest, vif->port < 0 ? vif->number : 100 + vif->port, mac);
}

void vif_id(const struct cfg_vif *vif, char id[16])
{
	if (vif->port < 0)
		snprintf(id, 16, "net%d", vif->number);
	else
		snprintf(id, 16, "net-%d", vif->port);
}

/*
 * A PC's alone: by which a guest notices that it is not the only one with its past, and by which it
 * says that it has crashed.
 */
static void note_args(struct start *s)
{
	if (!cfg_is_pc(s->c))
		return;
	arg(s, "-device");
	arg(s, "vmgenid,guid=auto");
	arg(s, "-device");
	arg(s, "pvpanic");
}

/* A port of dom0's is the first guest's that has this file. */
static void netdev_args(struct start *s, const struct cfg_vif *vif, const char *id, int tap)
{
	arg(s, "-netdev");
	if (!vif->user)
		arg(s, "tap,id=%s,fd=%d,vhost=off", id, tap);
	else if (vif->ssh && !has_others_ports(s))
		arg(s, "user,id=%s,hostfwd=tcp:127.0.0.1:%u-:22", id, vif->ssh);
	else
		arg(s, "user,id=%s", id);
}

static void vif_args(struct start *s)
{
	struct cfg *c = s->c;
	char bus[48], card[160], id[16];
	uint8_t m[6];
	int i;

	for (i = 0; i < c->nvifs; i++) {
		vif_mac(c->name, &c->vif[i], m);
		vif_id(&c->vif[i], id);
		netdev_args(s, &c->vif[i], id, s->tap[i]);
		arg(s, "-device");
		bus[0] = 0;
		if (c->vif[i].port >= 0)
			snprintf(bus, sizeof(bus), ",id=%s,bus=port%d", id, c->vif[i].port);
		else if (!cfg_is_pc(s->c))
			snprintf(bus, sizeof(bus), ",bus=virtio-mmio-bus.%d",
				 FIRST_BUS + c->ndisks + i);
		snprintf(card, sizeof(card), "%s,netdev=%s,mac=%02x:%02x:%02x:%02x:%02x:%02x%s",
			 c->vif[i].model   ? c->vif[i].model
			 : cfg_is_pc(s->c) ? "virtio-net-pci"
					   : "virtio-net-device",
			 id, m[0], m[1], m[2], m[3], m[4], m[5], bus);
		boot_arg(s, 'n', card);
	}
}

/* dom0's devices, each behind a port from which it can be taken away again. */
static void pci_args(struct start *s)
{
	char id[32];
	int i;

	for (i = 0; i < s->c->npci; i++) {
		pci_id(s->c->pci[i].bdf, id);
		arg(s, "-device");
		arg(s, "pcie-root-port,id=pciport%d,chassis=%d", i, HOTPLUG_PORTS + i + 1);
		arg(s, "-device");
		arg(s, "vfio-pci,host=%s,id=%s,bus=pciport%d", s->c->pci[i].bdf, id, i);
	}
}

/* On microvm behind the last interface. */
static void balloon_args(struct start *s)
{
	struct cfg *c = s->c;

	if (!c->maxmem_mib)
		return;
	arg(s, "-device");
	if (cfg_is_pc(s->c))
		arg(s, "virtio-balloon-pci");
	else
		arg(s, "virtio-balloon-device,bus=virtio-mmio-bus.%d",
		    FIRST_BUS + c->ndisks + c->nvifs);
}

static void tpm_args(struct start *s)
{
	if (s->tpm[0] < 0)
		return;
	arg(s, "-chardev");
	arg(s, "socket,id=tpm,fd=%d", s->tpm[0]);
	arg(s, "-tpmdev");
	arg(s, "emulator,id=tpm,chardev=tpm");
	arg(s, "-device");
	arg(s, "tpm-crb,tpmdev=tpm");
}

void vmm_args(struct start *s)
{
	int i;

	machine_args(s);
	memory_args(s);
	screen_args(s);
	socket_args(s);
	boot_args(s);
	port_args(s);
	disk_args(s);
	vif_args(s);
	pci_args(s);
	balloon_args(s);
	note_args(s);
	tpm_args(s);
	for (i = 0; i < s->c->nargs; i++)
		arg(s, "%s", s->c->args[i]);
}
