/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SMM, played by firmware in smmcode.asm: KVM_CAP_X86_SMM and KVM_CAP_MULTI_ADDRESS_SPACE as Linux'
 * Documentation/virt/kvm/api.rst has them; save areas by APM vol. 2 "SMM State-Save Area" and SDM
 * "SMRAM State Save Map". The VM has SMRAM at 0xa0000, where others than SMM find RAM.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

extern payload smi_start, smi_end, code_loop, code_loop_end, code_loop32, code_loop32_end,
    code_halt, code_halt_end, code_rsm, code_rsm_end, code_look, code_look_end;

#define MSR_SMBASE 0x9e
#define SMM_SPACE  (1u << 16) /* of a slot */
#define SLOT_SMRAM (SMM_SPACE | 1)
#define RESET_BASE 0x30000u
#define SMRAM	   0xa0000u
#define SMRAM_SIZE 0x20000u
#define AREA	   0xfe00u /* from SMBASE on */
#define COUNT	   0x100
#define CLOBBER	   0x104
#define TOLD	   0x108
#define FLAG	   (DATA + 0x1000)
#define RUN_MS	   5000
#define SHORT_MS   100
#define LM	   (1u << 29)
#define MSI_SMI	   0x200
#define MSI_INIT   0x4500
#define UD	   6

/* In the 64-bit area */
#define A_HALTED   0xc9
#define A_EFER	   0xd0
#define A_REVISION 0xfc
#define A_SMBASE   0x100
#define A_CR4	   0x148
#define A_CR3	   0x150
#define A_CR0	   0x158
#define A_RFLAGS   0x170
#define A_RIP	   0x178
#define A_RSP	   0x1d8
/* and in the other one */
#define A32_SMBASE   0xf8
#define A32_REVISION 0xfc
#define A32_EIP	     0x1f0

static u8 *smram;

static int set_slot(struct vm *vm, u32 id, u64 gpa, u64 size, u8 *at, u32 flags)
{
	struct kvm_userspace_memory_region r = {.slot = id,
						.flags = flags,
						.guest_phys_addr = gpa,
						.memory_size = size,
						.userspace_addr = (u64)at};

	return vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r);
}

static u32 *word(u8 *area, u32 at)
{
	return (u32 *)(area + at);
}

static u64 *quad(u8 *area, u32 at)
{
	return (u64 *)(area + at);
}

/* Both address spaces, and the handler where SMBASE is at first, and in SMRAM. */
static void setup(struct vm *vm, u32 vcpus, u32 flags)
{
	vm_init(vm, vcpus, flags);
	smram = mmap(NULL, SMRAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (smram == MAP_FAILED || set_slot(vm, SMM_SPACE, 0, SMRAM, vm->ram, 0) ||
	    set_slot(vm, SLOT_SMRAM, SMRAM, SMRAM_SIZE, smram, 0) ||
	    set_slot(vm, SMM_SPACE | 2, SMRAM + SMRAM_SIZE, RAM_SIZE - SMRAM - SMRAM_SIZE,
		     vm->ram + SMRAM + SMRAM_SIZE, 0))
		fatal("the second address space");
	memcpy(vm->ram + RESET_BASE + 0x8000, smi_start, smi_end - smi_start);
	memcpy(smram + 0x8000, smi_start, smi_end - smi_start);
	memcpy(smram + 0x9000, smi_start, smi_end - smi_start);
}

static void end(struct vm *vm)
{
	vm_free(vm);
	munmap(smram, SMRAM_SIZE);
}

/* The code at DATA is to run next. */
static void start(struct vm *vm, u32 cpu, enum mode mode, const u8 *from, const u8 *to)
{
	struct kvm_regs r;

	vm->value_count = 0;
	memcpy(vm->ram + DATA, from, to - from);
	*(u32 *)(vm->ram + FLAG) = 0;
	cpu_setup(vm, cpu, mode, payload_start, SMRAM + COUNT, 0);
	cpu_get_regs(vm, cpu, &r);
	r.rip = DATA;
	r.rbx = FLAG;
	cpu_set_regs(vm, cpu, &r);
}
#define START(vm, cpu, code) start(vm, cpu, MODE_LONG, code, code##_end)

static u64 get_smbase(struct vm *vm, u32 cpu)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = {.head.nmsrs = 1, .e.index = MSR_SMBASE};

	return cpu_ioctl(vm, cpu, KVM_GET_MSRS, &m) == 1 ? m.e.data : ~0ull;
}

