/* SPDX-License-Identifier: GPL-2.0-only */
/* Registers that a VMM may set as a guest may not. */
#include "api.h"

/* ---- registers that a VMM may set as a guest may not ---- */

static bool set_base(struct vm *v, u64 base, bool by_msr)
{
	struct kvm_sregs s;

	if (by_msr)
		return set_msr(v, MSR_APIC_BASE, base) == 1;
	ioctl(v->vcpu, KVM_GET_SREGS, &s);
	s.apic_base = base;
	return !ioctl(v->vcpu, KVM_SET_SREGS, &s);
}

static void test_apic_base(void)
{
	static const u64 modes[] = {APIC_OFF, APIC_XAPIC, APIC_X2APIC};
	static const u64 wrong[] = {APIC_X2APIC & ~0x800ull, APIC_XAPIC | 1,
				    APIC_XAPIC | 1ull << 52};
	struct vm v = start(FULL_CHIP);
	struct kvm_sregs s;

	for (int by_msr = 0; by_msr < 2; by_msr++) {
		int bad = 0;

		for (int i = 0; i < 9; i++) {
			set_base(&v, modes[i / 3], false);
			bad += !set_base(&v, modes[i % 3], by_msr) ||
			       get_msr(&v, MSR_APIC_BASE) != modes[i % 3];
		}
		check(!bad, "%s: APIC_BASE makes any transition (%d it does not)",
		      by_msr ? "KVM_SET_MSRS" : "KVM_SET_SREGS", bad);
		bad = 0;
		set_base(&v, APIC_XAPIC, false);
		for (int i = 0; i < 3; i++)
			bad += set_base(&v, wrong[i], by_msr) ||
			       get_msr(&v, MSR_APIC_BASE) != APIC_XAPIC;
		check(!bad, "x2APIC of an APIC that is off and reserved bits are refused");
	}
	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.cr2 = 0x1234;
	s.apic_base = wrong[0];
	check(ioctl(v.vcpu, KVM_SET_SREGS, &s) && errno == EINVAL &&
		  !ioctl(v.vcpu, KVM_GET_SREGS, &s) && !s.cr2,
	      "KVM_SET_SREGS that is refused changes nothing");
	end(&v);

	v = start(NO_CHIP);
	check(set_base(&v, 0xfed00900, false) && !ioctl(v.vcpu, KVM_GET_SREGS, &s) &&
		  s.apic_base == 0xfed00900,
	      "without an irqchip KVM_SET_SREGS keeps the VMM's APIC_BASE");
	end(&v);
}

static void test_sregs2(void)
{
	const size_t common = offsetof(struct kvm_sregs, interrupt_bitmap);
	struct vm v = start(NO_CHIP);
	struct kvm_sregs2 s2;
	struct kvm_sregs s;
	uint32_t irq = 0x41;

	memset(&s2, 0xff, sizeof(s2));
	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_SREGS2) == 1 &&
		  !ioctl(v.vcpu, KVM_GET_SREGS, &s) && !ioctl(v.vcpu, KVM_GET_SREGS2, &s2) &&
		  !memcmp(&s, &s2, common) && !s2.flags && !s2.pdptrs[3],
	      "KVM_GET_SREGS2 gives what KVM_GET_SREGS does, and no PDPTRs");
	check(!ioctl(v.vcpu, KVM_INTERRUPT, &irq), "an interrupt waits");
	s2.cr2 = 0x1234;
	check(!ioctl(v.vcpu, KVM_SET_SREGS2, &s2) && !ioctl(v.vcpu, KVM_GET_SREGS, &s) &&
		  s.cr2 == 0x1234 && s.interrupt_bitmap[1] == 2,
	      "KVM_SET_SREGS2 sets them, and leaves the interrupt alone");
	s2.cr2 = 0x5678;
	s2.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	check(ioctl(v.vcpu, KVM_SET_SREGS2, &s2) && errno == EINVAL,
	      "PDPTRs without PAE paging are refused");
	s2.cr0 = 0x80000011, s2.cr4 = 0x20;
	check(!ioctl(v.vcpu, KVM_SET_SREGS2, &s2), "with it they are taken");
	s2.flags = 2;
	s2.cr2 = 0x9abc;
	check(ioctl(v.vcpu, KVM_SET_SREGS2, &s2) && errno == EINVAL &&
		  !ioctl(v.vcpu, KVM_GET_SREGS2, &s2) && s2.cr2 == 0x5678,
	      "an unknown flag is refused, and changes nothing");
	end(&v);
}

#define EFER_LME (1ull << 8)
#define EFER_LMA (1ull << 10)

static void test_efer(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_sregs real, s;

	ioctl(v.vcpu, KVM_GET_SREGS, &real);
	s = real;
	s.cr0 = 0x80000011;
	s.cr4 = 0x20;
	s.efer = EFER_LME | EFER_LMA;
	check(!ioctl(v.vcpu, KVM_SET_SREGS, &s), "a vCPU can be put into long mode");
	check(set_msr(&v, MSR_EFER, 0) == 1 && get_msr(&v, MSR_EFER) == EFER_LMA,
	      "KVM_SET_MSRS: EFER.LME may change while paging is on");
	check(set_msr(&v, MSR_EFER, 1ull << 12 | EFER_LMA) != 1 &&
		  set_msr(&v, MSR_EFER, 1ull << 9) != 1,
	      "SVME and reserved bits may not");
	check(!ioctl(v.vcpu, KVM_SET_SREGS, &real) && run(&v) == KVM_EXIT_HLT,
	      "and it runs in real mode after KVM_SET_SREGS");
	end(&v);
}

static void test_xsave2(void)
{
	static struct kvm_xsave area, area2;
	struct vm v = start(NO_CHIP);

	memset(&area2, 0xff, sizeof(area2));
	check(ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2) == sizeof(area) &&
		  !ioctl(v.vcpu, KVM_GET_XSAVE, &area) && !ioctl(v.vcpu, KVM_GET_XSAVE2, &area2) &&
		  !memcmp(&area, &area2, sizeof(area)),
	      "KVM_GET_XSAVE2 gives what KVM_GET_XSAVE does, which has room for all");
	end(&v);
}

void regs_tests(void)
{
	test_xsave2();
	test_apic_base();
	test_sregs2();
	test_efer();
}
