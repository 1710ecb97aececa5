/* A user program that meets a breakpoint instruction of its own. */
	.global _start
_start:	brk	#1
	mov	x8, #93
	mov	x0, #0
	svc	#0
