// SPDX-License-Identifier: GPL-2.0-only
/*
 * Asynchronous page faults: a guest that is told of a page which its VMM brings late (userfaultfd),
 * and goes on meanwhile; who is not told, and waits. Linux' Documentation/virt/kvm/x86/msr.rst.
 */
#define _GNU_SOURCE
#include "vmm.h"

#include <fcntl.h>
#include <linux/kvm_para.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define AT	   0x40000000ul /* the guest's pages */
#define PAGES	   128ul
#define PAGE	   4096ul
#define AREA_AT	   0x50000000ul /* a slot for the area alone */
#define AREA	   (DATA + 0x2040)
#define TOLD	   (DATA + 0xff0) /* pl_apf_many counts there */
#define VECTOR	   0x61
#define ON	   11u /* enabled, always, by interrupt */
#define DELAY_MS   500
#define ALL	   0xffffffffu
#define PATTERN	   0x5a
#define MISSES_MAX 64 /* that are on their way */

enum { IRQS_OFF = 1, AGAIN = 2 }; /* what pl_apf does otherwise */

struct guest {
	struct vm vm;
	u8 *mem, *area;
	int uffd;
	pthread_t server;
	volatile bool ends, served;
	volatile u32 told; /* of pl_apf_many, before the first was served */
};

static void serve_page(struct guest *g, u64 address)
{
	static u8 page[PAGE];
	struct uffdio_copy copy = {.dst = address & ~(PAGE - 1), .src = (u64)page, .len = PAGE};

	memset(page, PATTERN, PAGE);
	ioctl(g->uffd, UFFDIO_COPY, &copy);
}

/* Until the guest has not been told of more pages for a while. */
static void await_rest(struct guest *g)
{
	const volatile u32 *told = (u32 *)(g->vm.ram + TOLD);

	do {
		g->told = *told;
		usleep(DELAY_MS * 1000);
	} while (g->told != *told);
}

static void *serve_pages(void *arg)
{
	struct guest *g = arg;
	struct pollfd p = {.fd = g->uffd, .events = POLLIN};
	struct uffd_msg msg;

	while (!g->ends) {
		if (poll(&p, 1, 20) <= 0 || read(g->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		if (!g->served)
			await_rest(g);
		g->served = true;
		serve_page(g, msg.arg.pagefault.address);
	}
	return NULL;
}

static void *map_memory(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		fatal("memory");
	return p;
}

static void add_slot(struct vm *vm, u32 slot, u64 at, void *mem, u64 size)
{
	struct kvm_userspace_memory_region r = {
	    .slot = slot, .guest_phys_addr = at, .memory_size = size, .userspace_addr = (u64)mem};

	if (vm_ioctl(vm, KVM_SET_USER_MEMORY_REGION, &r))
		fatal("memory of a guest");
}

static void guest_begin(struct guest *g)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};
	struct kvm_sregs s;

	memset(g, 0, sizeof(*g));
	vm_init(&g->vm, 1, VM_IRQCHIP);
	cpu_ioctl(&g->vm, 0, KVM_GET_SREGS, &s);
	s.apic_base |= 0x800;
	if (cpu_ioctl(&g->vm, 0, KVM_SET_SREGS, &s))
		fatal("APIC base");
	set_gate(&g->vm, 14, payload_addr(apf_missing));
	set_gate(&g->vm, VECTOR, payload_addr(apf_ready));
	g->mem = map_memory(PAGES * PAGE);
	g->area = map_memory(PAGE);
	madvise(g->mem, PAGES * PAGE, MADV_NOHUGEPAGE);
	add_slot(&g->vm, 1, AT, g->mem, PAGES * PAGE);
	add_slot(&g->vm, 2, AREA_AT, g->area, PAGE);
	g->uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	reg.range.start = (u64)g->mem;
	reg.range.len = PAGES * PAGE;
	if (g->uffd < 0 || ioctl(g->uffd, UFFDIO_API, &api) ||
	    ioctl(g->uffd, UFFDIO_REGISTER, &reg))
		fatal("userfaultfd");
}

static void guest_serve(struct guest *g)
{
	if (pthread_create(&g->server, NULL, serve_pages, g))
		fatal("a thread");
}

/* The VM ends before the descriptor by which its pages come. */
static void guest_end(struct guest *g)
{
	g->ends = true;
	if (g->server)
		pthread_join(g->server, NULL);
	vm_free(&g->vm);
	close(g->uffd);
	munmap(g->mem, PAGES * PAGE);
	munmap(g->area, PAGE);
}

