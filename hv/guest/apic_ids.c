/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/guest/apic_ids.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"

/* Where the chain of those begins whose APIC ids end as that one. */
static u16 *alike_of(struct vm *vm, u32 apic_id)
{
	return &vm->apic_to_index[apic_id % ARRAY_SIZE(vm->apic_to_index)];
}

struct vcpu *vm_vcpu_by_apic(struct vm *vm, u32 apic_id)
{
	struct vcpu *v;

	for (u16 i = READ_ONCE(*alike_of(vm, apic_id)); i; i = READ_ONCE(v->next_alike)) {
		BUG_ON(i > VM_VCPUS);
		v = vm->vcpu[i - 1];
		if (!v || v->lapic.id == apic_id)
			return v;
	}
	return NULL;
}

void apic_ids_add(struct vm *vm, struct vcpu *v)
{
	u16 *first = alike_of(vm, v->lapic.id);

	ASSERT_HELD(&vm->lock);
	v->next_alike = *first;
	__atomic_store_n(first, v->index + 1, __ATOMIC_RELEASE);
}

void apic_ids_drop(struct vm *vm, struct vcpu *v)
{
	u16 *at = alike_of(vm, v->lapic.id);

	ASSERT_HELD(&vm->lock);
	while (*at != v->index + 1)
		at = &vm->vcpu[*at - 1]->next_alike;
	WRITE_ONCE(*at, v->next_alike);
}
