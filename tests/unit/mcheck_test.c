/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Whom a machine check hits: what each vendor's banks say of an error, and what follows from it
 * where a guest ran. The banks are the test's; two threads of a core have the same.
 * links: -lpthread tests/unit/rest.c hv/guest/exit.c
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "hv/lib/asm.h"

static int fake_rdmsr(u32 msr, u64 *val);
static int fake_wrmsr(u32 msr, u64 val);
#define rdmsr_safe fake_rdmsr
#define wrmsr_safe fake_wrmsr
#include "hv/cpu/mcheck.c"
#include "hv/cpu/mcheck_timer.c"

#include "hv/cpu/timer.h"

#include "hv/guest/event.h"
#include "hv/guest/hyperv.h"
#include "hv/guest/exit.h"
#include "hv/guest/fault.h"
#include "hv/guest/inject.h"
#include "hv/guest/lapic_regs.h"
#include "hv/guest/lapic_timer.h"
#include "hv/guest/mmio.h"
#include "hv/guest/msr.h"
#include "hv/guest/msr_exit.h"
#include "hv/guest/pio.h"
#include "hv/guest/spin.h"
#include "hv/guest/vm.h"
#include "hv/mm/frame.h"
#include "stand_in.h"
#include "test.h"

#define BANKS 4
#define TOLD  16

struct cpu *cpus[MAX_CPUS]; /* nobody has mates */

/* ---- the machine ---- */

static u64 scalable[BANKS][2], scalable_config[BANKS];
static u64 banks[BANKS][4], mcg_cap = BANKS | MCG_SER_P | MCG_CTL_P, mcg_of[2], mcg_ext_ctl;
static u64 feature_control;
static _Thread_local u32 cpu_on;
#define mcg_status mcg_of[cpu_on]
static bool amd, yields;
static u32 ras = RAS_CONTAINS | RAS_OVERFLOW_OK;

void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	*a = leaf == 0x80000000 ? LEAF_RAS : 1;
	*b = leaf == LEAF_RAS ? ras : 0;
	if (!leaf)
		*b = amd ? CPUID_0B_AUTH : 0x756e6547;
	*c = 0;
	*d = CPUID_1D_MCE | CPUID_1D_MCA;
}

static struct cpu two[2] = {{.index = 0, .apic_id = 7}, {.index = 1}};
static void may_break(void);

/* Between any two pieces of work something may break. */
struct cpu *this_cpu(void)
{
	may_break();
	return &two[cpu_on];
}

static u64 *msr_at(u32 msr)
{
	u32 at = msr - MSR_MC0_CTL;

	if (msr == MSR_MCG_CAP)
		return &mcg_cap;
	if (msr == MSR_MCG_STATUS)
		return &mcg_status;
	if (msr == MSR_MCG_EXT_CTL)
		return &mcg_ext_ctl;
	if (msr == MSR_FEATURE_CONTROL)
		return &feature_control;
	if (msr - MSR_SCALABLE_IPID < BANKS * 16 && (msr - MSR_SCALABLE_IPID) % 16 < 2)
		return &scalable[(msr - MSR_SCALABLE_IPID) / 16][(msr - MSR_SCALABLE_IPID) % 16];
	if (msr % 16 == 4 && (msr - 0xc0002004) / 16 < BANKS)
		return &scalable_config[(msr - 0xc0002004) / 16];
	return at < BANKS * 4 ? &banks[at / 4][at % 4] : NULL;
}

static int fake_rdmsr(u32 msr, u64 *val)
{
	may_break();
	const u64 *at = msr_at(msr);

	*val = at ? __atomic_load_n(at, __ATOMIC_RELAXED) : 0;
	if (yields)
		sched_yield();
	return at ? 0 : -EIO;
}

static int fake_wrmsr(u32 msr, u64 val)
{
	may_break();
	if (msr_at(msr))
		__atomic_store_n(msr_at(msr), val, __ATOMIC_RELAXED);
	return 0;
}

static u32 breaks_in; /* so many pieces of work; 0: never */
static void (*breaks)(void);

static void may_break(void)
{
	if (breaks_in && !--breaks_in)
		breaks();
}

#define BROKEN_PFN 0x12345ull
#define ADDRESS	   (BROKEN_PFN << PAGE_SHIFT | 0x40)
#define MISC	   (2ull << 6 | 6) /* physical, of a cache line */
#define USED                                                                                       \
	(MCI_VAL | MCI_UC | MCI_EN | MCI_MISCV | MCI_ADDRV | MCI_S | MCI_AR | CODE_DATA) /* SRAR   \
											  */
#define SCRUBBED ((USED & ~MCI_AR & ~CODE_MASK) | 0xc1)
#define AMD_USED (MCI_VAL | MCI_UC | MCI_EN | MCI_MISCV | MCI_ADDRV | 0x0135)
#define RUNS	 (MCG_RIPV | MCG_EIPV | MCG_MCIP)
#define ANOTHERS (MCG_RIPV | MCG_MCIP) /* where a thread is told that has not used it */

