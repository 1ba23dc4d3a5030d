/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/emul/emul.c hv/emul/op.c hv/emul/insn.c hv/emul/pass.c hv/emul/stack.c
 * hv/emul/string.c hv/emul/system.c hv/emul/descriptor.c hv/emul/vector.c
 */
/*
 * What an instruction raises and how far it goes, in all modes: faults, segments, bounds; and
 * hostile input.
 */
#include "emul_fake.h"

static void test_faults(void)
{
	struct emul_env e = env_for(EMUL_64);

	reset_cpu();
	cpu.gpr[0] = cpu.gpr[5] = 0x800000000000;
	CHECK(faults(&e, "\x8b\x00", 2, 13), "non-canonical address: #GP");
	CHECK(faults(&e, "\x8b\x45\x00", 3, 12), "non-canonical address through RBP: #SS");
	cpu.gpr[0] = 0x7fffffffffff;
	CHECK(faults(&e, "\x8b\x00", 2, 13), "access across the canonical boundary: #GP");
	e.linear_bits = 57;
	CHECK(once(&e, "\x8b\x00", 2) == EMUL_FAULT && e.fault.vector != 13,
	      "57-bit addresses: canonical");
	cpu.gpr[0] = data_at;
	CHECK(faults(&e, "\xf0\x8b\x00", 3, 6), "LOCK MOV: #UD");
	CHECK(faults(&e, "\xf0\x39\x00", 3, 6), "LOCK CMP: #UD");
	CHECK(faults(&e, "\xf0\xa4", 2, 6), "LOCK MOVS: #UD");
	CHECK(once(&e, "\x0f\x58\x00", 3) == EMUL_UNSUPPORTED && cpu.rip == 0x1000,
	      "ADDPS is not supported");
	CHECK(once(&e, "\xc5\xf8\x58\x00", 4) == EMUL_UNSUPPORTED, "VADDPS is not supported");
	CHECK(once(&e, "\xf3\x0f\xbc\x00", 4) == EMUL_UNSUPPORTED, "TZCNT is not BSF");
	CHECK(once(&e, "\xc5\xf8\x6f\x00", 4) == EMUL_UNSUPPORTED, "MMX has no VEX");
	CHECK(faults(&e, "\xf0\x0f\x40\x00", 4, 6), "LOCK CMOV: #UD");
	CHECK(faults(&e, "\xf0\xd1\x00", 3, 6), "LOCK ROL: #UD");
	CHECK(faults(&e, "\x8c\x30", 2, 6), "a segment register that does not exist: #UD");
	cpu.gpr[0] += 8;
	CHECK(faults(&e, "\x48\x0f\xc7\x08", 4, 13), "CMPXCHG16B that is not aligned: #GP");
	cpu.gpr[0] -= 8;
	dev.read = dev.written = 0;
	CHECK(once(&e, "\x0f\xae\x38", 3) == EMUL_DONE && cpu.rip == 0x1003 && !dev.read,
	      "CLFLUSH touches nothing");
	cpu.rip = 0x1000;
	CHECK(once(&e, "\xc4\xe2\x78\xf2\x00", 5) == EMUL_UNSUPPORTED, "ANDN is not supported");
	CHECK(once(&e, "\x8b\xc0", 2) == EMUL_UNSUPPORTED, "no memory operand: not supported");
	CHECK(once(&e, "\x8b", 1) == EMUL_UNSUPPORTED, "half an instruction is not supported");

	/* REP MOVS downwards into a page that may not be written, in the 4th iteration */
	cpu.gpr[1] = 10;
	cpu.gpr[6] = data_at + 8192;
	cpu.gpr[7] = data_at + 4096 + 8;
	cpu.rflags = 0x402;
	dev.fault_page = 1;
	dev.mmio_pages = 2;
	CHECK(once(&e, "\xf3\xa5", 2) == EMUL_FAULT && e.fault.vector == 14 && cpu.gpr[1] == 7 &&
		  cpu.gpr[7] == data_at + 4092 && cpu.rip == 0x1000,
	      "a fault in a REP MOVS leaves the iterations done and RIP there");
	cpu.gpr[0] = data_at;
	CHECK(faults(&e, "\x01\x00", 2, 14),
	      "read-modify-write of a read-only page faults as a write");
	dev.fault_page = 0;
}

