"""The classes of instructions that random programs consist of: one function each.

A class takes a ``Draw`` and gives lines. ``CLASSES`` lists them with their weights.
"""

from collections.abc import Callable
from typing import Final

from tests.soak import words
from tests.soak.drawing import Draw, Made, made
from tests.soak.program import (
    DATA_BASE,
    HANDLER2,
    LINE,
    OTHER,
    SHARED_BASE,
    STATUS,
    TEMPORARY,
    UNSEEN_BASE,
)
from tests.soak.words import Line

# Computation.


def alu(d: Draw) -> Made:
    wide = d.flip()
    return made(words.three(d.one_of(words.THREE), d.x(), d.x(), d.x(), wide))


def alu_immediate(d: Draw) -> Made:
    if d.flip():
        return made(words.add_immediate(d.one_of(("add", "sub")), d.x(), d.x(), d.small()))
    return made(words.set_flags(d.one_of(("adds", "subs")), d.x(), d.x(), d.small()))


def moves(d: Draw) -> Made:
    op = d.one_of(("movz", "movk", "movn"))
    return made(words.move_wide(op, d.x(), d.random.randrange(1 << 16), 16 * d.random.randrange(4)))


def bits(d: Draw) -> Made:
    return made(words.two(d.one_of(words.TWO), d.x(), d.x()))


def selects(d: Draw) -> Made:
    condition = d.random.randrange(len(words.CONDITIONS))
    return made(words.select(d.one_of(words.SELECT), d.x(), d.x(), d.x(), condition))


def addresses(d: Draw) -> Made:
    return made(words.adr(d.x(), 4 * d.random.randrange(-64, 64)))


def stack(d: Draw) -> Made:
    size = 16 * d.random.randrange(1, 8)
    down = words.add_immediate("sub", words.ZR, words.ZR, size)
    return made(
        down,
        words.add_immediate("add", TEMPORARY, words.ZR, 0),
        words.pair("stp", d.x(), d.x(), TEMPORARY, 0),
        words.add_immediate("add", words.ZR, words.ZR, size),
    )


def vectors(d: Draw) -> Made:
    v = d.random.randrange
    return made(
        words.to_vector(v(32), d.x()),
        words.vector(d.one_of(("add", "eor")), v(32), v(32), v(32)),
        words.vector_memory("str", v(32), DATA_BASE, d.offset(16)),
    )


def calls(d: Draw) -> Made:
    """BL to a function of one instruction, which returns."""
    function = words.add_immediate("add", d.x(), d.x(), 1)
    back = words.adr(TEMPORARY, 8)
    return made(back, words.b(8, link=True), words.b(12), function, words.RET)


def jumps(d: Draw) -> Made:
    skipped = words.add_immediate("add", d.x(), d.x(), 1)
    return made(words.adr(TEMPORARY, 12), words.BR, skipped)


# Memory.


def loads(d: Draw) -> Made:
    size = d.size()
    if size < 8 and d.flip():
        return made(words.load_signed(d.x(), DATA_BASE, d.offset(size), size))
    return made(words.load(d.x(), DATA_BASE, d.offset(size), size))


def stores(d: Draw) -> Made:
    size = d.size()
    return made(words.store(d.x(), DATA_BASE, d.offset(size), size))


def pairs(d: Draw) -> Made:
    a, b = d.random.sample(range(16), 2)
    return made(words.pair(d.one_of(("ldp", "stp")), a, b, DATA_BASE, d.offset(8, 0x70)))


def moving(d: Draw) -> Made:
    place = words.add_immediate("add", TEMPORARY, DATA_BASE, 0x20 + d.offset(8, 0x40))
    op, step = d.one_of(("ldr", "str")), 8 * d.random.randrange(-4, 4)
    return made(place, words.moving(op, d.x(), TEMPORARY, step, before=d.flip()))


def vector_loads(d: Draw) -> Made:
    op = d.one_of(("ldr", "str"))
    return made(words.vector_memory(op, d.random.randrange(32), DATA_BASE, d.offset(16)))


def ordered(d: Draw) -> Made:
    size = d.size()
    place = words.add_immediate("add", TEMPORARY, DATA_BASE, d.offset(size))
    return made(place, words.ordered(d.one_of(("ldar", "stlr")), d.x(), TEMPORARY, size))


def device(d: Draw) -> Made:
    """A load from where no RAM is, which gives 0."""
    return made(words.load(d.x(), LINE, 0x100, 8))


# Exclusive accesses: in data of their own, behind what plain loads and stores go to.

EXCLUSIVE: Final = 0x100
#: Offset of data that no watchpoint watches: a store-exclusive there may write or not.
_UNWATCHED: Final = 0x160


