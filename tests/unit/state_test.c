/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State of a vCPU as dom0 may set it: what no CPU can enter a guest with, or would fault on, is
 * refused, and then nothing has changed.
 * links: tests/unit/rest.c hv/dom0/state.c
 */
#include <string.h>

#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/dom0/state.h"
#include "hv/guest/cpuid.h"
#include "hv/guest/debug.h"
#include "hv/guest/lapic.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/linear.h"
#include "hv/guest/msr.h"
#include "hv/guest/pv.h"
#include "hv/guest/vm.h"
#include "stand_in.h"
#include "test.h"

#define MSR_THERE     0x10
#define BAD_APIC_BASE 0x123

/* ---- what is changed ---- */

static u32 changes; /* registers that the back end got, and other parts */
static u64 registers[64];

static u64 fake_get(struct vcpu *v, enum hvm_reg r)
{
	return registers[r];
}

static void fake_set(struct vcpu *v, enum hvm_reg r, u64 val)
{
	registers[r] = val;
	changes++;
}

static void fake_set_seg(struct vcpu *v, enum hvm_seg s, const struct corbel_segment *in)
{
	changes++;
}

static void fake_get_seg(struct vcpu *v, enum hvm_seg s, struct corbel_segment *out)
{
	*out = (struct corbel_segment){0};
}

static int no_nested_state(struct vcpu *v, struct corbel_nested *out)
{
	return -EINVAL;
}

static int set_nested_state(struct vcpu *v, const struct corbel_nested *in)
{
	changes += in->flags;
	return in->flags ? 0 : -EINVAL;
}

static const struct nested_ops nested = {.get_state = no_nested_state,
					 .set_state = set_nested_state};
static const struct hvm_ops fake_ops = {.nested = &nested,
					.get = fake_get,
					.set = fake_set,
					.get_seg = fake_get_seg,
					.set_seg = fake_set_seg};
const struct hvm_ops *hvm = &fake_ops;
u64 xcr0_host = 7;
u32 mxcsr_mask = 0xffff;

int lapic_set_base(struct vcpu *v, u64 val, bool host)
{
	if (val == BAD_APIC_BASE)
		return -EINVAL;
	v->lapic.base = val;
	changes++;
	return 0;
}

int msr_read(struct vcpu *v, u32 msr, u64 *val, bool host)
{
	*val = 0x1234;
	return msr == MSR_THERE ? 0 : -ENOENT;
}

int msr_write(struct vcpu *v, u32 msr, u64 val, bool host)
{
	changes += msr == MSR_THERE;
	return msr == MSR_THERE ? 0 : -ENOENT;
}

bool policy_xcr0_valid(const struct vcpu *v, u64 xcr0)
{
	return xcr0 == 7;
}

void vcpu_set_smm(struct vcpu *v, bool on)
{
	v->in_smm = on;
	changes++;
}

int cpuid_set(struct vcpu *v, const struct corbel_cpuid *e, u32 n)
{
	changes++;
	return 0;
}

int p2m_copy(struct p2m *p, gpa_t gpa, void *buf, size_t len, bool write)
{
	changes += write;
	return 0;
}

