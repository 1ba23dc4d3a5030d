/* SPDX-License-Identifier: GPL-2.0-only */
/* What the tool says: for people, and as JSON. */
#define _GNU_SOURCE
#include "corbel.h"

#include <ctype.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the character of UTF-8 (RFC 3629) that s begins with, 0: it is none. */
static int utf8_length(const char *s)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	unsigned char c = *s;
	int n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0, i;
	uint32_t code = c & (0xff >> (n + 1));

	for (i = 1; i < n; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (s[i] & 0x3f);
	}
	if (n > 1 && (code < least[n] || code > 0x10ffff || (code & 0x1ff800) == 0xd800))
		return 0;
	return n;
}

/* Terminals obey C1 controls (U+0080 to U+009f) as those of ASCII. */
static bool is_control(const char *s, int n)
{
	return (n == 1 && iscntrl((unsigned char)*s)) ||
	       (n == 2 && *s == '\xc2' && (unsigned char)s[1] < 0xa0);
}

char *printable(char *text, bool lines)
{
	char *p;
	int n;

	for (p = text; *p; p += n) {
		n = utf8_length(p);
		if ((n && !is_control(p, n)) || (lines && (*p == '\n' || *p == '\t')))
			continue;
		n = n ? n : 1;
		memset(p, '?', n);
	}
	return text;
}

static char *last_failure;

const char *failure_text(void)
{
	return last_failure ? last_failure : "";
}

int fail(const char *fmt, ...)
{
	char *text;
	va_list ap;

	fflush(stdout);
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) >= 0) {
		fprintf(stderr, "corbel: %s\n", printable(text, true));
		free(last_failure);
		last_failure = text;
	}
	va_end(ap);
	return 1;
}

void warning(const char *fmt, ...)
{
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) >= 0) {
		fprintf(stderr, "corbel: warning: %s\n", printable(text, false));
		free(text);
	}
	va_end(ap);
}

/* ---- JSON ---- */

static bool json_written;

bool json_was_printed(void)
{
	return json_written;
}

/* JSON is UTF-8, which what names and paths are made of need not be. */
static void print_formed(struct json_object *o, int form)
{
	char *text = strdup(json_object_to_json_string_ext(o, form));

	if (text)
		printf("%s\n", printable(text, true));
	free(text);
	json_object_put(o);
	json_written = true;
}

void print_json(struct json_object *o)
{
	print_formed(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE);
}

void print_json_line(struct json_object *o)
{
	print_formed(o, JSON_C_TO_STRING_PLAIN);
}

void add_str(struct json_object *o, const char *key, const char *val)
{
	json_object_object_add(o, key, val ? json_object_new_string(val) : NULL);
}

void add_u64(struct json_object *o, const char *key, uint64_t val)
{
	json_object_object_add(o, key, json_object_new_uint64(val));
}
