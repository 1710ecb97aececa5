"""A64 instructions as words with their assembly: what random programs are made of.

Register 31 is the zero register or the stack pointer, as the instruction has it.
Source: Arm ARM C6.2 "Alphabetical list of A64 base instructions", C7.2 for vectors.
"""

from enum import Enum, auto
from typing import Final, NamedTuple

ZR: Final = 31
CONDITIONS: Final = (
    "eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le",
)  # fmt: skip


class Flow(Enum):
    """Kinds of flow: the addresses at which PC can be after an instruction."""

    NEXT = auto()
    BRANCH = auto()  # the next instruction or ``target``
    JUMP = auto()  # ``target``
    REGISTER = auto()  # the address in x18
    EXCEPTION = auto()  # the vector of a synchronous exception
    ERET = auto()  # the address in ELR_EL1


class Access(NamedTuple):
    """Memory that an instruction accesses: *size* bytes at *offset* from the base register."""

    base: int
    offset: int
    size: int
    read: bool = False
    write: bool = False


class Line(NamedTuple):
    """One instruction; ``target`` is relative to it, in bytes."""

    word: int
    text: str
    flow: Flow = Flow.NEXT
    target: int = 0
    access: Access | None = None


def x(n: int, wide: bool = True) -> str:
    """The name of a general register, where 31 is zero."""
    letter = "x" if wide else "w"
    return f"{letter}zr" if n == ZR else f"{letter}{n}"


def _relative(offset: int) -> str:
    return f". {'-' if offset < 0 else '+'} {abs(offset)}"


# Computation.


