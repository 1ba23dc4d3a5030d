/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/cpu/mcheck.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"

#define MSR_SCALABLE_IPID      0xc0002005 /* AMD's MCA_IPID, MCA_SYND behind it; 16 for each bank */
#define MSR_SCALABLE_CONFIG    0xc0002004 /* MCA_CONFIG */
#define SCALABLE_LSB_IN_STATUS BIT(8)
#define SCALABLE_MAY_LOG       BIT(2)
#define SCALABLE_KNOWN	       BIT(32) /* McaXEn */
#define SCALABLE_LOG_DEFERRED  BIT(34) /* in MCA_STATUS, too */
#define STATUS_LSB	       GENMASK(29, 24)
#define ADDR_LSB	       GENMASK(61, 56)

/* MCi_MISC */
#define MISC_LSB      GENMASK(5, 0) /* the lowest bit of the address that is right */
#define MISC_MODE     GENMASK(8, 6)
#define MODE_PHYSICAL 2
/* MCA error codes, without the bit that says whether corrected ones are filtered */
#define CODE_MASK  (GENMASK(15, 13) | GENMASK(11, 0))
#define CODE_DATA  0x134 /* a load */
#define CODE_FETCH 0x150 /* of an instruction */
/* CPUID Fn8000_0007, EBX */
#define LEAF_RAS	0x80000007
#define RAS_OVERFLOW_OK BIT(0)
#define RAS_CONTAINS	BIT(1) /* SUCCOR */
#define RAS_SCALABLE	BIT(3)
#define AMD_DEFERRED	BIT(44) /* MCi_STATUS */
#define ZEN_FETCH_BANK	1
#define AMD_POISON	BIT(43) /* it has been used, and its address is the system's */

/*
 * What mcheck_tell() owes, oldest first. Only its CPU touches it, but an exception may come between
 * any two instructions, and add more: a place is taken by one of them, and what is read is not
 * given back before.
 */
#define OWED 8
struct owed {
	u32 put, got;
	struct mcheck_error at[OWED];
};
static PER_CPU(struct owed, owed);
static struct lock bank_lock = LOCK_INIT(LOCK_BANKS);

static void (*tell_hook)(const struct corbel_error *e);

void mcheck_set_hook(void (*tell)(const struct corbel_error *e))
{
	tell_hook = tell;
}

static u32 bank_msr(u32 bank, u32 reg)
{
	return MSR_MC0_CTL + 4 * bank + reg;
}

/* MCG_CAP, 0 where there is none; firmware may have switched leaves off, so what fails is left. */
static u64 read_mcg_cap(void)
{
	u32 wanted = CPUID_1D_MCE | CPUID_1D_MCA;
	u64 cap;

	if ((cpuid_read(1, 0).d & wanted) != wanted || rdmsr_safe(MSR_MCG_CAP, &cap))
		return 0;
	return cap;
}

static bool is_amd(void)
{
	return cpuid_is_amd(cpuid_read(0, 0).b);
}

static u32 amd_ras(void)
{
	return is_amd() && cpuid_read(0x80000000, 0).a >= LEAF_RAS ? cpuid_read(LEAF_RAS, 0).b : 0;
}

static u64 read_if(bool there, u32 msr)
{
	u64 val;

	return there && !rdmsr_safe(msr, &val) ? val : 0;
}

/* Is the error in a page of memory, and in which? Intel's addresses may be of other kinds. */
static bool names_page(const struct mcheck_error *e)
{
	bool physical = e->status & MCI_MISCV && FIELD_GET(MISC_MODE, e->misc) == MODE_PHYSICAL &&
			FIELD_GET(MISC_LSB, e->misc) <= PAGE_SHIFT;

	return e->status & MCI_ADDRV && (physical || is_amd());
}

/*
 * PPR "MCA_ADDR": above the address is the number of its lowest bit that is right, unless
 * MCA_STATUS has that.
 */
static void take_scalable(struct mcheck_error *e)
{
	u64 config = read_if(true, MSR_SCALABLE_CONFIG + 16 * e->bank), top = 55;
	u64 lsb = FIELD_GET(ADDR_LSB, e->addr);

	if (config & SCALABLE_LSB_IN_STATUS) {
		lsb = FIELD_GET(STATUS_LSB, e->status);
		top = 56;
	}
	e->addr &= GENMASK(top, lsb);
	e->in_page &= e->status & AMD_POISON && lsb <= PAGE_SHIFT;
	e->ipid = read_if(true, MSR_SCALABLE_IPID + 16 * e->bank);
	e->synd = read_if(true, MSR_SCALABLE_IPID + 16 * e->bank + 1);
}

