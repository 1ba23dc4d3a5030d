/* SPDX-License-Identifier: GPL-2.0-only */
/* What VT-x tells of an exit, in the terms of all back ends. links: hv/vmx/decode.c */
#include <string.h>

#include "hv/vmx/decode.h"
#include "test.h"

static struct vm_exit decode(struct vmx_raw r)
{
	struct vm_exit x;

	memset(&x, 0xaa, sizeof(x));
	vmx_decode_exit(&r, &x);
	return x;
}

static void test_decode_memory(void)
{
	struct vm_exit x =
	    decode((struct vmx_raw){.reason = 48, .qual = 0x181, .gpa = 0xfee00020, .insn_len = 7});

	CHECK(x.reason == VMEXIT_P2M_FAULT && x.p2m.gpa == 0xfee00020 && !x.p2m.write &&
		  !x.p2m.exec && !x.p2m.during_walk && !x.insn_len,
	      "EPT violation: a read of nothing");
	x = decode((struct vmx_raw){.reason = 48, .qual = 0x18a});
	CHECK(x.p2m.write && !x.p2m.exec, "EPT violation: a write to what may be read");
	x = decode((struct vmx_raw){.reason = 48, .qual = 0x84});
	CHECK(x.p2m.exec && x.p2m.during_walk, "EPT violation: of the guest's page walk");
	x = decode((struct vmx_raw){.reason = 49});
	CHECK(x.reason == VMEXIT_OTHER && x.raw == 49, "EPT misconfiguration is nobody's");
}

static void test_decode_io(void)
{
	struct vm_exit x = decode((struct vmx_raw){.reason = 30, .qual = 0x3f80008, .insn_len = 1});

	CHECK(x.reason == VMEXIT_IO && x.io.port == 0x3f8 && x.io.size == 1 && x.io.in &&
		  !x.io.string && !x.io.rep && x.insn_len == 1,
	      "IN AL, DX");
	x = decode((struct vmx_raw){.reason = 30, .qual = 0xcf80033, .insn_len = 2});
	CHECK(x.io.port == 0xcf8 && x.io.size == 4 && !x.io.in && x.io.string && x.io.rep,
	      "REP OUTSD");
}

static void test_decode_cr(void)
{
	struct vm_exit x = decode((struct vmx_raw){.reason = 28, .qual = 0xf00, .insn_len = 4});

	CHECK(x.reason == VMEXIT_CR_ACCESS && x.cr.cr == 0 && x.cr.write && x.cr.gpr == 15 &&
		  x.insn_len == 4,
	      "MOV CR0, R15");
	x = decode((struct vmx_raw){.reason = 28, .qual = 0x318});
	CHECK(x.cr.cr == 8 && !x.cr.write && x.cr.gpr == 3, "MOV RBX, CR8");
	x = decode((struct vmx_raw){.reason = 28, .qual = 0x30});
	CHECK(x.reason == VMEXIT_OTHER, "LMSW never exits");
}

static void test_decode_dr(void)
{
	struct vm_exit x = decode((struct vmx_raw){.reason = 29, .qual = 0xf06, .insn_len = 4});

	CHECK(x.reason == VMEXIT_DR_ACCESS && x.cr.cr == 6 && x.cr.write && x.cr.gpr == 15 &&
		  x.insn_len == 4,
	      "MOV to DR6 from R15");
	x = decode((struct vmx_raw){.reason = 29, .qual = 0x311});
	CHECK(x.cr.cr == 1 && !x.cr.write && x.cr.gpr == 3, "MOV from DR1 to RBX");
}

static void test_decode_events(void)
{
	struct vm_exit x = decode((struct vmx_raw){.reason = 0, .intr_info = 0x80000202});

	CHECK(x.reason == VMEXIT_NMI, "NMI");
	x = decode((struct vmx_raw){.reason = 0, .intr_info = 0x80000b11, .intr_error = 0});
	CHECK(x.reason == VMEXIT_EXCEPTION && x.exc.vector == 17 && x.exc.has_error && !x.exc.error,
	      "#AC with its error code");
	x = decode((struct vmx_raw){
	    .reason = 0, .intr_info = 0x80000301, .qual = 0x4000, .intr_error = 5});
	CHECK(x.exc.vector == 1 && !x.exc.has_error && !x.exc.error, "#DB without");
	x = decode((struct vmx_raw){.reason = 1});
	CHECK(x.reason == VMEXIT_INTR, "interrupts stay in the APIC");
	x = decode((struct vmx_raw){.reason = 0x80000021});
	CHECK(x.reason == VMEXIT_ENTRY_FAIL && x.raw == 0x80000021, "entry with a bad guest state");
	x = decode((struct vmx_raw){.reason = 0x80000029});
	CHECK(x.reason == VMEXIT_EXCEPTION && x.exc.vector == 18,
	      "a machine check during entry is one");
}

