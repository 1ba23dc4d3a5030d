/* SPDX-License-Identifier: GPL-2.0-only */
/* Life and exits of a guest by raw hypercalls. */
#include "guest.h"

PROGRAM(g_pio);
PROGRAM(g_string);
PROGRAM(g_mmio);
PROGRAM(g_fault);
PROGRAM(g_count);
PROGRAM(g_irq);
PROGRAM(g_shadow);
PROGRAM(g_pic);
PROGRAM(g_nmi_stops);
PROGRAM(g_stops);
PROGRAM(g_x2apic);
PROGRAM(g_x2apic_handler);
PROGRAM(g_hlt);
PROGRAM(g_cpuid_xsave);
PROGRAM(g_wbuart);

static u8 buf[PAGE] __attribute__((aligned(4096)));

static void check_pio(void)
{
	struct guest g;

	MAKE(&g, 0, g_pio);
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x10, 0) &&
		   g.page->io.size == 1 && g.data[0] == 0x5a && g.page->io.count == 1,
	       "OUT of a byte exits with port and value");
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x11, 1), "IN exits");
	*(u32 *)g.data = 0x12345678;
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x1234, 0) &&
		   g.page->io.size == 4 && *(u32 *)g.data == 0xdeadbeef && g.mem[0x500] == 0x78,
	       "IN got its byte, OUT of 32 bits exits");
	guest_run(&g, 2000);
	*(u32 *)g.data = 0x9999aaaa;
	guest_run(&g, 2000);
	report(LONG(&g, 0x504) == 0x1122aaaa && EXIT_IO(&g, 0x20, 0),
	       "IN of 16 bits keeps the upper half");
	report(guest_run(&g, 2000) == CORBEL_EXIT_HLT &&
		   g.page->rip == 0x1000u + (u32)(g_pio_end - g_pio),
	       "HLT exits, RIP is behind it");
	FREE(&g);
	MAKE(&g, 0, g_string);
	memcpy(g.mem + 0x600, "hello", 5);
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x77, 0) &&
		   g.page->io.count == 5 && !memcmp(g.data, "hello", 5),
	       "REP OUTSB is one exit");
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x77, 1) &&
		   g.page->io.count == 3 && g.page->io.size == 2,
	       "REP INSW is one exit");
	memcpy(g.data, "abcdef", 6);
	guest_run(&g, 2000);
	report(!memcmp(g.mem + 0x700, "abcdef", 6) && !WORD(&g, 0x500) && WORD(&g, 0x502) == 0x706,
	       "its data and registers are right");
	FREE(&g);
	MAKE(&g, 0, g_wbuart);
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x3f8, 0) &&
		   guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0xf4, 0),
	       "the machine's own ports are not a guest's");
	FREE(&g);
}

static bool is_mmio(struct guest *g, u64 at, u32 len, u32 write)
{
	return g->page->exit_reason == CORBEL_EXIT_MMIO && g->page->mmio.gpa == at &&
	       g->page->mmio.len == len && g->page->mmio.is_write == write;
}

static void answer(struct guest *g, u32 val)
{
	*(volatile u32 *)g->page->mmio.data = val;
}

