/* SPDX-License-Identifier: GPL-2.0-only */
/* What every host test needs in place of the machine: check counting, log and panic. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/cpu/cpu.h"
#include "hv/lib/io.h"
#include "hv/lib/log.h"
#include "hv/lib/percpu.h"
#include "hv/cpu/time.h"
#include "test.h"

jmp_buf test_panic_jmp;
bool test_panic_expected;
char test_panic_text[256];
static int checks, failures;

__attribute__((weak)) u64 rdtsc(void)
{
	return __builtin_ia32_rdtsc();
}

__attribute__((weak)) void cpuid(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	__asm__ volatile("cpuid"
			 : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d)
			 : "0"(leaf), "2"(subleaf));
}

__attribute__((weak)) void wbinvd(void)
{
}

__attribute__((weak)) void clflush(const void *line)
{
}

/* Device registers that are memory, unless a test has a device. */
__attribute__((weak)) u32 mmio_read32(const volatile void *p)
{
	return *(const volatile u32 *)p;
}

__attribute__((weak)) void mmio_write32(volatile void *p, u32 val)
{
	*(volatile u32 *)p = val;
}

/* One CPU, unless a test has its own. */
__attribute__((weak)) struct cpu *this_cpu(void)
{
	static struct cpu only;

	return &only;
}

bool test_check(bool cond, const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	checks++;
	if (!cond)
		failures++;
	printf("%sok - ", cond ? "" : "not ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	if (!cond)
		printf(" (%s:%d)", file, line);
	printf("\n");
	return cond;
}

int test_end(void)
{
	return failures || !checks;
}

char test_log_text[256];
unsigned int test_log_lines;

__attribute__((weak)) void hv_log(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(test_log_text, sizeof(test_log_text), fmt, ap);
	va_end(ap);
	test_log_lines++;
	if (!getenv("TEST_LOG"))
		return;
	printf("# log %d: ", level);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

static void __noreturn stop(const char *fmt, va_list ap)
{
	vsnprintf(test_panic_text, sizeof(test_panic_text), fmt, ap);
	if (test_panic_expected)
		longjmp(test_panic_jmp, 1);
	printf("not ok - unexpected panic: %s\n", test_panic_text);
	exit(1);
}

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	stop(fmt, ap);
}

void boot_fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	stop(fmt, ap);
}