/* clang-format off */
ZERO(u32, cpuid_get, struct vcpu *v, struct corbel_cpuid *out)
ZERO(s64, debug_set, struct vcpu *v, const struct corbel_guest_debug *d)
NOTHING(hvm_get_dt, struct vcpu *v, enum hvm_seg s, struct corbel_dtable *out)
NOTHING(hvm_set_dt, struct vcpu *v, enum hvm_seg s, const struct corbel_dtable *in)
ZERO(u64, lapic_get_cr8, const struct vcpu *v)
NOTHING(lapic_get_state, struct vcpu *v, void *state)
ZERO(int, lapic_set_auto_eoi, struct vcpu *v, const u64 vectors[4])
NOTHING(lapic_set_cr8, struct vcpu *v, u64 cr8)
ZERO(int, lapic_set_state, struct vcpu *v, const void *state)
ZERO(int, mce_set, struct vcpu *v, const struct corbel_mce *e)
ZERO(int, mce_setup, struct vcpu *v, u64 cap)
ZERO(int, msr_set_tsc_khz, struct vcpu *v, u64 khz)
NOTHING(msr_set_tsc_offset, struct vcpu *v, u64 offset)
ZERO(u64, pv_clock_at, struct vm *vm, u64 tsc)
ZERO(int, pv_clock_stopped, struct vcpu *v)
ZERO(u64, sched_runtime, const struct sched_unit *u, u64 now)
NOTHING(tsc_pvclock_scale, u64 khz, u32 *mul, s8 *shift)
ZERO(u64, tsc_to_ns, u64 ticks)
ZERO(int, vcpu_translate, struct vcpu *v, u64 linear, u64 access, u64 *gpa, struct guest_fault *f)
/* clang-format on */

/* ---- the vCPU ---- */

static struct vm vm = {.id = 3};
static u8 data[PAGE_SIZE], xsave[PAGE_SIZE];
static struct vcpu v;

static void reset(void)
{
	v = (struct vcpu){.vm = &vm, .user_irq = -1, .data = (void __shared *)data, .xsave = xsave};
	v.lapic.present = true;
	v.rights.cr4 = CR4_PAE | CR4_MCE;
	v.rights.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	memset(registers, 0, sizeof(registers));
	memset(data, 0, sizeof(data));
	changes = 0;
	vm.smm.vm = NULL;
}

static s64 set(u32 what, const void *from, u32 n)
{
	memcpy(data, from, n);
	changes = 0;
	return state_set(&v, what, n);
}

static bool refused(s64 r)
{
	return r == -EINVAL && !changes;
}

/* ---- control registers ---- */

static const struct corbel_sregs plain = {.cr0 = CR0_ET},
				 long_mode = {.cr0 = CR0_PE | CR0_ET | CR0_PG,
					      .cr4 = CR4_PAE,
					      .efer = EFER_LME | EFER_LMA};

static void test_sregs(void)
{
	static const struct {
		const char *name;
		u64 cr0, cr4, efer, apic_base; /* changed bits */
		bool is_long;
	} wrong[] = {
	    {"paging without protection", CR0_PG, 0, 0, 0, false},
	    {"not write-through with the cache on", CR0_NW, 0, 0, 0, false},
	    {"CR0 beyond 32 bits", BIT(32), 0, 0, 0, false},
	    {"a bit of CR4 that its CPUID does not have", 0, CR4_SMEP, 0, 0, false},
	    {"CR4.VMXE", 0, CR4_VMXE, 0, 0, false},
	    {"a reserved bit of EFER", 0, 0, BIT(1), 0, false},
	    {"EFER beyond 32 bits", 0, 0, BIT(40), 0, false},
	    {"long mode that is active without paging", 0, 0, EFER_LMA | EFER_LME, 0, false},
	    {"long mode without PAE", 0, CR4_PAE, 0, 0, true},
	    {"long mode enabled, paging, and not active", 0, 0, EFER_LMA, 0, true},
	    {"long mode active, and not enabled", 0, 0, EFER_LME, 0, true},
	    {"an address of the LAPIC that cannot be", 0, 0, 0, BAD_APIC_BASE, false},
	};

	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct corbel_sregs s = wrong[i].is_long ? long_mode : plain;

		reset();
		s.cr0 ^= wrong[i].cr0;
		s.cr4 ^= wrong[i].cr4;
		s.efer ^= wrong[i].efer;
		s.apic_base = wrong[i].apic_base;
		CHECK(refused(set(CORBEL_STATE_SREGS, &s, sizeof(s))),
		      "SREGS: %s: refused, and nothing has changed", wrong[i].name);
	}
	reset();
	CHECK(!set(CORBEL_STATE_SREGS, &plain, sizeof(plain)) && registers[HVM_CR0] == CR0_ET &&
		  !set(CORBEL_STATE_SREGS, &long_mode, sizeof(long_mode)) &&
		  registers[HVM_EFER] == (EFER_LME | EFER_LMA) &&
		  registers[HVM_CR0] == long_mode.cr0,
	      "SREGS: real mode and long mode can be set");
	CHECK(state_get(&v, CORBEL_STATE_SREGS, 0) == sizeof(plain) &&
		  ((struct corbel_sregs *)data)->cr0 == long_mode.cr0 &&
		  ((struct corbel_sregs *)data)->efer == long_mode.efer,
	      "SREGS: and read again");
}

