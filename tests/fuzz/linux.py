"""Target for a hostile Linux kernel: its tasks, modules, log, names and types, patched at will."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import Final

from gdbstub.aarch64.registers import CPSR, PC, SP, SP_EL0, SP_EL1, TTBR0_EL1, X
from gdbstub.capabilities import Command, Timing, os_tables
from gdbstub.debug.debugger import Debugger
from gdbstub.errors import MemoryFault, StubError
from gdbstub.linux import vmcore
from gdbstub.linux.core_file import CoreOutput
from gdbstub.linux.guest import LinuxGuest
from gdbstub.linux.libraries import ModuleLibraries
from gdbstub.linux.module_files import FileSection, ModuleFile, ModuleFiles
from gdbstub.linux.process import Process
from gdbstub.machine import Capabilities
from gdbstub.monitor import monitored_debugger
from gdbstub.slices import bounded
from tests.fuzz.linux_kernel import FIRST, KERNEL_TEXT, PROGRAM, SIZE, SOUND, STACK, TABLES, VALUES
from tests.fuzz.source import Source
from tests.fuzz.still_machine import StillMachine
from tests.fuzz.target import fuzz_target, only
from tests.pure.hostile_guests import CODE, START, at
from tests.pure.test_linux_log import LAYOUT

_STEPS: Final = 20_000
_PLACES: Final = sorted(SOUND)
#: Numbers that VMCOREINFO may give, and what they are of.
_NUMBERS: Final = (0, -23, 1 << 20, 1 << 62, -(1 << 62))
_NUMBERED: Final = tuple(
    name for name, _, _ in (line.partition("=") for line in LAYOUT.splitlines()) if "(" in name
)


class KernelGuest(StillMachine):
    """One vCPU in the kernel; *memory* is its RAM, and only read."""

    complete = True  # all memory of the guest (``RamLayout``)

    def __init__(self, memory: bytearray) -> None:
        super().__init__(vcpus=1)
        self._view = memoryview(memory)

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(layout=self)

    @property
    def ram_ranges(self) -> Sequence[range]:
        return (range(START, START + SIZE),)

    def read_memory(self, ipa: int, length: int) -> bytes:
        if not START <= ipa < START + SIZE:
            raise MemoryFault(f"no RAM at {ipa:#x}")
        return bytes(self._view[ipa - START : ipa - START + length])

    def write_memory(self, ipa: int, data: bytes, *, temporary: bool = False) -> None:
        raise AssertionError("a reader writes")


@cache
def sound_memory() -> bytearray:
    """Make the RAM of a sound kernel, once: each input patches it and puts it back."""
    memory = bytearray(SIZE)
    for place, data in SOUND.items():
        memory[place : place + len(data)] = data
    return memory


class _Patches:
    """Changes of *memory* that are undone."""

    def __init__(self, memory: bytearray) -> None:
        self.memory = memory
        self._before: list[tuple[int, bytes]] = []

    def write(self, place: int, data: bytes) -> None:
        self._before.append((place, bytes(self.memory[place : place + len(data)])))
        self.memory[place : place + len(data)] = data

    def undo(self) -> None:
        while self._before:
            place, data = self._before.pop()
            self.memory[place : place + len(data)] = data


def _patch(source: Source, patches: _Patches) -> None:
    for _ in range(source.below(6)):
        place = source.choice(_PLACES)
        offset = source.number(2) % len(SOUND[place])
        width = source.below(9)
        if width == 8:
            value = source.choice(VALUES).to_bytes(8, "little")
            offset &= -8
        else:
            value = source.take(width)
        patches.write(place + offset, value)
    lines = "".join(
        f"{source.choice(_NUMBERED)}={source.choice(_NUMBERS) - source.below(2)}\n"
        for _ in range(source.below(3))
    )
    if lines:
        patches.write(patches.memory.index(b"\0"), lines.encode() + b"\0")


def _check(text: str) -> None:
    assert all(line.replace("\t", " ").isprintable() for line in text.split("\n")), text


def _monitor(line: str) -> Callable[[Debugger], None]:
    def look(debugger: Debugger) -> None:
        shown = debugger.monitor(Command(1, line, frozenset(), {}, Timing()))
        assert len(shown) <= 9 << 20
        _check(shown)

    return look


def _threads(debugger: Debugger) -> None:
    _monitor("tasks on")(debugger)
    for thread in debugger.guest_threads():
        _check(thread.name + thread.state)
        with suppress(StubError):
            assert len(debugger.read_registers(thread.id, (X[19], X[29], SP, PC))) == 32
        for gva in (PROGRAM + 0xFF8, at(STACK)):
            with only(MemoryFault):
                assert 0 < len(debugger.read_memory(thread.id, gva, 16)) <= 16


def _core(debugger: Debugger) -> None:
    size = 0

    def output(data: bytes) -> None:
        nonlocal size
        size += len(data)

    vmcore.write(LinuxGuest(debugger.machine, debugger.memory), CoreOutput(output))
    assert SIZE <= size <= SIZE + (1 << 20)


def _libraries(debugger: Debugger) -> None:
    guest = LinuxGuest(debugger.machine, debugger.memory)
    for library in ModuleLibraries(lambda: guest, _files(), None).libraries():
        assert len(library.sections) == 3


def _process(debugger: Debugger) -> None:
    for wanted in ("1", "task", "swapper/0"):
        Process(debugger.machine, debugger.memory, wanted).matches(debugger.machine.vcpus[0])


@cache
def _files() -> ModuleFiles:
    names = (".text", 0x40, True), (".init.text", 16, True), (".note.gnu.build-id", 36, False)
    sections = tuple(FileSection(*each) for each in names)
    return ModuleFiles(
        {name: ModuleFile(f"/{name}.ko", "00" * 20, sections) for name in ("m0", "m1")}
    )


_LINES: Final = ("ps", "bt", "bt 1", "bt 2", "modules", "modules m0", "dmesg", "dmesg 3", "why")
_LOOKS: Final = (
    *(_monitor(line) for line in (*_LINES, "modules lldb", "modules lldb m1", "bt 7")),
    *(_threads, _core, _libraries, _process),
)


@fuzz_target("linux", 64)
def linux(data: bytes) -> None:
    """Any damage gives text or one line, within a bound of steps; a sound kernel gives its rows."""
    source = Source(data)
    looks = [source.choice(_LOOKS) for _ in range(1 + source.below(3))]
    state, table = source.number(), source.below(4)
    patches = _Patches(sound_memory())
    try:
        _patch(source, patches)
        _look(debugger_of(KernelGuest(patches.memory), state), looks, table)
    finally:
        patches.undo()


def debugger_of(machine: KernelGuest, state: int = 0) -> Debugger:
    """Make a debugger of *machine*; *state* says where its vCPU is."""
    vcpu = machine.vcpus[0]
    vcpu.set(TTBR0_EL1, START + TABLES)
    vcpu.set(SP_EL0, at(FIRST))
    vcpu.set(SP_EL1, at(STACK + 0x200))
    vcpu.set(PC, KERNEL_TEXT + 0x44 if state & 2 else CODE + 0x44)
    vcpu.set(X[29], at(STACK + 0x100))
    vcpu.set(X[30], CODE + 0x84)
    if state & 1:
        vcpu.set(CPSR, 0)
    return monitored_debugger(machine)


def _look(debugger: Debugger, looks: Sequence[Callable[[Debugger], None]], tables: int) -> None:
    for look in looks:
        with only(StubError), bounded(_STEPS):
            look(debugger)
    capability = os_tables(debugger)
    assert capability is not None
    for each in capability.os_tables[:tables]:
        with only(StubError), bounded(_STEPS):
            for row in each.rows():
                assert all(text.isprintable() for text in row.values())
