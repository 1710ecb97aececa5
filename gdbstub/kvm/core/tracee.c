/* A system call that a stopped thread of another process makes for the thread that traces it.
 *
 * It is two stops, and what the call points to is copied there and back: all in one call from
 * Python, which takes longer than each of them. Source: ptrace(2), process_vm_readv(2). */
#define _GNU_SOURCE
#include "core.h"

#include <elf.h>
#include <errno.h>
#include <linux/ptrace.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYSCALL_STOP (SIGTRAP | 0x80) /* with PTRACE_O_TRACESYSGOOD */

/* By its number: the C library's headers have no structure of a stop before glibc 2.31. */
static int ptrace(long request, int tid, long address, void *data)
{
    return syscall(SYS_ptrace, request, tid, address, data) < 0 ? errno : 0;
}

/* Resume to the next stop, and wait for that: 0 with its status, or an error number. */
static int next_stop(int tid, int *status)
{
    int error = ptrace(PTRACE_SYSCALL, tid, 0, NULL);

    while (!error && waitpid(tid, status, __WALL | __WNOTHREAD) < 0)
        error = errno == EINTR ? 0 : errno;
    return error;
}

typedef ssize_t transfer(pid_t, const struct iovec *, unsigned long, const struct iovec *,
                         unsigned long, unsigned long);

/* Copy there, or back: 0 if that is all, or an error number. */
static int copy(const struct tracee *tracee, transfer *how)
{
    struct iovec here = {tracee->data, tracee->length};
    struct iovec there = {(void *)(uintptr_t)tracee->address, tracee->length};
    ssize_t count = tracee->length ? how(tracee->tid, &here, 1, &there, 1, 0) : 0;

    return count < 0 ? errno : (size_t)count == tracee->length ? 0 : EFAULT;
}

int tracee_call(struct tracee *tracee)
{
    struct iovec registers = {tracee->registers, tracee->size};
    struct ptrace_syscall_info info;
    int error = copy(tracee, process_vm_writev);

    if (!error)
        error = ptrace(PTRACE_SETREGSET, tracee->tid, NT_PRSTATUS, &registers);
    for (int exit = 0; exit < 2; exit++) {
        if (error || (error = next_stop(tracee->tid, &tracee->status)))
            return error;
        if (!WIFSTOPPED(tracee->status) || tracee->status >> 8 != SYSCALL_STOP)
            return exit ? TRACEE_WITHIN : TRACEE_BEFORE;
        if ((error = ptrace(PTRACE_GET_SYSCALL_INFO, tracee->tid, sizeof info, &info)))
            return error;
        if (info.op != (exit ? PTRACE_SYSCALL_INFO_EXIT : PTRACE_SYSCALL_INFO_ENTRY))
            return TRACEE_OTHER;
    }
    tracee->result = info.exit.rval;
    return copy(tracee, process_vm_readv);
}
