"""A kernel that goes to another place at each boot: the stub's own stop points go with it."""

import asyncio
import queue
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from gdbstub.aarch64.registers import PC, VBAR_EL1, X
from gdbstub.capabilities import Relocation
from gdbstub.cli.serving import kernel_place
from gdbstub.cli.serving.kernel_place import locate
from gdbstub.linux.kaslr import GuestProgram, LinkedKernel
from gdbstub.linux.module_events import ModuleEvents
from gdbstub.linux.module_files import ModuleFiles
from gdbstub.machine import Machine
from gdbstub.monitor import monitored_debugger
from gdbstub.target import Action, Exited, Report, Resume, Stopped
from tests.bounds import HANGS
from tests.contract.programs import SYSTEM_OFF, SYSTEM_RESET, Program
from tests.fakes.machine import FakeMachine
from tests.fakes.minimal import MinimalMachine
from tests.fakes.ram import BASE

if TYPE_CHECKING:
    from gdbstub.debug.debugger import Debugger

#: Sets VBAR_EL1 to x1, as a kernel does early in its boot.
FINDABLE = bytes.fromhex("01c018d5")
SPIN = bytes.fromhex("00000014")
NOP = bytes.fromhex("1f2003d5")
BANNER = b"Linux version 6.1.0-fake\n\0\0\0"
PANIC, LOADED, REMOVED = BASE + 4, BASE + 0x200, BASE + 0x204
KERNEL = LinkedKernel(
    start=BASE,
    vectors=(BASE,),
    banner_at=BASE + 0x100,
    banner=BANNER.decode(),
    start_kernel=BASE,
    functions={"panic": PANIC, "do_init_module": LOADED, "free_module": REMOVED},
)
FIRST, SECOND = 0x1_0000, 0x2_0000


class Boots:
    """Puts the kernel to the next place at each boot. It comes to its panic at once."""

    def __init__(self, *places: int, end: Program = SYSTEM_OFF, found: bool = True) -> None:
        self._places = iter(places)
        self._end = end
        self._found = found

    def __call__(self, machine: FakeMachine) -> None:
        place = next(self._places)
        machine.write_memory(BASE + place, NOP + NOP + self._end.image)
        machine.write_memory(KERNEL.banner_at + place, BANNER)
        machine.vcpus[0].set(PC, BASE + place)
        if self._found:
            machine.vcpus[0].set(VBAR_EL1, BASE + place)


class Session:
    """A debugger that stops the guest for a panic, and its client."""

    def __init__(self, machine: Machine, expected: Relocation | None = None) -> None:
        program = GuestProgram("/boot/vmlinux", KERNEL, expected, ModuleFiles())
        self.debugger: Debugger = monitored_debugger(machine, program, stops=("panic",))
        self._notifier: queue.Queue[None] = queue.Queue()
        self.debugger.notify = lambda: self._notifier.put(None)

    def go(self, action: Action = Action.CONTINUE) -> Report:
        self.debugger.resume(Resume({1: action}))
        while True:
            self._notifier.get(timeout=HANGS)
            if (report := self.debugger.take_report()) is not None:
                return report

    @property
    def place(self) -> int:
        """PC, from the kernel's first address linked."""
        return self.debugger.machine.vcpus[0].get(PC) - BASE


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    made: list[Machine] = []
    yield made
    for machine in made:
        machine.close()


def panics(report: Report) -> bool:
    return isinstance(report, Stopped) and report.text.startswith("the guest panics: ")


def test_a_reset(machines: list[Machine]) -> None:
    machines.append(FakeMachine(Boots(FIRST, SECOND)))
    session = Session(machines[0])
    assert panics(session.go())
    assert session.place == FIRST + 4
    session.debugger.reset()
    assert panics(session.go())
    assert session.place == SECOND + 4
    assert isinstance(session.go(), Exited)


