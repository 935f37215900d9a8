/* What `late` in Rust reads: `Record` and `Table`. */

.macro late_record name, library
    .section .data.rel.late.\name, "aw", @progbits
    .p2align 3
.Lrecord.\name:
    .quad .Lfirst.\name, .Ltext.\name, \library
    .section .rodata.late.\name, "a", @progbits
.Ltext.\name:
    .asciz "\name"
.endm

/* A table of virtual functions: room for it, which is filled when the library is loaded. */
.macro late_table name, size, library
    .section .bss.late.\name, "aw", @nobits
    .globl \name
    .hidden \name
    .type \name, @object
    .p2align 4
\name:
    .zero \size
    .size \name, . - \name
    .section .rodata.late.\name, "a", @progbits
.Ltext.\name:
    .asciz "\name"
    .section .data.rel.late_tables, "aw", @progbits
    .quad \name, .Ltext.\name, \size, \library
.endm

    .section .data.rel.late_tables, "aw", @progbits
    .p2align 3
    .globl shm_frame_late_tables
    .hidden shm_frame_late_tables
shm_frame_late_tables:
