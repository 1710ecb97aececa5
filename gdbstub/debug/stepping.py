"""Step of one instruction in which no interrupt of the guest shows.

A plan calls ``begin`` before a step, and ``again`` or ``abandon`` after each exit. The step is
optimistic: only if an interrupt came first, its entry is undone and the step repeated with it
masked.
Source: Arm ARM D2.12 "Software Step exceptions", D1.3.5 "Exception entry".
"""

from typing import Final

from gdbstub.aarch64.instructions import (
    Daif,
    WordAt,
    daif_access,
    leads_to,
    returns_from_exception,
)
from gdbstub.aarch64.registers import CPSR, ELR_EL1, MDSCR_EL1, PC, SPSR_EL1, VBAR_EL1, X
from gdbstub.aarch64.sysreg import MDSCR, PSTATE
from gdbstub.machine import Vcpu

_VECTOR_SIZE: Final = 0x80
_TABLE_SIZE: Final = 0x800
_KINDS: Final = _TABLE_SIZE // 4  # synchronous, IRQ, FIQ and SError, for each of four origins
_SYNCHRONOUS, _IRQ, _FIQ = 0x000, 0x080, 0x100


class SingleStep:
    """Step of one vCPU that is under way: the values that an exception's entry would overwrite."""

    __slots__ = ("elr", "pc", "spsr", "unmasked", "word")

    def __init__(self, pc: int, elr: int, spsr: int) -> None:
        """Step the instruction at *pc*. *elr* and *spsr* are ELR_EL1 and SPSR_EL1 before it."""
        self.pc = pc
        self.elr = elr
        self.spsr = spsr
        #: The guest's PSTATE while the step is repeated with interrupts masked.
        self.unmasked: PSTATE | None = None
        self.word = 0


def _vectors(vcpu: Vcpu) -> range:
    """Return the addresses of this vCPU's exception vectors."""
    base = vcpu.get(VBAR_EL1)
    return range(base, base + _TABLE_SIZE, _VECTOR_SIZE)


def begin(vcpu: Vcpu, pc: int) -> SingleStep:
    """Return a step of the vCPU, which is at *pc* and not yet resumed."""
    return SingleStep(pc, vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1))


def again(vcpu: Vcpu, step: SingleStep, word_at: WordAt) -> bool:
    """Return True if the vCPU must be stepped once more, after a step exit.

    Otherwise the step is done, and the guest does not see how it was done.
    """
    pc = vcpu.get(PC)
    vector = _entered(vcpu, step, pc, word_at)
    if vector in (_IRQ, _FIQ) and step.unmasked is None:
        return _undo_interrupt(vcpu, step, word_at)
    if vector is not None:
        _repair_saved_state(vcpu, step, synchronous=vector == _SYNCHRONOUS)
    elif step.unmasked is not None and not returns_from_exception(step.word):
        _unmask(vcpu, step.unmasked, step.word)
    return False


def abandon(vcpu: Vcpu, step: SingleStep, word_at: WordAt) -> None:
    """Undo what the step did to the vCPU, which is parked for another reason."""
    if step.unmasked is None:
        if vcpu.get(PC) == step.pc and _saved(vcpu) == (step.elr, step.spsr):
            return  # not executed; at a vector this would look like an entry
        if not again(vcpu, step, word_at):
            return
    if step.unmasked is not None:
        if vcpu.get(PC) == step.pc:  # not executed
            vcpu.set(CPSR, step.unmasked)
        else:
            again(vcpu, step, word_at)


def _entered(vcpu: Vcpu, step: SingleStep, pc: int, word_at: WordAt) -> int | None:
    """Return the offset of the vector that an exception has led to; None if there was none.

    A branch to a vector's address does not change ELR_EL1 and SPSR_EL1. Nor does an exception if
    they already hold what it saves: from the same exception before, for example.
    """
    if pc % _VECTOR_SIZE or pc not in (table := _vectors(vcpu)):
        return None
    unchanged = _saved(vcpu) == (step.elr, step.spsr)
    if unchanged and leads_to(word_at(step.pc), step.pc, pc, lambda n: vcpu.get(X[n])):
        return None
    return (pc - table.start) % _KINDS


def _saved(vcpu: Vcpu) -> tuple[int, int]:
    """Return what the last exception's entry has saved."""
    return vcpu.get(ELR_EL1), vcpu.get(SPSR_EL1)


def _undo_interrupt(vcpu: Vcpu, step: SingleStep, word_at: WordAt) -> bool:
    """Undo the entry of an interrupt, which nothing has acknowledged yet.

    It saved PC and PSTATE. PSTATE.SS is set if the instruction was not executed; then return True.
    """
    spsr = PSTATE(vcpu.get(SPSR_EL1))
    pstate, pc = PSTATE(spsr, SS=0), vcpu.get(ELR_EL1)
    vcpu.set(PC, pc)
    vcpu.set(ELR_EL1, step.elr)
    vcpu.set(SPSR_EL1, step.spsr)
    if not spsr.SS:
        vcpu.set(CPSR, pstate)
        return False
    step.unmasked, step.pc, step.word = pstate, pc, word_at(pc)
    vcpu.set(CPSR, PSTATE(pstate, I=1, F=1))
    return True


def _repair_saved_state(vcpu: Vcpu, step: SingleStep, *, synchronous: bool) -> None:
    """Correct SPSR_EL1, after an exception of the instruction, to its value without a debugger."""
    spsr = PSTATE(vcpu.get(SPSR_EL1))
    right = spsr if MDSCR(vcpu.get(MDSCR_EL1)).SS else PSTATE(spsr, SS=0)
    if synchronous and step.unmasked is not None:
        right = PSTATE(right, I=step.unmasked.I, F=step.unmasked.F)
    if right != spsr:
        vcpu.set(SPSR_EL1, right)


def _unmask(vcpu: Vcpu, unmasked: PSTATE, word: int) -> None:
    """Correct DAIF, and a register that *word* read it into, to their values without the mask."""
    now = PSTATE(vcpu.get(CPSR))
    daif = now.DAIF & 0b1100 | unmasked.DAIF & 0b0011
    match daif_access(word):
        case Daif.READ, number if number < len(X):
            value = PSTATE(vcpu.get(X[number]), I=unmasked.I, F=unmasked.F)
            vcpu.set(X[number], value)
        case Daif.WRITE, _:
            daif = now.DAIF
        case Daif.SET, immediate:
            daif = unmasked.DAIF | immediate
        case Daif.CLEAR, immediate:
            daif = unmasked.DAIF & ~immediate
    vcpu.set(CPSR, PSTATE(now, DAIF=daif))
