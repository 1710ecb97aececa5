"""Modules as the libraries of a kernel: their addresses, and the stops at which they change."""

from types import SimpleNamespace
from typing import Any

import pytest

from gdbstub.aarch64.registers import X
from gdbstub.capabilities import Relocation
from gdbstub.linux.libraries import ModuleLibraries
from gdbstub.linux.module_events import ModuleEvents
from gdbstub.linux.module_files import FileSection, ModuleFile, ModuleFiles
from gdbstub.linux.modules import ModuleState
from gdbstub.target import Stopped, StopReason
from tests.pure.test_linux_modules import AREA, BEHIND, OLD, PAGE, Kernel
from tests.pure.test_module_files import BUILD_ID, NOTE

NOWHERE = 0xFFFF_FFFF_FFF0_0000
OFFSET = 0x1_0000
GVA = AREA + PAGE + BEHIND
FILE = ModuleFile(
    "/lib/failover.ko",
    BUILD_ID,
    (
        FileSection(".text", 0x800, True),
        FileSection(".init.text", 0x30, True),
        FileSection(".data", 0, False),
        FileSection("__versions", 0x2000, False),
    ),
)


class Stage:
    """A kernel with two modules, one of which has a file."""

    def __init__(self, file: ModuleFile = FILE) -> None:
        self.kernel = Kernel(OLD, "failover", "other")
        self.modules = self.kernel.modules()
        guest: Any = SimpleNamespace(modules=self.modules, reader=self.kernel.reader)
        linked: Any = SimpleNamespace(functions={"do_init_module": 0x1000, "free_module": 0x2000})
        self.x = {X[0]: 0, X[30]: 0}
        machine: Any = SimpleNamespace(vcpus=[SimpleNamespace(get=self.x.__getitem__)])
        self.place: Relocation | None = None
        self.events = ModuleEvents(linked, lambda: self.place, machine)
        self.libraries = ModuleLibraries(
            lambda: guest, ModuleFiles(failover=file), self.events
        ).libraries

    def addresses(self) -> tuple[int, ...]:
        return tuple(self.events.addresses)

    def state(self, state: ModuleState) -> None:
        self.kernel.put(GVA + OLD.module["state"], "<I", state)


def test_each_section_of_the_file_has_an_address() -> None:
    stage = Stage()
    stage.state(ModuleState.COMING)
    (library,) = stage.libraries()
    assert library.name == "/lib/./failover.ko"
    assert library.sections == (AREA, AREA + 2 * PAGE, AREA + 2 * PAGE, NOWHERE)
    stage.state(ModuleState.LIVE)
    (library,) = stage.libraries()
    # Another name, or GDB would keep the addresses; the init is where nothing is mapped.
    assert library.name == "/lib/failover.ko"
    free = AREA + 2 * PAGE
    assert library.sections == (AREA, free, free + 0x30, NOWHERE)


def test_a_file_of_another_build_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(FILE._replace(build_id="00" * 20))
    names = AREA + 0x500
    stage.kernel.put(names, "32s", b".note.gnu.build-id")
    stage.kernel.put(AREA, f"{len(NOTE)}s", NOTE)
    assert stage.libraries() == []
    stage.state(ModuleState.GOING)
    assert stage.libraries() == []
    (record,) = caplog.records
    assert "no symbols of module failover: /lib/failover.ko is of another build" in record.message
    assert f"loaded is {BUILD_ID}" in record.message


def test_damage_is_an_end_of_the_list() -> None:
    stage = Stage()
    stage.kernel.put(GVA + OLD.module["list"], "<Q", 8)
    assert [each.name for each in stage.libraries()] == ["/lib/failover.ko"]


def test_the_guest_stops_for_a_client_that_asks() -> None:
    stage = Stage()
    assert stage.addresses() == ()
    stage.libraries()
    assert stage.addresses() == ()
    stage.place = Relocation(0, OFFSET)
    loaded, freed = stage.addresses()
    assert (loaded, freed) == (OFFSET + 0x1000, OFFSET + 0x2000)
    stage.x[X[30]] = 0x5000
    assert stage.events.stop_at(0, loaded) == Stopped(1, stop=StopReason.LIBRARY)
    # The end of the module's init.
    assert stage.addresses() == (loaded, freed, 0x5000)
    assert stage.events.stop_at(0, 0x5000) == Stopped(1, stop=StopReason.LIBRARY)
    assert stage.addresses() == (loaded, freed)
    stage.events.client_left()
    assert stage.addresses() == ()


def test_a_module_that_is_about_to_be_freed_is_gone() -> None:
    stage = Stage()
    stage.place = Relocation(0, OFFSET)
    stage.state(ModuleState.GOING)
    assert len(stage.libraries()) == 1  # while its exit runs
    _, freed = stage.addresses()
    stage.x[X[0]] = GVA
    stage.events.stop_at(0, freed)
    assert stage.libraries() == []
    stage.state(ModuleState.COMING)  # another one, at the same address
    assert len(stage.libraries()) == 1
    stage.state(ModuleState.GOING)
    assert len(stage.libraries()) == 1


def test_a_kernel_without_the_functions() -> None:
    kernel: Any = SimpleNamespace(functions={"do_init_module": 1})
    assert not ModuleEvents.has_places(kernel)


def test_modules_that_load_at_once_are_told_of_each() -> None:
    stage = Stage()
    stage.place = Relocation(0, OFFSET)
    stage.libraries()
    loaded, _ = stage.addresses()
    stage.x[X[30]] = 0x5000
    for _ in range(2):
        stage.events.stop_at(0, loaded)
    stage.events.stop_at(0, 0x5000)
    assert 0x5000 in stage.addresses(), "the other one's init goes on"
    stage.events.stop_at(0, 0x5000)
    assert 0x5000 not in stage.addresses()


def test_any_number_of_removals() -> None:
    stage = Stage()
    stage.place = Relocation(0, OFFSET)
    for number in range(200):
        stage.libraries()
        _, freed = stage.addresses()
        stage.x[X[0]] = NOWHERE + number
        stage.events.stop_at(0, freed)
        assert NOWHERE + number in stage.events.freed
