/* Evaluation of GDB's agent expressions, as gdbstub/agent does it.
 *
 * The code was compiled by AgentProgram before: its opcodes, jumps and depths are right. What has
 * an effect besides its value is left to that, and so is whatever has no value.
 * Source: GDB manual, F.2 "Bytecode Descriptions". */
#include "core.h"

#define DEEPEST 512
/* AgentProgram counts up to two steps for each of these, and allows 20,000. */
#define MOST_STEPS 10000

static uint64_t operand(const uint8_t *at, unsigned size)
{
    uint64_t value = 0;
    while (size--)
        value = value << 8 | *at++;
    return value;
}

static uint64_t sign_extend(uint64_t value, unsigned bits)
{
    uint64_t sign = 1ul << (bits - 1);
    return ((value & ((sign << 1) - 1)) ^ sign) - sign;
}

/* The result of a binary operation; 0 if there is one. */
static int binary(uint8_t opcode, uint64_t a, uint64_t b, uint64_t *result)
{
    int64_t sa = a, sb = b;

    switch (opcode) {
    case 0x02: *result = a + b; return 0;
    case 0x03: *result = a - b; return 0;
    case 0x04: *result = a * b; return 0;
    case 0x05: /* -2^63 / -1 overflows, to itself */
        if (b)
            *result = sb == -1 ? 0 - a : (uint64_t)(sa / sb);
        return !b;
    case 0x06:
        if (b)
            *result = a / b;
        return !b;
    case 0x07:
        if (b)
            *result = sb == -1 ? 0 : sa % sb;
        return !b;
    case 0x08:
        if (b)
            *result = a % b;
        return !b;
    case 0x09: *result = b < 64 ? a << b : 0; return 0;
    case 0x0a: *result = sa >> (b < 64 ? b : 63); return 0;
    case 0x0b: *result = b < 64 ? a >> b : 0; return 0;
    case 0x0f: *result = a & b; return 0;
    case 0x10: *result = a | b; return 0;
    case 0x11: *result = a ^ b; return 0;
    case 0x13: *result = a == b; return 0;
    case 0x14: *result = sa < sb; return 0;
    case 0x15: *result = a < b; return 0;
    }
    return 1;
}

int agent_evaluate(const uint8_t *code, const struct guest *guest, uint64_t *value)
{
    uint64_t stack[DEEPEST], kept;
    unsigned depth = 0, size;
    const uint8_t *at = code;

    for (unsigned steps = 0; steps < MOST_STEPS; steps++) {
        uint64_t *top = stack + depth - 1;
        uint8_t opcode = *at++;
        switch (opcode) {
        case 0x0e: *top = !*top; break;
        case 0x12: *top = ~*top; break;
        case 0x16: /* ext */
            if (*at < 64)
                *top = sign_extend(*top, *at);
            at++;
            break;
        case 0x17: case 0x18: case 0x19: case 0x1a: /* ref8 to ref64 */
            if (guest->read_memory(guest->context, *top, 1u << (opcode - 0x17), top))
                return 1;
            break;
        case 0x20: /* if_goto */
            depth--;
            at = *top ? code + operand(at, 2) : at + 2;
            break;
        case 0x21: at = code + operand(at, 2); break;
        case 0x22: case 0x23: case 0x24: case 0x25: /* const8 to const64 */
            size = 1u << (opcode - 0x22);
            stack[depth++] = operand(at, size);
            at += size;
            break;
        case 0x26: /* reg */
            if (guest->read_register(guest->context, operand(at, 2), stack + depth++))
                return 1;
            at += 2;
            break;
        case 0x27: /* end */
            if (!depth)
                return 1;
            *value = *top;
            return 0;
        case 0x28: stack[depth++] = *top; break;
        case 0x29: depth--; break;
        case 0x2a: /* zero_ext */
            if (*at < 64)
                *top &= (1ul << *at) - 1;
            at++;
            break;
        case 0x2b: kept = *top; *top = top[-1]; top[-1] = kept; break;
        case 0x32: stack[depth++] = top[-(int)*at++]; break;
        case 0x33: kept = top[-2]; top[-2] = *top; *top = top[-1]; top[-1] = kept; break;
        default: /* variables and printf are nothing that binary knows */
            if (depth < 2 || binary(opcode, top[-1], *top, top - 1))
                return 1;
            depth--;
        }
    }
    return 1;
}
