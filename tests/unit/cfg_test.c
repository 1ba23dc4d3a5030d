/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: tools/corbel/cfg.c tools/corbel/cfg_keys.c tools/corbel/cfg_items.c
 * tools/corbel/cfg_hint.c tools/corbel/cpulist.c
 */
/* Guests' files and CPU lists: what they mean, and what is said about wrong ones. */
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "../../tools/corbel/cfg.h"
#include "test.h"

static void good(void)
{
	struct cfg c;

	CHECK(!cfg_parse(&c, "demo.cfg",
			 "# a comment\n"
			 "name = \"demo\"   # another\n"
			 "kernel='/boot/vmlinuz'; ramdisk = '/boot/initrd'\n"
			 "extra = \"console=ttyS0 # no comment\"\n"
			 "root = '/dev/vda1'\n"
			 "memory = 0x200\n"
			 "vcpus = \"2\"\n"
			 "disk = [ '/a b/img,raw,xvda,w',\n"
			 "         'file:/b,xvdb,r', # of a list's item\n"
			 "         '/c.qcow2,qcow2,vdc,rw', 'format=qcow2, vdev=xvdd, access=ro, "
			 "target=/d=1', '/e', ]\n"
			 "vif = [ '', 'mac=52:54:00:aa:bb:cc , bridge=br1' ]\n"
			 "firmware = \"bios\"\n"
			 "cpu_weight = 512\n"
			 "cap = 50\n"
			 "cpus = \"0-3,^1\"\n"
			 "device_model_args = [ '-device', \"x,y=\\\"z\\\"\" ]\r\n"),
	      "a file with everything is read: %s", c.error);
	CHECK(!strcmp(c.name, "demo") && !strcmp(c.kernel, "/boot/vmlinuz") &&
		  !strcmp(c.ramdisk, "/boot/initrd"),
	      "strings in both quotes, comments, semicolons");
	CHECK(!strcmp(c.cmdline, "root=/dev/vda1 console=ttyS0 # no comment"),
	      "root and extra make the command line: %s", c.cmdline);
	CHECK(c.memory_mib == 512 && c.vcpus == 2, "numbers: hexadecimal, in quotes");
	CHECK(c.ndisks == 5 && !strcmp(c.disk[0].path, "/a b/img") && !c.disk[0].qcow2 &&
		  !c.disk[0].readonly && c.disk[0].line == 8,
	      "disk: path,format,vdev,access");
	CHECK(!strcmp(c.disk[1].path, "/b") && c.disk[1].readonly && c.disk[1].line == 9,
	      "disk: file:path,vdev,access");
	CHECK(c.disk[2].qcow2 && !c.disk[2].readonly, "disk: qcow2, rw");
	CHECK(!strcmp(c.disk[3].path, "/d=1") && c.disk[3].qcow2 && c.disk[3].readonly,
	      "disk: by keywords");
	CHECK(!strcmp(c.disk[4].path, "/e") && !c.disk[4].qcow2 && !c.disk[4].readonly,
	      "disk: defaults");
	CHECK(c.nvifs == 2 && !strcmp(c.vif[0].bridge, "corbr0") && !c.vif[0].has_mac,
	      "vif: default bridge");
	CHECK(c.vif[1].has_mac && c.vif[1].mac[5] == 0xcc && !strcmp(c.vif[1].bridge, "br1"),
	      "vif: bridge and mac");
	CHECK(c.firmware == FIRMWARE_BIOS && c.weight == 512 && c.cap == 50,
	      "firmware, weight, cap");
	CHECK(c.affinity[0].word[0] == 0xd && c.affinity[1].word[0] == 0xd,
	      "one CPU list goes for all vCPUs");
	CHECK(c.nargs == 2 && !strcmp(c.args[1], "x,y=\"z\""), "escapes in strings");
	CHECK(!c.nwarnings, "no warnings");
	cfg_free(&c);

	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nkernel='k'\ncpus=['0','1-2']\nvcpus=3\ncmdline='x'\nextra='y'"),
	      "a file without a last line end");
	CHECK(c.affinity[0].word[0] == 1 && c.affinity[1].word[0] == 6 &&
		  cpus_empty(&c.affinity[2]),
	      "a list of CPU lists goes vCPU by vCPU");
	CHECK(!strcmp(c.cmdline, "x"), "cmdline goes before extra");
	CHECK(c.firmware == FIRMWARE_MICROVM && c.memory_mib == 256 && !c.ndisks && !c.nvifs,
	      "defaults");
	cfg_free(&c);
}

static void pc(void)
{
	struct cfg c;

	CHECK(!cfg_parse(
		  &c, "f",
		  "name='a'\ntype='hvm'\nbios='ovmf'\nboot='dc'\nvnc=1\nvnclisten='0.0.0.0:7'\n"
		  "usb=1\nusbdevice=['tablet', "
		  "'keyboard']\nkeymap='de'\nserial='pty'\nacpi=1\nsdl=0\n"
		  "disk=['tap:qcow2:/a,hda,w','/b,,hdb,backendtype=phy']\n"
		  "vif=['type=ioemu,model=e1000,bridge=xenbr0','model=virtio-net']\n") &&
		  !c.nwarnings,
	      "a PC with a screen: %s", c.error);
	CHECK(c.firmware == FIRMWARE_UEFI && cfg_is_pc(&c) && !strcmp(c.boot, "dc"),
	      "UEFI, boot order");
	CHECK(c.screen.vnc && !strcmp(c.screen.vga, "VGA") &&
		  !strcmp(c.screen.vnclisten, "0.0.0.0") && c.screen.vncfixed &&
		  c.screen.vncdisplay == 7 && !strcmp(c.screen.keymap, "de"),
	      "VNC, with a VGA where none is named");
	CHECK(c.usb && c.tablet && c.keyboard && !c.mouse, "a tablet and a keyboard");
	CHECK(c.disk[0].qcow2 && !strcmp(c.disk[0].path, "/a") && !c.disk[1].qcow2,
	      "disks with xm's prefixes");
	CHECK(!strcmp(c.vif[0].model, "e1000") && !c.vif[1].model, "models of network cards");
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nkernel='k'\nacpi=0\nsdl=1\n"
			 "vncunused=1\nbootloader='pygrub'\n") &&
		  c.nwarnings == 3 && c.unknown == 3 && strstr(c.warnings[0], "acpi can only be 1"),
	      "what cannot be otherwise is told");
	cfg_free(&c);
}

