// SPDX-License-Identifier: GPL-2.0-only
/*
 * guest_memfd: memory of a guest that no page table of dom0's has, and KVM_SET_MEMORY_ATTRIBUTES,
 * which says of each frame whether it is such a private one. KVM's documentation,
 * "KVM_CREATE_GUEST_MEMFD".
 *
 * A fault looks a page up and maps it under mmu_lock. Who takes pages away takes them out of the
 * table under that lock, unmaps their frames, and frees them then; slots_lock keeps the slots that
 * have them as they are meanwhile. Likewise frames whose attributes change have nothing mapped
 * before they have, and no fault maps them until they have changed.
 *
 * A slot holds the pages, the file holds the VM as well: the VM is not kept by its own slots.
 */
#include "kmod.h"
#include "memory.h"

#include <linux/falloc.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/version.h>

struct cb_gmem {
	struct kref refs; /* its file, slots */
	struct cb_vm *vm; /* valid while there is a file */
	u64 size;	  /* pages */
	struct xarray pages;
};

#define FREE_AT_ONCE 64u
#define MAX_RANGES   65536u /* of a VM: some 2 MiB of nodes */

static int gmem_fs_init(struct fs_context *fc);

/* There while files are: it keeps the module, whose files' inodes it frees. */
static struct file_system_type gmem_fs = {
    .owner = THIS_MODULE,
    .name = "corbel_gmem",
    .init_fs_context = gmem_fs_init,
    .kill_sb = kill_anon_super,
};
static struct vfsmount *gmem_mount;
static int gmem_files; /* under a lock of simple_pin_fs()'s */

static int gmem_fs_init(struct fs_context *fc)
{
	return init_pseudo(fc, ANON_INODE_FS_MAGIC) ? 0 : -ENOMEM;
}

/* ---- pages ---- */

static void free_gmem(struct kref *refs)
{
	struct cb_gmem *g = container_of(refs, struct cb_gmem, refs);
	struct page *page;
	unsigned long i;

	xa_for_each(&g->pages, i, page) {
		xa_erase(&g->pages, i); /* xa_destroy() would do it all without a break */
		__free_page(page);
		cond_resched();
	}
	xa_destroy(&g->pages);
	kfree(g);
}

void cb_gmem_put(struct cb_gmem *g)
{
	if (g)
		kref_put(&g->refs, free_gmem);
}

bool cb_gmem_find(const struct cb_gmem *g, u64 index, u64 *pfn)
{
	const struct page *page = xa_load((struct xarray *)&g->pages, index);

	if (page)
		*pfn = page_to_pfn(page);
	return page;
}

int cb_gmem_alloc(struct cb_gmem *g, u64 index)
{
	struct page *page = alloc_page(GFP_HIGHUSER | __GFP_ZERO | __GFP_ACCOUNT);
	void *old;

	if (!page)
		return -ENOMEM;
	old = xa_cmpxchg(&g->pages, index, NULL, page, GFP_KERNEL_ACCOUNT);
	if (old)
		__free_page(page);
	return xa_err(old);
}

/* Under slots_lock. */
static void unmap_pages(struct cb_vm *vm, const struct cb_gmem *g, u64 first, u64 end)
{
	const struct cb_slots *slots =
	    rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->slots_lock));
	u32 i;

	for (i = 0; i < slots->n; i++) {
		const struct cb_slot *s = &slots->slot[i];
		u64 from = max(first, s->gmem_first), to = min(end, s->gmem_first + s->pages);

		if (s->gmem == g && from < to)
			cb_mem_unmap(vm, s->gfn + from - s->gmem_first, to - from);
	}
}

/* Some pages of [*first, end), which goes on behind them. Under slots_lock. */
static void punch_some(struct cb_gmem *g, u64 *first, u64 end)
{
	struct page *pages[FREE_AT_ONCE], *page;
	u64 from = *first;
	unsigned long i;
	u32 n = 0;

	*first = end;
	spin_lock(&g->vm->mmu_lock);
	xa_for_each_range(&g->pages, i, page, from, end - 1)
	{
		if (n == FREE_AT_ONCE) {
			*first = i;
			break;
		}
		xa_erase(&g->pages, i);
		pages[n++] = page;
	}
	spin_unlock(&g->vm->mmu_lock);
	if (n)
		unmap_pages(g->vm, g, from, *first);
	while (n)
		__free_page(pages[--n]);
}

/* ---- the file ---- */

static long punch_hole(struct cb_gmem *g, u64 first, u64 end)
{
	long r = 0;

	for (end = min(end, g->size); !r && first < end; cond_resched()) {
		mutex_lock(&g->vm->slots_lock);
		punch_some(g, &first, end);
		mutex_unlock(&g->vm->slots_lock);
		if (fatal_signal_pending(current))
			r = -EINTR;
	}
	return r;
}

