/* SPDX-License-Identifier: GPL-2.0-only */
/* links: tests/unit/rest.c -include tests/unit/steps.h */
/*
 * vCPUs that a unit posts interrupts to, at random: they run, halt, are preempted, move, stop, come
 * and go, while devices raise interrupts between any two accesses to what CPUs share, and other
 * CPUs take theirs there. The unit is a model after the manual. Whenever all that was sent to CPUs
 * has been taken, each vCPU with something in IRR knows of it, and does not sleep.
 */
#include <string.h>

#include "hv/guest/posting.c"
#include "arena.h"
#include "test.h"

#define MB    0x100000ull
#define CPUS  3u
#define VCPUS 4u
#define STEPS 200000u
#define SN    BIT(1)

static u32 next_random(void)
{
	static u64 seed = 1;

	seed = seed * 6364136223846793005 + 1442695040888963407;
	return seed >> 33;
}

static struct model_cpu {
	struct cpu cpu;	   /* first */
	bool posted, wake; /* of its vectors, pending */
	bool in_guest, must_exit;
} machine[CPUS];
static u32 running, depth;

static struct model_vcpu {
	struct vcpu *v; /* NULL: there is none */
	bool begun;	/* the unit has entries for it */
	bool blocked, stopped;
	bool direct; /* the CPU takes in what is posted to it inside the guest */
	s32 loaded;  /* in which CPU, -1: none */
	u64 sent[4]; /* and not delivered */
} all[VCPUS];
static struct vm vm, dom0_vm;
static bool x2apic = true, offered = true;
static u32 delivered, unsent, misled, ended;
static s32 owed; /* EOIs */

/* ---- what posting.c asks of the rest ---- */

struct cpu *this_cpu(void)
{
	return &machine[running].cpu;
}

bool apic_is_x2apic(void)
{
	return x2apic;
}

void apic_send_ipi(u32 apic_id, u8 vector)
{
	struct model_cpu *c = &machine[apic_id - 100];

	CHECK_QUIET(vector == VEC_POSTED || vector == VEC_WAKE, "a vector of ours");
	c->posted |= vector == VEC_POSTED;
	c->wake |= vector == VEC_WAKE;
}

void vcpu_notify(struct vcpu *v, bool exit)
{
	struct model_vcpu *m = &all[v->id];

	CHECK_QUIET(m->v == v && v->due & DUE_IRQ, "there is such a vCPU, and what for is noted");
	m->blocked = false;
	if (m->loaded >= 0 && machine[m->loaded].in_guest)
		machine[m->loaded].must_exit = true;
}

s64 post_begin(u32 id, u64 descriptor)
{
	CHECK_QUIET(descriptor == virt_to_hpa(all[id].v->lapic.irr).v && !(descriptor % 64),
		    "the descriptor is the vCPU's");
	return offered ? (s64)(id + 1) * 64 : -ENODEV;
}

void post_end(u32 id)
{
	CHECK_QUIET(all[id].loaded < 0, "a vCPU that ends is in no CPU");
	all[id].begun = false;
	ended++;
}

void post_init(bool cpus)
{
}

void irq_set(u8 vector, void (*fn)(u8 vector))
{
	CHECK_QUIET(fn == (vector == VEC_POSTED ? posted_irq : wake_irq), "both have a handler");
}

void apic_eoi(void)
{
	owed--;
}

/* ---- the unit ---- */

static void raise_some(void)
{
	struct model_vcpu *m = &all[next_random() % VCPUS];
	u32 vector = 16 + next_random() % 240;
	u64 *control;

	if (!m->begun)
		return;
	control = m->v->lapic.posted_control;
	m->v->lapic.irr[vector / 32] |= 1u << vector % 32;
	m->sent[vector / 64] |= BIT(vector % 64);
	if (*control & (POSTED_ON | SN))
		return;
	misled += (*control >> 32) - 100 >= CPUS;
	*control |= POSTED_ON;
	apic_send_ipi(*control >> 32, *control >> 16);
}

/* ---- CPUs ---- */

/* All that IRR has reaches the guest. */
static void deliver(struct model_vcpu *m)
{
	const u64 *irr = (const u64 *)(const void *)m->v->lapic.irr;

	for (u32 i = 0; i < 4; i++) {
		unsent += (irr[i] & ~m->sent[i]) != 0;
		delivered += irr[i] != 0;
		m->sent[i] &= ~irr[i];
	}
	memset(m->v->lapic.irr, 0, sizeof(m->v->lapic.irr));
}

static struct model_vcpu *loaded_in(u32 cpu)
{
	for (u32 i = 0; i < VCPUS; i++)
		if (all[i].v && all[i].loaded == (s32)cpu)
			return &all[i];
	return NULL;
}

static void take_irqs(u32 cpu)
{
	struct model_cpu *c = &machine[cpu];
	struct model_vcpu *m = loaded_in(cpu);
	u32 was = running;

	if (c->in_guest && c->posted && m->direct) { /* SDM "Posted-Interrupt Processing" */
		c->posted = false;
		m->v->lapic.posted_control[0] &= ~POSTED_ON;
		deliver(m);
	}
	if (!c->posted && !c->wake && !c->must_exit)
		return;
	c->in_guest = c->must_exit = false;
	running = cpu;
	if (c->posted) {
		c->posted = false;
		owed++;
		posted_irq(VEC_POSTED);
	}
	if (c->wake) {
		c->wake = false;
		owed++;
		wake_irq(VEC_WAKE);
	}
	running = was;
}