static void vnclisten(void)
{
	static const struct {
		const char *text, *address;
		int display;
	} t[] = {{"127.0.0.1", "127.0.0.1", -1},
		 {"0.0.0.0:12", "0.0.0.0", 12},
		 {":3", "", 3},
		 {"", "", -1},
		 {"::1", "[::1]", -1},
		 {"::", "[::]", -1},
		 {"[fe80::1]", "[fe80::1]", -1},
		 {"[::1]:5", "[::1]", 5}};
	char text[128];
	struct cfg c;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		snprintf(text, sizeof(text),
			 "name='a'\ntype='hvm'\ndisk=['/b,raw,xvda,w']\nvnc=1\nvnclisten='%s'\n",
			 t[i].text);
		CHECK(!cfg_parse(&c, "f", text) && !strcmp(c.screen.vnclisten, t[i].address) &&
			  c.screen.vncfixed == (t[i].display >= 0) &&
			  (t[i].display < 0 || c.screen.vncdisplay == (unsigned int)t[i].display),
		      "vnclisten \"%s\": %s %d", t[i].text, t[i].address, t[i].display);
		cfg_free(&c);
	}
}

static void warns(void)
{
	struct cfg c;

	CHECK(!cfg_parse(&c, "f", "name='a'\nkernel='k'\n\nrdm = 'x'\nvif = ['rate=1MB/s']\n"),
	      "unknown keys do not stop");
	CHECK(c.nwarnings == 2 &&
		  !strcmp(c.warnings[0], "f:4: key \"rdm\" of xl is not supported and ignored") &&
		  strstr(c.warnings[1], "f:5: unknown vif option \"rate\""),
	      "but are named in warnings");
	CHECK(c.unknown == 2, "and counted");
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nkernel='k'\nmemry=1\nvcpu=2\ndsk=[]\nzzz=1\nbiulder='hvm'\n") &&
		  c.nwarnings == 5 && c.unknown == 5,
	      "five unknown keys are five warnings");
	CHECK(strstr(c.warnings[0],
		     "f:3: unknown key \"memry\" is ignored; did you mean \"memory\"?") &&
		  strstr(c.warnings[1], "\"vcpus\"?") && strstr(c.warnings[2], "\"disk\"?") &&
		  strstr(c.warnings[4], "\"builder\"?"),
	      "each with the nearest right one: %s", c.warnings[0]);
	CHECK(!strcmp(c.warnings[3], "f:6: unknown key \"zzz\" is ignored"),
	      "if there is one that is near: %s", c.warnings[3]);
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nkernel='k'\non_crash='restart'\non_reboot='restart'\n") &&
		  !c.nwarnings && c.on_crash == END_RESTART && c.on_reboot == END_RESTART &&
		  c.on_poweroff == END_DESTROY,
	      "a guest's ends are as in xl");
	cfg_free(&c);
	CHECK(
	    !cfg_parse(&c, "f",
		       "name='a'\nkernel='k'\non_crash='coredump-destroy'\n"
		       "on_poweroff='rename-restart'\non_reboot='preserve'\n") &&
		c.unknown == 3 && c.on_crash == END_DESTROY && c.on_poweroff == END_RESTART &&
		strstr(c.warnings[0], "f:3: on_crash = \"coredump-destroy\" is \"destroy\" here") &&
		strstr(c.warnings[1], "f:4: on_poweroff = \"rename-restart\" is \"restart\"") &&
		strstr(c.warnings[2], "only beside on_poweroff"),
	    "what cannot be had of them is told: %s", c.error);
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nkernel='k'\non_crash='preserve'\non_reboot='restart'\n") &&
		  c.unknown == 1 && strstr(c.warnings[0], "a microvm has no device"),
	      "a microvm's crash, unless that is as a reboot: %s", c.error);
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nkernel='k'\ntype='hvm'\non_crash='restart'\n"
			 "on_poweroff='preserve'\non_reboot='preserve'\n") &&
		  c.unknown == 1 && c.on_reboot == END_PRESERVE &&
		  strstr(c.warnings[0], "on_crash = \"restart\" does nothing"),
	      "and what goes not together: %s", c.error);
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nkernel='k'\non_poweroff='preserve'\non_reboot='destroy'\n") &&
		  c.unknown == 1 && strstr(c.warnings[0], "on_reboot = \"destroy\" does nothing"),
	      "a reboot that is to be the end, too");
	cfg_free(&c);
}

