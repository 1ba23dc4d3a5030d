; SPDX-License-Identifier: GPL-2.0-only
;
; What test guests run, in one relocatable piece: copied to guest address 0x10000, see vmm.h. 64-bit
; code unless said otherwise.
;
; In: RDI, RSI arguments, RSP a stack. Registers kept for the exception handlers all the time:
;   R15 where to go on after a fault, R14 number of faults, R13 interrupts, R10 NMIs, R11 LAPIC's
;   address for EOI or 0
	default rel
	section .rodata align=4096
	global payload_start, payload_end

PORT_VALUE	equ 0xe0
PORT_DONE	equ 0xe1
LAPIC		equ 0xfee00000
SCRATCH		equ 0xa000

%macro entry 1
	align 16
	global %1
%1:
%endmacro

%macro value 1			; a number for the test
	mov eax, %1
	out PORT_VALUE, eax
%endmacro

%macro done 0
	out PORT_DONE, al
%%stay:	cli
	hlt
	jmp %%stay
%endmacro

; The instructions up to `after` may fault.
%macro guarded 0-1
	lea r15, [%%after]
	%1
%%after:
%endmacro

; RAX = next random number; state in RBX.
%macro random 0
	mov rax, rbx
	shl rax, 13
	xor rbx, rax
	mov rax, rbx
	shr rax, 7
	xor rbx, rax
	mov rax, rbx
	shl rax, 17
	xor rbx, rax
	mov rax, 0x2545f4914f6cdd1d
	imul rax, rbx
%endmacro

	bits 64
payload_start:

; ---- handlers ----
entry on_error
	add rsp, 8
entry on_fault
	inc r14
	mov [rsp], r15
	and dword [rsp + 16], ~0x100	; TF
	iretq
entry on_nmi
	inc r10
	iretq
entry on_interrupt
	inc r13
	test r11, r11
	jz .out
	mov dword [r11 + 0xb0], 0
.out:	iretq
entry unexpected
	value 0xdead
	done

; ---- ends ----
entry pl_triple64
	push 0
	push 0
	lidt [rsp]
	int3
entry pl_spin
	jmp pl_spin
; At rdi: the next ticket, the one that is served, and how often the lock was had. rsi: 0 for a lock
; by tickets, 1 for test and set
entry pl_locks
	test esi, esi
	jnz .set
	mov eax, 1
	lock xadd [rdi], eax
.wait:
	cmp [rdi + 4], eax
	je .had
	pause
	jmp .wait
.taken:
	pause
	cmp dword [rdi], 0
	jne .taken
.set:
	mov eax, 1
	xchg [rdi], eax
	test eax, eax
	jnz .taken
.had:
	mov ecx, 500
.held:
	dec ecx
	jnz .held
	inc qword [rdi + 8]
	test esi, esi
	jnz .clear
	inc dword [rdi + 4]
	jmp .free
.clear:
	mov dword [rdi], 0
.free:
	mov ecx, 2000
.work:
	dec ecx
	jnz .work
	jmp pl_locks
entry pl_triple32
	push 0
	push 0
	lidt [esp]
	int3
	bits 16
entry pl_triple16
	push 0
	push 0
	push 0
	mov bp, sp
	lidt [bp]
	int3
	bits 64

%macro lapic_on 0
	mov r11d, LAPIC
	mov dword [r11 + 0xf0], 0x1ff
	mov dword [r11 + 0x80], 0
%endmacro

; ---- they go on until stopped, unless they count ----
entry pl_timer			; LAPIC timer without end: RDI = LVT, RSI = initial count
	lapic_on
	mov dword [r11 + 0x3e0], 0xb
	mov [r11 + 0x320], edi
.again:	mov [r11 + 0x380], esi
.sleep:	sti
	hlt
	cli
	test edi, 0x20000
	jnz .sleep
	jmp .again
; counts in [DATA] and sums a page of known content; a wrong sum is reported
entry pl_witness
.again:	xor eax, eax
	xor ecx, ecx
.add:	add eax, [0x101000 + rcx]
	add ecx, 4
	cmp ecx, 0x1000
	jb .add
	cmp eax, [abs 0x100008]
	jne unexpected
	inc qword [abs 0x100000]
	test dword [abs 0x100000], 0xfff
	jnz .again
	out 0xe3, al
	jmp .again
entry pl_flood_out
	mov edx, edi
.next:	out dx, eax
	jmp .next
entry pl_flood_in
	mov edx, edi
.next:	in ax, dx
	jmp .next
entry pl_exits
	xor eax, eax
	cpuid
	jmp pl_exits

; Says at RDI + 4 that it runs, waits for a word at RDI without any exit, then exits RSI times.
entry pl_traced
	mov dword [rdi + 4], 1
.wait:	cmp dword [rdi], 0
	je .wait
.next:	xor eax, eax
	cpuid
	dec rsi
	jnz .next
	done

; MSRs of the ranges {first, count} at RDI, a count of 0 ends; each is read and written with hostile
; values. RSI = seed.
entry pl_msr_sweep
	mov rbx, rsi
	xor r8d, r8d
.range:	mov ebp, [rdi]
	mov r9d, [rdi + 4]
	add rdi, 8
	test r9d, r9d
	jz .out
.next:	mov ecx, ebp
	xor eax, eax
	xor edx, edx
	guarded rdmsr
	mov r12d, eax
	shl rdx, 32
	or r12, rdx
	random
	mov rdx, rax
	shr rdx, 32
	mov ecx, ebp
	guarded wrmsr
	mov eax, -1
	mov edx, -1
	guarded wrmsr
	random
	mov ecx, eax
	mov eax, 1
	shl rax, cl
	xor rax, r12
	mov rdx, rax
	shr rdx, 32
	mov ecx, ebp
	guarded wrmsr
	xor eax, eax
	xor edx, edx
	guarded wrmsr
	mov eax, r12d
	mov rdx, r12
	shr rdx, 32
	guarded wrmsr
	inc r8d
	inc ebp
	dec r9d
	jnz .next
	jmp .range
.out:	value r8d
	value r14d
	done

; Random accesses to the LAPIC's page, RDI of them; RSI = seed
entry pl_lapic_mmio
	lapic_on
	mov rbx, rsi
.next:	random
	mov rcx, rax
	shr rcx, 40
	mov edx, eax
	shr rax, 32
	and eax, 0xfff
	test ecx, 3
	jz .odd
	and eax, 0x3f0
.odd:	add rax, r11
	test ecx, 0x70
	jz .read
	test ecx, 0x80
	jz .vector
	mov dh, 0x40
.vector:
	lea r15, [.after]
	mov [rax], edx
	jmp .after
.read:	lea r15, [.after]
	movzx ecx, word [rax]
	mov rdx, [rax]
.after:	sti
	nop
	cli
	dec rdi
	jnz .next
	done

; The same by x2APIC MSRs
entry pl_x2apic
	mov rbx, rsi
	mov ecx, 0x1b
	rdmsr
	or eax, 0xc00
	guarded wrmsr
	mov ecx, 0x80f
	mov eax, 0x1ff
	xor edx, edx
	guarded wrmsr
	xor r11d, r11d
.next:	random
	mov ecx, eax
	and ecx, 0xff
	test eax, 0x700
	jz .far
	and ecx, 0x3f
.far:	add ecx, 0x800
	mov rdx, rax
	shr rdx, 40
	shr rax, 16
	test eax, 0x10000
	jz .wide
	xor edx, edx
.wide:	guarded wrmsr
	guarded rdmsr
	sti
	nop
	cli
	dec rdi
	jnz .next
	value r14d
	done

; Random control and debug registers, XCR0, EFER; RDI rounds, RSI = seed
entry pl_registers
	mov rbx, rsi
