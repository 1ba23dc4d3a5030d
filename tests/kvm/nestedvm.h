/* SPDX-License-Identifier: GPL-2.0-only */
/* A VM whose guest, pl_vmrun, runs a guest of a few bytes of code, for nested.c and nested_state.c.
 */
#ifndef NESTEDVM_H
#define NESTEDVM_H

#include "vmm.h"

#define VMCB	  0x200000ul
#define HSAVE	  0x201000ul
#define IOPM	  0x202000ul
#define MSRPM	  0x206000ul
#define L2_CODE	  0x210000ul
#define L2_STACK  0x220000ul
#define PAGE_A	  0x230000ul /* for what a test likes */
#define PAGE_B	  0x231000ul
#define PAGE_C	  0x232000ul
#define N_PML4	  0x280000ul /* nested tables: 4 KiB pages of the first 4 MiB */
#define N_PT	  (N_PML4 + 0x3000)
#define L2_DEVICE 0x3ff000ul /* in the nested guest's memory; MMIO of the guest's */
#define RUN_MS	  10000

/* Offsets, APM "Layout of VMCB" */
#define V8(vm, at)  (*(volatile u8 *)((vm)->ram + VMCB + (at)))
#define V16(vm, at) (*(volatile u16 *)((vm)->ram + VMCB + (at)))
#define V32(vm, at) (*(volatile u32 *)((vm)->ram + VMCB + (at)))
#define V64(vm, at) (*(volatile u64 *)((vm)->ram + VMCB + (at)))
#define R64(vm, at) (*(volatile u64 *)((vm)->ram + (at)))
#define EXC	    0x008
#define INT3	    0x00c
#define INT4	    0x010
#define IOPM_AT	    0x040
#define MSRPM_AT    0x048
#define TSC_OFF	    0x050
#define ASID	    0x058
#define TLB	    0x05c
#define VINTR	    0x060
#define EXITCODE    0x070
#define INFO1	    0x078
#define INFO2	    0x080
#define INTINFO	    0x088
#define NP	    0x090
#define EVENTINJ    0x0a8
#define NCR3	    0x0b0
#define CLEAN	    0x0c0
#define ENLIGHTENED 0x3e0 /* TLFS "Nested virtualization": what its L1 has of Hyper-V here */
#define SEG(n)	    (0x400 + (n)*16) /* es cs ss ds fs gs gdtr ldtr idtr tr */
#define EFER	    0x4d0
#define CR4	    0x548
#define CR3	    0x550
#define CR0	    0x558
#define DR7	    0x560
#define DR6	    0x568
#define RFLAGS	    0x570
#define RIP	    0x578
#define RSP	    0x5d8
#define RAX	    0x5f8
#define CR2	    0x640
#define GPAT	    0x668

#define ON_INTR	 (1u << 0)
#define ON_NMI	 (1u << 1)
#define ON_VINTR (1u << 4)
#define ON_CPUID (1u << 18)
#define ON_HLT	 (1u << 24)
#define ON_IO	 (1u << 27)
#define ON_MSR	 (1u << 28)
#define ON_DOWN	 (1u << 31)
#define ON_VMRUN (1u << 0)
#define ON_VMM	 (1u << 1)

#define EXIT_INTR    0x60
#define EXIT_VINTR   0x64
#define EXIT_CPUID   0x72
#define EXIT_HLT     0x78
#define EXIT_IO	     0x7b
#define EXIT_MSR     0x7c
#define EXIT_DOWN    0x7f
#define EXIT_VMMCALL 0x81
#define EXIT_NPF     0x400
#define EXIT_BAD     (~0ull)

#define VMMCALL	    0x0f, 0x01, 0xd9
#define VMCALL	    0x0f, 0x01, 0xc1
#define READ_A(...) 0xa1, 0x00, 0x00, 0x23, 0, 0, 0, 0, 0, __VA_ARGS__ /* mov eax, [PAGE_A] */

/* A VM whose guest waits to run its VMCB. */
void nested_start(struct vm *vm, u32 flags);
/* A VMCB in which all is as for the guest itself, and code for it; with nested paging or not. */
void nested_vmcb(struct vm *vm, const void *code, size_t len, bool paging);
/* The entry of a nested page */
volatile u64 *nested_pte(struct vm *vm, u64 at);
/* Runs to the next #VMEXIT: is it this one? */
bool nested_exits(struct vm *vm, u64 code);

/* A register of the vCPU by its place in struct kvm_regs */
u64 nested_reg(struct vm *vm, size_t at);
#define REG(vm, name) nested_reg(vm, offsetof(struct kvm_regs, name))

#define CODE_FOR(vm, paging, ...)                                                                  \
	do {                                                                                       \
		static const u8 code_[] = {__VA_ARGS__};                                           \
		nested_vmcb(vm, code_, sizeof(code_), paging);                                     \
	} while (0)

#endif
