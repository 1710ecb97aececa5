"""Each opcode of the agent's bytecode, and the checks before evaluation."""

import pytest

from gdbstub.agent import AgentProgram, Evaluation, operations
from gdbstub.errors import AgentError
from tests.pure.agent import StaticContext, assemble, printed, printf

TOP = (1 << 64) - 1
MIN = 1 << 63
CHANNEL = assemble("const8 0; const8 0")
END = assemble("end")
GUEST = StaticContext({0: 5, 0x203: 0x3C5}, {0x1000: bytes(range(0x81, 0x91))})


def value(text: str, guest: StaticContext = GUEST, variables: dict[int, int] | None = None) -> int:
    return AgentProgram.compile(assemble(text + "; end")).value(Evaluation(guest, variables))


@pytest.mark.parametrize(
    ("a", "b", "opcode", "result"),
    [
        (2, 3, "add", 5), (TOP, 2, "add", 1),
        (2, 3, "sub", TOP), (7, 3, "sub", 4),
        (MIN, 2, "mul", 0), (TOP, TOP, "mul", 1),
        (7, 2, "div_signed", 3), (TOP - 6, 2, "div_signed", TOP - 2),
        (7, TOP - 1, "div_signed", TOP - 2), (MIN, TOP, "div_signed", MIN),
        (TOP, 2, "div_unsigned", TOP >> 1),
        (7, 3, "rem_signed", 1), (TOP - 6, 3, "rem_signed", TOP), (7, TOP - 2, "rem_signed", 1),
        (MIN, TOP, "rem_signed", 0),
        (TOP, 10, "rem_unsigned", 5),
        (3, 63, "lsh", MIN), (3, 64, "lsh", 0), (3, TOP, "lsh", 0),
        (MIN, 63, "rsh_signed", TOP), (MIN, 64, "rsh_signed", TOP), (5, TOP, "rsh_signed", 0),
        (MIN, 63, "rsh_unsigned", 1), (MIN, 64, "rsh_unsigned", 0), (TOP, TOP, "rsh_unsigned", 0),
        (0b1100, 0b1010, "bit_and", 0b1000),
        (0b1100, 0b1010, "bit_or", 0b1110),
        (0b1100, 0b1010, "bit_xor", 0b0110),
        (4, 4, "equal", 1), (4, 5, "equal", 0),
        (TOP, 0, "less_signed", 1), (0, TOP, "less_signed", 0), (3, 3, "less_signed", 0),
        (MIN, MIN - 1, "less_signed", 1),
        (TOP, 0, "less_unsigned", 0), (0, TOP, "less_unsigned", 1), (3, 3, "less_unsigned", 0),
    ],
)  # fmt: skip
def test_two_values_become_one(a: int, b: int, opcode: str, result: int) -> None:
    assert value(f"const64 {a}; const64 {b}; {opcode}") == result


@pytest.mark.parametrize(
    ("a", "instruction", "result"),
    [
        (0, "log_not", 1), (TOP, "log_not", 0),
        (0, "bit_not", TOP), (0xF0, "bit_not", TOP - 0xF0),
        (0xFD, "ext 8", TOP - 2), (0x17D, "ext 8", 0x7D), (1, "ext 1", TOP),
        (MIN, "ext 64", MIN), (MIN, "ext 255", MIN), (1 << 62, "ext 63", 3 << 62),
        (TOP, "zero_ext 32", 0xFFFF_FFFF), (TOP, "zero_ext 64", TOP), (TOP, "zero_ext 0", 0),
        (TOP, "zero_ext 200", TOP),
        (0x1001, "ref8", 0x82), (0x1001, "ref16", 0x8382), (0x1001, "ref32", 0x8584_8382),
        (0x1003, "ref64", 0x8B8A_8988_8786_8584),
    ],
)  # fmt: skip
def test_one_value_becomes_another(a: int, instruction: str, result: int) -> None:
    assert value(f"const64 {a}; {instruction}") == result


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("const8 0xff", 0xFF),
        ("const16 0xff01", 0xFF01),
        ("const32 0xff010203", 0xFF01_0203),
        ("const64 0xff01020304050607", 0xFF01_0203_0405_0607),
        ("reg 0", 5),
        ("reg 0x203", 0x3C5),
        ("const8 1; const8 2; dup; add; sub", TOP - 2),
        ("const8 1; const8 2; pop", 1),
        ("const8 1; const8 2; swap; sub", 1),
        ("const8 1; const8 2; pick 0", 2),
        ("const8 1; const8 2; pick 1", 1),
        # a b c, then c a b: b is on top, a below it, c at the bottom.
        ("const8 1; const8 2; const8 3; rot", 2),
        ("const8 1; const8 2; const8 3; rot; pop", 1),
        ("const8 1; const8 2; const8 3; rot; pop; pop", 3),
        ("const8 7; if_goto 8; const8 1; end; const8 2", 2),
        ("const8 0; if_goto 8; const8 1; end; const8 2", 1),
        ("goto 6; const8 1; end; const8 2", 2),
    ],
)
def test_stack_and_flow(text: str, result: int) -> None:
    assert value(text) == result


def test_a_loop_that_ends_is_followed() -> None:
    # 10, and as long as it is not zero, one less; the end's value counts the rounds.
    body = "swap; const8 1; add; swap; const8 1; sub; dup"
    assert value(f"const8 0; const8 10; {body}; if_goto 4; pop") == 10


