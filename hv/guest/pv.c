/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Paravirtual services as Linux's Documentation/virt/kvm/x86 describes them (msr.rst, cpuid.rst,
 * hypercalls.rst).
 */
#include "hv/guest/pv.h"
#include "hv/cpu/time.h"
#include "hv/cpu/tsc.h"
#include "hv/emul/insn.h"
#include "hv/guest/apic_ids.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/kick.h"
#include "hv/guest/lapic_ipi.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"

#define MSR_ENABLED    BIT(0)
#define STEAL_RESERVED GENMASK(5, 1)
#define STEAL_WORTH_NS 10000 /* not written for less */

#define FEATURE_CLOCKSOURCE  BIT(0)
#define FEATURE_NOP_IO_DELAY BIT(1) /* not for dom0, whose 8259 and RTC are real */
#define FEATURE_CLOCKSOURCE2 BIT(3)
#define FEATURE_ASYNC_PF     BIT(4) /* the module's, as is ASYNC_PF_INT */
#define FEATURE_STEAL_TIME   BIT(5)
#define FEATURE_PV_EOI	     BIT(6)
#define FEATURE_PV_UNHALT    BIT(7)
#define FEATURE_PV_SEND_IPI  BIT(11)
/* there is no polling in the hypervisor that it would have to switch off */
#define FEATURE_POLL_CONTROL BIT(12)
#define FEATURE_SCHED_YIELD  BIT(13)
#define FEATURE_ASYNC_PF_INT BIT(14)
#define FEATURE_EXT_DEST_ID  BIT(15) /* of messages: 15 bits */
#define FEATURE_CLOCK_STABLE BIT(24)

#define HC_VAPIC_POLL_IRQ 1
#define HC_KICK_CPU	  5
#define HC_SEND_IPI	  10
#define HC_SCHED_YIELD	  11
#define MAX_APIC_ID	  0xffff /* bound for guests' arithmetic */

struct pv_clock { /* struct pvclock_vcpu_time_info */
	u32 version, pad0;
	u64 tsc_timestamp, system_time;
	u32 tsc_to_system_mul;
	s8 tsc_shift;
	u8 flags, pad[2];
};
_Static_assert(sizeof(struct pv_clock) == 32, "as the guest has it");
#define CLOCK_TSC_STABLE    BIT(0)
#define CLOCK_GUEST_STOPPED BIT(1) /* the guest's to take away */

struct pv_wall_clock { /* struct pvclock_wall_clock */
	u32 version, sec, nsec;
};

struct pv_steal { /* struct kvm_steal_time, what is used of it */
	u64 steal;
	u32 version, flags;
	u8 preempted;
};
_Static_assert(offsetof(struct pv_steal, preempted) == 16, "as the guest has it");

bool pv_dom0_wide_ids;

u32 pv_features(bool to_dom0)
{
	u32 f = FEATURE_CLOCKSOURCE | FEATURE_CLOCKSOURCE2 | FEATURE_STEAL_TIME |
		FEATURE_POLL_CONTROL | FEATURE_PV_EOI | FEATURE_PV_UNHALT | FEATURE_PV_SEND_IPI |
		FEATURE_SCHED_YIELD;

	if (tsc_stable)
		f |= FEATURE_CLOCK_STABLE;
	if (!to_dom0)
		f |= FEATURE_NOP_IO_DELAY | FEATURE_ASYNC_PF | FEATURE_ASYNC_PF_INT;
	else if (pv_dom0_wide_ids)
		f |= FEATURE_EXT_DEST_ID;
	return f;
}

void pv_end_wide_ids(struct vcpu *v)
{
	for (u32 i = 0; i < v->cpuid_count; i++)
		if (v->cpuid[i].function == CPUID_KVM_FEATURES)
			v->cpuid[i].eax &= ~FEATURE_EXT_DEST_ID;
}

/* Is the guest shown one of these, wherever Hyper-V's leaves have let KVM's be? */
static bool shows_feature(const struct vcpu *v, u32 feature)
{
	for (u32 base = 0x40000000; base <= 0x40000100; base += 0x100) {
		const struct corbel_cpuid *c = cpuid_leaf(v, base);

		if (!c || c->ebx != CPUID_KVM)
			continue;
		c = cpuid_leaf(v, base + 1);
		return c && c->eax & feature;
	}
	return false;
}

