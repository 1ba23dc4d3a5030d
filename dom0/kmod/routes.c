// SPDX-License-Identifier: GPL-2.0-only
/* Table of interrupt routes: those of a GSI stand together, in user space's order. */
#include "pure.h"

static int check_entry(const struct kvm_irq_routing_entry *e, bool has_chips)
{
	if (e->gsi >= CB_MAX_ROUTES || e->flags)
		return -EINVAL;
	switch (e->type) {
	case KVM_IRQ_ROUTING_MSI:
	case KVM_IRQ_ROUTING_HV_SINT: /* as in KVM, also of one that is not there */
		return 0;
	case KVM_IRQ_ROUTING_IRQCHIP:
		if (!has_chips || e->u.irqchip.irqchip >= KVM_NR_IRQCHIPS)
			return -EINVAL;
		if (e->u.irqchip.pin >=
		    (e->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC ? KVM_IOAPIC_NUM_PINS : PIC_PINS))
			return -EINVAL;
		return 0;
	}
	return -EINVAL;
}

static void add_entry(struct routes *out, const struct kvm_irq_routing_entry *e)
{
	struct route r = {.chip = CHIP_MSI};

	if (e->type == KVM_IRQ_ROUTING_MSI) {
		r.address = (u64)e->u.msi.address_hi << 32 | e->u.msi.address_lo;
		r.data = e->u.msi.data;
	} else if (e->type == KVM_IRQ_ROUTING_HV_SINT) {
		r.chip = CHIP_SINT;
		out->has_sints = true;
		r.address = e->u.hv_sint.vcpu;
		r.data = e->u.hv_sint.sint;
	} else {
		r.chip = e->u.irqchip.irqchip;
		r.pin = e->u.irqchip.pin;
		out->gsi_of[r.chip][r.pin] = e->gsi;
	}
	out->route[out->start[e->gsi + 1]++] = r;
}

/* A GSI is one message, or one SINT, or one pin of each of several chips. */
static bool makes_sense(const struct route *r, u32 n)
{
	u32 chips = 0, i;

	for (i = 0; i < n; i++) {
		if ((r[i].chip >= CHIP_MSI && n > 1) || (chips & 1u << r[i].chip))
			return false;
		chips |= 1u << r[i].chip;
	}
	return true;
}

int routes_build(struct routes *out, const struct kvm_irq_routing_entry *e, u32 n, bool has_chips)
{
	u32 gsi, i, sum = 0, count;
	int r;

	if (n > CB_MAX_ROUTES)
		return -EINVAL;
	for (i = 0; i < n; i++) {
		r = check_entry(&e[i], has_chips);
		if (r)
			return r;
		out->start[e[i].gsi + 1]++;
	}
	/* start[gsi + 1] is where the next one of gsi goes, and so in the end where they end. */
	for (gsi = 0; gsi < CB_MAX_ROUTES; gsi++) {
		count = out->start[gsi + 1];
		out->start[gsi + 1] = sum;
		sum += count;
	}
	memset(out->gsi_of, 0xff, sizeof(out->gsi_of)); /* NO_GSI */
	for (i = 0; i < n; i++)
		add_entry(out, &e[i]);
	for (gsi = 0; gsi < CB_MAX_ROUTES; gsi++)
		if (!makes_sense(&out->route[out->start[gsi]],
				 out->start[gsi + 1] - out->start[gsi]))
			return -EINVAL;
	return 0;
}

bool routes_leads_to_sint(const struct routes *routes, u32 gsi)
{
	u16 at = routes->start[gsi];

	return at != routes->start[gsi + 1] && routes->route[at].chip == CHIP_SINT;
}

bool routes_is_sint(const struct routes *routes, u32 gsi, u32 vcpu)
{
	return routes_leads_to_sint(routes, gsi) &&
	       routes->route[routes->start[gsi]].address == vcpu;
}

u64 routes_pins(const struct routes *routes, u32 gsi)
{
	u64 pins = 0;
	u32 i;

	for (i = routes->start[gsi]; i < routes->start[gsi + 1]; i++) {
		const struct route *r = &routes->route[i];

		if (r->chip >= CHIP_MSI || routes->gsi_of[r->chip][r->pin] != (int)gsi)
			continue;
		pins |=
		    1ull << (r->chip == KVM_IRQCHIP_IOAPIC ? r->pin
							   : PIN_PIC + r->chip * PIC_PINS + r->pin);
	}
	return pins;
}
