/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The module as a part of dom0: what it tells the hypervisor of it, and hears of it.
 */
#ifndef KMOD_DOM0_H
#define KMOD_DOM0_H

#include "kmod.h"

/* load.c: tells the hypervisor what runs in dom0. */
int cb_load_init(void);
void cb_load_exit(void);
void cb_load_start(struct corbel_load *told);
void cb_load_stop(unsigned int cpu);
u32 cb_task_weight(const struct task_struct *p);
/* idle.c: how dom0's CPUs idle, unless another driver says it; at the module's end no more. */
void cb_idle_init(void);
void cb_idle_exit(void);
/* cst.c: tells the hypervisor how dom0's ACPI says that CPUs sleep, of each that comes online. */
void cb_cst_init(void);
void cb_cst_exit(void);
/* crash.c: a crash kernel finds the hypervisor's log and guests' registers in /proc/vmcore. */
void cb_crash_init(void);
void cb_crash_exit(void);
/* offline.c: CPUs that root takes offline are taken from guests; at the module's end no more. */
void cb_offline_init(void);
void cb_offline_exit(void);
void cb_offline_give_back(void); /* what they were taken from has them again */

/* event.c: returns with one interrupt bound for each dom0 CPU */
int cb_event_init(void);
void cb_event_exit(void);
/*
 * registry.c: whose vCPU has stopped, whose doorbell rang. By the hypervisor's numbers.
 *
 * Between VCPU_CREATE and the first VCPU_RESUME; between the last stop and VCPU_DESTROY.
 */
void cb_event_add_vcpu(struct cb_vcpu *v);
void cb_event_del_vcpu(struct cb_vcpu *v);
void cb_event_each_vcpu(void (*fn)(struct cb_vcpu *v)); /* in an RCU reader */
/* All vCPUs stop, as by VCPU_PAUSE (at their next resume if they are stopped), and go on. */
void cb_event_pause_vcpus(void);
/* Each guest is told that it has stood still, as by KVM_KVMCLOCK_CTRL. They do when this is called.
 */
void cb_event_tell_stopped(void);
/*
 * After del the doorbell's eventfd is not touched any more. An id is another VM's as soon as the
 * hypervisor has it back: it is taken and added, or given back and deleted, without anybody else's
 * doing so in between.
 */
void cb_event_add_doorbell(u32 number, struct eventfd_ctx *ctx);
void cb_event_del_doorbell(u32 number);

/*
 * On return what vCPUs that have stopped by now rang before has been signalled, as VMMs may take
 * for granted.
 */
void cb_event_sync_doorbells(void);
/* Where the hypervisor sets the bits, before it does. */
void cb_registry_init(struct corbel_events *page);
/* It has set some. From an interrupt. */
void cb_registry_scan(void);

/*
 * cgroup.c: what cgroups leave a VMM's process, all of it, and the running thread besides, where it
 * is in others of its own.
 */
void cb_cgroup_shares(struct cb_share *all, struct cb_share *own);

/* broken.c */
/* Why nothing is at hva: -EFAULT, or -EAGAIN: it was broken memory, SIGBUS has been sent. */
int cb_poisoned(unsigned long hva);
/* The thread's guest has used memory that is broken. -EIO: Linux can do nothing about it. */
int cb_broken_used(u64 hpa);
/* What the hypervisor has told. In the event interrupt. */
void cb_broken_found(struct corbel_events *events);

/* mcheck.c: machine checks that the hypervisor has told of go into Linux' log of them */
void cb_errors_found(struct corbel_events *events);

/* devctl.c: /dev/corbel */
int cb_devctl_init(void);
void cb_devctl_exit(void);

/* sysfs.c: /sys/hypervisor/{type,iommu,version/}; svm or vmx among the flags in /proc/cpuinfo */
int cb_sysfs_init(void);
void cb_sysfs_exit(void);

#endif
