# SPDX-License-Identifier: GPL-2.0-only
# Bochs is the machine with VT-x. Its CD is slow: one kernel, compressed, and no menu.
BOCHS_MODEL ?= corei7_skylake_x
BOCHS_MEM   ?= 512

$(BUILD)/bochs.iso: dom0/mkiso dom0/grub.cfg $(BUILD)/corbel.elf $(VMLINUX_cloud) $(IMG)/initrd-cloud.img $(BUILD)/.bochs
	GRUB_SET='set timeout=0; set hv="$(APPEND)"; set dom0="console=ttyS0 $(DOM0_APPEND)"' \
		dom0/mkiso $@ $(BUILD)/corbel.elf cloud::$(VMLINUZ_cloud):$(IMG)/initrd-cloud.img

# The menu holds the options: made anew when they change.
$(BUILD)/.bochs: FORCE
	@mkdir -p $(BUILD)
	@echo '$(APPEND):$(DOM0_APPEND)' | cmp -s - $@ || echo '$(APPEND):$(DOM0_APPEND)' > $@

.PHONY: run-bochs
run-bochs: $(BUILD)/bochs.iso
	$(PYTHON) tests/bochs $< --model $(BOCHS_MODEL) --mem $(BOCHS_MEM)
