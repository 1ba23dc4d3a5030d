/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Hyper-V's synthetic interrupts, messages, timers and events, as a guest and its VMM use them.
 * Microsoft's Hypervisor Top-Level Functional Specification (TLFS), "Virtual Interrupt Controller",
 * "Timers", "Inter-Partition Communication"; Linux' Documentation/virt/kvm/api.rst.
 */
#define _GNU_SOURCE
#include "hvguest.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define EVENTS	  (DATA + 0x4000)
#define MESSAGES  (DATA + 0x5000)
#define INPUT	  (DATA + 0x6000)
#define SINT	  2
#define VECTOR	  0x52
#define SLOT	  (MESSAGES + SINT * TLFS_MESSAGE_BYTES)
#define MS	  10000ull /* in reference time */
#define FOR_SINT  ((u64)SINT << 16)
#define DIRECT	  (TLFS_TIMER_DIRECT | VECTOR << 4)
#define SVR	  0xf0
#define IRR2	  0x220 /* vectors from 0x40 on */
#define GSI	  40
#define CONFIG(i) (MSR_STIMER0_CONFIG + 2 * (i))
#define COUNT(i)  (MSR_STIMER0_COUNT + 2 * (i))

static int enable(struct vm *vm, u32 cpu, u32 cap, u64 arg)
{
	struct kvm_enable_cap e = {.cap = cap, .args = {arg}};

	return cpu_ioctl(vm, cpu, KVM_ENABLE_CAP, &e);
}

static u32 *lapic_reg(struct kvm_lapic_state *l, u32 offset)
{
	return (u32 *)(l->regs + offset);
}

/* A guest that has a SynIC, and a LAPIC that is on. */
static void init(struct vm *vm, u32 vcpus)
{
	struct kvm_lapic_state l;

	hv_init(vm, vcpus);
	for (u32 i = 0; i < vcpus; i++) {
		if (enable(vm, i, KVM_CAP_HYPERV_SYNIC2, 0) || cpu_ioctl(vm, i, KVM_GET_LAPIC, &l))
			fatal("KVM_CAP_HYPERV_SYNIC2");
		*lapic_reg(&l, SVR) = 0x1ff;
		cpu_ioctl(vm, i, KVM_SET_LAPIC, &l);
	}
}

/* Is the vector requested? It is not so any more. */
static bool requested(struct vm *vm, u32 cpu, u8 vector)
{
	u32 bit = 1u << vector % 32;
	struct kvm_lapic_state l;
	bool is;

	if (cpu_ioctl(vm, cpu, KVM_GET_LAPIC, &l))
		fatal("KVM_GET_LAPIC");
	is = *lapic_reg(&l, IRR2) & bit;
	*lapic_reg(&l, IRR2) &= ~bit;
	cpu_ioctl(vm, cpu, KVM_SET_LAPIC, &l);
	return is;
}

static volatile struct tlfs_message *message(struct vm *vm)
{
	return (void *)(vm->ram + SLOT);
}

/* The guest spins for so long, with interrupts off. */
static bool spins(struct vm *vm, u32 ms)
{
	hv_begin(vm, 0, pl_spin, 0, 0);
	return vm_run(vm, 0, ms) == END_TIME;
}

/* The guest takes n messages; it was told of waiting ones so often. */
static bool takes(struct vm *vm, u32 n, u32 waiting)
{
	hv_begin(vm, 0, pl_messages, SLOT, n);
	return hv_ends(vm, 0, waiting) && vm->value_count == n + 1;
}

static void prepare(struct vm *vm, u64 sint)
{
	memset(vm->ram + MESSAGES, 0, 4096);
	if (set_msr(vm, 0, MSR_SIMP, MESSAGES | ON) != 1 ||
	    set_msr(vm, 0, MSR_SINT0 + SINT, sint) != 1 || set_msr(vm, 0, CONFIG(0), 0) != 1)
		fatal("the VMM cannot set up a SynIC");
}

/* ---- the VMM's side, and registers ---- */

static void check_capabilities(void)
{
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	hv_show(&vm, 0, ~0u, ~0u, ~0u, ~0u, 0xfff);
	ok(vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_HYPERV_SYNIC) == 1 &&
	       vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_HYPERV_SYNIC2) == 1 &&
	       vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_HYPERV_EVENTFD) == 1,
	   "SynIC: its capabilities are there");
	ok(hv_read_faults(&vm, MSR_SCONTROL) && hv_write_faults(&vm, MSR_SIMP, 0) &&
	       hv_write_faults(&vm, MSR_EOM, 0) && hv_read_faults(&vm, CONFIG(0)) &&
	       hv_write_faults(&vm, COUNT(3), 0) && set_msr(&vm, 0, MSR_SIMP, 1) == 0 &&
	       set_msr(&vm, 0, COUNT(0), 1) == 0 && set_msr(&vm, 0, MSR_SINT0, 0x52) == 0,
	   "SynIC: a guest whose VMM has not enabled it has none");
	ok(enable(&vm, 0, KVM_CAP_HYPERV_SYNIC2, 1) == -EINVAL &&
	       !enable(&vm, 0, KVM_CAP_HYPERV_SYNIC2, 0) &&
	       hv_get_msr(&vm, 0, MSR_SCONTROL) == TLFS_SYNIC_ENABLED,
	   "SynIC: it is on when it is enabled");
	vm_free(&vm);
	vm_init(&vm, 1, 0);
	ok(enable(&vm, 0, KVM_CAP_HYPERV_SYNIC2, 0) == -EINVAL &&
	       enable(&vm, 0, KVM_CAP_HYPERV_SYNIC, 0) == -EINVAL,
	   "SynIC: there is none where the VMM has the LAPICs");
	vm_free(&vm);
}