.next:	random
	mov rcx, rax
	random				; mostly a few bits differ
	mov rdx, rax
	random
	and rax, rdx
	mov r8, rax
	random
	and r8, rax
	mov rdx, cr0
	xor rdx, r8
	or edx, 0x20
	guarded {mov cr0, rdx}
	mov rdx, cr4
	xor rdx, r8
	guarded {mov cr4, rdx}
	mov rdx, cr3
	mov r9, r8
	and r9, 0x18
	test ecx, 0xf
	jnz .low
	mov r9, r8
.low:	xor rdx, r9
	guarded {mov cr3, rdx}
	mov edx, 0x1000
	guarded {mov cr3, rdx}
	guarded {mov cr8, r8}
	mov rax, r8
	mov rdx, r8
	shr rdx, 32
	mov r9, rcx
	and ecx, 1
	test r9d, 0xf0
	jnz .xcr1
	xor ecx, ecx
.xcr1:	guarded xsetbv
	mov ecx, 0xc0000080
	guarded rdmsr
	xor eax, r8d
	guarded wrmsr
	guarded {mov dr0, r8}
	guarded {mov dr3, r9}
	guarded {mov dr6, r8}
	movzx eax, r8w			; no data breakpoints: see debug_registers() in guests.c
	and eax, ~0x2000
	guarded {mov dr7, rax}
	xor eax, eax
	guarded {mov dr7, rax}
	guarded {lmsw cx}
	guarded clts
	dec rdi
	jnz .next
	value r14d
	done

; String I/O from a table at RDI: {u64 address, count; u32 kind, down}; kind 0..2 INS, 4..6 OUTS, -1
; ends. Port RSI
entry pl_string_table
	mov rbx, rdi
	mov ebp, esi
.next:	mov edx, ebp
	mov rdi, [rbx]
	mov rsi, rdi
	mov rcx, [rbx + 8]
	mov eax, [rbx + 16]
	cld
	test dword [rbx + 20], 1
	jz .up
	std
.up:	add rbx, 24
	test eax, eax
	js .out
	lea r15, [.next]
	cmp eax, 0
	je .insb
	cmp eax, 1
	je .insw
	cmp eax, 2
	je .insd
	cmp eax, 4
	je .outsb
	cmp eax, 5
	je .outsw
	rep outsd
	jmp .next
.insb:	rep insb
	jmp .next
.insw:	rep insw
	jmp .next
.insd:	rep insd
	jmp .next
.outsb:	rep outsb
	jmp .next
.outsw:	rep outsw
	jmp .next
.out:	cld
	value r14d
	done

; Page-table entries changed all the time: [RDI] gets the values at RSI up to a 0 in turn
entry pl_pte_writer
.start:	mov rdx, rsi
.next:	mov rax, [rdx]
	add rdx, 8
	mov [rdi], rax
	test rax, rax
	jnz .next
	mov rax, [rsi]
	jmp .start
; ... while this one uses the page RDI
entry pl_pte_user
	mov rbp, rdi
.next:	guarded {mov eax, [rbp]}
	guarded {mov [rbp + 8], eax}
	guarded {lock inc dword [rbp + 16]}
	mov edx, 0x1000
	mov rsi, rbp
	mov ecx, 16
	guarded {rep outsb}
	mov rdi, rbp
	mov ecx, 4
	guarded {rep insd}
	invlpg [rbp]
	jmp .next

; Starts all other CPUs, RDI of them, at page RSI, where pl_crowd_other has been copied, and gives
; each an NMI: so many have come, and had one.
entry pl_crowd
	lapic_on
	mov ebp, esi
	shl ebp, 12
	mov dword [r11 + 0x300], 0xc4500	; INIT, all but self
	mov eax, esi
	or eax, 0xc4600
	mov [r11 + 0x300], eax
.up:	pause
	cmp [rbp + 0x800], edi
	jb .up
	mov dword [r11 + 0x300], 0xc4400
.nmi:	pause
	cmp [rbp + 0x804], edi
	jb .nmi
	mov eax, [rbp + 0x800]
	value eax
	mov eax, [rbp + 0x804]
	value eax
	done
; In real mode; its stack is everybody's, who do not return.
	bits 16
