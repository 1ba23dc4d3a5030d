/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A guest that is a hypervisor in 64-bit mode, g_vmx of guestcode.asm: it does one thing at a time,
 * as it is told here. SDM volume 3, "VMX Instruction Reference".
 */
#ifndef TARGET_VMX_H
#define TARGET_VMX_H

#include "guest.h"

enum op {
	VMXON,
	VMXOFF,
	VMCLEAR,
	VMPTRLD,
	VMPTRST,
	VMREAD,
	VMWRITE,
	VMLAUNCH,
	VMRESUME,
	INVEPT,
	INVVPID,
	VMREAD_MEMORY,
	VMWRITE_MEMORY,
	SET_CR0,
	SET_CR4,
	WRMSR,
	RDMSR,
	SHADOWED_LAUNCH,
	FAR_VMPTRLD,
	FILL
};

/* Where things are in the guest's memory: code from 0x1000 on */
#define TABLES	 0x2000 /* three pages */
#define IDT	 0x5000
#define GDT	 0x5400
#define TSS	 0x5500
#define ON	 0x6000 /* regions */
#define VMCS_A	 0x7000
#define VMCS_B	 0x8000
#define L2_CODE	 0x9000
#define L2_STACK 0xa000
#define IO_A	 0xa000 /* and the next */
#define MSRS	 0xc000
#define EPT	 0xd000 /* three pages */
#define QUAD(at) (*(volatile u64 *)(vmx_guest.mem + (at)))

#define UD	 6
#define GP	 13
#define NO_FAULT (~0u)
#define REVISION 0x11e57ed0u
#define CF	 BIT(0)
#define ZF	 BIT(6)
#define ALL_FL	 (BIT(0) | BIT(2) | BIT(4) | BIT(6) | BIT(7) | BIT(11))

/* Fields, SDM "Field Encoding in VMCS" */
#define F_VPID	       0x0000
#define F_ES_SEL       0x0800
#define F_CS_SEL       0x0802
#define F_SS_SEL       0x0804
#define F_DS_SEL       0x0806
#define F_TR_SEL       0x080e
#define F_HOST_ES      0x0c00
#define F_HOST_CS      0x0c02
#define F_HOST_TR      0x0c0c
#define F_IO_A	       0x2000
#define F_IO_B	       0x2002
#define F_MSRS	       0x2004
#define F_STORE	       0x2006
#define F_LOAD	       0x2008
#define F_ENTRY_LOAD   0x200a
#define F_TSC_OFFSET   0x2010
#define F_EPTP	       0x201a
#define F_PHYSICAL     0x2400
#define F_LINK	       0x2800
#define F_DEBUGCTL     0x2802
#define F_PAT	       0x2804
#define F_EFER	       0x2806
#define F_PIN	       0x4000
#define F_PROC	       0x4002
#define F_EXCEPTIONS   0x4004
#define F_CR3_TARGETS  0x400a
#define F_EXIT	       0x400c
#define F_STORES       0x400e
#define F_LOADS	       0x4010
#define F_ENTRY	       0x4012
#define F_ENTRY_LOADS  0x4014
#define F_INTR	       0x4016
#define F_ERROR	       0x4018
#define F_PROC2	       0x401e
#define F_INSN_ERROR   0x4400
#define F_REASON       0x4402
#define F_EXIT_INTR    0x4404
#define F_EXIT_ERROR   0x4406
#define F_IDT_INFO     0x4408
#define F_LENGTH       0x440c
#define F_ES_LIMIT     0x4800
#define F_GDTR_LIMIT   0x4810
#define F_IDTR_LIMIT   0x4812
#define F_ES_AR	       0x4814
#define F_CS_AR	       0x4816
#define F_SS_AR	       0x4818
#define F_LDTR_AR      0x4820
#define F_TR_AR	       0x4822
#define F_BLOCKING     0x4824
#define F_ACTIVITY     0x4826
#define F_CR0_MASK     0x6000
#define F_CR4_MASK     0x6002
#define F_CR0_SHADOW   0x6004
#define F_CR4_SHADOW   0x6006
#define F_QUAL	       0x6400
#define F_CR0	       0x6800
#define F_CR3	       0x6802
#define F_CR4	       0x6804
#define F_GDTR_BASE    0x6816
#define F_IDTR_BASE    0x6818
#define F_DR7	       0x681a
#define F_RSP	       0x681c
#define F_RIP	       0x681e
#define F_RFLAGS       0x6820
#define F_PENDING      0x6822
#define F_HOST_CR0     0x6c00
#define F_HOST_CR3     0x6c02
#define F_HOST_CR4     0x6c04
#define F_HOST_TR_BASE 0x6c0a
#define F_HOST_GDTR    0x6c0c
#define F_HOST_IDTR    0x6c0e
#define F_HOST_RSP     0x6c14
#define F_HOST_RIP     0x6c16

#define PROC_HLT	   BIT(7)
#define PROC_RDTSC	   BIT(12)
#define PROC_ALL_IO	   BIT(24)
#define PROC_IO_MAPS	   BIT(25)
#define PROC_MSR_MAP	   BIT(28)
#define PROC_SECOND	   BIT(31)
#define PROC2_EPT	   BIT(1)
#define PROC2_VPID	   BIT(5)
#define PROC2_UNRESTRICTED BIT(7)

/* What the instruction says: an exception's vector, or one of these */
enum { FINE = 0x100, INVALID, FAILED, EXITED, STUCK };

extern struct guest vmx_guest;

/* Makes it; it waits for its first command then. */
bool vmx_begin(void);
/* It carries out an instruction, with such operands. */
u32 vmx_run(enum op op, u64 a, u64 b);
/* What that has given */
u64 vmx_result(void);
/* A field of the current VMCS; ~0: there is none. */
u64 vmx_field(u32 f);
bool vmx_set(u32 f, u64 val);
/* One of its own MSRs; ~0: none */
u64 vmx_msr(u32 nr);
/* A nested guest in 64-bit mode, on the guest's tables, that runs this code. */
bool vmx_setup(const u8 *code, u32 len);
/* Processor-based controls, beside those that have to be. */
bool vmx_with_proc2(u64 proc, u64 proc2);
/* The nested guest runs to such an exit. */
bool vmx_exits(enum op op, u32 reason);

#define SETUP(...)                                                                                 \
	({                                                                                         \
		static const u8 code_[] = {__VA_ARGS__};                                           \
		vmx_setup(code_, sizeof(code_));                                                   \
	})
#define CPUID_INSN	    0x0f, 0xa2
#define VMCALL_INSN	    0x0f, 0x01, 0xc1
#define MOV_EAX(n)	    0xb8, (n)&0xff, (n) >> 8 & 0xff, (n) >> 16 & 0xff, (u8)((n) >> 24)
#define EVENT(type, vector) (BIT(31) | (type) << 8 | (vector))

/* What an entry refuses of the nested guest's state */
void vmx_check_guest_state(void);
/* With EPT: what the guest allows, and what the VM has. */
void vmx_check_ept(void);
void vmx_check_p2m(void);

#endif
