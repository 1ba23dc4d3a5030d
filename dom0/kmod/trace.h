/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints under KVM's names and with KVM's fields, for the tools that know these: perf kvm
 * stat, trace-cmd, and programs of BPF. Documentation/trace/tracepoints, "Usage".
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM kvm

#if !defined(KMOD_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define KMOD_TRACE_H

#include <linux/kvm.h>
#include <linux/tracepoint.h>
#include <asm/svm.h>
#include <asm/vmx.h>

#ifndef KMOD_TRACE_ONCE
#define KMOD_TRACE_ONCE

#include "kmod.h"

/*
 * trace.c: while one of the tracepoints of exits is on, every exit stops the vCPU, also those that
 * the hypervisor serves alone.
 */
int cb_trace_begin(void);
void cb_trace_end(void);
DECLARE_STATIC_KEY_FALSE(cb_trace_is_on);
void cb_trace_resume_slow(struct cb_vcpu *v);
void cb_trace_stop_slow(struct cb_vcpu *v);

/* Before the vCPU is resumed. */
static inline void cb_trace_resume(struct cb_vcpu *v)
{
	if (static_branch_unlikely(&cb_trace_is_on) || unlikely(v->page->trace))
		cb_trace_resume_slow(v);
}

/* When it has stopped. */
static inline void cb_trace_stop(struct cb_vcpu *v)
{
	if (unlikely(v->page->exit.reason != CORBEL_NOT_TRACED))
		cb_trace_stop_slow(v);
}

/* While acknowledgements are traced the hypervisor tells of all that its PICs have. */
extern bool cb_trace_acks;
int cb_trace_acks_begin(void);
void cb_trace_acks_end(void);

enum cb_trace_isa { CB_ISA_VMX = 1, CB_ISA_SVM };
enum cb_trace_mmio { CB_MMIO_READ_UNSATISFIED, CB_MMIO_READ, CB_MMIO_WRITE };
enum cb_trace_pio { CB_PIO_IN, CB_PIO_OUT };

#endif

/* clang-format off */
TRACE_EVENT_FN(kvm_entry,
	TP_PROTO(unsigned int vcpu_id, unsigned long rip, bool immediate_exit),
	TP_ARGS(vcpu_id, rip, immediate_exit),
	TP_STRUCT__entry(
		__field(unsigned int, vcpu_id)
		__field(unsigned long, rip)
		__field(bool, immediate_exit)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->rip = rip;
		__entry->immediate_exit = immediate_exit;
	),
	TP_printk("vcpu %u, rip 0x%lx%s", __entry->vcpu_id, __entry->rip,
		  __entry->immediate_exit ? "[immediate exit]" : ""),
	cb_trace_begin, cb_trace_end
);

TRACE_EVENT_FN(kvm_exit,
	TP_PROTO(unsigned int vcpu_id, unsigned int exit_reason, unsigned long guest_rip, u32 isa),
	TP_ARGS(vcpu_id, exit_reason, guest_rip, isa),
	TP_STRUCT__entry(
		__field(unsigned int, exit_reason)
		__field(unsigned long, guest_rip)
		__field(u32, isa)
		__field(u64, info1)
		__field(u64, info2)
		__field(u32, intr_info)
		__field(u32, error_code)
		__field(unsigned int, vcpu_id)
	),
	TP_fast_assign(
		__entry->exit_reason = exit_reason;
		__entry->guest_rip = guest_rip;
		__entry->isa = isa;
		__entry->info1 = __entry->info2 = 0; /* not told, as what follows */
		__entry->intr_info = __entry->error_code = 0;
		__entry->vcpu_id = vcpu_id;
	),
	TP_printk("vcpu %u reason %s rip 0x%lx info1 0x%016llx info2 0x%016llx intr_info 0x%08x "
		  "error_code 0x%08x", __entry->vcpu_id,
		  __entry->isa == CB_ISA_VMX
			  ? __print_symbolic(__entry->exit_reason & 0xffff, VMX_EXIT_REASONS)
			  : __print_symbolic(__entry->exit_reason, SVM_EXIT_REASONS),
		  __entry->guest_rip, __entry->info1, __entry->info2, __entry->intr_info,
		  __entry->error_code),
	cb_trace_begin, cb_trace_end
);

TRACE_EVENT_FN(kvm_msr,
	TP_PROTO(unsigned int write, u32 ecx, u64 data, bool exception),
	TP_ARGS(write, ecx, data, exception),
	TP_STRUCT__entry(
		__field(unsigned int, write)
		__field(u32, ecx)
		__field(u64, data)
		__field(u8, exception)
	),
	TP_fast_assign(
		__entry->write = write;
		__entry->ecx = ecx;
		__entry->data = data;
		__entry->exception = exception;
	),
	TP_printk("msr_%s %x = 0x%llx%s", __entry->write ? "write" : "read", __entry->ecx,
		  __entry->data, __entry->exception ? " (#GP)" : ""),
	cb_trace_begin, cb_trace_end
);

