/* SPDX-License-Identifier: GPL-2.0-only */
/* Events for dom0: bits in a page shared with it, and an interrupt. */
#pragma once

#include "hv/lib/types.h"

struct vm;
struct corbel_load; /* hv/abi.h */
struct corbel_error;

/* To dom0, once it has its p2m; ends in boot_fail() when there is no memory. */
void event_init(struct vm *vm);
hpa_t event_page(void);
/*
 * All bits go: they are of VMs that are no more; and what dom0 said of its load. Broken memory
 * stays to be told.
 */
void event_forget(void);
/* What runs in dom0 on its CPU of that index. */
struct corbel_load __shared *event_load(u32 cpu);
/* Set the vCPU's bit and interrupt dom0. */
void event_vcpu_stopped(u32 id);
/* The same of a doorbell, but not at the cost of the vCPU that runs here. */
void event_doorbell(u32 id);
/*
 * dom0's kernel is to retire a frame, if it is dom0's: its memory is broken. 0: nothing. Where dom0
 * has not taken what it was told before it waits; a line says which ones there is no room for.
 */
void event_memory_broken(u64 pfn);
/* dom0 is to write that into its log of machine checks; what it has no room for is counted. */
void event_error(const struct corbel_error *e);
/* Tell of what waits, if dom0 has made room for it. */
void event_tell_kept(void);
/* The dom0 vCPU of a CPU takes events from now on. */
void event_bound(u32 cpu);
/* Interrupt dom0 for what this CPU owes it (cpu->event_owed). */
void event_tell(void);