static void put_bank(u32 n, u64 status, u64 misc)
{
	banks[n][MCI_STATUS] = status;
	banks[n][MCI_ADDR] = ADDRESS;
	banks[n][MCI_MISC] = misc;
}

static void reset(u64 mcg)
{
	memset(banks, 0, sizeof(banks));
	mcg_status = mcg;
}

/* ---- what the banks say ---- */

static const struct {
	const char *name;
	u64 status, misc, mcg, cap;
	enum mcheck_verdict guest, host; /* where a guest ran, and in the hypervisor */
} intel[] =
    {
	{"data that the guest has used", USED, MISC, RUNS, 0, MCHECK_GUEST, MCHECK_FATAL},
	{"code that the guest has used", (USED & ~CODE_MASK) | CODE_FETCH, MISC, MCG_EIPV, 0,
	 MCHECK_GUEST, MCHECK_FATAL},
	{"context corrupt", USED | MCI_PCC, MISC, RUNS, 0, MCHECK_FATAL, MCHECK_FATAL},
	{"an earlier one is lost", USED | MCI_OVER, MISC, RUNS, 0, MCHECK_FATAL, MCHECK_FATAL},
	{"no address", USED & ~MCI_ADDRV, MISC, RUNS, 0, MCHECK_FATAL, MCHECK_FATAL},
	{"no kind of address", USED & ~MCI_MISCV, MISC, RUNS, 0, MCHECK_FATAL, MCHECK_FATAL},
	{"a linear address", USED, 1ull << 6 | 6, RUNS, 0, MCHECK_FATAL, MCHECK_FATAL},
	{"two pages at least", USED, 2ull << 6 | 13, RUNS, 0, MCHECK_FATAL, MCHECK_FATAL},
	{"a page", USED, 2ull << 6 | 12, RUNS, 0, MCHECK_GUEST, MCHECK_FATAL},
	{"an unknown error that wants action", USED | 0x400, MISC, RUNS, 0, MCHECK_FATAL,
	 MCHECK_FATAL},
	{"nobody knows what was interrupted", USED, MISC, MCG_MCIP, 0, MCHECK_FATAL, MCHECK_FATAL},
	{"AR without S", USED & ~MCI_S, MISC, RUNS, 0, MCHECK_FATAL, MCHECK_FATAL},
	{"found by the scrubber", SCRUBBED, MISC, RUNS, 0, MCHECK_GO_ON, MCHECK_GO_ON},
	{"found by the scrubber, nothing can go on", SCRUBBED, MISC, MCG_EIPV, 0, MCHECK_FATAL,
	 MCHECK_FATAL},
	{"no action", USED & ~(MCI_S | MCI_AR), MISC, RUNS, 0, MCHECK_GO_ON, MCHECK_GO_ON},
	{"not reported", USED & ~MCI_EN, MISC, RUNS, 0, MCHECK_GO_ON, MCHECK_GO_ON},
	{"corrected", USED & ~MCI_UC, MISC, RUNS, 0, MCHECK_GO_ON, MCHECK_GO_ON},
	{"another CPU's", 0, 0, ANOTHERS, 0, MCHECK_GO_ON, MCHECK_GO_ON},
	{"another thread's data", USED, MISC, ANOTHERS, 0, MCHECK_GO_ON, MCHECK_GO_ON},
	{"another thread's code", (USED & ~CODE_MASK) | CODE_FETCH, MISC, ANOTHERS, 0, MCHECK_GO_ON,
	 MCHECK_GO_ON},
	{"another thread's, and one is lost", USED | MCI_OVER, MISC, ANOTHERS, 0, MCHECK_FATAL,
	 MCHECK_FATAL},
	{"another thread's, context corrupt", USED | MCI_PCC, MISC, ANOTHERS, 0, MCHECK_FATAL,
	 MCHECK_FATAL},
	{"no other thread was told", USED, MISC, ANOTHERS | MCG_LMCE_S, 0, MCHECK_GUEST,
	 MCHECK_FATAL},
	{"a CPU that cannot recover", USED, MISC, RUNS, BANKS, MCHECK_FATAL, MCHECK_FATAL},
},
  amds[] = {
      {"data that the guest has used", AMD_USED, 0, RUNS, 0, MCHECK_GUEST, MCHECK_FATAL},
      {"context corrupt", AMD_USED | MCI_PCC, 0, RUNS, 0, MCHECK_FATAL, MCHECK_FATAL},
      {"an earlier one is lost, another bank has it", AMD_USED | MCI_OVER, 0, RUNS, 0, MCHECK_GUEST,
       MCHECK_FATAL},
      {"no address", AMD_USED & ~MCI_ADDRV, 0, RUNS, 0, MCHECK_FATAL, MCHECK_FATAL},
      {"deferred", (AMD_USED & ~MCI_UC) | BIT(44), 0, RUNS, 0, MCHECK_GO_ON, MCHECK_GO_ON},
      {"not reported", AMD_USED & ~MCI_EN, 0, RUNS, 0, MCHECK_GO_ON, MCHECK_GO_ON},
      {"nobody knows what was interrupted", AMD_USED, 0, MCG_MCIP, 0, MCHECK_FATAL, MCHECK_FATAL},
      {"threads share no bank", AMD_USED, 0, ANOTHERS, 0, MCHECK_GUEST, MCHECK_FATAL},
};