entry pl_crowd_other
	mov ax, cs
	mov ds, ax
	mov ss, ax
	mov sp, 0xff0
	xor cx, cx
	mov es, cx
	mov word [es:8], .nmi - pl_crowd_other
	mov [es:10], ax
	lock inc dword [0x800]
.stay:	hlt
	jmp .stay
.nmi:	lock inc dword [cs:0x804]
.end:	hlt
	jmp .end
pl_crowd_other_end:
	bits 64

; RDI: bits of ICR that may vary, RSI = seed
entry pl_ipi_storm
	lapic_on
	mov rbx, rsi
	mov rbp, rdi
.next:	random
	mov edx, eax
	shr rdx, 8
	shl edx, 24
	mov [r11 + 0x310], edx
	shr rax, 24
	and eax, ebp
	or eax, 0x4040
	mov [r11 + 0x300], eax
	sti
	nop
	cli
	jmp .next

entry pl_irq_storm
	lapic_on
	sti
.next:	pause
	jmp .next

; CR8 is written RDI times while an interrupt waits, first for IF and then for CR8: how many came
; before their time, and how many in all
entry pl_cr8
	lapic_on
	xor r13d, r13d
	xor ebx, ebx
	xor ebp, ebp
.next:	mov dword [r11 + 0x300], 0x40051	; for itself, vector 0x51
	mov ecx, 15
.down:	mov cr8, rcx
	dec ecx
	jns .down
	add ebx, r13d
	mov ecx, 5
	mov cr8, rcx
	sti
	nop
	add ebx, r13d
	xor ecx, ecx
	mov cr8, rcx
	nop
	cli
	add ebp, r13d
	xor r13d, r13d
	dec rdi
	jnz .next
	value ebx
	value ebp
	done

entry pl_fill			; each page from RDI to RSI: its address xor RDX at both ends
	mov rax, rdi
	xor rax, rdx
	mov [rdi], rax
	mov [rdi + 4096 - 8], rax
	add rdi, 4096
	cmp rdi, rsi
	jb pl_fill
	value 0
	done

entry pl_filled			; how many pages are not so
	xor ecx, ecx
.page:	mov rax, rdi
	xor rax, rdx
	cmp [rdi], rax
	jne .bad
	cmp [rdi + 4096 - 8], rax
	je .next
.bad:	inc ecx
.next:	add rdi, 4096
	cmp rdi, rsi
	jb .page
	value ecx
	done

entry pl_stos			; RSI dwords to RDI
	mov rcx, rsi
	xor eax, eax
	guarded {rep stosd}
	value ecx
	done

; DR0..3 from the table at RDI, DR7 = RSI, then exits
entry pl_debug_regs
	mov rax, [rdi]
	mov dr0, rax
	mov rax, [rdi + 8]
	mov dr1, rax
	mov rax, [rdi + 16]
	mov dr2, rax
	mov rax, [rdi + 24]
	mov dr3, rax
	mov dr7, rsi
	jmp pl_exits

%macro point 1			; a place that a test has to know
	global %1
%1:
%endmacro

; What a debugger outside stops at: kvm/debugger.c. RDI: where to write, RSI: lowest bits of the
; guest's own DR7 at the end.
entry pl_debugger
	lea r15, [dbg_after]
point dbg_int3
	int3
point dbg_after
	nop
point dbg_hw
	nop
	mov [rdi], rdi
point dbg_written
	lapic_on
	mov dword [r11 + 0x300], 0x40041	; an interrupt for itself, vector 0x41
	sti
	nop
point dbg_steps
	xor eax, eax
	cpuid
	mov ecx, 0x1a0
	rdmsr
	mov eax, r13d
	out PORT_VALUE, eax
	pushf
	pop rax
	push rax
	popf
	test eax, 0x100
	jnz unexpected
point dbg_stepped
	nop
	nop
	value r13d
	cli
	lea rax, [dbg_own_hit]
	mov dr1, rax
	mov dr7, rsi
	xor eax, eax
	mov rax, dr1
	value eax
	mov rax, dr7
	value eax
