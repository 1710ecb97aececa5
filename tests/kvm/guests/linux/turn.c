/* A program of test_linux_modules.py: takes a turn each 10 ms, without an end. */

#include "calls.h"

enum { NANOSLEEP = 101 };

__attribute__((noinline)) long turn(long number)
{
	__asm__ volatile("");
	return number + 1;
}

__attribute__((noreturn)) void _start(void)
{
	uint64_t pause[2] = {0, 10000000};

	for (long number = 0;; number = turn(number))
		call(NANOSLEEP, (long)pause, 0, 0, 0);
}
