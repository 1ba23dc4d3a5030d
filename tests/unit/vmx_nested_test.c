/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Nested guests on VT-x: instructions, entries and exits of a guest that is a hypervisor; that an
 * entry has all of the hypervisor's controls and host state whatever the guest's VMCS says.
 * The VMCS is an array of ours, for which the files that access it are included; the CPU is a
 * function; memory is real: p2m, pool and page tables are linked.
 * links: tests/unit/rest.c hv/vmx/caps.c hv/vmx/decode.c hv/vmx/nested_rules.c hv/vmx/vmcs12.c
 * hv/guest/shadow.c hv/guest/hvm.c hv/guest/inject.c hv/emul/walk.c hv/mm/p2m.c hv/mm/pt.c
 * hv/mm/pool.c hv/mm/frame.c
 */
#include "vmx_guest.h"
#include "hv/vmx/direct.c"
#include "hv/vmx/event.c"
#include "hv/vmx/evmcs.c"
#include "hv/vmx/state.c"
#include "hv/vmx/vmx.c"
#include "hv/vmx/nested.c"
#include "hv/vmx/nested_area.c"
#include "hv/vmx/nested_ept.c"
#include "hv/vmx/nested_event.c"
#include "hv/vmx/nested_run.c"
#include "hv/vmx/nested_state.c"

/* SDM "Processor State After Reset" */
static void test_reset_msrs(void)
{
	begin();
	vmcs[VMCS_GUEST_SYSENTER_CS] = vmcs[VMCS_GUEST_SYSENTER_EIP] = 0x10;
	arch.syscall_msr[0] = 0x20;
	vmx_vcpu_reset(&vcpu, true);
	CHECK(vmcs[VMCS_GUEST_SYSENTER_CS] == 0x10 && vmcs[VMCS_GUEST_SYSENTER_EIP] == 0x10 &&
		  arch.syscall_msr[0] == 0x20,
	      "INIT leaves MSRs alone");
	vmx_vcpu_reset(&vcpu, false);
	CHECK(!vmcs[VMCS_GUEST_SYSENTER_CS] && !vmcs[VMCS_GUEST_SYSENTER_EIP] &&
		  !arch.syscall_msr[0],
	      "RESET does not");
	end();
}

/* In VMX operation, with a VMCS that can be launched. */
static void begin_on(void)
{
	begin();
	insn(EXIT_VMXON, ON_GFN << PAGE_SHIFT);
	insn(EXIT_VMPTRLD, VMCS_GFN << PAGE_SHIFT);
	put12(VMCS_PIN_CONTROLS, 0x16);
	put12(VMCS_PROC_CONTROLS, PROC_MIN);
	put12(VMCS_EXIT_CONTROLS, 0x36dfb | EXIT_HOST_64);
	put12(VMCS_ENTRY_CONTROLS, 0x11fb | ENTRY_GUEST_64);
	put12(VMCS_LINK_POINTER, ~0ull);
	put12(VMCS_GUEST_CR0, CR0_PE | CR0_PG | CR0_NE);
	put12(VMCS_GUEST_CR4, CR4_PAE | CR4_VMXE);
	put12(VMCS_GUEST_RIP, 0x1111);
	put12(VMCS_GUEST_RFLAGS, 2);
	put12(VMCS_HOST_CR0, CR0_PE | CR0_PG | CR0_NE);
	put12(VMCS_HOST_CR4, CR4_PAE | CR4_VMXE);
	put12(VMCS_HOST_CS_SEL, 8);
	put12(VMCS_HOST_TR_SEL, 24);
	put12(VMCS_HOST_RIP, 0x2222);
}

static u32 kicks;

void apic_send_ipi(u32 apic_id, u8 vector)
{
	kicks++;
}

static void does_hlt(void)
{
	vmcs[VMCS_EXIT_REASON] = EXIT_HLT;
}

static void test_insns(void)
{
	begin();
	CHECK(insn(EXIT_VMXOFF, 0) == VEC_UD, "outside of VMX operation VMXOFF is #UD");
	vcpu.rights.vmx = false;
	CHECK(insn(EXIT_VMXON, ON_GFN << PAGE_SHIFT) == VEC_UD, "without VMX so is VMXON");
	vcpu.rights.vmx = true;
	vcpu.in_smm = true;
	CHECK(insn(EXIT_VMXON, ON_GFN << PAGE_SHIFT) == VEC_UD, "or in SMM");
	vcpu.in_smm = false;
	vmcs[VMCS_GUEST_SS_AR] = FIELD_PREP(AR_DPL, 3);
	CHECK(insn(EXIT_VMXON, ON_GFN << PAGE_SHIFT) == VEC_GP, "a program's is #GP");
	vmcs[VMCS_GUEST_SS_AR] = 0;
	vcpu.feature_control = FEATURE_LOCK;
	CHECK(insn(EXIT_VMXON, ON_GFN << PAGE_SHIFT) == VEC_GP, "so is one that is switched off");
	vcpu.feature_control |= FEATURE_VMX;
	CHECK(insn(EXIT_GETSEC, 0) == VEC_UD && insn(EXIT_ENCLS, 0) == VEC_UD,
	      "what exits beside those is #UD");
	insn(EXIT_VMXON, BIT(40));
	CHECK(failed() && vmx_nested(&vcpu)->vmxon == NOWHERE, "a region beyond all is refused");
	CHECK(insn(EXIT_VMXON, ON_GFN << PAGE_SHIFT) == 0xff && !failed() &&
		  vcpu.fixed_cr4 == CR4_VMXE && vmcs[VMCS_CR0_MASK] & CR0_PG,
	      "VMXON, and CR0 and CR4 are fixed");
	insn(EXIT_VMPTRLD, BIT(40) | VMCS_GFN << PAGE_SHIFT);
	CHECK(failed() && vmx_nested(&vcpu)->current == NOWHERE, "a VMCS beyond all is refused");
	insn(EXIT_VMPTRLD, ON_GFN << PAGE_SHIFT);
	CHECK(failed(), "or where VMXON's region is");
	*(u32 *)mem(VMCS_GFN) = 1;
	insn(EXIT_VMPTRLD, VMCS_GFN << PAGE_SHIFT);
	CHECK(failed(), "or of another revision");
	*(u32 *)mem(VMCS_GFN) = VMCS12_REVISION;
	insn(EXIT_VMPTRLD, VMCS_GFN << PAGE_SHIFT);
	CHECK(!failed(), "VMPTRLD");
	p2m_unmap(&guest.p2m, VMCS_GFN, 1);
	insn(EXIT_VMCLEAR, VMCS_GFN << PAGE_SHIFT);
	CHECK(vcpu.stop_reason == CORBEL_EXIT_MEM_FAULT && vmx_nested(&vcpu)->current != NOWHERE,
	      "memory that dom0 has to bring is waited for");
	vmx_nested_ops.off(&vcpu);
	CHECK(vmx_nested(&vcpu)->vmxon == NOWHERE && !vcpu.fixed_cr4 && !vcpu.fixed_cr0,
	      "a VMM that clears CR4.VMXE ends VMX operation");
	end();
}

static void move_smm(bool on, u64 cr4)
{
	vcpu.in_smm = on;
	if (on) /* an SMI changes the registers behind that, RSM before it */
		vmx_set_map(&vcpu);
	hvm->set(&vcpu, HVM_CR4, cr4);
	if (!on)
		vmx_set_map(&vcpu);
}