static struct mcheck_error read_bank(u32 bank)
{
	struct mcheck_error e = {.bank = bank};

	e.status = read_if(true, bank_msr(bank, MCI_STATUS));
	e.misc = read_if(e.status & MCI_MISCV, bank_msr(bank, MCI_MISC));
	e.addr = read_if(e.status & MCI_ADDRV, bank_msr(bank, MCI_ADDR));
	e.in_page = names_page(&e);
	if (amd_ras() & RAS_SCALABLE)
		take_scalable(&e);
	return e;
}

u32 mcheck_log(void)
{
	u32 banks = read_mcg_cap() & MCG_BANKS, found = 0;

	for (u32 i = 0; i < banks; i++) {
		struct mcheck_error e = read_bank(i);

		if (!(e.status & MCI_VAL))
			continue;
		found++;
		log_err("CPU %u: machine check, bank %u: status %lx, address %lx, misc %lx",
			this_cpu()->index, i, e.status, e.addr, e.misc);
	}
	return found;
}

/* S and AR say whether somebody has used it already; who has not is left alone. */
static enum mcheck_verdict judge_intel(u64 status, u64 cap)
{
	u64 kind = status & (MCI_S | MCI_AR), code = status & CODE_MASK;

	if (!(cap & MCG_SER_P) || kind == MCI_AR)
		return MCHECK_FATAL;
	if (kind != (MCI_S | MCI_AR) || !(status & MCI_EN))
		return MCHECK_GO_ON;
	if (status & MCI_OVER || (code != CODE_DATA && code != CODE_FETCH))
		return MCHECK_FATAL;
	return MCHECK_GUEST;
}

/* What nobody has used is deferred there, and not uncorrected. */
static enum mcheck_verdict judge_amd(u64 status)
{
	u32 ras = amd_ras();

	if (!(ras & RAS_CONTAINS) || (status & MCI_OVER && !(ras & RAS_OVERFLOW_OK)))
		return MCHECK_FATAL;
	return status & MCI_EN ? MCHECK_GUEST : MCHECK_GO_ON;
}

static enum mcheck_verdict judge_bank(const struct mcheck_error *e, u64 cap)
{
	enum mcheck_verdict verdict;

	if (e->status & MCI_PCC)
		return MCHECK_FATAL;
	verdict = is_amd() ? judge_amd(e->status) : judge_intel(e->status, cap);
	return verdict == MCHECK_GUEST && !e->in_page ? MCHECK_FATAL : verdict;
}

/*
 * Is it for this CPU to judge, and to clear? What is not uncorrected mcheck_poll() finds. What
 * another thread has used both see, where they share the bank: it is left to that one, which clears
 * it. SDM "Architecturally Defined SRAR Errors".
 */
static bool is_raised(const struct mcheck_error *e, u64 cap, u64 mcg)
{
	bool is_anothers = !is_amd() && (mcg & (MCG_RIPV | MCG_EIPV | MCG_LMCE_S)) == MCG_RIPV;

	if (!(e->status & MCI_VAL) || !(e->status & MCI_UC))
		return false;
	return !is_anothers || judge_bank(e, cap) != MCHECK_GUEST;
}

/*
 * Is it known what was interrupted? Where AMD's Zens have fetched poisoned code it is the guest
 * that has, or the hypervisor, but MCG_STATUS knows neither where nor how to go on.
 */
static bool is_known(const struct mcheck_error *e, u64 mcg)
{
	return mcg & (MCG_RIPV | MCG_EIPV) ||
	       (amd_ras() & RAS_SCALABLE && e->bank == ZEN_FETCH_BANK && e->status & AMD_POISON);
}

enum mcheck_verdict mcheck_judge(bool in_guest, struct mcheck_error *e)
{
	u64 cap = read_mcg_cap(), mcg = read_if(cap, MSR_MCG_STATUS);
	enum mcheck_verdict worst = MCHECK_GO_ON;

