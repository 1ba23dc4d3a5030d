/* SPDX-License-Identifier: GPL-2.0-only */
/* Accesses to ports and to memory that the VMM serves. */
#include "api.h"

/* ---- port and memory accesses ---- */

#define STRING_BYTES "5000"
GUEST(outs, "mov $0x2000, %si; mov $0x99, %dx; mov $" STRING_BYTES ", %cx; rep outsb; hlt");
GUEST(ins, "mov $0x2000, %di; mov $0x99, %dx; mov $" STRING_BYTES ", %cx; rep insb; hlt");
GUEST(mmio, "mov $0xb800, %ax; mov %ax, %ds; mov 0x1234, %ax; mov %ax, 0x1236\n"
	    "mov $0xf000, %ax; mov %ax, %ds; mov 0x10, %ax; incw 0x10; hlt");

static void test_string_io(void)
{
	struct vm v = start(NO_CHIP);
	int n = 0, exits = 0, bad = 0, bytes = atoi(STRING_BYTES);

	LOAD(v, outs);
	for (int i = 0; i < bytes; i++)
		ram[0x2000 + i] = i * 7;
	for (; run(&v) == KVM_EXIT_IO; exits++)
		for (uint32_t i = 0; i < v.run->io.count; i++, n++)
			bad += io_data(&v)[i] != (u8)(n * 7);
	check(n == bytes && !bad && v.run->exit_reason == KVM_EXIT_HLT,
	      "REP OUTS hands out every byte");
	check(exits < 10, "many at a time (%d exits)", exits);
	end(&v);

	v = start(NO_CHIP);
	LOAD(v, ins);
	for (n = 0; run(&v) == KVM_EXIT_IO;)
		for (uint32_t i = 0; i < v.run->io.count; i++, n++)
			io_data(&v)[i] = n * 3;
	for (int i = 0; i < bytes; i++)
		bad += ram[0x2000 + i] != (u8)(i * 3);
	check(n == bytes && !bad, "REP INS takes in every byte");
	end(&v);
}

static void test_mmio(void)
{
	struct vm v = start(NO_CHIP);
	struct kvm_run *r = v.run;

	set_slot(v.fd, 0, 0, 0, 0, NULL);
	set_slot(v.fd, 0, 0, 0, 0xa0000, ram);
	set_slot(v.fd, 1, KVM_MEM_READONLY, 0xf0000, 0x10000, ram + 0xf0000);
	*(u16 *)(ram + 0xf0010) = 0x4241;
	LOAD(v, mmio);
	check(run(&v) == KVM_EXIT_MMIO && r->mmio.phys_addr == 0xb9234 && r->mmio.len == 2 &&
		  !r->mmio.is_write,
	      "a read where there is no slot is KVM_EXIT_MMIO");
	*(u16 *)r->mmio.data = 0x7788;
	check(run(&v) == KVM_EXIT_MMIO && r->mmio.phys_addr == 0xb9236 && r->mmio.is_write &&
		  *(u16 *)r->mmio.data == 0x7788,
	      "so is a write, of what was read");
	check(run(&v) == KVM_EXIT_MMIO && r->mmio.phys_addr == 0xf0010 && r->mmio.is_write &&
		  *(u16 *)r->mmio.data == 0x4242,
	      "a read-only slot can be read, writes exit");
	check(run(&v) == KVM_EXIT_HLT && *(u16 *)(ram + 0xf0010) == 0x4241, "and change nothing");
	end(&v);
}

/* ---- strings to and from where no memory is ---- */

GUEST(string_devices,
      "mov $0xb800, %ax; mov %ax, %es; mov %ax, %ds; mov $0x1f0, %dx; cld\n"
      "xor %di, %di; mov $3, %cx; rep insw\n"
      "mov $0x20, %si; mov $2, %cx; rep outsl\n"
      "std; mov $0x42, %di; mov $2, %cx; rep insb; cld\n"
      "mov $0x9fff, %ax; mov %ax, %es; mov $0xf, %di; insw\n"  /* half of it in memory */
      "mov %ax, %ds; mov $0xd, %si; mov $1, %cx; rep outsl\n"  /* three quarters */
      "mov $0xf000, %ax; mov %ax, %es; mov $0x20, %di; insb\n" /* read-only */
      "mov %ax, %ds; mov $0x20, %si; outsb; hlt");

static bool port_exit(struct vm *v, bool out, uint32_t size, uint32_t value)
{
	struct kvm_run *r = v->run;

	if (run(v) != KVM_EXIT_IO || r->io.port != 0x1f0 || r->io.direction != out ||
	    r->io.size != size || r->io.count != 1)
		return false;
	if (out)
		return !memcmp(io_data(v), &value, size);
	memcpy(io_data(v), &value, size);
	return true;
}

