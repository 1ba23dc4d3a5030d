/* SPDX-License-Identifier: GPL-2.0-only */
#include "hv/console/screen.h"
#include "boot/boot.h"
#include "hv/console/font.h"
#include "hv/lib/log.h"
#include "hv/mm/mm.h"

#define TEXT_ATTR 0x0700 /* light grey on black */
#define ZOOM	  2	 /* every dot is this many pixels wide and high */
#define CELL_W	  (FONT_WIDTH * ZOOM)
#define CELL_H	  (FONT_HEIGHT * ZOOM)

static volatile u8 *base;
static u32 columns, rows, x, y;

static u32 pixel_bytes(void)
{
	return boot_info.fb.bpp / 8;
}

static u32 screen_white(void)
{
	const struct boot_framebuffer *fb = &boot_info.fb;
	u32 v = 0;

	for (u32 i = 0; i < ARRAY_SIZE(fb->colour); i++)
		v |= 0xc0 >> (8 - MIN(fb->colour[i].size, 8)) << fb->colour[i].pos;
	return v;
}

static void set_pixel(volatile u8 *at, u32 v)
{
	if (pixel_bytes() == 4) {
		*(volatile u32 *)at = v;
		return;
	}
	for (u32 k = 0; k < pixel_bytes(); k++)
		at[k] = v >> 8 * k;
}

static void draw_char(u32 col, u32 row, char c)
{
	const struct boot_framebuffer *fb = &boot_info.fb;
	u32 colour;

	BUG_ON(col >= columns || row >= rows); /* what lies beyond is not ours */
	if (fb->text) {
		*(volatile u16 *)(base + row * fb->pitch + col * 2) = TEXT_ATTR | (u8)c;
		return;
	}
	colour = screen_white();
	for (u32 py = 0; py < CELL_H; py++)
		for (u32 px = 0; px < CELL_W; px++)
			set_pixel(base + (u64)(row * CELL_H + py) * fb->pitch +
				      (col * CELL_W + px) * pixel_bytes(),
				  font_dot(c, px / ZOOM, py / ZOOM) ? colour : 0);
}

static void clear_row(u32 row)
{
	for (u32 col = 0; col < columns; col++)
		draw_char(col, row, ' ');
}

/* Scrolling would read the slow memory of the device: go round instead, with an empty row ahead. */
static void new_line(void)
{
	BUG_ON(!rows);
	x = 0;
	y = (y + 1) % rows;
	clear_row(y);
	clear_row((y + 1) % rows);
}

bool screen_init(bool early)
{
	const struct boot_framebuffer *fb = &boot_info.fb;
	u64 size = (u64)fb->pitch * fb->height;

	if (!fb->present)
		return false;
	columns = fb->width;
	rows = fb->height;
	if (!fb->text) {
		columns /= CELL_W;
		rows /= CELL_H;
	}
	if (!columns || rows < 2)
		return false;
	if (!base && early)
		base = mm_map_boot(fb->addr, size);
	else if (!base)
		base = mm_map_screen(fb->addr, size);
	if (!base)
		return false;
	x = y = 0;
	for (u32 row = 0; row < rows; row++)
		clear_row(row);
	return true;
}

void screen_write(const char *s, u32 len)
{
	for (u32 i = 0; i < len; i++) {
		if (s[i] == '\n') {
			new_line();
			continue;
		}
		if (x == columns)
			new_line();
		draw_char(x++, y, s[i]);
	}
	__asm__ volatile("sfence" : : : "memory"); /* now it is to be seen */
}
