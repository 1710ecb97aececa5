"""GDB's own records of a guest: it executes backwards, and writes core files."""

import subprocess
from pathlib import Path

from tests.gdb.conftest import Client


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


def test_generate_core_file(gdb: Client, tmp_path: Path) -> None:
    core = tmp_path / "core"
    said = gdb("tbreak touch", "continue", "bt", f"generate-core-file {core}", "kill")
    assert f"Saved corefile {core}" in said
    again = subprocess.run(
        ["gdb-multiarch", "-nx", "-nh", "-batch", gdb.guest.elf, core, "-ex", "bt"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=20,
    ).stdout  # fmt: skip
    frames = [line for line in said.splitlines() if line.startswith("#")]
    assert frames
    assert [line for line in again.splitlines() if line.startswith("#")][-len(frames) :] == frames
