/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arbitrary text as the hypervisor's command line.
 * links: boot/options.c boot/boot.c
 */
#include "fuzz.h"

#include "boot/options.h"
#include "hv/iommu/iommu.h"
#include "hv/lib/log.h"
#include "tests/unit/test.h"

const char fuzz_what[] = "command lines are understood or warned of";
const u32 fuzz_rounds = 50000;

static void check_result(const struct boot_options *o)
{
	require(o->console.count <= ARRAY_SIZE(o->console.at), "no more consoles than there are");
	for (u32 i = 0; i < o->console.count; i++)
		require(!o->console.at[i].port || o->console.at[i].baud, "a port has a speed");
	require(memchr(o->sched, 0, sizeof(o->sched)) && memchr(o->mask, 0, sizeof(o->mask)),
		"strings end");
	require(o->dom0_share && o->dom0_share <= 90, "dom0 has a share, and guests have one");
	require(o->loglvl <= LOG_DEBUG && o->iommu <= IOMMU_STRICT && o->debugkeys_off <= 1 &&
		    o->nested <= 1,
		"words of a list are of that list");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *line = fuzz_string(data, size);
	static struct boot_options first, second;
	u32 warnings;

	test_log_lines = 0;
	warnings = options_parse(line, &first);
	require(test_log_lines == warnings, "each warning is a line");
	check_result(&first);
	memset(&second, 0xff, sizeof(second));
	options_parse(line, &second);
	require(!memcmp(&first, &second, sizeof(first)), "nothing of before is left");
	boot_info.opt = first;
	cap_masked("npt");
	free(line);
	return 0;
}

size_t fuzz_make(u8 *to)
{
	static const char *const names[] = {
	    "console",	"loglvl", "dom0_max_vcpus", "dom0_mem",	  "hvmem",
	    "maxcpus",	"sched",  "sched-gran",	    "dom0_share", "mask",
	    "noreboot", "reboot", "spec",	    "debugkeys",  "iommu",
	    "nested",	"pmu",	  "numa",	    "quiet"};
	static const char *const values[] = {"com1",
					     "com2,9600",
					     "0x3f8,115200",
					     "vga",
					     "none",
					     "debug",
					     "4",
					     "512M",
					     "0x40",
					     "64K",
					     "3g",
					     "rr",
					     "npt,1g",
					     "kbd",
					     "off",
					     "full",
					     "dom0",
					     "strict",
					     "",
					     "-1",
					     "0",
					     "auto",
					     "18446744073709551616",
					     "99999T"};
	size_t n = 0;

	for (u64 words = fuzz_random(fuzz_random(8) ? 12 : 400); words; words--) {
		n += sprintf((char *)to + n, "%s", FUZZ_PICK(names));
		if (fuzz_random(8))
			n += sprintf((char *)to + n, "=%s", FUZZ_PICK(values));
		to[n++] = ' ';
	}
	return n;
}
