/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests of guests on AMD-V (hypervisor option nested=on). The guest is pl_vmrun, which runs the
 * VMCB that this program writes into its memory and stops behind each #VMEXIT; the nested guest is
 * a few bytes of code of each test. Without the option: `nested off`, everything is refused.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#define VMCB	  0x200000ul
#define HSAVE	  0x201000ul
#define IOPM	  0x202000ul
#define MSRPM	  0x206000ul
#define L2_CODE	  0x210000ul
#define L2_STACK  0x220000ul
#define PAGE_A	  0x230000ul /* for what a test likes */
#define PAGE_B	  0x231000ul
#define PAGE_C	  0x232000ul
#define N_PML4	  0x280000ul /* nested tables: 4 KiB pages of the first 4 MiB */
#define N_PT	  (N_PML4 + 0x3000)
#define L2_DEVICE 0x3ff000ul /* in the nested guest's memory; MMIO of the guest's */
#define RUN_MS	  10000

/* Offsets, APM "Layout of VMCB" */
#define V8(vm, at)  (*(volatile u8 *)((vm)->ram + VMCB + (at)))
#define V16(vm, at) (*(volatile u16 *)((vm)->ram + VMCB + (at)))
#define V32(vm, at) (*(volatile u32 *)((vm)->ram + VMCB + (at)))
#define V64(vm, at) (*(volatile u64 *)((vm)->ram + VMCB + (at)))
#define R64(vm, at) (*(volatile u64 *)((vm)->ram + (at)))
#define EXC	    0x008
#define INT3	    0x00c
#define INT4	    0x010
#define IOPM_AT	    0x040
#define MSRPM_AT    0x048
#define TSC_OFF	    0x050
#define ASID	    0x058
#define TLB	    0x05c
#define VINTR	    0x060
#define EXITCODE    0x070
#define INFO1	    0x078
#define INFO2	    0x080
#define INTINFO	    0x088
#define NP	    0x090
#define EVENTINJ    0x0a8
#define NCR3	    0x0b0
#define SEG(n)	    (0x400 + (n)*16) /* es cs ss ds fs gs gdtr ldtr idtr tr */
#define EFER	    0x4d0
#define CR4	    0x548
#define CR3	    0x550
#define CR0	    0x558
#define DR7	    0x560
#define DR6	    0x568
#define RFLAGS	    0x570
#define RIP	    0x578
#define RSP	    0x5d8
#define RAX	    0x5f8
#define CR2	    0x640
#define GPAT	    0x668

#define ON_INTR	 (1u << 0)
#define ON_NMI	 (1u << 1)
#define ON_VINTR (1u << 4)
#define ON_CPUID (1u << 18)
#define ON_HLT	 (1u << 24)
#define ON_IO	 (1u << 27)
#define ON_MSR	 (1u << 28)
#define ON_DOWN	 (1u << 31)
#define ON_VMRUN (1u << 0)
#define ON_VMM	 (1u << 1)

#define EXIT_INTR    0x60
#define EXIT_VINTR   0x64
#define EXIT_CPUID   0x72
#define EXIT_HLT     0x78
#define EXIT_IO	     0x7b
#define EXIT_MSR     0x7c
#define EXIT_DOWN    0x7f
#define EXIT_VMMCALL 0x81
#define EXIT_NPF     0x400
#define EXIT_BAD     (~0ull)

#define VMMCALL 0x0f, 0x01, 0xd9

static void write_seg(struct vm *vm, u32 n, const struct kvm_segment *s)
{
	V16(vm, SEG(n)) = s->selector;
	V16(vm, SEG(n) + 2) = s->type | s->s << 4 | s->dpl << 5 | s->present << 7 | s->avl << 8 |
			      s->l << 9 | s->db << 10 | s->g << 11;
	V32(vm, SEG(n) + 4) = s->limit;
	V64(vm, SEG(n) + 8) = s->base;
}

static void nested_tables(struct vm *vm)
{
	R64(vm, N_PML4) = (N_PML4 + 0x1000) | 7;
	R64(vm, N_PML4 + 0x1000) = (N_PML4 + 0x2000) | 7;
	for (u32 i = 0; i < 2; i++)
		R64(vm, N_PML4 + 0x2000 + i * 8) = (N_PT + i * 0x1000) | 7;
	for (u32 i = 0; i < 1024; i++)
		R64(vm, N_PT + i * 8) = (u64)i << 12 | 7;
	R64(vm, N_PT + L2_DEVICE / 0x1000 * 8) = MMIO_BASE | 7;
}

/* A nested page */
static volatile u64 *npte(struct vm *vm, u64 at)
{
	return &R64(vm, N_PT + at / 0x1000 * 8);
}