static bool mmio_exit(struct vm *v, bool write, u64 addr, uint32_t len, u64 value)
{
	struct kvm_run *r = v->run;

	if (run(v) != KVM_EXIT_MMIO || r->mmio.phys_addr != addr || r->mmio.len != len ||
	    r->mmio.is_write != write)
		return false;
	if (write)
		return !memcmp(r->mmio.data, &value, len);
	memcpy(r->mmio.data, &value, len);
	return true;
}

static void test_string_devices(void)
{
	struct vm v = start_with_hole();
	bool good = true;

	set_slot(v.fd, 1, KVM_MEM_READONLY, 0xf0000, 0x10000, ram + 0xf0000);
	ram[0xf0020] = 0x61;
	LOAD(v, string_devices);
	for (uint32_t i = 0; i < 3; i++)
		good &= port_exit(&v, false, 2, 0x1100 + i) &&
			mmio_exit(&v, true, 0xb8000 + 2 * i, 2, 0x1100 + i);
	check(good, "REP INS into a device: each element is read, and written there");
	for (uint32_t i = 0; i < 2; i++)
		good &= mmio_exit(&v, false, 0xb8020 + 4 * i, 4, 0x22000000 + i) &&
			port_exit(&v, true, 4, 0x22000000 + i);
	check(good, "REP OUTS from one");
	for (uint32_t i = 0; i < 2; i++)
		good &= port_exit(&v, false, 1, 0x33 + i) &&
			mmio_exit(&v, true, 0xb8042 - i, 1, 0x33 + i);
	check(good, "REP INS downwards");
	good &= port_exit(&v, false, 2, 0x5544) && mmio_exit(&v, true, 0xa0000, 1, 0x55) &&
		ram[0x9ffff] == 0x44;
	check(good, "INS across the end of memory");
	memcpy(ram + 0x9fffd, "\x01\x02\x03", 3);
	good &= mmio_exit(&v, false, 0xa0000, 1, 0x04) && port_exit(&v, true, 4, 0x04030201);
	check(good, "OUTS across it");
	good &= port_exit(&v, false, 1, 0x77) && mmio_exit(&v, true, 0xf0020, 1, 0x77) &&
		port_exit(&v, true, 1, 0x61);
	check(good, "INS into a read-only slot exits, OUTS from there is a read of memory");
	check(good && run(&v) == KVM_EXIT_HLT, "and the guest goes on");
	end(&v);
}

GUEST(rep_ins, "mov $0x2000, %di; mov $0x1f0, %dx; mov $3, %cx; rep insb; hlt");
GUEST(rep_ins_device, "mov $0xb800, %ax; mov %ax, %es; xor %di, %di; mov $0x1f0, %dx\n"
		      "mov $3, %cx; rep insb; hlt");
GUEST(rep_movs_device, "mov $0xb800, %ax; mov %ax, %ds; mov %ax, %es; xor %di, %di\n"
		       "mov $3, %cx; rep movsb; hlt");

static void set_rcx(struct vm *v, u64 rcx)
{
	struct kvm_regs r = regs(v);

	r.rcx = rcx;
	ioctl(v->vcpu, KVM_SET_REGS, &r);
}

/* A VMM that changes RCX while it is asked: what there is more than that is not moved. */
static void test_string_rcx(void)
{
	static const struct {
		u64 rcx, left, moved;
	} changes[] = {{3, 0, 3}, {1, 0, 1}, {0, 0, 0}, {0x10000, 0x10000, 0}, {2, 0, 2}};
	struct vm v;

	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		v = start(NO_CHIP);
		LOAD(v, rep_ins);
		check(run(&v) == KVM_EXIT_IO && v.run->io.count == 3, "REP INS asks for all");
		set_rcx(&v, changes[i].rcx);
		check(run(&v) == KVM_EXIT_HLT && regs(&v).rcx == changes[i].left &&
			  regs(&v).rdi == 0x2000 + changes[i].moved,
		      "RCX %#lx meanwhile: %lu bytes are moved", changes[i].rcx, changes[i].moved);
		end(&v);
	}
	v = start_with_hole();
	LOAD(v, rep_ins_device);
	check(port_exit(&v, false, 1, 0x11) && mmio_exit(&v, true, 0xb8000, 1, 0x11),
	      "REP INS into a device");
	set_rcx(&v, 0);
	check(run(&v) == KVM_EXIT_HLT && !regs(&v).rcx, "ends where RCX is 0 meanwhile");
	end(&v);
	v = start_with_hole();
	LOAD(v, rep_movs_device);
	check(mmio_exit(&v, false, 0xb8000, 1, 0x11), "REP MOVS from a device to another");
	check(mmio_exit(&v, true, 0xb8000, 1, 0x11), "writes what it has read");
	set_rcx(&v, 0);
	check(run(&v) == KVM_EXIT_HLT && !regs(&v).rcx, "and ends where RCX is 0 meanwhile");
	end(&v);
}