static bool tells(struct vm *vm, u32 msr, u64 val)
{
	struct kvm_run *run = vm->run[0];
	enum end end;

	hv_begin(vm, 0, pl_wrmsr, msr, val);
	end = vm_run(vm, 0, RUN_MS);
	if (end == END_OTHER && run->exit_reason == KVM_EXIT_HYPERV &&
	    run->hyperv.type == KVM_EXIT_HYPERV_SYNIC && run->hyperv.u.synic.msr == msr &&
	    run->hyperv.u.synic.control == hv_get_msr(vm, 0, MSR_SCONTROL) &&
	    run->hyperv.u.synic.evt_page == hv_get_msr(vm, 0, MSR_SIEFP) &&
	    run->hyperv.u.synic.msg_page == hv_get_msr(vm, 0, MSR_SIMP) &&
	    hv_get_msr(vm, 0, msr) == val)
		return hv_ends(vm, 0, 0);
	note("%s, exit %u, MSR %x", end_names[end], run->exit_reason, run->hyperv.u.synic.msr);
	return false;
}

static void check_registers(struct vm *vm)
{
	u8 *page = vm->ram + MESSAGES;

	ok(hv_reads(vm, MSR_SVERSION) == 1 && hv_write_faults(vm, MSR_SVERSION, 1) &&
	       set_msr(vm, 0, MSR_SVERSION, 1) == 1,
	   "SynIC: its version is told, and only its VMM has another");
	page[5] = 5;
	ok(tells(vm, MSR_SCONTROL, 1) && tells(vm, MSR_SIMP, MESSAGES | ON) &&
	       tells(vm, MSR_SIEFP, EVENTS | ON) && tells(vm, MSR_SIEFP, 0) && page[5] == 5,
	   "SynIC: where its pages are is told to the VMM");
	ok(tells(vm, MSR_SIMP, NOWHERE | ON) && tells(vm, MSR_SIMP, ~0ull) &&
	       tells(vm, MSR_SIMP, 0),
	   "SynIC: pages where there is no memory are the guest's mistake");
	ok(!enable(vm, 0, KVM_CAP_HYPERV_SYNIC, 0) && tells(vm, MSR_SIMP, MESSAGES) &&
	       page[5] == 5 && tells(vm, MSR_SIMP, MESSAGES | ON) && !page[5] &&
	       hv_write_faults(vm, MSR_SIMP, NOWHERE | ON) &&
	       hv_write_faults(vm, MSR_SIEFP, RAM_SIZE | ON) &&
	       hv_write_faults(vm, MSR_SIEFP, ~0ull) &&
	       hv_get_msr(vm, 0, MSR_SIMP) == (MESSAGES | ON),
	   "SynIC: in the old way they are cleared, and have to be memory");
	if (enable(vm, 0, KVM_CAP_HYPERV_SYNIC2, 0))
		fatal("KVM_CAP_HYPERV_SYNIC2");
	ok(hv_writes(vm, MSR_EOM, 0) && !hv_reads(vm, MSR_EOM),
	   "SynIC: an EOM without a message is nothing");
	ok(hv_write_faults(vm, MSR_SINT0 + 15, 15) && hv_write_faults(vm, MSR_SINT0, 0) &&
	       hv_writes(vm, MSR_SINT0 + 15, 16) && hv_reads(vm, MSR_SINT0 + 15) == 16 &&
	       hv_writes(vm, MSR_SINT0 + 15, TLFS_SINT_MASKED) &&
	       set_msr(vm, 0, MSR_SINT0 + 15, 0) == 1,
	   "SynIC: a SINT has a vector that there is, unless it is masked");
}

/* ---- interrupts of SINTs ---- */

static int route(struct vm *vm, u32 gsi, u32 cpu, u32 sint, u32 n)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e[2];
	} r = {.head.nr = n};

	for (u32 i = 0; i < 2; i++)
		r.e[i] = (struct kvm_irq_routing_entry){
		    .gsi = gsi, .type = KVM_IRQ_ROUTING_HV_SINT, .u.hv_sint = {cpu, sint}};
	return vm_ioctl(vm, KVM_SET_GSI_ROUTING, &r);
}

static int raise_gsi(struct vm *vm)
{
	struct kvm_irq_level l = {.irq = GSI, .level = 1};

	if (vm_ioctl(vm, KVM_IRQ_LINE_STATUS, &l))
		fatal("KVM_IRQ_LINE_STATUS");
	return l.status;
}

static int irqfd(struct vm *vm, int fd, int resample, u32 flags)
{
	struct kvm_irqfd f = {.fd = fd, .gsi = GSI, .flags = flags, .resamplefd = resample};

	return vm_ioctl(vm, KVM_IRQFD, &f);
}

