/* Accesses to guest RAM that survive a memory error of the host, and cache maintenance. */
#define _GNU_SOURCE
#include "core.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include "guard.h"

static __thread sigjmp_buf *volatile escape GUARD_TLS; /* from an access that meets an error */
__thread volatile sig_atomic_t guard_in_guest GUARD_TLS;
__thread volatile sig_atomic_t guard_poisoned GUARD_TLS;

/* An error that nobody has met yet (BUS_MCEERR_AO) may wait until somebody does. One that an access
 * of ours has met ends that access, and one that the guest has met ends KVM_RUN, which has failed
 * with EINTR. All else is as deadly as ever. Source: linux/mm/memory-failure.c. */
static void on_sigbus(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (info->si_code == BUS_MCEERR_AO)
        return;
    if (escape && info->si_code > 0)
        siglongjmp(*escape, 1);
    if (guard_in_guest && info->si_code == BUS_MCEERR_AR) {
        guard_poisoned = 1;
        return;
    }
    signal(number, SIG_DFL);
    raise(number);
}

int memory_survive(void)
{
    /* The signal is not blocked in its handler: that may end by a jump, which restores no mask. */
    struct sigaction action = {.sa_sigaction = on_sigbus,
                               .sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER};
    return sigaction(SIGBUS, &action, NULL) ? errno : 0;
}

struct access {
    uint8_t *to;
    const uint8_t *from;
    size_t length;
    int differs;
};

static int guarded(void (*access)(struct access *), struct access *what)
{
    sigjmp_buf here;
    int failed = sigsetjmp(here, 0);

    if (!failed) {
        escape = &here;
        atomic_signal_fence(memory_order_seq_cst);
        access(what);
        atomic_signal_fence(memory_order_seq_cst);
    }
    escape = NULL;
    return failed;
}

/* The compiler may neither join the accesses nor make a call of memcpy of them. No word is ever
 * half-written where to and length are multiples of 4 (Arm ARM B2.2.1). A C library's copy promises
 * nothing, and may be one by SVE, of which QEMU's TCG does not see that it writes code. */
static void write_words(struct access *what)
{
    volatile uint8_t *to = what->to;
    const uint8_t *from = what->from;
    size_t length = what->length;

    if (!((uintptr_t)to & 3))
        for (; length >= 4; length -= 4, to += 4, from += 4) {
            uint32_t word;
            memcpy(&word, from, 4);
            *(volatile uint32_t *)to = word;
        }
    for (; length; length--)
        *to++ = *from++;
}

static void read_bytes(struct access *what)
{
    memcpy(what->to, what->from, what->length);
}

static void compare_words(struct access *what)
{
    const uint64_t *pair = (const uint64_t *)what->from;

    for (size_t left = what->length; left && !what->differs; left--, pair += 2)
        what->differs = *(const volatile uint64_t *)(uintptr_t)pair[0] != pair[1];
}

static void clean_lines(struct access *what)
{
#ifdef __aarch64__
    uint64_t ctr;
    __asm__("mrs %0, ctr_el0" : "=r"(ctr));
    uintptr_t line = 4ul << (ctr >> 16 & 0xf); /* DminLine */
    uintptr_t at = (uintptr_t)what->from & -line, end = (uintptr_t)what->from + what->length;
    for (; at < end; at += line)
        __asm__ volatile("dc civac, %0" : : "r"(at) : "memory");
    __asm__ volatile("dsb sy" : : : "memory");
#else
    (void)what;
#endif
}

int memory_write(void *to, const void *from, size_t length)
{
    return guarded(write_words, &(struct access){to, from, length, 0});
}

int memory_read(void *to, const void *from, size_t length)
{
    return guarded(read_bytes, &(struct access){to, from, length, 0});
}

/* 0 if each address holds the word beside it. */
int memory_same(const uint64_t *pairs, size_t count)
{
    struct access what = {NULL, (const uint8_t *)pairs, count, 0};
    return guarded(compare_words, &what) || what.differs;
}

/* Clean and invalidate the lines of a range to the point of coherency. */
int memory_clean(const void *start, size_t length)
{
    return guarded(clean_lines, &(struct access){NULL, start, length, 0});
}

/* Make what was written to a range the code that is fetched from it. */
void memory_fetch(void *start, size_t length)
{
    __builtin___clear_cache(start, (char *)start + length);
}

/* KVM has no id for it, and guests read it from the CPU as EL0 does. DZP on other machines. */
uint64_t memory_dczid(void)
{
    uint64_t dczid = 1 << 4;
#ifdef __aarch64__
    __asm__("mrs %0, dczid_el0" : "=r"(dczid));
#endif
    return dczid;
}
