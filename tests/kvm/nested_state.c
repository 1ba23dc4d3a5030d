/* SPDX-License-Identifier: GPL-2.0-only */
/* What a VMM reads and writes of a guest that runs a guest: reset, saved state, exceptions. */
#define _GNU_SOURCE
#include "nestedvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

/* A machine is reset while its guest runs a guest. */
static void test_reset(void)
{
	struct vm vm;
	struct kvm_sregs s;
	u64 code;

	nested_start(&vm, 0);
	CODE_FOR(&vm, true, 0xe6, 0xe5, VMMCALL);
	vm_run(&vm, 0, RUN_MS);
	cpu_ioctl(&vm, 0, KVM_GET_SREGS, &s);
	ok(vm.run[0]->flags & 4 && ioctl(kvm, KVM_CHECK_EXTENSION, 238),
	   "nested: the VMM is told that the guest runs a guest (KVM_RUN_X86_GUEST_MODE)");
	ok(s.efer & 0x1000 && !cpu_ioctl(&vm, 0, KVM_SET_SREGS, &s) &&
	       nested_exits(&vm, EXIT_VMMCALL),
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
	nested_start(&a, 0);
	s.head.size = sizeof(s);
	ok(!cpu_ioctl(&a, 0, KVM_GET_NESTED_STATE, &s) &&
	       s.head.flags == KVM_STATE_NESTED_GIF_SET && s.head.size == 128,
	   "nested: of a guest that runs none it has GIF");
	CODE_FOR(&a, true, 0xe6, 0xe5, READ_A(VMMCALL));
	R64(&a, PAGE_B) = 0x4711;
	*nested_pte(&a, PAGE_A) = PAGE_B | 7;
	V64(&a, VINTR) = 1 << 24 | 3;
	V64(&a, TSC_OFF) = 1ull << 50;
	vm_run(&a, 0, RUN_MS);
	s.head.size = 128;
	ok(cpu_ioctl(&a, 0, KVM_GET_NESTED_STATE, &s) == -E2BIG && s.head.size == 128 + 4096,
	   "nested: a buffer that is too small is told how large it should be");
	nested_start(&b, 0);
	ok(!move(&a, &b, &s) &&
	       s.head.flags == (KVM_STATE_NESTED_GIF_SET | KVM_STATE_NESTED_GUEST_MODE) &&
	       s.head.hdr.svm.vmcb_pa == VMCB,
	   "nested: the state of a guest in guest mode is taken, and given to another");
	memset(a.ram, 0, RAM_SIZE);
	ok(nested_exits(&b, EXIT_VMMCALL) && V64(&b, RAX) == 0x4711 && (V64(&b, VINTR) & 15) == 3 &&
	       REG(&b, r14) == 0,
	   "nested: where it goes on, on its nested tables, and comes back to its host");
	CODE_FOR(&b, true, VMMCALL);
	ok(set_msr(&b, 0, 0xc0010117, HSAVE) == 1, "nested: it is given VM_HSAVE_PA, as by a VMM");
	ok(nested_exits(&b, EXIT_VMMCALL), "nested: and runs the next");
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

/* Exceptions of the VMM's own: one that is pending is the guest's to intercept, one that has been
 * injected is not. */
static void test_exceptions(void)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_EXCEPTION_PAYLOAD, .args = {1}};
	struct kvm_vcpu_events e;
	struct vm vm;

	nested_start(&vm, 0);
	ok(!ioctl(vm.fd, KVM_ENABLE_CAP, &cap), "nested: pending exceptions are told apart");
	for (u32 injected = 0; injected < 2; injected++) {
		CODE_FOR(&vm, false, 0xe6, 0xe5, VMMCALL);
		V32(&vm, EXC) |= 1 << 12 | 1 << 13;
		V32(&vm, SEG(8) + 4) = 0; /* no IDT */
		vm_run(&vm, 0, RUN_MS);
		cpu_ioctl(&vm, 0, KVM_GET_VCPU_EVENTS, &e);
		e.flags = KVM_VCPUEVENT_VALID_PAYLOAD;
		e.exception.pending = !injected;
		e.exception.injected = injected;
		e.exception.nr = 12;
		e.exception.has_error_code = 1;
		e.exception.error_code = 0x33;
		cpu_ioctl(&vm, 0, KVM_SET_VCPU_EVENTS, &e);
		memset(&e, 0, sizeof(e));
		cpu_ioctl(&vm, 0, KVM_GET_VCPU_EVENTS, &e);
		ok(e.exception.pending == !injected && e.exception.injected == injected,
		   "nested: and told so");
		if (injected)
			ok(nested_exits(&vm, 0x4d),
			   "nested: an injected exception is delivered, here to no IDT");
		else
			ok(nested_exits(&vm, 0x4c) && V64(&vm, INFO1) == 0x33,
			   "nested: a pending one ends guest mode if it is asked for");
	}
	vm_free(&vm);
}

int main(void)
{
	open_kvm();
	test_reset();
	test_state();
	test_exceptions();
	return failures != 0;
}