static enum mcheck_verdict verdict_of(bool in_guest)
{
	struct mcheck_error e;

	return mcheck_judge(in_guest, &e);
}

static void test_verdicts(void)
{
	const u64 cap = mcg_cap;

	for (u32 i = 0; i < ARRAY_SIZE(intel); i++) {
		reset(intel[i].mcg);
		put_bank(1, intel[i].status, intel[i].misc);
		mcg_cap = intel[i].cap ? intel[i].cap : cap;
		CHECK(verdict_of(true) == intel[i].guest && verdict_of(false) == intel[i].host,
		      "Intel: %s", intel[i].name);
		mcg_cap = cap;
	}
	amd = true;
	for (u32 i = 0; i < ARRAY_SIZE(amds); i++) {
		reset(amds[i].mcg);
		put_bank(1, amds[i].status, amds[i].misc);
		CHECK(verdict_of(true) == amds[i].guest && verdict_of(false) == amds[i].host,
		      "AMD: %s", amds[i].name);
	}
	reset(RUNS);
	put_bank(1, AMD_USED | MCI_OVER, 0);
	ras = RAS_CONTAINS;
	CHECK(verdict_of(true) == MCHECK_FATAL, "AMD: what is lost is lost on older CPUs");
	put_bank(1, AMD_USED, 0);
	ras = RAS_OVERFLOW_OK;
	CHECK(verdict_of(true) == MCHECK_FATAL, "AMD: CPUs without SUCCOR contain nothing");
	ras |= RAS_CONTAINS;
	amd = false;
}

/* PPR "MCA_ADDR", "MCA_STATUS": where an address has its least bit, and when it is the system's. */
static void test_scalable(void)
{
	static const struct {
		const char *name;
		u64 status, above, config;
		enum mcheck_verdict verdict;
	} at[] = {
	    {"a line that is poisoned", BIT(43), 6ull << 56, 0, MCHECK_GUEST},
	    {"the same where MCA_STATUS has its size", BIT(43) | 6 << 24, 0, BIT(8), MCHECK_GUEST},
	    {"a page", BIT(43), 12ull << 56, 0, MCHECK_GUEST},
	    {"two pages", BIT(43), 13ull << 56, 0, MCHECK_FATAL},
	    {"two, by MCA_STATUS", BIT(43) | 13 << 24, 0, BIT(8), MCHECK_FATAL},
	    {"an address of the bank's own", 0, 6ull << 56, 0, MCHECK_FATAL}};
	struct mcheck_error e;

	amd = true;
	ras |= RAS_SCALABLE;
	for (u32 i = 0; i < ARRAY_SIZE(at); i++) {
		reset(RUNS);
		put_bank(1, AMD_USED | at[i].status, 0);
		banks[1][MCI_ADDR] = ADDRESS | 0x3f | at[i].above;
		scalable_config[1] = at[i].config;
		CHECK(mcheck_judge(true, &e) == at[i].verdict &&
			  (at[i].verdict != MCHECK_GUEST || e.addr >> PAGE_SHIFT == BROKEN_PFN),
		      "AMD's newer CPUs: %s", at[i].name);
	}
	CHECK(mcheck_judge(true, &e) == MCHECK_FATAL && e.addr == ADDRESS,
	      "the address has no more than its valid bits");
	scalable_config[1] = 0;
	reset(MCG_MCIP);
	put_bank(1, AMD_USED | BIT(43), 0);
	CHECK(mcheck_judge(true, &e) == MCHECK_GUEST && !e.restarts,
	      "poisoned code is its guest's, though it is not known where it was");
	CHECK(mcheck_judge(false, &e) == MCHECK_FATAL, "or the hypervisor's");
	reset(MCG_MCIP);
	put_bank(0, AMD_USED | BIT(43), 0);
	CHECK(mcheck_judge(true, &e) == MCHECK_FATAL, "of poisoned data it is known elsewhere");
	ras &= ~RAS_SCALABLE;
	reset(MCG_MCIP);
	put_bank(1, AMD_USED | BIT(43), 0);
	CHECK(mcheck_judge(true, &e) == MCHECK_FATAL, "as it is on older CPUs");
	amd = false;
}

static void test_several(void)
{
	struct mcheck_error e;

	reset(RUNS);
	put_bank(0, SCRUBBED, MISC);
	put_bank(2, USED, MISC);
	CHECK(mcheck_judge(true, &e) == MCHECK_GUEST && e.bank == 2 && e.addr == ADDRESS,
	      "the gravest of two errors is the one that is told");
	CHECK(mcheck_settle(&e) && this_cpu()->mcheck_owed && mcheck_tell() == BROKEN_PFN,
	      "the one that nobody has used is told");
	CHECK(!banks[0][MCI_STATUS] && !banks[2][MCI_STATUS] && !mcg_status,
	      "banks and MCIP are cleared: the next one can come");
	reset(RUNS);
	put_bank(2, USED, MISC);
	put_bank(3, USED, MISC);
	CHECK(verdict_of(true) == MCHECK_FATAL, "two that have been used are too many");
}

