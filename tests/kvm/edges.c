/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The ends of edge-triggered interrupts, of which the hypervisor tells whom they matter to: the
 * PIT, which makes up for ticks, and resampling eventfds.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define VECTOR 0x52
#define GSI    5
#define RUN_MS 3000

/* The pin of that GSI, edge-triggered, at CPU 0; the PICs take no part. */
static void set_chips(struct vm *vm, u32 pin)
{
	struct kvm_irqchip io = {.chip_id = KVM_IRQCHIP_IOAPIC},
			   pic = {.chip_id = KVM_IRQCHIP_PIC_MASTER};

	vm_ioctl(vm, KVM_GET_IRQCHIP, &io);
	vm_ioctl(vm, KVM_GET_IRQCHIP, &pic);
	io.chip.ioapic.redirtbl[pin].bits = VECTOR;
	pic.chip.pic.imr = 0xff;
	if (vm_ioctl(vm, KVM_SET_IRQCHIP, &io) || vm_ioctl(vm, KVM_SET_IRQCHIP, &pic))
		fatal("KVM_SET_IRQCHIP");
}

/* The guest is interrupted n times, with or without an EOI. */
static enum end takes(struct vm *vm, u32 n, bool eoi)
{
	cpu_setup(vm, 0, MODE_LONG, pl_sints, n, eoi);
	return vm_run(vm, 0, RUN_MS);
}

/* The guest's LAPIC is on from then on; a tick that finds it off is lost, and is never ended. */
static void switch_on(struct vm *vm)
{
	cpu_setup(vm, 0, MODE_LONG, pl_sints, 1, true);
	vm_run(vm, 0, 100);
}

static void test_pit(void)
{
	struct kvm_pit_state2 s;
	struct vm vm;
	enum end end;

	vm_init(&vm, 1, VM_IRQCHIP | VM_PIT);
	set_chips(&vm, 0);
	switch_on(&vm);
	if (vm_ioctl(&vm, KVM_GET_PIT2, &s))
		fatal("KVM_GET_PIT2");
	s.channels[0].mode = 2;
	s.channels[0].count = 11932; /* 100 Hz */
	vm_ioctl(&vm, KVM_SET_PIT2, &s);
	end = takes(&vm, 20, true);
	ok(end == END_DONE, "edges: the PIT ticks on by the IOAPIC (%s)", end_names[end]);
	vm_free(&vm);
}

static void test_resample(void)
{
	int fd = eventfd(0, EFD_NONBLOCK), back = eventfd(0, EFD_NONBLOCK);
	struct kvm_irqfd f = {
	    .fd = fd, .gsi = GSI, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = back};
	const u64 one = 1;
	enum end end;
	struct vm vm;
	u64 n;

	for (u32 eoi = 0; eoi < 2; eoi++) {
		vm_init(&vm, 1, VM_IRQCHIP);
		set_chips(&vm, GSI);
		switch_on(&vm);
		if (vm_ioctl(&vm, KVM_IRQFD, &f) || write(fd, &one, 8) != 8)
			fatal("an irqfd");
		end = takes(&vm, 1, eoi);
		ok(end == END_DONE && (read(back, &n, 8) == 8) == eoi,
		   "edges: who waits for its end hears of it %s (%s)", eoi ? "then" : "not before",
		   end_names[end]);
		vm_free(&vm);
	}
	close(fd);
	close(back);
}

/* The guest writes the lower half of that pin's entry: EDI to the IOAPIC's register 0x10 + 2 * GSI
 */
static const u8 write_entry[] = {
    0xb8, 0x00, 0x00,		0xc0, 0xfe,	  /* mov eax, 0xfec00000 */
    0xc7, 0x00, 0x10 + 2 * GSI, 0x00, 0x00, 0x00, /* mov dword [rax], ... */
    0x89, 0x78, 0x10,				  /* mov [rax + 16], edi */
    0xe6, 0xe1,					  /* out PORT_DONE, al */
};

/* What a resampled line has been raised for while it was masked may be gone when it no longer is.
 */
static void test_unmask(void)
{
	int fd = eventfd(0, EFD_NONBLOCK), back = eventfd(0, EFD_NONBLOCK);
	struct kvm_irqfd f = {
	    .fd = fd, .gsi = GSI, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = back};
	struct kvm_irqchip io = {.chip_id = KVM_IRQCHIP_IOAPIC};
	const u64 one = 1, level = 1 << 15, masked = 1 << 16;
	struct vm vm;
	enum end end;
	u64 n;

	vm_init(&vm, 1, VM_IRQCHIP);
	set_chips(&vm, GSI);
	switch_on(&vm);
	if (vm_ioctl(&vm, KVM_IRQFD, &f))
		fatal("an irqfd");
	run_code(&vm, write_entry, sizeof(write_entry), level | masked | VECTOR);
	ok(write(fd, &one, 8) == 8 && read(back, &n, 8) < 0,
	   "edges: of a level that comes while its pin is masked nobody is told");
	end = run_code(&vm, write_entry, sizeof(write_entry), level | VECTOR);
	vm_ioctl(&vm, KVM_GET_IRQCHIP, &io);
	ok(end == END_DONE && read(back, &n, 8) == 8 && !(io.chip.ioapic.irr & 1 << GSI) &&
	       !io.chip.ioapic.redirtbl[GSI].fields.remote_irr,
	   "edges: who raised it is asked when it is unmasked, and the guest not interrupted");
	ok(write(fd, &one, 8) == 8 && takes(&vm, 1, true) == END_DONE && read(back, &n, 8) == 8,
	   "edges: the next one comes and is ended");
	vm_free(&vm);
	close(fd);
	close(back);
}

int main(void)
{
	open_kvm();
	test_pit();
	test_resample();
	test_unmask();
	return failures != 0;
}
