/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Debug keys: what a person at the console, or CORBEL_HC_DEBUG, can ask of the hypervisor at any
 * time.
 */
#include "hv/dom0/debugkey.h"
#include "boot/memmap.h"
#include "hv/console/panic.h"
#include "hv/console/uart.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/time.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/log.h"
#include "hv/lib/printf.h"
#include "hv/sched/cpupool.h"

static void show_vcpus(void)
{
	struct corbel_pool_stat pool;
	u64 now = rdtsc();

	for (u32 i = 0; cpupool_stat(i, &pool) > 0; i++) {
		char cpus[18 * ARRAY_SIZE(pool.cpus.word)];
		u32 at = 0;

		for (u32 w = cpus_words; w--;)
			at += hv_snprintf(cpus + at, sizeof(cpus) - at, " %lx", pool.cpus.word[w]);
		log_info("%s %s: CPUs%s, %u VMs", pool.name[0] ? pool.name : "of no pool",
			 pool.policy, cpus, pool.vms);
	}
	for (u32 i = 0; i < cpu_count; i++) {
		const struct vcpu *v = READ_ONCE(cpus[i]->current);

		log_info("CPU %u (APIC id %u): %s%d, %lu switches", i, cpus[i]->apic_id,
			 v ? "vCPU " : "idle ", v ? (int)v->id : -1, cpus[i]->switches);
	}
	for (u32 id = 0; id < MAX_VCPUS; id++) {
		const struct vcpu *v = vcpu_by_id(id);

		if (v)
			log_info("vCPU %u: VM %u index %u, CPU %u, %s, sched %u, mp %u, rip %lx, "
				 "ran %lu ms, %lu exits",
				 id, v->vm->id, v->index, v->sched.cpu,
				 v->stopped ? "stopped" : "live", v->sched.state, v->mp_state,
				 v->rip, tsc_to_ns(sched_runtime(&v->sched, now)) / 1000000,
				 v->exits_total);
	}
}

static void show_memory(void)
{
	struct vm *vm;

	log_info("pool: %lu of %lu KiB free", pool_free_bytes() / 1024, pool_total_bytes() / 1024);
	for (u32 i = 0; (vm = vm_nth(i)); i++)
		log_info("VM %u %s: %lu pool pages, %llu MiB mapped", vm->id, vm->name,
			 vm->acct.pages + vm->tables.pages, vm_mapped(vm) * PAGE_SIZE / MIB);
}

static void show_interrupts(void)
{
	for (u32 i = 0; i < cpu_count; i++)
		log_info("CPU %u: %lu interrupts", i, cpus[i]->interrupts);
	log_info("%lu NMIs", READ_ONCE(nmi_count));
}

void debug_key(char key)
{
	switch (key) {
	case 'h':
		log_info("keys: h help, q vCPUs, m memory, i interrupts; on the console R restart, "
			 "P panic, 3 x Ctrl-A back to dom0");
		break;
	case 'q':
		show_vcpus();
		break;
	case 'm':
		show_memory();
		break;
	case 'i':
		show_interrupts();
	}
}

/* What ends the machine is asked for twice, lest a paste or line noise does it. */
static void end_machine(char key)
{
	if (key == 'P')
		panic("asked for by debug key");
	log_info("restart by debug key");
	machine_restart();
}

void debug_key_console(char key)
{
	static char asked; /* 'R' or 'P', and y is yet to come */
	char before = asked;

	asked = 0;
	if (before && key == 'y')
		end_machine(before);
	if (key == 'R' || key == 'P') {
		asked = key;
		log_info("%c ends dom0 and all guests: y does it, any other key does not", key);
	} else if (key == UART_KEY_LEAVE) {
		log_info("input goes to dom0 again");
	} else if (read_try(&objects)) {
		debug_key(key);
		read_release(&objects);
	} else {
		log_info("VMs are being made or freed, try again");
	}
}
