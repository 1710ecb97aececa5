/* KVM_RUN, the registers that its caller needs next, and hits of breakpoints that are passed over.
 *
 * A hit is passed over where all is plain: its condition is false and has a value, the code is as
 * it was when the hit was described, and the instruction is simulated, or stepped with no exit but
 * the step's. All else is the caller's, as if nothing had been tried. A signal ends KVM_RUN, also
 * the next one if it comes between two (kvm_run.immediate_exit), so nothing here waits for long. */
#include "core.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "guard.h"

#define CORE(member) \
    (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(member))
#define PC CORE(regs.pc)
#define PSTATE CORE(regs.pstate)
#define SP_EL0 CORE(regs.sp)
#define SP_EL1 CORE(sp_el1)
#define SPSR_EL1 CORE(spsr[KVM_SPSR_EL1])
#define X(n) (CORE(regs.regs[0]) + 2 * (n))
#define SCTLR_EL1 ARM64_SYS_REG(3, 0, 1, 0, 0)
#define TTBR0_EL1 ARM64_SYS_REG(3, 0, 2, 0, 0)
#define TTBR1_EL1 ARM64_SYS_REG(3, 0, 2, 0, 1)
#define TCR_EL1 ARM64_SYS_REG(3, 0, 2, 0, 2)
#define MDSCR_EL1 ARM64_SYS_REG(2, 0, 0, 2, 2)

#define PSTATE_SP 1ul
#define PSTATE_NRW (1ul << 4)
#define PSTATE_IL (1ul << 20)
#define PSTATE_SS (1ul << 21)
#define MDSCR_SS 1ul
#define SCTLR_M 1ul
#define CACHED 0x1005ul /* SCTLR_EL1: M, C and I */
#define EC_BREAKPOINT 0x30
#define EC_STEP 0x32
#define EC_BRK 0x3c
#define OUR_BRK 0xd421b720u /* BRK #0xdb9 */
#define OUR_COMMENT 0xdb9
#define VECTOR_KIND 0x180ul /* of an address in the vectors, which are aligned to 0x800 */
#define SYNCHRONOUS 0
#define ANYWHERE (~0ul)
#define PAGE 4096ul /* the smallest granule */

enum outcome { THE_CALLERS = -1, PASSED_OVER = 0 }; /* or an error number */

/* What is read of a vCPU at one hit. */
struct at_hit {
    struct vcpu *vcpu;
    struct regime regime;
    int has_regime, has_ttbr[2];
};

static int get(struct vcpu *vcpu, uint64_t id, uint64_t *value)
{
    struct kvm_one_reg reg = {id, (uintptr_t)value};

    *value = 0;
    vcpu->counts->gets++;
    return ioctl(vcpu->fd, KVM_GET_ONE_REG, &reg) < 0;
}

/* EINTR and EAGAIN are KVM_RUN's: its caller goes on. */
static int failure(void)
{
    return errno == EINTR || errno == EAGAIN ? EIO : errno;
}

static int set(struct vcpu *vcpu, uint64_t id, uint64_t value)
{
    struct kvm_one_reg reg = {id, (uintptr_t)&value};

    vcpu->counts->sets++;
    return ioctl(vcpu->fd, KVM_SET_ONE_REG, &reg) < 0 ? failure() : 0;
}

static int debug(struct vcpu *vcpu, struct kvm_guest_debug *how)
{
    vcpu->counts->debugs++;
    return ioctl(vcpu->fd, KVM_SET_GUEST_DEBUG, how) < 0 ? failure() : 0;
}

/* Enter the guest: 0, or an error number; EHWPOISON where it has met a memory error. */
static int enter(struct vcpu *vcpu)
{
    vcpu->counts->runs++;
    guard_poisoned = 0;
    guard_in_guest = 1;
    int failed = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;
    guard_in_guest = 0;
    return failed == EINTR && guard_poisoned ? EHWPOISON : failed;
}

static uint64_t stack_pointer(struct vcpu *vcpu)
{
    return vcpu->pstate & PSTATE_SP ? SP_EL1 : SP_EL0;
}

static void read_registers(struct vcpu *vcpu)
{
    vcpu->known = 0;
    if (get(vcpu, PC, &vcpu->pc) || get(vcpu, PSTATE, &vcpu->pstate))
        return;
    vcpu->known = 2;
    if (vcpu->stops && !(vcpu->pstate & PSTATE_NRW) && !get(vcpu, X(29), &vcpu->x29) &&
        !get(vcpu, X(30), &vcpu->x30) && !get(vcpu, stack_pointer(vcpu), &vcpu->sp))
        vcpu->known = 5;
}

