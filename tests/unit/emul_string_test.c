/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * links: hv/emul/emul.c hv/emul/op.c hv/emul/insn.c hv/emul/pass.c hv/emul/stack.c
 * hv/emul/string.c hv/emul/system.c hv/emul/descriptor.c hv/emul/vector.c
 */
/*
 * String instructions: those on memory against the processor this runs on, INS and OUTS, which
 * cannot be had natively, against the manual.
 */
#define _GNU_SOURCE
#include "emul_native.h"

static void test_strings(void)
{
	static const u8 ops[] = {0xa4, 0xa6, 0xaa, 0xac, 0xae}, reps[] = {0, 0xf2, 0xf3};
	static const char *const names[] = {"MOVS", "CMPS", "STOS", "LODS", "SCAS"};

	for (u32 o = 0; o < 5; o++) {
		u32 before = failed;

		for (u32 r = 0; r < 3000 && failed < before + 4; r++) {
			u8 b[8], n = 0, kind = rnd() % 4, rep = reps[rnd() % 3];
			bool addr32 = rnd() % 4 == 0;

			random_memory();
			if (rnd() % 2) /* something for CMPS and SCAS to go on with */
				memset(nat->data, 0x55, DATA_SIZE);
			for (u32 k = 0; k < 16; k++)
				nat->in[k] = rnd_value();
			if (rnd() % 2)
				nat->in[0] = 0x5555555555555555;
			nat->flags_in = 0x202 | (rnd() & (ARITH | DF));
			/* times 8 stays in the data both ways */
			nat->in[1] = rnd() % 4 ? rnd() % 300 : rnd() % 3;
			nat->in[6] = data_at + DATA_SIZE / 2 + rnd() % 2048 - 1024;
			nat->in[7] = data_at + DATA_SIZE / 2 + rnd() % 2048 - 1024;
			if (rnd() % 4 == 0)
				nat->in[1] += 480;
			if (addr32 &&
			    /*
			     * with a count of 0 processors differ in what they do to upper halves
			     */
			    nat->in[1]) {
				nat->in[1] |= rnd() << 32;
				nat->in[6] |= rnd() << 32;
				nat->in[7] |= rnd() << 32;
			}
			if (addr32)
				b[n++] = 0x67;
			if (kind == 2)
				b[n++] = 0x66;
			if (rep)
				b[n++] = rep;
			if (kind == 3)
				b[n++] = 0x48;
			b[n++] = ops[o] + (kind != 0);
			compare(names[o], b, n, ARITH, true);
		}
		CHECK(failed == before, "%s with and without REP as the processor does", names[o]);
	}
}
/* INS or OUTS of n elements as the manual says: into what is in nat->data. */
static u32 port_string(bool in, u32 size, u32 n, u64 at, s64 step)
{
	u32 wrong = 0;

	for (u32 k = 0; k < n; k++, at += step) {
		u32 v = port_value(k);

		if (in)
			memcpy(nat->data + (at - data_at), &v, size);
		else
			wrong += memcmp(nat->data + (at - data_at), &v, size) != 0;
	}
	return wrong;
}

static void test_string_io(void)
{
	u32 before = failed;
	u16 port = 0x1f0;

	for (u32 r = 0; r < 4000 && failed < before + 4; r++) {
		struct emul_env e = env_for(EMUL_64);
		bool in = rnd() % 2, rep = rnd() % 4, down = rnd() % 2, addr32 = rnd() % 4 == 0;
		u32 size = 1 << rnd() % 3, n = rep ? rnd() % 200 : 1, len = 0;
		u64 at = data_at + DATA_SIZE / 2 + rnd() % 2048 - 1024, end, linear = 0;
		s64 step = down ? -(s64)size : size;
		enum emul_result res;
		u8 b[8], reg = in ? 7 : 6;
		int span;

		random_memory();
		memset(&cpu, 0, sizeof(cpu));
		cpu.rip = 0x1000;
		cpu.rflags = 2 | (down ? DF : 0);
		cpu.gpr[reg] = at;
		cpu.gpr[1] = n;
		if (rnd() % 2) /* what OUTS is to find there */
			for (u32 k = 0; k < n; k++) {
				u32 v = port_value(k);

				memcpy(nat->data + (at + k * step - data_at), &v, size);
			}
		memcpy(dev.data, nat->data, DATA_SIZE);
		if (addr32)
			b[len++] = 0x67;
		if (size == 2)
			b[len++] = 0x66;
		if (rep)
			b[len++] = 0xf3;
		b[len++] = (in ? 0x6c : 0x6e) + (size > 1);
		e.port = &port;
		dev.bad = false;
		dev.ports = dev.wrong = 0;
		{
			struct insn i;
			u32 fit = (4096 - at % 4096) / size,
			    want = fit && rep && !down ? MIN(fit, n) : 1;

			EXPECT(!insn_decode(&i, b, len, EMUL_64) && emul_is_string_io(&i) &&
				   emul_is_ins(&i) == in,
			       "INS and OUTS are told");
			span = emul_string_span(&e, &i, &linear);
			EXPECT(span == (int)(n ? want : 0) && (!n || linear == at),
			       "span %d, should be %u", span, n ? want : 0);
		}
		do
			res = emulate(&e, b, len);
		while (res == EMUL_DONE && cpu.rip == 0x1000);
		end = at + (u64)n * step;
		EXPECT(res == EMUL_DONE && !dev.bad && dev.ports == n, "emulated (%d, %u of %u)",
		       res, dev.ports, n);
		EXPECT(cpu.rip == 0x1000 + len && cpu.gpr[reg] == end &&
			   cpu.gpr[1] == (rep ? 0 : n) && cpu.gpr[13 - reg] == 0 && !cpu.gpr[0],
		       "registers afterwards");
		EXPECT(port_string(in, size, n, at, step) == dev.wrong, "what is written");
		EXPECT(!memcmp(dev.data, nat->data, DATA_SIZE), "memory afterwards");
	}
	CHECK(failed == before, "INS and OUTS with and without REP as the manual says");
}

