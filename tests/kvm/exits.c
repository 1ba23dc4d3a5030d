/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests that do little else than exit: random sequences of valid instructions that the hypervisor
 * has a say in, in all modes, begun with random control registers, segments and flags. Whatever
 * comes of it, the vCPU goes on, or ends as KVM_RUN can; the hypervisor and dom0 are not harmed.
 * usage: exits THOUSANDS [SEED]: until so many thousand exits have been
 */
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vmm.h"

#define CODE_AT	 0x20000u
#define CODE_LEN 0x1000u
#define ROUND_MS 20
#define ROUNDS	 8 /* of one VM */

/*
 * A byte that says how many follow. No x87 instructions, nor writes of debug registers, for the
 * sake of the emulators below us (guests.c).
 */
static const u8 instructions[] = "\2\x0f\xa2"
				 "\2\x0f\x32"
				 "\2\x0f\x30"
				 "\2\x0f\x31"
				 "\2\x0f\x33" /* cpuid, rdmsr, wrmsr, rdtsc, rdpmc */
				 "\1\xec"
				 "\1\xed"
				 "\1\xee"
				 "\1\xef"
				 "\1\x6c"
				 "\1\x6d"
				 "\1\x6e"
				 "\1\x6f" /* in, out, ins, outs */
				 "\2\xf3\x6c"
				 "\2\xf3\x6e"
				 "\2\xf3\xa4"
				 "\2\xf3\xab"
				 "\2\xf2\xa6" /* rep */
				 "\2\x0f\x08"
				 "\2\x0f\x09"
				 "\3\x0f\x01\x3b"
				 "\2\x0f\x06" /* invd, wbinvd, invlpg, clts */
				 "\3\x0f\x20\xc0"
				 "\3\x0f\x22\xc0"
				 "\3\x0f\x20\xd0"
				 "\3\x0f\x22\xd0" /* cr0, cr2 */
				 "\3\x0f\x20\xd8"
				 "\3\x0f\x22\xd8"
				 "\3\x0f\x20\xe0"
				 "\3\x0f\x22\xe0" /* cr3, cr4 */
				 "\4\x44\x0f\x20\xc0"
				 "\4\x44\x0f\x22\xc0"
				 "\3\x0f\x21\xf8" /* cr8, dr7 */
				 "\3\x0f\x01\xe0"
				 "\3\x0f\x01\xf0" /* smsw, lmsw */
				 "\3\x0f\x01\x03"
				 "\3\x0f\x01\x0b"
				 "\3\x0f\x01\x13"
				 "\3\x0f\x01\x1b" /* sgdt to lidt */
				 "\3\x0f\x00\xc0"
				 "\3\x0f\x00\xc8"
				 "\3\x0f\x00\xd0"
				 "\3\x0f\x00\xd8" /* sldt to ltr */
				 "\1\xfb"
				 "\1\xfa"
				 "\1\x9c"
				 "\1\x9d"
				 "\1\xcf"
				 "\1\xcb"
				 "\1\xcc"
				 "\1\xf1" /* sti to icebp */
				 "\2\xcd\x03"
				 "\2\xcd\x20"
				 "\2\xcd\x80"
				 "\2\x0f\x0b" /* int, ud2 */
				 "\3\x0f\x01\xd0"
				 "\3\x0f\x01\xd1"
				 "\3\x0f\x01\xf9"
				 "\3\x0f\x01\xf8" /* xgetbv to swapgs */
				 "\3\x0f\x01\xd9"
				 "\3\x0f\x01\xc1"
				 "\3\x0f\x01\xd8"
				 "\3\x0f\x01\xda" /* hypercalls, SVM's */
				 "\3\x0f\x01\xdb"
				 "\3\x0f\x01\xdc"
				 "\3\x0f\x01\xdd"
				 "\3\x0f\x01\xde"
				 "\3\x0f\x01\xdf"
				 "\3\x0f\x01\xc8"
				 "\3\x0f\x01\xc9"
				 "\2\xf3\x90"
				 "\3\x0f\x01\xca"
				 "\3\x0f\x01\xcb"
				 "\2\x0f\x05"
				 "\2\x0f\x07"
				 "\2\x0f\x34"
				 "\2\x0f\x35"
				 "\2\x0f\xaa" /* syscall to rsm */
				 "\2\xff\x2b"
				 "\2\xff\x1b"
				 "\2\x8e\xd8"
				 "\2\x8e\xd0"
				 "\2\x8e\xe0"
				 "\2\x8e\xe8" /* far, segments */
				 "\3\x0f\xc7\x0b"
				 "\3\xf0\x01\x03"
				 "\2\x87\x03"
				 "\1\xa4"
				 "\1\xa5"
				 "\1\xab"
				 "\1\xac"
				 "\2\x89\x03"
				 "\2\x8b\x03"
				 "\3\x0f\xb6\x03"
				 "\3\xf6\x03\x01"
				 "\2\xff\x03" /* memory, devices */
				 "\4\xf3\x0f\xae\xc0"
				 "\5\x66\x0f\x38\x82\x03"
				 "\3\x0f\xae\xf0" /* rdfsbase, invpcid, fence */
				 "\3\x0f\xc7\xf0"
				 "\2\x0f\xff"; /* rdrand, ud0 */

