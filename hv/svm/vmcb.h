/* SPDX-License-Identifier: GPL-2.0-only */
/* The Virtual Machine Control Block in manual order; APM volume 2, appendix "Layout of VMCB". */
#pragma once

#include "hv/guest/hvm.h"
#include "hv/lib/x86.h"

/* Intercept word 3, "INTERCEPT_..." at offset 0x00c */
#define SVM_INT3_INTR	  BIT(0)
#define SVM_INT3_NMI	  BIT(1)
#define SVM_INT3_INIT	  BIT(3)
#define SVM_INT3_VINTR	  BIT(4)
#define SVM_INT3_RDPMC	  BIT(15)
#define SVM_INT3_CPUID	  BIT(18)
#define SVM_INT3_IRET	  BIT(20)
#define SVM_INT3_INVD	  BIT(22)
#define SVM_INT3_HLT	  BIT(24)
#define SVM_INT3_INVLPGA  BIT(26)
#define SVM_INT3_IOIO	  BIT(27)
#define SVM_INT3_MSR	  BIT(28)
#define SVM_INT3_FERR	  BIT(30)
#define SVM_INT3_SHUTDOWN BIT(31)

/* Intercept word 4, offset 0x010 */
#define SVM_INT4_VMRUN	     BIT(0)
#define SVM_INT4_VMMCALL     BIT(1)
#define SVM_INT4_VMLOAD	     BIT(2)
#define SVM_INT4_VMSAVE	     BIT(3)
#define SVM_INT4_STGI	     BIT(4)
#define SVM_INT4_CLGI	     BIT(5)
#define SVM_INT4_SKINIT	     BIT(6)
#define SVM_INT4_WBINVD	     BIT(9)
#define SVM_INT4_MONITOR     BIT(10)
#define SVM_INT4_MWAIT	     BIT(11)
#define SVM_INT4_MWAIT_ARMED BIT(12)
#define SVM_INT4_XSETBV	     BIT(13)

/* TLB_CONTROL */
#define SVM_TLB_NONE	   0
#define SVM_TLB_FLUSH_ALL  1
#define SVM_TLB_FLUSH_ASID 3

/* Virtual interrupt control, offset 0x060 */
#define SVM_V_TPR	   GENMASK(7, 0)
#define SVM_V_IRQ	   BIT(8)
#define SVM_V_INTR_PRIO	   GENMASK(19, 16)
#define SVM_V_IGN_TPR	   BIT(20)
#define SVM_V_INTR_MASKING BIT(24)
#define SVM_V_VECTOR	   GENMASK(39, 32)

/* EVENTINJ and EXITINTINFO */
#define SVM_EVT_VECTOR	GENMASK(7, 0)
#define SVM_EVT_TYPE	GENMASK(10, 8)
#define SVM_EVT_HAS_ERR BIT(11)
#define SVM_EVT_VALID	BIT(31)
#define SVM_EVT_ERROR	GENMASK(63, 32)
enum { SVM_EVT_INTR = 0, SVM_EVT_NMI = 2, SVM_EVT_EXC = 3, SVM_EVT_SOFT = 4 };

#define SVM_INT_SHADOW BIT(0)
#define SVM_NP_ENABLE  BIT(0)

/* Exit codes; compared in their low 32 bits (some emulators write only those) */
#define SVM_EXIT_CR_WRITE    0x010
#define SVM_EXIT_DR_READ     0x020
#define SVM_EXIT_DR_WRITE    0x030
#define SVM_EXIT_EXCEPTION   0x040
#define SVM_EXIT_INTR	     0x060
#define SVM_EXIT_NMI	     0x061
#define SVM_EXIT_INIT	     0x063
#define SVM_EXIT_VINTR	     0x064
#define SVM_EXIT_RDTSC	     0x06e
#define SVM_EXIT_RDPMC	     0x06f
#define SVM_EXIT_CPUID	     0x072
#define SVM_EXIT_IRET	     0x074
#define SVM_EXIT_INVD	     0x076
#define SVM_EXIT_PAUSE	     0x077
#define SVM_EXIT_HLT	     0x078
#define SVM_EXIT_INVLPG	     0x079
#define SVM_EXIT_INVLPGA     0x07a
#define SVM_EXIT_IOIO	     0x07b
#define SVM_EXIT_MSR	     0x07c
#define SVM_EXIT_TASK	     0x07d
#define SVM_EXIT_SHUTDOWN    0x07f
#define SVM_EXIT_VMRUN	     0x080
#define SVM_EXIT_VMMCALL     0x081
#define SVM_EXIT_VMLOAD	     0x082
#define SVM_EXIT_VMSAVE	     0x083
#define SVM_EXIT_STGI	     0x084
#define SVM_EXIT_CLGI	     0x085
#define SVM_EXIT_SKINIT	     0x086
#define SVM_EXIT_RDTSCP	     0x087
#define SVM_EXIT_WBINVD	     0x089
#define SVM_EXIT_MONITOR     0x08a
#define SVM_EXIT_MWAIT	     0x08b
#define SVM_EXIT_MWAIT_ARMED 0x08c
#define SVM_EXIT_XSETBV	     0x08d
#define SVM_EXIT_NPF	     0x400
#define SVM_EXIT_INVALID     0xffffffffu

