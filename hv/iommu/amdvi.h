/* SPDX-License-Identifier: GPL-2.0-only */
/* Back end for AMD's IOMMU. */
#pragma once

#include "hv/iommu/iommu.h"

extern const struct iommu_ops amdvi_ops;
