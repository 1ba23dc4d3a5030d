/* SPDX-License-Identifier: GPL-2.0-only */
/* The subset of printf that log.h promises. Pure. */
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

struct out {
	char *buf;
	size_t size, len; /* len counts on behind the end of buf */
};

struct spec {
	bool left, zero;
	bool wide; /* l, ll, z: 64 bits all */
	u32 width;
};

static void put_char(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void put_padding(struct out *o, char c, u32 have, u32 width)
{
	while (have++ < width)
		put_char(o, c);
}

/* Prefix (sign or 0x), then the body, in a field. */
static void put_field(struct out *o, const struct spec *s, const char *prefix, const char *body,
		      u32 len)
{
	u32 all = strlen(prefix) + len;

	if (!s->left && !s->zero)
		put_padding(o, ' ', all, s->width);
	while (*prefix)
		put_char(o, *prefix++);
	if (!s->left && s->zero)
		put_padding(o, '0', all, s->width);
	while (len--)
		put_char(o, *body++);
	if (s->left)
		put_padding(o, ' ', all, s->width);
}

static void put_number(struct out *o, const struct spec *s, u64 v, u32 base, const char *prefix)
{
	char digits[20];
	u32 n = sizeof(digits);

	do {
		digits[--n] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	put_field(o, s, prefix, digits + n, sizeof(digits) - n);
}

static const char *read_spec(const char *f, struct spec *s)
{
	*s = (struct spec){0};
	for (; *f == '-' || *f == '0'; f++) {
		if (*f == '-')
			s->left = true;
		else
			s->zero = true;
	}
	for (; *f >= '0' && *f <= '9'; f++)
		if (s->width < 1000)
			s->width = s->width * 10 + *f - '0';
	for (; *f == 'l' || *f == 'z'; f++)
		s->wide = true;
	return f;
}

int hv_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {buf, size, 0};
	const char *prefix, *text;
	struct spec s;
	u64 v;
	char c;

	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put_char(&o, *fmt);
			continue;
		}
		fmt = read_spec(fmt + 1, &s);
		switch (*fmt) {
		case 'd':
			v = s.wide ? va_arg(ap, s64) : va_arg(ap, int);
			prefix = "";
			if ((s64)v < 0) {
				v = -v;
				prefix = "-";
			}
			put_number(&o, &s, v, 10, prefix);
			break;
		case 'u':
		case 'x':
			v = s.wide ? va_arg(ap, u64) : va_arg(ap, u32);
			put_number(&o, &s, v, *fmt == 'u' ? 10 : 16, "");
			break;
		case 'p':
			put_number(&o, &s, (u64)va_arg(ap, void *), 16, "0x");
			break;
		case 's':
			text = va_arg(ap, const char *);
			if (!text)
				text = "(null)";
			put_field(&o, &s, "", text, strlen(text));
			break;
		case 'c':
			c = va_arg(ap, int);
			put_field(&o, &s, "", &c, 1);
			break;
		case '%':
			put_char(&o, '%');
			break;
		case 0:
			fmt--;
			break;
		default: /* shown as it stands, so that the mistake is seen */
			put_char(&o, '%');
			put_char(&o, *fmt);
		}
	}
	if (size)
		buf[MIN(o.len, size - 1)] = 0;
	return o.len;
}

int hv_snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = hv_vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}
