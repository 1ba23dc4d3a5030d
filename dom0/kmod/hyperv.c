// SPDX-License-Identifier: GPL-2.0-only
/*
 * The host that a guest takes for Hyper-V: its MSRs, the pages they name, its hypercalls. All of
 * this stops the vCPU, but for the MSRs of the LAPIC (hv/guest/hyperv.c). What is only logic is in
 * tlfs.c.
 *
 * The guest's pages are written by the hypervisor, so that its dirty log sees it; they are read
 * where the VMM has them. Both is for the vCPU's thread.
 */
#include "hyperv.h"
#include "kmod.h"
#include "memory.h"

#include <asm/apicdef.h>
#include <asm/kvm_para.h>

#define WRITE_TRIES 100

/* ---- guest memory ---- */

int cb_guest_write(struct cb_vcpu *v, u64 gpa, const void *from, u32 len)
{
	struct corbel_memory *m = (void *)v->data;
	u32 head = offsetof(struct corbel_memory, bytes);
	int i, r = -EFAULT;

	BUG_ON(len > sizeof(m->bytes));
	for (i = 0; i < WRITE_TRIES && cb_fault_hva(v->vm, gpa, len, true); i++) {
		m->gpa = gpa;
		memcpy(m->bytes, from, len);
		r = HC3(VCPU_SET, v->number, CORBEL_STATE_MEMORY, head + len);
		if (r != -EFAULT)
			return r;
		/* Not mapped now. A signal ends the look for it early, but not without progress. */
		r = cb_fault(v, gpa, CORBEL_FAULT_WRITE);
		if (r)
			return r;
		r = -EFAULT;
	}
	return r;
}

int cb_guest_read(struct cb_vcpu *v, u64 gpa, void *to, u32 len)
{
	unsigned long hva = gpa >> 52 ? 0 : cb_fault_hva(v->vm, gpa, len, false); /* of no SMRAM */

	if (cb_is_private(v->vm, gpa >> PAGE_SHIFT) || /* which is not there */
	    cb_is_private(v->vm, (gpa + len - 1) >> PAGE_SHIFT))
		return -EFAULT;
	return !hva || copy_from_user(to, (void __user *)hva, len) ? -EFAULT : 0;
}

/* ---- rights ---- */

static void update_flags(struct cb_vcpu *v)
{
	v->hyperv.flags = 0;
	if (!v->hyperv.rights.has_signature)
		return;
	v->has_services = true;
	v->hyperv.flags = CORBEL_HYPERV_MSRS;
	if (tlfs_may_use(&v->hyperv.rights, MSR_TIME_REF_COUNT))
		v->hyperv.flags |= CORBEL_HYPERV_TIME;
	if (tlfs_may_use(&v->hyperv.rights, MSR_HV_EOI))
		v->hyperv.flags |= CORBEL_HYPERV_APIC;
}

void cb_hyperv_set_cpuid(struct cb_vcpu *v, const struct kvm_cpuid_entry2 *e, u32 n)
{
	tlfs_take_cpuid(&v->hyperv.rights, e, n);
	update_flags(v);
}

void cb_hyperv_enforce(struct cb_vcpu *v, bool on)
{
	v->hyperv.rights.is_enforced = on;
	update_flags(v);
}

long cb_hyperv_enable_evmcs(struct cb_vcpu *v, void __user *versions)
{
	const u16 all = TLFS_EVMCS_VERSIONS;

	if (!(cb_features & CORBEL_FEATURE_EVMCS))
		return -ENOTTY;
	WRITE_ONCE(v->page->evmcs, 1);
	return copy_to_user(versions, &all, sizeof(all)) ? -EFAULT : 0;
}

long cb_hyperv_cpuid(struct kvm_cpuid2 __user *arg, bool lapic, bool evmcs)
{
	struct kvm_cpuid_entry2 e[TLFS_LEAVES];
	u32 room;

	if (get_user(room, &arg->nent))
		return -EFAULT;
	if (room < TLFS_LEAVES)
		return -E2BIG;
	tlfs_offer_cpuid(e, CB_MAX_VCPUS, lapic, cb_features & CORBEL_FEATURE_NESTED, evmcs);
	if (copy_to_user(arg->entries, e, sizeof(e)) || put_user(TLFS_LEAVES, &arg->nent))
		return -EFAULT;
	return 0;
}

