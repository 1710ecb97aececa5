"""Questions about A64 code that a debugger asks before it steps, runs or patches it.

``decoder.py`` gives the answers for one word; what needs several words is here. Nothing is
executed, and ``simulation.py`` and ``accesses.py`` have what depends on register values.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Final, NamedTuple

from gdbstub.aarch64.a64 import (
    AddImmediate,
    AddImmediateFlags,
    Adr,
    AuthenticatedBranch,
    Barrier,
    Branch,
    BranchTarget,
    BranchWithLink,
    ClearDaif,
    ClearExclusive,
    Computation,
    ConditionalBranch,
    ExceptionReturn,
    Hint,
    HypervisorCall,
    Idle,
    MoveRegister,
    MoveWide,
    ReadDaif,
    ReadRegister,
    RegisterBranch,
    RelativeBranch,
    SetDaif,
    WaitUntil,
    WriteDaif,
)
from gdbstub.aarch64.decoder import decode
from gdbstub.aarch64.loads_stores import StoreExclusive, Synchronizing
from gdbstub.aarch64.sysreg import PSTATE

#: The instruction at an address; 0, which is none, where nothing can be read.
WordAt = Callable[[int], int]

_LINK: Final = 30


class Daif(Enum):
    """An instruction's access to PSTATE.{D,A,I,F}."""

    READ = auto()  # MRS Xt, DAIF
    WRITE = auto()  # MSR DAIF, Xt
    SET = auto()  # MSR DAIFSet, #imm
    CLEAR = auto()  # MSR DAIFClr, #imm


def daif_access(word: int) -> tuple[Daif, int] | None:
    """Return the access of *word* to DAIF, with its register's number or its immediate."""
    match decode(word):
        case ReadDaif() as read:
            return Daif.READ, read.Rt
        case WriteDaif() as write:
            return Daif.WRITE, write.Rt
        case SetDaif() as set_:
            return Daif.SET, set_.imm
        case ClearDaif() as clear:
            return Daif.CLEAR, clear.imm
    return None


def returns_from_exception(word: int) -> bool:
    """Return True if *word* is an ERET of any kind: PSTATE comes out of SPSR_EL1."""
    return isinstance(decode(word), ExceptionReturn)


def calls_hypervisor(word: int) -> bool:
    """Return True if *word* is HVC or SMC, in which a vCPU may wait or be powered off."""
    return isinstance(decode(word), HypervisorCall)


def waits(word: int) -> bool:
    """Return True if *word* is WFI, WFE, WFIT or WFET, each of which may be a NOP."""
    return decode(word).waits


def waits_until(word: int) -> bool:
    """Return True if *word* is WFET or WFIT, which need FEAT_WFxT."""
    return isinstance(decode(word), WaitUntil)


#: Bits of PSTATE with which a word is no A64 instruction, or an Illegal Execution state exception.
_NOT_A64: Final = PSTATE.of(nRW=1, IL=1)
#: And those with which any word may be an exception: a Branch Target exception, too.
EXCEPTIONAL: Final = _NOT_A64.replace(BTYPE=0b11)


def wait_is_nop(word: int, pstate: PSTATE) -> bool:
    """Return True if *word* is a WFI or the like, and executed in *pstate* is no exception."""
    return decode(word).waits and not pstate & EXCEPTIONAL


def does_nothing(word: int, pstate: PSTATE) -> bool:
    """Return True if all that *word* does in *pstate* is to clear PSTATE.BTYPE."""
    hint = decode(word)
    return isinstance(hint, Idle) and not pstate & _NOT_A64 and hint.permits(pstate.BTYPE)


def loads_exclusive(word: int) -> bool:
    """Return True if *word* is LDXR, LDAXR, LDXP or the like."""
    return decode(word).loads_exclusive


def stores_exclusive(word: int) -> bool:
    """Return True if *word* is STXR, STLXR, STXP or the like."""
    return decode(word).stores_exclusive