/* pl_apf up to where it comes to the page. */
static bool comes_there(struct guest *g, u64 area, u32 msr, u32 how)
{
	struct kvm_regs r;

	g->vm.value_count = 0;
	cpu_setup(&g->vm, 0, MODE_LONG, pl_apf, AT, area);
	cpu_get_regs(&g->vm, 0, &r);
	r.rdx = msr;
	r.rcx = how;
	cpu_set_regs(&g->vm, 0, &r);
	if (vm_run(&g->vm, 0, 5000) != END_PAUSE)
		return false;
	return (msr & 9) != 9 || (g->vm.value_count == 1 && g->vm.values[0] == ALL);
}

/* And it is told of the page. */
static bool is_told(struct guest *g)
{
	const u32 *v = g->vm.values;

	return vm_run(&g->vm, 0, 5000) == END_PAUSE && g->vm.value_count == 4 && v[1] &&
	       v[1] != ALL && v[2] == KVM_PV_REASON_PAGE_NOT_PRESENT && !v[3];
}

static void test_event(u32 how, const char *what)
{
	u32 at = how & AGAIN ? 5 : 4;
	struct guest g;
	const u32 *v;
	enum end end;

	guest_begin(&g);
	v = g.vm.values;
	guest_serve(&g);
	ok(comes_there(&g, AREA, ON, how), "%s: the guest is told that nothing is on its way",
	   what);
	ok(is_told(&g) && !g.served, "%s: it is told that a page is missing, before it comes",
	   what);
	end = vm_run(&g.vm, 0, 5000);
	ok(end == END_DONE && g.served && g.vm.value_count == at + 3 && v[at] == v[1],
	   "%s: and by an interrupt that it has come (%s, %x)", what, end_names[end], v[at]);
	ok(v[at + 1] == PATTERN && v[at + 2] == 1, "%s: once, and has it then (%x, %u)", what,
	   v[at + 1], v[at + 2]);
	guest_end(&g);
}

/* The page is had, without a word of it. */
static void expect_wait(struct guest *g, const char *what)
{
	u32 first = g->vm.value_count;
	const u32 *v = g->vm.values + first;
	enum end end = vm_run(&g->vm, 0, 5000);

	ok(end == END_DONE && g->served && g->vm.value_count == first + 2 && v[0] == PATTERN &&
	       !v[1],
	   "waits: %s (%s, %x, %u)", what, end_names[end], v[0], v[1]);
}

static void test_waits(void)
{
	static const struct {
		const char *what;
		u32 msr, how;
	} by[] = {{"who has not switched it on", 0, 0},
		  {"who wants no interrupts", 3, 0},
		  {"a kernel that is told of programs' pages alone", 9, 0},
		  {"with interrupts off", ON, IRQS_OFF}};
	struct guest g;

	for (u32 i = 0; i < 4; i++) {
		guest_begin(&g);
		guest_serve(&g);
		if (comes_there(&g, AREA, by[i].msr, by[i].how))
			expect_wait(&g, by[i].what);
		else
			ok(false, "waits: %s", by[i].what);
		guest_end(&g);
	}
}

/* Memory under the area goes, the VMM switches it off, the guest begins anew. */
static void test_changes(void)
{
	struct guest g;

	guest_begin(&g);
	guest_serve(&g);
	ok(comes_there(&g, AREA_AT, ON, 0), "changes: an area in memory of its own");
	add_slot(&g.vm, 2, AREA_AT, g.area, 0);
	expect_wait(&g, "where the area is no memory any more");
	guest_end(&g);

	guest_begin(&g);
	guest_serve(&g);
	ok(comes_there(&g, AREA, ON, 0) && is_told(&g), "changes: a page is missing");
	ok(set_msr(&g.vm, 0, MSR_KVM_ASYNC_PF_EN, 0) == 1, "changes: the VMM switches it off");
	ok(vm_run(&g.vm, 0, 2 * DELAY_MS) == END_TIME && g.served &&
	       !*(u32 *)(g.vm.ram + AREA + 4) && g.vm.value_count == 4,
	   "changes: the guest hears no more of it");
	guest_end(&g);

	guest_begin(&g);
	ok(comes_there(&g, AREA, ON, 0) && is_told(&g), "changes: and again");
	set_msr(&g.vm, 0, MSR_KVM_ASYNC_PF_EN, AREA | ON);
	guest_serve(&g);
	ok(vm_run(&g.vm, 0, 5000) == END_PAUSE && g.vm.values[4] == ALL,
	   "changes: whom a VMM restores is told to look at all its pages");
	ok(g.vm.values[5] != ALL && vm_run(&g.vm, 0, 5000) == END_DONE && g.vm.values[9] == PATTERN,
	   "changes: and told anew of one that is still missing");
	guest_end(&g);

	guest_begin(&g);
	ok(comes_there(&g, AREA, ON, 0) && is_told(&g), "changes: a page that comes");
	serve_page(&g, (u64)g.mem);
	usleep(DELAY_MS * 1000);
	set_msr(&g.vm, 0, MSR_KVM_ASYNC_PF_EN, AREA | ON);
	ok(vm_run(&g.vm, 0, 5000) == END_DONE && g.vm.values[4] == ALL,
	   "changes: it was another state's, and is not told in this one");
	guest_end(&g);
}

