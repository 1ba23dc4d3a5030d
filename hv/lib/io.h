/* SPDX-License-Identifier: GPL-2.0-only */
/* Port I/O and device registers. Host tests bring their own machine. */
#pragma once

#include "hv/lib/types.h"

/* Ports by which a machine is reset: "Reset Control Register" of Intel's chipsets, the keyboard's.
 */
#define RESET_PORT	 0xcf9
#define KEYBOARD_COMMAND 0x64

#ifdef HV_HOST_TEST
u8 inb(u16 port);
void outb(u16 port, u8 val);
u32 inl(u16 port);
#else
#define PORT_ACCESS(suffix, type)                                                                  \
	static inline type in##suffix(u16 port)                                                    \
	{                                                                                          \
		type val;                                                                          \
                                                                                                   \
		__asm__ volatile("in" #suffix " %1, %0" : "=a"(val) : "Nd"(port));                 \
		return val;                                                                        \
	}                                                                                          \
	static inline void out##suffix(u16 port, type val)                                         \
	{                                                                                          \
		__asm__ volatile("out" #suffix " %0, %1" : : "a"(val), "Nd"(port));                \
	}
PORT_ACCESS(b, u8)
PORT_ACCESS(w, u16)
PORT_ACCESS(l, u32)
#undef PORT_ACCESS
#endif

/* Each of them is one access of this width. */
#ifdef HV_HOST_TEST
u32 mmio_read32(const volatile void *p);
u64 mmio_read64(const volatile void *p);
void mmio_write32(volatile void *p, u32 val);
void mmio_write64(volatile void *p, u64 val);
#else
static inline u32 mmio_read32(const volatile void *p)
{
	return *(const volatile u32 *)p;
}

static inline u64 mmio_read64(const volatile void *p)
{
	return *(const volatile u64 *)p;
}

static inline void mmio_write32(volatile void *p, u32 val)
{
	*(volatile u32 *)p = val;
}

static inline void mmio_write64(volatile void *p, u64 val)
{
	*(volatile u64 *)p = val;
}
#endif
