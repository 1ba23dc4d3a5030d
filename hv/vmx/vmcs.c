/* SPDX-License-Identifier: GPL-2.0-only */
/* The life of a VMCS, access to its fields, and what the CPU says when it refuses. */
#include "hv/vmx/vmcs.h"
#include "hv/cpu/apic.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/irq.h"
#include "hv/guest/vm.h"
#include "hv/lib/printf.h"
#include "hv/vmx/vmx.h"

static const struct {
	u16 encoding;
	const char *name;
} fields[] = {
#define X(name, encoding) {encoding, #name},
    VMCS_FIELDS(X)
#undef X
};

/* SDM "VM Instruction Error Numbers" */
static const char *const errors[] = {
    [2] = "VMCLEAR with invalid physical address",
    [3] = "VMCLEAR with VMXON pointer",
    [4] = "VMLAUNCH with non-clear VMCS",
    [5] = "VMRESUME with non-launched VMCS",
    [6] = "VMRESUME after VMXOFF",
    [7] = "VM entry with invalid control field(s)",
    [8] = "VM entry with invalid host-state field(s)",
    [9] = "VMPTRLD with invalid physical address",
    [10] = "VMPTRLD with VMXON pointer",
    [11] = "VMPTRLD with incorrect VMCS revision",
    [12] = "unsupported VMCS field",
    [13] = "VMWRITE to read-only field",
    [15] = "VMXON in VMX root operation",
    [26] = "VM entry with events blocked by MOV SS",
    [28] = "invalid operand to INVEPT/INVVPID",
};

static const char *field_name(u32 field)
{
	for (u32 i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].encoding == field)
			return fields[i].name;
	return "";
}

/* Also of a field that the CPU may lack. */
static bool read_field(u64 field, u64 *val)
{
	bool refused;

	__asm__ volatile("vmread %2, %1" : "=@ccbe"(refused), "=r"(*val) : "r"(field) : "memory");
	return !refused;
}

static const char *error_text(u64 *number)
{
	if (read_field(VMCS_INSN_ERROR, number) && *number < ARRAY_SIZE(errors) && errors[*number])
		return errors[*number];
	*number = 0;
	return "no current VMCS";
}

void vmcs_refuse(const char *insn, u32 field)
{
	u64 number;
	const char *text = error_text(&number);

	panic("%s refused for field %x %s: error %lu, %s", insn, field, field_name(field), number,
	      text);
}

void vmcs_log_refusal(const char *insn)
{
	u64 number;
	const char *text = error_text(&number);

	log_err("vmx: %s refused: error %lu, %s", insn, number, text);
}

static void load_vmcs(const struct vmcs_state *m)
{
	if (vmx_ptrld(m->at))
		vmcs_refuse("VMPTRLD", 0);
}

static void clear_vmcs(const struct vmcs_state *m)
{
	if (vmx_clear(m->at))
		vmcs_refuse("VMCLEAR", 0);
}

int vmx_on(hpa_t region)
{
	return VMX_REFUSES("vmxon %1", "m"(region.v)) ? -EIO : 0;
}

struct inv_operand {
	u64 what, linear;
};

void vmx_invept(u64 type, u64 eptp)
{
	struct inv_operand op = {.what = eptp};

	if (VMX_REFUSES("invept %1, %2", "m"(op), "r"(type)))
		vmcs_refuse("INVEPT", 0);
}

void vmx_invvpid(u64 type, u16 vpid)
{
	struct inv_operand op = {.what = vpid};

	BUG_ON(!vpid); /* the hypervisor's own */
	if (VMX_REFUSES("invvpid %1, %2", "m"(op), "r"(type)))
		vmcs_refuse("INVVPID", 0);
}

/* ---- states ---- */

int vmcs_alloc(struct vcpu *v, u64 basic)
{
	struct vmcs_state *m = &vmx_of(v)->vmcs;

	m->lock.level = LOCK_VMCS;
	m->stays = v->vm->is_dom0;
	m->region = pool_alloc(0, &v->vm->acct);
	if (!m->region)
		return -ENOMEM;
	*(u32 *)m->region = basic & BASIC_REVISION;
	m->at = virt_to_hpa(m->region);
	clear_vmcs(m);
	return 0;
}

/* And off the list of its CPU, which is this one: nobody's. */
static void make_clear(struct vmcs_state *m)
{
	BUG_ON(m->cpu != this_cpu() || *m->link != m);
	clear_vmcs(m);
	*m->link = m->next;
	if (m->next)
		m->next->link = m->link;
	m->launched = false;
	WRITE_ONCE(m->wanted, false);
	__atomic_store_n(&m->cpu, NULL, __ATOMIC_RELEASE);
}

void vmcs_free(struct vcpu *v)
{
	struct vmcs_state *m = &vmx_of(v)->vmcs;

	if (m->cpu)
		make_clear(m);
	pool_free(m->region, 0, &v->vm->acct);
}

/* The vCPU's VMCS is to be this CPU's. */
static inline void make_current(struct vmcs_state *m)
{
	struct vmx_cpu *p = vmx_here();
	struct cpu *c = this_cpu();

	ASSERT_HELD(&m->lock);
	BUG_ON(m->cpu && m->cpu != c);
	load_vmcs(m);
	WRITE_ONCE(m->wanted, false); /* by who had the vCPU before, and has given up */
	if (likely(m->cpu))
		return;
	BUG_ON(m->launched);
	m->link = &p->active;
	m->next = p->active;
	if (m->next)
		m->next->link = &m->next;
	p->active = m;
	m->cpu = c;
}

/*
 * For who has the vCPU: may this CPU make its VMCS current? If not, the one where it is active has
 * been asked to clear it.
 */
static bool may_take(struct vmcs_state *m)
{
	struct cpu *at = __atomic_load_n(&m->cpu, __ATOMIC_ACQUIRE);

	if (likely(!at || at == this_cpu()))
		return true;
	if (!__atomic_exchange_n(&m->wanted, true, __ATOMIC_SEQ_CST))
		apic_send_ipi(at->apic_id, VEC_VMCS);
	return false;
}

/* Those of this CPU's that others want. It is in none of them: who wants one has its vCPU. */
static void clear_wanted(struct vmx_cpu *p)
{
	struct vmcs_state *m, *next;

	for (m = p->active; m; m = next) {
		next = m->next;
		if (__atomic_load_n(&m->wanted, __ATOMIC_ACQUIRE)) {
			BUG_ON(p->current && m == &vmx_of(p->current)->vmcs);
			make_clear(m);
		}
	}
}

void vmcs_wanted_irq(u8 vector)
{
	apic_eoi();
	clear_wanted(vmx_here());
}

void vmx_idle(void)
{
	struct vmcs_state *m, *next;

	for (m = vmx_here()->active; m; m = next) {
		next = m->next;
		if (!m->stays) /* nor is it current: what is loaded on an idle CPU is dom0's */
			make_clear(m);
	}
}

void vmcs_clear_all(void)
{
	struct vmx_cpu *p = vmx_here();
	struct vmcs_state *m;

	while ((m = p->active)) {
		p->active = m->next;
		vmx_clear(m->at); /* in a panic, too: no refusal is to end in another */
		m->launched = false;
		__atomic_store_n(&m->cpu, NULL, __ATOMIC_RELEASE);
	}
}

bool vmx_borrow(struct vcpu *v)
{
	struct vmcs_state *m = &vmx_of(v)->vmcs;
	struct vmx_cpu *p = vmx_here();

	BUG_ON(p->current != p->loaded); /* one at a time */
	if (p->loaded == v || !may_take(m))
		return false;
	lock_acquire(&m->lock);
	make_current(m);
	p->current = v;
	return true;
}

void vmx_give_back(struct vcpu *v)
{
	struct vmcs_state *m = &vmx_of(v)->vmcs;
	struct vmx_cpu *p = vmx_here();

	BUG_ON(p->current != v);
	BUG_ON(p->loaded == v);
	p->current = p->loaded;
	if (m->stays) /* where it runs, which may be elsewhere */
		make_clear(m);
	if (p->loaded)
		load_vmcs(&vmx_of(p->loaded)->vmcs);
	lock_release(&m->lock);
}

/* ---- loading ---- */

/*
 * What a VM exit brings back, as far as it is not the same on all CPUs (reset_fields[] in
 * hv/vmx/vmx.c). It leaves GDT and IDT with limits of 64 KiB, which no selector or
 * vector here reaches.
 */
static __noinline void write_host_state(struct vmx_vcpu *s)
{
	struct cpu_tables t = cpu_tables();

	s->host_cpu = this_cpu();
	s->host_rsp = 0;
	s->tlb_gen = NO_GEN; /* the CPU may hold old translations of this vCPU */
	vmcs_writen(VMCS_HOST_CR0, read_cr0());
	vmcs_writen(VMCS_HOST_CR3, read_cr3());
	vmcs_writen(VMCS_HOST_CR4, read_cr4());
	vmcs_writen(VMCS_HOST_GS_BASE, (u64)this_cpu());
	vmcs_writen(VMCS_HOST_TR_BASE, t.tss);
	vmcs_writen(VMCS_HOST_GDTR_BASE, t.gdt);
	vmcs_writen(VMCS_HOST_IDTR_BASE, t.idt);
}

/* The state no VMCS holds. hw: the system-call MSRs as they are now. */
static inline void load_hw(u64 *hw, const struct vmx_vcpu *s)
{
	for (u32 i = 0; i < SYSCALL_MSRS; i++)
		if (hw[i] != s->syscall_msr[i])
			wrmsr(MSR_STAR + i, hw[i] = s->syscall_msr[i]);
	wrmsr(MSR_KERNEL_GS_BASE, s->kernel_gs_base);
	write_cr2(s->cr2);
	WRITE_DR(6, s->dr6);
}

static inline void save_hw(struct vmx_vcpu *s)
{
	s->kernel_gs_base = rdmsr(MSR_KERNEL_GS_BASE); /* SWAPGS changes it */
	s->cr2 = read_cr2();
	s->dr6 = READ_DR(6);
}

void vmx_load(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	struct vmx_cpu *p = vmx_here();

	BUG_ON(!p->on);
	BUG_ON(p->current || p->loaded);
	lock_none_held(); /* on which the other CPU could wait */
	while (unlikely(!may_take(&s->vmcs))) {
		cpu_relax();
		clear_wanted(p); /* by the CPU that is waited for, say */
	}
	lock_acquire(&s->vmcs.lock);
	make_current(&s->vmcs);
	p->loaded = p->current = v;
	lock_release(&s->vmcs.lock);
	load_hw(p->syscall_msr, s);
	if (unlikely(s->host_cpu != this_cpu()))
		write_host_state(s);
}

void vmx_put(struct vcpu *v)
{
	struct vmx_vcpu *s = vmx_of(v);
	struct vmx_cpu *p = vmx_here();

	BUG_ON(p->loaded != v);
	BUG_ON(p->current != v);
	save_hw(s);
	lock_acquire(&s->vmcs.lock);
	p->loaded = p->current = NULL;
	lock_release(&s->vmcs.lock);
}

_Static_assert(ARRAY_SIZE(fields) * sizeof(" GUEST_SYSENTER_EIP 0123456789abcdef") < HVM_DUMP_BYTES,
	       "a dump has room for the times of its lines, too");
void vmx_dump(struct vcpu *v)
{
	char line[160];
	u32 n = 0;
	u64 val;

	vmx_current(v);
	log_err("VMCS of vm %u vcpu %u:", v->vm->id, v->index);
	for (u32 i = 0; i < ARRAY_SIZE(fields); i++) {
		if (read_field(fields[i].encoding, &val))
			n +=
			    hv_snprintf(line + n, sizeof(line) - n, " %s %lx", fields[i].name, val);
		if (n > 90 || i == ARRAY_SIZE(fields) - 1) {
			log_err(" %s", line);
			n = 0;
		}
	}
}
