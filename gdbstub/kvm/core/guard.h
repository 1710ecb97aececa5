/* Errors of memory that a thread is prepared for: an access of its own, or of its guest. */
#ifndef GDBSTUB_GUARD_H
#define GDBSTUB_GUARD_H

#include <signal.h>

/* The handler may run on a thread that has used none of this: nothing may be allocated then. */
#define GUARD_TLS __attribute__((tls_model("initial-exec")))

extern __thread volatile sig_atomic_t guard_in_guest GUARD_TLS; /* the thread is in KVM_RUN */
extern __thread volatile sig_atomic_t guard_poisoned GUARD_TLS; /* its guest has met an error */

#endif
