; SPDX-License-Identifier: GPL-2.0-only
; Multiboot2 header; "Multiboot2 Specification version 2.0", section "OS image format".
; boot/multiboot2.h has the constants for C.

MB2_MAGIC	equ 0xe85250d6
MB2_I386	equ 0
TAG_END		equ 0
TAG_CONSOLE	equ 4
TAG_FRAMEBUFFER	equ 5
TAG_ALIGN	equ 6
TAG_RELOCATE	equ 10
OPTIONAL	equ 1
IMAGE_MIN	equ 2 << 20
IMAGE_MAX	equ 0xffffffff	; the early tables reach so far
IMAGE_ALIGN	equ 2 << 20	; boot/entry.asm maps it by such pages
LOWEST		equ 1
CONSOLE_EGA	equ 2		; EGA text mode is welcome, no console is required

section .multiboot2 progbits alloc noexec nowrite align=8
header:
	dd MB2_MAGIC, MB2_I386, header_end - header
	dd -(MB2_MAGIC + MB2_I386 + (header_end - header)) & 0xffffffff

	align 8
	dw TAG_CONSOLE, OPTIONAL
	dd 12, CONSOLE_EGA

	; A framebuffer of any mode will do, too: UEFI has nothing else. With this tag GRUB prefers
	; it to text; where text
	; is wanted (BIOS), `set gfxpayload=text` after the command multiboot2 says so.
	align 8
	dw TAG_FRAMEBUFFER, OPTIONAL
	dd 20, 0, 0, 0

	align 8				; modules at page borders
	dw TAG_ALIGN, OPTIONAL
	dd 8

	; At 2 MiB, or where memory is free.
	align 8
	dw TAG_RELOCATE, OPTIONAL
	dd 24, IMAGE_MIN, IMAGE_MAX, IMAGE_ALIGN, LOWEST

	align 8
	dw TAG_END, 0
	dd 8
header_end:
