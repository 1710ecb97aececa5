/* The floor under a false hit: the ioctls of a breakpoint whose condition is false, and no more.
 *
 *   false_hits COUNT
 *       nanoseconds of a hit: of a comparator, its instruction simulated; of a comparator, its
 *       instruction stepped over; of a BRK, taken out of RAM for the step
 *
 * The condition is of three registers, as those of a hit in a kernel are: pc and two others.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#define RAM 0x40000000ul
#define RAM_SIZE 0x200000ul
#define PLACE (RAM + 4) /* of the breakpoint: the store */
#define DATA (RAM + 0x1000)
#define BRK 0xd4200000u
#define CORE (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE)
enum { X1 = 2, X5 = 10, PC = 64, PSTATE = 66 };
#define ENABLED 0x1e7 /* DBGBCR: four bytes, EL0 and EL1, enabled */

static const unsigned code[] = {
    0x910004a5, /* add x5, x5, #1 */
    0xf9000025, /* str x5, [x1] */
    0x17fffffe, /* b to the first */
};

static int vcpu;
static struct kvm_run *run;
static unsigned char *ram;
static struct kvm_guest_debug comparator, step, brk;

static int check(int result, const char *what)
{
    if (result < 0) {
        perror(what);
        exit(1);
    }
    return result;
}

static unsigned long get(int word)
{
    unsigned long value = 0;
    struct kvm_one_reg one = {CORE | word, (unsigned long)&value};
    check(ioctl(vcpu, KVM_GET_ONE_REG, &one), "KVM_GET_ONE_REG");
    return value;
}

static void set(int word, unsigned long value)
{
    struct kvm_one_reg one = {CORE | word, (unsigned long)&value};
    check(ioctl(vcpu, KVM_SET_ONE_REG, &one), "KVM_SET_ONE_REG");
}

static void set_debug(struct kvm_guest_debug *debug)
{
    check(ioctl(vcpu, KVM_SET_GUEST_DEBUG, debug), "KVM_SET_GUEST_DEBUG");
}

static void run_guest(void)
{
    check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
    if (run->exit_reason != KVM_EXIT_DEBUG) {
        fprintf(stderr, "exit %u, not a debug exit\n", run->exit_reason);
        exit(1);
    }
}

static void write_word(unsigned word)
{
    unsigned char *at = ram + (PLACE - RAM);
    memcpy(at, &word, sizeof word);
    __builtin___clear_cache(at, at + sizeof word);
}

/* To the breakpoint, and the condition, which is false. */
static void hit(void)
{
    run_guest();
    if (get(PC) != PLACE || get(X5) + get(PSTATE) == 0) {
        fputs("not at the breakpoint\n", stderr);
        exit(1);
    }
}

static void comparator_simulated(void)
{
    hit();
    unsigned long value = get(X5);
    memcpy(ram + (DATA - RAM), &value, sizeof value);
    set(PC, PLACE + 4);
}

static void comparator_stepped_over(void)
{
    hit();
    set_debug(&step);
    run_guest();
    set_debug(&comparator);
}

static void brk_stepped_over(void)
{
    hit();
    write_word(code[1]);
    set_debug(&step);
    run_guest();
    write_word(BRK);
    set_debug(&brk);
}

static unsigned long long now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void measure(void (*false_hit)(void), int count)
{
    unsigned long long start = now();
    for (int i = 0; i < count; i++)
        false_hit();
    printf("%llu\n", (now() - start) / count);
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 0;
    if (count <= 0) {
        fputs("false_hits COUNT\n", stderr);
        return 2;
    }
    int kvm = check(open("/dev/kvm", O_RDWR), "/dev/kvm");
    int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
    ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(ram, code, sizeof code);
    struct kvm_userspace_memory_region region = {
        .guest_phys_addr = RAM, .memory_size = RAM_SIZE, .userspace_addr = (unsigned long)ram};
    check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");
    vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
    struct kvm_vcpu_init init;
    check(ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init), "KVM_ARM_PREFERRED_TARGET");
    check(ioctl(vcpu, KVM_ARM_VCPU_INIT, &init), "KVM_ARM_VCPU_INIT");
    int size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
    run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    set(PC, RAM);
    set(X1, DATA);

    comparator.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW;
    comparator.arch.dbg_bcr[0] = ENABLED;
    comparator.arch.dbg_bvr[0] = PLACE;
    step.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    brk.control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP;
    set_debug(&comparator);
    measure(comparator_simulated, count);
    measure(comparator_stepped_over, count);
    write_word(BRK);
    set_debug(&brk);
    measure(brk_stepped_over, count);
    return 0;
}
