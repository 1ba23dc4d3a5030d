/* SPDX-License-Identifier: GPL-2.0-only */
/* How guests end, by raw hypercalls; and what is left of them. */
#include "guest.h"

PROGRAM(g_pio);
PROGRAM(g_triple);
PROGRAM(g_ud_triple);
PROGRAM(g_garbage);
PROGRAM(g_spin);
PROGRAM(g_exits);
PROGRAM(g_hlt);
PROGRAM(g_hypercall);
PROGRAM(g_cpuid);
PROGRAM(g_lme);
PROGRAM(g_state);

/* It stops behind each exit, which is told, also of those that the hypervisor serves alone. */
static void check_traced(void)
{
	u64 code = backend == CORBEL_BACKEND_VMX ? 10 : 0x72; /* CPUID's */
	u32 told = 0, wrong = 0;
	struct guest g;

	MAKE(&g, 0, g_exits);
	g.page->trace = 1;
	for (u32 i = 0; i < 200 && told < 20; i++) {
		g.page->exit.reason = CORBEL_NOT_TRACED;
		wrong += guest_run(&g, 2000) != CORBEL_EXIT_PAUSED;
		if (g.page->exit.reason != NR_CPUID) { /* an interrupt's, say */
			wrong += g.page->exit.reason == CORBEL_NOT_TRACED;
			continue;
		}
		told++;
		wrong += g.page->exit.code != code || g.page->exit.rip != 0x1000 ||
			 g.page->rip != 0x1002;
	}
	report(told == 20 && !wrong, "traced, it stops behind each CPUID (%u, %u wrong)", told,
	       wrong);
	g.page->trace = 0;
	g.page->exit.reason = CORBEL_NOT_TRACED;
	report(guest_run(&g, 50) == CORBEL_EXIT_NONE && g.page->exit.reason == CORBEL_NOT_TRACED,
	       "and does not when it is not traced any more");
	FREE(&g);
}

/* By both vendors' instruction: a guest may have come from a machine of the other. */
static void check_hypercalls(void)
{
	struct guest g;

	for (u8 modrm = 0xc1;; modrm = 0xd9) { /* VMCALL, VMMCALL */
		MAKE(&g, 0, g_hypercall);
		for (u8 *p = g.mem + 0x1000; p < g.mem + 0x1000 + (g_hypercall_end - g_hypercall);
		     p++)
			if (p[0] == 0x0f && p[1] == 1 && p[2] == 0xd9)
				p[2] = modrm;
		guest_run(&g, 2000);
		report(EXIT_IO(&g, 0x20, 0) && LONG(&g, 0x500) == (u32)-1000 &&
			   LONG(&g, 0x504) == (u32)-1000,
		       "dom0's hypercalls are not for guests (%s: %x, %x)",
		       modrm == 0xc1 ? "VMCALL" : "VMMCALL", LONG(&g, 0x500), LONG(&g, 0x504));
		FREE(&g);
		if (modrm == 0xd9)
			break;
	}
}

static bool has_nested(void)
{
	struct corbel_info i;

	info(&i);
	return i.features & CORBEL_FEATURE_NESTED;
}

