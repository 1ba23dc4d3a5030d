/* SPDX-License-Identifier: MIT OR GPL-2.0-only */
/* The part of hv/abi.h that is about making VMs, their doorbells and interrupt controllers. */
#ifndef CORBEL_ABI_VM_H
#define CORBEL_ABI_VM_H

#include "abi.h"

struct corbel_vm_create {
	char name[32];
	uint32_t pid;	     /* of the VMM, for listings */
	uint32_t flags;	     /* CORBEL_VM_x */
	uint32_t user;	     /* whose VM it is */
	uint32_t bus_ns;     /* a cycle of its LAPICs' timers; 0: 1 ns */
	uint64_t user_pages; /* of the pool that this user's VMs may have; 0: no limit */
};
/* LAPICs in the hypervisor; without it HLT exits and interrupts come by STATE_INTERRUPT */
#define CORBEL_VM_LAPIC 1u
/*
 * Its vCPUs do these without an exit, and keep their CPU while they wait: HLT; MONITOR and MWAIT,
 * with CORBEL_FEATURE_MWAIT, else -EINVAL; loops of PAUSE. Intel: it reads for how long the core
 * was in which idle state
 */
#define CORBEL_VM_HLT	 2u
#define CORBEL_VM_MWAIT	 4u
#define CORBEL_VM_PAUSE	 8u
#define CORBEL_VM_CSTATE 16u
#define CORBEL_VM_PIC                                                                              \
	32u /* a pair of 8259A at its ports, whose INTR is the boot CPU's; with LAPIC */

struct corbel_doorbell {
	uint64_t addr;	/* port or gpa */
	uint64_t data;	/* if CORBEL_DOORBELL_MATCH */
	uint32_t len;	/* 0 (any), 1, 2, 4, 8 */
	uint32_t flags; /* CORBEL_DOORBELL_x */
	uint32_t id;	/* its number, for removal */
	uint32_t pad;
};
#define CORBEL_DOORBELL_PIO    BIT_U32(0)
#define CORBEL_DOORBELL_MATCH  BIT_U32(1)
#define CORBEL_DOORBELL_REMOVE BIT_U32(2)

/* State of one 8259A, as struct kvm_pic_state has it */
struct corbel_pic {
	uint8_t last_irr, irr, imr, isr, priority_add, irq_base, read_reg_select, poll;
	uint8_t special_mask, init_state, auto_eoi, rotate_on_auto_eoi;
	uint8_t special_fully_nested_mode, init4, elcr, elcr_mask;
};
/* State of an 8254, as struct kvm_pit_state2 has it; the times are of the hypervisor's clock, in ns
 */
struct corbel_pit_channel {
	uint32_t count; /* 65536, too */
	uint16_t latched_count;
	uint8_t count_latched, status_latched, status, read_state, write_state, write_latch;
	uint8_t rw_mode, mode, bcd, gate;
	int64_t count_load_time;
};
struct corbel_pit {
	struct corbel_pit_channel ch[3];
	uint32_t flags; /* CORBEL_PIT_x */
	uint32_t pad;
};
#define CORBEL_PIT_HPET	   BIT_U32(0) /* it makes no interrupts: an HPET does */
#define CORBEL_PIT_SPEAKER BIT_U32(1) /* its data bit is set */

/* HC_PIC; -ENOENT: without CORBEL_VM_PIC. Lines are 0..15, the slave's from 8 on. */
enum corbel_pic_call {
	/* line, level, may it sleep? -> CORBEL_PIC_x below */
	CORBEL_PIC_LINE,
	/* port, in?, byte -> the byte, and from bit 8 on what EXIT_PIC says; also the 8254's */
	CORBEL_PIC_IO,
	/* word -> that of the two struct corbel_pic, 0..7; each is as it was when its first was
	   read */
	CORBEL_PIC_GET,
	CORBEL_PIC_SET, /* word, value -> value; with a chip's last word all are its state */
	/* bit n: EXIT_PIC when service of line n has ended; CORBEL_PIC_UNMASKED */
	CORBEL_PIC_TELL,
	CORBEL_PIT_ON,	   /* at port 0x61, too? The VM has an 8254, in a state to be set */
	CORBEL_PIT_PERIOD, /* -> 2 * ns until channel 0's interrupt, or 0; + 1: again and again */
	/* word -> that of struct corbel_pit, 0..19; all are as they were when word 0 was read */
	CORBEL_PIT_GET,
	/* channel -> ns since the count that GET has read was loaded; the time in GET is ours */
	CORBEL_PIT_AGE,
	/* word, value -> value; with the last word all are its state, and counting begins anew */
	CORBEL_PIT_SET,
};
/* What PIC_LINE says of the line: */
#define CORBEL_PIC_MASKED 0u
#define CORBEL_PIC_HAD	  1u /* it was pending already */
#define CORBEL_PIC_RAISED 2u
#define CORBEL_PIC_DONE	  3u /* mask of these */
/*
 * With all lines masked it may sleep: of lines that change it need not be told before the guest
 * comes to its ports, which EXIT_PIC says. The instruction runs again after a call of HC_PIC by
 * which they do not sleep any more, as any but PIC_LINE and PIC_IO.
 */
#define CORBEL_PIC_SLEEPS    4u
#define CORBEL_PIC_ELCR(ret) ((uint16_t)((ret) >> 16)) /* of all lines */
#define CORBEL_PIC_IMR(ret)  ((uint16_t)((ret) >> 32))
/* EXIT_PIC */
#define CORBEL_PIC_UNMASKED BIT_U32(16) /* line 0 is not masked any more */
#define CORBEL_PIC_ASLEEP   BIT_U32(17)
#define CORBEL_PIC_PIT	    BIT_U32(18) /* PIT_PERIOD may be another, and begins now */

/* EXIT_MEM_FAULT: what the guest wanted to do there */
#define CORBEL_FAULT_WRITE BIT_U32(0)
#define CORBEL_FAULT_EXEC  BIT_U32(1)
/* What must be memory is marked CORBEL_MAP_MMIO: put none there if it has to stay so, and resume */
#define CORBEL_FAULT_DEVICE BIT_U32(2)
#define CORBEL_FAULT_ASYNC  BIT_U32(3) /* an exception may come first, where an interrupt might */

#endif
