/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Basic types and helpers shared by every file of the hypervisor and its host tests. Leaf header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t s8;
typedef int16_t s16;
typedef int32_t s32;
typedef int64_t s64;

/*
 * Host-physical and guest-physical addresses are different types so that mixing them does not
 * compile.
 */
typedef struct {
	u64 v;
} hpa_t;
typedef struct {
	u64 v;
} gpa_t;

static inline hpa_t hpa(u64 v)
{
	return (hpa_t){v};
}
static inline gpa_t gpa(u64 v)
{
	return (gpa_t){v};
}

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ul
#define PAGE_MASK  (~(PAGE_SIZE - 1))

#define BIT(n)		    (1ull << (n))
#define GENMASK(hi, lo)	    ((~0ull >> (63 - (hi))) & (~0ull << (lo)))
#define FIELD_GET(mask, v)  (((v) & (mask)) / ((mask) & -(mask)))
#define FIELD_PREP(mask, v) (((u64)(v) * ((mask) & -(mask))) & (mask))

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
/* What another CPU may change is read once: the value that was compared is the one given. */
#define MIN(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(1 ? (a) : (b)) a_ = (a), b_ = (b);                                      \
		a_ < b_ ? a_ : b_;                                                                 \
	})
#define MAX(a, b)                                                                                  \
	({                                                                                         \
		__typeof__(1 ? (a) : (b)) a_ = (a), b_ = (b);                                      \
		a_ > b_ ? a_ : b_;                                                                 \
	})
#define ALIGN_UP(x, a)	 (((x) + (a)-1) & ~((__typeof__(x))(a)-1))
#define ALIGN_DOWN(x, a) ((x) & ~((__typeof__(x))(a)-1))
#define IS_ALIGNED(x, a) (((x) & ((a)-1)) == 0)

#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

#define __packed       __attribute__((packed))
#define __aligned(n)   __attribute__((aligned(n)))
#define __noreturn     __attribute__((noreturn))
#define __noinline     __attribute__((noinline))
#define __printf(a, b) __attribute__((format(printf, a, b)))
#define likely(x)      __builtin_expect(!!(x), 1)
#define unlikely(x)    __builtin_expect(!!(x), 0)

#define READ_ONCE(x)	 (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))

/*
 * p of `type __shared *p` points to what dom0 can write at any time. READ_ONCE, WRITE_ONCE, atomic
 * operations, shared_read() and shared_write() (hv/lib/string.h) reach it, nothing else: the test
 * `style` sees to it. shared_plain(): its address, for who does not look at what is
 * there.
 */
#ifdef CHECK_SHARED
#define __shared	__attribute__((address_space(1)))
#define shared_plain(p) ((void *)(u64)(p))
#else
#define __shared
#define shared_plain(p) ((void *)(p))
#endif

/* Errors inside the hypervisor and across hypercalls: negated Linux errno values. */
#define EPERM	   1
#define ENOENT	   2
#define EINTR	   4
#define EIO	   5
#define E2BIG	   7
#define EAGAIN	   11
#define ENOMEM	   12
#define EFAULT	   14
#define EBUSY	   16
#define EEXIST	   17
#define ENODEV	   19
#define EINVAL	   22
#define ENOSPC	   28
#define ENOSYS	   38
#define EOPNOTSUPP 95
#define EDQUOT	   122

#define MAX_CPUS  512  /* as CORBEL_MAX_CPUS */
#define VM_VCPUS  1024 /* of one VM, at most; dom0 has one for each CPU */
#define MAX_VCPUS 2048 /* of all VMs together; vCPU ids are below this */
#define MAX_VMS	  256
