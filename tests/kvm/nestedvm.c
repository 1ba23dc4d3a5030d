/* SPDX-License-Identifier: GPL-2.0-only */
#include "nestedvm.h"

#include <string.h>

static void write_seg(struct vm *vm, u32 n, const struct kvm_segment *s)
{
	V16(vm, SEG(n)) = s->selector;
	V16(vm, SEG(n) + 2) = s->type | s->s << 4 | s->dpl << 5 | s->present << 7 | s->avl << 8 |
			      s->l << 9 | s->db << 10 | s->g << 11;
	V32(vm, SEG(n) + 4) = s->limit;
	V64(vm, SEG(n) + 8) = s->base;
}

static void nested_tables(struct vm *vm)
{
	R64(vm, N_PML4) = (N_PML4 + 0x1000) | 7;
	R64(vm, N_PML4 + 0x1000) = (N_PML4 + 0x2000) | 7;
	for (u32 i = 0; i < 2; i++)
		R64(vm, N_PML4 + 0x2000 + i * 8) = (N_PT + i * 0x1000) | 7;
	for (u32 i = 0; i < 1024; i++)
		R64(vm, N_PT + i * 8) = (u64)i << 12 | 7;
	R64(vm, N_PT + L2_DEVICE / 0x1000 * 8) = MMIO_BASE | 7;
}

volatile u64 *nested_pte(struct vm *vm, u64 at)
{
	return &R64(vm, N_PT + at / 0x1000 * 8);
}

void nested_vmcb(struct vm *vm, const void *code, size_t len, bool paging)
{
	struct kvm_sregs s;

	cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
	memset(vm->ram + VMCB, 0, 0x1000);
	memset(vm->ram + IOPM, 0, 0x8000);
	memset(vm->ram + L2_CODE, 0xcc, 0x1000);
	memcpy(vm->ram + L2_CODE, code, len);
	V32(vm, INT3) = ON_DOWN;
	V32(vm, INT4) = ON_VMRUN | ON_VMM;
	V64(vm, IOPM_AT) = IOPM;
	V64(vm, MSRPM_AT) = MSRPM;
	V32(vm, ASID) = 1;
	write_seg(vm, 0, &s.es);
	write_seg(vm, 1, &s.cs);
	write_seg(vm, 2, &s.ss);
	write_seg(vm, 3, &s.ds);
	V32(vm, SEG(6) + 4) = s.gdt.limit;
	V64(vm, SEG(6) + 8) = s.gdt.base;
	V32(vm, SEG(8) + 4) = s.idt.limit;
	V64(vm, SEG(8) + 8) = s.idt.base;
	V64(vm, EFER) = s.efer | 0x1000;
	V64(vm, CR4) = s.cr4;
	V64(vm, CR3) = s.cr3;
	V64(vm, CR0) = s.cr0;
	V64(vm, DR7) = 0x400;
	V64(vm, DR6) = 0xffff0ff0;
	V64(vm, RFLAGS) = 2;
	V64(vm, RIP) = L2_CODE;
	V64(vm, RSP) = L2_STACK;
	V64(vm, GPAT) = 0x0007040600070406ull;
	if (!paging)
		return;
	nested_tables(vm);
	V64(vm, NP) = 1;
	V64(vm, NCR3) = N_PML4;
	V8(vm, TLB) = 1;
}

void nested_start(struct vm *vm, u32 flags)
{
	struct kvm_sregs s;

	vm_init(vm, 1, flags);
	cpu_setup(vm, 0, MODE_LONG, pl_vmrun, VMCB, HSAVE);
	cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
	s.efer |= 0x800; /* NXE */
	cpu_ioctl(vm, 0, KVM_SET_SREGS, &s);
}

bool nested_exits(struct vm *vm, u64 code)
{
	enum end end = vm_run(vm, 0, RUN_MS);

	if (end == END_PAUSE && V64(vm, EXITCODE) == code)
		return true;
	note("%s (exit %u), code %lx info %lx %lx intinfo %lx rip %lx, not code %lx",
	     end_names[end], vm->run[0]->exit_reason, V64(vm, EXITCODE), V64(vm, INFO1),
	     V64(vm, INFO2), V64(vm, INTINFO), V64(vm, RIP), code);
	return false;
}

u64 nested_reg(struct vm *vm, size_t at)
{
	struct kvm_regs r;

	cpu_get_regs(vm, 0, &r);
	return *(u64 *)((u8 *)&r + at);
}
