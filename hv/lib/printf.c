/* SPDX-License-Identifier: GPL-2.0-only */
/* The subset of printf that log.h promises. Pure. */
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

struct out {
	char *buf;
	size_t size, len; /* len counts on behind the end of buf */
};

struct spec {
	bool zero; /* padding, else spaces */
	bool wide; /* l, ll: 64 bits both */
	u32 width;
};

static void put_char(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

/* Padding and text in a field. */
static void put_field(struct out *o, const struct spec *s, const char *text, u32 len)
{
	char pad = s->zero ? '0' : ' ';

	for (u32 n = len; n < s->width; n++)
		put_char(o, pad);
	while (len--)
		put_char(o, *text++);
}

static void put_number(struct out *o, const struct spec *s, u64 v, u32 base)
{
	char digits[20];
	u32 n = sizeof(digits);

	BUG_ON(base < 10); /* there would be more of them */
	do {
		digits[--n] = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	put_field(o, s, digits + n, sizeof(digits) - n);
}

static const char *read_spec(const char *f, struct spec *s)
{
	*s = (struct spec){.zero = *f == '0'};
	for (; *f >= '0' && *f <= '9'; f++)
		if (s->width < 1000)
			s->width = s->width * 10 + *f - '0';
	for (; *f == 'l'; f++)
		s->wide = true;
	return f;
}

int hv_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {buf, size, 0};
	const char *text;
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
			if ((s64)v < 0) {
				put_char(&o, '-');
				v = -v;
			}
			put_number(&o, &s, v, 10);
			break;
		case 'u':
			v = s.wide ? va_arg(ap, u64) : va_arg(ap, u32);
			put_number(&o, &s, v, 10);
			break;
		case 'x':
			v = s.wide ? va_arg(ap, u64) : va_arg(ap, u32);
			put_number(&o, &s, v, 16);
			break;
		case 's':
			text = va_arg(ap, const char *);
			if (!text)
				text = "(null)";
			put_field(&o, &s, text, strlen(text));
			break;
		case 'c':
			c = va_arg(ap, int);
			put_field(&o, &s, &c, 1);
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
