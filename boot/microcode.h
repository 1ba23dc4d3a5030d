/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Files of microcode: Intel's updates, one behind another, and AMD's containers likewise. Nothing
 * of their lengths is believed.
 */
#pragma once

#include "hv/lib/types.h"

/* Bytes before what an Intel CPU is told the address of, a multiple of 16; AMD's takes them, too */
#define MICROCODE_INTEL_HEADER 48

struct microcode_cpu {
	bool amd;
	u32 signature; /* CPUID leaf 1, EAX */
	u32 platform;  /* Intel: one bit, of MSR IA32_PLATFORM_ID; 0: the CPU has none */
};
struct microcode {
	const u8 *data; /* with its header; NULL: none */
	u32 size;
	u32 revision;
};
/*
 * Look in a file for updates that are meant for this CPU: *best becomes the newest, if it is newer
 * than it was, or was none. NULL if there is one now, else why not.
 * SDM "Microcode Update Facilities"; of AMD's Linux' microcode driver tells, the manuals do not.
 */
const char *microcode_find(const u8 *file, u64 size, const struct microcode_cpu *cpu,
			   struct microcode *best);
