"""The note for users of a GDB that cannot undo pointer authentication."""

import pytest

from gdbstub import rsp
from gdbstub.cli.serving.old_gdb import NOTE, OldGdb, signs
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.session import Session
from tests.fakes.machine import fake_machine

GDB_13 = b"qSupported:multiprocess+;swbreak+;hwbreak+;qRelocInsn+;vContSupported+;memory-tagging+"
GDB_16 = GDB_13 + b";error-message+"
LLDB = b"qSupported:xmlRegisters=i386,arm,mips,arc;multiprocess+;fork-events+;vfork-events+"


@pytest.mark.parametrize(
    ("clients", "times"), [([GDB_13, GDB_13], 1), ([GDB_16], 0), ([LLDB], 0), ([LLDB, GDB_13], 1)]
)
def test_it_is_printed_once(
    clients: list[bytes], times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = fake_machine(bytes.fromhex("00000014"))
    debugger = monitored_debugger(machine)
    debugger.observers.append(OldGdb())
    for packet in clients:
        session = Session(debugger)
        assert b"PacketSize=" in session.receive(rsp.encode(packet))
        session.close()
    machine.close()
    assert capsys.readouterr().err == f"gdbstub: {NOTE}\n" * times


def test_kernels_that_sign_nothing() -> None:
    assert signs(True, "console=ttyAMA0 quiet")
    assert signs(True, None)
    assert not signs(True, "quiet arm64.nopauth")
    assert not signs(False, "quiet")
