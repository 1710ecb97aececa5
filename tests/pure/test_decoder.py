"""The table of A64 encodings: whole, without contradictions, and looked up as it reads."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gdbstub.aarch64.a64 import (
    AuthenticatedBranch,
    Barrier,
    CompareAndBranch,
    ConsistentBranch,
    ContextSynchronization,
    Instruction,
)
from gdbstub.aarch64.bits import Operand
from gdbstub.aarch64.decoder import _TABLE, ENCODINGS, decode
from gdbstub.aarch64.instructions import (
    does_nothing,
    exclusive_exits,
    keeps_code,
    leads_to,
    loads_exclusive,
    plain,
    plain_store,
    step_end,
    stores_exclusive,
    wait_is_nop,
)
from gdbstub.aarch64.loads_stores import LoadExclusive, StoreExclusive
from gdbstub.aarch64.simulation import effect
from gdbstub.aarch64.sysreg import PSTATE

WORDS = st.integers(0, 2**32 - 1)
ALL = 2**32 - 1


def first_fit(word: int) -> type[Instruction]:
    """The class of the first row that fits, without any index."""
    for row in ENCODINGS:
        if word & row.mask == row.pattern:
            return row.instruction
    return Instruction


def test_a_row_says_something_of_all_32_bits() -> None:
    for (text, _), row in zip(_TABLE, ENCODINGS, strict=True):
        assert [len(part) for part in text.split("_")] == [4] * 8
        assert row.pattern & ~row.mask == 0
        assert row.mask.bit_count() == 32 - text.count("x")


def test_of_two_rows_that_a_word_fits_the_earlier_says_more() -> None:
    for earlier, later in itertools.combinations(ENCODINGS, 2):
        if not (earlier.pattern ^ later.pattern) & earlier.mask & later.mask:
            assert earlier.mask & later.mask == later.mask, (earlier, later)
            assert earlier.mask != later.mask, (earlier, later)


def test_every_row_is_reached() -> None:
    chance = random.Random(1)
    for row in ENCODINGS:
        fits = (chance.getrandbits(32) & ~row.mask | row.pattern for _ in range(100))
        assert row.instruction in {type(decode(word)) for word in fits}, row


@given(WORDS)
def test_a_word_has_the_class_of_the_first_row_that_fits(word: int) -> None:
    found = decode(word)
    assert type(found) is first_fit(word)
    assert found == word


@given(st.sampled_from(ENCODINGS), WORDS)
def test_operands_are_the_bits_of_their_places(
    row: tuple[int, int, type[Instruction]], noise: int
) -> None:
    mask, pattern, _ = row
    found = decode(noise & ~mask | pattern)
    operands = [
        (name, bits)
        for owner in type(found).__mro__
        for name, bits in vars(owner).items()
        if isinstance(bits, Operand)
    ]
    for _ in range(2):  # computed, and kept
        for name, bits in operands:
            assert getattr(found, name) & bits.mask == found >> bits.lo & bits.mask


def branch_target(word: int, at: int) -> int:
    (target,) = (gva for gva in range(at - 2048, at + 2048, 4) if gva != at + 4 and leads_to(
        word, at, gva, lambda _: 0
    ))  # fmt: skip
    return target


# Words as the LLVM assembler makes them.
@pytest.mark.parametrize(
    ("word", "class_", "offset"),
    [
        (0x74052005, CompareAndBranch, -1024),  # cbgt w5, w5, #-1024
        (0xF4051FE5, CompareAndBranch, 1020),  # cbgt x5, x5, #1020
        (0xF4222002, CompareAndBranch, -1024),  # cbge x2, x2, #-1024
        (0x54000050, ConsistentBranch, 8),  # bc.eq #8
    ],
)
def test_branches_of_newer_architectures(word: int, class_: type[Instruction], offset: int) -> None:
    assert type(decode(word)) is class_
    assert plain(word)
    assert keeps_code(word)
    assert branch_target(word, 0x4000) == 0x4000 + offset


def test_a_return_with_authentication_leads_anywhere() -> None:
    for word in 0x5500001F, 0x5520001F, 0xD65F0BE2, 0xD65F0BFF:  # retaasppc ., retabsppc ., ...
        assert type(decode(word)) is AuthenticatedBranch
        assert leads_to(word, 0x4000, 0x1234_5678, lambda _: 0)


def test_unprivileged_exclusives_are_exclusives() -> None:
    load, store = 0xC95F7FE9, 0xC9057CE6  # ldtxr x9, [sp]; sttxr w5, x6, [x7]
    assert (type(decode(load)), type(decode(store))) == (LoadExclusive, StoreExclusive)
    assert loads_exclusive(load)
    assert stores_exclusive(store)
    assert not plain(load)
    assert exclusive_exits(0, {4: store}.get) == (8,)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("store", "plain"),
    [
        (0x88027C01, 0xB9000001),  # stxr w2, w1, [x0]: str w1, [x0]
        (0xC802FC01, 0xC89FFC01),  # stlxr w2, x1, [x0]: stlr x1, [x0]
        (0xC8220801, None),  # stxp w2, x1, x2, [x0], whose status is an operand
        (0xC8230801, 0xA9000801),  # stxp w3, x1, x2, [x0]: stp x1, x2, [x0]
        (0x88017C01, None),  # stxr w1, w1, [x0]
        (0x88007C01, None),  # stxr w0, w1, [x0]
        (0x881F7C1F, 0xB900001F),  # stxr wzr, wzr, [x0]: str wzr, [x0]
        (0xC9057CE6, None),  # sttxr w5, x6, [x7]
    ],
)
def test_the_plain_store_of_a_store_exclusive(store: int, plain: int | None) -> None:
    assert plain_store([0x885F7C01, store]) == plain


def test_words_that_are_not_allocated_are_no_instruction() -> None:
    for word in (
        0x00000001,  # udf #1
        0xD61F0001,  # br with a bit that must be 0
        0xD6BF03E0,  # drps, which is for Debug state only
        0xD503201E,  # a hint with a register
        0xD503307E,  # a barrier with one
    ):
        assert type(decode(word)) is Instruction
        assert not plain(word)
        assert not leads_to(word, 0, 0x4000, lambda _: 0x4000)
        assert exclusive_exits(0, {4: word, 8: 0xC8007C20}.get) == ()  # type: ignore[arg-type]


def test_barriers() -> None:
    assert type(decode(0xD503323F)) is Barrier  # dsb oshnxs
    assert type(decode(0xD5033FDF)) is ContextSynchronization  # isb
    assert type(decode(0xD50330FF)) is ContextSynchronization  # sb


NOP, BTI, BTI_C, BTI_J, BTI_JC = 0xD503201F, 0xD503241F, 0xD503245F, 0xD503249F, 0xD50324DF
WFI, WFE, WFET, WFIT = 0xD503207F, 0xD503205F, 0xD5031000, 0xD5031020


@pytest.mark.parametrize(
    ("word", "types"),
    [(NOP, {0}), (BTI, {0}), (BTI_C, {0, 1, 2}), (BTI_J, {0, 1, 3}), (BTI_JC, {0, 1, 2, 3})],
)
def test_a_hint_does_nothing_where_btype_permits_it(word: int, types: set[int]) -> None:
    assert {n for n in range(4) if does_nothing(word, PSTATE(0x3C5).replace(BTYPE=n))} == types


@pytest.mark.parametrize("state", [PSTATE(0x3C5).replace(IL=1), PSTATE.of(nRW=1)])
def test_nothing_is_known_in_an_illegal_state_and_in_aarch32(state: PSTATE) -> None:
    assert not any(does_nothing(word, state) for word in (NOP, BTI, BTI_JC))
    assert not any(wait_is_nop(word, state) for word in (WFI, WFE, WFET, WFIT))
    assert effect(0x14000002, 0x4000, state, lambda _: 0) is None


def test_a_wait_is_a_nop_unless_it_may_be_an_exception() -> None:
    for word in WFI, WFE, WFET, WFIT:
        assert wait_is_nop(word, PSTATE(0x3C5))
        assert not wait_is_nop(word, PSTATE(0x3C5).replace(BTYPE=1))
    assert not wait_is_nop(NOP, PSTATE(0x3C5))


def test_an_error_synchronization_is_not_run_under_a_mask() -> None:
    """ESB puts an SError that is masked off for good, and a region masks it."""
    esb, psb = 0xD503221F, 0xD503223F
    assert [decode(word).linear for word in (esb, psb)] == [False, True]
    assert [decode(word).in_sequence for word in (esb, psb)] == [False, True]
    assert step_end(esb, 0x1000) == 0x1004
