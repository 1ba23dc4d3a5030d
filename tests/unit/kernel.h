/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What files of corbel.ko ask of Linux, for tests that include one of them: the same calls with the
 * same promises, on threads. It stands in for kmod.h and others. Locks are POSIX's, so that
 * ThreadSanitizer knows what they order; what is freed is freed, so that the sanitizers see who
 * still uses it.
 */
#ifndef TESTS_UNIT_KERNEL_H
#define TESTS_UNIT_KERNEL_H

/* instead of them */
#define KMOD_H
#define KMOD_IRQ_H
#define KMOD_MEMORY_H
#define KMOD_HYPERV_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "dom0/kmod/pure.h"
#include "hv/abi.h"

/* of which dom0/kmod/dom0.h speaks, which needs nothing else of kmod.h */
struct cb_share;
struct cb_vcpu;
struct task_struct;

#ifndef READ_ONCE
#error hv/lib/types.h has it
#endif
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
#define __rcu
#define GFP_KERNEL	   0
#define GFP_KERNEL_ACCOUNT 0
#define IS_ERR(p)	   ((unsigned long)(p) >= -4095ul)
#define PTR_ERR(p)	   ((long)(p))
#define ERR_PTR(e)	   ((void *)(long)(e))

static inline int PTR_ERR_OR_ZERO(const void *p)
{
	return IS_ERR(p) ? PTR_ERR(p) : 0;
}

/* ---- memory ---- */
static u32 kernel_live; /* objects; atomic */
static u32 kernel_fail; /* the so-manieth allocation fails; 0: none */

static inline void *kzalloc(size_t bytes, int flags)
{
	if (kernel_fail && !--kernel_fail)
		return NULL;
	__atomic_fetch_add(&kernel_live, 1, __ATOMIC_RELAXED);
	return calloc(1, bytes);
}

static inline void *kvcalloc(size_t n, size_t bytes, int flags)
{
	return kzalloc(n * bytes, flags);
}

static inline void kfree(void *p)
{
	if (p)
		__atomic_fetch_sub(&kernel_live, 1, __ATOMIC_RELAXED);
	free(p);
}

#define kvfree kfree

/* ---- locks ---- */
typedef pthread_mutex_t spinlock_t;
struct mutex {
	pthread_mutex_t m;
};
#define DEFINE_SPINLOCK(name) spinlock_t name = PTHREAD_MUTEX_INITIALIZER
#define spin_lock_irq(l)      pthread_mutex_lock(l)
#define spin_unlock_irq(l)    pthread_mutex_unlock(l)
#define spin_lock_irqsave(l, flags)                                                                \
	do {                                                                                       \
		(flags) = 0;                                                                       \
		pthread_mutex_lock(l);                                                             \
	} while (0)
#define spin_unlock_irqrestore(l, flags) ((void)(flags), pthread_mutex_unlock(l))
#define mutex_lock(l)			 pthread_mutex_lock(&(l)->m)
#define mutex_unlock(l)			 pthread_mutex_unlock(&(l)->m)
#define lockdep_assert_held(l)		 ((void)(l))

static inline bool spin_is_locked(spinlock_t *l)
{
	if (pthread_mutex_trylock(l))
		return true;
	pthread_mutex_unlock(l);
	return false;
}

/* Readers are many, who waits for them is the writer. */
static pthread_rwlock_t kernel_rcu; /* zeros are its initial state */

static inline void rcu_read_lock(void)
{
	pthread_rwlock_rdlock(&kernel_rcu);
}

static inline void rcu_read_unlock(void)
{
	pthread_rwlock_unlock(&kernel_rcu);
}

static inline void synchronize_rcu(void)
{
	pthread_rwlock_wrlock(&kernel_rcu);
	pthread_rwlock_unlock(&kernel_rcu);
}

