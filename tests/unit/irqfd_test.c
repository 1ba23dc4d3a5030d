/* SPDX-License-Identifier: GPL-2.0-only */
/* links: -Itests/unit/kernel -lpthread dom0/kmod/routes.c */
/*
 * irqfds of corbel.ko beside a kernel made of threads: what is assigned, deassigned, closed,
 * signalled and acknowledged at once is freed once, after its last use, and nothing of it stays.
 */
#include "hv/lib/types.h"
#include "kernel.h"
#include "test.h"

enum { CB_IRQCHIP_NONE, CB_IRQCHIP_FULL };
enum cb_irq_source { CB_SRC_USER, CB_SRC_IRQFD, CB_SRC_RESAMPLE };

struct cb_vm {
	struct mutex lock;
	int irqchip;
	spinlock_t irqfds_lock;
	struct list_head irqfds;
	struct hlist_head *resamplers;
};
struct vcpu_data {
	u64 pi_desc_addr;
	u32 vector;
};
struct irq_bypass_producer {
	void *token;
	int irq;
};
struct irq_bypass_consumer {
	void *token;
	int (*add_producer)(struct irq_bypass_consumer *c, struct irq_bypass_producer *p);
	void (*del_producer)(struct irq_bypass_consumer *c, struct irq_bypass_producer *p);
};

static struct workqueue_struct queue, *cb_wq = &queue;
static struct cb_vm vm;

/* ---- the rest of corbel.ko, and irqbypass ---- */

static u32 edges[CB_MAX_ROUTES];   /* atomic, as are these */
static bool levels[CB_MAX_ROUTES]; /* resampled lines */
static bool acks_told;
static u32 raised_early;	/* resampled ones whose acknowledgement nobody would have told */
static struct vcpu_data target; /* where the routes lead */
/* One device for each eventfd that has a consumer. */
#define DEVICES 8
static struct irq_bypass_consumer *consumer[DEVICES];
static struct irq_bypass_producer device[DEVICES];
static struct vcpu_data posted_to[DEVICES];
static bool has_device;
static pthread_mutex_t bypass = PTHREAD_MUTEX_INITIALIZER;

bool cb_irqfd_wants_ack(struct cb_vm *of, u32 gsi);

static void cb_irq_set(struct cb_vm *of, enum cb_irq_source src, u32 gsi, bool level)
{
	if (src == CB_SRC_RESAMPLE && level && !__atomic_load_n(&acks_told, __ATOMIC_SEQ_CST))
		__atomic_fetch_add(&raised_early, 1, __ATOMIC_SEQ_CST);
	if (src == CB_SRC_RESAMPLE)
		__atomic_store_n(&levels[gsi], level, __ATOMIC_SEQ_CST);
	else if (level)
		__atomic_fetch_add(&edges[gsi], 1, __ATOMIC_SEQ_CST);
}

/* Acknowledgements are told from here on, if there is anyone who waits for them. */
static void cb_irq_update_eoi(struct cb_vm *of)
{
	bool any = false;

	for (u32 gsi = 0; gsi < CB_MAX_ROUTES; gsi++)
		any |= cb_irqfd_wants_ack(of, gsi);
	__atomic_store_n(&acks_told, any, __ATOMIC_SEQ_CST);
}

static void cb_irq_posting(struct cb_vm *of, u32 gsi, struct vcpu_data *to)
{
	*to = target;
}

static int irq_set_vcpu_affinity(int irq, void *to)
{
	posted_to[irq] = to ? *(struct vcpu_data *)to : (struct vcpu_data){0};
	return 0;
}

/* Of one token only one consumer is taken. */
static int irq_bypass_register_consumer(struct irq_bypass_consumer *c)
{
	int r = 0, i, at = -1;

	pthread_mutex_lock(&bypass);
	for (i = 0; i < DEVICES; i++) {
		if (consumer[i] && consumer[i]->token == c->token)
			r = -EBUSY;
		if (!consumer[i] && at < 0)
			at = i;
	}
	if (at < 0)
		r = -EBUSY;
	if (!r) {
		consumer[at] = c;
		device[at].irq = at;
		r = has_device ? c->add_producer(c, &device[at]) : 0;
	}
	pthread_mutex_unlock(&bypass);
	return r;
}

static void irq_bypass_unregister_consumer(struct irq_bypass_consumer *c)
{
	pthread_mutex_lock(&bypass);
	for (int i = 0; i < DEVICES && c->token; i++) {
		if (consumer[i] != c)
			continue;
		if (has_device)
			c->del_producer(c, &device[i]);
		consumer[i] = NULL;
	}
	pthread_mutex_unlock(&bypass);
}

