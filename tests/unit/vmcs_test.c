/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where a VMCS is active: how often it is loaded and cleared, and that it is in one CPU at most.
 * The CPUs' part is a table of ours. With threads: vCPUs that go from CPU to CPU, in any order.
 * links: tests/unit/rest.c hv/lib/printf.c -lpthread
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hv/cpu/irq.h"
#include "hv/lib/asm.h"
#include "hv/lib/x86.h"
#include "hv/vmx/vmx.h"
#include "test.h"

static bool fake_ptrld(hpa_t at), fake_clear(hpa_t at);
#undef vmx_ptrld
#undef vmx_clear
#undef READ_DR
#undef WRITE_DR
#define vmx_ptrld(at)	 fake_ptrld(at)
#define vmx_clear(at)	 fake_clear(at)
#define vmcs_read(f)	 0ull
#define vmcs_write(f, v) ((void)(v))
#define rdmsr(m)	 0ull
#define wrmsr(m, val)	 ((void)(val))
#define read_cr0()	 0ull
#define read_cr2()	 0ull
#define read_cr3()	 0ull
#define read_cr4()	 0ull
#define write_cr2(val)	 ((void)(val))
#define READ_DR(n)	 0ull
#define WRITE_DR(n, val) ((void)(val))
#include "hv/vmx/vmcs.c"

#define CPUS  3
#define VCPUS 5 /* the first CPUS are dom0's, one of each CPU */

u8 vmx_exit[1];
u64 test_direct_base;
static struct cpu cpu_mem[CPUS];
static struct vmx_cpu vmx_mem[CPUS];
static __thread struct cpu *me = cpu_mem;
static struct vm doms, guests;
static struct vcpu vcpu[VCPUS];
static struct vmx_vcpu arch[VCPUS];

struct cpu *this_cpu(void)
{
	return me;
}

struct cpu_tables cpu_tables(void)
{
	return (struct cpu_tables){0};
}

/* ---- the CPUs: where each region is active, + 1 ---- */

static struct region {
	u32 revision, active;
} regions[VCPUS] __aligned(8);
static struct region *now[CPUS]; /* current */
static u32 loads, clears;
static u32 given; /* of the pool */

void *pool_alloc(u32 order, struct account *acct)
{
	return &regions[__atomic_fetch_add(&given, 1, __ATOMIC_RELAXED)];
}

void pool_free(void *p, u32 order, struct account *acct)
{
	__atomic_fetch_sub(&given, 1, __ATOMIC_RELAXED);
}

static bool fake_ptrld(hpa_t at)
{
	struct region *r = (void *)at.v;
	u32 where = __atomic_exchange_n(&r->active, me->index + 1, __ATOMIC_SEQ_CST);

	if (!CHECK_QUIET(!where || where == me->index + 1, "VMPTRLD of what no other CPU has"))
		abort();
	now[me->index] = r;
	__atomic_fetch_add(&loads, 1, __ATOMIC_SEQ_CST);
	return false;
}

static bool fake_clear(hpa_t at)
{
	struct region *r = (void *)at.v;
	u32 where = __atomic_exchange_n(&r->active, 0, __ATOMIC_SEQ_CST);

	if (!CHECK_QUIET(!where || where == me->index + 1, "VMCLEAR where it is active"))
		abort();
	if (now[me->index] == r)
		now[me->index] = NULL;
	__atomic_fetch_add(&clears, 1, __ATOMIC_SEQ_CST);
	return false;
}

/* ---- interrupts ---- */

static bool pending[CPUS], at_once;
static u32 sent;

static void window(void)
{
	if (__atomic_exchange_n(&pending[me->index], false, __ATOMIC_SEQ_CST))
		vmcs_wanted_irq(VEC_VMCS);
}

void apic_send_ipi(u32 apic_id, u8 vector)
{
	struct cpu *from = me;

	BUG_ON(vector != VEC_VMCS || apic_id >= CPUS || apic_id == me->index);
	__atomic_store_n(&pending[apic_id], true, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&sent, 1, __ATOMIC_RELAXED);
	if (!at_once)
		return;
	me = &cpu_mem[apic_id];
	window();
	me = from;
}

/* ---- the tests ---- */

static void start(void)
{
	memset(cpu_mem, 0, sizeof(cpu_mem));
	memset(vmx_mem, 0, sizeof(vmx_mem));
	memset(regions, 0, sizeof(regions));
	memset(now, 0, sizeof(now));
	memset(arch, 0, sizeof(arch));
	memset(pending, 0, sizeof(pending));
	given = sent = 0;
	at_once = true;
	doms.is_dom0 = true;
	for (u32 i = 0; i < CPUS; i++) {
		cpu_mem[i] = (struct cpu){.index = i, .apic_id = i, .vmx = &vmx_mem[i]};
		vmx_mem[i].on = true;
	}
	me = cpu_mem;
	for (u32 i = 0; i < VCPUS; i++) {
		vcpu[i] = (struct vcpu){.vm = i < CPUS ? &doms : &guests, .arch = &arch[i]};
		vmcs_alloc(&vcpu[i], 1);
	}
}

#define GUEST (&vcpu[CPUS])
#define OTHER (&vcpu[CPUS + 1])

/* dom0's vCPU of this CPU resumes it, and it stops. */
static void round_trip(struct vcpu *v)
{
	vmx_put(&vcpu[me->index]);
	vmx_load(v);
	vmx_of(v)->vmcs.launched = true;
	vmx_put(v);
	vmx_load(&vcpu[me->index]);
}

static bool is_in(const struct vcpu *v, u32 cpu)
{
	const struct vmcs_state *m = &((struct vmx_vcpu *)v->arch)->vmcs;

	return m->cpu == &cpu_mem[cpu] && ((struct region *)m->at.v)->active == cpu + 1;
}

static bool is_clear(const struct vcpu *v)
{
	const struct vmcs_state *m = &((struct vmx_vcpu *)v->arch)->vmcs;

	return !m->cpu && !m->launched && !m->wanted && !((struct region *)m->at.v)->active;
}

static void test_counts(void)
{
	start();
	vmx_load(&vcpu[0]);
	round_trip(GUEST);
	loads = clears = 0;
	for (u32 i = 0; i < 100; i++)
		round_trip(GUEST);
	CHECK(loads == 200 && !clears,
	      "100 round trips to a guest and back: %u VMPTRLD, %u VMCLEAR", loads, clears);
	CHECK(arch[CPUS].vmcs.launched, "which is VMRESUME");
	loads = 0;
	for (u32 i = 0; i < 100; i++) {
		round_trip(GUEST);
		CHECK_QUIET(vmx_borrow(GUEST), "its registers can be had in between");
		vmx_give_back(GUEST);
	}
	CHECK(loads == 400 && !clears, "where dom0 looks at its registers: %u, %u", loads, clears);
	loads = 0;
	for (u32 i = 0; i < 100; i++) {
		round_trip(GUEST);
		round_trip(OTHER);
	}
	CHECK(loads == 400 && !clears && !sent, "two guests in turns: %u, %u", loads, clears);
}

static void test_moves(void)
{
	start();
	vmx_load(&vcpu[0]);
	round_trip(GUEST);
	round_trip(OTHER);
	loads = clears = 0;
	me = &cpu_mem[1];
	vmx_load(GUEST);
	CHECK(clears == 1 && loads == 1 && is_in(GUEST, 1) && is_in(OTHER, 0) && sent == 1,
	      "another CPU gets the one it wants");
	CHECK(!arch[CPUS].vmcs.launched, "which is VMLAUNCH");
	vmx_put(GUEST);
	at_once = false;
	CHECK(!vmx_borrow(OTHER) && !vmx_borrow(OTHER) && sent == 2,
	      "while the first does not hear of it, it cannot be borrowed, and is asked once");
	me = cpu_mem;
	window();
	CHECK(is_clear(OTHER) && is_in(&vcpu[0], 0) && now[0] == &regions[0],
	      "then it is cleared, and nothing else");
	me = &cpu_mem[1];
	CHECK(vmx_borrow(OTHER) && is_in(OTHER, 1), "and is there to be had");
	CHECK(PANICS(vmx_load(GUEST)), "one at a time");
	vmx_give_back(OTHER);
	me = cpu_mem;
	CHECK(!vmx_borrow(GUEST) && sent == 3, "who gives up");
	me = &cpu_mem[1];
	vmx_load(GUEST);
	window();
	CHECK(is_in(GUEST, 1) && now[1] == &regions[CPUS], "takes it from nobody who has it later");
}

