/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VMM and VMX of its guest: VMX MSRs with less than there is, as QEMU writes them for its models
 * (target/i386/kvm/kvm.c, kvm_msr_entry_add_vmx()), and a guest that runs a guest, which is moved
 * to another VM meanwhile; by enlightened VMCSs, too.
 */
#define _GNU_SOURCE
#include "hvguest.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#define TABLE	  0x200000ul /* VMXON region, VMCS, then fields and values */
#define ON_REGION 0x201000ul
#define VMCS_AT	  0x202000ul
#define L2_CODE	  0x203000ul
#define L2_STACK  0x205000ul
#define VMX_MS	  30000

#define FEATURE_CONTROL 0x3a
#define VMX(n)		(0x480 + (n))
#define TRUE_PROC	VMX(14)
#define PROC2		VMX(11)
#define EPT_CAPS	VMX(12)
#define PROC_MIN	0x4006172u
#define PROC_HLT	(1u << 7)
#define EXIT_VMCALL	18

/* RDI: TABLE. It says INSN_ERROR if the entry fails, EXIT_REASON behind an exit. */
static const u8 l1_code[] = {
    0xf3, 0x0f,	      0xc7, 0x37,	/* vmxon [rdi] */
    0x66, 0x0f,	      0xc7, 0x77, 0x08, /* vmclear [rdi + 8] */
    0x0f, 0xc7,	      0x77, 0x08,	/* vmptrld [rdi + 8] */
    0x48, 0x8d,	      0x77, 0x10,	/* lea rsi, [rdi + 16] */
    0x48, 0x8b,	      0x06,		/* 17: mov rax, [rsi] */
    0x48, 0x8b,	      0x56, 0x08,	/* mov rdx, [rsi + 8] */
    0x48, 0x85,	      0xc0,		/* test rax, rax */
    0x78, 0x09,				/* js 38 */
    0x0f, 0x79,	      0xc2,		/* vmwrite rax, rdx */
    0x48, 0x83,	      0xc6, 0x10,	/* add rsi, 16 */
    0xeb, 0xeb,				/* jmp 17 */
    0x0f, 0x01,	      0xc2,		/* 38: vmlaunch */
    0xb8, 0x00,	      0x44, 0,	  0,	/* mov eax, INSN_ERROR */
    0xeb, 0x05,				/* jmp 53 */
    0xb8, 0x02,	      0x44, 0,	  0,	/* 48: mov eax, EXIT_REASON */
    0x0f, 0x78,	      0xc2,		/* 53: vmread rdx, rax */
    0x89, 0xd0,				/* mov eax, edx */
    0xe7, PORT_VALUE,			/* out PORT_VALUE, eax */
    0xe6, PORT_DONE,			/* out PORT_DONE, al */
};
#define L1_EXIT (DATA + 48)

/* The same with an eVMCS, which is there already */
static const u8 l1_enlightened[] = {
    0xf3, 0x0f,	      0xc7, 0x37,    /* vmxon [rdi] */
    0x0f, 0x01,	      0xc2,	     /* vmlaunch */
    0xb8, 0x00,	      0x44, 0,	  0, /* mov eax, INSN_ERROR */
    0xeb, 0x05,			     /* jmp 19 */
    0xb8, 0x02,	      0x44, 0,	  0, /* 14: mov eax, EXIT_REASON */
    0x0f, 0x78,	      0xc2,	     /* 19: vmread rdx, rax */
    0x89, 0xd0,			     /* mov eax, edx */
    0xe7, PORT_VALUE,		     /* out PORT_VALUE, eax */
    0xe6, PORT_DONE,		     /* out PORT_DONE, al */
};
#define ENLIGHTENED_EXIT (DATA + 14)

static const u8 l2_code[] = {
    0xe6, PORT_PAUSE,		  /* out PORT_PAUSE, al */
    0xb8, 0x11,	      0x47, 0, 0, /* mov eax, 0x4711 */
    0xe7, PORT_VALUE,		  /* out PORT_VALUE, eax */
    0x0f, 0x01,	      0xc1,	  /* vmcall */
};

static u64 *next;

static void field(u64 encoding, u64 val)
{
	*next++ = encoding;
	*next++ = val;
}

