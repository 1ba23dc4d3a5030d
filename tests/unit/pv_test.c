/*
 * links: hv/guest/pv.c hv/guest/lapic.c hv/guest/lapic_regs.c hv/guest/lapic_ipi.c
 * hv/guest/lapic_timer.c hv/cpu/timer.c hv/cpu/tsc.c hv/lib/scale.c
 */
/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/emul/emul.h"
#include "hv/cpu/tsc.h"
#include "hv/emul/walk.h"
#include "fake_machine.h"

#define WALL	    0x4b564d00
#define SYSTEM_TIME 0x4b564d01
#define STEAL	    0x4b564d03
#define PV_EOI	    0x4b564d04
#define POLL	    0x4b564d05

static struct vcpu *const v0 = &fake_vcpu[0], *const v1 = &fake_vcpu[1];
static u64 mode = EMUL_64, steal_ticks;
static u32 ways;

static u64 fake_get(struct vcpu *v, enum hvm_reg r)
{
	return r == HVM_MODE ? mode : 0;
}

static const struct hvm_ops fake_hvm_ops = {.get = fake_get};
const struct hvm_ops *hvm = &fake_hvm_ops;

u64 sched_steal(const struct sched_unit *u, u64 now)
{
	return steal_ticks;
}

void sched_give_way(struct sched_unit *from, struct sched_unit *to)
{
	CHECK_QUIET(from == &v0->sched && to == &fake_vcpu[3].sched,
		    "the caller makes way for the other");
	ways++;
}

static u64 missing_at, rom;
static u32 missing;

/* As a vCPU does before it is entered. */
static void update(struct vcpu *v)
{
	if (!pv_update(v, &missing_at))
		return;
	CHECK_QUIET(v == v0, "dom0 is asked for one vCPU alone");
	missing++;
	v->stop_reason = CORBEL_EXIT_MEM_FAULT;
}

void p2m_lookup(struct p2m *p, u64 gfn, struct pt_leaf *out)
{
	*out = (struct pt_leaf){0};
	if (!fake_unmapped)
		*out =
		    (struct pt_leaf){.kind = PT_LEAF, .attr = PT_R | (fake_read_only ? rom : PT_W)};
}

/* The guest's arithmetic below and the hypervisor's must agree for all rates. */
static void set_rate(u64 khz)
{
	tsc_khz = v0->tsc_khz = v1->tsc_khz = khz;
}

struct guest_clock {
	u32 version, pad;
	u64 tsc, system_time;
	u32 mul;
	s8 shift;
	u8 flags, pad2[2];
};

/* What a guest computes from its structure */
static u64 guest_clock(struct vcpu *v, u64 at)
{
	struct guest_clock c;
	u64 delta;

	memcpy(&c, fake_memory + at, sizeof(c));
	CHECK_QUIET(!(c.version & 1) && c.version, "version is even");
	delta = vcpu_tsc(v, fake_tsc) - c.tsc;
	delta = c.shift < 0 ? delta >> -c.shift : delta << c.shift;
	return c.system_time + (u64)((unsigned __int128)delta * c.mul >> 32);
}

static void update_clock(struct vcpu *v)
{
	v->pv.clock_dirty = true;
	update(v);
}

/* v0's clock is at 0x1000; its flags: 1 stable, 2 stood still. */
static void test_stopped(void)
{
	u8 *flags = fake_memory + 0x1000 + 29;

	CHECK(!pv_clock_stopped(v0) && *flags == 3 && !v0->pv.clock_dirty,
	      "a guest is told at once that it stood still");
	update_clock(v0);
	CHECK(*flags == 3, "and still is when its clock is written");
	*flags = 1;
	update_clock(v0);
	CHECK(*flags == 1, "until it has taken notice");
	fake_unmapped = true;
	CHECK(!pv_clock_stopped(v0) && v0->pv.clock_dirty && *flags == 1,
	      "told later if the clock cannot be written now");
	fake_unmapped = false;
	update(v0);
	CHECK(*flags == 3 && !v0->pv.clock_stopped, "when it can");
	*flags = 0xff;
	update_clock(v0);
	CHECK(*flags == 3, "other flags are not the guest's");
	CHECK(pv_clock_stopped(&fake_vcpu[2]) == -EINVAL, "a guest without kvmclock is not told");
}