static bool nothing_posted(void)
{
	for (u32 i = 0; i < DEVICES; i++)
		if (consumer[i] || posted_to[i].pi_desc_addr)
			return false;
	return true;
}

void cb_irqfd_rerouted(struct cb_vm *of);
void cb_irqfd_acked(struct cb_vm *of, u32 gsi);
void cb_irqfd_sint_acked(struct cb_vm *of, const struct routes *routes, u32 vcpu);
bool cb_irqfd_awaits_sint(struct cb_vm *of, const struct routes *routes);
u64 cb_irqfd_awaited_pins(struct cb_vm *of, const struct routes *routes);
int cb_irqfd(struct cb_vm *of, const struct kvm_irqfd *args);
void cb_irqfd_release(struct cb_vm *of);
#include "dom0/kmod/irqfd.c"

/* ---- user space ---- */

static int change(int fd, u32 gsi, u32 flags, int resample)
{
	struct kvm_irqfd args = {.fd = fd, .gsi = gsi, .flags = flags, .resamplefd = resample};

	return cb_irqfd(&vm, &args);
}

static int assign(int fd, u32 gsi)
{
	return change(fd, gsi, 0, -1);
}

static int deassign(int fd, u32 gsi)
{
	return change(fd, gsi, KVM_IRQFD_FLAG_DEASSIGN, -1);
}

static void signal_fd(int fd)
{
	struct file *f = eventfd_fget(fd);

	if (IS_ERR(f))
		return;
	cb_eventfd_signal(f->ctx);
	fput(f);
}

static u64 count_of(int fd)
{
	return kernel_fd[fd]->ctx->count;
}

static u32 waiters_of(int fd)
{
	u32 n = 0;

	for (struct list_head *l = kernel_fd[fd]->ctx->wqh.head.next;
	     l != &kernel_fd[fd]->ctx->wqh.head; l = l->next)
		n++;
	return n;
}

static void begin(void)
{
	vm.irqchip = CB_IRQCHIP_FULL;
	pthread_mutex_init(&vm.lock.m, NULL);
	pthread_mutex_init(&vm.irqfds_lock, NULL);
	INIT_LIST_HEAD(&vm.irqfds);
	memset(edges, 0, sizeof(edges));
	memset(levels, 0, sizeof(levels));
}

/* As cb_irqchip_exit(). */
static void check_end(void)
{
	kvfree(vm.resamplers);
	vm.resamplers = NULL;
	CHECK(!kernel_live, "nothing stays (%u)", kernel_live);
}

/* ---- one at a time ---- */

static void test_edge(void)
{
	begin();
	kernel_open(0);
	kernel_open(1);
	signal_fd(0);
	CHECK(!assign(0, 5) && edges[5] == 1, "what was signalled before is an interrupt at once");
	signal_fd(0);
	CHECK(edges[5] == 2 && !count_of(0), "each signal is one, and taken");
	CHECK(assign(0, 6) == -EBUSY && waiters_of(0) == 1, "an eventfd is for one line");
	CHECK(!assign(1, 5) && !deassign(0, 6) && !deassign(1, 6), "a line may have several");
	signal_fd(0);
	CHECK(edges[5] == 3, "to deassign another line changes nothing");
	CHECK(!deassign(0, 5) && !waiters_of(0), "afterwards nobody waits");
	signal_fd(0);
	CHECK(edges[5] == 3 && count_of(0) == 1, "and nothing is raised");
	cb_irqfd_release(&vm);
	CHECK(!waiters_of(1) && list_empty(&vm.irqfds), "a VM's end takes all");
	kernel_close(0);
	kernel_close(1);
	check_end();
}

static void test_refusals(void)
{
	u32 i, live;

	begin();
	kernel_open(0);
	live = kernel_live;
	CHECK(assign(3, 5) == -EBADF && deassign(3, 5) == -EBADF &&
		  change(0, 5, KVM_IRQFD_FLAG_RESAMPLE, 3) == -EBADF,
	      "what is no eventfd is refused");
	CHECK(assign(0, CB_MAX_ROUTES) == -EINVAL && change(0, 5, 0x80, -1) == -EINVAL,
	      "so are lines and flags that there are not");
	vm.irqchip = CB_IRQCHIP_NONE;
	CHECK(assign(0, 5) == -EINVAL, "and a VM without lines");
	vm.irqchip = CB_IRQCHIP_FULL;
	for (i = 1; i < 5; i++) {
		kernel_fail = i;
		if (!assign(0, 5))
			break;
	}
	CHECK(i == 2 && kernel_live == live + 1, "without memory there is none");
	kernel_fail = 0;
	deassign(0, 5);
	CHECK(kernel_live == live && kernel_fd[0]->refs == 1 && kernel_fd[0]->ctx->refs == 1,
	      "and nothing of what was refused is kept");
	kernel_close(0);
}