static bool signalled(int fd)
{
	u64 count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

/* The guest takes one interrupt, with or without an EOI. */
static bool ended(struct vm *vm, bool eoi)
{
	hv_begin(vm, 0, pl_sints, 1, eoi);
	return vm_run(vm, 0, RUN_MS) == END_DONE;
}

/* Nothing is in service, nothing requested. */
static void forget_service(struct vm *vm)
{
	struct kvm_lapic_state l;

	cpu_ioctl(vm, 0, KVM_GET_LAPIC, &l);
	memset(l.regs + 0x100, 0, 0x180);
	cpu_ioctl(vm, 0, KVM_SET_LAPIC, &l);
}

static void check_routes(struct vm *vm)
{
	int fd = eventfd(0, EFD_NONBLOCK), back = eventfd(0, EFD_NONBLOCK);
	const u64 one = 1;

	set_msr(vm, 1, MSR_SINT0 + SINT, VECTOR);
	ok(!route(vm, GSI, 1, SINT, 1) && raise_gsi(vm) == 1 && requested(vm, 1, VECTOR) &&
	       !requested(vm, 0, VECTOR),
	   "SynIC: a GSI that is routed to a SINT raises its vector");
	ok(set_msr(vm, 1, MSR_SINT0 + SINT, VECTOR | TLFS_SINT_MASKED) == 1 && raise_gsi(vm) < 1 &&
	       !requested(vm, 1, VECTOR) && set_msr(vm, 1, MSR_SINT0 + SINT, 15) == 1 &&
	       raise_gsi(vm) < 1,
	   "SynIC: not while that is masked, or has no vector");
	set_msr(vm, 1, MSR_SINT0 + SINT, VECTOR);
	ok(!route(vm, GSI, 1, 16, 1) && raise_gsi(vm) < 1 && !route(vm, GSI, 2, SINT, 1) &&
	       raise_gsi(vm) < 1 && !route(vm, GSI, ~0u, ~0u, 1) && raise_gsi(vm) < 1 &&
	       route(vm, GSI, 1, SINT, 2) == -EINVAL && route(vm, 5000, 1, SINT, 1) == -EINVAL,
	   "SynIC: what leads to no SINT reaches nobody");
	ok(!route(vm, GSI, 1, SINT, 1) && !irqfd(vm, fd, 0, 0) && write(fd, &one, 8) == 8 &&
	       requested(vm, 1, VECTOR) && !irqfd(vm, fd, 0, KVM_IRQFD_FLAG_DEASSIGN),
	   "SynIC: an eventfd raises it");
	route(vm, GSI, 0, SINT, 1);
	set_msr(vm, 0, MSR_SINT0 + SINT, VECTOR);
	ok(!irqfd(vm, fd, back, KVM_IRQFD_FLAG_RESAMPLE) && write(fd, &one, 8) == 8 &&
	       requested(vm, 0, VECTOR) && !signalled(back) && hv_writes(vm, MSR_EOM, 0) &&
	       signalled(back) && !irqfd(vm, fd, back, KVM_IRQFD_FLAG_DEASSIGN),
	   "SynIC: which hears of the end of its message");
	ok(!irqfd(vm, fd, back, KVM_IRQFD_FLAG_RESAMPLE) && write(fd, &one, 8) == 8 &&
	       !signalled(back) && ended(vm, true) && signalled(back),
	   "SynIC: or of the end of its interrupt, where no message waits");
	ok(set_msr(vm, 0, MSR_SINT0 + SINT, VECTOR + 1) == 1 && write(fd, &one, 8) == 8 &&
	       ended(vm, true) && signalled(back),
	   "SynIC: also by another vector");
	ok(write(fd, &one, 8) == 8 && ended(vm, false) && !signalled(back) &&
	       !irqfd(vm, fd, back, KVM_IRQFD_FLAG_DEASSIGN),
	   "SynIC: not before");
	forget_service(vm);
	set_msr(vm, 0, MSR_SINT0 + SINT, VECTOR);
	set_msr(vm, 1, MSR_VP_INDEX, 9);
	ok(!route(vm, GSI, 9, SINT, 1) && raise_gsi(vm) == 1 && requested(vm, 1, VECTOR),
	   "SynIC: vCPUs are those of their index");
	close(fd);
	close(back);
}

/* Of a message with 8 bits of a destination 255 is everybody. */
#define ID_OF_ALL 255ul
#define X2APIC	  0xc00u /* of the base's MSR: on, and in that mode */

static void add_cpu_for_all(struct vm *vm)
{
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	vm->cpu_fd[1] = ioctl(vm->fd, KVM_CREATE_VCPU, ID_OF_ALL);
	vm->run[1] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vm->cpu_fd[1], 0);
	if (vm->cpu_fd[1] < 0 || vm->run[1] == MAP_FAILED)
		fatal("vCPU 255");
	vm->vcpus = 2;
	hv_show(vm, 1, ~0u, ~0u, ~0u, ~0u, 0xfff);
}

