; SPDX-License-Identifier: GPL-2.0-only
; A guest small enough to boot in an instant: an ELF kernel with a PVH entry. It writes "guest
; ready" to COM1 and then
; answers each character c by "<c>"; `x` makes it triple-fault, `p` panic (QEMU's pvpanic), `q`
; switch itself off (ACPI's registers, where QEMU's microvm and q35 have them), `r` reset itself.
; nasm -f bin

BASE equ 0x100000
COM1 equ 0x3f8

	bits 32
	org BASE

elf:	db 0x7f, "ELF", 1, 1, 1, 0
	times 8 db 0
	dw 2, 3			; executable, 80386
	dd 1, start, phdr - elf, 0, 0
	dw 52, 32, 2, 0, 0, 0
phdr:	dd 1, 0, BASE, BASE, end - elf, end - elf, 7, 0x1000		; load
	dd 4, note - elf, note, note, note_end - note, note_end - note, 4, 4	; note
note:	dd 4, 4, 18		; XEN_ELFNOTE_PHYS32_ENTRY
	db "Xen", 0
	dd start
note_end:

; In: 32-bit protected mode, flat segments, no stack.
start:	mov esp, stack_top
	mov esi, hello
.hello:	lodsb
	test al, al
	jz .loop
	call putc
	jmp .hello
.loop:	mov dx, COM1 + 5
.poll:	in al, dx
	test al, 1
	jz .poll
	mov dx, COM1
	in al, dx
	cmp al, 'x'
	je die
	cmp al, 'p'
	je panic
	cmp al, 'q'
	je power_off
	cmp al, 'r'
	je reset
	push eax
	mov al, '<'
	call putc
	pop eax
	call putc
	mov al, '>'
	call putc
	jmp .loop

die:	lidt [no_idt]
	int3

panic:	mov dx, 0x505
	mov al, 1		; panicked
	out dx, al
	jmp start.loop

power_off:
	mov byte [0xfea00200], 0x34	; SLP_EN, type 5
	mov dx, 0x604
	mov ax, 0x2000		; SLP_EN, type 0
	out dx, ax
	jmp start.loop

reset:	mov byte [0xfea00202], 0x42
	mov dx, 0xcf9
	mov al, 6
	out dx, al
	jmp start.loop

; In: AL. Clobbers EDX.
putc:	push eax
	mov dx, COM1 + 5
.wait:	in al, dx
	test al, 0x20
	jz .wait
	pop eax
	mov dx, COM1
	out dx, al
	ret

hello:	db "guest ready", 13, 10, 0
no_idt:	dw 0
	dd 0
	times 64 dd 0
stack_top:
end:
