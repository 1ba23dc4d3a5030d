# SPDX-License-Identifier: GPL-2.0-only
# Corbel. `make help` lists the targets. Everything generated lies under build/.

BUILD   := build
CC      ?= gcc
NASM    := nasm
PYTHON  := python3
VERSION := 0.1

.DEFAULT_GOAL := all

# ---- the hypervisor ----
HV_C   := $(sort $(wildcard boot/*.c hv/*.c hv/*/*.c))
HV_ASM := $(sort $(wildcard boot/*.asm hv/*.asm hv/*/*.asm))
HV_OBJ := $(HV_ASM:%.asm=$(BUILD)/%.asm.o) $(HV_C:%.c=$(BUILD)/%.o)

WARN     := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter
HV_CFLAGS := -std=gnu11 -O2 -g $(WARN) -ffreestanding -fno-pic -fno-pie -mcmodel=kernel -mno-red-zone -mgeneral-regs-only \
	-fno-stack-protector -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-strict-aliasing -fcf-protection=none -fno-asynchronous-unwind-tables \
	-DCORBEL_VERSION='"$(VERSION)"' -I.

$(BUILD)/%.o: %.c $(BUILD)/.flags
	@mkdir -p $(@D)
	$(CC) $(HV_CFLAGS) -MMD -MP -c -o $@ $<

# Structure offsets for assembly come from the compiler: hv/offsets.c emits lines "->NAME value".
$(BUILD)/offsets.inc: hv/offsets.c $(BUILD)/.flags
	@mkdir -p $(@D)
	$(CC) $(HV_CFLAGS) -MMD -MP -MT $@ -MF $(BUILD)/offsets.d -S -o $(BUILD)/offsets.s $<
	sed -n 's/^.*->\([A-Z0-9_]*\) [$$]*\(-*[0-9]*\).*/%define \1 \2/p' $(BUILD)/offsets.s > $@

$(BUILD)/%.asm.o: %.asm $(BUILD)/offsets.inc
	@mkdir -p $(@D)
	$(NASM) -f elf64 -g -F dwarf -I $(BUILD)/ -o $@ $<

$(BUILD)/.flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(CC) $(HV_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(HV_CFLAGS)' > $@

HV_OBJ := $(filter-out $(BUILD)/hv/offsets.o,$(HV_OBJ))

# Linked twice: the symbol table for backtraces is made from the first link (tools/symtab.py) and lies at the end of .rodata.
$(BUILD)/corbel.elf: $(HV_OBJ) linker.ld tools/symtab.py
	$(LD) -n -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T linker.ld -o $(BUILD)/corbel.0.elf $(HV_OBJ)
	nm -n $(BUILD)/corbel.0.elf | $(PYTHON) tools/symtab.py > $(BUILD)/symtab.S
	$(CC) -c -o $(BUILD)/symtab.o $(BUILD)/symtab.S
	$(LD) -n -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T linker.ld -o $@ $(HV_OBJ) $(BUILD)/symtab.o

.PHONY: hv
hv: $(BUILD)/corbel.elf

-include $(HV_OBJ:.o=.d) $(BUILD)/offsets.d

-include tools/tools.mk

# ---- unit tests: each tests/unit/NAME_test.c names what it links in a comment "links: ..." ----
UNIT      := $(patsubst tests/unit/%_test.c,%,$(wildcard tests/unit/*_test.c))
UNIT_FLAGS := -std=gnu11 -O1 -g $(WARN) -DHV_HOST_TEST -fsanitize=address,undefined -fno-sanitize-recover=all -I.

define unit_rule
$(BUILD)/unit/$(1): tests/unit/$(1)_test.c tests/unit/stubs.c tests/unit/test.h $(shell sed -n 's|.*links:\(.*\)\*/.*|\1|p' tests/unit/$(1)_test.c | tr ' ' '\n' | grep '\.c$$')
	@mkdir -p $(BUILD)/unit
	$$(CC) $$(UNIT_FLAGS) -o $$@ tests/unit/$(1)_test.c tests/unit/stubs.c $(shell sed -n 's|.*links:\(.*\)\*/.*|\1|p' tests/unit/$(1)_test.c)
endef
$(foreach t,$(UNIT),$(eval $(call unit_rule,$(t))))

.PHONY: unit
unit: $(UNIT:%=$(BUILD)/unit/%)
	@fail=0; for t in $(UNIT); do echo "# $$t"; $(BUILD)/unit/$$t || fail=1; done; exit $$fail

# ---- fuzz targets, under libFuzzer for FUZZ_SECONDS; the unit tests drive the same ones with repeatable mutations ----
FUZZ_SECONDS ?= 60
.PHONY: fuzz
fuzz:
	@mkdir -p $(BUILD)/fuzz
	clang -std=gnu11 -O1 -g -DHV_HOST_TEST -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I. -o $(BUILD)/fuzz/mb2 \
		tests/fuzz/mb2_fuzz.c tests/unit/stubs.c boot/mb2.c boot/memmap.c
	$(BUILD)/fuzz/mb2 -max_len=16384 -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(BUILD)/fuzz/

-include dom0/kmod/kmod.mk

.PHONY: clean FORCE
clean:
	rm -rf $(BUILD)
FORCE:
