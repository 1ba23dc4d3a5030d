/* SPDX-License-Identifier: GPL-2.0-only */
/* links: dom0/kmod/smm_map.c */
/*
 * SMM's save area: where the manuals have what, the way there and back, and states no CPU has.
 */
#include "dom0/kmod/pure.h"
#include "test.h"

#define PHYS 40
#define LMA  (1ull << 10)
#define LME  (1ull << 8)
#define PG   (1ull << 31)
#define VM   (1ull << 17)

static u8 area[SMM_AREA_BYTES];

static struct kvm_segment seg(u16 selector, u64 base, u8 type, u8 s)
{
	return (struct kvm_segment){
	    .base = base,
	    .limit = 0xffffffff,
	    .selector = selector,
	    .type = type,
	    .present = 1,
	    .s = s,
	    .g = 1,
	};
}

/* 64-bit code at CPL 0, each register with a value of its own. */
static struct smm_state long_state(void)
{
	struct smm_state s = {.dr6 = 0xffff0ff0, .dr7 = 0x401, .smbase = 0xa0000, .shadow = true};
	u64 *r = (u64 *)&s.regs;

	for (u32 i = 0; i < 16; i++)
		r[i] = 0x1111111111111111ull * i + 5;
	s.regs.rip = 0xffffffff81000123;
	s.regs.rflags = 0x246;
	s.sregs.es = seg(0, 0, 3, 1);
	s.sregs.es.present = s.sregs.es.g = 0;
	s.sregs.es.unusable = 1;
	s.sregs.ds = s.sregs.es;
	s.sregs.cs = seg(0x10, 0, 11, 1);
	s.sregs.cs.l = 1;
	s.sregs.ss = seg(0x18, 0, 3, 1);
	s.sregs.ss.db = 1;
	s.sregs.fs = seg(0x20, 0x7f0012345678, 3, 1);
	s.sregs.gs = seg(0x28, 0xffff888012345678, 3, 1);
	s.sregs.gs.avl = 1;
	s.sregs.tr = seg(0x40, 0xfffffe0000003000, 11, 0);
	s.sregs.tr.limit = 0x206f;
	s.sregs.tr.g = 0;
	s.sregs.ldt = seg(0x48, 0xfffffe0000004000, 2, 0);
	s.sregs.ldt.limit = 0x1f;
	s.sregs.ldt.g = 0;
	s.sregs.gdt = (struct kvm_dtable){.base = 0xfffffe0000001000, .limit = 0x7f};
	s.sregs.idt = (struct kvm_dtable){.base = 0xfffffe0000000000, .limit = 0xfff};
	s.sregs.cr0 = 0x80050033;
	s.sregs.cr2 = 0x1234;
	s.sregs.cr3 = 0x12345000;
	s.sregs.cr4 = 0x3406e0;
	s.sregs.efer = 0xd01;
	s.sregs.cr8 = 5;
	return s;
}

static u64 get(u32 at, u32 size)
{
	u64 val = 0;

	memcpy(&val, area + at - SMM_AREA, size);
	return val;
}

static void put(u32 at, u64 val, u32 size)
{
	memcpy(area + at - SMM_AREA, &val, size);
}