static void check_id_of_all(void)
{
	struct kvm_lapic_state l;
	struct kvm_sregs s;
	struct vm vm;

	hv_init(&vm, 1);
	add_cpu_for_all(&vm);
	for (u32 i = 0; i < 2; i++) {
		if (enable(&vm, i, KVM_CAP_HYPERV_SYNIC2, 0) ||
		    cpu_ioctl(&vm, i, KVM_GET_SREGS, &s))
			fatal("KVM_CAP_HYPERV_SYNIC2");
		s.apic_base |= X2APIC;
		if (cpu_ioctl(&vm, i, KVM_SET_SREGS, &s) || cpu_ioctl(&vm, i, KVM_GET_LAPIC, &l))
			fatal("x2APIC");
		*lapic_reg(&l, SVR) = 0x1ff;
		cpu_ioctl(&vm, i, KVM_SET_LAPIC, &l);
	}
	set_msr(&vm, 1, MSR_SINT0 + SINT, VECTOR);
	ok(!route(&vm, GSI, 1, SINT, 1) && raise_gsi(&vm) == 1 && requested(&vm, 1, VECTOR) &&
	       !requested(&vm, 0, VECTOR),
	   "SynIC: a SINT of the vCPU with id 255 is no other vCPU's");
	vm_free(&vm);
}

/*
 * All GSIs are that SINT, and hundreds wait for its end: a list of as many ends as one call takes
 * is done in a moment. (Where each end looked for each GSI it took minutes.)
 */
static void check_flood(struct vm *vm)
{
	enum { GSIS = 4096, WAITING = 500, ENDS = 256 };
	const struct rlimit room = {.rlim_cur = WAITING + 200, .rlim_max = WAITING + 200};
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry e[GSIS];
	} *r = calloc(1, sizeof(*r));
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e[ENDS];
	} *m = calloc(1, sizeof(*m));
	int fd[WAITING], back = eventfd(0, EFD_NONBLOCK), bad = 0;
	u64 count = 0, start;

	setrlimit(RLIMIT_NOFILE, &room);
	r->head.nr = GSIS;
	for (u32 i = 0; i < GSIS; i++)
		r->e[i] = (struct kvm_irq_routing_entry){
		    .gsi = i, .type = KVM_IRQ_ROUTING_HV_SINT, .u.hv_sint = {0, SINT}};
	bad += vm_ioctl(vm, KVM_SET_GSI_ROUTING, r) != 0;
	for (u32 i = 0; i < WAITING; i++) {
		fd[i] = eventfd(0, EFD_NONBLOCK);
		bad += irqfd(vm, fd[i], back, KVM_IRQFD_FLAG_RESAMPLE) != 0;
	}
	m->head.nmsrs = ENDS;
	for (u32 i = 0; i < ENDS; i++)
		m->e[i].index = MSR_EOM;
	start = now_ms();
	bad += cpu_ioctl(vm, 0, KVM_SET_MSRS, m) != ENDS;
	start = now_ms() - start;
	ok(!bad && read(back, &count, 8) == 8 && count == WAITING * ENDS && start < 20000,
	   "SynIC: ends of messages of which many hear are told soon (%u wrong, %llu ms)", bad,
	   (long long)start);
	for (u32 i = 0; i < WAITING; i++)
		close(fd[i]);
	close(back);
	free(r);
	free(m);
}

/* Ten interrupts by a timer that needs no message; without an EOI only the first comes. */
static enum end takes_ten(struct vm *vm, u64 sint, bool eoi)
{
	prepare(vm, sint);
	if (!hv_writes(vm, CONFIG(1), TLFS_TIMER_PERIODIC | TLFS_TIMER_ON | DIRECT) ||
	    !hv_writes(vm, COUNT(1), MS))
		fatal("a timer");
	hv_begin(vm, 0, pl_sints, 10, eoi);
	return vm_run(vm, 0, 1000);
}

static void check_auto_eoi(struct vm *vm)
{
	ok(takes_ten(vm, VECTOR | TLFS_SINT_AUTO_EOI, false) == END_DONE && vm->values[0] >= 10,
	   "SynIC: a vector with auto-EOI needs none");
	ok(takes_ten(vm, VECTOR, true) == END_DONE && takes_ten(vm, VECTOR, false) == END_TIME,
	   "SynIC: one without does");
	set_msr(vm, 0, CONFIG(1), 0);
	forget_service(vm);
}

/* ---- timers ---- */

