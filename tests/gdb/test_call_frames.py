"""Frames of compiled functions, beside the compiler's own description, and in a real GDB."""

import re
import subprocess
from bisect import bisect_right
from pathlib import Path

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile

from gdbstub.linux.call_frames import Frame, frames
from gdbstub.linux.debug_frame import with_frames
from tests.fakes.machine import fake_machine
from tests.gdb.build import BuiltGuest, build
from tests.gdb.conftest import Client
from tests.gdb.stub import Stub

#: As kernels are compiled.
FLAGS = (
    "-O1", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-fno-omit-frame-pointer",
    "-mbranch-protection=pac-ret", "-fno-inline",
)  # fmt: skip
#: The limits of a kernel's code, by the names that it gives them.
LIMITS = ("-Wl,--defsym=_stext=_start", "-Wl,--defsym=_etext=_start+0x400")
FP, LR, SP = 29, 30, 31


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> BuiltGuest:
    source = Path(__file__).parent / "guest.c"
    return build(tmp_path_factory.mktemp("frames"), source, *FLAGS, *LIMITS)


def test_the_compiler_says_the_same(compiled: BuiltGuest) -> None:
    """At each instruction: the CFA, and the caller's registers that are in memory."""
    compared = 0
    with compiled.elf.open("rb") as file:
        for entry in ELFFile(file).get_dwarf_info().CFI_entries():
            if not isinstance(entry, FDE):
                continue
            gva, size = entry["initial_location"], entry["address_range"]
            code = memoryview(compiled.image)[gva - 0x4000_0000 :][:size]
            changes, frame = dict(frames(code, gva, Frame(), {})), Frame()
            table = entry.get_decoded().table
            for number in range(size // 4):
                frame = changes.get(number, frame)
                row = table[bisect_right([each["pc"] for each in table], gva + 4 * number) - 1]
                cfa = row["cfa"]
                assert (cfa.reg, cfa.offset) in ((SP, frame.sp), (FP, frame.fp)), hex(gva)
                theirs = {
                    each: -rule.arg
                    for each, rule in row.items()
                    if isinstance(each, int) and rule.type == "OFFSET"
                }
                # What was loaded back in an epilogue is in its register and in memory.
                assert dict(frame.saved).items() <= theirs.items(), hex(gva + 4 * number)
                if LR in theirs and LR not in dict(frame.saved):
                    assert frame.fp is None
                compared += 1
    assert compared > 60


def with_frames_alone(guest: BuiltGuest, directory: Path) -> BuiltGuest:
    """Make the same guest with symbols and the frames that were found, and no other debug data."""
    bare = directory / "bare.elf"
    subprocess.run(["aarch64-linux-gnu-objcopy", "--strip-debug", guest.elf, bare], check=True)
    bare.write_bytes(with_frames(bare.read_bytes(), upper=0))
    return BuiltGuest(bare, guest.image, guest.code_size)


def test_gdb_unwinds_by_symbols_alone(compiled: BuiltGuest, tmp_path: Path) -> None:
    with Stub(fake_machine(compiled.image)) as stub:
        gdb = Client(stub, with_frames_alone(compiled, tmp_path))
        said = gdb(
            "break factorial", "continue", "ignore 1 3", "continue", "bt", "stepi 3", "bt",
            "finish", "bt 1", "kill",
        )  # fmt: skip
    stacks = re.findall(r"^#\d+ +0x[0-9a-f]+ in (\w+) \(\)$", said, re.M)
    # At the first instruction, with the record made, and after a return.
    whole = [*["factorial"] * 5, "main"]
    assert stacks == [*whole, *whole, "factorial"], said