/* Accesses that the processor has translated already: dev_access() with its faults is not asked. */
static void test_stopped(void)
{
	struct emul_env e = env_for(EMUL_64);
	struct emul_state st;

#define RUN(how, off, insn)                                                                        \
	(e.stopped = (how), e.stopped_gpa = 0xd0000000 + (off),                                    \
	 start(&st, &e, (const u8 *)(insn), sizeof(insn) - 1))
	reset_cpu();
	cpu.gpr[0] = cpu.gpr[7] = data_at + 0x10;
	cpu.gpr[6] = data_at + 4096 + 0x10;
	dev.mmio_pages = dev.retry = 0;
	dev.fault_page = 1;
	CHECK(RUN(EMUL_STOPPED_WRITE, 0x10, "\x89\x08") == EMUL_MMIO_WRITE &&
		  st.mmio_gpa == 0xd0000010,
	      "a stopped write is not translated again");
	CHECK(emul_continue(&st, &e) == EMUL_DONE && cpu.rip == 0x1002,
	      "it is done once it is answered");
	CHECK(RUN(EMUL_STOPPED_READ, 0x10, "\x89\x08") == EMUL_FAULT,
	      "a write needs more rights than a stopped read had");
	CHECK(RUN(EMUL_STOPPED_READ, 0x10, "\x01\x08") == EMUL_FAULT,
	      "so does the read of a read-modify-write");
	CHECK(RUN(EMUL_STOPPED_WRITE, 0x14, "\x89\x08") == EMUL_FAULT,
	      "another offset in the page is another access");
	CHECK(RUN(EMUL_STOPPED_READ, 0x10, "\x8b\x08") == EMUL_MMIO_READ,
	      "a stopped read is not translated again");
	CHECK(RUN(EMUL_STOPPED_WRITE, 0x10, "\xa4") == EMUL_FAULT && !st.mmio_len,
	      "of two operands either may be meant");
#undef RUN
	dev.fault_page = 0;
}

#define AT  0x100 /* in the data, where VAL lies */
#define VAL 0x11223344u

static struct emul_env legacy(enum emul_mode mode)
{
	struct emul_env e = env_for(mode);

	reset_cpu();
	memcpy(dev.data + AT, &(u32){VAL}, 4);
	e.stack32 = mode == EMUL_32;
	e.seg_base[SEG_DS] = data_at;
	return e;
}

static void test_segments(void)
{
	struct emul_env e = legacy(EMUL_32);

	e.seg_base[SEG_DS] = data_at - 0x10000;
	cpu.gpr[RBX] = 0x10000 + AT;
	cpu.rip = 0xfffffffe;
	CHECK(once(&e, "\x8b\x03", 2) == EMUL_DONE && (u32)cpu.gpr[RAX] == VAL && cpu.rip == 0,
	      "32-bit mode: segment base, EIP wraps");
	cpu.gpr[RBX] = AT - 0x80;
	e.seg_base[SEG_DS] = data_at + 0x80;
	CHECK(once(&e, "\x0f\xb6\x03", 3) == EMUL_DONE && cpu.gpr[RAX] == (u8)VAL,
	      "32-bit mode: MOVZX");
	e.seg_base[SEG_DS] = data_at + 0x80 + 0x1000;
	cpu.gpr[RBX] = (u32)(AT - 0x80 - 0x1000);
	CHECK(once(&e, "\x8b\x03", 2) == EMUL_DONE && (u32)cpu.gpr[RAX] == VAL,
	      "32-bit mode: linear addresses wrap at 4 GiB");
	e.seg_limit[SEG_DS] = 0xffff;
	cpu.gpr[RBX] = 0xfffd;
	CHECK(faults(&e, "\x8b\x03", 2, 13), "access across the segment limit: #GP");
	e.seg_limit[SEG_SS] = 0xffff;
	cpu.gpr[RBP] = 0xfffd;
	CHECK(faults(&e, "\x8b\x45\x00", 3, 12), "access across the stack limit: #SS");
	e.seg_base[SEG_SS] = data_at + AT - 0xfffc;
	CHECK(once(&e, "\x8b\x45\xff", 3) == EMUL_DONE && (u32)cpu.gpr[RAX] == VAL,
	      "access up to the segment limit");
}

