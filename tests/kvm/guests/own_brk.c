/* A guest with a BRK of its own, as a kernel's WARN_ON is one: the handler notes what the
 * exception says and returns behind it. */

typedef unsigned long u64;

volatile u64 esr, elr, spsr, far, taken;
char stack[4096] __attribute__((aligned(16)));

__asm__(".section .start, \"ax\"\n"
        ".global _start\n"
        "_start:\n"
        "    ldr x0, =stack + 4096\n"
        "    mov sp, x0\n"
        "    ldr x0, =vectors\n"
        "    msr vbar_el1, x0\n"
        "    ldr x0, =0x1122334455667788\n"
        "    msr far_el1, x0\n"
        "    isb\n"
        "    bl main\n"
        "    b .\n"
        ".balign 2048\n"
        "vectors:\n"
        ".org vectors + 0x200\n"
        "    stp x0, x1, [sp, #-16]!\n"
        "    mrs x0, esr_el1\n"
        "    ldr x1, =esr\n"
        "    str x0, [x1]\n"
        "    mrs x0, spsr_el1\n"
        "    ldr x1, =spsr\n"
        "    str x0, [x1]\n"
        "    mrs x0, far_el1\n"
        "    ldr x1, =far\n"
        "    str x0, [x1]\n"
        "    ldr x1, =taken\n"
        "    ldr x0, [x1]\n"
        "    add x0, x0, #1\n"
        "    str x0, [x1]\n"
        "    mrs x0, elr_el1\n"
        "    ldr x1, =elr\n"
        "    str x0, [x1]\n"
        "    add x0, x0, #4\n"
        "    msr elr_el1, x0\n"
        "    ldp x0, x1, [sp], #16\n"
        "    eret\n"
        ".org vectors + 0x800\n"
        ".previous\n");

void elsewhere(void)
{
    __asm__ volatile("nop");
}

void warn(void)
{
    /* Flags and masks of no common kind, so that SPSR has something to say. */
    __asm__ volatile("msr daifclr, #4\n"
                     "cmp xzr, xzr\n"
                     ".global brk_place\n"
                     "brk_place: brk #0x800\n" ::: "cc");
}

void done(void)
{
    __asm__ volatile("nop");
}

void main(void)
{
    for (;;) {
        warn();
        done();
        elsewhere();
    }
}