static void test_ends(void)
{
	start();
	vmx_load(&vcpu[0]);
	round_trip(GUEST);
	round_trip(OTHER);
	vmx_put(&vcpu[0]);
	clears = 0;
	vmx_idle();
	CHECK(clears == 2 && is_clear(GUEST) && is_clear(OTHER) && is_in(&vcpu[0], 0),
	      "a CPU that idles keeps dom0's only");
	vmx_load(GUEST);
	vmx_put(GUEST);
	vmcs_clear_all();
	CHECK(is_clear(GUEST) && is_clear(&vcpu[0]) && !vmx_mem[0].active,
	      "one that leaves VMX keeps none");
	CHECK(vmx_borrow(&vcpu[1]), "dom0's vCPU of another CPU");
	vmx_give_back(&vcpu[1]);
	CHECK(is_clear(&vcpu[1]), "is cleared for that one");
	vmx_load(GUEST);
	vmx_put(GUEST);
	vmx_load(OTHER);
	vmcs_free(GUEST);
	CHECK(is_clear(GUEST) && is_in(OTHER, 0) && vmx_mem[0].active == &arch[CPUS + 1].vmcs,
	      "one whose memory is given back is cleared before");
	me = &cpu_mem[1];
	CHECK(PANICS(vmcs_free(OTHER)), "and not where it is not active");
	lock_acquire(&arch[CPUS + 1].vmcs.lock);
	CHECK(PANICS(make_current(&arch[CPUS + 1].vmcs)), "nor current in two CPUs");
}

/* ---- vCPUs that move ---- */

static u32 swapped;

/* This CPU has one, and wants the other's, as that wants this one. */
static void *swap_one(void *arg)
{
	u64 n = (u64)arg;

	me = &cpu_mem[n];
	vmx_load(&vcpu[CPUS + !n]);
	vmx_put(&vcpu[CPUS + !n]);
	__atomic_fetch_add(&swapped, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&swapped, __ATOMIC_SEQ_CST) < 2) {
		window();
		sched_yield();
	}
	return NULL;
}

static void test_swap(void)
{
	pthread_t thread[2];

	start();
	at_once = false;
	alarm(60); /* for two that wait for each other */
	for (u64 i = 0; i < 2; i++) {
		me = &cpu_mem[i];
		vmx_load(&vcpu[CPUS + i]);
		vmx_put(&vcpu[CPUS + i]);
	}
	for (u64 i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, swap_one, (void *)i);
	for (u32 i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	CHECK(is_in(GUEST, 1) && is_in(OTHER, 0), "two CPUs get each other's vCPUs at once");
}

#define TURNS 20000
static bool taken[VCPUS];
static u32 running = CPUS, gone;

static void use(struct vcpu *v, u32 *seed)
{
	if (rand_r(seed) % 3) {
		vmx_load(v);
		vmx_put(v);
		return;
	}
	for (u32 tries = rand_r(seed) % 4; !vmx_borrow(v); tries--) {
		if (!tries) /* it gives up */
			return;
		window();
		sched_yield();
	}
	vmx_give_back(v);
	if (rand_r(seed) % 8)
		return;
	vmcs_free(v);
	CHECK_QUIET(is_clear(v), "what is freed is clear");
	__atomic_fetch_add(&gone, 1, __ATOMIC_RELAXED);
}

static void *cpu_turns(void *arg)
{
	u32 seed = 1 + (u64)arg;

	me = &cpu_mem[(u64)arg];
	for (u32 i = 0; i < TURNS; i++) {
		u32 n = CPUS + rand_r(&seed) % (VCPUS - CPUS);

		if (rand_r(&seed) % 8 == 0)
			window();
		if (rand_r(&seed) % 64 == 0)
			vmx_idle();
		if (__atomic_exchange_n(&taken[n], true, __ATOMIC_ACQUIRE))
			continue;
		use(&vcpu[n], &seed);
		__atomic_store_n(&taken[n], false, __ATOMIC_RELEASE);
	}
	__atomic_fetch_sub(&running, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&running, __ATOMIC_SEQ_CST)) { /* it idles */
		window();
		sched_yield();
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t thread[CPUS];

	start();
	at_once = false;
	alarm(120);
	for (u64 i = 0; i < CPUS; i++)
		pthread_create(&thread[i], NULL, cpu_turns, (void *)i);
	for (u32 i = 0; i < CPUS; i++)
		pthread_join(thread[i], NULL);
	CHECK(!running && gone,
	      "CPUs that take each other's vCPUs all get them: %u loads, %u clears", loads, clears);
}

int main(void)
{
	test_counts();
	test_moves();
	test_ends();
	test_swap();
	test_threads();
	return test_end();
}
