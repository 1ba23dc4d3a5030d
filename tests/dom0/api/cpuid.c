/* SPDX-License-Identifier: GPL-2.0-only */
/* Rights follow the guest's CPUID. */
#include "api.h"

static void test_cpuid_flags(void)
{
	struct vm v = start(FULL_CHIP);
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[CPUIDS];
	} want = {.head.nent = CPUIDS}, got = {.head.nent = CPUIDS};
	int bad = 0;

	ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &want);
	ioctl(v.vcpu, KVM_GET_CPUID2, &got);
	for (uint32_t i = 0; i < got.head.nent; i++)
		bad += got.entry[i].function != want.entry[i].function ||
		       got.entry[i].index != want.entry[i].index ||
		       got.entry[i].flags != want.entry[i].flags ||
		       got.entry[i].flags & ~KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	check(got.head.nent == want.head.nent && !bad,
	      "KVM_GET_CPUID2 gives the entries and flags that were set (%d it does not)", bad);
	end(&v);
}

/* ---- rights follow the guest's CPUID ---- */

GUEST(set_cr4, "mov %cr4, %eax; or %ebx, %eax; mov %eax, %cr4; hlt");
GUEST(set_msr_bits, "rdmsr; or %ebx, %eax; wrmsr; hlt");
GUEST(on_refused, "out %al, $0x13; hlt");

/* The guest's code with EBX and ECX: may it? */
static bool may(struct vm *v, u64 rbx, u64 rcx)
{
	struct kvm_regs r = {.rip = CODE, .rflags = 2, .rsp = STACK, .rbx = rbx, .rcx = rcx};

	ioctl(v->vcpu, KVM_SET_REGS, &r);
	return run(v) == KVM_EXIT_HLT;
}

struct table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[CPUIDS];
};

static void offered(struct table *t)
{
	t->head.nent = CPUIDS;
	ioctl(kvm, KVM_GET_SUPPORTED_CPUID, t);
}

/* reg: 0 EAX to 3 EDX */
static bool mask_feature(struct table *t, uint32_t leaf, uint32_t index, int reg, uint32_t bit)
{
	for (uint32_t i = 0; i < t->head.nent; i++) {
		struct kvm_cpuid_entry2 *e = &t->entry[i];
		uint32_t *word[] = {&e->eax, &e->ebx, &e->ecx, &e->edx}, had;

		if (e->function != leaf || e->index != index)
			continue;
		had = *word[reg] & 1u << bit;
		*word[reg] &= ~(1u << bit);
		return had;
	}
	return false;
}

static void test_rights(void)
{
	static const struct {
		const char *name;
		uint32_t leaf;
		int reg;
		uint32_t bit;
		u64 set;
		uint32_t msr; /* 0: CR4 */
	} rights[] = {
	    {"CR4.FSGSBASE", 7, 1, 0, 1 << 16, 0},
	    {"CR4.SMEP", 7, 1, 7, 1 << 20, 0},
	    {"CR4.SMAP", 7, 1, 20, 1 << 21, 0},
	    {"CR4.UMIP", 7, 2, 2, 1 << 11, 0},
	    {"CR4.PKE", 7, 2, 3, 1 << 22, 0},
	    {"CR4.OSXSAVE", 1, 2, 26, 1 << 18, 0},
	    {"EFER.NXE", 0x80000001, 3, 20, 1 << 11, MSR_EFER},
	    {"EFER.LME", 0x80000001, 3, 29, 1 << 8, MSR_EFER},
	    {"TSC_AUX", 0x80000001, 3, 27, 1, 0xc0000103},
	};
	struct table t;

	for (size_t i = 0; i < sizeof(rights) / sizeof(rights[0]); i++) {
		for (int masked = 0; masked < 2; masked++) {
			struct vm v = start(NO_CHIP);
			bool had = true, done;

			offered(&t);
			if (rights[i].msr == 0xc0000103)
				mask_feature(&t, 7, 0, 2, 22); /* RDPID has it, too */
			if (masked)
				had = mask_feature(&t, rights[i].leaf, 0, rights[i].reg,
						   rights[i].bit);
			ioctl(v.vcpu, KVM_SET_CPUID2, &t);
			if (rights[i].msr)
				LOAD(v, set_msr_bits);
			else
				LOAD(v, set_cr4);
			HANDLE(13, on_refused);
			done = may(&v, rights[i].set, rights[i].msr);
			if (had)
				check(done != masked, "%s is %s a guest whose CPUID has %s feature",
				      rights[i].name, masked ? "refused to" : "for",
				      masked ? "not its" : "its");
			end(&v);
		}
	}
}

static void test_xcr0_rights(void)
{
	struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs[0].value = 7};
	struct vm v = start(NO_CHIP);
	struct table t;

	check(!ioctl(v.vcpu, KVM_SET_XCRS, &x), "XCR0 may have AVX where leaf 0xd has it");
	offered(&t);
	mask_feature(&t, 0xd, 0, 0, 2);
	ioctl(v.vcpu, KVM_SET_CPUID2, &t);
	check(ioctl(v.vcpu, KVM_SET_XCRS, &x) && errno == EINVAL, "and not where it has not");
	x.xcrs[0].value = 3;
	check(!ioctl(v.vcpu, KVM_SET_XCRS, &x), "what is left it may have");
	end(&v);
}