u32 cb_hyperv_msrs(u32 *out)
{
	static const u32 saved[] = {
	    MSR_GUEST_OS_ID,	 MSR_HV_HYPERCALL,   MSR_VP_INDEX,	MSR_HV_RESET,
	    MSR_VP_RUNTIME,	 MSR_TIME_REF_COUNT, MSR_REFERENCE_TSC, MSR_TSC_FREQUENCY,
	    MSR_APIC_FREQUENCY,	 MSR_VP_ASSIST_PAGE, MSR_CRASH_P0,	MSR_CRASH_P0 + 1,
	    MSR_CRASH_P0 + 2,	 MSR_CRASH_P0 + 3,   MSR_CRASH_P0 + 4,	MSR_CRASH_CTL,
	    MSR_REENLIGHTENMENT, MSR_TSC_EMULATION,  MSR_TSC_EMULATED,	MSR_SCONTROL,
	    MSR_SVERSION,	 MSR_SIEFP,	     MSR_SIMP,
	};
	u32 n = ARRAY_SIZE(saved), i;

	static_assert(ARRAY_SIZE(saved) + TLFS_SINTS + 2 * TLFS_TIMERS == CB_HYPERV_MSRS);
	memcpy(out, saved, sizeof(saved));
	for (i = 0; i < TLFS_SINTS; i++)
		out[n++] = MSR_SINT0 + i;
	for (i = 0; i < 2 * TLFS_TIMERS; i++)
		out[n++] = MSR_STIMER0_CONFIG + i;
	return n;
}

/* All vCPUs of the VM that run pass their loop, which looks at what has changed. */
static void pass_loops(struct cb_vm *vm, const struct cb_vcpu *but)
{
	u32 n = smp_load_acquire(&vm->vcpus), i;

	for (i = 0; i < n; i++)
		if (vm->vcpu[i] != but)
			HC1(VCPU_PAUSE, vm->vcpu[i]->number);
}

/* ---- time ---- */

static int get_clock(struct cb_vcpu *v, struct corbel_clock *c)
{
	long r = HC3(VCPU_GET, v->number, CORBEL_STATE_CLOCK, sizeof(*c));

	memcpy(c, v->data, sizeof(*c));
	return r < 0 ? r : 0;
}

static int get_khz(struct cb_vcpu *v, u64 *khz)
{
	long r = HC3(VCPU_GET, v->number, CORBEL_STATE_TSC_KHZ, sizeof(*khz));

	memcpy(khz, v->data, sizeof(*khz));
	return r < 0 ? r : 0;
}

/*
 * A guest that emulates its TSC after a migration goes on with what the page said before, until it
 * switches that off.
 */
static bool page_stays(const struct cb_hyperv *h, const struct tlfs_tsc_page *p)
{
	return p->sequence && h->tsc_emulation && !h->tsc_page_new;
}

/* What cannot be written the guest does not see; it has the MSR. */
static void write_tsc_page(struct cb_vcpu *v, u64 gpa, struct tlfs_tsc_page *p)
{
	u32 sequence = tlfs_next_sequence(p->sequence);
	struct corbel_clock c;

	p->sequence = p->reserved = 0; /* until all of it is there */
	if (!get_clock(v, &c) && tlfs_compute_tsc(p, c.tsc, c.ns, c.mul, (s32)c.shift) &&
	    !cb_guest_write(v, gpa, &p->sequence, sizeof(p->sequence)) &&
	    !cb_guest_write(v, gpa, p, sizeof(*p)))
		cb_guest_write(v, gpa, &sequence, sizeof(sequence));
}

static void update_tsc_page_locked(struct cb_vcpu *v)
{
	struct cb_hyperv *h = &v->vm->hyperv;
	u64 gpa = h->tsc_page & TLFS_PAGE_MASK;
	struct tlfs_tsc_page p;
	bool stays = false;

	lockdep_assert_held(&h->lock);
	WRITE_ONCE(h->tsc_stale, false);
	if (h->tsc_page & TLFS_PAGE_ENABLED && !cb_guest_read(v, gpa, &p, sizeof(p))) {
		stays = page_stays(h, &p);
		if (stays)
			h->tsc = p;
		else
			write_tsc_page(v, gpa, &p);
	}
	h->tsc_page_new = false;
	if (stays == h->tsc_stays)
		return;
	WRITE_ONCE(h->tsc_stays, stays);
	pass_loops(v->vm, v);
}