static void segment(u32 n, const struct kvm_segment *s)
{
	field(0x800 + 2 * n, s->selector);
	field(0x4800 + 2 * n, s->limit);
	field(0x4814 + 2 * n, s->type | s->s << 4 | s->dpl << 5 | s->present << 7 | s->l << 13 |
				  s->db << 14 | s->g << 15 | (u32)!s->present << 16);
	field(0x6806 + 2 * n, s->base);
}

/* A VMCS whose guest and host are as the guest itself. */
static void write_table(struct vm *vm, const struct kvm_sregs *s, u32 proc)
{
	static const u8 host_sel[] = {0, 8, 0, 0, 0, 0, 0x18};
	const struct kvm_segment *seg[] = {&s->es, &s->cs, &s->ss,  &s->ds,
					   &s->fs, &s->gs, &s->ldt, &s->tr};
	u64 *table = (u64 *)(vm->ram + TABLE);

	table[0] = ON_REGION;
	table[1] = VMCS_AT;
	next = table + 2;
	field(0x4000, 0x16);
	field(0x4002, proc);
	field(0x400c, 0x36dfb | 1 << 9);
	field(0x4012, 0x11fb | 1 << 9);
	field(0x2800, ~0ull);
	for (u32 i = 0; i < 7; i++)
		field(0xc00 + 2 * i, host_sel[i]);
	for (u32 i = 0; i < 8; i++)
		segment(i, seg[i]);
	for (u32 host = 0; host < 2; host++) {
		u64 at = host ? 0x6c00 : 0x6800;

		field(at, s->cr0);
		field(at + 2, s->cr3);
		field(at + 4, s->cr4);
	}
	field(0x6816, s->gdt.base);
	field(0x6818, s->idt.base);
	field(0x4810, s->gdt.limit);
	field(0x4812, s->idt.limit);
	field(0x6c0c, s->gdt.base);
	field(0x6c0e, s->idt.base);
	field(0x681a, 0x400);
	field(0x681c, L2_STACK);
	field(0x681e, L2_CODE);
	field(0x6820, 2);
	field(0x6c14, STACK_TOP(0));
	field(0x6c16, L1_EXIT);
	field(~0ull, 0);
	next -= 2;
}

static u64 get_vmx_msr(struct vm *vm, u32 index)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry e;
	} m = {.head.nmsrs = 1, .e = {.index = index}};

	return cpu_ioctl(vm, 0, KVM_GET_MSRS, &m) == 1 ? m.e.data : 0;
}

static bool hides(struct vm *vm, u32 msr, u64 bits)
{
	return set_msr(vm, 0, msr, get_vmx_msr(vm, msr) & ~bits) == 1 &&
	       !(get_vmx_msr(vm, msr) & bits);
}

/* A guest that is about to run L1, whose VMCS asks for that. */
static void prepare(struct vm *vm, u32 proc)
{
	struct kvm_sregs s;
	u32 revision = get_vmx_msr(vm, VMX(0));

	vm->value_count = 0;
	cpu_setup(vm, 0, MODE_LONG, payload_start, TABLE, 0);
	set_msr(vm, 0, FEATURE_CONTROL, 5);
	cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
	s.cr0 |= 1 << 5;  /* NE */
	s.cr4 |= 1 << 13; /* VMXE */
	cpu_ioctl(vm, 0, KVM_SET_SREGS, &s);
	memcpy(vm->ram + DATA, l1_code, sizeof(l1_code));
	memcpy(vm->ram + L2_CODE, l2_code, sizeof(l2_code));
	memcpy(vm->ram + ON_REGION, &revision, 4);
	memcpy(vm->ram + VMCS_AT, &revision, 4);
	write_table(vm, &s, proc);
	cpu_set_regs(
	    vm, 0, &(struct kvm_regs){.rip = DATA, .rflags = 2, .rdi = TABLE, .rsp = STACK_TOP(0)});
}

static bool ends_with(struct vm *vm, u32 count, u32 first, u32 last)
{
	enum end end = vm_run(vm, 0, VMX_MS);

	if (end == END_DONE && vm->value_count == count && vm->values[0] == first &&
	    vm->values[count - 1] == last)
		return true;
	note("%s, exit %u, %u values: %x %x", end_names[end], vm->run[0]->exit_reason,
	     vm->value_count, vm->values[0], vm->values[1]);
	return false;
}

