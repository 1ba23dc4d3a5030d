/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Domains of devices that dom0 gives to guests: the memory such a device reaches is what dom0 has
 * mapped there, at the addresses the guest knows it by. A domain's map is a p2m whose TLBs are the
 * IOMMUs': it holds references to dom0's frames, which are dropped when no unit has them cached.
 *
 *   device --> 0, dom0's (iommu.dom0): all of dom0's memory
 *          --> one of these
 *          --> none: its accesses are blocked
 *
 * Only with iommu=strict. All calls are hypercalls, see DOMAIN_x in hv/abi.h, and are alone: under
 * the lock `objects`, for writing. A unit that does not answer ends the machine in a line, since
 * nobody knows then what its devices reach.
 */
#pragma once

#include "hv/lib/types.h"

#define DOMAINS		  64u  /* with the one that has no memory; a unit may have fewer */
#define DOMAIN_DEVICES	  256u /* that are in others than dom0's, or kept to interrupts */
#define DOMAIN_MAP_FRAMES 512u

/* Pages of the pool that all domains have. */
u64 domain_pages(void);
/* Number of a new domain, > 0; -ENODEV, -ENOSPC, -ENOMEM. */
int domain_create(void);
/*
 * Or, 0: all, for a driver that begins; their devices are blocked until they are attached to dom0's
 * domain again. -ENOENT, -EBUSY: it has devices, -EAGAIN: call again.
 */
int domain_destroy(u64 id);
/*
 * Device: segment << 16 | id. -ENOENT: no such domain, -ENODEV: no unit has it, -ENOSPC, -ENOMEM.
 * Beside one that leaves dom0's domain, ids that were never attached to any reach nothing.
 */
int domain_attach(u64 device, u64 id);
/*
 * Frames done, or of the first what is wrong: -EPERM, -EEXIST, -EINVAL; -ENOMEM: all domains'
 * tables would be more than a quarter of the pool, or only the pool's reserve would be left.
 */
s64 domain_map(u64 id, u64 dfn, u64 pfn, u64 count, bool write);
/*
 * Frames done: call again with the rest. -EINVAL, -ENOENT; -ENOMEM: a large page would have to be
 * split for a part of it, and all of it is there still.
 */
s64 domain_unmap(u64 id, u64 dfn, u64 count);

/* Can devices be kept to the interrupts that are theirs? */
bool domain_has_irqs(void);
/* HC_DOMAIN_IRQ in hv/abi.h. What has been there is not raised any more when this returns. */
int domain_set_irq(u64 device, u64 index, u64 address, u64 data);

/*
 * dom0's kernel ends, and the next one knows of no domain: devices in one go on to be blocked, and
 * none is given away or back, -EBUSY, until domain_destroy(0).
 */
void domain_kernel_ends(void);
/* It has ended, and with it what its own devices are kept to: they raise what they send. */
void domain_let_go(void);