def move_wide(op: str, rd: int, immediate: int, shift: int = 0) -> Line:
    """MOVN, MOVZ or MOVK."""
    opc = {"movn": 0, "movz": 2, "movk": 3}[op]
    word = 0x9280_0000 | opc << 29 | (shift // 16) << 21 | immediate << 5 | rd
    return Line(word, f"{op} {x(rd)}, #{immediate}, lsl #{shift}")


def add_immediate(op: str, rd: int, rn: int, immediate: int) -> Line:
    """ADD or SUB with an immediate; 31 is the stack pointer."""
    word = 0x9100_0000 | (op == "sub") << 30 | immediate << 10 | rn << 5 | rd
    names = ("sp" if n == ZR else x(n) for n in (rd, rn))
    return Line(word, f"{op} {', '.join(names)}, #{immediate}")


def set_flags(op: str, rd: int, rn: int, immediate: int) -> Line:
    """ADDS or SUBS with an immediate."""
    word = 0xB100_0000 | (op == "subs") << 30 | immediate << 10 | rn << 5 | rd
    return Line(word, f"{op} {x(rd)}, {x(rn)}, #{immediate}")


_THREE: Final = {
    "add": 0x8B00_0000, "adds": 0xAB00_0000, "sub": 0xCB00_0000, "subs": 0xEB00_0000,
    "and": 0x8A00_0000, "orr": 0xAA00_0000, "eor": 0xCA00_0000, "ands": 0xEA00_0000,
    "bic": 0x8A20_0000, "adc": 0x9A00_0000, "sbcs": 0xFA00_0000, "udiv": 0x9AC0_0800,
    "sdiv": 0x9AC0_0C00, "lsl": 0x9AC0_2000, "lsr": 0x9AC0_2400, "asr": 0x9AC0_2800,
    "ror": 0x9AC0_2C00, "mul": 0x9B00_7C00, "umulh": 0x9BC0_7C00,
}  # fmt: skip
THREE: Final = tuple(_THREE)
_ALWAYS_WIDE: Final = frozenset({"umulh"})


def three(op: str, rd: int, rn: int, rm: int, wide: bool = True) -> Line:
    """An operation on two registers into a third."""
    wide = wide or op in _ALWAYS_WIDE
    word = _THREE[op] & ~(0 if wide else 1 << 31) | rm << 16 | rn << 5 | rd
    return Line(word, f"{op} {x(rd, wide)}, {x(rn, wide)}, {x(rm, wide)}")


_TWO: Final = {"rbit": 0xDAC0_0000, "rev": 0xDAC0_0C00, "clz": 0xDAC0_1000, "cls": 0xDAC0_1400}
TWO: Final = tuple(_TWO)


def two(op: str, rd: int, rn: int) -> Line:
    """An operation on one register into another."""
    return Line(_TWO[op] | rn << 5 | rd, f"{op} {x(rd)}, {x(rn)}")


_SELECT: Final = {
    "csel": 0x9A80_0000, "csinc": 0x9A80_0400, "csinv": 0xDA80_0000, "csneg": 0xDA80_0400,
}  # fmt: skip
SELECT: Final = tuple(_SELECT)


def select(op: str, rd: int, rn: int, rm: int, condition: int) -> Line:
    """CSEL and its like."""
    word = _SELECT[op] | rm << 16 | condition << 12 | rn << 5 | rd
    return Line(word, f"{op} {x(rd)}, {x(rn)}, {x(rm)}, {CONDITIONS[condition]}")


def adr(rd: int, offset: int) -> Line:
    """ADR."""
    word = 0x1000_0000 | (offset & 3) << 29 | (offset >> 2 & 0x7FFFF) << 5 | rd
    return Line(word, f"adr {x(rd)}, {_relative(offset)}")


def vector(op: str, rd: int, rn: int, rm: int) -> Line:
    """ADD of two doublewords, EOR of sixteen bytes."""
    pattern, lanes = {"add": (0x4EE0_8400, "2d"), "eor": (0x6E20_1C00, "16b")}[op]
    names = (f"v{n}.{lanes}" for n in (rd, rn, rm))
    return Line(pattern | rm << 16 | rn << 5 | rd, f"{op} {', '.join(names)}")


def to_vector(rd: int, rn: int) -> Line:
    """DUP of a general register."""
    return Line(0x4E08_0C00 | rn << 5 | rd, f"dup v{rd}.2d, {x(rn)}")


# Branches.


def b(offset: int, *, link: bool = False) -> Line:
    """B, or BL."""
    word = 0x1400_0000 | link << 31 | offset >> 2 & 0x3FF_FFFF
    return Line(word, f"{'bl' if link else 'b'} {_relative(offset)}", Flow.JUMP, offset)


def b_if(condition: int, offset: int) -> Line:
    """B.cond."""
    word = 0x5400_0000 | (offset >> 2 & 0x7FFFF) << 5 | condition
    return Line(word, f"b.{CONDITIONS[condition]} {_relative(offset)}", Flow.BRANCH, offset)


def cb(op: str, rt: int, offset: int, wide: bool = True) -> Line:
    """CBZ or CBNZ."""
    word = 0x3400_0000 | wide << 31 | (op == "cbnz") << 24 | (offset >> 2 & 0x7FFFF) << 5 | rt
    return Line(word, f"{op} {x(rt, wide)}, {_relative(offset)}", Flow.BRANCH, offset)


def tb(op: str, rt: int, bit: int, offset: int) -> Line:
    """TBZ or TBNZ."""
    word = 0x3600_0000 | bit >> 5 << 31 | (op == "tbnz") << 24 | (bit & 31) << 19
    word |= (offset >> 2 & 0x3FFF) << 5 | rt
    return Line(word, f"{op} {x(rt)}, #{bit}, {_relative(offset)}", Flow.BRANCH, offset)


RET: Final = Line(0xD65F_0240, "ret x18", Flow.REGISTER)
BR: Final = Line(0xD61F_0240, "br x18", Flow.REGISTER)

# Memory.

_SIZES: Final = {1: "b", 2: "h", 4: "", 8: ""}


def load(rt: int, rn: int, offset: int, size: int) -> Line:
    """LDR of an unsigned size, with an offset."""
    word = (size.bit_length() - 1) << 30 | 0x3940_0000 | (offset // size) << 10 | rn << 5 | rt
    text = f"ldr{_SIZES[size]} {x(rt, size == 8)}, [{x(rn)}, #{offset}]"
    return Line(word, text, access=Access(rn, offset, size, read=True))


def store(rt: int, rn: int, offset: int, size: int) -> Line:
    """STR of any size, with an offset."""
    word = (size.bit_length() - 1) << 30 | 0x3900_0000 | (offset // size) << 10 | rn << 5 | rt
    text = f"str{_SIZES[size]} {x(rt, size == 8)}, [{x(rn)}, #{offset}]"
    return Line(word, text, access=Access(rn, offset, size, write=True))


def load_signed(rt: int, rn: int, offset: int, size: int) -> Line:
    """LDRSB, LDRSH or LDRSW into 64 bits."""
    word = (size.bit_length() - 1) << 30 | 0x3980_0000 | (offset // size) << 10 | rn << 5 | rt
    suffix = {1: "b", 2: "h", 4: "w"}[size]
    text = f"ldrs{suffix} {x(rt)}, [{x(rn)}, #{offset}]"
    return Line(word, text, access=Access(rn, offset, size, read=True))


def moving(op: str, rt: int, rn: int, step: int, *, before: bool) -> Line:
    """LDR or STR of a doubleword that moves its base register, before or after the access."""
    word = 0xF800_0400 | (op == "ldr") << 22 | before << 11 | (step & 0x1FF) << 12 | rn << 5 | rt
    place = f"[{x(rn)}, #{step}]!" if before else f"[{x(rn)}], #{step}"
    read = op == "ldr"
    access = Access(rn, step if before else 0, 8, read=read, write=not read)
    return Line(word, f"{op} {x(rt)}, {place}", access=access)


def pair(op: str, rt: int, rt2: int, rn: int, offset: int) -> Line:
    """LDP or STP of doublewords."""
    word = 0xA900_0000 | (op == "ldp") << 22 | (offset // 8 & 0x7F) << 15
    word |= rt2 << 10 | rn << 5 | rt
    access = Access(rn, offset, 16, read=op == "ldp", write=op == "stp")
    return Line(word, f"{op} {x(rt)}, {x(rt2)}, [{x(rn)}, #{offset}]", access=access)


def vector_memory(op: str, rt: int, rn: int, offset: int) -> Line:
    """LDR or STR of 16 bytes of a vector."""
    word = 0x3D80_0000 | (op == "ldr") << 22 | (offset // 16) << 10 | rn << 5 | rt
    access = Access(rn, offset, 16, read=op == "ldr", write=op == "str")
    return Line(word, f"{op} q{rt}, [{x(rn)}, #{offset}]", access=access)


def ordered(op: str, rt: int, rn: int, size: int) -> Line:
    """LDAR or STLR."""
    word = (size.bit_length() - 1) << 30 | 0x089F_FC00 | (op == "ldar") << 22 | rn << 5 | rt
    access = Access(rn, 0, size, read=op == "ldar", write=op == "stlr")
    return Line(word, f"{op}{_SIZES[size]} {x(rt, size == 8)}, [{x(rn)}]", access=access)


def load_exclusive(rt: int, rn: int, size: int, acquire: bool, rt2: int | None = None) -> Line:
    """LDXR, LDAXR, LDXP or LDAXP; *size* is one register's."""
    two = 1 << 21 | (rt2 or 0) << 10 if rt2 is not None else ZR << 10
    word = (size.bit_length() - 1) << 30 | 0x085F_0000 | acquire << 15 | two | rn << 5 | rt
    name = f"ld{'a' * acquire}x{'r' if rt2 is None else 'p'}{_SIZES[size]}"
    registers = ", ".join(x(n, size == 8) for n in (rt, rt2) if n is not None)
    access = Access(rn, 0, size if rt2 is None else 2 * size, read=True)
    return Line(word, f"{name} {registers}, [{x(rn)}]", access=access)


def store_exclusive(
    status: int, rt: int, rn: int, size: int, release: bool, rt2: int | None = None
) -> Line:
    """STXR, STLXR, STXP or STLXP; *size* is one register's."""
    two = 1 << 21 | (rt2 or 0) << 10 if rt2 is not None else ZR << 10
    word = (size.bit_length() - 1) << 30 | 0x0800_0000 | status << 16 | release << 15
    word |= two | rn << 5 | rt
    name = f"st{'l' * release}x{'r' if rt2 is None else 'p'}{_SIZES[size]}"
    registers = ", ".join(x(n, size == 8) for n in (rt, rt2) if n is not None)
    access = Access(rn, 0, size if rt2 is None else 2 * size, write=True)
    return Line(word, f"{name} w{status}, {registers}, [{x(rn)}]", access=access)


def is_store_exclusive(line: Line) -> bool:
    """Return True if the line is one that ``store_exclusive`` makes."""
    return line.word & 0x3FC0_0000 == 0x0800_0000


def is_load_exclusive(line: Line) -> bool:
    """Return True if the line is a load-exclusive."""
    return line.word & 0x3FC0_0000 == 0x0840_0000


_ATOMIC: Final = {"ldadd": 0, "ldclr": 1, "ldeor": 2, "ldset": 3, "swp": 8}
ATOMIC: Final = tuple(_ATOMIC)


def atomic(op: str, rs: int, rt: int, rn: int, wide: bool = True) -> Line:
    """LDADD and its like (FEAT_LSE)."""
    word = 0xB820_0000 | wide << 30 | rs << 16 | _ATOMIC[op] << 12 | rn << 5 | rt
    access = Access(rn, 0, 8 if wide else 4, read=True, write=True)
    return Line(word, f"{op} {x(rs, wide)}, {x(rt, wide)}, [{x(rn)}]", access=access)


# Exceptions and the system.


def exception(op: str, immediate: int = 0) -> Line:
    """SVC, BRK or UDF."""
    pattern = {"svc": 0xD400_0001, "brk": 0xD420_0000, "udf": 0}[op]
    shift = 0 if op == "udf" else 5
    return Line(pattern | immediate << shift, f"{op} #{immediate}", Flow.EXCEPTION)


HVC: Final = Line(0xD400_0002, "hvc #0")
ERET: Final = Line(0xD69F_03E0, "eret", Flow.ERET)

_SYSTEM: Final = {
    "daif": 0x1B_4220, "nzcv": 0x1B_4200, "esr_el1": 0x18_5200, "elr_el1": 0x18_4020,
    "spsr_el1": 0x18_4000, "vbar_el1": 0x18_C000, "cpacr_el1": 0x18_1040,
    "tpidr_el0": 0x1B_D040, "tpidr_el1": 0x18_D080, "currentel": 0x18_4240,
}  # fmt: skip


def mrs(rt: int, name: str) -> Line:
    """MRS."""
    return Line(0xD520_0000 | _SYSTEM[name] | rt, f"mrs {x(rt)}, {name}")


def msr(name: str, rt: int) -> Line:
    """MSR of a register."""
    return Line(0xD500_0000 | _SYSTEM[name] | rt, f"msr {name}, {x(rt)}")


def mask(op: str, bits: int) -> Line:
    """MSR DAIFSet or DAIFClr."""
    word = 0xD503_40DF | (op == "daifclr") << 5 | bits << 8
    return Line(word, f"msr {op}, #{bits}")


def stack_select(bit: int) -> Line:
    """MSR SPSel."""
    return Line(0xD500_40BF | bit << 8, f"msr spsel, #{bit}")


DC_CVAU: Final = Line(0xD50B_7B32, "dc cvau, x18")
IC_IVAU: Final = Line(0xD50B_7532, "ic ivau, x18")
DSB: Final = Line(0xD503_3B9F, "dsb ish")
ISB: Final = Line(0xD503_3FDF, "isb")
NOP: Final = Line(0xD503_201F, "nop")
WFI: Final = Line(0xD503_207F, "wfi")
WFE: Final = Line(0xD503_205F, "wfe")
SEVL: Final = Line(0xD503_20BF, "sevl")
HINTS: Final = (
    NOP,
    Line(0xD503_203F, "yield"),
    Line(0xD503_241F, "hint #32"),
    Line(0xD503_221F, "hint #16"),
)
BARRIERS: Final = (DSB, ISB, Line(0xD503_3BBF, "dmb ish"), Line(0xD503_3F5F, "clrex"))


def value(rd: int, number: int) -> tuple[Line, ...]:
    """A 64-bit number into a register."""
    rest = [
        move_wide("movk", rd, number >> shift & 0xFFFF, shift)
        for shift in (16, 32, 48)
        if number >> shift & 0xFFFF
    ]
    return (move_wide("movz", rd, number & 0xFFFF), *rest)