static u32 random_value(void)
{
	static const u32 some[] = {
	    0,		1,	    2,		3,	    0x10,	0x11,
	    0x1b,	0x3f8,	    0x20,	0x21,	    0x60,	0x64,
	    0x70,	0xcf8,	    0x80000000, 0x80000001, 0x40000000, 0x8000000a,
	    0xc0000080, 0xc0000081, 0xc0000102, 0xc0010117, 0x80050033, 0x60000010,
	    0x277,	0x830,	    0x80b,	0x6e0,	    0x174,	0xd0000000,
	    0xfee00080, 0xfee00300, 0xfec00000, 0x100000,   0xfffffffc, CODE_AT + 0x80};
	u32 n = rnd() % 64;

	if (n < sizeof(some) / sizeof(some[0]))
		return some[n];
	return n & 1 ? (u32)rnd() : 1u << rnd() % 32;
}

/* From here on the code, ended by a jump to its begin. */
static void fill_code(u8 *at)
{
	/* Handlers go on by chance: rdtsc; and eax, 0x7ff; add eax, CODE_AT; cpuid; jmp rax */
	static const u8 again[] = {0x0f, 0x31, 0x25, 0xff, 0x07, 0,    0,    0x05, 0,
				   0,	 2,    0,    0x50, 0x0f, 0xa2, 0x58, 0xff, 0xe0};
	const u8 *in[256], *p = instructions;
	u32 n = 0, to = 0;

	while (*p && n < 256) {
		in[n++] = p;
		p += *p + 1;
	}
	while (to < CODE_LEN - 32) {
		if (rnd() % 3 == 0) { /* mov to eax, ecx, edx, ebx, esi or edi */
			u32 value = random_value();

			at[to++] = 0xb8 + (u8[]){0, 1, 2, 3, 6, 7, 1, 2}[rnd() % 8];
			memcpy(at + to, &value, 4);
			to += 4;
			continue;
		}
		p = in[rnd() % n];
		memcpy(at + to, p + 1, *p);
		to += *p;
	}
	memset(at + to, 0x90, CODE_LEN - to);
	at[CODE_LEN - 3] = 0xe9; /* 16 bits in real mode, of 32 with the same beginning */
	at[CODE_LEN - 2] = 0x00, at[CODE_LEN - 1] = 0xf0;
	memcpy(at + CODE_LEN, again, sizeof(again));
}

/* Bits that may be any way without that the guest is dead at once. */
static void change_state(struct kvm_sregs *s, struct kvm_regs *r, bool wild)
{
	struct kvm_segment *seg[] = {&s->ds, &s->es, &s->fs, &s->gs,
				     &s->ss, &s->cs, &s->tr, &s->ldt};

	s->cr0 ^= rnd() & 0x6005000a;				       /* CD, NW, AM, WP, TS, MP */
	s->cr4 ^= rnd() & 0x00310b9f & ~(rnd() % 4 ? 0x310000ull : 0); /* also SMEP, SMAP */
	s->efer ^= rnd() & 0x801;
	s->cr8 = rnd() % 16;
	r->rflags = 2 | (rnd() & 0x247fd5 & ~(rnd() % 4 ? 0x24100ull : 0)); /* VM, AC, TF */
	for (u32 i = 0; i < 4; i++) {
		if (rnd() % 2)
			continue;
		seg[i]->limit = rnd() % 3 ? 0xffffffff : rnd() & 0xffff;
		seg[i]->base = rnd() % 2 ? 0 : rnd() % RAM_SIZE;
		seg[i]->type = rnd() % 16;
		seg[i]->dpl = rnd() % 4;
		seg[i]->unusable = rnd() % 4 == 0;
		seg[i]->present = rnd() % 8 != 0;
	}
	if (!wild)
		return;
	s->cr0 ^= rnd(), s->cr4 ^= rnd() & 0xffffff, s->efer ^= rnd() & 0xffff;
	s->cr3 ^= rnd() & 0xfffffff;
	for (u32 i = 0; i < sizeof(seg) / sizeof(seg[0]); i++) {
		seg[i]->l = rnd(), seg[i]->db = rnd(), seg[i]->g = rnd(), seg[i]->s = rnd();
		seg[i]->type = rnd() % 16;
		seg[i]->selector = rnd();
	}
}

