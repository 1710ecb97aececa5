"""Our core files in crash(8), compared with what our commands say of the same guest.

The program is that of ``--crash``, without which this file is not collected. Older ones than 8.0.4
do not know the task table of a recent 6.1.
"""

import re
import subprocess
from pathlib import Path
from typing import Final

import pytest

from gdbstub.lab import debug_symbols
from tests.bounds import HANGS
from tests.kvm.conftest import LinuxFiles
from tests.kvm.debugging import gdb, marked, parts
from tests.kvm.stub import Stub

#: crash: ``>`` if it is on a CPU, PID, PPID, CPU, task, state, memory in three columns, name.
_THEIR_TASK: Final = re.compile(
    r"^[> ] +(\d+) +(\d+) +\d+ +([0-9a-f]{16}) +[A-Z]+ +\S+ +\d+ +\d+ +(\S+)", re.M
)
#: ``monitor ps``: PID, PPID, state, vCPU, task, name.
_OUR_TASK: Final = re.compile(r"^(\d+) +(\d+) +\S +\S+ +0x([0-9a-f]{16}) +(\S+)", re.M)
_STAMPED: Final = re.compile(r"^\[ +\d+\.\d{6}\].*$", re.M)
_THEIR_FRAME: Final = re.compile(r"^ *#\d+ \[[0-9a-f]+\] (\S+) at ([0-9a-f]{16})", re.M)
_OUR_FRAME: Final = re.compile(r"^#\d+ +0x([0-9a-f]{16}) ([^\s+]+)\+", re.M)
#: crash: address of the struct, name, base, size.
_THEIR_MODULE: Final = re.compile(r"^[0-9a-f]{16} +(\w+) +[0-9a-f]{16} +\d+ ", re.M)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("more", ["", "nokaslr"], ids=["kaslr", "nokaslr"])
def test_tasks_log_modules_and_backtraces(
    linux: LinuxFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: str, more: str
) -> None:
    monkeypatch.chdir(tmp_path)
    vmlinux = debug_symbols.prepare(linux.image.read_bytes())
    with Stub(
        linux.image, "--initrd", linux.initrd, "--memory", "192M", "--smp", "2", "--free-run",
        "--symbols", vmlinux, "--append", linux.command_line(f"rdinit=/modules {more}"),
    ) as stub:  # fmt: skip
        stub.console.wait_for("modules: end")
        asked = marked("monitor ps", "monitor dmesg", "monitor bt 1", "monitor vmcore core")
        said = gdb(
            stub, vmlinux, *asked, "kill",
            expected=["warning: remote target does not support file transfer"],
        )  # fmt: skip
        stub.console.rest()
    script = tmp_path / "script"
    commands = ("ps", "log", "bt 1", "mod", "sys", "bt -a")
    script.write_text("".join(f"!echo @@ {each}\n{each}\n" for each in commands) + "quit\n")
    done = subprocess.run(
        [crash, "-s", "--no_scroll", "-x", vmlinux, "core", "-i", script],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=HANGS, check=True,
    )  # fmt: skip
    ours, theirs = parts(said), parts(done.stdout)

    tasks = _tasks(_OUR_TASK, ours["monitor ps"])
    assert len(tasks) > 20
    assert _tasks(_THEIR_TASK, theirs["ps"]) == tasks
    lines = _STAMPED.findall(ours["monitor dmesg"])
    assert len(lines) > 100
    assert _STAMPED.findall(theirs["log"]) == lines
    # crash shows the address of a call, and we show that behind it.
    frames = [(name, int(at, 16) - 4) for at, name in _OUR_FRAME.findall(ours["monitor bt 1"])]
    assert len(frames) > 5
    assert [(name, int(at, 16)) for name, at in _THEIR_FRAME.findall(theirs["bt 1"])] == frames
    loaded = set(re.findall(r"modules: loaded (\w+) ", stub.console.text))
    assert set(_THEIR_MODULE.findall(theirs["mod"])) == loaded != set()
    assert "CPUS: 2\n" in theirs["sys"]
    assert len(re.findall(r"^PID: ", theirs["bt -a"], re.M)) == 2


def _tasks(row: re.Pattern[str], text: str) -> set[tuple[str, ...]]:
    """Return PID, PPID, address and name of each task but the idle ones."""
    found = row.findall(text)
    return {(*each[:3], each[3].strip("[]")) for each in found if each[0] != "0"}
