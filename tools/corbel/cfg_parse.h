/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the sources that read guests' files share: cfg.c reads the text, cfg_keys.c knows the keys,
 * cfg_items.c what lists of them hold, cfg_hint.c tells about unknown ones.
 */
#ifndef TOOLS_CORBEL_CFG_PARSE_H
#define TOOLS_CORBEL_CFG_PARSE_H

#include "cfg.h"

#define CFG_MAX_KEYS 72

enum kind { V_STRING, V_NUMBER, V_LIST };

#define MAX_ITEMS CFG_MAX_VCPUS /* the longest list has one each */

struct value {
	enum kind kind;
	bool add;    /* += */
	bool nested; /* a list with lists in it */
	char *text;  /* of a string; of a number as written */
	long long number;
	char *item[MAX_ITEMS];
	int item_line[MAX_ITEMS];
	int items, line;
};

struct parser {
	struct cfg *c;
	const char *file, *at;
	int line;
	char *root, *extra;
	bool firmware_set, bootloader;
	int assignment;		/* how many there were in the file so far */
	int last[CFG_MAX_KEYS]; /* which of them sets each key for the last time; 0 = none */
};

struct cfg_key {
	const char *name;
	int (*set)(struct parser *p, const char *key, const struct value *v);
};

/* In cfg_keys.c, all keys; cfg_nkeys of them. */
extern const struct cfg_key cfg_keys[];
extern const int cfg_nkeys;

/* Is it a list? have: items there already, to which += adds. 0, or -1 with c->error set. */
int cfg_get_list(struct parser *p, const char *key, const struct value *v, int have, int max,
		 const char *example);
/* In cfg_items.c: what cfg_keys has for these lists. */
int cfg_set_disk(struct parser *p, const char *key, const struct value *v);
int cfg_set_vif(struct parser *p, const char *key, const struct value *v);
int cfg_set_pci(struct parser *p, const char *key, const struct value *v);
/* A fault of the file in this line, into c->error. -1. */
int __attribute__((format(printf, 3, 4))) cfg_bad(struct parser *p, int line, const char *fmt, ...);
/* Something that can be borne. */
void __attribute__((format(printf, 3, 4)))
cfg_warn(struct parser *p, int line, const char *fmt, ...);
/* Warn of a key that is not in cfg_keys: one of xl, or the nearest right one. */
void cfg_unknown_key(struct parser *p, int line, const char *name);

#endif
