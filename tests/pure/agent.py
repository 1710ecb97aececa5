"""Agent expressions for tests: an assembler of GDB's notation, and a guest made of two dicts."""

from collections.abc import Mapping
from typing import Final

from gdbstub.agent import AgentProgram, Evaluation, EvaluationContext
from gdbstub.errors import MemoryFault, NoSuchRegister

#: The opcodes without an operand, and those with one: its size in bytes (GDB manual, F.2).
PLAIN: Final = {
    "float": 0x01, "add": 0x02, "sub": 0x03, "mul": 0x04, "div_signed": 0x05,
    "div_unsigned": 0x06, "rem_signed": 0x07, "rem_unsigned": 0x08, "lsh": 0x09,
    "rsh_signed": 0x0A, "rsh_unsigned": 0x0B, "trace": 0x0C, "log_not": 0x0E, "bit_and": 0x0F,
    "bit_or": 0x10, "bit_xor": 0x11, "bit_not": 0x12, "equal": 0x13, "less_signed": 0x14,
    "less_unsigned": 0x15, "ref8": 0x17, "ref16": 0x18, "ref32": 0x19, "ref64": 0x1A,
    "ref_float": 0x1B, "ref_double": 0x1C, "ref_long_double": 0x1D, "l_to_d": 0x1E,
    "d_to_l": 0x1F, "end": 0x27, "dup": 0x28, "pop": 0x29, "swap": 0x2B, "tracenz": 0x2F,
    "rot": 0x33,
}  # fmt: skip
WITH_OPERAND: Final = {
    "trace_quick": (0x0D, 1), "ext": (0x16, 1), "if_goto": (0x20, 2), "goto": (0x21, 2),
    "const8": (0x22, 1), "const16": (0x23, 2), "const32": (0x24, 4), "const64": (0x25, 8),
    "reg": (0x26, 2), "zero_ext": (0x2A, 1), "getv": (0x2C, 2), "setv": (0x2D, 2),
    "tracev": (0x2E, 2), "trace16": (0x30, 2), "pick": (0x32, 1),
}  # fmt: skip


def assemble(text: str) -> bytes:
    """``reg 0; ext 64; const8 5; equal; end`` as bytes; an unknown word raises KeyError."""
    code = b""
    for instruction in filter(None, map(str.strip, text.split(";"))):
        name, _, operand = instruction.partition(" ")
        if operand:
            opcode, size = WITH_OPERAND[name]
            code += bytes([opcode]) + int(operand, 0).to_bytes(size, "big")
        else:
            code += bytes([PLAIN[name]])
    return code


def printf(count: int, text: bytes) -> bytes:
    """One ``printf``."""
    return bytes([0x34, count]) + (len(text) + 1).to_bytes(2, "big") + text + b"\0"


def printed(program: AgentProgram, context: EvaluationContext) -> bytes:
    """Return the bytes that *program* prints."""
    run = Evaluation(context)
    program.execute(run)
    return run.output


class StaticContext:
    """A ``EvaluationContext``: registers by number, and runs of memory by address."""

    def __init__(
        self, registers: Mapping[int, int] | None = None, memory: Mapping[int, bytes] | None = None
    ) -> None:
        self.registers = registers or {}
        self.runs = memory or {}

    def register(self, number: int) -> int:
        try:
            return self.registers[number]
        except KeyError:
            raise NoSuchRegister(f"no register {number}") from None

    def memory(self, gva: int, length: int) -> bytes:
        for start, data in self.runs.items():
            if start <= gva < start + len(data):
                return data[gva - start :][:length]
        raise MemoryFault(f"nothing at {gva:#x}")
