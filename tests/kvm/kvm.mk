# SPDX-License-Identifier: GPL-2.0-only
# Hostile guests and fuzzers that run in dom0; build/kvm-tests.cpio is attached to the machine as a disk.
KT := $(BUILD)/kvm-tests
KT_FLAGS := -std=gnu11 -O1 -g $(WARN) -static -pthread -I.

$(KT)/payload.o $(KT)/smmcode.o: $(KT)/%.o: tests/kvm/%.asm
	@mkdir -p $(@D)
	$(NASM) -f elf64 -o $@ $<

$(KT)/guests $(KT)/vmms: $(KT)/%: tests/kvm/%.c tests/kvm/vmm.c tests/kvm/vmm.h hv/abi.h hv/abi_error.h hv/abi_msr.h hv/abi_pool.h hv/abi_vm.h dom0/kmod/devctl.h $(KT)/payload.o
	$(CC) $(KT_FLAGS) -o $@ $(filter %.c %.o,$^)
$(KT)/vmms: tests/kvm/quota.c tests/kvm/quota.h

# What other VMMs, and debuggers, ask for.
KT_VMMS := firecracker cloudhv kvmtool debugger msrs dirty ring private migrate traced insns quirks hyperv synic share nested nested_state nested_smm vmxstate smm crowd broken exits halting rom pressure tpr blob edges apf pairing longwork
$(KT_VMMS:%=$(KT)/%): $(KT)/%: tests/kvm/%.c hv/abi.h hv/abi_error.h hv/abi_msr.h hv/abi_pool.h hv/abi_vm.h dom0/kmod/devctl.h $(addprefix tests/kvm/,snapshot.c snapshot.h hvguest.c hvguest.h vmm.c vmm.h) dom0/kmod/later_kvm.h $(KT)/payload.o
	$(CC) $(KT_FLAGS) -o $@ $(filter %.c %.o,$^)

$(KT)/smm $(KT)/nested_smm: $(KT)/smmcode.o
$(KT)/nested $(KT)/nested_state $(KT)/nested_smm: tests/kvm/nestedvm.c tests/kvm/nestedvm.h

$(KT)/fuzz_ioctl: tests/kvm/fuzz_ioctl.c dom0/kmod/later_kvm.h hv/abi.h hv/abi_error.h hv/abi_msr.h hv/abi_pool.h hv/abi_vm.h dom0/kmod/devctl.h
	@mkdir -p $(@D)
	$(CC) $(KT_FLAGS) -o $@ $<

# Built as dom0/kmod is, for the kernel of the tests.
KT_MODULES := $(KT)/hcfuzz/hcfuzz.ko $(KT)/widen/widen.ko $(KT)/pfnmap/pfnmap.ko
$(KT_MODULES): $(KT)/%.ko: tests/kvm/%.c dom0/kmod/hypercall.h hv/abi.h hv/abi_error.h hv/abi_msr.h hv/abi_pool.h hv/abi_vm.h
	@mkdir -p $(@D)
	@ln -sf $(abspath $^ $(<D)/Kbuild) $(@D)/
	$(MAKE) -C $(call kmod_headers,$(KVER_cloud)) M=$(abspath $(@D)) modules
	@touch $@
$(foreach m,$(KT_MODULES),$(eval $(m): $(dir $(m:$(KT)/%=tests/kvm/%))Kbuild))
# Only that kernel retires broken memory.
$(KT)/widen-amd64/widen.ko: tests/kvm/widen/widen.c tests/kvm/widen/Kbuild
	@mkdir -p $(@D)
	@ln -sf $(abspath $^) $(@D)/
	$(MAKE) -C $(call kmod_headers,$(KVER_amd64)) M=$(abspath $(@D)) modules
	@touch $@

KT_PROGRAMS := guests vmms fuzz_ioctl $(KT_VMMS)
$(BUILD)/kvm-tests.cpio: $(KT_PROGRAMS:%=$(KT)/%) $(KT_MODULES) $(KT)/widen-amd64/widen.ko
	@cp $(KT_MODULES) $(KT) && cp $(KT)/widen-amd64/widen.ko $(KT)/widen-amd64.ko && strip --strip-debug $(KT)/*.ko
	cd $(KT) && strip -s $(KT_PROGRAMS) && printf '%s\n' $(KT_PROGRAMS) $(notdir $(KT_MODULES)) widen-amd64.ko | cpio -o -H newc --quiet > ../kvm-tests.cpio

# For Bochs they are in dom0's image.
# Its machine's idle states are those of tests/lib/acpi.py.
$(BUILD)/bochs-hostile.iso: dom0/mkiso dom0/grub.cfg tests/lib/acpi.py $(BUILD)/corbel.elf $(VMLINUX_cloud) $(BUILD)/kvm-tests.cpio $(IMG)/initrd-cloud.img
	$(PYTHON) tests/lib/acpi.py $(KT)/cst.aml
	cat $(BUILD)/kvm-tests.cpio $(IMG)/initrd-cloud.img > $(KT)/initrd.img
	GRUB_SET='set timeout=0; set dom0="console=ttyS0 quiet dom0.demo=0"; set default=cloud; acpi --exclude=SSDT /cst.aml' EXTRA=$(KT)/cst.aml \
		dom0/mkiso $@ $(BUILD)/corbel.elf cloud::$(VMLINUZ_cloud):$(KT)/initrd.img

test test-full: $(BUILD)/kvm-tests.cpio $(BUILD)/bochs-hostile.iso
