; SPDX-License-Identifier: GPL-2.0-only
; Real-mode programs for hand-made guests. Each is copied to 0x1000 of a guest's memory and entered
; there, all segments 0,
; ES at the LAPIC's page. Word 0x500 and on are results.
section .rodata
bits 16

%macro program 1
	align 16
	global %1, %1_end
%1:
%endmacro

program g_pio
	mov al, 0x5a
	out 0x10, al
	in al, 0x11
	mov [0x500], al
	mov dx, 0x1234
	mov eax, 0xdeadbeef
	out dx, eax
	mov eax, 0x11223344
	in ax, dx
	mov [0x504], eax
	out 0x20, al
	hlt
g_pio_end:

program g_string
	cld
	mov si, 0x600
	mov cx, 5
	mov dx, 0x77
	rep outsb
	mov di, 0x700
	push es
	push ds
	pop es
	mov cx, 3
	rep insw
	pop es
	mov [0x500], cx
	mov [0x502], di
	out 0x20, al
	hlt
g_string_end:

program g_mmio			; 0x8000 is MMIO
	mov eax, [0x8010]
	inc eax
	mov [0x8020], eax
	or byte [0x8031], 1
	movzx ecx, word [0x8042]
	mov [0x500], ecx
	mov eax, [0x8ffe]	; on into 0x9000, MMIO too
	mov [0x504], eax
	out 0x20, al
	hlt
g_mmio_end:

program g_fault			; nothing at 0x9000 and 0xa000; 0xb000 is ROM
	mov eax, [0x9000]
	inc eax
	mov [0xa000], eax
	mov eax, [0xb000]
	mov [0x500], eax
	mov [0xb004], eax
	mov eax, [0xb004]
	mov [0x504], eax
	out 0x20, al
	hlt
g_fault_end:

program g_copy			; what is at 0x9000 goes to 0x500
	mov bx, 0x9000
.again:
	mov eax, [bx]
	mov [0x500], eax
	inc dword [0x504]
	jmp .again
g_copy_end:

program g_paging		; the same with 0x3000, with paging on
	mov eax, 0x4000
	mov cr3, eax
	mov eax, cr0
	or eax, 0x80000001
	mov cr0, eax
.again:
	mov eax, [0x3000]
	mov [0x500], eax
	inc dword [0x504]
	jmp .again
g_paging_end:

program g_triple
	lidt [0x7f0]
	int3
g_triple_end:

program g_ud_triple
	lidt [0x7f0]
	ud2
g_ud_triple_end:

program g_garbage
	mov esp, 0xffffffff
	db 0x0f, 0xff, 0xff, 0xff
g_garbage_end:

program g_spin
	jmp g_spin
g_spin_end:

program g_exits			; nothing but exits, interrupts off
	cpuid
	jmp g_exits
g_exits_end:

program g_count
	inc dword [0x9000]
	jmp g_count
g_count_end:

; writes ECX pages from EDI on, then has a byte put into the next one
program g_sweep
	mov dx, 0x77
.next:
	inc dword [edi]
	add edi, 0x1000
	dec ecx
	jnz .next
	a32 insb
	out 0x20, al
	hlt
g_sweep_end:

program g_touch
	inc dword [edi]
	add edi, 0x1000
	dec ecx
	jnz g_touch
	out 0x20, al
	hlt
g_touch_end:

program g_far
	out 0x21, al
	hlt
g_far_end:

; the TSC by RDMSR, RDTSC, RDMSR; kvmclock at 0x600; dword 0x620: the TSC is to be set first
program g_tsc
	mov ecx, 0x4b564d01
	mov eax, 0x601
	xor edx, edx
	wrmsr
.again:
	mov ecx, 0x10
	cmp dword [0x620], 0
	je .look
	mov eax, 1000
	xor edx, edx
	mov [0x620], edx
	wrmsr
.look:
	rdmsr
	mov [0x500], eax
	mov [0x504], edx
	rdtsc
	mov [0x508], eax
	mov [0x50c], edx
	rdmsr
	mov [0x510], eax
	mov [0x514], edx
	out 0x20, al
	jmp .again
g_tsc_end:

program g_deadline		; the TSC before and after a deadline as far off as dword 0x600 says
	mov dword [es:0xf0], 0x1ff
	mov dword [es:0x320], 0x40060