/* Values that a CPU refuses, by whomever they are written, and MSRs that guests only read. */
static void test_msr_values(void)
{
	static const struct {
		uint32_t msr;
		u64 value;
		bool good;
	} values[] = {
	    {0x2ff, 0xc06, true},
	    {0x2ff, 0xc07, false},
	    {0x2ff, 0x1000, false},
	    {0x2ff, 2, false},
	    {0x200, 0xc0000006, true},
	    {0x200, 0xc0000003, false},
	    {0x200, 0xc0000100, false},
	    {0x200, 1ull << 60, false},
	    {0x201, 0xc0000800, true},
	    {0x201, 0xc0000400, false},
	    {0x201, 1ull << 60, false},
	    {0x250, 0x0606060606060606, true},
	    {0x250, 0x0606060606060206, false},
	    {0x26f, 0x0700000000000000, false},
	    {0x26f, 0x0501040000000600, true},
	};
	static const struct {
		const char *name;
		uint32_t msr;
	} read_only[] = {{"SMI_COUNT", 0x34},
			 {"FEATURE_CONTROL", 0x3a},
			 {"MTRRcap", 0xfe},
			 {"MISC_FEATURES", 0x140},
			 {"PERF_STATUS", 0x198}};
	struct vm v = start(NO_CHIP);
	u64 before;
	int bad = 0;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		before = get_msr(&v, values[i].msr);
		if ((set_msr(&v, values[i].msr, values[i].value) == 1) != values[i].good ||
		    get_msr(&v, values[i].msr) != (values[i].good ? values[i].value : before)) {
			bad++;
			printf("# MSR %#x, %#lx\n", values[i].msr, values[i].value);
		}
	}
	check(!bad, "MTRRs take valid types and addresses only (%d are wrong)", bad);
	LOAD(v, set_msr_bits);
	HANDLE(13, on_refused);
	for (size_t i = 0; i < sizeof(read_only) / sizeof(read_only[0]); i++)
		check(get_msr(&v, read_only[i].msr) != ~0ull && may(&v, 0, read_only[i].msr) &&
			  !may(&v, 1 << 16, read_only[i].msr),
		      "%s can be read, and not changed by a guest", read_only[i].name);
	end(&v);
}

/* A table that the guest has seen stays; what depends on the vCPU is as it is now. */
static void test_cpuid_stays(void)
{
	struct vm v = start(FULL_CHIP);
	struct kvm_sregs s;
	struct table t, now = {.head.nent = CPUIDS};
	const struct kvm_cpuid_entry2 *one = NULL, *seven = NULL, *xsave = NULL;

	LOAD(v, in_port);
	offered(&t);
	check(!ioctl(v.vcpu, KVM_SET_CPUID2, &t) && run(&v) == KVM_EXIT_IO,
	      "a table can be set anew until the guest runs");
	check(!ioctl(v.vcpu, KVM_SET_CPUID2, &t), "the same one afterwards, too");
	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.cr4 |= 1 << 18 | 1 << 22; /* OSXSAVE, PKE */
	s.apic_base &= ~0x800ull;
	check(!ioctl(v.vcpu, KVM_SET_SREGS, &s) && !ioctl(v.vcpu, KVM_GET_CPUID2, &now),
	      "KVM_GET_CPUID2 while things are switched on");
	for (uint32_t i = 0; i < now.head.nent; i++) {
		const struct kvm_cpuid_entry2 *e = &now.entry[i];

		if (e->function == 1)
			one = e;
		else if (e->function == 7 && !e->index)
			seven = e;
		else if (e->function == 0xd && !e->index)
			xsave = e;
	}
	check(one && one->ecx & 1 << 27 && !(one->edx & 1 << 9),
	      "it shows OSXSAVE, and no APIC while that is off");
	check(seven && seven->ecx & 1 << 4, "OSPKE");
	check(xsave && xsave->ebx == 576 && xsave->ecx > 576,
	      "and the size of an XSAVE area for this XCR0 (%u)", xsave ? xsave->ebx : 0);
	check(!ioctl(v.vcpu, KVM_SET_CPUID2, &now), "and can be set again");
	now.entry[0].ebx ^= 1;
	check(ioctl(v.vcpu, KVM_SET_CPUID2, &now) && errno == EINVAL, "another one cannot");
	now.entry[0].ebx ^= 1;
	now.head.nent--;
	check(ioctl(v.vcpu, KVM_SET_CPUID2, &now) && errno == EINVAL, "nor a shorter one");
	end(&v);
}

void cpuid_tests(void)
{
	test_cpuid_flags();
	test_rights();
	test_xcr0_rights();
	test_msr_values();
	test_cpuid_stays();
}
