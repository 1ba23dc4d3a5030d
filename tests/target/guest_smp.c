/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Guests beside dom0 on two CPUs, with memory taken away, doorbells, and a second vCPU of their
 * own.
 */
#include "guest.h"

PROGRAM(g_triple);
PROGRAM(g_spin);
PROGRAM(g_count);
PROGRAM(g_doorbell);
PROGRAM(g_boss);
PROGRAM(g_worker);
PROGRAM(g_work);
PROGRAM(g_other);

static u8 buf[PAGE] __attribute__((aligned(4096)));

static void check_unmap(void)
{
	struct guest g;
	u32 late = 0, lost = 0;

	MAKE(&g, 0, g_count);
	guest_map(&g, 9, CORBEL_MAP_WRITE);
	guest_pin(&g, 2);
	guest_resume(&g);
	report(WAIT(LONG(&g, 0x9000) > 1000, 2000), "it counts on the other CPU");
	for (u32 round = 0; round < 50; round++) {
		u32 count;

		if (hc(CORBEL_HC_UNMAP, g.vm, 9, 1) != 1)
			lost++;
		count = LONG(&g, 0x9000);
		delay_us(300);
		late += LONG(&g, 0x9000) != count;
		if (!guest_wait(&g, 2000) || g.page->exit_reason != CORBEL_EXIT_MEM_FAULT)
			lost++;
		guest_map(&g, 9, CORBEL_MAP_WRITE);
		guest_resume(&g);
		WAIT(LONG(&g, 0x9000) != count, 1000);
		lost += LONG(&g, 0x9000) == count;
	}
	report(!late, "50 times: from the return of UNMAP on nothing is written any more");
	report(!lost, "the guest faults, and goes on when the page is there again");
	FREE(&g);
}

/* How a kernel ends: it says so, or switches its clock or its APIC off. */
enum ending { TOLD, CLOCK_OFF, APIC_OFF };

/* Another kernel takes dom0's place, which the one before tells of by hypercall, or not at all. */
static void check_takeover(enum ending how)
{
	static const char *const names[] = {"the kernel says that it ends", "its clock goes off",
					    "its APIC goes off"};
	struct corbel_info before, after;
	struct guest g, other;
	u32 count;

	info(&before);
	MAKE(&g, 0, g_count);
	report(guest_make(&other, 1, 0, g_count, g_count_end), "another, which has not run yet");
	guest_map(&g, 9, CORBEL_MAP_WRITE);
	guest_pin(&g, 2);
	guest_resume(&g);
	kvmclock_off();
	apic_write(APIC_SVR, 0xff);
	apic_write(APIC_SVR, 0x1ff);
	count = LONG(&g, 0x9000);
	report(WAIT(LONG(&g, 0x9000) > count + 1000, 2000),
	       "a CPU that takes no events may switch clock and APIC off: the guest counts on");
	hc(CORBEL_HC_EVENT_BIND, cpu_of(0)->apic_id, VEC_EVENT);
	if (how == TOLD)
		hc(CORBEL_HC_KERNEL, 0);
	else if (how == CLOCK_OFF)
		wrmsr(MSR_KVMCLOCK, 0);
	else
		apic_write(APIC_SVR, 0xff);
	count = LONG(&g, 0x9000);
	delay_us(3000);
	report(LONG(&g, 0x9000) == count, "%s: from then on its memory is not written any more",
	       names[how]);
	apic_write(APIC_SVR, 0x1ff);
	report(WAIT(g.page->state == CORBEL_VCPU_STOPPED, 2000) && guest_resume(&g) == -ENOENT &&
		   guest_resume(&other) == -ENOENT,
	       "guests stop, and run no more");
	report(guest_map(&g, 9, CORBEL_MAP_WRITE) == -ENOENT &&
		   hc(CORBEL_HC_VM_CREATE, buf) == -EBUSY,
	       "they get no memory, and no VM is made between two kernels");
	count = me()->count[VEC_EVENT];
	report(WAIT(hc(CORBEL_HC_KERNEL, 1) == 0, 2000), "another kernel begins");
	info(&after);
	report(after.vms == before.vms && after.vcpus == before.vcpus &&
		   after.pool_free_bytes == before.pool_free_bytes &&
		   me()->count[VEC_EVENT] == count,
	       "of the VMs nothing is left, and no event comes (%lu KiB)",
	       (before.pool_free_bytes - after.pool_free_bytes) / 1024);
	report(guest_make(&g, 0, 0, g_count, g_count_end) && guest_free(&g),
	       "it can have VMs of its own");
}

