/* SPDX-License-Identifier: GPL-2.0-only */
/* Back end for Intel's VT-d. */
#pragma once

#include "hv/iommu/iommu.h"

extern const struct iommu_ops vtd_ops;