static void check_ends(void)
{
	struct guest g;

	MAKE(&g, 0, g_triple);
	report(guest_run(&g, 2000) == CORBEL_EXIT_SHUTDOWN, "a triple fault exits as shutdown");
	report(guest_run(&g, 2000) == CORBEL_EXIT_SHUTDOWN, "and again when it is resumed");
	FREE(&g);
	MAKE(&g, 0, g_garbage);
	u32 r = guest_run(&g, 2000);
	report(r == CORBEL_EXIT_SHUTDOWN || r == CORBEL_EXIT_MEM_FAULT || r == CORBEL_EXIT_INTERNAL,
	       "a guest that runs garbage stops (exit %u)", r);
	FREE(&g);
	MAKE(&g, CORBEL_VM_LAPIC, g_spin);
	report(!guest_resume(&g) && guest_resume(&g) == -EBUSY, "a running vCPU cannot be resumed");
	report(hc(CORBEL_HC_VCPU_DESTROY, g.vcpu) == -EBUSY &&
		   hc(CORBEL_HC_VM_DESTROY, g.vm) == -EBUSY,
	       "nor destroyed, nor its VM");
	report(hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0) == -EBUSY &&
		   hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_RESET, 0) == -EBUSY,
	       "nor looked into");
	report(!hc(CORBEL_HC_VCPU_PAUSE, g.vcpu) && guest_wait(&g, 2000) &&
		   g.page->exit_reason == CORBEL_EXIT_PAUSED,
	       "PAUSE stops it");
	report(!hc(CORBEL_HC_VCPU_PAUSE, g.vcpu) && guest_run(&g, 2000) == CORBEL_EXIT_PAUSED &&
		   guest_run(&g, 50) == CORBEL_EXIT_NONE && !hc(CORBEL_HC_VCPU_PAUSE, g.vcpu) &&
		   guest_wait(&g, 2000),
	       "and one that is stopped when it is resumed, once");
	g.page->stop_at_once = 1;
	report(guest_run(&g, 2000) == CORBEL_EXIT_PAUSED, "stop_at_once stops it at once");
	FREE(&g);
	MAKE(&g, 0, g_exits);
	report(guest_run(&g, 50) == CORBEL_EXIT_NONE && !hc(CORBEL_HC_VCPU_PAUSE, g.vcpu) &&
		   guest_wait(&g, 2000) && g.page->exit_reason == CORBEL_EXIT_PAUSED,
	       "a guest that exits all the time with interrupts off does not keep the CPU");
	FREE(&g);
	MAKE(&g, 0, g_cpuid);
	guest_run(&g, 2000);
	report(!LONG(&g, 0x500) && LONG(&g, 0x504) & BIT(31), "a guest's CPUID: no Corbel leaf");
	report((LONG(&g, 0x504) & BIT(5) || LONG(&g, 0x508) & BIT(2)) == has_nested(),
	       "SVM or VMX with nested=on, and not without");
	FREE(&g);
	MAKE(&g, 0, g_lme);
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x10, 0),
	       "a guest with EFER.LME but without CR4.PAE exits");
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x11, 0) &&
		   LONG(&g, 0x500) == BIT(8),
	       "it reads LME, and sets PAE");
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x12, 0) &&
		   LONG(&g, 0x504) == BIT(8),
	       "and clears PAE again");
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x20, 0) &&
		   LONG(&g, 0x508) == BIT(8),
	       "LME is still there");
	FREE(&g);
}

/*
 * A VMM that gives a vCPU new state after a triple fault does not want to see what led to it: here
 * any event would be the next triple fault, since IDTR's limit is still 0.
 */
static void check_after_shutdown(void)
{
	struct guest g;

	MAKE(&g, 0, g_ud_triple);
	report(guest_run(&g, 2000) == CORBEL_EXIT_SHUTDOWN, "#UD without an IDT shuts down");
	*(volatile u8 *)(g.mem + 0x600) = 0xf4; /* HLT */
	g.page->rip = 0x600;
	g.page->regs_dirty = 1;
	report(guest_run(&g, 2000) == CORBEL_EXIT_HLT && g.page->rip == 0x601,
	       "with a new RIP it goes on there, and no event comes (exit %u)",
	       g.page->exit_reason);
	FREE(&g);
}

/* Guests that take turns on one CPU find their registers as they left them. */
static void check_switches(void)
{
	struct guest g[3];
	u32 before[3], lost = 0;
	bool on = true;

	for (u32 n = 0; n < 3; n++) {
		on &= guest_make(&g[n], n, 0, g_state, g_state_end);
		LONG(&g[n], 0x600) = 0x12340000 + n;
		guest_pin(&g[n], 1);
		guest_resume(&g[n]);
	}
	for (u32 round = 0; round < 5; round++) {
		for (u32 n = 0; n < 3; n++)
			before[n] = LONG(&g[n], 0x500);
		on &= WAIT(LONG(&g[0], 0x500) != before[0] && LONG(&g[1], 0x500) != before[1] &&
			       LONG(&g[2], 0x500) != before[2],
			   2000);
	}
	for (u32 n = 0; n < 3; n++) {
		hc(CORBEL_HC_VCPU_PAUSE, g[n].vcpu);
		lost += !guest_wait(&g[n], 2000) || g[n].page->exit_reason != CORBEL_EXIT_PAUSED;
		guest_free(&g[n]);
	}
	report(on && !lost,
	       "three guests on one CPU keep XMM, debug and MSR registers and CR2 (%u lost)", lost);
}

