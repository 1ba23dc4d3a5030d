/* SPDX-License-Identifier: GPL-2.0-only */
#include "vmx.h"

PROGRAM(g_vmx);
extern const u8 g_vmx_fault[], g_vmx_exit[];

struct guest vmx_guest;

u32 vmx_run(enum op op, u64 a, u64 b)
{
	u64 flags;

	LONG(&vmx_guest, 0x500) = op;
	QUAD(0x508) = a;
	QUAD(0x510) = b;
	if (guest_run(&vmx_guest, 2000) != CORBEL_EXIT_IO || vmx_guest.page->io.port != 0x20)
		return STUCK;
	flags = QUAD(0x530) & ALL_FL;
	if (LONG(&vmx_guest, 0x540) != NO_FAULT)
		return LONG(&vmx_guest, 0x540);
	if (LONG(&vmx_guest, 0x544))
		return EXITED;
	if (op >= SET_CR0 && op <= RDMSR)
		return FINE;
	if (flags == ZF)
		return FAILED;
	return flags == CF ? INVALID : flags ? STUCK : FINE;
}

u64 vmx_result(void)
{
	return QUAD(0x538);
}

u64 vmx_field(u32 f)
{
	return vmx_run(VMREAD, f, 0) == FINE ? vmx_result() : ~0ull;
}

bool vmx_set(u32 f, u64 val)
{
	return vmx_run(VMWRITE, f, val) == FINE;
}

u64 vmx_msr(u32 nr)
{
	return vmx_run(RDMSR, nr, 0) < FINE ? ~0ull : vmx_result();
}

static struct corbel_segment segment(u16 sel, u8 type, bool code)
{
	return (struct corbel_segment){.limit = ~0u,
				       .selector = sel,
				       .type = type,
				       .present = 1,
				       .s = 1,
				       .l = code,
				       .db = !code,
				       .g = 1};
}

static bool long_mode(void)
{
	struct corbel_sregs *s = (void *)vmx_guest.data;

	QUAD(TABLES) = TABLES + 0x1003;
	QUAD(TABLES + 0x1000) = TABLES + 0x2003;
	QUAD(TABLES + 0x2000) = 0x83;
	QUAD(GDT + 8) = 0x00af9b000000ffff;
	QUAD(GDT + 16) = 0x00cf93000000ffff;
	for (u64 i = 0; i < 32; i++) {
		u64 at = 0x1000 + (u64)(g_vmx_fault - g_vmx) + i * 8;

		QUAD(IDT + i * 16) = (at & 0xffff) | 8 << 16 | 0x8e00ull << 32 | (at >> 16) << 48;
		QUAD(IDT + i * 16 + 8) = 0;
	}
	if (hc(CORBEL_HC_VCPU_GET, vmx_guest.vcpu, CORBEL_STATE_SREGS, 0) != sizeof(*s))
		return false;
	s->cs = segment(8, 0xb, true);
	s->ds = s->es = s->ss = s->fs = s->gs = segment(16, 3, false);
	s->gdt = (struct corbel_dtable){.base = GDT, .limit = 0x3f};
	s->idt = (struct corbel_dtable){.base = IDT, .limit = 0x1ff};
	s->cr0 = 0x80000031;
	s->cr3 = TABLES;
	s->cr4 = 0x20;
	s->efer = 0x500;
	return !hc(CORBEL_HC_VCPU_SET, vmx_guest.vcpu, CORBEL_STATE_SREGS, sizeof(*s));
}

bool vmx_begin(void)
{
	if (!guest_make(&vmx_guest, 0, CORBEL_VM_LAPIC, g_vmx, g_vmx_end) || !long_mode())
		return false;
	for (u64 gfn = 8; gfn < 16; gfn++)
		if (guest_map(&vmx_guest, gfn, CORBEL_MAP_WRITE | CORBEL_MAP_EXEC) != 1)
			return false;
	return guest_run(&vmx_guest, 2000) == CORBEL_EXIT_IO && vmx_guest.page->io.port == 0x20;
}