static void test_expand_down(void)
{
	struct emul_env e = legacy(EMUL_32);

	e.seg_first[SEG_DS] = 0x1000;
	e.seg_base[SEG_DS] = data_at + AT - 0x1000;
	cpu.gpr[RBX] = 0xfff;
	CHECK(faults(&e, "\x8b\x03", 2, 13), "below a segment that expands downwards: #GP");
	cpu.gpr[RBX] = 0x1000;
	CHECK(once(&e, "\x8b\x03", 2) == EMUL_DONE && (u32)cpu.gpr[RAX] == VAL, "its first byte");
	e.seg_first[SEG_DS] = 1ull << 32;
	CHECK(faults(&e, "\x8b\x03", 2, 13), "one that is empty");
}

/* A device is not asked for the half of an access whose other half faults, nor is memory written.
 */
static void test_crossing(void)
{
	struct emul_env e = env_for(EMUL_64);

	reset_cpu();
	cpu.gpr[RBX] = data_at + 4092;
	cpu.gpr[RCX] = 0x1122334455667788;
	dev.mmio_pages = 1;
	dev.fault_page = 2;
	dev.read = dev.written = 0;
	CHECK(faults(&e, "\x48\x89\x0b", 3, 14) && !dev.written,
	      "a store from a device into a page that faults");
	CHECK(e.fault.cr2 == data_at + 4096, "the fault is the second page's");
	dev.mmio_pages = 0;
	memset(dev.data + 4092, 0, 4);
	CHECK(faults(&e, "\x48\x89\x0b", 3, 14) && !memcmp(dev.data + 4092, "\0\0\0", 4),
	      "from memory: nothing of it is done");
	dev.fault_page = 0;
	CHECK(once(&e, "\x48\x89\x0b", 3) == EMUL_DONE &&
		  !memcmp(dev.data + 4092, &cpu.gpr[RCX], 8),
	      "without the fault all of it");
	dev.mmio_pages = 8;
	cpu.gpr[RBX] = data_at + DATA_SIZE - 4; /* behind it each access faults */
	CHECK(faults(&e, "\x48\x8b\x0b", 3, 14) && !dev.read, "and a load");
	dev.bad = false;
}

/* What the type of a segment is against, where it counts. */
static void test_denied(void)
{
	struct emul_env e = legacy(EMUL_32), wide;

	cpu.gpr[RBX] = AT;
	e.seg_denies[SEG_DS] = BIT(WRITE) | BIT(READ_FOR_WRITE);
	CHECK(once(&e, "\x8b\x03", 2) == EMUL_DONE && (u32)cpu.gpr[RAX] == VAL,
	      "a segment that is only read is read");
	CHECK(faults(&e, "\x89\x0b", 2, 13), "and not written: #GP");
	CHECK(faults(&e, "\x01\x0b", 2, 13), "nor read to be written");
	cpu.gpr[RSI] = AT;
	cpu.gpr[RDI] = 0;
	e.seg_base[SEG_ES] = data_at;
	e.seg_denies[SEG_ES] = BIT(READ) | BIT(WRITE) | BIT(READ_FOR_WRITE);
	CHECK(faults(&e, "\xa5", 1, 13) && !memcmp(dev.data + AT, &(u32){VAL}, 4),
	      "a null segment is the target of no MOVS");
	e.port = &(u16){0x60};
	CHECK(faults(&e, "\x6d", 1, 13) && !dev.ports, "nor of an INS, whose port is not read");
	e.seg_denies[SEG_SS] = BIT(READ);
	cpu.gpr[RBP] = AT;
	CHECK(faults(&e, "\x8b\x45\x00", 3, 12), "of SS it is #SS");
	e.seg_denies[SEG_CS] = BIT(READ);
	e.seg_base[SEG_SS] = data_at;
	cpu.gpr[RSP] = 0x200;
	memcpy(dev.data + AT, &(u32){0x4000}, 4);
	CHECK(once(&e, "\xff\x13", 2) == EMUL_DONE && cpu.rip == 0x4000,
	      "code that cannot be read is branched to");
	wide = env_for(EMUL_64);
	memset(wide.seg_denies, 0xff, sizeof(wide.seg_denies));
	cpu.gpr[RBX] = data_at + AT;
	CHECK(once(&wide, "\x89\x0b", 2) == EMUL_DONE, "64-bit mode does not ask");
}

