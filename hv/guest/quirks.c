/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The emulators' faults that are allowed for, in one place.
 *
 * Seven more remedies cost so little that they are always there, and harmless elsewhere:
 * - QEMU 7.2 TCG: VMRUN does not load the guest's interrupt shadow. An exit between STI and HLT (a
 *   kick, a page fault) let in the interrupt that HLT was to wait for, and the guest slept on:
 *   group smp stood still in one run of a hundred, on a busy host. An STI of the host's right
 *   before VMRUN has the shadow live on (hv/svm/entry.asm); group guest fails without.
 * - Some write only the lower half of EXITCODE: no more of it is looked at.
 * - QEMU 10.0.13 TCG: where reads of CR0 are intercepted, those of CR2, CR3 and CR4 exit, too, as
 *   if they were of CR0. The instruction tells which is read (hv/guest/cr.c); group cr fails
 *   without.
 * - Some take the CPL from SS, not from the VMCB's own field: svm_set_seg() writes both.
 * - QEMU 10.0.13 TCG: XSETBV exits without CR4.OSXSAVE as well, where it is #UD:
 *   cr_handle_xsetbv() looks.
 * - Bochs 2.7: a write of APIC_BASE that begins x2APIC mode leaves LDR as it was, the next one
 *   derives it: enable_apic() writes twice (hv/cpu/apic.c).
 * - Bochs 2.7: of an instruction that exits instead of being executed, the single-step trap is left
 *   pending. A debugger who has had it would have it again: debug_stop_owed() forgets it; test
 *   bochs, debugger.
 *
 * And two are allowed for by the way we are run. Bochs: IA32_TSC_DEADLINE is compared with a time
 * that knows nothing of TSC_ADJUST, so behind a sleep, in which the TSC begins again and is moved
 * forward, timers are late by seconds: group suspend is run with mask=tsc-deadline there. QEMU 7.2
 * TCG with a thread for each CPU. An XRSTOR, FXRSTOR or FLDENV on any CPU clears IGNNE in CPU 0's
 * flags (hflags2) without a lock. When CPU 0 is in VMRUN or #VMEXIT at that moment the old flags
 * come back, nested paging among them: the hypervisor's next instruction then takes a nested page
 * fault, and a second #VMEXIT writes the hypervisor's registers over the guest's (RIP behind VMRUN,
 * the hypervisor's CR3 and GDT, a virtual interrupt control of 0). Seen with a QEMU that stops at
 * the second #VMEXIT; with four guests about one boot in ten lost a guest or dom0. All tests and
 * `make run` therefore have -accel tcg,thread=single, which takes no more CPU time; tests run side
 * by side instead (JOBS=). ACCEL=tcg,thread=multi brings the threads back: what happens at the very
 * same moment on two CPUs is tested only then.
 */
#include "hv/guest/quirks.h"
#include "boot/boot.h"
#include "boot/options.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/log.h"
#include "hv/lib/string.h"

#define RSDP_OEM 9 /* struct acpi_rsdp: the OEM's name */

u32 quirks;

enum emulator { TCG = 1, BOCHS = 2, QEMU = 4 };