static struct kvm_vcpu_events events(struct vm *vm, u32 cpu)
{
	struct kvm_vcpu_events e;

	if (cpu_ioctl(vm, cpu, KVM_GET_VCPU_EVENTS, &e))
		fatal("KVM_GET_VCPU_EVENTS");
	return e;
}

static struct kvm_sregs sregs(struct vm *vm, u32 cpu)
{
	struct kvm_sregs s;

	if (cpu_ioctl(vm, cpu, KVM_GET_SREGS, &s))
		fatal("KVM_GET_SREGS");
	return s;
}

static u32 mp_state(struct vm *vm, u32 cpu)
{
	struct kvm_mp_state s;

	return cpu_ioctl(vm, cpu, KVM_GET_MP_STATE, &s) ? ~0u : s.mp_state;
}

static bool in_smm(struct vm *vm, u32 cpu)
{
	return events(vm, cpu).smi.smm && vm->run[cpu]->flags & KVM_RUN_X86_SMM;
}

/* An SMI comes, and its handler to where it pauses. */
static bool smi(struct vm *vm, u32 cpu)
{
	return !cpu_ioctl(vm, cpu, KVM_SMI, NULL) && vm_run(vm, cpu, RUN_MS) == END_PAUSE &&
	       in_smm(vm, cpu);
}

/* The handler goes on to RSM, and the guest to its end. */
static bool ends(struct vm *vm, u32 cpu)
{
	enum end e;

	*(u32 *)(vm->ram + FLAG) = 1;
	e = vm_run(vm, cpu, RUN_MS);
	if (e == END_DONE && !events(vm, cpu).smi.smm && !vm->run[cpu]->flags)
		return true;
	note("%s, flags %x", end_names[e], vm->run[cpu]->flags);
	return false;
}

/* SMBASE of a vCPU as firmware moves it. */
static bool move(struct vm *vm, u32 cpu, u32 to)
{
	START(vm, cpu, code_loop);
	if (!smi(vm, cpu))
		return false;
	*word(vm->ram + RESET_BASE + AREA, A_SMBASE) = to;
	return ends(vm, cpu) && get_smbase(vm, cpu) == to;
}

static void check_slots(void)
{
	struct kvm_dirty_log log = {.slot = SMM_SPACE | 5};
	u64 bits = 0;
	struct vm vm;

	setup(&vm, 1, VM_IRQCHIP);
	ok(vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_X86_SMM) == 1 &&
	       vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_MULTI_ADDRESS_SPACE) == 2,
	   "smm: the capabilities are there, with two address spaces");
	ok(set_slot(&vm, 2u << 16, 0x1000000, 0x1000, smram, 0) == -EINVAL &&
	       set_slot(&vm, 0xffffu << 16, 0x1000000, 0x1000, smram, 0) == -EINVAL &&
	       set_slot(&vm, SMM_SPACE | 509, 0x1000000, 0x1000, smram, 0) == -EINVAL,
	   "smm: there is no third one, and no slot more in the second");
	ok(set_slot(&vm, SMM_SPACE | 5, SMRAM, 0x1000, smram, 0) == -EEXIST &&
	       set_slot(&vm, SMM_SPACE | 5, 1ull << 52, 0x1000, smram, 0) == -EINVAL &&
	       set_slot(&vm, SMM_SPACE | 5, 0, 0, NULL, 0) == -EINVAL,
	   "smm: slots of one space do not overlap, have an end, and are there to be deleted");
	log.dirty_bitmap = &bits;
	ok(vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) == -ENOENT &&
	       (log.slot = 2u << 16, vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log)) == -EINVAL,
	   "smm: nor has a slot that is not there a log");
	ok(!set_slot(&vm, SMM_SPACE | 5, 0x1000000, 0x1000, smram, 0) &&
	       !set_slot(&vm, 5, 0x1000000, 0x1000, smram, 0) &&
	       !set_slot(&vm, SMM_SPACE | 5, 0, 0, NULL, 0),
	   "smm: what is in one space may be in the other");
	end(&vm);
}

