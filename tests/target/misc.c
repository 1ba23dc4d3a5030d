/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Payloads for the tests of boot messages: what the machine looks like, and ends that dom0 can come
 * to.
 */
#include "lib.h"

void test_facts(void)
{
	struct corbel_info i;
	u64 ram = 0;

	info(&i);
	for (u32 n = 0; n < boot_params[0x1e8]; n++) {
		const u8 *e = boot_params + 0x2d0 + n * 20;

		if (*(const u32 *)(e + 16) == 1)
			ram += *(const u64 *)(e + 8);
	}
	smp_start();
	note("cpus=%u started=%u ram=%lu pool=%lu sched=%s version=%s end", i.cpus, cpu_count,
	     ram >> 20, i.pool_total_bytes >> 20, i.scheduler, i.version);
	report(i.vms == 1 && i.vcpus >= 1, "dom0 is the only VM");
}

/* Show that it runs, and let the test do with it what it wants. */
void test_wait(void)
{
	report(true, "dom0 runs");
	note("waiting");
	for (u32 nmis = 0;;) {
		while (me()->count[2] != nmis) /* also of those that came before HLT */
			note("%u NMIs", nmis = me()->count[2]);
		sti_hlt();
		cli();
	}
}

void test_triple(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) none = {0, 0};

	report(true, "now there is no IDT");
	__asm__ volatile("lidt %0; int3" ::"m"(none));
}

/*
 * A stack that nobody can push to: the fault cannot be delivered, nor can the one of its delivery.
 */
void test_bad_stack(void)
{
	report(true, "now the stack is in the hypervisor");
	__asm__ volatile("mov $0x201000, %%rsp; push %%rax" ::: "memory");
}
