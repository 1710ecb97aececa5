"""A real Linux kernel under a real gdb, from its first instruction to its user space."""

import re
from pathlib import Path

from gdbstub.lab import demo
from gdbstub.swbp import BRK_COMMENT
from tests.kvm.debugging import Interactive, gdb
from tests.kvm.stub import Stub

STEPS = Path(__file__).parent / "check_steps.py"


def test_from_the_first_instruction_to_init(vmlinux: Path) -> None:
    with Stub() as stub:
        said = gdb(
            stub,
            vmlinux,
            "output/x $pc",
            "echo \\n",
            "hbreak start_kernel",
            "continue",
            "break sched_init",
            "continue",
            "x/8i $pc",
            f"@{STEPS}",
            "bt",
            "delete",
            "watch -location *(unsigned long *)($sp - 16)",
            "continue",
            "delete",
            "detach",
        )
        assert "0x40000000" in said
        assert re.search(r"Breakpoint 1, 0x[0-9a-f]+ in start_kernel \(\)", said), said
        assert re.search(r"Breakpoint 2, 0x[0-9a-f]+ in sched_init \(\)", said), said
        assert "20 steps were right" in said
        # The kernel has BRKs of its own there; ours, where the breakpoint is, must not show.
        first = re.search(r"=> 0x[0-9a-f]+ <sched_init>:\t(\S+)", said)
        assert first, said
        assert first[1] != "brk"
        assert f"{BRK_COMMENT:#x}" not in said
        assert re.search(r"#\d+ +0x[0-9a-f]+ in start_kernel \(\)", said), said
        old, new = re.search(r"Old value = (\d+)\nNew value = (\d+)\n", said).groups()  # type: ignore[union-attr]
        assert old != new

        session = Interactive(stub, vmlinux)
        session.type("continue")
        stub.console.wait_for(re.escape(demo.INIT_LINE))
        session.interrupt()
        session.said.wait_for("Program received signal SIGINT")
        said = session.finish("bt 1", "kill")
        assert "killed" in said
        assert stub.wait() == 0


def test_a_guest_that_reboots_stops_at_its_first_instruction_again(vmlinux: Path) -> None:
    with Stub("--append", f"{demo.COMMAND_LINE} panic=-1 rdinit=/nothing root=/dev/none") as stub:
        said = gdb(
            stub, vmlinux,
            # Nothing is mapped there yet: a comparator stands in until something is.
            "break start_kernel", "continue", "continue", "output/x $pc", "echo \\n",
            "continue", "bt", "kill",
        )  # fmt: skip
        assert len(re.findall(r"in start_kernel \(\)", said)) >= 2, said
        assert "0x40000000" in said