/* What comes after it has been judged, and before it is cleared. */
static void test_since(void)
{
	static const struct {
		const char *name;
		u64 status;
		u32 bank;
	} since[] = {
	    {"the guest's bank has lost the context", USED | MCI_PCC, 2},
	    {"the guest's bank has lost an error", USED | MCI_OVER, 2},
	    {"another bank has lost the context", SCRUBBED | MCI_PCC, 1},
	    {"more is used", USED, 3},
	    {"the bank has another error", USED ^ CODE_DATA ^ CODE_FETCH, 2},
	};
	struct mcheck_error e;

	for (u32 i = 0; i < ARRAY_SIZE(since); i++) {
		const u32 bank = since[i].bank;

		reset(RUNS);
		put_bank(2, USED, MISC);
		CHECK_QUIET(mcheck_judge(true, &e) == MCHECK_GUEST, "the guest's");
		put_bank(bank, since[i].status, MISC);
		CHECK(!mcheck_settle(&e) && banks[bank][MCI_STATUS] == since[i].status &&
			  mcg_status,
		      "%s meanwhile: the machine stops, and the bank keeps it", since[i].name);
	}
	reset(RUNS);
	put_bank(1, SCRUBBED, MISC);
	CHECK(mcheck_judge(false, &e) == MCHECK_GO_ON, "nobody has used it");
	put_bank(1, USED, MISC);
	CHECK(!mcheck_settle(&e) && banks[1][MCI_STATUS] == USED,
	      "somebody has meanwhile: the hypervisor does not go on");
	reset(RUNS);
	put_bank(2, USED, MISC);
	mcheck_judge(true, &e);
	put_bank(1, SCRUBBED, MISC);
	CHECK(mcheck_settle(&e) && !banks[1][MCI_STATUS] && mcheck_tell() == BROKEN_PFN,
	      "what nobody has used may come");
}

static void test_host(void)
{
	reset(RUNS);
	put_bank(1, USED, MISC);
	CHECK(!mcheck_survived() && mcg_status == RUNS && banks[1][MCI_STATUS] == USED,
	      "the hypervisor does not go on with what it has used; the banks keep it");
	put_bank(1, SCRUBBED, MISC);
	CHECK(mcheck_survived() && !mcg_status && this_cpu()->mcheck_owed && this_cpu()->resched,
	      "with what nobody has used it does");
	CHECK(mcheck_tell() == BROKEN_PFN, "dom0 is to be told which page it is");
	CHECK(strstr(test_log_text, "bank 1") && strstr(test_log_text, "memory at 12345040") &&
		  !this_cpu()->mcheck_owed,
	      "and a line says what is broken (%s)", test_log_text);
	reset(RUNS);
	put_bank(1, SCRUBBED, MISC);
	put_bank(2, USED, MISC);
	this_cpu()->left_out = true;
	CHECK(mcheck_survived() && !mcg_status && !this_cpu()->mcheck_owed &&
		  banks[1][MCI_STATUS] == SCRUBBED && banks[2][MCI_STATUS] == USED,
	      "a CPU that was left out leaves all to others");
	this_cpu()->left_out = false;
}

/* What is told dom0: only a whole address in memory. */
static void test_told(void)
{
	static const struct {
		const char *name;
		u64 without, misc;
	} wrong[] = {
	    {"no address", MCI_ADDRV, MISC},
	    {"no kind of address", MCI_MISCV, MISC},
	    {"a linear address", 0, 1ull << 6 | 6},
	    {"two pages at least", 0, 2ull << 6 | 13},
	};

	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
		reset(RUNS);
		put_bank(1, SCRUBBED & ~wrong[i].without, wrong[i].misc);
		CHECK(mcheck_survived() && !mcheck_tell(), "dom0 is told of no page: %s",
		      wrong[i].name);
	}
	reset(RUNS);
	CHECK(mcheck_survived() && !mcheck_tell(), "nor of another CPU's error");
}

#define OTHER_PFN 0x54321ull

static bool mixed; /* a line had one error's status and another's address */

/* Where SCRUBBED is always that of OTHER_PFN. */
static bool is_mixed(void)
{
	const char *status = strstr(test_log_text, "status "), *at = strstr(test_log_text, " at ");

	return status && at &&
	       (strtoul(status + 7, NULL, 16) == SCRUBBED) !=
		   (strtoul(at + 4, NULL, 16) >> PAGE_SHIFT == OTHER_PFN);
}

static void tell_all(u64 *pfn, u32 *count)
{
	for (*count = 0; this_cpu()->mcheck_owed && *count < TOLD;) {
		u64 told = mcheck_tell();

		if (told)
			pfn[(*count)++] = told;
		mixed |= is_mixed();
	}
}

static bool is_told(u64 wanted, const u64 *pfn, u32 count)
{
	for (u32 i = 0; i < count; i++)
		if (pfn[i] == wanted)
			return true;
	return false;
}

