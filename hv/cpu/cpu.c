/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/cpu.h"
#include "boot/image.h"
#include "hv/cpu/mcheck.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/irq.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"
#include "hv/mm/mm.h"
#include "hv/mm/pool.h"

/* SDM "Gate Descriptor Types" and "64-Bit Mode Task State Segment" */
struct gate {
	u16 offset0, selector;
	u8 ist, type;
	u16 offset16;
	u32 offset32, reserved;
};
#define GATE_INTERRUPT 0x8e /* present, ring 0, interrupts off */
_Static_assert(sizeof(struct gate) == 16, "IDT entry");

struct tss {
	u32 reserved0;
	u64 rsp[3], reserved1, ist[7], reserved2;
	u16 reserved3, iomap;
} __packed;
_Static_assert(sizeof(struct tss) == 104, "TSS");
#define TSS_TYPE 0x89ull /* present, available 64-bit TSS */
#define TSS_BUSY BIT(41)

/*
 * Stacks of a CPU, as mm_alloc_stack() numbers them; all but the first are IST entries of the TSS.
 */
enum { STACK_MAIN, STACK_NMI, STACK_DF, STACK_MC, STACK_NR };

struct cpu_arch {
	u64 gdt[5]; /* null, code, data, TSS (two) */
	struct tss tss;
};

struct cpu *cpus[MAX_CPUS];
u32 cpu_count;
u64 xcr0_host;
u32 mxcsr_mask;
u64 nmi_count;

static struct gate idt[256];
static struct cpu boot_cpu;
static struct cpu_arch boot_arch;
u8 cpu_spare_stack[PAGE_SIZE] __aligned(16);
static struct gate rest_idt[VEC_MC + 1];

static void (*panic_regs)(const struct regs *r);
static bool (*panic_elsewhere)(void);

extern u8 cpu_gates[];	 /* hv/cpu/entry.asm: 16 bytes each */
extern u8 cpu_rest_on[]; /* there, too */
extern u64 early_gdt[];	 /* boot/entry.asm */

/* Places where an exception is expected: hv/cpu/cpu.h, FIXUP_ENTRY */
struct fixup {
	u64 fault, resume;
};
extern const struct fixup fixup_start[], fixup_end[];

static void set_gate(struct gate *g, u64 at, u8 ist)
{
	BUG_ON(ist >= STACK_NR);
	*g = (struct gate){at, SEL_CODE, ist, GATE_INTERRUPT, at >> 16, at >> 32};
}

static void set_tss(struct cpu_arch *a)
{
	u64 base = (u64)&a->tss;

	memcpy(a->gdt, early_gdt, 3 * sizeof(u64));
	a->gdt[3] = (sizeof(struct tss) - 1) | (base & 0xffffff) << 16 | TSS_TYPE << 40 |
		    (base >> 24 & 0xff) << 56;
	a->gdt[4] = base >> 32;
	a->tss.iomap = sizeof(struct tss);
}

void cpu_load(struct cpu *c)
{
	struct cpu_arch *a = c->arch;
	struct table_reg gdtr = {sizeof(a->gdt) - 1, (u64)a->gdt},
			 idtr = {sizeof(idt) - 1, (u64)idt};

	BUG_ON(c->self != c);
	a->gdt[3] &= ~TSS_BUSY; /* LTR wants it so */
	__asm__ volatile("lgdt %0; ltr %w1; lldt %w2"
			 :
			 : "m"(gdtr), "r"(SEL_TSS), "r"(0)
			 : "memory");
	wrmsr(MSR_GS_BASE, (u64)c);
	__asm__ volatile("lidt %0" : : "m"(idtr)); /* last: an exception needs all of it */
}

static void init_struct(struct cpu *c, struct cpu_arch *a, u32 index, u32 apic_id)
{
	BUG_ON(index >= MAX_CPUS);
	c->self = c;
	c->index = index;
	c->apic_id = apic_id;
	c->arch = a;
	set_tss(a);
}

void cpu_init_boot(void)
{
	for (u32 v = 0; v < ARRAY_SIZE(idt); v++)
		set_gate(&idt[v], (u64)cpu_gates + v * 16, 0);
	idt[VEC_NMI].ist = STACK_NMI;
	idt[VEC_DF].ist = STACK_DF;
	idt[VEC_MC].ist = STACK_MC;
	set_gate(&rest_idt[VEC_NMI], (u64)cpu_rest_on, 0);
	set_gate(&rest_idt[VEC_MC], (u64)cpu_rest_on, 0);
	init_struct(&boot_cpu, &boot_arch, 0, 0);
	for (u32 i = STACK_NMI; i < STACK_NR; i++)
		boot_arch.tss.ist[i - 1] = (u64)(cpu_spare_stack + PAGE_SIZE);
	cpus[0] = &boot_cpu;
	cpu_count = 1;
	cpu_load(&boot_cpu);
}

/* Not by index, which another CPU gets when this one is left out but stays alive. */
static bool alloc_stacks(struct cpu *c)
{
	static u32 count;
	struct cpu_arch *a = c->arch;
	u32 nr = count++;

	c->stack_top = (u64)mm_alloc_stack(nr, STACK_MAIN);
	if (!c->stack_top)
		return false;
	for (u32 i = STACK_NMI; i < STACK_NR; i++) {
		a->tss.ist[i - 1] = (u64)mm_alloc_stack(nr, i);
		if (!a->tss.ist[i - 1])
			return false;
	}
	return true;
}

