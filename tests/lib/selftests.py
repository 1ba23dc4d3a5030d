# SPDX-License-Identifier: GPL-2.0-only
"""KVM's own selftests in dom0: tests/dom0/selftests has built and packed them. What may be skipped stands here, with the
capability that is missing, and in the top-level README."""
import re
from . import report, seen
from .machine import Machine, build_file
from .report import ok, skip

SKIPPED = 4  # exit status, by the selftests' own rule

# Parameters of kvm.ko, which newer ones read and corbel.ko has not
PARAMETERS = {'kvm/parameters/force_emulation_prefix': '0', 'kvm/parameters/enable_pmu': 'N', 'kvm/parameters/eager_page_split': 'N',
              'kvm/parameters/tdp_mmu': 'Y', 'kvm_amd/parameters/avic': 'N'}

# Name: what Corbel has not, and what the test says of it. It may fail for nothing else.
NO_CAP = r'Requirement not met: kvm_has_cap\(KVM_CAP_%s\)'
NO_XEN = r'Requirement not met: xen_caps & KVM_XEN_HVM_CONFIG_'
MISSING = {
    'amx_test': ('AMX', r'Requirement not met: kvm_cpu_has\(X86_FEATURE_XFD\)|feature \'XFEATURE_MASK_XTILE_DATA\' not supported'),
    'emulator_error_test': ('SMALLER_MAXPHYADDR', NO_CAP % 'SMALLER_MAXPHYADDR'),
    'fix_hypercall_test': ('patch of hypercalls in the guest', r'guest assert: !memcmp\(native_hypercall_insn, hypercall_insn'),
    'hyperv_cpuid': ('debugger of Hyper-V (SYNDBG), which has three leaves', r'should return 10 entries \(returned 7\)'),
    'hyperv_features': ('debugger of Hyper-V (SYNDBG)', r'CPUID function 0x40000082 index 0x0 not found'),
    'kvm_clock_test': ('TSC that dom0 can have for its clock in QEMU\'s TCG', r'clocksource not supported: kvm-clock'),
    'pmu_event_filter_test': ('performance counters', r'CPUID function 0xa index 0x0 not found'),
    'nx_huge_pages_test': ('VM_DISABLE_NX_HUGE_PAGES', NO_CAP % 'VM_DISABLE_NX_HUGE_PAGES'),
    'smaller_maxphyaddr_emulation_test': ('SMALLER_MAXPHYADDR', NO_CAP % 'SMALLER_MAXPHYADDR'),
    'ucna_injection_test': ('CMCI', r'MCG_CMCI_P is not supported'),
    'xen_shinfo_test': ('XEN_HVM', NO_XEN + 'SHARED_INFO'),
    'xen_vmcall_test': ('XEN_HVM', NO_XEN + 'INTERCEPT_HCALL'),
}

# What tests are called with: less memory than they would take.
ARGUMENTS = {
    'apic_bus_clock_test': '-d 500', # a busy machine is measured, too
    'demand_paging_test': '-b 32M',
    'dirty_log_perf_test': '-b 32M',
    'dirty_log_test': '-M dirty-ring -i 6 -I 100 -c 4096',
    'memslot_modification_stress_test': '-b 32M',
}


def run(label, cpio, hv=''):
    failures = report.failures
    disk = f'file={build_file(cpio)},format=raw,if=virtio,readonly=on'
    with Machine(label, mem='2G', hv=hv, extra=['-drive', disk], life=3000) as m:
        m.prompt()
        m.out_of('mkdir -p /run/t && cd /run/t && cpio -idm < /dev/vda && cd /', 60)
        m.out_of('mount -t tmpfs none /sys/module && cd /sys/module && mkdir -p kvm/parameters kvm_amd/parameters && '
                 + ' && '.join(f'echo {v} > {p}' for p, v in PARAMETERS.items()) + ' && cd /', 20)
        before = m.json('corbel info --json')
        passed = 0
        for name in m.out_of('ls /run/t/selftests').split():
            status, out = m.sh(f'/run/t/selftests/{name} {ARGUMENTS.get(name, "")} > /run/out 2>&1; S=$?; '
                               'tail -n 12 /run/out | cut -c 1-180; (exit $S)', 120)
            why, says = MISSING.get(name, (None, None))
            if why and status and re.search(says, out):
                skip(name, f'no {why}')
            elif why and not status:
                ok(False, f'{name} is in the list of those that need {why}', 'it passes: take it out')
            elif ok(status == 0, name, (f'not for the lack of {why}:\n' if why else 'it has been skipped:\n' if status == SKIPPED else '') + out):
                passed += 1
        if passed and report.failures == failures:
            seen.note('selftests', label, f'{passed} programs')
        after = m.json('corbel info --json')
        ok(all(before[k] == after[k] for k in ('vms', 'vcpus', 'pool_free_bytes')), 'nothing of them is left in the hypervisor',
           f'{before}\n{after}')
        bad = re.sub(r'.*(?:segfault|traps:).*\n', '', m.sh('dmesg | grep -E "BUG:|WARNING:|Oops|lockup|stall"')[1])
        ok(not bad.strip(), 'dom0\'s kernel log has no complaint', bad)
