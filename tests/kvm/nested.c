/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests of guests on AMD-V (hypervisor option nested=on). The guest is pl_vmrun, which runs the
 * VMCB that this program writes into its memory and stops behind each #VMEXIT; the nested guest is
 * a few bytes of code of each test. Without the option: `nested off`, everything is refused.
 */
#define _GNU_SOURCE
#include "hvguest.h"
#include "nestedvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

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
	struct kvm_regs r;
	enum end end;

	vm_init(&vm, 1, 0);
	if (hide)
		cpu_hide(&vm, 0, &(struct feature){0x80000001, 0, 2, 4}, 1);
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

	nested_start(&vm, 0);
	CODE_FOR(&vm, false, 0xb8, 0x78, 0x56, 0, 0, VMMCALL);
	ok(nested_exits(&vm, EXIT_VMMCALL) && V64(&vm, RIP) == L2_CODE + 5 &&
	       V64(&vm, RAX) == 0x5678 && REG(&vm, r14) == 0,
	   "nested: VMRUN runs a guest, VMMCALL comes back with RIP and RAX");
	CODE_FOR(&vm, false, 0x31, 0xc0, 0x0f, 0xa2, VMMCALL);
	V32(&vm, INT3) |= ON_CPUID;
	ok(nested_exits(&vm, EXIT_CPUID) && V64(&vm, RIP) == L2_CODE + 2,
	   "nested: CPUID as asked for");
	V32(&vm, INT3) &= ~ON_CPUID;
	ok(nested_exits(&vm, EXIT_VMMCALL) && V64(&vm, RAX) >= 1 && V64(&vm, RIP) == L2_CODE + 4,
	   "nested: not asked for it is answered as the guest's own");
	CODE_FOR(&vm, false, 0xf4);
	V32(&vm, INT3) |= ON_HLT;
	ok(nested_exits(&vm, EXIT_HLT), "nested: HLT");
	CODE_FOR(&vm, false, 0x0f, 0x0b);
	V32(&vm, EXC) |= 1 << 6;
	ok(nested_exits(&vm, 0x46) && V64(&vm, RIP) == L2_CODE, "nested: an exception");
	CODE_FOR(&vm, false, 0x90, VMCALL);
	ok(nested_exits(&vm, EXIT_VMMCALL) && V64(&vm, RIP) == L2_CODE + 1,
	   "nested: the other vendor's hypercall is one");
	V32(&vm, EXC) |= 1 << 6;
	ok(nested_exits(&vm, 0x46) && V64(&vm, RIP) == L2_CODE + 1,
	   "nested: or the exception that it is, if that is asked for");
	CODE_FOR(&vm, false, VMMCALL);
	V32(&vm, INT4) &= ~ON_VMM;
	V32(&vm, EXC) |= 1 << 13;
	V32(&vm, SEG(8) + 4) = 0; /* no IDT to take it */
	ok(nested_exits(&vm, 0x4d), "nested: VMMCALL that is not asked for is undefined");
	CODE_FOR(&vm, false, 0x48, 0xb8, 0, 0, 0, 0, 0x80, 0, 0, 0, 0x8b,
		 0x00); /* mov eax, [rax] */
	V32(&vm, EXC) |= 1 << 14;
	ok(nested_exits(&vm, 0x4e) && V64(&vm, INFO2) == 0x8000000000 && !V64(&vm, INFO1),
	   "nested: a page fault with address and error code");
	V64(&vm, EXITCODE) = 0;
	V64(&vm, SEG(8) + 8) = 0;
	V32(&vm, SEG(8) + 4) = 0;
	V32(&vm, EXC) = 0;
	ok(nested_exits(&vm, EXIT_DOWN),
	   "nested: a triple fault is the guest's to see, and ends nothing");
	vm_free(&vm);
}

