/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The smallest VMM that runs the bench guest: no device model but a console, so that what an exit
 * to the VMM costs is the hypervisor's and the kernel's part. Prints the guest's rows, and the cost
 * of VMs and vCPUs.
 *
 * usage: vmm GUEST.ELF
 */
#define _GNU_SOURCE
#include <elf.h>
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/bench/guest.h"
#include "tests/bench/row.h"

#define RAM	   (64ul << 20)
#define START_INFO 0x6000 /* and the command line behind it */
#define GSI	   24
#define TIMES	   20

static int kvm, vm, vcpu, irqfd, served;
static uint8_t *ram;

static uint64_t tsc(void)
{
	return __builtin_ia32_rdtsc();
}

static void *memory(unsigned int slot, uint64_t gpa, uint64_t bytes, int advice)
{
	/* Aligned to 2 MiB, as huge pages need it. */
	uint8_t *p = mmap(NULL, bytes + (2 << 20), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct kvm_userspace_memory_region r = {
	    .slot = slot, .guest_phys_addr = gpa, .memory_size = bytes};

	if (p == MAP_FAILED)
		err(1, "mmap");
	p = (uint8_t *)(((uintptr_t)p + (2 << 20) - 1) & -(2ul << 20));
	if (madvise(p, bytes, advice))
		err(1, "madvise");
	r.userspace_addr = (uintptr_t)p;
	CTL(vm, KVM_SET_USER_MEMORY_REGION, &r);
	return p;
}

static uint32_t load(const char *path)
{
	uint8_t *f;
	struct stat st;
	Elf64_Ehdr *e;
	Elf64_Phdr *p;
	int fd = open(path, O_RDONLY);

	if (fd < 0 || fstat(fd, &st))
		err(1, "%s", path);
	f = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (f == MAP_FAILED)
		err(1, "%s", path);
	e = (Elf64_Ehdr *)f;
	for (p = (Elf64_Phdr *)(f + e->e_phoff); p < (Elf64_Phdr *)(f + e->e_phoff) + e->e_phnum;
	     p++)
		if (p->p_type == PT_LOAD)
			memcpy(ram + p->p_paddr, f + p->p_offset, p->p_filesz);
	close(fd);
	return e->e_entry;
}

static void set_cpuid(void)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + 256 * sizeof(c->entries[0]));

	c->nent = 256;
	CTL(kvm, KVM_GET_SUPPORTED_CPUID, c);
	for (unsigned int i = 0; i < c->nent; i++)
		if (c->entries[i].function == 1)
			/* TSC deadline, which KVM leaves to the VMM; hypervisor */
			c->entries[i].ecx |= 1u << 24 | 1u << 31;
	CTL(vcpu, KVM_SET_CPUID2, c);
	free(c);
}

