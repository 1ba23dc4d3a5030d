/* SPDX-License-Identifier: GPL-2.0-only */
/* Interrupts: the PIC, resampling, the PIT, the LAPIC's page, KVM_INTERRUPT. */
#include "api.h"

/* ---- interrupts ---- */

#define PIC_INIT(mask)                                                                             \
	"mov $0x11, %al; out %al, $0x20; mov $0x20, %al; out %al, $0x21; mov $4, %al; out %al, "   \
	"$0x21\n"                                                                                  \
	"mov $1, %al; out %al, $0x21; mov $" #mask ", %al; out %al, $0x21\n"
GUEST(pic_wait,
      PIC_INIT(0xef) "mov $0x78, %dx; out %al, %dx; sti; hlt; mov $0x79, %dx; out %al, %dx; hlt");
GUEST(level_wait, PIC_INIT(0xdf) "mov $0x4d0, %dx; mov $0x20, %al; out %al, %dx; mov $0x78, %dx; "
				 "out %al, %dx; sti; hlt");
GUEST(pit_wait, "xor %cx, %cx\n" PIC_INIT(
		    0xfe) "mov $0x34, %al; out %al, $0x43; mov $0x9c, %al; out %al, $0x40\n"
			  "mov $0x2e, %al; out %al, $0x40; sti; 1: hlt; jmp 1b");
GUEST(sti_spin, "nop; nop; sti; nop; jmp .");
GUEST(sti_halt, "mov $0x78, %dx; out %al, %dx; sti; hlt");
GUEST(on_irq_eoi, "mov $0x20, %al; out %al, $0x20; mov $0x77, %dx; out %al, %dx; iret");
GUEST(on_tick, "inc %cx; cmp $50, %cx; mov $0x20, %al; out %al, $0x20; jne 1f; mov $0x77, %dx; out "
	       "%al, %dx; 1: iret");

static struct kvm_pic_state pic(struct vm *v)
{
	struct kvm_irqchip c = {.chip_id = KVM_IRQCHIP_PIC_MASTER};

	ioctl(v->fd, KVM_GET_IRQCHIP, &c);
	return c.chip.pic;
}

static void test_pic(void)
{
	struct vm v = start(FULL_CHIP);
	struct kvm_irq_level l = {.irq = 4, .level = 1};

	LOAD(v, pic_wait);
	HANDLE(0x24, on_irq);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x78), "the PIC is programmed without exits");
	check(!ioctl(v.fd, KVM_IRQ_LINE_STATUS, &l) && l.status > 0,
	      "KVM_IRQ_LINE_STATUS says delivered");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "the handler of its vector runs");
	check(pic(&v).isr == 0x10 && pic(&v).irq_base == 0x20,
	      "KVM_GET_IRQCHIP shows it in service");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x79), "and returns behind HLT");
	end(&v);
}

GUEST(pic_strings, PIC_INIT(0xef) "mov $0x600, %si; mov $2, %cx; mov $0x21, %dx; cld; rep outsb\n"
				  "mov $0x602, %di; mov $2, %cx; rep insb; in $0x20, %ax\n"
				  "mov %ax, 0x604; mov $0x78, %dx; out %al, %dx; hlt");
GUEST(pic_sleeps,
      PIC_INIT(0xff) "mov $0xff, %al; out %al, $0xa1; sti; mov $0x78, %dx; out %al, %dx\n"
		     "mov $0xa, %al; out %al, $0x20; in $0x20, %al; out %al, %dx\n"
		     "mov $0xdf, %al; out %al, $0x21; hlt");

static int set_level(struct vm *v, uint32_t irq, uint32_t level)
{
	struct kvm_irq_level l = {.irq = irq, .level = level};

	return ioctl(v->fd, KVM_IRQ_LINE_STATUS, &l) ? -errno : (int)l.status;
}

/* Elements of a string come to the module. */
static void test_pic_strings(void)
{
	struct vm v = start(FULL_CHIP);

	LOAD(v, pic_strings);
	memcpy(ram + 0x600, "\x12\x34", 2);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x78) && pic(&v).imr == 0x34,
	      "a string is written to the PIC");
	check(!memcmp(ram + 0x602, "\x34\x34", 2), "and read from it");
	check(!memcmp(ram + 0x604, "\xff\xff", 2), "its ports have bytes only");
	end(&v);
}