static void test_layout(void)
{
	struct smm_state s = long_state();

	smm_save(area, &s, true);
	CHECK(get(0xfff8, 8) == s.regs.rax && get(0xffe0, 8) == s.regs.rbx &&
		  get(0xffd8, 8) == s.regs.rsp && get(0xffc0, 8) == s.regs.rdi &&
		  get(0xff80, 8) == s.regs.r15,
	      "APM: registers, from RAX at the end down to R15");
	CHECK(get(0xff78, 8) == s.regs.rip && get(0xff70, 8) == 0x246 && get(0xff68, 8) == s.dr6 &&
		  get(0xff60, 8) == s.dr7 && get(0xff58, 8) == s.sregs.cr0 &&
		  get(0xff50, 8) == s.sregs.cr3 && get(0xff48, 8) == s.sregs.cr4 &&
		  get(0xfed0, 8) == s.sregs.efer,
	      "APM: RIP, RFLAGS, debug and control registers");
	CHECK(get(0xff00, 4) == 0xa0000 && get(0xfefc, 4) == 0x20064 && !get(0xfec8, 1),
	      "APM: SMBASE, and the revision that says it can be moved, and I/O not restarted");
	CHECK(get(0xfe10, 2) == 0x10 && get(0xfe12, 2) == 0xa09b && get(0xfe14, 4) == 0xffffffff &&
		  get(0xfe58, 8) == s.sregs.gs.base && get(0xfe52, 2) == 0x9093,
	      "APM: segments with their rights");
	CHECK(get(0xfe64, 2) == 0x7f && get(0xfe68, 8) == s.sregs.gdt.base &&
		  get(0xfe84, 2) == 0xfff && get(0xfe88, 8) == s.sregs.idt.base &&
		  get(0xfe70, 2) == 0x48 && get(0xfe90, 2) == 0x40 &&
		  get(0xfe98, 8) == s.sregs.tr.base,
	      "APM: descriptor tables, LDTR, TR");
	CHECK(!get(0xfec9, 1) && !get(0xfed8, 8), "APM: it has not slept, nor run a guest");
	s.halted = s.nested = true;
	s.vmcb = 0x12345000;
	smm_save(area, &s, true);
	CHECK(get(0xfec9, 1) == 1 && get(0xfed8, 8) == 1 && get(0xfee0, 8) == 0x12345000,
	      "APM: it has");
	smm_save(area, &s, false);
	CHECK(get(0xffd0, 4) == (u32)s.regs.rax && get(0xffec, 4) == (u32)s.regs.rdi &&
		  get(0xfff0, 4) == (u32)s.regs.rip && get(0xfff4, 4) == 0x246 &&
		  get(0xfff8, 4) == s.sregs.cr3 && get(0xfffc, 4) == s.sregs.cr0 &&
		  get(0xff14, 4) == s.sregs.cr4,
	      "SDM: registers of 32 bits");
	CHECK(get(0xfef8, 4) == 0xa0000 && get(0xfefc, 4) == 0x20000 && get(0xff02, 2) == 1 &&
		  get(0xffac, 4) == 0x10 && get(0xff90, 4) == 0xa09b00 && get(0xffc4, 4) == 0x40 &&
		  get(0xff5c, 4) == 0x8b00,
	      "SDM: SMBASE, revision, sleep, segments");
}

static bool same(const struct smm_state *a, const struct smm_state *b)
{
	return !memcmp(&a->regs, &b->regs, sizeof(a->regs)) &&
	       !memcmp(&a->sregs, &b->sregs, sizeof(a->sregs)) && a->dr6 == b->dr6 &&
	       a->dr7 == b->dr7 && a->smbase == b->smbase && a->halted == b->halted &&
	       a->shadow == b->shadow;
}

static struct smm_state protected_state(void)
{
	struct smm_state s = long_state();
	u64 *r = (u64 *)&s.regs;

	for (u32 i = 0; i < 8; i++)
		r[i] = (u32)r[i];
	s.regs.rip = 0xc0100000;
	s.sregs.efer = 0;
	s.sregs.cr4 = 0x20;
	s.sregs.cs.l = 0;
	s.sregs.cs.db = 1;
	s.sregs.fs.base = s.sregs.gs.base = 0x12345678;
	s.sregs.tr.base = s.sregs.ldt.base = s.sregs.gdt.base = s.sregs.idt.base = 0xfe003000;
	return s;
}

