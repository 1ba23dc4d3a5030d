/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions that a guest's CPUID lacks are undefined where the hardware can keep them from it:
 * on VT-x by controls, on AMD-V by intercepts. Those that it has run, which `insns shown` tries
 * alone: QEMU's TCG does not intercept RDTSCP. And what one that is emulated may not do: keys of
 * protection, types of segments, the delivery of an event.
 */
#include "vmm.h"

#include <cpuid.h>
#include <string.h>
#include <unistd.h>

#define AREA   (DATA + 0x1000) /* of XSAVES; in RDI */
#define RUN_MS 10000

enum { ON_VMX = 1, ON_SVM = 2 }; /* where it can be kept from the guest */

static const struct {
	const char *name;
	struct feature feature;
	struct feature other; /* by which the hardware has it, too; leaf 0: none */
	u32 where;
	u8 len, code[6];
} insns[] = {
    {"RDTSCP",
     {0x80000001, 0, 3, 1u << 27},
     {7, 0, 2, 1u << 22},
     ON_VMX | ON_SVM,
     3,
     {0x0f, 0x01, 0xf9}},
    {"RDPID",
     {7, 0, 2, 1u << 22},
     {0x80000001, 0, 3, 1u << 27},
     ON_VMX,
     4,
     {0xf3, 0x0f, 0xc7, 0xf8}},
    {"INVPCID",
     {7, 0, 1, 1u << 10},
     {0},
     ON_VMX | ON_SVM,
     6,
     {0x66, 0x0f, 0x38, 0x82, 0x04, 0x24}}, /* rax, [rsp] */
    {"RDRAND", {1, 0, 2, 1u << 30}, {0}, ON_VMX, 3, {0x0f, 0xc7, 0xf0}},
    {"RDSEED", {7, 0, 1, 1u << 18}, {0}, ON_VMX, 3, {0x0f, 0xc7, 0xf8}},
    {"XSAVES", {0xd, 1, 0, 1u << 3}, {0}, ON_VMX, 3, {0x0f, 0xc7, 0x2f}}, /* [rdi] */
    /* which no guest is shown */
    {"RDPRU", {0x80000008, 0, 1, 1u << 4}, {0}, ON_SVM, 3, {0x0f, 0x01, 0xfd}},
    {"TPAUSE", {7, 0, 2, 1u << 5}, {0}, ON_VMX, 4, {0x66, 0x0f, 0xae, 0xf1}},
    {"ENCLV", {7, 0, 1, 1u << 2}, {0}, ON_VMX, 3, {0x0f, 0x01, 0xc0}},
    {"PCONFIG", {7, 0, 3, 1u << 18}, {0}, ON_VMX, 3, {0x0f, 0x01, 0xc5}},
    {"SEAMCALL", {0, 0, 0, 0}, {0}, ON_VMX, 4, {0x66, 0x0f, 0x01, 0xcf}},
    {"TDCALL", {0, 0, 0, 0}, {0}, ON_VMX, 4, {0x66, 0x0f, 0x01, 0xcc}},
};

/* What it does, and how many faults there were. */
static u64 faults_of(u32 i, bool hide)
{
	/* CR4.OSXSAVE; RAX, RCX and RDX; where to go on after a fault */
	static const u8 before[] = {
	    0x0f, 0x20, 0xe0,			      /* mov rax, cr4 */
	    0x0d, 0x00, 0x00, 0x04, 0x00,	      /* or eax, OSXSAVE */
	    0x0f, 0x22, 0xe0,			      /* mov cr4, rax */
	    0xb8, 0x02, 0x00, 0x00, 0x00,	      /* mov eax, 2 */
	    0x31, 0xc9, 0x31, 0xd2,		      /* xor ecx, ecx; xor edx, edx */
	    0x4c, 0x8d, 0x3d, 0x08, 0x00, 0x00, 0x00, /* lea r15, [rip + 8] */
	};
	static const u8 after[] = {0x0f, 0x1f, 0x00, 0xe6, PORT_DONE};
	u8 code[64];
	struct kvm_regs r;
	struct vm vm;
	enum end end;

	vm_init(&vm, 1, 0);
	if (hide)
		cpu_hide(&vm, 0, (struct feature[]){insns[i].feature, insns[i].other}, 2);
	memset(code, 0x90, sizeof(code));
	memcpy(code, before, sizeof(before));
	memcpy(code + sizeof(before), insns[i].code, insns[i].len);
	memcpy(code + sizeof(before) + 8, after, sizeof(after));
	end = run_code(&vm, code, sizeof(before) + 8 + sizeof(after), AREA);
	cpu_get_regs(&vm, 0, &r);
	vm_free(&vm);
	if (end == END_DONE)
		return r.r14;
	note("%s: %s", insns[i].name, end_names[end]);
	return 99;
}

