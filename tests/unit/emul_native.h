/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Single instructions on the processor that runs the test, and beside them in the emulator: the
 * data, all registers and the flags must be equal afterwards.
 */
#pragma once

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "emul_fake.h"

/* ---- the native side: everything below 4 GiB, so that absolute addresses fit disp32 ---- */

struct native {
	u64 in[16], out[16], flags_in, flags_out, host_rsp;
	u64 stack[8];
	u8 vec_in[16][32], vec_out[16][32];
	u64 mmx_in[8], mmx_out[8];
	u8 data[DATA_SIZE] __aligned(4096);
	u8 code[4096];
};
static struct native *nat;
static u8 *emit;

static inline u32 low(const volatile void *p)
{
	return (u32)(uintptr_t)p;
}

static inline void put(const void *bytes, u32 n)
{
	memcpy(emit, bytes, n);
	emit += n;
}

/* op r64, [abs] or op [abs], r64 */
static inline void put_abs(u8 op, u8 reg, const volatile void *where)
{
	u32 disp = low(where);

	put((u8[]){0x48 | (reg & 8) >> 1, op, 0x04 | (reg & 7) << 3, 0x25}, 4);
	put(&disp, 4);
}

static bool vectors; /* vector registers are loaded before and stored afterwards */

/* VMOVUPS (YMM) or MOVQ (MMX) with an absolute address */
static inline void put_vector(u8 op, u8 reg, const volatile void *where)
{
	u32 disp = low(where);

	put((u8[]){0xc5, reg & 8 ? 0x7c : 0xfc, op, 0x04 | (reg & 7) << 3, 0x25}, 5);
	put(&disp, 4);
}

static inline void put_mmx(u8 op, u8 reg, const volatile void *where)
{
	u32 disp = low(where);

	put((u8[]){0x0f, op, 0x04 | reg << 3, 0x25}, 4);
	put(&disp, 4);
}

static inline void put_vectors(bool store)
{
	if (!vectors)
		return;
	for (u8 k = 0; k < 16; k++)
		put_vector(store ? 0x11 : 0x10, k, store ? nat->vec_out[k] : nat->vec_in[k]);
	for (u8 k = 0; k < 8; k++)
		put_mmx(store ? 0x7f : 0x6f, k, store ? &nat->mmx_out[k] : &nat->mmx_in[k]);
	if (store)
		put((u8[]){0x0f, 0x77}, 2); /* EMMS */
}

/* Where the instruction under test will lie. */
static inline u8 *native_prologue(void)
{
	emit = nat->code;
	put((u8[]){0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x9c},
	    11); /* push rbx rbp r12-15, pushf */
	put_abs(0x89, 4, &nat->host_rsp);
	put_abs(0xff, 6, &nat->flags_in); /* push [] */
	put((u8[]){0x9d}, 1);
	put_vectors(false);
	for (u32 k = 0; k < 16; k++)
		put_abs(0x8b, k, &nat->in[k]);
	return emit;
}

static u8 *native_end; /* of the instruction under test */
static bool native_faulted;

/* #DE: the instruction is stepped over. */
static inline void on_fpe(int sig, siginfo_t *info, void *context)
{
	native_faulted = true;
	((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] = (greg_t)(uintptr_t)native_end;
}

/*
 * #UD in code that has just been written was seen now and then, never twice for the same: the bytes
 * of before were executed, it seems. So once more, and what is really undefined ends the test.
 */
static sigjmp_buf again;
static volatile u32 undefined;

static inline void on_ill(int sig, siginfo_t *info, void *context)
{
	if ((u64)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP] - (u64)nat < sizeof(*nat) &&
	    ++undefined <= 3)
		siglongjmp(again, 1);
	signal(SIGILL, SIG_DFL);
}

static inline void native_run(const u8 *insn, u32 len)
{
	native_faulted = false;
	sigsetjmp(again, 1);
	native_prologue();
	put(insn, len);
	native_end = emit;
	for (u32 k = 0; k < 16; k++)
		put_abs(0x89, k, &nat->out[k]);
	put((u8[]){0x48, 0xc7, 0xc4}, 3); /* mov rsp, imm32 */
	put(&(u32){low(&nat->stack[8])}, 4);
	put((u8[]){0x9c}, 1);
	put_abs(0x8f, 0, &nat->flags_out); /* pop [] */
	put_vectors(true);
	put_abs(0x8b, 4, &nat->host_rsp);
	put((u8[]){0x9d, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3}, 12);
	((void (*)(void))(uintptr_t)nat->code)();
}
/* ---- both ---- */

