/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The registers that put the machine to sleep: S1 to S4 are refused, and what waits for the wake-up
 * does not wait.
 */
#include "lib.h"

#define RSDP_PLACE 0x70 /* in boot_params */
#define RSDP_RSDT  16
#define SDT_LENGTH 4
#define SDT_SIZE   36
#define FADT_EVT   56
#define FADT_CNT   64

#define SLP_TYP(n) ((u16)((n) << 10))
#define SLP_EN	   BIT(13)
#define WAK_STS	   BIT(15)

static u32 get32(u64 at)
{
	return *(const u32 *)at;
}

#define END_LINES 200

static u64 find_fadt(void)
{
	u64 rsdt = get32(*(const u64 *)(boot_params + RSDP_PLACE) + RSDP_RSDT);

	for (u32 at = SDT_SIZE; at < get32(rsdt + SDT_LENGTH); at += 4)
		if (get32(get32(rsdt + at)) == 0x50434146) /* "FACP" */
			return get32(rsdt + at);
	return 0;
}

/* The types of S3 and S4 are 1 and 2 in QEMU and in Bochs, that of S5 is 0. */
void test_sleep(void)
{
	u64 fadt = find_fadt();
	u16 cnt, evt, before;
	bool woke = true, same = true;

	if (!fadt) {
		report(false, "there is a FADT");
		return;
	}
	evt = (u16)get32(fadt + FADT_EVT);
	cnt = (u16)get32(fadt + FADT_CNT);
	outw(evt, WAK_STS);
	before = inw(cnt) & 1;
	report(!(inw(evt) & WAK_STS), "nobody has woken up");
	for (u16 type = 1; type < 8; type++) {
		outw(cnt, before | SLP_TYP(type));
		outw(cnt, (u16)(before | SLP_TYP(type) | SLP_EN));
		woke &= inw(evt) & WAK_STS && inb(evt + 1) & WAK_STS >> 8;
		outw(evt, WAK_STS);
		woke &= !(inw(evt) & WAK_STS);
		same &= (inw(cnt) & 1) == before;
	}
	report(woke, "each sleep is over at once, as the status says until it is cleared");
	report(same, "other bits are kept");
	outb(cnt + 1, (SLP_TYP(1) | SLP_EN) >> 8);
	report(inw(evt) & WAK_STS, "the upper byte alone does not do it either");
	outw(evt, WAK_STS);
	outl(cnt, before | SLP_TYP(2) | SLP_EN);
	report(inl(evt) & WAK_STS, "nor do four bytes");
	outb(evt + 1, WAK_STS >> 8);
	report(!(inw(evt) & WAK_STS), "and the machine goes on");
	outw(cnt, before);
}

/*
 * The machine ends while the hypervisor has much to say, and only that: the port at which dom0
 * could wait for it is not looked at.
 */
void test_ends(void)
{
	const char *how = option("how");
	u64 fadt = find_fadt();

	if (!how || !fadt) {
		report(false, "there is a FADT, and a way to end");
		return;
	}
	for (u32 i = 0; i < END_LINES; i++)
		hc(CORBEL_HC_DEBUG, 'h');
	switch (*how) {
	case 'c':
		outb(0xcf9, 6);
		break;
	case 'k':
		outb(0x64, 0xfe);
		break;
	case 's': /* the type of S5 is 0 in QEMU */
		outw((u16)get32(fadt + FADT_CNT), SLP_EN);
		break;
	default:
		test_triple();
	}
	delay_us(1000000);
	report(false, "the machine ends by %s", how);
}
