/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Instructions against emulated MMIO: the initial-count register of the masked LAPIC timer holds
 * any 32 bits. Each form runs on the register and on memory; result, flags and registers must be
 * the same.
 */
#include "lib.h"

#define REG   ((volatile u32 *)0xfee00380)
#define FLAGS 0x8d5 /* OF SF ZF AF PF CF */
#define START 0x80c0ffee

static u32 memory[8] __attribute__((aligned(64)));

struct state {
	u64 a, c, d, si, di, flags;
	u32 mem;
};

static void compare(const char *text, const struct state *m, const struct state *r, u64 mask)
{
	bool same = m->a == r->a && m->c == r->c && m->d == r->d && m->mem == r->mem &&
		    !((m->flags ^ r->flags) & mask) && m->si - (u64)memory == r->si - (u64)REG &&
		    m->di - (u64)memory == r->di - (u64)REG;

	if (!report(same, "%s", text))
		note("memory: a %lx c %lx d %lx flags %lx mem %x; MMIO: a %lx c %lx d %lx flags "
		     "%lx mem %x",
		     m->a, m->c, m->d, m->flags & mask, m->mem, r->a, r->c, r->d, r->flags & mask,
		     r->mem);
}

/*
 * RDI and RSI have the address, other registers values to work with; all flags but PF and ZF are
 * clear at first.
 */
#define RUN(text, where)                                                                           \
	({                                                                                         \
		struct state s_ = {.a = 0x1122334455667788,                                        \
				   .c = 0x80000003,                                                \
				   .d = 0xffffffff00000001,                                        \
				   .si = (u64)(where),                                             \
				   .di = (u64)(where)};                                            \
		*(volatile u32 *)(where) = START;                                                  \
		__asm__ volatile(                                                                  \
		    "xor %%r8d, %%r8d; mov $1, %%r9d; mov %%rdi, %%r15; push $0x46; popf; " text   \
		    "; pushf; pop %5"                                                              \
		    : "+a"(s_.a), "+c"(s_.c), "+d"(s_.d), "+S"(s_.si), "+D"(s_.di),                \
		      "=&r"(s_.flags)                                                              \
		    :                                                                              \
		    : "memory", "cc", "r8", "r9", "r15");                                          \
		s_.mem = *(volatile u32 *)(where);                                                 \
		s_;                                                                                \
	})
#define BOTH_FLAGS(text, mask)                                                                     \
	do {                                                                                       \
		struct state m_ = RUN(text, memory), r_ = RUN(text, REG);                          \
		compare(text, &m_, &r_, mask);                                                     \
	} while (0)
#define BOTH(text) BOTH_FLAGS(text, FLAGS)

static void check_moves(void)
{
	BOTH("movl (%%rdi), %%eax");
	BOTH("movl %%ecx, (%%rdi)");
	BOTH("movl $0x12345678, (%%rdi)");
	BOTH("movl (%%r15), %%r9d; mov %%r9, %%rax");
	BOTH("movl (%%rdi,%%r8,8), %%eax");
	BOTH("movl -8(%%rdi,%%r9,8), %%eax");
	BOTH("movl 0x7f(%%rdi,%%r8), %%ecx; nop");
	BOTH("movl %%fs:(%%rdi), %%eax");
	BOTH(".byte 0x67; movl (%%rdi), %%eax");
	BOTH(".byte 0x2e, 0x3e; movl (%%rdi), %%edx");
	BOTH("movb (%%rdi), %%al");
	BOTH("movb (%%rdi), %%ah");
	BOTH("movw (%%rdi), %%cx");
	BOTH("movzbl (%%rdi), %%eax");
	BOTH("movzwl (%%rdi), %%eax");
	BOTH("movzbw (%%rdi), %%ax");
	BOTH("movsbl (%%rdi), %%eax");
	BOTH("movswl (%%rdi), %%eax");
	BOTH("movsbq (%%rdi), %%rax");
	BOTH("movslq (%%rdi), %%rax");
	BOTH("movnti %%ecx, (%%rdi)");
	BOTH("xchgl %%ecx, (%%rdi)");
	BOTH("pushq %%rcx; movl (%%rdi), %%ecx; popq %%rdx");
}

