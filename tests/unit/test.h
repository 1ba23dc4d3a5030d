/* SPDX-License-Identifier: GPL-2.0-only */
/* Unit-test harness: CHECK() prints one line per behaviour; main ends with `return test_end();`. */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <setjmp.h>
#include <stdbool.h>

/* Report one behaviour; the printf-like description says what should hold. Returns cond. */
bool test_check(bool cond, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
#define CHECK(cond, ...) test_check(cond, __FILE__, __LINE__, __VA_ARGS__)

/* Report only a failure: for checks inside loops of many thousand rounds. */
#define CHECK_QUIET(cond, ...) ((cond) ? true : test_check(false, __FILE__, __LINE__, __VA_ARGS__))

/* Exit code of main. Fails when nothing was checked. */
int test_end(void);

/* Under ThreadSanitizer, which is slow, what has but one thread is left out. */
#ifdef __SANITIZE_THREAD__
#define ONLY_THREADS true
#else
#define ONLY_THREADS false
#endif

/* The last line that was logged, and how many there were. */
extern char test_log_text[256];
extern unsigned int test_log_lines;

extern jmp_buf test_panic_jmp;
extern bool test_panic_expected;
extern char test_panic_text[256];
/* Runs stmt; true if it ended in panic() or boot_fail(), whose text is then in test_panic_text. */
#define PANICS(stmt)                                                                               \
	({                                                                                         \
		volatile bool panicked_ = true;                                                    \
		test_panic_expected = true;                                                        \
		if (!setjmp(test_panic_jmp)) {                                                     \
			stmt;                                                                      \
			panicked_ = false;                                                         \
		}                                                                                  \
		test_panic_expected = false;                                                       \
		panicked_;                                                                         \
	})

#endif
