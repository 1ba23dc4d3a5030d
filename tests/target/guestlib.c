/* SPDX-License-Identifier: GPL-2.0-only */
#include "guest.h"
#include "hv/abi_nested.h"

PROGRAM(g_handler);
PROGRAM(g_nmi);

static u8 memory[8][PAGES * PAGE] __attribute__((aligned(4096)));
static u8 buf[PAGE] __attribute__((aligned(4096)));

static s64 map(struct guest *g, u64 gfn, u64 pfn, u32 flags)
{
	struct corbel_map *m = (void *)buf;

	*m = (struct corbel_map){.gfn = gfn, .pfn = pfn, .flags = flags};
	return hc(CORBEL_HC_MAP, g->vm, m, 1);
}

s64 guest_map(struct guest *g, u64 gfn, u32 flags)
{
	return map(g, gfn, (u64)g->mem / PAGE + gfn, flags);
}

static struct corbel_segment flat(u64 base, u8 type)
{
	return (struct corbel_segment){.base = base,
				       .limit = 0xffff,
				       .selector = (u16)(base >> 4),
				       .type = type,
				       .present = 1,
				       .s = 1};
}

static bool set_real_mode(struct guest *g)
{
	struct corbel_sregs *s = (void *)g->data;

	if (hc(CORBEL_HC_VCPU_GET, g->vcpu, CORBEL_STATE_SREGS, 0) != sizeof(*s))
		return false;
	s->cs = flat(0, 0xb);
	s->ds = s->fs = s->gs = s->ss = flat(0, 3);
	s->es = flat(0xfee00000, 3);
	s->es.selector = 0;
	return !hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_SREGS, sizeof(*s));
}

bool guest_make(struct guest *g, u32 n, u32 flags, const u8 *code, const u8 *end)
{
	struct corbel_vm_create *c = (void *)buf;
	s64 at;

	*g = (struct guest){.mem = memory[n]};
	memset(g->mem, 0, PAGES * PAGE);
	memcpy(g->mem + 0x1000, code, (size_t)(end - code));
	memset(c, 0, sizeof(*c));
	memcpy(c->name, "target", 6);
	c->flags = flags;
	g->vm = hc(CORBEL_HC_VM_CREATE, c);
	if (g->vm <= 0)
		return false;
	for (u32 i = 0; i < 8; i++)
		if (guest_map(g, i, CORBEL_MAP_WRITE | CORBEL_MAP_EXEC) != 1)
			return false;
	g->vcpu = hc(CORBEL_HC_VCPU_CREATE, g->vm, 0);
	at = hc(CORBEL_HC_VCPU_PAGE, g->vcpu);
	if (g->vcpu <= 0 || at <= 0)
		return false;
	g->page = (void *)at;
	g->data = (u8 *)at + PAGE;
	/* The CPU that may be offered to a guest. */
	at = hc(CORBEL_HC_SUPPORTED, CORBEL_SUPPORTED_CPUID, 0, buf, PAGE);
	memcpy(g->data, buf, PAGE);
	if (at < 0 ||
	    hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_CPUID, at * sizeof(struct corbel_cpuid)) ||
	    !set_real_mode(g))
		return false;
	g->page->rip = 0x1000;
	g->page->rsp = 0x7000;
	g->page->rflags = 2;
	g->page->regs_dirty = 1;
	hc(CORBEL_HC_EVENT_BIND, cpu_of(0)->apic_id, VEC_EVENT);
	return true;
}

bool guest_free(struct guest *g)
{
	s64 ret;

	if (g->vcpu > 0) {
		hc(CORBEL_HC_VCPU_PAUSE, g->vcpu);
		guest_wait(g, 2000);
		while ((ret = hc(CORBEL_HC_VCPU_DESTROY, g->vcpu)) == -EAGAIN)
			;
		if (ret)
			return false;
	}
	while ((ret = hc(CORBEL_HC_VM_DESTROY, g->vm)) == -EAGAIN)
		;
	return !ret;
}

bool guest_wait(struct guest *g, u32 ms)
{
	struct percpu *p = me();

	apic_write(APIC_LVTT, LVT_DEADLINE | 0x70);
	for (u32 i = 0; g->page->state != CORBEL_VCPU_STOPPED && i <= ms / 10; i++) {
		p->count[0x70] = 0;
		wrmsr(0x6e0, rdtsc() + ms_to_tsc(10));
		while (g->page->state != CORBEL_VCPU_STOPPED && !p->count[0x70]) {
			sti_hlt();
			cli();
		}
	}
	wrmsr(0x6e0, 0);
	apic_write(APIC_LVTT, LVT_MASKED);
	/* As the module does: the event's bit is taken, or the next would raise no interrupt. */
	struct corbel_info i;

	info(&i);
	struct corbel_events *e = (void *)i.events_hpa;

	__atomic_store_n(&e->vcpu_summary, 0, __ATOMIC_SEQ_CST);
	__atomic_fetch_and(&e->vcpu[CORBEL_VCPU_ID(g->vcpu) / 64], ~BIT(g->vcpu % 64),
			   __ATOMIC_SEQ_CST);
	if (g->page->state != CORBEL_VCPU_STOPPED)
		return false;
	/* Its first guest: as the module does, again. */
	return g->page->exit_reason != CORBEL_EXIT_NEST ||
	       (!hc(CORBEL_HC_PROMISE, g->vm, g->vcpu, CORBEL_PROMISE_NESTED) && !guest_resume(g) &&
		guest_wait(g, ms));
}

s64 guest_resume(struct guest *g)
{
	return hc(CORBEL_HC_VCPU_RESUME, g->vcpu);
}

u32 guest_run(struct guest *g, u32 ms)
{
	if (guest_resume(g))
		return CORBEL_EXIT_NONE;
	return guest_wait(g, ms) ? g->page->exit_reason : CORBEL_EXIT_NONE;
}

struct corbel_vcpu_stat *vcpu_stat(s64 number)
{
	static struct corbel_vcpu_stat s __attribute__((aligned(4096)));

	for (u32 i = 0; hc(CORBEL_HC_STAT, CORBEL_STAT_VCPU, i, &s, sizeof(s)) > 0; i++)
		if (s.number == (u64)number)
			return &s;
	return NULL;
}

s64 guest_pin(struct guest *g, u64 mask)
{
	static struct corbel_cpus cpus __attribute__((aligned(64)));

	cpus.word[0] = mask;
	return hc(CORBEL_HC_SCHED, g->vcpu, 0, &cpus, 0);
}

void guest_set_ivt(struct guest *g)
{
	memcpy(g->mem + 0x3000, g_handler, (size_t)(g_handler_end - g_handler));
	memcpy(g->mem + 0x3100, g_nmi, (size_t)(g_nmi_end - g_nmi));
	for (u32 v = 0; v < 256; v++)
		LONG(g, v * 4) = v == 2 ? 0x3100 : 0x3000;
}

void guest_widen(struct guest *g)
{
	struct corbel_sregs *s = (void *)g->data;

	hc(CORBEL_HC_VCPU_GET, g->vcpu, CORBEL_STATE_SREGS, 0);
	s->es.base = 0;
	s->ds.limit = s->es.limit = 0xffffffff;
	s->ds.g = s->es.g = 1;
	hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_SREGS, sizeof(*s));
}
