/* SPDX-License-Identifier: GPL-2.0-only */
#include "lib.h"

const struct group groups[] = {
    {"cpuid", test_cpuid, 1},
    {"msr", test_msr, 1},
    {"cr", test_cr, 1},
    {"smp", test_smp, 2},
    {"insn", test_insn, 1},
    {"debug", test_debug, 1},
    {"time", test_time, 2},
    {"memory", test_memory, 1},
    {"hypercall", test_hypercall, 1},
    {"vuart", test_vuart, 1},
    {"sleep", test_sleep, 1},
    {"guest", test_guest, 1},
    {"dirty", test_dirty, 1},
    {"tsc-scale", test_tsc_scale, 1},
    {"guest-ends", test_guest_ends, 1},
    {"bad-entry", test_bad_entry, 1},
    {"spoilt", test_spoilt, 1},
    {"guest-smp", test_guest_smp, 1},
    {"sched", test_sched, 1},
    {"facts", test_facts, 1},
    {"wait", test_wait, 1},
    {"triple", test_triple, 1},
    {"bad-stack", test_bad_stack, 1},
    {"xapic", test_xapic, 1},
    {"x2apic", test_x2apic, 1},
    {"timer", test_timer, 1},
    {"vid", test_vid, 1},
    {"stale", test_stale, 2},
};
const u32 group_count = ARRAY_SIZE(groups);
