/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A debugger of a guest: KVM_SET_GUEST_DEBUG. Breakpoints by INT3 and by debug registers, single
 * steps, injection; the guest's own flags, debug registers and interrupts are left to it.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <string.h>

#define DB     1
#define BP     3
#define ONES   0xffff0ff0u /* of DR6 */
#define BD     0x2000u
#define BS     0x4000u
#define DR7    0x400u
#define GD     0x2000u
#define TF     0x100u
#define OWN    (DR7 | 2 << 2) /* the guest's: DR1, executed */
#define RUN_MS 5000

static int debug(struct vm *vm, u32 control, u32 reg, u64 address, u64 dr7)
{
	struct kvm_guest_debug d = {.control = control};

	d.arch.debugreg[reg] = address;
	d.arch.debugreg[7] = dr7;
	return cpu_ioctl(vm, 0, KVM_SET_GUEST_DEBUG, &d);
}

/* Runs the guest: is there a stop for the debugger? */
static bool stops(struct vm *vm, u32 exception, u64 pc, u32 dr6)
{
	const struct kvm_debug_exit_arch *d = &vm->run[0]->debug.arch;
	enum end end = vm_run(vm, 0, RUN_MS);

	if (end == END_OTHER && vm->run[0]->exit_reason == KVM_EXIT_DEBUG &&
	    d->exception == exception && d->pc == pc && (exception != DB || d->dr6 == dr6))
		return true;
	note("%s, exit %u: exception %u at %llx, DR6 %llx; not %u at %lx, %x", end_names[end],
	     vm->run[0]->exit_reason, d->exception, d->pc, d->dr6, exception, pc, dr6);
	return false;
}

static void move_rip(struct vm *vm, const void *label)
{
	struct kvm_regs r;

	cpu_get_regs(vm, 0, &r);
	r.rip = payload_addr(label);
	cpu_set_regs(vm, 0, &r);
}

static void refusals(struct vm *vm)
{
	ok(debug(vm, KVM_GUESTDBG_ENABLE | 4, 0, 0, 0) == -EINVAL &&
	       debug(vm, 1u << 31, 0, 0, 0) == -EINVAL,
	   "debugger: an unknown flag is EINVAL");
	ok(debug(vm, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, 0, 0, 1ull << 32) == -EINVAL,
	   "debugger: so is a DR7 of more than 32 bits");
	ok(!debug(vm, KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_USE_SW_BP, 0, 0, 0),
	   "debugger: without ENABLE nothing is asked for");
}

static void int3(struct vm *vm)
{
	bool stopped;

	debug(vm, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP, 0, 0, 0);
	stopped = stops(vm, BP, payload_addr(&dbg_int3), 0);
	ok(stopped && stops(vm, BP, payload_addr(&dbg_int3), 0),
	   "debugger: INT3 stops the guest in front of it, and once more when it goes on");
}

/* The guest's handler finds RIP behind INT3 and counts in R14. */
static void injection(struct vm *vm)
{
	struct kvm_guest_debug d = {.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_INJECT_BP |
					       KVM_GUESTDBG_USE_HW_BP,
				    .arch.debugreg[3] = payload_addr(&on_fault),
				    .arch.debugreg[7] = DR7 | 2 << 6};
	struct kvm_regs r;
	bool stopped;
	u64 pushed = 0;

	ok(!cpu_ioctl(vm, 0, KVM_SET_GUEST_DEBUG, &d) &&
	       cpu_ioctl(vm, 0, KVM_SET_GUEST_DEBUG, &d) == -EBUSY,
	   "debugger: a #BP can be injected, a second one beside it cannot");
	stopped = stops(vm, DB, payload_addr(&on_fault), ONES | 1 << 3);
	cpu_get_regs(vm, 0, &r);
	if (r.rsp < RAM_SIZE - 8)
		memcpy(&pushed, vm->ram + r.rsp, sizeof(pushed));
	ok(stopped && pushed == payload_addr(&dbg_after),
	   "debugger: the guest's handler gets it, and returns behind INT3 (%lx)", pushed);
}

static void breakpoints(struct vm *vm)
{
	bool code = true, data = true;

	for (u32 i = 0; i < 4; i++) {
		debug(vm, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, i, payload_addr(&dbg_hw),
		      DR7 | 2 << 2 * i);
		code &= stops(vm, DB, payload_addr(&dbg_hw), ONES | 1 << i);
	}
	ok(code, "debugger: DR0 to DR3 stop the guest in front of an instruction");
	for (u32 i = 0; i < 4; i++) {
		move_rip(vm, &dbg_hw);
		debug(vm, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, i, DATA,
		      DR7 | 2 << 2 * i | 0xdu << (16 + 4 * i));
		data &= stops(vm, DB, payload_addr(&dbg_written), ONES | 1 << i);
	}
	ok(data, "debugger: and behind a write");
}

