/* SPDX-License-Identifier: GPL-2.0-only */
/* What a guest that runs guests is offered, and what its VMCS must be and asks for. Pure. */
#pragma once

#include "hv/guest/hvm.h"
#include "hv/vmx/caps.h"
#include "hv/vmx/vmcs12.h"

/* Once, at boot: what of our offer the CPU has. ctl: what this back end uses. */
void nested_rules_setup(const struct vmx_msrs *m, const struct vmx_controls *ctl);
/* VMX_BASIC and on as the guest reads them. cr4: bits that it may set. -EINVAL: there is none. */
int nested_cap(u32 msr, u64 cr4, u64 *val);
#define NESTED_CAPS 17
/*
 * A VMM writes it: bits that it hides of what nested_cap() says. -EINVAL: it claims more, or hides
 * what no CPU lacks; -ENOENT: there is none.
 */
int nested_hide(u32 msr, u64 cr4, u64 val, u64 *hidden);

/*
 * SDM "Checks on VMX Controls", "Checks on the Host-State Area": 0, or the number for
 * INSN_ERROR.
 */
u32 vmcs12_refused(const struct vmcs12 *m, const struct nested_limits *l);
/*
 * SDM "Checks on the Guest State Area", as far as the CPU does not see to it when it enters. -1, or
 * the exit qualification.
 */
int vmcs12_guest_refused(const struct vmcs12 *m, const struct nested_limits *l);
/*
 * Does an entry read the four entries of PAE paging where CR3 says, and are they such that it may?
 * SDM "Checks on Guest Page-Directory-Pointer-Table Entries"; with EPT the CPU sees to it.
 */
bool vmcs12_loads_pdptes(const struct vmcs12 *m);
bool vmcs12_pdptes_valid(const u64 *pdptes, u64 addr_bits);
#define QUAL_PDPTES 2 /* else the exit qualification */
/* SDM "Checks Related to Address-Space Size" and the like: may this be an EPTP? */
bool vmcs12_eptp_valid(u64 eptp, u64 addr_bits);
/* Bits of CR0 that the nested guest must not clear */
u64 vmcs12_fixed_cr0(const struct vmcs12 *m);

/* Whose an exit is */
enum nested_owner { NESTED_OURS, NESTED_GUESTS, NESTED_BY_MAP /* of ports or MSRs */ };
/*
 * By its basic reason. qual: its qualification; operand: what a MOV to a control register writes;
 * info: of an exception.
 */
enum nested_owner vmcs12_owner(const struct vmcs12 *m, u32 reason, u64 qual, u64 operand, u32 info);
/* Does it want such an exception, for whichever reason? */
bool vmcs12_wants_exception(const struct vmcs12 *m, u8 vector, u32 error);
/* The byte of its MSR bitmap, and the bit; -EINVAL: none, it exits. */
int vmcs12_msr_byte(u32 msr, bool write, u8 *mask);

/* Controls of an entry: what the hypervisor has, and what the guest asks for beside that. */
u32 vmcs12_proc(const struct vmcs12 *m, u32 ours);
u32 vmcs12_proc2(const struct vmcs12 *m, u32 ours);
/* Its secondary controls, which are 0 where they are off. */
u32 vmcs12_its_proc2(const struct vmcs12 *m);
/* An entry of its EPT as one of 4-level paging; *bad: it is misconfigured. */
u64 vmcs12_ept_as_pte(u64 e, u32 level, bool *bad);
