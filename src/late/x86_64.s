/* Jumps and first calls by the System V ABI for AMD64, section 3.2. */

/* To where the function is, and at first to `shm_frame_late` with the record in r11. */
.macro late_jump name
    jmpq *.Lrecord.\name(%rip)
.Lfirst.\name:
    leaq .Lrecord.\name(%rip), %r11
    jmp shm_frame_late
.endm

/* Finds the function, with the caller's arguments put aside, and goes there. */
    .section .text.late, "ax", @progbits
    .type shm_frame_late, @function
shm_frame_late:
    .cfi_startproc
    pushq %rbp
    .cfi_def_cfa_offset 16
    .cfi_offset %rbp, -16
    movq %rsp, %rbp
    .cfi_def_cfa_register %rbp
    /* rax has the number of vector registers of a call with `...`. */
    pushq %rax
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %r8
    pushq %r9
    pushq %r10
    /* The stack is at a multiple of 16: the call's return address, rbp, and eight more. */
    subq $128, %rsp
    movaps %xmm0, (%rsp)
    movaps %xmm1, 16(%rsp)
    movaps %xmm2, 32(%rsp)
    movaps %xmm3, 48(%rsp)
    movaps %xmm4, 64(%rsp)
    movaps %xmm5, 80(%rsp)
    movaps %xmm6, 96(%rsp)
    movaps %xmm7, 112(%rsp)
    movq %r11, %rdi
    call shm_frame_late_find
    movq %rax, %r11
    movaps (%rsp), %xmm0
    movaps 16(%rsp), %xmm1
    movaps 32(%rsp), %xmm2
    movaps 48(%rsp), %xmm3
    movaps 64(%rsp), %xmm4
    movaps 80(%rsp), %xmm5
    movaps 96(%rsp), %xmm6
    movaps 112(%rsp), %xmm7
    addq $128, %rsp
    popq %r10
    popq %r9
    popq %r8
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    popq %rax
    popq %rbp
    .cfi_def_cfa %rsp, 8
    jmpq *%r11
    .cfi_endproc
    .size shm_frame_late, . - shm_frame_late
