# SPDX-License-Identifier: GPL-2.0-only
# Hostile guests and fuzzers that run in dom0; build/kvm-tests.cpio is attached to the machine as a disk.
KT := $(BUILD)/kvm-tests
KT_FLAGS := -std=gnu11 -O1 -g $(WARN) -static -pthread -I.

$(KT)/payload.o: tests/kvm/payload.asm
	@mkdir -p $(@D)
	$(NASM) -f elf64 -o $@ $<

$(KT)/guests $(KT)/vmms: $(KT)/%: tests/kvm/%.c tests/kvm/vmm.c tests/kvm/vmm.h hv/abi.h $(KT)/payload.o
	$(CC) $(KT_FLAGS) -o $@ $(filter %.c %.o,$^)

# What other VMMs ask for.
KT_VMMS := firecracker cloudhv kvmtool
$(KT_VMMS:%=$(KT)/%): $(KT)/%: tests/kvm/%.c $(addprefix tests/kvm/,snapshot.c snapshot.h vmm.c vmm.h) $(KT)/payload.o
	$(CC) $(KT_FLAGS) -o $@ $(filter %.c %.o,$^)

$(KT)/fuzz_ioctl: tests/kvm/fuzz_ioctl.c hv/abi.h
	@mkdir -p $(@D)
	$(CC) $(KT_FLAGS) -o $@ $<

# Built as dom0/kmod is, for the kernel of the tests.
HCFUZZ_SRC := tests/kvm/hcfuzz/hcfuzz.c tests/kvm/hcfuzz/Kbuild dom0/kmod/hypercall.h hv/abi.h
$(KT)/hcfuzz/hcfuzz.ko: $(HCFUZZ_SRC)
	@mkdir -p $(@D)
	@ln -sf $(abspath $(HCFUZZ_SRC)) $(@D)/
	$(MAKE) -C $(call kmod_headers,$(KVER_cloud)) M=$(abspath $(@D)) modules
	@touch $@

$(BUILD)/kvm-tests.cpio: $(KT)/guests $(KT)/vmms $(KT)/fuzz_ioctl $(KT_VMMS:%=$(KT)/%) $(KT)/hcfuzz/hcfuzz.ko
	@cp $(KT)/hcfuzz/hcfuzz.ko $(KT)/hcfuzz.ko && strip --strip-debug $(KT)/hcfuzz.ko
	cd $(KT) && strip -s guests vmms fuzz_ioctl $(KT_VMMS) && \
		printf '%s\n' guests vmms fuzz_ioctl $(KT_VMMS) hcfuzz.ko | cpio -o -H newc --quiet > ../kvm-tests.cpio

# For Bochs they are in dom0's image.
$(BUILD)/bochs-hostile.iso: dom0/mkiso dom0/grub.cfg $(BUILD)/corbel.elf $(VMLINUX_cloud) $(BUILD)/kvm-tests.cpio $(IMG)/initrd-cloud.img
	cat $(BUILD)/kvm-tests.cpio $(IMG)/initrd-cloud.img > $(KT)/initrd.img
	GRUB_SET='set timeout=0; set dom0="console=ttyS0 quiet dom0.demo=0"; set default=cloud' \
		dom0/mkiso $@ $(BUILD)/corbel.elf cloud::$(VMLINUZ_cloud):$(KT)/initrd.img

test test-full: $(BUILD)/kvm-tests.cpio $(BUILD)/bochs-hostile.iso
