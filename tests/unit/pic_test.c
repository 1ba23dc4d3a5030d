/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/guest/pic.c hv/guest/i8254.c tests/unit/rest.c */
/*
 * The pair of 8259A as a PC's firmware and kernels use it, what dom0 drives and hears of it, and
 * states that no guest can bring about, which a VMM may set.
 */
#include <string.h>

#include "hv/cpu/time.h"
#include "hv/guest/apic_ids.h"
#include "hv/guest/kick.h"
#include "hv/guest/pic.h"
#include "hv/guest/vcpu.h"
#include "hv/guest/vm.h"
#include "test.h"

static struct cpu cpu;
static struct vm vm;
static struct vcpu boot_cpu = {.vm = &vm};
static bool has_boot_cpu;
static u32 told, requests;

struct cpu *this_cpu(void)
{
	return &cpu;
}

struct vcpu *vm_vcpu_by_apic(struct vm *of, u32 apic_id)
{
	return has_boot_cpu && of == &vm && apic_id == 3 ? &boot_cpu : NULL;
}

void vcpu_request(struct vcpu *v, u64 what)
{
	requests++;
	vcpu_note(v, what);
}

static s64 clock_ns;

u64 tsc_to_ns(u64 ticks)
{
	return clock_ns;
}

static s64 call(u64 op, u64 a, u64 b, u64 c)
{
	return pic_call(&vm, (const u64[]){0, op, a, b, c});
}

static u64 line(u32 n, bool level)
{
	return call(CORBEL_PIC_LINE, n, level, 0);
}

/* As the module does it: whoever waits for a line's end has been told when it calls. */
static void out(u16 port, u8 val)
{
	u32 now = pic_access(&vm, port, false, &val);

	told |= now;
	if ((u16)now)
		call(CORBEL_PIC_TELL, vm.pic.wanted, 0, 0);
}

static u8 in(u16 port)
{
	u8 val = 0xa5;

	told |= pic_access(&vm, port, true, &val);
	return val;
}

static bool intr(void)
{
	return boot_cpu.due & DUE_EXTINT;
}

static s32 inta(void)
{
	return pic_inta(&vm, &told);
}

static struct corbel_pic *chip(u32 n)
{
	return &vm.pic.chip[n];
}

static void reset_all(void)
{
	memset(&vm, 0, sizeof(vm));
	vm.flags = CORBEL_VM_LAPIC | CORBEL_VM_PIC;
	vm.bsp_apic_id = 3;
	pic_init(&vm.pic);
	boot_cpu.due = 0;
	boot_cpu.stop_reason = 0;
	has_boot_cpu = true;
	call(CORBEL_PIC_TELL, 0xffff | CORBEL_PIC_UNMASKED, 0, 0);
}

static void init(u8 icw4)
{
	reset_all();
	out(0x20, 0x11), out(0x21, 0x20), out(0x21, 0x04), out(0x21, icw4);
	out(0xa0, 0x11), out(0xa1, 0x28), out(0xa1, 0x02), out(0xa1, icw4);
	told = 0;
}

static void test_basic(void)
{
	init(1);
	CHECK(!intr() && inta() < 0, "no request, no INTR and no vector");
	CHECK((line(4, true) & CORBEL_PIC_DONE) == CORBEL_PIC_RAISED && intr(),
	      "an edge raises INTR");
	CHECK((line(4, true) & CORBEL_PIC_DONE) == CORBEL_PIC_HAD,
	      "an edge that is pending already is coalesced");
	line(4, false);
	CHECK(intr(), "an edge stays latched");
	CHECK(inta() == 0x24, "INTA gives base + line");
	CHECK(!intr() && chip(0)->isr == 0x10, "it is in service, not pending");
	line(5, true);
	CHECK(!intr(), "a less urgent line waits");
	line(1, true);
	CHECK(intr() && inta() == 0x21 && !told, "a more urgent line nests");
	out(0x20, 0x20);
	CHECK(told == 0x02 && chip(0)->isr == 0x10, "a non-specific EOI ends the most urgent");
	out(0x20, 0x64);
	CHECK(told == 0x12 && intr(), "a specific EOI ends that line, and the next comes through");
	CHECK(inta() == 0x25, "which is the one that waited");
	told = 0;
	out(0x20, 0x63);
	CHECK(!told && chip(0)->isr == 0x20, "an EOI of what is not in service ends nothing");
	out(0x20, 0x0a);
	CHECK(inta() < 0 && in(0x20) == 0, "nothing is left");
}