static void check_one_shot(struct vm *vm)
{
	volatile struct tlfs_message *m = message(vm);
	u64 then, before = hv_clock_now(vm);

	prepare(vm, VECTOR | TLFS_SINT_AUTO_EOI);
	then = before + 300 * MS;
	ok(hv_writes(vm, COUNT(0), then) && hv_writes(vm, CONFIG(0), TLFS_TIMER_ON | FOR_SINT) &&
	       hv_reads(vm, CONFIG(0)) == (TLFS_TIMER_ON | FOR_SINT) &&
	       hv_reads(vm, COUNT(0)) == then && !m->type,
	   "timer: one that is to expire once waits");
	ok(takes(vm, 1, 0) && vm->values[0] == (u32)then && hv_clock_now(vm) >= then,
	   "timer: its message comes when it is time, and not before");
	ok(m->size == 24 && !m->flags && !m->port && !m->timer && m->expired_at == then &&
	       m->delivered_at >= then && m->delivered_at <= hv_clock_now(vm),
	   "timer: the message says for when it was, and when it came");
	ok(hv_reads(vm, CONFIG(0)) == FOR_SINT && hv_reads(vm, COUNT(0)) == then && spins(vm, 50) &&
	       !m->type,
	   "timer: then it is off");
	ok(hv_writes(vm, COUNT(3), 1) && hv_writes(vm, CONFIG(3), TLFS_TIMER_ON | FOR_SINT) &&
	       m->type == TLFS_TIMER_EXPIRED && m->timer == 3 && requested(vm, 0, VECTOR),
	   "timer: one whose time is over expires at once");
	m->type = 0;
	ok(hv_writes(vm, CONFIG(0), TLFS_TIMER_AUTO | FOR_SINT) && hv_writes(vm, COUNT(0), 5) &&
	       m->type && hv_writes(vm, CONFIG(0), TLFS_TIMER_AUTO | FOR_SINT) &&
	       hv_writes(vm, COUNT(0), 0) && !(hv_reads(vm, CONFIG(0)) & TLFS_TIMER_ON),
	   "timer: a count may switch it on, and 0 switches it off");
	m->type = 0;
	ok(hv_writes(vm, CONFIG(0), TLFS_TIMER_ON) && !hv_reads(vm, CONFIG(0)) &&
	       hv_writes(vm, COUNT(0), 1) && spins(vm, 10) && !m->type,
	   "timer: without a SINT it is off");
	requested(vm, 0, VECTOR);
}

/* What is in the place of a message is not overwritten. */
static void check_full(struct vm *vm)
{
	volatile struct tlfs_message *m = message(vm);

	prepare(vm, VECTOR | TLFS_SINT_AUTO_EOI);
	m->type = 77;
	m->expired_at = 99;
	ok(hv_writes(vm, COUNT(0), 3) && hv_writes(vm, CONFIG(0), TLFS_TIMER_ON | FOR_SINT) &&
	       m->type == 77 && m->expired_at == 99 && m->flags == TLFS_MESSAGE_PENDING &&
	       hv_get_msr(vm, 0, CONFIG(0)) & TLFS_TIMER_ON && !requested(vm, 0, VECTOR),
	   "timer: a message that has no place waits, and the guest can see that");
	ok(spins(vm, 20) && m->type == 77 && hv_writes(vm, MSR_EOM, 0) && m->type == 77,
	   "timer: as long as there is no place");
	m->type = m->flags = 0;
	ok(spins(vm, 20) && !m->type && hv_writes(vm, MSR_EOM, 0) &&
	       m->type == TLFS_TIMER_EXPIRED && m->expired_at == 3 && requested(vm, 0, VECTOR) &&
	       !(hv_get_msr(vm, 0, CONFIG(0)) & TLFS_TIMER_ON),
	   "timer: it comes when the guest says that there is");
	m->type = 0;
	for (u32 i = 0; i < 3; i++)
		if (!hv_writes(vm, COUNT(i), i + 1) ||
		    !hv_writes(vm, CONFIG(i), TLFS_TIMER_ON | FOR_SINT))
			fatal("three timers");
	ok(takes(vm, 3, 2) && vm->values[0] + vm->values[1] + vm->values[2] == 6,
	   "timer: those of three timers come one by one");
	m->type = 77;
	m->flags = 0;
	ok(hv_writes(vm, COUNT(0), MS) &&
	       hv_writes(vm, CONFIG(0), TLFS_TIMER_PERIODIC | TLFS_TIMER_ON | FOR_SINT) &&
	       spins(vm, 20) && m->type == 77 && !m->flags,
	   "timer: ticks that have no place are left out");
	m->type = m->flags = 0;
	ok(takes(vm, 3, 0), "timer: others come");
	set_msr(vm, 0, CONFIG(0), 0);
	requested(vm, 0, VECTOR);
}

static void check_periodic(struct vm *vm)
{
	u64 from;

	prepare(vm, VECTOR | TLFS_SINT_AUTO_EOI);
	from = hv_clock_now(vm);
	ok(hv_writes(vm, COUNT(0), 2 * MS) &&
	       hv_writes(vm, CONFIG(0), TLFS_TIMER_PERIODIC | TLFS_TIMER_ON | FOR_SINT) &&
	       takes(vm, 5, 0) && hv_clock_now(vm) - from >= 10 * MS,
	   "timer: one that is to expire again and again does");
	for (u32 i = 1; i < 5; i++)
		if ((vm->values[i] - vm->values[0]) % (2 * MS))
			from = 0;
	ok(from && hv_reads(vm, CONFIG(0)) & TLFS_TIMER_ON, "timer: after whole periods");
	ok(hv_writes(vm, CONFIG(0), FOR_SINT) && (message(vm)->type = 0, spins(vm, 20)) &&
	       !message(vm)->type,
	   "timer: until it is switched off");
	requested(vm, 0, VECTOR);
}

/* The guest waits for so many, and says how many have come. */
static u32 interrupts(struct vm *vm, u32 n)
{
	hv_begin(vm, 0, pl_sints, n, 1);
	return vm_run(vm, 0, RUN_MS) == END_DONE ? vm->values[0] : 0;
}

