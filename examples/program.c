/* Something to debug:
 * aarch64-linux-gnu-gcc -g -O0 -nostdlib -static -ffreestanding -o program.elf program.c
 * x86_64-linux-gnu-gcc -g -O0 -nostdlib -static -ffreestanding -o program.elf program.c */

volatile int ready = 1, total;

static int square(int n)
{
    int result = n * n;
    return result;
}

static void add(int n)
{
    total += n;
}

void _start(void)
{
    while (!ready)
        ;
    for (int i = 1; i <= 4; i++)
        add(square(i));
#ifdef __x86_64__
    __asm__ volatile("syscall" : : "a"(60), "D"(total));
#else
    register long status __asm__("x0") = total;
    __asm__ volatile("svc #0" : : "r"(status));
#endif
}
