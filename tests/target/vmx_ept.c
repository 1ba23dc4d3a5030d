/* SPDX-License-Identifier: GPL-2.0-only */
/* EPT of a guest's guest. */
#include "vmx.h"

#define EPT_RWX	     7
#define EPT_WB	     (6 << 3)
#define EPT_2M	     BIT(7)
#define READ_AT(at)  0xa1, (at)&0xff, (at) >> 8 & 0xff, 0, 0, 0, 0, 0, 0 /* mov eax, [at] */
#define WRITE_AT(at) 0xa3, (at)&0xff, (at) >> 8 & 0xff, 0, 0, 0, 0, 0, 0
#define DATA	     0xb000

/* Tables of three levels and one of 4 KiB pages, all identical; the table is at IO_A. */
static volatile u64 *ept_entry(u64 at)
{
	return &QUAD(IO_A + at / PAGE * 8);
}

static void fill_ept(void)
{
	memset(vmx_guest.mem + IO_A, 0, PAGE);
	memset(vmx_guest.mem + EPT, 0, 3 * PAGE);
	QUAD(EPT) = (EPT + 0x1000) | EPT_RWX;
	QUAD(EPT + 0x1000) = (EPT + 0x2000) | EPT_RWX;
	QUAD(EPT + 0x2000) = IO_A | EPT_RWX;
	for (u64 i = 0; i < 16; i++)
		*ept_entry(i * PAGE) = i * PAGE | EPT_WB | EPT_RWX;
}

/* Such code on EPT, of which nothing is known from before. */
#define WITH_EPT(...)                                                                              \
	(SETUP(__VA_ARGS__) && vmx_with_proc2(0, PROC2_EPT) && vmx_set(F_EPTP, EPT | 0x1e) &&      \
	 vmx_run(INVEPT, 2, 0) == FINE)

static bool violates(enum op op, u64 at, u64 qual)
{
	return vmx_exits(op, 48) && vmx_field(F_PHYSICAL) == at &&
	       (vmx_field(F_QUAL) & 0x1ff) == qual;
}

#define LINEAR_FINAL 0x180

void vmx_check_ept(void)
{
	fill_ept();
	QUAD(DATA) = 0x1111;
	QUAD(MSRS + 0x800) = 0x2222;
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && vmx_exits(VMLAUNCH, 18) &&
		   QUAD(0x548) == 0x1111,
	       "a nested guest runs by EPT");
	*ept_entry(DATA) = MSRS | EPT_WB | EPT_RWX;
	report(WITH_EPT(READ_AT(DATA + 0x800), VMCALL_INSN) && vmx_exits(VMLAUNCH, 18) &&
		   QUAD(0x548) == 0x2222,
	       "and sees what that maps");
	*ept_entry(DATA) = 0;
	report(vmx_run(INVEPT, 2, 0) == FINE && vmx_set(F_RIP, L2_CODE) &&
		   violates(VMRESUME, DATA + 0x800, LINEAR_FINAL | 1),
	       "after INVEPT no more: a violation, by a read");
	*ept_entry(DATA) = DATA | EPT_WB | 1;
	report(WITH_EPT(READ_AT(DATA), WRITE_AT(DATA + 8), VMCALL_INSN) &&
		   violates(VMLAUNCH, DATA + 8, LINEAR_FINAL | 1 << 3 | 2),
	       "or a write to what may only be read");
	*ept_entry(DATA) = DATA | EPT_WB | 3;
	QUAD(DATA + 8) = ~0ull;
	report(vmx_set(F_RIP, L2_CODE + 9) && vmx_exits(VMRESUME, 18) &&
		   !LONG(&vmx_guest, DATA + 8),
	       "more rights need no INVEPT");
	*ept_entry(L2_CODE) = L2_CODE | EPT_WB | 3;
	report(WITH_EPT(VMCALL_INSN) && violates(VMLAUNCH, L2_CODE, LINEAR_FINAL | 3 << 3 | 4),
	       "a fetch of what is not to be executed");
	*ept_entry(L2_CODE) = L2_CODE | EPT_WB | EPT_RWX;
	*ept_entry(TABLES) = 0;
	report(WITH_EPT(VMCALL_INSN) && vmx_exits(VMLAUNCH, 48) &&
		   vmx_field(F_PHYSICAL) == TABLES && !(vmx_field(F_QUAL) & BIT(8)),
	       "its page tables are not there");
	*ept_entry(TABLES) = TABLES | EPT_WB | EPT_RWX;
	*ept_entry(DATA) = DATA | EPT_WB | 2;
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && vmx_exits(VMLAUNCH, 49) &&
		   vmx_field(F_PHYSICAL) == DATA,
	       "what may be written, but not read, is a misconfiguration");
	*ept_entry(DATA) = DATA | 2 << 3 | EPT_RWX;
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && vmx_exits(VMLAUNCH, 49),
	       "so is a memory type that is none");
	*ept_entry(DATA) = BIT(51) | EPT_WB | EPT_RWX;
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && vmx_exits(VMLAUNCH, 49),
	       "or an address beyond all");
	*ept_entry(DATA) = DATA | EPT_WB | EPT_RWX;
	QUAD(EPT + 0x2000) = EPT_2M | EPT_WB | EPT_RWX;
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && vmx_exits(VMLAUNCH, 18) &&
		   QUAD(0x548) == 0x1111,
	       "a large page");
	QUAD(EPT + 0x2000) = EPT_2M | EPT_WB | EPT_RWX | BIT(13);
	report(WITH_EPT(VMCALL_INSN) && vmx_exits(VMLAUNCH, 49), "or one that is not aligned");
	QUAD(EPT + 0x2000) = IO_A | EPT_RWX;
}

