/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State that VMMs move with a guest where KVM offers more than once it did:
 * KVM_CAP_EXCEPTION_PAYLOAD, KVM_CAP_X86_TRIPLE_FAULT_EVENT, KVM_CAP_X2APIC_API and
 * KVM_CAP_VCPU_ATTRIBUTES, as Linux' Documentation/virt/kvm/api.rst and devices/vcpu.rst have them.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <string.h>
#include <x86intrin.h>

#define DB	 1
#define GP	 13
#define PF	 14
#define BS	 0x4000u
#define DR6_ONES 0xffff0ff0u
#define ALWAYS                                                                                     \
	(KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM)
#define PAYLOAD	  KVM_VCPUEVENT_VALID_PAYLOAD
#define TRIPLE	  KVM_VCPUEVENT_VALID_TRIPLE_FAULT
#define XAPIC	  0xfee00800u
#define X2APIC	  0xfee00c00u
#define APIC_BASE 0x1b
#define ID	  0x20
#define SVR	  0xf0
#define TSC	  0x10
#define RUN_MS	  5000

static int has_cap(struct vm *vm, unsigned long cap)
{
	return vm_ioctl(vm, KVM_CHECK_EXTENSION, (void *)cap);
}

static int enable(struct vm *vm, u32 what, u64 arg)
{
	struct kvm_enable_cap cap = {.cap = what, .args = {arg}};

	return vm_ioctl(vm, KVM_ENABLE_CAP, &cap);
}

/* ---- events ---- */

static struct kvm_vcpu_events get_events(struct vm *vm)
{
	struct kvm_vcpu_events e;

	if (cpu_ioctl(vm, 0, KVM_GET_VCPU_EVENTS, &e))
		fatal("KVM_GET_VCPU_EVENTS");
	return e;
}

static int set_pending(struct vm *vm, u32 flags, u8 vector, bool has_payload, u64 payload)
{
	struct kvm_vcpu_events e = {.exception = {.pending = 1, .nr = vector},
				    .flags = flags,
				    .exception_has_payload = has_payload,
				    .exception_payload = payload};

	e.exception.has_error_code = vector != DB;
	return cpu_ioctl(vm, 0, KVM_SET_VCPU_EVENTS, &e);
}

/* In front of an instruction that nobody is to reach but by an exception's handler. */
static void start(struct vm *vm)
{
	struct kvm_regs r;

	vm->value_count = 0;
	cpu_setup(vm, 0, MODE_LONG, pl_took, 0, 0);
	cpu_get_regs(vm, 0, &r);
	r.rip = payload_addr(unexpected);
	r.r15 = payload_addr(pl_took);
	cpu_set_regs(vm, 0, &r);
}

static u64 cr2(struct vm *vm)
{
	struct kvm_sregs s;

	if (cpu_ioctl(vm, 0, KVM_GET_SREGS, &s))
		fatal("KVM_GET_SREGS");
	return s.cr2;
}

/* The guest takes one exception, and then finds these. */
static bool takes(struct vm *vm, u32 fault_address, u32 dr6)
{
	enum end end = vm_run(vm, 0, RUN_MS);

	if (end == END_DONE && vm->value_count == 3 && vm->values[0] == fault_address &&
	    vm->values[1] == dr6 && vm->values[2] == 1)
		return true;
	note("%s, %u values: %x %x %x", end_names[end], vm->value_count, vm->values[0],
	     vm->values[1], vm->values[2]);
	return false;
}

static void without(struct vm *vm)
{
	struct kvm_vcpu_events e = {.exception = {.injected = 1, .nr = GP, .has_error_code = 1}};

	ok(get_events(vm).flags == ALWAYS, "events: NMIs, the shadow and SMM are told as valid");
	ok(set_pending(vm, PAYLOAD, PF, true, 0) == -EINVAL &&
	       set_pending(vm, TRIPLE, PF, true, 0) == -EINVAL &&
	       set_pending(vm, 1u << 31, PF, true, 0) == -EINVAL,
	   "events: flags of what has not been enabled are EINVAL, as unknown ones");
	start(vm);
	ok(!set_pending(vm, 0, PF, true, 0) && !get_events(vm).exception.injected,
	   "events: a pending exception is none then");
	ok(!cpu_ioctl(vm, 0, KVM_SET_VCPU_EVENTS, &e) && get_events(vm).exception.injected &&
	       takes(vm, 0, DR6_ONES),
	   "events: one that is injected is");
}