static _Thread_local struct corbel_error noted; /* the last one that the hook was told of */
static _Thread_local u32 noted_count;

static void note_error(const struct corbel_error *e)
{
	CHECK_QUIET(__atomic_load_n(&bank_lock.holder, __ATOMIC_RELAXED) != cpu_on + 1,
		    "the hook is called without a lock");
	noted = *e;
	noted_count++;
}

static void poll_bank(u64 status, u64 misc)
{
	u64 pfn[TOLD];
	u32 count;

	tell_all(pfn, &count);
	*test_log_text = 0;
	reset(0);
	put_bank(1, status, misc);
	mcheck_poll();
}

/* Errors that raise no exception, by a look at the banks now and then. */
static void test_poll(void)
{
	const u64 corrected = USED & ~(MCI_UC | MCI_S | MCI_AR), unused = USED & ~(MCI_S | MCI_AR);
	const u64 deferred = (AMD_USED & ~MCI_UC) | BIT(44);

	noted_count = 0;
	poll_bank(corrected, MISC);
	CHECK(noted_count == 1 && noted.status == corrected && noted.addr == ADDRESS &&
		  noted.misc == MISC && noted.bank == 1 && noted.apic_id == 7 &&
		  noted.mcg_cap == mcg_cap && noted.tsc && !noted.ipid && !noted.synd,
	      "a corrected error is for dom0's log, whole");
	CHECK(strstr(test_log_text, "bank 1: status 9c00000000000134, address 12345040") &&
		  strstr(test_log_text, "corrected, 1 by now") && !banks[1][MCI_STATUS],
	      "a corrected error is told and cleared (%s)", test_log_text);
	CHECK(!this_cpu()->mcheck_owed, "dom0's page stays");
	poll_bank(corrected, MISC);
	poll_bank(corrected, MISC);
	CHECK(!*test_log_text && !banks[1][MCI_STATUS], "the third is not told, and cleared");
	CHECK(noted_count == 3, "dom0's log has it nevertheless");
	poll_bank(corrected, MISC);
	CHECK(strstr(test_log_text, "4 by now"), "the fourth is, with how many there were");
	poll_bank(unused, MISC);
	CHECK(this_cpu()->mcheck_owed && !banks[1][MCI_STATUS] && mcheck_tell() == BROKEN_PFN,
	      "Intel: lost memory that nobody has used is told dom0");
	CHECK(noted_count == 5 && noted.status == unused, "it is for the log as well");
	poll_bank(unused, MISC);
	put_bank(2, unused, MISC);
	mcheck_poll();
	CHECK(!banks[2][MCI_STATUS] && mcheck_tell() == BROKEN_PFN && this_cpu()->mcheck_owed &&
		  mcheck_tell() == BROKEN_PFN && !this_cpu()->mcheck_owed,
	      "so is a second one that comes before the first is told");
	for (u32 i = 0; i < 20; i++) {
		put_bank(1, unused, MISC);
		mcheck_poll();
	}
	CHECK(banks[1][MCI_STATUS] == unused, "what there is no room for waits in its bank");
	put_bank(0, SCRUBBED, MISC);
	CHECK(!mcheck_survived() && banks[0][MCI_STATUS], "the machine stops if it cannot wait");
	poll_bank(USED, MISC);
	CHECK(banks[1][MCI_STATUS] == USED && !this_cpu()->mcheck_owed && !*test_log_text,
	      "Intel: what comes by an exception is left to that");
	poll_bank(unused | MCI_PCC, MISC);
	CHECK(banks[1][MCI_STATUS], "so is what the context is lost by");
	mcg_cap &= ~MCG_SER_P;
	poll_bank(unused, MISC);
	CHECK(banks[1][MCI_STATUS], "and on a CPU that cannot recover whatever is uncorrected");
	mcg_cap |= MCG_SER_P;
	amd = true;
	poll_bank(deferred, 0);
	CHECK(mcheck_tell() != BROKEN_PFN && !banks[1][MCI_STATUS] &&
		  strstr(test_log_text, "bank 1"),
	      "AMD: deferred errors are told, but no page, since their address is no physical one");
	poll_bank(AMD_USED & ~MCI_UC, 0);
	CHECK(!this_cpu()->mcheck_owed && !banks[1][MCI_STATUS], "AMD: corrected ones are not");
	CHECK(!noted.ipid && !noted.synd, "what only newer CPUs of AMD's have is not read");
	ras |= RAS_SCALABLE;
	scalable[1][0] = 0x9600000050;
	scalable[1][1] = 0x1234;
	poll_bank(AMD_USED & ~MCI_UC, 0);
	CHECK(noted.ipid == 0x9600000050 && noted.synd == 0x1234,
	      "AMD: the log gets what the bank is, and its syndrome, where there are such");
	ras &= ~RAS_SCALABLE;
	amd = false;
}

/* ---- while that is looked at, or told, there comes another one ---- */

static u32 breaks_bank;