static void check_dirty(void)
{
	struct guest g;
	u32 missed = 0;

	MAKE(&g, 0, g_count);
	guest_map(&g, 9, CORBEL_MAP_WRITE);
	guest_pin(&g, 2);
	report(hc(CORBEL_HC_DIRTY, g.vm, 0, 16, buf, CORBEL_DIRTY_START) == 0,
	       "dirty logging starts");
	guest_resume(&g);
	WAIT(LONG(&g, 0x9000) > 1000, 2000);
	*(u64 *)buf = 0;
	report(hc(CORBEL_HC_DIRTY, g.vm, 0, 16, buf, CORBEL_DIRTY_CLEAR) == 0 &&
		   *(u64 *)buf == BIT(9),
	       "the page it writes is dirty, no other (%lx)", *(u64 *)buf);
	for (u32 i = 0; i < 50; i++) {
		u32 count = LONG(&g, 0x9000);

		/*
		 * It has written since the log was cleared: that may still be known to its CPU
		 * alone.
		 */
		missed += !WAIT(LONG(&g, 0x9000) != count, 1000) ||
			  hc(CORBEL_HC_DIRTY, g.vm, 0, 16, buf, CORBEL_DIRTY_CLEAR) ||
			  *(u64 *)buf != BIT(9);
	}
	report(!missed, "50 times again, at once while it runs on (%u missed)", missed);
	hc(CORBEL_HC_VCPU_PAUSE, g.vcpu);
	guest_wait(&g, 1000);
	hc(CORBEL_HC_DIRTY, g.vm, 0, 16, buf, CORBEL_DIRTY_CLEAR);
	hc(CORBEL_HC_DIRTY, g.vm, 0, 16, buf, CORBEL_DIRTY_CLEAR);
	report(!*(u64 *)buf, "stopped, it dirties nothing");
	report(hc(CORBEL_HC_DIRTY, g.vm, 0, 16, buf, CORBEL_DIRTY_STOP) == 0,
	       "dirty logging stops");
	FREE(&g);
}

static s64 doorbell(struct guest *g, u64 at, u64 data, u32 len, u32 flags)
{
	struct corbel_doorbell *d = (void *)buf;

	*d = (struct corbel_doorbell){.addr = at, .data = data, .len = len, .flags = flags};
	return hc(CORBEL_HC_DOORBELL, g->vm, d);
}

/* That of port 0x300, if it has this number. */
static s64 remove_doorbell(struct guest *g, s64 number)
{
	struct corbel_doorbell *d = (void *)buf;

	*d = (struct corbel_doorbell){.addr = 0x300,
				      .len = 4,
				      .flags = CORBEL_DOORBELL_PIO | CORBEL_DOORBELL_REMOVE,
				      .id = (u32)number};
	return hc(CORBEL_HC_DOORBELL, g->vm, d);
}

static bool rang(s64 number)
{
	u32 id = CORBEL_DOORBELL_ID(number);
	struct corbel_info i;
	struct corbel_events *e;

	info(&i);
	e = (void *)i.events_hpa;
	__atomic_store_n(&e->doorbell_summary, 0, __ATOMIC_SEQ_CST);
	return __atomic_fetch_and(&e->doorbell[id / 64], ~BIT(id % 64), __ATOMIC_SEQ_CST) &
	       BIT(id % 64);
}

