/* SPDX-License-Identifier: GPL-2.0-only */
/* Private memory, as later kernels' <linux/kvm.h> has it */
#pragma once

#include <linux/kvm.h>

#ifndef KVM_CAP_GUEST_MEMFD
#define KVM_CAP_MEMORY_ATTRIBUTES    233
#define KVM_CAP_GUEST_MEMFD	     234
#define KVM_CAP_VM_TYPES	     235
#define KVM_MEM_GUEST_MEMFD	     4u
#define KVM_MEMORY_ATTRIBUTE_PRIVATE 8ull
struct kvm_userspace_memory_region2 {
	__u32 slot, flags;
	__u64 guest_phys_addr, memory_size, userspace_addr;
	__u64 guest_memfd_offset;
	__u32 guest_memfd, pad1;
	__u64 pad2[14];
};
struct kvm_memory_attributes {
	__u64 address, size, attributes, flags;
};
struct kvm_create_guest_memfd {
	__u64 size, flags, reserved[6];
};
#define KVM_SET_USER_MEMORY_REGION2 _IOW(KVMIO, 0x49, struct kvm_userspace_memory_region2)
#define KVM_SET_MEMORY_ATTRIBUTES   _IOW(KVMIO, 0xd2, struct kvm_memory_attributes)
#define KVM_CREATE_GUEST_MEMFD	    _IOWR(KVMIO, 0xd4, struct kvm_create_guest_memfd)
#endif
