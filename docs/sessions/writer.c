/* A bare-metal guest with a bug: something clears ``limit``, and nothing in the code seems to. */

struct {
    unsigned samples[4];
    unsigned limit;
} sensor = {{0, 0, 0, 0}, 100};
char stack[4096] __attribute__((aligned(16)));

__asm__(".section .start, \"ax\"\n"
        ".global _start\n"
        "_start:\n"
        "    mov x29, xzr\n"
        "    mov x30, xzr\n"
        "    ldr x0, =stack + 4096\n"
        "    mov sp, x0\n"
        "    bl main\n"
        "    b .\n"
        ".previous\n");

void clear(unsigned *values, int count)
{
    for (int i = 0; i <= count; i++)
        values[i] = 0;
}

void measure(void)
{
    for (int i = 0; i < 4; i++)
        sensor.samples[i] += i;
}

int main(void)
{
    for (int round = 0;; round++) {
        measure();
        if (round == 3)
            clear(sensor.samples, 4);
    }
}
