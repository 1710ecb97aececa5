"""Code around exclusive sequences: their ways in, and the way back to the load after a failure.

``instructions.py`` finds the sequences. Nothing is executed.
"""

from collections.abc import Collection
from typing import Final

from gdbstub.aarch64.a64 import (
    Barrier,
    Branch,
    BranchOnBit,
    BranchOnZero,
    Computation,
    ContextSynchronization,
    Idle,
    RegisterBranch,
    RelativeBranch,
)
from gdbstub.aarch64.decoder import decode
from gdbstub.aarch64.instructions import GENERAL, ExclusiveSequence, WordAt
from gdbstub.aarch64.loads_stores import LoadLiteral, LoadPair, LoadSingle, StoreExclusive

_HARMLESS: Final = (RelativeBranch, RegisterBranch, Idle, Barrier, ContextSynchronization)
_IRG, _IRG_MASK = 0x9AC0_1000, 0xFFE0_FC00


def only_computes(word: int) -> bool:
    """Return True if *word* changes general registers, flags and PC only, if it is no exception.

    Barriers change nothing. IRG has the next random tag of RGSR_EL1.
    """
    instruction = decode(word)
    if isinstance(instruction, Computation):
        return word >> 25 & 0xF in GENERAL and word & _IRG_MASK != _IRG
    return isinstance(instruction, _HARMLESS)


def only_loads(word: int) -> bool:
    """Return True if *word* loads general registers, or prefetches; it may write its base back."""
    match decode(word):
        case LoadLiteral() as load:
            return not load.V
        case LoadPair() as load:
            return bool(load.L) and not load.V
        case LoadSingle() as load:
            return bool(load.opc) and not load.V
    return False


def goes_round(sequence: ExclusiveSequence, word_at: WordAt) -> bool:
    """Return True if a branch of *sequence* leads back into it."""
    for at in sequence.inside:
        instruction = decode(word_at(at))
        if (
            isinstance(instruction, RelativeBranch)
            and sequence.load <= instruction.target(at) <= at
        ):
            return True
    return False


#: The most instructions before and behind a sequence among which one may branch into it.
_NEAR: Final = 64


def entered_within(sequence: ExclusiveSequence, word_at: WordAt) -> bool:
    """Return True if a branch near *sequence* leads into it, and not to its load."""
    inside = sequence.inside
    for at in range(sequence.load - 4 * _NEAR, inside.stop + 4 * _NEAR, 4):
        instruction = decode(word_at(at)) if at not in inside else None
        if isinstance(instruction, RelativeBranch) and instruction.target(at) in inside[1:]:
            return True
    return False


#: The most instructions from a failed store-exclusive to its load.
_BACK: Final = 8


def way_back(sequence: ExclusiveSequence, word_at: WordAt) -> Collection[int]:
    """Return the addresses from a store-exclusive that has failed straight to its load.

    A branch there may depend on the store's status, which is 1, and on nothing else. Empty if
    there is no such way.
    """
    status = StoreExclusive(word_at(sequence.store)).Rs
    at = sequence.exits[0]
    way: list[int] = []
    for _ in range(_BACK):
        if at == sequence.load:
            return way
        way.append(at)
        match decode(word_at(at)):
            case Branch() as branch:
                at = branch.target(at)
            case BranchOnZero() as branch if branch.Rt == status:
                at = branch.target(at) if branch.op else at + 4
            case BranchOnBit() as branch if branch.Rt == status:
                is_set = branch.b40 == branch.b5 == 0
                at = branch.target(at) if branch.op == is_set else at + 4
            case instruction if instruction.linear:
                at += 4
            case _:
                break
    return ()