/* May the guest use one of these? Whatever it is shown, unless its VMM is strict about that. */
static bool allows_feature(const struct vcpu *v, u32 feature)
{
	return likely(!(v->services & CORBEL_KVM_BY_CPUID)) || shows_feature(v, feature);
}

/* ---- guest memory ---- */

static bool write_guest(struct vcpu *v, u64 at, const void *from, size_t len)
{
	return !(at >> 52) && !p2m_write(&v->vm->p2m, gpa(at), from, len);
}

static bool read_guest(struct vcpu *v, u64 at, void *to, size_t len)
{
	return !(at >> 52) && !p2m_read(&v->vm->p2m, gpa(at), to, len);
}

/* Write a structure in which version lies: that is odd while the rest changes. */
static bool write_versioned(struct vcpu *v, u64 at, const void *from, size_t len, u32 *version)
{
	u64 version_at = at + ((const u8 *)version - (const u8 *)from);

	if (!read_guest(v, version_at, version, 4))
		return false;
	*version = (*version + 1) | 1;
	if (!write_guest(v, version_at, version, 4) || !write_guest(v, at, from, len))
		return false;
	++*version;
	return write_guest(v, version_at, version, 4);
}

/* ---- clocks ---- */

/* The clocks of two CPUs may be a little apart: never less than 0. */
static u64 ticks_since(u64 start, u64 tsc)
{
	s64 ticks = tsc - start;

	return MAX(ticks, 0);
}

static u64 host_ns(u64 tsc)
{
	return tsc_to_ns(ticks_since(boot_tsc, tsc));
}

/*
 * All vCPUs count from one point, so that the same TSC value gives the same time on each of them,
 * and the hypervisor computes as they do.
 */