static void system_event(struct cb_vcpu *v, u32 type)
{
	WRITE_ONCE(v->run->exit_reason, KVM_EXIT_SYSTEM_EVENT);
	WRITE_ONCE(v->run->system_event.type, type);
	WRITE_ONCE(v->run->system_event.ndata, 0);
}

bool cb_hyperv_work(struct cb_vcpu *v)
{
	struct cb_hyperv *h = &v->vm->hyperv;

	if (test_and_clear_bit(CB_HYPERV_CRASH, &v->hyperv.event)) {
		system_event(v, KVM_SYSTEM_EVENT_CRASH);
		return false;
	}
	if (test_and_clear_bit(CB_HYPERV_RESET, &v->hyperv.event)) {
		system_event(v, KVM_SYSTEM_EVENT_RESET);
		return false;
	}
	if (test_and_clear_bit(CB_HYPERV_SYNIC, &v->hyperv.event)) {
		cb_synic_exit(v);
		return false;
	}
	mutex_lock(&h->lock);
	if (h->tsc_stale)
		update_tsc_page_locked(v);
	if (test_and_clear_bit(CB_HYPERV_TIMERS, &v->hyperv.event))
		cb_synic_work(v);
	mutex_unlock(&h->lock);
	return true;
}

void cb_hyperv_clock_changed(struct cb_vm *vm)
{
	struct cb_hyperv *h = &vm->hyperv;
	bool used;

	mutex_lock(&h->lock);
	used = h->tsc_page & TLFS_PAGE_ENABLED;
	if (used)
		WRITE_ONCE(h->tsc_stale, true);
	mutex_unlock(&h->lock);
	used |= cb_synic_clock_changed(vm);
	if (used)
		pass_loops(vm, NULL);
}

int cb_hyperv_time(struct cb_vcpu *v, u64 *val)
{
	const struct cb_hyperv *h = &v->vm->hyperv;
	struct corbel_clock c;
	int r = get_clock(v, &c);

	*val = h->tsc_stays ? tlfs_time_at(&h->tsc, c.tsc) : c.ns / 100;
	return r;
}

static int read_runtime(struct cb_vcpu *v, u64 *val)
{
	struct corbel_clock c;
	int r = get_clock(v, &c);

	*val = c.runtime_ns / 100 + v->hyperv.runtime_offset;
	return r;
}

/* ---- MSRs. host: the VMM's access; 0, or -EINVAL: #GP, and the VMM's list ends ---- */

static int write_hypercall(struct cb_vcpu *v, u64 val)
{
	static const u8 vmcall[] = {0x0f, 0x01, 0xc1, 0xc3}, vmmcall[] = {0x0f, 0x01, 0xd9, 0xc3};
	struct cb_hyperv *h = &v->vm->hyperv;

	if (!h->guest_os_id) /* who has not said who it is has no hypercalls */
		return 0;
	if (val & TLFS_PAGE_ENABLED &&
	    cb_guest_write(v, val & TLFS_PAGE_MASK, cb_backend_vmx ? vmcall : vmmcall,
			   sizeof(vmcall)))
		return -EINVAL;
	h->hypercall = val;
	return 0;
}

static void write_guest_os_id(struct cb_vcpu *v, u64 val)
{
	struct cb_hyperv *h = &v->vm->hyperv;
	bool changes = !h->guest_os_id != !val;

	WRITE_ONCE(h->guest_os_id, val);
	if (!val)
		h->hypercall &= ~TLFS_PAGE_ENABLED;
	if (changes) /* whose its hypercalls are */
		pass_loops(v->vm, v);
}

static void write_reference_tsc(struct cb_vcpu *v, u64 val, bool host)
{
	struct cb_hyperv *h = &v->vm->hyperv;

	h->tsc_page = val;
	h->tsc_page_new = !host;
	if (host) /* the memory and the clocks may be on their way */
		WRITE_ONCE(h->tsc_stale, true);
	else
		update_tsc_page_locked(v);
}

