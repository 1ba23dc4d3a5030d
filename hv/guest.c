/* SPDX-License-Identifier: GPL-2.0-only */
/* Linear guest memory as the running vCPU sees it. */
#include "vcpu.h"
#include "cpu.h"
#include "string.h"
#include "x86.h"

static int walk_read(void *ctx, u64 at, void *buf, u32 len)
{
	struct vcpu *v = ctx;

	return p2m_read(&v->vm->p2m, gpa(at), buf, len, NULL) ? -EAGAIN : 0;
}

static int walk_cmpxchg(void *ctx, u64 at, u64 old, u64 new, u32 size)
{
	struct vcpu *v = ctx;

	return p2m_cmpxchg(&v->vm->p2m, gpa(at), old, new, size);
}

int vcpu_translate(struct vcpu *v, u64 linear, u64 access, u64 *out, struct guest_fault *f)
{
	struct walk_env w = {
		.cr0 = hvm->get(v, HVM_CR0),
		.cr3 = hvm->get(v, HVM_CR3),
		.cr4 = hvm->get(v, HVM_CR4),
		.efer = hvm->get(v, HVM_EFER),
		.rflags = v->rflags,
		.cpl = hvm->get(v, HVM_CPL),
		.maxphyaddr = phys_bits,
		.ctx = v,
		.read = walk_read,
		.cmpxchg = walk_cmpxchg,
	};
	int ret = walk_linear(&w, linear, access, out, &f->error);

	if (ret == -EFAULT) {
		f->vector = 14;
		f->cr2 = linear;
	} else if (ret == -EAGAIN) {
		f->gpa = *out;
		f->write = f->error & WALK_WRITE; /* the walk could not set accessed or dirty */
	}
	return ret;
}

/* Page by page; copy in either direction. */
static int access_linear(struct vcpu *v, u64 linear, void *buf, u32 len, u64 access, struct guest_fault *f)
{
	while (len) {
		u32 n = MIN(len, (u32)(PAGE_SIZE - (linear & ~PAGE_MASK)));
		u64 at;
		gpa_t miss;
		int ret = vcpu_translate(v, linear, access, &at, f);

		if (ret)
			return ret;
		if (access & WALK_WRITE)
			ret = p2m_write(&v->vm->p2m, gpa(at), buf, n, &miss);
		else
			ret = p2m_read(&v->vm->p2m, gpa(at), buf, n, &miss);
		if (ret) {
			f->gpa = at;
			f->write = access & WALK_WRITE;
			return -EAGAIN;
		}
		linear += n;
		buf = (u8 *)buf + n;
		len -= n;
	}
	return 0;
}

int vcpu_read_linear(struct vcpu *v, u64 linear, void *buf, u32 len, u64 access, struct guest_fault *f)
{
	return access_linear(v, linear, buf, len, access & ~WALK_WRITE, f);
}

int vcpu_write_linear(struct vcpu *v, u64 linear, const void *buf, u32 len, u64 access, struct guest_fault *f)
{
	return access_linear(v, linear, (void *)buf, len, access | WALK_WRITE, f);
}

/* As many instruction bytes as can be had, up to 15. The first page must be readable. */
int vcpu_fetch(struct vcpu *v, u8 *bytes, u32 *n, struct guest_fault *f)
{
	struct corbel_segment cs;
	u64 linear = v->rip;
	u32 first;
	int ret;

	if (hvm->get(v, HVM_MODE) != EMUL_64) {
		hvm->get_seg(v, HVM_CS, &cs);
		linear = (u32)(linear + cs.base);
	}
	first = MIN(15u, (u32)(PAGE_SIZE - (linear & ~PAGE_MASK)));
	ret = vcpu_read_linear(v, linear, bytes, first, WALK_FETCH, f);
	if (ret)
		return ret;
	*n = first;
	if (first < 15) {
		struct guest_fault ignored;

		if (!vcpu_read_linear(v, linear + first, bytes + first, 15 - first, WALK_FETCH, &ignored))
			*n = 15;
	}
	return 0;
}
