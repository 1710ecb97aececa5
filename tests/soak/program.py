"""A random program as a tree of nodes, and as words in guest RAM.

Nodes are values: a smaller program is the same tree without some of them. A request of the
debugger names a node and a line of it, so that it stays where it is meant when others go.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, NamedTuple

from tests.contract.programs import BASE
from tests.soak import words
from tests.soak.words import Line

#: RAM of a machine that runs one.
MEMORY: Final = 0xC_0000
VECTORS: Final = BASE + 0x1000
_TEXT: Final = BASE + 0x1_0000
_TEXT_SIZE: Final = 0x1_0000
_DATA: Final = BASE + 0x8_0000
_DATA_SIZE: Final = 0x4000
_STACK: Final = BASE + 0x9_0000
SHARED: Final = BASE + 0xA_0000
#: Pages whose contents depend on how a program is run: they are not compared.
UNSEEN: Final = BASE + 0xB_0000
_UNSEEN_SIZE: Final = 0x1000
#: Index of the doubleword there that counts a vCPU's interrupts.
INTERRUPTS: Final = 0
#: No RAM: 8 bytes for each vCPU; a word that is not 0 in the first four has its interrupt pend.
DEVICE: Final = 0x0900_0000

# Registers with a task; the others hold data.
DATA_BASE, SHARED_BASE, TEMPORARY = 16, 17, 18
LOOP_COUNTERS: Final = (19, 20, 21)
STATUS, LINE, LOG, HANDLER, HANDLER2, UNSEEN_BASE, OTHER = 22, 23, 25, 26, 27, 28, 29

#: Node number of the exception handlers, and of what no request may be on.
HANDLERS: Final = -1
_FRAME: Final = -2


@dataclass(frozen=True, slots=True)
class Group:
    """Instructions that belong together; a debugger may stop in between.

    ``exclusive`` are the lines from a load-exclusive to the one behind its store.
    """

    number: int
    lines: tuple[Line, ...]
    kind: str
    exclusive: range = range(0)
    #: The line that the guest itself writes over.
    patched: int | None = None


@dataclass(frozen=True, slots=True)
class Loop:
    """``count`` laps through ``body``; ``counter`` is a register."""

    number: int
    counter: int
    count: int
    body: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class Skip:
    """A forward branch over ``body``."""

    number: int
    branch: Line
    body: "tuple[Node, ...]"


Node = Group | Loop | Skip


class Place(NamedTuple):
    """A line of a node of one vCPU's program."""

    vcpu: int
    node: int
    line: int


class Placed(NamedTuple):
    """A line at its address."""

    place: Place
    line: Line


def groups(nodes: Iterable[Node]) -> Iterator[Group]:
    """All groups of a tree."""
    for node in nodes:
        if isinstance(node, Group):
            yield node
        else:
            yield from groups(node.body)


def _flat(nodes: Iterable[Node]) -> Iterator[tuple[int, int, Line]]:
    for node in nodes:
        if isinstance(node, Group):
            yield from ((node.number, n, line) for n, line in enumerate(node.lines))
            continue
        inner = list(_flat(node.body))
        size = 4 * len(inner)
        if isinstance(node, Skip):
            yield node.number, 0, aimed(node.branch, size + 4)
            yield from inner
        else:
            counter = node.counter
            yield node.number, 0, words.move_wide("movz", counter, node.count)
            yield from inner
            yield node.number, 1, words.add_immediate("sub", counter, counter, 1)
            yield node.number, 2, words.cb("cbnz", counter, -size - 4)


def aimed(branch: Line, offset: int) -> Line:
    """A conditional branch with another target."""
    if branch.word >> 24 & 0x7E == 0x36:
        op = "tbnz" if branch.word & 1 << 24 else "tbz"
        bit = branch.word >> 31 << 5 | branch.word >> 19 & 31
        return words.tb(op, branch.word & 31, bit, offset)
    if branch.word >> 24 == 0x54:
        return words.b_if(branch.word & 15, offset)
    op = "cbnz" if branch.word & 1 << 24 else "cbz"
    return words.cb(op, branch.word & 31, offset, bool(branch.word >> 31))