static void check_arithmetic(void)
{
	BOTH("addl $0x7fffffff, (%%rdi)");
	BOTH("addl %%ecx, (%%rdi)");
	BOTH("addl (%%rdi), %%ecx");
	BOTH("stc; adcl $0, (%%rdi)");
	BOTH("subl $0x12, (%%rdi)");
	BOTH("stc; sbbl (%%rdi), %%eax");
	BOTH_FLAGS("orl $0x10, (%%rdi)", FLAGS & ~0x10);
	BOTH_FLAGS("andl %%eax, (%%rdi)", FLAGS & ~0x10);
	BOTH_FLAGS("xorl (%%rdi), %%ecx", FLAGS & ~0x10);
	BOTH_FLAGS("lock orl $1, (%%rdi)", FLAGS & ~0x10);
	BOTH("cmpl $0x80c0ffee, (%%rdi)");
	BOTH("cmpl %%ecx, (%%rdi)");
	BOTH("cmpl (%%rdi), %%ecx");
	BOTH_FLAGS("testl $0x80000000, (%%rdi)", FLAGS & ~0x10);
	BOTH_FLAGS("testl %%eax, (%%rdi)", FLAGS & ~0x10);
	BOTH("incl (%%rdi)");
	BOTH("stc; decl (%%rdi)");
	BOTH("notl (%%rdi)");
	BOTH("negl (%%rdi)");
	BOTH("xaddl %%ecx, (%%rdi)");
	BOTH("mov $0x80c0ffee, %%eax; cmpxchgl %%ecx, (%%rdi)");
	BOTH("cmpxchgl %%ecx, (%%rdi)");
	BOTH_FLAGS("btl $31, (%%rdi)", 1);
	BOTH_FLAGS("btsl $4, (%%rdi)", 1);
	BOTH_FLAGS("btrl $1, (%%rdi)", 1);
}

static void check_strings(void)
{
	static u32 buf[4];
	u32 *di, *si;
	u64 n;

	BOTH("lodsl; cld");
	BOTH("stosl");
	BOTH("std; stosl; cld");
	*REG = 0x13579bdf;
	si = (u32 *)REG;
	di = buf;
	__asm__ volatile("movsl" : "+S"(si), "+D"(di)::"memory");
	report(buf[0] == 0x13579bdf && di == buf + 1 && si == (u32 *)REG + 1,
	       "movsl from MMIO to memory");
	buf[0] = 0x2468ace0;
	si = buf;
	di = (u32 *)REG;
	__asm__ volatile("movsl" : "+S"(si), "+D"(di)::"memory");
	report(*REG == 0x2468ace0 && si == buf + 1 && di == (u32 *)REG + 1,
	       "movsl from memory to MMIO");
	buf[0] = 0x01020304;
	si = buf;
	di = (u32 *)REG;
	n = 1;
	__asm__ volatile("rep movsl" : "+S"(si), "+D"(di), "+c"(n)::"memory");
	report(*REG == 0x01020304 && !n, "rep movsl, one element, to MMIO");
	di = (u32 *)REG;
	n = 0;
	__asm__ volatile("rep stosl" : "+D"(di), "+c"(n) : "a"(7) : "memory");
	report(*REG == 0x01020304 && di == (u32 *)REG, "rep stosl of nothing does nothing");
	si =
	    /* eight registers, 16 bytes apart: read as words, in between is undefined */
	    (u32 *)(XAPIC + APIC_IRR / 4);
	di = buf;
	n = 4;
	__asm__ volatile("rep movsl" : "+S"(si), "+D"(di), "+c"(n)::"memory");
	report(!n && di == buf + 4 && si == (u32 *)(XAPIC + APIC_IRR / 4) + 4,
	       "rep movsl of four elements from MMIO");
}

/* Code put together at run time. */
static u8 code[2 * PAGE] __attribute__((aligned(4096)));

static u32 call_code(u8 *at, const u8 *bytes, u32 n)
{
	u64 ret;

	memcpy(at, bytes, n);
	at[n] = 0xc3;
	__asm__ volatile("call *%1" : "=a"(ret) : "r"(at) : "memory", "rcx", "rdx");
	return (u32)ret;
}

