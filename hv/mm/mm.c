/* SPDX-License-Identifier: GPL-2.0-only */
/* The hypervisor's own address space; the picture is in mm.h. One set of tables for all CPUs. */
#include "hv/mm/mm.h"
#include "boot/boot.h"
#include "boot/image.h"
#include "hv/lib/asm.h"
#include "hv/lib/cpuid_bits.h"
#include "hv/lib/lock.h"
#include "hv/lib/log.h"
#include "hv/lib/x86.h"
#include "hv/mm/pt.h"

#define WINDOW_MAX   BIT(44) /* each of HV_MMIO and HV_BOOT has at least this many bytes */
#define STACK_SLOTS  8u
#define STACK_STRIDE (2 * MM_STACK_SIZE) /* the lower half stays unmapped: the guard */
#define DATA	     (PT_R | PT_W | PT_DIRTY)

u32 phys_bits = 36;

static struct pt host;
static struct lock host_lock = LOCK_INIT(LOCK_HOSTMAP);
static u64 mmio_next = HV_MMIO;
static u64 *temp_entries; /* the table of HV_TEMP */
static u64 temp_bits;	  /* of an entry, beside the address */
static enum { MM_EARLY, MM_BOOT, MM_DONE } phase;

static u64 fn_of(u64 va)
{
	return (va & GENMASK(47, 0)) >> PAGE_SHIFT;
}

void mm_read_width(void)
{
	u32 width = cpuid_read(0x80000008, 0).a & 0xff;

	if (width)
		phys_bits = MIN(MAX(width, 32u), 52u);
	pt_frames_end = BIT(phys_bits - PAGE_SHIFT);
}

static void check_cpu(void)
{
	if (!(cpuid_read(0x80000001, 0).d & CPUID_X1D_NX))
		boot_fail("this CPU has no NX, so all memory could be executed; switch NX (execute "
			  "disable) on in the firmware set-up");
}

/* Map a byte range with the largest pages that fit; what is mapped already stays as it is. */
static int map_range(u64 va, u64 pa, u64 size, u64 attr)
{
	u64 end = ALIGN_UP(pa + size, PAGE_SIZE);

	BUG_ON((va ^ pa) % PAGE_SIZE || va < HV_DIRECT);
	va = ALIGN_DOWN(va, PAGE_SIZE);
	pa = ALIGN_DOWN(pa, PAGE_SIZE);
	while (pa < end) {
		u32 order =
		    IS_ALIGNED(va | pa, PAGE_SIZE << 9) && end - pa >= PAGE_SIZE << 9 ? 9 : 0;
		int err = pt_map(&host, fn_of(va), pa >> PAGE_SHIFT, order, attr);

		if (err == -EEXIST && order) {
			order = 0;
			err = pt_map(&host, fn_of(va), pa >> PAGE_SHIFT, 0, attr);
		}
		if (err && err != -EEXIST)
			return err;
		va += PAGE_SIZE << order;
		pa += PAGE_SIZE << order;
	}
	return 0;
}

static int map_direct(u64 pa, u64 size, u64 attr)
{
	return map_range(HV_DIRECT + pa, pa, size, attr);
}

/*
 * The sections at their linked addresses, and in the direct map so that no writable alias of text
 * or rodata exists.
 */
static int map_image(void)
{
	static const struct {
		const char *start, *end;
		u64 attr;
	} sections[] = {
	    {__text_start, __text_end, PT_R | PT_X | PT_DIRTY},
	    {__rodata_start, __rodata_end, PT_R | PT_DIRTY},
	    {__data_start, __bss_end, DATA},
	};
	int err = 0;

	for (u32 i = 0; !err && i < ARRAY_SIZE(sections); i++) {
		u64 va = (u64)sections[i].start, size = (u64)sections[i].end - va;
		u64 at = virt_to_hpa(sections[i].start).v;

		err = map_range(va, at, size, sections[i].attr);
		if (!err)
			err = map_direct(at, size, sections[i].attr & ~PT_X);
	}
	return err;
}

static int map_all(void)
{
	u64 pool = boot_info.pool_start;

	if (pt_init(&host, &pt_host, NULL) || map_image() ||
	    map_direct(pool, boot_info.pool_end - pool, DATA))
		return -ENOMEM;
	temp_bits = pt_leaf_raw(&pt_host, 0, 0, DATA);
	temp_entries = pt_entry(&host, fn_of(HV_TEMP));
	return temp_entries ? 0 : -ENOMEM;
}

void mm_init(void)
{
	_Static_assert(MAX_CPUS <= PAGE_SIZE / sizeof(u64), "one table holds all temporary pages");
	BUG_ON(phase != MM_EARLY);
	check_cpu();
	if (map_all())
		boot_fail("not enough memory for the hypervisor's page tables; give more with "
			  "option hvmem=");
	mm_load_cpu();
	phase = MM_BOOT;
}

void mm_load_cpu(void)
{
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	write_cr0(read_cr0() | CR0_WP);
	write_cr3(host.root.v);
}