/* Controls that QEMU's models with VMX have by these features, whatever KVM_GET_MSRS says. */
static u32 taken_for_granted(void)
{
	static const struct {
		struct feature by;
		u32 control;
	} all[] = {{{0x80000001, 0, 3, 1u << 27}, 1 << 3},
		   {{7, 0, 1, 1u << 10}, 1 << 12},
		   {{1, 0, 2, 1u << 30}, 1 << 11},
		   {{7, 0, 1, 1u << 18}, 1 << 16}};
	u32 controls = 0;

	for (u32 i = 0; i < 4; i++)
		if (cpu_is_shown(&all[i].by))
			controls |= all[i].control;
	return controls;
}

static void test_msrs(void)
{
	struct vm vm;
	bool good = true;
	u32 granted = taken_for_granted();

	vm_init(&vm, 1, VM_IRQCHIP);
	for (u32 n = 0; n < 17; n++)
		good &= set_msr(&vm, 0, VMX(n), get_vmx_msr(&vm, VMX(n))) == 1;
	ok(good && get_vmx_msr(&vm, VMX(0)), "VMX: a VMM writes the MSRs as they are");
	ok((get_vmx_msr(&vm, PROC2) >> 32 & granted) == granted,
	   "VMX: there is what QEMU takes for granted (%x)", granted);
	ok(set_msr(&vm, 0, TRUE_PROC, get_vmx_msr(&vm, TRUE_PROC) | 1ull << 49) != 1 &&
	       set_msr(&vm, 0, EPT_CAPS, ~0ull) != 1 && set_msr(&vm, 0, VMX(0), 0) != 1 &&
	       set_msr(&vm, 0, VMX(13), 0) != 1,
	   "VMX: and cannot claim more, or less than each CPU has");
	ok(hides(&vm, TRUE_PROC, (u64)PROC_HLT << 32) && hides(&vm, PROC2, 2ull << 32) &&
	       hides(&vm, EPT_CAPS, ~0ull),
	   "VMX: it hides what its model has not");
	prepare(&vm, PROC_MIN | PROC_HLT);
	ok(ends_with(&vm, 1, 7, 7), "VMX: what it hides is refused by VMLAUNCH");
	ok(set_msr(&vm, 0, TRUE_PROC, get_vmx_msr(&vm, TRUE_PROC) | (u64)PROC_HLT << 32) != 1,
	   "VMX: in VMX operation it hides, or shows, no more");
	vm_free(&vm);
}

/* RDTSCP and RDPID; INVPCID */
static void test_rights(void)
{
	static const struct feature none[] = {
	    {0x80000001, 0, 3, 1u << 27}, {7, 0, 2, 1u << 22}, {7, 0, 1, 1u << 10}};
	u64 by = (1ull << 3 | 1ull << 12) << 32;
	struct vm vm;
	u64 all;

	vm_init(&vm, 1, VM_IRQCHIP);
	all = get_vmx_msr(&vm, PROC2);
	cpu_hide(&vm, 0, none, 3);
	ok(all & by && get_vmx_msr(&vm, PROC2) == (all & ~by),
	   "VMX: controls for instructions that CPUID lacks are not offered (%lx)", all & by);
	ok(set_msr(&vm, 0, PROC2, all) == 1 && !(get_vmx_msr(&vm, PROC2) & by),
	   "VMX: nor when the VMM writes them");
	prepare(&vm, PROC_MIN | 1u << 31);
	field(0x401e, 1 << 3);
	field(~0ull, 0);
	ok(ends_with(&vm, 1, 7, 7), "VMX: and VMLAUNCH refuses them");
	vm_free(&vm);
}

struct nested_state {
	struct kvm_nested_state head;
	u8 vmcs[0x2000];
};

