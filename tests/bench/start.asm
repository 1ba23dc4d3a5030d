; SPDX-License-Identifier: GPL-2.0-only
; Entry of the bench guest by PVH or Multiboot (32-bit, flat, EBX = hvm_start_info or
; multiboot_info), and of its second
; CPU by SIPI.
%define MULTIBOOT_MAGIC 0x1badb002
%define PVH_MAGIC 0x336ec578	; which hvm_start_info begins with
%define PVH_CMDLINE 24
%define MULTIBOOT_CMDLINE 16

section .note.pvh note align=4
	dd 4, 4, 18		; XEN_ELFNOTE_PHYS32_ENTRY
	db "Xen", 0
	dd start32

%ifdef FOR_multiboot
section .multiboot align=4
	dd MULTIBOOT_MAGIC, 0, -MULTIBOOT_MAGIC
%endif

section .text
extern guest_main, ap_main
global start32, trampoline, trampoline_end

bits 16
trampoline:
	cli
	lgdt [cs:gdtr - trampoline]
	mov eax, cr0
	or al, 1
	mov cr0, eax
	jmp dword 8:ap32

align 8
gdtr:	dw gdt.end - gdt - 1
	dd gdt
trampoline_end:

bits 32
ap32:	mov esp, stacks.ap
	mov edi, ap_main
	jmp to_long

start32:
	mov esp, stacks.bsp
	mov edi, guest_main
	cmp dword [ebx], PVH_MAGIC
	je .pvh
	mov ebx, [ebx + MULTIBOOT_CMDLINE]
	jmp to_long
.pvh:	mov ebx, [ebx + PVH_CMDLINE]

; EDI = function to call on stack ESP with argument EBX.
to_long:
	lgdt [gdtr]
	mov ax, 16
	mov ds, ax
	mov es, ax
	mov ss, ax
	mov eax, 0x620		; PAE, OSFXSR, OSXMMEXCPT
	mov cr4, eax
	mov eax, pml4
	mov cr3, eax
	mov ecx, 0xc0000080
	mov eax, 0x900		; EFER: LME, NXE
	xor edx, edx
	wrmsr
	mov eax, 0x80010033	; PG, WP, NE, ET, MP, PE
	mov cr0, eax
	jmp 24:.long
bits 64
.long:	mov eax, edi
	mov edi, ebx
	call rax
	ud2

section .data
align 16
gdt:	dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff
.end:

; The first 4 GiB, identity, by 2 MiB pages.
align 4096
pml4:	dq pdpt + 0x03
	times 511 dq 0
pdpt:
%assign i 0
%rep 4
	dq pd + i * 4096 + 0x03
%assign i i + 1
%endrep
	times 508 dq 0
pd:
%assign i 0
%rep 2048
	dq i * 0x200000 + 0x83
%assign i i + 1
%endrep

section .bss
align 16
	resb 16384
stacks:
.bsp:	resb 16384
.ap:
