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

$(BENCH)/vmm: tests/bench/vmm.c tests/bench/guest.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g $(WARN) -static -pthread -I. -o $@ $<

$(BENCH)/bench.cpio: $(BENCH)/guest.elf $(BENCH)/vmm $(MKIMAGE_SRC) $(VMLINUX_cloud)
	$(MKIMAGE) --add /bin/guest.elf=$(BENCH)/guest.elf --add /bin/vmm=$(BENCH)/vmm \
		--modules $(dir $(VMLINUX_cloud)) $(KVER_cloud) dom0/modules stock-kvm -o $@

BENCH_RUN := $(PYTHON) tests/bench/bench.py $(BUILD)
.PHONY: bench bench-svm bench-update bench-check bench-test
bench: bench-svm
bench-svm bench-update bench-check bench-test: $(BUILD)/corbel.iso $(BENCH)/bench.cpio
bench-svm:
	@$(BENCH_RUN)
bench-update:
	@$(BENCH_RUN) --update
bench-check bench-test:
	@$(BENCH_RUN) --check
