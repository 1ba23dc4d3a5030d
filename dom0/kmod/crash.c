// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a crash kernel finds of the hypervisor in /proc/vmcore: its log, and registers of guests'
 * vCPUs, as text in this kernel's memory. Where that is two lines of VMCOREINFO say.
 *
 * Before Linux jumps into a crash kernel it asks no module but the one that has virtualization on.
 * That is on each CPU, behind crash_save_vmcoreinfo(), and when the hypervisor has been shown by
 * kvm_crash_shutdown() that this kernel ends, and so has told guests to stop.
 */
#include "dom0.h"
#include "kmod.h"

#if defined(CONFIG_CRASH_DUMP) && defined(CB_EMERGENCY)
#include <linux/delay.h>
#include <linux/elf.h>
#include <linux/kexec.h>
#if __has_include(<linux/vmcore_info.h>)
#include <linux/vmcore_info.h>
#else
#include <linux/crash_core.h>
#endif
#include <asm/reboot.h>

#define TEXT_ORDER 5 /* twice the hypervisor's log */
#define TEXT_BYTES (PAGE_SIZE << TEXT_ORDER)
#define NOTE_LINES 64 /* bytes that ours take at most */
#define WAIT_MS	   100u

static char *text;
static struct corbel_log *piece; /* a page */
static u32 text_len, patience;
static atomic_t begun;

static void save_log(void)
{
	long n;

	for (piece->next = 0;; text_len += n) {
		n = HC3(LOG_READ, piece->next, cb_phys(piece), PAGE_SIZE);
		n = min_t(long, n, TEXT_BYTES - text_len);
		if (n <= 0)
			break;
		memcpy(text + text_len, piece->text, n);
	}
}

/* It has been told to stop; all of them share what time there is. */
static void save_vcpu(struct cb_vcpu *v)
{
	const struct kvm_regs *r = cb_regs(v);
	const struct kvm_sregs *s = (void *)v->data;

	for (; READ_ONCE(v->page->state) != CORBEL_VCPU_STOPPED && patience; patience--)
		mdelay(1);
	if (READ_ONCE(v->page->state) != CORBEL_VCPU_STOPPED)
		return;
	text_len += scnprintf(
	    text + text_len, TEXT_BYTES - text_len,
	    "vm %u vcpu %u: rip %llx rflags %llx rax %llx rcx %llx rdx %llx rbx %llx rsp %llx "
	    "rbp %llx rsi %llx rdi %llx r8 %llx r9 %llx r10 %llx r11 %llx r12 %llx r13 %llx "
	    "r14 %llx r15 %llx\n",
	    v->vm->id, v->apic_id, r->rip, r->rflags, r->rax, r->rcx, r->rdx, r->rbx, r->rsp,
	    r->rbp, r->rsi, r->rdi, r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15);
	if (cb_state_get(v, CORBEL_STATE_SREGS, sizeof(*s)))
		return;
	text_len += scnprintf(text + text_len, TEXT_BYTES - text_len,
			      "vm %u vcpu %u: cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx\n",
			      v->vm->id, v->apic_id, s->cr0, s->cr2, s->cr3, s->cr4, s->efer);
}

/* Behind what Linux has written there, whose length is final by now. */
static void name_text(void)
{
	struct elf_note *note = __va(paddr_vmcoreinfo_note());
	char *lines = (char *)(note + 1) + VMCOREINFO_NOTE_NAME_BYTES;
	u32 len = note->n_descsz;

	if (note->n_namesz != sizeof(VMCOREINFO_NOTE_NAME) || len > VMCOREINFO_BYTES - NOTE_LINES)
		return;
	len += scnprintf(lines + len, NOTE_LINES, "CORBEL_LOG=%llx\nCORBEL_LOG_SIZE=%x\n",
			 cb_phys(text), text_len);
	note->n_descsz = len;
	memset(lines + ALIGN(len, 4), 0, sizeof(*note)); /* the end of notes */
}

/* Of all CPUs the first one; it may be in an NMI. Other ways to end the machine come by here. */
static void save_all(void)
{
	if (!kexec_crash_loaded() || atomic_xchg(&begun, 1))
		return;
	patience = WAIT_MS;
	save_log();
	cb_event_each_vcpu(save_vcpu);
	name_text();
}

void cb_crash_init(void)
{
	text = (char *)__get_free_pages(GFP_KERNEL | __GFP_NOWARN, TEXT_ORDER);
	piece = (void *)get_zeroed_page(GFP_KERNEL);
	if (text && piece)
		cpu_emergency_register_virt_callback(save_all);
	else
		pr_warn("no memory: a crash kernel will not find the hypervisor's log in "
			"/proc/vmcore\n");
}

void cb_crash_exit(void)
{
	if (text && piece)
		cpu_emergency_unregister_virt_callback(save_all);
	free_pages((unsigned long)text, TEXT_ORDER);
	free_page((unsigned long)piece);
}
#else
void cb_crash_init(void)
{
}

void cb_crash_exit(void)
{
}
#endif