/* A guest in VMX operation, whose firmware has SMIs. */
static void test_smm(void)
{
	begin_on();
	vcpu.p2m = &guest.p2m;
	move_smm(true, 0);
	CHECK(!vcpu.fixed_cr4 && !vcpu.fixed_cr0 && !(vmcs[VMCS_CR0_MASK] & CR0_PG),
	      "in SMM nothing of CR0 and CR4 is fixed");
	move_smm(false, CR4_PAE | CR4_VMXE);
	CHECK(vmx_nested(&vcpu)->vmxon == ON_GFN << PAGE_SHIFT &&
		  vmx_nested(&vcpu)->current == VMCS_GFN << PAGE_SHIFT &&
		  vcpu.fixed_cr4 == CR4_VMXE && vmcs[VMCS_CR0_MASK] & CR0_PG,
	      "RSM goes back to VMX operation");
	CHECK(insn(EXIT_VMCLEAR, VMCS_GFN << PAGE_SHIFT) == 0xff && !failed(),
	      "whose instructions go on");
	move_smm(true, 0);
	move_smm(false, CR4_PAE);
	CHECK(vmx_nested(&vcpu)->vmxon == NOWHERE && !vcpu.fixed_cr4,
	      "but not without CR4.VMXE, which the firmware has taken out of what was saved");
	begin_on();
	vcpu.p2m = &guest.p2m;
	move_smm(true, 0);
	hvm->set(&vcpu, HVM_CR0, CR0_PE | CR0_NE);
	move_smm(false, CR4_PAE | CR4_VMXE);
	CHECK(vmx_nested(&vcpu)->vmxon == NOWHERE && !vcpu.fixed_cr0, "or CR0.PG");
	end();
}

/* Whatever the guest's VMCS says, the hypervisor's are there. */
static void test_entry(void)
{
	u64 ours[0x7000];
	u32 wrong = 0;

	begin_on();
	memcpy(ours, vmcs, sizeof(ours));
	put12(VMCS_EXCEPTIONS, BIT(VEC_GP));
	put12(VMCS_CR0_MASK, CR0_TS);
	put12(VMCS_CR0_SHADOW, CR0_TS);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode && vcpu.rip == 0x1111, "VMLAUNCH enters the nested guest");
	run_to(NULL);
	for (u32 f = VMCS_HOST_ES_SEL; f <= VMCS_HOST_TR_SEL; f += 2)
		wrong += seen[f] != ours[f];
	for (u32 f = VMCS_HOST_CR0; f <= VMCS_HOST_RIP; f += 2)
		wrong += seen[f] != ours[f];
	CHECK(!wrong && seen[VMCS_HOST_EFER] == 0x7777 && seen[VMCS_HOST_PAT] == 0x7777,
	      "the host state is the hypervisor's");
	CHECK(seen[VMCS_PIN_CONTROLS] == vmx_ctl.pin && seen[VMCS_EXIT_CONTROLS] == vmx_ctl.exit &&
		  seen[VMCS_PROC_CONTROLS] == (vmx_ctl.proc | (PROC_MIN & PROC_HLT)) &&
		  seen[VMCS_PROC2_CONTROLS] ==
		      (vmx_ctl.proc2 & ~(PROC2_RDTSCP | PROC2_INVPCID | PROC2_UNRESTRICTED)),
	      "so are its controls");
	CHECK(seen[VMCS_EXCEPTIONS] == (HVM_OUR_EXCEPTIONS | BIT(VEC_GP)),
	      "exceptions exit for either");
	CHECK(*(u64 *)hpa_to_virt(hpa(seen[VMCS_MSR_BITMAP])) == ~0ull, "all MSRs exit");
	CHECK((seen[VMCS_CR0_MASK] & CR0_MASK) == CR0_MASK && seen[VMCS_CR0_MASK] & CR0_TS &&
		  seen[VMCS_CR0_SHADOW] & CR0_TS &&
		  (seen[VMCS_CR4_MASK] & cr4_mask()) == cr4_mask(),
	      "bits of CR0 and CR4 are held back for either");
	CHECK((seen[VMCS_EPTP] & PAGE_MASK) == guest.p2m.pt.root.v, "its memory is the guest's");
	CHECK(vmcs[VMCS_EXCEPTIONS] == HVM_OUR_EXCEPTIONS &&
		  vmcs[VMCS_PROC_CONTROLS] == vmx_ctl.proc && !(vmcs[VMCS_CR0_MASK] & CR0_TS) &&
		  !(vmcs[VMCS_CR0_SHADOW] & CR0_TS),
	      "after the exit only the hypervisor's are left");
	CHECK(run_to(does_hlt).reason == VMEXIT_HLT && vcpu.guest_mode,
	      "what the guest has not asked for is not its own");
	CHECK(run_to(does_cpuid).reason == VMEXIT_IRQ_WINDOW && !vcpu.guest_mode &&
		  vcpu.rip == 0x2222 && vmcs12_get(m12(), VMCS_EXIT_REASON) == EXIT_CPUID &&
		  vmcs12_get(m12(), VMCS_GUEST_RIP) == 0x3333,
	      "what it has is told by its VMCS, and it goes on where that says");
	run_to(NULL);
	CHECK(seen[VMCS_MSR_BITMAP] == virt_to_hpa(guest.msr_map).v &&
		  seen[VMCS_EXCEPTIONS] == HVM_OUR_EXCEPTIONS &&
		  seen[VMCS_PROC2_CONTROLS] == vmx_ctl.proc2,
	      "its own entries are as before");
	guest.msr_map += 2 * PAGE_SIZE;
	guest.p2m.tlb_gen++;
	run_to(NULL);
	CHECK(seen[VMCS_MSR_BITMAP] == virt_to_hpa(guest.msr_map).v,
	      "by another map of MSRs from the next flush on");
	guest.msr_map -= 2 * PAGE_SIZE;
	end();
}

/* Tables of one page each, for the first 2 MiB; a page of the nested guest's, and the guest's gfn
 * of it */
#define EPT_ROOT 8ull
#define ITS_PAGE 5ull
#define ITS_GFN	 14ull

static void reads_its_page(void)
{
	vmcs[VMCS_EXIT_REASON] = EXIT_EPT_VIOLATION;
	vmcs[VMCS_QUALIFICATION] = QUAL_EPT_READ;
	vmcs[VMCS_GUEST_PHYSICAL] = ITS_PAGE << PAGE_SHIFT;
}

