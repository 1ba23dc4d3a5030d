/* SPDX-License-Identifier: GPL-2.0-only */
/* links: -Itests/unit/kernel -lpthread */
/*
 * Files of VFIO that a VMM hands to corbel.ko: groups, and with Linux 6.6 devices as well, as with
 * iommufd. Each is held once, and let go.
 */
#include "hv/lib/types.h"
#include "kernel.h"
#include "test.h"

#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE	KERNEL_VERSION(6, 6, 0)
#define __user
#define THIS_MODULE		NULL
#define O_RDWR			2
#define O_CLOEXEC		02000000
#define compat_ptr_ioctl	NULL
#define noop_llseek		NULL
#define symbol_get(name)	(is_loaded ? &(name) : NULL)
#define symbol_put(name)	((void)0)
#define get_user(x, p)		((x) = *(p), 0)
#define put_user(x, p)		(*(p) = (x), 0)
#define copy_from_user(t, f, n) (memcpy(t, f, n), 0)
#define current			(&task)
#define mutex_init(l)		pthread_mutex_init(&(l)->m, NULL)
#define refcount_inc(r)		(++*(r))
#define list_del		list_del_rcu
#define fget(fd)		open_file(fd)

struct inode;
struct file_operations {
	void *owner, *compat_ioctl, *llseek;
	int (*release)(struct inode *inode, struct file *file);
	long (*unlocked_ioctl)(struct file *file, unsigned int cmd, unsigned long arg);
};
struct cb_vm {
	void *mm;
	u32 users;
	bool has_vfio;
};
static struct {
	void *mm;
} task;

/* ---- the rest of corbel.ko, and VFIO ---- */

enum { GROUP = 1, DEVICE, OTHER, CLOSED };

static bool is_loaded = true;
static struct file device_file;
static const struct file_operations *device_ops;

static struct file *open_file(int fd)
{
	struct file *f = eventfd_fget(fd);

	return IS_ERR(f) ? NULL : f;
}

static bool vfio_file_is_group(struct file *f)
{
	return f == kernel_fd[GROUP];
}

static __attribute__((unused)) bool vfio_file_is_valid(struct file *f)
{
	return vfio_file_is_group(f) || f == kernel_fd[DEVICE];
}

static int anon_inode_getfd(const char *name, const struct file_operations *ops, void *data,
			    int flags)
{
	device_file.private_data = data;
	device_ops = ops;
	return 100;
}

static void cb_vm_put(struct cb_vm *vm)
{
	vm->users--;
}

int cb_create_device(struct cb_vm *vm, struct kvm_create_device *arg);
#include "dom0/kmod/vfio.c"

/* ---- the test ---- */

static struct cb_vm vm;

static long tell(u64 attr, int fd)
{
	struct kvm_device_attr a = {
	    .group = KVM_DEV_VFIO_GROUP, .attr = attr, .addr = (u64)(unsigned long)&fd};

	return device_ops->unlocked_ioctl(&device_file, KVM_SET_DEVICE_ATTR, (unsigned long)&a);
}

static void test_files(void)
{
	struct kvm_create_device d = {.type = KVM_DEV_TYPE_VFIO};

	CHECK(!cb_create_device(&vm, &d) && d.fd == 100 && vm.users == 1, "a VM has one of these");
	CHECK(cb_create_device(&vm, &d) == -EBUSY && vm.users == 1, "and no second one");
	CHECK(!tell(KVM_DEV_VFIO_GROUP_ADD, GROUP) && kernel_fd[GROUP]->refs == 2 &&
		  tell(KVM_DEV_VFIO_GROUP_ADD, GROUP) == -EEXIST && kernel_fd[GROUP]->refs == 2,
	      "a group's file is held, once");
	CHECK(!tell(KVM_DEV_VFIO_GROUP_ADD, DEVICE) && kernel_fd[DEVICE]->refs == 2,
	      "so is a device's, which iommufd's users have");
	CHECK(tell(KVM_DEV_VFIO_GROUP_ADD, OTHER) == -EINVAL && kernel_fd[OTHER]->refs == 1 &&
		  tell(KVM_DEV_VFIO_GROUP_ADD, CLOSED) == -EBADF,
	      "what is neither is refused");
	CHECK(!tell(KVM_DEV_VFIO_GROUP_DEL, GROUP) && kernel_fd[GROUP]->refs == 1 &&
		  tell(KVM_DEV_VFIO_GROUP_DEL, GROUP) == -ENOENT && kernel_fd[GROUP]->refs == 1,
	      "one that is taken back is let go");
	is_loaded = false;
	CHECK(tell(KVM_DEV_VFIO_GROUP_ADD, GROUP) == -EINVAL, "without vfio.ko no file is one");
	is_loaded = true;
	device_ops->release(NULL, &device_file);
	CHECK(kernel_fd[DEVICE]->refs == 1 && !vm.users && !vm.has_vfio,
	      "at its end all are let go");
}

int main(void)
{
	for (int fd = GROUP; fd <= OTHER; fd++)
		kernel_open(fd);
	test_files();
	for (int fd = GROUP; fd <= OTHER; fd++)
		kernel_close(fd);
	CHECK(!kernel_live, "nothing is left");
	return test_end();
}