	*e = (struct mcheck_error){0};
	for (u32 i = 0; i < (cap & MCG_BANKS); i++) {
		struct mcheck_error at = read_bank(i);
		enum mcheck_verdict verdict;

		if (!is_raised(&at, cap, mcg))
			continue;
		verdict = judge_bank(&at, cap);
		/* Used by the hypervisor, or two: who has which cannot be told. */
		if (verdict == MCHECK_GUEST && (!in_guest || worst == MCHECK_GUEST))
			verdict = MCHECK_FATAL;
		if (verdict > worst)
			*e = at;
		worst = MAX(worst, verdict);
	}
	e->restarts = mcg & MCG_RIPV;
	/* If it is to go on, it has to be whole. */
	if (worst == MCHECK_GUEST ? !is_known(e, mcg) : !e->restarts)
		return MCHECK_FATAL;
	return worst;
}

/* It is to be told when there are no locks held. False: there is no room for it. */
static bool owe_error(const struct mcheck_error *e)
{
	struct cpu *c = this_cpu();
	u32 nr = __atomic_fetch_add(&own_cpu(owed).put, 1, __ATOMIC_RELAXED);

	if (nr - own_cpu(owed).got >= OWED) {
		__atomic_fetch_sub(&own_cpu(owed).put, 1, __ATOMIC_RELAXED);
		return false;
	}
	own_cpu(owed).at[nr % OWED] = *e;
	WRITE_ONCE(c->mcheck_owed, true);
	WRITE_ONCE(c->resched, true);
	return true;
}

/*
 * Of what several CPUs see the first one tells, and clears it. An exception may come while this CPU
 * has the lock, and goes on without. False: it has it.
 */
static bool lock_banks(void)
{
	if (lock_is_held(&bank_lock))
		return false;
	while (!lock_try(&bank_lock))
		cpu_relax();
	return true;
}

/* Does the bank hold what has been judged, or less? There may have come another since. */
static bool is_settled(const struct mcheck_error *e, u64 cap, const struct mcheck_error *guests)
{
	switch (judge_bank(e, cap)) {
	case MCHECK_GO_ON:
		return owe_error(e);
	case MCHECK_GUEST:
		return e->bank == guests->bank && e->status == guests->status &&
		       e->addr == guests->addr;
	default:
		return false;
	}
}

bool mcheck_settle(const struct mcheck_error *guests)
{
	u64 cap = read_mcg_cap(), mcg = read_if(cap, MSR_MCG_STATUS);
	bool locked = lock_banks(), kept = true;

	for (u32 i = 0; i < (cap & MCG_BANKS) && kept; i++) {
		struct mcheck_error e = read_bank(i);

		if (!is_raised(&e, cap, mcg))
			continue;
		kept = is_settled(&e, cap, guests);
		if (kept)
			wrmsr_safe(bank_msr(i, MCI_STATUS), 0);
	}
	if (kept)
		wrmsr_safe(MSR_MCG_STATUS, 0);
	if (locked)
		lock_release(&bank_lock);
	return kept;
}

/* Locks may be held, as in an NMI. */
bool mcheck_survived(void)
{
	struct mcheck_error e;

	/* Others have the same banks, or it is of no use to anybody. */
	if (this_cpu()->left_out) {
		wrmsr_safe(MSR_MCG_STATUS, 0);
		return true;
	}
	return mcheck_judge(false, &e) == MCHECK_GO_ON && mcheck_settle(&e);
}

static void tell_error(const struct mcheck_error *e)
{
	u64 cap = read_mcg_cap();
	struct corbel_error told = {
	    .status = e->status,
	    .addr = e->addr,
	    .misc = e->misc,
	    .synd = e->synd,
	    .ipid = e->ipid,
	    .mcg_status = read_if(cap, MSR_MCG_STATUS),
	    .mcg_cap = cap,
	    .tsc = rdtsc(),
	    .bank = e->bank,
	    .apic_id = this_cpu()->apic_id,
	};

	if (tell_hook)
		tell_hook(&told);
}

u64 mcheck_tell(void)
{
	const char *then = "who uses it will be ended";
	struct cpu *c = this_cpu();
	struct mcheck_error e;

	WRITE_ONCE(c->mcheck_owed, false); /* first: one that comes now is told, too */
	if (own_cpu(owed).got == READ_ONCE(own_cpu(owed).put))
		return 0;
	e = own_cpu(owed).at[own_cpu(owed).got % OWED];
	__atomic_store_n(&own_cpu(owed).got, own_cpu(owed).got + 1, __ATOMIC_RELEASE);
	if (own_cpu(owed).got != READ_ONCE(own_cpu(owed).put))
		WRITE_ONCE(c->mcheck_owed, true);
	if (!e.in_page)
		then = "which page that is cannot be told";
	log_warn("CPU %u: machine check, bank %u: status %lx, memory at %lx is broken; %s",
		 c->index, e.bank, e.status, e.addr, then);
	tell_error(&e);
	return e.in_page ? e.addr >> PAGE_SHIFT : 0;
}

