/* SPDX-License-Identifier: GPL-2.0-only */
#include "hvm.h"
#include "cpu.h"
#include "log.h"

const struct hvm_ops *hvm;

void hvm_select(void)
{
	const char *why;
	u32 a, b, c, d;

	cpuid(0, 0, &a, &b, &c, &d);
	if (b == 0x756e6547) /* "Genu"ineIntel */
		boot_fail("this CPU has Intel VT-x, for which there is no back end yet; use an AMD CPU, or -cpu max in QEMU");
	why = svm_ops.probe();
	if (why)
		boot_fail("%s", why);
	hvm = &svm_ops;
}