/* Of what SMM has to begin with. */
static bool begun(const struct kvm_sregs *s, u32 base)
{
	return s->cs.base == base && s->cs.selector == base >> 4 && s->cs.limit == 0xffffffff &&
	       s->ds.limit == 0xffffffff && s->ds.g && !(s->cr0 & 0x8000000dull) && !s->cr4 &&
	       !s->efer && !s->idt.limit;
}

static bool same_regs(const struct kvm_regs *a, const struct kvm_regs *b)
{
	struct kvm_regs c = *a;

	c.rip = b->rip; /* in the same loop, or behind */
	c.rflags = b->rflags;
	return !memcmp(&c, b, sizeof(c));
}

static void check_registers(void)
{
	u8 *area;
	struct kvm_debugregs debug = {.db = {0x1234}, .dr6 = 0xffff0ff0, .dr7 = 0x402}, now;
	struct kvm_regs before, after;
	struct kvm_sregs s, back;
	struct vm vm;
	u64 *r = (u64 *)&before;

	setup(&vm, 1, VM_IRQCHIP);
	area = vm.ram + RESET_BASE + AREA;
	START(&vm, 0, code_loop);
	cpu_get_regs(&vm, 0, &before);
	for (u32 i = 0; i < 16; i++)
		if (r + i != (u64 *)&before.rbx)
			r[i] = 0x0101010101010101ull * (i + 1);
	cpu_set_regs(&vm, 0, &before);
	cpu_ioctl(&vm, 0, KVM_SET_DEBUGREGS, &debug);
	s = sregs(&vm, 0);
	vm.ram[RESET_BASE + CLOBBER] = 1;
	ok(get_smbase(&vm, 0) == RESET_BASE && smi(&vm, 0), "smm: an SMI comes to SMBASE");
	back = sregs(&vm, 0);
	ok(begun(&back, RESET_BASE), "smm: begins in real mode, with segments of 4 GiB");
	ok(*word(area, A_REVISION) == 0x20064 && *word(area, A_SMBASE) == RESET_BASE &&
	       *quad(area, A_RSP) == before.rsp && *quad(area, A_CR3) == s.cr3 &&
	       *quad(area, A_CR0) == s.cr0 && *quad(area, A_EFER) == s.efer &&
	       *quad(area, A_RIP) - DATA < 0x10 && !area[A_HALTED],
	   "smm: what was is saved as a CPU with long mode does");
	*word(area, A_SMBASE) = SMRAM;
	ok(ends(&vm, 0), "smm: RSM goes on where the guest was");
	cpu_get_regs(&vm, 0, &after);
	after.rax = before.rax;
	back = sregs(&vm, 0);
	if (cpu_ioctl(&vm, 0, KVM_GET_DEBUGREGS, &now))
		fatal("KVM_GET_DEBUGREGS");
	ok(same_regs(&before, &after) && !memcmp(&s, &back, sizeof(s)),
	   "smm: with all registers as they were");
	ok(now.dr7 == 0x402 && now.db[0] == 0x1234, "smm: and the debug registers");
	ok(get_smbase(&vm, 0) == SMRAM, "smm: SMBASE moves by the save area");
	START(&vm, 0, code_loop);
	ok(smi(&vm, 0) && *word(smram, COUNT) == 1 && *word(vm.ram + RESET_BASE, COUNT) == 1 &&
	       *word(smram + AREA, A_SMBASE) == SMRAM,
	   "smm: the next SMI comes there");
	back = sregs(&vm, 0);
	ok(begun(&back, SMRAM) && ends(&vm, 0), "smm: and ends as well");
	end(&vm);
}

static void check_smram(void)
{
	u32 *hidden, *open;
	struct vm vm;

	setup(&vm, 1, VM_IRQCHIP);
	hidden = word(smram, COUNT);
	open = word(vm.ram + SMRAM, COUNT);
	ok(move(&vm, 0, SMRAM), "smm: firmware moves SMBASE to SMRAM");
	START(&vm, 0, code_look);
	*open = 0x0bad;
	*word(smram, TOLD) = 0x5ec4e7;
	ok(vm_run(&vm, 0, RUN_MS) == END_PAUSE && smi(&vm, 0) && *hidden == 1,
	   "smm: SMRAM is there in SMM");
	ok(ends(&vm, 0) && vm.value_count == 3 && vm.values[0] == 0x0bad &&
	       vm.values[1] == 0x5ec4e7 && vm.values[2] == 0x0bad,
	   "smm: and nowhere else, before and after it");
	ok(*open == 0x0bad && open[1] == 0x77 && *word(smram, CLOBBER) == 0,
	   "smm: what the guest writes there is not in SMRAM");
	START(&vm, 0, code_loop);
	*word(smram, TOLD) = 1;
	ok(smi(&vm, 0) && !madvise(smram, 0x1000, MADV_DONTNEED) && ends(&vm, 0) &&
	       vm.values[0] == 0,
	   "smm: a page that the VMM takes from SMRAM is not used any more");
	end(&vm);
}

static void check_dirty(void)
{
	struct kvm_dirty_log log = {.slot = SLOT_SMRAM};
	u64 bits[2] = {0};
	struct vm vm;

	setup(&vm, 1, VM_IRQCHIP);
	ok(move(&vm, 0, SMRAM) &&
	       !set_slot(&vm, SLOT_SMRAM, SMRAM, SMRAM_SIZE, smram, KVM_MEM_LOG_DIRTY_PAGES),
	   "smm: SMRAM can have a dirty log");
	log.dirty_bitmap = bits;
	START(&vm, 0, code_loop);
	ok(!vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) && smi(&vm, 0) &&
	       !vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) && bits[0] == (1 | 1 << (AREA >> 12)),
	   "smm: that has what SMM has written, and what was saved");
	ok(!vm_ioctl(&vm, KVM_GET_DIRTY_LOG, &log) && !bits[0] && ends(&vm, 0), "smm: once");
	end(&vm);
}

static void check_halt(void)
{
	struct vm vm;

	setup(&vm, 1, VM_IRQCHIP);
	START(&vm, 0, code_halt);
	ok(vm_run(&vm, 0, SHORT_MS) == END_TIME && mp_state(&vm, 0) == KVM_MP_STATE_HALTED &&
	       smi(&vm, 0) && mp_state(&vm, 0) == KVM_MP_STATE_RUNNABLE &&
	       vm.ram[RESET_BASE + AREA + A_HALTED] == 1,
	   "smm: an SMI wakes a vCPU that sleeps, and the handler is told so");
	ok(vm_run(&vm, 0, SHORT_MS) == END_TIME && mp_state(&vm, 0) == KVM_MP_STATE_HALTED &&
	       !events(&vm, 0).smi.smm,
	   "smm: RSM lets it sleep on");
	ok(smi(&vm, 0), "smm: the next SMI wakes it again");
	vm.ram[RESET_BASE + AREA + A_HALTED] = 0;
	ok(ends(&vm, 0), "smm: unless the handler has it otherwise");
	end(&vm);
}

static void set_masked(struct vm *vm, u32 cpu)
{
	struct kvm_vcpu_events e = events(vm, cpu);

	e.nmi.masked = 1;
	if (cpu_ioctl(vm, cpu, KVM_SET_VCPU_EVENTS, &e))
		fatal("KVM_SET_VCPU_EVENTS");
}

