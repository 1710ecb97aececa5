/* The contents of a frame of GDB's protocol: escapes and checksum in one pass. */
#include "core.h"

#include <string.h>

#define ONES 0x0101010101010101ul
#define HIGH (ONES << 7)

/* Not 0 if a byte of the word is c. */
static uint64_t has(uint64_t word, uint8_t c)
{
    word ^= ONES * c;
    return (word - ONES) & ~word & HIGH;
}

/* Copy, with '#', '$', '*' and '}' escaped. Returns the number of bytes written, and their sum. */
size_t frame(uint8_t *to, const uint8_t *from, size_t length, uint8_t *checksum)
{
    const uint8_t *end = from + length, *start = to;
    uint64_t sum = 0;

    while (from < end) {
        size_t left = end - from;
        uint64_t word;
        if (left >= 8) {
            memcpy(&word, from, 8);
            if (!(has(word, '#') | has(word, '$') | has(word, '*') | has(word, '}'))) {
                memcpy(to, &word, 8);
                uint64_t pairs = (word & 0x00ff00ff00ff00ff) + (word >> 8 & 0x00ff00ff00ff00ff);
                sum += pairs * 0x0001000100010001 >> 48;
                from += 8, to += 8;
                continue;
            }
            left = 8;
        }
        for (; left; left--) {
            uint8_t c = *from++;
            if (c == '#' || c == '$' || c == '*' || c == '}') {
                *to++ = '}';
                sum += '}';
                c ^= 0x20;
            }
            *to++ = c;
            sum += c;
        }
    }
    *checksum = sum;
    return to - start;
}
