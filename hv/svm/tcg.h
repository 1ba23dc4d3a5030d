/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Remedies for QEMU's TCG; hv/guest/quirks.c says what for. To be called where quirk_has() says so.
 */
#pragma once

#include "hv/guest/quirks.h"

struct svm_vcpu;
struct vcpu;
struct vmcb;
struct vm_exit;

/* QUIRK_VIRQ. Inject an interrupt; false: by EVENTINJ, a window needs the virtual interrupt. */
bool svm_virq_inject(struct svm_vcpu *s, u8 vector);
/* The window needs it: an interrupt that waits for this entry goes into EVENTINJ. */
void svm_virq_make_way(struct svm_vcpu *s);
/* Right before an entry that may inject, and after its exit. */
void svm_virq_enter(struct svm_vcpu *s);
/* A nested guest's own virtual interrupt, which was broken off, is still there. */
void svm_virq_taken(struct svm_vcpu *s, u64 event);
void svm_virq_exit(struct vcpu *v);

/* QUIRK_LME: after CR0, CR4 or EFER has been set. */
void svm_lme_hide(struct svm_vcpu *s);

/* QUIRK_DR7: after DR7 has been set. */
void svm_dr7_follow(struct svm_vcpu *s);

/* QUIRK_TSS: after TR has been set. */
void svm_tss_free(struct vmcb *m);

/* QUIRK_INT3, around an entry with WATCH_DEBUG */
void svm_debug_enter(struct svm_vcpu *s);
void svm_debug_exit(struct vcpu *v, struct vm_exit *x);

/* QUIRK_EVENT_TYPE -> EXITINTINFO as it should be. */
u64 svm_event_repair(u64 event);

/* QUIRK_FLAGS. RFLAGS as it may have been at this exit; entered: what it was at the entry. */
u64 svm_flags_repair(const struct vmcb *m, u64 entered);