/* What the VMM takes away from the guest its guest loses, too, and what is not there is brought. */
void vmx_check_p2m(void)
{
	fill_ept();
	report(WITH_EPT(READ_AT(DATA), VMCALL_INSN) && vmx_exits(VMLAUNCH, 18), "a page is used");
	report(hc(CORBEL_HC_UNMAP, vmx_guest.vm, DATA / PAGE, 1) == 1 && vmx_set(F_RIP, L2_CODE) &&
		   vmx_run(VMRESUME, 0, 0) == STUCK &&
		   vmx_guest.page->exit_reason == CORBEL_EXIT_MEM_FAULT &&
		   vmx_guest.page->fault.gpa == DATA,
	       "and taken from the VM: the nested guest misses it");
	report(guest_map(&vmx_guest, DATA / PAGE, CORBEL_MAP_EXEC) == 1 &&
		   guest_run(&vmx_guest, 2000) == CORBEL_EXIT_IO && vmx_field(F_REASON) == 18,
	       "and goes on when it is there");
	report(WITH_EPT(WRITE_AT(DATA), VMCALL_INSN) && vmx_run(VMLAUNCH, 0, 0) == STUCK &&
		   vmx_guest.page->exit_reason == CORBEL_EXIT_MEM_FAULT &&
		   vmx_guest.page->fault.flags & CORBEL_FAULT_WRITE,
	       "a page that is the VM's to read only it does not write");
	hc(CORBEL_HC_UNMAP, vmx_guest.vm, DATA / PAGE, 1);
	report(guest_map(&vmx_guest, DATA / PAGE, CORBEL_MAP_WRITE | CORBEL_MAP_EXEC) == 1 &&
		   guest_run(&vmx_guest, 2000) == CORBEL_EXIT_IO && vmx_field(F_REASON) == 18,
	       "before it may");
	/* an injection whose delivery misses the page of the stack */
	*ept_entry(L2_STACK - 8) = 0;
	report(WITH_EPT(VMCALL_INSN) && vmx_set(F_INTR, EVENT(0, 31)) && vmx_set(F_RFLAGS, 0x202) &&
		   vmx_exits(VMLAUNCH, 48) && vmx_field(F_IDT_INFO) == EVENT(0, 31),
	       "an event whose delivery is broken off by EPT is told of");
	/* one that the hypervisor has broken off itself goes in again: another stack, not mapped */
	fill_ept();
	report(WITH_EPT(VMCALL_INSN) && vmx_set(F_INTR, EVENT(0, 31)) && vmx_set(F_RFLAGS, 0x202) &&
		   vmx_set(F_RSP, DATA + 0x800) &&
		   hc(CORBEL_HC_UNMAP, vmx_guest.vm, DATA / PAGE, 1) == 1 &&
		   vmx_run(VMLAUNCH, 0, 0) == STUCK &&
		   vmx_guest.page->exit_reason == CORBEL_EXIT_MEM_FAULT &&
		   vmx_guest.page->fault.gpa / PAGE == DATA / PAGE,
	       "an event whose delivery is broken off by the VM's memory waits for that");
	report(guest_map(&vmx_guest, DATA / PAGE, CORBEL_MAP_WRITE | CORBEL_MAP_EXEC) == 1 &&
		   guest_run(&vmx_guest, 2000) == CORBEL_EXIT_IO && LONG(&vmx_guest, 0x540) == 31 &&
		   !LONG(&vmx_guest, 0x544) && vmx_exits(VMPTRST, 22),
	       "and is delivered then");
}
