"""The list of modules over the fake machine, which has no Linux, and what users are told of it."""

from typing import Any

import pytest

from gdbstub import rsp
from gdbstub.linux.kaslr import GuestProgram
from gdbstub.linux.module_files import ModuleFiles
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.session import Session
from tests.fakes.machine import fake_machine

SPIN = bytes.fromhex("00000014")
PLACES = {"do_init_module": 0x1000, "free_module": 0x2000}


def program(functions: dict[str, int]) -> GuestProgram:
    kernel: Any = type("Kernel", (), {"functions": functions})
    return GuestProgram(kernel=kernel, modules=ModuleFiles())


def test_a_kernel_that_has_not_started_has_no_modules(caplog: pytest.LogCaptureFixture) -> None:
    debugger = monitored_debugger(fake_machine(SPIN), program(PLACES))
    session = Session(debugger)
    session.receive(rsp.encode(b"QStartNoAckMode") + b"+" + rsp.encode(b"?"))
    reply = session.receive(rsp.encode(b"qXfer:libraries:read::0,1000"))
    while session.busy:
        reply += session.advance()
    assert reply == rsp.encode(b"l<library-list>\n</library-list>\n")
    session.close()
    assert not caplog.records
    assert len(debugger.stop_points) == 1


def test_symbols_without_the_functions_are_told_of(caplog: pytest.LogCaptureFixture) -> None:
    debugger = monitored_debugger(fake_machine(SPIN), program({}))
    assert "have no do_init_module or no free_module" in caplog.text
    assert debugger.stop_points == []