static void payloads(struct vm *vm)
{
	struct kvm_vcpu_events e;

	ok(!enable(vm, KVM_CAP_EXCEPTION_PAYLOAD, 1), "events: payloads can be enabled");
	start(vm);
	ok(set_pending(vm, PAYLOAD, 32, false, 0) == -EINVAL &&
	       set_pending(vm, PAYLOAD, 2, false, 0) == -EINVAL,
	   "events: but not exceptions that are none");
	ok(!set_pending(vm, PAYLOAD, PF, true, 0x123000) && !cr2(vm),
	   "events: a page fault is pending, CR2 as it was");
	e = get_events(vm);
	ok(e.flags == (ALWAYS | PAYLOAD) && e.exception.pending && !e.exception.injected &&
	       e.exception.nr == PF && e.exception_has_payload && e.exception_payload == 0x123000,
	   "events: it is told as it was set");
	ok(!cpu_ioctl(vm, 0, KVM_SET_VCPU_EVENTS, &e) && takes(vm, 0x123000, DR6_ONES),
	   "events: the guest finds its address in CR2");
	e = get_events(vm);
	ok(!e.exception.pending && !e.exception.injected && !e.exception_has_payload,
	   "events: and nothing is pending any more");
	start(vm);
	ok(!set_pending(vm, PAYLOAD, DB, true, BS) && takes(vm, 0x123000, DR6_ONES | BS),
	   "events: a debug exception's bits come into DR6");
	start(vm);
	ok(!set_pending(vm, PAYLOAD, PF, false, 0x456000) && takes(vm, 0x123000, DR6_ONES | BS),
	   "events: without a payload nothing is changed");
	start(vm);
	set_pending(vm, PAYLOAD, PF, true, 0x789000);
	e = (struct kvm_vcpu_events){.flags = PAYLOAD,
				     .exception = {.injected = 1, .nr = PF, .has_error_code = 1},
				     .exception_has_payload = 1,
				     .exception_payload = 0xabc000};
	ok(!cpu_ioctl(vm, 0, KVM_SET_VCPU_EVENTS, &e) && takes(vm, 0x123000, DR6_ONES | BS),
	   "events: nor by one that had begun");
}

static int set_triple(struct vm *vm, u32 flags, bool pending)
{
	struct kvm_vcpu_events e = {.flags = flags, .triple_fault.pending = pending};

	return cpu_ioctl(vm, 0, KVM_SET_VCPU_EVENTS, &e);
}

static void triple_fault(struct vm *vm)
{
	ok(!enable(vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT, 1) &&
	       get_events(vm).flags == (ALWAYS | PAYLOAD | TRIPLE),
	   "events: triple faults can be enabled");
	cpu_setup(vm, 0, MODE_LONG, pl_took, 0, 0);
	ok(!get_events(vm).triple_fault.pending && !set_triple(vm, TRIPLE, true) &&
	       get_events(vm).triple_fault.pending && !set_triple(vm, 0, false) &&
	       get_events(vm).triple_fault.pending,
	   "events: one is pending, and stays so where nobody speaks of it");
	vm->run[0]->immediate_exit = 1;
	ok(cpu_ioctl(vm, 0, KVM_RUN, NULL) == -EINTR && get_events(vm).triple_fault.pending,
	   "events: also over an immediate_exit");
	vm->run[0]->immediate_exit = 0;
	ok(vm_run(vm, 0, RUN_MS) == END_SHUTDOWN && !get_events(vm).triple_fault.pending,
	   "events: the guest does not run, but shuts down");
	cpu_setup(vm, 0, MODE_LONG, pl_took, 0, 0);
	ok(!set_triple(vm, TRIPLE, true) && !set_triple(vm, TRIPLE, false) &&
	       vm_run(vm, 0, RUN_MS) == END_DONE,
	   "events: unless it has been taken back");
}

static void check_events(void)
{
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	ok(has_cap(&vm, KVM_CAP_EXCEPTION_PAYLOAD) == 1 &&
	       has_cap(&vm, KVM_CAP_X86_TRIPLE_FAULT_EVENT) == 1,
	   "events: both capabilities are there");
	without(&vm);
	payloads(&vm);
	triple_fault(&vm);
	vm_free(&vm);
}