static void test_slave(void)
{
	init(1);
	line(12, true);
	CHECK(intr() && inta() == 0x2c, "a slave's line gives the slave's vector");
	CHECK(chip(0)->isr == 0x04 && chip(1)->isr == 0x10, "both chips have it in service");
	line(3, true);
	CHECK(!intr(), "the cascade blocks what is less urgent than line 2");
	line(8, true);
	CHECK(!intr(), "and, without special fully nested mode, a more urgent line of the slave");
	out(0xa0, 0x20);
	out(0x20, 0x20);
	CHECK(told == (1u << 12 | 1u << 2) && inta() == 0x28, "EOIs to both let it through");
	init(0x11);
	line(12, true), inta(), line(8, true);
	CHECK(intr() && inta() == 0x28, "in that mode it is let through at once");
}

static void test_mask(void)
{
	init(1);
	out(0x21, 0xff);
	CHECK((line(3, true) & CORBEL_PIC_DONE) == CORBEL_PIC_MASKED && !intr(),
	      "a masked line does not raise INTR");
	CHECK(in(0x21) == 0xff && !told, "the mask reads back");
	out(0x21, 0xf6);
	CHECK(intr() && told == CORBEL_PIC_UNMASKED,
	      "unmasking delivers the latched edge, and the timer's is told");
	told = 0;
	out(0x21, 0xf7);
	CHECK(!told, "masking is not");
	out(0x21, 0xff);
	CHECK(!intr() && inta() < 0, "masked again, it is withdrawn");
	out(0x21, 0xf7);
	out(0x20, 0x0a);
	CHECK(in(0x20) == 0x08, "IRR can be read");
	CHECK(inta() == 0x23, "it is taken");
	out(0x20, 0x0b);
	CHECK(in(0x20) == 0x08 && in(0x20) == 0x08, "ISR can be read, and again");
	out(0x20, 0x08);
	CHECK(in(0x20) == 0x08, "a command that selects neither leaves that as it is");
}

static void test_level(void)
{
	init(1);
	out(0x4d1, 0xff);
	out(0x4d0, 0xff);
	CHECK(in(0x4d1) == 0xde && in(0x4d0) == 0xf8,
	      "timer, keyboard, cascade, RTC and FPU lines stay edge-triggered");
	line(10, true);
	CHECK(inta() == 0x2a, "a level is taken");
	out(0xa0, 0x20), out(0x20, 0x20);
	CHECK(intr(), "a level still high asks again after EOI");
	line(10, false);
	CHECK(!intr() && inta() < 0, "a level gone low asks no more");
	line(10, true), line(1, true);
	out(0x20, 0x11);
	CHECK(chip(1)->irr == 0x04 && !(chip(0)->irr & 2) && chip(0)->elcr == 0xf8,
	      "the first command word forgets edges, not levels, nor which is which");
	CHECK((line(1, true) & CORBEL_PIC_DONE) == CORBEL_PIC_RAISED,
	      "and a line that is high is an edge again");
}

