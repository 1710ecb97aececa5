"""Commands on a Linux guest, in a guest that is none."""

import re
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from tests.gdb.conftest import Client


def test_without_linux_that_is_said(gdb: Client) -> None:
    said = gdb("monitor dmesg", "monitor ps", "tbreak touch", "continue", "monitor why")
    assert said.count("no vCPU has its MMU on: the kernel has not started yet") == 3
    assert re.search(r"^Thread 1 at 0x400000\w\w: a breakpoint$", said, re.M)


def test_a_core_file_of_any_guest(
    gdb: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = gdb(
        "tbreak touch", "continue", "info registers sp pc", "monitor vmcore core",
        "monitor vmcore core",
    )  # fmt: skip
    assert "Wrote core, 2 MiB.\nIt has no VMCOREINFO: no vCPU has its MMU on" in said
    assert f"{tmp_path}" not in said
    assert "core: File exists" in said
    pc = re.search(r"^pc +0x([0-9a-f]+)", said, re.M)
    assert pc
    with (tmp_path / "core").open("rb") as file:
        elf = ELFFile(file)
        notes, ram = elf.iter_segments()
        assert isinstance(notes, NoteSegment)
        (status,) = notes.iter_notes()
        assert int(pc[1], 16).to_bytes(8, "little") in status["n_descdata"]
        assert (ram["p_paddr"], ram["p_filesz"]) == (0x4000_0000, 2 << 20)
        code = ram.data()[: gdb.guest.code_size]
    # No BRK of ours is in it.
    assert code == gdb.guest.image[: gdb.guest.code_size]