/* Hyper-V's nested guest: its map of MSRs may be called clean, and holds as it is anyway. */
static void test_enlightened_map(struct vm *vm)
{
	struct hv_table t = hv_offered(kvm);
	volatile u8 *star = vm->ram + MSRPM + 0x800 + 0x81 / 4;

	ok(hv_leaf(&t, TLFS_LEAF_NESTED)->eax & TLFS_HAS_MSR_BITMAP,
	   "nested: enlightened maps of MSRs are offered");
	for (u32 clean = 0; clean < 2; clean++) {
		for (u32 asked = 0; asked < 2; asked++) {
			CODE_FOR(vm, false, 0xb9, 0x81, 0, 0, 0xc0, 0x0f, 0x32, VMMCALL);
			V32(vm, INT3) |= ON_MSR;
			V32(vm, ENLIGHTENED) = 2;
			V32(vm, CLEAN) = clean << 31;
			*star = asked << 2;
			ok(nested_exits(vm, asked ? EXIT_MSR : EXIT_VMMCALL),
			   "nested: one that is called %s holds", clean ? "clean" : "changed");
		}
	}
	*star = 0;
}

static void test_maps(void)
{
	struct vm vm;

	nested_start(&vm, 0);
	CODE_FOR(&vm, false, 0xe5, 0x43, 0xe5, 0x44, VMMCALL); /* in eax, 0x43; in eax, 0x44 */
	V32(&vm, INT3) |= ON_IO;
	vm.ram[IOPM + 8] = 1 << 6; /* 0x46 */
	ok(nested_exits(&vm, EXIT_IO) && V64(&vm, INFO1) >> 16 == 0x43 &&
	       V64(&vm, INFO2) == L2_CODE + 2,
	   "nested: a port is asked for by any of the bytes that are read");
	vm.ram[IOPM + 8] = 0;
	vm.io_exits = 0;
	ok(nested_exits(&vm, EXIT_VMMCALL) && vm.io_exits == 3 && (u32)V64(&vm, RAX) == ~0u,
	   "nested: ports that are not asked for are the VMM's");
	/* mov ecx, STAR; rdmsr; wrmsr; */
	CODE_FOR(&vm, false, 0xb9, 0x81, 0, 0, 0xc0, 0x0f, 0x32, 0x0f, 0x30, VMMCALL);
	V32(&vm, INT3) |= ON_MSR;
	vm.ram[MSRPM + 0x800 + 0x81 / 4] = 2 << 2;
	ok(nested_exits(&vm, EXIT_MSR) && V64(&vm, INFO1) == 1 && V64(&vm, RIP) == L2_CODE + 7,
	   "nested: an MSR's write is asked for, its read not");
	vm.ram[MSRPM + 0x800 + 0x81 / 4] = 0;
	ok(nested_exits(&vm, EXIT_VMMCALL), "nested: nor its write");
	test_enlightened_map(&vm);
	CODE_FOR(&vm, false, 0xb9, 0, 0x4d, 0x56, 0x4b, 0x0f, 0x32); /* 0x4b564d00 */
	V32(&vm, INT3) |= ON_MSR;
	ok(nested_exits(&vm, EXIT_MSR) && !V64(&vm, INFO1),
	   "nested: one that no map has is asked for");
	CODE_FOR(&vm, false, 0xb9, 0x10, 0, 0, 0, 0x0f, 0x32, 0x89, 0xd3, 0x0f, 0x31, VMMCALL);
	V64(&vm, TSC_OFF) = 1ull << 52;
	ok(nested_exits(&vm, EXIT_VMMCALL) && REG(&vm, rbx) >> 20 && REG(&vm, rdx) >> 20,
	   "nested: RDTSC and the TSC's MSR have the nested guest's offset");
	vm_free(&vm);
}

/* ---- VMCBs that are none ---- */

static bool bad(struct vm *vm, const char *what)
{
	u64 faults = REG(vm, r14);
	bool refused = nested_exits(vm, EXIT_BAD) && REG(vm, r14) == faults;

	ok(refused, "nested: refused as VMEXIT_INVALID: %s", what);
	CODE_FOR(vm, false, VMMCALL);
	return refused;
}

