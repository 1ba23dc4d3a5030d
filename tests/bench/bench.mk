# SPDX-License-Identifier: GPL-2.0-only
# The bench guest, the mini VMM, and what dom0 gets of them; see tests/README.md.
BENCH	     := $(BUILD)/bench
BENCH_CFLAGS := -std=gnu11 -O2 -g $(WARN) -ffreestanding -fno-pic -fno-pie -mno-red-zone -mgeneral-regs-only -fno-stack-protector \
	-fcf-protection=none -fno-asynchronous-unwind-tables -I.

$(BENCH)/guest.elf: tests/bench/guest.c tests/bench/guest.h tests/bench/start.asm tests/bench/guest.ld
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -c -o $(BENCH)/guest.o tests/bench/guest.c
	$(NASM) -f elf64 -o $(BENCH)/start.o tests/bench/start.asm
	$(LD) -n -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T tests/bench/guest.ld -o $@ $(BENCH)/start.o $(BENCH)/guest.o

$(BENCH)/vmm $(BENCH)/linux $(BENCH)/launch: $(BENCH)/%: tests/bench/%.c tests/bench/guest.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 $(WARN) -static -s -pthread -I. -o $@ $<

# In the order in which they are loaded.
LINUX_MODULES := virtio/virtio_ring virtio/virtio virtio/virtio_mmio block/virtio_blk ../net/core/failover net/net_failover net/virtio_net
$(BENCH)/linux.img: $(BENCH)/linux $(MKIMAGE_SRC) $(VMLINUX_cloud) tests/bench/bench.mk
	n=0; $(MKIMAGE) --add /init=$(BENCH)/linux --dir /dev $$(for m in $(LINUX_MODULES); do \
		echo --add /modules/$$n=$(dir $(VMLINUX_cloud))lib/modules/$(KVER_cloud)/kernel/drivers/$$m.ko; n=$$((n + 1)); done) -o $@

BENCH_FILES := guest.elf vmm launch linux.img
$(BENCH)/bench.cpio: $(BENCH_FILES:%=$(BENCH)/%) $(MKIMAGE_SRC) $(VMLINUX_cloud)
	$(MKIMAGE) $(foreach f,$(BENCH_FILES),--add /bin/$(f)=$(BENCH)/$(f)) \
		--modules $(dir $(VMLINUX_cloud)) $(KVER_cloud) dom0/modules stock-kvm -o $@

$(BENCH)/vmlinux: $(VMLINUX_cloud)
	@mkdir -p $(@D)
	ln -sf $(abspath $<) $@

BENCH_RUN := $(PYTHON) tests/bench/bench.py $(BUILD)
.PHONY: bench bench-svm bench-update bench-check bench-test
bench: bench-svm
bench-svm bench-update bench-check bench-test: $(BUILD)/corbel.iso $(BENCH)/bench.cpio $(BENCH)/vmlinux
bench-svm:
	@$(BENCH_RUN)
bench-update:
	@$(BENCH_RUN) --update
bench-check bench-test:
	@$(BENCH_RUN) --check