static void passwords(void)
{
	struct cfg c;

	CHECK(!cfg_parse(&c, "f", "name='a'\nkernel='k'\nvncpasswd='12345678'\n") && !c.nwarnings &&
		  !strcmp(c.screen.vncpasswd, "12345678"),
	      "a screen's password");
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f", "name='a'\nkernel='k'\nvncpasswd='123456789'\n") &&
		  c.nwarnings == 1 && !c.unknown && strstr(c.warnings[0], "first 8 characters"),
	      "of a longer one it is told what counts");
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f", "name='a'\nkernel='k'\nvncpasswd=''\n") && !c.screen.vncpasswd,
	      "an empty one is none");
	cfg_free(&c);
}

/* Files as people have them for xl. */
static void as_xl(void)
{
	struct cfg c;

	CHECK(!cfg_parse(&c, "f",
			 "# -*- mode: python; -*-\n"
			 "type = \"hvm\"\n"
			 "name = 'win'\n"
			 "uuid = \"06ed00fe-1162-4fc4-b5d8-11993ee4a8b9\"\n"
			 "memory = 1024; maxmem = 2048\n"
			 "vcpus = 2; maxvcpus = 4\n"
			 "localtime = 1\n"
			 "disk = [\n"
			 "\t'file:/a.img,hda,w',   # the system\n"
			 "\t'file:/b.iso,hdc:cdrom,r',\n"
			 "]\n"
			 "disk += [ '/c.iso,raw,hdd,cdrom', 'target=/d.iso,devtype=cdrom' ]\n"
			 "vif = [ '' ]\n"
			 "vif += [ 'bridge=xenbr0' ]\n"
			 "on_poweroff = \"destroy\"\n"
			 "on_reboot = \"destroy\"\n"),
	      "an HVM guest's file is read: %s", c.error);
	CHECK(c.firmware == FIRMWARE_BIOS && c.localtime && c.on_reboot == END_DESTROY &&
		  !c.nwarnings && !strcmp(c.uuid, "06ed00fe-1162-4fc4-b5d8-11993ee4a8b9"),
	      "it is a PC with this UUID and local time, whose reboot is its end");
	CHECK(c.memory_mib == 1024 && c.maxmem_mib == 2048 && c.maxvcpus == 4,
	      "memory and vCPUs have limits");
	CHECK(c.ndisks == 4 && !c.disk[0].cdrom && !c.disk[0].readonly && c.disk[1].cdrom &&
		  c.disk[1].readonly && c.disk[2].cdrom && c.disk[3].cdrom,
	      "CDs in all three ways to write them, and += adds disks");
	CHECK(c.nvifs == 2 && !strcmp(c.vif[1].bridge, "xenbr0"), "and interfaces");
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nkernel='k'\nextra='x'\nextra+=' y'\nvcpus=3\ntype='pvh'") &&
		  !strcmp(c.cmdline, "x y") && c.maxvcpus == 3 && c.firmware == FIRMWARE_MICROVM,
	      "+= adds to a string; a PVH guest is a microvm: %s", c.error);
	cfg_free(&c);
}

/* Where a PC's disks are, which cards it has, what xl's files say in other ways. */
static void devices(void)
{
	struct cfg c;

	CHECK(!cfg_parse(
		  &c, "f",
		  "name='a'\ntype='hvm'\n"
		  "disk=['/a,raw,hda,w','phy:/b,sdb,w','/c,raw,xvdc,r','/d','/e,,hdb1,w',"
		  "',,hdc:cdrom,r','vdev=hdd,devtype=cdrom,access=r,target=',',hdc:cdrom',"
		  "'tap:tapdisk:qcow2:/f,xvdd,w','/g,raw,xvde,w,discard,direct-io-safe,trusted',"
		  "'/h,raw,xvdf,w,no-discard,specification=xen']\n"
		  "vif=['','type=ioemu','model=virtio','type=vif','model=e1000']\n"),
	      "a PC with disks of all kinds: %s", c.error);
	CHECK(c.disk[0].bus == BUS_IDE && !c.disk[0].unit && c.disk[1].bus == BUS_SATA &&
		  c.disk[1].unit == 1 && !strcmp(c.disk[1].vdev, "sdb"),
	      "hdX is IDE, sdX SATA");
	CHECK(c.disk[2].bus == BUS_VIRTIO && c.disk[3].bus == BUS_VIRTIO &&
		  c.disk[4].bus == BUS_VIRTIO,
	      "xvdX, no name and a partition are virtio");
	CHECK(c.disk[5].cdrom && !*c.disk[5].path && !strcmp(c.disk[5].vdev, "hdc") &&
		  c.disk[6].cdrom && !*c.disk[6].path && c.disk[7].cdrom && !*c.disk[7].path,
	      "empty CD drives in three ways");
	CHECK(c.disk[8].qcow2 && !strcmp(c.disk[8].path, "/f") && c.disk[9].discard &&
		  !c.disk[10].discard && !c.nwarnings,
	      "prefixes before one another, and words");
	CHECK(c.vif[0].model && !strcmp(c.vif[0].model, "rtl8139") &&
		  !strcmp(c.vif[1].model, "rtl8139") && !c.vif[2].model && !c.vif[3].model &&
		  !strcmp(c.vif[4].model, "e1000"),
	      "a guest that boots from IDE has xl's card, if none is named");
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\ntype='hvm'\nhdtype='ahci'\ndisk=['/a,raw,xvda,w',"
			 "'/b,raw,hdb,w']\nvif=['','type=ioemu']\n") &&
		  c.disk[1].bus == BUS_SATA && c.disk[1].unit == 1 && !c.vif[0].model &&
		  !strcmp(c.vif[1].model, "rtl8139"),
	      "one that boots from virtio has virtio's, and hdtype moves disks: %s", c.error);
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\ntype='hvm'\ndisk=['/a,raw,hda,r,port=0','/b,raw,hda,w,port=1',"
			 "'/c,raw,hda,w', '/d,raw,hdb,w']\nvif=['port=2','']\n") &&
		  c.disk[0].bus == BUS_VIRTIO && c.disk[1].bus == BUS_VIRTIO &&
		  c.disk[2].bus == BUS_IDE && !c.vif[0].model,
	      "one behind a port is virtio, and in nobody's way: %s", c.error);
	CHECK(c.disk[2].number == 0 && c.disk[3].number == 1 && c.vif[1].number == 0,
	      "nor does it count: the others are what they are when it has gone");
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nkernel='k'\ndisk=['/a,raw,hda,r']\nvif=['type=ioemu']\n"
			 "serial='file:/s'\n") &&
		  !c.vif[0].model && !c.nwarnings && c.nserial == 1 &&
		  !strcmp(c.serial[0], "file:/s"),
	      "a microvm has nothing but virtio: %s", c.error);
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\ntype='hvm'\ntpm=1\nserial=['pty','tcp:h:1']\n"
			 "disk=['/d,raw,xvda,w,colo-port=1,untrusted']\nvtpm=['backend=x']\n") &&
		  c.tpm && c.nserial == 2 && c.nwarnings == 3 && c.unknown == 3 &&
		  strstr(c.warnings[0], "\"colo-port\" of xl") &&
		  strstr(c.warnings[2], "tpm = 1 gives a PC a TPM"),
	      "what there is not of xl's disks and TPMs is told: %s", c.error);
	cfg_free(&c);
}

