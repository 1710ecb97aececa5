/* A guest that reaches for devices that are not there, then switches off. */

typedef unsigned long u64;

volatile u64 result = 0x55;
char stack[4096] __attribute__((aligned(16)));

__asm__(".section .start, \"ax\"\n"
        ".global _start\n"
        "_start:\n"
        "    ldr x1, =stack + 4096\n"
        "    mov sp, x1\n"
        "    bl main\n"
        "    b .\n"
        ".previous\n");

void done(void)
{
    __asm__ volatile("nop");
}

void main(void)
{
    volatile u64 *nothing = (volatile u64 *)0x0a000000;
    for (int n = 0; n < 3; n++) {
        nothing[0] = 0x1234;
        result = nothing[0];
    }
    result += nothing[512];
    done();
    register u64 x0 __asm__("x0") = 0x84000008; /* PSCI SYSTEM_OFF */
    __asm__ volatile("hvc #0" : "+r"(x0));
}
