/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Arbitrary bytes as an instruction, in a mode, with memory and registers, that are arbitrary, too:
 * it ends in bounded time, and memory is reached by the callbacks alone.
 * links: hv/emul/emul.c hv/emul/op.c hv/emul/insn.c hv/emul/pass.c hv/emul/stack.c
 * hv/emul/string.c hv/emul/system.c hv/emul/descriptor.c hv/emul/vector.c
 */
#include "fuzz.h"

#include "tests/unit/emul_fake.h"

const char fuzz_what[] = "instructions are emulated, fault, or are not supported";
const u32 fuzz_rounds = 200000;

#define STATE 10 /* bytes before the instruction's */

static void set_state(struct emul_env *e, const u8 *from)
{
	memcpy(&rng, from + 2, sizeof(rng));
	rng |= 1;
	for (u32 k = 0; k < 16; k++)
		cpu.gpr[k] = rnd() % 2 ? data_at + rnd() % DATA_SIZE : rnd_value();
	if (from[0] & 4)
		cpu.gpr[RCX] %= 8;
	for (u32 k = 0; k < 6; k++) {
		e->seg_base[k] = from[0] & 8 ? 0 : rnd_value();
		e->seg_limit[k] = from[0] & 16 ? 0xffffffff : (u32)rnd_value();
		e->seg_first[k] = from[0] & 32 ? 0 : rnd() % 0x2000;
	}
	cpu.rip = rnd_value();
	cpu.rflags = rnd();
	dev.mmio_pages = from[1] & 15;
	dev.fault_page = from[1] >> 4 & 7;
	dev.retry = from[1] & 0x80 ? 4 : 0;
	vector_fault = from[0] & 64 ? 7 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct emul_env e;
	u16 port = 0x60;
	enum emul_result res;

	if (size <= STATE)
		return 0;
	e = env_for(data[0] % 3);
	set_state(&e, data);
	if (data[0] & 128)
		e.port = &port;
	res = run_hostile(&e, data + STATE, (u32)MIN(size - STATE, 15u));
	require(!failed, "it ends, and a plain store is one");
	require(res != EMUL_FAULT || e.fault.vector < 32, "a fault is an exception");
	return 0;
}

size_t fuzz_make(u8 *to)
{
	static const char *const codes[] = {"\x8b\x03",
					    "\x48\x89\x04\x25\x00\x10\x00\x10",
					    "\xf3\xa4",
					    "\xf2\xae",
					    "\xf0\x0f\xb1\x0f",
					    "\x66\x0f\x6f\x07",
					    "\xc5\xfe\x7f\x07",
					    "\x0f\xc7\x0f",
					    "\xff\x37",
					    "\x8f\x07",
					    "\xc9",
					    "\x60",
					    "\x61",
					    "\xf7\x37",
					    "\x0f\xba\x2f\x07",
					    "\x0f\xa4\x07\x05",
					    "\x6d",
					    "\xf3\x6f",
					    "\xff\x17",
					    "\xe8\x10\x20\x30\x40",
					    "\xd3\x07",
					    "\x0f\x38\xf1\x07",
					    "\xd7",
					    "\x8c\x17"};
	const char *code = FUZZ_PICK(codes);
	size_t n = STATE;

	for (u32 i = 0; i < STATE; i++)
		to[i] = (u8)fuzz_random(256);
	if (fuzz_random(2))
		to[n++] = (u8) "\x66\x67\xf0\xf2\xf3\x2e\x65\x48\x41"[fuzz_random(9)];
	memcpy(to + n, code, strlen(code));
	memset(to + n + strlen(code), 0x11, 8);
	return n + strlen(code) + 8;
}