static void check_doorbells(void)
{
	s64 pio, match, mmio, old;
	struct guest g;
	u32 n;

	MAKE(&g, 0, g_doorbell);
	guest_map(&g, 8, CORBEL_MAP_MMIO);
	guest_pin(&g, 2);
	pio = doorbell(&g, 0x300, 0, 4, CORBEL_DOORBELL_PIO);
	match = doorbell(&g, 0x310, 7, 4, CORBEL_DOORBELL_PIO | CORBEL_DOORBELL_MATCH);
	mmio = doorbell(&g, 0x8100, 0, 0, 0);
	report(pio >= 0 && match >= 0 && mmio >= 0, "doorbells can be added");
	report(doorbell(&g, 0x300, 0, 4, CORBEL_DOORBELL_PIO) == -EEXIST &&
		   doorbell(&g, 0x300, 0, 3, CORBEL_DOORBELL_PIO) == -EINVAL &&
		   doorbell(&g, 0x999, 0, 4, CORBEL_DOORBELL_REMOVE) == -ENOENT,
	       "not twice, not of odd length; what is not there cannot be removed");
	n = me()->count[VEC_EVENT];
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x300, 0) &&
		   g.page->io.size == 1 && rang(pio),
	       "the first write rings, one of another width exits");
	report(WAIT(me()->count[VEC_EVENT] > n, 100), "dom0 has had its event interrupt");
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x310, 0) &&
		   *(u32 *)g.data == 8 && rang(match),
	       "7 rings, 8 exits");
	report(guest_run(&g, 2000) == CORBEL_EXIT_MMIO && g.page->mmio.gpa == 0x8104 && rang(mmio),
	       "MMIO rings, its neighbour exits");
	g.page->rip = 0x1000;
	g.page->regs_dirty = 1;
	old = pio;
	report(remove_doorbell(&g, mmio) == -ENOENT && remove_doorbell(&g, pio) == 0,
	       "a doorbell can be removed, by its own number");
	pio = doorbell(&g, 0x300, 0, 4, CORBEL_DOORBELL_PIO);
	report(pio > 0 && pio != old && CORBEL_DOORBELL_ID(pio) != CORBEL_DOORBELL_ID(old) &&
		   remove_doorbell(&g, old) == -ENOENT && remove_doorbell(&g, pio) == 0,
	       "the next at the same place has another, and does not answer to the old one");
	report(guest_run(&g, 2000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x300, 0) &&
		   g.page->io.size == 4 && !rang(pio),
	       "then the write exits");
	FREE(&g);
}

static void check_remote(void)
{
	struct guest g;

	MAKE(&g, 0, g_spin);
	guest_pin(&g, 2);
	guest_resume(&g);
	report(WAIT(vcpu_stat(g.vcpu)->state == CORBEL_VCPU_RUNNING && vcpu_stat(g.vcpu)->cpu == 1,
		    1000),
	       "a pinned guest runs on its CPU");
	guest_pin(&g, 1);
	report(WAIT(vcpu_stat(g.vcpu)->cpu == 0, 1000), "pinned elsewhere it moves while it runs");
	guest_pin(&g, 2);
	report(WAIT(vcpu_stat(g.vcpu)->cpu == 1, 1000), "and back");
	report(guest_pin(&g, BIT(40)) == -EINVAL && guest_pin(&g, 0) == -EINVAL &&
		   hc(CORBEL_HC_SCHED, g.vcpu, 0, 4096 - 8, 0) == -EINVAL &&
		   hc(CORBEL_HC_SCHED, g.vcpu, 1 << 20, 0, 0) == -EINVAL &&
		   hc(CORBEL_HC_SCHED, g.vcpu, 0, 0, 1000000) == -EINVAL,
	       "no CPU, sets that cross pages, too large a weight, too large a cap are refused");
	for (u32 i = 0; i < 50; i++) {
		hc(CORBEL_HC_VCPU_PAUSE, g.vcpu);
		if (!guest_wait(&g, 1000)) {
			report(false, "PAUSE %u of 50", i);
			break;
		}
		guest_resume(&g);
	}
	report(true, "50 times paused from afar and resumed");
	FREE(&g);
	MAKE(&g, 0, g_triple);
	guest_pin(&g, 2);
	report(guest_run(&g, 2000) == CORBEL_EXIT_SHUTDOWN, "a triple fault on the other CPU");
	FREE(&g);
}

