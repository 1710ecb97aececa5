/* The native core: accesses to guest RAM, KVM_RUN, breakpoints whose condition is false, and calls in
 * another VMM.
 *
 * The compiler reads this file, and so does cffi (`make generate`). Nothing here knows Python. All
 * but vcpu.c is plain C for any machine with Linux. */
#ifndef GDBSTUB_CORE_H
#define GDBSTUB_CORE_H

#include <stddef.h>
#include <stdint.h>

/* memory.c: memory of this process that may have a hardware error. 0, or 1 at such an error. */

int memory_survive(void); /* handle SIGBUS from now on: 0, or an error number */
int memory_write(void *to, const void *from, size_t length);
int memory_read(void *to, const void *from, size_t length);
int memory_clean(const void *start, size_t length);
int memory_same(const uint64_t *pairs, size_t count);
void memory_fetch(void *start, size_t length);
uint64_t memory_dczid(void); /* DCZID_EL0 */

/* frame.c */

size_t frame(uint8_t *to, const uint8_t *from, size_t length, uint8_t *checksum);

/* agent.c: GDB's agent expressions. Functions return 0 if they know the answer. */

struct guest {
    int (*read_register)(void *context, unsigned number, uint64_t *value);
    int (*read_memory)(void *context, uint64_t gva, unsigned size, uint64_t *value);
    void *context;
};
int agent_evaluate(const uint8_t *code, const struct guest *guest, uint64_t *value);

/* translate.c: stage 1 of the EL1&0 regime. 0 if it knows the answer. */

struct ram {
    uint64_t base, size;
    uint8_t *hva;
};
struct regime {
    uint64_t sctlr, tcr, ttbr[2];
    int uncached; /* the guest may access RAM past the caches */
};
int ram_read(const struct ram *ram, int uncached, uint64_t ipa, void *to, size_t length);
int translate(const struct ram *ram, const struct regime *regime, uint64_t gva, uint64_t *ipa);

/* simulate.c: effects of instructions that touch no memory. 0 if it knows the effect. */

struct effect {
    uint64_t pc, value;
    int register_number; /* 31: the stack pointer; -1: none */
};
int simulate(uint32_t word, uint64_t pc, uint64_t pstate, const struct guest *guest,
             struct effect *effect);

/* tracee.c: a system call of a thread that this one traces, and that is stopped. 0, an error number,
 * or what came instead. */

enum {
    TRACEE_BEFORE = -1, /* another stop, before the entry of the call */
    TRACEE_WITHIN = -2, /* another stop, between entry and exit */
    TRACEE_OTHER = -3   /* another call */
};
struct tracee {
    int tid;
    int status;         /* of the last stop, by waitpid */
    uint64_t *registers; /* struct user_pt_regs, which lead to the call at once */
    size_t size;
    uint64_t address;   /* what is copied there before and back after it, in the thread's memory */
    void *data;
    size_t length;
    int64_t result;
};
int tracee_call(struct tracee *tracee);

/* vcpu.c: a vCPU of this process, on its own thread. */

struct hit { /* a breakpoint whose false hits are passed over */
    uint64_t gva;
    uint64_t ipa;        /* where it must be physically; all ones: anywhere */
    uint32_t is_brk;     /* 0: a comparator */
    uint32_t word;       /* the instruction there */
    uint64_t next;       /* where a step of it ends; 0: it is simulated or left to the caller */
    struct kvm_guest_debug *step; /* to step without the breakpoint */
    uint64_t code_gva;   /* code that must be as it was, as RAM has it */
    uint32_t code_size;
    const uint8_t *code;
    uint32_t condition_count;
    const uint8_t **conditions;
    uint32_t taken;      /* an interrupt came in place of the last step */
    uint64_t count;      /* hits passed over */
};
struct counts { /* of ioctls that were made here, and of debug exits that no caller sees */
    uint64_t runs, gets, sets, debugs, passed;
};
struct vcpu {
    int fd;
    int alone;           /* no other vCPU executes */
    struct kvm_run *run;
    const struct ram *ram;
    struct kvm_guest_debug *armed; /* what KVM has now */
    struct hit *hits;
    uint32_t hit_count;  /* 0: every debug exit is for the caller */
    uint32_t stops;      /* read x29, x30 and sp as well: a stop reply has them */
    uint32_t known;      /* registers read after the exit: 0, 2 (pc, pstate), or all 5 */
    uint64_t pc, pstate, x29, x30, sp;
    struct counts *counts;
};
int vcpu_run(struct vcpu *vcpu); /* 0 with run->exit_reason, or an error number */

#endif