/* ---- instructions with an operand in a device ---- */

GUEST(device_operands, "mov $0xb800, %ax; mov %ax, %ds; mov $0x11223344, %eax; movd %eax, %xmm4\n"
		       "fninit; fld1\n"					  /* ST(0) is register 7 */
		       "movaps 0x10, %xmm3; movups %xmm3, 0x23\n"	  /* 4 exits */
		       "movhps 0x30, %xmm4; movd %xmm4, 0x38\n"		  /* 1, 1 */
		       "movq 0x40, %mm5; movq %mm5, 0x48; emms\n"	  /* 1, 1 */
		       "rorw $4, 0x50\n"				  /* 2 */
		       "mov $7, %ax; mulw 0x52; mov %ax, 0x54\n"	  /* 1, 1 */
		       "stc; setc 0x56; cmovc 0x58, %bx; mov %bx, 0x5a\n" /* 1, 1, 1 */
		       "mov $0x60, %bx; mov $2, %al; xlat; mov %al, 0x64\n" /* 1, 1 */
		       "mov $0xb800, %ax; mov %ax, %ss; mov $0x84, %sp; push %cs; pusha; popa\n"
		       "mov %sp, 0x90; hlt");
GUEST(divide_error, "mov $0xb800, %ax; mov %ax, %ds; mov $0x100, %ax; divb 0x10; hlt");
GUEST(on_divide_error, "mov $0x77, %al; out %al, $0x78; iret");

static void test_device_operands(void)
{
	struct vm v = start_with_hole();
	struct kvm_sregs s;
	struct kvm_fpu fpu;
	bool good = true;

	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.cr4 |= 0x200; /* OSFXSR */
	s.cr0 &= ~0xcull;
	ioctl(v.vcpu, KVM_SET_SREGS, &s);
	LOAD(v, device_operands);
	good &= mmio_exit(&v, false, 0xb8010, 8, 0x01020304) &&
		mmio_exit(&v, false, 0xb8018, 8, 0x05060708) &&
		mmio_exit(&v, true, 0xb8023, 8, 0x01020304) &&
		mmio_exit(&v, true, 0xb802b, 8, 0x05060708);
	check(good, "MOVAPS from a device, MOVUPS to one");
	good &= mmio_exit(&v, false, 0xb8030, 8, 0x99aabbcc) &&
		mmio_exit(&v, true, 0xb8038, 4, 0x11223344);
	check(good, "MOVHPS, and MOVD of what it left");
	good &= mmio_exit(&v, false, 0xb8040, 8, 0x12345678) &&
		mmio_exit(&v, true, 0xb8048, 8, 0x12345678);
	ioctl(v.vcpu, KVM_GET_FPU, &fpu);
	check(good && !memcmp(fpu.xmm[3], "\x04\x03\x02\x01", 4) &&
		  !memcmp(fpu.xmm[4], "\x44\x33\x22\x11\0\0\0\0\xcc\xbb\xaa\x99", 12),
	      "MOVQ of MMX; other registers stay");
	check(!memcmp(fpu.fpr[5], "\x78\x56\x34\x12", 4) && fpu.fpr[5][8] == 0xff &&
		  fpu.fpr[7][9] == 0x3f && fpu.fpr[7][8] == 0xff && !(fpu.fsw & 0x3800),
	      "MMX registers are those of x87, as they lie");
	good &= mmio_exit(&v, false, 0xb8050, 2, 0x1234) && mmio_exit(&v, true, 0xb8050, 2, 0x4123);
	check(good, "ROR");
	good &= mmio_exit(&v, false, 0xb8052, 2, 0x1000) && mmio_exit(&v, true, 0xb8054, 2, 0x7000);
	check(good, "MUL");
	good &= mmio_exit(&v, true, 0xb8056, 1, 1) && mmio_exit(&v, false, 0xb8058, 2, 0x4567) &&
		mmio_exit(&v, true, 0xb805a, 2, 0x4567);
	check(good, "SETcc, CMOVcc");
	good &= mmio_exit(&v, false, 0xb8062, 1, 0x5a) && mmio_exit(&v, true, 0xb8064, 1, 0x5a);
	check(good, "XLAT");
	good &= mmio_exit(&v, true, 0xb8082, 2, 0);
	for (uint32_t i = 0; i < 8; i++)
		good &= run(&v) == KVM_EXIT_MMIO && v.run->mmio.phys_addr == 0xb8080 - 2 * i &&
			v.run->mmio.is_write;
	for (uint32_t i = 0; i < 8; i++)
		good &= mmio_exit(&v, false, 0xb8072 + 2 * i, 2, i);
	check(good && mmio_exit(&v, true, 0xb8090, 2, 0x82), "PUSH, PUSHA and POPA in a device");
	check(run(&v) == KVM_EXIT_HLT && (regs(&v).rax & 0xffff) == 7 &&
		  regs(&v).rdi % 0x10000 == 0,
	      "POPA takes each register's value");
	end(&v);

	v = start_with_hole();
	LOAD(v, divide_error);
	HANDLE(0, on_divide_error);
	check(mmio_exit(&v, false, 0xb8010, 1, 1) && run(&v) == KVM_EXIT_IO &&
		  *io_data(&v) == 0x77 && regs(&v).rsp == STACK - 6,
	      "DIV by what a device has: a quotient too large is #DE");
	end(&v);
}