static u64 nmis(struct vm *vm)
{
	struct kvm_regs r;

	cpu_get_regs(vm, 0, &r);
	return r.r10;
}

static void check_blocked(void)
{
	struct kvm_vcpu_events e;
	struct kvm_regs r;
	struct vm vm;

	setup(&vm, 1, VM_IRQCHIP);
	START(&vm, 0, code_loop);
	ok(smi(&vm, 0) && events(&vm, 0).nmi.masked && !events(&vm, 0).smi.smm_inside_nmi &&
	       !cpu_ioctl(&vm, 0, KVM_NMI, NULL) && ends(&vm, 0) && nmis(&vm) == 1,
	   "smm: an NMI waits for RSM");
	START(&vm, 0, code_loop);
	set_masked(&vm, 0);
	ok(smi(&vm, 0) && events(&vm, 0).smi.smm_inside_nmi && !cpu_ioctl(&vm, 0, KVM_NMI, NULL) &&
	       ends(&vm, 0) && !nmis(&vm) && events(&vm, 0).nmi.masked,
	   "smm: and longer where one was being handled");
	vm_free(&vm);
	setup(&vm, 1, VM_IRQCHIP);
	START(&vm, 0, code_loop);
	ok(smi(&vm, 0) && !cpu_ioctl(&vm, 0, KVM_SMI, NULL) && events(&vm, 0).smi.pending &&
	       vm_run(&vm, 0, RUN_MS) == END_PAUSE && in_smm(&vm, 0) &&
	       *word(vm.ram + RESET_BASE, COUNT) == 2 && !events(&vm, 0).smi.pending &&
	       ends(&vm, 0),
	   "smm: so does an SMI, which follows at once");
	START(&vm, 0, code_loop);
	e = events(&vm, 0);
	e.exception.injected = 1;
	e.exception.nr = UD;
	cpu_ioctl(&vm, 0, KVM_SET_VCPU_EVENTS, &e);
	cpu_get_regs(&vm, 0, &r);
	r.r15 = r.rip;
	cpu_set_regs(&vm, 0, &r);
	ok(smi(&vm, 0) &&
	       *quad(vm.ram + RESET_BASE + AREA, A_RIP) - payload_addr(on_fault) < 0x10 &&
	       ends(&vm, 0),
	   "smm: an exception that is being delivered comes before it");
	end(&vm);
}

static int msi(struct vm *vm, u32 dest, u32 data)
{
	struct kvm_msi m = {.address_lo = 0xfee00000 | dest << 12, .data = data};

	return vm_ioctl(vm, KVM_SIGNAL_MSI, &m);
}

static void check_others(void)
{
	struct vm vm;

	setup(&vm, 2, VM_IRQCHIP);
	ok(move(&vm, 0, SMRAM) && move(&vm, 1, SMRAM + 0x1000),
	   "smm: each vCPU has its own SMBASE");
	START(&vm, 0, code_loop);
	START(&vm, 1, code_loop);
	ok(msi(&vm, 0xff, MSI_SMI) == 1 && events(&vm, 0).smi.pending && events(&vm, 1).smi.pending,
	   "smm: a message with an SMI goes to all vCPUs");
	ok(vm_run(&vm, 0, RUN_MS) == END_PAUSE && vm_run(&vm, 1, RUN_MS) == END_PAUSE &&
	       in_smm(&vm, 0) && in_smm(&vm, 1) && *word(smram, COUNT) == 1 &&
	       *word(smram + 0x1000, COUNT) == 1,
	   "smm: each is in SMM then");
	ok(msi(&vm, 1, MSI_INIT) == 1 && vm_run(&vm, 1, 1) == END_TIME, "smm: INIT comes");
	ok(ends(&vm, 0), "smm: one leaves it without the other");
	ok(vm_run(&vm, 1, SHORT_MS) == END_TIME && !events(&vm, 1).smi.smm &&
	       mp_state(&vm, 1) == KVM_MP_STATE_INIT_RECEIVED &&
	       get_smbase(&vm, 1) == SMRAM + 0x1000,
	   "smm: INIT has waited for RSM, and leaves SMBASE alone");
	ok(!cpu_ioctl(&vm, 1, KVM_SMI, NULL) && vm_run(&vm, 1, SHORT_MS) == END_TIME &&
	       events(&vm, 1).smi.pending,
	   "smm: a vCPU that waits for SIPI takes no SMI");
	end(&vm);
}