/* Its first word is what MSR_KVM_PV_EOI has, too. */
static int write_assist_page(struct cb_vcpu *v, u64 val)
{
	struct corbel_msr *m = (void *)v->data;
	const u32 no_eoi_needed = 0;
	bool on = val & TLFS_PAGE_ENABLED;

	if (on && cb_guest_write(v, val & TLFS_PAGE_MASK, &no_eoi_needed, sizeof(no_eoi_needed)))
		return -EINVAL;
	*m = (struct corbel_msr){MSR_KVM_PV_EOI_EN,
				 .data = on ? (val & TLFS_PAGE_MASK) | KVM_MSR_ENABLED : 0};
	if (HC3(VCPU_SET, v->number, CORBEL_STATE_MSRS, 1) != 1)
		return -EINVAL;
	v->hyperv.assist_page = val;
	return 0;
}

static int write_crash_ctl(struct cb_vcpu *v, u64 val, bool host)
{
	if (host)
		v->vm->hyperv.crash_ctl = val & TLFS_CRASH_NOTIFY;
	else if (val & TLFS_CRASH_NOTIFY)
		set_bit(CB_HYPERV_CRASH, &v->hyperv.event);
	return 0;
}

static int write_locked(struct cb_vcpu *v, u32 msr, u64 val, bool host)
{
	struct cb_hyperv *h = &v->vm->hyperv;
	u64 now;
	int r;

	lockdep_assert_held(&h->lock);
	switch (msr) {
	case MSR_GUEST_OS_ID:
		write_guest_os_id(v, val);
		return 0;
	case MSR_HV_HYPERCALL:
		return write_hypercall(v, val);
	case MSR_VP_INDEX:
		if (!host || (u32)val >= CB_MAX_VCPUS)
			return -EINVAL;
		WRITE_ONCE(v->hyperv.index, val);
		return 0;
	case MSR_HV_RESET:
		if (val == 1 && !host)
			set_bit(CB_HYPERV_RESET, &v->hyperv.event);
		return 0;
	case MSR_VP_RUNTIME:
		if (!host)
			return -EINVAL;
		r = read_runtime(v, &now);
		v->hyperv.runtime_offset += val - now;
		return r;
	case MSR_TIME_REF_COUNT:
	case MSR_TSC_FREQUENCY:
	case MSR_APIC_FREQUENCY:
		return host ? 0 : -EINVAL; /* a VMM that puts back what it has read */
	case MSR_REFERENCE_TSC:
		write_reference_tsc(v, val, host);
		return 0;
	case MSR_VP_ASSIST_PAGE:
		return write_assist_page(v, val);
	case MSR_CRASH_P0 ... MSR_CRASH_CTL - 1:
		h->crash[msr - MSR_CRASH_P0] = val;
		return 0;
	case MSR_CRASH_CTL:
		return write_crash_ctl(v, val, host);
	case MSR_REENLIGHTENMENT:
		h->reenlightenment = val;
		return 0;
	case MSR_TSC_EMULATION:
		h->tsc_emulation = val;
		return 0;
	case MSR_TSC_EMULATED:
		if (val && !host)
			return -EINVAL;
		h->tsc_emulated = val;
		return 0;
	}
	return -EINVAL;
}

