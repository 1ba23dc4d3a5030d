// SPDX-License-Identifier: GPL-2.0-only
/*
 * Asynchronous page faults, as Linux' Documentation/virt/kvm/x86/msr.rst describes them: a guest
 * that touches a page which has to be read first is told so by a #PF with a token in CR2, and can
 * do something else meanwhile. When the page is there an interrupt gives the token back.
 *
 * The MSRs' values stand in the vCPU's page, where the hypervisor forgets them at INIT.
 */
#include "apf.h"
#include "hyperv.h"

#include <linux/sched/mm.h>

#define PER_VCPU 64 /* pages that are on their way, as in KVM */
/*
 * In all. Each has a worker, so that nobody's page waits for another's, which its VMM may never
 * bring (userfaultfd). Who finds none left waits for the page, as without all this.
 */
#define PAGES_AT_ONCE 512
#define EN_ADDR	      (~63ull)
#define EN_RSVD	      0x30ull
#define WANTED	      (KVM_ASYNC_PF_ENABLED | KVM_ASYNC_PF_DELIVERY_AS_INT)
#define FOR_ALL	      (~0u) /* token: all pages that the guest waits for */

static struct workqueue_struct *apf_wq;
static atomic_t at_once;

struct cb_apf {
	refcount_t users; /* the vCPU, pages on their way */
	spinlock_t lock;  /* what follows */
	struct cb_vcpu *v;
	struct list_head pages; /* that the guest has been told of, and waits for */
	u32 count;		/* of them, and of others that are still on their way */
	u32 last;		/* token, without the vCPU's part */
	bool for_all;		/* that is to be told */
	bool ready;		/* something is to be told; is also read without the lock */
};

struct page_wait {
	struct list_head link; /* empty: nobody waits for it any more */
	struct work_struct work;
	struct cb_apf *apf;
	struct mm_struct *mm;
	unsigned long hva;
	u64 gfn;
	u32 token;
	bool write, there;
};

static void put_apf(struct cb_apf *a)
{
	if (refcount_dec_and_test(&a->users))
		kfree(a);
}

static void free_page_locked(struct cb_apf *a, struct page_wait *p)
{
	lockdep_assert_held(&a->lock);
	a->count--;
	kfree(p);
}

/* As if the VMM had touched it; whether that has failed the guest sees when it comes again. */
static void bring_page(struct work_struct *work)
{
	struct page_wait *p = container_of(work, struct page_wait, work);
	struct cb_apf *a = p->apf;
	u32 flags = p->write ? FAULT_FLAG_WRITE : 0;
	bool unlocked;

	if (mmget_not_zero(p->mm)) {
		mmap_read_lock(p->mm);
		fixup_user_fault(p->mm, p->hva, flags, &unlocked);
		mmap_read_unlock(p->mm);
		mmput(p->mm);
	}
	mmdrop(p->mm);
	spin_lock(&a->lock);
	p->there = true;
	if (list_empty(&p->link)) {
		free_page_locked(a, p);
	} else {
		WRITE_ONCE(a->ready, true);
		HC1(VCPU_PAUSE, a->v->number); /* it passes its loop, wakes up if need be */
	}
	spin_unlock(&a->lock);
	put_apf(a);
	atomic_dec(&at_once);
	module_put(THIS_MODULE);
}

void cb_apf_cancel(struct cb_vcpu *v)
{
	struct cb_apf *a = v->apf;
	struct page_wait *p, *next;

	spin_lock(&a->lock);
	list_for_each_entry_safe(p, next, &a->pages, link)
	{
		list_del_init(&p->link);
		if (p->there)
			free_page_locked(a, p);
	}
	a->for_all = false;
	WRITE_ONCE(a->ready, false);
	spin_unlock(&a->lock);
}

static bool wants_pages(u64 en)
{
	return (en & WANTED) == WANTED;
}

bool cb_apf_is_on(const struct cb_vcpu *v)
{
	return wants_pages(READ_ONCE(v->page->async_pf[0]));
}

/* ---- a page is not there ---- */

/* Of a vCPU that could take an interrupt. */
static bool may_be_told(struct cb_vcpu *v, u64 en)
{
	const struct kvm_sregs *s = (void *)v->data;

	if (!wants_pages(en) || READ_ONCE(v->page->mode) & CORBEL_MODE_GUEST ||
	    READ_ONCE(v->page->in_smm))
		return false;
	if (en & KVM_ASYNC_PF_SEND_ALWAYS)
		return true;
	return !cb_state_get(v, CORBEL_STATE_SREGS, sizeof(*s)) && s->ss.dpl;
}

