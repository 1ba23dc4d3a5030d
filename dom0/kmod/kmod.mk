# SPDX-License-Identifier: GPL-2.0-only
# corbel.ko, and beside it corbel_iommu.ko, for each kernel whose headers are installed: build/kmod/<version>/corbel.ko. The sources are linked into the
# build directory, because kbuild writes beside them.

KMOD_SRC      := $(wildcard dom0/kmod/*.c dom0/kmod/*.h) dom0/kmod/Kbuild hv/abi.h hv/abi_error.h hv/abi_msr.h hv/abi_nested.h hv/abi_pool.h hv/abi_vm.h
KMOD_VERSIONS := $(patsubst /lib/modules/%/build/Makefile,%,$(wildcard /lib/modules/*/build/Makefile)) \
	$(patsubst /usr/src/linux-headers-%/Makefile,%,$(filter-out %-common/Makefile,$(wildcard /usr/src/linux-headers-*/Makefile)))
KMOD_VERSIONS := $(sort $(KMOD_VERSIONS))
kmod_headers   = $(firstword $(wildcard /usr/src/linux-headers-$(1) /lib/modules/$(1)/build))

define kmod_rule
$(BUILD)/kmod/$(1)/corbel.ko: $(KMOD_SRC) dom0/kmod/kmod.mk
	@mkdir -p $$(@D)
	@ln -sf $$(abspath $(KMOD_SRC)) $$(@D)/
	$$(MAKE) -C $(call kmod_headers,$(1)) M=$$(abspath $$(@D)) KCFLAGS=-Werror $$(KMOD_FLAGS) modules
	@touch $$@
endef
$(foreach v,$(KMOD_VERSIONS),$(eval $(call kmod_rule,$(v))))

.PHONY: kmod
kmod: $(KMOD_VERSIONS:%=$(BUILD)/kmod/%/corbel.ko)
	@test -n "$(KMOD_VERSIONS)" || { echo "kmod: no kernel headers found; install linux-headers-amd64"; exit 1; }