/* What mask= names is not allowed for: as if the machine were a real one. */
static const struct {
	u8 who; /* has it: enum emulator, one or more */
	const char *mask;
} table[QUIRK_NR] = {
    /*
     * #VMEXIT from a guest with EFER.LME, but without CR0.PG and CR4.PAE, does not load the host's
     * CR0; the hypervisor then runs without paging and GIF until the end of time. Remedy: LME,
     * which does nothing yet in such a guest, is kept out of its VMCB. Test: any Linux guest's
     * boot.
     */
    [QUIRK_LME] = {TCG, "lme-hiding"},
    /*
     * VMRUN with an event to inject delivers it and leaves the vector noted as an exception. When
     * the emulator's loop is left before the next exit, for the sake of another CPU, be it one that
     * we do not use, or because the instructions of -icount are used up, the vector is delivered a
     * second time, whatever the guest does by then (IF off, half way through SWAPGS). Remedy:
     * interrupts are injected as virtual ones. Debian's KVM does not do so, so its part of the
     * bench may stand still, which is said in a "# " line, and is run again, three times at most.
     * Test: smoke test guests; target group smp.
     */
    [QUIRK_VIRQ] = {TCG, "virq"},
    /*
     * A guest's MOV to CR8 while a virtual interrupt waits ends QEMU by an assertion
     * (tcg_handle_interrupt), which UEFI's firmware meets within minutes. Remedy: such a MOV exits
     * (with QUIRK_VIRQ, which has such interrupts).
     * Test: smoke test hostile, cr8.
     */
    [QUIRK_CR8] = {TCG, "cr8"},
    /*
     * EXITINTINFO calls an interrupt, or an NMI, an exception. Remedy: the vector tells, since
     * exceptions have vectors below 32, and not the NMI's. Test: target group guest-smp.
     */
    [QUIRK_EVENT_TYPE] = {TCG | BOCHS, "event-type"},
    /*
     * VMRUN that refuses the guest's state leaves the hypervisor's registers in place of the
     * guest's; entered with them, the guest keeps the CPU. Remedy: such a vCPU is reset. Test:
     * target group bad-entry.
     */
    [QUIRK_BAD_ENTRY] = {TCG, "bad-entry"},
    /*
     * XSETBV is not intercepted. Remedy: XCR0 is read back where it is switched and shown. Test:
     * target group guest-ends.
     */
    [QUIRK_XSETBV] = {TCG | BOCHS, "xsetbv"},
    /*
     * INT3 is intercepted as INT n is, not as #BP. Remedy: while a debugger wants INT3, INT n is
     * intercepted; one that is no INT3 is executed with the intercept off until the next exit.
     * Test: smoke test kvm, debugger.
     */
    [QUIRK_INT3] = {TCG, "int3"},
    /*
     * VMRUN and #VMEXIT load and save DR7, but breakpoints begin and end only with a MOV to DR7: a
     * guest's went on in other guests and in the hypervisor, which any guest could end so. Remedy:
     * writes of DR7 exit; one with breakpoints is loaded by a MOV before VMRUN, and emptied by one
     * behind it. What is left is the code between the two. Test: the same; hostile,
     * debug-registers.
     */
    [QUIRK_DR7] = {TCG, "dr7"},
    /*
     * An SMI that comes while a guest runs does not leave the guest: the firmware's handler runs
     * on the guest's nested page tables and intercepts, and ends in an exit. Remedy: SMIs exit, and
     * come in behind STGI. Real CPUs that have SMM locked would not exit for them, nor need to.
     * Test: smoke test secureboot, whose firmware keeps its variables by SMM.
     */
    [QUIRK_SMI] = {TCG, "smi"},
    /*
     * An exception, or INT n, that comes from a program outside of long mode ends QEMU ("invalid
     * tss type") if TR has a busy TSS, as it has on all other CPUs: TCG's LTR has it available
     * there. Remedy: what is loaded into the VMCB's TR is, too. Test: smoke test kvm, migrate.
     */
    [QUIRK_TSS] = {TCG, "tss"},
    /*
     * CMPXCHG8B and CMPXCHG16B soon behind an entry, or IRET, take an operand of the last addition
     * or the like for the flags, and an exit right behind them saves it: entered with them, a
     * kernel is in virtual-8086 mode, or steps. Remedy: where bits are set that RFLAGS does not
     * have, as most addresses have them, all but the arithmetic ones must have been set at the
     * entry, too. What cannot be told: an STI since then, and operands without such bits. Test:
     * smoke test kvm, insns.
     */
    [QUIRK_FLAGS] = {TCG, "flags"},
    /*
     * Interrupts are not noticed while a guest runs that was entered with RFLAGS.IF = 0 and has not
     * changed IF since. Remedy: the preemption timer ends such a guest's turn, so that the CPU can
     * look, as it does at each of its exits, which may come before the timer for ever; saving the
     * timer at exits is no help where no instruction ends. Test: boot skylake-x, 3 CPUs.
     */
    [QUIRK_IRQ_WATCHDOG] = {BOCHS, "irq-watchdog"},
    /*
     * Bochs 2.7: an exit in the midst of the delivery of a virtual interrupt leaves no
     * IDT-vectoring information of it. Remedy: such interrupts need IF, and it is off in their
     * handlers, so IF and ISR tell. Test: target group vid.
     */
    [QUIRK_LOST_EVENT] = {BOCHS, "lost-event"},
    /*
     * Bochs 2.7: a physical interrupt that comes while IF is off and a virtual interrupt is pending
     * has the latter delivered at once, in spite of IF: a Linux guest that stood still in one boot
     * of seven looked like that. Remedy: virtual-interrupt delivery is not used. The target tests
     * bring it back.
     */
    [QUIRK_BOCHS_VID] = {BOCHS, "bochs-vid"},
    /*
     * Bochs 2.7: XSAVEC and XSAVES put the AVX state right behind SSE's, over the header, and
     * XRSTOR looks for it behind the header: a kernel that uses them loses registers. Remedy:
     * neither is offered. Those target tests that stay away from AVX bring them back.
     */
    [QUIRK_BOCHS_XSAVES] = {BOCHS, "bochs-xsaves"},
    /*
     * A local APIC that has been switched off stays off, and "off" is the only way from x2APIC mode
     * to xAPIC mode. Remedy: the hardware does not follow dom0 back. Test: target group x2apic.
     */
    [QUIRK_APIC_OFF] = {BOCHS, "apic-off"},
    /*
     * QEMU 7.2, AMD-Vi: where a device's common interrupts are to be forwarded and others not, all
     * become vector 0. Remedy: they are forwarded by not looking at them, NMIs and INITs as well.
     * Test: target group dma.
     */
    [QUIRK_IRQ_FORWARD] = {QEMU, "irq-forward"},
    /*
     * A store that MONITOR is to notice goes unseen now and then, and the CPU in MWAIT sleeps on:
     * with three CPUs the second one for ever. Remedy: interrupts wake CPUs, as from HLT. Test:
     * target group idle; with two CPUs, where it was always seen, one boot goes by stores.
     */
    [QUIRK_MONITOR] = {BOCHS, "monitor"},
};

/* QEMU's firmware calls itself BOCHS as well, but its CPUs say that they are virtual. */
static u8 made_by(void)
{
	if (memcmp(boot_info.rsdp_copy + RSDP_OEM, "BOCHS ", 6))
		return 0;
	return cpuid_read(1, 0).c & CPUID_1C_HYPERVISOR ? QEMU : BOCHS;
}

void quirks_detect(void)
{
	u8 here = made_by() | (cpu_runs_in(IN_TCG) ? TCG : 0);

	for (u32 i = 0; i < QUIRK_NR; i++)
		if (table[i].who & here && !cap_named(table[i].mask))
			quirks |= BIT(i);
	if (quirks)
		log_info("an emulator, whose faults are allowed for: quirks %x", quirks);
}