/* MOVSD from a device to a page that PKRU locks, which the hypervisor emulates. */
static void check_keys(void)
{
	static const u8 code[] = {
	    0x0f, 0x20, 0xe0,			      /* mov rax, cr4 */
	    0x0d, 0x00, 0x00, 0x40, 0x00,	      /* or eax, PKE */
	    0x0f, 0x22, 0xe0,			      /* mov cr4, rax */
	    0x31, 0xc9, 0x31, 0xd2,		      /* xor ecx, ecx; xor edx, edx */
	    0xb8, 0x00, 0x0c, 0x00, 0x00,	      /* mov eax, both bits of key 5 */
	    0x0f, 0x01, 0xef,			      /* wrpkru */
	    0xbe, 0x00, 0x00, 0x00, 0xd0,	      /* mov esi, MMIO_BASE */
	    0x4c, 0x8d, 0x3d, 0x01, 0x00, 0x00, 0x00, /* lea r15, [rip + 1] */
	    0xa5,				      /* movsd */
	    0xe6, 0xe1,				      /* out PORT_DONE, al */
	};
	const u64 far = 1ull << 40, page = 0x200000;
	struct kvm_regs r;
	struct vm vm;
	enum end end;

	for (u64 key = 5; key <= 6; key++) {
		vm_init(&vm, 1, 0);
		vm_map_page(&vm, far, page, 7 | key << 59);
		memset(vm.ram + page, 0x77, 4);
		end = run_code(&vm, code, sizeof(code), far);
		cpu_get_regs(&vm, 0, &r);
		ok(end == END_DONE && vm.mmio_exits && r.r14 == (key == 5) &&
		       !memcmp(vm.ram + page, "\x77\x77\x77\x77", 4) == (key == 5),
		   "instructions: one that is emulated is kept from a page by its key: %s",
		   key == 5 ? "locked" : "open");
		vm_free(&vm);
	}
}

#define PORT_IN 0x99

/*
 * INSB in 32-bit mode, which exits before the processor has looked at ES. Without an IDT a fault is
 * the end.
 */
static void check_ins(const char *what, struct kvm_segment es, bool allowed)
{
	static const u8 code[] = {0x6c, 0xe6, PORT_DONE}; /* insb; out PORT_DONE, al */
	struct kvm_sregs s;
	struct kvm_regs r;
	bool asked = false;
	struct vm vm;

	vm_init(&vm, 1, 0);
	memcpy(vm.ram + DATA, code, sizeof(code));
	vm.ram[AREA] = 0x77;
	cpu_setup(&vm, 0, MODE_PROT32, payload_start, AREA, 0);
	cpu_get_regs(&vm, 0, &r);
	r.rip = DATA;
	r.rdx = PORT_IN;
	cpu_set_regs(&vm, 0, &r);
	cpu_ioctl(&vm, 0, KVM_GET_SREGS, &s);
	s.es = es;
	s.idt.limit = 0;
	cpu_ioctl(&vm, 0, KVM_SET_SREGS, &s);
	while (!cpu_ioctl(&vm, 0, KVM_RUN, NULL) && vm.run[0]->exit_reason == KVM_EXIT_IO &&
	       vm.run[0]->io.port == PORT_IN) {
		*((u8 *)vm.run[0] + vm.run[0]->io.data_offset) = 0x42;
		asked = true;
	}
	ok(asked == allowed && vm.ram[AREA] == (allowed ? 0x42 : 0x77) &&
	       vm.run[0]->exit_reason == (allowed ? KVM_EXIT_IO : KVM_EXIT_SHUTDOWN),
	   "instructions: INS to %s", what);
	vm_free(&vm);
}