/* A VMCB in which all is as for the guest itself, and code for it. */
static void vmcb_for(struct vm *vm, const void *code, size_t len, bool paging)
{
	struct kvm_sregs s;

	cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
	memset(vm->ram + VMCB, 0, 0x1000);
	memset(vm->ram + IOPM, 0, 0x8000);
	memset(vm->ram + L2_CODE, 0xcc, 0x1000);
	memcpy(vm->ram + L2_CODE, code, len);
	V32(vm, INT3) = ON_DOWN;
	V32(vm, INT4) = ON_VMRUN | ON_VMM;
	V64(vm, IOPM_AT) = IOPM;
	V64(vm, MSRPM_AT) = MSRPM;
	V32(vm, ASID) = 1;
	write_seg(vm, 0, &s.es);
	write_seg(vm, 1, &s.cs);
	write_seg(vm, 2, &s.ss);
	write_seg(vm, 3, &s.ds);
	V32(vm, SEG(6) + 4) = s.gdt.limit;
	V64(vm, SEG(6) + 8) = s.gdt.base;
	V32(vm, SEG(8) + 4) = s.idt.limit;
	V64(vm, SEG(8) + 8) = s.idt.base;
	V64(vm, EFER) = s.efer | 0x1000;
	V64(vm, CR4) = s.cr4;
	V64(vm, CR3) = s.cr3;
	V64(vm, CR0) = s.cr0;
	V64(vm, DR7) = 0x400;
	V64(vm, DR6) = 0xffff0ff0;
	V64(vm, RFLAGS) = 2;
	V64(vm, RIP) = L2_CODE;
	V64(vm, RSP) = L2_STACK;
	V64(vm, GPAT) = 0x0007040600070406ull;
	if (!paging)
		return;
	nested_tables(vm);
	V64(vm, NP) = 1;
	V64(vm, NCR3) = N_PML4;
	V8(vm, TLB) = 1;
}

static void start(struct vm *vm, u32 flags)
{
	struct kvm_sregs s;

	vm_init(vm, 1, flags);
	cpu_setup(vm, 0, MODE_LONG, pl_vmrun, VMCB, HSAVE);
	cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
	s.efer |= 0x800; /* NXE */
	cpu_ioctl(vm, 0, KVM_SET_SREGS, &s);
}

/* Runs to the next #VMEXIT: is it this one? */
static bool exits(struct vm *vm, u64 code)
{
	enum end end = vm_run(vm, 0, RUN_MS);

	if (end == END_PAUSE && V64(vm, EXITCODE) == code)
		return true;
	note("%s (exit %u), code %lx info %lx %lx intinfo %lx rip %lx, not code %lx",
	     end_names[end], vm->run[0]->exit_reason, V64(vm, EXITCODE), V64(vm, INFO1),
	     V64(vm, INFO2), V64(vm, INTINFO), V64(vm, RIP), code);
	return false;
}

static u64 reg(struct vm *vm, size_t at)
{
	struct kvm_regs r;

	cpu_get_regs(vm, 0, &r);
	return *(u64 *)((u8 *)&r + at);
}
#define REG(vm, name) reg(vm, offsetof(struct kvm_regs, name))

#define CODE_FOR(vm, paging, ...)                                                                  \
	do {                                                                                       \
		static const u8 code_[] = {__VA_ARGS__};                                           \
		vmcb_for(vm, code_, sizeof(code_), paging);                                        \
	} while (0)

/* ---- what a guest without SVM has ---- */

static const u8 set_svme[] = {
    0x4c, 0x8d,	     0x3d, 0x09, 0x00, 0x00, 0x00, /* lea r15, [rip + 9] */
    0x0f, 0x32,	     0x0d, 0x00, 0x10, 0x00, 0x00, /* rdmsr; or eax, 0x1000 */
    0x0f, 0x30,					   /* wrmsr */
    0x4c, 0x8d,	     0x3d, 0x03, 0x00, 0x00, 0x00, /* lea r15, [rip + 3] */
    0x0f, 0x01,	     0xd8,			   /* vmrun */
    0x4c, 0x8d,	     0x3d, 0x03, 0x00, 0x00, 0x00, /* lea r15, [rip + 3] */
    0x0f, 0x01,	     0xdc,			   /* stgi */
    0xe6, PORT_DONE,
};

static void without(bool hide)
{
	struct vm vm;
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[128];
	} c = {.head.nent = 128};
	struct kvm_regs r;
	enum end end;

	vm_init(&vm, 1, 0);
	ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &c);
	for (u32 i = 0; i < c.head.nent; i++)
		if (c.entry[i].function == 0x80000001)
			c.entry[i].ecx &= ~4u;
	if (hide)
		cpu_ioctl(&vm, 0, KVM_SET_CPUID2, &c);
	cpu_setup(&vm, 0, MODE_LONG, payload_start, 0, 0);
	memcpy(vm.ram + DATA, set_svme, sizeof(set_svme));
	cpu_get_regs(&vm, 0, &r);
	r.rip = DATA;
	r.rcx = 0xc0000080;
	cpu_set_regs(&vm, 0, &r);
	end = vm_run(&vm, 0, RUN_MS);
	ok(end == END_DONE && REG(&vm, r14) == 3,
	   "nested: a guest without SVM in its CPUID cannot set EFER.SVME; VMRUN and STGI are "
	   "undefined"
	   " (%lu faults)",
	   REG(&vm, r14));
	ok(set_msr(&vm, 0, 0xc0010117, 0x1000) != 1, "nested: and has no VM_HSAVE_PA");
	vm_free(&vm);
}

static bool is_offered(u32 *edx)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entry[128];
	} c = {.head.nent = 128};
	bool there = false;

	ioctl(kvm, KVM_GET_SUPPORTED_CPUID, &c);
	for (u32 i = 0; i < c.head.nent; i++) {
		if (c.entry[i].function == 0x80000001)
			there = c.entry[i].ecx & 4;
		if (c.entry[i].function == 0x8000000a)
			*edx = c.entry[i].edx;
	}
	return there;
}

