/*
 * A guest with a race: two vCPUs add to one counter without a lock, and an update is lost at times.
 * docs/sweeps.md finds it.
 */
#ifndef PAUSE
#define PAUSE 100 /* the longer, the rarer the loss */
#endif
#ifndef ROUNDS
#define ROUNDS 400
#endif

/* PSCI, by HVC */
#define CPU_ON 0xc4000003ul
#define SYSTEM_OFF 0x84000008ul

volatile unsigned long counter, done;
__attribute__((aligned(16))) unsigned long stacks[2][512];

__asm__(".global _start\n"
        "_start: ldr x0, =stacks + 4096\n"
        "        mov sp, x0\n"
        "        b first\n"
        ".global second_entry\n"
        "second_entry: mov sp, x0\n"
        "        b second\n");
void second_entry(void);

static unsigned long psci(unsigned long function, unsigned long cpu, void (*entry)(void),
                          void *context)
{
    register unsigned long x0 __asm__("x0") = function;
    register unsigned long x1 __asm__("x1") = cpu;
    register void (*x2)(void) __asm__("x2") = entry;
    register void *x3 __asm__("x3") = context;

    __asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
    return x0;
}

static void add(void)
{
    for (int round = 0; round < ROUNDS; round++) {
        for (volatile int pause = 0; pause < PAUSE; pause++)
            ;
        unsigned long seen = counter; /* the race: from here */
        __asm__ volatile("b 1f\n1:" : "+r"(seen));
        counter = seen + 1; /* to here */
    }
}

void second(void)
{
    add();
    done = 1;
    for (;;)
        __asm__("wfi");
}

__attribute__((noinline)) void lost_update(void)
{
    psci(SYSTEM_OFF, 0, 0, 0);
}

__attribute__((noinline)) void all_there(void)
{
    psci(SYSTEM_OFF, 0, 0, 0);
}

void first(void)
{
    psci(CPU_ON, 1, second_entry, stacks[2]);
    add();
    while (!done)
        ;
    if (counter != 2 * ROUNDS)
        lost_update();
    else
        all_there();
}
