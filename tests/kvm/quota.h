/* SPDX-License-Identifier: GPL-2.0-only */
/* Parts of vmms: what one user can have, and who pays. True: all went as it should. */
#pragma once

#include <stdbool.h>

bool quota_limits(void);
bool quota_doorbells(void);
bool quota_stops_late(void);
bool quota_pool_limit(void);
bool quota_pool(void);
bool quota_sparse(void);