/* ---- exits ---- */

static void test_exits(void)
{
	struct vm vm;

	start(&vm, 0);
	CODE_FOR(&vm, false, 0xb8, 0x78, 0x56, 0, 0, VMMCALL);
	ok(exits(&vm, EXIT_VMMCALL) && V64(&vm, RIP) == L2_CODE + 5 && V64(&vm, RAX) == 0x5678 &&
	       REG(&vm, r14) == 0,
	   "nested: VMRUN runs a guest, VMMCALL comes back with RIP and RAX");
	CODE_FOR(&vm, false, 0x31, 0xc0, 0x0f, 0xa2, VMMCALL);
	V32(&vm, INT3) |= ON_CPUID;
	ok(exits(&vm, EXIT_CPUID) && V64(&vm, RIP) == L2_CODE + 2, "nested: CPUID as asked for");
	V32(&vm, INT3) &= ~ON_CPUID;
	ok(exits(&vm, EXIT_VMMCALL) && V64(&vm, RAX) >= 1 && V64(&vm, RIP) == L2_CODE + 4,
	   "nested: not asked for it is answered as the guest's own");
	CODE_FOR(&vm, false, 0xf4);
	V32(&vm, INT3) |= ON_HLT;
	ok(exits(&vm, EXIT_HLT), "nested: HLT");
	CODE_FOR(&vm, false, 0x0f, 0x0b);
	V32(&vm, EXC) |= 1 << 6;
	ok(exits(&vm, 0x46) && V64(&vm, RIP) == L2_CODE, "nested: an exception");
	CODE_FOR(&vm, false, 0x48, 0xb8, 0, 0, 0, 0, 0x80, 0, 0, 0, 0x8b,
		 0x00); /* mov eax, [rax] */
	V32(&vm, EXC) |= 1 << 14;
	ok(exits(&vm, 0x4e) && V64(&vm, INFO2) == 0x8000000000 && !V64(&vm, INFO1),
	   "nested: a page fault with address and error code");
	V64(&vm, EXITCODE) = 0;
	V64(&vm, SEG(8) + 8) = 0;
	V32(&vm, SEG(8) + 4) = 0;
	V32(&vm, EXC) = 0;
	ok(exits(&vm, EXIT_DOWN), "nested: a triple fault is the guest's to see, and ends nothing");
	vm_free(&vm);
}

static void test_maps(void)
{
	struct vm vm;

	start(&vm, 0);
	CODE_FOR(&vm, false, 0xe5, 0x43, 0xe5, 0x44, VMMCALL); /* in eax, 0x43; in eax, 0x44 */
	V32(&vm, INT3) |= ON_IO;
	vm.ram[IOPM + 8] = 1 << 6; /* 0x46 */
	ok(exits(&vm, EXIT_IO) && V64(&vm, INFO1) >> 16 == 0x43 && V64(&vm, INFO2) == L2_CODE + 2,
	   "nested: a port is asked for by any of the bytes that are read");
	vm.ram[IOPM + 8] = 0;
	vm.io_exits = 0;
	ok(exits(&vm, EXIT_VMMCALL) && vm.io_exits == 3 && (u32)V64(&vm, RAX) == ~0u,
	   "nested: ports that are not asked for are the VMM's");
	/* mov ecx, STAR; rdmsr; wrmsr; */
	CODE_FOR(&vm, false, 0xb9, 0x81, 0, 0, 0xc0, 0x0f, 0x32, 0x0f, 0x30, VMMCALL);
	V32(&vm, INT3) |= ON_MSR;
	vm.ram[MSRPM + 0x800 + 0x81 / 4] = 2 << 2;
	ok(exits(&vm, EXIT_MSR) && V64(&vm, INFO1) == 1 && V64(&vm, RIP) == L2_CODE + 7,
	   "nested: an MSR's write is asked for, its read not");
	vm.ram[MSRPM + 0x800 + 0x81 / 4] = 0;
	ok(exits(&vm, EXIT_VMMCALL), "nested: nor its write");
	CODE_FOR(&vm, false, 0xb9, 0, 0x4d, 0x56, 0x4b, 0x0f, 0x32); /* 0x4b564d00 */
	V32(&vm, INT3) |= ON_MSR;
	ok(exits(&vm, EXIT_MSR) && !V64(&vm, INFO1), "nested: one that no map has is asked for");
	CODE_FOR(&vm, false, 0xb9, 0x10, 0, 0, 0, 0x0f, 0x32, 0x89, 0xd3, 0x0f, 0x31, VMMCALL);
	V64(&vm, TSC_OFF) = 1ull << 52;
	ok(exits(&vm, EXIT_VMMCALL) && REG(&vm, rbx) >> 20 && REG(&vm, rdx) >> 20,
	   "nested: RDTSC and the TSC's MSR have the nested guest's offset");
	vm_free(&vm);
}

/* ---- VMCBs that are none ---- */

static bool bad(struct vm *vm, const char *what)
{
	u64 faults = REG(vm, r14);
	bool refused = exits(vm, EXIT_BAD) && REG(vm, r14) == faults;

	ok(refused, "nested: refused as VMEXIT_INVALID: %s", what);
	CODE_FOR(vm, false, VMMCALL);
	return refused;
}

