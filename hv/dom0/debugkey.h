/* SPDX-License-Identifier: GPL-2.0-only */
/* What a person at the console, or CORBEL_HC_DEBUG, can ask of the hypervisor at any time. */
#pragma once

/* State into the log. From CORBEL_HC_DEBUG, so nothing that harms. */
void debug_key(char key);
/*
 * A key typed at the console after three Ctrl-A: the same, and what ends the machine. For
 * console_set_keys().
 */
void debug_key_console(char key);