static void machine_check(void)
{
	mcg_status = RUNS;
	put_bank(breaks_bank, SCRUBBED, MISC);
	banks[breaks_bank][MCI_ADDR] = OTHER_PFN << PAGE_SHIFT;
	CHECK_QUIET(mcheck_survived() && !mcg_status, "the hypervisor goes on");
}

/* False: that piece of work never came. */
static bool breaks_at(u32 when, u32 bank, u64 status)
{
	const bool silent = !(status & MCI_UC), same = bank == 1;
	u64 pfn[TOLD];
	u32 count;
	bool both;

	poll_bank(0, 0);
	put_bank(1, status, MISC);
	breaks_bank = bank;
	breaks = machine_check;
	breaks_in = when;
	mixed = false;
	mcheck_poll();
	tell_all(pfn, &count);
	if (breaks_in) {
		breaks_in = 0;
		return false;
	}
	/* What the CPU itself has put in the other's place is not there to be told. */
	both = silent || is_told(BROKEN_PFN, pfn, count) || (same && !banks[1][MCI_STATUS]);
	CHECK_QUIET(both && is_told(OTHER_PFN, pfn, count), "bank %u, piece %u: both are told (%u)",
		    bank, when, count);
	CHECK_QUIET(!mixed, "bank %u, piece %u: each of them whole", bank, when);
	for (u32 i = 0; i < count; i++)
		CHECK_QUIET(pfn[i] == BROKEN_PFN || pfn[i] == OTHER_PFN, "each page is one of the "
									 "two");
	return true;
}

static void test_meanwhile(void)
{
	const u64 corrected = USED & ~(MCI_UC | MCI_S | MCI_AR), unused = USED & ~(MCI_S | MCI_AR);
	u32 when[4] = {1, 1, 1, 1};

	while (breaks_at(when[0], 2, unused))
		when[0]++;
	while (breaks_at(when[1], 0, unused))
		when[1]++;
	while (breaks_at(when[2], 1, unused))
		when[2]++;
	while (breaks_at(when[3], 1, corrected))
		when[3]++;
	for (u32 i = 0; i < ARRAY_SIZE(when); i++)
		CHECK(when[i] > 10,
		      "an exception at each of %u moments of a look takes no report "
		      "away",
		      when[i] - 1);
}

/* An exception has its own errors to clear, and no others. */
static void test_others(void)
{
	const u64 corrected = USED & ~(MCI_UC | MCI_S | MCI_AR);
	u64 pfn[TOLD];
	u32 count;

	poll_bank(0, 0);
	put_bank(0, corrected, MISC);
	put_bank(2, SCRUBBED, MISC);
	banks[2][MCI_ADDR] = OTHER_PFN << PAGE_SHIFT;
	breaks_bank = 3;
	machine_check();
	CHECK(banks[0][MCI_STATUS] == corrected, "a corrected error stays for the next look");
	put_bank(1, SCRUBBED, MISC);
	mcg_status = RUNS;
	CHECK(mcheck_survived(), "another exception before the first is told");
	tell_all(pfn, &count);
	CHECK(count == 3 && is_told(OTHER_PFN, pfn, 2) && pfn[2] == BROKEN_PFN,
	      "each error of each exception is told (%u)", count);
}

/* ---- two threads of a core ---- */

static const u64 mcg_for[2] = {RUNS, ANOTHERS}; /* 0: it has used it; 1: the other one has */
static u32 role_of[2];
static u32 went[2]; /* how often all was well */

static void thread_checks(void)
{
	struct mcheck_error e;
	enum mcheck_verdict verdict = mcheck_judge(true, &e);

	if (!mcheck_settle(&e) || this_cpu()->mcheck_owed || mcg_status)
		return;
	if (role_of[cpu_on])
		went[cpu_on] += verdict == MCHECK_GO_ON;
	else
		went[cpu_on] += verdict == MCHECK_GUEST && e.addr == ADDRESS && e.restarts;
}

/* The other thread is told, too. */
static void other_checks(void)
{
	if (bank_lock.holder) { /* it would wait */
		breaks_in = 1;
		return;
	}
	cpu_on = 1;
	thread_checks();
	cpu_on = 0;
}

/* False: that moment never came. */
static bool both_check(u32 when, u32 first_is)
{
	poll_bank(0, 0);
	put_bank(1, USED, MISC);
	for (u32 i = 0; i < 2; i++) {
		went[i] = 0;
		role_of[i] = i ? !first_is : first_is;
		mcg_of[i] = mcg_for[role_of[i]];
	}
	breaks = other_checks;
	breaks_in = when;
	thread_checks();
	if (breaks_in) {
		breaks_in = 0;
		return false;
	}
	CHECK_QUIET(went[0] && went[1] && !banks[1][MCI_STATUS],
		    "role %u, piece %u: one has used it, the other goes on (%u, %u)", first_is,
		    when, went[0], went[1]);
	return true;
}