/* The whole vCPU, to another VM with a copy of the memory; -errno of KVM_SET_NESTED_STATE. */
static int move(struct vm *from, struct vm *to, struct nested_state *s)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	int err;

	s->head.size = sizeof(*s);
	if (cpu_ioctl(from, 0, KVM_GET_NESTED_STATE, s) ||
	    cpu_ioctl(from, 0, KVM_GET_SREGS, &sregs))
		fatal("state cannot be read");
	cpu_get_regs(from, 0, &regs);
	memcpy(to->ram, from->ram, RAM_SIZE);
	set_msr(to, 0, FEATURE_CONTROL, 5);
	if (cpu_ioctl(to, 0, KVM_SET_SREGS, &sregs))
		fatal("KVM_SET_SREGS");
	err = cpu_ioctl(to, 0, KVM_SET_NESTED_STATE, s);
	cpu_set_regs(to, 0, &regs);
	return err;
}

static void test_move(void)
{
	static struct nested_state s, wrong;
	struct vm a, b;

	vm_init(&a, 1, VM_IRQCHIP);
	vm_init(&b, 1, VM_IRQCHIP);
	prepare(&a, PROC_MIN);
	ok(vm_run(&a, 0, VMX_MS) == END_PAUSE && a.run[0]->flags & 4,
	   "VMX: a guest runs a guest, and the VMM is told");
	ok(!move(&a, &b, &s) && s.head.flags & KVM_STATE_NESTED_GUEST_MODE &&
	       s.head.hdr.vmx.vmxon_pa == ON_REGION && s.head.hdr.vmx.vmcs12_pa == VMCS_AT,
	   "VMX: its state is taken, and given to another VM");
	memset(a.ram, 0, RAM_SIZE);
	b.value_count = 0;
	ok(ends_with(&b, 2, 0x4711, EXIT_VMCALL),
	   "VMX: where the nested guest goes on, and comes back to its host");
	wrong = s;
	wrong.head.hdr.vmx.vmcs12_pa += 8;
	ok(cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &wrong) == -EINVAL,
	   "VMX: a VMCS that is not aligned is EINVAL");
	wrong = s;
	wrong.head.hdr.vmx.vmxon_pa = ~0ull;
	ok(cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &wrong) == -EINVAL,
	   "VMX: or guest mode without VMXON");
	wrong = s;
	wrong.vmcs[0] ^= 1;
	ok(cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &wrong) == -EINVAL, "VMX: or another revision");
	wrong = s;
	wrong.head.format = KVM_STATE_NESTED_FORMAT_SVM;
	ok(cpu_ioctl(&b, 0, KVM_SET_NESTED_STATE, &wrong) == -EINVAL, "VMX: or SVM's format");
	vm_free(&a);
	vm_free(&b);
}

/* ---- enlightened VMCSs ---- */

#define ASSIST	     0x207000ul
#define EVMCS	     0x208000ul
#define EVMCS_REASON 692
#define EVMCS_CLEAN  824

/* Fields from this one on, and their place in the page: TLFS */
static const struct {
	u16 first, count, at;
} evmcs_fields[] = {
    {0xc00, 7, 8},    {0x6c00, 3, 40},	 {0x6c16, 1, 80},   {0x4000, 1, 92},  {0x400c, 1, 96},
    {0x800, 8, 128},  {0x4800, 18, 144}, {0x6806, 10, 216}, {0x2800, 1, 416}, {0x6800, 3, 544},
    {0x681a, 1, 568}, {0x6c06, 5, 576},	 {0x6c14, 1, 616},  {0x681c, 1, 768}, {0x6820, 1, 776},
    {0x4002, 1, 788}, {0x4012, 1, 796},	 {0x681e, 1, 816},
};

static void put_evmcs(struct vm *vm, u64 encoding, u64 val)
{
	static const u8 bytes[] = {2, 8, 4, 8};
	u32 len = bytes[encoding >> 13];

	for (u32 i = 0; i < sizeof(evmcs_fields) / sizeof(evmcs_fields[0]); i++) {
		u32 n = (encoding - evmcs_fields[i].first) / 2;

		if (encoding >= evmcs_fields[i].first && n < evmcs_fields[i].count) {
			memcpy(vm->ram + EVMCS + evmcs_fields[i].at + n * len, &val, len);
			return;
		}
	}
	fatal("no place for field %lx", encoding);
}