def _place(d: Draw, bytes_: int, *, watched: bool = True) -> Line:
    offset = EXCLUSIVE + d.offset(bytes_, 0x40) if watched else _UNWATCHED + d.offset(bytes_, 0x20)
    return words.add_immediate("add", TEMPORARY, DATA_BASE, offset)


def exclusive_loop(d: Draw) -> Made:
    """A load-exclusive, some computation, and its store, until that succeeds."""
    size, acquire, release = d.size(), d.flip(), d.flip()
    value = d.x()
    between = [words.add_immediate("add", value, value, 1)] * d.random.randrange(3)
    two = d.one_of([n for n in range(16) if n != value]) if size > 2 and d.flip() else None
    # TCG writes the first half of a pair before it sees that the second one is watched.
    bytes_, watched = (size, True) if two is None else (2 * size, False)
    lines = (
        _place(d, bytes_, watched=watched),
        words.load_exclusive(value, TEMPORARY, size, acquire, two),
        *between,
        words.store_exclusive(STATUS, value, TEMPORARY, size, release, two),
        words.cb("cbnz", STATUS, -4 * (len(between) + 2), wide=False),
    )
    return Made(lines, range(1, len(lines) + 1))


def exclusive_exit(d: Draw) -> Made:
    """A compare-and-swap loop, which is left from within where the values differ."""
    value, expected, new = d.random.sample(range(16), 3)
    lines = (
        _place(d, 8),
        words.load_exclusive(value, TEMPORARY, 8, d.flip()),
        words.three("subs", words.ZR, value, expected),
        words.b_if(1, 12),
        words.store_exclusive(STATUS, new, TEMPORARY, 8, d.flip()),
        words.cb("cbnz", STATUS, -16, wide=False),
    )
    return Made(lines, range(1, len(lines) + 1))


#: Index of the doubleword that counts failed store-exclusives, in memory that is not compared.
FAILED: Final = 1


def exclusive_once(d: Draw) -> Made:
    """A store-exclusive that is not tried again: where it fails, a plain store does it.

    So it ends alike, and how often it failed is counted where nobody compares.
    """
    size, value, old = d.size(), *d.random.sample(range(16), 2)
    lines = (
        _place(d, size, watched=False),
        words.load_exclusive(old, TEMPORARY, size, d.flip()),
        words.add_immediate("add", value, old, 1),
        words.store_exclusive(STATUS, value, TEMPORARY, size, d.flip()),
        words.cb("cbz", STATUS, 20, wide=False),
        words.store(value, TEMPORARY, 0, size),
        words.load(OTHER, UNSEEN_BASE, 8 * FAILED, 8),
        words.add_immediate("add", OTHER, OTHER, 1),
        words.store(OTHER, UNSEEN_BASE, 8 * FAILED, 8),
    )
    return Made(lines, range(1, 5))


def store_alone(d: Draw) -> Made:
    """A store-exclusive without a load, which fails."""
    size = d.size()
    return Made(
        (
            words.BARRIERS[3],  # CLREX
            _place(d, size, watched=False),
            words.store_exclusive(STATUS, d.x(), TEMPORARY, size, d.flip()),
            words.add_immediate("add", d.x(), d.x(), 1),
        ),
        range(2, 4),
    )


_COUNTER: Final = 0x100  # in shared data


def shared_add(d: Draw) -> Made:
    """Increment a word in which all vCPUs count."""
    lines = (
        words.add_immediate("add", TEMPORARY, SHARED_BASE, _COUNTER + 16 * d.random.randrange(2)),
        words.load_exclusive(OTHER, TEMPORARY, 8, d.flip()),
        words.add_immediate("add", OTHER, OTHER, 1),
        words.store_exclusive(STATUS, OTHER, TEMPORARY, 8, d.flip()),
        words.cb("cbnz", STATUS, -12, wide=False),
    )
    return Made(lines, range(1, len(lines) + 1))


def atomics(d: Draw) -> Made:
    """FEAT_LSE: in data of its own, or a word that all count in."""
    if d.flip():
        place = words.add_immediate("add", TEMPORARY, DATA_BASE, d.offset(8))
        return made(place, words.atomic(d.one_of(words.ATOMIC), d.x(), d.x(), TEMPORARY, d.flip()))
    place = words.add_immediate("add", TEMPORARY, SHARED_BASE, _COUNTER + 32)
    one = words.move_wide("movz", OTHER, 1)
    return made(place, one, words.atomic("ldadd", OTHER, words.ZR, TEMPORARY))


# Exceptions and PSTATE.


def exceptions(d: Draw) -> Made:
    return made(words.exception(d.one_of(("svc", "svc", "brk", "udf")), d.random.randrange(256)))


