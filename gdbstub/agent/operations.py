"""Table of opcodes: the encoding of each, its effect on the stack, and the function that has it.

It follows no jump and checks no depth: ``program`` does both before it calls an operation.
Source: GDB manual, F.2 "Bytecode Descriptions".
"""

import operator
from collections.abc import Callable, MutableMapping
from time import thread_time
from typing import Final, NamedTuple, Protocol

from gdbstub.errors import AgentError

WIDTH: Final = 64
MASK: Final = (1 << WIDTH) - 1
_SIGN: Final = 1 << WIDTH - 1

_SECONDS: Final = 0.1
_MOST_OUTPUT: Final = 1 << 16


class EvaluationContext(Protocol):
    """Registers and memory of one thread, which is at rest at its breakpoint."""

    def register(self, number: int) -> int:
        """Return the value of a register, by its number in the target description.

        Raises:
            NoSuchRegister: there is none of that number, or it is wider than 64 bits.
        """
        ...

    def memory(self, gva: int, length: int) -> bytes:
        """Read memory as the thread sees it now; the result is short if the tail is unmapped.

        Raises:
            MemoryFault: the first byte cannot be read.
        """
        ...


class Evaluation:
    """State that the evaluations of one hit share: context, variables, output, and time limit."""

    # Class attributes until they change: at most hits neither does.
    output = b""
    _deadline = 0.0

    def __init__(
        self, context: EvaluationContext, variables: MutableMapping[int, int] | None = None
    ) -> None:
        """Begin one; without *variables* it has trace state variables of its own."""
        self.context = context
        #: Trace state variables by number.
        self.variables = {} if variables is None else variables

    def check(self) -> None:
        """Enforce the limits on output and on this thread's processor time, from the first call on.

        Raises:
            AgentError: one of the limits is exceeded.
        """
        now = thread_time()
        if not self._deadline:
            self._deadline = now + _SECONDS
        elif now > self._deadline:
            raise AgentError(f"what is evaluated takes more than {_SECONDS:g} s of the processor")
        if len(self.output) > _MOST_OUTPUT:
            raise AgentError(f"what is evaluated prints more than {_MOST_OUTPUT} bytes")

    def read(self, gva: int, length: int) -> bytes:
        """Read exactly *length* bytes.

        Raises:
            AgentError: fewer can be read.
            MemoryFault: the first byte cannot be read.
        """
        data = self.context.memory(gva, length)
        if len(data) != length:
            raise AgentError(f"cannot read {length} bytes at {gva:#x}")
        return data


#: A function on the stack, made of an opcode and its operand.
Operation = Callable[[list[int], Evaluation], None]


class Opcode(NamedTuple):
    """One opcode: its name, the size of its operand in bytes, the values that it pops and pushes.

    ``make`` returns the operation for an operand, or None where that would change nothing.
    """

    name: str
    operand: int
    pops: int
    pushes: int
    make: Callable[[int], Operation | None]


def signed(value: int, bits: int = WIDTH) -> int:
    """Return the low *bits* of *value* as a two's complement number."""
    sign = 1 << bits - 1
    return ((value & (sign << 1) - 1) ^ sign) - sign


def _div_signed(a: int, b: int) -> int:
    """Return C's quotient, rounded towards zero."""
    a, b = signed(a), signed(b)
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _rem_signed(a: int, b: int) -> int:
    """Return C's remainder, which has the sign of *a*."""
    a, b = signed(a), signed(b)
    remainder = abs(a) % abs(b)
    return -remainder if a < 0 else remainder


# C leaves a shift by the whole width or more undefined; here all bits fall out, as in GDB 14.
def _lsh(a: int, b: int) -> int:
    return a << b if b < WIDTH else 0


def _rsh_signed(a: int, b: int) -> int:
    return signed(a) >> min(b, WIDTH)


def _rsh_unsigned(a: int, b: int) -> int:
    return a >> min(b, WIDTH)


def _less_signed(a: int, b: int) -> bool:
    return a ^ _SIGN < b ^ _SIGN


def _binary(compute: Callable[[int, int], int]) -> Callable[[int], Operation]:
    """Make an opcode that replaces the two topmost values a b by *compute* of them; b is on top."""

    def operation(stack: list[int], evaluation: Evaluation) -> None:
        b = stack.pop()
        stack[-1] = compute(stack[-1], b) & MASK

    return lambda _: operation


def _fixed(operation: Operation) -> Callable[[int], Operation]:
    """Make an opcode without an operand."""
    return lambda _: operation


def _log_not(stack: list[int], evaluation: Evaluation) -> None:
    stack[-1] = int(not stack[-1])


def _bit_not(stack: list[int], evaluation: Evaluation) -> None:
    stack[-1] ^= MASK


def _dup(stack: list[int], evaluation: Evaluation) -> None:
    stack.append(stack[-1])


def _pop(stack: list[int], evaluation: Evaluation) -> None:
    stack.pop()


def _swap(stack: list[int], evaluation: Evaluation) -> None:
    stack[-1], stack[-2] = stack[-2], stack[-1]


def _rot(stack: list[int], evaluation: Evaluation) -> None:
    stack[-3:] = stack[-1], stack[-3], stack[-2]


def _ext(bits: int) -> Operation | None:
    if not bits:
        raise AgentError("nothing can be sign-extended from 0 bits")
    if bits >= WIDTH:
        return None
    sign = 1 << bits - 1
    low = (sign << 1) - 1

    def operation(stack: list[int], evaluation: Evaluation) -> None:
        stack[-1] = ((stack[-1] & low ^ sign) - sign) & MASK

    return operation


def _zero_ext(bits: int) -> Operation | None:
    if bits >= WIDTH:
        return None
    low = (1 << bits) - 1

    def operation(stack: list[int], evaluation: Evaluation) -> None:
        stack[-1] &= low

    return operation


def _ref(size: int) -> Callable[[int], Operation]:
    def operation(stack: list[int], evaluation: Evaluation) -> None:
        stack[-1] = int.from_bytes(evaluation.read(stack[-1], size), "little")

    return lambda _: operation


def _const(value: int) -> Operation:
    def operation(stack: list[int], evaluation: Evaluation) -> None:
        stack.append(value)

    return operation


def _reg(number: int) -> Operation:
    def operation(stack: list[int], evaluation: Evaluation) -> None:
        stack.append(evaluation.context.register(number))

    return operation


def _pick(depth: int) -> Operation:
    def operation(stack: list[int], evaluation: Evaluation) -> None:
        stack.append(stack[~depth])

    return operation


def _getv(number: int) -> Operation:
    def operation(stack: list[int], evaluation: Evaluation) -> None:
        try:
            stack.append(evaluation.variables[number])
        except KeyError:
            raise AgentError(f"trace state variable {number} was never set") from None

    return operation


def _setv(number: int) -> Operation:
    def operation(stack: list[int], evaluation: Evaluation) -> None:
        evaluation.variables[number] = stack[-1]

    return operation


#: Opcodes that compute. ``pick`` needs one value more than its operand says.
ROWS: Final = {
    0x02: Opcode("add", 0, 2, 1, _binary(operator.add)),
    0x03: Opcode("sub", 0, 2, 1, _binary(operator.sub)),
    0x04: Opcode("mul", 0, 2, 1, _binary(operator.mul)),
    0x05: Opcode("div_signed", 0, 2, 1, _binary(_div_signed)),
    0x06: Opcode("div_unsigned", 0, 2, 1, _binary(operator.floordiv)),
    0x07: Opcode("rem_signed", 0, 2, 1, _binary(_rem_signed)),
    0x08: Opcode("rem_unsigned", 0, 2, 1, _binary(operator.mod)),
    0x09: Opcode("lsh", 0, 2, 1, _binary(_lsh)),
    0x0A: Opcode("rsh_signed", 0, 2, 1, _binary(_rsh_signed)),
    0x0B: Opcode("rsh_unsigned", 0, 2, 1, _binary(_rsh_unsigned)),
    0x0E: Opcode("log_not", 0, 1, 1, _fixed(_log_not)),
    0x0F: Opcode("bit_and", 0, 2, 1, _binary(operator.and_)),
    0x10: Opcode("bit_or", 0, 2, 1, _binary(operator.or_)),
    0x11: Opcode("bit_xor", 0, 2, 1, _binary(operator.xor)),
    0x12: Opcode("bit_not", 0, 1, 1, _fixed(_bit_not)),
    0x13: Opcode("equal", 0, 2, 1, _binary(operator.eq)),
    0x14: Opcode("less_signed", 0, 2, 1, _binary(_less_signed)),
    0x15: Opcode("less_unsigned", 0, 2, 1, _binary(operator.lt)),
    0x16: Opcode("ext", 1, 1, 1, _ext),
    0x17: Opcode("ref8", 0, 1, 1, _ref(1)),
    0x18: Opcode("ref16", 0, 1, 1, _ref(2)),
    0x19: Opcode("ref32", 0, 1, 1, _ref(4)),
    0x1A: Opcode("ref64", 0, 1, 1, _ref(8)),
    0x22: Opcode("const8", 1, 0, 1, _const),
    0x23: Opcode("const16", 2, 0, 1, _const),
    0x24: Opcode("const32", 4, 0, 1, _const),
    0x25: Opcode("const64", 8, 0, 1, _const),
    0x26: Opcode("reg", 2, 0, 1, _reg),
    0x28: Opcode("dup", 0, 1, 2, _fixed(_dup)),
    0x29: Opcode("pop", 0, 1, 0, _fixed(_pop)),
    0x2A: Opcode("zero_ext", 1, 1, 1, _zero_ext),
    0x2B: Opcode("swap", 0, 2, 2, _fixed(_swap)),
    0x2C: Opcode("getv", 2, 0, 1, _getv),
    0x2D: Opcode("setv", 2, 1, 1, _setv),
    0x32: Opcode("pick", 1, 1, 2, _pick),
    0x33: Opcode("rot", 0, 3, 3, _fixed(_rot)),
}

PICK: Final = 0x32

# Opcodes that jump or end, and the one whose operand has no fixed size.
IF_GOTO: Final = 0x20
GOTO: Final = 0x21
END: Final = 0x27
PRINTF: Final = 0x34

#: Opcodes that are not supported, by name: there is no trace buffer, and GDB has never generated
#: the floating-point ones.
REFUSED: Final = {
    0x01: "float", 0x0C: "trace", 0x0D: "trace_quick", 0x1B: "ref_float", 0x1C: "ref_double",
    0x1D: "ref_long_double", 0x1E: "l_to_d", 0x1F: "d_to_l", 0x2E: "tracev", 0x2F: "tracenz",
    0x30: "trace16",
}  # fmt: skip
