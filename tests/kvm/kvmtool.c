/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What kvmtool asks of /dev/kvm: x86/kvm.c (capabilities, set-up), mmio.c (coalesced zones),
 * kvm-cpu.c (the ring is emptied after each KVM_RUN). It also wants SVM or VMX in dom0's CPUID,
 * which is not for /dev/kvm to give.
 */
#include "snapshot.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#define WHO  "kvmtool"
#define TEXT "Linux version 6.1, on a screen of no exits"

/* kvm_req_ext[] */
static const struct cap caps[] = {
    CAP(COALESCED_MMIO),
    CAP(SET_TSS_ADDR),
    CAP(PIT2),
    CAP(USER_MEMORY),
    CAP(IRQ_ROUTING),
    CAP(IRQCHIP),
    CAP(HLT),
    CAP(IRQ_INJECT_STATUS),
    CAP(EXT_CPUID),
    {0},
};

/* kvm_cpu__handle_coalesced_mmio() */
static u32 drain(struct vm *vm, char *screen)
{
	struct kvm_coalesced_mmio_ring *ring = (void *)((u8 *)vm->run[0] + 2 * 4096);
	u32 max = (4096 - sizeof(*ring)) / sizeof(ring->coalesced_mmio[0]), n = 0;

	for (; ring->first != ring->last; ring->first = (ring->first + 1) % max, n++) {
		const struct kvm_coalesced_mmio *m = &ring->coalesced_mmio[ring->first];

		if (m->phys_addr - MMIO_BASE < 80 && m->len == 1)
			screen[m->phys_addr - MMIO_BASE] = m->data[0];
	}
	return n;
}

static void check_screen(struct vm *vm)
{
	/* .next: mov al, [rsi]; mov [rdi], al; inc rsi; inc rdi; cmp byte [rsi], 0; jne .next;
	 * out PORT_DONE, al */
	static const u8 code[] = {0x8a, 0x06, 0x88, 0x07, 0x48, 0xff, 0xc6, 0x48,     0xff,
				  0xc7, 0x80, 0x3e, 0x00, 0x75, 0xf1, 0xe6, PORT_DONE};
	struct kvm_coalesced_mmio_zone zone = {.addr = MMIO_BASE, .size = 0x1000};
	char screen[81] = "";
	struct kvm_regs r;
	u32 stores;

	ok(!vm_ioctl(vm, KVM_REGISTER_COALESCED_MMIO, &zone), WHO ": a screen is a coalesced zone");
	memcpy(vm->ram + DATA, code, sizeof(code));
	memcpy(vm->ram + SCRATCH, TEXT, sizeof(TEXT));
	cpu_setup(vm, 0, MODE_LONG, payload_start, MMIO_BASE, SCRATCH);
	cpu_get_regs(vm, 0, &r);
	r.rip = DATA;
	cpu_set_regs(vm, 0, &r);
	ok(vm_run(vm, 0, 5000) == END_DONE && !vm->mmio_exits, WHO ": text needs no exit");
	stores = drain(vm, screen);
	ok(stores == strlen(TEXT) && !strcmp(screen, TEXT), WHO ": and is there (%u stores: %s)",
	   stores, screen);
	ok(!vm_ioctl(vm, KVM_UNREGISTER_COALESCED_MMIO, &zone) &&
	       (cpu_set_regs(vm, 0, &r), vm_run(vm, 0, 5000)) == END_DONE &&
	       vm->mmio_exits == strlen(TEXT),
	   WHO ": without the zone each letter is an exit");
}

static bool wake(struct vm *vm)
{
	struct kvm_irqchip io = {.chip_id = KVM_IRQCHIP_IOAPIC};
	struct kvm_irq_level l = {.irq = 4, .level = 1};
	bool good;

	vm_ioctl(vm, KVM_GET_IRQCHIP, &io);
	io.chip.ioapic.redirtbl[4].bits = 0x44;
	good = !vm_ioctl(vm, KVM_SET_IRQCHIP, &io) && !vm_ioctl(vm, KVM_IRQ_LINE_STATUS, &l) &&
	       l.status > 0;
	l.level = 0;
	return good && !vm_ioctl(vm, KVM_IRQ_LINE, &l);
}

/* A device's interrupt, by its line. */
static void check_line(struct vm *vm)
{
	enum end paused, end;
	bool woken;

	vm->value_count = 0;
	cpu_setup(vm, 0, MODE_LONG, pl_snapshot, 0, 0);
	paused = vm_run(vm, 0, 5000);
	woken = wake(vm);
	end = vm_run(vm, 0, 5000);
	ok(paused == END_PAUSE && woken && end == END_DONE && vm->values[1] == 1,
	   WHO ": a line interrupts the guest (%s, %d, %s, %u times)", end_names[paused], woken,
	   end_names[end], vm->values[1]);
}

int main(void)
{
	struct vm vm;

	open_kvm();
	check_caps(kvm, WHO, caps);
	vm_init(&vm, 1, VM_IRQCHIP | VM_PIT);
	check_screen(&vm);
	check_line(&vm);
	vm_free(&vm);
	return failures != 0;
}