/* ---- x2APIC ids ---- */

static u32 lapic_id(struct vm *vm, u32 cpu)
{
	struct kvm_lapic_state s;
	u32 id;

	if (cpu_ioctl(vm, cpu, KVM_GET_LAPIC, &s))
		fatal("KVM_GET_LAPIC");
	memcpy(&id, s.regs + ID, sizeof(id));
	return id;
}

/* With this id; the LAPIC takes interrupts. */
static int set_lapic(struct vm *vm, u32 cpu, u32 id)
{
	const u32 svr = 0x1ff;
	struct kvm_lapic_state s;

	if (cpu_ioctl(vm, cpu, KVM_GET_LAPIC, &s))
		fatal("KVM_GET_LAPIC");
	memcpy(s.regs + ID, &id, sizeof(id));
	memcpy(s.regs + SVR, &svr, sizeof(svr));
	return cpu_ioctl(vm, cpu, KVM_SET_LAPIC, &s);
}

static int msi(struct vm *vm, u32 dest, u32 high)
{
	struct kvm_msi m = {.address_lo = 0xfee00000 | dest << 12, .address_hi = high, .data = 77};

	return vm_ioctl(vm, KVM_SIGNAL_MSI, &m);
}

static int route(struct vm *vm, u32 high)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e;
	} r = {.head.nr = 1,
	       .e = {.type = KVM_IRQ_ROUTING_MSI,
		     .u.msi = {.address_lo = 0xfee01000, .address_hi = high, .data = 77}}};

	return vm_ioctl(vm, KVM_SET_GSI_ROUTING, &r);
}

static void check_ids(void)
{
	struct vm vm;

	vm_init(&vm, 2, VM_SPLIT);
	ok(has_cap(&vm, KVM_CAP_X2APIC_API) == 3,
	   "x2APIC: the capability is there, both its parts");
	ok(enable(&vm, KVM_CAP_X2APIC_API, 4) == -EINVAL &&
	       enable(&vm, KVM_CAP_X2APIC_API, 1ull << 32) == -EINVAL,
	   "x2APIC: unknown parts are EINVAL");
	set_msr(&vm, 0, APIC_BASE, X2APIC | 0x100);
	set_msr(&vm, 1, APIC_BASE, X2APIC);
	ok(lapic_id(&vm, 1) == 1 << 24 && !set_lapic(&vm, 0, 0) && !set_lapic(&vm, 1, 1 << 24),
	   "x2APIC: an id has xAPIC's form");
	ok(!set_lapic(&vm, 1, 5 << 24) && lapic_id(&vm, 1) == 1 << 24,
	   "x2APIC: where another is no error, and nothing");
	ok(msi(&vm, 1, 0x100) == 1 && msi(&vm, 1, 1) == 1 && !route(&vm, 1),
	   "x2APIC: an MSI's upper address is nothing");
	ok(!enable(&vm, KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS) &&
	       lapic_id(&vm, 1) == 1 && !set_lapic(&vm, 1, 1),
	   "x2APIC: with 32-bit ids it has its own");
	ok(set_lapic(&vm, 1, 1 << 24) == -EINVAL && set_lapic(&vm, 1, 2) == -EINVAL,
	   "x2APIC: and no other");
	ok(msi(&vm, 1, 0) == 1 && msi(&vm, 1, 0x100) == 0 && msi(&vm, 1, 1) == -EINVAL &&
	       route(&vm, 1) == -EINVAL && !route(&vm, 0x100),
	   "x2APIC: MSIs have 32 bits of destination, whose place is looked at");
	ok(msi(&vm, 0xff, 0) == 1, "x2APIC: 255 is a broadcast");
	ok(!enable(&vm, KVM_CAP_X2APIC_API, KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK) &&
	       msi(&vm, 0xff, 0) == 0 && lapic_id(&vm, 1) == 1,
	   "x2APIC: and without that quirk an id; what was enabled stays");
	set_msr(&vm, 1, APIC_BASE, XAPIC);
	ok(lapic_id(&vm, 1) == 1 << 24 && !set_lapic(&vm, 1, 1 << 24) && msi(&vm, 0xff, 0) == 1,
	   "x2APIC: in xAPIC mode all is as it was");
	vm_free(&vm);
}