static void test_shadow_root(void)
{
	static struct corbel_nested s;
	struct pt_leaf leaf;
	u64 gen;

	begin_on();
	for (u64 i = 0; i < 3; i++)
		*(u64 *)mem(EPT_ROOT + i) = (EPT_ROOT + i + 1) << PAGE_SHIFT | 7;
	((u64 *)mem(EPT_ROOT + 3))[ITS_PAGE] = ITS_GFN << PAGE_SHIFT | 7 | 6 << 3;
	put12(VMCS_PROC_CONTROLS, PROC_MIN | PROC_SECONDARY);
	put12(VMCS_PROC2_CONTROLS, PROC2_EPT);
	put12(VMCS_EPTP, EPT_ROOT << PAGE_SHIFT | EPTP_WB_WALK_4);
	vmx_ctl.ept_ad = true;
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode && vcpu.nested_paging, "VMLAUNCH with EPT");
	run_to(NULL);
	CHECK((seen[VMCS_EPTP] & PAGE_MASK) == vcpu.shadow->pt.root.v &&
		  vcpu.shadow->pt.root.v != guest.p2m.pt.root.v,
	      "the nested guest's memory is the shadow's");
	CHECK(!(seen[VMCS_EPTP] & EPTP_AD),
	      "with no flags to be set, for which its page tables would have to be writable");
	run_to(reads_its_page);
	pt_lookup(&vcpu.shadow->pt, ITS_PAGE, &leaf);
	CHECK(vcpu.guest_mode && leaf.kind == PT_LEAF, "which has what it has read");
	CHECK(!vmx_nested_get_state(&vcpu, &s) && !vmx_nested_set_state(&vcpu, &s),
	      "(its VMM restores it, and memory)");
	pt_lookup(&vcpu.shadow->pt, ITS_PAGE, &leaf);
	CHECK(vcpu.guest_mode && leaf.kind != PT_LEAF, "and not of what another state has read");
	run_to(reads_its_page);
	gen = vcpu.shadow->gen;
	p2m_unmap(&guest.p2m, ITS_GFN, 1);
	invepts = 0;
	run_to(NULL);
	CHECK(vcpu.shadow->gen != gen && invepts == 1 &&
		  (seen[VMCS_EPTP] & PAGE_MASK) == vcpu.shadow->pt.root.v,
	      "it follows the VM's memory, with a flush");
	pt_lookup(&vcpu.shadow->pt, ITS_PAGE, &leaf);
	CHECK(leaf.kind != PT_LEAF, "and has nothing more of what was taken from that");
	run_to(does_cpuid);
	run_to(NULL);
	CHECK((seen[VMCS_EPTP] & PAGE_MASK) == guest.p2m.pt.root.v && invepts == 2,
	      "outside of guest mode the guest has its own, with a flush");
	CHECK(seen[VMCS_EPTP] & EPTP_AD, "and with flags");
	end();
}

static void test_events(void)
{
	begin_on();
	put12(VMCS_PIN_CONTROLS, 0x16 | PIN_EXT_INTR | PIN_NMI | PIN_VNMI);
	put12(VMCS_EXIT_CONTROLS, 0x36dfb | EXIT_HOST_64 | EXIT_ACK_INTR);
	put12(VMCS_ENTRY_INTR_INFO, EVT_VALID | 3 << 8 | VEC_UD);
	insn(EXIT_VMLAUNCH, 0);
	irq = 0x55;
	CHECK(!vmx_nested_ops.event(&vcpu), "an injection comes first");
	run_to(NULL);
	CHECK(seen[VMCS_ENTRY_INTR_INFO] == (EVT_VALID | 3 << 8 | VEC_UD), "it is in the entry");
	CHECK(vcpu.irq_injected == false && irq == 0x55, "and nothing else is");
	CHECK(vmx_nested_ops.event(&vcpu) && !vcpu.guest_mode && accepted == 0x55 &&
		  vmcs12_get(m12(), VMCS_EXIT_REASON) == EXIT_EXT_INTR &&
		  vmcs12_get(m12(), VMCS_EXIT_INTR_INFO) == (EVT_VALID | 0x55),
	      "then an interrupt ends guest mode");
	insn(EXIT_VMRESUME, 0);
	vcpu.due |= DUE_EXTINT;
	pic_vector = 0x24;
	CHECK(vmx_nested_ops.event(&vcpu) && pic_asked == 1 && vmx_nested_ops.event(&vcpu) &&
		  !vcpu.guest_mode && vcpu.user_irq < 0 &&
		  vmcs12_get(m12(), VMCS_EXIT_INTR_INFO) == (EVT_VALID | 0x24),
	      "so does one of the PIC, which is acknowledged");
	insn(EXIT_VMRESUME, 0);
	vcpu.due |= DUE_EXTINT;
	pic_vector = 0;
	CHECK(vmx_nested_ops.event(&vcpu) && !vmx_nested_ops.event(&vcpu) && vcpu.guest_mode,
	      "and asks no more if there is none, or dom0 has to be asked for it");
	vcpu.nmi_pending = true;
	CHECK(vmx_nested_ops.event(&vcpu) && vcpu.nmi_masked && !vcpu.nmi_pending,
	      "an NMI does, and masks others");
	insn(EXIT_VMRESUME, 0);
	vcpu.nmi_pending = true;
	CHECK(!vmx_nested_ops.event(&vcpu) && vcpu.guest_mode, "which wait");
	run_to(NULL);
	CHECK(!(seen[VMCS_PROC_CONTROLS] & PROC_NMI_WINDOW),
	      "without a window, which would be open");
	CHECK(vmx_nested_ops.holds_smi(&vcpu), "in guest mode an SMI waits");
	vcpu.nmi_pending = false;
	vcpu_inject_exception(&vcpu, VEC_GP, true, 8);
	CHECK(!vmx_nested_ops.event(&vcpu), "an exception is the nested guest's");
	put12(VMCS_EXCEPTIONS, BIT(VEC_GP));
	CHECK(vmx_nested_ops.event(&vcpu) && !vcpu.exception.pending &&
		  vmcs12_get(m12(), VMCS_EXIT_INTR_INFO) ==
		      (EVT_VALID | EVT_HAS_ERROR | 3 << 8 | VEC_GP) &&
		  vmcs12_get(m12(), VMCS_EXIT_INTR_ERROR) == 8,
	      "or the guest's, if it has asked for it");
	end();
}

static void test_behind_injection(void)
{
	begin_on();
	put12(VMCS_PIN_CONTROLS, 0x16 | PIN_EXT_INTR | PIN_NMI | PIN_VNMI);
	insn(EXIT_VMLAUNCH, 0);
	run_to(NULL);
	kicks = 0;
	vcpu_inject_exception(&vcpu, VEC_GP, true, 8);
	run_to(NULL);
	CHECK(seen[VMCS_ENTRY_INTR_INFO] & EVT_VALID && !kicks, "an exception of ours alone");
	vcpu_inject_exception(&vcpu, VEC_GP, true, 8);
	vcpu.nmi_pending = true;
	run_to(NULL);
	CHECK(seen[VMCS_ENTRY_INTR_INFO] & EVT_VALID && kicks == 1,
	      "behind it what ends guest mode does not wait for another exit");
	vcpu.nmi_pending = false;
	end();
}

/* SDM "Other Causes of VM Exits" */
static void test_init(void)
{
	begin();
	CHECK(!vmx_nested_ops.holds_init(&vcpu), "INIT comes");
	end();
	begin_on();
	CHECK(vmx_nested_ops.holds_init(&vcpu), "in VMX operation it is blocked");
	put12(VMCS_ENTRY_INTR_INFO, EVT_VALID | 3 << 8 | VEC_UD);
	vcpu.init_latched = true;
	insn(EXIT_VMLAUNCH, 0);
	kicks = 0;
	CHECK(!vmx_nested_ops.event(&vcpu), "in guest mode it ends that, behind an injection");
	run_to(NULL);
	CHECK(kicks == 1, "right behind");
	CHECK(vmx_nested_ops.event(&vcpu) && !vcpu.guest_mode && !vcpu.init_latched &&
		  vmcs12_get(m12(), VMCS_EXIT_REASON) == EXIT_INIT,
	      "which is all that comes of it");
	vcpu.init_latched = true;
	vcpu.due = 0;
	insn(EXIT_VMXOFF, 0);
	CHECK(vcpu.due & DUE_LOOK && !vmx_nested_ops.holds_init(&vcpu), "VMXOFF lets it in");
	end();
}