/* With all masked nobody looks at the PIC; what happened meanwhile is there when somebody does. */
static void test_pic_sleeps(void)
{
	struct vm v = start(FULL_CHIP);

	check(set_level(&v, 0, 1) == 1, "a line is raised before all are masked");
	LOAD(v, pic_sleeps);
	HANDLE(0x25, on_irq);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x78), "all lines are masked");
	check(set_level(&v, 4, 1) == -1, "what is masked is not delivered");
	set_level(&v, 4, 0);
	check(set_level(&v, 5, 1) == -1, "also when nobody looks any more");
	check(pic(&v).irr == 0x30 && pic(&v).last_irr == 0x20,
	      "edges that came are latched, and levels as they are (%x, %x)", pic(&v).irr,
	      pic(&v).last_irr);
	set_level(&v, 4, 1);
	set_level(&v, 6, 1);
	set_level(&v, 6, 0);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x78) && *io_data(&v) == 0x70,
	      "which the guest reads (%x)", *io_data(&v));
	set_level(&v, 6, 1);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77) && pic(&v).isr == 0x20,
	      "and gets, once it is not masked");
	end(&v);
}

/* ---- a vCPU with what is on its way to it moves into another VM ---- */

struct moved {
	struct kvm_irqchip pic[2];
	struct kvm_regs regs;
	struct kvm_sregs2 sregs;
	struct kvm_vcpu_events events;
	u8 stack[32];
};

/* As QEMU does it: what the vCPU has been told is behind it first. */
static struct moved move_out(struct vm *v)
{
	struct moved m = {.pic = {{.chip_id = 0}, {.chip_id = 1}}};

	v->run->immediate_exit = 1;
	run(v);
	v->run->immediate_exit = 0;
	for (int i = 0; i < 2; i++)
		check(!ioctl(v->fd, KVM_GET_IRQCHIP, &m.pic[i]), "the state of PIC %d is read", i);
	ioctl(v->vcpu, KVM_GET_REGS, &m.regs);
	ioctl(v->vcpu, KVM_GET_SREGS2, &m.sregs);
	ioctl(v->vcpu, KVM_GET_VCPU_EVENTS, &m.events);
	memcpy(m.stack, ram + STACK - sizeof(m.stack), sizeof(m.stack));
	end(v);
	return m;
}

static void move_in(struct vm *v, const struct moved *m)
{
	memcpy(ram + STACK - sizeof(m->stack), m->stack, sizeof(m->stack));
	ioctl(v->vcpu, KVM_SET_SREGS2, &m->sregs);
	ioctl(v->vcpu, KVM_SET_REGS, &m->regs);
	check(!ioctl(v->vcpu, KVM_SET_VCPU_EVENTS, &m->events), "the events are set");
	for (int i = 0; i < 2; i++)
		check(!ioctl(v->fd, KVM_SET_IRQCHIP, &m->pic[i]), "and set in another VM");
}

GUEST(pic_closed, PIC_INIT(0xef) "mov $0x78, %dx; out %al, %dx; sti; nop; hlt");
GUEST(pic_open, PIC_INIT(0xef) "sti; nop; mov $0x78, %dx; out %al, %dx; nop; hlt");

/* An interrupt that waits in the PIC goes along. */
static void test_pic_moves(void)
{
	struct vm v = start(FULL_CHIP);
	struct moved m;

	LOAD(v, pic_closed);
	HANDLE(0x24, on_irq);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x78), "it has interrupts off");
	check(set_level(&v, 4, 1) == 1, "a line is raised");
	m = move_out(&v);
	check(m.pic[0].chip.pic.irr == 0x10 && !m.pic[0].chip.pic.isr, "the interrupt waits in it");
	v = start(FULL_CHIP);
	LOAD(v, pic_closed);
	HANDLE(0x24, on_irq);
	move_in(&v, &m);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77) && pic(&v).isr == 0x10,
	      "where it is taken");
	end(&v);
}