/* Who comes to a page a second time waits for it. NULL: that, or there are too many. */
static struct page_wait *begin_wait(struct cb_vcpu *v, u64 gfn)
{
	struct page_wait *p, *new = kzalloc(sizeof(*new), GFP_NOWAIT | __GFP_NOWARN);
	struct cb_apf *a = v->apf;
	bool refused;

	if (!new)
		return NULL;
	spin_lock(&a->lock);
	refused = a->count >= PER_VCPU;
	list_for_each_entry(p, &a->pages, link) refused |= p->gfn == gfn;
	refused = refused || !atomic_add_unless(&at_once, 1, PAGES_AT_ONCE);
	if (!refused) {
		a->count++;
		if (!(++a->last << 12)) /* 0 is no token */
			a->last++;
		new->token = a->last << 12 | v->apic_id;
		list_add_tail(&new->link, &a->pages);
	}
	spin_unlock(&a->lock);
	if (refused) {
		kfree(new);
		return NULL;
	}
	new->gfn = gfn;
	return new;
}

static void end_wait(struct cb_apf *a, struct page_wait *p)
{
	spin_lock(&a->lock);
	list_del(&p->link);
	free_page_locked(a, p);
	spin_unlock(&a->lock);
	atomic_dec(&at_once);
}

static bool raise_fault(struct cb_vcpu *v, u32 token)
{
	struct kvm_vcpu_events *e = (void *)v->data;

	if (cb_state_get(v, CORBEL_STATE_EVENTS, sizeof(*e)))
		return false;
	e->exception.pending = e->exception.has_error_code = e->exception_has_payload = 1;
	e->exception.nr = PF_VECTOR;
	e->exception.error_code = 0;
	e->exception_payload = token;
	return !cb_state_set(v, CORBEL_STATE_EVENTS, sizeof(*e));
}

static bool tell_of_page(struct cb_vcpu *v, u64 en, u32 token)
{
	u32 flags = KVM_PV_REASON_PAGE_NOT_PRESENT;

	if (cb_guest_write(v, en & EN_ADDR, &flags, sizeof(flags)))
		return false;
	if (raise_fault(v, token))
		return true;
	flags = 0; /* or it would take its next #PF for this one */
	cb_guest_write(v, en & EN_ADDR, &flags, sizeof(flags));
	return false;
}

bool cb_apf_begin(struct cb_vcpu *v, u64 gfn, unsigned long hva, bool write)
{
	u64 en = READ_ONCE(v->page->async_pf[0]);
	struct page_wait *p = may_be_told(v, en) ? begin_wait(v, gfn) : NULL;

	if (!p)
		return false;
	if (!tell_of_page(v, en, p->token)) {
		end_wait(v->apf, p);
		return false;
	}
	p->apf = v->apf;
	refcount_inc(&p->apf->users);
	p->mm = v->vm->mm;
	mmgrab(p->mm);
	__module_get(THIS_MODULE);
	p->hva = hva;
	p->write = write;
	INIT_WORK(&p->work, bring_page);
	queue_work(apf_wq, &p->work);
	return true;
}

/* ---- it has come ---- */

/* False: the guest has not taken the last one yet, or cannot be told now. */
static bool tell_token(struct cb_vcpu *v, u32 token)
{
	u64 at = (READ_ONCE(v->page->async_pf[0]) & EN_ADDR) +
		 offsetof(struct kvm_vcpu_pv_apf_data, token);
	u32 none;

	if (cb_guest_read(v, at, &none, sizeof(none)) || none ||
	    cb_guest_write(v, at, &token, sizeof(token)))
		return false;
	if (cb_hyperv_interrupt(v, READ_ONCE(v->page->async_pf[1])) > 0)
		return true;
	cb_guest_write(v, at, &none, sizeof(none)); /* its LAPIC is off */
	return false;
}

static struct page_wait *find_ready_locked(struct cb_apf *a)
{
	struct page_wait *p;

	lockdep_assert_held(&a->lock);
	list_for_each_entry(p, &a->pages, link) if (p->there) return p;
	return NULL;
}

static void told_one(struct cb_apf *a, struct page_wait *p)
{
	spin_lock(&a->lock);
	if (p) {
		list_del(&p->link);
		free_page_locked(a, p);
	} else {
		a->for_all = false;
	}
	WRITE_ONCE(a->ready, a->for_all || find_ready_locked(a));
	spin_unlock(&a->lock);
}

