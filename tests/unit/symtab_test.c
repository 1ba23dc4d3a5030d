/* SPDX-License-Identifier: GPL-2.0-only */
/* links: hv/lib/symtab.c */
#include <stdlib.h>
#include <string.h>

#include "hv/lib/symtab.h"
#include "test.h"

static struct symtab *build(u32 count, const u32 *addr, const char *const *name)
{
	size_t head = sizeof(struct symtab) + count * sizeof(((struct symtab *)0)->sym[0]),
	       size = head;
	struct symtab *t;
	char *names;

	for (u32 i = 0; i < count; i++)
		size += strlen(name[i]) + 1;
	t = malloc(size);
	t->count = count;
	names = (char *)t + head;
	for (u32 i = 0, at = 0; i < count; i++) {
		t->sym[i].addr = addr[i];
		t->sym[i].name = at;
		strcpy(names + at, name[i]);
		at += (u32)strlen(name[i]) + 1;
	}
	return t;
}

int main(void)
{
	static const u32 addr[] = {0x200000, 0x200010, 0x200100, 0x201000, 0x201001};
	static const char *const name[] = {"entry", "second", "third", "fourth", "last"};
	struct symtab *t;
	u32 off = 0;

	for (u32 n = 1; n <= 5; n++) {
		bool all = true;

		t = build(n, addr, name);
		for (u32 i = 0; i < n; i++) {
			const char *got = symtab_find(t, addr[i], &off);

			all = all && got && !strcmp(got, name[i]) && off == 0;
			if (i + 1 < n && addr[i + 1] - addr[i] > 1) {
				got = symtab_find(t, addr[i + 1] - 1, &off);
				all = all && got && !strcmp(got, name[i]) &&
				      off == addr[i + 1] - addr[i] - 1;
			}
		}
		CHECK(all, "%u symbols: each is found from its first byte to its last", n);
		CHECK(!symtab_find(t, addr[0] - 1, &off),
		      "%u symbols: nothing lies before the first", n);
		CHECK(!strcmp(symtab_find(t, ~0u, &off), name[n - 1]),
		      "%u symbols: behind the last is the last", n);
		free(t);
	}
	t = build(0, addr, name);
	CHECK(!symtab_find(t, 0x200000, &off), "an empty table has no names");
	free(t);
	return test_end();
}