/* One that an NMI comes before is not lost between PIC and vCPU, nor gets into its handler. */
static void test_nmi_first(void)
{
	struct vm v = start(FULL_CHIP);
	struct moved m;

	LOAD(v, pic_open);
	HANDLE(2, on_irq);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x78), "it has interrupts on");
	ioctl(v.vcpu, KVM_NMI);
	check(set_level(&v, 4, 1) == 1, "with an NMI comes a line");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "the NMI is first");
	m = move_out(&v);
	check(m.events.nmi.masked && !m.events.interrupt.injected &&
		  m.pic[0].chip.pic.irr == 0x10 && !m.pic[0].chip.pic.isr,
	      "and the interrupt waits in the PIC");
	v = start(FULL_CHIP);
	LOAD(v, pic_open);
	HANDLE(2, on_irq);
	HANDLE(0x24, on_irq);
	move_in(&v, &m);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77) && pic(&v).isr == 0x10,
	      "it is taken behind the NMI, in another VM");
	end(&v);
}

/* One that has been taken out of the PIC, and could not be delivered: the table is in no memory. */
static void test_taken_moves(void)
{
	struct vm v = start(FULL_CHIP);
	struct moved m;

	LOAD(v, pic_open);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x78), "it has interrupts on");
	ioctl(v.vcpu, KVM_GET_SREGS2, &m.sregs);
	m.sregs.idt.base = RAM_BYTES;
	ioctl(v.vcpu, KVM_SET_SREGS2, &m.sregs);
	set_level(&v, 4, 1);
	check(run(&v) == KVM_EXIT_INTERNAL_ERROR, "an interrupt cannot be delivered");
	m = move_out(&v);
	check(m.events.interrupt.injected && m.events.interrupt.nr == 0x24 &&
		  m.pic[0].chip.pic.isr == 0x10,
	      "it has been taken out of the PIC, and is among the events");
	m.sregs.idt.base = 0;
	v = start(FULL_CHIP);
	LOAD(v, pic_open);
	HANDLE(0x24, on_irq);
	move_in(&v, &m);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "in another VM it is delivered");
	end(&v);
}

static void test_resample(void)
{
	struct vm v = start(FULL_CHIP);
	int e = eventfd(0, EFD_NONBLOCK), again = eventfd(0, EFD_NONBLOCK);
	struct kvm_irqfd f = {
	    .fd = e, .gsi = 5, .flags = KVM_IRQFD_FLAG_RESAMPLE, .resamplefd = again};

	LOAD(v, level_wait);
	HANDLE(0x25, on_irq_eoi);
	check(!ioctl(v.fd, KVM_IRQFD, &f), "an irqfd with resampling can be assigned");
	run(&v);
	eventfd_write(e, 1);
	check(pic(&v).irr == 0x20, "writing it raises the line");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "the handler runs");
	check(count(again) == 1 && pic(&v).irr == 0,
	      "its EOI signals the resample eventfd and lowers the line");
	f.flags = KVM_IRQFD_FLAG_DEASSIGN;
	check(!ioctl(v.fd, KVM_IRQFD, &f), "it can be deassigned");
	eventfd_write(e, 1);
	check(pic(&v).irr == 0, "and then raises nothing");
	end(&v);
	v = start(SPLIT_CHIP);
	f.flags = KVM_IRQFD_FLAG_RESAMPLE;
	check(ioctl(v.fd, KVM_IRQFD, &f) && errno == EINVAL,
	      "where the VMM has the IOAPIC, and so the acknowledgements, it cannot");
	close(e);
	close(again);
	end(&v);
}

static void see_ticks(struct vm *v)
{
	struct timespec a, b;
	double s;

	HANDLE(0x20, on_tick);
	clock_gettime(CLOCK_MONOTONIC, &a);
	check(run(v) == KVM_EXIT_IO && at_port(v, 0x77), "50 ticks come");
	clock_gettime(CLOCK_MONOTONIC, &b);
	s = b.tv_sec - a.tv_sec + (b.tv_nsec - a.tv_nsec) / 1e9;
	check(s > 0.45 && s < 2, "at 100 Hz (%.2f s)", s);
}

static __s64 monotonic_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

GUEST(pit_goes_on, "xor %cx, %cx\n" PIC_INIT(0xfe) "sti; 1: hlt; jmp 1b");

