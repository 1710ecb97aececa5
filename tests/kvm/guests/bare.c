/* The bare-metal guest of the kvm ring: every vCPU goes round and round through one place for
 * each kind of breakpoint and watchpoint. Built by the tests at -O1; the MMU stays off. */

typedef unsigned long u64;

#define CPUS 8

volatile u64 written[CPUS], readable[CPUS], changed[CPUS];
char stacks[CPUS][4096] __attribute__((aligned(16)));

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
        "    cbnz x0, 1f\n"
        "    bl start_others\n"
        "    mov x0, #0\n"
        "1:  bl rounds\n"
        ".previous\n");

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

/* Where breakpoints go: x0 is the CPU. */
__asm__(".global software_place, hardware_place, write_place, read_place, access_place\n"
        "software_place:\n"
        "    nop\n"
        "    ret\n"
        "hardware_place:\n"
        "    nop\n"
        "    ret\n"
        "write_to:\n"
        "write_place:\n"
        "    str x2, [x1]\n"
        "    ret\n"
        "read_from:\n"
        "read_place:\n"
        "    ldr x0, [x1]\n"
        "    ret\n"
        "access_to:\n"
        "access_place:\n"
        "    str x2, [x1]\n"
        "    ret\n");
void software_place(u64 cpu);
void hardware_place(u64 cpu);
void write_to(u64 cpu, volatile u64 *place, u64 value);
u64 read_from(u64 cpu, volatile u64 *place);
void access_to(u64 cpu, volatile u64 *place, u64 value);

void rounds(u64 cpu)
{
    for (u64 n = 1;; n++) {
        software_place(cpu);
        hardware_place(cpu);
        write_to(cpu, &written[cpu], n);
        read_from(cpu, &readable[cpu]);
        access_to(cpu, &changed[cpu], n);
        if (n % 10000 == 0)
            *(volatile unsigned *)0x09000000 = '\n'; /* a sign of life on the console */
    }
}
