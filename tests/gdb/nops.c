/* What recorded sessions step through: lines of NOPs, which the fake target executes, and "b .". */

void _start(void)
{
    __asm__ volatile(".rept 16\n nop\n .endr");
    __asm__ volatile(".rept 16\n nop\n .endr");
    __asm__ volatile("nop");
    __asm__ volatile("b .");
    __builtin_unreachable();
}
