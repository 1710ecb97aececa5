"""Guests that may be anywhere: a position-independent ELF, and the raw binary made of it."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.kvm.conftest import GUESTS
from tests.kvm.debugging import gdb
from tests.kvm.stub import Stub

FLAGS = [
    "-static-pie",
    "-fpie",
    "-nostdlib",
    "-O1",
    "-g",
    "-Wl,--build-id=none",
    "-Wl,--no-warn-rwx-segments",
]


@pytest.fixture(scope="module")
def elf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("anywhere")
    made = directory / "guest.elf"
    script, source = GUESTS / "anywhere.ld", GUESTS / "anywhere.c"
    argv = ["aarch64-linux-gnu-gcc", *FLAGS, "-T", str(script), "-o", str(made), str(source)]
    subprocess.run(argv, check=True)
    return made


SESSION = (
    "info address counted", "break counted", "continue", "continue", "print rounds",
    "print counters[0] == &rounds", "kill",
)  # fmt: skip


@pytest.mark.parametrize(
    ("address", "words"), [(0x4008_0000, ()), (0x4800_0000, ["--load=0x48000000"])]
)
def test_an_elf_is_relocated_and_its_symbols_fit(elf: Path, address: int, words: list[str]) -> None:
    with Stub(elf, *words) as stub:
        said = gdb(stub, elf, *SESSION)
    found = re.search(r'"counted" is a function at address 0x(\w+)', said)
    assert found, said
    assert address <= int(found[1], 16) < address + 0x1000
    assert "$1 = 2" in said, said
    assert "$2 = 1" in said, said


def test_a_raw_binary_runs_with_the_symbols_of_the_elf_beside_it(elf: Path) -> None:
    raw = elf.with_suffix(".flat")
    subprocess.run(["aarch64-linux-gnu-objcopy", "-O", "binary", elf, raw], check=True)
    with Stub(raw) as stub:
        assert "guest.flat has no header: a raw binary, loaded at 0x40080000" in stub.messages.text
        said = gdb(stub, elf, "print $pc", "tbreak run", "continue", "kill")
    assert "0x40080000 <_start>" in said, said
    assert re.search(r"Temporary breakpoint 1, .*run \(\)", said), said