void vcpu_halt(struct vcpu *v)
{
	v->mp_state = MP_HALTED;
}

/* The CPU checks of segments and CR0 what the guest has not switched off. */
static void test_unrestricted(void)
{
	begin_on();
	put12(VMCS_PROC_CONTROLS, PROC_MIN | PROC_SECONDARY);
	put12(VMCS_PROC2_CONTROLS, PROC2_EPT);
	put12(VMCS_EPTP, EPT_ROOT << PAGE_SHIFT | EPTP_WB_WALK_4);
	insn(EXIT_VMLAUNCH, 0);
	run_to(NULL);
	CHECK(!(seen[VMCS_PROC2_CONTROLS] & PROC2_UNRESTRICTED) &&
		  seen[VMCS_PROC2_CONTROLS] & PROC2_EPT,
	      "a nested guest that is not unrestricted is checked as such");
	run_to(does_cpuid);
	run_to(NULL);
	CHECK(seen[VMCS_PROC2_CONTROLS] & PROC2_UNRESTRICTED, "its host is unrestricted");
	put12(VMCS_PROC2_CONTROLS, PROC2_EPT | PROC2_UNRESTRICTED);
	insn(EXIT_VMRESUME, 0);
	run_to(NULL);
	CHECK(vcpu.guest_mode && seen[VMCS_PROC2_CONTROLS] & PROC2_UNRESTRICTED,
	      "as is one for which that is asked");
	end();
}

#define PAE_GFN 7ull

static bool failed_entry(u64 qual)
{
	return !vcpu.guest_mode && vcpu.rip == 0x2222 &&
	       vmcs12_get(m12(), VMCS_EXIT_REASON) == (EXIT_ENTRY_FAILED | EXIT_BAD_GUEST) &&
	       vmcs12_get(m12(), VMCS_QUALIFICATION) == qual;
}

static void test_pdptes(void)
{
	u64 *e = mem(PAE_GFN);

	begin_on();
	put12(VMCS_ENTRY_CONTROLS, 0x11fb);
	put12(VMCS_GUEST_CR3, PAE_GFN << PAGE_SHIFT | 0x20 | 0x1f);
	e[0] = BIT(0) | BIT(1); /* not there that CR3 says */
	e[4] = BIT(0) | 0x1000;
	e[7] = BIT(0) | 0x2000;
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode, "a nested guest with PAE is entered");
	pt_frames_end = 0x1000;
	run_to(NULL);
	CHECK(seen[VMCS_GUEST_PDPTE0] == e[4] && seen[VMCS_GUEST_PDPTE0 + 6] == e[7],
	      "with the entries that are where CR3 says");
	run_to(does_cpuid);
	e[7] |= BIT(6);
	insn(EXIT_VMRESUME, 0);
	CHECK(failed_entry(QUAL_PDPTES), "not with a reserved bit in one,");
	e[7] = BIT(0) | BIT(40);
	insn(EXIT_VMRESUME, 0);
	CHECK(failed_entry(QUAL_PDPTES), "or one beyond all addresses");
	put12(VMCS_GUEST_CR4, BIT(63));
	insn(EXIT_VMRESUME, 0);
	CHECK(failed_entry(0), "what else is wrong comes first");
	put12(VMCS_GUEST_CR4, CR4_PAE | CR4_VMXE);
	p2m_unmap(&guest.p2m, PAE_GFN, 1);
	vcpu.rip = 0x5000;
	insn(EXIT_VMRESUME, 0);
	CHECK(!vcpu.guest_mode && vcpu.rip == 0x5000 && vcpu.stop_reason == CORBEL_EXIT_MEM_FAULT,
	      "if dom0 has to bring them they are waited for");
	end();
}

static void halts(u64 proc, u64 info)
{
	vcpu.mp_state = MP_RUNNABLE;
	put12(VMCS_ACTIVITY, 1);
	put12(VMCS_PROC_CONTROLS, PROC_MIN | proc);
	put12(VMCS_ENTRY_INTR_INFO, info);
	insn(m12()->launched ? EXIT_VMRESUME : EXIT_VMLAUNCH, 0);
}

static void test_halt(void)
{
	begin_on();
	put12(VMCS_PROC_CONTROLS, PROC_MIN & ~PROC_HLT);
	put12(VMCS_PIN_CONTROLS, 0x16 | PIN_EXT_INTR | PIN_NMI | PIN_VNMI);
	put12(VMCS_GUEST_RFLAGS, 2 | RFLAGS_IF);
	halts(0, 0);
	CHECK(vcpu.guest_mode && vcpu.mp_state == MP_HALTED, "an entry to HLT");
	irq = 0x55;
	CHECK(vmx_nested_ops.event(&vcpu) && !vcpu.guest_mode &&
		  vmcs12_get(m12(), VMCS_ACTIVITY) == 1,
	      "an interrupt that exits is told with HLT");
	irq = -1;
	halts(0, EVT_VALID | 3 << 8 | VEC_DB);
	CHECK(vcpu.guest_mode && vcpu.mp_state == MP_RUNNABLE, "what is injected ends it at once");
	run_to(does_cpuid);
	CHECK(!vcpu.guest_mode && !vmcs12_get(m12(), VMCS_ACTIVITY), "an exit tells of none");
	halts(PROC_INTR_WINDOW, 0);
	CHECK(vcpu.guest_mode && vcpu.mp_state == MP_RUNNABLE, "so does an open window");
	run_to(does_cpuid);
	halts(PROC_NMI_WINDOW, 0);
	CHECK(vcpu.guest_mode && vcpu.mp_state == MP_RUNNABLE, "be it for NMIs");
	run_to(does_cpuid);
	put12(VMCS_INTERRUPTIBILITY, BLOCKED_NMI);
	halts(PROC_NMI_WINDOW, 0);
	CHECK(vcpu.mp_state == MP_HALTED, "but not one that is shut");
	vmx_nested_off(&vcpu);
	end();

	begin_on();
	put12(VMCS_PROC_CONTROLS, (PROC_MIN & ~PROC_HLT) | PROC_INTR_WINDOW);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(run_to(does_hlt).reason == VMEXIT_HLT && vcpu.guest_mode, "HLT with IF clear halts");
	vcpu.rflags |= RFLAGS_IF;
	CHECK(run_to(does_hlt).reason == VMEXIT_IRQ_WINDOW && vcpu.guest_mode,
	      "with a window that opens behind it it ends at once");
	vcpu.mp_state = MP_HALTED;
	vcpu_inject_exception(&vcpu, VEC_DB, false, 0);
	put12(VMCS_EXCEPTIONS, BIT(VEC_DB));
	CHECK(vmx_nested_ops.event(&vcpu) && !vmcs12_get(m12(), VMCS_ACTIVITY),
	      "nor is one halted whose HLT was stepped over");
	CHECK(vcpu.mp_state == MP_RUNNABLE, "and the guest itself runs");
	end();
	begin_on();
	put12(VMCS_ACTIVITY, 1);
	put12(VMCS_PENDING_DEBUG, DR6_BS);
	put12(VMCS_GUEST_RFLAGS, 2 | RFLAGS_TF);
	vcpu.mp_state = MP_RUNNABLE;
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode && vcpu.mp_state == MP_RUNNABLE,
	      "a step that waits ends it before it has begun");
	end();
}

