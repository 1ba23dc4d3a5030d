/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The Virtual-Machine Control Structure; SDM volume 3, "Field Encoding in VMCS", in manual order.
 */
#pragma once

#include "hv/lib/types.h"

struct vcpu;

/* Fields this back end uses, by class; a field's width is part of its encoding. */
/* clang-format off */
/* A field of each segment, in the order of enum hvm_seg. GDTR, IDTR: limit and base only. */
#define VMCS_SEGMENTS(X, what, at)								\
	X(GUEST_ES_##what, at) X(GUEST_CS_##what, at + 2) X(GUEST_SS_##what, at + 4)		\
	X(GUEST_DS_##what, at + 6) X(GUEST_FS_##what, at + 8) X(GUEST_GS_##what, at + 10)	\
	X(GUEST_LDTR_##what, at + 12) X(GUEST_TR_##what, at + 14)
#define VMCS_FIELDS(X)										\
	X(VPID, 0x0000) X(POSTED_VECTOR, 0x0002) VMCS_SEGMENTS(X, SEL, 0x0800)			\
	X(GUEST_INTR_STATUS, 0x0810) X(HOST_ES_SEL, 0x0c00) X(HOST_CS_SEL, 0x0c02)		\
	X(HOST_SS_SEL, 0x0c04) X(HOST_DS_SEL, 0x0c06) X(HOST_FS_SEL, 0x0c08)			\
	X(HOST_GS_SEL, 0x0c0a) X(HOST_TR_SEL, 0x0c0c) X(IO_BITMAP_A, 0x2000)			\
	X(IO_BITMAP_B, 0x2002) X(MSR_BITMAP, 0x2004) X(EXIT_MSR_STORE, 0x2006)			\
	X(EXIT_MSR_LOAD, 0x2008)								\
	X(ENTRY_MSR_LOAD, 0x200a) X(TSC_OFFSET, 0x2010) X(VIRTUAL_APIC, 0x2012)			\
	X(POSTED_DESCRIPTOR, 0x2016) X(EPTP, 0x201a) X(EOI_EXIT0, 0x201c) X(EOI_EXIT1, 0x201e)	\
	X(EOI_EXIT2, 0x2020) X(EOI_EXIT3, 0x2022) X(XSS_BITMAP, 0x202c)				\
	X(ENCLS_BITMAP, 0x202e) X(TSC_MULTIPLIER, 0x2032) X(ENCLV_BITMAP, 0x2036)		\
	X(GUEST_PHYSICAL, 0x2400)								\
	X(LINK_POINTER, 0x2800) X(GUEST_DEBUGCTL, 0x2802) X(GUEST_PAT, 0x2804)			\
	X(GUEST_EFER, 0x2806) X(GUEST_PDPTE0, 0x280a) X(GUEST_PDPTE1, 0x280c)			\
	X(GUEST_PDPTE2, 0x280e) X(GUEST_PDPTE3, 0x2810) X(HOST_PAT, 0x2c00)			\
	X(HOST_EFER, 0x2c02) X(GUEST_PERF_GLOBAL, 0x2808) X(HOST_PERF_GLOBAL, 0x2c04)		\
	X(PIN_CONTROLS, 0x4000) X(PROC_CONTROLS, 0x4002)			\
	X(EXCEPTIONS, 0x4004) X(PF_ERROR_MASK, 0x4006) X(PF_ERROR_MATCH, 0x4008)		\
	X(CR3_TARGETS, 0x400a) X(EXIT_CONTROLS, 0x400c) X(EXIT_MSR_STORES, 0x400e)		\
	X(EXIT_MSR_LOADS, 0x4010) X(ENTRY_CONTROLS, 0x4012) X(ENTRY_MSR_LOADS, 0x4014)		\
	X(ENTRY_INTR_INFO, 0x4016) X(ENTRY_ERROR, 0x4018) X(ENTRY_INSN_LEN, 0x401a)		\
	X(TPR_THRESHOLD, 0x401c)								\
	X(PROC2_CONTROLS, 0x401e) X(PLE_GAP, 0x4020) X(PLE_WINDOW, 0x4022)			\
	X(NOTIFY_WINDOW, 0x4024)								\
	X(INSN_ERROR, 0x4400) X(EXIT_REASON, 0x4402) X(EXIT_INTR_INFO, 0x4404)			\
	X(EXIT_INTR_ERROR, 0x4406) X(IDT_INFO, 0x4408)						\
	X(IDT_ERROR, 0x440a) X(EXIT_INSN_LEN, 0x440c) X(EXIT_INSN_INFO, 0x440e)			\
	VMCS_SEGMENTS(X, LIMIT, 0x4800)								\
	X(GUEST_GDTR_LIMIT, 0x4810) X(GUEST_IDTR_LIMIT, 0x4812) VMCS_SEGMENTS(X, AR, 0x4814)	\
	X(INTERRUPTIBILITY, 0x4824) X(ACTIVITY, 0x4826) X(GUEST_SYSENTER_CS, 0x482a)		\
	X(PREEMPTION_TIMER, 0x482e) X(HOST_SYSENTER_CS, 0x4c00) X(CR0_MASK, 0x6000)		\
	X(CR4_MASK, 0x6002) X(CR0_SHADOW, 0x6004) X(CR4_SHADOW, 0x6006)				\
	X(QUALIFICATION, 0x6400) X(GUEST_LINEAR, 0x640a) X(GUEST_CR0, 0x6800)			\
	X(GUEST_CR3, 0x6802) X(GUEST_CR4, 0x6804) VMCS_SEGMENTS(X, BASE, 0x6806)		\
	X(GUEST_GDTR_BASE, 0x6816) X(GUEST_IDTR_BASE, 0x6818) X(GUEST_DR7, 0x681a)		\
	X(GUEST_RSP, 0x681c) X(GUEST_RIP, 0x681e) X(GUEST_RFLAGS, 0x6820)			\
	X(PENDING_DEBUG, 0x6822) X(GUEST_SYSENTER_ESP, 0x6824) X(GUEST_SYSENTER_EIP, 0x6826)	\
	X(HOST_CR0, 0x6c00) X(HOST_CR3, 0x6c02) X(HOST_CR4, 0x6c04) X(HOST_FS_BASE, 0x6c06)	\
	X(HOST_GS_BASE, 0x6c08) X(HOST_TR_BASE, 0x6c0a) X(HOST_GDTR_BASE, 0x6c0c)		\
	X(HOST_IDTR_BASE, 0x6c0e) X(HOST_SYSENTER_ESP, 0x6c10) X(HOST_SYSENTER_EIP, 0x6c12)	\
	X(HOST_RSP, 0x6c14) X(HOST_RIP, 0x6c16)
/* clang-format on */

enum vmcs_field {
#define X(name, encoding) VMCS_##name = encoding,
	VMCS_FIELDS(X)
#undef X
};

/*
 * Bits 14:13 of an encoding; the accessors below refuse a field of another width at compile time.
 */
enum vmcs_width { VMCS_W16, VMCS_W64, VMCS_W32, VMCS_NATURAL };
#define VMCS_WIDTH(f) ((f) >> 13 & 3)

/* vmcs.c: panic with what the CPU says of it */
void __noreturn vmcs_refuse(const char *insn, u32 field);

/* A VMX instruction: does the CPU refuse it (CF or ZF)? */
#define VMX_REFUSES(insn, ...)                                                                     \
	({                                                                                         \
		bool refused_;                                                                     \
		__asm__ volatile(insn : "=@ccbe"(refused_) : __VA_ARGS__ : "memory");              \
		refused_;                                                                          \
	})
#define vmx_ptrld(region) VMX_REFUSES("vmptrld %1", "m"((region).v))
#define vmx_clear(region) VMX_REFUSES("vmclear %1", "m"((region).v))

/* Raw access to the current VMCS. A field the CPU refuses is our own bug. */
static inline u64 vmcs_read(u64 field)
{
	u64 val;

	/* cppcheck-suppress legacyUninitvar; VMREAD writes it, or the jump is taken */
	__asm__ goto("vmread %1, %0; jbe %l[refused]" : "=r"(val) : "r"(field) : "cc" : refused);
	return val;
refused:
	vmcs_refuse("VMREAD", field);
}

static inline void vmcs_write(u64 field, u64 val)
{
	__asm__ goto("vmwrite %1, %0; jbe %l[refused]" : : "r"(field), "rm"(val) : "cc" : refused);
	return;
refused:
	vmcs_refuse("VMWRITE", field);
}

#define VMCS_READ(f, w)                                                                            \
	({                                                                                         \
		_Static_assert(VMCS_WIDTH(f) == (w), "width of " #f);                              \
		vmcs_read(f);                                                                      \
	})
#define VMCS_WRITE(f, w, v)                                                                        \
	({                                                                                         \
		_Static_assert(VMCS_WIDTH(f) == (w), "width of " #f);                              \
		vmcs_write(f, v);                                                                  \
	})
#define vmcs_read16(f)	   ((u16)VMCS_READ(f, VMCS_W16))
#define vmcs_read32(f)	   ((u32)VMCS_READ(f, VMCS_W32))
#define vmcs_read64(f)	   VMCS_READ(f, VMCS_W64)
#define vmcs_readn(f)	   VMCS_READ(f, VMCS_NATURAL)
#define vmcs_write16(f, v) VMCS_WRITE(f, VMCS_W16, (u16)(v))
#define vmcs_write32(f, v) VMCS_WRITE(f, VMCS_W32, (u32)(v))
#define vmcs_write64(f, v) VMCS_WRITE(f, VMCS_W64, v)
#define vmcs_writen(f, v)  VMCS_WRITE(f, VMCS_NATURAL, v)

/* The fields of segment s, enum hvm_seg. */
#define VMCS_SEG_SEL(s)	  (VMCS_GUEST_ES_SEL + 2 * (s))
#define VMCS_SEG_LIMIT(s) (VMCS_GUEST_ES_LIMIT + 2 * (s))
#define VMCS_SEG_AR(s)	  (VMCS_GUEST_ES_AR + 2 * (s))
#define VMCS_SEG_BASE(s)  (VMCS_GUEST_ES_BASE + 2 * (s))

/* Pin-based controls */
#define PIN_EXT_INTR BIT(0)
#define PIN_NMI	     BIT(3)
#define PIN_VNMI     BIT(5)
#define PIN_TIMER    BIT(6)
#define PIN_POSTED   BIT(7)

/* Primary processor-based controls */
#define PROC_INTR_WINDOW BIT(2)
#define PROC_TSC_OFFSET	 BIT(3)
#define PROC_HLT	 BIT(7)
#define PROC_INVLPG	 BIT(9)
#define PROC_MWAIT	 BIT(10)
#define PROC_RDPMC	 BIT(11)
#define PROC_RDTSC	 BIT(12)
#define PROC_CR3_LOAD	 BIT(15)
#define PROC_CR3_STORE	 BIT(16)
#define PROC_CR8_LOAD	 BIT(19)
#define PROC_CR8_STORE	 BIT(20)
#define PROC_TPR_SHADOW	 BIT(21)
#define PROC_MOV_DR	 BIT(23)
#define PROC_NMI_WINDOW	 BIT(22)
#define PROC_ALL_IO	 BIT(24)
#define PROC_IO_BITMAPS	 BIT(25)
#define PROC_MSR_BITMAP	 BIT(28)
#define PROC_MONITOR	 BIT(29)
#define PROC_PAUSE	 BIT(30)
#define PROC_SECONDARY	 BIT(31)

/* Secondary processor-based controls */
#define PROC2_EPT	   BIT(1)
#define PROC2_TABLES	   BIT(2) /* LGDT, LLDT and their like exit */
#define PROC2_RDTSCP	   BIT(3)
#define PROC2_X2APIC	   BIT(4) /* virtualize x2APIC mode */
#define PROC2_VPID	   BIT(5)
#define PROC2_WBINVD	   BIT(6)
#define PROC2_UNRESTRICTED BIT(7)
#define PROC2_APIC_REGS	   BIT(8) /* APIC-register virtualization */
#define PROC2_VID	   BIT(9) /* virtual-interrupt delivery */
/* on while the guest is in x2APIC mode */
#define PROC2_DIRECT	(PROC2_X2APIC | PROC2_APIC_REGS | PROC2_VID)
#define PROC2_PAUSE	BIT(10) /* PAUSE-loop exiting */
#define PROC2_RDRAND	BIT(11) /* exits */
#define PROC2_INVPCID	BIT(12)
#define PROC2_ENCLS	BIT(15)
#define PROC2_RDSEED	BIT(16) /* exits */
#define PROC2_XSAVES	BIT(20)
#define PROC2_TSC_SCALE BIT(25)
#define PROC2_ENCLV	BIT(28)
#define PROC2_BUS_LOCK	BIT(30) /* exits behind locked accesses that need the bus */
#define PROC2_NOTIFY	BIT(31) /* exits where no event could be delivered for long */

/* VM-exit and VM-entry controls */
#define EXIT_SAVE_DEBUG	 BIT(2)
#define EXIT_HOST_64	 BIT(9)
#define EXIT_LOAD_PERF	 BIT(12)
#define EXIT_ACK_INTR	 BIT(15)
#define EXIT_SAVE_PAT	 BIT(18)
#define EXIT_LOAD_PAT	 BIT(19)
#define EXIT_SAVE_EFER	 BIT(20)
#define EXIT_LOAD_EFER	 BIT(21)
#define ENTRY_LOAD_DEBUG BIT(2)
#define ENTRY_GUEST_64	 BIT(9)
#define ENTRY_LOAD_PERF	 BIT(13)
#define ENTRY_LOAD_PAT	 BIT(14)
#define ENTRY_LOAD_EFER	 BIT(15)

/* Guest interruptibility state */
#define SHADOW_STI    BIT(0)
#define SHADOW_MOV_SS BIT(1)
#define BLOCKED_NMI   BIT(3)

/* Interruption information has EVT_x (hv/guest/hvm.h), and at exits this one. */
#define PENDING_BREAKPOINT BIT(12) /* of VMCS_PENDING_DEBUG */
#define INTR_NMI_UNBLOCK   BIT(12)
#define INTR_TYPE_INT1	   5 /* "privileged software exception" */
#define INTR_TYPE_SOFT	   6 /* of INT3 and INTO */

/* Basic exit reasons; SDM "Basic Exit Reasons" */
#define EXIT_ENTRY_FAILED BIT(31)
enum {
	EXIT_EXCEPTION_NMI = 0,
	EXIT_EXT_INTR = 1,
	EXIT_TRIPLE_FAULT = 2,
	EXIT_INIT = 3,
	EXIT_IO_SMI = 5,
	EXIT_SMI = 6,
	EXIT_INTR_WINDOW = 7,
	EXIT_NMI_WINDOW = 8,
	EXIT_TASK_SWITCH = 9,
	EXIT_CPUID = 10,
	EXIT_GETSEC = 11,
	EXIT_HLT = 12,
	EXIT_INVD = 13,
	EXIT_INVLPG = 14,
	EXIT_RDPMC = 15,
	EXIT_RDTSC = 16,
	EXIT_VMCALL = 18,
	EXIT_VMCLEAR = 19,
	EXIT_VMLAUNCH = 20,
	EXIT_VMPTRLD = 21,
	EXIT_VMPTRST = 22,
	EXIT_VMREAD = 23,
	EXIT_VMRESUME = 24,
	EXIT_VMWRITE = 25,
	EXIT_VMXOFF = 26,
	EXIT_VMXON = 27,
	EXIT_CR = 28,
	EXIT_DR = 29,
	EXIT_IO = 30,
	EXIT_RDMSR = 31,
	EXIT_WRMSR = 32,
	EXIT_BAD_GUEST = 33,
	EXIT_BAD_MSR = 34,
	EXIT_MWAIT = 36,
	EXIT_MONITOR = 39,
	EXIT_PAUSE = 40,
	EXIT_ENTRY_MC = 41,
	EXIT_TPR = 43,
	EXIT_EOI = 45,
	EXIT_GDTR_IDTR = 46,
	EXIT_LDTR_TR = 47,
	EXIT_EPT_VIOLATION = 48,
	EXIT_EPT_MISCONFIG = 49,
	EXIT_INVEPT = 50,
	EXIT_RDTSCP = 51,
	EXIT_TIMER = 52,
	EXIT_INVVPID = 53,
	EXIT_WBINVD = 54,
	EXIT_XSETBV = 55,
	EXIT_APIC_WRITE = 56,
	EXIT_RDRAND = 57,
	EXIT_INVPCID = 58,
	EXIT_ENCLS = 60,
	EXIT_RDSEED = 61,
	EXIT_ENCLV = 70,
	EXIT_BUS_LOCK = 74,
	EXIT_NOTIFY = 75,
	/* these two, of a CPU with TDX, and the next, with the MSR in the instruction, always */
	EXIT_SEAMCALL = 76,
	EXIT_TDCALL = 77,
	EXIT_RDMSR_IMM = 84,
	EXIT_WRMSR_IMM = 85,
};

/* Exit qualification of CR accesses, I/O, task switches, EPT violations */
#define QUAL_CR_NR	  GENMASK(3, 0)
#define QUAL_CR_TYPE	  GENMASK(5, 4)
#define QUAL_CR_READ	  1 /* after 0, a write; then CLTS and LMSW */
#define QUAL_CR_GPR	  GENMASK(11, 8)
#define QUAL_CR_LMSW	  GENMASK(31, 16)
#define QUAL_DR_NR	  GENMASK(2, 0)
#define QUAL_DR_READ	  BIT(4) /* of the GPR as QUAL_CR_GPR */
#define QUAL_IO_SIZE	  GENMASK(2, 0)
#define QUAL_IO_IN	  BIT(3)
#define QUAL_IO_STRING	  BIT(4)
#define QUAL_IO_REP	  BIT(5)
#define QUAL_IO_PORT	  GENMASK(31, 16)
#define QUAL_TASK_TSS	  GENMASK(15, 0)
#define QUAL_TASK_FROM	  GENMASK(31, 30) /* enum task_source */
#define QUAL_EPT_ACCESS	  GENMASK(2, 0)	  /* READ, WRITE, EXEC */
#define QUAL_EPT_READ	  BIT(0)
#define QUAL_EPT_WRITE	  BIT(1)
#define QUAL_EPT_EXEC	  BIT(2)
#define QUAL_EPT_MAY_READ BIT(3) /* and the next two */
#define QUAL_EPT_LINEAR	  BIT(7)
#define QUAL_EPT_FINAL	  BIT(8)
#define QUAL_STATE_LOST	  BIT(0) /* of EXIT_NOTIFY: what is in the VMCS is not the guest's */
#define QUAL_DB_DR6	  (GENMASK(3, 0) | GENMASK(14, 13))

/* SDM "PDPTE Registers" */
#define PDPTE_P	       BIT(0)
#define PDPTE_RESERVED (GENMASK(2, 1) | GENMASK(8, 5))

#define MSR_MAP_WRITES 0x800 /* in an MSR bitmap, behind the part for reads */

/* VMX_BASIC */
#define BASIC_REVISION GENMASK(30, 0)
#define BASIC_INS_OUTS BIT(54)
#define BASIC_TRUE     BIT(55)

int vmcs_alloc(struct vcpu *v, u64 basic);
/* It is active on no other CPU: who frees it has borrowed it here. */
void vmcs_free(struct vcpu *v);
/* Handles VEC_VMCS. */
void vmcs_wanted_irq(u8 vector);
/* Nothing is left of any VMCS in this CPU, which leaves VMX operation next. */
void vmcs_clear_all(void);
int vmx_on(hpa_t region);
/* type: INV_x */
void vmx_invept(u64 type, u64 eptp);
void vmx_invvpid(u64 type, u16 vpid);
/* Log why the last VMLAUNCH or VMRESUME was refused. */
void vmcs_log_refusal(const char *insn);