/* v0 is entered again, with a page that it can only read, or with one it can write. */
static bool asks(bool read_only)
{
	u32 before = missing;

	v0->exits_total++;
	v0->stop_reason = 0;
	fake_read_only = read_only;
	update(v0);
	return missing != before;
}

static void test_read_only(void)
{
	static struct corbel_vcpu_page page;

	v0->page = &page;
	v0->pv.clock_dirty = true;
	CHECK(asks(true) && missing_at == 0x1000 && v0->pv.clock_dirty,
	      "dom0 is asked for a page that can only be read, to write the clock there");
	v0->stop_reason = 0;
	update(v0);
	CHECK(missing == 1 && v0->pv.clock_dirty, "once, the guest runs on before the next time");
	CHECK(!asks(false) && !v0->pv.clock_dirty, "when it can be written it is");
	v0->pv.clock_dirty = true;
	rom = PT_ROM;
	CHECK(!asks(true), "what the guest cannot write either is not asked for");
	rom = 0;
	fake_unmapped = true;
	CHECK(!asks(true), "nor what is not mapped: the guest will want it");
	fake_unmapped = false;
	v0->in_smm = true;
	CHECK(!asks(true), "nor in SMM, whose memory is another");
	v0->in_smm = false;
	v0->page = NULL;
	CHECK(!asks(true), "nobody brings it to dom0");
	CHECK(!asks(false) && !v0->pv.clock_dirty, "which goes on");
	v0->page = &page;
	pv_msr_write(v0, STEAL, 0x4001);
	asks(false);
	steal_ticks += 500;
	v0->pv.steal_dirty = true;
	CHECK(asks(true) && missing_at == 0x4000 && v0->pv.steal_dirty,
	      "so it is with the time that is stolen");
	CHECK(!asks(false) && !v0->pv.steal_dirty && fake_memory[0x4000] == 250, "written then");
	pv_msr_write(v0, STEAL, 0);
	v0->page = NULL;
}