/* EFER.SVME is kept only where the guest may have guests; other bits after RSM as by its CPUID. */
static void test_efer(void)
{
	struct corbel_sregs s = plain;

	reset();
	s.efer = EFER_SVME;
	CHECK(!set(CORBEL_STATE_SREGS, &s, sizeof(s)) && !registers[HVM_EFER],
	      "EFER.SVME does not reach the CPU where its CPUID has no SVM");
	v.rights.efer |= EFER_SVME;
	CHECK(!set(CORBEL_STATE_SREGS, &s, sizeof(s)) && registers[HVM_EFER] == EFER_SVME,
	      "where it has it does");
	s.efer = EFER_FFXSR;
	v.in_smm = true;
	v.cpuid_count = 1;
	CHECK(refused(set(CORBEL_STATE_SREGS, &s, sizeof(s))),
	      "in SMM what the guest may not set is refused, as it may have chosen it");
}

/* ---- what XRSTOR and XSETBV would fault on ---- */

static u64 *xstate(u32 word)
{
	return (u64 *)(xsave + 512) + word;
}

static void test_xsave(void)
{
	static u8 area[PAGE_SIZE];
	u64 *header = (u64 *)(area + 512);
	u32 *mxcsr = (u32 *)(area + 24);
	u64 number;

	reset();
	header[0] = 3;
	header[2] = ~0ull;
	*mxcsr = 0x1f80;
	CHECK(!set(CORBEL_STATE_XSAVE, area, sizeof(area)) && *xstate(0) == 3 && !*xstate(2),
	      "XSAVE: components that are there; what is reserved is cleared");
	header[0] = BIT(9);
	CHECK(set(CORBEL_STATE_XSAVE, area, sizeof(area)) == -EINVAL && !*xstate(0),
	      "XSAVE: a component that is not switched is refused, XRSTOR does not see it");
	header[0] = 3;
	header[1] = BIT(63);
	CHECK(set(CORBEL_STATE_XSAVE, area, sizeof(area)) == -EINVAL && !*xstate(0) && !*xstate(1),
	      "XSAVE: so is the compacted format");
	header[1] = 0;
	*mxcsr = BIT(16);
	CHECK(set(CORBEL_STATE_XSAVE, area, sizeof(area)) == -EINVAL &&
		  *(u32 *)(xsave + 24) == 0x1f80,
	      "XSAVE: and a reserved bit of MXCSR");
	number = 5;
	CHECK(refused(set(CORBEL_STATE_XCR0, &number, 8)) && !v.xcr0, "XCR0: reserved: refused");
	number = 7;
	CHECK(!set(CORBEL_STATE_XCR0, &number, 8) && v.xcr0 == 7, "XCR0: what may be");
	xcr0_host = 0;
	CHECK(set(CORBEL_STATE_XCR0, &number, 8) == -EINVAL, "XCR0: nothing where there is none");
	xcr0_host = 7;
}

/* ---- events ---- */

