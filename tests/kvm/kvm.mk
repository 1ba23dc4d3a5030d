# SPDX-License-Identifier: GPL-2.0-only
# Hostile guests, run in dom0; build/kvm-tests.cpio is attached to the machine as a disk.
KT := $(BUILD)/kvm-tests
KT_FLAGS := -std=gnu11 -O1 -g $(WARN) -static -pthread -I.

$(KT)/payload.o: tests/kvm/payload.asm
	@mkdir -p $(@D)
	$(NASM) -f elf64 -o $@ $<

$(KT)/guests: tests/kvm/guests.c tests/kvm/vmm.c tests/kvm/vmm.h hv/abi.h $(KT)/payload.o
	$(CC) $(KT_FLAGS) -o $@ $(filter %.c %.o,$^)

$(BUILD)/kvm-tests.cpio: $(KT)/guests
	cd $(KT) && strip -s guests && echo guests | cpio -o -H newc --quiet > ../kvm-tests.cpio

test: $(BUILD)/kvm-tests.cpio