/* ---- the TSC's offset ---- */

static int attr(struct vm *vm, u32 cpu, unsigned long what, u32 group, u64 which, void *at)
{
	struct kvm_device_attr a = {.group = group, .attr = which, .addr = (u64)at};

	return cpu_ioctl(vm, cpu, what, &a);
}

static int offset(struct vm *vm, u32 cpu, unsigned long what, u64 *at)
{
	return attr(vm, cpu, what, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, at);
}

/* Does a vCPU's TSC differ by that from ours? */
static bool is_off(struct vm *vm, u32 cpu, u64 by)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = {.head.nmsrs = 1, .e.index = TSC};
	u64 before = __rdtsc() + by, after;

	if (cpu_ioctl(vm, cpu, KVM_GET_MSRS, &m) != 1)
		fatal("KVM_GET_MSRS");
	after = __rdtsc() + by;
	return m.e.data - before <= after - before;
}

static void check_tsc(void)
{
	u64 old[2], ahead = 1ull << 50, behind = -(1ull << 33), got = 0;
	struct vm vm;
	bool set;

	vm_init(&vm, 2, VM_IRQCHIP);
	ok(has_cap(&vm, KVM_CAP_VCPU_ATTRIBUTES) == 1 &&
	       !offset(&vm, 0, KVM_HAS_DEVICE_ATTR, NULL) &&
	       attr(&vm, 0, KVM_HAS_DEVICE_ATTR, KVM_VCPU_TSC_CTRL, 1, &got) == -ENXIO &&
	       attr(&vm, 0, KVM_SET_DEVICE_ATTR, 1, KVM_VCPU_TSC_OFFSET, &got) == -ENXIO,
	   "TSC: a vCPU has one attribute, its offset");
	ok(offset(&vm, 0, KVM_GET_DEVICE_ATTR, NULL) == -EFAULT &&
	       offset(&vm, 0, KVM_SET_DEVICE_ATTR, (u64 *)1) == -EFAULT,
	   "TSC: whose value must be somewhere");
	ok(!offset(&vm, 0, KVM_GET_DEVICE_ATTR, &old[0]) &&
	       !offset(&vm, 1, KVM_GET_DEVICE_ATTR, &old[1]) && old[0] == old[1] &&
	       is_off(&vm, 0, old[0]),
	   "TSC: that of new vCPUs is one, and true");
	set = !offset(&vm, 0, KVM_SET_DEVICE_ATTR, &ahead);
	ok(set && !offset(&vm, 0, KVM_GET_DEVICE_ATTR, &got) && got == ahead &&
	       is_off(&vm, 0, ahead) && is_off(&vm, 1, old[1]),
	   "TSC: a vCPU's can be set ahead, others' stay");
	set = !offset(&vm, 1, KVM_SET_DEVICE_ATTR, &behind);
	ok(set && is_off(&vm, 1, behind) && is_off(&vm, 0, ahead), "TSC: or back");
	cpu_setup(&vm, 0, MODE_LONG, pl_rdmsr, TSC, 0);
	ok(vm_run(&vm, 0, RUN_MS) == END_DONE && vm.values[1] >> 18 == 1, "TSC: the guest sees it");
	vm_free(&vm);
}

/* Code and IDT lie where devices are: of what is undefined there the VMM hears. */
static void test_delivery_to_device(void)
{
	struct kvm_sregs s;
	struct vm vm;

	vm_init(&vm, 1, 0);
	cpu_setup(&vm, 0, MODE_LONG, pl_spin, 0, 0);
	cpu_ioctl(&vm, 0, KVM_GET_SREGS, &s);
	sregs_set_user(&s);
	s.idt.base = MMIO_BASE;
	cpu_ioctl(&vm, 0, KVM_SET_SREGS, &s);
	cpu_set_regs(&vm, 0, &(struct kvm_regs){.rip = MMIO_BASE + 0x10000, .rflags = 2});
	ok(vm_run(&vm, 0, RUN_MS) == END_INTERNAL,
	   "an exception that is delivered to a device is an internal error");
	vm_free(&vm);
}