/* With TF set each iteration is a step, and the last one that of the instruction. */
static void test_steps(void)
{
	struct emul_env e = env_for(EMUL_64);
	u32 steps = 0, bad = 0;
	struct insn i;
	u16 port = 0x60;
	u64 linear;

	reset_cpu();
	cpu.rflags |= 0x100;
	cpu.gpr[1] = 5;
	cpu.gpr[7] = data_at;
	while (cpu.rip == 0x1000 && steps < 9) {
		bad += once(&e, "\xf3\xab", 2) != EMUL_DONE;
		steps++;
		bad += cpu.gpr[1] != 5 - steps || cpu.gpr[7] != data_at + 4 * steps;
	}
	CHECK(steps == 5 && !bad && cpu.rip == 0x1002, "REP STOS is stepped through (%u)", steps);
	e.port = &port;
	cpu.gpr[1] = 5;
	CHECK(!insn_decode(&i, (const u8 *)"\xf3\x6c", 2, EMUL_64) &&
		  emul_string_span(&e, &i, &linear) == 1,
	      "so is REP INS");
}

/* What INS does before it reads, and what needs the right to do so. */
static void test_string_io_bounds(void)
{
	struct emul_env e = env_for(EMUL_32);
	struct emul_state st;
	struct insn i;
	u16 port = 0x60;
	u64 linear;

	memset(&cpu, 0, sizeof(cpu));
	cpu.rip = 0x1000;
	cpu.rflags = 2;
	cpu.gpr[7] = cpu.gpr[6] = data_at + 4094;
	dev.mmio_pages = dev.retry = 0;
	CHECK(start(&st, &e, (const u8 *)"\x6d", 1) == EMUL_UNSUPPORTED,
	      "no port that has been checked: nothing is done");
	e.port = &port;
	dev.fault_page = 2;
	CHECK(start(&st, &e, (const u8 *)"\x6d", 1) == EMUL_FAULT && e.fault.vector == 14,
	      "a port is not read for a page that cannot be written");
	dev.fault_page = 0;
	CHECK(start(&st, &e, (const u8 *)"\x6d", 1) == EMUL_IN && st.mmio_len == 4, "else it is");
	cpu.gpr[1] = 100;
	insn_decode(&i, (const u8 *)"\xf3\x6f", 2, EMUL_32);
	e.seg_limit[SEG_DS] = cpu.gpr[6] + 6;
	CHECK(emul_string_span(&e, &i, &linear) == 1, "elements within the limit are taken alone");
	e.seg_limit[SEG_DS] = cpu.gpr[6] + 2;
	CHECK(emul_string_span(&e, &i, &linear) == -EFAULT && e.fault.vector == 13,
	      "beyond it is #GP");
	e.seg_limit[SEG_DS] = ~0u;
	insn_decode(&i, (const u8 *)"\x67\xf3\x6e", 3, EMUL_32);
	e.seg_base[SEG_DS] = data_at;
	cpu.gpr[6] = 0xfff0;
	CHECK(emul_string_span(&e, &i, &linear) == 16 && linear == data_at + 0xfff0,
	      "16-bit addresses: up to the end of the page");
	e.seg_base[SEG_DS] -= 0x100;
	CHECK(emul_string_span(&e, &i, &linear) == 1, "one by one where SI would wrap");
}
int main(void)
{
	if (!native_start())
		return test_end();
	test_strings();
	test_string_io();
	test_string_io_bounds();
	test_steps();
	return test_end();
}