static void test_there_and_back(void)
{
	struct smm_state was = long_state(), s = was;

	smm_save(area, &s, true);
	smm_begin(&s, true);
	CHECK(s.regs.rip == 0x8000 && s.regs.rflags == 2 && s.sregs.cs.base == 0xa0000 &&
		  s.sregs.cs.selector == 0xa000 && !s.sregs.ds.base && !s.sregs.efer &&
		  !s.sregs.cr4 && !(s.sregs.cr0 & (PG | 13)) && s.dr7 == 0x400 &&
		  !s.sregs.idt.limit && s.sregs.ss.limit == 0xffffffff && s.sregs.ss.present,
	      "SMM begins in real mode at SMBASE");
	CHECK(s.regs.rax == was.regs.rax && s.sregs.tr.base == was.sregs.tr.base &&
		  s.sregs.cr3 == was.sregs.cr3 && s.sregs.cr2 == was.sregs.cr2,
	      "and leaves alone what it does not change");
	memset(&s.regs, 0x5a, sizeof(s.regs));
	CHECK(smm_load(&s, area, true, true, PHYS) && same(&s, &was), "RSM brings all back");

	was = protected_state();
	s = was;
	smm_save(area, &s, false);
	smm_begin(&s, false);
	CHECK(smm_load(&s, area, false, true, PHYS) && same(&s, &was),
	      "also where there is no long mode");
	was.sregs.efer = 1ull << 11;
	s = was;
	smm_begin(&s, false);
	CHECK(s.sregs.efer == was.sregs.efer, "where EFER is not SMM's");
	s = long_state();
	smm_save(area, &s, true);
	put(0xfed0, 0xd01 & ~LMA, 8);
	CHECK(smm_load(&s, area, true, true, PHYS) && s.sregs.efer == 0xd01,
	      "LMA follows from LME and paging");
	put(0xff00, 0x7ff00000, 4);
	put(0xfec9, 1, 1);
	CHECK(smm_load(&s, area, true, true, PHYS) && s.smbase == 0x7ff00000 && s.halted,
	      "SMBASE and sleep are the handler's to change");
	for (u32 has_lm = 0; has_lm < 2; has_lm++) {
		s = protected_state();
		s.nested = true;
		s.vmcb = 0x12345000;
		was = s;
		smm_save(area, &s, has_lm);
		smm_begin(&s, has_lm);
		s.vmcb = 0;
		CHECK(!s.nested && smm_load(&s, area, has_lm, false, PHYS) && s.nested &&
			  s.vmcb == was.vmcb,
		      "a guest that has run a guest does so again");
	}
}

struct change {
	u32 at, size;
	u64 val;
	const char *what;
};

/* Each alone makes a good state a bad one. */
static void refused(const struct smm_state *good, bool has_lm, bool vmx, const struct change *c,
		    u32 n)
{
	for (u32 i = 0; i < n; i++) {
		struct smm_state s = *good;

		smm_save(area, &s, has_lm);
		CHECK(smm_load(&s, area, has_lm, vmx, PHYS), "the state is good without it");
		put(c[i].at, c[i].val, c[i].size);
		CHECK(!smm_load(&s, area, has_lm, vmx, PHYS), c[i].what);
	}
}