/* How xl reads what nobody writes every day. */
static void syntax(void)
{
	struct cfg c;

	CHECK(!cfg_parse(
		  &c, "f",
		  "name='\\x61\\142\\x2ec'\nkernel=\"/\\a\\b\\f\\n\\r\\t\\v\\\\\\'\\\"\\7x\"\n") &&
		  !strcmp(c.name, "ab.c") && !strcmp(c.kernel, "/\a\b\f\n\r\t\v\\'\"\ax"),
	      "escapes: %s", c.error);
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nkernel='k'\nvnuma = [ ['pnode=0','size=1'],\n"
			 "[ 'pnode=1', ['x'], ],\n]\nmemory=5\n") &&
		  c.nwarnings == 1 && c.memory_mib == 5 &&
		  strstr(c.warnings[0], "f:3: key \"vnuma\" of xl is not supported"),
	      "lists in lists: %s", c.error);
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='b'\ndisk=['/a']\nkernel='k'\nvcpus=2;vcpus=3\nname='c'\n"
			 "disk=['/b']\ndisk+=['/c']\nextra='x'\nextra+='y'\n") &&
		  !strcmp(c.name, "c") && c.ndisks == 2 && !strcmp(c.disk[0].path, "/b") &&
		  c.vcpus == 3 && !strcmp(c.cmdline, "xy") && c.nwarnings == 3 && c.unknown == 3 &&
		  strstr(c.warnings[0], "f:1: name is set again below, and the last one counts"),
	      "of a key that is set twice the last one counts: %s", c.error);
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f",
			 "name='a'\nbootloader='pygrub'\nroot='/dev/xvda2 ro'\nextra='x'\n"
			 "disk=['/d,raw,xvda,w']\n") &&
		  c.firmware == FIRMWARE_BIOS && !c.cmdline && c.nwarnings == 1,
	      "a guest of pygrub's is a PC, whose loader has the command line: %s", c.error);
	cfg_free(&c);
	CHECK(!cfg_parse(&c, "f", "name='a'\nbootloader='pygrub'\nextra='x'\nkernel='k'\n") &&
		  c.firmware == FIRMWARE_MICROVM && !strcmp(c.cmdline, "x"),
	      "unless it has a kernel: %s", c.error);
	cfg_free(&c);
}

