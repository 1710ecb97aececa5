"""Targets that raise what nobody expects: one answer each, a line in the log, and on it goes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from gdbstub import rsp
from gdbstub.architecture import Register
from gdbstub.errors import MachineError, MemoryFault, NoSuchThread, RegisterRefused
from gdbstub.target import Resume, Signal, Stopped
from tests.pure.able_target import AbleTarget
from tests.pure.transcript import Stage

#: Methods of a target, and a packet that calls each.
ASKED = {
    "threads": b"qThreadExtraInfo,1",
    "read_registers": b"g",
    "write_register": b"P0=0000000000000000",
    "read_memory": b"m40000000,4",
    "write_memory": b"M40000000,1:00",
    "insert": b"Z0,40000000,4",
    "attach": b"Z0,40000000,4",
    "remove": b"z0,40000000,4",
    "resume": b"vCont;c",
    "report": b"?",
    "detach": b"D",
    "release": b"vRun;",
    "reset": b"vRun;",
    "kill": b"vKill;1",
    "monitor": b"qRcmd,68656c70",
}


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


UNMEANT = [
    ZeroDivisionError("a # of $ and } and *"),
    StopIteration(),
    KeyError(None),
    OSError(22, "Invalid argument"),
    RecursionError(),
    MemoryError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "so"),
    ExceptionGroup("two", [ValueError(), ValueError()]),
    Unprintable(),
]
MEANT = [
    MemoryFault("nothing at 0x0"),
    NoSuchThread("no thread 7"),
    RegisterRefused("Überraschung: # $ } *"),
    MachineError("KVM_RUN failed", 300),
    MachineError(""),
]


def answered(stage: Stage, packet: bytes) -> bytes:
    """The one reply to *packet*."""
    data = stage.send(packet)
    (reply,) = [e.data for e in rsp.Connection().receive(data) if isinstance(e, rsp.Packet)]
    return reply


def failing(name: str, error: Exception) -> Stage:
    """A stage whose target raises *error* once, when *name* is asked of it."""
    stage = Stage(AbleTarget())
    usual = getattr(stage.target, name)

    def fail(*_: object) -> None:
        setattr(stage.target, name, usual)
        raise error

    setattr(stage.target, name, fail)
    return stage


@pytest.mark.parametrize("error", UNMEANT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("name", ASKED)
def test_what_nobody_meant(name: str, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    stage = failing(name, error)
    with caplog.at_level(logging.ERROR):
        assert answered(stage, ASKED[name]) == b"E05"
    memory = isinstance(error, MemoryError)
    assert ("out of memory: " if memory else type(error).__name__) in caplog.text
    assert answered(stage, b"qC") == b"QC1"
    assert not stage.session.over


@pytest.mark.parametrize("name", ASKED)
def test_it_is_told_that_the_log_says_more(name: str) -> None:
    stage = failing(name, ZeroDivisionError())
    stage.send(b"qSupported:error-message+")
    assert answered(stage, ASKED[name]) == b"E.internal error in the stub; its log says more"


@pytest.mark.parametrize("error", MEANT, ids=repr)
@pytest.mark.parametrize("name", ASKED)
def test_what_was_meant(name: str, error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    stage = failing(name, error)
    stage.send(b"qSupported:error-message+")
    reply = answered(stage, ASKED[name])
    assert reply.startswith(b"E.") if str(error) else reply == b"E05"
    assert not set(b"#$}*").intersection(reply)
    assert not caplog.records
    assert answered(stage, b"qC") == b"QC1"


@dataclass
class HalfResumed(AbleTarget):
    """A target that fails after it has begun to run."""

    def resume(self, resume: Resume) -> None:
        self.running = True
        raise ZeroDivisionError


def test_a_target_that_runs_though_it_failed_is_halted_before_it_is_asked_more() -> None:
    target = HalfResumed()
    stage = Stage(target)
    assert answered(stage, b"vCont;c") == b"E05"
    assert target.calls == ["interrupt"]
    assert not target.running
    assert answered(stage, b"?") == b"T02thread:1;" + answered(stage, b"?")[12:]
    assert target.last == Stopped(1, Signal.INT)


@pytest.mark.parametrize("name", ["take_report", "take_output"])
def test_a_stop_that_cannot_be_told(name: str, caplog: pytest.LogCaptureFixture) -> None:
    stage = failing(name, ZeroDivisionError())
    stage.target.lively = False
    stage.send(b"vCont;c")
    stage.target.lively = True
    stage.target.notify()  # it has printed something, perhaps; it runs
    assert stage.feed(b"").startswith(b"$E05#")
    assert "ZeroDivisionError" in caplog.text
    assert not stage.target.running
    assert answered(stage, b"qC") == b"QC1"


@dataclass
class Forgetful(AbleTarget):
    """A target whose registers cannot be read."""

    def read_registers(self, thread: int, registers: Sequence[Register]) -> bytes:
        raise ZeroDivisionError


def test_a_stop_without_its_registers_is_told_as_an_error(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(Forgetful())
    assert answered(stage, b"vCont;s:1") == b"E05"
    assert answered(stage, b"qC") == b"QC1"
    assert "ZeroDivisionError" in caplog.text