TRACE_EVENT_FN(kvm_hypercall,
	TP_PROTO(unsigned long nr, unsigned long a0, unsigned long a1, unsigned long a2,
		 unsigned long a3),
	TP_ARGS(nr, a0, a1, a2, a3),
	TP_STRUCT__entry(
		__field(unsigned long, nr)
		__field(unsigned long, a0)
		__field(unsigned long, a1)
		__field(unsigned long, a2)
		__field(unsigned long, a3)
	),
	TP_fast_assign(
		__entry->nr = nr;
		__entry->a0 = a0;
		__entry->a1 = a1;
		__entry->a2 = a2;
		__entry->a3 = a3;
	),
	TP_printk("nr 0x%lx a0 0x%lx a1 0x%lx a2 0x%lx a3 0x%lx", __entry->nr, __entry->a0,
		  __entry->a1, __entry->a2, __entry->a3),
	cb_trace_begin, cb_trace_end
);

TRACE_EVENT(kvm_pio,
	TP_PROTO(unsigned int rw, unsigned int port, unsigned int size, unsigned int count,
		 const void *data),
	TP_ARGS(rw, port, size, count, data),
	TP_STRUCT__entry(
		__field(unsigned int, rw)
		__field(unsigned int, port)
		__field(unsigned int, size)
		__field(unsigned int, count)
		__field(unsigned int, val)
	),
	TP_fast_assign(
		__entry->rw = rw;
		__entry->port = port;
		__entry->size = size;
		__entry->count = count;
		__entry->val = 0;
		memcpy(&__entry->val, data, min_t(u32, sizeof(__entry->val), size));
	),
	TP_printk("pio_%s at 0x%x size %d count %d val 0x%x %s", __entry->rw ? "write" : "read",
		  __entry->port, __entry->size, __entry->count, __entry->val,
		  __entry->count > 1 ? "(...)" : "")
);

/* val: NULL as long as what is read is not known */
TRACE_EVENT(kvm_mmio,
	TP_PROTO(int type, int len, u64 gpa, const void *val),
	TP_ARGS(type, len, gpa, val),
	TP_STRUCT__entry(
		__field(u32, type)
		__field(u32, len)
		__field(u64, gpa)
		__field(u64, val)
	),
	TP_fast_assign(
		__entry->type = type;
		__entry->len = len;
		__entry->gpa = gpa;
		__entry->val = 0;
		if (val)
			memcpy(&__entry->val, val, min_t(u32, sizeof(__entry->val), len));
	),
	TP_printk("mmio %s len %u gpa 0x%llx val 0x%llx",
		  __print_symbolic(__entry->type, { CB_MMIO_READ_UNSATISFIED, "unsatisfied-read" },
				   { CB_MMIO_READ, "read" }, { CB_MMIO_WRITE, "write" }),
		  __entry->len, __entry->gpa, __entry->val)
);

TRACE_EVENT(kvm_page_fault,
	TP_PROTO(unsigned int vcpu_id, unsigned long guest_rip, u64 fault_address, u64 error_code),
	TP_ARGS(vcpu_id, guest_rip, fault_address, error_code),
	TP_STRUCT__entry(
		__field(unsigned int, vcpu_id)
		__field(unsigned long, guest_rip)
		__field(u64, fault_address)
		__field(u64, error_code)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->guest_rip = guest_rip;
		__entry->fault_address = fault_address;
		__entry->error_code = error_code;
	),
	TP_printk("vcpu %u rip 0x%lx address 0x%016llx error_code 0x%llx", __entry->vcpu_id,
		  __entry->guest_rip, __entry->fault_address, __entry->error_code)
);

/* Names of the exits that there are here. */
#define USER_EXIT(x) { KVM_EXIT_##x, "KVM_EXIT_" #x }
TRACE_EVENT(kvm_userspace_exit,
	TP_PROTO(__u32 reason, int errno),
	TP_ARGS(reason, errno),
	TP_STRUCT__entry(
		__field(__u32, reason)
		__field(int, errno)
	),
	TP_fast_assign(
		__entry->reason = reason;
		__entry->errno = errno;
	),
	TP_printk("reason %s (%d)",
		  __entry->errno < 0 ? (__entry->errno == -EINTR ? "restart" : "error")
				     : __print_symbolic(__entry->reason, USER_EXIT(UNKNOWN),
							USER_EXIT(IO), USER_EXIT(DEBUG),
							USER_EXIT(HLT), USER_EXIT(MMIO),
							USER_EXIT(IRQ_WINDOW_OPEN),
							USER_EXIT(SHUTDOWN), USER_EXIT(FAIL_ENTRY),
							USER_EXIT(INTR), USER_EXIT(INTERNAL_ERROR),
							USER_EXIT(IOAPIC_EOI), USER_EXIT(X86_RDMSR),
							USER_EXIT(X86_WRMSR)),
		  __entry->errno < 0 ? -__entry->errno : (int)__entry->reason)
);