/* What one VM has in SMM goes on in another. */
static void check_moved(void)
{
	struct kvm_vcpu_events e, got;
	struct kvm_sregs s;
	struct kvm_regs r;
	struct vm from, to;
	u8 *old_smram;
	bool same;

	setup(&from, 1, VM_IRQCHIP);
	ok(move(&from, 0, SMRAM), "smm: a VM is to be moved");
	START(&from, 0, code_loop);
	ok(smi(&from, 0) && !cpu_ioctl(&from, 0, KVM_SMI, NULL), "smm: while it is in SMM");
	e = events(&from, 0);
	s = sregs(&from, 0);
	cpu_get_regs(&from, 0, &r);
	old_smram = smram;
	setup(&to, 1, VM_IRQCHIP);
	memcpy(to.ram, from.ram, RAM_SIZE);
	memcpy(smram, old_smram, SMRAM_SIZE);
	munmap(old_smram, SMRAM_SIZE);
	vm_free(&from);
	ok(e.flags & KVM_VCPUEVENT_VALID_SMM && e.smi.smm && e.smi.pending &&
	       set_msr(&to, 0, MSR_SMBASE, 1ull << 32) == 0 &&
	       set_msr(&to, 0, MSR_SMBASE, SMRAM) == 1 && !cpu_ioctl(&to, 0, KVM_SET_SREGS, &s) &&
	       !cpu_ioctl(&to, 0, KVM_SET_VCPU_EVENTS, &e),
	   "smm: its state can be set in another");
	cpu_set_regs(&to, 0, &r);
	got = events(&to, 0);
	same = !memcmp(&e, &got, sizeof(e));
	to.value_count = 0;
	ok(same && vm_run(&to, 0, RUN_MS) == END_PAUSE && *word(smram, COUNT) == 2 && ends(&to, 0),
	   "smm: which goes on, takes the SMI that waited, and comes to its end");
	e.flags &= ~KVM_VCPUEVENT_VALID_SMM;
	ok(!cpu_ioctl(&to, 0, KVM_SET_VCPU_EVENTS, &e) && !events(&to, 0).smi.smm,
	   "smm: without its flag SMM's state is left alone");
	e.flags |= KVM_VCPUEVENT_VALID_SMM;
	e.smi.smm = 2;
	ok(cpu_ioctl(&to, 0, KVM_SET_VCPU_EVENTS, &e) == -EINVAL, "smm: and looked at with it");
	end(&to);
}

static void check_bad(void)
{
	static const struct {
		u32 at;
		u64 set;
		const char *what;
	} bad[] = {
	    {A_CR4, 1ull << 31, "a bit of CR4 that there is not"},
	    {A_CR4, 1ull << 63, "another one"},
	    {A_CR0, 1ull << 29, "CR0.NW without CD"},
	    {A_CR0, 1ull << 33, "a bit of CR0 that there is not"},
	    {A_CR3, 1ull << 60, "CR3 beyond memory"},
	    {A_EFER, 1ull << 20, "a bit of EFER that there is not"},
	    {A_RIP, 1ull << 60, "RIP that is no address"},
	    {A_RFLAGS, 1ull << 17, "virtual-8086 mode in long mode"},
	};
	struct vm vm;

	for (u32 i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setup(&vm, 1, VM_IRQCHIP);
		START(&vm, 0, code_loop);
		if (!smi(&vm, 0))
			fatal("no SMI");
		*quad(vm.ram + RESET_BASE + AREA, bad[i].at) |= bad[i].set;
		ok(vm_run(&vm, 0, RUN_MS) == END_SHUTDOWN, "smm: RSM to %s is a shutdown",
		   bad[i].what);
		end(&vm);
	}
	setup(&vm, 1, VM_IRQCHIP);
	START(&vm, 0, code_loop);
	if (!smi(&vm, 0))
		fatal("no SMI");
	for (u32 i = 0; i < 64; i++)
		quad(vm.ram + RESET_BASE + AREA, 0)[i] = rnd();
	ok(vm_run(&vm, 0, RUN_MS) == END_SHUTDOWN, "smm: RSM to noise is a shutdown");
	end(&vm);
}