static void test_clock(void)
{
	u64 last, now, i;
	bool monotonic = true, same = true;

	fake_reset(NULL);
	tsc_stable = true;
	fake_vm.clock_offset_ns = -(s64)((fake_tsc - boot_tsc) / 2);
	for (i = 0; i < FAKE_VCPUS; i++)
		fake_vcpu[i].tsc_offset = -fake_tsc;
	fake_tsc += 2000;
	CHECK(!pv_msr_write(v0, SYSTEM_TIME, 0x1001) && v0->pv.clock_dirty,
	      "enabling kvmclock asks for an update");
	update(v0);
	CHECK(guest_clock(v0, 0x1000) == 1000, "the clock began when the VM did");
	CHECK(fake_memory[0x1000 + 29] == 1, "marked stable");
	v1->tsc_mul = 1;
	update_clock(v0);
	CHECK(!fake_memory[0x1000 + 29], "but not beside a vCPU whose TSC has another rate");
	v1->tsc_mul = 0;
	v1->tsc_offset = 12345;
	update_clock(v0);
	CHECK(!fake_memory[0x1000 + 29], "or one that is apart");
	fake_tsc += 5000;
	CHECK(guest_clock(v0, 0x1000) == 3500, "runs");
	pv_msr_write(v1, 0x12, 0x2001);
	update(v1);
	CHECK(guest_clock(v1, 0x2000) == 3500 && pv_clock_get(&fake_vm) == 3500,
	      "is the same on all vCPUs and in the hypervisor");

	set_rate(2857143);
	v0->pv.clock_dirty = v1->pv.clock_dirty = true;
	update(v0);
	update(v1);
	for (last = guest_clock(v0, 0x1000), i = 0; i < 20000; i++) {
		struct vcpu *v = i % 3 ? v0 : v1;

		fake_tsc += i % 7 * 1000000007 % 90000000;
		if (i % 50 == 0) {
			v->pv.clock_dirty = true;
			update(v);
		}
		now = guest_clock(v, v == v0 ? 0x1000 : 0x2000);
		monotonic &= now >= last;
		last = now;
		same &= now == pv_clock_get(&fake_vm);
	}
	CHECK(monotonic, "monotonic across vCPUs and updates");
	CHECK(same, "and exactly what the hypervisor says");
	/* A guest whose TSC is slower, or faster than the machine's */
	for (i = 0; i < 2; i++) {
		v0->tsc_khz = i ? 4100000 : 1000001;
		v0->tsc_mul = scale_tsc_mul(v0->tsc_khz, tsc_khz, 48);
		v0->pv.clock_dirty = true;
		update(v0);
		last = guest_clock(v0, 0x1000);
		fake_tsc += 2857143000ull * 60;
		now = guest_clock(v0, 0x1000);
		CHECK(now - last > 60000000000 - 100 && now - last < 60000000000 + 100,
		      "%u kHz: the clock keeps time", v0->tsc_khz);
		CHECK(now - pv_clock_get(&fake_vm) + 200 < 400, "the hypervisor's");
	}
	v0->tsc_mul = 0;
	v0->tsc_khz = tsc_khz;
	pv_clock_set(&fake_vm, 77000000000);
	CHECK(pv_clock_get(&fake_vm) == 77000000000 && fake_requests[0] == DUE_CLOCK &&
		  fake_requests[7] == DUE_CLOCK,
	      "set, and all vCPUs are told");
	v0->pv.clock_dirty = true;
	update(v0);
	CHECK(guest_clock(v0, 0x1000) == 77000000000, "guests see it");
	fake_unmapped = true;
	v0->pv.clock_dirty = true;
	update(v0);
	CHECK(v0->pv.clock_dirty, "an unmapped structure is written later");
	fake_unmapped = false;
	update(v0);
	CHECK(!v0->pv.clock_dirty, "when it is mapped");
	v1->tsc_offset = v0->tsc_offset;
	test_stopped();
	test_read_only();
	pv_msr_write(v0, SYSTEM_TIME, ~0ull);
	update(v0);
	pv_msr_write(v0, SYSTEM_TIME, FAKE_MEMORY - 7);
	update(v0);
	pv_msr_write(v0, SYSTEM_TIME, 0);
	update(v0);
	CHECK(!v0->pv.clock_dirty, "addresses beyond memory do no harm");
	tsc_stable = false;
	CHECK(!(pv_features(false) & BIT(24)),
	      "without one clock on all CPUs the stable bit is not offered");
	tsc_stable = true;
}

static void test_wall_clock(void)
{
	u32 w[3];
	u64 want, at;

	fake_reset(NULL);
	set_rate(FAKE_KHZ);
	fake_vm.clock_offset_ns = -(s64)((fake_tsc - boot_tsc) / 2);
	want = wallclock_boot_ns + (fake_tsc - boot_tsc) / 2;
	fake_tsc += 4000000000;
	fake_unmapped = true;
	pv_msr_write(v0, WALL, 0x3004);
	update(v0);
	fake_unmapped = false;
	update(v0);
	memcpy(w, fake_memory + 0x3004, 12);
	at = w[1] * 1000000000ull + w[2];
	CHECK(at == want && w[0] == 2 && w[2] < 1000000000, "wall clock: when kvmclock was 0");
	CHECK(!v0->pv.clock_dirty && !v0->pv.wall_dirty, "written once");
	pv_msr_write(v0, WALL, 0);
	CHECK(!v0->pv.clock_dirty, "0 takes it away");
}

