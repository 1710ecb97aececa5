import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.errors import InputError
from gdbstub.linux import elf
from tests.bounds import HANGS
from tests.pure.elves import EHDR, PHDR, PT_INTERP, RAM, Elf, Load

TWO = Elf(
    [Load(RAM, b"code" * 8, vaddr=0xFFFF_0000_0000_0000), Load(RAM + 0x1000, b"data", memsz=0x80)],
    entry=0xFFFF_0000_0000_0008,
    symbols=[("twin", 1, 0), ("twin", 2, 1), ("twin", 3, 1), ("$x.1", 4, 0), ("start", 5, 0)],
)


def test_segments_and_entry() -> None:
    found = elf.parse(TWO.build(), "guest")
    assert [(s.paddr, s.vaddr, bytes(s.data), s.memsz) for s in found.segments] == [
        (RAM, 0xFFFF_0000_0000_0000, b"code" * 8, 32),
        (RAM + 0x1000, RAM + 0x1000, b"data", 0x80),
    ]
    assert found.entry == TWO.entry
    assert found.physical_entry == RAM + 8


def test_symbols_prefer_the_global_and_drop_mapping_symbols() -> None:
    found = elf.parse(TWO.build(), "guest")
    assert found.symbols == {"twin": 2, "start": 5}
    assert found.symbol("start") == 5
    with pytest.raises(InputError, match="guest: has no symbol main"):
        found.symbol("main")


@given(st.sets(st.sampled_from(["twin", "start", "wins", "art", "$x.1", ""])))
def test_names_that_are_looked_for_are_what_all_symbols_say(names: set[str]) -> None:
    found = elf.parse(TWO.build(), "guest")
    assert found.find(*names) == {n: found.symbols[n] for n in names if n in found.symbols}


def test_a_name_that_is_the_end_of_another_is_found() -> None:
    """Linkers keep such names once; here the second's index is moved into the first's."""
    data = Elf(symbols=[("tramp_vectors", 1, 1), ("_vectors", 2, 1)]).build()
    at = data.index(struct.pack("<IBBHQ", 15, 1 << 4 | 2, 0, 1, 2))
    merged = data[:at] + (7).to_bytes(4, "little") + data[at + 4 :]
    found = elf.parse_linked(merged, "guest")
    assert found.symbols == {"tramp_vectors": 1, "vectors": 2}
    assert found.find("vectors") == {"vectors": 2}


def _with(at: int, value: int, size: int, base: Elf = TWO) -> bytes:
    data = base.build()
    return data[:at] + value.to_bytes(size, "little") + data[at + size :]


def test_a_segment_of_zeroes_may_have_its_offset_anywhere() -> None:
    """``ld`` gives one that is all BSS the offset it would have had, beyond the file's end."""
    base = Elf([Load(RAM), Load(RAM + 0x1000, b"", memsz=0x40)])
    found = elf.parse(_with(EHDR + PHDR + 8, 0xFFF0, 8, base), "guest")
    assert (bytes(found.segments[1].data), found.segments[1].memsz) == (b"", 0x40)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"#!/bin/sh\n", "is not an ELF file"),
        (b"", "is not an ELF file"),
        (b"\x7fELF\x02\x01", "is truncated: 6 bytes hold no ELF header"),
        (Elf(machine=62).build(), "is an ELF for x86-64; expected AArch64"),
        (_with(4, 1, 1, Elf(machine=40)), "is an ELF for 32-bit Arm; expected AArch64"),
        (Elf(machine=9999).build(), "is an ELF for machine 9999; expected AArch64"),
        (_with(4, 1, 1), r"is a 32-bit \(ILP32\) ELF; expected 64-bit AArch64"),
        (
            TWO.build()[:5] + b"\2" + TWO.build()[6:18] + b"\0\xb7" + TWO.build()[20:],
            "is a big-endian ELF; expected little-endian AArch64",
        ),
        (Elf(type=1).build(), "is a relocatable object; link it into an executable first"),
        (Elf(type=3).build(), "is position-independent or shared; link it statically"),
        (Elf(type=4).build(), "is a core dump; expected a static executable"),
        (Elf([Load(), Load(type=PT_INTERP)]).build(), "needs a dynamic linker"),
        (Elf([]).build(), "has nothing to load"),
        (Elf([Load(type=4)]).build(), "has nothing to load"),
        (TWO.build()[: EHDR + PHDR], "is truncated: the program headers would end"),
        (TWO.build()[:-1], "is truncated: the section headers would end at byte"),
        (_with(EHDR + 32, 1 << 40, 8, Elf([Load(memsz=1 << 41)])), "is truncated: segment 0"),
        (Elf([Load(memsz=1)]).build(), "segment 0 is larger in the file than in memory"),
        (Elf([Load(memsz=(1 << 64) - 8)]).build(), "segment 0 reaches beyond 64 bits"),
        (Elf(entry=4).build(), "the entry point 0x4 is in none of its segments"),
        (Elf(entry=RAM + 2).build(), "the entry point 0x40000002 is not a multiple of 4"),
        (_with(56, 0xFFFF, 2), "has 65535 program headers or more; expected fewer"),
        (_with(54, 0, 2), r"is a damaged ELF file \(headers of an unknown size\)"),
    ],
)
def test_bad_input_gets_one_clear_line(data: bytes, line: str) -> None:
    with pytest.raises(InputError, match=f"^g.elf: {line}") as caught:
        elf.parse(data, "g.elf")
    assert "\n" not in str(caught.value)


