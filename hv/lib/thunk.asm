; SPDX-License-Identifier: GPL-2.0-only
; The compiler has all indirect calls and jumps lead here (Makefile). Cores of Skylake's kind that
; have enhanced IBRS, as Cascade Lake and Comet Lake, may predict an indirect branch by direct
; ones of a guest, if it lies in the lower half of a cache line. Intel: "Indirect Target
; Selection". Returns are predicted so only where the return stack has run empty: each exit fills it
; (SPEC_RSB), but calls deeper than it is, and C6, empty it again.
BITS 64
LINE equ 64

section .text align=LINE

%macro THUNK 1-*
%rep %0
	align LINE, int3
	times LINE / 2 int3
global __x86_indirect_thunk_%1
__x86_indirect_thunk_%1:
	jmp %1
	int3				; nothing behind it is run ahead, either
%rotate 1
%endrep
%endmacro

	THUNK rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15
