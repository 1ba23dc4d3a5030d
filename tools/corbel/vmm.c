/* SPDX-License-Identifier: GPL-2.0-only */
/* Starting the VMM of a guest: its command line, its process. */
#define _GNU_SOURCE
#include "corbel.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_MS  180000 /* of a busy dom0: an idle one needs one second */
#define MAX_ARGV  320
#define BOOT_MOST (CFG_MAX_DISKS + CFG_MAX_VIFS) /* devices that can boot */

struct start {
	struct cfg *c;
	const char *accel;
	struct guest g;
	char vmm[PATH_MAX];   /* the program */
	char swtpm[PATH_MAX]; /* another, if there is to be a TPM */
	char tpm_dir[PATH_MAX + 8];
	int tpm[2]; /* a connection: QEMU's end, and swtpm's; -1 = none */
	char *argv[MAX_ARGV + 1];
	int argc;
	int nboot;		   /* devices that have a place in the boot order */
	const struct origin *from; /* NULL: it boots */
	int tap[CFG_MAX_VIFS];
	char tap_name[CFG_MAX_VIFS][16];
};

/* ---- the command line ---- */

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

static bool is_q35(const struct start *s)
{
	return cfg_is_pc(s->c);
}

static bool is_tcg(const struct start *s)
{
	return !strncmp(s->accel, "tcg", 3);
}

/* What a guest is cloned into, or a template made in: the guest of that file has its ports. */
static bool has_others_ports(const struct start *s)
{
	return s->from && s->from->ram;
}

static void socket_args(struct start *s)
{
	char path[PATH_MAX], esc[PATH_MAX];
	int i;

	arg(s, "-chardev");
	arg(s, "socket,id=qmp,path=%s,server=on,wait=off",
	    escape_commas(guest_path(s->g.name, "qmp", path), esc));
	arg(s, "-mon");
	arg(s, "chardev=qmp,mode=control");
	arg(s, "-chardev");
	escape_commas(guest_path(s->g.name, "console", path), esc);
	arg(s, "socket,id=console,path=%s,server=on,wait=off,logfile=%s.log,logappend=on", esc,
	    esc);
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
	if (is_q35(s))
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
	const char *name = is_q35(s) ? "pc.ram" : "microvm.ram";
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

	for (i = 0; is_q35(s) && i < HOTPLUG_PORTS; i++) {
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
		bool jumps = !is_q35(s) && !has_word(c->cmdline, "reboot="),
		     hangs = !is_q35(s) && c->on_crash == c->on_reboot &&
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
		snprintf(drive, sizeof(drive), ",drive=disk%d", i);
	if (d->cdrom)
		snprintf(at, sizeof(at), "ide-cd%s,id=cd%d,bus=ide.%d", drive, i,
			 take_sata(s->c, ports));
	else if (!is_q35(s))
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

	for (i = 0; i < c->ndisks && is_q35(s) && !ide; i++)
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
			arg(s, "if=none,id=disk%d,format=%s,readonly=%s%s,file=%s", i,
			    c->disk[i].qcow2 ? "qcow2" : "raw", c->disk[i].readonly ? "on" : "off",
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

void vif_mac(const char *guest, const struct cfg_vif *vif, int n, uint8_t mac[6])
{
	if (vif->has_mac)
		memmove(mac, vif->mac, 6);
	else
		make_mac(guest, vif->port < 0 ? n : 100 + vif->port, mac);
}

void vif_id(const struct cfg_vif *vif, int n, char id[16])
{
	snprintf(id, 16, vif->port < 0 ? "net%d" : "net-%d", vif->port < 0 ? n : vif->port);
}

/*
 * A PC's alone: by which a guest notices that it is not the only one with its past, and by which it
 * says that it has crashed.
 */
static void note_args(struct start *s)
{
	if (!is_q35(s))
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
		vif_mac(c->name, &c->vif[i], i, m);
		vif_id(&c->vif[i], i, id);
		netdev_args(s, &c->vif[i], id, s->tap[i]);
		arg(s, "-device");
		bus[0] = 0;
		if (c->vif[i].port >= 0)
			snprintf(bus, sizeof(bus), ",id=%s,bus=port%d", id, c->vif[i].port);
		else if (!is_q35(s))
			snprintf(bus, sizeof(bus), ",bus=virtio-mmio-bus.%d",
				 FIRST_BUS + c->ndisks + i);
		snprintf(card, sizeof(card), "%s,netdev=%s,mac=%02x:%02x:%02x:%02x:%02x:%02x%s",
			 c->vif[i].model ? c->vif[i].model
			 : is_q35(s)	 ? "virtio-net-pci"
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
	if (is_q35(s))
		arg(s, "virtio-balloon-pci");
	else
		arg(s, "virtio-balloon-device,bus=virtio-mmio-bus.%d",
		    FIRST_BUS + c->ndisks + c->nvifs);
}

/* ---- checks that QEMU would fail late or obscurely ---- */

static int check_file(const char *what, char **path, bool write)
{
	char *full;

	if (!*path || !**path)
		return 0;
	full = realpath(*path, NULL);
	if (!full || access(full, write ? R_OK | W_OK : R_OK)) {
		fail("%s %s: %s%s", what, *path, strerror(errno),
		     errno == ENOENT			 ? "; give the path of a file that exists"
		     : errno == EACCES || errno == EROFS ? "; check its permissions"
							 : "");
		free(full);
		return -1;
	}
	free(*path);
	*path = full;
	return 0;
}

static int check_files(struct cfg *c)
{
	int i;

	if (check_file("kernel", &c->kernel, false) || check_file("ramdisk", &c->ramdisk, false))
		return -1;
	for (i = 0; i < c->ndisks; i++)
		if (check_file("disk", &c->disk[i].path, !c->disk[i].readonly))
			return -1;
	return 0;
}

/* Where PATH has a program, in path of PATH_MAX. False: nowhere. */
static bool find_program(const char *name, char *path)
{
	const char *dir = getenv("PATH") ? getenv("PATH") : "/usr/bin:/bin", *end;

	for (; *dir; dir = *end ? end + 1 : end) {
		end = strchrnul(dir, ':');
		snprintf(path, PATH_MAX, "%.*s/%s", (int)(end - dir), dir, name);
		if (!access(path, X_OK))
			return true;
	}
	return false;
}

static int find_vmm(struct start *s)
{
	/* Debian's microvm build has no accelerator but kvm. */
	bool full = is_q35(s) || is_tcg(s);
	const char *name = s->c->vmm ? s->c->vmm
			   : full    ? "qemu-system-x86_64"
				     : "qemu-system-x86_64-microvm";

	if (strchr(name, '/')) {
		snprintf(s->vmm, sizeof(s->vmm), "%s", name);
		if (!access(name, X_OK))
			return 0;
		fail("%s: %s; set device_model_override to a VMM that can be run", name,
		     strerror(errno));
		return -1;
	}
	if (find_program(name, s->vmm))
		return 0;
	fail("%s is not in PATH; install QEMU (package qemu-system-x86), or name another VMM with "
	     "device_model_override",
	     name);
	return -1;
}

static int find_tpm(struct start *s)
{
	if (!s->c->tpm || find_program("swtpm", s->swtpm))
		return 0;
	fail("tpm = 1 wants swtpm, which is not in PATH; install the package swtpm");
	return -1;
}

/* Do guests have SVM or VMX? Yes, if there is no /dev/kvm to ask. */
static bool can_nest(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	bool can = kvm < 0 || ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE) > 0;

	if (kvm >= 0)
		close(kvm);
	return can;
}

static int check_host(struct start *s)
{
	struct sockaddr_un a;
	char path[PATH_MAX];

	if (strlen(guest_path(s->g.name, "console", path)) >= sizeof(a.sun_path)) {
		fail("%s is too long for a socket's path (%zu characters at most); set CORBEL_RUN "
		     "to a shorter "
		     "directory",
		     path, sizeof(a.sun_path) - 1);
		return -1;
	}
	if (!strncmp(s->accel, "kvm", 3) && access("/dev/kvm", R_OK | W_OK)) {
		fail("/dev/kvm: %s; %s", strerror(errno),
		     errno == EACCES
			 ? "run as root"
			 : "corbel.ko is not loaded (try `modprobe corbel'), or use --accel=tcg");
		return -1;
	}
	if (check_files(s->c) || find_vmm(s) || find_tpm(s))
		return -1;
	if (s->c->nested && !can_nest())
		warning("nestedhvm = 1: guests can have guests with Corbel booted with nested=on; "
			"this one cannot");
	return 0;
}

static int take_devices(struct start *s)
{
	int i;

	for (i = 0; i < s->c->npci; i++)
		if (pci_take(&s->c->pci[i]))
			return -1;
	return 0;
}

static int open_taps(struct start *s)
{
	int i;

	for (i = 0; i < s->c->nvifs; i++) {
		if (s->c->vif[i].user)
			continue;
		s->tap[i] = tap_open(s->c->vif[i].bridge, s->tap_name[i]);
		if (s->tap[i] < 0)
			return -1;
	}
	return 0;
}

/* ---- scopes of systemd ---- */

/*
 * The processes of a login are ended as soon as dom0 goes down: there a guest and its TPM get
 * scopes of their own, which are ended when corbel.service has shut down what is in them. Back if
 * that cannot be.
 */
static void exec_in_scope(const struct start *s, const char *kind, char *const command[])
{
	char what[64];
	char *argv[MAX_ARGV + 16] = {"systemd-run",
				     "--scope",
				     "--quiet",
				     "--collect",
				     "--description",
				     what,
				     "--property",
				     "Before=corbel.service",
				     "--"};
	int n = 0, i;

	if (geteuid() || access("/run/systemd/system", F_OK) ||
	    !process_in(getpid(), "/user.slice/"))
		return;
	snprintf(what, sizeof(what), "%s %s of Corbel", kind, s->g.name);
	while (argv[n])
		n++;
	for (i = 0; command[i]; i++)
		argv[n + i] = command[i];
	execvp(argv[0], argv);
	fprintf(stderr, "cannot run systemd-run: %s; dom0's end will cut it off\n",
		strerror(errno));
}

/* ---- the TPM: swtpm beside QEMU ---- */

/* What it stores is the guest's for good, as its disks are. 0, or -1 told. */
static int open_tpm(struct start *s)
{
	char dir[PATH_MAX];

	if (!s->c->tpm)
		return 0;
	snprintf(dir, sizeof(dir), "%s/%s", lib_dir(), s->c->name);
	snprintf(s->tpm_dir, sizeof(s->tpm_dir), "%s/tpm", dir);
	mkdir(lib_dir(), 0755);
	mkdir(dir, 0700);
	if (mkdir(s->tpm_dir, 0700) && errno != EEXIST) {
		fail("cannot make %s: %s", s->tpm_dir, strerror(errno));
		return -1;
	}
	if (!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s->tpm))
		return 0;
	fail("cannot connect a TPM: %s", strerror(errno));
	return -1;
}

static void close_tpm(const struct start *s)
{
	int i;

	for (i = 0; i < 2; i++)
		if (s->tpm[i] >= 0)
			close(s->tpm[i]);
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

/*
 * In what becomes the VMM, whose child it is. When that shuts the connection it ends by itself;
 * should that have died before, or never come so far, it is told to.
 */
static void run_tpm(const struct start *s)
{
	char state[sizeof(s->tpm_dir) + 16], control[48];
	char *argv[] = {(char *)s->swtpm, "socket", "--tpm2",	   "--tpmstate", state,
			"--ctrl",	  control,  "--terminate", NULL};
	pid_t vmm = getpid();

	if (s->tpm[0] < 0)
		return;
	if (fork()) {
		fcntl(s->tpm[0], F_SETFD, 0);
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != vmm)
		_exit(1);
	fcntl(s->tpm[1], F_SETFD, 0);
	snprintf(state, sizeof(state), "dir=%s,mode=0600", s->tpm_dir);
	snprintf(control, sizeof(control), "type=unixio,clientfd=%d", s->tpm[1]);
	exec_in_scope(s, "TPM of guest", argv);
	execv(s->swtpm, argv);
	fprintf(stderr, "cannot run %s: %s\n", s->swtpm, strerror(errno));
	_exit(127);
}

/* ---- the process ---- */

/* In the child: become the VMM. Why it failed goes into the log. */
static void __attribute__((noreturn)) become_vmm(struct start *s)
{
	char path[PATH_MAX];
	int i,
	    log = open(guest_path(s->g.name, "vmm.log", path), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	int null = open("/dev/null", O_RDONLY);

	/* It says why the guest has ended, also where this one has filled what there is for logs.
	 */
	fallocate(log, FALLOC_FL_KEEP_SIZE, 0, 65536);
	setsid();
	dup2(null, 0);
	dup2(log, 1);
	dup2(log, 2);
	if (null > 2)
		close(null);
	if (log > 2)
		close(log);
	run_tpm(s);
	for (i = 0; i < s->c->nvifs; i++)
		if (s->tap[i] >= 0)
			fcntl(s->tap[i], F_SETFD, 0);
	signal(SIGPIPE, SIG_DFL);
	if (guest_record(&s->g)) {
		fprintf(stderr, "cannot write %s: %s\n", guest_path(s->g.name, "vmm.json", path),
			strerror(errno));
		_exit(127);
	}
	exec_in_scope(s, "Guest", s->argv);
	execv(s->vmm, s->argv);
	fprintf(stderr, "cannot run %s: %s\n", s->vmm, strerror(errno));
	_exit(127);
}

static int start_failed(struct start *s, const char *why)
{
	fail("%s did not start: %s %s", s->g.name, s->vmm, why);
	guest_show_log(s->g.name);
	guest_remove(s->g.name, true);
	return -1;
}

/* Wait until the VMM answers on its control socket: the machine is built then, with all vCPUs. */
static int wait_for_vmm(struct start *s, pid_t pid)
{
	struct timespec step = {0, 20000000};
	long deadline = now_ms() + START_MS;
	static struct qmp q;
	char why[64];
	int status;

	while (now_ms() < deadline) {
		if (waitpid(pid, &status, WNOHANG) == pid) {
			if (WIFSIGNALED(status))
				snprintf(why, sizeof(why), "was killed by signal %d",
					 WTERMSIG(status));
			else
				snprintf(why, sizeof(why), "ended with exit code %d",
					 WEXITSTATUS(status));
			return start_failed(s, why);
		}
		if (!qmp_open(&q, s->g.name, START_MS / 2)) {
			qmp_close(&q);
			return 0;
		}
		nanosleep(&step, NULL);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return start_failed(s, "did not open its control socket in 180 s and was killed");
}

static int run_vmm(struct start *s)
{
	pid_t pid = fork();

	if (pid < 0) {
		fail("cannot fork: %s", strerror(errno));
		return -1;
	}
	if (!pid)
		become_vmm(s);
	if (wait_for_vmm(s, pid))
		return -1;
	return guest_load(s->c->name, &s->g);
}

static int write_password(const struct start *s, const char *file, const char *password)
{
	char path[PATH_MAX];
	int fd, err;

	if (!password)
		return 0;
	guest_path(s->g.name, file, path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	err = fd < 0 || write(fd, password, strlen(password)) != (ssize_t)strlen(password);
	if (err)
		fail("cannot write %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return err ? -1 : 0;
}

static int write_passwords(const struct start *s)
{
	const struct cfg_screen *screen = &s->c->screen;

	return write_password(s, "vnc-password", screen->vncpasswd) ||
	       write_password(s, "spice-password", screen->spicepasswd);
}

static int prepare_start(struct start *s, const char *config)
{
	struct guest old;

	if (mkdir_run() || guest_lock(s->c->name, true, &s->g))
		return -1;
	if (!guest_load(s->c->name, &old) && old.alive &&
	    !(process_is_ending(old.pid) && guest_wait_end(&old, ENDING_MS))) {
		fail("%s runs already (pid %d); `corbel destroy %s' ends it", s->c->name, old.pid,
		     s->c->name);
		return -1;
	}
	snprintf(s->g.name, sizeof(s->g.name), "%s", s->c->name);
	snprintf(s->g.config, sizeof(s->g.config), "%s", config);
	s->g.vcpus = s->c->vcpus;
	s->g.memory_mib = s->c->memory_mib;
	if (check_host(s) || take_devices(s))
		return -1;
	guest_remove(s->g.name, true);
	guest_bound_logs(s->g.name);
	return write_passwords(s) || open_taps(s) || open_tpm(s) ? -1 : 0;
}

static int tune_start(struct start *s)
{
	struct cfg *c = s->c;
	bool wanted = c->weight || c->cap || c->pool[0] || c->budget;
	unsigned int i;

	for (i = 0; i < c->vcpus; i++)
		wanted |= !cpus_empty(&c->affinity[i]);
	if (!wanted)
		return 0;
	if (!hv_present()) {
		warning("cpu_weight, cpus, cap, budget and pool need the hypervisor (/dev/corbel); "
			"they are "
			"ignored");
		return 0;
	}
	if (c->budget && budget_set(c->name, c->period, c->budget, -1))
		return -1;
	if (c->pool[0] && pool_move(c->name, c->pool))
		return -1;
	return apply_sched(c->name, c->weight, c->affinity, c->cap, -1);
}

/* Down to `memory`, as far as the guest's driver gives it back. */
static void set_balloon(const struct cfg *c)
{
	struct json_object *args = json_object_new_object();

	json_object_object_add(args, "value", json_object_new_int64(c->memory_mib << 20));
	if (!qmp_do_with(c->name, "balloon", args, NULL))
		mem_told(c->name, c->memory_mib);
}

/* The guest's file as it was, for `corbel save'. */
static int keep_text(const char *name, const char *text)
{
	char path[PATH_MAX];
	FILE *f = fopen(guest_path(name, "config", path), "we");
	bool written = f && fputs(text, f) >= 0;

	if (f && !fclose(f) && written)
		return 0;
	fail("cannot write %s: %s", path, strerror(errno));
	return -1;
}

int state_read(struct qmp *q, int fd, char *err)
{
	struct json_object *getfd = json_pair("fdname", json_object_new_string("state"));

	return qmp_call(q, "getfd", getfd, fd, NULL, err) ||
		       qmp_call(q, "migrate-incoming",
				json_pair("uri", json_object_new_string("fd:state")), -1, NULL, err)
		   ? -1
		   : 0;
}

/* With the vCPUs that the state has, which are those of a running guest. 0, or -1 told. */
static int take_state(const struct start *s)
{
	static struct qmp q;
	char err[128];
	int ret;

	if (qmp_need(&q, s->c->name))
		return -1;
	ret = s->c->vcpus_now ? set_vcpus(&q, s->c->name, s->c->vcpus_now) : 0;
	if (!ret && s->from->fd >= 0 && state_read(&q, s->from->fd, err))
		ret = fail("%s: its state cannot be read: %s", s->c->name, err);
	qmp_close(&q);
	if (ret && !end_vmm(&s->g))
		guest_remove(s->c->name, true);
	return ret ? -1 : 0;
}

int vmm_check(struct cfg *c, const char *accel)
{
	struct start s = {.c = c, .accel = accel};

	return check_files(c) || find_vmm(&s) || find_tpm(&s) ? -1 : 0;
}

static void all_args(struct start *s)
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

int vmm_start(struct cfg *c, const char *config, const char *text, const char *accel,
	      const struct origin *from)
{
	struct start s = {.c = c, .accel = accel, .g.lock = -1, .from = from, .tpm = {-1, -1}};
	int i, lock, err;

	memset(s.tap, -1, sizeof(s.tap));
	err = prepare_start(&s, config) || keep_text(c->name, text) ? -1 : 0;
	lock = s.g.lock;
	if (!err) {
		all_args(&s);
		err = run_vmm(&s);
	}
	if (!err && from)
		err = take_state(&s);
	if (!err && !(from && from->ram_shared))
		printf("%s: started, pid %d\n", c->name, s.g.pid);
	if (!err && c->maxmem_mib > c->memory_mib && !from)
		set_balloon(c);
	if (!err && tune_start(&s)) {
		fail("%s runs, but without what cpu_weight, cpus, cap, budget and pool ask for; "
		     "`corbel "
		     "sched' and `corbel cpupool-migrate' set it",
		     c->name);
		err = from ? 0 : -1; /* one that has come from elsewhere is to go on */
	}
	for (i = 0; i < c->nvifs; i++)
		if (s.tap[i] >= 0)
			close(s.tap[i]);
	close_tpm(&s);
	while (s.argc)
		free(s.argv[--s.argc]);
	if (lock >= 0)
		close(lock);
	return err ? 1 : 0;
}