static u64 steal_ns(void)
{
	u64 ns;

	memcpy(&ns, fake_memory + 0x4000, 8);
	return ns;
}

static void test_steal(void)
{
	fake_reset(NULL);
	steal_ticks = 1000000;
	CHECK(pv_msr_write(v0, STEAL, 0x4003) == -EINVAL &&
		  pv_msr_write(v0, STEAL, 0x4021) == -EINVAL,
	      "reserved bits fault");
	CHECK(!pv_msr_write(v0, STEAL, 0x4001), "a good address does not");
	update(v0);
	CHECK(steal_ns() == 0, "only what is stolen from now on counts");
	steal_ticks += 500;
	v0->pv.steal_dirty = true;
	update(v0);
	CHECK(steal_ns() == 250 && fake_memory[0x4008] == 2 && !v0->pv.steal_dirty,
	      "steal time in ns, version even");
	pv_preempted(v0);
	CHECK(fake_memory[0x4010] == 1, "a preempted vCPU is marked");
	update(v0);
	CHECK(fake_memory[0x4010] == 0 && steal_ns() == 250, "until it runs");
	fake_unmapped = true;
	steal_ticks += 500;
	v0->pv.steal_dirty = true;
	update(v0);
	fake_unmapped = false;
	v0->pv.steal_dirty = true;
	update(v0);
	CHECK(steal_ns() == 500, "nothing is lost while it cannot be written");
	pv_waited(v0, 9000);
	CHECK(!v0->pv.steal_dirty, "a little is not worth it");
	pv_waited(v0, 11000);
	update(v0);
	CHECK(steal_ns() == 11500, "what its thread has waited for is stolen, too");
	pv_waited(v0, 11000);
	CHECK(!v0->pv.steal_dirty, "once");
	pv_msr_write(v0, STEAL, 0);
	pv_waited(v0, 50000);
	pv_msr_write(v0, STEAL, 0x4001);
	update(v0);
	CHECK(steal_ns() == 11500, "but not while nobody looked");
	pv_msr_write(v0, STEAL, 0);
	steal_ticks += 500;
	v0->pv.steal_dirty = true;
	update(v0);
	pv_preempted(v0);
	CHECK(steal_ns() == 11500 && fake_memory[0x4010] == 0, "off is off");
}

static u32 got(void)
{
	u32 i, mask = 0;

	for (i = 0; i < FAKE_VCPUS; i++) {
		mask |= (fake_vcpu[i].lapic.irr[0xfb / 32] >> 0xfb % 32 & 1) << i;
		memset(fake_vcpu[i].lapic.irr, 0, sizeof(fake_vcpu[i].lapic.irr));
	}
	return mask;
}

static s64 call(struct vcpu *v, u64 nr, u64 a0, u64 a1, u64 a2, u64 a3)
{
	v->gpr[RAX] = nr, v->gpr[RBX] = a0, v->gpr[RCX] = a1, v->gpr[RDX] = a2, v->gpr[RSI] = a3;
	return pv_hypercall(v);
}

