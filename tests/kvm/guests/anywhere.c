/* A position-independent guest: tables of pointers, which only relocation or the guest itself
 * makes right. Built by the tests at -O1 as a static PIE. */

volatile int rounds;
static volatile int *volatile const counters[] = { &rounds };

__asm__(".section .start, \"ax\"\n"
        ".global _start\n"
        "_start:\n"
        "    adr x0, _start + 0x40000\n"
        "    mov sp, x0\n"
        "    bl run\n"
        ".previous\n");

__attribute__((noinline)) void counted(void)
{
    __asm__ volatile("nop");
}

void run(void)
{
    for (;;) {
        *counters[0] += 1;
        counted();
    }
}