/* A register by GDB's number. */
static int read_register(void *context, unsigned number, uint64_t *value)
{
    struct vcpu *vcpu = ((struct at_hit *)context)->vcpu;

    switch (number) {
    case 31: return get(vcpu, stack_pointer(vcpu), value);
    case 32: *value = vcpu->pc; return 0;
    case 33: *value = (uint32_t)vcpu->pstate; return 0;
    }
    return number > 33 || get(vcpu, X(number), value);
}

static int locate(struct at_hit *at, uint64_t gva, uint64_t *ipa)
{
    struct regime *regime = &at->regime;
    struct vcpu *vcpu = at->vcpu;

    if (!at->has_regime) {
        if (get(vcpu, SCTLR_EL1, &regime->sctlr) || get(vcpu, TCR_EL1, &regime->tcr))
            return 1;
        regime->uncached = !vcpu->alone || (regime->sctlr & CACHED) != CACHED;
        at->has_regime = 1;
    }
    int upper = gva >> 55 & 1;
    if (regime->sctlr & SCTLR_M && !at->has_ttbr[upper]) {
        if (get(vcpu, upper ? TTBR1_EL1 : TTBR0_EL1, &regime->ttbr[upper]))
            return 1;
        at->has_ttbr[upper] = 1;
    }
    return translate(vcpu->ram, regime, gva, ipa);
}

/* Read guest memory within a page. Where one of our BRKs is, the caller knows what it hides. */
static int read_memory(void *context, uint64_t gva, unsigned size, uint64_t *value)
{
    struct at_hit *at = context;
    uint64_t ipa, offset = gva & 3;
    uint32_t words[3];
    size_t length = (offset + size + 3) & ~3ul;

    if ((gva & (PAGE - 1)) + size > PAGE || locate(at, gva, &ipa) ||
        ram_read(at->vcpu->ram, at->regime.uncached, ipa - offset, words, length))
        return 1;
    for (size_t i = 0; i < length / 4; i++)
        if (words[i] == OUR_BRK)
            return 1;
    *value = 0;
    memcpy(value, (uint8_t *)words + offset, size);
    return 0;
}

static struct hit *find(struct vcpu *vcpu, int is_brk)
{
    for (uint32_t i = 0; i < vcpu->hit_count; i++)
        if (vcpu->hits[i].gva == vcpu->pc && !vcpu->hits[i].is_brk == !is_brk)
            return vcpu->hits + i;
    return NULL;
}

/* The code about the breakpoint is what it was. */
static int is_same_code(struct at_hit *at, const struct hit *hit)
{
    uint8_t now[PAGE];

    for (uint32_t size, done = 0; done < hit->code_size; done += size) {
        uint64_t ipa, gva = hit->code_gva + done;
        size = PAGE - (gva & (PAGE - 1));
        if (size > hit->code_size - done)
            size = hit->code_size - done;
        if (locate(at, gva, &ipa) ||
            ram_read(at->vcpu->ram, at->regime.uncached, ipa, now, size) ||
            memcmp(now, hit->code + done, size))
            return 0;
    }
    return 1;
}

static int is_false(const struct guest *guest, const struct hit *hit)
{
    uint64_t value;

    for (uint32_t i = 0; i < hit->condition_count; i++)
        if (agent_evaluate(hit->conditions[i], guest, &value) || value)
            return 0;
    return 1;
}

/* Write a word of code; no other vCPU executes. */
static int patch(struct at_hit *at, uint64_t ipa, uint32_t word)
{
    uint8_t *hva = at->vcpu->ram->hva + (ipa - at->vcpu->ram->base);

    if (memory_write(hva, &word, 4) || (at->regime.uncached && memory_clean(hva, 4)))
        return 1;
    memory_fetch(hva, 4);
    return 0;
}

static void put_back(struct at_hit *at, uint64_t ipa, const struct hit *hit)
{
    uint32_t now;

    if (!ram_read(at->vcpu->ram, at->regime.uncached, ipa, &now, 4) && now == hit->word)
        patch(at, ipa, OUR_BRK); /* else the instruction has written over itself */
}

/* An exception came before the instruction, or of it. The guest goes on with that, but it saved
 * the step's own state, which would step the guest on its return. */
static int take_exception(struct vcpu *vcpu, struct hit *hit)
{
    uint64_t spsr, mdscr;

    hit->taken = (vcpu->pc & VECTOR_KIND) != SYNCHRONOUS;
    hit->count += !hit->taken; /* else the hit is still to come */

    if (get(vcpu, SPSR_EL1, &spsr) || get(vcpu, MDSCR_EL1, &mdscr))
        return EIO;
    return spsr & PSTATE_SS && !(mdscr & MDSCR_SS) ? set(vcpu, SPSR_EL1, spsr & ~PSTATE_SS) : 0;
}

