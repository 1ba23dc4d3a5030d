/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arbitrary text as a guest's file, and as what stands in one: disks, interfaces, devices, CPU
 * lists. links: tools/corbel/cfg.c tools/corbel/cfg_keys.c tools/corbel/cfg_items.c
 * tools/corbel/cfg_hint.c tools/corbel/cpulist.c
 */
#include "fuzz.h"

#include "tools/corbel/cfg.h"

const char fuzz_what[] = "guests' files are read or refused";
const u32 fuzz_rounds = 20000;

/* It becomes part of a path in sysfs. */
static void check_pci(const struct cfg_pci *p)
{
	require(strlen(p->bdf) == CFG_BDF_SIZE - 1 && p->bdf[4] == ':' && p->bdf[7] == ':' &&
		    p->bdf[10] == '.' && strspn(p->bdf, "0123456789abcdef:.") == CFG_BDF_SIZE - 1,
		"a device has an address and nothing else");
}

static void check_result(const struct cfg *c)
{
	require(c->name && !cfg_bad_name(c->name), "a guest has a name that can be one");
	require(c->vcpus && c->vcpus <= CFG_MAX_VCPUS && c->memory_mib,
		"a guest has vCPUs and memory");
	require(!c->maxmem_mib || c->maxmem_mib >= c->memory_mib,
		"a balloon's memory is more than the guest's");
	require(c->ndisks >= 0 && c->ndisks <= CFG_MAX_DISKS && c->nvifs >= 0 &&
		    c->nvifs <= CFG_MAX_VIFS && c->npci >= 0 && c->npci <= CFG_MAX_PCI &&
		    c->nargs >= 0 && c->nargs <= CFG_MAX_ARGS,
		"lists have no more than there is room for");
	for (int i = 0; i < c->ndisks; i++)
		require(c->disk[i].path || c->disk[i].cdrom, "a disk has a file");
	for (int i = 0; i < c->nvifs; i++)
		require(c->vif[i].bridge && (!c->vif[i].has_mac || !(c->vif[i].mac[0] & 1)),
			"an interface has a bridge and an address of its own");
	for (int i = 0; i < c->npci; i++)
		check_pci(&c->pci[i]);
	for (int i = 0; i < c->nargs; i++)
		require(c->args[i], "an argument is one");
}

static void check_cpulist(const char *text)
{
	struct corbel_cpus set, again;
	char err[256], list[CPULIST_TEXT];

	if (cpulist_parse(text, &set, err, sizeof(err))) {
		require(*err && memchr(err, 0, sizeof(err)), "what is wrong with a list is said");
		return;
	}
	require(!cpus_empty(&set), "a list of CPUs has one");
	require(
	    !cpulist_parse(cpulist_format(&set, list, sizeof(list)), &again, err, sizeof(err)) &&
		!memcmp(&again, &set, sizeof(set)),
	    "a list is what is written of it");
}

/* Nothing but the keys is gone: the name is missed then, and nothing else is complained of before.
 */
static void check_without(const char *text)
{
	static const char *const name[] = {"name", NULL};
	char *rest = cfg_without(text, name);
	struct cfg c;

	require(rest && strlen(rest) == strlen(text), "a file that is read has assignments");
	require(cfg_parse(&c, "f", rest) && strstr(c.error, "name is missing"),
		"a file without the name is the same but for that");
	cfg_free(&c);
	free(rest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = fuzz_string(data, size), err[256] = "";
	struct cfg_disk disk = {0};
	struct cfg_vif vif = {0};
	struct cfg_pci pci = {0};
	struct cfg c;
	u8 mac[6];

	if (!cfg_parse(&c, "f", text)) {
		check_result(&c);
		check_without(text);
	} else
		require(!strncmp(c.error, "f:", 2) && memchr(c.error, 0, sizeof(c.error)),
			"what is wrong with a file is said, and where");
	cfg_free(&c);
	check_cpulist(text);
	require(mac_parse(text, mac) || !(mac[0] & 1), "an address is one machine's");
	if (cfg_parse_disk(&disk, text, err))
		require(*err, "what is wrong with a disk is said");
	free(disk.path);
	if (cfg_parse_vif(&vif, text, err))
		require(*err, "what is wrong with an interface is said");
	cfg_free_vif(&vif);
	if (cfg_parse_pci(&pci, text, err))
		require(*err, "what is wrong with a device is said");
	else
		check_pci(&pci);
	free(text);
	return 0;
}

size_t fuzz_make(u8 *to)
{
	static const char *const lines[] = {
	    "name = \"demo\"",
	    "kernel='/boot/vmlinuz'",
	    "ramdisk = '/boot/initrd'; root='/dev/vda'",
	    "pci = ['01:00.0', '0001:02:1f.7@5,seize=1']",
	    "extra = \"a # b\\\"c\"",
	    "memory = 0x200",
	    "maxmem = 4096",
	    "vcpus = \"2\"",
	    "maxvcpus=8",
	    "cpus = \"0-3,^1\"",
	    "cpus=['0','1-2', 'all']",
	    "cpu_weight = 512",
	    "cap = 50",
	    "disk = [ '/a b/img,raw,xvda,w',\n 'file:/b,xvdb,r', # of an item\n]",
	    "disk += ['format=qcow2, vdev=hdc, access=ro, target=/d=1', '/cd,,hdc,cdrom']",
	    "vif = ['', 'mac=52:54:00:aa:bb:cc , bridge=br1,model=e1000']",
	    "firmware = \"bios\"",
	    "device_model_args = [ '-device', \"x\" ]",
	    "boot = 'dc'",
	    "vnc=1",
	    "vnclisten='0.0.0.0:3'",
	    "vncdisplay=2",
	    "vncpasswd='geheim'",
	    "spice=1; spiceport=5930; spicehost='::1'",
	    "spicedisable_ticketing=1",
	    "keymap='de'",
	    "vnuma = [['a', ['b'],], []]; tpm=1",
	    "disk += [',,hdc:cdrom,r', '/e,raw,sda,w,discard,colo']; hdtype='ahci'",
	    "serial = ['pty', 'file:/s']; bootloader='x'; extra='\\x41\\101'",
	    "stdvga=1",
	    "vga = 'cirrus'",
	    "usb=1",
	    "usbdevice = ['tablet', 'mouse', 'keyboard']",
	    "localtime=1",
	    "on_reboot = 'destroy'",
	    "on_crash='restart'",
	    "on_poweroff='preserve'",
	    "on_reboot = 'coredump-restart'",
	    "builder = 'hvm'",
	    "type='pvh'",
	    "uuid = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'",
	    "pae=1",
	    "nonsense = 3",
	    "0-7,^3",
	    "all",
	    "/x.qcow2,qcow2,vdc,rw",
	    "bridge=br0,mac=02:00:00:00:00:01",
	    "[",
	    "'",
	    "= 3",
	    "device_model_override='/bin/q'"};
	const char *again = fuzz_random(4) ? NULL : FUZZ_PICK(lines); /* and nothing else */
	size_t n = 0;

	if (fuzz_random(4))
		n = sprintf((char *)to, "name='a'\nkernel='k'\n");
	for (u64 left = fuzz_random(again ? 40 : 10); left; left--)
		n += sprintf((char *)to + n, "%s%c", again ?: FUZZ_PICK(lines),
			     fuzz_random(4) ? '\n' : ';');
	return n;
}