static void set_registers(uint32_t entry)
{
	struct kvm_segment flat = {
	    .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
	struct kvm_regs r = {.rip = entry, .rbx = START_INFO, .rflags = 2};
	struct kvm_sregs s;

	CTL(vcpu, KVM_GET_SREGS, &s);
	s.ds = s.es = s.fs = s.gs = s.ss = flat;
	flat.selector = 8;
	flat.type = 11;
	s.cs = flat;
	s.cr0 = 0x11; /* ET, PE */
	CTL(vcpu, KVM_SET_SREGS, &s);
	CTL(vcpu, KVM_SET_REGS, &r);
}

static void signal_irq(void)
{
	uint64_t one = 1;

	if (write(irqfd, &one, sizeof(one)) != sizeof(one))
		err(1, "irqfd");
}

static void *serve(void *unused)
{
	uint64_t n;

	while (read(served, &n, sizeof(n)) == sizeof(n))
		signal_irq();
	return NULL;
}

static int doorbell(uint64_t at, uint32_t len, uint32_t flags)
{
	struct kvm_ioeventfd d = {.addr = at, .len = len, .flags = flags, .fd = eventfd(0, 0)};

	CTL(vm, KVM_IOEVENTFD, &d);
	return d.fd;
}

static void events(void)
{
	struct kvm_irqfd i = {.gsi = GSI};
	struct kvm_irq_routing *r = calloc(1, sizeof(*r) + sizeof(r->entries[0]));
	pthread_t t;

	r->nr = 1;
	r->entries[0].gsi = GSI;
	r->entries[0].type = KVM_IRQ_ROUTING_MSI;
	r->entries[0].u.msi.address_lo = 0xfee00000;
	r->entries[0].u.msi.data = VEC_IRQFD;
	CTL(vm, KVM_SET_GSI_ROUTING, r);
	free(r);
	i.fd = irqfd = eventfd(0, 0);
	CTL(vm, KVM_IRQFD, &i);
	doorbell(PORT_DOORBELL, 1, KVM_IOEVENTFD_FLAG_PIO);
	doorbell(MMIO_DOORBELL, 4, 0);
	served = doorbell(PORT_SERVED, 1, KVM_IOEVENTFD_FLAG_PIO);
	if (pthread_create(&t, NULL, serve, NULL))
		errx(1, "no thread");
}

static void run(struct kvm_run *run)
{
	for (;;) {
		uint8_t *data;

		CTL(vcpu, KVM_RUN, 0);
		data = (uint8_t *)run + run->io.data_offset;
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			if (run->io.direction == KVM_EXIT_IO_IN)
				*data = run->io.port == PORT_LSR ? LSR_EMPTY : 0;
			else if (run->io.port == PORT_CONSOLE)
				putchar(*data);
			else if (run->io.port == PORT_IRQFD)
				signal_irq();
			break;
		case KVM_EXIT_MMIO:
			memset(run->mmio.data, 0, sizeof(run->mmio.data));
			break;
		case KVM_EXIT_SHUTDOWN:
			return;
		default:
			errx(1, "exit reason %u", run->exit_reason);
		}
	}
}

/* An empty VM, and one vCPU in a VM. */
static void create_rows(void)
{
	uint64_t at[3][TIMES], t;
	int i;

	for (i = 0; i < TIMES; i++) {
		t = tsc();
		vm = CTL(kvm, KVM_CREATE_VM, 0);
		at[0][i] = tsc() - t;
		CTL(vm, KVM_CREATE_IRQCHIP, 0);
		t = tsc();
		vcpu = CTL(vm, KVM_CREATE_VCPU, 0);
		at[1][i] = tsc() - t;
		t = tsc();
		close(vcpu);
		close(vm);
		at[2][i] = tsc() - t;
	}
	row("vm-create", at[0], TIMES);
	row("vcpu-create", at[1], TIMES);
	row("vm-destroy", at[2], TIMES);
}

int main(int argc, char **argv)
{
	struct kvm_pit_config pit = {0};
	uint64_t *si;
	int run_size;

	if (argc != 2)
		errx(2, "usage: vmm GUEST.ELF");
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		err(1, "/dev/kvm");
	run_size = CTL(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	create_rows();

	vm = CTL(kvm, KVM_CREATE_VM, 0);
	CTL(vm, KVM_SET_TSS_ADDR, 0xfffbd000);
	CTL(vm, KVM_CREATE_IRQCHIP, 0);
	CTL(vm, KVM_CREATE_PIT2, &pit);
	ram = memory(0, 0, RAM, MADV_NOHUGEPAGE);
	memory(1, FRESH_4K, FRESH_BYTES, MADV_NOHUGEPAGE);
	memory(2, FRESH_2M, FRESH_2M_BYTES, MADV_HUGEPAGE);
	memset(memory(3, POPULATED, FRESH_BYTES, MADV_NOHUGEPAGE), 1, FRESH_BYTES);
	vcpu = CTL(vm, KVM_CREATE_VCPU, 0);
	set_cpuid();
	events();
	si = (uint64_t *)(ram + START_INFO);
	si[0] = 0x336ec578; /* the ABI's magic; version 0 */
	si[3] = START_INFO + 64;
	strcpy((char *)ram + START_INFO + 64, "vmm");
	set_registers(load(argv[1]));
	run(mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0));
	return 0;
}