static void test_modes(void)
{
	init(3);
	line(0, true);
	CHECK(inta() == 0x20 && chip(0)->isr == 0 && told == 1, "automatic EOI ends at INTA");
	out(0x20, 0x80);
	line(0, false), line(0, true), inta();
	CHECK(chip(0)->priority_add == 1, "and rotates, if it is to");
	out(0x20, 0x00);
	CHECK(!chip(0)->rotate_on_auto_eoi, "until it is not to any more");
	init(1);
	out(0x20, 0xc4); /* lowest priority: line 4 */
	line(4, true), line(5, true);
	CHECK(inta() == 0x25, "rotation makes line 5 the most urgent");
	line(6, true);
	CHECK(!intr(), "the order is that of rotation");
	out(0x20, 0xa0);
	CHECK(chip(0)->priority_add == 6 && inta() == 0x26, "an EOI that rotates goes on with 6");
	out(0x20, 0xe1);
	CHECK(chip(0)->priority_add == 2 && chip(0)->isr == 0x40, "or as it names a line");
	init(1);
	line(1, true);
	inta();
	out(0x21, 0x02), out(0x20, 0x68);
	line(6, true);
	CHECK(intr(), "special mask mode lets the less urgent pass");
	out(0x20, 0x48);
	CHECK(!intr() && !chip(0)->special_mask, "without it not");
	init(1);
	line(6, true);
	out(0x20, 0x0c);
	CHECK(in(0x20) == 0x86 && chip(0)->isr == 0x40 && !intr(), "a poll is an INTA cycle");
	CHECK(in(0x20) == 0x00, "once");
	out(0xa0, 0x0c);
	CHECK(in(0xa1) == 0x07 && in(0xa1) == 0x00, "of a chip with nothing it says line 7");
	out(0x20, 0x10), out(0x21, 0x47), out(0x21, 0);
	CHECK(chip(0)->irq_base == 0x40 && in(0x21) == 0 && !chip(0)->init_state,
	      "without ICW4 there are two more, and no bit of ICW2 that is not the vector's");
	out(0x21, 0x5a);
	CHECK(in(0x21) == 0x5a, "then it is the mask again");
}

static void test_told(void)
{
	static struct corbel_vcpu_page page;

	init(1);
	call(CORBEL_PIC_TELL, 0x0010, 0, 0);
	line(3, true), inta(), out(0x20, 0x20);
	out(0x21, 0xff), out(0x21, 0);
	CHECK(!told, "who has not asked for a line's end, or the mask, does not hear of it");
	line(4, true), inta(), out(0x20, 0x20);
	CHECK(told == 0x10, "who has does");
	told = 0;
	line(4, false), line(4, true), out(0x20, 0x11);
	CHECK(told == 0x10 && !intr(), "also of an edge that ICW1 forgets");
	init(1);
	told = 0;
	line(4, true), inta(), out(0x20, 0x11);
	CHECK(told == 0x10, "and of what was in service then");
	told = 0x10;
	boot_cpu.page = (struct corbel_vcpu_page __shared *)&page;
	pic_tell(&boot_cpu, 0);
	CHECK(!boot_cpu.stop_reason, "nothing to tell does not stop a vCPU");
	pic_tell(&boot_cpu, told);
	CHECK(boot_cpu.stop_reason == CORBEL_EXIT_PIC && page.pic.what == 0x10,
	      "what is to be told does");
}

/* An EOI of another CPU: the boot CPU is to see the line when its listener has lowered it. */
static void test_told_first(void)
{
	u8 eoi = 0x20;

	init(1);
	out(0x4d0, 0x20);
	line(5, true), inta();
	CHECK(pic_access(&vm, 0x20, false, &eoi) == 0x20 && !intr(),
	      "a level whose end is told does not ask again before that");
	line(5, false);
	CHECK(!intr() && inta() < 0, "nor when it has been lowered");
	line(5, true), inta();
	pic_access(&vm, 0x20, false, &eoi);
	call(CORBEL_PIC_TELL, vm.pic.wanted, 0, 0);
	CHECK(intr() && inta() == 0x25, "but when it has not");
	call(CORBEL_PIC_TELL, 0, 0, 0);
	pic_access(&vm, 0x20, false, &eoi);
	CHECK(intr(), "and at once where nobody is told");
}

static void test_boot_cpu(void)
{
	u32 before;

	init(1);
	has_boot_cpu = false;
	line(4, true);
	CHECK(!intr(), "without a boot CPU nobody is told");
	has_boot_cpu = true;
	line(0, false);
	CHECK(intr(), "with the next call it is");
	before = requests;
	line(0, true);
	CHECK(requests == before, "and not again while INTR stays");
}

