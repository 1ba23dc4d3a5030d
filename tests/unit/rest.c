/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The rest of the hypervisor, for tests that have a piece of it in hand and name this file in their
 * links: nothing is done, and 0 returned. All of it is weak: a test that looks at one of these has
 * its own, or links the real one.
 */
#include <stdlib.h>

#include "boot/options.h"
#include "hv/console/console.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/freq.h"
#include "hv/cpu/idle.h"
#include "hv/cpu/mcheck.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/spec.h"
#include "hv/cpu/timer.h"
#include "hv/dom0/debugkey.h"
#include "hv/dom0/stat.h"
#include "hv/dom0/state.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/cr.h"
#include "hv/guest/debug.h"
#include "hv/guest/event.h"
#include "hv/guest/exit.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/fault.h"
#include "hv/guest/kick.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/lazy.h"
#include "hv/guest/linear.h"
#include "hv/guest/mce.h"
#include "hv/guest/mmio.h"
#include "hv/guest/msr.h"
#include "hv/guest/pic.h"
#include "hv/guest/posting.h"
#include "hv/guest/pv.h"
#include "hv/guest/quirks.h"
#include "hv/guest/rights.h"
#include "hv/guest/run.h"
#include "hv/guest/shadow.h"
#include "hv/guest/spin.h"
#include "hv/sched/cpupool.h"
#include "hv/guest/task.h"
#include "hv/guest/vm.h"
#include "hv/iommu/domain.h"
#include "hv/mm/frame.h"
#include "hv/mm/mtrr.h"
#include "stand_in.h"

#define __weak __attribute__((weak))

__weak struct idle_plan idle;
__weak u32 cpu_count = 1, cpus_words = 1, quirks, phys_bits = 40;
__weak struct cpu *cpus[MAX_CPUS];
__weak struct boot_info boot_info;
__weak struct hvm_caps hvm_caps;
__weak struct pt_format pt_guest, pt_ram;
__weak struct spec_plan spec;
__weak bool smp_parking;

/* clang-format off */
__weak ZERO(bool, apic_is_x2apic, void)
__weak NOTHING(apic_eoi, void)
__weak NOTHING(apic_open_pmi, void)
__weak NOTHING(apic_send_ipi, u32 apic_id, u8 vector)
__weak NOTHING(apic_set_logical, u32 ldr, u32 dfr)
__weak ZERO(bool, cap_masked, const char *name)
__weak ZERO(bool, cap_named, const char *name)
__weak NOTHING(cpuid_emulate, struct vcpu *v)
__weak ZERO(u32, cpuid_offered, struct corbel_cpuid *out, const struct vcpu *v)
__weak ZERO(int, cpuid_set, struct vcpu *v, const struct corbel_cpuid *e, u32 n)
__weak NOTHING(cpuid_follow_mwait, struct vcpu *v)
__weak NOTHING(cr_handle, struct vcpu *v, const struct vm_exit *x)
__weak NOTHING(cr_handle_xsetbv, struct vcpu *v)
__weak ZERO(u64, debug_get_dr, struct vcpu *v, u32 n)
__weak NOTHING(debug_handle_mov, struct vcpu *v, const struct vm_exit *x)
__weak NOTHING(debug_key, char c)
__weak NOTHING(debug_reset, struct vcpu *v)
__weak ZERO(bool, debug_retired, struct vcpu *v)
__weak NOTHING(debug_run, struct vcpu *v, struct vm_exit *x)
__weak NOTHING(freq_look, struct cpu *c)
__weak NOTHING(exit_check_mates, const struct cpu *c)
__weak NOTHING(debug_set_dr, struct vcpu *v, u32 n, u64 val)
__weak NOTHING(debug_stop_owed, struct vcpu *v)
__weak ZERO(bool, debug_takes, struct vcpu *v, const struct vm_exit *x)
__weak ZERO(int, domain_attach, u64 device, u64 id)
__weak NOTHING(domain_kernel_ends, void)
__weak ZERO(int, domain_create, void)
__weak ZERO(int, domain_destroy, u64 id)
__weak ZERO(int, domain_set_irq, u64 device, u64 index, u64 address, u64 data)
__weak ZERO(bool, domain_has_irqs, void)
__weak NOTHING(domain_let_go, void)
__weak ZERO(s64, domain_map, u64 id, u64 dfn, u64 pfn, u64 count, bool write)
__weak ZERO(s64, domain_unmap, u64 id, u64 dfn, u64 count)
__weak NOTHING(drs_to_hw, const struct vcpu *v)
__weak NOTHING(event_bound, u32 cpu)
__weak NOTHING(event_doorbell, u32 id)
__weak NOTHING(event_memory_broken, u64 pfn)
__weak NOTHING(event_tell, void)
__weak NOTHING(event_tell_kept, void)
__weak ZERO(struct frame *, frame_of, u64 pfn)
__weak ZERO(int, frame_add, u64 pfn)
__weak ZERO(enum mtrr_type, mtrr_of, u64 pfn, u32 order)
__weak NOTHING(fpu_reset, struct vcpu *v)
__weak NOTHING(guest_access_failed, struct vcpu *v, int err, const struct guest_fault *f)
__weak ZERO(int, guest_copy, struct vcpu *v, u64 at, void *buf, u32 len, bool write,
	    struct guest_fault *f)
