/* A bare-metal guest that hangs: two vCPUs take two locks, each in another order. */

typedef unsigned long u64;

struct lock {
    unsigned taken;
    int owner;
};

struct lock disk, queue;
volatile unsigned waited[2];
volatile int arrived;
char stacks[2][4096] __attribute__((aligned(16)));

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
        "    bl write_back\n"
        "    b .\n"
        ".previous\n");

static int try_lock(struct lock *lock)
{
    unsigned taken, failed;
    __asm__ volatile("ldaxr %w0, %2\n"
                     "stxr %w1, %w3, %2"
                     : "=&r"(taken), "=&r"(failed), "+Q"(lock->taken)
                     : "r"(1));
    return !taken && !failed;
}

void acquire(struct lock *lock, int cpu)
{
    while (!try_lock(lock))
        waited[cpu]++;
    lock->owner = cpu;
}

/* Both are here before either goes on. */
void meet(int count)
{
    __atomic_store_n(&arrived, count, __ATOMIC_RELEASE);
    while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) < 2)
        ;
}

void write_back(void)
{
    acquire(&queue, 1);
    while (arrived < 1)
        ;
    meet(2);
    acquire(&disk, 1);
}

void submit(void)
{
    acquire(&disk, 0);
    meet(1);
    acquire(&queue, 0);
}

int main(void)
{
    extern char secondary_start[];
    register u64 x0 __asm__("x0") = 0xc4000003; /* PSCI CPU_ON */
    register u64 x1 __asm__("x1") = 1;
    register u64 x2 __asm__("x2") = (u64)secondary_start;
    register u64 x3 __asm__("x3") = 0;
    __asm__ volatile("hvc #0" : "+r"(x0), "+r"(x1), "+r"(x2), "+r"(x3) : : "memory");
    submit();
    return 0;
}