static void test_resample(void)
{
	begin();
	kernel_open(0);
	kernel_open(1);
	kernel_open(2);
	kernel_open(3);
	acks_told = false;
	signal_fd(0);
	CHECK(!change(0, 9, KVM_IRQFD_FLAG_RESAMPLE, 1) &&
		  !change(2, 9, KVM_IRQFD_FLAG_RESAMPLE, 3) && cb_irqfd_wants_ack(&vm, 9) &&
		  !cb_irqfd_wants_ack(&vm, 8),
	      "two share a line that is acknowledged");
	signal_fd(0);
	CHECK(levels[9] && !edges[9] && !raised_early,
	      "it stays high, and had been signalled before: its acknowledgement is told by then");
	cb_irqfd_acked(&vm, 8);
	CHECK(levels[9] && !count_of(1), "whatever is acknowledged beside it");
	cb_irqfd_acked(&vm, 9);
	CHECK(!levels[9] && count_of(1) == 1 && count_of(3) == 1, "until it is; both are told");
	signal_fd(2);
	CHECK(!deassign(0, 9) && levels[9], "one goes, the other goes on");
	kernel_close(2);
	flush_workqueue(cb_wq);
	CHECK(!levels[9] && !cb_irqfd_wants_ack(&vm, 9) && list_empty(&vm.irqfds),
	      "the last one's eventfd is closed: nobody could lower the line any more");
	kernel_close(0);
	kernel_close(1);
	kernel_close(3);
	check_end();
}

static u32 reading; /* atomic: 1, a reader is in the list; 2, it is to go */

static void *reader(void *arg)
{
	rcu_read_lock();
	__atomic_store_n(&reading, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&reading, __ATOMIC_SEQ_CST) == 1)
		sched_yield();
	rcu_read_unlock();
	return NULL;
}

/* It goes while an acknowledgement may be reading the list that it was in. */
static void test_reader(void)
{
	pthread_t t;
	u32 held;

	begin();
	kernel_open(0);
	kernel_open(1);
	CHECK(!change(0, 9, KVM_IRQFD_FLAG_RESAMPLE, 1), "one that is acknowledged");
	pthread_create(&t, NULL, reader, NULL);
	while (!__atomic_load_n(&reading, __ATOMIC_SEQ_CST))
		sched_yield();
	kernel_close(0);
	nanosleep(&(struct timespec){0, 100000000}, NULL);
	held = __atomic_load_n(&kernel_live, __ATOMIC_SEQ_CST);
	__atomic_store_n(&reading, 2, __ATOMIC_SEQ_CST);
	pthread_join(t, NULL);
	flush_workqueue(cb_wq);
	CHECK(held > kernel_live && list_empty(&vm.irqfds),
	      "what an acknowledgement may be reading is not freed meanwhile");
	kernel_close(1);
	check_end();
}

/* Whose ends are wanted, by what the GSIs lead to. */
static void test_awaited(void)
{
	static const struct kvm_irq_routing_entry to[] = {
	    {.gsi = 9, .type = KVM_IRQ_ROUTING_IRQCHIP, .u.irqchip = {KVM_IRQCHIP_IOAPIC, 3}},
	    {.gsi = 10, .type = KVM_IRQ_ROUTING_HV_SINT, .u.hv_sint = {7, 2}}};
	struct routes *rt = calloc(1, sizeof(*rt) + 2 * sizeof(rt->route[0]));

	begin();
	kernel_open(0);
	kernel_open(1);
	kernel_open(2);
	if (!rt || routes_build(rt, to, 2, true))
		abort();
	CHECK(!cb_irqfd_awaited_pins(&vm, rt) && !cb_irqfd_awaits_sint(&vm, rt),
	      "nobody waits for an end");
	CHECK(!change(0, 9, KVM_IRQFD_FLAG_RESAMPLE, 1) && !assign(2, 10) &&
		  cb_irqfd_awaited_pins(&vm, rt) == 1u << 3 && !cb_irqfd_awaits_sint(&vm, rt),
	      "one does for a pin's");
	CHECK(!deassign(2, 10) && !deassign(0, 9) && !change(0, 10, KVM_IRQFD_FLAG_RESAMPLE, 1) &&
		  !cb_irqfd_awaited_pins(&vm, rt) && cb_irqfd_awaits_sint(&vm, rt),
	      "or a SINT's");
	cb_irqfd_sint_acked(&vm, rt, 6);
	CHECK(!count_of(1), "whose is another vCPU's");
	cb_irqfd_sint_acked(&vm, rt, 7);
	CHECK(count_of(1) == 1 && !deassign(0, 10), "and it hears of it");
	free(rt);
	for (int i = 0; i < 3; i++)
		kernel_close(i);
	check_end();
}

static void test_posting(void)
{
	begin();
	kernel_open(0);
	has_device = true;
	target = (struct vcpu_data){.pi_desc_addr = 0x1000, .vector = 0x41};
	CHECK(!assign(0, 5) && posted_to[0].pi_desc_addr == 0x1000 && posted_to[0].vector == 0x41,
	      "a device's interrupt goes to the vCPU itself");
	target.vector = 0x42;
	cb_irqfd_rerouted(&vm);
	CHECK(posted_to[0].vector == 0x42, "after a change as that says");
	target = (struct vcpu_data){0};
	cb_irqfd_rerouted(&vm);
	CHECK(!posted_to[0].pi_desc_addr, "or no longer");
	target.pi_desc_addr = 0x2000;
	cb_irqfd_rerouted(&vm);
	CHECK(posted_to[0].pi_desc_addr == 0x2000 && !deassign(0, 5) && !posted_to[0].pi_desc_addr,
	      "nor when it is deassigned");
	has_device = false;
	kernel_close(0);
	check_end();
}

/* ---- all at once ---- */

#define FIGHT_MS   1500
#define FIGHT_FDS  4 /* and as many to be told by */
#define FIGHT_GSIS 3
static bool stop;

static void *fighter(void *arg)
{
	u32 seed = 1 + (u32)(u64)arg, assigned = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		int fd = rand_r(&seed) % FIGHT_FDS;
		u32 gsi = rand_r(&seed) % FIGHT_GSIS, what = rand_r(&seed) % 32;

		if (what < 8)
			assigned += !assign(fd, gsi);
		else if (what < 14)
			assigned += !change(fd, gsi, KVM_IRQFD_FLAG_RESAMPLE, FIGHT_FDS + fd % 2);
		else if (what < 20)
			deassign(fd, gsi);
		else if (what < 26)
			signal_fd(fd);
		else if (what < 29)
			cb_irqfd_acked(&vm, gsi);
		else if (what < 30)
			cb_irqfd_rerouted(&vm);
		else if (arg == 0) {
			/* one thread only: else a new file might be lost */
			kernel_close(fd);
			kernel_open(fd);
		}
	}
	return (void *)(u64)assigned;
}

static void test_fight(void)
{
	pthread_t t[4];
	u64 assigned = 0, n, raised = 0;

	begin();
	has_device = true;
	target.pi_desc_addr = 0x3000;
	for (u32 i = 0; i < 2 * FIGHT_FDS; i++)
		kernel_open((int)i);
	for (u64 i = 0; i < ARRAY_SIZE(t); i++)
		pthread_create(&t[i], NULL, fighter, (void *)i);
	nanosleep(&(struct timespec){FIGHT_MS / 1000, FIGHT_MS % 1000 * 1000000}, NULL);
	__atomic_store_n(&stop, true, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		pthread_join(t[i], (void **)&n);
		assigned += n;
	}
	for (u32 i = 0; i < FIGHT_GSIS; i++)
		raised += edges[i];
	CHECK(assigned > 20 && raised > 2, "threads have assigned %llu, and %llu were raised",
	      (unsigned long long)assigned, (unsigned long long)raised);
	cb_irqfd_release(&vm);
	CHECK(list_empty(&vm.irqfds) && nothing_posted(),
	      "then the VM ends, and nothing is posted");
	for (u32 i = 0; i < FIGHT_GSIS; i++)
		CHECK(!levels[i], "line %u is low", i);
	for (u32 i = 0; i < 2 * FIGHT_FDS; i++)
		kernel_close((int)i);
	flush_workqueue(cb_wq);
	check_end();
}

int main(void)
{
	kernel_start_worker(cb_wq);
	test_edge();
	test_refusals();
	test_resample();
	test_reader();
	test_awaited();
	test_posting();
	test_fight();
	kernel_stop_worker(cb_wq);
	return test_end();
}