def masks(d: Draw) -> Made:
    kind = d.random.randrange(4)
    if kind == 0:
        return made(words.mrs(d.x(), "daif"))
    if kind == 1:
        value = words.value(OTHER, d.random.randrange(16) << 6)
        return made(*value, words.msr("daif", OTHER))
    return made(words.mask(d.one_of(("daifset", "daifclr")), d.random.randrange(16)))


def returns(d: Draw) -> Made:
    """ERET to the next line, with other flags and masks."""
    pstate = d.random.randrange(16) << 28 | d.random.randrange(16) << 6 | 5
    number = words.value(OTHER, pstate)
    return made(
        words.mask("daifset", 15),  # an interrupt's entry would change what follows
        words.adr(TEMPORARY, 4 * (4 + len(number))),
        *number,
        words.msr("spsr_el1", OTHER),
        words.msr("elr_el1", TEMPORARY),
        words.ERET,
        words.mrs(d.x(), "nzcv"),
    )


def other_stack(d: Draw) -> Made:
    """An exception with SP_EL0 in use."""
    return made(
        words.stack_select(0),
        words.exception("svc", d.random.randrange(256)),
        words.add_immediate("add", d.x(), words.ZR, 0),
        words.stack_select(1),
    )


def system(d: Draw) -> Made:
    name = d.one_of(("nzcv", "tpidr_el0", "tpidr_el1"))
    if d.flip():
        return made(words.mrs(d.x(), d.one_of((name, "currentel"))))
    if name == "nzcv":
        value = words.value(OTHER, d.random.randrange(16) << 28)
        return made(*value, words.msr(name, OTHER))
    return made(words.msr(name, d.x()))


def hints(d: Draw) -> Made:
    return made(d.one_of((*words.HINTS, *words.BARRIERS)))


def events(d: Draw) -> Made:
    return made(words.SEVL, words.WFE)


# Interrupts: ``LINE`` is where this vCPU's own is made to pend.


def raises(d: Draw) -> Made:
    return made(words.store(LINE, LINE, 0, 4))


def waits(d: Draw) -> Made:
    """WFI with an interrupt that is masked and pends; it is taken behind it, or not at all."""
    after = words.mask("daifclr", 2) if d.flip() else words.store(words.ZR, LINE, 0, 4)
    return made(words.mask("daifset", 2), words.store(LINE, LINE, 0, 4), words.WFI, after)


# Code that changes.

_MAINTENANCE: Final = (words.DC_CVAU, words.DSB, words.IC_IVAU, words.DSB, words.ISB)


def _patch(new: Line, far: int) -> tuple[Line, ...]:
    """Write *new* over the line that is *far* lines behind these."""
    number = words.value(OTHER, new.word)
    lines = len(number) + 2 + len(_MAINTENANCE)
    return (
        *number,
        words.adr(TEMPORARY, 4 * (lines - len(number) + far)),
        words.store(OTHER, TEMPORARY, 0, 4),
        *_MAINTENANCE,
    )


def patches(d: Draw) -> Made:
    before = _patch(words.move_wide("movz", d.x(), d.random.randrange(1 << 16)), 0)
    return Made((*before, words.move_wide("movz", d.x(), 1)), patched=len(before))


def patches_sequence(d: Draw) -> Made:
    """An exclusive sequence, twice: the second time its store is another instruction."""
    value = d.x()
    lines = (
        words.move_wide("movz", HANDLER2, 2),
        _place(d, 8, watched=False),
        words.load_exclusive(value, TEMPORARY, 8, d.flip()),
        words.add_immediate("add", value, value, 1),
        words.store_exclusive(STATUS, value, TEMPORARY, 8, d.flip()),
        words.cb("cbnz", STATUS, -12, wide=False),
    )
    patch = _patch(words.move_wide("movz", STATUS, 0), 4 - len(lines) - 9)  # it has 9 lines
    again = words.cb("cbnz", HANDLER2, -4 * (len(lines) + len(patch)))
    count = words.add_immediate("sub", HANDLER2, HANDLER2, 1)
    return Made((*lines, *patch, count, again), range(2, 6), patched=4)


Class = Callable[[Draw], Made]
#: Weight of each class in a draw.
CLASSES: Final[tuple[tuple[int, Class], ...]] = (
    (10, alu), (8, alu_immediate), (6, moves), (2, bits), (4, selects), (2, addresses),
    (2, stack), (2, vectors), (2, calls), (1, jumps),
    (6, loads), (8, stores), (3, pairs), (3, moving), (2, vector_loads), (2, ordered),
    (1, device),
    (6, exclusive_loop), (2, exclusive_exit), (3, exclusive_once), (1, store_alone),
    (3, shared_add), (3, atomics),
    (4, exceptions), (4, masks), (2, returns), (1, other_stack), (2, system), (3, hints),
    (1, events), (4, raises), (2, waits), (2, patches), (1, patches_sequence),
)  # fmt: skip