def plain(word: int) -> bool:
    """Return True if *word* changes only general registers, vectors, flags, memory and the PC.

    It is no exception and no return from one, no system instruction (a hint or barrier
    neither), and no part of an exclusive access.
    """
    return decode(word).plain


def keeps_code(word: int) -> bool:
    """Return True if *word* has no effect on which instructions are fetched after it.

    Plain instructions have none, stores among them; nor have exclusive accesses, hints, MRS and
    each barrier but ISB.
    """
    return decode(word).keeps_code


def leads_to(word: int, at: int, gva: int, x: Callable[[int], int]) -> bool:
    """Return True if *word* at *at* may go on at *gva* without an exception.

    *x* gives a general register's value by its number. True for any *gva* if the target depends
    on more than that: with pointer authentication, with ERET, and with x30, which BLR writes.
    """
    if gva == at + 4:
        return True
    match decode(word):
        case RelativeBranch() as branch:
            return gva == branch.target(at)
        case RegisterBranch() as branch:
            return branch.Rn >= _LINK or gva == x(branch.Rn)
        case AuthenticatedBranch() | ExceptionReturn():
            return True
    return False


def step_end(word: int, at: int) -> int | None:
    """Return the address at which a step of *word* at *at* ends, unless it is an exception.

    None if the word alone does not say, or if it may need more than a plain step.
    """
    match decode(word):
        case BranchWithLink() as branch:
            return branch.target(at)
        case RelativeBranch() | RegisterBranch() | AuthenticatedBranch():
            return None
        case instruction if instruction.plain:
            return at + 4
        case Hint() as hint if not hint.waits:
            return at + 4
    return None


#: The most instructions between an exclusive load and its store.
SEQUENCE: Final = 16


def exclusive_exits(gva: int, word_at: WordAt) -> tuple[int, ...]:
    """Return the addresses at which a sequence begun by the load-exclusive at *gva* is left.

    The first is that of the instruction after its store; the others are targets of branches
    inside. Empty if there is no such sequence: it has no store, or an instruction that goes on
    at an address that words alone do not give.
    """
    targets: list[int] = []
    for at in range(gva + 4, gva + 4 + 4 * SEQUENCE, 4):
        instruction = decode(word_at(at))
        if instruction.stores_exclusive:
            outside = (target for target in targets if not gva <= target <= at)
            return tuple(dict.fromkeys((at + 4, *outside)))
        if isinstance(instruction, ConditionalBranch | Branch):
            targets.append(instruction.target(at))
        elif not instruction.in_sequence:
            return ()
    return ()


class ExclusiveSequence(NamedTuple):
    """A load-exclusive at ``load`` and its store; ``exits``: see ``exclusive_exits``."""

    load: int
    exits: tuple[int, ...]

    @property
    def inside(self) -> range:
        """Return the addresses of its instructions."""
        return range(self.load, self.exits[0], 4)

    @property
    def store(self) -> int:
        """Return the address of its store-exclusive."""
        return self.exits[0] - 4


def exclusive_sequence(gva: int, word_at: WordAt) -> ExclusiveSequence | None:
    """Return the exclusive sequence that the instruction at *gva* is part of; None if of none."""
    for load in range(gva, gva - 4 * SEQUENCE - 4, -4):
        if loads_exclusive(word_at(load)):
            exits = exclusive_exits(load, word_at)
            return ExclusiveSequence(load, exits) if exits and gva < exits[0] else None
    return None


#: Bits 28 to 25 of data processing with an immediate and with registers (Arm ARM C4.1).
GENERAL: Final = frozenset({0b1000, 0b1001, 0b0101, 0b1101})


def is_repeatable(word: int) -> bool:
    """Return True if *word* in an exclusive sequence changes general registers, flags and PC only.

    It does the same where it is executed again from the same registers.
    """
    instruction = decode(word)
    if isinstance(instruction, Computation):
        return word >> 25 & 0xF in GENERAL
    if isinstance(instruction, Synchronizing | ReadRegister):
        return False
    return instruction.in_sequence or isinstance(instruction, ConditionalBranch | Branch)


