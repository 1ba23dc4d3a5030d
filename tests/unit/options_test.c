/* SPDX-License-Identifier: GPL-2.0-only */
/* links: boot/options.c boot/boot.c */
#include <string.h>

#include "boot/options.h"
#include "boot/text.h"
#include "hv/guest/pmu.h"
#include "hv/iommu/iommu.h"
#include "hv/lib/log.h"
#include "test.h"

#define MIB BIT(20)

static struct boot_options o;

static bool is_default(void)
{
	static struct boot_options d;

	options_parse("", &d);
	return !memcmp(&o, &d, sizeof(o));
}

static void test_defaults(void)
{
	CHECK(options_parse("", &o) == 0 && o.console.count == 2 && o.console.at[0].port == 0x3f8 &&
		  o.console.at[0].baud == 115200 && !o.console.at[1].port && o.loglvl == LOG_INFO &&
		  !o.hvmem && !o.dom0_mem && o.dom0_share == 25,
	      "defaults: COM1 at 115200 and the screen, a quarter for dom0");
}

static void test_good(void)
{
	u32 n = options_parse("  console=com2,9600 console=vga  console=0x3e8 loglvl=debug "
			      "dom0_max_vcpus=4 dom0_mem=512M hvmem=1g dom0_share=90 "
			      "maxcpus=2 sched=rr mask=npt,vgif noreboot reboot=kbd mask=1g ",
			      &o);

	CHECK(n == 0, "all options are known");
	CHECK(o.console.count == 3 && o.console.at[0].port == 0x2f8 &&
		  o.console.at[0].baud == 9600 && !o.console.at[1].port &&
		  o.console.at[2].port == 0x3e8 && o.console.at[2].baud == 115200,
	      "consoles named replace the default ones");
	CHECK(o.loglvl == LOG_DEBUG && o.dom0_max_vcpus == 4 && o.dom0_mem == 512 * MIB &&
		  o.hvmem == BIT(30) && o.maxcpus == 2 && o.dom0_share == 90,
	      "numbers and sizes");
	CHECK(!strcmp(o.sched, "rr") && !strcmp(o.mask, "npt,vgif,1g") && o.noreboot &&
		  o.reboot == REBOOT_KEYBOARD,
	      "words; masks add up");
	CHECK(!o.debugkeys_off && options_parse("debugkeys=off", &o) == 0 && o.debugkeys_off &&
		  options_parse("debugkeys=on", &o) == 0 && !o.debugkeys_off,
	      "debug keys are there unless refused");
	CHECK(!o.sched_core && options_parse("sched-gran=core", &o) == 0 && o.sched_core == 1 &&
		  options_parse("sched-gran=cpu", &o) == 0 && !o.sched_core,
	      "CPUs of a core are looked at one by one unless asked for");
	CHECK(!o.numa_off && options_parse("numa=off", &o) == 0 && o.numa_off == 1 &&
		  options_parse("numa=on", &o) == 0 && !o.numa_off,
	      "nodes are what the SRAT says unless it is not to be believed");
	CHECK(!o.nested && options_parse("nested=on", &o) == 0 && o.nested == 1 &&
		  options_parse("nested=off", &o) == 0 && !o.nested &&
		  options_parse("nested", &o) == 1,
	      "nested= is on or off, and off by itself");
	CHECK(!o.pmu && options_parse("pmu=guests", &o) == 0 && o.pmu == PMU_GUESTS &&
		  options_parse("pmu=off", &o) == 0 && o.pmu == PMU_OFF &&
		  options_parse("pmu=dom0", &o) == 0 && o.pmu == PMU_DOM0,
	      "counters are dom0's unless asked for");
	CHECK(!o.iommu && options_parse("iommu=strict", &o) == 0 && o.iommu == IOMMU_STRICT &&
		  options_parse("iommu=off", &o) == 0 && o.iommu == IOMMU_OFF &&
		  options_parse("iommu=dom0", &o) == 0 && o.iommu == IOMMU_DOM0,
	      "IOMMUs are left to dom0 unless asked for");
	CHECK(options_parse("console=none", &o) == 0 && o.console.count == 0, "console=none");
	CHECK(options_parse("loglvl=0 hvmem=65536K dom0_mem=0x40000000", &o) == 0 &&
		  o.loglvl == LOG_ERR && o.hvmem == 64 * MIB && o.dom0_mem == BIT(30),
	      "sizes in K, and in bytes");
	boot_info.opt = o;
	strcpy(boot_info.opt.mask, "npt,tsc-deadline,1g");
	CHECK(cap_masked("npt") && cap_masked("tsc-deadline") && cap_masked("1g"),
	      "mask= hides what it names");
	CHECK(!cap_masked("np") && !cap_masked("nptx") && !cap_masked("g") && !cap_masked(""),
	      "and nothing else");
	strcpy(boot_info.opt.mask, "all,npt");
	CHECK(cap_masked("npt") && cap_masked("1g"), "mask=all hides all that is optional");
	CHECK(cap_named("npt") && !cap_named("1g"), "of all else only what is named");
}

static void test_bad(void)
{
	static const char *const bad[] = {
	    "bogus",
	    "bogus=1",
	    "console=",
	    "console=com3",
	    "console=com1,",
	    "console=com1,115201",
	    "console=com1,x",
	    "console=vga,9600",
	    "console=0x",
	    "console=0xfffff",
	    "console=1016",
	    "console",
	    "loglvl=4",
	    "loglvl=",
	    "loglvl=loud",
	    "dom0_max_vcpus=0",
	    "dom0_max_vcpus=513",
	    "dom0_max_vcpus=two",
	    "dom0_max_vcpus=4x",
	    "dom0_share",
	    "dom0_share=0",
	    "dom0_share=91",
	    "dom0_share=-1",
	    "dom0_share=25%",
	    "dom0_mem=512",
	    "dom0_mem=",
	    "dom0_mem=M",
	    "dom0_mem=12T",
	    "dom0_mem=-1",
	    "dom0_mem=1MM",
	    "hvmem=99999999999999999999",
	    "hvmem=0xffffffffffffffff",
	    "hvmem=17179869184G",
	    "maxcpus=",
	    "maxcpus=0",
	    "maxcpus=99999999999",
	    "sched=",
	    "sched=averyveryverylongname",
	    "sched=a/b",
	    "mask=",
	    "mask=NPT!",
	    "noreboot=1",
	    "noreboots",
	    "reboot=",
	    "reboot=now",
	    "debugkeys",
	    "iommu",
	    "iommu=on",
	    "debugkeys=no",
	    "pmu=on",
	    "sched-gran",
	    "sched-gran=socket",
	    "numa",
	    "numa=2",
	    "=",
	    "=x",
	    "reboot",
	};
	char many[4000] = "";

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_QUIET(options_parse(bad[i], &o) == 1, "\"%s\" is warned of", bad[i]);
		CHECK_QUIET(is_default(), "\"%s\" changes nothing", bad[i]);
	}
	CHECK(true, "%u bad options were tried", (u32)ARRAY_SIZE(bad));
	CHECK(options_parse("bogus hvmem=64M what=ever", &o) == 2 && o.hvmem == 64 * MIB,
	      "what is good beside them is taken");
	CHECK(options_parse("console=com1 console=com2 console=vga console=0x3e8 console=0x2e8",
			    &o) == 1 &&
		  o.console.count == 4,
	      "a fifth console is too much");
	for (u32 i = 0; i < 300; i++)
		strcat(many, "mask=abc ");
	CHECK(options_parse(many, &o) > 0 && strlen(o.mask) < sizeof(o.mask),
	      "too many masks do not overflow");
	memset(many, 'y', sizeof(many) - 1);
	CHECK(options_parse(many, &o) == 1, "a very long option is one warning");
	CHECK(PANICS(text_copy(many, 0, text_of("x"))), "no text is put where there is no room");
}

int main(void)
{
	test_defaults();
	test_good();
	test_bad();
	return test_end();
}