static void check_memory_exits(void)
{
	struct guest g;

	MAKE(&g, 0, g_mmio);
	guest_map(&g, 8, CORBEL_MAP_MMIO);
	guest_map(&g, 9, CORBEL_MAP_MMIO);
	guest_run(&g, 2000);
	report(is_mmio(&g, 0x8010, 4, 0), "a read of MMIO exits");
	answer(&g, 41);
	guest_run(&g, 2000);
	report(is_mmio(&g, 0x8020, 4, 1) && *(volatile u32 *)g.page->mmio.data == 42,
	       "a write exits with what was read plus 1");
	guest_run(&g, 2000);
	report(is_mmio(&g, 0x8031, 1, 0), "a read-modify-write exits for the read");
	answer(&g, 0x40);
	guest_run(&g, 2000);
	report(is_mmio(&g, 0x8031, 1, 1) && g.page->mmio.data[0] == 0x41, "and for the write");
	guest_run(&g, 2000);
	answer(&g, 0xffff8001);
	guest_run(&g, 2000);
	report(LONG(&g, 0x500) == 0x8001 && is_mmio(&g, 0x8ffe, 2, 0),
	       "MOVZX, and the first half of an access over two pages");
	answer(&g, 0x1111);
	guest_run(&g, 2000);
	report(is_mmio(&g, 0x9000, 2, 0), "its second half");
	answer(&g, 0x2222);
	guest_run(&g, 2000);
	report(LONG(&g, 0x504) == 0x22221111 && EXIT_IO(&g, 0x20, 0), "both are one value");
	FREE(&g);

	MAKE(&g, 0, g_fault);
	LONG(&g, 0x9000) = 0x100;
	LONG(&g, 0xb000) = 0x200;
	report(guest_run(&g, 2000) == CORBEL_EXIT_MEM_FAULT &&
		   (g.page->fault.gpa & ~0xfffull) == 0x9000 && !g.page->fault.flags,
	       "a read of nothing is a memory fault");
	report(guest_run(&g, 2000) == CORBEL_EXIT_MEM_FAULT &&
		   (g.page->fault.gpa & ~0xfffull) == 0x9000,
	       "resumed without a map, it faults again");
	guest_map(&g, 9, 0);
	report(guest_run(&g, 2000) == CORBEL_EXIT_MEM_FAULT &&
		   (g.page->fault.gpa & ~0xfffull) == 0xa000 &&
		   g.page->fault.flags == CORBEL_FAULT_WRITE,
	       "mapped, it goes on; a write faults");
	guest_map(&g, 10, 0);
	report(guest_run(&g, 2000) == CORBEL_EXIT_MEM_FAULT &&
		   (g.page->fault.gpa & ~0xfffull) == 0xa000,
	       "read-only is not enough for a write");
	report(guest_map(&g, 10, CORBEL_MAP_WRITE) == 1, "rights can be widened");
	guest_run(&g, 2000);
	guest_map(&g, 11, CORBEL_MAP_ROM);
	guest_run(&g, 2000);
	report(LONG(&g, 0xa000) == 0x101 && LONG(&g, 0x500) == 0x200 && is_mmio(&g, 0xb004, 4, 1),
	       "ROM is read as memory, a write exits as MMIO");
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && !LONG(&g, 0xb004),
	       "and does not change it");
	FREE(&g);
}

static void check_interrupts(void)
{
	struct guest g;

	MAKE(&g, CORBEL_VM_LAPIC, g_irq);
	guest_set_ivt(&g);
	/* The LAPIC's switch, which is memory-mapped in a page nobody may map. */
	u32 *regs = (u32 *)g.data;

	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_LAPIC, 0);
	regs[APIC_SVR / 4] = 0x1ff;
	report(hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_LAPIC, 1024) == 0,
	       "its LAPIC can be switched on");
	report(guest_run(&g, 50) == CORBEL_EXIT_NONE && !WORD(&g, 0x500),
	       "it sleeps in HLT inside the hypervisor");
	report(vcpu_stat(g.vcpu)->state == CORBEL_VCPU_BLOCKED, "and is shown as blocked");
	for (u32 i = 1; i <= 3; i++) {
		report(hc(CORBEL_HC_MSI, g.vm, 0xfee00000, 0x50 + i) == 1,
		       "an MSI finds its target");
		WAIT(WORD(&g, 0x502) == i, 1000);
		report(WORD(&g, 0x500) == i && WORD(&g, 0x502) == i,
		       "interrupt %u is taken and ends HLT", i);
	}
	report(hc(CORBEL_HC_MSI, g.vm, 0xfee00000 | 9 << 12, 0x50) == 0,
	       "an MSI to nobody says so");
	report(hc(CORBEL_HC_POST, g.vm, 0xfee00000, 0x50) == -EINVAL &&
		   hc(CORBEL_HC_POST, g.vm, 0xfee00000 | 9 << 12, 0x50) == -EINVAL &&
		   hc(CORBEL_HC_POST, 0, 0xfee00000, 0x50) == -ENOENT &&
		   hc(CORBEL_HC_POST, 9999, 0xfee00000, 0x50) == -ENOENT,
	       "in xAPIC mode none is posted to it, to others and dom0 neither");
	report(hc(CORBEL_HC_PMU_FILTER, 0, 0) == -ENOENT &&
		   hc(CORBEL_HC_PMU_FILTER, 9999, 0) == -ENOENT &&
		   hc(CORBEL_HC_PMU_FILTER, g.vm, 0xff8) == -EINVAL &&
		   hc(CORBEL_HC_PMU_FILTER, g.vm, ~0xfffull) < 0,
	       "what counters may count is said of guests, from memory that is there");
	hc(CORBEL_HC_NMI, g.vcpu);
	report(WAIT(WORD(&g, 0x504) == 1, 1000), "an NMI is taken");
	hc(CORBEL_HC_VCPU_PAUSE, g.vcpu);
	guest_wait(&g, 1000);
	hc(CORBEL_HC_MSI, g.vm, 0xfee00000, 0x60);
	WAIT(false, 10);
	report(WORD(&g, 0x500) == 3, "stopped, it takes none");
	guest_resume(&g);
	report(WAIT(WORD(&g, 0x500) == 4, 1000), "resumed, it takes what came meanwhile");
	hc(CORBEL_HC_EXTINT, g.vcpu, 1);
	report(guest_wait(&g, 1000) && (g.page->exit_reason == CORBEL_EXIT_INTA),
	       "the PIC's line is asked for its vector");
	g.page->inta.vector = 0x21;
	hc(CORBEL_HC_EXTINT, g.vcpu, 0);
	guest_resume(&g);
	report(WAIT(WORD(&g, 0x500) == 5, 1000), "which is then taken");
	FREE(&g);

	MAKE(&g, 0, g_irq);
	guest_set_ivt(&g);
	LONG(&g, 0x33 * 4) = 0x3100;
	report(guest_run(&g, 2000) == CORBEL_EXIT_HLT && g.page->mode == CORBEL_MODE_IF &&
		   g.page->ready_for_irq,
	       "without LAPIC, HLT exits");
	*(u32 *)g.data = 0x33;
	report(hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_INTERRUPT, 4) == 0 &&
		   hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_INTERRUPT, 4) == -EEXIST,
	       "an interrupt can be queued, one");
	report(guest_run(&g, 2000) == CORBEL_EXIT_HLT && WORD(&g, 0x504) == 1 &&
		   WORD(&g, 0x502) == 1,
	       "it is taken");
	report(hc(CORBEL_HC_MSI, g.vm, 0xfee00000, 0x50) == -ENOENT, "MSIs need LAPICs");
	FREE(&g);
}