static void test_bad_vmcbs(void)
{
	struct vm vm;

	start(&vm, 0);
	CODE_FOR(&vm, false, VMMCALL);
	V32(&vm, ASID) = 0;
	bad(&vm, "ASID 0");
	V32(&vm, INT4) = ON_VMM;
	bad(&vm, "VMRUN is not intercepted");
	V64(&vm, EFER) &= ~0x1000ull;
	bad(&vm, "no EFER.SVME");
	V64(&vm, EFER) |= 1ull << 40;
	bad(&vm, "a reserved bit of EFER");
	V64(&vm, CR0) |= 1ull << 32;
	bad(&vm, "CR0 of more than 32 bits");
	V64(&vm, CR0) |= 1 << 29;
	bad(&vm, "NW without CD");
	V64(&vm, CR3) = 1ull << 55;
	bad(&vm, "CR3 beyond the address width");
	V64(&vm, CR4) |= 1ull << 31;
	bad(&vm, "a reserved bit of CR4");
	V64(&vm, CR4) &= ~0x20ull;
	bad(&vm, "long mode without PAE");
	V16(&vm, SEG(1) + 2) |= 1 << 10;
	bad(&vm, "a code segment of 64 and of 32 bits");
	V64(&vm, DR7) |= 1ull << 32;
	bad(&vm, "DR7 of more than 32 bits");
	V64(&vm, EVENTINJ) = 0x80000000 | 1 << 8;
	bad(&vm, "an event of no type");
	V64(&vm, EVENTINJ) = 0x80000000 | 3 << 8 | 2;
	bad(&vm, "an NMI that is to be an exception");
	V64(&vm, IOPM_AT) = ~0xfffull;
	bad(&vm, "a permission map beyond the address width");
	V64(&vm, NP) = 1;
	V64(&vm, NCR3) = 1ull << 60;
	bad(&vm, "nested tables beyond the address width");
	ok(exits(&vm, EXIT_VMMCALL), "nested: behind all this a good one runs");
	vm_free(&vm);
}

static void set_vmcb_at(struct vm *vm, u64 at)
{
	R64(vm, DATA) = at;
}

static void test_bad_places(void)
{
	struct vm vm;
	u64 faults;

	start(&vm, 0);
	CODE_FOR(&vm, false, VMMCALL);
	exits(&vm, EXIT_VMMCALL);
	for (u32 i = 0; i < 4; i++) {
		static const u64 places[] = {VMCB + 8, RAM_SIZE, MMIO_BASE, 1ull << 52};
		enum end end;

		faults = REG(&vm, r14);
		set_vmcb_at(&vm, places[i]);
		end = vm_run(&vm, 0, RUN_MS);
		ok(end == END_PAUSE && REG(&vm, r14) == faults + 1,
		   "nested: a VMCB at %lx is #GP (%s)", places[i], end_names[end]);
	}
	/* the last page of memory */
	memcpy(vm.ram + RAM_SIZE - 0x1000, vm.ram + VMCB, 0x1000);
	*(volatile u64 *)(vm.ram + RAM_SIZE - 0x1000 + RIP) = L2_CODE;
	*(volatile u64 *)(vm.ram + RAM_SIZE - 0x1000 + EXITCODE) = 0;
	set_vmcb_at(&vm, RAM_SIZE - 0x1000);
	faults = REG(&vm, r14);
	ok(vm_run(&vm, 0, RUN_MS) == END_PAUSE && REG(&vm, r14) == faults &&
	       *(volatile u64 *)(vm.ram + RAM_SIZE - 0x1000 + EXITCODE) == EXIT_VMMCALL,
	   "nested: one in the last page of memory runs");
	set_vmcb_at(&vm, VMCB);
	/* maps where there is no memory: all is asked for */
	CODE_FOR(&vm, false, 0xe4, 0x43, VMMCALL);
	V32(&vm, INT3) |= ON_IO;
	V64(&vm, IOPM_AT) = MMIO_BASE;
	ok(exits(&vm, EXIT_IO), "nested: a permission map in a device asks for everything");
	vm_free(&vm);
}

/* ---- nested paging ---- */

#define READ_A(...) 0xa1, 0x00, 0x00, 0x23, 0, 0, 0, 0, 0, __VA_ARGS__ /* mov eax, [PAGE_A] */
#define WRITE_A	    0xa3, 0x00, 0x00, 0x23, 0, 0, 0, 0, 0