GUEST(movs_once, "movsb; hlt");
GUEST(on_segment_fault, "mov $0x77, %al; out %al, $0x78; hlt");

/* The second operand of MOVS is nobody's but the emulator's to check. */
static void test_expand_down(void)
{
	struct vm v = start_with_hole();
	struct kvm_regs r = {.rip = CODE, .rflags = 2, .rsp = STACK, .rsi = 0x10, .rdi = 0x1000};
	struct kvm_sregs s;

	LOAD(v, movs_once);
	HANDLE(13, on_segment_fault);
	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.ds.base = 0xb8000;
	s.es.base = 0x2000;
	s.es.type = 7; /* data, expands downwards */
	s.es.limit = 0xfff;
	ioctl(v.vcpu, KVM_SET_SREGS, &s);
	ioctl(v.vcpu, KVM_SET_REGS, &r);
	check(mmio_exit(&v, false, 0xb8010, 1, 0x5a) && run(&v) == KVM_EXIT_HLT &&
		  ram[0x3000] == 0x5a,
	      "a segment that expands downwards begins behind its limit");
	r.rdi = 0xfff;
	ioctl(v.vcpu, KVM_SET_REGS, &r);
	check(mmio_exit(&v, false, 0xb8010, 1, 0x5a) && run(&v) == KVM_EXIT_IO &&
		  at_port(&v, 0x78) && *io_data(&v) == 0x77 && !ram[0x2fff],
	      "and up to there is #GP");
	end(&v);
}

GUEST(unsupported, "mov $0xb800, %ax; mov %ax, %ds; mov 0x10, %ax; mulps 0x110, %xmm0; hlt");

/* kvm.py looks for the line that says so. */
static void test_unsupported(void)
{
	struct vm v = start_with_hole();
	struct kvm_sregs s;

	ioctl(v.vcpu, KVM_GET_SREGS, &s);
	s.cr4 |= 0x200; /* OSFXSR */
	ioctl(v.vcpu, KVM_SET_SREGS, &s);
	LOAD(v, unsupported);
	check(mmio_exit(&v, false, 0xb8010, 2, 0) && run(&v) == KVM_EXIT_INTERNAL_ERROR,
	      "arithmetic of SSE on a device ends as an internal error");
	end(&v);
}

GUEST(bells, "mov $0x123, %dx; mov $7, %ax; out %ax, %dx; mov $8, %al; out %ax, %dx; hlt");

static void test_ioeventfd(void)
{
	struct vm v = start(NO_CHIP);
	int e = eventfd(0, EFD_NONBLOCK);
	struct kvm_ioeventfd io = {.addr = 0x123,
				   .len = 2,
				   .fd = e,
				   .datamatch = 7,
				   .flags = KVM_IOEVENTFD_FLAG_PIO | KVM_IOEVENTFD_FLAG_DATAMATCH};

	LOAD(v, bells);
	check(!ioctl(v.fd, KVM_IOEVENTFD, &io), "an ioeventfd can be assigned");
	check(ioctl(v.fd, KVM_IOEVENTFD, &io) && errno == EEXIST, "not twice");
	check(run(&v) == KVM_EXIT_IO && *(u16 *)io_data(&v) == 8 && count(e) == 1,
	      "a match signals it, a mismatch exits");
	io.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	check(!ioctl(v.fd, KVM_IOEVENTFD, &io), "it can be deassigned");
	check(ioctl(v.fd, KVM_IOEVENTFD, &io) && errno == ENOENT, "not twice either");
	close(e);
	end(&v);
}

void access_tests(void)
{
	test_string_io();
	test_mmio();
	test_string_devices();
	test_string_rcx();
	test_device_operands();
	test_expand_down();
	test_unsupported();
	test_ioeventfd();
}
