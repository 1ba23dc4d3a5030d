// SPDX-License-Identifier: GPL-2.0-only
/*
 * Widens the window of a race: whoever calls a function of the kernel, or of corbel.ko, loses some
 * milliseconds before it, or behind it. Or it fails: it is not called, but returns -error; only for
 * the program that has loaded this, and for the kernel's threads, since other guests are to go on.
 * Or, for them, another function is called in its place, with one argument. So corbel.ko itself
 * needs no code for that.
 *
 * insmod widen.ko symbol=NAME ms=N | ms_after=N | error=N [times=N] | instead=NAME arg=N
 */
#include <linux/delay.h>
#include <linux/kprobes.h>
#include <linux/linkage.h>
#include <linux/module.h>
#include <linux/sched.h>

static char *symbol;
module_param(symbol, charp, 0444);
static unsigned int ms = 20;
module_param(ms, uint, 0444);
static unsigned int ms_after;
module_param(ms_after, uint, 0444);

static unsigned int error;
module_param(error, uint, 0444);
static unsigned int times; /* that it fails; 0: always */
module_param(times, uint, 0444);
static atomic_t failed = ATOMIC_INIT(0);
static char *instead;
module_param(instead, charp, 0444);
static unsigned long arg;
module_param(arg, ulong, 0444);
static void *instead_at;
static char who[TASK_COMM_LEN]; /* the program that loads this */

void widen_return(void);
asm(".text\n"
    ".type widen_return, @function\n"
    "widen_return:\n" ASM_RET ".size widen_return, . - widen_return\n");

static bool is_meant(void)
{
	return current->flags & PF_KTHREAD || !strcmp(current->comm, who);
}

/* Here nothing may sleep: only another CPU gets anything done meanwhile. */
static int lose_time(struct kprobe *p, struct pt_regs *regs)
{
	if ((error || instead) && !is_meant())
		return 0;
	if (instead) {
		regs->di = arg;
		regs->ip = (unsigned long)instead_at;
		return 1;
	}
	if (error && times && atomic_inc_return(&failed) > times)
		return 0;
	if (error) {
		regs->ax = -(long)error;
		regs->ip = (unsigned long)widen_return;
		return 1;
	}
	mdelay(ms);
	return 0;
}

static int lose_time_after(struct kretprobe_instance *i, struct pt_regs *regs)
{
	mdelay(ms_after);
	return 0;
}

static struct kprobe probe = {.pre_handler = lose_time};
static struct kretprobe probe_after = {.handler = lose_time_after};

/* Only a probe finds functions by name. */
static int find_instead(void)
{
	struct kprobe there = {.symbol_name = instead};
	int r = register_kprobe(&there);

	if (r)
		return r;
	instead_at = there.addr;
	unregister_kprobe(&there);
	return 0;
}

static int __init widen_init(void)
{
	int r;

	if (!symbol || ms > 100 || ms_after > 100 || error > MAX_ERRNO)
		return -EINVAL;
	get_task_comm(who, current);
	if (ms_after) {
		probe_after.kp.symbol_name = symbol;
		return register_kretprobe(&probe_after);
	}
	r = instead ? find_instead() : 0;
	if (r)
		return r;
	probe.symbol_name = symbol;
	return register_kprobe(&probe);
}

static void __exit widen_exit(void)
{
	if (ms_after)
		unregister_kretprobe(&probe_after);
	else
		unregister_kprobe(&probe);
}

module_init(widen_init);
module_exit(widen_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Delays before or behind a function, or its failure, for tests");