#define LIST 0x4800 /* of fields and values, behind the guest's tables */

static bool set_all(const u64 (*f)[2], u32 n)
{
	memcpy(vmx_guest.mem + LIST, f, n * sizeof(*f));
	return vmx_run(FILL, LIST, n) == FINE;
}

bool vmx_setup(const u8 *code, u32 len)
{
	u64 host_exit = 0x1000 + (u64)(g_vmx_exit - g_vmx);
	static u64 f[][2] = {{F_PIN, 0x16},
			     {F_PROC, 0x4006172},
			     {F_PROC2, 0},
			     {F_EXIT, 0x36dfb | BIT(9)},
			     {F_ENTRY, 0x11fb | BIT(9)},
			     {F_EXCEPTIONS, 0},
			     {F_CR3_TARGETS, 0},
			     {F_STORES, 0},
			     {F_LOADS, 0},
			     {F_ENTRY_LOADS, 0},
			     {F_INTR, 0},
			     {F_LINK, ~0ull},
			     {F_DEBUGCTL, 0},
			     {F_CR0, 0x80000031},
			     {F_CR3, TABLES},
			     {F_CR4, 0x2020},
			     {F_CR0_MASK, 0},
			     {F_CR4_MASK, 0},
			     {F_GDTR_BASE, GDT},
			     {F_GDTR_LIMIT, 0x3f},
			     {F_IDTR_BASE, IDT},
			     {F_IDTR_LIMIT, 0x1ff},
			     {F_LDTR_AR, BIT(16)},
			     {F_TR_SEL, 24},
			     {F_TR_AR, 0x8b},
			     {F_TR_SEL + 0x4000, 0x67},
			     {F_BLOCKING, 0},
			     {F_ACTIVITY, 0},
			     {F_PENDING, 0},
			     {F_DR7, 0x400},
			     {F_RSP, L2_STACK},
			     {F_RIP, L2_CODE},
			     {F_RFLAGS, 2},
			     {F_HOST_CR0, 0x80000031},
			     {F_HOST_CR3, TABLES},
			     {F_HOST_CR4, 0x2020},
			     {F_HOST_TR, 24},
			     {F_HOST_TR_BASE, TSS},
			     {F_HOST_GDTR, GDT},
			     {F_HOST_IDTR, IDT},
			     {F_HOST_RSP, 0x6000},
			     {F_HOST_RIP, 0}};
	bool good;

	f[ARRAY_SIZE(f) - 1][1] = host_exit;
	memset(vmx_guest.mem + L2_CODE, 0xcc, PAGE);
	memcpy(vmx_guest.mem + L2_CODE, code, len);
	good = vmx_run(VMCLEAR, VMCS_A, 0) == FINE && vmx_run(VMPTRLD, VMCS_A, 0) == FINE &&
	       set_all(f, ARRAY_SIZE(f));
	for (u32 i = 0; i < 6; i++) { /* ES to GS */
		bool cs = i == 1;
		const u64 seg[][2] = {{F_ES_SEL + i * 2, cs ? 8 : 16},
				      {F_ES_LIMIT + i * 2, ~0u},
				      {F_ES_AR + i * 2, cs ? 0xa09b : 0xc093},
				      {F_HOST_ES + i * 2, cs ? 8 : 16}};

		good &= set_all(seg, ARRAY_SIZE(seg));
	}
	return good;
}

bool vmx_with_proc2(u64 proc, u64 proc2)
{
	return vmx_set(F_PROC, 0x4006172 | proc | PROC_SECOND) && vmx_set(F_PROC2, proc2);
}

bool vmx_exits(enum op op, u32 reason)
{
	u32 said = vmx_run(op, 0, 0);

	if (said == EXITED && vmx_field(F_REASON) == reason)
		return true;
	note("said %x, exit %u, reason %lx qual %lx error %lu rip %lx, not %x", said,
	     vmx_guest.page->exit_reason, vmx_field(F_REASON), vmx_field(F_QUAL),
	     vmx_field(F_INSN_ERROR), vmx_field(F_RIP), reason);
	return false;
}