/* SMM is not for VMs whose VMM has not given it memory, nor is RSM for others. */
static void check_without(void)
{
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	START(&vm, 0, code_loop);
	*(u32 *)(vm.ram + FLAG) = 1;
	ok(!cpu_ioctl(&vm, 0, KVM_SMI, NULL) && vm_run(&vm, 0, RUN_MS) == END_DONE,
	   "smm: an SMI is nothing where there is no memory for it");
	START(&vm, 0, code_rsm);
	ok(vm_run(&vm, 0, RUN_MS) == END_DONE && vm.values[0] == 1, "smm: RSM is unknown there");
	vm_free(&vm);
	setup(&vm, 1, VM_IRQCHIP);
	START(&vm, 0, code_rsm);
	ok(vm_run(&vm, 0, RUN_MS) == END_DONE && vm.values[0] == 1, "smm: and outside of SMM");
	START(&vm, 0, code_loop);
	ok(smi(&vm, 0) && ends(&vm, 0), "smm: which it is again");
	START(&vm, 0, code_rsm);
	ok(vm_run(&vm, 0, RUN_MS) == END_DONE && vm.values[0] == 1, "smm: behind SMM");
	ok(!set_slot(&vm, SMM_SPACE, 0, 0, NULL, 0) && !cpu_ioctl(&vm, 0, KVM_SMI, NULL),
	   "smm: the memory is taken away");
	START(&vm, 0, code_loop);
	ok(vm_run(&vm, 0, SHORT_MS) != END_DONE && events(&vm, 0).smi.smm,
	   "smm: the SMI comes to what is not there");
	end(&vm);
}

/* A CPU without long mode saves less, and elsewhere. */
static void check_32(void)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 e[128];
	} c = {.head.nent = 128};
	struct kvm_sregs s, back;
	struct vm vm;
	u8 *area;

	setup(&vm, 1, VM_IRQCHIP);
	area = vm.ram + RESET_BASE + AREA;
	if (cpu_ioctl(&vm, 0, KVM_GET_CPUID2, &c))
		fatal("KVM_GET_CPUID2");
	for (u32 i = 0; i < c.head.nent; i++)
		if (c.e[i].function == 0x80000001)
			c.e[i].edx &= ~LM;
	if (cpu_ioctl(&vm, 0, KVM_SET_CPUID2, &c))
		fatal("KVM_SET_CPUID2");
	start(&vm, 0, MODE_PROT32, code_loop32, code_loop32_end);
	s = sregs(&vm, 0);
	vm.ram[RESET_BASE + CLOBBER] = 1;
	ok(smi(&vm, 0) && *word(area, A32_REVISION) == 0x20000 &&
	       *word(area, A32_SMBASE) == RESET_BASE && *word(area, A32_EIP) - DATA < 0x10,
	   "smm: a CPU without long mode saves its state in its own way");
	*word(area, A32_SMBASE) = SMRAM;
	ok(ends(&vm, 0) && get_smbase(&vm, 0) == SMRAM, "smm: and comes back");
	back = sregs(&vm, 0);
	ok(!memcmp(&s, &back, sizeof(s)), "smm: as it was");
	end(&vm);
}

int main(void)
{
	open_kvm();
	check_slots();
	check_registers();
	check_smram();
	check_dirty();
	check_halt();
	check_blocked();
	check_others();
	check_moved();
	check_bad();
	check_without();
	check_32();
	return failures != 0;
}