/* Run both ways and compare. */
static inline void compare(const char *what, const u8 *b, u32 n, u32 flags, bool string)
{
	struct emul_env e = env_for(EMUL_64);
	u64 rip = low(native_prologue());
	enum emul_result res;
	char hex[64] = "";
	u32 calls = 0, bad = 16;

	for (u32 k = 0; k < n; k++)
		sprintf(hex + 3 * k, "%02x ", b[k]);
	memcpy(cpu.gpr, nat->in, sizeof(cpu.gpr));
	memcpy(cpu.vec, nat->vec_in, sizeof(cpu.vec));
	memcpy(cpu.mmx, nat->mmx_in, sizeof(cpu.mmx));
	memcpy(dev.data, nat->data, DATA_SIZE);
	cpu.rip = rip;
	cpu.rflags = nat->flags_in | 0x10000;
	dev.bad = false;
	dev.read = dev.written = 0;

	native_run(b, n);
	do
		res = emulate(&e, b, n);
	while (string && res == EMUL_DONE && cpu.rip == rip && calls++ < 100);

	for (u32 k = 0; k < 16; k++)
		if (cpu.gpr[k] != nat->out[k])
			bad = k;
	EXPECT(native_faulted ? res == EMUL_FAULT && e.fault.vector == 0 : res == EMUL_DONE,
	       "%s (%s): emulated (%d, native %u)", what, hex, res, native_faulted);
	EXPECT(!dev.bad, "%s (%s): accesses", what, hex);
	EXPECT(cpu.rip == rip + (native_faulted ? 0 : n), "%s (%s): RIP advanced", what, hex);
	EXPECT(bad == 16, "%s (%s): register %u is %llx, should be %llx, was %llx", what, hex,
	       bad & 15, (unsigned long long)cpu.gpr[bad & 15],
	       (unsigned long long)nat->out[bad & 15], (unsigned long long)nat->in[bad & 15]);
	EXPECT(((cpu.rflags ^ nat->flags_out) & (flags | DF)) == 0 &&
		   !(cpu.rflags & 0x10000) == !native_faulted,
	       "%s (%s): flags %llx, should be %llx", what, hex, (unsigned long long)cpu.rflags,
	       (unsigned long long)nat->flags_out);
	EXPECT(memcmp(dev.data, nat->data, DATA_SIZE) == 0, "%s (%s): memory", what, hex);
	EXPECT(!vectors || (!memcmp(cpu.vec, nat->vec_out, sizeof(cpu.vec)) &&
			    !memcmp(cpu.mmx, nat->mmx_out, sizeof(cpu.mmx))),
	       "%s (%s): vector registers", what, hex);
}

/* Some page of the data or another is MMIO, RAM, or misses at times. */
static inline void random_memory(void)
{
	for (u32 k = 0; k < DATA_SIZE; k += 8)
		*(u64 *)(nat->data + k) = rnd_value();
	dev.mmio_pages = rnd() % 2 ? 15 : rnd() % 16;
	dev.retry = rnd() % 2 ? 0 : 3;
}
/* Makes room for code and data where absolute addresses reach them. */
static inline bool native_start(void)
{
	static u8 signal_stack[65536];
	struct sigaction fpe = {.sa_sigaction = on_fpe, .sa_flags = SA_SIGINFO | SA_ONSTACK},
			 ill = {.sa_sigaction = on_ill, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	printf("# seed %#llx\n", (unsigned long long)SEED);
	nat = mmap(NULL, sizeof(*nat), PROT_READ | PROT_WRITE | PROT_EXEC,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (!CHECK(nat != MAP_FAILED, "executable memory below 2 GiB"))
		return false;
	data_at = low(nat->data);
	sigaltstack(&(stack_t){.ss_sp = signal_stack, .ss_size = sizeof(signal_stack)}, NULL);
	sigaction(SIGFPE, &fpe, NULL);
	sigaction(SIGILL, &ill, NULL);
	return true;
}
