/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests' control registers and XCR0 on a back end of ours: what is refused never reaches it.
 * cr.c is included, for XSETBV is an instruction of ring 0.
 * links: tests/unit/rest.c hv/guest/fault.c hv/guest/inject.c hv/emul/insn.c
 */
#include "hv/lib/asm.h"
static unsigned long long xcr0_hw;
#define xsetbv(reg, val) ((void)(xcr0_hw = (val)))
#include "hv/guest/cr.c"

#include <string.h>

#include "test.h"

#define OFF (CR0_CD | CR0_NW)
#define ON  (CR0_PE | CR0_PG | CR0_ET)

static struct vm vm = {.id = 1, .has_lapic = true};
static struct vcpu_emul emul;
static struct corbel_vcpu_page page;
static struct vcpu vcpu, *const v = &vcpu;
static u64 regs[HVM_NMI_MASK + 1];
static bool long_code;
static u32 sets;
static u8 emulated; /* opcode of what has been left to the emulator */

static u64 fake_get(struct vcpu *w, enum hvm_reg r)
{
	return regs[r];
}

static void fake_set(struct vcpu *w, enum hvm_reg r, u64 val)
{
	sets += r != HVM_SHADOW;
	regs[r] = val;
}

static void fake_seg(struct vcpu *w, enum hvm_seg s, struct corbel_segment *out)
{
	*out = (struct corbel_segment){.l = long_code};
}

static const struct hvm_ops ops = {.get = fake_get, .set = fake_set, .get_seg = fake_seg};
const struct hvm_ops *hvm = &ops;
u64 xcr0_host = 7;

/* ---- the rest of the hypervisor ---- */

bool policy_xcr0_valid(const struct vcpu *w, u64 val)
{
	return val == 1 || val == 3 || val == 7;
}

/* run() has decoded it */
int vcpu_fetch_cr_move(struct vcpu *w, const struct vm_exit *x, u8 *gpr, u32 *len,
		       struct guest_fault *f)
{
	const struct insn *i = &w->emul->insn->insn;

	*gpr = i->rm;
	*len = i->len;
	return i->opcode == (x->cr.write ? 0x22 : 0x20) ? 0 : -EINVAL;
}

void pio_write_reg(struct vcpu *w, u32 reg, u64 val, u32 size)
{
	memcpy(&w->gpr[reg], &val, size);
}

void mmio_emulate(struct vcpu *w)
{
	emulated = w->emul->insn->insn.opcode;
}

void lapic_set_cr8(struct vcpu *w, u64 cr8)
{
	w->lapic.tpr = cr8 << 4;
}

u64 lapic_get_cr8(const struct vcpu *w)
{
	return w->lapic.tpr >> 4;
}

void p2m_lookup(struct p2m *p, u64 gfn, struct pt_leaf *out)
{
	*out = (struct pt_leaf){0};
}

/* ---- */

static void reset(void)
{
	memset(regs, 0, sizeof(regs));
	vcpu = (struct vcpu){.vm = &vm, .emul = &emul, .page = &page, .rip = 0x1000};
	emul.insn = &emul.fetched[0];
	regs[HVM_MODE] = EMUL_64;
	regs[HVM_CR0] = ON;
	regs[HVM_CR4] = CR4_PAE;
	regs[HVM_EFER] = EFER_LME | EFER_LMA;
	long_code = true;
	emulated = 0;
	sets = 0;
	vcpu.rights.cr4 = CR4_PAE | CR4_PCIDE | CR4_LA57;
}

/* The instruction has exited for its access to the control register. */
static void run(u8 cr, bool write, const char *code)
{
	struct vm_exit x = {.reason = VMEXIT_CR_ACCESS, .cr = {cr, write, 0xff}};

	v->rip = 0x1000;
	v->exception.pending = false;
	v->stop_reason = 0;
	CHECK_QUIET(
	    !insn_decode(&emul.insn->insn, (const u8 *)code, strlen(code) + 8, regs[HVM_MODE]),
	    "it is an instruction");
	cr_handle(v, &x);
}

static bool faults(void)
{
	return v->exception.pending && v->exception.vector == VEC_GP && v->rip == 0x1000 &&
	       !v->stop_reason;
}