def test_a_huge_memsz_is_only_a_figure() -> None:
    found = elf.parse(Elf([Load(memsz=1 << 60)]).build(), "guest")
    assert found.segments[0].memsz == 1 << 60


@settings(max_examples=400)
@given(st.data())
def test_a_mutated_file_never_raises_anything_else(data: st.DataObject) -> None:
    content = bytearray(TWO.build())
    edits = st.lists(
        st.tuples(
            st.integers(0, len(content) - 8),
            st.sampled_from([1, 2, 4, 8]),
            st.one_of(st.integers(0, 255), st.integers(0, (1 << 64) - 1)),
        ),
        min_size=1,
        max_size=6,
    )
    for at, size, value in data.draw(edits):
        content[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
    cut = data.draw(st.integers(0, len(content)))
    whole = bytes(content[:cut] if data.draw(st.booleans()) else content)
    try:
        found = elf.parse(whole, "guest")
        assert isinstance(found.symbols, dict)
    except InputError:
        return
    assert all(len(s.data) <= len(whole) for s in found.segments)


@given(st.binary(max_size=200))
def test_garbage_never_raises_anything_else(data: bytes) -> None:
    with pytest.raises(InputError):
        elf.parse(b"\x7fELF" + data, "guest")


def test_what_the_cross_linker_makes(tmp_path: Path) -> None:
    source, out = tmp_path / "a.S", tmp_path / "a.elf"
    source.write_text(".global _start\nnop\n_start: b .\n.bss\nstack: .space 4096\n")
    options = ["-nostdlib", "-static", "-no-pie", f"-Wl,-Ttext={RAM:#x}", "-Wl,-N"]
    subprocess.run(["aarch64-linux-gnu-gcc", *options, "-o", out, source], check=True)
    found = elf.parse(out.read_bytes(), "a.elf")
    assert found.entry == found.physical_entry == found.symbol("_start") == RAM + 4
    text = next(s for s in found.segments if s.paddr == RAM)
    assert bytes(text.data[:4]) == b"\x1f\x20\x03\xd5"
    assert sum(s.memsz - len(s.data) for s in found.segments) >= 4096


COLLECTED = """
import gc, sys
from gdbstub.errors import InputError
from gdbstub.linux import elf
try:
    elf.parse(sys.stdin.buffer.read(), "guest")
except InputError as error:
    error.cycle = error
gc.collect()
print("collected")
"""


def test_the_error_of_a_bad_file_can_be_collected_in_a_cycle() -> None:
    """Python before 3.12.7 dies there, if an iterator of struct reads from a memoryview."""
    data = Elf([Load(), Load(memsz=1)]).build()
    argv = [sys.executable, "-c", COLLECTED]
    done = subprocess.run(argv, input=data, capture_output=True, timeout=HANGS)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"collected\n", b"")
