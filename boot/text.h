/* SPDX-License-Identifier: GPL-2.0-only */
/* Pieces of text that another owns: not NUL-terminated. */
#pragma once

#include "hv/lib/log.h"
#include "hv/lib/string.h"

struct text {
	const char *s;
	u32 len;
};

static inline struct text text_of(const char *s)
{
	return (struct text){s, strlen(s)};
}

static inline bool text_same(struct text a, struct text b)
{
	return a.len == b.len && !memcmp(a.s, b.s, a.len);
}

static inline bool text_is(struct text t, const char *word)
{
	return text_same(t, text_of(word));
}

/* Cut off and return what stands before the first sep; *t is what follows it, empty without one. */
static inline struct text text_cut(struct text *t, char sep)
{
	struct text head = {t->s, 0};
	u32 gone;

	while (head.len < t->len && t->s[head.len] != sep)
		head.len++;
	gone = MIN(head.len + 1, t->len);
	t->s += gone;
	t->len -= gone;
	return head;
}

/* As a string, of which there is room for size bytes. False: not all of it fits. */
static inline bool text_copy(char *to, u32 size, struct text from)
{
	u32 n = MIN(from.len, size - 1);

	BUG_ON(!size);
	memcpy(to, from.s, n);
	to[n] = 0;
	return n == from.len;
}
