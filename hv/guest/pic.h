/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Two 8259A in cascade, as in a PC, with the edge/level registers of the chipset, of a VM that was
 * made with CORBEL_VM_PIC. Lines are 0..15, the slave's from 8 on. Beside them the 8254, whose
 * timer is dom0's.
 */
#pragma once

#include "hv/guest/i8254.h"
#include "hv/lib/lock.h"

struct vcpu;
struct vm;

struct pic {
	struct lock lock;	   /* LOCK_PIC: all of it */
	struct corbel_pic chip[2]; /* master, slave */
	u32 wanted;  /* what dom0 asked to be told of what happens, as PIC_TELL has it */
	bool intr;   /* as the boot CPU was told last */
	bool asleep; /* lines may have changed: CORBEL_PIC_SLEEPS */
	struct corbel_pit pit;
	/* what dom0 takes out, or puts in, word by word */
	struct corbel_pic moved_chip[2];
	struct corbel_pit moved;
	bool has_pit, has_port61;
	bool comes; /* the guest has found them asleep, and is to do its access again */
};

void pic_init(struct pic *p);

static inline bool pic_has_port(u16 port)
{
	return (port & ~0x81) == 0x20 || (port & ~1) == 0x4d0;
}

static inline bool pit_has_port(const struct pic *p, u16 port)
{
	return ((port & ~3) == 0x40 && p->has_pit) || (port == 0x61 && p->has_port61);
}

/*
 * The guest reads or writes a byte at a port that either has. Returns what is to be told by
 * EXIT_PIC; with CORBEL_PIC_ASLEEP nothing is done. Lines whose end is told: the boot CPU hears of
 * what else is pending with dom0's next call, a PIC_TELL, say. Any CPU, as is the next.
 */
u32 pic_access(struct vm *vm, u16 port, bool in, u8 *val);
/*
 * INTA cycle: the vector, or -1 if there is no request any more. What is to be told is added to
 * *told.
 */
s32 pic_inta(struct vm *vm, u32 *told);
/* The vCPU stops for what these want told, if anything. */
void pic_tell(struct vcpu *v, u32 told);
/* HC_PIC: arg[1] says which. -EINVAL, -ENOENT */
s64 pic_call(struct vm *vm, const u64 *arg);
