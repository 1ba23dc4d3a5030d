/* SPDX-License-Identifier: GPL-2.0-only */
/* What the hypervisor does of SMM: a VM's second map, when an SMI or RSM stops a vCPU, and what
 * waits meanwhile. */
#include "guest.h"

PROGRAM(g_copy);
PROGRAM(g_rsm);
PROGRAM(g_ud2);
PROGRAM(g_hlt);

#define SMI	   1
#define HALTED	   3
#define INIT_LEVEL 0x4500
#define UD	   6

static u8 pages[3][PAGE] __attribute__((aligned(4096)));
static u8 buf[PAGE] __attribute__((aligned(4096)));

static s64 put(struct guest *g, u64 gfn, void *page)
{
	struct corbel_map *m = (void *)buf;

	*m = (struct corbel_map){
	    .gfn = gfn, .pfn = (u64)page / PAGE, .flags = CORBEL_MAP_WRITE | CORBEL_MAP_EXEC};
	return hc(CORBEL_HC_MAP, g->vm, m, 1);
}

static struct corbel_vcpu_events events(struct guest *g)
{
	hc(CORBEL_HC_VCPU_GET, g->vcpu, CORBEL_STATE_EVENTS, 0);
	return *(struct corbel_vcpu_events *)g->data;
}

static s64 set_events(struct guest *g, struct corbel_vcpu_events e)
{
	*(struct corbel_vcpu_events *)g->data = e;
	return hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_EVENTS, sizeof(e));
}

static s64 set_smm(struct guest *g, u8 smm)
{
	struct corbel_vcpu_events e = events(g);

	e.flags = 0;
	e.smi.smm = smm;
	return set_events(g, e);
}

/* The second map, where the guest's memory is as in the first. */
static bool add_map(struct guest *g)
{
	s64 ret = hc(CORBEL_HC_SMM, g->vm);

	for (u32 i = 0; i < 8 && !ret; i++)
		ret = put(g, i | CORBEL_GFN_SMM, g->mem + i * PAGE) != 1;
	return !ret;
}

static bool runs_and_sees(struct guest *g, u32 want)
{
	u32 count = LONG(g, 0x504);

	guest_resume(g);
	WAIT(LONG(g, 0x504) > count + 10, 2000);
	count = LONG(g, 0x500);
	hc(CORBEL_HC_VCPU_PAUSE, g->vcpu);
	return guest_wait(g, 2000) && count == want;
}

static void check_refused(struct guest *g)
{
	report(put(g, 9 | CORBEL_GFN_SMM, pages[1]) == -ENOENT &&
		   hc(CORBEL_HC_UNMAP, g->vm, CORBEL_GFN_SMM, 1) == -ENOENT &&
		   hc(CORBEL_HC_DIRTY, g->vm, CORBEL_GFN_SMM, 1, buf, 0) == -ENOENT,
	       "there is no second map before it is made");
	report(set_smm(g, 1) == -EINVAL && !events(g).smi.smm, "nor SMM");
	report(hc(CORBEL_HC_SMM, 0) == -ENOENT && hc(CORBEL_HC_SMM, 9999) == -ENOENT,
	       "dom0 and VMs that are not there get none");
	report(add_map(g) && !hc(CORBEL_HC_SMM, g->vm), "a second map is made, once");
	report(set_smm(g, 2) == -EINVAL && put(g, 9 | CORBEL_GFN_SMM << 1, pages[1]) == -EINVAL &&
		   put(g, 1 | CORBEL_GFN_SMM, pages[1]) == -EEXIST,
	       "there is no third, and the same rules hold");
}