point dbg_own
	mov rax, dr1
	value eax
	lea r15, [dbg_own_after]
point dbg_own_hit
	nop
dbg_own_after:
	mov rax, dr6
	value eax
point dbg_gd
	mov rax, dr0
	value r14d
	done

; What outlives a snapshot: a register, XMM, the LAPIC. Stops at PORT_PAUSE, then tells what it has
; after one interrupt.
entry pl_snapshot		; with a kvmclock in a page that is its own
	lapic_on
	mov al, 0xff			; interrupts come by the LAPIC alone
	out 0x21, al
	xor r13d, r13d
	mov eax, 0x600dcafe
	movd xmm3, eax
	mov [abs 0x100000], eax
	mov dword [abs 0x102ff0], 1
	out 0xe5, al
	sti
	hlt
	cli
	movd eax, xmm3
	out 0xe0, eax
	mov eax, r13d
	out 0xe0, eax
	done

; The PIC's interrupt waits for LINT0
entry pl_lint0
	lapic_on
	mov dword [r11 + 0x350], 0x10700
	xor r13d, r13d
	out 0xe5, al
	sti
	nop
	nop
	cli
	value r13d
	out 0xe5, al
	mov dword [r11 + 0x350], 0x700
	sti
	nop
	nop
	cli
	value r13d
	done

; A breakpoint on the stack that exceptions use: each #DB makes the next
entry pl_stride
.next:	mov eax, [rdi]
	add rdi, 0x200000
	dec rsi
	jnz .next
	done

; Instructions that are not for guests; each may fault
entry pl_instructions
	mov rbp, rsp
%macro try 1
	mov eax, 0x200000	; memory of nobody: CLZERO clears what it points at
	xor ecx, ecx
	xor edx, edx
	mov rsp, rbp
	guarded {%1}
%endmacro
	try {db 0x0f, 0x01, 0xd8}	; VMRUN
	try {db 0x0f, 0x01, 0xda}	; VMLOAD
	try {db 0x0f, 0x01, 0xdb}	; VMSAVE
	try {db 0x0f, 0x01, 0xdc}	; STGI
	try {db 0x0f, 0x01, 0xdd}	; CLGI
	try {db 0x0f, 0x01, 0xde}	; SKINIT
	try {db 0x0f, 0x01, 0xdf}	; INVLPGA
	try {db 0x0f, 0x01, 0xc2}	; VMLAUNCH
	try {db 0x0f, 0x01, 0xc3}	; VMRESUME
	try {db 0x0f, 0x01, 0xc4}	; VMXOFF
	try {db 0x0f, 0x01, 0xd4}	; VMFUNC
	try {db 0xf3, 0x0f, 0xc7, 0x34, 0x24}	; VMXON [rsp]
	try {db 0x0f, 0xc7, 0x34, 0x24}	; VMPTRLD [rsp]
	try {db 0x66, 0x0f, 0x38, 0x80, 0x04, 0x24}	; INVEPT
	try {db 0x66, 0x0f, 0x38, 0x82, 0x04, 0x24}	; INVPCID
	try {db 0x0f, 0x01, 0xc8}	; MONITOR
	try {db 0x0f, 0x01, 0xc9}	; MWAIT
	try {db 0x0f, 0x37}		; GETSEC
	try {db 0x0f, 0xaa}		; RSM
	try {db 0x0f, 0x33}		; RDPMC
	try {db 0x0f, 0x08}		; INVD
	try {db 0x0f, 0x09}		; WBINVD
	try {db 0x0f, 0x01, 0xd1}	; XSETBV
	try {db 0x0f, 0xc7, 0xf8}	; RDSEED
	try {db 0x0f, 0x0b}		; UD2
	try {db 0xf1}			; ICEBP
	try {db 0xf3, 0x90}		; PAUSE
	try {db 0x0f, 0x01, 0xf9}	; RDTSCP
	try {db 0x0f, 0x01, 0xfa}	; MONITORX
	try {db 0x0f, 0x01, 0xfb}	; MWAITX
	try {db 0x0f, 0x01, 0xfc}	; CLZERO
	try {db 0x0f, 0x01, 0xfe}	; INVLPGB
	try {db 0x0f, 0x01, 0xff}	; TLBSYNC
	mov rsp, rbp
	value r14d
	done
