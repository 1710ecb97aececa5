/* Debugs its child by the CPU's own debug registers, as a debugger in the guest does: a hardware
 * breakpoint and a watchpoint by ptrace. Says how often each hit, and how often what
 * was written was refused or read back otherwise. */

#include "calls.h"

enum { TRACEME = 0, CONT = 7, GETREGSET = 0x4204, SETREGSET = 0x4205, GETSIGINFO = 0x4202 };
enum { PRSTATUS = 1, HW_BREAK = 0x402, HW_WATCH = 0x403 };
enum { SIGTRAP = 5, SIGCHLD = 17, SIGSTOP = 19, TRAP_HWBKPT = 4 };

/* DBGBCR and DBGWCR: enabled, for EL0; 4 bytes of an instruction, stores to 8 bytes. */
enum { BREAK = 0x1e5, WATCH = 1 | 2 << 1 | 2 << 3 | 0xff << 5 };

struct debug_state {
	uint32_t info, pad;
	struct { uint64_t address; uint32_t control, pad; } registers[16];
};

volatile uint64_t watched;
__attribute__((noinline)) void place(void)
{
	__asm__ volatile("nop");
}

static long regset(int request, long child, int set, void *base, uint64_t size)
{
	struct { void *base; uint64_t size; } all = { base, size };
	return call(PTRACE, request, child, set, (long)&all);
}

static long arm(long child, int set, uint64_t address, uint32_t control)
{
	static struct debug_state state; /* no memset without a C library */
	state.registers[0].address = address;
	state.registers[0].control = control;
	return regset(SETREGSET, child, set, &state, 8 + sizeof state.registers[0]);
}

static int armed(long child, int set, uint64_t address, uint32_t control)
{
	static struct debug_state state;
	regset(GETREGSET, child, set, &state, sizeof state);
	return state.registers[0].address == address && state.registers[0].control == control;
}

static uint64_t pc_of(long child)
{
	uint64_t registers[34];
	regset(GETREGSET, child, PRSTATUS, registers, sizeof registers);
	return registers[32];
}

static int code_of(long child)
{
	int info[32];
	call(PTRACE, GETSIGINFO, child, 0, (long)info);
	return info[2];
}

__attribute__((noreturn)) static void be_debugged(void)
{
	call(PTRACE, TRACEME, 0, 0, 0);
	call(KILL, call(GETPID, 0, 0, 0, 0), SIGSTOP, 0, 0);
	/* A debugger outside looks on here, with the registers loaded. */
	call(SETHOSTNAME, (long)"debugged", 8, 0, 0);
	for (int round = 0; round < 3; round++) {
		place();
		watched = round + 1;
	}
	leave(watched);
}

__attribute__((noreturn)) void _start(void)
{
	int status = 0;
	uint64_t breaks = 0, watches = 0, others = 0, wrong = 0;
	uint64_t code = (uint64_t)place, data = (uint64_t)&watched;
	long child = call(CLONE, SIGCHLD, 0, 0, 0);

	if (child == 0)
		be_debugged();
	call(WAIT4, child, (long)&status, 0, 0);
	wrong += arm(child, HW_BREAK, code, BREAK) != 0;
	wrong += arm(child, HW_WATCH, data, WATCH) != 0;
	say("place", code);
	say("data", data);
	for (;;) {
		wrong += !armed(child, HW_BREAK, code, breaks ? BREAK & ~1 : BREAK);
		wrong += !armed(child, HW_WATCH, data, watches ? WATCH & ~1 : WATCH);
		call(PTRACE, CONT, child, 0, 0);
		call(WAIT4, child, (long)&status, 0, 0);
		if (status != (SIGTRAP << 8 | 0x7f))
			break;
		if (code_of(child) != TRAP_HWBKPT)
			others++;
		else if (pc_of(child) == code) {
			/* Over the instruction without it, as a debugger goes. */
			breaks++;
			arm(child, HW_BREAK, code, BREAK & ~1);
		} else {
			watches++;
			arm(child, HW_WATCH, data, WATCH & ~1);
		}
	}
	say("wrong", wrong);
	say("breakpoint", breaks);
	say("watchpoint", watches);
	say("other traps", others);
	say("child", status >> 8);
	leave(0);
}