static s64 call_pic(const struct guest *g, u64 what, u64 a, u64 b, u64 c)
{
	return hc(CORBEL_HC_PIC, g->vm, what, a, b, c);
}

/* The PICs are the hypervisor's: a guest programs and ends, dom0 drives lines and hears of ends. */
static void check_pic(void)
{
	struct guest g;
	u64 rip;

	MAKE(&g, CORBEL_VM_LAPIC | CORBEL_VM_PIC, g_pic);
	guest_set_ivt(&g);
	for (u32 v = 0; v < 256; v++) /* vectors but two end it */
		if (v != 2 && v != 0x54 && v != 0x55)
			LONG(&g, v * 4) = 0xdead0000;
	report(guest_run(&g, 50) == CORBEL_EXIT_NONE && g.mem[0x510] == 0x42 &&
		   WORD(&g, 0x512) == 0xffff && vcpu_stat(g.vcpu)->exits[NR_IO] == 7,
	       "PICs are programmed, and read, without a stop");
	report((call_pic(&g, CORBEL_PIC_LINE, 4, 1, 1) & CORBEL_PIC_DONE) == CORBEL_PIC_RAISED &&
		   WAIT(WORD(&g, 0x502) == 1, 1000) && WORD(&g, 0x500) == 1,
	       "a line's interrupt is taken, and ended, without one");
	call_pic(&g, CORBEL_PIC_LINE, 4, 0, 1);
	report((call_pic(&g, CORBEL_PIC_LINE, 6, 1, 1) & CORBEL_PIC_DONE) == CORBEL_PIC_MASKED &&
		   guest_run(&g, 20) == CORBEL_EXIT_NONE && WORD(&g, 0x500) == 1,
	       "that of one that is masked is not");
	report(!call_pic(&g, CORBEL_PIC_TELL, 1 << 4, 0, 0), "dom0 may ask for a line's end");
	call_pic(&g, CORBEL_PIC_LINE, 4, 1, 1);
	report(guest_wait(&g, 1000) && g.page->exit_reason == CORBEL_EXIT_PIC &&
		   g.page->pic.what == 1 << 4 && WORD(&g, 0x500) == 2 && WORD(&g, 0x502) == 1,
	       "and hears of it, before the next instruction");
	guest_resume(&g);
	report(WAIT(WORD(&g, 0x502) == 2, 1000), "it goes on");
	call_pic(&g, CORBEL_PIC_LINE, 5, 1, 1);
	report(WAIT(WORD(&g, 0x502) == 3, 1000), "of others' it does not hear");
	call_pic(&g, CORBEL_PIC_IO, 0x21, 0, 0xff);
	call_pic(&g, CORBEL_PIC_IO, 0xa1, 0, 0xff);
	report(call_pic(&g, CORBEL_PIC_LINE, 4, 0, 1) & CORBEL_PIC_SLEEPS,
	       "with all lines masked they sleep");
	hc(CORBEL_HC_NMI, g.vcpu);
	report(guest_wait(&g, 1000) && g.page->exit_reason == CORBEL_EXIT_PIC &&
		   g.page->pic.what == CORBEL_PIC_ASLEEP && WORD(&g, 0x502) == 3,
	       "until the guest comes to a port");
	rip = g.page->rip;
	report(guest_run(&g, 1000) == CORBEL_EXIT_PIC && g.page->rip == rip, "resumed, again");
	call_pic(&g, CORBEL_PIC_LINE, 4, 1, 0);
	guest_resume(&g);
	report(WAIT(WORD(&g, 0x502) == 4, 1000), "with them awake it goes on");
	report(call_pic(&g, CORBEL_PIC_LINE, 16, 1, 0) == -EINVAL &&
		   call_pic(&g, CORBEL_PIC_IO, 0x22, 1, 0) == -EINVAL &&
		   call_pic(&g, CORBEL_PIC_GET, 8, 0, 0) == -EINVAL &&
		   call_pic(&g, CORBEL_PIT_SET + 1, 0, 0, 0) == -EINVAL &&
		   hc(CORBEL_HC_PIC, 0, CORBEL_PIC_LINE, 0, 0, 0) == -ENOENT,
	       "other lines, ports, words and calls there are not, nor dom0's");
	FREE(&g);
	MAKE(&g, CORBEL_VM_LAPIC, g_pic);
	report(call_pic(&g, CORBEL_PIC_LINE, 0, 0, 0) == -ENOENT &&
		   guest_run(&g, 1000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x20, 0),
	       "a VM without PICs has none, and its VMM those ports");
	FREE(&g);
}

