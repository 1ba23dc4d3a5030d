/* SPDX-License-Identifier: GPL-2.0-only */
/* The Virtual Machine Control Block in manual order; APM volume 2, appendix "Layout of VMCB". */
#pragma once

#include "hv/guest/hvm.h"
#include "hv/lib/x86.h"

/*
 * Intercepts, as what is allowed: all else exits. Word 3, "INTERCEPT_..." at offset 0x00c; VINTR
 * and IRET come and go, PAUSE exits where it is filtered.
 */
#define SVM_INT3_SMI	BIT(2)
#define SVM_INT3_INTR	BIT(0)
#define SVM_INT3_NMI	BIT(1)
#define SVM_INT3_INIT	BIT(3)
#define SVM_INT3_VINTR	BIT(4)
#define SVM_INT3_TABLES GENMASK(13, 6) /* reads and writes of IDTR, GDTR, LDTR, TR */
#define SVM_INT3_RDTSC	BIT(14)
#define SVM_INT3_FLAGS	GENMASK(17, 16) /* PUSHF, POPF */
#define SVM_INT3_RSM	BIT(19)
#define SVM_INT3_IRET	BIT(20)
#define SVM_INT3_INT_N	BIT(21)
#define SVM_INT3_PAUSE	BIT(23)
#define SVM_INT3_HLT	BIT(24)
#define SVM_INT3_INVLPG BIT(25)
#define SVM_INT3_PORTS	BIT(27) /* as its map says; likewise */
#define SVM_INT3_MSRS	BIT(28)
#define SVM_INT3_FERR	BIT(30) /* it stands still for an x87 error, until an interrupt */
#define SVM_INT3_ALLOWED                                                                           \
	(SVM_INT3_SMI | SVM_INT3_VINTR | SVM_INT3_TABLES | SVM_INT3_RDTSC | SVM_INT3_FLAGS |       \
	 SVM_INT3_RSM | SVM_INT3_IRET | SVM_INT3_INT_N | SVM_INT3_PAUSE | SVM_INT3_INVLPG |        \
	 SVM_INT3_FERR)

/* Word 4, offset 0x010: instructions; the bits above are later CPUs' and are not used. */
#define SVM_INT4_ALL	 GENMASK(13, 0)
#define SVM_INT4_VMRUN	 BIT(0)
#define SVM_INT4_VMMCALL BIT(1)
#define SVM_INT4_RDTSCP	 BIT(7)
#define SVM_INT4_ICEBP	 BIT(8)
#define SVM_INT4_WBINVD	 BIT(9)		 /* allowed to dom0 only */
#define SVM_INT4_MWAIT	 GENMASK(12, 10) /* MONITOR, too */
#define SVM_INT4_ALLOWED (SVM_INT4_RDTSCP | SVM_INT4_ICEBP)
#define SVM_INT4_RDPRU	 BIT(14) /* not asked for by guests: none is shown it */
#define SVM_INT5_INVPCID BIT(2)

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

/* EVENTINJ and EXITINTINFO are EVT_x (hv/guest/hvm.h) with the error code above. */
#define SVM_EVT_ERROR GENMASK(63, 32)

#define SVM_INT_SHADOW BIT(0)
#define SVM_NP_ENABLE  BIT(0)