def test_a_guest_that_resets_itself(machines: list[Machine]) -> None:
    machines.append(FakeMachine(Boots(FIRST, SECOND, end=SYSTEM_RESET)))
    session = Session(machines[0])
    assert panics(session.go())
    assert session.go() == Stopped(1)
    assert panics(session.go())
    assert session.place == SECOND + 4


def test_it_is_not_where_it_was_expected(machines: list[Machine]) -> None:
    """Kernel that moves after a trial boot: its seed is the CPU's random number of each boot."""
    machines.append(FakeMachine(Boots(SECOND, found=False)))
    session = Session(machines[0], Relocation(BASE, FIRST))
    session.go(Action.STEP)
    machines[0].vcpus[0].set(PC, BASE + SECOND)
    machines[0].vcpus[0].set(VBAR_EL1, BASE + SECOND)  # as it does early
    assert panics(session.go())
    assert session.place == SECOND + 4


def test_a_machine_whose_resets_nobody_tells_of(machines: list[Machine]) -> None:
    machines.append(inner := FakeMachine(Boots(FIRST, SECOND)))
    session = Session(MinimalMachine(inner))
    assert panics(session.go())
    Boots(SECOND)(inner)
    assert panics(session.go())
    assert session.place == SECOND + 4


def test_a_vcpu_that_leads_nowhere_takes_no_stop_points_away(machines: list[Machine]) -> None:
    """Guest that executes a program, with the kernel unmapped."""
    machines.append(inner := FakeMachine(Boots(FIRST)))
    session = Session(MinimalMachine(inner))
    session.go(Action.STEP)
    inner.vcpus[0].set(PC, BASE + FIRST)
    inner.vcpus[0].set(VBAR_EL1, BASE + 0x8_0000)
    inner.write_memory(KERNEL.banner_at + FIRST, bytes(len(BANNER)))
    assert panics(session.go())


def test_events_of_modules_go_with_it(machines: list[Machine]) -> None:
    machines.append(FakeMachine(Boots(FIRST, SECOND)))
    debugger = Session(machines[0]).debugger
    (events,) = (each for each in debugger.stop_points if isinstance(each, ModuleEvents))
    events.followed = True
    assert list(events.addresses) == [LOADED + FIRST, REMOVED + FIRST]
    events.stop_at(0, LOADED + FIRST)
    assert len(events.addresses) == 3  # the return address of the init
    debugger.reset()
    assert list(events.addresses) == [LOADED + SECOND, REMOVED + SECOND]


async def test_a_kernel_that_boots_is_found_without_a_client(machines: list[Machine]) -> None:
    """Stop points of a guest of another VMM need the place, and nobody halts that guest."""
    machines.append(inner := FakeMachine(Boots(FIRST, found=False)))
    inner.write_memory(BASE + FIRST, FINDABLE + SPIN)
    inner.vcpus[0].set(X[1], BASE + FIRST)
    program = GuestProgram("/boot/vmlinux", KERNEL)
    found = await locate(MinimalMachine(inner), program, never())
    assert found == program._replace(expected=Relocation(BASE, FIRST))
    assert inner.vcpus[0].get(PC) == BASE + FIRST + 4


async def test_a_kernel_that_no_vcpu_leads_to(
    machines: list[Machine], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_place, "_SECONDS", 0.01)
    machines.append(FakeMachine(lambda machine: machine.write_memory(BASE, SPIN)))
    program = GuestProgram("/boot/vmlinux", KERNEL)
    assert await locate(machines[0], program, never()) == program
    assert "no vCPU leads to the kernel of --symbols " in caplog.text


async def test_a_guest_that_ends_before_its_kernel_is_found(
    machines: list[Machine], caplog: pytest.LogCaptureFixture
) -> None:
    machines.append(FakeMachine(lambda machine: machine.write_memory(BASE, SYSTEM_OFF.image)))
    program = GuestProgram("/boot/vmlinux", KERNEL)
    assert await locate(machines[0], program, never()) == program
    assert not caplog.records


def never() -> "asyncio.Future[int]":
    return asyncio.get_running_loop().create_future()
