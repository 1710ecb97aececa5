/* The declarations of ptrace(2) and its structures that ptrace.py uses; `make generate` makes
 * cdef.py of them. Every system call is made by its number: glibc lacks a function for some. */

struct iovec { uintptr_t base; size_t length; };
struct user_pt_regs { uint64_t regs[31], sp, pc, pstate; };
struct user_fpsimd_state { uint8_t vregs[512]; uint32_t fpsr, fpcr, reserved[2]; };
struct ptrace_syscall_info {
    uint8_t op, pad[3];
    uint32_t arch;
    uint64_t instruction_pointer, stack_pointer;
    union {
        struct { uint64_t nr, args[6]; } entry;
        struct { int64_t rval; uint8_t is_error; } exit;
    };
};
long syscall(long number, long a, long b, long c, long d, long e, long f);