static long allocate_pages(struct cb_gmem *g, u64 first, u64 end)
{
	u64 pfn;
	int r = 0;

	if (end > g->size)
		return -EINVAL;
	for (; !r && first < end; first++) {
		if (!cb_gmem_find(g, first, &pfn))
			r = cb_gmem_alloc(g, first);
		if (!r && signal_pending(current))
			r = -EINTR;
		cond_resched();
	}
	return r;
}

static long gmem_fallocate(struct file *file, int mode, loff_t offset, loff_t len)
{
	u64 first = offset >> PAGE_SHIFT, end = (offset + len) >> PAGE_SHIFT;

	if (!(mode & FALLOC_FL_KEEP_SIZE) || mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE))
		return -EOPNOTSUPP;
	if ((offset | len) & ~PAGE_MASK)
		return -EINVAL;
	if (mode & FALLOC_FL_PUNCH_HOLE)
		return punch_hole(file->private_data, first, end);
	return allocate_pages(file->private_data, first, end);
}

static int gmem_release(struct inode *inode, struct file *file)
{
	struct cb_gmem *g = file->private_data;
	struct cb_vm *vm = g->vm;

	cb_gmem_put(g);
	cb_vm_put(vm);
	simple_release_fs(&gmem_mount, &gmem_files);
	return 0;
}

static const struct file_operations gmem_fops = {
    .owner = THIS_MODULE,
    .open = generic_file_open,
    .fallocate = gmem_fallocate,
    .release = gmem_release,
    .llseek = noop_llseek,
};

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
static int gmem_setattr(struct mnt_idmap *m, struct dentry *dentry, struct iattr *attr)
#else
static int gmem_setattr(struct user_namespace *m, struct dentry *dentry, struct iattr *attr)
#endif
{
	return -EINVAL; /* its size stays */
}

static const struct inode_operations gmem_iops = {
    .setattr = gmem_setattr,
};

static struct file *pinned_file(struct cb_gmem *g)
{
	struct inode *inode = alloc_anon_inode(gmem_mount->mnt_sb);
	struct file *file;

	if (IS_ERR(inode))
		return ERR_CAST(inode);
	inode->i_op = &gmem_iops;
	inode->i_mode |= S_IFREG;
	inode->i_size = g->size << PAGE_SHIFT;
	file = alloc_file_pseudo(inode, gmem_mount, "[kvm-gmem]", O_RDWR | O_LARGEFILE, &gmem_fops);
	if (IS_ERR(file)) {
		iput(inode);
		return file;
	}
	__module_get(THIS_MODULE); /* which the file's end gives back */
	file->private_data = g;
	return file;
}

static struct file *gmem_file(struct cb_gmem *g)
{
	int r = simple_pin_fs(&gmem_fs, &gmem_mount, &gmem_files);
	struct file *file = r ? ERR_PTR(r) : pinned_file(g);

	if (!r && IS_ERR(file))
		simple_release_fs(&gmem_mount, &gmem_files);
	return file;
}

int cb_gmem_create(struct cb_vm *vm, const struct kvm_create_guest_memfd *c)
{
	struct cb_gmem *g;
	struct file *file;
	int fd;

	if (c->flags || !c->size || c->size & ~PAGE_MASK || (s64)c->size < 0)
		return -EINVAL;
	g = kzalloc(sizeof(*g), GFP_KERNEL_ACCOUNT);
	if (!g)
		return -ENOMEM;
	kref_init(&g->refs);
	g->vm = vm;
	g->size = c->size >> PAGE_SHIFT;
	xa_init_flags(&g->pages, XA_FLAGS_ACCOUNT);
	fd = get_unused_fd_flags(O_CLOEXEC);
	file = fd < 0 ? ERR_PTR(fd) : gmem_file(g);
	if (IS_ERR(file)) {
		if (fd >= 0)
			put_unused_fd(fd);
		cb_gmem_put(g);
		return PTR_ERR(file);
	}
	cb_vm_get(vm);
	fd_install(fd, file);
	return fd;
}

/* ---- slots ---- */

/* Another slot has pages of it in [first, first + pages). Under slots_lock. */
static bool is_bound(const struct cb_vm *vm, const struct cb_gmem *g, u64 first, u64 pages)
{
	const struct cb_slots *slots =
	    rcu_dereference_protected(vm->slots, lockdep_is_held(&vm->slots_lock));
	u32 i;

	for (i = 0; i < slots->n; i++) {
		const struct cb_slot *s = &slots->slot[i];

		if (s->gmem == g && s->gmem_first < first + pages &&
		    first < s->gmem_first + s->pages)
			return true;
	}
	return false;
}

int cb_gmem_bind(struct cb_vm *vm, struct cb_slot *s, u32 fd, u64 offset)
{
	struct file *file = fget(fd);
	struct cb_gmem *g;
	int r = -EINVAL;

	if (!file)
		return -EBADF;
	g = file->private_data;
	if (file->f_op != &gmem_fops || g->vm != vm || offset & ~PAGE_MASK ||
	    offset >> PAGE_SHIFT > g->size || s->pages > g->size - (offset >> PAGE_SHIFT))
		goto out;
	if (is_bound(vm, g, offset >> PAGE_SHIFT, s->pages))
		goto out;
	kref_get(&g->refs);
	s->gmem = g;
	s->gmem_first = offset >> PAGE_SHIFT;
	r = 0;
out:
	fput(file);
	return r;
}

/* ---- attributes ---- */

bool cb_is_private(struct cb_vm *vm, u64 gfn)
{
	return vm->has_private && mtree_load(&vm->private, gfn);
}

/* Frames [first, last]: no fault maps one of them while they change; last < first: none does. */
static void begin_change(struct cb_vm *vm, u64 first, u64 last)
{
	spin_lock(&vm->mmu_lock);
	vm->change_first = first;
	vm->change_last = last;
	spin_unlock(&vm->mmu_lock);
}

/* The next range from *at on, which then is behind it. Under slots_lock. */
static bool next_range(struct cb_vm *vm, u64 *at, u64 last, u64 *from, u64 *to)
{
	MA_STATE(mas, &vm->private, *at, *at);
	bool found;

	rcu_read_lock();
	found = *at <= last && mas_find(&mas, last);
	rcu_read_unlock();
	*from = mas.index;
	*to = mas.last;
	*at = mas.last + 1;
	return found;
}

/*
 * The tree's nodes are nobody's in memory cgroups, so their number has a bound: how many ranges
 * there are after this one has been set. Under slots_lock, which all that change the tree hold.
 */
static u32 ranges_after(struct cb_vm *vm, u64 first, u64 last, bool is_private)
{
	u32 ranges = vm->private_ranges + is_private;
	u64 at = first, from, to;

	/* what lies within goes, what sticks out stays on that side */
	while (next_range(vm, &at, last, &from, &to))
		ranges += (from < first) + (to > last) - 1;
	return ranges;
}

/* Of the steps of a change only the first may find no memory: then all is as it was. */
static int store_step(struct cb_vm *vm, u64 from, u64 to, void *what, gfp_t *gfp)
{
	int r = mtree_store_range(&vm->private, from, to, what, *gfp);

	*gfp |= __GFP_NOFAIL;
	return r;
}

/*
 * A range that takes the place of many is not for one call: Linux 6.1 frees their nodes wrongly
 * then, and panics. Each is taken out by itself, those that only begin or end in it are left.
 */
static int erase_within(struct cb_vm *vm, u64 first, u64 last, gfp_t *gfp)
{
	u64 at = first, from, to;
	int r;

	while (next_range(vm, &at, last, &from, &to)) {
		if (from >= first && to <= last) {
			r = store_step(vm, from, to, NULL, gfp);
			if (r)
				return r;
			vm->private_ranges--;
		}
		cond_resched();
	}
	return 0;
}

int cb_set_attributes(struct cb_vm *vm, const struct kvm_memory_attributes *a)
{
	u64 first = a->address >> PAGE_SHIFT, pages = a->size >> PAGE_SHIFT;
	void *what = a->attributes ? xa_mk_value(1) : NULL;
	gfp_t gfp = GFP_KERNEL_ACCOUNT;
	u32 ranges;
	int r;

	if (a->flags || a->attributes & ~cb_attributes(vm) || !a->size ||
	    a->address + a->size < a->address || (a->address | a->size) & ~PAGE_MASK)
		return -EINVAL;
	if (!vm->has_private) /* none has one, and so it stays */
		return 0;
	mutex_lock(&vm->slots_lock);
	ranges = ranges_after(vm, first, first + pages - 1, what);
	if (ranges > MAX_RANGES && ranges > vm->private_ranges) {
		mutex_unlock(&vm->slots_lock);
		return -ENOMEM;
	}
	begin_change(vm, first, first + pages - 1);
	if (first < cb_gfn_end)
		cb_mem_take_away(vm, first, min(pages, cb_gfn_end - first));
	r = erase_within(vm, first, first + pages - 1, &gfp);
	if (!r)
		r = store_step(vm, first, first + pages - 1, what, &gfp);
	if (!r)
		vm->private_ranges = ranges;
	begin_change(vm, 1, 0);
	mutex_unlock(&vm->slots_lock);
	return r;
}

void cb_attributes_free(struct cb_vm *vm)
{
	gfp_t gfp = GFP_KERNEL | __GFP_NOFAIL;

	erase_within(vm, 0, ULONG_MAX, &gfp);
	mtree_destroy(&vm->private);
}