/*
 * STI; HLT, as kernels sleep: an exit between the two must not let in what then would not end the
 * sleep.
 */
static void check_shadow(void)
{
	struct guest g;

	MAKE(&g, CORBEL_VM_LAPIC, g_shadow);
	guest_set_ivt(&g);
	memcpy(g.mem + 0x7fff, "\xfb\xf4\xe6\x20", 4); /* STI, HLT, OUT 0x20 */
	report(guest_run(&g, 2000) == CORBEL_EXIT_MEM_FAULT && g.page->rip == 0x8000 &&
		   !WORD(&g, 0x500),
	       "a guest stops between STI and HLT");
	guest_map(&g, 8, CORBEL_MAP_WRITE | CORBEL_MAP_EXEC);
	report(guest_run(&g, 1000) == CORBEL_EXIT_IO && WORD(&g, 0x500) == 1,
	       "the interrupt that waited comes behind HLT, and ends it");
	FREE(&g);
}

static bool set_nmi_masked(struct guest *g, bool masked)
{
	struct corbel_vcpu_events *e = (void *)g->data;

	if (hc(CORBEL_HC_VCPU_GET, g->vcpu, CORBEL_STATE_EVENTS, 0) != sizeof(*e))
		return false;
	e->nmi.masked = masked;
	return !hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_EVENTS, sizeof(*e));
}

static void start_at(struct guest *g, u16 rip, u16 rsp)
{
	g->page->rip = rip;
	g->page->rsp = rsp;
	g->page->rflags = 2;
	g->page->regs_dirty = 1;
}

/* It is in the handler of its nth NMI, which has come while it was not in another's. */
static bool in_nmi(struct guest *g, u32 n)
{
	return guest_run(g, 2000) == CORBEL_EXIT_IO && EXIT_IO(g, 0x10, false) &&
	       WORD(g, 0x504) == n && g->page->rsp == 0x6ffa;
}

/* Of which not the hardware, but a restore or a reset says whether NMIs are open. */
static void check_nmi_mask(void)
{
	static u8 sregs[sizeof(struct corbel_sregs)];
	struct guest g;

	MAKE(&g, CORBEL_VM_LAPIC, g_stops);
	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0);
	memcpy(sregs, g.data, sizeof(sregs));
	guest_set_ivt(&g);
	memcpy(g.mem + 0x3100, g_nmi_stops, (size_t)(g_nmi_stops_end - g_nmi_stops));
	memcpy(g.mem + 0x6ffa, "\x00\x10\x00\x00\x02\x00", 6); /* to g_stops */
	start_at(&g, 0x3104, 0x6ffa);
	hc(CORBEL_HC_NMI, g.vcpu);
	report(set_nmi_masked(&g, true) && in_nmi(&g, 0),
	       "restored inside an NMI's handler, a guest takes no other");
	report(in_nmi(&g, 1), "but does behind IRET");
	hc(CORBEL_HC_NMI, g.vcpu);
	start_at(&g, 0x1000, 0x7000);
	report(set_nmi_masked(&g, false) && in_nmi(&g, 2), "its VMM can open them");

	start_at(&g, 0x3106, 0x9000);
	report(guest_run(&g, 2000) == CORBEL_EXIT_MEM_FAULT, "it stops in the middle of IRET");
	hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_RESET, 0);
	memcpy(g.data, sregs, sizeof(sregs));
	hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(sregs));
	start_at(&g, 0x1000, 0x7000);
	hc(CORBEL_HC_NMI, g.vcpu);
	report(in_nmi(&g, 3), "after a reset it takes one");
	hc(CORBEL_HC_NMI, g.vcpu);
	report(in_nmi(&g, 4), "and the next not before the IRET of that");
	FREE(&g);
}