/* What is given up before the hardware has seen anything of it */
static void test_given_up(void)
{
	begin_on();
	arch.direct = arch.vid = true;
	vmcs[VMCS_PIN_CONTROLS] = PIN_POSTED;
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS;
	put12(VMCS_ACTIVITY, 7);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(!vcpu.guest_mode && !arch.direct && !arch.vid && vcpu.lapic.hw_stale &&
		  !(vmcs[VMCS_PIN_CONTROLS] & PIN_POSTED) && !vmcs[VMCS_PENDING_DEBUG],
	      "a refused entry leaves the APIC to software until the next one");
	end();
	begin_on();
	insn(EXIT_VMLAUNCH, 0);
	vcpu.stopped = 1;
	vcpu.due = 0;
	vcpu_shutdown(&vcpu);
	CHECK(vcpu.guest_mode && vcpu.due & DUE_TRIPLE,
	      "a triple fault by the VMM comes when the vCPU runs");
	vcpu.stopped = vcpu.due = 0;
	end();
}

/* What waits for the end of a shadow */
static void test_pending_debug(void)
{
	static struct corbel_nested s;
	u64 breaks = BIT(12) | BIT(0);

	begin_on();
	put12(VMCS_INTERRUPTIBILITY, SHADOW_MOV_SS);
	put12(VMCS_PENDING_DEBUG, DR6_BS | breaks);
	put12(VMCS_GUEST_RFLAGS, 2 | RFLAGS_TF);
	insn(EXIT_VMLAUNCH, 0);
	run_to(NULL);
	CHECK(vcpu.guest_mode && seen[VMCS_PENDING_DEBUG] == (DR6_BS | breaks) &&
		  seen[VMCS_INTERRUPTIBILITY] == SHADOW_MOV_SS,
	      "breakpoints that wait behind MOV SS stay, with the step");
	arch.shadow = SHADOW_MOV_SS;
	vmcs[VMCS_PENDING_DEBUG] = breaks;
	CHECK(!vmx_nested_get_state(&vcpu, &s) &&
		  vmcs12_get((void *)s.vmcb, VMCS_PENDING_DEBUG) == (DR6_BS | breaks),
	      "a state has the step that the next entry will have");
	vmx_nested_off(&vcpu);
	CHECK(!vmx_nested_set_state(&vcpu, &s), "and is restored");
	put12(VMCS_EXCEPTIONS, BIT(VEC_DB));
	vmcs[VMCS_PENDING_DEBUG] = DR6_BS | breaks;
	vcpu_inject_exception(&vcpu, VEC_DB, false, 0);
	CHECK(vmx_nested_ops.event(&vcpu) &&
		  vmcs12_get(m12(), VMCS_QUALIFICATION) == (DR6_BS | BIT(0)) &&
		  !vmcs12_get(m12(), VMCS_PENDING_DEBUG),
	      "a step that is emulated exits with what waited, and nothing waits any more");
	end();
}

static void locks_the_bus(void)
{
	vmcs[VMCS_EXIT_REASON] = BIT(26) | EXIT_CPUID;
}

static void test_bus_lock(void)
{
	begin_on();
	insn(EXIT_VMLAUNCH, 0);
	run_to(locks_the_bus);
	CHECK(!vcpu.guest_mode && vmcs12_get(m12(), VMCS_EXIT_REASON) == EXIT_CPUID,
	      "that an exit follows a bus lock is ours to know");
	end();
}

/* DEBUGCTL is taken, does nothing, and is stored as it was; DR7 is loaded and stored if its control
 * says so. */
static void test_debug_controls(void)
{
	begin_on();
	vmx_set(&vcpu, HVM_DR7, 0x402);
	put12(VMCS_GUEST_DR7, 0x404);
	put12(VMCS_GUEST_DEBUGCTL, 2);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode && vmx_get(&vcpu, HVM_DR7) == 0x402, "DR7 is not loaded");
	run_to(does_cpuid);
	CHECK(vmx_get(&vcpu, HVM_DR7) == 0x400 && vmcs12_get(m12(), VMCS_GUEST_DR7) == 0x404 &&
		  vmcs12_get(m12(), VMCS_GUEST_DEBUGCTL) == 2,
	      "nor is anything stored");
	put12(VMCS_ENTRY_CONTROLS, 0x11ff | ENTRY_GUEST_64);
	put12(VMCS_EXIT_CONTROLS, 0x36dff | EXIT_HOST_64);
	insn(EXIT_VMRESUME, 0);
	run_to(NULL);
	CHECK(vcpu.guest_mode && seen[VMCS_GUEST_DR7] == 0x404 && !seen[VMCS_GUEST_DEBUGCTL],
	      "by its control it is, and DEBUGCTL is taken");
	run_to(does_cpuid);
	CHECK(vmcs12_get(m12(), VMCS_GUEST_DR7) == 0x404 &&
		  vmcs12_get(m12(), VMCS_GUEST_DEBUGCTL) == 2,
	      "and stored, as it was");
	put12(VMCS_GUEST_DEBUGCTL, BIT(2));
	insn(EXIT_VMRESUME, 0);
	CHECK(failed_entry(0), "a bit that it has not is refused");
	end();
}

static void test_areas(void)
{
	struct vmx_area *area = mem(5);

	begin_on();
	area[0] = (struct vmx_area){.index = 0x174, .value = 0x99};
	put12(VMCS_ENTRY_MSR_LOADS, 1);
	put12(VMCS_ENTRY_MSR_LOAD, 5 << PAGE_SHIFT);
	put12(VMCS_EXIT_MSR_STORES, 2);
	put12(VMCS_EXIT_MSR_STORE, (5 << PAGE_SHIFT) + 32);
	area[2].index = 0x175;
	area[3].index = MSR_TSC;
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode && written[0] == 0x174 && written[1] == 0x99, "MSRs are loaded");
	p2m_unmap(&guest.p2m, 5, 1);
	run_to(does_cpuid);
	CHECK(vcpu.guest_mode && vcpu.complete && vcpu.stop_reason == CORBEL_EXIT_MEM_FAULT,
	      "an exit whose area has gone stops for it");
	vcpu.stop_reason = 0;
	p2m_map(&guest.p2m, 5, FIRST + 5, 0, RIGHTS);
	vcpu.complete(&vcpu);
	CHECK(!vcpu.guest_mode && area[2].value == 0x1175, "and stores MSRs then");
	CHECK(area[3].value == 0x101010, "and the guest's TSC, not the nested guest's");
	for (u32 i = 0; i < 4; i++) {
		static const u32 bad[] = {0x9999, MSR_FS_BASE, MSR_GS_BASE, MSR_X2APIC + 8};

		area[0].index = bad[i];
		insn(EXIT_VMRESUME, 0);
		CHECK(!vcpu.guest_mode && vcpu.rip == 0x2222 &&
			  vmcs12_get(m12(), VMCS_EXIT_REASON) ==
			      (EXIT_ENTRY_FAILED | EXIT_BAD_MSR) &&
			  vmcs12_get(m12(), VMCS_QUALIFICATION) == 1,
		      "MSR %x fails the entry", bad[i]);
	}
	end();
}