static void test_npt(void)
{
	struct vm vm;

	start(&vm, 0);
	CODE_FOR(&vm, true, READ_A(VMMCALL));
	R64(&vm, PAGE_A) = 0x1234;
	*npte(&vm, PAGE_A) = 0;
	ok(exits(&vm, EXIT_NPF) && V64(&vm, INFO2) == PAGE_A && V64(&vm, INFO1) == (1ull << 32 | 4),
	   "nested: a page that is not there is a nested page fault of the guest's");
	*npte(&vm, PAGE_A) = PAGE_A | 7;
	ok(exits(&vm, EXIT_VMMCALL) && V64(&vm, RAX) == 0x1234,
	   "nested: mapped it is read, and no flush is needed");
	CODE_FOR(&vm, true, 0xb8, 9, 0, 0, 0, WRITE_A, VMMCALL);
	*npte(&vm, PAGE_A) = PAGE_A | 5;
	ok(exits(&vm, EXIT_NPF) && V64(&vm, INFO1) == (1ull << 32 | 7) &&
	       R64(&vm, PAGE_A) == 0x1234,
	   "nested: nor is a page written that may be read only");
	*npte(&vm, PAGE_A) = PAGE_A | 7;
	ok(exits(&vm, EXIT_VMMCALL) && (u32)R64(&vm, PAGE_A) == 9 && *npte(&vm, PAGE_A) & 0x40,
	   "nested: then it may, and is dirty in the guest's tables");
	CODE_FOR(&vm, true, READ_A(VMMCALL));
	ok(exits(&vm, EXIT_VMMCALL) && !(*npte(&vm, PAGE_A) & 0x40) && *npte(&vm, PAGE_A) & 0x20,
	   "nested: one that was only read is accessed, not dirty");
	CODE_FOR(&vm, true, 0xe9, 0xfb, 0xff, 0x01, 0x00); /* jmp PAGE_A */
	*npte(&vm, PAGE_A) = PAGE_A | 1ull << 63 | 7;
	V64(&vm, RIP) = PAGE_A;
	ok(exits(&vm, EXIT_NPF) && V64(&vm, INFO1) == (1ull << 32 | 0x15),
	   "nested: nor is one executed with NX");
	CODE_FOR(&vm, true, READ_A(VMMCALL));
	*npte(&vm, PAGE_A) = PAGE_A | 3;
	ok(exits(&vm, EXIT_NPF) && V64(&vm, INFO1) == (1ull << 32 | 5),
	   "nested: nor one that is not the user's");
	vm_free(&vm);
}

/* Whatever changes, the nested guest may not go on with what was. */
static void test_flushes(void)
{
	struct vm vm;
	struct kvm_userspace_memory_region ram = {.memory_size = RAM_SIZE,
						  .flags = KVM_MEM_LOG_DIRTY_PAGES};
	static u64 bitmap[RAM_SIZE / 4096 / 64];
	struct kvm_dirty_log log = {.dirty_bitmap = bitmap};

	start(&vm, 0);
	CODE_FOR(&vm, true, READ_A(VMMCALL));
	R64(&vm, PAGE_A) = 0xa;
	R64(&vm, PAGE_B) = 0xb;
	exits(&vm, EXIT_VMMCALL);
	*npte(&vm, PAGE_A) = PAGE_B | 7;
	V64(&vm, RIP) = L2_CODE;
	V8(&vm, TLB) = 1;
	ok(exits(&vm, EXIT_VMMCALL) && V64(&vm, RAX) == 0xb,
	   "nested: a flush, and the nested guest sees what is mapped now");
	*npte(&vm, PAGE_A) = PAGE_A | 7;
	V64(&vm, RIP) = L2_CODE;
	V32(&vm, ASID) = 2;
	ok(exits(&vm, EXIT_VMMCALL) && V64(&vm, RAX) == 0xa, "nested: so with another ASID");
	/* OUT to the VMM in between, which takes the page away */
	CODE_FOR(&vm, true, READ_A(0xe6, 0xe5, READ_A(VMMCALL)));
	ok(vm_run(&vm, 0, RUN_MS) == END_PAUSE && vm.run[0]->io.port == PORT_PAUSE,
	   "nested: a port that is not asked for stops for the VMM in the nested guest");
	madvise(vm.ram + PAGE_A, 0x1000, MADV_DONTNEED);
	ok(exits(&vm, EXIT_VMMCALL) && V64(&vm, RAX) == 0,
	   "nested: memory that the VMM has given back is not the nested guest's any more");
	CODE_FOR(&vm, true, 0xb8, 9, 0, 0, 0, WRITE_A, 0xe6, 0xe5, WRITE_A, VMMCALL);
	vm_run(&vm, 0, RUN_MS);
	ram.userspace_addr = (u64)vm.ram;
	if (vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &ram) ||
	    vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log))
		fatal("the dirty log cannot be switched on");
	memset(bitmap, 0, sizeof(bitmap));
	ok(exits(&vm, EXIT_VMMCALL) && !vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) &&
	       bitmap[PAGE_A / 4096 / 64] & 1ull << PAGE_A / 4096 % 64,
	   "nested: the dirty log has what the nested guest writes");
	ok(bitmap[VMCB / 4096 / 64] & 1ull << VMCB / 4096 % 64 &&
	       !(bitmap[PAGE_B / 4096 / 64] & 1ull << PAGE_B / 4096 % 64),
	   "nested: and the VMCB, and no other page");
	vm_free(&vm);
}

/* What is emulated for the nested guest is done in its memory, not at these addresses of the
 * guest's. */
