/* SPDX-License-Identifier: GPL-2.0-only */
/* Statistics for dom0's tools: one struct of hv/abi.h at a time. */
#pragma once

#include "hv/lib/types.h"

/* CORBEL_STAT_x, the nth of its kind, into buf (a page). Bytes, -ENOENT, -EINVAL. */
s64 stat_get(u64 what, u64 nth, void *buf);
