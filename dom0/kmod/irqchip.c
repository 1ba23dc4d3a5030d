// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupt routing of a VM: from a GSI, or a device's access, to IOAPIC, PIC and messages. What
 * reaches a CPU leaves as HC_MSI or HC_PIC; nothing here sleeps.
 */
#include "hyperv.h"
#include "irq.h"
#include "kmod.h"
#include "trace.h"

#define MSI_LEVEL  BIT(15)
#define MSI_VECTOR 0xffu

struct cb_routing { /* immutable once published */
	struct rcu_head rcu;
	struct routes r;
};

int cb_irq_msi(struct cb_vm *vm, u64 address, u32 data)
{
	u32 id = READ_ONCE(vm->id), api = READ_ONCE(vm->x2apic_api);

	if (!(api & KVM_X2APIC_API_USE_32BIT_IDS))
		address = (u32)address;
	return id ? HC4(MSI, id, address, data, api & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK) : 0;
}

void cb_irq_posting(struct cb_vm *vm, u32 gsi, struct vcpu_data *out)
{
	u32 id = READ_ONCE(vm->id), api = READ_ONCE(vm->x2apic_api);
	const struct cb_routing *rt;
	long handle = 0;

	if (!id || !irq_remapping_cap(IRQ_POSTING_CAP))
		return;
	rcu_read_lock();
	rt = rcu_dereference(vm->routing);
	if (rt && rt->r.start[gsi + 1] - rt->r.start[gsi] == 1) {
		const struct route *r = &rt->r.route[rt->r.start[gsi]];
		bool wide = api & KVM_X2APIC_API_USE_32BIT_IDS;

		if (r->chip == CHIP_MSI)
			handle = HC4(POST, id, wide ? r->address : (u32)r->address, r->data,
				     api & KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
		out->vector = r->data & MSI_VECTOR;
	}
	rcu_read_unlock();
	out->pi_desc_addr = max(handle, 0l);
}

static int deliver_msi(struct ioapic *io, u64 address, u32 data)
{
	return cb_irq_msi(container_of(io, struct cb_vm, ioapic), address, data);
}

/* ---- acknowledgements ---- */

static int gsi_of_pin(struct cb_vm *vm, u32 chip, u32 pin)
{
	const struct cb_routing *rt;
	int gsi = NO_GSI;

	rcu_read_lock();
	rt = rcu_dereference(vm->routing);
	if (rt)
		gsi = rt->r.gsi_of[chip][pin];
	rcu_read_unlock();
	return gsi;
}

/*
 * A GSI's interrupt has been serviced: who waits for that may lower or pulse its line. Without
 * irq_lock.
 */
static void pin_acked(struct cb_vm *vm, u32 chip, u32 pin)
{
	int gsi = gsi_of_pin(vm, chip, pin);

	trace_kvm_ack_irq(chip, pin);
	if (gsi == NO_GSI)
		return;
	if (gsi == 0 && smp_load_acquire(&vm->pit))
		cb_pit_acked(vm->pit);
	cb_irqfd_acked(vm, gsi);
}

void cb_irq_sint_acked(struct cb_vm *vm, u32 index)
{
	const struct cb_routing *rt;

	rcu_read_lock();
	rt = rcu_dereference(vm->routing);
	if (rt)
		cb_irqfd_sint_acked(vm, &rt->r, index);
	rcu_read_unlock();
}

static void pic_acked(struct cb_vm *vm, u16 ended)
{
	for (; ended; ended &= ended - 1) {
		u32 line = __ffs(ended);

		pin_acked(vm, line / PIC_PINS, line % PIC_PINS);
	}
}

/* Pins of GSIs whose acknowledgement someone waits for, though they are edge-triggered. */
static u64 pins_to_report(struct cb_vm *vm, const struct cb_routing *rt)
{
	u64 pins = cb_irqfd_awaited_pins(vm, &rt->r);

	if (vm->pit && cb_pit_wants_ack(vm->pit))
		pins |= routes_pins(&rt->r, 0);
	return pins;
}

/* Of the PICs all are told of while they are traced. */
static u32 pic_wants(const struct cb_vm *vm, u64 pins)
{
	u32 wants = READ_ONCE(cb_trace_acks) ? U16_MAX : (u16)(pins >> PIN_PIC);

	if (vm->pit && cb_pit_wants_ack(vm->pit))
		wants |= CORBEL_PIC_UNMASKED;
	return wants;
}

/*
 * With a split irqchip user space has the IOAPIC; its pins are MSI routes, and level is marked in
 * their data.
 */
static void split_eoi_vectors(struct cb_vm *vm, const struct cb_routing *rt, u64 mask[4])
{
	u32 i, pins = min(vm->split_pins, CB_MAX_ROUTES);

	memset(mask, 0, 4 * sizeof(mask[0]));
	for (i = 0; i < rt->r.start[pins]; i++) {
		u32 vector = rt->r.route[i].data & MSI_VECTOR;

		if (rt->r.route[i].chip == CHIP_MSI && (rt->r.route[i].data & MSI_LEVEL))
			mask[vector / 64] |= BIT_ULL(vector % 64);
	}
}

static void update_eoi_locked(struct cb_vm *vm)
{
	const struct cb_routing *rt =
	    rcu_dereference_check(vm->routing, lockdep_is_held(&vm->irq_lock));
	u32 id = READ_ONCE(vm->id), i;
	u64 mask[4], pins;

	if (!id || !rt)
		return;
	if (vm->irqchip == CB_IRQCHIP_FULL) {
		pins = pins_to_report(vm, rt);
		ioapic_eoi_vectors(&vm->ioapic, pins, mask);
		if (cb_irqfd_awaits_sint(vm, &rt->r))
			cb_synic_eoi_vectors(vm, mask);
		cb_pic_want(vm, pic_wants(vm, pins));
	} else {
		split_eoi_vectors(vm, rt, mask);
	}
	for (i = 0; i < 4; i++) {
		if (mask[i] == vm->eoi_mask[i])
			continue;
		vm->eoi_mask[i] = mask[i];
		HC3(EOI_MASK, id, i, mask[i]);
	}
}

void cb_irq_update_eoi(struct cb_vm *vm)
{
	unsigned long flags;

	rcu_read_lock();
	spin_lock_irqsave(&vm->irq_lock, flags);
	update_eoi_locked(vm);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	rcu_read_unlock();
}

void cb_irq_eoi(struct cb_vm *vm, u8 vector)
{
	unsigned long flags;
	u32 pins, p;

	spin_lock_irqsave(&vm->irq_lock, flags);
	pins = ioapic_pins_of_vector(&vm->ioapic, vector);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	/* Listeners first: a line they lower must not be sent again. */
	for (p = pins; p; p &= p - 1)
		pin_acked(vm, KVM_IRQCHIP_IOAPIC, __ffs(p));
	rcu_read_lock();
	spin_lock_irqsave(&vm->irq_lock, flags);
	ioapic_eoi(&vm->ioapic, pins);
	update_eoi_locked(vm);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	rcu_read_unlock();
}

/* ---- lines ---- */

static bool merge_sources(u8 *sources, enum cb_irq_source src, bool level)
{
	if (level)
		*sources |= BIT(src);
	else
		*sources &= ~BIT(src);
	return *sources;
}

static int set_pin(struct cb_vm *vm, enum cb_irq_source src, const struct route *r, bool level)
{
	unsigned long flags;
	bool was;
	u32 line;
	u64 rte;
	int ret;

	if (r->chip == CHIP_MSI && !level)
		return -1;
	if (r->chip == CHIP_MSI) {
		trace_kvm_msi_set_irq(r->address, r->data);
		return cb_irq_msi(vm, r->address, r->data);
	}
	if (r->chip == CHIP_SINT)
		return level ? cb_synic_set_irq(vm, r->address, r->data) : -1;
	spin_lock_irqsave(&vm->irq_lock, flags);
	if (r->chip == KVM_IRQCHIP_IOAPIC) {
		rte = vm->ioapic.s.redirtbl[r->pin].bits;
		ret = ioapic_set_irq(&vm->ioapic, r->pin,
				     merge_sources(&vm->ioapic_sources[r->pin], src, level));
		trace_kvm_ioapic_set_irq(rte, r->pin, !ret);
	} else {
		line = r->chip * PIC_PINS + r->pin;
		was = vm->pic_sources[line];
		ret = cb_pic_set_line(vm, line, was,
				      merge_sources(&vm->pic_sources[line], src, level));
		trace_kvm_pic_set_irq(r->chip, r->pin,
				      CORBEL_PIC_ELCR(vm->pic_said) >> r->chip * PIC_PINS,
				      CORBEL_PIC_IMR(vm->pic_said) >> r->chip * PIC_PINS, !ret);
	}
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	return ret;
}

/* What KVM tells in their place: its PIT has the first id behind user space's and resampling. */
static const int source_id[] = {
    [CB_SRC_USER] = 0, [CB_SRC_IRQFD] = 0, [CB_SRC_RESAMPLE] = 1, [CB_SRC_PIT] = 2};

int cb_irq_set(struct cb_vm *vm, enum cb_irq_source src, u32 gsi, bool level)
{
	const struct cb_routing *rt;
	int ret = -1, r;
	u32 i;

	trace_kvm_set_irq(gsi, level, source_id[src]);
	rcu_read_lock();
	rt = rcu_dereference(vm->routing);
	if (rt && gsi < CB_MAX_ROUTES) {
		for (i = rt->r.start[gsi]; i < rt->r.start[gsi + 1]; i++) {
			r = set_pin(vm, src, &rt->r.route[i], level);
			if (r >= 0)
				ret = max(ret, 0) + r;
		}
	}
	rcu_read_unlock();
	return ret;
}

void cb_irq_pic_told(struct cb_vm *vm, u32 what)
{
	unsigned long flags;

	if (what & CORBEL_PIC_ASLEEP) {
		spin_lock_irqsave(&vm->irq_lock, flags);
		cb_pic_wake(vm);
		spin_unlock_irqrestore(&vm->irq_lock, flags);
	}
	if (what & CORBEL_PIC_UNMASKED && smp_load_acquire(&vm->pit))
		cb_pit_unmasked(vm->pit);
	if (what & CORBEL_PIC_PIT && smp_load_acquire(&vm->pit))
		cb_pit_loaded(vm->pit);
	pic_acked(vm, what);
	if (!(what & U16_MAX))
		return;
	spin_lock_irqsave(&vm->irq_lock, flags);
	cb_pic_heard(vm);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
}

/* ---- accesses of the guest ---- */

/* Of a string: others the hypervisor has done. */
static void pic_access(struct cb_vm *vm, u16 port, bool is_in, u8 *data)
{
	unsigned long flags;
	u32 told;

	spin_lock_irqsave(&vm->irq_lock, flags);
	told = cb_pic_io(vm, port, is_in, data);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	cb_irq_pic_told(vm, told);
}

static bool is_pic_port(u16 port)
{
	return (port & ~0x81) == 0x20 || (port & ~1) == 0x4d0;
}

bool cb_irqchip_pio(struct cb_vm *vm, u16 port, u8 size, bool is_in, void *data)
{
	if (vm->irqchip == CB_IRQCHIP_FULL && is_pic_port(port)) {
		if (size == 1)
			pic_access(vm, port, is_in, data);
		else if (is_in)
			memset(data, 0xff, size);
		return true;
	}
	return size == 1 && smp_load_acquire(&vm->pit) && cb_pit_pio(vm->pit, port, is_in, data);
}

/*
 * A driver that serves its device in a thread ends the interrupt first, masked: a resampled line
 * has been raised again since then, for what the driver has served by now. So who raised it is
 * asked once more.
 */
static void ask_old_level(struct cb_vm *vm, u32 offset, u32 val)
{
	unsigned long flags;
	int pin, gsi;

	spin_lock_irqsave(&vm->irq_lock, flags);
	pin = ioapic_old_level(&vm->ioapic, offset, val);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	gsi = pin < 0 ? NO_GSI : gsi_of_pin(vm, KVM_IRQCHIP_IOAPIC, pin);
	if (gsi != NO_GSI)
		cb_irqfd_acked(vm, gsi);
}

static void ioapic_access(struct cb_vm *vm, u32 offset, u32 len, bool is_write, void *data)
{
	const struct cb_routing *rt;
	unsigned long flags;
	u32 val = 0, unmasked = 0, i;
	bool timer_unmasked = false;

	if (is_write)
		memcpy(&val, data, min_t(u32, len, sizeof(val)));
	if (is_write)
		ask_old_level(vm, offset, val);
	rcu_read_lock();
	spin_lock_irqsave(&vm->irq_lock, flags);
	if (is_write) {
		unmasked = ioapic_write(&vm->ioapic, offset, val);
		update_eoi_locked(vm);
	} else {
		val = ioapic_read(&vm->ioapic, offset);
	}
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	rt = rcu_dereference(vm->routing);
	for (i = 0; rt && i < KVM_IOAPIC_NUM_PINS; i++)
		if ((unmasked & BIT(i)) && rt->r.gsi_of[KVM_IRQCHIP_IOAPIC][i] == 0)
			timer_unmasked = true;
	rcu_read_unlock();
	if (timer_unmasked && smp_load_acquire(&vm->pit))
		cb_pit_unmasked(vm->pit);
	if (!is_write) {
		memset(data, 0, len);
		memcpy(data, &val, min_t(u32, len, sizeof(val)));
	}
}

bool cb_irqchip_mmio(struct cb_vm *vm, u64 gpa, u32 len, bool is_write, void *data)
{
	u64 base = READ_ONCE(vm->ioapic.s.base_address);

	if (vm->irqchip != CB_IRQCHIP_FULL || gpa < base || gpa - base >= IOAPIC_SIZE)
		return false;
	ioapic_access(vm, gpa - base, len, is_write, data);
	return true;
}

/* ---- routing table ---- */

static struct cb_routing *build_routing(const struct cb_vm *vm,
					const struct kvm_irq_routing_entry *e, u32 n)
{
	struct cb_routing *rt = kvzalloc(struct_size(rt, r.route, n), GFP_KERNEL_ACCOUNT);
	int r;

	if (!rt)
		return ERR_PTR(-ENOMEM);
	r = routes_build(&rt->r, e, n, vm->irqchip == CB_IRQCHIP_FULL);
	if (!r)
		return rt;
	kvfree(rt);
	return ERR_PTR(r);
}

int cb_irq_set_routing(struct cb_vm *vm, const struct kvm_irq_routing_entry *e, u32 n)
{
	struct cb_routing *rt = build_routing(vm, e, n), *old;

	if (IS_ERR(rt))
		return PTR_ERR(rt);
	mutex_lock(&vm->routing_lock);
	old = rcu_replace_pointer(vm->routing, rt, lockdep_is_held(&vm->routing_lock));
	mutex_unlock(&vm->routing_lock);
	if (old)
		kvfree_rcu(old, rcu);
	cb_irqfd_rerouted(vm);
	cb_irq_update_eoi(vm);
	return 0;
}

/* GSI n is pin n of the IOAPIC, and line n of the PICs where they have one. */
static int default_routing(struct cb_vm *vm)
{
	struct kvm_irq_routing_entry *e =
	    kcalloc(KVM_IOAPIC_NUM_PINS + 2 * PIC_PINS, sizeof(*e), GFP_KERNEL);
	u32 gsi, n = 0;
	int r;

	if (!e)
		return -ENOMEM;
	for (gsi = 0; gsi < KVM_IOAPIC_NUM_PINS; gsi++) {
		e[n].gsi = gsi;
		e[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		e[n].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		e[n++].u.irqchip.pin = gsi;
		if (gsi >= 2 * PIC_PINS)
			continue;
		e[n].gsi = gsi;
		e[n].type = KVM_IRQ_ROUTING_IRQCHIP;
		e[n].u.irqchip.irqchip = gsi / PIC_PINS;
		e[n++].u.irqchip.pin = gsi % PIC_PINS;
	}
	r = cb_irq_set_routing(vm, e, n);
	kfree(e);
	return r;
}

/* ---- life time, state ---- */

void cb_irqchip_init(struct cb_vm *vm)
{
	mutex_init(&vm->routing_lock);
	spin_lock_init(&vm->irq_lock);
	spin_lock_init(&vm->irqfds_lock);
	INIT_LIST_HEAD(&vm->irqfds);
	cb_pic_init(vm);
	ioapic_reset(&vm->ioapic);
	vm->ioapic.deliver = deliver_msi;
}

int cb_irqchip_create(struct cb_vm *vm, enum cb_irqchip_kind kind, u32 split_pins)
{
	int r = -EEXIST;

	mutex_lock(&vm->lock);
	if (vm->irqchip != CB_IRQCHIP_NONE)
		goto out;
	r = -EINVAL;
	if (vm->id)
		goto out;
	vm->irqchip = kind;
	vm->split_pins = split_pins;
	r = kind == CB_IRQCHIP_FULL ? default_routing(vm) : cb_irq_set_routing(vm, NULL, 0);
	if (r)
		vm->irqchip = CB_IRQCHIP_NONE;
out:
	mutex_unlock(&vm->lock);
	return r;
}

void cb_irqchip_realize(struct cb_vm *vm)
{
	unsigned long flags;

	if (vm->irqchip == CB_IRQCHIP_NONE)
		return;
	spin_lock_irqsave(&vm->irq_lock, flags);
	if (vm->irqchip == CB_IRQCHIP_FULL)
		cb_pic_realize(vm);
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	if (smp_load_acquire(&vm->pit))
		cb_pit_realize(vm->pit);
	cb_irq_update_eoi(vm);
}

void cb_irqchip_exit(struct cb_vm *vm)
{
	struct cb_routing *rt;

	spin_lock_irq(&vm->irq_lock);
	rt = rcu_replace_pointer(vm->routing, NULL, lockdep_is_held(&vm->irq_lock));
	spin_unlock_irq(&vm->irq_lock);
	if (rt)
		kvfree_rcu(rt, rcu);
	cb_pit_destroy(vm);
	kvfree(vm->resamplers);
}

int cb_irqchip_get(struct cb_vm *vm, struct kvm_irqchip *c)
{
	unsigned long flags;
	int r = 0;

	spin_lock_irqsave(&vm->irq_lock, flags);
	if (c->chip_id == KVM_IRQCHIP_IOAPIC)
		c->chip.ioapic = vm->ioapic.s;
	else if (c->chip_id <= KVM_IRQCHIP_PIC_SLAVE)
		cb_pic_get(vm, c->chip_id, &c->chip.pic);
	else
		r = -EINVAL;
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	return r;
}

int cb_irqchip_set(struct cb_vm *vm, const struct kvm_irqchip *c)
{
	unsigned long flags;
	int r = 0;

	rcu_read_lock();
	spin_lock_irqsave(&vm->irq_lock, flags);
	if (c->chip_id == KVM_IRQCHIP_IOAPIC) {
		vm->ioapic.s = c->chip.ioapic;
		update_eoi_locked(vm);
		ioapic_resend(&vm->ioapic);
	} else if (c->chip_id <= KVM_IRQCHIP_PIC_SLAVE) {
		cb_pic_set(vm, c->chip_id, &c->chip.pic);
	} else {
		r = -EINVAL;
	}
	spin_unlock_irqrestore(&vm->irq_lock, flags);
	rcu_read_unlock();
	return r;
}
