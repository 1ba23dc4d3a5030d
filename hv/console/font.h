/* SPDX-License-Identifier: GPL-2.0-only */
/* A font of 5 x 7 dots for the framebuffer: failure lines must be readable, no more. */
#pragma once

#include "hv/lib/types.h"

#define FONT_WIDTH  6 /* with the space between characters */
#define FONT_HEIGHT 8

/* Dot (col, row) of a character; unknown ones show as a box. */
bool font_dot(char c, u32 col, u32 row);
