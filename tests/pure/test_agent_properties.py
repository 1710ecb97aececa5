"""Any expression comes to what arithmetic says; any bytes come to a value or to AgentError."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.agent import AgentProgram, Evaluation
from gdbstub.errors import AgentError
from tests.pure.agent import PLAIN, WITH_OPERAND, StaticContext, assemble, printf

WRAP: Final = 1 << 64


@dataclass(frozen=True)
class Expression:
    """Bytecode without its end, and what it must come to: None where it divides by zero."""

    code: bytes
    value: int | None


def signed(value: int) -> int:
    return value - WRAP if value >= WRAP // 2 else value


def truncated(a: int, b: int) -> int:
    return int(Fraction(a, b))


MODEL: Final[dict[str, Callable[[int, int], int]]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div_signed": lambda a, b: truncated(signed(a), signed(b)),
    "div_unsigned": truncated,
    "rem_signed": lambda a, b: signed(a) - signed(b) * truncated(signed(a), signed(b)),
    "rem_unsigned": lambda a, b: a - b * truncated(a, b),
    "lsh": lambda a, b: a * 2 ** min(b, 64),
    "rsh_unsigned": lambda a, b: truncated(a, 2 ** min(b, 64)),
    "rsh_signed": lambda a, b: Fraction(signed(a), 2 ** min(b, 64)).__floor__(),
    "bit_and": lambda a, b: a & b,
    "bit_or": lambda a, b: a | b,
    "bit_xor": lambda a, b: a ^ b,
    "equal": lambda a, b: a == b,
    "less_signed": lambda a, b: signed(a) < signed(b),
    "less_unsigned": lambda a, b: a < b,
}

values = st.integers(0, WRAP - 1) | st.integers(0, 70) | st.integers(WRAP - 5, WRAP - 1)
GUEST: Final = StaticContext({n: (n * 0x1234_5678_9ABC_DEF1) % WRAP for n in range(31)})


def constant(value: int) -> Expression:
    size = next(size for size in (8, 16, 32, 64) if not value >> size)
    return Expression(assemble(f"const{size} {value}"), value)


def register(number: int) -> Expression:
    return Expression(assemble(f"reg {number}"), GUEST.registers[number])


def unary(inner: Expression, name: str, bits: int) -> Expression:
    value = inner.value
    instruction = name
    if name in ("ext", "zero_ext"):
        instruction += f" {bits}"
    if value is not None:
        low = value % 2 ** min(bits, 64)
        value = {
            "log_not": int(value == 0),
            "bit_not": WRAP - 1 - value,
            "zero_ext": low,
            "ext": (low - 2**bits if bits < 64 and low >= 2 ** (bits - 1) else low) % WRAP,
        }[name]
    return Expression(inner.code + assemble(instruction), value)


def binary(a: Expression, b: Expression, name: str, swapped: bool) -> Expression:
    code = b.code + a.code + assemble("swap") if swapped else a.code + b.code
    value = None
    if a.value is not None and b.value is not None and (b.value or name[:3] not in ("div", "rem")):
        value = int(MODEL[name](a.value, b.value)) % WRAP
    return Expression(code + assemble(name), value)


inner = st.deferred(lambda: expressions)
expressions: st.SearchStrategy[Expression] = st.one_of(
    st.builds(constant, values),
    st.builds(register, st.integers(0, 30)),
    st.builds(
        unary, inner, st.sampled_from(["log_not", "bit_not", "ext", "zero_ext"]), st.integers(1, 80)
    ),
    st.builds(binary, inner, inner, st.sampled_from(sorted(MODEL)), st.booleans()),
)


@given(expressions)
def test_arithmetic_is_what_the_model_says(expression: Expression) -> None:
    program = AgentProgram.compile(expression.code + assemble("end"))
    if expression.value is None:
        with pytest.raises(AgentError, match="division by zero"):
            program.value(Evaluation(GUEST))
    else:
        assert program.value(Evaluation(GUEST)) == expression.value


@given(values, values, values)
def test_a_branch_takes_the_right_way(condition: int, a: int, b: int) -> None:
    code = assemble(f"const64 {condition}; if_goto 24; const64 {a}; goto 33; const64 {b}; end")
    assert AgentProgram.compile(code).value(Evaluation(GUEST)) == (b if condition else a)


def evaluate(code: bytes) -> None:
    """Evaluate random code, which may only end in a value or an AgentError, and soon."""
    try:
        program = AgentProgram.compile(code)
    except AgentError:
        return
    guest = StaticContext({n: n for n in range(256)}, {n << 8: bytes(256) for n in range(256)})
    with suppress(AgentError):
        program.value(Evaluation(guest))


@given(st.binary(max_size=64))
def test_any_bytes(code: bytes) -> None:
    evaluate(code)


instructions = st.one_of(
    st.sampled_from(sorted(PLAIN)).map(assemble),
    st.builds(lambda name, n: assemble(f"{name} {n}"), st.sampled_from(sorted(WITH_OPERAND)),
              st.integers(0, 80)),
    st.builds(printf, st.integers(0, 2), st.sampled_from([b"", b"%d", b"%s %x"])),
    st.integers(0, 255).map(lambda n: assemble(f"const8 {n}")),
)  # fmt: skip


@given(st.lists(instructions, max_size=40).map(b"".join))
def test_any_instructions(code: bytes) -> None:
    evaluate(code)
    evaluate(assemble("const8 1; " * 6) + code + assemble("end"))