@dataclass(frozen=True)
class Program:
    """The program of all vCPUs, with the registers and data that they start with."""

    bodies: tuple[tuple[Node, ...], ...]
    #: Initial x0 to x15, and the first 512 bytes of data, of each.
    registers: tuple[tuple[int, ...], ...]
    data: tuple[bytes, ...]
    #: True if VBAR_EL1 puts the vectors into the middle of each vCPU's own text.
    vectors_in_text: bool = False

    @cached_property
    def lines(self) -> Mapping[int, Placed]:
        """Every line by its address."""
        laid: dict[int, Placed] = {}
        for offset in (0x000, 0x200):
            _lay(laid, VECTORS + offset, 0, HANDLERS, offset, _SYNCHRONOUS)
            _lay(laid, VECTORS + offset + 0x80, 0, HANDLERS, offset + 0x80, _INTERRUPT)
        for vcpu, body in enumerate(self.bodies):
            at = _lay(laid, self.entry(vcpu), vcpu, _FRAME, 0, self._prologue(vcpu))
            for node, number, line in _flat(body):
                laid[at] = Placed(Place(vcpu, node, number), line)
                at += 4
            _lay(laid, at, vcpu, _FRAME, 0x1000, self._epilogue(vcpu))
        return laid

    @cached_property
    def addresses(self) -> Mapping[Place, int]:
        """The address of every place."""
        return {placed.place: gva for gva, placed in self.lines.items()}

    def entry(self, vcpu: int) -> int:
        """Return the address at which a vCPU starts."""
        return _TEXT + vcpu * _TEXT_SIZE

    def start(self, vcpu: int) -> int:
        """Return the address of a vCPU's body."""
        return self.entry(vcpu) + 4 * len(self._prologue(vcpu))

    @cached_property
    def rests(self) -> tuple[range, ...]:
        """Addresses of each vCPU's last loop, in which it waits for the others."""
        ends = []
        for vcpu, body in enumerate(self.bodies):
            done = self.start(vcpu) + 4 * (sum(1 for _ in _flat(body)) + _DONE)
            waits = range(done, done + 8 * (len(self.bodies) - 1), 4)
            ends.append(range(done + 12, done + 16, 4) if vcpu else waits)
        return tuple(ends)

    def segments(self) -> Iterator[tuple[int, bytes]]:
        """Yield address and content of each piece of RAM."""
        run, end = b"", 0
        for gva, placed in sorted(self.lines.items()):
            if gva != end and run:
                yield end - len(run), run
                run = b""
            run, end = run + placed.line.word.to_bytes(4, "little"), gva + 4
        yield end - len(run), run
        jump = words.b(_TEXT - BASE)
        yield BASE, jump.word.to_bytes(4, "little")
        for vcpu, data in enumerate(self.data):
            yield data_of(vcpu), data

    def _vbar(self, vcpu: int) -> int:
        return self.entry(vcpu) if self.vectors_in_text else VECTORS

    def _prologue(self, vcpu: int) -> list[Line]:
        lines: list[Line] = []
        for other in range(1, len(self.bodies)) if vcpu == 0 else ():
            lines += words.value(0, 0xC400_0003)
            lines += words.value(1, other)
            lines += words.value(2, self.entry(other))
            lines.append(words.HVC)
        lines += words.value(0, 3 << 20)
        lines += (words.msr("cpacr_el1", 0), words.ISB)
        lines += words.value(0, self._vbar(vcpu))
        lines.append(words.msr("vbar_el1", 0))
        lines += words.value(0, _STACK + 0x1000 * vcpu + 0x800)
        lines.append(words.add_immediate("add", words.ZR, 0, 0))
        lines.append(words.stack_select(0))
        lines.append(words.add_immediate("add", words.ZR, 0, 0x400))
        lines.append(words.stack_select(1))
        for register, number in (
            (DATA_BASE, data_of(vcpu)),
            (SHARED_BASE, SHARED),
            (LINE, DEVICE + 8 * vcpu),
            (LOG, data_of(vcpu) + _DATA_SIZE // 2),
            (UNSEEN_BASE, UNSEEN + _UNSEEN_SIZE * vcpu),
            *enumerate(self.registers[vcpu]),
        ):
            lines += words.value(register, number)
        return lines

    def _epilogue(self, vcpu: int) -> list[Line]:
        done = len(_CLEARED)
        lines = [
            words.mask("daifset", 15),
            words.store(words.ZR, LINE, 0, 4),
            *(words.move_wide("movz", register, 0) for register in _CLEARED),
            words.NOP if self.vectors_in_text else words.exception("svc", 0xFFFF),
        ]
        assert len(lines) == done + 3 == _DONE
        if vcpu:
            lines += (words.move_wide("movz", HANDLER, 1), words.NOP)
            lines += (words.store(HANDLER, SHARED_BASE, 8 * vcpu, 8), words.b(0))
            return lines
        for other in range(1, len(self.bodies)):
            lines.append(words.load(HANDLER, SHARED_BASE, 8 * other, 8))
            lines.append(words.cb("cbz", HANDLER, -4))
        # PSCI answers in x0 to x3.
        lines += (words.pair("stp", 0, 1, DATA_BASE, 0x180),)
        lines += (words.pair("stp", 2, 3, DATA_BASE, 0x190),)
        lines += (*words.value(0, 0x8400_0008), words.HVC, words.b(0))
        return lines

    def with_body(self, vcpu: int, body: tuple[Node, ...]) -> "Program":
        """The same, but for one vCPU's body."""
        bodies = list(self.bodies)
        bodies[vcpu] = body
        return replace(self, bodies=tuple(bodies))


#: Registers that handlers and retries leave different values in.
_CLEARED: Final = (TEMPORARY, STATUS, HANDLER, HANDLER2, OTHER)
_DONE: Final = len(_CLEARED) + 3


def data_of(vcpu: int) -> int:
    """A vCPU's own data: loads, stores, and behind them the log of its exceptions."""
    return _DATA + vcpu * _DATA_SIZE


def _lay(
    laid: dict[int, Placed], at: int, vcpu: int, node: int, first: int, lines: Iterable[Line]
) -> int:
    for number, line in enumerate(lines):
        laid[at] = Placed(Place(vcpu, node, first + number), line)
        at += 4
    return at


def _and_log() -> Line:
    """The log's pointer with bit 12 cleared: the log is a ring of 4 KiB."""
    word = 0x9240_0000 | 51 << 16 | 62 << 10 | LOG << 5 | LOG
    return Line(word, f"and x{LOG}, x{LOG}, #0xffffffffffffefff")


# Notes ESR, ELR, SPSR and DAIF; returns behind what is not behind already.
_SYNCHRONOUS: Final = (
    words.mrs(HANDLER, "esr_el1"),
    words.mrs(HANDLER2, "elr_el1"),
    words.pair("stp", HANDLER, HANDLER2, LOG, 0),
    words.mrs(HANDLER, "spsr_el1"),
    words.mrs(HANDLER2, "daif"),
    words.pair("stp", HANDLER, HANDLER2, LOG, 16),
    words.add_immediate("add", LOG, LOG, 32),
    _and_log(),
    words.mrs(HANDLER, "esr_el1"),
    words.move_wide("movz", HANDLER2, 26),
    words.three("lsr", HANDLER, HANDLER, HANDLER2),
    words.add_immediate("sub", HANDLER, HANDLER, 0x15),
    words.cb("cbz", HANDLER, 16),
    words.mrs(HANDLER, "elr_el1"),
    words.add_immediate("add", HANDLER, HANDLER, 4),
    words.msr("elr_el1", HANDLER),
    words.ERET,
)
# Counts, unseen, and lets the interrupt pend no more.
_INTERRUPT: Final = (
    words.load(HANDLER, UNSEEN_BASE, 0, 8),
    words.add_immediate("add", HANDLER, HANDLER, 1),
    words.store(HANDLER, UNSEEN_BASE, 0, 8),
    words.store(words.ZR, LINE, 0, 4),
    words.ERET,
)
INTERRUPT_PLACES: Final = tuple(
    Place(0, HANDLERS, first + number)
    for first in (0x080, 0x280)
    for number in range(len(_INTERRUPT))
)
