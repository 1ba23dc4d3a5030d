// SPDX-License-Identifier: GPL-2.0-only
/*
 * What one user may have. The hypervisor's numbers of VMs and vCPUs are few, as is its memory, and
 * who has all of them keeps everybody else out. As with ulimits the superuser is counted, but not
 * refused; the hypervisor's reserve is kept from him, too.
 */
#include "abi_nested.h"
#include "kmod.h"

#include <linux/cred.h>
#include <linux/gfp.h>
#include <linux/user_namespace.h>

/* Half of what there is: two users can always have VMs. */
static uint max_vms_per_user = 128;
module_param(max_vms_per_user, uint, 0644);
MODULE_PARM_DESC(max_vms_per_user, "VMs that one user other than root can have (128)");
static uint max_vcpus_per_user = CORBEL_MAX_VCPUS / 2;
module_param(max_vcpus_per_user, uint, 0644);
MODULE_PARM_DESC(max_vcpus_per_user, "vCPUs that one user other than root can have (1024)");

static uint max_doorbells_per_user = CORBEL_MAX_DOORBELLS / 2;
module_param(max_doorbells_per_user, uint, 0644);
MODULE_PARM_DESC(max_doorbells_per_user,
		 "ioeventfds of one user other than root that make no exits (2048)");

static uint max_pool_percent_per_user = 50;
module_param(max_pool_percent_per_user, uint, 0644);
MODULE_PARM_DESC(max_pool_percent_per_user,
		 "of the hypervisor's memory that VMs of one user other than root can have (50)");

struct cb_account { /* there as long as the user has VMs */
	struct list_head list;
	kuid_t uid;
	u32 vms, vcpus, doorbells;
};

static DEFINE_MUTEX(accounts_lock); /* for what follows */
static LIST_HEAD(accounts);

/*
 * Who makes user namespaces has many uids in them; all of these are the one who made the outermost.
 * Of containers that root has made each uid counts for itself.
 */
static kuid_t user_of(const struct file *file)
{
	const struct user_namespace *ns = file->f_cred->user_ns;
	kuid_t uid = file->f_cred->uid;

	for (; ns != &init_user_ns; ns = ns->parent)
		if (!uid_eq(ns->owner, GLOBAL_ROOT_UID))
			uid = ns->owner;
	return uid;
}

static bool is_limited(kuid_t uid)
{
	return !uid_eq(uid, GLOBAL_ROOT_UID) && !capable(CAP_SYS_RESOURCE) &&
	       !capable(CAP_SYS_ADMIN);
}

static int charge_user(kuid_t uid, u32 *have, uint limit, const char *parameter)
{
	if (*have >= limit && is_limited(uid)) {
		pr_info_ratelimited("user %u has no more than %u: parameter %s of module corbel\n",
				    from_kuid(&init_user_ns, uid), limit, parameter);
		return -ENOSPC;
	}
	++*have;
	return 0;
}

static struct cb_account *find_locked(kuid_t uid)
{
	struct cb_account *a;

	list_for_each_entry(a, &accounts, list) if (uid_eq(a->uid, uid)) return a;
	a = kzalloc(sizeof(*a), GFP_KERNEL_ACCOUNT);
	if (!a)
		return NULL;
	a->uid = uid;
	list_add(&a->list, &accounts);
	return a;
}

static void drop_unused_locked(struct cb_account *a)
{
	if (a->vms)
		return;
	list_del(&a->list);
	kfree(a);
}

struct cb_account *cb_account_vm(const struct file *kvm)
{
	struct cb_account *a;
	int r;

	mutex_lock(&accounts_lock);
	a = find_locked(user_of(kvm));
	r = a ? charge_user(a->uid, &a->vms, READ_ONCE(max_vms_per_user), "max_vms_per_user")
	      : -ENOMEM;
	if (r && a)
		drop_unused_locked(a);
	mutex_unlock(&accounts_lock);
	return r ? ERR_PTR(r) : a;
}

int cb_account_vcpu(struct cb_account *a)
{
	int r;

	mutex_lock(&accounts_lock);
	r = charge_user(a->uid, &a->vcpus, READ_ONCE(max_vcpus_per_user), "max_vcpus_per_user");
	mutex_unlock(&accounts_lock);
	return r;
}

