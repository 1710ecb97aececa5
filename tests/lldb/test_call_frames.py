"""Frames that were found in instructions, in a real LLDB that has symbols and nothing else."""

import re
from pathlib import Path

from tests.fakes.machine import fake_machine
from tests.gdb.build import build
from tests.gdb.stub import Stub
from tests.gdb.test_call_frames import FLAGS, LIMITS, with_frames_alone
from tests.lldb.conftest import Client

GUEST = Path(__file__).parents[1] / "gdb" / "guest.c"


def test_lldb_unwinds_by_symbols_alone(tmp_path: Path) -> None:
    guest = build(tmp_path, GUEST, *FLAGS, *LIMITS)
    with Stub(fake_machine(guest.image)) as stub:
        client = Client(stub, with_frames_alone(guest, tmp_path))
        said = client(
            "breakpoint set --name factorial --ignore-count 4", "continue", "bt",
            "thread step-inst --count 3", "bt", "image show-unwind --name factorial", "detach",
        )  # fmt: skip
    stacks = re.findall(r"^ +\*? +frame #\d+: 0x[0-9a-f]+ bare\.elf`(\w+)", said, re.M)
    whole = [*["factorial"] * 5, "main", "_start"]
    assert "_".join(stacks).count("_".join(whole)) == 2, said
    assert "debug_frame UnwindPlan" in said