static void test_pit(void)
{
	struct vm v = start(FULL_CHIP);
	struct kvm_pit_config c = {.flags = KVM_PIT_SPEAKER_DUMMY};
	struct kvm_pit_state2 s = {};
	__s64 began;

	LOAD(v, pit_wait);
	check(!ioctl(v.fd, KVM_CREATE_PIT2, &c), "a PIT can be made");
	began = monotonic_ns();
	see_ticks(&v);
	check(!ioctl(v.fd, KVM_GET_PIT2, &s) && s.channels[0].mode == 2 &&
		  s.channels[0].count == 11932 && s.channels[1].mode == 0xff,
	      "its state is what the guest has made of it");
	check(s.channels[0].count_load_time > began &&
		  s.channels[0].count_load_time < monotonic_ns() - 450000000,
	      "the time when it loaded its count is CLOCK_MONOTONIC's");
	end(&v);
	v = start(FULL_CHIP);
	LOAD(v, pit_goes_on);
	ioctl(v.fd, KVM_CREATE_PIT2, &c);
	check(!ioctl(v.fd, KVM_SET_PIT2, &s), "in another VM it can be set");
	see_ticks(&v);
	s.channels[1].count = 0x10001;
	check(ioctl(v.fd, KVM_SET_PIT2, &s) && errno == EINVAL, "no count is that long");
	check(ioctl(v.fd, KVM_CREATE_PIT2, &c) && errno == EEXIST, "there is one");
	end(&v);
	v = start(SPLIT_CHIP);
	check(ioctl(v.fd, KVM_CREATE_PIT2, &c) && errno == ENOENT, "and none without PICs");
	end(&v);
}

GUEST(pit_reads, "mov $0xb0, %al; out %al, $0x43; mov $0xff, %al; out %al, $0x42; out %al, $0x42\n"
		 "in $0x61, %al; or $3, %al; out %al, $0x61; in $0x61, %al; mov %al, %cl\n"
		 "mov $0x80, %al; out %al, $0x43; in $0x42, %al; mov %al, %bl; in $0x42, %al\n"
		 "mov %al, %bh; 1: in $0x61, %al; test $0x20, %al; jz 1b; mov $0x78, %dx\n"
		 "out %al, %dx; mov $0x600, %di; mov $0x61, %dx; cld; insb; mov $0x79, %dx\n"
		 "out %al, %dx; hlt");

/* The way kernels measure their TSC by channel 2. */
static void test_pit_reads(void)
{
	struct vm v = start(FULL_CHIP);
	struct kvm_pit_config c = {.flags = KVM_PIT_SPEAKER_DUMMY};

	ioctl(v.fd, KVM_CREATE_PIT2, &c);
	LOAD(v, pit_reads);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x78), "a one-shot of channel 2 ends");
	check((regs(&v).rcx & 3) == 3 && (u16)regs(&v).rbx != 0xffff,
	      "with gate and speaker on it counts down (%x, %x)", (int)regs(&v).rcx,
	      (int)regs(&v).rbx);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x79) && (ram[0x600] & 0x23) == 0x23,
	      "a string reads the same (%x)", ram[0x600]);
	end(&v);
	v = start(FULL_CHIP);
	c.flags = 0;
	ioctl(v.fd, KVM_CREATE_PIT2, &c);
	LOAD(v, pit_reads);
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x61), "without the speaker 0x61 is the VMM's");
	end(&v);
}

GUEST(lapic, "mov %eax, 0x80; mov 0x80, %ebx; mov 0x81, %cl; mov $0x78, %dx; out %al, %dx; hlt");

/* Run it with DS there and this EAX. True: the VMM hears of nothing but the port. */
static bool lapic_access(struct vm *v, u64 apic_base, u64 at, uint32_t eax)
{
	struct kvm_regs r = {.rip = CODE, .rflags = 2, .rsp = STACK, .rax = eax};
	struct kvm_sregs s;

	ioctl(v->vcpu, KVM_GET_SREGS, &s);
	s.apic_base = apic_base;
	s.ds.base = at;
	ioctl(v->vcpu, KVM_SET_SREGS, &s);
	ioctl(v->vcpu, KVM_SET_REGS, &r);
	return run(v) == KVM_EXIT_IO && at_port(v, 0x78);
}

