// SPDX-License-Identifier: GPL-2.0-only
/* KVM_RUN: hand the vCPU to the hypervisor, sleep until it has stopped, deal with why. */
#include "apf.h"
#include "dom0.h"
#include "hyperv.h"
#include "irq.h"
#include "kmod.h"
#include "memory.h"
#include "trace.h"

#include <linux/sched/signal.h>

#define STOP_TIMEOUT_S 30
#define CAP_OF_VCPU    100 /* percent; as much is no cap */

/* Told when it changes: who has set it otherwise meanwhile, with the tool, has the last word. */
static void sync_vm(struct cb_vm *vm, const struct cb_share *s)
{
	u64 share = (u64)s->weight << 32 | s->cap, old = vm->share;
	u32 weight = old >> 32 == s->weight ? 0 : s->weight, cap = (u32)old == s->cap ? 0 : s->cap;

	if (old != share && HC3(SCHED_VM, vm->id, weight, cap) >= 0)
		vm->share = share;
}

/* The same of a cap that the VM has together with others of its cgroup. */
static void sync_shared(struct cb_vm *vm, u32 level, const struct cb_shared *s)
{
	struct cb_shared *old = &vm->shared[level];
	u32 cap = s->id ? s->cap : CORBEL_MAX_CAP; /* lifts it */
	u64 id = s->id ? s->id : old->id;

	if ((old->id != s->id || old->cap != s->cap) && HC4(SCHED_VM, vm->id, level, cap, id) >= 0)
		*old = *s;
}

/* There may be many to look at. */
static void sync_cgroups(struct cb_vcpu *v)
{
	struct cb_share all;

	v->cgroups_at = jiffies + HZ / 10;
	mutex_lock(&v->vm->share_lock);
	cb_cgroup_shares(&all, &v->share);
	sync_vm(v->vm, &all);
	for (u32 i = 0; i < CB_SHARE_LEVELS; i++)
		sync_shared(v->vm, i, &all.shared[i]);
	mutex_unlock(&v->vm->share_lock);
}

/* All, if the thread may run wherever there is a CPU. */
static void get_affinity(struct corbel_cpus *to)
{
	memset(to, 0xff, sizeof(*to));
	if (cpumask_subset(cpu_online_mask, current->cpus_ptr))
		return;
	memset(to, 0, sizeof(*to));
	bitmap_copy((unsigned long *)to->word, cpumask_bits(current->cpus_ptr),
		    min_t(u32, nr_cpumask_bits, CORBEL_MAX_CPUS));
}

/*
 * What taskset, nice and cgroups did to the thread is to hold for its vCPU. Once a tick is soon
 * enough.
 */
static void sync_scheduling(struct cb_vcpu *v)
{
	u32 weight, cap;
	long r;

	v->synced_at = jiffies;
	if (time_after_eq(jiffies, v->cgroups_at))
		sync_cgroups(v);
	weight = cb_task_weight(current);
	if (weight != CORBEL_REALTIME_WEIGHT) /* which cgroups do not weigh, as in Linux */
		weight = max(weight * v->share.weight / CB_SHARE_ALL.weight, 1u);
	cap = min_t(u32, v->share.cap, CAP_OF_VCPU);
	get_affinity(&v->wanted);
	if (weight == v->weight && !memcmp(&v->wanted, &v->affinity, sizeof(v->wanted)) &&
	    cap == v->cap)
		return;
	r = HC4(SCHED, v->number, weight, cb_phys(&v->wanted), cap == v->cap ? 0 : cap);
	if (r < 0) { /* not remembered: it is tried again */
		pr_warn_ratelimited("vCPU %u: weight %u and CPUs %*pbl are refused (%ld); change "
				    "its thread's nice or taskset\n",
				    (u32)CORBEL_VCPU_ID(v->number), weight,
				    cpumask_pr_args(current->cpus_ptr), r);
		return;
	}
	v->weight = weight;
	v->affinity = v->wanted;
	v->cap = cap;
}

int cb_vcpu_stop(struct cb_vcpu *v)
{
	int i;

	if (cb_vcpu_stopped(v))
		return 0;
	if (v->lost)
		return -EIO;
	HC1(VCPU_PAUSE, v->number);
	for (i = 0; i < STOP_TIMEOUT_S; i++)
		if (wait_event_timeout(v->wait, cb_vcpu_stopped(v), HZ))
			return 0;
	pr_err("vCPU %u does not stop\n", (u32)CORBEL_VCPU_ID(v->number));
	v->lost = true;
	return -EIO;
}

/*
 * What the thread has waited for a CPU is stolen from the guest, as what the vCPU waits for one in
 * the hypervisor, which counts that itself.
 */
static void count_waiting(struct cb_vcpu *v)
{
#ifdef CONFIG_SCHED_INFO
	u64 delay = current->sched_info.run_delay;

	if (v->runner == task_pid_nr(current) && delay > v->run_delay)
		v->page->waited_ns += delay - v->run_delay;
	v->runner = task_pid_nr(current);
	v->run_delay = delay;
#endif
}

/* stop: let it only finish the instruction it is at. Returns with the vCPU stopped, or -EIO. */
static int resume_and_wait(struct cb_vcpu *v, bool stop)
{
	long r;

	v->page->stop_at_once = stop;
	v->page->request_irq_window =
	    v->vm->irqchip != CB_IRQCHIP_FULL && READ_ONCE(v->run->request_interrupt_window);
	if (unlikely(READ_ONCE(v->has_services)))
		v->page->services =
		    cb_hyperv_flags(v) | v->pv_by_cpuid | READ_ONCE(v->vm->services);
	count_waiting(v);
	cb_trace_resume(v);
	r = HC1(VCPU_RESUME, v->number);
	if (r < 0)
		return r;
	v->unfinished = false;
	if (stop)
		return cb_vcpu_stop(v);
	/* Often it has run to its next exit already and there will be no event. */
	while (!cb_vcpu_stopped(v)) {
		/* Changes of nice and affinity are noticed by looking now and then. */
		r = wait_event_interruptible_timeout(v->wait, cb_vcpu_stopped(v), HZ / 4);
		if (r < 0)
			return cb_vcpu_stop(v);
		if (!r)
			sync_scheduling(v);
	}
	return 0;
}

/*
 * ---- what the vCPU stopped for; each returns 1: go on, 0: back to user space, < 0: error ----
 *
 * What stands in the vCPU's page is read once: others write there, and what was checked is to be
 * what is used.
 */

/* One element of a port access, by a device of the module or into the ring. False: neither. */
static bool take_io(struct cb_vcpu *v, u16 port, u32 size, bool in, void *data)
{
	if (cb_irqchip_may_have_port(port) && cb_irqchip_pio(v->vm, port, size, in, data))
		return true;
	return !in && (cb_ioeventfd_write(v->vm, port, size, data, true) ||
		       cb_coalesce(v->vm, port, size, data, true));
}

static int exit_io(struct cb_vcpu *v)
{
	const struct corbel_vcpu_page *p = v->page;
	struct kvm_run __shared *run = v->run;
	u32 size = READ_ONCE(p->io.size), count = READ_ONCE(p->io.count), i;
	u16 port = READ_ONCE(p->io.port);
	bool in = READ_ONCE(p->io.is_in);

	v->unfinished = true;
	if ((size != 1 && size != 2 && size != 4) || !count || count > PAGE_SIZE / size)
		return -EIO;
	if (!in)
		trace_kvm_pio(CB_PIO_OUT, port, size, count, v->data);
	for (i = 0; i < count && take_io(v, port, size, in, v->data + i * size); i++)
		cond_resched(); /* each may have been looked for in a long list */
	if (i == count || (in && i)) {
		if (in)
			trace_kvm_pio(CB_PIO_IN, port, size, count, v->data);
		return 1;
	}
	WRITE_ONCE(run->exit_reason, KVM_EXIT_IO);
	WRITE_ONCE(run->io.direction, in ? KVM_EXIT_IO_IN : KVM_EXIT_IO_OUT);
	WRITE_ONCE(run->io.size, size);
	WRITE_ONCE(run->io.port, port);
	WRITE_ONCE(run->io.count, count - i); /* the ring may have filled up on the way */
	WRITE_ONCE(run->io.data_offset, KVM_PIO_PAGE_OFFSET * PAGE_SIZE);
	v->io_bytes = size * count;
	if (in)
		v->user_exit = KVM_EXIT_IO;
	else
		shared_write(v->pio, v->data + i * size, size * (count - i));
	return 0;
}

static int exit_mmio(struct cb_vcpu *v)
{
	struct corbel_vcpu_page *p = v->page;
	struct kvm_run __shared *run = v->run;
	u32 len = READ_ONCE(p->mmio.len);
	u64 gpa = READ_ONCE(p->mmio.gpa);
	bool is_write = READ_ONCE(p->mmio.is_write);

	v->unfinished = true;
	if (!len || len > sizeof(p->mmio.data))
		return -EIO;
	if (is_write)
		trace_kvm_mmio(CB_MMIO_WRITE, len, gpa, p->mmio.data);
	if (cb_irqchip_mmio(v->vm, gpa, len, is_write, p->mmio.data) ||
	    cb_device_access(v->vm, cb_smm_gpa(v, gpa), len, is_write, p->mmio.data)) {
		if (!is_write)
			trace_kvm_mmio(CB_MMIO_READ, len, gpa, p->mmio.data);
		return 1;
	}
	if (is_write && (cb_ioeventfd_write(v->vm, gpa, len, p->mmio.data, false) ||
			 cb_coalesce(v->vm, gpa, len, p->mmio.data, false)))
		return 1;
	WRITE_ONCE(run->exit_reason, KVM_EXIT_MMIO);
	WRITE_ONCE(run->mmio.phys_addr, gpa);
	WRITE_ONCE(run->mmio.len, len);
	WRITE_ONCE(run->mmio.is_write, is_write);
	if (is_write) {
		shared_write(run->mmio.data, p->mmio.data, sizeof(run->mmio.data));
		return 0;
	}
	trace_kvm_mmio(CB_MMIO_READ_UNSATISFIED, len, gpa, NULL);
	v->user_exit = KVM_EXIT_MMIO;
	return 0;
}

static int exit_inta(struct cb_vcpu *v)
{
	v->unfinished = true;
	v->page->inta.vector = v->extint >= 0 ? v->extint : 0;
	v->extint = -1;
	HC2(EXTINT, v->number, 0);
	return 1;
}

static int exit_pic(struct cb_vcpu *v)
{
	cb_irq_pic_told(v->vm, READ_ONCE(v->page->pic.what));
	return 1;
}

static int exit_eoi(struct cb_vcpu *v)
{
	u8 vector = READ_ONCE(v->page->eoi.vector);

	if (v->vm->irqchip == CB_IRQCHIP_FULL) {
		cb_irq_eoi(v->vm, vector);
		cb_synic_eoi(v, vector);
		return 1;
	}
	WRITE_ONCE(v->run->exit_reason, KVM_EXIT_IOAPIC_EOI);
	WRITE_ONCE(v->run->eoi.vector, vector);
	return 0;
}

static int exit_tpr(struct cb_vcpu *v)
{
	if (v->vm->irqchip == CB_IRQCHIP_NONE) {
		WRITE_ONCE(v->run->exit_reason, KVM_EXIT_SET_TPR);
		return 0;
	}
	WRITE_ONCE(v->run->exit_reason, KVM_EXIT_TPR_ACCESS);
	WRITE_ONCE(v->run->tpr_access.rip, v->page->tpr.rip);
	WRITE_ONCE(v->run->tpr_access.is_write, v->page->tpr.is_write);
	return 0;
}

