# SPDX-License-Identifier: GPL-2.0-only
# Programs that tests run in dom0, of a file or a folder each; build/dom0-tests.cpio is attached to the machine as a disk.
DOM0_TESTS := api $(patsubst tests/dom0/%.c,%,$(wildcard tests/dom0/*.c))

$(BUILD)/dom0-tests/api: $(wildcard tests/dom0/api/*.[ch])
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 -g $(WARN) -static -pthread -o $@ $(filter %.c,$^)

$(BUILD)/dom0-tests/%: tests/dom0/%.c tests/target/edu.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O1 -g $(WARN) -static -I. -o $@ $<

$(BUILD)/dom0-tests.cpio: $(DOM0_TESTS:%=$(BUILD)/dom0-tests/%)
	cd $(BUILD)/dom0-tests && strip -s $(DOM0_TESTS) && printf '%s\n' $(DOM0_TESTS) | cpio -o -H newc --quiet > ../dom0-tests.cpio

# Debian 13's QEMU, fetched into build/debian13.
$(BUILD)/qemu10.cpio: tests/dom0/debian13 tests/dom0/trixie $(VMLINUX_cloud) $(IMG)/demo.img
	tests/dom0/debian13 $(BUILD)/debian13 $(VMLINUZ_cloud) $(IMG)/demo.img $@

# Other people's programs: the tests of a library of VMMs, by Debian 13's cargo; a VMM from npm (both are made as root); Debian 13's gVisor; and Xen as a guest.
$(BUILD)/rustvmm.cpio: tests/dom0/rustvmm tests/dom0/trixie
	tests/dom0/rustvmm $(BUILD)/rustvmm $@
$(BUILD)/krun.img: tests/dom0/krun
	tests/dom0/krun $(BUILD)/krun $@
$(BUILD)/stressng.cpio: tests/dom0/stressng tests/dom0/trixie
	tests/dom0/stressng $(BUILD)/stressng $@
$(BUILD)/gvisor.cpio: tests/dom0/gvisor tests/dom0/trixie
	tests/dom0/gvisor $(BUILD)/gvisor $@
$(BUILD)/qemu32.cpio: tests/dom0/qemu32 tests/dom0/trixie
	tests/dom0/qemu32 $(BUILD)/qemu32 $@

$(BUILD)/xen.cpio: tests/dom0/xen tests/dom0/trixie $(VMLINUX_amd64) $(IMG)/demo.img
	tests/dom0/xen $(BUILD)/xen $(VMLINUZ_amd64) $(IMG)/demo.img $@

# Guests that are no Linux, or none of today.
$(BUILD)/strangers.cpio: tests/dom0/strangers
	tests/dom0/strangers $(BUILD)/strangers $@

# Programs that look at KVM.
$(BUILD)/observers.img: tests/dom0/observers tests/dom0/trixie
	tests/dom0/observers $(BUILD)/observers $(KVER_cloud) $@

# cyclictest.
$(BUILD)/cyclic.cpio: $(MKIMAGE_SRC)
	@mkdir -p $(@D)
	$(MKIMAGE) --program /usr/bin/cyclictest --compress none -o $@
test-full: $(BUILD)/cyclic.cpio

# corbel.ko and corbel_iommu.ko for Debian 13's kernel, and that kernel, in build/trixie; needs root.
$(BUILD)/trixie/corbel.ko: tests/dom0/kernel13 tests/dom0/trixie dom0/kernel $(KMOD_SRC)
	tests/dom0/kernel13 $(@D) $(KMOD_SRC)
$(BUILD)/trixie/initrd.img: $(BUILD)/trixie/corbel.ko $(MKIMAGE_SRC) $(IMG)/demo.img $(IMG)/demo-disk.img $(BUILD)/corbel
	kver=$$(cat $(@D)/version) && $(MKIMAGE) $(DOM0_FILES) --modules $(@D)/kernel/ $$kver dom0/modules cloud \
		--module $$kver $< --module $$kver $(@D)/corbel_iommu.ko --compress lz4 -o $@
$(BUILD)/trixie.iso: dom0/mkiso dom0/grub.cfg $(BUILD)/corbel.elf $(BUILD)/trixie/initrd.img
	dom0/mkiso $@ $(BUILD)/corbel.elf cloud::$(BUILD)/trixie/kernel/vmlinuz:$(BUILD)/trixie/initrd.img
# For Bochs, which copies a real TSC's frequency into CPUID of a model that is as new as this kernel.
$(BUILD)/trixie-bochs.iso: dom0/mkiso dom0/grub.cfg $(BUILD)/corbel.elf $(BUILD)/trixie/initrd.img
	GRUB_SET='set timeout=0; set hv="mask=cpuid-tsc"; set dom0="console=ttyS0 quiet dom0.demo=0"' \
		dom0/mkiso $@ $(BUILD)/corbel.elf cloud::$(BUILD)/trixie/kernel/vmlinuz:$(BUILD)/trixie/initrd.img

# KVM's selftests, fetched into build/selftests: those that take a second or two each; and those that take longer or, see
# tests/lib/selftests.py, want a capability that is missing.
SELFTESTS := cpuid_test cr4_cpuid_sync_test get_msr_index_features kvm_binary_stats_test kvm_create_max_vcpus kvm_pv_test max_vcpuid_cap_test platform_info_test \
	set_boot_cpu_id set_sregs_test state_test sync_regs_test system_counter_offset_test tsc_msrs_test userspace_io_test \
	smm_test userspace_msr_exit_test xapic_ipi_test xapic_state_test
SELFTESTS_REST := demand_paging_test dirty_log_perf_test dirty_log_test memslot_modification_stress_test set_memory_region_test \
	amx_test emulator_error_test fix_hypercall_test hyperv_cpuid hyperv_features \
	kvm_clock_test monitor_mwait_test pmu_event_filter_test \
	xen_shinfo_test
# Those of guests of guests, which have been left out of the others
SELFTESTS_NESTED := smm_test state_test svm_int_ctl_test svm_nested_shutdown_test svm_vmcall_test triple_fault_event_test
# And of guests of guests on VT-x, for Bochs
SELFTESTS_VMX := vmx_close_while_nested_test vmx_dirty_log_test vmx_set_nested_state_test vmx_tsc_adjust_test triple_fault_event_test
# Of Debian 13's kernel, with guests of guests
SELFTESTS13 := amx_test apic_bus_clock_test coalesced_io_test cpuid_test cr4_cpuid_sync_test demand_paging_test dirty_log_perf_test dirty_log_test \
	exit_on_emulation_failure_test get_msr_index_features guest_memfd_test guest_print_test hyperv_ipi hyperv_tlb_flush kvm_binary_stats_test \
	kvm_create_max_vcpus kvm_page_table_test max_vcpuid_cap_test memslot_modification_stress_test nx_huge_pages_test platform_info_test \
	pre_fault_memory_test private_mem_conversions_test private_mem_kvm_exits_test recalc_apic_map_test set_boot_cpu_id set_memory_region_test set_sregs_test \
	smaller_maxphyaddr_emulation_test smm_test state_test svm_int_ctl_test svm_nested_shutdown_test svm_vmcall_test sync_regs_test \
	system_counter_offset_test triple_fault_event_test tsc_msrs_test ucna_injection_test userspace_io_test userspace_msr_exit_test \
	xapic_ipi_test xapic_state_test xcr0_cpuid_test xen_shinfo_test xen_vmcall_test
$(BUILD)/selftests13.cpio: tests/dom0/selftests tests/dom0/trixie tests/dom0/dom0.mk
	tests/dom0/selftests $(BUILD)/selftests13 trixie $@ $(SELFTESTS13)
$(BUILD)/selftests.cpio: NAMES = $(SELFTESTS)
$(BUILD)/selftests-rest.cpio: NAMES = $(SELFTESTS_REST)
$(BUILD)/selftests-nested.cpio: NAMES = $(SELFTESTS_NESTED)
$(BUILD)/selftests-vmx.cpio: NAMES = $(SELFTESTS_VMX)
$(BUILD)/selftests.cpio $(BUILD)/selftests-rest.cpio $(BUILD)/selftests-nested.cpio $(BUILD)/selftests-vmx.cpio: tests/dom0/selftests tests/dom0/dom0.mk
	tests/dom0/selftests $(BUILD)/selftests $(KPKG_cloud) $@ $(NAMES)
$(BUILD)/selftests-nested.cpio: $(BUILD)/selftests.cpio # one after the other
$(BUILD)/selftests-rest.cpio: $(BUILD)/selftests-nested.cpio
$(BUILD)/selftests-vmx.cpio: $(BUILD)/selftests-rest.cpio

# For Bochs they are in dom0's image.
$(BUILD)/bochs-vmx.iso: dom0/mkiso dom0/grub.cfg $(BUILD)/corbel.elf $(VMLINUX_cloud) $(BUILD)/selftests-vmx.cpio $(BUILD)/kvm-tests.cpio $(IMG)/initrd-cloud.img
	cat $(BUILD)/selftests-vmx.cpio $(BUILD)/kvm-tests.cpio $(IMG)/initrd-cloud.img > $(BUILD)/bochs-vmx.img
	GRUB_SET='set timeout=0; set hv="nested=on"; set dom0="console=ttyS0 quiet dom0.demo=0"; set default=cloud' \
		dom0/mkiso $@ $(BUILD)/corbel.elf cloud::$(VMLINUZ_cloud):$(BUILD)/bochs-vmx.img
test-full: $(BUILD)/bochs-vmx.iso

test test-full: $(BUILD)/dom0-tests.cpio $(BUILD)/selftests.cpio $(BUILD)/selftests-nested.cpio