static void test_bad_vmcbs(void)
{
	struct vm vm;

	nested_start(&vm, 0);
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
	ok(nested_exits(&vm, EXIT_VMMCALL), "nested: behind all this a good one runs");
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

	nested_start(&vm, 0);
	CODE_FOR(&vm, false, VMMCALL);
	nested_exits(&vm, EXIT_VMMCALL);
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
	ok(nested_exits(&vm, EXIT_IO), "nested: a permission map in a device asks for everything");
	vm_free(&vm);
}

/* ---- nested paging ---- */

#define WRITE_A 0xa3, 0x00, 0x00, 0x23, 0, 0, 0, 0, 0

static void test_npt(void)
{
	struct vm vm;

	nested_start(&vm, 0);
	CODE_FOR(&vm, true, READ_A(VMMCALL));
	R64(&vm, PAGE_A) = 0x1234;
	*nested_pte(&vm, PAGE_A) = 0;
	ok(nested_exits(&vm, EXIT_NPF) && V64(&vm, INFO2) == PAGE_A &&
	       V64(&vm, INFO1) == (1ull << 32 | 4),
	   "nested: a page that is not there is a nested page fault of the guest's");
	*nested_pte(&vm, PAGE_A) = PAGE_A | 7;
	ok(nested_exits(&vm, EXIT_VMMCALL) && V64(&vm, RAX) == 0x1234,
	   "nested: mapped it is read, and no flush is needed");
	CODE_FOR(&vm, true, 0xb8, 9, 0, 0, 0, WRITE_A, VMMCALL);
	*nested_pte(&vm, PAGE_A) = PAGE_A | 5;
	ok(nested_exits(&vm, EXIT_NPF) && V64(&vm, INFO1) == (1ull << 32 | 7) &&
	       R64(&vm, PAGE_A) == 0x1234,
	   "nested: nor is a page written that may be read only");
	*nested_pte(&vm, PAGE_A) = PAGE_A | 7;
	ok(nested_exits(&vm, EXIT_VMMCALL) && (u32)R64(&vm, PAGE_A) == 9 &&
	       *nested_pte(&vm, PAGE_A) & 0x40,
	   "nested: then it may, and is dirty in the guest's tables");
	CODE_FOR(&vm, true, READ_A(VMMCALL));
	ok(nested_exits(&vm, EXIT_VMMCALL) && !(*nested_pte(&vm, PAGE_A) & 0x40) &&
	       *nested_pte(&vm, PAGE_A) & 0x20,
	   "nested: one that was only read is accessed, not dirty");
	CODE_FOR(&vm, true, 0xe9, 0xfb, 0xff, 0x01, 0x00); /* jmp PAGE_A */
	*nested_pte(&vm, PAGE_A) = PAGE_A | 1ull << 63 | 7;
	V64(&vm, RIP) = PAGE_A;
	ok(nested_exits(&vm, EXIT_NPF) && V64(&vm, INFO1) == (1ull << 32 | 0x15),
	   "nested: nor is one executed with NX");
	CODE_FOR(&vm, true, READ_A(VMMCALL));
	*nested_pte(&vm, PAGE_A) = PAGE_A | 3;
	ok(nested_exits(&vm, EXIT_NPF) && V64(&vm, INFO1) == (1ull << 32 | 5),
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

	nested_start(&vm, 0);
	CODE_FOR(&vm, true, READ_A(VMMCALL));
	R64(&vm, PAGE_A) = 0xa;
	R64(&vm, PAGE_B) = 0xb;
	nested_exits(&vm, EXIT_VMMCALL);
	*nested_pte(&vm, PAGE_A) = PAGE_B | 7;
	V64(&vm, RIP) = L2_CODE;
	V8(&vm, TLB) = 1;
	ok(nested_exits(&vm, EXIT_VMMCALL) && V64(&vm, RAX) == 0xb,
	   "nested: a flush, and the nested guest sees what is mapped now");
	*nested_pte(&vm, PAGE_A) = PAGE_A | 7;
	V64(&vm, RIP) = L2_CODE;
	V32(&vm, ASID) = 2;
	ok(nested_exits(&vm, EXIT_VMMCALL) && V64(&vm, RAX) == 0xa, "nested: so with another ASID");
	/* OUT to the VMM in between, which takes the page away */
	CODE_FOR(&vm, true, READ_A(0xe6, 0xe5, READ_A(VMMCALL)));
	ok(vm_run(&vm, 0, RUN_MS) == END_PAUSE && vm.run[0]->io.port == PORT_PAUSE,
	   "nested: a port that is not asked for stops for the VMM in the nested guest");
	madvise(vm.ram + PAGE_A, 0x1000, MADV_DONTNEED);
	ok(nested_exits(&vm, EXIT_VMMCALL) && V64(&vm, RAX) == 0,
	   "nested: memory that the VMM has given back is not the nested guest's any more");
	CODE_FOR(&vm, true, 0xb8, 9, 0, 0, 0, WRITE_A, 0xe6, 0xe5, WRITE_A, VMMCALL);
	vm_run(&vm, 0, RUN_MS);
	ram.userspace_addr = (u64)vm.ram;
	if (vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &ram) ||
	    vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log))
		fatal("the dirty log cannot be switched on");
	memset(bitmap, 0, sizeof(bitmap));
	ok(nested_exits(&vm, EXIT_VMMCALL) && !vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) &&
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

	nested_start(&vm, 0);
	/* mov esi, DEVICE; mov edi, PAGE_A; movsd */
	CODE_FOR(&vm, true, 0xbe, 0x00, 0xf0, 0x3f, 0, 0xbf, 0x00, 0x00, 0x23, 0, 0xa5, VMMCALL);
	R64(&vm, PAGE_A) = R64(&vm, PAGE_B) = 0;
	*nested_pte(&vm, PAGE_A) = PAGE_B | 7;
	ok(nested_exits(&vm, EXIT_VMMCALL) && vm.mmio_exits == 1 && (u32)R64(&vm, PAGE_B) == ~0u &&
	       !R64(&vm, PAGE_A),
	   "nested: a device that the guest gives to its guest is the VMM's, what it says goes "
	   "where "
	   "the nested tables say");
	CODE_FOR(&vm, true, 0xbe, 0x00, 0xf0, 0x3f, 0, 0xbf, 0x00, 0x00, 0x23, 0, 0xa5, VMMCALL);
	R64(&vm, PAGE_A) = 0;
	*nested_pte(&vm, PAGE_A) = 0;
	ok(nested_exits(&vm, EXIT_NPF) && V64(&vm, INFO2) == PAGE_A && V64(&vm, INFO1) & 2,
	   "nested: or nowhere: that is a nested page fault");
	*nested_pte(&vm, PAGE_A) = PAGE_B | 7;
	ok(nested_exits(&vm, EXIT_VMMCALL) && !R64(&vm, PAGE_A), "nested: behind which it goes on");
	/* insd from a port that is the VMM's */
	CODE_FOR(&vm, true, 0xbf, 0x00, 0x00, 0x23, 0, 0xba, 0x77, 0, 0, 0, 0x6d, VMMCALL);
	R64(&vm, PAGE_B) = 0;
	*nested_pte(&vm, PAGE_A) = PAGE_B | 7;
	ok(nested_exits(&vm, EXIT_VMMCALL) && (u32)R64(&vm, PAGE_B) == ~0u && !R64(&vm, PAGE_A),
	   "nested: so do strings from a port");
	/* vmload, vmsave, stgi, clgi; their addresses are the guest's, as it lets them through */
	for (u32 op = 0xda; op <= 0xdd; op++) {
		const u8 code[] = {0x0f, 0x01, op, VMMCALL};

		nested_vmcb(&vm, code, sizeof(code), true);
		V64(&vm, RAX) = PAGE_C;
		ok(nested_exits(&vm, EXIT_VMMCALL),
		   "nested: 0f 01 %x is done where the guest does not ask for it", op);
		nested_vmcb(&vm, code, sizeof(code), true);
		V32(&vm, INT4) |= 4 << (op - 0xda);
		ok(nested_exits(&vm, 0x82 + op - 0xda), "nested: else it is the guest's");
	}
	/* mov ecx, EFER; rdmsr; and ah, ~0x10; wrmsr */
	CODE_FOR(&vm, true, 0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32, 0x80, 0xe4, 0xef, 0x0f, 0x30,
		 VMMCALL);
	V32(&vm, EXC) |= 1 << 13;
	ok(nested_exits(&vm, 0x4d), "nested: it cannot leave by clearing EFER.SVME");
	CODE_FOR(&vm, true, 0x0f, 0x01, 0xd8);
	ok(nested_exits(&vm, 0x80), "nested: nor run guests of its own");
	/* the VMCB's page goes while it runs */
	CODE_FOR(&vm, true, 0xe6, 0xe5, VMMCALL);
	vm_run(&vm, 0, RUN_MS);
	madvise(vm.ram + VMCB, 0x1000, MADV_DONTNEED);
	ok(nested_exits(&vm, EXIT_VMMCALL) && V64(&vm, RIP) == L2_CODE + 2,
	   "nested: #VMEXIT waits for a VMCB that the VMM's kernel has to bring");
	vm_free(&vm);
}