/* One of what /dev/kvm counts for a vCPU. */
static u64 exits_of(struct vm *vm)
{
	static u8 image[4096];
	struct kvm_stats_header *head = (void *)image;
	int fd = ioctl(vm->cpu_fd[0], KVM_GET_STATS_FD, 0);
	u64 count = 0;

	if (fd < 0 || pread(fd, image, sizeof(image), 0) < (ssize_t)sizeof(*head))
		fatal("no statistics");
	for (u32 i = 0; i < head->num_desc; i++) {
		struct kvm_stats_desc *d =
		    (void *)(image + head->desc_offset + i * (sizeof(*d) + head->name_size));

		if (!strcmp(d->name, "exits"))
			memcpy(&count, image + head->data_offset + d->offset, sizeof(count));
	}
	close(fd);
	return count;
}

static u32 ends[END_PAUSE + 1], refused;

static void one_round(struct vm *vm, const struct kvm_sregs *fresh, u32 round)
{
	enum mode mode = round % 3;
	struct kvm_sregs s, usual;
	struct kvm_vcpu_events none = {0};
	struct kvm_regs r;

	fill_code(vm->ram + CODE_AT);
	vm_load(vm);
	cpu_ioctl(vm, 0, KVM_SET_VCPU_EVENTS, &none);
	s = *fresh;
	if (cpu_ioctl(vm, 0, KVM_SET_SREGS, &s))
		fatal("a vCPU cannot begin anew");
	cpu_setup(vm, 0, mode, pl_spin, rnd(), rnd());
	cpu_get_regs(vm, 0, &r);
	cpu_ioctl(vm, 0, KVM_GET_SREGS, &s);
	r.rip = CODE_AT;
	r.r15 = CODE_AT + CODE_LEN; /* where handlers go on */
	if (mode == MODE_REAL) {
		r.rip = 0;
		s.cs.base = CODE_AT, s.cs.selector = CODE_AT >> 4;
		s.idt.base = 0, s.idt.limit = 0x3ff;
		for (u32 i = 0; i < 256; i++) /* interrupts, too, go on there */
			memcpy(vm->ram + i * 4, &(u32){CODE_AT << 12 | rnd() % 0x800}, 4);
	}
	usual = s;
	r.rax = rnd(), r.rbx = DATA + rnd() % 0x1000, r.rcx = random_value(),
	r.rdx = random_value();
	change_state(&s, &r, rnd() % 4 == 0);
	cpu_set_regs(vm, 0, &r);
	if (cpu_ioctl(vm, 0, KVM_SET_SREGS, &s)) {
		refused++;
		cpu_ioctl(vm, 0, KVM_SET_SREGS, &usual);
	}
	ends[vm_run(vm, 0, ROUND_MS)]++;
}

int main(int argc, char **argv)
{
	u64 wanted_exits = (argc > 1 ? strtoull(argv[1], NULL, 0) : 20) * 1000, exits = 0;
	u32 seed = argc > 2 ? (u32)strtoul(argv[2], NULL, 0) : 1, round = 0, begun = 0;

	open_kvm();
	rnd_seed(seed);
	while (exits < wanted_exits) {
		struct kvm_sregs fresh;
		struct vm vm;

		vm_init(&vm, 1, VM_IRQCHIP | (begun++ % 2 ? VM_PIT : 0));
		cpu_ioctl(&vm, 0, KVM_GET_SREGS, &fresh);
		for (u32 i = 0; i < ROUNDS; i++)
			one_round(&vm, &fresh, round++);
		exits += exits_of(&vm);
		vm_free(&vm);
	}
	note("exits: %llu in %u rounds, seed %u; %u states refused; %u shutdowns, %u halts, %u "
	     "internal errors, %u failed entries, %u went on, %u errnos",
	     (unsigned long long)exits, round, seed, refused, ends[END_SHUTDOWN], ends[END_HLT],
	     ends[END_INTERNAL], ends[END_FAIL_ENTRY], ends[END_TIME], ends[END_ERROR]);
	ok(refused && refused < round && ends[END_TIME] && ends[END_SHUTDOWN],
	   "exits: guests begin in states of all kinds, and come to ends of all kinds");
	ok(!ends[END_ERROR] && !ends[END_OTHER],
	   "exits: %llu thousand exits, and KVM_RUN says nothing that it may not",
	   (unsigned long long)wanted_exits / 1000);
	return failures != 0;
}