static void test_events(void)
{
	struct corbel_vcpu_events e = {.exception = {.injected = 1, .nr = 32}};

	reset();
	CHECK(refused(set(CORBEL_STATE_EVENTS, &e, sizeof(e))) && !v.exception.pending,
	      "EVENTS: there is no exception 32");
	e.exception.nr = VEC_NMI;
	CHECK(refused(set(CORBEL_STATE_EVENTS, &e, sizeof(e))), "EVENTS: an NMI is none");
	e.exception.nr = VEC_GP;
	e.smi.smm = 1;
	CHECK(refused(set(CORBEL_STATE_EVENTS, &e, sizeof(e))) && !v.exception.pending,
	      "EVENTS: no SMM without memory for it");
	vm.smm.vm = &vm;
	v.guest_mode = true;
	CHECK(refused(set(CORBEL_STATE_EVENTS, &e, sizeof(e))), "EVENTS: none for a guest's guest");
	v.guest_mode = false;
	e.smi.smm = 2;
	CHECK(refused(set(CORBEL_STATE_EVENTS, &e, sizeof(e))), "EVENTS: and none of two");
	e.smi.smm = 1;
	CHECK(!set(CORBEL_STATE_EVENTS, &e, sizeof(e)) && v.in_smm && v.exception.pending &&
		  v.exception.vector == VEC_GP,
	      "EVENTS: what can be is taken");
	v.due |= DUE_SMI;
	e.triple_fault = 1;
	CHECK(!set(CORBEL_STATE_EVENTS, &e, sizeof(e)) && v.due & DUE_SMI && v.due & DUE_TRIPLE,
	      "EVENTS: an SMI that comes meanwhile is not lost");
	e.flags = CORBEL_EVENTS_SMI;
	e.triple_fault = 0;
	CHECK(!set(CORBEL_STATE_EVENTS, &e, sizeof(e)) && !(v.due & (DUE_SMI | DUE_TRIPLE)),
	      "EVENTS: unless the VMM says that there is none");
}

static u32 settled;

void pmu_settle(struct vcpu *v)
{
	settled++;
}

/* What has come since the vCPU has stopped is in its state. */
static void test_meanwhile(void)
{
	struct corbel_vcpu_events e;
	u32 word;

	reset();
	v.due = DUE_NMI | DUE_INIT | DUE_SIPI;
	v.mp_state = MP_INIT_RECEIVED;
	settled = 0;
	CHECK(state_get(&v, CORBEL_STATE_EVENTS, 0) > 0, "EVENTS: are read");
	memcpy(&e, data, sizeof(e));
	CHECK(e.nmi.pending && e.smi.latched_init && v.due & DUE_LOOK && settled == 1,
	      "EVENTS: an NMI, INIT, a counter's overflow");
	e.flags = CORBEL_EVENTS_SMI;
	e.smi.latched_init = e.nmi.pending = 0;
	CHECK(!set(CORBEL_STATE_EVENTS, &e, sizeof(e)) && settled == 2 && !v.nmi_pending &&
		  !(v.due & (DUE_NMI | DUE_INIT)),
	      "EVENTS: and a VMM can say that there is none");
	v.due |= DUE_NMI;
	CHECK(!set(CORBEL_STATE_EVENTS, &e, sizeof(e)) && v.due & DUE_NMI,
	      "EVENTS: but of one that it has not been told of");
	CHECK(state_get(&v, CORBEL_STATE_MP, 0) > 0, "MP: is read");
	memcpy(&word, data, sizeof(word));
	CHECK(word == MP_SIPI_RECEIVED, "MP: SIPI");
	v.due = 0;
	CHECK(!set(CORBEL_STATE_MP, &word, sizeof(word)) && v.mp_state == MP_INIT_RECEIVED &&
		  v.due & DUE_SIPI,
	      "MP: which starts it, set again");
}

/* An interrupt that has been taken from PIC or VMM, and waits for its place, is one to a VMM. */
static void test_taken_irq(void)
{
	struct corbel_sregs s = plain;
	struct corbel_vcpu_events e;

	reset();
	v.user_irq = 0x24;
	CHECK(state_get(&v, CORBEL_STATE_SREGS, 0) > 0, "SREGS: are read");
	memcpy(&s, data, sizeof(s));
	CHECK(s.interrupt_bitmap[0] == BIT(0x24), "SREGS: an interrupt that waits is there");
	CHECK(state_get(&v, CORBEL_STATE_EVENTS, 0) > 0, "EVENTS: are read");
	memcpy(&e, data, sizeof(e));
	CHECK(e.interrupt.injected && e.interrupt.nr == 0x24, "EVENTS: and there");
	CHECK(!set(CORBEL_STATE_SREGS, &s, sizeof(s)) && !set(CORBEL_STATE_EVENTS, &e, sizeof(e)) &&
		  v.user_irq == 0x24 && !v.irq_injected,
	      "EVENTS: set as it was read, it waits on");
	e.interrupt.nr = 0x25;
	CHECK(!set(CORBEL_STATE_EVENTS, &e, sizeof(e)) && v.user_irq < 0 && v.irq_injected,
	      "EVENTS: another takes its place");
	CHECK(state_get(&v, CORBEL_STATE_SREGS, 0) > 0, "SREGS: are read");
	memcpy(&s, data, sizeof(s));
	CHECK(s.interrupt_bitmap[0] == BIT(0x25) && !set(CORBEL_STATE_SREGS, &s, sizeof(s)) &&
		  v.user_irq < 0 && v.irq_injected,
	      "SREGS: one whose delivery was broken off is there, and stays one when it is set");
	e.interrupt.injected = 0;
	v.user_irq = 0x26;
	CHECK(!set(CORBEL_STATE_EVENTS, &e, sizeof(e)) && v.user_irq < 0 && !v.irq_injected,
	      "EVENTS: a VMM that says there is none, as at a reset, gets none");
}

/* ---- the rest ---- */

static void test_rest(void)
{
	struct corbel_debugregs d = {.dr7 = BIT(32)};
	struct corbel_memory m = {.gpa = BIT(52)};
	u32 word = MP_SIPI_RECEIVED + 1, head = offsetof(struct corbel_memory, bytes);
	struct corbel_msr msrs[3] = {{.index = MSR_THERE}, {.index = 0x999}, {.index = MSR_THERE}};

	reset();
	CHECK(refused(set(CORBEL_STATE_DEBUGREGS, &d, sizeof(d))), "DEBUGREGS: DR7 has 32 bits");
	d = (struct corbel_debugregs){.flags = 1};
	CHECK(refused(set(CORBEL_STATE_DEBUGREGS, &d, sizeof(d))), "DEBUGREGS: there are no flags");
	CHECK(refused(set(CORBEL_STATE_MP, &word, 4)) && !v.due, "MP: no such state");
	word = 256;
	CHECK(refused(set(CORBEL_STATE_INTERRUPT, &word, 4)) && v.user_irq < 0,
	      "INTERRUPT: no such vector");
	word = 32;
	CHECK(refused(set(CORBEL_STATE_INTERRUPT, &word, 4)), "INTERRUPT: none beside a LAPIC");
	v.lapic.present = false;
	CHECK(!set(CORBEL_STATE_INTERRUPT, &word, 4) && v.user_irq == 32 &&
		  set(CORBEL_STATE_INTERRUPT, &word, 4) == -EEXIST,
	      "INTERRUPT: one at a time");
	CHECK(state_get(&v, CORBEL_STATE_LAPIC, 0) == -EINVAL &&
		  refused(set(CORBEL_STATE_LAPIC, data, 1024)),
	      "LAPIC: there is none");
	CHECK(refused(set(CORBEL_STATE_MEMORY, &m, head + 1)), "MEMORY: not beyond 52 bits");
	m.gpa = 0x1000;
	CHECK(refused(set(CORBEL_STATE_MEMORY, &m, head - 1)) &&
		  !set(CORBEL_STATE_MEMORY, &m, head + 1) && changes == 1,
	      "MEMORY: its address is whole");
	CHECK(set(CORBEL_STATE_MSRS, msrs, 0) == 0, "MSRS: none");
	memcpy(data, msrs, sizeof(msrs));
	changes = 0;
	CHECK(state_set(&v, CORBEL_STATE_MSRS, 3) == 1 && changes == 1,
	      "MSRS: up to the first that there is not");
	CHECK(state_get(&v, CORBEL_STATE_MSRS, 3) == 1 &&
		  ((struct corbel_msr *)data)->data == 0x1234,
	      "MSRS: likewise read");
	CHECK(state_get(&v, CORBEL_STATE_MSRS, 257) == -E2BIG &&
		  state_set(&v, CORBEL_STATE_MSRS, 257) == -E2BIG,
	      "MSRS: no more than a page has");
	CHECK(refused(set(CORBEL_STATE_CPUID, data, 41)) &&
		  !set(CORBEL_STATE_CPUID, data, 2 * sizeof(struct corbel_cpuid)) && changes == 1,
	      "CPUID: whole entries");
	memset(data, 0, sizeof(struct corbel_nested));
	CHECK(refused(set(CORBEL_STATE_NESTED, data, sizeof(struct corbel_nested))) &&
		  state_get(&v, CORBEL_STATE_NESTED, 0) == -EINVAL,
	      "NESTED: what the back end refuses is refused");
	((struct corbel_nested *)data)->flags = 1;
	changes = 0;
	CHECK(!set(CORBEL_STATE_NESTED, data, sizeof(struct corbel_nested)) && changes == 1,
	      "NESTED: else it is told");
}