/* Exit codes; of EXITCODE the low half is looked at */
#define SVM_EXIT_CR_WRITE    0x010
#define SVM_EXIT_DR_READ     0x020
#define SVM_EXIT_DR_WRITE    0x030
#define SVM_EXIT_EXCEPTION   0x040
#define SVM_EXIT_INTR	     0x060
#define SVM_EXIT_NMI	     0x061
#define SVM_EXIT_SMI	     0x062
#define SVM_EXIT_INIT	     0x063
#define SVM_EXIT_VINTR	     0x064
#define SVM_EXIT_CR0_SEL     0x065
#define SVM_EXIT_RDPMC	     0x06f
#define SVM_EXIT_CPUID	     0x072
#define SVM_EXIT_IRET	     0x074
#define SVM_EXIT_INT_N	     0x075
#define SVM_EXIT_INVD	     0x076
#define SVM_EXIT_PAUSE	     0x077
#define SVM_EXIT_HLT	     0x078
#define SVM_EXIT_INVLPGA     0x07a
#define SVM_EXIT_IOIO	     0x07b
#define SVM_EXIT_MSR	     0x07c
#define SVM_EXIT_TASK_SWITCH 0x07d
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
#define SVM_EXIT_MWAIT_ARMED 0x08c
#define SVM_EXIT_XSETBV	     0x08d
#define SVM_EXIT_RDPRU	     0x08e
#define SVM_EXIT_INVPCID     0x0a2
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

/* EXITINFO2 of a task switch; its EXITINFO1 has the selector */
#define SVM_TASK_IRET BIT(36)
#define SVM_TASK_JMP  BIT(38)

struct vmcb_seg {
	u16 selector, attrib;
	u32 limit;
	u64 base;
};

#define VMCB_SEGS 10

struct vmcb_exits {
	u16 cr_read, cr_write, dr_read, dr_write;
	u32 exceptions, int3, int4, int5;
};

struct vmcb {
	union {
		struct vmcb_exits exits;
		struct {
			u16 cr_read, cr_write, dr_read, dr_write;
			u32 exceptions, int3, int4, int5;
		};
	};
	u8 reserved_018[0x3c - 0x18];
	u16 pause_threshold, pause_count;
	u64 iopm, msrpm, tsc_offset;
	u32 asid;
	u8 tlb_control, reserved_05d[3];
	union {
		u64 vintr;
		u8 v_tpr; /* bits 0 to 3: CR8 */
	};
	u64 int_state, exitcode, exitinfo1, exitinfo2, exitintinfo, np_control;
	u8 reserved_098[0xa8 - 0x98];
	u64 eventinj, ncr3, virt_ext;
	u32 clean, reserved_0c4;
	u64 next_rip;
	u8 insn_len, insn[15];
	u8 reserved_0e0[0x400 - 0xe0];

	union {
		struct vmcb_seg seg[VMCB_SEGS];
		struct {
			struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
		};
	};
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
#define VMCB_AT(field, offset) _Static_assert(offsetof(struct vmcb, field) == (offset), #field)
VMCB_AT(iopm, 0x40);
VMCB_AT(vintr, 0x60);
VMCB_AT(exitcode, 0x70);
VMCB_AT(eventinj, 0xa8);
VMCB_AT(next_rip, 0xc8);
VMCB_AT(tr, 0x490);
VMCB_AT(cpl, 0x4cb);
VMCB_AT(cr4, 0x548);
VMCB_AT(rsp, 0x5d8);
VMCB_AT(rax, 0x5f8);
VMCB_AT(cr2, 0x640);
VMCB_AT(g_pat, 0x668);

/* Segment attributes: AR_x (hv/guest/hvm.h) without the gap below AVL */
#define VMCB_ATTR_LOW  GENMASK(7, 0)
#define VMCB_ATTR_HIGH GENMASK(11, 8)
#define VMCB_ATTR_L    (AR_L >> 4)
#define VMCB_ATTR_DB   (AR_DB >> 4)
#define AR_HIGH	       GENMASK(15, 12)

static inline u32 vmcb_rights(u16 attrib)
{
	return (attrib & VMCB_ATTR_LOW) | FIELD_PREP(AR_HIGH, FIELD_GET(VMCB_ATTR_HIGH, attrib));
}

static inline u16 vmcb_attrib(u32 rights)
{
	return (rights & VMCB_ATTR_LOW) | FIELD_PREP(VMCB_ATTR_HIGH, FIELD_GET(AR_HIGH, rights));
}