void cpu_init_stacks(struct cpu *c)
{
	if (!alloc_stacks(c))
		boot_fail("no memory for the boot CPU's stacks; give the hypervisor more with "
			  "option hvmem=");
}

struct cpu *cpu_alloc(u32 index, u32 apic_id)
{
	struct {
		struct cpu cpu;
		struct cpu_arch arch;
	} *both = pool_alloc(0, NULL);
	u32 order = 0;
	u8 *own;

	_Static_assert(sizeof(*both) <= PAGE_SIZE, "one page each");
	BUG_ON(!index); /* the boot CPU has its own */
	if (!both)
		return NULL;
	init_struct(&both->cpu, &both->arch, index, apic_id);
	while (PAGE_SIZE << order < (u64)__percpu_end - (u64)__percpu_start)
		order++;
	own = pool_alloc(order, NULL);
	both->cpu.offset = (u64)own - (u64)__percpu_start;
	if (own && alloc_stacks(&both->cpu))
		return &both->cpu;
	pool_free(both, 0, NULL); /* the rest is lost: it is boot time and memory is out */
	return NULL;
}

void cpu_rest(void)
{
	struct table_reg gdtr = {SEL_TSS - 1, (u64)early_gdt},
			 idtr = {sizeof(rest_idt) - 1, (u64)rest_idt};

	__asm__ volatile("lgdt %0; lidt %1" : : "m"(gdtr), "m"(idtr));
	write_cr4(read_cr4() | CR4_MCE);
	wbinvd(); /* what of memory is in caches only would be lost by a sleep */
	cpu_halt();
}

struct cpu_tables cpu_tables(void)
{
	struct cpu_arch *a = this_cpu()->arch;

	return (struct cpu_tables){.gdt = (u64)a->gdt, .idt = (u64)idt, .tss = (u64)&a->tss};
}

#define MXCSR_MASK_AT	   28 /* in FXSAVE's area */
#define MXCSR_MASK_DEFAULT 0xffbf

/* SDM "Guidelines for Writing to the MXCSR Register" */
static u32 read_mxcsr_mask(void)
{
	static u8 area[512] __attribute__((aligned(16)));
	u32 mask;

	__asm__ volatile("fxsave64 %0" : "=m"(area));
	memcpy(&mask, area + MXCSR_MASK_AT, sizeof(mask));
	return mask ? mask : MXCSR_MASK_DEFAULT;
}

void cpu_init_features(void)
{
	u64 cr4 = CR4_PAE | CR4_PGE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	struct cpuid_regs l = cpuid_read(7, 0);
	bool first = this_cpu() == &boot_cpu;

	if (l.b & CPUID_7B_SMEP)
		cr4 |= CR4_SMEP;
	if (l.b & CPUID_7B_SMAP)
		cr4 |= CR4_SMAP;
	if (l.c & CPUID_7C_UMIP)
		cr4 |= CR4_UMIP;
	if (l.c & CPUID_7C_PKU) /* without it RDPKRU is undefined; no page here is a user's */
		cr4 |= CR4_PKE;
	/* firmware may limit the leaves, and nothing is known then */
	if (first && cpuid_read(1, 0).c & CPUID_1C_XSAVE)
		xcr0_host = cpuid_read(0xd, 0).a & XCR0_SWITCHED;
	if (xcr0_host)
		cr4 |= CR4_OSXSAVE;
	wrmsr(MSR_PAT, PAT_HOST); /* firmware may have made uncached entries something else */
	write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
	write_cr4(cr4);
	if (first)
		mxcsr_mask = read_mxcsr_mask();
	if (!xcr0_host)
		return;
	xsetbv(0, xcr0_host);
	if (cpuid_read(0xd, 1).a & CPUID_D1A_XSAVES)
		wrmsr(MSR_XSS, 0); /* guests' too */
}

/* ---- exceptions and interrupts ---- */

static bool fix_up(struct regs *r)
{
	/* cppcheck-suppress comparePointers ; the linker script sets both around one array */
	for (const struct fixup *f = fixup_start; f < fixup_end; f++)
		if (f->fault == r->rip) {
			r->rip = f->resume;
			return true;
		}
	return false;
}

void cpu_set_panic(void (*regs)(const struct regs *r), bool (*elsewhere)(void))
{
	panic_regs = regs;
	panic_elsewhere = elsewhere;
}

static void nmi_handle(void)
{
	if (panic_elsewhere())
		cpu_halt();
	__atomic_fetch_add(&nmi_count, 1, __ATOMIC_RELAXED);
	WRITE_ONCE(this_cpu()->nmi_owed, true); /* locks may be held here: cpu_main() tells */
	WRITE_ONCE(this_cpu()->resched, true);
	apic_kick_from_nmi(); /* resched may have been looked at already, before HLT or an entry */
}

void exception_handle(struct regs *r)
{
	if (r->vector == VEC_NMI)
		nmi_handle();
	else if (r->vector >= VEC_LEAST && apic_end_stray(r->vector))
		return;
	else if (!(r->vector == VEC_MC && mcheck_survived()) && !fix_up(r))
		panic_regs(r);
}
