/* SPDX-License-Identifier: GPL-2.0-only */
/* links: dom0/kmod/routes.c */
/* The module's routing table: borders of what user space may say, and random tables. */
#include "dom0/kmod/pure.h"
#include "test.h"

#include <stdlib.h>

typedef struct kvm_irq_routing_entry entry;

static struct routes *rt;

/* The table is as large as it must be, so that the sanitizer sees what goes over its end. */
static int build(const entry *e, u32 n, bool has_chips)
{
	free(rt);
	rt = calloc(1, sizeof(*rt) + n * sizeof(rt->route[0]));
	return routes_build(rt, e, n, has_chips);
}

static entry msi(u32 gsi, u32 data)
{
	return (entry){.gsi = gsi,
		       .type = KVM_IRQ_ROUTING_MSI,
		       .u.msi = {.address_lo = 0xfee01000, .address_hi = 0x100, .data = data}};
}

static entry pin(u32 gsi, u32 chip, u32 pin)
{
	return (entry){.gsi = gsi,
		       .type = KVM_IRQ_ROUTING_IRQCHIP,
		       .u.irqchip = {.irqchip = chip, .pin = pin}};
}

static entry sint(u32 gsi, u32 vcpu, u32 sint)
{
	return (entry){
	    .gsi = gsi, .type = KVM_IRQ_ROUTING_HV_SINT, .u.hv_sint = {.vcpu = vcpu, .sint = sint}};
}

static int build_one(entry e, bool has_chips)
{
	return build(&e, 1, has_chips);
}

static int build_two(entry a, entry b)
{
	const entry e[] = {a, b};

	return build(e, 2, true);
}

static u32 routes_of(u32 gsi)
{
	return rt->start[gsi + 1] - rt->start[gsi];
}

static void test_borders(void)
{
	entry e = msi(3, 0x31);

	CHECK(!build(NULL, 0, true) && !routes_of(0) && !routes_of(CB_MAX_ROUTES - 1),
	      "an empty table leads nowhere");
	CHECK(!build_one(msi(CB_MAX_ROUTES - 1, 0x31), false) && routes_of(CB_MAX_ROUTES - 1) == 1,
	      "the last GSI can have a message");
	CHECK(build_one(msi(CB_MAX_ROUTES, 0x31), false) == -EINVAL &&
		  build_one(msi(~0u, 0x31), false) == -EINVAL,
	      "the GSI behind it cannot");
	e.flags = 1;
	CHECK(build_one(e, true) == -EINVAL, "flags are refused");
	e = msi(3, 0x31);
	e.type = KVM_IRQ_ROUTING_HV_SINT + 1;
	CHECK(build_one(e, true) == -EINVAL, "other kinds of routes are refused");
	CHECK(build_one(pin(3, KVM_IRQCHIP_IOAPIC, 3), false) == -EINVAL,
	      "without chips in the kernel there are no pins");
	CHECK(!build_one(pin(3, KVM_IRQCHIP_IOAPIC, 23), true) &&
		  build_one(pin(3, KVM_IRQCHIP_IOAPIC, 24), true) == -EINVAL,
	      "an IOAPIC has 24 pins");
	CHECK(!build_one(pin(3, KVM_IRQCHIP_PIC_SLAVE, 7), true) &&
		  build_one(pin(3, KVM_IRQCHIP_PIC_SLAVE, 8), true) == -EINVAL,
	      "a PIC has eight");
	CHECK(build_one(pin(3, KVM_NR_IRQCHIPS, 0), true) == -EINVAL &&
		  build_one(pin(3, ~0u, ~0u), true) == -EINVAL,
	      "there are three chips");
}

static void test_together(void)
{
	CHECK(!build_two(pin(9, KVM_IRQCHIP_PIC_MASTER, 1), pin(9, KVM_IRQCHIP_IOAPIC, 2)) &&
		  routes_of(9) == 2 && rt->gsi_of[KVM_IRQCHIP_IOAPIC][2] == 9 &&
		  rt->gsi_of[KVM_IRQCHIP_PIC_MASTER][1] == 9 &&
		  rt->gsi_of[KVM_IRQCHIP_IOAPIC][9] == NO_GSI,
	      "a GSI may lead to a pin of each of several chips");
	CHECK(build_two(pin(9, KVM_IRQCHIP_IOAPIC, 1), pin(9, KVM_IRQCHIP_IOAPIC, 2)) == -EINVAL,
	      "but not to two of one chip");
	CHECK(build_two(msi(9, 1), msi(9, 1)) == -EINVAL, "nor to two messages");
	CHECK(build_two(msi(9, 1), pin(9, KVM_IRQCHIP_IOAPIC, 2)) == -EINVAL &&
		  build_two(pin(9, KVM_IRQCHIP_IOAPIC, 2), msi(9, 1)) == -EINVAL,
	      "nor to a message and a pin, in either order");
	CHECK(!build_two(msi(9, 0x1234), msi(8, 0x5678)) && routes_of(8) == 1 &&
		  rt->route[rt->start[8]].data == 0x5678 &&
		  rt->route[rt->start[9]].address == 0x100fee01000,
	      "a message is kept with all of its address");
	CHECK(!build_two(sint(9, 3, 2), msi(8, 1)) && rt->route[rt->start[9]].chip == CHIP_SINT &&
		  rt->route[rt->start[9]].address == 3 && rt->route[rt->start[9]].data == 2,
	      "a SINT is one of a vCPU's");
	CHECK(build_two(sint(9, 3, 2), sint(9, 3, 2)) == -EINVAL &&
		  build_two(sint(9, 3, 2), msi(9, 1)) == -EINVAL &&
		  build_two(pin(9, KVM_IRQCHIP_IOAPIC, 2), sint(9, 3, 2)) == -EINVAL,
	      "and stands alone, as a message does");
}