static void check_encodings(void)
{
	static const u8 moffs[] = {0xa1, 0x80, 0x03, 0xe0, 0xfe, 0, 0, 0, 0};
	static const u8 moffs32[] = {0x67, 0xa1, 0x80, 0x03, 0xe0, 0xfe};
	static const u8 moffs_to[] = {0xb8, 4, 3, 2, 1, 0xa3, 0x80, 0x03, 0xe0, 0xfe, 0, 0, 0, 0};
	/* disp32 is sign-extended: not ours */
	static const u8 plain[] = {0x8b, 0x04, 0x25, 0x80, 0x03, 0xe0, 0xfe};
	static const u8 disp32[] = {0x67, 0x8b, 0x04, 0x25, 0x80, 0x03, 0xe0, 0xfe};
	static const u8 prefixes[] = {0xb9, 0x80, 0x03, 0xe0, 0xfe, 0x2e, 0x3e, 0x64, 0x36,
				      0x26, 0x2e, 0x3e, 0x36, 0x26, 0x40, 0x8b, 0x01};
	u8 rip[] = {0x67, 0x8b, 0x05, 0, 0, 0, 0};
	u32 disp = 0xfee00380 - ((u32)(u64)code + sizeof(rip)), bad = 0;

	*REG = 0xabcdef01;
	report(call_code(code, moffs, sizeof(moffs)) == 0xabcdef01, "mov eax, moffs64");
	report(call_code(code, moffs32, sizeof(moffs32)) == 0xabcdef01, "mov eax, moffs32");
	report(call_code(code, disp32, sizeof(disp32)) == 0xabcdef01,
	       "disp32 with address size 32");
	memcpy(rip + 3, &disp, 4);
	report(call_code(code, rip, sizeof(rip)) == 0xabcdef01, "EIP-relative");
	report(call_code(code, prefixes, sizeof(prefixes)) == 0xabcdef01,
	       "twelve bytes of prefixes and REX");
	call_code(code, moffs_to, sizeof(moffs_to));
	report(*REG == 0x01020304, "mov moffs64, eax");
	(void)plain;
	/* Across the end of a page, at each byte. */
	for (u32 i = 1; i < sizeof(moffs); i++)
		bad += call_code(code + PAGE - i, moffs, sizeof(moffs)) != 0x01020304;
	report(!bad, "an instruction that crosses a page, at each of its bytes");
}

static void check_system(void)
{
	BOTH("mov %%ss, %%eax; movl %%eax, (%%rdi); movw (%%rdi), %%es; mov %%es, %%ecx");
	BOTH("mov %%ss, %%eax; movl %%eax, (%%rdi); movw (%%rdi), %%ss; mov %%ss, %%ecx");
	BOTH("mov %%ss, %%eax; shl $16, %%eax; movl %%eax, (%%rdi); lfsw (%%rdi), %%cx; "
	     "mov %%fs, %%edx");
	BOTH("movl $3, (%%rdi); movw (%%rdi), %%fs; mov %%fs, %%ecx");
	BOTH("movl $0, (%%rdi); lldt (%%rdi); sldt %%ecx");
}

/* What the emulator cannot know from the register: other widths and places of the page. */
static void check_widths(void)
{
	u64 wide;
	u8 byte;
	u16 word;

	*REG = 0xa1b2c3d4;
	__asm__ volatile("movq (%1), %0" : "=r"(wide) : "r"(REG) : "memory");
	report((u32)wide == 0xa1b2c3d4, "a 64-bit read has the register in its lower half");
	__asm__ volatile("movb 1(%1), %0" : "=q"(byte) : "r"(REG) : "memory");
	__asm__ volatile("movw 2(%1), %0" : "=r"(word) : "r"(REG) : "memory");
	report(byte == 0xc3 && word == 0xa1b2,
	       "bytes and words within a register can be read (%x, %x)", byte, word);
	__asm__ volatile("movl %0, 4(%1)" ::"r"(1), "r"(REG) : "memory");
	report(*REG == 0xa1b2c3d4,
	       "a write beside the register's first four bytes changes nothing");
	__asm__ volatile("movl 0xc7e(%1), %k0" : "=r"(wide) : "r"(REG) : "memory");
	report(true, "a read across the end of the page comes back");
}

void test_insn(void)
{
	apic_write(APIC_TDCR, 0xa); /* by 128: slow */
	apic_write(APIC_LVTT, LVT_MASKED);
	check_moves();
	check_arithmetic();
	check_strings();
	check_encodings();
	check_system();
	check_widths();
	*REG = 0;
}