#define rcu_dereference(p)	 __atomic_load_n(&(p), __ATOMIC_ACQUIRE)
#define rcu_assign_pointer(p, v) __atomic_store_n(&(p), v, __ATOMIC_RELEASE)
#define RCU_INIT_POINTER(p, v)	 __atomic_store_n(&(p), v, __ATOMIC_RELAXED)
#define smp_load_acquire(p)	 __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define smp_store_release(p, v)	 __atomic_store_n(p, v, __ATOMIC_RELEASE)
#define xchg(p, v)		 __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)

/* ---- bits ---- */
#define BITMAP_LONG		   64
#define DECLARE_BITMAP(name, bits) unsigned long name[(bits) / BITMAP_LONG]
#define __set_bit(n, map)	   ((map)[(n) / BITMAP_LONG] |= 1ul << (n) % BITMAP_LONG)
#define __clear_bit(n, map)	   ((map)[(n) / BITMAP_LONG] &= ~(1ul << (n) % BITMAP_LONG))
#define __ffs(x)		   ((u32)__builtin_ctzl(x))

static inline bool __test_and_clear_bit(u32 n, unsigned long *map)
{
	bool was = map[n / BITMAP_LONG] >> n % BITMAP_LONG & 1;

	__clear_bit(n, map);
	return was;
}

/* ---- lists; `next` is read by RCU's readers ---- */
struct list_head {
	struct list_head *next, *prev;
};

static inline void INIT_LIST_HEAD(struct list_head *l)
{
	l->next = l->prev = l;
}

static inline void list_add_tail_rcu(struct list_head *l, struct list_head *head)
{
	l->next = head;
	l->prev = head->prev;
	__atomic_store_n(&head->prev->next, l, __ATOMIC_RELEASE);
	head->prev = l;
}

static inline void list_del_rcu(struct list_head *l)
{
	l->next->prev = l->prev;
	__atomic_store_n(&l->prev->next, l->next, __ATOMIC_RELEASE);
	l->prev = NULL;
}

static inline void list_del_init(struct list_head *l)
{
	list_del_rcu(l);
	INIT_LIST_HEAD(l);
}

static inline bool list_empty(const struct list_head *l)
{
	return l->next == l;
}

#define list_add_tail		 list_add_tail_rcu
#define LIST_ENTRY(l, p, member) container_of(l, __typeof__(*(p)), member)
#define LIST_NEXT(l)		 __atomic_load_n(&(l)->next, __ATOMIC_ACQUIRE)
#define list_for_each_entry_rcu(p, head, member)                                                   \
	for ((p) = LIST_ENTRY(LIST_NEXT(head), p, member); &(p)->member != (head);                 \
	     (p) = LIST_ENTRY(LIST_NEXT(&(p)->member), p, member))
#define list_for_each_entry list_for_each_entry_rcu
#define list_for_each_entry_safe(p, n, head, member)                                               \
	for ((p) = LIST_ENTRY((head)->next, p, member),                                            \
	    (n) = LIST_ENTRY((p)->member.next, p, member);                                         \
	     &(p)->member != (head); (p) = (n), (n) = LIST_ENTRY((n)->member.next, n, member))

struct hlist_node {
	struct hlist_node *next, **pprev;
};
struct hlist_head {
	struct hlist_node *first;
};

static inline void hlist_add_head_rcu(struct hlist_node *n, struct hlist_head *head)
{
	n->next = head->first;
	n->pprev = &head->first;
	if (n->next)
		n->next->pprev = &n->next;
	__atomic_store_n(&head->first, n, __ATOMIC_RELEASE);
}

static inline void hlist_del_rcu(struct hlist_node *n)
{
	if (n->next)
		n->next->pprev = n->pprev;
	__atomic_store_n(n->pprev, n->next, __ATOMIC_RELEASE);
}

static inline bool hlist_empty(const struct hlist_head *head)
{
	return !__atomic_load_n(&head->first, __ATOMIC_ACQUIRE);
}

#define HLIST_ENTRY(n, p, member)                                                                  \
	({                                                                                         \
		struct hlist_node *node = __atomic_load_n(&(n), __ATOMIC_ACQUIRE);                 \
		node ? container_of(node, __typeof__(*(p)), member) : NULL;                        \
	})
#define hlist_for_each_entry_rcu(p, head, member)                                                  \
	for ((p) = HLIST_ENTRY((head)->first, p, member); (p);                                     \
	     (p) = HLIST_ENTRY((p)->member.next, p, member))

/* ---- a work queue of one thread ---- */
struct work_struct {
	void (*fn)(struct work_struct *work);
	struct work_struct *next;
	bool queued;
};
struct workqueue_struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	pthread_t thread;
	struct work_struct *first, **last;
	u64 taken_in, done;
	bool stops;
};
#define INIT_WORK(w, f) (*(w) = (struct work_struct){.fn = (f)})

static void *kernel_worker(void *arg)
{
	struct workqueue_struct *q = arg;

	pthread_mutex_lock(&q->lock);
	while (q->first || !q->stops) {
		struct work_struct *w = q->first;

		if (!w) {
			pthread_cond_wait(&q->changed, &q->lock);
			continue;
		}
		q->first = w->next;
		if (!q->first)
			q->last = &q->first;
		w->queued = false;
		pthread_mutex_unlock(&q->lock);
		w->fn(w); /* and it may be gone */
		pthread_mutex_lock(&q->lock);
		q->done++;
		pthread_cond_broadcast(&q->changed);
	}
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

static inline void kernel_start_worker(struct workqueue_struct *q)
{
	*q = (struct workqueue_struct){.lock = PTHREAD_MUTEX_INITIALIZER,
				       .changed = PTHREAD_COND_INITIALIZER,
				       .last = &q->first};
	pthread_create(&q->thread, NULL, kernel_worker, q);
}

static inline void kernel_stop_worker(struct workqueue_struct *q)
{
	pthread_mutex_lock(&q->lock);
	q->stops = true;
	pthread_cond_broadcast(&q->changed);
	pthread_mutex_unlock(&q->lock);
	pthread_join(q->thread, NULL);
}

static inline bool queue_work(struct workqueue_struct *q, struct work_struct *w)
{
	bool new;

	pthread_mutex_lock(&q->lock);
	new = !w->queued;
	if (new) {
		w->queued = true;
		w->next = NULL;
		*q->last = w;
		q->last = &w->next;
		q->taken_in++;
		pthread_cond_broadcast(&q->changed);
	}
	pthread_mutex_unlock(&q->lock);
	return new;
}

static inline void flush_workqueue(struct workqueue_struct *q)
{
	u64 until;

	pthread_mutex_lock(&q->lock);
	for (until = q->taken_in; q->done < until;)
		pthread_cond_wait(&q->changed, &q->lock);
	pthread_mutex_unlock(&q->lock);
}

/* ---- eventfds: files with a count, and who waits for it ---- */
typedef unsigned int __poll_t;
#define EPOLLIN		 1u
#define EPOLLHUP	 0x10u
#define key_to_poll(key) ((__poll_t)(unsigned long)(key))

typedef struct wait_queue_entry {
	int (*func)(struct wait_queue_entry *wait, unsigned int mode, int sync, void *key);
	struct list_head entry;
} wait_queue_entry_t;
typedef struct {
	spinlock_t lock;
	struct list_head head;
} wait_queue_head_t;
struct eventfd_ctx {
	u32 refs; /* atomic */
	wait_queue_head_t wqh;
	u64 count; /* under its lock */
};
struct file {
	u32 refs; /* atomic */
	struct eventfd_ctx *ctx;
	void *private_data;
};
typedef struct poll_table {
	void (*proc)(struct file *file, wait_queue_head_t *head, struct poll_table *table);
} poll_table;

#define init_waitqueue_func_entry(w, f) ((w)->func = (f))
#define init_poll_funcptr(t, f)		((t)->proc = (f))

static inline void add_wait_queue_priority(wait_queue_head_t *q, wait_queue_entry_t *w)
{
	spin_lock_irq(&q->lock);
	list_add_tail(&w->entry, &q->head);
	spin_unlock_irq(&q->lock);
}

static inline void kernel_wake_locked(wait_queue_head_t *q, __poll_t events)
{
	wait_queue_entry_t *w, *next;

	list_for_each_entry_safe(w, next, &q->head, entry)
	    w->func(w, 0, 0, (void *)(unsigned long)events);
}

static inline void eventfd_ctx_put(struct eventfd_ctx *ctx)
{
	if (__atomic_sub_fetch(&ctx->refs, 1, __ATOMIC_ACQ_REL))
		return;
	pthread_mutex_destroy(&ctx->wqh.lock);
	kfree(ctx);
}

static inline void cb_eventfd_signal(struct eventfd_ctx *ctx)
{
	spin_lock_irq(&ctx->wqh.lock);
	ctx->count++;
	kernel_wake_locked(&ctx->wqh, EPOLLIN);
	spin_unlock_irq(&ctx->wqh.lock);
}

/* From a waiter, who is called with the lock held. */
static inline void eventfd_ctx_do_read(struct eventfd_ctx *ctx, u64 *count)
{
	*count = ctx->count;
	ctx->count = 0;
}

static inline int eventfd_ctx_remove_wait_queue(struct eventfd_ctx *ctx, wait_queue_entry_t *w,
						u64 *count)
{
	spin_lock_irq(&ctx->wqh.lock);
	eventfd_ctx_do_read(ctx, count);
	list_del_init(&w->entry);
	spin_unlock_irq(&ctx->wqh.lock);
	return *count ? 0 : -EAGAIN;
}

static inline __poll_t vfs_poll(struct file *f, poll_table *t)
{
	u64 count;

	t->proc(f, &f->ctx->wqh, t);
	spin_lock_irq(&f->ctx->wqh.lock);
	count = f->ctx->count;
	spin_unlock_irq(&f->ctx->wqh.lock);
	return count ? EPOLLIN : 0;
}

static inline void fput(struct file *f)
{
	if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL))
		return;
	spin_lock_irq(&f->ctx->wqh.lock);
	kernel_wake_locked(&f->ctx->wqh, EPOLLHUP);
	spin_unlock_irq(&f->ctx->wqh.lock);
	eventfd_ctx_put(f->ctx);
	kfree(f);
}

