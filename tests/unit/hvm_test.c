/* SPDX-License-Identifier: GPL-2.0-only */
/* What the back ends share, and AMD-V's exits. links: tests/unit/rest.c hv/guest/hvm.c
 * hv/svm/decode.c hv/svm/tcg.c
 */
#include <string.h>

#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/emul/emul.h"
#include "hv/guest/quirks.h"
#include "hv/guest/vcpu.h"
#include "hv/mm/pt.h"
#include "hv/svm/decode.h"
#include "hv/svm/svm.h"
#include "hv/svm/tcg.h"
#include "test.h"

static u32 leaf0_ebx, leaf1_ecx;

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = leaf ? 0 : 1; /* the highest leaf */
	*d = 0;
	*b = leaf ? 0 : leaf0_ebx;
	*c = leaf ? leaf1_ecx : 0;
}

static const struct pt_format fake_format = {
    .max_order = 9, .dirty = BIT(9), .wb = 0x30, .wb_only = 0x70};

static const char *fake_probe(struct hvm_caps *caps)
{
	caps->p2m = &fake_format;
	caps->p2m_1g = true;
	return NULL;
}

static const char *fake_no(struct hvm_caps *caps)
{
	return "no; buy one";
}

static void test_select(void)
{
	static const struct hvm_ops one = {.probe = fake_probe}, other = {.probe = fake_no};

	hvm_select(&one, &other);
	CHECK(hvm == &one && pt_guest.max_order == 18 && pt_guest.dirty == BIT(9),
	      "AMD-V is the default, and the format is told what the CPU has");
	CHECK(pt_guest.wb == 0x30 && pt_ram.wb == 0x70 && pt_ram.max_order == 18,
	      "of guests' memory PAT is ignored, where that can be had, of dom0's not");
	leaf1_ecx = BIT(5);
	hvm_select(&other, &one);
	CHECK(hvm == &one, "whoever has VT-x gets it");
	leaf1_ecx = 0;
	leaf0_ebx = 0x756e6547;
	CHECK(PANICS(hvm_select(&one, &other)) && strstr(test_panic_text, "buy one"),
	      "Intel's without it: the line that VT-x has for that");
}

static bool same(const struct corbel_segment *a, const struct corbel_segment *b)
{
	return a->type == b->type && a->present == b->present && a->dpl == b->dpl &&
	       a->db == b->db && a->s == b->s && a->l == b->l && a->g == b->g && a->avl == b->avl &&
	       a->unusable == b->unusable;
}

static void test_rights(void)
{
	struct corbel_segment in = {.type = 0xb, .s = 1, .l = 1, .g = 1, .present = 1}, out;

	CHECK(hvm_seg_rights(&in) == 0xa09b, "64-bit code as the SDM has it");
	CHECK(vmcb_attrib(0xa09b) == 0xa9b && vmcb_rights(0xa9b) == 0xa09b, "and as the APM does");
	for (u32 i = 0; i < 0x1000; i++) {
		hvm_seg_from_rights(&in, vmcb_rights(i));
		CHECK_QUIET(vmcb_attrib(hvm_seg_rights(&in)) == i, "attributes %x", i);
		hvm_seg_from_rights(&out, hvm_seg_rights(&in));
		CHECK_QUIET(same(&in, &out) && in.unusable == !in.present, "rights of %x", i);
	}
	hvm_seg_from_rights(&out, 0xa09b | AR_UNUSABLE);
	CHECK(!out.present && out.unusable, "an unusable segment is not present");
	in = (struct corbel_segment){.present = 1, .unusable = 1, .dpl = 7};
	CHECK(hvm_seg_rights(&in) == AR_DPL, "nor is it when set; what is too wide is cut off");
}

static u64 is_64bit(struct vcpu *v, enum hvm_reg r)
{
	return EMUL_64;
}

static void test_events(void)
{
	static const struct hvm_ops ops = {.get = is_64bit};
	static struct vcpu v;

	hvm = &ops;
	hvm_take_back_event(&v, hvm_event(HVM_INJ_IRQ, 0x31, false), 0);
	CHECK(v.irq_injected && v.irq_vector == 0x31 && !v.nmi_injected && !v.exception.pending,
	      "an interrupt goes back");
	hvm_take_back_event(&v, hvm_event(HVM_INJ_NMI, 2, false), 0);
	CHECK(v.nmi_injected && !v.exception.pending, "an NMI");
	hvm_take_back_event(&v, hvm_event(HVM_INJ_EXCEPTION, 3, false), 0);
	hvm_take_back_event(&v, hvm_event(4, 0x80, false), 0);
	CHECK(!v.exception.pending, "INT3 and INT n run again");
	v.rip = 0x1001;
	v.trap_injected = true;
	hvm_take_back_event(&v, hvm_event(HVM_INJ_EXCEPTION, 3, false), 0);
	CHECK(v.exception.pending && v.exception.vector == 3 && v.rip == 0x1000,
	      "but an INT3 that was injected is pending again");
	v.trap_injected = v.exception.pending = false;
	hvm_take_back_event(&v, hvm_event(HVM_INJ_EXCEPTION, 14, true), 7);
	CHECK(v.exception.pending && v.exception.vector == 14 && v.exception.has_error &&
		  v.exception.error == 7,
	      "an exception, with its error code");
	CHECK(PANICS(hvm_take_back_event(&v, 14, 0)), "what is not valid is nobody's event");
}

void apic_send_ipi(u32 apic_id, u8 vector)
{
}

static void test_virtual_interrupts(void)
{
	static struct vmcb m;
	static struct svm_vcpu s = {.vmcb = &m};
	static struct vcpu v = {.arch = &s};

	CHECK(svm_virq_inject(&s, 0x41) && m.vintr & SVM_V_IRQ, "one is injected");
	CHECK(PANICS(svm_virq_inject(&s, 0x42)), "one an entry");
	svm_virq_exit(&v);
	CHECK(v.irq_injected && v.irq_vector == 0x41 && !(m.vintr & SVM_V_IRQ),
	      "one that was not taken goes back");
	CHECK(svm_virq_inject(&s, 0x42), "and the way is free again");
}

static struct vm_exit decode(u64 code, u64 info1, u64 next_rip)
{
	static struct vmcb m;
	struct vm_exit x = {0};

	m.exitcode = code;
	m.exitinfo1 = info1;
	m.rip = 0x1000;
	m.next_rip = next_rip;
	svm_decode_exit(&m, next_rip, &x);
	return x;
}

static void test_decode(void)
{
	struct vm_exit x = decode(SVM_EXIT_CPUID, 0, 0);

	CHECK(x.reason == VMEXIT_CPUID && x.insn_len == 2 && x.plain, "CPUID, its length known");
	CHECK(decode(SVM_EXIT_CPUID, 0, 0x1005).insn_len == 5 &&
		  decode(SVM_EXIT_CPUID, 0, 0x1010).insn_len == 2,
	      "with prefixes, where the CPU tells, and what it tells can be");
	CHECK(decode(SVM_EXIT_MSR, 1, 0).reason == VMEXIT_MSR_WRITE &&
		  decode(SVM_EXIT_MSR, 0, 0).reason == VMEXIT_MSR_READ,
	      "RDMSR, WRMSR");
	CHECK(decode(SVM_EXIT_INTR, 0, 0).reason == VMEXIT_INTR, "interrupts");
	CHECK(decode(SVM_EXIT_SMI, 0, 0).reason == VMEXIT_IRQ_WINDOW,
	      "SMIs: nothing is left to do");
	x = decode(SVM_EXIT_EXCEPTION + 17, 0, 0);
	CHECK(x.reason == VMEXIT_EXCEPTION && x.exc.vector == 17 && x.exc.has_error, "#AC");
	x = decode(0x014, 0, 0);
	CHECK(x.reason == VMEXIT_CR_ACCESS && x.cr.cr == 4 && x.cr.write, "a write of CR4");
	CHECK(decode(~0ull, 0, 0).reason == VMEXIT_ENTRY_FAIL, "a state that is refused");
	x = decode(0x036, 0, 0);
	CHECK(x.reason == VMEXIT_DR_ACCESS && x.cr.cr == 6 && x.cr.write, "a write of DR6");
	x = decode(0x02f, 0, 0);
	CHECK(x.reason == VMEXIT_DR_ACCESS && x.cr.cr == 15 && !x.cr.write && x.cr.gpr == 0xff,
	      "a read of DR15, its register not known");
	CHECK(decode(0x6e, 0, 0).reason == VMEXIT_OTHER &&
		  decode(0x7e, 0, 0).reason == VMEXIT_OTHER,
	      "what nothing intercepts is unknown");
}

/* QUIRK_FLAGS: an operand, 0xc4ea0500, or-ed in. */
static void test_flags(void)
{
	static struct vmcb m;
	const u64 operand = 0xc4ea0500;

	m.rflags = RFLAGS_FIXED | RFLAGS_ZF | RFLAGS_IF | operand;
	CHECK(svm_flags_repair(&m, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_CF) ==
		  (RFLAGS_FIXED | RFLAGS_ZF | RFLAGS_IF),
	      "of an operand no flag of the system's is left");
	m.rflags = RFLAGS_FIXED | (operand & ~RFLAGS_IF);
	CHECK(svm_flags_repair(&m, RFLAGS_FIXED | RFLAGS_IF | RFLAGS_VM) ==
		  (RFLAGS_FIXED | (operand & RFLAGS_VM)),
	      "what has been cleared since the entry stays so");
	m.rflags = RFLAGS_FIXED | RFLAGS_IF | (operand & ~RFLAGS_TF);
	CHECK(svm_flags_repair(&m, RFLAGS_FIXED | RFLAGS_DF) == (RFLAGS_FIXED | RFLAGS_DF),
	      "a kernel's interrupts stay off");
	m.cpl = 3;
	CHECK(svm_flags_repair(&m, RFLAGS_FIXED) == (RFLAGS_FIXED | RFLAGS_IF),
	      "of a program, to which it has returned since then, they are on");
}

int main(void)
{
	test_select();
	test_rights();
	test_events();
	test_virtual_interrupts();
	test_decode();
	test_flags();
	return test_end();
}