static void test_escape(void)
{
	struct vm vm;

	start(&vm, 0);
	/* mov esi, DEVICE; mov edi, PAGE_A; movsd */
	CODE_FOR(&vm, true, 0xbe, 0x00, 0xf0, 0x3f, 0, 0xbf, 0x00, 0x00, 0x23, 0, 0xa5, VMMCALL);
	R64(&vm, PAGE_A) = R64(&vm, PAGE_B) = 0;
	*npte(&vm, PAGE_A) = PAGE_B | 7;
	ok(exits(&vm, EXIT_VMMCALL) && vm.mmio_exits == 1 && (u32)R64(&vm, PAGE_B) == ~0u &&
	       !R64(&vm, PAGE_A),
	   "nested: a device that the guest gives to its guest is the VMM's, what it says goes "
	   "where "
	   "the nested tables say");
	CODE_FOR(&vm, true, 0xbe, 0x00, 0xf0, 0x3f, 0, 0xbf, 0x00, 0x00, 0x23, 0, 0xa5, VMMCALL);
	R64(&vm, PAGE_A) = 0;
	*npte(&vm, PAGE_A) = 0;
	ok(exits(&vm, EXIT_NPF) && V64(&vm, INFO2) == PAGE_A && V64(&vm, INFO1) & 2,
	   "nested: or nowhere: that is a nested page fault");
	*npte(&vm, PAGE_A) = PAGE_B | 7;
	ok(exits(&vm, EXIT_VMMCALL) && !R64(&vm, PAGE_A), "nested: behind which it goes on");
	/* insd from a port that is the VMM's */
	CODE_FOR(&vm, true, 0xbf, 0x00, 0x00, 0x23, 0, 0xba, 0x77, 0, 0, 0, 0x6d, VMMCALL);
	R64(&vm, PAGE_B) = 0;
	*npte(&vm, PAGE_A) = PAGE_B | 7;
	ok(exits(&vm, EXIT_VMMCALL) && (u32)R64(&vm, PAGE_B) == ~0u && !R64(&vm, PAGE_A),
	   "nested: so do strings from a port");
	/* vmload; stgi; clgi; each is #UD */
	for (u32 op = 0xda; op <= 0xdd; op++) {
		const u8 code[] = {0x0f, 0x01, op};

		vmcb_for(&vm, code, sizeof(code), true);
		V64(&vm, RAX) = PAGE_C;
		V32(&vm, EXC) |= 1 << 6;
		ok(exits(&vm, 0x46), "nested: 0f 01 %x is undefined unless the guest asks for it",
		   op);
	}
	/* mov ecx, EFER; rdmsr; and ah, ~0x10; wrmsr */
	CODE_FOR(&vm, true, 0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32, 0x80, 0xe4, 0xef, 0x0f, 0x30,
		 VMMCALL);
	V32(&vm, EXC) |= 1 << 13;
	ok(exits(&vm, 0x4d), "nested: it cannot leave by clearing EFER.SVME");
	CODE_FOR(&vm, true, 0x0f, 0x01, 0xd8);
	ok(exits(&vm, 0x80), "nested: nor run guests of its own");
	/* the VMCB's page goes while it runs */
	CODE_FOR(&vm, true, 0xe6, 0xe5, VMMCALL);
	vm_run(&vm, 0, RUN_MS);
	madvise(vm.ram + VMCB, 0x1000, MADV_DONTNEED);
	ok(exits(&vm, EXIT_VMMCALL) && V64(&vm, RIP) == L2_CODE + 2,
	   "nested: #VMEXIT waits for a VMCB that the VMM's kernel has to bring");
	vm_free(&vm);
}

/* ---- events ---- */

static void test_events(void)
{
	struct vm vm;

	start(&vm, 0);
	CODE_FOR(&vm, true, 0x90, VMMCALL);
	V64(&vm, EVENTINJ) = 0x80000080;
	ok(exits(&vm, EXIT_VMMCALL) && REG(&vm, r13) == 1 && !(V64(&vm, EVENTINJ) & 0x80000000),
	   "nested: an interrupt that VMRUN injects is taken");
	CODE_FOR(&vm, true, 0x90, VMMCALL);
	*npte(&vm, L2_STACK - 8) = 0;
	V64(&vm, EVENTINJ) = 0x80000080;
	ok(exits(&vm, EXIT_NPF) && (u32)V64(&vm, INTINFO) == 0x80000080 && REG(&vm, r13) == 1,
	   "nested: one that finds no stack is in EXITINTINFO");
	*npte(&vm, L2_STACK - 8) = (L2_STACK - 0x1000) | 7;
	V64(&vm, EVENTINJ) = V64(&vm, INTINFO);
	ok(exits(&vm, EXIT_VMMCALL) && REG(&vm, r13) == 2, "nested: and comes the second time");
	CODE_FOR(&vm, true, 0x90, VMMCALL);
	madvise(vm.ram + L2_STACK - 0x1000, 0x1000, MADV_DONTNEED);
	V64(&vm, EVENTINJ) = 0x80000080;
	ok(exits(&vm, EXIT_VMMCALL) && REG(&vm, r13) == 3,
	   "nested: where memory is missing that is not the guest's to bring it comes by itself");
	CODE_FOR(&vm, true, 0x90, 0xfb, 0x90, 0x90, VMMCALL); /* sti */
	V64(&vm, VINTR) = 1 << 8 | 0xful << 16 | 0x81ull << 32 | 1 << 24;
	V64(&vm, EXITCODE) = 0;
	ok(exits(&vm, EXIT_VMMCALL) && REG(&vm, r13) == 4 && !(V64(&vm, VINTR) & 1 << 8),
	   "nested: a virtual interrupt comes with IF, and is gone");
	CODE_FOR(&vm, true, 0x90, 0xfb, 0x90, 0x90, VMMCALL);
	V64(&vm, VINTR) = 1 << 8 | 0xful << 16 | 0x81ull << 32 | 1 << 24;
	V32(&vm, INT3) |= ON_VINTR;
	ok(exits(&vm, EXIT_VINTR) && V64(&vm, VINTR) & 1 << 8 && REG(&vm, r13) == 4,
	   "nested: or is a window for the guest");
	/* mov rax, cr8; mov cr8, 5 ... */
	CODE_FOR(&vm, true, 0x44, 0x0f, 0x20, 0xc0, 0x89, 0xc3, 0x6a, 5, 0x58, 0x44, 0x0f, 0x22,
		 0xc0, VMMCALL);
	V64(&vm, VINTR) = 1 << 24 | 9;
	ok(exits(&vm, EXIT_VMMCALL) && REG(&vm, rbx) == 9 && (V64(&vm, VINTR) & 15) == 5,
	   "nested: with masking CR8 is the VMCB's");
	vm_free(&vm);
}