static void check_maps(void)
{
	struct guest g;
	u32 stale = 0;

	MAKE(&g, CORBEL_VM_LAPIC, g_copy);
	check_refused(&g);
	for (u32 i = 0; i < 3; i++)
		*(u32 *)pages[i] = 0x1000 + i;
	put(&g, 9, pages[0]);
	put(&g, 9 | CORBEL_GFN_SMM, pages[1]);
	guest_pin(&g, cpu_count > 1 ? 2 : 1);
	for (u32 round = 0; round < 12; round++) {
		stale += set_smm(&g, round % 2) || g.page->in_smm != round % 2 ||
			 !runs_and_sees(&g, 0x1000 + round % 2);
		if (round == 6) /* generations of the one move on while the other is used */
			for (u32 i = 0; i < 5; i++)
				stale += put(&g, 10 | CORBEL_GFN_SMM, pages[2]) != 1 ||
					 hc(CORBEL_HC_UNMAP, g.vm, 10 | CORBEL_GFN_SMM, 1) != 1;
	}
	report(!stale, "a vCPU sees the map that it is to see (%u wrong)", stale);
	stale = hc(CORBEL_HC_UNMAP, g.vm, 9, 1) != 1 || !runs_and_sees(&g, 0x1001);
	report(!stale, "what goes from one map stays in the other");
	guest_resume(&g);
	report(hc(CORBEL_HC_UNMAP, g.vm, 9 | CORBEL_GFN_SMM, 1) == 1 && guest_wait(&g, 2000) &&
		   g.page->exit_reason == CORBEL_EXIT_MEM_FAULT &&
		   g.page->fault.gpa == (9 | CORBEL_GFN_SMM) * PAGE,
	       "and is missed where it goes, while the vCPU runs");
	put(&g, 9 | CORBEL_GFN_SMM, pages[2]);
	report(runs_and_sees(&g, 0x1002), "or other memory is seen");
	set_smm(&g, 0);
	report(guest_run(&g, 2000) == CORBEL_EXIT_MEM_FAULT && g.page->fault.gpa == 9 * PAGE,
	       "outside of SMM the first is missed");
	FREE(&g);
}

static void check_dirty(void)
{
	struct guest g;
	u64 gfns = CORBEL_GFN_SMM, *bits = (u64 *)buf;

	MAKE(&g, CORBEL_VM_LAPIC, g_copy);
	add_map(&g);
	put(&g, 9 | CORBEL_GFN_SMM, pages[1]);
	put(&g, 9, pages[0]);
	report(!hc(CORBEL_HC_DIRTY, g.vm, gfns, 16, buf, CORBEL_DIRTY_START) && !set_smm(&g, 1) &&
		   runs_and_sees(&g, *(u32 *)pages[1]) &&
		   !hc(CORBEL_HC_DIRTY, g.vm, gfns, 16, buf, CORBEL_DIRTY_CLEAR) && *bits == 1,
	       "the second map has a dirty log of its own (%lx)", *bits);
	FREE(&g);
}

static void check_rsm(void)
{
	struct guest g;

	MAKE(&g, CORBEL_VM_LAPIC, g_rsm);
	add_map(&g);
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && WORD(&g, 0x500) == 1,
	       "RSM is unknown outside of SMM");
	FREE(&g);
	MAKE(&g, CORBEL_VM_LAPIC, g_rsm);
	add_map(&g);
	set_smm(&g, 1);
	report(guest_run(&g, 2000) == CORBEL_EXIT_SMM && WORD(&g, 0x500) == 0 && g.page->in_smm &&
		   *(u16 *)(g.mem + g.page->rip) == 0xaa0f,
	       "in SMM it stops the vCPU");
	report(guest_run(&g, 2000) == CORBEL_EXIT_SMM, "again, if it is resumed");
	set_smm(&g, 0);
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && WORD(&g, 0x500) == 1,
	       "and is unknown when SMM has ended");
	FREE(&g);
	MAKE(&g, CORBEL_VM_LAPIC, g_ud2);
	add_map(&g);
	set_smm(&g, 1);
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && WORD(&g, 0x500) == 1,
	       "what else is unknown is so in SMM");
	FREE(&g);
}

#define NX  BIT(20) /* of CPUID's leaf 0x80000001, EDX */
#define NXE BIT(11) /* of EFER */

/* What RSM loads is the guest's choice, as what WRMSR writes. */
static void check_rights(void)
{
	struct corbel_cpuid *c;
	struct corbel_sregs *s;
	struct guest g;
	bool refused;
	s64 n;

	MAKE(&g, CORBEL_VM_LAPIC, g_copy);
	add_map(&g);
	c = (void *)g.data;
	n = hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_CPUID, 0);
	for (u32 i = 0; i < n / sizeof(*c); i++)
		if (c[i].function == 0x80000001)
			c[i].edx &= (u32)~NX;
	hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_CPUID, n);
	set_smm(&g, 1);
	s = (void *)g.data;
	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0);
	s->efer |= NXE;
	refused = hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s)) == -EINVAL;
	set_smm(&g, 0);
	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0);
	s->efer |= NXE;
	report(refused && !hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s)),
	       "in SMM EFER can have what the guest's CPUID shows, and no more");
	FREE(&g);
}

