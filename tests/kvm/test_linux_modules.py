"""Modules and CPUs of a Linux guest with KASLR, compared with what the guest says itself."""

import lzma
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from gdbstub.lab import demo
from gdbstub.lab import kernel as lab_kernel
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

_NAME: Final = re.compile(r"\d+-(.*)\.ko")
#: With KASLR.
COMMAND_LINE: Final = "console=ttyAMA0 quiet rdinit=/modules"


def test_modules_and_cpus(vmlinux: Path, initrd: Path) -> None:
    with Stub(
        demo.prepare().image, "--initrd", initrd, "--append", COMMAND_LINE, "--memory", "192M",
        "--symbols", vmlinux, "--smp", "2",
    ) as stub:  # fmt: skip
        early = gdb(stub, vmlinux, "monitor modules", "detach")
        assert "no vCPU has its MMU on: the kernel has not started yet" in early
        stub.console.wait_for("modules: end")
        said = gdb(
            stub, vmlinux, "monitor modules", "info os modules", "monitor modules failover",
            "monitor modules nothing", "info os cpus", "kill",
        )  # fmt: skip
        console = stub.console.rest()
    loaded = re.findall(r"modules: loaded (\w+) (\d+) (\d+) \S+ Live 0x([0-9a-f]+)", console)
    assert [row[0] for row in loaded] == ["net_failover", "failover"]
    ours = re.findall(r"^(\w+) +(\d+) +(\d+) +live +0x([0-9a-f]+) *$", said, re.M)
    tabled = re.findall(r"^(\w+) +(\d+) +(\d+) +live +0x([0-9a-f]+) 0x[0-9a-f]+ *$", said, re.M)
    assert ours == tabled
    # It was removed and loaded again since the guest said where it was.
    assert [row[:3] for row in ours] == [row[:3] for row in loaded]
    assert ours[1] == loaded[1]
    sections = dict(re.findall(r"modules: section failover ([\w.-]+):0x([0-9a-f]+)", console))
    assert len(sections) > 20
    shown = dict(re.findall(r"^([\w.-]+) +0x([0-9a-f]+)$", said, re.M))
    assert sections.items() <= shown.items()
    assert "no module nothing is loaded: monitor modules lists those that are" in said
    cpus = re.findall(
        r"^([01]) +on +EL1 +0x[0-9a-f]+ +0 +0x[0-9a-f]+ swapper/([01]) *$", said, re.M
    )
    assert cpus == [("0", "0"), ("1", "1")]


@pytest.fixture
def modules(tmp_path: Path) -> Path:
    """Modules as a distribution has them, one of which is compressed."""
    (banner,) = set(re.findall(rb"Linux version (\S+) ", demo.prepare().image.read_bytes()))
    directory = tmp_path / "lib/modules" / banner.decode() / "kernel/net"
    directory.mkdir(parents=True)
    for path in lab_kernel.prepare().modules.glob("*failover.ko"):
        match = _NAME.fullmatch(path.name)
        assert match
        if match[1] == "failover":
            (directory / "failover.ko.xz").write_bytes(lzma.compress(path.read_bytes()))
        else:
            (directory / f"{match[1]}.ko").write_bytes(path.read_bytes())
    return tmp_path


def test_breakpoints_in_modules_from_the_first_instruction_on(
    vmlinux: Path, initrd: Path, modules: Path, figure: list[str]
) -> None:
    with Stub(
        demo.prepare().image, "--initrd", initrd, "--append", COMMAND_LINE, "--memory", "192M",
        "--symbols", vmlinux, "--smp", "2", "--modules", modules,
    ) as stub:  # fmt: skip
        said = gdb(
            stub, vmlinux,
            "set breakpoint pending on", "break net_failover_init", "break net_failover_exit",
            "break failover_register",
            # An init, before its module has done anything.
            "continue", "echo 1st\\n", "bt", "info symbol $pc", "info sharedlibrary",
            "monitor modules", "info breakpoints",
            # The exit: the init has no address in memory any more.
            "continue", "echo 2nd\\n", "info symbol $pc", "info sharedlibrary",
            # It is loaded again, elsewhere.
            "continue", "echo 3rd\\n", "info symbol $pc", "info sharedlibrary",
            "info address failover_register",
            "delete", "detach",
            expected=(
                "warning: remote target does not support file transfer",
                "warning: Temporarily disabling breakpoints for unloaded shared library",
            ),
        )  # fmt: skip
        stub.console.wait_for("modules: end")
        console = stub.console.text
    _, *parts = re.split(r"^(?:1st|2nd|3rd)$", said, flags=re.M)
    first, second, third = parts
    assert re.search(r"hit Breakpoint 1, 0x[0-9a-f]+ in net_failover_init \(\)", said), said
    assert re.search(r"^#1 +0x[0-9a-f]+ in do_one_initcall \(\)", first, re.M), said
    for part in (first, third):
        assert "net_failover_init + 4 in section .init.text of" in part
        assert re.search(r"^0x.* Yes .*/\./net_failover\.ko$", part, re.M), said
    assert re.search(r"^net_failover +\d+ +1 +coming ", first, re.M), said
    assert re.search(r"hit Breakpoint 2, 0x[0-9a-f]+ in net_failover_exit \(\)", said), said
    assert "net_failover_exit + 8 in section .exit.text of" in second
    assert re.search(r"^0x.* Yes .*/net/net_failover\.ko$", second, re.M), said
    # Where the guest itself says that it is.
    text = re.search(r"modules: section failover \.text:0x([0-9a-f]+)", console)
    place = re.search(r"failover_register. is at 0x([0-9a-f]+)", third)
    assert text
    assert place
    assert int(place[1], 16) - int(text[1], 16) == _value("failover_register")
    exits = re.search(r"Breakpoint 2, 0x([0-9a-f]+) in", said)
    code = re.search(r"modules: section net_failover \.exit\.text:0x([0-9a-f]+)", console)
    assert exits
    assert code
    assert int(exits[1], 16) - int(code[1], 16) == 8
    # One list a module and a stop; nothing of it is left with the client gone.
    assert "modules: left failover" in console


def _value(symbol: str) -> int:
    (path,) = lab_kernel.prepare().modules.glob("*-failover.ko")
    table = subprocess.run(
        ["aarch64-linux-gnu-nm", path], capture_output=True, text=True, check=True, timeout=30
    ).stdout  # fmt: skip
    (line,) = (line for line in table.splitlines() if line.endswith(f" T {symbol}"))
    return int(line.split()[0], 16)


def test_what_is_no_directory_of_modules(tmp_path: Path, vmlinux: Path) -> None:
    for words, why in (
        (("--modules", tmp_path / "none"), "none: is no directory; expected one with a kernel's"),
        (("--modules", tmp_path), "has no module (*.ko, .ko.xz, .ko.zst, .ko.gz) of the kernel 6"),
        (("--modules", vmlinux), "is a file; expected a directory"),
        (("--modules", tmp_path, "--symbols", __file__), "needs a Linux guest and the symbols"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "gdbstub", "run", *words],
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 2
        assert why in done.stderr
