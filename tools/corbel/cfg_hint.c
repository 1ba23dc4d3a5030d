/* SPDX-License-Identifier: GPL-2.0-only */
/* What is said of keys that are not known here. */
#include "cfg_parse.h"

#include <string.h>

/* Keys of xl that mean nothing here, in alphabetical order. */
static const char *const xl_keys[] = {"acpi_firmware",
				      "acpi_laptop_slate",
				      "altp2m",
				      "altp2mhvm",
				      "bios_path_override",
				      "blkdev_start",
				      "bootloader_args",
				      "bootloader_restrict",
				      "channel",
				      "claim_mode",
				      "cpuid",
				      "cpus_soft",
				      "device_model",
				      "device_model_args_hvm",
				      "device_model_args_pv",
				      "device_model_stubdomain_override",
				      "device_model_stubdomain_seclabel",
				      "device_model_user",
				      "device_model_version",
				      "device_tree",
				      "display",
				      "dm_restrict",
				      "driver_domain",
				      "dtdev",
				      "e820_host",
				      "extratime",
				      "firmware_override",
				      "gfx_passthru",
				      "gic_version",
				      "init_seclabel",
				      "iomem",
				      "ioports",
				      "irqs",
				      "latency",
				      "max_event_channels",
				      "max_grant_frames",
				      "max_grant_version",
				      "max_maptrack_frames",
				      "mca_caps",
				      "mmio_hole",
				      "monitor",
				      "msr_relaxed",
				      "nodes",
				      "nographic",
				      "nomigrate",
				      "on_soft_reset",
				      "on_watchdog",
				      "oos",
				      "opengl",
				      "p9",
				      "passthrough",
				      "pci_msitranslate",
				      "pci_permissive",
				      "pci_power_mgmt",
				      "pci_seize",
				      "pvcalls",
				      "pvh",
				      "pvshim",
				      "pvshim_cmdline",
				      "pvshim_extra",
				      "pvshim_path",
				      "rdm",
				      "rdm_mem_boundary",
				      "reboot",
				      "rtc_timeoffset",
				      "sched",
				      "seclabel",
				      "shadow_memory",
				      "slice",
				      "smbios",
				      "smbios_firmware",
				      "soundhw",
				      "spice_clipboard_sharing",
				      "spice_image_compression",
				      "spice_streaming_video",
				      "spiceagent_mouse",
				      "spicetls_port",
				      "spiceusbredirection",
				      "spicevdagent",
				      "stubdomain_cmdline",
				      "stubdomain_kernel",
				      "stubdomain_memory",
				      "stubdomain_ramdisk",
				      "tee",
				      "timer_mode",
				      "tsc_mode",
				      "usbctrl",
				      "usbdev",
				      "usbversion",
				      "vdispl",
				      "vendor_device",
				      "vfb",
				      "videoram",
				      "vif2",
				      "vkb",
				      "vkb_device",
				      "vmtrace_buf_kb",
				      "vncconsole",
				      "vncviewer",
				      "vnuma",
				      "vpmu",
				      "vpt_align",
				      "vsnd",
				      "vuart",
				      "xauthority",
				      "xend_suspend_evtchn_compat"};
#define NXL ((int)(sizeof(xl_keys) / sizeof(xl_keys[0])))

static int least_of(int a, int b, int c)
{
	int least = a < b ? a : b;

	return least < c ? least : c;
}

int cfg_distance(const char *a, const char *b)
{
	int row[64], up, left, i, j, n = strlen(b);

	for (j = 0; j <= n; j++)
		row[j] = j;
	for (i = 1; a[i - 1]; i++) {
		left = row[0]; /* of the row above */
		row[0] = i;
		for (j = 1; j <= n; j++) {
			up = row[j];
			row[j] = least_of(up + 1, row[j - 1] + 1, left + (a[i - 1] != b[j - 1]));
			left = up;
		}
	}
	return row[n];
}

void cfg_unknown_key(struct parser *p, int line, const char *name)
{
	const char *nearest = NULL;
	int i, d, best = strlen(name) / 3 + 1;

	p->c->unknown++;
	for (i = 0; i < NXL; i++)
		if (!strcmp(name, xl_keys[i])) {
			cfg_warn(p, line, "key \"%s\" of xl is not supported and ignored", name);
			return;
		}
	for (i = 0; i < cfg_nkeys; i++) {
		d = cfg_distance(name, cfg_keys[i].name);
		if (d <= best) {
			best = d - 1;
			nearest = cfg_keys[i].name;
		}
	}
	if (nearest)
		cfg_warn(p, line, "unknown key \"%s\" is ignored; did you mean \"%s\"?", name,
			 nearest);
	else
		cfg_warn(p, line, "unknown key \"%s\" is ignored", name);
}