static void test_16bit(void)
{
	struct emul_env e = legacy(EMUL_16);

	e.seg_limit[SEG_DS] = 0xffff;
	cpu.gpr[RBX] = 0xffff00f0;
	cpu.gpr[RSI] = 0xffff0010;
	cpu.rip = 0x7c00;
	CHECK(once(&e, "\x8b\x00", 2) == EMUL_DONE && (u16)cpu.gpr[RAX] == (u16)VAL &&
		  cpu.rip == 0x7c02,
	      "16-bit mode: [BX+SI]");
	cpu.gpr[RBX] = 0xfff0;
	cpu.gpr[RSI] = AT + 0x10;
	CHECK(once(&e, "\x66\x8b\x00", 3) == EMUL_DONE && (u32)cpu.gpr[RAX] == VAL,
	      "16-bit mode: [BX+SI] wraps, 66 widens");
	cpu.gpr[RSI] = 0xffffffff;
	e.seg_base[SEG_DS] = data_at - 0xffff + AT;
	CHECK(once(&e, "\xac", 1) == EMUL_DONE && (u8)cpu.gpr[RAX] == (u8)VAL &&
		  cpu.gpr[RSI] == 0xffff0000,
	      "16-bit mode: SI wraps, the upper half stays");
	cpu.gpr[RSP] = 0xabcd0000;
	e.seg_base[SEG_SS] = data_at - 0xfffe + 0x200;
	cpu.gpr[RBX] = AT;
	e.seg_base[SEG_DS] = data_at;
	CHECK(once(&e, "\xff\x37", 2) == EMUL_DONE && cpu.gpr[RSP] == 0xabcdfffe &&
		  memcmp(dev.data + 0x200, &(u32){VAL}, 2) == 0,
	      "16-bit stack: SP wraps");
}

static void test_pusha(void)
{
	struct emul_env e = legacy(EMUL_16);

	e.seg_base[SEG_SS] = data_at + 0x300;
	for (u32 k = 0; k < 8; k++)
		cpu.gpr[k] = 0x11110000 * (k + 1) + k + 1;
	cpu.gpr[RSP] = 0x99990010;
	CHECK(once(&e, "\x60", 1) == EMUL_DONE && cpu.gpr[RSP] == 0x99990000 &&
		  !memcmp(dev.data + 0x300,
			  "\x08\x00\x07\x00\x06\x00\x10\x00\x04\x00\x03\x00\x02\x00\x01", 15),
	      "PUSHA");
	memset(dev.data + 0x306, 0xee, 2);
	for (u32 k = 0; k < 8; k++)
		cpu.gpr[k] = k == RSP ? 0x99990000 : 0x55555555;
	CHECK(once(&e, "\x61", 1) == EMUL_DONE && cpu.gpr[RSP] == 0x99990010 &&
		  cpu.gpr[RAX] == 0x55550001 && cpu.gpr[RDI] == 0x55550008 &&
		  cpu.gpr[RBX] == 0x55550004,
	      "POPA, which skips SP");
	e.mode = EMUL_32;
	e.stack32 = true;
	cpu.gpr[RSP] = 0x40;
	cpu.gpr[RDX] = 0xabcdef01;
	CHECK(once(&e, "\x60", 1) == EMUL_DONE && cpu.gpr[RSP] == 0x20 &&
		  !memcmp(dev.data + 0x300 + 0x34, "\x01\xef\xcd\xab", 4) &&
		  !memcmp(dev.data + 0x300 + 0x2c, "\x40\0\0\0", 4),
	      "PUSHAD");
}