/* MOV to the register, from RAX. Does it fault, with nothing changed? */
static bool refuses(u8 cr, u64 val)
{
	static const char code[][16] = {
	    [0] = "\x0f\x22\xc0", [4] = "\x0f\x22\xe0", [8] = "\x44\x0f\x22\xc0"};
	u32 before = sets, tpr = v->lapic.tpr;

	v->gpr[RAX] = val;
	run(cr, true, code[cr]);
	return faults() && sets == before && v->lapic.tpr == tpr;
}

static bool takes(u8 cr, u64 val)
{
	return !refuses(cr, val) && !v->exception.pending && !v->stop_reason &&
	       v->rip == 0x1003 + (cr == 8);
}

static void test_xsetbv(void)
{
	static const struct {
		u64 rcx, rax, rdx, cpl;
		const char *what;
	} bad[] = {{0, 5, 0, 0, "a value that is none"},
		   {0, 3, 1u << 30, 0, "a high bit"},
		   {1, 3, 0, 0, "another register"},
		   {0, 3, 0, 3, "user mode"}};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		reset();
		regs[HVM_CR4] |= CR4_OSXSAVE;
		xcr0_hw = v->xcr0 = 1;
		v->gpr[RCX] = bad[i].rcx, v->gpr[RAX] = bad[i].rax, v->gpr[RDX] = bad[i].rdx;
		regs[HVM_CPL] = bad[i].cpl;
		cr_handle_xsetbv(v);
		CHECK(faults() && xcr0_hw == 1 && v->xcr0 == 1, "XSETBV: #GP for %s", bad[i].what);
	}
	reset();
	v->gpr[RAX] = 7, v->gpr[RCX] = 1ull << 32;
	xcr0_hw = v->xcr0 = 1;
	cr_handle_xsetbv(v);
	CHECK(v->exception.pending && v->exception.vector == VEC_UD && xcr0_hw == 1,
	      "XSETBV: #UD without CR4.OSXSAVE");
	reset();
	regs[HVM_CR4] |= CR4_OSXSAVE;
	v->gpr[RAX] = 7, v->gpr[RCX] = 1ull << 32;
	cr_handle_xsetbv(v);
	CHECK(xcr0_hw == 7 && v->xcr0 == 7 && v->rip == 0x1003, "XSETBV: what is offered is set");
}

static void test_cr0(void)
{
	reset();
	CHECK(refuses(0, CR0_PG | CR0_ET), "CR0: paging without protection");
	CHECK(refuses(0, ON | CR0_NW), "CR0: NW without CD");
	CHECK(refuses(0, ON | BIT(32)), "CR0: bits beyond 32");
	CHECK(refuses(0, CR0_PE | CR0_ET), "CR0: paging does not go in 64-bit code");
	CHECK(takes(0, ON | OFF) && regs[HVM_CR0] == (ON | OFF), "CR0: CD and NW can be set");
	CHECK(takes(0, ON | BIT(28)) && regs[HVM_CR0] == ON, "CR0: reserved bits are ignored");
	long_code = false;
	CHECK(takes(0, CR0_PE | CR0_ET), "CR0: paging goes in 32-bit code");
	regs[HVM_CR4] = 0;
	CHECK(refuses(0, ON), "CR0: and does not come for long mode without PAE");
	reset();
	regs[HVM_CPL] = 3;
	CHECK(refuses(0, ON | CR0_CD), "CR0: not for user mode");
}

static void test_cr4(void)
{
	reset();
	CHECK(refuses(4, CR4_PAE | CR4_VMXE) && refuses(4, CR4_PAE | BIT(63)) &&
		  refuses(4, CR4_PAE | CR4_SMEP),
	      "CR4: only what the guest is offered");
	CHECK(refuses(4, 0), "CR4: PAE does not go in long mode");
	CHECK(refuses(4, CR4_PAE | CR4_LA57), "CR4: nor do levels change");
	regs[HVM_CR3] = 0x1001;
	CHECK(refuses(4, CR4_PAE | CR4_PCIDE), "CR4: PCIDE wants a CR3 of PCID 0");
	regs[HVM_CR3] = 0x1000;
	CHECK(takes(4, CR4_PAE | CR4_PCIDE), "CR4: and then can be set");
	regs[HVM_CPL] = 1;
	CHECK(refuses(4, CR4_PAE), "CR4: ring 0 only");
}

