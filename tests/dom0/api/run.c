/* SPDX-License-Identifier: GPL-2.0-only */
/* Running and stopping: what ends KVM_RUN, and the registers in the shared page. */
#include "api.h"

/* ---- running and stopping ---- */

GUEST(spin, "jmp .");
GUEST(halt, "1: hlt; jmp 1b");
GUEST(undefined, "ud2");

static void test_immediate_exit(void)
{
	struct vm v = start(NO_CHIP);

	LOAD(v, in_port);
	check(run(&v) == KVM_EXIT_IO && !v.run->io.direction && v.run->io.port == 0x3f8,
	      "IN exits");
	*io_data(&v) = 0x5a;
	v.run->immediate_exit = 1;
	check(run(&v) == -EINTR, "immediate_exit: KVM_RUN says EINTR");
	check(at_port(&v, 0x3f8) && v.run->io.size == 1,
	      "immediate_exit: the exit before stays to be read");
	check((regs(&v).rax & 0xff) == 0x5a && regs(&v).rip == CODE + 4,
	      "immediate_exit: the access is completed first");
	check(run(&v) == -EINTR && regs(&v).rip == CODE + 4,
	      "immediate_exit: without one the guest does not run");
	check(at_port(&v, 0x3f8), "immediate_exit: and the exit before still stays");
	v.run->cr8 = 16;
	check(run(&v) == -EINVAL && at_port(&v, 0x3f8) && !v.run->cr8,
	      "CR8 16 is refused, and is not what KVM_RUN leaves there");
	v.run->immediate_exit = 0;
	check(run(&v) == KVM_EXIT_HLT, "it goes on afterwards");
	end(&v);
}

static void test_signals(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_mp_state mp = {~0u};
	int bad = 0;

	LOAD(v, spin);
	for (int i = 0; i < 50; i++)
		bad += run_interrupted(&v, 1000 + i * 137) != -EINTR ||
		       v.run->exit_reason != KVM_EXIT_INTR || regs(&v).rip != CODE;
	check(!bad, "a signal ends KVM_RUN of a spinning guest, 50 times");
	end(&v);

	v = start(FULL_CHIP);
	LOAD(v, halt);
	check(run_interrupted(&v, 50000) == -EINTR, "a signal ends KVM_RUN of a halted guest");
	ioctl(v.vcpu, KVM_GET_MP_STATE, &mp);
	check(mp.mp_state == KVM_MP_STATE_HALTED, "which stays halted");
	end(&v);
}

/* A set of signals that could not be had leaves the one before. */
static void test_signal_mask(void)
{
	struct vm v = start(NO_CHIP);
	union {
		struct kvm_signal_mask head;
		uint8_t room[sizeof(struct kvm_signal_mask) + 8];
	} m = {.head.len = 8};
	sigset_t alarm, old;

	LOAD(v, spin);
	sigemptyset(&alarm);
	sigaddset(&alarm, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarm, &old);
	check(!ioctl(v.vcpu, KVM_SET_SIGNAL_MASK, &m), "no signal is blocked in KVM_RUN");
	m.head.len = 4;
	check(ioctl(v.vcpu, KVM_SET_SIGNAL_MASK, &m) && errno == EINVAL, "sets have 8 bytes");
	check(ioctl(v.vcpu, KVM_SET_SIGNAL_MASK, 8) && errno == EFAULT, "which can be read");
	check(run_interrupted(&v, 50000) == -EINTR, "and what was set before holds");
	sigprocmask(SIG_SETMASK, &old, NULL);
	end(&v);
}

static void test_shutdown(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_sregs s;

	LOAD(v, undefined);
	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.idt.limit = 0;
	ioctl(v.vcpu, KVM_SET_SREGS, &s);
	check(run(&v) == KVM_EXIT_SHUTDOWN, "a triple fault is KVM_EXIT_SHUTDOWN");
	end(&v);
}

GUEST(steps, "cpuid; nop; out %al, $0x78; nop; hlt");
GUEST(on_step, "incw 0x3000; iret");

/* RFLAGS.TF is nobody's but the guest's, also where the hypervisor executes instructions for it. */
static void test_single_step(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_regs r = {.rip = CODE, .rflags = 0x102, .rsp = STACK};
	u16 *count = (u16 *)(ram + 0x3000);

	LOAD(v, steps);
	HANDLE(1, on_step);
	ioctl(v.vcpu, KVM_SET_REGS, &r);
	check(ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_ROBUST_SINGLESTEP) == 1 &&
		  run(&v) == KVM_EXIT_IO && *count == 2 && run(&v) == KVM_EXIT_HLT && *count == 4,
	      "a guest that steps through itself is at each instruction once (%u)", *count);
	check(regs(&v).rflags & 0x100, "and keeps its TF");
	end(&v);
}

/* ---- registers in the shared page ---- */

#define SYNC_ALL (KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS | KVM_SYNC_X86_EVENTS)

static bool same_regs(struct vm *v)
{
	struct kvm_sync_regs *s = &v->run->s.regs;
	struct kvm_vcpu_events e = {};
	struct kvm_sregs sregs = {};
	struct kvm_regs r = regs(v);

	ioctl(v->vcpu, KVM_GET_SREGS, &sregs);
	ioctl(v->vcpu, KVM_GET_VCPU_EVENTS, &e);
	return !memcmp(&r, &s->regs, sizeof(r)) && !memcmp(&sregs, &s->sregs, sizeof(sregs)) &&
	       !memcmp(&e, &s->events, sizeof(e));
}

static void test_sync_regs(void)
{
	struct vm v = start(FULL_CHIP);
	struct kvm_sync_regs *s = &v.run->s.regs, none;

	LOAD(v, show);
	check(ioctl(v.fd, KVM_CHECK_EXTENSION, KVM_CAP_SYNC_REGS) == SYNC_ALL,
	      "registers, system registers and events can be had with an exit");
	v.run->kvm_valid_regs = SYNC_ALL + 1;
	check(run(&v) == -EINVAL, "an unknown set to read is refused");
	v.run->kvm_valid_regs = 0;
	v.run->kvm_dirty_regs = 1u << 3;
	check(run(&v) == -EINVAL, "an unknown set to write is refused");
	v.run->kvm_dirty_regs = 0;
	memset(s, 0xaa, sizeof(*s));
	memset(&none, 0xaa, sizeof(none));
	check(run(&v) == KVM_EXIT_IO && !memcmp(s, &none, sizeof(none)),
	      "unless asked for they are not there");
	v.run->kvm_valid_regs = SYNC_ALL;
	check(run(&v) == KVM_EXIT_IO && same_regs(&v), "asked for they are what the ioctls say");
	v.run->kvm_valid_regs = KVM_SYNC_X86_REGS;
	s->regs.rax = 0x5b;
	s->regs.rbx = 0x1234;
	s->sregs.cr2 = 0x4321;
	v.run->kvm_dirty_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	check(run(&v) == KVM_EXIT_IO && *io_data(&v) == 0x5b && s->regs.rbx == 0x1234 &&
		  !v.run->kvm_dirty_regs,
	      "what the VMM has written there the guest has, once");
	v.run->kvm_valid_regs = SYNC_ALL;
	v.run->immediate_exit = 1;
	s->regs.rax = 0x77;
	v.run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	check(run(&v) == -EINTR && same_regs(&v) && s->regs.rax == 0x77 && s->sregs.cr2 == 0x4321,
	      "also with immediate_exit");
	v.run->immediate_exit = 0;
	s->sregs.apic_base = APIC_X2APIC & ~0x800ull;
	v.run->kvm_dirty_regs = KVM_SYNC_X86_SREGS;
	check(run(&v) == -EINVAL && get_msr(&v, MSR_APIC_BASE) == APIC_XAPIC &&
		  s->sregs.apic_base == APIC_XAPIC,
	      "what KVM_SET_SREGS refuses is refused");
	v.run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	s->events.flags = 1u << 31;
	check(run(&v) == -EINVAL, "and what KVM_SET_VCPU_EVENTS does");
	s->events.flags = KVM_VCPUEVENT_VALID_NMI_PENDING;
	s->events.nmi.pending = 1;
	HANDLE(2, on_irq);
	v.run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "an NMI can be had that way");
	end(&v);
}

void run_tests(void)
{
	test_immediate_exit();
	test_signals();
	test_signal_mask();
	test_shutdown();
	test_single_step();
	test_sync_regs();
}