void cb_apf_tell_one(struct cb_vcpu *v)
{
	struct cb_apf *a = v->apf;
	struct page_wait *p = NULL;
	bool all;

	if (!cb_apf_is_on(v)) {
		cb_apf_cancel(v);
		return;
	}
	spin_lock(&a->lock);
	all = a->for_all;
	if (!all)
		p = find_ready_locked(a);
	spin_unlock(&a->lock);
	if ((all && tell_token(v, FOR_ALL)) || (p && tell_token(v, p->token)))
		told_one(a, p);
}

bool cb_apf_has_some(const struct cb_vcpu *v)
{
	return READ_ONCE(v->apf->ready);
}

/* ---- MSRs ---- */

static bool has_feature(const struct cb_vcpu *v, u32 bit)
{
	return !v->pv_by_cpuid || v->pv_features & BIT(bit);
}

static int write_enable(struct cb_vcpu *v, u64 val, bool host)
{
	u64 *en = &v->page->async_pf[0];
	struct cb_apf *a = v->apf;
	bool on = wants_pages(val);

	if (val & EN_RSVD || (val && v->vm->irqchip == CB_IRQCHIP_NONE))
		return -EINVAL;
	if (!host &&
	    ((val & KVM_ASYNC_PF_DELIVERY_AS_PF_VMEXIT &&
	      !has_feature(v, KVM_FEATURE_ASYNC_PF_VMEXIT)) ||
	     (val & KVM_ASYNC_PF_DELIVERY_AS_INT && !has_feature(v, KVM_FEATURE_ASYNC_PF_INT))))
		return -EINVAL;
	if (on && (val >> 52 || !cb_fault_hva(v->vm, val & EN_ADDR, sizeof(u64), true)))
		return -EINVAL;
	if (host || !on || !wants_pages(READ_ONCE(*en))) /* what was before is forgotten */
		cb_apf_cancel(v);
	WRITE_ONCE(*en, val);
	if (!on)
		return 0;
	spin_lock(&a->lock);
	a->for_all = !find_ready_locked(a); /* there may have been others, on another machine */
	WRITE_ONCE(a->ready, true);
	spin_unlock(&a->lock);
	if (host) /* its next pass may have an instruction to finish, and then none follow */
		HC1(VCPU_PAUSE, v->number);
	else
		cb_apf_tell_one(v);
	return 0;
}

static int write_msr(struct cb_vcpu *v, u32 msr, u64 val, bool host)
{
	switch (msr) {
	case MSR_KVM_ASYNC_PF_EN:
		return write_enable(v, val, host);
	case MSR_KVM_ASYNC_PF_INT:
		if (val >> 8 || (val && v->vm->irqchip == CB_IRQCHIP_NONE))
			return -EINVAL;
		WRITE_ONCE(v->page->async_pf[1], val);
		return 0;
	}
	if (val & 1 && !host)
		cb_apf_tell_one(v);
	return 0;
}

int cb_apf_msr(struct cb_vcpu *v, u32 msr, u64 *val, bool write, bool host)
{
	u32 feature = msr == MSR_KVM_ASYNC_PF_EN ? KVM_FEATURE_ASYNC_PF : KVM_FEATURE_ASYNC_PF_INT;

	if (!host && !has_feature(v, feature))
		return -EINVAL;
	if (write)
		return write_msr(v, msr, *val, host);
	*val = 0;
	if (msr != MSR_KVM_ASYNC_PF_ACK)
		*val = READ_ONCE(v->page->async_pf[msr == MSR_KVM_ASYNC_PF_INT]);
	return 0;
}

u32 cb_apf_msrs(u32 *out)
{
	out[0] = MSR_KVM_ASYNC_PF_EN;
	out[1] = MSR_KVM_ASYNC_PF_INT;
	out[2] = MSR_KVM_ASYNC_PF_ACK;
	return CB_APF_MSRS;
}

/* ---- life ---- */

int cb_apf_alloc(struct cb_vcpu *v)
{
	struct cb_apf *a = kzalloc(sizeof(*a), GFP_KERNEL_ACCOUNT);

	if (!a)
		return -ENOMEM;
	refcount_set(&a->users, 1);
	spin_lock_init(&a->lock);
	INIT_LIST_HEAD(&a->pages);
	a->v = v;
	v->apf = a;
	return 0;
}

void cb_apf_free(struct cb_vcpu *v)
{
	if (v->apf)
		put_apf(v->apf);
}

int cb_apf_init(void)
{
	/* so many on each CPU: an unbound queue's are divided among nodes since Linux 6.9 */
	apf_wq = alloc_workqueue("corbel_apf", 0, PAGES_AT_ONCE);
	return apf_wq ? 0 : -ENOMEM;
}

void cb_apf_exit(void)
{
	destroy_workqueue(apf_wq);
}
