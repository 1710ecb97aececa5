"""The launch files of examples/editors, used as an editor uses them, on the fake machine."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree

import click
import pytest

from gdbstub.cli.commands.run import run
from gdbstub.pytest_plugin.gdb import start
from tests.dap import DapClient, attach, top_frame, variables
from tests.gdb.conftest import Serve
from tests.gdb.served import Served

EDITORS: Final = Path(__file__).parents[2] / "examples" / "editors"
SOURCE: Final = Path(__file__).with_name("guest.c")
#: GDB 14 or newer, which speaks the debug adapter protocol: the package of the extra ``dev``.
GDB: Final = Path(sys.executable).with_name("gdb")


def line_of(text: str) -> int:
    """The number of the only line of the guest's source that has *text*."""
    (found,) = [n for n, line in enumerate(SOURCE.read_text().splitlines(), 1) if text in line]
    return found


def filled(text: str, client: Served) -> str:
    """*text* of a launch file, for the program and the port of *client*."""
    folder = str(client.guest.elf.parent)
    for name in ("$ZED_WORKTREE_ROOT", "${workspaceFolder}", "$PROJECT_DIR$"):
        text = text.replace(name, folder)
    return text.replace("localhost:1234", client.stub.remote)


def vs_code(kind: str, client: Served) -> dict[str, Any]:
    """The configuration of VS Code's debugger *kind*."""
    launch = json.loads(filled((EDITORS / "vscode" / "launch.json").read_text(), client))
    (found,) = [each for each in launch["configurations"] if each["type"] == kind]
    assert found["preLaunchTask"] == "gdbstub run"
    return dict(found)


def test_gdb_as_a_debug_adapter(serve: Serve, tmp_path: Path) -> None:
    client = serve()
    (entry,) = json.loads(filled((EDITORS / "zed" / "debug.json").read_text(), client))
    del entry["label"], entry["adapter"]
    with DapClient(GDB, "-nx", "--interpreter=dap", "--quiet", home=tmp_path) as dap:
        attach(dap, entry, SOURCE, line_of("int sum = a + b;"))
        thread = dap.event("stopped")["threadId"]
        dap.ask("continue", {"threadId": thread})
        stopped = dap.event("stopped")
        assert stopped["reason"] == "breakpoint"
        frame = top_frame(dap, thread)
        assert frame["name"] == "add"
        assert frame["line"] == line_of("int sum = a + b;")
        assert variables(dap, frame) | {"sum": ""} == {"a": "3", "b": "4", "sum": ""}
        dap.ask("next", {"threadId": thread})
        dap.event("stopped")
        assert variables(dap, top_frame(dap, thread))["sum"] == "7"
        dap.ask("disconnect")
    client.stub.expect("release")
    assert client.text_is_clean


@pytest.mark.parametrize("file", ["neovim/dap.lua", "zed/debug.json", "clion/gdbstub.run.xml"])
def test_all_have_the_same_program_and_endpoint(file: str) -> None:
    text = (EDITORS / file).read_text()
    assert text.count("/guest.elf") == 1
    assert text.count("localhost:1234") == 1


def test_neovims_entry_says_what_zeds_does() -> None:
    """Requests that ``test_gdb_as_a_debug_adapter`` sends."""
    (entry,) = json.loads((EDITORS / "zed" / "debug.json").read_text())
    lua = (EDITORS / "neovim" / "dap.lua").read_text()
    said = dict(re.findall(r"^ {8}(\w+) = \"(.*)\",$", lua, re.M))
    assert said["request"] == entry["request"]
    assert said["target"] == entry["target"]
    assert said.keys() == {"name", "type", "request", "program", "target"}


def test_the_commands_of_vs_codes_gdb(serve: Serve) -> None:
    """Commands that its extension gives to GDB/MI: the set-up, the file and the connection."""
    client = serve()
    entry = vs_code("cppdbg", client)
    with start(entry["miDebuggerPath"], 30.0) as gdb:
        for command in entry["setupCommands"]:
            gdb.execute(command["text"])
        gdb.mi(f"-file-exec-and-symbols {entry['program']}")
        gdb.mi(f"-target-select remote {entry['miDebuggerServerAddress']}")
        assert "Breakpoint 1, add" in gdb.execute("break add") + gdb.execute("continue")
        gdb.mi("-target-detach")
    client.stub.expect("release")


def test_the_commands_of_cdts_adapter(serve: Serve) -> None:
    """Commands that the adapter gives to GDB/MI: the file and the connection."""
    client = serve()
    entry = vs_code("gdbtarget", client)
    assert entry["request"] == "attach"
    target = entry["target"]
    with start(entry["gdb"], 30.0) as gdb:
        gdb.mi(f"-file-exec-and-symbols {entry['program']}")
        gdb.mi(f"-target-select {target['type']} {' '.join(target['parameters'])}")
        assert "Breakpoint 1, add" in gdb.execute("break add") + gdb.execute("continue")
        gdb.mi("-target-detach")
    client.stub.expect("release")


def test_vs_codes_task_starts_the_stub_and_knows_when_it_listens() -> None:
    (task,) = json.loads((EDITORS / "vscode" / "tasks.json").read_text())["tasks"]
    assert task["label"] == "gdbstub run"
    command = click.Context(run)
    run.parse_args(command, task["args"][1:])
    assert (task["command"], task["args"][0]) == ("gdbstub", "run")
    assert (command.params["guest"], command.params["endpoint"]) == ("guest.elf", "localhost:1234")
    ends = task["problemMatcher"]["background"]["endsPattern"]
    assert re.match(ends, "gdbstub: listening on localhost:1234")


def test_clions_entry_is_a_remote_gdb() -> None:
    entry = ElementTree.parse(EDITORS / "clion" / "gdbstub.run.xml").find("configuration")
    assert entry is not None
    assert entry.get("type") == "CLion_Remote"
    debugger = entry.find("debugger")
    assert debugger is not None
    assert (debugger.get("kind"), debugger.text) == ("GDB", "/usr/bin/gdb-multiarch")
