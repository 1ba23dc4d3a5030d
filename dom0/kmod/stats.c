// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the hypervisor counts of VMs and vCPUs.
 *
 * KVM_GET_STATS_FD: as a file that describes itself: header, name of its owner, descriptors,
 * values.
 *
 * debugfs, kvm/: a file for each count, of all VMs; and the same in a directory for each VM, which
 * is called by the VMM's thread and file descriptor. For KVM's own tool, kvm_stat.
 */
#include "kmod.h"

#include <linux/anon_inodes.h>
#include <linux/debugfs.h>
#include <linux/file.h>

#define NAME_SIZE 48 /* KVM's */

#define COUNT	(KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_NONE)
#define SECONDS (KVM_STATS_TYPE_CUMULATIVE | KVM_STATS_UNIT_SECONDS)
#define BYTES	(KVM_STATS_TYPE_INSTANT | KVM_STATS_UNIT_BYTES)
#define NANO	(-9) /* exponent */

struct stat_desc {
	const char *name;
	u32 flags;
	s16 exponent;
	u16 at; /* of a u64 in the hypervisor's structure */
};

/* Linux' structure ends in the name, which has a size in later headers, and none in earlier ones.
 */
union entry {
	struct kvm_stats_desc desc;
	u8 space[offsetof(struct kvm_stats_desc, name) + NAME_SIZE];
};
static_assert(sizeof(union entry) == offsetof(struct kvm_stats_desc, name) + NAME_SIZE);

struct head {
	struct kvm_stats_header h;
	char id[NAME_SIZE];
};

struct stats_file {
	struct cb_vm *vm;
	const struct cb_vcpu *vcpu; /* NULL: the VM's */
};

static_assert(CB_EXIT_NR <= CORBEL_EXIT_STATS);

#define EXIT(id, name)                                                                             \
	{                                                                                          \
		name, COUNT, 0,                                                                    \
		    offsetof(struct corbel_vcpu_stat, exits) + CB_EXIT_##id *(u16)sizeof(u64)      \
	}

/* First under KVM's names, as far as they mean the same; then all by the hypervisor's. */
static const struct stat_desc vcpu_stats[] = {
    {"exits", COUNT, 0, offsetof(struct corbel_vcpu_stat, exits_total)},
    EXIT(IO, "io_exits"),
    EXIT(HLT, "halt_exits"),
    EXIT(INTR, "irq_exits"),
    EXIT(IRQ_WINDOW, "irq_window_exits"),
    EXIT(NMI_WINDOW, "nmi_window_exits"),
    EXIT(HYPERCALL, "hypercalls"),
    {"run_time", SECONDS, NANO, offsetof(struct corbel_vcpu_stat, runtime_ns)},
    {"steal_time", SECONDS, NANO, offsetof(struct corbel_vcpu_stat, steal_ns)},
#define X(id, name) EXIT(id, "exits-" name),
    CORBEL_EXIT_NAMES
#undef X
};

static const struct stat_desc vm_stats[] = {
    {"mapped_bytes", BYTES, 0, offsetof(struct corbel_vm_stat, mapped_bytes)},
    {"pool_bytes", BYTES, 0, offsetof(struct corbel_vm_stat, pool_bytes)},
    {"run_time", SECONDS, NANO, offsetof(struct corbel_vm_stat, runtime_ns)},
};

#define IMAGE_SIZE(n) (sizeof(struct head) + (n) * (sizeof(union entry) + sizeof(u64)))
static_assert(IMAGE_SIZE(ARRAY_SIZE(vcpu_stats)) <= PAGE_SIZE);
static_assert(sizeof(struct corbel_vcpu_stat) <= PAGE_SIZE);

#define STAT_TRIES 16

/*
 * What the hypervisor says of this VM or vCPU, into the page buf; both structures begin with the
 * id. Only the place in a list can be asked for, and where others end meanwhile it is missed.
 */
static void find_stat(u32 what, u32 id, void *buf)
{
	u32 i, tries;

	for (tries = 0; tries < STAT_TRIES; tries++) {
		for (i = 0; HC4(STAT, what, i, cb_phys(buf), PAGE_SIZE) > 0; i++)
			if (*(const u32 *)buf == id)
				return;
		cond_resched();
	}
	clear_page(buf);
}

static size_t build_image(const struct stats_file *s, void *image, void *stat)
{
	const struct stat_desc *table = s->vcpu ? vcpu_stats : vm_stats;
	u32 n = s->vcpu ? ARRAY_SIZE(vcpu_stats) : ARRAY_SIZE(vm_stats), i;
	struct head *head = image;
	union entry *entry = (void *)(head + 1);
	u64 *value = (void *)(entry + n);

	head->h = (struct kvm_stats_header){
	    .name_size = NAME_SIZE,
	    .num_desc = n,
	    .id_offset = offsetof(struct head, id),
	    .desc_offset = sizeof(*head),
	    .data_offset = (u8 *)value - (u8 *)image,
	};
	if (s->vcpu)
		snprintf(head->id, NAME_SIZE, "kvm-%d/vcpu-%u", s->vm->pid, s->vcpu->apic_id);
	else
		snprintf(head->id, NAME_SIZE, "kvm-%d", s->vm->pid);
	for (i = 0; i < n; i++) {
		entry[i].desc.flags = table[i].flags;
		entry[i].desc.exponent = table[i].exponent;
		entry[i].desc.size = 1;
		entry[i].desc.offset = i * sizeof(u64);
		strscpy(entry[i].desc.name, table[i].name, NAME_SIZE);
		value[i] = *(const u64 *)(stat + table[i].at);
	}
	return IMAGE_SIZE(n);
}

