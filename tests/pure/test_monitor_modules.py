"""LLDB's commands for the modules of a guest, which is forged."""

from types import SimpleNamespace
from typing import Any

import pytest

from gdbstub.linux.module_files import FileSection, ModuleFile, ModuleFiles
from gdbstub.linux.modules import ModuleState
from gdbstub.monitor.commands import COMMANDS
from tests.pure.test_linux_libraries import GVA, Stage
from tests.pure.test_linux_modules import AREA, OLD, PAGE

FILE = ModuleFile("/my lib/failover.ko", "", (FileSection(".text", 8, True),))


def typed(stage: Stage, line: str, files: ModuleFiles | None = None) -> str:
    program = SimpleNamespace(modules=files)
    context: Any = SimpleNamespace(
        kernel=SimpleNamespace(modules=stage.modules), locator=SimpleNamespace(program=program)
    )
    return COMMANDS.execute(context, line)


def test_the_commands_of_one_module_go_without_what_was_freed() -> None:
    stage = Stage()
    stage.state(ModuleState.COMING)
    coming = typed(stage, "modules lldb failover")
    stage.state(ModuleState.LIVE)
    live = typed(stage, "modules lldb failover")
    add = "target modules add failover.ko\n"
    load = f"target modules load --file failover.ko .text {AREA:#x}"
    assert coming == f"{add}{load} .init.text {AREA + 2 * PAGE:#x}\n"
    assert live == f"{add}{load}\n"


def test_the_file_that_is_known_is_named_and_its_sections_only() -> None:
    stage = Stage()
    stage.state(ModuleState.COMING)
    load = f"target modules load --file '/my lib/failover.ko' .text {AREA:#x}\n"
    said = typed(stage, "modules lldb", ModuleFiles(failover=FILE))
    assert f"target modules add '/my lib/failover.ko'\n{load}" in said
    assert "target modules add other.ko\n" in said


def test_what_is_before_damage_is_shown() -> None:
    stage = Stage()
    stage.kernel.put(GVA + OLD.module["list"], "<Q", 8)
    said = typed(stage, "modules lldb")
    assert said.startswith("target modules add failover.ko\n")
    assert "the list of modules is damaged" in said
    assert typed(Stage(), "modules lldb nothing").startswith("no module nothing is loaded")


@pytest.mark.parametrize("name", ["`expr 1`", "a b", "-f", "", "'", "\x1b[2J"])
def test_a_name_that_lldb_would_take_for_more_is_left_out(name: str) -> None:
    stage = Stage()
    stage.kernel.put(AREA + 0x500, "32s", name.encode())
    stage.state(ModuleState.COMING)
    load = f"target modules load --file failover.ko .init.text {AREA + 2 * PAGE:#x}\n"
    assert typed(stage, "modules lldb failover") == f"target modules add failover.ko\n{load}"


@pytest.mark.parametrize("line", ["modules lldb failover more", "modules failover more"])
def test_one_name_is_enough(line: str) -> None:
    with pytest.raises(Exception, match="one word too many"):
        typed(Stage(), line)
