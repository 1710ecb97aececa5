/* The guest of the benches: it goes round for ever, the MMU and the caches on, and exception
 * vectors in place, as in a kernel. */

typedef unsigned long u64;

#define CPUS 8

char stacks[CPUS][4096] __attribute__((aligned(16)));
volatile u64 wanted;             /* set by a client: the laps then go through lines() */
volatile u64 watched[8];         /* never touched */
volatile u64 laps[CPUS];

/* 4 KB granule, 39 bits, the first level: devices below 1 GB, RAM above it, both where they are. */
u64 table[512] __attribute__((aligned(4096))) = {
    0x00000000 | 1 << 10 | 0 << 2 | 1,           /* AF, attribute 0, block */
    0x40000000 | 1 << 10 | 3 << 8 | 1 << 2 | 1,  /* AF, inner shareable, attribute 1, block */
};

__asm__(".section .start, \"ax\"\n"
        ".global _start\n"
        "_start:\n"
        "    mov x0, #0\n"
        "secondary_start:\n" /* x0: number of this CPU, the context that CPU_ON gives */
        "    mov x29, xzr\n"
        "    mov x30, xzr\n"
        "    ldr x1, =stacks + 4096\n"
        "    add x1, x1, x0, lsl #12\n"
        "    mov sp, x1\n"
        "    mov x1, #0xff04\n" /* attribute 0 nGnRE, 1 write-back */
        "    msr mair_el1, x1\n"
        "    ldr x1, =0x100803519\n" /* T0SZ 25, write-back, inner shareable, EPD1, 36 bits */
        "    msr tcr_el1, x1\n"
        "    ldr x1, =table\n"
        "    msr ttbr0_el1, x1\n"
        "    ldr x1, =vectors\n"
        "    msr vbar_el1, x1\n"
        "    isb\n"
        "    mrs x1, sctlr_el1\n"
        "    mov x2, #0x1005\n" /* I, C, M */
        "    orr x1, x1, x2\n"
        "    msr sctlr_el1, x1\n"
        "    isb\n"
        "    cbnz x0, 1f\n"
        "    bl fill\n"
        "    bl start_others\n"
        "    mov x0, #0\n"
        "1:  bl rounds\n"
        ".previous\n");

/* Exception vectors, as a kernel has them. Nothing takes an exception. */
__asm__(".balign 2048\n"
        "vectors:\n"
        "    .rept 512\n"
        "    b .\n"
        "    .endr\n");

static u64 hvc(u64 function, u64 a, u64 b, u64 c)
{
    register u64 x0 __asm__("x0") = function;
    register u64 x1 __asm__("x1") = a;
    register u64 x2 __asm__("x2") = b;
    register u64 x3 __asm__("x3") = c;
    __asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
    return x0;
}

void start_others(void)
{
    extern char secondary_start[];
    for (u64 cpu = 1; cpu < CPUS; cpu++)
        hvc(0xc4000003, cpu, (u64)secondary_start, cpu); /* refused for those that are not */
}

/* What a client dumps: 16 MB of any bytes, for zeros are not what people have in memory. */
void fill(void)
{
    u64 *at = (u64 *)0x42000000, *end = at + (2 << 20);
    for (u64 n = 88172645463325252ul; at < end; *at++ = n) {
        n ^= n << 13;
        n ^= n >> 7;
        n ^= n << 17;
    }
}

/* A loop of 2,000 instructions for vCont;r, and 1,000 places for breakpoints that nobody meets. */
__asm__(".global range_start, range_end, places\n"
        "range_start:\n"
        "    mov x9, #1000\n"
        "1:  subs x9, x9, #1\n"
        "    b.ne 1b\n"
        "range_end:\n"
        "    b range_end\n"
        "places:\n"
        "    .rept 1000\n"
        "    nop\n"
        "    .endr\n");

__attribute__((noinline)) void place(u64 cpu, u64 lap)
{
    laps[cpu] = lap;
}

volatile u64 turns = 666;

__attribute__((noinline)) void lines(void)
{
    u64 n = 0;
    for (u64 i = turns; i; i--) __asm__ volatile("add %0, %0, #1" : "+r"(n)); /* 3 a turn */
    laps[0] = n;
}

void rounds(u64 cpu)
{
    for (u64 lap = 1;; lap++) {
        place(cpu, lap);
        if (wanted)
            lines();
    }
}