static int read_locked(struct cb_vcpu *v, u32 msr, u64 *val)
{
	const struct cb_hyperv *h = &v->vm->hyperv;
	int r;

	lockdep_assert_held(&h->lock);
	switch (msr) {
	case MSR_GUEST_OS_ID:
		*val = h->guest_os_id;
		return 0;
	case MSR_HV_HYPERCALL:
		*val = h->hypercall;
		return 0;
	case MSR_VP_INDEX:
		*val = v->hyperv.index;
		return 0;
	case MSR_HV_RESET:
		*val = 0;
		return 0;
	case MSR_VP_RUNTIME:
		return read_runtime(v, val);
	case MSR_TIME_REF_COUNT:
		return cb_hyperv_time(v, val);
	case MSR_REFERENCE_TSC:
		*val = h->tsc_page;
		return 0;
	case MSR_TSC_FREQUENCY:
		r = get_khz(v, val);
		*val *= 1000;
		return r;
	case MSR_APIC_FREQUENCY:
		*val = NSEC_PER_SEC / (v->vm->bus_ns ?: 1);
		return 0;
	case MSR_VP_ASSIST_PAGE:
		*val = v->hyperv.assist_page;
		return 0;
	case MSR_CRASH_P0 ... MSR_CRASH_CTL - 1:
		*val = h->crash[msr - MSR_CRASH_P0];
		return 0;
	case MSR_CRASH_CTL:
		*val = h->crash_ctl;
		return 0;
	case MSR_REENLIGHTENMENT:
		*val = h->reenlightenment;
		return 0;
	case MSR_TSC_EMULATION:
		*val = h->tsc_emulation;
		return 0;
	case MSR_TSC_EMULATED:
		*val = h->tsc_emulated;
		return 0;
	}
	return -EINVAL;
}

int cb_hyperv_msr(struct cb_vcpu *v, u32 msr, u64 *val, bool write, bool host)
{
	struct cb_hyperv *h = &v->vm->hyperv;
	int r;

	if (!host && !tlfs_may_use(&v->hyperv.rights, msr))
		return -EINVAL;
	mutex_lock(&h->lock);
	if (tlfs_is_synic(msr))
		r = cb_synic_msr(v, msr, val, write, host);
	else
		r = write ? write_locked(v, msr, *val, host) : read_locked(v, msr, val);
	mutex_unlock(&h->lock);
	return r;
}

/* ---- hypercalls ---- */

static void take_registers(const struct corbel_vcpu_page *p, u64 *word, struct tlfs_hypercall *c)
{
	if (p->hypercall.is_64) {
		*word = p->rcx;
		c->input = p->rdx;
		c->output = p->r8;
	} else {
		*word = p->rdx << 32 | (u32)p->rax;
		c->input = p->rbx << 32 | (u32)p->rcx;
		c->output = p->rdi << 32 | (u32)p->rsi;
	}
}

#define XSAVE_XMM 20 /* u64 in the area: XMM0, */
#define XSAVE_BV  64 /* and components that are there */
#define XSAVE_SSE BIT(1)

/* A fast call's input is in registers. */
static long take_input(struct cb_vcpu *v, struct tlfs_hypercall *c)
{
	const u64 *area = (void *)v->data;
	long r;

	c->registers[0] = c->input;
	c->registers[1] = c->output;
	if (!tlfs_has_xmm_input(c))
		return 0;
	r = cb_state_get(v, CORBEL_STATE_XSAVE, PAGE_SIZE);
	if (!r && area[XSAVE_BV] & XSAVE_SSE)
		memcpy(c->registers + 2, area + XSAVE_XMM, sizeof(c->registers) - 2 * sizeof(u64));
	return r;
}

static int read_input(struct cb_vcpu *v, const struct tlfs_hypercall *c, u32 at, void *to, u32 len)
{
	if (!c->fast)
		return cb_guest_read(v, c->input + at, to, len);
	if (at + len > sizeof(c->registers))
		return -EINVAL;
	memcpy(to, (const u8 *)c->registers + at, len);
	return 0;
}

/* The vCPUs of a set, which begins there in the input. TLFS_SUCCESS, or what is wrong with it. */
static u64 read_set(struct cb_vcpu *v, const struct tlfs_hypercall *c, u32 at, struct tlfs_set *s)
{
	u32 n;

	if (read_input(v, c, at, s, TLFS_SET_HEAD) || s->format > TLFS_SET_ALL ||
	    hweight64(s->banks) != c->var)
		return TLFS_INVALID_INPUT;
	n = tlfs_set_banks(s) * sizeof(s->bank[0]);
	return n && read_input(v, c, at + TLFS_SET_HEAD, s->bank, n) ? TLFS_INVALID_INPUT
								     : TLFS_SUCCESS;
}

long cb_hyperv_interrupt(const struct cb_vcpu *v, u8 vector)
{
	u64 high = (u64)(v->apic_id >> 8) << 40;

	/* strict: 255 may be its id, too */
	return HC4(MSI, v->vm->id, high | APIC_DEFAULT_PHYS_BASE | (v->apic_id & 0xff) << 12,
		   vector, 1);
}

