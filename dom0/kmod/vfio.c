// SPDX-License-Identifier: GPL-2.0-only
/*
 * KVM_CREATE_DEVICE of KVM_DEV_TYPE_VFIO: a VMM names the groups whose devices its guest has. KVM
 * wants to know whether their accesses may go past the caches, and then lets the guest's WBINVD and
 * memory types through. Here neither changes: the groups are only kept, so that all that KVM
 * refuses is refused.
 */
#include "irq.h"
#include "kmod.h"

#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/vfio.h>

struct group {
	struct list_head node;
	struct file *file;
};

struct vfio {
	struct cb_vm *vm;
	struct mutex lock;
	struct list_head groups;
};

/* Since then devices have files of their own, for iommufd, and KVM takes those as well. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#define IS_VFIOS vfio_file_is_valid
#else
#define IS_VFIOS vfio_file_is_group
#endif

/* vfio.ko need not be there; then no file is a group's. */
static bool is_group(struct file *file)
{
	bool (*ask)(struct file *) = symbol_get(IS_VFIOS);
	bool r = ask && ask(file);

	if (ask)
		symbol_put(IS_VFIOS);
	return r;
}

static struct group *find_group(struct vfio *v, const struct file *file)
{
	struct group *g;

	list_for_each_entry(g, &v->groups, node) if (g->file == file) return g;
	return NULL;
}

/* Takes the reference to the file, unless it fails. */
static int add_group(struct vfio *v, struct file *file)
{
	struct group *g;

	if (!is_group(file))
		return -EINVAL;
	if (find_group(v, file))
		return -EEXIST;
	g = kzalloc(sizeof(*g), GFP_KERNEL_ACCOUNT);
	if (!g)
		return -ENOMEM;
	g->file = file;
	list_add_tail(&g->node, &v->groups);
	return 0;
}

static int del_group(struct vfio *v, const struct file *file)
{
	struct group *g = find_group(v, file);

	if (!g)
		return -ENOENT;
	list_del(&g->node);
	fput(g->file);
	kfree(g);
	return 0;
}

static int set_attr(struct vfio *v, const struct kvm_device_attr *a)
{
	struct file *file;
	int fd, r;

	if (a->group != KVM_DEV_VFIO_GROUP ||
	    (a->attr != KVM_DEV_VFIO_GROUP_ADD && a->attr != KVM_DEV_VFIO_GROUP_DEL))
		return -ENXIO;
	if (get_user(fd, (int __user *)(unsigned long)a->addr))
		return -EFAULT;
	file = fget(fd);
	if (!file)
		return -EBADF;
	mutex_lock(&v->lock);
	r = a->attr == KVM_DEV_VFIO_GROUP_ADD ? add_group(v, file) : del_group(v, file);
	mutex_unlock(&v->lock);
	if (r || a->attr == KVM_DEV_VFIO_GROUP_DEL)
		fput(file);
	return r;
}

static int has_attr(const struct kvm_device_attr *a)
{
	return a->group == KVM_DEV_VFIO_GROUP &&
		       (a->attr == KVM_DEV_VFIO_GROUP_ADD || a->attr == KVM_DEV_VFIO_GROUP_DEL)
		   ? 0
		   : -ENXIO;
}

static long vfio_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct vfio *v = file->private_data;
	struct kvm_device_attr a;

	if (v->vm->mm != current->mm)
		return -EIO;
	if (cmd != KVM_SET_DEVICE_ATTR && cmd != KVM_GET_DEVICE_ATTR && cmd != KVM_HAS_DEVICE_ATTR)
		return -ENOTTY;
	if (cmd == KVM_GET_DEVICE_ATTR) /* it has none to get */
		return -EPERM;
	if (copy_from_user(&a, (void __user *)arg, sizeof(a)))
		return -EFAULT;
	return cmd == KVM_SET_DEVICE_ATTR ? set_attr(v, &a) : has_attr(&a);
}

static int vfio_release(struct inode *inode, struct file *file)
{
	struct vfio *v = file->private_data;
	struct group *g, *next;

	list_for_each_entry_safe(g, next, &v->groups, node)
	{
		fput(g->file);
		kfree(g);
	}
	WRITE_ONCE(v->vm->has_vfio, false);
	cb_vm_put(v->vm);
	kfree(v);
	return 0;
}

static const struct file_operations vfio_fops = {
    .owner = THIS_MODULE,
    .release = vfio_release,
    .unlocked_ioctl = vfio_ioctl,
    .compat_ioctl = compat_ptr_ioctl,
    .llseek = noop_llseek,
};

/* One a VM. */
static int create_vfio(struct cb_vm *vm)
{
	struct vfio *v = kzalloc(sizeof(*v), GFP_KERNEL_ACCOUNT);
	int fd;

	if (!v)
		return -ENOMEM;
	v->vm = vm;
	mutex_init(&v->lock);
	INIT_LIST_HEAD(&v->groups);
	if (xchg(&vm->has_vfio, true)) {
		kfree(v);
		return -EBUSY;
	}
	refcount_inc(&vm->users);
	fd = anon_inode_getfd("kvm-vfio", &vfio_fops, v, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		WRITE_ONCE(vm->has_vfio, false);
		cb_vm_put(vm);
		kfree(v);
	}
	return fd;
}

int cb_create_device(struct cb_vm *vm, struct kvm_create_device __user *arg)
{
	struct kvm_create_device d;
	int fd;

	if (copy_from_user(&d, arg, sizeof(d)))
		return -EFAULT;
	if (d.type != KVM_DEV_TYPE_VFIO)
		return -ENODEV;
	if (d.flags & KVM_CREATE_DEVICE_TEST)
		return 0;
	fd = create_vfio(vm);
	if (fd < 0)
		return fd;
	return put_user(fd, &arg->fd) ? -EFAULT : 0;
}
