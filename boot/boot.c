/* SPDX-License-Identifier: GPL-2.0-only */
#include "boot/boot.h"

struct boot_info boot_info;