/* A program of the guest's loads from a device to x87, which nobody emulates. */
static enum end run_program(struct vm *vm)
{
	static const u8 code[] = {0xbf, 0, 0, 0, MMIO_BASE >> 24, 0xd9, 0x07}; /* fld [rdi] */
	struct kvm_sregs s;

	cpu_setup(vm, 0, MODE_LONG, pl_spin, 0, 0);
	memcpy(vm->ram + DATA, code, sizeof(code));
	cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
	sregs_set_user(&s);
	s.idt.limit = 0;
	cpu_ioctl(vm, 0, KVM_SET_SREGS, &s);
	cpu_set_regs(vm, 0, &(struct kvm_regs){.rip = DATA, .rflags = 2});
	return vm_run(vm, 0, RUN_MS);
}

static void test_emulation_failure(void)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args = {2}};
	struct kvm_run *run;
	struct vm vm;

	vm_init(&vm, 1, 0);
	run = vm.run[0];
	ok(vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_EXIT_ON_EMULATION_FAILURE) == 1 &&
	       vm_ioctl(&vm, KVM_ENABLE_CAP, &cap) == -EINVAL,
	   "emulation: whether failures exit can be said, as 0 or 1");
	ok(run_program(&vm) == END_SHUTDOWN, "emulation: a program gets #UD by itself");
	cap.args[0] = 1;
	ok(!vm_ioctl(&vm, KVM_ENABLE_CAP, &cap) && run_program(&vm) == END_INTERNAL &&
	       run->emulation_failure.suberror == KVM_INTERNAL_ERROR_EMULATION &&
	       run->emulation_failure.insn_bytes[0] == 0xd9,
	   "emulation: or its VMM gets the instruction");
	cap.args[0] = 0;
	ok(!vm_ioctl(&vm, KVM_ENABLE_CAP, &cap) && run_program(&vm) == END_SHUTDOWN,
	   "emulation: until it no longer wants that");
	vm_free(&vm);
}

/* A program of 32 bits whose TR is as processors leave it, busy, calls its kernel. */
static void test_busy_tss(void)
{
	static const u64 user_code = 0x00cffb000000ffff, user_data = 0x00cff3000000ffff;
	static const u8 code[] = {0xcd, 0x80 /* int 0x80 */, 0xe6, PORT_DONE};
	const u32 kernel = DATA + 2,
		  gate[] = {0x18 << 16 | (u16)kernel, (kernel & ~0xffffu) | 0xee00};
	const u32 stack[] = {STACK_TOP(1), 0x10};
	struct kvm_sregs s;
	struct kvm_regs r;
	struct vm vm;

	vm_init(&vm, 1, 0);
	memcpy(vm.ram + DATA, code, sizeof(code));
	cpu_setup(&vm, 0, MODE_PROT32, payload_start, 0, 0);
	memcpy(vm.ram + GDT + 0x20, &user_code, 8);
	memcpy(vm.ram + GDT + 0x28, &user_data, 8);
	memcpy(vm.ram + IDT + 0x80 * 8, gate, sizeof(gate));
	memcpy(vm.ram + SCRATCH + 4, stack, sizeof(stack));
	cpu_ioctl(&vm, 0, KVM_GET_SREGS, &s);
	s.gdt.limit = 0x2f;
	s.cs.selector = 0x20;
	s.ss.selector = 0x28;
	sregs_set_user(&s);
	s.tr = (struct kvm_segment){.base = SCRATCH, .limit = 0x67, .type = 11, .present = 1};
	cpu_ioctl(&vm, 0, KVM_SET_SREGS, &s);
	cpu_get_regs(&vm, 0, &r);
	r.rip = DATA;
	cpu_set_regs(&vm, 0, &r);
	ok(vm_run(&vm, 0, RUN_MS) == END_DONE && !cpu_ioctl(&vm, 0, KVM_GET_SREGS, &s) &&
	       s.cs.selector == 0x18 && s.tr.type == 11,
	   "registers: a program with a busy TSS calls its kernel, and the TSS is busy still");
	vm_free(&vm);
}

int main(void)
{
	open_kvm();
	test_emulation_failure();
	check_events();
	check_ids();
	check_tsc();
	test_delivery_to_device();
	test_busy_tss();
	return failures != 0;
}