; INT n for all n, but those whose handler expects an error code, which INT does not push
entry pl_int_n
%assign n 0
%rep 256
%if n != 8 && (n < 10 || n > 14) && n != 17 && n != 21
	guarded {int n}
%endif
%assign n n + 1
%endrep
	value r14d
	value r13d
	done

; Hypercalls RDI and the RSI - 1 after it, by both instructions; how many do not say that there is
; no such thing
entry pl_hypercalls
	mov r11, rsi
	xor eax, eax
	cpuid
	cmp ebx, 'Genu'		; ineIntel
	sete r13b
	mov rsi, r11
	xor r8d, r8d
	mov rbp, rdi
	add rsi, rbp
	mov r12, rsi
.next:	mov rax, rbp
	mov ebx, 1
	mov ecx, 1
	mov edx, 0x1000
	mov esi, 0x1000
	mov edi, 1
	test r13b, r13b
	jnz .intel
	guarded vmmcall
	jmp .back
.intel:	guarded vmcall
.back:	cmp rax, -1000
	je .no
	inc r8d
.no:	inc rbp
	cmp rbp, r12
	jb .next
	value r8d
	value r14d
	done

; Which time dom0's clock RSI has, to RDI; the TSC before, RAX, and the TSC behind it go to SCRATCH
entry pl_pairing
	mov ebp, SCRATCH
	rdtsc
	mov [rbp], eax
	mov [rbp + 4], edx
	mov eax, 9
	mov rbx, rdi
	mov rcx, rsi
	vmmcall
	mov [rbp + 8], rax
	rdtsc
	mov [rbp + 16], eax
	mov [rbp + 20], edx
	done

; Reads, or writes RSI to, MSR EDI: what RDMSR leaves in EAX and EDX, and the number of faults.
entry pl_rdmsr
	mov ecx, edi
	mov eax, 0x11
	mov edx, 0x22
	xor r14d, r14d
	lea r15, [msr_read_at.after]
point msr_read_at
	rdmsr
.after:	mov ebx, eax
	mov ebp, edx
	value ebx
	value ebp
	value r14d
	done
entry pl_wrmsr
	mov ecx, edi
	mov rax, rsi
	mov rdx, rsi
	shr rdx, 32
	xor r14d, r14d
	guarded wrmsr
	value r14d
	done
; Where an exception has led to: what CR2 and DR6 say, and the number of exceptions
entry pl_took
	mov rax, cr2
	value eax
	mov rax, dr6
	value eax
	value r14d
	done
entry pl_rdmsr_loop
	mov ecx, edi
.next:	rdmsr
	jmp .next

; A call of the hypercall page at RDI, with RCX, RDX and R8 for it: RAX, and the number of faults
entry pl_hyperv
	xor r14d, r14d
	lea r15, [.after]
	call rdi
.after:	mov rbp, rax
	value ebp
	shr rbp, 32
	value ebp
	value r14d
	done

; RDI interrupts, which need EOIs or do not (RSI): when the last has come
entry pl_sints
	lapic_on
	test esi, esi
	jnz .wait
	xor r11d, r11d
.wait:	xor r13d, r13d
.sleep:	sti
	hlt
	cli
	cmp r13, rdi
	jb .sleep
	value r13d
	done

; RSI messages from the place at RDI, whose interrupt needs no EOI: the low half
; of the time for which each was, and how often it was said that another waits
entry pl_messages
	lapic_on
	xor r11d, r11d
	xor r12d, r12d
.sleep:	sti
	hlt
	cli
.look:	cmp dword [rdi], 0
	je .sleep
	mov ebx, [rdi + 24]
	value ebx
	mov dword [rdi], 0
	test byte [rdi + 5], 1
	jz .next
	mov byte [rdi + 5], 0
	inc r12d
	mov ecx, 0x40000084	; EOM
	xor eax, eax
	xor edx, edx
	wrmsr