__weak NOTHING(guest_memory_missing, struct vcpu *v, u64 gpa, bool write, bool exec)
__weak NOTHING(guest_stuck, struct vcpu *v, u64 code, const struct fetched *in)
__weak NOTHING(lapic_accept, struct vcpu *v, u8 vector)
__weak NOTHING(lapic_timer_wait, struct vcpu *v)
__weak ZERO(bool, lapic_extint_pending, struct vcpu *v)
__weak NOTHING(lapic_from_hw, struct vcpu *v, const u32 *page, u16 status)
__weak NOTHING(lapic_reset, struct vcpu *v, bool init)
__weak ZERO(int, lapic_msr_write, struct vcpu *v, u32 msr, u64 val, bool host)
__weak ZERO(struct vcpu *, lapic_msi_target, struct vm *vm, u64 address, u32 data, bool strict)
__weak ZERO(u32, lapic_send_msi, struct vm *vm, u64 address, u32 data, bool strict)
__weak NOTHING(spec_leave_nested, u64 owner)
__weak ZERO(u32, lapic_tpr_threshold, struct vcpu *v)
__weak ZERO(u32, log_read, u64 seq, char *to, u32 room, u64 *first)
__weak NOTHING(mce_reset, struct vcpu *v)
__weak ZERO(enum mcheck_verdict, mcheck_judge, bool in_guest, struct mcheck_error *e)
__weak ZERO(u32, mcheck_log, void)
__weak ZERO(bool, mcheck_settle, const struct mcheck_error *guests)
__weak ZERO(u64, mcheck_tell, void)
__weak ZERO(u32, msr_list, u32 *out)
__weak ZERO(bool, msr_filter_allows, const struct msr_filter *f, u32 msr, u32 how)
__weak ZERO(int, msr_write, struct vcpu *v, u32 msr, u64 val, bool host)
__weak ZERO(bool, mmio_is_device, const struct vcpu *v, u64 at, const struct pt_leaf *leaf,
	    bool write)
__weak ZERO(int, p2m_cmpxchg, struct p2m *p, gpa_t at, u64 old, u64 new, u32 size)
__weak ZERO(int, p2m_copy, struct p2m *p, gpa_t gpa, void *buf, size_t len, bool write)
__weak ZERO(int, p2m_destroy, struct p2m *p)
__weak ZERO(s64, p2m_dirty_read, struct p2m *p, u64 gfn, u64 count, u64 *bitmap, bool clear)
__weak ZERO(s64, p2m_dirty_start, struct p2m *p, u64 gfn, u64 count)
__weak ZERO(s64, p2m_dirty_stop, struct p2m *p, u64 gfn, u64 count)
__weak ZERO(int, p2m_dom0_share, struct p2m *p, hpa_t page)
__weak NOTHING(p2m_dom0_unshare, struct p2m *p, hpa_t page)
__weak ZERO(int, p2m_init, struct p2m *p, struct vm *vm, bool is_dom0, struct account *acct,
	    struct account *tables)
__weak NOTHING(p2m_lookup, struct p2m *p, u64 gfn, struct pt_leaf *out)
__weak ZERO(int, p2m_set_mmio, struct p2m *p, u64 gfn, u32 order)
__weak ZERO(s64, p2m_unmap, struct p2m *p, u64 gfn, u64 count)
__weak ZERO(u64, policy_xcr0_all, void)
__weak ZERO(s64, posting_begin, struct vcpu *v)
__weak ZERO(u32, idle_tell, struct cpu *c, const struct corbel_cst *cst, u32 count)
__weak ZERO(int, pmu_filter_set, struct vm *vm, const struct corbel_pmu_filter *new)
__weak NOTHING(pic_init, struct pic *p)
__weak ZERO(s64, pic_call, struct vm *vm, const u64 *arg)
__weak ZERO(s32, pic_inta, struct vm *vm, u32 *told)
__weak NOTHING(pic_tell, struct vcpu *v, u32 told)
__weak NOTHING(pmu_follow, struct vcpu *v)
__weak ZERO(u32, pmu_leaf, bool dom0)
__weak NOTHING(pmu_load, struct vcpu *v)
__weak NOTHING(pmu_note_rights, struct vcpu *v, const struct corbel_cpuid *one,
	       const struct corbel_cpuid *own, const struct corbel_cpuid *extended)
