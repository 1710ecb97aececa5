"""LLDB with the stub's information on the guest's program."""

from tests.gdb.build import BuiltGuest
from tests.gdb.moved import OFFSET, moved_machine, program
from tests.gdb.stub import Stub
from tests.lldb.conftest import Client


def test_symbols_go_where_the_kernel_is(guest: BuiltGuest) -> None:
    with Stub(moved_machine(guest), program(guest)) as stub:
        said = Client(stub, guest)("breakpoint set --name touch", "continue", "bt")
    assert "stop reason = breakpoint 1.1" in said
    assert "touch at guest.c:62" in said
    assert "main at guest.c:94" in said


def test_monitor_kaslr_says_what_to_paste(guest: BuiltGuest) -> None:
    paste = f"target modules load --file guest.elf --slide {OFFSET:#x}"
    with Stub(moved_machine(guest, vectors_are_set=False), program(guest)) as stub:
        said = Client(stub, guest)(
            "register write VBAR_EL1 0x40030000", "process plugin packet monitor kaslr", paste,
            "breakpoint set --name touch", "continue",
        )  # fmt: skip
    assert f"\n  {paste}\n" in said
    assert "touch at guest.c:62" in said
