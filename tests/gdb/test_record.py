"""GDB's own records of a guest: it executes backwards, and writes core files."""

import subprocess
from pathlib import Path

from tests.bounds import HANGS
from tests.gdb.conftest import Client

#: Said by a GDB that a signal ends, as Ubuntu 24.04's 15.0 while it writes a core file: where the
#: stub cannot send /proc/PID/cmdline, linux_fill_prpsinfo takes -1 for its length, and reads it.
CRASHED = "A fatal error internal to GDB has been detected"


def test_record_full(gdb: Client) -> None:
    said = gdb(
        "tbreak factorial", "continue", "record full", "stepi", "stepi", "print $pc", "stepi",
        "reverse-stepi", "print $pc", "reverse-continue", "info record", "record stop", "kill",
    )  # fmt: skip
    places = [line.split("= ")[1] for line in said.splitlines() if line.startswith("$")]
    assert len(places) == 2
    assert places[0] == places[1]
    assert "Log contains 3 instructions." in said
    assert "Process record is stopped" in said


def frames(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("#")]


def test_generate_core_file(gdb: Client, tmp_path: Path) -> None:
    core = tmp_path / "core"
    said = gdb("tbreak touch", "continue", "bt", f"generate-core-file {core}", "kill")
    assert frames(said)
    if CRASHED in said:
        # That is GDB's own fault. The next one finds the guest as it was.
        assert frames(gdb("bt")) == frames(said)
        assert gdb.text_is_clean
        return
    assert f"Saved corefile {core}" in said
    again = subprocess.run(
        ["gdb-multiarch", "-nx", "-nh", "-batch", gdb.guest.elf, core, "-ex", "bt"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=HANGS,
    ).stdout  # fmt: skip
    assert frames(again)[-len(frames(said)) :] == frames(said)
