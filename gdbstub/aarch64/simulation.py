"""Effects of a few instructions that touch no memory, from values to values.

With them the instruction under a breakpoint is done without taking the breakpoint out. Only
those are here whose effect is exact in any state: no calls and returns, which a guarded control
stack takes part in (FEAT_GCS). Source: Arm ARM C6.2 "Alphabetical list of A64 base instructions".
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from gdbstub.aarch64.a64 import (
    AddImmediate,
    Adr,
    Branch,
    BranchOnBit,
    BranchOnFlags,
    BranchOnZero,
    Idle,
    MoveRegister,
    MoveWide,
)
from gdbstub.aarch64.decoder import decode
from gdbstub.aarch64.instructions import EXCEPTIONAL
from gdbstub.aarch64.sysreg import PSTATE

#: A general register's value by its number; 31 is the stack pointer.
ReadX = Callable[[int], int]

_X: Final = (1 << 64) - 1
_W: Final = (1 << 32) - 1
#: The number of the zero register, or of the stack pointer, by the operand.
_ZERO: Final = 31
_MOVN, _MOVK = 0, 3


class Effect(NamedTuple):
    """The new PC, and the new value of a register, by its number; 31 is the stack pointer."""

    pc: int
    register: int | None = None
    value: int = 0


#: Instructions with an ``Effect``.
_SIMULATED: Final = (
    BranchOnFlags,
    BranchOnZero,
    BranchOnBit,
    Branch,
    AddImmediate,
    MoveRegister,
    MoveWide,
    Adr,
)


def is_simulated(word: int) -> bool:
    """Return True if *word* has an effect that is known in most states, or none."""
    return isinstance(decode(word), (*_SIMULATED, Idle))


def effect(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect | None:
    """Return the effect of *word* at *pc*; None if it is not known, or might be an exception."""
    if pstate & EXCEPTIONAL:
        return None
    found = _effect(word, pc, pstate, x)
    return found if found and _is_canonical(found.pc) else None


def _is_canonical(pc: int) -> bool:
    """Return True if *pc* is in either half of the addresses, so that no top byte is changed."""
    return pc >> 55 in (0, 0x1FF)


def _effect(word: int, pc: int, pstate: PSTATE, x: ReadX) -> Effect | None:
    match decode(word):
        case BranchOnFlags() as i:
            return Effect(i.target(pc) if _holds(i.cond, pstate) else pc + 4 & _X)
        case BranchOnZero() as i:
            value = _register(i.Rt, x) & (_X if i.sf else _W)
            return Effect(i.target(pc) if bool(value) == bool(i.op) else pc + 4 & _X)
        case BranchOnBit() as i:
            bit = _register(i.Rt, x) >> (i.b5 << 5 | i.b40) & 1
            return Effect(i.target(pc) if bit == i.op else pc + 4 & _X)
        case Branch() as i:
            return Effect(i.target(pc))
        case AddImmediate() as i:
            # 31 is the stack pointer at both ends.
            immediate = i.imm12 << (12 if i.sh else 0)
            value = x(i.Rn) + (-immediate if i.op else immediate)
            return Effect(pc + 4, i.Rd, value & (_X if i.sf else _W))
        case MoveRegister() as i:
            return _set(pc, i.Rd, _register(i.Rm, x) & (_X if i.sf else _W))
        case MoveWide() as i:
            return _move(i, pc, x)
        case Adr() as i:
            offset = i.immhi << 2 | i.immlo
            return _set(pc, i.Rd, ((pc & -0x1000) + (offset << 12) if i.op else pc + offset) & _X)
    return None


def _register(number: int, x: ReadX) -> int:
    """Return a register's value where 31 is the zero register."""
    return 0 if number == _ZERO else x(number)


def _set(pc: int, register: int, value: int) -> Effect:
    """Return the effect of a *value* in *register*, where 31 is the zero register."""
    return Effect(pc + 4) if register == _ZERO else Effect(pc + 4, register, value)


def _move(i: MoveWide, pc: int, x: ReadX) -> Effect | None:
    if not i.sf and i.hw > 1:
        return None  # not allocated
    shift = 16 * i.hw
    value = i.imm16 << shift
    if i.opc == _MOVN:
        value = ~value
    elif i.opc == _MOVK:
        value |= _register(i.Rd, x) & ~(0xFFFF << shift)
    return _set(pc, i.Rd, value & (_X if i.sf else _W))


def _holds(cond: int, pstate: PSTATE) -> bool:
    """Return True if the condition *cond* is met (Arm ARM J1.3.3, ConditionHolds)."""
    n, z, c, v = pstate.N, pstate.Z, pstate.C, pstate.V
    base = (z, c, n, v, c and not z, n == v, n == v and not z, True)[cond >> 1]
    return bool(base) != (cond & 1 and cond != 0xF)
