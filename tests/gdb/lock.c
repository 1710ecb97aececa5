/* A word that changes by a load-exclusive and its store, as on CPUs without FEAT_LSE. */
unsigned lock;

__attribute__((section(".start"))) void _start(void)
{
    for (;;)
        __asm__ volatile("1: ldxr w1, [%0]\n"
                         "add w1, w1, #1\n"
                         "stxr w2, w1, [%0]\n"
                         "cbnz w2, 1b" ::"r"(&lock) : "w1", "w2", "memory");
}
