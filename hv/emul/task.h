/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A hardware task switch, carried out in software: SDM volume 3, "Task Management". Pure:
 * everything outside comes through struct task.
 */
#pragma once

#include "hv/abi.h"
#include "hv/emul/emul.h"
#include "hv/lib/types.h"

/* As VT-x numbers them */
enum task_source { TASK_CALL, TASK_IRET, TASK_JMP, TASK_GATE /* of the IDT */ };

/* Whose memory, by which rights */
enum task_space {
	TASK_OLD,      /* the old task's page tables, as the system */
	TASK_NEW,      /* cr3 as it is now, as the system */
	TASK_NEW_STACK /* the same, at the CPL that SS has now */
};

struct task {
	/*
	 * Copy to linear memory, or from there. 0; -EFAULT: fault has vector, error and cr2; other
	 * negative: memory is missing, and the task switch is to be tried again.
	 */
	int (*access)(struct task *t, enum task_space space, u64 linear, void *buf, u32 len,
		      bool write);
	void *ctx;

	enum task_source source;
	u16 selector;  /* of the new task's TSS */
	bool external; /* an event that no instruction asked for: EXT of error codes */
	bool has_error;
	u32 error; /* the event's, for the new task's stack */

	/* In: of the old task, RIP where it is to go on. Out: of the new one. */
	u64 gpr[8], rip, rflags, cr3; /* by enum gpr */
	bool paging;
	struct corbel_segment seg[SEGS];
	struct corbel_segment gdt; /* base and limit */

	bool trap; /* out: #DB by the TSS' T bit is due */
	struct emul_fault fault;
	bool faulted; /* out: the switch is made, and the new task begins with the fault */
};

/*
 * 0: the caller is to load what is out. -EFAULT: the fault is the old task's, which nothing has
 * changed for. Other negative: as access() says; the instruction or event may come again as if for
 * the first time.
 *
 * The processor has looked at the gate and, for CALL and JMP, at the DPL of the TSS.
 */
int task_switch(struct task *t);