static void test_cr8(void)
{
	reset();
	CHECK(takes(8, 15) && v->lapic.tpr == 0xf0, "CR8: 15 is the most");
	CHECK(refuses(8, 16) && refuses(8, ~0ull), "CR8: more is refused");
	CHECK(takes(8, 4), "CR8: a LAPIC of ours looks for itself");
	vm.has_lapic = false;
	CHECK(takes(8, 4) && takes(8, 5),
	      "CR8: of what is not lower the VMM that has the LAPIC does not hear");
	CHECK(!takes(8, 3) && v->stop_reason == CORBEL_EXIT_TPR && v->lapic.tpr == 0x30 &&
		  v->rip == 0x1004,
	      "CR8: of what is it does");
	CHECK(refuses(8, 16) && !v->stop_reason, "CR8: but not of what is refused");
	vm.has_lapic = true;
}

static bool reads(u8 cr, const char *code, u64 val)
{
	v->gpr[RAX] = 0;
	run(cr, false, code);
	return v->gpr[RAX] == val && !v->exception.pending && !v->stop_reason;
}

/* The instruction tells which is read: an emulator calls all reads CR0's. */
static void test_reads(void)
{
	static const char of_cr0[16] = "\x0f\x20\xc0", of_cr4[16] = "\x0f\x20\xe0",
			  of_cr8[16] = "\x44\x0f\x20\xc0", lock[16] = "\xf0\x0f\x20\xc0",
			  of_cr7[16] = "\x0f\x20\xf8";

	reset();
	regs[HVM_CR0] = ON | OFF;
	regs[HVM_CR4] = CR4_PAE | CR4_PGE;
	v->lapic.tpr = 0x50;
	CHECK(reads(0, of_cr0, ON | OFF) && reads(8, of_cr8, 5), "CR0 and CR8 are read");
	CHECK(reads(8, lock, 5), "LOCK stands for CR8, too");
	CHECK(reads(0, of_cr4, CR4_PAE | CR4_PGE), "CR4 is read, though it is said to be CR0");
	CHECK(reads(0, of_cr7, ON | OFF), "an instruction changed meanwhile does no harm");
}

static void test_msw(void)
{
	static const char lmsw_ax[16] = "\x0f\x01\xf0", lmsw_rbx[16] = "\x0f\x01\x33",
			  smsw_eax[16] = "\x0f\x01\xe0", smsw_rbx[16] = "\x0f\x01\x23",
			  clts[16] = "\x0f\x06", invlpg[16] = "\x0f\x01\x3b";

	reset();
	regs[HVM_CR0] = ON | OFF | CR0_NE;
	v->gpr[RAX] = CR0_EM | CR0_TS | BIT(5) | BIT(6);
	run(0, true, lmsw_ax);
	CHECK(regs[HVM_CR0] == (ON | OFF | CR0_NE | CR0_EM | CR0_TS) && v->rip == 0x1003,
	      "LMSW sets EM and TS, clears MP, and leaves PE and all above as they are");
	run(0, true, lmsw_rbx);
	CHECK(emulated == 1 && v->rip == 0x1000, "from memory it is the emulator's");
	run(0, true, clts);
	CHECK(regs[HVM_CR0] == (ON | OFF | CR0_NE | CR0_EM) && v->rip == 0x1002,
	      "CLTS clears TS alone");
	emulated = 0;
	run(0, false, smsw_rbx);
	CHECK(emulated == 1 && v->rip == 0x1000, "to memory SMSW is so, too");
	v->gpr[RAX] = ~0ull;
	run(0, false, smsw_eax);
	CHECK((u32)v->gpr[RAX] == (u32)(ON | OFF | CR0_NE | CR0_EM), "a register gets all of it");
	regs[HVM_CPL] = 3;
	run(0, false, smsw_eax);
	CHECK(!v->exception.pending && v->rip == 0x1003, "programs may run SMSW");
	regs[HVM_CR4] |= CR4_UMIP;
	run(0, false, smsw_eax);
	CHECK(faults(), "but for UMIP");
	sets = 0;
	run(0, true, lmsw_ax);
	CHECK(faults() && !sets, "and never LMSW");
	run(0, true, clts);
	CHECK(faults() && !sets, "nor CLTS");
	regs[HVM_CPL] = 0;
	run(0, true, invlpg);
	CHECK(v->stop_reason == CORBEL_EXIT_INTERNAL && !sets,
	      "an instruction that has been changed meanwhile ends the guest");
}

int main(void)
{
	test_xsetbv();
	test_cr0();
	test_cr4();
	test_cr8();
	test_reads();
	test_msw();
	return test_end();
}