/* EXITINFO1 of IOIO */
#define SVM_IO_IN   BIT(0)
#define SVM_IO_STR  BIT(2)
#define SVM_IO_REP  BIT(3)
#define SVM_IO_SIZE GENMASK(6, 4)
#define SVM_IO_PORT GENMASK(31, 16)

/* EXITINFO1 of NPF */
#define SVM_NPF_W     BIT(1)
#define SVM_NPF_ID    BIT(4)
#define SVM_NPF_TABLE BIT(33)

struct vmcb_seg {
	u16 selector, attrib;
	u32 limit;
	u64 base;
};

struct vmcb {
	u16 cr_read, cr_write, dr_read, dr_write;
	u32 exceptions, int3, int4, int5;
	u8 reserved_018[0x3c - 0x18];
	u16 pause_threshold, pause_count;
	u64 iopm, msrpm, tsc_offset;
	u32 asid;
	u8 tlb_control, reserved_05d[3];
	u64 vintr, int_state, exitcode, exitinfo1, exitinfo2, exitintinfo, np_control;
	u8 reserved_098[0xa8 - 0x98];
	u64 eventinj, ncr3, virt_ext;
	u32 clean, reserved_0c4;
	u64 next_rip;
	u8 insn_len, insn[15];
	u8 reserved_0e0[0x400 - 0xe0];

	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 reserved_4a0[0x4cb - 0x4a0];
	u8 cpl;
	u32 reserved_4cc;
	u64 efer;
	u8 reserved_4d8[0x548 - 0x4d8];
	u64 cr4, cr3, cr0, dr7, dr6, rflags, rip;
	u8 reserved_580[0x5d8 - 0x580];
	u64 rsp;
	u8 reserved_5e0[0x5f8 - 0x5e0];
	u64 rax, star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip, cr2;
	u8 reserved_648[0x668 - 0x648];
	u64 g_pat, dbgctl, br_from, br_to, exc_from, exc_to;
	u8 reserved_698[0x1000 - 0x698];
};

_Static_assert(sizeof(struct vmcb) == 4096, "VMCB is one page");
_Static_assert(offsetof(struct vmcb, iopm) == 0x40, "IOPM_BASE_PA");
_Static_assert(offsetof(struct vmcb, vintr) == 0x60, "virtual interrupt control");
_Static_assert(offsetof(struct vmcb, exitcode) == 0x70, "EXITCODE");
_Static_assert(offsetof(struct vmcb, eventinj) == 0xa8, "EVENTINJ");
_Static_assert(offsetof(struct vmcb, next_rip) == 0xc8, "nRIP");
_Static_assert(offsetof(struct vmcb, cpl) == 0x4cb, "CPL");
_Static_assert(offsetof(struct vmcb, cr4) == 0x548, "CR4");
_Static_assert(offsetof(struct vmcb, rsp) == 0x5d8, "RSP");
_Static_assert(offsetof(struct vmcb, rax) == 0x5f8, "RAX");
_Static_assert(offsetof(struct vmcb, cr2) == 0x640, "CR2");
_Static_assert(offsetof(struct vmcb, g_pat) == 0x668, "G_PAT");

/* Segment attributes: bits 8-11 and 12-15 of the descriptor's second word folded into 12 bits */
#define VMCB_ATTR_TYPE GENMASK(3, 0)
#define VMCB_ATTR_S    BIT(4)
#define VMCB_ATTR_DPL  GENMASK(6, 5)
#define VMCB_ATTR_P    BIT(7)
#define VMCB_ATTR_AVL  BIT(8)
#define VMCB_ATTR_L    BIT(9)
#define VMCB_ATTR_DB   BIT(10)
#define VMCB_ATTR_G    BIT(11)
