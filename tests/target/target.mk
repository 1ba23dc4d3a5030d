# SPDX-License-Identifier: GPL-2.0-only
# Target tests: a payload that runs in dom0's place, on an ISO of its own. See tests/README.md.
TARGET     := $(BUILD)/target
TARGET_OBJ := $(patsubst tests/target/%.c,$(TARGET)/%.o,$(sort $(wildcard tests/target/*.c))) \
	$(patsubst tests/target/%.asm,$(TARGET)/%.asm.o,$(sort $(wildcard tests/target/*.asm)))
TARGET_CFLAGS := -std=gnu11 -Os -g $(WARN) -ffreestanding -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only -fno-stack-protector \
	-fno-strict-aliasing -fcf-protection=none -fno-asynchronous-unwind-tables -I.

$(TARGET)/%.o: tests/target/%.c tests/target/target.mk
	@mkdir -p $(@D)
	$(CC) $(TARGET_CFLAGS) -MMD -MP -c -o $@ $<

$(TARGET)/%.asm.o: tests/target/%.asm tests/target/target.mk
	@mkdir -p $(@D)
	$(NASM) -f elf64 -o $@ $<

$(TARGET)/payload.elf: $(TARGET_OBJ) tests/target/link.ld
	$(LD) -n -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T tests/target/link.ld -o $@.tmp $(TARGET_OBJ)
	objcopy --strip-all $@.tmp $@

$(TARGET)/target.iso: $(BUILD)/corbel.elf $(TARGET)/payload.elf tests/target/grub.cfg tests/target/damage.py
	@rm -rf $(TARGET)/iso && mkdir -p $(TARGET)/iso/boot/grub
	cp $(BUILD)/corbel.elf $(TARGET)/payload.elf $(TARGET)/iso/boot/
	cp tests/target/grub.cfg $(TARGET)/iso/boot/grub/
	$(PYTHON) tests/target/damage.py $(BUILD)/corbel.elf $(TARGET)/payload.elf $(TARGET)/iso/boot
	grub-mkrescue -o $@.tmp $(TARGET)/iso >$(TARGET)/iso.log 2>&1 || { cat $(TARGET)/iso.log >&2; exit 1; }
	mv $(TARGET)/iso/boot/microcode.cpio $(TARGET)/
	mv $@.tmp $@
	rm -rf $(TARGET)/iso

# For Bochs, where VT-x is: the groups are fixed, and there is little to read from its slow CD.
$(TARGET)/bochs-%.iso: $(BUILD)/corbel.elf $(TARGET)/payload.elf FORCE
	@rm -rf $(TARGET)/bochs-$* && mkdir -p $(TARGET)/bochs-$*/boot/grub
	objcopy --strip-debug $(BUILD)/corbel.elf $(TARGET)/bochs-$*/boot/corbel.elf
	cp $(TARGET)/payload.elf $(TARGET)/microcode.cpio $(TARGET)/bochs-$*/boot/
	printf '%s\nmultiboot2 /boot/corbel.elf loglvl=err %s\nmodule2 /boot/payload.elf x %s\nmodule2 /boot/microcode.cpio\nboot\n' '$(BOCHS_GRUB)' '$(BOCHS_HV)' '$(BOCHS_ARGS)' > $(TARGET)/bochs-$*/boot/grub/grub.cfg
	grub-mkrescue -o $@ $(TARGET)/bochs-$* >$@.log 2>&1 || { cat $@.log >&2; exit 1; }
	rm -rf $(TARGET)/bochs-$* $@.log

-include $(wildcard $(TARGET)/*.d)

# Debian with its KVM and its QEMU, for Corbel to run on.
$(TARGET)/nested.img: $(MKIMAGE_SRC) tests/target/nested-init $(VMLINUX_cloud)
	$(MKIMAGE) --add /init=tests/target/nested-init --busybox $(BASE_DIRS) --program /usr/bin/qemu-system-x86_64 \
		$(foreach f,seabios/bios-256k.bin qemu/kvmvapic.bin qemu/linuxboot_dma.bin,--add /usr/share/$(f)=/usr/share/$(f)) \
		--modules $(dir $(VMLINUX_cloud)) $(KVER_cloud) dom0/modules nested --compress lz4 -o $@
$(TARGET)/nested.vmlinuz: $(VMLINUX_cloud)
	ln -sf $(abspath $(VMLINUZ_cloud)) $@

# The same in Bochs, whose CD has it all.
$(TARGET)/kvm-%.iso: $(TARGET)/bochs-%.iso $(TARGET)/nested.img $(TARGET)/nested.vmlinuz
	@rm -rf $(TARGET)/kvm-$* && mkdir -p $(TARGET)/kvm-$*/boot/grub
	printf 'qemu-system-x86_64 -M q35 -accel kvm -cpu host -m 512M -display none -vga none -serial stdio -nic none -no-reboot -cdrom /target.iso -device isa-debug-exit,iobase=0xf4,iosize=4\n' > $(TARGET)/kvm-$*/start
	$(MKIMAGE) --add /target.iso=$(TARGET)/bochs-$*.iso --add /start=$(TARGET)/kvm-$*/start -o $(TARGET)/kvm-$*/boot/inner.img
	cp -L $(TARGET)/nested.img $(TARGET)/nested.vmlinuz $(TARGET)/kvm-$*/boot/
	printf 'linux /boot/nested.vmlinuz console=ttyS0 quiet mitigations=off panic=-1\ninitrd /boot/inner.img /boot/nested.img\nboot\n' > $(TARGET)/kvm-$*/boot/grub/grub.cfg
	grub-mkrescue -o $@ $(TARGET)/kvm-$* >$@.log 2>&1 || { cat $@.log >&2; exit 1; }
	rm -rf $(TARGET)/kvm-$* $@.log

.PHONY: bochsnested-test target-test bochs-target-test bochs13-test messages-test nested-test
test-full: $(TARGET)/nested.img # for nestedlinux, too

# Debian 13's Bochs, unpacked.
$(BUILD)/bochs13/root: tests/dom0/trixie
	tests/dom0/trixie $(@D) bochs bochs-term bochsbios vgabios
	touch $@
nested-test: $(TARGET)/target.iso $(TARGET)/nested.img $(TARGET)/nested.vmlinuz
	@BUILD=$(BUILD) $(PYTHON) tests/target/run --nested $(TARGETS)
bochsnested-test: $(TARGET)/target.iso $(TARGET)/nested.img $(TARGET)/nested.vmlinuz
	@BUILD=$(BUILD) $(PYTHON) tests/target/run --bochs-nested $(TARGETS)
target-test: $(TARGET)/target.iso
	@BUILD=$(BUILD) $(PYTHON) tests/target/run $(TARGETS)
bochs-target-test: $(TARGET)/target.iso
	@BUILD=$(BUILD) $(PYTHON) tests/target/run --bochs $(TARGETS)
bochs13-test: $(TARGET)/target.iso $(BUILD)/bochs13/root
	@BUILD=$(BUILD) $(PYTHON) tests/target/run --bochs13 $(TARGETS)
messages-test: $(TARGET)/target.iso
	@BUILD=$(BUILD) $(PYTHON) tests/target/messages $(MESSAGES)