static void check_smi(void)
{
	struct corbel_vcpu_events e;
	struct guest g;

	MAKE(&g, CORBEL_VM_LAPIC, g_copy);
	add_map(&g);
	put(&g, 9, pages[0]);
	put(&g, 9 | CORBEL_GFN_SMM, pages[1]);
	guest_pin(&g, cpu_count > 1 ? 2 : 1);
	guest_resume(&g);
	hc(CORBEL_HC_NMI, g.vcpu, SMI);
	report(guest_wait(&g, 2000) && g.page->exit_reason == CORBEL_EXIT_SMM && !g.page->in_smm &&
		   !events(&g).smi.pending,
	       "an SMI stops a vCPU that runs, once");
	set_smm(&g, 1);
	hc(CORBEL_HC_NMI, g.vcpu, SMI);
	report(events(&g).smi.pending && runs_and_sees(&g, *(u32 *)pages[1]) &&
		   g.page->exit_reason == CORBEL_EXIT_PAUSED && events(&g).smi.pending,
	       "in SMM another one waits");
	hc(CORBEL_HC_MSI, g.vm, 0xfee00000, INIT_LEVEL);
	report(events(&g).smi.latched_init && runs_and_sees(&g, *(u32 *)pages[1]) &&
		   events(&g).smi.latched_init,
	       "as INIT does");
	e = events(&g);
	e.smi.latched_init = 0;
	e.flags = CORBEL_EVENTS_SMI;
	report(!set_events(&g, e) && !events(&g).smi.latched_init, "unless it is taken back");
	set_smm(&g, 0);
	report(guest_run(&g, 2000) == CORBEL_EXIT_SMM, "then the SMI comes");
	set_smm(&g, 1);
	hc(CORBEL_HC_MSI, g.vm, 0xfee00000, INIT_LEVEL);
	report(runs_and_sees(&g, *(u32 *)pages[1]) && !set_smm(&g, 0) &&
		   guest_run(&g, 2000) == CORBEL_EXIT_MEM_FAULT &&
		   g.page->fault.gpa >> 12 == 0xfffff,
	       "or INIT, and the vCPU is reset");
	FREE(&g);
}

static void check_order(void)
{
	struct corbel_vcpu_events e;
	struct guest g;

	MAKE(&g, CORBEL_VM_LAPIC, g_hlt);
	add_map(&g);
	guest_resume(&g);
	delay_us(20000);
	report(g.page->state != CORBEL_VCPU_STOPPED, "a vCPU sleeps");
	hc(CORBEL_HC_NMI, g.vcpu, SMI);
	report(guest_wait(&g, 2000) && g.page->exit_reason == CORBEL_EXIT_SMM &&
		   hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_MP, 0) == 4 &&
		   LONG_DATA(&g, 0) == HALTED,
	       "an SMI stops it in its sleep");
	LONG_DATA(&g, 0) = 2; /* waits for SIPI */
	hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_MP, 4);
	hc(CORBEL_HC_NMI, g.vcpu, SMI);
	report(guest_run(&g, 50) == CORBEL_EXIT_NONE, "but not while it waits for SIPI");
	FREE(&g);
	MAKE(&g, CORBEL_VM_LAPIC, g_copy);
	add_map(&g);
	put(&g, 9, pages[0]);
	guest_set_ivt(&g);
	e = events(&g);
	e.exception.injected = 1;
	e.exception.nr = UD;
	e.flags = CORBEL_EVENTS_SMI;
	e.smi.pending = 1;
	set_events(&g, e);
	report(guest_run(&g, 2000) == CORBEL_EXIT_SMM && g.page->rip == 0x3000,
	       "an exception that is being delivered is, before an SMI (rip %lx)", g.page->rip);
	FREE(&g);
}

void test_smm(void)
{
	struct corbel_info before, after;

	info(&before);
	check_maps();
	check_dirty();
	check_rsm();
	check_rights();
	check_smi();
	check_order();
	info(&after);
	report(before.pool_free_bytes == after.pool_free_bytes && before.vms == after.vms,
	       "nothing is left of second maps");
}
