/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once
#include "hv/vmx/vmx.h"

/* A CPU that has everything. */
static const struct vmx_msrs all_caps = {.basic = BASIC_TRUE,
					 .pin = 0xffffffff00000016,
					 .proc = 0xffffffff04006172,
					 .proc2 = 0xffffffff00000000,
					 .exit = 0xffffffff00036dfb,
					 .entry = 0xffffffff000011fb,
					 .ept_vpid = ~0ull};