static void check_direct(struct vm *vm)
{
	prepare(vm, TLFS_SINT_MASKED);
	ok(hv_writes(vm, COUNT(2), 1) && hv_writes(vm, CONFIG(2), TLFS_TIMER_ON | DIRECT) &&
	       requested(vm, 0, VECTOR) && hv_reads(vm, CONFIG(2)) == DIRECT,
	   "timer: one may raise an interrupt itself");
	ok(hv_writes(vm, COUNT(2), hv_clock_now(vm) + 300 * MS) &&
	       hv_writes(vm, CONFIG(2), TLFS_TIMER_ON | DIRECT) && !requested(vm, 0, VECTOR) &&
	       interrupts(vm, 1) == 1 && hv_reads(vm, CONFIG(2)) == DIRECT,
	   "timer: in HLT, too, when its time comes");
	ok(hv_writes(vm, COUNT(2), MS) &&
	       hv_writes(vm, CONFIG(2), TLFS_TIMER_ON | TLFS_TIMER_PERIODIC | DIRECT) &&
	       interrupts(vm, 5) >= 5,
	   "timer: again and again");
	set_msr(vm, 0, CONFIG(2), 0);
	requested(vm, 0, VECTOR);
	ok(hv_writes(vm, COUNT(2), 1) &&
	       hv_writes(vm, CONFIG(2), TLFS_TIMER_ON | TLFS_TIMER_DIRECT | 5 << 4) &&
	       spins(vm, 10),
	   "timer: a vector that there is not harms nobody");
	set_msr(vm, 0, CONFIG(2), 0);
}

/* ---- what is not as it should be ---- */

static void check_bad_pages(struct vm *vm)
{
	static const u64 pages[] = {
	    0,	   MESSAGES,	    NOWHERE | ON,  RAM_SIZE | ON, (RAM_SIZE - 4096) | ON,
	    ~0ull, 1ull << 52 | ON, MMIO_BASE | ON};
	u64 answer = 0;
	bool fine = true;

	for (u32 i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		prepare(vm, VECTOR);
		fine &= set_msr(vm, 0, MSR_SIMP, pages[i]) == 1 &&
			hv_writes(vm, COUNT(0), hv_clock_now(vm) + MS) &&
			hv_writes(vm, CONFIG(0), TLFS_TIMER_ON | FOR_SINT) && spins(vm, 20) &&
			hv_writes(vm, MSR_EOM, 0) && spins(vm, 20) && !message(vm)->type;
		answer += requested(vm, 0, VECTOR);
	}
	ok(fine && answer == 1,
	   "timer: a message page that is off, or no memory, is no harm, and has no messages");
	prepare(vm, VECTOR | TLFS_SINT_MASKED);
	ok(hv_writes(vm, COUNT(0), 1) && hv_writes(vm, CONFIG(0), TLFS_TIMER_ON | FOR_SINT) &&
	       spins(vm, 20) && !requested(vm, 0, VECTOR) &&
	       hv_reads(vm, CONFIG(0)) & TLFS_TIMER_ON,
	   "timer: one whose SINT is masked raises nothing");
	set_msr(vm, 0, CONFIG(0), 0);
}

static void check_extremes(struct vm *vm)
{
	static const u64 counts[] = {~0ull, 1ull << 63, ~0ull / 100, 1ull << 40};
	struct kvm_regs r;
	bool fine = true;
	u32 n, i;

	prepare(vm, VECTOR);
	for (i = 0; i < 8; i++)
		fine &= hv_writes(vm, COUNT(0), counts[i % 4]) &&
			hv_writes(vm, CONFIG(0),
				  TLFS_TIMER_ON | FOR_SINT | (i & 4 ? TLFS_TIMER_PERIODIC : 0)) &&
			spins(vm, 5) && hv_reads(vm, CONFIG(0)) & TLFS_TIMER_ON &&
			!message(vm)->type;
	ok(fine, "timer: times that never come are waited for");
	fine = hv_writes(vm, CONFIG(0), 0);
	for (i = 0; i < 4; i++)
		fine &= hv_writes(vm, COUNT(i), 1) &&
			hv_writes(vm, CONFIG(i),
				  TLFS_TIMER_ON | TLFS_TIMER_PERIODIC |
				      (i & 1 ? FOR_SINT : TLFS_TIMER_DIRECT | (VECTOR + i) << 4));
	hv_begin(vm, 0, pl_flooded, 0, 0);
	for (i = n = 0; !n && i < 20; i++) { /* a slow machine is busy with the timers */
		fine &= vm_run(vm, 0, 500) == END_TIME;
		cpu_get_regs(vm, 0, &r);
		n = r.r13;
	}
	note("%u interrupts in %u ms, while the guest has counted to %llu", n, i * 500, r.rbx);
	/* a fifth of a millisecond, for each of the four, and as much again for slow clocks */
	ok(fine && n > 0 && n < i * 500 * 5 * 4 * 2,
	   "timer: a period of next to nothing is one that can be had");
	for (i = 0; i < 4; i++)
		set_msr(vm, 0, CONFIG(i), 0);
	requested(vm, 0, VECTOR);
}

