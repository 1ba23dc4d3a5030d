/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What Cloud Hypervisor asks of /dev/kvm: hypervisor/src/kvm/x86_64/mod.rs (capabilities),
 * hypervisor/src/kvm/mod.rs (split irqchip, pause, snapshot, restore, dirty log).
 */
#define _GNU_SOURCE
#include "snapshot.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WHO    "Cloud Hypervisor"
#define VECTOR 0x42
#define GSI    24

/* check_required_kvm_extensions() */
static const struct cap caps[] = {
    CAP(ADJUST_CLOCK),
    CAP(EXT_CPUID),
    CAP(GET_TSC_KHZ),
    CAP(IMMEDIATE_EXIT),
    CAP(IOEVENTFD),
    CAP(IRQCHIP),
    CAP(IRQFD),
    CAP(IRQ_ROUTING),
    CAP(MP_STATE),
    CAP(SET_IDENTITY_MAP_ADDR),
    CAP(SET_TSS_ADDR),
    CAP(SPLIT_IRQCHIP),
    CAP(TSC_DEADLINE_TIMER),
    CAP(USER_MEMORY),
    CAP(USER_NMI),
    CAP(VCPU_EVENTS),
    CAP(XSAVE),
    {0},
};

/* Its IOAPIC is its own: each interrupt is a message, by a route of a GSI. */
static bool route(struct vm *vm)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[1];
	} r = {.head.nr = 1,
	       .entry = {{.gsi = GSI,
			  .type = KVM_IRQ_ROUTING_MSI,
			  .u.msi = {.address_lo = 0xfee00000, .data = VECTOR}}}};

	return !vm_ioctl(vm, KVM_SET_GSI_ROUTING, &r);
}

static bool wake(struct vm *vm)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	struct kvm_irqfd f = {.fd = fd, .gsi = GSI};
	u64 one = 1;
	bool good = route(vm) && !vm_ioctl(vm, KVM_IRQFD, &f) &&
		    write(fd, &one, sizeof(one)) == sizeof(one);

	close(fd);
	return good;
}

static void check_split(void)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
	struct kvm_msi msi = {.address_lo = 0xfee00000, .data = VECTOR};
	struct kvm_lapic_state lapic;
	struct vm vm;

	vm_init(&vm, 1, VM_SPLIT);
	ok(vm_ioctl(&vm, KVM_GET_IRQCHIP, &chip) == -ENXIO &&
	       !cpu_ioctl(&vm, 0, KVM_GET_LAPIC, &lapic),
	   WHO ": with a split irqchip there are LAPICs, and no IOAPIC");
	*(u32 *)(lapic.regs + 0xf0) = 0x1ff;
	ok(!cpu_ioctl(&vm, 0, KVM_SET_LAPIC, &lapic) && vm_ioctl(&vm, KVM_SIGNAL_MSI, &msi) == 1,
	   WHO ": a message is delivered");
	msi.address_lo |= 9 << 12;
	ok(vm_ioctl(&vm, KVM_SIGNAL_MSI, &msi) <= 0, WHO ": one for nobody is not");
	ok(!cpu_ioctl(&vm, 0, KVM_NMI, NULL) && cpu_ioctl(&vm, 0, KVM_GET_TSC_KHZ, NULL) > 1000,
	   WHO ": an NMI is taken, and the TSC has a frequency");
	vm_free(&vm);
}

/* The VMM is the PIC. Its interrupt waits until the guest opens LINT0, and the guest runs. */
static void check_lint0(void)
{
	struct kvm_interrupt irq = {0x41};
	struct kvm_run *run;
	enum end end;
	struct vm vm;

	vm_init(&vm, 1, VM_SPLIT);
	cpu_setup(&vm, 0, MODE_LONG, pl_lint0, 0, 0);
	run = vm.run[0];
	ok(vm_run(&vm, 0, 5000) == END_PAUSE && !run->ready_for_interrupt_injection &&
	       !cpu_ioctl(&vm, 0, KVM_INTERRUPT, &irq) &&
	       cpu_ioctl(&vm, 0, KVM_INTERRUPT, &irq) == -EEXIST,
	   WHO ": LINT0 is masked, so that an interrupt has to wait, and a second has no place");
	run->request_interrupt_window = 1;
	end = vm_run(&vm, 0, 5000);
	ok(end == END_PAUSE && vm.value_count == 1 && !vm.values[0] &&
	       !run->ready_for_interrupt_injection,
	   WHO ": the guest runs on without it, whoever waits for the window (%s, exit %u)",
	   end_names[end], run->exit_reason);
	end = vm_run(&vm, 0, 5000);
	ok(end == END_OTHER && run->exit_reason == KVM_EXIT_IRQ_WINDOW_OPEN &&
	       run->ready_for_interrupt_injection && run->if_flag,
	   WHO ": LINT0 is open, the window comes (%s, exit %u)", end_names[end], run->exit_reason);
	run->request_interrupt_window = 0;
	ok(vm_run(&vm, 0, 5000) == END_DONE && vm.value_count == 2 && vm.values[1] == 1,
	   WHO ": and the interrupt has come once");
	vm_free(&vm);
}

/* Migration: the log is started while the guest runs, and read in rounds. */
static void check_dirty_log(void)
{
	struct kvm_userspace_memory_region ram = {.memory_size = RAM_SIZE};
	static u64 bits[RAM_SIZE / 4096 / 64];
	struct kvm_dirty_log log = {.dirty_bitmap = bits};
	struct vm vm;
	u64 first;

	vm_init(&vm, 1, VM_SPLIT);
	cpu_setup(&vm, 0, MODE_LONG, pl_snapshot, 0, 0);
	ram.userspace_addr = (u64)vm.ram;
	ram.flags = KVM_MEM_LOG_DIRTY_PAGES;
	ok(!vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &ram) &&
	       !vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) && vm_run(&vm, 0, 5000) == END_PAUSE &&
	       !vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log),
	   WHO ": the log of a migration starts and is read");
	first = bits[DATA >> 18] >> (DATA >> 12 & 63) & 1;
	ok(first && !vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) &&
	       !(bits[DATA >> 18] >> (DATA >> 12 & 63) & 1),
	   WHO ": what the guest has written is in it, once");
	vm_free(&vm);
}

int main(void)
{
	open_kvm();
	check_caps(kvm, WHO, caps);
	check_split();
	check_lint0();
	check_dirty_log();
	check_snapshot(WHO, VM_SPLIT, wake);
	return failures != 0;
}
