"""gdb with the stub's information on the guest's program."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gdbstub.linux.kaslr import GuestProgram
from tests.bounds import HANGS
from tests.fakes.machine import fake_machine
from tests.gdb.build import BuiltGuest
from tests.gdb.conftest import Client
from tests.gdb.moved import OFFSET, moved_machine, program
from tests.gdb.stub import Stub


@pytest.fixture
def moved(guest: BuiltGuest) -> Iterator[Client]:
    """Gdb against a kernel that is elsewhere than it was linked."""
    with Stub(moved_machine(guest), program(guest)) as stub:
        yield Client(stub, guest)


def test_symbols_go_where_the_kernel_is(moved: Client) -> None:
    said = moved(
        "info symbol $pc", "break touch", "continue", "backtrace", "print watched",
        "print &watched", "finish", "maintenance packet qOffsets",
    )  # fmt: skip
    assert 'received: ""' in said  # GDB has asked before; gef takes an empty one for QEMU's
    assert "_start in section .text" in said
    assert "Breakpoint 1, touch () at" in said
    assert re.search(r"^#1 .* in main \(\) at ", said, re.M), said
    assert "= 4369\n" in said
    assert re.search(r"= \(volatile u64 \*\) 0x4003\w{4} <watched>", said), said
    assert re.search(r"^main \(\) at ", said, re.M), said


def test_a_kernel_that_has_not_moved_leaves_another_programs_symbols_alone(
    guest: BuiltGuest, tmp_path: Path
) -> None:
    other = tmp_path / "prog"
    subprocess.run(
        ["aarch64-linux-gnu-gcc", "-nostdlib", "-static", "-Wl,--build-id=none,-Ttext=0x500000",
         "-x", "c", "-", "-o", other],
        input="void _start(void) { for (;;); }", text=True, check=True,
    )  # fmt: skip
    with Stub(moved_machine(guest, 0), program(guest)) as stub:
        assert '"_start" is at 0x40000000 in' in Client(stub, guest)("info address _start")
        client = Client(stub, BuiltGuest(other, b"", 0))
        assert '"_start" is at 0x500000 in' in client("info address _start")


def test_monitor_kaslr_says_what_to_paste(guest: BuiltGuest) -> None:
    """Asked by a gdb that attached too early, and pasted there."""
    paste = f"symbol-file {guest.elf} -o {OFFSET:#x}"
    with Stub(moved_machine(guest, vectors_are_set=False), program(guest)) as stub:
        said = Client(stub, guest)(
            "monitor kaslr", "info symbol $pc", "set var $VBAR_EL1 = 0x40030000", "monitor kaslr",
            paste, "info symbol $pc", "tbreak touch", "continue", "monitor kaslr",
        )  # fmt: skip
    assert "vCPU 0: VBAR_EL1 is 0x0, where none of the kernel's vector tables can be\n" in said
    assert "\n  break *0x40000000\n" in said
    assert "No symbol matches $pc" in said
    assert "The kernel is 0x30000 above where it was linked: VBAR_EL1 of vCPU 0 has its" in said
    assert said.count(f"\n  {paste}\n") == 2
    assert "_start in section .text" in said
    assert "Temporary breakpoint 1, touch () at" in said


def test_where_it_was_is_remembered(moved: Client) -> None:
    """KPTI's vectors, while a program runs, tell nothing; after a reset it may be elsewhere."""
    said = moved(
        "set var $VBAR_EL1 = 0x40000800", "monitor kaslr", "set var *(int *) $pc = 0",
        "monitor kaslr",
        "monitor reset", "monitor kaslr",
    )  # fmt: skip
    first, second, third = re.findall(r"^The kernel.*|^Cannot locate.*", said, re.M)
    assert first.endswith(" above where it was linked: it is where it was, as vCPU 0 sees.")
    assert second == "Cannot locate the kernel."
    assert third.endswith(" VBAR_EL1 of vCPU 0 has its vectors.")


def test_what_to_do_is_said_where_it_helps(guest: BuiltGuest) -> None:
    """Before the MMU is on, and at EL0; in the kernel VBAR_EL1 is what it is."""
    with Stub(moved_machine(guest, vectors_are_set=False), program(guest)) as stub:
        said = Client(stub, guest)(
            "monitor kaslr", "set var $SCTLR_EL1 = $SCTLR_EL1 | 1", "monitor kaslr",
            "set var $cpsr = 0", "monitor kaslr",
        )  # fmt: skip
    early, in_the_kernel, in_a_program = said.split("Cannot locate the kernel.\n")[1:]
    assert "It can be located once it has set VBAR_EL1." in early
    assert re.fullmatch(r"vCPU 0: VBAR_EL1 is 0x0, .*\n", in_the_kernel)
    assert "the kernel may be unmapped and its vectors put aside (KPTI)" in in_a_program


def test_without_symbols_there_is_nothing_to_find_it_by(gdb: Client) -> None:
    said = gdb("monitor kaslr", "info symbol $pc")
    assert "no kernel's symbols are known: give its vmlinux to --symbols\n" in said
    assert "_start in section .text" in said


def without_a_file(stub: Stub, command: str) -> str:
    """Return GDB's output for *command*, where GDB was given no program file."""
    return subprocess.run(
        ["gdb-multiarch", "-nx", "-nh", "-batch", "-ex", f"target remote {stub.remote}",
         "-ex", command],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=HANGS,
    ).stdout  # fmt: skip


def test_gdb_finds_the_program_by_itself(guest: BuiltGuest) -> None:
    with Stub(moved_machine(guest), program(guest)) as stub:
        said = without_a_file(stub, "info symbol $pc")
    assert f"Reading symbols from {guest.elf}..." in said
    assert "_start in section .text" in said


def test_a_file_that_is_not_there_troubles_nobody(guest: BuiltGuest) -> None:
    with Stub(fake_machine(guest.image), GuestProgram("/nowhere/vmlinux")) as stub:
        assert "= (void (*)()) 0x40000000\n" in without_a_file(stub, "print $pc")
    with Stub(fake_machine(guest.image), GuestProgram("/nowhere/vmlinux")) as stub:
        assert "_start in section .text" in Client(stub, guest)("info symbol $pc")


def test_info_os_and_info_sharedlibrary(gdb: Client) -> None:
    said = gdb("info os", "info os threads", "info sharedlibrary")
    assert re.search(r"^threads +Listing of all threads, which are the vCPUs", said, re.M), said
    assert re.search(r"^thread +core +name +state +pc *$", said, re.M), said
    assert re.search(r"^1 +0 +CPU0 +halted +0x40000000 *$", said, re.M), said
    assert "No shared libraries loaded at this time.\n" in said