static void test_sleep(void)
{
	u8 val = 0xff;

	init(1);
	CHECK(!(call(CORBEL_PIC_LINE, 4, true, true) & CORBEL_PIC_SLEEPS), "awake, they stay so");
	out(0x21, 0xff);
	CHECK(!(call(CORBEL_PIC_LINE, 4, false, true) & CORBEL_PIC_SLEEPS),
	      "also with one chip's lines masked");
	out(0xa1, 0xff);
	CHECK(!(line(4, false) & CORBEL_PIC_SLEEPS), "with all masked, if they may not sleep");
	CHECK(call(CORBEL_PIC_LINE, 4, false, true) & CORBEL_PIC_SLEEPS, "but sleep if they may");
	told = 0;
	CHECK(pic_access(&vm, 0x21, false, &val) == CORBEL_PIC_ASLEEP,
	      "then an access has to be told");
	val = 0;
	pic_access(&vm, 0x21, false, &val);
	CHECK(chip(0)->imr == 0xff && in(0x20) == 0xa5 && told == CORBEL_PIC_ASLEEP,
	      "and has done nothing");
	line(5, true);
	CHECK(!(call(CORBEL_PIC_LINE, 6, false, true) & CORBEL_PIC_SLEEPS),
	      "awake again, they do not fall asleep before that");
	pic_access(&vm, 0x21, false, &val);
	CHECK(chip(0)->imr == 0 && intr() && inta() == 0x24,
	      "after a line's call that wakes them it is done");
	out(0x21, 0xff);
	call(CORBEL_PIC_LINE, 5, true, true);
	told = 0;
	CHECK(in(0x21) == 0xa5 && told == CORBEL_PIC_ASLEEP && !call(CORBEL_PIC_TELL, 0, 0, 0) &&
		  in(0x21) == 0xff,
	      "any other call wakes them, too");
}

static void set_pit(const struct corbel_pit *to)
{
	u32 word, wrong = 0;

	for (u32 i = 0; i < 20; i++) {
		memcpy(&word, (const u8 *)to + 4 * i, 4);
		wrong += call(CORBEL_PIT_SET, i, word, 0) != word;
	}
	CHECK(!wrong, "20 words are taken");
}

static void get_pit(struct corbel_pit *to, u32 first)
{
	u32 word;

	for (u32 i = first; i < 20; i++) {
		word = call(CORBEL_PIT_GET, i, 0, 0);
		memcpy((u8 *)to + 4 * i, &word, 4);
	}
}

/* The guest goes on while its state is read, or set. */
static void test_pit_moved(void)
{
	struct corbel_pit was, got;

	init(1);
	call(CORBEL_PIT_ON, 0, 0, 0);
	clock_ns = 5000;
	out(0x43, 0x54), out(0x41, 7);
	out(0x43, 0x90), out(0x42, 9);
	was = vm.pic.pit;
	get_pit(&got, 0);
	clock_ns = 6000;
	out(0x43, 0x52), out(0x41, 8), out(0x42, 10);
	get_pit(&got, 1);
	CHECK(!memcmp(&got, &was, sizeof(got)) && call(CORBEL_PIT_AGE, 1, 0, 0) == 1000 &&
		  call(CORBEL_PIT_AGE, 2, 0, 0) == 1000,
	      "its state is read as it was when its first word was read");
	get_pit(&got, 0);
	CHECK(got.ch[1].count == 8 && got.ch[2].count == 10 && !call(CORBEL_PIT_AGE, 1, 0, 0),
	      "and is another when that is read again");
	call(CORBEL_PIT_SET, 6, 99, 0);
	CHECK(vm.pic.pit.ch[1].count == 8, "it is as it was until all is set");
	out(0x41, 11);
	set_pit(&was);
	CHECK(vm.pic.pit.ch[1].count == 7 && vm.pic.pit.ch[2].count == 9 &&
		  vm.pic.pit.ch[1].count_load_time == 6000,
	      "and then as it has been set, from now on");
	clock_ns = 0;
}