/* ---- what raises no exception ---- */

/* Is memory lost that nobody has used yet? Intel: "uncorrected no action required" */
static bool is_lost(u64 status)
{
	return status & (is_amd() ? AMD_DEFERRED : MCI_UC);
}

/* Others are, or will be, an exception's. */
static bool is_silent(u64 status, u64 cap)
{
	if (!(status & MCI_VAL))
		return false;
	return !(status & MCI_UC) || (cap & MCG_SER_P && !(status & (MCI_PCC | MCI_S)));
}

static void tell_corrected(const struct mcheck_error *e)
{
	static u32 times;
	u32 n = __atomic_add_fetch(&times, 1, __ATOMIC_RELAXED);

	if (!(n & (n - 1)))
		log_warn("CPU %u: machine check, bank %u: status %lx, address %lx, misc %lx: "
			 "corrected, %u by now",
			 this_cpu()->index, e->bank, e->status, e->addr, e->misc, n);
	tell_error(e);
}

/* Of one bank, with the lock: what is lost is owed. -> it was a corrected one */
static bool take_silent(u32 bank, u64 cap, struct mcheck_error *e)
{
	u32 before;

	do { /* all of it of one error: an exception clears what it has told */
		before = READ_ONCE(own_cpu(owed).put);
		*e = read_bank(bank);
	} while (before != READ_ONCE(own_cpu(owed).put));
	if (!is_silent(e->status, cap))
		return false;
	/* AMD's memory controllers have addresses of their own in theirs. */
	e->in_page &= !is_amd();
	if (is_lost(e->status) && !owe_error(e))
		return false; /* the bank keeps it until the next time */
	wrmsr_safe(bank_msr(bank, MCI_STATUS), 0);
	return !is_lost(e->status);
}

void mcheck_poll(void)
{
	u64 cap = read_mcg_cap();

	for (u32 i = 0; i < (cap & MCG_BANKS); i++) {
		struct mcheck_error e;
		bool corrected;

		lock_banks();
		corrected = take_silent(i, cap, &e);
		lock_release(&bank_lock);
		if (corrected)
			tell_corrected(&e);
	}
}

/*
 * An error that somebody has used comes to that CPU alone, if the firmware has allowed it. SDM
 * "Enabling Local Machine Check".
 */
static void make_local(u64 cap)
{
	u64 feature = read_if(cap & MCG_LMCE_P, MSR_FEATURE_CONTROL);

	if (feature & FEATURE_LOCK && feature & FEATURE_LMCE)
		wrmsr_safe(MSR_MCG_EXT_CTL, MCG_EXT_LMCE);
}

/*
 * PPR "MCA_CONFIG". Banks that nobody says he knows end the machine, with no exception, by what is
 * uncorrected. Deferred errors are looked for in MCA_STATUS alone.
 */
static void know_scalable(u32 bank)
{
	u32 msr = MSR_SCALABLE_CONFIG + 16 * bank;
	u64 config;

	if (!(amd_ras() & RAS_SCALABLE) || rdmsr_safe(msr, &config))
		return;
	if (config & SCALABLE_MAY_LOG)
		config |= SCALABLE_LOG_DEFERRED;
	wrmsr_safe(msr, config | SCALABLE_KNOWN);
}

void mcheck_init_cpu(void)
{
	u64 cap = read_mcg_cap();

	if (mcheck_log())
		log_warn("CPU %u: these are left over from before the boot; if they come again the "
			 "hardware is at fault",
			 this_cpu()->index);
	if (cap & MCG_CTL_P)
		wrmsr_safe(MSR_MCG_CTL, ~0ull);
	make_local(cap);
	for (u32 i = 0; i < (cap & MCG_BANKS); i++) {
		know_scalable(i);
		wrmsr_safe(bank_msr(i, MCI_CTL), ~0ull);
		wrmsr_safe(bank_msr(i, MCI_STATUS), 0);
	}
	wrmsr_safe(MSR_MCG_STATUS, 0);
}
