"""Commands on a Linux guest with nothing configured, compared with what the guest says itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from gdbstub.lab import demo
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

LOUD = "console=ttyAMA0"


def test_the_log_of_a_kernel(vmlinux: Path) -> None:
    with Stub("--append", LOUD) as stub:
        early = gdb(stub, vmlinux, "monitor dmesg", "detach")
        stub.console.wait_for(re.escape(demo.INIT_LINE))
        said = gdb(stub, vmlinux, "monitor dmesg", "monitor dmesg 2", "kill")
    assert "VMCOREINFO is not in RAM" in early
    shown = [line for line in said.splitlines() if line.startswith("[ ")]
    printed = [
        line.rstrip()
        for line in stub.console.text.splitlines()
        if re.match(r"\[ +\d+\.\d{6}\] ", line)
    ]
    assert len(printed) > 50
    # The console shows no line of a low level, and it may cut a line at boot.
    assert [line for line in printed if line in shown] == printed
    assert shown[-2:] == shown[-4:-2]


def test_a_vmcore(vmlinux: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Stub("--append", LOUD, "--smp", "2", "--memory", "256M") as stub:
        stub.console.wait_for(re.escape(demo.INIT_LINE))
        said = gdb(
            stub, vmlinux, "print $_", "info threads", "bt", "x/2i $pc", "monitor vmcore core",
            "monitor vmcore core", "monitor vmcore ../core", "kill",
        )  # fmt: skip
    assert "Wrote core, 256 MiB." in said
    assert "is no plain file name" in said
    assert "File exists" in said + stub.messages.text
    with (tmp_path / "core").open("rb") as file:
        elf = ELFFile(file)
        (notes_,) = elf.iter_segments("PT_NOTE")
        assert isinstance(notes_, NoteSegment)
        notes = list(notes_.iter_notes())
        loads = list(elf.iter_segments("PT_LOAD"))
    assert [note["n_name"] for note in notes] == ["CORE", "CORE", "VMCOREINFO"]
    assert loads[-1]["p_paddr"] == 0x4000_0000
    assert loads[-1]["p_filesz"] == 256 << 20
    offset = re.search(r"KERNELOFFSET=([0-9a-f]+)", notes[-1]["n_descdata"].decode())
    assert offset
    again = subprocess.run(
        ["gdb-multiarch", "-nx", "-nh", "-batch", "-ex", f"symbol-file {vmlinux} -o 0x{offset[1]}",
         "-ex", "core-file core", "-ex", "info threads", "-ex", "bt", "-ex", "x/2i $pc"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
    ).stdout  # fmt: skip
    frames = [line for line in said.splitlines() if line.startswith("#")]
    assert frames
    # A GDB before 16 takes signed return addresses of a core file for no addresses.
    assert [line for line in again.splitlines() if line.startswith("#0")][-1] == frames[0]
    code = re.findall(r"^(?:=>)? +(0x\w+ <.*)$", said, re.M)
    assert len(code) == 2
    assert re.findall(r"^(?:=>)? +(0x\w+ <.*)$", again, re.M) == code


#: No init, so that the kernel panics; and it then resets at once.
PANICS = f"{LOUD} rdinit=/none root=/dev/none panic=-1"
PANIC = "the guest panics: VFS: Unable to mount root fs on %s"


def test_the_guest_is_stopped_where_it_panics_and_resets(vmlinux: Path) -> None:
    with Stub("--append", PANICS, "--stop-on", "panic,oops,warn,reset") as stub:
        said = gdb(
            stub, vmlinux,
            "continue", "monitor why", "monitor break list",
            # It goes on from there as if nothing had been there.
            "continue", "bt 1", "monitor why", "monitor reset", "maint flush register-cache",
            "break panic", "continue", "monitor why", "kill",
        )  # fmt: skip
    first, second, third = re.findall(r"^Thread 1 at 0x[0-9a-f]+: (.*)$", said, re.M)
    assert (first, second, third) == (PANIC, "the guest resets itself", PANIC)
    assert "VFS: Cannot open root device" in said
    assert re.search(r"SIGABRT, Aborted\.\n0x[0-9a-f]+ in panic \(\)", said), said
    assert re.search(r"SIGABRT, Aborted\.\n0x[0-9a-f]+ in machine_restart \(\)", said), said
    assert re.search(r"Breakpoint 1, 0x[0-9a-f]+ in panic \(\)", said), said
    assert said.count(PANIC) > said.count(f": {PANIC}")  # in the stop itself, too


def test_a_guest_without_a_client_is_halted_where_it_panics(vmlinux: Path) -> None:
    with Stub("--append", PANICS, "--stop-on", "panic", "--free-run") as stub:
        stub.messages.wait_for(re.escape(PANIC))
        said = gdb(stub, vmlinux, "bt", "monitor dmesg 1", "detach")
        assert re.search(r"#0 +0x[0-9a-f]+ in panic \(\)", said), said
        stub.console.wait_for("Kernel panic - not syncing: VFS: Unable to mount root fs")


def test_what_cannot_be_stopped_on(tmp_path: Path) -> None:
    for words, why in (
        (("--stop-on", "panic,fire"), "'fire' is not one of panic, oops, warn, reset"),
        (("--stop-on", "panic", "--symbols", "/dev/null"), "needs a Linux guest and the symbols"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "gdbstub", "run", *words],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 2
        assert why in done.stderr
