/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VMM of a few hundred lines for tests of /dev/kvm: ioctls only. Guests are pieces of
 * payload.asm.
 *
 * Guest memory, one slot of RAM_SIZE at 0:
 *   0x0500 GDT   0x1000 page tables (identity, 4 GiB, then see vm_map_page)   0x8000 IDT   0xa000
 * scratch CODE payload   STACK_TOP(i) stack of vCPU i   DATA free
 */
#ifndef VMM_H
#define VMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/kvm.h>

#include "hv/abi.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

#define RAM_SIZE     (4ul << 20)
#define GDT	     0x500ul
#define PML4	     0x1000ul
#define IDT	     0x8000ul
#define SCRATCH	     0xa000ul
#define CODE	     0x10000ul
#define STACK_TOP(i) (0x80000ul + (i)*0x4000)
#define DATA	     0x100000ul
#define FREE_TABLES  0x300000ul /* vm_map_page() takes tables from here on */
#define MMIO_BASE    0xd0000000ul
#define PORT_VALUE   0xe0 /* out dx, eax: a value for the test */
#define PORT_DONE    0xe1 /* the guest has come to its end */
#define PORT_PAUSE   0xe5 /* the guest wants to be stopped, and goes on when it runs again */
#define MAX_VCPU     1024
#define MAX_VALUES   64

struct vm {
	int fd, cpu_fd[MAX_VCPU];
	struct kvm_run *run[MAX_VCPU];
	u32 vcpus;
	u8 *ram;
	u64 free_table;
	u32 values[MAX_VALUES], value_count;
	u64 io_exits, mmio_exits;
	u32 mmio_value; /* last written */
};

enum { VM_IRQCHIP = 1, VM_PIT = 2, VM_SPLIT = 4, VM_PROTECTED = 8 };
enum mode { MODE_REAL, MODE_PROT32, MODE_LONG };

/* How vm_run() ended */
enum end {
	END_DONE,
	END_HLT,
	END_SHUTDOWN,
	END_INTERNAL,
	END_FAIL_ENTRY,
	END_TIME,
	END_ERROR,
	END_OTHER,
	END_PAUSE /* at PORT_PAUSE */
};

/* payload.asm */
typedef const unsigned char payload[];
extern payload payload_start, payload_end, on_fault, on_error, on_nmi, on_interrupt, unexpected;
extern payload pl_triple64, pl_triple32, pl_triple16, pl_spin, pl_timer, pl_witness, pl_flood_out,
    pl_flood_in, pl_exits, pl_msr_sweep, pl_lapic_mmio, pl_x2apic, pl_registers, pl_string_table,
    pl_pte_writer, pl_pte_user, pl_ipi_storm, pl_irq_storm, pl_stos, pl_debug_regs, pl_stride,
    pl_instructions, pl_debugger, pl_snapshot, pl_int_n, pl_hypercalls, pl_call, pl_rdmsr, pl_wrmsr,
    pl_rdmsr_loop, msr_read_at, pl_cr8, pl_took, pl_traced, pl_lint0, pl_hyperv, pl_sints,
    pl_messages, pl_flooded, pl_vmrun, pl_crowd, pl_crowd_other, pl_locks, pl_fill, pl_filled,
    pl_apf, pl_apf_many, pl_pairing, apf_missing, apf_ready;
extern payload dbg_int3, dbg_after, dbg_hw, dbg_written, dbg_steps, dbg_stepped, dbg_own,
    dbg_own_hit, dbg_gd;

extern int kvm;
void open_kvm(void); /* or ends the program */
extern const char *const end_names[];

/* A failing system call here ends the test program: these are not what is tested. */
void vm_init(struct vm *vm, u32 vcpus, u32 flags);
/* One vCPU more. */
void vm_add_cpu(struct vm *vm);
void vm_free(struct vm *vm);
/* Payload, descriptor tables and registers for starting at entry. */
void vm_load(struct vm *vm);
void cpu_setup(struct vm *vm, u32 cpu, enum mode mode, const void *entry, u64 arg0, u64 arg1);
u64 payload_addr(const void *label);
/* Where an exception or interrupt leads to; behind vm_load(). */
void set_gate(struct vm *vm, u32 vector, u64 handler);
/* Map one 4 KiB page of linear memory above 4 GiB (long mode). */
void vm_map_page(struct vm *vm, u64 linear, u64 gpa, u64 flags);
/* Serve exits until something of enum end, at most for ms milliseconds. */
enum end vm_run(struct vm *vm, u32 cpu, u32 ms);
/* The same for code of the caller's on CPU 0 in long mode, flat; RDI as given. */
enum end run_code(struct vm *vm, const void *code, size_t len, u64 rdi);
void cpu_get_regs(struct vm *vm, u32 cpu, struct kvm_regs *r);
void cpu_set_regs(struct vm *vm, u32 cpu, const struct kvm_regs *r);
/* Segments of a program in ring 3 */
void sregs_set_user(struct kvm_sregs *s);
/* Bits of a word of CPUID: reg 0 is EAX, 3 EDX */
struct feature {
	u32 leaf, sub, reg, bits;
};
/* Has KVM_GET_SUPPORTED_CPUID any of them? */
bool cpu_is_shown(const struct feature *f);
/* The vCPU, which has not run, gets all of that but these. */
void cpu_hide(struct vm *vm, u32 cpu, const struct feature *f, u32 count);
int cpu_ioctl(struct vm *vm, u32 cpu, unsigned long what, void *arg);
int vm_ioctl(struct vm *vm, unsigned long what, void *arg);
/* Writes of a byte to the port signal it, or with KVM_IOEVENTFD_FLAG_DEASSIGN no more. */
int ioeventfd(struct vm *vm, int fd, u32 port, u32 flags);
/* Physical addresses have so many bits here, and nested tables of four levels reach 48 of them. */
u32 address_bits(void);
int set_msr(struct vm *vm, u32 cpu, u32 index, u64 val);
u64 get_msr(struct vm *vm, u32 index); /* of vCPU 0; all ones: refused */

u64 now_ms(void);
u64 rnd(void);
void rnd_seed(u64 seed);

/* One line per behaviour. */
void ok(bool cond, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
extern int failures;
/* Is a test among those named on the command line, or is none named? */
bool wanted(const char *name, int argc, char **argv);
void fatal(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
/* A module of the kernel's that lies beside this program, or the program ends. */
void module_load(const char *file, const char *args);
/*
 * A window of a race is made wide: widen.ko, beside this program, with what to do where a function
 * of corbel.ko is called ("ms", "ms_after", "error"), and how much.
 */
void widen_load(const char *symbol, const char *what, u32 value);
/* It fails the next time that it is called, and then no more. */
void widen_fail_once(const char *symbol, u32 error);
/* Where it is called another one is, with arg alone. */
void widen_instead(const char *symbol, const char *instead, u64 arg);
void widen_end(void);
void stay_on_cpu(u32 cpu);
/* What /dev/corbel says of the hypervisor; fatal if it does not answer. */
struct corbel_info hv_info(void);

#endif
