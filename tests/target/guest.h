/* SPDX-License-Identifier: GPL-2.0-only */
/* Hand-made guests: one vCPU, 64 KiB of payload memory, a real-mode program of guestcode.asm. */
#ifndef TARGET_GUEST_H
#define TARGET_GUEST_H

#include "lib.h"

struct guest {
	s64 vm, vcpu;
	volatile struct corbel_vcpu_page *page;
	u8 *data, *mem; /* mem: what the guest has at 0..0xffff; the VCPU's data page */
};

#define VEC_EVENT 0x40
#define PAGES	  16

/* Exits by number: vcpu_stat()->exits[], page->exit.reason */
enum {
#define X(id, name) NR_##id,
	CORBEL_EXIT_NAMES
#undef X
};

#define PROGRAM(p) extern const u8 p[], p##_end[]

/*
 * Nth guest (0..7): VM, vCPU and pages 0..7 mapped; mmio: page 8 marked, too. False if anything
 * fails.
 */
bool guest_make(struct guest *g, u32 n, u32 flags, const u8 *code, const u8 *end);
s64 guest_map(struct guest *g, u64 gfn, u32 flags);
/* All gone; the VM's and vCPU's ids are free again. */
bool guest_free(struct guest *g);
/* Resume and wait until it stops; the exit's reason, or CORBEL_EXIT_NONE when ms are over. */
u32 guest_run(struct guest *g, u32 ms);
bool guest_wait(struct guest *g, u32 ms);
s64 guest_resume(struct guest *g);
#define EXIT_IO(g, p, in)                                                                          \
	((g)->page->exit_reason == CORBEL_EXIT_IO && (g)->page->io.port == (p) &&                  \
	 (g)->page->io.is_in == (in))
#define WORD(g, at)	 (*(volatile u16 *)((g)->mem + (at)))
#define LONG_DATA(g, at) (*(volatile u32 *)((g)->data + (at)))
#define LONG(g, at)	 (*(volatile u32 *)((g)->mem + (at)))

/* The CPUs it may run on. */
s64 guest_pin(struct guest *g, u64 mask);
/* Data segments of 4 GiB from 0 on, which real mode keeps. */
void guest_widen(struct guest *g);
/* All vectors count interrupts at 0x500, but for the NMI, at 0x504. */
void guest_set_ivt(struct guest *g);

/* Guests come and go on all CPUs, and nothing is left of them. */
void guest_check_accounting(void);

/* In a test that ends if there is no guest to be had. */
#define MAKE(g, flags, program)                                                                    \
	if (!report(guest_make(g, 0, flags, program, program##_end),                               \
		    "a guest for " #program " is made"))                                           \
	return
#define FREE(g) report(guest_free(g), "it goes")

struct corbel_vcpu_stat *vcpu_stat(s64 number);

#endif