static u32 denied_msr, denied_how;

bool msr_filter_allows(const struct msr_filter *f, u32 msr, u32 how)
{
	return msr != denied_msr || !(how & denied_how);
}

/* What its VMM keeps from the guest is not to be had by way of the areas either. */
static void test_filter(void)
{
	struct vmx_area *area = mem(5);

	begin_on();
	area[0] = (struct vmx_area){.index = 0x174, .value = 0x99};
	area[1] = (struct vmx_area){.index = 0x175};
	put12(VMCS_ENTRY_MSR_LOADS, 1);
	put12(VMCS_ENTRY_MSR_LOAD, 5 << PAGE_SHIFT);
	put12(VMCS_EXIT_MSR_STORES, 1);
	put12(VMCS_EXIT_MSR_STORE, (5 << PAGE_SHIFT) + 16);
	guest.msr_filter.on = true;
	denied_msr = 0x174;
	denied_how = CORBEL_MSR_WRITE;
	written[0] = 0;
	insn(EXIT_VMLAUNCH, 0);
	CHECK(!vcpu.guest_mode && !written[0] &&
		  vmcs12_get(m12(), VMCS_EXIT_REASON) == (EXIT_ENTRY_FAILED | EXIT_BAD_MSR),
	      "an MSR that the VMM denies fails the entry");
	denied_how = CORBEL_MSR_READ;
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode && written[0] == 0x174, "not where it denies to read it");
	denied_msr = 0x175;
	run_to(does_cpuid);
	CHECK(!vcpu.guest_mode && !area[1].value && vcpu.stop_reason == CORBEL_EXIT_SHUTDOWN,
	      "one that it denies to read is not stored, which ends the guest");
	guest.msr_filter.on = false;
	denied_msr = 0;
	end();
}

/* What takes the CPU a microsecond is done once, however often an area asks for it. */
static void test_commands(void)
{
	struct vmx_area *area = mem(5);

	begin_on();
	for (u32 i = 0; i < 256; i++)
		area[i] = (struct vmx_area){.index = i & 1 ? MSR_FLUSH_CMD : MSR_PRED_CMD,
					    .value = i > 3};
	put12(VMCS_ENTRY_MSR_LOADS, 256);
	put12(VMCS_ENTRY_MSR_LOAD, 5 << PAGE_SHIFT);
	commands = 0;
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode && commands == 2 && written[0] == MSR_FLUSH_CMD,
	      "an area's many commands are one of each");
	end();
}

static void test_state(void)
{
	static struct corbel_nested s, wrong;

	begin_on();
	CHECK(!vmx_nested_get_state(&vcpu, &s) && !s.flags && s.vmxon_pa == ON_GFN << PAGE_SHIFT &&
		  s.vmcb_pa == VMCS_GFN << PAGE_SHIFT,
	      "the state of a guest in VMX operation");
	insn(EXIT_VMLAUNCH, 0);
	run_to(NULL);
	vcpu.rip = 0x4444;
	CHECK(!vmx_nested_get_state(&vcpu, &s) && s.flags == CORBEL_NESTED_GUEST_MODE &&
		  vmcs12_get((void *)s.vmcb, VMCS_GUEST_RIP) == 0x4444,
	      "and in guest mode, with what its guest is then");
	vmx_nested_off(&vcpu);
	CHECK(!vmx_nested_set_state(&vcpu, &s) && vcpu.guest_mode && vcpu.rip == 0x4444,
	      "is restored");
#define WRONG(change, what)                                                                        \
	do {                                                                                       \
		wrong = s;                                                                         \
		change;                                                                            \
		CHECK(vmx_nested_set_state(&vcpu, &wrong) == -EINVAL, "not " what);                \
	} while (0)
	WRONG(wrong.flags |= CORBEL_NESTED_GIF, "with a flag of SVM");
	WRONG(wrong.vmxon_pa = NOWHERE, "in guest mode without VMXON");
	WRONG(wrong.vmcb_pa = NOWHERE, "or without a VMCS");
	WRONG(wrong.vmxon_pa += 8, "with a region that is not aligned");
	WRONG(wrong.vmcb_pa = BIT(40), "or beyond all");
	WRONG(wrong.vmcb_pa = wrong.vmxon_pa, "or both at one place");
	WRONG(wrong.vmcb[0] ^= 1, "with another revision");
	WRONG(vmcs12_set((void *)wrong.vmcb, VMCS_PIN_CONTROLS, 0),
	      "with controls that are refused");
	WRONG(vmcs12_set((void *)wrong.vmcb, VMCS_HOST_CR4, CR4_PAE), "or host state");
	WRONG(vmcs12_set((void *)wrong.vmcb, VMCS_GUEST_CR4, BIT(63)), "or guest state");
	vcpu.rights.vmx = false;
	WRONG((void)0, "without VMX");
	end();
}

/* An exit waits for memory; meanwhile another state comes, and an unchecked VMCS with it. */
static void test_state_meanwhile(void)
{
	static struct corbel_nested s;

	begin_on();
	put12(VMCS_EXIT_MSR_STORES, 1);
	put12(VMCS_EXIT_MSR_STORE, 5 << PAGE_SHIFT);
	insn(EXIT_VMLAUNCH, 0);
	p2m_unmap(&guest.p2m, 5, 1);
	run_to(does_cpuid);
	CHECK(vmx_nested_is_leaving(&vcpu) && vmx_nested_get_state(&vcpu, &s) == -EAGAIN,
	      "while an exit is under way there is no state to be had");
	s = (struct corbel_nested){.vmxon_pa = ON_GFN << PAGE_SHIFT,
				   .vmcb_pa = VMCS_GFN << PAGE_SHIFT};
	((struct vmcs12 *)s.vmcb)->revision = VMCS12_REVISION;
	CHECK(!vmx_nested_set_state(&vcpu, &s) && !vcpu.guest_mode && !vcpu.complete,
	      "but one can be set, and the exit is void");
	end();
}

/* An entry that ends in VMfail leaves all as it was, the event to be injected among it. */
static void test_refused(void)
{
	begin();
	vcpu.nmi_pending = cpu_refuses = true;
	CHECK(run_to(NULL).reason == VMEXIT_ENTRY_FAIL && seen[VMCS_ENTRY_INTR_INFO] & EVT_VALID,
	      "an entry with an NMI is refused");
	cpu_refuses = false;
	CHECK(!vcpu.nmi_masked, "the NMI has not come");
	CHECK(!(vmcs[VMCS_ENTRY_INTR_INFO] & EVT_VALID) && vcpu.nmi_injected, "and waits again");
	run_to(NULL);
	CHECK(seen[VMCS_ENTRY_INTR_INFO] & EVT_VALID && !seen[VMCS_INTERRUPTIBILITY],
	      "for the next entry");
	vmcs[VMCS_INTERRUPTIBILITY] = 0;
	run_to(NULL);
	CHECK(!(seen[VMCS_ENTRY_INTR_INFO] & EVT_VALID), "and comes once");
	vcpu.nmi_masked = true;
	run_to(NULL);
	CHECK(seen[VMCS_INTERRUPTIBILITY] == BLOCKED_NMI, "which can have NMIs blocked");
	end();
}

