/* What is loaded late, in words that both assemblers know. */
/* `late_jump` and `shm_frame_late` are the processor's. */

/* A function, and `late::Record`: where its callers go, its name, its library. */
.macro late_function name, library
    .section .text.late.\name, "ax", @progbits
    .globl \name
    .hidden \name
    .type \name, @function
    .p2align 2
\name:
    .cfi_startproc
    late_jump \name
    .cfi_endproc
    .size \name, . - \name
    .section .data.rel.late.\name, "aw", @progbits
    .p2align 3
.Lrecord.\name:
    .quad .Lfirst.\name, .Ltext.\name, \library
    late_text \name
.endm

/* A table of virtual functions, or a type's: room for it, filled with the library, and
   `late::Table`. */
.macro late_table name, size, library
    .section .bss.late.\name, "aw", @nobits
    .globl \name
    .hidden \name
    .type \name, @object
    .p2align 4
\name:
    .zero \size
    .size \name, . - \name
    .section .data.rel.late_tables, "aw", @progbits
    .quad \name, .Ltext.\name, \size, \library
    late_text \name
.endm

.macro late_text name
    .section .rodata.late.\name, "a", @progbits
.Ltext.\name:
    .asciz "\name"
.endm

    .section .data.rel.late_tables, "aw", @progbits
    .p2align 3
    .globl shm_frame_late_tables
    .hidden shm_frame_late_tables
shm_frame_late_tables:
