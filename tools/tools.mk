# SPDX-License-Identifier: GPL-2.0-only
# The corbel tool. Needs json-c and ncurses (Debian: libjson-c-dev, libncurses-dev).

TOOL_C      := $(sort $(wildcard tools/corbel/*.c))
TOOL_OBJ    := $(TOOL_C:%.c=$(BUILD)/%.o)
TOOL_LIBS   := -ljson-c -lncursesw -ltinfo
TOOL_CFLAGS := -std=gnu11 -O2 -g $(WARN) -fstack-protector-strong $(if $(CPPFLAGS),,-D_FORTIFY_SOURCE=2) -DCORBEL_VERSION='"$(VERSION)"'

$(BUILD)/tools/corbel/%.o: tools/corbel/%.c $(BUILD)/.flags
	@mkdir -p $(@D)
	$(CC) $(TOOL_CFLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/corbel: $(TOOL_OBJ)
	$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(TOOL_OBJ) $(TOOL_LIBS)

.PHONY: tool
tool: $(BUILD)/corbel

-include $(TOOL_OBJ:.o=.d)

# ---- its tests: tests/tool, with a sanitized build; real VMMs under TCG ----
TT := $(BUILD)/tool-test

$(TT)/corbel: $(TOOL_C) $(wildcard tools/corbel/*.h) hv/abi.h hv/abi_msr.h hv/abi_pool.h hv/abi_vm.h dom0/kmod/devctl.h
	@mkdir -p $(TT)
	$(CC) $(filter-out -O2 -D_FORTIFY_SOURCE=2,$(TOOL_CFLAGS)) -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -o $@ $(TOOL_C) $(TOOL_LIBS)

$(TT)/fakehv.so: tests/tool/fakehv.c hv/abi.h hv/abi_msr.h hv/abi_pool.h hv/abi_vm.h dom0/kmod/devctl.h
	@mkdir -p $(TT)
	$(CC) -std=gnu11 -O1 -fPIC -shared -Wall -Wextra -Werror -o $@ $< -ldl

$(TT)/calls: tests/dom0/calls.c hv/abi.h hv/abi_msr.h hv/abi_pool.h hv/abi_vm.h dom0/kmod/devctl.h
	@mkdir -p $(TT)
	$(CC) -std=gnu11 -O1 $(WARN) -o $@ $<

$(TT)/guest: tests/tool/guest.asm
	@mkdir -p $(TT)
	$(NASM) -f bin -o $@ $<

.PHONY: tool-test
tool-test: $(TT)/corbel $(TT)/fakehv.so $(TT)/calls $(TT)/guest
	timeout 450 $(PYTHON) tests/tool/tool_test.py $(TT)/corbel $(TT)/guest $(TT)/fakehv.so