/* All keys of Xen 4.17's xl, by name. */
static const char *const xl[] = {"acpi",
				 "acpi_firmware",
				 "acpi_laptop_slate",
				 "acpi_s3",
				 "acpi_s4",
				 "altp2m",
				 "altp2mhvm",
				 "apic",
				 "bios",
				 "bios_path_override",
				 "boot",
				 "bootloader",
				 "bootloader_args",
				 "builder",
				 "cap",
				 "channel",
				 "cmdline",
				 "cpu_weight",
				 "cpuid",
				 "cpus",
				 "cpus_soft",
				 "device_model",
				 "device_model_args",
				 "device_model_args_hvm",
				 "device_model_args_pv",
				 "device_model_override",
				 "device_model_stubdomain_override",
				 "device_model_stubdomain_seclabel",
				 "device_model_user",
				 "device_model_version",
				 "device_tree",
				 "disk",
				 "display",
				 "dm_restrict",
				 "driver_domain",
				 "dtdev",
				 "e820_host",
				 "extra",
				 "extratime",
				 "firmware",
				 "firmware_override",
				 "gfx_passthru",
				 "gic_version",
				 "hap",
				 "hdtype",
				 "hpet",
				 "init_seclabel",
				 "iomem",
				 "ioports",
				 "irqs",
				 "kernel",
				 "keymap",
				 "latency",
				 "localtime",
				 "max_event_channels",
				 "max_grant_frames",
				 "max_grant_version",
				 "max_maptrack_frames",
				 "maxmem",
				 "maxvcpus",
				 "mca_caps",
				 "memory",
				 "mmio_hole",
				 "ms_vm_genid",
				 "msr_relaxed",
				 "name",
				 "nestedhvm",
				 "nographic",
				 "nomigrate",
				 "nx",
				 "on_crash",
				 "on_poweroff",
				 "on_reboot",
				 "on_soft_reset",
				 "on_watchdog",
				 "oos",
				 "opengl",
				 "p9",
				 "pae",
				 "passthrough",
				 "pci",
				 "pci_msitranslate",
				 "pci_permissive",
				 "pci_power_mgmt",
				 "pci_seize",
				 "period",
				 "pool",
				 "pvcalls",
				 "pvshim",
				 "pvshim_cmdline",
				 "pvshim_extra",
				 "pvshim_path",
				 "ramdisk",
				 "rdm",
				 "rdm_mem_boundary",
				 "root",
				 "rtc_timeoffset",
				 "sdl",
				 "seclabel",
				 "serial",
				 "shadow_memory",
				 "slice",
				 "smbios_firmware",
				 "soundhw",
				 "spice",
				 "spice_clipboard_sharing",
				 "spice_image_compression",
				 "spice_streaming_video",
				 "spiceagent_mouse",
				 "spicedisable_ticketing",
				 "spicehost",
				 "spicepasswd",
				 "spiceport",
				 "spicetls_port",
				 "spiceusbredirection",
				 "spicevdagent",
				 "stdvga",
				 "stubdomain_cmdline",
				 "stubdomain_kernel",
				 "stubdomain_memory",
				 "stubdomain_ramdisk",
				 "tee",
				 "timer_mode",
				 "tsc_mode",
				 "type",
				 "usb",
				 "usbctrl",
				 "usbdev",
				 "usbdevice",
				 "usbversion",
				 "uuid",
				 "vcpus",
				 "vdispl",
				 "vendor_device",
				 "vfb",
				 "vga",
				 "videoram",
				 "vif",
				 "vif2",
				 "viridian",
				 "vkb",
				 "vkb_device",
				 "vmtrace_buf_kb",
				 "vnc",
				 "vncdisplay",
				 "vnclisten",
				 "vncpasswd",
				 "vncunused",
				 "vncviewer",
				 "vnuma",
				 "vpmu",
				 "vpt_align",
				 "vsnd",
				 "vtpm",
				 "vuart",
				 "xauthority",
				 "xen_platform_pci",
				 "xend_suspend_evtchn_compat"};

static void all_keys(void)
{
	char text[128];
	struct cfg c;

	for (size_t i = 0; i < sizeof(xl) / sizeof(xl[0]); i++) {
		snprintf(text, sizeof(text), "%s = 'x'\n", xl[i]);
		cfg_parse(&c, "f", text);
		CHECK_QUIET(!c.nwarnings || !strstr(c.warnings[0], "unknown key"),
			    "a key of xl's is known: %s", xl[i]);
		cfg_free(&c);
	}
	CHECK(true, "all keys of xl's are known");
}

static void items(void)
{
	struct cfg_disk d;
	struct cfg_vif v;
	char err[256] = "";

	CHECK(!cfg_parse_disk(&d, "/x,qcow2,xvdb,r", err) && !strcmp(d.path, "/x") && d.qcow2 &&
		  d.readonly,
	      "one disk alone");
	free(d.path);
	CHECK(cfg_parse_disk(&d, "/x,vmdk", err) == -1 && !strncmp(err, "disk format \"vmdk\"", 18),
	      "what is wrong with it is told: %s", err);
	free(d.path);
	CHECK(!cfg_parse_vif(&v, "", err) && !strcmp(v.bridge, "corbr0"), "one interface alone");
	free(v.bridge);
	CHECK(!cfg_parse_vif(&v, "type=user,ssh=2222,port=3", err) && v.user && !v.bridge &&
		  v.ssh == 2222 && v.port == 3,
	      "one by dom0's connections, behind a port: %s", err);
	CHECK(!cfg_parse_vif(&v, "type=ioemu", err) && !v.user && v.port == -1,
	      "behind none if nothing is said");
	free(v.bridge);
	CHECK(!cfg_parse_disk(&d, "target=/x,port=0", err) && !d.port, "a disk behind a port");
	free(d.path);
	CHECK(cfg_parse_vif(&v, "rate=x", err) == -1 && strstr(err, "unknown vif option"),
	      "what would be ignored in a file is wrong there: %s", err);
	free(v.bridge);
}