/* Execute the instruction without its breakpoint. */
static int step(struct at_hit *at, struct hit *hit, uint64_t ipa)
{
    struct vcpu *vcpu = at->vcpu;
    struct kvm_guest_debug off = {0};
    struct kvm_run *run = vcpu->run;
    uint32_t syndrome = run->debug.arch.hsr;
    uint64_t pc = vcpu->pc;
    int error, failed;

    if (hit->is_brk && (!vcpu->alone || patch(at, ipa, hit->word)))
        return THE_CALLERS;
    if (!(failed = debug(vcpu, hit->step)))
        failed = enter(vcpu);
    if (hit->is_brk)
        put_back(at, ipa, hit);
    int stepped = !failed && run->exit_reason == KVM_EXIT_DEBUG &&
                  run->debug.arch.hsr >> 26 == EC_STEP;
    /* Only this makes newer kernels forget a step that has not been reported. */
    if (!stepped && (error = debug(vcpu, &off)))
        return error;
    if ((error = debug(vcpu, vcpu->armed)) || get(vcpu, PC, &vcpu->pc))
        return error ? error : EIO;
    vcpu->counts->passed++;
    if (vcpu->pc == hit->next)
        hit->count++;
    else if (vcpu->pc != pc && (error = take_exception(vcpu, hit)))
        return error;
    if (failed) /* by a signal, for one */
        return failed;
    if (run->exit_reason != KVM_EXIT_DEBUG) { /* KVM completes the access in the next run */
        hit->count++;
        return THE_CALLERS;
    }
    if (stepped && vcpu->pc != pc)
        return 0;
    if (vcpu->pc == pc)
        run->debug.arch.hsr = syndrome; /* nothing was executed: the hit is the caller's */
    else
        read_registers(vcpu); /* another exit, elsewhere */
    return THE_CALLERS;
}

static int pass_over(struct vcpu *vcpu)
{
    struct at_hit at = {.vcpu = vcpu};
    struct guest guest = {read_register, read_memory, &at};
    uint32_t syndrome = vcpu->run->debug.arch.hsr, ec = syndrome >> 26;
    struct effect effect;
    struct hit *hit;
    uint64_t ipa;
    int error;

    if (ec != EC_BREAKPOINT && (ec != EC_BRK || (syndrome & 0xffff) != OUR_COMMENT))
        return THE_CALLERS;
    if (!vcpu->known || vcpu->pstate & (PSTATE_NRW | PSTATE_IL))
        return THE_CALLERS;
    if (!(hit = find(vcpu, ec == EC_BRK)))
        return THE_CALLERS;
    if (hit->taken) { /* the caller masks interrupts, so that the guest gets on */
        hit->taken = 0;
        return THE_CALLERS;
    }
    if (locate(&at, vcpu->pc, &ipa) || (hit->ipa != ANYWHERE && ipa != hit->ipa))
        return THE_CALLERS;
    if (!is_same_code(&at, hit) || !is_false(&guest, hit))
        return THE_CALLERS;
    if (simulate(hit->word, vcpu->pc, vcpu->pstate, &guest, &effect))
        return hit->next ? step(&at, hit, ipa) : THE_CALLERS;
    int target = effect.register_number;
    if ((error = set(vcpu, PC, effect.pc)))
        return error;
    if (target >= 0 &&
        (error = set(vcpu, target == 31 ? stack_pointer(vcpu) : X(target), effect.value))) {
        set(vcpu, PC, vcpu->pc); /* so that the instruction is executed once */
        return error;
    }
    hit->count++;
    return 0;
}

static int run_to_exit(struct vcpu *vcpu)
{
    for (;;) {
        int error = enter(vcpu);
        if (error || vcpu->run->exit_reason != KVM_EXIT_DEBUG)
            return error;
        read_registers(vcpu);
        if (!vcpu->hit_count)
            return 0;
        error = pass_over(vcpu);
        if (error == THE_CALLERS)
            return 0;
        if (error)
            return error;
        vcpu->counts->passed++;
    }
}

int vcpu_run(struct vcpu *vcpu)
{
    int error = run_to_exit(vcpu);

    if (error)
        vcpu->known = 0;
    if (error == EINTR && vcpu->alone) /* else another vCPU may reset this one yet (PSCI) */
        read_registers(vcpu);
    return error;
}
