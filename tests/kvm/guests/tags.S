// Maps RAM as Tagged memory, tags two granules, reads their tags, and takes a BRK of its own. Ends if
// PSTATE.TCO is as the exception has to leave it.
        .arch armv8.5-a+memtag
        .global _start, stored, loaded, handled, data
_start: adr x0, table
        ldr x1, =0x40000701             // 1 GB block: AF, inner shareable, MAIR_EL1.Attr0
        str x1, [x0, #8]
        mov x1, #0xf0                   // Tagged Normal memory
        msr mair_el1, x1
        ldr x1, =0x2000803519           // T0SZ 25, write-back, inner shareable, EPD1, TBI0
        msr tcr_el1, x1
        msr ttbr0_el1, x0
        dsb sy
        isb
        mrs x1, sctlr_el1
        ldr x2, =0x80000001005          // ATA, I, C, M
        orr x1, x1, x2
        msr sctlr_el1, x1
        isb
        adr x10, data
        orr x11, x10, #(7 << 56)
        stg x11, [x10]
        orr x11, x10, #(6 << 56)
        stg x11, [x10, #16]
stored: ldg x12, [x10]
        ldg x13, [x10, #16]
loaded: adr x0, vectors
        msr vbar_el1, x0
        isb
        msr tco, #0
        brk #1
        .ltorg

        .balign 2048
vectors:
        .org vectors + 0x200
        mrs x14, tco
handled:
        tbz x14, #25, .
        ldr x0, =0x84000008             // PSCI SYSTEM_OFF
        hvc #0
        .ltorg

        .balign 4096
table:  .zero 4096
data:   .zero 4096
