/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SMIs that come while the guest runs a guest of its own, on AMD-V (hypervisor option nested=on):
 * taken in it, and RSM brings it back; or told to the guest, which has asked for that; and what an
 * SMM handler may write that is not so.
 */
#define _GNU_SOURCE
#include "nestedvm.h"

#include <string.h>
#include <sys/ioctl.h>

extern const u8 smi_start[], smi_end[]; /* smmcode.asm */

#define BASE	  0x30000ul /* SMBASE */
#define COUNT	  (BASE + 0x100)
#define OVERWRITE (BASE + 0x104)
#define AREA	  (BASE + 0xfe00)
#define SMM_SPACE (1u << 16)
#define ON_SMI	  (1u << 2)
#define EXIT_SMI  0x62

#ifndef KVM_RUN_X86_GUEST_MODE /* of later kernels' headers */
#define KVM_RUN_X86_GUEST_MODE (1 << 2)
#endif

/* In the area, APM "SMM State-Save Area" */
#define A_SVM_GUEST (AREA + 0xd8)
#define A_SVM_VMCB  (AREA + 0xe0)
#define A_EFER	    (AREA + 0xd0)
#define A_RIP	    (AREA + 0x178)
#define A_RBX	    (AREA + 0x1e0)

#define BEHIND_PAUSE (L2_CODE + 7)
/* mov ebx, 0x5678; out PORT_PAUSE, al; vmmcall */
#define PAUSES 0xbb, 0x78, 0x56, 0, 0, 0xe6, PORT_PAUSE, VMMCALL

/* SMM has the same memory as all else, and its handler. */
static void begin(struct vm *vm, u32 flags)
{
	struct kvm_userspace_memory_region r = {.slot = SMM_SPACE, .memory_size = RAM_SIZE};

	nested_start(vm, flags);
	r.userspace_addr = (u64)vm->ram;
	if (vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r))
		fatal("memory for SMM");
	memcpy(vm->ram + BASE + 0x8000, smi_start, smi_end - smi_start);
}

static bool is_in(struct vm *vm, u32 flags)
{
	return vm->run[0]->flags == flags;
}

static u32 nested_flags(struct vm *vm)
{
	static struct {
		struct kvm_nested_state head;
		u8 vmcb[KVM_STATE_NESTED_SVM_VMCB_SIZE];
	} n;

	memset(&n, 0, sizeof(n));
	n.head.size = sizeof(n);
	return cpu_ioctl(vm, 0, KVM_GET_NESTED_STATE, &n) ? ~0u : n.head.flags;
}

/* The nested guest has come to its pause, and an SMI comes. */
static bool smi_in_nested(struct vm *vm)
{
	return vm_run(vm, 0, RUN_MS) == END_PAUSE && is_in(vm, KVM_RUN_X86_GUEST_MODE) &&
	       !cpu_ioctl(vm, 0, KVM_SMI, NULL) && vm_run(vm, 0, RUN_MS) == END_PAUSE &&
	       is_in(vm, KVM_RUN_X86_SMM);
}

static void check_taken(bool paging)
{
	const char *how = paging ? "with nested paging" : "without nested paging";
	struct kvm_regs r;
	struct vm vm;

	begin(&vm, 0);
	CODE_FOR(&vm, paging, PAUSES);
	ok(smi_in_nested(&vm), "nested SMI: %s it is taken while the nested guest runs", how);
	ok(R64(&vm, A_RIP) == BEHIND_PAUSE && R64(&vm, A_RBX) == 0x5678 &&
	       R64(&vm, A_SVM_GUEST) == 1 && R64(&vm, A_SVM_VMCB) == VMCB,
	   "nested SMI: what is saved is the nested guest's (%lx)", R64(&vm, A_RIP));
	ok(nested_flags(&vm) == KVM_STATE_NESTED_GIF_SET && !V64(&vm, EXITCODE),
	   "nested SMI: SMM is not in guest mode, and the guest has not been told");
	cpu_get_regs(&vm, 0, &r);
	r.rbx = r.rsp = r.rdx = 0x5a5a;
	cpu_set_regs(&vm, 0, &r);
	ok(nested_exits(&vm, EXIT_VMMCALL) && V64(&vm, RIP) == BEHIND_PAUSE &&
	       V64(&vm, RSP) == L2_STACK && REG(&vm, rbx) == 0x5678,
	   "nested SMI: RSM brings it back, and it ends as the guest has asked for");
	CODE_FOR(&vm, paging, PAUSES);
	*(u32 *)(vm.ram + OVERWRITE) = 1;
	ok(smi_in_nested(&vm) && nested_exits(&vm, EXIT_VMMCALL) && REG(&vm, rbx) == 0x5678 &&
	       *(u32 *)(vm.ram + COUNT) == 2,
	   "nested SMI: another one, whose handler has changed all registers");
	CODE_FOR(&vm, paging, PAUSES);
	ok(smi_in_nested(&vm), "nested SMI: a third");
	R64(&vm, A_RIP) += 3;
	memcpy(vm.ram + L2_CODE + 10, (const u8[]){0x90, VMMCALL}, 4);
	ok(nested_exits(&vm, EXIT_VMMCALL) && V64(&vm, RIP) == BEHIND_PAUSE + 4,
	   "nested SMI: its handler can send the nested guest elsewhere");
	vm_free(&vm);
}