def test_a_trace_state_variable_outlives_the_evaluation() -> None:
    variables: dict[int, int] = {}
    assert value("const8 9; setv 258", variables=variables) == 9
    assert value("getv 258", variables=variables) == 9
    with pytest.raises(AgentError, match="variable 3 was never set"):
        value("getv 3", variables=variables)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("const8 1; const8 0; div_signed; end", "division by zero"),
        ("const8 1; const8 0; div_unsigned; end", "division by zero"),
        ("const8 1; const8 0; rem_signed; end", "division by zero"),
        ("const8 1; const8 0; rem_unsigned; end", "division by zero"),
        ("const8 8; ref8; end", "nothing at 0x8"),
        ("const16 0x100c; ref64; end", "cannot read 8 bytes at 0x100c"),
        ("const64 0xffffffffffffffff; ref64; end", "nothing at 0xffff"),
        ("reg 77; end", "no register 77"),
        ("end", "leaves no value"),
        ("const8 1; pop; end", "leaves no value"),
        ("goto 0", "more than 20000 steps"),
        ("const8 1; dup; if_goto 2", "more than 20000 steps"),
    ],
)
def test_an_evaluation_that_fails(text: str, complaint: str) -> None:
    code = assemble(text)
    if text.endswith("if_goto 2"):
        code += END
    with pytest.raises(AgentError, match=complaint):
        AgentProgram.compile(code).value(Evaluation(GUEST))


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        (b"", "no end: offset 0 is outside of 0 bytes"),
        (assemble("const8 1"), "no end: offset 2 is outside"),
        (assemble("const8 1; if_goto 99; const8 1; end"), "offset 99 is outside"),
        (b"\x24\0\0", "no end"),
        (b"\x26\0", "no end"),
        (b"\0", "0x00 at offset 0 is no opcode"),
        (b"\x31", "0x31 at offset 0 is no opcode"),
        (b"\x22\x01\xff", "0xff at offset 2 is no opcode"),
        (assemble("const8 1; trace_quick 4; end"), "trace_quick at offset 2 is not supported"),
        # What GDB makes of $v0[0] == 1.
        (assemble("const8 0; add; const8 1; equal; end"), "offset 2 takes 2 values from a stack"),
        (assemble("const8 1; pick 1; end"), "takes 2 values from a stack of 1"),
        (assemble("const8 1; const8 2; rot; end"), "takes 3 values"),
        (assemble("if_goto 0"), "takes 1 values from a stack of 0"),
        (assemble("const8 1; ext 0; end"), "0 bits"),
        (assemble("const8 1; goto 0"), "offset 0 is reached with"),
        (assemble("const8 1; " * 513 + "end"), "more than 512 values"),
        (assemble("const8 1; pop; " * 0x2000 + "end"), "is too long"),
        (CHANNEL + b"\x34\0\0\x01a\x27", "the format at offset 8 does"),
        (CHANNEL + b"\x34\0\0\x09a\0\x27", "does not end"),
        (CHANNEL + b"\x34\0\0\0\x27", "does not end"),
        (assemble("const8 0") + printf(0, b"") + END, "takes 2 values from a stack of 1"),
        (CHANNEL + printf(0, b"%d") + END, "takes 1 arguments, given 0"),
        (assemble("dup; " * 3) + printf(1, b"x") + END, "takes 1 values from a stack"),
        (assemble("const8 0") + CHANNEL + printf(1, b"%%"), "takes 0 arguments, given 1"),
        (CHANNEL + printf(0, b"x" * 0x800) + END, "2049 bytes is too long"),
    ],
)  # fmt: skip
def test_code_that_cannot_be_evaluated(code: bytes, complaint: str) -> None:
    with pytest.raises(AgentError, match=complaint):
        AgentProgram.compile(code)


@pytest.mark.parametrize(
    "name",
    ["float", "trace", "ref_float", "ref_double", "ref_long_double", "l_to_d", "d_to_l",
     "tracenz", "trace_quick 1", "tracev 1", "trace16 1"],
)  # fmt: skip
def test_tracing_and_floating_point_are_refused_by_name(name: str) -> None:
    with pytest.raises(AgentError, match=f"opcode {name.split()[0]} at offset 4 is not supported"):
        value(f"const8 1; const8 2; {name}")


def test_what_no_jump_reaches_is_not_looked_at() -> None:
    assert AgentProgram.compile(assemble("const8 4; end; float; pop")).value(Evaluation(GUEST)) == 4


def test_a_jump_may_lead_into_the_middle_of_another_instruction() -> None:
    # The operand of const64 is: const8 3; end.
    assert value("const8 1; if_goto 7; end; const64 0x2203270000000000") == 3


def test_an_evaluation_may_not_take_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(operations, "thread_time", lambda: next(clock))
    with pytest.raises(AgentError, match=r"takes more than 0\.1 s of the processor"):
        value("goto 0")


def test_straight_code_is_looked_at_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(100))
    monkeypatch.setattr(operations, "thread_time", lambda: next(clock))
    with pytest.raises(AgentError, match=r"takes more than 0\.1 s of the processor"):
        value("const8 1; pop; " * 300)


def test_an_expression_that_prints_without_end_is_cut_short() -> None:
    code = CHANNEL + printf(0, b"x" * 1000) + assemble("goto 0")
    with pytest.raises(AgentError, match="prints more than 65536 bytes"):
        printed(AgentProgram.compile(code), GUEST)


def test_printf_takes_the_first_argument_from_below_function_and_channel() -> None:
    code = (
        assemble("const8 2; const8 1; const8 0; const8 0")
        + printf(2, rb"first %d, second %d\n")
        + CHANNEL
        + printf(0, b"more")
        + END
    )
    assert printed(AgentProgram.compile(code), GUEST) == b"first 1, second 2\nmore"