static int internal_error(struct cb_vcpu *v, u64 code)
{
	struct kvm_run __shared *run = v->run;

	WRITE_ONCE(run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	WRITE_ONCE(run->internal.suberror, KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON);
	WRITE_ONCE(run->internal.ndata, 2); /* by LAST_CPU with the CPU */
	WRITE_ONCE(run->internal.data[0], code);
	WRITE_ONCE(run->internal.data[1], raw_smp_processor_id());
	return 0;
}

/* As KVM has it: the event, the exit, the access, its address, the CPU. */
static int delivery_error(struct cb_vcpu *v)
{
	const struct corbel_vcpu_page *p = v->page;
	struct kvm_run __shared *run = v->run;

	WRITE_ONCE(run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	WRITE_ONCE(run->internal.suberror, KVM_INTERNAL_ERROR_DELIVERY_EV);
	WRITE_ONCE(run->internal.ndata, 5);
	WRITE_ONCE(run->internal.data[0], p->internal.event);
	WRITE_ONCE(run->internal.data[1], p->internal.exit);
	WRITE_ONCE(run->internal.data[2], p->internal.access);
	WRITE_ONCE(run->internal.data[3], p->internal.gpa);
	WRITE_ONCE(run->internal.data[4], raw_smp_processor_id());
	return 0;
}

static int exit_internal(struct cb_vcpu *v)
{
	const struct corbel_vcpu_page *p = v->page;
	struct kvm_run __shared *run = v->run;
	u32 len = min_t(u32, READ_ONCE(p->internal.insn_len), sizeof(p->internal.insn));
	u8 insn[sizeof(p->internal.insn)];

	if (p->internal.event)
		return delivery_error(v);
	if (!len)
		return internal_error(v, p->internal.code);
	WRITE_ONCE(run->exit_reason, KVM_EXIT_INTERNAL_ERROR);
	WRITE_ONCE(run->emulation_failure.suberror, KVM_INTERNAL_ERROR_EMULATION);
	WRITE_ONCE(run->emulation_failure.ndata, 3); /* flags, and two words of instruction */
	WRITE_ONCE(run->emulation_failure.flags,
		   KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES);
	WRITE_ONCE(run->emulation_failure.insn_size, len);
	memcpy(insn, p->internal.insn, len);
	memset(insn + len, 0x90, sizeof(insn) - len);
	shared_write(run->emulation_failure.insn_bytes, insn, sizeof(insn));
	return 0;
}

/* Where Linux has done something it is SIGBUS that ends the loop. */
static int exit_broken(struct cb_vcpu *v)
{
	u64 hpa = READ_ONCE(v->page->fault.gpa);

	return cb_broken_used(hpa) ? internal_error(v, CORBEL_EXIT_BROKEN) : 1;
}

/* False: the access is not allowed, and user space wants to see that. */
static bool own_msr(struct cb_vcpu *v)
{
	struct corbel_vcpu_page *p = v->page;
	u32 index = READ_ONCE(p->msr.index);
	u64 val = p->msr.data;
	int r;

	if (cb_apf_has_msr(index))
		r = cb_apf_msr(v, index, &val, p->msr.is_write, false);
	else
		r = cb_hyperv_msr(v, index, &val, p->msr.is_write, false);
	p->msr.error = !!r;
	p->msr.data = val;
	p->msr.reason = KVM_MSR_EXIT_REASON_INVAL;
	return !p->msr.error || !(READ_ONCE(v->vm->msr_exits) & KVM_MSR_EXIT_REASON_INVAL);
}

static int exit_msr(struct cb_vcpu *v)
{
	const struct corbel_vcpu_page *p = v->page;
	struct kvm_run __shared *run = v->run;

	v->unfinished = true;
	if (p->msr.reason == CORBEL_MSR_EXIT_MODULE && own_msr(v))
		return 1;
	v->user_exit = p->msr.is_write ? KVM_EXIT_X86_WRMSR : KVM_EXIT_X86_RDMSR;
	WRITE_ONCE(run->exit_reason, v->user_exit);
	memset(shared_plain(&run->msr), 0, sizeof(run->msr));
	WRITE_ONCE(run->msr.reason, p->msr.reason);
	WRITE_ONCE(run->msr.index, p->msr.index);
	WRITE_ONCE(run->msr.data, p->msr.data);
	return 0;
}

static int exit_debug(struct cb_vcpu *v)
{
	struct kvm_debug_exit_arch __shared *d = &v->run->debug.arch;

	WRITE_ONCE(v->run->exit_reason, KVM_EXIT_DEBUG);
	WRITE_ONCE(d->exception, v->page->debug.vector);
	WRITE_ONCE(d->pc, v->page->debug.rip);
	WRITE_ONCE(d->dr6, v->page->debug.dr6);
	WRITE_ONCE(d->dr7, v->page->debug.dr7);
	return 0;
}

/* error_code of kvm_page_fault; a guest's accesses to its memory are a user's for nested paging */
#define PF_WRITE BIT(1)
#define PF_USER	 BIT(2)
#define PF_FETCH BIT(4)

/* The VMM has nothing there: which page it is. */
static void tell_memory_fault(struct cb_vcpu *v, u64 gpa)
{
	struct cb_memory_fault __shared *f = (void __shared *)&v->run->hw;

	u64 gfn = gpa >> PAGE_SHIFT & ~CORBEL_GFN_SMM;
	bool private = cb_is_private(v->vm, gfn);

	WRITE_ONCE(v->run->exit_reason, KVM_EXIT_MEMORY_FAULT);
	WRITE_ONCE(f->flags, private ? KVM_MEMORY_EXIT_FLAG_PRIVATE : 0);
	WRITE_ONCE(f->gpa, gfn << PAGE_SHIFT);
	WRITE_ONCE(f->size, PAGE_SIZE);
}

/*
 * Code, say, where no memory is. QEMU up to 7.2 changes a slot by removing it and adding others
 * while vCPUs run in it, as when firmware makes its shadow read-only: so for a second after such a
 * removal it is tried again.
 */
static void await_slot(struct cb_vcpu *v)
{
	if (get_jiffies_64() - READ_ONCE(v->vm->slot_removed) < HZ)
		schedule_timeout_interruptible(1);
	else
		WRITE_ONCE(v->page->fault.none, 1);
}

static int exit_mem_fault(struct cb_vcpu *v)
{
	u64 gpa = READ_ONCE(v->page->fault.gpa);
	u32 flags = READ_ONCE(v->page->fault.flags);
	int r;

	trace_kvm_page_fault(v->apic_id, v->page->rip, gpa & ~(CORBEL_GFN_SMM << PAGE_SHIFT),
			     PF_USER | (flags & CORBEL_FAULT_WRITE ? PF_WRITE : 0) |
				 (flags & CORBEL_FAULT_EXEC ? PF_FETCH : 0));
	if (flags & CORBEL_FAULT_DEVICE) {
		await_slot(v);
		return 1;
	}
	r = cb_fault(v, gpa, flags);
	if (r == -EFAULT)
		tell_memory_fault(v, gpa);
	return r ? r : 1;
}

/*
 * KVM_HC_MAP_GPA_RANGE: the guest wants frames to be private, or shared. KVM_HC_CLOCK_PAIRING is
 * answered here.
 */
static int exit_hypercall(struct cb_vcpu *v)
{
	struct corbel_vcpu_page *p = v->page;
	struct kvm_run __shared *run = v->run;
	u64 mask = p->hypercall.is_64 ? U64_MAX : U32_MAX;
	u64 gpa = p->rbx & mask, pages = p->rcx & mask, gfn = gpa >> PAGE_SHIFT;
	u32 i;

	v->unfinished = true;
	if ((p->rax & mask) == KVM_HC_CLOCK_PAIRING) {
		p->hypercall.result = cb_pair_clocks(v, gpa, pages);
		return 1;
	}
	p->hypercall.result = -KVM_EINVAL;
	if (gpa & ~PAGE_MASK || gfn + pages <= gfn)
		return 1;
	WRITE_ONCE(run->exit_reason, KVM_EXIT_HYPERCALL);
	WRITE_ONCE(run->hypercall.nr, KVM_HC_MAP_GPA_RANGE);
	WRITE_ONCE(run->hypercall.args[0], gpa);
	WRITE_ONCE(run->hypercall.args[1], pages);
	WRITE_ONCE(run->hypercall.args[2], p->rdx & mask);
	for (i = 3; i < 6; i++)
		WRITE_ONCE(run->hypercall.args[i], 0);
	WRITE_ONCE(run->hypercall.ret, 0);
	WRITE_ONCE(cb_hypercall_mode(run), p->hypercall.is_64);
	v->user_exit = KVM_EXIT_HYPERCALL;
	return 0;
}

/* Its instruction runs again, also when KVM_RUN has said that there is no memory for it. */
static int exit_nest(struct cb_vcpu *v)
{
	int r = cb_promise_nested(v);

	return r ? r : 1;
}

static int handle_exit(struct cb_vcpu *v)
{
	struct kvm_run __shared *run = v->run;
	u32 reason = READ_ONCE(v->page->exit_reason);

	cb_trace_stop(v);
	switch (reason) {
	case CORBEL_EXIT_PAUSED: /* whoever asked for it looks at the loop's condition */
	case CORBEL_EXIT_NONE:
		return 1;
	case CORBEL_EXIT_IO:
		return exit_io(v);
	case CORBEL_EXIT_MMIO:
		return exit_mmio(v);
	case CORBEL_EXIT_MEM_FAULT:
		return exit_mem_fault(v);
	case CORBEL_EXIT_INTA:
		return exit_inta(v);
	case CORBEL_EXIT_PIC:
		return exit_pic(v);
	case CORBEL_EXIT_EOI:
		return exit_eoi(v);
	case CORBEL_EXIT_NEST:
		return exit_nest(v);
	case CORBEL_EXIT_TPR:
		return exit_tpr(v);
	case CORBEL_EXIT_HLT:
		WRITE_ONCE(run->exit_reason, KVM_EXIT_HLT);
		return 0;
	case CORBEL_EXIT_SHUTDOWN:
		WRITE_ONCE(run->exit_reason, KVM_EXIT_SHUTDOWN);
		return 0;
	case CORBEL_EXIT_IRQ_WINDOW:
		WRITE_ONCE(run->exit_reason, KVM_EXIT_IRQ_WINDOW_OPEN);
		return 0;
	case CORBEL_EXIT_INTERNAL:
		return exit_internal(v);
	case CORBEL_EXIT_FAIL_ENTRY:
		WRITE_ONCE(run->exit_reason, KVM_EXIT_FAIL_ENTRY);
		WRITE_ONCE(run->fail_entry.hardware_entry_failure_reason, v->page->internal.code);
		WRITE_ONCE(run->fail_entry.cpu, raw_smp_processor_id());
		return 0;
	case CORBEL_EXIT_DEBUG:
		return exit_debug(v);
	case CORBEL_EXIT_MSR:
		return exit_msr(v);
	case CORBEL_EXIT_HYPERCALL:
		return v->page->services & CORBEL_HYPERV_CALLS ? cb_hyperv_call(v)
							       : exit_hypercall(v);
	case CORBEL_EXIT_SMM:
		return cb_smm(v);
	case CORBEL_EXIT_BROKEN:
		return exit_broken(v);
	}
	WRITE_ONCE(run->exit_reason, KVM_EXIT_UNKNOWN);
	WRITE_ONCE(run->hw.hardware_exit_reason, reason);
	return 0;
}

/* What user space was asked for by the last exit. */
static void take_result(struct cb_vcpu *v)
{
	struct corbel_vcpu_page *p = v->page;

	if (v->user_exit == KVM_EXIT_IO) {
		shared_read(v->data, v->pio, v->io_bytes);
		trace_kvm_pio(CB_PIO_IN, p->io.port, p->io.size, p->io.count, v->data);
	} else if (v->user_exit == KVM_EXIT_MMIO) {
		shared_read(p->mmio.data, v->run->mmio.data, sizeof(p->mmio.data));
		trace_kvm_mmio(CB_MMIO_READ, p->mmio.len, p->mmio.gpa, p->mmio.data);
	} else if (v->user_exit == KVM_EXIT_X86_RDMSR || v->user_exit == KVM_EXIT_X86_WRMSR) {
		p->msr.error = !!READ_ONCE(v->run->msr.error);
	} else if (v->user_exit == KVM_EXIT_HYPERCALL) {
		p->hypercall.result = READ_ONCE(v->run->hypercall.ret);
	} else if (v->user_exit == KVM_EXIT_HYPERV) {
		p->hypercall.result = READ_ONCE(v->run->hyperv.u.hcall.result);
	}
	if (v->user_exit == KVM_EXIT_X86_RDMSR)
		p->msr.data = READ_ONCE(v->run->msr.data);
	v->user_exit = 0;
}

static int exit_ring_full(struct cb_vcpu *v)
{
	WRITE_ONCE(v->run->exit_reason, KVM_EXIT_DIRTY_RING_FULL);
	return 0;
}

static int run_loop(struct cb_vcpu *v, bool immediate)
{
	int r;

	if (!immediate) /* of an error there may be none */
		WRITE_ONCE(v->run->exit_reason, KVM_EXIT_UNKNOWN);
	do {
		bool stop = immediate || signal_pending(current);
		bool work = cb_hyperv_has_work(v), full = cb_ring_is_full(&v->dirty), pages;

		/*
		 * An access user space has served is completed before it sees -EINTR: registers are
		 * to be consistent.
		 */
		if (work && !v->unfinished) {
			if (!cb_hyperv_work(v))
				return 0;
			work = false;
		}
		if (cb_apf_has_some(v) && !v->unfinished)
			cb_apf_tell_one(v);
		if (full && !immediate && !v->unfinished)
			return exit_ring_full(v);
		if (stop && !v->unfinished) {
			/* immediate_exit is no exit: what the last one was can still be read. */
			if (!immediate)
				WRITE_ONCE(v->run->exit_reason, KVM_EXIT_INTR);
			return -EINTR;
		}
		if (READ_ONCE(v->vm->lost))
			return -EIO;
		if (v->synced_at != jiffies)
			sync_scheduling(v);
		/* a pause that has met this exit is lost: what it is about waits for the
		 * instruction */
		pages = v->unfinished && cb_apf_has_some(v);
		r = resume_and_wait(v, stop || work || full || pages);
		cb_event_sync_doorbells();
		if (r)
			return r;
		r = handle_exit(v);
		if (r == -ENOBUFS)
			r = exit_ring_full(v);
		cond_resched();
	} while (r == 1);
	return r;
}

static void publish_state(struct cb_vcpu *v)
{
	const struct corbel_vcpu_page *p = v->page;
	struct kvm_run __shared *run = v->run;

	WRITE_ONCE(run->if_flag, p->mode & CORBEL_MODE_IF);
	WRITE_ONCE(run->cr8, p->cr8);
	WRITE_ONCE(run->apic_base, p->apic_base);
	WRITE_ONCE(run->flags, (p->in_smm ? KVM_RUN_X86_SMM : 0) |
				   (p->mode & CORBEL_MODE_GUEST ? KVM_RUN_X86_GUEST_MODE : 0));
	WRITE_ONCE(run->ready_for_interrupt_injection,
		   v->vm->irqchip == CB_IRQCHIP_FULL || (p->ready_for_irq && v->extint < 0));
}

/* What user space has asked for in its page, as far as it makes sense. */
static int take_request(struct cb_vcpu *v)
{
	const struct kvm_run __shared *run = v->run;
	u64 cr8 = READ_ONCE(run->cr8);
	int r;

	if ((READ_ONCE(run->kvm_valid_regs) | READ_ONCE(run->kvm_dirty_regs)) &
	    ~KVM_SYNC_X86_VALID_FIELDS)
		return -EINVAL;
	r = cb_sync_regs_take(v);
	if (r)
		return r;
	if (v->vm->irqchip != CB_IRQCHIP_NONE)
		return 0;
	if (cr8 > 15)
		return -EINVAL;
	v->page->cr8 = cr8;
	return 0;
}

/*
 * KVM_SET_SIGNAL_MASK: signals that come meanwhile are only to end it, and wait until the thread
 * takes them. Of those that would kill the process Linux has to know that (real_blocked): it would
 * not wait.
 */
static void begin_signals(const struct cb_vcpu *v)
{
	if (v->sigmask_set)
		sigprocmask(SIG_SETMASK, (sigset_t *)&v->sigmask, &current->real_blocked);
}

static void end_signals(const struct cb_vcpu *v)
{
	if (!v->sigmask_set)
		return;
	sigprocmask(SIG_SETMASK, &current->real_blocked, NULL);
	sigemptyset(&current->real_blocked);
}

/*
 * However it ends, the state in user space's page is the vCPU's; the exit's reason is set only if
 * there was an exit.
 */
int cb_vcpu_run(struct cb_vcpu *v)
{
	int r = take_request(v);

	if (!r) {
		take_result(v);
		begin_signals(v);
		r = run_loop(v, cb_immediate_exit(v->run));
		end_signals(v);
	}
	publish_state(v);
	cb_sync_regs_put(v);
	trace_kvm_userspace_exit(READ_ONCE(v->run->exit_reason), r);
	return r;
}
