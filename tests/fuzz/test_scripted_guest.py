"""The guest of the target ``stub`` executes: steps, hits, and what is stepped over."""

import pytest

from gdbstub.aarch64.registers import PC
from gdbstub.debug.placement import Preference
from gdbstub.monitor import monitored_debugger
from gdbstub.protocol.session import Session
from tests.fuzz.guest import let_go, stop
from tests.fuzz.still_machine import TEXT, StillMachine
from tests.fuzz.wire import Script

#: Bytes of a script for vCPU 0: an instruction of a step, and some of a run.
STEP, RUN = b"\x00", b"\x10"
#: A condition that is 0.
FALSE = b";X3,220027"


def play(*lines: bytes, preference: Preference = Preference.SOFTWARE) -> tuple[list[bytes], int]:
    """Play *lines*, and detach; return what was sent for each, and where vCPU 0 was before that."""
    machine = StillMachine()
    before = bytes(machine.ram)
    debugger = monitored_debugger(machine)
    debugger.breakpoints.preference = preference
    script = Script(b"\n".join((b"$QStartNoAckMode", *lines)))
    places = [0]

    def act(line: bytes) -> None:
        stop(machine, line)
        places.append(machine.vcpus[0].get(PC))

    _, *sent = script.play(Session(debugger), act, lambda wire: [wire])
    let_go(debugger, machine)
    assert machine.ram == before
    return sent, places[-1]


def test_a_step() -> None:
    sent, place = play(b"$vCont;s:1", b"!" + STEP)
    assert sent[-1].startswith(b"$T05")
    assert place == TEXT + 4


def test_an_interrupt_in_a_step_is_left_out() -> None:
    sent, place = play(b"$P21=05000000", b"$vCont;s:1", b"!\x1a" + STEP)
    assert sent[-1].startswith(b"$T05")
    assert place == TEXT + 4


@pytest.mark.parametrize("preference", Preference)
def test_a_breakpoint(preference: Preference) -> None:
    lines = b"$Z0,%x,4" % (TEXT + 4), b"$vCont;c", b"!" + RUN
    sent, place = play(*lines, preference=preference)
    assert sent[-1].startswith(b"$T05")
    assert place == TEXT + 4


@pytest.mark.parametrize("preference", Preference)
def test_a_false_condition_is_stepped_over(preference: Preference) -> None:
    lines = b"$Z0,%x,4%b" % (TEXT, FALSE), b"$vCont;c", b"!" + STEP, b"!" + STEP + STEP
    sent, place = play(*lines, preference=preference)
    assert sent[-2:] == [b"", b""]
    assert place > TEXT