/* What has one size has no other; what can only be set cannot be read, and the other way round. */
static void test_sizes(void)
{
	static const u32 sized[] = {CORBEL_STATE_SREGS,	     CORBEL_STATE_XSAVE,
				    CORBEL_STATE_XCR0,	     CORBEL_STATE_LAPIC,
				    CORBEL_STATE_EVENTS,     CORBEL_STATE_DEBUGREGS,
				    CORBEL_STATE_MP,	     CORBEL_STATE_TSC_KHZ,
				    CORBEL_STATE_INTERRUPT,  CORBEL_STATE_MCE_CAP,
				    CORBEL_STATE_MCE,	     CORBEL_STATE_GUEST_DEBUG,
				    CORBEL_STATE_TSC_OFFSET, CORBEL_STATE_AUTO_EOI,
				    CORBEL_STATE_VAPIC,	     CORBEL_STATE_NESTED},
			 only_set[] = {CORBEL_STATE_INTERRUPT, CORBEL_STATE_RESET,
				       CORBEL_STATE_MCE,       CORBEL_STATE_MCE_CAP,
				       CORBEL_STATE_MEMORY,    CORBEL_STATE_GUEST_DEBUG,
				       CORBEL_STATE_AUTO_EOI,  CORBEL_STATE_VAPIC};
	bool good = true;

	reset();
	for (u32 i = 0; i < ARRAY_SIZE(sized); i++) {
		good &= refused(set(sized[i], data, 0)) && refused(set(sized[i], data, 3)) &&
			refused(set(sized[i], data, PAGE_SIZE - 8));
	}
	CHECK(good, "a state of another size is refused");
	good = true;
	for (u32 i = 0; i < ARRAY_SIZE(only_set); i++)
		good &= state_get(&v, only_set[i], 0) == -EINVAL;
	CHECK(good, "what can only be set cannot be read");
	CHECK(refused(set(CORBEL_STATE_CLOCK, data, sizeof(struct corbel_clock))) &&
		  refused(set(CORBEL_STATE_TRANSLATE, data, sizeof(struct corbel_translation))),
	      "what can only be read cannot be set");
}

int main(void)
{
	test_sregs();
	test_efer();
	test_xsave();
	test_events();
	test_taken_irq();
	test_meanwhile();
	test_rest();
	test_sizes();
	return test_end();
}
