"""A Linux kernel that chooses its place at random, and a real gdb whose symbols get there."""

import re
from pathlib import Path
from typing import Final

from gdbstub.lab import demo
from tests.bounds import HANGS
from tests.kvm.conftest import Built, LinuxFiles
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub
from tests.lldb.debugger import lldb

COMMAND_LINE: Final = "console=ttyAMA0 quiet"
RAM: Final = 0x4000_0000

_FOUND: Final = re.compile(
    r"The kernel is 0x([0-9a-f]+) above where it was linked: VBAR_EL1 of vCPU 0 has its vectors\."
)


SEED: Final = "0x1234567890abcdef"


def test_breakpoints_by_name_from_the_first_instruction_on(linux: LinuxFiles) -> None:
    assert "nokaslr" not in COMMAND_LINE
    kernel = Built(linux.symbols)
    if linux.adds_random_numbers:
        _check_that_it_is_said(linux)
        return
    with Stub(
        linux.image, "--initrd", linux.initrd, "--symbols", linux.symbols,
        "--append", COMMAND_LINE, "--kaslr-seed", SEED, "--smp", "2",
    ) as stub:  # fmt: skip
        said = gdb(
            stub, linux.symbols,
            "monitor kaslr", "break start_kernel", "break rest_init", "continue",
            "output/x $pc", "echo \\n", "monitor kaslr", "continue", "bt",
            "monitor reset", "maint flush register-cache", "monitor kaslr", "continue",
            "delete", "kill",
        )  # fmt: skip
        will = re.findall(r"The kernel will be 0x([0-9a-f]+) above where it was linked", said)
        found = _FOUND.search(said)
        assert found, said
        assert will == [found[1]] * 2, said
        offset = int(found[1], 16)
        assert offset
        assert len(re.findall(r"Breakpoint 1, 0x[0-9a-f]+ in start_kernel \(\)", said)) == 2, said
        assert f"{kernel['start_kernel'] + offset:#x}" in said
        assert re.search(r"Breakpoint 2, 0x[0-9a-f]+ in rest_init \(\)", said), said
        assert re.search(r"#1 +0x[0-9a-f]+ in \w+ \(\)", said), said
        assert stub.wait() == 0


def _check_that_it_is_said(linux: LinuxFiles) -> None:
    with Stub(
        linux.image, "--initrd", linux.initrd, "--symbols", linux.symbols,
        "--append", COMMAND_LINE,
    ) as stub:  # fmt: skip
        stub.messages.wait_for(r"Linux 5\.6 to 5\.19 adds a random number of this CPU \(RNDR\)")


def test_lldb_is_told_too(vmlinux: Path) -> None:
    with Stub("--append", COMMAND_LINE, "--kaslr-seed", SEED) as stub:
        said = lldb(
            stub.remote, vmlinux,
            "breakpoint set --name start_kernel", "continue", "bt", "detach",
            timeout=HANGS,
        )  # fmt: skip
    assert "vmlinux`start_kernel" in said, said
    assert "stop reason = breakpoint 1.1" in said, said


def test_symbols_of_another_kernel_are_told_at_start(vmlinux: Path, tmp_path: Path) -> None:
    other = tmp_path / "vmlinux"
    data = vmlinux.read_bytes()
    at = data.index(b"Linux version ")
    other.write_bytes(data[:at] + data[at:].replace(b"Linux version 6", b"Linux version 5"))
    with Stub("--append", COMMAND_LINE, "--symbols", other) as stub:
        told = stub.messages.wait_for(r"--symbols \S+: is of another kernel than the guest: .*")
        assert "Linux version 5" in told[0]
        said = gdb(stub, vmlinux, "monitor kaslr", "kill")
    assert "Cannot locate the kernel" in said


def test_a_kernel_that_runs_already_is_found(vmlinux: Path, kernel: Built) -> None:
    start = kernel["start_kernel"] - kernel.start + RAM
    with Stub("--append", COMMAND_LINE, "--kaslr-seed", SEED, "--free-run") as stub:
        stub.console.wait_for(re.escape(demo.INIT_LINE))
        # A gdb that attaches now has its symbols moved, whether it brings them or not.
        said = gdb(stub, vmlinux, "monitor kaslr", "break cpu_do_idle", "continue", "bt 1")
        assert _FOUND.search(said) or "it is where it was, as vCPU 0 sees" in said, said
        assert re.search(r"Breakpoint 1, 0x[0-9a-f]+ in cpu_do_idle \(\)", said), said
        place = re.search(r"The kernel is (0x[0-9a-f]+) above", said)
        assert place
        paste = f"symbol-file {vmlinux} -o {place[1]}"
        assert f"\n  {paste}\n" in said

        # It had no trial boot, so it is said how to stop early.
        said = gdb(
            stub, vmlinux, "monitor reset", "maint flush register-cache", "monitor kaslr",
            "monitor break prefer software", f"break *{start:#x}", "continue", "delete",
            "monitor break prefer auto", "monitor kaslr", "detach",
        )  # fmt: skip
        assert "VBAR_EL1 is 0x0, where none of the kernel's vector tables can be" in said
        assert f"\n  monitor break prefer software\n  break *{start:#x}\n" in said
        assert f"The kernel is {place[1]} above where it was linked: VBAR_EL1 of vCPU 0" in said


def test_a_kernel_without_kaslr_is_where_it_was_linked(vmlinux: Path, kernel: Built) -> None:
    with Stub() as stub:
        said = gdb(stub, vmlinux, "hbreak start_kernel", "continue", "monitor kaslr", "kill")
    assert f"The kernel is where it was linked, at {kernel.start:#x}: VBAR_EL1 of vCPU 0" in said
