"""A ``Machine`` that needs no KVM: real A64 code under Unicorn, debugged as KVM would.

One executor thread is every vCPU's thread: it gives each its turn, so a run is the same
each time. It models no MMU faults and no timer. Without a device, reads where no RAM is are 0.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from gdbstub.aarch64.registers import PC
from gdbstub.errors import MachineError
from gdbstub.machine import (
    TIMED_OUT,
    Capabilities,
    DebugExit,
    DebugRegisters,
    Exit,
    Listener,
    Power,
    RunFailure,
    RunMode,
    SystemEvent,
    SystemEventKind,
)
from tests.fakes import psci, registers
from tests.fakes.clock import Clock
from tests.fakes.device import Device
from tests.fakes.ram import BASE, Ram
from tests.fakes.vcpu import FakeVcpu

if TYPE_CHECKING:
    from gdbstub.architecture import Register

Load = Callable[["FakeMachine"], None]

BREAKPOINT_SLOTS: Final = 6
WATCHPOINT_SLOTS: Final = 4

#: Turns that stand for ``RunMode.limit``, whatever it is: a run is the same each time.
LIMIT: Final = 160


class Unattended:
    """The listener of a machine that nobody debugs."""

    def debug_exit(self, exit: DebugExit) -> RunMode | None:
        return None

    def parked(self, exits: Sequence[Exit]) -> None:
        pass


class FakeMachine:
    """All methods but ``interrupt`` are for one thread, as those of any ``Machine``.

    *load* fills RAM and registers, now and at each reset; vCPU 0 starts at ``BASE`` unless
    it says otherwise.
    """

    complete = True  # all memory of the guest (``RamLayout``)

    def __init__(
        self,
        load: Load,
        *,
        vcpus: int = 1,
        memory: int = 2 << 20,
        breakpoint_slots: int = BREAKPOINT_SLOTS,
        watchpoint_slots: int = WATCHPOINT_SLOTS,
        device: Device | None = None,
    ) -> None:
        self.listener: Listener = Unattended()
        self.breakpoint_slots = breakpoint_slots
        self.watchpoint_slots = watchpoint_slots
        self.vector_length = 0
        self.pointer_authentication = False
        self.system_registers: Sequence[Register] = registers.SYSTEM
        #: Debug registers that were armed last, for tests.
        self.armed = DebugRegisters()
        self._clock = Clock()
        self._exits: Counter[str] = Counter()
        self._load = load
        self._device = device
        self._count = vcpus
        self._ram = Ram(memory)
        self._state = threading.Condition()
        self._running = False
        self._stopping = False
        self._holder: int | None = None
        self._closed = False
        self._jobs: deque[Mapping[int, RunMode]] = deque()
        self._populate()
        self._executor = threading.Thread(target=self._life, name="fake vCPUs", daemon=True)
        self._executor.start()

    @property
    def vcpus(self) -> Sequence[FakeVcpu]:
        return self._vcpus

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            reset=self, time=self, comparison=self, about=self, counts=self, layout=self
        )

    @property
    def ram_ranges(self) -> Sequence[range]:
        return (range(BASE, BASE + self._ram.size),)

    @property
    def about(self) -> Mapping[str, str]:
        return {"RAM": f"{self._ram.size >> 20} MiB at {BASE:#x}"}

    @property
    def counts(self) -> Mapping[str, Mapping[str, int]]:
        return {"exits": self._exits}

    @property
    def time_stands_still(self) -> bool:
        return self._clock.stands_still

    @time_stands_still.setter
    def time_stands_still(self, still: bool) -> None:
        self._assert_parked("a change of its clock")
        now = self._clock.read()
        self._clock.stands_still = still
        self._clock.stop()
        self._clock.write(now)

    def _populate(self) -> None:
        self._vcpus = tuple(
            FakeVcpu(n, self._ram, self._clock, self._hvc, self._device) for n in range(self._count)
        )
        self._vcpus[0].set(PC, BASE)
        self._load(self)

    def read_memory(self, ipa: int, length: int) -> bytes:
        return self._ram.read(ipa, length)

    def unchanged(self, words: Sequence[tuple[int, bytes]]) -> Callable[[], bool]:
        def ask() -> bool:
            return all(self._ram.read(ipa, 8) == data for ipa, data in words)

        ask()  # all of it must be RAM
        return ask

    def write_memory(self, ipa: int, data: bytes, *, temporary: bool = False) -> None:
        self._ram.write(ipa, data)
        for vcpu in self._vcpus:
            vcpu.forget_code(ipa, len(data))

    def arm(self, debug: DebugRegisters) -> None:
        if len(debug.breakpoints) > self.breakpoint_slots:
            raise MachineError("more breakpoints than slots")
        if len(debug.watchpoints) > self.watchpoint_slots:
            raise MachineError("more watchpoints than slots")
        self._assert_parked("arm")
        self.armed = debug
        for vcpu in self._vcpus:
            vcpu.arm(debug)

    def resume(self, modes: Mapping[int, RunMode]) -> None:
        self._assert_parked("resume")
        self._clock.go()
        with self._state:
            self._running = True
            self._stopping = False
            self._jobs.append(dict(modes))
            self._state.notify_all()

    def interrupt(self) -> None:
        with self._state:
            if self._running:
                self._stopping = True
                self._state.notify_all()

    def start_exclusive(self, vcpu: int) -> bool:
        self._holder = vcpu  # no other has its turn while this one is answered
        return True

    def end_exclusive(self, vcpu: int) -> None:
        if self._holder == vcpu:
            self._holder = None

    def reset(self) -> None:
        self._assert_parked("reset")
        self._ram.clear()
        self._populate()
        for vcpu in self._vcpus:
            vcpu.arm(self.armed)

    def close(self) -> None:
        with self._state:
            self._closed = self._stopping = True
            self._state.notify_all()
        if threading.current_thread() is not self._executor:
            self._executor.join()

    def _assert_parked(self, what: str) -> None:
        if self._running:
            raise AssertionError(f"{what} while a vCPU runs: the contract forbids it")

    # On the executor thread:

    def _life(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                modes = self._jobs.popleft()
            try:
                exits = self._run(modes)
            except Exception as error:  # a listener's, say: whoever waits must not wait forever
                exits = [RunFailure(min(modes), f"internal error: {error!r}")]
            self._clock.stop()
            with self._state:
                self._running = False
                if self._closed:
                    return
            self.listener.parked(exits)

    def _run(self, modes: Mapping[int, RunMode]) -> list[Exit]:
        """Give each vCPU its turn until one of them stops.

        The round is finished even then, as a kick takes its time on silicon too: two vCPUs
        may well stop at once.
        """
        exits: list[Exit] = []
        courses = dict(modes)
        for index, course in courses.items():
            self._vcpus[index].arm(course.comparators(self.armed))
        self._holder = None
        turns = dict.fromkeys(courses, 0)
        while not exits and not self._stopping:
            idle = True
            for index in courses:
                vcpu = self._vcpus[index]
                off = vcpu.power is Power.OFF
                if (off and courses[index].limit is None) or self._holder not in (None, index):
                    continue
                idle = False
                exit = None if off else vcpu.turn(step=courses[index].step)
                turns[index] = 0 if exit else turns[index] + 1
                if courses[index].limit is not None and turns[index] == LIMIT:
                    exit, turns[index] = DebugExit(index, TIMED_OUT), 0
                if exit is not None:
                    self._exits[type(exit).__name__] += 1
                if isinstance(exit, SystemEvent):
                    return [*exits, exit]
                if isinstance(exit, DebugExit) and (go := self.listener.debug_exit(exit)):
                    if go[1:3] != courses[index][1:3]:
                        vcpu.arm(go.comparators(self.armed))
                    courses[index] = go
                elif exit is not None:
                    exits.append(exit)
            if idle:
                with self._state:
                    self._state.wait_for(lambda: self._stopping)
        for index, course in courses.items():
            if course[1:3] != (None, None):
                self._vcpus[index].arm(self.armed)
        return exits

    def _hvc(self, caller: FakeVcpu) -> SystemEventKind | None:
        event = psci.call(self._vcpus, caller)
        if event is not None:
            for vcpu in self._vcpus:
                vcpu.power = Power.OFF
        return event


def fake_machine(
    program: bytes, *, vcpus: int = 1, memory: int = 2 << 20, device: Device | None = None
) -> FakeMachine:
    """A machine with *program* at ``BASE``, halted there at EL1 with the MMU off."""
    return FakeMachine(
        lambda m: m.write_memory(BASE, program), vcpus=vcpus, memory=memory, device=device
    )


def pend_irq(machine: FakeMachine, level: bool, vcpu: int = 0) -> None:
    """Have an IRQ pend at a vCPU, or pend no more."""
    machine.vcpus[vcpu].irq = level


def pend_serror(machine: FakeMachine) -> None:
    """Have an SError pend at vCPU 0, once."""
    machine.vcpus[0].serror = True