static void test_hypercalls(void)
{
	static const u32 ids[FAKE_VCPUS] = {0, 1, 2, 31, 32, 63, 64, 127};
	u32 i;

	fake_reset(ids);
	for (i = 0; i < FAKE_VCPUS; i++)
		lapic_write(&fake_vcpu[i], 0xf0, 0x1ff);
	CHECK(call(v0, 10, 0x8000000180000006, 0x8000000000000001, 0, 0xfb) == 7 && got() == 0xfe,
	      "PV IPI to two words of ids");
	CHECK(call(v0, 10, 1, 1, 63, 0xfb) == 2 && got() == 0xa0, "which begin at the lowest id");
	CHECK(call(v0, 10, ~0ull, ~0ull, ~0ull - 3, 0xfb) == 0 &&
		  call(v0, 10, ~0ull, ~0ull, 0xffff, 0xfb) == 0,
	      "far ids are nobody");
	mode = EMUL_32;
	CHECK(call(v0, 10, ~0xffffull, 1, 0xffffffff00000000, 0xfb) == 2 && got() == 0x18,
	      "32-bit callers have 32-bit words");
	CHECK(call(v0, 99, 0, 0, 0, 0) == 0xfffffc18, "and results");
	mode = EMUL_64;
	CHECK(call(v0, 10, 6, 0, 0, 0x400) == 2 && fake_requests[1] == DUE_NMI &&
		  fake_requests[2] == DUE_NMI,
	      "NMI too");
	CHECK(call(v0, 10, 6, 0, 0, 0x8fb) == -EINVAL && call(v0, 10, 6, 0, 0, 0x800fb) == -EINVAL,
	      "no logical ids, no shorthands");
	fake_notified[3] = 0;
	CHECK(call(v0, 5, 0, 31, 0, 0) == 0 && fake_vcpu[3].pv.unhalted && fake_notified[3] == 1,
	      "kick wakes");
	CHECK(call(v0, 5, 0, 30, 0, 0) == 0, "kick of nobody");
	CHECK(call(v0, 11, 31, 0, 0, 0) == 0 && ways == 1, "yield makes way for a vCPU");
	call(v0, 11, 30, 0, 0, 0);
	call(v0, 11, ~0ull, 0, 0, 0);
	call(v0, 11, v0->lapic.id, 0, 0, 0);
	CHECK(ways == 1, "not for nobody, nor for the caller");
	CHECK(call(v0, 9, 0, 0, 0, 0) == -1000 && call(v0, 12, 0, 0, 0, 0) == -1000,
	      "what is not offered is ENOSYS");
}

static u64 ticks_of(u64 low, u64 high)
{
	u64 least = ~0ull;

	for (u32 i = 0; i < 20; i++) {
		u64 start = __builtin_ia32_rdtsc();

		call(v0, 10, low, high, 0, 0xfb);
		least = MIN(least, __builtin_ia32_rdtsc() - start);
	}
	return least;
}

/* Once an xAPIC has another id than it began with, targets are looked for among all vCPUs. */
static void test_moved(void)
{
	static struct vcpu *crowd[1000], **few;

	fake_reset(NULL);
	for (u32 i = 0; i < FAKE_VCPUS; i++)
		lapic_write(&fake_vcpu[i], 0xf0, 0x1ff);
	lapic_write(&fake_vcpu[2], 0x20, 70u << 24);
	lapic_write(&fake_vcpu[5], 0x20, 70u << 24);
	fake_vcpu[6].lapic.id = 300;
	CHECK(call(v0, 10, 0xf, 1ull << 6, 0, 0xfb) == 5 && got() == 0x2f,
	      "PV IPI by other ids than those of the start, two of one id among them");
	CHECK(call(v0, 10, 1, 1, 300, 0xfb) == 1 && got() == 0x40 &&
		  call(v0, 10, 1ull << 63, 1, 7, 0xfb) == 2 && got() == 0x24 &&
		  call(v0, 10, 4, 0, 0, 0x400) == 0,
	      "an id that no xAPIC can have stays, and the last of a word is its");
	few = fake_vm.vcpu;
	for (u32 i = 0; i < ARRAY_SIZE(crowd); i++)
		crowd[i] = &fake_vcpu[6];
	fake_vm.vcpu = crowd;
	fake_vm.vcpu_end = ARRAY_SIZE(crowd);
	CHECK(ticks_of(~0ull, ~0ull) < 10 * ticks_of(1, 0),
	      "whom all bits mean is found among a thousand in one pass");
	fake_vm.vcpu = few;
	fake_vm.vcpu_end = FAKE_VCPUS;
}

