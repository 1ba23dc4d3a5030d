/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/initrd.h"
#include "boot/text.h"
#include "hv/lib/string.h"

#define CPIO_HEADER 110u
#define CPIO_SIZE   54u /* 8 hexadecimal digits each */
#define CPIO_NAME   94u
#define NAME_MAX    64u

static bool is_cpio(const u8 *p, u64 len)
{
	return len >= 6 && (!memcmp(p, "070701", 6) || !memcmp(p, "070702", 6));
}

/* The formats that Linux unpacks. */
static bool is_compressed(const u8 *p, u64 len)
{
	static const struct {
		u8 len;
		const char *magic;
	} formats[] = {
	    {3, "\037\213\010"}, {3, "BZh"},	    {3, "\135\000\000"},     {6, "\3757zXZ"},
	    {4, "\211LZO"},	 {4, "\002!L\030"}, {4, "\050\265\057\375"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(formats); i++)
		if (len >= formats[i].len && !memcmp(p, formats[i].magic, formats[i].len))
			return true;
	return false;
}

static bool read_hex(const u8 *p, u64 *out)
{
	*out = 0;
	for (u32 i = 0; i < 8; i++) {
		if (digit_of(p[i]) >= 16)
			return false;
		*out = *out * 16 + digit_of(p[i]);
	}
	return true;
}

enum part { PART_FILE, PART_END, PART_COMPRESSED, PART_DAMAGED, PART_CUT_OFF };
struct walk {
	u64 start, size, at; /* at: where the next part begins, from the start */
	initrd_read_fn read;
	u64 name, name_size, data, data_size; /* of a file; both lie within size */
};

static enum part next_part(struct walk *w)
{
	u8 h[CPIO_HEADER];
	u32 n, zeros = 0;

	do { /* padding between archives */
		w->at += zeros;
		n = MIN(w->size - w->at, sizeof(h));
		if (!n)
			return PART_END;
		w->read(w->start + w->at, h, n);
		for (zeros = 0; zeros < n && !h[zeros];)
			zeros++;
	} while (zeros && w->at);
	if (is_compressed(h, n))
		return PART_COMPRESSED;
	if (n < sizeof(h) || !is_cpio(h, n) || !read_hex(h + CPIO_SIZE, &w->data_size) ||
	    !read_hex(h + CPIO_NAME, &w->name_size))
		return PART_DAMAGED;
	w->name = w->at + CPIO_HEADER;
	w->at = w->name + w->name_size;
	w->data = MIN(ALIGN_UP(w->at, 4), w->size);
	if (w->at > w->size || w->data_size > w->size - w->data)
		return PART_CUT_OFF;
	w->at = MIN(ALIGN_UP(w->data + w->data_size, 4), w->size);
	BUG_ON(w->name > w->data || w->data > w->at);
	return PART_FILE;
}

const char *initrd_check(u64 start, u64 size, initrd_read_fn read)
{
	struct walk w = {.start = start, .size = size, .read = read};
	enum part part = PART_FILE;

	if (!size)
		return "the initrd is empty; install it again and check the boot medium";
	while (part == PART_FILE)
		part = next_part(&w);
	if (part == PART_CUT_OFF)
		return "the initrd is cut off; install it again and check the boot medium";
	if (part != PART_DAMAGED)
		return NULL;
	if (!w.at)
		return "a module behind the kernel is not an initrd (cpio or a compressed one) "
		       "or is damaged; install it again";
	return "the initrd is damaged; install it again and check the boot medium";
}

struct initrd_file initrd_find(u64 start, u64 size, const char *name, initrd_read_fn read)
{
	struct walk w = {.start = start, .size = size, .read = read};
	u32 len = strlen(name);
	char buf[NAME_MAX];

	BUG_ON(len >= sizeof(buf));
	while (next_part(&w) == PART_FILE) {
		if (w.name_size != len + 1)
			continue;
		read(start + w.name, buf, len);
		if (!memcmp(buf, name, len))
			return (struct initrd_file){start + w.data, w.data_size};
	}
	return (struct initrd_file){0};
}