static void test_interrupts(void)
{
	struct kvm_interrupt irq = {0x90};
	struct kvm_lapic_state lapic;
	struct vm vm;
	u64 until;

	/* The guest's own LAPIC's timer, every ms */
	start(&vm, VM_IRQCHIP);
	cpu_ioctl(&vm, 0, KVM_GET_LAPIC, &lapic);
	*(u32 *)(lapic.regs + 0xf0) = 0x1ff;
	*(u32 *)(lapic.regs + 0x320) = 0x20000 | 0x91;
	*(u32 *)(lapic.regs + 0x3e0) = 0xb;
	*(u32 *)(lapic.regs + 0x380) = 1000000;
	cpu_ioctl(&vm, 0, KVM_SET_LAPIC, &lapic);
	CODE_FOR(&vm, true, 0xeb, 0xfe);
	V32(&vm, INT3) |= ON_INTR;
	V64(&vm, VINTR) = 1 << 24;
	ok(exits(&vm, EXIT_INTR) && V64(&vm, RIP) == L2_CODE && REG(&vm, r13) == 1,
	   "nested: a timer of the guest's ends its guest's turn, and is taken behind STGI");
	vm_free(&vm);

	start(&vm, 0);
	CODE_FOR(&vm, true, 0xeb, 0xfe);
	V32(&vm, INT3) |= ON_INTR;
	V64(&vm, VINTR) = 1 << 24;
	until = now_ms() + 50;
	ok(vm_run(&vm, 0, 50) == END_TIME && now_ms() < until + 2000,
	   "nested: a signal to the VMM ends a nested guest's turn");
	ok(V64(&vm, EXITCODE) == 0 && REG(&vm, rip) == L2_CODE,
	   "nested: which is not an exit for the guest");
	vm.run[0]->request_interrupt_window = 1;
	while (!vm.run[0]->ready_for_interrupt_injection && now_ms() < until + 5000)
		vm_run(&vm, 0, 20);
	cpu_ioctl(&vm, 0, KVM_INTERRUPT, &irq);
	vm.run[0]->request_interrupt_window = 0;
	ok(V64(&vm, EXITCODE) == EXIT_INTR && vm_run(&vm, 0, RUN_MS) == END_PAUSE &&
	       REG(&vm, r13) == 1,
	   "nested: the VMM's own interrupt ends it, too");
	vm_free(&vm);
}

/* A machine is reset while its guest runs a guest. */
static void test_reset(void)
{
	struct vm vm;
	struct kvm_sregs s;
	u64 code;

	start(&vm, 0);
	CODE_FOR(&vm, true, 0xe6, 0xe5, VMMCALL);
	vm_run(&vm, 0, RUN_MS);
	cpu_ioctl(&vm, 0, KVM_GET_SREGS, &s);
	ok(s.efer & 0x1000 && !cpu_ioctl(&vm, 0, KVM_SET_SREGS, &s) && exits(&vm, EXIT_VMMCALL),
	   "nested: EFER.SVME is told to the VMM, which can set it");
	V64(&vm, RIP) = L2_CODE;
	vm_run(&vm, 0, RUN_MS);
	s.efer &= ~0x1000ull;
	code = V64(&vm, EXITCODE);
	cpu_ioctl(&vm, 0, KVM_SET_SREGS, &s);
	cpu_setup(&vm, 0, MODE_LONG, pl_hypercalls, 100, 2);
	ok(vm_run(&vm, 0, RUN_MS) == END_DONE && V64(&vm, EXITCODE) == code,
	   "nested: without SVME it is out of its guest, and VMMCALL a hypercall again");
	vm_free(&vm);
}

struct nested_state {
	struct kvm_nested_state head;
	u8 vmcb[0x1000];
};

/* The whole vCPU, to another VM with a copy of the memory; -errno of the step that fails. */
static int move(struct vm *from, struct vm *to, struct nested_state *s)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_vcpu_events events;
	int err;

	s->head.size = sizeof(*s);
	err = cpu_ioctl(from, 0, KVM_GET_NESTED_STATE, s);
	if (err)
		return err;
	cpu_get_regs(from, 0, &regs);
	if (cpu_ioctl(from, 0, KVM_GET_SREGS, &sregs) ||
	    cpu_ioctl(from, 0, KVM_GET_VCPU_EVENTS, &events))
		fatal("state cannot be read");
	memcpy(to->ram, from->ram, RAM_SIZE);
	if (cpu_ioctl(to, 0, KVM_SET_SREGS, &sregs))
		fatal("KVM_SET_SREGS");
	err = cpu_ioctl(to, 0, KVM_SET_NESTED_STATE, s);
	cpu_set_regs(to, 0, &regs);
	if (cpu_ioctl(to, 0, KVM_SET_VCPU_EVENTS, &events))
		fatal("KVM_SET_VCPU_EVENTS");
	return err;
}

