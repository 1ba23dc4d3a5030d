/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tools ask corbel.ko by /dev/corbel. Usable from kernel and user space. */
#ifndef CORBEL_DEVCTL_H
#define CORBEL_DEVCTL_H

#ifdef __KERNEL__
#include <linux/ioctl.h>
#include <linux/types.h>

#include "abi.h"
#else
#include <stdint.h>
#include <sys/ioctl.h>

#include "../../hv/abi.h"
#endif

struct corbel_query {  /* STAT and LOG_READ */
	uint32_t what; /* CORBEL_STAT_x, or CORBEL_QUERY_LOG */
	uint32_t index;
	uint64_t seq; /* LOG */
	uint64_t buf; /* user address */
	uint32_t len; /* in: size; out: bytes */
	uint32_t pad;
};
#define CORBEL_QUERY_LOG 0x100u
struct corbel_sched_set {
	uint64_t vcpu; /* its number */
	uint32_t weight, cap;
	struct corbel_cpus affinity; /* empty: as it is */
};
struct corbel_sched_vm {
	uint32_t vm, weight, cap, pad;
};
#define CORBEL_IOC_QUERY    _IOWR('C', 0x01, struct corbel_query)
#define CORBEL_IOC_SCHED    _IOW('C', 0x02, struct corbel_sched_set)
#define CORBEL_IOC_DEBUG    _IO('C', 0x03)
#define CORBEL_IOC_SCHED_VM _IOW('C', 0x04, struct corbel_sched_vm)
/* HC_POOL; struct corbel_pool_call is in hv/abi_pool.h */
#define CORBEL_IOC_POOL _IOW('C', 0x05, struct corbel_pool_call)

#endif