/* A fault whose handler would have its frame in a device: nobody can go on, and no code runs. */
static void check_delivery(void)
{
	static const u8 code[] = {
	    0xbc, 0x00,	     0x08, 0x00, 0xd0,		      /* mov esp, MMIO_BASE + 0x800 */
	    0x48, 0xb8,	     0,	   0,	 0,    0, 0, 1, 0, 0, /* mov rax, 1 << 40 */
	    0x89, 0x00,					      /* mov [rax], eax */
	    0xe6, PORT_DONE,
	};
	struct vm vm;
	enum end end;

	vm_init(&vm, 1, 0);
	end = run_code(&vm, code, sizeof(code), 0);
	ok(end == END_INTERNAL, "instructions: a fault cannot be delivered to a device: %s",
	   end_names[end]);
	vm_free(&vm);
}

/*
 * Between two exits the flags of an addition are followed by ZF of CMPXCHG16B. Of the arithmetic
 * ones QEMU's TCG has only that right.
 */
static void check_flags(void)
{
	/*
	 * mov r9, VM, TF, DF and what an address has besides; xor r8d, r8d; cpuid; mov eax, 0;
	 * mov edx, 0; mov ebx, 1; mov ecx, 0; add r8, r9; cmpxchg16b [rdi]; cpuid; pushf; pop rsi
	 */
	static const u8 code[] = {0x49, 0xb9, 0x00, 0x05, 0xea, 0xc4, 0xf3, 0x8c,     0xff, 0xff,
				  0x45, 0x31, 0xc0, 0x0f, 0xa2, 0xb8, 0,    0,	      0,    0,
				  0xba, 0,    0,    0,	  0,	0xbb, 1,    0,	      0,    0,
				  0xb9, 0,    0,    0,	  0,	0x4d, 0x01, 0xc8,     0x48, 0x0f,
				  0xc7, 0x0f, 0x0f, 0xa2, 0x9c, 0x5e, 0xe6, PORT_DONE};
	struct kvm_regs r;
	struct vm vm;
	enum end end;

	vm_init(&vm, 1, 0);
	end = run_code(&vm, code, sizeof(code), AREA);
	cpu_get_regs(&vm, 0, &r);
	ok(end == END_DONE && vm.ram[AREA] == 1 && (r.rsi & ~0x895ull) == 0x42,
	   "instructions: RFLAGS behind CMPXCHG16B and an exit: %llx, %s", r.rsi, end_names[end]);
	vm_free(&vm);
}

/*
 * A hypercall of this program's, just back from a system call: AMD's SYSRET leaves the kernel's DPL
 * in SS, and all of dom0's calls would be open to it.
 */
static void check_call(bool vmx)
{
	long ret = CORBEL_HC_BASE;

	getppid();
	if (vmx)
		__asm__ volatile("vmcall" : "+a"(ret) : "b"(0), "c"(0), "d"(0), "S"(0) : "memory");
	else
		__asm__ volatile("vmmcall" : "+a"(ret) : "b"(0), "c"(0), "d"(0), "S"(0) : "memory");
	ok(ret == -1000, "instructions: a program's hypercall is nobody's (%ld)", ret);
}

int main(int argc, char **argv)
{
	struct kvm_segment data = {
	    .limit = ~0u, .selector = 0x10, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	bool all = argc < 2 || strcmp(argv[1], "shown");
	u32 a, b, c, d, tried = 0, here;

	open_kvm();
	__cpuid(0, a, b, c, d);
	here = b == 0x756e6547 /* Genu */ ? ON_VMX : ON_SVM;
	for (u32 i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
		bool shown = cpu_is_shown(&insns[i].feature);

		if (shown) {
			tried += insns[i].where & here;
			ok(faults_of(i, false) == 0, "instructions: %s runs as CPUID says",
			   insns[i].name);
		}
		if (all && insns[i].where & here)
			ok(faults_of(i, true) == 1, "instructions: %s is undefined %s",
			   insns[i].name, shown ? "where CPUID lacks it" : "as nobody is shown it");
	}
	if (cpu_is_shown(&(struct feature){7, 0, 2, 1u << 3}))
		check_keys();
	check_ins("a segment", data, true);
	data.type = 1;
	check_ins("one that is only read", data, false);
	check_ins("none", (struct kvm_segment){.limit = ~0u, .unusable = 1}, false);
	check_delivery();
	check_flags();
	check_call(here == ON_VMX);
	ok(tried, "instructions: there is one that can be shown and hidden");
	return failures != 0;
}
