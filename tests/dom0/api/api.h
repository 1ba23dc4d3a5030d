/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What VMMs rely on in the KVM API, seen from dom0's user space: small real-mode guests at 0x1000,
 * one per behaviour. Here is the small VMM that runs them (vmm.c).
 */
#pragma once

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint64_t u64;

#define RAM_BYTES (4ul << 20)
#define CODE	  0x1000
#define HANDLER	  0x1800
#define STACK	  0x8000
#define CPUIDS	  100

#define MSR_APIC_BASE 0x1b
#define APIC_OFF      0xfee00100ull
#define APIC_XAPIC    0xfee00900ull
#define APIC_X2APIC   0xfee00d00ull
#define MSR_EFER      0xc0000080
#define MSR_TSC	      0x10
#define MSR_ARCH_CAPS 0x10a
#define MSR_PERF_CAPS 0x345

/* A piece of 16-bit code, position-independent. */
#define GUEST(name, text)                                                                          \
	extern const u8 name[], name##_end[];                                                      \
	__asm__(".pushsection .rodata\n.code16\n" #name ":\n" text "\n" #name                      \
		"_end:\n.code64\n.popsection\n")
#define LOAD(vm, name)	     memcpy(ram + CODE, name, name##_end - name)
#define HANDLE(vector, name) set_handler(vector, name, name##_end - name)

enum chip { NO_CHIP, FULL_CHIP, SPLIT_CHIP };

struct vm {
	int fd, vcpu;
	struct kvm_run *run;
};

/* Pieces that several tests run. */
GUEST(in_port, "mov $0x3f8, %dx; in %dx, %al; nop; hlt");
GUEST(show, "out %al, $0x78; jmp show");
GUEST(on_irq, "mov $0x77, %dx; out %al, %dx; iret");

extern int kvm;
extern u8 *ram;

bool check(bool cond, const char *fmt, ...);
void set_handler(u8 vector, const u8 *code, size_t len);
void set_slot(int vm, uint32_t slot, uint32_t flags, u64 gpa, u64 bytes, const u8 *at);
void set_registers(struct vm *v);
struct vm start(enum chip chip);
struct vm start_with_hole(void);
void end(struct vm *v);
int run(struct vm *v);
bool at_port(struct vm *v, u16 port);
u8 *io_data(struct vm *v);
struct kvm_regs regs(struct vm *v);
int set_msr(struct vm *v, uint32_t index, u64 data);
u64 get_msr(struct vm *v, uint32_t index);
int enable(int fd, uint32_t cap, u64 arg, uint32_t flags);
u64 count(int eventfd);
int run_interrupted(struct vm *v, long us);

void run_tests(void);
void access_tests(void);
void memory_tests(void);
void irq_tests(void);
void clock_tests(void);
void regs_tests(void);
void mce_tests(void);
void cpuid_tests(void);
void caps_tests(void);
