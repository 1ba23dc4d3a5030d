/* SPDX-License-Identifier: GPL-2.0-only */
/* The life of a VMCS, access to its fields, and what the CPU says when it refuses. */
#include "vmx.h"
#include "../cpu.h"
#include "../log.h"

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
	[1] = "VMCALL in VMX root operation",
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
	[25] = "VM entry with invalid executive-VMCS pointer",
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

static int read_field(u32 field, u64 *val)
{
	bool refused;

	__asm__ volatile("vmread %2, %1" : "=@ccbe"(refused), "=r"(*val) : "r"((u64)field) : "memory");
	return refused ? -EINVAL : 0;
}

static const char *error_text(u64 *number)
{
	if (read_field(VMCS_INSN_ERROR, number))
		*number = 0;
	return *number < ARRAY_SIZE(errors) && errors[*number] ? errors[*number] : "no current VMCS";
}

void vmcs_refuse(const char *insn, u32 field)
{
	u64 number;
	const char *text = error_text(&number);

	panic("%s refused for field %x %s: error %u, %s", insn, field, field_name(field), (u32)number, text);
}

void vmcs_log_refusal(const char *insn, bool valid)
{
	u64 number = 0;
	const char *text = valid ? error_text(&number) : "no current VMCS";

	log_err("corbel: %s refused: error %u, %s", insn, (u32)number, text);
}

static void vmptrld(void *region)
{
	u64 pa = virt_to_hpa(region).v;
	bool refused;

	__asm__ volatile("vmptrld %1" : "=@ccbe"(refused) : "m"(pa) : "memory");
	if (unlikely(refused))
		vmcs_refuse("VMPTRLD", 0);
}

static void vmclear(void *region)
{
	u64 pa = virt_to_hpa(region).v;
	bool refused;

	__asm__ volatile("vmclear %1" : "=@ccbe"(refused) : "m"(pa) : "memory");
	if (unlikely(refused))
		vmcs_refuse("VMCLEAR", 0);
}

int vmx_on(hpa_t region)
{
	bool refused;

	__asm__ volatile("vmxon %1" : "=@ccbe"(refused) : "m"(region.v) : "memory");
	return refused ? -EIO : 0;
}

struct inv_operand {
	u64 what, linear;
};

void vmx_invept(u64 type, u64 eptp)
{
	struct inv_operand op = {.what = eptp};
	bool refused;

	__asm__ volatile("invept %1, %2" : "=@ccbe"(refused) : "m"(op), "r"(type) : "memory");
	if (unlikely(refused))
		vmcs_refuse("INVEPT", 0);
}

void vmx_invvpid(u64 type, u16 vpid)
{
	struct inv_operand op = {.what = vpid};
	bool refused;

	__asm__ volatile("invvpid %1, %2" : "=@ccbe"(refused) : "m"(op), "r"(type) : "memory");
	if (unlikely(refused))
		vmcs_refuse("INVVPID", 0);
}

/* ---- states ---- */

static struct vmx_cpu *here(void)
{
	return this_cpu()->vmx;
}

int vmcs_alloc(struct vcpu *v, u64 basic)
{
	struct vmcs_state *m = &vmx_of(v)->vmcs;

	m->lock.level = LOCK_VMCS;
	m->region = pool_alloc(0, &v->vm->acct);
	if (!m->region)
		return -ENOMEM;
	*(u32 *)m->region = basic & GENMASK(30, 0); /* revision */
	vmclear(m->region);
	return 0;
}

void vmcs_free(struct vcpu *v)
{
	struct vmcs_state *m = &vmx_of(v)->vmcs;

	BUG_ON(m->cpu);
	pool_free(m->region, 0, &v->vm->acct);
}

static void make_current(struct vmcs_state *m)
{
	BUG_ON(m->cpu || m->launched);
	vmptrld(m->region);
	m->cpu = this_cpu();
}

static void make_clear(struct vmcs_state *m)
{
	BUG_ON(m->cpu != this_cpu());
	vmclear(m->region);
	m->launched = false;
	m->cpu = NULL;
}

void vmcs_load(struct vcpu *v)
{
	struct vmcs_state *m = &vmx_of(v)->vmcs;

	BUG_ON(here()->current);
	lock_acquire(&m->lock);
	make_current(m);
	here()->loaded = here()->current = v;
	lock_release(&m->lock);
}

void vmcs_put(struct vcpu *v)
{
	struct vmcs_state *m = &vmx_of(v)->vmcs;

	BUG_ON(here()->loaded != v || here()->current != v);
	lock_acquire(&m->lock);
	here()->loaded = here()->current = NULL;
	make_clear(m);
	lock_release(&m->lock);
}

bool vmcs_borrow(struct vcpu *v)
{
	struct vmcs_state *m = &vmx_of(v)->vmcs;

	BUG_ON(here()->current != here()->loaded);
	lock_acquire(&m->lock);
	if (m->cpu) {
		lock_release(&m->lock);
		return false;
	}
	make_current(m);
	here()->current = v;
	return true;
}

void vmcs_give_back(struct vcpu *v)
{
	struct vmcs_state *m = &vmx_of(v)->vmcs;

	BUG_ON(here()->current != v || here()->loaded == v);
	here()->current = here()->loaded;
	make_clear(m);
	if (here()->loaded)
		vmptrld(vmx_of(here()->loaded)->vmcs.region);
	lock_release(&m->lock);
}

void vmx_dump(struct vcpu *v)
{
	char line[160];
	u32 n = 0;
	u64 val;

	vmx_current(v);
	log_err("VMCS of vm %u vcpu %u:", v->vm->id, v->index);
	for (u32 i = 0; i < ARRAY_SIZE(fields); i++) {
		if (!read_field(fields[i].encoding, &val))
			n += hv_snprintf(line + n, sizeof(line) - n, " %s %llx", fields[i].name, (unsigned long long)val);
		if (n > 90 || i == ARRAY_SIZE(fields) - 1) {
			log_err(" %s", line);
			n = 0;
		}
	}
}
