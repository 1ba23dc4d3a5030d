/* SPDX-License-Identifier: GPL-2.0-only */
/* What the bench guest and the mini VMM (vmm.c) agree on. */
#pragma once

#define PORT_CONSOLE  0x3f8
#define PORT_LCR      0x3fb
#define LCR_8N1	      3
#define PORT_LSR      0x3fd
#define LSR_EMPTY     0x60	  /* both the holding and the shift register */
#define PORT_SCRATCH  0x3ff	  /* of the UART: a device model's cheapest read */
#define PORT_IRQFD    0x510	  /* OUT: the VMM signals the irqfd before it resumes the vCPU */
#define PORT_DOORBELL 0x520	  /* ioeventfd that nobody waits for */
#define PORT_SERVED   0x530	  /* ioeventfd; a thread answers by the irqfd */
#define VMM_MMIO      0xd0000000u /* MMIO of the VMM's */
#define MMIO_DOORBELL 0xd0001000u /* ioeventfd that nobody waits for */
#define VEC_IRQFD     0x43	  /* what the irqfd's MSI has */

/*
 * Memory never touched before: backed by 4 KiB pages, by 2 MiB pages, and by pages the VMM has
 * populated.
 */
#define FRESH_4K       0x10000000ul
#define FRESH_2M       0x20000000ul
#define POPULATED      0x30000000ul
#define FRESH_BYTES    (16ul << 20)
#define FRESH_2M_BYTES (32ul << 20)