void guest_check_accounting(void)
{
	struct corbel_info before, after;
	struct guest g[4];
	bool good = true;

	info(&before);
	for (u32 round = 0; round < 10; round++) {
		for (u32 n = 0; n < 4; n++) {
			good &= guest_make(&g[n], n, round & 1 ? CORBEL_VM_LAPIC : 0, g_spin,
					   g_spin_end);
			guest_resume(&g[n]);
		}
		for (u32 n = 0; n < 4; n++)
			good &= guest_free(&g[n]);
	}
	info(&after);
	report(good, "40 guests are made, run and destroyed");
	report(before.pool_free_bytes == after.pool_free_bytes && before.vms == after.vms &&
		   before.vcpus == after.vcpus && after.vms == 1,
	       "the pool, VMs and vCPUs are as before (%ld bytes)",
	       (s64)(before.pool_free_bytes - after.pool_free_bytes));
}

/* What an emulator must be good at interrupts and faults for. */
void test_guest_ends(void)
{
	check_traced();
	check_ends();
	check_hypercalls();
	check_after_shutdown();
	check_switches();
	guest_check_accounting();
}

/* The guest is to begin with a breakpoint that has an error code, as none has. */
static void set_bad_event(struct guest *g, bool on)
{
	struct corbel_vcpu_events *e = (void *)g->data;

	hc(CORBEL_HC_VCPU_GET, g->vcpu, CORBEL_STATE_EVENTS, 0);
	e->exception.injected = e->exception.has_error_code = on;
	e->exception.nr = 3;
	report(!hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_EVENTS, sizeof(*e)),
	       "a breakpoint with an error code can be set, and taken away");
	g->page->rip = 0x1000;
	g->page->regs_dirty = 1;
}

/*
 * In real mode there are no error codes, whatever the VMM says. In protected mode many CPUs' VT-x
 * refuses the entry, and elsewhere the guest has no descriptor for it: nothing of it is in the next
 * one's way.
 */
static void check_bad_event(void)
{
	struct corbel_sregs *s;
	struct guest g;
	u32 exit;

	MAKE(&g, 0, g_pio);
	LONG(&g, 3 * 4) = 0x600;		/* its handler in real mode */
	*(volatile u8 *)(g.mem + 0x600) = 0xf4; /* HLT */
	set_bad_event(&g, true);
	report(guest_run(&g, 2000) == CORBEL_EXIT_HLT, "in real mode it is one like others");
	s = (void *)g.data;
	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0);
	s->cr0 |= BIT(0);
	s->idt.limit = 0;
	hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s));
	set_bad_event(&g, true);
	exit = guest_run(&g, 2000);
	report(exit == CORBEL_EXIT_FAIL_ENTRY || exit == CORBEL_EXIT_SHUTDOWN,
	       "in protected mode the guest gets no further (exit %u)", exit);
	set_bad_event(&g, false);
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x10, 0), "without it it runs");
	FREE(&g);
}

/* A state that VM entry refuses on both vendors' CPUs: a code segment of 64 and of 32 bits. */
void test_bad_entry(void)
{
	struct corbel_sregs good, *s;
	struct guest g, other;

	MAKE(&g, 0, g_pio);
	s = (void *)g.data;
	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0);
	good = *s;
	s->cr0 |= BIT(31) | BIT(0);
	s->cr4 = BIT(5);
	s->efer = BIT(10) | BIT(8);
	s->cs.l = s->cs.db = 1;
	report(!hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s)),
	       "a state that no CPU has can be set");
	report(guest_run(&g, 2000) == CORBEL_EXIT_FAIL_ENTRY && g.page->internal.code,
	       "VM entry fails (reason %lx)", g.page->internal.code);
	if (!report(guest_make(&other, 1, 0, g_hlt, g_hlt_end), "another guest is made"))
		return;
	report(guest_run(&other, 2000) == CORBEL_EXIT_HLT, "it is none the worse");
	FREE(&other);
	*s = good;
	hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s));
	g.page->rip = 0x1000;
	g.page->regs_dirty = 1;
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x10, 0),
	       "the first runs when its state is put right");
	FREE(&g);
	check_bad_event();
}
