/* Says by how many microseconds each clock has moved over one system call, at which a debugger
 * may have halted the guest for any length of time. */

#include "calls.h"

enum { REALTIME, MONOTONIC, BOOTTIME = 7, COUNTER, CLOCKS };

static uint64_t micros(int clock)
{
	uint64_t time[2];

	if (clock == COUNTER) {
		uint64_t count, frequency;
		__asm__ volatile("isb\n mrs %0, cntvct_el0" : "=r"(count));
		__asm__("mrs %0, cntfrq_el0" : "=r"(frequency));
		return count / (frequency / 1000000);
	}
	call(CLOCK_GETTIME, clock, (long)time, 0, 0);
	return time[0] * 1000000 + time[1] / 1000;
}

__attribute__((noreturn)) void _start(void)
{
	uint64_t before[CLOCKS], after[CLOCKS];

	for (int clock = 0; clock < CLOCKS; clock++)
		before[clock] = micros(clock);
	call(SETHOSTNAME, (long)"halted", 6, 0, 0);
	for (int clock = 0; clock < CLOCKS; clock++)
		after[clock] = micros(clock);
	say("realtime", after[REALTIME] - before[REALTIME]);
	say("monotonic", after[MONOTONIC] - before[MONOTONIC]);
	say("boottime", after[BOOTTIME] - before[BOOTTIME]);
	say("counter", after[COUNTER] - before[COUNTER]);
	leave(0);
}