static void test_threads(void)
{
	u32 when[2] = {1, 1};

	while (both_check(when[0], 0))
		when[0]++;
	while (both_check(when[1], 1))
		when[1]++;
	for (u32 i = 0; i < 2; i++)
		CHECK(when[i] > 20, "what a thread has used is its own, the other leaves it, "
				    "whenever that comes");
	reset(ANOTHERS);
	put_bank(1, USED, MISC);
	put_bank(2, SCRUBBED, MISC);
	CHECK(mcheck_survived() && !mcg_status && banks[1][MCI_STATUS] == USED &&
		  !banks[2][MCI_STATUS] && mcheck_tell() == BROKEN_PFN && !this_cpu()->mcheck_owed,
	      "the hypervisor goes on with what another has used, whose bank stays; what nobody "
	      "has used is told");
	mcheck_poll();
	CHECK(banks[1][MCI_STATUS] == USED, "a look at the banks leaves it as well");
}

/* ---- both at once: what nobody has used is told once ---- */

#define ROUNDS 2000

static u64 told_by[2];
static pthread_barrier_t start_line;
static bool by_exception;

static void *tell_rounds(void *arg)
{
	cpu_on = arg != NULL;
	for (u32 i = 0; i < ROUNDS; i++) {
		pthread_barrier_wait(&start_line);
		if (!cpu_on)
			put_bank(1, by_exception ? SCRUBBED : USED & ~(MCI_S | MCI_AR), MISC);
		mcg_status = ANOTHERS;
		pthread_barrier_wait(&start_line);
		if (by_exception)
			CHECK_QUIET(mcheck_survived(), "it goes on");
		else
			mcheck_poll();
		while (this_cpu()->mcheck_owed)
			told_by[cpu_on] += mcheck_tell() == BROKEN_PFN;
	}
	return NULL;
}

static void test_at_once(void)
{
	pthread_t other;

	reset(0);
	yields = true;
	pthread_barrier_init(&start_line, NULL, 2);
	for (u32 i = 0; i < 2; i++) {
		by_exception = i;
		told_by[0] = told_by[1] = 0;
		pthread_create(&other, NULL, tell_rounds, two);
		tell_rounds(NULL);
		pthread_join(other, NULL);
		CHECK(told_by[0] + told_by[1] == ROUNDS,
		      "%s: what two threads find at once is told once (%lu, %lu)",
		      i ? "exception" : "look", told_by[0], told_by[1]);
	}
	yields = false;
}

/* ---- an error for one CPU alone ---- */

static void test_local(void)
{
	const u64 cap = mcg_cap;

	for (u32 i = 0; i < 8; i++) {
		const bool has = i & 1, enabled = i & 2, locked = i & 4;

		mcg_cap = cap | (has ? MCG_LMCE_P : 0);
		feature_control = (enabled ? FEATURE_LMCE : 0) | (locked ? FEATURE_LOCK : 0);
		mcg_ext_ctl = 0;
		mcheck_init_cpu();
		CHECK_QUIET(mcg_ext_ctl == (i == 7 ? MCG_EXT_LMCE : 0),
			    "local machine checks: %u, %lx", i, mcg_ext_ctl);
	}
	amd = true;
	scalable_config[2] = BIT(2);
	mcheck_init_cpu();
	CHECK(!scalable_config[1] && scalable_config[2] == BIT(2),
	      "older CPUs of AMD's have no more");
	ras |= RAS_SCALABLE;
	mcheck_init_cpu();
	CHECK(scalable_config[1] == BIT(32) && scalable_config[2] == (BIT(34) | BIT(32) | BIT(2)),
	      "newer ones are told that their banks are known, and to log deferred errors in them");
	scalable_config[1] = scalable_config[2] = 0;
	ras &= ~RAS_SCALABLE;
	amd = false;
	CHECK(mcg_ext_ctl == MCG_EXT_LMCE, "what a CPU has used it alone is told, if the firmware "
					   "lets it be");
	mcg_cap = cap;
}

static struct timer *armed;
static u64 armed_for;

u64 ns_to_tsc(u64 ns)
{
	return ns;
}

void timer_setup(struct timer *t, void (*fn)(struct timer *t))
{
	t->fn = fn;
}

void timer_arm(struct timer *t, u64 deadline_tsc)
{
	armed = t;
	armed_for = deadline_tsc - rdtsc();
}

static void test_polling(void)
{
	mcheck_start_polling();
	CHECK(armed && armed_for, "a timer is armed");
	poll_bank(0, 0);
	put_bank(3, USED & ~(MCI_UC | MCI_S | MCI_AR), MISC);
	armed_for = 0;
	armed->fn(armed);
	CHECK(!banks[3][MCI_STATUS] && armed_for, "which looks at the banks, and comes again");
}

/* ---- a guest's turn ends so ---- */