/* ---- the VMM saves, restores, and sets clocks ---- */

static void check_clock(struct vm *vm)
{
	struct kvm_clock_data c = {.clock = 1000000000000};
	u64 then;

	prepare(vm, VECTOR);
	vm_ioctl(vm, KVM_SET_CLOCK, &c);
	then = 1000000000000 / 100 + 3600 * 1000 * MS;
	ok(hv_writes(vm, COUNT(0), then) && hv_writes(vm, CONFIG(0), TLFS_TIMER_ON | FOR_SINT) &&
	       spins(vm, 20) && !message(vm)->type,
	   "timer: in an hour is not now");
	c.clock += 3600000000000;
	vm_ioctl(vm, KVM_SET_CLOCK, &c);
	ok(spins(vm, 20) && message(vm)->type && message(vm)->expired_at == then,
	   "timer: unless the clock is set");
	message(vm)->type = 0;
	set_msr(vm, 0, CONFIG(0), 0);
	requested(vm, 0, VECTOR);
}

/* A timer has either expired, with its interrupt in the LAPIC that was saved, or it has not. */
static void check_snapshots(struct vm *vm)
{
	u32 lost = 0, early = 0, late = 0;
	struct kvm_lapic_state l;

	prepare(vm, TLFS_SINT_MASKED);
	for (u32 i = 0; i < 50; i++) {
		bool on, is;

		if (!hv_writes(vm, COUNT(0), hv_clock_now(vm) + i * 2 * MS) ||
		    !hv_writes(vm, CONFIG(0), TLFS_TIMER_ON | DIRECT))
			fatal("a timer");
		spins(vm, 30);
		if (cpu_ioctl(vm, 0, KVM_GET_LAPIC, &l))
			fatal("KVM_GET_LAPIC");
		usleep(4000);
		on = hv_get_msr(vm, 0, CONFIG(0)) & TLFS_TIMER_ON;
		is = *lapic_reg(&l, IRR2) >> VECTOR % 32 & 1;
		lost += on == is;
		early += is;
		late += on;
		set_msr(vm, 0, CONFIG(0), 0);
		requested(vm, 0, VECTOR);
	}
	ok(!lost && early && late, "timer: none is lost, or doubled, by being saved (%u, %u)",
	   early, late);
}

static void check_migration(void)
{
	struct {
		struct kvm_msr_list head;
		u32 index[300];
	} list = {.head.nmsrs = 300};
	struct kvm_lapic_state l;
	struct kvm_clock_data c;
	struct vm from, to;
	bool fine = true;
	u32 n = 0;

	init(&from, 1);
	init(&to, 1);
	fine &= tells(&from, MSR_SIMP, MESSAGES | ON) && tells(&from, MSR_SIEFP, EVENTS | ON) &&
		hv_writes(&from, MSR_SINT0 + SINT, VECTOR | TLFS_SINT_AUTO_EOI) &&
		hv_writes(&from, COUNT(1), MS) &&
		hv_writes(&from, CONFIG(1), TLFS_TIMER_PERIODIC | TLFS_TIMER_ON | FOR_SINT) &&
		hv_writes(&from, CONFIG(0), TLFS_TIMER_AUTO | FOR_SINT);
	spins(&from, 20);
	if (ioctl(kvm, KVM_GET_MSR_INDEX_LIST, &list) || vm_ioctl(&from, KVM_GET_CLOCK, &c))
		fatal("what is to be moved");
	for (u32 i = 0; i < list.head.nmsrs; i++) {
		if (!tlfs_has_msr(list.index[i]))
			continue;
		n += tlfs_is_synic(list.index[i]);
		fine &= set_msr(&to, 0, list.index[i], hv_get_msr(&from, 0, list.index[i])) == 1;
	}
	if (cpu_ioctl(&from, 0, KVM_GET_LAPIC, &l) || cpu_ioctl(&to, 0, KVM_SET_LAPIC, &l))
		fatal("a LAPIC");
	memcpy(to.ram + DATA, from.ram + DATA, 0x8000);
	c.flags = 0;
	vm_ioctl(&to, KVM_SET_CLOCK, &c);
	ok(fine && n == 28, "SynIC: its MSRs are in the list, and can be restored (%u)", n);
	ok(hv_get_msr(&to, 0, MSR_SIMP) == (MESSAGES | ON) &&
	       hv_get_msr(&to, 0, CONFIG(0)) == (TLFS_TIMER_AUTO | FOR_SINT) && takes(&to, 5, 0),
	   "timer: one that was running goes on in another VM");
	vm_free(&from);
	vm_free(&to);
}

static void check_rights(void)
{
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	hv_show(&vm, 0, TLFS_MSR_HYPERCALL | TLFS_MSR_TIMERS, 0, 0, 0, TLFS_NO_SPINS);
	hv_enforce(&vm, 0);
	enable(&vm, 0, KVM_CAP_HYPERV_SYNIC2, 0);
	hv_introduce(&vm);
	ok(hv_read_faults(&vm, MSR_SCONTROL) && hv_write_faults(&vm, MSR_SINT0, VECTOR) &&
	       hv_writes(&vm, CONFIG(0), FOR_SINT) && hv_write_faults(&vm, CONFIG(0), DIRECT) &&
	       hv_calls(&vm, CALL_SIGNAL_EVENT | TLFS_CALL_FAST, 1, 0) == TLFS_ACCESS_DENIED &&
	       hv_calls(&vm, CALL_POST_MESSAGE, 1, 0) == TLFS_ACCESS_DENIED,
	   "SynIC: a guest has what it is shown, if its VMM wants that");
	vm_free(&vm);
}