static bool tells_eoi(struct guest *g, u8 vector, u16 count)
{
	return guest_run(g, 1000) == CORBEL_EXIT_EOI && g->page->eoi.vector == vector &&
	       WORD(g, 0x500) == count;
}

/*
 * A guest in x2APIC mode: dom0 hears of the EOIs it asked for, of levels and of edges, and of no
 * others. TMR has those edges, too.
 */
static void check_guest_eois(void)
{
	struct guest g;

	MAKE(&g, CORBEL_VM_LAPIC, g_x2apic);
	guest_set_ivt(&g);
	memcpy(g.mem + 0x3000, g_x2apic_handler, (size_t)(g_x2apic_handler_end - g_x2apic_handler));
	hc(CORBEL_HC_EOI_MASK, g.vm, 1, BIT(0x61 - 64) | BIT(0x71 - 64));
	report(guest_run(&g, 50) == CORBEL_EXIT_NONE, "it sleeps");
	for (u32 i = 1; i <= 10; i++) {
		WORD(&g, 0x500) = 0;
		hc(CORBEL_HC_VCPU_PAUSE, g.vcpu);
		guest_wait(&g, 1000);
		hc(CORBEL_HC_MSI, g.vm, 0xfee00000, 0x52);
		hc(CORBEL_HC_MSI, g.vm, 0xfee00000, 0xc061);
		hc(CORBEL_HC_MSI, g.vm, 0xfee00000, 0xc062);
		hc(CORBEL_HC_MSI, g.vm, 0xfee00000, 0x71);
		if (!tells_eoi(&g, 0x71, 1) || !tells_eoi(&g, 0x61, 3)) {
			report(false, "round %u: EOI of %x after %u interrupts", i,
			       g.page->eoi.vector, WORD(&g, 0x500));
			break;
		}
		guest_resume(&g);
		WAIT(WORD(&g, 0x500) == 4, 1000);
	}
	report(WORD(&g, 0x500) == 4, "ten times: of four interrupts, two of them level-triggered, "
				     "the EOIs of those are told that were asked for");
	hc(CORBEL_HC_VCPU_PAUSE, g.vcpu);
	guest_wait(&g, 1000);
	hc(CORBEL_HC_MSI, g.vm, 0xfee00000, 0xc061);
	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_LAPIC, 0);
	report(LONG_DATA(&g, 0x200 + 0x30) == 2 && LONG_DATA(&g, 0x180 + 0x30) == (BIT(17) | 6) &&
		   !hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_LAPIC, 1024),
	       "stopped, its LAPIC shows what waits, and can be set to that");
	report(guest_run(&g, 1000) == CORBEL_EXIT_EOI && g.page->eoi.vector == 0x61,
	       "which then comes");
	FREE(&g);

	MAKE(&g, CORBEL_VM_LAPIC, g_x2apic);
	guest_set_ivt(&g);
	memcpy(g.mem + 0x3000, g_x2apic_handler, (size_t)(g_x2apic_handler_end - g_x2apic_handler));
	for (u32 v = 0; v < 256; v++)
		/* which counts elsewhere */
		LONG(&g, v * 4) = v == 0x41 || v == 0x52 ? 0x3000 : 0x3100;
	g.page->rsp = 0xa000; /* where nothing is */
	report(guest_run(&g, 50) == CORBEL_EXIT_NONE, "a guest without a stack sleeps");
	hc(CORBEL_HC_MSI, g.vm, 0xfee00000, 0x52);
	report(guest_wait(&g, 1000) && g.page->exit_reason == CORBEL_EXIT_MEM_FAULT &&
		   (g.page->fault.gpa & ~0xfffull) == 0x9000,
	       "an interrupt is broken off by a memory fault");
	guest_map(&g, 9, CORBEL_MAP_WRITE);
	guest_resume(&g);
	report(WAIT(WORD(&g, 0x500) == 1, 1000), "and delivered when there is memory");
	hc(CORBEL_HC_MSI, g.vm, 0xfee00000, 0x41);
	report(WAIT(WORD(&g, 0x500) == 2, 1000) && !WAIT(WORD(&g, 0x500) != 2, 10),
	       "once, and its EOI lets the next one in");
	FREE(&g);
}