.again:
	rdtsc
	mov [0x508], eax
	mov [0x50c], edx
	add eax, [0x600]
	adc edx, 0
	mov ecx, 0x6e0
	wrmsr
	sti
	hlt
	cli
	rdtsc
	mov [0x510], eax
	mov [0x514], edx
	out 0x20, al
	jmp .again
g_deadline_end:

program g_doorbell
	mov dx, 0x300
	mov eax, 1
	out dx, eax		; rings
	mov al, 2
	out dx, al		; another width: exits
	mov dx, 0x310
	mov eax, 7
	out dx, eax		; matches 7
	inc eax
	out dx, eax		; does not
	mov [0x8100], eax	; rings
	mov [0x8104], eax	; exits
	out 0x20, al
	hlt
g_doorbell_end:

program g_irq			; interrupts are taken in HLT alone, one each time
.sleep:	sti
	hlt
	cli
	inc word [0x502]
	jmp .sleep
g_irq_end:

program g_pic			; a PIC's interrupts, taken in HLT alone, from 0x50 on
	mov al, 0x11
	out 0x20, al
	mov al, 0x50
	out 0x21, al
	mov al, 4
	out 0x21, al
	mov al, 1
	out 0x21, al
	mov al, 0x42
	out 0x21, al
	in al, 0x21
	mov [0x510], al
	in ax, 0x20
	mov [0x512], ax
.sleep:	sti
	hlt
	cli
	mov al, 0x20
	out 0x20, al
	inc word [0x502]
	jmp .sleep
g_pic_end:

program g_shadow		; an interrupt waits when STI is executed, the last byte of a page
	mov dword [es:0xf0], 0x1ff
	mov dword [es:0x300], 0x44060
	mov ax, 0x7fff
	jmp ax
g_shadow_end:

program g_handler		; of every interrupt, at 0x3000
	inc word [0x500]
	mov dword [es:0xb0], 0
	iret
g_handler_end:

program g_other			; at 0x3300, of what should not come: CS is the vector
	push ax
	mov ax, cs
	mov [0x508], ax
	inc word [0x506]
	pop ax
	iret
g_other_end:

program g_x2apic
	mov ecx, 0x1b
	rdmsr
	or ah, 0x0c
	wrmsr
	mov ecx, 0x80f
	mov eax, 0x1ff
	xor edx, edx
	wrmsr
	sti
.sleep:
	hlt
	jmp .sleep
g_x2apic_end:

program g_x2apic_handler
	inc word [0x500]
	mov ecx, 0x80b
	xor eax, eax
	xor edx, edx
	wrmsr
	iret
g_x2apic_handler_end:

program g_nmi			; at 0x3100
	inc word [0x504]
	iret
g_nmi_end:

program g_nmi_stops		; likewise, stops inside, at + 4
	inc word [0x504]
	out 0x10, al
	iret
g_nmi_stops_end:

program g_stops
.again:	out 0x11, al
	jmp .again
g_stops_end:

program g_lme			; long mode enabled without PAE, then with it, then without
	mov ecx, 0xc0000080
	rdmsr
	or ah, 1
	wrmsr
	out 0x10, al
	rdmsr
	mov [0x500], eax
	mov eax, cr4
	or al, 0x20
	mov cr4, eax
	out 0x11, al
	rdmsr
	mov [0x504], eax
	mov eax, cr4
	and al, ~0x20
	mov cr4, eax
	out 0x12, al
	rdmsr
	mov [0x508], eax
	out 0x20, al
	hlt
g_lme_end:

program g_hlt
	mov word [0x500], 1
	hlt
	mov word [0x500], 2
	out 0x20, al
	hlt
g_hlt_end:

program g_hypercall		; dom0's are not for guests
	mov eax, 0x43520000
	vmmcall
	mov [0x500], eax
	mov eax, 0x43520004
	mov edi, 0x1000
	vmmcall
	mov [0x504], eax
	out 0x20, al
	hlt
g_hypercall_end:

program g_cpuid
	mov eax, 0x40000100
	cpuid
	mov [0x500], ebx
	mov eax, 1
	cpuid
	mov [0x504], ecx
	mov eax, 0x80000001
	cpuid
	mov [0x508], ecx
	out 0x20, al
	hlt
g_cpuid_end:

program g_cpuid_xsave		; leaf 0xd, which may be the VMM's invention
	mov eax, 0xd
	xor ecx, ecx
	cpuid
	mov [0x500], eax
	mov [0x504], ebx
	mov eax, 0xd
	mov ecx, 1
	cpuid
	mov [0x508], eax
	out 0x20, al
	hlt
g_cpuid_xsave_end:

program g_state			; what is not switched at each exit; the seed is at 0x600
	mov eax, cr4
	or ax, 0x200		; OSFXSR
	mov cr4, eax
	mov ebx, [0x600]
	movd xmm7, ebx
	mov dr3, ebx
	mov cr2, ebx
	mov ecx, 0xc0000081	; STAR, LSTAR, CSTAR, SFMASK
	mov eax, ebx
	xor edx, edx
.write:
	wrmsr
	inc ecx
	cmp cl, 0x85
	jne .write
	mov cx, 0x102		; KERNEL_GS_BASE
	wrmsr
.again:
	movd eax, xmm7
	cmp eax, ebx
	jne .lost
	mov eax, dr3
	cmp eax, ebx
	jne .lost
	mov eax, cr2
	cmp eax, ebx
	jne .lost
	mov ecx, 0xc0000081
.read:
	rdmsr
	cmp eax, ebx
	jne .lost
	inc ecx
	cmp cl, 0x85
	jne .read
	mov cx, 0x102
	rdmsr
	cmp eax, ebx
	jne .lost
	inc dword [0x500]
	jmp .again
.lost:
	out 0x99, al
	hlt
g_state_end:

program g_wbuart		; dom0's port space is not a guest's
	mov dx, 0x3f8
	mov al, '!'
	out dx, al
	mov dx, 0xf4
	out dx, al
	out 0x20, al
	hlt
g_wbuart_end:
program g_boss			; starts vCPU 1 at 0x4000, then plays ping-pong with it
	mov dword [es:0xf0], 0x1ff
	mov dword [es:0x310], 1 << 24
	mov dword [es:0x300], 0x4500
	mov dword [es:0x310], 1 << 24
	mov dword [es:0x300], 0x4604
.up:
	pause
	cmp word [0x510], 1
	jne .up
	mov cx, 100
.ping:
	mov bx, [0x500]
	mov dword [es:0x310], 1 << 24
	mov dword [es:0x300], 0x4060
.wait:
	sti
	hlt
	cli
	cmp bx, [0x500]
	je .wait
	loop .ping
	mov dword [es:0x310], 1 << 24
	mov dword [es:0x300], 0x4400	; an NMI ends the other one's sleep
.nmi:
	pause
	cmp word [0x504], 1
	jne .nmi
	out 0x20, al
	hlt
g_boss_end:

program g_worker		; at 0x4000: CS is 0x400
	xor ax, ax
	mov ds, ax
	mov ss, ax
	mov sp, 0x6000
	lgdt [0x7e0]		; for the LAPIC's page ES must reach 4 GiB far
	mov eax, cr0
	or al, 1
	mov cr0, eax
	mov bx, 8
	mov es, bx
	and al, 0xfe
	mov cr0, eax
	mov dword [dword es:0xfee000f0], 0x1ff
	inc word [0x510]
.sleep:
	sti
	hlt
	cli
	jmp .sleep
g_worker_end:

program g_work			; vCPU 1's handler of vector 0x60, at 0x3200: sends 0x61 back
	inc word [0x512]
	mov dword [dword es:0xfee000b0], 0
	mov dword [dword es:0xfee00310], 0
	mov dword [dword es:0xfee00300], 0x4061
	iret
g_work_end:

%macro take_turns 2		; wait until word 0x510 is %1, then make it %2, its APIC id
.again:
	cmp word [0x510], %1
	je .mine
	mov ax, [0x514]
	cmp ax, 1
	jb .again
	ja .yield
	pause
	jmp .again
.yield:
	mov bx, ax
	mov eax, 11		; KVM_HC_SCHED_YIELD
	cmp bx, 2
	mov ebx, %2
	jne .intel
	vmmcall
	jmp .again
.intel:
	vmcall
	jmp .again
.mine:
	inc dword [0x500]
	mov word [0x510], %2
	jmp .again
%endmacro

program g_turns			; starts vCPU 1 at 0x4000, and takes turns with it
	mov dword [es:0xf0], 0x1ff
	mov dword [es:0x310], 1 << 24
	mov dword [es:0x300], 0x4500
	mov dword [es:0x310], 1 << 24
	mov dword [es:0x300], 0x4604
	take_turns 0, 1
