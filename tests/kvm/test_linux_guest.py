"""Commands on a Linux guest with nothing configured, compared with what the guest says itself."""

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import drgn
import pytest
import zstandard
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import NoteSegment

from tests.bounds import HANGS
from tests.kvm.conftest import Built, LinuxFiles
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

pytestmark = pytest.mark.lengthy

#: With KASLR.
QUIET: Final = "console=ttyAMA0 quiet"
#: No init, so that the kernel panics; and it then resets at once.
NO_INIT: Final = "rdinit=/none root=/dev/none panic=-1"
PANICS: Final = f"{QUIET} {NO_INIT}"
PANIC: Final = "the guest panics: VFS: Unable to mount root fs on unknown-block(0,0)"


def _panics(linux: LinuxFiles) -> list[str | Path]:
    """Return the arguments for a guest that panics."""
    return [
        linux.image, "--initrd", linux.initrd, "--symbols", linux.symbols,
        "--append", linux.command_line(NO_INIT),
    ]  # fmt: skip


def test_log_processes_and_core_file(
    linux: LinuxFiles,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    figure: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    command_line = f"{QUIET} rdinit=/says"
    vmlinux = linux.symbols
    with Stub(
        linux.image, "--initrd", linux.initrd, "--append", command_line, "--memory", "192M",
        "--symbols", vmlinux, "--smp", "2", "--qmp", "unix:qmp",
    ) as stub:  # fmt: skip
        early = gdb(stub, vmlinux, "monitor dmesg", "monitor ps", "monitor why", "detach")
        stub.console.wait_for("says: end")
        began = time.monotonic()
        by_drgn = _drgn(tmp_path, "print(prog['UTS_RELEASE'].string_().decode())")
        figure.append(f"drgn, from its start to a value: {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        said = gdb(stub, vmlinux, "monitor dmesg", "detach")
        figure.append(f"attach and monitor dmesg: {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        said += gdb(stub, vmlinux, "monitor ps", "info os tasks", "detach")
        figure.append(f"attach, monitor ps and info os tasks: {time.monotonic() - began:.1f} s")
        began = time.monotonic()
        said += gdb(
            stub, vmlinux, "monitor kaslr", "bt", "x/2i $pc", "monitor vmcore core",
            "monitor vmcore ../core", "kill",
        )  # fmt: skip
        figure.append(f"attach and monitor vmcore of 192 MiB: {time.monotonic() - began:.1f} s")
        stub.console.rest()
    assert early.count("no vCPU has its MMU on: the kernel has not started yet") == 3
    _check_log(linux, stub.console.text, said)
    assert f"Linux version {by_drgn} " in said
    assert _by_core_file(tmp_path / "core") == by_drgn
    _check_processes(stub.console.text, said)
    assert "Wrote core, 192 MiB." in said
    assert "is no plain file name" in said
    _check_core_file(tmp_path / "core", vmlinux, said)


def _drgn(directory: Path, line: str) -> str:
    """Return the output of drgn for *line*, of the guest of a ``--qmp unix:qmp`` that runs."""
    script = directory / "line.py"
    script.write_text(line)
    return subprocess.run(
        [sys.executable, "-m", "gdbstub", "drgn", "--qmp", "unix:qmp", "-q", script],
        stdout=subprocess.PIPE, text=True, timeout=HANGS, check=True,
    ).stdout.strip()  # fmt: skip


def _by_core_file(core: Path) -> str:
    """The kernel's release, as drgn reads it in the core file at an address of the kernel's."""
    program = drgn.Program()
    program.set_core_dump(core)
    release: str = program["UTS_RELEASE"].string_().decode()
    place = re.search(rb"SYMBOL\(init_uts_ns\)=([0-9a-f]+)", program["VMCOREINFO"].string_())
    assert place
    assert release.encode() in program.read(int(place[1], 16), 400)
    return release


def _check_log(linux: LinuxFiles, console: str, said: str) -> None:
    stamped = re.compile(r"\[ +\d+\.\d{6}\] ")
    shown = [line for line in said.splitlines() if stamped.match(line)]
    lines = re.search(r"says: lines (\d+)", console)
    assert lines
    assert len(shown) >= int(lines[1]) > 100
    printed = [line.rstrip() for line in console.splitlines() if stamped.match(line)]
    last = [line for line in printed if line in shown]
    assert len(last) >= 3
    assert any(f"Linux version {linux.version[0]}.{linux.version[1]}." in line for line in shown)


def _check_processes(console: str, said: str) -> None:
    theirs = {
        (pid, name[:15], parent, "R" if state == "R" else "")  # as long as comm is
        for name, state, pid, parent in re.findall(r"says: task (\S+) (\S) (\d+) (\d+) ", console)
    }
    rows = re.findall(r"^(\d+) +(\d+) +(\w) +\S+ +0x[0-9a-f]+ +(.*)$", said, re.M)
    ours = {(pid, name.strip("[] "), parent) for pid, parent, _, name in rows}
    lasting = {
        (pid, name, parent)
        for pid, name, parent, state in theirs
        if not state and not name.startswith("kworker")
    }
    assert len(lasting) > 10
    assert lasting <= ours, lasting - ours
    assert ("1", "says", "0") in ours
    # The idle task, and short-lived ones of the guest's own script, are all that it did not say.
    more = ours - {(pid, name, parent) for pid, name, parent, _ in theirs}
    assert {name for _, name, _ in more} - {"swapper/0", "sleep"} == {
        name for _, name, _ in more if name.startswith("kworker")
    }
    table = re.findall(r"^(\d+) +\d+ +\w +\d* +0x[0-9a-f]+ +\S+", said, re.M)
    assert "1" in table


def _check_core_file(core: Path, vmlinux: Path, said: str) -> None:
    with core.open("rb") as file:
        elf = ELFFile(file)
        (notes_,) = (each for each in elf.iter_segments("PT_NOTE"))
        assert isinstance(notes_, NoteSegment)
        notes = list(notes_.iter_notes())
        loads = list(elf.iter_segments("PT_LOAD"))
    assert [note["n_name"] for note in notes] == ["CORE", "CORE", "VMCOREINFO"]
    assert loads[-1]["p_paddr"] == 0x4000_0000
    assert loads[-1]["p_filesz"] == 192 << 20
    assert re.search(r"KERNELOFFSET=([0-9a-f]+)", notes[-1]["n_descdata"].decode())
    # Where the symbols have no link addresses it is another one.
    offset = re.search(r"The kernel is 0x([0-9a-f]+) above where it was linked", said)
    assert offset
    again = subprocess.run(
        ["gdb-multiarch", "-nx", "-nh", "-batch", "-ex", f"symbol-file {vmlinux} -o 0x{offset[1]}",
         "-ex", f"core-file {core}", "-ex", "bt", "-ex", "x/2i $pc"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=HANGS,
    ).stdout  # fmt: skip
    # A GDB before 16 takes signed return addresses of a core file for no addresses.
    frames = [line for line in said.splitlines() if line.startswith("#0")]
    assert [line for line in again.splitlines() if line.startswith("#0")][-1] == frames[-1]
    code = re.findall(r"^(?:=>)? +(0x\w+ <.*)$", said, re.M)
    assert len(code) == 2
    assert re.findall(r"^(?:=>)? +(0x\w+ <.*)$", again, re.M) == code


def test_the_guest_is_stopped_where_it_panics_and_resets(linux: LinuxFiles) -> None:
    panic = "vpanic" if "vpanic" in Built(linux.symbols).symbols else "panic"
    with Stub(*_panics(linux), "--stop-on", "panic,oops,warn,reset") as stub:
        said = gdb(
            stub, linux.symbols,
            "continue", "monitor why",
            # It goes on from there as if nothing had been there.
            "continue", "bt 1", "monitor why", "monitor reset", "maint flush register-cache",
            f"break {panic}", "continue", "monitor why", "kill",
        )  # fmt: skip
    first, second, third = re.findall(r"^Thread 1 at 0x[0-9a-f]+: (.*)$", said, re.M)
    assert (first, second, third) == (PANIC, "the guest resets itself", PANIC)
    assert "VFS: Cannot open root device" in said
    assert re.search(rf"SIGABRT, Aborted\.\n0x[0-9a-f]+ in {panic} \(\)", said), said
    assert re.search(r"SIGABRT, Aborted\.\n0x[0-9a-f]+ in machine_restart \(\)", said), said
    assert re.search(rf"Breakpoint 1, 0x[0-9a-f]+ in {panic} \(\)", said), said
    assert said.count(PANIC) > said.count(f": {PANIC}")  # in the stop itself, too


def test_a_guest_without_a_client_is_halted_where_it_panics(vmlinux: Path) -> None:
    with Stub("--append", PANICS, "--stop-on", "panic", "--free-run") as stub:
        stub.messages.wait_for(re.escape(PANIC))
        said = gdb(stub, vmlinux, "bt", "monitor dmesg 1", "detach")
        assert re.search(r"#0 +0x[0-9a-f]+ in panic \(\)", said), said
        stub.console.wait_for("Kernel panic - not syncing: VFS: Unable to mount root fs")


def test_a_guest_that_panics_without_a_client_leaves_a_core_file(tmp_path: Path) -> None:
    core = tmp_path / "core.zst"
    with Stub(
        "--append", PANICS, "--vmcore-on", "panic,timeout", core, "--timeout", "60", "--free-run",
        "--memory", "96M",
    ) as stub:  # fmt: skip
        assert stub.wait() == 100
    assert PANIC in stub.messages.text
    assert f"gdbstub: the core file is in {core}\n" in stub.messages.text
    written = tmp_path / "core"
    with core.open("rb") as packed, written.open("wb") as file:
        zstandard.ZstdDecompressor().copy_stream(packed, file)
    with written.open("rb") as file:
        elf = ELFFile(file)
        (notes,) = (each for each in elf.iter_segments("PT_NOTE"))
        assert isinstance(notes, NoteSegment)
        names = [note["n_name"] for note in notes.iter_notes()]
        assert names == ["CORE", "VMCOREINFO"]
        assert [each["p_filesz"] for each in elf.iter_segments("PT_LOAD")][-1] == 96 << 20


def test_a_panic_decides_the_status_of_a_script(tmp_path: Path) -> None:
    script = (
        'gdb-multiarch -nx -batch -ex "set remotetimeout 30" -ex "target remote $GDB_REMOTE" '
        "-ex continue; ls core; exit 0"
    )
    core = tmp_path / "core"
    with Stub(
        "--append", PANICS, "--stop-on", "reset", "--vmcore-on", "panic", core, "--memory", "96M",
        "--script", script, "--timeout", "80",
    ) as stub:  # fmt: skip
        assert stub.wait() == 100
        said = stub.console.rest()
    assert "SIGABRT" in said
    assert core.stat().st_size > 96 << 20


def test_a_guest_that_may_not_reboot_ends_where_it_resets() -> None:
    with Stub("--append", PANICS, "--no-reboot", "--free-run", "--timeout", "80") as stub:
        assert stub.wait() == 0
        said = stub.console.rest()
    assert said.count("Kernel panic - not syncing: VFS: Unable to mount root fs") == 1
    assert said.count("Booting Linux") <= 1


def test_a_guest_that_takes_too_long_leaves_a_core_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Stub("--append", f"{QUIET} rdinit=/bin/sh", "--memory", "96M", "--free-run",
              "--vmcore-on", "timeout", "core", "--timeout", "2.5") as stub:  # fmt: skip
        assert stub.wait() == 124
    assert f"the core file is in {tmp_path / 'core'}\n" in stub.messages.text
    with (tmp_path / "core").open("rb") as file:
        loads = list(ELFFile(file).iter_segments("PT_LOAD"))
    assert loads[-1]["p_filesz"] == 96 << 20


def test_what_cannot_be_stopped_on() -> None:
    for words, why in (
        (("--stop-on", "panic,fire"), "'fire' is not one of panic, oops, warn, reset"),
        (("--stop-on", "panic", "--symbols", __file__), "is not an ELF file"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "gdbstub", "run", *words],
            capture_output=True, text=True, timeout=HANGS,
        )  # fmt: skip
        assert done.returncode == 2
        assert why in done.stderr