static void test_many(void)
{
	struct guest g;
	struct kvm_regs r;
	enum end end;

	guest_begin(&g);
	set_gate(&g.vm, 14, payload_addr(on_error));
	guest_serve(&g);
	cpu_setup(&g.vm, 0, MODE_LONG, pl_apf_many, AT, AREA);
	cpu_get_regs(&g.vm, 0, &r);
	r.rcx = AT + PAGES * PAGE;
	cpu_set_regs(&g.vm, 0, &r);
	end = vm_run(&g.vm, 0, 10000);
	ok(end == END_DONE && g.told == MISSES_MAX,
	   "many: %u pages can be missing, for the next the guest waits (%s, %u)", MISSES_MAX,
	   end_names[end], g.told);
	guest_end(&g);
}

/* ---- ends ---- */

static bool vms_become(u32 count)
{
	u64 until = now_ms() + 10000;

	while (hv_info().vms != count && now_ms() < until)
		usleep(20000);
	return hv_info().vms == count;
}

static void test_ends(void)
{
	u32 before = hv_info().vms;
	int status, to_us[2];
	struct guest g;
	char c = 0;
	pid_t pid;

	guest_begin(&g);
	ok(comes_there(&g, AREA, ON, 0) && is_told(&g), "ends: a page is on its way");
	vm_free(&g.vm);
	ok(vms_become(before), "ends: the VM does not wait for it");
	serve_page(&g, (u64)g.mem);
	ok(g.mem[0] == PATTERN, "ends: and it comes in vain");
	close(g.uffd);

	if (pipe(to_us))
		fatal("pipe");
	pid = fork();
	if (!pid) {
		open_kvm();
		guest_begin(&g);
		c = comes_there(&g, AREA, ON, 0) && is_told(&g);
		if (write(to_us[1], &c, 1) == 1)
			pause();
		_exit(0);
	}
	ok(read(to_us[0], &c, 1) == 1 && c, "ends: a page of another VMM's is on its way");
	kill(pid, SIGKILL);
	ok(waitpid(pid, &status, 0) == pid && vms_become(before),
	   "ends: it is killed, and its VM goes");
}

/* ---- MSRs ---- */

static bool is_listed(u32 index)
{
	struct {
		struct kvm_msr_list head;
		u32 index[1024];
	} l = {.head.nmsrs = 1024};

	if (ioctl(kvm, KVM_GET_MSR_INDEX_LIST, &l))
		return false;
	for (u32 i = 0; i < l.head.nmsrs; i++)
		if (l.index[i] == index)
			return true;
	return false;
}

/* The guest's write is done, or ends in #GP. */
static bool guest_writes(struct vm *vm, u32 msr, u64 val)
{
	vm->value_count = 0;
	cpu_setup(vm, 0, MODE_LONG, pl_wrmsr, msr, val);
	return vm_run(vm, 0, 5000) == END_DONE && vm->value_count == 1 && !vm->values[0];
}

static void test_msrs(void)
{
	static const struct {
		u32 msr;
		u64 val;
	} bad[] = {{MSR_KVM_ASYNC_PF_EN, AREA | ON | 0x10}, {MSR_KVM_ASYNC_PF_EN, AREA | 0x20},
		   {MSR_KVM_ASYNC_PF_EN, RAM_SIZE | ON},    {MSR_KVM_ASYNC_PF_EN, 1ull << 52 | ON},
		   {MSR_KVM_ASYNC_PF_EN, ~0x3full | ON},    {MSR_KVM_ASYNC_PF_INT, 0x100},
		   {MSR_KVM_ASYNC_PF_INT, 1ull << 32}};
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	ok(vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_ASYNC_PF) == 1 &&
	       vm_ioctl(&vm, KVM_CHECK_EXTENSION, (void *)KVM_CAP_ASYNC_PF_INT) == 1,
	   "MSRs: KVM_CAP_ASYNC_PF, KVM_CAP_ASYNC_PF_INT");
	ok(is_listed(MSR_KVM_ASYNC_PF_EN) && is_listed(MSR_KVM_ASYNC_PF_INT) &&
	       is_listed(MSR_KVM_ASYNC_PF_ACK),
	   "MSRs: they are saved");
	for (u32 i = 0; i < 7; i++)
		ok(set_msr(&vm, 0, bad[i].msr, bad[i].val) != 1 &&
		       !guest_writes(&vm, bad[i].msr, bad[i].val),
		   "MSRs: %llx is no value of %x", (unsigned long long)bad[i].val, bad[i].msr);
	ok(!get_msr(&vm, MSR_KVM_ASYNC_PF_EN) && !get_msr(&vm, MSR_KVM_ASYNC_PF_INT),
	   "MSRs: which they have not taken");
	ok(guest_writes(&vm, MSR_KVM_ASYNC_PF_INT, 0xf3) &&
	       guest_writes(&vm, MSR_KVM_ASYNC_PF_EN, AREA | ON) &&
	       guest_writes(&vm, MSR_KVM_ASYNC_PF_ACK, 1) &&
	       get_msr(&vm, MSR_KVM_ASYNC_PF_INT) == 0xf3 &&
	       get_msr(&vm, MSR_KVM_ASYNC_PF_EN) == (AREA | ON) &&
	       !get_msr(&vm, MSR_KVM_ASYNC_PF_ACK),
	   "MSRs: what the guest writes the VMM reads");
	vm_free(&vm);

	vm_init(&vm, 1, 0);
	ok(set_msr(&vm, 0, MSR_KVM_ASYNC_PF_EN, AREA | ON) != 1 &&
	       set_msr(&vm, 0, MSR_KVM_ASYNC_PF_INT, 0xf3) != 1 &&
	       set_msr(&vm, 0, MSR_KVM_ASYNC_PF_EN, 0) == 1,
	   "MSRs: without LAPICs it cannot be switched on");
	vm_free(&vm);
}

/* The guest sends itself an INIT, behind which it finds no memory. */
static void test_init(void)
{
	/* mov ebx, 0xfee00300; mov dword [rbx], INIT to id 0; jmp $ */
	static const u8 code[] = {0xbb, 0, 3, 0xe0, 0xfe, 0xc7, 0x03, 0, 0x45, 0, 0, 0xeb, 0xfe};
	struct kvm_sregs s;
	struct vm vm;

	vm_init(&vm, 1, VM_IRQCHIP);
	cpu_ioctl(&vm, 0, KVM_GET_SREGS, &s);
	s.apic_base |= 0x800;
	if (cpu_ioctl(&vm, 0, KVM_SET_SREGS, &s))
		fatal("APIC base");
	ok(set_msr(&vm, 0, MSR_KVM_ASYNC_PF_INT, 0xf3) == 1 &&
	       set_msr(&vm, 0, MSR_KVM_ASYNC_PF_EN, AREA | ON) == 1 &&
	       get_msr(&vm, MSR_KVM_ASYNC_PF_EN) == (AREA | ON),
	   "INIT: a VMM sets the MSRs");
	run_code(&vm, code, sizeof(code), 0);
	ok(!get_msr(&vm, MSR_KVM_ASYNC_PF_EN) && !get_msr(&vm, MSR_KVM_ASYNC_PF_INT),
	   "INIT: it switches it off");
	vm_free(&vm);
}

static void test_rights(void)
{
	const struct feature interrupt = {0x40000001, 0, 0, 1 << KVM_FEATURE_ASYNC_PF_INT};
	const struct feature both = {0x40000001, 0, 0,
				     1 << KVM_FEATURE_ASYNC_PF | 1 << KVM_FEATURE_ASYNC_PF_INT};
	struct kvm_enable_cap cap = {.cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = {1}};
	struct vm vm;

	ok(cpu_is_shown(&both), "rights: CPUID shows it");
	vm_init(&vm, 1, VM_IRQCHIP);
	cpu_hide(&vm, 0, &both, 1);
	ok(guest_writes(&vm, MSR_KVM_ASYNC_PF_EN, 0), "rights: a VMM may be lenient");
	cpu_ioctl(&vm, 0, KVM_ENABLE_CAP, &cap);
	ok(!guest_writes(&vm, MSR_KVM_ASYNC_PF_EN, 0) &&
	       !guest_writes(&vm, MSR_KVM_ASYNC_PF_INT, 0xf3) &&
	       !guest_writes(&vm, MSR_KVM_ASYNC_PF_ACK, 1),
	   "rights: or strict");
	vm_free(&vm);
	vm_init(&vm, 1, VM_IRQCHIP);
	cpu_hide(&vm, 0, &interrupt, 1);
	cpu_ioctl(&vm, 0, KVM_ENABLE_CAP, &cap);
	ok(guest_writes(&vm, MSR_KVM_ASYNC_PF_EN, AREA | 3) &&
	       !guest_writes(&vm, MSR_KVM_ASYNC_PF_EN, AREA | ON) &&
	       !guest_writes(&vm, MSR_KVM_ASYNC_PF_INT, 0xf3),
	   "rights: of interrupts, too");
	vm_free(&vm);
}

int main(void)
{
	open_kvm();
	test_msrs();
	test_init();
	test_rights();
	test_event(0, "event");
	test_event(AGAIN, "again");
	test_waits();
	test_changes();
	test_many();
	test_ends();
	return failures != 0;
}
