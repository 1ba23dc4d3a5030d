/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Flushes that no emulator misses: a fake CPU counts those that AMD-V's back end asks for.
 * links: hv/svm/state.c hv/svm/event.c hv/svm/decode.c hv/svm/tcg.c hv/guest/hvm.c
 */
#include <string.h>

#include "hv/cpu/apic.h"
#include "hv/guest/quirks.h"
#include "hv/mm/pool.h"
#include "hv/mm/pt.h"
#include "test.h"
/* not linked: max_asid is what the probe finds, which reads MSRs */
#include "hv/svm/svm.c"

static struct cpu cpu[2];
static struct svm_cpu svm_cpu[2];
static u32 here; /* the CPU that all this runs on */
static struct vm vm;
static struct svm_vcpu arch[2] __aligned(4096);
static struct vcpu vcpu[2];
static u32 asid_seen; /* at the last entry */
static u8 control_seen;

struct pt_format pt_guest;
const struct pt_format pt_npt;
u64 test_direct_base;
u32 quirks;
struct cpu *cpus[MAX_CPUS];
u32 cpu_count = 2;

struct cpu *this_cpu(void)
{
	return &cpu[here];
}

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = *b = *c = *d = 0;
}

void quirks_detect(void)
{
}

bool cap_masked(const char *name)
{
	return false;
}

void *pool_alloc(u32 order, struct account *acct)
{
	return NULL;
}

void pool_free(void *p, u32 order, struct account *acct)
{
}

u32 lapic_tpr_threshold(struct vcpu *v)
{
	return 0;
}

void apic_send_ipi(u32 apic_id, u8 vector)
{
}

void svm_enter(struct vcpu *v, u64 vmcb, u64 host_vmcb, u64 int_state)
{
	asid_seen = svm_vmcb(v)->asid;
	control_seen = svm_vmcb(v)->tlb_control;
	svm_vmcb(v)->exitcode = SVM_EXIT_HLT;
}

/* Enter; true if nothing that this CPU has cached of the vCPU is used. */
static bool enters_flushed(struct vcpu *v)
{
	static u32 used[2][16]; /* by CPU and ASID: the vCPU that was last in it, from 1 on */
	u32 me = (u32)(v - vcpu) + 1;
	bool fresh;
	struct vm_exit x;

	svm_load(v);
	svm_run(v, &x);
	if (control_seen == SVM_TLB_FLUSH_ALL)
		memset(used[here], 0, sizeof(used[here]));
	fresh = control_seen != SVM_TLB_NONE || used[here][asid_seen] != me;
	if (used[here][asid_seen] && used[here][asid_seen] != me)
		CHECK_QUIET(control_seen != SVM_TLB_NONE, "an ASID is nobody else's");
	used[here][asid_seen] = me;
	return fresh;
}

static void test_writes(void)
{
	static const struct {
		enum hvm_reg reg;
		u64 val;
		const char *name;
	} writes[] = {{HVM_CR0, CR0_PE | CR0_PG, "CR0"},
		      {HVM_CR3, 0x5000, "CR3"},
		      {HVM_CR4, CR4_PAE | CR4_PGE, "CR4"}};
	struct vcpu *v = &vcpu[0];

	CHECK(enters_flushed(v), "a new vCPU has an ASID of its own");
	CHECK(!enters_flushed(v), "and keeps what is cached");
	for (u32 i = 0; i < ARRAY_SIZE(writes); i++) {
		svm_set(v, writes[i].reg, writes[i].val);
		CHECK(enters_flushed(v), "after a write of %s nothing cached is used",
		      writes[i].name);
		CHECK(!enters_flushed(v), "once");
	}
	svm_set(v, HVM_DR7, 0x400);
	CHECK(!enters_flushed(v), "a write of DR7 costs nothing");
}

static void test_memory(void)
{
	struct vcpu *v = &vcpu[0];

	vm.p2m.tlb_gen++;
	CHECK(enters_flushed(v), "after a right to memory was cut nothing cached is used");
	CHECK(!enters_flushed(v), "once");
}

static void test_cpus(void)
{
	struct vcpu *v = &vcpu[0];

	here = 1;
	CHECK(enters_flushed(v), "nor on another CPU");
	here = 0;
	CHECK(enters_flushed(v), "nor back on the first, whatever happened meanwhile");
	CHECK(!enters_flushed(v), "once");
	for (u32 i = 0; i < 100; i++) {
		svm_flush_asid(v);
		if (!CHECK_QUIET(enters_flushed(v), "round %u", i))
			return;
		enters_flushed(&vcpu[1]);
	}
	CHECK(true, "ASIDs run out and are given anew without being shared");
}

int main(void)
{
	max_asid = 5;
	for (u32 i = 0; i < 2; i++) {
		cpu[i].index = i;
		cpu[i].svm = &svm_cpu[i];
		svm_cpu[i].asid_gen = svm_cpu[i].next_asid = 1;
		vcpu[i].vm = &vm;
		vcpu[i].arch = &arch[i];
	}
	vm.p2m.tlb_gen = 1;
	test_writes();
	test_memory();
	test_cpus();
	return test_end();
}
