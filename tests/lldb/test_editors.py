"""The entries for LLDB in examples/editors, used as an editor uses them, on the fake machine."""

import os
from pathlib import Path

from tests.dap import DapClient, attach, top_frame, variables
from tests.gdb.test_editors import SOURCE, line_of, vs_code
from tests.lldb.conftest import Serve
from tests.lldb.debugger import lldb


def adapter() -> Path:
    """LLDB's debug adapter, ``lldb-vscode`` before LLDB 18: Debian has it with LLDB."""
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    names = ("lldb-dap", "lldb-dap-*", "lldb-vscode", "lldb-vscode-*")
    found = [path for name in names for folder in folders for path in folder.glob(name)]
    assert found, f"none of {', '.join(names)} is on the path"
    return found[0]


def test_lldb_as_a_debug_adapter(serve: Serve, tmp_path: Path) -> None:
    client = serve()
    entry = vs_code("lldb-dap", client)
    with DapClient(adapter(), home=tmp_path) as dap:
        attach(dap, entry, SOURCE, line_of("int sum = a + b;"))
        thread = dap.event("stopped")["threadId"]
        dap.ask("continue", {"threadId": thread})
        while dap.event("stopped")["reason"] != "breakpoint":
            pass  # the stop at the connection is told twice
        frame = top_frame(dap, thread)
        assert str(frame["name"]).partition("(")[0] == "add"
        assert frame["line"] == line_of("int sum = a + b;")
        assert variables(dap, frame) | {"sum": ""} == {"a": "3", "b": "4", "sum": ""}
        dap.ask("disconnect", {"terminateDebuggee": False})
    client.stub.expect("release")
    assert client.text_is_clean


def test_the_commands_of_codelldb(serve: Serve) -> None:
    """LLDB's commands by the extension: create the target, then connect."""
    client = serve()
    entry = vs_code("lldb", client)
    (create,), (connect,) = entry["targetCreateCommands"], entry["processCreateCommands"]
    assert connect == f"gdb-remote {client.stub.remote}"
    commands = ("breakpoint set --name add", "continue")
    said = lldb(client.stub.remote, None, *commands, before=[create], timeout=30)
    assert "stop reason = breakpoint 1.1" in said