/* With PT_UC or PT_WC */
static void *map_device(u64 addr, u64 size, u64 type)
{
	u64 offset = addr % PAGE_SIZE, bytes = ALIGN_UP(offset + size, PAGE_SIZE), va;
	int err = -EINVAL;

	if (!size || size > WINDOW_MAX || addr >> PAGE_SHIFT >= pt_frames_end)
		return NULL;
	lock_acquire(&host_lock);
	va = mmio_next;
	if (va + bytes <= HV_MMIO + WINDOW_MAX) {
		err = map_range(va, addr, size, DATA | type);
		mmio_next += bytes; /* also after a failure: part of it may be mapped */
	}
	lock_release(&host_lock);
	return err ? NULL : (void *)(va + offset);
}

void *mm_map_mmio(u64 addr, u64 size)
{
	return map_device(addr, size, PT_UC);
}

void *mm_map_screen(u64 addr, u64 size)
{
	return map_device(addr, size, PT_WC);
}

/* This CPU's temporary page, and its entry. */
static void *temp_page(u64 **entry)
{
	u32 i = this_cpu()->index;

	BUG_ON(i >= MAX_CPUS);
	*entry = &temp_entries[i];
	return (void *)(HV_TEMP + i * PAGE_SIZE);
}

void *mm_map_temp(hpa_t page)
{
	u64 *entry;
	void *va = temp_page(&entry);
	bool used = *entry;

	WRITE_ONCE(*entry, page.v | temp_bits);
	if (used)
		invlpg(va);
	return va;
}

void mm_unmap_temp(void)
{
	u64 *entry;
	void *va = temp_page(&entry);

	WRITE_ONCE(*entry, 0);
	invlpg(va);
}

bool mm_compare(const struct mm_word *w, u32 n)
{
	const struct mm_word *end = w + n;
	u64 *entry, bits = temp_bits, differ = 0;
	u8 *va = temp_page(&entry);

	do {
		WRITE_ONCE(*entry, (w->at.v & PAGE_MASK) | bits);
		invlpg(va);
		differ |= READ_ONCE(*(u64 *)(va + w->at.v % PAGE_SIZE)) ^ w->val;
	} while (++w < end);
	WRITE_ONCE(*entry, 0);
	invlpg(va);
	return !differ;
}

void *mm_map_boot(u64 addr, u64 size)
{
	int err;

	if (!size || size > WINDOW_MAX || addr > WINDOW_MAX - size || phase == MM_DONE)
		return NULL;
	if (phase == MM_EARLY)
		return addr + size <= BIT(32) ? (void *)(HV_DIRECT + addr) : NULL;
	lock_acquire(&host_lock);
	err = map_range(HV_BOOT + addr, addr, size, DATA);
	lock_release(&host_lock);
	return err ? NULL : (void *)(HV_BOOT + addr);
}

/*
 * Only this CPU has used the window, so only its TLB is flushed. Other CPUs that have loaded the
 * tables may still have walked ahead into them: the few tables cut off stay unused for ever.
 */
void mm_boot_done(void)
{
	u64 fn = fn_of(HV_BOOT), left = WINDOW_MAX >> PAGE_SHIFT;
	bool flush = false;

	phase = MM_DONE;
	lock_acquire(&host_lock);
	while (left) {
		s64 done = pt_unmap(&host, fn, left, UINT32_MAX, &flush, NULL, NULL);

		BUG_ON(done <= 0);
		fn += (u64)done;
		left -= (u64)done;
	}
	host.cut = 0;
	write_cr3(host.root.v);
	lock_release(&host_lock);
}

int mm_map_direct(u64 addr, u64 size)
{
	int err;

	lock_acquire(&host_lock);
	err = map_direct(addr, size, DATA);
	lock_release(&host_lock);
	return err;
}

void mm_unmap_direct(u64 addr, u64 size)
{
	u64 pages = size >> PAGE_SHIFT;
	bool flush = false;
	s64 done;

	BUG_ON(phase != MM_DONE || !IS_ALIGNED(addr | size, PAGE_SIZE << 9));
	lock_acquire(&host_lock);
	done = pt_unmap(&host, fn_of(HV_DIRECT + addr), pages, UINT32_MAX, &flush, NULL, NULL);
	BUG_ON(done != (s64)pages);
	lock_release(&host_lock);
}

void mm_reap_direct(void)
{
	lock_acquire(&host_lock);
	pt_reap(&host);
	lock_release(&host_lock);
}

void *mm_alloc_stack(u32 cpu, u32 which)
{
	u64 va =
	    HV_STACKS + (cpu * STACK_SLOTS + which) * STACK_STRIDE + STACK_STRIDE - MM_STACK_SIZE;
	void *pages = pool_alloc(2, NULL);
	int err = -ENOMEM;

	BUG_ON(cpu >= MAX_CPUS || which >= STACK_SLOTS);
	_Static_assert(MM_STACK_SIZE == PAGE_SIZE << 2, "order of a stack");
	if (pages) {
		lock_acquire(&host_lock);
		err = map_range(va, virt_to_hpa(pages).v, MM_STACK_SIZE, DATA);
		lock_release(&host_lock);
	}
	return err ? NULL : (void *)(va + MM_STACK_SIZE);
}
