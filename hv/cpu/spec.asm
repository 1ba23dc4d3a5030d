; SPDX-License-Identifier: GPL-2.0-only
; What is done against speculation at each entry and exit, where hv/cpu/spec.c has chosen so. What
; comes behind spec_enter() puts nothing of others into the buffers that VERW has emptied.
BITS 64
%include "offsets.inc"

extern spec_each

MSR_SPEC_CTRL	equ 0x48
SPEC_CTRL_IBRS	equ 1
MSR_PRED_CMD	equ 0x49
PRED_CMD_IBPB	equ 1
RSB_ENTRIES	equ 32			; no CPU has more
BHB_ROUNDS	equ 5			; as in Intel's guidance on branch history injection
BHB_BRANCHES	equ 5

section .rodata
verw_selector:	dw 0x10			; SEL_DATA: VERW empties buffers only where it may succeed

section .text

; In: RDI = vCPU. RAX, RCX, RDX are lost.
global spec_enter
spec_enter:
	test byte [rel spec_each], SPEC_DIV
	jz .ibrs
	xor eax, eax
	xor edx, edx
	mov ecx, 1
	div ecx
.ibrs:
	test byte [rel spec_each], SPEC_IBRS
	jz .verw
	mov eax, [rdi + VCPU_SPEC_CTRL]
	xor edx, edx
	mov ecx, MSR_SPEC_CTRL
	wrmsr
.verw:
	test byte [rel spec_each], SPEC_VERW
	jz .done
	verw [rel verw_selector]
.done:
	ret

; In: RDI = vCPU. RAX, RCX, RDX are lost. Its own RET is predicted by the CALL that came here.
global spec_leave
spec_leave:
	xor edx, edx
	test byte [rel spec_each], SPEC_IBPB
	jz .ibrs
	mov ecx, MSR_PRED_CMD
	mov eax, PRED_CMD_IBPB
	wrmsr
.ibrs:
	test byte [rel spec_each], SPEC_IBRS
	jz .rsb
	mov ecx, MSR_SPEC_CTRL
	rdmsr
	mov [rdi + VCPU_SPEC_CTRL], eax
	mov eax, SPEC_CTRL_IBRS
	xor edx, edx
	wrmsr
.rsb:
	test byte [rel spec_each], SPEC_RSB
	jz .bhb
	mov ecx, RSB_ENTRIES / 2
.fill:
	call .next
.trap:					; reached by speculation only
	pause
	lfence
	jmp .trap
.next:
	call .after
.trap2:
	pause
	lfence
	jmp .trap2
.after:
	dec ecx
	jnz .fill
	add rsp, 8 * RSB_ENTRIES
	lfence
.bhb:
	test byte [rel spec_each], SPEC_BHB
	jz .done
	mov ecx, BHB_ROUNDS
	call .round
	lfence
.done:
	ret

; Taken branches enough to leave nothing of the guest's in the history.
	align 64
.round:
	call .branches
	ret
	align 64
.branches:
	mov eax, BHB_BRANCHES
.branch:
	jmp .taken
	nop
.taken:
	sub eax, 1
	jnz .branch
	sub ecx, 1
	jnz .round
	ret