/* xor; cpuid; mov; rdmsr; mov; out; pushf; pop; push; popf; test; jnz */
static const u8 lengths[] = {2, 2, 5, 2, 3, 2, 1, 1, 1, 1, 5, 6};

static void steps(struct vm *vm)
{
	u64 pc = payload_addr(&dbg_steps);
	struct kvm_regs r;
	bool all = true;

	debug(vm, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP | KVM_GUESTDBG_BLOCKIRQ, 0, pc,
	      DR7 | 2);
	ok(stops(vm, DB, pc, ONES | 1), "debugger: an interrupt is pending, the guest takes any");
	debug(vm, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ, 0, 0, 0);
	for (u32 i = 0; i < sizeof(lengths) && all; i++) {
		pc += lengths[i];
		all = stops(vm, DB, pc, ONES | BS);
		cpu_get_regs(vm, 0, &r);
		all &= !(r.rflags & TF);
	}
	ok(all && pc == payload_addr(&dbg_stepped),
	   "debugger: one stop after each instruction, the guest sees no TF");
	ok(vm->value_count == 1 && !vm->values[0],
	   "debugger: interrupts wait for KVM_GUESTDBG_BLOCKIRQ's end");
}

static void step_into_handler(struct vm *vm)
{
	u64 handler = payload_addr(&on_interrupt), flags = TF;
	struct kvm_regs r;
	bool stopped;

	debug(vm, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, 0, 0, 0);
	stopped = stops(vm, DB, handler + 3, ONES | BS); /* behind its first instruction */
	cpu_get_regs(vm, 0, &r);
	if (r.rsp < RAM_SIZE - 24)
		memcpy(&flags, vm->ram + r.rsp + 16, sizeof(flags));
	ok(stopped && !(flags & TF),
	   "debugger: without it a step leads into the handler, whose caller has no TF");
}

/* Up to its own breakpoint the guest finds its own debug registers, whatever the debugger's are. */
static void own_registers(struct vm *vm)
{
	struct kvm_debugregs d;
	bool stopped;

	debug(vm, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, 1, payload_addr(&dbg_own),
	      DR7 | 2 << 2);
	stopped = stops(vm, DB, payload_addr(&dbg_own), ONES | 2);
	ok(stopped && vm->value_count == 4 && vm->values[1] == 1 &&
	       vm->values[2] == (u32)payload_addr(&dbg_own_hit) && vm->values[3] == OWN,
	   "debugger: the guest reads the debug registers it has written");
	ok(!cpu_ioctl(vm, 0, KVM_GET_DEBUGREGS, &d) && d.db[1] == payload_addr(&dbg_own_hit) &&
	       d.dr7 == OWN && d.dr6 == ONES,
	   "debugger: KVM_GET_DEBUGREGS gives the guest's");
	debug(vm, 0, 0, 0, 0);
	debug(vm, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP, 0, 0, 0);
	vm->ram[payload_addr(&dbg_gd)] = 0xcc;
	stopped = stops(vm, BP, payload_addr(&dbg_gd), 0);
	vm->ram[payload_addr(&dbg_gd)] = 0x0f;
	ok(stopped && vm->value_count == 6 && vm->values[4] == (u32)payload_addr(&dbg_own_hit) &&
	       vm->values[5] == (ONES | 2),
	   "debugger: when it has let go, the guest has its registers and its breakpoint");
}

static void general_detect(struct vm *vm)
{
	u64 pc = payload_addr(&dbg_gd);

	debug(vm, KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, 0, 0, DR7 | GD);
	ok(stops(vm, DB, pc, ONES | BD), "debugger: DR7.GD stops a MOV from a debug register");
	debug(vm, 0, 0, 0, 0);
	ok(vm_run(vm, 0, RUN_MS) == END_DONE && vm->value_count == 7 && vm->values[6] == 2,
	   "debugger: the guest comes to its end, with one #BP and one #DB");
}

int main(void)
{
	struct vm vm;

	open_kvm();
	vm_init(&vm, 1, VM_IRQCHIP);
	ok(vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_SET_GUEST_DEBUG) == 1 &&
	       vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_SET_GUEST_DEBUG2) == 0x1f0003,
	   "debugger: the capabilities are there");
	cpu_setup(&vm, 0, MODE_LONG, &pl_debugger, DATA, OWN);
	refusals(&vm);
	int3(&vm);
	injection(&vm);
	breakpoints(&vm);
	steps(&vm);
	step_into_handler(&vm);
	own_registers(&vm);
	general_detect(&vm);
	vm_free(&vm);
	return failures != 0;
}