static void test_pit(void)
{
	static const struct corbel_pit strange = {
	    .ch[0 ... 2] = {.mode = 0xee, .count_latched = 0xee, .rw_mode = 0xee, .read_state = 7}};
	struct corbel_pit hpet = {.flags = CORBEL_PIT_HPET}, got;
	u32 word;

	init(1);
	CHECK(!pit_has_port(&vm.pic, 0x40) && call(CORBEL_PIC_IO, 0x40, 1, 0) == -EINVAL,
	      "without an 8254 its ports are another's");
	call(CORBEL_PIT_ON, 0, 0, 0);
	CHECK(pit_has_port(&vm.pic, 0x40) && pit_has_port(&vm.pic, 0x43) &&
		  !pit_has_port(&vm.pic, 0x44) && !pit_has_port(&vm.pic, 0x61),
	      "with one it has four ports");
	call(CORBEL_PIT_ON, 1, 0, 0);
	CHECK(pit_has_port(&vm.pic, 0x61), "or five");
	set_pit(&hpet);
	CHECK(!call(CORBEL_PIT_PERIOD, 0, 0, 0), "none in an HPET's place makes interrupts");
	hpet.flags = 0;
	set_pit(&hpet);
	out(0x43, 0x34), out(0x40, 0x9c);
	CHECK(!told, "half a count is no news");
	out(0x40, 0x2e);
	CHECK(told == CORBEL_PIC_PIT && (u64)call(CORBEL_PIT_PERIOD, 0, 0, 0) >> 1 == 10000150 &&
		  call(CORBEL_PIT_PERIOD, 0, 0, 0) & 1,
	      "a count of channel 0 is, and its period");
	told = 0;
	clock_ns = 1000000;
	word = in(0x40);
	CHECK((word | in(0x40) << 8) == 11932 - 1193 && !told, "it is read as time passes");
	call(CORBEL_PIT_GET, 0, 0, 0);
	CHECK(call(CORBEL_PIT_AGE, 0, 0, 0) == 1000000 && call(CORBEL_PIT_AGE, 3, 0, 0) == -EINVAL,
	      "how long ago it was loaded is told, of three channels");
	CHECK(!(in(0x61) & 2), "port 0x61 is read");
	out(0x61, 3);
	CHECK(in(0x61) & 2 && !told, "and written");
	out(0x21, 0xff), out(0xa1, 0xff);
	call(CORBEL_PIC_LINE, 4, false, true);
	call(CORBEL_PIT_PERIOD, 0, 0, 0), in(0x40);
	CHECK(vm.pic.asleep && !told, "the PICs beside it sleep on");
	set_pit(&strange);
	get_pit(&got, 0);
	for (u32 i = 0; i < 3; i++) {
		CHECK(got.ch[i].count_load_time == 1000000, "the time is that at which it was set");
		got.ch[i].count_load_time = 0;
	}
	CHECK(!memcmp(&got, &strange, sizeof(got)), "its state is set and read, but for the time");
	for (u16 port = 0x40; port < 0x44; port++)
		in(port), in(port), out(port, 0xff);
	CHECK(vm.pic.pit.ch[0].count, "whatever it is, nothing breaks");
	CHECK(call(CORBEL_PIT_GET, 20, 0, 0) == -EINVAL &&
		  call(CORBEL_PIT_SET, 20, 0, 0) == -EINVAL,
	      "it has 20 words");
}

/* The same of each of the two chips. */
static void test_chip_moved(void)
{
	const struct corbel_pic asks = {.irr = 0x10, .irq_base = 0x20};
	u32 word;

	reset_all();
	memcpy(&word, &asks, sizeof(word));
	call(CORBEL_PIC_SET, 0, word, 0);
	CHECK(!intr() && !chip(0)->irr,
	      "a request that is set has no vector yet, and raises nothing");
	for (u32 i = 1; i < 4; i++) {
		memcpy(&word, (const u8 *)&asks + 4 * i, sizeof(word));
		call(CORBEL_PIC_SET, i, word, 0);
	}
	CHECK(intr() && inta() == 0x24, "until all of its chip is set");
	call(CORBEL_PIC_GET, 0, 0, 0);
	out(0x20, 0x11), out(0x21, 0x38);
	CHECK(call(CORBEL_PIC_GET, 1, 0, 0) >> 8 == 0x20 && call(CORBEL_PIC_GET, 0, 0, 0) >= 0 &&
		  call(CORBEL_PIC_GET, 1, 0, 0) >> 8 == 0x38,
	      "it is read as it was when its first word was");
}