static const struct {
	const char *text, *error; /* the error begins with "f:" and this */
} wrong[] = {
    {"", "1: name is missing"},
    {"name='a'\n", "2: nothing to boot"},
    {"name='a'\nramdisk='r'\ndisk=['/d']\n", "4: ramdisk without a kernel"},
    {"name='a'\nfirmware='none'\ndisk=['/d']\n", "4: firmware = \"none\" boots a kernel only"},
    {"name='a\nkernel='k'", "1: the string has no end"},
    {"name='a", "1: the string has no end"},
    {"name='a\\q'", "1: unknown escape"},
    {"name='a\\", "1: unknown escape"},
    {"name=''", "1: name = \"\": a name has 1 to 31"},
    {"name='../x'", "1: name = \"../x\": a name begins with a letter"},
    {"name='a b'", "1: name = \"a b\": a name begins"},
    {"name='dom0'", "1: name = \"dom0\": dom0 is"},
    {"name='a2345678901234567890123456789012'",
     "1: name = \"a2345678901234567890123456789012\": a name has 1 to 31"},
    {"name=a", "1: a value is"},
    {"name=", "1: a value is"},
    {"name=5", "1: name wants a string"},
    {"name", "1: = expected after name"},
    {"name == 'a'", "1: = expected after name"},
    {"= 5", "1: key = value expected"},
    {"\n\n!", "3: key = value expected"},
    {"name='a' kernel='k'", "1: rubbish after the value of name"},
    {"name='\\x4'", "1: unknown escape"},
    {"name='\\x00'", "1: unknown escape"},
    {"name='\\400'", "1: unknown escape"},
    {"name=['a',['b']]", "1: name wants no list within its list"},
    {"name='a'\nname=", "2: a value is"},
    {"memory=12MB", "1: rubbish after"},
    {"memory=12ab", "1: \"12ab\" is not a number"},
    {"memory=0", "1: memory wants the number of MiB"},
    {"memory=-5", "1: memory wants the number of MiB"},
    {"memory='lots'", "1: memory wants the number of MiB"},
    {"memory=99999999999999999999", "1: \"99999999999999999999\" is not a number"},
    {"memory=[512]", "1: memory wants the number of MiB"},
    {"vcpus=0", "1: vcpus wants a number from 1 to 255: for more"},
    {"vcpus=256", "1: vcpus wants a number from 1 to 255: for more"},
    {"cpu_weight=100001", "1: cpu_weight wants a number from 1 to 100000"},
    {"vcpus=4\nmaxvcpus=2\nname='a'\nkernel='k'", "4: maxvcpus is less than vcpus"},
    {"memory=4\nmaxmem=2\nname='a'\nkernel='k'", "4: maxmem is less than memory"},
    {"maxmem='x'", "1: maxmem wants the number of MiB"},
    {"memory += 5", "1: += adds to a list"},
    {"uuid='06ed00fe-1162-4fc4-b5d8-11993ee4a8b'", "1: uuid wants"},
    {"uuid='06ed00fex1162-4fc4-b5d8-11993ee4a8b9'", "1: uuid wants"},
    {"type='pv'", "1: type is \"hvm\" or \"pvh\""},
    {"on_reboot='again'", "1: on_reboot is"},
    {"on_crash=1", "1: on_crash is"},
    {"localtime=2", "1: localtime wants a number from 0 to 1"},
    {"name='a'\nkernel='k'\ndisk=['/d,raw,hdc,cdrom']", "3: only a PC has a CD drive"},
    {"vif=['','','','','']\nvif+=['','','','']", "2: vif has 9 items"},
    {"budget=100\nname='a'\nkernel='k'", "3: period and budget belong together"},
    {"period=200\nbudget=201\nname='a'\nkernel='k'", "4: period and budget belong together"},
    {"budget=99", "1: budget wants a number from 100 to 1000000"},
    {"cap=51200", "1: cap wants a number from 0 to 51199"},
    {"firmware='coreboot'", "1: firmware is one of"},
    {"bios='rombios'", "1: bios is one of"},
    {"name='a'\nkernel='k'\nvnc=1", "3: only a PC has a screen"},
    {"name='a'\nkernel='k'\nvif=['model=e1000']", "3: only a PC has a network card of this"},
    {"vif=['type=user,bridge=b']", "1: a vif is on a bridge or of type=user, not both"},
    {"vif=['ssh=22']", "1: ssh=22 in a vif wants type=user"},
    {"vif=['type=user,ssh=0']", "1: \"0\" is not a port of TCP"},
    {"vif=['type=user,ssh=65536']", "1: \"65536\" is not a port of TCP"},
    {"vif=['type=user,ssh=-1']", "1: \"-1\" is not a port of TCP"},
    {"vif=['port=4']", "1: \"4\" is not a port for hot-plugging; they are 0 to 3"},
    {"disk=['target=/d,port=']", "1: \"\" is not a port for hot-plugging"},
    {"name='a'\nkernel='k'\nvif=['port=0']", "3: port: only a PC has ports"},
    {"name='a'\ntype='hvm'\ndisk=[',,hdc:cdrom,port=1']", "3: an empty CD drive cannot be behind"},
    {"vcpus=2\nvcpus_now=1\nname='a'\nkernel='k'", "4: vcpus_now has to be from 2 to 2"},
    {"vif=['model=ne2k']", "1: network card \"ne2k\""},
    {"boot='cx'", "1: boot = \"cx\""},
    {"boot=''", "1: boot = \"\""},
    {"vga='voodoo'", "1: vga is one of"},
    {"vnclisten='0.0.0.0,password=off'", "1: vnclisten wants an address"},
    {"vnclisten='0.0.0.0:x'", "1: vnclisten is"},
    {"vnclisten='0.0.0.0:'", "1: vnclisten is"},
    {"vnclisten='0.0.0.0:-1'", "1: vnclisten is"},
    {"vnclisten='0.0.0.0:100'", "1: vnclisten is"},
    {"vnclisten='300.0.0.0'", "1: vnclisten wants an address"},
    {"vnclisten='[::1'", "1: vnclisten: [ wants"},
    {"vnclisten='[::1]5'", "1: vnclisten: [ wants"},
    {"vnclisten='[]:5'", "1: vnclisten: [ wants"},
    {"vnclisten='[127.0.0.1]:5'", "1: vnclisten wants an address"},
    {"vnclisten='::1::2'", "1: vnclisten wants an address"},
    {"vncdisplay=100", "1: vncdisplay wants a number from 0 to 99"},
    {"vncpasswd=['secret']", "1: vncpasswd wants a string"},
    {"name='a'\ntype='hvm'\nkernel='k'\nspice=1", "4: spice = 1 wants a port"},
    {"name='a'\ntype='hvm'\nkernel='k'\nspice=1\nspiceport=5930", "5: spice = 1 wants spicepasswd"},
    {"name='a'\ntype='hvm'\nkernel='k'\nspice=1\nspiceport=5930\nspicepasswd=''",
     "6: spice = 1 wants spicepasswd"},
    {"name='a'\nkernel='k'\nspice=1\nspiceport=5930\nspicepasswd='x'", "5: only a PC has a screen"},
    {"spicehost='host'", "1: spicehost wants an address"},
    {"spiceport=65536", "1: spiceport wants a number from 1 to 65535"},
    {"usbdevice='host:1.2'", "1: usbdevice is"},
    {"usbdevice=['mouse',\n'mice']", "2: usbdevice is"},
    {"disk=['/a,raw,xvda,w,backendtype=x']", "1: disk backendtype \"x\""},
    {"firmware=1", "1: firmware is one of"},
    {"disk='/a'", "1: disk wants a list"},
    {"disk=['/a,vmdk,xvda,w']",
     "1: disk format \"vmdk\" is not supported; make a disk of it that is"},
    {"disk=['/a,vhd,xvda,w']", "1: disk format \"vhd\" is not supported"},
    {"disk=['/a,bochs,xvda,w']", "1: disk format \"bochs\" is not known"},
    {"disk=['/a,raw,hde,w']", "1: a PC has no disk hde"},
    {"disk=['/a,raw,sdg,w']", "1: a PC has no disk sdg"},
    {"disk=['/a,raw,hda:tape,w']", "1: \"hda:tape\" is no name of a disk"},
    {"disk=['/a,raw,xvdaaaaaaaaaaaaaaa,w']", "1: \"xvdaaaaaaaaaaaaaaa\" is no name"},
    {"name='a'\ntype='hvm'\ndisk=['/a,raw,hda,r']", "3: hda cannot be read-only, as in xl"},
    {"name='a'\ntype='hvm'\ndisk=['/a,raw,hdb,w',\n'/b,raw,hdb,w']", "4: hdb is where hdb is"},
    {"name='a'\ntype='hvm'\nhdtype='ahci'\ndisk=['/a,raw,sda,w',\n'/b,raw,hda,w']",
     "5: hda is where sda is"},
    {"name='a'\ntype='hvm'\ndisk=['/a,raw,sda,w','/b,raw,sdb,w','/c,,,cdrom','/d,,,cdrom',"
     "'/e,,,cdrom','/f,,,cdrom',\n'/g,,,cdrom']",
     "4: a PC has 6 places for CD drives"},
    {"hdtype='scsi'", "1: hdtype is \"ide\" or \"ahci\""},
    {"disk=['/a,raw,xvda,w,script=block-iscsi']",
     "1: disk option \"script\" of xl is not supported; name the device"},
    {"serial='vc'", "1: serial = \"vc\": a port leads to"},
    {"serial=['pty',\n'stdio']", "2: serial = \"stdio\": a port leads to"},
    {"serial=['pty','pty','pty','pty','pty']", "1: serial has 5 items"},
    {"name='a'\nkernel='k'\nserial=['pty','null']", "3: only a PC has a TPM and a second serial"},
    {"name='a'\nkernel='k'\ntpm=1", "3: only a PC has a TPM and a second serial"},
    {"name='a'\nextra='x'\ndisk=['/d']\n", "4: a command line without a kernel"},
    {"pool=[]", "1: pool wants the name"},
    {"disk=['/a,raw,xvda,x']", "1: disk access \"x\""},
    {"disk=['/a,raw,xvda,w,more']", "1: too many fields in a disk"},
    {"disk=['vdev=xvda,target=/a,b.img']", "1: \"b.img\" behind target=: a path can have no comma"},
    {"disk=[\n'',\n]", "2: a disk without a path"},
    {"disk=['/a,raw,backend=dom1']", "1: disk option \"backend\""},
    {"disk=['/a'\n'/b']", "2: comma or ] expected in the list that began in line 1"},
    {"disk=['/a',", "1: a list holds"},
    {"disk=['/a',['/b']]", "1: disk wants no list within its list"},
    {"vnuma=[['a' 'b']]", "1: comma or ] expected"},
    {"vnuma=[['a']['b']]", "1: comma or ] expected"},
    {"vnuma=[['a'", "1: comma or ] expected"},
    {"vnuma=[[", "1: a list holds"},
    {"vnuma=[,]", "1: a list holds"},
    {"vnuma=[[1]]]", "1: rubbish after the value of vnuma"},
    {"disk=[", "1: a list holds"},
    {"vif=''", "1: vif wants a list"},
    {"vif=['br0']", "1: \"br0\" in a vif"},
    {"vif=['bridge=']", "1: \"\" is not a bridge's name"},
    {"vif=['bridge=abcdefghijklmnop']", "1: \"abcdefghijklmnop\" is not a bridge's name"},
    {"vif=['mac=1:2:3:4:5:6']", "1: \"1:2:3:4:5:6\" is not a unicast MAC"},
    {"vif=['mac=01:00:00:00:00:01']", "1: \"01:00:00:00:00:01\" is not a unicast MAC"},
    {"vif=['','','','','','','','','']", "1: vif has 9 items; at most 8"},
    {"cpus='0-1,x'", "1: cpus: \"0-1,x\" is not a list"},
    {"cpus=['0',\n'512']", "2: cpus: CPUs go from 0 to 511"},
    {"kernel=''", "1: kernel is empty"},
    {"device_model_args='-x'", "1: device_model_args wants a list"},
};