/* SDM "VM-Entry Failures During or After Loading Guest State": of the exit's fields but two. */
static void fails(void)
{
	vmcs[VMCS_EXIT_REASON] = EXIT_ENTRY_FAILED | EXIT_BAD_GUEST;
	vmcs[VMCS_ENTRY_INTR_INFO] = seen[VMCS_ENTRY_INTR_INFO];
	vmcs[VMCS_IDT_INFO] = hvm_event(HVM_INJ_IRQ, 0x55, false);
}

static void fails_by_mc(void)
{
	fails();
	vmcs[VMCS_EXIT_REASON] = EXIT_ENTRY_FAILED | EXIT_ENTRY_MC;
}

static void test_failed(void)
{
	begin();
	CHECK(run_to(fails).reason == VMEXIT_ENTRY_FAIL && !vcpu.irq_injected,
	      "where an entry fails, an event that an exit has told of before is not told again");
	vcpu.rflags |= RFLAGS_IF;
	vcpu.irq_injected = true;
	vcpu.irq_vector = 0x66;
	CHECK(run_to(fails_by_mc).exc.vector == VEC_MC && vcpu.irq_injected &&
		  vcpu.irq_vector == 0x66 && !(vmcs[VMCS_ENTRY_INTR_INFO] & EVT_VALID),
	      "and that which was to be injected is not lost");
	vcpu.irq_injected = false;
	vcpu_inject_exception(&vcpu, VEC_PF, true, 5);
	run_to(fails);
	CHECK(vcpu.exception.pending && vcpu.exception.has_error && vcpu.exception.error == 5,
	      "with its error code");
	end();

	begin_on();
	put12(VMCS_ENTRY_INTR_INFO, EVT_VALID | 4 << 8 | 0x80);
	put12(VMCS_ENTRY_INSN_LEN, 2);
	insn(EXIT_VMLAUNCH, 0);
	vmcs[VMCS_EXIT_INSN_LEN] = 7; /* of the exit before, which a failed entry leaves */
	run_to(fails_by_mc);
	memset(seen, 0, sizeof(seen));
	run_to(NULL);
	CHECK(vcpu.guest_mode && seen[VMCS_ENTRY_INTR_INFO] == (EVT_VALID | 4 << 8 | 0x80) &&
		  seen[VMCS_ENTRY_INSN_LEN] == 2,
	      "a nested guest's INT n comes again, with its own length (%u)",
	      (u32)seen[VMCS_ENTRY_INSN_LEN]);
	end();
}

/* Its four top entries, where the memory that has them is dom0's to bring */
static void test_own_pdptes(void)
{
	u64 *e = mem(PAE_GFN);

	begin();
	pt_frames_end = 0x1000;
	vmx_set(&vcpu, HVM_EFER, 0);
	vmx_set(&vcpu, HVM_CR3, PAE_GFN << PAGE_SHIFT | 0x20);
	e[4] = BIT(0) | 0x1000;
	p2m_unmap(&guest.p2m, PAE_GFN, 1);
	vcpu.nmi_pending = true;
	memset(seen, 0, sizeof(seen));
	CHECK(run_to(NULL).reason == VMEXIT_IRQ_WINDOW && !seen[VMCS_EXIT_CONTROLS] &&
		  vcpu.stop_reason == CORBEL_EXIT_MEM_FAULT,
	      "a guest with PAE is not entered before they are there");
	CHECK(vcpu.nmi_injected && !vcpu.nmi_masked && !(vmcs[VMCS_ENTRY_INTR_INFO] & EVT_VALID),
	      "and its NMI waits");
	vcpu.stop_reason = CORBEL_EXIT_NONE;
	BUG_ON(p2m_map(&guest.p2m, PAE_GFN, FIRST + PAE_GFN, 0, RIGHTS));
	run_to(NULL);
	CHECK(seen[VMCS_GUEST_PDPTE0] == e[4] && seen[VMCS_ENTRY_INTR_INFO] & EVT_VALID,
	      "then it is, with both");
	vmx_set(&vcpu, HVM_CR3, 0x100000);
	BUG_ON(p2m_set_mmio(&guest.p2m, 0x100, 0));
	CHECK(run_to(NULL).reason == VMEXIT_INTR && !seen[VMCS_GUEST_PDPTE0],
	      "in a device there are none");
	end();
}

#define IN_HIGH(bits) ((u64)(bits) << 32)

/* Of a VMM's write of the n-th VMX MSR, without what it hides and with what it claims. */
static int write_cap(u32 n, u64 hides, u64 claims)
{
	u64 is;

	BUG_ON(vmx_msr_get(&vcpu, MSR_VMX_BASIC + n, &is));
	return vmx_msr_set(&vcpu, MSR_VMX_BASIC + n, (is & ~hides) | claims);
}

static bool cap_has(u32 n, u64 bits)
{
	u64 is;

	return !vmx_msr_get(&vcpu, MSR_VMX_BASIC + n, &is) && (is & bits) == bits;
}

/* A VMM writes these as its model of a CPU has them. */
static void test_hidden(void)
{
	bool good = true;
	u64 any;

	begin();
	for (u32 n = 0; n < NESTED_CAPS; n++)
		good &= !write_cap(n, 0, 0);
	CHECK(good, "VMX MSRs are written as they are,");
	CHECK(!write_cap(14, IN_HIGH(PROC_HLT), 0) && !cap_has(14, IN_HIGH(PROC_HLT)) &&
		  !cap_has(2, IN_HIGH(PROC_HLT)) && cap_has(2, IN_HIGH(PROC_MWAIT)),
	      "or with less, which is seen in both that tell of it");
	CHECK(!write_cap(2, 0, 0), "and may be written again");
	CHECK(!write_cap(14, 0, IN_HIGH(PROC_HLT)) && cap_has(2, IN_HIGH(PROC_HLT)),
	      "the VMM may think better of it");
	CHECK(write_cap(14, 0, IN_HIGH(BIT(17))) == -EINVAL &&
		  write_cap(11, 0, IN_HIGH(BIT(0))) == -EINVAL &&
		  write_cap(12, 0, BIT(0)) == -EINVAL && write_cap(9, 0, CR4_VMXE << 1) == -EINVAL,
	      "it claims nothing that there is not");
	CHECK(write_cap(13, IN_HIGH(BIT(1)), 0) == -EINVAL && write_cap(13, BIT(1), 0) == -EINVAL &&
		  write_cap(6, CR0_NE, 0) == -EINVAL && write_cap(0, BIT(51), 0) == -EINVAL &&
		  write_cap(1, IN_HIGH(PIN_NMI), 0) == -EINVAL,
	      "and hides nothing that all CPUs have");
	CHECK(!write_cap(12, ~0ull, 0) && !write_cap(11, IN_HIGH(PROC2_EPT), 0) &&
		  !cap_has(12, EPT_WB) && !cap_has(11, IN_HIGH(PROC2_EPT)),
	      "there can be no EPT");
	CHECK(!vmx_msr_set(&vcpu, MSR_VMX_VMCS_ENUM, 0x32) &&
		  vmx_msr_get(&vcpu, MSR_VMX_BASIC + NESTED_CAPS, &any) == -ENOENT &&
		  vmx_msr_set(&vcpu, MSR_VMX_BASIC + NESTED_CAPS, 0) == -ENOENT,
	      "VMCS_ENUM is taken, as in KVM, and VMFUNC is not there");
	end();

	begin_on();
	CHECK(write_cap(14, IN_HIGH(PROC_HLT), 0) == -EINVAL && !write_cap(14, 0, 0),
	      "in VMX operation nothing is hidden any more");
	CHECK(cap_has(11, IN_HIGH(PROC2_RDTSCP)), "a guest's guests may have RDTSCP");
	vmx_of(&vcpu)->proc2 &= ~PROC2_RDTSCP;
	CHECK(!cap_has(11, IN_HIGH(PROC2_RDTSCP)) && !write_cap(11, 0, 0),
	      "an instruction that it has not itself they have not, and that is written back");
	vmx_of(&vcpu)->proc2 |= PROC2_RDTSCP;
	vmx_nested(&vcpu)->hidden[14] = IN_HIGH(PROC_HLT);
	put12(VMCS_PROC_CONTROLS, PROC_MIN | PROC_HLT);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(failed() && !vcpu.guest_mode, "a control that is hidden fails the entry");
	vmx_nested(&vcpu)->hidden[14] = 0;
	vmx_nested(&vcpu)->hidden[11] = IN_HIGH(PROC2_WBINVD);
	put12(VMCS_PROC_CONTROLS, PROC_MIN | PROC_HLT | PROC_SECONDARY);
	put12(VMCS_PROC2_CONTROLS, PROC2_WBINVD);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(failed() && !vcpu.guest_mode, "a secondary one, too");
	put12(VMCS_PROC2_CONTROLS, 0);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(vcpu.guest_mode, "and others do not");
	end();
}