static void test_calls(void)
{
	const u64 not_16[] = {0, CORBEL_PIC_LINE, 16, 1, 0};
	struct corbel_pic both[2], again[2];
	u32 word, wrong = 0;

	init(1);
	line(4, true);
	CHECK(CORBEL_PIC_IMR(line(4, true)) == 0 && !CORBEL_PIC_ELCR(line(4, true)), "at first");
	out(0x21, 0x12), out(0xa1, 0x34), out(0x4d0, 0x50), out(0x4d1, 0x06);
	CHECK(CORBEL_PIC_IMR(line(4, true)) == 0x3412 && CORBEL_PIC_ELCR(line(4, true)) == 0x0650,
	      "a line's call says which are masked and which are levels");
	memcpy(both, vm.pic.chip, sizeof(both));
	for (u32 i = 0; i < 8; i++) {
		word = call(CORBEL_PIC_GET, i, 0, 0);
		memcpy((u8 *)again + 4 * i, &word, 4);
	}
	CHECK(!memcmp(both, again, sizeof(both)), "the state is read word by word");
	reset_all();
	for (u32 i = 0; i < 8; i++) {
		memcpy(&word, (u8 *)both + 4 * i, 4);
		wrong += call(CORBEL_PIC_SET, i, word, 0) != word;
	}
	CHECK(!wrong && !memcmp(both, vm.pic.chip, sizeof(both)), "and set");
	out(0x21, 0);
	CHECK(intr() && inta() == 0x24, "and what was pending is taken in another VM");
	CHECK(pic_call(&vm, not_16) == -EINVAL && call(CORBEL_PIC_LINE, ~0ull, 0, 0) == -EINVAL &&
		  call(CORBEL_PIC_GET, 8, 0, 0) == -EINVAL &&
		  call(CORBEL_PIC_SET, 1ull << 32, 0, 0) == -EINVAL &&
		  call(CORBEL_PIT_SET + 1, 0, 0, 0) == -EINVAL && call(~0ull, 0, 0, 0) == -EINVAL,
	      "there are 16 lines, 8 words and 9 calls");
	CHECK(call(CORBEL_PIC_IO, 0x22, 1, 0) == -EINVAL &&
		  call(CORBEL_PIC_IO, 0x10020, 1, 0) == -EINVAL &&
		  call(CORBEL_PIC_IO, 0x4d2, 1, 0) == -EINVAL,
	      "ports are its own");
	call(CORBEL_PIC_TELL, 0xffff, 0, 0);
	CHECK(call(CORBEL_PIC_IO, 0x21, 0, 0x77) == 0x77 &&
		  call(CORBEL_PIC_IO, 0x21, 1, 0) == 0x77 &&
		  call(CORBEL_PIC_IO, 0x20, 0, 0x64) == (0x64 | 0x10 << 8),
	      "through which dom0 reads and writes for the guest, and is told");
	vm.flags = CORBEL_VM_LAPIC;
	CHECK(call(CORBEL_PIC_LINE, 0, 0, 0) == -ENOENT &&
		  call(CORBEL_PIC_IO, 0x20, 1, 0) == -ENOENT,
	      "a VM without them has none");
}

static void test_ports(void)
{
	u32 n = 0;

	for (u32 port = 0; port < 0x10000; port++)
		n += pic_has_port(port);
	CHECK(n == 6 && pic_has_port(0x20) && pic_has_port(0x21) && pic_has_port(0xa0) &&
		  pic_has_port(0xa1) && pic_has_port(0x4d0) && pic_has_port(0x4d1),
	      "they have six ports");
}

/* Any state, and any accesses after it: whatever comes of it, lines are lines. */
static void test_any_state(void)
{
	u32 seed = 1, wrong = 0, taken = 0;

	reset_all();
	for (u32 i = 0; i < 200000; i++) {
		s32 vector;

		seed = seed * 1664525 + 1013904223;
		if (i % 16 == 0)
			call(CORBEL_PIC_SET, seed >> 29, seed * 2654435761u, 0);
		else if (i % 3)
			out((const u16[]){0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1}[(seed >> 28) % 6],
			    seed >> 16);
		else
			line(seed >> 28, seed >> 27 & 1);
		in((seed >> 9) & 1 ? 0x20 : 0xa0);
		wrong += intr() != vm.pic.intr;
		vector = seed >> 8 & 1 ? inta() : -1;
		wrong += vector < -1 || vector > 255;
		taken += vector >= 0;
	}
	CHECK(!wrong && taken > 1000, "any state: %u wrong, %u interrupts", wrong, taken);
}

int main(void)
{
	test_basic();
	test_slave();
	test_mask();
	test_level();
	test_modes();
	test_told();
	test_told_first();
	test_boot_cpu();
	test_sleep();
	test_pit();
	test_pit_moved();
	test_chip_moved();
	test_calls();
	test_ports();
	test_any_state();
	return test_end();
}