static void send_ipis(struct cb_vm *vm, const struct tlfs_set *set, u8 vector)
{
	u32 n = smp_load_acquire(&vm->vcpus), i;

	for (i = 0; i < n; i++)
		if (tlfs_set_has(set, READ_ONCE(vm->vcpu[i]->hyperv.index)))
			cb_hyperv_interrupt(vm->vcpu[i], vector);
}

static u64 send_ipi(struct cb_vcpu *v, const struct tlfs_hypercall *c)
{
	struct tlfs_set set = {.format = TLFS_SET_SPARSE, .banks = 1};
	struct tlfs_ipi ipi;
	u64 r = TLFS_SUCCESS;

	if (read_input(v, c, 0, &ipi, sizeof(ipi)))
		return TLFS_INVALID_INPUT;
	set.bank[0] = ipi.mask;
	if (c->code == CALL_SEND_IPI_EX)
		r = read_set(v, c, offsetof(struct tlfs_ipi, mask), &set);
	if (r == TLFS_SUCCESS && (ipi.vector < TLFS_IPI_FIRST || ipi.vector > TLFS_IPI_LAST))
		r = TLFS_INVALID_INPUT;
	if (r == TLFS_SUCCESS)
		send_ipis(v->vm, &set, ipi.vector);
	return r;
}

/* Whatever is to be flushed, all of the guest's is: its list is not looked at. */
static u64 flush_tlbs(struct cb_vcpu *v, const struct tlfs_hypercall *c)
{
	struct tlfs_flush f;
	struct tlfs_set set;
	u64 r = TLFS_SUCCESS;

	if (read_input(v, c, 0, &f, sizeof(f)))
		return TLFS_INVALID_INPUT;
	if (c->code == CALL_FLUSH_EX || c->code == CALL_FLUSH_LIST_EX)
		r = read_set(v, c, offsetof(struct tlfs_flush, mask), &set);
	if (r == TLFS_SUCCESS)
		HC1(FLUSH, v->vm->id);
	/* how much of the list is done */
	return r == TLFS_SUCCESS ? r | (u64)c->count << 32 : r;
}

static u64 carry_out(struct cb_vcpu *v, struct tlfs_hypercall *c)
{
	switch (c->code) {
	case CALL_FLUSH:
	case CALL_FLUSH_LIST:
	case CALL_FLUSH_EX:
	case CALL_FLUSH_LIST_EX:
		return flush_tlbs(v, c);
	case CALL_SEND_IPI:
	case CALL_SEND_IPI_EX:
		return send_ipi(v, c);
	case CALL_SPIN_WAIT:
		yield(); /* it waits for another vCPU, which may be waiting for this CPU */
		return TLFS_SUCCESS;
	case CALL_SIGNAL_EVENT:
		return cb_synic_signal(v, c);
	case CALL_POST_MESSAGE:
		return TLFS_INVALID_PORT;
	}
	return TLFS_INVALID_CODE;
}

int cb_hyperv_call(struct cb_vcpu *v)
{
	struct tlfs_hypercall c = {0};
	u64 word, result;

	v->unfinished = true;
	take_registers(v->page, &word, &c);
	result = tlfs_decode(&v->hyperv.rights, word, &c);
	if (result == TLFS_SUCCESS && c.fast && take_input(v, &c))
		result = TLFS_INVALID_INPUT;
	if (result == TLFS_SUCCESS)
		result = carry_out(v, &c);
	if (result == TLFS_INVALID_PORT && v->hyperv.synic) {
		cb_synic_ask_user(v, word, &c);
		return 0;
	}
	v->page->hypercall.result = result == TLFS_INVALID_PORT ? TLFS_INVALID_INPUT : result;
	return 1;
}

/* ---- life ---- */

void cb_hyperv_init(struct cb_vm *vm)
{
	mutex_init(&vm->hyperv.lock);
	xa_init_flags(&vm->hyperv.signals, XA_FLAGS_ACCOUNT);
}

void cb_hyperv_exit(struct cb_vm *vm)
{
	cb_synic_vm_exit(vm);
}