#define DELIVERY_MODES(mode)                                                                       \
	__print_symbolic(mode, { 0, "Fixed" }, { 1, "LowPrio" }, { 2, "SMI" }, { 3, "Res3" },      \
			 { 4, "NMI" }, { 5, "INIT" }, { 6, "SIPI" }, { 7, "ExtINT" })

TRACE_EVENT(kvm_set_irq,
	TP_PROTO(unsigned int gsi, int level, int irq_source_id),
	TP_ARGS(gsi, level, irq_source_id),
	TP_STRUCT__entry(
		__field(unsigned int, gsi)
		__field(int, level)
		__field(int, irq_source_id)
	),
	TP_fast_assign(
		__entry->gsi = gsi;
		__entry->level = level;
		__entry->irq_source_id = irq_source_id;
	),
	TP_printk("gsi %u level %d source %d", __entry->gsi, __entry->level,
		  __entry->irq_source_id)
);

TRACE_EVENT(kvm_ioapic_set_irq,
	TP_PROTO(__u64 e, int pin, bool coalesced),
	TP_ARGS(e, pin, coalesced),
	TP_STRUCT__entry(
		__field(__u64, e)
		__field(int, pin)
		__field(bool, coalesced)
	),
	TP_fast_assign(
		__entry->e = e;
		__entry->pin = pin;
		__entry->coalesced = coalesced;
	),
	TP_printk("pin %u dst %x vec %u (%s|%s|%s%s)%s", __entry->pin, (u8)(__entry->e >> 56),
		  (u8)__entry->e, DELIVERY_MODES(__entry->e >> 8 & 7),
		  __entry->e & BIT(11) ? "logical" : "physical",
		  __entry->e & BIT(15) ? "level" : "edge", __entry->e & BIT(16) ? "|masked" : "",
		  __entry->coalesced ? " (coalesced)" : "")
);

TRACE_EVENT(kvm_pic_set_irq,
	TP_PROTO(__u8 chip, __u8 pin, __u8 elcr, __u8 imr, bool coalesced),
	TP_ARGS(chip, pin, elcr, imr, coalesced),
	TP_STRUCT__entry(
		__field(__u8, chip)
		__field(__u8, pin)
		__field(__u8, elcr)
		__field(__u8, imr)
		__field(bool, coalesced)
	),
	TP_fast_assign(
		__entry->chip = chip;
		__entry->pin = pin;
		__entry->elcr = elcr;
		__entry->imr = imr;
		__entry->coalesced = coalesced;
	),
	TP_printk("chip %u pin %u (%s%s)%s", __entry->chip, __entry->pin,
		  __entry->elcr & BIT(__entry->pin) ? "level" : "edge",
		  __entry->imr & BIT(__entry->pin) ? "|masked" : "",
		  __entry->coalesced ? " (coalesced)" : "")
);

TRACE_EVENT(kvm_msi_set_irq,
	TP_PROTO(__u64 address, __u64 data),
	TP_ARGS(address, data),
	TP_STRUCT__entry(
		__field(__u64, address)
		__field(__u64, data)
	),
	TP_fast_assign(
		__entry->address = address;
		__entry->data = data;
	),
	TP_printk("dst %llx vec %u (%s|%s|%s%s)",
		  (u8)(__entry->address >> 12) | (__entry->address >> 32 & 0xffffff00),
		  (u8)__entry->data, DELIVERY_MODES(__entry->data >> 8 & 7),
		  __entry->address & BIT(2) ? "logical" : "physical",
		  __entry->data & BIT(15) ? "level" : "edge",
		  __entry->address & BIT(3) ? "|rh" : "")
);

TRACE_EVENT(kvm_enter_smm,
	TP_PROTO(unsigned int vcpu_id, u64 smbase, bool entering),
	TP_ARGS(vcpu_id, smbase, entering),
	TP_STRUCT__entry(
		__field(unsigned int, vcpu_id)
		__field(u64, smbase)
		__field(bool, entering)
	),
	TP_fast_assign(
		__entry->vcpu_id = vcpu_id;
		__entry->smbase = smbase;
		__entry->entering = entering;
	),
	TP_printk("vcpu %u: %s SMM, smbase 0x%llx", __entry->vcpu_id,
		  __entry->entering ? "entering" : "leaving", __entry->smbase)
);

TRACE_EVENT_FN(kvm_ack_irq,
	TP_PROTO(unsigned int irqchip, unsigned int pin),
	TP_ARGS(irqchip, pin),
	TP_STRUCT__entry(
		__field(unsigned int, irqchip)
		__field(unsigned int, pin)
	),
	TP_fast_assign(
		__entry->irqchip = irqchip;
		__entry->pin = pin;
	),
	TP_printk("irqchip %s pin %u",
		  __print_symbolic(__entry->irqchip, { KVM_IRQCHIP_PIC_MASTER, "PIC master" },
				   { KVM_IRQCHIP_PIC_SLAVE, "PIC slave" },
				   { KVM_IRQCHIP_IOAPIC, "IOAPIC" }),
		  __entry->pin),
	cb_trace_acks_begin, cb_trace_acks_end
);
/* clang-format on */

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
