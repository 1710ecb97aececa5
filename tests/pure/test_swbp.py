import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.errors import MemoryFault
from gdbstub.swbp import BRK, SoftwareBreakpoints

SIZE = 64
PLACE = 8


class Ram:
    def __init__(self, content: bytes) -> None:
        self.content = bytearray(content)
        self.writes = 0
        self.reads = 0

    def read_memory(self, ipa: int, length: int) -> bytes:
        self.reads += 1
        return bytes(self.content[ipa : ipa + length])

    def write_memory(self, ipa: int, data: bytes) -> None:
        self.writes += 1
        self.content[ipa : ipa + len(data)] = data


contents = st.binary(min_size=SIZE, max_size=SIZE)
places = st.sets(st.integers(0, SIZE // 4 - 1).map(lambda n: 4 * n))


def armed(content: bytes, ipas: set[int]) -> tuple[Ram, SoftwareBreakpoints]:
    ram = Ram(content)
    breakpoints = SoftwareBreakpoints(ram)
    for ipa in ipas:
        breakpoints.insert(ipa + 0x1000, ipa)
    breakpoints.apply()
    return ram, breakpoints


@given(contents, places)
def test_insert_then_remove_leaves_memory_as_it_was(content: bytes, ipas: set[int]) -> None:
    ram, breakpoints = armed(content, ipas)
    for ipa in ipas:
        assert ram.content[ipa : ipa + 4] == BRK
        assert breakpoints.remove(ipa + 0x1000)
    breakpoints.apply()
    assert ram.content == content
    assert not breakpoints


@given(contents, places, st.integers(0, SIZE - 1), st.integers(1, SIZE))
def test_reads_never_show_a_brk(content: bytes, ipas: set[int], at: int, length: int) -> None:
    ram, breakpoints = armed(content, ipas)
    read = ram.read_memory(at, length)
    assert breakpoints.mask(at, read) == content[at : at + length]


@given(contents, places, st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=SIZE))
def test_writes_go_underneath(content: bytes, ipas: set[int], at: int, data: bytes) -> None:
    data = data[: SIZE - at]
    ram, breakpoints = armed(content, ipas)
    breakpoints.write(at, data)
    for ipa in ipas:
        assert ram.content[ipa : ipa + 4] == BRK
    breakpoints.withdraw()
    assert ram.content == content[:at] + data + content[at + len(data) :]


def test_removing_and_inserting_again_touches_no_memory() -> None:
    ram, breakpoints = armed(bytes(SIZE), {8})
    ram.writes = 0
    breakpoints.remove(0x1008)
    breakpoints.insert(0x1008, 8)
    breakpoints.apply()
    assert ram.writes == 0


def test_a_long_read_hides_those_that_are_there_at_the_time() -> None:
    ram = Ram(bytes(SIZE))
    breakpoints = SoftwareBreakpoints(ram)
    for ipas in ({0, 8, SIZE - 4}, {8}, {8, 12, 4}, set[int]()):
        breakpoints.clear(but=ipas)
        for ipa in ipas:
            breakpoints.insert(ipa, ipa)
        breakpoints.apply()
        found = bytes(ram.content)
        assert found.count(BRK) == len(ipas)
        for at in range(12):
            assert breakpoints.mask(at, found[at:]) == bytes(SIZE - at)


def test_one_place_under_two_addresses_is_one_patch() -> None:
    ram, breakpoints = armed(bytes(SIZE), {8})
    breakpoints.insert(0x9008, 8)
    breakpoints.apply()
    breakpoints.remove(0x1008)
    breakpoints.apply()
    assert breakpoints.owns(8)
    breakpoints.remove(0x9008)
    breakpoints.apply()
    assert ram.content == bytes(SIZE)


def test_text_that_the_guest_rewrote_is_left_alone() -> None:
    ram, breakpoints = armed(bytes(SIZE), {8})
    ram.content[8:12] = b"\x1f\x20\x03\xd5"
    assert not breakpoints.owns(8)
    assert breakpoints.mask(8, b"\x1f\x20\x03\xd5") == b"\x1f\x20\x03\xd5"
    breakpoints.withdraw()
    assert ram.content[8:12] == b"\x1f\x20\x03\xd5"


def test_text_that_the_guest_rewrote_is_patched_anew_when_it_is_asked_for_again() -> None:
    ram, breakpoints = armed(bytes(SIZE), {8})
    ram.content[8:12] = b"\x1f\x20\x03\xd5"
    breakpoints.insert(0x1008, 8)
    breakpoints.apply()
    assert breakpoints.owns(8)
    assert breakpoints.mask(8, BRK) == b"\x1f\x20\x03\xd5"
    breakpoints.remove(0x1008)
    breakpoints.apply()
    assert ram.content[8:12] == b"\x1f\x20\x03\xd5"


def test_it_is_patched_anew_soon_even_if_nobody_asks() -> None:
    ram, breakpoints = armed(bytes(SIZE), set(range(0, SIZE, 4)))
    ram.content[40:44] = b"\x1f\x20\x03\xd5"
    for _ in range(SIZE // 4 // 8):
        breakpoints.apply()
    assert ram.content == BRK * (SIZE // 4)
    assert breakpoints.mask(40, BRK) == b"\x1f\x20\x03\xd5"


def test_what_a_resume_costs_does_not_grow_with_the_number_of_breakpoints() -> None:
    costs = []
    for count in 8, 16:
        ram, breakpoints = armed(bytes(SIZE), set(range(0, 4 * count, 4)))
        ram.reads = 0
        breakpoints.apply()
        costs.append(ram.reads)
    assert costs == [8, 8]


def test_one_address_that_stands_for_two_places_is_taken_back_from_both() -> None:
    ram, breakpoints = armed(bytes(SIZE), {8})
    breakpoints.insert(0x1008, 24)
    breakpoints.apply()
    assert breakpoints.owns(8)
    assert breakpoints.owns(24)
    breakpoints.remove(0x1008)
    breakpoints.apply()
    assert ram.content == bytes(SIZE)
    assert not breakpoints


def test_after_all_was_withdrawn_requests_are_patched_anew() -> None:
    ram, breakpoints = armed(bytes(SIZE), {8})
    breakpoints.withdraw()
    assert ram.content == bytes(SIZE)
    breakpoints.apply()
    assert breakpoints.owns(8)
    ram.content[:] = bytes(SIZE)
    breakpoints.forget()
    breakpoints.apply()
    assert breakpoints.owns(8)


def test_a_breakpoint_that_is_lifted_for_a_moment_is_still_ours() -> None:
    """Another vCPU may have executed it just before."""
    ram, breakpoints = armed(bytes(range(SIZE)), {PLACE})
    original = bytes(range(PLACE, PLACE + 4))
    breakpoints.remove_temporarily(PLACE)
    assert ram.read_memory(PLACE, 4) == original
    assert breakpoints.owns(PLACE)
    assert breakpoints.mask(PLACE, original) == original
    breakpoints.reinsert(PLACE)
    assert ram.read_memory(PLACE, 4) == BRK


def test_a_word_that_was_changed_while_its_breakpoint_was_lifted_stays() -> None:
    ram, breakpoints = armed(bytes(SIZE), {PLACE})
    breakpoints.remove_temporarily(PLACE)
    ram.write_memory(PLACE, b"\1\2\3\4")
    breakpoints.reinsert(PLACE)
    assert ram.read_memory(PLACE, 4) == b"\1\2\3\4"
    assert not breakpoints.owns(PLACE)


@pytest.mark.parametrize("end", ["forget", "withdraw"])
def test_nothing_is_lifted_that_is_not_there_any_more(end: str) -> None:
    ram, breakpoints = armed(bytes(SIZE), {PLACE})
    breakpoints.remove_temporarily(PLACE)
    getattr(breakpoints, end)()
    assert not breakpoints.owns(PLACE)
    breakpoints.reinsert(PLACE)
    assert ram.content == bytes(SIZE), "and there is nothing to lay"
    assert not breakpoints.owns(PLACE)


@pytest.mark.parametrize("what", ["remove_temporarily", "reinsert"])
def test_a_breakpoint_is_not_lifted_for_ever_where_ram_fails(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ram, breakpoints = armed(bytes(SIZE), {PLACE})

    def fail(*_: object) -> None:
        raise MemoryFault("broken")

    if what == "reinsert":
        breakpoints.remove_temporarily(PLACE)
    with monkeypatch.context() as patch:
        patch.setattr(ram, "write_memory", fail)
        with pytest.raises(MemoryFault):
            getattr(breakpoints, what)(PLACE)
    assert breakpoints.owns(PLACE) is (what == "remove_temporarily")
    breakpoints.insert(PLACE + 0x1000, PLACE)
    breakpoints.apply()
    assert ram.read_memory(PLACE, 4) == BRK