static void test_state(void)
{
	static struct nested_state s, wrong;
	struct vm a, b;
	struct kvm_sregs sregs;

	ok(ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE) == 128 + 4096,
	   "nested: KVM_CAP_NESTED_STATE says how large the state is");
	start(&a, 0);
	s.head.size = sizeof(s);
	ok(!cpu_ioctl(&a, 0, KVM_GET_NESTED_STATE, &s) &&
	       s.head.flags == KVM_STATE_NESTED_GIF_SET && s.head.size == 128,
	   "nested: of a guest that runs none it has GIF");
	CODE_FOR(&a, true, 0xe6, 0xe5, READ_A(VMMCALL));
	R64(&a, PAGE_B) = 0x4711;
	*npte(&a, PAGE_A) = PAGE_B | 7;
	V64(&a, VINTR) = 1 << 24 | 3;
	V64(&a, TSC_OFF) = 1ull << 50;
	vm_run(&a, 0, RUN_MS);
	s.head.size = 128;
	ok(cpu_ioctl(&a, 0, KVM_GET_NESTED_STATE, &s) == -E2BIG && s.head.size == 128 + 4096,
	   "nested: a buffer that is too small is told how large it should be");
	start(&b, 0);
	ok(!move(&a, &b, &s) &&
	       s.head.flags == (KVM_STATE_NESTED_GIF_SET | KVM_STATE_NESTED_GUEST_MODE) &&
	       s.head.hdr.svm.vmcb_pa == VMCB,
	   "nested: the state of a guest in guest mode is taken, and given to another");
	memset(a.ram, 0, RAM_SIZE);
	ok(exits(&b, EXIT_VMMCALL) && V64(&b, RAX) == 0x4711 && (V64(&b, VINTR) & 15) == 3 &&
	       REG(&b, r14) == 0,
	   "nested: where it goes on, on its nested tables, and comes back to its host");
	CODE_FOR(&b, true, VMMCALL);
	ok(exits(&b, EXIT_VMMCALL), "nested: which runs the next");
	wrong = s;
	wrong.head.hdr.svm.vmcb_pa = VMCB + 8;
	ok(cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &wrong) == -EINVAL,
	   "nested: a VMCB that is not aligned is EINVAL");
	wrong = s;
	wrong.head.flags |= 4;
	ok(cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &wrong) == -EINVAL,
	   "nested: so is a flag of VMX");
	wrong = s;
	wrong.head.format = KVM_STATE_NESTED_FORMAT_VMX;
	ok(cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &wrong) == -EINVAL, "nested: or its format");
	wrong = s;
	wrong.vmcb[INT4] = 0;
	ok(cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &wrong) == -EINVAL,
	   "nested: or controls that VMRUN refuses");
	wrong = s;
	*(u64 *)(wrong.vmcb + CR0) = 0;
	ok(cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &wrong) == -EINVAL,
	   "nested: or a host without protected mode");
	cpu_ioctl(&b, 0, KVM_GET_SREGS, &sregs);
	sregs.efer &= ~0x1000ull;
	cpu_ioctl(&b, 0, KVM_SET_SREGS, &sregs);
	ok(cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &s) == -EINVAL, "nested: or EFER without SVME");
	s.head.flags = KVM_STATE_NESTED_GIF_SET;
	s.head.size = 128;
	ok(!cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &s), "nested: which may say that GIF is set");
	vm_free(&a);
	vm_free(&b);
}

/* Any VMCB: neither the hypervisor nor the VMM's thread may suffer. */
static void test_any(void)
{
	u64 runs = 0, until = now_ms() + 4000;
	struct vm vm;

	start(&vm, VM_IRQCHIP);
	while (now_ms() < until) {
		enum end end;

		CODE_FOR(&vm, true, 0x0f, 0xa2, 0xe4, 0x10, 0xeb, 0xfa);
		V32(&vm, INT3) |= ON_CPUID;
		for (u32 n = rnd() % 6; n; n--) {
			u32 at = rnd() % 2 ? rnd() % 0xe0 : 0x400 + rnd() % 0x298;

			V8(&vm, at) = rnd();
		}
		if (rnd() % 4 == 0)
			*npte(&vm, rnd() % RAM_SIZE) ^= 1ull << rnd() % 64;
		end = vm_run(&vm, 0, 40);
		runs++;
		if (end == END_PAUSE)
			continue;
		vm_free(&vm);
		start(&vm, VM_IRQCHIP);
	}
	CODE_FOR(&vm, true, VMMCALL);
	ok(exits(&vm, EXIT_VMMCALL), "nested: behind %lu random VMCBs a good one runs", runs);
	vm_free(&vm);
}

int main(int argc, char **argv)
{
	u32 edx = 0;
	bool there;

	open_kvm();
	there = is_offered(&edx);
	if (argc > 1 && !strcmp(argv[1], "off")) {
		ok(!there && !edx, "nested: not offered without nested=on");
		without(false);
		return failures != 0;
	}
	ok(there && edx & 1 && !(edx & ~9u), "nested: SVM is offered, with nested paging (%x)",
	   edx);
	without(true);
	test_exits();
	test_maps();
	test_bad_vmcbs();
	test_bad_places();
	test_npt();
	test_flushes();
	test_escape();
	test_events();
	test_interrupts();
	test_reset();
	test_state();
	test_any();
	return failures != 0;
}
