# SPDX-License-Identifier: GPL-2.0-only
# Programs that tests run in dom0; build/dom0-tests.cpio is attached to the machine as a disk.
DOM0_TESTS := $(patsubst tests/dom0/%.c,$(BUILD)/dom0-tests/%,$(wildcard tests/dom0/*.c))

$(BUILD)/dom0-tests/%: tests/dom0/%.c hv/abi.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 -g $(WARN) -static -pthread -I. -o $@ $<

$(BUILD)/dom0-tests.cpio: $(DOM0_TESTS)
	cd $(BUILD)/dom0-tests && strip -s $(notdir $(DOM0_TESTS)) && printf '%s\n' $(notdir $(DOM0_TESTS)) | \
		cpio -o -H newc --quiet > ../dom0-tests.cpio

# Debian 13's QEMU, fetched into build/debian13.
$(BUILD)/qemu10.cpio: tests/dom0/debian13 $(VMLINUX_cloud) $(IMG)/demo.img
	tests/dom0/debian13 $(BUILD)/debian13 $(VMLINUZ_cloud) $(IMG)/demo.img $@

test test-full: $(BUILD)/dom0-tests.cpio