/* ---- events ---- */

static void test_events(void)
{
	struct vm vm;

	nested_start(&vm, 0);
	CODE_FOR(&vm, true, 0x90, VMMCALL);
	V64(&vm, EVENTINJ) = 0x80000080;
	ok(nested_exits(&vm, EXIT_VMMCALL) && REG(&vm, r13) == 1 &&
	       !(V64(&vm, EVENTINJ) & 0x80000000),
	   "nested: an interrupt that VMRUN injects is taken");
	CODE_FOR(&vm, true, 0x90, VMMCALL);
	*nested_pte(&vm, L2_STACK - 8) = 0;
	V64(&vm, EVENTINJ) = 0x80000080;
	ok(nested_exits(&vm, EXIT_NPF) && (u32)V64(&vm, INTINFO) == 0x80000080 &&
	       REG(&vm, r13) == 1,
	   "nested: one that finds no stack is in EXITINTINFO");
	*nested_pte(&vm, L2_STACK - 8) = (L2_STACK - 0x1000) | 7;
	V64(&vm, EVENTINJ) = V64(&vm, INTINFO);
	ok(nested_exits(&vm, EXIT_VMMCALL) && REG(&vm, r13) == 2,
	   "nested: and comes the second time");
	CODE_FOR(&vm, true, 0x90, VMMCALL);
	madvise(vm.ram + L2_STACK - 0x1000, 0x1000, MADV_DONTNEED);
	V64(&vm, EVENTINJ) = 0x80000080;
	ok(nested_exits(&vm, EXIT_VMMCALL) && REG(&vm, r13) == 3,
	   "nested: where memory is missing that is not the guest's to bring it comes by itself");
	CODE_FOR(&vm, true, 0x90, 0xfb, 0x90, 0x90, VMMCALL); /* sti */
	V64(&vm, VINTR) = 1 << 8 | 0xful << 16 | 0x81ull << 32 | 1 << 24;
	V64(&vm, EXITCODE) = 0;
	ok(nested_exits(&vm, EXIT_VMMCALL) && REG(&vm, r13) == 4 && !(V64(&vm, VINTR) & 1 << 8),
	   "nested: a virtual interrupt comes with IF, and is gone");
	CODE_FOR(&vm, true, 0x90, 0xfb, 0x90, 0x90, VMMCALL);
	V64(&vm, VINTR) = 1 << 8 | 0xful << 16 | 0x81ull << 32 | 1 << 24;
	V32(&vm, INT3) |= ON_VINTR;
	ok(nested_exits(&vm, EXIT_VINTR) && V64(&vm, VINTR) & 1 << 8 && REG(&vm, r13) == 4,
	   "nested: or is a window for the guest");
	/* mov rax, cr8; mov cr8, 5 ... */
	CODE_FOR(&vm, true, 0x44, 0x0f, 0x20, 0xc0, 0x89, 0xc3, 0x6a, 5, 0x58, 0x44, 0x0f, 0x22,
		 0xc0, VMMCALL);
	V64(&vm, VINTR) = 1 << 24 | 9;
	ok(nested_exits(&vm, EXIT_VMMCALL) && REG(&vm, rbx) == 9 && (V64(&vm, VINTR) & 15) == 5,
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
	nested_start(&vm, VM_IRQCHIP);
	cpu_ioctl(&vm, 0, KVM_GET_LAPIC, &lapic);
	*(u32 *)(lapic.regs + 0xf0) = 0x1ff;
	*(u32 *)(lapic.regs + 0x320) = 0x20000 | 0x91;
	*(u32 *)(lapic.regs + 0x3e0) = 0xb;
	*(u32 *)(lapic.regs + 0x380) = 1000000;
	cpu_ioctl(&vm, 0, KVM_SET_LAPIC, &lapic);
	CODE_FOR(&vm, true, 0xeb, 0xfe);
	V32(&vm, INT3) |= ON_INTR;
	V64(&vm, VINTR) = 1 << 24;
	ok(nested_exits(&vm, EXIT_INTR) && V64(&vm, RIP) == L2_CODE && REG(&vm, r13) == 1,
	   "nested: a timer of the guest's ends its guest's turn, and is taken behind STGI");
	vm_free(&vm);

	nested_start(&vm, 0);
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

/* Any VMCB: neither the hypervisor nor the VMM's thread may suffer. */
static void test_any(void)
{
	u64 runs = 0, until = now_ms() + 4000;
	struct vm vm;

	nested_start(&vm, VM_IRQCHIP);
	while (now_ms() < until) {
		enum end end;

		CODE_FOR(&vm, true, 0x0f, 0xa2, 0xe4, 0x10, 0xeb, 0xfa);
		V32(&vm, INT3) |= ON_CPUID;
		for (u32 n = rnd() % 6; n; n--) {
			u32 at = rnd() % 2 ? rnd() % 0xe0 : 0x400 + rnd() % 0x298;

			V8(&vm, at) = rnd();
		}
		if (rnd() % 4 == 0)
			*nested_pte(&vm, rnd() % RAM_SIZE) ^= 1ull << rnd() % 64;
		end = vm_run(&vm, 0, 40);
		runs++;
		if (end == END_PAUSE)
			continue;
		vm_free(&vm);
		nested_start(&vm, VM_IRQCHIP);
	}
	CODE_FOR(&vm, true, VMMCALL);
	ok(nested_exits(&vm, EXIT_VMMCALL), "nested: behind %lu random VMCBs a good one runs",
	   runs);
	vm_free(&vm);
}

/* Memory for guests is promised to a vCPU with its first one: KVM_RUN says that there is none. */
static void test_no_memory(void)
{
	enum end end;
	struct vm vm;

	nested_start(&vm, VM_IRQCHIP);
	CODE_FOR(&vm, true, VMMCALL);
	widen_fail_once("cb_promise_nested", ENOMEM);
	end = vm_run(&vm, 0, RUN_MS);
	widen_end();
	ok(end == END_ERROR && vm.values[0] == ENOMEM, "nested: no memory for a first guest (%s)",
	   end_names[end]);
	ok(nested_exits(&vm, EXIT_VMMCALL), "nested: with memory VMRUN is run again");
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
	test_no_memory();
	test_exits();
	test_maps();
	test_bad_vmcbs();
	test_bad_places();
	test_npt();
	test_flushes();
	test_escape();
	test_events();
	test_interrupts();
	test_any();
	return failures != 0;
}
