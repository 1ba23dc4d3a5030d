/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What Firecracker asks of /dev/kvm, in its order: src/vmm/src/arch/x86_64/kvm.rs (capabilities),
 * vm.rs and vcpu.rs there (set-up, snapshot).
 */
#define _GNU_SOURCE
#include "snapshot.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WHO	"Firecracker"
#define VECTOR	0x41
#define GSI	5
#define BELL_AT (MMIO_BASE + 0x50) /* virtio-mmio's QueueNotify */

/* Kvm::DEFAULT_CAPABILITIES */
static const struct cap caps[] = {
    CAP(IRQCHIP),     CAP(IOEVENTFD),  CAP(IRQFD),	  CAP(USER_MEMORY), CAP(SET_TSS_ADDR),
    CAP(PIT2),	      CAP(PIT_STATE2), CAP(ADJUST_CLOCK), CAP(DEBUGREGS),   CAP(MP_STATE),
    CAP(VCPU_EVENTS), CAP(XCRS),       CAP(XSAVE),	  CAP(EXT_CPUID),   {0},
};

/* What a Linux guest is started with: system calls off, the TSC at 0, fast strings, MTRRs on. */
static void check_boot_msrs(struct vm *vm)
{
	static const struct kvm_msr_entry msrs[] = {
	    {.index = 0x174},
	    {.index = 0x175},
	    {.index = 0x176},
	    {.index = 0xc0000081},
	    {.index = 0xc0000083},
	    {.index = 0xc0000102},
	    {.index = 0xc0000084},
	    {.index = 0xc0000082},
	    {.index = 0x10},
	    {.index = 0x1a0, .data = 1},
	    {.index = 0x2ff, .data = 1 << 11 | 6},
	};
	enum { N = sizeof(msrs) / sizeof(msrs[0]) };
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry[N];
	} m = {.head.nmsrs = N};
	struct kvm_fpu fpu = {.fcw = 0x37f, .mxcsr = 0x1f80};
	struct kvm_lapic_state lapic;

	memcpy(m.entry, msrs, sizeof(msrs));
	ok(cpu_ioctl(vm, 0, KVM_SET_MSRS, &m) == N, WHO ": all MSRs of its boot are taken");
	ok(!cpu_ioctl(vm, 0, KVM_SET_FPU, &fpu) && !cpu_ioctl(vm, 0, KVM_GET_LAPIC, &lapic),
	   WHO ": so is the FPU, and there is a LAPIC");
	*(u32 *)(lapic.regs + 0x350) = 0x700; /* LINT0: ExtINT */
	*(u32 *)(lapic.regs + 0x360) = 0x400; /* LINT1: NMI */
	ok(!cpu_ioctl(vm, 0, KVM_SET_LAPIC, &lapic), WHO ": whose pins can be wired");
}

/* A queue's notification goes to an eventfd, and costs no exit to the VMM. */
static void check_notify(struct vm *vm)
{
	/* mov dword [rdi], 3; out PORT_DONE, al */
	static const u8 code[] = {0xc7, 0x07, 3, 0, 0, 0, 0xe6, PORT_DONE};
	int fd = eventfd(0, EFD_NONBLOCK);
	struct kvm_ioeventfd bell = {.addr = BELL_AT,
				     .len = 4,
				     .fd = fd,
				     .datamatch = 3,
				     .flags = KVM_IOEVENTFD_FLAG_DATAMATCH};
	struct kvm_regs r;
	u64 rings = 0;

	ok(!vm_ioctl(vm, KVM_IOEVENTFD, &bell), WHO ": a queue gets an ioeventfd");
	memcpy(vm->ram + DATA, code, sizeof(code));
	cpu_setup(vm, 0, MODE_LONG, payload_start, BELL_AT, 0);
	cpu_get_regs(vm, 0, &r);
	r.rip = DATA;
	cpu_set_regs(vm, 0, &r);
	ok(vm_run(vm, 0, 5000) == END_DONE && !vm->mmio_exits &&
	       read(fd, &rings, sizeof(rings)) == sizeof(rings) && rings == 1,
	   WHO ": the guest's notification rings it, without an exit");
	close(fd);
}

/* By irqfd and IOAPIC, whose pin the guest would have set up. */
static bool wake(struct vm *vm)
{
	struct kvm_irqchip io = {.chip_id = KVM_IRQCHIP_IOAPIC};
	int fd = eventfd(0, EFD_NONBLOCK);
	struct kvm_irqfd f = {.fd = fd, .gsi = GSI};
	u64 one = 1;
	bool good;

	vm_ioctl(vm, KVM_GET_IRQCHIP, &io);
	io.chip.ioapic.redirtbl[GSI].bits = VECTOR;
	good = !vm_ioctl(vm, KVM_SET_IRQCHIP, &io) && !vm_ioctl(vm, KVM_IRQFD, &f) &&
	       write(fd, &one, sizeof(one)) == sizeof(one);
	close(fd);
	return good;
}

int main(void)
{
	struct vm vm;

	open_kvm();
	check_caps(kvm, WHO, caps);
	vm_init(&vm, 1, VM_IRQCHIP | VM_PIT);
	check_boot_msrs(&vm);
	check_notify(&vm);
	vm_free(&vm);
	check_snapshot(WHO, VM_IRQCHIP | VM_PIT, wake);
	return failures != 0;
}