/* KVM_CAP_ENFORCE_PV_FEATURE_CPUID */
static void test_enforced(void)
{
	struct corbel_cpuid leaves[] = {{.function = 0x40000000, .ebx = 0x7263694d}, /* "Micr" */
					{.function = 0x40000100, .ebx = CPUID_KVM},
					{.function = 0x40000101, .eax = BIT(3) | BIT(11)}};

	fake_reset(NULL);
	CHECK(pv_allows_msr(v0, POLL) && call(v0, 11, 30, 0, 0, 0) == 0,
	      "a guest may use what its CPUID does not show");
	v0->services = CORBEL_KVM_BY_CPUID;
	CHECK(!pv_allows_msr(v0, SYSTEM_TIME) && !pv_allows_msr(v0, STEAL) &&
		  call(v0, 5, 0, 31, 0, 0) == -1000 && call(v0, 10, 1, 0, 0, 0x40) == -1000,
	      "where its VMM is strict about it, it may not");
	v0->cpuid = leaves;
	v0->cpuid_count = 3;
	CHECK(pv_allows_msr(v0, SYSTEM_TIME) && pv_allows_msr(v0, WALL) &&
		  call(v0, 10, 1, 0, 0, 0x40) >= 0,
	      "but what it shows, also behind Hyper-V's leaves");
	CHECK(!pv_allows_msr(v0, 0x12) && !pv_allows_msr(v0, POLL) && !pv_allows_msr(v0, PV_EOI) &&
		  !pv_allows_msr(v0, STEAL) && call(v0, 5, 0, 31, 0, 0) == -1000 &&
		  call(v0, 11, 31, 0, 0, 0) == -1000,
	      "and nothing else");
	CHECK(call(v0, 1, 0, 0, 0, 0) == 0 && pv_allows_msr(v0, 0x10),
	      "what is no feature is as it was");
	leaves[1].ebx = 0;
	CHECK(!pv_allows_msr(v0, SYSTEM_TIME), "features are KVM's only behind its name");
	v0->cpuid_count = 0;
	v0->services = 0;
}

/* Of messages for APIC ids above 255. */
static void test_wide_ids(void)
{
	fake_reset(NULL);
	CHECK(pv_features(true) == 0x010038e9, "to dom0, whose delays are real");
	pv_dom0_wide_ids = true;
	v0->cpuid[0] = (struct corbel_cpuid){.function = 0x40000001, .eax = pv_features(true)};
	v0->cpuid[1] = (struct corbel_cpuid){.function = 0x40000002, .eax = ~0u};
	v0->cpuid_count = 2;
	CHECK(v0->cpuid[0].eax == 0x0100b8e9 && pv_features(false) == 0x010078fb,
	      "dom0 alone is told of messages with 15 bits for the id");
	pv_end_wide_ids(v0);
	CHECK(v0->cpuid[0].eax == 0x010038e9 && v0->cpuid[1].eax == ~0u,
	      "and the kernel that comes in its place is not");
	pv_dom0_wide_ids = false;
}