/* As prepare(), with an eVMCS that the assist page names, and no other. */
static void prepare_enlightened(struct vm *vm, u32 proc)
{
	u64 *assist = (u64 *)(vm->ram + ASSIST);
	u32 version = 1;

	prepare(vm, proc);
	memset(vm->ram + EVMCS, 0, 4096);
	memcpy(vm->ram + EVMCS, &version, 4);
	for (const u64 *f = (u64 *)(vm->ram + TABLE) + 2; ~f[0]; f += 2)
		put_evmcs(vm, f[0], f[1]);
	put_evmcs(vm, 0x6c16, ENLIGHTENED_EXIT);
	memcpy(vm->ram + DATA, l1_enlightened, sizeof(l1_enlightened));
	assist[5] = 1;
	assist[6] = EVMCS;
	if (set_msr(vm, 0, MSR_VP_ASSIST_PAGE, ASSIST | 1) != 1)
		fatal("no assist page");
}

/* -> the versions that there are, or -errno */
static int enable_evmcs(struct vm *vm)
{
	u16 versions = 0;
	struct kvm_enable_cap cap = {.cap = KVM_CAP_HYPERV_ENLIGHTENED_VMCS,
				     .args = {(u64)&versions}};
	int err = cpu_ioctl(vm, 0, KVM_ENABLE_CAP, &cap);

	return err ?: versions;
}

static u32 shown_versions(struct vm *vm)
{
	struct hv_table t = hv_offered(vm->cpu_fd[0]);

	return hv_leaf(&t, TLFS_LEAF_NESTED)->eax & ~TLFS_HAS_MSR_BITMAP;
}

static void test_enlightened(void)
{
	static struct nested_state s;
	struct kvm_enable_cap nowhere = {.cap = KVM_CAP_HYPERV_ENLIGHTENED_VMCS};
	struct vm a, b;
	u32 word = 0;

	hv_init(&a, 1);
	hv_init(&b, 1);
	ok(vm_ioctl(&a, KVM_CHECK_EXTENSION, (void *)KVM_CAP_HYPERV_ENLIGHTENED_VMCS) == 1 &&
	       !shown_versions(&a),
	   "eVMCS: there are, and a vCPU has none");
	prepare_enlightened(&a, PROC_MIN);
	ok(ends_with(&a, 1, 0, 0), "eVMCS: so VMLAUNCH finds no VMCS");
	ok(cpu_ioctl(&a, 0, KVM_ENABLE_CAP, &nowhere) == -EFAULT &&
	       enable_evmcs(&a) == TLFS_EVMCS_VERSIONS && shown_versions(&a) == TLFS_EVMCS_VERSIONS,
	   "eVMCS: its VMM switches version 1 on");
	prepare_enlightened(&a, PROC_MIN);
	memcpy(a.ram + EVMCS, &word, 4);
	ok(ends_with(&a, 1, 0, 0), "eVMCS: one of version 0 is none");
	prepare_enlightened(&a, 0);
	ok(ends_with(&a, 1, 7, 7), "eVMCS: controls that are refused are told in memory");
	prepare_enlightened(&a, PROC_MIN);
	ok(vm_run(&a, 0, VMX_MS) == END_PAUSE && a.run[0]->flags & 4,
	   "eVMCS: a guest runs a guest by one");
	set_msr(&b, 0, MSR_VP_ASSIST_PAGE, ASSIST | 1);
	ok(move(&a, &b, &s) == -EINVAL && s.head.hdr.vmx.vmcs12_pa == ~0ull &&
	       s.head.flags == (KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_EVMCS),
	   "eVMCS: its state says so, and is not taken where they are off");
	enable_evmcs(&b);
	ok(!move(&a, &b, &s), "eVMCS: but where they are on");
	memset(a.ram, 0, RAM_SIZE);
	b.value_count = 0;
	ok(ends_with(&b, 2, 0x4711, EXIT_VMCALL),
	   "eVMCS: where the nested guest goes on, and comes back to its host");
	memcpy(&word, b.ram + EVMCS + EVMCS_REASON, 4);
	ok(word == EXIT_VMCALL, "eVMCS: which reads in its memory why (%x)", word);
	memcpy(&word, b.ram + EVMCS + EVMCS_CLEAN, 4);
	ok(word == 0xffff, "eVMCS: that all there is clean (%x)", word);
	vm_free(&a);
	vm_free(&b);
}

int main(void)
{
	open_kvm();
	test_msrs();
	test_rights();
	test_move();
	test_enlightened();
	return failures != 0;
}
