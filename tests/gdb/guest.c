/* The guest of the gdb ring: something of everything that a person debugs.
 * Built by the tests at -O0; it runs with the MMU off and needs no device. */

typedef unsigned long u64;

struct point {
    int x, y;
    const char *name;
};

volatile u64 watched = 0x1111;
volatile u64 seen;
volatile u64 counter, last_count;
volatile u64 ticks, last_tick;
struct point where = {3, 4, "here"};
int numbers[4] = {10, 20, 30, 40};
char stacks[2][4096] __attribute__((aligned(16)));

__asm__(".section .start, \"ax\"\n"
        ".global _start\n"
        "_start:\n"
        "    mov x29, xzr\n"
        "    mov x30, xzr\n"
        "    ldr x0, =stacks + 4096\n"
        "    mov sp, x0\n"
        "    bl main\n"
        "    b .\n"
        "secondary_start:\n"
        "    mov x29, xzr\n"
        "    mov x30, xzr\n"
        "    ldr x0, =stacks + 8192\n"
        "    mov sp, x0\n"
        "    bl secondary\n"
        "    b .\n"
        ".previous\n");

static u64 hvc(u64 function, u64 a, u64 b, u64 c)
{
    register u64 x0 __asm__("x0") = function;
    register u64 x1 __asm__("x1") = a;
    register u64 x2 __asm__("x2") = b;
    register u64 x3 __asm__("x3") = c;
    __asm__ volatile("hvc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
}

int add(int a, int b)
{
    int sum = a + b;
    return sum;
}

int factorial(int n)
{
    if (n <= 1)
        return 1;
    return n * factorial(n - 1);
}

void touch(void)
{
    watched = 0x2222;
    seen = watched;
    watched = 0x3333;
}

void secondary(void)
{
    for (;;) {
        ticks++;
        last_tick = ticks;
    }
}

void spin(void)
{
    for (;;) {
        counter++;
        last_count = counter;
    }
}

void power_off(void)
{
    hvc(0x84000008, 0, 0, 0);
}

int main(void)
{
    extern char secondary_start[];
    int total = add(3, 4);
    total += factorial(5);
    where.x = total;
    touch();
    /* With one vCPU this is refused, which is well. */
    hvc(0xc4000003, 1, (u64)secondary_start, 0);
    spin();
    return total;
}