static void test_msrs(void)
{
	u64 val, i;

	fake_reset(NULL);
	pv_reset(v0);
	CHECK(pv_features(false) == 0x010078fb, "features offered");
	for (i = 0; i < 5; i++)
		CHECK(pv_msr_read(v0, (u32[]){0x10, 0x13, WALL - 1, WALL + 2, POLL + 1}[i], &val) ==
			  -ENOENT,
		      "MSRs are those of the features");
	CHECK(!pv_msr_write(v0, SYSTEM_TIME, 0x5001) && !pv_msr_read(v0, 0x12, &val) &&
		  val == 0x5001,
	      "old and new MSR are one");
	CHECK(!pv_msr_read(v0, POLL, &val) && val == 1 && !pv_msr_write(v0, POLL, 0) &&
		  pv_msr_write(v0, POLL, 2) == -EINVAL,
	      "poll control");
	CHECK(!pv_msr_write(v0, PV_EOI, 0x6001) && !pv_msr_read(v0, PV_EOI, &val) &&
		  val == 0x6001 && pv_msr_write(v0, PV_EOI, 0x6003) == -EINVAL,
	      "PV EOI");
	CHECK(pv_msr_write(v0, 0x4b564d02, 0) == -ENOENT, "nor can others be written");
	pv_reset(v0);
	CHECK(!pv_msr_read(v0, SYSTEM_TIME, &val) && val == 0, "reset switches all off");
	for (i = 0; i < 200000; i++) {
		static u64 s = 1;

		s = s * 6364136223846793005ull + 1442695040888963407ull;
		pv_msr_write(&fake_vcpu[s >> 61], WALL + (s >> 40) % 6,
			     s & (i & 1 ? 0x1ffff : ~0ull));
		fake_vcpu[s >> 61].pv.steal_dirty = fake_vcpu[s >> 61].pv.clock_dirty = true;
		pv_update(&fake_vcpu[s >> 61], &missing_at);
		pv_preempted(&fake_vcpu[s >> 61]);
		mode = s >> 30 & 1 ? EMUL_32 : EMUL_64;
		call(&fake_vcpu[s >> 61], (s >> 20) % 13, s, s << 7, i & 1 ? s >> 50 : s, s >> 3);
		fake_unmapped = !(i % 5);
	}
	CHECK(true, "random MSR writes and hypercalls break nothing");
}

/* The TPR in a word at 0x7000 */
static u8 *const vapic = fake_memory + 0x7000;

static void test_vapic(void)
{
	struct lapic *l = &v0->lapic;

	fake_reset(NULL);
	l->vapic = 0x7000;
	l->vapic_tpr = VAPIC_NEW;
	l->tpr = 0x45;
	l->isr_top = 0x63;
	l->irr[2] = 1u << 17;
	vapic[0] = 0x99;
	pv_vapic(v0);
	CHECK(l->tpr == 0x45 && *(u32 *)vapic == 0x51006045, "a new word is written only");
	vapic[0] = 0x72;
	pv_vapic(v0);
	CHECK(l->tpr == 0x72 && vapic[0] == 0x72, "what the guest writes is taken over");
	l->tpr = 0x10;
	pv_vapic(v0);
	CHECK(l->tpr == 0x10 && vapic[0] == 0x10, "what has changed otherwise is written");
	CHECK(!v0->pv.vapic_lost && !v0->pv.clock_dirty, "and nobody is asked for anything");
}

static void test_vapic_missing(void)
{
	static struct corbel_vcpu_page page;
	struct lapic *l = &v0->lapic;

	v0->page = &page;
	for (u32 readable = 0; readable < 2; readable++) {
		missing = 0;
		v0->stop_reason = 0;
		v0->exits_total++;
		fake_unmapped = !readable;
		fake_read_only = readable;
		rom = 0;
		vapic[0] = 0x30 + readable;
		v0->due = 0;
		pv_vapic(v0);
		CHECK(v0->due & DUE_LOOK, "a word that is not mapped is looked for");
		update(v0);
		CHECK(missing == 1 && missing_at == 0x7000, "by dom0 (readable %u)", readable);
		v0->stop_reason = 0;
		update(v0);
		CHECK(missing == 1, "once between two entries");
		fake_unmapped = fake_read_only = false;
		update(v0);
		CHECK(l->tpr == 0x30 + readable && !v0->pv.vapic_lost && !v0->pv.clock_dirty,
		      "then what the guest has written there counts");
	}
	l->vapic = 1ull << 52 | 0x7000;
	l->tpr = 5;
	pv_vapic(v0);
	CHECK(l->tpr == 5 && v0->pv.vapic_lost, "there is none beyond all memory");
	l->vapic = 0;
	v0->pv.vapic_lost = false;
	v0->page = NULL;
}

int main(void)
{
	test_clock();
	test_wall_clock();
	test_steal();
	test_hypercalls();
	test_moved();
	test_enforced();
	test_wide_ids();
	test_vapic();
	test_vapic_missing();
	test_msrs();
	return test_end();
}
