# SPDX-License-Identifier: GPL-2.0-only
# Corbel. `make help` lists the targets. Everything generated lies under build/.

BUILD   := build
CC      ?= gcc
NASM    := nasm
PYTHON  := /usr/bin/python3
VERSION := 0.1

# mke2fs and others, where a user's PATH has no sbin.
export PATH := $(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := all

# ---- packages: what is missing of dom0/packages is installed before anything else is built. deps.mk also tells the kernel
# versions (KVER_*, KPKG_*); the check costs half a second and is repeated when packages were installed or removed.
# DEPS=no is for whoever has them installed and needs no kernel.
ifneq ($(if $(filter no,$(DEPS)),,$(filter-out clean help,$(or $(MAKECMDGOALS),all))),)
include $(BUILD)/deps.mk
endif
$(BUILD)/deps.mk: dom0/packages dom0/deps $(wildcard /var/lib/dpkg/status)
	@dom0/deps dom0/packages $@

.PHONY: all deps
all: hv hv-clang kmod tool image
deps: $(BUILD)/deps.mk
	@echo "deps: everything in dom0/packages is installed"

# ---- the hypervisor ----
HV_C   := $(sort $(wildcard boot/*.c hv/*.c hv/*/*.c))
HV_ASM := $(sort $(wildcard boot/*.asm hv/*.asm hv/*/*.asm))
HV_OBJ := $(HV_ASM:%.asm=$(BUILD)/%.asm.o) $(HV_C:%.c=$(BUILD)/%.o)

WARN     := -Wall -Wextra -Werror -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter -Wno-missing-field-initializers
HV_CFLAGS := -std=gnu11 -O2 -g $(WARN) -ffreestanding -fno-pic -fno-pie -mcmodel=kernel -mno-red-zone -mgeneral-regs-only \
	-fno-stack-protector -fno-omit-frame-pointer -fno-optimize-sibling-calls -fno-strict-aliasing -fcf-protection=none -fno-asynchronous-unwind-tables \
	-DCORBEL_VERSION='"$(VERSION)"' $(CHECKS) -I.
# Of gcc's alone; hv/lib/thunk.asm
THUNKS := -mindirect-branch=thunk-extern -mindirect-branch-register -fjump-tables

$(BUILD)/%.o: %.c $(BUILD)/.flags
	@mkdir -p $(@D)
	$(CC) $(HV_CFLAGS) $(THUNKS) -MMD -MP -c -o $@ $<

# Structure offsets for assembly come from the compiler: hv/guest/offsets.c emits lines "->NAME value".
$(BUILD)/offsets.inc: hv/guest/offsets.c $(BUILD)/.flags Makefile
	@mkdir -p $(@D)
	$(CC) $(HV_CFLAGS) -MMD -MP -MT $@ -MF $(BUILD)/offsets.inc.d -S -o $(BUILD)/offsets.s $<
	sed -n 's/^.*->\([A-Z0-9_]*\) [$$]*\(-*[0-9]*\).*/%define \1 \2/p' $(BUILD)/offsets.s > $@

$(BUILD)/%.asm.o: %.asm boot/early.inc hv/guest/guest_regs.inc $(BUILD)/offsets.inc
	@mkdir -p $(@D)
	$(NASM) -f elf64 -g -F dwarf -I $(BUILD)/ -o $@ $<

$(BUILD)/.flags: FORCE
	@mkdir -p $(BUILD)
	@echo '$(CC) $(HV_CFLAGS) $(THUNKS)' | cmp -s - $@ || echo '$(CC) $(HV_CFLAGS) $(THUNKS)' > $@

HV_OBJ := $(filter-out $(BUILD)/hv/guest/offsets.o,$(HV_OBJ))

# Linked twice: the symbol table for backtraces is made from the first link (tools/symtab.py) and lies at the end of .rodata.
$(BUILD)/corbel.elf: $(HV_OBJ) linker.ld tools/symtab.py
	$(LD) -n -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T linker.ld -o $(BUILD)/corbel.0.elf $(HV_OBJ)
	nm -n $(BUILD)/corbel.0.elf | $(PYTHON) tools/symtab.py > $(BUILD)/symtab.S
	$(CC) -c -o $(BUILD)/symtab.o $(BUILD)/symtab.S
	$(LD) -n -z max-page-size=4096 -z noexecstack --no-warn-rwx-segments -T linker.ld -o $@ $(HV_OBJ) $(BUILD)/symtab.o

.PHONY: hv
hv: $(BUILD)/corbel.elf

# The same sources by the other compiler, for its warnings.
CLANG_OBJ := $(patsubst %.c,$(BUILD)/clang/%.o,$(filter-out hv/guest/offsets.c,$(HV_C)))

$(BUILD)/clang/%.o: %.c $(BUILD)/.flags
	@mkdir -p $(@D)
	clang $(HV_CFLAGS) -MMD -MP -c -o $@ $<

.PHONY: hv-clang
hv-clang: $(CLANG_OBJ)

-include $(HV_OBJ:.o=.d) $(BUILD)/offsets.inc.d $(CLANG_OBJ:.o=.d)

# ---- unit tests: each tests/unit/NAME_test.c names what it links in a comment "links: ..." ----
UNIT      := $(patsubst tests/unit/%_test.c,%,$(wildcard tests/unit/*_test.c))
UNIT_H     := $(wildcard tests/unit/*.h tests/fuzz/*.h hv/*.h hv/*/*.h boot/*.h)
UNIT_FLAGS := -std=gnu11 -O1 -g $(WARN) -DHV_HOST_TEST -fsanitize=address,undefined -fno-sanitize-recover=all -I.

links = $(shell sed -n '/links:/{:a;/\*\//!{N;ba};s|.*links:||;s|\*/.*||;s|\n \*||g;p;q}' $(1))

# TEST:FILE of each source that a test includes, to get at what is static there
INCLUDED := $(shell grep -o 'include ".*\.c"' tests/unit/*_test.c tests/fuzz/*.c | sed 's/include "//; s/"$$//')

# Name of the program; its own sources; those it links
define unit_rule
$(BUILD)/unit/$(1): $(2) tests/unit/host.c $(UNIT_H) $(filter %.c,$(3)) \
		$(patsubst $(firstword $(2)):%,%,$(filter $(firstword $(2)):%,$(INCLUDED)))
	@mkdir -p $(BUILD)/unit
	$$(CC) $$(UNIT_FLAGS) -o $$@ $(2) tests/unit/host.c $(3)
endef
$(foreach t,$(UNIT),$(eval $(call unit_rule,$(t),tests/unit/$(t)_test.c,$(call links,tests/unit/$(t)_test.c))))

# ---- those with threads also under ThreadSanitizer, which is to find nothing ----
THREADS    := $(patsubst tests/unit/%_test.c,%,$(shell grep -l pthread tests/unit/*_test.c))
TSAN_FLAGS := $(filter-out -fsanitize=% -fno-sanitize%,$(UNIT_FLAGS)) -fsanitize=thread -Wno-tsan -include tests/unit/tsan.h
define tsan_rule
$(BUILD)/unit/$(1)_tsan: $(BUILD)/unit/$(1)
	$$(CC) $$(TSAN_FLAGS) -o $$@ tests/unit/$(1)_test.c tests/unit/host.c $(call links,tests/unit/$(1)_test.c)
endef
$(foreach t,$(THREADS),$(eval $(call tsan_rule,$(t))))
TSAN := $(filter $(THREADS),$(UNIT))

# ---- fuzz targets: each tests/fuzz/NAME.c likewise. In `make unit` on repeatable mutations, in `make fuzz` under libFuzzer ----
FUZZ := $(patsubst tests/fuzz/%.c,%,$(filter-out tests/fuzz/main.c,$(wildcard tests/fuzz/*.c)))
$(foreach t,$(FUZZ),$(eval $(call unit_rule,$(t)_fuzz,tests/fuzz/$(t).c tests/fuzz/main.c,$(call links,tests/fuzz/$(t).c))))

define fuzz_rule
.PHONY: fuzz-$(1)
fuzz-$(1): $(BUILD)/unit/$(1)_fuzz
	@mkdir -p $(BUILD)/fuzz/$(1)
	$$< $(BUILD)/fuzz/$(1)
	clang -std=gnu11 -O1 -g -DHV_HOST_TEST -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I. -o $(BUILD)/fuzz/$(1).elf \
		tests/fuzz/$(1).c tests/unit/host.c $(call links,tests/fuzz/$(1).c)
	$(BUILD)/fuzz/$(1).elf -max_len=65536 -max_total_time=$$(FUZZ_SECONDS) -artifact_prefix=$(BUILD)/fuzz/ $(BUILD)/fuzz/$(1)
endef
FUZZ_SECONDS ?= 60
$(foreach t,$(FUZZ),$(eval $(call fuzz_rule,$(t))))

.PHONY: unit fuzz
unit: $(UNIT:%=$(BUILD)/unit/%) $(FUZZ:%=$(BUILD)/unit/%_fuzz) $(TSAN:%=$(BUILD)/unit/%_tsan)
	@fail=0; for t in $(UNIT) $(FUZZ:%=%_fuzz); do echo "# $$t"; $(BUILD)/unit/$$t || fail=1; done; \
	for t in $(TSAN); do echo "# $$t under ThreadSanitizer"; tests/unit/tsan $(BUILD)/unit/$${t}_tsan || fail=1; done; exit $$fail
fuzz: $(FUZZ:%=fuzz-%)

# Shares of CPUs beside the ideal: the unit tests sched_share, sched_mix and sched_core with SCENARIOS random ones, from SEED on, and
# policies in a table, with what `corbel trace` has recorded (TRACE).
SCENARIOS ?= 3000
SEED      ?= 1
TRACE     ?=
.PHONY: sched-sim
sched-sim: $(BUILD)/unit/sched_policies $(BUILD)/unit/sched_share $(BUILD)/unit/sched_mix $(BUILD)/unit/sched_core
	@$(BUILD)/unit/sched_policies $(TRACE)
	@$(BUILD)/unit/sched_share $(SCENARIOS) $(SEED)
	@$(BUILD)/unit/sched_mix $(SCENARIOS) $(SEED)
	@$(BUILD)/unit/sched_core $(SCENARIOS) $(SEED)

-include dom0/kmod/kmod.mk
-include tools/tools.mk
-include tests/target/target.mk
ifndef TOOL_C
.PHONY: tool
tool:
endif

# ---- Debian's kernels, unpacked from their packages ----
define kernel_rule
VMLINUX_$(1) := $(BUILD)/kernel/$(KVER_$(1))/vmlinux
VMLINUZ_$(1) := $(BUILD)/kernel/$(KVER_$(1))/vmlinuz
$$(VMLINUX_$(1)): dom0/kernel
	@mkdir -p $(BUILD)/kernel
	dom0/kernel $(KVER_$(1)) $(KPKG_$(1)) $$(@D)
$$(VMLINUZ_$(1)): $$(VMLINUX_$(1)) ;
endef
# Not before deps.mk has told the versions: make reads this file once without it.
$(foreach f,$(if $(KVER_cloud),cloud amd64),$(eval $(call kernel_rule,$(f))))

.PHONY: kernel
kernel: $(VMLINUX_cloud) $(VMLINUX_amd64)

# ---- images: the demo guest, dom0 with it inside, and what only tests need ----
MKIMAGE     := dom0/mkimage
MKIMAGE_SRC := dom0/mkimage dom0/modules
BASE_DIRS   := --dir /proc --dir /sys --dir /dev --dir /run --dir /tmp --dir /root --dir /mnt --dir /var/lib/misc
QEMU_DATA   := /usr/share/qemu
# Debian 12's QEMU has it, and Debian 13's finds it with SeaBIOS.
MICROVM     := $(firstword $(wildcard $(QEMU_DATA)/bios-microvm.bin) /usr/share/seabios/bios-microvm.bin)
IMG         := $(BUILD)/dom0

$(IMG)/demo.img: $(MKIMAGE_SRC) $(shell find dom0/demo -type f) $(VMLINUX_cloud)
	@mkdir -p $(@D)
	$(MKIMAGE) --files dom0/demo --busybox $(BASE_DIRS) --modules $(dir $(VMLINUX_cloud)) $(KVER_cloud) dom0/modules demo \
		--compress lz4 -o $@

$(IMG)/demo-disk.img:
	@mkdir -p $(@D)
	mke2fs -q -F -t ext2 -L demo $@ 4M

# Of these terminals curses knows what they can do.
TERMINALS := $(wildcard $(addprefix /lib/terminfo/,l/linux v/vt100 v/vt102 v/vt220 x/xterm s/screen))
DOM0_FILES = --files dom0/image --busybox $(BASE_DIRS) $(foreach f,$(TERMINALS),--add $(f)=$(f)) \
	--program /usr/bin/chrt \
	--program /usr/bin/qemu-system-x86_64-microvm --add $(MICROVM)=$(MICROVM) \
	--add $(QEMU_DATA)/linuxboot_dma.bin=$(QEMU_DATA)/linuxboot_dma.bin --add $(QEMU_DATA)/pvh.bin=$(QEMU_DATA)/pvh.bin \
	--add /usr/share/corbel/demo/vmlinux=$(VMLINUX_cloud) --add /usr/share/corbel/demo/initrd=$(IMG)/demo.img \
	--add /usr/share/corbel/demo/disk.img=$(IMG)/demo-disk.img $(if $(TOOL_C),--program /usr/bin/corbel=$(BUILD)/corbel)

define initrd_rule
$(IMG)/initrd-$(1).img: $(MKIMAGE_SRC) $(shell find dom0/image -type f) $(VMLINUX_$(1)) $(VMLINUX_cloud) $(IMG)/demo.img $(IMG)/demo-disk.img \
		$(if $(TOOL_C),$(BUILD)/corbel) $(BUILD)/kmod/$(KVER_$(1))/corbel.ko
	$(MKIMAGE) $$(DOM0_FILES) --modules $$(dir $$(VMLINUX_$(1))) $(KVER_$(1)) dom0/modules $(1) \
		--module $(KVER_$(1)) $(BUILD)/kmod/$(KVER_$(1))/corbel.ko \
		--module $(KVER_$(1)) $(BUILD)/kmod/$(KVER_$(1))/corbel_iommu.ko --compress lz4 -o $$@
endef
$(foreach f,$(if $(KVER_cloud),cloud amd64),$(eval $(call initrd_rule,$(f))))

.PHONY: image
image: $(IMG)/initrd-cloud.img $(IMG)/initrd-amd64.img

# ---- the ISO ----
$(BUILD)/corbel.iso: dom0/mkiso dom0/grub.cfg $(BUILD)/corbel.elf $(VMLINUX_cloud) $(VMLINUX_amd64) $(IMG)/initrd-cloud.img $(IMG)/initrd-amd64.img
	dom0/mkiso $@ $(BUILD)/corbel.elf cloud:$(VMLINUX_cloud):$(VMLINUZ_cloud):$(IMG)/initrd-cloud.img \
		amd64::$(VMLINUZ_amd64):$(IMG)/initrd-amd64.img

.PHONY: iso run
iso: $(BUILD)/corbel.iso
run: $(if $(filter disk,$(DOM0)),dom0-disk,$(BUILD)/corbel.iso)
	@BUILD=$(BUILD) CPUS='$(CPUS)' MEM='$(MEM)' ACCEL='$(ACCEL)' FIRMWARE='$(FIRMWARE)' APPEND='$(APPEND)' DOM0='$(DOM0)' DISK='$(DISK)/$(SUITE).img' \
		DOM0_APPEND='$(DOM0_APPEND)' dom0/run

# ---- one EFI program of hypervisor, kernel, initrd and command lines, for Secure Boot; KEY and CERT sign it ----
EFI_DOM0 := $(or $(filter cloud amd64,$(DOM0)),cloud)
.PHONY: efi-image
efi-image: $(BUILD)/corbel.elf $(VMLINUZ_$(EFI_DOM0)) $(IMG)/initrd-$(EFI_DOM0).img
	dom0/efi-image $(if $(KEY),-k '$(KEY)' -c '$(CERT)') -x '$(APPEND)' -o $(BUILD)/corbel.efi $^ 'console=tty0 console=ttyS0 $(DOM0_APPEND)'

# ---- Debian packages, in build/deb; and the disk of a Debian machine ----
DEB_SRC := dom0/mkdeb dom0/sbom dom0/efi-image Makefile linker.ld $(HV_C) $(HV_ASM) $(shell find boot hv dom0/debian dom0/kmod dom0/systemd tools -type f ! -name '*.pyc')
DEB     := $(BUILD)/deb/corbel_$(VERSION)_amd64.changes

$(DEB): $(DEB_SRC)
	dom0/mkdeb $(VERSION) $(@D)

.PHONY: deb
deb: $(DEB)
	@ls $(BUILD)/deb/*.deb

# SUITE is a release of Debian; needs root. The plain machine, with all that the packages need, is made once; they come on top.
SUITE ?= bookworm
DISK  := $(BUILD)/disk
.PRECIOUS: $(DISK)/%.base
$(DISK)/%.base: dom0/mkdisk
	@mkdir -p $(DISK)
	READY="cpu-checker smartmontools thermald" dom0/mkdisk $* $@ qemu-system-x86 dkms libjson-c5
$(DISK)/%.img: $(DISK)/%.base $(DEB)
	BASE=$< dom0/mkdisk $* $@ $(BUILD)/deb/*.deb
# The plain machine with the GRUB that Debian has for UEFI alone, which its own shell puts on the EFI partition.
$(DISK)/%.efi: $(DISK)/%.base
	BASE=$< dom0/mkdisk $* $@ grub-efi-amd64 efibootmgr
# With the key of Debian's ovmf for DKMS, and what an image for Secure Boot is made with.
OVMF_KEY := /usr/share/ovmf/PkKek-1-snakeoil
$(DISK)/secureboot.img: $(DISK)/bookworm.base $(DEB)
	openssl rsa -in $(OVMF_KEY).key -passin pass:snakeoil -out $@.key 2> /dev/null
	openssl x509 -in $(OVMF_KEY).pem -outform DER -out $@.cer
	BASE=$< MOK=$@.key:$@.cer dom0/mkdisk bookworm $@ $(BUILD)/deb/*.deb sbsigntool openssl binutils efibootmgr \
		shim-signed grub-efi-amd64-signed
# With libvirt, for its test.
LIBVIRT := libvirt-daemon-system libvirt-clients virtinst qemu-utils apparmor dnsmasq-base ovmf swtpm swtpm-tools openssh-client \
	netcat-openbsd xorriso
$(DISK)/libvirt.img: $(DISK)/bookworm.img
	BASE=$< dom0/mkdisk bookworm $@ $(LIBVIRT)
$(DISK)/libvirt13.img: $(DISK)/trixie.img
	BASE=$< dom0/mkdisk trixie $@ $(LIBVIRT)
# And with virt-manager, and a screen for it.
$(DISK)/desktop.img: $(DISK)/libvirt.img
	BASE=$< dom0/mkdisk bookworm $@ virt-manager xvfb xauth x11-utils dbus
# As distributions offer them for clouds: a guest, not a dom0.
$(DISK)/cloud.img: $(DISK)/bookworm.base
	BASE=$< dom0/mkdisk bookworm $@ cloud-init cloud-guest-utils
.PHONY: dom0-disk
dom0-disk: $(DISK)/$(SUITE).img

# ---- tests: see tests/README.md ----
# Debian's full QEMU with its firmware, for dom0 to unpack: too big for the image itself.
$(IMG)/full.cpio: $(MKIMAGE_SRC) $(VMLINUX_cloud)
	@mkdir -p $(@D)
	$(MKIMAGE) --program /usr/bin/qemu-system-x86_64 $(foreach f,seabios/bios-256k.bin qemu/kvmvapic.bin qemu/linuxboot_dma.bin, \
		--add /usr/share/$(f)=/usr/share/$(f)) --add /boot/vmlinuz=$(VMLINUZ_cloud) --compress none -o $@

# A guest for dom0 on a disk.
$(DISK)/guest.cpio: $(VMLINUX_cloud) $(IMG)/demo.img
	@mkdir -p $(@D)
	$(MKIMAGE) --add /guest/vmlinux=$(VMLINUX_cloud) --add /guest/initrd=$(IMG)/demo.img --compress none -o $@

# A guest with drivers for the devices that it is given, and with tests/dom0/vfio.c.
$(IMG)/assigned.cpio: $(MKIMAGE_SRC) $(shell find dom0/demo -type f) $(VMLINUX_amd64) $(BUILD)/dom0-tests/vfio
	@mkdir -p $(@D)
	$(MKIMAGE) --files dom0/demo --busybox $(BASE_DIRS) --modules $(dir $(VMLINUX_amd64)) $(KVER_amd64) dom0/modules assigned \
		--add /bin/vfio=$(BUILD)/dom0-tests/vfio --compress lz4 -o $(IMG)/assigned.img
	$(MKIMAGE) --add /guest/vmlinuz=$(VMLINUZ_amd64) --add /guest/initrd=$(IMG)/assigned.img --compress none -o $@

# The hypervisor with its lock order checked.
$(BUILD)/checked/corbel.elf: FORCE
	@$(MAKE) -s BUILD=$(BUILD)/checked CHECKS=-DCHECK_LOCKS hv
$(BUILD)/checked.iso: dom0/mkiso dom0/grub.cfg $(BUILD)/checked/corbel.elf $(VMLINUX_cloud) $(IMG)/initrd-cloud.img
	dom0/mkiso $@ $(BUILD)/checked/corbel.elf cloud::$(VMLINUZ_cloud):$(IMG)/initrd-cloud.img
.PHONY: locks-test
locks-test:
	@$(MAKE) -s BUILD=$(BUILD)/checked CHECKS=-DCHECK_LOCKS target-test TARGETS="$(or $(TARGETS),smp sched guest guest-ends guest-smp hypercall)"

.PHONY: style-test mutants mutants-test mutants-all-test
style-test: hv kmod
	@$(PYTHON) tests/style $(BUILD)
mutants mutants-all-test: hv
	@$(PYTHON) tests/mutate $(BUILD) $(MUTANTS)
mutants-test: hv
	@$(PYTHON) tests/mutate $(BUILD) few

.PHONY: test test-full
test test-full: all $(BUILD)/corbel.iso $(BUILD)/checked.iso $(BUILD)/bochs.iso $(IMG)/full.cpio
test:
	$(PYTHON) tests/run --build $(BUILD) $(TESTS)
# And what is too costly for each run. Disks are made by root, for the tests that want them.
wanted = $(if $(filter $(1),$(or $(TESTS),$(1))),$(2))
DISKS = $(if $(filter 0,$(shell id -u)),$(call wanted,disk,$(DEB) $(DISK)/bookworm.img $(DISK)/trixie.img $(DISK)/bookworm.efi $(DISK)/guest.cpio) \
	$(call wanted,perf,$(BUILD)/observers.img) $(call wanted,others,$(BUILD)/rustvmm.cpio $(BUILD)/krun.img) $(call wanted,secureboot,$(DISK)/secureboot.img) $(call wanted,libvirt virshmove,$(DISK)/libvirt.img $(DISK)/guest.cpio) $(call wanted,libvirt,$(DISK)/libvirt13.img $(DISK)/desktop.img $(DISK)/trixie.base) \
	$(call wanted,cloud,$(DISK)/libvirt.img $(DISK)/cloud.img))
test-full: $(BUILD)/qemu10.cpio $(BUILD)/qemu32.cpio $(BUILD)/gvisor.cpio $(BUILD)/stressng.cpio $(BUILD)/xen.cpio $(BUILD)/strangers.cpio $(BUILD)/selftests-rest.cpio $(BUILD)/selftests13.cpio $(IMG)/assigned.cpio $(DISKS)
	$(PYTHON) tests/run --build $(BUILD) --full $(TESTS)

-include tests/bochs.mk
-include tests/dom0/dom0.mk
-include tests/bench/bench.mk
-include tests/kvm/kvm.mk

.PHONY: bench-boot size style
bench-boot: $(BUILD)/corbel.iso
	$(PYTHON) tests/bench/boot.py $(BUILD)

size: $(BUILD)/corbel.iso
	@tests/bench/size $(BUILD)

style: hv kmod
	@$(PYTHON) tests/style $(BUILD)

.PHONY: help
help:
	@echo 'make             hypervisor (gcc and clang), module, tool, dom0 image'
	@echo 'make deps        install missing packages; the other targets do so by themselves'
	@echo 'make iso         build/corbel.iso, boots by BIOS and UEFI'
	@echo 'make run         boot it in QEMU; Ctrl-A x leaves. Variables: CPUS=2 MEM=2G ACCEL=kvm|tcg FIRMWARE=bios|uefi'
	@echo '                 APPEND="hypervisor options" DOM0=cloud|amd64 DOM0_APPEND="kernel options"'
	@echo '                 DOM0=disk boots the disk of make dom0-disk instead, which keeps what is written to it'
	@echo 'make efi-image   build/corbel.efi, all of it in one EFI program, for Secure Boot; KEY=file CERT=file sign it, APPEND and others as above'
	@echo 'make dom0-disk   a disk of Debian with the packages installed; SUITE=bookworm|trixie; needs root'
	@echo 'make deb         Debian packages, in build/deb: hypervisor, GRUB menu, module for DKMS, tool'
	@echo 'make run-bochs   the same in Bochs, on VT-x (in some minutes); Ctrl-A x leaves'
	@echo 'make test        all tests; TESTS="boot demo" picks some of tests/smoke, or "unit"'
	@echo 'make test-full   these and the tests that are too costly for each run: Debian 13'"'"'s QEMU'
	@echo 'make style-test  the rules of the house: layout, headers, rooms, numbers; in make test, too'
	@echo 'make mutants     mistakes made on purpose, which the tests have to notice; MUTANTS="words" picks some'
	@echo 'make nested-test the target tests on KVM, inside QEMU; bochsnested-test: inside Bochs'
	@echo 'make locks-test  the target tests with the order of locks checked'
	@echo 'make unit fuzz   tests of the pure modules on the host; each fuzz target for FUZZ_SECONDS, fuzz-NAME: one'
	@echo 'make sched-sim   the scheduler on simulated CPUs: shares beside the ideal, in SCENARIOS random cases from SEED on; TRACE=file: of corbel trace'
	@echo 'make bench       instructions per exit: native, KVM, Corbel; bench-svm, bench-vmx; UPDATE=y: into the table'
	@echo 'make bench-check no row is worse than in the committed table'
	@echo 'make bench-boot  time to the dom0 prompt, with Corbel and without'
	@echo 'make size        per room of the hypervisor: files, lines, tokens, functions, asserts; sizes of the images'
	@echo 'make style       the rules of the house alone: layout, headers, rooms, numbers, cppcheck'
	@echo 'make hv kmod tool kernel image clean'

.PHONY: clean FORCE
clean:
	rm -rf $(BUILD)
FORCE:
