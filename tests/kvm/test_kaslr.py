"""A Linux kernel that chooses its place at random, and a real gdb whose symbols get there."""

import re
from pathlib import Path
from typing import Final

from gdbstub.lab import demo
from tests.kvm.conftest import Built
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

COMMAND_LINE: Final = "console=ttyAMA0 quiet"
RAM: Final = 0x4000_0000
LINKED: Final = 0xFFFF_8000_0800_0000

_FOUND: Final = re.compile(
    r"The kernel is 0x([0-9a-f]+) above where it was linked: VBAR_EL1 of vCPU 0 has its vectors\."
)


def test_a_kernel_with_kaslr_is_found(vmlinux: Path, kernel: Built) -> None:
    assert "nokaslr" not in COMMAND_LINE
    start = kernel["start_kernel"] - LINKED + RAM
    with Stub("--append", COMMAND_LINE, "--kaslr-seed", "0x1234567890abcdef") as stub:
        said = gdb(
            stub, vmlinux,
            "monitor kaslr",
            # As it says, to stop early where symbols do not fit yet.
            "monitor break prefer software", f"break *{start:#x}", "continue", "delete",
            "monitor break prefer auto", "output/x $pc", "echo \\n", "monitor kaslr",
            "detach",
        )  # fmt: skip
        first, second = said.split("SIGTRAP")
        assert "VBAR_EL1 is 0x0, where none of the kernel's vector tables can be" in first
        assert f"\n  monitor break prefer software\n  break *{start:#x}\n" in first
        found = _FOUND.search(second)
        assert found, said
        offset = int(found[1], 16)
        assert offset
        assert f"{kernel['start_kernel'] + offset:#x}" in second
        paste = f"symbol-file {vmlinux} -o {offset:#x}"
        assert f"\n  {paste}\n" in second

        stub.console.wait_for(re.escape(demo.INIT_LINE))
        # A gdb that attaches now has its symbols moved, whether it brings them or not.
        said = gdb(stub, vmlinux, "monitor kaslr", "break cpu_do_idle", "continue", "bt 1")
        assert _FOUND.search(said) or "it is where it was, as vCPU 0 sees" in said, said
        assert f"{offset:#x} above where it was linked" in said
        assert re.search(r"Breakpoint 1, 0x[0-9a-f]+ in cpu_do_idle \(\)", said), said

        # The seed stays, so the next boot is the same; and symbols fit from its start.
        said = gdb(
            stub, vmlinux, "monitor reset", "maint flush register-cache", paste,
            "break start_kernel", "continue", "monitor kaslr", "delete", "kill",
        )  # fmt: skip
        assert re.search(r"Breakpoint 1, 0x[0-9a-f]+ in start_kernel \(\)", said), said
        assert f"{offset:#x} above where it was linked: VBAR_EL1 of vCPU 0" in said
        assert stub.wait() == 0


def test_a_kernel_without_kaslr_is_where_it_was_linked(vmlinux: Path) -> None:
    with Stub() as stub:
        said = gdb(stub, vmlinux, "hbreak start_kernel", "continue", "monitor kaslr", "kill")
    assert f"The kernel is where it was linked, at {LINKED:#x}: VBAR_EL1 of vCPU 0" in said