.next:	dec rsi
	jnz .look
	value r12d
	done

; Interrupts all the time, each of which is ended: R13 counts them, RBX what else is done
entry pl_flooded
	lapic_on
	xor r13d, r13d
	xor ebx, ebx
	sti
.next:	inc rbx
	jmp .next

entry pl_call			; RDI, RSI is its argument
	call rdi
	done

; ---- guests of guests ----
; A hypervisor: RDI = its VMCB, RSI = where VMRUN may save the host. Runs the VMCB again and again;
; behind each #VMEXIT, with interrupts let in once, it stops and goes on with what the VMM has made
; of the VMCB. The VMCB's address is at DATA.
entry pl_vmrun
	mov [abs 0x100000], rdi
	mov ecx, 0xc0000080
	rdmsr
	or eax, 0x1000		; SVME
	guarded wrmsr
	mov ecx, 0xc0010117
	mov eax, esi
	xor edx, edx
	guarded wrmsr
.again:	clgi
	sti			; what is open to interrupts in its guest
	mov rax, [abs 0x100000]
	guarded vmrun
	stgi
	nop
	cli
	out 0xe5, al
	jmp .again

; Asynchronous page faults. In: RDI the first page, RSI the area for events, EDX what the MSR gets
; beside its address, ECX 1: with interrupts off, 2: comes to the page again when it is told. R12:
; the last token, R9 how often a page was missing.
APF_EN		equ 0x4b564d02
APF_INT		equ 0x4b564d06
APF_ACK		equ 0x4b564d07
PORT_PAUSE	equ 0xe5

entry pl_apf
	mov ebp, ecx
	mov ebx, LAPIC
	mov dword [rbx + 0xf0], 0x1ff
	mov ecx, APF_INT
	mov eax, 0x61
	mov r8d, edx
	xor edx, edx
	wrmsr
	xor r12d, r12d
	xor r9d, r9d
	mov ecx, APF_EN
	lea rax, [rsi + r8]
	wrmsr
	and r8d, 9
	cmp r8d, 9
	jne .told
	call apf_wait		; who switches it on waits for nothing any more
	value r12d
	xor r12d, r12d
.told:	sti
	test ebp, 1
	jz .go
	cli
.go:	out PORT_PAUSE, al
	movzx ebx, byte [rdi]
	value ebx
	value r9d
	done
; Many pages, up to RCX, none of which it waits for
entry pl_apf_many
	mov r8, rcx
	mov ebx, LAPIC
	mov dword [rbx + 0xf0], 0x1ff
	mov ecx, APF_INT
	mov eax, 0x61
	xor edx, edx
	wrmsr
	mov ecx, APF_EN
	lea rax, [rsi + 11]
	wrmsr
	call apf_wait
	sti
.next:	guarded {mov al, [rdi]}
	mov [abs 0x100ff0], r14d
	add rdi, 0x1000
	cmp rdi, r8
	jb .next
	done
apf_wait:
	cli
	test r12d, r12d
	jnz .out
	sti
	hlt
	jmp apf_wait
.out:	ret
entry apf_missing
	push rax
	inc r9d
	mov rax, cr2
	value eax
	value [rsi]
	value [rsp + 8]		; the error code
	mov dword [rsi], 0
	out PORT_PAUSE, al
	test ebp, 2
	jz .wait
	sti
	movzx eax, byte [rdi]	; nobody tells of it once more
	value eax
.wait:	call apf_wait
	value r12d
	pop rax
	add rsp, 8
	iretq
entry apf_ready
	push rax
	push rcx
	push rdx
	mov r12d, [rsi + 4]
	mov dword [rsi + 4], 0
	mov ecx, APF_ACK
	mov eax, 1
	xor edx, edx
	wrmsr
	mov eax, LAPIC
	mov dword [rax + 0xb0], 0
	pop rdx
	pop rcx
	pop rax
	iretq

payload_end:
	section .note.GNU-stack noalloc noexec nowrite progbits