static void bad(void)
{
	struct cfg c;
	unsigned int i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		CHECK(cfg_parse(&c, "f", wrong[i].text) == -1 && !strncmp(c.error, "f:", 2) &&
			  !strncmp(c.error + 2, wrong[i].error, strlen(wrong[i].error)),
		      "wrong: %s", c.error);
		cfg_free(&c);
	}
}

/* Whatever the bytes, the parser ends and stays within its bounds (the sanitizers watch). */
static void noise(void)
{
	static const char *const pieces[] = {"name",  "disk", "vif", "cpus", "=",    "[",      "]",
					     "'",     "\"",   ",",   "\n",   "\\",   "#",      ";",
					     "0x",    "99",   "-",   "^",    "all",  "raw",    "/a",
					     "file:", "mac=", " ",   "\t",   "\xff", "memory", "x"};
	char text[400];
	struct cfg c;
	int i, n;

	srand(1);
	for (i = 0; i < 20000; i++) {
		text[0] = 0;
		for (n = rand() % 40; n; n--)
			strcat(text, pieces[rand() % (sizeof(pieces) / sizeof(pieces[0]))]);
		n = cfg_parse(&c, "f", text);
		CHECK_QUIET(n == 0 || (n == -1 && c.error[0]), "an error has its text: %s", text);
		cfg_free(&c);
	}
	CHECK(true, "20000 random files are read or refused");
}

static void cpulists(void)
{
	static const struct {
		const char *list;
		uint64_t first, last; /* words of the set */
		const char *shown;
	} right[] = {
	    {"0", 1, 0, "0"},
	    {"0-3", 15, 0, "0-3"},
	    {"0-7,^3", 0xf7, 0, "0-2,4-7"},
	    {"1, 3", 10, 0, "1,3"},
	    {"all", ~0ull, ~0ull, "all"},
	    {"^1", ~2ull, ~0ull, "0,2-511"},
	    {"all,^0-61", 3ull << 62, ~0ull, "62-511"},
	    {"63", 1ull << 63, 0, "63"},
	    {"0-63", ~0ull, 0, "0-63"},
	    {"63-448", 1ull << 63, 1, "63-448"},
	    {"511, 0", 1, 1ull << 63, "0,511"},
	    {"0-511", ~0ull, ~0ull, "all"},
	    {" 2 ", 4, 0, "2"},
	};
	static const char *const wrong_lists[] = {"",	 "a",		"1-",  "-1",   "1,,2",
						  "1,",	 "512",		"5-2", "0,^0", "^all",
						  "1 2", "99999999999", "allx"};
	char buf[CPULIST_TEXT];
	struct corbel_cpus set;
	unsigned int i;

	for (i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		CHECK(!cpulist_parse(right[i].list, &set, buf, sizeof(buf)) &&
			  set.word[0] == right[i].first &&
			  set.word[CORBEL_MAX_CPUS / 64 - 1] == right[i].last &&
			  !strcmp(cpulist_format(&set, buf, sizeof(buf)), right[i].shown),
		      "CPUs \"%s\" are %s", right[i].list, right[i].shown);
	for (i = 0; i < sizeof(wrong_lists) / sizeof(wrong_lists[0]); i++)
		CHECK(cpulist_parse(wrong_lists[i], &set, buf, sizeof(buf)) == -1,
		      "CPUs \"%s\" are refused: %s", wrong_lists[i], buf);
	memset(&set, 0, sizeof(set));
	for (i = 0; i < CORBEL_MAX_CPUS; i++)
		set.word[i / 64] |= (uint64_t)(i % 3 != 2) << i % 64;
	CHECK(strlen(cpulist_format(&set, buf, sizeof(buf))) < CPULIST_TEXT - 1 &&
		  !strcmp(buf + strlen(buf) - 8, ",510-511"),
	      "the longest list, two of three, fits");
}

static void without(void)
{
	static const char text[] = "name = 'a'; kernel = '/name = 1'\n"
				   "disk = [ '/d,raw,xvda,w', # disk = 1\n"
				   "  '/e' ]; vcpus = 2 # name\n"
				   "disk += [ '/f' ]\nnamed = 3\n";
	static const char *const keys[] = {"name", "disk", NULL}, *const none[] = {NULL};
	char *s = cfg_without(text, keys), *same = cfg_without(text, none);

	CHECK(s, "a file can be had without some keys");
	if (!s)
		return;
	CHECK(strlen(s) == strlen(text) && strstr(s, "kernel = '/name = 1'\n") &&
		  strstr(s, "; vcpus = 2 # name\n") && strstr(s, "\nnamed = 3\n"),
	      "without some keys: the others stay where they are: %s", s);
	CHECK(!strstr(s, "name = 'a'") && !strstr(s, "/d,raw") && !strstr(s, "/e") &&
		  !strstr(s, "/f"),
	      "and these are gone, all lines of a list: %s", s);
	CHECK(same && !strcmp(same, text), "without none: the same");
	CHECK(!cfg_without("name = [ 'a", keys), "without: what is no file is refused");
	free(s);
	free(same);
}

int main(void)
{
	without();
	good();
	pc();
	vnclisten();
	warns();
	passwords();
	as_xl();
	devices();
	syntax();
	all_keys();
	items();
	bad();
	noise();
	cpulists();
	return test_end();
}
