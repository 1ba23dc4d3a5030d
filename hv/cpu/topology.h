/* SPDX-License-Identifier: GPL-2.0-only */
/* What a CPU shares with which others, as CPUID and ACPI's SRAT tell. Pure. */
#pragma once

#include "hv/lib/asm.h"
#include "hv/lib/percpu.h"

typedef struct cpuid_regs cpuid_fn(u32 leaf, u32 subleaf);

/*
 * From an APIC id, and what the CPU that has it answers: SDM "Hierarchical Mapping of Shared
 * Resources", "INPUT EAX = 04H", "INPUT EAX = 0BH", "INPUT EAX = 1FH"; APM volume 3 "Extended APIC
 * ID", "Cache Topology Information". CPUs of equal core, cache or package share that; who does not
 * tell shares with its whole package. The node is 0.
 */
struct cpu_place topology_place(cpuid_fn *cpuid, u32 apic_id);

/* How far a unit goes from one CPU to another: what they share, the nearest first. */
enum cpu_distance { NEAR_CORE, NEAR_CACHE, NEAR_NODE, NEAR_NONE, NEAR_COUNT };
enum cpu_distance topology_distance(const struct cpu_place *a, const struct cpu_place *b);
