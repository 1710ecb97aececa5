/*
 * Version VERSION of a program that adds numbers. From FIRST_BAD on it leaves one out: always, or, if
 * FLAKY is set, depending on the time.
 */
volatile unsigned long sum;
__attribute__((aligned(16))) unsigned long stack[128];

__asm__(".global _start\n"
        "_start: ldr x0, =stack + 1024\n"
        "        mov sp, x0\n"
        "        b add\n");

__attribute__((noinline)) void right(void)
{
    for (;;)
        __asm__("wfi");
}

__attribute__((noinline)) void wrong(void)
{
    for (;;)
        __asm__("wfi");
}

void add(void)
{
    unsigned long now = 0, bad = VERSION >= FIRST_BAD;

    if (FLAKY)
        __asm__ volatile("isb\n mrs %0, cntvct_el0" : "=r"(now));
    for (unsigned long number = 1 + (bad && now % 3 < 2); number <= 10; number++)
        sum += number;
    if (sum == 55)
        right();
    else
        wrong();
}