/* All GSIs at once, in random order: each leads to its own message. */
static void test_full(void)
{
	static entry e[CB_MAX_ROUTES + 1];
	u32 bad = 0;

	for (u32 i = 0; i < CB_MAX_ROUTES; i++) {
		u32 k = rand() % (i + 1);

		e[i] = e[k];
		e[k] = msi(i, i ^ 0x5a5a);
	}
	CHECK(!build(e, CB_MAX_ROUTES, false), "as many routes as there are GSIs are taken");
	for (u32 i = 0; i < CB_MAX_ROUTES; i++)
		bad += routes_of(i) != 1 || rt->route[rt->start[i]].data != (i ^ 0x5a5a);
	CHECK(!bad, "each GSI leads to its own message");
	CHECK(build(e, CB_MAX_ROUTES + 1, false) == -EINVAL, "one more is refused");
}

/* Whom an acknowledgement is for. */
static void test_acks(void)
{
	const entry e[] = {pin(2, KVM_IRQCHIP_IOAPIC, 23),
			   pin(2, KVM_IRQCHIP_PIC_MASTER, 7),
			   pin(3, KVM_IRQCHIP_PIC_SLAVE, 1),
			   pin(5, KVM_IRQCHIP_IOAPIC, 5),
			   pin(6, KVM_IRQCHIP_IOAPIC, 5),
			   sint(7, 3, 4),
			   msi(8, 0x31)};

	if (build(e, ARRAY_SIZE(e), true))
		abort();
	CHECK(routes_pins(rt, 2) == (1u << 23 | 1ull << (PIN_PIC + 7)) &&
		  routes_pins(rt, 3) == 1ull << (PIN_PIC + 9),
	      "a GSI is acknowledged at its pins of IOAPIC and PICs");
	CHECK(!routes_pins(rt, 5) && routes_pins(rt, 6) == 1u << 5,
	      "if two have one pin, the later one is");
	CHECK(!routes_pins(rt, 7) && !routes_pins(rt, 8) && !routes_pins(rt, 9),
	      "others have none");
	CHECK(rt->has_sints && routes_leads_to_sint(rt, 7) && !routes_leads_to_sint(rt, 8) &&
		  !routes_leads_to_sint(rt, 9),
	      "whether there are SINTs is known");
	CHECK(routes_is_sint(rt, 7, 3) && !routes_is_sint(rt, 7, 4) && !routes_is_sint(rt, 8, 0) &&
		  !routes_is_sint(rt, 2, 0) && !routes_is_sint(rt, 9, 0),
	      "a SINT is its vCPU's");
}

/* Would user space's table, entry by entry, be taken? */
static bool is_good(const entry *e, u32 n)
{
	for (u32 i = 0; i < n; i++)
		for (u32 k = 0; k < i; k++)
			if (e[k].gsi == e[i].gsi &&
			    (e[k].type == KVM_IRQ_ROUTING_MSI || e[i].type == KVM_IRQ_ROUTING_MSI ||
			     e[k].u.irqchip.irqchip == e[i].u.irqchip.irqchip))
				return false;
	return true;
}

static bool is_there(const entry *e)
{
	for (u32 i = rt->start[e->gsi]; i < rt->start[e->gsi + 1]; i++) {
		const struct route *r = &rt->route[i];

		if (e->type == KVM_IRQ_ROUTING_MSI
			? r->chip == CHIP_MSI && r->data == e->u.msi.data
			: r->chip == e->u.irqchip.irqchip && r->pin == e->u.irqchip.pin)
			return true;
	}
	return false;
}

static void test_random(void)
{
	u32 refused = 0, bad = 0;
	entry e[12];

	for (u32 round = 0; round < 5000; round++) {
		u32 n = rand() % 12, missing = 0;
		int r;

		for (u32 i = 0; i < n; i++)
			e[i] = rand() % 2 ? msi(rand() % 24, rand())
					  : pin(rand() % 24, rand() % 3, rand() % 8);
		r = build(e, n, true);
		refused += r != 0;
		bad += (r == 0) != is_good(e, n);
		for (u32 i = 0; !r && i < n; i++)
			missing += !is_there(&e[i]);
		bad += missing != 0;
	}
	CHECK(!bad, "random tables are taken or refused, and lead where they say");
	CHECK(refused > 500 && refused < 4500, "some are taken and some refused");
}

int main(void)
{
	srand(1);
	test_borders();
	test_together();
	test_full();
	test_acks();
	test_random();
	free(rt);
	return test_end();
}
