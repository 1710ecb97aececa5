"""Commands on a Linux guest with nothing configured, compared with what the guest says itself."""

import re
import subprocess
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

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
        notes = [note for segment in elf.iter_segments("PT_NOTE") for note in segment.iter_notes()]
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
    assert [line for line in again.splitlines() if line.startswith("#")][-len(frames) :] == frames
    code = re.findall(r"^(?:=>)? +(0x\w+ <.*)$", said, re.M)
    assert len(code) == 2
    assert re.findall(r"^(?:=>)? +(0x\w+ <.*)$", again, re.M) == code
