/* A bare-metal guest: tests its own CRC-32, counts on every vCPU, and says how it went.
 * conftest.py compiles it, linked to RAM at 0x40000000. */

typedef unsigned int u32;
typedef unsigned long u64;

enum { VCPUS = 2, STACK = 4096, ROUNDS = 1000 };

static volatile u32 *const uart = (u32 *)0x09000000;
volatile u64 total, finished;
char stacks[VCPUS][STACK] __attribute__((aligned(16)));

__asm__(".section .start, \"ax\"\n"
        ".global _start, secondary_start\n"
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
        "    bl work\n"
        "    b .\n"
        ".previous\n");

/* PSCI: CPU_ON is 0xc4000003, SYSTEM_OFF 0x84000008. */
static u64 hvc(u64 function, u64 a, u64 b)
{
    register u64 x0 __asm__("x0") = function;
    register u64 x1 __asm__("x1") = a;
    register u64 x2 __asm__("x2") = b;
    register u64 x3 __asm__("x3") = 0;
    __asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
    return x0;
}

static void print(const char *text)
{
    while (*text)
        *uart = *text++;
}

static void print_hex(u32 value)
{
    for (int shift = 28; shift >= 0; shift -= 4)
        *uart = "0123456789abcdef"[value >> shift & 15];
}

u32 crc32(const char *data, u32 length)
{
    u32 crc = ~0u;
    for (u32 i = 0; i < length; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

/* Every vCPU adds to one total; the loads and stores are exclusive ones. */
void work(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        u64 value;
        u32 failed;
        do
            __asm__ volatile("ldxr %0, %2\n"
                             "add %0, %0, #1\n"
                             "stxr %w1, %0, %2"
                             : "=&r"(value), "=&r"(failed), "+Q"(total));
        while (failed);
    }
    finished++;
}

void stop(const char *why)
{
    print("self-test: ");
    print(why);
    print("\n");
    for (;;)
        ;
}

int main(void)
{
    extern char secondary_start[];
    u32 crc = crc32("123456789", 9);

    print("crc32: 0x");
    print_hex(crc);
    print("\n");
    if (crc != 0xcbf43926) /* the check value of CRC-32 */
        stop("failed");
    if (hvc(0xc4000003, 1, (u64)secondary_start) != 0) {
        print("one vCPU\n");
        finished++;
    }
    while (finished != 1)
        ; /* until the other vCPU is through */
    work();
    print("self-test: passed\n");
    hvc(0x84000008, 0, 0);
    return 0;
}
