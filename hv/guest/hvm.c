/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/hvm.h"
#include "hv/cpu/cpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"

const struct hvm_ops *hvm;

void hvm_select(const struct hvm_ops *svm, const struct hvm_ops *vmx)
{
	const char *why;
	u32 a, b, c, d;

	cpuid(0, 0, &a, &b, &c, &d);
	hvm = b == 0x756e6547 ? vmx : svm; /* "Genu"ineIntel */
	cpuid(1, 0, &a, &b, &c, &d);
	if (c & BIT(5)) /* another vendor's CPU with VT-x */
		hvm = vmx;
	why = hvm->probe();
	if (why)
		boot_fail("%s", why);
}