static ssize_t stats_read(struct file *file, char __user *to, size_t len, loff_t *pos)
{
	const struct stats_file *s = file->private_data;
	void *image = (void *)get_zeroed_page(GFP_KERNEL),
	     *stat = (void *)get_zeroed_page(GFP_KERNEL);
	u32 id = s->vcpu ? CORBEL_VCPU_ID(s->vcpu->number) : READ_ONCE(s->vm->id);
	ssize_t r = -ENOMEM;

	if (image && stat) {
		if (id) /* there is none before the first vCPU */
			find_stat(s->vcpu ? CORBEL_STAT_VCPU : CORBEL_STAT_VM, id, stat);
		r = simple_read_from_buffer(to, len, pos, image, build_image(s, image, stat));
	}
	free_page((unsigned long)image);
	free_page((unsigned long)stat);
	return r;
}

static int stats_release(struct inode *inode, struct file *file)
{
	struct stats_file *s = file->private_data;

	cb_vm_put(s->vm);
	kfree(s);
	return 0;
}

static const struct file_operations stats_fops = {
    .owner = THIS_MODULE,
    .read = stats_read,
    .release = stats_release,
    .llseek = noop_llseek,
};

int cb_stats_fd(struct cb_vm *vm, const struct cb_vcpu *vcpu)
{
	struct stats_file *s = kmalloc(sizeof(*s), GFP_KERNEL_ACCOUNT);
	struct file *file;
	int fd;

	if (!s)
		return -ENOMEM;
	*s = (struct stats_file){vm, vcpu};
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		goto free;
	file =
	    anon_inode_getfile(vcpu ? "kvm-vcpu-stats" : "kvm-vm-stats", &stats_fops, s, O_RDONLY);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto free;
	}
	refcount_inc(&vm->users);
	file->f_mode |= FMODE_PREAD; /* readers go from part to part */
	fd_install(fd, file);
	return fd;

free:
	kfree(s);
	return fd;
}

/* Of a VM, or if that is NULL of all of dom0's, which come one after the other with their vCPUs. */
static u64 sum_stat(const struct cb_vm *vm, enum corbel_stat what, u16 at, void *buf)
{
	u32 id = vm ? READ_ONCE(vm->id) : 0, i;
	u64 sum = 0;

	if (vm && !id)
		return 0;
	for (i = 0; HC4(STAT, what, i, cb_phys(buf), PAGE_SIZE) > 0; i++) {
		u32 of = what == CORBEL_STAT_VM ? ((struct corbel_vm_stat *)buf)->id
						: ((struct corbel_vcpu_stat *)buf)->vm;

		if (vm ? of == id : of)
			sum += *(const u64 *)(buf + at);
		cond_resched();
	}
	return sum;
}

static const struct stat_desc *stat_by_name(const struct stat_desc *table, u32 n, const char *name)
{
	u32 i;

	for (i = 0; i < n; i++)
		if (!strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

static u64 named_stat(const struct cb_vm *vm, const char *name, void *buf)
{
	const struct stat_desc *d = stat_by_name(vcpu_stats, ARRAY_SIZE(vcpu_stats), name);

	if (d)
		return sum_stat(vm, CORBEL_STAT_VCPU, d->at, buf);
	d = stat_by_name(vm_stats, ARRAY_SIZE(vm_stats), name);
	return d ? sum_stat(vm, CORBEL_STAT_VM, d->at, buf) : 0;
}

/* A file is called as its count is, and its inode knows the VM. */
static ssize_t count_read(struct file *file, char __user *to, size_t len, loff_t *pos)
{
	const char *name = file->f_path.dentry->d_name.name;
	void *buf = (void *)get_zeroed_page(GFP_KERNEL);
	char text[24];
	int n;

	if (!buf)
		return -ENOMEM;
	n = scnprintf(text, sizeof(text), "%llu\n",
		      named_stat(file_inode(file)->i_private, name, buf));
	free_page((unsigned long)buf);
	return simple_read_from_buffer(to, len, pos, text, n);
}

static const struct file_operations count_fops = {
    .owner = THIS_MODULE,
    .read = count_read,
    .llseek = default_llseek,
};

static struct dentry *all_counts; /* kvm/ */

static void add_counts(struct dentry *dir, struct cb_vm *vm)
{
	u32 i;

	for (i = 0; i < ARRAY_SIZE(vcpu_stats); i++)
		debugfs_create_file(vcpu_stats[i].name, 0444, dir, vm, &count_fops);
	for (i = 0; i < ARRAY_SIZE(vm_stats); i++)
		if (!stat_by_name(vcpu_stats, ARRAY_SIZE(vcpu_stats), vm_stats[i].name))
			debugfs_create_file(vm_stats[i].name, 0444, dir, vm, &count_fops);
}

void cb_counts_add(struct cb_vm *vm, int fd)
{
	static DEFINE_MUTEX(names);
	struct dentry *other;
	char name[24];

	snprintf(name, sizeof(name), "%d-%d", vm->pid, fd);
	mutex_lock(&names);
	other = debugfs_lookup(name, all_counts);
	if (!other) /* or the descriptor has been closed, and that VM lives on by a vCPU's */
		vm->counts = debugfs_create_dir(name, all_counts);
	mutex_unlock(&names);
	dput(other);
	if (!IS_ERR_OR_NULL(vm->counts))
		add_counts(vm->counts, vm);
}

void cb_counts_remove(struct cb_vm *vm)
{
	debugfs_remove(vm->counts);
}

void cb_counts_init(void)
{
	all_counts = debugfs_create_dir("kvm", NULL);
	add_counts(all_counts, NULL);
}

void cb_counts_exit(void)
{
	debugfs_remove(all_counts);
}