__weak ZERO(int, pmu_rdpmc, struct vcpu *v, u64 *val)
__weak NOTHING(pmu_reset, struct vcpu *v)
__weak NOTHING(pmu_save, struct vcpu *v)
__weak NOTHING(pmu_show, struct corbel_cpuid *e, bool dom0)
__weak NOTHING(posting_end, struct vcpu *v)
__weak NOTHING(posting_load, struct vcpu *v)
__weak NOTHING(posting_put, struct vcpu *v)
__weak ZERO(u64, pv_clock_get, struct vm *vm)
__weak NOTHING(pv_clock_set, struct vm *vm, u64 ns)
__weak NOTHING(pv_end_wide_ids, struct vcpu *v)
__weak ZERO(u64, pv_hypercall, struct vcpu *v)
__weak NOTHING(pv_preempted, struct vcpu *v)
__weak NOTHING(pv_reset, struct vcpu *v)
__weak NOTHING(pv_vapic, struct vcpu *v)
__weak ZERO(bool, pv_update, struct vcpu *v, u64 *page)
__weak NOTHING(pv_waited, struct vcpu *v, u64 ns)
__weak NOTHING(quirks_detect, void)
__weak NOTHING(sched_turn_over, void)
__weak ZERO(bool, spin_others_wait, const struct vcpu *v)
__weak NOTHING(sched_group_init, struct sched_group *g)
__weak NOTHING(sched_group_exit, struct sched_group *g)
__weak ZERO(s64, cpupool_call, const struct corbel_pool_call *c, struct sched_group *g)
__weak ZERO(u32, cpupool_id, const struct sched_group *g)
__weak ZERO(s64, cpupool_stat, u64 nth, struct corbel_pool_stat *s)
__weak ZERO(int, sched_group_join, struct sched_group *g, struct sched_unit *u)
__weak NOTHING(sched_group_leave, struct sched_unit *u)
__weak ZERO(int, sched_group_set, struct sched_group *g, u32 weight, u32 cap)
__weak ZERO(int, sched_group_share, struct sched_group *g, u32 level, u64 id, u32 cap)
__weak ZERO(s64, sched_set_budget, struct sched_group *g, struct sched_unit *u, u32 period, u32 us)
__weak ZERO(int, sched_set, struct sched_unit *u, u32 weight, const struct corbel_cpus *s, u32 cap)
__weak NOTHING(sched_unit_init, struct sched_unit *u, u32 weight, const struct corbel_cpus *cpus,
	       u32 cpu, bool dom0)
__weak ZERO(int, shadow_create, struct vcpu *v)
__weak ZERO(int, shadow_promise, struct vcpu *v)
__weak NOTHING(shadow_destroy, struct vcpu *v)
__weak NOTHING(smp_follow, struct cpu *c)
__weak void __noreturn smp_park(void) { abort(); }
__weak NOTHING(smp_set_x2apic, bool on)
__weak ZERO(s64, stat_get, u64 what, u64 nth, void *buf)
__weak NOTHING(task_handle_switch, struct vcpu *v, const struct vm_exit *x)
__weak NOTHING(timer_arm, struct timer *t, u64 deadline)
__weak NOTHING(timer_idle, struct timer *t)
__weak NOTHING(timer_cancel, struct timer *t)
__weak NOTHING(timer_cancel_wait, struct timer *t)
__weak NOTHING(timer_setup, struct timer *t, void (*fn)(struct timer *))
__weak NOTHING(vcpu_halt, struct vcpu *v)
__weak NOTHING(pmu_settle, struct vcpu *v)
__weak NOTHING(vcpu_load, struct vcpu *v)
__weak NOTHING(vcpu_request, struct vcpu *v, u64 req)
__weak NOTHING(vcpu_reset, struct vcpu *v, bool init)
__weak ZERO(int, vcpu_resume, struct vcpu *v, struct vcpu *by)
__weak ZERO(int, vm_promise_apart, struct vm *vm, struct account *a, u64 pages)
__weak NOTHING(vm_retract_apart, struct vm *vm, struct account *a, u64 pages)
__weak ZERO(bool, vm_may_log, struct vm *vm, u32 bytes)
    /* clang-format on */

    __weak int lapic_pending(struct vcpu *v)
{
	return -1;
}

/* There is no instruction to be had. */
__weak int vcpu_fetch(struct vcpu *v, struct guest_fault *f)
{
	return -EINVAL;
}

__weak int vcpu_fetch_cr_move(struct vcpu *v, const struct vm_exit *x, u8 *gpr, u32 *len,
			      struct guest_fault *f)
{
	return -EINVAL;
}

__weak int pmu_msr_read(struct vcpu *v, u32 msr, u64 *val, bool host)
{
	return -ENOENT;
}

__weak int pmu_msr_write(struct vcpu *v, u32 msr, u64 val, bool host)
{
	return -ENOENT;
}
