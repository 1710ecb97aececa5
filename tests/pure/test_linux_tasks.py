"""The list of tasks, and the BTF that says how it is laid out, both forged."""

import struct
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdbstub.errors import NotFound, StubError
from gdbstub.linux import btf
from gdbstub.linux.tasks import Tasks
from tests.pure import linux_images
from tests.pure.linux_images import START, STRUCT, UNION, VOFFSET
from tests.pure.linux_images import btf_of as forged

if TYPE_CHECKING:
    from gdbstub.linux.memory import LinuxKernel

MEMBERS = {
    "__state": 8, "tasks": 16, "pid": 32, "real_parent": 40, "mm": 48, "comm": 56, "exit_state": 72
}  # fmt: skip
SIZE = 128


def btf_of(members: dict[str, int], *, kind: int = STRUCT, name: str = "task_struct") -> bytes:
    return forged({name: (SIZE, members)}, kind=kind)


def test_offsets_of_members() -> None:
    found = btf.find(b"junk" + btf_of(MEMBERS) + b"more").members("task_struct", ("pid", "comm"))
    assert found == {"pid": 32, "comm": 56}


@pytest.mark.parametrize("added", [0, 8, 40])
def test_a_header_that_later_versions_have_made_longer(added: int) -> None:
    data = btf_of(MEMBERS)
    data = data[:4] + struct.pack("<I", 24 + added) + data[8:24] + b"\x11" * added + data[24:]
    assert btf.size_of(data[: btf.HEADER]) == len(data)
    assert btf.find(b"junk" + data).members("task_struct", ("pid",)) == {"pid": 32}


@pytest.mark.parametrize("length", [0, 23, 26, 1 << 20, (1 << 32) - 1])
def test_a_header_whose_length_is_none(length: int) -> None:
    data = btf_of(MEMBERS)
    data = data[:4] + struct.pack("<I", length) + data[8:]
    assert btf.size_of(data[: btf.HEADER]) == 0
    with pytest.raises(NotFound, match="BTF"):
        btf.find(data)


@pytest.mark.parametrize(
    "image",
    [
        btf_of(MEMBERS, kind=UNION),
        btf_of(MEMBERS, name="task_strict"),
        btf_of({"other": 0}),
        btf_of(MEMBERS)[:60],
        b"",
        bytes(1000),
    ],
)
def test_what_has_no_such_structure(image: bytes) -> None:
    with pytest.raises(NotFound, match="BTF"):
        btf.find(image).members("task_struct", ("pid",))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 300), st.binary(min_size=1, max_size=8)), max_size=4))
def test_damaged_btf_is_no_more_than_a_line(writes: list[tuple[int, bytes]]) -> None:
    image = bytearray(btf_of(MEMBERS))
    for at, data in writes:
        image[at : at + len(data)] = data
    with suppress(StubError):
        btf.find(bytes(image)).members("task_struct", MEMBERS)


class Guest(linux_images.Guest):
    """A kernel of one page of BTF and some tasks behind it."""

    def tasks(self) -> list[tuple[int, int, str, str, bool]]:
        return [
            (each.pid, each.parent, each.state, each.name, each.kernel_thread)
            for each in Tasks(cast("LinuxKernel", self)).all()
        ]


def place(number: int) -> int:
    return 0x1000 + number * SIZE


def guest(*tasks: tuple[int, int, int, bytes, int]) -> Guest:
    """Tasks as (pid, number of the parent, state, name, mm), in a ring."""
    memory = bytearray(0x4000)
    memory[: len(btf_of(MEMBERS))] = btf_of(MEMBERS)
    for number, (pid, parent, state, name, mm) in enumerate(tasks):
        at = place(number)
        ring = [
            VOFFSET + START + place(other % len(tasks)) + MEMBERS["tasks"]
            for other in (number + 1, number - 1)
        ]
        values = (
            ("pid", "<I", (pid,)), ("__state", "<I", (state,)), ("mm", "<Q", (mm,)),
            ("tasks", "<QQ", ring), ("comm", "16s", (name,)),
            ("real_parent", "<Q", (VOFFSET + START + place(parent),)),
        )  # fmt: skip
        for member, form, value in values:
            struct.pack_into(form, memory, at + MEMBERS[member], *value)
    return Guest(memory)


THREE = (
    (0, 0, 0, b"swapper/0", 0), (1, 0, 1, b"init", 99), (2, 0, 0x402, b"kworker\n", 0),
)  # fmt: skip


def test_processes() -> None:
    assert guest(*THREE).tasks() == [
        (0, 0, "R", "swapper/0", True),
        (1, 0, "S", "init", False),
        (2, 0, "I", r"kworker\n", True),
    ]


@pytest.mark.parametrize(
    ("state", "letter"),
    [(0x8000, "D"), (0x1000, "D"), (0x2001, "S"), (0x40, "P"), (0x80, "R")],
)
def test_states_are_those_of_ps(state: int, letter: str) -> None:
    """Frozen tasks and those that wait for a lock of PREEMPT_RT are told as D (sched.h)."""
    assert guest((0, 0, 0, b"swapper/0", 0), (1, 0, state, b"t", 9)).tasks()[1][2] == letter


def test_a_list_that_goes_round_elsewhere() -> None:
    machine = guest(*THREE)
    struct.pack_into(
        "<Q", machine.image, place(2) + MEMBERS["tasks"],
        VOFFSET + START + place(1) + MEMBERS["tasks"],
    )  # fmt: skip
    with pytest.raises(NotFound, match="is damaged: it comes back to"):
        machine.tasks()


def test_a_list_that_leads_out_of_ram() -> None:
    machine = guest(*THREE)
    struct.pack_into("<Q", machine.image, place(1) + MEMBERS["tasks"], 8)
    with pytest.raises(NotFound, match="is damaged at 0xfffffffffffffff8: "):
        machine.tasks()


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0x1000, 0x11FF), st.binary(min_size=1, max_size=8))))
def test_no_damage_hangs_or_raises_anything_else(writes: list[tuple[int, bytes]]) -> None:
    machine = guest(*THREE)
    for at, data in writes:
        machine.image[at : at + len(data)] = data
    with suppress(StubError):
        assert len(machine.tasks()) <= 1 << 16
