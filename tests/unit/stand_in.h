/* SPDX-License-Identifier: GPL-2.0-only */
/* Functions that stand where a test does not look: rest.c has those that several tests want. */
#pragma once

/* A function that does nothing, and one that returns 0, false or NULL besides. */
#define NOTHING(name, ...)                                                                         \
	void name(__VA_ARGS__)                                                                     \
	{                                                                                          \
	}
#define ZERO(type, name, ...)                                                                      \
	type name(__VA_ARGS__)                                                                     \
	{                                                                                          \
		return 0;                                                                          \
	}