/* clang-format off */
NOTHING(irq_window, void)
NOTHING(lapic_ended, struct vcpu *v, u8 vector)
ZERO(int, lapic_write, struct vcpu *v, u32 offset, u64 val)
NOTHING(hyperv_hypercall, struct vcpu *v, const struct vm_exit *x)
ZERO(bool, hypercall_is_dom0s, struct vcpu *v, const struct vm_exit *x)
NOTHING(msr_refused, struct vcpu *v, const struct vm_exit *x, int err)
NOTHING(spin_make_way, struct vcpu *v)
NOTHING(vcpu_inject_exception, struct vcpu *v, u8 vector, bool has_error, u32 error)
NOTHING(vcpu_inject_gp, struct vcpu *v)
NOTHING(vcpu_retire, struct vcpu *v)
NOTHING(vcpu_shutdown, struct vcpu *v)
ZERO(enum after_exit, mmio_handle_fault, struct vcpu *v, const struct vm_exit *x)
ZERO(enum after_exit, pio_handle, struct vcpu *v, const struct vm_exit *x)
ZERO(bool, msr_filter_allows, const struct msr_filter *f, u32 msr, u32 how)
ZERO(int, msr_read, struct vcpu *v, u32 msr, u64 *val, bool host)
/* clang-format on */

static struct frame broken = {.maps = 1, .kind = FRAME_DOM0};
static u64 stuck_code;

struct frame *frame_of(u64 pfn)
{
	return pfn == BROKEN_PFN ? &broken : NULL;
}

static u64 told;

void event_memory_broken(u64 pfn)
{
	told = pfn;
}

void guest_stuck(struct vcpu *v, u64 code, const struct fetched *in)
{
	stuck_code = code;
	v->due |= 1;
}

static void fake_run(struct vcpu *v, struct vm_exit *x)
{
	*x = (struct vm_exit){.reason = VMEXIT_EXCEPTION, .exc.vector = VEC_MC};
}

static const struct hvm_ops fake_ops = {.run = fake_run};
const struct hvm_ops *hvm = &fake_ops;

static bool goes_on(struct vcpu *v)
{
	v->due = stuck_code = told = v->stop_reason = 0;
	if (PANICS(exit_loop(v, this_cpu())))
		return false;
	return true;
}

static void test_exit(void)
{
	static struct vm guest = {.id = 3};
	static struct corbel_vcpu_page page;
	static struct vcpu v = {.vm = &guest, .index = 1, .page = (void __shared *)&page};

	reset(RUNS);
	put_bank(1, USED, MISC);
	CHECK(goes_on(&v) && !stuck_code && v.stop_reason == CORBEL_EXIT_BROKEN &&
		  page.fault.gpa == BROKEN_PFN << PAGE_SHIFT && !mcg_status,
	      "a guest that has used broken memory stops, and dom0 sees which page it is");
	CHECK(!strcmp(test_log_text,
		      "vm 3 vcpu 1: the memory at 12345040 that it has used is broken "
		      "(machine check, bank 1, status bd80000000000134)"),
	      "a line names address and bank (%s)", test_log_text);
	reset(MCG_EIPV | MCG_MCIP);
	put_bank(1, USED, MISC);
	CHECK(goes_on(&v) && stuck_code == GUEST_ERROR_MCHECK && told == BROKEN_PFN && !mcg_status,
	      "it ends if its instruction cannot be run again, and dom0 is told as well");
	reset(RUNS);
	put_bank(1, SCRUBBED, MISC);
	CHECK(goes_on(&v) && !stuck_code && !v.stop_reason && this_cpu()->mcheck_owed &&
		  mcheck_tell() == BROKEN_PFN,
	      "what nobody has used stops no guest, and is told");
	reset(RUNS);
	put_bank(1, USED | MCI_PCC, MISC);
	CHECK(!goes_on(&v) && strstr(test_panic_text, "while vm 3 ran") &&
		  strstr(test_panic_text, "hardware"),
	      "if the context is corrupt the machine stops, with a line (%s)", test_panic_text);
	reset(RUNS);
	put_bank(1, USED, MISC);
	broken.kind = FRAME_HV;
	CHECK(!goes_on(&v), "so it does if the memory is the hypervisor's");
	broken = (struct frame){.kind = FRAME_DOM0};
	CHECK(!goes_on(&v), "or dom0's, and no guest's");
	broken.maps = 1;
	guest.is_dom0 = true;
	CHECK(!goes_on(&v), "or dom0 has used it");
	guest.is_dom0 = false;
	reset(RUNS);
	this_cpu()->resched = true;
	CHECK(goes_on(&v) && !stuck_code && !mcg_status, "another CPU's error ends no guest");
	reset(ANOTHERS);
	put_bank(1, USED, MISC);
	this_cpu()->resched = true;
	CHECK(goes_on(&v) && !stuck_code && !v.stop_reason && !mcg_status &&
		  banks[1][MCI_STATUS] == USED,
	      "nor does what another thread of its core has used stop one");
	guest.is_dom0 = true;
	mcg_status = ANOTHERS;
	this_cpu()->resched = true;
	CHECK(goes_on(&v) && !mcg_status, "dom0 goes on, too");
}

int main(void)
{
	mcheck_set_hook(note_error);
	test_verdicts();
	test_scalable();
	test_several();
	test_since();
	test_host();
	test_told();
	test_poll();
	test_meanwhile();
	test_others();
	test_threads();
	test_at_once();
	test_local();
	test_polling();
	test_exit();
	return test_end();
}