static void test_decode_plain(void)
{
	static const struct {
		u32 raw, reason;
	} t[] = {
	    {2, VMEXIT_SHUTDOWN},
	    {7, VMEXIT_IRQ_WINDOW},
	    {8, VMEXIT_NMI_WINDOW},
	    {10, VMEXIT_CPUID},
	    {12, VMEXIT_HLT},
	    {18, VMEXIT_HYPERCALL},
	    {19, VMEXIT_VMX_SVM_INSN},
	    {23, VMEXIT_VMX_SVM_INSN},
	    {27, VMEXIT_VMX_SVM_INSN},
	    {31, VMEXIT_MSR_READ},
	    {32, VMEXIT_MSR_WRITE},
	    {43, VMEXIT_IRQ_WINDOW},
	    {45, VMEXIT_EOI},
	    {50, VMEXIT_VMX_SVM_INSN},
	    {52, VMEXIT_INTR},
	    {54, VMEXIT_WBINVD},
	    {55, VMEXIT_XSETBV},
	    {56, VMEXIT_APIC_WRITE},
	    {60, VMEXIT_VMX_SVM_INSN},
	    {74, VMEXIT_BUS_LOCK},
	    {75, VMEXIT_NOTIFY},
	    /* MWAIT, MONITOR, RDRAND, RDSEED, ENCLV, SEAMCALL, TDCALL, RDMSR and WRMSRNS with an
	       immediate */
	    {36, VMEXIT_MWAIT},
	    {39, VMEXIT_MWAIT},
	    {57, VMEXIT_UNDEFINED},
	    {61, VMEXIT_UNDEFINED},
	    {70, VMEXIT_UNDEFINED},
	    {76, VMEXIT_UNDEFINED},
	    {77, VMEXIT_UNDEFINED},
	    {84, VMEXIT_UNDEFINED},
	    {85, VMEXIT_UNDEFINED},
	};

	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		struct vm_exit x = decode((struct vmx_raw){.reason = t[i].raw, .insn_len = 3});

		CHECK_QUIET(x.reason == t[i].reason && x.insn_len == 3, "exit %u", t[i].raw);
	}
	for (u32 raw = 62; raw < 0x10000; raw++) {
		struct vm_exit x = decode((struct vmx_raw){.reason = raw});

		CHECK_QUIET(x.reason == VMEXIT_OTHER || raw == 70 || (raw >= 74 && raw <= 77) ||
				raw == 84 || raw == 85,
			    "exit %u", raw);
	}
	CHECK(decode((struct vmx_raw){.reason = 75, .qual = 1 << 12}).reason == VMEXIT_NOTIFY &&
		  decode((struct vmx_raw){.reason = 75, .qual = 1}).reason == VMEXIT_OTHER,
	      "a guest whose state is lost does not go on");
	CHECK(decode((struct vmx_raw){.reason = BIT(26) | 12}).reason == VMEXIT_HLT &&
		  decode((struct vmx_raw){.reason = BIT(26) | 48, .qual = 0x181}).reason ==
		      VMEXIT_P2M_FAULT,
	      "other exits may say that there was a bus lock, too");
	CHECK(decode((struct vmx_raw){.reason = 45, .qual = 0x61}).apic == 0x61 &&
		  decode((struct vmx_raw){.reason = 56, .qual = 0x3f0}).apic == 0x3f0,
	      "the vector of an EOI, the register of an APIC write");
	CHECK(decode((struct vmx_raw){.reason = 5}).reason == VMEXIT_OTHER,
	      "reasons this back end does not ask for are unknown");
}

int main(void)
{
	test_decode_memory();
	test_decode_io();
	test_decode_cr();
	test_decode_dr();
	test_decode_events();
	test_decode_plain();
	return test_end();
}