static u64 anchor_tsc(struct vm *vm)
{
	u64 old = 0;

	if (unlikely(!READ_ONCE(vm->clock_anchor_tsc)))
		__atomic_compare_exchange_n(&vm->clock_anchor_tsc, &old, rdtsc(), false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return READ_ONCE(vm->clock_anchor_tsc);
}

u64 pv_clock_at(struct vm *vm, u64 tsc)
{
	u64 anchor = anchor_tsc(vm), ticks = ticks_since(anchor, tsc);
	s8 shift;
	u32 mul;

	tsc_pvclock_scale(tsc_khz, &mul, &shift);
	ticks = shift < 0 ? ticks >> -shift : ticks << shift;
	return host_ns(anchor) + READ_ONCE(vm->clock_offset_ns) +
	       (u64)((unsigned __int128)ticks * mul >> 32);
}

u64 pv_clock_get(struct vm *vm)
{
	return pv_clock_at(vm, rdtsc());
}

void pv_clock_set(struct vm *vm, u64 ns)
{
	u64 now = rdtsc();

	WRITE_ONCE(vm->clock_anchor_tsc, now);
	WRITE_ONCE(vm->clock_offset_ns, ns - host_ns(now));
	pv_clock_renew(vm);
}

void pv_clock_renew(struct vm *vm)
{
	for (u32 i = 0; i < READ_ONCE(vm->vcpu_end); i++) {
		struct vcpu *v = READ_ONCE(vm->vcpu[i]);

		if (v)
			vcpu_request(v, DUE_CLOCK);
	}
}

/*
 * A guest that takes its clock for stable reads it by one vCPU's structure and another's TSC, as
 * Linux' programs do. Of a vCPU whose TSC has been set apart that is another time.
 */
static bool tscs_agree(const struct vcpu *v)
{
	for (u32 i = 0; i < READ_ONCE(v->vm->vcpu_end); i++) {
		const struct vcpu *other = READ_ONCE(v->vm->vcpu[i]);

		if (other && (READ_ONCE(other->tsc_offset) != v->tsc_offset ||
			      READ_ONCE(other->tsc_mul) != v->tsc_mul))
			return false;
	}
	return true;
}

static bool write_clock(struct vcpu *v)
{
	u64 anchor = anchor_tsc(v->vm), at = v->pv.system_time & ~MSR_ENABLED;
	struct pv_clock c = {
	    .tsc_timestamp = vcpu_tsc(v, anchor),
	    .system_time = pv_clock_at(v->vm, anchor),
	};

	if (!read_guest(v, at + offsetof(struct pv_clock, flags), &c.flags, 1))
		return false;
	c.flags &= CLOCK_GUEST_STOPPED;
	if (v->pv.clock_stopped)
		c.flags |= CLOCK_GUEST_STOPPED;
	if (tsc_stable && tscs_agree(v))
		c.flags |= CLOCK_TSC_STABLE;
	tsc_pvclock_scale(v->tsc_khz, &c.tsc_to_system_mul, &c.tsc_shift);
	if (!write_versioned(v, at, &c, sizeof(c), &c.version))
		return false;
	v->pv.clock_stopped = false;
	return true;
}

int pv_clock_stopped(struct vcpu *v)
{
	if (!(v->pv.system_time & MSR_ENABLED))
		return -EINVAL;
	v->pv.clock_stopped = true;
	v->pv.clock_dirty = !write_clock(v) || v->pv.wall_dirty;
	return 0;
}

/* The wall clock when kvmclock was 0. */
static bool write_wall_clock(struct vcpu *v)
{
	u64 now = rdtsc(), ns = wallclock_boot_ns + host_ns(now) - pv_clock_at(v->vm, now);
	struct pv_wall_clock w = {.sec = ns / 1000000000, .nsec = ns % 1000000000};

	return write_versioned(v, v->pv.wall_clock, &w, sizeof(w), &w.version);
}

static u64 steal_address(const struct vcpu *v)
{
	return v->pv.steal & ~(STEAL_RESERVED | MSR_ENABLED);
}

/* False: it is still to be written. */
static bool write_steal(struct vcpu *v)
{
	u64 ticks = sched_steal(&v->sched, rdtsc());
	u64 ns = tsc_to_ns(ticks - v->pv.steal_last) + v->pv.waited_ns - v->pv.waited_last;
	struct pv_steal s;

	if (!read_guest(v, steal_address(v), &s, sizeof(s)) || (!ns && !s.preempted))
		return true;
	s.steal += ns;
	s.flags = 0;
	s.preempted = 0;
	if (!write_versioned(v, steal_address(v), &s, offsetof(struct pv_steal, preempted) + 1,
			     &s.version))
		return false;
	v->pv.steal_last = ticks;
	v->pv.waited_last = v->pv.waited_ns;
	return true;
}

void pv_waited(struct vcpu *v, u64 ns)
{
	v->pv.waited_ns = ns;
	if (v->pv.steal && ns - v->pv.waited_last >= STEAL_WORTH_NS)
		v->pv.steal_dirty = true;
}

/*
 * The guest can read it, or need not, and it cannot be written: dom0 is asked once between two
 * entries.
 */
static bool ask_to_write(struct vcpu *v, u64 at, u64 *page)
{
	enum pt_kind asked = v->pv.vapic_lost ? PT_NONE : PT_LEAF;
	struct pt_leaf leaf;

	p2m_lookup(&v->vm->p2m, at >> PAGE_SHIFT, &leaf);
	if ((leaf.kind != PT_LEAF && leaf.kind != asked) || leaf.attr & (PT_W | PT_ROM) ||
	    !v->page || v->in_smm || v->stop_reason || v->pv.asked_at == v->exits_total)
		return false;
	v->pv.asked_at = v->exits_total;
	*page = at;
	return true;
}

void pv_vapic(struct vcpu *v)
{
	struct lapic *l = &v->lapic;
	u32 word;
	bool done = read_guest(v, l->vapic, &word, sizeof(word));

	if (done && l->vapic_tpr != VAPIC_NEW && l->vapic_tpr != (u8)word)
		l->tpr = (u8)word;
	word = l->tpr | (l->isr_top & 0xf0) << 8 | (u32)lapic_highest(l->irr) << 24;
	if (done && write_guest(v, l->vapic, &word, sizeof(word))) {
		l->vapic_tpr = l->tpr;
		v->pv.vapic_lost = false;
		return;
	}
	v->pv.vapic_lost = v->pv.clock_dirty = true;
	vcpu_note(v, DUE_LOOK); /* pv_update() */
}

bool pv_update(struct vcpu *v, u64 *page)
{
	struct pv_state *p = &v->pv;
	bool asks = false;

	if (unlikely(p->vapic_lost)) {
		pv_vapic(v);
		asks = p->vapic_lost && ask_to_write(v, v->lapic.vapic, page);
	}
	if (p->steal_dirty) /* each time it gets a CPU: no need to try again for it */
		asks |= p->steal_dirty = p->steal & MSR_ENABLED && !write_steal(v) &&
					 ask_to_write(v, steal_address(v), page);
	if (!p->clock_dirty)
		return asks;
	if (p->wall_dirty)
		p->wall_dirty = !write_wall_clock(v);
	p->clock_dirty = p->system_time & MSR_ENABLED && !write_clock(v);
	if (p->clock_dirty)
		asks |= ask_to_write(v, p->system_time & ~MSR_ENABLED, page);
	else if (p->wall_dirty)
		asks |= ask_to_write(v, p->wall_clock, page);
	p->clock_dirty |= p->wall_dirty || p->vapic_lost;
	return asks;
}

void pv_preempted(struct vcpu *v)
{
	const u8 preempted = 1;

	if (!(v->pv.steal & MSR_ENABLED))
		return;
	write_guest(v, steal_address(v) + offsetof(struct pv_steal, preempted), &preempted, 1);
	v->pv.steal_dirty = true;
}

void pv_reset(struct vcpu *v)
{
	v->pv = (struct pv_state){.poll_control = 1, .waited_ns = v->pv.waited_ns};
}

/* ---- MSRs ---- */

static const struct {
	u32 msr, feature;
} msr_features[] = {
    {MSR_KVM_WALL_CLOCK_OLD, FEATURE_CLOCKSOURCE}, {MSR_KVM_SYSTEM_TIME_OLD, FEATURE_CLOCKSOURCE},
    {MSR_KVM_WALL_CLOCK, FEATURE_CLOCKSOURCE2},	   {MSR_KVM_SYSTEM_TIME, FEATURE_CLOCKSOURCE2},
    {MSR_KVM_STEAL_TIME, FEATURE_STEAL_TIME},	   {MSR_KVM_PV_EOI, FEATURE_PV_EOI},
    {MSR_KVM_POLL_CONTROL, FEATURE_POLL_CONTROL},
};

bool pv_allows_msr(const struct vcpu *v, u32 msr)
{
	for (u32 i = 0; i < ARRAY_SIZE(msr_features); i++)
		if (msr_features[i].msr == msr)
			return allows_feature(v, msr_features[i].feature);
	return true;
}

int pv_msr_read(struct vcpu *v, u32 msr, u64 *val)
{
	switch (msr) {
	case MSR_KVM_WALL_CLOCK_OLD:
	case MSR_KVM_WALL_CLOCK:
		*val = v->pv.wall_clock;
		return 0;
	case MSR_KVM_SYSTEM_TIME_OLD:
	case MSR_KVM_SYSTEM_TIME:
		*val = v->pv.system_time;
		return 0;
	case MSR_KVM_STEAL_TIME:
		*val = v->pv.steal;
		return 0;
	case MSR_KVM_PV_EOI:
		*val = v->lapic.pv_eoi;
		return 0;
	case MSR_KVM_POLL_CONTROL:
		*val = v->pv.poll_control;
		return 0;
	}
	return -ENOENT;
}

int pv_msr_write(struct vcpu *v, u32 msr, u64 val)
{
	struct pv_state *p = &v->pv;

	switch (msr) {
	case MSR_KVM_WALL_CLOCK_OLD:
	case MSR_KVM_WALL_CLOCK:
		p->wall_clock = val;
		p->wall_dirty = val != 0;
		p->clock_dirty |= p->wall_dirty;
		break;
	case MSR_KVM_SYSTEM_TIME_OLD:
	case MSR_KVM_SYSTEM_TIME:
		p->system_time = val;
		p->clock_dirty = true;
		/* So Linux ends, by kexec or a crash. */
		if (!(val & MSR_ENABLED) && (v->event_vector || v->vm->is_dom0))
			v->vm->ops->cpu_ends(v);
		break;
	case MSR_KVM_STEAL_TIME:
		if (val & STEAL_RESERVED)
			return -EINVAL;
		if (!(p->steal & MSR_ENABLED)) {
			p->steal_last = sched_steal(&v->sched, rdtsc());
			p->waited_last = p->waited_ns;
		}
		p->steal = val;
		p->steal_dirty = true;
		break;
	case MSR_KVM_PV_EOI:
		return lapic_set_pv_eoi(v, val);
	case MSR_KVM_POLL_CONTROL:
		if (val & ~1ull)
			return -EINVAL;
		p->poll_control = val;
		return 0;
	default:
		return -ENOENT;
	}
	vcpu_note(v, DUE_LOOK); /* pv_update() */
	return 0;
}

/* ---- hypercalls ---- */

/* To the vCPUs whose APIC ids are first + the set bits of a word. Returns their number. */
static u32 send_to_word(struct vcpu *v, struct apic_msg *m, u64 word, u32 first)
{
	u32 n = 0;

	for (; word; word &= word - 1) {
		m->dest = first + __builtin_ctzll(word);
		n += lapic_send(v->vm, m, v);
	}
	return n;
}

/* To two words of 64 (in other modes 32) bits of APIC ids. */
static __noinline s64 send_ipi(struct vcpu *v, u64 low, u64 high, u64 first, u64 icr, u32 bits)
{
	struct apic_msg m = {.dest = first,
			     .vector = icr,
			     .mode = FIELD_GET(ICR_MODE, icr),
			     .assert = true,
			     .x2apic_dest = true};

	if (icr & (ICR_LOGICAL | ICR_SHORTHAND) || !v->lapic.present)
		return -EINVAL;
	if (first > MAX_APIC_ID)
		return 0;
	if (unlikely(READ_ONCE(v->vm->apic_ids_moved)))
		return lapic_send_words(v, &m, low, high, bits);
	return send_to_word(v, &m, low, first) + send_to_word(v, &m, high, first + bits);
}

static struct vcpu *find_sibling(const struct vcpu *v, u64 apic_id)
{
	if (apic_id > MAX_APIC_ID)
		return NULL;
	return vm_vcpu_by_apic(v->vm, apic_id);
}

static void kick_cpu(struct vcpu *to)
{
	if (!to)
		return;
	__atomic_store_n(&to->pv.unhalted, true, __ATOMIC_SEQ_CST);
	vcpu_notify(to, true);
}

/* The caller waits for a vCPU, which may wait for a CPU. */
static void yield_to(struct vcpu *v, struct vcpu *to)
{
	if (to && to != v)
		sched_give_way(&v->sched, &to->sched);
}

static const u32 call_features[] = {[HC_KICK_CPU] = FEATURE_PV_UNHALT,
				    [HC_SEND_IPI] = FEATURE_PV_SEND_IPI,
				    [HC_SCHED_YIELD] = FEATURE_SCHED_YIELD};

/* Those that do something */
static __noinline u64 call_service(struct vcpu *v)
{
	u64 mask = ~0ull, nr = v->gpr[RAX];
	u32 bits = 64;
	s64 ret = 0;

	/* other modes have no such addresses */
	if (!(v->rip >> 32) && hvm->get(v, HVM_MODE) != EMUL_64) {
		bits = 32;
		mask = GENMASK(31, 0);
	}
	nr &= mask;
	if (nr < ARRAY_SIZE(call_features) && call_features[nr] &&
	    !allows_feature(v, call_features[nr]))
		nr = 0; /* there is none */
	switch (nr) {
	case HC_VAPIC_POLL_IRQ:
		break;
	case HC_KICK_CPU:
		kick_cpu(find_sibling(v, v->gpr[RCX] & mask));
		break;
	case HC_SEND_IPI:
		ret = send_ipi(v, v->gpr[RBX] & mask, v->gpr[RCX] & mask, v->gpr[RDX] & mask,
			       v->gpr[RSI] & mask, bits);
		break;
	case HC_SCHED_YIELD:
		yield_to(v, find_sibling(v, v->gpr[RBX] & mask));
		break;
	default:
		ret = -KVM_ENOSYS;
	}
	return ret & mask;
}

u64 pv_hypercall(struct vcpu *v)
{
	return v->gpr[RAX] == HC_VAPIC_POLL_IRQ ? 0 : call_service(v);
}
