# SPDX-License-Identifier: GPL-2.0-only
# The bench guest, the mini VMM, and what dom0 gets of them; see tests/README.md.
BENCH	     := $(BUILD)/bench
BENCH_CFLAGS := -std=gnu11 -O2 -g $(WARN) -ffreestanding -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -I.

# multiboot.elf is what GRUB can load; QEMU takes no 64-bit ELF with such a header.
$(BENCH)/guest.elf $(BENCH)/multiboot.elf: $(BENCH)/%.elf: tests/bench/guest.c tests/bench/guest.h tests/bench/start.asm tests/bench/guest.ld
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -c -o $(BENCH)/$*.c.o tests/bench/guest.c
	$(NASM) -f elf64 -D FOR_$* -o $(BENCH)/$*.asm.o tests/bench/start.asm
	$(LD) -n -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T tests/bench/guest.ld -o $@ $(BENCH)/$*.asm.o $(BENCH)/$*.c.o

$(BENCH)/vmm $(BENCH)/sleeper $(BENCH)/linux $(BENCH)/launch: $(BENCH)/%: tests/bench/%.c tests/bench/guest.h tests/bench/row.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 $(WARN) -static -s -pthread -I. -o $@ $<

# In the order in which they are loaded.
LINUX_MODULES := virtio/virtio_ring virtio/virtio virtio/virtio_mmio block/virtio_blk ../net/core/failover net/net_failover net/virtio_net
$(BENCH)/linux.img: $(BENCH)/linux $(MKIMAGE_SRC) $(VMLINUX_cloud) tests/bench/bench.mk
	n=0; $(MKIMAGE) --add /init=$(BENCH)/linux --dir /dev $$(for m in $(LINUX_MODULES); do \
		echo --add /modules/$$n=$(dir $(VMLINUX_cloud))lib/modules/$(KVER_cloud)/kernel/drivers/$$m.ko; n=$$((n + 1)); done) -o $@

BENCH_FILES := guest.elf vmm sleeper launch linux.img
$(BENCH)/bench.cpio: $(BENCH_FILES:%=$(BENCH)/%) tests/bench/in-dom0 $(MKIMAGE_SRC) $(VMLINUX_cloud)
	$(MKIMAGE) --add /bin/in-dom0=tests/bench/in-dom0 $(foreach f,$(BENCH_FILES),--add /bin/$(f)=$(BENCH)/$(f)) \
		--modules $(dir $(VMLINUX_cloud)) $(KVER_cloud) dom0/modules stock-kvm -o $@

$(BENCH)/vmlinux: $(VMLINUX_cloud)
	@mkdir -p $(@D)
	ln -sf $(abspath $<) $@

# For Bochs an ISO each way, which boots by itself. Bochs has no MISC_ENABLE, so bare Linux does without the string instructions
# to clear and copy pages; dom0, to be compared, must do so, too.
$(BENCH)/initrd.img: $(BENCH)/bench.cpio $(IMG)/initrd-cloud.img
	cat $^ > $@

$(BENCH)/bochs-native.iso: $(BENCH)/multiboot.elf
	rm -rf $(BENCH)/iso && mkdir -p $(BENCH)/iso/boot/grub
	strip -o $(BENCH)/iso/boot/guest.elf $<
	printf 'multiboot /boot/guest.elf native\nboot\n' > $(BENCH)/iso/boot/grub/grub.cfg
	grub-mkrescue -o $@ $(BENCH)/iso >$@.log 2>&1 || { cat $@.log >&2; exit 1; }

$(BENCH)/bochs-corbel.iso $(BENCH)/bochs-kvm.iso: $(BENCH)/bochs-%.iso: dom0/mkiso dom0/grub.cfg $(BUILD)/corbel.elf $(VMLINUX_cloud) $(BENCH)/initrd.img
	GRUB_SET='set timeout=0; set dom0="console=ttyS0 quiet mitigations=off dom0.demo=0 clearcpuid=erms,rep_good"; set default=$(if $(filter kvm,$*),bare-)cloud' \
		dom0/mkiso $@ $(BUILD)/corbel.elf cloud::$(VMLINUZ_cloud):$(BENCH)/initrd.img
BENCH_BOCHS := $(foreach w,native kvm corbel,$(BENCH)/bochs-$(w).iso)

BENCH_RUN := $(PYTHON) tests/bench/bench.py $(BUILD) $(if $(UPDATE),--update)
.PHONY: bench bench-svm bench-vmx bench-check bench-test
bench bench-svm bench-check bench-test: $(BUILD)/corbel.iso $(BENCH)/bench.cpio $(BENCH)/vmlinux
bench bench-vmx: $(BENCH_BOCHS)
bench:
	@$(BENCH_RUN)
bench-svm:
	@$(BENCH_RUN) qemu-svm
bench-vmx:
	@$(BENCH_RUN) bochs-vmx
bench-check bench-test:
	@$(PYTHON) tests/bench/bench.py $(BUILD) --check