static uint32_t tpr(struct vm *v)
{
	struct kvm_lapic_state l = {};

	ioctl(v->vcpu, KVM_GET_LAPIC, &l);
	return *(uint32_t *)(l.regs + 0x80);
}

static void test_lapic_hole(void)
{
	struct vm v = start(FULL_CHIP);
	int e = eventfd(0, EFD_NONBLOCK);
	struct kvm_ioeventfd io = {.addr = 0xfee00080, .len = 4, .fd = e};

	LOAD(v, lapic);
	ioctl(v.fd, KVM_IOEVENTFD, &io);
	check(lapic_access(&v, APIC_XAPIC, 0xfee00000, 0x50) && (uint32_t)regs(&v).rbx == 0x50 &&
		  tpr(&v) == 0x50,
	      "LAPIC page: an enabled xAPIC is there");
	check(lapic_access(&v, APIC_OFF, 0xfee00000, 0x60) && (uint32_t)regs(&v).rbx == ~0u &&
		  (regs(&v).rcx & 0xff) == 0xff && tpr(&v) == 0x50,
	      "LAPIC page: of one that is off stores are dropped, loads give ones");
	check(lapic_access(&v, APIC_X2APIC, 0xfee00000, 0x70) && (uint32_t)regs(&v).rbx == ~0u &&
		  tpr(&v) == 0x50,
	      "LAPIC page: so they are in x2APIC mode");
	check(lapic_access(&v, APIC_OFF - 0x100000, 0xfed00000, 0x70) &&
		  (uint32_t)regs(&v).rbx == ~0u,
	      "LAPIC page: so they are where it has moved");
	check(!count(e), "LAPIC page: an ioeventfd there is not signalled by then");
	check(!lapic_access(&v, APIC_XAPIC - 0x100000, 0xfee00000, 0x70) &&
		  v.run->exit_reason == KVM_EXIT_MMIO && !v.run->mmio.is_write && count(e) == 1,
	      "LAPIC page: what is elsewhere reaches eventfd and VMM");
	set_slot(v.fd, 1, 0, 0xfee00000, 4096, ram + 0x100000);
	check(lapic_access(&v, APIC_OFF, 0xfee00000, 0x1234) &&
		  *(uint32_t *)(ram + 0x100080) == 0x1234,
	      "LAPIC page: memory there is memory while it is off");
	close(e);
	end(&v);

	v = start(NO_CHIP);
	LOAD(v, lapic);
	check(!lapic_access(&v, APIC_OFF, 0xfee00000, 0x70) &&
		  v.run->exit_reason == KVM_EXIT_MMIO && v.run->mmio.is_write &&
		  v.run->mmio.phys_addr == 0xfee00080,
	      "LAPIC page: without an irqchip it is the VMM's");
	end(&v);
}

static void test_user_interrupts(void)
{
	struct kvm_interrupt irq = {0x40};
	struct vm v = start(NO_CHIP);

	LOAD(v, sti_spin);
	HANDLE(0x40, on_irq);
	v.run->request_interrupt_window = 1;
	check(run(&v) == KVM_EXIT_IRQ_WINDOW_OPEN && v.run->ready_for_interrupt_injection &&
		  v.run->if_flag,
	      "no irqchip: the interrupt window is told");
	v.run->request_interrupt_window = 0;
	check(!ioctl(v.vcpu, KVM_INTERRUPT, &irq), "no irqchip: KVM_INTERRUPT is taken");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "no irqchip: the handler runs");
	end(&v);

	v = start(SPLIT_CHIP);
	LOAD(v, sti_halt);
	HANDLE(0x40, on_irq);
	run(&v);
	check(!ioctl(v.vcpu, KVM_INTERRUPT, &irq), "split irqchip: KVM_INTERRUPT is taken");
	check(ioctl(v.vcpu, KVM_INTERRUPT, &irq) && errno == EEXIST,
	      "split irqchip: one at a time");
	check(run(&v) == KVM_EXIT_IO && at_port(&v, 0x77), "split irqchip: the handler runs");
	end(&v);
}

void irq_tests(void)
{
	test_pic();
	test_pic_strings();
	test_pic_sleeps();
	test_pic_moves();
	test_nmi_first();
	test_taken_moves();
	test_resample();
	test_pit();
	test_pit_reads();
	test_user_interrupts();
	test_lapic_hole();
}