/* Between any two accesses a device goes on, or another CPU, if nobody holds its lock. */
void test_step(void)
{
	u32 other = next_random() % CPUS;

	if (depth || next_random() % 3)
		return;
	depth++;
	raise_some();
	if (other != running && !waiting[other].lock.holder && next_random() % 2)
		take_irqs(other);
	depth--;
}

void test_relax(void)
{
}

/* ---- vCPUs ---- */

static void come(u32 id)
{
	struct vcpu *v = hpa_to_virt(hpa(MB + id * 4 * PAGE_SIZE));

	memset(v, 0, sizeof(*v));
	v->id = id;
	v->vm = &vm;
	all[id] = (struct model_vcpu){.v = v, .loaded = -1, .direct = next_random() % 4 != 0};
}

static void go(u32 id)
{
	struct model_vcpu *m = &all[id];

	posting_end(m->v);
	CHECK_QUIET(!m->begun && !m->v->posting.on, "posting ends with it");
	memset(m->v, 0xff, sizeof(*m->v)); /* somebody else's memory */
	m->v = NULL;
}

static void begin(struct model_vcpu *m)
{
	s64 handle = posting_begin(m->v);

	CHECK_QUIET(handle == (s64)(m->v->id + 1) * 64, "the handle is the vCPU's");
	m->begun = true;
}

static void put(struct model_vcpu *m)
{
	this_cpu()->loaded = NULL;
	m->loaded = -1;
	if (m->v->posting.on)
		posting_put(m->v);
}

static void load(struct model_vcpu *m)
{
	this_cpu()->loaded = m->v;
	m->loaded = running;
	if (m->v->posting.on)
		posting_load(m->v);
}

/* As vcpu_prepare(): what is noted is taken, and only what is noted. */
static bool look(struct model_vcpu *m)
{
	if (!(m->v->due & DUE_IRQ))
		return false;
	m->v->due &= ~DUE_IRQ;
	deliver(m);
	return true;
}

static void in_cpu(struct model_vcpu *m)
{
	struct model_cpu *c = &machine[running];

	if (c->in_guest) {
		c->in_guest = next_random() % 2;
	} else if (m->blocked || m->stopped || next_random() % 4 == 0) {
		put(m);
	} else if (next_random() % 2 && !look(m)) {
		m->blocked = true;
	} else if (next_random() % 4 == 0) {
		m->stopped = true;
	} else {
		look(m);
		c->in_guest = true;
	}
}

static void step(void)
{
	u32 id = next_random() % VCPUS;
	struct model_vcpu *m;

	running = next_random() % CPUS;
	m = loaded_in(running);
	if (m) {
		in_cpu(m);
		return;
	}
	m = &all[id];
	if (!m->v) {
		come(id);
	} else if (m->loaded < 0 && m->stopped && next_random() % 8 == 0) {
		go(id);
	} else if (m->loaded < 0 && !m->blocked) {
		m->stopped = false;
		load(m);
	}
}

/* All that has been sent to CPUs is taken: who does not know of what there is for him? */
static u32 settle(void)
{
	u32 lost = 0;

	depth++;
	for (u32 i = 0; i < 2 * CPUS; i++)
		take_irqs(i % CPUS);
	for (struct model_vcpu *m = all; m < all + VCPUS; m++) {
		if (!m->v || !lapic_highest(m->v->lapic.irr))
			continue;
		lost += m->blocked;
		lost += !(m->v->due & DUE_IRQ) && m->loaded >= 0;
		lost += m->loaded >= 0 && machine[m->loaded].in_guest;
	}
	depth--;
	return lost;
}

static void test_steps(void)
{
	u32 lost = 0;

	for (u32 i = 0; i < STEPS; i++) {
		u32 id = next_random() % VCPUS;

		running = next_random() % CPUS;
		if (all[id].v && !all[id].begun && next_random() % 16 == 0)
			begin(&all[id]);
		step();
		depth++;
		if (next_random() % 4 == 0)
			raise_some();
		depth--;
		if (next_random() % 4 == 0)
			take_irqs(next_random() % CPUS);
		if (next_random() % 16 == 0)
			lost += settle();
	}
	CHECK(!lost && !unsent && !owed && !misled && delivered > STEPS / 100 && ended > 100,
	      "%u steps, %u vCPUs that end, %u deliveries: %u interrupts lost, %u of nobody's, %u "
	      "sent to no CPU",
	      STEPS, ended, delivered, lost, unsent, misled);
}

static void test_refused(void)
{
	come(0);
	x2apic = false;
	CHECK(posting_begin(all[0].v) == -ENODEV && !all[0].v->posting.on,
	      "none is posted to while APICs have ids of 8 bits");
	x2apic = true;
	offered = false;
	CHECK(posting_begin(all[0].v) == -ENODEV && !all[0].v->posting.on,
	      "nor where units or CPUs cannot");
	offered = true;
	all[0].v->vm = &dom0_vm;
	CHECK(PANICS(posting_begin(all[0].v)), "nor to dom0's vCPUs");
	all[0].v->vm = &vm;
	posting_end(all[0].v);
	CHECK(!ended, "where none has begun nothing ends");
}

int main(void)
{
	arena_init(4 * MB);
	dom0_vm.is_dom0 = true;
	for (u32 i = 0; i < CPUS; i++) {
		machine[i].cpu.index = i;
		machine[i].cpu.apic_id = 100 + i;
	}
	depth = 1;
	posting_init();
	test_refused();
	depth = 0;
	test_steps();
	return test_end();
}