/* MXCSR: the bits that this CPU has, no others, which XRSTOR would fault at. */
static void check_mxcsr(struct guest *g)
{
	static u8 own[512] __attribute__((aligned(16)));
	u64 cr4 = READ_CR(4);
	u32 mask, wrong = 0;

	WRITE_CR(4, cr4 | BIT(9)); /* OSFXSR: else FXSAVE does not tell */
	__asm__ volatile("fxsave64 %0" : "=m"(own));
	WRITE_CR(4, cr4);
	mask = *(u32 *)(own + 28) ? *(u32 *)(own + 28) : 0xffbf;
	for (u32 bit = 0; bit < 32; bit++) {
		hc(CORBEL_HC_VCPU_GET, g->vcpu, CORBEL_STATE_XSAVE, 0);
		LONG_DATA(g, 24) = 0x1f80 | BIT(bit);
		wrong += !hc(CORBEL_HC_VCPU_SET, g->vcpu, CORBEL_STATE_XSAVE, PAGE) !=
			 !!(mask & BIT(bit));
	}
	report(!wrong, "a guest's MXCSR has the bits of the CPU's (%x)", mask);
}

static void check_state(void)
{
	struct guest g;
	struct corbel_sregs *s;
	u32 bad = 0;

	MAKE(&g, CORBEL_VM_LAPIC, g_hlt);
	s = (void *)g.data;
	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0);
	s->cr4 = BIT(13);
	report(hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s)) == -EINVAL,
	       "SREGS: VMXE is refused");
	s->cr4 = 0;
	s->efer = BIT(1);
	report(hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s)) == -EINVAL,
	       "SREGS: reserved EFER bits are refused");
	s->efer = 0;
	s->cr0 = BIT(31);
	report(hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s)) == -EINVAL,
	       "SREGS: paging without protection is refused");
	s->cr0 = 0x10;
	report(hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, 8) == -EINVAL &&
		   hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, 4097) < 0 &&
		   hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_NR, 8) == -EINVAL &&
		   hc(CORBEL_HC_VCPU_GET, g.vcpu, ~0ull, 0) == -EINVAL,
	       "wrong sizes and kinds are refused");
	report(hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_XSAVE, 0) == PAGE &&
		   !hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_XSAVE, PAGE) &&
		   hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_XCR0, 0) == 8 &&
		   !hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_XCR0, 8),
	       "the FPU's state and XCR0 can be set to what they are");
	check_mxcsr(&g);
	memset(g.data, 0xff, PAGE);
	for (u32 what = 0; what < CORBEL_STATE_NR; what++) {
		static const u16 size[] = {312, 4096, 8, 100, 40, 1024, 64, 128, 4,    8, 4,
					   0,	4,    0, 8,   64, 0,	0,  32,	 4096, 32};

		if (what == CORBEL_STATE_CPUID || what == CORBEL_STATE_RESET ||
		    what == CORBEL_STATE_MSRS || what == CORBEL_STATE_LAPIC)
			continue;
		if (hc(CORBEL_HC_VCPU_SET, g.vcpu, what, size[what]) == 0 && ++bad)
			note("state %u takes all ones", what);
	}
	report(!bad, "all ones are no state");
	report(guest_run(&g, 200) != CORBEL_EXIT_FAIL_ENTRY, "what was refused did no harm");
	report(hc(CORBEL_HC_VCPU_CREATE, g.vm, 0) == -EEXIST &&
		   hc(CORBEL_HC_BOOT_CPU, g.vm, 1) == -EBUSY &&
		   hc(CORBEL_HC_VCPU_CREATE, g.vm, ~0ull) == -EINVAL,
	       "an APIC id is given once, and the boot CPU before the first");
	FREE(&g);
}

static u64 seed = 88172645463325252ull;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* Some bits of a state turned over, now and then a whole word. */
static void spoil(u8 *state, u32 size)
{
	for (u32 n = rnd() % 6 + 1; n; n--) {
		if (rnd() % 4)
			state[rnd() % size] ^= (u8)BIT(rnd() % 8);
		else
			*(u64 *)(state + rnd() % (size / 8) * 8) = rnd() % 2 ? rnd() : ~0ull;
	}
}