static void test_jmp_limit(void)
{
	struct emul_env e = legacy(EMUL_32);

	e.seg_limit[SEG_CS] = 0x1000;
	cpu.gpr[RAX] = AT;
	memcpy(dev.data + AT, "\x01\x10\x00\x00", 4);
	CHECK(faults(&e, "\xff\x20", 2, 13), "JMP beyond the code segment: #GP");
	memcpy(dev.data + AT, "\x00\x10\x00\x00", 4);
	CHECK(once(&e, "\xff\x20", 2) == EMUL_DONE && cpu.rip == 0x1000, "JMP up to its limit");
}

static void test_bounds(void)
{
	struct emul_env e = env_for(EMUL_64);
	struct emul_state st;
	enum emul_result res;
	u32 calls = 0;

	reset_cpu();
	dev.mmio_pages = 0;
	cpu.gpr[1] = 1000;
	cpu.gpr[7] = data_at;
	CHECK(once(&e, "\xf3\xaa", 2) == EMUL_DONE && cpu.rip == 0x1000 && cpu.gpr[1] == 744 &&
		  cpu.gpr[7] == data_at + 256,
	      "a long REP stops after 256 iterations, to be run again");

	reset_cpu();
	dev.mmio_pages = ~0u;
	cpu.gpr[1] = 1000;
	cpu.gpr[7] = data_at;
	for (res = start(&st, &e, (const u8 *)"\xf3\xaa", 2); res == EMUL_MMIO_WRITE;
	     res = emul_continue(&st, &e))
		calls++;
	CHECK(res == EMUL_DONE && calls == 256 && cpu.gpr[1] == 744,
	      "so does one whose every access is answered at once");
	memset(&st, 0, sizeof(st));
	CHECK(emul_continue(&st, &e) == EMUL_UNSUPPORTED, "nothing to continue");
}

/*
 * Any bytes, any registers: no undefined behaviour, an end in bounded time, memory only through the
 * callbacks.
 */
static void test_hostile(void)
{
	u32 done = 0;

	for (u32 r = 0; r < 400000; r++) {
		u8 b[15];
		u32 n = 1 + rnd() % 15;
		enum emul_mode mode = rnd() % 3;
		struct emul_env e = env_for(mode);
		enum emul_result res;
		u16 port = 0x60;

		for (u32 k = 0; k < 15; k++)
			b[k] = rnd();
		if (rnd() % 2)
			b[rnd() % 2] =
			    "\x0f\xf0\xf3\x66\xa4\xa7\xff\x8f\xf7\x60\xc5\x6d"[rnd() % 12];
		for (u32 k = 0; k < 16; k++)
			cpu.gpr[k] = rnd() % 2 ? data_at + rnd() % DATA_SIZE : rnd_value();
		for (u32 k = 0; k < 6; k++) {
			e.seg_base[k] = rnd() % 2 ? 0 : rnd_value();
			e.seg_limit[k] = rnd() % 2 ? 0xffffffff : (u32)rnd_value();
		}
		if (rnd() % 2)
			e.port = &port;
		cpu.rip = rnd_value();
		cpu.rflags = rnd();
		dev.mmio_pages = rnd();
		dev.retry = 4;
		res = run_hostile(&e, b, n);
		done += res == EMUL_DONE;
	}
	CHECK(plain_stores > 500, "%u of them only store", plain_stores);
	CHECK(failed == 0 && done > 1000,
	      "random instructions with random state: %u completed, nothing broke", done);
}
int main(void)
{
	printf("# seed %#llx\n", (unsigned long long)SEED);
	test_faults();
	test_stopped();
	test_segments();
	test_expand_down();
	test_denied();
	test_crossing();
	test_16bit();
	test_pusha();
	test_jmp_limit();
	test_bounds();
	test_hostile();
	return test_end();
}
