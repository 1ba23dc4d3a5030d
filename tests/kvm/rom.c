/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Descriptors where the processor cannot mark them as accessed or busy: in a ROM, whose VMM is told
 * of writes and drops them, and in a device, which it plays. Each instruction that loads one of a
 * GDT or LDT there goes on as if the mark had been set.
 */
#include "vmm.h"

#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define ROM	 0x10000000ul
#define ROM_SIZE 0x1000u
#define LDT_AT	 0x800u

/* Runs at DATA, and ends at PORT_DONE. There leads to a label in it. */
#define GUEST(name, bits, text)                                                                    \
	extern const u8 name[], name##_end[];                                                      \
	__asm__(".pushsection .rodata\n.code" #bits "\n" #name ":\n" text                          \
		"\nout %al, $0xe1\n" #name "_end:\n.code64\n.popsection")
#define THERE(name, label) "(" #label " - " #name " + 0x100000)"

/* Of the GDT, but for the first three neither accessed nor busy */
enum {
	CODE64 = 0x08,
	RAM_DATA = 0x10,
	CODE32 = 0x18,
	DATA_SEL = 0x20,
	NEW64 = 0x28,
	NEW32 = 0x30,
	USER64 = 0x38,
	USER_DATA = 0x40,
	TSS = 0x48,
	LDT = 0x58,
	USER32 = 0x68,
};
static const u64 gdt[] = {
    [CODE64 / 8] = 0x00af9b000000ffff,
    [RAM_DATA / 8] = 0x00cf93000000ffff,
    [CODE32 / 8] = 0x00cf9b000000ffff,
    [DATA_SEL / 8] = 0x00cf92000000ffff,
    [NEW64 / 8] = 0x00af9a000000ffff,
    [NEW32 / 8] = 0x00cf9a000000ffff,
    [USER64 / 8] = 0x00affa000000ffff,
    [USER_DATA / 8] = 0x00cff2000000ffff,
    [TSS / 8] = 0x00008900a0000067,
    [LDT / 8] = 0x1000820008000000 | 0xf,
    [LDT / 8 + 1] = 0,
    [USER32 / 8] = 0x00cffa000000ffff,
};

/* clang-format off */
GUEST(ltr64, 64, "mov $0x48, %eax; ltr %ax");
GUEST(ltr64_mem, 64, "push $0x48; ltr (%rsp)");
GUEST(ldt64, 64, "mov $0x58, %eax; lldt %ax; mov $0xc, %eax; mov %eax, %ds");
GUEST(ds64, 64, "mov $0x20, %eax; mov %eax, %ds");
GUEST(ds64_mem, 64, "push $0x20; mov (%rsp), %ds");
GUEST(ss64, 64, "mov $0x20, %eax; mov %eax, %ss");
GUEST(pop64, 64, "push $0x20; pop %fs; push $0x20; popw %gs");
GUEST(lfs64, 64, "push $0; movl $0x20, 4(%rsp); lfs (%rsp), %eax");
GUEST(jmp64, 64, "push $0x28; lea 1f(%rip), %rax; push %rax; .byte 0x48; ljmp *(%rsp); 1:");
GUEST(call64, 64, "push $0x28; lea 1f(%rip), %rax; push %rax; .byte 0x48; lcall *(%rsp); 1:");
GUEST(ret64, 64, "push $0x28; lea 1f(%rip), %rax; push %rax; lretq; 1:");
GUEST(ret64_32, 64, "push $0x30; lea 1f(%rip), %rax; push %rax; lretq; 1:");
GUEST(ret64_out, 64,
      "push $0x3002; popf; push $0x43; push %rsp; push $0x3b; lea 1f(%rip), %rax; push %rax;"
      "lretq; 1:");
GUEST(iret64, 64,
      "push $0x20; push %rsp; pushf; push $0x28; lea 1f(%rip), %rax; push %rax; iretq; 1:");
GUEST(iret64_out, 64,
      "push $0x43; push %rsp; push $0x3002; push $0x3b; lea 1f(%rip), %rax; push %rax; iretq; 1:");
GUEST(iret64_32, 64,
      "push $0x43; push %rsp; push $0x3002; push $0x6b; lea 1f(%rip), %rax; push %rax; iretq; 1:");
GUEST(ltr32, 32, "mov $0x48, %eax; ltr %ax");
GUEST(ldt32, 32, "mov $0x58, %eax; lldt %ax; mov $0xc, %eax; mov %eax, %ds");
GUEST(pop32, 32, "push $0x20; pop %es; push $0x20; popw %ss; push $0x20; pop %fs");
GUEST(les32, 32, "push $0x20; push $0; les (%esp), %eax; lss (%esp), %eax");
GUEST(jmp32, 32, "ljmp $0x30, $" THERE(jmp32, 1f) "; 1:");
GUEST(call32, 32, "lcall $0x30, $" THERE(call32, 1f) "; 1:");
GUEST(ret32, 32, "push $0x30; push $" THERE(ret32, 1f) "; lret; 1:");
GUEST(iret32, 32, "pushf; push $0x30; push $" THERE(iret32, 1f) "; iret; 1:");
GUEST(iret32_out, 32,
      "push $0x43; push %esp; push $0x3002; push $0x6b; push $" THERE(iret32_out, 1f) "; iret; 1:");
/* clang-format on */

#define OF(name, mode, reg) name, name##_end, mode, offsetof(struct kvm_sregs, reg)
static const struct {
	const char *what;
	const u8 *code, *end;
	enum mode mode;
	u32 reg; /* what is looked at */
	u16 selector;
	u32 marks;   /* writes that would have marked a descriptor */
	bool branch; /* which QEMU's TCG lets go without a mark */
} tests[] = {
    {"LTR", OF(ltr64, MODE_LONG, tr), TSS, 1},
    {"LTR from memory", OF(ltr64_mem, MODE_LONG, tr), TSS, 1},
    {"MOV to DS, by LLDT's table", OF(ldt64, MODE_LONG, ds), 0xc, 1},
    {"MOV to DS", OF(ds64, MODE_LONG, ds), DATA_SEL, 1},
    {"MOV to DS from memory", OF(ds64_mem, MODE_LONG, ds), DATA_SEL, 1},
    {"MOV to SS", OF(ss64, MODE_LONG, ss), DATA_SEL, 1},
    {"POP to FS and GS", OF(pop64, MODE_LONG, gs), DATA_SEL, 2},
    {"LFS", OF(lfs64, MODE_LONG, fs), DATA_SEL, 1},
    {"far JMP", OF(jmp64, MODE_LONG, cs), NEW64, 1, true},
    {"far CALL", OF(call64, MODE_LONG, cs), NEW64, 1, true},
    {"far RET", OF(ret64, MODE_LONG, cs), NEW64, 1, true},
    {"far RET to 32 bits", OF(ret64_32, MODE_LONG, cs), NEW32, 1, true},
    {"far RET to a program", OF(ret64_out, MODE_LONG, ss), USER_DATA | 3, 2, true},
    {"IRET", OF(iret64, MODE_LONG, cs), NEW64, 2, true},
    {"IRET to a program", OF(iret64_out, MODE_LONG, cs), USER64 | 3, 2, true},
    {"IRET to one of 32 bits", OF(iret64_32, MODE_LONG, cs), USER32 | 3, 2, true},
    {"LTR, 32 bits", OF(ltr32, MODE_PROT32, tr), TSS, 1},
    {"MOV to DS, by LLDT's table, 32 bits", OF(ldt32, MODE_PROT32, ds), 0xc, 1},
    {"POP to ES, SS and FS, 32 bits", OF(pop32, MODE_PROT32, ss), DATA_SEL, 3},
    {"LES and LSS", OF(les32, MODE_PROT32, ss), DATA_SEL, 2},
    {"far JMP, 32 bits", OF(jmp32, MODE_PROT32, cs), NEW32, 1, true},
    {"far CALL, 32 bits", OF(call32, MODE_PROT32, cs), NEW32, 1, true},
    {"far RET, 32 bits", OF(ret32, MODE_PROT32, cs), NEW32, 1, true},
    {"IRET, 32 bits", OF(iret32, MODE_PROT32, cs), NEW32, 1, true},
    {"IRET to a program, 32 bits", OF(iret32_out, MODE_PROT32, ss), USER_DATA | 3, 2, true},
};

static u8 *rom;
static u32 marks, others; /* writes that set a bit of a descriptor's type, and all others */

static void serve_rom(struct kvm_run *run)
{
	u64 at = run->mmio.phys_addr - ROM;
	u8 *data = run->mmio.data, set;

	if (at + run->mmio.len > ROM_SIZE)
		fatal("an access to %llx", run->mmio.phys_addr);
	if (!run->mmio.is_write) {
		memcpy(data, rom + at, run->mmio.len);
		return;
	}
	set = data[0] & ~rom[at];
	if (at % 8 == 5 && run->mmio.len == 1 && (set == 1 || set == 2) &&
	    data[0] == (rom[at] | set))
		marks++;
	else
		others++;
}

static bool run_to_end(struct vm *vm)
{
	struct kvm_run *run = vm->run[0];

	for (u32 exits = 0; exits < 1000; exits++) {
		if (cpu_ioctl(vm, 0, KVM_RUN, NULL))
			return false;
		if (run->exit_reason == KVM_EXIT_MMIO)
			serve_rom(run);
		else
			return run->exit_reason == KVM_EXIT_IO && run->io.port == PORT_DONE;
	}
	return false;
}

/* Is all as the processor would have left it? */
static bool is_loaded(struct vm *vm, u32 i, bool is_rom)
{
	bool tr = tests[i].reg == offsetof(struct kvm_sregs, tr);
	const struct kvm_segment *seg;
	struct kvm_sregs s;

	cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
	seg = (void *)((u8 *)&s + tests[i].reg);
	if (seg->selector != tests[i].selector || others || seg->unusable)
		return false;
	if (tr && (seg->type != 11 || seg->base != SCRATCH))
		return false;
	if (is_rom && tests[i].branch && !marks)
		return !(seg->type & 1);
	return seg->type & 1 && marks == tests[i].marks;
}

/* One after the other in a VM, whose tables lie in memory of this kind. */
static void try_all(const char *where, bool is_rom)
{
	struct kvm_userspace_memory_region r = {
	    .slot = 1,
	    .flags = KVM_MEM_READONLY,
	    .guest_phys_addr = ROM,
	    .memory_size = ROM_SIZE,
	    .userspace_addr = (u64)rom,
	};
	struct kvm_sregs s, reset;
	struct kvm_regs regs;
	struct vm vm;
	u8 before[ROM_SIZE];
	bool good;

	vm_init(&vm, 1, 0);
	if (is_rom && vm_ioctl(&vm, KVM_SET_USER_MEMORY_REGION, &r))
		fatal("a ROM");
	cpu_ioctl(&vm, 0, KVM_GET_SREGS, &reset);
	memcpy(before, rom, ROM_SIZE);
	for (u32 i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		marks = others = 0;
		cpu_ioctl(&vm, 0, KVM_SET_SREGS, &reset);
		cpu_setup(&vm, 0, tests[i].mode, payload_start, 0, 0);
		cpu_ioctl(&vm, 0, KVM_GET_SREGS, &s);
		s.gdt.base = ROM;
		s.gdt.limit = sizeof(gdt) - 1;
		cpu_ioctl(&vm, 0, KVM_SET_SREGS, &s);
		cpu_get_regs(&vm, 0, &regs);
		regs.rip = DATA;
		cpu_set_regs(&vm, 0, &regs);
		memcpy(vm.ram + DATA, tests[i].code, tests[i].end - tests[i].code);
		good = run_to_end(&vm) && is_loaded(&vm, i, is_rom);
		ok(good && !memcmp(before, rom, ROM_SIZE), "descriptors in %s: %s", where,
		   tests[i].what);
		cpu_get_regs(&vm, 0, &regs);
		if (!good)
			note("exit %u at %llx, %u marks, %u other writes", vm.run[0]->exit_reason,
			     regs.rip, marks, others);
	}
	vm_free(&vm);
}

int main(void)
{
	alarm(50);
	open_kvm();
	rom = mmap(NULL, ROM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (rom == MAP_FAILED)
		fatal("mmap");
	memcpy(rom, gdt, sizeof(gdt));
	memcpy(rom + LDT_AT + 8, &gdt[DATA_SEL / 8], 8);
	try_all("a ROM", true);
	try_all("a device", false);
	return failures != 0;
}