/* The guest hears of it, and it comes behind STGI. */
static void check_intercepted(void)
{
	struct vm vm;

	begin(&vm, 0);
	CODE_FOR(&vm, true, PAUSES);
	V32(&vm, INT3) |= ON_SMI;
	ok(smi_in_nested(&vm) && V64(&vm, EXITCODE) == EXIT_SMI && V64(&vm, RIP) == BEHIND_PAUSE &&
	       !V64(&vm, INFO1) && !V64(&vm, INFO2),
	   "nested SMI: one that the guest has asked for ends its guest");
	ok(!R64(&vm, A_SVM_GUEST) && R64(&vm, A_RIP) >> 16 == CODE >> 16,
	   "nested SMI: and comes when that takes events again");
	ok(nested_exits(&vm, EXIT_SMI) && *(u32 *)(vm.ram + COUNT) == 1, "nested SMI: once");
	V32(&vm, INT3) &= ~ON_SMI;
	V64(&vm, EXITCODE) = 0;
	ok(nested_exits(&vm, EXIT_VMMCALL), "nested SMI: the nested guest can go on");
	vm_free(&vm);
}

/* HLT that is the nested guest's own: sti; hlt; vmmcall */
static void check_asleep(bool asked_for)
{
	struct vm vm;

	begin(&vm, VM_IRQCHIP);
	CODE_FOR(&vm, true, 0xfb, 0xf4, VMMCALL);
	if (asked_for)
		V32(&vm, INT3) |= ON_SMI;
	ok(vm_run(&vm, 0, 300) == END_TIME && !cpu_ioctl(&vm, 0, KVM_SMI, NULL) &&
	       vm_run(&vm, 0, RUN_MS) == END_PAUSE && is_in(&vm, KVM_RUN_X86_SMM),
	   "nested SMI: it wakes up a nested guest at HLT");
	if (asked_for)
		ok(nested_exits(&vm, EXIT_SMI) && V64(&vm, RIP) == L2_CODE + 2,
		   "nested SMI: whose end it is if the guest has asked for it");
	else
		ok(vm_run(&vm, 0, 300) == END_TIME && is_in(&vm, KVM_RUN_X86_GUEST_MODE),
		   "nested SMI: which sleeps on behind RSM");
	vm_free(&vm);
}

/* What RSM finds is not so: the vCPU is shut down, and all else goes on. */
static void refused(const char *what, bool nested, u64 at, u64 val)
{
	struct vm vm;
	bool there;

	begin(&vm, 0);
	CODE_FOR(&vm, true, PAUSES);
	if (nested) {
		there = smi_in_nested(&vm);
	} else {
		there = !cpu_ioctl(&vm, 0, KVM_SMI, NULL) && vm_run(&vm, 0, RUN_MS) == END_PAUSE &&
			is_in(&vm, KVM_RUN_X86_SMM);
		R64(&vm, A_SVM_GUEST) = 1;
	}
	R64(&vm, at) = val;
	ok(there && vm_run(&vm, 0, RUN_MS) == END_SHUTDOWN, "nested SMI: RSM to %s is a shutdown",
	   what);
	vm_free(&vm);
}

static void check_lies(void)
{
	refused("a VMCB that is not aligned", true, A_SVM_VMCB, VMCB + 8);
	refused("a VMCB beyond memory", true, A_SVM_VMCB, 1ul << 52);
	refused("a guest without EFER.SVME", true, A_EFER, 0xd00);
	refused("controls without VMRUN's intercept", true, HSAVE + INT4, 0);
	refused("ASID 0", true, HSAVE + ASID, 0);
	refused("a guest's EFER with bits that there are not", true, HSAVE + EFER, 1ul << 40);
	refused("a nested guest where there was none", false, A_SVM_VMCB, VMCB);
}

int main(void)
{
	open_kvm();
	check_taken(false);
	check_taken(true);
	check_intercepted();
	check_asleep(false);
	check_asleep(true);
	check_lies();
	return failures != 0;
}
