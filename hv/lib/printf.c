/* SPDX-License-Identifier: GPL-2.0-only */
/* The subset of printf that log.h promises. Pure. */
#include "hv/lib/printf.h"
#include "hv/lib/string.h"

struct out {
	char *buf;
	size_t size, len; /* len counts on behind the end of buf */
};

struct spec {
	bool left, zero, alt, plus;
	u32 width;
	s32 precision; /* -1: none */
	u32 longs;     /* l, ll, z: 64 bits all */
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->size)
		o->buf[o->len] = c;
	o->len++;
}

static void pad(struct out *o, char c, u32 have, u32 width)
{
	while (have++ < width)
		put(o, c);
}

/* Prefix (sign or 0x), then the body, in a field. */
static void put_field(struct out *o, const struct spec *s, const char *prefix, const char *body,
		      u32 len, bool number)
{
	u32 prefix_len = (u32)strlen(prefix), zeros = 0, all;

	if (number && s->precision >= 0 && (u32)s->precision > len)
		zeros = (u32)s->precision - len;
	else if (number && s->zero && !s->left && s->precision < 0 && s->width > prefix_len + len)
		zeros = s->width - prefix_len - len;
	all = prefix_len + zeros + len;
	if (!s->left)
		pad(o, ' ', all, s->width);
	while (*prefix)
		put(o, *prefix++);
	pad(o, '0', 0, zeros);
	for (u32 i = 0; i < len; i++)
		put(o, body[i]);
	if (s->left)
		pad(o, ' ', all, s->width);
}

static void put_number(struct out *o, const struct spec *s, u64 v, u32 base, bool upper,
		       const char *prefix)
{
	char digits[20];
	u32 n = sizeof(digits);

	do {
		digits[--n] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[v % base];
		v /= base;
	} while (v);
	put_field(o, s, prefix, digits + n, sizeof(digits) - n, true);
}

static const char *read_number(const char *f, u32 *v)
{
	for (*v = 0; *f >= '0' && *f <= '9'; f++)
		*v = *v < 1000 ? *v * 10 + (u32)(*f - '0') : *v;
	return f;
}

static const char *read_spec(const char *f, struct spec *s)
{
	u32 v;

	*s = (struct spec){.precision = -1};
	for (;; f++) {
		if (*f == '-')
			s->left = true;
		else if (*f == '0')
			s->zero = true;
		else if (*f == '#')
			s->alt = true;
		else if (*f == '+')
			s->plus = true;
		else
			break;
	}
	f = read_number(f, &s->width);
	if (*f == '.') {
		f = read_number(f + 1, &v);
		s->precision = (s32)v;
	}
	for (; *f == 'l' || *f == 'z' || *f == 'h'; f++)
		s->longs += *f != 'h';
	return f;
}

static void put_string(struct out *o, const struct spec *s, const char *str)
{
	u32 len = 0;

	if (!str)
		str = "(null)";
	while ((s->precision < 0 || len < (u32)s->precision) && str[len])
		len++;
	put_field(o, s, "", str, len, false);
}

int hv_vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	struct out o = {buf, size, 0};
	struct spec s;
	s64 i;
	char c;

	for (; *fmt; fmt++) {
		if (*fmt != '%') {
			put(&o, *fmt);
			continue;
		}
		fmt = read_spec(fmt + 1, &s);
		switch (*fmt) {
		case 'd':
		case 'i':
			i = s.longs ? va_arg(ap, s64) : va_arg(ap, int);
			put_number(&o, &s, i < 0 ? -(u64)i : (u64)i, 10, false,
				   i < 0    ? "-"
				   : s.plus ? "+"
					    : "");
			break;
		case 'u':
			put_number(&o, &s, s.longs ? va_arg(ap, u64) : va_arg(ap, u32), 10, false,
				   "");
			break;
		case 'x':
		case 'X':
			put_number(&o, &s, s.longs ? va_arg(ap, u64) : va_arg(ap, u32), 16,
				   *fmt == 'X', s.alt ? "0x" : "");
			break;
		case 'p':
			put_number(&o, &s, (u64)va_arg(ap, void *), 16, false, "0x");
			break;
		case 's':
			put_string(&o, &s, va_arg(ap, const char *));
			break;
		case 'c':
			c = (char)va_arg(ap, int);
			put_field(&o, &s, "", &c, 1, false);
			break;
		case '%':
			put(&o, '%');
			break;
		case 0:
			fmt--;
			break;
		default: /* shown as it stands, so that the mistake is seen */
			put(&o, '%');
			put(&o, *fmt);
		}
	}
	if (size)
		buf[MIN(o.len, size - 1)] = 0;
	return (int)o.len;
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