/* Whatever registers a VMM sets: the guest runs, stops for a reason, or the state is refused. */
void test_spoilt(void)
{
	static const struct {
		u16 what, size;
	} kinds[] = {{CORBEL_STATE_SREGS, 312},	 {CORBEL_STATE_SREGS, 312},
		     {CORBEL_STATE_EVENTS, 64},	 {CORBEL_STATE_DEBUGREGS, 128},
		     {CORBEL_STATE_LAPIC, 1024}, {CORBEL_STATE_XSAVE, 4096}};
	u32 set = 0, stopped = 0, entry = 0;
	struct guest g;

	for (u32 round = 0; round < 150; round++) {
		if (!guest_make(&g, 0, CORBEL_VM_LAPIC, g_count, g_count_end)) {
			report(false, "a guest is made, round %u", round);
			return;
		}
		for (u32 n = 0; n < 2; n++) {
			u32 k = rnd() % ARRAY_SIZE(kinds);

			hc(CORBEL_HC_VCPU_GET, g.vcpu, kinds[k].what, 0);
			spoil(g.data, kinds[k].size);
			set += !hc(CORBEL_HC_VCPU_SET, g.vcpu, kinds[k].what, kinds[k].size);
		}
		g.page->rflags = rnd();
		g.page->rip = rnd() % 2 ? 0x1000 : rnd();
		g.page->regs_dirty = 1;
		for (u32 n = 0; n < 3; n++) {
			u32 why = guest_run(&g, 5);

			if (why == CORBEL_EXIT_NONE)
				break;
			stopped++;
			entry += why == CORBEL_EXIT_FAIL_ENTRY;
		}
		if (!guest_free(&g)) {
			report(false, "the guest goes, round %u", round);
			return;
		}
	}
	report(set && stopped && entry,
	       "150 guests with spoilt registers run, stop or are refused (%u set, %u stops, %u "
	       "entries failed)",
	       set, stopped, entry);
	if (!guest_make(&g, 0, 0, g_hlt, g_hlt_end))
		return;
	report(guest_run(&g, 2000) == CORBEL_EXIT_HLT, "a sound one runs afterwards");
	FREE(&g);
}

static void check_msrs(void)
{
	struct corbel_msr *m;
	struct guest g;

	MAKE(&g, CORBEL_VM_LAPIC, g_hlt);
	m = (void *)g.data;
	memset(m, 0, PAGE);
	m[0].index = 0xc0000082;
	m[0].data = 0xffff800000001000;
	m[1].index = 0xc0000082;
	m[1].data = BIT(63);
	report(hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_MSRS, 2) == 1,
	       "MSRS: stops at an address that is none");
	m[0].index = 0xc0000080;
	m[0].data = BIT(12);
	report(hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_MSRS, 1) == 0, "MSRS: SVME is refused");
	m[0].index = 0x12345678;
	report(hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_MSRS, 1) == 0 &&
		   hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_MSRS, 1) == 0,
	       "MSRS: unknown ones are refused");
	report(hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_MSRS, 257) < 0 &&
		   hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_MSRS, ~0ull) < 0,
	       "MSRS: more than fit are refused");
	FREE(&g);
}

/* By both hypercalls; their results are to be alike, else it is 2. */
static s64 map_raw(struct guest *g, u64 gfn, u64 pfn, u32 order, u32 flags)
{
	struct corbel_map *m = (void *)buf;
	s64 ret;

	*m = (struct corbel_map){.gfn = gfn, .pfn = pfn, .order = order, .flags = flags};
	ret = hc(CORBEL_HC_MAP, g->vm, m, 1);
	return hc(CORBEL_HC_MAP_ONE, g->vm, gfn, pfn, order, flags) == ret ? ret : 2;
}

