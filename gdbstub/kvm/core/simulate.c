/* Effects of instructions that touch no memory, as aarch64/simulation.py has them.
 *
 * Source: Arm ARM C6.2 "Alphabetical list of A64 base instructions". */
#include "core.h"

#define ZERO 31
#define NOT_SIMPLE (1ul << 4 | 1ul << 20 | 3ul << 10) /* PSTATE.nRW, IL, BTYPE */
#define IS(word, mask, value) (((word) & (mask)) == (value))

static int64_t signed_field(uint32_t word, unsigned low, unsigned bits)
{
    return (int64_t)((uint64_t)word << (64 - low - bits)) >> (64 - bits);
}

/* Arm ARM J1.3.3, ConditionHolds. */
static int holds(unsigned cond, uint64_t pstate)
{
    int n = pstate >> 31 & 1, z = pstate >> 30 & 1, c = pstate >> 29 & 1, v = pstate >> 28 & 1;
    int base[8] = {z, c, n, v, c && !z, n == v, n == v && !z, 1};
    return base[cond >> 1] != (cond & 1 && cond != 15);
}

/* A general register where 31 is the zero register, cut to the size that the word says. */
static int operand(uint32_t word, unsigned number, const struct guest *guest, uint64_t *value)
{
    *value = 0;
    if (number != ZERO && guest->read_register(guest->context, number, value))
        return 1;
    if (!(word >> 31))
        *value = (uint32_t)*value;
    return 0;
}

int simulate(uint32_t word, uint64_t pc, uint64_t pstate, const struct guest *guest,
             struct effect *effect)
{
    unsigned rd = word & 31, rn = word >> 5 & 31, rm = word >> 16 & 31;
    uint64_t value = 0, to = pc + 4;
    int target = rd == ZERO ? -1 : (int)rd;

    if (pstate & NOT_SIMPLE)
        return 1;
    if (word == 0xd503201f || IS(word, 0xffffff3f, 0xd503241f)) { /* NOP, BTI */
        target = -1;
    } else if (IS(word, 0xfc000000, 0x14000000)) { /* B */
        target = -1;
        to = pc + 4 * signed_field(word, 0, 26);
    } else if (IS(word, 0xff000010, 0x54000000)) { /* B.cond */
        target = -1;
        if (holds(word & 15, pstate))
            to = pc + 4 * signed_field(word, 5, 19);
    } else if (IS(word, 0x7e000000, 0x34000000)) { /* CBZ, CBNZ */
        target = -1;
        if (operand(word, rd, guest, &value))
            return 1;
        if (!value == !(word >> 24 & 1))
            to = pc + 4 * signed_field(word, 5, 19);
    } else if (IS(word, 0x7e000000, 0x36000000)) { /* TBZ, TBNZ */
        target = -1;
        if (operand(1u << 31, rd, guest, &value))
            return 1;
        if ((value >> ((word >> 31 << 5) | (word >> 19 & 31)) & 1) == (word >> 24 & 1))
            to = pc + 4 * signed_field(word, 5, 14);
    } else if (IS(word, 0x3f800000, 0x11000000)) { /* ADD, SUB: 31 is the stack pointer */
        uint64_t immediate = (uint64_t)(word >> 10 & 0xfff) << (word >> 22 & 1 ? 12 : 0);
        if (guest->read_register(guest->context, rn, &value))
            return 1;
        value = word >> 30 & 1 ? value - immediate : value + immediate;
        target = rd;
    } else if (IS(word, 0x7fe0ffe0, 0x2a0003e0)) { /* MOV of a register */
        if (operand(word, rm, guest, &value))
            return 1;
    } else if (IS(word, 0x1f800000, 0x12800000)) { /* MOVN, MOVZ, MOVK */
        unsigned opc = word >> 29 & 3, shift = 16 * (word >> 21 & 3);
        if (opc == 1 || (!(word >> 31) && shift > 16))
            return 1;
        if (opc == 3 && operand(word, rd, guest, &value))
            return 1;
        value = (value & ~(0xfffful << shift)) | (uint64_t)(word >> 5 & 0xffff) << shift;
        if (opc == 0)
            value = ~value;
    } else if (IS(word, 0x1f000000, 0x10000000)) { /* ADR, ADRP: always 64 bits */
        int64_t offset = signed_field(word, 5, 19) * 4 + (word >> 29 & 3);
        value = word >> 31 ? (pc & -4096ul) + offset * 4096 : pc + offset;
        word |= 1u << 31;
    } else {
        return 1;
    }
    if (to >> 55 != 0 && to >> 55 != 0x1ff) /* the top byte of such an address may be changed */
        return 1;
    *effect = (struct effect){to, word >> 31 ? value : (uint32_t)value, target};
    return 0;
}