int cb_account_doorbell(struct cb_account *a)
{
	int r;

	mutex_lock(&accounts_lock);
	r = charge_user(a->uid, &a->doorbells, READ_ONCE(max_doorbells_per_user),
			"max_doorbells_per_user");
	mutex_unlock(&accounts_lock);
	return r;
}

void cb_account_doorbell_gone(struct cb_account *a)
{
	mutex_lock(&accounts_lock);
	a->doorbells--;
	mutex_unlock(&accounts_lock);
}

void cb_account_pool(const struct cb_account *a, struct corbel_vm_create *c)
{
	u32 percent = min(READ_ONCE(max_pool_percent_per_user), 100u);

	c->user = __kuid_val(a->uid);
	if (is_limited(a->uid))
		c->user_pages = (cb_pool_bytes >> PAGE_SHIFT) * percent / 100 ?: 1;
}

long cb_account_refused(const struct cb_account *a, long r, u64 pages)
{
	if (r == -EDQUOT)
		pr_info_ratelimited(
		    "user %u gets no more of the hypervisor's memory (%llu KiB for "
		    "tables): parameter max_pool_percent_per_user of module corbel\n",
		    __kuid_val(a->uid), pages << (PAGE_SHIFT - 10));
	else if (r == -ENOMEM)
		pr_info_ratelimited("user %u gets no more of the hypervisor's memory (%llu KiB for "
				    "tables), only its reserve is left: option hvmem= of Corbel\n",
				    __kuid_val(a->uid), pages << (PAGE_SHIFT - 10));
	return r == -EDQUOT ? -ENOMEM : r;
}

/* ---- memory lent to the hypervisor, for page tables of guests ---- */

#define LENT_ORDER ilog2(CORBEL_LENT_PAGES)

static DEFINE_MUTEX(lend_lock); /* one block at a time is on its way */
static u32 lent;		/* blocks */

/*
 * A block of the one who asks, whose memory cgroup pays: not at the price of others' memory, since
 * the pool has its reserve. False: it is not to be had, or the hypervisor does not want it.
 */
static bool lend_pages(void)
{
	struct page *page =
	    alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN, LENT_ORDER);
	long r;

	if (!page)
		return false;
	mutex_lock(&lend_lock);
	while ((r = HC1(LEND, page_to_pfn(page))) == -EAGAIN)
		cond_resched();
	lent += !r;
	mutex_unlock(&lend_lock);
	if (r)
		__free_pages(page, LENT_ORDER);
	return !r;
}

long cb_account_promise(u32 id, u64 pages)
{
	long r;

	do {
		r = HC3(PROMISE, id, pages, CORBEL_PROMISE);
	} while (r == -EAGAIN && lend_pages());
	return r == -EAGAIN ? HC3(PROMISE, id, pages, CORBEL_PROMISE_NEVERTHELESS) : r;
}

long cb_promise_nested(struct cb_vcpu *v)
{
	long r = HC3(PROMISE, v->vm->id, v->number, CORBEL_PROMISE_NESTED);

	return cb_account_refused(v->vm->account, r, CORBEL_NESTED_TABLES);
}

void cb_account_take_back(void)
{
	long r = 0;

	mutex_lock(&lend_lock);
	while (lent && (r = HC0(TAKE_BACK)) != -ENOENT) {
		if (r > 0) {
			__free_pages(pfn_to_page(r), LENT_ORDER);
			lent--;
		} else if (r != -EAGAIN) {
			pr_err("2 MiB that the hypervisor has borrowed are lost (%ld)\n", r);
			lent--;
		}
		cond_resched();
	}
	mutex_unlock(&lend_lock);
}

void cb_account_vcpu_gone(struct cb_account *a)
{
	mutex_lock(&accounts_lock);
	a->vcpus--;
	mutex_unlock(&accounts_lock);
}

void cb_account_vm_gone(struct cb_account *a)
{
	mutex_lock(&accounts_lock);
	a->vms--;
	drop_unused_locked(a);
	mutex_unlock(&accounts_lock);
}