static void check_maps(void)
{
	struct corbel_info i;
	struct guest g;
	s64 left = 0;

	MAKE(&g, 0, g_hlt);
	info(&i);
	report(
	    map_raw(&g, 100, 0x200, 0, 1) < 0 && map_raw(&g, 100, i.events_hpa / PAGE, 0, 1) < 0 &&
		map_raw(&g, 100, (u64)g.page / PAGE, 0, 1) < 0 && map_raw(&g, 100, 0x201, 0, 0) < 0,
	    "the hypervisor's frames, also those lent to dom0, cannot be mapped");
	report(map_raw(&g, 100, 0xfee00, 0, 1) < 0 && map_raw(&g, 100, BIT(40), 0, 1) < 0 &&
		   map_raw(&g, 100, ~0ull, 0, 1) < 0,
	       "nor what is no RAM");
	report(map_raw(&g, BIT(52), (u64)g.mem / PAGE, 0, 1) < 0 &&
		   map_raw(&g, ~0ull, (u64)g.mem / PAGE, 0, 1) < 0,
	       "nor anything beyond the address width");
	report(map_raw(&g, 1, 0x1200, 9, 1) < 0 && map_raw(&g, 512, 0x1201, 9, 1) < 0 &&
		   map_raw(&g, 512, 0x1200, 3, 1) < 0,
	       "large pages are aligned, other orders are not known");
	report(map_raw(&g, 1, (u64)g.mem / PAGE + 2, 0, 1) == -EEXIST,
	       "other memory cannot go over what is there");
	report(map_raw(&g, 1, (u64)g.mem / PAGE + 1, 0, 1) == 1, "the same can be mapped again");
	report(hc(CORBEL_HC_MAP, g.vm, buf, 0) == -EINVAL &&
		   hc(CORBEL_HC_MAP, g.vm, buf, 1000) == -EINVAL &&
		   hc(CORBEL_HC_MAP, g.vm, buf + 4090, 1) < 0,
	       "the list lies in one page and is not empty");
	report(hc(CORBEL_HC_MAP_ONE, 0, 5, 5, 0, 1) < 0 &&
		   hc(CORBEL_HC_MAP_ONE, 1000, 5, 5, 0, 1) < 0 &&
		   hc(CORBEL_HC_MAP_ONE, g.vm, 1, (u64)g.mem / PAGE + 1, BIT(32), 1) == -EINVAL &&
		   hc(CORBEL_HC_MAP_ONE, g.vm, 1, (u64)g.mem / PAGE + 1, 0, 1 | BIT(40)) == -EINVAL,
	       "nothing is mapped for dom0, for VMs there are not, or with what no entry holds");
	report(hc(CORBEL_HC_UNMAP, g.vm, 0, 0) == -EINVAL, "nothing is no range to unmap");
	report(i.gfn_end >= BIT(20) && hc(CORBEL_HC_UNMAP, g.vm, i.gfn_end, 7) == 7 &&
		   hc(CORBEL_HC_UNMAP, g.vm, ~0ull, 1) == 1,
	       "beyond the end of guests' memory there is nothing left to unmap (%lx)", i.gfn_end);
	report(hc(CORBEL_HC_MAP_ONE, g.vm, i.gfn_end - 1, (u64)g.mem / PAGE, 0, 1) == 1 &&
		   hc(CORBEL_HC_MAP_ONE, g.vm, i.gfn_end, (u64)g.mem / PAGE, 0, 1) == -EINVAL,
	       "it can be mapped up to there");
	for (u64 at = 0; at < i.gfn_end; at += left) {
		left = hc(CORBEL_HC_UNMAP, g.vm, at, ~0ull);
		if (left <= 0)
			break;
	}
	report(left > 0 && guest_run(&g, 2000) == CORBEL_EXIT_MEM_FAULT,
	       "a range across the end is unmapped, and with it all that the guest had");
	FREE(&g);
}

/* CPUID at the end of a 32-bit segment: what comes next is at its beginning. */
static void check_wrap(void)
{
	static const u8 code[] = {0x0f, 0xa2, 0xe6, 0x20}; /* CPUID; OUT 0x20, AL */
	struct corbel_sregs *s;
	struct guest g;

	MAKE(&g, 0, g_hlt);
	memcpy(g.mem + 0x3000, code, sizeof(code));
	s = (void *)g.data;
	hc(CORBEL_HC_VCPU_GET, g.vcpu, CORBEL_STATE_SREGS, 0);
	s->cr0 |= 1; /* PE */
	s->cs.base = 0x3002;
	s->cs.limit = ~0u;
	s->cs.g = s->cs.db = 1;
	hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_SREGS, sizeof(*s));
	g.page->rip = 0xfffffffe;
	g.page->regs_dirty = 1;
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x20, 0) && g.page->rip == 2,
	       "an instruction that exits at the end of 4 GiB goes on at 0");
	FREE(&g);
}

/* A VMM may promise what the CPU does not have: that is its guest's trouble and nobody else's. */
static void check_invented_cpuid(void)
{
	struct corbel_cpuid *e;
	struct guest g;

	MAKE(&g, 0, g_cpuid_xsave);
	e = (void *)g.data;
	e[0] = (struct corbel_cpuid){
	    .function = 0xd, .index = 0, .flags = 1, .eax = 3, .ebx = 576, .ecx = 576};
	e[1] = (struct corbel_cpuid){.function = 0xd, .index = 1, .flags = 1, .eax = 0xf};
	report(!hc(CORBEL_HC_VCPU_SET, g.vcpu, CORBEL_STATE_CPUID, 2 * sizeof(*e)),
	       "any leaves can be set for a guest");
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x20, 0) &&
		   LONG(&g, 0x500) == 3 && LONG(&g, 0x504) == 576 && LONG(&g, 0x508) == 0xf,
	       "it reads the XSAVE leaf set for it, whether there is XSAVE or not");
	FREE(&g);
}

void test_guest(void)
{
	check_pio();
	check_invented_cpuid();
	check_wrap();
	check_memory_exits();
	check_interrupts();
	check_pic();
	check_shadow();
	check_nmi_mask();
	check_guest_eois();
	check_state();
	check_msrs();
	check_maps();
}
