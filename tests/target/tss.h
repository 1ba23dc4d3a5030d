/* SPDX-License-Identifier: GPL-2.0-only */
/* Places in a TSS of 32 bits; SDM "32-Bit Task-State Segment (TSS)". */
#pragma once

enum {
	T_LINK = 0,
	T_CR3 = 0x1c,
	T_EIP = 0x20,
	T_FLAGS = 0x24,
	T_EAX = 0x28,
	T_ESP = 0x38,
	T_ES = 0x48,
	T_CS = 0x4c,
	T_SS = 0x50,
	T_DS = 0x54,
	T_LDT = 0x60,
	T_TRAP = 0x64
};