/* A process' descriptors */
#define KERNEL_FDS 8
static struct file *kernel_fd[KERNEL_FDS];
static pthread_mutex_t kernel_fds = PTHREAD_MUTEX_INITIALIZER;

static inline void kernel_open(int fd)
{
	struct file *f = kzalloc(sizeof(*f), 0);

	f->refs = 1;
	f->ctx = kzalloc(sizeof(*f->ctx), 0);
	f->ctx->refs = 1;
	pthread_mutex_init(&f->ctx->wqh.lock, NULL);
	INIT_LIST_HEAD(&f->ctx->wqh.head);
	pthread_mutex_lock(&kernel_fds);
	kernel_fd[fd] = f;
	pthread_mutex_unlock(&kernel_fds);
}

static inline void kernel_close(int fd)
{
	struct file *f;

	pthread_mutex_lock(&kernel_fds);
	f = kernel_fd[fd];
	kernel_fd[fd] = NULL;
	pthread_mutex_unlock(&kernel_fds);
	if (f)
		fput(f);
}

static inline struct file *eventfd_fget(int fd)
{
	struct file *f = NULL;

	pthread_mutex_lock(&kernel_fds);
	if (fd >= 0 && fd < KERNEL_FDS)
		f = kernel_fd[fd];
	if (f)
		__atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&kernel_fds);
	return f ?: ERR_PTR(-EBADF);
}

static inline struct eventfd_ctx *eventfd_ctx_fileget(struct file *f)
{
	__atomic_fetch_add(&f->ctx->refs, 1, __ATOMIC_RELAXED);
	return f->ctx;
}

static inline struct eventfd_ctx *eventfd_ctx_fdget(int fd)
{
	struct file *f = eventfd_fget(fd);
	struct eventfd_ctx *ctx;

	if (IS_ERR(f))
		return (void *)f;
	ctx = eventfd_ctx_fileget(f);
	fput(f);
	return ctx;
}

#endif