static void test_bad(void)
{
	static const struct change both[] = {
	    {0xff58, 8, 0x180050033, "a bit of CR0 that there is not"},
	    {0xff58, 8, 0x80050073, "another one"},
	    {0xff50, 8, 1ull << PHYS, "CR3 beyond memory"},
	    {0xff68, 8, 1ull << 32, "DR6"},
	    {0xff60, 8, 1ull << 40, "DR7"},
	    {0xff78, 8, 1ull << 47, "RIP that is no address"},
	    {0xff70, 8, VM | 2, "virtual-8086 mode in long mode"},
	    {0xfe12, 2, 0xe09b, "code of both 32 and 64 bits"},
	};
	static const struct change vmx[] = {
	    {0xfe12, 2, 0xa01b, "code that is not there"},
	    {0xfe12, 2, 0xa08b, "code of the system's"},
	    {0xfe12, 2, 0xa0fb, "code at another level than the stack"},
	    {0xfe12, 2, 0xa0fd, "conforming code of less right"},
	    {0xfe12, 2, 0xa095, "code that is data that grows down"},
	    {0xfe18, 8, 1ull << 32, "code beyond 4 GiB"},
	    {0xfe22, 2, 0xc09b, "a stack of code"},
	    {0xfe22, 2, 0xc083, "a stack of the system's"},
	    {0xfe28, 8, 1ull << 32, "a stack beyond 4 GiB"},
	    {0xfe32, 2, 0xc099, "data that cannot be read"},
	    {0xfe58, 8, 1ull << 47, "GS that is at no address"},
	    {0xfe92, 2, 0x0b, "no TSS"},
	    {0xfe92, 2, 0x82, "a TSS that is none"},
	    {0xfe92, 2, 0x83, "a TSS of 16 bits"},
	    {0xfe92, 2, 0x9b, "a TSS that is code"},
	    {0xfe90, 2, 0x44, "a TSS of the LDT"},
	    {0xfe98, 8, 1ull << 60, "a TSS at no address"},
	    {0xfe94, 4, 0x100000, "a limit that cannot be"},
	    {0xfe72, 2, 0x8b, "an LDT that is none"},
	    {0xfe70, 2, 0x4c, "an LDT of the LDT"},
	    {0xfe78, 8, 1ull << 60, "an LDT at no address"},
	    {0xfe68, 8, 1ull << 60, "a GDT at no address"},
	    {0xfe88, 8, 1ull << 60, "an IDT at no address"},
	};
	static const struct change legacy[] = {
	    {0xff14, 4, 1 << 17, "PCID without long mode"},
	    {0xfff4, 4, VM | 2, "virtual-8086 mode with other segments than it has"},
	    {0xfffc, 4, 0x60000010, "real mode with code of protected mode at another level"},
	};
	struct smm_state s = long_state();

	refused(&s, true, false, both, ARRAY_SIZE(both));
	refused(&s, true, true, both, ARRAY_SIZE(both));
	refused(&s, true, true, vmx, ARRAY_SIZE(vmx));
	smm_save(area, &s, true);
	put(vmx[0].at, vmx[0].val, 2);
	CHECK(smm_load(&s, area, true, false, PHYS), "AMD-V leaves segments alone");
	s = protected_state();
	refused(&s, false, true, legacy, 2);
	s.sregs.ss.dpl = s.sregs.cs.dpl = 3;
	refused(&s, false, true, legacy + 2, 1);
	s = protected_state();
	smm_save(area, &s, true);
	put(0xff78, 1ull << 32, 8);
	CHECK(!smm_load(&s, area, true, true, PHYS), "RIP beyond 4 GiB outside of 64-bit mode");
}

static void test_v86(void)
{
	struct smm_state s = protected_state();
	struct kvm_segment *all[] = {&s.sregs.es, &s.sregs.cs, &s.sregs.ss,
				     &s.sregs.ds, &s.sregs.fs, &s.sregs.gs};

	for (u32 i = 0; i < ARRAY_SIZE(all); i++)
		*all[i] = (struct kvm_segment){.selector = 0x100 * i,
					       .base = 0x1000 * i,
					       .limit = 0xffff,
					       .type = 3,
					       .s = 1,
					       .dpl = 3,
					       .present = 1};
	s.regs.rflags = VM | 2;
	s.regs.rip = 0x100;
	smm_save(area, &s, false);
	CHECK(smm_load(&s, area, false, true, PHYS), "virtual-8086 mode");
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		all[i]->base++;
		smm_save(area, &s, false);
		CHECK(!smm_load(&s, area, false, true, PHYS), "each segment is looked at");
		smm_save(area, &s, false);
		all[i]->base--;
	}
}

/* For any bytes: an answer, and the layout that was read is not read again. */
static void test_noise(void)
{
	u64 seed = 88172645463325252ull;
	u32 taken = 0;

	for (u32 n = 0; n < 20000; n++) {
		struct smm_state s = long_state();

		smm_save(area, &s, n & 1);
		for (u32 i = 0; i < 3; i++) {
			seed ^= seed << 13;
			seed ^= seed >> 7;
			seed ^= seed << 17;
			area[seed % SMM_AREA_BYTES] ^= seed >> 32;
		}
		taken += smm_load(&s, area, n & 1, true, PHYS);
	}
	CHECK(taken > 100 && taken < 19900, "some noise is taken, and not all");
}

int main(void)
{
	test_layout();
	test_there_and_back();
	test_bad();
	test_v86();
	test_noise();
	return test_end();
}
