; SPDX-License-Identifier: GPL-2.0-only
;
; What smm.c puts at SMBASE + 0x8000, and what its guests run before, behind and beside it.
; From SMBASE on: 0x100 number of SMIs, 0x104 not 0: all registers are overwritten, 0x108 what is
; told behind the pause.
	default rel
	section .rodata
PORT_VALUE	equ 0xe0
PORT_DONE	equ 0xe1
PORT_PAUSE	equ 0xe5

%macro entry 1
	global %1
%1:
%endmacro

	bits 16
entry smi_start
	inc dword [cs:0x100]
	cmp byte [cs:0x104], 0
	je .kept
	mov eax, 0x5a5a5a5a
	mov ecx, eax
	mov edx, eax
	mov ebx, eax
	mov esp, eax
	mov ebp, eax
	mov esi, eax
	mov edi, eax
	mov ds, ax
	mov es, ax
	mov fs, ax
	mov gs, ax
.kept:	out PORT_PAUSE, al
	mov eax, [cs:0x108]
	out PORT_VALUE, eax
	rsm
entry smi_end

; These run at DATA.
	bits 64
; until [RBX] is not 0
entry code_loop
	cmp dword [rbx], 0
	je code_loop
	out PORT_DONE, al
	jmp $
entry code_loop_end
	bits 32
entry code_loop32
	cmp dword [ebx], 0
	je code_loop32
	out PORT_DONE, al
	jmp $
entry code_loop32_end
	bits 64

entry code_halt
	sti
	hlt
	out PORT_DONE, al
	jmp $
entry code_halt_end

; RSM where it is unknown: R15 is behind it, where the handler of exceptions goes
entry code_rsm
	xor r14d, r14d
	lea r15, [.after]
	rsm
.after:	mov eax, r14d
	out PORT_VALUE, eax
	out PORT_DONE, al
	jmp $
entry code_rsm_end

; What is at RDI before and after a pause, with one written between
entry code_look
	mov eax, [rdi]
	out PORT_VALUE, eax
	mov dword [rdi + 4], 0x77
	out PORT_PAUSE, al
	mov eax, [rdi]
	out PORT_VALUE, eax
	out PORT_DONE, al
	jmp $
entry code_look_end

	section .note.GNU-stack noalloc noexec nowrite progbits
