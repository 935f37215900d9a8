/* Jumps and first calls by the procedure call standard for AArch64, section 6. */

/* To where the function is, and at first to `shm_frame_late` with the record in x16. */
.macro late_jump name
    adrp x16, .Lrecord.\name
    ldr x17, [x16, :lo12:.Lrecord.\name]
    br x17
.Lfirst.\name:
    adrp x16, .Lrecord.\name
    add x16, x16, :lo12:.Lrecord.\name
    b shm_frame_late
.endm

/* Finds the function, with the caller's arguments put aside, and goes there. */
    .section .text.late, "ax", @progbits
    .type shm_frame_late, @function
    .p2align 2
shm_frame_late:
    .cfi_startproc
    stp x29, x30, [sp, #-224]!
    .cfi_def_cfa_offset 224
    .cfi_offset x29, -224
    .cfi_offset x30, -216
    mov x29, sp
    stp x0, x1, [sp, #16]
    stp x2, x3, [sp, #32]
    stp x4, x5, [sp, #48]
    stp x6, x7, [sp, #64]
    /* x8: where a large result goes. */
    str x8, [sp, #80]
    stp q0, q1, [sp, #96]
    stp q2, q3, [sp, #128]
    stp q4, q5, [sp, #160]
    stp q6, q7, [sp, #192]
    mov x0, x16
    bl shm_frame_late_find
    mov x16, x0
    ldp x0, x1, [sp, #16]
    ldp x2, x3, [sp, #32]
    ldp x4, x5, [sp, #48]
    ldp x6, x7, [sp, #64]
    ldr x8, [sp, #80]
    ldp q0, q1, [sp, #96]
    ldp q2, q3, [sp, #128]
    ldp q4, q5, [sp, #160]
    ldp q6, q7, [sp, #192]
    ldp x29, x30, [sp], #224
    .cfi_def_cfa_offset 0
    .cfi_restore x29
    .cfi_restore x30
    br x16
    .cfi_endproc
    .size shm_frame_late, . - shm_frame_late
