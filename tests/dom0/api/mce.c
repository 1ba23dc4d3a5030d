/* SPDX-License-Identifier: GPL-2.0-only */
/* Machine checks that a VMM injects. */
#include "api.h"

/* ---- machine checks ---- */

#define MSR_MCG_CAP	    0x179
#define MSR_MCG_STATUS	    0x17a
#define MSR_MCG_CTL	    0x17b
#define MSR_HWCR	    0xc0010015
#define MSR_MC(bank, which) (0x400 + (bank)*4 + (which))
enum { MCI_CTL, MCI_STATUS, MCI_ADDR, MCI_MISC };
#define MCG_CAP	 (10 | 1ull << 8 | 1ull << 24) /* banks, MCG_CTL_P, MCG_SER_P */
#define MCG_MCIP (1ull << 2)
#define MCI_VAL	 (1ull << 63)
#define MCI_OVER (1ull << 62)
#define MCI_UC	 (1ull << 61)
#define MCI_S	 (1ull << 56)
#define CR4_MCE	 (1ull << 6)

GUEST(rd, "rdmsr; out %al, $0x78; hlt");
GUEST(wr, "wrmsr; out %al, $0x78; hlt");
GUEST(on_gp, "out %al, $0x13; hlt");
GUEST(on_mc, "out %al, $0x12; hlt");

/* The guest's own RDMSR or WRMSR. False: #GP. */
static bool guest_msr(struct vm *v, bool write, uint32_t index, u64 *val)
{
	struct kvm_regs r = {.rip = CODE,
			     .rflags = 2,
			     .rsp = STACK,
			     .rcx = index,
			     .rax = (uint32_t)*val,
			     .rdx = *val >> 32};

	memcpy(ram + CODE, write ? wr : rd, write ? wr_end - wr : rd_end - rd);
	HANDLE(13, on_gp);
	ioctl(v->vcpu, KVM_SET_REGS, &r);
	run(v);
	r = regs(v);
	*val = (uint32_t)r.rax | r.rdx << 32;
	return at_port(v, 0x78);
}

static bool guest_writes(struct vm *v, uint32_t index, u64 val)
{
	return guest_msr(v, true, index, &val);
}

static bool guest_reads(struct vm *v, uint32_t index, u64 want)
{
	u64 val = 0;

	return guest_msr(v, false, index, &val) && val == want;
}

static struct vm start_mce(u64 cr4)
{
	struct vm v = start(NO_CHIP);
	struct kvm_sregs s;
	u64 cap = MCG_CAP;

	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.cr4 = cr4;
	ioctl(v.vcpu, KVM_SET_SREGS, &s);
	check(!ioctl(v.vcpu, KVM_X86_SETUP_MCE, &cap), "KVM_X86_SETUP_MCE gives ten banks");
	return v;
}

static int set_mce(struct vm *v, u64 status, u64 mcg_status, u8 bank)
{
	struct kvm_x86_mce e = {.status = status,
				.addr = 0x1234000,
				.misc = 0x8c,
				.mcg_status = mcg_status,
				.bank = bank};

	return ioctl(v->vcpu, KVM_X86_SET_MCE, &e);
}

static void test_mce_setup(void)
{
	struct vm v = start(FULL_CHIP);
	static const u64 wrong[] = {0, 33, 10 | 1 << 9, 10 | 1 << 10, 10 | 1ull << 27};
	u64 cap = 0;
	int bad = 0;

	check(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MCE) == 32 &&
		  !ioctl(kvm, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap) && cap == (MCG_CAP & ~0xffull),
	      "machine checks: 32 banks, MCG_CTL and software recovery are offered");
	check(get_msr(&v, MSR_MCG_CAP) == 32, "a new vCPU has KVM's banks");
	for (int i = 0; i < 5; i++)
		bad += !ioctl(v.vcpu, KVM_X86_SETUP_MCE, (u64[]){wrong[i]}) || errno != EINVAL;
	check(!bad && ioctl(v.vcpu, KVM_X86_SETUP_MCE, NULL) && errno == EFAULT,
	      "no bank, too many, and what is not offered are refused");
	end(&v);
}

