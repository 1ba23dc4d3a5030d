// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/pfnmap: RAM that is mapped as a GPU's driver does it, by entries without a reference
 * (VM_PFNMAP). Each page is put in when it is touched; ioctl 0 takes the mappings of all away, 1
 * returns how often a page has been put in.
 */
#include <linux/fs.h>
#include <linux/gfp.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>

#define PAGES 16

static struct page *pages[PAGES];
static unsigned int put_in;

static vm_fault_t pfnmap_fault(struct vm_fault *f)
{
	if (f->pgoff >= PAGES)
		return VM_FAULT_SIGBUS;
	put_in++;
	return vmf_insert_pfn(f->vma, f->address, page_to_pfn(pages[f->pgoff]));
}

static const struct vm_operations_struct pfnmap_vm_ops = {.fault = pfnmap_fault};

static int pfnmap_mmap(struct file *file, struct vm_area_struct *vma)
{
	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	vma->vm_flags |= VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP;
	vma->vm_ops = &pfnmap_vm_ops;
	return 0;
}

static long pfnmap_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	if (cmd)
		return put_in;
	unmap_mapping_range(file->f_mapping, 0, 0, 1);
	return 0;
}

static const struct file_operations pfnmap_fops = {
    .owner = THIS_MODULE,
    .mmap = pfnmap_mmap,
    .unlocked_ioctl = pfnmap_ioctl,
};

static struct miscdevice pfnmap = {
    .minor = MISC_DYNAMIC_MINOR,
    .name = "pfnmap",
    .fops = &pfnmap_fops,
};

static void free_pages_of(void)
{
	unsigned int i;

	for (i = 0; i < PAGES && pages[i]; i++)
		__free_page(pages[i]);
}

static int __init pfnmap_init(void)
{
	unsigned int i;
	int r = -ENOMEM;

	for (i = 0; i < PAGES; i++) {
		pages[i] = alloc_page(GFP_KERNEL | __GFP_ZERO);
		if (!pages[i])
			goto out;
	}
	r = misc_register(&pfnmap);
out:
	if (r)
		free_pages_of();
	return r;
}

static void __exit pfnmap_exit(void)
{
	misc_deregister(&pfnmap);
	free_pages_of();
}

module_init(pfnmap_init);
module_exit(pfnmap_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("RAM without references in page tables, for tests");
