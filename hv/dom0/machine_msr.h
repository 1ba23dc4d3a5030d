/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * dom0 drives the machine: it sees how its memory is laid out, and has the MSRs of frequency,
 * energy and temperature, through its vCPU on the CPU in question. SDM volume 3, "Power and Thermal
 * Management"; APM volume 2, "Hardware Performance Monitoring and Control".
 */
#pragma once

#include "hv/abi.h"
#include "hv/lib/types.h"

/*
 * dom0's access to this CPU's MSR; of a write only the bits that dom0 may change are taken from
 * *val. -ENOENT: none of these, or the CPU has it not, or it cannot be written; -EINVAL: #GP.
 */
int machine_msr(u32 msr, bool write, u64 *val);
/* Take out of a leaf what the machine says that it has, and has not. At boot. */
void machine_cpuid(struct corbel_cpuid *e);