_STR, _STLR, _STP = 0x3900_0000, 0x089F_FC00, 0x2900_0000
_ORDERED, _UNPRIVILEGED = 1 << 15, 1 << 24
_OPERANDS, _PAIR_OPERANDS = 0x3FF, 0x7FFF


def plain_store(words: Sequence[int]) -> int | None:
    """Return the plain store that writes what the sequence *words* writes by its store-exclusive.

    None if there is none, or if what is in between may have that fail, or if its status goes to a
    register that it uses, which is CONSTRAINED UNPREDICTABLE.
    """
    store, between = decode(words[-1]), map(decode, words[1:-1])
    if not isinstance(store, StoreExclusive) or store & _UNPRIVILEGED:
        return None
    used = {store.Rn, store.Rt, store.Rt2 if store.pair else store.Rt}
    if store.Rs in used - {_RT}:
        return None
    if any(isinstance(each, ClearExclusive) or each.loads_exclusive for each in between):
        return None
    if store.pair:
        return _STP | (store.size & 1) << 31 | store & _PAIR_OPERANDS
    return (_STLR if store & _ORDERED else _STR) | store.size << 30 | store & _OPERANDS


#: MRS Xt, VBAR_EL1 and MSR VBAR_EL1, Xt.
_VBAR: Final = 0xD518_C000
_READS: Final = 1 << 21
_RT: Final = 0x1F


#: Instructions that are no exception, whatever CPU it is. Others may not be allocated, or may fail
#: to authenticate a pointer. What a branch leads to may be an exception: that is another step's.
_HARMLESS: Final = (
    *(AddImmediate, AddImmediateFlags, MoveWide, MoveRegister, Adr, Idle, BranchTarget, Barrier),
    *(Branch, BranchWithLink, ConditionalBranch, RegisterBranch),
)


def takes_exception(word: int) -> bool:
    """Return True if *word* may be an exception, and is no access to VBAR_EL1.

    That depends on PSTATE, too: see ``EXCEPTIONAL``.
    """
    return not (isinstance(decode(word), _HARMLESS) or accesses_vbar(word))


def accesses_vbar(word: int) -> bool:
    """Return True if *word* reads or writes VBAR_EL1."""
    return word & ~(_READS | _RT) == _VBAR


#: The most instructions in a region.
_LONG: Final = 1024


class Region(NamedTuple):
    """Instructions that a vCPU can run through: ``inside``, until it is at one of the ``exits``.

    ``loops`` is True if a branch leads back to one of them.
    """

    inside: frozenset[int]
    exits: tuple[int, ...]
    loops: bool


def region(gva: int, within: range, word_at: WordAt, room: int) -> Region:
    """Return the instructions that a vCPU at *gva* can run through, within *within*.

    An exit is an address outside *within*, an instruction that must be looked at, one whose
    target depends on a register, or a branch that would make more exits than *room*.
    """
    inside: set[int] = set()
    ends: dict[int, None] = {}  # in order
    back: set[int] = set()
    ahead = [gva]
    while ahead:
        at = ahead.pop()
        while at not in inside:
            word = word_at(at) if at in within and len(inside) < _LONG else 0
            instruction = decode(word)
            if not instruction.linear:
                # A B may go on behind itself, too: another vCPU may make a NOP of one that
                # this one executes (static keys of Linux).
                if not isinstance(instruction, ConditionalBranch | Branch):
                    ends[at] = None
                    break
                target = instruction.target(at)
                if len({*ends, *ahead, at + 4, target} - inside) > room:
                    ends[at] = None
                    break
                ahead.append(target)
                if target <= at:
                    back.add(target)
            inside.add(at)
            at += 4
    exits = tuple(at for at in ends if at not in inside)
    return Region(frozenset(inside), exits, not back.isdisjoint(inside))
