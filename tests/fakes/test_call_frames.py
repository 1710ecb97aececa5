"""Frames of functions by their instructions; real ones are in ``tests/gdb/test_call_frames.py``."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.linux.call_frames import Frame, frames
from tests.fakes.assembler import assemble

AT = 0xFFFF_8000_0801_0000
X19, X20, FP, LR = 19, 20, 29, 30


def of(text: str) -> list[tuple[int | None, int | None, set[int], bool]]:
    """SP's and x29's distances at each instruction and behind the last, what is saved, the end."""
    words = assemble(text)
    frame = Frame()
    changes, found = dict(frames(memoryview(words), AT, frame, {})), []
    for number in range(len(words) // 4 + 1):
        frame = changes.get(number, frame)
        found.append((frame.sp, frame.fp, {register for register, _ in frame.saved}, frame.ends))
    return found


def test_a_record_at_the_stack_pointer() -> None:
    none, saved, all_ = set[int](), {FP, LR}, {FP, LR, X19, X20}
    assert of(
        """
        paciasp
        stp x29, x30, [sp, #-32]!
        mov x29, sp
        stp x19, x20, [sp, #16]
        bl .
        ldp x19, x20, [sp, #16]
        ldp x29, x30, [sp], #32
        autiasp
        ret
        """
    ) == [
        *[(0, None, none, False)] * 2,
        (32, None, saved, False),
        (32, 32, saved, False),
        *[(32, 32, all_, False)] * 2,
        (32, 32, saved, False),
        *[(0, None, none, False)] * 2,
        # What is behind the end of one path is as where the function has set up its frame.
        (32, 32, all_, False),
    ]


def test_a_record_inside_the_frame_whatever_becomes_of_the_stack_pointer() -> None:
    found = of(
        """
        sub sp, sp, #0xa0
        str xzr, [sp, #8]
        stp x29, x30, [sp, #64]
        add x29, sp, #0x40
        sub sp, sp, x2, uxtx
        nop
        sub sp, x29, #0x40
        """
    )
    assert [row[:2] for row in found] == [
        (0, None), *[(160, None)] * 3, (160, 96), *[(None, 96)] * 2, (160, 96),
    ]  # fmt: skip
    assert found[-1][2] == {FP, LR}


def test_paths_that_come_together_have_the_frame_of_where_they_come_from() -> None:
    """A path without a frame is behind one that has one and has returned."""
    found = of(
        """
        cbz x0, 1f
        stp x29, x30, [sp, #-16]!
        mov x29, sp
        ldp x29, x30, [sp], #16
        ret
    1:  mov x0, #1
        ret
        """
    )
    assert [row[0] for row in found] == [0, 0, 16, 16, 0, 0, 0, 16]


def test_a_part_that_is_elsewhere_begins_with_the_frame_of_the_branch() -> None:
    elsewhere = dict[int, Frame]()
    words = assemble("stp x29, x30, [sp, #-16]!\nmov x29, sp\nb .+0x1000")
    *_, (_, frame) = list(frames(memoryview(words), AT, Frame(), elsewhere))
    assert elsewhere == {AT + 8 + 0x1000: frame}
    assert (frame.sp, frame.fp) == (16, 16)


def test_a_call_without_a_frame_has_lost_its_caller() -> None:
    assert [row[3] for row in of("nop\nbl .\nnop")] == [False, False, True, True]


@pytest.mark.parametrize(("pair", "ends"), [("x29, x22", False), ("xzr, xzr", True)])
def test_the_record_of_an_exception(pair: str, ends: bool) -> None:
    """Linux stores the address at which it was taken, and an empty record at an entry from EL0."""
    frame = of(f"stp x28, x29, [sp, #0xe0]\nstp {pair}, [sp, #0x130]\nadd x29, sp, #0x130")[-1]
    assert frame == (0, -0x130, {FP, LR}, ends)


@given(st.lists(st.integers(0, (1 << 32) - 1), max_size=30))
def test_any_words_give_some_frame(words: list[int]) -> None:
    code = struct.pack(f"<{len(words)}I", *words)
    for number, frame in frames(memoryview(code), AT, Frame(), {}):
        assert 0 <= number <= len(words)
        assert frame.cfa is None or frame.cfa[0] in (29, 31)
