/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions that a guest's CPUID lacks are undefined where the hardware can keep them from it:
 * on VT-x by controls, on AMD-V by intercepts. Those that it has run, which `insns shown` tries
 * alone: QEMU's TCG does not intercept RDTSCP. And one that is emulated finds protection keys.
 */
#include "vmm.h"

#include <cpuid.h>
#include <string.h>

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

int main(int argc, char **argv)
{
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
	ok(tried, "instructions: there is one that can be shown and hidden");
	return failures != 0;
}