g_turns_end:

program g_turns_worker		; CS is 0x400
	xor ax, ax
	mov ds, ax
	take_turns 1, 0
g_turns_worker_end:

; An instruction that is unknown: 1 at 0x500
%macro unknown 2+
program %1
	mov word [6 * 4], 0x1000 + .handler - %1
	mov word [6 * 4 + 2], 0
	%2
.handler:
	mov word [0x500], 1
	out 0x20, al
	hlt
%1_end:
%endmacro
unknown g_rsm, rsm
unknown g_ud2, ud2

; A hypervisor that does what it is told, for the group vmx, in 64-bit mode: a command at 0x500, its
; operands at 0x508, 0x510, 0x520. Afterwards flags are at 0x530, a value at 0x538, the vector of an
; exception at 0x540, or ~0, and whether a VM exit has come at 0x544.
bits 64
program g_vmx
	mov esp, 0x6000
	mov dx, 0x20
	out dx, al
	mov dword [0x540], ~0
	mov dword [0x544], 0
	xor edx, edx
	mov rax, [0x508]
	mov rcx, [0x510]
	mov ebx, [0x500]
	lea rsi, [rel .table]
	movsx rbx, word [rsi + rbx * 2]
	add rbx, rsi
	add edx, 0		; flags as they are after any instruction
	stc
	jmp rbx
.table:
%macro way 1
	dw %1 - .table
%endmacro
	way .vmxon
	way .vmxoff
	way .vmclear
	way .vmptrld
	way .vmptrst
	way .vmread
	way .vmwrite
	way .vmlaunch
	way .vmresume
	way .invept
	way .invvpid
	way .vmread_memory
	way .vmwrite_memory
	way .set_cr0
	way .set_cr4
	way .wrmsr
	way .rdmsr
	way .shadowed
	way .far
	way .fill
.vmxon:	vmxon [0x508]
	jmp .done
.vmxoff: vmxoff
	jmp .done
.vmclear: vmclear [0x508]
	jmp .done
.vmptrld: vmptrld [0x508]
	jmp .done
.vmptrst: vmptrst [0x538]
	jmp .done
.vmread: vmread rdx, rax
	mov [0x538], rdx
	jmp .done
.vmwrite: vmwrite rax, rcx
	jmp .done
.vmlaunch: vmlaunch
	jmp .done
.vmresume: vmresume
	jmp .done
.invept: invept rax, [0x520]
	jmp .done
.invvpid: invvpid rax, [0x520]
	jmp .done
.vmread_memory: vmread [0x538], rax
	jmp .done
.vmwrite_memory: vmwrite rax, [0x510]
	jmp .done
.set_cr0: mov cr0, rax
	jmp .done
.set_cr4: mov cr4, rax
	jmp .done
.wrmsr:	mov rdx, rcx
	shr rdx, 32
	xchg eax, ecx
	wrmsr
	jmp .done
.rdmsr:	mov ecx, eax
	rdmsr
	shl rdx, 32
	or rdx, rax
	mov [0x538], rdx
	jmp .done
.shadowed: mov ax, ss
	mov ss, ax
	vmlaunch
	jmp .done
.far:	mov rax, 1 << 62	; not canonical
	vmptrld [rax]
	jmp .done
.fill:	mov rdx, [rax]		; so many pairs of field and value from there on
	vmwrite rdx, [rax + 8]
	jbe .done
	add rax, 16
	dec rcx
	jnz .fill
	vmptrst [0x538]		; flags of one that has not failed
	jmp .done
.done:	pushfq
	pop qword [0x530]
	jmp g_vmx
align 16
; handlers of exceptions, at g_vmx_fault, 8 bytes each, and where VM exits go
global g_vmx_fault, g_vmx_exit
g_vmx_fault:
%assign vector 0
%rep 32
	push byte vector
	jmp near .fault
	align 8
%assign vector vector + 1
%endrep
.fault:	pop rax
	mov [0x540], eax
	jmp g_vmx
g_vmx_exit:
	mov dword [0x544], 1
	mov [0x548], rax
	jmp g_vmx
g_vmx_end:
bits 16

section .note.GNU-stack noalloc noexec nowrite progbits
