"""Conditions and commands on a target of one's own, from the packet to what is printed."""

from gdbstub import rsp
from gdbstub.aarch64.registers import PC
from gdbstub.capabilities import breakpoint_conditions
from tests.pure.able_target import AbleTarget
from tests.pure.agent import assemble, printf
from tests.pure.fake_target import BASE, HERE, FakeTarget
from tests.pure.transcript import Stage


def expression(*lines: str) -> str:
    """``X len,bytes`` of a packet."""
    code = b"".join(map(assemble, lines))
    return f"X{len(code):x},{code.hex()}"


def said(text: bytes) -> str:
    """``X len,bytes`` of what prints *text*."""
    code = assemble("const8 0") + assemble("const8 0") + printf(0, text) + assemble("end")
    return f"X{len(code):x},{code.hex()}"


def test_it_is_conditional_and_says_so() -> None:
    assert breakpoint_conditions(AbleTarget())
    assert breakpoint_conditions(FakeTarget()) is None
    assert b"ConditionalBreakpoints+" in Stage(AbleTarget()).send(b"qSupported:swbreak+")
    assert b"ConditionalBreakpoints" not in Stage().send(b"qSupported:swbreak+")


def test_registers_and_memory_decide() -> None:
    stage = Stage(AbleTarget())
    # *(int *) BASE == 0xd503201f && pc == BASE + 0x20
    holds = expression(
        *("reg 32", "const32 0x40000020", "equal", f"const32 {BASE:#x}", "ref32"),
        *("const32 0xd503201f", "equal", "bit_and", "end"),
    )
    never = expression("reg 1", "end")  # x1
    stage.play(
        f"""
        <- $Z0,40000010,4;{never}
        -> $OK
        <- $Z0,40000020,4;{holds}
        -> $OK
        <- $vCont;c:1
        -> $T05thread:1;
        <- $p20
        -> $2000004000000000
        <- $z0,40000020,4
        -> $OK
        <- $Z0,40000010,4
        -> $OK
        """
    )
    stage.target.values[1, PC] = BASE.to_bytes(8, "little")
    stage.play("<- $vCont;c:1\n-> $T05thread:1;\n<- $p20\n-> $1000004000000000")


def test_a_register_that_is_too_wide_or_not_there_leaves_it_to_the_client() -> None:
    for number in (34, 999):  # v0, none
        stage = Stage(AbleTarget())
        stage.send(f"Z0,40000010,4;{expression(f'reg {number}', 'end')}".encode())
        stage.forget()
        stage.play("<- $vCont;c:1\n-> $T05thread:1;\n<- $p20\n-> $1000004000000000")


def test_what_is_printed_comes_while_the_target_runs() -> None:
    target = AbleTarget()
    target.memory[0x100:0x104] = HERE.to_bytes(4, "little")
    stage = Stage(target)
    stage.send(f"Z0,40000010,4;cmds:0,{said(b'hi')}".encode())
    stage.forget()
    sent = stage.send(b"vCont;c:1")
    assert sent == rsp.encode(b"O6869")
    assert target.running
    stage.forget()
    stage.play("<- ^C\n-> $T02thread:1;")


def test_what_is_printed_before_a_stop_comes_before_it() -> None:
    stage = Stage(AbleTarget())
    stage.play(
        f"""
        <- $Z0,40000010,4;cmds:0,{said(b"hi")}
        -> $OK
        <- $Z0,40000020,4
        -> $OK
        <- $vCont;c:1
        -> $O6869
        -> $T05thread:1;
        """
    )


def test_commands_that_persist_outlast_their_client() -> None:
    target = AbleTarget()
    stage = Stage(target)
    for place, persist in ((0x10, 1), (0x20, 0)):
        stage.send(f"Z0,{BASE + place:x},4;cmds:{persist},{said(b'hi')}".encode())
    stage.send(b"D")
    assert {gva for _, gva, _ in target.inserted} == {BASE + 0x10}
