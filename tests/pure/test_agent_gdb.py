"""The exact bytes that GDB 13.1 sends for the guest of the gdb ring, and what they come to."""

import struct

import pytest

from gdbstub.agent import AgentProgram, Evaluation
from tests.pure.agent import StaticContext, assemble, printed

MEMORY = {
    0x4000_0000: bytes.fromhex("09000000"),
    0x4000_0240: struct.pack("<2iQ", 3, 4, 0x4000_0300),  # where
    0x4000_0250: struct.pack("<4i", 10, 20, 30, 40),  # numbers
    0x4000_0300: b"here\0",
}


def guest(**registers: int) -> StaticContext:
    return StaticContext({int(name[1:]): n for name, n in registers.items()}, MEMORY)


# $x0==5 && *(int*)0x40000000>3
POINTER = "260000164022051320000e210025244000000019162022032b142000202100252201210027220027"
# $x0 == 3 || (int)$x1 < -3
NEGATIVE = "260000164022031320001f2600011640162022fd16081420001f2200210021220127"
# where.x==3 && numbers[2] > 2
GLOBALS = (
    "244000024019162022031320001121003024400002502202220404022a4019162022022b1420002b2100302201"
    "210032220027"
)


@pytest.mark.parametrize(
    ("code", "registers", "result"),
    [
        (POINTER, {"x0": 5}, 1),
        (POINTER, {"x0": 6}, 0),
        (NEGATIVE, {"x0": 3, "x1": 0}, 1),
        (NEGATIVE, {"x0": 4, "x1": 0xFFFF_FFFC}, 1),
        (NEGATIVE, {"x0": 4, "x1": 0xFFFF_FFFD}, 0),
        (GLOBALS, {}, 1),
        # $VBAR_EL1 == 5
        ("2602222a4022051327", {"x546": 5}, 1),
        ("2602222a4022051327", {"x546": 6}, 0),
        ("260000164022031327", {"x0": 3}, 1),
        ("260000164022031327", {"x0": 2}, 0),
    ],
)
def test_conditions(code: str, registers: dict[str, int], result: int) -> None:
    assert AgentProgram.compile(bytes.fromhex(code)).value(Evaluation(guest(**registers))) == result


def test_the_assembler_of_these_tests_is_gdbs() -> None:
    """The text is that of ``maint agent-eval`` for the same expression."""
    text = """reg 0; ext 64; const8 5; equal; if_goto 14; goto 37; const32 1073741824; ref32;
        ext 32; const8 3; swap; less_signed; if_goto 32; goto 37; const8 1; goto 39; const8 0;
        end"""
    assert assemble(text) == bytes.fromhex(POINTER)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        # "a=%d b=%d %s\n",$x0,$x1,where.name
        ("24400002402208021a26000116402600001640220022003403000f613d256420623d25642025735c6e0027",
         b"a=7 b=-1 here\n"),
        # "a=%d\n",$x0
        ("26000016402200220034010007613d25645c6e0027", b"a=7\n"),
        # "b=%llx\t%%\n",$x1
        ("2600011640220022003401000d623d256c6c785c7425255c6e0027", b"b=ffffffffffffffff\t%\n"),
        # "hi\n"
        ("220022003400000568695c6e0027", b"hi\n"),
    ],
)  # fmt: skip
def test_dprintf(code: str, text: bytes) -> None:
    context = guest(x0=7, x1=(1 << 64) - 1)
    assert printed(AgentProgram.compile(bytes.fromhex(code)), context) == text
