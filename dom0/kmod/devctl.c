// SPDX-License-Identifier: GPL-2.0-only
/* /dev/corbel: statistics, log and scheduling parameters for the tools. */
#include "devctl.h"
#include "dom0.h"
#include "kmod.h"

#include <linux/capability.h>
#include <linux/miscdevice.h>

static long query_into(const struct corbel_query *q, void *buf)
{
	struct corbel_log *log = buf;
	u32 len = min_t(u32, q->len, PAGE_SIZE);
	long r;

	if (q->what != CORBEL_QUERY_LOG)
		return HC4(STAT, q->what, q->index, cb_phys(buf), len);
	if (len < sizeof(*log))
		return -EINVAL;
	r = HC3(LOG_READ, q->seq, cb_phys(buf), len);
	return r < 0 ? r : r + (long)sizeof(*log);
}

static long copy_query(struct corbel_query __user *arg)
{
	struct corbel_query q;
	void *buf;
	long r;

	if (copy_from_user(&q, arg, sizeof(q)))
		return -EFAULT;
	buf = (void *)get_zeroed_page(GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	r = query_into(&q, buf);
	if (r >= 0) {
		u32 n = min3((u32)r, q.len, (u32)PAGE_SIZE);

		r = copy_to_user(u64_to_user_ptr(q.buf), buf, n) || put_user(n, &arg->len) ? -EFAULT
											   : 0;
	}
	free_page((unsigned long)buf);
	return r;
}

static bool is_empty(const struct corbel_cpus *c)
{
	return !memchr_inv(c, 0, sizeof(*c));
}

static long set_sched(const struct corbel_sched_set __user *arg)
{
	struct corbel_sched_set *s = (void *)get_zeroed_page(GFP_KERNEL);
	long r = -EFAULT;

	if (!s)
		return -ENOMEM;
	if (!copy_from_user(s, arg, sizeof(*s)))
		r = HC4(SCHED, s->vcpu, s->weight,
			is_empty(&s->affinity) ? 0 : cb_phys(&s->affinity), s->cap);
	free_page((unsigned long)s);
	return r < 0 ? r : 0;
}

static long sched_vm(const struct corbel_sched_vm __user *arg)
{
	struct corbel_sched_vm s;
	long r;

	if (copy_from_user(&s, arg, sizeof(s)))
		return -EFAULT;
	r = HC3(SCHED_VM, s.vm, s.weight, s.cap);
	return r < 0 ? r : 0;
}

static long call_pool(const struct corbel_pool_call __user *arg)
{
	struct corbel_pool_call *c = (void *)get_zeroed_page(GFP_KERNEL);
	long r = -EFAULT;

	if (!c)
		return -ENOMEM;
	if (!copy_from_user(c, arg, sizeof(*c)))
		r = HC1(POOL, cb_phys(c));
	free_page((unsigned long)c);
	return r < 0 ? r : 0;
}

static long corbel_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	long r;

	if (cmd == CORBEL_IOC_QUERY)
		return copy_query((void __user *)arg);
	if (cmd != CORBEL_IOC_SCHED && cmd != CORBEL_IOC_SCHED_VM && cmd != CORBEL_IOC_DEBUG &&
	    cmd != CORBEL_IOC_POOL)
		return -ENOTTY;
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (cmd == CORBEL_IOC_SCHED)
		return set_sched((void __user *)arg);
	if (cmd == CORBEL_IOC_SCHED_VM)
		return sched_vm((void __user *)arg);
	if (cmd == CORBEL_IOC_POOL)
		return call_pool((void __user *)arg);
	r = HC1(DEBUG, arg);
	return r < 0 ? r : 0;
}

static const struct file_operations corbel_fops = {
    .owner = THIS_MODULE,
    .unlocked_ioctl = corbel_ioctl,
    .llseek = noop_llseek,
};

static struct miscdevice corbel_dev = {
    .minor = MISC_DYNAMIC_MINOR,
    .name = "corbel",
    .mode = 0600,
    .fops = &corbel_fops,
};

int cb_devctl_init(void)
{
	return misc_register(&corbel_dev);
}

void cb_devctl_exit(void)
{
	misc_deregister(&corbel_dev);
}
