/* A user program without a C library: steps its child by ptrace, as a debugger in the guest does.
 * Its exit status is the number of steps that moved the child's PC by one instruction. */

#include "calls.h"

enum { TRACEME = 0, SINGLESTEP = 9, GETREGSET = 0x4204, PRSTATUS = 1 };
enum { SIGTRAP = 5, SIGCHLD = 17, SIGSTOP = 19, STEPS = 8 };

static uint64_t pc_of(long child)
{
	uint64_t registers[34];
	struct { void *base; uint64_t size; } all = { registers, sizeof registers };
	call(PTRACE, GETREGSET, child, PRSTATUS, (long)&all);
	return registers[32];
}

/* Stops itself, and goes on through instructions that lie in a row. */
__attribute__((noreturn)) static void be_stepped(void)
{
	call(PTRACE, TRACEME, 0, 0, 0);
	long self = call(GETPID, 0, 0, 0, 0);
	register long x8 __asm__("x8") = KILL;
	register long x0 __asm__("x0") = self;
	register long x1 __asm__("x1") = SIGSTOP;
	__asm__ volatile("svc #0\n .rept 32\n nop\n .endr" : "+r"(x0) : "r"(x8), "r"(x1) : "memory");
	leave(7);
}

__attribute__((noreturn)) void _start(void)
{
	int status = 0;
	long right = 0;
	long child = call(CLONE, SIGCHLD, 0, 0, 0);

	if (child == 0)
		be_stepped();
	call(WAIT4, child, (long)&status, 0, 0);
	for (int step = 0; step < STEPS; step++) {
		uint64_t before = pc_of(child);
		call(PTRACE, SINGLESTEP, child, 0, 0);
		call(WAIT4, child, (long)&status, 0, 0);
		if (status != (SIGTRAP << 8 | 0x7f))
			break; /* it has not stopped, but ended */
		right += pc_of(child) == before + 4;
	}
	leave(right);
}