/* ---- hypercalls ---- */

static int connect_event(struct vm *vm, u32 id, int fd, u32 flags)
{
	struct kvm_hyperv_eventfd e = {.conn_id = id, .fd = fd, .flags = flags};

	return vm_ioctl(vm, KVM_HYPERV_EVENTFD, &e);
}

/* The VMM is asked, and gives this result. */
static bool asks(struct vm *vm, u64 word, u64 input, u64 result)
{
	struct kvm_run *run = vm->run[0];

	hv_set_call(vm, word, input, 7);
	if (vm_run(vm, 0, RUN_MS) != END_OTHER || run->exit_reason != KVM_EXIT_HYPERV ||
	    run->hyperv.type != KVM_EXIT_HYPERV_HCALL || run->hyperv.u.hcall.input != word ||
	    run->hyperv.u.hcall.params[0] != input || run->hyperv.u.hcall.params[1] != 7)
		return false;
	run->hyperv.u.hcall.result = result;
	return hv_ends(vm, 0, 0) && hv_said(vm) == result;
}

static void check_events(struct vm *vm)
{
	const u64 signal = CALL_SIGNAL_EVENT, fast = CALL_SIGNAL_EVENT | TLFS_CALL_FAST;
	int fd = eventfd(0, EFD_NONBLOCK);
	u64 *input = (u64 *)(vm->ram + INPUT);

	hv_introduce(vm);
	ok(connect_event(vm, 5, fd, 2) == -EINVAL && connect_event(vm, 1 << 24, fd, 0) == -EINVAL &&
	       connect_event(vm, 5, -1, 0) == -EBADF && connect_event(vm, 5, kvm, 0) == -EINVAL &&
	       connect_event(vm, 5, fd, KVM_HYPERV_EVENTFD_DEASSIGN) == -ENOENT &&
	       vm_ioctl(vm, KVM_HYPERV_EVENTFD, NULL) == -EFAULT,
	   "events: what is no connection is refused");
	ok(!connect_event(vm, 5, fd, 0) && connect_event(vm, 5, fd, 0) == -EEXIST &&
	       !connect_event(vm, (1 << 24) - 1, fd, 0),
	   "events: each has one eventfd");
	*input = (1 << 24) - 1;
	ok(hv_calls(vm, fast, 5, 0) == TLFS_SUCCESS && signalled(fd) && !signalled(fd) &&
	       hv_calls(vm, signal, INPUT, 0) == TLFS_SUCCESS && signalled(fd),
	   "events: a guest's hypercall signals it");
	ok(hv_calls(vm, signal, INPUT + 4, 0) == TLFS_INVALID_ALIGNMENT &&
	       hv_calls(vm, signal, NOWHERE, 0) == TLFS_INVALID_ALIGNMENT &&
	       hv_calls(vm, fast, 1 << 24, 0) == TLFS_INVALID_INPUT &&
	       hv_calls(vm, fast | 1ull << 32, 5, 0) == TLFS_INVALID_INPUT && !signalled(fd),
	   "events: one that makes no sense does not");
	ok(asks(vm, fast, 6, 0x1234) && asks(vm, fast, 5 | 1ull << 32, 0) &&
	       asks(vm, CALL_POST_MESSAGE, INPUT, TLFS_SUCCESS),
	   "events: what nobody knows here, and messages, are the VMM's to answer");
	ok(!connect_event(vm, 5, -1, KVM_HYPERV_EVENTFD_DEASSIGN) && asks(vm, fast, 5, 3) &&
	       !signalled(fd),
	   "events: as is a connection that has ended");
	close(fd);
}

static void check_calls_without(void)
{
	struct vm vm;

	hv_init(&vm, 1);
	hv_introduce(&vm);
	ok(hv_calls(&vm, CALL_POST_MESSAGE, INPUT, 0) == TLFS_INVALID_INPUT &&
	       hv_calls(&vm, CALL_SIGNAL_EVENT | TLFS_CALL_FAST, 5, 0) == TLFS_INVALID_INPUT,
	   "events: a VMM that has not enabled SynIC is not asked");
	vm_free(&vm);
}

int main(void)
{
	struct vm vm;

	open_kvm();
	check_capabilities();
	init(&vm, 2);
	check_registers(&vm);
	check_routes(&vm);
	check_flood(&vm);
	check_auto_eoi(&vm);
	check_one_shot(&vm);
	check_full(&vm);
	check_periodic(&vm);
	check_direct(&vm);
	check_bad_pages(&vm);
	check_extremes(&vm);
	check_clock(&vm);
	check_snapshots(&vm);
	check_events(&vm);
	vm_free(&vm);
	check_calls_without();
	check_migration();
	check_rights();
	check_id_of_all();
	return failures != 0;
}