/* Controls for instructions that the guest's CPUID does not show */
static void test_denied(void)
{
	u32 both = PROC2_RDTSCP | PROC2_INVPCID;

	begin_on();
	vmx_ctl.proc2 |= PROC2_RDRAND | PROC2_RDSEED;
	vmx_set(&vcpu, HVM_INSNS, INSN_RDTSCP | INSN_INVPCID);
	CHECK((vmcs[VMCS_PROC2_CONTROLS] & both) == both && cap_has(11, IN_HIGH(both)),
	      "instructions that are shown are the guest's, and offered to its guests");
	vmx_set(&vcpu, HVM_INSNS, INSN_INVPCID);
	CHECK((vmcs[VMCS_PROC2_CONTROLS] & both) == PROC2_INVPCID &&
		  !cap_has(11, IN_HIGH(PROC2_RDTSCP)) && cap_has(11, IN_HIGH(PROC2_INVPCID)),
	      "one that is not, is not");
	put12(VMCS_PROC_CONTROLS, PROC_MIN | PROC_SECONDARY);
	put12(VMCS_PROC2_CONTROLS, both);
	insn(EXIT_VMLAUNCH, 0);
	CHECK(failed() && !vcpu.guest_mode, "its control fails the entry");
	put12(VMCS_PROC2_CONTROLS, PROC2_INVPCID);
	insn(EXIT_VMLAUNCH, 0);
	run_to(NULL);
	CHECK(vcpu.guest_mode && (seen[VMCS_PROC2_CONTROLS] & both) == PROC2_INVPCID,
	      "and the others are the nested guest's");
	CHECK(!cap_has(11, IN_HIGH(PROC2_RDRAND)) && !cap_has(11, IN_HIGH(PROC2_RDSEED)),
	      "RDRAND and RDSEED that the guest has not are undefined, and no exit's");
	vmx_set(&vcpu, HVM_INSNS, INSN_RDRAND);
	CHECK(cap_has(11, IN_HIGH(PROC2_RDRAND)) && !cap_has(11, IN_HIGH(PROC2_RDSEED)),
	      "one that it has its guests' may be, as QEMU takes for granted");
	vmx_set(&vcpu, HVM_INSNS, 0);
	run_to(NULL);
	CHECK(!(seen[VMCS_PROC2_CONTROLS] & both), "which never has what its host has not");
	end();
}

/* The VT-x of the CPU on which this runs is as these MSRs say, and FEATURE_CONTROL as BIOSes leave
 * it. */
static int enable_with(const struct vmx_msrs *m)
{
	u64 raw[sizeof(*m) / sizeof(u64)];

	memcpy(raw, m, sizeof(raw));
	memset(vmx_msr, 0, sizeof(vmx_msr));
	memcpy(vmx_msr, raw, sizeof(raw));
	for (u32 i = 1; i <= 4; i++)
		vmx_msr[i + VMX_TRUE] = raw[i];
	cr4_now = 0;
	vmx_ons = test_log_lines = 0;
	return vmx_cpu_enable(this_cpu());
}

static bool none_masked(const char *name)
{
	return false;
}

/* Only one whose VT-x will do for what the boot CPU has chosen is switched on. */
static void test_enable(void)
{
	struct vmx_controls chosen = vmx_ctl;
	struct vmx_msrs boot = msrs, less = all_caps;

	msrs = all_caps;
	CHECK_QUIET(!vmx_choose_controls(&all_caps, none_masked, &vmx_ctl), "it will do");
	CHECK(!enable_with(&all_caps) && vmx_ons == 1 && cr4_now & CR4_VMXE && !test_log_lines,
	      "a CPU with the boot CPU's VT-x is switched on");
	less.proc2 &= ~((u64)PROC2_UNRESTRICTED << 32);
	CHECK(enable_with(&less) == -ENODEV && !vmx_ons && !cr4_now && test_log_lines == 1 &&
		  strstr(test_log_text, "has not the VT-x of the boot CPU"),
	      "one without a control that is used is left out, by a line: %s", test_log_text);
	msrs = boot;
	vmx_ctl = chosen;
}

/* A VMM that has the LAPICs is told when CR8 is lowered; else TPR's shadow does without exits. */
static void test_cr8(void)
{
	begin();
	guest.has_lapic = true;
	vmx_vcpu_reset(&vcpu, true);
	CHECK(!(vmcs[VMCS_PROC_CONTROLS] & PROC_CR8_LOAD), "MOV to CR8 does not exit");
	guest.has_lapic = false;
	vmx_vcpu_reset(&vcpu, true);
	CHECK((vmcs[VMCS_PROC_CONTROLS] & (PROC_CR8_LOAD | PROC_CR8_STORE)) == PROC_CR8_LOAD,
	      "but where the LAPIC is the VMM's");
	end();
}

int main(void)
{
	arena_init(256 * MB);
	srandom(7);
	nested_rules_setup(&all_caps, &(struct vmx_controls){.proc2 = ~0u});
	test_reset_msrs();
	test_insns();
	test_smm();
	test_behind_injection();
	test_init();
	test_entry();
	test_shadow_root();
	test_events();
	test_unrestricted();
	test_pdptes();
	test_halt();
	test_given_up();
	test_pending_debug();
	test_bus_lock();
	test_debug_controls();
	test_areas();
	test_filter();
	test_commands();
	test_state();
	test_state_meanwhile();
	test_refused();
	test_failed();
	test_own_pdptes();
	test_hidden();
	test_denied();
	test_enable();
	test_cr8();
	return test_end();
}