/*
 * A guest that starts its second vCPU itself; both in real mode, the second one with a big data
 * segment.
 */
static void check_two_vcpus(u64 mask0, u64 mask1)
{
	static const u64 gdt[] = {0, 0x00cf93000000ffff};
	struct guest g, h;

	MAKE(&g, CORBEL_VM_LAPIC, g_boss);
	guest_set_ivt(&g);
	memcpy(g.mem + 0x3200, g_work, (size_t)(g_work_end - g_work));
	memcpy(g.mem + 0x4000, g_worker, (size_t)(g_worker_end - g_worker));
	memcpy(g.mem + 0x7d0, gdt, sizeof(gdt));
	memcpy(g.mem + 0x3300, g_other, (size_t)(g_other_end - g_other));
	for (u32 i = 0; i < 256; i++)
		if (i != 2 && i != 0x61)
			LONG(&g, i * 4) = i << 16 | (0x3300 - i * 16);
	LONG(&g, 0x60 * 4) = 0x3200;
	WORD(&g, 0x7e0) = sizeof(gdt) - 1;
	LONG(&g, 0x7e2) = 0x7d0;
	h = g;
	h.vcpu = hc(CORBEL_HC_VCPU_CREATE, g.vm, 1);
	h.page = (void *)hc(CORBEL_HC_VCPU_PAGE, h.vcpu);
	if (!report(h.vcpu > 0, "a second vCPU"))
		return;
	guest_pin(&g, mask0);
	guest_pin(&h, mask1);
	guest_resume(&h);
	WAIT(false, 10);
	report(h.page->state != CORBEL_VCPU_STOPPED && !WORD(&g, 0x510),
	       "it waits for its start-up IPI");
	report(guest_run(&g, 5000) == CORBEL_EXIT_IO && EXIT_IO(&g, 0x20, 0),
	       "the first one starts it and comes to its end");
	report(WORD(&g, 0x512) == 100 && WORD(&g, 0x500) == 100 && WORD(&g, 0x504) == 1,
	       "100 IPIs to and fro, and an NMI (%u, %u, %u)", WORD(&g, 0x512), WORD(&g, 0x500),
	       WORD(&g, 0x504));
	report(!WORD(&g, 0x506), "and nothing else (%u, the last one's vector is %x)",
	       WORD(&g, 0x506), WORD(&g, 0x508));
	report(hc(CORBEL_HC_VCPU_DESTROY, g.vcpu) == -EBUSY, "a vCPU stays while its sibling runs");
	hc(CORBEL_HC_VCPU_PAUSE, h.vcpu);
	report(guest_wait(&h, 2000), "paused, the second one stops");
	while (hc(CORBEL_HC_VCPU_DESTROY, h.vcpu) == -EAGAIN)
		;
	FREE(&g);
}

void test_guest_smp(void)
{
	struct corbel_info before, after;

	info(&before);
	check_remote();
	check_unmap();
	check_takeover(TOLD);
	check_takeover(CLOCK_OFF);
	check_takeover(APIC_OFF);
	check_dirty();
	check_doorbells();
	check_two_vcpus(1, 2);
	check_two_vcpus(2, 2);
	guest_check_accounting();
	info(&after);
	report(before.pool_free_bytes == after.pool_free_bytes && !after.doorbells,
	       "the pool is as before (%ld bytes)",
	       (s64)(before.pool_free_bytes - after.pool_free_bytes));
}