static void test_mce_msrs(void)
{
	struct vm v = start_mce(CR4_MCE);
	bool amd = __builtin_cpu_is("amd");
	int bad = 0;

	check(guest_reads(&v, MSR_MCG_CAP, MCG_CAP) && guest_reads(&v, MSR_MCG_STATUS, 0) &&
		  guest_reads(&v, MSR_MCG_CTL, ~0ull) &&
		  guest_reads(&v, MSR_MC(0, MCI_CTL), ~0ull) &&
		  guest_reads(&v, MSR_MC(9, MCI_MISC), 0),
	      "the guest reads them as they begin");
	check(!guest_reads(&v, MSR_MC(10, MCI_CTL), 0) && at_port(&v, 0x13) &&
		  !guest_writes(&v, MSR_MC(10, MCI_CTL), 0) &&
		  get_msr(&v, MSR_MC(10, MCI_CTL)) == ~0ull &&
		  set_msr(&v, MSR_MC(10, MCI_CTL), 0) != 1,
	      "an eleventh bank there is not");
	check(!guest_writes(&v, MSR_MCG_CAP, 0) && set_msr(&v, MSR_MCG_CAP, 0) != 1,
	      "MCG_CAP cannot be written");
	bad += guest_writes(&v, MSR_MCG_CTL, 5) || set_msr(&v, MSR_MCG_CTL, 5) == 1;
	bad += guest_writes(&v, MSR_MC(3, MCI_CTL), 5) || set_msr(&v, MSR_MC(3, MCI_CTL), 5) == 1;
	check(!bad, "the controls take nothing but zeroes and ones");
	bad += !guest_writes(&v, MSR_MCG_CTL, 0) || !guest_reads(&v, MSR_MCG_CTL, 0) ||
	       !guest_writes(&v, MSR_MC(3, MCI_CTL), 0);
	bad += !guest_writes(&v, MSR_MC(4, MCI_CTL), ~(1ull << 10)) ||
	       get_msr(&v, MSR_MC(4, MCI_CTL)) != ~(1ull << 10);
	check(!bad && !get_msr(&v, MSR_MC(3, MCI_CTL)),
	      "these, and what Linux writes on old Opterons");
	check(!guest_writes(&v, MSR_MC(3, MCI_STATUS), 1) &&
		  guest_writes(&v, MSR_MC(3, MCI_STATUS), 0),
	      "a status can only be cleared");
	check(guest_writes(&v, MSR_HWCR, 1 << 18) &&
		  guest_writes(&v, MSR_MC(3, MCI_STATUS), 1) == amd,
	      "but by AMD's McStatusWrEn");
	check(set_msr(&v, MSR_HWCR, 0) == 1 &&
		  set_msr(&v, MSR_MC(3, MCI_STATUS), MCI_VAL | 7) == 1 &&
		  guest_reads(&v, MSR_MC(3, MCI_STATUS), MCI_VAL | 7),
	      "or by the VMM");
	check(!guest_reads(&v, 0x280, 0) && set_msr(&v, 0x280, 0) == 1 &&
		  set_msr(&v, 0x280, 1) != 1 && !get_msr(&v, 0x280),
	      "there are no MCi_CTL2, but a VMM may write 0");
	end(&v);
}

static void test_mce_errors(void)
{
	const u64 fatal = MCI_VAL | MCI_UC | MCI_S, mcg = MCG_MCIP | 1;
	struct vm v = start_mce(CR4_MCE);

	check(set_mce(&v, MCI_UC, mcg, 1) && errno == EINVAL && set_mce(&v, fatal, mcg, 10) &&
		  errno == EINVAL && set_mce(&v, fatal, mcg, 255) && errno == EINVAL,
	      "no error, or for no bank, is refused");
	check(!set_mce(&v, MCI_VAL | 1, 0, 1) &&
		  get_msr(&v, MSR_MC(1, MCI_STATUS)) == (MCI_VAL | 1) &&
		  get_msr(&v, MSR_MC(1, MCI_ADDR)) == 0x1234000 &&
		  get_msr(&v, MSR_MC(1, MCI_MISC)) == 0x8c && run(&v) == KVM_EXIT_HLT,
	      "a corrected error is noted, no more");
	check(!set_mce(&v, MCI_VAL | 2, 0, 1) &&
		  get_msr(&v, MSR_MC(1, MCI_STATUS)) == (MCI_VAL | MCI_OVER | 2),
	      "a second one notes the overflow");
	check(!set_mce(&v, MCI_VAL | MCI_UC | 3, 0, 2) &&
		  get_msr(&v, MSR_MC(2, MCI_STATUS)) == (MCI_VAL | MCI_UC | 3) &&
		  guest_reads(&v, MSR_MCG_STATUS, 0),
	      "an uncorrected one that needs no action makes no exception");
	check(!set_mce(&v, MCI_VAL | 4, 0, 2) &&
		  get_msr(&v, MSR_MC(2, MCI_STATUS)) == (MCI_VAL | MCI_OVER | MCI_UC | 3),
	      "and is not overwritten by a corrected one");
	set_msr(&v, MSR_MC(5, MCI_CTL), 0);
	check(!set_mce(&v, fatal, mcg, 5) && !get_msr(&v, MSR_MC(5, MCI_STATUS)) &&
		  guest_reads(&v, MSR_MCG_STATUS, 0),
	      "a bank that is off reports nothing");
	HANDLE(18, on_mc); /* all handlers lie at the same place */
	check(!set_mce(&v, fatal, mcg, 9) && run(&v) == KVM_EXIT_IO && at_port(&v, 0x12),
	      "an uncorrected error is #MC");
	check(guest_reads(&v, MSR_MCG_STATUS, mcg) &&
		  guest_reads(&v, MSR_MC(9, MCI_STATUS), fatal) &&
		  guest_reads(&v, MSR_MC(9, MCI_ADDR), 0x1234000),
	      "which the guest finds in the bank");
	check(!set_mce(&v, fatal, mcg, 9) && run(&v) == KVM_EXIT_SHUTDOWN,
	      "while it is at that, another one shuts it down");
	end(&v);

	v = start_mce(0);
	check(!set_mce(&v, fatal, mcg, 9) && run(&v) == KVM_EXIT_SHUTDOWN,
	      "without CR4.MCE the first one does");
	end(&v);
}

void mce_tests(void)
{
	test_mce_setup();
	test_mce_msrs();
	test_mce_errors();
}
